"""The projector between the pooled latent and the SSL loss, and its whitening layer."""

import torch
from torch import Tensor, nn

from .batch_norm import BatchNorm1d
from .distributed import all_sum, current_shard, n_whole
from .precision import full_precision


def global_pool(z: Tensor, pooling: str = "avg_max") -> Tensor:
    """Pool a latent ``(n, dim, rows, columns)`` over the grid.

    "avg" is the average, ``(n, dim)``; "avg_max" has the maximum beside it, ``(n, 2 * dim)``.
    """
    average = z.mean((2, 3))
    return average if pooling == "avg" else torch.cat([average, z.amax((2, 3))], dim=1)


class IterNorm(nn.Module):
    """Whitening of groups of features by Newton's iteration.

    Source: Huang et al., arXiv:1904.03441, algorithm 1; the layer that ends VIbCReg's
    projector (arXiv:2109.00783). Group covariances are normalised by their trace, and
    ``n_iter`` steps of ``P <- 1.5 P - 0.5 P^3 Sigma`` approach their inverse square root.

    Parameters
    ----------
    n_features : int
    n_groups : int, default=64
        Wanted number of groups; the size of a group is halved until it divides `n_features`.
    n_iter : int, default=5
    eps : float, default=1e-5
        Added to the variances.
    momentum : float, default=0.1
        Weight of the newest batch in the running statistics used in evaluation mode.
    """

    group_size: int
    n_iter: int
    eps: float
    momentum: float
    weight: nn.Parameter
    bias: nn.Parameter

    def __init__(
        self,
        n_features: int,
        n_groups: int = 64,
        n_iter: int = 5,
        eps: float = 1e-5,
        momentum: float = 0.1,
    ) -> None:
        super().__init__()
        self.running_mean: Tensor
        self.running_whitening: Tensor
        size = (n_features - 1) // n_groups + 1
        while n_features % size:
            size //= 2
        self.group_size, self.n_iter, self.eps, self.momentum = size, n_iter, eps, momentum
        n_groups = n_features // size
        self.weight = nn.Parameter(torch.ones(n_features))
        self.bias = nn.Parameter(torch.zeros(n_features))
        self.register_buffer("running_mean", torch.zeros(n_groups, size, 1))
        self.register_buffer("running_whitening", torch.eye(size).repeat(n_groups, 1, 1))

    @full_precision
    def forward(self, x: Tensor) -> Tensor:
        """Whiten ``(..., n, n_features)``, each batch of `n` by its own statistics."""
        grouped = x.mT.unflatten(-2, (-1, self.group_size))
        if self.training:
            mean = _batch_mean(grouped)
            whitening = self._whitening_matrix(grouped - mean)
            with torch.no_grad():
                means = mean.view(-1, *self.running_mean.shape)
                whitenings = whitening.view(-1, *self.running_whitening.shape)
                for batch_mean, batch_whitening in zip(means, whitenings, strict=True):
                    self.running_mean.lerp_(batch_mean, self.momentum)
                    self.running_whitening.lerp_(batch_whitening, self.momentum)
        else:
            mean, whitening = self.running_mean, self.running_whitening
        white = whitening @ (grouped - mean)
        return white.flatten(-3, -2).mT * self.weight + self.bias

    def _whitening_matrix(self, centred: Tensor) -> Tensor:
        identity = torch.eye(self.group_size, device=centred.device, dtype=centred.dtype)
        sigma = all_sum(centred @ centred.mT) / n_whole(centred.shape[-1]) + self.eps * identity
        trace = sigma.diagonal(dim1=-2, dim2=-1).sum(-1)[..., None, None]
        sigma = sigma / trace
        p = identity.expand_as(sigma)
        for _ in range(self.n_iter):
            p = 1.5 * p - 0.5 * (p @ p @ p) @ sigma
        return p * trace.rsqrt()


def _batch_mean(x: Tensor) -> Tensor:
    """Return the mean over the last axis, ``(..., 1)``, which is that of a batch's rows."""
    if current_shard() is None:
        return x.mean(-1, keepdim=True)
    return all_sum(x.sum(-1, keepdim=True)) / n_whole(x.shape[-1])


class Projector(nn.Sequential):
    """Three linear layers with batch norm and ReLU between them.

    Parameters
    ----------
    in_dim, hidden_dim, out_dim : int
    whiten : bool, default=False
        End in `IterNorm`, as VIbCReg does.
    """

    def __init__(self, in_dim: int, hidden_dim: int, out_dim: int, whiten: bool = False) -> None:
        layers: list[nn.Module] = []
        for n_in in (in_dim, hidden_dim):
            layers += [nn.Linear(n_in, hidden_dim), BatchNorm1d(hidden_dim), nn.ReLU()]
        layers.append(nn.Linear(hidden_dim, out_dim))
        if whiten:
            layers.append(IterNorm(out_dim))
        super().__init__(*layers)

    def project_views(self, *views: Tensor) -> tuple[Tensor, ...]:
        """Project batches ``(n, in_dim)``, each normalised by its own statistics.

        All layers but batch norm see all views at once: their weights are read, and the gradients
        of them written, once instead of once for each view.
        """
        x = torch.stack(views)
        for layer in self:
            if isinstance(layer, nn.BatchNorm1d):
                x = torch.stack([layer(view) for view in x])
            else:
                x = layer(x)
        return x.unbind()
