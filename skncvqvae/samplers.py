"""Samplers: how new tokens are drawn from a trained prior.

A sampler is a small object with parameters that is called with the torch module of a prior, rows
of tokens in which `MASKED` stands for what is to be drawn, and labels. Write one by deriving from
`Sampler` and defining `draw`; a `NCVQVAEGenerator` takes it as ``sampler=``.
"""

import math
from numbers import Integral, Real
from typing import Any, ClassVar

import torch
import torch.nn.functional as F
from sklearn.base import BaseEstimator
from sklearn.utils._param_validation import Interval
from torch import Tensor

from .nn.autoregressive_prior import AutoregressivePrior
from .nn.masked_prior import MaskedPrior
from .nn.token_transformer import MASKED, TokenTransformer

__all__ = ["MASKED", "Autoregressive", "MaskGIT", "Sampler"]


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


class MaskGIT(Sampler):
    """Iterative decoding: draw all masked tokens, keep the most confident, and draw again.

    In step ``t`` of ``T`` every masked token is drawn and the most confident are kept, so that
    ``floor(n_masked * cos(pi / 2 * t / T))`` stay masked; confidence is the log-probability plus
    Gumbel noise of scale ``choice_temperature * (1 - t / T)``. Of tokens of several bands, the
    lowest band is drawn first, then each further one given those before it (TimeVQVAE,
    arXiv:2303.04743, section 3.2).

    Parameters
    ----------
    n_steps : int, default=10
        The T above, in each band. Fewer steps give more diverse series.
    temperature : float, default=1.0
        Divides the logits tokens are drawn from. Below 1, series are more typical.
    choice_temperature : float, default=4.0
        Scale of the Gumbel noise in the choice of tokens to keep. Lower is more greedy.
    guidance_scale : float, default=1.0
        Strength of the class: 0 ignores it, 1 is the conditional prior, more exaggerates it.
        The ``s`` in ``null + s * (conditional - null)`` (Ho and Salimans, arXiv:2207.12598).

    References
    ----------
    .. [1] Chang, Zhang, Jiang, Liu, Freeman, "MaskGIT: masked generative image transformer",
       arXiv:2202.04200, 2022, section 3.2.

    Examples
    --------
    >>> from skncvqvae import NCVQVAEGenerator
    >>> from skncvqvae.samplers import MaskGIT
    >>> generator = NCVQVAEGenerator(sampler=MaskGIT(n_steps=5, temperature=0.9))
    """

    prior_type: ClassVar[type[TokenTransformer]] = MaskedPrior
    _parameter_constraints: ClassVar[dict[str, list[Any]]] = {
        "n_steps": [Interval(Integral, 1, None, closed="left")],
        "temperature": [Interval(Real, 0, None, closed="neither")],
        "choice_temperature": [Interval(Real, 0, None, closed="left")],
        "guidance_scale": [Interval(Real, 0, None, closed="left")],
    }

    def __init__(
        self,
        *,
        n_steps: int = 10,
        temperature: float = 1.0,
        choice_temperature: float = 4.0,
        guidance_scale: float = 1.0,
    ) -> None:
        self.n_steps = n_steps
        self.temperature = temperature
        self.choice_temperature = choice_temperature
        self.guidance_scale = guidance_scale

    def draw(
        self,
        prior: MaskedPrior,
        tokens: Tensor,
        labels: Tensor,
        generator: torch.Generator | None,
    ) -> Tensor:
        """Draw over `n_steps` passes of the prior for each band."""
        tokens = tokens.clone()
        turns = prior.turns.to(tokens.device)
        counts = (tokens == MASKED).float() @ turns.float().T
        if not torch.equal(counts, counts[:1].expand_as(counts)):
            # Rows that differ in what is masked of a band are drawn in all bands at once.
            turns = torch.ones_like(turns[:1])
        for turn in turns:
            self._draw_turn(prior, tokens, labels, turn, generator)
        return tokens

    def _draw_turn(
        self,
        prior: MaskedPrior,
        tokens: Tensor,
        labels: Tensor,
        turn: Tensor,
        generator: torch.Generator | None,
    ) -> None:
        """Draw the masked tokens at some positions, in place."""
        n, device = len(labels), labels.device
        n_to_draw = int((turn & (tokens[0] == MASKED)).sum())
        n_steps = min(self.n_steps, n_to_draw)
        for step in range(1, n_steps + 1):
            masked = tokens == MASKED
            unknown = masked & turn
            if step == 1 and bool(masked.all()):
                # Fully masked rows of one class are all alike.
                alike, inverse = labels.unique(return_inverse=True)
                k = len(alike)
                logits = self._guided_logits(prior, tokens[:k], alike, unknown[:k])[inverse]
            else:
                logits = self._guided_logits(prior, tokens, labels, unknown)
            log_p = F.log_softmax(logits / self.temperature, dim=-1)
            drawn = _draw(log_p, generator)
            tokens[unknown] = drawn.flatten()
            n_masked = int(n_to_draw * math.cos(0.5 * math.pi * step / n_steps))
            if step == n_steps or n_masked == 0:
                # cos(pi / 2) is not exactly 0, and an early 0 leaves nothing to do.
                break
            confidence = log_p.gather(-1, drawn[..., None])[..., 0]
            noise = _gumbel(confidence.shape, generator, device)
            confidence = confidence + self.choice_temperature * (1 - step / n_steps) * noise
            least = confidence.topk(n_masked, dim=1, largest=False).indices
            position = unknown.nonzero()[:, 1].view(n, -1)
            tokens.scatter_(1, position.gather(1, least), MASKED)

    def _guided_logits(
        self, prior: MaskedPrior, tokens: Tensor, labels: Tensor, unknown: Tensor
    ) -> Tensor:
        """Return logits of the unknown tokens, ``(n, n_unknown, n_codes)``."""
        if self.guidance_scale == 1:
            logits = prior(tokens, labels, unknown)
        else:
            both = torch.cat([labels, torch.full_like(labels, prior.n_classes)])
            logits = prior(tokens.repeat(2, 1), both, unknown.repeat(2, 1))
            logits = _guide(logits, self.guidance_scale)
        return logits.view(len(tokens), -1, logits.shape[-1])


class Autoregressive(Sampler):
    """Ancestral sampling: one token after the other, each given those before it.

    Where some tokens are given, `n_candidates` completions of each row are drawn, and one of them
    by how likely it makes the given tokens that come after: sampling-importance resampling
    (Rubin, 1988).

    Parameters
    ----------
    temperature : float, default=1.0
        Divides the logits. Below 1, series are more typical.
    top_p : float, default=1.0
        Draw from the likeliest codes only, as many as have this probability together
        (Holtzman et al., arXiv:1904.09751).
    guidance_scale : float, default=1.25
        Strength of the class: 0 ignores it, 1 is the conditional prior, more exaggerates it, as
        that of `MaskGIT`. 1, with a `temperature` of 1, draws from the prior exactly.
    n_candidates : int, default=8
        Completions of a row in which some tokens are given.

    Examples
    --------
    >>> from skncvqvae import NCVQVAEGenerator
    >>> from skncvqvae.samplers import Autoregressive
    >>> generator = NCVQVAEGenerator(sampler=Autoregressive(temperature=0.9))
    """

    prior_type: ClassVar[type[TokenTransformer]] = AutoregressivePrior
    _parameter_constraints: ClassVar[dict[str, list[Any]]] = {
        "temperature": [Interval(Real, 0, None, closed="neither")],
        "top_p": [Interval(Real, 0, 1, closed="right")],
        "guidance_scale": [Interval(Real, 0, None, closed="left")],
        "n_candidates": [Interval(Integral, 1, None, closed="left")],
    }

    def __init__(
        self,
        *,
        temperature: float = 1.0,
        top_p: float = 1.0,
        guidance_scale: float = 1.25,
        n_candidates: int = 8,
    ) -> None:
        self.temperature = temperature
        self.top_p = top_p
        self.guidance_scale = guidance_scale
        self.n_candidates = n_candidates

    def draw(
        self,
        prior: AutoregressivePrior,
        tokens: Tensor,
        labels: Tensor,
        generator: torch.Generator | None,
    ) -> Tensor:
        """Draw in one pass of the prior for each token, over that token alone."""
        n = len(tokens)
        if bool((tokens == MASKED).all()) or self.n_candidates == 1:
            return self._complete(prior, tokens, labels, generator)[0]
        k = self.n_candidates
        drawn, log_weight = self._complete(prior, tokens.repeat(k, 1), labels.repeat(k), generator)
        chosen = _draw(log_weight.view(k, n).T, generator)
        return drawn.view(k, n, -1)[chosen, torch.arange(n, device=tokens.device)]

    def _complete(
        self,
        prior: AutoregressivePrior,
        tokens: Tensor,
        labels: Tensor,
        generator: torch.Generator | None,
    ) -> tuple[Tensor, Tensor]:
        """Draw the masked tokens, and return the log-probability of the given ones, ``(n,)``."""
        tokens = tokens.clone()
        # Without classes there is nothing to exaggerate.
        guided = self.guidance_scale != 1 and prior.n_classes > 0
        if guided:
            labels = torch.cat([labels, torch.full_like(labels, prior.n_classes)])
        caches = prior.start(len(labels))
        log_weight = torch.zeros(len(tokens), device=tokens.device)
        for position in range(prior.n_tokens):
            previous = None if position == 0 else tokens[:, position - 1]
            if guided and previous is not None:
                previous = previous.repeat(2)
            logits = prior.step(caches, previous, labels)
            if guided:
                logits = _guide(logits, self.guidance_scale)
            log_p = F.log_softmax(logits / self.temperature, dim=-1)
            new, given = _draw(self._truncate(log_p), generator), tokens[:, position]
            known = given != MASKED
            tokens[:, position] = torch.where(known, given, new)
            likelihood = log_p.gather(1, given.clamp(min=0)[:, None])[:, 0]
            log_weight += torch.where(known, likelihood, 0.0)
        return tokens, log_weight

    def _truncate(self, log_p: Tensor) -> Tensor:
        """Bar all but the likeliest codes that together have the probability `top_p`."""
        if self.top_p == 1:
            return log_p
        ordered, order = log_p.sort(dim=-1, descending=True)
        p = ordered.exp()
        # The first code stays in any case: before it, nothing is reached.
        reached = p.cumsum(-1) - p >= self.top_p
        return log_p.masked_fill(reached.gather(-1, order.argsort(-1)), -math.inf)


def _guide(logits: Tensor, scale: float) -> Tensor:
    """Combine logits with the class, the first half, and without it, the second."""
    conditional, null = logits.chunk(2)
    return null + scale * (conditional - null)


def _draw(log_p: Tensor, generator: torch.Generator | None) -> Tensor:
    """Draw from log-probabilities ``(..., n_codes)`` by the Gumbel-max trick."""
    return (log_p + _gumbel(log_p.shape, generator, log_p.device)).argmax(-1)


def _gumbel(shape: torch.Size, generator: torch.Generator | None, device: torch.device) -> Tensor:
    uniform = torch.rand(shape, generator=generator, device=device)
    # Bounded away from 0 and 1, where the double logarithm is infinite.
    return -torch.log(-torch.log(uniform.clamp(1e-20, 1 - 1e-7)))
