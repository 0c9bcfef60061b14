"""Spans. Where tracing is off they are one object that does nothing, and no SDK is imported.

No attribute holds what a caller wrote: errors are told by their code or class, never by their text.
"""

from __future__ import annotations

import asyncio
import contextlib
import time
from collections.abc import Iterator, Mapping
from contextvars import ContextVar, Token
from dataclasses import dataclass
from enum import Enum
from types import TracebackType
from typing import TYPE_CHECKING, TypeAlias

from services.common import log

if TYPE_CHECKING:
    from opentelemetry.trace import Span as SdkSpan

    from services.common.tracing.sdk import Sdk

MOST_CHILDREN = 128
"""Spans below that of one call in one process; a call of thousands of rows says how many it left out."""

Value: TypeAlias = "str | int | float | bool"
Attributes: TypeAlias = "Mapping[str, Value]"


class Kind(Enum):
    """Which side of a call a span is; the names are OpenTelemetry's."""

    INTERNAL = "internal"
    SERVER = "server"
    CLIENT = "client"


@dataclass(slots=True)
class _Room:
    """How many spans a call may still have."""

    left: int = MOST_CHILDREN
    left_out: int = 0


_current: ContextVar[Span | None] = ContextVar("span", default=None)
"""The innermost open span of this task."""


class _Tracing:
    """What this process makes its spans by; None while it makes none."""

    sdk: Sdk | None = None


_tracing = _Tracing()


class NoSpan:
    """Does nothing."""

    __slots__ = ()

    def __enter__(self) -> NoSpan:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Nothing was begun."""

    def set(self, attributes: Attributes) -> None:
        """Nothing to set them on."""

    def rename(self, name: str) -> None:
        """Nothing to name."""

    def conclude(self, failure: str = "") -> None:
        """Nothing to mark."""


NOTHING = NoSpan()


class Span(NoSpan):
    """A span that is current while its block runs. An error that ends the block marks it."""

    __slots__ = ("_concluded", "_room", "_token", "_trace", "handle", "is_outermost")

    def __init__(self, handle: SdkSpan, room: _Room, is_outermost: bool) -> None:
        """``handle``: the SDK's. ``is_outermost``: it is the first of its call in this process."""
        self.handle, self._room, self.is_outermost = handle, room, is_outermost
        self._concluded = False
        self._token: Token[Span | None] | None = None
        self._trace: Token[str] | None = None

    def __enter__(self) -> Span:
        self._token = _current.set(self)
        if self.is_outermost:
            self._trace = log.trace_id.set(self.trace_id)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if error is not None and not self._concluded:
            self.conclude(_reason(error))
        if self.is_outermost and self._room.left_out:
            self.set({"pequod.spans_left_out": self._room.left_out})
        self.handle.end()
        # An abandoned stream is closed from another context, where the tokens mean nothing.
        with contextlib.suppress(ValueError):
            if self._token is not None:
                _current.reset(self._token)
            if self._trace is not None:
                log.trace_id.reset(self._trace)

    @property
    def trace_id(self) -> str:
        """32 hexadecimal digits."""
        return f"{self.handle.get_span_context().trace_id:032x}"

    def set(self, attributes: Attributes) -> None:
        """Add attributes."""
        self.handle.set_attributes(attributes)

    def rename(self, name: str) -> None:
        """Give it a name that was not known when it began."""
        self.handle.update_name(name)

    def conclude(self, failure: str = "") -> None:
        """How it ended, whatever error ends the block: ``failure`` is a code or a class, no text."""
        self._concluded = True
        if failure and _tracing.sdk is not None:
            _tracing.sdk.mark(self.handle, failure)

    def inner(self, name: str, kind: Kind, attributes: Attributes, begun: int | None = None) -> NoSpan:
        """A span below this one, begun at ``begun`` (nanoseconds since 1970; None: now)."""
        room, sdk = self._room, _tracing.sdk
        if sdk is None or not self.handle.is_recording():
            return NOTHING
        if room.left <= 0 and kind is Kind.INTERNAL:
            room.left_out += 1
            return NOTHING
        room.left -= 1
        return Span(sdk.begin(name, kind, self.handle, attributes, begun), room, False)


def begin_tracing(sdk: Sdk) -> None:
    """From now on spans are made, by ``sdk``."""
    _tracing.sdk = sdk


def end_tracing() -> None:
    """No more spans; what there is, is sent, within a few seconds."""
    sdk, _tracing.sdk = _tracing.sdk, None
    if sdk is not None:
        sdk.close()


def is_on() -> bool:
    """Whether this process traces."""
    return _tracing.sdk is not None


def current() -> Span | None:
    """The innermost open span; None outside calls, and where tracing is off."""
    return None if _tracing.sdk is None else _current.get()


def span(name: str, attributes: Attributes | None = None, kind: Kind = Kind.INTERNAL) -> NoSpan:
    """A span below the current one; nothing where there is none: what nobody called for has no trace."""
    outer = current()
    return NOTHING if outer is None else outer.inner(name, kind, attributes or {})


@contextlib.contextmanager
def untraced() -> Iterator[None]:
    """Nothing that happens in the block has a span."""
    token = _current.set(None)
    try:
        yield
    finally:
        with contextlib.suppress(ValueError):
            _current.reset(token)


def entered(
    name: str, headers: Mapping[str, str], attributes: Attributes, kind: Kind = Kind.SERVER
) -> NoSpan:
    """The outermost span of what others asked for: below the caller's, or of a trace of its own.

    ``headers`` are those of W3C, ``traceparent`` and ``tracestate``, where the caller sent them.
    """
    sdk = _tracing.sdk
    if sdk is None:
        return NOTHING
    return Span(sdk.enter(name, kind, headers, attributes), _Room(), is_outermost=True)


def headers() -> dict[str, str]:
    """``traceparent`` and ``tracestate`` for whoever is called now; nothing outside calls."""
    outer, sdk = current(), _tracing.sdk
    return {} if outer is None or sdk is None else sdk.headers(outer.handle)


def record(name: str, begun: float, ended: float, attributes: Attributes | None = None) -> None:
    """A span that is over, below the current one. Both times are on the clock of ``time.monotonic``."""
    outer = current()
    if outer is None:
        return
    since_1970 = time.time_ns() - time.monotonic_ns()
    made = outer.inner(name, Kind.INTERNAL, attributes or {}, since_1970 + int(begun * 1e9))
    if isinstance(made, Span):
        made.handle.end(since_1970 + int(max(begun, ended) * 1e9))


def _reason(error: BaseException) -> str:
    """A reason of the catalogue where there is one, else the error's class."""
    if isinstance(error, asyncio.CancelledError | GeneratorExit):
        return "CANCELLED"  # the caller left, or its deadline passed
    reason = getattr(error, "reason", None)
    return str(getattr(reason, "value", type(error).__name__))
