"""Our estimators in the benchmarks' terms."""

import numpy as np
from common import Trained, cpu_seconds
from sklearn.base import clone
from sklearn.frozen import FrozenEstimator

from skncvqvae import MaskedTokenPrior, NCVQVAEGenerator, NCVQVAETransformer


def _make(estimator, preset, **params):
    return estimator.reference(**params) if preset == "reference" else estimator(**params)


def _default_sizes(n_all):
    """Return the sizes that a default prior takes for so many series."""
    params = {"max_epochs": 1, "device": "cpu", "random_state": 0}
    tokens = np.random.default_rng(0).integers(8, size=(n_all, 4))
    prior = MaskedTokenPrior(**params).fit(tokens).module_.config
    return {"hidden_dim": prior.hidden_dim, "n_heads": prior.n_heads}


def _make_parts(preset, n_all, ssl_method, device):
    """Return tokenizer and prior of the sizes that they would have with `n_all` series."""
    sizes = {} if preset == "reference" else _default_sizes(n_all)
    shared = {"device": device, "random_state": 0}
    return (
        _make(NCVQVAETransformer, preset, ssl_method=ssl_method, **shared),
        _make(MaskedTokenPrior, preset, **shared, **sizes),
    )


def _durations(history):
    return [row["dur"] for row in history]


def stage1(X, y, preset, mixed_precision, n_all, ssl_method, device="cpu"):
    """Return a function that trains stage 1 and returns the seconds of each epoch."""
    model, _ = _make_parts(preset, n_all, ssl_method, device)
    model.set_params(mixed_precision=mixed_precision)
    return lambda n_epochs: _durations(model.set_params(max_epochs=n_epochs).fit(X).history_)


def _make_generator(X, preset, mixed_precision, n_all, device):
    """Return a generator whose tokenizer is fitted."""
    transformer, prior = _make_parts(preset, n_all, None, device)
    transformer.set_params(max_epochs=1).fit(X)
    prior.set_params(mixed_precision=mixed_precision)
    parts = {"transformer": FrozenEstimator(transformer), "prior": prior}
    return _make(NCVQVAEGenerator, preset, device=device, random_state=0).set_params(**parts)


def stage2(X, y, preset, mixed_precision, n_all, device="cpu"):
    """Return a function that trains stage 2 and returns the seconds of each epoch."""
    generator = _make_generator(X, preset, mixed_precision, n_all, device)

    def train(n_epochs):
        generator.set_params(prior__max_epochs=n_epochs).fit(X, y)
        return _durations(generator.prior_.history_)

    return train


def sampling(X, y, preset, mixed_precision, n_all, device="cpu"):
    """Return a function that samples so many series of the first class."""
    generator = _make_generator(X, preset, mixed_precision, n_all, device)
    generator.set_params(prior__max_epochs=1).fit(X, y)
    return lambda n: generator.sample(n, y=generator.classes_[0])


def train(X, y, epochs, seed):
    """Return what a default generator has learnt, in so many epochs of each stage, or its own."""
    generator = NCVQVAEGenerator(device="cpu", random_state=seed)
    both = ["transformer__max_epochs", "prior__max_epochs"]
    # The first steps of a process import what training needs.
    clone(generator).set_params(**dict.fromkeys(both, 1)).fit(X, y)
    if epochs is not None:
        generator.set_params(**dict(zip(both, epochs, strict=True)))
    spent = cpu_seconds(lambda: generator.fit(X, y))
    transformer, prior = generator.transformer_, generator.prior_
    drawing = np.random.RandomState(seed)
    return Trained(
        spent,
        {"stage 1": transformer.n_iter_, "stage 2": prior.n_iter_},
        lambda series: transformer.set_params(representation="embedding").transform(series),
        lambda labels: generator.sample(y=labels, random_state=drawing)[0],
    )
