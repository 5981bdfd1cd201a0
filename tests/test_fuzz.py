"""Whatever is thrown at a public function, it returns finite values or refuses clearly.

``SKNCVQVAE_FUZZ=20000 pytest tests/test_fuzz.py`` makes that many attempts instead of a few, and
``python tests/fuzzing.py 20000`` tells all problems that it meets instead of the first.
"""

import os

import numpy as np
import pytest
from fuzzing import FAST, FINE, SLOW, UNTRIED, draw_case, judge, public_names, unclear
from hypothesis import HealthCheck, given, note, settings
from hypothesis import strategies as st

TOTAL = int(os.environ.get("SKNCVQVAE_FUZZ", "250"))


def fuzz(functions, share):
    """Return a test of that share of all attempts."""

    @settings(
        max_examples=max(round(share * TOTAL), 1),
        deadline=None,
        derandomize="SKNCVQVAE_FUZZ" not in os.environ,
        database=None,
        suppress_health_check=list(HealthCheck),
    )
    @given(random=st.randoms(use_true_random=False))
    def test(random):
        case = draw_case(random, functions)
        note(str(case))
        assert judge(case, functions) in FINE

    return test


test_fast_functions = fuzz(FAST, 0.9)
test_fits_and_displays = fuzz(SLOW, 0.1)


def from_inside():
    np.zeros(3) + np.zeros(4)


def on_purpose():
    raise ValueError("Pass another.")


@pytest.mark.parametrize("function", [from_inside, on_purpose, lambda: {}[0]])
def test_errors_that_are_not_of_this_package_are_unclear(function):
    with pytest.raises((ValueError, KeyError)) as caught:
        function()
    assert unclear(caught.value)


def test_every_public_function_is_tried():
    names = public_names()
    tried = {key.split(" ")[0] for key in FAST | SLOW}
    # A class is tried where one of its methods is.
    tried |= {name.split(".")[0] for name in tried}
    parts = {name: set(name.split(".")) for name in names}
    assert not {name for name in names - tried if not parts[name] & UNTRIED.keys()}
    assert not {name.split(".")[0] for name in tried} - names
    assert not UNTRIED.keys() - set().union(*parts.values())
