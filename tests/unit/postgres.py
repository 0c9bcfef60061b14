"""A PostgreSQL server of the tests' own, or the one that PEQUOD_TEST_DATABASE_URL names."""

from __future__ import annotations

import contextlib
import glob
import os
import pwd
import shutil
import subprocess
import tempfile
import uuid
from collections.abc import Iterator
from pathlib import Path

import psutil
from sqlalchemy import create_engine, text
from sqlalchemy.engine import make_url

from tests.ports import lasting_ports

_VARIABLE = "PEQUOD_TEST_DATABASE_URL"


class NoServer(Exception):
    """Why there is none."""


class Server:
    """A server of the tests' own in ``folder``, which may stop and start again."""

    def __init__(self, binaries: Path, folder: Path, user: pwd.struct_passwd | None) -> None:
        self._binaries, self._folder, self._user = binaries, folder, user
        [self._port] = lasting_ports(1)
        self.url = f"postgresql://postgres@127.0.0.1:{self._port}/postgres"
        initdb = ("-D", folder / "data", "-U", "postgres", "--auth=trust", "--no-sync", "-E", "UTF8")
        _run(user, binaries / "initdb", *initdb)

    def start(self) -> None:
        """Returns once it takes connections."""
        options = f"-p {self._port} -k {self._folder} -c listen_addresses=127.0.0.1"
        options += " -c fsync=off -c max_connections=80"
        self._control("-w", "-t", "60", "-l", self._folder / "log", "-o", options, "start")

    def stop(self, mode: str = "immediate") -> None:
        """As ``pg_ctl`` does: "fast" ends sessions in order, "immediate" drops them."""
        self._control("-m", mode, "stop")

    def freeze(self) -> None:
        """It stands still: connections stay open, and nothing is answered."""
        first = self._first()
        first.suspend()  # before its children are counted, so that there are no more of them
        for process in first.children(recursive=True):
            process.suspend()

    def thaw(self) -> None:
        """It goes on where it stood still."""
        first = self._first()
        for process in (*first.children(recursive=True), first):
            process.resume()

    def _first(self) -> psutil.Process:
        return psutil.Process(int((self._folder / "data/postmaster.pid").read_text().split()[0]))

    def _control(self, *arguments: object) -> None:
        _run(self._user, self._binaries / "pg_ctl", "-D", self._folder / "data", *arguments)


@contextlib.contextmanager
def own_server() -> Iterator[Server]:
    """A running server. Raises NoServer where none can be started."""
    binaries = _binaries()
    user = _unprivileged()
    # Sockets have short names, so the folder does too.
    folder = Path(tempfile.mkdtemp(prefix="pq-pg-", dir="/tmp"))
    try:
        if user is not None:
            os.chown(folder, user.pw_uid, user.pw_gid)
        own = Server(binaries, folder, user)
        own.start()
        try:
            yield own
        finally:
            own.stop()
    finally:
        shutil.rmtree(folder, ignore_errors=True)


@contextlib.contextmanager
def server() -> Iterator[str]:
    """URL of a running server. Raises NoServer where there is none and none can be started."""
    if url := os.environ.get(_VARIABLE):
        yield url
        return
    with own_server() as own:
        yield own.url


@contextlib.contextmanager
def database(url: str) -> Iterator[str]:
    """URL of a fresh database on the server at ``url``."""
    name = f"pequod_{uuid.uuid4().hex}"
    _execute(url, f"CREATE DATABASE {name}")
    try:
        yield make_url(url).set(database=name).render_as_string(hide_password=False)
    finally:
        _execute(url, f"DROP DATABASE {name} WITH (FORCE)")


def _run(user: pwd.struct_passwd | None, *command: object) -> None:
    as_user = {} if user is None else {"user": user.pw_uid, "group": user.pw_gid, "extra_groups": []}
    done = subprocess.run(
        [str(part) for part in command],
        cwd="/",
        stdin=subprocess.DEVNULL,
        # Not a pipe: the server inherits it and would keep it open.
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        timeout=90,
        check=False,
        env={"PATH": os.environ.get("PATH", ""), "LC_ALL": "C.UTF-8"},
        **as_user,
    )
    if done.returncode:
        raise NoServer(f"{command[0]} ended with exit code {done.returncode}")


def _binaries() -> Path:
    """The folder of the newest server that is installed."""
    found = sorted(glob.glob("/usr/lib/postgresql/*/bin/pg_ctl"), key=lambda path: float(path.split("/")[4]))
    on_path = shutil.which("pg_ctl")
    if not found and on_path is None:
        raise NoServer(f"PostgreSQL is not installed, and {_VARIABLE} names no server")
    return Path(found[-1] if found else os.path.realpath(on_path)).parent


def _unprivileged() -> pwd.struct_passwd | None:
    """Whom to run the server as: PostgreSQL refuses root."""
    if os.geteuid() != 0:
        return None
    for name in ("postgres", "nobody"):
        with contextlib.suppress(KeyError):
            return pwd.getpwnam(name)
    raise NoServer("PostgreSQL refuses to run as root, and there is no other user here")


def _execute(url: str, statement: str) -> None:
    engine = create_engine(make_url(url).set(drivername="postgresql+psycopg"), isolation_level="AUTOCOMMIT")
    with engine.connect() as connection:
        connection.execute(text(statement))
    engine.dispose()
