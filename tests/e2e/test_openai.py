"""OpenAI's own client against the real platform."""

from __future__ import annotations

import base64
import io
import json
import shutil
from pathlib import Path

import grpc
import numpy as np
import openai
import pytest
from PIL import Image

from pequod.sampler.v1 import GenerateRequest, SamplerServiceStub
from services.common.store.manifest import Kind, read_manifest
from services.common.store.settings import StoreSettings
from services.finetune.recipes.version import Corpus, publish
from tests.e2e.conftest import Platform

CHATTY = "chatty"
SAILOR = {
    "type": "object",
    "properties": {"name": {"enum": ["Ahab", "Ishmael"]}, "legs": {"type": "integer", "maximum": 9}},
    "required": ["name", "legs"],
    "additionalProperties": False,
}
_TEMPLATE = "{% for m in messages %}{{ m.role }}: {{ m.content }}\n{% endfor %}assistant:"


@pytest.fixture(scope="module", autouse=True)
def _chatty(platform):
    publish_chatty(platform)


def publish_chatty(platform: Platform) -> None:
    """Storyteller with a chat template, in the platform's own store; what it says makes little sense.

    Its weights are those of the shipped model, and so are its graphs: to make them again takes half a minute.
    """
    shipped = StoreSettings().shipped / "storyteller/1"
    manifest = read_manifest((shipped / "model.json").read_bytes(), str(shipped))
    out: Path = platform.folder / "var/models" / CHATTY / "1"
    if out.exists():
        return
    out.mkdir(parents=True)
    for entry in manifest.files:
        shutil.copyfile(shipped / entry.path, out / entry.path)
    (out / "chat_template.jinja").write_text(_TEMPLATE)
    publish(Corpus(()), out, Kind.LANGUAGE_MODEL, manifest.family, dict(manifest.config), {}, "test")
    made = read_manifest((out / "model.json").read_bytes(), str(out))
    shutil.copytree(
        StoreSettings().shipped / "exports" / manifest.digest,
        platform.folder / "var/cache/exports" / made.digest,
    )
    done = platform.run("models", "load", CHATTY, timeout=300)
    assert done.returncode == 0, done.stderr


@pytest.fixture(scope="module")
def client(platform):
    with openai.OpenAI(base_url=f"{platform.http}/v1", api_key="none", max_retries=0, timeout=60) as made:
        yield made


def ask(client, **fields):
    messages = [{"role": "system", "content": "Be brief."}, {"role": "user", "content": "Who is Ahab?"}]
    return client.chat.completions.create(
        **{"model": CHATTY, "messages": messages, "max_completion_tokens": 12, "seed": 7, **fields}
    )


def write(client, **fields):
    body = {"model": "storyteller", "prompt": "The old captain", "max_tokens": 12, "seed": 7}
    return client.completions.create(**{**body, **fields})


def test_models_are_listed_and_found(client):
    names = [each.id for each in client.models.list()]
    assert {"storyteller", "moby-ngram", "peeps-diffusion", "minilm", CHATTY} <= set(names)
    assert len(names) == len(set(names))
    assert client.models.retrieve("storyteller:1").id == "storyteller:1"
    assert client.models.retrieve("storyteller@production").owned_by == "local"
    with pytest.raises(openai.NotFoundError) as caught:
        client.models.retrieve("storytellr")
    assert caught.value.code == "MODEL_NOT_FOUND"
    assert "did you mean storyteller" in caught.value.message


def test_a_completion_is_the_same_through_the_other_doors(client, platform):
    reply = write(client)
    assert reply.choices[0].finish_reason == "length"
    assert (reply.usage.completion_tokens, reply.system_fingerprint) == (12, "storyteller:1")
    asked = GenerateRequest(model="storyteller", prompt="The old captain")
    asked.stopping.max_tokens, asked.sampling.seed = 12, 7
    with grpc.insecure_channel(platform.grpc) as channel:
        assert SamplerServiceStub(channel).Generate(asked).completions[0].text == reply.choices[0].text
    done = platform.run(
        "text", "The old captain", "--model", "storyteller", "--seed", "7", "--max-tokens", "12"
    )
    assert reply.choices[0].text in done.stdout


def test_a_stream_says_the_same(client):
    whole = write(client).choices[0].text
    pieces = list(write(client, stream=True, stream_options={"include_usage": True}))
    assert "".join(each.choices[0].text for each in pieces if each.choices) == whole
    assert pieces[-1].usage.completion_tokens == 12
    assert len(pieces) >= 3  # tokens that came meanwhile go together


def test_prompts_alternatives_and_logprobs(client):
    reply = write(client, prompt=["The whale", "The sea"], n=2, logprobs=3, echo=True)
    assert [each.index for each in reply.choices] == [0, 1, 2, 3]
    assert [each.text.startswith("The whale") for each in reply.choices] == [True, True, False, False]
    logprobs = reply.choices[0].logprobs
    assert "".join(logprobs.tokens) == reply.choices[0].text
    assert len(logprobs.top_logprobs[-1]) == 3
    assert max(logprobs.token_logprobs) <= 0


def test_an_n_gram_model_through_the_same_door(client):
    reply = write(client, model="moby-ngram", prompt="THE ", extra_body={"order": 3}, max_tokens=40)
    assert len(reply.choices[0].text) == 40
    assert reply.choices[0].text == reply.choices[0].text.upper()


def test_a_conversation(client):
    reply = ask(client, n=2, logprobs=True, top_logprobs=2)
    assert [each.message.role for each in reply.choices] == ["assistant"] * 2
    assert reply.choices[0].message.content != reply.choices[1].message.content
    assert len(reply.choices[0].logprobs.content) == 12
    assert len(reply.choices[0].logprobs.content[0].top_logprobs) == 2
    assert reply.usage.total_tokens == reply.usage.prompt_tokens + 24


def test_a_conversation_as_it_is_written(client):
    whole = ask(client).choices[0].message.content
    pieces = list(ask(client, stream=True))
    assert "".join(each.choices[0].delta.content or "" for each in pieces) == whole
    assert pieces[0].choices[0].delta.role == "assistant"
    assert pieces[-1].choices[0].finish_reason == "length"
    assert len({each.id for each in pieces}) == 1


def test_a_form_is_held(client):
    form = {"type": "json_schema", "json_schema": {"name": "sailor", "schema": SAILOR, "strict": True}}
    said = json.loads(ask(client, response_format=form, max_completion_tokens=60).choices[0].message.content)
    assert said["name"] in {"Ahab", "Ishmael"}
    assert said["legs"] <= 9


def respond(client, **fields):
    body = {"model": CHATTY, "instructions": "Be brief.", "input": "Who is Ahab?", "max_output_tokens": 12}
    return client.responses.create(**{**body, **fields}, extra_body={"seed": 7})


def test_a_response_is_the_conversation_in_its_newer_form(client):
    reply = respond(client)
    assert reply.output_text == ask(client).choices[0].message.content
    assert (reply.status, reply.incomplete_details.reason) == ("incomplete", "max_output_tokens")
    assert reply.usage.output_tokens == 12
    user = {"role": "user", "content": [{"type": "input_text", "text": "Who is Ahab?"}]}
    assert respond(client, input=[user]).output_text == reply.output_text
    further = [user, *(each.to_dict() for each in reply.output), {"role": "user", "content": "And then?"}]
    assert respond(client, input=further).usage.input_tokens > reply.usage.input_tokens + 12


def test_a_response_as_it_is_written(client):
    whole = respond(client).output_text
    events = list(respond(client, stream=True))
    assert [each.sequence_number for each in events] == list(range(len(events)))
    said = [each.delta for each in events if each.type == "response.output_text.delta"]
    assert "".join(said) == whole == events[-1].response.output_text
    assert [each.type for each in events if "delta" not in each.type] == [
        *("response.created", "response.in_progress"),
        *("response.output_item.added", "response.content_part.added"),
        *("response.output_text.done", "response.content_part.done", "response.output_item.done"),
        "response.incomplete",
    ]


def test_a_response_in_a_form(client):
    form = {"format": {"type": "json_schema", "name": "sailor", "schema": SAILOR, "strict": True}}
    reply = respond(client, text=form, max_output_tokens=60)
    assert (reply.status, json.loads(reply.output_text)["name"] in {"Ahab", "Ishmael"}) == ("completed", True)


def test_stop_strings_end_it(client):
    whole = write(client, max_tokens=40).choices[0].text
    stop = whole.split()[3]
    reply = write(client, max_tokens=40, stop=[stop])
    assert reply.choices[0].finish_reason == "stop"
    assert reply.choices[0].text == whole[: whole.index(stop)]


def test_vectors(client):
    texts = ["a whale in the sea", "a kitten on a rug"]
    reply = client.embeddings.create(model="minilm", input=texts)  # the client asks for packed numbers
    found = client.embeddings.create(model="minilm", input=texts, encoding_format="float")
    vectors = np.array([each.embedding for each in reply.data])
    assert vectors.shape == (2, 384)
    np.testing.assert_allclose(vectors, [each.embedding for each in found.data], atol=1e-7)
    np.testing.assert_allclose(np.linalg.norm(vectors, axis=1), 1, atol=1e-5)
    short = client.embeddings.create(model="minilm", input=texts[0], dimensions=64)
    assert len(short.data[0].embedding) == 64
    assert reply.usage.total_tokens > 8


def paint(client, **fields):
    body = {"model": "peeps-diffusion", "prompt": "a smiling person with red hair", **fields}
    return client.images.generate(**body, extra_body={"seed": 7, "steps": 8})


def opened(image):
    return Image.open(io.BytesIO(base64.b64decode(image.b64_json)))


def test_images(client, platform):
    reply = paint(client, n=2)
    assert (len(reply.data), reply.size, reply.output_format) == (2, "32x32", "png")
    done = platform.run(
        "image", "a smiling person with red hair", "-o", "o.png", "--seed", "7", "--steps", "8"
    )
    assert done.returncode == 0, done.stderr
    assert base64.b64decode(reply.data[0].b64_json) == (platform.folder / "o.png").read_bytes()
    large = paint(client, size="128x128", output_format="webp")
    assert (opened(large.data[0]).size, opened(large.data[0]).format) == ((128, 128), "WEBP")


def test_images_as_they_come(client):
    whole = paint(client).data[0].b64_json
    *partial, last = paint(client, stream=True, partial_images=3)
    assert [each.type for each in partial] == ["image_generation.partial_image"] * 3
    assert [each.partial_image_index for each in partial] == [0, 1, 2]
    assert (last.type, last.b64_json) == ("image_generation.completed", whole)
    assert [opened(each).size for each in partial] == [(32, 32)] * 3
    assert len({each.b64_json for each in partial}) == 3


def test_a_picture_is_painted_anew_where_its_mask_is_open(client):
    before = opened(paint(client).data[0]).convert("RGB")
    mask = Image.new("RGBA", before.size, (0, 0, 0, 255))
    mask.paste((0, 0, 0, 0), (0, 0, 32, 16))  # the upper half
    files = {"image": ("a.png", as_png(before)), "mask": ("mask.png", as_png(mask))}
    body = {"model": "peeps-diffusion", "prompt": "a person with a blue hat", "n": 2, "size": "32x32"}
    reply = client.images.edit(**files, **body, extra_body={"seed": 3, "steps": 8})
    assert len(reply.data) == 2
    for each in reply.data:
        was, after = np.asarray(before), np.asarray(opened(each).convert("RGB"))
        assert (after[16:] == was[16:]).all()
        assert (after[:16] != was[:16]).any()
    *partial, last = client.images.edit(
        **files, **body, stream=True, partial_images=1, extra_body={"seed": 3}
    )
    assert partial[0].type == "image_edit.partial_image"
    assert last.type == "image_edit.completed"


def as_png(picture):
    file = io.BytesIO()
    picture.save(file, "PNG")
    return file.getvalue()


def test_documents_are_ranked(platform):
    documents = ["Bread is baked.", "Jupiter is the biggest planet."]
    body = {"model": "minilm", "query": "Which planet is the largest?", "documents": documents}
    status, reply = platform.post("v1/rerank", body)
    assert status == 200
    assert [each["index"] for each in reply["results"]] == [1, 0]


def test_tokens_there_and_back(platform):
    text = 'Who\'d use "后" vs. "後"?'
    status, reply = platform.post("v1/tokenize", {"model": "cl100k", "prompt": text})
    assert (status, reply["count"]) == (200, 11)
    body = {"model": "cl100k", "tokens": reply["tokens"]}
    assert platform.post("v1/detokenize", body) == (200, {"prompt": text})


@pytest.mark.parametrize(
    ("call", "error", "code", "param"),
    [
        (lambda client: ask(client, model="storyteller"), openai.BadRequestError, "UNSUPPORTED", None),
        (lambda client: ask(client, model="nobody"), openai.NotFoundError, "MODEL_NOT_FOUND", None),
        (lambda client: ask(client, top_p=2), openai.BadRequestError, "INVALID_FIELD", "top_p"),
        (
            lambda client: write(client, max_tokens=10**6),
            openai.BadRequestError,
            "INVALID_FIELD",
            "max_tokens",
        ),
        (
            lambda client: ask(client, tools=[{"type": "function"}]),
            openai.BadRequestError,
            "UNSUPPORTED",
            None,
        ),
        (
            lambda client: respond(client, previous_response_id="resp_1"),
            openai.BadRequestError,
            "UNSUPPORTED",
            None,
        ),
        (
            lambda client: client.images.edit(model="peeps-diffusion", image=b"no picture", prompt="a"),
            openai.BadRequestError,
            "INVALID_FIELD",
            "image",
        ),
        (lambda client: paint(client, size="512x512"), openai.BadRequestError, "INVALID_FIELD", "size"),
        (
            lambda client: paint(client, response_format="url"),
            openai.BadRequestError,
            "INVALID_FIELD",
            "response_format",
        ),
        (
            lambda client: client.audio.speech.create(model="tts", voice="a", input="hello"),
            openai.NotFoundError,
            "UNSUPPORTED",
            None,
        ),
    ],
)
def test_errors_are_the_clients_own(call, error, code, param, client):
    with pytest.raises(error) as caught:
        call(client)
    assert (caught.value.code, caught.value.param) == (code, param)
    assert caught.value.request_id


async def test_the_asynchronous_client(platform):
    async with openai.AsyncOpenAI(base_url=f"{platform.http}/v1", api_key="none") as client:
        stream = await ask(client, stream=True)
        said = "".join([each.choices[0].delta.content or "" async for each in stream])
        whole = await ask(client)
    assert said == whole.choices[0].message.content
