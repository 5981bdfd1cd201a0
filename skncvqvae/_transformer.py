"""`NCVQVAETransformer`: stage 1 as a scikit-learn transformer."""

import copy
from numbers import Integral, Real

import numpy as np
import torch
from scipy.special import entr
from sklearn.base import BaseEstimator, TransformerMixin, _fit_context
from sklearn.model_selection import train_test_split
from sklearn.preprocessing import StandardScaler
from sklearn.utils import check_array, check_random_state
from sklearn.utils._param_validation import Interval, StrOptions
from sklearn.utils.validation import _check_feature_names_in, check_is_fitted

from ._base import TRAINING_CONSTRAINTS, PortablePickleMixin, isolated_seed
from ._inference import map_batches
from ._representations import feature_names, represent, token_histogram
from ._training import TokenizerNet, extend_history, resolve_device, train
from ._validation import keep_fitted_state, restore_layout, validate_series
from .augmentations import make_augmentation
from .nn.losses import REFERENCE_SSL_WEIGHTS
from .nn.vqvae import NCVQVAE


class NCVQVAETransformer(PortablePickleMixin, TransformerMixin, BaseEstimator):
    _parameter_constraints = {
        "representation": [StrOptions({"tokens", "histogram", "embedding", "codes"})],
        "ssl_method": [StrOptions({"barlowtwins", "vicreg", "vibcreg"}), None],
        "ssl_weight": [StrOptions({"auto"}), Interval(Real, 0, None, closed="left")],
        "projector_dim": [Interval(Integral, 1, None, closed="left")],
        "augmentations": [str, list, tuple, callable],
        "aug_recon_weight": [Interval(Real, 0, None, closed="left")],
        "n_codes": [Interval(Integral, 2, None, closed="left")],
        "code_dim": [Interval(Integral, 1, None, closed="left")],
        "codebook_init": [StrOptions({"kmeans", "random"})],
        "codebook_decay": [Interval(Real, 0, 1, closed="left")],
        "dead_code_threshold": [Interval(Real, 0, None, closed="left")],
        "commitment_weight": [Interval(Real, 0, None, closed="left")],
        "n_fft": [Interval(Integral, 4, None, closed="left")],
        "frequency_axis": [StrOptions({"keep", "fold"})],
        "downsampled_width": [Interval(Integral, 1, None, closed="left")],
        "n_res_blocks": [Interval(Integral, 0, None, closed="left")],
        **TRAINING_CONSTRAINTS,
        "data_format": [StrOptions({"channels_first", "channels_last"})],
        "irregular": [StrOptions({"raise", "interpolate"})],
        "warm_start": ["boolean"],
        "device": [str, torch.device],
        "verbose": ["verbose"],
        "random_state": ["random_state"],
    }

    def __init__(
        self,
        representation="embedding",
        *,
        ssl_method="barlowtwins",
        ssl_weight="auto",
        projector_dim=512,
        augmentations="slice",
        aug_recon_weight=0.1,
        n_codes=32,
        code_dim=64,
        codebook_init="kmeans",
        codebook_decay=0.9,
        dead_code_threshold=1.0,
        commitment_weight=1.0,
        n_fft=8,
        frequency_axis="fold",
        downsampled_width=32,
        n_res_blocks=2,
        max_epochs=100,
        batch_size=128,
        lr=2e-3,
        weight_decay=1e-3,
        lr_schedule="onecycle",
        early_stopping=False,
        validation_fraction=0.1,
        n_iter_no_change=20,
        callbacks=None,
        data_format="channels_first",
        irregular="raise",
        warm_start=False,
        device="auto",
        verbose=0,
        random_state=None,
    ):
        self.representation = representation
        self.ssl_method = ssl_method
        self.ssl_weight = ssl_weight
        self.projector_dim = projector_dim
        self.augmentations = augmentations
        self.aug_recon_weight = aug_recon_weight
        self.n_codes = n_codes
        self.code_dim = code_dim
        self.codebook_init = codebook_init
        self.codebook_decay = codebook_decay
        self.dead_code_threshold = dead_code_threshold
        self.commitment_weight = commitment_weight
        self.n_fft = n_fft
        self.frequency_axis = frequency_axis
        self.downsampled_width = downsampled_width
        self.n_res_blocks = n_res_blocks
        self.max_epochs = max_epochs
        self.batch_size = batch_size
        self.lr = lr
        self.weight_decay = weight_decay
        self.lr_schedule = lr_schedule
        self.early_stopping = early_stopping
        self.validation_fraction = validation_fraction
        self.n_iter_no_change = n_iter_no_change
        self.callbacks = callbacks
        self.data_format = data_format
        self.irregular = irregular
        self.warm_start = warm_start
        self.device = device
        self.verbose = verbose
        self.random_state = random_state

    @classmethod
    def reference(cls, **overrides):
        """Return an unfitted transformer in the authors' configuration.

        Layer sizes, losses, optimiser and schedule are those of arXiv:2408.16613. It keeps the
        frequency axis, has a 4096-wide projector and trains for 1,000 epochs: hours on a CPU.

        Parameters
        ----------
        **overrides
            Parameters to set otherwise.

        Returns
        -------
        NCVQVAETransformer
        """
        return cls(**(_REFERENCE | overrides))

    @_fit_context(prefer_skip_nested_validation=True)
    def fit(self, X, y=None):
        """Learn the codebook, encoder and decoder.

        Parameters
        ----------
        X : array-like of shape (n_series, length) or (n_series, n_channels, length)
            The series; 2-D data are univariate. With ``data_format="channels_last"``, 3-D data
            are ``(n_series, length, n_channels)``. With ``irregular="interpolate"``, also a
            list of ``(length_i,)`` or ``(n_channels, length_i)`` arrays, and NaN for gaps.
        y : ignored
            Present for scikit-learn's API.

        Returns
        -------
        self

        Raises
        ------
        ValueError
            On a wrong parameter or wrong data; before any training.
        FloatingPointError
            When training diverges. What was fitted earlier is kept.
        """
        with keep_fitted_state(self):
            self._fit(X)
        return self

    def _fit(self, X):
        device = resolve_device(self.device)
        augmentation = self._make_augmentation()
        if self.n_fft % 4:
            raise ValueError(f"n_fft={self.n_fft} must be a multiple of 4.")
        resume = self.warm_start and hasattr(self, "module_")
        architecture = self._architecture()
        if resume and architecture != self._fitted_architecture:
            raise ValueError(
                "warm_start=True continues the fitted model, but these parameters differ from "
                f"it: {_differences(self._fitted_architecture, architecture)}. Restore them or "
                "set warm_start=False."
            )
        series = validate_series(self, X, reset=not resume)
        rng = check_random_state(self.random_state)
        seed = rng.randint(np.iinfo(np.int32).max)
        if not resume:
            self.scaler_ = _fit_scaler(series)
        standardised = self._standardise(series)
        training, validation = self._split(standardised, rng)

        with isolated_seed(seed, device):
            if resume:
                module = copy.deepcopy(self.module_)
            else:
                module = NCVQVAE(self.n_channels_, self.n_timesteps_, **architecture)
            module.set_loss_weights(
                commitment=self.commitment_weight,
                aug_recon=self.aug_recon_weight,
                ssl=self._ssl_weight(),
            )
            history = train(
                TokenizerNet,
                module,
                (training,),
                valid_arrays=None if validation is None else (validation,),
                term_names=module.term_names,
                max_epochs=self.max_epochs,
                lr=self.lr,
                weight_decay=self.weight_decay,
                batch_size=self.batch_size,
                lr_schedule=self.lr_schedule,
                n_iter_no_change=self.n_iter_no_change,
                callbacks=self.callbacks,
                device=device,
                verbose=self.verbose,
                seed=seed,
                augmentation=augmentation,
            )
        self.module_ = module
        self._fitted_architecture = architecture
        self.history_ = extend_history(self.history_ if resume else None, history)
        self.n_iter_ = len(self.history_)
        self.codebook_ = module.quantizer.codebook.cpu().numpy().copy()
        self.token_grid_shape_ = module.token_grid_shape
        self.n_tokens_ = int(np.prod(self.token_grid_shape_))
        tokens = self._tokenize(standardised)
        self.codebook_usage_ = token_histogram(tokens, self.n_codes).mean(axis=0)
        self.perplexity_ = float(np.exp(entr(self.codebook_usage_).sum()))

    def _architecture(self):
        names = ("n_fft", "n_codes", "code_dim", "n_res_blocks", "downsampled_width")
        names += ("frequency_axis", "codebook_init", "codebook_decay", "dead_code_threshold")
        names += ("ssl_method", "projector_dim")
        return {name: getattr(self, name) for name in names}

    def _ssl_weight(self):
        if self.ssl_method is None:
            return 0.0
        if self.ssl_weight == "auto":
            return REFERENCE_SSL_WEIGHTS[self.ssl_method]
        return float(self.ssl_weight)

    def _make_augmentation(self):
        """Return the augmentation of the second view, or None where no loss needs that view."""
        try:
            augmentation = make_augmentation(self.augmentations)
        except (TypeError, ValueError) as error:
            raise type(error)(f"augmentations={self.augmentations!r}: {error}") from error
        # Without an SSL method the model is the plain VQ-VAE, which has one view.
        return None if self.ssl_method is None else augmentation

    def _split(self, standardised, rng):
        if not self.early_stopping:
            return standardised, None
        training, validation = train_test_split(
            standardised, test_size=self.validation_fraction, random_state=rng
        )
        if len(training) < 2:
            raise ValueError(
                f"early_stopping=True with validation_fraction={self.validation_fraction} leaves "
                f"{len(training)} of {len(standardised)} series for training; at least 2 are "
                "needed. Lower validation_fraction or set early_stopping=False."
            )
        return training, validation

    def _standardise(self, series):
        n, channels, length = series.shape
        flat = self.scaler_.transform(series.swapaxes(1, 2).reshape(-1, channels))
        with np.errstate(over="ignore"):
            flat = flat.astype(np.float32)
        if not np.isfinite(flat).all():
            raise ValueError(
                "X holds values too large, or too far from the training data, for single "
                "precision. Rescale or clip X."
            )
        return np.ascontiguousarray(flat.reshape(n, length, channels).swapaxes(1, 2))

    def _tokenize(self, standardised):
        tokens = self._map_batches(self.module_.tokenize, standardised)
        return tokens.reshape(len(tokens), -1)

    def _map_batches(self, function, array):
        return map_batches(
            function,
            (array,),
            module=self.module_,
            device=resolve_device(self.device),
            batch_size=self.batch_size,
        )

    def tokenize(self, X):
        """Return the tokens of series, whatever `representation` is.

        Parameters
        ----------
        X : array-like
            Series as in `fit`.

        Returns
        -------
        tokens : ndarray of int of shape (n_series, n_tokens_)
            The token grid, row by row; each entry is an index into `codebook_`.
        """
        check_is_fitted(self, "module_")
        return self._tokenize(self._standardise(validate_series(self, X, reset=False)))

    def transform(self, X):
        """Return the discrete representation of series that `representation` names.

        Parameters
        ----------
        X : array-like
            Series as in `fit`.

        Returns
        -------
        ndarray of shape (n_series, n_features_out)
            Integers for ``"tokens"``, else floats of the dtype of `X`.
        """
        check_is_fitted(self, "module_")
        series = validate_series(self, X, reset=False)
        tokens = self._tokenize(self._standardise(series))
        representation = represent(tokens, self.codebook_, self.representation)
        return tokens if representation is tokens else representation.astype(series.dtype)

    def inverse_transform(self, X):
        """Decode tokens to series.

        Parameters
        ----------
        X : array-like of int of shape (n_series, n_tokens_)
            Tokens as `tokenize` returns them (or `transform` with
            ``representation="tokens"``).

        Returns
        -------
        ndarray
            Series in the units, layout, length and dtype of the training data.

        Raises
        ------
        ValueError
            When the number of tokens is another, or a token is no index into `codebook_`.
        """
        check_is_fitted(self, "module_")
        tokens = check_array(X, dtype="numeric", input_name="tokens")
        if tokens.shape[1] != self.n_tokens_:
            raise ValueError(
                f"tokens have {tokens.shape[1]} columns, but a series has n_tokens_="
                f"{self.n_tokens_} tokens. Pass what tokenize or transform with "
                "representation='tokens' returned."
            )
        wrong = (tokens < 0) | (tokens >= self.n_codes) | (tokens != np.floor(tokens))
        if wrong.any():
            raise ValueError(
                f"tokens hold {tokens[wrong][0]}, which is no code: the codebook has the codes "
                f"0 to {len(self.codebook_) - 1}."
            )
        return self._decode(tokens.astype(np.int64))

    def _decode(self, tokens):
        series = self._map_batches(self.module_.decode_tokens, tokens)
        n, channels, length = series.shape
        flat = self.scaler_.inverse_transform(
            series.swapaxes(1, 2).reshape(-1, channels).astype(np.float64)
        )
        return restore_layout(self, flat.reshape(n, length, channels).swapaxes(1, 2))

    def score(self, X, y=None):
        """Return the negative mean squared reconstruction error.

        Parameters
        ----------
        X : array-like
            Series as in `fit`.
        y : ignored

        Returns
        -------
        float
            In squared units of `X`; higher is better, so that a search without labels works.
        """
        check_is_fitted(self, "module_")
        series = validate_series(self, X, reset=False)
        decoded = self._decode(self._tokenize(self._standardise(series)))
        return -float(np.mean(np.square(restore_layout(self, series) - decoded, dtype=float)))

    def get_feature_names_out(self, input_features=None):
        """Return the names of the features of `transform`.

        Parameters
        ----------
        input_features : array-like of str or None
            Only checked against `feature_names_in_`.

        Returns
        -------
        ndarray of str
            ``token_{row}_{column}``, ``code_{k}``, ``embedding_{dimension}`` or
            ``token_{row}_{column}_{dimension}``.
        """
        check_is_fitted(self, "module_")
        _check_feature_names_in(self, input_features)
        return feature_names(self.representation, self.token_grid_shape_, self.codebook_.shape)

    def __sklearn_tags__(self):
        tags = super().__sklearn_tags__()
        tags.input_tags.three_d_array = True
        tags.input_tags.allow_nan = self.irregular == "interpolate"
        tags.transformer_tags.preserves_dtype = (
            [] if self.representation == "tokens" else ["float64", "float32"]
        )
        return tags


_REFERENCE = {
    "ssl_method": "barlowtwins",
    "ssl_weight": "auto",
    "projector_dim": 4096,
    "augmentations": "warp",
    "aug_recon_weight": 0.1,
    "n_codes": 32,
    "code_dim": 64,
    "codebook_init": "random",
    "codebook_decay": 0.9,
    "dead_code_threshold": 0.0,
    "commitment_weight": 1.0,
    "n_fft": 8,
    "frequency_axis": "keep",
    "downsampled_width": 8,
    "n_res_blocks": 4,
    "max_epochs": 1000,
    "batch_size": 128,
    "lr": 1e-3,
    "weight_decay": 1e-3,
    "lr_schedule": "cosine",
}


def _fit_scaler(series):
    """Fit one mean and standard deviation to each channel, over all series and times.

    Per channel and not per series, so that differences in amplitude between series survive;
    for univariate series this is the reference's standardisation.
    """
    with np.errstate(over="ignore", invalid="ignore"):
        scaler = StandardScaler().fit(series.swapaxes(1, 2).reshape(-1, series.shape[1]))
    if not np.isfinite(scaler.var_).all():
        raise ValueError("X holds values too large to standardise. Rescale X.")
    return scaler


def _differences(old, new):
    return ", ".join(f"{k} ({old[k]!r} to {new[k]!r})" for k in new if old[k] != new[k])
