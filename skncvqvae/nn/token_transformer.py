"""What the priors share: their sizes, and what they are asked."""

import copy
import functools
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Self

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.nn.utils import parameters_to_vector

# A token that is to be drawn, wherever tokens are handed around.
MASKED = -1
# Added to the logits of codes that a position cannot hold. Minus infinity would make NaN of a
# gradient.
BARRED = -1e9


@dataclass(frozen=True)
class PriorConfig:
    """Sizes of a prior over token grids.

    Parameters
    ----------
    n_codes : int
        Size of the vocabulary.
    n_tokens : int
        Tokens of a series.
    n_classes : int
        Class labels are ``0 .. n_classes - 1``; ``n_classes`` means 'no class'.
    embedding_dim : int
        Dimension of the token embeddings of `MaskedPrior`.
    hidden_dim, n_layers, n_heads, ff_mult : int
        Width, depth, number of attention heads, feed-forward expansion.
    dropout : float
    p_unconditional : float
        Probability of dropping the class in training, for classifier-free guidance
        (arXiv:2207.12598).
    n_copies : int
        Number of copies of each series in training: the series itself, and changed ones.
    keeps_earlier : bool
        Whether there is room for the weights of an earlier time of the training.
    """

    n_codes: int
    n_tokens: int
    n_classes: int = 0
    embedding_dim: int = 64
    hidden_dim: int = 256
    n_layers: int = 4
    n_heads: int = 2
    ff_mult: int = 1
    dropout: float = 0.0
    p_unconditional: float = 0.2
    n_copies: int = 1
    keeps_earlier: bool = False


class TokenTransformer(nn.Module):
    """What a prior over token grids is asked: its loss, and how likely given tokens are.

    Parameters
    ----------
    config : PriorConfig
    allowed : bool Tensor of shape (n_tokens, n_codes), optional
        Which codes a position can hold. None allows all everywhere.

    Attributes
    ----------
    config : PriorConfig
    """

    barred: Tensor | None
    earlier: Tensor | None

    def __init__(self, config: PriorConfig, allowed: Tensor | None = None) -> None:
        super().__init__()
        self.config = config
        zeros = torch.zeros(config.n_tokens, config.n_codes)
        barred = None if allowed is None else zeros.masked_fill(~allowed, BARRED)
        self.register_buffer("barred", barred)
        self.register_buffer("earlier", None)

    def _make_room_for_earlier(self) -> None:
        """Make room for earlier weights where they are to be kept; when all parameters are there.

        They are a buffer, so that they are stored and moved with the module, and not trained.
        """
        if self.config.keeps_earlier:
            n_weights = sum(parameter.numel() for parameter in self.parameters())
            self.register_buffer("earlier", torch.zeros(n_weights))

    @property
    def has_earlier(self) -> bool:
        """Whether weights of an earlier time are kept."""
        # No network of use has weights that are all zero.
        return self.earlier is not None and bool(self.earlier.any())

    def keep_earlier(self, weights: Iterable[Tensor]) -> None:
        """Keep the weights of a time of the training, in the order of the own parameters."""
        if self.earlier is not None:
            with torch.no_grad():
                self.earlier.copy_(parameters_to_vector(weights))

    def earlier_prior(self) -> Self:
        """Return this prior as it was when its weights were kept.

        Raises
        ------
        ValueError
            Where none are.
        """
        if self.earlier is None or not self.has_earlier:
            raise ValueError("no earlier weights are kept")
        prior = copy.deepcopy(self)
        parameters = list(prior.parameters())
        parts = self.earlier.split([parameter.numel() for parameter in parameters])
        with torch.no_grad():
            for parameter, part in zip(parameters, parts, strict=True):
                parameter.copy_(part.view_as(parameter))
        return prior

    @property
    def n_classes(self) -> int:
        """Number of classes, and the label that means 'no class'."""
        return self.config.n_classes

    @property
    def n_tokens(self) -> int:
        """Tokens of a series."""
        return self.config.n_tokens

    @property
    def turns(self) -> Tensor:
        """Which positions are drawn together, ``(n_turns, n_tokens)``, in the order of turns.

        Neighbours that can hold the same codes: the grids of bands, the lowest band first.
        """
        if self.barred is None:
            return torch.ones(1, self.n_tokens, dtype=torch.bool)
        _, turn = torch.unique_consecutive(self.barred, dim=0, return_inverse=True)
        return turn == torch.arange(int(turn.max()) + 1, device=turn.device)[:, None]

    @functools.cached_property
    def _runs(self) -> list[tuple[slice, slice]]:
        """The positions of each turn, and the codes between the first and last that they can hold.

        What is computed of a turn by itself leaves out the codes of all others: with eight levels,
        seven eighths of the logits.
        """
        if self.barred is None:
            return [(slice(0, self.n_tokens), slice(0, self.config.n_codes))]
        runs = []
        for turn in self.turns:
            positions = turn.nonzero()[:, 0].tolist()
            codes = (self.barred[positions[0]] == 0).nonzero()[:, 0].tolist()
            runs.append((slice(positions[0], positions[-1] + 1), slice(codes[0], codes[-1] + 1)))
        return runs

    def _bar(self, logits: Tensor, position: Tensor) -> Tensor:
        """Lower the logits ``(..., n_codes)`` of codes that a position cannot hold."""
        return logits if self.barred is None else logits + self.barred.index_select(0, position)

    def _drop_class(self, labels: Tensor, generator: torch.Generator | None) -> Tensor:
        """In training, turn some labels into 'no class'."""
        if not self.training:
            return labels
        drawn = torch.rand(len(labels), generator=generator, device=labels.device)
        return labels.masked_fill(drawn < self.config.p_unconditional, self.n_classes)

    def loss(
        self, tokens: Tensor, labels: Tensor, generator: torch.Generator | None = None
    ) -> Tensor:
        """Mean cross-entropy of what the prior predicts, in nats.

        Inside `nn.distributed.sharded`, the contribution of this process's part of the batch.

        Parameters
        ----------
        tokens : Tensor of shape (n, n_tokens) or (n, n_copies, n_tokens)
            With copies, one of each series is drawn at random.
        labels : Tensor of shape (n,)
        generator : torch.Generator, optional

        Returns
        -------
        Tensor, scalar
        """
        raise NotImplementedError

    def log_likelihood(self, tokens: Tensor, labels: Tensor) -> Tensor:
        """Return the (pseudo-)log-likelihood of rows ``(n, n_tokens)``, ``(n,)`` in nats."""
        raise NotImplementedError


def pick_copy(tokens: Tensor, generator: torch.Generator | None) -> tuple[Tensor, Tensor]:
    """Pick one of the copies of each series at random.

    Parameters
    ----------
    tokens : Tensor of shape (n, n_copies, n_tokens) or (n, n_tokens)

    Returns
    -------
    tokens : Tensor of shape (n, n_tokens)
    copies : Tensor of shape (n,)
        Which copy was picked.
    """
    n, device = len(tokens), tokens.device
    if tokens.ndim == 2:
        return tokens, torch.zeros(n, dtype=torch.int64, device=device)
    copies = torch.randint(tokens.shape[1], (n,), generator=generator, device=device)
    return tokens[torch.arange(n, device=device), copies], copies


def pick_log_probability(logits: Tensor, tokens: Tensor) -> Tensor:
    """Return the log-probability, in double precision, of ``tokens`` under ``(..., n_codes)``."""
    log_p = F.log_softmax(logits.double(), dim=-1)
    return log_p.gather(-1, tokens[..., None])[..., 0]
