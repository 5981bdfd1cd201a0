"""Metrics of representations, which need no labels, and scorers of transformers."""

import pickle
import warnings

import numpy as np
import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st
from sklearn.decomposition import PCA
from sklearn.frozen import FrozenEstimator
from sklearn.linear_model import LogisticRegression
from sklearn.model_selection import GridSearchCV, ShuffleSplit
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import FunctionTransformer, StandardScaler

from skncvqvae import NCVQVAETransformer, metrics
from skncvqvae.metrics import make_representation_scorer

TINY = {
    "max_epochs": 1,
    "code_dim": 4,
    "projector_dim": 4,
    "n_codes": 8,
    "n_res_blocks": 1,
    "device": "cpu",
    "random_state": 0,
    "representation": "embedding",
}


@pytest.fixture(scope="module")
def X():
    rng = np.random.RandomState(0)
    return np.cumsum(rng.normal(size=(40, 32)), axis=1)


@pytest.fixture(scope="module")
def transformer(X):
    return NCVQVAETransformer(**TINY).fit(X)


@given(n=st.integers(3, 30), dim=st.integers(1, 8), seed=st.integers(0, 99))
def test_rank_me_is_the_entropy_of_singular_values(n, dim, seed):
    Z = np.random.RandomState(seed).normal(size=(n, dim))
    gram = np.cov(Z, rowvar=False).reshape(dim, dim)
    p = np.sqrt(np.linalg.eigvalsh(gram).clip(1e-300))
    p /= p.sum()
    assert metrics.rank_me(Z) == pytest.approx(np.prod(p**-p), rel=1e-6)
    assert metrics.rank_me(Z) * (1 + 1e-9) >= 1 and metrics.rank_me(Z) < dim + 1e-9
    # What all have in common, and the unit, tell nothing.
    assert metrics.rank_me(3 * Z + 5) == pytest.approx(metrics.rank_me(Z))


def test_rank_me_of_one_direction_is_one():
    Z = np.outer(np.arange(10.0), [1, 2, 3])
    assert metrics.rank_me(Z) == pytest.approx(1, abs=1e-6)


def test_lidar_counts_directions_that_views_keep():
    rng = np.random.RandomState(0)
    series = rng.normal(size=(2000, 1, 6))
    noise = np.array([0.01, 0.01, 0.01, 100, 100, 100])
    views = series * (noise < 1) + noise * rng.normal(size=(2000, 8, 6))
    assert metrics.rank_me(views[:, 0]) == pytest.approx(3, abs=0.3)  # those of the noise
    assert metrics.lidar(views / noise) == pytest.approx(3, abs=0.3)
    assert metrics.lidar(10 * views + 1) == pytest.approx(metrics.lidar(views))


def test_lidar_is_the_formula_of_the_paper():
    views = np.random.RandomState(1).normal(size=(20, 3, 4)) + np.arange(20)[:, None, None] ** 0.5
    centres, overall = views.mean(1), views.mean((0, 1))
    between = sum(np.outer(c - overall, c - overall) for c in centres) / 20
    inside = (views - centres[:, None]).reshape(-1, 4)
    within = sum(np.outer(v, v) for v in inside)
    within = within / (20 * 2)
    within = within + 0.1 * np.trace(between + within) / 4 * np.eye(4)
    # The eigenvalues of W^-1/2 B W^-1/2 are those of W^-1 B.
    values = np.linalg.eigvals(np.linalg.solve(within, between)).real.clip(1e-300)
    p = values / values.sum()
    assert metrics.lidar(views, delta=0.1) == pytest.approx(np.exp(-(p * np.log(p)).sum()))


@given(n=st.integers(2, 12), dim=st.integers(1, 5), seed=st.integers(0, 99))
def test_alignment_and_uniformity_are_their_formulas(n, dim, seed):
    views = np.random.RandomState(seed).normal(size=(n, 2, dim))
    unit = views - views.reshape(-1, dim).mean(0)
    unit /= np.linalg.norm(unit, axis=2, keepdims=True)
    a, b = unit[:, 0], unit[:, 1]
    # Of unit vectors, the squared distance is 2 less twice the product.
    alignment = (2 - 2 * (a * b).sum(1)).mean()
    pairs = ~np.eye(n, dtype=bool)
    uniformity = np.mean([np.log(np.exp(4 * (s @ s.T) - 4)[pairs].mean()) for s in (a, b)])
    assert metrics.alignment(views) == pytest.approx(alignment, abs=1e-9)
    assert metrics.uniformity(views) == pytest.approx(uniformity, abs=1e-9)
    assert metrics.alignment_uniformity(views) == pytest.approx(-alignment - uniformity, abs=1e-9)


def test_alignment_uniformity_prefers_what_tells_series_apart_under_noise():
    rng = np.random.RandomState(0)
    series, noise = rng.normal(size=(200, 1, 4)), rng.normal(size=(200, 2, 4))
    values = [metrics.alignment_uniformity(series + level * noise) for level in (0.1, 0.5, 2)]
    assert values[0] > values[1] + 0.1 > values[2] + 0.2


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: metrics.rank_me(np.ones((5, 3))), "Z holds the same features"),
        (lambda: metrics.rank_me(np.full((5, 3), np.nan)), "Z .*NaN"),
        (lambda: metrics.rank_me([[1.0, 2.0]]), "minimum of 2"),
        (lambda: metrics.lidar(np.ones((5, 2, 3))), "views holds the same features"),
        (lambda: metrics.lidar(np.ones((5, 1, 3))), "two views or more"),
        (lambda: metrics.lidar(np.eye(6).reshape(3, 2, 6), delta=0), "delta"),
        (lambda: metrics.alignment(np.ones((5, 3))), r"\(n_series, n_views, n_features\)"),
        (lambda: metrics.uniformity(np.full((2, 2, 2), np.inf)), "views .*infin"),
        (lambda: make_representation_scorer(metrics.coverage), "neither a parameter Z"),
        (lambda: make_representation_scorer(metrics.lidar, n_views=1), "n_views"),
        (lambda: make_representation_scorer(metrics.lidar, max_series=1), "max_series"),
        (lambda: make_representation_scorer(metrics.lidar, augmentations="x"), "'x'"),
    ],
)
def test_refusals(call, message):
    with pytest.raises(ValueError, match=message):
        call()


def test_scorer_refuses_other_things(X):
    with pytest.raises(TypeError, match="n_views=True"):
        make_representation_scorer(metrics.lidar, n_views=True)
    with pytest.raises(TypeError, match="LogisticRegression has no method transform"):
        metrics.alignment_uniformity_scorer(LogisticRegression(), X)
    scorer = make_representation_scorer(lambda Z: float("nan"))
    with pytest.raises(ValueError, match="NaN"):
        scorer(PCA(2).fit(X), X)


def test_scorer_gives_what_transform_returns(X, transformer):
    scorer = make_representation_scorer(metrics.rank_me)
    expected = metrics.rank_me(transformer.transform(X))
    assert scorer(transformer, X) == pytest.approx(expected)
    assert make_representation_scorer(metrics.rank_me, greater_is_better=False)(
        transformer, X
    ) == pytest.approx(-expected)
    # Without augmentations, views are the series.
    views = make_representation_scorer(
        lambda views: np.ptp(views, axis=1).max(), augmentations=None
    )
    assert views(transformer, X) == 0
    assert make_representation_scorer(metrics.lidar, n_views=3, delta=0.1)(transformer, X) > 1


def test_scorer_looks_at_no_more_than_it_says(X, transformer):
    sizes = []

    def metric(Z, views, at):
        sizes.append((Z.shape, views.shape))
        return at

    scorer = make_representation_scorer(metric, n_views=3, max_series=7, at=4.0)
    assert scorer(transformer, X) == 4
    ((Z, views),) = sizes
    assert (7, transformer.transform(X).shape[1]) == Z
    assert views == (7, 3, Z[1])


def test_views_are_the_same_in_any_unit():
    X = np.cumsum(np.random.RandomState(0).normal(size=(30, 2, 16)), axis=2)
    flatten = FunctionTransformer(lambda X: X.reshape(len(X), -1))
    scorer = make_representation_scorer(metrics.alignment, augmentations="jitter")
    units = np.array([[1.0], [1000.0]])
    first = scorer(flatten.fit(X), X)
    # Each channel in its own unit, put back before it is compared.
    back = FunctionTransformer(lambda X: (X / units).reshape(len(X), -1))
    assert scorer(back.fit(X), X * units) == pytest.approx(first)


def test_scorer_finds_the_transformer_in_what_wraps_it(X, transformer):
    scorer = metrics.alignment_uniformity_scorer
    expected = scorer(transformer, X)
    y = np.arange(len(X)) % 2
    frozen = FrozenEstimator(transformer)
    assert scorer(frozen, X) == expected
    # What follows the transformer is not judged; what stands before it is gone through.
    steps = FunctionTransformer(lambda X: X / 2), frozen, StandardScaler(), LogisticRegression()
    pipeline = make_pipeline(*steps).fit(X, y)
    assert scorer(pipeline, 2 * X) == pytest.approx(expected)
    assert scorer(pickle.loads(pickle.dumps(scorer)) and frozen, X) == expected
    assert pickle.loads(pickle.dumps(scorer))(transformer, X) == expected
    assert np.isfinite(scorer(make_pipeline(StandardScaler(), PCA(3)).fit(X), X))
    assert "alignment_uniformity" in repr(scorer)


@pytest.mark.parametrize("representation", ["pairs", "ppv", ["codes", "embedding"]])
def test_scorer_takes_any_representation_and_layout(X, representation):
    X = np.stack([X, -X], axis=2)
    transformer = NCVQVAETransformer(**TINY, data_format="channels_last").fit(X)
    transformer.set_params(representation=representation).set_output(transform="default")
    assert np.isfinite(metrics.alignment_uniformity_scorer(transformer, X))


def test_scorer_on_data_frames_does_not_warn(X):
    frame = pd.DataFrame(X, columns=[f"t{i}" for i in range(X.shape[1])])
    transformer = NCVQVAETransformer(**TINY).fit(frame).set_output(transform="pandas")
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert np.isfinite(metrics.alignment_uniformity_scorer(transformer, frame))


def test_search_without_labels_takes_the_best_by_the_scorer(X):
    search = GridSearchCV(
        NCVQVAETransformer(**TINY),
        {"ssl_weight": [0.0, 10.0]},
        scoring=metrics.alignment_uniformity_scorer,
        cv=ShuffleSplit(1, test_size=0.5, random_state=0),
    ).fit(X)
    (train, held_out), *_ = search.cv.split(X)
    for weight, score in zip([0.0, 10.0], search.cv_results_["mean_test_score"], strict=True):
        fitted = NCVQVAETransformer(**TINY, ssl_weight=weight).fit(X[train])
        assert metrics.alignment_uniformity_scorer(fitted, X[held_out]) == pytest.approx(score)
    assert search.best_score_ == max(search.cv_results_["mean_test_score"])
