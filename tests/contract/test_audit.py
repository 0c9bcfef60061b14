"""make audit: what it says of a lock, by a database on this machine that answers as osv.dev does."""

from __future__ import annotations

import http.server
import json
import threading

import pytest

from tests.clients import audit
from tests.clients.environment import programs

VULNERABILITY = {
    "id": "PYSEC-0000-1",
    "summary": "made up",
    "affected": [
        {
            "package": {"name": "pillow", "ecosystem": "PyPI"},
            "ranges": [{"type": "ECOSYSTEM", "events": [{"introduced": "0"}, {"fixed": "99.0"}]}],
        }
    ],
}


@pytest.fixture
def database():
    """Its URL; it knows one vulnerability of pillow."""
    programs("pip-audit")  # skips where there is none to be had

    class Handler(http.server.BaseHTTPRequestHandler):
        def do_POST(self):
            asked = json.loads(self.rfile.read(int(self.headers["content-length"])))
            vulnerable = asked["package"]["name"] == "pillow"
            body = json.dumps({"vulns": [VULNERABILITY]} if vulnerable else {}).encode()
            self.send_response(200)
            self.send_header("content-type", "application/json")
            self.send_header("content-length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, *_):
            pass

    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    yield f"http://127.0.0.1:{server.server_port}/v1/query"
    server.shutdown()
    server.server_close()
    thread.join()


def test_a_vulnerable_package_is_named(database, tmp_path, capsys):
    lock = tmp_path / "lock"
    lock.write_text("numpy==2.0.0\npillow==1.0\n")
    assert audit.main(["--lock", str(lock), "--osv-url", database]) == audit.SOME_KNOWN
    said = capsys.readouterr().out
    assert "pillow 1.0: PYSEC-0000-1, mended in 99.0" in said
    assert "2 packages, 1 known vulnerabilities" in said


def test_without_one_all_is_well(database, tmp_path, capsys):
    lock = tmp_path / "lock"
    lock.write_text("numpy==2.0.0\n")
    assert audit.main(["--lock", str(lock), "--osv-url", database]) == audit.NONE_KNOWN
    assert "1 packages, 0 known" in capsys.readouterr().out


def test_a_database_that_is_away_is_no_good_news(database, tmp_path, capsys):
    lock = tmp_path / "lock"
    lock.write_text("numpy==2.0.0\n")
    assert audit.main(["--lock", str(lock), "--osv-url", "http://127.0.0.1:1/"]) == audit.NOT_ASKED
    assert "not audited" in capsys.readouterr().err


def test_every_line_of_the_lock_can_be_asked_for(database, capsys):
    """That the lock has the form that the program reads: exact versions all over."""
    assert audit.main(["--osv-url", database]) == audit.SOME_KNOWN
    said = capsys.readouterr().out
    locked = [
        line for line in audit.LOCK.read_text().splitlines() if "==" in line and not line.startswith("#")
    ]
    assert f"{len(locked)} packages" in said
