"""Splits of series into bands, and models of several bands."""

import pickle

import numpy as np
import pytest
import torch
from helpers import make_prior_module, make_series, tiny_generator, tiny_prior, tiny_transformer
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.testing import assert_allclose, assert_array_equal
from sklearn.base import clone
from sklearn.model_selection import GridSearchCV

from skncvqvae import (
    MaskedTokenPrior,
    NCVQVAETransformer,
    export_tokenizer,
    load,
    save,
)
from skncvqvae._tokens import TokenLayout
from skncvqvae.bands import Bands, STFTBands, WaveletBands, split_bands
from skncvqvae.nn.banded import BandedConfig, BandedNCVQVAE
from skncvqvae.nn.bands import STFTSplitConfig
from skncvqvae.nn.vqvae import NCVQVAE, LossWeights, NCVQVAEConfig
from skncvqvae.samplers import MASKED, MaskGIT

pytest.importorskip("ptwt")


def trend_and_rest(x):
    """Return a moving average and what it leaves, by names."""
    padded = torch.nn.functional.pad(x, (2, 2), mode="replicate")
    trend = torch.nn.functional.avg_pool1d(padded, 5, 1)
    return {"trend": trend, "rest": x - trend}


SPLITS = {
    "stft": STFTBands(),
    "three": STFTBands(n_fft=16, cutoffs=(1, 4)),
    "haar": WaveletBands(levels=2),
    "db2": WaveletBands("db2", levels=(1, 2)),
    "function": trend_and_rest,
}
each_split = pytest.mark.parametrize("bands", SPLITS.values(), ids=SPLITS)
splits = st.one_of(
    st.builds(
        STFTBands, n_fft=st.sampled_from([4, 8, 12, 32]), cutoffs=st.sampled_from([1, 2, (1, 2)])
    ),
    st.builds(
        WaveletBands,
        wavelet=st.sampled_from(["haar", "db4", "sym5", "bior2.2", "coif1"]),
        levels=st.sampled_from([1, 2, 3, (1, 3), (4, 2, 1)]),
    ),
)


@pytest.fixture(scope="module")
def series():
    return make_series(length=30)


@pytest.fixture(scope="module")
def fitted(series):
    """A transformer of two bands that differ in all that may differ."""
    return tiny_transformer(
        bands="stft",
        downsampled_width={"low": 2, "high": 4},
        n_codes={"low": 4, "high": 6},
        augmentations={"low": "warp", "high": "phase_shift"},
        n_fft={"low": 8, "high": 4},
    ).fit(series[0])


@pytest.fixture(scope="module")
def generator(series, fitted):
    return tiny_generator(clone(fitted)).fit(*series)


# Splits


@settings(deadline=None, max_examples=60)
@given(
    bands=splits,
    length=st.integers(1, 90),
    n_channels=st.integers(1, 3),
    seed=st.integers(0, 99),
    dtype=st.sampled_from([np.float32, np.float64]),
)
def test_bands_sum_to_the_series(bands, length, n_channels, seed, dtype):
    X = np.random.default_rng(seed).normal(size=(3, n_channels, length)).astype(dtype)
    try:
        bands.check_length(length)
    except ValueError:
        with pytest.raises(ValueError, match="too deep"):
            split_bands(X, bands)
        return
    parts = split_bands(X, bands)
    assert list(parts) == list(bands.config().names) and next(iter(parts)) == "low"
    assert all(part.shape == X.shape and part.dtype == dtype for part in parts.values())
    assert_allclose(sum(parts.values()), X, atol=1e-5)
    # Channels and series do not see each other.
    alone = split_bands(X[1:2, -1:], bands)
    for name, part in parts.items():
        assert_allclose(alone[name][0, 0], part[1, -1], atol=1e-5)


@pytest.mark.parametrize("length", [16, 29, 61])
@pytest.mark.parametrize(("wavelet", "level"), [("haar", 3), ("db4", 1), ("bior2.2", 1)])
def test_low_wavelet_band_is_pywavelets_reconstruction_of_the_approximation(
    wavelet, level, length
):
    import pywt

    X = np.random.default_rng(0).normal(size=(4, length))
    low = split_bands(X, WaveletBands(wavelet, levels=level))["low"]
    approximation, *details = pywt.wavedec(X, wavelet, mode="symmetric", level=level)
    zeros = [np.zeros_like(detail) for detail in details]
    expected = pywt.waverec([approximation, *zeros], wavelet)[:, :length]
    assert_allclose(low, expected, atol=1e-6)


def test_low_haar_band_is_the_mean_of_blocks():
    X = np.random.default_rng(0).normal(size=(4, 32))
    low = split_bands(X, WaveletBands(levels=3))["low"]
    assert_allclose(low, X.reshape(4, 4, 8).mean(2).repeat(8, axis=1), atol=1e-6)


def test_stft_bands_share_out_the_rows_of_the_spectrogram():
    X = np.random.default_rng(0).normal(size=(2, 64))
    window = torch.ones(16, dtype=torch.float64)
    spectrogram = torch.stft(
        torch.from_numpy(X), 16, 4, window=window, return_complex=True, pad_mode="reflect"
    )
    for name, rows in {"low": slice(0, 2), "mid": slice(2, 5), "high": slice(5, None)}.items():
        kept = torch.zeros_like(spectrogram)
        kept[:, rows] = spectrogram[:, rows]
        expected = torch.istft(kept, 16, 4, window=window, length=64)
        part = split_bands(X, STFTBands(n_fft=16, cutoffs=(2, 5)))[name]
        assert_allclose(part, expected, atol=1e-5)


@each_split
def test_a_level_is_in_the_low_band_alone(bands):
    parts = split_bands(np.full((2, 33), 5.0), bands)
    low, *others = parts.values()
    assert_allclose(low, 5, rtol=1e-5)
    assert_allclose(others, 0, atol=1e-5)


@pytest.mark.parametrize(
    ("n", "names"),
    [(2, ["low", "high"]), (3, ["low", "mid", "high"]), (4, ["low", "mid_1", "mid_2", "high"])],
)
def test_bands_have_names(n, names):
    X = np.zeros((2, 40))
    assert list(split_bands(X, STFTBands(cutoffs=range(1, n)))) == names
    assert list(split_bands(X, lambda x: n * [x / n])) == names


@pytest.mark.parametrize(
    ("bands", "message"),
    [
        (STFTBands(n_fft=10), "n_fft=10 must be a multiple of 4"),
        (STFTBands(cutoffs=5), "rows 0 to 4"),
        (STFTBands(cutoffs=[1, 1]), "cutoffs=.* distinct integers"),
        (STFTBands(cutoffs=0), "cutoffs"),
        (WaveletBands("morlet"), "wavelet='morlet' is no discrete wavelet"),
        (WaveletBands(levels=[]), "levels"),
        (WaveletBands(levels=[1.5, 2]), "levels"),
        (WaveletBands(levels=6), "too deep for series of 30 time steps, which have 4. Lower"),
        (WaveletBands("db20", levels=1), "Take a shorter wavelet"),
        (lambda x: [x], "two parts or more"),
        (lambda x: [x, x], "differ from the series by up to"),
        (lambda x: [x[..., 1:], x[..., :1]], "'low' has shape"),
        (lambda x: [x * np.nan, x], "NaN or infinity in 'low'"),
        ("fourier", "bands"),
    ],
)
def test_wrong_bands_are_refused_before_training(series, bands, message):
    transformer = tiny_transformer(bands=bands)
    with pytest.raises(ValueError, match=message):
        transformer.fit(series[0])
    assert not hasattr(transformer, "module_")


def test_a_function_that_returns_no_parts_is_refused(series):
    with pytest.raises(TypeError, match="must return a list of parts or a mapping"):
        tiny_transformer(bands=lambda x: None).fit(series[0])


@pytest.mark.parametrize("bands", ["fourier", 3, None, STFTBands])
def test_what_is_no_split_is_refused(bands):
    with pytest.raises(ValueError, match=r"must be one of 'stft', 'wavelet', a split of"):
        split_bands(np.ones((2, 32)), bands)


def test_parts_that_overflow_are_refused():
    X = np.full((2, 33), 3e38, dtype=np.float32) * np.array([1, -1])[:, None]
    with pytest.raises(ValueError, match="too large"):
        split_bands(X.astype(np.float32), "stft")


def test_without_ptwt_the_message_says_what_to_install(series, monkeypatch):
    monkeypatch.setitem(__import__("sys").modules, "ptwt", None)
    with pytest.raises(ImportError, match=r"skncvqvae\[wavelets\]"):
        tiny_transformer(bands="wavelet").fit(series[0])


# The module


def test_each_bands_tokenizer_learns_what_a_transformer_learns_of_that_band(series):
    X = series[0].astype(np.float32)[:, None]
    x = torch.from_numpy((X - X.mean()) / X.std())
    sizes = {"n_codes": 6, "code_dim": 8, "n_res_blocks": 1, "downsampled_width": 4}
    own = NCVQVAEConfig(1, 30, ssl_method=None, codebook_init="random", **sizes)

    def trained(module, x):
        weights = LossWeights(ssl=0)
        if isinstance(module, BandedNCVQVAE):
            module.configure(module.config, [weights, weights])
            module.fit_scale(x)
        optimizer = torch.optim.AdamW(module.parameters(), lr=1e-3)
        for _ in range(5):
            optimizer.zero_grad()
            module(x)["loss"].backward()
            optimizer.step()
        return module.eval()

    torch.manual_seed(0)
    # Without the error of whole series, bands have nothing to do with each other.
    config = BandedConfig(STFTSplitConfig(8, (1,)), (own, own), series_weight=0.0)
    both = trained(BandedNCVQVAE(config).float(), x)
    torch.manual_seed(0)
    for i, band in enumerate(both.split(x)):
        band = (band - band.mean()) / band.std(correction=0)
        # Bands are initialised one after the other.
        alone = trained(NCVQVAE(own).float(), band)
        part = both.tokenizers[i]
        # To rounding, which steps of AdamW let grow.
        assert_allclose(part.codebook, alone.codebook, atol=1e-3)
        tokens = alone.tokenize(band)
        same = both.tokenize(x).split(tokens.shape[1], 1)[i] == tokens + 6 * i
        assert same.float().mean() > 0.99


def test_loss_is_the_sum_over_bands_plus_the_error_of_whole_series(fitted, series):
    module = fitted.module_
    x = torch.from_numpy(fitted.codec_.standardise(fitted.read(series[0])))
    with torch.no_grad():
        terms = module(x)
        decoded = module.decode_tokens(module.tokenize(x))
    bands = [
        terms[f"{name}_{term}"]
        for name in ("low", "high")
        for term in ("recon_time", "recon_timefreq", "commitment")
    ]
    assert_allclose(terms["recon_time"], (decoded - x).square().mean(), rtol=1e-4)
    assert_allclose(terms["loss"], sum(bands) + terms["recon_time"], rtol=1e-5)


@each_split
def test_tokenizers_see_bands_of_zero_mean_and_unit_variance(series, bands):
    fitted = tiny_transformer(bands=bands, max_epochs=1).fit(series[0])
    x = torch.from_numpy(fitted.codec_.standardise(fitted.read(series[0])))
    for part in fitted.module_.split_scaled(x).values():
        assert_allclose(part.mean(), 0, atol=1e-4)
        assert_allclose(part.std(correction=0), 1, atol=1e-4)


def test_a_band_without_variance_is_learnt_to_be_constant(series):
    X = np.repeat(series[0][:, :4], 8, axis=1)
    fitted = tiny_transformer(bands=WaveletBands(levels=3)).fit(X)
    assert np.isfinite(fitted.inverse_transform(fitted.tokenize(X))).all()
    assert_allclose(fitted.module_.scale[1], 1)


# The transformer


def test_parameters_by_band(fitted):
    low, high = fitted.layout_.bands
    assert (low.name, low.columns, low.n_codes) == ("low", 2, 4)
    assert (high.name, high.columns, high.n_codes) == ("high", 3, 6)
    assert fitted.codebook_.shape == (10, 8)
    windows = [part.spectrogram.n_fft for part in fitted.module_.tokenizers]
    assert windows == [8, 4]


def test_what_a_mapping_leaves_out_has_the_default(series):
    fitted = tiny_transformer(
        bands="stft", n_codes={"high": 6}, ssl_method={"low": None}, max_epochs=1
    ).fit(series[0])
    assert [band.n_codes for band in fitted.layout_.bands] == [128, 6]
    terms = fitted.history_[-1].keys()
    assert "train_high_ssl" in terms and "train_low_ssl" not in terms


def test_automatic_columns_are_few_for_the_low_band_and_many_for_the_high_one():
    params = {"downsampled_width": "auto", "max_epochs": 1}
    for length, bands, expected in [
        (128, None, [32]),
        (128, "stft", [8, 32]),
        (128, STFTBands(cutoffs=(1, 2)), [8, 16, 32]),
        (256, "stft", [16, 32]),
        (1024, "stft", [32, 32]),
    ]:
        X, _ = make_series(length=length)
        fitted = tiny_transformer(bands=bands, **params).fit(X)
        assert [band.columns for band in fitted.layout_.bands] == expected


def test_each_band_gets_its_augmentation(series):
    seen = {}

    def see(name):
        def augmentation(x):
            seen[name] = x
            return x

        return augmentation

    low, high = see("low"), see("high")
    transformer = tiny_transformer(
        bands="stft", augmentations={"low": low, "high": high}, random_shift=0, max_epochs=1
    )
    fitted = transformer.fit(series[0][:32])
    x = torch.from_numpy(fitted.codec_.standardise(fitted.read(series[0][:32])))
    for name, part in fitted.module_.split_scaled(x).items():
        # Batches are in random order.
        assert_allclose(seen[name].sum(0), part.sum(0), atol=1e-3)


def test_weights_by_band_count(series):
    def codebooks(**params):
        params = {"max_epochs": 2, "random_shift": 0} | params
        return tiny_transformer(bands="stft", **params).fit(series[0]).codebook_

    both = codebooks(ssl_weight=10.0)
    assert_allclose(codebooks(ssl_weight={"low": 10, "high": 10.0}), both)
    low = codebooks(ssl_weight={"low": 10, "high": 0.0})
    assert np.abs(both - low).max() > 1e-4
    assert np.abs(low - codebooks(aug_recon_weight={"low": 5.0})).max() > 1e-4
    assert np.abs(low - codebooks(aug_recon_weight={"high": 5.0})).max() > 1e-4
    # By themselves, the lowest band alone has a second view,
    assert_allclose(codebooks(), low)
    assert_allclose(codebooks(aug_recon_weight={"low": 0.1, "high": 0.0}), low)
    # with those that are told how it is made.
    for told in ({"augmentations": {"high": "slice"}}, {"ssl_method": {"high": "barlowtwins"}}):
        assert_allclose(codebooks(**told), both)


@pytest.mark.parametrize(
    ("params", "message"),
    [
        ({"bands": None, "n_codes": {"low": 4}}, "n_codes is a mapping of bands to values"),
        ({"n_codes": {"mid": 4}}, "n_codes has a value for 'mid', but the bands are low, high"),
        ({"n_codes": {"low": 1}}, "n_codes"),
        ({"n_fft": {"low": 10}}, "n_fft=10 must be a multiple of 4"),
        ({"n_fft": {"low": 2}}, "n_fft"),
        ({"downsampled_width": {"low": "wide"}}, "downsampled_width"),
        ({"ssl_method": {"low": "simclr"}}, "ssl_method"),
        ({"ssl_weight": {"low": -1.0}}, "ssl_weight"),
        ({"aug_recon_weight": {"low": -1.0}}, "aug_recon_weight"),
        ({"augmentations": {"low": "warped"}}, "'warped' is unknown"),
        ({"bands": trend_and_rest, "n_codes": {"low": 4}}, "the bands are trend, rest"),
    ],
)
def test_wrong_values_by_band_are_refused_before_training(series, params, message):
    transformer = tiny_transformer(**{"bands": "stft", **params})
    with pytest.raises(ValueError, match=message):
        transformer.fit(series[0])
    assert not hasattr(transformer, "module_")


@each_split
def test_bands_of_series_and_of_tokens_sum_to_them(bands):
    X, _ = make_series(n_channels=2)
    fitted = tiny_transformer(bands=bands, max_epochs=1).fit(X)
    tokens = fitted.tokenize(X)
    parts, decoded = fitted.split_bands(X), fitted.decode_bands(tokens)
    assert list(parts) == list(decoded)
    assert_allclose(sum(parts.values()), X, atol=1e-3)
    assert_allclose(sum(decoded.values()), fitted.decode(tokens), atol=1e-3)
    expected = split_bands(X, bands)
    # A user's function need not be linear, and sees standardised series.
    for name in parts if isinstance(bands, Bands) else ():
        assert_allclose(parts[name], expected[name], atol=1e-3)


def test_without_bands_there_is_one(series):
    fitted = tiny_transformer().fit(series[0])
    parts = fitted.split_bands(fitted.read(series[0]))
    assert list(parts) == ["all"]
    assert_allclose(parts["all"][:, 0], series[0], rtol=1e-5)


@pytest.mark.parametrize(
    "name",
    ["ppv", "code_ppv", "codes", "embedding", "histogram", "pairs", "latent", "pooled", "tokens"],
)
def test_representations_know_bands(fitted, series, name):
    model = pickle.loads(pickle.dumps(fitted)).set_params(representation=name)
    features = model.transform(series[0])
    names = model.get_feature_names_out()
    assert features.shape == (len(series[0]), len(names))
    assert len(set(names)) == len(names)


def test_embedding_and_pooled_latent_are_those_of_each_band(fitted, series):
    model = pickle.loads(pickle.dumps(fitted)).set_params(representation=["embedding", "pooled"])
    names = model.get_feature_names_out().tolist()
    features = dict(zip(names, model.transform(series[0]).T, strict=True))
    tokens = model.layout_.grids(model.tokenize(series[0]))
    x = torch.from_numpy(model.codec_.standardise(model.read(series[0])))
    parts = model.module_.split_scaled(x)
    for part, name in zip(model.module_.tokenizers, ("low", "high"), strict=True):
        mean = model.codebook_[tokens[name]].mean((1, 2))
        assert_allclose(features[f"{name}_embedding_3"], mean[:, 3], atol=1e-5)
        with torch.no_grad():
            z = part.latent(parts[name])
        assert_allclose(features[f"{name}_latent_max_2"], z.amax((2, 3))[:, 2], rtol=1e-4)


def test_score_is_the_error_of_whole_series(fitted, series):
    X = series[0]
    decoded = fitted.inverse_transform(fitted.tokenize(X))
    assert_allclose(fitted.score(X), -np.mean((X - decoded) ** 2) / X.var(), rtol=1e-4)


@each_split
def test_fits_with_one_seed_are_alike_and_pickles_remember(series, bands):
    X = series[0]
    one, other = (tiny_transformer(bands=bands, max_epochs=1).fit(X) for _ in range(2))
    assert_array_equal(one.tokenize(X), other.tokenize(X))
    again = pickle.loads(pickle.dumps(one))
    assert_array_equal(one.transform(X), again.transform(X))


@pytest.mark.parametrize("training", [False, True])
@pytest.mark.parametrize("bands", [STFTBands(n_fft=16, cutoffs=(1, 4)), WaveletBands(levels=2)])
def test_saved_models_know_their_bands(series, tmp_path, bands, training):
    augmentations = {"high": ["jitter", ("slope", {"max_slope": 0.01})]}
    model = tiny_generator(
        tiny_transformer(bands=bands, max_epochs=1, augmentations=augmentations)
    ).fit(*series)
    save(model, tmp_path / "model.safetensors", training=training)
    loaded = load(tmp_path / "model.safetensors")
    assert_array_equal(loaded.sample(5, random_state=0)[0], model.sample(5, random_state=0)[0])
    transformer = loaded.transformer_.set_params(warm_start=True)
    assert transformer.bands.get_params() == bands.get_params()
    assert transformer.augmentations == augmentations
    if training:
        transformer.fit(series[0])
        assert transformer.n_iter_ == 2
    else:
        with pytest.raises(ValueError, match="saved without the parts that only training needs"):
            transformer.fit(series[0])


def test_a_model_with_a_users_split_is_not_saved(series, tmp_path):
    model = tiny_transformer(bands=trend_and_rest, max_epochs=1).fit(series[0])
    with pytest.raises(ValueError, match="module_, of type BandedNCVQVAE, cannot be stored"):
        save(model, tmp_path / "model.safetensors")


@pytest.mark.parametrize(
    "change",
    [
        ('"cutoffs", {"list": [1]}', '"cutoffs", {"list": [9]}'),
        ('"cutoffs", {"list": [1]}', '"cutoffs", {"list": [true]}'),
        ('"cutoffs", {"list": [1]}', '"cutoffs", {"list": [1, 2]}'),
        ('["kind", "stft"]', '["kind", "function"]'),
        ('["kind", "stft"]', '["kind", "mel"]'),
        ('["n_fft", 8], ["cutoffs"', '["n_fft", 12], ["cutoffs"'),
    ],
)
def test_damaged_bands_of_a_file_are_refused(fitted, tmp_path, change):
    from skncvqvae._tree import Reader, Writer

    writer = Writer(training=False)
    writer.add_object(fitted, ())
    text = __import__("json").dumps(writer.objects)
    assert change[0] in text
    objects = __import__("json").loads(text.replace(*change))
    with pytest.raises((ValueError, TypeError, KeyError)):
        Reader(objects, writer.tensors, ()).read()


def test_warm_start_continues_and_refuses_other_bands(series):
    X = series[0]
    model = tiny_transformer(bands="stft", max_epochs=1, warm_start=True).fit(X).fit(X)
    assert model.n_iter_ == 2
    scale = model.module_.scale.clone()
    model.fit(2 * X)
    assert torch.equal(model.module_.scale, scale)
    for changes in ({"bands": None}, {"bands": STFTBands(cutoffs=2)}):
        with pytest.raises(ValueError, match="bands differ"):
            clone_fitted(model).set_params(**changes).fit(X)
    with pytest.raises(ValueError, match="n_codes"):
        clone_fitted(model).set_params(n_codes={"low": 5}).fit(X)


class Halves:
    """A split of the user's, which is an object."""

    def __init__(self, share=0.5):
        self.share = share

    def __call__(self, x):
        return [self.share * x, x - self.share * x]


class Spread(torch.nn.Module):
    """A loss of the user's, with a weight that is trained and a random generator."""

    def __init__(self, start=1.0):
        super().__init__()
        self.scale = torch.nn.Parameter(torch.tensor(start))
        self.rng = np.random.default_rng(0)

    def forward(self, p, p_view):
        return (self.rng.random() + self.scale.square()) * (p - p_view).square().mean()


@pytest.mark.parametrize("bands", [None, "stft", Halves()])
def test_warm_start_takes_a_copy_of_the_users_loss_or_split_for_the_same(series, bands):
    X = series[0]
    model = tiny_transformer(bands=bands, ssl_method=Spread(), max_epochs=1, warm_start=True)
    model = clone_fitted(model.fit(X))
    again = {"ssl_method": Spread()}
    again |= {"bands": Halves()} if isinstance(bands, Halves) else {}
    assert model.set_params(**again).fit(X).n_iter_ == 2
    assert clone_fitted(model).fit(X).n_iter_ == 3
    with pytest.raises(ValueError, match="ssl_method"):
        model.set_params(ssl_method=Spread(2.0)).fit(X)
    if isinstance(bands, Halves):
        with pytest.raises(ValueError, match="bands differ"):
            model.set_params(ssl_method=Spread(), bands=Halves(0.4)).fit(X)


def clone_fitted(model):
    return pickle.loads(pickle.dumps(model))


def test_search_reaches_parameters_of_bands(series):
    search = GridSearchCV(
        tiny_transformer(bands=WaveletBands(), max_epochs=1),
        {"bands__wavelet": ["haar", "db2"], "bands__levels": [1, 2]},
        cv=2,
    ).fit(series[0])
    assert set(search.best_params_) == {"bands__wavelet", "bands__levels"}
    assert len(np.unique(search.cv_results_["mean_test_score"])) > 1


def test_constructor_does_not_change_bands():
    bands = WaveletBands("db2")
    transformer = NCVQVAETransformer(bands=bands)
    assert transformer.bands is bands
    assert clone(transformer).bands.get_params() == bands.get_params()


@pytest.mark.parametrize("bands", ["stft", WaveletBands("db2", levels=2)])
def test_exported_tokenizer_splits_series(series, tmp_path, bands):
    pytest.importorskip("onnxscript")
    onnxruntime = pytest.importorskip("onnxruntime")
    model = tiny_transformer(bands=bands, max_epochs=1).fit(series[0])
    try:
        export_tokenizer(model, tmp_path / "tokenizer.onnx")
    except ImportError as error:
        pytest.skip(str(error))
    session = onnxruntime.InferenceSession(tmp_path / "tokenizer.onnx")
    (tokens,) = session.run(["tokens"], {"series": series[0]})
    assert np.mean(tokens == model.tokenize(series[0])) > 0.99


# The generator


@pytest.mark.parametrize("prior_class", [None, MaskedTokenPrior])
def test_samples_have_in_each_band_its_own_codes(series, generator, prior_class):
    layout = generator.transformer_.layout_
    prior = generator.prior_
    if prior_class is not None:
        tokens = generator.transformer_.tokenize(series[0])
        prior = tiny_prior(prior_class).fit(tokens, series[1], layout=layout)
    rows, _ = prior.sample(50, random_state=0)
    for band in layout.bands:
        own = rows[:, layout.positions[band.name]]
        codes = layout.codes[band.name]
        assert (own >= codes.start).all() and (own < codes.stop).all()


def test_maskgit_draws_the_low_band_first():
    layout = TokenLayout(
        tuple(
            type("B", (), {"name": n, "rows": 1, "columns": c, "n_codes": 3, "n_tokens": c})()
            for n, c in [("low", 2), ("high", 5)]
        )
    )
    prior = make_prior_module(n_codes=6, n_tokens=7, allowed=torch.from_numpy(layout.allowed))
    seen = []
    forward = prior.forward

    def watch(tokens, labels, wanted):
        seen.append((tokens[0] == MASKED).tolist())
        return forward(tokens, labels, wanted)

    prior.forward = watch
    labels = torch.zeros(4, dtype=torch.int64)
    masked = torch.full((4, 7), MASKED)
    tokens = MaskGIT(n_steps=3)(prior, masked, labels, torch.Generator().manual_seed(0))
    assert (tokens[:, :2] < 3).all() and (tokens[:, 2:] >= 3).all()
    low_unknown = [any(row[:2]) for row in seen]
    # As long as the low band is not complete, nothing of the high one is known.
    assert low_unknown == sorted(low_unknown, reverse=True)
    assert all(all(row[2:]) for row, unknown in zip(seen, low_unknown, strict=True) if unknown)
    # Rows in which the bands miss different numbers of tokens are completed as well.
    masked = tokens.clone()
    masked[:2, 0] = masked[2:, 4] = MASKED
    completed = MaskGIT()(prior, masked, labels, torch.Generator().manual_seed(0))
    assert (completed[masked != MASKED] == tokens[masked != MASKED]).all()
    assert (completed != MASKED).all()


@pytest.mark.parametrize(("drawn", "kept"), [("low", "high"), ("high", "low")])
def test_vary_draws_one_band_anew(series, generator, drawn, kept):
    transformer = generator.transformer_
    X = generator.read(series[0])
    varied = generator.read(generator.vary(series[0], mask_ratio=1.0, bands=drawn))
    changed = varied - X
    tokens = transformer.encode(X)
    # Of the change, nothing is made by the other band's tokens.
    own = [p for n, p in transformer.layout_.positions.items() if n == drawn]
    seen = []

    def watch(n, y, tokens, **options):
        seen.append(tokens)
        return prior.sample(n, y, tokens=tokens, **options)

    prior = generator.prior_
    twin = clone_fitted(generator)
    twin.prior_ = type("Watched", (), {"sample": staticmethod(watch)})()
    twin.vary(series[0], mask_ratio=1.0, bands=drawn)
    masked = seen[0] == MASKED
    assert masked[:, own[0]].all() and masked.sum() == masked[:, own[0]].size
    assert_array_equal(seen[0][~masked], tokens[~masked])
    assert np.abs(changed).max() > 1e-3


def test_vary_masks_the_same_share_of_each_band(series, generator):
    twin = clone_fitted(generator)
    seen = []

    def watch(n, y, tokens, **options):
        seen.append(tokens == MASKED)
        return generator.prior_.sample(n, y, tokens=tokens, **options)

    twin.prior_ = type("Watched", (), {"sample": staticmethod(watch)})()
    twin.vary(series[0], mask_ratio=0.5)
    for position in twin.transformer_.layout_.positions.values():
        n_tokens = position.stop - position.start
        assert (seen[0][:, position].sum(axis=1) == round(0.5 * n_tokens)).all()


@pytest.mark.parametrize("bands", ["mid", [], ["low", "middle"]])
def test_vary_refuses_bands_that_there_are_not(series, generator, bands):
    with pytest.raises(ValueError, match=r"bands=.* must name some of the bands low, high"):
        generator.vary(series[0], bands=bands)


def test_samples_have_the_level_of_the_series(series, generator):
    X_new, _ = generator.sample(200, random_state=0)
    assert X_new.shape == (200, 30)
    assert abs(X_new.mean() - series[0].mean()) < series[0].std()
