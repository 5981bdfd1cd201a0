"""`NCVQVAEGenerator`: both stages, as a scikit-learn estimator that samples."""

import copy
import math
from numbers import Integral, Real

import numpy as np
import torch
from sklearn.base import BaseEstimator, DensityMixin, _fit_context, clone
from sklearn.frozen import FrozenEstimator
from sklearn.model_selection import train_test_split
from sklearn.preprocessing import LabelEncoder
from sklearn.utils import (
    check_consistent_length,
    check_random_state,
    column_or_1d,
    get_tags,
    resample,
)
from sklearn.utils._param_validation import Interval, StrOptions, validate_parameter_constraints
from sklearn.utils.multiclass import check_classification_targets
from sklearn.utils.validation import _num_samples, check_is_fitted, check_scalar

from ._base import (
    TRAINING_CONSTRAINTS,
    PortablePickleMixin,
    check_same_architecture,
    isolated_seed,
    resolve_architecture,
)
from ._device import prediction_device, resolve_device
from ._inference import map_batches
from ._memory import n_within_memory
from ._observation_noise import ObservationNoise
from ._resampling import import_imblearn
from ._shared_moments import SharedMoments
from ._training import PriorNet, extend_history, train
from ._transformer import NCVQVAETransformer
from ._validation import (
    in_training_layout,
    keep_fitted_state,
    restore_layout,
    validate_series,
)
from .augmentations import Shift, augment
from .nn.prior import MaskedPrior

# Series that the observation noise is estimated from: more hardly change it.
_MAX_NOISE_SERIES = 1000
# Training series from which a wider prior is worth its time (examples/benchmarks/prior.py).
_MIN_SERIES_OF_WIDE_PRIOR = 1000


class NCVQVAEGenerator(PortablePickleMixin, DensityMixin, BaseEstimator):
    """Synthetic time series like those it was fitted on, with or without classes.

    Stage 1, an `NCVQVAETransformer`, turns series into tokens. Stage 2, a bidirectional
    transformer, learns to fill in masked tokens given the others and the class, and draws new
    token grids by filling in an empty one over a few steps; stage 1 decodes them to series.

    Read more in :doc:`/user_guide`.

    Parameters
    ----------
    transformer : NCVQVAETransformer, FrozenEstimator or None, default=None
        Stage 1. It is cloned and fitted; a fitted one wrapped in
        ``sklearn.frozen.FrozenEstimator`` is used as it is. None is ``NCVQVAETransformer()``
        with this estimator's `device` and `verbose`.
    prior_hidden_dim : int or "auto", default="auto"
        Width of the prior. ``"auto"`` is 64, or 128 from 1,000 training series on, which hold
        more than 64 dimensions learn.
    prior_n_layers : int, default=2
        Blocks of the prior.
    prior_n_heads : int or "auto", default="auto"
        Attention heads, of 64 dimensions each. ``"auto"`` is one for each 64 of
        `prior_hidden_dim`, and at least one.
    prior_ff_mult : int, default=1
        Width of the feed-forward layers relative to `prior_hidden_dim`.
    prior_dropout : float, default=0.1
        Dropout in the prior's blocks.
    p_unconditional : float, default=0.2
        Share of training series that lose their class. It teaches the prior without class,
        which guidance, and `score_samples` without labels, need.
    prior_max_epochs : int or "auto", default="auto"
        Passes over the tokens. ``"auto"`` makes as many as 3,000 steps of AdamW take, or 160
        where there are more than about 1,200 series, in no more than 9,000 steps.
    prior_batch_size : int, default=64
        Series in a training step of the prior, and when sampling (on the CPU at most 128).
    prior_lr : float, default=3e-3
        Largest learning rate of AdamW.
    prior_weight_decay : float, default=1e-3
        Weight decay of AdamW.
    prior_lr_schedule : {"onecycle", "cosine", "constant"}, default="onecycle"
        Course of the learning rate over all steps.
    prior_early_stopping : bool, default=False
        Set part of the tokens aside and stop when their loss stalls; the best weights are kept.
    prior_validation_fraction : float, default=0.1
        Share of the data set aside by `prior_early_stopping`.
    prior_n_iter_no_change : int, default=20
        Epochs without improvement that `prior_early_stopping` waits for.
    prior_callbacks : list of skorch callbacks or None, default=None
        Added to the prior's training loop.
    prior_mixed_precision : bool, default=False
        Train the prior, and draw from it, in bfloat16 where that is safe, as `mixed_precision`
        of `NCVQVAETransformer` does for stage 1. On a CPU the default prior gains little.
    n_steps : int, default=10
        Steps of iterative decoding when sampling. Fewer steps give more diverse series.
    temperature : float, default=1.0
        Divides the logits tokens are drawn from. Below 1, series are more typical.
    choice_temperature : float, default=4.0
        Scale of the Gumbel noise in the choice of tokens to keep. Lower is more greedy.
    guidance_scale : float, default=1.0
        Strength of the class: 0 ignores it, 1 is the conditional prior, more exaggerates it.
    observation_noise : float, default=1.0
        Scale of the noise that `sample` adds to decoded series. A decoder returns what is common
        to all series of the same tokens, which is smoother than any of them; at 1 the noise
        brings back the spectrum of the training series, at 0 series are left as decoded.
    match_moments : bool, default=True
        Whether `sample` and `vary` give each series the mean and the standard deviation over time
        that all training series share, where they share them: series are often standardised one
        by one, and what is decoded from tokens is so only roughly.
    sampling_strategy : str, float, dict or callable, default="auto"
        What `fit_resample` adds, as in imbalanced-learn. ``"auto"`` fills all classes up to the
        largest.
    warm_start : bool, default=False
        Continue with the fitted prior, and its tokenizer as it is, at the next `fit`.
    device : str or torch.device, default="auto"
        Device of the prior; ``"auto"`` is CUDA where there is one, else the CPU.
    verbose : int, default=0
        1 prints about a hundred lines for each stage, 2 every epoch.
    random_state : int, RandomState instance or None, default=None
        Seeds both stages (where `transformer` has no `random_state` of its own) and `sample`.

    Attributes
    ----------
    transformer_ : NCVQVAETransformer or FrozenEstimator
        The fitted stage 1.
    prior_ : skncvqvae.nn.prior.MaskedPrior
        The trained torch module of stage 2.
    classes_ : ndarray of shape (n_classes,) or None
        Class labels; None after a fit without labels.
    class_prior_ : ndarray of shape (n_classes,) or None
        Their proportions in the training data.
    observation_noise_ : ObservationNoise
        The noise model, fitted to what decoding loses of the training series.
    shared_moments_ : SharedMoments
        The mean and the standard deviation that all training series share; NaN in channels where
        they differ.
    history_ : skorch.history.History
        A row for each epoch of the prior; that of stage 1 is ``transformer_.history_``.
    n_iter_ : int
        Epochs of the prior.
    sampling_strategy_ : dict
        After `fit_resample`, the number of series added to each class.
    n_features_in_ : int
        As of `transformer_`.
    feature_names_in_ : ndarray of str
        As of `transformer_`.

    See Also
    --------
    NCVQVAETransformer : Stage 1 by itself.

    References
    ----------
    .. [1] Mathisen, Lokna, Lee, Aune, "Blending low and high-level semantics of time series for
       better masked time series generation", arXiv:2408.16613, 2024.
    .. [2] Chang, Zhang, Jiang, Liu, Freeman, "MaskGIT: masked generative image transformer",
       arXiv:2202.04200, 2022.

    Examples
    --------
    >>> import numpy as np
    >>> from skncvqvae import NCVQVAEGenerator
    >>> X = np.sin(np.linspace(0, 9, 64) + np.linspace(0, 6, 40)[:, None])
    >>> y = np.repeat(["early", "late"], 20)
    >>> generator = NCVQVAEGenerator(prior_max_epochs=5, random_state=0)
    >>> generator = generator.set_params(transformer__max_epochs=5).fit(X, y)
    >>> X_new, y_new = generator.sample(3, y="late")
    >>> X_new.shape
    (3, 64)
    """

    _parameter_constraints = {
        "transformer": [NCVQVAETransformer, FrozenEstimator, None],
        "prior_hidden_dim": [StrOptions({"auto"}), Interval(Integral, 1, None, closed="left")],
        "prior_n_layers": [Interval(Integral, 1, None, closed="left")],
        "prior_n_heads": [StrOptions({"auto"}), Interval(Integral, 1, None, closed="left")],
        "prior_ff_mult": [Interval(Integral, 1, None, closed="left")],
        "prior_dropout": [Interval(Real, 0, 1, closed="left")],
        "p_unconditional": [Interval(Real, 0, 1, closed="both")],
        **{f"prior_{name}": constraint for name, constraint in TRAINING_CONSTRAINTS.items()},
        "n_steps": [Interval(Integral, 1, None, closed="left")],
        "temperature": [Interval(Real, 0, None, closed="neither")],
        "choice_temperature": [Interval(Real, 0, None, closed="left")],
        "guidance_scale": [Interval(Real, 0, None, closed="left")],
        "observation_noise": [Interval(Real, 0, None, closed="left")],
        "match_moments": ["boolean"],
        "sampling_strategy": [str, Real, dict, callable],
        "warm_start": ["boolean"],
        "device": [str, torch.device],
        "verbose": ["verbose"],
        "random_state": ["random_state"],
    }

    # imbalanced-learn asks for this to tell what fit_resample does.
    _sampling_type = "over-sampling"

    def __init__(
        self,
        transformer=None,
        *,
        prior_hidden_dim="auto",
        prior_n_layers=2,
        prior_n_heads="auto",
        prior_ff_mult=1,
        prior_dropout=0.1,
        p_unconditional=0.2,
        prior_max_epochs="auto",
        prior_batch_size=64,
        prior_lr=3e-3,
        prior_weight_decay=1e-3,
        prior_lr_schedule="onecycle",
        prior_early_stopping=False,
        prior_validation_fraction=0.1,
        prior_n_iter_no_change=20,
        prior_callbacks=None,
        prior_mixed_precision=False,
        n_steps=10,
        temperature=1.0,
        choice_temperature=4.0,
        guidance_scale=1.0,
        observation_noise=1.0,
        match_moments=True,
        sampling_strategy="auto",
        warm_start=False,
        device="auto",
        verbose=0,
        random_state=None,
    ):
        self.transformer = transformer
        self.prior_hidden_dim = prior_hidden_dim
        self.prior_n_layers = prior_n_layers
        self.prior_n_heads = prior_n_heads
        self.prior_ff_mult = prior_ff_mult
        self.prior_dropout = prior_dropout
        self.p_unconditional = p_unconditional
        self.prior_max_epochs = prior_max_epochs
        self.prior_batch_size = prior_batch_size
        self.prior_lr = prior_lr
        self.prior_weight_decay = prior_weight_decay
        self.prior_lr_schedule = prior_lr_schedule
        self.prior_early_stopping = prior_early_stopping
        self.prior_validation_fraction = prior_validation_fraction
        self.prior_n_iter_no_change = prior_n_iter_no_change
        self.prior_callbacks = prior_callbacks
        self.prior_mixed_precision = prior_mixed_precision
        self.n_steps = n_steps
        self.temperature = temperature
        self.choice_temperature = choice_temperature
        self.guidance_scale = guidance_scale
        self.observation_noise = observation_noise
        self.match_moments = match_moments
        self.sampling_strategy = sampling_strategy
        self.warm_start = warm_start
        self.device = device
        self.verbose = verbose
        self.random_state = random_state

    @classmethod
    def reference(cls, **overrides):
        """Return an unfitted generator in the authors' configuration, both stages.

        Parameters
        ----------
        **overrides
            Parameters to set otherwise; ``transformer__<name>`` reaches stage 1.

        Returns
        -------
        NCVQVAEGenerator
        """
        shared = {name: overrides[name] for name in ("device", "verbose") if name in overrides}
        generator = cls(NCVQVAETransformer.reference(**shared), **_REFERENCE)
        return generator.set_params(**overrides)

    def set_params(self, **params):
        """Set parameters; ``transformer__<name>`` also works while `transformer` is None.

        Parameters
        ----------
        **params
            Parameters and their values.

        Returns
        -------
        self
        """
        nested = {name: params.pop(name) for name in list(params) if "__" in name}
        super().set_params(**params)
        if self.transformer is None and any(name.startswith("transformer__") for name in nested):
            self.transformer = self._default_transformer()
        return super().set_params(**nested)

    def _default_transformer(self):
        return NCVQVAETransformer(device=self.device, verbose=self.verbose)

    @property
    def n_features_in_(self):
        """Number of features seen in `fit`, as of `transformer_`."""
        return self.transformer_.n_features_in_

    @property
    def feature_names_in_(self):
        """Names of the columns seen in `fit`, as of `transformer_`."""
        return self.transformer_.feature_names_in_

    @_fit_context(prefer_skip_nested_validation=False)
    def fit(self, X, y=None):
        """Train the tokenizer, then the masked prior over its tokens.

        Parameters
        ----------
        X : array-like
            Series, in a layout that `NCVQVAETransformer.fit` takes.
        y : array-like of shape (n_series,), optional
            Class labels of any dtype. With them the prior is conditional.

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
            self._fit(X, y)
        return self

    def _fit(self, X, y):
        device = resolve_device(self.device)
        resume = self.warm_start and hasattr(self, "prior_")
        rng = check_random_state(self.random_state)
        seed = rng.randint(np.iinfo(np.int32).max)
        labels = self._fit_labels(X, y, resume)
        architecture = self._architecture(len(labels), resume)
        if resume:
            check_same_architecture(self._fitted_architecture, architecture)
        training, validation = self._split(labels, rng)
        if not resume:
            self.transformer_ = self._fit_transformer(X, rng)
        series = validate_series(self.transformer_, X, reset=False)
        # By private methods, so that X is validated only once more than in stage 1.
        tokens = self.transformer_._tokenize(self.transformer_._standardise(series))

        with isolated_seed(seed, device):
            if resume:
                prior = copy.deepcopy(self.prior_)
            else:
                prior = MaskedPrior(
                    torch.from_numpy(self.transformer_.codebook_),
                    n_tokens=self.transformer_.n_tokens_,
                    n_classes=0 if self.classes_ is None else len(self.classes_),
                    **{name.removeprefix("prior_"): v for name, v in architecture.items()},
                ).float()
            history = train(
                PriorNet,
                prior,
                (tokens[training], labels[training]),
                valid_arrays=(
                    None if validation is None else (tokens[validation], labels[validation])
                ),
                max_epochs=self.prior_max_epochs,
                lr=self.prior_lr,
                weight_decay=self.prior_weight_decay,
                batch_size=self.prior_batch_size,
                lr_schedule=self.prior_lr_schedule,
                n_iter_no_change=self.prior_n_iter_no_change,
                callbacks=self.prior_callbacks,
                mixed_precision=self.prior_mixed_precision,
                device=device,
                verbose=self.verbose,
                seed=seed,
                lr_name="prior_lr",
            )
        self.prior_ = prior
        self.observation_noise_ = self._fit_observation_noise(series, rng)
        self.shared_moments_ = SharedMoments().fit(series)
        self._fitted_architecture = architecture
        self.history_ = extend_history(self.history_ if resume else None, history)
        self.n_iter_ = len(self.history_)

    def _fit_observation_noise(self, series, rng):
        transformer = self.transformer_
        n = min(n_within_memory(series[0].size), _MAX_NOISE_SERIES)
        chosen = resample(series, replace=len(series) < n, n_samples=n, random_state=rng)
        # A decoder loses more of other series than of those it was trained on, the more so without
        # random shifts. Moved by less than a token, the training series stand for others.
        shift = transformer._make_shift(1) or Shift(1)
        seed = rng.randint(np.iinfo(np.int32).max)
        shifted = augment(chosen, shift, random_state=seed)
        tokens = transformer._tokenize(transformer._standardise(shifted))
        decoded = transformer._decode(tokens)
        grids = self._as_grids(tokens)
        return ObservationNoise().fit(shifted, decoded, grids, len(transformer.codebook_), rng)

    def _architecture(self, n_series, resume):
        names = ("prior_hidden_dim", "prior_n_layers", "prior_n_heads", "prior_ff_mult")
        names += ("prior_dropout", "p_unconditional")
        automatic = {
            "prior_hidden_dim": lambda _: 128 if n_series >= _MIN_SERIES_OF_WIDE_PRIOR else 64,
            "prior_n_heads": lambda chosen: max(1, chosen["prior_hidden_dim"] // 64),
        }
        fitted = self._fitted_architecture if resume else None
        return resolve_architecture(self, names, automatic, fitted)

    def _fit_labels(self, X, y, resume):
        """Set `classes_` and `class_prior_`, and return the labels as integers.

        Without `y` all labels are 0, which the prior with no classes reads as 'no class'.
        """
        if y is None:
            classes, class_prior, labels = None, None, np.zeros(_num_samples(X), dtype=np.int64)
        else:
            check_consistent_length(X, y)
            y = column_or_1d(y, warn=True)
            check_classification_targets(y)
            encoder = LabelEncoder().fit(y)
            classes, labels = encoder.classes_, encoder.transform(y).astype(np.int64)
            class_prior = np.bincount(labels) / len(labels)
        if resume and not np.array_equal(classes, self.classes_):
            raise ValueError(
                f"warm_start=True continues a prior with classes_={self.classes_}, but y has "
                f"{classes}. Pass the same classes or set warm_start=False."
            )
        self.classes_, self.class_prior_ = classes, class_prior
        return labels

    def _split(self, labels, rng):
        everything = np.arange(len(labels))
        if not self.prior_early_stopping:
            return everything, None
        # Classes of one series stay in training, and the others are split in proportion.
        counts = np.bincount(labels)
        alone = counts[labels] == 1
        splittable = everything[~alone]
        n_validation = math.ceil(self.prior_validation_fraction * len(splittable))
        stratified = n_validation >= (counts > 1).sum()
        training, validation = train_test_split(
            splittable,
            test_size=self.prior_validation_fraction,
            random_state=rng,
            stratify=labels[splittable] if stratified else None,
        )
        return np.concatenate([training, everything[alone]]), validation

    def _fit_transformer(self, X, rng):
        if isinstance(self.transformer, FrozenEstimator):
            if not isinstance(self.transformer.estimator, NCVQVAETransformer):
                raise TypeError(
                    "transformer=FrozenEstimator(...) must wrap an NCVQVAETransformer, not "
                    f"{type(self.transformer.estimator).__name__}."
                )
            check_is_fitted(self.transformer.estimator, "module_")
            return self.transformer
        if self.transformer is None:
            transformer = self._default_transformer()
        else:
            transformer = clone(self.transformer)
        if transformer.random_state is None:
            transformer.set_params(random_state=rng.randint(np.iinfo(np.int32).max))
        return transformer.fit(X)

    def sample(
        self,
        n_samples=1,
        y=None,
        *,
        n_steps=None,
        temperature=None,
        choice_temperature=None,
        guidance_scale=None,
        observation_noise=None,
        random_state=None,
    ):
        """Draw synthetic series.

        Parameters
        ----------
        n_samples : int, default=1
            How many series. With an array as `y`, its length counts instead.
        y : label or array-like of shape (n_samples,), optional
            Class or classes to draw from. None draws them in their training proportions.
        n_steps, temperature, choice_temperature, guidance_scale, observation_noise : optional
            As the constructor's parameters of these names, for this call.
        random_state : int, RandomState instance or None, default=None
            None uses the constructor's `random_state`; an int there gives the same series
            at every call.

        Returns
        -------
        X : ndarray
            Series in the units, layout, length and dtype of the training data.
        y : ndarray of shape (n_samples,) or None
            Their classes; None when the generator was fitted without labels.

        Raises
        ------
        sklearn.exceptions.NotFittedError
            Before `fit`.
        ValueError
            On a class not seen in `fit`, or a parameter out of range.
        """
        check_is_fitted(self, "prior_")
        options = self._sampling_options(
            "sample",
            n_steps=n_steps,
            temperature=temperature,
            choice_temperature=choice_temperature,
            guidance_scale=guidance_scale,
            observation_noise=observation_noise,
        )
        rng = check_random_state(self.random_state if random_state is None else random_state)
        labels = self._labels_to_sample(n_samples, y, rng)
        noise_scale = options.pop("observation_noise")
        tokens = self._draw_tokens(labels, options, rng)
        # Of the transformer the private methods: arrays of series, whatever the layout of X.
        series = self.transformer_._decode(tokens)
        if noise_scale:
            self.observation_noise_.add_to(series, self._as_grids(tokens), rng, noise_scale)
        if self.match_moments:
            self.shared_moments_.restore(series)
        X = restore_layout(self.transformer_, series)
        return X, None if self.classes_ is None else self.classes_[labels]

    def vary(
        self,
        X,
        y=None,
        *,
        mask_ratio=0.5,
        n_steps=None,
        temperature=None,
        choice_temperature=None,
        guidance_scale=None,
        random_state=None,
    ):
        """Draw variations of given series.

        A random part of each series' tokens is masked and drawn anew by the prior, given the
        others and the class. What decoding the tokens loses of a series is kept: the difference
        that new tokens make is added to it.

        Parameters
        ----------
        X : array-like
            Series as in `fit`.
        y : array-like of shape (n_series,), optional
            Their classes. Without it the prior is asked without class.
        mask_ratio : float, default=0.5
            Share of the tokens that are drawn anew, in (0, 1]. The lower, the nearer to `X`.
        n_steps, temperature, choice_temperature, guidance_scale : optional
            As in `sample`.
        random_state : int, RandomState instance or None, default=None
            As in `sample`.

        Returns
        -------
        ndarray
            A variation of each series, in the layout and dtype of the training data. Where all
            of a series' new tokens come out as they were, that is the series itself, to rounding.

        Raises
        ------
        sklearn.exceptions.NotFittedError
            Before `fit`.
        ValueError
            On a class not seen in `fit`, or a parameter out of range.
        """
        check_is_fitted(self, "prior_")
        options = self._sampling_options(
            "vary",
            n_steps=n_steps,
            temperature=temperature,
            choice_temperature=choice_temperature,
            guidance_scale=guidance_scale,
        )
        check_scalar(
            mask_ratio, "mask_ratio", Real, min_val=0, max_val=1, include_boundaries="right"
        )
        transformer = self.transformer_
        series = validate_series(transformer, X, reset=False)
        labels = self._given_labels(series, y)
        rng = check_random_state(self.random_state if random_state is None else random_state)
        tokens = transformer._tokenize(transformer._standardise(series))
        n_masked = max(1, round(mask_ratio * tokens.shape[1]))
        rank = rng.random_sample(tokens.shape).argsort(axis=1)
        masked = np.where(rank < n_masked, self.prior_.mask_token, tokens)
        varied = self._draw_tokens(labels, options, rng, masked)
        change = transformer._decode(varied) - transformer._decode(tokens)
        series = series + change
        if self.match_moments:
            self.shared_moments_.restore(series)
        return restore_layout(transformer, series)

    def _sampling_options(self, caller, **given):
        """Return what was given, else the constructor's parameters, validated."""
        options = {
            name: getattr(self, name) if value is None else value for name, value in given.items()
        }
        validate_parameter_constraints(
            {name: self._parameter_constraints[name] for name in options},
            options,
            caller_name=caller,
        )
        return options

    def _draw_tokens(self, labels, options, rng, *tokens):
        device = prediction_device(self.device)
        generator = torch.Generator(device).manual_seed(rng.randint(np.iinfo(np.int32).max))

        def draw(labels, tokens=None):
            return self.prior_.sample(labels, tokens=tokens, generator=generator, **options)

        return self._map_batches(draw, labels, *tokens, mixed_precision=self.prior_mixed_precision)

    def _given_labels(self, series, y):
        """Encode the labels of given series; 'no class' without them."""
        if y is None or self.classes_ is None:
            return np.full(len(series), self.prior_.n_classes)
        check_consistent_length(series, y)
        return self._encode_labels(column_or_1d(y))

    def _as_grids(self, tokens):
        return tokens.reshape(len(tokens), *self.transformer_.token_grid_shape_)

    def _labels_to_sample(self, n_samples, y, rng):
        if y is None or np.ndim(y) == 0:
            check_scalar(n_samples, "n_samples", Integral, min_val=1)
        if y is None:
            if self.classes_ is None:
                return np.zeros(n_samples, dtype=np.int64)
            return rng.choice(len(self.classes_), size=n_samples, p=self.class_prior_)
        y = np.repeat([y], n_samples) if np.ndim(y) == 0 else column_or_1d(y)
        if len(y) == 0:
            raise ValueError("y is empty. Pass at least one label to sample, or None.")
        if n_samples not in (1, len(y)):
            raise ValueError(
                f"n_samples={n_samples} contradicts the {len(y)} labels of y. Pass one of them."
            )
        return self._encode_labels(y)

    def _encode_labels(self, y):
        if self.classes_ is None:
            raise ValueError("y was given, but the generator was fitted without labels.")
        unseen = sorted(set(np.unique(y).tolist()) - set(self.classes_.tolist()), key=str)
        if unseen:
            raise ValueError(
                f"y holds {unseen}, not seen in fit. The classes are {self.classes_.tolist()}."
            )
        return np.searchsorted(self.classes_, y).astype(np.int64)

    def _map_batches(self, function, *arrays, mixed_precision=False):
        return map_batches(
            function,
            arrays,
            module=self.prior_,
            device=self.device,
            batch_size=self.prior_batch_size,
            mixed_precision=mixed_precision,
        )

    def score_samples(self, X, y=None):
        """Return the pseudo-log-likelihood of series under the masked prior.

        The sum over tokens of ``log p(token | all other tokens, class)``; Besag (1975),
        Salazar et al. (arXiv:1910.14659, eq. 1). It takes one pass for each token. Comparable
        only between generators that share a tokenizer.

        Parameters
        ----------
        X : array-like
            Series as in `fit`.
        y : array-like of shape (n_series,), optional
            Their classes; without them the 'no class' prior scores.

        Returns
        -------
        ndarray of shape (n_series,)
            In nats; higher is more likely.
        """
        check_is_fitted(self, "prior_")
        tokens = self.transformer_.tokenize(X)
        labels = self._given_labels(tokens, y)
        return self._map_batches(self.prior_.pseudo_log_likelihood, tokens, labels)

    def score(self, X, y=None):
        """Return the mean of `score_samples`.

        Comparable only between generators that share a tokenizer: one with fewer or less used
        codes has an easier task, whatever its series look like. To search the parameters of
        `transformer`, pass `scoring`. A class that `fit` has not seen is an error, so
        cross-validate with ``StratifiedKFold``.

        Parameters
        ----------
        X : array-like
            Series as in `fit`.
        y : array-like of shape (n_series,), optional

        Returns
        -------
        float
        """
        return float(self.score_samples(X, y).mean())

    def fit_resample(self, X, y):
        """Fit the generator and return the data with synthetic series added to small classes.

        Follows imbalanced-learn's contract, so a generator is a step of
        ``imblearn.pipeline.Pipeline``.

        Parameters
        ----------
        X : array-like
            Series as in `fit`.
        y : array-like of shape (n_series,)
            Class labels.

        Returns
        -------
        X_resampled, y_resampled
            The data, in their order, followed by the synthetic series of the classes that
            `sampling_strategy` names. Data frames and series come back as such.

        Raises
        ------
        ImportError
            Without imbalanced-learn.
        """
        check_sampling_strategy, ArraysTransformer = import_imblearn()
        container = ArraysTransformer(X, y)
        strategy = check_sampling_strategy(
            self.sampling_strategy, column_or_1d(y), self._sampling_type
        )
        self.fit(X, y)
        self.sampling_strategy_ = strategy
        labels = np.repeat(list(strategy), list(strategy.values()))
        X = in_training_layout(self.transformer_, X)
        y = column_or_1d(y)
        if len(labels):
            X_new, y_new = self.sample(y=labels)
            X, y = np.concatenate([X, X_new]), np.concatenate([y, y_new])
        return container.transform(X, y)

    def __sklearn_tags__(self):
        tags = super().__sklearn_tags__()
        transformer = self.transformer or self._default_transformer()
        tags.input_tags = get_tags(transformer).input_tags
        return tags


_REFERENCE = {
    "prior_hidden_dim": 256,
    "prior_n_layers": 4,
    "prior_n_heads": 2,
    "prior_ff_mult": 1,
    "prior_dropout": 0.0,
    "p_unconditional": 0.2,
    "prior_max_epochs": 1000,
    "prior_batch_size": 256,
    "prior_lr": 1e-3,
    "prior_weight_decay": 1e-3,
    "prior_lr_schedule": "cosine",
    "n_steps": 10,
    "temperature": 1.0,
    "choice_temperature": 4.0,
    "guidance_scale": 1.0,
    "observation_noise": 0.0,
    "match_moments": False,
}
