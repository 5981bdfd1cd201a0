import copy
import pickle
import tracemalloc
import warnings
from collections import Counter

import numpy as np
import pandas as pd
import polars as pl
import pytest
import torch
from helpers import (
    make_series,
    record_work,
    times_seen,
    tiny_generator,
    tiny_prior,
    tiny_transformer,
)
from imblearn.pipeline import make_pipeline as make_imblearn_pipeline
from sklearn.base import BaseEstimator, clone
from sklearn.exceptions import NotFittedError
from sklearn.frozen import FrozenEstimator
from sklearn.linear_model import LogisticRegression
from sklearn.model_selection import GridSearchCV, cross_val_score
from sklearn.pipeline import Pipeline
from sklearn.utils import check_random_state

from skncvqvae import (
    AutoregressiveTokenPrior,
    CopyingWarning,
    MaskedTokenPrior,
    NCVQVAEGenerator,
    load,
    save,
)
from skncvqvae.metrics import copying_test
from skncvqvae.samplers import MASKED, Autoregressive, MaskGIT


@pytest.fixture(scope="module")
def masked(series):
    """Return a generator with the masked prior; tests must not change it."""
    X, y = series
    return tiny_generator(prior=tiny_prior(MaskedTokenPrior)).fit(X, np.array(["slow", "fast"])[y])


def test_sample_returns_units_layout_and_labels(series, generator):
    X, _ = series
    X_new, y_new = generator.sample(30)
    assert X_new.shape == (30, X.shape[1]) and X_new.dtype == X.dtype
    assert set(y_new) <= {"slow", "fast"} and y_new.shape == (30,)
    # The data lie around 50 with a standard deviation of about 5.
    assert abs(X_new.mean() - 50) < 5


def test_what_is_done_to_decoded_series_is_chosen_unless_told(series, generator):
    assert generator.observation_noise == generator.match_moments == "auto"
    chosen = generator.finish_
    assert chosen.noise_scale in (0, 0.5, 1) and chosen.match_moments in (True, False)
    expected = generator.sample(5, observation_noise=chosen.noise_scale, random_state=0)[0]
    np.testing.assert_array_equal(generator.sample(5, random_state=0)[0], expected)
    rough = generator.sample(5, observation_noise=5.0, random_state=0)[0]
    assert np.abs(np.diff(rough)).mean() > np.abs(np.diff(expected)).mean()
    told = pickle.loads(pickle.dumps(generator)).set_params(observation_noise=5.0)
    np.testing.assert_array_equal(told.sample(5, random_state=0)[0], rough)
    automatic = told.sample(5, observation_noise="auto", random_state=0)[0]
    np.testing.assert_array_equal(automatic, expected)


@pytest.mark.parametrize(
    "labels",
    [["x", "y"], [3, 7], [True, False], [-1.0, 1.0], np.array(["x", "y"], dtype=object)],
)
def test_labels_of_any_dtype(series, labels):
    X, index = series
    y = np.asarray(labels)[index]
    model = tiny_generator().fit(X, y)
    np.testing.assert_array_equal(model.classes_, np.unique(y))
    _, y_new = model.sample(6)
    assert y_new.dtype == model.classes_.dtype
    _, y_new = model.sample(4, y=labels[0])
    assert (y_new == labels[0]).all() and len(y_new) == 4
    _, y_new = model.sample(y=[labels[1], labels[0], labels[1]])
    assert y_new.tolist() == [labels[1], labels[0], labels[1]]


def test_classes_are_drawn_in_training_proportions():
    X, _ = make_series(40)
    y = np.array(["rare"] * 4 + ["common"] * 36)
    model = tiny_generator().fit(X, y)
    np.testing.assert_allclose(model.class_prior_, [0.9, 0.1])
    counts = Counter(model.sample(1000)[1])
    # Five standard deviations of a binomial draw.
    assert abs(counts["rare"] - 100) < 5 * np.sqrt(1000 * 0.1 * 0.9)


def test_without_labels(series):
    X, y = series
    model = tiny_generator().fit(X)
    X_new, y_new = model.sample(3)
    assert X_new.shape == (3, X.shape[1]) and y_new is None
    assert model.classes_ is None
    assert np.isfinite(model.score(X)) and np.isfinite(model.score(X, y))
    with pytest.raises(ValueError, match="the fit had no labels"):
        model.sample(3, y=1)


def test_random_state_of_sample(series, generator):
    first = generator.sample(5, random_state=3)
    again = generator.sample(5, random_state=3)
    np.testing.assert_array_equal(first[0], again[0])
    np.testing.assert_array_equal(first[1], again[1])
    assert not np.array_equal(first[0], generator.sample(5, random_state=4)[0])
    # An int in the constructor seeds every call alike; None draws anew.
    np.testing.assert_array_equal(generator.sample(5)[0], generator.sample(5)[0])
    fresh = pickle.loads(pickle.dumps(generator)).set_params(random_state=None)
    assert not np.array_equal(fresh.sample(20)[0], fresh.sample(20)[0])
    rng = np.random.RandomState(0)
    assert not np.array_equal(
        generator.sample(20, random_state=rng)[0], generator.sample(20, random_state=rng)[0]
    )


def test_fit_and_sample_leave_global_random_state_alone(series):
    X, y = series
    torch.manual_seed(5)
    np.random.seed(5)
    torch_state, numpy_state = torch.get_rng_state(), np.random.get_state()[1].copy()
    first = tiny_generator().fit(X, y).sample(4)[0]
    assert torch.equal(torch_state, torch.get_rng_state())
    np.testing.assert_array_equal(numpy_state, np.random.get_state()[1])
    np.testing.assert_array_equal(first, tiny_generator().fit(X, y).sample(4)[0])


@pytest.mark.parametrize(
    ("name", "value"),
    [("n_steps", 1), ("temperature", 3.0), ("choice_temperature", 0.0), ("guidance_scale", 4.0)],
)
def test_sampler_parameters_act_per_call_and_in_the_constructor(masked, name, value):
    check_sampler_parameter(masked, MaskGIT, name, value)


@pytest.mark.parametrize(
    ("name", "value"), [("temperature", 3.0), ("top_p", 0.5), ("guidance_scale", 900.0)]
)
def test_parameters_of_the_default_sampler_act_as_well(generator, name, value):
    check_sampler_parameter(generator, Autoregressive, name, value)


def check_sampler_parameter(generator, cls, name, value):
    plain = generator.sample(20, y="slow", random_state=0)[0]
    changed = generator.sample(20, y="slow", random_state=0, **{name: value})[0]
    assert np.isfinite(changed).all() and not np.array_equal(plain, changed)
    other = pickle.loads(pickle.dumps(generator)).set_params(**{f"sampler__{name}": value})
    assert isinstance(other.sampler, cls)
    np.testing.assert_array_equal(other.sample(20, y="slow", random_state=0)[0], changed)
    # What a call sets, it sets for itself alone.
    sampler = other.sampler
    other.sample(2, **{name: getattr(cls(), name)})
    assert other.sampler is sampler and getattr(sampler, name) == value
    np.testing.assert_array_equal(generator.sample(20, y="slow", random_state=0)[0], plain)


WRONG_ARGUMENTS = [
    ({"y": "medium"}, r"\['medium'\], not seen in fit.*fast"),
    ({"y": ["slow", "medium"]}, "medium"),
    ({"y": []}, "y is empty"),
    ({"n_samples": 0}, "n_samples"),
    ({"n_samples": 5, "y": ["slow", "fast"]}, "n_samples=5 contradicts"),
    ({"temperature": 0}, "temperature"),
    ({"guidance_scale": -0.5}, "guidance_scale"),
    ({"observation_noise": -1}, "observation_noise"),
]


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        *WRONG_ARGUMENTS,
        ({"n_steps": 0}, "n_steps"),
        ({"choice_temperature": -1}, "choice_temperature"),
        ({"temprature": 1}, "temprature.*MaskGIT"),
        ({"n_candidates": 9}, "n_candidates.*MaskGIT"),
    ],
)
def test_wrong_sampling_arguments(masked, arguments, message):
    with pytest.raises(ValueError, match=message):
        masked.sample(**arguments)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        *WRONG_ARGUMENTS,
        ({"top_p": 0}, "top_p"),
        ({"n_candidates": 0}, "n_candidates"),
        ({"n_steps": 5}, "n_steps.*Autoregressive"),
    ],
)
def test_wrong_arguments_of_the_default_sampler(generator, arguments, message):
    with pytest.raises(ValueError, match=message):
        generator.sample(**arguments)


def test_before_fitting(series):
    X, y = series
    for call in (
        lambda model: model.sample(),
        lambda model: model.score_samples(X),
        lambda model: model.score(X, y),
    ):
        with pytest.raises(NotFittedError):
            call(tiny_generator())


@pytest.mark.parametrize("prior_class", [AutoregressiveTokenPrior, MaskedTokenPrior])
def test_learns_tokens_of_each_class(prior_class):
    """On a two-class toy problem samples of a class look like it and not like the other."""
    X, y = make_series(80, seed=1, max_phase=1)
    model = tiny_generator(
        tiny_transformer(max_epochs=150, code_dim=16, n_codes=16, downsampled_width=8),
        prior=tiny_prior(prior_class),
        prior__max_epochs=200,
        prior__hidden_dim=32,
        prior__dropout=0.0,
    ).fit(X, y)
    classifier = LogisticRegression(max_iter=2000)

    def spectrum(X):
        return np.log(np.abs(np.fft.rfft(X - X.mean(1, keepdims=True))) + 1)

    classifier.fit(spectrum(X), y)
    X_new, y_new = model.sample(200, random_state=0)
    assert classifier.score(spectrum(X_new), y_new) > 0.85
    # Right labels are likelier than wrong ones, and real series than shuffled ones.
    assert model.score(X, y) > model.score(X, 1 - y)
    shuffled = np.random.default_rng(0).permuted(X, axis=1)
    assert model.score(X, y) > model.score(shuffled, y)


def test_score_samples_does_not_depend_on_the_batch(series, generator):
    X, _ = series
    one_by_one = [generator.score_samples(X[i : i + 1])[0] for i in range(len(X))]
    np.testing.assert_allclose(generator.score_samples(X), one_by_one, rtol=1e-5)


def test_score_samples_is_the_pseudo_log_likelihood(series, masked):
    X, y = series
    labels = np.array(["slow", "fast"])[y][:3]
    tokens = torch.tensor(masked.transformer_.tokenize(X[:3]))
    prior, expected = masked.prior_.module_, np.zeros(3)
    with torch.no_grad():
        for i in range(3):
            label = torch.tensor([list(masked.classes_).index(labels[i])])
            for position in range(tokens.shape[1]):
                hidden = tokens[i : i + 1].clone()
                hidden[0, position] = MASKED
                log_p = prior(hidden, label, hidden == MASKED)[0].log_softmax(-1)
                expected[i] += log_p[tokens[i, position]]
    np.testing.assert_allclose(masked.score_samples(X[:3], labels), expected, rtol=1e-4)
    assert masked.score(X[:3], labels) == pytest.approx(expected.mean(), rel=1e-4)
    assert not np.allclose(masked.score_samples(X[:3]), expected)
    with pytest.raises(ValueError, match="not seen in fit"):
        masked.score_samples(X[:3], ["slow", "fast", "new"])


def test_frozen_tokenizer_serves_several_priors(series):
    X, y = series
    tokenizer = tiny_transformer().fit(X)
    frozen = FrozenEstimator(tokenizer)
    first = tiny_generator(frozen).fit(X, y)
    second = tiny_generator(frozen, prior__max_epochs=1).fit(X)
    for model in (first, second, clone(first).fit(X, y)):
        assert model.transformer_.estimator is tokenizer
        assert model.sample(2)[0].shape == (2, X.shape[1])
    with pytest.raises(NotFittedError):
        tiny_generator(FrozenEstimator(tiny_transformer())).fit(X)
    with pytest.raises(TypeError, match="LogisticRegression"):
        tiny_generator(FrozenEstimator(LogisticRegression().fit(X, y))).fit(X)


@pytest.mark.parametrize("cls", [MaskedTokenPrior, AutoregressiveTokenPrior])
def test_frozen_prior_is_used_as_it_is(series, cls):
    X, y = series
    tokenizer = tiny_transformer().fit(X)
    prior = tiny_prior(cls, random_state=0).fit(tokenizer.tokenize(X), y, layout=tokenizer.layout_)
    before = prior.sample(5)[0]
    model = tiny_generator(FrozenEstimator(tokenizer), prior=FrozenEstimator(prior))
    for fitted in (model.fit(X, y), clone(model).fit(X[:20], y[:20])):
        assert fitted.prior_.estimator is prior and prior.n_iter_ == 2
        X_new, y_new = fitted.sample(4, y=1, temperature=0.8)
        assert X_new.shape == (4, X.shape[1]) and (y_new == 1).all()
        assert fitted.vary(X, y).shape == X.shape
        np.testing.assert_allclose(
            fitted.score_samples(X, y), prior.score_samples(tokenizer.tokenize(X), y)
        )
    np.testing.assert_array_equal(prior.sample(5)[0], before)
    with pytest.raises(NotFittedError):
        model.set_params(prior=FrozenEstimator(tiny_prior(cls))).fit(X, y)


def test_frozen_prior_of_other_tokens_or_classes_is_refused(series, generator):
    X, y = series
    tokenizer, frozen = generator.transformer_, FrozenEstimator(generator.prior_)
    labels = np.array(["slow", "fast"])[y]
    with pytest.raises(ValueError, match="Pass its tokenizer as transformer=FrozenEstimator"):
        tiny_generator(prior=frozen).fit(X, labels)
    other = tiny_transformer(n_codes=9).fit(X)
    with pytest.raises(ValueError, match=r"n_codes=6.*but those of transformer.*n_codes=9"):
        tiny_generator(FrozenEstimator(other), prior=frozen).fit(X, labels)
    model = tiny_generator(FrozenEstimator(tokenizer), prior=frozen)
    for wrong in (y, None):
        with pytest.raises(ValueError, match=r"classes_=\['fast' 'slow'\], but y has"):
            model.fit(X, wrong)
    assert model.fit(X, labels).sample(2)[0].shape == (2, X.shape[1])


def test_parts_are_cloned(series):
    X, y = series
    transformer, prior = tiny_transformer(), tiny_prior()
    model = NCVQVAEGenerator(transformer, prior, random_state=0).fit(X, y)
    assert not hasattr(transformer, "codebook_") and model.transformer_ is not transformer
    assert not hasattr(prior, "module_") and model.prior_ is not prior
    # They are as they were, also in what the generator gives to its own copies.
    assert prior.random_state is None
    assert model.prior_.history_[-1]["train_loss"] > 0


@pytest.mark.parametrize(
    ("name", "values"),
    [
        ("transformer__ssl_weight", [0.0, 1.0]),
        ("prior__max_epochs", [1, 30]),
        ("sampler__temperature", [0.2, 5.0]),
    ],
)
def test_nested_parameters_are_searchable(series, name, values):
    X, y = series
    seen = []

    def fidelity(model, X, y):
        seen.append(model[-1].get_params()[name])
        return -np.abs(model[-1].sample(20)[0].mean(0) - X.mean(0)).mean()

    search = GridSearchCV(
        Pipeline([("generator", tiny_generator())]),
        {f"generator__{name}": values},
        cv=2,
        scoring=fidelity,
    ).fit(X, y)
    assert np.ptp(search.cv_results_["mean_test_score"]) > 0
    assert sorted(seen) == sorted(values * 2)


def test_nested_parameters_are_set_while_parts_are_none():
    model = NCVQVAEGenerator().set_params(
        transformer__n_codes=8, prior__lr=0.1, sampler__temperature=0.8
    )
    assert model.transformer.n_codes == 8 and model.prior.lr == 0.1
    assert model.sampler.temperature == 0.8
    # A sampler that is None is the one of the prior.
    assert isinstance(model.prior, AutoregressiveTokenPrior)
    assert isinstance(model.sampler, Autoregressive)
    model = NCVQVAEGenerator().set_params(prior=MaskedTokenPrior(), sampler__n_steps=5)
    assert isinstance(model.sampler, MaskGIT) and model.sampler.n_steps == 5
    for name, wrong in [
        ("transformer__lrr", "'lrr'"),
        ("prior__lrr", "'lrr'"),
        ("sampler__temprature", "'temprature'"),
        ("part__lr", "'part'"),
    ]:
        with pytest.raises(ValueError, match=f"Invalid parameter {wrong}"):
            NCVQVAEGenerator().set_params(**{name: 1})


def test_reference_is_the_published_configuration():
    model = NCVQVAEGenerator.reference(prior__max_epochs=2, transformer__max_epochs=3)
    prior, sampler = model.prior, model.sampler
    assert (prior.hidden_dim, prior.n_layers, prior.n_heads) == (256, 4, 2)
    assert (prior.batch_size, prior.lr, prior.p_unconditional) == (256, 1e-3, 0.2)
    assert (sampler.n_steps, sampler.choice_temperature) == (10, 4.0)
    assert (sampler.temperature, sampler.guidance_scale) == (1.0, 1.0)
    assert (prior.max_epochs, model.transformer.max_epochs) == (2, 3)
    assert model.transformer.projector_dim == 4096
    assert (prior.weight_decay, prior.lr_schedule) == (1e-3, "cosine")
    assert (prior.ff_mult, prior.dropout) == (1, 0.0)
    assert (model.observation_noise, model.match_moments) == (0.0, False)
    assert NCVQVAEGenerator.reference().prior.max_epochs == 1000
    assert NCVQVAEGenerator.reference(sampler__n_steps=5).sampler.n_steps == 5


@pytest.mark.parametrize("part", ["transformer", "prior"])
def test_default_parts_take_device_and_verbose_in_any_order(part):
    model = NCVQVAEGenerator().set_params(**{f"{part}__lr": 0.1}, device="cpu", verbose=1)
    assert (getattr(model, part).device, getattr(model, part).verbose) == ("cpu", 1)
    model = NCVQVAEGenerator.reference(device="cpu", verbose=2, **{f"{part}__verbose": 0})
    assert (getattr(model, part).device, getattr(model, part).verbose) == ("cpu", 0)


def test_fit_resample_balances(series):
    X, _ = series
    y = np.array(["rare"] * 5 + ["common"] * 35)
    X_more, y_more = tiny_generator().fit_resample(X, y)
    assert Counter(y_more) == {"rare": 35, "common": 35}
    np.testing.assert_array_equal(X_more[:40], X)
    assert (y_more[40:] == "rare").all()
    X_more, y_more = tiny_generator(sampling_strategy={"rare": 9}).fit_resample(X, y)
    assert Counter(y_more) == {"rare": 9, "common": 35}
    frame, labels = tiny_generator().fit_resample(pd.DataFrame(X), pd.Series(y, name="kind"))
    assert isinstance(frame, pd.DataFrame) and labels.name == "kind" and len(frame) == 70


@pytest.mark.parametrize("dtype", ["int64", "int8", "uint8", "Int64", "float32", "Float64"])
@pytest.mark.parametrize("library", [pd, pl])
def test_fit_resample_returns_a_frame_of_the_same_dtypes(series, dtype, library, recwarn):
    X, y = series[0][:, :12].round(), np.array(["rare"] * 5 + ["common"] * 35)
    frame = pd.DataFrame(X).add_prefix("t").astype(dtype)
    if library is pl:
        frame = pl.DataFrame({name: frame[name].to_numpy(dtype.lower()) for name in frame})
    more, labels = tiny_generator().fit_resample(
        frame, library.Series("kind", y.tolist()) if library is pl else pd.Series(y, name="kind")
    )
    assert isinstance(more, library.DataFrame) and isinstance(labels, library.Series)
    assert list(more.columns) == list(frame.columns) and list(more.dtypes) == list(frame.dtypes)
    assert labels.name == "kind" and Counter(labels) == {"rare": 35, "common": 35}
    np.testing.assert_array_equal(more.to_numpy()[:40], frame.to_numpy())
    as_array = X.astype(np.float32 if dtype == "float32" else np.float64)
    drawn = tiny_generator().fit_resample(as_array, y)[0][40:]
    is_integer = "int" in dtype.lower()
    expected = np.round(drawn) if is_integer else drawn
    np.testing.assert_allclose(more.to_numpy()[40:].astype(float), expected, rtol=1e-3)
    assert is_integer == any("were rounded" in str(w.message) for w in recwarn)


def test_fit_resample_returns_lists_and_categories(series):
    X, y = series[0].astype(np.float32), ["rare"] * 5 + ["common"] * 35
    more, labels = tiny_generator().fit_resample(list(X), y)
    assert isinstance(more, list) and isinstance(labels, list) and len(more) == len(labels) == 70
    assert all(one.dtype == np.float32 for one in more)
    more, labels = tiny_generator().fit_resample(X.tolist(), pd.Series(y, dtype="category"))
    assert isinstance(more[0], list) and labels.dtype == "category"
    nested = pd.DataFrame({"a": list(X)})
    more, labels = tiny_generator().fit_resample(nested, pd.DataFrame({"kind": y}))
    assert more.shape == (70, 1, 32) and list(labels.columns) == ["kind"]


@pytest.mark.parametrize(
    "frame",
    [
        lambda X: pd.DataFrame(X > 50),
        lambda X: pd.DataFrame(X.round()).astype("category"),
        lambda X: pd.DataFrame(X > 50).astype("boolean"),
        lambda X: pl.DataFrame(X > 50),
    ],
)
def test_fit_resample_refuses_before_training_what_cannot_come_back(series, frame, monkeypatch):
    monkeypatch.setattr("skncvqvae._transformer.train", None)
    with pytest.raises(ValueError, match=r"Column .* which synthetic series cannot be"):
        tiny_generator().fit_resample(frame(series[0]), np.arange(40) < 10)


def test_fit_resample_without_need_returns_the_data(series):
    X, y = series
    X_same, y_same = tiny_generator().fit_resample(X, y)
    np.testing.assert_array_equal(X_same, X)
    np.testing.assert_array_equal(y_same, y)


def test_fit_resample_of_multivariate_series():
    X, _ = make_series(n_channels=2)
    y = np.arange(40) < 10
    X_more, y_more = tiny_generator().fit_resample(X, y)
    assert X_more.shape == (60, 2, 32) and y_more.sum() == 30


def test_inside_an_imbalanced_learn_pipeline(series):
    X, _ = series
    y = (np.arange(40) < 10).astype(int)
    pipeline = make_imblearn_pipeline(tiny_generator(), LogisticRegression(max_iter=1000))
    assert np.isfinite(cross_val_score(pipeline, X, y, cv=2)).all()
    assert pipeline.fit(X, y).predict(X).shape == (40,)


def test_pickle_keeps_samples(generator):
    expected = generator.sample(4, random_state=0)[0]
    loaded = pickle.loads(pickle.dumps(generator))
    np.testing.assert_array_equal(loaded.sample(4, random_state=0)[0], expected)


@pytest.mark.parametrize(
    ("params", "y", "message"),
    [
        ({"prior__max_epochs": 0}, "given", "'max_epochs' parameter of Autoregressive"),
        ({"prior__dropout": 1.0}, "given", "'dropout' parameter of Autoregressive"),
        ({"sampler__temperature": 0}, "given", "'temperature' parameter of Autoregressive"),
        ({"transformer": "x"}, "given", "transformer"),
        ({"prior": "x"}, "given", "prior"),
        ({"sampler": "x"}, "given", "sampler"),
        ({"transformer__n_codes": 1}, "given", "n_codes"),
        ({"device": "nowhere"}, "given", "device='nowhere'"),
        ({}, "short", "y holds 39 labels, but there are 40 series"),
        ({}, "continuous", "continuous"),
        ({}, "missing", "nan at index 0"),
    ],
)
def test_wrong_parameters_and_labels(series, params, y, message):
    X, given = series
    y = {
        "given": given,
        "short": given[:-1],
        "continuous": np.linspace(0, 1, 40),
        "missing": np.where(given == 0, np.nan, 1.0),
    }[y]
    with pytest.raises(ValueError, match=message):
        tiny_generator().set_params(**params).fit(X, y)


def test_variations_keep_the_layout_and_change_a_part(series, generator):
    X, _ = series
    y = np.repeat("slow", len(X))
    X_new = generator.vary(X, y, random_state=0)
    assert X_new.shape == X.shape and X_new.dtype == X.dtype
    assert np.isfinite(X_new).all() and not np.array_equal(X_new, X)
    np.testing.assert_array_equal(generator.vary(X, y, random_state=0), X_new)
    assert not np.array_equal(generator.vary(X, y, random_state=1), X_new)


def test_variations_leave_unmasked_tokens_alone(series):
    X, y = series
    model = tiny_generator(tiny_transformer(downsampled_width=16)).fit(X, y)
    moved = [
        np.mean((model.vary(X, y, mask_ratio=ratio, random_state=0) - X) ** 2)
        for ratio in (0.01, 0.5, 1.0)
    ]
    # One token at least is drawn anew.
    assert 0 < moved[0] < moved[1] < moved[2]


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"mask_ratio": 0}, "mask_ratio"),
        ({"mask_ratio": 1.5}, "mask_ratio"),
        ({"mask_ratio": float("nan")}, "mask_ratio is NaN"),
        ({"y": ["medium"] * 40}, r"\['medium'\], not seen in fit"),
        ({"y": ["slow"]}, "y holds 1 labels, but there are 40 series"),
        ({"temperature": 0}, "temperature"),
    ],
)
def test_wrong_variation_arguments(series, generator, arguments, message):
    with pytest.raises(ValueError, match=message):
        generator.vary(series[0], **arguments)


def test_noise_that_overflows_is_refused(generator):
    with pytest.raises(ValueError, match="Lower observation_noise"), np.errstate(all="ignore"):
        generator.sample(3, observation_noise=1e308)


@pytest.mark.parametrize("n_channels", [None, 2])
@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_more_series_cost_no_copies_of_the_result(dtype, n_channels):
    X, _ = make_series(n_channels=n_channels, length=128, dtype=dtype)
    generator = tiny_generator(tiny_transformer(code_dim=64)).fit(X)
    many = np.tile(X, (250, *np.ones(X.ndim - 1, int)))

    def peak(predict, n):
        tracemalloc.start()
        n_bytes = predict(n).nbytes
        _, most = tracemalloc.get_traced_memory()
        tracemalloc.stop()
        return np.array([most, n_bytes])

    for predict in (
        lambda n: generator.sample(n, observation_noise=1.0)[0],
        lambda n: generator.transformer_.transform(many[:n]),
    ):
        memory, result = peak(predict, 10_000) - peak(predict, 5_000)
        # Tokens count as well.
        assert memory < 1.25 * result


class Histograms(BaseEstimator):
    """A prior that knows only how often each code stands in each place, class by class."""

    def __init__(self, smoothing=0.1):
        self.smoothing = smoothing

    def fit(self, tokens, y=None):
        one_hot = np.eye(tokens.max() + 1)[tokens]
        groups = {None: one_hot}
        if y is not None:
            groups |= {label: one_hot[y == label] for label in np.unique(y)}
        self.p_ = {}
        for label, rows in groups.items():
            counts = rows.sum(axis=0) + self.smoothing
            self.p_[label] = counts / counts.sum(axis=-1, keepdims=True)
        return self

    def _of(self, n, y):
        return np.stack([self.p_[label] for label in ([None] * n if y is None else y)])

    def sample(self, n_samples=1, y=None, *, tokens=None, random_state=None):
        rng = check_random_state(random_state)
        p = self._of(n_samples, y)
        drawn = (rng.random_sample((*p.shape[:2], 1)) > p.cumsum(axis=-1)[..., :-1]).sum(axis=-1)
        return (drawn if tokens is None else np.where(tokens == MASKED, drawn, tokens)), y

    def score_samples(self, tokens, y=None):
        p = np.take_along_axis(self._of(len(tokens), y), tokens[..., None], axis=-1)
        return np.log(p).sum(axis=(1, 2))


@pytest.fixture(scope="module")
def with_histograms(series):
    X, y = series
    return tiny_generator(prior=Histograms()).fit(X, np.array(["slow", "fast"])[y])


class TestPriorOfAThirdParty:
    def test_samples(self, series, with_histograms):
        X, _ = series
        X_new, y_new = with_histograms.sample(30, random_state=0)
        assert X_new.shape == (30, X.shape[1]) and set(y_new) == {"slow", "fast"}
        np.testing.assert_array_equal(with_histograms.sample(30, random_state=0)[0], X_new)
        assert (with_histograms.sample(4, y="slow")[1] == "slow").all()
        assert not np.array_equal(with_histograms.sample(30, random_state=1)[0], X_new)

    def test_samples_have_the_histograms_of_their_class(self, with_histograms):
        tokens = with_histograms.prior_.sample(5000, ["slow"] * 5000, random_state=0)[0]
        # What is drawn is decoded: left as they are, series of the same tokens are the same.
        plain = copy.copy(with_histograms).set_params(match_marginals=False)
        X_new, _ = plain.sample(200, y="slow", observation_noise=0, random_state=0)
        possible = {
            row.tobytes() for row in with_histograms.transformer_.inverse_transform(tokens)
        }
        assert np.mean([row.tobytes() in possible for row in X_new]) > 0.9

    def test_varies_only_what_is_masked(self, series, with_histograms):
        X, y = series
        labels = np.array(["slow", "fast"])[y]
        given = []

        class Spy(Histograms):
            def sample(self, n_samples=1, y=None, *, tokens=None, random_state=None):
                drawn = super().sample(n_samples, y, tokens=tokens, random_state=random_state)
                given.append((tokens, drawn[0]))
                return drawn

        spied = tiny_generator(FrozenEstimator(with_histograms.transformer_), prior=Spy()).fit(
            X, labels
        )
        X_new = spied.vary(X, labels, mask_ratio=0.5, random_state=0)
        assert X_new.shape == X.shape and not np.array_equal(X_new, X)
        masked, drawn = given[-1]
        assert ((masked == MASKED).sum(axis=1) == round(0.5 * masked.shape[1])).all()
        np.testing.assert_array_equal(masked[masked != MASKED], drawn[masked != MASKED])
        assert spied.vary(X).shape == X.shape

    def test_may_write_into_the_tokens_that_it_is_given(self, series, with_histograms):
        class Spoiler(Histograms):
            def fit(self, tokens, y=None):
                super().fit(tokens.copy(), y)
                tokens[...] = 0
                return self

        X, y = series
        frozen = FrozenEstimator(with_histograms.transformer_)
        expected, generator = (
            tiny_generator(frozen, prior=prior) for prior in (Histograms(), Spoiler())
        )
        encoded = generator.fit_encode(X, y)
        np.testing.assert_array_equal(encoded.tokens, frozen.estimator.tokenize(X))
        assert generator.copying_ == expected.fit(X, y).copying_

    def test_scores(self, series, with_histograms):
        X, y = series
        labels = np.array(["slow", "fast"])[y]
        tokens = with_histograms.transformer_.tokenize(X)
        expected = np.zeros(len(X))
        for i, position in np.ndindex(tokens.shape):
            of_class = tokens[labels == labels[i], position]
            n_codes = tokens.max() + 1
            count = (of_class == tokens[i, position]).sum() + 0.1
            expected[i] += np.log(count / (len(of_class) + 0.1 * n_codes))
        np.testing.assert_allclose(with_histograms.score_samples(X, labels), expected)
        assert with_histograms.score(X, labels) == pytest.approx(expected.mean())

    def test_clones_pickles_and_resamples(self, series, with_histograms):
        X, _ = series
        assert clone(with_histograms).prior.get_params() == {"smoothing": 0.1}
        loaded = pickle.loads(pickle.dumps(with_histograms))
        np.testing.assert_array_equal(
            loaded.sample(4, random_state=0)[0], with_histograms.sample(4, random_state=0)[0]
        )
        y = np.array(["rare"] * 5 + ["common"] * 35)
        assert Counter(clone(with_histograms).fit_resample(X, y)[1]) == {"rare": 35, "common": 35}
        assert clone(with_histograms).set_params(prior__smoothing=3).fit(X).prior_.smoothing == 3

    def test_is_told_apart_where_it_cannot_continue(self, series, with_histograms):
        X, y = series
        warm = tiny_generator(prior=Histograms(), warm_start=True).fit(X, y)
        with pytest.raises(ValueError, match="Histograms has no parameter warm_start"):
            warm.fit(X, y)

    def test_takes_no_parameters_of_a_sampler(self, with_histograms):
        with pytest.raises(TypeError, match="temperature"):
            with_histograms.sample(2, temperature=0.8)

    @pytest.mark.parametrize(
        ("spoil", "message"),
        [
            (lambda tokens: tokens + 99, r"Spoilt.sample returned what are no tokens.*hold \d+"),
            (lambda tokens: tokens[:1], "Spoilt.sample returned 1 rows of tokens where"),
            (lambda tokens: tokens[:, 1:], "returned what are no tokens"),
        ],
    )
    def test_what_it_returns_is_checked(self, series, with_histograms, spoil, message):
        class Spoilt(Histograms):
            def sample(self, *args, **kwargs):
                tokens, y = super().sample(*args, **kwargs)
                return spoil(tokens), y

        X, y = series
        tokenizer = FrozenEstimator(with_histograms.transformer_)
        with pytest.raises(ValueError, match=message):
            tiny_generator(tokenizer, prior=Spoilt()).fit(X, y).sample(4)

    def test_a_sample_that_is_no_pair_keeps_the_trained_tokenizer(self, series):
        class NoPair(Histograms):
            def sample(self, *args, **kwargs):
                return super().sample(*args, **kwargs)[0]

        with pytest.raises(TypeError, match=r"NoPair\.sample must return a tuple") as caught:
            tiny_generator(prior=NoPair()).fit(*series)
        assert caught.value.transformer.transform(series[0]).shape[0] == len(series[0])

    def test_lacks_a_method(self, series):
        class Half(BaseEstimator):
            def fit(self, tokens, y=None):
                return self

        with pytest.raises(ValueError, match="score_samples"):
            tiny_generator(prior=Half()).fit(*series)


def test_autoregressive_prior_in_a_generator(series):
    X, y = series
    labels = np.array(["slow", "fast"])[y]
    model = tiny_generator(prior=tiny_prior(AutoregressiveTokenPrior)).fit(X, labels)
    X_new, y_new = model.sample(6, y="slow", temperature=0.8, top_p=0.9)
    assert X_new.shape == (6, X.shape[1]) and (y_new == "slow").all()
    assert model.vary(X, labels).shape == X.shape
    # The exact likelihood: log p of each token given those before it.
    tokens = model.transformer_.tokenize(X)
    label = [list(model.classes_).index(name) for name in labels]
    with torch.no_grad():
        logits = model.prior_.module_(torch.tensor(tokens), torch.tensor(label))
    log_p = np.take_along_axis(logits.log_softmax(-1).numpy(), tokens[..., None], axis=-1)
    np.testing.assert_allclose(model.score_samples(X, labels), log_p.sum(axis=(1, 2)), rtol=1e-5)
    with pytest.raises(TypeError, match=r"MaskGIT.*AutoregressivePrior"):
        model.set_params(sampler=MaskGIT()).fit(X, labels)
    with pytest.raises(TypeError, match=r"MaskGIT.*AutoregressivePrior"):
        model.sample(2)


def test_warm_start_goes_on_with_the_prior(series):
    X, y = series
    for prior in (tiny_prior(), tiny_prior(AutoregressiveTokenPrior)):
        model = tiny_generator(prior=prior, warm_start=True).fit(X, y)
        first = model.prior_
        model.fit(X, y)
        assert (first.n_iter_, model.prior_.n_iter_) == (2, 4)


def test_warm_start_goes_on_with_more_series_which_have_fewer_copies(series, monkeypatch):
    monkeypatch.setattr("skncvqvae._copies._MAX_ROWS", 400)
    X, y = series
    model = tiny_generator(warm_start=True).fit(X[:20], y[:20])
    # Itself, 14 that are moved, 16 stretched and 16 mixed.
    assert model.prior_.module_.config.n_copies == 47
    for n_series in (40, 80, 10):
        n_epochs = model.prior_.n_iter_
        model.fit(X[:n_series], y[:n_series])
        assert model.prior_.n_iter_ == n_epochs + 2
        assert model.sample(2)[0].shape == (2, X.shape[1])


def standardise(X):
    """Return univariate series as the tokenizer is given them."""
    return ((X - X.mean()) / X.std())[:, None]


def check_done_once(work, X):
    assert times_seen(work["standardise"], X[:, None]) == 1
    assert times_seen(work["tokenize"], standardise(X)) == 1
    # All others are changed a little: copies for the prior, 16 of each kind of few series, and up
    # to a thousand series for the noise.
    sizes = [len(series) for series in work["standardise"]]
    assert sizes == [len(X)] * 49 + [min(1000, 17 * len(X))]
    assert sum(map(len, work["tokenize"])) == sum(sizes)


def test_a_fit_reads_standardises_and_tokenizes_once(monkeypatch):
    X, y = make_series(length=128)
    model = tiny_generator(tiny_transformer(batch_size=128))
    work = record_work(monkeypatch)
    model.fit(X, y)
    assert len(work["fit_read"]) == 1 and work["read"] == []
    check_done_once(work, X)


@pytest.mark.parametrize("how", ["frozen", "warm"])
def test_a_fit_with_a_fitted_tokenizer_reads_and_tokenizes_once(monkeypatch, how):
    X, y = make_series(length=128)
    transformer = tiny_transformer(batch_size=128)
    if how == "frozen":
        model = tiny_generator(FrozenEstimator(transformer.fit(X)))
    else:
        model = tiny_generator(transformer, warm_start=True).fit(X, y)
    work = record_work(monkeypatch)
    model.fit(X, y)
    assert work["fit_read"] == [] and len(work["read"]) == 1
    check_done_once(work, X)


def test_a_fit_resample_reads_standardises_and_tokenizes_once(monkeypatch):
    X, _ = make_series(length=128)
    work = record_work(monkeypatch)
    tiny_generator(tiny_transformer(batch_size=128)).fit_resample(X, np.arange(40) < 9)
    assert len(work["fit_read"]) == 1 and work["read"] == []
    check_done_once(work, X)


def test_fit_encode_returns_what_fit_computed():
    X, y = make_series(n_channels=2)
    model = tiny_generator(tiny_transformer(data_format="channels_last"))
    encoded = model.fit_encode(X.swapaxes(1, 2), y)
    np.testing.assert_array_equal(encoded.series, X)
    np.testing.assert_array_equal(encoded.tokens, model.transformer_.encode(X))
    np.testing.assert_array_equal(model.read(X.swapaxes(1, 2)), X)
    np.testing.assert_array_equal(model.write(X), X.swapaxes(1, 2))


class Repeating(Histograms):
    """A prior that draws rows it was given: those of `fit`, unless there are others."""

    def __init__(self, rows=None):
        self.rows = rows

    def fit(self, tokens, y=None):
        self.rows_ = tokens if self.rows is None else self.rows
        return self

    def sample(self, n_samples=1, y=None, *, tokens=None, random_state=None):
        return self.rows_[check_random_state(random_state).choice(len(self.rows_), n_samples)], y


@pytest.fixture(scope="module")
def tokenizer():
    """Return a tokenizer that tells series apart, and series of two independent draws."""
    X, _ = make_series(60, length=64)
    X_other, _ = make_series(60, length=64, seed=1)
    params = {"n_codes": 16, "downsampled_width": 16, "max_epochs": 20, "mixed_precision": False}
    tokenizer = tiny_transformer(lr_schedule="onecycle", **params).fit(X)
    return FrozenEstimator(tokenizer), X, X_other


class TestCopying:
    def test_copies_are_warned_of(self, tokenizer):
        transformer, X, _ = tokenizer
        with pytest.warns(CopyingWarning, match=r"(9.|100)% of the pairs.*prior__max_epochs"):
            model = tiny_generator(transformer, prior=Repeating()).fit(X)
        assert model.copying_ > 0.95

    def test_new_series_are_not(self, tokenizer):
        transformer, X, X_other = tokenizer
        rows = transformer.tokenize(X_other)
        with warnings.catch_warnings():
            warnings.simplefilter("error", CopyingWarning)
            model = tiny_generator(transformer, prior=Repeating(rows)).fit(X)
        # Of 60 and 60 the standard deviation is 0.05.
        assert model.copying_ == pytest.approx(0.5, abs=0.2)
        with warnings.catch_warnings():
            warnings.simplefilter("error", CopyingWarning)
            learnt = tiny_generator(transformer).fit(X)
        assert learnt.copying_ < 0.75

    def test_a_prior_that_learns_by_heart_is_warned_of(self, tokenizer, monkeypatch):
        # Without stretched copies, which take it three times as long to learn.
        monkeypatch.setattr("skncvqvae._copies._FEW_SERIES", 0)
        transformer, X, _ = tokenizer
        params = {"hidden_dim": 64, "n_heads": 4, "n_layers": 2, "dropout": 0.0, "lr": 1e-2}
        prior = tiny_prior(max_epochs=400, weight_decay=0.0, **params)
        with pytest.warns(CopyingWarning):
            model = tiny_generator(transformer, prior=prior).fit(X[:20])
        assert model.copying_ > 0.95
        # The same of the series, whose distances are other ones.
        X_new, _ = model.sample(40, observation_noise=0, random_state=0)
        decoded = transformer.inverse_transform(transformer.tokenize(X[:20]))
        assert copying_test(decoded, X_new, features=None)["copying"] > 0.85

    def test_is_that_of_the_tokens_as_vectors(self, tokenizer):
        """The root of the number of differing tokens is the distance of one-hot vectors."""
        transformer, X, X_other = tokenizer
        rows, other = transformer.tokenize(X), transformer.tokenize(X_other)
        one_hot, drawn = (np.eye(16)[tokens].reshape(60, -1) for tokens in (rows, other))
        model = tiny_generator(transformer, prior=Repeating(other)).fit(X)
        # The rows that the fit compares are drawn with replacement; on average they are these.
        expected = copying_test(one_hot, drawn, features=None)["copying"]
        assert model.copying_ == pytest.approx(expected, abs=0.15)

    def test_of_twins_and_of_a_single_series(self, tokenizer):
        transformer, X, _ = tokenizer
        twins = np.repeat(X[:10], 2, axis=0)
        model = tiny_generator(transformer, prior=Repeating()).fit(twins)
        assert model.copying_ == 0.5
        assert np.isnan(tiny_generator(transformer, prior=Repeating()).fit(X[:1]).copying_)

    def test_is_saved_and_the_seed_decides(self, series, generator, tmp_path):
        X, y = series
        again = tiny_generator().fit(X, np.array(["slow", "fast"])[y])
        assert again.copying_ == generator.copying_
        save(generator, tmp_path / "model")
        assert load(tmp_path / "model").copying_ == generator.copying_
        assert pickle.loads(pickle.dumps(generator)).copying_ == generator.copying_


def test_what_a_part_refuses_is_refused_in_the_name_of_the_generator(generator, series):
    X, y = series
    frozen = tiny_generator(FrozenEstimator(generator.transformer_))
    for call in (
        lambda: tiny_generator().fit(X[:1]),
        lambda: tiny_generator().preview(X[:1]),
        lambda: frozen.preview(X[:, :20]),
        lambda: frozen.fit(X[:, :20], y),
        lambda: frozen.fit_resample(X[:, :20], y),
        lambda: generator.read(X[:, :20]),
    ):
        with pytest.raises(ValueError, match="NCVQVAEGenerator") as caught:
            call()
        assert "NCVQVAETransformer" not in str(caught.value)
