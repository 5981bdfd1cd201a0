import numpy as np
import pytest
from helpers import make_series, tiny_generator
from hypothesis import given, settings
from hypothesis import strategies as st

from skncvqvae import NCVQVAEGenerator
from skncvqvae._shared_moments import SharedMoments


def standardise(X):
    return (X - X.mean(axis=-1, keepdims=True)) / X.std(axis=-1, keepdims=True)


@settings(max_examples=30, deadline=None)
@given(
    n=st.integers(2, 12),
    length=st.integers(3, 40),
    mean=st.floats(-100, 100),
    scale=st.floats(0.1, 100),
    dtype=st.sampled_from([np.float32, np.float64]),
    seed=st.integers(0, 100),
)
def test_shared_moments_are_restored_and_others_left(n, length, mean, scale, dtype, seed):
    rng = np.random.RandomState(seed)
    training = standardise(rng.standard_normal((n, 4, length)))
    differing = np.linspace(1, 2, n)[:, None]
    training[:, 0] = mean + scale * training[:, 0]
    training[:, 1] *= differing
    training[:, 2] += differing
    training[:, 3] *= differing
    training[:, 3] += differing
    moments = SharedMoments().fit(training.astype(dtype))

    series = (3 + 7 * rng.standard_normal((5, 4, length))).astype(dtype)
    before = series.copy()
    moments.restore(series)
    new_mean, new_std = before.mean(axis=-1), before.std(axis=-1)
    new_mean[:, 0], new_mean[:, 1] = mean, 0
    new_std[:, 0], new_std[:, 2] = scale, 1
    tolerance = 1e-4 * (abs(mean) + scale + 10)
    np.testing.assert_allclose(series.mean(axis=-1), new_mean, atol=tolerance)
    np.testing.assert_allclose(series.std(axis=-1), new_std, atol=tolerance)
    np.testing.assert_array_equal(series[:, 3], before[:, 3])
    # Only level and scale change, not the shape.
    np.testing.assert_allclose(standardise(series), standardise(before), atol=1e-2)


def test_constant_channels():
    training = np.zeros((6, 2, 8))
    training[:, 1] = np.arange(6)[:, None]
    moments = SharedMoments().fit(training)
    series = np.random.RandomState(0).standard_normal((3, 2, 8))
    mean = series.mean(axis=-1)
    moments.restore(series)
    np.testing.assert_allclose(series[:, 0], 0)
    np.testing.assert_allclose(series[:, 1], mean[:, 1:].repeat(8, axis=1))

    varying = SharedMoments().fit(standardise(np.random.RandomState(0).standard_normal((4, 1, 8))))
    constant = np.full((2, 1, 8), 5.0)
    constant[1, 0, 0] += 1e-9
    varying.restore(constant)
    np.testing.assert_allclose(constant, 0, atol=1e-8)


def test_one_series_shares_its_moments_with_none():
    moments = SharedMoments().fit(np.random.RandomState(0).standard_normal((1, 1, 8)))
    assert np.isnan([moments.mean_, moments.std_]).all()


@pytest.mark.parametrize("n_channels", [None, 2])
def test_samples_are_standardised_where_training_series_are(n_channels):
    X, y = make_series(n_channels=n_channels, dtype=np.float32)
    X = standardise(X)
    # Trained for long enough that it is their moments in which samples differ.
    generator = tiny_generator(transformer__max_epochs=40).fit(X, y)

    def spread(X):
        return abs(X.mean(axis=-1)).max() + abs(X.std(axis=-1) - 1).max()

    for draw in (lambda: generator.sample(20)[0], lambda: generator.vary(X, y, random_state=0)):
        assert spread(draw()) < 1e-5
        generator.set_params(match_moments=False)
        assert spread(draw()) > 1e-3
        generator.set_params(match_moments=True)


def test_samples_of_other_series_are_as_decoded(series):
    generator = tiny_generator().fit(*series)
    X_new, _ = generator.sample(5)
    plain = generator.set_params(match_moments=False)
    np.testing.assert_array_equal(X_new, plain.sample(5)[0])
    assert not NCVQVAEGenerator.reference().match_moments
