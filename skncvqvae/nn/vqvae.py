"""The NC-VQVAE of stage 1: a VQ-VAE whose quantised latent also serves an SSL loss."""

import math
from dataclasses import dataclass
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from .autoencoder import Decoder, Encoder, count_downsamples
from .bands import Band
from .distributed import keep, least_rows, n_own, n_whole, weigh_rows
from .quantizer import ResidualQuantizer, VectorQuantizer
from .spectrogram import Spectrogram
from .ssl import SSLHead, SSLLoss, SSLMethod, Views, resolve_ssl_method


@dataclass(frozen=True)
class NCVQVAEConfig:
    """Sizes of an NC-VQVAE; the defaults are the authors'.

    Parameters
    ----------
    n_channels, n_timesteps : int
        Shape of a series.
    n_fft : int, default=8
        Window of the spectrogram, a multiple of 4.
    n_codes, code_dim : int
        Shape of a codebook; `code_dim` is also the width of the convolutions.
    n_levels : int, default=1
        Codes of a position, each of a codebook and in a token grid of its own. More than one is
        residual quantisation, see `ResidualQuantizer`.
    n_res_blocks : int
        Residual blocks in the encoder, and as many in the decoder.
    decoder_dilation_growth : int, default=1
        The dilation of each residual block of the decoder relative to that of the next; the last
        has 1, and none more than half the columns.
    downsampled_width : int
        The time axis is halved until about this many columns remain.
    frequency_axis : {"keep", "fold"}
        "keep" makes the token grid ``n_fft // 2 + 1`` rows high, as the reference does. "fold"
        makes the rows channels: one row of tokens, and convolutions along time only.
    codebook_init, codebook_decay, dead_code_threshold
        See `VectorQuantizer`.
    ssl_method : str, SSLMethod, callable or None
        See `resolve_ssl_method`.
    ssl_pooling : {"avg", "avg_max"}
        What the projector sees of a latent, see `global_pool`.
    projector_dim : int
        Width of the projector's three layers.
    """

    n_channels: int
    n_timesteps: int
    n_fft: int = 8
    n_codes: int = 32
    code_dim: int = 64
    n_levels: int = 1
    n_res_blocks: int = 4
    decoder_dilation_growth: int = 1
    downsampled_width: int = 8
    frequency_axis: str = "keep"
    codebook_init: str = "random"
    codebook_decay: float = 0.9
    dead_code_threshold: float = 0.0
    ssl_method: str | SSLMethod | SSLLoss | None = "barlowtwins"
    ssl_pooling: str = "avg_max"
    projector_dim: int = 4096

    @property
    def grid_shape(self) -> tuple[int, int]:
        """Rows and columns of a token grid."""
        # The spectrogram's reflection padding needs a series of at least one window.
        length = max(self.n_timesteps, self.n_fft)
        n_frames = length // (self.n_fft // 4) + 1
        n_halvings = count_downsamples(length, self.n_fft, self.downsampled_width)
        n_rows = 1 if self.frequency_axis == "fold" else self.n_fft // 2 + 1
        return n_rows, n_frames >> n_halvings


@dataclass(frozen=True)
class LossWeights:
    """Factors of the loss terms; a term of factor 0 is not computed.

    Parameters
    ----------
    commitment : float
        Of the distance of latents to their codes.
    aug_recon : float
        Of the reconstruction error of the augmented view.
    aug_recon_fraction : float
        Share of a batch whose augmented view is reconstructed.
    ssl : float
        Of the self-supervised loss.
    """

    commitment: float = 1.0
    aug_recon: float = 0.1
    aug_recon_fraction: float = 1.0
    ssl: float = 1.0


class NCVQVAE(nn.Module):
    """Non-contrastive vector-quantised variational autoencoder for time series.

    Spectrogram, encoder, quantiser, decoder, inverse spectrogram. In training, an augmented
    view goes through encoder and decoder without quantisation, and the projections of the
    quantised latent of the original and of the continuous latent of the view meet in an SSL
    loss. Source: Mathisen et al., arXiv:2408.16613, section 3.

    `forward` takes whole batches; inside `nn.distributed.sharded`, it computes this process's
    contributions to the terms.

    Parameters
    ----------
    config : NCVQVAEConfig

    Attributes
    ----------
    config : NCVQVAEConfig
    loss_weights : LossWeights
        May be set at any time.
    token_grid_shape : (int, int)
        Rows and columns of a token grid.
    bands : tuple of Band
        The token grids that stand one after the other in a row of tokens, one for each level.
    term_names : list of str
        Loss terms that `forward` returns beside their weighted sum.
    """

    config: NCVQVAEConfig
    loss_weights: LossWeights
    padding: int
    spectrogram: Spectrogram
    fold: bool
    encoder: Encoder
    quantizer: VectorQuantizer | ResidualQuantizer
    decoder: Decoder
    token_grid_shape: tuple[int, int]
    bands: tuple[Band, ...]
    term_names: list[str]

    def __init__(self, config: NCVQVAEConfig) -> None:
        super().__init__()
        self.config = config
        self.loss_weights = LossWeights()
        self.padding = max(0, config.n_fft - config.n_timesteps)
        length = config.n_timesteps + self.padding
        self.spectrogram = Spectrogram(length, config.n_fft)
        rows, frames = self.spectrogram.n_rows, self.spectrogram.n_frames
        self.fold = config.frequency_axis == "fold"
        channels = 2 * config.n_channels * (rows if self.fold else 1)
        rows, columns = self.token_grid_shape = config.grid_shape

        n_downsamples = count_downsamples(length, config.n_fft, config.downsampled_width)
        widths = [config.code_dim] * n_downsamples
        # From further away than half the columns, there is mostly padding to see.
        widest = max(1, columns // 2)
        growth = config.decoder_dilation_growth
        dilations = [min(growth**i, widest) for i in range(config.n_res_blocks)]
        kernel_height = 1 if self.fold else 3
        self.encoder = Encoder(channels, widths, config.n_res_blocks, kernel_height)
        codebook = (
            config.n_codes,
            config.code_dim,
            config.codebook_decay,
            config.codebook_init,
            config.dead_code_threshold,
        )
        several = config.n_levels > 1
        self.quantizer = (
            ResidualQuantizer(config.n_levels, *codebook)
            if several
            else VectorQuantizer(*codebook)
        )
        self.decoder = Decoder(
            channels,
            widths,
            dilations[::-1],
            (rows, frames),
            kernel_height,
            extra_upsample=not self.fold,
        )
        names = [f"level_{i + 1}" for i in range(config.n_levels)] if several else ["all"]
        self.bands = tuple(Band(name, rows, columns, config.n_codes) for name in names)
        method = resolve_ssl_method(config.ssl_method)
        self.ssl: SSLHead | None = None
        if method is not None:
            n_pooled = config.code_dim if config.ssl_pooling == "avg" else 2 * config.code_dim
            self.ssl = method.head(
                method, self.encoder, n_pooled, config.projector_dim, config.ssl_pooling
            )
        self.term_names = ["recon_time", "recon_timefreq", "commitment"]
        if method is not None:
            self.term_names += ["aug_recon_time", "aug_recon_timefreq", "ssl"]
        # oneDNN's convolutions and batch norm are about 1.7 times faster in this layout.
        self.to(memory_format=torch.channels_last)  # type: ignore[call-overload]

    @property
    def codebook(self) -> Tensor:
        """The codes of all bands, ``(n_codes, code_dim)``: tokens are its indices."""
        return self.quantizer.codebook

    @property
    def grids_of_bands(self) -> dict[str, list[str]]:
        """The names in `bands` of each frequency band's token grids; there is one such band."""
        return {"all": [band.name for band in self.bands]}

    @property
    def latent_sizes(self) -> list[int]:
        """How many columns of `latent`, unrolled, each frequency band has."""
        return [math.prod(self.token_grid_shape)]

    @property
    def n_frames(self) -> int:
        """Columns of the spectrogram."""
        return self.spectrogram.n_frames

    @property
    def lacks_training_parts(self) -> bool:
        """Whether the head of the self-supervised loss is left out."""
        return self.ssl is None and self.config.ssl_method is not None

    def drop_training_parts(self) -> None:
        """Leave out what serves training only."""
        self.ssl = None

    def configure(self, config: NCVQVAEConfig, loss_weights: LossWeights) -> None:
        """Take over the factors of the loss, and a configuration that equals the own one."""
        # A copied module has a copied configuration, and in it a copied loss.
        self.config = config
        self.loss_weights = loss_weights

    def state_dict(self, *args: Any, **kwargs: Any) -> dict[str, Any]:
        """Return the state as torch does, each tensor in one piece, as safetensors wants it."""
        state = super().state_dict(*args, **kwargs)
        for name, tensor in state.items():
            if isinstance(tensor, Tensor) and not tensor.requires_grad:
                state[name] = tensor.contiguous()
        return state

    def _pad(self, x: Tensor) -> Tensor:
        return F.pad(x, (0, self.padding), mode="replicate") if self.padding else x

    def _to_timefreq(self, x: Tensor) -> Tensor:
        u = self.spectrogram(x)
        if self.fold:
            u = u.flatten(1, 2).unsqueeze(2)
        return u.contiguous(memory_format=torch.channels_last)

    def _decode(self, z: Tensor) -> tuple[Tensor, Tensor]:
        """Map a latent to spectrogram and (padded) series."""
        u = self.decoder(z)
        rows = self.spectrogram.n_rows
        x = self.spectrogram.inverse(u.reshape(len(u), 2 * self.config.n_channels, rows, -1))
        return u, x

    def forward(
        self, x: Tensor, view: Tensor | None = None, generator: torch.Generator | None = None
    ) -> dict[str, Tensor]:
        """Compute the loss and its terms.

        Parameters
        ----------
        x : Tensor of shape (n, n_channels, n_timesteps)
        view : Tensor of the same shape, optional
            The augmented view; without it, or with a single series, there is no SSL loss.
        generator : torch.Generator, optional

        Returns
        -------
        dict of str to scalar Tensor
            Terms, unweighted, and their weighted sum as ``"loss"``.
        """
        return self.step(keep(x), keep(view), generator)[0]

    def step(
        self, x: Tensor, view: Tensor | None = None, generator: torch.Generator | None = None
    ) -> tuple[dict[str, Tensor], Tensor]:
        """Return what `forward` does, and the reconstruction of `x` that it went through.

        It takes the rows that this process has of a batch.
        """
        x = self._pad(x)
        u = self._to_timefreq(x)
        z_q, _, commitment = self.quantizer(self.encoder(u), generator)
        u_hat, x_hat = self._decode(z_q)
        terms = {
            "recon_time": weigh_rows(F.mse_loss(x_hat, x)),
            "recon_timefreq": weigh_rows(F.mse_loss(u_hat, u)),
            "commitment": commitment,
        }
        loss = terms["recon_time"] + terms["recon_timefreq"]
        weights = self.loss_weights
        loss = loss + weights.commitment * commitment
        if view is not None and n_whole(len(x)) > 1 and (weights.aug_recon or weights.ssl):
            loss = loss + self._view_loss(u, z_q, self._pad(view), terms)
        terms["loss"] = loss
        return terms, x_hat[..., : self.config.n_timesteps]

    def _view_loss(
        self, u: Tensor, z_q: Tensor, view: Tensor, terms: dict[str, Tensor]
    ) -> Tensor | float:
        weights, loss = self.loss_weights, 0.0
        u_view = self._to_timefreq(view)
        z = self.encoder(u_view)
        if weights.aug_recon > 0:
            # Batches are in random order, so that any part is a fair sample. Batch norm needs two.
            # Each process needs one.
            n = math.ceil(weights.aug_recon_fraction * n_whole(len(z)))
            n = max(2, least_rows(), n)
            own = n_own(n)
            u_hat, x_hat = self._decode(z[:own])
            terms["aug_recon_time"] = weigh_rows(F.mse_loss(x_hat, view[:own]), n)
            terms["aug_recon_timefreq"] = weigh_rows(F.mse_loss(u_hat, u_view[:own]), n)
            recon = terms["aug_recon_time"] + terms["aug_recon_timefreq"]
            loss = loss + weights.aug_recon * recon
        if self.ssl is not None and weights.ssl > 0:
            terms["ssl"] = self.ssl(Views(z_q, z, u, u_view), self.encoder)
            loss = loss + weights.ssl * terms["ssl"]
        return loss

    def latent(self, x: Tensor) -> Tensor:
        """Map series to the latent before quantisation, ``(n, code_dim, rows, columns)``."""
        return self.encoder(self._to_timefreq(self._pad(x)))

    def activations(self, x: Tensor) -> list[Tensor]:
        """Return series, and what the encoder holds after its first halving and its first block.

        Rows become channels: each is ``(n, channels * rows, columns)``.
        """
        first = self.encoder.down[0](self._to_timefreq(self._pad(x)))
        block = self.encoder.blocks[:1](self.encoder.down[1:](first))
        return [x, *(activation.flatten(1, 2).contiguous() for activation in (first, block))]

    def look_up(self, tokens: Tensor) -> list[Tensor]:
        """Map tokens ``(n, n_tokens)`` to a quantised latent ``(n, code_dim * rows, columns)``."""
        z_q = self.quantizer.look_up(tokens, *self.token_grid_shape)
        return [z_q.flatten(1, 2).contiguous()]

    def tokenize(
        self, x: Tensor, temperature: float = 0.0, generator: torch.Generator | None = None
    ) -> Tensor:
        """Map series ``(n, n_channels, n_timesteps)`` to tokens ``(n, n_tokens)``.

        Those of the nearest codes, or with a `temperature` of any: see `VectorQuantizer.nearest`.
        """
        return self.quantizer.tokenize(self.latent(x), temperature, generator)

    def decode_tokens(self, tokens: Tensor) -> Tensor:
        """Map tokens ``(n, n_tokens)`` to series ``(n, n_channels, n_timesteps)``."""
        z_q = self.quantizer.look_up(tokens, *self.token_grid_shape)
        z_q = z_q.contiguous(memory_format=torch.channels_last)
        return self._decode(z_q)[1][..., : self.config.n_timesteps]

    def split_bands(self, x: Tensor) -> Tensor:
        """Return the one band of series, ``(n, 1, n_channels, n_timesteps)``: the series."""
        return x[:, None]

    def decode_bands(self, tokens: Tensor) -> Tensor:
        """Map tokens to the one band of series, ``(n, 1, n_channels, n_timesteps)``."""
        return self.decode_tokens(tokens)[:, None]
