"""The real Envoy with the configuration that is deployed, in front of gateways of this machine."""

from __future__ import annotations

import json
import ssl
import urllib.error
import urllib.request
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

from tests.clients.environment import programs
from tests.contract.deploy.manifests import K8S
from tests.unit.common.certificates import Authority

CONFIGURATION = K8S / "components/envoy"
_DRAIN = ("--drain-time-s", "--drain-strategy")
_GATEWAYS = "gateway-pods"


@dataclass(frozen=True)
class Door:
    """Where one gateway listens."""

    host: str
    grpc: int
    http: int
    admin: int


class Envoy:
    """The deployed configuration in ``folder``, with addresses of a test in place of the cluster's."""

    def __init__(
        self,
        folder: Path,
        doors: Sequence[Door],
        ports: tuple[int, int, int],
        authority: Authority | None = None,
    ) -> None:
        """``ports``: public, side and admin; ``authority``: in place of one of its own.

        Skips the test where Envoy cannot be had.
        """
        self.folder = folder
        authority = authority or Authority()
        authority.issue().write(folder, "tls")
        self.authorities = authority.certificate
        self.public, self.side, self.admin = ports
        replaced = {
            "0.0.0.0": "127.0.0.1",
            "/etc/envoy-tls": str(folder),
            "/etc/envoy": str(folder),
            "port_value: 8443": f"port_value: {self.public}",
            "port_value: 9902": f"port_value: {self.side}",
            "port_value: 9901": f"port_value: {self.admin}",
        }
        for name in ("envoy.yaml", "certificate.yaml"):
            text = (CONFIGURATION / name).read_text()
            for old, new in replaced.items():
                text = text.replace(old, new)
            content = yaml.safe_load(text)
            _place(content, doors)
            (folder / name).write_text(yaml.safe_dump(content, sort_keys=False))
        self.log = folder / "envoy.log"
        self.command = [str(programs("envoy") / "envoy"), "--config-path", str(folder / "envoy.yaml")]
        self.arguments = ["--concurrency", "1", "--use-dynamic-base-id", "--log-path", str(self.log)]
        self.arguments += _deployed_arguments()
        self.drain = ["bash", str(CONFIGURATION / "drain.sh"), str(self.admin)]
        """The deployed one's preStop hook."""

    def get(self, path: str, port: int | None = None, body: object = None) -> tuple[int, str]:
        """Status and text of an answer; by TLS, except from the side port."""
        trusted = ssl.create_default_context(cadata=self.authorities.decode())
        base = f"https://localhost:{self.public}" if port is None else f"http://127.0.0.1:{port}"
        data = None if body is None else json.dumps(body).encode()
        asked = urllib.request.Request(
            f"{base}{path}", data=data, headers={"content-type": "application/json"}
        )
        try:
            context = trusted if port is None else None
            with urllib.request.urlopen(asked, timeout=30, context=context) as reply:
                return reply.status, reply.read().decode()
        except urllib.error.HTTPError as error:
            with error:
                return error.code, error.read().decode()

    def ready(self) -> bool:
        """Whether a gateway behind it is."""
        try:
            return self.get("/readyz")[0] == 200
        except OSError:
            return False

    def healthy(self) -> dict[str, int]:
        """How many gateways of each cluster it sends calls to."""
        listed = json.loads(self.get("/clusters?format=json", port=self.admin)[1])
        return {
            each["name"]: sum(_is_healthy(host) for host in each.get("host_statuses", ()))
            for each in listed["cluster_statuses"]
            if each["name"].startswith("gateway-")
        }


def _deployed_arguments() -> list[str]:
    """What the manifest says of draining."""
    [deployment, *_] = yaml.safe_load_all((CONFIGURATION / "deployment.yaml").read_text())
    given = deployment["spec"]["template"]["spec"]["containers"][0]["args"]
    return [each for name in _DRAIN for each in (name, given[given.index(name) + 1])]


def _is_healthy(host: dict[str, Any]) -> bool:
    return host["health_status"] == {"eds_health_status": "HEALTHY"}


def _place(content: dict[str, Any], doors: Sequence[Door]) -> None:
    """Each gateway in place of the one name that stands for all of them."""
    for cluster in content.get("static_resources", {}).get("clusters", ()):
        for group in cluster["load_assignment"]["endpoints"]:
            first = group["lb_endpoints"][0]["endpoint"]["address"]["socket_address"]
            if first["address"] == _GATEWAYS:
                of_grpc = cluster["name"] == "gateway-grpc"
                group["lb_endpoints"] = [
                    _endpoint(door.host, door.grpc if of_grpc else door.http, door.admin) for door in doors
                ]


def _endpoint(host: str, port: int, admin: int) -> dict[str, Any]:
    address = {"socket_address": {"address": host, "port_value": port}}
    return {"endpoint": {"address": address, "health_check_config": {"port_value": admin}}}
