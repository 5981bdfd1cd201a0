"""Feature extractors: random convolution kernels, and a supervised FCN."""

import math
from collections.abc import Callable, Sequence
from numbers import Integral
from typing import Any, ClassVar, Literal, Protocol, Self, runtime_checkable

import numpy as np
import torch
from numpy.typing import ArrayLike, NDArray
from scipy.special import softmax
from sklearn.base import (
    BaseEstimator,
    ClassifierMixin,
    ClassNamePrefixFeaturesOutMixin,
    TransformerMixin,
    _fit_context,
)
from sklearn.utils import Tags, check_array
from sklearn.utils._param_validation import Interval
from sklearn.utils.validation import check_is_fitted
from skorch.history import History
from threadpoolctl import threadpool_limits

from .._base import (
    FITTED_ATTRIBUTES,
    ModelMixin,
    draw_seed,
    isolated_seed,
    keep_fitted_state,
)
from .._codec import SeriesCodec
from .._device import resolve_device
from .._inference import map_batches
from .._labels import fit_classes
from .._training import TRAINING_CONSTRAINTS, ModuleNet, TrainConfig, train
from ..nn.fcn import FCN
from ._validation import check_magnitude, spread

# Length of MiniRocket's kernels, and so the shortest series it takes.
_KERNEL_LENGTH = 9


@runtime_checkable
class Extractor(Protocol):
    """A fitted transformer."""

    def transform(self, X: Any) -> Any:
        """Map series to features ``(n, n_features)``."""
        ...


# What the metrics take as `features`.
Features = Literal["rocket", "fcn"] | Extractor | Callable[[NDArray[np.floating]], Any] | None


def check_features(features: Features, y_real: ArrayLike | None) -> None:
    """Check an argument `features` before anything is computed.

    Raises
    ------
    ValueError
        On a value that is no extractor, or ``"fcn"`` without labels.
    """
    if isinstance(features, str):
        known = features in ("rocket", "fcn")
    else:
        known = features is None or isinstance(features, Extractor) or callable(features)
    if not known:
        raise ValueError(
            f"features={features!r} is unknown. Pass 'rocket', 'fcn', a fitted transformer, a "
            "callable, or None when the arrays already hold features."
        )
    if isinstance(features, str) and features == "fcn" and y_real is None:
        raise ValueError("features='fcn' trains a classifier on X_real: pass y_real as well.")


def extract_features(
    features: Features,
    X_real: NDArray[np.floating],
    *others: NDArray[np.floating],
    y_real: ArrayLike | None = None,
    random_state: int | np.random.RandomState | None = 0,
) -> list[NDArray[np.float64]]:
    """Return features of `X_real` and of each of `others`.

    Parameters
    ----------
    features : {"rocket", "fcn"}, transformer, callable or None
        What the metrics take under this name. Extractors chosen by name are fitted on `X_real`.
    X_real, *others : ndarray
        Arrays from `check_series`.
    y_real : array-like of shape (n_real,), optional
        Needed by ``"fcn"``.
    random_state : int, RandomState instance or None

    Returns
    -------
    list of ndarray of shape (n, n_features), float64

    Raises
    ------
    ValueError
        As `check_features`; on features that are no finite vectors of moderate size, one for
        each series; and where an extractor is to be fitted on constant series.
    """
    check_features(features, y_real)
    if isinstance(features, str):
        if not spread(X_real):
            raise ValueError(
                f"features={features!r} is fitted on X_real, but all its values are equal. Pass "
                "series that vary, or another extractor."
            )
        if features == "rocket":
            features = RocketFeatures(random_state=random_state).fit(X_real)
        else:
            assert y_real is not None  # checked above
            features = FCNClassifier(random_state=random_state).fit(X_real, y_real)
    extract = features.transform if isinstance(features, Extractor) else features or _flatten
    # What is not of this package may write into its argument.
    is_own = features is None or isinstance(features, (RocketFeatures, FCNClassifier))
    extracted = []
    for X in (X_real, *others):
        vectors: NDArray[np.float64] = check_array(
            extract(X if is_own else X.copy()),
            dtype=np.float64,  # type: ignore[arg-type]
            input_name="features",
        )
        if len(vectors) != len(X):
            raise ValueError(
                f"features returned {len(vectors)} rows for {len(X)} series. Return one vector "
                "for each series."
            )
        check_magnitude(vectors, "features", small=not extracted)
        extracted.append(vectors)
    return extracted


def _flatten(X: NDArray[np.floating]) -> NDArray[np.floating]:
    return X.reshape(len(X), -1)


class _SeriesModel(ModelMixin):
    """Reads series, and standardises each channel by its mean and deviation in `fit`."""

    codec_: SeriesCodec

    def _fit_series(self, X: ArrayLike) -> NDArray[np.float32]:
        codec = SeriesCodec()
        series = codec.fit_read(X, self)  # type: ignore[arg-type]
        self.codec_ = codec
        return codec.standardise(series)

    def _read_series(self, X: ArrayLike) -> NDArray[np.float32]:
        check_is_fitted(self)
        return self.codec_.standardise(self.codec_.read(X, self))  # type: ignore[arg-type]

    def __sklearn_tags__(self) -> Tags:
        tags = super().__sklearn_tags__()  # type: ignore[misc]
        tags.input_tags.three_d_array = True
        tags.transformer_tags.preserves_dtype = []
        return tags


class RocketFeatures(
    _SeriesModel, ClassNamePrefixFeaturesOutMixin, TransformerMixin, BaseEstimator
):
    """Features of random convolution kernels: aeon's MiniRocket on standardised channels.

    A feature is the share of time steps at which a convolution exceeds a threshold, so all lie
    in [0, 1]. Channels are standardised over the whole training set, not each series by itself,
    so that differences in level and amplitude are seen and units are not. Series shorter than
    the kernels' nine steps are padded with the channel's mean.

    Parameters
    ----------
    n_kernels : int, default=2000
        Number of features, rounded down to a multiple of 84 (at least 84).
    n_jobs : int or None, default=None
        Threads, as in scikit-learn.
    random_state : int, RandomState instance or None, default=None
        Seeds the choice of channels and thresholds. Global random state is not touched.

    Attributes
    ----------
    rocket_ : aeon.transformations.collection.convolution_based.MiniRocket
        The fitted kernels.
    codec_ : SeriesCodec
        How series are read: their shape, and a mean and a standard deviation for each channel.
    n_features_in_ : int
        Second dimension of the training data.
    feature_names_in_ : ndarray of str
        Column names, where the training data had them.

    References
    ----------
    .. [1] Dempster, Schmidt, Webb, "MiniRocket: a very fast (almost) deterministic transform for
       time series classification", arXiv:2012.08791, 2020.

    Examples
    --------
    >>> import numpy as np
    >>> from skncvqvae.metrics import RocketFeatures
    >>> X = np.sin(np.linspace(0, 9, 64) + np.linspace(0, 6, 40)[:, None])
    >>> RocketFeatures(n_kernels=84, random_state=0).fit_transform(X).shape
    (40, 84)
    """

    rocket_: Any

    _parameter_constraints: ClassVar[dict[str, list[Any]]] = {
        "n_kernels": [Interval(Integral, 1, None, closed="left")],
        "n_jobs": [Integral, None],
        "random_state": ["random_state"],
    }

    def __init__(
        self,
        n_kernels: int = 2000,
        *,
        n_jobs: int | None = None,
        random_state: int | np.random.RandomState | None = None,
    ) -> None:
        self.n_kernels = n_kernels
        self.n_jobs = n_jobs
        self.random_state = random_state

    @_fit_context(prefer_skip_nested_validation=True)
    def fit(self, X: ArrayLike, y: Any = None) -> Self:
        """Draw the kernels' channels, dilations and thresholds.

        Parameters
        ----------
        X : array-like of shape (n_series, length) or (n_series, n_channels, length)
        y : ignored
            Present for scikit-learn's API.

        Returns
        -------
        self

        Raises
        ------
        ImportError
            Without aeon.
        ValueError
            On wrong parameters or data. What was fitted earlier is kept.
        """
        try:
            from aeon.transformations.collection.convolution_based import MiniRocket
        except ImportError as error:
            raise ImportError(
                "RocketFeatures, and features='rocket', need aeon: "
                "pip install 'skncvqvae[metrics]'"
            ) from error
        with keep_fitted_state(self):
            series = self._fit_series(X)
            seed = draw_seed(self.random_state)
            jobs: Any = self.n_jobs  # aeon takes None, but does not say so
            rocket = MiniRocket(self.n_kernels, n_jobs=jobs, random_state=seed)
            state = np.random.get_state()  # noqa: NPY002, aeon seeds numpy's global generator
            try:
                self.rocket_ = rocket.fit(_pad(series))
            finally:
                np.random.set_state(state)  # noqa: NPY002
        return self

    def transform(self, X: ArrayLike) -> NDArray[np.float32]:
        """Return the features of series.

        Parameters
        ----------
        X : array-like
            Series as in `fit`.

        Returns
        -------
        ndarray of float32 of shape (n_series, n_features)
        """
        series = _pad(self._read_series(X))
        # numba's first parallel loop resets the threads of the OpenMP library it shares with
        # torch; leaving this block gives them back.
        with threadpool_limits(limits=None):
            return self.rocket_.transform(series)

    @property
    def _n_features_out(self) -> int:
        return len(self.rocket_.parameters[-1])


def _pad(X: NDArray[np.float32]) -> NDArray[np.float32]:
    missing = max(_KERNEL_LENGTH - X.shape[2], 0)
    return np.pad(X, ((0, 0), (0, 0), (0, missing)))


class _FCNNet(ModuleNet):
    stage = "classifier"
    values_a_thread = 256

    @staticmethod
    def auto_epochs(n_series: int, n_batches: int) -> int:
        """As many passes as 300 steps take."""
        return math.ceil(300 / n_batches)

    def loss_terms(self, batch: Sequence[torch.Tensor]) -> dict[str, torch.Tensor]:
        return {"loss": self.module_.loss(*batch)}


class FCNClassifier(
    _SeriesModel,
    ClassNamePrefixFeaturesOutMixin,
    TransformerMixin,
    ClassifierMixin,
    BaseEstimator,
):
    """Fully convolutional network; its pooled features serve as a transformer's output.

    Parameters
    ----------
    max_epochs : int or "auto", default="auto"
        Passes over the training data. ``"auto"`` makes as many as 300 steps of AdamW take.
    batch_size : int, default=16
        Series in a training step.
    lr : float, default=1e-3
        Largest learning rate of AdamW, on a one-cycle schedule.
    mixed_precision : bool, default=False
        Train in bfloat16 where that is safe. Faster on GPUs and on processors with bfloat16
        arithmetic, slower on others; predictions and features are in single precision anyway.
    device : str or torch.device, default="auto"
        ``"auto"`` is CUDA where there is one, else the CPU.
    verbose : int, default=0
        1 prints a line for each epoch.
    random_state : int, RandomState instance or None, default=None
        An int makes fits on one machine identical. Global random state is not touched.

    Attributes
    ----------
    classes_ : ndarray of shape (n_classes,)
        Class labels.
    module_ : skncvqvae.nn.fcn.FCN
        The trained torch module.
    history_ : skorch.history.History
        A row for each epoch.
    codec_ : SeriesCodec
        How series are read: their shape, and a mean and a standard deviation for each channel.
    n_features_in_ : int
        Second dimension of the training data.
    feature_names_in_ : ndarray of str
        Column names, where the training data had them.

    References
    ----------
    .. [1] Wang, Yan, Oates, "Time series classification from scratch with deep neural networks:
       a strong baseline", arXiv:1611.06455, 2017.

    Examples
    --------
    >>> import numpy as np
    >>> from skncvqvae.metrics import FCNClassifier
    >>> X = np.sin(np.linspace(0, 9, 64) + np.linspace(0, 6, 40)[:, None])
    >>> y = np.repeat(["early", "late"], 20)
    >>> classifier = FCNClassifier(max_epochs=20, random_state=0).fit(X, y)
    >>> classifier.predict_proba(X).shape, classifier.transform(X).shape
    ((40, 2), (40, 128))
    """

    classes_: NDArray[Any]
    module_: FCN

    _parameter_constraints: ClassVar[dict[str, list[Any]]] = {
        **{
            name: TRAINING_CONSTRAINTS[name]
            for name in ("max_epochs", "batch_size", "lr", "mixed_precision")
        },
        "device": [str, torch.device],
        "verbose": ["verbose"],
        "random_state": ["random_state"],
    }

    def __init__(
        self,
        max_epochs: int | Literal["auto"] = "auto",
        *,
        batch_size: int = 16,
        lr: float = 1e-3,
        mixed_precision: bool = False,
        device: str | torch.device = "auto",
        verbose: int = 0,
        random_state: int | np.random.RandomState | None = None,
    ) -> None:
        self.max_epochs = max_epochs
        self.batch_size = batch_size
        self.lr = lr
        self.mixed_precision = mixed_precision
        self.device = device
        self.verbose = verbose
        self.random_state = random_state

    @_fit_context(prefer_skip_nested_validation=True)
    def fit(self, X: ArrayLike, y: ArrayLike) -> Self:
        """Train the network.

        Parameters
        ----------
        X : array-like of shape (n_series, length) or (n_series, n_channels, length)
        y : array-like of shape (n_series,)
            Class labels of any dtype.

        Returns
        -------
        self

        Raises
        ------
        ValueError
            On wrong parameters or data, or a single class; before any training.
        FloatingPointError
            When training diverges. What was fitted earlier is kept.
        """
        with keep_fitted_state(self):
            self._fit(X, y)
        return self

    def _fit(self, X: ArrayLike, y: ArrayLike) -> None:
        device = resolve_device(self.device)
        series = self._fit_series(X)
        classes, labels = fit_classes(y, len(series))
        names = classes.names
        if names is None:
            raise ValueError("FCNClassifier requires y to be passed, but the target y is None.")
        if len(names) < 2:
            raise ValueError(f"y holds one class, {names[0]!s}. A classifier needs at least two.")
        seed = draw_seed(self.random_state)
        with isolated_seed(seed, device):
            module = FCN(series.shape[1], len(names))
            self.history_: History = train(
                _FCNNet,
                module,
                (series, labels),
                TrainConfig.of(self),
                device=device,
                seed=seed,
            )
        self.classes_ = names
        self.module_ = module

    def predict(self, X: ArrayLike) -> NDArray[Any]:
        """Return the most probable class of each series.

        Parameters
        ----------
        X : array-like
            Series as in `fit`.

        Returns
        -------
        ndarray of shape (n_series,)
        """
        logits = self._map(X, "forward")
        return self.classes_[logits.argmax(1)]

    def predict_proba(self, X: ArrayLike) -> NDArray[np.float64]:
        """Return the probability of each class.

        Parameters
        ----------
        X : array-like
            Series as in `fit`.

        Returns
        -------
        ndarray of shape (n_series, n_classes)
            In the order of `classes_`.
        """
        return softmax(self._map(X, "forward").astype(np.float64), axis=1)

    def transform(self, X: ArrayLike) -> NDArray[np.float32]:
        """Return the pooled features before the last layer.

        Parameters
        ----------
        X : array-like
            Series as in `fit`.

        Returns
        -------
        ndarray of float32 of shape (n_series, 128)
        """
        return self._map(X, "features")

    def _map(self, X: ArrayLike, method: str) -> NDArray[np.float32]:
        series = self._read_series(X)
        return map_batches(
            getattr(self.module_, method),
            (series,),
            module=self.module_,
            device=self.device,
            # Larger than in training: no gradients are kept.
            batch_size=8 * self.batch_size,
        )

    @property
    def _n_features_out(self) -> int:
        return self.module_.n_features


FITTED_ATTRIBUTES.update(
    {
        RocketFeatures: ("codec_", "rocket_"),
        FCNClassifier: ("codec_", "module_", "classes_", "history_"),
    }
)
