"""The OpenAPI document: well formed, and true by a run of Schemathesis against the real platform."""

from __future__ import annotations

import json
import subprocess
import urllib.request

import pytest
from openapi_spec_validator import validate

from tests.clients.environment import programs

_LEFT_OUT = "positive_data_acceptance"
"""What the schema allows may be refused all the same: rules of models and of fields together."""


@pytest.fixture(scope="module")
def document(platform):
    with urllib.request.urlopen(f"{platform.http}/openapi.json", timeout=10) as reply:
        assert reply.headers["content-type"] == "application/json"
        return json.load(reply)


def test_it_is_well_formed(document):
    validate(document)


def test_bodies_allow_null_and_nothing_unknown(document):
    schemas = document["components"]["schemas"]
    chat = schemas["ChatBody"]
    assert chat["additionalProperties"] is False
    assert {"type": "null"} in chat["properties"]["temperature"]["anyOf"]
    assert set(chat["required"]) == {"model", "messages"}
    assert "user" in chat["properties"]
    assert "multipart/form-data" in document["paths"]["/v1/images/edits"]["post"]["requestBody"]["content"]


@pytest.mark.timeout(600)
@pytest.mark.parametrize(
    ("phases", "examples"),
    [
        ("fuzzing", 4),
        pytest.param("examples,coverage,fuzzing,stateful", 20, marks=pytest.mark.slow),
    ],
)
def test_it_is_true(platform, document, phases, examples):
    """So many requests are made up for each endpoint and phase, good and bad ones."""
    command = [
        *(str(programs("schemathesis") / "schemathesis"), "run", f"{platform.http}/openapi.json"),
        *("--phases", phases, "--max-examples", str(examples), "--exclude-checks", _LEFT_OUT),
        *("--request-timeout", "60", "--seed", "7", "--no-color"),
    ]
    done = subprocess.run(
        command, cwd=platform.folder, capture_output=True, text=True, timeout=500, check=False
    )
    assert done.returncode == 0, done.stdout[-4000:]
    assert f"Tested: {sum(map(len, document['paths'].values()))}" in done.stdout
