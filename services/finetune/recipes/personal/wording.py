"""The words of a personal fine-tune: of the subject, of its class, of both in other surroundings."""

from __future__ import annotations

from dataclasses import dataclass

from services.finetune.recipes.choices.dreambooth import SLOT, Options


@dataclass(frozen=True)
class Wording:
    """What the subject and its class are called."""

    instance: str
    kind: str
    contexts: tuple[str, ...]
    """With a slot where either goes."""

    @classmethod
    def of(cls, options: Options) -> Wording:
        """As the options say."""
        instance = " ".join(options.instance_prompt.split())
        kind = " ".join(options.class_prompt.split()) or instance.partition(" ")[2]
        return cls(instance, kind, tuple(options.prompts.split("|")))

    def caption(self, told: str) -> str:
        """What a picture is learnt under: its caption, the subject's name before it unless it is in it."""
        told = " ".join(told.split())
        return told if self.instance in told else ", ".join(each for each in (self.instance, told) if each)

    def of_subject(self) -> list[str]:
        """The contexts with the subject in them."""
        return [each.replace(SLOT, self.instance) for each in self.contexts]

    def of_class(self) -> list[str]:
        """The same with any of its class."""
        return [each.replace(SLOT, self.kind) for each in self.contexts]
