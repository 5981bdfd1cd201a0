"""`SeriesCodec`: any input that the estimators accept, as one array, and back."""

from typing import Any, Literal

import numpy as np
from numpy.typing import ArrayLike, NDArray
from sklearn.base import BaseEstimator
from sklearn.preprocessing import StandardScaler
from sklearn.utils.validation import validate_data

from ._memory import gen_parts

DataFormat = Literal["channels_first", "channels_last"]
Irregular = Literal["raise", "interpolate"]


class SeriesCodec:
    """Reads series of every accepted layout, scales them, and gives them back as they came.

    It alone turns the user's input into arrays ``(n, n_channels, n_timesteps)`` and such arrays
    into what the user gets.

    Parameters
    ----------
    data_format : {"channels_first", "channels_last"}, default="channels_first"
        Layout of 3-D input.
    irregular : {"raise", "interpolate"}, default="raise"
        What to do with NaN and series of unequal length.

    Attributes
    ----------
    n_channels_, n_timesteps_ : int
        Shape of a series.
    ndim_ : int
        Number of dimensions of the data of `fit_read`.
    dtype_ : numpy.dtype
        Their dtype, float32 or float64.
    mean_, scale_ : ndarray of shape (n_channels,)
        Mean and standard deviation of each channel over all series and times.
    """

    n_channels_: int
    n_timesteps_: int
    ndim_: int
    dtype_: np.dtype
    mean_: NDArray[np.float64]
    scale_: NDArray[np.float64]

    def __init__(
        self, data_format: DataFormat = "channels_first", irregular: Irregular = "raise"
    ) -> None:
        self.data_format = data_format
        self.irregular = irregular

    def __getstate__(self) -> dict[str, Any]:
        """Return the attributes, the dtype by its name: what stores models knows no dtypes."""
        state = vars(self).copy()
        if "dtype_" in state:
            state["dtype_"] = state["dtype_"].name
        return state

    def __setstate__(self, state: dict[str, Any]) -> None:
        vars(self).update(state)
        if "dtype_" in state:
            self.dtype_ = np.dtype(state["dtype_"])

    def fit_read(self, X: ArrayLike, estimator: BaseEstimator) -> NDArray[np.floating]:
        """Learn layout and scale from `X`, and return its series.

        Parameters
        ----------
        X : array-like or sequence of arrays
            See `NCVQVAETransformer.fit`.
        estimator : estimator
            Gets `n_features_in_` and `feature_names_in_`, and is named in messages.

        Returns
        -------
        ndarray of shape (n, n_channels, n_timesteps), float32 or float64

        Raises
        ------
        ValueError
            On data that are no series, infinities, values too large to standardise, and, unless
            ``irregular="interpolate"``, on NaN or unequal lengths.
        """
        array = self._validate(self._stack(X, None), estimator, reset=True)
        series = self._to_series(array)
        self.n_channels_, self.n_timesteps_ = series.shape[1:]
        self.ndim_, self.dtype_ = array.ndim, array.dtype
        with np.errstate(over="ignore", invalid="ignore"):
            # Per channel and not per series, so that differences in amplitude between series
            # survive; for univariate series this is the reference's standardisation.
            columns = series.swapaxes(1, 2).reshape(-1, series.shape[1])
            scaler: Any = StandardScaler().fit(columns)
        if not np.isfinite(scaler.var_).all():
            raise ValueError("X holds values too large to standardise. Rescale X.")
        self.mean_, self.scale_ = scaler.mean_, scaler.scale_
        return series

    def read(self, X: ArrayLike, estimator: BaseEstimator) -> NDArray[np.floating]:
        """Return the series of `X`, which must be like those of `fit_read`.

        Parameters
        ----------
        X : array-like or sequence of arrays
        estimator : estimator
            The one that the user called; it has `n_features_in_` and is named in messages.

        Returns
        -------
        ndarray of shape (n, n_channels, n_timesteps), float32 or float64

        Raises
        ------
        ValueError
            On another shape than in `fit_read`, and as there.
        """
        array = self._stack(X, self.n_timesteps_)
        self._check_shape(array, estimator)
        return self._to_series(self._validate(array, estimator, reset=False))

    def write(self, series: NDArray[np.floating]) -> NDArray[np.floating]:
        """Return series in the layout and dtype of the data of `fit_read`."""
        if self.ndim_ == 2:
            series = series[:, 0]
        elif self.data_format == "channels_last":
            series = series.swapaxes(1, 2)
        return np.ascontiguousarray(series, dtype=self.dtype_)

    def standardise(self, series: NDArray[np.floating]) -> NDArray[np.float32]:
        """Return series in units of each channel's standard deviation, a part at a time.

        Raises
        ------
        ValueError
            On values that single precision cannot hold.
        """
        out = np.empty(series.shape, dtype=np.float32)
        with np.errstate(over="ignore"):
            # In the dtype of the series: double precision of single would cost time for nothing.
            mean, scale = (m[:, None].astype(series.dtype) for m in (self.mean_, self.scale_))
            for part in gen_parts(series):
                out[part] = (series[part] - mean) / scale
        if not np.isfinite(out).all():
            raise ValueError(
                "X holds values too large, or too far from the training data, for single "
                "precision. Rescale or clip X."
            )
        return out

    def unstandardise(self, series: NDArray[np.float32]) -> NDArray[np.floating]:
        """Return series in the units and dtype of the data of `fit_read`."""
        out = series.astype(self.dtype_, copy=False)
        for part in gen_parts(out):
            out[part] = out[part] * self.scale_[:, None] + self.mean_[:, None]
        return out

    @property
    def _time_axis(self) -> int:
        """The axis of time in one series."""
        return 0 if self.data_format == "channels_last" else -1

    def _stack(self, X: Any, length: int | None) -> Any:
        """Return `X`, or one array where it is a sequence of series or is to be stretched.

        With ``irregular="interpolate"`` series are stretched to `length`, or to the longest.
        """
        is_sequence = isinstance(X, (list, tuple)) or (
            isinstance(X, np.ndarray) and X.dtype == object and X.ndim == 1
        )
        axis, interpolate = self._time_axis, self.irregular == "interpolate"
        if not is_sequence or len(X) == 0:
            if length is None or not interpolate:
                return X
            shape = np.shape(X)
            if len(shape) not in (2, 3) or shape[axis if axis == -1 else 1] == length:
                return X
            return self._stretch(list(np.asarray(X)), length)
        items = [np.asarray(item) for item in X]
        if any(item.ndim == 0 for item in items):
            return X  # scalars: validate_data reports that X is one-dimensional
        lengths = {item.shape[axis] for item in items}
        if len(lengths) > 1 and not interpolate:
            raise ValueError(
                f"X holds series of unequal length, {min(lengths)} to {max(lengths)} time steps. "
                "Set irregular='interpolate' to stretch them to one length, or resample them "
                "yourself, for instance with tslearn.preprocessing.TimeSeriesResampler."
            )
        if len({tuple(np.delete(item.shape, axis)) for item in items}) > 1:
            raise ValueError("The series of X differ in their number of channels.")
        wanted = length if interpolate and length is not None else max(lengths)
        return np.asarray(items) if lengths == {wanted} else self._stretch(items, wanted)

    def _stretch(self, items: list[NDArray], length: int) -> NDArray:
        """Interpolate series to one length and stack them in the layout of the input."""
        axis = self._time_axis
        stretched = [
            np.moveaxis(_resample(np.moveaxis(item, axis, -1), length), -1, axis) for item in items
        ]
        return np.stack(stretched).astype(np.result_type(*items))

    @staticmethod
    def _validate(X: Any, estimator: BaseEstimator, reset: bool) -> NDArray[np.floating]:
        validated: Any = validate_data(
            estimator,
            X,
            reset=reset,
            dtype=[np.float64, np.float32],
            allow_nd=True,
            ensure_all_finite=False,
            ensure_min_samples=2 if reset else 1,
        )
        return validated

    def _to_series(self, array: NDArray[np.floating]) -> NDArray[np.floating]:
        """Turn validated input of any layout into series without gaps."""
        if array.ndim > 3:
            raise ValueError(
                f"X has {array.ndim} dimensions. Pass (n_series, length) for univariate series, "
                "(n_series, n_channels, length) for others."
            )
        if min(array.shape) == 0:
            raise ValueError(f"X of shape {array.shape} holds no values.")
        if np.isinf(array).any():
            raise ValueError("X contains infinity. Remove or clip these values.")
        gappy = np.isnan(array).any(axis=tuple(range(1, array.ndim)))
        if gappy.any() and self.irregular == "raise":
            raise ValueError(
                "X contains NaN. Set irregular='interpolate' to fill gaps linearly along time, or "
                "fill them yourself, for instance with pandas.DataFrame.interpolate(axis=1)."
            )
        series = array[:, None, :] if array.ndim == 2 else array
        if array.ndim == 3 and self.data_format == "channels_last":
            series = series.swapaxes(1, 2)
        if gappy.any():
            series = series.copy()
            series[gappy] = [_resample(one, series.shape[2]) for one in series[gappy]]
        return series

    def _check_shape(self, X: Any, estimator: BaseEstimator) -> None:
        """Compare 3-D data with `fit_read`; for 2-D data scikit-learn's own check does it."""
        shape = getattr(X, "shape", ())
        if len(shape) == 3 or (len(shape) == 2 and self.ndim_ == 3):
            expected: tuple[int, ...] = (self.n_channels_, self.n_timesteps_)
            if self.data_format == "channels_last":
                expected = expected[::-1]
            if self.ndim_ == 2:
                expected = expected[1:]
            if shape[1:] != expected:
                raise ValueError(
                    f"X has shape (n, {', '.join(map(str, shape[1:]))}), but "
                    f"{type(estimator).__name__} was fitted on "
                    f"(n, {', '.join(map(str, expected))}). Pass series of that shape."
                )


def move(series: NDArray[np.floating], n_steps: int) -> NDArray[np.floating]:
    """Return series ``(..., n_timesteps)`` moved along time, reflected at their ends."""
    last = series.shape[-1] - 1
    time = np.abs(np.arange(last + 1) + n_steps)
    return series[..., np.clip(last - np.abs(last - time), 0, None)]


def _resample(series: NDArray, length: int) -> NDArray[np.float64]:
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
