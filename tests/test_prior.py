"""The priors as estimators over tokens, without a tokenizer."""

import copy
import itertools
import pickle
from collections import Counter

import joblib
import numpy as np
import pandas as pd
import pytest
import torch
from helpers import TINY_PRIOR, make_prior_module, tiny_prior
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn.base import clone
from sklearn.exceptions import NotFittedError
from sklearn.model_selection import GridSearchCV
from skorch.callbacks import Callback

from skncvqvae import AutoregressiveTokenPrior, MaskedTokenPrior, load, save
from skncvqvae._tokens import Band, TokenLayout
from skncvqvae.nn.autoregressive_prior import AutoregressivePrior
from skncvqvae.nn.masked_prior import MaskedPrior
from skncvqvae.samplers import MASKED, Autoregressive, MaskGIT

PRIORS = [MaskedTokenPrior, AutoregressiveTokenPrior]
N_CODES, N_TOKENS = 5, 8

each_prior = pytest.mark.parametrize("cls", PRIORS)


def make_tokens(n=60, seed=0, names=("slow", "fast")):
    """Return rows that count up by one or by two, after a class, with a few tokens at random."""
    rng = np.random.default_rng(seed)
    kind = np.arange(n) % 2
    tokens = (rng.integers(N_CODES, size=(n, 1)) + (1 + kind[:, None]) * np.arange(N_TOKENS)) % 5
    noisy = rng.random(tokens.shape) < 0.1
    return np.where(noisy, rng.integers(N_CODES, size=tokens.shape), tokens), np.array(names)[kind]


def counts_up(tokens, by):
    """Return the share of steps along rows that go up by this much."""
    return np.mean(np.diff(tokens, axis=1) % N_CODES == by)


@pytest.fixture(scope="module")
def data():
    return make_tokens()


@pytest.fixture(scope="module", params=PRIORS, ids=lambda cls: cls.__name__)
def fitted(request, data):
    """Return a fitted prior of each kind; tests must not change it."""
    return tiny_prior(request.param, random_state=0).fit(*data)


@pytest.fixture(scope="module", params=PRIORS, ids=lambda cls: cls.__name__)
def trained(request):
    """Return a prior of each kind that has learnt; tests must not change it."""
    params = {"max_epochs": 100, "hidden_dim": 32, "lr": 1e-2, "dropout": 0.0, "random_state": 0}
    return tiny_prior(request.param, **params).fit(*make_tokens(400))


class TestFit:
    def test_learnt_attributes(self, fitted):
        assert fitted.classes_.tolist() == ["fast", "slow"]
        np.testing.assert_allclose(fitted.class_prior_, [0.5, 0.5])
        assert fitted.n_iter_ == len(fitted.history_) == TINY_PRIOR["max_epochs"]
        assert fitted.history_[-1]["train_loss"] > 0
        assert (fitted.layout_.n_tokens, fitted.layout_.n_codes) == (N_TOKENS, N_CODES)
        assert fitted.n_features_in_ == N_TOKENS
        assert isinstance(fitted.module_, torch.nn.Module) and not fitted.module_.training
        assert fitted.module_.config.n_classes == 2

    def test_learns_the_classes(self, trained):
        assert trained.history_[-1]["train_loss"] < 0.85 * trained.history_[0]["train_loss"]
        for name, by in [("slow", 1), ("fast", 2)]:
            tokens, _ = trained.sample(200, name, random_state=0)
            # By chance it is 0.2, in the data 0.8.
            assert counts_up(tokens, by) > 0.35 > 0.25 > counts_up(tokens, 3 - by)
        tokens, y = make_tokens(seed=1)
        assert trained.score(tokens, y) > trained.score(tokens, y[::-1]) + 1
        shuffled = np.random.default_rng(0).permuted(tokens, axis=1)
        assert trained.score(tokens, y) > trained.score(shuffled, y) + 1

    @each_prior
    @pytest.mark.parametrize(
        "labels", [["x", "y"], [3, 7], [True, False], [-1.0, 1.0], pd.Series(["x", "y"])]
    )
    def test_labels_of_any_dtype(self, data, cls, labels):
        tokens, _ = data
        y = np.asarray(labels)[np.arange(len(tokens)) % 2]
        prior = tiny_prior(cls, max_epochs=1).fit(tokens, y)
        np.testing.assert_array_equal(prior.classes_, np.unique(y))
        drawn, y_new = prior.sample(3, y=labels[1])
        assert drawn.shape == (3, N_TOKENS) and (y_new == labels[1]).all()
        assert y_new.dtype == prior.classes_.dtype

    @each_prior
    def test_without_labels(self, data, cls):
        prior = tiny_prior(cls).fit(data[0])
        tokens, y = prior.sample(3)
        assert tokens.shape == (3, N_TOKENS) and y is None
        assert prior.classes_ is None and prior.class_prior_ is None
        np.testing.assert_array_equal(
            prior.score_samples(*data), prior.score_samples(data[0], None)
        )
        with pytest.raises(ValueError, match="the fit had no labels"):
            prior.sample(3, y="slow")

    @each_prior
    def test_same_random_state_same_fit_and_global_state_untouched(self, data, cls):
        torch.manual_seed(5)
        np.random.seed(5)
        torch_state, numpy_state = torch.get_rng_state(), np.random.get_state()[1].copy()
        first, again = (tiny_prior(cls, random_state=3).fit(*data) for _ in range(2))
        np.testing.assert_array_equal(first.sample(9)[0], again.sample(9)[0])
        np.testing.assert_array_equal(first.score_samples(*data), again.score_samples(*data))
        other = tiny_prior(cls, random_state=4).fit(*data)
        assert not np.array_equal(first.score_samples(*data), other.score_samples(*data))
        assert torch.equal(torch_state, torch.get_rng_state())
        np.testing.assert_array_equal(numpy_state, np.random.get_state()[1])

    @each_prior
    def test_default_dtype_of_torch_does_not_matter(self, data, cls):
        torch.set_default_dtype(torch.float64)
        try:
            prior = tiny_prior(cls).fit(*data)
            assert np.isin(prior.sample(9)[0], np.arange(N_CODES)).all()
            assert np.isfinite(prior.score(*data))
        finally:
            torch.set_default_dtype(torch.float32)
        assert all(p.dtype == torch.float32 for p in prior.module_.parameters())

    @each_prior
    def test_takes_lists_and_frames(self, data, cls):
        tokens, y = data
        expected = tiny_prior(cls, random_state=0).fit(tokens, y).score_samples(tokens, y)
        for same in (tokens.tolist(), pd.DataFrame(tokens), tokens.astype(float)):
            prior = tiny_prior(cls, random_state=0).fit(same, list(y))
            np.testing.assert_array_equal(prior.score_samples(same, list(y)), expected)

    @each_prior
    @pytest.mark.parametrize(
        ("change", "message"),
        [
            (lambda tokens, y: (tokens + 0.5, y), r"tokens hold \d\.5"),
            (lambda tokens, y: (tokens - 1, y), "tokens hold -1"),
            (lambda tokens, y: (np.where(tokens == 0, np.nan, tokens), y), "NaN"),
            (lambda tokens, y: (tokens[:, 0], y), "2D array"),
            (lambda tokens, y: (tokens, y[:-1]), "y holds 59 labels, but there are 60 series"),
            (lambda tokens, y: (tokens, np.linspace(0, 1, 60)), "continuous"),
        ],
    )
    def test_refuses_wrong_data_and_keeps_the_fit(self, data, cls, change, message):
        prior = tiny_prior(cls, random_state=0).fit(*data)
        before = prior.score_samples(*data)
        with pytest.raises(ValueError, match=message):
            prior.fit(*change(*data))
        np.testing.assert_array_equal(prior.score_samples(*data), before)

    @each_prior
    @pytest.mark.parametrize(
        ("name", "value"),
        [
            ("hidden_dim", 0),
            ("n_layers", 0),
            ("dropout", 1.0),
            ("p_unconditional", 1.5),
            ("max_epochs", 0),
            ("lr", 0),
            ("lr_schedule", "linear"),
            ("callbacks", "all"),
        ],
    )
    def test_wrong_parameters_are_named(self, data, cls, name, value):
        prior = tiny_prior(cls, **{name: value})
        for check in (prior.check_params, lambda: prior.fit(*data)):
            with pytest.raises(ValueError, match=f"'{name}' parameter of {cls.__name__}"):
                check()

    @each_prior
    def test_what_is_no_callback_is_named(self, data, cls):
        prior = tiny_prior(cls, callbacks=["x"])
        for check in (prior.check_params, lambda: prior.fit(*data)):
            with pytest.raises(TypeError, match="callbacks holds 'x'"):
                check()

    @each_prior
    def test_wrong_device(self, data, cls):
        with pytest.raises(ValueError, match="device='nowhere'"):
            tiny_prior(cls, device="nowhere").fit(*data)

    @each_prior
    def test_divergence_is_reported_and_keeps_the_fit(self, data, cls):
        prior = tiny_prior(cls, random_state=0).fit(*data)
        before = prior.score_samples(*data)
        with pytest.raises(FloatingPointError, match=r"prior. Lower its lr=1e\+30"):
            prior.set_params(lr=1e30, max_epochs=50).fit(*data)
        np.testing.assert_array_equal(prior.score_samples(*data), before)
        assert prior.n_iter_ == 2

    def test_the_codebook_is_where_embeddings_of_the_masked_prior_start(self, data):
        codebook = 100 + 7 * np.random.default_rng(0).normal(size=(N_CODES, 6))
        prior = tiny_prior(MaskedTokenPrior, max_epochs=1, lr=1e-9).fit(*data, codebook=codebook)
        weight = prior.module_.token_embedding.weight[:N_CODES].detach().numpy()
        expected = (codebook - codebook.mean()) / codebook.std(ddof=1)
        np.testing.assert_allclose(weight, expected, atol=1e-4)
        with pytest.raises(ValueError, match=r"codebook has shape \(4, 6\), but the prior has 5"):
            tiny_prior(MaskedTokenPrior).fit(*data, codebook=codebook[:4])

    def test_copies_teach_the_autoregressive_prior(self, data):
        """Copies of another kind of row are learnt as such, and not drawn."""
        tokens, y = data
        params = {"max_epochs": 60, "hidden_dim": 32, "lr": 1e-2, "random_state": 0}
        copies = np.stack([tokens[:, ::-1], tokens[:, ::-1]], axis=1)
        prior = tiny_prior(AutoregressiveTokenPrior, **params).fit(tokens, y, copies=copies)
        assert prior.module_.config.n_copies == 3
        drawn, _ = prior.sample(200, "slow", random_state=0)
        assert counts_up(drawn, 1) > 2 * counts_up(drawn, -1 % N_CODES)
        # None is as good as no copies.
        none = np.empty((len(tokens), 0, N_TOKENS), int)
        one, other = (
            tiny_prior(AutoregressiveTokenPrior, random_state=0).fit(tokens, y, copies=given)
            for given in (none, None)
        )
        np.testing.assert_array_equal(one.score_samples(tokens), other.score_samples(tokens))

    @pytest.mark.parametrize(
        ("change", "message"),
        [
            (lambda copies: copies[:, 0], r"copies have shape \(60, 8\)"),
            (lambda copies: copies[:-1], r"copies have shape \(59, 2, 8\)"),
            (lambda copies: copies[..., :-1], r"copies have shape \(60, 2, 7\)"),
            (lambda copies: copies + 9, r"tokens hold \d+, which is no code"),
        ],
    )
    def test_wrong_copies(self, data, change, message):
        tokens, y = data
        copies = np.stack([tokens, tokens], axis=1)
        with pytest.raises(ValueError, match=message):
            tiny_prior(AutoregressiveTokenPrior).fit(tokens, y, copies=change(copies))

    @each_prior
    def test_the_vocabulary_ends_with_the_largest_token_unless_there_is_a_layout(self, data, cls):
        prior = tiny_prior(cls, max_epochs=1).fit(*data)
        with pytest.raises(ValueError, match=r"tokens hold 5.*codes 0 to 4"):
            prior.score_samples(data[0] + 1)
        layout = TokenLayout((Band("all", 2, 4, 9),))
        prior = tiny_prior(cls, max_epochs=1).fit(*data, layout=layout)
        assert np.isfinite(prior.score_samples(data[0] + 4)).all()
        with pytest.raises(ValueError, match="tokens have 8 columns"):
            tiny_prior(cls).fit(*data, layout=TokenLayout((Band("all", 1, 9, 9),)))
        # One code alone is a vocabulary of two.
        assert tiny_prior(cls, max_epochs=1).fit(0 * data[0]).sample(2)[0].max() < 2


class TestEstimator:
    @each_prior
    def test_get_set_clone(self, cls):
        prior = cls(hidden_dim=32, lr=0.1)
        assert prior.get_params()["hidden_dim"] == 32
        copy = clone(prior).set_params(n_layers=4)
        assert copy.get_params() == {**prior.get_params(), "n_layers": 4}
        with pytest.raises(ValueError, match="Invalid parameter 'prior_lr'"):
            prior.set_params(prior_lr=1)

    def test_pickles(self, data, fitted, tmp_path):
        joblib.dump(fitted, tmp_path / "prior.joblib")
        for loaded in (pickle.loads(pickle.dumps(fitted)), joblib.load(tmp_path / "prior.joblib")):
            np.testing.assert_array_equal(loaded.sample(9)[0], fitted.sample(9)[0])
            np.testing.assert_array_equal(loaded.score_samples(*data), fitted.score_samples(*data))

    @each_prior
    def test_is_searchable(self, data, cls):
        search = GridSearchCV(tiny_prior(cls, random_state=0), {"max_epochs": [1, 20]}, cv=2)
        search.fit(*data)
        assert search.best_params_ == {"max_epochs": 20}

    @each_prior
    def test_before_fitting(self, data, cls):
        for call in (
            lambda prior: prior.sample(),
            lambda prior: prior.score_samples(data[0]),
            lambda prior: prior.score(*data),
        ):
            with pytest.raises(NotFittedError):
                call(tiny_prior(cls))

    def test_reference_is_the_published_configuration(self, data):
        prior = MaskedTokenPrior.reference(max_epochs=2)
        expected = {
            "hidden_dim": 256,
            "n_layers": 4,
            "n_heads": 2,
            "ff_mult": 1,
            "dropout": 0.0,
            "p_unconditional": 0.2,
            "max_epochs": 2,
            "batch_size": 256,
            "lr": 1e-3,
            "weight_decay": 1e-3,
            "lr_schedule": "cosine",
        }
        assert {name: getattr(prior, name) for name in expected} == expected
        config = prior.set_params(device="cpu").fit(*data).module_.config
        assert (config.hidden_dim, config.n_layers, config.n_heads) == (256, 4, 2)

    @each_prior
    def test_warm_start_continues(self, data, cls):
        tokens, y = data
        prior = tiny_prior(cls, warm_start=True, random_state=0).fit(tokens, y)
        first = prior.score(tokens, y)
        prior.set_params(max_epochs=40).fit(tokens, y)
        assert prior.n_iter_ == 42
        assert [row["epoch"] for row in prior.history_] == list(range(1, 43))
        assert prior.score(tokens, y) > first
        # Fewer tokens than were seen before do not make another vocabulary.
        assert prior.set_params(max_epochs=1).fit(tokens % 3, y).layout_.n_codes == N_CODES

    @pytest.mark.parametrize(("before", "after"), [(4, 1), (1, 4), (0, 3), (3, 0)])
    def test_warm_start_takes_as_many_copies_as_there_are_places_for(self, data, before, after):
        tokens, y = data
        copies = np.stack([np.roll(tokens, i, axis=1) for i in range(5)], axis=1)
        prior = tiny_prior(AutoregressiveTokenPrior, warm_start=True, random_state=0)
        prior.fit(tokens, y, copies=copies[:, :before])
        more = np.concatenate([tokens, tokens])
        copies = np.concatenate([copies, copies])
        prior.fit(more, np.concatenate([y, y]), copies=copies[:, :after])
        assert prior.n_iter_ == 4 and prior.module_.config.n_copies == before + 1
        assert np.isfinite(prior.score(tokens, y))

    @each_prior
    @pytest.mark.parametrize(
        ("params", "change", "message"),
        [
            ({"n_layers": 2}, lambda tokens, y: (tokens, y), r"n_layers \(1 to 2\)"),
            (
                {},
                lambda tokens, y: (tokens, np.char.add(y[::-1].astype(str), "er")),
                "warm_start=True.*classes_",
            ),
            ({}, lambda tokens, y: (tokens, None), "warm_start=True.*classes_"),
            ({}, lambda tokens, y: (tokens + 1, y), "tokens hold 5"),
            ({}, lambda tokens, y: (tokens[:, :-1], y), "7 features"),
        ],
    )
    def test_warm_start_refuses_another_model(self, data, cls, params, change, message):
        prior = tiny_prior(cls, warm_start=True, random_state=0).fit(*data)
        before = prior.score_samples(*data)
        with pytest.raises(ValueError, match=message):
            prior.set_params(**params).fit(*change(*data))
        np.testing.assert_array_equal(prior.score_samples(*data), before)

    @each_prior
    def test_early_stopping(self, data, cls):
        prior = tiny_prior(
            cls,
            max_epochs=100,
            early_stopping=True,
            n_iter_no_change=2,
            lr=0.05,
            lr_schedule="constant",
            random_state=0,
        ).fit(*data)
        assert len(prior.history_) < 100 and "valid_loss" in prior.history_[-1]

    @each_prior
    def test_mixed_precision_learns_as_well(self, data, cls):
        losses, samples, dtypes = [], [], set()
        for mixed in (False, True):
            prior = tiny_prior(cls, max_epochs=30, mixed_precision=mixed, random_state=0)
            prior.fit(*data)
            assert all(p.dtype == torch.float32 for p in prior.module_.parameters())
            losses.append(prior.history_[-1]["train_loss"])
            samples.append(prior.sample(20)[0])
            dtypes.clear()
            last = prior.module_.blocks[-1].ff
            last.register_forward_hook(lambda *args: dtypes.add(args[2].dtype))
            prior.sample(2)
            assert dtypes == {torch.bfloat16 if mixed else torch.float32}
            # Likelihoods are exact in either case.
            dtypes.clear()
            prior.score(*data)
            assert dtypes == {torch.float32}
        full, mixed = losses
        assert full != mixed and mixed == pytest.approx(full, rel=0.2)
        assert np.isin(samples, np.arange(N_CODES)).all()


class TestSample:
    def test_classes_are_drawn_in_training_proportions(self):
        tokens, _ = make_tokens(40)
        y = np.array(["rare"] * 4 + ["common"] * 36)
        prior = tiny_prior().fit(tokens, y)
        np.testing.assert_allclose(prior.class_prior_, [0.9, 0.1])
        counts = Counter(prior.sample(1000, random_state=0)[1])
        # Five standard deviations of a binomial draw.
        assert abs(counts["rare"] - 100) < 5 * np.sqrt(1000 * 0.1 * 0.9)

    def test_labels(self, fitted):
        tokens, y = fitted.sample(4, y="slow")
        assert tokens.shape == (4, N_TOKENS) and y.tolist() == ["slow"] * 4
        assert tokens.dtype == np.int64 and np.isin(tokens, np.arange(N_CODES)).all()
        assert fitted.sample(y=["fast", "slow"])[1].tolist() == ["fast", "slow"]
        assert len(fitted.sample()[0]) == 1

    def test_random_state(self, fitted):
        first, again = fitted.sample(9, random_state=3), fitted.sample(9, random_state=3)
        np.testing.assert_array_equal(first[0], again[0])
        np.testing.assert_array_equal(first[1], again[1])
        assert not np.array_equal(first[0], fitted.sample(9, random_state=4)[0])
        np.testing.assert_array_equal(fitted.sample(9)[0], fitted.sample(9)[0])
        rng = np.random.RandomState(0)
        assert not np.array_equal(
            fitted.sample(9, random_state=rng)[0], fitted.sample(9, random_state=rng)[0]
        )

    def test_sampler_and_its_parameters(self, fitted):
        plain = fitted.sample(50, random_state=0)[0]
        sampler = fitted.default_sampler()
        np.testing.assert_array_equal(fitted.sample(50, sampler=sampler, random_state=0)[0], plain)
        changed = fitted.sample(50, temperature=0.1, random_state=0)[0]
        assert not np.array_equal(changed, plain)
        sampler.set_params(temperature=5.0)
        overridden = fitted.sample(50, sampler=sampler, temperature=0.1, random_state=0)[0]
        np.testing.assert_array_equal(overridden, changed)
        # The sampler that was handed in is left as it was.
        assert sampler.temperature == 5.0

    @pytest.mark.parametrize(
        ("arguments", "message"),
        [
            ({"y": "medium"}, r"\['medium'\], not seen in fit.*fast"),
            ({"y": []}, "y is empty"),
            ({"n_samples": 0}, "n_samples"),
            ({"n_samples": 5, "y": ["slow", "fast"]}, "n_samples=5 contradicts"),
            ({"temperature": 0}, "temperature"),
            ({"temprature": 1}, "Invalid parameter 'temprature'"),
            ({"tokens": np.zeros((2, 7), int)}, "tokens have 7 columns"),
            ({"tokens": np.full((2, 8), 9)}, "tokens hold 9"),
            ({"tokens": np.full((2, 8), -2)}, "tokens hold -2"),
            ({"tokens": np.triu(np.full((2, 8), MASKED))}, "Mask as many in each row"),
            ({"tokens": np.full((2, 8), MASKED), "y": ["slow"]}, "y holds 1 labels"),
        ],
    )
    def test_wrong_arguments(self, fitted, arguments, message):
        with pytest.raises(ValueError, match=message):
            fitted.sample(**arguments)

    def test_sampler_of_another_prior(self, fitted):
        wrong = MaskGIT if isinstance(fitted, AutoregressiveTokenPrior) else Autoregressive
        with pytest.raises(TypeError, match=rf"{wrong.__name__}\(.*\) draws from"):
            fitted.sample(2, sampler=wrong())

    def test_completes_rows_and_keeps_the_given_tokens(self, data, fitted):
        tokens, y = data
        masked = np.random.default_rng(0).permuted(np.tile(np.arange(8) < 3, (60, 1)), axis=1)
        rows = np.where(masked, MASKED, tokens)
        completed, y_new = fitted.sample(tokens=rows, y=y, random_state=0)
        np.testing.assert_array_equal(completed[~masked], tokens[~masked])
        assert np.isin(completed, np.arange(N_CODES)).all()
        np.testing.assert_array_equal(y_new, y)
        completed, y_new = fitted.sample(tokens=rows)
        assert completed.shape == tokens.shape and y_new is None
        # Nothing to draw, nothing changed.
        np.testing.assert_array_equal(fitted.sample(tokens=tokens, y=y)[0], tokens)

    def test_completed_rows_fit_what_is_given(self, trained):
        tokens, y = make_tokens(200, seed=1)
        rows = tokens.copy()
        rows[:, 4:] = MASKED
        completed, _ = trained.sample(tokens=rows, y=y, random_state=0)
        # The step from the last given token to the first drawn one.
        step = np.diff(completed, axis=1)[:, 3] % N_CODES
        assert np.mean(step == np.where(y == "slow", 1, 2)) > 0.4

    def test_samples_do_not_depend_on_the_batches_of_the_training(self, fitted):
        drawn = [
            pickle.loads(pickle.dumps(fitted)).set_params(batch_size=size).sample(300)[0]
            for size in (64, 1000)
        ]
        np.testing.assert_array_equal(*drawn)

    def test_no_guidance_ignores_the_class(self, trained):
        first, second = (
            trained.sample(50, name, guidance_scale=0, random_state=0)[0]
            for name in ("slow", "fast")
        )
        np.testing.assert_array_equal(first, second)


class TestScore:
    def test_does_not_depend_on_the_batch(self, data, fitted):
        tokens, y = data
        one_by_one = [
            fitted.score_samples(tokens[i : i + 1], y[i : i + 1])[0] for i in range(len(tokens))
        ]
        np.testing.assert_allclose(fitted.score_samples(tokens, y), one_by_one, rtol=1e-5)
        assert fitted.score(tokens, y) == pytest.approx(np.mean(one_by_one), rel=1e-5)

    def test_of_the_class_and_of_none(self, data, fitted):
        tokens, y = data
        assert not np.allclose(fitted.score_samples(tokens, y), fitted.score_samples(tokens))
        with pytest.raises(ValueError, match="not seen in fit"):
            fitted.score_samples(tokens, ["medium"] * 60)
        with pytest.raises(ValueError, match="y holds 2 labels, but there are 60 series"):
            fitted.score_samples(tokens, ["slow", "fast"])
        with pytest.raises(ValueError, match="tokens hold -1"):
            fitted.score_samples(tokens - 1)

    def test_of_the_masked_prior_is_the_pseudo_log_likelihood(self, data):
        prior = tiny_prior(MaskedTokenPrior, random_state=0).fit(*data)
        tokens = torch.tensor(data[0][:3])
        expected = np.zeros(3)
        for i, position in itertools.product(range(3), range(N_TOKENS)):
            label = torch.tensor([prior.classes_.tolist().index(data[1][i])])
            masked = tokens[i : i + 1].clone()
            masked[0, position] = MASKED
            with torch.no_grad():
                log_p = prior.module_(masked, label, masked == MASKED)[0].log_softmax(-1)
            expected[i] += log_p[tokens[i, position]]
        np.testing.assert_allclose(
            prior.score_samples(data[0][:3], data[1][:3]), expected, rtol=1e-5
        )

    @pytest.mark.parametrize("label", ["slow", None])
    def test_of_the_autoregressive_prior_sums_to_one_over_all_rows(self, label):
        rng = np.random.default_rng(0)
        y = rng.choice(["slow", "fast"], 50)
        prior = tiny_prior(AutoregressiveTokenPrior, max_epochs=40, lr=1e-2, random_state=0)
        prior.fit(np.where(rng.random((50, 4)) < 0.7, 2, rng.integers(3, size=(50, 4))), y)
        rows = np.array(list(itertools.product(range(3), repeat=4)))
        log_p = prior.score_samples(rows, None if label is None else [label] * len(rows))
        assert np.exp(log_p).sum() == pytest.approx(1, rel=1e-6)
        # It has learnt something: rows are not all alike.
        assert np.ptp(log_p) > 1

    def test_of_the_autoregressive_prior_nears_the_entropy(self):
        """Rows of a chain whose likelihood is known: the prior's must come close to it."""
        rng = np.random.default_rng(0)
        transition = np.array([[0.7, 0.2, 0.1], [0.1, 0.7, 0.2], [0.2, 0.1, 0.7]])

        def chains(n):
            tokens = np.empty((n, 6), int)
            tokens[:, 0] = rng.integers(3, size=n)
            for step in range(1, 6):
                uniform = rng.random((n, 1))
                tokens[:, step] = (
                    uniform > transition[tokens[:, step - 1]].cumsum(1)[:, :-1]
                ).sum(1)
            return tokens

        prior = tiny_prior(AutoregressiveTokenPrior, max_epochs=30, lr=1e-2, random_state=0)
        prior.fit(chains(1000))
        tokens = chains(1000)
        exact = np.log(1 / 3) + np.log(transition[tokens[:, :-1], tokens[:, 1:]]).sum(1)
        # No model is better than the chain itself, on average; this one is little worse.
        gap = exact.mean() - prior.score(tokens)
        assert -0.05 < gap < 0.15
        assert np.corrcoef(exact, prior.score_samples(tokens))[0, 1] > 0.95


TWO_BANDS = TokenLayout((Band("low", 1, 3, 4), Band("high", 2, 4, 6)))


class TestTwoBands:
    """A prior over the tokens of two bands, whose codes are of one vocabulary."""

    @pytest.fixture(scope="class")
    @classmethod
    def tokens(cls):
        rng = np.random.default_rng(0)
        return np.hstack([rng.integers(4, size=(60, 3)), rng.integers(4, 10, size=(60, 8))])

    @each_prior
    @pytest.mark.parametrize("temperature", [1.0, 20.0])
    def test_draws_codes_of_the_band_only(self, tokens, cls, temperature):
        y = np.arange(60) % 2
        prior = tiny_prior(cls, max_epochs=1, random_state=0).fit(tokens, y, layout=TWO_BANDS)
        for guidance_scale in (1.0, 3.0):
            drawn, _ = prior.sample(
                300, temperature=temperature, guidance_scale=guidance_scale, random_state=0
            )
            assert TWO_BANDS.allowed[np.arange(11), drawn].all()
            assert len(np.unique(drawn)) == 10

    def test_likelihood_sums_to_one_over_the_rows_that_there_are(self):
        layout = TokenLayout((Band("low", 1, 1, 2), Band("high", 1, 2, 3)))
        rows = np.array(list(itertools.product(range(2), range(2, 5), range(2, 5))))
        prior = tiny_prior(AutoregressiveTokenPrior, random_state=0)
        log_p = prior.fit(rows, layout=layout).score_samples(rows)
        assert np.exp(log_p).sum() == pytest.approx(1, rel=1e-6)

    @each_prior
    def test_pickles(self, tokens, cls):
        prior = tiny_prior(cls, max_epochs=1, random_state=0).fit(tokens, layout=TWO_BANDS)
        loaded = pickle.loads(pickle.dumps(prior))
        assert loaded.layout_ == TWO_BANDS
        np.testing.assert_array_equal(loaded.sample(9)[0], prior.sample(9)[0])


class TestCausality:
    """The autoregressive module: what sees what, and the cache."""

    @settings(max_examples=20)
    @given(position=st.integers(0, 6), n_layers=st.integers(1, 3), seed=st.integers(0, 99))
    def test_a_later_token_does_not_change_earlier_logits(self, position, n_layers, seed):
        prior = make_prior_module(AutoregressivePrior, n_layers=n_layers, seed=seed)
        tokens, labels = torch.randint(5, (4, 7)), torch.randint(3, (4,))
        other = tokens.clone()
        other[:, position] = (other[:, position] + 1) % 5
        with torch.no_grad():
            before, after = prior(tokens, labels), prior(other, labels)
        torch.testing.assert_close(before[:, : position + 1], after[:, : position + 1])
        # But it does change those that come after it.
        if position < 6:
            assert (before[:, position + 1] - after[:, position + 1]).abs().amin(0).max() > 1e-4

    def test_the_masked_prior_sees_both_ways(self):
        prior, labels = make_prior_module(MaskedPrior), torch.tensor([0])
        tokens = torch.zeros(1, 7, dtype=torch.long)
        other = tokens.clone()
        other[0, 6] = 1
        wanted = torch.zeros(1, 7, dtype=torch.bool)
        wanted[0, 0] = True
        assert not torch.allclose(prior(tokens, labels, wanted), prior(other, labels, wanted))

    @pytest.mark.parametrize("n_layers", [1, 3])
    @pytest.mark.parametrize("n_heads", [1, 2])
    def test_steps_with_a_cache_are_the_full_pass(self, n_layers, n_heads):
        prior = make_prior_module(AutoregressivePrior, n_layers=n_layers, n_heads=n_heads)
        tokens, labels = torch.randint(5, (4, 7)), torch.tensor([0, 1, 2, 0])
        with torch.no_grad():
            expected = prior(tokens, labels)
            drawing = prior.start(labels)
            for position in range(7):
                previous = tokens[:, position - 1] if position else None
                logits = prior.step(drawing, previous)
                torch.testing.assert_close(logits, expected[:, position], atol=1e-5, rtol=1e-4)

    def test_the_cache_in_bfloat16_is_near_the_full_pass(self):
        prior = make_prior_module(AutoregressivePrior, n_layers=2)
        tokens, labels = torch.randint(5, (4, 7)), torch.tensor([0, 1, 2, 0])
        with torch.no_grad():
            exact = prior(tokens, labels)
            with torch.autocast("cpu", torch.bfloat16):
                whole, drawing = prior(tokens, labels).float(), prior.start(labels)
                steps = torch.stack(
                    [
                        prior.step(drawing, tokens[:, k - 1] if k else None).float()
                        for k in range(7)
                    ],
                    dim=1,
                )
        assert not torch.equal(whole, exact)
        torch.testing.assert_close(whole, exact, atol=0.1, rtol=0.1)
        torch.testing.assert_close(steps, exact, atol=0.1, rtol=0.1)

    def test_loss_and_gradients_are_those_of_the_formula(self):
        prior = make_prior_module(AutoregressivePrior).double()
        tokens, labels = torch.randint(5, (20, 7)), torch.randint(3, (20,))
        loss = prior.loss(tokens, labels)
        total = 0
        for position in range(7):
            # Only what comes before the token is handed in.
            given_tokens = torch.cat(
                [tokens[:, :position], torch.zeros(20, 7 - position, dtype=torch.long)], dim=1
            )
            logits = prior(given_tokens, labels)[:, position]
            log_p = logits - logits.exp().sum(-1, keepdim=True).log()
            total = total - log_p[torch.arange(20), tokens[:, position]].mean() / 7
        torch.testing.assert_close(loss, total)
        parameters = [p for p in prior.parameters() if p.requires_grad]
        gradients = [
            torch.autograd.grad(value, parameters, allow_unused=True) for value in (loss, total)
        ]
        for ours, theirs in zip(*gradients, strict=True):
            torch.testing.assert_close(ours, theirs)

    @pytest.mark.parametrize("module", [MaskedPrior, AutoregressivePrior])
    def test_the_class_is_dropped_in_training_only(self, module):
        prior = make_prior_module(module, p_unconditional=0.3)
        name = "forward" if module is MaskedPrior else "logits_by_turn"
        seen, method = [], getattr(prior, name)
        setattr(prior, name, lambda *inputs: seen.append(inputs[1]) or method(*inputs))
        tokens, labels = torch.randint(5, (2000, 7)), torch.randint(2, (2000,))
        for training in (False, True):
            prior.train(training).loss(tokens, labels, torch.Generator().manual_seed(0))
        assert torch.equal(seen[0], labels)
        dropped = seen[1] == 2
        assert torch.equal(seen[1][~dropped], labels[~dropped])
        assert dropped.float().mean().item() == pytest.approx(0.3, abs=0.05)


@pytest.fixture(scope="module")
def tokens():
    return np.random.default_rng(0).integers(4, size=(24, 6))


@pytest.fixture(scope="module")
def prior(tokens):
    y = np.arange(24) % 2
    return tiny_prior(max_epochs=40, earlier=0.5, random_state=0).fit(tokens, y)


class TestEarlier:
    """The copy of the autoregressive prior from an earlier time of its training."""

    @pytest.mark.parametrize("average_decay", [0.0, 0.9])
    def test_it_is_what_a_shorter_training_ends_with(self, tokens, average_decay):
        params = {"average_decay": average_decay, "batch_size": 8, "random_state": 0}
        long = tiny_prior(max_epochs=8, earlier=0.25, **params).fit(tokens)
        short = tiny_prior(max_epochs=2, earlier=0.0, **params).fit(tokens)
        earlier = long.module_.earlier_prior()
        for ours, theirs in zip(earlier.parameters(), short.module_.parameters(), strict=True):
            torch.testing.assert_close(ours, theirs, rtol=0, atol=0)

    def test_none_is_kept_at_0(self, tokens):
        prior = tiny_prior(earlier=0.0).fit(tokens)
        assert not prior.module_.has_earlier
        with pytest.raises(ValueError, match="no earlier weights"):
            prior.module_.earlier_prior()
        # Without classes and a weaker prior there is nothing to lead away from.
        drawn = [
            prior.sample(9, guidance_scale=scale, random_state=0)[0].tolist() for scale in (1, 5)
        ]
        assert drawn[0] == drawn[1]

    def test_samples_are_led_away_from_it(self, prior):
        weaker = copy.copy(prior)
        weaker.module_ = prior.module_.earlier_prior()
        params = {"n_samples": 30, "guidance_scale": 4.0, "random_state": 0}
        ours = prior.sample(**params)[0]
        np.testing.assert_array_equal(ours, prior.sample(weaker=weaker, **params)[0])
        from_no_class = prior.sample(weaker=None, **params)[0]
        assert (ours != from_no_class).any()

    def test_below_1_the_class_is_ignored_as_without_it(self, prior):
        params = {"n_samples": 30, "guidance_scale": 0.0, "random_state": 0}
        ours, without = prior.sample(**params)[0], prior.sample(weaker=None, **params)[0]
        np.testing.assert_array_equal(ours, without)

    def test_a_warm_start_keeps_it(self, prior, tokens):
        y = np.arange(24) % 2
        longer = copy.copy(prior).set_params(warm_start=True, max_epochs=4).fit(tokens, y)
        assert torch.equal(longer.module_.earlier, prior.module_.earlier)

    def test_it_survives_storing(self, prior, tmp_path):
        save(prior, tmp_path / "model")
        expected = prior.sample(20, guidance_scale=3, random_state=0)[0]
        for loaded in (load(tmp_path / "model"), pickle.loads(pickle.dumps(prior))):
            assert torch.equal(loaded.module_.earlier, prior.module_.earlier)
            drawn = loaded.sample(20, guidance_scale=3, random_state=0)[0]
            np.testing.assert_array_equal(drawn, expected)

    @pytest.mark.parametrize("stopped_after", [3, 9])
    def test_a_training_that_goes_on_keeps_it(self, tokens, tmp_path, stopped_after):
        class Stop(Callback):
            n_batches = 0

            def on_batch_end(self, net, training=None, **kwargs):
                self.n_batches += training
                if self.n_batches == stopped_after:
                    raise RuntimeError("stopped")

        params = {"max_epochs": 6, "batch_size": 12, "earlier": 0.5, "random_state": 0}
        whole = tiny_prior(**params).fit(tokens)
        kept = {"checkpoint_dir": tmp_path, "checkpoint_every": 0}
        with pytest.raises(RuntimeError, match="stopped"):
            tiny_prior(callbacks=[Stop()], **params, **kept).fit(tokens)
        resumed = tiny_prior(**params, **kept).fit(tokens)
        assert torch.equal(resumed.module_.earlier, whole.module_.earlier)
