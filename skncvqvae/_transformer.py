"""`NCVQVAETransformer`: stage 1 as a scikit-learn transformer."""

import copy
import dataclasses
import inspect
import math
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from functools import partial
from numbers import Integral, Real
from typing import Any, ClassVar, Literal, Self

import numpy as np
import torch
from numpy.typing import ArrayLike, NDArray
from scipy.special import entr
from sklearn.base import BaseEstimator, TransformerMixin, _fit_context
from sklearn.model_selection import train_test_split
from sklearn.utils import Tags, gen_batches
from sklearn.utils._param_validation import (
    Interval,
    StrOptions,
    validate_parameter_constraints,
)
from sklearn.utils.validation import _check_feature_names_in, check_is_fitted
from skorch.callbacks import Callback
from skorch.history import History

from ._base import (
    ModelMixin,
    check_same_config,
    draw_seed,
    isolated_seed,
    keep_fitted_state,
    make_config,
)
from ._checkpoints import Folder, random_state_of
from ._codec import Irregular, MissingChannels, SeriesCodec
from ._containers import DataFormat
from ._decoding import choose_plateaus, n_to_decode, ppv_distance, spread_indices
from ._device import prediction_device, resolve_device
from ._fingerprints import fingerprint
from ._inference import map_batches
from ._memory import gen_parts, is_large, n_of_large_part, take
from ._neural_mapper import TEMPERATURE, choose_pairs, fit_neural_mapper
from ._plateaus import has_plateaus, restore_plateaus
from ._progress import watch_batches
from ._representations import (
    REPRESENTATIONS,
    Encoder,
    Source,
    feature_names,
    fit_ppv,
    join_parts,
    represent,
)
from ._tokens import EncodedSeries, TokenLayout
from ._training import (
    TRAINING_CONSTRAINTS,
    LRSchedule,
    ModuleNet,
    ScheduleFactory,
    TrainConfig,
    extend_history,
    train,
)
from .augmentations import Augmentation, AugmentationSpec, Shift, make_augmentation
from .bands import BANDS, Bands, BandsSpec, resolve_bands, split_config
from .nn.banded import BandedConfig, BandedNCVQVAE
from .nn.bands import SplitConfig
from .nn.neural_mapper import NeuralMapper
from .nn.ssl import SSL_METHODS, SSLHead, SSLLoss, SSLMethod, resolve_ssl_method
from .nn.vqvae import NCVQVAE, LossWeights, NCVQVAEConfig

# Training series from which many small steps pay.
_MANY_SERIES = 1000
# Columns of tokens: of a series or its highest band, and of its lowest, unless it is long.
_MOST_COLUMNS, _FEWEST_COLUMNS = 32, 6
# Time steps of one of the lowest band's columns. Longer ones lose a part of that band.
_STEPS_OF_LOW_COLUMN = 16
# Parameters that may be told band by band.
_BY_BAND = (
    "downsampled_width",
    "n_codes",
    "ssl_method",
    "ssl_weight",
    "augmentations",
    "aug_recon_weight",
    "n_fft",
)

# Channels from which so many levels of codes pay (docs/experiments.md).
_LEVELS = ((16, 8), (4, 4), (2, 2), (1, 1))
# Channels from which wider convolutions and codes pay.
_MIN_CHANNELS_OF_WIDE_CODES = 16
# Tokens of a series beyond which no level is added: a prior's time grows with their number.
_MAX_TOKENS = 160

SSLMethodName = Literal["barlowtwins", "vicreg", "vibcreg", "byol"]
RepresentationName = Literal[
    "ppv",
    "code_ppv",
    "codes",
    "embedding",
    "histogram",
    "pairs",
    "latent",
    "pooled",
    "tokens",
]


class _TokenizerNet(ModuleNet):
    """Stage 1: batches are ``(series,)``; shifts and the augmented view are drawn here."""

    stage = "tokenizer"

    def __init__(
        self,
        *args: Any,
        shift: Augmentation | None = None,
        augmentation: Augmentation | None = None,
        **kwargs: Any,
    ) -> None:
        super().__init__(*args, **kwargs)
        self.shift = shift
        self.augmentation = augmentation

    def view(self, x: torch.Tensor) -> Any:
        """Return the augmented view of series; None where there is none."""
        return None if self.augmentation is None else self.augmentation(x, self.generator)

    def stateful_parts(self) -> list[Any]:
        """Return the user's augmentations, and his losses."""
        heads = [part for part in self.module_.modules() if isinstance(part, SSLHead)]
        return [self.augmentation, *(getattr(head, "loss", None) for head in heads)]

    @staticmethod
    def auto_epochs(n_series: int, n_batches: int) -> int:
        """400 steps, or 1,500 where there is enough to learn from the views of more series."""
        return math.ceil((1500 if n_series >= _MANY_SERIES else 400) / n_batches)

    def loss_terms(self, batch: Sequence[torch.Tensor]) -> dict[str, torch.Tensor]:
        (x,) = batch
        view = None
        if self.module_.training:
            with torch.no_grad():
                if self.shift is not None:
                    x = self.shift(x, self.generator)
                view = self.view(x)
        return self.module_(x, view, generator=self.generator)


class _BandedTokenizerNet(_TokenizerNet):
    """Stage 1 of several bands, each of which has an augmentation of its own, or None."""

    def __init__(
        self, *args: Any, augmentation: Mapping[str, Augmentation | None], **kwargs: Any
    ) -> None:
        super().__init__(*args, **kwargs)
        self.augmentations = augmentation

    def stateful_parts(self) -> list[Any]:
        """Return the user's augmentations, and his losses."""
        return [self.augmentations, *super().stateful_parts()]

    def view(self, x: torch.Tensor) -> Any:
        """Return the augmented view of each band that has one."""
        if not any(self.augmentations.values()):
            return None
        bands = self.module_.split_scaled(x)
        return {
            name: augmentation(bands[name], self.generator)
            for name, augmentation in self.augmentations.items()
            if augmentation is not None
        }


class NCVQVAETransformer(ModelMixin, TransformerMixin, BaseEstimator):
    """Learned discrete representations of time series, by a non-contrastive VQ-VAE.

    An encoder turns the spectrogram of a series into a short grid of latent vectors, each of
    which is replaced by the nearest code of a learned codebook; a decoder turns the codes back
    into the series. While the autoencoder learns to reconstruct, a self-supervised loss asks
    that the quantised latent of a series and the latent of an augmented view of it agree, so
    that codes carry what classes are made of and not only shape. Labels are not used.

    Read more in :doc:`/user_guide`.

    Parameters
    ----------
    representation : str or list of str, default="ppv"
        What `transform` returns; of several names, their features side by side. May be changed
        after `fit`. Functions of the tokens:

        - ``"code_ppv"``: proportions of positive values of dilated kernels over the quantised
          latent, standardised, 1,512 features for each band; the discrete one to put before a
          classifier;
        - ``"codes"``: the code of each token, ``n_tokens_ * code_dim``: the quantised latent,
          flattened, level by level if there are several;
        - ``"embedding"``: the average of the quantised latent over the grid, ``code_dim`` for
          each band;
        - ``"histogram"``: the relative frequency of each code, ``n_codes`` for each level;
        - ``"pairs"``: square roots of how often two codes stand 1, 2, 4 or 8 columns apart,
          sparse;
        - ``"tokens"``: the code indices, row by row, ``n_tokens_`` integers.

        Functions of the series, and of what the encoder holds before it quantises:

        - ``"ppv"``: as ``"code_ppv"``, over the series, the encoder's first halving and its
          first residual block, 4,536 features for each band, and 1,512 more for each three
          channels beyond three, up to 12,096. It tells a linear classifier most, whether series
          are aligned or not, and with few labels;
        - ``"latent"``: the latent, flattened, ``code_dim`` for each token of a level;
        - ``"pooled"``: its mean, maximum, minimum and standard deviation over the grid,
          ``4 * code_dim`` for each band.
    bands : {"stft", "wavelet"}, Bands, callable or None, default=None
        A split of series into parts, each with a tokenizer and tokens of its own: ``"stft"`` and
        ``"wavelet"`` are `skncvqvae.bands.STFTBands` and `skncvqvae.bands.WaveletBands` with
        their defaults, two bands named ``low`` and ``high``. A callable takes a tensor ``(n,
        n_channels, length)``, in units of each channel's standard deviation, and returns a list
        of parts that sum to it, the lowest frequencies first, or a mapping of names to parts.
        With bands, `n_fft`, `downsampled_width`, `n_codes`, `ssl_method`, `ssl_weight`,
        `augmentations` and `aug_recon_weight` may be mappings of band names to values, and bands
        that a mapping leaves out have the default.
    ssl_method : {"barlowtwins", "vicreg", "vibcreg", "byol"}, callable, SSLMethod or None, \
            default="barlowtwins"
        Self-supervised loss; None is the plain VQ-VAE. A callable takes two projections ``(n,
        projector_dim)``, of the quantised latent and of that of the augmented view, and returns
        a scalar tensor; a `torch.nn.Module` is copied, and its parameters are trained along. A
        `skncvqvae.nn.ssl.SSLMethod` can also bring a head with a state of its own.
    ssl_weight : float, "auto" or "reference", default="auto"
        Factor of the self-supervised loss. ``"reference"`` is the authors': 1 for
        ``"barlowtwins"``, 0.01 for ``"vicreg"`` and ``"vibcreg"``. ``"auto"`` is ours, which
        favours classification: 10 for ``"barlowtwins"``, 0.2 for ``"vicreg"``, 0.05 for
        ``"vibcreg"``. Both are 1 for ``"byol"`` and for a callable. Of several bands, ``"auto"``
        is 0 in all but the lowest and those for which `ssl_method` or `augmentations` are told: a
        second view of each band costs time, and takes decoded series further from real ones.
    ssl_pooling : {"avg", "avg_max"}, default="avg"
        What the self-supervised loss compares of two latents: their averages over the grid, as
        ``representation="embedding"``, or averages and maxima, as the authors do.
    projector_dim : int, default=512
        Width of the projector's three layers. The projector serves the loss only.
    augmentations : str, list, callable or mapping, default="slice"
        Makes the augmented view: the name of a set (``"gauss"``, ``"warp"``, ``"slice"``) or of
        one augmentation, a ``(name, parameters)`` pair, a callable on tensors ``(n, n_channels,
        length)``, or a list of those to apply in turn. See `skncvqvae.augmentations`.
    random_shift : float, default=1.0
        In each training step every series is moved along time by a random number of steps, less
        than this share of a token's width, and reflected at its ends. Otherwise the decoder
        learns the training series by heart and reconstructs others worse.
    aug_recon_weight : float or "auto", default="auto"
        Factor of the reconstruction error of the augmented view, which is not quantised. Without
        it, decoded series, and with them samples, are nearer to real ones. Like all of the second
        view, it plays no part with ``ssl_method=None``. ``"auto"`` is 0.1; of several bands, 0 in
        those whose `ssl_weight` is 0.
    aug_recon_fraction : float, default=0.25
        Share of each batch whose augmented view is reconstructed. Less than 1 saves time: the
        error is then estimated on a random part of the series.
    n_codes : int, default=128
        Size of a codebook.
    code_dim : int or "auto", default="auto"
        Dimension of a code, and number of channels of the convolutions. ``"auto"`` is 64, or 128
        for series of 16 channels or more.
    n_levels : int or "auto", default="auto"
        Tokens of each place in the grid. With more than one, each level has a codebook of its
        own, which quantises what the levels before it leave over, and the codes of all are added
        up (residual quantisation). So tokens hold more, and there are as many times more of
        them for the prior to learn. ``"auto"`` is 1 for one channel, 2 from two channels on, 4
        from four and 8 from 16, but no more than make 160 tokens.
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
        Window of the spectrogram in time steps, a multiple of 4; the hop is a quarter of it. No
        token is shorter than two hops.
    frequency_axis : {"fold", "keep"}, default="fold"
        ``"fold"`` reads the rows of the spectrogram as channels, so that tokens form one row
        along time; ``"keep"`` convolves over both axes and has ``n_fft // 2 + 1`` rows of
        tokens, as the reference.
    downsampled_width : int or "auto", default="auto"
        The time axis is halved until about this many columns of tokens remain (always at
        least once). ``"auto"`` is 32; of several bands, 32 in the highest, and in the lowest one
        for 16 time steps, 6 at least and 32 at most.
    n_res_blocks : int, default=3
        Residual blocks in the encoder, and as many in the decoder.
    decoder_dilation_growth : int, default=2
        Each residual block of the decoder looks so many times as far along time as the next one:
        with 2, three blocks look 4, 2 and 1 columns of tokens to each side. More than 1
        reconstructs long series better at no cost in time.
    neural_mapper : bool, default=False
        Train a small network that maps decoded series to series as they are, and keep it if it
        brings decoded series nearer to real ones, by features of random kernels. Tokens and
        representations stay as they are. `NCVQVAEGenerator` sets it in its default tokenizer.
    restore_plateaus : bool, default=True
        Where a tenth and more of the neighbours in training series are equal, as of appliances at
        rest, make stretches of decoded series flat whose steps are no more than the decoder's
        wobble, if that brings decoded training series nearer to the real ones.
    max_epochs : int or "auto", default="auto"
        Passes over the training data. ``"auto"`` makes as many as 400 steps of AdamW take, or
        1,500 from 1,000 training series on. Fewer are quicker, and more make reconstruction
        better.
    batch_size : int or "auto", default="auto"
        Series in a training step, and at prediction (on the CPU at most 128). ``"auto"`` is 64
        in training, 128 from 1,000 training series on, and 128 at prediction.
    lr : float or "auto", default="auto"
        Largest learning rate of AdamW. ``"auto"`` is 1e-2, or 3e-3 from 1,000 training series
        on: few steps have to be large, and many learn more about classes when they are small.
    weight_decay : float, default=1e-3
        Weight decay of AdamW.
    lr_schedule : {"auto", "wsd", "onecycle", "cosine", "constant"} or callable, default="auto"
        Course of the learning rate over all steps. ``"wsd"`` rises over 50 steps, is stable until
        two fifths of all steps are made, and falls to nothing (warm-up, stable, decay; Hu et al.,
        arXiv:2404.06395). ``"auto"`` is that, or ``"onecycle"`` from 1,000 training series on. A
        callable takes a torch optimizer and the number of steps, and returns a scheduler of
        `torch.optim.lr_scheduler`.
    early_stopping : bool, default=False
        Set part of the training data aside and stop when the loss on it (reconstruction and
        commitment) stalls; the best weights are kept.
    validation_fraction : float, default=0.1
        Share of the training data set aside by `early_stopping`.
    n_iter_no_change : int, default=20
        Epochs without improvement that `early_stopping` waits for.
    callbacks : list of skorch callbacks or None, default=None
        Added to the training loop.
    mixed_precision : bool or "auto", default="auto"
        Train in bfloat16 where that is safe. Faster on GPUs and on processors with bfloat16
        instructions (AVX512-BF16, AMX), the more so the larger the model; slower on others.
        ``"auto"`` does where torch tells of such instructions, as older versions do not.
    checkpoint_dir : str, path-like or None, default=None
        Folder in which `fit` keeps its progress, so that the next `fit` with the same data and
        parameters goes on where one was stopped, to the same result. With ``"{fingerprint}"`` in
        its name, a search over `representation` trains once for each fold. See :doc:`/saving`.
    checkpoint_every : float, default=5.0
        Minutes between two checkpoints; 0 writes one after each step.
    data_format : {"channels_first", "channels_last"}, default="channels_first"
        Layout of 3-D data: ``(n, channels, length)``, or tslearn's ``(n, length, channels)``.
    irregular : {"raise", "interpolate"}, default="raise"
        What to do with NaN and with series of unequal length: refuse them, or fill gaps
        linearly along time (ends with the nearest value) and stretch all series to the longest
        one in `fit`.
    missing_channels : {"raise", "mean"}, default="raise"
        What to do with a series that has a channel of NaN only, as of a dead sensor, where
        ``irregular="interpolate"`` has nothing to fill gaps from: refuse it, by its index, or
        give the channel its mean in the training data.
    warm_start : bool, default=False
        Continue with the fitted model at the next `fit`, for `max_epochs` more.
    device : str or torch.device, default="auto"
        ``"auto"`` is CUDA where there is one, else the CPU.
    verbose : int, default=0
        1 shows a bar with the time that is left, or about twenty lines where the output is no
        screen; 2 prints every epoch and loss term.
    random_state : int, RandomState instance or None, default=None
        An int makes fits on one machine identical. Global random state is not touched.

    Attributes
    ----------
    codebook_ : ndarray of shape (n_levels * n_codes, code_dim)
        The codes, level by level.
    series_ppv_, code_ppv_ : skncvqvae.nn.ppv.StandardisedPPV
        The fitted features of ``representation="ppv"`` and ``"code_ppv"``.
    neural_mapper_ : skncvqvae.nn.neural_mapper.NeuralMapper or None
        The network of `neural_mapper`; None without it, and where it was not kept.
    plateau_tolerance_ : ndarray of shape (n_channels,)
        Largest step that `restore_plateaus` takes away, in units of each channel's standard
        deviation; 0 where nothing is restored.
    codebook_usage_ : ndarray of shape (n_levels * n_codes,)
        Relative frequency of each code in the tokens of the training data.
    perplexity_ : float
        Exponential of the entropy of `codebook_usage_`: how many codes are in effective use.
    history_ : skorch.history.History
        A row for each epoch with the learning loss and its terms, unweighted: ``train_loss``,
        ``train_recon_time``, ``train_recon_timefreq``, ``train_commitment``,
        ``train_aug_recon_time``, ``train_aug_recon_timefreq``, ``train_ssl``, and ``valid_...``
        with `early_stopping`. With bands, ``train_recon_time`` is that of whole series, and
        there are ``train_low_recon_time`` and so on for each band.
    n_iter_ : int
        Epochs trained.
    n_tokens_ : int
        Tokens of a series.
    layout_ : TokenLayout
        Rows (frequency) and columns (time) of the token grid of each band and level, and the
        vocabulary.
    module_ : skncvqvae.nn.vqvae.NCVQVAE or skncvqvae.nn.banded.BandedNCVQVAE
        The trained torch module.
    codec_ : SeriesCodec
        Shape, layout and dtype of the series, and the mean and the standard deviation of each
        channel over all series and times.
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
    (40, 128)
    >>> tokens = transformer.tokenize(X)
    >>> transformer.inverse_transform(tokens).shape
    (40, 64)
    """

    _parameter_constraints: ClassVar[dict[str, list[Any]]] = {
        "representation": [StrOptions(set(REPRESENTATIONS)), list, tuple],
        "bands": [StrOptions(set(BANDS)), Bands, callable, None],
        "ssl_method": [StrOptions(set(SSL_METHODS)), callable, SSLMethod, dict, None],
        "ssl_weight": [
            StrOptions({"auto", "reference"}),
            Interval(Real, 0, None, closed="left"),
            dict,
        ],
        "ssl_pooling": [StrOptions({"avg", "avg_max"})],
        "projector_dim": [Interval(Integral, 1, None, closed="left")],
        "augmentations": [str, list, tuple, callable, dict],
        "random_shift": [Interval(Real, 0, None, closed="left")],
        "aug_recon_weight": [StrOptions({"auto"}), Interval(Real, 0, None, closed="left"), dict],
        "aug_recon_fraction": [Interval(Real, 0, 1, closed="right")],
        "n_codes": [Interval(Integral, 2, None, closed="left"), dict],
        "code_dim": [StrOptions({"auto"}), Interval(Integral, 1, None, closed="left")],
        "n_levels": [StrOptions({"auto"}), Interval(Integral, 1, None, closed="left")],
        "codebook_init": [StrOptions({"kmeans", "random"})],
        "codebook_decay": [Interval(Real, 0, 1, closed="neither")],
        "dead_code_threshold": [Interval(Real, 0, None, closed="left")],
        "commitment_weight": [Interval(Real, 0, None, closed="left")],
        "n_fft": [Interval(Integral, 4, None, closed="left"), dict],
        "frequency_axis": [StrOptions({"keep", "fold"})],
        "downsampled_width": [
            StrOptions({"auto"}),
            Interval(Integral, 1, None, closed="left"),
            dict,
        ],
        "n_res_blocks": [Interval(Integral, 0, None, closed="left")],
        "decoder_dilation_growth": [Interval(Integral, 1, None, closed="left")],
        "neural_mapper": ["boolean"],
        "restore_plateaus": ["boolean"],
        **TRAINING_CONSTRAINTS,
        "batch_size": [StrOptions({"auto"}), *TRAINING_CONSTRAINTS["batch_size"]],
        "lr": [StrOptions({"auto"}), *TRAINING_CONSTRAINTS["lr"]],
        "lr_schedule": [StrOptions({"auto"}), *TRAINING_CONSTRAINTS["lr_schedule"]],
        "data_format": [StrOptions({"channels_first", "channels_last"})],
        "irregular": [StrOptions({"raise", "interpolate"})],
        "missing_channels": [StrOptions({"raise", "mean"})],
        "warm_start": ["boolean"],
        "device": [str, torch.device],
        "random_state": ["random_state"],
    }

    def __init__(
        self,
        representation: RepresentationName | Sequence[RepresentationName] = "ppv",
        *,
        bands: BandsSpec | None = None,
        ssl_method: SSLMethodName
        | SSLMethod
        | SSLLoss
        | Mapping[str, SSLMethodName | SSLMethod | SSLLoss | None]
        | None = "barlowtwins",
        ssl_weight: float
        | Literal["auto", "reference"]
        | Mapping[str, float | Literal["auto", "reference"]] = "auto",
        ssl_pooling: Literal["avg", "avg_max"] = "avg",
        projector_dim: int = 512,
        augmentations: AugmentationSpec | Mapping[str, AugmentationSpec] = "slice",
        random_shift: float = 1.0,
        aug_recon_weight: float | Literal["auto"] | Mapping[str, float | Literal["auto"]] = "auto",
        aug_recon_fraction: float = 0.25,
        n_codes: int | Mapping[str, int] = 128,
        code_dim: int | Literal["auto"] = "auto",
        n_levels: int | Literal["auto"] = "auto",
        codebook_init: Literal["kmeans", "random"] = "kmeans",
        codebook_decay: float = 0.9,
        dead_code_threshold: float = 1.0,
        commitment_weight: float = 1.0,
        n_fft: int | Mapping[str, int] = 8,
        frequency_axis: Literal["fold", "keep"] = "fold",
        downsampled_width: int | Literal["auto"] | Mapping[str, int | Literal["auto"]] = "auto",
        n_res_blocks: int = 3,
        decoder_dilation_growth: int = 2,
        neural_mapper: bool = False,
        restore_plateaus: bool = True,
        max_epochs: int | Literal["auto"] = "auto",
        batch_size: int | Literal["auto"] = "auto",
        lr: float | Literal["auto"] = "auto",
        weight_decay: float = 1e-3,
        lr_schedule: Literal["auto"] | LRSchedule | ScheduleFactory = "auto",
        early_stopping: bool = False,
        validation_fraction: float = 0.1,
        n_iter_no_change: int = 20,
        callbacks: list[Callback] | None = None,
        mixed_precision: bool | Literal["auto"] = "auto",
        checkpoint_dir: Folder | None = None,
        checkpoint_every: float = 5.0,
        data_format: DataFormat = "channels_first",
        irregular: Irregular = "raise",
        missing_channels: MissingChannels = "raise",
        warm_start: bool = False,
        device: str | torch.device = "auto",
        verbose: int = 0,
        random_state: int | np.random.RandomState | None = None,
    ) -> None:
        self.representation = representation
        self.bands: BandsSpec | None = bands
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
        self.n_levels = n_levels
        self.codebook_init = codebook_init
        self.codebook_decay = codebook_decay
        self.dead_code_threshold = dead_code_threshold
        self.commitment_weight = commitment_weight
        self.n_fft = n_fft
        self.frequency_axis = frequency_axis
        self.downsampled_width = downsampled_width
        self.n_res_blocks = n_res_blocks
        self.decoder_dilation_growth = decoder_dilation_growth
        self.neural_mapper = neural_mapper
        self.restore_plateaus = restore_plateaus
        self.max_epochs = max_epochs
        self.batch_size = batch_size
        self.lr = lr
        self.weight_decay = weight_decay
        self.lr_schedule = lr_schedule
        self.early_stopping = early_stopping
        self.validation_fraction = validation_fraction
        self.n_iter_no_change = n_iter_no_change
        self.callbacks = callbacks
        self.mixed_precision: bool | Literal["auto"] = mixed_precision
        self.checkpoint_dir = checkpoint_dir
        self.checkpoint_every = checkpoint_every
        self.data_format: DataFormat = data_format
        self.irregular: Irregular = irregular
        self.missing_channels: MissingChannels = missing_channels
        self.warm_start = warm_start
        self.device = device
        self.verbose = verbose
        self.random_state = random_state

    @classmethod
    def reference(cls, **overrides: Any) -> Self:
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

    def check_params(self) -> None:
        """Check the parameters, as `fit` does first.

        Raises
        ------
        ValueError, TypeError
            On a wrong value, naming the parameter.
        """
        super().check_params()
        self._representation_names()
        names: Sequence[str] | None = ()
        if self.bands is not None:
            bands = resolve_bands(self.bands)
            # What a function of the user's calls its parts is known when there are series.
            names = bands.config().names if isinstance(bands, Bands) else None
        self._check_mappings(names)

    def _check_mappings(self, names: Sequence[str] | None) -> None:
        """Check what is told band by band; of names that are None only the values."""
        for parameter in _BY_BAND:
            given: Any = getattr(self, parameter)
            values = [given]
            if isinstance(given, Mapping):
                if names is not None and not names:
                    raise ValueError(
                        f"{parameter} is a mapping of bands to values, but there is one band "
                        "only. Pass one value, or set bands."
                    )
                unknown = [] if names is None else [name for name in given if name not in names]
                if names is not None and unknown:
                    raise ValueError(
                        f"{parameter} has a value for {unknown[0]!r}, but the bands are "
                        f"{', '.join(names)}."
                    )
                values = list(given.values())
                one = [c for c in self._parameter_constraints[parameter] if c is not dict]
                for value in values:
                    validate_parameter_constraints(
                        {parameter: one}, {parameter: value}, caller_name=type(self).__name__
                    )
            for value in values:
                if parameter == "augmentations":
                    _make_augmentation(value)
                elif parameter == "n_fft" and value % 4:
                    raise ValueError(f"n_fft={value} must be a multiple of 4.")

    def _of_band(self, parameter: str, name: str) -> Any:
        """Return the value that a parameter has for a band."""
        given: Any = getattr(self, parameter)
        if not isinstance(given, Mapping):
            return given
        default = inspect.signature(NCVQVAETransformer).parameters[parameter].default
        return given.get(name, default)

    def fit(self, X: ArrayLike, y: Any = None) -> Self:
        """Learn the codebook, encoder and decoder.

        Parameters
        ----------
        X : array-like of shape (n_series, length) or (n_series, n_channels, length)
            The series; 2-D data are univariate. With ``data_format="channels_last"``, 3-D data
            are ``(n_series, length, n_channels)``. Also a list of arrays, or of data frames with
            a row for each time, and a data frame whose cells are series, a column for each
            channel. With ``irregular="interpolate"`` lengths may differ, and NaN are gaps.
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
        self.fit_encode(X)
        return self

    def fit_transform(self, X: ArrayLike, y: Any = None) -> Any:
        """Fit, and return the representation of the training series.

        Parameters
        ----------
        X : array-like
            Series as in `fit`.
        y : ignored

        Returns
        -------
        ndarray or scipy.sparse.csr_array of shape (n_series, n_features_out)
            As `transform` returns, which would read and encode the series again.
        """
        encoded = self.fit_encode(X)
        return self._represent(encoded.series, encoded.tokens)

    @_fit_context(prefer_skip_nested_validation=True)
    def fit_encode(self, X: ArrayLike, y: Any = None) -> EncodedSeries:
        """Fit, and return the training series as arrays with their tokens.

        For those who need next what `fit` computes anyway, as `NCVQVAEGenerator` does.

        Parameters
        ----------
        X : array-like
            Series as in `fit`.
        y : ignored

        Returns
        -------
        EncodedSeries

        Raises
        ------
        ValueError, FloatingPointError
            As in `fit`.
        """
        with keep_fitted_state(self):
            return self._fit(X)

    def _fit(self, X: ArrayLike) -> EncodedSeries:
        self.check_params()
        device = resolve_device(self.device)
        resume = self.warm_start and hasattr(self, "module_")
        if resume:
            codec, series = self.codec_, self._read(X)
        else:
            codec = SeriesCodec(self.data_format, self.irregular, self.missing_channels)
            series = codec.fit_read(X, self)
        standardised = codec.standardise_lazily(series)
        if is_large(series):
            for part in gen_parts(series):
                codec.standardise(series[part])  # what it refuses is not for training to find out
        split = None if self.bands is None else split_config(self.bands, standardised)
        names = ("all",) if split is None else split.names
        if split is not None:
            self._check_mappings(names)
        config = self._config(codec, split)
        if resume:
            self._check_can_continue(config)
        rng = random_state_of(self.random_state, self.checkpoint_dir)
        seed = draw_seed(rng)
        training, validation = self._split(standardised, rng)

        with isolated_seed(seed, device):
            module = copy.deepcopy(self.module_) if resume else _make_module(config)
            weights = {name: self._loss_weights(name, names) for name in names}
            augmentations = {name: self._augmentation_of(name, weights[name]) for name in names}
            if isinstance(module, BandedNCVQVAE):
                module.configure(config, list(weights.values()))
                if not resume:
                    module.fit_scale(training)
            else:
                module.configure(config, weights["all"])
            layout = TokenLayout(module.bands)
            max_shift = layout.max_shift(codec.n_timesteps_, self.random_shift)
            history = train(
                _TokenizerNet if split is None else _BandedTokenizerNet,
                module,
                (training,),
                self._train_config(len(training)),
                valid_arrays=None if validation is None else (validation,),
                term_names=module.term_names,
                device=device,
                seed=seed,
                shift=Shift(max_shift) if max_shift else None,
                augmentation=augmentations["all"] if split is None else augmentations,
            )
        self.codec_, self.layout_, self.module_ = codec, layout, module
        self.n_tokens_ = layout.n_tokens
        self.history_: History = extend_history(self.history_ if resume else None, history)
        self.n_iter_ = len(self.history_)
        self.codebook_ = module.codebook.cpu().numpy().copy()
        tokens = self._map_batches(module.tokenize, standardised)
        counts = np.bincount(tokens.ravel(), minlength=len(self.codebook_))
        self.codebook_usage_ = counts / tokens.size
        self.perplexity_ = float(np.exp(entr(self.codebook_usage_).sum()))
        self.series_ppv_, self.code_ppv_ = fit_ppv(
            module, standardised, tokens, self._map_batches, seed
        )
        some = spread_indices(len(standardised))
        examples = take(standardised, some)[:], tokens[some]
        self.neural_mapper_: NeuralMapper | None = None
        self.plateau_tolerance_ = self._choose_plateaus(*examples, seed)
        if self.neural_mapper:
            self._fit_mapper(standardised, examples, device, seed)
        return EncodedSeries(series, tokens)

    def _choose_plateaus(
        self, series: NDArray[np.float32], tokens: NDArray[np.int64], seed: int
    ) -> NDArray[np.float64]:
        if not (self.restore_plateaus and has_plateaus(series).any()):
            return np.zeros(series.shape[1])
        return choose_plateaus(series, self._decode_unrestored(tokens), seed)

    def _fit_mapper(
        self,
        standardised: Any,
        examples: tuple[NDArray[np.float32], NDArray[np.int64]],
        device: torch.device,
        seed: int,
    ) -> None:
        """Set `neural_mapper_`, and the tolerance of plateaus anew, if that mends anything."""
        module, rng = self.module_, np.random.RandomState(seed)
        generator = torch.Generator(prediction_device(self.device)).manual_seed(draw_seed(rng))
        draw = partial(module.tokenize, temperature=TEMPERATURE, generator=generator)
        # Samples are made of codes that the prior draws, and not of the nearest ones.
        real = examples[0][: n_to_decode(standardised.shape)]
        drawn = self._map_batches(draw, real)
        without = self._decode(drawn), self.plateau_tolerance_

        pairs = choose_pairs(len(standardised), math.prod(standardised.shape[1:]), rng)
        # What may do without it is not to fail because of it.
        with suppress(FloatingPointError):
            self.neural_mapper_ = fit_neural_mapper(
                take(standardised, pairs)[:],
                lambda series: self._decode_unrestored(self._map_batches(draw, series)),
                device=device,
                seed=draw_seed(rng),
                mixed_precision=self.mixed_precision,
                checkpoint_dir=self.checkpoint_dir,
                checkpoint_every=self.checkpoint_every,
                verbose=self.verbose,
            )
        self.plateau_tolerance_ = self._choose_plateaus(*examples, seed)
        before, after = ppv_distance(real, [without[0], self._decode(drawn)], seed)
        if not after < before:
            self.neural_mapper_, self.plateau_tolerance_ = None, without[1]

    def _train_config(self, n_series: int) -> TrainConfig:
        many = n_series >= _MANY_SERIES
        automatic: dict[str, Any] = {
            "batch_size": 128 if many else 64,
            "lr": 3e-3 if many else 1e-2,
            "lr_schedule": "onecycle" if many else "wsd",
        }
        chosen = {
            name: value for name, value in automatic.items() if getattr(self, name) == "auto"
        }
        return TrainConfig.of(self, **chosen)

    def _config(self, codec: SeriesCodec, split: SplitConfig | None) -> Any:
        """Return the configuration of the module, one for each band in it if there are bands."""
        names = ("all",) if split is None else split.names
        configs = []
        widths = _auto_widths(len(names), codec.n_timesteps_)
        for name, auto_width in zip(names, widths, strict=True):
            width = self._of_band("downsampled_width", name)
            config = make_config(
                NCVQVAEConfig,
                self,
                n_channels=codec.n_channels_,
                n_timesteps=codec.n_timesteps_,
                n_fft=self._of_band("n_fft", name),
                n_codes=self._of_band("n_codes", name),
                downsampled_width=auto_width if width == "auto" else width,
                ssl_method=self._of_band("ssl_method", name),
            )
            configs.append(_with_auto_sizes(config))
        return configs[0] if split is None else BandedConfig(split, tuple(configs))

    def _check_can_continue(self, config: Any) -> None:
        """Refuse a warm start with parameters that are not those of the fitted model."""
        fitted = self.module_.config
        splits = [getattr(each, "split", None) for each in (fitted, config)]
        if fingerprint(splits[0]) != fingerprint(splits[1]):
            raise ValueError(
                "warm_start=True continues the fitted model, but bands differ from it. Restore "
                "them or set warm_start=False."
            )
        for before, after in zip(
            _tokenizer_configs(fitted), _tokenizer_configs(config), strict=True
        ):
            check_same_config(before, after)
        if self.module_.lacks_training_parts:
            raise ValueError(
                "warm_start=True continues the fitted model, but this one was saved without "
                "the parts that only training needs. Save it by save(..., training=True), or "
                "set warm_start=False."
            )

    def _loss_weights(self, name: str, names: Sequence[str]) -> LossWeights:
        ssl = self._ssl_weight(name, names)
        aug_recon = self._of_band("aug_recon_weight", name)
        if aug_recon == "auto":
            aug_recon = 0.1 if ssl or len(names) == 1 else 0.0
        return LossWeights(
            commitment=self.commitment_weight,
            aug_recon=aug_recon,
            aug_recon_fraction=self.aug_recon_fraction,
            ssl=ssl,
        )

    def _ssl_weight(self, name: str, names: Sequence[str]) -> float:
        method = resolve_ssl_method(self._of_band("ssl_method", name))
        if method is None:
            return 0.0
        weight = self._of_band("ssl_weight", name)
        if weight == "auto":
            return method.auto_weight if name in self._bands_with_a_view(names) else 0.0
        return method.reference_weight if weight == "reference" else weight

    def _bands_with_a_view(self, names: Sequence[str]) -> set[str]:
        """Return the bands that have a second view unless a weight says otherwise."""
        with_method = [name for name in names if self._of_band("ssl_method", name) is not None]
        mappings = (self.ssl_method, self.augmentations)
        told = {name for given in mappings if isinstance(given, Mapping) for name in given}
        return {*with_method[:1], *told}

    def _augmentation_of(self, name: str, weights: LossWeights) -> Augmentation | None:
        """Return the augmentation of the second view, or None where no loss needs that view."""
        # The plain VQ-VAE has one view, and without weight on the second none is needed.
        if self._of_band("ssl_method", name) is None or not (weights.ssl or weights.aug_recon):
            return None
        return _make_augmentation(self._of_band("augmentations", name))

    def _split(self, standardised: Any, rng: np.random.RandomState) -> tuple[Any, Any]:
        if not self.early_stopping:
            return standardised, None
        training: Any
        validation: Any
        training, validation = train_test_split(
            np.arange(len(standardised)), test_size=self.validation_fraction, random_state=rng
        )
        if len(training) < 2:
            raise ValueError(
                f"early_stopping=True with validation_fraction={self.validation_fraction} leaves "
                f"{len(training)} of {len(standardised)} series for training; at least 2 are "
                "needed. Lower validation_fraction or set early_stopping=False."
            )
        return take(standardised, training), take(standardised, validation)

    def _map_batches(
        self,
        function: Callable[[torch.Tensor], torch.Tensor],
        array: Any,
        *,
        module: torch.nn.Module | None = None,
        shown: bool = True,
    ) -> NDArray[Any]:
        return map_batches(
            function,
            (array,),
            module=self.module_ if module is None else module,
            device=self.device,
            batch_size=self._n_at_once,
            show_as="tokenizer at work" if shown and self.verbose else None,
        )

    @property
    def _n_at_once(self) -> int:
        """Series in a batch at prediction."""
        return 128 if isinstance(self.batch_size, str) else self.batch_size

    def read(self, X: ArrayLike) -> NDArray[np.floating]:
        """Return series as one array, read as `transform` reads them.

        Parameters
        ----------
        X : array-like
            Series as in `fit`.

        Returns
        -------
        ndarray of shape (n_series, n_channels, n_timesteps)
            In the units of `X`, gaps and lengths mended. Arrays are read like the data frames of
            `fit`, without a warning that they have no names.
        """
        check_is_fitted(self, "module_")
        return self.codec_.read(X, self, warn_of_names=False)

    def _read(self, X: ArrayLike) -> NDArray[np.floating]:
        check_is_fitted(self, "module_")
        return self.codec_.read(X, self)

    def write(self, series: NDArray[np.floating]) -> NDArray[np.floating]:
        """Return series ``(n_series, n_channels, n_timesteps)`` in the layout of `fit`'s data."""
        check_is_fitted(self, "module_")
        return self.codec_.write(series)

    def encode(self, series: NDArray[np.floating]) -> NDArray[np.int64]:
        """Return the tokens of series that `read` returned.

        Parameters
        ----------
        series : ndarray of shape (n_series, n_channels, n_timesteps)

        Returns
        -------
        ndarray of int of shape (n_series, n_tokens)
        """
        check_is_fitted(self, "module_")
        return self._map_batches(self.module_.tokenize, self.codec_.standardise_lazily(series))

    def decode(self, tokens: NDArray[np.int64]) -> NDArray[np.floating]:
        """Return the series of tokens, as `read` returns series.

        Parameters
        ----------
        tokens : ndarray of int of shape (n_series, n_tokens)

        Returns
        -------
        ndarray of shape (n_series, n_channels, n_timesteps)
            In the units and dtype of `fit`'s data.
        """
        check_is_fitted(self, "module_")
        return self.codec_.unstandardise(self._decode(tokens))

    def _decode(self, tokens: NDArray[np.int64]) -> NDArray[np.floating]:
        return restore_plateaus(self._decode_unrestored(tokens), self.plateau_tolerance_)

    def _decode_unrestored(self, tokens: NDArray[np.int64]) -> NDArray[np.float32]:
        """Return what tokens decode to, standardised, before plateaus are restored."""
        decoded = self._map_batches(self.module_.decode_tokens, tokens)
        mapper = self.neural_mapper_
        if mapper is None:
            return decoded
        return self._map_batches(mapper, decoded, module=mapper, shown=False)

    def split_bands(self, series: NDArray[np.floating]) -> dict[str, NDArray[np.floating]]:
        """Return the bands of series that `read` returned.

        Parameters
        ----------
        series : ndarray of shape (n_series, n_channels, n_timesteps)

        Returns
        -------
        dict of str to ndarray of the shape of `series`
            By name, the lowest frequencies first; they sum to the series. ``"all"`` where
            ``bands=None``.
        """
        check_is_fitted(self, "module_")
        standardised = self.codec_.standardise_lazily(series)
        parts = self._map_batches(self.module_.split_bands, standardised)
        return self._named_bands(parts)

    def decode_bands(self, tokens: NDArray[np.int64]) -> dict[str, NDArray[np.floating]]:
        """Return what the tokens of each band decode to.

        Parameters
        ----------
        tokens : ndarray of int of shape (n_series, n_tokens)

        Returns
        -------
        dict of str to ndarray of shape (n_series, n_channels, n_timesteps)
            As `split_bands` returns; they sum to what `decode` returns, but for what
            `neural_mapper_` and `plateau_tolerance_` mend.
        """
        check_is_fitted(self, "module_")
        return self._named_bands(self._map_batches(self.module_.decode_bands, tokens))

    def _named_bands(self, parts: NDArray[np.float32]) -> dict[str, NDArray[np.floating]]:
        """Return standardised bands in the units of the data, the first with the mean."""
        unstandardise, names = self.codec_.unstandardise, list(self.module_.grids_of_bands)
        offset = unstandardise(np.zeros_like(parts[:, 0]))
        bands = {name: unstandardise(parts[:, i]) for i, name in enumerate(names)}
        return {name: band - offset if i else band for i, (name, band) in enumerate(bands.items())}

    def tokenize(self, X: ArrayLike) -> NDArray[np.int64]:
        """Return the tokens of series, whatever `representation` is.

        Parameters
        ----------
        X : array-like
            Series as in `fit`.

        Returns
        -------
        tokens : ndarray of int of shape (n_series, n_tokens)
            The token grid, row by row, of one level after the other; each entry is an index into
            `codebook_`.
        """
        return self.encode(self._read(X))

    def transform(self, X: ArrayLike) -> Any:
        """Return the representation of series that `representation` names.

        Parameters
        ----------
        X : array-like
            Series as in `fit`.

        Returns
        -------
        ndarray or scipy.sparse.csr_array of shape (n_series, n_features_out)
            Integers for ``"tokens"``, else floats of the dtype of `X`; sparse with ``"pairs"``.
        """
        return self._represent(self._read(X))

    def _represent(
        self, series: NDArray[np.floating], tokens: NDArray[np.int64] | None = None
    ) -> Any:
        names = self._representation_names()
        # A multiple of the batches, so that what is in a batch does not depend on the parts.
        n_at_once = n_of_large_part(series, self._n_at_once)
        several = len(series) > n_at_once
        encoder = self._encoder(shown=not several)

        def make(part: slice) -> Any:
            standardised = self.codec_.standardise(series[part])
            known = None if tokens is None else tokens[part]
            return represent(Source(encoder, standardised, series.dtype, known), names)

        if not several:
            return make(slice(None))
        parts = watch_batches(len(series), n_at_once, "transform" if self.verbose else None)
        return join_parts(map(make, parts), len(series))

    def _encoder(self, *, shown: bool = True) -> Encoder:
        return Encoder(
            self.module_,
            self.layout_,
            self.codebook_,
            self.series_ppv_,
            self.code_ppv_,
            partial(self._map_batches, shown=shown),
        )

    def _representation_names(self) -> list[str]:
        """Check the one parameter of `transform`, which may be set after `fit`, and return it."""
        validate_parameter_constraints(
            {"representation": self._parameter_constraints["representation"]},
            {"representation": self.representation},
            caller_name=type(self).__name__,
        )
        given = self.representation
        names: list[str] = [given] if isinstance(given, str) else list(given)
        unknown = [name for name in names if name not in REPRESENTATIONS]
        if unknown or not names or len(set(names)) < len(names):
            raise ValueError(
                f"representation={self.representation!r} must name one or several, each once, of "
                f"{', '.join(REPRESENTATIONS)}."
            )
        return names

    def inverse_transform(self, X: ArrayLike) -> NDArray[np.floating]:
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
        return self.write(self.decode(self.layout_.check(X)))

    def score(self, X: ArrayLike, y: Any = None) -> float:
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
        series = self.read(X)
        total = 0.0
        for part in gen_batches(len(series), n_of_large_part(series, self._n_at_once)):
            standardised = self.codec_.standardise(series[part])
            tokens = self._map_batches(self.module_.tokenize, standardised)
            decoded = self._decode(tokens)
            # In double precision: squares of what single precision holds may overflow.
            error = float(np.mean(np.square(standardised - decoded, dtype=np.float64)))
            total += error * (len(standardised) / len(series))
        return -total

    def get_feature_names_out(
        self, input_features: ArrayLike | None = None
    ) -> NDArray[np.object_]:
        """Return the names of the features of `transform`.

        Parameters
        ----------
        input_features : array-like of str or None
            Only checked against `feature_names_in_`.

        Returns
        -------
        ndarray of str
            ``ppv_{i}``, ``token_{row}_{column}``, ``code_{k}``, ``embedding_{dimension}``,
            ``token_{row}_{column}_{dimension}`` and so on.
        """
        check_is_fitted(self, "module_")
        _check_feature_names_in(self, input_features)
        return feature_names(self._encoder(), self._representation_names())

    def __sklearn_tags__(self) -> Tags:
        tags = super().__sklearn_tags__()
        tags.input_tags.three_d_array = True
        tags.input_tags.allow_nan = self.irregular == "interpolate"
        tags.transformer_tags.preserves_dtype = (
            [] if self.representation in ("tokens", ["tokens"]) else ["float64", "float32"]
        )
        return tags


def _make_augmentation(spec: Any) -> Augmentation:
    try:
        return make_augmentation(spec)
    except (TypeError, ValueError) as error:
        raise type(error)(f"augmentations={spec!r}: {error}") from error


def _make_module(config: Any) -> NCVQVAE | BandedNCVQVAE:
    banded = isinstance(config, BandedConfig)
    return (BandedNCVQVAE(config) if banded else NCVQVAE(config)).float()


def _tokenizer_configs(config: Any) -> Sequence[NCVQVAEConfig]:
    """Return the configuration of each band's tokenizer."""
    return config.tokenizers if isinstance(config, BandedConfig) else (config,)


def _auto_widths(n_bands: int, n_timesteps: int) -> list[int]:
    """Return how many columns bands have, evenly spaced on a logarithmic scale."""
    if n_bands == 1:
        return [_MOST_COLUMNS]
    fewest = min(max(_FEWEST_COLUMNS, n_timesteps // _STEPS_OF_LOW_COLUMN), _MOST_COLUMNS)
    return np.geomspace(fewest, _MOST_COLUMNS, n_bands).round().astype(int).tolist()


def _with_auto_sizes(config: NCVQVAEConfig) -> NCVQVAEConfig:
    """Return a configuration whose sizes, where they are ``"auto"``, hold its channels."""
    n_levels, code_dim = config.n_levels, config.code_dim
    if n_levels == "auto":
        for_channels = next(n for least, n in _LEVELS if config.n_channels >= least)
        affordable = max(_MAX_TOKENS // math.prod(config.grid_shape), 1)
        n_levels = min(for_channels, affordable)
    if code_dim == "auto":
        code_dim = 128 if config.n_channels >= _MIN_CHANNELS_OF_WIDE_CODES else 64
    return dataclasses.replace(config, n_levels=n_levels, code_dim=code_dim)


_REFERENCE: dict[str, Any] = {
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
    "n_levels": 1,
    "codebook_init": "random",
    "codebook_decay": 0.9,
    "dead_code_threshold": 0.0,
    "commitment_weight": 1.0,
    "n_fft": 8,
    "frequency_axis": "keep",
    "downsampled_width": 8,
    "n_res_blocks": 4,
    "decoder_dilation_growth": 1,
    "neural_mapper": False,
    "restore_plateaus": False,
    "max_epochs": 1000,
    "batch_size": 128,
    "lr": 1e-3,
    "weight_decay": 1e-3,
    "lr_schedule": "cosine",
}
