"""Our estimators in the benchmarks' terms."""

from sklearn.frozen import FrozenEstimator

from skncvqvae import NCVQVAEGenerator, NCVQVAETransformer


def _make(estimator, preset, **params):
    params["device"] = "cpu"
    return estimator.reference(**params) if preset == "reference" else estimator(**params)


def _durations(estimator, *data):
    return [row["dur"] for row in estimator.fit(*data).history_]


def _fix_size(estimator, n_all):
    """Set what the estimator derives from the number of series as if there were `n_all`."""
    architecture = estimator._architecture(n_all, resume=False)
    automatic = [name for name in architecture if getattr(estimator, name) == "auto"]
    return estimator.set_params(**{name: architecture[name] for name in automatic})


def stage1(X, y, preset, mixed_precision, n_all, ssl_method):
    """Return a function that trains stage 1 and returns the seconds of each epoch."""
    params = {"ssl_method": ssl_method, "mixed_precision": mixed_precision, "random_state": 0}
    model = _fix_size(_make(NCVQVAETransformer, preset, **params), n_all)
    return lambda n_epochs: _durations(model.set_params(max_epochs=n_epochs), X)


def _make_generator(X, preset, mixed_precision, n_all):
    """Return a generator of the size that it would have with `n_all` series."""
    params = {"ssl_method": None, "max_epochs": 1, "random_state": 0}
    transformer = _fix_size(_make(NCVQVAETransformer, preset, **params), n_all).fit(X)
    params = {"prior_mixed_precision": mixed_precision, "random_state": 0}
    generator = _fix_size(_make(NCVQVAEGenerator, preset, **params), n_all)
    return generator.set_params(transformer=FrozenEstimator(transformer))


def stage2(X, y, preset, mixed_precision, n_all):
    """Return a function that trains stage 2 and returns the seconds of each epoch."""
    generator = _make_generator(X, preset, mixed_precision, n_all)
    return lambda n_epochs: _durations(generator.set_params(prior_max_epochs=n_epochs), X, y)


def sampling(X, y, preset, mixed_precision, n_all):
    """Return a function that samples so many series of the first class."""
    generator = _make_generator(X, preset, mixed_precision, n_all).set_params(prior_max_epochs=1)
    generator.fit(X, y)
    return lambda n: generator.sample(n, y=generator.classes_[0])
