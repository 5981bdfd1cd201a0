import numpy as np
import pytest
from conftest import make_series, tiny_generator, tiny_transformer
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.signal import lfilter

from skncvqvae._observation_noise import ObservationNoise
from skncvqvae.metrics import power_spectrum_difference


def smooth_series(n, length, rng):
    """Return series that stand for decoded ones: slow sines."""
    time = np.linspace(0, 4, length)
    return np.sin(time + rng.uniform(0, 6, (n, 1)))[:, None]


def fit(residual, tokens, n_codes=4, rng=None):
    rng = rng or np.random.RandomState(0)
    decoded = smooth_series(len(residual), residual.shape[-1], rng)
    return ObservationNoise().fit(decoded + residual, decoded, tokens, n_codes, rng)


def draw(noise, tokens, rng):
    series = np.zeros((len(tokens), len(noise.mixing_), noise.n_timesteps_))
    noise.add_to(series, tokens, rng)
    return series


def test_level_follows_the_code():
    rng = np.random.RandomState(0)
    tokens = rng.randint(0, 2, (300, 1, 8))
    level = np.where(tokens[:, 0] == 0, 1.0, 0.1).repeat(16, axis=1)
    noise = fit(rng.standard_normal((300, 1, 128)) * level[:, None], tokens)
    loud = draw(noise, np.zeros((200, 1, 8), dtype=int), rng)
    soft = draw(noise, np.ones((200, 1, 8), dtype=int), rng)
    # Frames reach over the borders of tokens, so the two levels mix a little.
    assert 0.7 < loud.std() < 1.3
    assert 0.05 < soft.std() < 0.4


def test_spectrum_is_that_of_the_residual():
    rng = np.random.RandomState(0)
    tokens = np.zeros((300, 1, 8), dtype=int)
    residual = lfilter([1], [1, 0.8], rng.standard_normal((300, 1, 256)))
    new = draw(fit(residual, tokens), tokens, rng)
    power = [np.mean(np.abs(np.fft.rfft(x)) ** 2, axis=(0, 1)) for x in (residual, new)]
    # Decibels; at the lowest frequencies the decoded series has power of its own.
    assert np.abs(10 * np.log10(power[1] / power[0]))[20:].mean() < 1.0


def test_channels_are_correlated_as_residuals_are():
    rng = np.random.RandomState(0)
    tokens = np.zeros((300, 1, 8), dtype=int)
    residual = rng.standard_normal((300, 2, 128))
    residual[:, 1] = 0.9 * residual[:, 0] + np.sqrt(1 - 0.9**2) * residual[:, 1]
    new = draw(fit(residual, tokens), tokens, rng)
    assert abs(np.corrcoef(new[:, 0].ravel(), new[:, 1].ravel())[0, 1] - 0.9) < 0.05


def test_series_differ_in_level_as_residuals_do():
    rng = np.random.RandomState(0)
    tokens = np.zeros((300, 1, 8), dtype=int)
    level = np.exp(rng.normal(0, 0.5, (300, 1, 1)))
    noise = fit(level * rng.standard_normal((300, 1, 128)), tokens)
    new = np.log(draw(noise, tokens, rng).std(axis=-1))
    assert abs(noise.log_level_std_ - 0.5) < 0.15 and abs(new.std() - 0.5) < 0.15


def test_a_decoder_as_rough_as_real_series_gets_no_noise():
    rng = np.random.RandomState(0)
    tokens = np.zeros((300, 1, 8), dtype=int)
    series = smooth_series(300, 128, rng)
    decoded = series + 0.1 * rng.standard_normal(series.shape)
    noise = ObservationNoise().fit(series, decoded, tokens, 4, rng)
    assert draw(noise, tokens, rng).std() < 0.01


def test_exact_decoding_leaves_no_noise():
    rng = np.random.RandomState(0)
    tokens = rng.randint(0, 4, (20, 1, 8))
    np.testing.assert_allclose(draw(fit(np.zeros((20, 1, 64)), tokens), tokens, rng), 0)


@settings(max_examples=40, deadline=None)
@given(
    length=st.integers(1, 70),
    n_channels=st.integers(1, 3),
    rows=st.integers(1, 3),
    columns=st.integers(1, 6),
    constant=st.booleans(),
)
def test_any_shape(length, n_channels, rows, columns, constant):
    rng = np.random.RandomState(0)
    series = np.ones((9, n_channels, length))
    if not constant:
        series = rng.standard_normal(series.shape)
    tokens = rng.randint(0, 3, (9, rows, columns))
    noise = ObservationNoise().fit(series, np.zeros_like(series), tokens, 5, rng)
    drawn = draw(noise, rng.randint(0, 5, (7, rows, columns)), rng)
    assert drawn.shape == (7, n_channels, length) and np.isfinite(drawn).all()


@pytest.mark.parametrize("n_channels", [None, 2])
def test_samples_are_as_rough_as_the_data(n_channels):
    X, y = make_series(200, n_channels, length=64)
    X_held_out, _ = make_series(200, n_channels, length=64, seed=1)
    transformer = tiny_transformer(max_epochs=30, code_dim=16, n_codes=16, downsampled_width=16)
    generator = tiny_generator(transformer, prior_max_epochs=30).fit(X, y)
    smooth, rough = (
        power_spectrum_difference(X_held_out, generator.sample(200, observation_noise=scale)[0])
        for scale in (0, 1)
    )
    assert rough < 0.5 * smooth


def test_noise_is_added_to_what_the_tokens_decode_to(series):
    X, y = series
    generator = tiny_generator().fit(X, y)
    decoded, once, twice = (
        generator.sample(10, observation_noise=scale, random_state=0)[0] for scale in (0, 1, 2)
    )
    np.testing.assert_allclose(twice - decoded, 2 * (once - decoded))
    again = generator.set_params(observation_noise=0).sample(10, random_state=0)[0]
    np.testing.assert_array_equal(again, decoded)
