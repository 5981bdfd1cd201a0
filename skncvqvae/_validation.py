"""Conversion of every accepted input layout to one array, and errors that say what to do."""

from contextlib import contextmanager

import numpy as np
from sklearn.utils.validation import check_is_fitted, validate_data


@contextmanager
def keep_fitted_state(estimator):
    """Give an estimator its attributes back when the fit inside the block fails."""
    state = vars(estimator).copy()
    try:
        yield
    except BaseException:
        vars(estimator).clear()
        vars(estimator).update(state)
        raise


def validate_series(estimator, X, *, reset):
    """Return the series of `X` as one finite array ``(n, channels, length)``.

    Parameters
    ----------
    estimator : estimator
        Its parameters `data_format` and `irregular` say how to read `X`. With ``reset=True``
        the shape, dtype and number of dimensions of `X` are stored on it.
    X : array-like or sequence of arrays
        See `NCVQVAETransformer.fit`.
    reset : bool
        Whether this is the data of `fit`.

    Returns
    -------
    ndarray of shape (n, channels, length), float32 or float64

    Raises
    ------
    ValueError
        On another shape than in `fit`, infinities, and, unless
        ``irregular="interpolate"``, on NaN or unequal lengths.
    """
    if not reset:
        check_is_fitted(estimator, "n_timesteps_")
    interpolate = estimator.irregular == "interpolate"
    time_axis = 0 if estimator.data_format == "channels_last" else -1
    X = _equalise_lengths(estimator, X, time_axis, interpolate, reset)
    if not reset:
        _check_same_shape(estimator, X)
    X = validate_data(
        estimator,
        X,
        reset=reset,
        dtype=[np.float64, np.float32],
        allow_nd=True,
        ensure_all_finite=False,
        ensure_min_samples=2 if reset else 1,
    )
    if X.ndim > 3:
        raise ValueError(
            f"X has {X.ndim} dimensions. Pass (n_series, length) for univariate series, "
            "(n_series, n_channels, length) for others."
        )
    if min(X.shape) == 0:
        raise ValueError(f"X of shape {X.shape} holds no values.")
    if np.isinf(X).any():
        raise ValueError("X contains infinity. Remove or clip these values.")
    if np.isnan(X).any() and not interpolate:
        raise ValueError(
            "X contains NaN. Set irregular='interpolate' to fill gaps linearly along time, or "
            "fill them yourself, for instance with pandas.DataFrame.interpolate(axis=1)."
        )
    series = X[:, None, :] if X.ndim == 2 else X
    if X.ndim == 3 and time_axis == 0:
        series = series.swapaxes(1, 2)
    series = _fill_gaps(series)
    if reset:
        estimator.n_channels_, estimator.n_timesteps_ = series.shape[1:]
        estimator._X_ndim, estimator._X_dtype = X.ndim, X.dtype
    return series


def restore_layout(estimator, series):
    """Turn ``(n, channels, length)`` into the layout and dtype of the training data."""
    if estimator._X_ndim == 2:
        series = series[:, 0]
    elif estimator.data_format == "channels_last":
        series = series.swapaxes(1, 2)
    return np.ascontiguousarray(series, dtype=estimator._X_dtype)


def in_training_layout(estimator, X):
    """Return data of any accepted kind as `restore_layout` does, gaps and lengths mended."""
    return restore_layout(estimator, validate_series(estimator, X, reset=False))


def _equalise_lengths(estimator, X, time_axis, interpolate, reset):
    """Refuse, or with `interpolate` stretch, series of another length than the rest."""
    is_sequence = isinstance(X, (list, tuple)) or (
        isinstance(X, np.ndarray) and X.dtype == object and X.ndim == 1
    )
    if is_sequence and len(X):
        shapes = [np.shape(series) for series in X]
        if not all(shapes):
            return X  # scalars: validate_data reports that X is one-dimensional
        lengths = {shape[time_axis] for shape in shapes}
    elif interpolate and not reset and len(getattr(X, "shape", ())) in (2, 3):
        lengths = {X.shape[1 if time_axis == 0 else -1]}
    else:
        return X
    if len(lengths) > 1 and not interpolate:
        raise ValueError(
            f"X holds series of unequal length, {min(lengths)} to {max(lengths)} time steps. "
            "Set irregular='interpolate' to stretch them to one length, or resample them "
            "yourself, for instance with tslearn.preprocessing.TimeSeriesResampler."
        )
    if is_sequence and len({tuple(np.delete(shape, time_axis)) for shape in shapes}) > 1:
        raise ValueError("The series of X differ in their number of channels.")
    length = max(lengths) if reset or not interpolate else estimator.n_timesteps_
    if lengths == {length}:
        return np.asarray([np.asarray(series) for series in X]) if is_sequence else X
    X = [np.asarray(series) for series in (X if is_sequence else np.asarray(X))]
    dtype = np.result_type(*X)
    X = np.stack([_resample(np.moveaxis(series, time_axis, -1), length) for series in X])
    return np.moveaxis(X, -1, time_axis if time_axis == -1 else 1).astype(dtype)


def _resample(series, length):
    """Interpolate the channels of a series ``(..., n_steps)`` linearly at `length` times.

    Gaps are bridged. Steps at the end that are NaN in all channels are no gap but padding, as in
    tslearn's data sets of unequal length: the series ends before them.
    """
    channels = np.asarray(series, dtype=float).reshape(-1, series.shape[-1])
    known = ~np.isnan(channels)
    if not known.any(axis=1).all():
        raise ValueError(
            "X holds a series with a channel of NaN only. Remove that series or channel."
        )
    position = np.linspace(0, np.flatnonzero(known.any(axis=0))[-1], length)
    resampled = [
        np.interp(position, np.flatnonzero(is_known), values[is_known])
        for values, is_known in zip(channels, known, strict=True)
    ]
    return np.reshape(resampled, (*series.shape[:-1], length))


def _fill_gaps(series):
    gappy = np.isnan(series).any(axis=(1, 2))
    if not gappy.any():
        return series
    series = series.copy()
    series[gappy] = [_resample(one, series.shape[2]) for one in series[gappy]]
    return series


def _check_same_shape(estimator, X):
    """Compare 3-D data with `fit`; for 2-D data scikit-learn's own check does it."""
    shape = getattr(X, "shape", ())  # of a list, _equalise_lengths has made an array
    if len(shape) == 3 or (len(shape) == 2 and estimator._X_ndim == 3):
        expected = (estimator.n_channels_, estimator.n_timesteps_)
        if estimator.data_format == "channels_last":
            expected = expected[::-1]
        if estimator._X_ndim == 2:
            expected = expected[1:]
        if shape[1:] != expected:
            raise ValueError(
                f"X has shape (n, {', '.join(map(str, shape[1:]))}), but "
                f"{type(estimator).__name__} was fitted on "
                f"(n, {', '.join(map(str, expected))}). Pass series of that shape."
            )
