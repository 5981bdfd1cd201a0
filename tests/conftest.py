import numpy as np
import pytest
from tslearn.datasets import CachedDatasets

from skncvqvae import NCVQVAEGenerator, NCVQVAETransformer

# The smallest model that still has every part; a fit takes a fraction of a second.
TINY = {
    "max_epochs": 2,
    "batch_size": 32,
    "n_codes": 6,
    "code_dim": 8,
    "n_res_blocks": 1,
    "downsampled_width": 4,
    "projector_dim": 16,
    "device": "cpu",
    "random_state": 0,
}
TINY_PRIOR = {
    "prior_max_epochs": 2,
    "prior_hidden_dim": 16,
    "prior_n_layers": 1,
    "prior_n_heads": 1,
    "device": "cpu",
    "random_state": 0,
}


def tiny_transformer(**params):
    return NCVQVAETransformer(**{**TINY, **params})


def tiny_generator(transformer=None, **params):
    transformer = tiny_transformer() if transformer is None else transformer
    return NCVQVAEGenerator(transformer, **{**TINY_PRIOR, **params})


def make_series(n=40, n_channels=None, length=32, seed=0, dtype=np.float64, max_phase=6):
    """Return noisy sines of random phase, in units far from standardised, and two classes."""
    rng = np.random.default_rng(seed)
    y = np.arange(n) % 2
    shape = (n, n_channels or 1, 1)
    time = np.arange(length)
    X = np.sin((0.2 + 0.3 * y[:, None, None]) * time + rng.uniform(0, max_phase, shape))
    X = 50 + 7 * (X + 0.1 * rng.normal(size=X.shape))
    return (X if n_channels else X[:, 0]).astype(dtype), y


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
