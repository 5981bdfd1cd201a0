"""A network after the decoder, which maps decoded series to series as they are."""

import itertools
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from .distributed import keep, weigh_rows

# Time steps of a training example: the network sees no further, and series may be long.
_WINDOW = 128


@dataclass(frozen=True)
class NeuralMapperConfig:
    """Sizes of a `NeuralMapper`.

    Parameters
    ----------
    n_channels : int
        Of the series.
    hidden_dim : int, default=16
        Width of the convolutions.
    kernel_size : int, default=17
        Their length, odd.
    n_layers : int, default=4
        How many there are.
    """

    n_channels: int
    hidden_dim: int = 16
    kernel_size: int = 17
    n_layers: int = 4


class NeuralMapper(nn.Module):
    """Convolutions over decoded series and their places in time, added to these series.

    It mends what decoders do to all series: wrinkles of upsampling, corners that are cut. The idea
    is that of the 'neural mapper' which Lee, Malacarne and Aune put after TimeVQVAE
    (arXiv:2303.04743). At first it changes nothing.

    Parameters
    ----------
    config : NeuralMapperConfig
    """

    config: NeuralMapperConfig
    convolutions: nn.Sequential
    margin: int

    def __init__(self, config: NeuralMapperConfig) -> None:
        super().__init__()
        self.config = config
        # The place in time is a channel of its own.
        inner = [config.hidden_dim] * (config.n_layers - 1)
        widths = [config.n_channels + 1, *inner, config.n_channels]
        layers: list[nn.Module] = []
        for n_in, n_out in itertools.pairwise(widths):
            layers += [nn.Conv2d(n_in, n_out, (1, config.kernel_size)), nn.GELU()]
        self.convolutions = nn.Sequential(*layers[:-1])
        last: nn.Conv2d = layers[-2]  # type: ignore[assignment]
        nn.init.zeros_(last.weight)
        nn.init.zeros_(last.bias)  # type: ignore[arg-type]
        # What the convolutions cut off at each end.
        self.margin = config.n_layers * (config.kernel_size // 2)
        # Over an axis of length 1 and time: oneDNN is about 1.7 times faster in this layout.
        self.to(memory_format=torch.channels_last)  # type: ignore[call-overload]

    def _difference(self, padded: Tensor) -> Tensor:
        """Return what is to be added to series, from what `_padded` returns, in part or whole."""
        images = padded[:, :, None].contiguous(memory_format=torch.channels_last)
        return self.convolutions(images)[:, :, 0]

    def _padded(self, x: Tensor) -> Tensor:
        """Return series with their place in time, their ends drawn out."""
        place = torch.linspace(-1, 1, x.shape[-1], device=x.device, dtype=x.dtype)
        both = torch.cat([x, place.expand(len(x), 1, -1)], dim=1)
        return F.pad(both, (self.margin, self.margin), mode="replicate")

    def forward(self, x: Tensor) -> Tensor:
        """Map decoded series ``(n, n_channels, n_timesteps)`` to others of this shape."""
        return x + self._difference(self._padded(x))

    def loss(
        self, decoded: Tensor, series: Tensor, generator: torch.Generator | None = None
    ) -> Tensor:
        """Mean squared error, of values and of steps from one time to the next.

        Steps count in units of their own mean square, so that what is fine is mapped as well as
        what is coarse. Of long series, one window is looked at.

        Parameters
        ----------
        decoded, series : Tensor of shape (n, n_channels, n_timesteps)
            What tokens decode to, and what they were made of.
        generator : torch.Generator, optional
            Draws the window.

        Returns
        -------
        Tensor, scalar
        """
        steps = series.diff(dim=-1)
        unit = series.var(dim=(0, 2), correction=0) / steps.square().mean(dim=(0, 2))
        # Of a channel that never changes, nor of one time, there is nothing to learn.
        unit = torch.nan_to_num(unit, nan=0.0, posinf=0.0)
        decoded, series = keep(decoded), keep(series)
        length, device = min(series.shape[-1], _WINDOW), series.device
        # Looked up by index, so that a GPU need not wait for the host to know the place.
        start = torch.randint(
            series.shape[-1] - length + 1, (1,), generator=generator, device=device
        )
        place = start + torch.arange(length, device=device)
        seen = start + torch.arange(length + 2 * self.margin, device=device)
        mapped = decoded[..., place] + self._difference(self._padded(decoded)[..., seen])
        lost = mapped - series[..., place]
        loss = weigh_rows(lost.square().mean())
        if length > 1:
            loss = loss + weigh_rows((lost.diff(dim=-1).square() * unit[:, None]).mean())
        return loss
