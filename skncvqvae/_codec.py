"""`SeriesCodec`: any input that the estimators accept, as one array, and back."""

import math
from typing import Any, Literal

import numpy as np
from numpy.typing import ArrayLike, NDArray
from sklearn.base import BaseEstimator
from sklearn.preprocessing import StandardScaler
from sklearn.utils import check_array, gen_batches
from sklearn.utils.validation import _check_feature_names, _check_n_features

from ._containers import DataFormat, named_frame, open_container
from ._memory import LazySeries, all_finite, gen_parts, is_large, n_of_large_part

Irregular = Literal["raise", "interpolate"]
MissingChannels = Literal["raise", "mean"]

# Values that differ by less cannot be squared, or divided, without losing digits.
_SMALLEST = {np.dtype(np.float64): 1e-150, np.dtype(np.float32): 1e-36}


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
    missing_channels : {"raise", "mean"}, default="raise"
        What to do with a channel of a series that is NaN only.

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
        self,
        data_format: DataFormat = "channels_first",
        irregular: Irregular = "raise",
        missing_channels: MissingChannels = "raise",
    ) -> None:
        self.data_format: DataFormat = data_format
        self.irregular = irregular
        self.missing_channels = missing_channels

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
            On data that are no series, infinities, values too large or too small to standardise,
            and, unless ``irregular="interpolate"``, on NaN or unequal lengths.
        """
        array = self._validate(X, self._stack(X, None, estimator), estimator, reset=True)
        series = self._to_series(array, estimator)
        self.n_channels_, self.n_timesteps_ = series.shape[1:]
        self.ndim_, self.dtype_ = array.ndim, array.dtype
        missing = self._find_missing(series)
        if missing.all(axis=0).any():
            raise ValueError(
                f"Channel {missing.all(axis=0).argmax()} of X is NaN only, in all series. Remove "
                "that channel."
            )
        _check_scale(series)
        with np.errstate(over="ignore", invalid="ignore"):
            # Per channel and not per series, so that differences in amplitude between series
            # survive; for univariate series this is the reference's standardisation.
            scaler: Any = StandardScaler()
            for part in gen_batches(len(series), n_of_large_part(series)):
                scaler.partial_fit(series[part].swapaxes(1, 2).reshape(-1, series.shape[1]))
        if not np.isfinite(scaler.var_).all():
            raise ValueError("X holds values too large to standardise. Rescale X.")
        self.mean_, self.scale_ = scaler.mean_, scaler.scale_
        return self._fill_missing(series, missing)

    def read(
        self, X: ArrayLike, estimator: BaseEstimator, *, warn_of_names: bool = True
    ) -> NDArray[np.floating]:
        """Return the series of `X`, which must be like those of `fit_read`.

        Parameters
        ----------
        X : array-like or sequence of arrays
        estimator : estimator
            The one that the user called; it has `n_features_in_` and is named in messages.
        warn_of_names : bool, default=True
            Whether to warn, as scikit-learn does, where `X` has no column names and the data of
            `fit_read` had.

        Returns
        -------
        ndarray of shape (n, n_channels, n_timesteps), float32 or float64

        Raises
        ------
        ValueError
            On another shape than in `fit_read`, and as there.
        """
        array = self._stack(X, self.n_timesteps_, estimator)
        self._check_shape(array, estimator)
        array = self._validate(X, array, estimator, reset=False, warn_of_names=warn_of_names)
        series = self._to_series(array, estimator)
        return self._fill_missing(series, self._find_missing(series))

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
        if not all_finite(out):
            raise ValueError(
                "X holds values too large, or too far from the training data, for single "
                "precision. Rescale or clip X."
            )
        return out

    def standardise_lazily(self, series: Any) -> Any:
        """Return what `standardise` does; of many series a `LazySeries` that stands for it.

        Parameters
        ----------
        series : ndarray or LazySeries of shape (n, n_channels, n_timesteps)

        Returns
        -------
        ndarray or LazySeries of float32, of the shape of `series`
        """
        if not is_large(series):
            return self.standardise(series)
        return LazySeries(series, self.standardise, np.float32)

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

    @property
    def _other(self) -> DataFormat:
        """The layout that the data may be meant to have."""
        return "channels_last" if self.data_format == "channels_first" else "channels_first"

    def _stack(self, X: Any, length: int | None, estimator: BaseEstimator) -> Any:
        """Return `X` as one array, or as a frame of numbers.

        With ``irregular="interpolate"`` series are stretched to `length`, or to the longest.
        """
        X = open_container(X, "X", self.data_format)
        axis, interpolate = self._time_axis, self.irregular == "interpolate"
        if not isinstance(X, list) or not all(map(np.ndim, X)) or len(X) == 0:
            if length is None or not interpolate:
                return X
            shape = np.shape(X)
            if len(shape) not in (2, 3) or shape[axis if axis == -1 else 1] == length:
                return X
            if 0 in shape:
                return X  # refused later
            self._check_channels(shape[1:])
            array = check_array(
                X,
                dtype=[np.float64, np.float32],  # type: ignore[arg-type]
                allow_nd=True,
                ensure_all_finite=False,
                input_name="X",
            )
            return self._stretch(list(array), length)
        empty = [i for i, item in enumerate(X) if not item.size]
        if empty:
            raise ValueError(f"Series {empty[0]} of X, of shape {X[empty[0]].shape}, is empty.")
        self._check_alike(X)
        lengths = {item.shape[axis] for item in X}
        if len(lengths) > 1 and not interpolate:
            raise ValueError(
                f"X holds series of unequal length, {min(lengths)} to {max(lengths)} time steps. "
                f"{_remedy(estimator, 'stretch them to one length', 'resample them')} yourself, "
                "for instance with tslearn.preprocessing.TimeSeriesResampler."
            )
        if interpolate and length is not None:
            self._check_channels(X[0].shape)
        wanted = length if interpolate and length is not None else max(lengths)
        return np.asarray(X) if lengths == {wanted} else self._stretch(X, wanted)

    def _check_alike(self, items: list[NDArray]) -> None:
        """Refuse series that differ in their number of channels."""
        channels = [tuple(np.delete(item.shape, self._time_axis)) for item in items]
        other = next((i for i, those in enumerate(channels) if those != channels[0]), None)
        if other is None:
            return
        problem = (
            "The series of X differ in their number of channels. With "
            f"data_format={self.data_format!r}, series 0 has {_count_channels(channels[0])}, but "
            f"series {other} of shape {items[other].shape} has {_count_channels(channels[other])}."
        )
        if len({np.delete(item.shape, -1 - self._time_axis).tobytes() for item in items}) == 1:
            raise ValueError(f"{problem} For the other layout set data_format={self._other!r}.")
        raise ValueError(f"{problem} Give all series the same channels.")

    def _check_channels(self, shape: tuple[int, ...]) -> None:
        """Refuse a series of other channels before it is stretched, which hides its shape."""
        n_channels = math.prod(np.delete(shape, self._time_axis).tolist())
        if len(shape) == 2 and n_channels != self.n_channels_:
            raise ValueError(
                f"X holds series of shape {tuple(shape)}, {_count_channels((n_channels,))} with "
                f"data_format={self.data_format!r}, but the data of fit had "
                f"{_count_channels((self.n_channels_,))}. Pass series of the same channels."
            )

    def _stretch(self, items: list[NDArray], length: int) -> NDArray:
        """Interpolate series to one length and stack them in the layout of the input."""
        axis = self._time_axis
        stretched = [
            np.moveaxis(_resample(np.moveaxis(item, axis, -1), length), -1, axis) for item in items
        ]
        return np.stack(stretched).astype(np.result_type(*items))

    @staticmethod
    def _validate(
        X: Any, opened: Any, estimator: BaseEstimator, reset: bool, warn_of_names: bool = True
    ) -> NDArray[np.floating]:
        """Check `opened`, which was made of the user's `X`, as `validate_data` would `X`."""
        named: Any = named_frame(X)
        named = opened if named is None else named
        has_names = hasattr(named, "columns")
        if reset or has_names or warn_of_names:
            _check_feature_names(estimator, named, reset=reset)
        validated: Any = check_array(
            opened,
            dtype=[np.float64, np.float32],  # type: ignore[arg-type]
            allow_nd=True,
            ensure_all_finite=False,
            ensure_min_samples=2 if reset else 1,
            estimator=estimator,
            input_name="X",
        )
        _check_n_features(estimator, validated, reset=reset)
        if not validated.dtype.isnative:  # a column of a frame may be of another byte order
            return validated.astype(validated.dtype.newbyteorder("="))
        return validated

    def _to_series(
        self, array: NDArray[np.floating], estimator: BaseEstimator
    ) -> NDArray[np.floating]:
        """Turn validated input of any layout into series without gaps."""
        if array.ndim > 3:
            raise _too_many_dimensions(array.shape)
        if min(array.shape) == 0:
            raise ValueError(f"X of shape {array.shape} holds no values.")
        infinite, gappy = False, np.empty(len(array), dtype=bool)
        for part in gen_parts(array):
            infinite |= bool(np.isinf(array[part]).any())
            gappy[part] = np.isnan(array[part]).any(axis=tuple(range(1, array.ndim)))
        if infinite:
            raise ValueError("X contains infinity. Remove or clip these values.")
        if gappy.any() and self.irregular == "raise":
            raise ValueError(
                "X contains NaN. "
                f"{_remedy(estimator, 'fill gaps linearly along time', 'fill them')} yourself, "
                "for instance with pandas.DataFrame.interpolate(axis=1)."
            )
        series = array[:, None, :] if array.ndim == 2 else array
        if array.ndim == 3 and self.data_format == "channels_last":
            series = series.swapaxes(1, 2)
        if series.shape[1] > 1 and series.shape[2] == 1:
            raise ValueError(
                f"X has shape {array.shape}, which is {series.shape[1]} channels of a single time "
                f"step with data_format={self.data_format!r}. Set data_format={self._other!r}."
            )
        if gappy.any():
            series = series.copy()
            series[gappy] = [_resample(one, series.shape[2]) for one in series[gappy]]
        return series

    def _find_missing(self, series: NDArray[np.floating]) -> NDArray[np.bool_]:
        """Return which channels of which series are NaN only, ``(n, n_channels)``.

        Raises
        ------
        ValueError
            Where there are any and ``missing_channels="raise"``.
        """
        # Other gaps are filled.
        missing = np.empty(series.shape[:2], dtype=bool)
        for part in gen_parts(series):
            missing[part] = np.isnan(series[part]).any(axis=2)
        if missing.any() and self.missing_channels == "raise":
            found = [f"series {i} (channel {channel})" for i, channel in np.argwhere(missing)]
            more = f" and {len(found) - 5} others" if len(found) > 5 else ""
            raise ValueError(
                f"X holds series with a channel of NaN only: {', '.join(found[:5])}{more}. Remove "
                "them, or set missing_channels='mean' to give such a channel its mean in the "
                "training data."
            )
        return missing

    def _fill_missing(
        self, series: NDArray[np.floating], missing: NDArray[np.bool_]
    ) -> NDArray[np.floating]:
        if missing.any():  # then `series` is a copy, the gaps of which were filled
            where, channels = np.nonzero(missing)
            series[where, channels] = self.mean_[channels, None]
        return series

    def _check_shape(self, X: Any, estimator: BaseEstimator) -> None:
        """Compare 3-D data with `fit_read`; for 2-D data scikit-learn's own check does it."""
        shape = getattr(X, "shape", ())
        if len(shape) > 3:
            raise _too_many_dimensions(shape)
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


def _remedy(estimator: Any, interpolated: str, by_hand: str) -> str:
    """Return what to do, with the parameter `irregular` where the estimator, or a part, has it."""
    if {"irregular", "transformer", "generator"} & estimator.get_params(deep=False).keys():
        return f"Set irregular='interpolate' of the transformer to {interpolated}, or {by_hand}"
    return by_hand.capitalize()


def _too_many_dimensions(shape: tuple[int, ...]) -> ValueError:
    return ValueError(
        f"X has {len(shape)} dimensions. Pass (n_series, length) for univariate series, "
        "(n_series, n_channels, length) for others."
    )


def _resample(series: NDArray, length: int) -> NDArray[np.float64]:
    """Interpolate the channels of a series ``(..., n_steps)`` linearly at `length` times.

    Gaps are bridged. Steps at the end that are NaN in all channels are no gap but padding, as in
    tslearn's data sets of unequal length: the series ends before them. A channel of NaN only stays
    so.
    """
    channels = np.asarray(series, dtype=float).reshape(-1, series.shape[-1])
    known = ~np.isnan(channels)
    if not known.any():
        return np.full((*series.shape[:-1], length), np.nan)
    position = np.linspace(0, np.flatnonzero(known.any(axis=0))[-1], length)
    resampled = [
        np.interp(position, np.flatnonzero(is_known), values[is_known])
        if is_known.any()
        else np.full(length, np.nan)
        for values, is_known in zip(channels, known, strict=True)
    ]
    return np.reshape(resampled, (*series.shape[:-1], length))


def _count_channels(shape: tuple[int, ...]) -> str:
    if not shape:
        return "no axis of channels"
    return f"{shape[0]} channel{'' if shape[0] == 1 else 's'}"


def _check_scale(series: NDArray[np.floating]) -> None:
    """Refuse channels whose values differ by too little to be standardised.

    Raises
    ------
    ValueError
        On such a channel. A constant one is left alone.
    """
    with np.errstate(over="ignore", invalid="ignore"):
        highest, lowest = np.nanmax(series, axis=(0, 2)), np.nanmin(series, axis=(0, 2))
        spread = np.subtract(highest, lowest, dtype=np.float64)
        rounding = 8 * np.finfo(series.dtype).eps * np.maximum(np.abs(highest), np.abs(lowest))
    small = (spread > rounding) & (spread < _SMALLEST[series.dtype])
    if small.any():
        channel = int(small.argmax())
        raise ValueError(
            f"Channel {channel} of X holds values that differ by {spread[channel]:.2g} at most, "
            "too small to standardise. Rescale X."
        )
