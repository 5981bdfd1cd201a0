"""Checks of what metrics get and give: arrays of series, labels, magnitudes, results."""

import functools
import math
from collections.abc import Callable
from typing import Any, ParamSpec

import numpy as np
from numpy.typing import ArrayLike, NDArray

from .._containers import read_array
from .._labels import read_labels

# Metrics square values, sum the squares and divide by such sums. Between these bounds double
# precision does that with room to spare.
_LARGEST, SMALLEST = 1e140, 1e-140

Params = ParamSpec("Params")


def check_series(**arrays: ArrayLike) -> list[NDArray[np.floating]]:
    """Return named arrays as finite floats, having checked that their series agree in shape.

    Parameters
    ----------
    **arrays : array-like of shape (n, length) or (n, n_channels, length)
        Each with at least two series, the real ones first. Keywords are the names used in
        messages.

    Returns
    -------
    list of ndarray
        In the layout given.

    Raises
    ------
    ValueError
        On NaN, infinity, values too large or too small to square, fewer than two series, another
        number of dimensions, or series that differ in shape.
    """
    checked: list[NDArray[np.floating]] = []
    for name, array in arrays.items():
        X = read_array(array, name, min_series=2)
        series = channels_first(X, name)
        if checked and X.shape[1:] != checked[0].shape[1:]:
            first = next(iter(arrays))
            raise ValueError(
                f"{name} holds series of shape {X.shape[1:]}, {first} of shape "
                f"{checked[0].shape[1:]}. Pass series of one shape."
            )
        # Series that differ too little to be squared matter where others are measured by them.
        check_magnitude(series, name, axis=(0, 2), small=not checked)
        checked.append(X)
    return checked


def channels_first(X: NDArray[np.floating], name: str = "X") -> NDArray[np.floating]:
    """Return an array of series as ``(n, n_channels, length)``."""
    if X.ndim > 3 or min(X.shape) == 0:
        raise ValueError(
            f"{name} has shape {X.shape}. Pass (n, length) for univariate series, "
            "(n, n_channels, length) for others."
        )
    return X[:, None] if X.ndim == 2 else X


def check_magnitude(
    X: NDArray[np.floating],
    name: str,
    *,
    axis: int | tuple[int, ...] | None = None,
    small: bool = True,
) -> None:
    """Refuse values whose squares overflow, or whose differences have squares that underflow.

    Parameters
    ----------
    X : ndarray
    name : str
        Used in messages.
    axis : int or tuple of int, optional
        Axes along which values are compared; None is all.
    small : bool, default=True
        Whether to refuse small differences as well.

    Raises
    ------
    ValueError
        On such values.
    """
    highest, lowest = X.max(axis), X.min(axis)
    largest = float(np.max([highest, -lowest]))
    if largest > _LARGEST:
        raise ValueError(
            f"{name} holds values up to {largest:.2g}, too large to square. Rescale the data."
        )
    if not small:
        return
    differences = _difference(highest, lowest)
    differences = differences[differences > 0]
    if differences.size and differences.min() < SMALLEST:
        raise ValueError(
            f"{name} holds values that differ by {differences.min():.2g} at most, too little to "
            "square. Rescale the data."
        )


def spread(
    X: NDArray[np.floating], axis: int | tuple[int, ...] | None = None, keepdims: bool = False
) -> NDArray[np.float64]:
    """Return the largest less the smallest value along `axis`; 0 where that is rounding error."""
    return _difference(X.max(axis, keepdims=keepdims), X.min(axis, keepdims=keepdims))


def _difference(highest: NDArray[np.floating], lowest: NDArray[np.floating]) -> NDArray[Any]:
    rounding = 8 * np.finfo(highest.dtype).eps
    high, low = (np.asarray(extreme, dtype=np.float64) for extreme in (highest, lowest))
    difference = high - low
    return np.where(difference > rounding * np.maximum(high, -low), difference, 0.0)


def check_labels(X: NDArray, y: ArrayLike | None, name: str, n_classes: int = 2) -> NDArray[Any]:
    """Return `y` as a vector with one label for each series of `X`.

    Raises
    ------
    ValueError
        Where `y` is None, of another length, no class labels, or holds fewer than `n_classes`
        classes.
    """
    if y is None:
        raise ValueError(f"{name} is None, but this metric needs a label for each series.")
    labels = read_labels(y, len(X), name)
    classes = np.unique(labels)
    if len(classes) < n_classes:
        raise ValueError(f"{name} holds the single class {labels[0]!s}. At least two are needed.")
    return labels


def finite(metric: Callable[Params, float]) -> Callable[Params, float]:
    """Make a metric raise where its value is not finite, and not warn of overflow on the way."""

    @functools.wraps(metric)
    def checked(*args: Params.args, **kwargs: Params.kwargs) -> float:
        with np.errstate(over="ignore", invalid="ignore", divide="ignore"):
            value = float(metric(*args, **kwargs))
        if not math.isfinite(value):
            raise ValueError(
                f"{metric.__name__} came out as {value}: values are too large, or too far apart "
                "in size, for its sums. Rescale series or features."
            )
        return value

    return checked
