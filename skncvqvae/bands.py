"""Splits of series into frequency bands, each of which gets tokens of its own.

A split is a small object with parameters. `NCVQVAETransformer` takes one as ``bands=``, and so
searches reach ``bands__wavelet``. Parts are series themselves, and sum to the series.
"""

from collections.abc import Callable, Sequence
from numbers import Integral
from typing import Any, ClassVar, Literal, TypeAlias

import numpy as np
import torch
from numpy.typing import ArrayLike, NDArray
from sklearn.base import BaseEstimator
from sklearn.utils._param_validation import Interval

from ._containers import read_array
from .nn.bands import (
    SplitConfig,
    STFTSplitConfig,
    UserSplitConfig,
    WaveletSplitConfig,
    import_wavelets,
    make_split,
    split_by,
)

__all__ = ["Bands", "BandsSpec", "STFTBands", "WaveletBands", "split_bands"]

# Series that a user's function is tried on before any training.
_N_TRIED = 16


class Bands(BaseEstimator):
    """A split of series into bands, the lowest frequencies first.

    Subclasses define `config`.
    """

    _parameter_constraints: ClassVar[dict[str, list[Any]]] = {}

    def check_params(self) -> None:
        """Check the parameters.

        Raises
        ------
        ValueError
            On a wrong value, naming the parameter.
        """
        self._validate_params()
        self.config()

    def config(self) -> SplitConfig:
        """Return the split as plain values."""
        raise NotImplementedError

    def check_length(self, n_timesteps: int) -> None:
        """Check that series of a length can be split.

        Raises
        ------
        ValueError
            Where they are too short.
        """


class STFTBands(Bands):
    """Bands of the spectrogram, as in TimeVQVAE.

    Series are taken to the time-frequency domain, all rows but those of a band are set to zero,
    and what remains goes back to the time domain.

    Parameters
    ----------
    n_fft : int, default=8
        Window in time steps, a multiple of 4.
    cutoffs : int or sequence of int, default=1
        The rows, of ``n_fft // 2 + 1``, at which the bands after the first begin: one for two
        bands, ``low`` and ``high``, two for three, ``low``, ``mid`` and ``high``. Row ``k`` is
        around ``k / n_fft`` cycles per time step, and row 0 is a moving average.

    References
    ----------
    .. [1] Lee, Malacarne, Aune, "Vector quantized time series generation with a bidirectional
       prior model", arXiv:2303.04743, 2023.

    Examples
    --------
    >>> import numpy as np
    >>> from skncvqvae.bands import STFTBands, split_bands
    >>> X = np.sin(np.linspace(0, 9, 64) + np.linspace(0, 6, 40)[:, None])
    >>> parts = split_bands(X, STFTBands(cutoffs=(1, 2)))
    >>> list(parts)
    ['low', 'mid', 'high']
    >>> bool(np.allclose(sum(parts.values()), X))
    True
    """

    _parameter_constraints: ClassVar[dict[str, list[Any]]] = {
        "n_fft": [Interval(Integral, 4, None, closed="left")],
        "cutoffs": [Interval(Integral, 1, None, closed="left"), "array-like"],
    }

    def __init__(self, n_fft: int = 8, cutoffs: int | Sequence[int] = 1) -> None:
        self.n_fft = n_fft
        self.cutoffs = cutoffs

    def config(self) -> STFTSplitConfig:
        """Return the split as plain values.

        Raises
        ------
        ValueError
            On a window or rows that there cannot be.
        """
        if self.n_fft % 4:
            raise ValueError(f"bands: n_fft={self.n_fft} must be a multiple of 4.")
        cutoffs = _distinct(self.cutoffs, "cutoffs")
        if cutoffs[-1] > self.n_fft // 2:
            raise ValueError(
                f"bands: cutoffs={self.cutoffs!r} must be rows of the spectrogram after row 0; "
                f"n_fft={self.n_fft} has the rows 0 to {self.n_fft // 2}."
            )
        return STFTSplitConfig(int(self.n_fft), cutoffs)


class WaveletBands(Bands):
    """Bands of the discrete wavelet transform. Needs ptwt.

    The low band is what the approximation coefficients at a level reconstruct to, and the high
    band the rest: what detail coefficients up to that level add. Where ``haar`` is the wavelet,
    atoms are edges, and the low band is the mean of blocks of ``2**level`` steps. Series are
    mirrored at their ends, so they can have any length.

    Parameters
    ----------
    wavelet : str, default="haar"
        A discrete wavelet, as ``pywt.wavelist(kind="discrete")`` names them.
    levels : int or sequence of int, default=3
        The level at which two bands part, ``low`` and ``high``; or two levels for three bands,
        ``low``, ``mid`` and ``high``, and so on. Level ``j`` parts frequencies at ``2**-j / 2``
        cycles per time step.

    References
    ----------
    .. [1] Mallat, "A theory for multiresolution signal decomposition: the wavelet
       representation", IEEE PAMI 11(7), 1989.

    Examples
    --------
    >>> from skncvqvae import NCVQVAETransformer
    >>> from skncvqvae.bands import WaveletBands
    >>> transformer = NCVQVAETransformer(bands=WaveletBands("db4", levels=2))
    """

    _parameter_constraints: ClassVar[dict[str, list[Any]]] = {
        "wavelet": [str],
        "levels": [Interval(Integral, 1, None, closed="left"), "array-like"],
    }

    def __init__(self, wavelet: str = "haar", levels: int | Sequence[int] = 3) -> None:
        self.wavelet = wavelet
        self.levels = levels

    def config(self) -> WaveletSplitConfig:
        """Return the split as plain values.

        Raises
        ------
        ImportError
            Without ptwt.
        ValueError
            On an unknown wavelet, or levels that there cannot be.
        """
        _wavelet_length(self.wavelet)
        return WaveletSplitConfig(self.wavelet, _distinct(self.levels, "levels")[::-1])

    def check_length(self, n_timesteps: int) -> None:
        """Check that series of a length have the levels.

        Raises
        ------
        ValueError
            Where they are too short.
        """
        _, pywt = import_wavelets()
        deepest = pywt.dwt_max_level(n_timesteps, _wavelet_length(self.wavelet))
        if max(self.config().levels) > deepest:
            raise ValueError(
                f"bands: levels={self.levels!r} of the wavelet {self.wavelet!r} are too deep for "
                f"series of {n_timesteps} time steps, which have {deepest}. "
                + ("Lower levels." if deepest else "Take a shorter wavelet, such as 'haar'.")
            )


#: What the parameter `bands` takes beside None.
BandsSpec: TypeAlias = Literal["stft", "wavelet"] | Bands | Callable[[torch.Tensor], Any]

#: The splits that have a name.
BANDS: dict[str, Callable[[], Bands]] = {"stft": STFTBands, "wavelet": WaveletBands}


def resolve_bands(spec: BandsSpec) -> Bands | Callable[[torch.Tensor], Any]:
    """Return the split that a name stands for, or the split itself, its parameters checked.

    Raises
    ------
    ValueError
        On wrong parameters, an unknown name, or what is no split.
    """
    if isinstance(spec, str) and spec in BANDS:
        bands: Any = BANDS[spec]()
    else:
        bands = spec
    if isinstance(bands, Bands):
        bands.check_params()
    elif isinstance(bands, type) or not callable(bands):
        raise ValueError(
            f"bands={spec!r} must be one of {', '.join(map(repr, BANDS))}, a split of "
            "skncvqvae.bands, or a function."
        )
    return bands


def split_config(spec: BandsSpec, series: NDArray[np.floating]) -> SplitConfig:
    """Return a split as plain values, having checked that series can be split by it.

    Parameters
    ----------
    spec : {"stft", "wavelet"}, Bands or callable
    series : ndarray of shape (n, n_channels, n_timesteps)
        A function of the user's is tried on some of them.

    Raises
    ------
    ValueError, TypeError
        On wrong parameters, series that are too short, or a function that returns no parts.
    """
    bands = resolve_bands(spec)
    if isinstance(bands, Bands):
        bands.check_length(series.shape[-1])
        return bands.config()
    return UserSplitConfig(bands, tuple(split_by(bands, torch.tensor(series[:_N_TRIED]))))


def split_bands(X: ArrayLike, bands: BandsSpec = "stft") -> dict[str, NDArray[np.floating]]:
    """Split series in a numpy array, to look at what a split does.

    Parameters
    ----------
    X : array-like of shape (n_series, length) or (n_series, n_channels, length)
        Series of one shape without gaps, in any container that estimators take.
    bands : {"stft", "wavelet"}, Bands or callable, default="stft"
        As the parameter of `NCVQVAETransformer`.

    Returns
    -------
    dict of str to ndarray of the shape of `X`
        The parts by name, the lowest frequencies first. They sum to `X`.

    Raises
    ------
    ValueError, TypeError
        On data that are no series, and on a wrong split.
    """
    array = np.ascontiguousarray(read_array(X))
    if array.ndim not in (2, 3):
        raise ValueError(
            f"X has {array.ndim} dimensions; expected (n_series, length) or "
            "(n_series, n_channels, length)."
        )
    if array.size == 0:
        raise ValueError(f"X of shape {array.shape} holds no values.")
    series = array.reshape(len(array), -1, array.shape[-1])
    config = split_config(bands, series)
    # The buffers of the split are in single precision, which tells the scale of rounding.
    split = make_split(config, series.shape[-1]).to(torch.from_numpy(series[:0]).dtype)
    with torch.no_grad():
        parts = split(torch.tensor(series))
    if not all(part.isfinite().all() for part in parts):
        raise ValueError(
            "The parts of the series are not finite. X holds values too large: rescale."
        )
    return {
        name: part.numpy().reshape(array.shape)
        for name, part in zip(config.names, parts, strict=True)
    }


def _distinct(values: int | Sequence[int], name: str) -> tuple[int, ...]:
    """Return whole numbers from 1 on, one or several, in ascending order."""
    given: list[Any] = list(np.atleast_1d(np.asarray(values, dtype=object)).ravel())
    good = all(isinstance(v, Integral) and not isinstance(v, bool) and int(v) > 0 for v in given)
    if not given or not good or len(set(given)) < len(given):
        raise ValueError(f"bands: {name}={values!r} must hold distinct integers from 1 on.")
    return tuple(sorted(int(v) for v in given))


def _wavelet_length(wavelet: str) -> int:
    """Return the length of a wavelet's filters."""
    _, pywt = import_wavelets()
    known = pywt.wavelist(kind="discrete")
    if wavelet not in known:
        raise ValueError(
            f"bands: wavelet={wavelet!r} is no discrete wavelet. Known are {', '.join(known)}."
        )
    return pywt.Wavelet(wavelet).dec_len
