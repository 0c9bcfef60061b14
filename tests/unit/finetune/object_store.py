"""A real S3 protocol server (moto), found by the variables that everybody's client reads."""

from __future__ import annotations

import contextlib
import urllib.request
from collections.abc import Iterator
from typing import Any

import boto3
import pytest
from moto.server import ThreadedMotoServer

from tests.ports import lasting_ports

BUCKET = "data"
KEYS = ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY")


@contextlib.contextmanager
def serving_s3(patch: pytest.MonkeyPatch) -> Iterator[Any]:
    """A client of a fresh server with one empty bucket."""
    [port] = lasting_ports(1)
    url = f"http://127.0.0.1:{port}"
    for name in KEYS:
        patch.setenv(name, "testing")
    for name in ("AWS_REGION", "AWS_DEFAULT_REGION"):
        patch.setenv(name, "us-east-1")
    patch.setenv("AWS_ENDPOINT_URL", url)
    patch.setenv("AWS_ALLOW_HTTP", "true")
    server = ThreadedMotoServer(ip_address="127.0.0.1", port=port, verbose=False)
    server.start()
    reset = urllib.request.Request(f"{url}/moto-api/reset", method="POST")
    urllib.request.urlopen(reset, timeout=10).close()
    client = boto3.client("s3", endpoint_url=url)
    client.create_bucket(Bucket=BUCKET)
    try:
        yield client
    finally:
        client.close()
        server.stop()
