"""Copies of training series, changed a little, that a prior of few series learns from as well."""

from collections.abc import Callable
from functools import partial
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ._memory import LazySeries

# Copies of each series that are moved, itself among them: more hardly change what is learnt.
N_COPIES = 17
# Rows of tokens, copies included, up to which there are so many.
_MAX_ROWS = 200_000
# Training series up to which there are stretched and mixed copies too, and how many of each
# (docs/experiments.md).
_FEW_SERIES = 64
_N_CHANGED = 16
# Waves that make up the course of a stretch.
_N_WAVES = 3
# The share that a mixed series has at least of itself.
_LEAST_SHARE = 0.5


def plan_copies(
    series: NDArray[np.floating],
    labels: NDArray[np.int64] | None,
    furthest: int,
    rng: np.random.RandomState,
) -> list[Callable[[], NDArray[np.floating] | LazySeries]]:
    """Return what makes copies of all series, each time changed in another way.

    First those that are moved along time, the least moved first; of few series then stretched
    ones and, where there are classes, mixtures of series of the same class. Whoever counts on a
    number of copies can leave the last ones out.

    Parameters
    ----------
    series : ndarray of shape (n_series, n_channels, n_timesteps)
    labels : ndarray of int of shape (n_series,) or None
        Their classes.
    furthest : int
        The largest number of steps that a series is moved by.
    rng : RandomState

    Returns
    -------
    list of callable
        To be called in this order, once. Each returns series of the same shape.
    """
    n_series = len(series)
    # Large sets need them less, and they would take memory.
    n = min(2 * furthest + 1, N_COPIES, max(_MAX_ROWS // n_series, 1))
    # Of one alone, there is but the series itself.
    distances = np.linspace(-furthest, furthest, n).round().astype(int).tolist() if n > 1 else []
    nearest_first = sorted({*distances} - {0}, key=lambda distance: (abs(distance), distance))
    moves = [partial(_move, n_steps=distance) for distance in nearest_first]
    plan: list[Any] = [partial(LazySeries, series, move, series.dtype) for move in moves]
    if n_series <= _FEW_SERIES:
        plan += [partial(_stretch, series, furthest, rng)] * _N_CHANGED
        if labels is not None:
            plan += [partial(_mix, series, labels, rng)] * _N_CHANGED
    return plan


def _move(series: NDArray[np.floating], n_steps: int) -> NDArray[np.floating]:
    """Return series ``(..., n_timesteps)`` moved along time, reflected at their ends."""
    last = series.shape[-1] - 1
    time = np.abs(np.arange(last + 1) + n_steps)
    return series[..., np.clip(last - np.abs(last - time), 0, None)]


def _stretch(
    series: NDArray[np.floating], furthest: int, rng: np.random.RandomState
) -> NDArray[np.floating]:
    """Return series whose time runs faster here and slower there, each by another course.

    The course is a sum of slow waves, the slowest of a period of twice the length, and of
    `furthest` steps at most each, less the faster they are. Where it would turn back, time stands.
    """
    n_series, _, n_timesteps = series.shape
    time, last = np.arange(n_timesteps), n_timesteps - 1
    wave = np.arange(1, _N_WAVES + 1)
    height = rng.uniform(-furthest, furthest, (n_series, _N_WAVES)) / wave
    phase = rng.uniform(0, 2 * np.pi, (n_series, _N_WAVES))
    angle = np.pi * wave * time[:, None] / n_timesteps
    course = time + (height[:, None] * np.sin(angle + phase[:, None])).sum(axis=2)
    course = np.abs(np.maximum.accumulate(course, axis=1))
    course = last - np.abs(last - course)
    stretched = np.empty_like(series)
    for i, channels in enumerate(series):
        for j, values in enumerate(channels):
            stretched[i, j] = np.interp(course[i], time, values)
    return stretched


def _mix(
    series: NDArray[np.floating], labels: NDArray[np.int64], rng: np.random.RandomState
) -> NDArray[np.floating]:
    """Return weighted means of each series and another of its class, mostly of itself."""
    partners = np.empty(len(series), dtype=np.intp)
    for label in np.unique(labels):
        own = np.flatnonzero(labels == label)
        partners[own] = rng.permutation(own)
    share = rng.uniform(_LEAST_SHARE, 1, (len(series), 1, 1)).astype(series.dtype)
    return share * series + (1 - share) * series[partners]
