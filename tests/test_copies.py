"""Copies of training series that a prior learns from."""

import numpy as np
import pytest
from helpers import tiny_generator, tiny_prior, tiny_transformer
from hypothesis import given
from hypothesis import strategies as st

from skncvqvae import AutoregressiveTokenPrior
from skncvqvae._copies import plan_copies

N_MOVED, N_STRETCHED = 16, 16


def make(n_series=12, n_channels=2, length=40, dtype=np.float32):
    """Return bumps at different times."""
    time = np.arange(length)
    middle = np.linspace(10, length - 10, n_series * n_channels).reshape(n_series, n_channels, 1)
    return np.exp(-(((time - middle) / 4) ** 2)).astype(dtype)


def copies_of(series, furthest=8, seed=0):
    plan = plan_copies(series, furthest, np.random.RandomState(seed))
    return [np.asarray(make_copy()) for make_copy in plan]


@given(
    n_series=st.integers(1, 12),
    n_channels=st.integers(1, 3),
    length=st.integers(2, 50),
    furthest=st.integers(1, 12),
    dtype=st.sampled_from([np.float32, np.float64]),
)
def test_copies_have_the_values_of_their_series(n_series, n_channels, length, furthest, dtype):
    series = make(n_series, n_channels, length, dtype)
    before = series.copy()
    copies = copies_of(series, furthest)
    assert len(copies) == min(2 * furthest, N_MOVED) + N_STRETCHED
    low, high = series.min(axis=2, keepdims=True), series.max(axis=2, keepdims=True)
    for copy in copies:
        assert copy.shape == series.shape and copy.dtype == dtype
        assert (copy >= low).all() and (copy <= high).all()
    np.testing.assert_array_equal(series, before)


def test_time_is_stretched_by_no_more_than_told():
    length, furthest = 60, 4
    ramp = np.arange(length, dtype=float).reshape(1, 1, length)
    stretched = np.stack(copies_of(ramp, furthest)[-N_STRETCHED:])
    # Three waves, of the whole, half and a third of it.
    moved = np.abs(stretched - ramp)
    assert 1 < moved.max() <= furthest * (1 + 1 / 2 + 1 / 3)
    # Each in another way, and smoothly: by the largest slopes of the three together.
    assert len(np.unique(stretched.reshape(N_STRETCHED, -1), axis=0)) == N_STRETCHED
    assert np.abs(np.diff(stretched, axis=-1)).max() <= 1 + 3 * np.pi * furthest / length


def test_the_same_seed_makes_the_same_copies():
    one, same, other = (copies_of(make(), seed=seed) for seed in (0, 0, 1))
    np.testing.assert_array_equal(one, same)
    assert not np.array_equal(one[-1], other[-1]) and np.array_equal(one[0], other[0])


@pytest.mark.parametrize(("n_series", "n_copies"), [(40, 33), (64, 33), (65, 17)])
def test_few_series_are_stretched_too(n_series, n_copies):
    X = np.random.default_rng(0).normal(size=(n_series, 128)).cumsum(axis=1)
    prior = tiny_prior(AutoregressiveTokenPrior, max_epochs=1)
    model = tiny_generator(tiny_transformer(max_epochs=1), prior=prior).fit(X)
    assert model.prior_.module_.config.n_copies == n_copies
