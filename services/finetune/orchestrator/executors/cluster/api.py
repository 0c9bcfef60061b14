"""The four calls of the Kubernetes API that are needed, through its official client."""

from __future__ import annotations

import importlib
import json
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from services.common.errors import Code, Reason, ServiceError
from services.common.settings import SettingsError
from services.finetune.orchestrator.executors.cluster.settings import ClusterSettings

_OWN_NAMESPACE = Path("/var/run/secrets/kubernetes.io/serviceaccount/namespace")
_TIMEOUT = (3.0, 10.0)
"""Seconds to connect, and between bytes."""
_RETRY_AFTER = 5.0
_BAD, _GONE, _CONFLICT, _INVALID = 400, 404, 409, 422
_SHOWN = 1000

Json = Mapping[str, Any]


class ClusterApi:
    """Blocking. Methods raise ServiceError: UNAVAILABLE where another try may do, else INVALID_ARGUMENT."""

    def __init__(self, settings: ClusterSettings) -> None:
        """Raises SettingsError where the client, or the way to the cluster, is missing."""
        try:
            client: Any = importlib.import_module("kubernetes.client")
        except ImportError:
            raise SettingsError(
                "PEQUOD_FINETUNE_KUBERNETES_IMAGE is set, but the package 'kubernetes' is not installed: "
                "pip install 'pequod[kubernetes]'"
            ) from None
        configuration = client.Configuration()
        own = _configure(settings, configuration)
        # It is asked again every other second: a call that waits for long holds all else up.
        configuration.retries = False
        cluster = client.ApiClient(configuration)
        self._jobs, self._pods = client.BatchV1Api(cluster), client.CoreV1Api(cluster)
        self.namespace = settings.namespace or own

    def create_job(self, manifest: Json) -> bool:
        """Whether there is a new one; False where one of that name was there."""
        try:
            self._call(self._jobs.create_namespaced_job, self.namespace, manifest, field_validation="Strict")
        except _Refused as error:
            if error.status == _CONFLICT:
                return False
            raise _failure(error) from None
        return True

    def list_jobs(self, selector: str) -> list[Json]:
        """As JSON; ``selector``: of labels."""
        return self._list(self._jobs.list_namespaced_job, selector)

    def list_pods(self, selector: str) -> list[Json]:
        """As JSON; ``selector``: of labels."""
        return self._list(self._pods.list_namespaced_pod, selector)

    def delete_job(self, name: str, selector: str, grace: float) -> None:
        """And its Pods, which have ``grace`` seconds; nothing happens to one that is gone."""
        try:
            self._call(
                self._jobs.delete_namespaced_job, name, self.namespace, propagation_policy="Background"
            )
        except _Refused as error:
            if error.status != _GONE:
                raise _failure(error) from None
        delete, seconds = self._pods.delete_namespaced_pod, max(1, round(grace))
        for pod in self.list_pods(selector):
            try:
                self._call(delete, pod["metadata"]["name"], self.namespace, grace_period_seconds=seconds)
            except _Refused as error:
                if error.status != _GONE:
                    raise _failure(error) from None

    def _list(self, call: Callable[..., Any], selector: str) -> list[Json]:
        try:
            found = self._call(call, self.namespace, label_selector=selector)
        except _Refused as error:
            raise _failure(error) from None
        items: list[Json] = found["items"]
        return items

    @staticmethod
    def _call(call: Callable[..., Any], *given: Any, **options: Any) -> Any:
        """The answer's JSON, read here: the client's models know the fields of one version of Kubernetes.

        Raises _Refused for what the API or the client does not accept, ServiceError where nothing answers.
        """
        from kubernetes.client.exceptions import ApiException
        from urllib3.exceptions import HTTPError

        try:
            answer = call(*given, _request_timeout=_TIMEOUT, _preload_content=False, **options)
            return json.loads(answer.data)
        except ApiException as error:
            raise _Refused(error.status or 0, _message(error)) from None
        except (HTTPError, OSError) as error:
            raise _away(f"{error}"[:_SHOWN]) from None
        except ValueError as error:  # of a manifest that is none
            raise _Refused(_INVALID, f"{error}"[:_SHOWN]) from None


class _Refused(Exception):
    """What the API answers instead."""

    def __init__(self, status: int, message: str) -> None:
        super().__init__(message)
        self.status = status


def _configure(settings: ClusterSettings, configuration: Any) -> str:
    """Fill in where the API is, and who asks; returns the namespace that is meant by none."""
    config: Any = importlib.import_module("kubernetes.config")
    try:
        if settings.kubeconfig:
            config.load_kube_config(settings.kubeconfig, client_configuration=configuration)
            _, active = config.list_kube_config_contexts(settings.kubeconfig)
            return str(active["context"].get("namespace") or "default")
        config.load_incluster_config(client_configuration=configuration)
        return _OWN_NAMESPACE.read_text().strip()
    except Exception as error:  # whatever its parsers make of a file that is none
        raise SettingsError(
            f"PEQUOD_FINETUNE_KUBERNETES_CONFIG={settings.kubeconfig!r} is not usable: {error}"
        ) from None


def _message(error: Any) -> str:
    """Of the Status object that the API answers with."""
    try:
        return str(json.loads(error.body)["message"])[:_SHOWN]
    except (ValueError, KeyError, TypeError):
        return f"{error.status} {error.reason}"


def _failure(error: _Refused) -> ServiceError:
    """A manifest that is no good stays so; what is forbidden or too much may be allowed later."""
    if error.status in (_BAD, _INVALID):
        what = f"Kubernetes refuses its Job: {error}"
        return ServiceError(Code.INVALID_ARGUMENT, Reason.LAUNCH_FAILED, what)
    return _away(f"{error}")


def _away(what: str) -> ServiceError:
    message = f"the Kubernetes API gives no Job: {what}"
    return ServiceError(Code.UNAVAILABLE, Reason.CLUSTER_UNREACHABLE, message, retry_after=_RETRY_AFTER)
