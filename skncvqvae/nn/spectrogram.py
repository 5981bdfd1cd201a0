"""Short-time Fourier transform and its inverse as strided convolutions."""

import math

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from .precision import full_precision


class Spectrogram(nn.Module):
    """Centred one-sided STFT, and its exact inverse.

    Real and imaginary parts are channels, so everything stays real: the transform is one
    strided convolution and the inverse one transposed convolution, which autocast and devices
    without complex numbers can run. The values are those of ``torch.stft(center=True,
    pad_mode="reflect")`` and ``torch.istft``.

    Parameters
    ----------
    n_timesteps : int
        Length of the series; must exceed ``n_fft // 2``.
    n_fft : int, default=8
        Window length in time steps, even. The hop is ``n_fft // 4``.
    window : {"hann", "boxcar"}, default="hann"
        Its shape. A constant is in row 0 alone with the boxcar, and leaks into row 1 with Hann's.
    """

    n_timesteps: int
    n_fft: int
    hop: int
    n_rows: int
    n_frames: int

    def __init__(self, n_timesteps: int, n_fft: int = 8, window: str = "hann") -> None:
        super().__init__()
        self.analysis: Tensor
        self.synthesis: Tensor
        self.envelope: Tensor
        self.n_timesteps, self.n_fft, self.hop = n_timesteps, n_fft, n_fft // 4
        self.n_rows = n_fft // 2 + 1
        self.n_frames = n_timesteps // self.hop + 1

        make = torch.hann_window if window == "hann" else torch.ones
        shape = make(n_fft, dtype=torch.float64)
        row = torch.arange(self.n_rows, dtype=torch.float64)
        angle = 2 * math.pi / n_fft * row[:, None] * torch.arange(n_fft, dtype=torch.float64)
        analysis = torch.cat(
            [angle.cos(), -angle.sin()]
        )  # (2 * rows, n_fft): real, then imaginary
        # A real signal's spectrum is symmetric: inner rows stand for two complex bins.
        multiplicity = torch.full((self.n_rows, 1), 2.0, dtype=torch.float64)
        multiplicity[0] = multiplicity[-1] = 1.0
        synthesis = analysis * multiplicity.repeat(2, 1) / n_fft

        # Overlap-add of the squared window, which the inverse divides by.
        full = (self.n_frames - 1) * self.hop + n_fft
        envelope = F.fold(
            shape.square()[None, :, None].expand(1, n_fft, self.n_frames),
            (1, full),
            (1, n_fft),
            stride=(1, self.hop),
        ).flatten()
        start = n_fft // 2
        envelope = envelope[start : start + n_timesteps]

        buffers = {
            "analysis": (analysis * shape)[:, None, :],
            "synthesis": (synthesis * shape)[:, None, :],
            "envelope": envelope,
        }
        for name, value in buffers.items():
            self.register_buffer(name, value.float(), persistent=False)

    @full_precision
    def forward(self, x: Tensor) -> Tensor:
        """Map series ``(n, channels, n_timesteps)`` to ``(n, 2 * channels, rows, frames)``."""
        n, c, length = x.shape
        pad = self.n_fft // 2
        x = F.pad(x, (pad, pad), mode="reflect").reshape(n * c, 1, length + 2 * pad)
        u = F.conv1d(x, self.analysis, stride=self.hop)
        return u.view(n, 2 * c, self.n_rows, u.shape[-1])

    @full_precision
    def inverse(self, u: Tensor) -> Tensor:
        """Map ``(n, 2 * channels, rows, frames)`` back to ``(n, channels, n_timesteps)``."""
        n, c2, rows, frames = u.shape
        x = F.conv_transpose1d(
            u.reshape(n * c2 // 2, 2 * rows, frames), self.synthesis, stride=self.hop
        )
        start = self.n_fft // 2
        x = x[..., start : start + self.n_timesteps] / self.envelope
        return x.view(n, c2 // 2, self.n_timesteps)
