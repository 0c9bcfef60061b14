"""The process that atheris drives: ``python -m tests.fuzz.child TARGET PROGRAM`` and libFuzzer's arguments.

PROGRAM is what libFuzzer starts again for a merge: a script that runs this module.
"""

from __future__ import annotations

import sys

import atheris

_INSTRUMENTED = ["services", "gateway", "jwt", "python_multipart", "starlette.formparsers", "PIL"]
"""Ours, and parsers that are Python too."""


def main(name: str, program: str, arguments: list[str]) -> None:
    """Fuzz until libFuzzer has enough; it ends the process."""
    with atheris.instrument_imports(include=_INSTRUMENTED, enable_loader_override=False):
        from tests.fuzz.known import target, tried

        found = target(name)
        for seed in found.seeds():
            tried(found, seed)  # what a target imports only when it runs is instrumented too

    def one(data: bytes) -> None:
        tried(found, data)

    atheris.Setup([program, *arguments], one)
    atheris.Fuzz()


if __name__ == "__main__":
    main(sys.argv[1], sys.argv[2], sys.argv[3:])
