import numpy as np
import pytest
from helpers import tiny_generator, tiny_transformer
from hypothesis import given
from hypothesis import strategies as st

from skncvqvae._plateaus import has_plateaus, restore_plateaus


def make_pulses(n=48, length=64, seed=0):
    """Return series at rest, with a pulse of one of two heights somewhere."""
    rng = np.random.default_rng(seed)
    X = np.zeros((n, length))
    for series in X:
        start, width = rng.integers(5, length - 25), rng.integers(8, 20)
        series[start : start + width] = rng.choice([1.0, 2.0])
    return X


def share_of_equal_neighbours(X):
    return (np.diff(X, axis=-1) == 0).mean()


@pytest.fixture(scope="module")
def fitted():
    return tiny_transformer(max_epochs=60, random_state=0).fit(make_pulses())


def test_decoded_series_are_flat_where_real_ones_are(fitted):
    X = make_pulses(seed=1)
    decoded = fitted.inverse_transform(fitted.tokenize(X))
    assert (fitted.plateau_tolerance_ > 0).all()
    assert share_of_equal_neighbours(decoded) > 0.3
    error = np.mean((decoded - X) ** 2) / X.var()
    assert -fitted.score(X) == pytest.approx(error, rel=0.05)


def test_series_are_left_as_decoded_if_told():
    X = make_pulses()
    model = tiny_transformer(restore_plateaus=False).fit(X)
    assert (model.plateau_tolerance_ == 0).all()
    assert share_of_equal_neighbours(model.inverse_transform(model.tokenize(X))) < 0.05


def test_smooth_and_noisy_series_have_no_plateaus(series):
    model = tiny_transformer().fit(series[0])
    assert (model.plateau_tolerance_ == 0).all()


def test_samples_are_flat_as_well():
    X = make_pulses()
    generator = tiny_generator(tiny_transformer(max_epochs=60), observation_noise=0.0).fit(X)
    assert share_of_equal_neighbours(generator.sample(20)[0]) > 0.3


def test_each_channel_has_its_own_plateaus():
    rng = np.random.default_rng(0)
    X = np.stack([make_pulses(), rng.normal(size=(48, 64))], axis=1)
    assert has_plateaus(X).tolist() == [True, False]
    tolerance = tiny_transformer(max_epochs=40).fit(X).plateau_tolerance_
    assert tolerance.shape == (2,) and tolerance[1] == 0


def test_constant_series_have_nothing_to_restore():
    assert not has_plateaus(np.ones((3, 2, 8))).any()
    assert has_plateaus(np.ones((3, 2, 1))).tolist() == [False, False]


@given(
    st.integers(1, 4), st.integers(1, 3), st.integers(1, 12), st.integers(0, 3), st.integers(0, 99)
)
def test_restoring_by_brute_force(n, n_channels, length, step, seed):
    rng = np.random.default_rng(seed)
    series = rng.integers(0, 9, size=(n, n_channels, length)).astype(np.float32)
    tolerance = np.full(n_channels, float(step))
    tolerance[0] = 0
    expected = series.copy()
    for i in range(n):
        for c in range(1, n_channels):
            cuts = np.flatnonzero(np.abs(np.diff(series[i, c])) > step) + 1
            parts = np.split(series[i, c], cuts)
            expected[i, c] = np.concatenate([np.full(len(p), p.mean()) for p in parts])
    restored = restore_plateaus(series.copy(), tolerance)
    np.testing.assert_allclose(restored, expected, rtol=1e-6)
    assert restored.dtype == series.dtype and restored.shape == series.shape
