"""Samples take the values that training series take."""

import numpy as np
import pytest
from helpers import tiny_generator
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.stats import ks_2samp

from skncvqvae import NCVQVAEGenerator
from skncvqvae._marginals import Marginals


def no_noise(series, scale):
    """Add nothing."""


def lamps(n=120, length=24, seed=0):
    """Return series of two channels: a lamp that is off or burns at one of two levels; noise."""
    rng = np.random.default_rng(seed)
    on = np.cumsum(rng.random((n, length)) < 0.2, axis=1) % 3
    return np.stack([on * 10.0, rng.random((n, length))], axis=1)


@settings(max_examples=30, deadline=None)
@given(
    n=st.integers(30, 60),
    scale=st.floats(0.2, 5),
    shift=st.floats(-3, 3),
    dtype=st.sampled_from([np.float32, np.float64]),
    seed=st.integers(0, 100),
)
def test_values_get_the_distribution_of_real_ones(n, scale, shift, dtype, seed):
    rng = np.random.default_rng(seed)
    real = rng.exponential(size=(n, 2, 20)).astype(dtype)
    decoded = (shift + scale * rng.standard_normal((n, 2, 20))).astype(dtype)
    marginals = Marginals().fit(real, decoded, no_noise, n)
    others = (shift + scale * rng.standard_normal((200, 2, 20))).astype(dtype)
    mapped = others.copy()
    marginals.restore(mapped, 0.0, everywhere=True)
    assert mapped.dtype == dtype
    assert real.min() <= mapped.min() and mapped.max() <= real.max()
    for channel in range(2):
        order = np.argsort(others[:, channel], axis=None)
        assert (np.diff(mapped[:, channel].ravel()[order]) >= 0).all()
        # 4,000 against at least 600 values: 1.63 times the root of the sum of 1 / n is 0.07.
        assert ks_2samp(mapped[:, channel].ravel(), real[:, channel].ravel()).statistic < 0.12


def test_values_that_occur_often_are_met_exactly():
    rng = np.random.default_rng(0)
    real = 10.0 * (rng.random((200, 1, 30)) < 0.3)
    decoded = real + 0.5 * rng.standard_normal(real.shape)
    marginals = Marginals().fit(real, decoded, no_noise, 200)
    assert marginals.differs_.all()
    marginals.restore(decoded, 0.0)
    assert np.isin(decoded, [0, 10]).mean() > 0.99
    assert (decoded == 0).mean() == pytest.approx(0.7, abs=0.02)


def test_plateaus_that_are_decoded_stay():
    """More values of the decoded series are zero than of the real ones."""
    rng = np.random.default_rng(0)
    real = np.maximum(rng.standard_normal((100, 1, 30)), 0)
    decoded = np.maximum(rng.standard_normal((100, 1, 30)) - 0.3, 0)
    zero = decoded == 0
    marginals = Marginals().fit(real, decoded, no_noise, 100)
    marginals.restore(decoded, 0.0, everywhere=True)
    assert (decoded[zero] == 0).all()


@pytest.mark.parametrize("scale", [1, 2])
def test_series_are_left_where_no_channel_differs(scale):
    rng = np.random.default_rng(0)
    real = rng.standard_normal((400, 2, 20))
    decoded = real + 0.01 * rng.standard_normal(real.shape)
    decoded[:, 1] *= scale
    marginals = Marginals().fit(real, decoded, no_noise, 400)
    assert marginals.differs_.tolist() == [[False, scale > 1]] * 3
    before = decoded.copy()
    marginals.restore(decoded, 0.0)
    assert np.array_equal(decoded, before) == (scale == 1)
    np.testing.assert_allclose(decoded[:, 0], before[:, 0], atol=0.3)


def test_few_series_differ_by_chance():
    rng = np.random.default_rng(0)
    real, decoded = rng.standard_normal((2, 9, 1, 200)) + rng.standard_normal((2, 9, 1, 1))
    assert not Marginals().fit(real, decoded, no_noise, 9).differs_.any()


def test_quantiles_follow_the_noise():
    rng = np.random.default_rng(0)
    real = rng.uniform(0, 1, (300, 1, 20))

    def add_noise(series, scale):
        series += scale * np.random.default_rng(1).standard_normal(series.shape)

    marginals = Marginals().fit(real, real, add_noise, 300)
    assert marginals.differs_.ravel().tolist() == [False, True, True]
    for scale in (0.25, 0.5, 0.75, 1.0):
        series = real + scale * rng.standard_normal(real.shape)
        marginals.restore(series, scale, everywhere=True)
        assert ks_2samp(series.ravel(), real.ravel()).statistic < 0.05
    more = 2 * series
    marginals.restore(more, 2.0, everywhere=True)
    np.testing.assert_array_equal(more, 2 * series)


@pytest.fixture(scope="module")
def generator():
    return tiny_generator(transformer__max_epochs=20, prior__max_epochs=20).fit(lamps())


def test_samples_stay_in_the_range_of_the_training_series(generator):
    X = lamps()
    assert generator.marginals_.differs_[-1].all()
    matched, _ = generator.sample(200, observation_noise=1.0, random_state=0)
    generator.set_params(match_marginals=False)
    try:
        plain, _ = generator.sample(200, observation_noise=1.0, random_state=0)
    finally:
        generator.set_params(match_marginals="auto")
    low, high = X.min(axis=(0, 2)), X.max(axis=(0, 2))
    assert (matched.min(axis=(0, 2)) >= low).all() and (matched.max(axis=(0, 2)) <= high).all()
    assert (plain.min(axis=(0, 2)) < low).any() and (plain.max(axis=(0, 2)) > high).any()
    # The lamp burns at its own levels.
    levels = [np.isin(series[:, 0], [0, 10, 20]).mean() for series in (matched, plain)]
    assert levels[0] > 0.8 > 0.1 > levels[1]


def test_the_reference_matches_nothing():
    assert NCVQVAEGenerator.reference().match_marginals is False


@pytest.mark.parametrize("value", ["always", 2, None])
def test_what_is_neither_yes_nor_no_is_refused(value):
    with pytest.raises(ValueError, match="match_marginals"):
        tiny_generator(match_marginals=value).fit(lamps(8))
