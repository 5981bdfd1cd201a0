"""Samplers by themselves: parameters, what they draw, and a sampler of one's own."""

import itertools

import numpy as np
import pytest
import torch
from helpers import make_prior_module, tiny_generator, tiny_prior
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn.base import clone
from sklearn.utils._param_validation import InvalidParameterError

from skncvqvae import MaskedTokenPrior
from skncvqvae.nn.autoregressive_prior import AutoregressivePrior
from skncvqvae.nn.masked_prior import MaskedPrior
from skncvqvae.nn.token_transformer import PriorConfig
from skncvqvae.samplers import MASKED, Autoregressive, MaskGIT, Sampler

SAMPLERS = {MaskGIT: MaskedPrior, Autoregressive: AutoregressivePrior}


def empty(n, n_tokens=7):
    return torch.full((n, n_tokens), MASKED)


def seeded(seed=0):
    return torch.Generator().manual_seed(seed)


def close_to_distribution(drawn, p, n_sd=5):
    """Whether shares of draws are within some standard deviations of probabilities."""
    n = drawn.sum()
    return (np.abs(drawn - n * p) <= n_sd * np.sqrt(n * p * (1 - p)) + 1).all()


@pytest.mark.parametrize("cls", SAMPLERS)
class TestParameters:
    def test_get_set_clone(self, cls):
        sampler = cls(temperature=0.7)
        assert sampler.get_params()["temperature"] == 0.7
        copy = clone(sampler).set_params(guidance_scale=2)
        assert copy.get_params() == {**sampler.get_params(), "guidance_scale": 2}
        assert sampler.guidance_scale == cls().guidance_scale != 2
        assert "temperature=0.7" in repr(sampler)

    def test_unknown_name(self, cls):
        with pytest.raises(ValueError, match="Invalid parameter 'temprature'"):
            cls().set_params(temprature=1)
        with pytest.raises(TypeError, match="temprature"):
            cls(temprature=1)

    @pytest.mark.parametrize(
        ("name", "value"), [("temperature", 0), ("guidance_scale", -1), ("temperature", "low")]
    )
    def test_value_out_of_range(self, cls, name, value):
        with pytest.raises(InvalidParameterError, match=f"'{name}' parameter of {cls.__name__}"):
            cls(**{name: value}).check_params()
        cls().check_params()

    def test_prior_of_another_kind(self, cls):
        ((other, wrong),) = [item for item in SAMPLERS.items() if item[0] is not cls]
        assert other.prior_type is wrong
        with pytest.raises(TypeError, match=rf"{cls.__name__}\(\) draws from.*{wrong.__name__}"):
            cls()(make_prior_module(wrong), empty(2), torch.tensor([0, 1]))


@pytest.mark.parametrize(
    ("sampler", "name", "value"),
    [
        (MaskGIT, "n_steps", 0),
        (MaskGIT, "n_steps", 1.5),
        (MaskGIT, "choice_temperature", -1),
        (Autoregressive, "top_p", 0),
        (Autoregressive, "top_p", 1.1),
        (Autoregressive, "n_candidates", 0),
    ],
)
def test_value_out_of_range_of_one_sampler(sampler, name, value):
    with pytest.raises(InvalidParameterError, match=f"'{name}' parameter of {sampler.__name__}"):
        sampler(**{name: value}).check_params()


@pytest.mark.parametrize("n_steps", [1, 3, 10, 50])
def test_sampling_fills_every_token(n_steps):
    tokens = MaskGIT(n_steps=n_steps)(make_prior_module(), empty(3), torch.tensor([0, 1, 2]))
    assert tokens.shape == (3, 7) and tokens.min() >= 0 and tokens.max() < 5


def test_autoregressive_sampling_fills_every_token():
    prior = make_prior_module(AutoregressivePrior)
    tokens = Autoregressive()(prior, empty(3), torch.tensor([0, 1, 2]))
    assert tokens.shape == (3, 7) and tokens.min() >= 0 and tokens.max() < 5


@pytest.mark.parametrize("cls", SAMPLERS)
def test_the_generator_is_the_source_of_all_randomness(cls):
    prior, labels = make_prior_module(SAMPLERS[cls]), torch.tensor([0, 1] * 10)
    torch.manual_seed(5)
    state = torch.get_rng_state()
    first, again = (cls()(prior, empty(20), labels, seeded(0)) for _ in range(2))
    assert torch.equal(first, again)
    assert not torch.equal(first, cls()(prior, empty(20), labels, seeded(1)))
    assert torch.equal(state, torch.get_rng_state())


@pytest.mark.parametrize("cls", SAMPLERS)
@pytest.mark.parametrize("guidance_scale", [1.0, 2.0])
def test_given_tokens_stay_and_masked_ones_are_drawn(cls, guidance_scale):
    prior = make_prior_module(SAMPLERS[cls], n_tokens=12)
    tokens = torch.randint(0, 5, (20, 12), generator=seeded(0))
    masked = torch.rand((20, 12), generator=seeded(1)).argsort(1) < 7
    given = tokens.masked_fill(masked, MASKED)
    before = given.clone()
    sampler = cls(guidance_scale=guidance_scale)
    if cls is MaskGIT:
        sampler.set_params(n_steps=4)
    drawn = sampler(prior, given, torch.zeros(20, dtype=torch.long), seeded(2))
    assert torch.equal(drawn[~masked], tokens[~masked])
    assert (drawn < 5).all() and (drawn >= 0).all()
    # What was handed in is left as it was.
    assert torch.equal(given, before)


@pytest.mark.parametrize("cls", SAMPLERS)
def test_no_guidance_ignores_the_class(cls):
    prior = make_prior_module(SAMPLERS[cls])
    first, second, none = (
        cls(guidance_scale=0)(prior, empty(50), torch.full((50,), label), seeded(0))
        for label in (0, 1, 2)
    )
    assert torch.equal(first, second) and torch.equal(first, none)
    first, second = (
        cls(guidance_scale=1)(prior, empty(50), torch.full((50,), label), seeded(0))
        for label in (0, 1)
    )
    assert not torch.equal(first, second)


@pytest.mark.parametrize("cls", SAMPLERS)
def test_guidance_moves_samples_towards_the_class(cls):
    """With a prior that knows the class by one token, guidance makes that token likelier."""
    torch.manual_seed(0)
    tokens = torch.cat([torch.zeros(300, 4), torch.ones(100, 4)]).long()
    noisy = torch.rand(tokens.shape) < 0.4
    tokens = torch.where(noisy, 1 - tokens, tokens)
    labels = torch.cat([torch.zeros(300), torch.ones(100)]).long()
    config = PriorConfig(2, 4, 2, embedding_dim=8, hidden_dim=16, n_layers=1, p_unconditional=0.3)
    prior = SAMPLERS[cls](config)
    optimiser = torch.optim.Adam(prior.parameters(), 1e-2)
    for _ in range(150):
        optimiser.zero_grad()
        prior.loss(tokens, labels).backward()
        optimiser.step()
    prior.eval()

    def share(scale):
        ones = torch.ones(500, dtype=torch.long)
        drawn = cls(guidance_scale=scale)(prior, empty(500, 4), ones, seeded(0))
        return drawn.float().mean().item()

    assert share(0.0) + 0.1 < share(1.0) < share(3.0) - 0.1
    assert share(1.0) == pytest.approx(0.6, abs=0.08)


@pytest.mark.parametrize("guidance_scale", [1.0, 0.0, 2.0])
def test_each_sample_has_the_class_of_its_label(guidance_scale):
    """A prior that knows nothing but that class k has code k, and no class code 3."""
    prior = make_prior_module(n_codes=4, n_tokens=6, n_classes=3)

    def logits(tokens, labels, wanted):
        return 50 * torch.eye(4)[labels][:, None].expand(-1, 6, -1)[wanted]

    prior.forward = logits
    labels = torch.tensor([2, 0, 2, 1, 0])
    expected = torch.full_like(labels, 3) if guidance_scale == 0 else labels
    for n_steps in (1, 4):
        sampler = MaskGIT(n_steps=n_steps, guidance_scale=guidance_scale)
        tokens = sampler(prior, empty(5, 6), labels)
        assert torch.equal(tokens, expected[:, None].expand(-1, 6))


@pytest.mark.parametrize("temperature", [1.0, 0.5, 2.0])
def test_one_step_of_maskgit_draws_each_token_from_its_marginal(temperature):
    prior, label = make_prior_module(), torch.tensor([1])
    with torch.no_grad():
        logits = prior(empty(1), label, torch.ones(1, 7, dtype=torch.bool))
    p = (logits / temperature).softmax(-1).numpy()
    sampler = MaskGIT(n_steps=1, temperature=temperature)
    drawn = sampler(prior, empty(20_000), label.expand(20_000), seeded())
    for position in range(7):
        counts = np.bincount(drawn[:, position], minlength=5)
        assert close_to_distribution(counts, p[position])


def test_steps_of_maskgit_follow_the_cosine_and_keep_the_most_confident():
    """A prior that is all but sure of code 0, the surer the larger its logit at a position."""
    prior, seen = make_prior_module(n_tokens=20), []
    sure = torch.linspace(9, 14, 20)[torch.randperm(20, generator=seeded())]
    logits = torch.zeros(20, 5)
    logits[:, 0] = sure

    def spied(tokens, labels, wanted):
        seen.append(tokens.clone())
        return logits.expand(len(tokens), -1, -1)[wanted]

    prior.forward = spied
    labels = torch.tensor([0, 0, 1])
    drawn = MaskGIT(n_steps=6, choice_temperature=0)(prior, empty(3, 20), labels, seeded())
    assert (drawn == 0).all() and len(seen) == 6
    for step, tokens in enumerate(seen):
        n_masked = int(20 * np.cos(0.5 * np.pi * step / 6))
        least = sure.argsort()[:n_masked].sort().values
        for row in tokens:
            assert torch.equal((row == MASKED).nonzero()[:, 0], least)


def test_noise_in_the_choice_settles_tokens_in_another_order():
    orders = []
    for choice_temperature in (0.0, 50.0):
        prior, seen = make_prior_module(n_tokens=20), []
        forward = prior.forward

        def spied(tokens, labels, wanted, seen=seen, forward=forward):
            seen.append(tokens != MASKED)
            return forward(tokens, labels, wanted)

        prior.forward = spied
        sampler = MaskGIT(choice_temperature=choice_temperature)
        sampler(prior, empty(200, 20), torch.zeros(200, dtype=torch.long), seeded())
        # How often each position is among the first to be settled.
        orders.append(seen[2].float().mean(0))
    assert orders[0].std() > 2 * orders[1].std()


@pytest.mark.parametrize("temperature", [1.0, 0.5])
@pytest.mark.parametrize("label", [0, 2])
def test_autoregressive_samples_follow_the_exact_distribution(temperature, label):
    n_codes, n_tokens, n = 3, 3, 20_000
    prior = make_prior_module(AutoregressivePrior, n_codes, n_tokens)
    rows = torch.tensor(list(itertools.product(range(n_codes), repeat=n_tokens)))
    with torch.no_grad():
        logits = prior(rows, torch.full((len(rows),), label)) / temperature
    log_p = logits.double().log_softmax(-1).gather(-1, rows[..., None]).sum((1, 2))
    sampler = Autoregressive(temperature=temperature, guidance_scale=1)
    drawn = sampler(prior, empty(n, n_tokens), torch.full((n,), label), seeded())
    counts = np.bincount(drawn @ torch.tensor([9, 3, 1]), minlength=27)
    assert close_to_distribution(counts, log_p.exp().numpy())


def joint_distribution(prior, label, n_codes):
    """Return the probability of each row of an autoregressive prior, an axis for each token."""
    rows = torch.tensor(list(itertools.product(range(n_codes), repeat=prior.n_tokens)))
    log_p = prior.log_likelihood(rows, torch.full((len(rows),), label))
    return log_p.exp().numpy().reshape((n_codes,) * prior.n_tokens)


@pytest.mark.parametrize("n_candidates", [1, 300])
def test_completions_follow_the_prior_given_the_tokens_on_one_or_on_both_sides(n_candidates):
    """One candidate knows the tokens before it only; of many, those after it choose one."""
    prior, n = make_prior_module(AutoregressivePrior, n_codes=3, n_tokens=3), 3000
    # A token counts for much to the next.
    torch.nn.init.normal_(prior.token_embedding.weight, std=3)
    torch.nn.init.zeros_(prior.bias)
    given = torch.tensor([[1, MASKED, 2]]).expand(n, -1)
    sampler = Autoregressive(guidance_scale=1, n_candidates=n_candidates)
    drawn = sampler(prior, given, torch.ones(n, dtype=torch.long), seeded())
    assert (drawn[:, 0] == 1).all() and (drawn[:, 2] == 2).all()
    joint = joint_distribution(prior, 1, 3)
    before, both = joint[1].sum(1), joint[1, :, 2]
    before, both = before / before.sum(), both / both.sum()
    counts = np.bincount(drawn[:, 1], minlength=3)
    assert not close_to_distribution(counts, before if n_candidates > 1 else both)
    assert close_to_distribution(counts, before if n_candidates == 1 else both)


def test_completions_of_several_rows_are_of_their_own_row():
    prior = make_prior_module(AutoregressivePrior, n_tokens=6)
    tokens = torch.randint(5, (30, 6), generator=seeded())
    masked = torch.rand((30, 6), generator=seeded(1)).argsort(1) < 3
    given, labels = tokens.masked_fill(masked, MASKED), torch.arange(30) % 3
    for n_candidates in (1, 2, 8):
        sampler = Autoregressive(n_candidates=n_candidates)
        drawn = sampler(prior, given, labels, seeded())
        assert torch.equal(drawn[~masked], tokens[~masked]) and (drawn >= 0).all()


@settings(max_examples=20)
@given(top_p=st.floats(0.01, 1), seed=st.integers(0, 1000))
def test_top_p_draws_from_the_likeliest_codes_only(top_p, seed):
    prior, n = make_prior_module(AutoregressivePrior, n_codes=8, n_tokens=1, seed=seed), 5000
    labels = torch.ones(n, dtype=torch.long)
    sampler = Autoregressive(top_p=top_p, guidance_scale=1)
    drawn = sampler(prior, empty(n, 1), labels, seeded(seed))
    with torch.no_grad():
        p = prior(torch.zeros((1, 1), dtype=torch.long), labels[:1]).double().softmax(-1)[0, 0]
    order = p.argsort(descending=True).tolist()
    # The smallest set of the likeliest codes that reaches the probability.
    n_kept = next(k for k in range(1, 9) if k == 8 or p[order[:k]].sum() >= top_p)
    kept = np.zeros(8)
    kept[order[:n_kept]] = p[order[:n_kept]]
    counts = np.bincount(drawn[:, 0], minlength=8)
    assert (counts[kept == 0] == 0).all()
    assert close_to_distribution(counts, kept / kept.sum())


def test_a_small_top_p_takes_the_likeliest_code_each_time():
    prior = make_prior_module(AutoregressivePrior)
    sampler = Autoregressive(top_p=1e-6, guidance_scale=1)
    drawn = sampler(prior, empty(6), torch.tensor([0, 0, 1, 1, 2, 2]))
    with torch.no_grad():
        logits = prior(drawn, torch.tensor([0, 0, 1, 1, 2, 2]))
    assert torch.equal(drawn, logits.argmax(-1))


class Greedy(Sampler):
    """Fills in the likeliest code at all places at once."""

    prior_type = MaskedPrior

    def draw(self, prior, tokens, labels, generator):
        unknown = tokens == MASKED
        filled = tokens.clone()
        filled[unknown] = prior(tokens, labels, unknown).argmax(-1)
        return filled


class TestSamplerOfOnesOwn:
    def test_draws_for_a_generator(self, series):
        X, y = series
        model = tiny_generator(prior=tiny_prior(MaskedTokenPrior), sampler=Greedy()).fit(X, y)
        X_new, _ = model.sample(8, y=1, observation_noise=0)
        # Nothing is left to chance but the class.
        assert (X_new == X_new[0]).all()
        prior = model.prior_.module_
        rows = empty(1, model.transformer_.n_tokens_)
        with torch.no_grad():
            tokens = prior(rows, torch.tensor([1]), rows == MASKED).argmax(-1)[None]
        expected = model.transformer_.inverse_transform(tokens)
        np.testing.assert_allclose(X_new[:1], expected, rtol=1e-4)
        assert model.vary(X, y).shape == X.shape

    def test_has_only_its_own_parameters(self):
        prior = tiny_prior(MaskedTokenPrior).fit(np.arange(40).reshape(10, 4) % 5)
        tokens, _ = prior.sample(2, sampler=Greedy())
        assert tokens.shape == (2, 4)
        with pytest.raises(ValueError, match=r"temperature.*Greedy"):
            prior.sample(2, sampler=Greedy(), temperature=1)

    def test_is_refused_where_the_prior_is_another(self, series):
        model = tiny_generator(sampler=Greedy())
        with pytest.raises(TypeError, match=r"Greedy\(\) draws from a MaskedPrior"):
            model.fit(*series)

    def test_without_a_type_takes_any_prior(self):
        class Zeros(Sampler):
            def draw(self, prior, tokens, labels, generator):
                return tokens.clamp(min=0)

        for cls in SAMPLERS.values():
            drawn = Zeros()(make_prior_module(cls), empty(3), torch.zeros(3, dtype=torch.long))
            assert (drawn == 0).all()

    @pytest.mark.parametrize(
        ("spoil", "message"),
        [
            (lambda tokens, rows: tokens[:1], r"sampler Wrong returned tokens of shape \(1, 4\)"),
            (lambda tokens, rows: tokens + 99, "sampler Wrong returned what are no tokens"),
            (lambda tokens, rows: rows, "tokens hold -1"),
            (lambda tokens, rows: torch.zeros_like(rows), "sampler Wrong changed tokens"),
        ],
    )
    def test_what_it_returns_is_checked(self, spoil, message):
        class Wrong(Greedy):
            def draw(self, prior, tokens, labels, generator):
                return spoil(super().draw(prior, tokens, labels, generator), tokens)

        prior = tiny_prior(MaskedTokenPrior).fit(np.arange(40).reshape(10, 4) % 5)
        with pytest.raises(ValueError, match=message):
            prior.sample(tokens=[[3, 3, MASKED, 2], [MASKED, 2, 3, 1]], sampler=Wrong())

    def test_must_say_how_to_draw(self):
        with pytest.raises(NotImplementedError):
            Sampler()(make_prior_module(), empty(1), torch.tensor([0]))
