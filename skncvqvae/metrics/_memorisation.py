"""Whether synthetic series are new, or copies of the training set."""

from collections.abc import Sequence
from numbers import Integral, Real

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy.stats import mannwhitneyu
from sklearn.neighbors import NearestNeighbors
from sklearn.utils.validation import check_scalar

from .._base import read_random_state
from .._copying import compare_distances, probability_above
from ._distances import centre
from ._features import Features, extract_features
from ._validation import check_series, finite


def authenticity(
    X_real: ArrayLike,
    X_synthetic: ArrayLike,
    *,
    y_real: ArrayLike | None = None,
    features: Features = "rocket",
    random_state: int | np.random.RandomState | None = 0,
) -> float:
    r"""Share of synthetic series that are no closer to a training series than others are.

    With :math:`x_{i(j)}` the training series nearest to the synthetic :math:`y_j`,

    .. math:: \frac{1}{m} \sum_j
              1\left[d(y_j, x_{i(j)}) > \min_{l \ne i(j)} d(x_l, x_{i(j)})\right]

    Parameters
    ----------
    X_real : array-like of shape (n_real, length) or (n_real, n_channels, length)
        The series the generator was trained on.
    X_synthetic : array-like of shape (n_synthetic, length) or (n_synthetic, n_channels, length)
        Synthetic series.
    y_real : array-like of shape (n_real,), optional
        Class labels, which ``features="fcn"`` needs.
    features : {"rocket", "fcn"}, transformer, callable or None, default="rocket"
        As in `frechet_distance`.
    random_state : int, RandomState instance or None, default=0
        Seeds extractors chosen by name.

    Returns
    -------
    float
        In [0, 1]; 0 for copies, a half or more for real series that were held out, and 1 also
        for noise that is far from everything. Higher is better, up to what held-out series get.

    Raises
    ------
    ValueError
        On invalid or mismatched series, or an unknown `features`.
    ImportError
        When ``"rocket"`` is asked for without aeon.

    References
    ----------
    .. [1] Alaa, van Breugel, Saveliev, van der Schaar, "How faithful is your synthetic data?",
       arXiv:2102.08921, 2022, "authenticity".
    """
    real, synthetic = check_series(X_real=X_real, X_synthetic=X_synthetic)
    extracted = extract_features(
        features, real, synthetic, y_real=y_real, random_state=random_state
    )
    (real, synthetic), rounding = centre(*extracted)
    neighbors = NearestNeighbors(n_neighbors=1).fit(real)
    spacing = neighbors.kneighbors()[0][:, 0]
    distance, nearest = neighbors.kneighbors(synthetic)
    return float((distance[:, 0] > spacing[nearest[:, 0]] + rounding).mean())


@finite
def nearest_neighbor_distance_ratio(
    X_real: ArrayLike,
    X_synthetic: ArrayLike,
    X_holdout: ArrayLike,
    *,
    y_real: ArrayLike | None = None,
    features: Features = "rocket",
    quantile: float = 0.5,
    random_state: int | np.random.RandomState | None = 0,
) -> float:
    """Distance of synthetic series to the training set, relative to that of held-out series.

    A quantile of the distances of synthetic series to their nearest training series (in the
    literature on privacy, the distance to the closest record), divided by the same quantile for
    real series that the generator never saw. Not to be confused with the ratio of the first to
    the second neighbour's distance.

    Parameters
    ----------
    X_real : array-like of shape (n_real, length) or (n_real, n_channels, length)
        The series the generator was trained on.
    X_synthetic : array-like of shape (n_synthetic, length) or (n_synthetic, n_channels, length)
        Synthetic series.
    X_holdout : array-like of shape (n_holdout, length) or (n_holdout, n_channels, length)
        Real series the generator was not trained on.
    y_real : array-like of shape (n_real,), optional
        Class labels, which ``features="fcn"`` needs.
    features : {"rocket", "fcn"}, transformer, callable or None, default="rocket"
        As in `frechet_distance`.
    quantile : float, default=0.5
        Which quantile, in [0, 1]. A low one finds a few copies among many new series.
    random_state : int, RandomState instance or None, default=0
        Seeds extractors chosen by name.

    Returns
    -------
    float
        1 when synthetic series are as far from the training set as held-out ones; towards 0 the
        more they copy it, above 1 when they are unlike it.

    Raises
    ------
    ValueError
        On invalid or mismatched series, an unknown `features`, or held-out series that are
        copies of training series themselves.
    ImportError
        When ``"rocket"`` is asked for without aeon.

    References
    ----------
    .. [1] Platzer, Reutterer, "Holdout-based empirical assessment of mixed-type synthetic data",
       arXiv:2104.00635, 2021.
    """
    arrays = check_series(X_real=X_real, X_synthetic=X_synthetic, X_holdout=X_holdout)
    check_scalar(quantile, "quantile", Real, min_val=0, max_val=1)
    if np.isnan(quantile):
        raise ValueError("quantile is NaN. Pass a number from 0 to 1.")
    extracted = extract_features(features, *arrays, y_real=y_real, random_state=random_state)
    (real, *others), rounding = centre(*extracted)
    neighbors = NearestNeighbors(n_neighbors=1).fit(real)
    synthetic, holdout = (
        np.quantile(neighbors.kneighbors(other)[0], quantile) for other in others
    )
    if holdout <= rounding:
        raise ValueError(
            f"The quantile {quantile} of the distances of X_holdout to X_real is 0: series of "
            "X_holdout are in X_real. Hold out other series or raise quantile."
        )
    return float(synthetic / holdout) if synthetic > rounding else 0.0


@finite
def membership_auc(
    X_real: ArrayLike,
    X_synthetic: ArrayLike,
    X_holdout: ArrayLike,
    *,
    X_reference: ArrayLike | None = None,
    y_real: ArrayLike | None = None,
    features: Features = "rocket",
    random_state: int | np.random.RandomState | None = 0,
) -> float:
    """How well synthetic series give away who was in the training set.

    The area under the ROC curve of an attack that has the synthetic series and a candidate: the
    nearer the candidate is to a synthetic series, the likelier it was trained on. Candidates are
    the training series, the members, and held-out ones. `membership_test` tells how far chance
    alone takes it.

    Parameters
    ----------
    X_real : array-like of shape (n_real, length) or (n_real, n_channels, length)
        The series the generator was trained on.
    X_synthetic : array-like of shape (n_synthetic, length) or (n_synthetic, n_channels, length)
        Synthetic series. The more there are, the stronger the attack.
    X_holdout : array-like of shape (n_holdout, length) or (n_holdout, n_channels, length)
        Real series of the same source that the generator was not trained on.
    X_reference : array-like of shape (n_reference, ...), optional
        Further real series, neither trained on nor held out, that the attacker has. With them
        the attack is by the ratio of two densities, each estimated by the distance to the nearest
        neighbour: a series that is typical of its kind is near to synthetic series anyway [2]_.
    y_real : array-like of shape (n_real,), optional
        Class labels, which ``features="fcn"`` needs.
    features : {"rocket", "fcn"}, transformer, callable or None, default="rocket"
        As in `frechet_distance`. Features that were trained on `X_real`, as those of ``"fcn"``,
        tell members apart by themselves.
    random_state : int, RandomState instance or None, default=0
        Seeds extractors chosen by name.

    Returns
    -------
    float
        In [0, 1]: 0.5 when members cannot be told from others, 1 when they always can. Lower is
        better, down to 0.5.

    Raises
    ------
    ValueError
        On invalid or mismatched series, or an unknown `features`.
    ImportError
        When ``"rocket"`` is asked for without aeon.

    References
    ----------
    .. [1] Chen, Yu, Zhang, Fritz, "GAN-Leaks: a taxonomy of membership inference attacks against
       generative models", arXiv:1909.03935, 2020, section 4.2, the attack on a full black box.
    .. [2] van Breugel, Sun, Qian, van der Schaar, "Membership inference attacks against synthetic
       data through overfitting detection", arXiv:2302.12580, 2023, eq. 2.
    """
    arrays = _read(X_real, X_synthetic, X_holdout, X_reference)
    return probability_above(*_attack(arrays, y_real, features, random_state))


def membership_test(
    X_real: ArrayLike,
    X_synthetic: ArrayLike,
    X_holdout: ArrayLike,
    *,
    X_reference: ArrayLike | None = None,
    y_real: ArrayLike | None = None,
    features: Features = "rocket",
    confidence_level: float = 0.95,
    n_resamples: int = 1000,
    random_state: int | np.random.RandomState | None = 0,
) -> dict[str, float]:
    """Membership-inference test: `membership_auc`, with how sure it is.

    For small sets, where chance alone moves the area by a tenth and more: with 20 members and 20
    others its standard deviation is 0.09, with 100 of each 0.04.

    Parameters
    ----------
    X_real, X_synthetic, X_holdout, X_reference, y_real, features
        As in `membership_auc`.
    confidence_level : float, default=0.95
        Of the interval, in (0, 1).
    n_resamples : int, default=1000
        Bootstrap samples that the interval is made of.
    random_state : int, RandomState instance or None, default=0
        Seeds extractors chosen by name, and the bootstrap.

    Returns
    -------
    dict of str to float
        - ``"auc"``: the area;
        - ``"low"``, ``"high"``: its confidence interval, the percentiles of a bootstrap over
          members and others;
        - ``"p_value"``: probability of such an area or a larger one, were members like others
          (Mann-Whitney U).

    Raises
    ------
    ValueError, ImportError
        As in `membership_auc`, and on numbers out of their range.

    Examples
    --------
    >>> import numpy as np
    >>> from skncvqvae.metrics import membership_test
    >>> X = np.random.default_rng(0).normal(size=(80, 16))
    >>> copies = X[:40] + 0.1
    >>> membership_test(X[:40], copies, X[40:], features=None)["auc"]
    1.0
    """
    check_scalar(
        confidence_level,
        "confidence_level",
        Real,
        min_val=0,
        max_val=1,
        include_boundaries="neither",
    )
    if np.isnan(confidence_level):
        raise ValueError("confidence_level is NaN. Pass a number between 0 and 1.")
    check_scalar(n_resamples, "n_resamples", Integral, min_val=1)
    rng = read_random_state(random_state)
    arrays = _read(X_real, X_synthetic, X_holdout, X_reference)
    members, others = _attack(arrays, y_real, features, rng)
    auc = probability_above(members, others)
    resampled = [
        probability_above(*(rng.choice(scores, len(scores)) for scores in (members, others)))
        for _ in range(n_resamples)
    ]
    outside = (1 - confidence_level) / 2
    low, high = np.quantile(resampled, [outside, 1 - outside])
    p_value = mannwhitneyu(members, others, alternative="greater").pvalue
    return {"auc": auc, "low": float(low), "high": float(high), "p_value": float(p_value)}


def _read(
    X_real: ArrayLike,
    X_synthetic: ArrayLike,
    X_holdout: ArrayLike,
    X_reference: ArrayLike | None,
) -> list[NDArray[np.floating]]:
    further = {} if X_reference is None else {"X_reference": X_reference}
    return check_series(X_real=X_real, X_synthetic=X_synthetic, X_holdout=X_holdout, **further)


def _attack(
    arrays: Sequence[NDArray[np.floating]],
    y_real: ArrayLike | None,
    features: Features,
    random_state: int | np.random.RandomState | None,
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Return the attacker's scores of members and others; higher is likelier a member."""
    extracted = extract_features(features, *arrays, y_real=y_real, random_state=random_state)
    (members, synthetic, others, *reference), rounding = centre(*extracted)

    def score(candidates: NDArray[np.float64]) -> NDArray[np.float64]:
        to_synthetic = _nearest(synthetic, candidates, rounding)
        # Scores are rounded, so that those of equal distances tie.
        if not reference:
            return -rounding * np.rint(to_synthetic / rounding) if rounding else -to_synthetic
        # The density of a nearest neighbour is a power of its distance, and the two densities
        # have one power, which does not change the order.
        ratios = np.log(_nearest(reference[0], candidates, rounding)) - np.log(to_synthetic)
        return ratios.round(9)

    return score(members), score(others)


def _nearest(
    X: NDArray[np.float64], candidates: NDArray[np.float64], rounding: float
) -> NDArray[np.float64]:
    """Return the distance to the nearest row of `X`; no less than rounding makes of none."""
    smallest = max(rounding, np.finfo(float).tiny)
    return np.maximum(
        NearestNeighbors(n_neighbors=1).fit(X).kneighbors(candidates)[0][:, 0], smallest
    )


def copying_test(
    X_real: ArrayLike,
    X_synthetic: ArrayLike,
    X_holdout: ArrayLike | None = None,
    *,
    y_real: ArrayLike | None = None,
    features: Features = "rocket",
    random_state: int | np.random.RandomState | None = 0,
) -> dict[str, float]:
    """Whether synthetic series lie nearer to the training series than real ones do.

    The distance of each synthetic series to its nearest training series is compared with that of
    each held-out series, or, without them, with that of each training series to its nearest
    other.

    Parameters
    ----------
    X_real : array-like of shape (n_real, length) or (n_real, n_channels, length)
        The series the generator was trained on.
    X_synthetic : array-like of shape (n_synthetic, length) or (n_synthetic, n_channels, length)
        Synthetic series.
    X_holdout : array-like of shape (n_holdout, ...), optional
        Real series of the same source that the generator was not trained on. None takes each
        training series for held out from the others.
    y_real : array-like of shape (n_real,), optional
        Class labels, which ``features="fcn"`` needs.
    features : {"rocket", "fcn"}, transformer, callable or None, default="rocket"
        As in `frechet_distance`.
    random_state : int, RandomState instance or None, default=0
        Seeds extractors chosen by name.

    Returns
    -------
    dict of str to float
        - ``"copying"``: probability that a synthetic series is nearer to the training series than
          a real one is, ties counting half. 0.5 when they are alike, 1 for copies, below 0.5 for
          series that are unlike any. Series that are only smoother than real ones are above 0.5,
          too;
        - ``"z"``: its distance from 0.5 in standard deviations of chance, positive where synthetic
          series are nearer;
        - ``"p_value"``: probability of such a value or a larger one, were synthetic series like
          real ones (Mann-Whitney U).

    Raises
    ------
    ValueError
        On invalid or mismatched series, or an unknown `features`.
    ImportError
        When ``"rocket"`` is asked for without aeon.

    References
    ----------
    .. [1] Meehan, Chaudhuri, Dasgupta, "A non-parametric test to detect data-copying in
       generative models", arXiv:2004.05675, 2020, section 3.1; the test over all space.

    Examples
    --------
    >>> import numpy as np
    >>> from skncvqvae.metrics import copying_test
    >>> X = np.random.default_rng(0).normal(size=(40, 16))
    >>> copying_test(X, X + 0.1, features=None)["copying"]
    1.0
    """
    further = {} if X_holdout is None else {"X_holdout": X_holdout}
    arrays = check_series(X_real=X_real, X_synthetic=X_synthetic, **further)
    extracted = extract_features(features, *arrays, y_real=y_real, random_state=random_state)
    (train, synthetic, *holdout), rounding = centre(*extracted)
    neighbors = NearestNeighbors(n_neighbors=1).fit(train)

    def distances(candidates: NDArray[np.float64] | None) -> NDArray[np.float64]:
        # Without candidates each training series counts, and not as its own neighbour.
        found = neighbors.kneighbors(candidates)[0][:, 0]
        return np.where(found > rounding, found, 0)

    of_synthetic, of_real = distances(synthetic), distances(holdout[0] if holdout else None)
    return compare_distances(of_synthetic, of_real)
