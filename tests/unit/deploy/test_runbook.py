"""deploy/RUNBOOK.md: a section for each alert, and nothing in it that is not there when it is needed."""

from __future__ import annotations

import json
import re
import shlex
import shutil
import subprocess

import pytest
import typer.main
from typer.core import TyperGroup

from gateway.cli.app import build
from services.common.errors import Reason
from tests.contract.deploy.manifests import PROCESSES, TOGETHER, rendered
from tests.contract.test_readme import settings_variables
from tests.unit.deploy.queries import DASHBOARDS, ROOT, alerts, asked, exported, recorded, rules

TEXT = (ROOT / "deploy/RUNBOOK.md").read_text()
SECTION = re.compile(r"^### (\w+)\n(.*?)(?=^##|\Z)", re.MULTILINE | re.DOTALL)
SECTIONS = dict(SECTION.findall(TEXT))
BLOCKS = re.findall(r"^```\n(.*?)^```", TEXT, re.MULTILINE | re.DOTALL)
SPANS = [" ".join(each.split()) for each in re.findall(r"`([^`]+)`", re.sub(r"(?ms)^```.*?^```", "", TEXT))]
COMMANDS = sorted({line for block in BLOCKS for line in block.splitlines()} | set(SPANS))
PEQUOD = [each for each in COMMANDS if each.startswith("pequod ")]
KUBECTL = [each for each in COMMANDS if each.startswith("kubectl ")]
OBJECTS = {"deploy": "Deployment", "svc": "Service", "hpa": "HorizontalPodAutoscaler"} | {
    "scaledobject": "ScaledObject",
    "networkpolicy": "NetworkPolicy",
}
USAGE_ERROR = typer.BadParameter.__base__
AWAY = "http://127.0.0.1:1"


def part(section, name):
    """The paragraph of a section that begins with its name."""
    found = re.search(rf"\*\*{name}\.\*\* (.*?)(?:\n\n|\Z)", section, re.DOTALL)
    assert found, f"there is no {name}"
    return " ".join(found[1].replace("`", "").split())


def test_every_alert_has_a_section_and_every_section_an_alert():
    assert set(SECTIONS) == {rule["alert"] for rule in alerts()}


@pytest.mark.parametrize("name", SECTIONS)
def test_a_section_says_what_it_means_where_to_look_and_what_to_do(name):
    for each in ("Means", "Look", "Do"):
        assert len(part(SECTIONS[name], each)) > 10


@pytest.mark.parametrize("rule", alerts(), ids=lambda rule: rule["alert"])
def test_an_alert_says_who_looks_what_is_wrong_and_where_it_is_written(rule):
    """In the labels and annotations that Alertmanager's routes and templates read."""
    said = rule["annotations"]
    assert set(rule["labels"]) == {"severity"}
    assert rule["labels"]["severity"] in {"page", "ticket"}
    assert set(said) == {"summary", "description", "runbook_url"}
    assert said["description"] == part(SECTIONS[rule["alert"]], "Means"), (
        "what it means stands in the runbook"
    )
    assert said["runbook_url"].endswith(f"#{rule['alert'].lower()}")


def test_the_runbook_shows_queries_that_can_be_asked():
    known = exported()
    queries = [each for each in SPANS if "pequod_" in each or "pequod:" in each]
    assert queries
    for query in queries:
        assert set(asked(query)) <= set(known), query
        assert recorded(query) <= {rule.get("record") for rule in rules()}, query


@pytest.mark.parametrize("command", PEQUOD)
def test_a_command_of_pequod_is_understood(command):
    words, known, context = shlex.split(command)[1:], typer.main.get_command(build()), None
    while isinstance(known, TyperGroup):
        context = known.make_context(known.name, [], parent=context, resilient_parsing=True)
        context.resilient_parsing = False  # from here on what is wrong is refused
        _, known, words = known.resolve_command(context, words)
    known.make_context(known.name, list(words), parent=context)


def test_what_is_no_command_is_not_understood():
    for wrong in ("pequod nonsense", "pequod jobs show", "pequod jobs ls --nonsense x"):
        with pytest.raises(USAGE_ERROR):
            test_a_command_of_pequod_is_understood(wrong)


@pytest.mark.parametrize("command", KUBECTL)
def test_a_command_of_kubectl_is_understood(command, tmp_path):
    """It gets as far as asking a server that is not there, or a folder."""
    if shutil.which("kubectl") is None:
        pytest.skip("kubectl is not installed")
    words = shlex.split(command.partition(" | ")[0])
    words[1:1] = [f"--server={AWAY}", "--request-timeout=2s"]
    environ = {
        "KUBECONFIG": str(tmp_path / "none"),
        "HOME": str(tmp_path),
        "PATH": "/usr/local/bin:/usr/bin:/bin",
    }
    done = subprocess.run(words, env=environ, capture_output=True, text=True, timeout=60, check=False)
    assert done.returncode != 0
    assert re.search(r"127\.0\.0\.1:1\b.*refused|FOLDER", done.stderr), done.stderr


@pytest.mark.parametrize("command", KUBECTL)
def test_a_command_names_objects_that_are_deployed(command):
    objects = {(each["kind"], each["metadata"]["name"]) for each in rendered(TOGETHER)}
    objects |= {(each["kind"], each["metadata"]["name"]) for each in rendered("cpu")}
    named = re.findall(r"\b(deploy|svc)/([a-z-]+)", command)
    named += re.findall(r"\b(hpa|scaledobject|networkpolicy) ([a-z-]+)", command)
    assert {(OBJECTS[kind], name) for kind, name in named} <= objects
    assert set(re.findall(r"app\.kubernetes\.io/name=([a-z]+)", command)) <= set(PROCESSES)
    assert "-n pequod" in command or not named


def test_what_it_names_is_there():
    code = "".join(
        path.read_text() for folder in ("services", "gateway") for path in (ROOT / folder).rglob("*.py")
    )
    for message in re.findall(r"message `([^`]+)`", " ".join(TEXT.split())):
        assert f'"{message}' in code, message
    policies = {each["metadata"]["name"] for each in rendered(TOGETHER) if each["kind"] == "NetworkPolicy"}
    assert set(re.findall(r"polic(?:y|ies)\s+`([a-z-]+)`", TEXT)) <= policies
    assert {each.split("=")[0] for each in re.findall(r"\bPEQUOD_[A-Z_]+", TEXT)} <= settings_variables() | {
        "PEQUOD_API_KEY"
    }
    for alert in re.findall(r"\bPequod[A-Z]\w+", TEXT):
        assert alert in SECTIONS, alert
    panels = {panel["title"] for file in DASHBOARDS for panel in json.loads(file.read_text())["panels"]} | {
        json.loads(file.read_text())["title"] for file in DASHBOARDS
    }
    assert set(re.findall(r"(?<!\*)\*([A-Z][^*\n]+)\*(?!\*)", TEXT)) - {"First", "Explore"} <= panels
    for reason in re.findall(r"(?:reason |\()([A-Z]+_[A-Z_]+)\b", TEXT):
        assert reason in set(Reason), reason
    for path in re.findall(r"`((?:deploy|var|services|tests)/[\w./-]+)`", TEXT):
        assert path.startswith("var/") or (ROOT / path).exists(), path
