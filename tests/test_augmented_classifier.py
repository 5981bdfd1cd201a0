from collections import Counter

import numpy as np
import pandas as pd
import polars as pl
import pytest
from helpers import make_series, record_work, times_seen, tiny_generator, tiny_transformer
from sklearn import config_context
from sklearn.base import BaseEstimator, ClassifierMixin
from sklearn.calibration import CalibratedClassifierCV
from sklearn.decomposition import PCA
from sklearn.ensemble import AdaBoostClassifier
from sklearn.frozen import FrozenEstimator
from sklearn.linear_model import LinearRegression, LogisticRegression, RidgeClassifier
from sklearn.model_selection import GridSearchCV, cross_val_score
from sklearn.naive_bayes import GaussianNB
from sklearn.pipeline import make_pipeline
from sklearn.utils.estimator_checks import parametrize_with_checks

from skncvqvae import AugmentedClassifier


class Recorder(ClassifierMixin, BaseEstimator):
    """Keeps what it was fitted on."""

    def fit(self, X, y, sample_weight=None, note=None):
        self.X_, self.y_, self.sample_weight_, self.note_ = X, y, sample_weight, note
        self.classes_ = np.unique(y)
        return self

    def predict(self, X):
        self.X_predicted_ = X
        return np.full(len(X), self.classes_[0])


@parametrize_with_checks(
    [
        AugmentedClassifier(LogisticRegression(), tiny_generator(), ratio=0.2, random_state=0),
        AugmentedClassifier(
            LogisticRegression(),
            tiny_generator(),
            ratio=0.2,
            mask_ratio=1,
            filter="agreement",
            random_state=0,
        ),
    ],
    expected_failed_checks=lambda estimator: {
        "check_sample_weight_equivalence_on_dense_data": "the generator knows no weights"
    },
)
def test_sklearn_checks(estimator, check):
    check(estimator)


def augmented(estimator=None, **params):
    return AugmentedClassifier(
        estimator or Recorder(), tiny_generator(), **{"random_state": 0, **params}
    )


def test_real_series_come_first_and_unchanged(series):
    X, index = series
    y = np.array(["slow", "fast"])[index]
    model = augmented(ratio=0.5).fit(X, y)
    inner = model.estimator_
    np.testing.assert_array_equal(inner.X_[:40], X)
    assert Counter(inner.y_[40:]) == model.n_synthetic_ == {"slow": 10, "fast": 10}
    # A variation whose redrawn tokens all come out as they were is the series itself.
    assert (inner.X_[40:, None] == X).all(axis=2).any(axis=1).mean() < 0.5
    np.testing.assert_array_equal(model.classes_, ["fast", "slow"])


def test_ratio_zero_is_the_classifier_itself(series):
    X, y = series
    model = augmented(LogisticRegression(max_iter=500), ratio=0).fit(X, y)
    plain = LogisticRegression(max_iter=500).fit(X, y)
    np.testing.assert_allclose(model.predict_proba(X), plain.predict_proba(X))
    assert model.generator_ is None


@pytest.mark.parametrize(
    ("container", "params"),
    [
        (list, {}),
        (pl.DataFrame, {}),
        (lambda X: pd.DataFrame(X).add_prefix("t"), {}),
        (lambda X: pd.DataFrame({"a": [pd.Series(x) for x in X]}), {}),
        (lambda X: np.stack([X, X + 1], axis=2), {"data_format": "channels_last"}),
        (lambda X: [x[: 30 - i % 3] for i, x in enumerate(X)], {"irregular": "interpolate"}),
        (lambda X: np.ma.masked_less(X, X.min() + 1), {"irregular": "interpolate"}),
    ],
    ids=["list", "polars", "frame", "nested", "channels_last", "ragged", "masked"],
)
def test_series_are_read_alike_with_and_without_synthetic_ones(series, container, params):
    X, y = container(series[0]), series[1]
    generator = tiny_generator(tiny_transformer(max_epochs=1, **params))
    plain, more = (
        AugmentedClassifier(Recorder(), generator, ratio=ratio, random_state=0).fit(X, y)
        for ratio in (0, 0.1)
    )
    np.testing.assert_array_equal(plain.estimator_.X_, more.estimator_.X_[:40])
    assert plain.n_features_in_ == more.n_features_in_
    assert hasattr(plain, "feature_names_in_") == hasattr(more, "feature_names_in_")
    assert plain.predict(X).shape == (40,)
    np.testing.assert_array_equal(plain.estimator_.X_predicted_, plain.estimator_.X_)


def test_without_synthetic_series_the_same_is_refused(series):
    X, y = series
    gappy = np.where(X.max() == X, np.nan, X)
    with pytest.raises(ValueError, match="irregular='interpolate'"):
        augmented(GaussianNB(), ratio=0).fit(gappy, y)
    with pytest.raises(ValueError, match="n_codes"):
        augmented(GaussianNB(), ratio=0).set_params(generator__transformer__n_codes=1).fit(X, y)
    model = augmented(GaussianNB(), ratio=0).fit(X, y)
    with pytest.raises(ValueError, match="AugmentedClassifier is expecting 32"):
        model.predict(X[:, :-1])
    frozen = tiny_generator(FrozenEstimator(tiny_transformer(max_epochs=1).fit(X)))
    with pytest.raises(ValueError, match="AugmentedClassifier is expecting 32"):
        AugmentedClassifier(GaussianNB(), frozen, ratio=0).fit(X[:, :-1], y)
    assert AugmentedClassifier(GaussianNB(), frozen, ratio=0).fit(X, y).codec_ is (
        frozen.transformer.estimator.codec_
    )


def test_sampling_strategy_fills_up_classes(series):
    X, _ = series
    y = np.array([0] * 30 + [1] * 10)
    assert augmented(sampling_strategy="auto").fit(X, y).n_synthetic_ == {0: 0, 1: 20}
    assert augmented(sampling_strategy={0: 33, 1: 15}).fit(X, y).n_synthetic_ == {0: 3, 1: 5}


def test_nothing_leaks_from_held_out_series(series):
    """The generator sees the training fold only: held-out outliers do not reach its samples."""
    X, y = series
    X = X.copy()
    X[::4] += 1e4
    seen = []

    class Spy(Recorder):
        def fit(self, X, y):
            seen.append(np.abs(X).max())
            return super().fit(X, y)

    held_out = np.arange(0, 40, 4)
    training = np.setdiff1d(np.arange(40), held_out)
    cross_val_score(augmented(Spy()), X, y, cv=[(training, held_out)])
    assert seen and max(seen) < 1e3


def test_frozen_tokenizer_is_reused(series):
    X, y = series
    tokenizer = tiny_transformer().fit(X)
    model = AugmentedClassifier(Recorder(), tiny_generator(FrozenEstimator(tokenizer))).fit(X, y)
    assert model.generator_.transformer_.estimator is tokenizer


def test_parameters_are_searchable(series):
    X, y = series
    grid = {
        "ratio": [0, 1.0],
        "generator__transformer__ssl_weight": [0.0],
        "generator__prior__max_epochs": [1],
        "generator__sampler__temperature": [0.8],
        "estimator__C": [1, 9],
    }
    model = augmented(LogisticRegression(max_iter=2000))
    search = GridSearchCV(model, grid, cv=2).fit(X, y)
    assert np.isfinite(search.cv_results_["mean_test_score"]).all()


def test_variations_start_from_series_of_their_class():
    X, y = make_series(length=32)
    # An offset that two epochs do not learn: only the series that it starts from has it.
    X = X + 30 * y[:, None]
    model = augmented(mask_ratio=0.25, ratio=2.5).fit(X, y)
    X_new, y_new = model.estimator_.X_[40:], model.estimator_.y_[40:]
    assert Counter(y_new) == {0: 50, 1: 50}
    assert (np.median(X_new, axis=1) > 65).tolist() == (y_new == 1).tolist()


def test_mask_ratio_of_one_samples_from_the_prior(series):
    X, y = series
    model = augmented(mask_ratio=1).fit(X, y)
    recorded = model.estimator_
    seed = np.random.RandomState(0).randint(np.iinfo(np.int32).max)
    X_new, _ = model.generator_.sample(y=recorded.y_[40:], random_state=seed)
    np.testing.assert_array_equal(recorded.X_[40:], X_new)
    varied = augmented(mask_ratio=0.5).fit(X, y).estimator_.X_[40:]
    assert not np.array_equal(varied, X_new)


def test_agreement_keeps_only_series_of_their_class(series):
    X, y = series
    model = augmented(filter="agreement", n_candidates=4).set_params(estimator=GaussianNB())
    model.fit(X, y)
    judge = GaussianNB().fit(X, y)
    recorded = augmented(_Judge(), filter="agreement", n_candidates=4).fit(X, y).estimator_
    assert (judge.predict(recorded.X_[40:]) == recorded.y_[40:]).all()
    assert 0 < sum(model.n_synthetic_.values()) <= 40


class _Judge(GaussianNB):
    def fit(self, X, y):
        self.X_, self.y_ = X, y
        return super().fit(X, y)


class Spoiler(Recorder):
    """Writes into what it is given."""

    def fit(self, X, y):
        super().fit(X.copy(), y)
        X[...] = 0
        return self

    def predict(self, X):
        found = super().predict(X)
        X[...] = 0
        return found


@pytest.mark.parametrize("params", [{"ratio": 0}, {"ratio": 1}, {"filter": "agreement"}])
def test_a_classifier_may_write_into_what_it_is_given(series, params):
    X, y = series[0].copy(), series[1]
    model, expected = (augmented(inner, **params).fit(X, y) for inner in (Spoiler(), Recorder()))
    np.testing.assert_array_equal(model.estimator_.X_, expected.estimator_.X_)
    model.predict(X)
    np.testing.assert_array_equal(X, series[0])


def test_likelihood_keeps_the_likeliest(series):
    X, y = series
    # After two epochs all samples are alike; some thirty make them differ.
    longer = {"generator__transformer__max_epochs": 30, "generator__prior__max_epochs": 30}
    plain = augmented().set_params(**longer).fit(X, y)
    kept = augmented(filter="likelihood", n_candidates=5).set_params(**longer).fit(X, y)
    assert kept.n_synthetic_ == plain.n_synthetic_

    def likelihood(model):
        inner = model.estimator_
        return model.generator_.score(inner.X_[40:], inner.y_[40:])

    assert likelihood(kept) > likelihood(plain)


def test_same_random_state_same_fit(series):
    X, y = series
    first, second = augmented().fit(X, y), augmented().fit(X, y)
    np.testing.assert_array_equal(first.estimator_.X_, second.estimator_.X_)


def test_sample_weight_and_other_metadata(series):
    X, y = series
    weight = np.where(y == 0, 2.0, 5.0)
    model = augmented().fit(X, y, sample_weight=weight, note="kept")
    inner = model.estimator_
    np.testing.assert_allclose(inner.sample_weight_, np.where(inner.y_ == 0, 2.0, 5.0))
    assert inner.note_ == "kept"
    with pytest.raises(ValueError, match="note holds a value for each series"):
        augmented().fit(X, y, note=list(range(40)))
    with config_context(enable_metadata_routing=True):
        routed = augmented(Recorder().set_fit_request(sample_weight=True))
        assert len(routed.fit(X, y, sample_weight=weight).estimator_.sample_weight_) == 80


def test_inside_scikit_learns_meta_estimators(series):
    X, y = series
    weight = np.linspace(1, 2, 40)
    seen = []

    class Spy(GaussianNB):
        def fit(self, X, y, sample_weight=None):
            seen.append(sample_weight)
            return super().fit(X, y, sample_weight)

    CalibratedClassifierCV(
        augmented(LogisticRegression(max_iter=20), ratio=0.5), cv=2, ensemble=False
    ).fit(X, y, sample_weight=weight)
    AdaBoostClassifier(augmented(Spy(), ratio=0.5), n_estimators=1).fit(X, y)
    assert len(seen[-1]) == 60
    scalar = augmented().fit(X, y, sample_weight=3.0).estimator_
    np.testing.assert_array_equal(scalar.sample_weight_, np.full(80, 3.0))
    assert augmented().fit(X, y).estimator_.sample_weight_ is None


@pytest.mark.parametrize(
    ("change", "error", "message"),
    [
        ({"sample_weight": np.ones(3)}, ValueError, "sample_weight"),
        ({"sample_weight": np.full(40, np.nan)}, ValueError, "sample_weight contains NaN"),
        ({"sample_weight": "heavy"}, ValueError, "sample_weight holds text"),
        ({"sample_weight": [pd.NA, *np.ones(39)]}, ValueError, "sample_weight contains NaN"),
        (
            {"sample_weight": np.ma.masked_array(np.ones(40), np.arange(40) == 3)},
            ValueError,
            "sample_weight contains NaN",
        ),
        ({"unknown": 1}, TypeError, "unknown"),
        ({"estimator": LogisticRegression(C=-1)}, ValueError, "'C' parameter"),
        ({"estimator": make_pipeline(PCA(99), GaussianNB())}, ValueError, "n_components=99"),
        ({"generator__prior__callbacks": ["x"]}, TypeError, "callbacks"),
        ({"generator__transformer__n_codes": 1}, ValueError, "n_codes"),
        ({"y": np.zeros(40)}, ValueError, r"y holds 1 class, \[0.0\]"),
        ({"y": np.linspace(0, 1, 40)}, ValueError, "continuous"),
    ],
)
def test_what_is_wrong_is_told_before_the_generator_is_trained(
    series, change, error, message, monkeypatch
):
    monkeypatch.setattr("skncvqvae._transformer.train", None)
    X, y = series
    model = augmented(LogisticRegression())
    change = {"y": y, **change}
    params = {name: change.pop(name) for name in list(change) if name in model.get_params()}
    with pytest.raises(error, match=message):
        model.set_params(**params).fit(X, **change)


def test_a_classifier_that_needs_many_series_is_tried_on_all(series):
    X, y = series

    class Greedy(Recorder):
        def fit(self, X, y):
            if len(X) < 20:
                raise ValueError("too few")
            return super().fit(X, y)

    assert len(augmented(Greedy()).fit(X, y).estimator_.X_) == 80


def test_parameters_of_the_generator_are_set_while_it_is_none():
    model = AugmentedClassifier(GaussianNB()).set_params(generator__prior__max_epochs=7)
    assert model.generator.prior.max_epochs == 7


def test_the_estimator_that_the_user_made_is_named(series):
    X, y = series
    model = augmented(GaussianNB()).fit(X, y)
    with pytest.raises(ValueError, match="AugmentedClassifier"):
        model.predict(X[:, :-1])
    frozen = FrozenEstimator(tiny_transformer().fit(X))
    with pytest.raises(ValueError, match="NCVQVAEGenerator"):
        tiny_generator(frozen).fit(X[:, None, :-1], y)
    lists = augmented(GaussianNB()).fit([pd.Series(x) for x in X], y)
    assert lists.n_features_in_ == 32 and lists.predict(list(X)).shape == (40,)


def test_delegates_what_the_classifier_has(series):
    X, y = series
    assert not hasattr(augmented(RidgeClassifier()), "predict_proba")
    model = augmented(RidgeClassifier()).fit(X, y)
    assert model.decision_function(X).shape == (40,)
    assert augmented(GaussianNB()).fit(X, y).predict_proba(X).shape == (40, 2)


@pytest.mark.filterwarnings("error")
def test_frames_and_multivariate_series():
    X, y = make_series()
    frame = pd.DataFrame(X).add_prefix("t")
    model = augmented(GaussianNB(), filter="likelihood").fit(frame, y)
    assert model.feature_names_in_[0] == "t0" and model.predict(frame).shape == (40,)
    X, y = make_series(n_channels=2)
    model = augmented().fit(X, y)
    assert model.estimator_.X_.shape == (80, 2, 32)


@pytest.mark.parametrize(
    ("params", "message"),
    [
        ({"ratio": -1}, "ratio"),
        ({"filter": "best"}, "filter"),
        ({"n_candidates": 0}, "n_candidates"),
        ({"mask_ratio": 0}, "mask_ratio"),
        ({"generator": LogisticRegression()}, "generator"),
        ({"sampling_strategy": {7: 3}}, "7"),
    ],
)
def test_wrong_parameters_are_named(series, params, message):
    X, y = series
    with pytest.raises(ValueError, match=message):
        augmented().set_params(**params).fit(X, y)


@pytest.mark.parametrize("mask_ratio", [0.5, 1])
@pytest.mark.parametrize("quality", [None, "likelihood", "agreement"])
def test_a_fit_reads_standardises_and_tokenizes_the_series_once(
    monkeypatch, series, mask_ratio, quality
):
    X, y = series
    generator = tiny_generator(tiny_transformer(batch_size=128))
    work = record_work(monkeypatch)
    AugmentedClassifier(
        Recorder(), generator, ratio=2, mask_ratio=mask_ratio, filter=quality, random_state=0
    ).fit(X, y)
    # The classifier was tried on five of each class before.
    assert [len(read) for read in work["fit_read"]] == [10, 40]
    # Drawn series are read where their likelihood is asked for: three for each of 80.
    assert [len(read) for read in work["read"]] == ([240] if quality == "likelihood" else [])
    assert times_seen(work["standardise"], X[:, None]) == 1
    assert times_seen(work["tokenize"], ((X - X.mean()) / X.std())[:, None]) == 1


def test_a_regressor_is_refused_before_any_training(monkeypatch):
    X, y = make_series(12, length=16)
    work = record_work(monkeypatch)
    with pytest.raises(ValueError, match=r"LinearRegression\(\) is a regressor"):
        AugmentedClassifier(LinearRegression(), tiny_generator()).fit(X, y)
    assert not work["tokenize"]


@pytest.mark.parametrize("ratio", [0, 1])
def test_what_a_frozen_tokenizer_refuses_is_refused_in_its_own_name(series, ratio):
    X, y = series
    generator = tiny_generator(FrozenEstimator(tiny_transformer().fit(X)))
    model = AugmentedClassifier(LogisticRegression(), generator, ratio=ratio)
    with pytest.raises(ValueError, match="but AugmentedClassifier is expecting 32"):
        model.fit(X[:, :20], y)
