"""The bidirectional masked prior of stage 2."""

import math

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from .attention import Block, RMSNorm
from .distributed import keep, weigh_where
from .token_transformer import (
    MASKED,
    PriorConfig,
    TokenTransformer,
    pick_copy,
    pick_log_probability,
)

# In training, logits are computed for a multiple of so many tokens. Arrays of another size in each
# step leave holes in the heap, and the process grows with the number of steps.
_ROW_MULTIPLE = 128
_HEAD_DIM = 64


class MaskedPrior(TokenTransformer):
    """Bidirectional transformer that predicts masked tokens from the others and the class.

    A class token stands before the others. The logits of a token are the products of its output
    with the token embeddings, plus a bias for each position and code. Source: Chang et al.
    (MaskGIT), arXiv:2202.04200; Lee et al. (TimeVQVAE), arXiv:2303.04743.

    Parameters
    ----------
    config : PriorConfig
        Heads have 64 dimensions each.
    codebook : Tensor of shape (n_codes, embedding_dim), optional
        Initial token embeddings. None draws them at random.
    allowed
        As of `TokenTransformer`.
    """

    token_embedding: nn.Embedding
    position_embedding: nn.Parameter
    class_embedding: nn.Embedding
    norm_in: nn.LayerNorm
    project_in: nn.Linear
    blocks: nn.ModuleList
    norm_out: RMSNorm
    project_out: nn.Linear
    head: nn.Sequential
    bias: nn.Parameter

    def __init__(
        self,
        config: PriorConfig,
        codebook: Tensor | None = None,
        allowed: Tensor | None = None,
    ) -> None:
        super().__init__(config, allowed)
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
                Block(config.hidden_dim, config.n_heads, _HEAD_DIM, config.ff_mult, config.dropout)
                for _ in range(config.n_layers)
            ]
        )
        self.norm_out = RMSNorm(config.hidden_dim)
        self.project_out = nn.Linear(config.hidden_dim, dim)
        self.head = nn.Sequential(nn.Linear(dim, dim), nn.GELU(), nn.LayerNorm(dim))
        self.bias = nn.Parameter(torch.zeros(n_tokens, n_codes))

    def forward(self, tokens: Tensor, labels: Tensor, wanted: Tensor) -> Tensor:
        """Return the logits of some tokens.

        Parameters
        ----------
        tokens : Tensor of shape (n, n_tokens)
            `MASKED` where a token is not known.
        labels : Tensor of shape (n,)
        wanted : bool Tensor of shape (n, n_tokens)
            Which tokens to compute logits of. What comes after the last attention is not
            computed for the others.

        Returns
        -------
        Tensor of shape (n_wanted, n_codes)
            In the order of ``tokens[wanted]``.
        """
        known = torch.where(tokens == MASKED, self.config.n_codes, tokens)
        x = self.norm_in(self.token_embedding(known) + self.position_embedding)
        x = self.project_in(torch.cat([self.class_embedding(labels)[:, None], x], dim=1))
        length = x.shape[1]
        for block in self.blocks[:-1]:
            x = block(x)
        index = wanted.flatten().nonzero()[:, 0]
        n_wanted = len(index)
        if self.training:
            index = F.pad(index, (0, -n_wanted % _ROW_MULTIPLE))
        series, position = index // self.n_tokens, index % self.n_tokens
        # A class token stands before the others.
        x = self.blocks[-1](x, rows=series * length + position + 1)
        x = self.head(self.project_out(self.norm_out(x)))
        # Scaled as attention logits are: at the start they have about unit variance.
        weight = self.token_embedding.weight[: self.config.n_codes]
        x = x @ weight.T / math.sqrt(weight.shape[1]) + self.bias.index_select(0, position)
        return self._bar(x, position)[:n_wanted]

    def loss(
        self, tokens: Tensor, labels: Tensor, generator: torch.Generator | None = None
    ) -> Tensor:
        """Mean cross-entropy of the masked tokens, in nats.

        Each series draws its own mask ratio from the cosine schedule (MaskGIT, section 3.1), and
        in training loses its class with probability `p_unconditional`. Only masked positions
        count.
        """
        tokens, _ = pick_copy(tokens, generator)
        n, device = len(tokens), tokens.device
        ratio = torch.cos(0.5 * math.pi * torch.rand((n, 1), generator=generator, device=device))
        n_masked = (ratio * self.n_tokens).ceil().clamp(min=1)
        rank = torch.rand(tokens.shape, generator=generator, device=device).argsort(1).argsort(1)
        masked = rank < n_masked
        labels = self._drop_class(labels, generator)
        tokens, labels, own = keep(tokens), keep(labels), keep(masked)
        logits = self(tokens.masked_fill(own, MASKED), labels, own)
        return weigh_where(F.cross_entropy(logits, tokens[own]), own, masked)

    @torch.inference_mode()
    def log_likelihood(self, tokens: Tensor, labels: Tensor) -> Tensor:
        """Sum over positions of the log-probability of a token given all others.

        A pseudo-log-likelihood; it takes a pass for each token. Source: Besag (1975); Salazar et
        al., arXiv:1910.14659, eq. 1.

        Parameters
        ----------
        tokens : Tensor of shape (n, n_tokens)
        labels : Tensor of shape (n,)

        Returns
        -------
        Tensor of shape (n,)
            In nats.
        """
        total = torch.zeros(len(tokens), dtype=torch.float64, device=tokens.device)
        for position in range(self.n_tokens):
            masked = torch.zeros_like(tokens, dtype=torch.bool)
            masked[:, position] = True
            logits = self(tokens.masked_fill(masked, MASKED), labels, masked)
            total += pick_log_probability(logits, tokens[:, position])
        return total
