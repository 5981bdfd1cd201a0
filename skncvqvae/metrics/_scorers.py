"""Metrics as ``scoring=`` of a search over a generator's parameters."""

import inspect

import numpy as np
from sklearn.utils import check_random_state

from ._coverage import coverage
from ._distribution import frechet_distance, kernel_inception_distance
from ._usefulness import tstr_score


def make_generator_scorer(
    metric, *, greater_is_better=True, n_samples=None, random_state=0, **params
):
    """Make a scorer of fitted generators from a metric.

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
        ``sample(n_samples, random_state=None)`` that returns series and their labels.

    Raises
    ------
    ValueError
        When `metric` has no parameter `X_synthetic`.

    Examples
    --------
    >>> from skncvqvae.metrics import make_generator_scorer, recall
    >>> scorer = make_generator_scorer(recall, n_neighbors=3)
    >>> GridSearchCV(generator, {"temperature": [0.8, 1.0]}, scoring=scorer)  # doctest: +SKIP
    """
    return _GeneratorScorer(metric, greater_is_better, n_samples, random_state, params)


class _GeneratorScorer:
    def __init__(self, metric, greater_is_better, n_samples, random_state, params):
        self.metric = metric
        self.sign = 1 if greater_is_better else -1
        self.n_samples = n_samples
        self.random_state = random_state
        self.params = params
        self.accepted = set(inspect.signature(metric).parameters)
        if "X_synthetic" not in self.accepted:
            raise ValueError(
                f"metric={self._name} has no parameter X_synthetic. Its parameters for the data "
                "must be among X_real, y_real, X_synthetic and y_synthetic."
            )

    @property
    def _name(self):
        return getattr(self.metric, "__name__", repr(self.metric))

    def __call__(self, estimator, X, y=None):
        seed = check_random_state(self.random_state).randint(np.iinfo(np.int32).max)
        X_synthetic, y_synthetic = estimator.sample(self.n_samples or len(X), random_state=seed)
        arguments = {
            "X_real": X,
            "y_real": y,
            "X_synthetic": X_synthetic,
            "y_synthetic": y_synthetic,
            "random_state": seed,
        }
        arguments = {name: arguments[name] for name in arguments.keys() & self.accepted}
        return self.sign * self.metric(**(arguments | self.params))

    def __repr__(self):
        return f"make_generator_scorer({self._name}, greater_is_better={self.sign > 0})"


neg_frechet_distance_scorer = make_generator_scorer(frechet_distance, greater_is_better=False)
neg_kernel_inception_distance_scorer = make_generator_scorer(
    kernel_inception_distance, greater_is_better=False
)
coverage_scorer = make_generator_scorer(coverage)
tstr_scorer = make_generator_scorer(tstr_score)
