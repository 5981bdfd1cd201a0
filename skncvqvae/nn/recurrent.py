"""The recurrent networks of the discriminative and of the predictive score."""

from collections.abc import Callable

import torch
import torch.nn.functional as F
from torch import Tensor, nn


class RecurrentNetwork(nn.Module):
    """One layer of gated recurrent units, and one logit of its state.

    Source: Yoon, Jarrett, van der Schaar, NeurIPS 2019, section 5, and the code published with it.

    Parameters
    ----------
    n_channels : int
    n_units : int
    """

    gru: nn.GRU
    head: nn.Linear

    def __init__(self, n_channels: int, n_units: int) -> None:
        super().__init__()
        self.gru = nn.GRU(n_channels, n_units, batch_first=True)
        self.head = nn.Linear(n_units, 1)

    def at_the_end(self, x: Tensor) -> Tensor:
        """Map series ``(n, length, n_channels)`` to the logits of the last state, ``(n,)``."""
        return self.head(self.gru(x)[1][0])[:, 0]

    def at_each_step(self, x: Tensor) -> Tensor:
        """Map series ``(n, length, n_channels)`` to numbers in [0, 1], ``(n, length)``."""
        return torch.sigmoid(self.head(self.gru(x)[0]))[..., 0]


def train_discriminator(
    module: RecurrentNetwork,
    real: Tensor,
    synthetic: Tensor,
    n_steps: int,
    batch_size: int,
    generator: torch.Generator,
) -> None:
    """Train a network to tell real series from synthetic ones.

    Parameters
    ----------
    module : RecurrentNetwork
        Learns logits of being real.
    real, synthetic : Tensor of shape (n, length, n_channels)
    n_steps : int
        Steps of Adam.
    batch_size : int
        Series of each kind in a step, or as many as there are.
    generator : torch.Generator
        Source of the batches.
    """

    def loss() -> Tensor:
        logits_real = module.at_the_end(_batch(real, batch_size, generator))
        logits_synthetic = module.at_the_end(_batch(synthetic, batch_size, generator))
        return F.softplus(-logits_real).mean() + F.softplus(logits_synthetic).mean()

    _minimise(module, loss, n_steps)


def train_predictor(
    module: RecurrentNetwork,
    inputs: Tensor,
    targets: Tensor,
    n_steps: int,
    batch_size: int,
    generator: torch.Generator,
) -> None:
    """Train a network to predict, at each step, a target in [0, 1], by its absolute error.

    Parameters
    ----------
    module : RecurrentNetwork
    inputs : Tensor of shape (n, length, n_channels)
    targets : Tensor of shape (n, length)
    n_steps, batch_size, generator
        As those of `train_discriminator`.
    """

    def loss() -> Tensor:
        picked = _pick(len(inputs), batch_size, generator)
        return F.l1_loss(module.at_each_step(inputs[picked]), targets[picked])

    _minimise(module, loss, n_steps)


def _pick(n: int, batch_size: int, generator: torch.Generator) -> Tensor:
    """Return the indices of some of `n` series, each once at most."""
    return torch.randperm(n, generator=generator)[:batch_size]


def _batch(x: Tensor, batch_size: int, generator: torch.Generator) -> Tensor:
    return x[_pick(len(x), batch_size, generator)]


def _minimise(module: nn.Module, loss: Callable[[], Tensor], n_steps: int) -> None:
    optimizer = torch.optim.Adam(module.parameters())
    for _ in range(n_steps):
        optimizer.zero_grad()
        loss().backward()
        optimizer.step()
