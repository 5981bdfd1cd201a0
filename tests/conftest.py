import numpy as np
import pytest
from helpers import make_series, tiny_generator, tiny_transformer
from hypothesis import HealthCheck, settings
from tslearn.datasets import CachedDatasets

# Machines that run tests are often busy. The same cases in each run, so that a change is to blame
# for what fails; `pytest --hypothesis-profile=search` looks for new ones.
patient = {"deadline": None, "suppress_health_check": [HealthCheck.too_slow]}
settings.register_profile("same", derandomize=True, **patient)
settings.register_profile("search", **patient)
settings.load_profile("same")


@pytest.fixture(scope="session")
def trace():
    """Return tslearn's bundled Trace data as ``(n, length)`` series."""
    X_train, y_train, X_test, y_test = CachedDatasets().load_dataset("Trace")
    return X_train[..., 0], y_train, X_test[..., 0], y_test


@pytest.fixture(scope="module")
def series():
    return make_series()


@pytest.fixture(scope="module")
def fitted(series):
    """Return a fitted transformer; tests must not change it."""
    return tiny_transformer().fit(series[0])


@pytest.fixture(scope="module")
def generator(series):
    """Return a generator fitted with string labels; tests must not change it."""
    X, y = series
    return tiny_generator().fit(X, np.array(["slow", "fast"])[y])
