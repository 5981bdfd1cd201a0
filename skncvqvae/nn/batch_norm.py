"""Batch normalisation over the rows of all processes that train together."""

import torch
from torch import Tensor, nn

from .distributed import current_shard, gather_processes
from .precision import full_precision


class BatchNorm1d(nn.BatchNorm1d):
    """torch's, with statistics over a whole batch that is shared out to several processes.

    `torch.nn.SyncBatchNorm` does that on GPUs only. Source: Ioffe and Szegedy, arXiv:1502.03167.
    """

    def forward(self, x: Tensor) -> Tensor:
        """Map ``(n, n_features)`` to the same shape."""
        if self.training and current_shard() is not None:
            return _normalise(x, self)
        return super().forward(x)


class BatchNorm2d(nn.BatchNorm2d):
    """As `BatchNorm1d`, for ``(n, n_features, rows, columns)``."""

    def forward(self, x: Tensor) -> Tensor:
        """Map ``(n, n_features, rows, columns)`` to the same shape."""
        if self.training and current_shard() is not None:
            return _normalise(x, self)
        return super().forward(x)


def _normalise(x: Tensor, norm: nn.BatchNorm1d | nn.BatchNorm2d) -> Tensor:
    return _normalise_exactly(x, norm).to(x.dtype)


@full_precision
def _normalise_exactly(x: Tensor, norm: nn.BatchNorm1d | nn.BatchNorm2d) -> Tensor:
    axes = [axis for axis in range(x.ndim) if axis != 1]
    variance, mean = torch.var_mean(x, axes, correction=0)
    own = torch.cat([mean, variance, mean.new_full((1,), x.numel() // x.shape[1])])
    means, variances, counts = gather_processes(own).split([len(mean), len(mean), 1], dim=1)
    n = counts.detach().sum()
    share = counts / n
    mean = (share * means).sum(0)
    variance = (share * (variances + (means - mean).square())).sum(0)
    assert norm.running_mean is not None and norm.running_var is not None
    assert norm.num_batches_tracked is not None and norm.momentum is not None
    with torch.no_grad():
        norm.num_batches_tracked += 1
        norm.running_mean.lerp_(mean, norm.momentum)
        norm.running_var.lerp_(variance * n / (n - 1), norm.momentum)
    shape = (-1, *[1] * (x.ndim - 2))
    scale = norm.weight * torch.rsqrt(variance + norm.eps)
    return torch.addcmul((norm.bias - mean * scale).view(shape), x, scale.view(shape))
