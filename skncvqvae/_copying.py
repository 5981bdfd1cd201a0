"""Whether what is drawn lies nearer to what was learnt from than new things do."""

import numpy as np
from numpy.typing import NDArray
from scipy.stats import mannwhitneyu

# Rows that are compared: more hardly change the outcome.
_N_ROWS = 256


def probability_above(higher: NDArray[np.float64], lower: NDArray[np.float64]) -> float:
    """Return the probability that one of the first is above one of the second; ties count half."""
    order = np.sort(lower)
    below, not_above = (np.searchsorted(order, higher, side) for side in ("left", "right"))
    return float((below + not_above).mean() / (2 * len(order)))


def compare_distances(
    of_synthetic: NDArray[np.float64], of_real: NDArray[np.float64]
) -> dict[str, float]:
    """Compare distances to the nearest training series, of synthetic and of real series.

    Source: Meehan, Chaudhuri, Dasgupta, arXiv:2004.05675, section 3.1.

    Returns
    -------
    dict of str to float
        ``"copying"``, the probability that a synthetic series is nearer, ``"z"`` and
        ``"p_value"``, as of `skncvqvae.metrics.copying_test`.
    """
    test = mannwhitneyu(of_synthetic, of_real, alternative="less", method="asymptotic")
    n, m = len(of_synthetic), len(of_real)
    copying = probability_above(of_real, of_synthetic)
    # Of ties in all places nothing can be said.
    p_value = 0.5 if np.isnan(test.pvalue) else float(test.pvalue)
    _, counts = np.unique(np.concatenate([of_synthetic, of_real]), return_counts=True)
    tied = (counts**3 - counts).sum() / ((n + m) * (n + m - 1))
    variance = n * m / 12 * (n + m + 1 - tied)
    z = (copying - 0.5) * n * m / np.sqrt(variance) if variance > 0 else 0.0
    return {"copying": copying, "z": float(z), "p_value": p_value}


def compare_tokens(
    rows: NDArray[np.integer], drawn: NDArray[np.integer], rng: np.random.RandomState
) -> dict[str, float]:
    """Compare drawn rows of tokens with training rows, by the number of tokens that differ.

    In tokens what a decoder smooths away does not count, and a distance is a comparison of
    integers.

    Parameters
    ----------
    rows : ndarray of shape (n_series, n_tokens)
        Training rows, at least two. Each of a random part of them is taken for held out from
        the others.
    drawn : ndarray of shape (n, n_tokens)
    rng : RandomState

    Returns
    -------
    dict of str to float
        As `compare_distances`.
    """
    chosen = rng.permutation(len(rows))[:_N_ROWS]
    of_real = [_n_differing(rows, rows[i], besides=i) for i in chosen]
    of_drawn = [_n_differing(rows, row) for row in drawn[:_N_ROWS]]
    return compare_distances(np.array(of_drawn, dtype=float), np.array(of_real, dtype=float))


def n_to_draw(n_series: int) -> int:
    """Return how many rows to draw for `compare_tokens`."""
    return min(n_series, _N_ROWS)


def _n_differing(
    rows: NDArray[np.integer], row: NDArray[np.integer], besides: int | None = None
) -> int:
    """Return the number of tokens that differ from the nearest row, itself not counted."""
    differing = (rows != row).sum(axis=1)
    if besides is not None:
        differing[besides] = rows.shape[1] + 1
    return int(differing.min())
