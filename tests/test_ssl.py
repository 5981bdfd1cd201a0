"""Self-supervised losses: their formulas in numpy, BYOL's head, and losses of one's own."""

import copy
import inspect
import pickle

import numpy as np
import pytest
import torch
from helpers import make_series, tiny_transformer
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn.base import clone
from skorch.callbacks import Callback

from skncvqvae.nn.projector import IterNorm, Projector, global_pool
from skncvqvae.nn.ssl import (
    SSL_METHODS,
    BYOLHead,
    SSLHead,
    SSLMethod,
    Views,
    barlow_twins_loss,
    resolve_ssl_method,
    vibcreg_loss,
    vicreg_loss,
)
from skncvqvae.nn.state import settle
from skncvqvae.nn.vqvae import NCVQVAE, NCVQVAEConfig

needs_gpu = pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a GPU")
SSL_LOSSES = {name: method.loss for name, method in SSL_METHODS.items()}
# Losses that treat both views alike, and forbid that all are mapped to one point.
SYMMETRIC = ["barlowtwins", "vicreg", "vibcreg"]


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


def numpy_byol(a, b):
    cosine = np.sum(a * b, axis=1) / (np.linalg.norm(a, axis=1) * np.linalg.norm(b, axis=1))
    return np.mean(2 - 2 * cosine)


NUMPY = {
    "byol": numpy_byol,
    "barlowtwins": numpy_barlow_twins,
    "vicreg": numpy_vicreg,
    "vibcreg": numpy_vibcreg,
}


# More rows than columns and the reverse take different ways to the same number.
@pytest.mark.parametrize("name", SSL_LOSSES)
@settings(max_examples=25)
@given(n=st.integers(3, 24), dim=st.integers(2, 24), seed=st.integers(0, 10**6))
def test_loss_equals_numpy_formula(name, n, dim, seed):
    rng = np.random.default_rng(seed)
    a = rng.normal(1, 2, (n, dim))
    b = a + rng.normal(size=(n, dim))
    ours = SSL_LOSSES[name](torch.tensor(a), torch.tensor(b)).item()
    assert ours == pytest.approx(NUMPY[name](a, b), rel=1e-6)


@pytest.mark.parametrize("shape", [(4, 9), (9, 4)])
@pytest.mark.parametrize("name", SYMMETRIC)
def test_gradient_is_that_of_the_formula(name, shape):
    """Differences of the loss, which is the formula, against what autograd makes of it."""
    rng = np.random.default_rng(0)
    a, b = (torch.tensor(rng.normal(1, 0.8, shape), requires_grad=True) for _ in "ab")
    assert torch.autograd.gradcheck(SSL_LOSSES[name], (a, b), raise_exception=True)


@pytest.mark.parametrize("name", SSL_LOSSES)
def test_autocast_does_not_reach_a_loss(name):
    torch.manual_seed(0)
    a, b = torch.randn(2, 8, 16)
    loss = SSL_LOSSES[name]
    first, second, *_ = inspect.signature(loss).parameters
    with torch.autocast("cpu", torch.bfloat16):
        assert loss(a, **{second: b}) == loss(**{first: a, second: b})
        inside = loss(a.double(), b.double())
        assert loss(a.bfloat16(), **{second: b.bfloat16()}).dtype == torch.float32
    assert inside == loss(a.double(), b.double())


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


def pool(z):
    return z.flatten(2).mean(2)


def make_views(encoder, channels=4, n=6):
    """Return views of random spectrograms, as a training step makes them."""
    u, u_view = torch.randn(2, n, channels, 1, 16, dtype=torch.float64)
    # The quantised latent is another than the encoder's.
    latent = encoder(u) + 0.1 * torch.randn_like(encoder(u))
    return Views(latent, encoder(u_view), u, u_view)


def make_head(momentum=0.99, seed=0):
    torch.manual_seed(seed)
    encoder = torch.nn.Sequential(
        torch.nn.Conv2d(4, 5, 1), torch.nn.BatchNorm2d(5), torch.nn.ReLU()
    )
    head = BYOLHead(SSL_METHODS["byol"], encoder, 5, 7, "avg", momentum)
    return head.double(), encoder.double()


class TestBYOL:
    def test_loss_and_gradients_are_those_of_the_formula(self):
        head, encoder = make_head()
        for parameter in encoder.parameters():
            torch.nn.init.normal_(parameter)
        head.eval()
        views = make_views(encoder.eval())

        def normalised(z):
            return z / z.square().sum(1, keepdim=True).sqrt()

        # From each view, the prediction of what the target makes of the other.
        expected = 0
        for latent, timefreq in [
            (views.latent, views.timefreq_view),
            (views.latent_view, views.timefreq),
        ]:
            prediction = head.predictor(head.projector(pool(latent)))
            target = head.target_projector(pool(head.target_encoder(timefreq))).detach()
            difference = normalised(prediction) - normalised(target)
            expected = expected + difference.square().sum(1).mean()
        loss = head(views, encoder)
        torch.testing.assert_close(loss, expected)
        parameters = [*encoder.parameters(), *head.projector.parameters()]
        gradients = [
            torch.autograd.grad(value, parameters, retain_graph=True) for value in (loss, expected)
        ]
        torch.testing.assert_close(*gradients)

    def test_the_target_follows_by_its_momentum_when_training(self):
        head, encoder = make_head(momentum=0.9)
        before = copy.deepcopy(head)
        for parameter in [*encoder.parameters(), *head.projector.parameters()]:
            torch.nn.init.normal_(parameter)
        head(make_views(encoder), encoder)
        pairs = [
            (head.target_encoder, before.target_encoder, encoder),
            (head.target_projector, before.target_projector, head.projector),
        ]
        for after, old, trained in pairs:
            for new, slow, fast in zip(
                after.parameters(), old.parameters(), trained.parameters(), strict=True
            ):
                torch.testing.assert_close(new, 0.9 * slow + 0.1 * fast)
        moved = copy.deepcopy(head)
        head.eval()(make_views(encoder), encoder)
        for new, same in zip(head.parameters(), moved.parameters(), strict=True):
            assert torch.equal(new, same)

    def test_the_target_gets_no_gradient(self):
        head, encoder = make_head()
        head(make_views(encoder), encoder).backward()
        for target in (head.target_encoder, head.target_projector):
            assert all(not p.requires_grad and p.grad is None for p in target.parameters())
        for trained in (encoder, head.projector, head.predictor):
            assert all(p.grad is not None for p in trained.parameters())

    def test_the_loss_falls_and_the_target_moves(self, series):
        begin = Begin()
        model = tiny_transformer(ssl_method="byol", max_epochs=60, callbacks=[begin])
        model.fit(series[0])
        losses = [row["train_ssl"] for row in model.history_]
        assert np.mean(losses[-10:]) < 0.7 * np.mean(losses[:3])
        target = weights(model.module_.ssl.target_encoder)
        assert not torch.equal(target, weights(begin.module.ssl.target_encoder))
        assert not torch.equal(target, weights(model.module_.encoder))

    def test_only_momentum_moves_the_target(self, series):
        class Still(BYOLHead):
            def __init__(self, *args):
                super().__init__(*args, momentum=1.0)

        begin = Begin()
        method = SSLMethod(SSL_METHODS["byol"].loss, head=Still)
        module = tiny_transformer(ssl_method=method, callbacks=[begin]).fit(series[0]).module_
        # Neither gradients nor weight decay reach it; the encoder they do.
        assert torch.equal(
            weights(module.ssl.target_encoder), weights(begin.module.ssl.target_encoder)
        )
        assert not torch.equal(weights(module.encoder), weights(begin.module.encoder))

    def test_warm_start_goes_on_with_the_target(self, series):
        model = tiny_transformer(ssl_method="byol", warm_start=True).fit(series[0])
        target, begin = weights(model.module_.ssl.target_encoder), Begin()
        model.set_params(callbacks=[begin]).fit(series[0])
        assert model.n_iter_ == 4
        assert torch.equal(weights(begin.module.ssl.target_encoder), target)
        assert not torch.equal(weights(model.module_.ssl.target_encoder), target)


def weights(module):
    return torch.cat([p.detach().flatten() for p in module.parameters()])


class Begin(Callback):
    """Keeps the module as it is when training begins."""

    def on_train_begin(self, net, **kwargs):
        self.module = copy.deepcopy(net.module_)


def cosine_loss(p, p_view):
    return 1 - torch.cosine_similarity(p, p_view).mean()


class ScaledLoss(torch.nn.Module):
    """A loss with a parameter, which stays in single precision."""

    def __init__(self):
        super().__init__()
        self.scale = torch.nn.Parameter(torch.tensor(3.0))
        self.seen = []

    def forward(self, p, p_view):
        self.seen.append((p.dtype, p.shape))
        return barlow_twins_loss(p, p_view) + (self.scale - 1).square()


class CentredLoss(torch.nn.Module):
    """A loss with a moving average, of which torch knows nothing."""

    def __init__(self):
        super().__init__()
        self.centre = torch.tensor(0.0)

    def forward(self, p, p_view):
        self.centre = 0.9 * self.centre + 0.1 * p.mean(0)
        return (p - p_view).square().mean() + self.centre.square().mean()


class LargestHead(SSLHead):
    """Compares the largest values of the latents; keeps count of its steps."""

    def __init__(self, *args):
        super().__init__(*args)
        self.register_buffer("n_steps", torch.tensor(0))
        self.factor = torch.nn.Parameter(torch.ones(1))

    def forward(self, views, encoder):
        self.n_steps += self.training
        largest, largest_view = (z.amax((2, 3)) for z in (views.latent, views.latent_view))
        return self.loss(self.factor * largest, largest_view)


class TestLossOfOnesOwn:
    def test_a_callable_is_what_the_name_stands_for(self, series):
        named = tiny_transformer(ssl_weight=10).fit(series[0])
        own = tiny_transformer(ssl_method=barlow_twins_loss, ssl_weight=10).fit(series[0])
        np.testing.assert_array_equal(own.codebook_, named.codebook_)
        other = tiny_transformer(ssl_method=cosine_loss, ssl_weight=10).fit(series[0])
        assert not np.allclose(other.codebook_, named.codebook_)

    def test_gets_two_projections_and_is_recorded(self, series):
        seen = []

        def loss(p, p_view):
            seen.append((p.shape, p_view.shape))
            return (p - p_view).square().mean()

        model = tiny_transformer(ssl_method=loss, max_epochs=1, batch_size=40).fit(series[0])
        assert seen == [((40, 16), (40, 16))]
        assert model.history_[-1]["train_ssl"] > 0

    @pytest.mark.parametrize("weight", ["auto", "reference"])
    def test_its_weight_by_name_is_one(self, series, weight):
        named = tiny_transformer(ssl_method=cosine_loss, ssl_weight=weight).fit(series[0])
        one = tiny_transformer(ssl_method=cosine_loss, ssl_weight=1.0).fit(series[0])
        np.testing.assert_array_equal(named.codebook_, one.codebook_)

    def test_a_method_brings_its_weights(self, series):
        method = SSLMethod(cosine_loss, reference_weight=0.5, auto_weight=4.0)
        for name, weight in [("reference", 0.5), ("auto", 4.0)]:
            named = tiny_transformer(ssl_method=method, ssl_weight=name).fit(series[0])
            same = tiny_transformer(ssl_method=cosine_loss, ssl_weight=weight).fit(series[0])
            np.testing.assert_array_equal(named.codebook_, same.codebook_)

    def test_a_method_may_whiten(self, series):
        for whiten in (False, True):
            model = tiny_transformer(
                ssl_method=SSLMethod(cosine_loss, whiten=whiten), max_epochs=1
            )
            projector = model.fit(series[0]).module_.ssl.projector
            assert isinstance(projector[-1], IterNorm) == whiten

    @pytest.mark.parametrize("wrap", [lambda loss: loss, SSLMethod])
    def test_parameters_of_a_module_are_trained_and_the_original_is_left_alone(self, series, wrap):
        loss = ScaledLoss()
        model = tiny_transformer(ssl_method=wrap(loss), max_epochs=30, lr=1e-2).fit(series[0])
        trained = model.module_.ssl.loss
        assert trained is not loss and isinstance(trained, ScaledLoss)
        assert trained.scale.item() < 2.9
        assert loss.scale.item() == 3 and loss.scale.grad is None and not loss.seen

    def test_warm_start_goes_on_with_a_module(self, series):
        model = tiny_transformer(ssl_method=ScaledLoss(), warm_start=True, lr=1e-2).fit(series[0])
        scales = [model.module_.ssl.loss.scale.item()]
        for _ in range(3):
            scales.append(model.fit(series[0]).module_.ssl.loss.scale.item())
        assert model.n_iter_ == 8 and scales == sorted(scales, reverse=True)
        with pytest.raises(ValueError, match=r"warm_start=True.*ssl_method"):
            model.set_params(ssl_method=cosine_loss).fit(series[0])

    @pytest.mark.parametrize("wrap", [lambda loss: loss, SSLMethod])
    def test_what_a_module_holds_beside_its_parameters_is_kept_without_a_graph(self, series, wrap):
        method = wrap(CentredLoss())
        model = tiny_transformer(ssl_method=method, max_epochs=1, batch_size=40, warm_start=True)
        centre = model.fit(series[0]).module_.ssl.loss.centre
        assert centre.shape == (16,) and not centre.requires_grad
        again = model.fit(series[0]).module_.ssl.loss.centre
        assert model.n_iter_ == 2 and not torch.equal(again, centre)
        copy.deepcopy(model)

    def test_what_a_module_holds_beside_its_parameters_is_moved_with_it(self):
        module = torch.nn.Sequential(CentredLoss())
        settle(module, torch.device("meta"))
        assert module[0].centre.is_meta

    @needs_gpu
    @pytest.mark.parametrize("wrap", [lambda loss: loss, SSLMethod])
    @pytest.mark.parametrize("loss_class", [ScaledLoss, CentredLoss])
    def test_warm_start_goes_on_with_a_module_on_another_device(self, series, wrap, loss_class):
        method = wrap(loss_class().to("cuda"))
        # CentredLoss keeps its graph, so that each fit can make but one step.
        model = tiny_transformer(
            ssl_method=method, max_epochs=1, batch_size=40, warm_start=True, device="cuda"
        ).fit(series[0])
        loaded = pickle.loads(pickle.dumps(model))
        loss = getattr(loaded.ssl_method, "loss", loaded.ssl_method)
        assert not any(p.is_cuda for p in loss.parameters())
        for each in (model, loaded):
            each.set_params(device="cpu").fit(series[0])
            assert not any(p.is_cuda for p in each.module_.parameters())
        model.set_params(device="cuda").fit(series[0])
        assert next(model.module_.parameters()).is_cuda

    def test_a_head_of_ones_own(self, series):
        method = SSLMethod(cosine_loss, head=LargestHead)
        model = tiny_transformer(ssl_method=method, max_epochs=10, batch_size=40).fit(series[0])
        head = model.module_.ssl
        assert isinstance(head, LargestHead) and head.n_steps == 10
        assert head.factor.item() != 1 and "train_ssl" in model.history_[-1]

    @pytest.mark.parametrize(
        "method", [cosine_loss, ScaledLoss(), SSLMethod(cosine_loss, head=LargestHead), "byol"]
    )
    def test_clones_and_pickles(self, series, method):
        model = tiny_transformer(ssl_method=method)
        expected = model.fit(series[0]).transform(series[0])
        np.testing.assert_array_equal(clone(model).fit_transform(series[0]), expected)
        loaded = pickle.loads(pickle.dumps(model))
        np.testing.assert_array_equal(loaded.transform(series[0]), expected)
        np.testing.assert_array_equal(clone(loaded).fit_transform(series[0]), expected)

    def test_computes_in_single_precision_whatever_the_model_does(self, series):
        model = tiny_transformer(ssl_method=ScaledLoss(), mixed_precision=True).fit(series[0])
        assert {dtype for dtype, _ in model.module_.ssl.loss.seen} == {torch.float32}

    def test_what_is_no_loss_is_named(self, series):
        with pytest.raises(ValueError, match="'ssl_method' parameter"):
            tiny_transformer(ssl_method=3).fit(series[0])


def test_methods_are_resolved():
    assert resolve_ssl_method(None) is None
    assert resolve_ssl_method("vicreg") is SSL_METHODS["vicreg"]
    method = SSLMethod(cosine_loss)
    assert resolve_ssl_method(method) is method
    assert resolve_ssl_method(cosine_loss) == method


def test_the_module_works_with_any_method():
    X, _ = make_series(6, n_channels=2)
    x = torch.tensor(X - X.mean()).float()
    for method in (*SSL_METHODS, cosine_loss, ScaledLoss(), None):
        config = NCVQVAEConfig(2, 32, code_dim=8, ssl_method=method, projector_dim=8)
        module = NCVQVAE(config)
        terms = module(x, x + torch.randn_like(x))
        assert ("ssl" in terms) == (method is not None) == (module.ssl is not None)
        terms["loss"].backward()
        assert module.config.ssl_method is method


def test_a_loss_may_write_into_its_arguments():
    X, _ = make_series(12)

    def difference(p, p_view):
        return (p - p_view).square().mean()

    def in_place(p, p_view):
        return p.sub_(p_view).square_().mean()

    scores = [tiny_transformer(ssl_method=loss).fit(X).score(X) for loss in (difference, in_place)]
    assert scores[0] == scores[1]


def test_a_complex_loss_is_refused():
    X, _ = make_series(12)
    with pytest.raises(ValueError, match="real number"):
        tiny_transformer(ssl_method=lambda p, q: (p - q).sum().to(torch.complex64)).fit(X)
