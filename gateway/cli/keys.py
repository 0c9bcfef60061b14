"""``pequod keys``: make, list and revoke the keys that open the platform. It works on the key file itself."""

from __future__ import annotations

import json
from datetime import UTC, datetime, timedelta
from typing import Annotated, Any

import typer
from pydantic import ValidationError

from gateway.audit import AuditLog
from gateway.cli import output
from gateway.cli.durations import seconds_of
from gateway.cli.operator import user
from gateway.keys.key import Key, KeyLimits, digest_of, first_fault, new_key
from gateway.keys.keyfile import KeyFileError, editing, make_secret, read_keys
from gateway.keys.settings import KeySettings
from gateway.principal import Group, Priority
from services.common.settings import from_environment
from services.common.tenants import LOCAL

app = typer.Typer(help="Make, list and revoke keys.", no_args_is_help=True)

_DAY = "30d, 12h, 90m or 45s"


@app.command()
def create(
    name: Annotated[str, typer.Argument(help="Whose key it is; keys of one name share limits and usage.")],
    tenant: Annotated[str, typer.Option(help="Whose data sets, jobs and models it reaches.")] = LOCAL,
    group: Annotated[
        list[Group] | None, typer.Option(help="What it may call; may be repeated. Default: everything.")
    ] = None,
    model: Annotated[
        list[str] | None, typer.Option(help="Models it may use, * for any letters; may be repeated.")
    ] = None,
    priority: Annotated[Priority, typer.Option(help="Whose calls leave queues first.")] = Priority.NORMAL,
    expires: Annotated[str, typer.Option(help=f"Time after which it opens nothing: {_DAY}.")] = "",
    requests: Annotated[float | None, typer.Option(help="Requests a minute.")] = None,
    concurrent: Annotated[int | None, typer.Option(help="Calls at a time.")] = None,
    tokens: Annotated[float | None, typer.Option(help="Tokens a minute, read and written.")] = None,
    megapixel_steps: Annotated[
        float | None, typer.Option(help="Pixels times steps times pictures a minute, in millions.")
    ] = None,
    training_minutes: Annotated[float | None, typer.Option(help="Minutes of training a day.")] = None,
    as_json: output.Json = False,
) -> None:
    """Make a key and show it, this once. A running gateway takes it within a second."""
    now = datetime.now(UTC)
    shown = new_key()
    settings = _settings()
    try:
        first = not settings.path.exists()
        key = Key(
            id=shown.id,
            name=name,
            tenant=tenant,
            digest=digest_of(shown.text, make_secret(settings.secret_file)),
            groups=tuple(group or Group),
            models=tuple(model or ("*",)),
            priority=priority,
            limits=KeyLimits(
                requests_per_minute=requests,
                concurrent=concurrent,
                tokens_per_minute=tokens,
                megapixel_steps_per_minute=megapixel_steps,
                training_minutes_per_day=training_minutes,
            ),
            created=now,
            expires=now + timedelta(seconds=seconds_of(expires)) if expires else None,
        )
        with editing(settings.path) as keys:
            keys.append(key)
    except (ValidationError, KeyFileError, ValueError, OSError) as error:
        raise _refused(error) from None
    _audit(settings, "keys create", key)
    if as_json:
        output.write(json.dumps({"id": key.id, "key": shown.text}) + "\n")
        return
    output.write(shown.text + "\n")
    output.note(f"key {key.id} of {tenant}/{name}; it is not shown again. Use it: export PEQUOD_API_KEY=…")
    if first:
        output.note("It is the first one: from now on every call needs a key.")


@app.command("list", hidden=True)
@app.command("ls")
def list_keys(as_json: output.Json = False) -> None:
    """Show the keys, without what opens anything."""
    settings = _settings()
    try:
        keys = read_keys(settings.path) if settings.path.exists() else ()
    except (KeyFileError, OSError) as error:
        raise _refused(error) from None
    if as_json:
        shown = [key.model_dump(mode="json", exclude={"digest"}) for key in keys]
        output.write(json.dumps({"keys": shown}, indent=2) + "\n")
        return
    now = datetime.now(UTC)
    output.table(
        ("id", "tenant", "name", "state", "groups", "models", "priority", "limits"),
        [_row(key, now) for key in keys],
    )


@app.command()
def revoke(
    key_id: Annotated[str, typer.Argument(metavar="ID", help="As `pequod keys ls` shows it.")],
    after: Annotated[str, typer.Option(help=f"Let it open things for so long yet: {_DAY}.")] = "",
) -> None:
    """End a key, now or after a time. A running gateway refuses it within a second."""
    settings = _settings()
    now = datetime.now(UTC)
    try:
        with editing(settings.path) as keys:
            place = next((i for i, key in enumerate(keys) if key.id == key_id), None)
            if place is None:
                raise KeyFileError(f"no key {key_id!r}; `pequod keys ls` shows them")
            change: dict[str, Any] = (
                {"expires": now + timedelta(seconds=seconds_of(after))} if after else {"revoked": now}
            )
            key = keys[place] = keys[place].model_copy(update=change)
    except (KeyFileError, ValueError, OSError) as error:
        raise _refused(error) from None
    _audit(settings, "keys revoke", key)
    output.note(f"key {key.id} of {key.tenant}/{key.name} " + (f"ends in {after}" if after else "is revoked"))


def _settings() -> KeySettings:
    return from_environment(KeySettings)


def _row(key: Key, now: datetime) -> tuple[str, ...]:
    groups = "all" if set(key.groups) == set(Group) else " ".join(key.groups)
    limits = " ".join(f"{name}={value:g}" for name, value in key.limits.model_dump(exclude_none=True).items())
    return key.id, key.tenant, key.name, _state(key, now), groups, " ".join(key.models), key.priority, limits


def _state(key: Key, now: datetime) -> str:
    if key.revoked:
        return f"revoked {key.revoked:%F %R}"
    if key.expires:
        return f"{'until' if key.lives(now) else 'expired'} {key.expires:%F %R}"
    return "lives"


def _audit(settings: KeySettings, what: str, key: Key) -> None:
    AuditLog(settings.audit_file).write(
        {"tenant": key.tenant, "name": key.name, "method": what, "about": {"key": key.id}, "by": user()}
    )


def _refused(error: Exception) -> typer.Exit:
    output.fail(first_fault(error) if isinstance(error, ValidationError) else str(error))
    return typer.Exit(1)
