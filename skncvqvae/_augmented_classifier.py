"""`AugmentedClassifier`: any classifier, trained on real and synthetic series together."""

import warnings
from collections.abc import Callable
from numbers import Integral, Real
from typing import Any, ClassVar, Literal, Self

import numpy as np
from numpy.typing import ArrayLike, NDArray
from sklearn.base import (
    BaseEstimator,
    ClassifierMixin,
    MetaEstimatorMixin,
    _fit_context,
    is_regressor,
)
from sklearn.utils import Tags, _safe_indexing, get_tags, indexable
from sklearn.utils._param_validation import (
    HasMethods,
    Interval,
    InvalidParameterError,
    StrOptions,
)
from sklearn.utils.metadata_routing import (
    MetadataRouter,
    MethodMapping,
    _routing_enabled,
    process_routing,
)
from sklearn.utils.metaestimators import available_if
from sklearn.utils.validation import (
    _check_sample_weight,
    check_is_fitted,
)

from ._base import (
    ModelMixin,
    clone_estimator,
    draw_seed,
    keep_fitted_state,
    named_as,
    read_random_state,
    set_nested_params,
)
from ._containers import refuse_no_series
from ._generator import NCVQVAEGenerator
from ._labels import first_of_each, read_labels, read_weights
from ._resampling import import_check_sampling_strategy
from ._tokens import EncodedSeries


def _estimator_has(name: str) -> Callable[[Any], bool]:
    def check(self: Any) -> bool:
        return hasattr(getattr(self, "estimator_", self.estimator), name)

    return check


class AugmentedClassifier(ModelMixin, MetaEstimatorMixin, ClassifierMixin, BaseEstimator):
    """A classifier trained on the training series and on synthetic ones drawn like them.

    In each `fit`, and so in each fold of a cross-validation, a generator is fitted on the given
    series only and its samples are added to them; nothing leaks from held-out series. A
    tokenizer that was fitted elsewhere is reused when the generator holds it frozen:
    ``NCVQVAEGenerator(FrozenEstimator(tokenizer))``.

    Parameters
    ----------
    estimator : classifier
        Cloned and fitted on real and synthetic series, in the layout of `X`.
    generator : NCVQVAEGenerator or None, default=None
        Cloned and fitted. None is ``NCVQVAEGenerator()``.
    ratio : float, default=1.0
        Synthetic series for each real one, class by class. 0 trains on real series only, which
        are still read as the generator would read them.
    sampling_strategy : None, str, float, dict or callable, default=None
        Instead of `ratio`, the classes to fill up and how far, as in imbalanced-learn;
        ``"auto"`` fills all classes up to the largest.
    mask_ratio : float, default=0.5
        Below 1, synthetic series are variations of training series, with this share of their
        tokens drawn anew (see `NCVQVAEGenerator.vary`); at 1 they are drawn from the prior
        alone (see `NCVQVAEGenerator.sample`).
    filter : {"likelihood", "agreement"} or None, default=None
        Which of the drawn series to keep. ``"likelihood"`` keeps those likeliest under the
        generator's prior; ``"agreement"`` those that `estimator`, trained on the real series,
        puts into the class they were drawn for, the surest first where it has
        probabilities. With too few in agreement, fewer are added. Likelihood takes a pass of the
        prior for each token of each series drawn, where drawing it takes `n_steps` passes.
    n_candidates : int, default=3
        Series drawn for each one kept by `filter`.
    random_state : int, RandomState instance or None, default=None
        Seeds the generator (where it has no `random_state` of its own) and its samples.

    Attributes
    ----------
    estimator_ : classifier
        The fitted classifier.
    generator_ : NCVQVAEGenerator or None
        The fitted generator; None where no series was asked for.
    classes_ : ndarray of shape (n_classes,)
        Class labels.
    n_synthetic_ : dict
        Number of synthetic series of each class that were added.
    codec_ : SeriesCodec
        What reads series before the classifier gets them.
    n_features_in_ : int
        Second dimension of the training data.

    Examples
    --------
    >>> import numpy as np
    >>> from sklearn.linear_model import LogisticRegression
    >>> from skncvqvae import AugmentedClassifier, NCVQVAEGenerator
    >>> rng = np.random.default_rng(0)
    >>> y = np.repeat([0, 1], 10)
    >>> X = np.sin(np.linspace(0, 9, 32) * (1 + y[:, None])) + rng.normal(0, 0.1, (20, 32))
    >>> generator = NCVQVAEGenerator()
    >>> generator = generator.set_params(transformer__max_epochs=2, prior__max_epochs=2)
    >>> model = AugmentedClassifier(LogisticRegression(), generator, ratio=0.5, random_state=0)
    >>> model.fit(X, y).n_synthetic_
    {0: 5, 1: 5}
    """

    _parameter_constraints: ClassVar[dict[str, list[Any]]] = {
        "estimator": [HasMethods(["fit", "predict"])],
        "generator": [NCVQVAEGenerator, None],
        "ratio": [Interval(Real, 0, None, closed="left")],
        "sampling_strategy": [None, str, Real, dict, callable],
        "mask_ratio": [Interval(Real, 0, 1, closed="right")],
        "filter": [StrOptions({"likelihood", "agreement"}), None],
        "n_candidates": [Interval(Integral, 1, None, closed="left")],
        "random_state": ["random_state"],
    }

    def __init__(
        self,
        estimator: Any,
        generator: NCVQVAEGenerator | None = None,
        *,
        ratio: float = 1.0,
        sampling_strategy: Any = None,
        mask_ratio: float = 0.5,
        filter: Literal["likelihood", "agreement"] | None = None,
        n_candidates: int = 3,
        random_state: int | np.random.RandomState | None = None,
    ) -> None:
        self.estimator = estimator
        self.generator = generator
        self.ratio = ratio
        self.sampling_strategy = sampling_strategy
        self.mask_ratio = mask_ratio
        self.filter = filter
        self.n_candidates = n_candidates
        self.random_state = random_state

    def set_params(self, **params: Any) -> Self:
        """Set parameters; those of the generator also while it is None.

        Parameters
        ----------
        **params
            Parameters and their values.

        Returns
        -------
        self
        """
        set_nested_params(self, params, {"generator": NCVQVAEGenerator})
        return self

    @_fit_context(prefer_skip_nested_validation=False)
    def fit(
        self,
        X: ArrayLike,
        y: ArrayLike,
        sample_weight: ArrayLike | float | None = None,
        **fit_params: Any,
    ) -> Self:
        """Fit the generator, draw synthetic series, and fit the classifier on all.

        Before the generator, a copy of the classifier is fitted on a few of the series, so that
        what it refuses is known before any training.

        Parameters
        ----------
        X : array-like
            Series, in a layout that the generator takes.
        y : array-like of shape (n_series,)
            Class labels.
        sample_weight : array-like of shape (n_series,), float or None, default=None
            Handed to the classifier's `fit`. A synthetic series weighs as much as the mean real
            one of its class. The generator knows no weights.
        **fit_params : dict
            Handed to the classifier's `fit`; values for each series are refused. With metadata
            routing enabled, what the classifier has requested.

        Returns
        -------
        self

        Raises
        ------
        ValueError, TypeError
            On wrong parameters, of the generator and the classifier too, wrong data, labels or
            weights; before any training.
        """
        refuse_no_series(X)
        labels = read_labels(y)
        X, _ = indexable(X, labels)  # type: ignore[assignment]
        classes = np.unique(labels)
        if len(classes) < 2:
            raise ValueError(
                f"y holds {len(classes)} class{'' if len(classes) else 'es'}, "
                f"{classes.tolist()}. At least two are needed."
            )
        if sample_weight is not None:
            weight = read_weights(sample_weight, len(labels))
            fit_params = fit_params | {"sample_weight": _check_sample_weight(weight, labels)}
        if _routing_enabled():
            fit_params = process_routing(self, "fit", **fit_params).estimator.fit
        for name, value in fit_params.items():
            if name != "sample_weight" and _is_one_for_each(value, labels):
                raise ValueError(
                    f"{name} holds a value for each series, which synthetic series have not. Of "
                    "such only sample_weight is supported."
                )
        if is_regressor(self.estimator):
            raise ValueError(f"estimator={self.estimator!r} is a regressor. Pass a classifier.")
        rng = read_random_state(self.random_state)
        wanted = self._labels_to_add(labels)
        estimator = clone_estimator(self.estimator)
        generator = self._make_generator(rng)
        generator.check_params()
        added = labels[:0]
        if len(wanted):
            self._try_classifier(generator, X, labels, fit_params)
            with named_as(self, generator):
                encoded = generator.fit_encode(X, labels)
            # The classifier sees real series in the layout and dtype that synthetic ones have.
            X_real = generator.write(encoded.series)
            X_new, added = self._draw(generator, encoded, X_real, labels, wanted, rng)
            estimator.fit(
                np.concatenate([X_real, X_new]),
                np.concatenate([labels, added]),
                **_extend_fit_params(fit_params, labels, added),
            )
            reader: Any = generator
            codec = generator.transformer_.codec_
        else:
            reader = clone_estimator(self)
            codec, series = generator.fit_codec(X, reader)
            estimator.fit(codec.write(series).copy(), labels, **fit_params)
        with keep_fitted_state(self):
            self.generator_ = generator if len(wanted) else None
            self.estimator_, self.codec_ = estimator, codec
            self.classes_ = getattr(estimator, "classes_", classes)
            self._take_features(reader)
            self.n_synthetic_ = {
                key: int((added == label).sum())
                for key, label in zip(classes.tolist(), classes, strict=True)
            }
        return self

    def _take_features(self, reader: Any) -> None:
        """Know the features of the training data as what read them, whatever they came in."""
        self.n_features_in_ = reader.n_features_in_
        if hasattr(reader, "feature_names_in_"):
            self.feature_names_in_ = reader.feature_names_in_
        elif hasattr(self, "feature_names_in_"):
            del self.feature_names_in_

    def _try_classifier(
        self,
        generator: NCVQVAEGenerator,
        X: Any,
        y: NDArray,
        fit_params: dict[str, Any],
    ) -> None:
        """Fit a copy of the classifier on a few real series, to see what it refuses.

        Raises
        ------
        Exception
            What its `fit` raises on all real series.
        """
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            try:
                self._fit_copy(generator, X, y, fit_params, first_of_each(y))
            except (InvalidParameterError, TypeError):
                raise
            except Exception:
                # Perhaps there were too few for it.
                self._fit_copy(generator, X, y, fit_params, np.arange(len(y)))

    def _fit_copy(
        self,
        generator: NCVQVAEGenerator,
        X: Any,
        y: NDArray,
        fit_params: dict[str, Any],
        chosen: NDArray[np.int64],
    ) -> None:
        with named_as(self, generator):
            series = generator.preview(_safe_indexing(X, chosen))
        params = dict(fit_params)
        if params.get("sample_weight") is not None:
            params["sample_weight"] = np.asarray(params["sample_weight"])[chosen]
        clone_estimator(self.estimator).fit(series, y[chosen], **params)

    def _labels_to_add(self, y: NDArray) -> NDArray:
        if self.sampling_strategy is None:
            classes, counts = np.unique(y, return_counts=True)
            return np.repeat(classes, np.round(self.ratio * counts).astype(int))
        check_sampling_strategy = import_check_sampling_strategy()
        wanted = check_sampling_strategy(self.sampling_strategy, y, "over-sampling")
        return np.repeat(np.asarray(list(wanted), dtype=y.dtype), list(wanted.values()))

    def _make_generator(self, rng: np.random.RandomState) -> NCVQVAEGenerator:
        generator = (
            NCVQVAEGenerator() if self.generator is None else clone_estimator(self.generator)
        )
        if generator.random_state is None:
            generator.set_params(random_state=draw_seed(rng))
        return generator

    def _draw(
        self,
        generator: NCVQVAEGenerator,
        encoded: EncodedSeries,
        X_real: NDArray[np.floating],
        y: NDArray,
        labels: NDArray,
        rng: np.random.RandomState,
    ) -> tuple[NDArray[np.floating], NDArray]:
        """Draw series of these labels; with a filter several times as many, and keep the best."""
        seed = draw_seed(rng)
        wanted = labels if self.filter is None else np.tile(labels, self.n_candidates)
        if self.mask_ratio == 1:
            X_new, _ = generator.sample(y=wanted, random_state=seed)
        else:
            originals = encoded.take(_series_of_class(y, wanted, rng))
            varied = generator.vary_encoded(
                originals, wanted, mask_ratio=self.mask_ratio, random_state=seed
            )
            X_new = generator.write(varied)
        if self.filter is None:
            return X_new, wanted
        if self.filter == "likelihood":
            with warnings.catch_warnings():
                # Drawn series are arrays, also where the training series came in a data frame.
                warnings.filterwarnings("ignore", "X does not have valid feature names")
                quality = generator.score_samples(X_new, wanted)
        else:
            # A copy: the classifier may write into what it is given.
            judge = clone_estimator(self.estimator).fit(X_real.copy(), y)
            quality = _agreement(judge, X_new, wanted)
        keep = []
        for label, n_wanted in zip(*np.unique(labels, return_counts=True), strict=True):
            candidates = np.flatnonzero((wanted == label) & np.isfinite(quality))
            keep.append(candidates[np.argsort(-quality[candidates], kind="stable")][:n_wanted])
        chosen = np.concatenate(keep)
        return X_new[chosen], wanted[chosen]

    @available_if(_estimator_has("predict"))
    def predict(self, X: ArrayLike, **params: Any) -> NDArray:
        """Return the classifier's predictions, as its `predict`."""
        return self._delegate("predict", X, params)

    @available_if(_estimator_has("predict_proba"))
    def predict_proba(self, X: ArrayLike, **params: Any) -> NDArray:
        """Return the classifier's class probabilities, as its `predict_proba`."""
        return self._delegate("predict_proba", X, params)

    @available_if(_estimator_has("predict_log_proba"))
    def predict_log_proba(self, X: ArrayLike, **params: Any) -> NDArray:
        """Return the classifier's log-probabilities, as its `predict_log_proba`."""
        return self._delegate("predict_log_proba", X, params)

    @available_if(_estimator_has("decision_function"))
    def decision_function(self, X: ArrayLike, **params: Any) -> NDArray:
        """Return the classifier's decision function, as its `decision_function`."""
        return self._delegate("decision_function", X, params)

    def _delegate(self, method: str, X: ArrayLike, params: dict[str, Any]) -> NDArray:
        check_is_fitted(self, "estimator_")
        if _routing_enabled():
            params = process_routing(self, method, **params).estimator[method]
        # A copy: the classifier may write into what it is given.
        series = self.codec_.write(self.codec_.read(X, self)).copy()
        return getattr(self.estimator_, method)(series, **params)

    def get_metadata_routing(self) -> MetadataRouter:
        """Return how metadata reaches the classifier.

        Returns
        -------
        sklearn.utils.metadata_routing.MetadataRouter
        """
        mapping = MethodMapping()
        for method in (
            "fit",
            "predict",
            "predict_proba",
            "predict_log_proba",
            "decision_function",
        ):
            mapping.add(caller=method, callee=method)
        return MetadataRouter(owner=type(self).__name__).add(
            estimator=self.estimator, method_mapping=mapping
        )

    def __sklearn_tags__(self) -> Tags:
        tags = super().__sklearn_tags__()
        generator = NCVQVAEGenerator() if self.generator is None else self.generator
        tags.input_tags = get_tags(generator).input_tags
        tags.classifier_tags = get_tags(self.estimator).classifier_tags
        return tags


def _series_of_class(y: NDArray, wanted: NDArray, rng: np.random.RandomState) -> NDArray[np.int64]:
    """Return the index of a series of each label wanted; all of a class before any again."""
    chosen = np.empty(len(wanted), dtype=int)
    for label in np.unique(wanted):
        places = np.flatnonzero(wanted == label)
        chosen[places] = np.resize(rng.permutation(np.flatnonzero(y == label)), len(places))
    return chosen


def _agreement(classifier: Any, X: NDArray, y: NDArray) -> NDArray[np.float64]:
    """How sure a classifier is of these labels; minus infinity where it prefers another."""
    agrees = classifier.predict(X.copy()) == y
    sure = np.zeros(len(y))
    if hasattr(classifier, "predict_proba"):
        sure = classifier.predict_proba(X.copy()).max(axis=1)
    return np.where(agrees, sure, -np.inf)


def _extend_fit_params(fit_params: dict[str, Any], y: NDArray, y_new: NDArray) -> dict[str, Any]:
    """Give synthetic series the mean weight of their class."""
    if fit_params.get("sample_weight") is None:
        return fit_params
    weight = fit_params["sample_weight"]
    mean = {label: weight[y == label].mean() for label in np.unique(y)}
    return fit_params | {
        "sample_weight": np.concatenate([weight, [mean[label] for label in y_new]])
    }


def _is_one_for_each(value: Any, y: NDArray) -> bool:
    return hasattr(value, "__len__") and not isinstance(value, str) and len(value) == len(y)
