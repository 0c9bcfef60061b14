"""Controller, scheduler and kubelet of a cluster of one node: containers are processes of this machine.

A Pod's volumes are folders, its variables are the process's, secrets filled in; what the Pod may do (users,
capabilities, a root that cannot be written to) is not enforced. Statuses are set as Kubernetes sets them.
"""

from __future__ import annotations

import contextlib
import os
import shutil
import signal
import subprocess
import sys
import threading
import time
import uuid
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from tests.unit.finetune.cluster_server import State, stamp

Json = dict[str, Any]

_INHERITED = ("PATH", "PYTHONPATH", "LD_LIBRARY_PATH", "VIRTUAL_ENV")
_PROGRAMS = {
    "python": [sys.executable],
    "torchrun": [sys.executable, "-m", "torch.distributed.run"],
}


class Node:
    """Runs what the API holds; ``tick`` is called again and again."""

    def __init__(self, state: State, folder: Path, secrets: Mapping[str, Mapping[str, str]]) -> None:
        self.state, self.folder, self.secrets = state, folder, secrets
        self.is_full = False
        """Whether Pods find no place."""
        self.trouble = ""
        """Why containers do not start: one of Kubernetes' reasons."""
        self.processes: dict[str, subprocess.Popen[bytes]] = {}
        self._ends: dict[str, Json] = {}
        self._kill_at: dict[str, float] = {}

    def tick(self) -> None:
        with self.state.lock:
            for job in list(self.state.objects["jobs"].values()):
                self._control(job)
            for pod in list(self.state.objects["pods"].values()):
                self._run(pod)

    def out_of_memory(self, name: str) -> None:
        """The kernel kills the worker of a Pod."""
        self._ends[name] = {"reason": "OOMKilled", "exitCode": 137}
        self.processes[name].kill()

    def displace(self, name: str, reason: str, message: str) -> None:
        """A Pod has to leave: preempted by the scheduler, drained, evicted by the kubelet."""
        with self.state.lock:
            pod = self.state.objects["pods"][name]
            pod["status"]["conditions"] = [condition("DisruptionTarget", "True", reason, message)]
            if reason == "TerminationByKubelet":
                pod["status"] |= {"reason": "Evicted", "message": message}
                self.processes[name].kill()
            else:
                self.state.delete("pods", name, "Background", 0)

    def _control(self, job: Json) -> None:
        """The Job controller."""
        pods, spec, status = self.state.pods_of(job), job["spec"], job["status"]
        if status.get("conditions") or spec.get("suspend"):
            return
        if not pods:
            self._make_pod(job)
            return
        (pod,) = pods
        phase = pod["status"]["phase"]
        if phase not in ("Succeeded", "Failed"):
            return
        if phase == "Succeeded":
            status["conditions"] = [condition("Complete", "True")]
            status |= {"succeeded": 1, "completionTime": stamp()}
        else:
            about = f"{pod['metadata']['namespace']}/{pod['metadata']['name']}"
            targets = [
                each for each in pod["status"].get("conditions", ()) if each["type"] == "DisruptionTarget"
            ]
            failed = ("BackoffLimitExceeded", "Job has reached the specified backoff limit")
            if targets and spec["podFailurePolicy"]["rules"]:
                why = f"Pod {about} has condition DisruptionTarget matching FailJob rule at index 0"
                failed = ("PodFailurePolicy", why)
            status["conditions"] = [condition("Failed", "True", *failed)]
            status["failed"] = 1
        status.pop("active", None)
        self.state.touch(job)
        if "deletionTimestamp" in pod["metadata"]:
            self.state.objects["pods"].pop(pod["metadata"]["name"])

    def _make_pod(self, job: Json) -> None:
        template, owner = job["spec"]["template"], job["metadata"]
        pod = {
            "apiVersion": "v1",
            "kind": "Pod",
            "metadata": {
                "name": f"{owner['name']}-{uuid.uuid4().hex[:5]}",
                "labels": {**template["metadata"]["labels"], "batch.kubernetes.io/job-name": owner["name"]},
                "ownerReferences": [
                    {"apiVersion": "batch/v1", "kind": "Job", "name": owner["name"], "uid": owner["uid"]}
                ],
            },
            "spec": template["spec"],
            "status": {"phase": "Pending"},
        }
        quota, self.state.quota = self.state.quota, None
        self.state.create("pods", pod)
        self.state.quota = quota
        job["status"] |= {"active": 1, "startTime": stamp()}
        self.state.touch(job)

    def _run(self, pod: Json) -> None:
        """Scheduler and kubelet."""
        name, status = pod["metadata"]["name"], pod["status"]
        process = self.processes.get(name)
        if "deletionTimestamp" in pod["metadata"]:
            self._terminate(pod, process)
        if process is not None and status["phase"] == "Running" and process.poll() is not None:
            self._ended(pod, process.returncode)
        elif status["phase"] == "Pending" and process is None and "deletionTimestamp" not in pod["metadata"]:
            self._start(pod)

    def _start(self, pod: Json) -> None:
        name, status = pod["metadata"]["name"], pod["status"]
        (container,) = pod["spec"]["containers"]
        if self.is_full:
            why = "0/1 nodes are available: 1 Insufficient cpu."
            status["conditions"] = [condition("PodScheduled", "False", "Unschedulable", why)]
            return
        status["conditions"] = [condition("PodScheduled", "True")]
        if self.trouble:
            waiting = {"reason": self.trouble, "message": f"{self.trouble} of {container['image']}"}
            status["containerStatuses"] = [container_status(container, {"waiting": waiting})]
            return
        self.processes[name] = self._process(pod, container)
        running = {"running": {"startedAt": stamp()}}
        status["containerStatuses"] = [container_status(container, running)]
        status["phase"] = "Running"
        self.state.touch(pod)

    def _process(self, pod: Json, container: Json) -> subprocess.Popen[bytes]:
        folders = self._folders(pod, container)
        variables = {each: os.environ[each] for each in _INHERITED if each in os.environ}
        for each in container["env"]:
            value = each.get("value")
            if value is None:
                reference = each["valueFrom"]["secretKeyRef"]
                value = self.secrets.get(reference["name"], {}).get(reference["key"])
                if value is None:
                    assert reference["optional"], f"CreateContainerConfigError: {each['name']}"
                    continue
            mounts = (path for path in folders if value == path or value.startswith(f"{path}/"))
            if mount := next(mounts, ""):
                value = f"{folders[mount]}{value[len(mount) :]}"
            variables[each["name"]] = value
        program, *flags = container["command"]
        with (self.folder / f"{pod['metadata']['name']}.log").open("ab") as log:
            # Its accelerators are cores of the CPU.
            command = [*_PROGRAMS[program], *("cpu" if each == "cuda" else each for each in flags)]
            return subprocess.Popen(command, env=variables, stdout=log, stderr=log, start_new_session=True)

    def _folders(self, pod: Json, container: Json) -> dict[str, Path]:
        """By mount path: the claim's folder, or one of the Pod's own."""
        found = {}
        volumes = {each["name"]: each for each in pod["spec"]["volumes"]}
        for mount in container["volumeMounts"]:
            claim = volumes[mount["name"]].get("persistentVolumeClaim", {}).get("claimName")
            own = self.folder / "volumes" / (claim or f"{pod['metadata']['name']}-{mount['name']}")
            own.mkdir(parents=True, exist_ok=True)
            found[mount["mountPath"]] = own
        return found

    def _terminate(self, pod: Json, process: subprocess.Popen[bytes] | None) -> None:
        name = pod["metadata"]["name"]
        if process is None or process.poll() is not None:
            if pod["status"]["phase"] != "Running":
                self.state.objects["pods"].pop(name, None)
            return
        grace = pod["metadata"]["deletionGracePeriodSeconds"]
        if name not in self._kill_at:
            with contextlib.suppress(ProcessLookupError):
                process.send_signal(signal.SIGTERM if grace else signal.SIGKILL)
        ends = min(self._kill_at.get(name, float("inf")), time.monotonic() + grace)
        self._kill_at[name] = ends
        if time.monotonic() > ends:
            process.kill()

    def _ended(self, pod: Json, code: int) -> None:
        name, (container,) = pod["metadata"]["name"], pod["spec"]["containers"]
        code = 128 - code if code < 0 else code
        end = {"exitCode": code, "reason": "Completed" if not code else "Error", "finishedAt": stamp()}
        end |= self._ends.get(name, {})
        if end["exitCode"]:
            end["message"] = (self.folder / f"{name}.log").read_text(errors="replace")[-2048:]
        pod["status"]["containerStatuses"] = [container_status(container, {"terminated": end})]
        pod["status"]["phase"] = "Failed" if code else "Succeeded"
        self.state.touch(pod)
        if not any(each["metadata"]["name"] == job_of(pod) for each in self.state.objects["jobs"].values()):
            self.state.objects["pods"].pop(name)

    def close(self) -> None:
        for process in self.processes.values():
            with contextlib.suppress(ProcessLookupError):
                os.killpg(process.pid, signal.SIGKILL)
            process.wait()
        shutil.rmtree(self.folder / "volumes", ignore_errors=True)


def job_of(pod: Json) -> str:
    return pod["metadata"]["labels"]["batch.kubernetes.io/job-name"]


def condition(kind: str, status: str, reason: str = "", message: str = "") -> Json:
    said = {"reason": reason, "message": message} if reason else {}
    return {"type": kind, "status": status, "lastTransitionTime": stamp(), **said}


def container_status(container: Json, state: Json) -> Json:
    about = {"name": container["name"], "image": container["image"], "imageID": "", "restartCount": 0}
    return {**about, "ready": "running" in state, "state": state}


@contextlib.contextmanager
def running_node(state: State, folder: Path, secrets: Mapping[str, Mapping[str, str]]) -> Iterator[Node]:
    """A node at work."""
    node, closing = Node(state, folder, secrets), threading.Event()
    failures: list[BaseException] = []

    def work() -> None:
        while not closing.wait(0.05):
            try:
                node.tick()
            except BaseException as error:
                failures.append(error)
                return

    thread = threading.Thread(target=work, daemon=True)
    thread.start()
    try:
        yield node
    finally:
        closing.set()
        thread.join()
        node.close()
    assert not failures, failures
