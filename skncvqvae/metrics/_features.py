"""Feature extractors: random convolution kernels, and a supervised FCN."""

import math
from numbers import Integral

import numpy as np
import torch
from scipy.special import softmax
from sklearn.base import (
    BaseEstimator,
    ClassifierMixin,
    ClassNamePrefixFeaturesOutMixin,
    TransformerMixin,
    _fit_context,
)
from sklearn.preprocessing import LabelEncoder, StandardScaler
from sklearn.utils import check_array, check_random_state
from sklearn.utils._param_validation import Interval
from sklearn.utils.multiclass import check_classification_targets
from sklearn.utils.validation import check_is_fitted, validate_data
from threadpoolctl import threadpool_limits

from .._base import TRAINING_CONSTRAINTS, PortablePickleMixin, isolated_seed
from .._device import resolve_device
from .._inference import map_batches
from .._scaling import channel_columns, map_channels
from .._training import _Net, train
from ..nn.fcn import FCN
from ._validation import channels_first

# Length of MiniRocket's kernels, and so the shortest series it takes.
_KERNEL_LENGTH = 9


def extract_features(features, X_real, *others, y_real=None, random_state=0):
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
    """
    if features == "rocket":
        features = RocketFeatures(random_state=random_state).fit(X_real)
    elif features == "fcn":
        if y_real is None:
            raise ValueError("features='fcn' trains a classifier on X_real: pass y_real as well.")
        features = FCNClassifier(random_state=random_state).fit(X_real, y_real)
    if features is None:
        function = _flatten
    elif hasattr(features, "transform"):
        function = features.transform
    elif callable(features):
        function = features
    else:
        raise ValueError(
            f"features={features!r} is unknown. Pass 'rocket', 'fcn', a fitted transformer, a "
            "callable, or None when the arrays already hold features."
        )
    return [
        check_array(function(X), dtype=np.float64, input_name="features")
        for X in (X_real, *others)
    ]


def _flatten(X):
    return X.reshape(len(X), -1)


class _SeriesInput:
    """Reads series, and standardises each channel by its mean and deviation in `fit`."""

    def _fit_series(self, X, y="no_validation"):
        checked = self._validate(X, y, reset=True)
        X = channels_first(checked if isinstance(y, str) else checked[0])
        self.n_channels_, self.n_timesteps_ = X.shape[1:]
        self.scaler_ = StandardScaler().fit(channel_columns(X))
        return self._standardise(X) if isinstance(y, str) else (self._standardise(X), checked[1])

    def _read_series(self, X):
        check_is_fitted(self)
        X = channels_first(self._validate(X, "no_validation", reset=False))
        if X.shape[1:] != (self.n_channels_, self.n_timesteps_):
            raise ValueError(
                f"X holds {X.shape[1]} channels of length {X.shape[2]}, but "
                f"{type(self).__name__} was fitted on {self.n_channels_} of length "
                f"{self.n_timesteps_}. Pass series of that shape."
            )
        return self._standardise(X)

    def _validate(self, X, y, reset):
        dtype = [np.float64, np.float32]
        min_samples = 2 if reset else 1
        return validate_data(
            self, X, y, reset=reset, dtype=dtype, allow_nd=True, ensure_min_samples=min_samples
        )

    def _standardise(self, X):
        return map_channels(self.scaler_.transform, X, np.empty(X.shape, dtype=np.float32))

    def __sklearn_tags__(self):
        tags = super().__sklearn_tags__()
        tags.input_tags.three_d_array = True
        return tags


class RocketFeatures(
    _SeriesInput, ClassNamePrefixFeaturesOutMixin, TransformerMixin, BaseEstimator
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
    scaler_ : sklearn.preprocessing.StandardScaler
        One mean and standard deviation for each channel.
    n_channels_, n_timesteps_ : int
        Shape of a series.
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

    _parameter_constraints = {
        "n_kernels": [Interval(Integral, 1, None, closed="left")],
        "n_jobs": [Integral, None],
        "random_state": ["random_state"],
    }

    def __init__(self, n_kernels=2000, *, n_jobs=None, random_state=None):
        self.n_kernels = n_kernels
        self.n_jobs = n_jobs
        self.random_state = random_state

    @_fit_context(prefer_skip_nested_validation=True)
    def fit(self, X, y=None):
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
            On wrong parameters or data.
        """
        try:
            from aeon.transformations.collection.convolution_based import MiniRocket
        except ImportError as error:
            raise ImportError(
                "RocketFeatures, and features='rocket', need aeon: "
                "pip install 'skncvqvae[metrics]'"
            ) from error
        X = self._fit_series(X)
        seed = check_random_state(self.random_state).randint(np.iinfo(np.int32).max)
        rocket = MiniRocket(self.n_kernels, n_jobs=self.n_jobs, random_state=seed)
        state = np.random.get_state()  # noqa: NPY002, aeon seeds numpy's global generator
        try:
            self.rocket_ = rocket.fit(_pad(X))
        finally:
            np.random.set_state(state)  # noqa: NPY002
        return self

    def transform(self, X):
        """Return the features of series.

        Parameters
        ----------
        X : array-like
            Series as in `fit`.

        Returns
        -------
        ndarray of float32 of shape (n_series, n_features)
        """
        X = _pad(self._read_series(X))
        # numba's first parallel loop resets the threads of the OpenMP library it shares with
        # torch; leaving this block gives them back.
        with threadpool_limits(limits=None):
            return self.rocket_.transform(X)

    @property
    def _n_features_out(self):
        return len(self.rocket_.parameters[-1])

    def __sklearn_tags__(self):
        tags = super().__sklearn_tags__()
        tags.transformer_tags.preserves_dtype = []
        return tags


def _pad(X):
    missing = max(_KERNEL_LENGTH - X.shape[2], 0)
    return np.pad(X, ((0, 0), (0, 0), (0, missing)))


class _FCNNet(_Net):
    stage = "classifier"

    @staticmethod
    def auto_epochs(n_batches):
        return math.ceil(300 / n_batches)

    def loss_terms(self, batch):
        return {"loss": self.module_.loss(*batch)}


class FCNClassifier(
    _SeriesInput,
    PortablePickleMixin,
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
    scaler_ : sklearn.preprocessing.StandardScaler
        One mean and standard deviation for each channel.
    n_channels_, n_timesteps_ : int
        Shape of a series.
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

    _parameter_constraints = {
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
        max_epochs="auto",
        *,
        batch_size=16,
        lr=1e-3,
        mixed_precision=False,
        device="auto",
        verbose=0,
        random_state=None,
    ):
        self.max_epochs = max_epochs
        self.batch_size = batch_size
        self.lr = lr
        self.mixed_precision = mixed_precision
        self.device = device
        self.verbose = verbose
        self.random_state = random_state

    @_fit_context(prefer_skip_nested_validation=True)
    def fit(self, X, y):
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
            On wrong parameters or data, or a single class.
        FloatingPointError
            When training diverges.
        """
        device = resolve_device(self.device)
        series, y = self._fit_series(X, y)
        check_classification_targets(y)
        encoder = LabelEncoder().fit(y)
        self.classes_ = encoder.classes_
        if len(self.classes_) < 2:
            raise ValueError(
                f"y holds one class, {self.classes_[0]!s}. A classifier needs at least two."
            )
        seed = check_random_state(self.random_state).randint(np.iinfo(np.int32).max)
        with isolated_seed(seed, device):
            module = FCN(self.n_channels_, len(self.classes_))
            self.history_ = train(
                _FCNNet,
                module,
                (series, encoder.transform(y).astype(np.int64)),
                max_epochs=self.max_epochs,
                lr=self.lr,
                weight_decay=0.0,
                batch_size=self.batch_size,
                lr_schedule="onecycle",
                mixed_precision=self.mixed_precision,
                n_iter_no_change=None,
                callbacks=None,
                device=device,
                verbose=self.verbose,
                seed=seed,
            )
        self.module_ = module
        return self

    def predict(self, X):
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

    def predict_proba(self, X):
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

    def transform(self, X):
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

    def _map(self, X, method):
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
    def _n_features_out(self):
        return self.module_.n_features

    def __sklearn_tags__(self):
        tags = super().__sklearn_tags__()
        tags.transformer_tags.preserves_dtype = []
        return tags
