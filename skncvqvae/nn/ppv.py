"""Proportions of positive values of dilated kernels over activations."""

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import combinations
from typing import cast

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn

_N_TAPS = 9
# All ways to put three of nine weights at 2 and the others at -1, as MiniRocket has them.
_HIGH_TAPS = list(combinations(range(_N_TAPS), 3))
N_KERNELS = len(_HIGH_TAPS)
_GOLDEN_RATIO = (math.sqrt(5) + 1) / 2
# A kernel sums up to so many channels.
_MAX_CHANNELS = 9
# Responses that are held at once on a CPU: about what its cache holds.
_MAX_VALUES = 2**19
# Features of a kernel for which one draw of channels does.
BIASES_OF_A_DRAW = 18
# Of the standard deviation of a kernel's responses.
_MARGIN = 1e-4


@dataclass(frozen=True)
class PPVConfig:
    """Sizes of a `DilatedPPV`.

    Parameters
    ----------
    n_channels, n_columns : int
        Shape of an activation.
    n_biases : int, default=18
        Features of each kernel. Each 18 of them see channels of their own.
    seed : int, default=0
        Of the choice of channels.
    """

    n_channels: int
    n_columns: int
    n_biases: int = BIASES_OF_A_DRAW
    seed: int = 0

    @property
    def stages(self) -> list[tuple[int, int]]:
        """A dilation and its number of biases for each draw of channels.

        Dilations are 1, 2, 4, ... as long as a kernel fits into the columns.
        """
        n = int(math.log2((self.n_columns - 1) / (_N_TAPS - 1))) + 1 if self.n_columns > 9 else 1
        stages: list[tuple[int, int]] = []
        for n_biases in _shares(self.n_biases, math.ceil(self.n_biases / BIASES_OF_A_DRAW)):
            by_dilation = _shares(n_biases, min(n, n_biases))
            stages += [(2**i, share) for i, share in enumerate(by_dilation)]
        return stages


def _shares(total: int, n: int) -> list[int]:
    """Return `n` integers that sum to `total`, as equal as can be; the first get what is over."""
    return [total // n + (i < total % n) for i in range(n)]


def _gen_parts(x: Tensor) -> Iterator[slice]:
    """Yield slices of activations ``(n, n_channels, n_columns)`` to handle one by one."""
    n_at_once = max(1, _MAX_VALUES // (N_KERNELS * x.shape[2]))
    if x.device.type != "cpu":
        n_at_once = len(x)
    for start in range(0, len(x), n_at_once):
        yield slice(start, start + n_at_once)


class DilatedPPV(nn.Module):
    """Share of columns at which a dilated kernel's response is above a bias.

    Each kernel of each dilation sums a random subset of the channels; where there are many biases,
    several subsets, each with a share of them. Every other one counts only
    columns where it lies inside the activation; for the others that is padded with zeros. Biases
    are quantiles of the responses to what `fit` is given. Source: Dempster, Schmidt, Webb
    (MiniRocket), arXiv:2012.08791, section 3.

    Parameters
    ----------
    config : PPVConfig

    Attributes
    ----------
    config : PPVConfig
    n_features : int
    """

    n_features: int

    def __init__(self, config: PPVConfig) -> None:
        super().__init__()
        self.config = config
        self.n_features = N_KERNELS * config.n_biases
        n_channels, rng = config.n_channels, np.random.RandomState(config.seed)
        weights = torch.full((N_KERNELS, _N_TAPS), -1.0)
        for kernel, taps in enumerate(_HIGH_TAPS):
            weights[kernel, list(taps)] = 2.0
        self.weights: Tensor
        self.register_buffer("weights", weights, persistent=False)
        for i, (_, n_biases) in enumerate(config.stages):
            mix = torch.zeros(N_KERNELS, n_channels)
            for kernel in range(N_KERNELS):
                # Few channels more often than many: the number is log-uniform.
                n = int(2 ** rng.uniform(0, math.log2(min(n_channels, _MAX_CHANNELS) + 1)))
                mix[kernel, torch.from_numpy(rng.choice(n_channels, n, replace=False))] = 1
            self.register_buffer(f"mix_{i}", mix)
            self.register_buffer(f"bias_{i}", torch.zeros(N_KERNELS, n_biases))

    @torch.no_grad()
    def fit(self, x: Tensor) -> None:
        """Choose biases, and weigh channels alike.

        Parameters
        ----------
        x : Tensor of shape (n, n_channels, n_columns)
            A few hundred are enough.
        """
        std = x.std((0, 2)).nan_to_num().clamp(min=1e-8)
        first = 0
        for i, (dilation, n_biases) in enumerate(self.config.stages):
            mix, bias = self.get_buffer(f"mix_{i}"), self.get_buffer(f"bias_{i}")
            mix.copy_((mix != 0) / std)
            # Part by part: on the way to them, responses are held several times.
            responses = x.new_empty(len(x), N_KERNELS, x.shape[2])
            for part in _gen_parts(x):
                responses[part] = self._responses(x[part], mix, dilation)
            # Multiples of the golden ratio, modulo 1, fill the interval evenly at any number.
            index = torch.arange(first + 1, first + 1 + bias.numel(), dtype=torch.float64)
            levels = (index * _GOLDEN_RATIO % 1).view(N_KERNELS, n_biases).numpy()
            first += bias.numel()
            for kernel in range(N_KERNELS):
                columns = self._columns(i, kernel, dilation)
                values = responses[:, kernel, columns].cpu().numpy()
                # Where series stand still, many responses are equal, and a bias among them would
                # tell them apart by rounding, which depends on the batch. So it is put above.
                margin = _MARGIN * values.std()
                quantiles = np.quantile(values, levels[kernel]) + margin
                bias[kernel] = torch.from_numpy(quantiles).to(bias)

    def forward(self, x: Tensor) -> Tensor:
        """Map ``(n, n_channels, n_columns)`` to ``(n, n_features)``.

        Features are ordered by draw of channels, dilation, kernel and bias.
        """
        out = x.new_empty(len(x), self.n_features)
        first = 0
        for i, (dilation, n_biases) in enumerate(self.config.stages):
            mix, bias = self.get_buffer(f"mix_{i}"), self.get_buffer(f"bias_{i}")
            weight = self._column_weights(i, dilation)
            columns = slice(first, first + N_KERNELS * n_biases)
            first = columns.stop
            for part in _gen_parts(x):
                responses = self._responses(x[part], mix, dilation)
                weight, above = weight.to(responses), torch.empty_like(responses)
                shares = responses.new_empty(len(responses), N_KERNELS, n_biases)
                for j in range(n_biases):
                    # Written as floats in one pass: a mean of truth values would take two.
                    torch.gt(responses, bias[:, j, None], out=above)
                    shares[:, :, j] = above.mul_(weight).sum(-1)
                out[part, columns] = shares.flatten(1)
        return out

    def _responses(self, x: Tensor, mix: Tensor, dilation: int) -> Tensor:
        """Return responses of all kernels, ``(n, N_KERNELS, n_columns)``."""
        n_columns, reach = x.shape[2], dilation * (_N_TAPS // 2)
        if x.shape[1] == 1:
            # All kernels see the same columns, so that one matrix product serves them all.
            shifted = F.pad(x[:, 0], (reach, reach)).unfold(1, n_columns, dilation)
            return (self.weights * mix) @ shifted
        mixed = F.pad(mix @ x, (reach, reach))
        # Shifted sums: on a CPU several times as fast as a dilated convolution by group.
        out = mixed[..., :n_columns] * self.weights[:, 0, None]
        for tap in range(1, _N_TAPS):
            shifted = mixed[..., tap * dilation : tap * dilation + n_columns]
            out.addcmul_(shifted, self.weights[:, tap, None])
        return out

    def _columns(self, stage: int, kernel: int, dilation: int) -> slice:
        """Return the columns that count for a kernel."""
        reach = dilation * (_N_TAPS // 2)
        inside = (stage + kernel) % 2 == 1 and 2 * reach < self.config.n_columns
        return slice(reach, self.config.n_columns - reach) if inside else slice(None)

    def _column_weights(self, stage: int, dilation: int) -> Tensor:
        weight = torch.zeros(N_KERNELS, self.config.n_columns)
        for kernel in range(N_KERNELS):
            columns = self._columns(stage, kernel, dilation)
            counted = weight[kernel, columns]
            weight[kernel, columns] = 1 / len(counted)
        return weight


class StandardisedPPV(nn.Module):
    """`DilatedPPV` of several activations, each feature standardised by what `fit` was given.

    Parameters
    ----------
    configs : sequence of PPVConfig
        One for each activation.
    """

    config: tuple[PPVConfig, ...]
    parts: nn.ModuleList
    n_features: int

    def __init__(self, configs: Sequence[PPVConfig]) -> None:
        super().__init__()
        self.config = tuple(configs)
        self.parts = nn.ModuleList([DilatedPPV(config) for config in configs])
        self.n_features = sum(N_KERNELS * config.n_biases for config in configs)
        self.mean: Tensor
        self.scale: Tensor
        self.register_buffer("mean", torch.zeros(self.n_features))
        self.register_buffer("scale", torch.ones(self.n_features))

    @torch.no_grad()
    def fit(self, activations: Sequence[Tensor]) -> None:
        """Fit the parts, and mean and scale of their features."""
        for part, x in zip(self.parts, activations, strict=True):
            cast(DilatedPPV, part).fit(x)
        self.mean.zero_()
        self.scale.fill_(1)
        features = self(activations)
        self.mean.copy_(features.mean(0))
        # Not below the share of one column: it would blow up what differs in a single one.
        least = torch.cat(
            [torch.full((N_KERNELS * c.n_biases,), 1 / c.n_columns) for c in self.config]
        )
        self.scale.copy_(features.std(0).nan_to_num().clamp(min=least.to(self.scale)))

    def forward(self, activations: Sequence[Tensor]) -> Tensor:
        """Map activations ``(n, n_channels, n_columns)`` to ``(n, n_features)``."""
        features = [part(x) for part, x in zip(self.parts, activations, strict=True)]
        return (torch.cat(features, dim=1) - self.mean) / self.scale
