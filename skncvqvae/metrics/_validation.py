"""Reading of arrays of series, with errors that say what to do."""

import numpy as np
from sklearn.utils import check_array, check_consistent_length, column_or_1d


def check_series(**arrays):
    """Return named arrays as finite floats, having checked that their series agree in shape.

    Parameters
    ----------
    **arrays : array-like of shape (n, length) or (n, n_channels, length)
        Each with at least two series. Keywords are the names used in messages.

    Returns
    -------
    list of ndarray
        In the layout given.

    Raises
    ------
    ValueError
        On NaN, infinity, fewer than two series, another number of dimensions, or series that
        differ in shape.
    """
    checked = []
    for name, X in arrays.items():
        X = check_array(
            X,
            dtype=[np.float64, np.float32],
            allow_nd=True,
            ensure_min_samples=2,
            input_name=name,
        )
        channels_first(X, name)
        if checked and X.shape[1:] != checked[0].shape[1:]:
            first = next(iter(arrays))
            raise ValueError(
                f"{name} holds series of shape {X.shape[1:]}, {first} of shape "
                f"{checked[0].shape[1:]}. Pass series of one shape."
            )
        checked.append(X)
    return checked


def channels_first(X, name="X"):
    """Return an array of series as ``(n, n_channels, length)``."""
    if X.ndim > 3 or min(X.shape) == 0:
        raise ValueError(
            f"{name} has shape {X.shape}. Pass (n, length) for univariate series, "
            "(n, n_channels, length) for others."
        )
    return X[:, None] if X.ndim == 2 else X


def check_labels(X, y, name, n_classes=2):
    """Return `y` as a vector with one label for each series of `X`.

    Raises
    ------
    ValueError
        Where `y` is None, of another length, or holds fewer than `n_classes` classes.
    """
    if y is None:
        raise ValueError(f"{name} is None, but this metric needs a label for each series.")
    check_consistent_length(X, y)
    y = column_or_1d(y)
    if len(np.unique(y)) < n_classes:
        raise ValueError(f"{name} holds the single class {y[0]!s}. At least two are needed.")
    return y
