"""What the priors share: sizes, embeddings of tokens and class, and logits by weight tying."""

import math
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from .attention import Block, RMSNorm

# A token that is to be drawn, wherever tokens are handed around.
MASKED = -1


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
        Dimension of the token embeddings.
    hidden_dim, n_layers, n_heads, ff_mult : int
        Width, depth, attention heads of 64 dimensions, feed-forward expansion.
    dropout : float
    p_unconditional : float
        Probability of dropping the class in training, for classifier-free guidance
        (arXiv:2207.12598).
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


class TokenTransformer(nn.Module):
    """Transformer over the tokens of a series, after a class token.

    The logits of a token are the products of its output with the token embeddings, plus a bias
    for each position and code.

    Parameters
    ----------
    config : PriorConfig
    codebook : Tensor of shape (n_codes, embedding_dim), optional
        Initial token embeddings. None draws them at random.
    allowed : bool Tensor of shape (n_tokens, n_codes), optional
        Which codes a position can hold. None allows all everywhere.

    Attributes
    ----------
    config : PriorConfig
    """

    causal = False
    barred: Tensor | None

    def __init__(
        self,
        config: PriorConfig,
        codebook: Tensor | None = None,
        allowed: Tensor | None = None,
    ) -> None:
        super().__init__()
        self.config = config
        n_codes, n_tokens, dim = config.n_codes, config.n_tokens, config.embedding_dim
        # The last embedding stands for a token that is not known yet.
        self.token_embedding = nn.Embedding(n_codes + 1, dim)
        if codebook is not None:
            if codebook.shape != (n_codes, dim):
                raise ValueError(
                    f"codebook has shape {tuple(codebook.shape)}, but the prior has {n_codes} "
                    f"codes with embeddings of {dim} dimensions."
                )
            with torch.no_grad():
                # Standardised: latents of any scale must not decide how sharp the logits are.
                scale = codebook.std().clamp(min=1e-6)
                self.token_embedding.weight[:n_codes] = (codebook - codebook.mean()) / scale
        self.position_embedding = nn.Parameter(torch.randn(n_tokens, dim))
        self.class_embedding = nn.Embedding(config.n_classes + 1, dim)
        self.norm_in = nn.LayerNorm(dim)
        self.project_in = nn.Linear(dim, config.hidden_dim)
        self.blocks = nn.ModuleList(
            [
                Block(
                    config.hidden_dim, config.n_heads, config.ff_mult, config.dropout, self.causal
                )
                for _ in range(config.n_layers)
            ]
        )
        self.norm_out = RMSNorm(config.hidden_dim)
        self.project_out = nn.Linear(config.hidden_dim, dim)
        self.head = nn.Sequential(nn.Linear(dim, dim), nn.GELU(), nn.LayerNorm(dim))
        bias = torch.zeros(n_tokens, n_codes)
        self.bias = nn.Parameter(bias)
        # Added to the logits. Minus infinity would make NaN of a gradient.
        barred = None if allowed is None else bias.masked_fill(~allowed, -1e9)
        self.register_buffer("barred", barred)

    @property
    def n_classes(self) -> int:
        """Number of classes, and the label that means 'no class'."""
        return self.config.n_classes

    @property
    def n_tokens(self) -> int:
        """Tokens of a series."""
        return self.config.n_tokens

    def _embed(self, tokens: Tensor, position: slice = slice(None)) -> Tensor:
        """Embed tokens ``(n, m)``, `MASKED` among them, that stand at `position`."""
        known = torch.where(tokens == MASKED, self.config.n_codes, tokens)
        return self.norm_in(self.token_embedding(known) + self.position_embedding[position])

    def _enter(self, labels: Tensor, embedded: Tensor) -> Tensor:
        """Put the class token before embedded tokens, ``(n, m + 1, hidden_dim)``."""
        return self.project_in(torch.cat([self.class_embedding(labels)[:, None], embedded], dim=1))

    def _logits(self, x: Tensor, position: Tensor) -> Tensor:
        """Map outputs ``(..., hidden_dim)`` at `position` to logits ``(..., n_codes)``."""
        x = self.head(self.project_out(self.norm_out(x)))
        # Scaled as attention logits are: at the start they have about unit variance.
        weight = self.token_embedding.weight[: self.config.n_codes]
        x = x @ weight.T / math.sqrt(weight.shape[1]) + self.bias.index_select(0, position)
        return x if self.barred is None else x + self.barred.index_select(0, position)

    def _drop_class(self, labels: Tensor, generator: torch.Generator | None) -> Tensor:
        """In training, turn some labels into 'no class'."""
        if not self.training:
            return labels
        drawn = torch.rand(len(labels), generator=generator, device=labels.device)
        return labels.masked_fill(drawn < self.config.p_unconditional, self.n_classes)

    def loss(
        self, tokens: Tensor, labels: Tensor, generator: torch.Generator | None = None
    ) -> Tensor:
        """Mean cross-entropy of what the prior predicts, in nats."""
        raise NotImplementedError

    def log_likelihood(self, tokens: Tensor, labels: Tensor) -> Tensor:
        """Return the (pseudo-)log-likelihood of token grids, in nats."""
        raise NotImplementedError


def pick_log_probability(logits: Tensor, tokens: Tensor) -> Tensor:
    """Return the log-probability, in double precision, of ``tokens`` under ``(..., n_codes)``."""
    log_p = F.log_softmax(logits.double(), dim=-1)
    return log_p.gather(-1, tokens[..., None])[..., 0]
