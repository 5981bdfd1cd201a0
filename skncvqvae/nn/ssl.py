"""Self-supervised losses that compare two views of a batch, and the registry of them."""

import copy
from collections.abc import Callable
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from .batch_norm import BatchNorm1d
from .distributed import gather
from .precision import full_precision
from .projector import Projector, global_pool

# A loss of two projections, each (n, dim).
SSLLoss = Callable[[Tensor, Tensor], Tensor]


@full_precision
def barlow_twins_loss(p: Tensor, p_view: Tensor, off_diagonal_weight: float = 0.005) -> Tensor:
    """Barlow Twins: the cross-correlation of two views should be the identity.

    ``(sum_i (1 - C_ii)^2 + off_diagonal_weight * sum_{i != j} C_ij^2) / dim``, where ``C`` is
    the cross-correlation of the columns over the batch. Source: Zbontar et al.,
    arXiv:2103.03230, eq. 1, divided by the dimension as in arXiv:2408.16613.

    Parameters
    ----------
    p, p_view : Tensor of shape (n, dim)
        Projections of the two views, ``n >= 2``.
    off_diagonal_weight : float, default=0.005

    Returns
    -------
    Tensor, scalar
    """
    n, dim = _check_pair(p, p_view)
    p, p_view = _standardise(p), _standardise(p_view)
    diagonal = (p * p_view).sum(0) / n
    off_diagonal = _squared_norm_of_product(p, p_view) / n**2 - diagonal.square().sum()
    return ((1 - diagonal).square().sum() + off_diagonal_weight * off_diagonal) / dim


@full_precision
def vicreg_loss(
    p: Tensor,
    p_view: Tensor,
    invariance: float = 25.0,
    variance: float = 25.0,
    covariance: float = 1.0,
) -> Tensor:
    """VICReg: invariance, variance and covariance terms.

    ``invariance * mse(p, p') + variance * sum over views of mean_i max(0, 1 - sqrt(var_i +
    1e-4)) + covariance * sum over views of sum_{i != j} cov_ij^2 / dim``. Source: Bardes et
    al., arXiv:2105.04906, eqs. 1 to 6.

    Parameters
    ----------
    p, p_view : Tensor of shape (n, dim)
        Projections of the two views, ``n >= 2``.
    invariance, variance, covariance : float
        Weights of the three terms.

    Returns
    -------
    Tensor, scalar
    """

    def penalty(centred: Tensor) -> Tensor:
        n, dim = centred.shape
        return _squared_off_diagonal(centred / (n - 1) ** 0.5) / dim

    return _vicreg(p, p_view, invariance, variance, covariance, penalty)


@full_precision
def vibcreg_loss(
    p: Tensor,
    p_view: Tensor,
    invariance: float = 25.0,
    variance: float = 25.0,
    covariance: float = 100.0,
) -> Tensor:
    """VIbCReg: VICReg with the covariance of L2-normalised columns.

    As `vicreg_loss`, but the last term is the mean over all ``dim^2`` entries of the squared
    off-diagonal products of columns that are centred and scaled to unit length. The
    projector of this loss ends in `IterNorm`. Source: Lee and Aune, arXiv:2109.00783,
    section 3.

    Parameters
    ----------
    p, p_view : Tensor of shape (n, dim)
        Projections of the two views, ``n >= 2``.
    invariance, variance, covariance : float
        Weights of the three terms.

    Returns
    -------
    Tensor, scalar
    """

    def penalty(centred: Tensor) -> Tensor:
        return _squared_off_diagonal(F.normalize(centred, dim=0)) / centred.shape[1] ** 2

    return _vicreg(p, p_view, invariance, variance, covariance, penalty)


@full_precision
def negative_cosine_loss(p: Tensor, target: Tensor) -> Tensor:
    """BYOL's distance of a prediction to its target: ``2 - 2 cos(p, target)``, averaged.

    No gradient reaches the target. Source: Grill et al., arXiv:2006.07733, eq. 2.

    Parameters
    ----------
    p, target : Tensor of shape (n, dim)

    Returns
    -------
    Tensor, scalar
    """
    return 2 - 2 * F.cosine_similarity(p, target.detach(), dim=1).mean()


@dataclass(frozen=True)
class Views:
    """What a training step knows of the two views of a batch.

    Parameters
    ----------
    latent, latent_view : Tensor of shape (n, code_dim, rows, columns)
        Quantised latent of the series, continuous latent of the augmented view.
    timefreq, timefreq_view : Tensor
        What the encoder made them from.
    """

    latent: Tensor
    latent_view: Tensor
    timefreq: Tensor
    timefreq_view: Tensor


class SSLHead(nn.Module):
    """Projector and loss: pools the latents of two views, projects and compares them.

    A subclass may keep a state of its own, as `BYOLHead` does.

    Parameters
    ----------
    method : SSLMethod
        Its loss is called with two projections ``(n, projector_dim)``. A loss that is a
        `torch.nn.Module` is copied, and its parameters are trained with the others.
    encoder : nn.Module
        The encoder that the latents come from.
    n_pooled : int
        Dimension of a pooled latent.
    projector_dim : int
        Width of the projector's three layers.
    pooling : {"avg", "avg_max"}
        See `global_pool`.
    """

    projector: Projector
    loss: SSLLoss

    def __init__(
        self,
        method: "SSLMethod",
        encoder: nn.Module,
        n_pooled: int,
        projector_dim: int,
        pooling: str,
    ) -> None:
        super().__init__()
        self.pooling = pooling
        self.projector = Projector(n_pooled, projector_dim, projector_dim, method.whiten)
        self.loss = copy.deepcopy(method.loss)

    def forward(self, views: Views, encoder: nn.Module) -> Tensor:
        """Return the loss, a scalar. `encoder` is the one being trained."""
        pooled = (global_pool(z, self.pooling) for z in (views.latent, views.latent_view))
        return self.compare(*self.projector.project_views(*pooled))

    @full_precision
    def compare(self, p: Tensor, p_view: Tensor) -> Tensor:
        """Return the loss of two projections, whoever wrote it, in single precision.

        Where a batch is shared out to several processes, each computes the loss of all of it.

        Raises
        ------
        TypeError, ValueError
            Where it returns another thing than a scalar tensor.
        """
        # Copies: what the user's function writes into its arguments is its own.
        loss = self.loss(gather(p).clone(), gather(p_view).clone())
        if not isinstance(loss, Tensor):
            raise TypeError(
                f"ssl_method must return a scalar tensor, but it returned a {type(loss).__name__}."
            )
        if loss.ndim:
            raise ValueError(
                f"ssl_method must return a scalar tensor, but its shape is {tuple(loss.shape)}. "
                "Return its mean."
            )
        if loss.is_complex():
            raise ValueError(
                "ssl_method must return a real number, but it returned a complex one."
            )
        return loss


class BYOLHead(SSLHead):
    """Bootstrap your own latent: a predictor, and targets by a slowly moving copy of the encoder.

    The prediction from each view is compared with the target's projection of the other. Encoder
    and projector of the target are moving averages of the trained ones, brought up to date at the
    beginning of each step. Source: Grill et al., arXiv:2006.07733, eqs. 1 to 3.

    Parameters
    ----------
    method, encoder, n_pooled, projector_dim, pooling
        As in `SSLHead`.
    momentum : float, default=0.99
        Share of the target that a step leaves as it was.
    """

    predictor: nn.Sequential
    target_encoder: nn.Module
    target_projector: Projector

    def __init__(
        self,
        method: "SSLMethod",
        encoder: nn.Module,
        n_pooled: int,
        projector_dim: int,
        pooling: str,
        momentum: float = 0.99,
    ) -> None:
        super().__init__(method, encoder, n_pooled, projector_dim, pooling)
        self.momentum = momentum
        self.predictor = nn.Sequential(
            nn.Linear(projector_dim, projector_dim),
            BatchNorm1d(projector_dim),
            nn.ReLU(),
            nn.Linear(projector_dim, projector_dim),
        )
        self.target_encoder = copy.deepcopy(encoder).requires_grad_(False)
        self.target_projector = copy.deepcopy(self.projector).requires_grad_(False)

    def forward(self, views: Views, encoder: nn.Module) -> Tensor:
        """Return the loss, a scalar, and move the target towards `encoder` when training."""
        if self.training:
            self._follow(self.target_encoder, encoder)
            self._follow(self.target_projector, self.projector)
        pooled = (global_pool(z, self.pooling) for z in (views.latent, views.latent_view))
        predictions = [self.predictor(p) for p in self.projector.project_views(*pooled)]
        with torch.no_grad():
            latents = (self.target_encoder(u) for u in (views.timefreq, views.timefreq_view))
            pooled = (global_pool(z, self.pooling) for z in latents)
            target, target_view = self.target_projector.project_views(*pooled)
        return self.compare(predictions[0], target_view) + self.compare(predictions[1], target)

    @torch.no_grad()
    def _follow(self, target: nn.Module, source: nn.Module) -> None:
        for slow, fast in zip(target.parameters(), source.parameters(), strict=True):
            slow.lerp_(fast, 1 - self.momentum)


@dataclass(frozen=True)
class SSLMethod:
    """A way to compute and weigh the self-supervised loss.

    Parameters
    ----------
    loss : callable
        ``loss(p, p_view)`` of two projections ``(n, dim)``, a scalar tensor.
    whiten : bool, default=False
        Whether the projector ends in `IterNorm`.
    reference_weight : float, default=1.0
        The factor of ``ssl_weight="reference"``, the authors'.
    auto_weight : float, default=1.0
        The factor of ``ssl_weight="auto"``.
    head : type of SSLHead, default=SSLHead
        What calls the loss.
    """

    loss: SSLLoss
    whiten: bool = False
    reference_weight: float = 1.0
    auto_weight: float = 1.0
    head: type[SSLHead] = SSLHead


# All that is known of a method by name. Automatic weights were chosen by validation on the
# training split of FordA, except BYOL's, which is its authors'.
SSL_METHODS: dict[str, SSLMethod] = {
    "barlowtwins": SSLMethod(barlow_twins_loss, reference_weight=1.0, auto_weight=10.0),
    "vicreg": SSLMethod(vicreg_loss, reference_weight=0.01, auto_weight=0.2),
    "vibcreg": SSLMethod(vibcreg_loss, whiten=True, reference_weight=0.01, auto_weight=0.05),
    "byol": SSLMethod(negative_cosine_loss, head=BYOLHead),
}


def resolve_ssl_method(method: str | SSLMethod | SSLLoss | None) -> SSLMethod | None:
    """Return the method that a name, a loss of two projections, or None stands for."""
    if method is None or isinstance(method, SSLMethod):
        return method
    return SSL_METHODS[method] if isinstance(method, str) else SSLMethod(method)


def _check_pair(p: Tensor, p_view: Tensor) -> torch.Size:
    if p.ndim != 2 or p.shape != p_view.shape or len(p) < 2:
        raise ValueError(
            "The projections must be two (n, dim) tensors of one shape with n >= 2, got "
            f"{tuple(p.shape)} and {tuple(p_view.shape)}."
        )
    return p.shape


def _standardise(z: Tensor) -> Tensor:
    # The small constant keeps columns that are constant over the batch at zero.
    return (z - z.mean(0)) / (z.std(0) + 1e-8)


def _vicreg(
    p: Tensor,
    p_view: Tensor,
    invariance: float,
    variance: float,
    covariance: float,
    penalty: Callable[[Tensor], Tensor],
) -> Tensor:
    """Invariance of two views, and for each its variance hinge and `penalty` of redundancy."""
    n, _ = _check_pair(p, p_view)
    loss = invariance * F.mse_loss(p, p_view)
    for z in (p, p_view):
        centred = z - z.mean(0)
        std = torch.sqrt(centred.square().sum(0) / (n - 1) + 1e-4)
        loss = loss + variance * torch.relu(1 - std).mean() + covariance * penalty(centred)
    return loss


def _squared_off_diagonal(z: Tensor) -> Tensor:
    """Return the sum of the squared off-diagonal entries of ``z.T @ z``."""
    return _squared_norm_of_product(z, z) - z.square().sum(0).square().sum()


def _squared_norm_of_product(a: Tensor, b: Tensor) -> Tensor:
    """Return ``||a.T @ b||_F^2`` of two ``(n, dim)`` tensors by the cheaper of two ways.

    ``||a.T b||^2 = <a a.T, b b.T>``, so with a batch smaller than the projector's width the
    products are ``(n, n)`` instead of ``(dim, dim)``.
    """
    n, dim = a.shape
    if n < dim:
        return ((a @ a.T) * (b @ b.T)).sum()
    return (a.T @ b).square().sum()
