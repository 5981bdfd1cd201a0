"""Differences in what series are like over time: levels, auto-correlation, spectrum."""

from numbers import Integral

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy.fft import irfft, next_fast_len, rfft
from scipy.signal import periodogram
from sklearn.utils.validation import check_scalar

from ._validation import SMALLEST, channels_first, check_series, finite, spread

# Power this far below the total of a channel, 60 dB, counts as none: in smooth series it is
# rounding error and leakage.
_POWER_FLOOR = 1e-6


@finite
def autocorrelation_difference(
    X_real: ArrayLike, X_synthetic: ArrayLike, *, max_lag: int | None = None
) -> float:
    r"""Mean absolute difference of the average auto-correlation functions.

    .. math:: \frac{1}{CK} \sum_c \sum_{k=1}^K |\bar r_{ck} - \bar s_{ck}|, \quad
              r_k = \frac{\sum_t (x_t - \bar x)(x_{t+k} - \bar x)}{\sum_t (x_t - \bar x)^2}

    where :math:`\bar r` and :math:`\bar s` are averages over real and synthetic series. Blind to
    level and amplitude. A constant series counts as uncorrelated.

    Parameters
    ----------
    X_real : array-like of shape (n_real, length) or (n_real, n_channels, length)
        Real series.
    X_synthetic : array-like of shape (n_synthetic, length) or (n_synthetic, n_channels, length)
        Synthetic series.
    max_lag : int or None, default=None
        The largest lag K in time steps; None is half the length.

    Returns
    -------
    float
        In [0, 2]; lower is better.

    Raises
    ------
    ValueError
        On invalid or mismatched series, or a `max_lag` that is not below the length.

    References
    ----------
    .. [1] Ang et al., "TSGBench: time series generation benchmark", arXiv:2309.03755, 2023,
       "AutoCorrelation Difference".
    """
    arrays = check_series(X_real=X_real, X_synthetic=X_synthetic)
    length = arrays[0].shape[-1]
    lag = max(length // 2, 1) if max_lag is None else max_lag
    check_scalar(lag, "max_lag", Integral, min_val=1, max_val=length - 1)
    real, synthetic = (_autocorrelation(channels_first(X), lag).mean(0) for X in arrays)
    return float(np.abs(real - synthetic).mean())


def _autocorrelation(X: NDArray[np.floating], max_lag: int) -> NDArray[np.float64]:
    """Auto-correlation at lags 1 to `max_lag`, ``(n, n_channels, max_lag)``."""
    length = X.shape[-1]
    varies = spread(X, axis=-1, keepdims=True) > SMALLEST
    X = X - X.mean(-1, keepdims=True, dtype=np.float64)
    size = next_fast_len(length + max_lag, real=True)
    power = np.abs(np.asarray(rfft(X, size))) ** 2
    covariance = np.asarray(irfft(power, size))[..., : max_lag + 1]
    variance, lagged = covariance[..., :1], covariance[..., 1:]
    return np.divide(lagged, variance, out=np.zeros_like(lagged), where=varies)


@finite
def marginal_difference(X_real: ArrayLike, X_synthetic: ArrayLike) -> float:
    r"""Distance between the distributions of values at each time step.

    The 1-Wasserstein distance of the values at one time step of one channel,

    .. math:: \int_0^1 |F_r^{-1}(u) - F_s^{-1}(u)| \, du,

    averaged over time steps and channels, in units of the standard deviation of the real
    channel.

    Parameters
    ----------
    X_real : array-like of shape (n_real, length) or (n_real, n_channels, length)
        Real series.
    X_synthetic : array-like of shape (n_synthetic, length) or (n_synthetic, n_channels, length)
        Synthetic series.

    Returns
    -------
    float
        Lower is better.

    Raises
    ------
    ValueError
        On invalid or mismatched series, or a channel that is constant over all real series.

    References
    ----------
    .. [1] Ramdas, García Trillos, Cuturi, "On Wasserstein two-sample testing and related
       families of nonparametric tests", arXiv:1509.02237, 2017, section 4.
    """
    arrays = map(channels_first, check_series(X_real=X_real, X_synthetic=X_synthetic))
    real, synthetic = (np.sort(X, axis=0) for X in arrays)
    _check_varies(spread(real, axis=(0, 2)))
    scale = real.std((0, 2), dtype=np.float64)
    # Both quantile functions are constant between neighbouring multiples of 1/n_real and
    # 1/n_synthetic.
    steps = [np.arange(1, len(X) + 1) / len(X) for X in (real, synthetic)]
    edges = np.union1d(*steps)
    width = np.diff(edges, prepend=0)
    middle = edges - width / 2
    gap = np.subtract(
        real[(middle * len(real)).astype(int)],
        synthetic[(middle * len(synthetic)).astype(int)],
        dtype=np.float64,
    )
    gap = np.abs(gap, out=gap)
    return float((np.tensordot(width, gap, 1).mean(1) / scale).mean())


def _check_varies(spreads: NDArray[np.float64]) -> None:
    if (spreads == 0).any():
        raise ValueError(
            f"The real series are constant in channel {spreads.argmin()}, which leaves no unit to "
            "measure differences in. Remove that channel."
        )


@finite
def power_spectrum_difference(X_real: ArrayLike, X_synthetic: ArrayLike) -> float:
    r"""Log-spectral distance between the average power spectra, in decibel.

    .. math:: \left(\frac{1}{CF} \sum_{c,f}
              \left(10 \log_{10} \frac{P_{cf}}{Q_{cf}}\right)^2\right)^{1/2}

    P and Q are the averages over real and synthetic series of the periodogram (Hann window, mean
    of each series removed) at each frequency but 0. Power below a millionth of that of the real
    channel is set to that floor. Blind to level, and very sensitive to noise.

    Parameters
    ----------
    X_real : array-like of shape (n_real, length) or (n_real, n_channels, length)
        Real series, of at least four time steps.
    X_synthetic : array-like of shape (n_synthetic, length) or (n_synthetic, n_channels, length)
        Synthetic series.

    Returns
    -------
    float
        In decibel; lower is better.

    Raises
    ------
    ValueError
        On invalid or mismatched series, fewer than four time steps, or a channel in which all
        real series are constant.

    References
    ----------
    .. [1] Gray, Markel, "Distance measures for speech processing", IEEE Transactions on
       Acoustics, Speech and Signal Processing 24(5), 1976.
    """
    arrays = [channels_first(X) for X in check_series(X_real=X_real, X_synthetic=X_synthetic)]
    length = arrays[0].shape[-1]
    if length < 4:
        raise ValueError(
            f"Series of {length} time steps have no spectrum. Pass series of at least 4."
        )
    _check_varies(spread(arrays[0], axis=2).max(0))
    real, synthetic = (
        periodogram(X.astype(np.float64), window="hann", detrend="constant")[1][..., 1:].mean(0)
        for X in arrays
    )
    floor = _POWER_FLOOR * real.sum(-1, keepdims=True)
    decibel = 10 * np.log10(np.maximum(real, floor) / np.maximum(synthetic, floor))
    return float(np.sqrt(np.mean(decibel**2)))
