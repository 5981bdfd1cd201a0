"""`evaluate`: every metric of a fitted generator, beside what real series get."""

import math
from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property
from typing import Any, Literal, NamedTuple

import numpy as np
from numpy.typing import ArrayLike, NDArray
from sklearn.base import BaseEstimator
from sklearn.frozen import FrozenEstimator

from .._base import draw_seed
from ._coverage import check_n_neighbors, prdc
from ._distribution import (
    frechet_distance,
    inception_score,
    kernel_inception_distance,
    maximum_mean_discrepancy,
)
from ._features import FCNClassifier, Features, check_features, extract_features
from ._generators import Generator, GeneratorReader
from ._memorisation import authenticity, membership_auc, nearest_neighbor_distance_ratio
from ._series import autocorrelation_difference, marginal_difference, power_spectrum_difference
from ._usefulness import (
    augmentation_gain,
    classifier_two_sample_score,
    fit_clone,
    trts_score,
    tstr_score,
)
from ._validation import check_labels, check_series

# Series that TSTR trains on at least, as in the evaluation of arXiv:2408.16613.
_MIN_TSTR = 1000


class _Set(NamedTuple):
    X: NDArray[np.floating]
    y: Any
    features: NDArray[np.float64]


@dataclass(frozen=True)
class _Column:
    """A set of series to judge, and all that the metrics compare it with.

    Parameters
    ----------
    judged : _Set
        Synthetic series, or real ones in their place.
    train, test : _Set
    classifier : classifier or None
    n_neighbors, seed : int
    fcn, trained : FrozenEstimator or None
        With labels, a `FCNClassifier` and a clone of `classifier`, trained on `train`.
    more : tuple of (X, y) or None
        With labels, synthetic series with those of `train` repeated; None for the column of real
        series.
    """

    judged: _Set
    train: _Set
    test: _Set
    classifier: BaseEstimator | None
    n_neighbors: int
    seed: int
    fcn: FrozenEstimator | None = None
    trained: FrozenEstimator | None = None
    more: tuple[NDArray[np.floating], Any] | None = None

    @property
    def series(self) -> tuple[NDArray[np.floating], NDArray[np.floating]]:
        return self.train.X, self.judged.X

    @property
    def features(self) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
        return self.train.features, self.judged.features

    @cached_property
    def prdc(self) -> dict[str, float]:
        return prdc(*self.features, features=None, n_neighbors=self.n_neighbors)


def _two_sample(c: _Column) -> float:
    return classifier_two_sample_score(*c.series, classifier=c.classifier, random_state=c.seed)


def _inception(c: _Column) -> float:
    return inception_score(c.train.X, c.train.y, c.judged.X, classifier=c.fcn)


def _distance_ratio(c: _Column) -> float:
    return nearest_neighbor_distance_ratio(*c.features, c.test.features, features=None)


def _membership(c: _Column) -> float:
    attacking, others = c.judged.features, c.test.features
    if c.judged is c.test:
        # A series would find itself, so one half stands in for the synthetic series.
        shuffled = np.random.RandomState(c.seed).permutation(others)
        attacking, others = shuffled[::2], shuffled[1::2]
    if len(others) < 2:
        return 0.5
    return membership_auc(c.train.features, attacking, others, features=None)


def _tstr(c: _Column) -> float:
    X, y, classifier = c.train.X, c.train.y, c.trained
    if c.more is not None:
        (X, y), classifier = c.more, c.classifier
    return tstr_score(c.test.X, c.test.y, X, y, classifier=classifier, random_state=c.seed)


def _trts(c: _Column) -> float:
    return trts_score(c.train.X, c.train.y, c.judged.X, c.judged.y, classifier=c.trained)


def _gain(c: _Column) -> float:
    if c.more is None:
        return 0.0
    X_new, y_new = (new[: len(c.train.X)] for new in c.more)
    real, test = (c.train.X, c.train.y), (c.test.X, c.test.y)
    params: dict[str, Any] = {"classifier": c.classifier, "random_state": c.seed}
    return augmentation_gain(*real, X_new, y_new, *test, **params)


class _Metric(NamedTuple):
    name: str
    aspect: Literal["fidelity", "diversity", "memorisation", "time", "usefulness"]
    better: Literal["lower", "higher", "held_out"]
    function: Callable[[_Column], float]
    needs_labels: bool = False


_METRICS = (
    _Metric(
        "frechet_distance",
        "fidelity",
        "lower",
        lambda c: frechet_distance(*c.features, features=None),
    ),
    _Metric(
        "kernel_inception_distance",
        "fidelity",
        "lower",
        lambda c: kernel_inception_distance(*c.features, features=None),
    ),
    _Metric(
        "maximum_mean_discrepancy",
        "fidelity",
        "lower",
        lambda c: maximum_mean_discrepancy(*c.features, features=None),
    ),
    _Metric("classifier_two_sample_score", "fidelity", "lower", _two_sample),
    _Metric("inception_score", "fidelity", "higher", _inception, needs_labels=True),
    _Metric("precision", "fidelity", "higher", lambda c: c.prdc["precision"]),
    _Metric("density", "fidelity", "higher", lambda c: c.prdc["density"]),
    _Metric("recall", "diversity", "higher", lambda c: c.prdc["recall"]),
    _Metric("coverage", "diversity", "higher", lambda c: c.prdc["coverage"]),
    _Metric(
        "authenticity",
        "memorisation",
        "higher",
        lambda c: authenticity(*c.features, features=None),
    ),
    _Metric("nearest_neighbor_distance_ratio", "memorisation", "held_out", _distance_ratio),
    _Metric("membership_auc", "memorisation", "held_out", _membership),
    _Metric("marginal_difference", "time", "lower", lambda c: marginal_difference(*c.series)),
    _Metric(
        "autocorrelation_difference",
        "time",
        "lower",
        lambda c: autocorrelation_difference(*c.series),
    ),
    _Metric(
        "power_spectrum_difference",
        "time",
        "lower",
        lambda c: power_spectrum_difference(*c.series),
    ),
    _Metric("tstr_score", "usefulness", "higher", _tstr, needs_labels=True),
    _Metric("trts_score", "usefulness", "higher", _trts, needs_labels=True),
    _Metric("augmentation_gain", "usefulness", "higher", _gain, needs_labels=True),
)


def evaluate(
    generator: Generator | BaseEstimator,
    X_train: ArrayLike,
    y_train: ArrayLike | None,
    X_test: ArrayLike,
    y_test: ArrayLike | None,
    *,
    features: Features = "rocket",
    classifier: BaseEstimator | None = None,
    n_neighbors: int = 5,
    random_state: int | np.random.RandomState | None = 0,
) -> Any:
    """Judge a fitted generator by all metrics, each beside the value of real held-out series.

    As many series as `X_test` holds are drawn and compared with `X_train`; `X_test` compared
    with `X_train` in the same way is the yardstick. A distance far below the yardstick is no
    success but a sign that the training set is copied: see the rows on memorisation. For the
    Fréchet distance to the test set, as papers report it, call
    ``frechet_distance(X_test, X_synthetic)``.

    Parameters
    ----------
    generator : fitted generator
        Has ``sample(n_samples, y=None, random_state=None)`` that returns series and their
        labels, as `skncvqvae.NCVQVAEGenerator` has; or is a pipeline or a fitted search around
        one. Where it has a method `read` too, all series are read as it reads them.
    X_train : array-like of shape (n_train, length) or (n_train, n_channels, length)
        The series the generator was fitted on, in any form that it takes.
    y_train : array-like of shape (n_train,) or None
        Their classes. None, or a generator without classes, leaves out the metrics that need
        them.
    X_test : array-like of shape (n_test, length) or (n_test, n_channels, length)
        Real series that were held out, in the same form.
    y_test : array-like of shape (n_test,) or None
        Their classes.
    features : {"rocket", "fcn"}, transformer, callable or None, default="rocket"
        As in `frechet_distance`; fitted once, on `X_train`. Those passed in get series as
        ``(n, length)`` where there is one channel and as ``(n, n_channels, length)`` otherwise.
    classifier : classifier or None, default=None
        As in `tstr_score`; it gets series in the same form.
    n_neighbors : int, default=5
        As in `prdc`.
    random_state : int, RandomState instance or None, default=0
        Seeds sampling, feature extractors and classifiers.

    Returns
    -------
    pandas.DataFrame or dict of dict
        A row for each metric; a dict of rows where pandas is not installed. Columns:

        - ``aspect``: ``"fidelity"``, ``"diversity"``, ``"memorisation"``, ``"usefulness"`` or
          ``"time"`` (level, auto-correlation and spectrum);
        - ``synthetic``: the value of the synthetic series;
        - ``held_out``: that of `X_test` in their place. For ``tstr_score`` it is the score of
          training on `X_train`, for ``membership_auc`` that of an attack on one half of `X_test`
          by the other, and for ``augmentation_gain`` 0;
        - ``better``: ``"higher"``, ``"lower"``, or ``"held_out"`` where the nearer to that
          value the better.

    Raises
    ------
    ValueError
        On invalid or mismatched data, one of `y_train` and `y_test` without the other, or a
        metric that is not defined for these series.
    TypeError
        On an estimator that neither is a generator nor wraps one.
    ImportError
        When features or a classifier by aeon are asked for without it.

    Notes
    -----
    For TSTR at least 1,000 series are drawn, with the classes in the proportions of `y_train`;
    for the gain, one for each training series. The inception score is of a `FCNClassifier`
    trained on `X_train`, which takes most of the time.

    Examples
    --------
    >>> from skncvqvae import NCVQVAEGenerator
    >>> from skncvqvae.metrics import evaluate
    >>> generator = NCVQVAEGenerator(random_state=0).fit(X_train, y_train)  # doctest: +SKIP
    >>> evaluate(generator, X_train, y_train, X_test, y_test)  # doctest: +SKIP
    """
    if (y_train is None) != (y_test is None):
        raise ValueError(
            "One of y_train and y_test is None. Pass the labels of both, or None for both."
        )
    check_features(features, y_train)
    reader = GeneratorReader(generator)
    train, test = check_series(X_train=reader.read(X_train), X_test=reader.read(X_test))
    check_n_neighbors(n_neighbors, train, test)
    seed = draw_seed(random_state)
    X_synthetic, y_synthetic = reader.sample(len(test), random_state=seed)
    train, test, synthetic = check_series(X_train=train, X_test=test, X_synthetic=X_synthetic)

    labelled: dict[str, Any] = {}
    more = None
    if y_train is not None and y_synthetic is not None:
        y_train = check_labels(train, y_train, "y_train")
        y_test = check_labels(test, y_test, "y_test", n_classes=1)
        many = np.tile(y_train, math.ceil(_MIN_TSTR / len(y_train)))
        more = reader.sample(len(many), y=many, random_state=seed)
        # Both fitted once, for all that train on X_train; first what may be refused.
        trained = fit_clone(classifier, train, y_train, seed)
        fcn = FCNClassifier(random_state=seed).fit(train, y_train)
        labelled = {"fcn": FrozenEstimator(fcn), "trained": FrozenEstimator(trained)}
        if features == "fcn":
            features = fcn
    of_train, of_synthetic, of_test = extract_features(
        reader.adapt(features), train, synthetic, test, y_real=y_train, random_state=seed
    )
    real = {"train": _Set(train, y_train, of_train), "test": _Set(test, y_test, of_test)}
    params = {"classifier": classifier, "n_neighbors": n_neighbors, "seed": seed}
    columns = {
        "synthetic": _Column(
            _Set(synthetic, y_synthetic, of_synthetic), **real, **params, **labelled, more=more
        ),
        "held_out": _Column(real["test"], **real, **params, **labelled),
    }
    table = {
        metric.name: {
            "aspect": metric.aspect,
            **{name: metric.function(column) for name, column in columns.items()},
            "better": metric.better,
        }
        for metric in _METRICS
        if labelled or not metric.needs_labels
    }
    try:
        import pandas as pd
    except ImportError:
        return table
    return pd.DataFrame.from_dict(table, orient="index")
