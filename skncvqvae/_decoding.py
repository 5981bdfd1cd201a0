"""What makes decoded series most like real ones: how much noise, and whether to share moments."""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import product
from typing import Any, Literal

import numpy as np
import torch
from numpy.typing import NDArray
from sklearn.utils import gen_batches, resample

from ._base import draw_seed
from ._marginals import NOISE_SCALES, Marginals
from ._memory import gen_parts, n_within_memory
from ._observation_noise import ObservationNoise
from ._plateaus import plateau_tolerances, restore_plateaus
from ._shared_moments import SharedMoments
from .augmentations import Shift, augment
from .nn.ppv import DilatedPPV, PPVConfig

# Series that the choice is made by.
_N_SERIES = 256
# Features of each kernel: fewer than a classifier needs tell two sets apart.
_N_BIASES = 6
# Values of all channels together that the choice is made by, where series are long.
_MAX_VALUES = 500_000
# Distance relative to that of series as decoded from which plateaus are restored.
_CLEARLY_NEARER = 0.8
# Standard deviations from the mean at which values are cut off.
_FURTHEST = 1e6
# Series that are moved at once; fewer would take longer.
_MIN_PART = 128


@dataclass(frozen=True)
class Finish:
    """What is done to decoded series before the user gets them.

    Parameters
    ----------
    noise_scale : float
        Factor of the observation noise.
    match_moments : bool
        Whether series get the moments that all training series share.
    match_marginals : bool or "auto"
        Whether values are mapped to those of the training series; ``"auto"`` does so where the
        distributions of a channel differ.
    """

    noise_scale: float
    match_moments: bool
    match_marginals: bool | Literal["auto"] = "auto"

    def apply(
        self,
        series: NDArray[np.floating],
        grids: Sequence[NDArray[np.integer]],
        noise: ObservationNoise,
        marginals: Marginals,
        moments: SharedMoments,
        rng: np.random.RandomState,
    ) -> None:
        """Change decoded series ``(n, n_channels, n_timesteps)`` in place."""
        if self.noise_scale:
            noise.add_to(series, grids, rng, self.noise_scale)
        if self.match_marginals:
            everywhere = self.match_marginals != "auto"
            marginals.restore(series, self.noise_scale, everywhere=everywhere)
        if self.match_moments:
            moments.restore(series)


def choose_finish(
    real: NDArray[np.floating],
    decoded: NDArray[np.floating],
    grids: Sequence[NDArray[np.integer]],
    noise: ObservationNoise,
    marginals: Marginals,
    moments: SharedMoments,
    seed: int,
) -> Finish:
    """Return the finish that brings decoded series nearest to the real ones.

    Nearest by features of random kernels, which see detail and roughness (see `ppv_distance`).

    Parameters
    ----------
    real, decoded : ndarray of shape (n, n_channels, n_timesteps)
        Series that the decoder was not trained on, and what is decoded from their tokens.
    grids : sequence of ndarray
        The token grid of each band.
    noise, marginals, moments
        Fitted to them.
    seed : int

    Returns
    -------
    Finish
    """
    n = min(len(real), n_to_decode(real.shape))
    some = [grid[:n] for grid in grids]
    # Without shared moments there is nothing to match.
    matches = (True, False) if moments.is_shared else (True,)
    choices = [Finish(*choice) for choice in product(NOISE_SCALES, matches)]
    finished = []
    for choice in choices:
        series = decoded[:n].copy()
        choice.apply(series, some, noise, marginals, moments, np.random.RandomState(seed))
        finished.append(series)
    distances = ppv_distance(real[:n], finished, seed)
    return choices[int(np.argmin(distances))]


def n_to_decode(shape: tuple[int, ...]) -> int:
    """Return how many series of a shape ``(n, n_channels, n_timesteps)`` a choice is made by."""
    return min(_N_SERIES, max(_MAX_VALUES // math.prod(shape[1:]), 16))


def draw_moved(
    series: NDArray[np.floating], n: int, furthest: int, rng: np.random.RandomState
) -> NDArray[np.floating]:
    """Return some series, moved along time by a random number of steps.

    A decoder loses more of other series than of those it was trained on, the more so without
    random shifts. Moved by less than a token, the training series stand for others.

    Parameters
    ----------
    series : ndarray of shape (n_series, n_channels, n_timesteps)
    n : int
        How many; each series comes about as often as the others.
    furthest : int
        The largest number of steps, to either side; at least 1 is taken.
    rng : RandomState

    Returns
    -------
    ndarray of shape (n, n_channels, n_timesteps)
    """
    n_series = len(series)
    chosen: Any = resample(
        np.arange(n_series), replace=n_series < n, n_samples=n, random_state=rng
    )
    shift, seed = Shift(max(furthest, 1)), draw_seed(rng)
    moved = np.empty((n, *series.shape[1:]), series.dtype)
    # A part at a time: an augmentation holds several copies.
    n_at_once = max(n_within_memory(math.prod(series.shape[1:])), _MIN_PART)
    for i, part in enumerate(gen_batches(n, n_at_once)):
        moved[part] = augment(series[chosen[part]], shift, random_state=seed + i)
    return moved


def spread_indices(n: int) -> NDArray[np.intp]:
    """Return which of `n` series a choice is made by, from all over, as classes may be in order.

    Returns
    -------
    ndarray of int
        Ascending.
    """
    return np.linspace(0, n - 1, min(n, _N_SERIES)).astype(np.intp)


def choose_plateaus(
    real: NDArray[np.floating], decoded: NDArray[np.floating], seed: int
) -> NDArray[np.float64]:
    """Return the tolerance of `restore_plateaus` that brings decoded series nearest to real ones.

    Nearest as in `choose_finish`.

    Parameters
    ----------
    real, decoded : ndarray of shape (n, n_channels, n_timesteps)
        In units of each channel's standard deviation.
    seed : int

    Returns
    -------
    ndarray of shape (n_channels,)
        0 for all channels where nothing brings them clearly nearer.
    """
    nothing = np.zeros(real.shape[1])
    tolerances = plateau_tolerances(real, decoded)
    restored = [restore_plateaus(decoded, tolerance) for tolerance in tolerances]
    as_decoded, *distances = ppv_distance(real, [decoded, *restored], seed)
    if not distances or min(distances) > _CLEARLY_NEARER * as_decoded:
        return nothing
    return tolerances[int(np.argmin(distances))]


def ppv_distance(
    real: NDArray[np.floating], others: Sequence[NDArray[np.floating]], seed: int
) -> list[float]:
    """Return how far sets of series are from real ones.

    The squared differences of mean and of standard deviation of each proportion of positive
    values (`DilatedPPV`), averaged: the Fréchet distance of normal distributions whose features
    are uncorrelated (Dowson and Landau, 1982), in units of the real features' variance.

    Parameters
    ----------
    real : ndarray of shape (n, n_channels, n_timesteps)
    others : sequence of ndarray of that shape
    seed : int
        Of the choice of channels.

    Returns
    -------
    list of float
    """
    mean = real.mean(axis=(0, 2), keepdims=True)
    std = real.std(axis=(0, 2), keepdims=True)
    # A constant channel has no unit of its own.
    std = np.where(std > 0, std, 1)
    ppv = DilatedPPV(PPVConfig(real.shape[1], real.shape[2], _N_BIASES, seed)).float()

    def tensor(series: NDArray[np.floating]) -> torch.Tensor:
        standardised = np.clip((series - mean) / std, -_FURTHEST, _FURTHEST)
        return torch.from_numpy(standardised.astype(np.float32))

    def moments(series: NDArray[np.floating]) -> tuple[torch.Tensor, torch.Tensor]:
        parts = [ppv(tensor(series[part])) for part in gen_parts(series)]
        features = torch.cat(parts)
        return features.mean(0), features.std(0, correction=0)

    with torch.inference_mode():
        ppv.fit(tensor(real))
        centre, spread = moments(real)
        unit = spread.clamp(min=1 / real.shape[2])
        distances = []
        for series in others:
            other_centre, other_spread = moments(series)
            squares = (other_centre - centre).square() + (other_spread - spread).square()
            distances.append(float((squares / unit.square()).mean()))
    return distances
