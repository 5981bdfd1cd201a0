"""Fidelity and diversity from nearest neighbours: precision, recall, density, coverage."""

from numbers import Integral

import numpy as np
from sklearn.metrics import pairwise_distances_chunked
from sklearn.neighbors import NearestNeighbors
from sklearn.utils.validation import check_scalar

from ._features import extract_features
from ._validation import check_series


def prdc(X_real, X_synthetic, *, y_real=None, features="rocket", n_neighbors=5, random_state=0):
    r"""Precision, recall, density and coverage.

    :math:`B(x_i)` is the closed ball around :math:`x_i` that reaches to its k-th nearest
    neighbour in the set it belongs to.

    - precision: share of synthetic series in the ball of any real one;
    - recall: share of real series in the ball of any synthetic one;
    - density: :math:`\frac{1}{km} \sum_j \sum_i 1[y_j \in B(x_i)]`, which unlike precision is
      not raised by balls around outliers;
    - coverage: share of real series whose ball holds a synthetic one.

    Parameters
    ----------
    X_real : array-like of shape (n_real, length) or (n_real, n_channels, length)
        Real series.
    X_synthetic : array-like of shape (n_synthetic, length) or (n_synthetic, n_channels, length)
        Synthetic series. Recall and coverage grow with their number.
    y_real : array-like of shape (n_real,), optional
        Class labels, which ``features="fcn"`` needs.
    features : {"rocket", "fcn"}, transformer, callable or None, default="rocket"
        As in `frechet_distance`.
    n_neighbors : int, default=5
        The k of the balls; less than the number of series in either set.
    random_state : int, RandomState instance or None, default=0
        Seeds extractors chosen by name.

    Returns
    -------
    dict of str to float
        ``"precision"``, ``"recall"`` and ``"coverage"`` in [0, 1], ``"density"`` from 0 to
        about 1 (more where synthetic series crowd where real ones are dense); higher is better.

    Raises
    ------
    ValueError
        On invalid or mismatched series, an unknown `features` or too many neighbours.
    ImportError
        When ``"rocket"`` is asked for without aeon.

    References
    ----------
    .. [1] Kynkäänniemi et al., "Improved precision and recall metric for assessing generative
       models", arXiv:1904.06991, 2019, eqs. 1 and 2.
    .. [2] Naeem et al., "Reliable fidelity and diversity metrics for generative models",
       arXiv:2002.09797, 2020, section 3.
    """
    X_real, X_synthetic = check_series(X_real=X_real, X_synthetic=X_synthetic)
    smaller = min(len(X_real), len(X_synthetic))
    check_scalar(n_neighbors, "n_neighbors", Integral, min_val=1, max_val=smaller - 1)
    real, synthetic = extract_features(
        features, X_real, X_synthetic, y_real=y_real, random_state=random_state
    )
    radii = _radii(real, n_neighbors)
    n_real_balls = _count_balls(synthetic, real, radii)
    n_synthetic_balls = _count_balls(real, synthetic, _radii(synthetic, n_neighbors))
    nearest = NearestNeighbors(n_neighbors=1).fit(synthetic).kneighbors(real)[0][:, 0]
    return {
        "precision": float((n_real_balls > 0).mean()),
        "recall": float((n_synthetic_balls > 0).mean()),
        "density": float(n_real_balls.mean() / n_neighbors),
        "coverage": float((nearest <= radii).mean()),
    }


def _radii(X, n_neighbors):
    radii = NearestNeighbors(n_neighbors=n_neighbors).fit(X).kneighbors()[0][:, -1]
    # So that rounding does not put a series on the surface of a ball, as a copy is, outside it.
    return radii * (1 + 1e-6)


def _count_balls(points, centres, radii):
    """Count for each point the balls it lies in."""
    counts = pairwise_distances_chunked(
        points, centres, reduce_func=lambda distances, start: (distances <= radii).sum(1)
    )
    return np.concatenate(list(counts))


def precision(
    X_real, X_synthetic, *, y_real=None, features="rocket", n_neighbors=5, random_state=0
):
    """Share of synthetic series within the neighbourhood of a real one: how realistic they are.

    Parameters
    ----------
    X_real, X_synthetic, y_real, features, n_neighbors, random_state
        As in `prdc`.

    Returns
    -------
    float
        In [0, 1]; higher is better.
    """
    return prdc(
        X_real,
        X_synthetic,
        y_real=y_real,
        features=features,
        n_neighbors=n_neighbors,
        random_state=random_state,
    )["precision"]


def recall(X_real, X_synthetic, *, y_real=None, features="rocket", n_neighbors=5, random_state=0):
    """Share of real series within the neighbourhood of a synthetic one: whether a kind is missing.

    Parameters
    ----------
    X_real, X_synthetic, y_real, features, n_neighbors, random_state
        As in `prdc`.

    Returns
    -------
    float
        In [0, 1]; higher is better.
    """
    return prdc(
        X_real,
        X_synthetic,
        y_real=y_real,
        features=features,
        n_neighbors=n_neighbors,
        random_state=random_state,
    )["recall"]


def density(X_real, X_synthetic, *, y_real=None, features="rocket", n_neighbors=5, random_state=0):
    """Average number of real neighbourhoods a synthetic series lies in, over `n_neighbors`.

    Parameters
    ----------
    X_real, X_synthetic, y_real, features, n_neighbors, random_state
        As in `prdc`.

    Returns
    -------
    float
        From 0 to about 1; higher is better.
    """
    return prdc(
        X_real,
        X_synthetic,
        y_real=y_real,
        features=features,
        n_neighbors=n_neighbors,
        random_state=random_state,
    )["density"]


def coverage(
    X_real, X_synthetic, *, y_real=None, features="rocket", n_neighbors=5, random_state=0
):
    """Share of real series with a synthetic one in their neighbourhood.

    Parameters
    ----------
    X_real, X_synthetic, y_real, features, n_neighbors, random_state
        As in `prdc`.

    Returns
    -------
    float
        In [0, 1]; higher is better.
    """
    return prdc(
        X_real,
        X_synthetic,
        y_real=y_real,
        features=features,
        n_neighbors=n_neighbors,
        random_state=random_state,
    )["coverage"]
