"""Gumbel noise, by which the largest of noisy logits is a draw from their softmax."""

import torch
from torch import Tensor


def gumbel_noise(
    shape: torch.Size, generator: torch.Generator | None, device: torch.device
) -> Tensor:
    """Return standard Gumbel noise of a shape.

    The index of the largest of logits plus noise is distributed as their softmax says (Gumbel-max
    trick).
    """
    uniform = torch.rand(shape, generator=generator, device=device)
    # Bounded away from 0 and 1, where the double logarithm is infinite.
    return -torch.log(-torch.log(uniform.clamp(1e-20, 1 - 1e-7)))
