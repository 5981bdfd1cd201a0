"""Our estimators in the benchmarks' terms."""

from sklearn.frozen import FrozenEstimator

from skncvqvae import NCVQVAEGenerator, NCVQVAETransformer


def _make(estimator, preset, **params):
    params["device"] = "cpu"
    return estimator.reference(**params) if preset == "reference" else estimator(**params)


def stage1(X, y, n_epochs, preset, mixed_precision=False, **params):
    """Fit stage 1 and return the seconds of each epoch."""
    params |= {"max_epochs": n_epochs, "random_state": 0, "mixed_precision": mixed_precision}
    model = _make(NCVQVAETransformer, preset, **params).fit(X)
    return [row["dur"] for row in model.history_]


def _make_generator(X, preset, n_epochs, mixed_precision=False):
    # Without SSL: the tokenizer's training, and its memory, are not what is measured.
    transformer = _make(
        NCVQVAETransformer, preset, ssl_method=None, max_epochs=1, random_state=0
    ).fit(X)
    generator = _make(
        NCVQVAEGenerator,
        preset,
        prior_max_epochs=n_epochs,
        prior_mixed_precision=mixed_precision,
        random_state=0,
    )
    return generator.set_params(transformer=FrozenEstimator(transformer))


def stage2(X, y, n_epochs, preset, mixed_precision=False):
    """Fit stage 2 and return the seconds of each epoch."""
    generator = _make_generator(X, preset, n_epochs, mixed_precision).fit(X, y)
    return [row["dur"] for row in generator.history_]


def sampling(X, y, n, preset, mixed_precision=False):
    """Return a function that samples `n` series of the first class."""
    generator = _make_generator(X, preset, 1, mixed_precision).fit(X, y)
    return lambda: generator.sample(n, y=generator.classes_[0])
