"""Series with sharp changes of mode, made by formulas, so that no file is needed.

They stand for sets such as TwoPatterns and ElectricDevices of the UCR archive, on which edges tell
classes apart. Each series is standardised by itself, as that archive's are.
"""

import numpy as np


def two_patterns(n, seed, length=128):
    """Return noise with two steps of one or the other direction; the order is the class.

    The definition of TwoPatterns (Geurts, "Contributions to decision tree induction: bias/variance
    tradeoff and time series classification", PhD thesis, 2002): standard normal noise, in which
    two stretches at random places are steps from -5 to 5 (up) or from 5 to -5 (down). Classes are
    down-down, up-down, down-up and up-up.

    Parameters
    ----------
    n : int
        Number of series.
    seed : int
    length : int, default=128

    Returns
    -------
    X : ndarray of shape (n, length)
    y : ndarray of shape (n,)
    """
    rng = np.random.default_rng(seed)
    y = rng.permutation(np.arange(n) % 4)
    X = rng.normal(size=(n, length))
    for series, label in zip(X, y, strict=True):
        widths = rng.integers(length // 8, length // 4, size=2)
        free = length - widths.sum()
        before, between = np.sort(rng.integers(0, free + 1, size=2))
        starts = before, between + widths[0]
        for start, width, up in zip(starts, widths, (label % 2, label // 2), strict=True):
            step = np.where(np.arange(width) < width // 2, -5.0, 5.0)
            series[start : start + width] = step if up else -step
    return _standardised(X), y


def appliances(n, seed, length=96):
    """Return profiles of a day of four appliances, which are on or off.

    A fridge cycles all day, a kettle boils for a moment some times, a washing machine heats once
    or twice and turns long after, and an oven holds its level in bursts.

    Parameters
    ----------
    n : int
        Number of series.
    seed : int
    length : int, default=96

    Returns
    -------
    X : ndarray of shape (n, length)
    y : ndarray of shape (n,)
    """
    rng = np.random.default_rng(seed)
    kinds = (_fridge, _kettle, _washer, _oven)
    y = rng.permutation(np.arange(n) % len(kinds))
    X = np.stack([kinds[label](rng, length) for label in y])
    return _standardised(X + 0.01 * rng.normal(size=X.shape)), y


def _pulses(length, starts, widths, levels):
    series = np.zeros(length)
    for start, width, level in zip(starts, widths, levels, strict=True):
        series[start : start + width] = np.maximum(series[start : start + width], level)
    return series


def _fridge(rng, length):
    period, width = rng.integers(8, 13), rng.integers(3, 6)
    starts = np.arange(rng.integers(period), length, period)
    return _pulses(length, starts, np.full(len(starts), width), rng.normal(1, 0.03, len(starts)))


def _kettle(rng, length):
    n = rng.integers(2, 6)
    starts = rng.integers(0, length - 2, n)
    return _pulses(length, starts, rng.integers(1, 3, n), rng.normal(2, 0.1, n))


def _washer(rng, length):
    n = rng.integers(1, 3)
    starts = np.sort(rng.integers(0, length - 24, n))
    heating = rng.integers(4, 9, n)
    turning = _pulses(length, starts + heating, rng.integers(8, 16, n), np.full(n, 0.2))
    return np.maximum(_pulses(length, starts, heating, rng.normal(2, 0.05, n)), turning)


def _oven(rng, length):
    start, n = rng.integers(0, length // 2), rng.integers(4, 9)
    bursts = start + 8 + 4 * np.arange(n)
    starts = np.concatenate([[start], bursts])
    widths = np.concatenate([[6], np.full(n, 2)])
    return _pulses(length, starts, widths, np.full(n + 1, rng.normal(2, 0.05)))


def _standardised(X):
    return (X - X.mean(1, keepdims=True)) / X.std(1, keepdims=True)


#: The sets by name, each a function of the number of series and a seed.
SHARP = {"two patterns": two_patterns, "appliances": appliances}
