"""What decoding tokens loses of real series, as a noise model that gives it back to samples."""

import math

import numpy as np
from scipy.signal import get_window, istft, stft
from scipy.sparse import csr_array

from ._memory import gen_parts

# Time steps of a frame: short enough to follow the tokens, long enough to tell frequencies apart.
_FRAME = 16
# Frames' worth of the average that each code's spectrum is drawn towards.
_SHRINKAGE = 20


class ObservationNoise:
    """Gaussian noise whose spectrum depends on the code and so changes along a series.

    A decoder trained on squared error returns the mean of all series with the same tokens, which
    is smoother than each of them. The noise has, for each code and frequency, the power that real
    series have beyond decoded ones, but no more than the residual between the two has. It is made
    by a time-varying filter on white noise, an evolutionary spectrum in the sense of Priestley
    (1965), "Evolutionary spectra and non-stationary processes". A fixed filter then corrects its
    power in each frequency band, so that decoded series plus noise have the mean log-power of real
    series; where decoded series are as rough as real ones it lets nothing through. Each series
    has a noise level of its own, log-normal, as residuals have.

    Attributes
    ----------
    n_timesteps_ : int
        Length of a series.
    filters_ : ndarray of shape (n_codes, n_channels, n_frequencies)
        Amplitudes of the time-varying filter.
    gain_ : ndarray of shape (n_channels, length // 2 + 1)
        Amplitudes of the fixed filter.
    mixing_ : ndarray of shape (n_channels, n_channels)
        Square root of the correlation matrix of the channels.
    log_level_std_ : float
        Standard deviation of the logarithm of a series' noise level.
    """

    def fit(self, series, decoded, tokens, n_codes, rng):
        """Estimate the noise from series that the decoder was not trained on.

        Parameters
        ----------
        series, decoded : ndarray of shape (n, n_channels, length)
            Real series, and what is decoded from their tokens.
        tokens : ndarray of int of shape (n, rows, columns)
            The columns of the token grid divide the length evenly.
        n_codes : int
        rng : RandomState

        Returns
        -------
        self
        """
        self.n_timesteps_ = series.shape[-1]
        if self.n_timesteps_ == 1:
            # A Fourier transform needs two steps; `add_to` cuts the second off.
            series, decoded = series.repeat(2, axis=-1), decoded.repeat(2, axis=-1)
        self._length = series.shape[-1]
        self._frame = min(_FRAME, 2 ** int(math.log2(self._length)))
        series, decoded = series.astype(float, copy=False), decoded.astype(float, copy=False)
        residual = series - decoded
        real, lost = np.abs(self._stft(series)) ** 2, np.abs(self._stft(residual)) ** 2
        n_frames = lost.shape[-1]
        codes = self._codes(tokens, n_frames)
        beyond = real - np.abs(self._stft(decoded)) ** 2
        both = _mean_by_code(np.concatenate([lost, beyond], axis=1), codes, n_codes)
        power, missing = np.split(both, 2, axis=1)
        missing = np.clip(missing, 0, power)
        # White noise passes the same short-time transform, whose edge rows are not like others.
        white = np.abs(self._stft(rng.standard_normal((100, 1, self._length)))) ** 2
        white = white.mean(axis=(0, 1, 3))
        self.filters_ = np.sqrt(missing / white)
        self.mixing_ = _root_of_correlation(residual)
        expected = self._over_time(power, tokens, n_frames)
        level = lost.sum(axis=(1, 2, 3)) / _positive(expected.sum(axis=(1, 2, 3)))
        self.log_level_std_ = float(np.std(np.log(_positive(level))) / 2) if level.any() else 0.0
        self.gain_ = np.ones((series.shape[1], self._length // 2 + 1))
        self.gain_ = _missing_gain(series, decoded, self._draw(tokens, rng))
        return self

    def add_to(self, series, tokens, rng, scale=1.0):
        """Add noise to series, in place and a part at a time, so that no copy of them is held.

        Parameters
        ----------
        series : ndarray of shape (n, n_channels, length)
        tokens : ndarray of int of shape (n, rows, columns)
            Their tokens.
        rng : RandomState
        scale : float, default=1.0
            Factor of the noise.
        """
        for part in gen_parts(series):
            series[part] += scale * self._draw(tokens[part], rng)[..., : self.n_timesteps_]

    def _draw(self, tokens, rng):
        white = rng.standard_normal((len(tokens), len(self.mixing_), self._length))
        z = self._stft(np.einsum("cd,ndt->nct", self.mixing_, white))
        z *= self._over_time(self.filters_, tokens, z.shape[-1])
        _, noise = istft(z, nperseg=self._frame, noverlap=self._overlap)
        noise = np.fft.rfft(noise[..., : self._length]) * self.gain_
        level = rng.normal(0, self.log_level_std_, len(tokens))
        # E[level^2] is 1 for a log-normal of this mean.
        level = np.exp(level - self.log_level_std_**2)
        return np.fft.irfft(noise, n=self._length) * level[:, None, None]

    @property
    def _overlap(self):
        return self._frame - max(1, self._frame // 4)

    def _stft(self, x):
        return stft(x, nperseg=self._frame, noverlap=self._overlap, boundary="even")[2]

    def _columns(self, n_columns, n_frames):
        """Return the column of the token grid at each frame's centre."""
        time = np.arange(n_frames) * (self._frame - self._overlap)
        return np.minimum(time, self._length - 1) * n_columns // self._length

    def _codes(self, tokens, n_frames):
        """Return the codes at each frame: ``(n, rows, n_frames)``."""
        return tokens[:, :, self._columns(tokens.shape[2], n_frames)]

    def _over_time(self, per_code, tokens, n_frames):
        """Look a table of codes up: ``(n, n_channels, n_frequencies, n_frames)``."""
        per_column = per_code[tokens].mean(axis=1).transpose(0, 2, 3, 1)
        return per_column[..., self._columns(tokens.shape[2], n_frames)]


def _mean_by_code(power, codes, n_codes):
    """Average ``(n, n_channels, n_frequencies, n_frames)`` over the frames of each code."""
    _, n_channels, n_frequencies, _ = power.shape
    frames = power.transpose(0, 3, 1, 2).reshape(-1, n_channels * n_frequencies)
    average = frames.mean(axis=0)
    total = np.tile(_SHRINKAGE * average, (n_codes, 1))
    count = np.full(n_codes, _SHRINKAGE)
    for row in range(codes.shape[1]):
        code = codes[:, row].ravel()
        member = csr_array(
            (np.ones(len(code)), (code, np.arange(len(code)))), (n_codes, len(code))
        )
        total += member @ frames
        count += np.bincount(code, minlength=n_codes)
    return (total / count[:, None]).reshape(n_codes, n_channels, n_frequencies)


def _missing_gain(series, decoded, noise, max_power_gain=4.0, bands_per_octave=3):
    """Amplitude by frequency that noise needs to fill the gap between decoded and real series.

    In the mean of log-powers, not of powers: a few rough series must not set the level of all.
    """
    length = series.shape[-1]
    n_bins = length // 2 + 1
    n_bands = math.ceil(bands_per_octave * math.log2(max(n_bins, 2)))
    edges = np.unique(np.round(np.geomspace(1, n_bins, n_bands + 1)).astype(int))
    if len(edges) < 2:
        return np.ones((series.shape[1], n_bins))

    def log_mean_power(x):
        x = (x - x.mean(axis=-1, keepdims=True)) * get_window("hann", length)
        power = np.abs(np.fft.rfft(x)) ** 2
        power = np.add.reduceat(power, edges[:-1], axis=-1) / np.diff(edges)
        return np.exp(np.log(_positive(power)).mean(axis=0))

    gap = log_mean_power(series) - log_mean_power(decoded)
    gain = np.clip(gap / log_mean_power(noise), 0, max_power_gain)
    centres = (edges[:-1] + edges[1:] - 1) / 2
    return np.sqrt([np.interp(np.arange(n_bins), centres, channel) for channel in gain])


def _root_of_correlation(residual):
    """Return a square root of the correlation matrix of the channels."""
    columns = residual.swapaxes(0, 1).reshape(residual.shape[1], -1)
    norm = _positive(np.sqrt(np.mean(columns**2, axis=1)))
    correlation = (columns @ columns.T) / columns.shape[1] / norm / norm[:, None]
    # A channel without residual correlates with none.
    np.fill_diagonal(correlation, 1.0)
    values, vectors = np.linalg.eigh(correlation)
    return vectors * np.sqrt(np.clip(values, 0, None))


def _positive(x):
    return np.maximum(x, 1e-30)
