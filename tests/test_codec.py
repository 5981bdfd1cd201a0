"""What the codec reads it writes as it came, whatever its layout."""

import pickle

import numpy as np
import pytest
from helpers import make_series
from hypothesis import assume, given
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays
from sklearn.base import BaseEstimator

from skncvqvae._codec import SeriesCodec


class Owner(BaseEstimator):
    """The estimator that a codec reads for."""


@st.composite
def data_sets(draw, min_length=1):
    """Draw series, and the parameters of the codec that reads them."""
    n, length = draw(st.integers(2, 6)), draw(st.integers(min_length, 40))
    layout = draw(st.sampled_from(["univariate", "channels_first", "channels_last"]))
    # Several channels of a single time step are taken for the other layout, and refused.
    n_channels = draw(st.integers(1, 3 if length > 1 else 1))
    shape = {
        "univariate": (n, length),
        "channels_first": (n, n_channels, length),
        "channels_last": (n, length, n_channels),
    }[layout]
    dtype = draw(st.sampled_from([np.float32, np.float64]))
    # Smaller differences are refused: in single precision their squares are zero.
    values = st.floats(-1000, 1000, width=32).map(lambda value: value if abs(value) > 1e-9 else 0)
    X = draw(arrays.arrays(dtype, shape, elements=values))
    data_format = "channels_first" if layout == "univariate" else layout
    return X, data_format


def as_series(X, data_format):
    """Return ``(n, n_channels, length)``, written another way than the codec's."""
    if X.ndim == 2:
        return X.reshape(len(X), 1, -1)
    return np.einsum("nlc->ncl", X) if data_format == "channels_last" else X


@given(data=data_sets())
def test_reading_and_writing_round_trips(data):
    X, data_format = data
    codec, owner = SeriesCodec(data_format), Owner()
    series = codec.fit_read(X, owner)
    np.testing.assert_array_equal(series, as_series(X, data_format))
    assert series.dtype == X.dtype == codec.dtype_
    assert (codec.n_channels_, codec.n_timesteps_, codec.ndim_) == (*series.shape[1:], X.ndim)
    assert owner.n_features_in_ == X.shape[1]
    np.testing.assert_array_equal(codec.read(X, owner), series)
    written = codec.write(series)
    np.testing.assert_array_equal(written, X)
    assert written.dtype == X.dtype and written.flags.c_contiguous
    # What is not of the dtype of the data comes back in it.
    assert codec.write(series.astype(np.float64)).dtype == X.dtype


@given(data=data_sets())
def test_standardising_round_trips(data):
    X, data_format = data
    codec = SeriesCodec(data_format)
    series = codec.fit_read(X, Owner())
    standardised = codec.standardise(series)
    assert standardised.dtype == np.float32 and standardised.shape == series.shape
    scale = np.abs(series).max() + 1
    np.testing.assert_allclose(codec.unstandardise(standardised), series, atol=1e-5 * scale)
    assert codec.unstandardise(standardised).dtype == X.dtype


@given(data=data_sets())
def test_each_channel_gets_mean_zero_and_deviation_one(data):
    X, data_format = data
    exact = as_series(X, data_format).astype(np.float64)
    # Constant channels have no deviation; nearly constant ones are lost in single precision.
    assume((exact.std(axis=(0, 2)) > 1e-2 * (1 + np.abs(exact).max())).all())
    codec = SeriesCodec(data_format)
    standardised = codec.standardise(codec.fit_read(X, Owner())).astype(np.float64)
    np.testing.assert_allclose(standardised.mean(axis=(0, 2)), 0, atol=1e-4)
    np.testing.assert_allclose(standardised.std(axis=(0, 2)), 1, atol=1e-4)
    np.testing.assert_allclose(codec.mean_, exact.mean(axis=(0, 2)), atol=1e-3)


def test_a_constant_channel_stays_as_it_is():
    X, _ = make_series(n_channels=2)
    X[:, 1] = 7.5
    codec = SeriesCodec()
    standardised = codec.standardise(codec.fit_read(X, Owner()))
    assert (standardised[:, 1] == 0).all() and codec.scale_[1] == 1


@given(data=data_sets(min_length=4), seed=st.integers(0, 999))
def test_gaps_are_filled_and_all_else_stays(data, seed):
    X, data_format = data
    rng = np.random.default_rng(seed)
    series = as_series(X, data_format)
    # Gaps inside a series, all channels alike or not; the ends are known.
    gap = rng.random(series.shape) < 0.4
    gap[..., [0, -1]] = False
    gappy = np.where(gap, np.nan, series).astype(X.dtype)
    owner = Owner()
    codec = SeriesCodec(data_format, "interpolate")
    codec.fit_read(X, owner)
    read = codec.read(codec.write(gappy), owner)
    assert read.dtype == X.dtype and np.isfinite(read).all()
    np.testing.assert_allclose(read[~gap], series[~gap], rtol=1e-6)
    # Between two neighbours, on the line that joins them.
    time = np.arange(series.shape[-1])
    for i, channel in np.ndindex(series.shape[:2]):
        known = ~gap[i, channel]
        line = np.interp(time, time[known], series[i, channel, known])
        np.testing.assert_allclose(read[i, channel], line, rtol=1e-5, atol=1e-3)


@given(
    lengths=st.lists(st.integers(2, 30), min_size=2, max_size=6),
    n_channels=st.one_of(st.none(), st.integers(1, 3)),
    data_format=st.sampled_from(["channels_first", "channels_last"]),
    seed=st.integers(0, 99),
)
def test_series_of_unequal_length_are_stretched_to_the_longest(
    lengths, n_channels, data_format, seed
):
    rng = np.random.default_rng(seed)
    X = [rng.normal(size=(n_channels or 1, length)) for length in lengths]
    as_given = X
    if n_channels is None:
        as_given = [x[0] for x in X]
    elif data_format == "channels_last":
        as_given = [x.T for x in X]
    owner, longest = Owner(), max(lengths)
    codec = SeriesCodec(data_format, "interpolate")
    read = codec.fit_read(as_given, owner)
    assert read.shape == (len(X), n_channels or 1, longest)
    for series, original in zip(read, X, strict=True):
        # The ends stay, and nothing goes beyond what was there.
        np.testing.assert_allclose(series[:, [0, -1]], original[:, [0, -1]])
        assert (series.max(1) <= original.max(1) + 1e-12).all()
        if original.shape[1] == longest:
            np.testing.assert_allclose(series, original)
    np.testing.assert_array_equal(codec.read(as_given, owner), read)
    # One series alone is stretched to the length of the fit as well.
    shortest = int(np.argmin(lengths))
    np.testing.assert_allclose(
        codec.read([as_given[shortest]], owner)[0], read[shortest], rtol=1e-12
    )


@given(data=data_sets(), other=data_sets())
def test_series_of_another_shape_are_refused(data, other):
    (X, data_format), (other_X, _) = data, other
    owner = Owner()
    codec = SeriesCodec(data_format)
    codec.fit_read(X, owner)
    if other_X.shape[1:] == X.shape[1:]:
        np.testing.assert_array_equal(codec.read(other_X, owner), as_series(other_X, data_format))
    else:
        with pytest.raises(ValueError, match=r"Owner was fitted on|Owner is expecting"):
            codec.read(other_X, owner)


def test_pickles():
    X, _ = make_series(n_channels=2)
    owner, codec = Owner(), SeriesCodec()
    series = codec.fit_read(X, owner)
    loaded = pickle.loads(pickle.dumps(codec))
    np.testing.assert_array_equal(loaded.standardise(series), codec.standardise(series))
    np.testing.assert_array_equal(loaded.read(X, owner), series)


def test_reading_does_not_change_the_data():
    X, _ = make_series()
    X[3, 5:9] = np.nan
    before, owner = X.copy(), Owner()
    codec = SeriesCodec(irregular="interpolate")
    codec.standardise(codec.fit_read(X, owner))
    np.testing.assert_array_equal(X, before)
