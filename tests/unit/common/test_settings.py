"""Settings: read from the environment, refused with a sentence."""

from dataclasses import dataclass
from pathlib import Path

import pytest

from services.common.settings import SettingsError, from_environment, setting, to_environment, variables
from services.common.store.settings import StoreSettings
from services.finetune.orchestrator.settings import JobSettings


@dataclass(frozen=True)
class Example:
    port: int = setting(50062, env="PEQUOD_{SERVICE}_PORT", help="gRPC port.", minimum=0, maximum=65535)
    wait: float = setting(1.5, env="PEQUOD_WAIT", help="Seconds to wait.", minimum=0)
    insist: bool = setting(False, env="PEQUOD_INSIST", help="Insist.")
    store: Path = setting(Path("var"), env="PEQUOD_STORE", help="Where models are.")
    backends: tuple[str, ...] = setting((), env="PEQUOD_BACKENDS", help="Addresses.")
    budget: int | None = setting(None, env="PEQUOD_BUDGET", help="Bytes.")
    level: str = setting("info", env="PEQUOD_LEVEL", help="Least severe line.", choices=("info", "error"))


def test_defaults_stand_when_nothing_is_set():
    assert from_environment(Example, {}) == Example()


def test_every_type_is_read():
    environ = {
        "PEQUOD_SAMPLER_PORT": "1234",
        "PEQUOD_WAIT": " 0.25 ",
        "PEQUOD_INSIST": "yes",
        "PEQUOD_STORE": "~/models",
        "PEQUOD_BACKENDS": "a:1, b:2,",
        "PEQUOD_BUDGET": "7",
    }
    assert from_environment(Example, environ, "sampler") == Example(
        1234, 0.25, True, Path.home() / "models", ("a:1", "b:2"), 7
    )


@pytest.mark.parametrize(
    ("name", "value", "part"),
    [
        ("PEQUOD_GAN_PORT", "70000", "in 0..65535"),
        ("PEQUOD_GAN_PORT", "eight", "invalid literal"),
        ("PEQUOD_WAIT", "-1", "at least 0"),
        ("PEQUOD_WAIT", "nan", "finite"),
        ("PEQUOD_INSIST", "perhaps", "1 or 0"),
        ("PEQUOD_LEVEL", "loud", "info, error"),
    ],
)
def test_a_bad_value_names_variable_value_and_limit(name, value, part):
    with pytest.raises(SettingsError) as caught:
        from_environment(Example, {name: value}, "gan")
    assert name in str(caught.value)
    assert repr(value) in str(caught.value)
    assert part in str(caught.value)


def test_variables_are_listed_with_their_sentences():
    assert variables(Example, "gan")["PEQUOD_GAN_PORT"] == "gRPC port."


def test_settings_go_through_an_environment_and_back():
    settings = StoreSettings(
        user="s3://b/p", file_roots=(Path("/a"), Path("/b")), memory_bytes=7, load_wait=0.5
    )
    assert from_environment(StoreSettings, to_environment(settings)) == settings
    assert from_environment(JobSettings, to_environment(JobSettings(private_webhooks=True))).private_webhooks
