"""How classifiers fare with synthetic series: trained on them, tested on them, or against them."""

from collections.abc import Callable
from numbers import Integral
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray
from sklearn.base import BaseEstimator, clone
from sklearn.linear_model import RidgeClassifierCV
from sklearn.metrics import get_scorer
from sklearn.model_selection import StratifiedKFold, cross_val_score
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler
from sklearn.utils import resample
from sklearn.utils.validation import check_scalar

from .._base import draw_seed, read_random_state
from ._features import RocketFeatures
from ._validation import check_labels, check_series, finite

# A scorer of scikit-learn, or its name.
Scoring = str | Callable[..., Any]


@finite
def tstr_score(
    X_real: ArrayLike,
    y_real: ArrayLike,
    X_synthetic: ArrayLike,
    y_synthetic: ArrayLike,
    *,
    classifier: BaseEstimator | None = None,
    scoring: Scoring = "accuracy",
    random_state: int | np.random.RandomState | None = 0,
) -> float:
    """Train on synthetic, test on real; also known as classification accuracy score (CAS).

    Parameters
    ----------
    X_real : array-like of shape (n_real, length) or (n_real, n_channels, length)
        Real series to test on, which the generator has not seen.
    y_real : array-like of shape (n_real,)
        Their classes.
    X_synthetic : array-like of shape (n_synthetic, length) or (n_synthetic, n_channels, length)
        Synthetic series to train on.
    y_synthetic : array-like of shape (n_synthetic,)
        Their classes.
    classifier : classifier or None, default=None
        It is cloned and gets series in the layout given. None is a pipeline of
        `RocketFeatures` with 10,000 kernels, ``StandardScaler`` and ``RidgeClassifierCV``.
    scoring : str or callable, default="accuracy"
        A scorer of scikit-learn.
    random_state : int, RandomState instance or None, default=0
        Seeds the default classifier.

    Returns
    -------
    float
        The accuracy, or what `scoring` returns; higher is better, up to what a classifier
        trained on real series gets.

    Raises
    ------
    ValueError
        On invalid or mismatched series or labels, or synthetic series of a single class.
    ImportError
        When the default classifier is asked for without aeon.

    References
    ----------
    .. [1] Ravuri, Vinyals, "Classification accuracy score for conditional generative models",
       arXiv:1905.10887, 2019.
    .. [2] Esteban, Hyland, Rätsch, "Real-valued (medical) time series generation with recurrent
       conditional GANs", arXiv:1706.02633, 2017, section 4.2.
    """
    real, synthetic = check_series(X_real=X_real, X_synthetic=X_synthetic)
    real_labels = check_labels(real, y_real, "y_real", n_classes=1)
    synthetic_labels = check_labels(synthetic, y_synthetic, "y_synthetic")
    _check_shared(real_labels, synthetic_labels)
    score = get_scorer(scoring)
    trained = fit_clone(classifier, synthetic, synthetic_labels, random_state)
    return score(trained, real.copy(), real_labels)


@finite
def trts_score(
    X_real: ArrayLike,
    y_real: ArrayLike,
    X_synthetic: ArrayLike,
    y_synthetic: ArrayLike,
    *,
    classifier: BaseEstimator | None = None,
    scoring: Scoring = "accuracy",
    random_state: int | np.random.RandomState | None = 0,
) -> float:
    """Train on real, test on synthetic: how far synthetic series look like their class.

    Easy, typical series score high, so it says nothing of diversity.

    Parameters
    ----------
    X_real : array-like of shape (n_real, length) or (n_real, n_channels, length)
        Real series to train on.
    y_real : array-like of shape (n_real,)
        Their classes.
    X_synthetic : array-like of shape (n_synthetic, length) or (n_synthetic, n_channels, length)
        Synthetic series to test on.
    y_synthetic : array-like of shape (n_synthetic,)
        Their classes.
    classifier, scoring, random_state
        As in `tstr_score`.

    Returns
    -------
    float
        The accuracy, or what `scoring` returns; higher is better, up to what held-out real
        series get.

    Raises
    ------
    ValueError, ImportError
        As in `tstr_score`.

    References
    ----------
    .. [1] Esteban, Hyland, Rätsch, "Real-valued (medical) time series generation with recurrent
       conditional GANs", arXiv:1706.02633, 2017, section 4.2.
    """
    real, synthetic = check_series(X_real=X_real, X_synthetic=X_synthetic)
    real_labels = check_labels(real, y_real, "y_real")
    synthetic_labels = check_labels(synthetic, y_synthetic, "y_synthetic", n_classes=1)
    _check_shared(real_labels, synthetic_labels)
    score = get_scorer(scoring)
    trained = fit_clone(classifier, real, real_labels, random_state)
    return score(trained, synthetic.copy(), synthetic_labels)


@finite
def augmentation_gain(
    X_real: ArrayLike,
    y_real: ArrayLike,
    X_synthetic: ArrayLike,
    y_synthetic: ArrayLike,
    X_test: ArrayLike,
    y_test: ArrayLike,
    *,
    classifier: BaseEstimator | None = None,
    scoring: Scoring = "accuracy",
    random_state: int | np.random.RandomState | None = 0,
) -> float:
    """What adding synthetic series to the training set gains on a test set.

    Parameters
    ----------
    X_real : array-like of shape (n_real, length) or (n_real, n_channels, length)
        Real series to train on.
    y_real : array-like of shape (n_real,)
        Their classes.
    X_synthetic : array-like of shape (n_synthetic, length) or (n_synthetic, n_channels, length)
        Synthetic series to add to them.
    y_synthetic : array-like of shape (n_synthetic,)
        Their classes.
    X_test : array-like of shape (n_test, length) or (n_test, n_channels, length)
        Real series to test on, which the generator has not seen.
    y_test : array-like of shape (n_test,)
        Their classes.
    classifier, scoring, random_state
        As in `tstr_score`.

    Returns
    -------
    float
        Score after training on real and synthetic series, less that after training on real ones
        only; higher is better, and negative values do harm.

    Raises
    ------
    ValueError, ImportError
        As in `tstr_score`.
    """
    real, synthetic, test = check_series(X_real=X_real, X_synthetic=X_synthetic, X_test=X_test)
    real_labels = check_labels(real, y_real, "y_real")
    synthetic_labels = check_labels(synthetic, y_synthetic, "y_synthetic", n_classes=1)
    test_labels = check_labels(test, y_test, "y_test", n_classes=1)
    _check_shared(real_labels, synthetic_labels)
    # Drawn once, so that a RandomState gives both classifiers the same seed.
    seed = draw_seed(random_state)
    both = np.concatenate([real, synthetic]), np.concatenate([real_labels, synthetic_labels])
    score = get_scorer(scoring)
    with_synthetic, real_only = (
        score(fit_clone(classifier, X, y, seed), test.copy(), test_labels)
        for X, y in (both, (real, real_labels))
    )
    return with_synthetic - real_only


@finite
def classifier_two_sample_score(
    X_real: ArrayLike,
    X_synthetic: ArrayLike,
    *,
    classifier: BaseEstimator | None = None,
    n_splits: int = 5,
    random_state: int | np.random.RandomState | None = 0,
) -> float:
    """How much better than chance a classifier tells synthetic series from real ones.

    The larger set is thinned to the size of the smaller, and accuracy is averaged over the
    folds of a stratified, shuffled cross-validation, so no series is in both training and test.
    Accuracy below chance, to which copies of real series lead, counts as chance.

    Parameters
    ----------
    X_real : array-like of shape (n_real, length) or (n_real, n_channels, length)
        Real series; best those that the generator was not trained on.
    X_synthetic : array-like of shape (n_synthetic, length) or (n_synthetic, n_channels, length)
        Synthetic series.
    classifier : classifier or None, default=None
        As in `tstr_score`.
    n_splits : int, default=5
        Number of folds.
    random_state : int, RandomState instance or None, default=0
        Seeds the thinning, the folds and the default classifier.

    Returns
    -------
    float
        Accuracy less a half: from 0 for series that cannot be told apart to 0.5; lower is
        better.

    Raises
    ------
    ValueError
        On invalid or mismatched series, or fewer of them than folds.
    ImportError
        When the default classifier is asked for without aeon.

    See Also
    --------
    discriminative_score : By a small recurrent network, as papers on generation report it.

    References
    ----------
    .. [1] Lopez-Paz, Oquab, "Revisiting classifier two-sample tests", arXiv:1610.06545, 2016.
    """
    arrays = check_series(X_real=X_real, X_synthetic=X_synthetic)
    check_scalar(n_splits, "n_splits", Integral, min_val=2)
    n = min(map(len, arrays))
    if n < n_splits:
        raise ValueError(
            f"n_splits={n_splits} is more than the {n} series of the smaller set. Lower it or "
            "pass more series."
        )
    rng = read_random_state(random_state)
    thinned = (resample(X, replace=False, n_samples=n, random_state=rng) for X in arrays)
    X = np.concatenate([np.asarray(X) for X in thinned])
    scores = cross_val_score(
        clone_classifier(classifier, draw_seed(rng)),
        X,
        np.repeat([0, 1], n),
        scoring="accuracy",
        cv=StratifiedKFold(n_splits, shuffle=True, random_state=rng),
        error_score="raise",  # type: ignore[arg-type]
    )
    return max(float(scores.mean()) - 0.5, 0.0)


def clone_classifier(
    classifier: BaseEstimator | None, random_state: int | np.random.RandomState | None
) -> Any:
    """Return a clone of a classifier, or the default one where it is None."""
    if classifier is not None:
        return clone(classifier)
    return make_pipeline(
        RocketFeatures(10_000, random_state=random_state),
        StandardScaler(),
        RidgeClassifierCV(alphas=np.logspace(-3, 3, 10)),
    )


def fit_clone(
    classifier: BaseEstimator | None,
    X: NDArray[np.floating],
    y: NDArray[Any],
    random_state: int | np.random.RandomState | None,
) -> Any:
    """Return a clone of a classifier, fitted on a copy of series, which it may write into."""
    return clone_classifier(classifier, random_state).fit(X.copy(), y)


def _check_shared(y_real: NDArray[Any], y_synthetic: NDArray[Any]) -> None:
    # As a set, since an array would take 1 for "1".
    if not set(y_synthetic.tolist()) & set(y_real.tolist()):
        raise ValueError(
            f"No label of y_synthetic ({np.unique(y_synthetic).tolist()}) occurs in y_real "
            f"({np.unique(y_real).tolist()}). Pass labels of the same classes."
        )
