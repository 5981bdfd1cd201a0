"""Copies of training series that a prior learns from."""

import numpy as np
import pytest
from helpers import tiny_generator, tiny_prior, tiny_transformer
from hypothesis import given
from hypothesis import strategies as st

from skncvqvae import AutoregressiveTokenPrior
from skncvqvae._copies import plan_copies

N_MOVED, N_STRETCHED, N_MIXED = 16, 16, 16


def make(n_series=12, n_channels=2, length=40, dtype=np.float32):
    """Return bumps, those of odd series a hundred higher, and which is which."""
    time, labels = np.arange(length), np.arange(n_series) % 2
    middle = np.linspace(10, length - 10, n_series * n_channels).reshape(n_series, n_channels, 1)
    bumps = np.exp(-(((time - middle) / 4) ** 2)) + 100 * labels[:, None, None]
    return bumps.astype(dtype), labels


def copies_of(series, labels, furthest=8, seed=0):
    plan = plan_copies(series, labels, furthest, np.random.RandomState(seed))
    return [np.asarray(make_copy()) for make_copy in plan]


@given(
    n_series=st.integers(1, 12),
    n_channels=st.integers(1, 3),
    length=st.integers(2, 50),
    furthest=st.integers(1, 12),
    dtype=st.sampled_from([np.float32, np.float64]),
)
def test_copies_are_series_with_values_of_their_class(
    n_series, n_channels, length, furthest, dtype
):
    series, labels = make(n_series, n_channels, length, dtype)
    before = series.copy()
    copies = copies_of(series, labels, furthest)
    assert len(copies) == min(2 * furthest, N_MOVED) + N_STRETCHED + N_MIXED
    for copy in copies:
        assert copy.shape == series.shape and copy.dtype == dtype
        assert ((copy > 50) == (labels == 1)[:, None, None]).all()
    # Stretched series have no value that they did not have.
    low, high = series.min(axis=2, keepdims=True), series.max(axis=2, keepdims=True)
    for copy in copies[:-N_MIXED]:
        assert (copy >= low).all() and (copy <= high).all()
    np.testing.assert_array_equal(series, before)


def test_time_is_stretched_by_no_more_than_told():
    length, furthest = 60, 4
    ramp = np.arange(length, dtype=float).reshape(1, 1, length)
    stretched = np.stack(copies_of(ramp, None, furthest)[-N_STRETCHED:])
    # Three waves, of the whole, half and a third of it.
    moved = np.abs(stretched - ramp)
    assert 1 < moved.max() <= furthest * (1 + 1 / 2 + 1 / 3)
    # Each in another way, and smoothly: by the largest slopes of the three together.
    assert len(np.unique(stretched.reshape(N_STRETCHED, -1), axis=0)) == N_STRETCHED
    assert np.abs(np.diff(stretched, axis=-1)).max() <= 1 + 3 * np.pi * furthest / length


def test_mixtures_are_of_two_series_of_a_class_and_mostly_the_first():
    labels = np.repeat([0, 1, 2], [5, 4, 1])
    series = np.eye(len(labels))[:, None]
    shares = np.stack(copies_of(series, labels)[-N_MIXED:])[:, :, 0]
    np.testing.assert_allclose(shares.sum(axis=2), 1)
    assert (shares[:, labels[:, None] != labels] == 0).all()
    own = shares[:, np.arange(10), np.arange(10)]
    assert (own >= 0.5).all() and ((shares > 0).sum(axis=2) <= 2).all()
    assert own[:, :9].mean() < 0.9 and (own[:, 9] == 1).all()


def test_the_same_seed_makes_the_same_copies():
    series, labels = make()
    one, same, other = (copies_of(series, labels, seed=seed) for seed in (0, 0, 1))
    np.testing.assert_array_equal(one, same)
    assert not np.array_equal(one[-1], other[-1]) and np.array_equal(one[0], other[0])


@pytest.mark.parametrize(
    ("n_series", "has_classes", "n_copies"),
    [(40, True, 49), (40, False, 33), (64, True, 49), (65, True, 17)],
)
def test_few_series_are_stretched_and_mixed_too(n_series, has_classes, n_copies):
    X = np.random.default_rng(0).normal(size=(n_series, 128)).cumsum(axis=1)
    y = np.arange(n_series) % 2 if has_classes else None
    prior = tiny_prior(AutoregressiveTokenPrior, max_epochs=1)
    model = tiny_generator(tiny_transformer(max_epochs=1), prior=prior).fit(X, y)
    assert model.prior_.module_.config.n_copies == n_copies
