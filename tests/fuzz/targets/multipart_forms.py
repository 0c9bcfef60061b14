"""Forms with files, as pictures and data sets come; the first line is the content type."""

from __future__ import annotations

from collections.abc import Iterable

from starlette.requests import Request

from gateway.openai.body import read
from gateway.openai.files import FileBody
from gateway.openai.form import read_form
from gateway.openai.images import EditBody
from pequod.diffusion import v1
from services.common.errors import ServiceError
from tests.fuzz.loops import awaited

REFUSALS = ()
WORDS = (
    *rb"""
        filename="a.png" --b --b-- charset= utf-16 unicode_escape utf-7 idna boundary=b []
        filename*=utf-8''%61 name="model" name="file" _charset_
    """.split(),
    *(
        b'form-data; name="image"',
        b"\r\n",
        b"Content-Type: image/png",
        b"Content-Disposition: ",
        b"Content-Transfer-Encoding: base64",
    ),
)


def run(data: bytes) -> None:
    media, _, body = data.partition(b"\n")
    form = awaited(read_form(_request(media, body)))
    for kind in (EditBody, FileBody):
        try:
            given = read(kind, form)
        except ServiceError:
            continue
        if isinstance(given, EditBody):
            v1.GenerateRequest(model=given.model, prompt=given.prompt, negative_prompt=given.negative_prompt)


def _request(media: bytes, body: bytes) -> Request:
    scope = {
        "type": "http",
        "method": "POST",
        "path": "/",
        "query_string": b"",
        "headers": [(b"content-type", media)],
    }

    async def receive():
        return {"type": "http.request", "body": body, "more_body": False}

    return Request(scope, receive)


def seeds() -> Iterable[bytes]:
    field = b'--b\r\nContent-Disposition: form-data; name="%s"%s\r\n\r\n%s\r\n'
    fields = field % (b"model", b"", b"peeps-diffusion") + field % (b"prompt", b"", b"a \xc3\xa4")
    file = field % (b"image", b'; filename="a.png"\r\nContent-Type: image/png', b"\x89PNG")
    yield b"multipart/form-data; boundary=b\n" + fields + file + b"--b--\r\n"
    yield (
        b"multipart/form-data; boundary=b; charset=latin-1\n"
        + fields
        + field % (b"image[]", b"", b"x")
        + b"--b--\r\n"
    )
    upload = field % (b"file", b'; filename="a.jsonl"', b'{"text": "a"}') + field % (
        b"purpose",
        b"",
        b"fine-tune",
    )
    yield b"multipart/form-data; boundary=b\n" + upload + b"--b--\r\n"
    yield b"multipart/form-data\n--b"
