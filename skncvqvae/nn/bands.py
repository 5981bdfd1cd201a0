"""Parts of series that have tokens of their own, and how series are split into them."""

import importlib
import itertools
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from .precision import full_precision
from .spectrogram import Spectrogram

# Relative to the largest value of a series: how far parts of the user's may be from adding up.
_TOLERANCE = 1e-3


@dataclass(frozen=True)
class Band:
    """The token grid of one part of the series, and the codes it is made of.

    Parameters
    ----------
    name : str
    rows, columns : int
        Rows (frequency) and columns (time) of the grid.
    n_codes : int
        Size of the band's codebook.
    """

    name: str
    rows: int
    columns: int
    n_codes: int

    @property
    def n_tokens(self) -> int:
        """Tokens of the grid."""
        return self.rows * self.columns


def band_names(n_bands: int) -> tuple[str, ...]:
    """Return the names of so many bands: low, mid and high; several in the middle by number."""
    middle = [f"mid_{i + 1}" for i in range(n_bands - 2)] if n_bands > 3 else ["mid"]
    return ("low", *middle[: n_bands - 2], "high")


@dataclass(frozen=True)
class STFTSplitConfig:
    """A split at rows of the spectrogram.

    Parameters
    ----------
    n_fft : int
        Window in time steps, a multiple of 4.
    cutoffs : tuple of int
        The rows, ascending, at which the bands after the first begin.
    """

    n_fft: int
    cutoffs: tuple[int, ...]

    @property
    def names(self) -> tuple[str, ...]:
        """Of the bands, the lowest frequencies first."""
        return band_names(len(self.cutoffs) + 1)


@dataclass(frozen=True)
class WaveletSplitConfig:
    """A split at levels of the discrete wavelet transform.

    Parameters
    ----------
    wavelet : str
        As PyWavelets calls it.
    levels : tuple of int
        The levels, descending: the first band is what the approximation at the first level
        makes, each further one what the next level adds, the last all that is finer.
    """

    wavelet: str
    levels: tuple[int, ...]

    @property
    def names(self) -> tuple[str, ...]:
        """Of the bands, the lowest frequencies first."""
        return band_names(len(self.levels) + 1)


@dataclass(frozen=True)
class UserSplitConfig:
    """A split by a function.

    Parameters
    ----------
    function : callable
        Takes a tensor ``(n, n_channels, n_timesteps)`` and returns its parts.
    names : tuple of str
        Of the parts.
    """

    function: Callable[[Tensor], Any]
    names: tuple[str, ...]


SplitConfig = STFTSplitConfig | WaveletSplitConfig | UserSplitConfig


class BandSplit(nn.Module):
    """Splits series in the time domain into parts that sum to them.

    Subclasses define `smooth`. Each band is the difference of two neighbours of its results, the
    last band what is missing to the series, so that the sum is the series to rounding.

    Parameters
    ----------
    config : SplitConfig
    n_timesteps : int
    """

    def __init__(self, config: Any, n_timesteps: int) -> None:
        super().__init__()
        self.config = config
        self.n_timesteps = n_timesteps

    def smooth(self, x: Tensor) -> list[Tensor]:
        """Return ever finer versions of series, all but the finest, which is the series."""
        raise NotImplementedError

    @full_precision
    def forward(self, x: Tensor) -> list[Tensor]:
        """Map series ``(n, n_channels, n_timesteps)`` to parts of that shape."""
        finer = [*self.smooth(x), x]
        return [finer[0], *(b - a for a, b in itertools.pairwise(finer))]


class STFTSplit(BandSplit):
    """Masks rows of the spectrogram and goes back to the time domain.

    Source: Lee et al. (TimeVQVAE), arXiv:2303.04743, section 3.1, whose low band is row 0. Windows
    are boxcars, as theirs: a level is in row 0 alone.

    Parameters
    ----------
    config : STFTSplitConfig
    n_timesteps : int
    """

    spectrogram: Spectrogram

    def __init__(self, config: STFTSplitConfig, n_timesteps: int) -> None:
        super().__init__(config, n_timesteps)
        # The spectrogram's reflection padding needs a series of at least one window.
        self.padding: int = max(0, config.n_fft - n_timesteps)
        self.spectrogram = Spectrogram(n_timesteps + self.padding, config.n_fft, "boxcar")

    def smooth(self, x: Tensor) -> list[Tensor]:
        """Return the series made of the rows below each cutoff."""
        if self.padding:
            x = nn.functional.pad(x, (0, self.padding), mode="replicate")
        u = self.spectrogram(x)
        row = torch.arange(u.shape[2], device=u.device)[:, None]
        return [
            self.spectrogram.inverse(u * (row < cutoff))[..., : self.n_timesteps]
            for cutoff in self.config.cutoffs
        ]


class WaveletSplit(BandSplit):
    """Reconstructs series from the coarse part of their wavelet coefficients.

    Boundaries are mirrored, so any length will do. Source: Mallat (1989), "A theory for
    multiresolution signal decomposition".

    Parameters
    ----------
    config : WaveletSplitConfig
    n_timesteps : int

    Raises
    ------
    ImportError
        Without ptwt.
    ValueError
        On an unknown wavelet.
    """

    def __init__(self, config: WaveletSplitConfig, n_timesteps: int) -> None:
        super().__init__(config, n_timesteps)
        # Raises ValueError on an unknown wavelet, before anything is computed.
        _coarser(n_timesteps, config.wavelet)

    def smooth(self, x: Tensor) -> list[Tensor]:
        """Return the series made of the approximation at each level."""
        (ptwt, _), wavelet = import_wavelets(), self.config.wavelet
        smoother = []
        coarse, length = x.flatten(0, 1), x.shape[-1]
        for level in range(1, max(self.config.levels) + 1):
            coarse = ptwt.wavedec(coarse, wavelet, mode="symmetric", level=1)[0]
            if level in self.config.levels:
                back, lengths = coarse, [length]
                for _ in range(level - 1):
                    lengths.append(_coarser(lengths[-1], wavelet))
                for finer in reversed(lengths):
                    back = ptwt.waverec([back, torch.zeros_like(back)], wavelet)[..., :finer]
                smoother.append(back.view_as(x))
        return smoother[::-1]


class UserSplit(BandSplit):
    """Calls a function of the user's, and checks what it returns.

    Parameters
    ----------
    config : UserSplitConfig
    n_timesteps : int
    """

    @full_precision
    def forward(self, x: Tensor) -> list[Tensor]:
        """Map series to their parts.

        Raises
        ------
        ValueError, TypeError
            Where what the function returns are no such parts.
        """
        parts = split_by(self.config.function, x)
        if tuple(parts) != self.config.names:
            raise ValueError(
                f"bands={self.config.function!r} returned the parts {', '.join(parts)} this "
                f"time, but {', '.join(self.config.names)} in fit. Return the same parts always."
            )
        return list(parts.values())


def split_by(function: Callable[[Tensor], Any], x: Tensor) -> dict[str, Tensor]:
    """Return the parts of series that a function of the user's makes, by name.

    Parameters
    ----------
    function : callable
        Returns a mapping of names to parts, or a list of parts from the lowest frequencies to the
        highest; arrays or tensors of the shape of `x`, which sum to `x`.
    x : Tensor of shape (n, n_channels, n_timesteps)

    Raises
    ------
    ValueError, TypeError
        On anything else.
    """
    # A copy: what the function writes into its argument must not reach the caller's series.
    returned = function(x.detach().clone())
    name = f"bands={function!r}"
    if isinstance(returned, Mapping):
        names, values = tuple(map(str, returned)), list(returned.values())
    elif isinstance(returned, Sequence) or hasattr(returned, "__array__"):
        values = list(returned)
        names = band_names(len(values))
    else:
        raise TypeError(
            f"{name} must return a list of parts or a mapping of names to parts, not "
            f"{type(returned).__name__}."
        )
    if len(values) < 2:
        raise ValueError(f"{name} must return two parts or more, not {len(values)}.")
    parts = {
        band: torch.as_tensor(value).detach().to(x)
        for band, value in zip(names, values, strict=True)
    }
    for band, part in parts.items():
        if part.shape != x.shape:
            raise ValueError(
                f"{name} must return parts of the shape of its argument, {tuple(x.shape)}, but "
                f"{band!r} has shape {tuple(part.shape)}."
            )
        if not part.isfinite().all():
            raise ValueError(f"{name} returned NaN or infinity in {band!r}.")
    error = (torch.stack(list(parts.values())).sum(0) - x).abs().amax()
    if error > _TOLERANCE * max(float(x.abs().amax()), 1.0):
        raise ValueError(
            f"The parts that {name} returned differ from the series by up to {float(error):.3g} "
            "in sum. Let the last part be the series less the others."
        )
    return parts


def make_split(config: SplitConfig, n_timesteps: int) -> BandSplit:
    """Return the module that a configuration describes."""
    if isinstance(config, STFTSplitConfig):
        return STFTSplit(config, n_timesteps)
    if isinstance(config, WaveletSplitConfig):
        return WaveletSplit(config, n_timesteps)
    return UserSplit(config, n_timesteps)


def _coarser(length: int, wavelet: str) -> int:
    """Return how many coefficients one level of the transform has of so many."""
    _, pywt = import_wavelets()
    return pywt.dwt_coeff_len(length, pywt.Wavelet(wavelet).dec_len, "symmetric")


def import_wavelets() -> tuple[Any, Any]:
    """Return the modules ptwt and pywt.

    Raises
    ------
    ImportError
        Without them, saying what to install.
    """
    try:
        return importlib.import_module("ptwt"), importlib.import_module("pywt")
    except ImportError as error:
        raise ImportError(
            "bands of wavelets need ptwt: pip install 'skncvqvae[wavelets]'"
        ) from error
