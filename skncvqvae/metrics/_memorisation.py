"""Whether synthetic series are new, or copies of the training set."""

from numbers import Real

import numpy as np
from numpy.typing import ArrayLike
from sklearn.neighbors import NearestNeighbors
from sklearn.utils.validation import check_scalar

from ._distances import centre
from ._features import Features, extract_features
from ._validation import check_series, finite


def authenticity(
    X_real: ArrayLike,
    X_synthetic: ArrayLike,
    *,
    y_real: ArrayLike | None = None,
    features: Features = "rocket",
    random_state: int | np.random.RandomState | None = 0,
) -> float:
    r"""Share of synthetic series that are no closer to a training series than others are.

    With :math:`x_{i(j)}` the training series nearest to the synthetic :math:`y_j`,

    .. math:: \frac{1}{m} \sum_j
              1\left[d(y_j, x_{i(j)}) > \min_{l \ne i(j)} d(x_l, x_{i(j)})\right]

    Parameters
    ----------
    X_real : array-like of shape (n_real, length) or (n_real, n_channels, length)
        The series the generator was trained on.
    X_synthetic : array-like of shape (n_synthetic, length) or (n_synthetic, n_channels, length)
        Synthetic series.
    y_real : array-like of shape (n_real,), optional
        Class labels, which ``features="fcn"`` needs.
    features : {"rocket", "fcn"}, transformer, callable or None, default="rocket"
        As in `frechet_distance`.
    random_state : int, RandomState instance or None, default=0
        Seeds extractors chosen by name.

    Returns
    -------
    float
        In [0, 1]; 0 for copies, a half or more for real series that were held out, and 1 also
        for noise that is far from everything. Higher is better, up to what held-out series get.

    Raises
    ------
    ValueError
        On invalid or mismatched series, or an unknown `features`.
    ImportError
        When ``"rocket"`` is asked for without aeon.

    References
    ----------
    .. [1] Alaa, van Breugel, Saveliev, van der Schaar, "How faithful is your synthetic data?",
       arXiv:2102.08921, 2022, "authenticity".
    """
    real, synthetic = check_series(X_real=X_real, X_synthetic=X_synthetic)
    extracted = extract_features(
        features, real, synthetic, y_real=y_real, random_state=random_state
    )
    (real, synthetic), rounding = centre(*extracted)
    neighbors = NearestNeighbors(n_neighbors=1).fit(real)
    spacing = neighbors.kneighbors()[0][:, 0]
    distance, nearest = neighbors.kneighbors(synthetic)
    return float((distance[:, 0] > spacing[nearest[:, 0]] + rounding).mean())


@finite
def nearest_neighbor_distance_ratio(
    X_real: ArrayLike,
    X_synthetic: ArrayLike,
    X_holdout: ArrayLike,
    *,
    y_real: ArrayLike | None = None,
    features: Features = "rocket",
    quantile: float = 0.5,
    random_state: int | np.random.RandomState | None = 0,
) -> float:
    """Distance of synthetic series to the training set, relative to that of held-out series.

    A quantile of the distances of synthetic series to their nearest training series (in the
    literature on privacy, the distance to the closest record), divided by the same quantile for
    real series that the generator never saw. Not to be confused with the ratio of the first to
    the second neighbour's distance.

    Parameters
    ----------
    X_real : array-like of shape (n_real, length) or (n_real, n_channels, length)
        The series the generator was trained on.
    X_synthetic : array-like of shape (n_synthetic, length) or (n_synthetic, n_channels, length)
        Synthetic series.
    X_holdout : array-like of shape (n_holdout, length) or (n_holdout, n_channels, length)
        Real series the generator was not trained on.
    y_real : array-like of shape (n_real,), optional
        Class labels, which ``features="fcn"`` needs.
    features : {"rocket", "fcn"}, transformer, callable or None, default="rocket"
        As in `frechet_distance`.
    quantile : float, default=0.5
        Which quantile, in [0, 1]. A low one finds a few copies among many new series.
    random_state : int, RandomState instance or None, default=0
        Seeds extractors chosen by name.

    Returns
    -------
    float
        1 when synthetic series are as far from the training set as held-out ones; towards 0 the
        more they copy it, above 1 when they are unlike it.

    Raises
    ------
    ValueError
        On invalid or mismatched series, an unknown `features`, or held-out series that are
        copies of training series themselves.
    ImportError
        When ``"rocket"`` is asked for without aeon.

    References
    ----------
    .. [1] Platzer, Reutterer, "Holdout-based empirical assessment of mixed-type synthetic data",
       arXiv:2104.00635, 2021.
    """
    arrays = check_series(X_real=X_real, X_synthetic=X_synthetic, X_holdout=X_holdout)
    check_scalar(quantile, "quantile", Real, min_val=0, max_val=1)
    extracted = extract_features(features, *arrays, y_real=y_real, random_state=random_state)
    (real, *others), rounding = centre(*extracted)
    neighbors = NearestNeighbors(n_neighbors=1).fit(real)
    synthetic, holdout = (
        np.quantile(neighbors.kneighbors(other)[0], quantile) for other in others
    )
    if holdout <= rounding:
        raise ValueError(
            f"The quantile {quantile} of the distances of X_holdout to X_real is 0: series of "
            "X_holdout are in X_real. Hold out other series or raise quantile."
        )
    return float(synthetic / holdout) if synthetic > rounding else 0.0
