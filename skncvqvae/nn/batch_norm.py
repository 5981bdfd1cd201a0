"""Batch normalisation over the rows of all processes that train together."""

from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.autograd.function import once_differentiable
from torch.nn.modules.batchnorm import _BatchNorm

from .distributed import all_sum, current_shard, gather_processes, sharing
from .precision import full_precision


class _OfAllProcesses(_BatchNorm):
    """Statistics over a whole batch that is shared out to several processes."""

    def forward(self, x: Tensor) -> Tensor:
        """Map ``(n, n_features, ...)`` to the same shape."""
        if self.training and current_shard() is not None:
            return _normalise(x, self)
        return super().forward(x)


class BatchNorm1d(_OfAllProcesses, nn.BatchNorm1d):
    """torch's for ``(n, n_features)``, with statistics over the rows of all processes.

    `torch.nn.SyncBatchNorm` does that on GPUs only. Source: Ioffe and Szegedy, arXiv:1502.03167.
    """


class BatchNorm2d(_OfAllProcesses, nn.BatchNorm2d):
    """As `BatchNorm1d`, for ``(n, n_features, rows, columns)``."""


def _normalise(x: Tensor, norm: _OfAllProcesses) -> Tensor:
    return _normalise_exactly(x, norm).to(x.dtype)


@full_precision
def _normalise_exactly(x: Tensor, norm: _OfAllProcesses) -> Tensor:
    y, mean, variance, n = _Normalise.apply(x, norm.weight, norm.bias, norm.eps)
    assert norm.running_mean is not None and norm.running_var is not None
    assert norm.num_batches_tracked is not None and norm.momentum is not None
    with torch.no_grad():
        norm.num_batches_tracked += 1
        norm.running_mean.lerp_(mean, norm.momentum)
        norm.running_var.lerp_(variance * n / (n - 1), norm.momentum)
    return y


class _Normalise(torch.autograd.Function):
    """Normalises by statistics of all processes, in torch's kernels for known statistics.

    Autograd's own gradient of the formula takes several times as long.
    """

    @staticmethod
    def forward(
        ctx: Any, x: Tensor, weight: Tensor, bias: Tensor, eps: float
    ) -> tuple[Tensor, ...]:
        axes = [axis for axis in range(x.ndim) if axis != 1]
        shape = (-1, *[1] * (x.ndim - 2))
        mean = x.mean(axes)
        # In these three steps, since `torch.var_mean` takes 15 times as long on a CPU.
        variance = (x - mean.view(shape)).square_().mean(axes)
        own = torch.cat([mean, variance, mean.new_full((1,), x.numel() // x.shape[1])])
        means, variances, counts = gather_processes(own).split([len(mean), len(mean), 1], dim=1)
        n = counts.sum()
        share = counts / n
        mean = (share * means).sum(0)
        variance = (share * (variances + (means - mean).square())).sum(0)
        ctx.save_for_backward(x, weight, mean, variance, n)
        # The backward pass comes when the batch is no longer said to be shared out.
        ctx.eps, ctx.shard = eps, current_shard()
        y = F.batch_norm(x, mean, variance, weight, bias, training=False, eps=eps)
        ctx.mark_non_differentiable(mean, variance, n)
        return y, mean, variance, n

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, grad: Tensor, *_: Any) -> tuple[Tensor | None, ...]:
        x, weight, mean, variance, n = ctx.saved_tensors
        # The gradient for constant statistics; that of the weight is the sum of grad * x_hat.
        grad_x, grad_weight, grad_bias = torch.ops.aten.native_batch_norm_backward(
            grad, x, weight, mean, variance, None, None, False, ctx.eps, [True, True, True]
        )
        with sharing(ctx.shard):
            along, total = (all_sum(torch.stack([grad_weight, grad_bias])) / n).unbind()
        # Through the mean and the variance, to which the rows of all processes have contributed.
        inverse = torch.rsqrt(variance + ctx.eps)
        slope = weight * inverse.square() * along
        level = weight * inverse * total - slope * mean
        shape = (-1, *[1] * (x.ndim - 2))
        grad_x = grad_x.sub_(level.view(shape)).addcmul_(x, slope.view(shape), value=-1)
        return grad_x, grad_weight, grad_bias, None
