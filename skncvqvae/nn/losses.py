"""Self-supervised losses that compare the projections of two views of a batch."""

import torch
import torch.nn.functional as F

from .precision import full_precision

# The factors that the authors multiply each loss by.
REFERENCE_SSL_WEIGHTS = {"barlowtwins": 1.0, "vicreg": 0.01, "vibcreg": 0.01}


@full_precision
def barlow_twins_loss(p, p_view, off_diagonal_weight=0.005):
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
def vicreg_loss(p, p_view, invariance=25.0, variance=25.0, covariance=1.0):
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

    def penalty(centred):
        n, dim = centred.shape
        return _squared_off_diagonal(centred / (n - 1) ** 0.5) / dim

    return _vicreg(p, p_view, invariance, variance, covariance, penalty)


@full_precision
def vibcreg_loss(p, p_view, invariance=25.0, variance=25.0, covariance=100.0):
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

    def penalty(centred):
        return _squared_off_diagonal(F.normalize(centred, dim=0)) / centred.shape[1] ** 2

    return _vicreg(p, p_view, invariance, variance, covariance, penalty)


SSL_LOSSES = {
    "barlowtwins": barlow_twins_loss,
    "vicreg": vicreg_loss,
    "vibcreg": vibcreg_loss,
}


def _check_pair(p, p_view):
    if p.ndim != 2 or p.shape != p_view.shape or len(p) < 2:
        raise ValueError(
            "The projections must be two (n, dim) tensors of one shape with n >= 2, got "
            f"{tuple(p.shape)} and {tuple(p_view.shape)}."
        )
    return p.shape


def _standardise(z):
    # The small constant keeps columns that are constant over the batch at zero.
    return (z - z.mean(0)) / (z.std(0) + 1e-8)


def _vicreg(p, p_view, invariance, variance, covariance, penalty):
    """Invariance of two views, and for each its variance hinge and `penalty` of redundancy."""
    n, _ = _check_pair(p, p_view)
    loss = invariance * F.mse_loss(p, p_view)
    for z in (p, p_view):
        centred = z - z.mean(0)
        std = torch.sqrt(centred.square().sum(0) / (n - 1) + 1e-4)
        loss = loss + variance * torch.relu(1 - std).mean() + covariance * penalty(centred)
    return loss


def _squared_off_diagonal(z):
    """Return the sum of the squared off-diagonal entries of ``z.T @ z``."""
    return _squared_norm_of_product(z, z) - z.square().sum(0).square().sum()


def _squared_norm_of_product(a, b):
    """Return ``||a.T @ b||_F^2`` of two ``(n, dim)`` tensors by the cheaper of two ways.

    ``||a.T b||^2 = <a a.T, b b.T>``, so with a batch smaller than the projector's width the
    products are ``(n, n)`` instead of ``(dim, dim)``.
    """
    n, dim = a.shape
    if n < dim:
        return ((a @ a.T) * (b @ b.T)).sum()
    return (a.T @ b).square().sum()
