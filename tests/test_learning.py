"""Does it learn? Margins are wide enough for any seed and machine."""

import numpy as np
import pytest
from helpers import make_series, tiny_transformer
from sklearn.linear_model import LogisticRegression
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

SMALL = {"max_epochs": 120, "code_dim": 32, "n_codes": 32, "downsampled_width": 32, "n_fft": 16}


@pytest.fixture(scope="module")
def fitted_on_trace(trace):
    return tiny_transformer(**SMALL, batch_size=64).fit(trace[0])


def test_reconstructs_far_better_than_the_mean(trace, fitted_on_trace):
    X_train, _, X_test, _ = trace
    error_of_mean = np.mean((X_test - X_train.mean(0)) ** 2)
    assert -fitted_on_trace.score(X_test) < 0.25 * error_of_mean


@pytest.mark.parametrize("representation", ["embedding", "histogram", "codes"])
def test_probe_is_far_above_chance(trace, fitted_on_trace, representation):
    X_train, y_train, X_test, y_test = trace
    fitted_on_trace.set_params(representation=representation)
    probe = make_pipeline(StandardScaler(), LogisticRegression(max_iter=2000))
    probe.fit(fitted_on_trace.transform(X_train), y_train)
    # Four classes: chance is 0.25.
    assert probe.score(fitted_on_trace.transform(X_test), y_test) > 0.6


def test_losses_fall(fitted_on_trace):
    history = fitted_on_trace.history_
    for term in ("train_recon_time", "train_recon_timefreq", "train_ssl"):
        assert history[-1][term] < 0.5 * history[0][term]


def test_codebook_is_in_use(fitted_on_trace):
    assert fitted_on_trace.perplexity_ > 8


def test_classes_that_differ_in_one_channel_only():
    X, y = make_series(120, n_channels=2)
    noise, _ = make_series(120, seed=1)
    X[:, 0] = np.random.default_rng(0).permuted(noise, axis=0)
    model = tiny_transformer(max_epochs=80, code_dim=16, n_codes=16).fit(X[:80])
    probe = make_pipeline(StandardScaler(), LogisticRegression(max_iter=2000))
    probe.fit(model.transform(X[:80]), y[:80])
    assert probe.score(model.transform(X[80:]), y[80:]) > 0.75
