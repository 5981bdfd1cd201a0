"""A representation learnt from all series, and a classifier of the labelled few."""

import pickle

import numpy as np
import pytest
from helpers import make_series, record_work, times_seen, tiny_transformer
from sklearn.base import clone
from sklearn.frozen import FrozenEstimator
from sklearn.linear_model import LogisticRegression, RidgeClassifier
from sklearn.model_selection import GridSearchCV
from sklearn.neighbors import KNeighborsClassifier

from skncvqvae import NCVQVAETransformer, SemiSupervisedClassifier, load, save


def few_labels(y, n=3):
    """Return labels of which only the first `n` of each class are left."""
    kept = np.full(len(y), -1, dtype=y.dtype)
    for label in np.unique(y):
        index = np.flatnonzero(y == label)[:n]
        kept[index] = label
    return kept


@pytest.fixture(scope="module")
def model(series):
    """Return a fitted classifier; tests must not change it."""
    X, y = series
    return SemiSupervisedClassifier(tiny_transformer()).fit(X, few_labels(y))


def test_the_transformer_is_fitted_on_all_series_and_the_classifier_on_the_labelled(series, model):
    X, y = series
    few = few_labels(y)
    transformer = tiny_transformer().fit(X)
    features = transformer.transform(X)
    classifier = LogisticRegression(max_iter=1000).fit(features[few != -1], y[few != -1])
    np.testing.assert_allclose(model.transform(X), features, atol=1e-5)
    np.testing.assert_allclose(
        model.predict_proba(X), classifier.predict_proba(features), atol=1e-3
    )
    assert model.classes_.tolist() == [0, 1] and model.n_labelled_ == 6
    assert model.n_features_in_ == X.shape[1]


def test_six_labels_of_easy_series_are_enough(model):
    X_new, y_new = make_series(n=60, seed=5)
    assert model.score(X_new, y_new) > 0.9


def test_the_labels_that_are_left_out_are_not_seen(series, model):
    X, y = series
    few = few_labels(y)
    again = clone(model).fit(X, few)
    np.testing.assert_allclose(again.predict_proba(X), model.predict_proba(X), atol=1e-6)


def test_text_is_marked_by_the_number_in_an_array_of_objects(series):
    X, y = series
    few = few_labels(y)
    names = np.array(["slow", "fast"], dtype=object)[few]
    names[few == -1] = -1
    model = SemiSupervisedClassifier(tiny_transformer()).fit(X, names)
    assert model.classes_.tolist() == ["fast", "slow"]
    assert set(model.predict(X)) == {"fast", "slow"}
    with pytest.raises(ValueError, match="dtype object"):
        SemiSupervisedClassifier(tiny_transformer()).fit(X, names.astype(str))


@pytest.mark.parametrize(
    ("y", "message"),
    [
        (np.full(40, -1), "labels of 0 classes"),
        (np.where(np.arange(40) < 5, 1, -1), "labels of 1 classes"),
        (np.arange(39) % 2, "inconsistent numbers of samples"),
        (np.linspace(0, 1, 40), "Unknown label type"),
    ],
)
def test_bad_labels_are_refused_before_any_training(series, monkeypatch, y, message):
    work = record_work(monkeypatch)
    with pytest.raises(ValueError, match=message):
        SemiSupervisedClassifier(tiny_transformer()).fit(series[0], y)
    assert not work["tokenize"]


def test_weights_count_and_are_refused_where_the_classifier_takes_none(series, monkeypatch):
    X, y = series
    few = few_labels(y)
    frozen = FrozenEstimator(tiny_transformer().fit(X))
    weight = np.where(y == 1, 50.0, 1.0)
    plain = SemiSupervisedClassifier(frozen, LogisticRegression(C=1e-4)).fit(X, few)
    weighted = SemiSupervisedClassifier(frozen, LogisticRegression(C=1e-4))
    weighted.fit(X, few, sample_weight=weight)
    assert weighted.predict_proba(X)[:, 1].mean() > plain.predict_proba(X)[:, 1].mean() + 0.1
    work = record_work(monkeypatch)
    for estimator, given, message in [
        (KNeighborsClassifier(), weight, "sample_weight"),
        (None, weight[:7], "sample_weight"),
        (LogisticRegression(C=-1), None, "'C' parameter"),
    ]:
        with pytest.raises(ValueError, match=message):
            SemiSupervisedClassifier(tiny_transformer(), estimator).fit(X, few, given)
    assert not work["tokenize"]


def test_one_fit_reads_and_tokenizes_once(series, monkeypatch):
    X, y = series
    work = record_work(monkeypatch)
    SemiSupervisedClassifier(tiny_transformer()).fit(X, few_labels(y))
    assert times_seen(work["fit_read"], X) == 1 and not work["read"]
    assert len(work["standardise"]) == 2 and times_seen(work["standardise"], X[:, None]) == 2


def test_parts_are_searched_and_need_not_be_given(series):
    X, y = series
    frozen = FrozenEstimator(tiny_transformer().fit(X))
    search = GridSearchCV(
        SemiSupervisedClassifier(frozen, LogisticRegression()), {"estimator__C": [0.1, 1]}, cv=2
    )
    assert search.fit(X, y).best_score_ > 0.9
    model = SemiSupervisedClassifier().set_params(transformer__max_epochs=3, estimator__C=5)
    assert model.transformer.max_epochs == 3 and model.estimator.C == 5
    assert isinstance(model.transformer, NCVQVAETransformer)


def test_methods_are_those_of_the_classifier(series):
    X, y = series
    frozen = FrozenEstimator(tiny_transformer().fit(X))
    model = SemiSupervisedClassifier(frozen, RidgeClassifier()).fit(X, few_labels(y))
    assert not hasattr(model, "predict_proba") and model.decision_function(X).shape == (40,)
    assert hasattr(SemiSupervisedClassifier(), "predict_proba")


def test_a_failed_fit_leaves_the_fitted_model(series, model):
    X, _ = series
    copy = pickle.loads(pickle.dumps(model))
    with pytest.raises(ValueError, match="classes"):
        copy.fit(X, np.full(len(X), -1))
    np.testing.assert_array_equal(copy.predict(X), model.predict(X))


def test_a_file_gives_equal_predictions(series, model, tmp_path):
    pytest.importorskip("skops")
    path = tmp_path / "model.safetensors"
    save(model, path)
    loaded = load(path)
    np.testing.assert_array_equal(loaded.predict_proba(series[0]), model.predict_proba(series[0]))
    assert loaded.n_labelled_ == model.n_labelled_


def test_data_frames_are_taken_from_the_transformer(series):
    pytest.importorskip("pandas")
    X, y = series
    transformer = tiny_transformer().set_output(transform="pandas")
    model = SemiSupervisedClassifier(transformer).fit(X, few_labels(y))
    assert model.estimator_.feature_names_in_[0] == "ppv_0"
    assert model.score(X, y) > 0.9
