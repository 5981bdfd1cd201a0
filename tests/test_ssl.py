"""Each loss against its formula written out in numpy, and what it should reward."""

import copy

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from skncvqvae.nn.losses import SSL_LOSSES, barlow_twins_loss, vibcreg_loss, vicreg_loss
from skncvqvae.nn.projector import IterNorm, Projector, global_pool


def numpy_barlow_twins(a, b):
    n, dim = a.shape
    a = (a - a.mean(0)) / a.std(0, ddof=1)
    b = (b - b.mean(0)) / b.std(0, ddof=1)
    total = 0.0
    for i in range(dim):
        for j in range(dim):
            c = np.sum(a[:, i] * b[:, j]) / n
            total += (1 - c) ** 2 if i == j else 0.005 * c**2
    return total / dim


def numpy_hinge(z):
    return np.mean(np.maximum(0, 1 - np.sqrt(z.var(0, ddof=1) + 1e-4)))


def numpy_vicreg(a, b):
    total = 25 * np.mean((a - b) ** 2)
    for z in (a, b):
        covariance = np.cov(z, rowvar=False)
        np.fill_diagonal(covariance, 0)
        total += 25 * numpy_hinge(z) + np.sum(covariance**2) / z.shape[1]
    return total


def numpy_vibcreg(a, b):
    total = 25 * np.mean((a - b) ** 2)
    for z in (a, b):
        correlation = np.corrcoef(z, rowvar=False)
        np.fill_diagonal(correlation, 0)
        total += 25 * numpy_hinge(z) + 100 * np.mean(correlation**2)
    return total


NUMPY = {
    "barlowtwins": numpy_barlow_twins,
    "vicreg": numpy_vicreg,
    "vibcreg": numpy_vibcreg,
}


# More rows than columns and the reverse take different ways to the same number.
@pytest.mark.parametrize("name", SSL_LOSSES)
@settings(deadline=None, max_examples=25)
@given(n=st.integers(3, 24), dim=st.integers(2, 24), seed=st.integers(0, 10**6))
def test_loss_equals_numpy_formula(name, n, dim, seed):
    rng = np.random.default_rng(seed)
    a = rng.normal(1, 2, (n, dim))
    b = a + rng.normal(size=(n, dim))
    ours = SSL_LOSSES[name](torch.tensor(a), torch.tensor(b)).item()
    assert ours == pytest.approx(NUMPY[name](a, b), rel=1e-6)


@pytest.mark.parametrize("shape", [(4, 9), (9, 4)])
@pytest.mark.parametrize("name", SSL_LOSSES)
def test_gradient_is_that_of_the_formula(name, shape):
    """Differences of the loss, which is the formula, against what autograd makes of it."""
    rng = np.random.default_rng(0)
    a, b = (torch.tensor(rng.normal(1, 0.8, shape), requires_grad=True) for _ in "ab")
    assert torch.autograd.gradcheck(SSL_LOSSES[name], (a, b), raise_exception=True)


@pytest.mark.parametrize("name", SSL_LOSSES)
def test_autocast_does_not_reach_a_loss(name):
    torch.manual_seed(0)
    a, b = torch.randn(2, 8, 16)
    with torch.autocast("cpu", torch.bfloat16):
        assert SSL_LOSSES[name](a, p_view=b) == SSL_LOSSES[name](p=a, p_view=b)
        inside = SSL_LOSSES[name](a.double(), b.double())
        assert SSL_LOSSES[name](a.bfloat16(), p_view=b.bfloat16()).dtype == torch.float32
    assert inside == SSL_LOSSES[name](a.double(), b.double())


@pytest.mark.parametrize("name", SSL_LOSSES)
def test_loss_in_single_precision_is_close(name):
    rng = np.random.default_rng(0)
    a = rng.normal(size=(64, 512))
    b = a + 0.1 * rng.normal(size=a.shape)
    loss = SSL_LOSSES[name](torch.tensor(a).float(), torch.tensor(b).float()).item()
    exact = SSL_LOSSES[name](torch.tensor(a), torch.tensor(b)).item()
    assert loss == pytest.approx(exact, rel=1e-4)


@pytest.mark.parametrize("name", SSL_LOSSES)
def test_loss_and_gradient_are_finite_for_constant_columns(name):
    a = torch.randn(10, 6)
    a[:, 2] = 3.0
    a.requires_grad_()
    loss = SSL_LOSSES[name](a, a.detach() + 0.0)
    loss.backward()
    assert loss.isfinite() and a.grad.isfinite().all()


@pytest.mark.parametrize("name", SSL_LOSSES)
def test_agreeing_views_cost_less_than_unrelated_ones(name):
    torch.manual_seed(0)
    a, unrelated = torch.randn(2, 200, 8)
    assert SSL_LOSSES[name](a, a) < 0.5 * SSL_LOSSES[name](a, unrelated)


@pytest.mark.parametrize("loss", [barlow_twins_loss, vicreg_loss, vibcreg_loss])
@pytest.mark.parametrize("shapes", [((1, 4), (1, 4)), ((5, 4), (5, 3)), ((5,), (5,))])
def test_loss_refuses_wrong_shapes(loss, shapes):
    with pytest.raises(ValueError, match="n >= 2"):
        loss(torch.zeros(shapes[0]), torch.zeros(shapes[1]))


def test_iternorm_whitens():
    torch.manual_seed(0)
    x = torch.randn(500, 12) @ (torch.eye(12) + 0.3 * torch.randn(12, 12)) + 3
    # Groups of 12 / 3 = 4 features, decorrelated inside a group.
    layer = IterNorm(12, n_groups=3, n_iter=10)
    covariance = np.cov(layer(x).detach().numpy(), rowvar=False)
    for start in (0, 4, 8):
        block = covariance[start : start + 4, start : start + 4]
        np.testing.assert_allclose(block, np.eye(4), atol=0.02)


def test_iternorm_is_the_published_iteration():
    rng = np.random.default_rng(0)
    x = rng.normal(3, 2, (9, 6)) @ rng.normal(size=(6, 6))
    layer = IterNorm(6, n_groups=2, eps=1e-3).double()
    expected = np.empty_like(x)
    for start in (0, 3):
        group = x[:, start : start + 3] - x[:, start : start + 3].mean(0)
        sigma = group.T @ group / len(x) + 1e-3 * np.eye(3)
        p = np.eye(3)
        for _ in range(5):
            p = 1.5 * p - 0.5 * p @ p @ p @ sigma / np.trace(sigma)
        expected[:, start : start + 3] = group @ (p / np.sqrt(np.trace(sigma))).T
    ours = torch.tensor(x, requires_grad=True)
    np.testing.assert_allclose(layer(ours).detach().numpy(), expected, rtol=1e-9)
    assert torch.autograd.gradcheck(layer, (ours,), raise_exception=True)


def test_iternorm_evaluation_uses_running_statistics():
    torch.manual_seed(0)
    x = torch.randn(300, 8) * 4 + 1
    layer = IterNorm(8, n_groups=2, momentum=1.0)
    expected = layer(x)
    torch.testing.assert_close(layer.eval()(x), expected)
    assert layer(x[:1]).shape == (1, 8)


def test_iternorm_group_size_divides_features():
    for n_features in (1, 7, 64, 100, 130):
        assert n_features % IterNorm(n_features).group_size == 0


def test_projector_shapes_and_whitening():
    z = torch.randn(16, 5, 3, 4)
    pooled = global_pool(z)
    assert pooled.shape == (16, 10)
    torch.testing.assert_close(pooled[:, :5], z.mean((2, 3)))
    torch.testing.assert_close(pooled[:, 5:], z.flatten(2).max(2).values)
    torch.testing.assert_close(global_pool(z, "avg"), pooled[:, :5])
    assert Projector(10, 32, 8, whiten=True)(pooled).shape == (16, 8)


@pytest.mark.parametrize("whiten", [False, True])
def test_projecting_views_together_is_projecting_them_in_turn(whiten):
    torch.manual_seed(0)
    views = torch.randn(12, 10), 3 + 2 * torch.randn(12, 10)
    together = Projector(10, 32, 8, whiten=whiten)
    in_turn = copy.deepcopy(together)
    outputs = together.project_views(*views)
    expected = [in_turn(view) for view in views]
    sum((p**3).sum() for p in outputs).backward()
    sum((p**3).sum() for p in expected).backward()
    for ours, theirs in zip(outputs, expected, strict=True):
        torch.testing.assert_close(ours, theirs)
    for ours, theirs in zip(together.parameters(), in_turn.parameters(), strict=True):
        torch.testing.assert_close(ours.grad, theirs.grad, rtol=1e-4, atol=1e-4)
    for ours, theirs in zip(together.buffers(), in_turn.buffers(), strict=True):
        torch.testing.assert_close(ours, theirs)
