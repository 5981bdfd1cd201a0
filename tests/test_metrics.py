"""Metrics: formulas against independent implementations, and data sets in the right order."""

import builtins
import pickle
import re
import subprocess
import sys
import warnings
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import torch
from helpers import make_series, tiny_generator, tiny_transformer
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.linalg import sqrtm
from scipy.stats import mannwhitneyu, norm, wasserstein_distance
from sklearn.base import BaseEstimator, ClassifierMixin, clone
from sklearn.datasets import make_classification
from sklearn.decomposition import PCA
from sklearn.dummy import DummyClassifier
from sklearn.frozen import FrozenEstimator
from sklearn.linear_model import LogisticRegression
from sklearn.metrics import accuracy_score
from sklearn.metrics.pairwise import pairwise_kernels
from sklearn.model_selection import GridSearchCV, cross_validate
from sklearn.neighbors import KNeighborsClassifier
from sklearn.pipeline import Pipeline, make_pipeline
from sklearn.preprocessing import FunctionTransformer
from sklearn.utils.estimator_checks import parametrize_with_checks

from skncvqvae import ModelFileError, metrics
from skncvqvae._base import draw_seed
from skncvqvae.nn.fcn import FCN

LENGTH = 32
ON_FEATURES = [
    metrics.frechet_distance,
    metrics.maximum_mean_discrepancy,
    metrics.kernel_inception_distance,
    metrics.precision,
    metrics.recall,
    metrics.density,
    metrics.coverage,
    metrics.authenticity,
]
ON_SERIES = [
    metrics.marginal_difference,
    metrics.autocorrelation_difference,
    metrics.power_spectrum_difference,
]
LABELLED = [metrics.tstr_score, metrics.trts_score]
WITH_HOLDOUT = [
    metrics.nearest_neighbor_distance_ratio,
    metrics.membership_auc,
    metrics.membership_test,
]

sizes = st.integers(2, 30)
seeds = st.integers(0, 2**32 - 1)


def draw(n, seed, n_classes=3):
    """Return noisy sines in units far from standardised; the class is the frequency."""
    rng = np.random.default_rng(seed)
    y = np.arange(n) % n_classes
    angle = (0.2 + 0.15 * y[:, None]) * np.arange(LENGTH) + rng.uniform(0, 2, (n, 1))
    return 50 + 7 * (np.sin(angle) + 0.1 * rng.normal(size=(n, LENGTH))), y


def spectrum(X):
    return np.log(np.abs(np.fft.rfft(X - X.mean(1, keepdims=True))) + 1)


def spectrum_classifier():
    return make_pipeline(FunctionTransformer(spectrum), LogisticRegression(max_iter=2000))


def flat_classifier():
    """Return a fast classifier of series of any layout."""
    flatten = FunctionTransformer(lambda X: X.reshape(len(X), -1))
    return make_pipeline(flatten, KNeighborsClassifier(3))


X_TRAIN, Y_TRAIN = draw(120, seed=0)
HELD_OUT, Y_HELD_OUT = draw(120, seed=1)
OTHER, Y_OTHER = draw(120, seed=2)
_rng = np.random.default_rng(3)
_many, _y_many = draw(360, seed=4)
CANDIDATES = {
    "identical": X_TRAIN,
    "held_out": HELD_OUT,
    "shifted": HELD_OUT + 4,
    "noised": HELD_OUT + _rng.normal(scale=2, size=HELD_OUT.shape),
    "noisier": HELD_OUT + _rng.normal(scale=5, size=HELD_OUT.shape),
    "mode_dropped": _many[_y_many == 0],
    "copied": X_TRAIN[_rng.permutation(120)] + 0.01 * _rng.normal(size=X_TRAIN.shape),
}


def nearest_to_holdout(X_real, X_synthetic):
    return metrics.nearest_neighbor_distance_ratio(X_real, X_synthetic, OTHER)


# What real held-out series get must beat what these get by the margin. A kind of damage is left
# out where the metric is blind to it by design.
@pytest.mark.parametrize(
    ("metric", "sign", "margin", "worse"),
    [
        (metrics.frechet_distance, -1, 0.5, ["shifted", "noised", "noisier", "mode_dropped"]),
        (metrics.maximum_mean_discrepancy, -1, 0.004, ["shifted", "noised", "mode_dropped"]),
        (metrics.kernel_inception_distance, -1, 5e-4, ["shifted", "noised", "mode_dropped"]),
        (metrics.precision, 1, 0.1, ["shifted", "noised", "noisier"]),
        (metrics.recall, 1, 0.1, ["shifted", "noisier", "mode_dropped"]),
        (metrics.density, 1, 0.1, ["shifted", "noised", "noisier"]),
        (metrics.coverage, 1, 0.1, ["shifted", "noised", "noisier", "mode_dropped"]),
        (metrics.authenticity, 1, 0.1, ["copied", "identical"]),
        (nearest_to_holdout, 1, 0.5, ["copied", "identical"]),
        (nearest_to_holdout, -1, 0.1, ["noised", "noisier"]),
        (metrics.marginal_difference, -1, 0.1, ["shifted", "noisier", "mode_dropped"]),
        (metrics.autocorrelation_difference, -1, 0.01, ["noised", "noisier", "mode_dropped"]),
        (metrics.power_spectrum_difference, -1, 1.0, ["noised", "noisier", "mode_dropped"]),
        (metrics.classifier_two_sample_score, -1, 0.1, ["shifted", "noised", "mode_dropped"]),
    ],
)
def test_order_of_damaged_data(metric, sign, margin, worse):
    held_out = sign * metric(X_TRAIN, HELD_OUT)
    for name in worse:
        assert sign * metric(X_TRAIN, CANDIDATES[name]) < held_out - margin, name


@pytest.mark.parametrize("metric", [*ON_FEATURES[:7], *ON_SERIES])
def test_identical_and_copied_data_are_best(metric):
    sign = 1 if metric in ON_FEATURES[3:7] else -1
    held_out = sign * metric(X_TRAIN, HELD_OUT)
    for name in ("identical", "copied"):
        assert sign * metric(X_TRAIN, CANDIDATES[name]) >= held_out, name


@pytest.mark.parametrize("metric", [metrics.frechet_distance, *ON_SERIES])
def test_distance_of_identical_data_is_zero(metric):
    scale = metric(X_TRAIN, CANDIDATES["noisier"])
    assert metric(X_TRAIN, X_TRAIN) == pytest.approx(0, abs=1e-9 * scale)


def test_values_that_are_known():
    shares = metrics.prdc(X_TRAIN, X_TRAIN, n_neighbors=5)
    # Closed balls: each holds its centre and the five neighbours.
    assert shares == {"precision": 1, "recall": 1, "density": 1.2, "coverage": 1}
    assert metrics.authenticity(X_TRAIN, X_TRAIN) == 0
    assert metrics.nearest_neighbor_distance_ratio(X_TRAIN, OTHER, OTHER) == 1
    assert metrics.classifier_two_sample_score(X_TRAIN, X_TRAIN) == 0
    assert metrics.classifier_two_sample_score(X_TRAIN, X_TRAIN + 100) == 0.5
    assert metrics.marginal_difference(X_TRAIN, X_TRAIN + 3) == pytest.approx(3 / X_TRAIN.std())
    # Twice the amplitude is 20 log10(2) decibel at every frequency.
    doubled = metrics.power_spectrum_difference(X_TRAIN, 2 * X_TRAIN)
    assert doubled == pytest.approx(20 * np.log10(2))
    assert metrics.autocorrelation_difference(X_TRAIN, 2 * X_TRAIN - 9) < 1e-12


def test_chance_level_of_the_two_sample_score():
    scores = [
        metrics.classifier_two_sample_score(draw(60, seed)[0], draw(60, seed + 100)[0])
        for seed in range(5)
    ]
    # A fold average over 120 series deviates by 0.05; half of the deviations count as 0.
    assert np.mean(scores) < 0.1


def test_two_sample_score_thins_the_larger_set():
    """Otherwise guessing the larger set would look like telling the sets apart."""
    few, many = HELD_OUT[:30], np.concatenate([OTHER, X_TRAIN])
    score = metrics.classifier_two_sample_score(few, many, classifier=DummyClassifier())
    assert score == 0


def test_a_few_copies_show_in_a_low_quantile():
    mixed = np.concatenate([CANDIDATES["copied"][:20], HELD_OUT[:100]])
    params = {"X_real": X_TRAIN, "X_synthetic": mixed, "X_holdout": OTHER}
    assert metrics.nearest_neighbor_distance_ratio(**params) > 0.8
    assert metrics.nearest_neighbor_distance_ratio(**params, quantile=0.1) < 0.2


def test_membership_is_told_by_copies_alone():
    """Attacks on strangers stay at chance, the more copies there are, the surer the attack."""
    areas = [metrics.membership_auc(draw(60, s)[0], OTHER, draw(60, s + 50)[0]) for s in range(6)]
    # One area of 60 and 60 deviates by 0.05.
    assert abs(np.mean(areas) - 0.5) < 0.07
    mixed = [
        metrics.membership_auc(X_TRAIN, np.concatenate([X_TRAIN[:n], OTHER]), HELD_OUT)
        for n in (0, 30, 120)
    ]
    assert 0.4 < mixed[0] < mixed[1] - 0.05 < mixed[2] - 0.1 and mixed[2] > 0.95


def test_a_reference_helps_to_attack_where_series_differ_in_how_typical_they_are():
    """Members are rare series; by distance alone they look like strangers."""
    rng = np.random.default_rng(0)
    scale = np.repeat([0.1, 3.0], 100)[:, None]
    dense, rare = (scale[i * 100, 0] * rng.normal(size=(100, 4)) for i in range(2))
    reference = scale * rng.normal(size=(200, 4))
    synthetic = rare + 0.3 * rng.normal(size=rare.shape)
    synthetic = np.concatenate([synthetic, 0.1 * rng.normal(size=(100, 4))])
    arrays = rare, synthetic, dense
    by_distance = metrics.membership_auc(*arrays, features=None)
    by_ratio = metrics.membership_auc(*arrays, X_reference=reference, features=None)
    assert by_ratio > by_distance + 0.3 and by_ratio > 0.8


def test_the_membership_test_tells_how_sure_it_is():
    strangers = metrics.membership_test(X_TRAIN, OTHER, HELD_OUT)
    assert strangers["low"] < 0.5 < strangers["high"] and strangers["p_value"] > 0.05
    copies = metrics.membership_test(X_TRAIN, CANDIDATES["copied"], HELD_OUT)
    assert copies["low"] > 0.9 and copies["p_value"] < 1e-6
    few = metrics.membership_test(X_TRAIN[:12], OTHER, HELD_OUT[:12])
    assert few["high"] - few["low"] > 1.5 * (strangers["high"] - strangers["low"])
    narrow = metrics.membership_test(X_TRAIN, OTHER, HELD_OUT, confidence_level=0.5)
    assert narrow["auc"] == strangers["auc"] == metrics.membership_auc(X_TRAIN, OTHER, HELD_OUT)
    assert strangers["low"] < narrow["low"] < narrow["high"] < strangers["high"]


@pytest.mark.parametrize("holdout", [None, OTHER], ids=["leave one out", "hold-out"])
def test_the_copying_test_tells_copies_from_new_series(holdout):
    found = {
        name: metrics.copying_test(X_TRAIN, CANDIDATES[name], holdout)
        for name in ("held_out", "copied", "noisier")
    }
    assert abs(found["held_out"]["copying"] - 0.5) < 0.12 and abs(found["held_out"]["z"]) < 3.1
    assert found["copied"]["copying"] > 0.95 and found["copied"]["z"] > 10
    assert found["copied"]["p_value"] < 1e-9
    assert found["noisier"]["copying"] < 0.1 and found["noisier"]["p_value"] > 0.99
    mixed = np.concatenate([CANDIDATES["copied"][:60], HELD_OUT[:60]])
    assert found["held_out"]["z"] + 3 < metrics.copying_test(X_TRAIN, mixed, holdout)["z"]


def test_rocket_does_not_depend_on_units():
    expected = metrics.frechet_distance(X_TRAIN, HELD_OUT)
    other_units = metrics.frechet_distance(X_TRAIN / 7 - 9, HELD_OUT / 7 - 9)
    # Rounding moves a few time steps across MiniRocket's thresholds.
    assert other_units == pytest.approx(expected, rel=0.02)


def test_fcn_features_see_damage_and_need_labels():
    held_out, noisier = (
        metrics.frechet_distance(
            X_TRAIN[:, :16], CANDIDATES[name][:, :16], features="fcn", y_real=Y_TRAIN
        )
        for name in ("held_out", "noisier")
    )
    assert noisier > 2 * held_out
    with pytest.raises(ValueError, match="pass y_real"):
        metrics.frechet_distance(X_TRAIN, HELD_OUT, features="fcn")


@pytest.mark.parametrize("metric", ON_FEATURES)
def test_features_can_be_passed_in(metric):
    pca = PCA(5, random_state=0).fit(X_TRAIN)
    expected = metric(pca.transform(X_TRAIN), pca.transform(HELD_OUT), features=None)
    assert metric(X_TRAIN, HELD_OUT, features=pca) == expected
    assert metric(X_TRAIN, HELD_OUT, features=pca.transform) == expected
    rocket = metrics.RocketFeatures(random_state=0).fit(X_TRAIN)
    assert metric(X_TRAIN, HELD_OUT, features=rocket) == metric(X_TRAIN, HELD_OUT)


class Spoiler(ClassifierMixin, BaseEstimator):
    """A nearest mean that writes into what it is given, as some of scikit-learn's steps do."""

    def fit(self, X, y):
        self.classes_ = np.unique(y)
        self.means_ = np.stack([X[y == label].mean(axis=0) for label in self.classes_])
        X[...] = 0
        return self

    def predict_proba(self, X):
        distance = np.square(X[:, None] - self.means_).sum(axis=2)
        X[...] = 0
        return np.eye(len(self.classes_))[distance.argmin(axis=1)]

    def predict(self, X):
        return self.classes_[self.predict_proba(X).argmax(axis=1)]


class Careful(Spoiler):
    def fit(self, X, y):
        return super().fit(X.copy(), y)

    def predict_proba(self, X):
        return super().predict_proba(X.copy())


@pytest.mark.parametrize("metric", ON_FEATURES)
def test_features_may_write_into_their_argument(metric):
    def spoil(X):
        vectors = X.reshape(len(X), -1)[:, :9].copy()
        X[...] = 0
        return vectors

    real, synthetic = X_TRAIN.copy(), HELD_OUT.copy()
    expected = metric(X_TRAIN[:, :9], HELD_OUT[:, :9], features=None)
    assert metric(real, synthetic, features=spoil) == expected
    np.testing.assert_array_equal(real, X_TRAIN)
    np.testing.assert_array_equal(synthetic, HELD_OUT)


@pytest.mark.parametrize(
    "metric",
    [
        lambda X, y, S, z, c: metrics.tstr_score(X, y, S, z, classifier=c),
        lambda X, y, S, z, c: metrics.trts_score(X, y, S, z, classifier=c),
        lambda X, y, S, z, c: metrics.augmentation_gain(X, y, S, z, X, y, classifier=c),
        lambda X, y, S, z, c: metrics.inception_score(X, y, S, classifier=c),
        lambda X, y, S, z, c: metrics.classifier_two_sample_score(X, S, classifier=c),
    ],
    ids=["tstr", "trts", "gain", "inception", "two_sample"],
)
def test_classifiers_may_write_into_their_arguments(metric):
    X, y = make_series(30, length=16)
    S, z = make_series(24, length=16, seed=1)
    before = X.copy(), S.copy()
    assert metric(X, y, S, z, Spoiler()) == metric(X, y, S, z, Careful())
    np.testing.assert_array_equal(X, before[0])
    np.testing.assert_array_equal(S, before[1])


@pytest.mark.parametrize("model", [metrics.FCNClassifier(1), metrics.RocketFeatures(84)])
def test_a_pickle_without_an_attribute_is_refused(model):
    X, y = make_series(12, length=16)
    state = clone(model).fit(X, y).__getstate__()
    del state["codec_"]
    with pytest.raises(ModelFileError, match=f"{type(model).__name__} lacks codec_"):
        type(model).__new__(type(model)).__setstate__(state)


def test_samples_are_counted_by_integers():
    with pytest.raises(TypeError, match="n_samples=True"):
        metrics.make_generator_scorer(metrics.recall, n_samples=True)


@pytest.mark.parametrize("metric", [*ON_FEATURES, *ON_SERIES, metrics.classifier_two_sample_score])
def test_layouts_and_channels(metric):
    X, _ = make_series(20, n_channels=2)
    Y, _ = make_series(24, n_channels=2, seed=1)
    assert np.isfinite(metric(X, Y))
    assert metric(X[:, :1], Y[:, :1]) == pytest.approx(metric(X[:, 0], Y[:, 0]))
    assert metric(X.tolist(), Y) == metric(X, Y)
    assert metric(X.astype(np.float32), Y.astype(np.float32)) == pytest.approx(
        metric(X, Y), rel=1e-2, abs=1e-3
    )


# --- formulas ---------------------------------------------------------------------------------


@settings(max_examples=30, deadline=None)
@given(st.integers(12, 40), st.integers(12, 40), st.integers(1, 8), seeds)
def test_frechet_distance_is_the_textbook_formula(n, m, n_features, seed):
    rng = np.random.default_rng(seed)
    X = rng.normal(size=(n, n_features)) @ rng.normal(size=(n_features, n_features))
    Y = rng.normal(size=(m, n_features)) + rng.normal(size=n_features)
    S, T = np.atleast_2d(np.cov(X.T)), np.atleast_2d(np.cov(Y.T))
    expected = np.sum((X.mean(0) - Y.mean(0)) ** 2) + np.trace(S + T - 2 * sqrtm(S @ T).real)
    value = metrics.frechet_distance(X, Y, features=None)
    assert value == pytest.approx(expected, rel=1e-5, abs=1e-6)


@settings(max_examples=30, deadline=None)
@given(sizes, sizes, st.integers(31, 200), seeds)
def test_frechet_distance_with_more_features_than_series(n, m, n_features, seed):
    rng = np.random.default_rng(seed)
    X, Y = rng.normal(size=(n, n_features)), 2 * rng.normal(size=(m, n_features)) + 1
    S, T = np.cov(X.T), np.cov(Y.T)
    # The trace of a root is the sum of the roots of the eigenvalues.
    roots = np.sqrt(np.linalg.eigvals(S @ T).real.clip(0))
    expected = np.sum((X.mean(0) - Y.mean(0)) ** 2) + np.trace(S + T) - 2 * roots.sum()
    value = metrics.frechet_distance(X, Y, features=None)
    assert value == pytest.approx(expected, rel=1e-4)
    assert metrics.frechet_distance(Y, X, features=None) == pytest.approx(value)
    # Rotations of the features change nothing.
    Q, _ = np.linalg.qr(rng.normal(size=(n_features, n_features)))
    assert metrics.frechet_distance(X @ Q, Y @ Q, features=None) == pytest.approx(value)


def test_frechet_distance_is_stable_far_from_the_origin():
    rng = np.random.default_rng(0)
    X, Y = rng.normal(size=(2, 20, 3000))
    value = metrics.frechet_distance(X, Y, features=None)
    moved = metrics.frechet_distance(X + 1e4, Y + 1e4, features=None)
    assert moved == pytest.approx(value, rel=1e-6)


@settings(max_examples=30, deadline=None)
@given(sizes, sizes, st.integers(1, 8), seeds)
def test_discrepancies_are_the_unbiased_sums(n, m, n_features, seed):
    rng = np.random.default_rng(seed)
    X, Y = rng.normal(size=(n, n_features)), 2 * rng.normal(size=(m, n_features))

    def expected(kernel, **params):
        XX, YY, XY = (
            pairwise_kernels(A, B, metric=kernel, **params) for A, B in ((X, X), (Y, Y), (X, Y))
        )
        within_X = sum(XX[i, j] for i in range(n) for j in range(n) if i != j) / n / (n - 1)
        within_Y = sum(YY[i, j] for i in range(m) for j in range(m) if i != j) / m / (m - 1)
        return within_X + within_Y - 2 * XY.mean()

    value = metrics.kernel_inception_distance(X, Y, features=None)
    cubic = expected("poly", degree=3, coef0=1, gamma=1 / n_features)
    assert value == pytest.approx(cubic, rel=1e-7, abs=1e-9)

    distances = [np.linalg.norm(X[i] - X[j]) for i in range(n) for j in range(i)]
    value = metrics.maximum_mean_discrepancy(X, Y, features=None)
    gamma = 1 / (2 * np.median(distances) ** 2)
    assert value == pytest.approx(expected("rbf", gamma=gamma), rel=1e-7, abs=1e-9)

    # With the linear kernel MMD is about the distance of the means.
    value = metrics.maximum_mean_discrepancy(X, Y, features=None, kernel=lambda A, B: A @ B.T)
    assert value == pytest.approx(expected("linear"), rel=1e-7, abs=1e-9)


def test_discrepancies_are_unbiased():
    values = [
        metrics.kernel_inception_distance(
            *np.random.default_rng(seed).normal(size=(2, 10, 3)), features=None
        )
        for seed in range(400)
    ]
    standard_error = np.std(values) / np.sqrt(len(values))
    assert abs(np.mean(values)) < 4 * standard_error
    assert min(values) < 0 < max(values)


def neighbour_distances(X, k):
    return np.sort(np.linalg.norm(X[:, None] - X, axis=2), axis=1)[:, k]


@settings(max_examples=30, deadline=None)
@given(st.integers(5, 30), st.integers(5, 30), st.integers(1, 6), st.integers(1, 4), seeds)
def test_prdc_by_brute_force(n, m, n_features, k, seed):
    rng = np.random.default_rng(seed)
    X, Y = rng.normal(size=(n, n_features)), 1.5 * rng.normal(size=(m, n_features))
    D = np.linalg.norm(X[:, None] - Y, axis=2)
    in_real = neighbour_distances(X, k)[:, None] >= D
    in_synthetic = neighbour_distances(Y, k) >= D
    expected = {
        "precision": in_real.any(0).mean(),
        "recall": in_synthetic.any(1).mean(),
        "density": in_real.sum() / k / m,
        "coverage": in_real.any(1).mean(),
    }
    params = {"features": None, "n_neighbors": k}
    assert metrics.prdc(X, Y, **params) == pytest.approx(expected)
    for name, value in expected.items():
        assert getattr(metrics, name)(X, Y, **params) == pytest.approx(value)


@settings(max_examples=30, deadline=None)
@given(sizes, sizes, sizes, st.floats(0, 1), seeds)
def test_memorisation_by_brute_force(n, m, h, quantile, seed):
    rng = np.random.default_rng(seed)
    X, Y, Z = (rng.normal(size=(k, 3)) for k in (n, m, h))
    D = np.linalg.norm(Y[:, None] - X, axis=2)
    new = [D[j].min() > neighbour_distances(X, 1)[D[j].argmin()] for j in range(m)]
    assert metrics.authenticity(X, Y, features=None) == pytest.approx(np.mean(new))
    held_out = np.linalg.norm(Z[:, None] - X, axis=2).min(1)
    expected = np.quantile(D.min(1), quantile) / np.quantile(held_out, quantile)
    value = metrics.nearest_neighbor_distance_ratio(X, Y, Z, features=None, quantile=quantile)
    assert value == pytest.approx(expected)


@settings(max_examples=20, deadline=None)
@given(sizes, sizes, sizes, sizes, seeds)
def test_membership_by_brute_force(n, m, h, r, seed):
    rng = np.random.default_rng(seed)
    # Whole numbers of one dimension, so that distances tie.
    X, Y, Z, R = (rng.integers(-9, 9, size=(k, 1)).astype(float) for k in (n, m, h, r))

    def nearest(A, B):
        return np.maximum(np.abs(A - B.T).min(1), 1e-9)

    def area(members, others):
        differences = members[:, None] - others
        return np.mean((differences > 1e-6) + 0.5 * (np.abs(differences) <= 1e-6))

    value = metrics.membership_auc(X, Y, Z, features=None)
    assert value == pytest.approx(area(-nearest(X, Y), -nearest(Z, Y)))
    if (nearest(X, R) > 0.5).all() and (nearest(Z, R) > 0.5).all():
        value = metrics.membership_auc(X, Y, Z, X_reference=R, features=None)
        members, others = (np.log(nearest(A, R) / nearest(A, Y)) for A in (X, Z))
        assert value == pytest.approx(area(members, others))


@settings(max_examples=20, deadline=None)
@given(sizes, sizes, sizes, seeds)
def test_copying_by_brute_force(n, m, h, seed):
    rng = np.random.default_rng(seed)
    X, Y, Z = (rng.integers(-5, 5, size=(k, 2)).astype(float) for k in (n, m, h))
    D = np.linalg.norm(Y[:, None] - X, axis=2).min(1)
    for holdout, real in (
        (Z, np.linalg.norm(Z[:, None] - X, axis=2).min(1)),
        (None, neighbour_distances(X, 1)),
    ):
        found = metrics.copying_test(X, Y, holdout, features=None)
        nearer = real[:, None] - D
        share = np.mean((nearer > 1e-6) + 0.5 * (np.abs(nearer) <= 1e-6))
        assert found["copying"] == pytest.approx(share)
        p_value = mannwhitneyu(D.round(9), real.round(9), alternative="less", method="asymptotic")
        if np.ptp(np.concatenate([D, real])) > 1e-6:
            assert found["p_value"] == pytest.approx(p_value.pvalue)
            # Without the correction for continuity, up to which the two are one test.
            assert norm.sf(found["z"]) <= found["p_value"] + 1e-9
        assert (found["z"] > 0) == (share > 0.5 + 1e-12)


@settings(max_examples=20, deadline=None)
@given(sizes, sizes, st.integers(1, 3), st.integers(1, 6), seeds)
def test_marginal_difference_is_the_mean_wasserstein_distance(n, m, n_channels, length, seed):
    rng = np.random.default_rng(seed)
    X = rng.normal(size=(n, n_channels, length)) * np.arange(1, n_channels + 1)[:, None]
    # Ties between and within the sets are where a quantile function is easily off by one.
    Y = rng.integers(-2, 3, size=(m, n_channels, length)).astype(float)
    distances = [
        wasserstein_distance(X[:, c, t], Y[:, c, t]) / X[:, c].std()
        for c in range(n_channels)
        for t in range(length)
    ]
    assert metrics.marginal_difference(X, Y) == pytest.approx(np.mean(distances))


@settings(max_examples=20, deadline=None)
@given(sizes, sizes, st.integers(2, 20), st.data())
def test_autocorrelation_difference_by_definition(n, m, length, data):
    max_lag = data.draw(st.integers(1, length - 1))
    rng = np.random.default_rng(data.draw(seeds))
    X, Y = rng.normal(size=(n, 2, length)), rng.normal(size=(m, 2, length)).cumsum(2)

    def mean_autocorrelation(X):
        full = [
            [np.correlate(x - x.mean(), x - x.mean(), "full")[length - 1 :] for x in series]
            for series in X
        ]
        full = np.asarray(full)
        return (full / full[..., :1])[..., 1 : max_lag + 1].mean(0)

    expected = np.abs(mean_autocorrelation(X) - mean_autocorrelation(Y)).mean()
    value = metrics.autocorrelation_difference(X, Y, max_lag=max_lag)
    assert value == pytest.approx(expected)


@settings(max_examples=20, deadline=None)
@given(sizes, sizes, st.integers(4, 40), seeds)
def test_power_spectrum_difference_by_definition(n, m, length, seed):
    rng = np.random.default_rng(seed)
    X, Y = rng.normal(size=(n, 2, length)), rng.normal(size=(m, 2, length)).cumsum(2)
    window = 0.5 - 0.5 * np.cos(2 * np.pi * np.arange(length) / length)

    def mean_power(X):
        power = np.abs(np.fft.rfft((X - X.mean(2, keepdims=True)) * window)) ** 2
        power[..., 1:] *= 2
        if length % 2 == 0:  # the Nyquist frequency has no mirror image
            power[..., -1] /= 2
        return power.mean(0)[:, 1:]

    P, Q = mean_power(X), mean_power(Y)
    floor = 1e-6 * P.sum(1, keepdims=True)
    ratio = np.maximum(P, floor) / np.maximum(Q, floor)
    expected = np.sqrt(np.mean((10 * np.log10(ratio)) ** 2))
    assert metrics.power_spectrum_difference(X, Y) == pytest.approx(expected)


def test_constant_series_among_others():
    X, Y = X_TRAIN.copy(), HELD_OUT.copy()
    X[0], Y[:5] = 3.3, -1.7
    for metric in (*ON_FEATURES, *ON_SERIES):
        assert np.isfinite(metric(X, Y))
    flat = np.full_like(Y, 50.1)
    # No auto-correlation at all, so the difference is that of the real series.
    expected = metrics.autocorrelation_difference(X_TRAIN, flat)
    assert expected == metrics.autocorrelation_difference(X_TRAIN, 0 * flat)
    for metric in ON_SERIES[::2]:
        # Constant but for rounding is constant.
        for constant in (flat, flat * (1 + np.finfo(float).eps * (np.arange(LENGTH) % 3))):
            with pytest.raises(ValueError, match="constant in channel 0"):
                metric(constant, Y)


def on_series(metric):
    """Return a metric of `X_real` and `X_synthetic` alone, with labels where it needs some."""
    if metric in (*LABELLED, metrics.augmentation_gain):

        def labelled(X, Y):
            test = (X, np.arange(len(X)) % 2) if metric is metrics.augmentation_gain else ()
            return metric(X, np.arange(len(X)) % 2, Y, np.arange(len(Y)) % 2, *test)

        return labelled
    if metric in WITH_HOLDOUT:
        return lambda X, Y: metric(X, Y, Y[::-1])
    return metric


def finite_or_refused(metric, X, Y, reasons):
    """Return the value of a metric, or None where it refuses, without a warning of overflow."""
    with warnings.catch_warnings():
        warnings.simplefilter("error", RuntimeWarning)
        # aeon says that series are constant, which here they are meant to be.
        warnings.filterwarnings("ignore", "Data seen by instance of MiniRocket")
        try:
            value = metric(X, Y)
        except ValueError as error:
            assert re.search(reasons, str(error)), error
            return None
    assert np.isfinite(list(value.values()) if isinstance(value, dict) else value).all()
    return value


ALL = [
    *ON_FEATURES,
    metrics.prdc,
    metrics.copying_test,
    *WITH_HOLDOUT,
    *ON_SERIES,
    metrics.correlational_score,
    metrics.classifier_two_sample_score,
    *LABELLED,
    metrics.augmentation_gain,
]
ON_RAW_FEATURES = [
    *ON_FEATURES,
    metrics.prdc,
    metrics.copying_test,
    *WITH_HOLDOUT,
]


@pytest.mark.parametrize("metric", ALL)
@pytest.mark.parametrize("factor", [1e160, 1e-200, 1e300])
def test_extreme_units_are_refused(metric, factor):
    X, Y = make_series(12)[0] * factor, make_series(14, seed=1)[0] * factor
    assert finite_or_refused(on_series(metric), X, Y, "too (large|little) to square") is None


@pytest.mark.parametrize("metric", ALL)
@pytest.mark.parametrize("factor", [1e100, 1e-100])
@pytest.mark.parametrize("n_channels", [None, 2])
def test_units_far_from_one_change_nothing(metric, factor, n_channels):
    X, Y = (make_series(14, n_channels, seed=seed)[0] for seed in range(2))
    expected = on_series(metric)(X, Y)
    factors = factor if n_channels is None else np.array([[factor], [1 / factor]])
    value = finite_or_refused(on_series(metric), X * factors, Y * factors, "never")
    assert value == pytest.approx(expected, rel=1e-6, abs=1e-9)


@pytest.mark.parametrize("metric", ALL)
@pytest.mark.parametrize("factor", [1e160, 1e120, 1e-200, 0])
def test_synthetic_series_in_other_units(metric, factor):
    X, Y = make_series(12)[0], make_series(14, seed=1)[0] * factor
    value = finite_or_refused(on_series(metric), X, Y, "too (large|small)")
    assert value is not None or factor > 1 or factor == 1e-200


@pytest.mark.parametrize("metric", ON_RAW_FEATURES)
@pytest.mark.parametrize("factor", [1e160, 1e60, 1e-60, 1e-200])
def test_extreme_features(metric, factor):
    """In the units of the features, which the cubic kernel has to add to one."""
    X, Y = make_series(12)[0], make_series(14, seed=1)[0]
    holdout = [Y[::-1]] if metric in WITH_HOLDOUT else []

    def scaled(X):
        return X * factor

    value = finite_or_refused(
        lambda X, Y: metric(X, Y, *holdout, features=scaled), X, Y, "too (large|little)"
    )
    assert value is not None or factor in (1e160, 1e-200) or "kernel" in metric.__name__


@pytest.mark.parametrize("metric", ALL)
@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_equal_series(metric, dtype):
    X, Y = make_series(12, dtype=dtype)[0], make_series(14, seed=1, dtype=dtype)[0]
    constant, same = np.full_like(X, 0.1), np.repeat(X[:1], 12, axis=0)
    for real, synthetic in [
        (constant, Y),
        (constant, constant),
        (constant, 3 * constant),
        (same, Y),
        (same, same),
        (X, constant),
        (X, same),
    ]:
        reasons = "all its values are equal|no width|constant in channel 0|are in X_real"
        finite_or_refused(on_series(metric), real, synthetic, reasons)


def test_known_values_of_equal_series():
    same = np.repeat(X_TRAIN[:1], 20, axis=0)
    shares = metrics.prdc(same, same)
    assert shares == {"precision": 1, "recall": 1, "density": 4, "coverage": 1}
    assert metrics.authenticity(same, same) == 0
    # Twins in the training set have no distance, and neither has a copy of them.
    twins = np.repeat(X_TRAIN[:30], 2, axis=0)
    for features in ("rocket", None):
        assert metrics.authenticity(twins, X_TRAIN[:30], features=features) == 0
        assert metrics.precision(twins, X_TRAIN[:30], n_neighbors=1, features=features) == 1
    with pytest.raises(ValueError, match="no width"):
        metrics.maximum_mean_discrepancy(1000 + same, OTHER, features=None)


@pytest.mark.parametrize("random_state", range(4))
@pytest.mark.parametrize("features", ["rocket", None, PCA(20).fit(X_TRAIN)])
@pytest.mark.parametrize("offset", [0, 1e5])
def test_a_hold_out_of_training_series_is_refused(random_state, features, offset):
    rng = np.random.default_rng(random_state)
    X = X_TRAIN + offset
    params = {"features": features, "random_state": random_state}
    for holdout in (X, rng.permutation(X), X[rng.integers(0, 120, 50)]):
        with pytest.raises(ValueError, match="X_holdout are in X_real"):
            metrics.nearest_neighbor_distance_ratio(X, HELD_OUT + offset, holdout, **params)
    assert metrics.nearest_neighbor_distance_ratio(X, X, HELD_OUT + offset, **params) == 0


def test_a_hold_out_of_training_series_is_refused_in_single_precision():
    fcn = metrics.FCNClassifier(2, device="cpu", random_state=0).fit(X_TRAIN, Y_TRAIN)
    # Another order gives other batches, and so other rounding.
    shuffled = np.random.default_rng(0).permutation(X_TRAIN)[:77]
    with pytest.raises(ValueError, match="X_holdout are in X_real"):
        metrics.nearest_neighbor_distance_ratio(X_TRAIN, HELD_OUT, shuffled, features=fcn)


# --- classifiers ------------------------------------------------------------------------------


def test_usefulness_is_the_score_of_a_classifier():
    classifier = KNeighborsClassifier(3)
    data = {"X_real": OTHER, "y_real": Y_OTHER, "X_synthetic": HELD_OUT, "y_synthetic": Y_HELD_OUT}
    fitted = clone(classifier).fit(HELD_OUT, Y_HELD_OUT)
    expected = accuracy_score(Y_OTHER, fitted.predict(OTHER))
    assert metrics.tstr_score(**data, classifier=classifier) == expected
    expected = clone(classifier).fit(OTHER, Y_OTHER).score(HELD_OUT, Y_HELD_OUT)
    assert metrics.trts_score(**data, classifier=classifier) == expected
    assert not hasattr(classifier, "classes_")
    few = {**data, "X_real": OTHER[:6], "y_real": Y_OTHER[:6]}
    both = np.concatenate([OTHER[:6], HELD_OUT]), np.concatenate([Y_OTHER[:6], Y_HELD_OUT])
    expected = clone(classifier).fit(*both).score(X_TRAIN, Y_TRAIN)
    expected -= clone(classifier).fit(OTHER[:6], Y_OTHER[:6]).score(X_TRAIN, Y_TRAIN)
    test = {"X_test": X_TRAIN, "y_test": Y_TRAIN, "classifier": classifier}
    assert metrics.augmentation_gain(**few, **test) == pytest.approx(expected)
    dummy = DummyClassifier(strategy="constant", constant=0)
    assert metrics.tstr_score(**data, classifier=dummy, scoring="f1_macro") == pytest.approx(1 / 6)


@pytest.mark.parametrize("metric", LABELLED)
def test_order_of_usefulness(metric):
    def score(X, y):
        return metric(X_TRAIN, Y_TRAIN, X, y)

    good = score(HELD_OUT, Y_HELD_OUT)
    assert good > 0.95
    assert score(HELD_OUT, np.random.default_rng(0).permutation(Y_HELD_OUT)) < 0.6
    very_noisy = HELD_OUT + np.random.default_rng(0).normal(scale=20, size=HELD_OUT.shape)
    assert score(very_noisy, Y_HELD_OUT) < good - 0.1
    if metric is metrics.tstr_score:
        # A class that is never drawn is never predicted: at most two thirds are right.
        drawn = Y_HELD_OUT > 0
        assert score(HELD_OUT[drawn], Y_HELD_OUT[drawn]) <= 2 / 3


def test_order_of_augmentation_gain():
    rng = np.random.default_rng(0)
    # Four series of each class, and noise to make these too few.
    few, y_few = draw(12, seed=7)
    few = few + rng.normal(scale=12, size=few.shape)
    noise = rng.normal(scale=12, size=(2, *HELD_OUT.shape))
    test = OTHER + noise[0], Y_OTHER

    def gain(X, y):
        return metrics.augmentation_gain(few, y_few, X, y, *test)

    assert gain(HELD_OUT + noise[1], Y_HELD_OUT) > 0.1
    assert abs(gain(few, y_few)) < 0.1
    assert gain(HELD_OUT + noise[1], (Y_HELD_OUT + 1) % 3) < -0.1


def test_inception_score_formula_and_order():
    classifier = spectrum_classifier()
    fitted = clone(classifier).fit(X_TRAIN, Y_TRAIN)
    p = fitted.predict_proba(HELD_OUT)
    expected = np.exp(np.mean(np.sum(p * np.log(p / p.mean(0)), axis=1)))
    value = metrics.inception_score(X_TRAIN, Y_TRAIN, HELD_OUT, classifier=classifier)
    assert value == pytest.approx(expected) and 2.5 < value <= 3
    frozen = {"classifier": FrozenEstimator(fitted)}
    assert metrics.inception_score(OTHER, Y_OTHER, HELD_OUT, **frozen) == pytest.approx(expected)
    scores = {
        name: metrics.inception_score(X_TRAIN, Y_TRAIN, X, **frozen)
        for name, X in CANDIDATES.items()
    }
    assert scores["mode_dropped"] < 1.2
    assert scores["noisier"] < scores["held_out"] - 0.3
    assert abs(scores["identical"] - scores["held_out"]) < 0.2
    uniform = DummyClassifier(strategy="prior")
    value = metrics.inception_score(X_TRAIN, Y_TRAIN, HELD_OUT, classifier=uniform)
    assert value == pytest.approx(1)


def test_inception_score_by_fcn():
    assert 2.3 < metrics.inception_score(X_TRAIN, Y_TRAIN, HELD_OUT) <= 3


def test_multivariate_series_reach_classifiers_as_they_are():
    X, y = make_series(40, n_channels=2)
    assert metrics.tstr_score(X, y, X, y) == 1
    with pytest.raises(ValueError, match="dim 3"):
        metrics.tstr_score(X, y, X, y, classifier=KNeighborsClassifier())


# --- seeds and errors -------------------------------------------------------------------------


class NaNClassifier(DummyClassifier):
    def predict_proba(self, X):
        return np.full((len(X), 3), np.nan)


def seeded_calls():
    labelled = X_TRAIN, Y_TRAIN, HELD_OUT, Y_HELD_OUT
    noised = CANDIDATES["noised"]
    calls = {
        metric.__name__: lambda seed, metric=metric: metric(X_TRAIN, noised, random_state=seed)
        for metric in [*ON_FEATURES, metrics.classifier_two_sample_score]
    }
    calls["tstr_score"] = lambda seed: metrics.tstr_score(*labelled, random_state=seed)
    calls["inception_score"] = lambda seed: metrics.inception_score(
        X_TRAIN[:, :9], Y_TRAIN, HELD_OUT[:, :9], random_state=seed
    )
    return calls


@pytest.mark.parametrize("name", seeded_calls())
def test_seeds(name):
    call = seeded_calls()[name]
    numpy_state, torch_state = np.random.get_state()[1].copy(), torch.get_rng_state()
    first = call(0)
    assert first == call(0)
    np.testing.assert_array_equal(np.random.get_state()[1], numpy_state)
    assert torch.equal(torch.get_rng_state(), torch_state)
    if name in ("frechet_distance", "inception_score"):
        rng = np.random.RandomState(1)
        assert len({first, call(rng), call(rng)}) == 3


@pytest.mark.parametrize("metric", [*ON_FEATURES, *ON_SERIES, metrics.classifier_two_sample_score])
@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda X: np.where(X.max() == X, np.nan, X), "X_synthetic contains NaN"),
        (lambda X: np.where(X.max() == X, np.inf, X), "X_synthetic contains infinity"),
        (lambda X: X[:, :-1], rf"X_synthetic holds .*\({LENGTH - 1},\), X_real of"),
        (lambda X: X[:, None], "X_synthetic holds series of shape"),
        (lambda X: X[:1], "minimum of 2"),
        (lambda X: X[0], "1D array"),
        (lambda X: X[:, None, None], "X_synthetic has shape"),
    ],
)
def test_bad_series(metric, change, message):
    with pytest.raises(ValueError, match=message):
        metric(X_TRAIN, change(HELD_OUT))


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (
            lambda: metrics.frechet_distance(X_TRAIN, OTHER, features="resnet"),
            "'resnet'.*'rocket'",
        ),
        (
            lambda: metrics.frechet_distance(X_TRAIN, OTHER, features=lambda X: X[0]),
            "Expected 2D array",
        ),
        (lambda: metrics.maximum_mean_discrepancy(X_TRAIN, OTHER, kernel="x"), "kernel='x'"),
        (
            lambda: metrics.maximum_mean_discrepancy(0 * X_TRAIN, OTHER, features=None),
            "no width",
        ),
        (lambda: metrics.prdc(X_TRAIN, OTHER, n_neighbors=120), "n_neighbors == 120, must be <="),
        (lambda: metrics.prdc(X_TRAIN, OTHER, n_neighbors=0), "n_neighbors == 0"),
        (
            lambda: metrics.nearest_neighbor_distance_ratio(
                X_TRAIN, OTHER, X_TRAIN, features=None
            ),
            "X_holdout are in X_real",
        ),
        (
            lambda: metrics.nearest_neighbor_distance_ratio(X_TRAIN, X_TRAIN, OTHER, quantile=2),
            "quantile == 2",
        ),
        (
            lambda: metrics.membership_test(X_TRAIN, OTHER, HELD_OUT, confidence_level=1.0),
            "confidence_level == 1",
        ),
        (
            lambda: metrics.membership_test(
                X_TRAIN, OTHER, HELD_OUT, features=None, confidence_level=np.nan
            ),
            "confidence_level is NaN",
        ),
        (lambda: metrics.membership_test(X_TRAIN, OTHER, OTHER, n_resamples=0), "n_resamples =="),
        (lambda: metrics.membership_auc(X_TRAIN, OTHER, OTHER[:, :9]), "X_holdout holds"),
        (
            lambda: metrics.membership_auc(X_TRAIN, OTHER, OTHER, X_reference=OTHER[:, :9]),
            "X_reference holds",
        ),
        (lambda: metrics.autocorrelation_difference(X_TRAIN, OTHER, max_lag=LENGTH), "max_lag =="),
        (lambda: metrics.autocorrelation_difference(X_TRAIN[:, :1], OTHER[:, :1]), "max_lag =="),
        (lambda: metrics.power_spectrum_difference(X_TRAIN[:, :3], OTHER[:, :3]), "at least 4"),
        (lambda: metrics.classifier_two_sample_score(X_TRAIN, OTHER[:4]), "n_splits=5.*4 series"),
        (lambda: metrics.classifier_two_sample_score(X_TRAIN, OTHER, n_splits=1), "n_splits == 1"),
        (
            lambda: metrics.frechet_distance(X_TRAIN, OTHER, features=lambda X: X[1:]),
            "119 rows for 120 series",
        ),
        (lambda: metrics.frechet_distance(X_TRAIN, OTHER, features=X_TRAIN), "is unknown"),
        (lambda: metrics.tstr_score(X_TRAIN, Y_TRAIN, OTHER, None), "y_synthetic is None"),
        (lambda: metrics.tstr_score(X_TRAIN, Y_TRAIN, OTHER, 0 * Y_OTHER), "single class 0"),
        (lambda: metrics.trts_score(X_TRAIN, 0 * Y_TRAIN, OTHER, Y_OTHER), "y_real.*single class"),
        (
            lambda: metrics.tstr_score(X_TRAIN, Y_TRAIN[1:], OTHER, Y_OTHER),
            "y_real holds 119 labels",
        ),
        (lambda: metrics.tstr_score(X_TRAIN, Y_TRAIN, OTHER, Y_OTHER + 9), "No label of y_synth"),
        (
            lambda: metrics.tstr_score(X_TRAIN, Y_TRAIN, OTHER, Y_OTHER.astype(str)),
            "No label of y_synth",
        ),
        (
            lambda: metrics.tstr_score(X_TRAIN, Y_TRAIN, OTHER, [None, "a"] * 60),
            "y_synthetic holds strings and other labels",
        ),
        (
            lambda: metrics.trts_score(X_TRAIN, X_TRAIN[:, 0], OTHER, Y_OTHER),
            "y_real holds no class labels",
        ),
        (lambda: metrics.inception_score(X_TRAIN, None, OTHER), "y_real is None"),
        (
            lambda: metrics.inception_score(X_TRAIN, Y_TRAIN, OTHER, classifier=NaNClassifier()),
            "inception_score came out as nan",
        ),
        (
            lambda: metrics.make_generator_scorer(metrics.recall, n_samples=0),
            "n_samples == 0",
        ),
        (lambda: metrics.make_generator_scorer(accuracy_score), "accuracy_score has no parameter"),
        (lambda: metrics.evaluate(None, X_TRAIN, Y_TRAIN, OTHER, None), "y_train and y_test"),
    ],
)
def test_bad_arguments(call, message):
    with pytest.raises(ValueError, match=message):
        call()


def test_metrics_know_no_estimator():
    """So that any generator will do, and the estimators may use the metrics."""
    for path in Path(metrics.__file__).parent.glob("*.py"):
        imported = re.findall(r"^from \.\.(\w+)", path.read_text(), flags=re.MULTILINE)
        estimators = {"_transformer", "_prior", "_generator", "_augmented_classifier"}
        assert not estimators & set(imported), path.name


def test_without_aeon(monkeypatch):
    monkeypatch.setitem(sys.modules, "aeon.transformations.collection.convolution_based", None)
    with pytest.raises(ImportError, match=r"skncvqvae\[metrics\]"):
        metrics.frechet_distance(X_TRAIN, HELD_OUT)
    with pytest.raises(ImportError, match=r"skncvqvae\[metrics\]"):
        metrics.classifier_two_sample_score(X_TRAIN, HELD_OUT)
    assert metrics.frechet_distance(X_TRAIN, HELD_OUT, features=None) > 0


# --- extractors -------------------------------------------------------------------------------


@parametrize_with_checks(
    [
        metrics.RocketFeatures(n_kernels=84, random_state=0),
        metrics.FCNClassifier(4, batch_size=64, lr=3e-3, device="cpu", random_state=0),
    ]
)
def test_sklearn_checks(estimator, check):
    check(estimator)


@pytest.mark.parametrize("length", [1, 2, 8, 9])
def test_rocket_features_of_short_series(length):
    X = np.random.default_rng(0).normal(size=(12, length))
    rocket = metrics.RocketFeatures(n_kernels=100, random_state=0).fit(X)
    features = rocket.transform(X)
    assert features.shape == (12, 84) and features.min() >= 0 and features.max() <= 1
    assert len(rocket.get_feature_names_out()) == 84
    assert features.std(0).max() > 0


def test_rocket_features_see_channels_level_and_amplitude():
    X, _ = make_series(30, n_channels=2)
    rocket = metrics.RocketFeatures(n_kernels=500, random_state=0).fit(X)
    plain = rocket.transform(X)
    for changed in (X + np.array([[5], [0]]), X * [[1], [2]], X[:, ::-1] * [[1], [3]]):
        assert np.abs(rocket.transform(changed) - plain).mean() > 0.01
    with pytest.raises(
        ValueError, match=r"shape \(n, 2, 31\), but RocketFeatures was fitted on \(n, 2, 32\)"
    ):
        rocket.transform(X[:, :, :-1])


def test_rocket_features_leave_the_threads_of_torch_alone():
    code = (
        "import numpy as np, torch; from skncvqvae.metrics import RocketFeatures; "
        "torch.set_num_threads(1); RocketFeatures(84).fit_transform(np.eye(9)); "
        "assert torch.get_num_threads() == 1"
    )
    subprocess.run([sys.executable, "-c", code], check=True)


def test_fcn_is_that_of_the_paper():
    module = FCN(n_channels=3, n_classes=5)
    convolutions = [layer for layer in module.modules() if isinstance(layer, torch.nn.Conv1d)]
    assert [(c.in_channels, c.out_channels, *c.kernel_size) for c in convolutions] == [
        (3, 128, 8),
        (128, 256, 5),
        (256, 128, 3),
    ]
    x = torch.randn(4, 3, 20)
    assert module.convolutions(x).shape == (4, 128, 20)
    assert module.features(x).shape == (4, 128) and module(x).shape == (4, 5)
    # Pooled features do not tell at which time a pattern stands, away from the ends.
    late, early = torch.zeros(2, 1, 3, 60)
    early[0, :, 20], late[0, :, 30] = 1, 1
    module.eval()
    torch.testing.assert_close(module.features(early), module.features(late))


def test_fcn_learns_and_keeps_to_scikit_learn():
    y = np.array(["slow", "middle", "fast"])[Y_TRAIN]
    model = metrics.FCNClassifier(8, random_state=0).fit(X_TRAIN, y)
    assert model.score(HELD_OUT, np.array(["slow", "middle", "fast"])[Y_HELD_OUT]) > 0.9
    np.testing.assert_allclose(model.predict_proba(HELD_OUT).sum(1), 1)
    np.testing.assert_array_equal(
        model.predict(HELD_OUT), model.classes_[model.predict_proba(HELD_OUT).argmax(1)]
    )
    assert model.transform(HELD_OUT).shape == (120, 128)
    assert len(model.get_feature_names_out()) == 128 and len(model.history_) == 8
    again = clone(model).fit(X_TRAIN, y)
    np.testing.assert_array_equal(again.predict_proba(HELD_OUT), model.predict_proba(HELD_OUT))
    loaded = pickle.loads(pickle.dumps(model))
    np.testing.assert_array_equal(loaded.transform(HELD_OUT), model.transform(HELD_OUT))
    X, y = make_classification(60, 20, random_state=0)
    with pytest.raises(ValueError, match="one class, 1"):
        model.fit(X[y == 1], y[y == 1])


@pytest.mark.parametrize(
    "spoil",
    [
        lambda X, y, params: params.update(lr=1e30),
        lambda X, y, params: params.update(batch_size=0),
        lambda X, y, params: params.update(device="nowhere"),
        lambda X, y, params: y.fill(0),
        lambda X, y, params: y.resize(5, refcheck=False),
        lambda X, y, params: X.fill(np.nan),
        lambda X, y, params: np.multiply(X, 1e300, out=X),
    ],
)
def test_a_refit_that_fails_leaves_the_model_intact(spoil):
    rocket = metrics.RocketFeatures(84, random_state=0).fit(X_TRAIN)
    fcn = metrics.FCNClassifier(2, device="cpu", random_state=0).fit(X_TRAIN, Y_TRAIN)
    before = rocket.transform(HELD_OUT), fcn.predict_proba(HELD_OUT)
    state = {name: id(value) for name, value in vars(fcn).items() if name.endswith("_")}
    X, y, params = 1000 + X_TRAIN[:, :9], 7 - Y_TRAIN, {}
    spoil(X, y, params)
    with pytest.raises((ValueError, FloatingPointError)):
        clone(fcn).set_params(**params).fit(X, y)
    with pytest.raises((ValueError, FloatingPointError)):
        fcn.set_params(**params).fit(X, y)
    fcn.set_params(batch_size=16, device="cpu")
    assert state == {name: id(value) for name, value in vars(fcn).items() if name.endswith("_")}
    np.testing.assert_array_equal(fcn.predict_proba(HELD_OUT), before[1])
    with pytest.raises(ValueError):
        rocket.set_params(n_kernels=-1).fit(X)
    if not np.isfinite(X).all() or X.max() > 1e200:
        with pytest.raises(ValueError):
            rocket.set_params(n_kernels=84).fit(X)
    np.testing.assert_array_equal(rocket.transform(HELD_OUT), before[0])


def test_extractors_check_parameters_alone():
    for model in (metrics.RocketFeatures(n_kernels=0), metrics.FCNClassifier(lr=-1)):
        with pytest.raises(ValueError, match=r"n_kernels|'lr'"):
            model.check_params()
    with pytest.raises(ValueError, match="requires y"):
        metrics.FCNClassifier().fit(X_TRAIN, None)


def test_fcn_in_mixed_precision_is_as_accurate():
    fits = [
        metrics.FCNClassifier(8, mixed_precision=mixed, device="cpu", random_state=0)
        for mixed in (False, True)
    ]
    full, mixed = (model.fit(X_TRAIN, Y_TRAIN).predict_proba(HELD_OUT) for model in fits)
    assert not np.array_equal(full, mixed)
    assert np.mean(mixed.argmax(1) == Y_HELD_OUT) > 0.9
    assert fits[1].predict_proba(HELD_OUT[:5]).dtype == full.dtype


# --- generators -------------------------------------------------------------------------------


class Resampler(BaseEstimator):
    """A generator that draws from what it was fitted on and adds noise."""

    def __init__(self, noise=0.0):
        self.noise = noise

    def fit(self, X, y=None):
        self.X_, self.y_ = X, y
        return self

    def sample(self, n_samples=1, y=None, *, random_state=None):
        rng = np.random.default_rng(random_state)
        if y is None:
            index = rng.integers(0, len(self.X_), n_samples)
        else:
            index = np.array([rng.choice(np.flatnonzero(self.y_ == label)) for label in y])
        X = self.X_[index]
        X = X + self.noise * rng.normal(size=X.shape)
        return X, None if self.y_ is None else self.y_[index]


def evaluate_resampler(X, y, noise=0.0):
    fitted = Resampler(noise).fit(X, y)
    return metrics.evaluate(fitted, X_TRAIN, Y_TRAIN, HELD_OUT, Y_HELD_OUT)


def test_evaluate_tells_good_generators_from_bad():
    good, copying = evaluate_resampler(OTHER, Y_OTHER), evaluate_resampler(X_TRAIN, Y_TRAIN, 0.01)
    noisy = evaluate_resampler(OTHER, Y_OTHER, 4)
    for table in (good, copying, noisy):
        assert list(table.columns) == ["aspect", "synthetic", "held_out", "better"]
        assert np.isfinite(table[["synthetic", "held_out"]].to_numpy()).all()
        assert set(table["better"]) == {"higher", "lower", "held_out"}
        # The yardstick does not depend on the generator.
        pd.testing.assert_series_equal(table["held_out"], good["held_out"])
    public = {name for name in metrics.__all__ if name in good.index}
    assert public == set(good.index) and len(good) == 18

    for name in ("frechet_distance", "maximum_mean_discrepancy", "power_spectrum_difference"):
        assert noisy.synthetic[name] > max(good.synthetic[name], noisy.held_out[name])
    for name in ("coverage", "density", "inception_score"):
        assert noisy.synthetic[name] < min(good.synthetic[name], noisy.held_out[name])
    assert good.synthetic["tstr_score"] > 0.9
    assert copying.synthetic["authenticity"] < 0.1 < good.synthetic["authenticity"]
    auc = "membership_auc"
    assert copying.synthetic[auc] > 0.8 > 0.6 > good.synthetic[auc] > 0.4
    assert good.held_out[auc] == pytest.approx(0.5, abs=0.1)
    ratio = "nearest_neighbor_distance_ratio"
    assert copying.synthetic[ratio] < 0.3 < 0.8 < good.synthetic[ratio] < 1.2
    assert good.held_out[ratio] == 1 and good.held_out["augmentation_gain"] == 0


def test_evaluate_agrees_with_single_metrics():
    generator = Resampler().fit(OTHER, None)
    rocket = metrics.RocketFeatures(random_state=5).fit(X_TRAIN)
    table = metrics.evaluate(generator, X_TRAIN, None, HELD_OUT, None, features=rocket)
    assert "tstr_score" not in table.index and "inception_score" not in table.index
    for metric in (*ON_FEATURES, *ON_SERIES):
        params = {"features": rocket} if metric in ON_FEATURES else {}
        expected = metric(X_TRAIN, HELD_OUT, **params)
        assert table.held_out[metric.__name__] == pytest.approx(expected)


def test_evaluate_tries_the_classifier_before_it_trains_its_own(monkeypatch):
    monkeypatch.setattr(metrics.FCNClassifier, "fit", None)
    generator = Resampler().fit(X_TRAIN, Y_TRAIN)
    with pytest.raises(ValueError, match="'C' parameter"):
        metrics.evaluate(
            generator,
            X_TRAIN,
            Y_TRAIN,
            HELD_OUT,
            Y_HELD_OUT,
            features=spectrum,
            classifier=LogisticRegression(C=-1),
        )


def test_evaluate_without_pandas(monkeypatch):
    original = builtins.__import__

    def import_module(name, scope=None, *args):
        # scikit-learn cannot do without a pandas that it has seen before.
        if name == "pandas" and scope and scope["__name__"].startswith("skncvqvae"):
            raise ImportError
        return original(name, scope, *args)

    monkeypatch.setattr(builtins, "__import__", import_module)
    arguments = Resampler().fit(OTHER), X_TRAIN, None, HELD_OUT, None
    table = metrics.evaluate(*arguments, features=spectrum, classifier=spectrum_classifier())
    assert table["coverage"]["better"] == "higher"
    assert table["coverage"]["synthetic"] > 0.5
    other = metrics.evaluate(
        *arguments, features=spectrum, classifier=spectrum_classifier(), random_state=1
    )
    assert other["coverage"]["synthetic"] != table["coverage"]["synthetic"]


def test_evaluate_ncvqvae_generator():
    X, y = make_series(40)
    X_test, y_test = make_series(30, seed=1)
    labels = np.array(["slow", "fast"])
    generator = tiny_generator().fit(X, labels[y])
    table = metrics.evaluate(generator, X, labels[y], X_test, labels[y_test], features="fcn")
    assert len(table) == 18
    # Two epochs teach it nothing, and the table says so.
    assert table.synthetic["frechet_distance"] > table.held_out["frechet_distance"]
    assert table.synthetic["classifier_two_sample_score"] > 0.3


@pytest.mark.parametrize(
    "scorer",
    [
        metrics.neg_frechet_distance_scorer,
        metrics.neg_kernel_inception_distance_scorer,
        metrics.coverage_scorer,
        metrics.tstr_scorer,
        metrics.make_generator_scorer(
            metrics.power_spectrum_difference, greater_is_better=False, n_samples=50
        ),
    ],
)
def test_scorers_find_the_better_parameter(scorer):
    search = GridSearchCV(Resampler(), {"noise": [30, 0.5]}, scoring=scorer, cv=3)
    search.fit(X_TRAIN, Y_TRAIN)
    assert search.best_params_ == {"noise": 0.5}
    again = pickle.loads(pickle.dumps(scorer))
    expected = scorer(search.best_estimator_, HELD_OUT, Y_HELD_OUT)
    assert again(search.best_estimator_, HELD_OUT, Y_HELD_OUT) == expected


def test_scorer_passes_what_the_metric_names():
    calls = []

    def metric(y_synthetic, X_synthetic, y_real, weight):
        calls.append((y_synthetic, X_synthetic, y_real, weight))
        return 3.0

    scorer = metrics.make_generator_scorer(metric, greater_is_better=False, n_samples=7, weight=2)
    assert scorer(Resampler().fit(OTHER, Y_OTHER), HELD_OUT, Y_HELD_OUT) == -3
    y_synthetic, X_synthetic, y_real, weight = calls[0]
    assert len(X_synthetic) == len(y_synthetic) == 7 and y_real is Y_HELD_OUT and weight == 2
    assert "metric" in repr(scorer)


def test_scorer_in_a_search_over_an_ncvqvae_generator():
    X, y = make_series(24)
    search = GridSearchCV(
        tiny_generator(),
        {"sampler__temperature": [0.5, 1.0]},
        scoring={
            "fd": metrics.neg_frechet_distance_scorer,
            "tstr": metrics.make_generator_scorer(metrics.tstr_score, n_samples=60),
        },
        refit="fd",
        cv=2,
    )
    search.fit(X, y)
    assert np.isfinite(search.cv_results_["mean_test_fd"]).all()
    assert np.isfinite(search.cv_results_["mean_test_tstr"]).all()
    # Unlabelled data will do for a metric that needs no labels, and only for that.
    unlabelled = tiny_generator().fit(X)
    assert np.isfinite(metrics.coverage_scorer(unlabelled, X))
    with pytest.raises(ValueError, match="y_real is None"):
        metrics.tstr_scorer(unlabelled, X)


# --- series as the generator reads them -------------------------------------------------------


def with_gaps(X):
    X = X.copy()
    X[np.random.default_rng(0).random(X.shape) < 0.1] = np.nan
    return X


# What the user has, and the parameters with which a generator takes it.
FORMS = {
    "channels_last": (lambda X: X.swapaxes(1, 2), {"data_format": "channels_last"}),
    "one channel last": (lambda X: X[:, :1].swapaxes(1, 2), {"data_format": "channels_last"}),
    "one channel": (lambda X: X[:, :1], {}),
    "unequal lengths": (
        lambda X: [x[:, : 32 - i % 9] for i, x in enumerate(X)],
        {"irregular": "interpolate"},
    ),
    "unequal lengths, channels last": (
        lambda X: [x[:, : 32 - i % 9].T for i, x in enumerate(X)],
        {"irregular": "interpolate", "data_format": "channels_last"},
    ),
    "gaps": (lambda X: with_gaps(X[:, 0]), {"irregular": "interpolate"}),
    "data frame": (lambda X: pd.DataFrame(X[:, 0]).add_prefix("t"), {}),
    "nested lists": (lambda X: X.tolist(), {}),
}
ANY_METRIC = {
    **{metric: {"features": None} for metric in ON_FEATURES},
    **{metric: {} for metric in ON_SERIES},
    metrics.classifier_two_sample_score: {"classifier": flat_classifier()},
    metrics.inception_score: {"classifier": flat_classifier()},
    **{metric: {"classifier": flat_classifier()} for metric in LABELLED},
}


def plain(series):
    return series[:, 0] if series.shape[1] == 1 else series


@pytest.fixture(scope="module", params=FORMS)
def same_series(request):
    """Return generators of the same series, read from any form and as plain arrays, with both."""
    form, params = FORMS[request.param]
    X, y = make_series(24, n_channels=3)
    X_test, _ = make_series(20, n_channels=3, seed=1)
    given, given_test = form(X), form(X_test)
    generator = tiny_generator(tiny_transformer(**params)).fit(given, y)
    arrays, arrays_test = (plain(generator.read(X)) for X in (given, given_test))
    reference = tiny_generator().fit(arrays, y)
    return (generator, given, given_test), (reference, arrays, arrays_test), y


@pytest.mark.parametrize("metric", ANY_METRIC)
def test_every_scorer_reads_series_as_the_generator_does(same_series, metric):
    (generator, _, X), (reference, _, arrays), y = same_series
    score = metrics.make_generator_scorer(metric, **ANY_METRIC[metric])
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        value = score(generator, X, y[:20])
    assert value == pytest.approx(score(reference, arrays, y[:20])) and np.isfinite(value)


@pytest.mark.parametrize(
    "scorer",
    [
        metrics.neg_frechet_distance_scorer,
        metrics.neg_kernel_inception_distance_scorer,
        metrics.coverage_scorer,
        metrics.tstr_scorer,
    ],
)
def test_ready_made_scorers_read_series_as_the_generator_does(same_series, scorer):
    (generator, _, X), (reference, _, arrays), y = same_series
    value = scorer(generator, X, y[:20])
    assert value == pytest.approx(scorer(reference, arrays, y[:20])) and np.isfinite(value)


def test_evaluate_reads_series_as_the_generator_does(same_series):
    given, arrays, _ = same_series
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        tables = [
            metrics.evaluate(
                *(generator, X, None, X_test, None),
                features=None,
                classifier=flat_classifier(),
            )
            for generator, X, X_test in (given, arrays)
        ]
    pd.testing.assert_frame_equal(*tables)
    assert np.isfinite(tables[0][["synthetic", "held_out"]].to_numpy()).all()


def test_a_transformer_as_features_gets_its_own_layout():
    given, test = (make_series(24, n_channels=3, seed=seed)[0].swapaxes(1, 2) for seed in range(2))
    generator = tiny_generator(
        tiny_transformer(data_format="channels_last", representation="histogram", max_epochs=20)
    )
    generator.fit(given)
    features = generator.transformer_
    scorer = metrics.make_generator_scorer(metrics.frechet_distance, features=features)
    expected = metrics.frechet_distance(
        given, generator.sample(24, random_state=draw_seed(0))[0], features=features
    )
    assert scorer(generator, given) == pytest.approx(expected)
    table = metrics.evaluate(
        *(generator, given, None, test, None),
        features=features,
        classifier=flat_classifier(),
    )
    assert table.synthetic["frechet_distance"] == pytest.approx(expected)


class Skipped(BaseEstimator):
    """A step that only resamples, as imbalanced-learn has them."""

    def fit_resample(self, X, y):
        return X, y


def test_generators_are_found_in_what_wraps_them():
    X, y = make_series(24)
    generator = tiny_generator().fit(X, y)
    score = metrics.make_generator_scorer(metrics.frechet_distance, features=None)
    expected = score(generator, X, y)
    search = GridSearchCV(tiny_generator(), {"observation_noise": [1.0]}, cv=2, scoring=score)
    search.fit(X, y)
    pipeline = Pipeline([("generator", generator)])
    for wrapped in (
        FrozenEstimator(generator),
        pipeline,
        FrozenEstimator(pipeline),
        Pipeline([("skip", Skipped()), ("none", "passthrough"), ("generator", pipeline)]),
        search,
        FrozenEstimator(search),
    ):
        assert score(wrapped, X, y) == pytest.approx(expected)
    with pytest.raises(TypeError, match="Pipeline has no method sample"):
        score(make_pipeline(PCA(3), LogisticRegression()), X, y)


def test_series_go_through_a_pipeline_to_its_generator():
    X, y = make_series(24)
    halve = FunctionTransformer(lambda X: X / 2)
    pipeline = make_pipeline(halve, tiny_generator()).fit(X, y)
    score = metrics.make_generator_scorer(metrics.frechet_distance, features=None)
    assert score(pipeline, X, y) == score(pipeline[-1], X / 2, y)
    search = GridSearchCV(
        make_pipeline(halve, tiny_generator()),
        {"ncvqvaegenerator__sampler__temperature": [0.5, 1.0]},
        scoring={"fd": score, "coverage": metrics.coverage_scorer},
        refit="fd",
        cv=2,
        error_score="raise",
    )
    scores = cross_validate(search, X, y, scoring=score, cv=2, error_score="raise")
    assert np.isfinite(scores["test_score"]).all()
    tables = [
        metrics.evaluate(
            *(wrapped, X / unit, None, HELD_OUT / unit, None),
            features=None,
            classifier=flat_classifier(),
        )
        for wrapped, unit in ((pipeline, 1), (pipeline[-1], 2))
    ]
    pd.testing.assert_frame_equal(*tables)


def test_a_score_that_is_nan_raises():
    scorer = metrics.make_generator_scorer(lambda X_synthetic: np.nan)
    with pytest.raises(ValueError, match="is NaN"):
        scorer(Resampler().fit(OTHER), HELD_OUT)


class Unused(Resampler):
    def sample(self, *args, **kwargs):
        raise AssertionError("drawn before the arguments were checked")


@pytest.mark.parametrize(
    ("params", "message"),
    [
        ({"features": "resnet"}, "'resnet'"),
        ({"n_neighbors": 200}, "n_neighbors == 200"),
        ({"X_test": HELD_OUT[:, 1:]}, "X_test holds series of shape"),
        ({"X_test": HELD_OUT * np.nan}, "X_test contains NaN"),
    ],
)
def test_evaluate_checks_its_arguments_first(params, message):
    data = {"X_train": X_TRAIN, "y_train": None, "X_test": HELD_OUT, "y_test": None}
    with pytest.raises(ValueError, match=message):
        metrics.evaluate(Unused().fit(OTHER), **(data | params))
    with pytest.raises(TypeError, match="PCA has no method sample"):
        metrics.evaluate(PCA(), **data)
