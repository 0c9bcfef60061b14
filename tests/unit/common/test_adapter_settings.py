"""Settings of adapters come with the adapter: what they say is checked before it is used."""

import numpy as np
import pytest

from services.common.lora import checked, scale_of


def test_patterns_are_names_or_their_ends():
    config = {"alpha_pattern": {"q_proj": 4, r"layers\.\d+\.v_proj": 8, "^model.k_proj": 2}}
    assert scale_of("layers.0.q_proj", 2, config, 16) == 2.0
    assert scale_of("model.layers.11.v_proj", 2, config, 16) == 4.0
    assert scale_of("model.k_proj", 2, config, 16) == 1.0
    assert scale_of("layers.0.o_proj", 2, config, 16) == 8.0


@pytest.mark.parametrize(
    "pattern", ["(a+)+", "(.*a)*b", ".*.*.*", "a{99}{99}", r"(a)\1", "(?=a)", "(", "a" * 301]
)
def test_a_pattern_that_could_run_for_ever_is_refused(pattern):
    with pytest.raises(ValueError, match="alpha_pattern"):
        scale_of("a" * 60 + "!", 2, {"alpha_pattern": {pattern: 1}}, 1)


@pytest.mark.parametrize("alpha", ["4", None, [1], 1e300, 10**400, float("nan")])
def test_a_scale_that_is_no_number_is_refused(alpha):
    with pytest.raises(ValueError, match="lora_alpha"):
        scale_of("q_proj", 2, {}, alpha)


def test_what_is_no_pair_is_refused():
    with pytest.raises(ValueError, match="must be an object"):
        scale_of("q_proj", 2, {"alpha_pattern": ["q_proj"]}, 1)
    with pytest.raises(ValueError, match="no rows"):
        scale_of("q_proj", 0, {}, 1)
    with pytest.raises(ValueError, match="do not fit"):
        checked("q_proj", np.ones((2, 3), np.float32), np.ones((3, 3), np.float32), 1.0)
