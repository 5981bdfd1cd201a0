"""Samplers: how new tokens are drawn from a trained prior.

A sampler is a small object with parameters that is called with the torch module of a prior, rows
of tokens in which `MASKED` stands for what is to be drawn, and labels. Write one by deriving from
`Sampler` and defining `draw`; a `NCVQVAEGenerator` takes it as ``sampler=``.
"""

import copy
import functools
import math
from collections.abc import Callable, Sequence
from numbers import Integral, Real
from typing import Any, ClassVar, Literal, Self

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from scipy.stats.qmc import Halton
from sklearn.base import BaseEstimator
from sklearn.utils._param_validation import HasMethods, Interval, StrOptions
from sklearn.utils.validation import check_is_fitted
from torch import Tensor

from .nn.autoregressive_prior import AutoregressivePrior
from .nn.gumbel import gumbel_noise
from .nn.masked_prior import MaskedPrior
from .nn.token_transformer import BARRED, MASKED, TokenTransformer

__all__ = ["MASKED", "Autoregressive", "MaskGIT", "Sampler"]

# Beyond these nothing changes, but single precision would overflow.
_SMALLEST_TEMPERATURE = 1e-12
_LARGEST_SCALE = 1e15

# How much of the guidance there is at a time from 0, the first step, to 1, the last.
_SCHEDULES: dict[str, Callable[[float], float]] = {
    "constant": lambda time: 1.0,
    "linear": lambda time: time,
    "cosine": lambda time: (1 - math.cos(math.pi * time)) / 2,
}


class Sampler(BaseEstimator):
    """Draws the masked tokens of a batch from a prior.

    Subclasses define `draw`, and may say by `prior_type` which modules they can draw from.
    """

    prior_type: ClassVar[type[TokenTransformer]] = TokenTransformer
    _parameter_constraints: ClassVar[dict[str, list[Any]]] = {}

    def check_params(self) -> None:
        """Check the parameters.

        Raises
        ------
        sklearn.utils._param_validation.InvalidParameterError
            On a wrong value, naming the parameter.
        """
        self._validate_params()

    def check_prior_type(self, prior_type: type[TokenTransformer]) -> None:
        """Check that the sampler can draw from modules of a type.

        Raises
        ------
        TypeError
            Where it cannot.
        """
        if not issubclass(prior_type, self.prior_type):
            raise TypeError(
                f"sampler={self!r} draws from a {self.prior_type.__name__}, not from a "
                f"{prior_type.__name__}. Pass another sampler, or None for the prior's own."
            )

    def __call__(
        self,
        prior: TokenTransformer,
        tokens: Tensor,
        labels: Tensor,
        generator: torch.Generator | None = None,
    ) -> Tensor:
        """Return `tokens` with the masked ones drawn.

        Parameters
        ----------
        prior : skncvqvae.nn.token_transformer.TokenTransformer
            A trained module.
        tokens : Tensor of shape (n, n_tokens)
            `MASKED` where a token is to be drawn, in as many places in each row.
        labels : Tensor of shape (n,)
            Class of each row, or ``prior.n_classes`` for none.
        generator : torch.Generator, optional
            Source of all randomness.

        Returns
        -------
        Tensor of shape (n, n_tokens)

        Raises
        ------
        TypeError
            On a prior that the sampler cannot draw from.
        """
        self.check_prior_type(type(prior))
        with torch.inference_mode():
            return self.draw(prior, tokens, labels, generator)

    def draw(
        self,
        prior: Any,
        tokens: Tensor,
        labels: Tensor,
        generator: torch.Generator | None,
    ) -> Tensor:
        """Do what `__call__` promises; without gradients."""
        raise NotImplementedError


class _Steered(Sampler):
    """What samplers share that draw from a prior's logits: how these are bent, best of several.

    Subclasses define `_draw_rows`.
    """

    temperature: float
    top_p: float
    guidance_scale: float
    guidance_schedule: str
    guidance_interval: tuple[float, float]
    weaker: Any
    best_of: int
    diversity: float

    _parameter_constraints: ClassVar[dict[str, list[Any]]] = {
        "temperature": [Interval(Real, 0, None, closed="neither")],
        "top_p": [Interval(Real, 0, 1, closed="right")],
        "guidance_scale": [Interval(Real, 0, None, closed="left")],
        "guidance_schedule": [StrOptions({"constant", "linear", "cosine"})],
        "guidance_interval": ["array-like"],
        "weaker": [HasMethods(["fit", "sample"]), StrOptions({"earlier"}), None],
        "best_of": [Interval(Integral, 1, None, closed="left")],
        "diversity": [Interval(Real, 0, 1, closed="both")],
    }

    def __sklearn_clone__(self) -> Self:
        # What is fitted stays so: a weaker prior is asked, and never trained.
        return type(self)(**self.get_params(deep=False))

    def check_params(self) -> None:
        """Check the parameters.

        Raises
        ------
        ValueError
            On a wrong value, naming the parameter.
        sklearn.exceptions.NotFittedError
            On a weaker prior that is not fitted.
        TypeError
            On one of another kind than the sampler draws from.
        """
        super().check_params()
        interval = list(self.guidance_interval)
        numbers = all(isinstance(end, Real) for end in interval)
        if len(interval) != 2 or not numbers or not 0 <= interval[0] <= interval[1] <= 1:
            raise ValueError(
                f"guidance_interval={self.guidance_interval!r} must hold two numbers, the first "
                "not above the second, from 0 (the first step) to 1 (the last)."
            )
        if self.weaker is None or isinstance(self.weaker, str):
            return
        check_is_fitted(self.weaker, "module_")
        if not isinstance(self.weaker.module_, self.prior_type):
            raise TypeError(
                f"weaker is a {type(self.weaker).__name__}, but this {type(self).__name__} draws "
                f"from a {self.prior_type.__name__}. Pass a prior of that kind."
            )

    def draw(
        self,
        prior: Any,
        tokens: Tensor,
        labels: Tensor,
        generator: torch.Generator | None,
    ) -> Tensor:
        """Draw `best_of` completions of each row and return the likeliest."""
        k, n = self.best_of, len(tokens)
        if k == 1:
            return self._draw_rows(prior, tokens, labels, generator)[0]
        tokens, labels = tokens.repeat(k, 1), labels.repeat(k)
        drawn, log_p = self._draw_rows(prior, tokens, labels, generator)
        if log_p is None:
            log_p = prior.log_likelihood(drawn, labels)
        best = log_p.view(k, n).argmax(0)
        return drawn.view(k, n, -1)[best, torch.arange(n, device=drawn.device)]

    def _draw_rows(
        self,
        prior: Any,
        tokens: Tensor,
        labels: Tensor,
        generator: torch.Generator | None,
    ) -> tuple[Tensor, Tensor | None]:
        """Return the rows with all tokens drawn, and their log-likelihood where it is known."""
        raise NotImplementedError

    def _temperature(self) -> float:
        return max(self.temperature * (0.5 + self.diversity), _SMALLEST_TEMPERATURE)

    def _scale(self, progress: float) -> float:
        """Return the guidance at a time from 0, the first step, to 1, the last."""
        low, high = self.guidance_interval
        if not low <= progress <= high:
            return 1.0
        largest = min(self.guidance_scale, _LARGEST_SCALE)
        excess = (largest - 1) * _SCHEDULES[self.guidance_schedule](progress)
        return 1 + excess * (2 * (1 - self.diversity) if excess > 0 else 1)

    def _is_guided(self, prior: TokenTransformer) -> bool:
        # Without classes, and without a weaker prior, there is nothing to exaggerate.
        return self.guidance_scale != 1 and (self._has_weaker(prior) or prior.n_classes > 0)

    def _has_weaker(self, prior: TokenTransformer) -> bool:
        """Whether guidance leads away from a weaker prior, and not from that without class."""
        if isinstance(self.weaker, str):
            return self.guidance_scale > 1 and prior.has_earlier
        return self.weaker is not None

    def _weaker_for(self, prior: TokenTransformer, labels: Tensor) -> tuple[Any, Tensor]:
        """Return the module of the weaker prior, and the labels to ask it with."""
        if isinstance(self.weaker, str):
            return prior.earlier_prior(), labels
        module = self.weaker.module_
        ours, theirs = prior.config, module.config
        if (ours.n_tokens, ours.n_codes) != (theirs.n_tokens, theirs.n_codes):
            raise ValueError(
                f"weaker was fitted to rows of {theirs.n_tokens} tokens and {theirs.n_codes} "
                f"codes, but the prior to {ours.n_tokens} and {ours.n_codes}. Fit both to the "
                "tokens of one tokenizer."
            )
        if theirs.n_classes not in (0, ours.n_classes):
            raise ValueError(
                f"weaker knows {theirs.n_classes} classes, but the prior {ours.n_classes}. Fit "
                "both with the same labels, or the weaker one without."
            )
        if next(module.parameters()).device != labels.device:
            module = copy.deepcopy(module).to(labels.device)
        return module.eval(), labels if theirs.n_classes else torch.zeros_like(labels)

    def _truncate(self, log_p: Tensor) -> Tensor:
        """Bar all but the likeliest codes that together have the probability `top_p`."""
        if self.top_p == 1:
            return log_p
        ordered, order = log_p.sort(dim=-1, descending=True)
        p = ordered.exp()
        # The first code stays in any case: before it, nothing is reached.
        reached = p.cumsum(-1) - p >= self.top_p
        return log_p.masked_fill(reached.gather(-1, order.argsort(-1)), -math.inf)


class MaskGIT(_Steered):
    """Iterative decoding: draw all masked tokens, keep some, and draw the others again.

    In step ``t`` of ``T`` every masked token is drawn and, in the order of `order`, as many are
    kept that ``floor(n_masked * cos(pi / 2 * t / T))`` stay masked [1]_. With `remasking`, some
    tokens that were kept earlier are masked again, so that mistakes can be mended [3]_;
    `n_corrections` does that after the last step [4]_. Of several token grids, those of
    bands or levels, the first is drawn first, the lowest band's, then each further one given
    those before it [8]_.

    Parameters
    ----------
    n_steps : int, default=10
        The T above, in each token grid. Fewer steps give more diverse series. Without `remasking`
        a grid takes no more steps than it has tokens to draw.
    temperature : float, default=1.0
        Divides the logits tokens are drawn from. Below 1, series are more typical.
    top_p : float, default=1.0
        As of `Autoregressive`.
    order : {"confidence", "random", "halton"}, default="confidence"
        Which tokens are kept first: those of the largest log-probability plus Gumbel noise of
        scale ``choice_temperature * (1 - t / T)``; any; or those that a Halton sequence visits
        first, which spreads over the token grid, so that tokens of one step tell least of each
        other [2]_.
    choice_temperature : float, default=4.0
        Of the noise above. Lower is more greedy.
    grid_shapes : sequence of (int, int) or None, default=None
        Rows and columns of each token grid, of all bands and levels, for ``order="halton"``. None
        takes them from the prior; a bare torch module does not know them, and has one row.
    remasking : {"cap", "rescale", "confidence"} or None, default=None
        Which share of the kept tokens is masked again in each step: at most
        `remasking_strength`; `remasking_strength` times the largest that the schedule allows; or
        the latter, with tokens that were less probable when they were drawn likelier to be masked.
        With ``order="random"`` this is ReMDM.
    remasking_strength : float, default=0.1
        The eta of ReMDM, in [0, 1].
    n_corrections : int, default=0
        Rounds of self-criticism at the end. In each the prior judges every drawn token, given
        the tokens of a random half of the row that does not hold it, and the least probable are
        drawn again. A round takes three passes.
    correction_ratio : float, default=0.25
        Share of tokens that a round draws again, in (0, 1].
    guidance_scale : float, default=1.0
        Strength of the class: 0 ignores it, 1 is the conditional prior, more exaggerates it.
        The ``s`` in ``null + s * (conditional - null)`` [5]_.
    guidance_schedule : {"constant", "linear", "cosine"}, default="constant"
        How guidance grows from 1 in the first step to `guidance_scale` in the last. Early
        guidance costs most diversity.
    guidance_interval : (float, float), default=(0, 1)
        Steps with guidance, from 0 for the first to 1 for the last [6]_. A step without it takes
        one pass instead of two.
    weaker : estimator or None, default=None
        A fitted prior over the same tokens, smaller or trained for a shorter time. Guidance then
        leads away from it instead of from the prior without class: the ``null`` above is
        what `weaker` says of the same class (autoguidance [7]_). It works without classes, and
        needs a `guidance_scale` above 1.
    best_of : int, default=1
        Rows drawn for each that is returned, which is the one that the prior, as tokens were
        settled, held for likeliest. More is more typical.
    diversity : float, default=0.5
        One dial from faithful (0) to diverse (1). It multiplies `temperature` by ``0.5 +
        diversity``, and what `guidance_scale` has above 1 by ``2 * (1 - diversity)``; 0.5 leaves
        both alone.

    References
    ----------
    .. [1] Chang, Zhang, Jiang, Liu, Freeman, "MaskGIT: masked generative image transformer",
       arXiv:2202.04200, 2022, section 3.2.
    .. [2] Besnier, Chen, Hurych, Valle, Cord, "Halton scheduler for masked generative image
       transformer", arXiv:2503.17076, 2025.
    .. [3] Wang, Schiff, Sahoo, Kuleshov, "Remasking discrete diffusion models with inference-time
       scaling", arXiv:2503.00307, 2025, section 4. Here the numbers of tokens are the expected
       ones.
    .. [4] Lezama, Chang, Jiang, Essa, "Improved masked image generation with Token-Critic",
       arXiv:2209.04439, 2022; with the prior itself as critic, as in the enhanced sampling of
       Lee, Malacarne, Aune, "Vector quantized time series generation with a bidirectional prior
       model", arXiv:2303.04743, 2023.
    .. [5] Ho, Salimans, "Classifier-free diffusion guidance", arXiv:2207.12598, 2022, eq. 6.
    .. [6] Kynkäänniemi et al., "Applying guidance in a limited interval improves sample and
       distribution quality in diffusion models", arXiv:2404.07724, 2024.
    .. [7] Karras et al., "Guiding a diffusion model with a bad version of itself",
       arXiv:2406.02507, 2024.
    .. [8] Lee, Malacarne, Aune, "Vector quantized time series generation with a bidirectional
       prior model", arXiv:2303.04743, 2023, section 3.2.

    Examples
    --------
    >>> from skncvqvae import MaskedTokenPrior, NCVQVAEGenerator
    >>> from skncvqvae.samplers import MaskGIT
    >>> prior = MaskedTokenPrior()
    >>> generator = NCVQVAEGenerator(prior=prior, sampler=MaskGIT(n_steps=5, order="halton"))
    >>> remdm = MaskGIT(order="random", remasking="cap", n_steps=32)
    """

    prior_type: ClassVar[type[TokenTransformer]] = MaskedPrior
    _parameter_constraints: ClassVar[dict[str, list[Any]]] = {
        **_Steered._parameter_constraints,
        "n_steps": [Interval(Integral, 1, None, closed="left")],
        "order": [StrOptions({"confidence", "random", "halton"})],
        "choice_temperature": [Interval(Real, 0, None, closed="left")],
        "grid_shapes": ["array-like", None],
        "remasking": [StrOptions({"cap", "rescale", "confidence"}), None],
        "remasking_strength": [Interval(Real, 0, 1, closed="both")],
        "n_corrections": [Interval(Integral, 0, None, closed="left")],
        "correction_ratio": [Interval(Real, 0, 1, closed="right")],
    }

    def __init__(
        self,
        *,
        n_steps: int = 10,
        temperature: float = 1.0,
        top_p: float = 1.0,
        order: Literal["confidence", "random", "halton"] = "confidence",
        choice_temperature: float = 4.0,
        grid_shapes: Sequence[tuple[int, int]] | None = None,
        remasking: Literal["cap", "rescale", "confidence"] | None = None,
        remasking_strength: float = 0.1,
        n_corrections: int = 0,
        correction_ratio: float = 0.25,
        guidance_scale: float = 1.0,
        guidance_schedule: Literal["constant", "linear", "cosine"] = "constant",
        guidance_interval: tuple[float, float] = (0.0, 1.0),
        weaker: Any = None,
        best_of: int = 1,
        diversity: float = 0.5,
    ) -> None:
        self.n_steps = n_steps
        self.temperature = temperature
        self.top_p = top_p
        self.order = order
        self.choice_temperature = choice_temperature
        self.grid_shapes = grid_shapes
        self.remasking = remasking
        self.remasking_strength = remasking_strength
        self.n_corrections = n_corrections
        self.correction_ratio = correction_ratio
        self.guidance_scale = guidance_scale
        self.guidance_schedule = guidance_schedule
        self.guidance_interval = guidance_interval
        self.weaker = weaker
        self.best_of = best_of
        self.diversity = diversity

    def _draw_rows(
        self,
        prior: MaskedPrior,
        tokens: Tensor,
        labels: Tensor,
        generator: torch.Generator | None,
    ) -> tuple[Tensor, Tensor | None]:
        """Draw over `n_steps` passes of the prior for each band, and correct."""
        tokens, wanted = tokens.clone(), tokens == MASKED
        # What the prior thought of each token when it was drawn.
        log_p = torch.zeros(tokens.shape, dtype=torch.float32, device=tokens.device)
        turns = prior.turns.to(tokens.device)
        counts = wanted.float() @ turns.float().T
        if not torch.equal(counts, counts[:1].expand_as(counts)):
            # Rows that differ in what is masked of a band are drawn in all bands at once.
            turns = torch.ones_like(turns[:1])
        for turn in turns:
            self._draw_turn(prior, tokens, labels, wanted & turn, log_p, generator)
        for _ in range(self.n_corrections):
            self._correct(prior, tokens, labels, wanted, log_p, generator)
        return tokens, log_p.sum(1)

    def _draw_turn(
        self,
        prior: MaskedPrior,
        tokens: Tensor,
        labels: Tensor,
        wanted: Tensor,
        log_p: Tensor,
        generator: torch.Generator | None,
    ) -> None:
        """Draw the wanted tokens, all of which are masked, in place."""
        n_to_draw = int(wanted[0].sum())
        if n_to_draw == 0:
            return
        n_steps = min(self.n_steps, n_to_draw) if self.remasking is None else self.n_steps
        to_remask = 0.0
        for step in range(1, n_steps + 1):
            unknown = wanted & (tokens == MASKED)
            scale = self._scale((step - 1) / (n_steps - 1) if n_steps > 1 else 1.0)
            drawn_log_p = self._fill(prior, tokens, labels, unknown, log_p, scale, generator)
            n_masked = int(n_to_draw * math.cos(0.5 * math.pi * step / n_steps))
            if step == n_steps or n_masked == 0:
                # cos(pi / 2) is not exactly 0, and an early 0 leaves nothing to do.
                break
            n_known = n_to_draw - int(unknown[0].sum())
            # Parts of a token add up over the steps.
            to_remask += self._remasked_share(n_known, n_masked) * n_known
            n_again = min(int(to_remask), n_masked, n_known)
            to_remask -= n_again
            again = self._choose_remasked(log_p, wanted & ~unknown, n_again, generator)
            keep_first = self._priority(drawn_log_p, unknown, 1 - step / n_steps, generator)
            least = keep_first.topk(n_masked - n_again, dim=1, largest=False).indices
            position = unknown.nonzero()[:, 1].view(len(tokens), -1)
            tokens.scatter_(1, position.gather(1, least), MASKED)
            tokens.scatter_(1, again, MASKED)

    def _fill(
        self,
        prior: MaskedPrior,
        tokens: Tensor,
        labels: Tensor,
        unknown: Tensor,
        log_p: Tensor,
        scale: float,
        generator: torch.Generator | None,
    ) -> Tensor:
        """Draw the unknown tokens in place, and return the log-probabilities they had.

        `log_p` takes up those under the prior alone.
        """
        conditional, logits = self._logits(prior, tokens, labels, unknown, scale)
        bent = F.log_softmax(logits / self._temperature(), dim=-1)
        drawn = _draw(self._truncate(bent), generator)
        tokens[unknown] = drawn.flatten()
        plain = F.log_softmax(conditional.float(), dim=-1)
        log_p[unknown] = plain.gather(-1, drawn[..., None]).flatten()
        return bent.gather(-1, drawn[..., None])[..., 0]

    def _logits(
        self, prior: MaskedPrior, tokens: Tensor, labels: Tensor, unknown: Tensor, scale: float
    ) -> tuple[Tensor, Tensor]:
        """Return logits of the unknown tokens, ``(n, n_unknown, n_codes)``: plain, and guided."""
        inverse = None
        if bool((tokens == MASKED).all()):
            # Fully masked rows of one class are all alike.
            labels, inverse = labels.unique(return_inverse=True)
            tokens, unknown = tokens[: len(labels)], unknown[: len(labels)]
        guided = self._is_guided(prior) and scale != 1
        if guided and not self._has_weaker(prior):
            both = torch.cat([labels, torch.full_like(labels, prior.n_classes)])
            logits, weak = prior(tokens.repeat(2, 1), both, unknown.repeat(2, 1)).chunk(2)
        else:
            logits = weak = prior(tokens, labels, unknown)
            if guided:
                module, their_labels = self._weaker_for(prior, labels)
                weak = module(tokens, their_labels, unknown)
        bent = _guide(logits, weak, scale) if guided else logits
        shape = len(tokens), -1, logits.shape[-1]
        plain, bent = logits.view(shape), bent.view(shape)
        return (plain, bent) if inverse is None else (plain[inverse], bent[inverse])

    def _priority(
        self,
        drawn_log_p: Tensor,
        unknown: Tensor,
        left: float,
        generator: torch.Generator | None,
    ) -> Tensor:
        """Return how early each of the tokens just drawn is to be kept, ``(n, n_unknown)``."""
        n, device = len(unknown), unknown.device
        if self.order == "halton":
            shapes = self.grid_shapes or [(1, unknown.shape[1])]
            rank = torch.tensor(_halton_rank(tuple((int(r), int(c)) for r, c in shapes)))
            rank = rank.to(device)
            if len(rank) != unknown.shape[1]:
                raise ValueError(
                    f"grid_shapes={self.grid_shapes!r} hold {len(rank)} tokens, but a row has "
                    f"{unknown.shape[1]}."
                )
            return -rank.expand(n, -1)[unknown].view(n, -1)
        noise = gumbel_noise(drawn_log_p.shape, generator, device)
        if self.order == "random":
            return noise
        return drawn_log_p + min(self.choice_temperature, _LARGEST_SCALE) * left * noise

    def _remasked_share(self, n_known: int, n_masked: int) -> float:
        """Return the share of kept tokens to mask again, before a step that leaves `n_masked`."""
        if self.remasking is None or n_known == 0:
            return 0.0
        largest = min(1.0, n_masked / n_known)
        if self.remasking == "cap":
            return min(self.remasking_strength, largest)
        return self.remasking_strength * largest

    def _choose_remasked(
        self, log_p: Tensor, known: Tensor, n_again: int, generator: torch.Generator | None
    ) -> Tensor:
        """Return positions of tokens kept earlier, ``(n, n_again)``, to be masked again."""
        if n_again == 0:
            return torch.empty((len(known), 0), dtype=torch.int64, device=known.device)
        # Gumbel noise and the largest: a draw without replacement.
        weight = gumbel_noise(log_p.shape, generator, log_p.device)
        if self.remasking == "confidence":
            weight = weight - log_p.exp()
        return weight.masked_fill(~known, -math.inf).topk(n_again, dim=1).indices

    def _correct(
        self,
        prior: MaskedPrior,
        tokens: Tensor,
        labels: Tensor,
        wanted: Tensor,
        log_p: Tensor,
        generator: torch.Generator | None,
    ) -> None:
        """Judge all drawn tokens, and draw the least probable again."""
        n_wanted = int(wanted[0].sum())
        if n_wanted == 0:
            return
        order = torch.rand(wanted.shape, generator=generator, device=wanted.device)
        rank = order.masked_fill(~wanted, math.inf).argsort(1).argsort(1)
        middle = (n_wanted + 1) // 2
        for half in (rank < middle, (rank >= middle) & wanted):
            if bool(half.any()):
                rest = tokens.masked_fill(half, MASKED)
                logits, _ = self._logits(prior, rest, labels, half, 1.0)
                judged = F.log_softmax(logits.float(), dim=-1)
                of_half = tokens[half].view(len(tokens), -1, 1)
                log_p[half] = judged.gather(-1, of_half).flatten()
        n_again = max(1, round(self.correction_ratio * n_wanted))
        worst = log_p.masked_fill(~wanted, math.inf).topk(n_again, dim=1, largest=False).indices
        tokens.scatter_(1, worst, MASKED)
        scale = self._scale(1.0)
        self._fill(prior, tokens, labels, tokens == MASKED, log_p, scale, generator)


class Autoregressive(_Steered):
    """Ancestral sampling: one token after the other, each given those before it.

    Of several candidates for each row one is drawn by a weight: sampling-importance resampling
    (Rubin, 1988). Of whole rows, `class_candidates` are weighed by how probable the prior finds
    their class, given all their tokens (Bayes' rule over its exact likelihoods). So samples carry
    their class, also where tokens that came early told little of it, and are no likelier
    otherwise. Where some tokens are given, `n_candidates` completions are weighed by how likely
    they make the given tokens that come after.

    Parameters
    ----------
    temperature : float, default=1.0
        Divides the logits. Below 1, series are more typical.
    top_p : float, default=1.0
        Draw from the likeliest codes only, as many as have this probability together
        (Holtzman et al., arXiv:1904.09751).
    guidance_scale : float, default=1.15
        More than 1 leads away from what is `weaker`; 0 ignores the class, 1 is the conditional
        prior, as that of `MaskGIT`. 1, with a `temperature` of 1, draws from the prior exactly.
    guidance_schedule : {"constant", "linear", "cosine"}, default="constant"
        As of `MaskGIT`; a step is a token.
    guidance_interval : (float, float), default=(0, 1)
        As of `MaskGIT`.
    weaker : estimator, "earlier" or None, default="earlier"
        As of `MaskGIT`. ``"earlier"`` is the prior itself as it was at an earlier time of its
        training, which `skncvqvae.AutoregressiveTokenPrior` keeps; where there is none, the prior
        without class.
    n_candidates : int, default=8
        Completions of a row in which some tokens are given.
    class_candidates : int, default=1
        Whole rows drawn for one that has a class. More of them, such as 4, carry their class more
        often and vary as much, but drawing takes 6 times as long with 2 classes, 12 with 7.
    best_of : int, default=1
        Rows drawn for each that is returned, which is the likeliest under the prior. More is more
        typical.
    diversity : float, default=0.5
        As of `MaskGIT`.

    Examples
    --------
    >>> from skncvqvae import NCVQVAEGenerator
    >>> from skncvqvae.samplers import Autoregressive
    >>> generator = NCVQVAEGenerator(sampler=Autoregressive(temperature=0.9))
    """

    prior_type: ClassVar[type[TokenTransformer]] = AutoregressivePrior
    _parameter_constraints: ClassVar[dict[str, list[Any]]] = {
        **_Steered._parameter_constraints,
        "n_candidates": [Interval(Integral, 1, None, closed="left")],
        "class_candidates": [Interval(Integral, 1, None, closed="left")],
    }

    def __init__(
        self,
        *,
        temperature: float = 1.0,
        top_p: float = 1.0,
        guidance_scale: float = 1.15,
        guidance_schedule: Literal["constant", "linear", "cosine"] = "constant",
        guidance_interval: tuple[float, float] = (0.0, 1.0),
        weaker: Any = "earlier",
        n_candidates: int = 8,
        class_candidates: int = 1,
        best_of: int = 1,
        diversity: float = 0.5,
    ) -> None:
        self.temperature = temperature
        self.top_p = top_p
        self.guidance_scale = guidance_scale
        self.guidance_schedule = guidance_schedule
        self.guidance_interval = guidance_interval
        self.weaker = weaker
        self.n_candidates = n_candidates
        self.class_candidates = class_candidates
        self.best_of = best_of
        self.diversity = diversity

    def _draw_rows(
        self,
        prior: AutoregressivePrior,
        tokens: Tensor,
        labels: Tensor,
        generator: torch.Generator | None,
    ) -> tuple[Tensor, Tensor | None]:
        """Draw in one pass of the prior for each token, over that token alone."""
        n, whole = len(tokens), bool((tokens == MASKED).all())
        if whole:
            has_class = prior.n_classes > 1 and bool((labels < prior.n_classes).any())
            k = self.class_candidates if has_class else 1
        else:
            k = self.n_candidates
        labels = labels.repeat(k)
        drawn, log_weight = self._complete(prior, tokens.repeat(k, 1), labels, generator)
        if k == 1:
            return drawn, None
        if whole:
            log_weight = _class_log_probability(prior, drawn, labels)
        chosen = _draw(log_weight.view(k, n).T, generator)
        return drawn.view(k, n, -1)[chosen, torch.arange(n, device=tokens.device)], None

    def _complete(
        self,
        prior: AutoregressivePrior,
        tokens: Tensor,
        labels: Tensor,
        generator: torch.Generator | None,
    ) -> tuple[Tensor, Tensor]:
        """Draw the masked tokens, and return the log-probability of the given ones, ``(n,)``."""
        tokens, n_tokens = tokens.clone(), prior.n_tokens
        logits_of = self._start(prior, labels)
        log_weight = torch.zeros(len(tokens), device=tokens.device)
        for position in range(n_tokens):
            previous = None if position == 0 else tokens[:, position - 1]
            scale = self._scale(position / (n_tokens - 1) if n_tokens > 1 else 1.0)
            log_p = F.log_softmax(logits_of(previous, scale) / self._temperature(), dim=-1)
            new, given = _draw(self._truncate(log_p), generator), tokens[:, position]
            known = given != MASKED
            tokens[:, position] = torch.where(known, given, new)
            likelihood = log_p.gather(1, given.clamp(min=0)[:, None])[:, 0]
            log_weight += torch.where(known, likelihood, 0.0)
        return tokens, log_weight

    def _start(
        self, prior: AutoregressivePrior, labels: Tensor
    ) -> Callable[[Tensor | None, float], Tensor]:
        """Return what maps the previous token and the guidance to the logits of the next."""
        if not self._is_guided(prior):
            drawing = prior.start(labels)
            return lambda previous, scale: prior.step(drawing, previous)
        if self._has_weaker(prior):
            module, their_labels = self._weaker_for(prior, labels)
            drawing, theirs = prior.start(labels), module.start(their_labels)

            def away_from_weaker(previous: Tensor | None, scale: float) -> Tensor:
                # The caches need every token, with guidance or without.
                weak = module.step(theirs, previous)
                return _guide(prior.step(drawing, previous), weak, scale)

            return away_from_weaker
        both = prior.start(torch.cat([labels, torch.full_like(labels, prior.n_classes)]))

        def away_from_no_class(previous: Tensor | None, scale: float) -> Tensor:
            twice = None if previous is None else previous.repeat(2)
            strong, weak = prior.step(both, twice).chunk(2)
            return _guide(strong, weak, scale)

        return away_from_no_class


def _class_log_probability(prior: AutoregressivePrior, tokens: Tensor, labels: Tensor) -> Tensor:
    """Return the log-probability of the class of each row, all classes being as frequent.

    Parameters
    ----------
    prior : AutoregressivePrior
    tokens : Tensor of shape (n, n_tokens)
    labels : Tensor of shape (n,)

    Returns
    -------
    Tensor of shape (n,)
        0 for a row that has no class.
    """
    classes = torch.arange(prior.n_classes, device=labels.device)
    likelihoods = [prior.log_likelihood(tokens, label.expand_as(labels)) for label in classes]
    log_p = torch.stack(likelihoods, dim=1).log_softmax(1)
    known = labels < prior.n_classes
    own = log_p.gather(1, labels.clamp(max=prior.n_classes - 1)[:, None])[:, 0]
    return torch.where(known, own, 0.0).float()


def halton_rank(shapes: Sequence[tuple[int, int]]) -> NDArray[np.int64]:
    """Return when each token of a row is visited by a Halton sequence over its grid.

    Several grids, which stand one after the other in a row, are visited by turns, so that each
    takes from the beginning to the end.

    Parameters
    ----------
    shapes : sequence of (int, int)
        Rows and columns of each grid.

    Returns
    -------
    ndarray of int of shape (n_tokens,)
        A permutation.
    """
    times = []
    for shape in shapes:
        rows, columns = shape
        # The finer base for the longer side; a side of one cell needs none.
        sides = sorted([(columns, 1), (rows, columns)], reverse=True)
        sides = [side for side in sides if side[0] > 1] or sides[:1]
        points = Halton(len(sides), scramble=False)
        seen = np.empty(0, dtype=np.int64)
        while len(np.unique(seen)) < rows * columns:
            new = points.random(4 * rows * columns)
            cells = sum(np.floor(new[:, i] * n) * step for i, (n, step) in enumerate(sides))
            seen = np.concatenate([seen, np.asarray(cells).astype(np.int64)])
        first = np.unique(seen, return_index=True)[1]
        times.append((first.argsort().argsort() + 0.5) / (rows * columns))
    return np.concatenate(times).argsort(kind="stable").argsort()


# Each step of each batch asks for the same one.
_halton_rank = functools.lru_cache(maxsize=16)(halton_rank)


def _guide(strong: Tensor, weak: Tensor, scale: float) -> Tensor:
    """Lead logits away from those that know less."""
    if scale == 1:
        return strong
    # A weaker prior need not know which codes a position cannot hold.
    return (weak + scale * (strong - weak)).masked_fill(strong < BARRED / 2, -math.inf)


def _draw(log_p: Tensor, generator: torch.Generator | None) -> Tensor:
    """Draw from log-probabilities ``(..., n_codes)`` by the Gumbel-max trick."""
    return (log_p + gumbel_noise(log_p.shape, generator, log_p.device)).argmax(-1)
