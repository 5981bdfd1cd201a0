"""The scores that papers on generation of time series report: by a recurrent network."""

import inspect
import math
from collections.abc import Callable
from numbers import Integral, Real
from typing import Any, NamedTuple

import numpy as np
import torch
from numpy.typing import ArrayLike, NDArray
from scipy.stats import t as student_t
from sklearn.utils.validation import check_scalar
from torch import Tensor

from .._base import draw_seed, isolated_seed, read_random_state
from ..nn.recurrent import RecurrentNetwork, train_discriminator, train_predictor
from ._validation import channels_first, check_series, finite, spread

# Half the channels, as published, are none where there is one.
_N_UNITS_OF_ONE_CHANNEL = 8
_TEST_FRACTION = 0.2
_CONFIDENCE = 0.95
# Series that a trained network judges at once.
_BATCH_SIZE = 4096


@finite
def discriminative_score(
    X_real: ArrayLike,
    X_synthetic: ArrayLike,
    *,
    n_steps: int = 2000,
    batch_size: int = 128,
    random_state: int | np.random.RandomState | None = 0,
) -> float:
    """How much better than chance a recurrent network tells synthetic series from real ones.

    The score that papers on generation compare by. A layer of gated recurrent units, half as many
    as channels, reads the series; its last state gives one logit. Real and synthetic series are
    each split at random, 80 % to train on and 20 % to test on.

    Parameters
    ----------
    X_real : array-like of shape (n_real, length) or (n_real, n_channels, length)
        Real series. Papers take those that the generator was trained on.
    X_synthetic : array-like of shape (n_synthetic, length) or (n_synthetic, n_channels, length)
        Synthetic series. The larger set is thinned to the size of the smaller.
    n_steps : int, default=2000
        Steps of Adam, with its usual learning rate of 0.001.
    batch_size : int, default=128
        Real series in a step, and as many synthetic ones.
    random_state : int, RandomState instance or None, default=0
        Seeds the splits, the weights and the batches.

    Returns
    -------
    float
        Absolute difference of the test accuracy and a half: from 0 for series that the network
        cannot tell apart to 0.5; lower is better. Of sets of one distribution it is about
        ``0.4 / sqrt(n_test)`` with `n_test` test series of both kinds.

    Raises
    ------
    ValueError
        On invalid or mismatched series, or fewer than five of them.

    See Also
    --------
    classifier_two_sample_score : By any classifier; the default one sees far more.
    repeated_score : Mean and interval over several runs.

    Notes
    -----
    Channels are mapped to [0, 1] by the range of the real series, which leaves series that are
    scaled so, as the published benchmark has them, as they are. The network is torch's GRU with
    torch's initial weights; the published one is TensorFlow's. The published definition has no
    units where there is one channel: then there are eight here.

    References
    ----------
    .. [1] Yoon, Jarrett, van der Schaar, "Time-series generative adversarial networks", NeurIPS
       2019, section 5 and supplement.

    Examples
    --------
    >>> import numpy as np
    >>> from skncvqvae.metrics import discriminative_score
    >>> X = np.random.default_rng(0).normal(size=(200, 6, 12))
    >>> discriminative_score(X, X + 5, n_steps=300, random_state=0)
    0.5
    """
    arrays = check_series(X_real=X_real, X_synthetic=X_synthetic)
    _check_sizes(n_steps, batch_size)
    n = min(map(len, arrays))
    if n < 5:
        raise ValueError(
            f"The smaller set holds {n} series, but a fifth of them is to be tested on. Pass at "
            "least 5."
        )
    rng = read_random_state(random_state)
    # In a random order, so that the first ones are a random part.
    shuffled = [X[rng.permutation(len(X))[:n]] for X in scaled(*arrays)]
    n_train = n - max(math.floor(_TEST_FRACTION * n), 1)
    real, synthetic = (_tensor(X) for X in shuffled)
    seed = draw_seed(rng)
    module = _network(real.shape[2], real.shape[2], seed)
    train_discriminator(
        module,
        real[:n_train],
        synthetic[:n_train],
        n_steps,
        batch_size,
        torch.Generator().manual_seed(seed),
    )
    is_real = _map(module.at_the_end, real[n_train:]) > 0
    is_synthetic = _map(module.at_the_end, synthetic[n_train:]) <= 0
    return abs(float(np.concatenate([is_real, is_synthetic]).mean()) - 0.5)


@finite
def predictive_score(
    X_real: ArrayLike,
    X_synthetic: ArrayLike,
    *,
    n_steps: int = 5000,
    batch_size: int = 128,
    random_state: int | np.random.RandomState | None = 0,
) -> float:
    """Error on real series of a recurrent network that learnt to predict synthetic ones.

    From all channels but the last, up to a time, it predicts the last channel one step later. It
    is trained on synthetic series and tested on real ones.

    Parameters
    ----------
    X_real : array-like of shape (n_real, length) or (n_real, n_channels, length)
        Real series, all of which are tested on.
    X_synthetic : array-like of shape (n_synthetic, length) or (n_synthetic, n_channels, length)
        Synthetic series.
    n_steps : int, default=5000
        Steps of Adam, with its usual learning rate of 0.001.
    batch_size : int, default=128
        Series in a step.
    random_state : int, RandomState instance or None, default=0
        Seeds the weights and the batches.

    Returns
    -------
    float
        Mean absolute error, in units of the range of the last channel of the real series; lower
        is better, down to what training on real series gets. That need not be small: some
        channels cannot be predicted.

    Raises
    ------
    ValueError
        On invalid or mismatched series, or series of one time step.

    Notes
    -----
    Scaling, network and number of units are those of `discriminative_score`. Predictions go
    through a sigmoid, so values are expected in [0, 1]. The published definition has no inputs
    where there is one channel: here the channel is then predicted from itself.

    References
    ----------
    .. [1] Yoon, Jarrett, van der Schaar, "Time-series generative adversarial networks", NeurIPS
       2019, section 5 and supplement.
    """
    arrays = check_series(X_real=X_real, X_synthetic=X_synthetic)
    _check_sizes(n_steps, batch_size)
    if arrays[0].shape[-1] < 2:
        raise ValueError("The series have one time step, so that there is no next one to predict.")
    real, synthetic = (_tensor(X) for X in scaled(*arrays))
    seed = draw_seed(random_state)
    n_channels = real.shape[2]
    n_inputs = max(n_channels - 1, 1)

    def inputs(x: Tensor) -> Tensor:
        return x[:, :-1, :n_inputs]

    module = _network(n_inputs, n_channels, seed)
    train_predictor(
        module,
        inputs(synthetic),
        synthetic[:, 1:, -1],
        n_steps,
        batch_size,
        torch.Generator().manual_seed(seed),
    )
    predicted = _map(module.at_each_step, inputs(real))
    return float(np.abs(predicted - real[:, 1:, -1].numpy()).mean(dtype=float))


@finite
def correlational_score(
    X_real: ArrayLike,
    X_synthetic: ArrayLike,
    *,
    fraction: float = 1.0,
    random_state: int | np.random.RandomState | None = 0,
) -> float:
    r"""Absolute differences of the correlations between channels, summed, over ten.

    .. math:: \frac{1}{10} \sum_{i \ge j} |r_{ij} - s_{ij}|

    where :math:`r` and :math:`s` are the correlation matrices of real and of synthetic series,
    over all series and time steps. It grows with the number of channels.

    Parameters
    ----------
    X_real : array-like of shape (n_real, n_channels, length)
        Real series. Of one channel, ``(n_real, length)``, the score is 0.
    X_synthetic : array-like of shape (n_synthetic, n_channels, length)
        Synthetic series.
    fraction : float, default=1.0
        Share of either set, drawn with replacement, that is compared; 1 compares all series.
        Diffusion-TS reports the mean of five draws of a fifth, which for series of one
        distribution is larger than 0 by the chance of the draws.
    random_state : int, RandomState instance or None, default=0
        Seeds the draws.

    Returns
    -------
    float
        0 or more; lower is better. A constant channel correlates with none.

    Raises
    ------
    ValueError
        On invalid or mismatched series, or a `fraction` that leaves fewer than two of them.

    References
    ----------
    .. [1] Yuan, Qiao, "Diffusion-TS: interpretable diffusion for general time series generation",
       arXiv:2403.01742, 2024, appendix, and the code published with it.
    .. [2] Ni et al., "Conditional Sig-Wasserstein GANs for time series generation",
       arXiv:2006.05421, 2020, on which it builds.
    """
    arrays = check_series(X_real=X_real, X_synthetic=X_synthetic)
    check_scalar(fraction, "fraction", Real, min_val=0, max_val=1, include_boundaries="right")
    if np.isnan(fraction):
        raise ValueError("fraction is NaN. Pass a number above 0 and at most 1.")
    rng = read_random_state(random_state)
    matrices = []
    for X in scaled(*arrays):
        if fraction < 1:
            n = int(fraction * len(X))
            if n < 2:
                raise ValueError(
                    f"fraction={fraction} of {len(X)} series leaves fewer than two. Raise it."
                )
            X = X[rng.randint(len(X), size=n)]
        matrices.append(_correlation(X))
    difference = np.abs(matrices[0] - matrices[1])
    return float(np.tril(difference).sum() / 10)


class RepeatedScore(NamedTuple):
    """A score over several runs.

    Parameters
    ----------
    mean : float
    half_width : float
        Half the width of the 95 % confidence interval of the mean, by Student's t.
    scores : tuple of float
        That of each run.
    """

    mean: float
    half_width: float
    scores: tuple[float, ...]


def repeated_score(
    metric: Callable[..., float],
    *arrays: ArrayLike,
    n_repeats: int = 5,
    random_state: int | np.random.RandomState | None = 0,
    **params: Any,
) -> RepeatedScore:
    """Compute a metric several times, each with another seed.

    Parameters
    ----------
    metric : callable
        A function of `skncvqvae.metrics` with a `random_state`.
    *arrays : array-like
        What it compares.
    n_repeats : int, default=5
        Runs, at least 2.
    random_state : int, RandomState instance or None, default=0
        Source of the seeds.
    **params
        Passed to `metric`.

    Returns
    -------
    RepeatedScore
        With ``mean``, ``half_width`` of the 95 % interval, and ``scores``. The interval is of the
        chance in the metric; it says nothing of another training of the generator.

    Raises
    ------
    ValueError
        On fewer than two runs, a metric without a `random_state`, or as `metric` does.

    Examples
    --------
    >>> from skncvqvae.metrics import discriminative_score, repeated_score
    >>> score = repeated_score(discriminative_score, X, X_synthetic)  # doctest: +SKIP
    >>> f"{score.mean:.3f} ± {score.half_width:.3f}"  # doctest: +SKIP
    """
    check_scalar(n_repeats, "n_repeats", Integral, min_val=2)
    _check_takes_seed(metric)
    rng = read_random_state(random_state)
    scores = [metric(*arrays, random_state=draw_seed(rng), **params) for _ in range(n_repeats)]
    error = np.std(scores, ddof=1) / math.sqrt(n_repeats)
    quantile = float(student_t.ppf((1 + _CONFIDENCE) / 2, n_repeats - 1))
    return RepeatedScore(float(np.mean(scores)), quantile * float(error), tuple(scores))


def _check_takes_seed(metric: Callable[..., float]) -> None:
    """Refuse a metric that would be the same in each run."""
    if not callable(metric):
        raise TypeError(f"metric={metric!r} must be a function of skncvqvae.metrics or your own.")
    try:
        known = inspect.signature(metric).parameters.values()
    except ValueError:  # of some functions in C nobody knows
        return
    if any(one.name == "random_state" or one.kind is one.VAR_KEYWORD for one in known):
        return
    raise ValueError(
        f"metric={getattr(metric, '__name__', repr(metric))} has no parameter random_state, so "
        "each run would give the same. Call it once, without repeated_score."
    )


def scaled(
    real: NDArray[np.floating], synthetic: NDArray[np.floating]
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Return series ``(n, n_channels, length)``, channels mapped so that real ones fill [0, 1]."""
    first = channels_first(real).astype(np.float64)
    lowest = first.min(axis=(0, 2), keepdims=True)
    width = spread(first, axis=(0, 2), keepdims=True)
    # A constant channel has no unit of its own.
    width = np.where(width > 0, width, 1.0)
    second = channels_first(synthetic).astype(np.float64)
    return (first - lowest) / width, (second - lowest) / width


def _correlation(X: NDArray[np.float64]) -> NDArray[np.float64]:
    channels = X.swapaxes(0, 1).reshape(X.shape[1], -1)
    centred = channels - channels.mean(axis=1, keepdims=True)
    norm = np.sqrt(np.square(centred).sum(axis=1))
    norm = np.where(spread(channels, axis=1) > 0, norm, np.inf)
    matrix = (centred / norm[:, None]) @ (centred / norm[:, None]).T
    np.fill_diagonal(matrix, 1.0)
    return matrix


def _check_sizes(n_steps: int, batch_size: int) -> None:
    check_scalar(n_steps, "n_steps", Integral, min_val=1)
    check_scalar(batch_size, "batch_size", Integral, min_val=1)


def _tensor(X: NDArray[np.float64]) -> Tensor:
    # Far beyond any real value, where nothing is left to tell.
    return torch.from_numpy(np.clip(X, -1e6, 1e6).astype(np.float32).swapaxes(1, 2).copy())


def _network(n_inputs: int, n_channels: int, seed: int) -> RecurrentNetwork:
    n_units = n_channels // 2 if n_channels > 1 else _N_UNITS_OF_ONE_CHANNEL
    with isolated_seed(seed, torch.device("cpu")):
        return RecurrentNetwork(n_inputs, n_units)


def _map(function: Callable[[Tensor], Tensor], x: Tensor) -> NDArray[np.float32]:
    with torch.inference_mode():
        return np.concatenate([function(part).numpy() for part in x.split(_BATCH_SIZE)])
