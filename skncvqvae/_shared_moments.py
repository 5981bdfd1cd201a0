"""What all training series have in common in mean and standard deviation, for samples as well."""

from typing import Self

import numpy as np
from numpy.typing import NDArray

from ._memory import gen_parts

# Spread over the series, relative to their standard deviation, up to which a moment is common to
# all. Series that were standardised one by one differ by rounding, others by a tenth and more.
_TOLERANCE = 1e-3
# A series of less than this share of the common standard deviation is constant but for rounding.
_MIN_RATIO = 1e-6


class SharedMoments:
    """Means and standard deviations over time that all training series share.

    Series are often standardised one by one before anything else is done with them, as those of
    the UCR archive are. Decoded tokens know that only roughly. A classifier that was trained on
    them has learnt to expect a spread of scales that no real series has.

    Attributes
    ----------
    mean_, std_ : ndarray of shape (n_channels,)
        The moments of each channel; NaN where series differ in them.
    """

    def fit(self, series: NDArray[np.floating]) -> Self:
        """Find what moments the series share.

        Parameters
        ----------
        series : ndarray of shape (n, n_channels, length)

        Returns
        -------
        self
        """
        parts = [_moments(series[part]) for part in gen_parts(series)]
        mean, std = np.concatenate(parts, axis=1)
        tolerance = _TOLERANCE * std.mean(axis=0)
        # One series shares its moments with none.
        several = len(series) > 1
        self.mean_, self.std_ = (
            np.where(several & (moment.std(axis=0) <= tolerance), moment.mean(axis=0), np.nan)
            for moment in (mean, std)
        )
        return self

    @property
    def is_shared(self) -> bool:
        """Whether the series share a moment in any channel."""
        return not (np.isnan(self.mean_).all() and np.isnan(self.std_).all())

    def restore(self, series: NDArray[np.floating]) -> None:
        """Give series the shared moments, in place and a part at a time.

        A constant channel cannot be scaled and stays constant.

        Parameters
        ----------
        series : ndarray of shape (n, n_channels, length)
        """
        if not self.is_shared:
            return
        for part in gen_parts(series):
            mean, std = _moments(series[part])
            new_mean = np.where(np.isnan(self.mean_), mean, self.mean_)
            new_std = np.where(np.isnan(self.std_), std, self.std_)
            scalable = std > _MIN_RATIO * new_std
            factor = np.divide(new_std, std, out=np.ones_like(std), where=scalable)
            offset = new_mean - factor * mean
            series[part] = series[part] * factor[..., None] + offset[..., None]


def _moments(
    series: NDArray[np.floating],
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Mean and standard deviation over time, each ``(n, n_channels)``."""
    return series.mean(axis=-1, dtype=float), series.std(axis=-1, dtype=float)
