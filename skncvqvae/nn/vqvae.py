"""The NC-VQVAE of stage 1: a VQ-VAE whose quantised latent also serves an SSL loss."""

import math

import torch
import torch.nn.functional as F
from torch import nn

from .autoencoder import Decoder, Encoder, count_downsamples
from .losses import SSL_LOSSES
from .projector import Projector, global_pool
from .quantizer import VectorQuantizer
from .spectrogram import Spectrogram


class NCVQVAE(nn.Module):
    """Non-contrastive vector-quantised variational autoencoder for time series.

    Spectrogram, encoder, quantiser, decoder, inverse spectrogram. In training, an augmented
    view goes through encoder and decoder without quantisation, and the projections of the
    quantised latent of the original and of the continuous latent of the view meet in an SSL
    loss. Source: Mathisen et al., arXiv:2408.16613, section 3.

    Parameters
    ----------
    n_channels, n_timesteps : int
        Shape of a series.
    n_fft : int, default=8
        Window of the spectrogram, a multiple of 4.
    n_codes, code_dim : int
        Shape of the codebook; `code_dim` is also the width of the convolutions.
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
    ssl_method : {"barlowtwins", "vicreg", "vibcreg"} or None
    ssl_pooling : {"avg", "avg_max"}
        What the projector sees of a latent, see `global_pool`.
    projector_dim : int
        Width of the projector's three layers.

    Attributes
    ----------
    token_grid_shape : (int, int)
        Rows and columns of the token grid.
    term_names : list of str
        Loss terms that `forward` returns beside their weighted sum.
    """

    def __init__(
        self,
        n_channels,
        n_timesteps,
        *,
        n_fft=8,
        n_codes=32,
        code_dim=64,
        n_res_blocks=4,
        decoder_dilation_growth=1,
        downsampled_width=8,
        frequency_axis="keep",
        codebook_init="random",
        codebook_decay=0.9,
        dead_code_threshold=0.0,
        ssl_method="barlowtwins",
        ssl_pooling="avg_max",
        projector_dim=4096,
    ):
        super().__init__()
        self.n_channels, self.n_timesteps = n_channels, n_timesteps
        self.ssl_method, self.ssl_pooling = ssl_method, ssl_pooling
        self.set_loss_weights()
        # The spectrogram's reflection padding needs a series of at least one window.
        self.padding = max(0, n_fft - n_timesteps)
        length = n_timesteps + self.padding
        self.spectrogram = Spectrogram(length, n_fft)
        rows, frames = self.spectrogram.n_rows, self.spectrogram.n_frames
        self.fold = frequency_axis == "fold"
        channels = 2 * n_channels
        if self.fold:
            channels, rows = channels * rows, 1

        n_downsamples = count_downsamples(length, n_fft, downsampled_width)
        columns = frames >> n_downsamples
        widths = [code_dim] * n_downsamples
        # From further away than half the columns, there is mostly padding to see.
        widest = max(1, columns // 2)
        dilations = [min(decoder_dilation_growth**i, widest) for i in range(n_res_blocks)]
        kernel_height = 1 if self.fold else 3
        self.encoder = Encoder(channels, widths, n_res_blocks, kernel_height)
        self.quantizer = VectorQuantizer(
            n_codes, code_dim, codebook_decay, codebook_init, dead_code_threshold
        )
        self.decoder = Decoder(
            channels,
            widths,
            dilations[::-1],
            (rows, frames),
            kernel_height,
            extra_upsample=not self.fold,
        )
        self.token_grid_shape = (rows, columns)
        self.projector = None
        if ssl_method is not None:
            n_pooled = code_dim if ssl_pooling == "avg" else 2 * code_dim
            self.projector = Projector(
                n_pooled, projector_dim, projector_dim, whiten=ssl_method == "vibcreg"
            )
        self.term_names = ["recon_time", "recon_timefreq", "commitment"]
        if ssl_method is not None:
            self.term_names += ["aug_recon_time", "aug_recon_timefreq", "ssl"]
        # oneDNN's convolutions and batch norm are about 1.7 times faster in this layout.
        self.to(memory_format=torch.channels_last)

    def set_loss_weights(self, *, commitment=1.0, aug_recon=0.1, ssl=1.0, aug_recon_fraction=1.0):
        """Set the factors of the loss terms; a term of factor 0 is not computed.

        The reconstruction of the augmented view is estimated on `aug_recon_fraction` of a batch.
        """
        self.commitment_weight, self.aug_recon_weight, self.ssl_weight = commitment, aug_recon, ssl
        self.aug_recon_fraction = aug_recon_fraction

    def _pad(self, x):
        return F.pad(x, (0, self.padding), mode="replicate") if self.padding else x

    def _to_timefreq(self, x):
        u = self.spectrogram(x)
        if self.fold:
            u = u.flatten(1, 2).unsqueeze(2)
        return u.contiguous(memory_format=torch.channels_last)

    def _decode(self, z):
        """Map a latent to spectrogram and (padded) series."""
        u = self.decoder(z)
        rows = self.spectrogram.n_rows
        x = self.spectrogram.inverse(u.reshape(len(u), 2 * self.n_channels, rows, -1))
        return u, x

    def forward(self, x, view=None, generator=None):
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
        x = self._pad(x)
        u = self._to_timefreq(x)
        z_q, _, commitment = self.quantizer(self.encoder(u), generator)
        u_hat, x_hat = self._decode(z_q)
        terms = {
            "recon_time": F.mse_loss(x_hat, x),
            "recon_timefreq": F.mse_loss(u_hat, u),
            "commitment": commitment,
        }
        loss = terms["recon_time"] + terms["recon_timefreq"]
        loss = loss + self.commitment_weight * commitment
        if view is not None and len(x) > 1 and (self.aug_recon_weight or self.ssl_weight):
            loss = loss + self._view_loss(z_q, self._pad(view), terms)
        terms["loss"] = loss
        return terms

    def _view_loss(self, z_q, view, terms):
        loss = 0.0
        u = self._to_timefreq(view)
        z = self.encoder(u)
        if self.aug_recon_weight > 0:
            # Batches are in random order, so that any part is a fair sample. Batch norm needs two.
            n = max(2, math.ceil(self.aug_recon_fraction * len(z)))
            u_hat, x_hat = self._decode(z[:n])
            terms["aug_recon_time"] = F.mse_loss(x_hat, view[:n])
            terms["aug_recon_timefreq"] = F.mse_loss(u_hat, u[:n])
            recon = terms["aug_recon_time"] + terms["aug_recon_timefreq"]
            loss = loss + self.aug_recon_weight * recon
        if self.ssl_weight > 0:
            pooled = (global_pool(latent, self.ssl_pooling) for latent in (z_q, z))
            p, p_view = self.projector.project_views(*pooled)
            terms["ssl"] = SSL_LOSSES[self.ssl_method](p, p_view)
            loss = loss + self.ssl_weight * terms["ssl"]
        return loss

    def tokenize(self, x):
        """Map series ``(n, n_channels, n_timesteps)`` to tokens ``(n, rows, columns)``."""
        z = self.encoder(self._to_timefreq(self._pad(x)))
        flat = z.permute(0, 2, 3, 1)
        return self.quantizer.nearest(flat.flatten(0, 2)).view(flat.shape[:3])

    def decode_tokens(self, tokens):
        """Map tokens ``(n, rows * columns)`` to series ``(n, n_channels, n_timesteps)``."""
        z_q = self.quantizer.codebook[tokens].view(len(tokens), *self.token_grid_shape, -1)
        z_q = z_q.permute(0, 3, 1, 2).contiguous(memory_format=torch.channels_last)
        return self._decode(z_q)[1][..., : self.n_timesteps]
