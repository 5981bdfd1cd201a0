"""Estimators inside what wraps them, and series as a generator reads them."""

import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, Protocol

import numpy as np
from numpy.typing import ArrayLike, NDArray
from sklearn.base import BaseEstimator
from sklearn.frozen import FrozenEstimator
from sklearn.pipeline import Pipeline

from ._features import Features
from ._validation import channels_first


class Generator(Protocol):
    """What the metrics ask of a generator; its method `read` is used where it has one."""

    def sample(
        self, n_samples: int = 1, y: Any = None, *, random_state: int | None = None
    ) -> tuple[Any, Any]:
        """Return synthetic series, and their labels or None."""
        ...


class GeneratorReader:
    """A fitted generator, found inside what wraps it, and its reading of series.

    The user's series go through the steps of a pipeline before the generator, and then through
    the generator's own `read` where it has one. So they are compared with synthetic ones in the
    form in which the generator learnt them.

    Parameters
    ----------
    estimator : generator, Pipeline, fitted search or FrozenEstimator
        A generator has a method `sample`.

    Raises
    ------
    TypeError
        On an estimator that neither is a generator nor wraps one.
    """

    def __init__(self, estimator: Generator | BaseEstimator) -> None:
        found = find_inside(estimator, "sample")
        if found is None:
            raise TypeError(
                f"{type(estimator).__name__} has no method sample. Pass a fitted generator, or a "
                "pipeline or fitted search around one."
            )
        self._steps, inner = found
        self._generator = inner
        self._reads = hasattr(inner, "read")

    def read(self, X: ArrayLike) -> Any:
        """Return the user's series as the generator reads them.

        Parameters
        ----------
        X : array-like
            Series as in the generator's `fit`.

        Returns
        -------
        ndarray of shape (n, length) or (n, n_channels, length)
            2-D where there is one channel. With a generator without `read`, what the steps before
            it return.
        """
        for step in self._steps:
            X = step.transform(X)
        return self._read(X) if self._reads else X

    def sample(self, n_samples: int, *, random_state: int, **given: Any) -> tuple[Any, Any]:
        """Return synthetic series in the form that `read` returns, and their labels or None."""
        X, y = self._generator.sample(n_samples, random_state=random_state, **given)
        if self._reads:
            with without_column_names():
                X = self._read(X)
        return X, y

    def adapt(self, features: Features) -> Features:
        """Return an extractor for series in the form that `read` returns.

        A fitted transformer of this package has a layout of its own, which it gets.
        """
        if not (self._reads and hasattr(features, "read") and hasattr(features, "write")):
            return features
        transformer: Any = features

        def extract(X: NDArray[np.floating]) -> Any:
            with without_column_names():
                return transformer.transform(transformer.write(channels_first(X)))

        return extract

    def _read(self, X: ArrayLike) -> NDArray[np.floating]:
        series = self._generator.read(X)
        return series[:, 0] if series.shape[1] == 1 else series


def find_inside(estimator: Any, *methods: str) -> tuple[list[Any], Any] | None:
    """Return the first estimator with these methods, and the steps of pipelines before it.

    Parameters
    ----------
    estimator : estimator, Pipeline, fitted search or FrozenEstimator
    *methods : str

    Returns
    -------
    (list of estimator, estimator) or None
        None where there is no such estimator.
    """
    if all(hasattr(estimator, method) for method in methods):
        return [], estimator
    if hasattr(estimator, "best_estimator_"):
        return find_inside(estimator.best_estimator_, *methods)
    if isinstance(estimator, FrozenEstimator):
        return find_inside(estimator.estimator, *methods)
    if not isinstance(estimator, Pipeline):
        return None
    before: list[Any] = []
    for _, step in estimator.steps:
        found = find_inside(step, *methods)
        if found is not None:
            return before + found[0], found[1]
        # Steps that only resample, as imbalanced-learn has them, leave new data alone.
        before += [step] if hasattr(step, "transform") else []
    return None


@contextmanager
def without_column_names() -> Iterator[None]:
    """Let arrays pass without a warning where an estimator was fitted on a data frame."""
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", message="X does not have valid feature names")
        yield
