"""How often values occur in each channel of the training series, for samples as well."""

import math
from collections.abc import Callable
from typing import Any, Self

import numpy as np
from numpy.typing import NDArray
from scipy.stats import ks_2samp

from ._memory import gen_parts

# Quantiles of each channel.
_N_QUANTILES = 257
# Scales of the noise that decoded series are looked at with; between them, quantiles are drawn
# straight.
NOISE_SCALES = (0.0, 0.5, 1.0)
# Shares of values that no one would miss: by which two distribution functions differ, and which
# are outside the range.
_NEGLIGIBLE = 0.02


class Marginals:
    """Maps values of decoded series to those that occur in the training series.

    Decoded series with noise leave the range of the training series, and miss the values at which
    those rest: zeros of a lamp that is off, the ends of a share of 0 to 1. A network tells samples
    by that, however like real ones they are otherwise. A value is mapped to that of the same
    quantile among the training series of its channel (quantile mapping, Panofsky and Brier, 1958).

    Attributes
    ----------
    decoded_ : ndarray of shape (n_scales, n_channels, n_quantiles)
        Quantiles of what is decoded, with noise of each of `NOISE_SCALES`.
    real_ : ndarray of shape (n_channels, n_quantiles)
        Those of the training series.
    differs_ : ndarray of bool of shape (n_scales, n_channels)
        Where their distributions differ by more than as many series do by chance, or decoded
        values leave the range of real ones.
    """

    def fit(
        self,
        real: NDArray[np.floating],
        decoded: NDArray[np.floating],
        add_noise: Callable[[NDArray[np.floating], float], None],
        n_series: int,
    ) -> Self:
        """Learn the quantiles.

        Parameters
        ----------
        real, decoded : ndarray of shape (n, n_channels, length)
            Series, and what is decoded from their tokens.
        add_noise : callable
            Adds observation noise of a scale to series, in place.
        n_series : int
            How many different series there are; `real` may be moved copies.

        Returns
        -------
        self
        """
        # Values of one series are too alike to count each.
        chance = max(_NEGLIGIBLE, 1 / math.sqrt(n_series))
        self.real_ = _quantiles(real)
        of_decoded, differs = [], []
        for scale in NOISE_SCALES:
            series = decoded.copy()
            if scale:
                add_noise(series, scale)
            of_decoded.append(_quantiles(series))
            channels = zip(real.swapaxes(0, 1), series.swapaxes(0, 1), strict=True)
            differs.append([_differ(*values, chance) for values in channels])
        self.decoded_, self.differs_ = np.stack(of_decoded), np.array(differs)
        return self

    def restore(
        self, series: NDArray[np.floating], noise_scale: float, everywhere: bool = False
    ) -> None:
        """Map the values of decoded series, in place and a part at a time.

        Parameters
        ----------
        series : ndarray of shape (n, n_channels, length)
            With noise of this scale.
        noise_scale : float
            Above 1, series are left as they are: they are meant to leave the range.
        everywhere : bool, default=False
            Map them also where the distributions of no channel differ.
        """
        if noise_scale > NOISE_SCALES[-1]:
            return
        nearest = int(np.abs(np.array(NOISE_SCALES) - noise_scale).argmin())
        # All channels or none: small differences of many channels are seen together.
        if not (everywhere or self.differs_[nearest].any()):
            return
        for channel in range(series.shape[1]):
            decoded = [
                np.interp(noise_scale, NOISE_SCALES, quantile)
                for quantile in self.decoded_[:, channel].T
            ]
            at, first, n = np.unique(decoded, return_index=True, return_counts=True)
            # Of a value that fills several quantiles, the middle one.
            to = self.real_[channel, first + (n - 1) // 2]
            for part in gen_parts(series):
                series[part, channel] = np.interp(series[part, channel], at, to)


def _quantiles(series: NDArray[np.floating]) -> NDArray[np.float64]:
    """Return the quantiles of each channel, each a value that occurs."""
    levels = np.linspace(0, 1, _N_QUANTILES)
    channels = series.swapaxes(0, 1).reshape(series.shape[1], -1)
    found = np.quantile(channels, levels, axis=1, method="nearest")
    return found.T.astype(np.float64)


def _differ(real: NDArray[np.floating], decoded: NDArray[np.floating], chance: float) -> bool:
    """Return whether the values of a channel differ, or leave the range of real ones."""
    outside = np.mean((decoded < real.min()) | (decoded > real.max()))
    if outside > _NEGLIGIBLE:
        return True
    found: Any = ks_2samp(real.ravel(), decoded.ravel(), method="asymp")
    return bool(found.statistic > chance)
