import pickle
import tracemalloc
from collections import Counter

import numpy as np
import pandas as pd
import pytest
import torch
from conftest import make_series, tiny_generator, tiny_transformer
from imblearn.pipeline import make_pipeline as make_imblearn_pipeline
from sklearn.base import clone
from sklearn.exceptions import NotFittedError
from sklearn.frozen import FrozenEstimator
from sklearn.linear_model import LogisticRegression
from sklearn.model_selection import GridSearchCV, cross_val_score
from sklearn.pipeline import Pipeline

from skncvqvae import NCVQVAEGenerator
from skncvqvae.nn.prior import MaskedPrior


def test_sample_returns_units_layout_and_labels(series, generator):
    X, _ = series
    X_new, y_new = generator.sample(30)
    assert X_new.shape == (30, X.shape[1]) and X_new.dtype == X.dtype
    assert set(y_new) <= {"slow", "fast"} and y_new.shape == (30,)
    # The data lie around 50 with a standard deviation of about 5.
    assert abs(X_new.mean() - 50) < 5


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
    with pytest.raises(ValueError, match="fitted without labels"):
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


def test_large_batches_are_sampled_in_parts_on_the_cpu(generator):
    sampled = []
    for batch_size in (64, 128, 1000):
        copy = pickle.loads(pickle.dumps(generator)).set_params(prior_batch_size=batch_size)
        sampled.append(copy.sample(150, random_state=0)[0])
    assert not np.array_equal(sampled[0], sampled[1])
    np.testing.assert_array_equal(sampled[1], sampled[2])


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
def test_sampling_options_act_per_call_and_in_the_constructor(generator, name, value):
    plain = generator.sample(20, y="slow", random_state=0)[0]
    changed = generator.sample(20, y="slow", random_state=0, **{name: value})[0]
    assert np.isfinite(changed).all() and not np.array_equal(plain, changed)
    other = pickle.loads(pickle.dumps(generator)).set_params(**{name: value})
    np.testing.assert_array_equal(other.sample(20, y="slow", random_state=0)[0], changed)
    assert getattr(generator, name) != value


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"y": "medium"}, r"\['medium'\], not seen in fit.*fast"),
        ({"y": ["slow", "medium"]}, "medium"),
        ({"y": []}, "y is empty"),
        ({"n_samples": 0}, "n_samples"),
        ({"n_samples": 5, "y": ["slow", "fast"]}, "n_samples=5 contradicts"),
        ({"n_steps": 0}, "n_steps"),
        ({"temperature": 0}, "temperature"),
        ({"choice_temperature": -1}, "choice_temperature"),
        ({"guidance_scale": -0.5}, "guidance_scale"),
    ],
)
def test_wrong_sampling_arguments(generator, arguments, message):
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


def test_learns_tokens_of_each_class():
    """On a two-class toy problem samples of a class look like it and not like the other."""
    X, y = make_series(80, seed=1, max_phase=1)
    model = tiny_generator(
        tiny_transformer(max_epochs=150, code_dim=16, n_codes=16, downsampled_width=8),
        prior_max_epochs=200,
        prior_hidden_dim=32,
        prior_dropout=0.0,
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


def test_score_samples_is_the_pseudo_log_likelihood(series, generator):
    X, y = series
    labels = np.array(["slow", "fast"])[y][:3]
    tokens = torch.tensor(generator.transformer_.tokenize(X[:3]))
    prior, expected = generator.prior_, np.zeros(3)
    with torch.no_grad():
        for i in range(3):
            label = torch.tensor([list(generator.classes_).index(labels[i])])
            for position in range(tokens.shape[1]):
                masked = tokens[i : i + 1].clone()
                masked[0, position] = prior.mask_token
                log_p = prior(masked, label, masked == prior.mask_token)[0].log_softmax(-1)
                expected[i] += log_p[tokens[i, position]]
    np.testing.assert_allclose(generator.score_samples(X[:3], labels), expected, rtol=1e-4)
    assert generator.score(X[:3], labels) == pytest.approx(expected.mean(), rel=1e-4)
    assert not np.allclose(generator.score_samples(X[:3]), expected)
    with pytest.raises(ValueError, match="not seen in fit"):
        generator.score_samples(X[:3], ["slow", "fast", "new"])


def test_frozen_tokenizer_serves_several_priors(series):
    X, y = series
    tokenizer = tiny_transformer().fit(X)
    frozen = FrozenEstimator(tokenizer)
    first = tiny_generator(frozen).fit(X, y)
    second = tiny_generator(frozen, prior_max_epochs=1).fit(X)
    for model in (first, second, clone(first).fit(X, y)):
        assert model.transformer_.estimator is tokenizer
        assert model.sample(2)[0].shape == (2, X.shape[1])
    with pytest.raises(NotFittedError):
        tiny_generator(FrozenEstimator(tiny_transformer())).fit(X)
    with pytest.raises(TypeError, match="LogisticRegression"):
        tiny_generator(FrozenEstimator(LogisticRegression().fit(X, y))).fit(X)


def test_transformer_is_cloned(series):
    X, y = series
    transformer = tiny_transformer()
    model = tiny_generator(transformer).fit(X, y)
    assert not hasattr(transformer, "codebook_") and model.transformer_ is not transformer
    assert model.history_[-1]["train_loss"] > 0


def test_nested_parameters_are_searchable(series):
    X, y = series

    def fidelity(model, X, y):
        return -np.abs(model[-1].sample(20)[0].mean(0) - X.mean(0)).mean()

    search = GridSearchCV(
        Pipeline([("generator", tiny_generator())]),
        {"generator__transformer__ssl_weight": [0.0, 1.0]},
        cv=2,
        scoring=fidelity,
    ).fit(X, y)
    assert np.ptp(search.cv_results_["mean_test_score"]) > 0
    assert NCVQVAEGenerator().set_params(transformer__n_codes=8).transformer.n_codes == 8


def test_reference_is_the_published_configuration():
    model = NCVQVAEGenerator.reference(prior_max_epochs=2, transformer__max_epochs=3)
    assert (model.prior_hidden_dim, model.prior_n_layers, model.prior_n_heads) == (256, 4, 2)
    assert (model.prior_batch_size, model.prior_lr, model.p_unconditional) == (256, 1e-3, 0.2)
    assert (model.n_steps, model.choice_temperature) == (10, 4.0)
    assert (model.prior_max_epochs, model.transformer.max_epochs) == (2, 3)
    assert model.transformer.projector_dim == 4096
    assert (model.prior_weight_decay, model.prior_lr_schedule) == (1e-3, "cosine")
    assert (model.prior_ff_mult, model.prior_dropout, model.guidance_scale) == (1, 0.0, 1.0)
    assert NCVQVAEGenerator.reference().prior_max_epochs == 1000


def test_default_transformer_takes_device_and_verbose_in_any_order():
    model = NCVQVAEGenerator().set_params(transformer__n_codes=5, device="cpu", verbose=1)
    assert (model.transformer.device, model.transformer.verbose) == ("cpu", 1)
    model = NCVQVAEGenerator.reference(device="cpu", verbose=2, transformer__verbose=0)
    assert (model.transformer.device, model.transformer.verbose) == ("cpu", 0)


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
        ({"prior_max_epochs": 0}, "given", "prior_max_epochs"),
        ({"prior_dropout": 1.0}, "given", "prior_dropout"),
        ({"transformer": "x"}, "given", "transformer"),
        ({"transformer__n_codes": 1}, "given", "n_codes"),
        ({"device": "nowhere"}, "given", "device='nowhere'"),
        ({}, "short", "inconsistent numbers"),
        ({}, "continuous", "continuous"),
        ({}, "missing", "NaN"),
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


@pytest.mark.parametrize("n_steps", [1, 3, 10, 50])
def test_sampling_fills_every_token(n_steps):
    torch.manual_seed(0)
    prior = MaskedPrior(torch.randn(5, 4), n_tokens=7, n_classes=2, hidden_dim=8, n_layers=1)
    tokens = prior.eval().sample(torch.tensor([0, 1, 2]), n_steps=n_steps)
    assert tokens.shape == (3, 7) and tokens.min() >= 0 and tokens.max() < 5


def test_guidance_moves_samples_towards_the_class():
    """With a prior that knows the class by one token, guidance makes that token likelier."""
    torch.manual_seed(0)
    tokens = torch.cat([torch.zeros(300, 4), torch.ones(100, 4)]).long()
    noisy = torch.rand(tokens.shape) < 0.4
    tokens = torch.where(noisy, 1 - tokens, tokens)
    labels = torch.cat([torch.zeros(300), torch.ones(100)]).long()
    prior = MaskedPrior(torch.randn(2, 8), 4, 2, hidden_dim=16, n_layers=1, p_unconditional=0.3)
    optimiser = torch.optim.Adam(prior.parameters(), 1e-2)
    for _ in range(150):
        optimiser.zero_grad()
        prior.loss(tokens, labels).backward()
        optimiser.step()
    prior.eval()

    def share(scale):
        generator = torch.Generator().manual_seed(0)
        drawn = prior.sample(torch.ones(500, dtype=int), guidance_scale=scale, generator=generator)
        return drawn.float().mean().item()

    assert share(0.0) + 0.1 < share(1.0) < share(3.0) - 0.1
    assert share(1.0) == pytest.approx(0.6, abs=0.08)


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
        ({"y": ["medium"] * 40}, r"\['medium'\], not seen in fit"),
        ({"y": ["slow"]}, "inconsistent"),
        ({"temperature": 0}, "temperature"),
    ],
)
def test_wrong_variation_arguments(series, generator, arguments, message):
    with pytest.raises(ValueError, match=message):
        generator.vary(series[0], **arguments)


def test_given_tokens_stay_and_masked_ones_are_drawn():
    prior = MaskedPrior(torch.randn(5, 8), n_tokens=12, n_classes=2, hidden_dim=16, n_layers=1)
    tokens = torch.randint(0, 5, (20, 12))
    masked = torch.rand(20, 12).argsort(1) < 7
    given = tokens.masked_fill(masked, prior.mask_token)
    drawn = prior.sample(torch.zeros(20, dtype=torch.long), n_steps=4, tokens=given)
    assert torch.equal(drawn[~masked], tokens[~masked])
    assert (drawn < 5).all()


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
        lambda n: generator.sample(n)[0],
        lambda n: generator.transformer_.transform(many[:n]),
    ):
        memory, result = peak(predict, 10_000) - peak(predict, 5_000)
        # Tokens count as well.
        assert memory < 1.25 * result
