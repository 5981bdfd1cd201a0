"""Attempts with every kind of input at every public function, and the rule that judges them.

An attempt is fine where a function returns finite values, or refuses its input clearly, within
time, and leaves the input as it was. A refusal is clear where it is a ValueError, a TypeError or
one of scikit-learn's, raised on purpose: by a `raise` of this package, or by scikit-learn's checks
of input. An error that escapes from the inside of torch or numpy is not.
"""

import contextlib
import inspect
import linecache
import os
import signal
import sys
import tempfile
import traceback
import warnings
from collections import Counter
from functools import cache, partial
from random import Random

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
import polars as pl
import scipy.sparse
import torch
from helpers import make_series, tiny_generator, tiny_prior, tiny_transformer
from sklearn.exceptions import NotFittedError
from sklearn.frozen import FrozenEstimator
from sklearn.linear_model import LogisticRegression
from sklearn.naive_bayes import GaussianNB
from sklearn.neighbors import KNeighborsClassifier

import skncvqvae
from skncvqvae import (
    AugmentedClassifier,
    AutoregressiveTokenPrior,
    MaskedTokenPrior,
    SemiSupervisedClassifier,
    augmentations,
    bands,
    load,
    metrics,
    plots,
    samplers,
    save,
    tables,
)
from skncvqvae.augmentations import AUGMENTATIONS, augment, make_augmentation
from skncvqvae.bands import STFTBands, WaveletBands, split_bands
from skncvqvae.tables import TableReader

SECONDS = 60
FINE = ("returned", "refused")
CLEAR = (ValueError, TypeError, NotFittedError, FloatingPointError)
# Where libraries check input on purpose.
CHECKS = ("/sklearn/utils/", "/sklearn/base.py", "/imblearn/utils/", "/narwhals/")
# What escapes from the inside says such things, also through a `raise ... from`.
INSIDE = (
    "setting an array element",
    "could not be broadcast",
    "out of bounds",
    "unhashable",
    "'NoneType' object",
    "has no attribute",
    "zero-size",
    "truth value",
    "Traceback",
)

N, LENGTH = 12, 16


# Series


def values(case, rng):
    """Return an array of series, and whether it is meant to be clean."""
    n, channels, length = case["shape"]
    shape = (n, length) if channels is None else (n, channels, length)
    X = np.full(shape, 1.5) if case["constant"] else rng.normal(size=shape)
    with np.errstate(over="ignore"):
        X = X * case["scale"] + case["offset"]
    for defect in case["defects"]:
        X = DEFECTS[defect](X, rng)
    return X


def _put(X, index, value):
    X = X.copy()
    if X.size:
        X[index] = value
    return X


DEFECTS = {
    "nan": lambda X, rng: np.where(rng.random(X.shape) < 0.1, np.nan, X),
    "nan series": lambda X, rng: _put(X, 0, np.nan),
    "nan channel": lambda X, rng: _put(X, (-1, 0), np.nan),
    "nan tail": lambda X, rng: _put(X, (..., slice(X.shape[-1] // 2, None)), np.nan),
    "nan everywhere": lambda X, rng: X * np.nan,
    "infinite": lambda X, rng: _put(X, (0, ..., -1), np.inf),
    "constant series": lambda X, rng: _put(X, 0, 2.5),
    "equal series": lambda X, rng: np.broadcast_to(X[:1], X.shape).copy(),
    "outlier": lambda X, rng: _put(X, (0, ..., 0), 1e15),
}
DTYPES = {
    name: (lambda X, name=name: X.astype(name))
    for name in ("f8", "f4", "f2", ">f8", ">f4", "g", "i1", "u1", "i8", "?", "O", "c16", "U9")
} | {
    "dates": lambda X: np.zeros(X.shape, dtype="M8[s]"),
    "durations": lambda X: np.zeros(X.shape, dtype="m8[s]"),
}


def _frames(X):
    return [pd.DataFrame(x.reshape(-1, x.shape[-1]).T) for x in X]


def _nested(X):
    X = X[:, None] if X.ndim == 2 else X
    return pd.DataFrame({f"c{i}": list(X[:, i]) for i in range(X.shape[1])})


def _masked(X):
    mask = np.zeros(X.shape, dtype=bool)
    mask[..., :1] = True
    return np.ma.masked_array(X, mask)


def _read_only(X):
    X.flags.writeable = False
    return X


CONTAINERS = {
    "array": lambda X: X,
    "list": list,
    "tuple": tuple,
    "lists": lambda X: X.tolist(),
    "fortran": np.asfortranarray,
    "reversed": lambda X: X[::-1, ..., ::-1],
    "swapped": lambda X: X.swapaxes(1, -1),
    "read only": _read_only,
    "masked": _masked,
    "nothing masked": lambda X: np.ma.masked_array(X),
    "objects": lambda X: np.array([*X, None], dtype=object)[:-1],
    "frame": lambda X: pd.DataFrame(X.reshape(len(X), -1)),
    "named frame": lambda X: pd.DataFrame(X.reshape(len(X), -1)).add_prefix("t"),
    "nullable": lambda X: pd.DataFrame(X.reshape(len(X), -1)).convert_dtypes(),
    "nested": _nested,
    "frames": _frames,
    "series": lambda X: pd.Series(list(X)),
    "levels": lambda X: pd.DataFrame(X.reshape(len(X), -1)).set_index([0, 1]),
    "polars": lambda X: pl.DataFrame(X.reshape(len(X), -1)),
    "polars lists": lambda X: pl.Series(X.tolist()),
    "polars nested": lambda X: pl.DataFrame({"a": X.reshape(len(X), -1).tolist()}),
    "tensor": lambda X: torch.tensor(X, requires_grad=X.dtype.kind == "f"),
    "tensors": lambda X: list(torch.tensor(X)),
    "ragged": lambda X: [x[..., : x.shape[-1] - i % 3] for i, x in enumerate(X)],
    "mixed": lambda X: [X[0], *X.tolist()[1:]],
    "with a scalar": lambda X: [*X, 3.0],
    "with none": lambda X: [*X, None],
    "one series": lambda X: X[0],
    "four dimensions": lambda X: X[:, None, None],
    "nothing": lambda X: X[:0],
    "scalar": lambda X: 1.0,
    "none": lambda X: None,
    "text": lambda X: "series",
    "dictionary": lambda X: dict(enumerate(X)),
    "generator": lambda X: (x for x in X),
    "sparse": lambda X: scipy.sparse.csr_array(np.nan_to_num(X.reshape(len(X), -1))),
}
LABELS = {
    "integers": lambda n, rng: np.arange(n) % 2,
    "text": lambda n, rng: np.array(["a", "b", "c"])[np.arange(n) % 3],
    "logical": lambda n, rng: np.arange(n) % 2 == 0,
    "whole floats": lambda n, rng: np.arange(n) % 2 / 1.0,
    "one class": lambda n, rng: np.zeros(n, dtype=int),
    "all different": lambda n, rng: np.arange(n),
    "rare": lambda n, rng: (np.arange(n) == 0).astype(int),
    "continuous": lambda n, rng: rng.normal(size=n),
    "none": lambda n, rng: None,
    "with none": lambda n, rng: [None, *(np.arange(n - 1) % 2).tolist()],
    "nan": lambda n, rng: np.where(np.arange(n) % 2, np.nan, 1.0),
    "infinite": lambda n, rng: np.where(np.arange(n) % 2, np.inf, 1.0),
    "short": lambda n, rng: np.arange(n - 1) % 2,
    "empty": lambda n, rng: [],
    "column": lambda n, rng: (np.arange(n) % 2)[:, None],
    "two columns": lambda n, rng: np.zeros((n, 2), dtype=int),
    "masked": lambda n, rng: np.ma.masked_equal(np.arange(n) % 2, 1),
    "mixed": lambda n, rng: np.array(["a", 1] * n, dtype=object)[:n],
    "mixed list": lambda n, rng: ["a", 1][:n] * (n // 2),
    "objects": lambda n, rng: [{}] * n,
    "pandas": lambda n, rng: pd.Series(np.arange(n) % 2, name="kind"),
    "categories": lambda n, rng: pd.Series(["a", "b"] * n, dtype="category")[:n],
    "nullable": lambda n, rng: pd.Series([1, None] * n, dtype="Int64")[:n],
    "polars": lambda n, rng: pl.Series((np.arange(n) % 2).tolist()),
    "dates": lambda n, rng: np.zeros(n, dtype="M8[D]"),
    "scalar": lambda n, rng: 1,
    "text itself": lambda n, rng: "labels",
}


def usually(random, common, others, odd=0.12, calm=1.0):
    """Draw what is common most of the time; `calm` multiplies the share of the others."""
    return random.choice(list(others)) if random.random() < odd * calm else common


SCALES = [1e-320, 1e-200, 1e-100, 1e-38, 1e-3, 1e9, 1e38, 1e100, 1e160, 1e300]


def draw_series(random, calm):
    some = partial(usually, random, calm=calm)
    return {
        "shape": (
            some(N, [1, 2, 3]),
            some(None, [1, 2, 3], 0.4),
            some(LENGTH, [1, 2, 5, 33]),
        ),
        "scale": some(1.0, SCALES),
        "offset": some(0.0, [1e3, -1e12, 1e200], 0.08),
        "constant": some(False, [True], 0.04),
        "defects": some((), [(one,) for one in DEFECTS]),
        "dtype": some("f8", DTYPES),
        "container": some("array", CONTAINERS, 0.3),
        "seed": random.randrange(10),
    }


def build(case):
    """Return the series of a case; plain ones where its parts do not go together."""
    rng = np.random.default_rng(case["seed"])
    X = values(case, rng)
    with warnings.catch_warnings(), np.errstate(all="ignore"):
        warnings.simplefilter("ignore")
        try:
            return CONTAINERS[case["container"]](DTYPES[case["dtype"]](X))
        except Exception:
            return X


def build_labels(name, X, rng):
    try:
        n = len(X)
    except TypeError:
        n = N
    try:
        return LABELS[name](n, rng)
    except Exception:
        return None


# Functions


@cache
def models():
    """Return fitted models, which attempts must not change."""
    X, y = make_series(N, length=LENGTH)
    X2, _ = make_series(N, n_channels=2, length=LENGTH)
    one_epoch = {"max_epochs": 1, "projector_dim": 8}
    mending = {"irregular": "interpolate", "missing_channels": "mean", **one_epoch}
    last = {"irregular": "interpolate", "data_format": "channels_last", **one_epoch}
    plain = tiny_generator(tiny_transformer(**one_epoch)).fit(X, np.array(["a", "b"])[y])
    masked = tiny_generator(
        FrozenEstimator(plain.transformer_), prior=tiny_prior(MaskedTokenPrior)
    ).fit(X)
    frame = tiny_generator(tiny_transformer(**mending)).fit(pd.DataFrame(X).add_prefix("t"), y)
    mending2 = tiny_generator(tiny_transformer(**mending)).fit(X2, y)
    last2 = tiny_generator(tiny_transformer(**last)).fit(X2.swapaxes(1, 2), y)
    banded = tiny_generator(
        tiny_transformer(bands="stft", n_levels=2, **one_epoch),
        prior=tiny_prior(MaskedTokenPrior),
    ).fit(X, y)
    classifier = AugmentedClassifier(
        LogisticRegression(), tiny_generator(tiny_transformer(**mending)), random_state=0
    ).fit(X, y)
    without = AugmentedClassifier(
        LogisticRegression(), tiny_generator(tiny_transformer(**mending)), ratio=0
    ).fit(X, y)
    few = SemiSupervisedClassifier(
        tiny_transformer(representation="embedding", **mending), LogisticRegression()
    ).fit(X, np.where(np.arange(N) < 6, y, -1))
    return {
        "plain": plain,
        "masked": masked,
        "frame": frame,
        "mending": mending2,
        "last": last2,
        "banded": banded,
        "AugmentedClassifier": classifier,
        "AugmentedClassifier without series": without,
        "SemiSupervisedClassifier": few,
        "FCNClassifier": metrics.FCNClassifier(1, random_state=0, device="cpu").fit(X, y),
        "RocketFeatures": metrics.RocketFeatures(84, random_state=0).fit(X),
    }


KINDS = ("plain", "masked", "frame", "mending", "last", "banded")


def flat(X):
    """Return features of series that cost nothing."""
    return np.asarray(X).reshape(len(X), -1)


def _small(a):
    return {"max_epochs": 1, "projector_dim": 8, "representation": "embedding", **a["params"]}


def _fit_transformer(a):
    model = tiny_transformer(**_small(a)).fit(a["X"])
    return model.transform(a["X"]), model.codebook_


def _fit_transform(a):
    return tiny_transformer(**_small(a)).fit_transform(a["X"])


def _fit_generator(a):
    model = tiny_generator(tiny_transformer(**_small(a)))
    model.fit(a["X"], a["y"])
    return model.sample(2)[0]


def _fit_resample(a):
    return tiny_generator(tiny_transformer(**_small(a))).fit_resample(a["X"], a["y"])


def _fit_classifier(a):
    generator = tiny_generator(tiny_transformer(**_small(a)))
    ratio = a["number"] if a["number"] == 0 else 0.5
    model = AugmentedClassifier(KNeighborsClassifier(1), generator, ratio=ratio, random_state=0)
    return model.fit(a["X"], a["y"], sample_weight=None).predict(a["X"])


def _fit_semi_supervised(a):
    model = SemiSupervisedClassifier(tiny_transformer(**_small(a)), GaussianNB())
    return model.fit(a["X"], a["y"]).predict(a["X"])


def _fit_prior(prior_class):
    def attempt(a):
        prior = tiny_prior(prior_class, max_epochs=1, random_state=0)
        return prior.fit(a["tokens"], a["y"]).sample(2)

    return attempt


def _constructed(make, fit):
    """Return an attempt with an odd value for one of the parameters of an estimator."""

    def attempt(a):
        model = make()
        names = sorted(set(model.get_params(deep=False)) - _UNTRIED_PARAMETERS)
        name = names[a["seed"] % len(names)]
        value = a["any_number"]
        if value is None and name in ("transformer", "generator", "prior"):
            value = "none"  # None is the default one, which trains for minutes
        return fit(model.set_params(**{name: value}), a)

    return attempt


# A folder or a device of such a name would be made or looked for, and `verbose` prints.
_UNTRIED_PARAMETERS = {"checkpoint_dir", "device", "verbose", "n_jobs", "random_state"}
_X, _Y = make_series(N, length=LENGTH)


def _tiny_fcn():
    return metrics.FCNClassifier(max_epochs=1, random_state=0, device="cpu")


CONSTRUCTED = {
    "NCVQVAETransformer with": _constructed(
        lambda: tiny_transformer(max_epochs=1, projector_dim=8),
        lambda model, a: model.fit(_X).transform(_X),
    ),
    "NCVQVAEGenerator with": _constructed(
        lambda: tiny_generator(tiny_transformer(max_epochs=1, projector_dim=8)),
        lambda model, a: model.fit(_X, _Y).sample(2)[0],
    ),
    "MaskedTokenPrior with": _constructed(
        lambda: tiny_prior(MaskedTokenPrior, max_epochs=1),
        lambda model, a: model.fit(np.arange(24).reshape(4, 6) % 5).sample(2)[0],
    ),
    "AutoregressiveTokenPrior with": _constructed(
        lambda: tiny_prior(max_epochs=1),
        lambda model, a: model.fit(np.arange(24).reshape(4, 6) % 5).sample(2)[0],
    ),
    "AugmentedClassifier with": _constructed(
        lambda: AugmentedClassifier(
            GaussianNB(), tiny_generator(tiny_transformer(max_epochs=1, projector_dim=8))
        ),
        lambda model, a: model.fit(_X, _Y).predict(_X),
    ),
    "SemiSupervisedClassifier with": _constructed(
        lambda: SemiSupervisedClassifier(tiny_transformer(max_epochs=1, projector_dim=8)),
        lambda model, a: model.fit(_X, _Y).predict_proba(_X),
    ),
    "FCNClassifier with": _constructed(
        _tiny_fcn, lambda model, a: model.fit(_X, _Y).predict_proba(_X)
    ),
    "RocketFeatures with": _constructed(
        lambda: metrics.RocketFeatures(84), lambda model, a: model.fit(_X).transform(_X)
    ),
}


def _read_table_with(model, a):
    table = pd.DataFrame({"i": [1, 1, 1, 2, 2], "t": [1, 2, 4, 1, 2], "v": np.arange(5.0)})
    model.fit_read(table)


def _display(make):
    def attempt(a):
        try:
            make(a)
        finally:
            plt.close("all")

    return attempt


def _plotted(cls, make):
    """Return an attempt to draw with an odd value for one of the options of a display."""
    names = sorted(inspect.signature(cls.plot).parameters)
    names.remove("self")
    return _display(
        lambda a: make().plot(**{names[a["option_number"] % len(names)]: a["any_number"]})
    )


def _metric(name, **given):
    function = getattr(metrics, name)
    labelled = {"tstr_score", "trts_score", "inception_score"}
    if name in labelled:
        return lambda a: function(
            a["X"],
            a["y"],
            a["X_other"],
            *([a["y_other"]] if name != "inception_score" else []),
            **given,
        )
    return lambda a: function(a["X"], a["X_other"], **given)


def _three(name, **given):
    function = getattr(metrics, name)
    return lambda a: function(a["X"], a["X_other"], a["X_third"], **given)


def _of_views(name):
    function = getattr(metrics, name)
    # Channels of series as views of them.
    return lambda a: function(a["X"])


def _scorer(name):
    scorer = getattr(metrics, name)
    if name != "tstr_scorer":
        scorer = metrics.make_generator_scorer(
            scorer.metric, greater_is_better=scorer.sign > 0, features=flat
        )
    else:
        scorer = metrics.make_generator_scorer(scorer.metric, classifier=GaussianNB())
    return lambda a: scorer(models()[a["kind"]], a["X"], a["y"])


def _model(kind, method, labels=False):
    of_transformer = ("transform", "tokenize", "split_bands", "encode", "score")

    def attempt(a):
        model = models()[kind]
        model = model.transformer_ if method in of_transformer else model
        given = (a["X"], a["y"]) if labels else (a["X"],)
        if method == "vary":
            return model.vary(*given, mask_ratio=a["number"], random_state=0)
        return getattr(model, method)(*given)

    return attempt


def _fitted(name, method):
    def attempt(a):
        found = getattr(models()[name], method)(a["X"])
        # The logarithm of 0 is what it is.
        return np.exp(found) if method == "predict_log_proba" else found

    return attempt


def _tokens(method):
    def attempt(a):
        generator = models()[a["kind"]]
        if method == "inverse_transform":
            return generator.transformer_.inverse_transform(a["tokens"])
        if method == "sample":
            return generator.prior_.sample(tokens=a["tokens"], random_state=0)
        return getattr(generator.prior_, method)(a["tokens"], a["y"])

    return attempt


def _sample(a):
    model = models()[a["kind"]]
    given = {a["option"]: a["number"]} if a["option"] else {}
    return model.sample(a["n_samples"], a["y"], random_state=0, **given)[0]


def _sample_by(kinds, sampler_class):
    """Return an attempt to draw with an odd value for one of a sampler's parameters."""

    def attempt(a):
        names = sorted(sampler_class().get_params(deep=False))
        value = a["any_number"]
        sampler = sampler_class(**{names[a["option_number"] % len(names)]: value})
        prior = models()[kinds[a["seed"] % len(kinds)]].prior_
        if a["seed"] % 2:
            return prior.sample(2, sampler=sampler, random_state=0)[0]
        tokens = prior.sample(2, random_state=0)[0]
        tokens[:, ::2] = samplers.MASKED
        return prior.sample(tokens=tokens, sampler=sampler, random_state=0)[0]

    return attempt


def _augment_by(name):
    """Return an attempt with an odd value for one of an augmentation's parameters."""

    def attempt(a):
        names = sorted(inspect.signature(AUGMENTATIONS[name]).parameters)
        given = {names[a["option_number"] % len(names)]: a["number"]}
        return augment(a["X"], AUGMENTATIONS[name](**given), a["seed"])

    return attempt


def _table(method):
    def attempt(a):
        reader = TableReader(*a["roles"], duplicates="mean", tolerance=0.5, step=a["step"])
        if method in ("fit", "transform"):
            X = reader.fit(a["table"]).transform(a["table"])
        elif method == "fit_transform":
            X = reader.fit_transform(a["table"])
        elif method == "fit_read":
            X = reader.fit_read(a["table"]).X
        else:
            X = reader.fit(a["table"]).read(a["table"]).X
        # Whatever it reads may be NaN, but not infinite.
        for one in X:
            assert not np.isinf(one).any()

    return attempt


@cache
def model_files():
    """Return the bytes of files of fitted models."""
    found = []
    path = os.path.join(tempfile.mkdtemp(), "model")
    for name in ("plain", "masked", "banded", "AugmentedClassifier", "SemiSupervisedClassifier"):
        save(models()[name], path)
        with open(path, "rb") as file:
            found.append(file.read())
    return found


def _load(a):
    """Read a file of which a part is another, or is missing."""
    rng = np.random.default_rng(a["bytes"])
    data = bytearray(model_files()[a["seed"] % len(model_files())])
    n_header = int.from_bytes(data[:8], "little") + 8
    start = int(rng.integers(0, rng.choice([8, n_header, len(data)])))
    stop = start + int(rng.choice([1, 4, 64, len(data)]))
    how = rng.integers(0, 4)
    if how == 0:
        data[start] ^= 1 << int(rng.integers(0, 8))
    elif how == 1:
        del data[start:stop]
    elif how == 2:
        data[start:stop] = rng.bytes(min(stop, len(data)) - start)
    else:
        data[start:start] = data[-start:][: stop - start]
    with tempfile.NamedTemporaryFile() as file:
        file.write(data)
        file.flush()
        load(file.name)


def _save(a):
    """Save what is a model, and what is none."""
    model = [*models().values(), tiny_transformer(), a["X"], a["number"]][a["bytes"] % 14]
    with tempfile.TemporaryDirectory() as folder:
        save(model, os.path.join(folder, "model"), training=a["seed"] % 2 == 0)


FEATURES = {"features": flat, "random_state": 0}
FAST = {
    **{
        f"NCVQVAEGenerator.{method} of {kind}": _model(
            kind, method, method in ("score_samples", "score", "vary")
        )
        for kind in KINDS
        for method in ("read", "score_samples", "vary", "preview")
    },
    **{
        f"NCVQVAETransformer.{method} of {kind}": _model(kind, method)
        for kind in KINDS
        for method in ("transform", "tokenize", "score")
    },
    "NCVQVAETransformer.read": lambda a: models()[a["kind"]].transformer_.read(a["X"]),
    "NCVQVAETransformer.get_feature_names_out": lambda a: (
        models()[a["kind"]].transformer_.get_feature_names_out(a["y"]).tolist()
    ),
    "NCVQVAETransformer.inverse_transform": _tokens("inverse_transform"),
    "NCVQVAEGenerator.sample": _sample,
    "NCVQVAEGenerator.score": lambda a: models()[a["kind"]].score(a["X"], a["y"]),
    **{
        # `score` of classifiers is scikit-learn's own, which judges labels by its own rules.
        f"{kind.split()[0]}.{method} of {kind}": _fitted(kind, method)
        for kind in (
            "AugmentedClassifier",
            "AugmentedClassifier without series",
            "SemiSupervisedClassifier",
        )
        for method in ("predict", "predict_proba", "predict_log_proba", "decision_function")
    },
    "SemiSupervisedClassifier.transform": _fitted("SemiSupervisedClassifier", "transform"),
    "SemiSupervisedClassifier.get_feature_names_out": lambda a: (
        models()["SemiSupervisedClassifier"].get_feature_names_out(a["y"]).tolist()
    ),
    **{
        f"FCNClassifier.{method}": _fitted("FCNClassifier", method)
        for method in ("predict", "predict_proba", "transform")
    },
    "RocketFeatures.transform": _fitted("RocketFeatures", "transform"),
    **{
        f"{prior}.{method}": _tokens(method)
        for prior in ("MaskedTokenPrior", "AutoregressiveTokenPrior")
        for method in ("sample", "score_samples", "score")
    },
    "MaskGIT": _sample_by(("masked", "banded"), samplers.MaskGIT),
    "Autoregressive": _sample_by(("plain", "last"), samplers.Autoregressive),
    "augment": lambda a: augment(a["X"], a["augmentation"], a["seed"]),
    "make_augmentation": lambda a: (
        make_augmentation(
            [a["augmentation"], (a["augmentation"], {"std": a["number"]}), a["any_number"]][
                a["seed"] % 3
            ]
        ),
        None,
    )[1],
    **{cls.__name__: _augment_by(name) for name, cls in AUGMENTATIONS.items()},
    "split_bands": lambda a: split_bands(a["X"], a["bands"]),
    "STFTBands": lambda a: split_bands(
        a["X"], STFTBands(**{["n_fft", "cutoffs"][a["seed"] % 2]: a["number"]})
    ),
    "WaveletBands": lambda a: split_bands(
        a["X"], WaveletBands(**{["wavelet", "levels"][a["seed"] % 2]: a["number"]})
    ),
    **{
        f"TableReader.{method}": _table(method)
        for method in ("fit", "fit_transform", "transform", "fit_read", "read")
    },
    "TableReader with": _constructed(lambda: TableReader("i", "t"), _read_table_with),
    "load": _load,
    "save": _save,
    **{
        name: _metric(name)
        for name in (
            "marginal_difference",
            "autocorrelation_difference",
            "power_spectrum_difference",
        )
    },
    **{
        name: _metric(name, **FEATURES)
        for name in (
            "frechet_distance",
            "kernel_inception_distance",
            "maximum_mean_discrepancy",
            "precision",
            "recall",
            "density",
            "coverage",
            "prdc",
            "authenticity",
        )
    },
    "copying_test": lambda a: metrics.copying_test(
        a["X"], a["X_other"], None if a["seed"] % 2 else a["X_third"], **FEATURES
    ),
    "membership_auc": _three("membership_auc", **FEATURES),
    "membership_test": _three("membership_test", n_resamples=20, **FEATURES),
    "nearest_neighbor_distance_ratio": _three("nearest_neighbor_distance_ratio", **FEATURES),
    **{
        name: _metric(name, classifier=GaussianNB(), random_state=0)
        for name in (
            "tstr_score",
            "trts_score",
            "inception_score",
            "classifier_two_sample_score",
        )
    },
    "discriminative_score": _metric("discriminative_score", n_steps=2, random_state=0),
    "predictive_score": _metric("predictive_score", n_steps=2, random_state=0),
    "correlational_score": lambda a: metrics.correlational_score(
        a["X"], a["X_other"], fraction=a["number"]
    ),
    "repeated_score": lambda a: metrics.repeated_score(
        [metrics.correlational_score, metrics.marginal_difference, np.linalg.norm][a["seed"] % 3],
        a["X"],
        a["X_other"],
        n_repeats=a["n_samples"],
        fraction=0.5,
    ),
    **{
        name: _scorer(name)
        for name in (
            "coverage_scorer",
            "neg_frechet_distance_scorer",
            "neg_kernel_inception_distance_scorer",
            "tstr_scorer",
        )
    },
    "make_generator_scorer": lambda a: metrics.make_generator_scorer(
        metrics.marginal_difference, n_samples=a["n_samples"]
    )(models()[a["kind"]], a["X"]),
    "rank_me": lambda a: metrics.rank_me(a["X"]),
    **{
        name: _of_views(name)
        for name in ("lidar", "alignment", "uniformity", "alignment_uniformity")
    },
    "alignment_uniformity_scorer": lambda a: metrics.alignment_uniformity_scorer(
        models()[a["kind"]], a["X"], a["y"]
    ),
    "make_representation_scorer": lambda a: metrics.make_representation_scorer(
        [metrics.rank_me, metrics.lidar, metrics.coverage][a["seed"] % 3],
        n_views=a["n_samples"],
        augmentations=a["augmentation"],
    )(models()[a["kind"]], a["X"]),
    "augmentation_gain": lambda a: metrics.augmentation_gain(
        a["X"], a["y"], a["X_other"], a["y_other"], a["X_third"], a["y"], classifier=GaussianNB()
    ),
}
SLOW = {
    "NCVQVAETransformer.fit": _fit_transformer,
    "NCVQVAETransformer.fit_transform": _fit_transform,
    "NCVQVAEGenerator.fit": _fit_generator,
    "NCVQVAEGenerator.fit_resample": _fit_resample,
    "AugmentedClassifier.fit": _fit_classifier,
    "SemiSupervisedClassifier.fit": _fit_semi_supervised,
    "MaskedTokenPrior.fit": _fit_prior(MaskedTokenPrior),
    "AutoregressiveTokenPrior.fit": _fit_prior(AutoregressiveTokenPrior),
    **CONSTRUCTED,
    "RocketFeatures.fit": lambda a: (
        metrics.RocketFeatures(n_kernels=84, random_state=0).fit(a["X"]).transform(a["X_other"])
    ),
    "FCNClassifier.fit": lambda a: _tiny_fcn().fit(a["X"], a["y"]).predict_proba(a["X_other"]),
    "evaluate": lambda a: metrics.evaluate(
        models()["mending"],
        a["X"],
        a["y"],
        a["X_other"],
        a["y_other"],
        features=flat,
        classifier=GaussianNB(),
        n_neighbors=2,
    ),
    "SamplesDisplay.from_data": _display(
        lambda a: plots.SamplesDisplay.from_data(a["X"], a["X_other"], a["y"], a["y_other"])
    ),
    "SamplesDisplay.from_estimator": _display(
        lambda a: plots.SamplesDisplay.from_estimator(models()["mending"], a["X"], a["y"])
    ),
    "SamplesDisplay.plot": _plotted(
        plots.SamplesDisplay,
        lambda: plots.SamplesDisplay.from_data(_X, _X + 1, _Y, _Y),
    ),
    "ProjectionDisplay.from_data": _display(
        lambda a: plots.ProjectionDisplay.from_data(a["X"], a["X_other"], a["y"], a["y_other"])
    ),
    "ProjectionDisplay.from_estimator": _display(
        lambda a: plots.ProjectionDisplay.from_estimator(models()["last"], a["X"], a["y"])
    ),
    "ProjectionDisplay.plot": _plotted(
        plots.ProjectionDisplay,
        lambda: plots.ProjectionDisplay.from_data(_X, _X + 1, _Y, _Y),
    ),
    "ReconstructionDisplay.from_estimator": _display(
        lambda a: plots.ReconstructionDisplay.from_estimator(models()["mending"], a["X"])
    ),
    "ReconstructionDisplay.from_data": _display(
        lambda a: plots.ReconstructionDisplay.from_data(a["X"], a["X_other"])
    ),
    "ReconstructionDisplay.plot": _plotted(
        plots.ReconstructionDisplay,
        lambda: plots.ReconstructionDisplay.from_data(_X, _X + 1),
    ),
    "TokensDisplay.from_estimator": _display(
        lambda a: plots.TokensDisplay.from_estimator(models()[a["kind"]], a["X"])
    ),
    "TokensDisplay.plot": _plotted(
        plots.TokensDisplay,
        lambda: plots.TokensDisplay.from_estimator(models()["plain"], _X),
    ),
    "CodebookDisplay.from_estimator": _display(
        lambda a: plots.CodebookDisplay.from_estimator(models()[a["kind"]], a["X"])
    ),
    "CodebookDisplay.plot": _plotted(
        plots.CodebookDisplay,
        lambda: plots.CodebookDisplay.from_estimator(models()["plain"], _X),
    ),
    "DiversityDisplay.from_estimator": _display(
        lambda a: plots.DiversityDisplay.from_estimator(
            models()["frame"],
            a["X"],
            a["y"],
            diversities=[a["number"], 1.0],
            features=flat,
            classifier=GaussianNB(),
            n_neighbors=2,
        )
    ),
    "DiversityDisplay.plot": _plotted(
        plots.DiversityDisplay,
        lambda: plots.DiversityDisplay(
            np.array([0.0, 1.0]), {"precision": np.ones(2), "recall": np.ones(2)}
        ),
    ),
    "HistoryDisplay.from_estimator": _display(
        lambda a: plots.HistoryDisplay.from_estimator(
            [models()[a["kind"]], models()["FCNClassifier"], a["X"], tiny_transformer()][
                a["seed"] % 4
            ]
        )
    ),
    "HistoryDisplay.from_data": _display(
        lambda a: plots.HistoryDisplay.from_data(
            [
                [{"train_loss": a["number"], "epoch": 1}],
                {"one": [{"valid_loss": 1.0}], "two": a["y"]},
                a["X"],
                a["table"],
            ][a["seed"] % 4]
        )
    ),
    "HistoryDisplay.plot": _plotted(
        plots.HistoryDisplay,
        lambda: plots.HistoryDisplay.from_estimator(models()["plain"]),
    ),
}
# Public, and not tried here: what takes nothing that could be wrong, or what others made.
UNTRIED = {
    "Augmentation": "a protocol",
    "AugmentationSpec": "a type",
    "AUGMENTATIONS": "a dictionary",
    "AUGMENTATION_SETS": "a dictionary",
    "Bands": "a class to derive from",
    "BandsSpec": "a type",
    "Compose": "made of augmentations that are tried",
    "CopyingWarning": "a warning",
    "MASKED": "a number",
    "ModelFileError": "an error",
    "ModelVersionWarning": "a warning",
    "RepeatedScore": "a result",
    "Sampler": "a class to derive from",
    "TableSeries": "a result",
    "export_tokenizer": "takes seconds, and a fitted transformer only",
    "check_labels": "a step of fit",
    "check_params": "a step of fit",
    "check_prior_type": "a step of sampling",
    "check_sampler": "a step of sampling",
    "check_length": "a step of splitting",
    "config": "takes nothing",
    "default_sampler": "takes nothing",
    "reference": "takes parameters, which fit checks",
    "draw": "takes what sample made",
    "fit_codec": "what preview calls",
    "fit_encode": "what fit calls",
    "get_metadata_routing": "takes nothing",
    "decode": "takes what encode returned",
    "decode_bands": "takes what encode returned",
    "encode": "takes what read returned",
    "split_bands": "takes what read returned",
    "vary_encoded": "takes what fit_encode returned",
    "write": "takes what read returned",
}


def public_names():
    """Return what users call: functions and classes, and the methods that are written here."""
    found = set()
    for module in (skncvqvae, metrics, plots, samplers, augmentations, bands, tables):
        for name in module.__all__:
            value = getattr(module, name)
            methods = (
                inspect.getmembers(value, inspect.isroutine) if inspect.isclass(value) else []
            )
            found |= {name}
            found |= {f"{name}.{method}" for method, member in methods if _is_ours(method, member)}
    return found


def _is_ours(name, member):
    written_in = getattr(inspect.unwrap(member), "__module__", None) or ""
    return not name.startswith(("_", "set_")) and written_in.startswith("skncvqvae")


# Arguments

NUMBERS = [0.5, 1, 0, -1, 2, 1e-39, 1e39, 1e308, float("nan"), float("inf"), None, "a", True, [1]]
ANY = [*NUMBERS, -1e-300, [], {}, (1, 0), np.float32(0.5), np.ones(2), [[1, 2]], object()]
TOKENS = {
    "codes": lambda n, rng: rng.integers(0, 6, (4, n)),
    "whole floats": lambda n, rng: rng.integers(0, 6, (4, n)) / 1.0,
    "halves": lambda n, rng: np.full((4, n), 0.5),
    "masked": lambda n, rng: np.full((4, n), -1),
    "too large": lambda n, rng: np.full((4, n), 99),
    "nan": lambda n, rng: np.full((4, n), np.nan),
    "wide": lambda n, rng: np.zeros((4, n + 1), dtype=int),
    "one row": lambda n, rng: np.zeros(n, dtype=int),
    "empty": lambda n, rng: np.zeros((0, n), dtype=int),
    "text": lambda n, rng: np.full((4, n), "a"),
    "frame": lambda n, rng: pd.DataFrame(rng.integers(0, 6, (4, n))),
    "tensor": lambda n, rng: torch.zeros((4, n), dtype=torch.long),
    "ragged": lambda n, rng: [[1, 2], [1]],
    "none": lambda n, rng: None,
    "huge": lambda n, rng: np.full((4, n), 2**62),
}


COLUMNS = {
    "numbers": lambda n, rng: rng.integers(0, 5, n),
    "floats": lambda n, rng: rng.normal(size=n),
    "nan": lambda n, rng: np.where(np.arange(n) % 2, np.nan, 1.0),
    "huge": lambda n, rng: np.linspace(0, 1e300, n),
    "infinite": lambda n, rng: np.full(n, np.inf),
    "text": lambda n, rng: np.array(list("ab" * n))[:n],
    "dates": lambda n, rng: np.datetime64("2024", "s") + rng.integers(0, 99, n),
    "far dates": lambda n, rng: np.array([0, 2**60] * n)[:n].astype("M8[us]"),
    "durations": lambda n, rng: rng.integers(0, 99, n).astype("m8[s]"),
    "no date": lambda n, rng: np.full(n, np.datetime64("NaT", "s")),
    "logical": lambda n, rng: np.arange(n) % 2 == 0,
    "objects": lambda n, rng: np.array([{}] * n, dtype=object),
    "lists": lambda n, rng: pd.Series([[1, 2]] * n, dtype=object),
    "categories": lambda n, rng: pd.Series(["a", "b"] * n, dtype="category")[:n],
    "nothing": lambda n, rng: [None] * n,
}


def build_table(case, rng):
    n, library, *kinds = case
    made = {name: COLUMNS[kind](n, rng) for name, kind in zip("itvy", kinds, strict=True)}
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        try:
            return pl.DataFrame(made) if library == "polars" else pd.DataFrame(made)
        except Exception:
            return pd.DataFrame({"i": [1, 1, 2], "t": [1, 2, 1], "v": [0.5, 1, 2], "y": [0, 0, 1]})


ROLES = [("i", "t"), ("i",), (None, "t"), (), ("i", "t", None, "y"), ("x",), ("i", "t", ["v"])]
STEPS = [1.0, 1e-9, 1e300, "10s", "soon", np.timedelta64(1, "s")]
OPTIONS = [
    "",
    "temperature",
    "guidance_scale",
    "top_p",
    "n_steps",
    "best_of",
    "class_candidates",
    "observation_noise",
]


def draw_case(random, functions):
    """Draw the name of a function, and the arguments that any of them may take.

    Parameters
    ----------
    random : random.Random
    functions : dict
        `FAST` or `SLOW`.
    """
    name = random.choice(list(functions))
    # Many odd things at once are refused by the first of them.
    some = partial(usually, random, calm=random.choice([1.0, 0.3]))
    calm = random.choice([1.0, 0.3])
    series = draw_series(random, calm)
    similar = {name: series[name] for name in ("shape", "scale", "offset")}
    other = {**draw_series(random, calm), **(similar if random.random() < 0.8 else {})}
    return {
        "name": name,
        "series": series,
        "other": other,
        "labels": [some("integers", LABELS, 0.25) for _ in range(2)],
        "kind": random.choice(KINDS),
        "number": some(0.5, NUMBERS, 0.3),
        "any_number": random.choice(range(len(ANY))),
        "option": random.choice(OPTIONS),
        "option_number": random.randrange(100),
        "bytes": random.randrange(10**6),
        "n_samples": some(1, [2, 0, -1, 1.5, "a", None, True]),
        "tokens": some("codes", TOKENS, 0.4),
        "augmentation": random.choice([*AUGMENTATIONS, "none", 3, ["gauss", "warp"]]),
        "bands": random.choice(["stft", "wavelet", "none", 3, "callable"]),
        "params": {
            name: value
            for name, value in [
                ("irregular", "interpolate"),
                ("missing_channels", "mean"),
                ("data_format", "channels_last"),
            ]
            if random.random() < 0.3
        },
        "roles": random.choice(ROLES),
        "step": some("auto", STEPS, 0.3),
        "table": (
            random.choice([0, 1, 2, 20, 20, 20]),
            random.choice(["pandas", "polars"]),
            some("numbers", COLUMNS, 0.2),
            some("dates", COLUMNS, 0.4),
            some("floats", COLUMNS, 0.2),
            some("text", COLUMNS, 0.2),
        ),
    }


def halves(series):
    """A user's split into bands."""
    return {"low": series / 2, "high": series / 2}


def arguments(case):
    """Return the arguments that a drawn case describes."""
    rng = np.random.default_rng(case["series"]["seed"])
    X, X_other = build(case["series"]), build(case["other"])
    third = build({**case["series"], "seed": case["series"]["seed"] + 20})
    n_tokens = models()[case["kind"]].transformer_.n_tokens_
    return {
        **case,
        "X": X,
        "X_other": X_other,
        "X_third": third,
        "y": build_labels(case["labels"][0], X, rng),
        "y_other": build_labels(case["labels"][1], X_other, rng),
        "tokens": TOKENS[case["tokens"]](n_tokens, rng),
        "any_number": ANY[case["any_number"]],
        "bands": halves if case["bands"] == "callable" else case["bands"],
        "seed": case["series"]["seed"],
        "table": build_table(case["table"], rng),
    }


# Judgement


def snapshot(value):
    """Return what can be compared with a later snapshot of the same object."""
    if isinstance(value, np.ma.MaskedArray):
        return snapshot(value.data), snapshot(np.ma.getmaskarray(value))
    if isinstance(value, np.ndarray):
        if value.dtype == object:
            return [snapshot(one) for one in value.ravel()]
        return value.dtype.str, value.shape, value.tobytes()
    if isinstance(value, torch.Tensor):
        return snapshot(value.detach().numpy())
    if isinstance(value, (list, tuple)):
        return [snapshot(one) for one in value]
    if isinstance(value, pd.DataFrame):
        return list(value.columns), [snapshot(value.iloc[:, i]) for i in range(value.shape[1])]
    if isinstance(value, (pd.Series, pl.Series)):
        return str(value.dtype), snapshot(np.asarray(value))
    if isinstance(value, pl.DataFrame):
        return [snapshot(column) for column in value]
    return repr(value) if isinstance(value, (int, float, str, bool, type(None))) else None


def not_finite(value):
    """Return whether a result holds NaN or infinity."""
    if isinstance(value, (list, tuple)):
        return any(map(not_finite, value))
    if isinstance(value, dict):
        return any(map(not_finite, value.values()))
    if isinstance(value, (pd.DataFrame, pd.Series, pl.DataFrame, pl.Series)):
        return not_finite(np.asarray(value))
    if scipy.sparse.issparse(value):
        return not_finite(value.data)
    array = np.asarray(value)
    if array.dtype == object:
        return any(isinstance(one, float) and not np.isfinite(one) for one in array.ravel())
    return array.dtype.kind == "f" and not np.isfinite(array).all()


def unclear(error):
    """Return why an error is no clear refusal; None where it is one."""
    if not isinstance(error, CLEAR):
        return f"{type(error).__name__} is no refusal"
    if any(words in str(error) for words in INSIDE) or not str(error):
        return "the message comes from inside"
    frame = traceback.extract_tb(error.__traceback__)[-1]
    if any(check in frame.filename for check in CHECKS):
        return None
    if "/skncvqvae/" not in frame.filename:
        return f"raised in {frame.filename}:{frame.lineno}"
    line = linecache.getline(frame.filename, frame.lineno).strip()
    return None if line.startswith("raise") else f"not raised on purpose in {line!r}"


class HangError(Exception):
    """An attempt took too long."""


@contextlib.contextmanager
def time_limit(seconds):
    def stop(number, frame):
        raise HangError

    before = signal.signal(signal.SIGALRM, stop)
    signal.setitimer(signal.ITIMER_REAL, seconds)
    try:
        yield
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, before)


def judge(case, functions):
    """Make an attempt, and return its outcome: "returned", "refused", or what is wrong."""
    given = arguments(case)
    watched = ("X", "X_other", "X_third", "y", "y_other", "tokens", "table")
    before = [snapshot(given[name]) for name in watched]
    outcome = "returned"
    with warnings.catch_warnings(), np.errstate(all="ignore"):
        warnings.simplefilter("ignore")
        try:
            with time_limit(SECONDS):
                result = functions[case["name"]](given)
        except HangError:
            return "hang"
        except Exception as error:
            problem = unclear(error)
            if problem:
                return f"unclear: {type(error).__name__}: {error} ({problem})"
            outcome = "refused"
        else:
            # Frames of `evaluate` have a cell for each metric, which may not apply.
            if result is not None and case["name"] != "evaluate" and not_finite(result):
                return "silent: NaN or infinity returned"
    changed = [
        name for name, old in zip(watched, before, strict=True) if snapshot(given[name]) != old
    ]
    return f"changed: {changed}" if changed else outcome


def main():
    """Make as many attempts as asked for, and print counts and each kind of problem once."""
    total, start = int(sys.argv[1]), int(sys.argv[2]) if len(sys.argv) > 2 else 0
    for functions, share in ((FAST, 0.95), (SLOW, 0.05)):
        random = Random(start)
        counts, problems = Counter(), set()
        for i in range(round(total * share)):
            case = draw_case(random, functions)
            outcome = judge(case, functions)
            counts[outcome.split(":")[0]] += 1
            kind = case["name"], outcome[:60]
            if outcome not in FINE and kind not in problems:
                problems.add(kind)
                print(f"{case['name']}: {outcome}\n    {case}", flush=True)
            if i % 1000 == 999:
                print(f"{i + 1} attempts: {dict(counts)}", flush=True)
        print(f"In all {sum(counts.values())} attempts: {dict(counts)}", flush=True)


if __name__ == "__main__":
    main()
