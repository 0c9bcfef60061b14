"""Which group each method belongs to, and which methods change something."""

from __future__ import annotations

from collections.abc import Mapping

from gateway.methods import MODELS, Method
from gateway.principal import Group

_OF_SERVICE = {
    "sampler": Group.TEXT,
    "tokenizer": Group.EMBEDDINGS,
    "diffusion": Group.IMAGES,
    "gan": Group.FACES,
    "finetune": Group.FINETUNE,
}
_OPERATE = frozenset({"LoadModel", "UnloadModel", "ExportModel", "SetAlias"})
_TEXT_TOO = "pequod.tokenizer.v1.TokenizerService"
"""Tokens are counted by who writes prompts, too."""
_CHANGES = (
    *("Create", "Delete", "Upload", "Import", "Cancel", "Pause", "Resume", "Promote"),
    *("Load", "Unload", "Export", "Set"),
)


def groups_of(method: Method) -> tuple[Group, ...]:
    """A key needs one of these to call ``method``. A service that is not known here needs OPERATE.

    Everybody may look at models, as far as the tenant sees them: doors and clients look before they ask.
    """
    service, _, name = method.path.lstrip("/").partition("/")
    if method.service == MODELS:
        return (Group.OPERATE,) if name in _OPERATE else tuple(Group)
    own = _OF_SERVICE.get(method.service, Group.OPERATE)
    return (own, Group.TEXT) if service == _TEXT_TOO else (own,)


def changes(method: Method) -> bool:
    """Whether a call of ``method`` leaves something changed: such calls are audited."""
    return method.path.rpartition("/")[2].startswith(_CHANGES)


def group_table(methods: Mapping[str, Method]) -> dict[str, tuple[Group, ...]]:
    """``groups_of`` for every path."""
    return {path: groups_of(method) for path, method in methods.items()}
