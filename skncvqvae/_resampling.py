"""imbalanced-learn's contract: what is resampled comes back in what it came in."""

import sys
import warnings
from collections.abc import Callable
from typing import Any

import numpy as np
from numpy.typing import NDArray


def import_check_sampling_strategy() -> Callable[..., Any]:
    """Return ``check_sampling_strategy`` of imbalanced-learn, imported only where it is needed."""
    try:
        from imblearn.utils import check_sampling_strategy
    except ImportError as error:
        raise ImportError(
            "sampling_strategy and fit_resample need imbalanced-learn: "
            "pip install 'skncvqvae[imbalanced]'"
        ) from error
    return check_sampling_strategy


class Resampled:
    """What resampled series come back in: a frame or a list where they came in one, else an array.

    Made before anything is fitted, it refuses what new series cannot come back in.

    Parameters
    ----------
    X : array-like
        The series to be resampled.

    Raises
    ------
    ValueError
        On a frame with columns that are no numbers, or Boolean.
    """

    def __init__(self, X: Any) -> None:
        self._library = _library_of(X, "DataFrame")
        self._is_list = isinstance(X, (list, tuple))
        self._of_arrays = self._is_list and len(X) > 0 and not isinstance(X[0], (list, tuple))
        if self._library is None:
            return
        self._columns, self._dtypes = X.columns, list(X.dtypes)
        for column, dtype in zip(self._columns, self._dtypes, strict=True):
            if str(dtype).lower() in ("bool", "boolean", "category", "categorical"):
                raise ValueError(
                    f"Column {column!r} of X is {dtype}, which synthetic series cannot be. Pass "
                    "numbers, for instance by X.astype(float)."
                )
        self._is_nested = any(str(d).startswith(("List", "Array")) for d in self._dtypes)

    def restore(self, series: NDArray[np.floating], n_real: int) -> Any:
        """Return series, real ones first, as the data came.

        Where a column of a frame holds integers, values are rounded, with a warning.

        Parameters
        ----------
        series : ndarray
            In the layout of the data.
        n_real : int
            How many are real.
        """
        if self._is_list:
            return list(series) if self._of_arrays else series.tolist()
        if self._library is None or series.ndim != 2 or self._is_nested:
            return series
        rounded = [_round(series[:, i], dtype) for i, dtype in enumerate(self._dtypes)]
        new = slice(n_real, None)
        if any((r[new] != s[new]).any() for r, s in zip(rounded, series.T, strict=True)):
            warnings.warn(
                "X has columns of integers, so the values of synthetic series were rounded. Pass "
                "X.astype(float) to keep them as drawn.",
                UserWarning,
                stacklevel=4,
            )
        if self._library.__name__ == "polars":
            columns = zip(self._columns, self._dtypes, rounded, strict=True)
            return self._library.DataFrame(
                [self._library.Series(name, v).cast(dtype) for name, dtype, v in columns]
            )
        pairs = zip(self._dtypes, rounded, strict=True)
        parts = [self._library.Series(v).astype(dtype) for dtype, v in pairs]
        frame = self._library.concat(parts, axis=1)
        frame.columns = self._columns
        return frame


def restore_labels(y: Any, labels: NDArray[Any]) -> Any:
    """Return labels in what `y` is: a list, a frame's column, or else an array."""
    if isinstance(y, (list, tuple)):
        return labels.tolist()
    library = _library_of(y, "Series")
    if library is not None:
        if library.__name__ == "polars":
            return library.Series(y.name, labels.tolist(), dtype=y.dtype)
        return library.Series(labels, dtype=y.dtype, name=y.name)
    library = _library_of(y, "DataFrame")
    if library is not None:
        name = y.columns[0]
        return library.DataFrame({name: restore_labels(y[name], labels)})
    return labels


def _library_of(value: Any, kind: str) -> Any:
    """Return the library whose data frame, or series, a value is; None where it is none."""
    for name in ("pandas", "polars"):
        library = sys.modules.get(name)
        if library is not None and isinstance(value, getattr(library, kind)):
            return library
    return None


def _round(values: NDArray[np.floating], dtype: Any) -> NDArray[Any]:
    """Return values as a column of this dtype can hold them, integers also by its range."""
    kind = str(dtype).lower()
    if not kind.startswith(("int", "uint")):
        return values
    bounds = np.iinfo(kind)
    # Doubles near the ends of 64 bits are coarser than integers.
    highest = np.nextafter(float(bounds.max), 0) if bounds.bits == 64 else bounds.max
    return np.clip(np.round(values.astype(np.float64)), bounds.min, highest).astype(kind)
