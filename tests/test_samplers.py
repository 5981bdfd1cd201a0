"""Samplers by themselves: parameters, what they draw, and a sampler of one's own."""

import itertools

import numpy as np
import pytest
import torch
from helpers import make_prior_module, tiny_generator, tiny_prior
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn.base import BaseEstimator, clone
from sklearn.exceptions import NotFittedError
from sklearn.model_selection import GridSearchCV
from sklearn.utils._param_validation import InvalidParameterError

from skncvqvae import MaskedTokenPrior
from skncvqvae._tokens import Band, TokenLayout
from skncvqvae.nn.autoregressive_prior import AutoregressivePrior
from skncvqvae.nn.masked_prior import MaskedPrior
from skncvqvae.nn.token_transformer import PriorConfig
from skncvqvae.samplers import MASKED, Autoregressive, MaskGIT, Sampler, halton_rank

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
        (Autoregressive, "class_candidates", 0),
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


@pytest.mark.parametrize("class_candidates", [1, 300])
@pytest.mark.parametrize("label", [1, 3])
def test_class_candidates_weigh_rows_by_the_probability_of_their_class(class_candidates, label):
    prior, n = make_prior_module(AutoregressivePrior, 3, 2, n_classes=3), 3000
    torch.nn.init.normal_(prior.class_embedding.weight, std=3)
    torch.nn.init.normal_(prior.head.weight, std=0.8)
    p = np.stack([joint_distribution(prior, one, 3) for one in range(prior.n_classes + 1)])
    wanted = p[label]
    if label < prior.n_classes and class_candidates > 1:
        wanted = wanted * p[label] / p[: prior.n_classes].sum(0)
        wanted /= wanted.sum()
        assert np.abs(wanted - p[label]).max() > 0.1
    sampler = Autoregressive(guidance_scale=1, class_candidates=class_candidates)
    drawn = sampler(prior, empty(n, 2), torch.full((n,), label), seeded())
    counts = np.bincount(drawn @ torch.tensor([3, 1]), minlength=9)
    assert close_to_distribution(counts, wanted.ravel())


def test_rows_of_several_classes_are_weighed_each_by_its_own():
    prior = make_prior_module(AutoregressivePrior, n_classes=3)
    torch.nn.init.normal_(prior.class_embedding.weight, std=2)
    labels = torch.arange(600) % 4
    found = {}
    for k in (1, 8):
        sampler = Autoregressive(class_candidates=k, guidance_scale=1.25)
        drawn = sampler(prior, empty(600), labels, seeded())
        likelihoods = [prior.log_likelihood(drawn, torch.full_like(labels, c)) for c in range(3)]
        log_p = torch.stack(likelihoods, 1).log_softmax(1)
        found[k] = [log_p[labels == c, c].mean().item() for c in range(3)]
    assert (np.array(found[8]) > np.array(found[1])).all()


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
        model = tiny_generator(prior=tiny_prior(MaskedTokenPrior), sampler=Greedy())
        model.set_params(match_marginals=False).fit(X, y)
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
            (lambda tokens, rows: rows.zero_(), "sampler Wrong changed tokens"),
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


def spy_on(prior):
    """Return a list that takes up which tokens each pass of a masked prior is asked for."""
    asked, forward = [], prior.forward

    def spied(tokens, labels, wanted):
        asked.append((tokens == MASKED, wanted.clone(), labels.clone()))
        return forward(tokens, labels, wanted)

    prior.forward = spied
    return asked


def settled_by_step(asked):
    """Return the positions that are known before each pass, of the first row."""
    return [set((~masked[0]).nonzero()[:, 0].tolist()) for masked, _, _ in asked]


BAD = [
    (MaskGIT, "order", "raster"),
    (MaskGIT, "remasking", "loop"),
    (MaskGIT, "remasking_strength", 1.5),
    (MaskGIT, "n_corrections", -1),
    (MaskGIT, "correction_ratio", 0),
    (MaskGIT, "top_p", 0),
    *itertools.product(
        SAMPLERS,
        ["guidance_schedule"],
        ["sine"],
    ),
    *itertools.product(SAMPLERS, ["guidance_interval"], [(0.5, 0.2), (0.1,), (0, 2), "ab", 3]),
    *itertools.product(SAMPLERS, ["best_of"], [0]),
    *itertools.product(SAMPLERS, ["diversity"], [-0.1, 1.1]),
    *itertools.product(SAMPLERS, ["weaker"], ["small"]),
]


@pytest.mark.parametrize(("sampler", "name", "value"), BAD)
def test_values_out_of_range_are_named(sampler, name, value):
    with pytest.raises(ValueError, match=name):
        sampler(**{name: value}).check_params()


class TestOrder:
    @pytest.mark.parametrize("n_tokens", [1, 2, 7, 16, 30])
    def test_halton_in_one_dimension_halves_the_gaps(self, n_tokens):
        rank = halton_rank([(1, n_tokens)])
        assert sorted(rank) == list(range(n_tokens))
        if n_tokens == 16:
            # Base 2: the bits of the visit in reverse order.
            expected = [int(f"{visit:04b}"[::-1], 2) for visit in range(16)]
            assert rank.argsort().tolist() == expected

    @given(rows=st.integers(1, 9), columns=st.integers(1, 20))
    @settings(max_examples=30)
    def test_halton_visits_each_cell_once_and_spreads(self, rows, columns):
        rank = halton_rank([(rows, columns)])
        assert sorted(rank) == list(range(rows * columns))
        first = (rank < max(2, rows * columns // 2)).reshape(rows, columns)
        # After half of the visits both halves of the longer side have their share.
        if columns >= 8:
            counts = first[:, : columns // 2].mean(), first[:, (columns + 1) // 2 :].mean()
            assert min(counts) >= 0.2

    def test_bands_are_visited_side_by_side(self):
        rank = halton_rank([(1, 4), (2, 8)])
        assert sorted(rank) == list(range(20))
        first = np.flatnonzero(rank < 5)
        assert (first < 4).sum() == 1 and (first >= 4).sum() == 4
        np.testing.assert_array_equal(rank[:4].argsort(), halton_rank([(1, 4)]).argsort())

    def test_tokens_are_settled_in_the_order_of_halton(self):
        prior = make_prior_module(n_tokens=16)
        asked = spy_on(prior)
        labels = torch.zeros(3, dtype=torch.long)
        MaskGIT(order="halton", n_steps=5)(prior, empty(3, 16), labels, seeded())
        order = halton_rank([(1, 16)]).argsort().tolist()
        for known in settled_by_step(asked):
            assert known == set(order[: len(known)])
        grid = MaskGIT(order="halton", n_steps=5, grid_shapes=[(4, 4)])
        asked.clear()
        grid(prior, empty(3, 16), labels, seeded())
        order = halton_rank([(4, 4)]).argsort().tolist()
        assert [len(known) for known in settled_by_step(asked)] == [0, 1, 4, 7, 12]
        assert all(known == set(order[: len(known)]) for known in settled_by_step(asked))

    def test_given_tokens_are_left_out_of_the_order(self):
        prior = make_prior_module(n_tokens=16)
        asked = spy_on(prior)
        given = empty(1, 16)
        given[0, ::2] = 1
        sampler = MaskGIT(order="halton", n_steps=8)
        drawn = sampler(prior, given, torch.zeros(1, dtype=torch.long), seeded())
        assert (drawn[0, ::2] == 1).all()
        odd = [i for i in halton_rank([(1, 16)]).argsort().tolist() if i % 2]
        for known in settled_by_step(asked):
            assert known - set(range(0, 16, 2)) == set(odd[: len(known) - 8])

    def test_a_random_order_pays_no_heed_to_confidence(self):
        """Where confidence always settles the same positions first."""
        shares = {}
        for order in ("confidence", "random"):
            prior = make_prior_module(n_tokens=20)
            prior.bias.data[:, 0] = torch.linspace(0, 12, 20)
            asked = spy_on(prior)
            sampler = MaskGIT(order=order, choice_temperature=0)
            sampler(prior, empty(400, 20), torch.zeros(400, dtype=torch.long), seeded())
            shares[order] = (~asked[4][0]).float().mean(0)
        assert shares["random"].std() < 0.1 < 0.3 < shares["confidence"].std()

    def test_a_grid_of_other_tokens_is_refused(self):
        sampler = MaskGIT(order="halton", grid_shapes=[(2, 4)])
        with pytest.raises(ValueError, match=r"grid_shapes=.* 8 tokens, but a row has 7"):
            sampler(make_prior_module(), empty(1), torch.tensor([0]))

    def test_a_fitted_prior_tells_the_grid(self):
        layout = TokenLayout((Band("low", 2, 3, 4), Band("high", 1, 6, 4)))
        tokens = np.concatenate([np.ones((9, 6), int), np.full((9, 6), 5)], axis=1)
        prior = tiny_prior(MaskedTokenPrior).fit(tokens, layout=layout)
        asked = spy_on(prior.module_)
        prior.sample(1, order="halton", n_steps=6, random_state=0)
        order = halton_rank([(2, 3), (1, 6)]).argsort().tolist()
        # The low band is drawn before the high one.
        order.sort(key=lambda place: place >= 6)
        seen = settled_by_step(asked)
        assert len(seen) == 12
        assert all(known == set(order[: len(known)]) for known in seen)


class TestRemasking:
    @pytest.mark.parametrize("remasking", ["cap", "rescale", "confidence"])
    @pytest.mark.parametrize("order", ["confidence", "random", "halton"])
    def test_the_schedule_stays_and_given_tokens_do_too(self, remasking, order):
        prior = make_prior_module(n_tokens=20)
        asked = spy_on(prior)
        tokens = torch.randint(5, (6, 20), generator=seeded())
        masked = torch.rand((6, 20), generator=seeded(1)).argsort(1) < 14
        sampler = MaskGIT(order=order, remasking=remasking, remasking_strength=0.5, n_steps=25)
        drawn = sampler(prior, tokens.masked_fill(masked, MASKED), torch.arange(6) % 3, seeded())
        assert torch.equal(drawn[~masked], tokens[~masked]) and (drawn >= 0).all()
        again = 0
        for step, (unknown, _, _) in enumerate(asked):
            n_masked = int(14 * np.cos(0.5 * np.pi * step / 25))
            assert (unknown.sum(1) == n_masked).all()
            if step:
                again += int((unknown & ~asked[step - 1][0]).sum())
        assert again > 6 * 5

    def test_none_is_never_masked_again(self):
        prior = make_prior_module(n_tokens=20)
        asked = spy_on(prior)
        MaskGIT(n_steps=12)(prior, empty(4, 20), torch.zeros(4, dtype=torch.long), seeded())
        for before, after in itertools.pairwise(asked):
            assert not (after[0] & ~before[0]).any()

    def test_cap_and_rescale_mask_as_many_as_their_formulas_say(self):
        for remasking, share in (
            ("cap", lambda known, masked: min(0.2, masked / known)),
            ("rescale", lambda known, masked: 0.2 * min(1, masked / known)),
        ):
            prior = make_prior_module(n_tokens=100)
            asked = spy_on(prior)
            sampler = MaskGIT(
                order="random", remasking=remasking, remasking_strength=0.2, n_steps=20
            )
            sampler(prior, empty(2, 100), torch.zeros(2, dtype=torch.long), seeded())
            expected = found = 0
            for before, after in itertools.pairwise(asked):
                known, masked = int((~before[0][0]).sum()), int(after[0][0].sum())
                expected += share(known, masked) * known if known else 0
                found += int((after[0][0] & ~before[0][0]).sum())
            assert found == pytest.approx(expected, abs=1)

    def test_confidence_masks_again_what_was_improbable(self):
        """Half of the positions draw a sure token, half one of five."""
        prior = make_prior_module(n_tokens=20)
        sure = torch.zeros(20, 5)
        sure[:10, 0] = 50

        asked = []

        def forward(tokens, labels, wanted):
            asked.append(tokens == MASKED)
            return sure.expand(len(tokens), -1, -1)[wanted]

        prior.forward = forward
        sampler = MaskGIT(
            order="random", remasking="confidence", remasking_strength=0.5, n_steps=30
        )
        sampler(prior, empty(300, 20), torch.zeros(300, dtype=torch.long), seeded())
        again = sum((b & ~a).float().sum(0) for a, b in itertools.pairwise(asked))
        # The odds are exp(1 - 1 / 5) = 2.2, less what is masked already and so cannot be again.
        assert again[10:].sum() > 1.2 * again[:10].sum()


class TestCorrections:
    def test_improbable_tokens_are_drawn_again(self):
        """One step draws rows of independent tokens; the prior wants all tokens of a row alike."""
        prior = make_prior_module(n_codes=2, n_tokens=8)

        def forward(tokens, labels, wanted):
            votes = ((tokens == 1).sum(1) - (tokens == 0).sum(1)).float()
            logits = torch.stack([-votes, votes], 1)[:, None].expand(-1, 8, -1)
            return logits[wanted]

        prior.forward = forward

        def agreement(n_corrections):
            sampler = MaskGIT(n_steps=1, n_corrections=n_corrections)
            drawn = sampler(prior, empty(300, 8), torch.zeros(300, dtype=torch.long), seeded())
            return (drawn.float().mean(1) - 0.5).abs().mean() + 0.5

        assert agreement(0) < 0.7 and agreement(2) > agreement(0) + 0.1
        assert agreement(6) > 0.9

    def test_a_round_takes_three_passes_and_draws_its_share_again(self):
        prior = make_prior_module(n_tokens=12)
        asked = spy_on(prior)
        tokens = torch.randint(5, (5, 12), generator=seeded())
        given = tokens.clone()
        given[:, 4:] = MASKED
        sampler = MaskGIT(n_steps=2, n_corrections=2, correction_ratio=0.5)
        drawn = sampler(prior, given, torch.zeros(5, dtype=torch.long), seeded())
        assert torch.equal(drawn[:, :4], tokens[:, :4]) and (drawn >= 0).all()
        assert len(asked) == 2 + 3 * 2
        first, second, redrawn = (wanted for _, wanted, _ in asked[2:5])
        # Each drawn token is judged once.
        assert not (first & second).any() and (first | second)[:, 4:].all()
        assert not redrawn[:, :4].any() and (redrawn.sum(1) == 4).all()

    def test_one_token_is_corrected_too(self):
        prior = make_prior_module(n_tokens=1)
        drawn = MaskGIT(n_corrections=2)(prior, empty(4, 1), torch.zeros(4, dtype=torch.long))
        assert (drawn >= 0).all()


def always(prior_class, favourite, n_tokens=4, n_codes=3, n_classes=2):
    """Return a prior that favours, of each class, a code, by a logit of 1."""
    prior = make_prior_module(prior_class, n_codes, n_tokens, n_classes)
    with torch.no_grad():
        for parameter in prior.parameters():
            parameter.zero_()
    table = torch.eye(n_codes)[torch.tensor(favourite)]

    def forward(tokens, labels, wanted):
        return table[labels][:, None].expand(-1, n_tokens, -1)[wanted]

    def start(labels):
        return labels

    def step(labels, previous):
        return table[labels]

    if prior_class is MaskedPrior:
        prior.forward = forward
    else:
        prior.start, prior.step = start, step
    return prior


class Fitted(BaseEstimator):
    """What a sampler asks of a fitted prior."""

    def __init__(self, module):
        self.module = self.module_ = module

    def fit(self, tokens, y=None):
        raise AssertionError("a weaker prior is not fitted again")

    sample = fit


@pytest.mark.parametrize("cls", SAMPLERS)
class TestGuidance:
    def shares(self, cls, prior, n=4000, **params):
        labels = torch.zeros(n, dtype=torch.long)
        if cls is MaskGIT:
            # Confidence would settle likely tokens, and draw the others again.
            params = {"order": "random", **params}
        drawn = cls(**params)(prior, empty(n, 4), labels, seeded())
        return np.array([np.bincount(column, minlength=3) / n for column in drawn.T.numpy()])

    def softmax(self, *logits):
        return np.exp(logits) / np.exp(logits).sum()

    def test_a_weaker_prior_is_led_away_from(self, cls):
        strong, weak = always(SAMPLERS[cls], [0, 0, 0]), always(SAMPLERS[cls], [1, 1, 1])
        params = {"guidance_scale": 3.0, "weaker": Fitted(weak)}
        # weak + 3 (strong - weak), with a logit of 1 each.
        expected = self.softmax(3, -2, 0)
        shares = self.shares(cls, strong, **params)
        np.testing.assert_allclose(shares, np.tile(expected, (4, 1)), atol=0.04)
        np.testing.assert_allclose(
            self.shares(cls, strong, **params | {"guidance_scale": 1.0}),
            np.tile(self.softmax(1, 0, 0), (4, 1)),
            atol=0.04,
        )

    def test_autoguidance_works_without_classes(self, cls):
        strong = always(SAMPLERS[cls], [0], n_classes=0)
        weak = always(SAMPLERS[cls], [1], n_classes=0)
        params = {"guidance_scale": 2.0, "weaker": Fitted(weak)}
        shares = self.shares(cls, strong, **params)
        np.testing.assert_allclose(shares, np.tile(self.softmax(2, -1, 0), (4, 1)), atol=0.04)
        # A weaker prior without classes may guide one with classes.
        shares = self.shares(cls, always(SAMPLERS[cls], [0, 2, 2]), **params)
        np.testing.assert_allclose(shares, np.tile(self.softmax(2, -1, 0), (4, 1)), atol=0.04)

    def test_without_classes_and_weaker_prior_there_is_none(self, cls):
        prior = always(SAMPLERS[cls], [0], n_classes=0)
        plain, guided = (self.shares(cls, prior, guidance_scale=s) for s in (1.0, 4.0))
        np.testing.assert_array_equal(plain, guided)

    def test_an_interval_and_a_schedule_say_when(self, cls):
        prior = always(SAMPLERS[cls], [0, 0, 1])
        params = {"guidance_scale": 4.0}
        if cls is MaskGIT:
            # Four steps over four tokens, from the left to the right.
            params |= {"n_steps": 4, "order": "halton"}
        plain = self.softmax(1, 0, 0)[0]

        def strongest(**more):
            return self.shares(cls, prior, **params, **more)[:, 0]

        always_on, late = strongest(), strongest(guidance_interval=(0.9, 1.0))
        early, linear = (
            strongest(guidance_interval=(0, 0.1)),
            strongest(guidance_schedule="linear"),
        )
        cosine = strongest(guidance_schedule="cosine")
        full = self.softmax(4, -3, 0)[0]
        np.testing.assert_allclose(always_on, full, atol=0.04)
        assert late.max() == pytest.approx(full, abs=0.04)
        assert early.min() == pytest.approx(plain, abs=0.04)
        for schedule in (linear, cosine):
            assert schedule.min() == pytest.approx(plain, abs=0.04)
            assert schedule.max() == pytest.approx(full, abs=0.04)
        assert sorted(linear)[1] < sorted(linear)[2] - 0.02

    def test_a_weaker_prior_of_other_tokens_or_kind_is_refused(self, cls):
        prior, labels = make_prior_module(SAMPLERS[cls]), torch.tensor([0])
        for weak, message in (
            (make_prior_module(SAMPLERS[cls], n_tokens=9), "rows of 9 tokens"),
            (make_prior_module(SAMPLERS[cls], n_classes=4), "knows 4 classes"),
        ):
            sampler = cls(weaker=Fitted(weak), guidance_scale=2)
            with pytest.raises(ValueError, match=message):
                sampler(prior, empty(1), labels)
        ((_, other),) = [item for item in SAMPLERS.items() if item[0] is not cls]
        with pytest.raises(TypeError, match="weaker is a Fitted"):
            cls(weaker=Fitted(make_prior_module(other))).check_params()
        with pytest.raises(NotFittedError):
            cls(weaker=tiny_prior()).check_params()

    @pytest.mark.parametrize("scale", [0.0, 1e-12, 0.5, 4.0])
    def test_a_weaker_prior_that_knows_no_bands_draws_none_of_their_codes(self, cls, scale):
        allowed = torch.tensor([[1, 1, 0]] * 2 + [[0, 0, 1]] * 2, dtype=torch.bool)
        strong = make_prior_module(SAMPLERS[cls], n_codes=3, n_tokens=4, allowed=allowed)
        weak = make_prior_module(SAMPLERS[cls], n_codes=3, n_tokens=4, seed=1)
        sampler = cls(guidance_scale=scale, weaker=Fitted(weak))
        drawn = sampler(strong, empty(200, 4), torch.zeros(200, dtype=torch.long), seeded())
        assert allowed[torch.arange(4), drawn].all()

    @pytest.mark.parametrize(
        ("extreme", "large"),
        [
            ({"temperature": 1e-39}, {"temperature": 1e-4}),
            (
                {"temperature": 1e-308, "diversity": 0.0},
                {"temperature": 1e-4, "diversity": 0.0},
            ),
            ({"guidance_scale": 1e39}, {"guidance_scale": 1e5}),
            ({"guidance_scale": 1e308, "temperature": 1e-308}, {"guidance_scale": 1e5}),
        ],
    )
    def test_extreme_settings_are_limits_of_large_ones(self, cls, extreme, large):
        prior = make_prior_module(SAMPLERS[cls], n_codes=5, n_tokens=1)
        labels = torch.tensor([0, 1] * 20)
        drawn, expected = (
            cls(**params)(prior, empty(40, 1), labels, seeded())[:, 0]
            for params in (extreme, large)
        )
        assert torch.equal(drawn, expected)
        for label in (0, 1):
            assert len(drawn[labels == label].unique()) == 1

    def test_clones_keep_the_weaker_prior_fitted(self, cls):
        weak = Fitted(make_prior_module(SAMPLERS[cls]))
        sampler = cls(weaker=weak)
        assert clone(sampler).weaker is weak and clone(sampler) is not sampler


def test_guidance_outside_its_interval_costs_no_pass():
    prior = make_prior_module(n_tokens=20)
    asked = spy_on(prior)
    sampler = MaskGIT(guidance_scale=3, guidance_interval=(0.5, 1), n_steps=10)
    sampler(prior, empty(4, 20), torch.tensor([0, 0, 1, 1]), seeded())
    assert [len(labels) for _, _, labels in asked] == [2, 4, 4, 4, 4, 8, 8, 8, 8, 8]


@pytest.mark.parametrize("cls", SAMPLERS)
def test_the_best_of_several_is_likelier_under_the_prior(cls):
    prior = make_prior_module(SAMPLERS[cls])
    labels = torch.arange(200) % 3
    given = empty(200)
    given[:, 0] = torch.arange(200) % 5
    likelihood = []
    for best_of in (1, 4, 16):
        drawn = cls(best_of=best_of)(prior, given, labels, seeded())
        assert torch.equal(drawn[:, 0], given[:, 0]) and (drawn >= 0).all()
        likelihood.append(prior.log_likelihood(drawn, labels).mean().item())
    assert likelihood[0] + 0.3 < min(likelihood[1:])


@pytest.mark.parametrize("cls", SAMPLERS)
def test_the_dial_of_diversity_is_a_temperature_and_a_guidance(cls):
    prior, labels = make_prior_module(SAMPLERS[cls]), torch.arange(40) % 3
    for diversity, temperature, guidance_scale in (
        (0.0, 0.5, 3.0),
        (0.5, 1.0, 2.0),
        (1.0, 1.5, 1),
    ):
        dialled = cls(diversity=diversity, guidance_scale=2.0)
        spelt_out = cls(temperature=temperature, guidance_scale=guidance_scale)
        first, second = (s(prior, empty(40), labels, seeded()) for s in (dialled, spelt_out))
        assert torch.equal(first, second)


@pytest.mark.parametrize("cls", SAMPLERS)
def test_more_diversity_gives_more_kinds_of_rows(cls):
    prior, labels = make_prior_module(SAMPLERS[cls]), torch.zeros(400, dtype=torch.long)
    kinds = [
        len(cls(diversity=d)(prior, empty(400), labels, seeded()).unique(dim=0))
        for d in (0, 0.25, 0.5, 0.75, 1)
    ]
    assert kinds == sorted(kinds) and kinds[-1] > 1.3 * kinds[0]


@pytest.mark.parametrize(
    "params",
    [
        {"order": "halton"},
        {"order": "random", "remasking": "cap", "n_steps": 20},
        {"remasking": "confidence"},
        {"n_corrections": 2, "best_of": 2},
        {"guidance_scale": 2, "guidance_schedule": "cosine", "top_p": 0.7},
    ],
    ids=str,
)
def test_every_way_of_maskgit_is_repeatable(params):
    prior, labels = make_prior_module(), torch.arange(30) % 3
    first, again, other = (
        MaskGIT(**params)(prior, empty(30), labels, seeded(s)) for s in (0, 0, 1)
    )
    assert torch.equal(first, again) and not torch.equal(first, other)


def test_a_generator_takes_a_weaker_prior_and_the_dial(series):
    X, y = series
    model = tiny_generator(prior=tiny_prior(MaskedTokenPrior))
    encoded = model.fit_encode(X, y)
    weaker = tiny_prior(MaskedTokenPrior, max_epochs=1)
    weaker.fit(encoded.tokens, y, layout=model.transformer_.layout_)
    plain, _ = model.sample(12, random_state=0)
    guided, _ = model.sample(12, random_state=0, weaker=weaker, guidance_scale=3)
    dialled, _ = model.sample(12, random_state=0, diversity=0.1)
    assert not np.allclose(plain, guided) and not np.allclose(plain, dialled)
    search = GridSearchCV(model, {"sampler__diversity": [0.2, 0.8]}, cv=2)
    search.fit(X, y)
    assert search.best_params_["sampler__diversity"] in (0.2, 0.8)
    model.set_params(sampler__weaker=weaker)
    assert clone(model).sampler.weaker is weaker
