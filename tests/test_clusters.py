"""Searches on the workers of a cluster, and what goes over the wire to them."""

import pickle

import joblib
import numpy as np
import pytest
from helpers import make_series, tiny_generator, tiny_prior, tiny_transformer
from sklearn.base import clone
from sklearn.linear_model import RidgeClassifier
from sklearn.model_selection import GridSearchCV, cross_val_score
from sklearn.pipeline import make_pipeline

from skncvqvae import AugmentedClassifier

X, Y = make_series(n=24, length=16)
TOKENS = np.random.default_rng(0).integers(4, size=(24, 6))

ESTIMATORS = {
    "transformer": lambda: tiny_transformer(projector_dim=256).fit(X),
    "prior": lambda: tiny_prior(hidden_dim=128, random_state=0).fit(TOKENS),
    "generator": lambda: tiny_generator().fit(X, Y),
    "augmented": lambda: AugmentedClassifier(RidgeClassifier(), tiny_generator()).fit(X, Y),
}


@pytest.mark.parametrize("make", ESTIMATORS.values(), ids=ESTIMATORS)
def test_what_a_search_sends_is_parameters_only(make):
    fitted = make()
    assert len(pickle.dumps(clone(fitted))) < 5_000 < len(pickle.dumps(fitted))


@pytest.fixture(scope="module")
def dask_client():
    distributed = pytest.importorskip("dask.distributed")
    with (
        distributed.LocalCluster(
            n_workers=2, threads_per_worker=1, processes=True, dashboard_address=None
        ) as cluster,
        distributed.Client(cluster) as client,
    ):
        yield client


@pytest.fixture(params=["dask", "ray"])
def cluster(request):
    """Return the name of a joblib backend whose cluster of two workers runs on this machine."""
    if request.param == "dask":
        request.getfixturevalue("dask_client")
        yield "dask"
        return
    ray = pytest.importorskip("ray")
    from ray.util.joblib import register_ray

    ray.init(num_cpus=2, include_dashboard=False, log_to_driver=False)
    register_ray()
    yield "ray"
    ray.shutdown()


@pytest.mark.slow
def test_a_search_on_a_cluster_finds_what_it_finds_here(cluster, tmp_path):
    tokenizer = tiny_transformer(checkpoint_dir=str(tmp_path / "{fingerprint}"))
    pipeline = make_pipeline(tokenizer, RidgeClassifier())
    grid = {
        "ncvqvaetransformer__representation": ["histogram", "embedding"],
        "ncvqvaetransformer__ssl_weight": [0, 1],
    }
    search = GridSearchCV(pipeline, grid, cv=2, error_score="raise")
    # Fits on one thread, as the workers of a cluster make them.
    here = clone(search).set_params(estimator__ncvqvaetransformer__checkpoint_dir=None).fit(X, Y)
    with joblib.parallel_backend(cluster, n_jobs=2):
        search.fit(X, Y)
    np.testing.assert_array_equal(
        search.cv_results_["mean_test_score"], here.cv_results_["mean_test_score"]
    )
    # One of each fold and weight, and the last one on all series, which was made here.
    assert len(list(tmp_path.glob("*/tokenizer.checkpoint"))) == 5


@pytest.mark.slow
def test_an_augmented_classifier_is_cross_validated_on_a_cluster(cluster):
    model = AugmentedClassifier(RidgeClassifier(), tiny_generator(), random_state=0)
    with joblib.parallel_backend(cluster, n_jobs=2):
        scores = cross_val_score(model, X, Y, cv=2, error_score="raise")
    np.testing.assert_array_equal(scores, cross_val_score(model, X, Y, cv=2))
