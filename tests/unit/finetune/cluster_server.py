"""A server that answers as the Kubernetes API does for Jobs and Pods, as far as its OpenAPI description goes.

Bearer tokens, namespaces, names, label selectors, resourceVersion, Status objects, strict field validation,
propagation policies and grace periods are the API's; ``cluster_node`` plays controller, scheduler, kubelet.
"""

from __future__ import annotations

import contextlib
import copy
import json
import re
import ssl
import threading
import time
import uuid
from collections.abc import Iterator
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, urlsplit

import kubernetes_validate

TOKEN, NAMESPACE, VERSION = "let-me-in", "training", "1.37"
_PATHS = {
    "jobs": re.compile(r"/apis/batch/v1/namespaces/([^/]+)/jobs(?:/([^/]+))?"),
    "pods": re.compile(r"/api/v1/namespaces/([^/]+)/pods(?:/([^/]+))?"),
}
_KINDS = {"jobs": ("batch/v1", "Job", "batch"), "pods": ("v1", "Pod", "")}
_NAME = re.compile(r"[a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?")
_REASONS = {
    **{400: "BadRequest", 401: "Unauthorized", 403: "Forbidden", 404: "NotFound"},
    **{405: "MethodNotAllowed", 409: "AlreadyExists", 422: "Invalid", 503: "ServiceUnavailable"},
}

Json = dict[str, Any]


def stamp() -> str:
    return time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime())


class Refusal(Exception):
    """Answered as a Status object."""

    def __init__(self, code: int, message: str) -> None:
        super().__init__(message)
        self.code = code


@dataclass
class State:
    """All objects, by kind and name. Whoever reads or changes them holds the lock."""

    objects: dict[str, dict[str, Json]] = field(default_factory=lambda: {"jobs": {}, "pods": {}})
    lock: threading.RLock = field(default_factory=threading.RLock)
    requests: list[tuple[str, str, int]] = field(default_factory=list)
    port: int = 0
    is_away: bool = False
    answers_lost: int = 0
    """So many creations happen whose answer never arrives."""
    quota: int | None = None
    """Jobs that the namespace may have."""
    _version: int = 100

    def touch(self, item: Json) -> None:
        """It has changed."""
        self._version += 1
        item["metadata"]["resourceVersion"] = f"{self._version}"

    def create(self, kind: str, item: Json) -> Json:
        """As the API does. Raises Refusal."""
        name = item["metadata"].get("name", "")
        if not _NAME.fullmatch(name):
            raise Refusal(422, f'Job.batch "{name}" is invalid: metadata.name: Invalid value')
        if name in self.objects[kind]:
            raise Refusal(409, f'jobs.batch "{name}" already exists')
        if self.quota is not None and len(self.objects["jobs"]) >= self.quota:
            raise Refusal(403, f'jobs.batch "{name}" is forbidden: exceeded quota: jobs')
        created = copy.deepcopy(item)
        made = {"namespace": NAMESPACE, "uid": str(uuid.uuid4()), "creationTimestamp": stamp()}
        created["metadata"] |= made
        created.setdefault("status", {})
        self.touch(created)
        self.objects[kind][name] = created
        return created

    def delete(self, kind: str, name: str, policy: str, grace: int | None) -> Json:
        """Pods that run end after their grace, Jobs at once, and their Pods by the policy."""
        if name not in self.objects[kind]:
            raise Refusal(404, f'{kind} "{name}" not found')
        if kind == "jobs":
            item = self.objects[kind].pop(name)
            if policy != "Orphan":
                for pod in self.pods_of(item):
                    self.delete("pods", pod["metadata"]["name"], policy, None)
            return item
        item = self.objects[kind][name]
        usual = item["spec"].get("terminationGracePeriodSeconds", 30)
        item["metadata"].setdefault("deletionTimestamp", stamp())
        known = item["metadata"].get("deletionGracePeriodSeconds", usual)
        item["metadata"]["deletionGracePeriodSeconds"] = min(known, usual if grace is None else grace)
        self.touch(item)
        return item

    def pods_of(self, job: Json) -> list[Json]:
        uid = job["metadata"]["uid"]
        return [
            each
            for each in self.objects["pods"].values()
            if any(owner["uid"] == uid for owner in each["metadata"].get("ownerReferences", ()))
        ]

    def check(self) -> None:
        """Every object is one by the published schema."""
        with self.lock:
            for each in (*self.objects["jobs"].values(), *self.objects["pods"].values()):
                kubernetes_validate.validate(each, VERSION, strict=True)


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    state: State

    def log_message(self, *given: object) -> None:
        """Tests look at ``requests``."""

    def do_GET(self) -> None:
        self._answer("GET")

    def do_POST(self) -> None:
        self._answer("POST")

    def do_DELETE(self) -> None:
        self._answer("DELETE")

    def _answer(self, method: str) -> None:
        body = self.rfile.read(int(self.headers.get("Content-Length") or 0))
        if self.state.is_away:
            self.close_connection = True
            return
        is_lost = False
        with self.state.lock:
            try:
                code, reply = self._reply(method, body)
                is_lost = method == "POST" and self.state.answers_lost > 0
                self.state.answers_lost -= is_lost
            except Refusal as refusal:
                code, reply = refusal.code, _status(refusal)
            self.state.requests.append((method, self.path, code))
            data = json.dumps(reply).encode()
        if is_lost:
            self.close_connection = True
            return
        self.send_response(code)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", f"{len(data)}")
        self.end_headers()
        self.wfile.write(data)

    def _reply(self, method: str, body: bytes) -> tuple[int, Json]:
        scheme, _, token = self.headers.get("Authorization", "").partition(" ")
        if (scheme.lower(), token) != ("bearer", TOKEN):
            raise Refusal(401, "Unauthorized")
        split = urlsplit(self.path)
        query = {name: values[-1] for name, values in parse_qs(split.query).items()}
        for kind, pattern in _PATHS.items():
            if found := pattern.fullmatch(split.path):
                namespace, name = found.groups()
                if namespace != NAMESPACE:
                    what = f'{kind} is forbidden: User "pequod" cannot use it in the namespace "{namespace}"'
                    raise Refusal(403, what)
                return self._of(kind, method, name, query, json.loads(body) if body else {})
        raise Refusal(404, "the server could not find the requested resource")

    def _of(self, kind: str, method: str, name: str | None, query: dict[str, str], body: Json):
        objects = self.state.objects[kind]
        if method == "POST" and kind == "jobs" and name is None:
            if query.get("fieldValidation") == "Strict":
                _validate(body)
            return 201, self.state.create(kind, body)
        if method == "GET" and name is None:
            wanted = dict(part.split("=") for part in query.get("labelSelector", "").split(",") if part)
            items = [
                each for each in objects.values() if wanted.items() <= each["metadata"]["labels"].items()
            ]
            version, singular, _ = _KINDS[kind]
            about = {"resourceVersion": "1"}
            return 200, {"apiVersion": version, "kind": f"{singular}List", "metadata": about, "items": items}
        if name is not None and name not in objects:
            raise Refusal(404, f'{kind} "{name}" not found')
        if method == "DELETE" and name is not None:
            options = {**body, **query}
            grace = options.get("gracePeriodSeconds")
            policy = options.get("propagationPolicy", "Orphan" if kind == "jobs" else "Background")
            deleted = self.state.delete(kind, name, policy, None if grace is None else int(grace))
            about = {"name": name, "kind": kind, "uid": deleted["metadata"]["uid"]}
            success = {"apiVersion": "v1", "kind": "Status", "status": "Success", "details": about}
            return 200, deleted if kind == "pods" else success
        raise Refusal(405, "the server does not allow this method on the requested resource")


def _validate(body: Json) -> None:
    try:
        kubernetes_validate.validate(body, VERSION, strict=True)
    except kubernetes_validate.ValidationError as error:
        raise Refusal(
            400, f"Job in version v1 cannot be handled as a Job: strict decoding error: {error}"
        ) from None


def _status(refusal: Refusal) -> Json:
    return {
        **{"apiVersion": "v1", "kind": "Status", "metadata": {}, "status": "Failure"},
        **{"message": str(refusal), "reason": _REASONS[refusal.code], "code": refusal.code},
    }


@contextlib.contextmanager
def serving_api(folder: Path, tls: ssl.SSLContext | None = None) -> Iterator[tuple[State, Path]]:
    """The server, and a kubeconfig that leads to it unless it speaks ``tls``."""
    state = State()
    server = ThreadingHTTPServer(("127.0.0.1", 0), type("Handler", (_Handler,), {"state": state}))
    state.port = server.server_port
    if tls is not None:
        server.socket = tls.wrap_socket(server.socket, server_side=True)
    server.daemon_threads = True
    thread = threading.Thread(target=server.serve_forever, args=(0.05,), daemon=True)
    thread.start()
    config = folder / "kubeconfig"
    named = {
        "clusters": [{"name": "c", "cluster": {"server": f"http://127.0.0.1:{server.server_port}"}}],
        "users": [{"name": "u", "user": {"token": TOKEN}}],
        "contexts": [{"name": "x", "context": {"cluster": "c", "user": "u", "namespace": NAMESPACE}}],
    }
    about = {"apiVersion": "v1", "kind": "Config", "current-context": "x"}
    config.write_text(json.dumps({**about, **named}))
    try:
        yield state, config
    finally:
        server.shutdown()
        server.server_close()
        thread.join()
