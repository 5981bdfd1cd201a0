import tracemalloc

import numpy as np
import pytest
from helpers import make_series, tiny_generator, tiny_transformer
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.signal import lfilter

from skncvqvae._observation_noise import ObservationNoise
from skncvqvae.metrics import power_spectrum_difference


def smooth_series(n, length, rng):
    """Return series that stand for decoded ones: slow sines."""
    time = np.linspace(0, 4, length)
    return np.sin(time + rng.uniform(0, 6, (n, 1)))[:, None]


def fit(residual, *grids, n_codes=4):
    rng = np.random.RandomState(0)
    decoded = smooth_series(len(residual), residual.shape[-1], rng)
    return ObservationNoise().fit(decoded + residual, decoded, grids, n_codes, rng)


def draw(noise, grids, rng):
    series = np.zeros((len(grids[0]), len(noise.mixing_), noise.n_timesteps_))
    noise.add_to(series, grids, rng)
    return series


def assert_same_noise(noise, expected, gain_tolerance=1e-9):
    np.testing.assert_allclose(noise.filters_, expected.filters_, rtol=1e-9, atol=1e-12)
    # Of the square roots of a matrix any will do.
    mixing, other = noise.mixing_, expected.mixing_
    np.testing.assert_allclose(mixing @ mixing.T, other @ other.T, rtol=1e-9, atol=1e-12)
    assert noise.log_level_std_ == pytest.approx(expected.log_level_std_, rel=1e-9)
    np.testing.assert_allclose(noise.gain_, expected.gain_, rtol=gain_tolerance)


def test_level_follows_the_code():
    rng = np.random.RandomState(0)
    tokens = rng.randint(0, 2, (300, 1, 8))
    level = np.where(tokens[:, 0] == 0, 1.0, 0.1).repeat(16, axis=1)
    noise = fit(rng.standard_normal((300, 1, 128)) * level[:, None], tokens)
    loud = draw(noise, [np.zeros((200, 1, 8), dtype=int)], rng)
    soft = draw(noise, [np.ones((200, 1, 8), dtype=int)], rng)
    # Frames reach over the borders of tokens, so the two levels mix a little.
    assert 0.7 < loud.std() < 1.3
    assert 0.05 < soft.std() < 0.4


def test_spectrum_is_that_of_the_residual():
    rng = np.random.RandomState(0)
    tokens = np.zeros((300, 1, 8), dtype=int)
    residual = lfilter([1], [1, 0.8], rng.standard_normal((300, 1, 256)))
    new = draw(fit(residual, tokens), [tokens], rng)
    power = [np.mean(np.abs(np.fft.rfft(x)) ** 2, axis=(0, 1)) for x in (residual, new)]
    # Decibels; at the lowest frequencies the decoded series has power of its own.
    assert np.abs(10 * np.log10(power[1] / power[0]))[20:].mean() < 1.0


def test_channels_are_correlated_as_residuals_are():
    rng = np.random.RandomState(0)
    tokens = np.zeros((300, 1, 8), dtype=int)
    residual = rng.standard_normal((300, 2, 128))
    residual[:, 1] = 0.9 * residual[:, 0] + np.sqrt(1 - 0.9**2) * residual[:, 1]
    new = draw(fit(residual, tokens), [tokens], rng)
    assert abs(np.corrcoef(new[:, 0].ravel(), new[:, 1].ravel())[0, 1] - 0.9) < 0.05


def test_many_channels_are_correlated_in_time_and_among_each_other_as_residuals_are():
    rng = np.random.RandomState(0)
    n_channels, tokens = 6, np.zeros((400, 1, 8), dtype=int)
    mixing = rng.standard_normal((n_channels, n_channels))
    residual = lfilter([1], [1, 0.7], mixing @ rng.standard_normal((400, n_channels, 64)))
    new = draw(fit(residual, tokens), [tokens], rng)

    def covariance(series, lag):
        now, later = series[..., : 64 - lag], series[..., lag:]
        products = np.einsum("nit,njt->ij", now, later) / now[:, 0].size
        std = series.std(axis=(0, 2))
        return products / std / std[:, None]

    for lag in range(4):
        expected, found = covariance(residual, lag), covariance(new, lag)
        assert np.abs(expected).mean() > 0.1
        assert np.sqrt(np.mean((expected - found) ** 2)) < 0.06


def test_series_differ_in_level_as_residuals_do():
    rng = np.random.RandomState(0)
    tokens = np.zeros((300, 1, 8), dtype=int)
    level = np.exp(rng.normal(0, 0.5, (300, 1, 1)))
    noise = fit(level * rng.standard_normal((300, 1, 128)), tokens)
    new = np.log(draw(noise, [tokens], rng).std(axis=-1))
    assert abs(noise.log_level_std_ - 0.5) < 0.15 and abs(new.std() - 0.5) < 0.15


def test_a_decoder_as_rough_as_real_series_gets_no_noise():
    rng = np.random.RandomState(0)
    tokens = np.zeros((300, 1, 8), dtype=int)
    series = smooth_series(300, 128, rng)
    decoded = series + 0.1 * rng.standard_normal(series.shape)
    noise = ObservationNoise().fit(series, decoded, [tokens], 4, rng)
    assert draw(noise, [tokens], rng).std() < 0.01


def test_exact_decoding_leaves_no_noise():
    rng = np.random.RandomState(0)
    tokens = rng.randint(0, 4, (20, 1, 8))
    np.testing.assert_allclose(draw(fit(np.zeros((20, 1, 64)), tokens), [tokens], rng), 0)


def test_each_band_has_its_own_columns_and_codes():
    rng = np.random.RandomState(0)
    slow, fast = rng.randint(0, 2, (300, 1, 2)), rng.randint(2, 4, (300, 1, 16))
    level = np.where(fast[:, 0] == 2, 1.0, 0.1).repeat(8, axis=1)
    noise = fit(rng.standard_normal((300, 1, 128)) * level[:, None], slow, fast)
    power = (noise.filters_**2).sum(axis=(1, 2))
    assert power[2] > 5 * power[3]
    # The codes of the other band do not tell the level.
    assert power[0] == pytest.approx(power[1], rel=0.2)
    loud, soft = (draw(noise, [slow, np.full_like(fast, code)], rng).std() for code in (2, 3))
    assert loud > 1.5 * soft


def test_rows_count_the_same_in_one_band_or_two():
    rng = np.random.RandomState(0)
    tokens = rng.randint(0, 4, (50, 3, 8))
    residual = rng.standard_normal((50, 2, 64))
    together = fit(residual, tokens)
    # A grid of twice the columns says the same.
    grids = [tokens[:, :1], tokens[:, 1:].repeat(2, axis=2)]
    apart = fit(residual, *grids)
    assert_same_noise(apart, together)
    expected = draw(together, [tokens], np.random.RandomState(1))
    np.testing.assert_allclose(draw(apart, grids, np.random.RandomState(1)), expected, atol=1e-9)


@pytest.mark.parametrize("length", [1, 64])
def test_the_estimate_does_not_depend_on_how_many_series_are_held_at_once(monkeypatch, length):
    rng = np.random.RandomState(0)
    grids = rng.randint(0, 3, (500, 2, 1)), rng.randint(3, 6, (500, 1, min(length, 8)))
    residual = rng.standard_normal((500, 2, length)) * rng.uniform(0.1, 1, (500, 1, 1))
    residual[:, 1] += residual[:, 0]
    at_once = fit(residual, *grids, n_codes=6)
    monkeypatch.setattr("skncvqvae._memory._MAX_VALUES", 8 * 7 * residual[0].size)
    in_parts = fit(residual, *grids, n_codes=6)
    # The gain is measured on noise that is drawn, and other numbers are drawn.
    assert_same_noise(in_parts, at_once, gain_tolerance=0.1)


def test_memory_does_not_grow_with_the_number_of_series(monkeypatch):
    monkeypatch.setattr("skncvqvae._memory._MAX_VALUES", 50 * 256)

    def peak(n):
        rng = np.random.RandomState(0)
        grids = [rng.randint(0, 4, (n, 1, 8))]
        decoded = smooth_series(n, 256, rng).astype(np.float32)
        series = decoded + 0.1 * rng.standard_normal(decoded.shape).astype(np.float32)
        tracemalloc.start()
        try:
            ObservationNoise().fit(series, decoded, grids, 4, rng).add_to(series, grids, rng)
            return tracemalloc.get_traced_memory()[1]
        finally:
            tracemalloc.stop()

    assert peak(800) < 1.2 * peak(200)


def test_state_is_plain():
    tokens = np.zeros((20, 1, 8), dtype=int)
    noise = fit(np.random.RandomState(0).standard_normal((20, 2, 64)), tokens)
    assert {name: type(value) for name, value in vars(noise).items()} == {
        "n_timesteps_": int,
        "filters_": np.ndarray,
        "mixing_": np.ndarray,
        "log_level_std_": float,
        "gain_": np.ndarray,
    }


@settings(max_examples=40, deadline=None)
@given(
    length=st.integers(1, 70),
    n_channels=st.integers(1, 3),
    shapes=st.lists(st.tuples(st.integers(1, 3), st.integers(1, 6)), min_size=1, max_size=3),
    constant=st.booleans(),
)
def test_any_shape(length, n_channels, shapes, constant):
    rng = np.random.RandomState(0)
    series = np.ones((9, n_channels, length))
    if not constant:
        series = rng.standard_normal(series.shape)
    grids = [rng.randint(0, 3, (9, *shape)) for shape in shapes]
    noise = ObservationNoise().fit(series, np.zeros_like(series), grids, 5, rng)
    drawn = draw(noise, [rng.randint(0, 5, (7, *shape)) for shape in shapes], rng)
    assert drawn.shape == (7, n_channels, length) and np.isfinite(drawn).all()


@pytest.mark.parametrize("n_channels", [None, 2])
def test_samples_are_as_rough_as_the_data(n_channels):
    X, y = make_series(200, n_channels, length=64)
    X_held_out, _ = make_series(200, n_channels, length=64, seed=1)
    transformer = tiny_transformer(max_epochs=30, code_dim=16, n_codes=16, downsampled_width=16)
    generator = tiny_generator(transformer, prior__max_epochs=30).fit(X, y)
    smooth, rough = (
        power_spectrum_difference(X_held_out, generator.sample(200, observation_noise=scale)[0])
        for scale in (0, 1)
    )
    assert rough < 0.5 * smooth


def test_noise_is_added_to_what_the_tokens_decode_to(series):
    X, y = series
    generator = tiny_generator(match_marginals=False).fit(X, y)
    decoded, once, twice = (
        generator.sample(10, observation_noise=scale, random_state=0)[0] for scale in (0, 1, 2)
    )
    np.testing.assert_allclose(twice - decoded, 2 * (once - decoded))
    again = generator.set_params(observation_noise=0).sample(10, random_state=0)[0]
    np.testing.assert_array_equal(again, decoded)
