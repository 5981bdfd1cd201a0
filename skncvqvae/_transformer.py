"""`NCVQVAETransformer`: stage 1 as a scikit-learn transformer."""

import copy
import math
from numbers import Integral, Real

import numpy as np
import torch
from scipy.special import entr
from sklearn.base import BaseEstimator, TransformerMixin, _fit_context
from sklearn.model_selection import train_test_split
from sklearn.preprocessing import StandardScaler
from sklearn.utils import check_array, check_random_state
from sklearn.utils._param_validation import (
    Interval,
    StrOptions,
    validate_parameter_constraints,
)
from sklearn.utils.validation import _check_feature_names_in, check_is_fitted

from ._base import (
    TRAINING_CONSTRAINTS,
    PortablePickleMixin,
    check_same_architecture,
    isolated_seed,
    resolve_architecture,
)
from ._device import resolve_device
from ._inference import map_batches
from ._representations import feature_names, represent, token_histogram
from ._scaling import channel_columns, map_channels
from ._training import TokenizerNet, extend_history, train
from ._validation import keep_fitted_state, restore_layout, validate_series
from .augmentations import Shift, make_augmentation
from .nn.losses import REFERENCE_SSL_WEIGHTS
from .nn.vqvae import NCVQVAE

# Chosen by validation on the training split of FordA.
_AUTO_SSL_WEIGHTS = {"barlowtwins": 10.0, "vicreg": 0.2, "vibcreg": 0.05}
# Training series from which a larger codebook pays.
_MIN_SERIES_OF_LARGE_CODEBOOK = 1000


class NCVQVAETransformer(PortablePickleMixin, TransformerMixin, BaseEstimator):
    """Learned discrete representations of time series, by a non-contrastive VQ-VAE.

    An encoder turns the spectrogram of a series into a short grid of latent vectors, each of
    which is replaced by the nearest code of a learned codebook; a decoder turns the codes back
    into the series. While the autoencoder learns to reconstruct, a self-supervised loss asks
    that the quantised latent of a series and the latent of an augmented view of it agree, so
    that codes carry what classes are made of and not only shape. Labels are not used.

    Read more in :doc:`/user_guide`.

    Parameters
    ----------
    representation : {"codes", "embedding", "histogram", "tokens"}, default="codes"
        What `transform` returns. ``"codes"`` is the whole quantised latent, flattened, ``(n,
        n_tokens_ * code_dim)``; ``"embedding"`` its average over the grid, ``(n, code_dim)``;
        ``"histogram"`` the relative frequency of each code, ``(n, n_codes)``; ``"tokens"`` the
        grid of code indices, flattened row by row, ``(n, n_tokens_)``. May be changed after
        `fit`.
    ssl_method : {"barlowtwins", "vicreg", "vibcreg"} or None, default="barlowtwins"
        Self-supervised loss; None is the plain VQ-VAE.
    ssl_weight : float, "auto" or "reference", default="auto"
        Factor of the self-supervised loss. ``"reference"`` is the authors': 1 for
        ``"barlowtwins"``, 0.01 for the others. ``"auto"`` is ours, which favours
        classification: 10 for ``"barlowtwins"``, 0.2 for ``"vicreg"``, 0.05 for ``"vibcreg"``.
    ssl_pooling : {"avg", "avg_max"}, default="avg"
        What the self-supervised loss compares of two latents: their averages over the grid, as
        ``representation="embedding"``, or averages and maxima, as the authors do.
    projector_dim : int, default=512
        Width of the projector's three layers. The projector serves the loss only.
    augmentations : str, list or callable, default="slice"
        Makes the augmented view: the name of a set (``"gauss"``, ``"warp"``, ``"slice"``) or of
        one augmentation, a ``(name, parameters)`` pair, a callable on tensors ``(n, n_channels,
        length)``, or a list of those to apply in turn. See `skncvqvae.augmentations`.
    random_shift : float, default=1.0
        In each training step every series is moved along time by a random number of steps, less
        than this share of a token's width, and reflected at its ends. Otherwise the decoder
        learns the training series by heart and reconstructs others worse.
    aug_recon_weight : float, default=0.1
        Factor of the reconstruction error of the augmented view, which is not quantised. Like
        all of the second view, it plays no part with ``ssl_method=None``.
    aug_recon_fraction : float, default=0.25
        Share of each batch whose augmented view is reconstructed. Less than 1 saves time: the
        error is then estimated on a random part of the series.
    n_codes : int or "auto", default="auto"
        Size of the codebook. ``"auto"`` is 32, or 128 from 1,000 training series on.
    code_dim : int, default=64
        Dimension of a code, and number of channels of the convolutions.
    codebook_init : {"kmeans", "random"}, default="kmeans"
        How the codebook starts: k-means on the latents of the first batch, or standard normal.
    codebook_decay : float, default=0.9
        Decay of the moving averages that codes follow.
    dead_code_threshold : float, default=1.0
        A code that fewer than this many latents a batch use, in the moving average, is moved
        to a random latent. 0 lets codes die.
    commitment_weight : float, default=1.0
        Factor of the distance of latents to their codes.
    n_fft : int, default=8
        Window of the spectrogram in time steps, a multiple of 4; the hop is a quarter of it.
    frequency_axis : {"fold", "keep"}, default="fold"
        ``"fold"`` reads the rows of the spectrogram as channels, so that tokens form one row
        along time; ``"keep"`` convolves over both axes and has ``n_fft // 2 + 1`` rows of
        tokens, as the reference.
    downsampled_width : int, default=32
        The time axis is halved until about this many columns of tokens remain (always at
        least once).
    n_res_blocks : int, default=3
        Residual blocks in the encoder, and as many in the decoder.
    decoder_dilation_growth : int, default=2
        Each residual block of the decoder looks so many times as far along time as the next one:
        with 2, three blocks look 4, 2 and 1 columns of tokens to each side. More than 1
        reconstructs long series better at no cost in time.
    max_epochs : int or "auto", default="auto"
        Passes over the training data. ``"auto"`` makes as many as 1,500 steps of AdamW take, but
        at most 1,000, so that the time taken depends little on the number of series.
    batch_size : int, default=128
        Series in a training step, and at prediction (on the CPU at most 128).
    lr : float, default=3e-3
        Largest learning rate of AdamW.
    weight_decay : float, default=1e-3
        Weight decay of AdamW.
    lr_schedule : {"onecycle", "cosine", "constant"}, default="onecycle"
        Course of the learning rate over all steps.
    early_stopping : bool, default=False
        Set part of the training data aside and stop when the loss on it (reconstruction and
        commitment) stalls; the best weights are kept.
    validation_fraction : float, default=0.1
        Share of the training data set aside by `early_stopping`.
    n_iter_no_change : int, default=20
        Epochs without improvement that `early_stopping` waits for.
    callbacks : list of skorch callbacks or None, default=None
        Added to the training loop.
    mixed_precision : bool, default=False
        Train in bfloat16 where that is safe. Faster on GPUs and on processors with bfloat16
        instructions (AVX512-BF16, AMX), the more so the larger the model; slower on others.
    data_format : {"channels_first", "channels_last"}, default="channels_first"
        Layout of 3-D data: ``(n, channels, length)``, or tslearn's ``(n, length, channels)``.
    irregular : {"raise", "interpolate"}, default="raise"
        What to do with NaN and with series of unequal length: refuse them, or fill gaps
        linearly along time (ends with the nearest value) and stretch all series to the longest
        one in `fit`.
    warm_start : bool, default=False
        Continue with the fitted model at the next `fit`, for `max_epochs` more.
    device : str or torch.device, default="auto"
        ``"auto"`` is CUDA where there is one, else the CPU.
    verbose : int, default=0
        1 prints about a hundred lines on the way; 2 prints every epoch and loss term.
    random_state : int, RandomState instance or None, default=None
        An int makes fits on one machine identical. Global random state is not touched.

    Attributes
    ----------
    codebook_ : ndarray of shape (n_codes, code_dim)
        The codes.
    codebook_usage_ : ndarray of shape (n_codes,)
        Relative frequency of each code in the tokens of the training data.
    perplexity_ : float
        Exponential of the entropy of `codebook_usage_`: how many codes are in effective use.
    history_ : skorch.history.History
        A row for each epoch with the learning loss and its terms, unweighted: ``train_loss``,
        ``train_recon_time``, ``train_recon_timefreq``, ``train_commitment``,
        ``train_aug_recon_time``, ``train_aug_recon_timefreq``, ``train_ssl``, and ``valid_...``
        with `early_stopping`.
    n_iter_ : int
        Epochs trained.
    n_tokens_ : int
        Tokens of a series.
    token_grid_shape_ : tuple of (int, int)
        Rows (frequency) and columns (time) of the token grid.
    n_channels_, n_timesteps_ : int
        Shape of a series.
    module_ : skncvqvae.nn.vqvae.NCVQVAE
        The trained torch module.
    scaler_ : sklearn.preprocessing.StandardScaler
        One mean and standard deviation for each channel, over all series and times.
    n_features_in_ : int
        Second dimension of the training data.
    feature_names_in_ : ndarray of str
        Column names, where the training data had them.

    See Also
    --------
    NCVQVAEGenerator : Samples new series from a prior over the tokens.

    References
    ----------
    .. [1] Mathisen, Lokna, Lee, Aune, "Blending low and high-level semantics of time series for
       better masked time series generation", arXiv:2408.16613, 2024.

    Examples
    --------
    >>> import numpy as np
    >>> from skncvqvae import NCVQVAETransformer
    >>> X = np.sin(np.linspace(0, 9, 64) + np.linspace(0, 6, 40)[:, None])
    >>> transformer = NCVQVAETransformer("histogram", max_epochs=5, random_state=0).fit(X)
    >>> transformer.transform(X).shape
    (40, 32)
    >>> tokens = transformer.tokenize(X)
    >>> transformer.inverse_transform(tokens).shape
    (40, 64)
    """

    _parameter_constraints = {
        "representation": [StrOptions({"tokens", "histogram", "embedding", "codes"})],
        "ssl_method": [StrOptions({"barlowtwins", "vicreg", "vibcreg"}), None],
        "ssl_weight": [StrOptions({"auto", "reference"}), Interval(Real, 0, None, closed="left")],
        "ssl_pooling": [StrOptions({"avg", "avg_max"})],
        "projector_dim": [Interval(Integral, 1, None, closed="left")],
        "augmentations": [str, list, tuple, callable],
        "random_shift": [Interval(Real, 0, None, closed="left")],
        "aug_recon_weight": [Interval(Real, 0, None, closed="left")],
        "aug_recon_fraction": [Interval(Real, 0, 1, closed="right")],
        "n_codes": [StrOptions({"auto"}), Interval(Integral, 2, None, closed="left")],
        "code_dim": [Interval(Integral, 1, None, closed="left")],
        "codebook_init": [StrOptions({"kmeans", "random"})],
        "codebook_decay": [Interval(Real, 0, 1, closed="neither")],
        "dead_code_threshold": [Interval(Real, 0, None, closed="left")],
        "commitment_weight": [Interval(Real, 0, None, closed="left")],
        "n_fft": [Interval(Integral, 4, None, closed="left")],
        "frequency_axis": [StrOptions({"keep", "fold"})],
        "downsampled_width": [Interval(Integral, 1, None, closed="left")],
        "n_res_blocks": [Interval(Integral, 0, None, closed="left")],
        "decoder_dilation_growth": [Interval(Integral, 1, None, closed="left")],
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
        representation="codes",
        *,
        ssl_method="barlowtwins",
        ssl_weight="auto",
        ssl_pooling="avg",
        projector_dim=512,
        augmentations="slice",
        random_shift=1.0,
        aug_recon_weight=0.1,
        aug_recon_fraction=0.25,
        n_codes="auto",
        code_dim=64,
        codebook_init="kmeans",
        codebook_decay=0.9,
        dead_code_threshold=1.0,
        commitment_weight=1.0,
        n_fft=8,
        frequency_axis="fold",
        downsampled_width=32,
        n_res_blocks=3,
        decoder_dilation_growth=2,
        max_epochs="auto",
        batch_size=128,
        lr=3e-3,
        weight_decay=1e-3,
        lr_schedule="onecycle",
        early_stopping=False,
        validation_fraction=0.1,
        n_iter_no_change=20,
        callbacks=None,
        mixed_precision=False,
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
        self.ssl_pooling = ssl_pooling
        self.projector_dim = projector_dim
        self.augmentations = augmentations
        self.random_shift = random_shift
        self.aug_recon_weight = aug_recon_weight
        self.aug_recon_fraction = aug_recon_fraction
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
        self.decoder_dilation_growth = decoder_dilation_growth
        self.max_epochs = max_epochs
        self.batch_size = batch_size
        self.lr = lr
        self.weight_decay = weight_decay
        self.lr_schedule = lr_schedule
        self.early_stopping = early_stopping
        self.validation_fraction = validation_fraction
        self.n_iter_no_change = n_iter_no_change
        self.callbacks = callbacks
        self.mixed_precision = mixed_precision
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
        series = validate_series(self, X, reset=not resume)
        architecture = self._architecture(len(series), resume)
        if resume:
            check_same_architecture(self._fitted_architecture, architecture)
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
                module = NCVQVAE(self.n_channels_, self.n_timesteps_, **architecture).float()
            self.token_grid_shape_ = module.token_grid_shape
            module.set_loss_weights(
                commitment=self.commitment_weight,
                aug_recon=self.aug_recon_weight,
                aug_recon_fraction=self.aug_recon_fraction,
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
                mixed_precision=self.mixed_precision,
                device=device,
                verbose=self.verbose,
                seed=seed,
                shift=self._make_shift(self.random_shift),
                augmentation=augmentation,
            )
        self.module_ = module
        self._fitted_architecture = architecture
        self.history_ = extend_history(self.history_ if resume else None, history)
        self.n_iter_ = len(self.history_)
        self.codebook_ = module.quantizer.codebook.cpu().numpy().copy()
        self.n_tokens_ = int(np.prod(self.token_grid_shape_))
        tokens = self._tokenize(standardised)
        # All tokens as those of one series, so that there is one histogram and not one of each.
        self.codebook_usage_ = token_histogram(tokens.reshape(1, -1), len(self.codebook_))[0]
        self.perplexity_ = float(np.exp(entr(self.codebook_usage_).sum()))

    def _architecture(self, n_series, resume):
        names = (
            "n_fft",
            "n_codes",
            "code_dim",
            "n_res_blocks",
            "decoder_dilation_growth",
            "downsampled_width",
            "frequency_axis",
            "codebook_init",
            "codebook_decay",
            "dead_code_threshold",
            "ssl_method",
            "ssl_pooling",
            "projector_dim",
        )
        automatic = {"n_codes": lambda _: 128 if n_series >= _MIN_SERIES_OF_LARGE_CODEBOOK else 32}
        fitted = self._fitted_architecture if resume else None
        return resolve_architecture(self, names, automatic, fitted)

    def _ssl_weight(self):
        if self.ssl_method is None:
            return 0.0
        if self.ssl_weight == "auto":
            return _AUTO_SSL_WEIGHTS[self.ssl_method]
        if self.ssl_weight == "reference":
            return REFERENCE_SSL_WEIGHTS[self.ssl_method]
        return self.ssl_weight

    def _make_augmentation(self):
        """Return the augmentation of the second view, or None where no loss needs that view."""
        try:
            augmentation = make_augmentation(self.augmentations)
        except (TypeError, ValueError) as error:
            raise type(error)(f"augmentations={self.augmentations!r}: {error}") from error
        # The plain VQ-VAE has one view, and without weight on the second none is needed.
        needed = self.ssl_method is not None and (self._ssl_weight() or self.aug_recon_weight)
        return augmentation if needed else None

    def _make_shift(self, n_widths):
        """Return the augmentation that moves series by less than `n_widths` tokens, or None."""
        length, n_columns = self.n_timesteps_, self.token_grid_shape_[1]
        max_steps = min(math.ceil(n_widths * length / n_columns), length) - 1
        return Shift(max_steps) if max_steps > 0 else None

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
        with np.errstate(over="ignore"):
            out = np.empty(series.shape, dtype=np.float32)
            standardised = map_channels(self.scaler_.transform, series, out)
        if not np.isfinite(standardised).all():
            raise ValueError(
                "X holds values too large, or too far from the training data, for single "
                "precision. Rescale or clip X."
            )
        return standardised

    def _tokenize(self, standardised):
        tokens = self._map_batches(self.module_.tokenize, standardised)
        return tokens.reshape(len(tokens), -1)

    def _map_batches(self, function, array):
        return map_batches(
            function,
            (array,),
            module=self.module_,
            device=self.device,
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
        tokens : ndarray of int of shape (n_series, n_tokens)
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
        self._check_representation()
        series = validate_series(self, X, reset=False)
        tokens = self._tokenize(self._standardise(series))
        # The representation can be far larger than the series: no second copy of it to convert.
        codebook = self.codebook_.astype(series.dtype)
        representation = represent(tokens, codebook, self.representation)
        if representation is tokens:
            return tokens
        return representation.astype(series.dtype, copy=False)

    def _check_representation(self):
        """Check the one parameter of `transform`, which may have been set after `fit`."""
        validate_parameter_constraints(
            {"representation": self._parameter_constraints["representation"]},
            {"representation": self.representation},
            caller_name=type(self).__name__,
        )

    def inverse_transform(self, X):
        """Decode tokens to series.

        Parameters
        ----------
        X : array-like of int of shape (n_series, n_tokens)
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
        wrong = (tokens < 0) | (tokens >= len(self.codebook_)) | (tokens != np.floor(tokens))
        if wrong.any():
            raise ValueError(
                f"tokens hold {tokens[wrong][0]}, which is no code: the codebook has the codes "
                f"0 to {len(self.codebook_) - 1}."
            )
        return restore_layout(self, self._decode(tokens.astype(np.int64)))

    def _decode(self, tokens):
        """Return series ``(n, n_channels, n_timesteps)`` in units and dtype of `fit`'s data."""

        def rescale(columns):
            return self.scaler_.inverse_transform(columns.astype(np.float64), copy=False)

        decoded = self._map_batches(self.module_.decode_tokens, tokens)
        series = decoded.astype(self._X_dtype, copy=False)
        return map_channels(rescale, series, out=series)

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
            In units of each channel's variance in the training data, so that channels count
            alike: -1 is as bad as the mean, 0 is perfect.
        """
        check_is_fitted(self, "module_")
        series = self._standardise(validate_series(self, X, reset=False))
        decoded = self._map_batches(self.module_.decode_tokens, self._tokenize(series))
        return -float(np.mean(np.square(series - decoded), dtype=float))

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
        self._check_representation()
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
    "ssl_weight": "reference",
    "ssl_pooling": "avg_max",
    "projector_dim": 4096,
    "augmentations": "warp",
    "random_shift": 0.0,
    "aug_recon_weight": 0.1,
    "aug_recon_fraction": 1.0,
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
    "decoder_dilation_growth": 1,
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
        scaler = StandardScaler().fit(channel_columns(series))
    if not np.isfinite(scaler.var_).all():
        raise ValueError("X holds values too large to standardise. Rescale X.")
    return scaler
