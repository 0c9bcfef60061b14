"""How jobs run on Kubernetes, as the service's environment says."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass

from services.common.settings import SettingsError, setting

_LABEL = re.compile(r"[A-Za-z0-9]([A-Za-z0-9._-]{0,61}[A-Za-z0-9])?")
_PREFIX = re.compile(r"[a-z0-9]([a-z0-9.-]{0,251}[a-z0-9])?")


def is_label(text: str) -> bool:
    """Whether it can be the value of a label, and so the name of a queue."""
    return _LABEL.fullmatch(text) is not None


def is_qualified(text: str) -> bool:
    """Whether it can be a key: of a label, or of a resource."""
    prefix, slash, name = text.rpartition("/")
    return is_label(name) and (not slash or _PREFIX.fullmatch(prefix) is not None)


@dataclass(frozen=True)
class ClusterSettings:
    """Where Jobs are made, and what they may take."""

    image: str = setting(
        "",
        env="PEQUOD_FINETUNE_KUBERNETES_IMAGE",
        help="Image of workers; without one no job can run on Kubernetes.",
    )
    namespace: str = setting(
        "",
        env="PEQUOD_FINETUNE_KUBERNETES_NAMESPACE",
        help="Namespace of the Jobs; empty: the service's own, or that of the kubeconfig's context.",
    )
    kubeconfig: str = setting(
        "",
        env="PEQUOD_FINETUNE_KUBERNETES_CONFIG",
        help="A kubeconfig file; empty: the service runs in the cluster and uses its service account.",
    )
    queue: str = setting(
        "",
        env="PEQUOD_FINETUNE_KUBERNETES_QUEUE",
        help="Kueue queue of jobs that name none; Jobs are made suspended then, for Kueue to start.",
    )
    accelerator: str = setting(
        "nvidia.com/gpu",
        env="PEQUOD_FINETUNE_KUBERNETES_ACCELERATOR",
        help="Resource name of the accelerator that jobs get which name no kind.",
    )
    accelerators: int = setting(
        8,
        env="PEQUOD_FINETUNE_KUBERNETES_ACCELERATORS",
        help="Most accelerators of one job.",
        minimum=0,
        maximum=1024,
    )
    jobs: int = setting(
        8,
        env="PEQUOD_FINETUNE_KUBERNETES_JOBS",
        help="Jobs that are in the cluster at a time; the others wait here, by priority.",
        minimum=0,
        maximum=10_000,
    )
    cpu_cores: float = setting(
        2.0,
        env="PEQUOD_FINETUNE_KUBERNETES_CPU",
        help="CPU cores of a job that asks for none.",
        minimum=0.1,
        maximum=1024,
    )
    memory_bytes: int = setting(
        8 * 2**30,
        env="PEQUOD_FINETUNE_KUBERNETES_MEMORY_BYTES",
        help="Memory of a job that asks for none.",
        minimum=2**26,
    )
    node_selector: tuple[str, ...] = setting(
        (),
        env="PEQUOD_FINETUNE_KUBERNETES_NODE_SELECTOR",
        help="Labels of the nodes that jobs run on: KEY=VALUE, comma separated.",
    )
    secret: str = setting(
        "pequod-finetune",
        env="PEQUOD_FINETUNE_KUBERNETES_SECRET",
        help="Secret with the keys PEQUOD_DATABASE_URL and, where they are needed, AWS_… and HF_TOKEN.",
    )
    claim: str = setting(
        "",
        env="PEQUOD_FINETUNE_KUBERNETES_CLAIM",
        help="PersistentVolumeClaim that holds PEQUOD_FINETUNE_WORK; empty: a run that dies begins anew.",
    )

    def __post_init__(self) -> None:
        """Raises SettingsError for what Kubernetes would refuse."""
        for name, pair in (("NODE_SELECTOR", each) for each in self.node_selector):
            key, equals, value = pair.partition("=")
            if not equals or not is_qualified(key) or (value and not is_label(value)):
                raise SettingsError(_unusable(name, pair, "KEY=VALUE of a node's label is needed"))
        if self.queue and not is_label(self.queue):
            raise SettingsError(
                _unusable("QUEUE", self.queue, "letters, digits, '-', '_' and '.' make a name")
            )
        if not is_qualified(self.accelerator):
            raise SettingsError(_unusable("ACCELERATOR", self.accelerator, "a resource's name is needed"))

    @property
    def is_on(self) -> bool:
        """Whether jobs may run on Kubernetes."""
        return bool(self.image)

    @property
    def nodes(self) -> Mapping[str, str]:
        """The labels that a node must have."""
        return dict(each.split("=", 1) for each in self.node_selector)


def _unusable(name: str, value: str, why: str) -> str:
    return f"PEQUOD_FINETUNE_KUBERNETES_{name}={value!r} is not usable: {why}"
