"""Fidelity and diversity from nearest neighbours: precision, recall, density, coverage."""

from functools import cached_property
from numbers import Integral

import numpy as np
from numpy.typing import ArrayLike, NDArray
from sklearn.metrics import pairwise_distances_chunked
from sklearn.neighbors import NearestNeighbors
from sklearn.utils.validation import check_scalar

from ._distances import centre
from ._features import Features, extract_features
from ._validation import check_series


class _Balls:
    """Balls around real and synthetic series, computed where they are asked for.

    Parameters
    ----------
    X_real, X_synthetic, y_real, features, n_neighbors, random_state
        As those of `prdc`.
    """

    def __init__(
        self,
        X_real: ArrayLike,
        X_synthetic: ArrayLike,
        y_real: ArrayLike | None,
        features: Features,
        n_neighbors: int,
        random_state: int | np.random.RandomState | None,
    ) -> None:
        real, synthetic = check_series(X_real=X_real, X_synthetic=X_synthetic)
        check_n_neighbors(n_neighbors, real, synthetic)
        extracted = extract_features(
            features, real, synthetic, y_real=y_real, random_state=random_state
        )
        (self.real, self.synthetic), self.rounding = centre(*extracted)
        self.n_neighbors = n_neighbors

    def precision(self) -> float:
        return float((self._n_real_balls > 0).mean())

    def recall(self) -> float:
        radii = self._radii(self.synthetic)
        return float((_count_balls(self.real, self.synthetic, radii) > 0).mean())

    def density(self) -> float:
        return float(self._n_real_balls.mean() / self.n_neighbors)

    def coverage(self) -> float:
        neighbors = NearestNeighbors(n_neighbors=1).fit(self.synthetic)
        return float((neighbors.kneighbors(self.real)[0][:, 0] <= self._real_radii).mean())

    @cached_property
    def _real_radii(self) -> NDArray[np.float64]:
        return self._radii(self.real)

    @cached_property
    def _n_real_balls(self) -> NDArray[np.intp]:
        """For each synthetic series the balls of real ones it lies in."""
        return _count_balls(self.synthetic, self.real, self._real_radii)

    def _radii(self, X: NDArray[np.float64]) -> NDArray[np.float64]:
        neighbors = NearestNeighbors(n_neighbors=self.n_neighbors).fit(X)
        radii = neighbors.kneighbors()[0][:, -1]
        # So that rounding does not put a series on the surface of a ball, as a copy is, outside.
        return radii * (1 + 1e-6) + self.rounding


def _count_balls(
    points: NDArray[np.float64], centres: NDArray[np.float64], radii: NDArray[np.float64]
) -> NDArray[np.intp]:
    """Count for each point the balls it lies in."""
    counts = pairwise_distances_chunked(
        points, centres, reduce_func=lambda distances, start: (distances <= radii).sum(1)
    )
    return np.concatenate(list(counts))


def check_n_neighbors(n_neighbors: int, *arrays: NDArray[np.floating]) -> None:
    """Refuse a number of neighbours that the smallest set of series does not have.

    Raises
    ------
    ValueError, TypeError
        On a value that is no integer from 1 to one less than the series of any set.
    """
    smallest = min(map(len, arrays))
    check_scalar(n_neighbors, "n_neighbors", Integral, min_val=1, max_val=smallest - 1)


def prdc(
    X_real: ArrayLike,
    X_synthetic: ArrayLike,
    *,
    y_real: ArrayLike | None = None,
    features: Features = "rocket",
    n_neighbors: int = 5,
    random_state: int | np.random.RandomState | None = 0,
) -> dict[str, float]:
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
    balls = _Balls(X_real, X_synthetic, y_real, features, n_neighbors, random_state)
    return {
        "precision": balls.precision(),
        "recall": balls.recall(),
        "density": balls.density(),
        "coverage": balls.coverage(),
    }


def precision(
    X_real: ArrayLike,
    X_synthetic: ArrayLike,
    *,
    y_real: ArrayLike | None = None,
    features: Features = "rocket",
    n_neighbors: int = 5,
    random_state: int | np.random.RandomState | None = 0,
) -> float:
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
    balls = _Balls(X_real, X_synthetic, y_real, features, n_neighbors, random_state)
    return balls.precision()


def recall(
    X_real: ArrayLike,
    X_synthetic: ArrayLike,
    *,
    y_real: ArrayLike | None = None,
    features: Features = "rocket",
    n_neighbors: int = 5,
    random_state: int | np.random.RandomState | None = 0,
) -> float:
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
    balls = _Balls(X_real, X_synthetic, y_real, features, n_neighbors, random_state)
    return balls.recall()


def density(
    X_real: ArrayLike,
    X_synthetic: ArrayLike,
    *,
    y_real: ArrayLike | None = None,
    features: Features = "rocket",
    n_neighbors: int = 5,
    random_state: int | np.random.RandomState | None = 0,
) -> float:
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
    balls = _Balls(X_real, X_synthetic, y_real, features, n_neighbors, random_state)
    return balls.density()


def coverage(
    X_real: ArrayLike,
    X_synthetic: ArrayLike,
    *,
    y_real: ArrayLike | None = None,
    features: Features = "rocket",
    n_neighbors: int = 5,
    random_state: int | np.random.RandomState | None = 0,
) -> float:
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
    balls = _Balls(X_real, X_synthetic, y_real, features, n_neighbors, random_state)
    return balls.coverage()
