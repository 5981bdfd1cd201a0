"""Distances between the distributions of real and synthetic series."""

from collections.abc import Callable
from typing import Any, Literal

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy.special import rel_entr
from sklearn.base import BaseEstimator, clone
from sklearn.metrics.pairwise import euclidean_distances, polynomial_kernel, rbf_kernel

from ._distances import centre
from ._features import FCNClassifier, Features, extract_features
from ._validation import check_labels, check_series, finite

# Takes two arrays of features and returns the matrix of kernel values.
Kernel = Callable[[NDArray[np.float64], NDArray[np.float64]], NDArray[np.floating]]


@finite
def frechet_distance(
    X_real: ArrayLike,
    X_synthetic: ArrayLike,
    *,
    y_real: ArrayLike | None = None,
    features: Features = "rocket",
    random_state: int | np.random.RandomState | None = 0,
) -> float:
    r"""Fréchet distance between Gaussians fitted to real and synthetic features (FID).

    .. math:: \|\mu_r - \mu_s\|^2 +
              \operatorname{tr}(\Sigma_r + \Sigma_s - 2 (\Sigma_r \Sigma_s)^{1/2})

    The last trace is computed as the sum of the singular values of :math:`A B^T`, where
    :math:`\Sigma_r = A^T A` and :math:`\Sigma_s = B^T B`; no square root of a covariance is
    needed, so it is stable when features outnumber series. The estimate grows as series get
    fewer: compare values of one number of series, and of one extractor.

    Parameters
    ----------
    X_real : array-like of shape (n_real, length) or (n_real, n_channels, length)
        Real series.
    X_synthetic : array-like of shape (n_synthetic, length) or (n_synthetic, n_channels, length)
        Synthetic series.
    y_real : array-like of shape (n_real,), optional
        Class labels, which ``features="fcn"`` needs.
    features : {"rocket", "fcn"}, transformer, callable or None, default="rocket"
        ``"rocket"`` is `RocketFeatures` and ``"fcn"`` the pooled features of `FCNClassifier`,
        fitted on `X_real`; a fitted transformer or a callable that maps series to ``(n,
        n_features)`` is used as it is; None takes the arrays as features.
    random_state : int, RandomState instance or None, default=0
        Seeds extractors chosen by name.

    Returns
    -------
    float
        In squared units of the features. 0 for equal means and covariances; lower is better.

    Raises
    ------
    ValueError
        On invalid or mismatched series, or an unknown `features`.
    ImportError
        When ``"rocket"`` is asked for without aeon.

    References
    ----------
    .. [1] Heusel et al., "GANs trained by a two time-scale update rule converge to a local Nash
       equilibrium", arXiv:1706.08500, 2017, eq. 6.
    """
    arrays = check_series(X_real=X_real, X_synthetic=X_synthetic)
    real, synthetic = extract_features(features, *arrays, y_real=y_real, random_state=random_state)
    mean_real, mean_synthetic = real.mean(0), synthetic.mean(0)
    A, B = _covariance_root(real - mean_real), _covariance_root(synthetic - mean_synthetic)
    trace_of_root = np.linalg.norm(A @ B.T, "nuc")
    distance = np.sum((mean_real - mean_synthetic) ** 2)
    distance += np.sum(A**2) + np.sum(B**2) - 2 * trace_of_root
    return max(float(distance), 0.0)


def _covariance_root(centred: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return A with ``A.T @ A`` the covariance, of no more rows than samples or features."""
    n, n_features = centred.shape
    root = np.linalg.qr(centred, mode="r") if n > n_features else centred
    return root / np.sqrt(n - 1)


@finite
def maximum_mean_discrepancy(
    X_real: ArrayLike,
    X_synthetic: ArrayLike,
    *,
    y_real: ArrayLike | None = None,
    features: Features = "rocket",
    kernel: Literal["rbf"] | Kernel = "rbf",
    random_state: int | np.random.RandomState | None = 0,
) -> float:
    r"""Squared maximum mean discrepancy (MMD), without bias.

    .. math:: \frac{1}{n(n-1)} \sum_{i \ne j} k(x_i, x_j) +
              \frac{1}{m(m-1)} \sum_{i \ne j} k(y_i, y_j) -
              \frac{2}{nm} \sum_{i,j} k(x_i, y_j)

    Parameters
    ----------
    X_real, X_synthetic, y_real, features, random_state
        As in `frechet_distance`.
    kernel : "rbf" or callable, default="rbf"
        ``"rbf"`` is :math:`\exp(-\|x - y\|^2 / 2\sigma^2)` with the median distance between
        real series as :math:`\sigma`, so that different synthetic data are measured alike. A
        callable takes two arrays of features and returns the matrix of kernel values.

    Returns
    -------
    float
        0 is the expectation for equal distributions, and chance may make it slightly negative;
        lower is better.

    Raises
    ------
    ValueError, ImportError
        As in `frechet_distance`, and when no width can be found since real series are equal.

    References
    ----------
    .. [1] Gretton et al., "A kernel two-sample test", JMLR 13, 2012, eq. 3.
    """
    arrays = check_series(X_real=X_real, X_synthetic=X_synthetic)
    if not (callable(kernel) or kernel == "rbf"):
        raise ValueError(f"kernel={kernel!r} is unknown. Pass 'rbf' or a callable.")
    real, synthetic = extract_features(features, *arrays, y_real=y_real, random_state=random_state)
    if callable(kernel):
        return _squared_mmd(real, synthetic, kernel)
    (real, synthetic), rounding = centre(real, synthetic)
    width = np.median(euclidean_distances(real)[np.triu_indices(len(real), 1)])
    if width <= rounding:
        raise ValueError(
            "kernel='rbf' has no width: most series of X_real have the same features. Pass a "
            "callable as kernel, or other features."
        )
    gamma = 1 / (2 * width**2)
    return _squared_mmd(real, synthetic, lambda X, Y: rbf_kernel(X, Y, gamma=gamma))


def _squared_mmd(X: NDArray[np.float64], Y: NDArray[np.float64], kernel: Kernel) -> float:
    def mean_off_diagonal(K: NDArray[np.floating]) -> np.floating:
        return (K.sum() - np.trace(K)) / (len(K) * (len(K) - 1))

    within = mean_off_diagonal(kernel(X, X)) + mean_off_diagonal(kernel(Y, Y))
    return float(within - 2 * kernel(X, Y).mean())


@finite
def kernel_inception_distance(
    X_real: ArrayLike,
    X_synthetic: ArrayLike,
    *,
    y_real: ArrayLike | None = None,
    features: Features = "rocket",
    random_state: int | np.random.RandomState | None = 0,
) -> float:
    r"""Squared MMD with the cubic kernel :math:`(x^T y / d + 1)^3` (KID).

    Unlike the Fréchet distance it has no bias, so it suits small data sets. All series are used
    at once rather than in blocks.

    Parameters
    ----------
    X_real, X_synthetic, y_real, features, random_state
        As in `frechet_distance`.

    Returns
    -------
    float
        0 is the expectation for equal distributions, and chance may make it slightly negative;
        lower is better.

    Raises
    ------
    ValueError, ImportError
        As in `frechet_distance`.

    References
    ----------
    .. [1] Bińkowski, Sutherland, Arbel, Gretton, "Demystifying MMD GANs", arXiv:1801.01401,
       2018, "kernel inception distance".
    """
    arrays = check_series(X_real=X_real, X_synthetic=X_synthetic)
    real, synthetic = extract_features(features, *arrays, y_real=y_real, random_state=random_state)
    return _squared_mmd(real, synthetic, _cubic_kernel)


def _cubic_kernel(X: NDArray[np.float64], Y: NDArray[np.float64]) -> NDArray[np.float64]:
    return polynomial_kernel(X, Y, degree=3, coef0=1)


@finite
def inception_score(
    X_real: ArrayLike,
    y_real: ArrayLike,
    X_synthetic: ArrayLike,
    *,
    classifier: BaseEstimator | None = None,
    random_state: int | np.random.RandomState | None = 0,
) -> float:
    r"""Inception score: how sure a classifier is of each series, and how varied of all.

    .. math:: \exp\left(\frac{1}{m} \sum_j \mathrm{KL}(p(y \mid x_j) \,\|\, p(y))\right),
              \quad p(y) = \frac{1}{m} \sum_j p(y \mid x_j)

    Parameters
    ----------
    X_real : array-like of shape (n_real, length) or (n_real, n_channels, length)
        Real series, which the classifier is trained on.
    y_real : array-like of shape (n_real,)
        Their classes.
    X_synthetic : array-like of shape (n_synthetic, length) or (n_synthetic, n_channels, length)
        Synthetic series.
    classifier : classifier with predict_proba, or None, default=None
        It is cloned and fitted; wrap a fitted one in ``sklearn.frozen.FrozenEstimator`` to use
        it as it is. None is `FCNClassifier`.
    random_state : int, RandomState instance or None, default=0
        Seeds the default classifier.

    Returns
    -------
    float
        Between 1 and the number of classes; higher is better, up to what real series get.

    Raises
    ------
    ValueError
        On invalid or mismatched series or labels.

    References
    ----------
    .. [1] Salimans et al., "Improved techniques for training GANs", arXiv:1606.03498, 2016,
       section 4.
    """
    real, synthetic = check_series(X_real=X_real, X_synthetic=X_synthetic)
    labels = check_labels(real, y_real, "y_real")
    # A clone of the default would draw from a copy of the RandomState.
    judge: Any = (
        FCNClassifier(random_state=random_state) if classifier is None else clone(classifier)
    )
    # Copies: a classifier may write into what it is given.
    proba = judge.fit(real.copy(), labels).predict_proba(synthetic.copy())
    return float(np.exp(rel_entr(proba, proba.mean(0)).sum(1).mean()))
