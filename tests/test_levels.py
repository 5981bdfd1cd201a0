"""Residual quantisation: several tokens at each place, from the module to the generator."""

import pickle

import numpy as np
import pytest
import torch
from helpers import make_series, tiny_generator, tiny_prior, tiny_transformer
from hypothesis import given
from hypothesis import strategies as st
from scipy.sparse import issparse
from sklearn.utils._param_validation import InvalidParameterError

from skncvqvae import MaskedTokenPrior, load, save
from skncvqvae._representations import REPRESENTATIONS
from skncvqvae.nn.quantizer import ResidualQuantizer, VectorQuantizer
from skncvqvae.plots import CodebookDisplay, TokensDisplay

N_LEVELS, N_CODES = 3, 6


@pytest.fixture(scope="module")
def series():
    return make_series(40, n_channels=3)


@pytest.fixture(scope="module")
def fitted(series):
    return tiny_transformer(n_levels=N_LEVELS).fit(series[0])


@pytest.fixture(scope="module")
def generator(series):
    return tiny_generator(tiny_transformer(n_levels=N_LEVELS)).fit(*series)


class TestResidualQuantizer:
    @staticmethod
    def make(n_levels=3, **params):
        torch.manual_seed(0)
        return ResidualQuantizer(n_levels, 5, 4, **params)

    def test_each_level_quantises_what_is_left_over(self):
        quantizer = self.make().eval()
        z = torch.randn(3, 4, 2, 6)
        z_q, tokens, _ = quantizer(z)
        assert tokens.shape == (3, 3, 2, 6)
        residual, total = z.permute(0, 2, 3, 1), 0
        for i in range(3):
            codes = quantizer.codebook[5 * i : 5 * (i + 1)]
            nearest = torch.cdist(residual.reshape(-1, 4), codes).argmin(1).view(3, 2, 6)
            torch.testing.assert_close(tokens[:, i], nearest + 5 * i)
            residual, total = residual - codes[nearest], total + codes[nearest]
        torch.testing.assert_close(z_q, total.permute(0, 3, 1, 2))
        assert torch.equal(quantizer.tokenize(z), tokens.flatten(1))
        torch.testing.assert_close(quantizer.look_up(tokens.flatten(1), 2, 6), z_q)

    def test_commitment_and_gradients_are_those_of_the_formula(self):
        quantizer = self.make().eval()
        z = torch.randn(2, 4, 1, 5, requires_grad=True)
        z_q, tokens, commitment = quantizer(z)
        codes = quantizer.codebook[tokens].cumsum(1).permute(0, 1, 4, 2, 3)
        expected = (z[:, None] - codes).square().mean()
        torch.testing.assert_close(commitment, expected)
        (gradient,) = torch.autograd.grad(commitment, z, retain_graph=True)
        torch.testing.assert_close(gradient, torch.autograd.grad(expected, z)[0])
        weight = torch.randn_like(z)
        (through,) = torch.autograd.grad((z_q * weight).sum(), z)
        torch.testing.assert_close(through, weight)

    def test_one_level_is_a_quantiser(self):
        several = self.make(1, init="kmeans", dead_code_threshold=1.0)
        torch.manual_seed(0)
        one = VectorQuantizer(5, 4, init="kmeans", dead_code_threshold=1.0)
        for seed in range(3):
            z = torch.randn(4, 4, 1, 7)
            results = [
                quantizer(z, torch.Generator().manual_seed(seed)) for quantizer in (one, several)
            ]
            torch.testing.assert_close(results[0][0], results[1][0])
            torch.testing.assert_close(results[0][2], results[1][2])
            assert torch.equal(results[0][1], results[1][1][:, 0])
        torch.testing.assert_close(one.codebook, several.codebook)

    def test_codebooks_learn_and_each_level_lowers_the_error(self):
        quantizer = self.make(4, init="kmeans", dead_code_threshold=1.0)
        generator = torch.Generator().manual_seed(0)
        z = torch.randn(64, 4, 1, 8, generator=generator)
        for _ in range(20):
            quantizer(z, generator)
        quantizer.eval()
        codes = quantizer.codebook[quantizer(z)[1]].cumsum(1).permute(0, 1, 4, 2, 3)
        errors = (z[:, None] - codes).square().mean((0, 2, 3, 4))
        assert (errors.diff() < -0.02).all() and errors[-1] < 0.35

    @given(n_levels=st.integers(1, 4), rows=st.integers(1, 3), columns=st.integers(1, 5))
    def test_tokens_look_up_what_was_quantised(self, n_levels, rows, columns):
        quantizer = self.make(n_levels).eval()
        z = torch.randn(2, 4, rows, columns)
        z_q, _, _ = quantizer(z)
        tokens = quantizer.tokenize(z)
        assert tokens.shape == (2, n_levels * rows * columns)
        torch.testing.assert_close(quantizer.look_up(tokens, rows, columns), z_q)


def test_each_level_has_a_grid_and_codes_of_its_own(fitted, series):
    layout = fitted.layout_
    assert [band.name for band in layout.bands] == ["level_1", "level_2", "level_3"]
    assert fitted.codebook_.shape == (N_LEVELS * N_CODES, 8)
    assert fitted.codebook_usage_.shape == (N_LEVELS * N_CODES,)
    tokens = fitted.tokenize(series[0])
    assert tokens.shape == (40, fitted.n_tokens_)
    for i, grid in enumerate(layout.grids(tokens).values()):
        assert (grid // N_CODES == i).all()


def test_decoded_series_are_those_of_the_sum_of_codes(fitted, series):
    X, _ = series
    tokens = fitted.tokenize(X)
    decoded = fitted.inverse_transform(tokens)
    assert decoded.shape == X.shape
    error = np.square((X - decoded) / fitted.codec_.scale_[:, None]).mean()
    assert fitted.score(X) == pytest.approx(-error, rel=1e-4)
    z_q = fitted.codebook_[tokens].reshape(40, N_LEVELS, -1, 8).sum(axis=1)
    embedding = pickle.loads(pickle.dumps(fitted)).set_params(representation="embedding")
    np.testing.assert_allclose(embedding.transform(X), z_q.mean(axis=1), atol=1e-5)


@pytest.mark.parametrize("representation", REPRESENTATIONS)
def test_every_representation_has_as_many_names_as_features(fitted, series, representation):
    model = pickle.loads(pickle.dumps(fitted)).set_params(representation=representation)
    features = model.transform(series[0])
    names = model.get_feature_names_out()
    assert features.shape == (40, len(names)) and len(set(names)) == len(names)
    dense = features.toarray() if issparse(features) else features
    assert np.isfinite(dense).all() and dense.any()


def test_more_levels_reconstruct_better():
    X, _ = make_series(100, n_channels=4)
    params = {"max_epochs": 40, "n_codes": 8, "code_dim": 16, "ssl_method": None}
    one, four = (tiny_transformer(n_levels=n, **params).fit(X) for n in (1, 4))
    assert four.n_tokens_ == 4 * one.n_tokens_
    assert four.score(X) > one.score(X) + 0.05


@pytest.mark.parametrize(
    ("n_levels", "n_channels", "expected"), [("auto", None, 1), ("auto", 1, 1), (2, None, 2)]
)
def test_one_channel_has_one_level_unless_told(n_levels, n_channels, expected):
    model = tiny_transformer(n_levels=n_levels).fit(make_series(20, n_channels)[0])
    assert model.module_.config.n_levels == expected == len(model.layout_.bands)


def test_many_channels_have_more_levels_where_tokens_stay_few():
    def n_levels(n_channels, **params):
        X, _ = make_series(20, n_channels, length=48)
        return len(tiny_transformer(max_epochs=1, **params).fit(X).layout_.bands)

    assert [n_levels(n) for n in (1, 2, 8, 30)] == [1, 2, 4, 8]
    # 12 columns in five rows.
    grid = {"frequency_axis": "keep", "downsampled_width": 12}
    assert [n_levels(n, **grid) for n in (1, 30)] == [1, 2]


def test_codes_of_many_channels_are_wider():
    widths = [
        tiny_transformer(max_epochs=1, code_dim="auto").fit(make_series(20, n)[0]).codebook_.shape
        for n in (1, 15, 16)
    ]
    assert [width for _, width in widths] == [64, 64, 128]


@pytest.mark.parametrize("n_levels", [0, 1.5, "many", None])
def test_wrong_numbers_of_levels_are_named(series, n_levels):
    with pytest.raises(InvalidParameterError, match="n_levels"):
        tiny_transformer(n_levels=n_levels).fit(series[0])


def test_warm_start_keeps_the_levels(fitted, series):
    model = pickle.loads(pickle.dumps(fitted)).set_params(warm_start=True)
    model.fit(series[0])
    assert model.n_iter_ == 2 * fitted.n_iter_ and len(model.layout_.bands) == N_LEVELS
    with pytest.raises(ValueError, match=r"n_levels \(3 to 2\)"):
        model.set_params(n_levels=2).fit(series[0])


def test_samples_likelihoods_and_variations(generator, series):
    X, y = series
    drawn, labels = generator.sample(6, random_state=0)
    assert drawn.shape == (6, 3, 32) and np.isfinite(drawn).all() and len(labels) == 6
    assert np.isfinite(generator.score_samples(X, y)).all()
    varied = generator.vary(X[:4], mask_ratio=0.5)
    assert varied.shape == X[:4].shape
    assert not np.allclose(varied, X[:4])


@pytest.mark.parametrize("masked", [False, True])
def test_priors_draw_each_level_from_its_own_codes(generator, masked):
    transformer, prior = generator.transformer_, generator.prior_
    layout = transformer.layout_
    if masked:
        rng = np.random.default_rng(0)
        rows = np.stack(
            [
                rng.integers(s.start, s.stop, 20)
                for s in (layout.codes[b.name] for b in layout.bands for _ in range(b.n_tokens))
            ],
            axis=1,
        )
        prior = tiny_prior(MaskedTokenPrior, random_state=0)
        prior.fit(rows, layout=layout, codebook=transformer.codebook_)
    tokens, _ = prior.sample(20, random_state=0)
    for i, grid in enumerate(layout.grids(tokens).values()):
        assert (grid // N_CODES == i).all()


@pytest.mark.parametrize("training", [False, True])
def test_saved_models_are_the_same(generator, series, tmp_path, training):
    path = tmp_path / "model.safetensors"
    save(generator, path, training=training)
    loaded = load(path)
    expected, _ = generator.sample(3, random_state=0)
    np.testing.assert_array_equal(loaded.sample(3, random_state=0)[0], expected)
    tokens = generator.transformer_.tokenize(series[0])
    np.testing.assert_array_equal(loaded.transformer_.tokenize(series[0]), tokens)
    if training:
        loaded.transformer_.set_params(warm_start=True).fit(series[0])


def test_displays_show_each_level(fitted, series):
    display = TokensDisplay.from_estimator(fitted, series[0])
    assert len(display.axes_) == 3 + N_LEVELS
    CodebookDisplay.from_estimator(fitted, series[0])


def test_mixed_precision_trains_levels(series):
    model = tiny_transformer(n_levels=2, mixed_precision=True).fit(series[0])
    exact = tiny_transformer(n_levels=2).fit(series[0])
    assert model.codebook_.dtype == np.float32
    assert model.score(series[0]) == pytest.approx(exact.score(series[0]), abs=0.1)
