"""Stretches of equal values, which a decoder blurs and which are restored after it."""

import numpy as np
from numpy.typing import NDArray

# Share of neighbours that are equal from which a channel has plateaus, and is not only rounded.
_LEAST_SHARE = 0.1
# Of the steps that the decoder makes on plateaus, the parts that may be taken away.
_QUANTILES = (0.5, 0.75, 0.9, 0.95, 0.99)
# Neighbours in units of the standard deviation that are equal but for rounding.
_EQUAL = 1e-6


def plateau_tolerances(
    real: NDArray[np.floating], decoded: NDArray[np.floating]
) -> list[NDArray[np.float64]]:
    """Return how large the decoder's wobble on plateaus may be said to be.

    Parameters
    ----------
    real, decoded : ndarray of shape (n_series, n_channels, n_timesteps)
        Series in units of each channel's standard deviation, and what their tokens decode to.

    Returns
    -------
    list of ndarray of shape (n_channels,)
        Candidates, the smallest first; none where no channel has plateaus. Channels without have
        0.
    """
    wobbles = np.zeros((len(_QUANTILES), real.shape[1]))
    for channel in np.flatnonzero(has_plateaus(real)):
        steps, found = (np.abs(np.diff(x[:, channel], axis=-1)) for x in (real, decoded))
        wobbles[:, channel] = np.quantile(found[steps <= _EQUAL], _QUANTILES)
    return [wobble for wobble in wobbles if wobble.any()]


def has_plateaus(real: NDArray[np.floating]) -> NDArray[np.bool_]:
    """Return which channels of series, in units of the standard deviation, have plateaus."""
    if real.shape[-1] < 2:
        return np.zeros(real.shape[1], dtype=bool)
    flat = np.abs(np.diff(real, axis=-1)) <= _EQUAL
    # A constant channel needs no restoring: it is decoded from its mean.
    return (flat.mean(axis=(0, 2)) >= _LEAST_SHARE) & ~flat.all(axis=(0, 2))


def restore_plateaus(
    series: NDArray[np.floating], tolerance: NDArray[np.floating]
) -> NDArray[np.floating]:
    """Replace neighbours that are no further apart than the tolerance by their mean.

    Parameters
    ----------
    series : ndarray of shape (n_series, n_channels, n_timesteps)
    tolerance : ndarray of shape (n_channels,)
        In the units of `series`; channels of 0 stay as they are.

    Returns
    -------
    ndarray of the same shape and dtype
    """
    if not series.size or not np.any(tolerance):
        return series
    begins = np.ones(series.shape, dtype=bool)
    begins[..., 1:] = np.abs(np.diff(series, axis=-1)) > tolerance[:, None]
    # Of a stretch of one value, the mean is that value.
    begins[:, tolerance == 0] = True
    starts = np.flatnonzero(begins)
    lengths = np.diff(starts, append=series.size)
    sums = np.add.reduceat(series.ravel(), starts, dtype=np.float64)
    return np.repeat(sums / lengths, lengths).astype(series.dtype).reshape(series.shape)
