"""`SemiSupervisedClassifier`: a representation of all series, a classifier of the labelled."""

import warnings
from collections.abc import Callable
from typing import Any, ClassVar, Self

import numpy as np
from numpy.typing import ArrayLike, NDArray
from sklearn.base import (
    BaseEstimator,
    ClassifierMixin,
    MetaEstimatorMixin,
    _fit_context,
    is_regressor,
)
from sklearn.linear_model import LogisticRegression
from sklearn.utils import Tags, _safe_indexing, get_tags, indexable
from sklearn.utils._param_validation import HasMethods, InvalidParameterError
from sklearn.utils._set_output import _safe_set_output
from sklearn.utils.metaestimators import available_if
from sklearn.utils.validation import (
    _check_feature_names,
    _check_n_features,
    _check_sample_weight,
    check_is_fitted,
    has_fit_parameter,
)

from ._base import ModelMixin, clone_estimator, named_as, set_nested_params
from ._containers import refuse_no_series
from ._labels import first_of_each, read_weights, split_labelled
from ._transformer import NCVQVAETransformer


def _estimator_has(name: str) -> Callable[[Any], bool]:
    def check(self: Any) -> bool:
        estimator = getattr(self, "estimator_", self.estimator)
        return hasattr(_default_estimator() if estimator is None else estimator, name)

    return check


def _default_estimator() -> LogisticRegression:
    return LogisticRegression(max_iter=1000)


def _try_parameters(estimator: Any, labels: NDArray, fit_params: dict[str, Any]) -> None:
    """Fit a copy of a classifier on a few random features, to see which parameters it refuses."""
    few = first_of_each(labels)
    features = np.random.RandomState(0).standard_normal((len(few), 2))
    params = {name: value[few] for name, value in fit_params.items()}
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        try:
            clone_estimator(estimator).fit(features, labels[few], **params)
        except (InvalidParameterError, TypeError):
            raise
        except Exception:
            # Perhaps there were too few for it, and random features are not what it will get.
            return


def _read_weights(sample_weight: Any, is_labelled: NDArray[np.bool_]) -> NDArray[np.floating]:
    """Return the weights of labelled series; those of others are not looked at.

    Raises
    ------
    ValueError
        On what are no weights, or not one for each series.
    """
    weight = read_weights(sample_weight, len(is_labelled))[is_labelled]
    if not weight.any():
        raise ValueError("sample_weight needs a non-zero weight for a series that has a label.")
    return _check_sample_weight(weight, is_labelled[is_labelled])


class SemiSupervisedClassifier(ModelMixin, MetaEstimatorMixin, ClassifierMixin, BaseEstimator):
    """A classifier of few labelled series, on a representation learnt from all of them.

    The transformer is fitted on all series. The classifier is fitted on the representation of
    those that have a label; the others are marked by -1, as in `sklearn.semi_supervised`.
    `score` takes -1 for a class that is never predicted, so score on series that have a label.

    Parameters
    ----------
    transformer : transformer or None, default=None
        Cloned and fitted on all series. None is ``NCVQVAETransformer()``. A transformer that was
        fitted elsewhere is used as it is inside a `sklearn.frozen.FrozenEstimator`.
    estimator : classifier or None, default=None
        Cloned and fitted on the labelled series. None is ``LogisticRegression(max_iter=1000)``.

    Attributes
    ----------
    transformer_ : transformer
        The fitted transformer.
    estimator_ : classifier
        The fitted classifier.
    classes_ : ndarray of shape (n_classes,)
        Class labels, without -1.
    n_labelled_ : int
        Number of series that have a label.
    n_features_in_ : int
        Second dimension of the training data.

    See Also
    --------
    sklearn.semi_supervised.SelfTrainingClassifier : Labels series by a classifier's predictions.
        It may be `estimator` behind a transformer in a pipeline.

    Examples
    --------
    >>> import numpy as np
    >>> from skncvqvae import NCVQVAETransformer, SemiSupervisedClassifier
    >>> rng = np.random.default_rng(0)
    >>> y = np.repeat([0, 1], 20)
    >>> X = np.sin(np.linspace(0, 9, 32) * (1 + y[:, None])) + rng.normal(0, 0.1, (40, 32))
    >>> few = np.where(np.arange(40) % 10 == 0, y, -1)
    >>> model = SemiSupervisedClassifier(NCVQVAETransformer(max_epochs=2, random_state=0))
    >>> model.fit(X, few).score(X, y)
    1.0
    """

    _parameter_constraints: ClassVar[dict[str, list[Any]]] = {
        "transformer": [HasMethods(["fit", "transform"]), None],
        "estimator": [HasMethods(["fit", "predict"]), None],
    }

    def __init__(self, transformer: Any = None, estimator: Any = None) -> None:
        self.transformer = transformer
        self.estimator = estimator

    def set_params(self, **params: Any) -> Self:
        """Set parameters; those of a part, as ``transformer__lr``, also while the part is None.

        Parameters
        ----------
        **params
            Parameters and their values.

        Returns
        -------
        self
        """
        defaults = {"transformer": NCVQVAETransformer, "estimator": _default_estimator}
        set_nested_params(self, params, defaults)
        return self

    @_fit_context(prefer_skip_nested_validation=False)
    def fit(
        self, X: ArrayLike, y: ArrayLike, sample_weight: ArrayLike | float | None = None
    ) -> Self:
        """Fit the transformer on all series, and the classifier on the labelled ones.

        Parameters
        ----------
        X : array-like
            Series, in a layout that the transformer takes.
        y : array-like of shape (n_series,)
            Class labels; -1 for a series without one. Labels that are text must come as an array
            of dtype object.
        sample_weight : array-like of shape (n_series,), float or None, default=None
            Weights for the classifier; those of series without a label are not read.

        Returns
        -------
        self

        Raises
        ------
        ValueError
            Where labels are missing, fewer than two classes have one, or `estimator` takes no
            weights, refuses its parameters or is a regressor; before any training.
        """
        refuse_no_series(X)
        is_labelled, labels = split_labelled(y)
        X, _ = indexable(X, is_labelled)  # type: ignore[assignment]
        estimator: Any = (
            _default_estimator() if self.estimator is None else clone_estimator(self.estimator)
        )
        if is_regressor(estimator):
            raise ValueError(f"estimator={estimator!r} is a regressor. Pass a classifier.")
        fit_params = {}
        if sample_weight is not None:
            if not has_fit_parameter(estimator, "sample_weight"):
                raise ValueError(
                    f"sample_weight was given, but {type(estimator).__name__} does not take it."
                )
            fit_params["sample_weight"] = _read_weights(sample_weight, is_labelled)
        _try_parameters(estimator, labels, fit_params)
        transformer = (
            NCVQVAETransformer() if self.transformer is None else clone_estimator(self.transformer)
        )
        with named_as(self, transformer):
            # Not `fit` and `transform`, which would read and encode the series twice.
            features = (
                transformer.fit_transform(X)
                if hasattr(transformer, "fit_transform")
                else transformer.fit(X, None).transform(X)
            )
        labelled = _safe_indexing(features, np.flatnonzero(is_labelled))
        estimator.fit(labelled, labels, **fit_params)
        self.transformer_: Any = transformer
        self.estimator_: Any = estimator
        self.classes_ = estimator.classes_
        self.n_labelled_ = len(labels)
        self._take_features(X)
        return self

    def _take_features(self, X: Any) -> None:
        """Know the features of the training data as the transformer does, where it does."""
        if hasattr(self.transformer_, "n_features_in_"):
            self.n_features_in_ = self.transformer_.n_features_in_
        else:
            _check_n_features(self, X, reset=True)
        _check_feature_names(self, X, reset=True)

    @available_if(_estimator_has("predict"))
    def predict(self, X: ArrayLike) -> NDArray:
        """Return the class of each series.

        Parameters
        ----------
        X : array-like
            Series as in `fit`.

        Returns
        -------
        ndarray of shape (n_series,)
        """
        return self._delegate("predict", X)

    @available_if(_estimator_has("predict_proba"))
    def predict_proba(self, X: ArrayLike) -> NDArray[np.floating]:
        """Return the probability of each class, ``(n_series, n_classes)``, as the classifier's."""
        return self._delegate("predict_proba", X)

    @available_if(_estimator_has("predict_log_proba"))
    def predict_log_proba(self, X: ArrayLike) -> NDArray[np.floating]:
        """Return the logarithms of `predict_proba`."""
        return self._delegate("predict_log_proba", X)

    @available_if(_estimator_has("decision_function"))
    def decision_function(self, X: ArrayLike) -> NDArray[np.floating]:
        """Return the classifier's decision function."""
        return self._delegate("decision_function", X)

    def transform(self, X: ArrayLike) -> Any:
        """Return the representation of series that the classifier sees."""
        check_is_fitted(self, "estimator_")
        with named_as(self, self.transformer_):
            return self.transformer_.transform(X)

    def get_feature_names_out(self, input_features: Any = None) -> NDArray[np.object_]:
        """Return the names of what `transform` returns, as the transformer's.

        Parameters
        ----------
        input_features : array-like of str or None, default=None

        Returns
        -------
        ndarray of str
        """
        check_is_fitted(self, "estimator_")
        return self.transformer_.get_feature_names_out(input_features)

    def set_output(self, *, transform: str | None = None) -> Self:
        """Set what `transform` returns and the classifier sees, as scikit-learn's transformers do.

        Parameters
        ----------
        transform : {"default", "pandas", "polars"} or None, default=None
            None changes nothing.

        Returns
        -------
        self
        """
        if transform is not None and self.transformer is None:
            self.transformer = NCVQVAETransformer()
        for part in (self.transformer, getattr(self, "transformer_", None)):
            if part is not None:
                _safe_set_output(part, transform=transform)
        return self

    def _delegate(self, method: str, X: ArrayLike) -> NDArray:
        features = self.transform(X)
        return getattr(self.estimator_, method)(features)

    def __sklearn_tags__(self) -> Tags:
        tags = super().__sklearn_tags__()
        transformer = NCVQVAETransformer() if self.transformer is None else self.transformer
        estimator = _default_estimator() if self.estimator is None else self.estimator
        tags.input_tags = get_tags(transformer).input_tags
        tags.classifier_tags = get_tags(estimator).classifier_tags
        return tags
