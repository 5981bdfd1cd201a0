"""Searches train a stage once for each of its parameters and folds, whatever else they vary."""

import numpy as np
import pytest
from helpers import make_series, tiny_generator, tiny_transformer
from sklearn.base import clone
from sklearn.linear_model import LogisticRegression, RidgeClassifier
from sklearn.model_selection import GridSearchCV
from sklearn.pipeline import Pipeline
from skorch.callbacks import Callback

from skncvqvae import AugmentedClassifier

X, Y = make_series(n=24, length=16)


@pytest.fixture
def trainings(monkeypatch):
    """Return a callback, and the names of the stages that it has seen begin."""
    seen = []

    class Count(Callback):
        def on_train_begin(self, net, **kwargs):
            seen.append(net.stage)

    return Count(), seen


def without_times(results):
    return {name: values for name, values in results.items() if "time" not in name}


def assert_same_scores(one, other):
    for name, values in without_times(one.cv_results_).items():
        if name.endswith("score"):
            np.testing.assert_array_equal(values, other.cv_results_[name])


def test_representations_and_classifiers_share_the_training_of_a_fold(tmp_path, trainings):
    count, seen = trainings
    tokenizer = tiny_transformer(callbacks=[count])
    pipeline = Pipeline([("tokenizer", tokenizer), ("classifier", RidgeClassifier())])
    grid = {
        "tokenizer__representation": ["histogram", "embedding", ["codes", "pooled"]],
        "classifier": [RidgeClassifier(), LogisticRegression()],
    }
    search = GridSearchCV(pipeline, grid, cv=3, refit=False, error_score="raise")
    cached = clone(search)
    cached.estimator.set_params(tokenizer__checkpoint_dir=str(tmp_path / "{fingerprint}"))
    cached.fit(X, Y)
    assert seen == ["tokenizer"] * 3
    assert_same_scores(cached, search.fit(X, Y))
    assert len(seen) == 3 + 18


def test_what_determines_the_training_trains_anew(tmp_path, trainings):
    count, seen = trainings
    tokenizer = tiny_transformer(callbacks=[count], checkpoint_dir=tmp_path / "{fingerprint}")
    grid = {"ssl_weight": [0, 1], "representation": ["histogram", "codes"], "lr": [1e-3, 2e-3]}
    GridSearchCV(tokenizer, grid, cv=2, refit=False, error_score="raise").fit(X)
    assert len(seen) == 2 * 2 * 2


def mean_of_samples(generator, X, y):
    return float(generator.sample(4, random_state=0)[0].mean())


def test_sampler_noise_and_moments_share_both_stages(tmp_path, trainings):
    count, seen = trainings
    generator = tiny_generator(tiny_transformer(callbacks=[count]), prior__callbacks=[count])
    grid = {
        "sampler__temperature": [0.7, 1.0],
        "observation_noise": [0.0, 1.0],
        "match_moments": [True, False],
    }
    search = GridSearchCV(
        generator, grid, cv=2, refit=False, scoring=mean_of_samples, error_score="raise"
    )
    cached = clone(search)
    cached.estimator.set_params(checkpoint_dir=str(tmp_path / "{fingerprint}"))
    cached.fit(X, Y)
    assert sorted(seen) == ["prior"] * 2 + ["tokenizer"] * 2
    assert_same_scores(cached, search.fit(X, Y))
    assert len(set(cached.cv_results_["mean_test_score"])) > 2


def test_parameters_of_the_prior_share_the_tokenizer(tmp_path, trainings):
    count, seen = trainings
    generator = tiny_generator(tiny_transformer(callbacks=[count]), prior__callbacks=[count])
    generator.set_params(checkpoint_dir=tmp_path / "{fingerprint}")
    grid = {"prior__hidden_dim": [8, 16, 24]}
    GridSearchCV(generator, grid, cv=2, refit=False, error_score="raise").fit(X, Y)
    assert seen.count("tokenizer") == 2 and seen.count("prior") == 6


def test_what_an_augmented_classifier_does_with_samples_shares_both_stages(tmp_path, trainings):
    count, seen = trainings
    generator = tiny_generator(tiny_transformer(callbacks=[count]), prior__callbacks=[count])
    generator.set_params(checkpoint_dir=tmp_path / "{fingerprint}")
    model = AugmentedClassifier(RidgeClassifier(), generator, random_state=0)
    grid = {
        "ratio": [0.5, 1],
        "mask_ratio": [0.5, 1],
        "estimator": [RidgeClassifier(), LogisticRegression()],
    }
    GridSearchCV(model, grid, cv=2, refit=False, error_score="raise").fit(X, Y)
    assert sorted(seen) == ["prior"] * 2 + ["tokenizer"] * 2


def test_processes_share_what_is_finished(tmp_path, trainings):
    tokenizer = tiny_transformer(checkpoint_dir=tmp_path / "{fingerprint}")
    grid = {"representation": ["histogram", "codes", "embedding"]}
    search = GridSearchCV(tokenizer, grid, cv=2, refit=False, error_score="raise")
    search.set_params(n_jobs=2).fit(X)
    assert len(list(tmp_path.glob("*/tokenizer.checkpoint"))) == 2
    # Where all is finished, no step is made.
    count, seen = trainings
    search.set_params(estimator__callbacks=[count], n_jobs=None).fit(X)
    assert seen == []
