"""Asks for known vulnerabilities of the locked packages: ``make audit``.

Exit codes: 0 none is known, 1 some are, 3 not all could be asked for: no database, or no pip-audit.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
from pathlib import Path

import pytest

from tests.clients.environment import programs

LOCK = Path(__file__).parents[2] / "deploy/requirements.lock"
NONE_KNOWN, SOME_KNOWN, NOT_ASKED = 0, 1, 3


def main(arguments: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(prog="tests.clients.audit", description=__doc__)
    parser.add_argument("--lock", type=Path, default=LOCK, help="exact versions, one a line (%(default)s)")
    parser.add_argument("--osv-url", help="a database that answers as osv.dev does, in place of PyPI's")
    asked = parser.parse_args(arguments)
    try:
        program = programs("pip-audit") / "pip-audit"
    except pytest.skip.Exception as skipped:
        return _not_asked(str(skipped))
    command = [
        str(program),
        "--requirement",
        str(asked.lock),
        "--no-deps",
        "--disable-pip",
        "--format",
        "json",
    ]
    command += ["--progress-spinner", "off", "--timeout", "20"]
    if asked.osv_url:
        command += ["--vulnerability-service", "osv", "--osv-url", asked.osv_url]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    try:
        packages = json.loads(done.stdout)["dependencies"]
    except (ValueError, KeyError, TypeError):
        return _not_asked((done.stderr.strip().splitlines() or ["pip-audit said nothing"])[-1])
    return _told(packages)


def _told(packages: list[dict]) -> int:
    found = [(each, vulnerability) for each in packages for vulnerability in each.get("vulns", ())]
    skipped = [each for each in packages if "skip_reason" in each]
    for each in skipped:
        sys.stdout.write(f"{each['name']}: {each['skip_reason']}\n")
    for each, vulnerability in found:
        fixed = ", ".join(vulnerability["fix_versions"]) or "no version yet"
        sys.stdout.write(f"{each['name']} {each['version']}: {vulnerability['id']}, mended in {fixed}\n")
    sys.stdout.write(f"{len(packages)} packages, {len(found)} known vulnerabilities\n")
    if skipped and not found:
        return _not_asked(f"{len(skipped)} of {len(packages)} packages could not be asked for")
    return SOME_KNOWN if found else NONE_KNOWN


def _not_asked(why: str) -> int:
    sys.stderr.write(f"not audited: {why}\n")
    return NOT_ASKED


if __name__ == "__main__":
    sys.exit(main())
