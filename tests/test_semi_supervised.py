"""A representation learnt from all series, and a classifier of the labelled few."""

import pickle

import numpy as np
import pandas as pd
import pytest
from helpers import make_series, record_work, times_seen, tiny_transformer
from sklearn.base import clone
from sklearn.exceptions import NotFittedError
from sklearn.frozen import FrozenEstimator
from sklearn.linear_model import LinearRegression, LogisticRegression, RidgeClassifier
from sklearn.model_selection import GridSearchCV
from sklearn.neighbors import KNeighborsClassifier
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

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
        (np.array(["a", "b", "-1", "-1"] * 10, dtype=object), "the number -1"),
        (pd.Series(["a", "b", "-1", "-1"] * 10, dtype="string"), "the number -1"),
        (pd.Series(["a", "b", "-1", "-1"] * 10, dtype="category"), "the number -1"),
        (pd.Series(["a", "b", None, None] * 10, dtype="category"), "index 2.* by the number -1"),
        (["a", "b", None, None] * 10, "index 2.* by the number -1"),
        (np.array([0, 1, np.nan, np.nan] * 10), "index 2.* by the number -1"),
        (pd.Series([0, 1, pd.NA, pd.NA] * 10, dtype="Int64"), "index 2.* by the number -1"),
        (np.ma.masked_equal([0, 1, -1, -1] * 10, -1), "index 2.* by the number -1"),
        (None, "y holds no class labels"),
    ],
)
def test_bad_labels_are_refused_before_any_training(series, monkeypatch, y, message):
    work = record_work(monkeypatch)
    with pytest.raises(ValueError, match=message):
        SemiSupervisedClassifier(tiny_transformer()).fit(series[0], y)
    assert not work["tokenize"]


def test_labels_beside_the_number_may_be_objects_and_have_any_index(series):
    X, y = series
    few = few_labels(y)
    frozen = FrozenEstimator(tiny_transformer().fit(X))
    expected = SemiSupervisedClassifier(frozen).fit(X, few).predict(X)
    for names in (np.array([0, 1]), np.array([False, True]), np.array(["a", "b"])):
        objects = names.astype(object)[few]
        objects[few == -1] = -1
        labels = pd.Series(objects, index=range(140, 100, -1))
        model = SemiSupervisedClassifier(frozen).fit(X, labels)
        assert model.classes_.tolist() == names.tolist()
        np.testing.assert_array_equal(model.predict(X), names[expected])


def test_a_regressor_is_refused_before_any_training(series, monkeypatch):
    work = record_work(monkeypatch)
    with pytest.raises(ValueError, match=r"LinearRegression\(\) is a regressor"):
        SemiSupervisedClassifier(tiny_transformer(), LinearRegression()).fit(*series)
    assert not work["tokenize"]


def test_before_fit_it_says_so(series):
    with pytest.raises(NotFittedError, match="SemiSupervisedClassifier"):
        SemiSupervisedClassifier().predict(series[0])


def test_it_is_a_step_of_a_pipeline_of_data_frames(series):
    X, y = series
    part = SemiSupervisedClassifier(tiny_transformer())
    model = make_pipeline(StandardScaler(), part).set_output(transform="pandas")
    model.fit(X, few_labels(y))
    assert model.score(X, y) > 0.5
    features = model.transform(X)
    assert features.columns.tolist() == part.get_feature_names_out().tolist()
    assert part.estimator_.feature_names_in_.tolist() == features.columns.tolist()


def test_the_number_of_features_is_the_transformers(series):
    X, y = series
    model = SemiSupervisedClassifier(tiny_transformer())
    assert model.fit(pd.Series(list(X)), y).n_features_in_ == X.shape[1]


def test_weights_count_and_are_refused_where_the_classifier_takes_none(series, monkeypatch):
    X, y = series
    few = few_labels(y)
    frozen = FrozenEstimator(tiny_transformer().fit(X))
    weight = np.where(y == 1, 50.0, 1.0)
    plain = SemiSupervisedClassifier(frozen, LogisticRegression(C=1e-4)).fit(X, few)
    weighted = SemiSupervisedClassifier(frozen, LogisticRegression(C=1e-4))
    weighted.fit(X, few, sample_weight=weight)
    assert weighted.predict_proba(X)[:, 1].mean() > plain.predict_proba(X)[:, 1].mean() + 0.1
    # One number for all, and what has no label is not looked at.
    for weight_of_all in (1.0, np.where(few == -1, np.nan, 1.0)):
        same = SemiSupervisedClassifier(frozen, LogisticRegression(C=1e-4))
        same.fit(X, few, sample_weight=weight_of_all)
        np.testing.assert_allclose(same.predict_proba(X), plain.predict_proba(X))
    work = record_work(monkeypatch)
    for estimator, given, message in [
        (KNeighborsClassifier(), weight, "sample_weight"),
        (None, weight[:7], "sample_weight"),
        (None, weight[few != -1], "sample_weight has shape"),
        (None, ["heavy"] * len(X), "sample_weight holds text"),
        (None, [{}] * len(X), "sample_weight holds no numbers"),
        (None, np.ma.masked_array(np.ones(len(X)), np.arange(len(X)) < 30), "contains NaN"),
        (None, np.ones(len(X), dtype=complex), "sample_weight holds complex numbers"),
        (None, np.where(few == -1, 1.0, 0.0), "non-zero"),
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


@pytest.mark.parametrize("frozen", [False, True])
@pytest.mark.parametrize("n_channels", [None, 2])
def test_what_is_refused_is_refused_in_its_own_name(frozen, n_channels):
    X, y = make_series(n=12, n_channels=n_channels)
    transformer = tiny_transformer(representation="embedding")
    transformer = FrozenEstimator(transformer.fit(X)) if frozen else transformer
    model = SemiSupervisedClassifier(transformer).fit(X, y)
    series = [X[..., :20], make_series(12)[0] if n_channels else X[:, None], make_series(12, 3)[0]]
    for bad in series:
        for method in (model.predict, model.predict_proba, model.transform):
            with pytest.raises(ValueError, match="X has") as caught:
                method(bad)
            assert "NCVQVAETransformer" not in str(caught.value)
    with pytest.raises(ValueError, match="SemiSupervisedClassifier"):
        model.predict(X[..., :20])
    if frozen:
        with pytest.raises(ValueError, match="SemiSupervisedClassifier"):
            model.fit(X[..., :20], y)


def test_what_is_wrong_with_the_transformer_is_said_of_it(series):
    with pytest.raises(ValueError, match="'lr' parameter of NCVQVAETransformer"):
        SemiSupervisedClassifier(tiny_transformer(lr=-1)).fit(*series)
    with pytest.raises(NotFittedError, match="NCVQVAETransformer"):
        SemiSupervisedClassifier(FrozenEstimator(tiny_transformer())).fit(*series)
