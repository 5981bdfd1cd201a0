"""Convolutional encoder and decoder between spectrogram and latent grid."""

import math
from collections.abc import Sequence
from itertools import pairwise

import torch.nn.functional as F
from torch import Tensor, nn

from .batch_norm import BatchNorm2d


def count_downsamples(n_timesteps: int, n_fft: int, downsampled_width: int) -> int:
    """Number of halvings of the time axis that leave about `downsampled_width` columns.

    The reference's rule: the downsample rate is ``round(n_timesteps / (log2(n_fft) - 1) /
    downsampled_width)``, rounded down to a power of two, and at least 2.
    """
    rate = round(n_timesteps / (math.log2(n_fft) - 1) / downsampled_width)
    n_frames = n_timesteps // (n_fft // 4) + 1
    # A halving turns w columns into w // 2, so no more than log2(n_frames) can be made.
    return max(1, min(int(math.log2(max(rate, 1))), int(math.log2(n_frames))))


class ResidualBlock(nn.Module):
    """LeakyReLU, 3-wide convolution, (norm,) LeakyReLU, 1x1 convolution; batch norm after.

    Taps of the 3-wide convolution are `dilation` columns apart.
    """

    body: nn.Sequential
    norm: BatchNorm2d

    def __init__(self, dim: int, kernel_height: int, inner_norm: bool, dilation: int = 1) -> None:
        super().__init__()
        rows = kernel_height // 2
        self.body = nn.Sequential(
            nn.LeakyReLU(),
            nn.Conv2d(
                dim, dim, (kernel_height, 3), padding=(rows, dilation), dilation=(1, dilation)
            ),
            BatchNorm2d(dim) if inner_norm else nn.Identity(),
            nn.LeakyReLU(),
            nn.Conv2d(dim, dim, 1),
        )
        self.norm = BatchNorm2d(dim)

    def forward(self, x: Tensor) -> Tensor:
        return self.norm(x + self.body(x))


def _stage(conv: nn.Module, dim: int) -> nn.Sequential:
    return nn.Sequential(conv, BatchNorm2d(dim), nn.LeakyReLU(inplace=True))


class Encoder(nn.Module):
    """Strided convolutions that halve the time axis, then residual blocks.

    Parameters
    ----------
    in_channels : int
    widths : sequence of int
        Channels after each halving; the last is the dimension of the latent.
    n_res_blocks : int
    kernel_height : {1, 3}
        Extent of the convolutions along the frequency axis.
    """

    down: nn.Sequential
    blocks: nn.Sequential

    def __init__(
        self, in_channels: int, widths: Sequence[int], n_res_blocks: int, kernel_height: int = 3
    ) -> None:
        super().__init__()
        stages = []
        for n_in, n_out in zip([in_channels, *widths[:-1]], widths, strict=True):
            conv = nn.Conv2d(
                n_in,
                n_out,
                (kernel_height, 4),
                stride=(1, 2),
                padding=(kernel_height // 2, 1),
                padding_mode="replicate",
            )
            stages.append(_stage(conv, n_out))
        self.down = nn.Sequential(*stages)
        self.blocks = nn.Sequential(
            *[
                ResidualBlock(widths[-1], kernel_height, inner_norm=True)
                for _ in range(n_res_blocks)
            ]
        )

    def forward(self, u: Tensor) -> Tensor:
        """Map ``(n, in_channels, rows, frames)`` to ``(n, widths[-1], rows, columns)``."""
        return self.blocks(self.down(u))


class Decoder(nn.Module):
    """Mirror image of the encoder, resized to the spectrogram's size.

    Parameters
    ----------
    out_channels : int
    widths
        As those of `Encoder`, whose order is reversed.
    dilations : sequence of int
        Of each residual block. Large ones let a few blocks see far along time (van den Oord et
        al., arXiv:1609.03499, section 2.1).
    kernel_height
        As that of `Encoder`.
    size : (int, int)
        Rows and frames of the output.
    extra_upsample : bool
        Upsample once more before resizing, as the reference does.
    """

    blocks: nn.Sequential
    up: nn.Sequential
    head: nn.Sequential

    def __init__(
        self,
        out_channels: int,
        widths: Sequence[int],
        dilations: Sequence[int],
        size: tuple[int, int],
        kernel_height: int = 3,
        extra_upsample: bool = True,
    ) -> None:
        super().__init__()
        self.size = size

        def upsample(n_in: int, n_out: int) -> nn.ConvTranspose2d:
            return nn.ConvTranspose2d(
                n_in, n_out, (kernel_height, 4), stride=(1, 2), padding=(kernel_height // 2, 1)
            )

        widths = list(widths)[::-1]
        self.blocks = nn.Sequential(
            *[
                ResidualBlock(widths[0], kernel_height, inner_norm=False, dilation=dilation)
                for dilation in dilations
            ]
        )
        self.up = nn.Sequential(*[_stage(upsample(a, b), b) for a, b in pairwise(widths)])
        head = [upsample(widths[-1], out_channels)]
        if extra_upsample:
            head.append(upsample(out_channels, out_channels))
        self.head = nn.Sequential(*head)

    def forward(self, z: Tensor) -> Tensor:
        """Map ``(n, widths[-1], rows, columns)`` to ``(n, out_channels, *size)``."""
        u = self.head(self.up(self.blocks(z)))
        return F.interpolate(u, size=self.size, mode="bilinear", align_corners=True)
