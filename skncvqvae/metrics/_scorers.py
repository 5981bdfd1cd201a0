"""Metrics as ``scoring=`` of a search, and scorers of generators."""

import inspect
import math
from collections.abc import Callable
from numbers import Integral
from typing import Any

import numpy as np
from numpy.typing import ArrayLike
from sklearn.base import BaseEstimator
from sklearn.utils.validation import _num_samples, check_scalar

from .._base import draw_seed
from ._coverage import coverage
from ._distribution import frechet_distance, kernel_inception_distance
from ._generators import Generator, GeneratorReader
from ._usefulness import tstr_score

# Takes a fitted estimator, or what wraps one, series, and labels or None.
Scorer = Callable[..., float]


class MetricScorer:
    """What scorers share that are made of a metric: its name, its sign, and that it is no NaN.

    Parameters
    ----------
    metric : callable
    greater_is_better : bool
    maker : str
        The function that makes the scorer, for its `repr`.
    """

    def __init__(self, metric: Callable[..., Any], greater_is_better: bool, maker: str) -> None:
        self.metric = metric
        self.sign = 1 if greater_is_better else -1
        self.maker = maker
        self.accepted = set(inspect.signature(metric).parameters)

    @property
    def name(self) -> str:
        """Of the metric."""
        return getattr(self.metric, "__name__", repr(self.metric))

    def signed(self, value: float, advice: str) -> float:
        """Return the metric's value, negated where lower is better.

        Raises
        ------
        ValueError
            On NaN, with `advice`.
        """
        if math.isnan(value):
            raise ValueError(f"{self.name} is NaN, which cannot be compared. {advice}")
        return self.sign * value

    def __repr__(self) -> str:
        return f"{self.maker}({self.name}, greater_is_better={self.sign > 0})"


def check_count(value: Any, name: str, least: int) -> None:
    """Refuse what is no integer of at least so much.

    Raises
    ------
    TypeError, ValueError
        Naming the parameter.
    """
    if isinstance(value, (bool, np.bool_)):
        raise TypeError(f"{name}={value} must be an integer.")
    check_scalar(value, name, Integral, min_val=least)


def make_generator_scorer(
    metric: Callable[..., Any],
    *,
    greater_is_better: bool = True,
    n_samples: int | None = None,
    random_state: int | np.random.RandomState | None = 0,
    **params: Any,
) -> Scorer:
    """Make a scorer of fitted generators from a metric.

    Series are read as the generator reads them, in its layout, with gaps and lengths mended. So
    the metric gets real and synthetic series alike, as ``(n, length)`` where there is one channel
    and as ``(n, n_channels, length)`` otherwise.

    Parameters
    ----------
    metric : callable
        A function of `skncvqvae.metrics`, or any other. It is called with those of the keywords
        `X_real`, `y_real`, `X_synthetic` and `y_synthetic` that are among its parameters.
    greater_is_better : bool, default=True
        False negates the metric, since a search maximises.
    n_samples : int or None, default=None
        How many synthetic series to draw; None is as many as there are real ones.
    random_state : int, RandomState instance or None, default=0
        Passed to the generator's `sample`, and to `metric` where it has such a parameter. With
        an int all candidates of a search meet the same chance.
    **params
        Passed to `metric`.

    Returns
    -------
    callable
        ``scorer(estimator, X, y=None)``; it pickles where `metric` does. `estimator` has
        ``sample(n_samples, random_state=None)`` that returns series and their labels, or is a
        pipeline or a fitted search around such a generator. Series go through the steps of the
        pipeline first.

    Raises
    ------
    ValueError
        When `metric` has no parameter `X_synthetic`. The scorer raises it where the metric is
        NaN.

    Examples
    --------
    >>> from skncvqvae.metrics import make_generator_scorer, recall
    >>> scorer = make_generator_scorer(recall, n_neighbors=3)
    >>> params = {"sampler__temperature": [0.8, 1.0]}
    >>> GridSearchCV(generator, params, scoring=scorer)  # doctest: +SKIP
    """
    return _GeneratorScorer(metric, greater_is_better, n_samples, random_state, params)


class _GeneratorScorer(MetricScorer):
    def __init__(
        self,
        metric: Callable[..., Any],
        greater_is_better: bool,
        n_samples: int | None,
        random_state: int | np.random.RandomState | None,
        params: dict[str, Any],
    ) -> None:
        super().__init__(metric, greater_is_better, "make_generator_scorer")
        self.n_samples = n_samples
        self.random_state = random_state
        self.params = params
        if n_samples is not None:
            check_count(n_samples, "n_samples", 1)
        if "X_synthetic" not in self.accepted:
            raise ValueError(
                f"metric={self.name} has no parameter X_synthetic. Its parameters for the data "
                "must be among X_real, y_real, X_synthetic and y_synthetic."
            )

    def __call__(
        self, estimator: Generator | BaseEstimator, X: ArrayLike, y: ArrayLike | None = None
    ) -> float:
        """Return the metric, negated where lower is better."""
        reader = GeneratorReader(estimator)
        seed = draw_seed(self.random_state)
        n_samples = self.n_samples or _num_samples(X)
        X_real = reader.read(X)
        X_synthetic, y_synthetic = reader.sample(n_samples, random_state=seed)
        arguments = {
            "X_real": X_real,
            "y_real": y,
            "X_synthetic": X_synthetic,
            "y_synthetic": y_synthetic,
            "random_state": seed,
        }
        arguments = {name: arguments[name] for name in arguments.keys() & self.accepted}
        params = dict(self.params)
        if "features" in params:
            params["features"] = reader.adapt(params["features"])
        value = self.metric(**(arguments | params))
        return self.signed(
            value, "Check the series of the fitted generator, or score by another metric."
        )


neg_frechet_distance_scorer: Scorer = make_generator_scorer(
    frechet_distance, greater_is_better=False
)
neg_kernel_inception_distance_scorer: Scorer = make_generator_scorer(
    kernel_inception_distance, greater_is_better=False
)
coverage_scorer: Scorer = make_generator_scorer(coverage)
tstr_scorer: Scorer = make_generator_scorer(tstr_score)
