"""What commands share that work on files and databases themselves: refusals in a sentence, the audit."""

from __future__ import annotations

import contextlib
import getpass
from collections.abc import Iterator, Mapping
from typing import Any

import typer

from gateway.audit import AuditLog
from gateway.cli import output
from gateway.keys.settings import KeySettings
from services.common.settings import from_environment
from services.common.upkeep.collecting import FAULTS


@contextlib.contextmanager
def refusals() -> Iterator[None]:
    """End the command with a sentence on what is not as it must be."""
    try:
        yield
    except (*FAULTS, ValueError) as error:
        output.fail(str(error))
        raise typer.Exit(1) from None


def audit(what: str, about: Mapping[str, Any]) -> None:
    """Write down that the operator of this machine did something."""
    log = AuditLog(from_environment(KeySettings).audit_file)
    log.write({"tenant": "", "name": "", "method": what, "about": dict(about), "by": user()})


def user() -> str:
    """Who runs this process; "" for a container's user without a name."""
    try:
        return getpass.getuser()
    except (KeyError, OSError):
        return ""
