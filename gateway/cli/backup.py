"""``pequod backup``, ``restore`` and ``verify``: the whole platform elsewhere, and back."""

from __future__ import annotations

import importlib
import json
import os
from collections.abc import Iterator
from functools import partial
from pathlib import Path
from typing import Annotated

import typer

from gateway.cli import output
from gateway.cli.operator import audit, refusals
from gateway.database import SCHEMA, DatabaseSettings
from gateway.keys.settings import KeySettings
from services.common.catalogue import UPKEEP
from services.common.settings import from_environment
from services.common.upkeep.backup.archive import Archive
from services.common.upkeep.backup.contents import Contents
from services.common.upkeep.backup.databases import Place
from services.common.upkeep.backup.parts import Folder, Parts
from services.common.upkeep.backup.restoring import restore as put_back
from services.common.upkeep.backup.restoring import verify as read_whole
from services.common.upkeep.backup.saving import save

Named = Annotated[str, typer.Option("--name", help="Which backup; default: the newest.")]


def backup(
    target: Annotated[str, typer.Argument(help="A folder, or a URL such as s3://bucket/prefix.")],
    as_json: output.Json = False,
) -> None:
    """Copy databases, models, data sets, jobs' checkpoints and keys to TARGET, while they are used.

    Run again, it copies what is new. Whoever can read TARGET can use its keys.
    """
    os.umask(0o077)
    with refusals():
        name, contents = save(_parts(), Archive(target, is_new=True), output.note)
    audit("backup", {"target": target, "backup": name})
    _show(name, contents, as_json)


def verify(
    source: Annotated[str, typer.Argument(help="Where backups lie.")],
    name: Named = "",
    as_json: output.Json = False,
) -> None:
    """Read a backup whole, and say whether every byte is as it was."""
    with refusals():
        archive = Archive(source)
        contents = archive.contents(name)
        read_whole(contents, archive)
    _show(name or archive.names()[-1], contents, as_json)


def restore(
    source: Annotated[str, typer.Argument(help="Where backups lie.")],
    name: Named = "",
    replace: Annotated[
        bool, typer.Option("--replace", help="Although there is something: databases are replaced.")
    ] = False,
    as_json: output.Json = False,
) -> None:
    """Put a backup where the settings say that things are. The platform must not run meanwhile."""
    with refusals():
        archive = Archive(source)
        contents = archive.contents(name)
        put_back(contents, archive, _parts(), replace, output.note)
    chosen = name or archive.names()[-1]
    audit("restore", {"source": source, "backup": chosen})
    _show(chosen, contents, as_json)


def _parts() -> Parts:
    """Of the gateway, and by the module that knows them of data sets and jobs."""
    others: Parts = importlib.import_module(UPKEEP).kept(os.environ)
    url = from_environment(DatabaseSettings).url
    mine = [Place("gateway", url, SCHEMA)] if url else []
    keys = from_environment(KeySettings)
    files = {"keys": keys.file, "secret": keys.secret_file, "audit": keys.audit_file}
    folders = [Folder(name, file.parent, partial(_there, file)) for name, file in files.items() if file]
    return Parts(
        databases=(*others.databases, *mine),
        folders=(*others.folders, *folders),
        layers=others.layers,
        blobs=others.blobs,
    )


def _there(file: Path) -> Iterator[Path]:
    if file.is_file():
        yield file


def _show(name: str, contents: Contents, as_json: bool) -> None:
    pieces = {piece.sha256: piece.size_bytes for _, piece in contents.pieces()}
    counts = {
        "rows": sum(rows.rows for database in contents.databases for rows in database.tables),
        "versions": len(contents.versions),
        "dataset_files": len(contents.content),
        "files": len(contents.files),
        "bytes": sum(pieces.values()),
    }
    if as_json:
        output.write(json.dumps({"backup": name, "created": f"{contents.created:%FT%TZ}", **counts}) + "\n")
        return
    output.table(
        ("backup!", "rows#", "versions#", "files of data sets#", "other files#", "size#"),
        [(name, *(str(counts[each]) for each in list(counts)[:-1]), output.size(counts["bytes"]))],
    )
