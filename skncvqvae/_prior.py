"""Stage 2: priors over tokens, as estimators."""

import copy
import dataclasses
import math
from collections.abc import Sequence
from numbers import Integral, Real
from typing import Any, ClassVar, Literal, Self

import numpy as np
import torch
from numpy.typing import ArrayLike, NDArray
from sklearn.base import BaseEstimator, DensityMixin, _fit_context
from sklearn.model_selection import train_test_split
from sklearn.utils._param_validation import Interval, StrOptions
from sklearn.utils.validation import check_is_fitted, validate_data
from skorch.callbacks import Callback
from skorch.history import History

from ._base import (
    ModelMixin,
    check_same_config,
    clone_estimator,
    draw_seed,
    isolated_seed,
    keep_fitted_state,
    make_config,
    read_random_state,
)
from ._checkpoints import Folder, random_state_of
from ._device import prediction_device, resolve_device
from ._inference import map_batches
from ._labels import Classes, fit_classes, labels_to_draw
from ._tokens import MASKED, Band, TokenLayout, open_rows
from ._training import (
    TRAINING_CONSTRAINTS,
    LRSchedule,
    ModuleNet,
    ScheduleFactory,
    TrainConfig,
    extend_history,
    train,
)
from .nn.autoregressive_prior import AutoregressivePrior
from .nn.masked_prior import MaskedPrior
from .nn.token_transformer import PriorConfig, TokenTransformer
from .samplers import Autoregressive, MaskGIT, Sampler

# Training series from which a wider prior is worth its time (examples/benchmarks/prior.py).
_MIN_SERIES_OF_WIDE_PRIOR = 1000
# AdamW's, of the autoregressive prior: second moments that follow faster.
_BETAS = (0.9, 0.98)
# Rows that are scored or completed at a time, at least.
_MIN_BATCH = 256
_CONSTRAINTS: dict[str, list[Any]] = {
    "hidden_dim": [StrOptions({"auto"}), Interval(Integral, 1, None, closed="left")],
    "n_layers": [Interval(Integral, 1, None, closed="left")],
    "n_heads": [StrOptions({"auto"}), Interval(Integral, 1, None, closed="left")],
    "ff_mult": [Interval(Integral, 1, None, closed="left")],
    "dropout": [Interval(Real, 0, 1, closed="left")],
    "p_unconditional": [Interval(Real, 0, 1, closed="both")],
    **TRAINING_CONSTRAINTS,
    "warm_start": ["boolean"],
    "device": [str, torch.device],
    "random_state": ["random_state"],
}


class _PriorNet(ModuleNet):
    """Stage 2: batches are ``(tokens, labels)``."""

    stage = "prior"
    values_a_thread = 256

    def loss_terms(self, batch: Sequence[torch.Tensor]) -> dict[str, torch.Tensor]:
        tokens, labels = batch
        generator = self.generator if self.module_.training else self.valid_generator
        self.part_streams()
        return {"loss": self.module_.loss(tokens, labels, generator=generator)}


class _MaskedNet(_PriorNet):
    @staticmethod
    def auto_epochs(n_series: int, n_batches: int) -> int:
        """160 passes, in 3,000 to 9,000 steps; with fewer, priors of large sets underfit."""
        return math.ceil(min(max(3000, 160 * n_batches), 9000) / n_batches)


class _AutoregressiveNet(_PriorNet):
    @staticmethod
    def auto_epochs(n_series: int, n_batches: int) -> int:
        """60 to 165 passes, fewer over larger sets; with more, series are learnt by heart."""
        return int(np.interp(n_batches, [1, 2, 5, 8], [165, 120, 90, 60]))


class _TokenPrior(ModelMixin, DensityMixin, BaseEstimator):
    """What the priors share: all but the module and how it is trained."""

    _module_class: ClassVar[type[TokenTransformer]]
    _net_class: ClassVar[type[_PriorNet]]
    module_: TokenTransformer
    layout_: TokenLayout
    classes_: NDArray | None
    class_prior_: NDArray[np.float64] | None
    validation_fraction: float
    early_stopping: bool
    batch_size: int
    mixed_precision: bool | Literal["auto"]
    checkpoint_dir: Folder | None
    warm_start: bool
    device: str | torch.device
    verbose: int
    random_state: int | np.random.RandomState | None

    _parameter_constraints: ClassVar[dict[str, list[Any]]] = _CONSTRAINTS

    @staticmethod
    def default_sampler() -> Sampler:
        """Return the sampler that `sample` uses unless it is given one."""
        raise NotImplementedError

    def check_sampler(self, sampler: Sampler) -> None:
        """Check a sampler's parameters, and that it can draw from this prior.

        Raises
        ------
        sklearn.utils._param_validation.InvalidParameterError
            On a parameter out of range.
        TypeError
            On a sampler for another kind of prior.
        """
        sampler.check_params()
        sampler.check_prior_type(self._module_class)

    def _make_module(
        self, config: PriorConfig, codebook: torch.Tensor | None, allowed: torch.Tensor | None
    ) -> TokenTransformer:
        raise NotImplementedError

    def _size(self, n_series: int, fitted: PriorConfig | None) -> dict[str, Any]:
        """Return the sizes of the module that ``"auto"`` stands for."""
        raise NotImplementedError

    def _train_config(self) -> TrainConfig:
        return TrainConfig.of(self)

    def _fit(
        self,
        tokens: ArrayLike,
        y: ArrayLike | None,
        layout: TokenLayout | None,
        codebook: ArrayLike | None = None,
        copies: ArrayLike | None = None,
    ) -> None:
        self.check_params()
        device = resolve_device(self.device)
        resume = self.warm_start and hasattr(self, "module_")
        array: Any = validate_data(self, open_rows(tokens), reset=not resume, dtype="numeric")
        if layout is None:
            layout = self.layout_ if resume else _one_row(array)
        rows = layout.check(array)
        classes, labels = fit_classes(y, len(rows))
        if resume and not classes.same_as(self.classes_):
            raise ValueError(
                f"warm_start=True continues a prior with classes_={self.classes_}, but y has "
                f"{classes.names}. Pass the same classes or set warm_start=False."
            )
        codes = None if codebook is None else torch.tensor(np.asarray(codebook)).float()
        # A model that is continued keeps its size, however many series it now gets.
        fitted = self.module_.config if resume else None
        examples = rows if copies is None else _with_copies(rows, copies, layout)
        if fitted is not None and examples.ndim == 3:
            examples = examples[:, : fitted.n_copies]
        config = make_config(
            PriorConfig,
            self,
            n_codes=layout.n_codes,
            n_tokens=layout.n_tokens,
            n_classes=len(classes),
            n_copies=fitted.n_copies if fitted else _n_copies(examples),
            embedding_dim=_embedding_dim(codes, fitted),
            **self._size(len(rows), fitted),
        )
        if fitted is not None:
            check_same_config(fitted, config)
        rng = random_state_of(self.random_state, self.checkpoint_dir)
        seed = draw_seed(rng)
        training, validation = self._split(labels, rng)
        with isolated_seed(seed, device):
            if resume:
                module = copy.deepcopy(self.module_)
            else:
                allowed = layout.allowed
                barred = None if allowed is None else torch.from_numpy(allowed)
                module = self._make_module(config, codes, barred).float()
            history = train(
                self._net_class,
                module,
                (examples[training], labels[training]),
                self._train_config(),
                valid_arrays=(
                    None if validation is None else (rows[validation], labels[validation])
                ),
                device=device,
                seed=seed,
            )
        self.module_ = module
        self.layout_ = layout
        self.classes_, self.class_prior_ = classes.names, classes.proportions
        self.history_: History = extend_history(self.history_ if resume else None, history)
        self.n_iter_ = len(self.history_)

    def _split(
        self, labels: NDArray[np.int64], rng: np.random.RandomState
    ) -> tuple[NDArray[np.int64] | slice, NDArray[np.int64] | None]:
        if not self.early_stopping:
            return slice(None), None  # no copy
        everything = np.arange(len(labels))
        self.check_labels(labels)
        # Classes of one series stay in training, and the others are split in proportion.
        counts = np.bincount(labels)
        alone = counts[labels] == 1
        splittable = everything[~alone]
        n_validation = math.ceil(self.validation_fraction * len(splittable))
        stratified = n_validation >= (counts > 1).sum()
        training: Any
        validation: Any
        training, validation = train_test_split(
            splittable,
            test_size=self.validation_fraction,
            random_state=rng,
            stratify=labels[splittable] if stratified else None,
        )
        return np.concatenate([training, everything[alone]]), validation

    def check_labels(self, y: ArrayLike | None) -> None:
        """Check, before tokens are there, whether a fit can set a part of them aside.

        Parameters
        ----------
        y : array-like of shape (n_series,) or None

        Raises
        ------
        ValueError
            With `early_stopping`, where every class has one series only, which stays in training.
        """
        if not self.early_stopping or y is None:
            return
        _, counts = np.unique(np.asarray(y), return_counts=True)
        if counts.max() == 1:
            raise ValueError(
                "early_stopping=True sets some series of each class aside, but no class has two. "
                "Set early_stopping=False."
            )

    def sample(
        self,
        n_samples: int = 1,
        y: Any = None,
        *,
        tokens: ArrayLike | None = None,
        sampler: Sampler | None = None,
        random_state: int | np.random.RandomState | None = None,
        **sampler_params: Any,
    ) -> tuple[NDArray[np.int64], NDArray | None]:
        """Draw rows of tokens.

        Parameters
        ----------
        n_samples : int, default=1
            How many rows. With an array as `y`, or with `tokens`, their length counts instead.
        y : label or array-like of shape (n_samples,), optional
            Class or classes to draw from. None draws them in their training proportions; with
            `tokens`, the prior is then asked without class.
        tokens : array-like of int of shape (n_samples, n_tokens), optional
            Rows to complete: `skncvqvae.samplers.MASKED` where a token is to be drawn, in as many
            places in each row. The other tokens stay.
        sampler : Sampler, optional
            None is `default_sampler`.
        random_state : int, RandomState instance or None, default=None
            None uses the constructor's `random_state`; an int there gives the same tokens at
            every call.
        **sampler_params
            Parameters of the sampler to set otherwise for this call.

        Returns
        -------
        tokens : ndarray of int of shape (n_samples, n_tokens)
        y : ndarray of shape (n_samples,) or None
            Their classes; None where the prior was asked without.

        Raises
        ------
        sklearn.exceptions.NotFittedError
            Before `fit`.
        ValueError
            On a class not seen in `fit`, a parameter out of range, or a sampler that does not
            return such tokens.
        TypeError
            On a sampler for another kind of prior.
        """
        check_is_fitted(self, "module_")
        sampler = clone_estimator(self.default_sampler() if sampler is None else sampler)
        sampler.set_params(**sampler_params)
        if sampler.get_params(deep=False).get("grid_shapes", ()) is None:
            sampler.set_params(
                grid_shapes=[(band.rows, band.columns) for band in self.layout_.bands]
            )
        self.check_sampler(sampler)
        rng = read_random_state(self.random_state if random_state is None else random_state)
        classes = Classes(self.classes_, self.class_prior_)
        if tokens is None:
            labels = labels_to_draw(classes, n_samples, y, rng)
            rows = np.full((len(labels), self.layout_.n_tokens), MASKED)
        else:
            rows = self.layout_.check(tokens, masked=True)
            if len(np.unique((rows == MASKED).sum(axis=1))) > 1:
                raise ValueError(
                    "tokens hold more masked tokens in some rows than in others. Mask as many in "
                    "each row."
                )
            labels = self._given_labels(rows, y)
        device = prediction_device(self.device)
        generator = torch.Generator(device).manual_seed(draw_seed(rng))

        def draw(rows: torch.Tensor, labels: torch.Tensor) -> torch.Tensor:
            # A copy: a sampler may write into what it is given.
            drawn = sampler(self.module_, rows.clone(), labels.clone(), generator)
            if drawn.shape != rows.shape:
                raise ValueError(
                    f"sampler {type(sampler).__name__} returned tokens of shape "
                    f"{tuple(drawn.shape)} for rows of shape {tuple(rows.shape)}. Its draw must "
                    "return a row of tokens for each that it is given."
                )
            return drawn

        # By itself never: a saved prior is to draw the same on every machine.
        mixed = self.mixed_precision not in ("auto", False)
        drawn = self._map_batches(draw, rows, labels, mixed_precision=mixed)
        self._check_drawn(drawn, rows, sampler)
        without = tokens is not None and y is None
        return drawn, None if without else classes.decode(labels)

    def _check_drawn(self, drawn: NDArray, rows: NDArray[np.int64], sampler: Sampler) -> None:
        """Refuse what a sampler, which may be anybody's, drew if it is not what was asked for."""
        name = type(sampler).__name__
        try:
            self.layout_.check(drawn)
        except ValueError as error:
            raise ValueError(f"sampler {name} returned what are no tokens: {error}") from error
        if (drawn != rows)[rows != MASKED].any():
            raise ValueError(
                f"sampler {name} changed tokens that were given. Its draw must fill in only those "
                "that are MASKED."
            )

    def score_samples(self, tokens: ArrayLike, y: ArrayLike | None = None) -> NDArray[np.float64]:
        """Return the log-likelihood of rows of tokens.

        Parameters
        ----------
        tokens : array-like of int of shape (n_series, n_tokens)
        y : array-like of shape (n_series,), optional
            Their classes; without them the 'no class' prior scores.

        Returns
        -------
        ndarray of shape (n_series,)
            In nats; higher is more likely. What it is the likelihood of, the class's docstring
            says.
        """
        check_is_fitted(self, "module_")
        rows = self.layout_.check(tokens)
        return self._map_batches(self.module_.log_likelihood, rows, self._given_labels(rows, y))

    def score(self, tokens: ArrayLike, y: ArrayLike | None = None) -> float:
        """Return the mean of `score_samples`.

        Parameters
        ----------
        tokens : array-like of int of shape (n_series, n_tokens)
        y : array-like of shape (n_series,), optional

        Returns
        -------
        float
        """
        return float(self.score_samples(tokens, y).mean())

    def _given_labels(self, rows: NDArray[np.int64], y: ArrayLike | None) -> NDArray[np.int64]:
        """Encode the labels of given rows; 'no class' without them."""
        if y is None or self.classes_ is None:
            return np.full(len(rows), self.module_.n_classes)
        labels = Classes(self.classes_).encode(y)
        if len(labels) != len(rows):
            raise ValueError(f"y holds {len(labels)} labels, but there are {len(rows)} series.")
        return labels

    def _map_batches(
        self, function: Any, *arrays: NDArray, mixed_precision: bool = False
    ) -> NDArray[Any]:
        return map_batches(
            function,
            arrays,
            module=self.module_,
            device=self.device,
            # Networks over tokens are small, so that most of a short batch's time is overhead.
            batch_size=max(self.batch_size, _MIN_BATCH),
            max_cpu_batch=_MIN_BATCH,
            mixed_precision=mixed_precision,
            show_as="prior at work" if self.verbose else None,
        )


class MaskedTokenPrior(_TokenPrior):
    """Masked prior over tokens: a bidirectional transformer that fills in what is masked.

    It learns to predict masked tokens from the others and the class, and draws new rows by
    filling in an empty one over a few steps (see `skncvqvae.samplers.MaskGIT`). `score_samples`
    is a pseudo-log-likelihood: the sum over tokens of ``log p(token | all other tokens, class)``
    (Besag, 1975; Salazar et al., arXiv:1910.14659, eq. 1), in one pass for each token.

    Parameters
    ----------
    hidden_dim : int or "auto", default="auto"
        Width. ``"auto"`` is 64, or 128 from 1,000 training series on, which hold more than 64
        dimensions learn.
    n_layers : int, default=2
        Blocks.
    n_heads : int or "auto", default="auto"
        Attention heads, of 64 dimensions each. ``"auto"`` is one for each 64 of `hidden_dim`,
        and at least one.
    ff_mult : int, default=1
        Width of the feed-forward layers relative to `hidden_dim`.
    dropout : float, default=0.1
        Dropout in the blocks.
    p_unconditional : float, default=0.2
        Share of training series that lose their class. It teaches the prior without class,
        which guidance, and `score_samples` without labels, need.
    max_epochs : int or "auto", default="auto"
        Passes over the tokens. ``"auto"`` makes as many as 3,000 steps of AdamW take, or 160
        where there are more than about 1,200 series, in no more than 9,000 steps.
    batch_size : int, default=64
        Series in a training step. Sampling and scoring take 256 at a time, on a GPU also more.
    lr : float, default=3e-3
        Largest learning rate of AdamW.
    weight_decay : float, default=1e-3
        Weight decay of AdamW.
    lr_schedule : {"onecycle", "wsd", "cosine", "constant"} or callable, default="onecycle"
        Course of the learning rate over all steps. A callable takes a torch optimizer and the
        number of steps, and returns a scheduler of `torch.optim.lr_scheduler`.
    early_stopping : bool, default=False
        Set part of the tokens aside and stop when their loss stalls; the best weights are kept.
    validation_fraction : float, default=0.1
        Share of the data set aside by `early_stopping`.
    n_iter_no_change : int, default=20
        Epochs without improvement that `early_stopping` waits for.
    callbacks : list of skorch callbacks or None, default=None
        Added to the training loop.
    mixed_precision : bool or "auto", default="auto"
        Train in bfloat16 where that is safe, as `mixed_precision` of `NCVQVAETransformer` does.
        True also draws by it; ``"auto"`` does not.
    checkpoint_dir : str, path-like or None, default=None
        Folder in which `fit` keeps its progress, so that the next `fit` with the same data and
        parameters goes on where one was stopped, to the same result. See
        :doc:`/saving`.
    checkpoint_every : float, default=5.0
        Minutes between two checkpoints; 0 writes one after each step.
    warm_start : bool, default=False
        Continue with the fitted prior at the next `fit`.
    device : str or torch.device, default="auto"
        ``"auto"`` is CUDA where there is one, else the CPU.
    verbose : int, default=0
        1 shows a bar with the time that is left, or about twenty lines where the output is no
        screen; 2 prints every epoch.
    random_state : int, RandomState instance or None, default=None
        Seeds `fit`, and `sample`.

    Attributes
    ----------
    module_ : skncvqvae.nn.masked_prior.MaskedPrior
        The trained torch module.
    layout_ : TokenLayout
        How the tokens are laid out.
    classes_ : ndarray of shape (n_classes,) or None
        Class labels; None after a fit without labels.
    class_prior_ : ndarray of shape (n_classes,) or None
        Their proportions in the training data.
    history_ : skorch.history.History
        A row for each epoch.
    n_iter_ : int
        Epochs trained.
    n_features_in_ : int
        Number of tokens.

    See Also
    --------
    AutoregressiveTokenPrior : Draws one token after the other; exact likelihood.

    References
    ----------
    .. [1] Chang, Zhang, Jiang, Liu, Freeman, "MaskGIT: masked generative image transformer",
       arXiv:2202.04200, 2022.

    Examples
    --------
    >>> import numpy as np
    >>> from skncvqvae import MaskedTokenPrior
    >>> tokens = np.arange(8) % 4 + np.repeat([[0], [4]], 20, axis=0)
    >>> y = np.repeat(["low", "high"], 20)
    >>> prior = MaskedTokenPrior(max_epochs=300, random_state=0).fit(tokens, y)
    >>> prior.sample(1, y="high", n_steps=4)[0]
    array([[4, 5, 6, 7, 4, 5, 6, 7]])
    """

    module_: MaskedPrior
    _module_class = MaskedPrior
    _net_class = _MaskedNet

    def __init__(
        self,
        *,
        hidden_dim: int | Literal["auto"] = "auto",
        n_layers: int = 2,
        n_heads: int | Literal["auto"] = "auto",
        ff_mult: int = 1,
        dropout: float = 0.1,
        p_unconditional: float = 0.2,
        max_epochs: int | Literal["auto"] = "auto",
        batch_size: int = 64,
        lr: float = 3e-3,
        weight_decay: float = 1e-3,
        lr_schedule: LRSchedule | ScheduleFactory = "onecycle",
        early_stopping: bool = False,
        validation_fraction: float = 0.1,
        n_iter_no_change: int = 20,
        callbacks: list[Callback] | None = None,
        mixed_precision: bool | Literal["auto"] = "auto",
        checkpoint_dir: Folder | None = None,
        checkpoint_every: float = 5.0,
        warm_start: bool = False,
        device: str | torch.device = "auto",
        verbose: int = 0,
        random_state: int | np.random.RandomState | None = None,
    ) -> None:
        self.hidden_dim = hidden_dim
        self.n_layers = n_layers
        self.n_heads = n_heads
        self.ff_mult = ff_mult
        self.dropout = dropout
        self.p_unconditional = p_unconditional
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
        self.checkpoint_dir = checkpoint_dir
        self.checkpoint_every = checkpoint_every
        self.warm_start = warm_start
        self.device = device
        self.verbose = verbose
        self.random_state = random_state

    @classmethod
    def reference(cls, **overrides: Any) -> Self:
        """Return an unfitted prior in the authors' configuration (arXiv:2408.16613).

        Parameters
        ----------
        **overrides
            Parameters to set otherwise.

        Returns
        -------
        MaskedTokenPrior
        """
        return cls(**(_REFERENCE | overrides))

    @_fit_context(prefer_skip_nested_validation=True)
    def fit(
        self,
        tokens: ArrayLike,
        y: ArrayLike | None = None,
        *,
        layout: TokenLayout | None = None,
        codebook: ArrayLike | None = None,
    ) -> Self:
        """Train the prior.

        Parameters
        ----------
        tokens : array-like of int of shape (n_series, n_tokens)
            Tokens as `NCVQVAETransformer.tokenize` returns them.
        y : array-like of shape (n_series,), optional
            Class labels of any dtype. With them the prior is conditional.
        layout : TokenLayout, optional
            How the tokens are laid out, `NCVQVAETransformer.layout_`. None takes them for one
            row, of a vocabulary that ends with the largest.
        codebook : array-like of shape (n_codes, code_dim), optional
            The codes, `NCVQVAETransformer.codebook_`, as which the embeddings of the tokens
            start. None draws them at random.

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
            self._fit(tokens, y, layout, codebook=codebook)
        return self

    def _make_module(
        self, config: PriorConfig, codebook: torch.Tensor | None, allowed: torch.Tensor | None
    ) -> MaskedPrior:
        return MaskedPrior(config, codebook, allowed)

    def _size(self, n_series: int, fitted: PriorConfig | None) -> dict[str, Any]:
        hidden_dim, n_heads = self.hidden_dim, self.n_heads
        if hidden_dim == "auto":
            wide = n_series >= _MIN_SERIES_OF_WIDE_PRIOR
            hidden_dim = fitted.hidden_dim if fitted else (128 if wide else 64)
        if n_heads == "auto":
            n_heads = fitted.n_heads if fitted else max(1, int(hidden_dim) // 64)
        return {"hidden_dim": hidden_dim, "n_heads": n_heads}

    @staticmethod
    def default_sampler() -> MaskGIT:
        """Return the sampler that `sample` uses unless it is given one."""
        return MaskGIT()


class AutoregressiveTokenPrior(_TokenPrior):
    """Autoregressive prior over tokens: a causal transformer that predicts the next one.

    The class scales, moves and gates every layer, so that none can lose it, and training series
    come in copies that are changed a little, so that small sets are not learnt by heart.
    `score_samples` is the exact log-likelihood of the tokens, in one pass. Sampling takes a pass
    over one token for each token, with cached keys and values (see
    `skncvqvae.samplers.Autoregressive`).

    Parameters
    ----------
    hidden_dim : int, default=128
        Width.
    n_layers : int, default=2
        Blocks.
    n_heads : int, default=4
        Attention heads, which share `hidden_dim`.
    ff_mult : int, default=1
        Width of the feed-forward layers relative to `hidden_dim`.
    dropout : float, default=0.1
        Dropout in the blocks, and of what enters them.
    p_unconditional : float, default=0.1
        Share of training series that lose their class. It teaches the prior without class,
        which guidance, and `score_samples` without labels, need.
    max_epochs : int or "auto", default="auto"
        Passes over the tokens; ``"auto"`` is 165 for up to 64 series, falling to 60 for 500 and
        more. More passes bring samples nearer to their class, and to the training series.
    batch_size : int, default=64
        Series in a training step. Sampling and scoring take 256 at a time, on a GPU also more.
    lr : float, default=2e-3
        Largest learning rate of AdamW.
    weight_decay : float, default=1e-2
        Weight decay of AdamW.
    lr_schedule : {"warmup", "wsd", "onecycle", "cosine", "constant"} or callable, default="warmup"
        Course of the learning rate; ``"warmup"`` rises over 50 steps and stays. A callable takes
        a torch optimizer and the number of steps, and returns a scheduler of
        `torch.optim.lr_scheduler`.
    average_decay : float, default=0.98
        Decay of the moving average of the weights that training ends with; 0 ends with the
        last weights.
    earlier : float, default=0.25
        Share of the training after which a copy of the prior is kept, for
        `skncvqvae.samplers.Autoregressive` to lead samples away from what it knew less. 0 keeps
        none. A fitted model is twice as large with it.
    early_stopping, validation_fraction, n_iter_no_change
        As those of `MaskedTokenPrior`; the best weights are then no average.
    callbacks, mixed_precision, checkpoint_dir, checkpoint_every
        As those of `MaskedTokenPrior`.
    warm_start, device, verbose, random_state
        As those of `MaskedTokenPrior`.

    Attributes
    ----------
    module_ : skncvqvae.nn.autoregressive_prior.AutoregressivePrior
        The trained torch module.
    layout_, classes_, class_prior_, history_, n_iter_, n_features_in_
        As those of `MaskedTokenPrior`.

    See Also
    --------
    MaskedTokenPrior : Draws all tokens over a few steps.

    References
    ----------
    .. [1] van den Oord, Vinyals, Kavukcuoglu, "Neural discrete representation learning",
       arXiv:1711.00937, 2017, section 3.3.
    .. [2] Peebles, Xie, "Scalable diffusion models with transformers", arXiv:2212.09748, 2022,
       section 3.2.

    Examples
    --------
    >>> import numpy as np
    >>> from skncvqvae import AutoregressiveTokenPrior
    >>> tokens = np.arange(8) % 4 + np.repeat([[0], [4]], 20, axis=0)
    >>> y = np.repeat(["low", "high"], 20)
    >>> prior = AutoregressiveTokenPrior(max_epochs=300, random_state=0).fit(tokens, y)
    >>> prior.sample(1, y="high")[0]
    array([[4, 5, 6, 7, 4, 5, 6, 7]])
    """

    module_: AutoregressivePrior
    _module_class = AutoregressivePrior
    _net_class = _AutoregressiveNet

    _parameter_constraints: ClassVar[dict[str, list[Any]]] = {
        **_CONSTRAINTS,
        "hidden_dim": [Interval(Integral, 1, None, closed="left")],
        "n_heads": [Interval(Integral, 1, None, closed="left")],
        "average_decay": [Interval(Real, 0, 1, closed="left")],
        "earlier": [Interval(Real, 0, 1, closed="left")],
    }

    def __init__(
        self,
        *,
        hidden_dim: int = 128,
        n_layers: int = 2,
        n_heads: int = 4,
        ff_mult: int = 1,
        dropout: float = 0.1,
        p_unconditional: float = 0.1,
        max_epochs: int | Literal["auto"] = "auto",
        batch_size: int = 64,
        lr: float = 2e-3,
        weight_decay: float = 1e-2,
        lr_schedule: LRSchedule | ScheduleFactory = "warmup",
        average_decay: float = 0.98,
        earlier: float = 0.25,
        early_stopping: bool = False,
        validation_fraction: float = 0.1,
        n_iter_no_change: int = 20,
        callbacks: list[Callback] | None = None,
        mixed_precision: bool | Literal["auto"] = "auto",
        checkpoint_dir: Folder | None = None,
        checkpoint_every: float = 5.0,
        warm_start: bool = False,
        device: str | torch.device = "auto",
        verbose: int = 0,
        random_state: int | np.random.RandomState | None = None,
    ) -> None:
        self.hidden_dim = hidden_dim
        self.n_layers = n_layers
        self.n_heads = n_heads
        self.ff_mult = ff_mult
        self.dropout = dropout
        self.p_unconditional = p_unconditional
        self.max_epochs = max_epochs
        self.batch_size = batch_size
        self.lr = lr
        self.weight_decay = weight_decay
        self.lr_schedule = lr_schedule
        self.average_decay = average_decay
        self.earlier = earlier
        self.early_stopping = early_stopping
        self.validation_fraction = validation_fraction
        self.n_iter_no_change = n_iter_no_change
        self.callbacks = callbacks
        self.mixed_precision = mixed_precision
        self.checkpoint_dir = checkpoint_dir
        self.checkpoint_every = checkpoint_every
        self.warm_start = warm_start
        self.device = device
        self.verbose = verbose
        self.random_state = random_state

    @_fit_context(prefer_skip_nested_validation=True)
    def fit(
        self,
        tokens: ArrayLike,
        y: ArrayLike | None = None,
        *,
        layout: TokenLayout | None = None,
        copies: ArrayLike | None = None,
    ) -> Self:
        """Train the prior.

        Parameters
        ----------
        tokens : array-like of int of shape (n_series, n_tokens)
            Tokens as `NCVQVAETransformer.tokenize` returns them.
        y : array-like of shape (n_series,), optional
            Class labels of any dtype. With them the prior is conditional.
        layout : TokenLayout, optional
            How the tokens are laid out, `NCVQVAETransformer.layout_`. None takes them for one
            row, of a vocabulary that ends with the largest.
        copies : array-like of int of shape (n_series, n_copies, n_tokens), optional
            Tokens of the same series, changed a little, as by moving them along time; copies of
            one number in the same way. With them a prior of a small set generalises better. It
            knows them from the series themselves, like which it samples. A warm start uses the
            first of them, no more than the first fit had.

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
            self._fit(tokens, y, layout, copies=copies)
        return self

    def _make_module(
        self, config: PriorConfig, codebook: torch.Tensor | None, allowed: torch.Tensor | None
    ) -> AutoregressivePrior:
        return AutoregressivePrior(config, allowed)

    def _size(self, n_series: int, fitted: PriorConfig | None) -> dict[str, Any]:
        return {
            "hidden_dim": self.hidden_dim,
            "n_heads": self.n_heads,
            "keeps_earlier": self.earlier > 0,
        }

    def _train_config(self) -> TrainConfig:
        return dataclasses.replace(TrainConfig.of(self), betas=_BETAS)

    @staticmethod
    def default_sampler() -> Autoregressive:
        """Return the sampler that `sample` uses unless it is given one."""
        return Autoregressive()


_REFERENCE: dict[str, Any] = {
    "hidden_dim": 256,
    "n_layers": 4,
    "n_heads": 2,
    "ff_mult": 1,
    "dropout": 0.0,
    "p_unconditional": 0.2,
    "max_epochs": 1000,
    "batch_size": 256,
    "lr": 1e-3,
    "weight_decay": 1e-3,
    "lr_schedule": "cosine",
}


def _n_copies(examples: NDArray[np.int64]) -> int:
    return 1 if examples.ndim == 2 else examples.shape[1]


def _embedding_dim(codebook: torch.Tensor | None, fitted: PriorConfig | None) -> int:
    if codebook is not None:
        return codebook.shape[1]
    return fitted.embedding_dim if fitted else PriorConfig.embedding_dim


def _with_copies(
    rows: NDArray[np.int64], copies: ArrayLike, layout: TokenLayout
) -> NDArray[np.int64]:
    """Return each series' tokens followed by those of its copies, ``(n, 1 + n_copies, n_tokens)``.

    Raises
    ------
    ValueError
        On copies of another shape, or that are no tokens.
    """
    array = np.asarray(copies)
    if array.ndim != 3 or len(array) != len(rows) or array.shape[2] != rows.shape[1]:
        raise ValueError(
            f"copies have shape {array.shape}, but must be (n_series, n_copies, n_tokens) with "
            f"n_series={len(rows)} and n_tokens={rows.shape[1]}."
        )
    if array.shape[1] == 0:
        return rows
    checked = layout.check(array.reshape(-1, array.shape[2])).reshape(array.shape)
    return np.concatenate([rows[:, None], checked], axis=1)


def _one_row(tokens: NDArray) -> TokenLayout:
    """Return the layout of tokens of which nothing else is known."""
    n_codes = max(int(tokens.max()) + 1, 2) if tokens.size else 2
    return TokenLayout((Band("all", 1, tokens.shape[1], n_codes),))
