"""How much a representation tells apart, without labels: from the series and views of them."""

from collections.abc import Callable
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy.sparse import issparse
from scipy.spatial.distance import pdist
from sklearn.base import BaseEstimator
from sklearn.utils.validation import check_scalar

from .._base import draw_seed, read_random_state
from .._containers import read_array
from ..augmentations import AugmentationSpec, augment, make_augmentation
from ._generators import find_inside, without_column_names
from ._scorers import MetricScorer, Scorer, check_count
from ._validation import check_magnitude, finite


@finite
def rank_me(Z: ArrayLike) -> float:
    """RankMe: how many directions a representation uses, from 1 to `n_features`.

    The exponential of the entropy of the singular values, each divided by their sum. Source:
    Garrido et al., arXiv:2210.02885, eq. 3; ours centres the features first, since what all
    series have in common tells nothing.

    Parameters
    ----------
    Z : array-like of shape (n_series, n_features)
        What a transformer makes of series.

    Returns
    -------
    float
        More is better, as far as it can be told without labels.

    Raises
    ------
    ValueError
        Where all series have the same features.

    Examples
    --------
    >>> import numpy as np
    >>> from skncvqvae.metrics import rank_me
    >>> round(rank_me(np.random.RandomState(0).normal(size=(1000, 8))), 1)
    8.0
    """
    Z = _check_features(Z)
    values = np.linalg.svd(Z - Z.mean(0), compute_uv=False)
    if not values.any():
        raise ValueError("Z holds the same features for all series: there is no rank.")
    return _effective_rank(values)


@finite
def lidar(views: ArrayLike, delta: float = 1e-4) -> float:
    """LiDAR: how many directions tell series apart more than their views differ.

    The effective rank of the linear-discriminant matrix whose classes are the series, and whose
    members are their views. Source: Thilak et al., arXiv:2312.04000, eq. 3 and 4.

    Parameters
    ----------
    views : array-like of shape (n_series, n_views, n_features)
        What a transformer makes of augmented views, two or more of each series.
    delta : float, default=1e-4
        Added to the variances within series, in units of the mean variance of a feature.

    Returns
    -------
    float
        More is better, as far as it can be told without labels.

    Raises
    ------
    ValueError
        Where all series have the same features.

    Examples
    --------
    >>> import numpy as np
    >>> from skncvqvae.metrics import lidar
    >>> rng = np.random.RandomState(0)
    >>> series = rng.normal(size=(1000, 1, 8))
    >>> round(lidar(series + 0.1 * rng.normal(size=(1000, 4, 8))), 1)
    8.0
    """
    views = _check_views(views)
    delta = check_scalar(delta, "delta", (int, float), min_val=0, include_boundaries="neither")
    centres = views.mean(1)
    between = np.atleast_2d(np.cov(centres, rowvar=False, bias=True))
    inside = (views - centres[:, None]).reshape(-1, views.shape[2])
    within = inside.T @ inside / (len(views) * (views.shape[1] - 1))
    # Relative to the scale of features, which differs between representations.
    scale = np.trace(between + within) / len(within)
    if scale == 0:
        raise ValueError("views holds the same features for all series: there is no rank.")
    values, vectors = np.linalg.eigh(within + delta * scale * np.eye(len(within)))
    whiten = vectors / np.sqrt(values) @ vectors.T
    return _effective_rank(np.linalg.eigvalsh(whiten @ between @ whiten).clip(min=0))


@finite
def alignment(views: ArrayLike) -> float:
    """Mean squared distance of two views of a series, from 0 to 4; less is better.

    Source: Wang and Isola, arXiv:2005.10242, section 4, with exponent 2. Ours centres the
    features first, and then scales them to length 1 as they do.

    Parameters
    ----------
    views : array-like of shape (n_series, n_views, n_features)
        What a transformer makes of augmented views; the first two of each series count.

    Returns
    -------
    float

    Examples
    --------
    >>> from skncvqvae.metrics import alignment
    >>> alignment([[[1.0, 0.0], [1.0, 0.0]], [[-1.0, 0.0], [-1.0, 0.0]]])
    0.0
    """
    first, second = _on_the_sphere(views)
    return float(((first - second) ** 2).sum(1).mean())


@finite
def uniformity(views: ArrayLike) -> float:
    """Log of the mean Gaussian potential of two series, from -8 to 0; less is better.

    It is low where series lie far from each other in all directions. Source: Wang and Isola,
    arXiv:2005.10242, eq. 4, with ``t=2``; the mean over the first two views, centred as in
    `alignment`.

    Parameters
    ----------
    views : array-like of shape (n_series, n_views, n_features)
        What a transformer makes of augmented views.

    Returns
    -------
    float

    Examples
    --------
    >>> from skncvqvae.metrics import uniformity
    >>> uniformity([[[1.0, 0.0], [1.0, 0.0]], [[-1.0, 0.0], [-1.0, 0.0]]])
    -8.0
    """
    sides = _on_the_sphere(views)
    return float(np.mean([np.log(np.exp(-2 * pdist(side) ** 2).mean()) for side in sides]))


def alignment_uniformity(views: ArrayLike) -> float:
    """Return ``-alignment(views) - uniformity(views)``: more is better.

    Both losses with a weight of 1. Source: Wang and Isola, arXiv:2005.10242, section 4.

    Parameters
    ----------
    views : array-like of shape (n_series, n_views, n_features)
        What a transformer makes of augmented views.

    Returns
    -------
    float

    Examples
    --------
    >>> from skncvqvae.metrics import alignment_uniformity
    >>> alignment_uniformity([[[1.0, 0.0], [1.0, 0.0]], [[-1.0, 0.0], [-1.0, 0.0]]])
    8.0
    """
    return -alignment(views) - uniformity(views)


def make_representation_scorer(
    metric: Callable[..., float],
    *,
    greater_is_better: bool = True,
    augmentations: AugmentationSpec | None = "slice",
    n_views: int = 2,
    max_series: int = 500,
    random_state: int | np.random.RandomState | None = 0,
    **params: Any,
) -> Scorer:
    """Make a scorer of fitted transformers from a metric, for a search that needs no labels.

    It judges what `transform` returns of series and of augmented views of them, so set
    `representation` to what you want to be good. With ``"embedding"`` it judges what the
    self-supervised loss shapes; `representation` can still be changed after the search.

    Parameters
    ----------
    metric : callable
        `rank_me`, `lidar`, `alignment_uniformity` or any other. It is called with those of the
        keywords `Z`, the features ``(n_series, n_features)``, and `views`, ``(n_series, n_views,
        n_features)``, that are among its parameters.
    greater_is_better : bool, default=True
        False negates the metric, since a search maximises.
    augmentations : str, callable, list or None, default="slice"
        What makes the views, in units of each channel's standard deviation. All candidates of a
        search are judged by the same views, also in a search over the `augmentations` of the
        transformer.
    n_views : int, default=2
        Views of each series.
    max_series : int, default=500
        Series that are looked at, drawn at random where there are more.
    random_state : int, RandomState instance or None, default=0
        Draws series and views. With an int all candidates of a search meet the same chance.
    **params
        Passed to `metric`.

    Returns
    -------
    callable
        ``scorer(estimator, X, y=None)``; it pickles where `metric` and `augmentations` do.
        `estimator` has ``transform(X)``, or is a fitted search or a pipeline around such a
        transformer. Steps of a pipeline after the first that reads series are left out, so that
        the transformer is judged and not what follows it.

    Raises
    ------
    ValueError
        When `metric` has neither parameter. The scorer raises it where the metric is NaN.

    Examples
    --------
    >>> from skncvqvae.metrics import alignment_uniformity_scorer
    >>> search = GridSearchCV(  # doctest: +SKIP
    ...     NCVQVAETransformer(representation="embedding"),
    ...     {"ssl_weight": [0, 1, "auto", 30]},
    ...     scoring=alignment_uniformity_scorer,
    ... )
    """
    return _RepresentationScorer(
        metric, greater_is_better, augmentations, n_views, max_series, random_state, params
    )


class _RepresentationScorer(MetricScorer):
    def __init__(
        self,
        metric: Callable[..., float],
        greater_is_better: bool,
        augmentations: AugmentationSpec | None,
        n_views: int,
        max_series: int,
        random_state: int | np.random.RandomState | None,
        params: dict[str, Any],
    ) -> None:
        super().__init__(metric, greater_is_better, "make_representation_scorer")
        self.augmentations = augmentations
        check_count(n_views, "n_views", 2)
        check_count(max_series, "max_series", 2)
        self.n_views, self.max_series = n_views, max_series
        self.random_state = random_state
        self.params = params
        if not {"Z", "views"} & self.accepted:
            raise ValueError(
                f"metric={self.name} has neither a parameter Z nor one called views. Let it take "
                "features as Z, or those of views of each series as views."
            )
        make_augmentation([] if augmentations is None else augmentations)

    def __call__(self, estimator: BaseEstimator, X: ArrayLike, y: Any = None) -> float:
        """Return the metric, negated where lower is better; `y` plays no part."""
        features_of, series = _reader_of(estimator, X)
        rng = read_random_state(draw_seed(self.random_state))
        if len(series) > self.max_series:
            series = series[rng.permutation(len(series))[: self.max_series]]
        arguments: dict[str, Any] = {}
        if "Z" in self.accepted:
            arguments["Z"] = features_of(series)
        if "views" in self.accepted:
            seen = [self._view_of(series, rng) for _ in range(self.n_views)]
            arguments["views"] = np.stack([features_of(x) for x in seen], axis=1)
        value = float(self.metric(**arguments, **self.params))
        return self.signed(value, "Check the fitted transformer, or score by another metric.")

    def _view_of(
        self, series: NDArray[np.floating], rng: np.random.RandomState
    ) -> NDArray[np.floating]:
        if self.augmentations is None:
            return series
        axes = (0, series.ndim - 1)
        mean = series.mean(axes, keepdims=True)
        scale = series.std(axes, keepdims=True)
        scale[scale == 0] = 1
        return augment((series - mean) / scale, self.augmentations, rng) * scale + mean


alignment_uniformity_scorer: Scorer = make_representation_scorer(alignment_uniformity)


def _reader_of(
    estimator: Any, X: ArrayLike
) -> tuple[Callable[[NDArray[np.floating]], NDArray[np.float64]], NDArray[np.floating]]:
    """Return a function of series that computes features, and the user's series as it takes them.

    Series are ``(n, n_channels, length)`` with a transformer that can `read` and `write`, and what
    the user has passed with another.
    """
    found = find_inside(estimator, "transform", "read", "write")
    if found is None and not hasattr(estimator, "transform"):
        raise TypeError(
            f"{type(estimator).__name__} has no method transform. Pass a fitted transformer, or a "
            "pipeline or fitted search around one."
        )
    if found is None:
        transformer, write = estimator, None
        series = read_array(X)
    else:
        steps, transformer = found
        for step in steps:
            X = step.transform(X)
        series, write = transformer.read(X), transformer.write

    def features_of(series: NDArray[np.floating]) -> NDArray[np.float64]:
        with without_column_names():
            Z = transformer.transform(series if write is None else write(series))
        Z = Z.toarray() if issparse(Z) else np.asarray(Z)
        return Z.reshape(len(series), -1).astype(np.float64)

    return features_of, series


def _check_features(Z: ArrayLike) -> NDArray[np.float64]:
    array = read_array(Z, "Z", min_series=2)
    if array.ndim != 2 or array.shape[1] < 1:
        raise ValueError(f"Z has shape {array.shape}. Pass (n_series, n_features).")
    check_magnitude(array, "Z")
    return array.astype(np.float64)


def _check_views(views: ArrayLike) -> NDArray[np.float64]:
    """Return views as float64, centred by the mean of all.

    Raises
    ------
    ValueError
        On anything but two or more finite views of two or more series.
    """
    array = read_array(views, "views", min_series=2)
    if array.ndim != 3 or array.shape[1] < 2 or array.shape[2] < 1:
        raise ValueError(
            f"views has shape {array.shape}. Pass (n_series, n_views, n_features), with two views "
            "or more."
        )
    check_magnitude(array, "views")
    array = array.astype(np.float64)
    return array - array.mean((0, 1))


def _on_the_sphere(views: ArrayLike) -> list[NDArray[np.float64]]:
    """Return the first two views of each series, centred and scaled to length 1."""
    sides = _check_views(views)[:, :2].swapaxes(0, 1)
    lengths = np.linalg.norm(sides, axis=2, keepdims=True)
    # What is at the centre stays there.
    return list(sides / np.where(lengths > 0, lengths, 1.0))


def _effective_rank(spectrum: NDArray[np.floating]) -> float:
    """Return the exponential of the entropy of a spectrum (Roy and Vetterli, 2007)."""
    p = spectrum / spectrum.sum()
    p = p[p > 0]
    return float(np.exp(-(p * np.log(p)).sum()))
