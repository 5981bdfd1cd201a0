"""Files, pickles, skops and exports: what is stored comes back, and nothing else gets in."""

import copy
import hashlib
import io
import json
import os
import pickle
import resource
import subprocess
import sys
import warnings
import zipfile
from pathlib import Path

import joblib
import numpy as np
import pandas as pd
import pytest
import safetensors.torch
import skops.io
import torch
from helpers import TINY_PRIOR, make_series, tiny_generator, tiny_prior, tiny_transformer
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from safetensors import safe_open
from safetensors.numpy import save_file
from sklearn.base import BaseEstimator, clone
from sklearn.ensemble import RandomForestClassifier
from sklearn.exceptions import NotFittedError
from sklearn.frozen import FrozenEstimator
from sklearn.linear_model import LogisticRegression
from sklearn.pipeline import make_pipeline

import skncvqvae
from skncvqvae import (
    AugmentedClassifier,
    AutoregressiveTokenPrior,
    MaskedTokenPrior,
    ModelFileError,
    ModelVersionWarning,
    NCVQVAEGenerator,
    NCVQVAETransformer,
    export_tokenizer,
    load,
    save,
)
from skncvqvae._base import FITTED_ATTRIBUTES
from skncvqvae._files import digest
from skncvqvae.augmentations import Compose, Jitter, Slope
from skncvqvae.metrics import FCNClassifier
from skncvqvae.nn.ssl import SSLHead, SSLMethod
from skncvqvae.samplers import Autoregressive, MaskGIT

DATA = Path(__file__).parent / "data"
OPTIONAL = {"n_features_in_", "feature_names_in_", "sampling_strategy_"}


def mean_square(p, p_view):
    return (p - p_view).square().mean()


class CountingHead(SSLHead):
    """A head with a state that only its own code knows of."""

    def __init__(self, *args):
        super().__init__(*args)
        self.register_buffer("n_calls", torch.tensor(0))

    def forward(self, views, encoder):
        self.n_calls += 1
        return super().forward(views, encoder)


class HistogramPrior(BaseEstimator):
    """A prior of somebody else's."""

    def fit(self, tokens, y=None):
        self.tokens_ = np.asarray(tokens)
        return self

    def sample(self, n_samples=1, y=None, *, tokens=None, random_state=None):
        return np.repeat(self.tokens_[:1], n_samples, axis=0), y

    def score_samples(self, tokens, y=None):
        return np.zeros(len(tokens))


def round_trip(estimator, tmp_path, **params):
    path = tmp_path / "model.safetensors"
    save(estimator, path, **params)
    return load(path)


def assert_same_state(a, b):
    """Check that two estimators, or what they are made of, hold equal things."""
    assert type(a) is type(b)
    if isinstance(a, torch.nn.Module):
        one, other = ({**dict(m.named_parameters()), **dict(m.named_buffers())} for m in (a, b))
        assert one.keys() == other.keys()
        for name, tensor in one.items():
            assert torch.equal(tensor, other[name]), name
            assert tensor.stride() == other[name].stride(), name
            assert tensor.requires_grad == other[name].requires_grad, name
        assert a.config == b.config
        assert not b.training
    elif isinstance(a, np.ndarray):
        assert a.dtype == b.dtype
        np.testing.assert_array_equal(a, b)
    elif isinstance(a, dict):
        assert list(a) == list(b)
        for key in a:
            assert_same_state(a[key], b[key])
    elif isinstance(a, (list, tuple)):
        assert len(a) == len(b)
        for one, other in zip(a, b, strict=True):
            assert_same_state(one, other)
    elif isinstance(a, np.random.RandomState):
        assert_same_state(a.get_state(legacy=False), b.get_state(legacy=False))
    elif hasattr(a, "__dict__"):
        assert vars(a).keys() == vars(b).keys()
        for name in vars(a):
            assert_same_state(vars(a)[name], vars(b)[name])
    else:
        assert a == b


@pytest.fixture(scope="module")
def classifier(series):
    X, y = series
    model = AugmentedClassifier(
        LogisticRegression(max_iter=2000), tiny_generator(), ratio=0.5, random_state=0
    )
    return model.fit(X, y)


class TestRoundTrip:
    @pytest.mark.parametrize(
        "params",
        [
            {},
            {"ssl_method": None},
            {"ssl_method": "byol"},
            {"ssl_method": "vibcreg", "frequency_axis": "keep", "ssl_pooling": "avg_max"},
            {"n_res_blocks": 3, "early_stopping": True, "random_state": None},
            {"augmentations": [("jitter", {"std": 0.1}), "slope"]},
            {"augmentations": Compose((Jitter(), Slope()))},
            {"device": torch.device("cpu"), "lr": np.float32(1e-3), "batch_size": np.int64(16)},
        ],
        ids=lambda params: "-".join(params) or "tiny",
    )
    @pytest.mark.parametrize("training", [False, True])
    def test_a_transformer_comes_back_as_it_was(self, series, tmp_path, params, training):
        X, _ = series
        transformer = tiny_transformer(**params).fit(X)
        loaded = round_trip(transformer, tmp_path, training=training)
        if not training:
            assert loaded.module_.ssl is None
            transformer.module_.ssl = None
        assert loaded.get_params() == transformer.get_params()
        # Arrays and networks, whatever the types that numbers among the parameters had.
        fitted = {name for name in vars(transformer) if name.endswith("_")}
        assert fitted == {name for name in vars(loaded) if name.endswith("_")}
        for name in fitted:
            assert_same_state(getattr(transformer, name), getattr(loaded, name))

    def test_results_are_equal(self, series, fitted, tmp_path):
        X, _ = series
        loaded = round_trip(fitted, tmp_path)
        for name in ("ppv", "code_ppv", "codes", "embedding", "histogram", "latent", "tokens"):
            one, other = (clone_of(model, representation=name) for model in (fitted, loaded))
            np.testing.assert_array_equal(one.transform(X), other.transform(X))
        tokens = fitted.tokenize(X)
        np.testing.assert_array_equal(
            fitted.inverse_transform(tokens), loaded.inverse_transform(tokens)
        )
        assert fitted.score(X) == loaded.score(X)
        assert list(fitted.get_feature_names_out()) == list(loaded.get_feature_names_out())

    def test_layout_names_and_gaps_come_back(self, tmp_path):
        X, _ = make_series(n_channels=2, dtype=np.float32)
        X = X.swapaxes(1, 2).copy()
        X[0, 3, 1] = np.nan
        transformer = tiny_transformer(data_format="channels_last", irregular="interpolate")
        transformer.fit(X)
        loaded = round_trip(transformer, tmp_path)
        out = loaded.inverse_transform(loaded.tokenize(X))
        assert out.dtype == np.float32
        np.testing.assert_array_equal(out, transformer.inverse_transform(transformer.tokenize(X)))
        frame = pd.DataFrame(make_series()[0]).add_prefix("t")
        transformer = tiny_transformer().fit(frame)
        loaded = round_trip(transformer, tmp_path)
        assert list(loaded.feature_names_in_) == list(frame.columns)
        with pytest.raises(ValueError, match="feature names"):
            loaded.tokenize(frame.add_prefix("x"))

    @pytest.mark.parametrize("prior_class", [MaskedTokenPrior, AutoregressiveTokenPrior])
    @pytest.mark.parametrize(
        "names",
        [None, ["slow", "fast"], [3, 7], [1.0, 2.0], [True, False]],
        ids=["no labels", "text", "int", "float", "bool"],
    )
    def test_a_generator_draws_the_same(self, series, tmp_path, prior_class, names):
        X, y = series
        labels = None if names is None else np.array(names)[y]
        prior = prior_class(**TINY_PRIOR)
        generator = NCVQVAEGenerator(tiny_transformer(), prior, device="cpu", random_state=0)
        generator.fit(X, labels)
        loaded = round_trip(generator, tmp_path)
        one, other = (g.sample(7, random_state=1) for g in (generator, loaded))
        assert_same_state(one, other)
        one, other = (g.vary(X[:5], random_state=1) for g in (generator, loaded))
        np.testing.assert_array_equal(one, other)
        np.testing.assert_array_equal(
            generator.score_samples(X, labels), loaded.score_samples(X, labels)
        )
        assert_same_state(generator.prior_.history_, loaded.prior_.history_)

    def test_labels_of_objects_come_back(self, series, tmp_path):
        X, y = series
        labels = np.array(["slow", "fast"], dtype=object)[y]
        generator = tiny_generator().fit(X, labels)
        loaded = round_trip(generator, tmp_path)
        assert loaded.classes_.dtype == object
        assert_same_state(generator.sample(5), loaded.sample(5))

    def test_a_sampler_and_resampling_come_back(self, series, tmp_path):
        X, y = series
        pytest.importorskip("imblearn")
        sampler = MaskGIT(n_steps=3, temperature=0.7)
        generator = tiny_generator(prior=tiny_prior(MaskedTokenPrior), sampler=sampler)
        generator.fit_resample(X[5:], np.where(y[5:] > 0, "a", "b"))
        loaded = round_trip(generator, tmp_path)
        assert loaded.sampling_strategy_ == dict(generator.sampling_strategy_)
        assert loaded.sampler.get_params() == generator.sampler.get_params()
        assert_same_state(generator.sample(5), loaded.sample(5))

    def test_a_weaker_prior_of_a_sampler_comes_back(self, series, tmp_path):
        X, y = series
        generator = tiny_generator(prior=tiny_prior(MaskedTokenPrior))
        encoded = generator.fit_encode(X, y)
        weaker = tiny_prior(MaskedTokenPrior, max_epochs=1)
        weaker.fit(encoded.tokens, y, layout=generator.transformer_.layout_)
        sampler = MaskGIT(weaker=weaker, guidance_scale=2, guidance_interval=(0.2, 1.0))
        generator.set_params(sampler=sampler)
        loaded = round_trip(generator, tmp_path)
        assert loaded.sampler.guidance_interval == (0.2, 1.0)
        assert_same_state(generator.sample(5), loaded.sample(5))

    def test_one_object_in_two_places_comes_back_as_one(self, series, fitted, tmp_path):
        generator = tiny_generator(FrozenEstimator(fitted)).fit(*series)
        loaded = round_trip(generator, tmp_path)
        assert loaded.transformer is loaded.transformer_
        assert_same_state(generator.sample(5, random_state=1), loaded.sample(5, random_state=1))

    @pytest.mark.parametrize("cls", [MaskedTokenPrior, AutoregressiveTokenPrior])
    def test_a_prior_comes_back(self, tmp_path, cls):
        tokens = np.arange(8) % 4 + np.repeat([[0], [4]], 20, axis=0)
        prior = tiny_prior(cls, random_state=0).fit(tokens, np.repeat(["low", "high"], 20))
        loaded = round_trip(prior, tmp_path)
        assert_same_state(prior.sample(5), loaded.sample(5))
        assert vars(prior).keys() == vars(loaded).keys()
        for name, value in vars(prior).items():
            assert_same_state(value, vars(loaded)[name])

    def test_a_classifier_comes_back(self, series, classifier, tmp_path):
        X, _ = series
        loaded = round_trip(classifier, tmp_path)
        np.testing.assert_array_equal(classifier.predict_proba(X), loaded.predict_proba(X))
        assert loaded.n_synthetic_ == classifier.n_synthetic_
        assert_same_state(classifier.generator_.sample(3), loaded.generator_.sample(3))

    @pytest.mark.parametrize(
        "inner",
        [
            FCNClassifier(2, device="cpu", random_state=0),
            make_pipeline(tiny_transformer(), LogisticRegression(max_iter=5000)),
        ],
        ids=["fcn", "pipeline"],
    )
    def test_a_classifier_of_any_kind_comes_back(self, series, tmp_path, inner):
        X, y = series
        model = AugmentedClassifier(inner, tiny_generator(), ratio=0.1, random_state=0).fit(X, y)
        loaded = round_trip(model, tmp_path)
        np.testing.assert_array_equal(model.predict_proba(X), loaded.predict_proba(X))

    def test_a_classifier_without_generator_comes_back(self, series, tmp_path):
        X, y = series
        model = AugmentedClassifier(LogisticRegression(max_iter=2000), ratio=0).fit(X, y)
        loaded = round_trip(model, tmp_path)
        assert loaded.generator_ is None
        np.testing.assert_array_equal(model.predict(X), loaded.predict(X))

    @pytest.mark.parametrize(
        "estimator",
        [
            NCVQVAETransformer(),
            NCVQVAETransformer.reference(),
            NCVQVAEGenerator(),
            NCVQVAEGenerator.reference(),
            NCVQVAEGenerator(sampler=Autoregressive(top_p=0.5), random_state=3),
            MaskedTokenPrior(lr=float("1e-3")),
            AutoregressiveTokenPrior(),
            AugmentedClassifier(LogisticRegression(), NCVQVAEGenerator()),
        ],
        ids=lambda estimator: type(estimator).__name__,
    )
    def test_unfitted_estimators_come_back_unfitted(self, tmp_path, estimator):
        loaded = round_trip(estimator, tmp_path)
        assert repr(loaded) == repr(estimator)
        assert_same_state(
            {k: v for k, v in estimator.get_params().items() if not hasattr(v, "get_params")},
            {k: v for k, v in loaded.get_params().items() if not hasattr(v, "get_params")},
        )
        with pytest.raises(NotFittedError):
            loaded.score(make_series()[0], np.zeros(40))

    def test_random_states_go_on_where_they_were(self, tmp_path):
        rng = np.random.RandomState(3)
        rng.normal(size=3)
        prior = tiny_prior(random_state=rng)
        generator = NCVQVAEGenerator(prior=prior, random_state=rng)
        loaded = round_trip(generator, tmp_path)
        assert loaded.random_state is loaded.prior.random_state
        np.testing.assert_array_equal(loaded.random_state.normal(size=9), rng.normal(size=9))

    def test_an_own_history_comes_back(self, fitted, tmp_path):
        transformer = clone_of(fitted)
        rows = [{"a": 1, "b": float("nan"), "c": "x"}, {"a": 2.5}, {"d": None, "e": 2**62}]
        transformer.history_ = type(fitted.history_)(rows)
        loaded = round_trip(transformer, tmp_path)
        assert repr(list(loaded.history_)) == repr(rows)

    def test_a_loaded_model_makes_the_same_file(self, fitted, tmp_path):
        save(fitted, tmp_path / "a")
        save(load(tmp_path / "a"), tmp_path / "b")
        one, other = (read_parts(tmp_path / name) for name in "ab")
        assert one[0] == other[0]
        assert_same_state(one[1], other[1])

    def test_another_process_gets_the_same(self, series, generator, classifier, tmp_path):
        X, _ = series
        save(generator, tmp_path / "generator")
        save(classifier, tmp_path / "classifier")
        np.save(tmp_path / "X.npy", X)
        script = (
            "import sys, numpy as np\n"
            "from skncvqvae import load\n"
            "folder = sys.argv[1]\n"
            "X = np.load(folder + '/X.npy')\n"
            "generator = load(folder + '/generator')\n"
            "np.save(folder + '/drawn.npy', generator.sample(9, random_state=4)[0])\n"
            "np.save(folder + '/features.npy', generator.transformer_.transform(X))\n"
            "np.save(folder + '/p.npy', load(folder + '/classifier').predict_proba(X))\n"
        )
        subprocess.run([sys.executable, "-c", script, str(tmp_path)], check=True)
        drawn, features, p = (np.load(tmp_path / f"{n}.npy") for n in ("drawn", "features", "p"))
        np.testing.assert_array_equal(drawn, generator.sample(9, random_state=4)[0])
        np.testing.assert_array_equal(features, generator.transformer_.transform(X))
        np.testing.assert_array_equal(p, classifier.predict_proba(X))

    def test_loading_leaves_global_random_numbers_alone(self, generator, tmp_path):
        save(generator, tmp_path / "model")
        before = torch.random.get_rng_state(), np.random.get_state()[1].copy()
        load(tmp_path / "model")
        assert torch.equal(torch.random.get_rng_state(), before[0])
        np.testing.assert_array_equal(np.random.get_state()[1], before[1])

    @pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a GPU")
    def test_from_gpu_to_cpu(self, series, tmp_path):
        X, _ = series
        transformer = tiny_transformer(device="cuda").fit(X)
        loaded = round_trip(transformer, tmp_path)
        assert not any(p.is_cuda for p in loaded.module_.parameters())
        on_cpu = clone_of(transformer, device="cpu")
        np.testing.assert_array_equal(
            loaded.set_params(device="cpu").tokenize(X), on_cpu.tokenize(X)
        )

    def test_every_fitted_attribute_is_known(self, series, fitted, generator, classifier):
        prior = generator.prior_
        fcn = FCNClassifier(1, device="cpu").fit(*series)
        for estimator in (fitted, generator, classifier, prior, fcn):
            names = set(vars(estimator)) - set(estimator.get_params(deep=False))
            assert names - OPTIONAL == set(FITTED_ATTRIBUTES[type(estimator)])


def clone_of(estimator, **params):
    """Return a copy, fitted if the estimator is, with other parameters."""
    return copy.copy(estimator).set_params(**params)


class TestTrainingParts:
    def test_most_of_a_default_file_is_left_out(self, tmp_path):
        transformer = NCVQVAETransformer(max_epochs=1, device="cpu").fit(make_series()[0])
        save(transformer, tmp_path / "small")
        save(transformer, tmp_path / "large", training=True)
        small, large = ((tmp_path / name).stat().st_size for name in ("small", "large"))
        assert small < 0.3 * large

    def test_warm_start_without_them_says_so(self, series, fitted, tmp_path):
        loaded = round_trip(fitted, tmp_path).set_params(warm_start=True)
        before = loaded.tokenize(series[0])
        with pytest.raises(ValueError, match="training=True"):
            loaded.fit(series[0])
        np.testing.assert_array_equal(loaded.tokenize(series[0]), before)

    @pytest.mark.parametrize("method", ["barlowtwins", "byol", "vibcreg", None])
    def test_warm_start_with_them_goes_on_as_if_never_saved(self, series, tmp_path, method):
        X, _ = series
        transformer = tiny_transformer(ssl_method=method, warm_start=True).fit(X)
        loaded = round_trip(transformer, tmp_path, training=method is not None)
        np.testing.assert_array_equal(transformer.fit_transform(X), loaded.fit_transform(X))

    def test_a_generator_goes_on_without_them(self, series, tmp_path):
        X, y = series
        generator = tiny_generator(warm_start=True, transformer__warm_start=True).fit(X, y)
        loaded = round_trip(generator, tmp_path)
        one, other = (g.fit(X, y).sample(4, random_state=0) for g in (generator, loaded))
        assert_same_state(one, other)
        assert len(loaded.prior_.history_) == 4

    def test_what_is_gone_cannot_be_saved(self, fitted, tmp_path):
        loaded = round_trip(fitted, tmp_path)
        with pytest.raises(ValueError, match="itself loaded without"):
            save(loaded, tmp_path / "again", training=True)
        assert not (tmp_path / "again").exists()


class TestWhatCannotBeStored:
    @pytest.mark.parametrize(
        ("name", "value"),
        [
            ("lr_schedule", lambda optimizer, n_steps: None),
            ("augmentations", lambda X: X),
            ("augmentations", ["jitter", lambda X: X]),
            ("ssl_method", mean_square),
            ("ssl_method", SSLMethod(mean_square, whiten=True)),
            ("ssl_method", torch.nn.PairwiseDistance()),
            ("callbacks", [object()]),
            ("random_state", np.random.RandomState(np.random.PCG64(0))),
        ],
        ids=["schedule", "function", "list", "loss", "method", "module", "callbacks", "pcg64"],
    )
    def test_parameters_come_back_as_their_defaults_and_are_named(self, tmp_path, name, value):
        transformer = tiny_transformer(**{name: value})
        with pytest.warns(UserWarning, match=rf"cannot be stored.*: {name}\."):
            loaded = round_trip(transformer, tmp_path)
        assert getattr(loaded, name) == getattr(NCVQVAETransformer(), name)

    def test_a_model_of_an_own_loss_is_complete_but_for_it(self, series, tmp_path):
        X, _ = series
        transformer = tiny_transformer(ssl_method=mean_square).fit(X)
        with pytest.warns(UserWarning, match="ssl_method"):
            loaded = round_trip(transformer, tmp_path)
        np.testing.assert_array_equal(transformer.transform(X), loaded.transform(X))
        with pytest.raises(ValueError, match="training=True"):
            loaded.set_params(warm_start=True).fit(X)
        with pytest.raises(ValueError, match="no name"):
            save(transformer, tmp_path / "model", training=True)

    def test_parts_are_named_by_where_they_are(self, tmp_path):
        generator = tiny_generator(
            transformer__lr_schedule=lambda o, n: None, prior__callbacks=[object()]
        )
        with pytest.warns(UserWarning, match=r"prior\.callbacks, transformer\.lr_schedule"):
            round_trip(generator, tmp_path)

    def test_an_attribute_of_the_users_is_left_out(self, fitted, tmp_path):
        transformer = clone_of(fitted)
        transformer.note = "mine"
        with pytest.warns(UserWarning, match="note"):
            assert not hasattr(round_trip(transformer, tmp_path), "note")

    def test_an_unknown_fitted_attribute_is_refused(self, fitted, tmp_path):
        transformer = clone_of(fitted)
        transformer.weights_ = np.ones(3)
        with pytest.raises(ValueError, match=r"weights_.*cannot be stored"):
            save(transformer, tmp_path / "model")

    @pytest.mark.parametrize(
        "labels", [np.array(["2020-01-01", "2021-01-01"], "M8[D]"), np.array([b"a", b"b"])]
    )
    def test_labels_that_no_file_holds_are_refused(self, generator, tmp_path, labels):
        model = clone_of(generator)
        model.classes_ = labels
        with pytest.raises(ValueError, match="classes_"):
            save(model, tmp_path / "model")

    @pytest.mark.parametrize(
        "what", [LogisticRegression(), make_pipeline("passthrough"), "x", None]
    )
    def test_other_estimators_are_refused(self, tmp_path, what):
        with pytest.raises(TypeError, match="skops"):
            save(what, tmp_path / "model")
        assert not list(tmp_path.iterdir())

    def test_a_wrong_parameter_is_refused_before_writing(self, tmp_path):
        with pytest.raises(ValueError, match="max_epochs"):
            save(NCVQVAETransformer(max_epochs=-1), tmp_path / "model")
        assert not list(tmp_path.iterdir())

    def test_foreign_parts_need_trust(self, series, tmp_path):
        X, y = series
        generator = NCVQVAEGenerator(tiny_transformer(), HistogramPrior(), random_state=0)
        save(generator.fit(X, y), tmp_path / "model")
        with pytest.raises(ModelFileError, match=r"trusted=\['test_io.HistogramPrior'\]"):
            load(tmp_path / "model")
        loaded = load(tmp_path / "model", trusted=["test_io.HistogramPrior"])
        assert_same_state(generator.sample(3), loaded.sample(3))

    def test_trees_need_trust(self, series, tmp_path):
        """By skops' judgement: their nodes are not checked before they are used."""
        X, y = series
        inner = RandomForestClassifier(5, random_state=0)
        model = AugmentedClassifier(inner, tiny_generator(), ratio=0.1, random_state=0).fit(X, y)
        save(model, tmp_path / "model")
        loaded = load(tmp_path / "model", trusted=["sklearn.tree._tree.Tree"])
        np.testing.assert_array_equal(model.predict_proba(X), loaded.predict_proba(X))

    def test_foreign_parts_need_skops(self, classifier, tmp_path, monkeypatch):
        save(classifier, tmp_path / "model")
        monkeypatch.setitem(sys.modules, "skops", None)
        monkeypatch.setitem(sys.modules, "skops.io", None)
        with pytest.raises(ImportError, match=r"skncvqvae\[skops\]"):
            load(tmp_path / "model")
        with pytest.raises(ImportError, match=r"estimator_.*skncvqvae\[skops\]"):
            save(classifier, tmp_path / "model")

    def test_what_skops_cannot_store_is_named(self, series, tmp_path):
        X, y = series
        model = AugmentedClassifier(LogisticRegression(max_iter=2000), ratio=0).fit(X, y)
        model.estimator_.generator = (i for i in range(3))
        with pytest.raises(
            ValueError, match=r"estimator_, a LogisticRegression, cannot be stored"
        ):
            save(model, tmp_path / "model")


class TestWriting:
    def test_a_failure_leaves_the_old_file(self, fitted, tmp_path, monkeypatch):
        path = tmp_path / "model"
        save(fitted, path)
        before = path.read_bytes()
        for name in ("save_file", "os.replace"):
            with monkeypatch.context() as patch:
                target = "skncvqvae._files.save_file" if name == "save_file" else "os.replace"
                patch.setattr(target, _fail)
                with pytest.raises(OSError, match="disk full"):
                    save(fitted, path)
            assert path.read_bytes() == before
            assert list(tmp_path.iterdir()) == [path]

    def test_a_file_is_as_readable_as_any_other(self, fitted, tmp_path):
        save(fitted, tmp_path / "model")
        (tmp_path / "other").write_text("")
        assert (tmp_path / "model").stat().st_mode == (tmp_path / "other").stat().st_mode

    def test_a_link_stays_one(self, fitted, tmp_path):
        folder = tmp_path / "folder"
        folder.mkdir()
        (tmp_path / "link").symlink_to(folder / "model")
        save(fitted, tmp_path / "link")
        assert (tmp_path / "link").is_symlink()
        assert isinstance(load(folder / "model"), NCVQVAETransformer)

    def test_a_folder_is_no_place_for_a_file(self, fitted, tmp_path):
        with pytest.raises(IsADirectoryError):
            save(fitted, tmp_path)
        with pytest.raises(FileNotFoundError):
            save(fitted, tmp_path / "missing" / "model")

    def test_texts_and_paths_name_files(self, fitted, tmp_path):
        save(fitted, str(tmp_path / "model"))
        assert isinstance(load(str(tmp_path / "model")), NCVQVAETransformer)
        with pytest.raises(FileNotFoundError):
            load(tmp_path / "nothing")


def _fail(*args, **kwargs):
    raise OSError("disk full")


# Files that are damaged, foreign or made to do harm. Each kind is a function that writes one.


def read_parts(path):
    """Return the description and the tensors of a file."""
    with safe_open(path, framework="np") as file:
        tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
        return json.loads(file.metadata()["skncvqvae"]), tensors


def write_parts(path, description, tensors):
    """Write a file whose hashes are right, whatever is in it."""
    text = description if isinstance(description, str) else json.dumps(description)
    metadata = {
        "skncvqvae": text,
        "sha256": hashlib.sha256(text.encode()).hexdigest(),
        "sha256_tensors": digest(tensors),
    }
    save_file(tensors, path, metadata=metadata)


def find(description, kind, nth=0):
    """Return an object of a kind in a description."""
    found = [
        entry for entry in description["objects"] if kind in (entry["kind"], entry.get("class"))
    ]
    return found[nth]


def config_of(description, kind, part="config"):
    """Return the pairs of a network's configuration, as a dictionary that writes through."""
    pairs = find(description, kind)["description"][part]["dict"]

    class Pairs(dict):
        def __setitem__(self, name, value):
            for pair in pairs:
                if pair[0] == name:
                    pair[1] = value
                    return
            pairs.append([name, value])

        def __delitem__(self, name):
            pairs[:] = [pair for pair in pairs if pair[0] != name]

    return Pairs(pairs)


HOSTILE = {}


def hostile(function):
    """Register a change of the description and the tensors of a generator's file."""
    HOSTILE[function.__name__] = function
    return function


def _register_configs():
    def with_size(kind, name, value):
        def change(d, t):
            config_of(d, kind)[name] = value

        return change

    sizes = {
        ("NCVQVAE", "n_codes"): [10**9, -1, 0, "6", 6.5, None, True],
        ("NCVQVAE", "n_timesteps"): [10**9, 10**15, -5],
        ("NCVQVAE", "n_fft"): [4 * 10**9, 0, 6],
        ("NCVQVAE", "n_channels"): [10**9],
        ("NCVQVAE", "code_dim"): [10**9, 16],
        ("NCVQVAE", "n_res_blocks"): [10**9, 0],
        ("NCVQVAE", "downsampled_width"): [0, "wide", 1],
        ("NCVQVAE", "decoder_dilation_growth"): [2**70, "x"],
        ("NCVQVAE", "codebook_decay"): ["x", {"float": "nan"}],
        ("NCVQVAE", "frequency_axis"): ["keep", "os.system"],
        ("NCVQVAE", "codebook_init"): ["eval"],
        ("NCVQVAE", "ssl_pooling"): ["max"],
        ("NCVQVAE", "ssl_method"): ["__import__", {"object": 0}, {"list": []}],
        ("NCVQVAE", "surprise"): [1],
        ("NeuralMapper", "n_channels"): [10**9, 0, 2],
        ("NeuralMapper", "hidden_dim"): [10**9, 0],
        ("NeuralMapper", "kernel_size"): [10**9, 0, 16],
        ("NeuralMapper", "n_layers"): [10**9, 0],
        ("AutoregressivePrior", "n_codes"): [10**9],
        ("AutoregressivePrior", "n_tokens"): [10**9],
        ("AutoregressivePrior", "n_classes"): [10**9, 3],
        ("AutoregressivePrior", "n_copies"): [10**12],
        ("AutoregressivePrior", "keeps_earlier"): [False, 1, "yes", None],
        ("AutoregressivePrior", "hidden_dim"): [10**12],
        ("AutoregressivePrior", "n_layers"): [10**9, 0],
        ("AutoregressivePrior", "n_heads"): [0, 10**12],
        ("AutoregressivePrior", "ff_mult"): [10**12],
        ("AutoregressivePrior", "dropout"): [7, -1],
        ("MaskedPrior", "n_codes"): [10**9],
        ("MaskedPrior", "n_tokens"): [10**9],
        ("MaskedPrior", "n_classes"): [10**9, 3],
        ("MaskedPrior", "hidden_dim"): [10**12],
        ("MaskedPrior", "embedding_dim"): [10**12],
        ("MaskedPrior", "n_layers"): [10**9, 0],
        ("MaskedPrior", "n_heads"): [0, 10**12],
        ("MaskedPrior", "ff_mult"): [10**12],
        ("MaskedPrior", "dropout"): [7, -1],
    }
    for (kind, name), values in sizes.items():
        for value in values:
            HOSTILE[f"{kind} {name} {value}"] = with_size(kind, name, value)


_register_configs()


@hostile
def config_without_a_size(d, t):
    del config_of(d, "NCVQVAE")["n_channels"]


@hostile
def config_that_is_none(d, t):
    find(d, "NCVQVAE")["description"]["config"] = None


@hostile
def loss_weights_that_are_text(d, t):
    config_of(d, "NCVQVAE", "loss_weights")["ssl"] = "much"


@hostile
def a_head_without_tensors(d, t):
    find(d, "NCVQVAE")["description"]["has_ssl"] = True


@hostile
def a_huge_head(d, t):
    find(d, "NCVQVAE")["description"]["has_ssl"] = True
    config_of(d, "NCVQVAE")["projector_dim"] = 10**12


@hostile
def barred_codes_without_tensor(d, t):
    find(d, "AutoregressivePrior")["description"]["barred"] = True


@hostile
def network_of_an_unknown_class(d, t):
    find(d, "NCVQVAE")["class"] = "Linear"


@hostile
def network_of_another_class(d, t):
    find(d, "AutoregressivePrior")["class"] = "MaskedPrior"


@hostile
def network_with_the_tensors_of_all(d, t):
    find(d, "NCVQVAE")["prefix"] = ""


@hostile
def network_with_the_tensors_of_another(d, t):
    find(d, "AutoregressivePrior")["prefix"] = find(d, "NCVQVAE")["prefix"]


@hostile
def network_with_a_number_for_a_prefix(d, t):
    find(d, "NCVQVAE")["prefix"] = 3


@hostile
def kernels_of_huge_activations(d, t):
    configs = find(d, "StandardisedPPV")["description"]["configs"]["list"]
    configs[0]["dict"][0] = ["n_channels", 10**9]


@hostile
def kernels_of_long_activations(d, t):
    configs = find(d, "StandardisedPPV")["description"]["configs"]["list"]
    configs[0]["dict"][1] = ["n_columns", 10**9]


@hostile
def kernels_without_number(d, t):
    configs = find(d, "StandardisedPPV")["description"]["configs"]["list"]
    configs[0]["dict"][2] = ["n_biases", 10**9]


@hostile
def no_objects(d, t):
    d["objects"] = []


@hostile
def objects_that_are_text(d, t):
    d["objects"] = "transformer"


@hostile
def too_many_objects(d, t):
    d["objects"] = d["objects"][:1] * 2000


@hostile
def an_object_that_is_a_number(d, t):
    d["objects"][1] = 5


@hostile
def an_object_without_kind(d, t):
    del d["objects"][1]["kind"]


@hostile
def an_object_of_a_kind_that_is_a_list(d, t):
    d["objects"][1]["kind"] = ["Band"]


for _name in (
    "os.system",
    "builtins.eval",
    "__import__",
    "subprocess.Popen",
    "NCVQVAE",
    "Sampler",
):

    def _change(d, t, name=_name):
        d["objects"][1] = {"kind": name, "params": {"command": "touch hacked"}}

    HOSTILE[f"an_object_of_kind_{_name}"] = _change


@hostile
def a_sampler_as_the_model(d, t):
    d["objects"].append({"kind": "MaskGIT", "params": {}})


@hostile
def a_layout_as_the_model(d, t):
    d["objects"].append({"kind": "TokenLayout", "fields": {"bands": {"tuple": [{"object": 1}]}}})


for _index in (5000, -1, True, "1", None, 1.0, 10**30):

    def _change(d, t, index=_index):
        find(d, "TokenLayout")["fields"]["bands"] = {"tuple": [{"object": index}]}

    HOSTILE[f"a_reference_to_{_index}"] = _change


@hostile
def a_reference_to_itself(d, t):
    entry = find(d, "TokenLayout")
    entry["fields"]["bands"] = {"tuple": [{"object": d["objects"].index(entry)}]}


@hostile
def an_unknown_parameter(d, t):
    find(d, "NCVQVAETransformer")["params"]["hook"] = "os.system"


for _parameter, _value in {
    "max_epochs": -1,
    "batch_size": 10.5,
    "representation": "os.system",
    "augmentations": "nothing",
    "lr_schedule": "exec",
    "ssl_method": "eval",
    "n_fft": 7,
    "device": 3,
    "random_state": "now",
    "verbose": {"dict": []},
    "data_format": {"float": "1e400"},
}.items():

    def _change(d, t, parameter=_parameter, value=_value):
        find(d, "NCVQVAETransformer")["params"][parameter] = value

    HOSTILE[f"parameter_{_parameter}"] = _change


@hostile
def a_callable_by_name(d, t):
    find(d, "NCVQVAETransformer")["params"]["lr_schedule"] = {"function": "os.system"}


@hostile
def parameters_that_are_a_list(d, t):
    find(d, "NCVQVAETransformer")["params"] = [1]


@hostile
def a_missing_attribute(d, t):
    del find(d, "NCVQVAETransformer")["attributes"]["layout_"]


@hostile
def an_attribute_too_many(d, t):
    find(d, "NCVQVAETransformer")["attributes"]["fit"] = 3


@hostile
def no_attributes_of_a_part(d, t):
    find(d, "AutoregressiveTokenPrior")["attributes"] = {}


for _attribute in (
    "codec_",
    "layout_",
    "module_",
    "history_",
    "n_iter_",
    "n_tokens_",
    "perplexity_",
    "codebook_",
    "n_features_in_",
    "series_ppv_",
    "neural_mapper_",
    "plateau_tolerance_",
):

    def _change(d, t, attribute=_attribute):
        find(d, "NCVQVAETransformer")["attributes"][attribute] = "x"

    HOSTILE[f"attribute_{_attribute}_is_text"] = _change


for _attribute in (
    "transformer_",
    "prior_",
    "observation_noise_",
    "shared_moments_",
    "marginals_",
    "classes_",
):

    def _change(d, t, attribute=_attribute):
        find(d, "NCVQVAEGenerator")["attributes"][attribute] = {"object": 0}

    HOSTILE[f"attribute_{_attribute}_is_a_codec"] = _change


@hostile
def feature_names_of_too_few(d, t):
    find(d, "NCVQVAETransformer")["attributes"]["feature_names_in_"] = {"objects": ["a"]}


for _field, _value in {
    "rows": 0,
    "columns": 10**18,
    "n_codes": -6,
    "name": 3,
}.items():

    def _change(d, t, field=_field, value=_value):
        find(d, "Band")["fields"][field] = value

    HOSTILE[f"band_{_field}_{_value}"] = _change


@hostile
def band_of_other_codes(d, t):
    find(d, "Band")["fields"]["n_codes"] = 7


@hostile
def band_with_a_field_too_many(d, t):
    find(d, "Band")["fields"]["__class__"] = "x"


@hostile
def a_layout_of_no_bands(d, t):
    find(d, "TokenLayout")["fields"]["bands"] = {"tuple": []}


@hostile
def a_layout_of_one_band_twice(d, t):
    find(d, "TokenLayout")["fields"]["bands"] = {"tuple": [{"object": 1}, {"object": 1}]}


for _attribute, _value in {
    "n_channels_": 10**9,
    "n_timesteps_": 64,
    "ndim_": 7,
    "dtype_": {"dtype": "object"},
    "irregular": "guess",
    "data_format": "upside_down",
    "mean_": {"list": [1.0]},
}.items():

    def _change(d, t, attribute=_attribute, value=_value):
        find(d, "SeriesCodec")["attributes"][attribute] = value

    HOSTILE[f"codec_{_attribute}_{_value}"] = _change


@hostile
def a_codec_with_methods(d, t):
    find(d, "SeriesCodec")["attributes"]["read"] = 1


@hostile
def a_dtype_that_is_code(d, t):
    find(d, "SeriesCodec")["attributes"]["dtype_"] = {"dtype": "f8,(10000000,)f8"}


def history_of(d):
    return dict(find(d, "History")["packed"]["dict"])


@hostile
def a_history_without_end(d, t):
    find(d, "History")["packed"]["dict"][0][1] = 10**12


@hostile
def a_history_of_no_length(d, t):
    find(d, "History")["packed"]["dict"][0][1] = "2"


@hostile
def a_history_of_more_rows_than_values(d, t):
    find(d, "History")["packed"]["dict"][0][1] = 1000


@hostile
def a_history_with_rows_elsewhere(d, t):
    column = history_of(d)["columns"]["dict"][0][1]["dict"]
    column[0][1] = {"list": [0, 99]}


@hostile
def a_history_without_columns(d, t):
    find(d, "History")["packed"]["dict"] = [["n_rows", 2]]


@hostile
def text_of_enormous_width(d, t):
    find(d, "NCVQVAEGenerator")["attributes"]["classes_"] = {"text": ["a"], "width": 10**9}


@hostile
def text_longer_than_its_width(d, t):
    find(d, "NCVQVAEGenerator")["attributes"]["classes_"] = {"text": ["abc", "d"], "width": 1}


@hostile
def text_that_is_numbers(d, t):
    find(d, "NCVQVAEGenerator")["attributes"]["classes_"] = {"text": [1, 2], "width": 1}


@hostile
def classes_of_another_name(d, t):
    find(d, "NCVQVAEGenerator")["attributes"]["classes_"] = {"text": ["a", "b"], "width": 1}


@hostile
def classes_of_another_number(d, t):
    find(d, "AutoregressiveTokenPrior")["attributes"]["classes_"] = {"text": ["a"], "width": 1}


@hostile
def objects_in_an_array_of_objects(d, t):
    value = {"objects": [{"list": []}, {"list": []}]}
    find(d, "NCVQVAEGenerator")["attributes"]["classes_"] = value


@hostile
def an_array_used_twice(d, t):
    attributes = find(d, "SeriesCodec")["attributes"]
    attributes["scale_"] = attributes["mean_"]


@hostile
def an_array_that_is_not_there(d, t):
    find(d, "SeriesCodec")["attributes"]["mean_"] = {"array": "nowhere"}


@hostile
def an_array_by_number(d, t):
    find(d, "SeriesCodec")["attributes"]["mean_"] = {"array": 0}


@hostile
def a_tensor_too_many(d, t):
    t["more"] = np.zeros(3)


@hostile
def a_tensor_too_many_in_a_network(d, t):
    t[find(d, "NCVQVAE")["prefix"] + "more"] = np.zeros(3)


@hostile
def a_tensor_too_few(d, t):
    del t[find(d, "NCVQVAE")["prefix"] + "decoder.head.0.bias"]


@hostile
def a_tensor_of_another_shape(d, t):
    name = find(d, "NCVQVAE")["prefix"] + "encoder.down.0.0.weight"
    t[name] = t[name][..., :2].copy()


@hostile
def a_tensor_of_another_dtype(d, t):
    name = find(d, "NCVQVAE")["prefix"] + "encoder.down.0.0.weight"
    t[name] = t[name].astype(np.int32)


@hostile
def a_tensor_of_double_precision(d, t):
    name = find(d, "NCVQVAE")["prefix"] + "encoder.down.0.0.weight"
    t[name] = t[name].astype(np.float64)


@hostile
def a_mean_of_another_shape(d, t):
    t["transformer_.codec_.mean_"] = np.zeros(5)


@hostile
def a_mean_of_integers(d, t):
    t["transformer_.codec_.mean_"] = np.zeros(1, dtype=int)


@hostile
def a_codebook_of_another_shape(d, t):
    t["transformer_.codebook_"] = np.zeros((6, 9), dtype=np.float32)


@hostile
def noise_of_other_codes(d, t):
    name = "observation_noise_.filters_"
    t[name] = t[name][:3].copy()


@hostile
def noise_of_another_length(d, t):
    find(d, "ObservationNoise")["attributes"]["n_timesteps_"] = 33


@hostile
def noise_of_endless_length(d, t):
    find(d, "ObservationNoise")["attributes"]["n_timesteps_"] = 10**12


@hostile
def noise_of_a_negative_scale(d, t):
    find(d, "Finish")["fields"]["noise_scale"] = -1.0


@hostile
def noise_of_no_scale(d, t):
    find(d, "Finish")["fields"]["noise_scale"] = {"float": "nan"}


@hostile
def moments_by_text(d, t):
    find(d, "Finish")["fields"]["match_moments"] = "yes"


@hostile
def moments_of_other_channels(d, t):
    t["shared_moments_.mean_"] = t["shared_moments_.std_"] = np.zeros(4)


@hostile
def marginals_by_text(d, t):
    find(d, "Finish")["fields"]["match_marginals"] = "yes"


@hostile
def marginals_of_other_channels(d, t):
    for name, values in list(t.items()):
        if name.startswith("marginals_"):
            t[name] = np.repeat(values, 2, axis=0 if name.endswith("real_") else 1)


@hostile
def marginals_of_other_scales(d, t):
    for name in ("decoded_", "differs_"):
        t[f"marginals_.{name}"] = t[f"marginals_.{name}"][:2]


@hostile
def marginals_of_fewer_real_values(d, t):
    t["marginals_.real_"] = t["marginals_.real_"][:, :5]


@hostile
def marginals_that_differ_by_numbers(d, t):
    t["marginals_.differs_"] = t["marginals_.differs_"].astype(float)


@hostile
def a_random_state_without_state(d, t):
    value = {"dict": [["bit_generator", "MT19937"], ["state", {"dict": []}]]}
    d["objects"].insert(0, {"kind": "RandomState", "state": value})
    _move_references(d)


def _random_state_at(position):
    def change(d, t):
        t["key"] = np.zeros(624, dtype=np.uint32)
        pairs = [["key", {"array": "key"}], ["pos", position]]
        value = {
            "dict": [
                ["bit_generator", "MT19937"],
                ["state", {"dict": pairs}],
                ["has_gauss", 0],
                ["gauss", 0.0],
            ]
        }
        d["objects"].insert(0, {"kind": "RandomState", "state": value})
        _move_references(d)
        find(d, "NCVQVAETransformer")["params"]["random_state"] = {"object": 0}

    return change


# From there numpy would read beyond the end of the key.
for _position in (625, 10**12, -1, "0", None, 2.0):
    HOSTILE[f"a_random_state_at_{_position}"] = _random_state_at(_position)


@hostile
def a_frozen_text(d, t):
    d["objects"].insert(0, {"kind": "FrozenEstimator", "estimator": "x"})
    _move_references(d)


@hostile
def an_augmentation_of_texts(d, t):
    value = {"steps": {"tuple": ["os.system"]}}
    d["objects"].insert(0, {"kind": "Compose", "fields": value})
    _move_references(d)


@hostile
def a_sampler_of_no_steps(d, t):
    d["objects"].insert(0, {"kind": "MaskGIT", "params": {"n_steps": 0}})
    _move_references(d)


def _move_references(value):
    """Count the references of a description on by one, after an object was put first."""
    if isinstance(value, dict):
        for key, inner in value.items():
            if key == "object":
                value[key] = inner + 1
            else:
                _move_references(inner)
    elif isinstance(value, list):
        for inner in value:
            _move_references(inner)


@hostile
def a_value_that_is_a_list(d, t):
    find(d, "NCVQVAETransformer")["params"]["callbacks"] = [1]


@hostile
def a_value_of_unknown_kind(d, t):
    find(d, "NCVQVAETransformer")["params"]["callbacks"] = {"pickle": "gASVCg=="}


@hostile
def a_value_of_two_kinds(d, t):
    find(d, "NCVQVAETransformer")["params"]["callbacks"] = {"list": [], "tuple": []}


@hostile
def an_empty_value(d, t):
    find(d, "NCVQVAETransformer")["params"]["callbacks"] = {}


@hostile
def a_number_too_large(d, t):
    find(d, "NCVQVAETransformer")["params"]["random_state"] = 10**30


@hostile
def a_dictionary_with_lists_for_keys(d, t):
    value = {"dict": [[{"list": []}, 1]]}
    find(d, "NCVQVAETransformer")["params"]["callbacks"] = value


@hostile
def a_device_that_is_none(d, t):
    find(d, "NCVQVAETransformer")["params"]["device"] = {"device": "toaster"}


@hostile
def a_device_that_is_a_list(d, t):
    find(d, "NCVQVAETransformer")["params"]["device"] = {"device": ["cpu"]}


@hostile
def a_deep_value(d, t):
    value = 1
    for _ in range(400):
        value = {"list": [value]}
    find(d, "NCVQVAETransformer")["params"]["callbacks"] = value


@hostile
def skops_that_is_text(d, t):
    find(d, "NCVQVAEGenerator")["attributes"]["prior_"] = "x"
    del d["objects"][d["objects"].index(find(d, "AutoregressiveTokenPrior"))]["attributes"]


def _with_skops(data):
    """Return a change that puts bytes where skops is to read the prior."""

    def change(d, t):
        t["prior"] = np.frombuffer(data, dtype=np.uint8)
        entry = {"kind": "skops", "type": "Prior", "data": {"array": "prior"}}
        d["objects"][d["objects"].index(find(d, "AutoregressiveTokenPrior", 1))] = entry

    return change


def _skops_with(**changes):
    buffer = io.BytesIO(skops.io.dumps(LogisticRegression()))
    out = io.BytesIO()
    with zipfile.ZipFile(buffer) as old, zipfile.ZipFile(out, "w", zipfile.ZIP_DEFLATED) as new:
        schema = json.loads(old.read("schema.json")) | changes
        new.writestr("schema.json", json.dumps(schema))
        new.writestr("padding", b"0" * 2**24)
    return out.getvalue()


def _stored(schema):
    out = io.BytesIO()
    with zipfile.ZipFile(out, "w") as new:
        new.writestr("schema.json", json.dumps(schema))
    return out.getvalue()


_FUNCTION = {"__class__": "system", "__module__": "os", "__loader__": "FunctionNode", "__id__": 1}
_REDUCED = {
    "__class__": "Popen",
    "__module__": "subprocess",
    "__loader__": "ConstructorFromReduceNode",
    "__id__": 1,
    "content": {"__loader__": "JsonNode", "content": '["true"]', "__class__": "list",
                "__module__": "builtins", "__id__": 2},
}  # fmt: skip
HOSTILE |= {
    "skops_that_is_no_archive": _with_skops(b"nothing at all"),
    "skops_that_is_empty": _with_skops(b""),
    "skops_that_is_cut_short": _with_skops(skops.io.dumps(LogisticRegression())[:-40]),
    "skops_that_is_a_bomb": _with_skops(_skops_with()),
    "skops_of_a_function": _with_skops(_stored(_FUNCTION | {"protocol": 2})),
    "skops_of_a_process": _with_skops(_stored(_REDUCED | {"protocol": 2})),
    "skops_of_another_protocol": _with_skops(_stored(_FUNCTION | {"protocol": 99})),
    "skops_without_schema": _with_skops(_stored({})),
    "skops_that_is_a_pickle": _with_skops(pickle.dumps(os.getcwd)),
}


class Bomb:
    """Says so when it is unpickled."""

    def __reduce__(self):
        return exec, ("raise SystemExit('code was run')",)


FOREIGN = {
    "empty": lambda good: b"",
    "three_bytes": lambda good: b"abc",
    "eight_zeros": lambda good: bytes(8),
    "text": lambda good: b"This is a letter to my neighbour, and no model.\n" * 20,
    "zeros": lambda good: bytes(10_000),
    "ones": lambda good: b"\xff" * 10_000,
    "pickle": lambda good: pickle.dumps(Bomb()),
    "pickle_of_protocol_0": lambda good: pickle.dumps(Bomb(), 0),
    "joblib": lambda good: _bytes_of(lambda buffer: joblib.dump(Bomb(), buffer)),
    "joblib_compressed": lambda good: _bytes_of(lambda b: joblib.dump([1] * 99, b, compress=3)),
    "torch": lambda good: _bytes_of(lambda buffer: torch.save({"a": torch.ones(3)}, buffer)),
    "skops": lambda good: skops.io.dumps(LogisticRegression()),
    "npy": lambda good: _bytes_of(lambda buffer: np.save(buffer, np.ones(3))),
    "npz": lambda good: _bytes_of(lambda buffer: np.savez(buffer, a=np.ones(3))),
    "state_dict": lambda good: safetensors.torch.save({"weight": torch.ones(3)}),
    "state_dict_with_metadata": lambda good: safetensors.torch.save(
        {"weight": torch.ones(3)}, {"format": "pt"}
    ),
    "description_without_hash": lambda good: safetensors.torch.save({}, {"skncvqvae": "{}"}),
    "header_longer_than_the_file": lambda good: (2**40).to_bytes(8, "little") + good[8:],
    "header_of_negative_length": lambda good: b"\xff" * 8 + good[8:],
    "header_shorter_than_it_is": lambda good: (64).to_bytes(8, "little") + good[8:],
    "header_that_is_no_json": lambda good: (8).to_bytes(8, "little") + b"{]notjsn",
    "header_that_is_a_list": lambda good: (8).to_bytes(8, "little") + b"[1,2,3] ",
    "header_that_is_deep": lambda good: _headed(b"[" * 100_000),
    "tensor_of_all_memory": lambda good: _headed(
        json.dumps({"a": {"dtype": "F64", "shape": [2**40], "data_offsets": [0, 2**43]}}).encode()
    ),
    "tensors_that_overlap": lambda good: _headed(
        json.dumps(
            {k: {"dtype": "U8", "shape": [8], "data_offsets": [0, 8]} for k in "ab"}
        ).encode(),
        bytes(8),
    ),
    "tensor_of_negative_size": lambda good: _headed(
        json.dumps({"a": {"dtype": "U8", "shape": [-8], "data_offsets": [0, 8]}}).encode(),
        bytes(8),
    ),
    "tensor_of_unknown_dtype": lambda good: _headed(
        json.dumps({"a": {"dtype": "O", "shape": [8], "data_offsets": [0, 8]}}).encode(),
        bytes(8),
    ),
    "header_that_is_no_utf8": lambda good: _headed(b'{"\xff\xfe":{}}'),
    "header_of_utf16": lambda good: _headed("{}".encode("utf-16")),
    "header_with_a_name_twice": lambda good: _headed(
        b'{"a":{"dtype":"U8","shape":[4],"data_offsets":[0,4]},'
        b'"a":{"dtype":"U8","shape":[8],"data_offsets":[0,8]}}',
        bytes(8),
    ),
    "offsets_that_are_reversed": lambda good: _headed(
        json.dumps({"a": {"dtype": "U8", "shape": [8], "data_offsets": [8, 0]}}).encode(),
        bytes(8),
    ),
    "offsets_beyond_any_number": lambda good: _headed(
        json.dumps({"a": {"dtype": "U8", "shape": [2**70], "data_offsets": [0, 2**70]}}).encode(),
        bytes(8),
    ),
    "shape_whose_size_overflows": lambda good: _headed(
        json.dumps(
            {"a": {"dtype": "F32", "shape": [2**32, 2**32], "data_offsets": [0, 8]}}
        ).encode(),
        bytes(8),
    ),
    "metadata_that_are_numbers": lambda good: _headed(b'{"__metadata__":{"skncvqvae":3}}'),
    "metadata_that_are_a_list": lambda good: _headed(b'{"__metadata__":[]}'),
    "two_files_in_one": lambda good: good + good,
    "a_byte_too_many": lambda good: good + b"\0",
    "the_end_alone": lambda good: good[1000:],
    "bytes_in_reverse": lambda good: good[::-1],
}  # fmt: skip


def _headed(header, data=b""):
    return len(header).to_bytes(8, "little") + header + data


def _bytes_of(write):
    buffer = io.BytesIO()
    write(buffer)
    return buffer.getvalue()


DESCRIPTIONS = {
    "no_json": "{",
    "a_list": "[]",
    "a_number": "3",
    "null": "null",
    "deep": "[" * 100_000 + "]" * 100_000,
    "a_number_of_many_digits": '{"format": ' + "9" * 10_000 + "}",
    "no_format": json.dumps({"versions": {}, "objects": []}),
    "no_versions": json.dumps({"format": 1, "objects": []}),
    "no_objects": json.dumps({"format": 1, "versions": {}}),
    "format_that_is_text": json.dumps({"format": "1", "versions": {}, "objects": []}),
    "format_that_is_true": json.dumps({"format": True, "versions": {}, "objects": []}),
    "format_that_is_negative": json.dumps({"format": -1, "versions": {}, "objects": []}),
    "versions_that_are_text": json.dumps({"format": 1, "versions": "new", "objects": []}),
}


class Watch:
    """Sees what a block starts, unpickles and writes. A hook of the interpreter stays for good."""

    events = frozenset(
        {
            "compile",
            "ctypes.dlopen",
            "exec",
            "import",
            "os.exec",
            "os.fork",
            "os.mkdir",
            "os.posix_spawn",
            "os.remove",
            "os.rename",
            "os.system",
            "pickle.find_class",
            "shutil.rmtree",
            "socket.connect",
            "subprocess.Popen",
        }
    )

    def __init__(self):
        self.active, self.seen = False, []
        sys.addaudithook(self.hook)

    def hook(self, event, args):
        if self.active and (event in self.events or (event == "open" and "w" in str(args[1]))):
            self.seen.append((event, args))

    def __enter__(self):
        self.active, self.seen = True, []
        return self

    def __exit__(self, *error):
        self.active = False


@pytest.fixture(scope="session")
def watch():
    watch = Watch()
    with watch:
        os.system("true")
        pickle.loads(pickle.dumps(os.getcwd))
    assert {event for event, _ in watch.seen} == {"os.system", "pickle.find_class"}
    return watch


def _save_generator(prior_class, series, folder):
    X, y = series
    prior = prior_class(**TINY_PRIOR)
    transformer = tiny_transformer(neural_mapper=True)
    generator = NCVQVAEGenerator(transformer, prior, device="cpu", random_state=0)
    save(generator.fit(X, np.array(["slow", "fast"])[y]), folder / "model")
    return folder / "model"


@pytest.fixture(scope="module")
def good_file(series, tmp_path_factory):
    return _save_generator(AutoregressiveTokenPrior, series, tmp_path_factory.mktemp("good"))


@pytest.fixture(scope="module")
def good_masked_file(series, tmp_path_factory):
    return _save_generator(MaskedTokenPrior, series, tmp_path_factory.mktemp("masked"))


@pytest.fixture(scope="module")
def good_classifier_file(series, tmp_path_factory):
    X, y = series
    generator = tiny_generator(tiny_transformer(max_epochs=1))
    model = AugmentedClassifier(LogisticRegression(), generator, ratio=0.1, random_state=0)
    path = tmp_path_factory.mktemp("classifier") / "model"
    save(model.fit(X, y), path)
    return path


def _another_codec(attributes, description):
    """Let the classifier read series by a codec of its own."""
    at = description["objects"].index(find(description, "SeriesCodec"))
    twin = json.loads(json.dumps(description["objects"][at]))
    for name in ("mean_", "scale_"):
        twin["attributes"][name] = None
    description["objects"].insert(-1, twin)
    attributes["codec_"] = {"object": len(description["objects"]) - 2}


CLASSIFIERS = {
    "codec_that_is_text": lambda a, d: a.update(codec_="x"),
    "codec_that_is_missing": lambda a, d: a.pop("codec_"),
    "codec_that_is_the_generator": lambda a, d: a.update(codec_=a["generator_"]),
    "another_codec": _another_codec,
    "generator_that_is_a_codec": lambda a, d: a.update(generator_=a["codec_"]),
    "generator_that_is_a_number": lambda a, d: a.update(generator_=3),
    "classifier_that_is_a_codec": lambda a, d: a.update(estimator_=a["codec_"]),
    "classifier_that_is_text": lambda a, d: a.update(estimator_="predict"),
    "classes_that_are_a_number": lambda a, d: a.update(classes_=3),
    "numbers_of_series_that_are_a_list": lambda a, d: a.update(n_synthetic_={"list": []}),
}


class TestBrokenFiles:
    @pytest.fixture(autouse=True)
    def _watch(self, watch):
        self.watch = watch

    @pytest.fixture(autouse=True)
    def _memory_is_not_taken(self):
        """Check that reading a file of some kilobytes takes no gigabytes."""
        before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
        yield
        assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before < 300_000  # KiB

    def check_refused(self, path, match=None):
        with warnings.catch_warnings():
            warnings.simplefilter("error")
            with pytest.raises(ModelFileError, match=match) as caught, self.watch:
                load(path)
        assert not self.watch.seen
        assert str(path) in str(caught.value)
        assert isinstance(caught.value, ValueError)

    def test_the_file_that_they_are_made_of_is_good(self, good_file, tmp_path):
        write_parts(tmp_path / "model", *read_parts(good_file))
        load(tmp_path / "model")

    @pytest.mark.parametrize("kind", FOREIGN)
    def test_foreign_files(self, good_file, tmp_path, kind):
        (tmp_path / "model").write_bytes(FOREIGN[kind](good_file.read_bytes()))
        self.check_refused(tmp_path / "model")

    @pytest.mark.parametrize("share", np.linspace(0, 0.999, 12).round(3))
    def test_files_that_are_cut_short(self, good_file, tmp_path, share):
        data = good_file.read_bytes()
        (tmp_path / "model").write_bytes(data[: int(share * len(data))])
        self.check_refused(tmp_path / "model")

    @pytest.mark.parametrize("kind", DESCRIPTIONS)
    def test_broken_descriptions(self, good_file, tmp_path, kind):
        _, tensors = read_parts(good_file)
        write_parts(tmp_path / "model", DESCRIPTIONS[kind], tensors)
        self.check_refused(tmp_path / "model")

    @pytest.mark.parametrize("kind", HOSTILE)
    def test_hostile_files_with_good_hashes(
        self, good_file, good_masked_file, tmp_path, kind, monkeypatch
    ):
        monkeypatch.chdir(tmp_path)
        description, tensors = read_parts(
            good_masked_file if kind.startswith("MaskedPrior") else good_file
        )
        before = json.dumps(description), dict(tensors)
        HOSTILE[kind](description, tensors)
        changed = [name for name in tensors if tensors[name] is not before[1].get(name)]
        assert json.dumps(description) != before[0] or changed or len(tensors) < len(before[1])
        write_parts(tmp_path / "model", description, tensors)
        self.check_refused(tmp_path / "model")
        assert [path.name for path in tmp_path.iterdir()] == ["model"]

    @settings(
        max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
    )
    @given(data=st.data())
    def test_a_flipped_bit_is_noticed(self, good_file, tmp_path, data):
        content = bytearray(good_file.read_bytes())
        # As often in the description as in the far more numerous weights.
        n_header = int.from_bytes(content[:8], "little") + 8
        last = data.draw(st.sampled_from([n_header, len(content)])) - 1
        place, bit = data.draw(st.integers(0, last)), data.draw(st.integers(0, 7))
        content[place] ^= 1 << bit
        path = tmp_path / "flipped"
        path.write_bytes(content)
        try:
            loaded = load(path)
        except ModelFileError:
            return
        # Nothing that counts: the case of a digit in an escape, say.
        one, other = (g.sample(3, random_state=0) for g in (load(good_file), loaded))
        assert_same_state(one, other)

    @settings(
        max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
    )
    @given(data=st.data())
    def test_any_change_of_a_description_loads_or_is_refused(self, good_file, tmp_path, data):
        description, tensors = read_parts(good_file)
        owner, key = description, "objects"
        while isinstance(owner[key], (dict, list)) and owner[key] and data.draw(st.booleans()):
            owner = owner[key]
            keys = list(owner) if isinstance(owner, dict) else range(len(owner))
            key = data.draw(st.sampled_from(keys))
        simple = st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text()
        owner[key] = data.draw(
            st.recursive(simple, lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner))
        )
        path = tmp_path / "changed"
        write_parts(path, description, tensors)
        try:
            load(path)
        except ModelFileError as error:
            assert str(path) in str(error)

    def test_a_random_state_at_its_end_is_good(self, good_file, tmp_path):
        description, tensors = read_parts(good_file)
        _random_state_at(624)(description, tensors)
        write_parts(tmp_path / "model", description, tensors)
        load(tmp_path / "model")

    @pytest.mark.parametrize("kind", CLASSIFIERS)
    def test_hostile_files_of_classifiers(self, good_classifier_file, tmp_path, kind):
        description, tensors = read_parts(good_classifier_file)
        CLASSIFIERS[kind](find(description, "AugmentedClassifier")["attributes"], description)
        write_parts(tmp_path / "model", description, tensors)
        self.check_refused(tmp_path / "model")

    def test_links_are_followed_and_lead_to_a_file(self, good_file, tmp_path):
        (tmp_path / "good").symlink_to(good_file)
        assert isinstance(load(tmp_path / "good"), NCVQVAEGenerator)
        (tmp_path / "round").symlink_to(tmp_path / "round")
        (tmp_path / "nowhere").symlink_to(tmp_path / "nothing")
        for name in ("round", "nowhere"):
            with pytest.raises(OSError, match=name):
                load(tmp_path / name)
        (tmp_path / "device").symlink_to("/dev/zero")
        self.check_refused(tmp_path / "device", "no regular file")

    def test_files_of_another_kind_say_which(self, good_file, tmp_path):
        path = tmp_path / "model"
        for kind, name in (("pickle", "a pickle"), ("skops", "a zip"), ("text", "no safetensors")):
            path.write_bytes(FOREIGN[kind](b""))
            self.check_refused(path, name)
        path.write_bytes(FOREIGN["state_dict"](b""))
        self.check_refused(path, r"not written by skncvqvae\.save")

    @pytest.mark.parametrize("start", [b"\x80\x04", b"PK"])
    def test_a_length_that_looks_like_another_file_is_one(self, good_file, tmp_path, start):
        """The first bytes are the length of the header, which can be any."""
        data = good_file.read_bytes()
        n_header = int.from_bytes(data[:8], "little")
        wanted = int.from_bytes(start + b"\2" + bytes(5), "little")
        padding = b" " * (wanted - n_header)
        assert padding
        end = 8 + n_header
        (tmp_path / "model").write_bytes(
            wanted.to_bytes(8, "little") + data[8:end] + padding + data[end:]
        )
        assert (tmp_path / "model").read_bytes().startswith(start)
        assert isinstance(load(tmp_path / "model"), NCVQVAEGenerator)

    def test_folders_and_pipes_are_no_files(self, tmp_path):
        self.check_refused(tmp_path)
        os.mkfifo(tmp_path / "pipe")
        self.check_refused(tmp_path / "pipe")
        self.check_refused(Path(os.devnull))

    def test_larger_than_any_model(self, good_file, tmp_path):
        path = tmp_path / "model"
        path.write_bytes(good_file.read_bytes())
        os.truncate(path, 2**40)
        self.check_refused(path, "larger")

    def test_a_header_larger_than_any(self, tmp_path):
        path = tmp_path / "model"
        path.write_bytes(_headed(b" " * (2**24 + 8)))
        self.check_refused(path, "larger")

    def test_gigabytes_of_nothing_are_not_read(self, good_file, tmp_path):
        """A file with a hole takes no place on the disk, and would in memory."""
        description, tensors = read_parts(good_file)
        name = "transformer_.codec_.mean_"
        write_parts(tmp_path / "model", description, tensors)
        data = (tmp_path / "model").read_bytes()
        n_header = int.from_bytes(data[:8], "little")
        header = json.loads(data[8 : 8 + n_header])
        end = max(v["data_offsets"][1] for k, v in header.items() if k != "__metadata__")
        n_values = 2**28
        header[name] = {
            "dtype": "F64",
            "shape": [n_values],
            "data_offsets": [end, end + 8 * n_values],
        }
        # Without its first place there would be a gap.
        header["gap"] = {"dtype": "F64", "shape": [1], "data_offsets": None}
        old = json.loads(data[8 : 8 + n_header])[name]["data_offsets"]
        header["gap"]["data_offsets"] = old
        (tmp_path / "model").write_bytes(
            _headed(json.dumps(header).encode(), data[8 + n_header :])
        )
        os.truncate(tmp_path / "model", 8 + len(json.dumps(header)) + end + 8 * n_values)
        self.check_refused(tmp_path / "model", "no scale|too large")


class TestFormats:
    @pytest.mark.parametrize(
        ("number", "message"), [(2, "newer skncvqvae"), (0, "older skncvqvae")]
    )
    def test_other_formats_say_what_to_do(self, good_file, tmp_path, number, message):
        description, tensors = read_parts(good_file)
        description["format"] = number
        description["versions"]["skncvqvae"] = "7.8.9"
        write_parts(tmp_path / "model", description, tensors)
        with pytest.raises(ModelFileError, match=rf"7\.8\.9.*{message}"):
            load(tmp_path / "model")

    def test_versions_are_in_the_file(self, good_file):
        versions = read_parts(good_file)[0]["versions"]
        assert versions["skncvqvae"] == skncvqvae.__version__
        # Some releases of torch say in the one how they were built, and not in the other.
        assert torch.__version__.startswith(versions["torch"])

    def test_a_parameter_that_is_newer_than_the_file_has_its_default(self, good_file, tmp_path):
        description, tensors = read_parts(good_file)
        del find(description, "NCVQVAETransformer")["params"]["random_shift"]
        write_parts(tmp_path / "model", description, tensors)
        assert load(tmp_path / "model").transformer_.random_shift == 1.0

    def test_the_file_of_the_first_version_is_read(self):
        """The file is never to be written anew: later versions must read it, or say why not."""
        X, _ = make_series(n=6)
        expected = json.loads((DATA / "generator-0.1.0.json").read_text())
        generator = load(DATA / "generator-0.1.0.safetensors")
        assert generator.transformer_.tokenize(X).tolist() == expected["tokens"]
        np.testing.assert_allclose(
            generator.transformer_.decode(np.array(expected["tokens"]))[:, 0],
            expected["decoded"],
            rtol=1e-4,
        )
        assert generator.classes_.tolist() == ["fast", "slow"]
        assert np.isfinite(generator.sample(3, y="fast")[0]).all()


class TestPickle:
    def test_a_pickle_knows_its_version(self, fitted):
        state = fitted.__getstate__()
        assert state["_skncvqvae_version"] == skncvqvae.__version__
        assert b"torch" not in pickle.dumps(fitted)

    def test_another_version_warns(self, series, fitted, classifier, monkeypatch):
        for model in (fitted, classifier):
            monkeypatch.setattr(skncvqvae, "__version__", "0.0.1")
            data = pickle.dumps(model)
            monkeypatch.undo()
            with pytest.warns(ModelVersionWarning, match=r"0\.0\.1.*this is skncvqvae"):
                loaded = pickle.loads(data)
        np.testing.assert_array_equal(loaded.predict(series[0]), classifier.predict(series[0]))

    def test_one_of_before_versions_were_kept_warns(self, fitted):
        """As pickles were before: attributes alone, the network as torch pickles it."""
        twin = NCVQVAETransformer.__new__(NCVQVAETransformer)
        with pytest.warns(ModelVersionWarning, match="unknown version"):
            twin.__setstate__(vars(fitted))
        assert twin.n_tokens_ == fitted.n_tokens_

    @pytest.mark.parametrize(
        "name", ["random_shift", "lr", "layout_", "module_", "history_", "codebook_usage_"]
    )
    def test_a_missing_attribute_is_named(self, fitted, name):
        state = fitted.__getstate__()
        state.pop(name, None)
        state["_packed"].pop(name, None)
        twin = NCVQVAETransformer.__new__(NCVQVAETransformer)
        with pytest.raises(ModelFileError, match=rf"lacks {name}\. It was made by skncvqvae"):
            twin.__setstate__(state)

    def test_a_missing_attribute_of_a_part_is_named(self, generator):
        model = clone_of(generator)
        model.prior_ = clone_of(generator.prior_)
        del model.prior_.classes_
        with pytest.raises(ModelFileError, match=r"TokenPrior lacks classes_"):
            pickle.loads(pickle.dumps(model))

    def test_damaged_weights_are_refused(self, fitted):
        state = fitted.__getstate__()
        state["_packed"]["module_"]["config"]["n_codes"] = 10**9
        twin = NCVQVAETransformer.__new__(NCVQVAETransformer)
        with pytest.raises(ModelFileError, match="n_codes"):
            twin.__setstate__(state)

    def test_unfitted_estimators_pickle(self):
        for estimator in (NCVQVAETransformer(), NCVQVAEGenerator(), MaskedTokenPrior()):
            assert repr(pickle.loads(pickle.dumps(estimator))) == repr(estimator)

    @pytest.mark.parametrize(
        "method",
        [
            mean_square,
            SSLMethod(mean_square, whiten=True),
            SSLMethod(mean_square, head=CountingHead),
        ],
        ids=["function", "method", "head"],
    )
    def test_a_loss_of_the_users_goes_on(self, series, method):
        X, _ = series
        model = tiny_transformer(ssl_method=method, warm_start=True).fit(X)
        before = torch.random.get_rng_state()
        loaded = pickle.loads(pickle.dumps(model))
        assert torch.equal(torch.random.get_rng_state(), before)
        np.testing.assert_array_equal(model.fit_transform(X), loaded.fit_transform(X))
        if hasattr(model.module_.ssl, "n_calls"):
            assert model.module_.ssl.n_calls == loaded.module_.ssl.n_calls > 2

    def test_a_network_of_the_users_is_pickled_as_torch_does(self, fitted):
        model = clone_of(fitted)
        model.extra = torch.nn.Linear(2, 3)
        loaded = pickle.loads(pickle.dumps(model))
        assert torch.equal(loaded.extra.weight, model.extra.weight)

    def test_joblib_maps_arrays_into_memory(self, series, generator, tmp_path):
        joblib.dump(generator, tmp_path / "model.joblib")
        with warnings.catch_warnings():
            warnings.simplefilter("error")
            loaded = joblib.load(tmp_path / "model.joblib", mmap_mode="r")
        assert_same_state(generator.sample(4, random_state=0), loaded.sample(4, random_state=0))

    def test_copies_share_or_own_their_networks(self, fitted):
        shallow, deep = copy.copy(fitted), copy.deepcopy(fitted)
        assert shallow.module_ is fitted.module_
        assert deep.module_ is not fitted.module_
        assert_same_state(vars(deep), vars(fitted))
        twins = copy.deepcopy([fitted, fitted])
        assert twins[0] is twins[1]
        assert not hasattr(clone(fitted), "module_")


class TestSkops:
    def test_a_pipeline_lists_our_own_types_only(self, series):
        X, y = series
        model = make_pipeline(
            tiny_transformer(device=torch.device("cpu")), LogisticRegression(max_iter=5000)
        )
        model.fit(X, y)
        data = skops.io.dumps(model)
        types = skops.io.get_untrusted_types(data=data)
        assert all(name.startswith("skncvqvae.") for name in types)
        # A band is a record of the layout, and no network.
        networks = [name for name in types if name.startswith("skncvqvae.nn")]
        assert set(networks) <= {"skncvqvae.nn.bands.Band"}
        loaded = skops.io.loads(data, trusted=types)
        np.testing.assert_array_equal(loaded.predict_proba(X), model.predict_proba(X))

    @pytest.mark.parametrize("prior_class", [MaskedTokenPrior, AutoregressiveTokenPrior])
    def test_generators_and_classifiers_come_back(self, series, fitted, prior_class):
        X, y = series
        generator = NCVQVAEGenerator(
            FrozenEstimator(fitted), prior_class(**TINY_PRIOR), MaskGIT(), random_state=0
        )
        if prior_class is AutoregressiveTokenPrior:
            generator.set_params(sampler=Autoregressive(top_p=0.9))
        model = AugmentedClassifier(FCNClassifier(1, device="cpu"), generator, random_state=0)
        model.fit(X, np.array(["a", "b"])[y])
        data = skops.io.dumps(model)
        types = skops.io.get_untrusted_types(data=data)
        assert all(name.startswith("skncvqvae.") for name in types)
        loaded = skops.io.loads(data, trusted=types)
        np.testing.assert_array_equal(loaded.predict_proba(X), model.predict_proba(X))
        one, other = (m.generator_.sample(4, random_state=0) for m in (model, loaded))
        assert_same_state(one, other)

    def test_warm_start_goes_on(self, series):
        X, _ = series
        model = tiny_transformer(ssl_method="byol", warm_start=True).fit(X)
        data = skops.io.dumps(model)
        loaded = skops.io.loads(data, trusted=skops.io.get_untrusted_types(data=data))
        np.testing.assert_array_equal(loaded.fit_transform(X), model.fit_transform(X))


class TestStateDict:
    @pytest.mark.parametrize("method", ["barlowtwins", "byol", "vibcreg", None])
    def test_safetensors_stores_it(self, series, tmp_path, method):
        X, _ = series
        module = tiny_transformer(ssl_method=method, frequency_axis="keep").fit(X).module_
        path = tmp_path / "weights.safetensors"
        safetensors.torch.save_file(module.state_dict(), path)
        twin = type(module)(module.config).eval()
        twin.load_state_dict(safetensors.torch.load_file(path))
        assert_same_state(module, twin)
        weight = module.encoder.down[0][0].weight
        assert weight.is_contiguous(memory_format=torch.channels_last)
        assert not weight.is_contiguous()

    def test_priors_are_stored(self, generator, tmp_path):
        safetensors.torch.save_file(generator.prior_.module_.state_dict(), tmp_path / "weights")

    def test_parameters_can_be_asked_for(self, fitted):
        kept = fitted.module_.state_dict(keep_vars=True)
        assert kept["encoder.down.0.0.weight"] is fitted.module_.encoder.down[0][0].weight


class TestExport:
    @pytest.fixture(autouse=True)
    def _can_export(self):
        for name in ("onnx", "onnxscript", "onnxruntime"):
            pytest.importorskip(name)
        if tuple(map(int, torch.__version__.split(".")[:2])) < (2, 13):
            pytest.skip("needs torch 2.13")

    @pytest.mark.parametrize(
        ("n_channels", "dtype", "params"),
        [
            (None, np.float64, {}),
            (3, np.float32, {"frequency_axis": "keep"}),
            (2, np.float64, {"data_format": "channels_last"}),
        ],
        ids=["univariate", "multivariate", "channels_last"],
    )
    def test_onnxruntime_gets_equal_tokens(self, tmp_path, n_channels, dtype, params):
        import onnxruntime

        X, _ = make_series(n=60, n_channels=n_channels, dtype=dtype)
        if params.get("data_format"):
            X = X.swapaxes(1, 2).copy()
        transformer = tiny_transformer(**params).fit(X)
        export_tokenizer(transformer, tmp_path / "tokenizer.onnx")
        assert [path.name for path in tmp_path.iterdir()] == ["tokenizer.onnx"]
        session = onnxruntime.InferenceSession(tmp_path / "tokenizer.onnx")
        for n in (1, 2, 60):
            (tokens,) = session.run(["tokens"], {"series": X[:n]})
            np.testing.assert_array_equal(tokens, transformer.tokenize(X[:n]))
        assert transformer.module_.ssl is not None

    def test_unfitted_is_refused(self, tmp_path):
        with pytest.raises(NotFittedError):
            export_tokenizer(NCVQVAETransformer(), tmp_path / "tokenizer.onnx")

    def test_what_it_needs_is_named(self, fitted, tmp_path, monkeypatch):
        monkeypatch.setitem(sys.modules, "onnx", None)
        with pytest.raises(ImportError, match=r"skncvqvae\[onnx\]"):
            export_tokenizer(fitted, tmp_path / "tokenizer.onnx")
        monkeypatch.undo()
        monkeypatch.setattr(torch, "__version__", "2.4.1")
        with pytest.raises(ImportError, match=r"torch 2\.13"):
            export_tokenizer(fitted, tmp_path / "tokenizer.onnx")


@pytest.mark.parametrize("path", [None, 3, "", b"model", ["model"], "a\0b"])
def test_what_is_no_path_is_refused_by_name(path):
    for call in (lambda: load(path), lambda: save(tiny_transformer(), path)):
        with pytest.raises((TypeError, ValueError), match=r"path must be|path=.* is no path"):
            call()


def test_a_missing_folder_is_named_in_full(tmp_path):
    path = tmp_path / "missing" / "model"
    with pytest.raises(FileNotFoundError, match=r"missing, where .*missing/model is to be"):
        save(tiny_transformer(), path)
