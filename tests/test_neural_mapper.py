"""The network after the decoder, and the codes that are drawn to train it."""

import joblib
import numpy as np
import pytest
import torch
from helpers import make_series, tiny_generator, tiny_transformer
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.stats import chisquare

from skncvqvae import NCVQVAEGenerator, NCVQVAETransformer, load, save
from skncvqvae.nn.distributed import Shard, sharing
from skncvqvae.nn.neural_mapper import NeuralMapper, NeuralMapperConfig
from skncvqvae.nn.quantizer import ResidualQuantizer, VectorQuantizer


def smooth_series(n=60, length=64, seed=0):
    """Return sums of two slow waves, which a small decoder leaves wrinkles in."""
    rng = np.random.default_rng(seed)
    time = np.linspace(0, 2 * np.pi, length)
    phase, size = rng.uniform(0, 6, (2, n, 1)), rng.uniform(0.5, 1, (n, 1))
    return np.sin(time + phase[0]) + size * np.cos(2 * time + phase[1])


@pytest.fixture(scope="module")
def pair():
    """Return one tokenizer without the network, and one with it."""
    X = smooth_series()
    params = {"max_epochs": 60, "n_codes": 16, "downsampled_width": 8}
    return [tiny_transformer(neural_mapper=mapped, **params).fit(X) for mapped in (False, True)]


class TestNetwork:
    @given(
        n_channels=st.integers(1, 3),
        length=st.integers(1, 300),
        n_layers=st.integers(1, 4),
        kernel_size=st.sampled_from([1, 3, 9]),
    )
    @settings(max_examples=20, deadline=None)
    def test_it_changes_nothing_before_training(self, n_channels, length, n_layers, kernel_size):
        module = NeuralMapper(NeuralMapperConfig(n_channels, 4, kernel_size, n_layers))
        x = torch.randn(2, n_channels, length)
        torch.testing.assert_close(module(x), x)
        assert torch.isfinite(module.loss(x, torch.randn_like(x)))
        assert module.loss(x, x).item() == 0

    def test_a_window_of_a_long_series_is_mapped_as_within_it(self):
        module = NeuralMapper(NeuralMapperConfig(1, 4, 9, 2))
        torch.nn.init.normal_(module.convolutions[-1].weight)
        decoded = torch.randn(1, 1, 1000)
        # Of the one window in which they differ from what is mapped, the loss is not 0.
        for start in range(0, 1000, 100):
            target = module(decoded).detach()
            target[..., start : start + 100] += 1
            losses = [module.loss(decoded, target).item() for _ in range(60)]
            assert min(losses) < 1e-9 < 1e-3 < max(losses)

    def test_two_processes_take_the_step_of_one(self):
        torch.manual_seed(0)
        module = NeuralMapper(NeuralMapperConfig(2, 4, 5, 2)).double()
        torch.nn.init.normal_(module.convolutions[-1].weight)
        decoded, series = torch.randn(2, 5, 2, 200, dtype=torch.float64)

        def gradients(shard):
            module.zero_grad()
            with sharing(shard):
                module.loss(decoded, series, torch.Generator().manual_seed(3)).backward()
            return torch.cat([p.grad.flatten() for p in module.parameters()])

        parts = [gradients(Shard(rank, 2, len(series))) for rank in range(2)]
        torch.testing.assert_close(sum(parts) / 2, gradients(None))

    def test_a_channel_that_never_changes_gives_no_gradient_of_its_own(self):
        module = NeuralMapper(NeuralMapperConfig(2, 4, 5, 2))
        series = torch.randn(4, 2, 30)
        series[:, 1] = 0
        decoded = series.clone()
        decoded[:, 0] += torch.randn(4, 30)
        module.loss(decoded, series).backward()
        last = module.convolutions[-1].weight.grad
        assert last[0].any()
        assert not last[1].any()


class TestDrawnCodes:
    def test_they_come_as_often_as_their_distance_says(self):
        quantizer = VectorQuantizer(5, 3).eval()
        z = torch.randn(3)
        rows = z.expand(20_000, 3)
        distance = (quantizer.codebook - z).square().sum(1)
        temperature = 2.0
        expected = torch.softmax(-distance / (temperature * distance.min()), 0)
        drawn = quantizer.nearest(rows, temperature, torch.Generator().manual_seed(0))
        counts = np.bincount(drawn.numpy(), minlength=5)
        assert (
            chisquare(counts, len(rows) * expected.double().numpy(), sum_check=False).pvalue > 1e-3
        )

    @pytest.mark.parametrize("n_levels", [1, 3])
    def test_those_of_next_to_no_temperature_are_the_nearest(self, n_levels):
        torch.manual_seed(0)
        quantizer = ResidualQuantizer(n_levels, 7, 4) if n_levels > 1 else VectorQuantizer(7, 4)
        z = torch.randn(6, 4, 2, 5)
        cold = quantizer.tokenize(z, 1e-6, torch.Generator().manual_seed(0))
        warm = quantizer.tokenize(z, 1.0, torch.Generator().manual_seed(0))
        assert torch.equal(cold, quantizer.tokenize(z))
        assert not torch.equal(warm, cold)
        # Each level draws from its own codes.
        levels = warm.view(6, n_levels, -1) // 7
        assert torch.equal(levels, torch.arange(n_levels)[:, None].expand_as(levels))


class TestTransformer:
    def test_it_reconstructs_new_series_better(self, pair):
        without, mapped = pair
        assert without.neural_mapper_ is None
        assert mapped.neural_mapper_ is not None
        X = smooth_series(seed=1)
        assert -mapped.score(X) < 0.9 * -without.score(X)

    def test_tokens_and_representations_stay(self, pair):
        X = smooth_series(seed=1)
        without, mapped = pair
        np.testing.assert_array_equal(without.tokenize(X), mapped.tokenize(X))
        np.testing.assert_array_equal(without.transform(X), mapped.transform(X))

    def test_the_same_seed_gives_the_same_network(self, pair):
        X = smooth_series()
        mapped = pair[1]
        again = tiny_transformer(**mapped.get_params()).fit(X)
        tokens = mapped.tokenize(X)
        np.testing.assert_array_equal(again.decode(tokens), mapped.decode(tokens))

    def test_it_is_not_kept_where_it_brings_nothing_nearer(self, monkeypatch):
        # A network that is trained to no end, and then does harm.
        monkeypatch.setattr(NeuralMapper, "forward", lambda self, x: x + 3 * torch.randn_like(x))
        X = smooth_series(n=20)
        fits = [
            tiny_transformer(neural_mapper=mapped, max_epochs=30).fit(X)
            for mapped in (False, True)
        ]
        assert fits[1].neural_mapper_ is None
        tokens = fits[0].tokenize(X)
        np.testing.assert_array_equal(*[fit.decode(tokens) for fit in fits])

    def test_it_is_not_kept_where_its_training_diverges(self, monkeypatch):
        monkeypatch.setattr(
            NeuralMapper,
            "loss",
            lambda self, *args, **kwargs: self.forward(args[0]).sum() * torch.nan,
        )
        transformer = tiny_transformer(neural_mapper=True).fit(smooth_series(n=12))
        assert transformer.neural_mapper_ is None
        assert np.isfinite(transformer.score(smooth_series(n=12)))

    @pytest.mark.parametrize(
        "params", [{"bands": "stft"}, {"n_levels": 2}, {"early_stopping": True}]
    )
    def test_with_every_tokenizer(self, params):
        X, _ = make_series(n=12, n_channels=2)
        transformer = tiny_transformer(neural_mapper=True, **params).fit(X)
        decoded = transformer.inverse_transform(transformer.tokenize(X))
        assert decoded.shape == X.shape
        assert np.isfinite(decoded).all()

    def test_plateaus_are_flat_after_it(self):
        rng = np.random.default_rng(0)
        X = np.repeat(rng.integers(0, 3, (60, 6)), 10, axis=1).astype(float)
        transformer = tiny_transformer(neural_mapper=True, max_epochs=150, lr=3e-3).fit(X)
        assert transformer.plateau_tolerance_.any()
        decoded = transformer.inverse_transform(transformer.tokenize(X))
        assert (np.diff(decoded, axis=1) == 0).mean() > 0.3

    def test_series_of_one_value(self):
        X = np.random.default_rng(0).normal(size=(8, 1))
        transformer = tiny_transformer(neural_mapper=True).fit(X)
        assert np.isfinite(transformer.inverse_transform(transformer.tokenize(X))).all()

    def test_it_is_taken_from_its_checkpoint(self, tmp_path, monkeypatch):
        X = smooth_series(n=20)
        transformer = tiny_transformer(neural_mapper=True, checkpoint_dir=tmp_path)
        tokens = transformer.fit(X).tokenize(X)
        decoded = transformer.decode(tokens)

        def refuse(*args, **kwargs):
            raise AssertionError("it is trained again")

        monkeypatch.setattr(NeuralMapper, "loss", refuse)
        np.testing.assert_array_equal(transformer.fit(X).decode(tokens), decoded)

    def test_it_survives_storing(self, pair, tmp_path):
        mapped = pair[1]
        save(mapped, tmp_path / "model")
        joblib.dump(mapped, tmp_path / "pickle")
        tokens = mapped.tokenize(smooth_series())
        for loaded in (load(tmp_path / "model"), joblib.load(tmp_path / "pickle")):
            np.testing.assert_array_equal(loaded.decode(tokens), mapped.decode(tokens))


class TestGenerator:
    def test_its_own_tokenizer_has_one(self):
        X, y = make_series(n=12)
        generator = NCVQVAEGenerator(device="cpu", random_state=0)
        assert generator.set_params(transformer__max_epochs=2).transformer.neural_mapper
        assert not NCVQVAEGenerator.reference().transformer.neural_mapper
        assert not NCVQVAETransformer().neural_mapper
        X_new, _ = generator.set_params(prior__max_epochs=2).fit(X, y).sample(3, y=1)
        assert X_new.shape == (3, X.shape[1])

    def test_variations_of_nothing_are_the_series(self, pair, monkeypatch):
        X = smooth_series()
        generator = tiny_generator(pair[1])
        tokens = generator.fit_encode(X).tokens
        # All tokens come out as they were.
        monkeypatch.setattr(generator.prior_, "sample", lambda *args, **kwargs: (tokens, None))
        np.testing.assert_allclose(generator.vary(X, random_state=0), X, atol=1e-6)
