"""What decoding tokens loses of real series, as a noise model that gives it back to samples."""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from functools import reduce
from typing import Self

import numpy as np
from numpy.typing import NDArray
from scipy.signal import get_window, istft, stft
from scipy.sparse import csr_array
from sklearn.utils import gen_batches

from ._memory import gen_parts, n_within_memory

# Time steps of a frame: short enough to follow the tokens, long enough to tell frequencies apart.
_FRAME = 16
# Frames' worth of the average that each code's spectrum is drawn towards.
_SHRINKAGE = 20
# What the transforms of a part take, in copies of it.
_N_COPIES = 8
# Series of white noise that its power in each frequency row is measured from.
_N_WHITE = 100
# Frequency bands in each octave, and the power they may gain, in the correction of the spectrum.
_BANDS_PER_OCTAVE = 3
_MAX_POWER_GAIN = 4.0


class ObservationNoise:
    """Gaussian noise whose spectrum depends on the codes and so changes along a series.

    A decoder trained on squared error returns the mean of all series with the same tokens, which
    is smoother than each of them. The noise has, for each code and frequency, the power that real
    series have beyond decoded ones, but no more than the residual between the two has. It is made
    by a time-varying filter on white noise, an evolutionary spectrum in the sense of Priestley
    (1965), "Evolutionary spectra and non-stationary processes". A fixed filter then corrects its
    power in each frequency band, so that decoded series plus noise have the mean log-power of real
    series; where decoded series are as rough as real ones it lets nothing through. Each series
    has a noise level of its own, log-normal, as residuals have.

    Tokens come as a list of grids, one for each band of the tokenizer. Their codes are of one
    vocabulary, and the number of columns may differ from grid to grid.

    Attributes
    ----------
    n_timesteps_ : int
        Length of a series.
    filters_ : ndarray of shape (n_codes, n_channels, n_frequencies)
        Amplitudes of the time-varying filter. At each time it is the mean over the codes there.
    gain_ : ndarray of shape (n_channels, max(n_timesteps_, 2) // 2 + 1)
        Amplitudes of the fixed filter.
    mixing_ : ndarray of shape (n_channels, n_channels)
        Square root of the correlation matrix of the channels.
    log_level_std_ : float
        Standard deviation of the logarithm of a series' noise level.
    """

    def fit(
        self,
        series: NDArray[np.floating],
        decoded: NDArray[np.floating],
        grids: Sequence[NDArray[np.integer]],
        n_codes: int,
        rng: np.random.RandomState,
    ) -> Self:
        """Estimate the noise from series that the decoder was not trained on.

        All series are used, a part at a time, so that no copy of them is held.

        Parameters
        ----------
        series, decoded : ndarray of shape (n, n_channels, n_timesteps)
            Real series, and what is decoded from their tokens.
        grids : sequence of ndarray of int of shape (n, rows, columns)
            Their tokens, a grid for each band. The columns of each divide the length evenly.
        n_codes : int
            Size of the vocabulary.
        rng : RandomState

        Returns
        -------
        self
        """
        n, n_channels, self.n_timesteps_ = series.shape
        parts = list(gen_batches(n, n_within_memory(_N_COPIES * n_channels * self.n_timesteps_)))
        frames, edges = self._frames, self._edges
        powers = _SumsByCode(n_codes, 2 * n_channels, frames.n_frequencies)
        products = np.zeros((n_channels, n_channels))
        real_log_power, smooth_log_power = np.zeros((2, n_channels, len(edges) - 1))
        total_lost = np.zeros(n)
        for part in parts:
            real, smooth = self._transformable(series[part]), self._transformable(decoded[part])
            real_z, smooth_z = frames.transform(real), frames.transform(smooth)
            lost = _squared_modulus(real_z - smooth_z)
            beyond = _squared_modulus(real_z) - _squared_modulus(smooth_z)
            powers.add(np.concatenate([lost, beyond], axis=1), frames.codes(_take(grids, part)))
            total_lost[part] = lost.sum(axis=(1, 2, 3))
            residual = (real - smooth).swapaxes(0, 1).reshape(n_channels, -1)
            products += residual @ residual.T
            real_log_power += _log_power(real, edges).sum(axis=0) / n
            smooth_log_power += _log_power(smooth, edges).sum(axis=0) / n

        power, missing = np.split(powers.mean(), 2, axis=1)
        missing = np.clip(missing, 0, power)
        self.filters_ = np.sqrt(missing / self._power_of_white_noise(rng))
        self.mixing_ = _root_of_correlation(products)
        expected = [
            frames.over_time(power.sum(axis=(1, 2)), _take(grids, part)).sum(axis=-1)
            for part in parts
        ]
        level = total_lost / _positive(np.concatenate(expected))
        self.log_level_std_ = float(np.std(np.log(_positive(level))) / 2) if level.any() else 0.0
        # The noise is first drawn without the fixed filter, to see what it lacks.
        self.gain_ = np.ones((n_channels, self._length // 2 + 1))
        noise_log_power = np.zeros_like(real_log_power)
        for part in parts:
            noise = self._draw(_take(grids, part), rng)
            noise_log_power += _log_power(noise, edges).sum(axis=0) / n
        gap = np.exp(real_log_power) - np.exp(smooth_log_power)
        self.gain_ = self._gain(gap / np.exp(noise_log_power))
        return self

    def add_to(
        self,
        series: NDArray[np.floating],
        grids: Sequence[NDArray[np.integer]],
        rng: np.random.RandomState,
        scale: float = 1.0,
    ) -> None:
        """Add noise to series, in place and a part at a time, so that no copy of them is held.

        Parameters
        ----------
        series : ndarray of shape (n, n_channels, n_timesteps)
        grids : sequence of ndarray of int of shape (n, rows, columns)
            Their tokens, as in `fit`.
        rng : RandomState
        scale : float, default=1.0
            Factor of the noise.
        """
        for part in gen_parts(series):
            # Without a name, which would hold one part's noise while the next is drawn.
            series[part] += scale * self._draw(_take(grids, part), rng)[..., : self.n_timesteps_]

    def _draw(
        self, grids: Sequence[NDArray[np.integer]], rng: np.random.RandomState
    ) -> NDArray[np.float64]:
        n, length, frames = len(grids[0]), self._length, self._frames
        white = rng.standard_normal((n, len(self.mixing_), length))
        z = frames.transform(self.mixing_ @ white)
        z *= frames.over_time(self.filters_, grids)
        noise = np.fft.rfft(frames.inverse(z)) * self.gain_
        level = rng.normal(0, self.log_level_std_, n)
        # E[level^2] is 1 for a log-normal of this mean.
        level = np.exp(level - self.log_level_std_**2)
        return np.fft.irfft(noise, n=length) * level[:, None, None]

    def _power_of_white_noise(self, rng: np.random.RandomState) -> NDArray[np.float64]:
        """Power that white noise has after the short-time transform, by frequency.

        The edge rows are not like the others.
        """
        frames, length = self._frames, self._length
        total = np.zeros(frames.n_frequencies)
        for part in gen_batches(_N_WHITE, n_within_memory(length)):
            white = frames.transform(rng.standard_normal((part.stop - part.start, 1, length)))
            total += _squared_modulus(white).sum(axis=(0, 1, 3))
        return total / (_N_WHITE * frames.n_frames)

    def _gain(self, power_gain: NDArray[np.float64]) -> NDArray[np.float64]:
        """Return the amplitude by frequency that gains so much power in each frequency band."""
        edges = self._edges
        centres = (edges[:-1] + edges[1:] - 1) / 2
        bins = np.arange(self._length // 2 + 1)
        power = [
            np.interp(bins, centres, channel)
            for channel in np.clip(power_gain, 0, _MAX_POWER_GAIN)
        ]
        return np.sqrt(np.array(power, dtype=np.float64))

    @property
    def _length(self) -> int:
        """Time steps of what is transformed: a Fourier transform needs two."""
        return max(self.n_timesteps_, 2)

    @property
    def _frames(self) -> "_Frames":
        return _Frames(self._length)

    @property
    def _edges(self) -> NDArray[np.intp]:
        """First frequency of each band of the spectrum, and the end of the last."""
        n_bins = self._length // 2 + 1
        n_bands = math.ceil(_BANDS_PER_OCTAVE * math.log2(n_bins))
        return np.unique(np.round(np.geomspace(1, n_bins, n_bands + 1)).astype(np.intp))

    def _transformable(self, series: NDArray[np.floating]) -> NDArray[np.float64]:
        """Return series in double precision, and a single time step twice."""
        double = np.asarray(series, dtype=np.float64)
        return double.repeat(2, axis=-1) if self.n_timesteps_ == 1 else double


@dataclass(frozen=True)
class _Frames:
    """The short-time Fourier transform of series, and the tokens that stand at its frames.

    Parameters
    ----------
    length : int
        Length of the series, at least 2.
    """

    length: int

    @property
    def size(self) -> int:
        """Time steps of a frame."""
        return min(_FRAME, 2 ** (self.length.bit_length() - 1))

    @property
    def hop(self) -> int:
        """Time steps from a frame to the next."""
        return max(1, self.size // 4)

    @property
    def n_frames(self) -> int:
        """Frames of a series; the first is centred on its first time step."""
        return math.ceil(self.length / self.hop) + 1

    @property
    def n_frequencies(self) -> int:
        """Frequencies of a frame."""
        return self.size // 2 + 1

    def transform(self, series: NDArray[np.float64]) -> NDArray[np.complex128]:
        """Return ``(n, n_channels, n_frequencies, n_frames)``."""
        overlap = self.size - self.hop
        return stft(series, nperseg=self.size, noverlap=overlap, boundary="even")[2]

    def inverse(self, z: NDArray[np.complex128]) -> NDArray[np.float64]:
        """Return the series of a transform."""
        overlap = self.size - self.hop
        return istft(z, nperseg=self.size, noverlap=overlap)[1][..., : self.length]

    def codes(self, grids: Sequence[NDArray[np.integer]]) -> NDArray[np.integer]:
        """Return the codes at each frame, those of all grids: ``(n, rows, n_frames)``."""
        at_frames = [grid[..., self._columns(grid.shape[2])] for grid in grids]
        return np.concatenate(at_frames, axis=1)

    def over_time(
        self, per_code: NDArray[np.float64], grids: Sequence[NDArray[np.integer]]
    ) -> NDArray[np.float64]:
        """Return the mean of a table's entries for the codes at each frame.

        Parameters
        ----------
        per_code : ndarray of shape (n_codes, ...)
        grids : sequence of ndarray of int of shape (n, rows, columns)

        Returns
        -------
        ndarray of shape (n, ..., n_frames)
        """
        n_rows = sum(grid.shape[1] for grid in grids)
        # Looked up by column, of which there are fewer than frames.
        totals = [per_code[grid].sum(axis=1)[:, self._columns(grid.shape[2])] for grid in grids]
        return np.moveaxis(reduce(np.add, totals) / n_rows, 1, -1)

    def _columns(self, n_columns: int) -> NDArray[np.intp]:
        """Return the column of a token grid at each frame's centre."""
        time = np.arange(self.n_frames) * self.hop
        return np.minimum(time, self.length - 1) * n_columns // self.length


class _SumsByCode:
    """Sums of powers over the frames of each code, and from them their means.

    Parameters
    ----------
    n_codes, n_channels, n_frequencies : int
    """

    def __init__(self, n_codes: int, n_channels: int, n_frequencies: int) -> None:
        self.shape = (n_codes, n_channels, n_frequencies)
        self.n_frames = 0
        self.total = np.zeros(n_channels * n_frequencies)
        self.total_by_code = np.zeros((n_codes, n_channels * n_frequencies))
        self.count_by_code = np.zeros(n_codes)

    def add(self, power: NDArray[np.float64], codes: NDArray[np.integer]) -> None:
        """Add powers ``(n, n_channels, n_frequencies, n_frames)``, of `_Frames.codes`."""
        n_codes = self.shape[0]
        frames = power.transpose(0, 3, 1, 2).reshape(-1, len(self.total))
        n_rows = codes.shape[1]
        # A frame counts once for each code in it.
        code = codes.swapaxes(0, 1).ravel()
        frame = np.tile(np.arange(len(frames)), n_rows)
        member = csr_array((np.ones(len(code)), (code, frame)), (n_codes, len(frames)))
        self.n_frames += len(frames)
        self.total += frames.sum(axis=0)
        self.total_by_code += member @ frames
        self.count_by_code += np.bincount(code, minlength=n_codes)

    def mean(self) -> NDArray[np.float64]:
        """Return the mean of each code, ``(n_codes, n_channels, n_frequencies)``.

        That of a code with few frames is drawn towards the mean of all.
        """
        prior = _SHRINKAGE * (self.total / self.n_frames)
        count = _SHRINKAGE + self.count_by_code[:, None]
        return ((prior + self.total_by_code) / count).reshape(self.shape)


def _take(grids: Sequence[NDArray[np.integer]], part: slice) -> list[NDArray[np.integer]]:
    return [grid[part] for grid in grids]


def _log_power(series: NDArray[np.float64], edges: NDArray[np.intp]) -> NDArray[np.float64]:
    """Logarithm of the mean power in each frequency band, ``(n, n_channels, n_bands)``.

    Its mean over series describes them better than that of powers, whose level a few rough
    series would set.
    """
    centred = series - series.mean(axis=-1, keepdims=True)
    power = _squared_modulus(np.fft.rfft(centred * get_window("hann", series.shape[-1])))
    return np.log(_positive(np.add.reduceat(power, edges[:-1], axis=-1) / np.diff(edges)))


def _root_of_correlation(products: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return a square root of the correlation matrix of channels with these inner products."""
    norm = _positive(np.sqrt(np.diag(products)))
    correlation = products / norm / norm[:, None]
    # A channel without residual correlates with none.
    np.fill_diagonal(correlation, 1.0)
    values, vectors = np.linalg.eigh(correlation)
    return vectors * np.sqrt(np.clip(values, 0, None))


def _squared_modulus(z: NDArray[np.complex128]) -> NDArray[np.float64]:
    return z.real**2 + z.imag**2


def _positive(x: NDArray[np.float64]) -> NDArray[np.float64]:
    return np.maximum(x, 1e-30)
