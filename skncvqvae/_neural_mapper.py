"""Training of the network after the decoder, on pairs of decoded and real series."""

import math
from collections.abc import Callable, Sequence
from typing import Any, Literal

import numpy as np
import torch
from numpy.typing import NDArray

from ._base import isolated_seed
from ._checkpoints import Folder
from ._training import ModuleNet, TrainConfig, train
from .nn.neural_mapper import NeuralMapper, NeuralMapperConfig

# How freely codes are drawn for the pairs. Of the nearest codes alone, the network would see only
# what the decoder was trained on; further away, decoded and real series have less in common.
TEMPERATURE = 0.25
# Pairs: of few series, many draws of each.
_N_PAIRS = 2048
# Values of all pairs together.
_MAX_VALUES = 2**22
_MIN_PAIRS = 64
_N_STEPS = 400
_BATCH_SIZE = 64
_LR = 2e-3


class _MapperNet(ModuleNet):
    """Batches are ``(decoded, series)``."""

    stage = "neural mapper"

    @staticmethod
    def auto_epochs(n_series: int, n_batches: int) -> int:
        return math.ceil(_N_STEPS / n_batches)

    def loss_terms(self, batch: Sequence[torch.Tensor]) -> dict[str, torch.Tensor]:
        return {"loss": self.module_.loss(*batch, generator=self.generator)}


def choose_pairs(n_series: int, n_values: int, rng: np.random.RandomState) -> NDArray[np.intp]:
    """Return of which of `n_series` series, of `n_values` values each, pairs are made.

    Returns
    -------
    ndarray of int
        As many as there are pairs, each series as often as the others.
    """
    n = min(_N_PAIRS, max(_MAX_VALUES // n_values, _MIN_PAIRS))
    order = [rng.permutation(n_series) for _ in range(math.ceil(n / n_series))]
    return np.concatenate(order)[:n]


def fit_neural_mapper(
    series: NDArray[np.floating],
    decode: Callable[[NDArray[np.floating]], NDArray[np.floating]],
    *,
    device: torch.device,
    seed: int,
    mixed_precision: bool | Literal["auto"] = "auto",
    checkpoint_dir: Folder | None = None,
    checkpoint_every: float = 5.0,
    verbose: int = 0,
) -> NeuralMapper:
    """Train a network that maps decoded to real series.

    Parameters
    ----------
    series : ndarray of shape (n, n_channels, n_timesteps)
        In units of each channel's standard deviation.
    decode : callable
        From series to what is decoded from codes drawn for them.
    device : torch.device
    seed : int
    mixed_precision, checkpoint_dir, checkpoint_every, verbose
        As of `TrainConfig`.

    Returns
    -------
    NeuralMapper
    """
    config = TrainConfig(
        batch_size=_BATCH_SIZE,
        lr=_LR,
        weight_decay=1e-2,
        lr_schedule="cosine",
        mixed_precision=mixed_precision,
        checkpoint_dir=checkpoint_dir,
        checkpoint_every=checkpoint_every,
        verbose=verbose,
    )
    with isolated_seed(seed, device):
        module = NeuralMapper(NeuralMapperConfig(series.shape[1])).float()
        arrays: Any = (decode(series), series)
        train(_MapperNet, module, arrays, config, device=device, seed=seed)
    return module
