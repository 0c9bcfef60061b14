"""Secrets in texts that are written down: of the process's environment, and by their looks."""

import json
import logging

import pytest

from services.common.hiding import Hiding
from services.common.log import JsonFormatter

KEY = "pq_0123456789ab_" + "aB3_-" * 8 + "xyz"


@pytest.mark.parametrize(
    ("said", "written"),
    [
        ("postgresql://pequod:s3cret@db:5432/x is away", "postgresql://***@db:5432/x is away"),
        ("https://token@host/a and s3://bucket/a@b", "https://***@host/a and s3://bucket/a@b"),
        (f"key {KEY}.", "key pq_0123456789ab_***."),
        ("authorization: Bearer abc.def", "authorization: Bearer ***"),
        ("token eyJhbGciOiJFZERTQSJ9.eyJzdWIiOiJhIn0.c2ln", "token ***"),
        ("hf_abcdefghijklmnopqrstuv", "***"),
        ("https://h/a?x=1&X-Amz-Signature=ab12&y=2", "https://h/a?x=1&X-Amz-Signature=***&y=2"),
        ("https://h/hook?token=abc", "https://h/hook?token=***"),
        ("the key of a map, 3 tokens, mail a@b.c", "the key of a map, 3 tokens, mail a@b.c"),
    ],
)
def test_by_their_looks(said, written):
    assert Hiding({})(said) == written


def test_of_the_environment():
    hiding = Hiding({"AWS_SECRET_ACCESS_KEY": "abc/def+ghi", "HF_TOKEN": "short", "HOME": "/home/somebody"})
    assert hiding("abc/def+ghi in /home/somebody, short") == "*** in /home/somebody, short"


def test_a_log_line_stays_json():
    record = logging.makeLogRecord({"msg": f'said "Bearer {KEY}"', "url": "a://u:p@h"})
    line = json.loads(JsonFormatter("gateway").format(record))
    assert line["message"] == 'said "Bearer ***"'
    assert line["url"] == "a://***@h"
