"""`NCVQVAEGenerator`: both stages, as a scikit-learn estimator that samples."""

import copy
import warnings
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from numbers import Real
from typing import Any, ClassVar, Literal, Protocol, Self

import numpy as np
import torch
from numpy.typing import ArrayLike, NDArray
from sklearn.base import BaseEstimator, DensityMixin, _fit_context
from sklearn.frozen import FrozenEstimator
from sklearn.utils import Tags, get_tags
from sklearn.utils._param_validation import (
    HasMethods,
    Interval,
    StrOptions,
    validate_parameter_constraints,
)
from sklearn.utils.validation import (
    _num_samples,
    check_is_fitted,
    check_scalar,
    has_fit_parameter,
)

from ._base import (
    CopyingWarning,
    ModelMixin,
    clone_estimator,
    draw_seed,
    keep_fitted_state,
    named_as,
    read_random_state,
    set_nested_params,
)
from ._checkpoints import Folder, random_state_of
from ._codec import SeriesCodec
from ._containers import refuse_no_series
from ._copies import N_COPIES, plan_copies
from ._copying import compare_tokens, n_to_draw
from ._decoding import Finish, choose_finish, draw_moved
from ._device import resolve_device
from ._labels import Classes, fit_classes, labels_to_draw, read_labels
from ._marginals import Marginals
from ._memory import all_finite
from ._observation_noise import ObservationNoise
from ._prior import AutoregressiveTokenPrior, MaskedTokenPrior
from ._resampling import Resampled, import_check_sampling_strategy, restore_labels
from ._shared_moments import SharedMoments
from ._tokens import MASKED, EncodedSeries
from ._training import TRAINING_CONSTRAINTS
from ._transformer import NCVQVAETransformer
from .samplers import MaskGIT, Sampler

# Series that the observation noise is estimated from: more hardly change it.
_N_NOISE_SERIES = 1000
# Share of pairs in which a sample is nearer than a training series from which `fit` warns, and
# how probable that may be by chance. New series reach a half, default generators of small sets
# three quarters.
_MOST_COPYING = 0.9
_MOST_CHANCE = 0.01


class TokenPrior(Protocol):
    """What a generator asks of its prior."""

    def fit(self, tokens: Any, y: Any = None) -> Any:
        """Learn from rows of tokens ``(n, n_tokens)``, and labels or None."""
        ...

    def sample(
        self, n_samples: int = 1, y: Any = None, *, tokens: Any = None, random_state: Any = None
    ) -> tuple[Any, Any]:
        """Return rows of tokens, those of `tokens` completed, and their labels."""
        ...

    def score_samples(self, tokens: Any, y: Any = None) -> Any:
        """Return the log-likelihood of rows of tokens, in nats."""
        ...


class NCVQVAEGenerator(ModelMixin, DensityMixin, BaseEstimator):
    """Synthetic time series like those it was fitted on, with or without classes.

    Stage 1, an `NCVQVAETransformer`, turns series into tokens. Stage 2, a prior over the tokens,
    learns which rows of them are likely, given the class, and draws new ones; stage 1 decodes
    them to series.

    Read more in :doc:`/user_guide`.

    Parameters
    ----------
    transformer : NCVQVAETransformer, FrozenEstimator or None, default=None
        Stage 1. It is cloned and fitted; a fitted one wrapped in
        ``sklearn.frozen.FrozenEstimator`` is used as it is. None is
        ``NCVQVAETransformer(aug_recon_weight=0, neural_mapper=True)``, which decodes best, with
        this estimator's `device` and `verbose`.
    prior : estimator or None, default=None
        Stage 2: `MaskedTokenPrior`, `AutoregressiveTokenPrior`, or any estimator over tokens
        with ``fit(tokens, y)``, ``sample(n_samples, y, tokens=..., random_state=...)`` that
        returns tokens and labels, and ``score_samples(tokens, y)``. It is cloned and fitted. None
        is ``AutoregressiveTokenPrior()`` with this estimator's `device` and `verbose`.
    sampler : skncvqvae.samplers.Sampler or None, default=None
        How `prior` draws tokens; its parameters can be set for each call of `sample`. None is
        the prior's own: `skncvqvae.samplers.Autoregressive`, or `skncvqvae.samplers.MaskGIT` for
        `MaskedTokenPrior`.
    observation_noise : float or "auto", default="auto"
        Scale of the noise that `sample` adds to decoded series. A decoder returns what is common
        to all series of the same tokens, which is smoother than any of them; at 1 the noise
        brings back the spectrum of the training series, at 0 there is none.
        ``"auto"`` is what of 0, 0.5 and 1 brings decoded training series nearest to real ones,
        by features of random kernels.
    match_moments : bool or "auto", default="auto"
        Whether `sample` and `vary` give each series the mean and the standard deviation over time
        that all training series share, where they share them: series are often standardised one
        by one, and what is decoded from tokens is so only roughly. ``"auto"`` is chosen as that
        of `observation_noise`.
    match_marginals : bool or "auto", default="auto"
        Whether `sample` maps values to those that occur in the training series, each to that of
        the same quantile: decoded series with noise leave their range, and miss the values at
        which they rest. ``"auto"`` does so where the distributions of a channel's values differ
        by more than chance, or leave the range. Not with noise of more than scale 1.
    sampling_strategy : str, float, dict or callable, default="auto"
        What `fit_resample` adds, as in imbalanced-learn. ``"auto"`` fills all classes up to the
        largest.
    warm_start : bool, default=False
        Continue with the fitted prior, and its tokenizer as it is, at the next `fit`.
    checkpoint_dir : str, path-like or None, default=None
        That of the parts that have none. See :doc:`/saving`.
    checkpoint_every : float, default=5.0
        Minutes between two checkpoints.
    device : str or torch.device, default="auto"
        Device of the parts that are None; ``"auto"`` is CUDA where there is one, else the CPU.
    verbose : int, default=0
        That of the parts that are None.
    random_state : int, RandomState instance or None, default=None
        Seeds both stages (where they have no `random_state` of their own) and `sample`.

    Attributes
    ----------
    transformer_ : NCVQVAETransformer or FrozenEstimator
        The fitted stage 1.
    prior_ : estimator
        The fitted stage 2.
    classes_ : ndarray of shape (n_classes,) or None
        Class labels; None after a fit without labels.
    class_prior_ : ndarray of shape (n_classes,) or None
        Their proportions in the training data.
    observation_noise_ : ObservationNoise
        The noise model, fitted to what decoding loses of the training series.
    shared_moments_ : SharedMoments
        The mean and the standard deviation that all training series share; NaN in channels where
        they differ.
    marginals_ : Marginals
        How often values occur in each channel, of training series and of decoded ones, and where
        they differ.
    finish_ : Finish
        What ``"auto"`` stands for: `noise_scale` and `match_moments`.
    copying_ : float
        Probability that a sample has tokens nearer to those of a training series than another
        training series has. 0.5 when samples are as new as series of a hold-out, 1 for copies;
        NaN after a fit to one series. From 0.9, `fit` warns. See
        `skncvqvae.metrics.copying_test`.
    sampling_strategy_ : dict
        After `fit_resample`, the number of series added to each class.
    n_features_in_ : int
        As of `transformer_`.
    feature_names_in_ : ndarray of str
        As of `transformer_`.

    See Also
    --------
    NCVQVAETransformer : Stage 1 by itself.
    MaskedTokenPrior : Stage 2 by itself.

    References
    ----------
    .. [1] Mathisen, Lokna, Lee, Aune, "Blending low and high-level semantics of time series for
       better masked time series generation", arXiv:2408.16613, 2024.

    Examples
    --------
    >>> import numpy as np
    >>> from skncvqvae import NCVQVAEGenerator
    >>> X = np.sin(np.linspace(0, 9, 64) + np.linspace(0, 6, 40)[:, None])
    >>> y = np.repeat(["early", "late"], 20)
    >>> generator = NCVQVAEGenerator(random_state=0)
    >>> generator = generator.set_params(transformer__max_epochs=5, prior__max_epochs=5).fit(X, y)
    >>> X_new, y_new = generator.sample(3, y="late", temperature=0.9)
    >>> X_new.shape
    (3, 64)
    """

    _parameter_constraints: ClassVar[dict[str, list[Any]]] = {
        "transformer": [NCVQVAETransformer, FrozenEstimator, None],
        "prior": [HasMethods(["fit", "sample", "score_samples"]), None],
        "sampler": [HasMethods(["get_params", "set_params"]), None],
        "observation_noise": [StrOptions({"auto"}), Interval(Real, 0, None, closed="left")],
        "match_moments": [StrOptions({"auto"}), "boolean"],
        "match_marginals": [StrOptions({"auto"}), "boolean"],
        "sampling_strategy": [str, Real, dict, callable],
        "warm_start": ["boolean"],
        "checkpoint_dir": TRAINING_CONSTRAINTS["checkpoint_dir"],
        "checkpoint_every": TRAINING_CONSTRAINTS["checkpoint_every"],
        "device": [str, torch.device],
        "verbose": ["verbose"],
        "random_state": ["random_state"],
    }

    # imbalanced-learn asks for this to tell what fit_resample does.
    _sampling_type = "over-sampling"

    def __init__(
        self,
        transformer: NCVQVAETransformer | FrozenEstimator | None = None,
        prior: TokenPrior | None = None,
        sampler: Sampler | None = None,
        *,
        observation_noise: float | Literal["auto"] = "auto",
        match_moments: bool | Literal["auto"] = "auto",
        match_marginals: bool | Literal["auto"] = "auto",
        sampling_strategy: Any = "auto",
        warm_start: bool = False,
        checkpoint_dir: Folder | None = None,
        checkpoint_every: float = 5.0,
        device: str | torch.device = "auto",
        verbose: int = 0,
        random_state: int | np.random.RandomState | None = None,
    ) -> None:
        self.transformer = transformer
        self.prior: Any = prior
        self.sampler = sampler
        self.observation_noise = observation_noise
        self.match_moments = match_moments
        self.match_marginals: bool | Literal["auto"] = match_marginals
        self.sampling_strategy = sampling_strategy
        self.warm_start = warm_start
        self.checkpoint_dir = checkpoint_dir
        self.checkpoint_every = checkpoint_every
        self.device = device
        self.verbose = verbose
        self.random_state = random_state

    @classmethod
    def reference(cls, **overrides: Any) -> Self:
        """Return an unfitted generator in the authors' configuration, both stages.

        Parameters
        ----------
        **overrides
            Parameters to set otherwise; ``transformer__<name>``, ``prior__<name>`` and
            ``sampler__<name>`` reach the parts.

        Returns
        -------
        NCVQVAEGenerator
        """
        shared = {name: overrides[name] for name in ("device", "verbose") if name in overrides}
        generator = cls(
            NCVQVAETransformer.reference(**shared),
            MaskedTokenPrior.reference(**shared),
            MaskGIT(),
            observation_noise=0.0,
            match_moments=False,
            match_marginals=False,
        )
        return generator.set_params(**overrides)

    def set_params(self, **params: Any) -> Self:
        """Set parameters; those of a part, as ``prior__lr``, also while the part is None.

        Parameters
        ----------
        **params
            Parameters and their values.

        Returns
        -------
        self
        """
        defaults = {
            "transformer": self._default_transformer,
            "prior": self._default_prior,
            "sampler": self._default_sampler,
        }
        set_nested_params(self, params, defaults)
        return self

    def _default_transformer(self) -> NCVQVAETransformer:
        # A decoder that also learns augmented views decodes too smoothly (docs/experiments.md).
        return NCVQVAETransformer(
            aug_recon_weight=0.0,
            neural_mapper=True,
            device=self.device,
            verbose=self.verbose,
        )

    def _default_prior(self) -> AutoregressiveTokenPrior:
        return AutoregressiveTokenPrior(device=self.device, verbose=self.verbose)

    def _prior_or_default(self) -> Any:
        return self._default_prior() if self.prior is None else self.prior

    def _default_sampler(self) -> Sampler:
        return self._prior_or_default().default_sampler()

    @property
    def n_features_in_(self) -> int:
        """Number of features seen in `fit`, as of `transformer_`."""
        return self.transformer_.n_features_in_

    @property
    def feature_names_in_(self) -> NDArray[np.object_]:
        """Names of the columns seen in `fit`, as of `transformer_`."""
        return self.transformer_.feature_names_in_

    def check_params(self) -> None:
        """Check the parameters, those of all parts included, as `fit` does first.

        Raises
        ------
        ValueError, TypeError
            On a wrong value, naming the parameter.
        sklearn.exceptions.NotFittedError
            On a frozen tokenizer that is not fitted.
        """
        super().check_params()
        resolve_device(self.device)
        if isinstance(self.transformer, FrozenEstimator):
            if not isinstance(self.transformer.estimator, NCVQVAETransformer):
                raise TypeError(
                    "transformer=FrozenEstimator(...) must wrap an NCVQVAETransformer, not "
                    f"{type(self.transformer.estimator).__name__}."
                )
            check_is_fitted(self.transformer.estimator, "module_")
        elif self.transformer is not None:
            self.transformer.check_params()
        prior = self._prior_or_default()
        if hasattr(prior, "check_params"):
            prior.check_params()
        if self.sampler is not None and hasattr(prior, "check_sampler"):
            prior.check_sampler(self.sampler)

    def fit(self, X: ArrayLike, y: ArrayLike | None = None) -> Self:
        """Train the tokenizer, then the prior over its tokens.

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
            When training diverges. What was fitted earlier is kept. An error of the prior has
            the tokenizer, which is trained by then, as its attribute `transformer`.
        """
        self.fit_encode(X, y)
        return self

    @_fit_context(prefer_skip_nested_validation=False)
    def fit_encode(self, X: ArrayLike, y: ArrayLike | None = None) -> EncodedSeries:
        """Fit, and return the training series as arrays with their tokens.

        Parameters
        ----------
        X, y
            As in `fit`.

        Returns
        -------
        EncodedSeries

        Raises
        ------
        ValueError, FloatingPointError
            As in `fit`.
        """
        with keep_fitted_state(self):
            return self._fit(X, y)

    def _fit(self, X: ArrayLike, y: ArrayLike | None) -> EncodedSeries:
        self.check_params()
        refuse_no_series(X)
        resume = self.warm_start and hasattr(self, "prior_")
        rng = random_state_of(self.random_state, self.checkpoint_dir)
        classes, labels = fit_classes(y, _num_samples(X))
        self._check_frozen_prior(classes)
        prior = self._with_checkpoints(self._make_prior(resume, draw_seed(rng)))
        is_frozen = isinstance(prior, FrozenEstimator)
        if y is not None and not is_frozen and hasattr(prior, "check_labels"):
            prior.check_labels(y)
        encoded = self._encode(X, resume, rng)
        transformer = self.transformer_
        hints = {
            "layout": lambda: transformer.layout_,
            "codebook": lambda: transformer.codebook_,
            "copies": lambda: self._encode_copies(
                encoded.series, None if y is None else labels, rng
            ),
        }
        hints = {name: make() for name, make in hints.items() if has_fit_parameter(prior, name)}
        with _handing_over(transformer):
            # A copy: a prior may be anybody's, and write into what it is given.
            self.prior_ = prior.fit(encoded.tokens.copy(), y, **hints)
        self.classes_, self.class_prior_ = classes.names, classes.proportions
        self.shared_moments_ = SharedMoments().fit(encoded.series)
        with _handing_over(transformer):  # a prior of the user's may fail in `sample` as well
            self._fit_finish(encoded.series, rng)
            self._check_copying(encoded.tokens, rng)
        return encoded

    def _check_frozen_prior(self, classes: Classes) -> None:
        """Refuse a fitted prior that cannot have learnt the tokens that it is to draw."""
        if not isinstance(self.prior, FrozenEstimator):
            return
        if not isinstance(self.transformer, FrozenEstimator):
            raise ValueError(
                "prior=FrozenEstimator(...) has learnt the tokens of one tokenizer, and a new one "
                "would be trained here. Pass its tokenizer as transformer=FrozenEstimator(...), "
                "or an unfrozen prior."
            )
        ours, prior = self.transformer.estimator.layout_, self.prior.estimator
        check_is_fitted(prior)
        theirs = getattr(prior, "layout_", ours)
        if theirs != ours:
            raise ValueError(
                f"prior=FrozenEstimator(...) was fitted on tokens of layout {theirs}, but those "
                f"of transformer=FrozenEstimator(...) have {ours}. Pass the tokenizer that the "
                "prior was fitted with, or an unfrozen prior."
            )
        names = getattr(prior, "classes_", classes.names)
        if not classes.same_as(names):
            raise ValueError(
                f"prior=FrozenEstimator(...) was fitted with classes_={names}, but y has "
                f"{classes.names}. Pass labels of the same classes, or an unfrozen prior."
            )

    def _make_prior(self, resume: bool, seed: int) -> Any:
        """Return the prior to fit: a new one, or a copy of the fitted one to continue."""
        prior = clone_estimator(self._prior_or_default())
        if resume:
            params = prior.get_params(deep=False)
            if "warm_start" not in params:
                raise ValueError(
                    f"warm_start=True continues the prior, but {type(prior).__name__} has no "
                    "parameter warm_start. Set warm_start=False."
                )
            prior = copy.copy(self.prior_).set_params(**(params | {"warm_start": True}))
        return _with_seed(prior, seed)

    def _with_checkpoints(self, part: Any) -> Any:
        """Give a part the folder for checkpoints, where it can have one and has none."""
        folder = self.checkpoint_dir
        if folder is not None and part.get_params(deep=False).get("checkpoint_dir", "") is None:
            part.set_params(checkpoint_dir=folder, checkpoint_every=self.checkpoint_every)
        return part

    def _encode(self, X: ArrayLike, resume: bool, rng: np.random.RandomState) -> EncodedSeries:
        """Set `transformer_`, fitted where it is not, and return the series and their tokens."""
        if isinstance(self.transformer, FrozenEstimator) and not resume:
            self.transformer_ = self.transformer
        elif not resume:
            make = self._default_transformer
            transformer = make() if self.transformer is None else clone_estimator(self.transformer)
            transformer = self._with_checkpoints(transformer)
            self.transformer_ = _with_seed(transformer, draw_seed(rng))
            with named_as(self, transformer):
                return self.transformer_.fit_encode(X)
        series = self._read(X)
        return EncodedSeries(series, self.transformer_.encode(series))

    def _encode_copies(
        self,
        series: NDArray[np.floating],
        labels: NDArray[np.int64] | None,
        rng: np.random.RandomState,
    ) -> NDArray[np.int64]:
        """Return the tokens of copies of series, ``(n_series, n_copies, n_tokens)``."""
        transformer = self.transformer_
        furthest = max(transformer.layout_.max_shift(series.shape[-1], 1), 1)
        plan = plan_copies(series, labels, furthest, rng)
        tokens = np.empty((len(series), len(plan), transformer.layout_.n_tokens), np.int64)
        for i, make in enumerate(plan):
            tokens[:, i] = transformer.encode(make())
        return tokens

    def _fit_finish(self, series: NDArray[np.floating], rng: np.random.RandomState) -> None:
        """Set `observation_noise_`, `marginals_` and `finish_`."""
        transformer = self.transformer_
        n = min(_N_NOISE_SERIES, N_COPIES * len(series))
        layout = transformer.layout_
        furthest = layout.max_shift(series.shape[-1], 1)
        moved = draw_moved(series, n, furthest, rng)
        tokens = transformer.encode(moved)
        decoded = transformer.decode(tokens)
        grids = list(layout.grids(tokens).values())
        noise = ObservationNoise().fit(moved, decoded, grids, layout.n_codes, rng)
        seed = draw_seed(rng)

        def add_noise(series: NDArray[np.floating], scale: float) -> None:
            noise.add_to(series, grids, np.random.RandomState(seed), scale)

        marginals = Marginals().fit(moved, decoded, add_noise, len(series))
        self.observation_noise_, self.marginals_ = noise, marginals
        self.finish_ = choose_finish(
            moved, decoded, grids, noise, marginals, self.shared_moments_, seed
        )

    def _check_copying(self, rows: NDArray[np.int64], rng: np.random.RandomState) -> None:
        """Set `copying_`, and warn where the prior has learnt series by heart."""
        self.copying_ = float("nan")
        if len(rows) < 2:
            return
        drawn = self._draw_tokens(n_to_draw(len(rows)), None, rng, {})[0]
        found = compare_tokens(rows, np.asarray(drawn), rng)
        self.copying_ = found["copying"]
        if self.copying_ > _MOST_COPYING and found["p_value"] < _MOST_CHANCE:
            warnings.warn(
                f"Samples copy the training series: they are nearer to one of them than these "
                f"are to each other in {self.copying_:.0%} of the pairs, where new series are in "
                "50%. Lower prior__max_epochs, set a smaller prior__hidden_dim, raise "
                "sampler__diversity, or observation_noise to veil it. "
                "skncvqvae.metrics.copying_test and membership_test look closer.",
                CopyingWarning,
                stacklevel=5,
            )

    def read(self, X: ArrayLike) -> NDArray[np.floating]:
        """Return series as one array ``(n_series, n_channels, n_timesteps)``, as `fit` reads them.

        Parameters
        ----------
        X : array-like
            Series as in `fit`.

        Returns
        -------
        ndarray of shape (n_series, n_channels, n_timesteps)
            In the units of `X`, gaps and lengths mended. Arrays, such as `sample` returns, are
            read like the data frames of `fit`.
        """
        check_is_fitted(self, "transformer_")
        return self.transformer_.codec_.read(X, self, warn_of_names=False)

    def _read(self, X: ArrayLike) -> NDArray[np.floating]:
        return self.transformer_.codec_.read(X, self)

    def preview(self, X: ArrayLike) -> NDArray[np.floating]:
        """Return series in the layout and dtype that new ones would have, fitting nothing.

        Parameters
        ----------
        X : array-like
            Series as in `fit`.

        Returns
        -------
        ndarray
            `X`, gaps and lengths mended.

        Raises
        ------
        ValueError
            On data that `fit` would refuse.
        """
        make = self._default_transformer
        unfitted: Any = make() if self.transformer is None else clone_estimator(self.transformer)
        # Not this estimator, which reading would change.
        reader = getattr(unfitted, "estimator", unfitted)
        with named_as(self, reader):
            codec, series = self.fit_codec(X, reader)
        return codec.write(series)

    def fit_codec(
        self, X: ArrayLike, estimator: BaseEstimator
    ) -> tuple[SeriesCodec, NDArray[np.floating]]:
        """Return what reads series as `fit` would, and the series, fitting nothing else.

        Parameters
        ----------
        X : array-like
            Series as in `fit`.
        estimator : estimator
            Gets `n_features_in_` and `feature_names_in_`, and is named in messages.

        Returns
        -------
        codec : SeriesCodec
        series : ndarray of shape (n_series, n_channels, n_timesteps)
            As `read` returns.

        Raises
        ------
        ValueError
            On data that `fit` would refuse.
        """
        transformer = self.transformer
        if isinstance(transformer, FrozenEstimator):
            fitted: Any = transformer.estimator
            for name in ("n_features_in_", "feature_names_in_"):
                if hasattr(fitted, name):
                    setattr(estimator, name, getattr(fitted, name))
            return fitted.codec_, fitted.codec_.read(X, estimator)
        if transformer is None:
            transformer = self._default_transformer()
        codec = SeriesCodec(
            transformer.data_format, transformer.irregular, transformer.missing_channels
        )
        return codec, codec.fit_read(X, estimator)

    def write(self, series: NDArray[np.floating]) -> NDArray[np.floating]:
        """Return series ``(n_series, n_channels, n_timesteps)`` in the layout of `fit`'s data."""
        check_is_fitted(self, "transformer_")
        return self.transformer_.codec_.write(series)

    def sample(
        self,
        n_samples: int = 1,
        y: Any = None,
        *,
        observation_noise: float | Literal["auto"] | None = None,
        random_state: int | np.random.RandomState | None = None,
        **sampler_params: Any,
    ) -> tuple[NDArray[np.floating], NDArray | None]:
        """Draw synthetic series.

        Parameters
        ----------
        n_samples : int, default=1
            How many series. With an array as `y`, its length counts instead.
        y : label or array-like of shape (n_samples,), optional
            Class or classes to draw from. None draws them in their training proportions.
        observation_noise : float or "auto", optional
            As the constructor's parameter of this name, for this call.
        random_state : int, RandomState instance or None, default=None
            None uses the constructor's `random_state`; an int there gives the same series
            at every call.
        **sampler_params
            Parameters of the sampler to set otherwise for this call: ``temperature=0.8``.

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
        finish = self._finish(observation_noise)
        rng = read_random_state(self.random_state if random_state is None else random_state)
        tokens, names = self._draw_tokens(n_samples, y, rng, sampler_params)
        series = self.transformer_.decode(tokens)
        grids = list(self.transformer_.layout_.grids(tokens).values())
        finish.apply(
            series, grids, self.observation_noise_, self.marginals_, self.shared_moments_, rng
        )
        if not all_finite(series):
            raise ValueError(
                "Samples are not finite: the noise is too large for their dtype. Lower "
                "observation_noise."
            )
        return self.write(series), names

    def _draw_tokens(
        self, n_samples: int, y: Any, rng: np.random.RandomState, sampler_params: dict[str, Any]
    ) -> tuple[NDArray[np.int64], NDArray | None]:
        """Return rows of tokens, and the names of their classes or None."""
        classes = Classes(self.classes_, self.class_prior_)
        labels = labels_to_draw(classes, n_samples, y, rng)
        names = classes.decode(labels)
        tokens = self._draw(
            len(labels), names, random_state=rng, **self._how_to_draw(sampler_params)
        )
        return tokens, names

    def _draw(self, n: int, *args: Any, **kwargs: Any) -> NDArray[np.int64]:
        """Return `n` rows of the prior's `sample`, which may be anybody's, as tokens."""
        found = self.prior_.sample(n, *args, **kwargs)
        if not (isinstance(found, tuple) and len(found) == 2):
            raise TypeError(
                f"{type(self.prior_).__name__}.sample must return a tuple of tokens and their "
                f"labels or None, but returned {type(found).__name__}."
            )
        drawn = found[0]
        try:
            tokens = self.transformer_.layout_.check(drawn)
        except ValueError as error:
            name = type(self.prior_).__name__
            raise ValueError(f"{name}.sample returned what are no tokens: {error}") from error
        if len(tokens) != n:
            raise ValueError(
                f"{type(self.prior_).__name__}.sample returned {len(tokens)} rows of tokens "
                f"where {n} were asked for."
            )
        return tokens

    def _finish(self, observation_noise: float | Literal["auto"] | None = None) -> Finish:
        """Return what is done to decoded series, with `observation_noise` instead if given."""
        given = self.observation_noise if observation_noise is None else observation_noise
        validate_parameter_constraints(
            {"observation_noise": self._parameter_constraints["observation_noise"]},
            {"observation_noise": given},
            caller_name="sample",
        )
        scale, moments = self.finish_.noise_scale, self.finish_.match_moments
        return Finish(
            scale if isinstance(given, str) else given,
            moments if self.match_moments == "auto" else bool(self.match_moments),
            self.match_marginals,
        )

    def _how_to_draw(self, sampler_params: dict[str, Any]) -> dict[str, Any]:
        """Return what the prior's `sample` is told of the sampler."""
        return (
            sampler_params if self.sampler is None else {"sampler": self.sampler, **sampler_params}
        )

    def vary(
        self,
        X: ArrayLike,
        y: ArrayLike | None = None,
        *,
        mask_ratio: float = 0.5,
        bands: str | Sequence[str] | None = None,
        random_state: int | np.random.RandomState | None = None,
        **sampler_params: Any,
    ) -> NDArray[np.floating]:
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
        bands : str or list of str, optional
            The bands in which tokens are drawn anew, of a tokenizer with several: ``"high"`` for
            new detail on the same shape, ``"low"`` for a new shape under the same detail. None
            is all bands.
        random_state : int, RandomState instance or None, default=None
            As in `sample`.
        **sampler_params
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
            On a class not seen in `fit`, a parameter out of range, or a band that there is not.
        """
        check_is_fitted(self, "prior_")
        series = self._read(X)
        encoded = EncodedSeries(series, self.transformer_.encode(series))
        varied = self.vary_encoded(
            encoded,
            y,
            mask_ratio=mask_ratio,
            bands=bands,
            random_state=random_state,
            **sampler_params,
        )
        return self.write(varied)

    def vary_encoded(
        self,
        encoded: EncodedSeries,
        y: ArrayLike | None = None,
        *,
        mask_ratio: float = 0.5,
        bands: str | Sequence[str] | None = None,
        random_state: int | np.random.RandomState | None = None,
        **sampler_params: Any,
    ) -> NDArray[np.floating]:
        """Draw variations, as `vary` does, of series that are encoded already.

        Parameters
        ----------
        encoded : EncodedSeries
            As `fit_encode` returns.
        y, mask_ratio, bands, random_state, **sampler_params
            As in `vary`.

        Returns
        -------
        ndarray of shape (n_series, n_channels, n_timesteps)
        """
        check_is_fitted(self, "prior_")
        check_scalar(
            mask_ratio, "mask_ratio", Real, min_val=0, max_val=1, include_boundaries="right"
        )
        if np.isnan(mask_ratio):
            raise ValueError("mask_ratio is NaN. Pass a number above 0 and at most 1.")
        rng = read_random_state(self.random_state if random_state is None else random_state)
        tokens, masked = encoded.tokens, encoded.tokens.copy()
        for position in self._positions_of(bands):
            # The same share of each grid of tokens, and as many in each series.
            own = tokens[:, position]
            n_masked = max(1, round(mask_ratio * own.shape[1]))
            rank = rng.random_sample(own.shape).argsort(axis=1)
            masked[:, position] = np.where(rank < n_masked, MASKED, own)
        varied = self._draw(
            len(tokens), y, tokens=masked, random_state=rng, **self._how_to_draw(sampler_params)
        )
        decode = self.transformer_.decode
        series = encoded.series + (decode(varied) - decode(tokens))
        if self._finish().match_moments:
            self.shared_moments_.restore(series)
        return series

    def _positions_of(self, bands: str | Sequence[str] | None) -> list[slice]:
        """Return where the token grids of some bands stand in a row of tokens."""
        transformer = self.transformer_
        grids = transformer.module_.grids_of_bands
        wanted = list(grids) if bands is None else np.atleast_1d(bands).tolist()
        unknown = [name for name in wanted if name not in grids]
        if unknown or not wanted:
            raise ValueError(f"bands={bands!r} must name some of the bands {', '.join(grids)}.")
        return [
            transformer.layout_.positions[grid]
            for name, names in grids.items()
            if name in wanted
            for grid in names
        ]

    def score_samples(self, X: ArrayLike, y: ArrayLike | None = None) -> NDArray[np.float64]:
        """Return the log-likelihood of the tokens of series under the prior.

        Exact where the prior is an `AutoregressiveTokenPrior`; a pseudo-log-likelihood, which
        takes one pass for each token, where it is a `MaskedTokenPrior`. Comparable only between
        generators that share a tokenizer and the kind of prior.

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
        return self.prior_.score_samples(self.transformer_.encode(self._read(X)), y)

    def score(self, X: ArrayLike, y: ArrayLike | None = None) -> float:
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

    def fit_resample(self, X: ArrayLike, y: ArrayLike) -> tuple[Any, Any]:
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
            `sampling_strategy` names. Lists, and data frames with a row for each series, come
            back as such, with their dtypes: in columns of integers, synthetic values are rounded,
            with a warning. Anything else comes back as an array of floating-point numbers.

        Raises
        ------
        ImportError
            Without imbalanced-learn.
        ValueError
            On wrong parameters or data, as in `fit`, and on columns that are Boolean or
            categories; before any training.
        """
        check_sampling_strategy = import_check_sampling_strategy()
        refuse_no_series(X)
        labels = read_labels(y, _num_samples(X))
        strategy = check_sampling_strategy(self.sampling_strategy, labels, self._sampling_type)
        resampled = Resampled(X)
        encoded = self.fit_encode(X, labels)
        self.sampling_strategy_ = strategy
        wanted = np.repeat(list(strategy), list(strategy.values()))
        both = self.write(encoded.series)
        if len(wanted):
            X_new, _ = self.sample(y=wanted)
            both, labels = np.concatenate([both, X_new]), np.concatenate([labels, wanted])
        return resampled.restore(both, len(encoded)), restore_labels(y, labels)

    def __sklearn_tags__(self) -> Tags:
        tags = super().__sklearn_tags__()
        transformer = self.transformer or self._default_transformer()
        tags.input_tags = get_tags(transformer).input_tags
        return tags


@contextmanager
def _handing_over(transformer: NCVQVAETransformer | FrozenEstimator) -> Iterator[None]:
    """Give what goes wrong in the second stage the finished first one."""
    try:
        yield
    except BaseException as error:
        tokenizer: Any = transformer
        if isinstance(transformer, FrozenEstimator):
            tokenizer = transformer.estimator
        with suppress(AttributeError):  # not every exception can have attributes
            vars(error)["transformer"] = tokenizer
            error.add_note(
                "The tokenizer is trained, as error.transformer of this error (after it, "
                "sys.last_value.transformer). Pass it as transformer=FrozenEstimator(...) to fit "
                "the prior alone."
            )
        raise


def _with_seed(estimator: Any, seed: int) -> Any:
    """Give an estimator a seed where it can have one and has none."""
    if estimator.get_params(deep=False).get("random_state", seed) is None:
        estimator.set_params(random_state=seed)
    return estimator
