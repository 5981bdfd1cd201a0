"""`evaluate`: every metric of a fitted generator, beside what real series get."""

import math

import numpy as np
from sklearn.frozen import FrozenEstimator
from sklearn.utils import check_random_state

from ._coverage import prdc
from ._distribution import (
    frechet_distance,
    inception_score,
    kernel_inception_distance,
    maximum_mean_discrepancy,
)
from ._features import FCNClassifier, extract_features
from ._memorisation import authenticity, nearest_neighbor_distance_ratio
from ._series import autocorrelation_difference, marginal_difference, power_spectrum_difference
from ._usefulness import (
    augmentation_gain,
    clone_classifier,
    discriminative_score,
    trts_score,
    tstr_score,
)
from ._validation import check_labels, check_series

# Series that TSTR trains on at least, as in the evaluation of arXiv:2408.16613.
_MIN_TSTR = 1000

# What each metric is about, and which values are better.
_ROWS = {
    "frechet_distance": ("fidelity", "lower"),
    "kernel_inception_distance": ("fidelity", "lower"),
    "maximum_mean_discrepancy": ("fidelity", "lower"),
    "discriminative_score": ("fidelity", "lower"),
    "inception_score": ("fidelity", "higher"),
    "precision": ("fidelity", "higher"),
    "density": ("fidelity", "higher"),
    "recall": ("diversity", "higher"),
    "coverage": ("diversity", "higher"),
    "authenticity": ("memorisation", "higher"),
    "nearest_neighbor_distance_ratio": ("memorisation", "held_out"),
    "marginal_difference": ("time", "lower"),
    "autocorrelation_difference": ("time", "lower"),
    "power_spectrum_difference": ("time", "lower"),
    "tstr_score": ("usefulness", "higher"),
    "trts_score": ("usefulness", "higher"),
    "augmentation_gain": ("usefulness", "higher"),
}


def evaluate(
    generator,
    X_train,
    y_train,
    X_test,
    y_test,
    *,
    features="rocket",
    classifier=None,
    n_neighbors=5,
    random_state=0,
):
    """Judge a fitted generator by all metrics, each beside the value of real held-out series.

    As many series as `X_test` holds are drawn and compared with `X_train`; `X_test` compared
    with `X_train` in the same way is the yardstick. A distance far below the yardstick is no
    success but a sign that the training set is copied: see the rows on memorisation. For the
    Fréchet distance to the test set, as papers report it, call
    ``frechet_distance(X_test, X_synthetic)``.

    Parameters
    ----------
    generator : fitted generator
        Has ``sample(n_samples, y=None, random_state=None)`` that returns series and their
        labels, as `skncvqvae.NCVQVAEGenerator` has.
    X_train : array-like of shape (n_train, length) or (n_train, n_channels, length)
        The series the generator was fitted on.
    y_train : array-like of shape (n_train,) or None
        Their classes. None, or a generator without classes, leaves out the metrics that need
        them.
    X_test : array-like of shape (n_test, length) or (n_test, n_channels, length)
        Real series that were held out.
    y_test : array-like of shape (n_test,) or None
        Their classes.
    features : {"rocket", "fcn"}, transformer, callable or None, default="rocket"
        As in `frechet_distance`; fitted once, on `X_train`.
    classifier : classifier or None, default=None
        As in `tstr_score`.
    n_neighbors : int, default=5
        As in `prdc`.
    random_state : int, RandomState instance or None, default=0
        Seeds sampling, feature extractors and classifiers.

    Returns
    -------
    pandas.DataFrame or dict of dict
        A row for each metric; a dict of rows where pandas is not installed. Columns:

        - ``aspect``: ``"fidelity"``, ``"diversity"``, ``"memorisation"``, ``"usefulness"`` or
          ``"time"`` (level, auto-correlation and spectrum);
        - ``synthetic``: the value of the synthetic series;
        - ``held_out``: that of `X_test` in their place. For ``tstr_score`` it is the score of
          training on `X_train`, and for ``augmentation_gain`` 0;
        - ``better``: ``"higher"``, ``"lower"``, or ``"held_out"`` where the nearer to that
          value the better.

    Raises
    ------
    ValueError
        On invalid or mismatched data, or one of `y_train` and `y_test` without the other.
    ImportError
        When features or a classifier by aeon are asked for without it.

    Notes
    -----
    For TSTR at least 1,000 series are drawn, with the classes in the proportions of `y_train`;
    for the gain, one for each training series. The inception score is of a `FCNClassifier`
    trained on `X_train`, which takes most of the time.

    Examples
    --------
    >>> from skncvqvae import NCVQVAEGenerator
    >>> from skncvqvae.metrics import evaluate
    >>> generator = NCVQVAEGenerator(random_state=0).fit(X_train, y_train)  # doctest: +SKIP
    >>> evaluate(generator, X_train, y_train, X_test, y_test)  # doctest: +SKIP
    """
    X_train, X_test = check_series(X_train=X_train, X_test=X_test)
    if (y_train is None) != (y_test is None):
        raise ValueError(
            "One of y_train and y_test is None. Pass the labels of both, or None for both."
        )
    seed = check_random_state(random_state).randint(np.iinfo(np.int32).max)
    X_synthetic, y_synthetic = generator.sample(len(X_test), random_state=seed)
    X_train, X_test, X_synthetic = check_series(
        X_train=X_train, X_test=X_test, X_synthetic=X_synthetic
    )
    labelled = y_train is not None and y_synthetic is not None
    if labelled:
        y_train = check_labels(X_train, y_train, "y_train")
        fcn = FCNClassifier(random_state=seed).fit(X_train, y_train)
        features = fcn if features == "fcn" else features
    train, synthetic, test = extract_features(
        features, X_train, X_synthetic, X_test, y_real=y_train, random_state=seed
    )

    def compare(X, X_features):
        return {
            "frechet_distance": frechet_distance(train, X_features, features=None),
            "kernel_inception_distance": kernel_inception_distance(
                train, X_features, features=None
            ),
            "maximum_mean_discrepancy": maximum_mean_discrepancy(train, X_features, features=None),
            "discriminative_score": discriminative_score(
                X_train, X, classifier=classifier, random_state=seed
            ),
            **prdc(train, X_features, features=None, n_neighbors=n_neighbors),
            "authenticity": authenticity(train, X_features, features=None),
            "nearest_neighbor_distance_ratio": nearest_neighbor_distance_ratio(
                train, X_features, test, features=None
            ),
            "marginal_difference": marginal_difference(X_train, X),
            "autocorrelation_difference": autocorrelation_difference(X_train, X),
            "power_spectrum_difference": power_spectrum_difference(X_train, X),
        }

    columns = compare(X_synthetic, synthetic), compare(X_test, test)
    if labelled:
        params = {"classifier": classifier, "random_state": seed}
        many = np.tile(y_train, math.ceil(_MIN_TSTR / len(y_train)))
        X_many, y_many = generator.sample(len(many), y=many, random_state=seed)
        # Fitted once, for all that train on X_train.
        real = FrozenEstimator(clone_classifier(classifier, seed).fit(X_train, y_train))
        n = len(y_train)
        gain = augmentation_gain(
            X_train, y_train, X_many[:n], y_many[:n], X_test, y_test, **params
        )
        for column, X, y in zip(
            columns, (X_synthetic, X_test), (y_synthetic, y_test), strict=True
        ):
            column["inception_score"] = inception_score(
                X_train, y_train, X, classifier=FrozenEstimator(fcn)
            )
            column["trts_score"] = trts_score(X_train, y_train, X, y, classifier=real)
        columns[0]["tstr_score"] = tstr_score(X_test, y_test, X_many, y_many, **params)
        columns[0]["augmentation_gain"] = gain
        # Real series in the place of synthetic ones: trained on X_train, tested on X_test.
        columns[1]["tstr_score"] = columns[1]["trts_score"]
        columns[1]["augmentation_gain"] = 0.0

    table = {
        name: {
            "aspect": aspect,
            "synthetic": columns[0][name],
            "held_out": columns[1][name],
            "better": better,
        }
        for name, (aspect, better) in _ROWS.items()
        if name in columns[0]
    }
    try:
        import pandas as pd
    except ImportError:
        return table
    return pd.DataFrame.from_dict(table, orient="index")
