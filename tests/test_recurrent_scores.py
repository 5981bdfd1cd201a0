"""The scores of the published benchmark of time-series generation, on cases with known answers."""

import numpy as np
import pytest
import torch
from helpers import make_series

from skncvqvae import metrics
from skncvqvae.nn.recurrent import RecurrentNetwork, train_discriminator, train_predictor

FEW = {"n_steps": 60, "batch_size": 32}
SCORES = [metrics.discriminative_score, metrics.predictive_score]


def noise(n, seed, n_channels=3, length=16):
    """Return noise; the last channel follows the first, one step behind."""
    rng = np.random.default_rng(seed)
    X = rng.normal(size=(n, n_channels, length))
    X[:, -1, 1:] = 3 * X[:, 0, :-1]
    return X


@pytest.fixture(scope="module")
def real():
    return noise(400, seed=0)


@pytest.fixture(scope="module")
def alike():
    return noise(400, seed=1)


def test_series_of_one_distribution_cannot_be_told_apart(real, alike):
    # 160 test series: accuracy deviates by 0.04.
    assert metrics.discriminative_score(real, alike, **FEW) < 0.12


def test_series_far_away_are_told_apart(real, alike):
    assert metrics.discriminative_score(real, alike + 20, **FEW) == 0.5


def test_the_score_rises_with_the_damage(real, alike):
    scores = [metrics.discriminative_score(real, alike + shift, **FEW) for shift in (0, 1, 4)]
    assert scores[0] + 0.05 < scores[1] < scores[2] - 0.05


def test_a_predictor_that_learnt_another_level_errs_more(real, alike):
    steps = {"n_steps": 200, "batch_size": 32}
    lower = alike.copy()
    lower[:, -1] -= 15
    right, wrong = (metrics.predictive_score(real, X, **steps) for X in (alike, lower))
    assert right + 0.01 < wrong


def test_error_of_a_prediction_that_cannot_be_bettered_is_known():
    """Inputs without information: the best is the median, which the network starts near."""
    rng = np.random.default_rng(0)
    real, synthetic = (rng.uniform(size=(500, 2, 12)) for _ in range(2))
    score = metrics.predictive_score(real, synthetic, n_steps=200)
    assert score == pytest.approx(0.25, abs=0.03)


def test_correlational_score_by_hand():
    rng = np.random.default_rng(0)
    X, Y = rng.normal(size=(30, 4, 20)), rng.normal(size=(50, 4, 20))
    Y[:, 1] += Y[:, 0]
    r, s = (np.corrcoef(Z.swapaxes(0, 1).reshape(4, -1)) for Z in (X, Y))
    expected = sum(abs(r[i, j] - s[i, j]) for i in range(4) for j in range(i)) / 10
    assert metrics.correlational_score(X, Y) == pytest.approx(expected)
    # Correlations know no units.
    assert metrics.correlational_score(X, 3 * Y - 2) == pytest.approx(expected)


def test_correlational_score_of_the_same_series_is_zero_and_of_a_part_is_small(real):
    assert metrics.correlational_score(real, real) == 0
    part = metrics.correlational_score(real, real, fraction=0.2)
    assert 0 < part < 0.05
    assert part != metrics.correlational_score(real, real, fraction=0.2, random_state=1)


def test_constant_channels_correlate_with_none():
    X = np.random.default_rng(0).normal(size=(20, 2, 9))
    X[:, 1] = 5
    assert metrics.correlational_score(X, X + 1) == 0
    Y = X.copy()
    Y[:, 1] = 2 * Y[:, 0]
    assert metrics.correlational_score(X, Y) == pytest.approx(0.1)


@pytest.mark.parametrize("score", SCORES)
@pytest.mark.parametrize("n_channels", [None, 1, 2, 5])
def test_any_number_of_channels_has_a_score(score, n_channels):
    X, Y = (make_series(24, n_channels, length=9, seed=seed)[0] for seed in range(2))
    assert 0 <= score(X, Y, n_steps=2) <= 0.5
    assert metrics.correlational_score(X, Y) >= 0


@pytest.mark.parametrize("score", SCORES)
def test_units_change_nothing(score, real, alike):
    factor = np.array([1e3, 1e-3, 7])[:, None]
    # Powers of two would be exact; these differ by rounding, which training may magnify a little.
    scores = [score(real * f, alike * f, n_steps=3) for f in (1, factor)]
    assert scores[0] == pytest.approx(scores[1], abs=0.02)


@pytest.mark.parametrize("score", [*SCORES, metrics.correlational_score])
def test_same_seed_same_score_and_global_random_state_is_left_alone(score, real, alike):
    params = {"fraction": 0.5} if score is metrics.correlational_score else {"n_steps": 5}
    states = np.random.get_state()[1].copy(), torch.get_rng_state()
    first = score(real, alike, **params)
    assert score(real, alike, **params) == first
    np.testing.assert_array_equal(np.random.get_state()[1], states[0])
    assert torch.equal(torch.get_rng_state(), states[1])


def test_repeated_score_has_the_interval_of_student():
    def metric(offset, random_state, slope):
        return offset + slope * (random_state % 7)

    score = metrics.repeated_score(metric, 3.0, n_repeats=4, slope=0.5)
    assert len(score.scores) == 4
    assert score.mean == pytest.approx(np.mean(score.scores))
    # 3.1824 is the 97.5 % quantile of Student's t with three degrees of freedom.
    expected = 3.1824463 * np.std(score.scores, ddof=1) / 2
    assert score.half_width == pytest.approx(expected)
    assert score == metrics.repeated_score(metric, 3.0, n_repeats=4, slope=0.5)


def test_repeated_score_takes_whatever_takes_a_seed():
    seeds = []

    def metric(**params):
        seeds.append(params["random_state"])
        return 1.0

    assert metrics.repeated_score(metric, n_repeats=3).mean == 1
    assert len(set(seeds)) == 3
    with pytest.raises(TypeError, match="metric='frechet' must be a function"):
        metrics.repeated_score("frechet", np.ones((3, 4)))


def test_larger_sets_are_thinned(real):
    """Otherwise always naming the larger set would score."""
    few = noise(20, seed=5)
    assert metrics.discriminative_score(real, few, n_steps=1) <= 0.5 - 1e-9


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda X: metrics.discriminative_score(X[:4], X), "4 series"),
        (lambda X: metrics.discriminative_score(X, X, n_steps=0), "n_steps == 0"),
        (lambda X: metrics.discriminative_score(X, X, batch_size=0), "batch_size == 0"),
        (lambda X: metrics.predictive_score(X[..., :1], X[..., :1]), "one time step"),
        (lambda X: metrics.predictive_score(X, X[:, :2]), "X_synthetic holds series of shape"),
        (lambda X: metrics.correlational_score(X, X, fraction=0), "fraction == 0"),
        (lambda X: metrics.correlational_score(X, X, fraction=np.nan), "fraction is NaN"),
        (lambda X: metrics.correlational_score(X[:4], X, fraction=0.3), "fewer than two"),
        (
            lambda X: metrics.repeated_score(metrics.correlational_score, X, X, n_repeats=1),
            "n_repeats == 1",
        ),
        (
            lambda X: metrics.repeated_score(metrics.marginal_difference, X, X),
            "metric=marginal_difference has no parameter random_state",
        ),
    ],
)
def test_bad_input_is_refused(call, message, real):
    with pytest.raises(ValueError, match=message):
        call(real)


class TestRecurrentNetwork:
    def test_shapes(self):
        module = RecurrentNetwork(3, 2)
        x = torch.randn(5, 7, 3)
        assert module.at_the_end(x).shape == (5,)
        steps = module.at_each_step(x)
        assert steps.shape == (5, 7)
        # The last of the steps is the sigmoid of what the end has.
        torch.testing.assert_close(steps[:, -1], module.at_the_end(x).sigmoid())

    def test_a_prediction_knows_nothing_of_what_comes_later(self):
        module = RecurrentNetwork(2, 3)
        x = torch.randn(4, 6, 2)
        later = x.clone()
        later[:, 4:] = 0
        torch.testing.assert_close(
            module.at_each_step(x)[:, :4], module.at_each_step(later)[:, :4]
        )

    def test_training_lowers_the_losses(self):
        torch.manual_seed(0)
        generator = torch.Generator().manual_seed(0)
        real, synthetic = torch.rand(50, 6, 2), torch.rand(50, 6, 2) + 1
        module = RecurrentNetwork(2, 2)
        before = (module.at_the_end(real) - module.at_the_end(synthetic)).mean()
        train_discriminator(module, real, synthetic, 50, 16, generator)
        assert (module.at_the_end(real) - module.at_the_end(synthetic)).mean() > before + 0.1
        targets = torch.full((50, 6), 0.9)
        error = (module.at_each_step(real) - targets).abs().mean()
        train_predictor(module, real, targets, 50, 16, generator)
        assert (module.at_each_step(real) - targets).abs().mean() < error
