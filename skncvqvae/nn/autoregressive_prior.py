"""A causal transformer over tokens: exact likelihood, sampling token by token."""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import cast

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from .attention import Block, Dropout, KeyValueCache, RMSNorm
from .distributed import keep, weigh_rows
from .token_transformer import PriorConfig, TokenTransformer, pick_copy, pick_log_probability


@dataclass(frozen=True)
class Drawing:
    """Rows that are drawn token by token: what is computed once for all tokens, and the caches.

    Parameters
    ----------
    condition : Tensor of shape (n, hidden_dim)
    modulations : list of tuple of Tensor
        What the condition does to each block.
    caches : list of KeyValueCache
        One for each block.
    """

    condition: Tensor
    modulations: list[tuple[Tensor, ...]]
    caches: list[KeyValueCache]


class AutoregressivePrior(TokenTransformer):
    """Causal transformer that predicts each token from those before it and the class.

    The class is added to every token, and scales, moves and gates every block (see `Block`), so
    that no layer can lose it. In training, series may come in copies that are changed a little;
    which copy it is, is added to the class, so that samples are like series that are not changed.
    Source: van den Oord et al., arXiv:1711.00937, section 3.3 (a prior over the tokens of a
    VQ-VAE); Peebles and Xie, arXiv:2212.09748 (the class in every layer).

    Parameters
    ----------
    config : PriorConfig
        `hidden_dim` is shared out to the heads.
    allowed
        As of `TokenTransformer`.
    """

    token_embedding: nn.Embedding
    position_embedding: nn.Parameter
    class_embedding: nn.Embedding
    copy_embedding: nn.Embedding
    dropout: Dropout
    head_dim: int
    blocks: nn.ModuleList
    norm_out: RMSNorm
    head: nn.Linear
    bias: nn.Parameter

    def __init__(self, config: PriorConfig, allowed: Tensor | None = None) -> None:
        super().__init__(config, allowed)
        dim = config.hidden_dim
        # The last embedding stands before the first token.
        self.token_embedding = nn.Embedding(config.n_codes + 1, dim)
        self.position_embedding = nn.Parameter(0.5 * torch.randn(config.n_tokens, dim))
        self.class_embedding = nn.Embedding(config.n_classes + 1, dim)
        self.copy_embedding = nn.Embedding(config.n_copies, dim)
        self.dropout = Dropout(config.dropout)
        self.head_dim = max(dim // config.n_heads, 1)
        self.blocks = nn.ModuleList(
            [
                Block(
                    dim,
                    config.n_heads,
                    self.head_dim,
                    config.ff_mult,
                    config.dropout,
                    causal=True,
                    conditioned=True,
                )
                for _ in range(config.n_layers)
            ]
        )
        self.norm_out = RMSNorm(dim)
        self.head = nn.Linear(dim, config.n_codes)
        self.bias = nn.Parameter(torch.zeros(config.n_tokens, config.n_codes))
        for embedding, std in (
            (self.token_embedding, 0.5),
            (self.class_embedding, 0.5),
            (self.copy_embedding, 0.3),
            (self.head, 0.02),
        ):
            nn.init.normal_(embedding.weight, std=std)
        self._make_room_for_earlier()

    def _condition(self, labels: Tensor, copies: Tensor | None = None) -> Tensor:
        which = torch.zeros_like(labels) if copies is None else copies
        return self.class_embedding(labels) + self.copy_embedding(which)

    def _logits(self, x: Tensor, position: Tensor) -> Tensor:
        """Map outputs ``(..., hidden_dim)`` at `position` to logits ``(..., n_codes)``."""
        logits = self.head(x) + self.bias.index_select(0, position)
        return self._bar(logits, position)

    def _outputs(self, tokens: Tensor, labels: Tensor, copies: Tensor | None) -> Tensor:
        """Return what logits are made of, ``(n, n_tokens, hidden_dim)``."""
        start = torch.full_like(labels, self.config.n_codes)[:, None]
        before = torch.cat([start, tokens[:, :-1]], dim=1)
        condition = self._condition(labels, copies)
        x = self.token_embedding(before) + self.position_embedding + condition[:, None]
        x = self.dropout(x)
        for block in self.blocks:
            x = block(x, cast(Block, block).modulate(condition))
        return self.norm_out(x)

    def logits_by_turn(
        self, tokens: Tensor, labels: Tensor, copies: Tensor | None = None
    ) -> Iterator[tuple[Tensor, Tensor]]:
        """Yield the logits of each turn's own codes, and its tokens as indices of those.

        Together what `forward` returns, without the codes that a turn cannot have.

        Parameters
        ----------
        tokens, labels, copies
            As of `forward`.

        Yields
        ------
        logits : Tensor of shape (n, n_tokens_of_turn, n_codes_of_turn)
        tokens : Tensor of shape (n, n_tokens_of_turn)
        """
        x = self._outputs(tokens, labels, copies)
        for positions, codes in self._runs:
            logits = F.linear(x[:, positions], self.head.weight[codes], self.head.bias[codes])
            bias = self.bias[positions, codes]
            if self.barred is not None:
                # Once for all series: logits are many times as large.
                bias = bias + self.barred[positions, codes]
            yield logits + bias, tokens[:, positions] - codes.start

    def forward(self, tokens: Tensor, labels: Tensor, copies: Tensor | None = None) -> Tensor:
        """Return the logits of all tokens, each given those before it.

        Parameters
        ----------
        tokens : Tensor of shape (n, n_tokens)
        labels : Tensor of shape (n,)
        copies : Tensor of shape (n,), optional
            Which copy each series is; None takes them for the series themselves.

        Returns
        -------
        Tensor of shape (n, n_tokens, n_codes)
        """
        x = self._outputs(tokens, labels, copies)
        return self._logits(x, torch.arange(self.n_tokens, device=x.device))

    def start(self, labels: Tensor) -> Drawing:
        """Return the state of a batch, one row for each label ``(n,)``, to draw with `step`."""
        condition = self._condition(labels)
        n_heads, weight = self.config.n_heads, self.head.weight
        return Drawing(
            condition,
            [cast(Block, block).modulate(condition) for block in self.blocks],
            [
                KeyValueCache(len(labels), n_heads, self.n_tokens, self.head_dim, like=weight)
                for _ in self.blocks
            ],
        )

    def step(self, drawing: Drawing, previous: Tensor | None) -> Tensor:
        """Return the logits of the next token.

        Parameters
        ----------
        drawing : Drawing
            As `start` made it; it takes up what is handed in.
        previous : Tensor of shape (n,) or None
            The token before; None for the first, which is drawn given the class alone.

        Returns
        -------
        Tensor of shape (n, n_codes)
        """
        condition, position = drawing.condition, drawing.caches[0].filled
        if previous is None:
            start = torch.tensor(self.config.n_codes, device=condition.device)
            previous = start.expand(len(condition))
        x = self.token_embedding(previous) + self.position_embedding[position] + condition
        x = x[:, None]
        parts = zip(self.blocks, drawing.modulations, drawing.caches, strict=True)
        for block, modulation, cache in parts:
            x = block(x, modulation, cache=cache)
        return self._logits(self.norm_out(x[:, 0]), torch.tensor(position, device=x.device))

    def loss(
        self, tokens: Tensor, labels: Tensor, generator: torch.Generator | None = None
    ) -> Tensor:
        """Mean negative log-likelihood of a token, in nats.

        In training a series loses its class with probability `p_unconditional`. See
        `TokenTransformer.loss` for the parameters.
        """
        tokens, copies = pick_copy(tokens, generator)
        labels = self._drop_class(labels, generator)
        tokens, labels, copies = keep(tokens), keep(labels), keep(copies)
        loss = torch.zeros((), device=tokens.device)
        for logits, own in self.logits_by_turn(tokens, labels, copies):
            share = own.shape[1] / self.n_tokens
            loss = loss + share * F.cross_entropy(logits.flatten(0, 1), own.flatten())
        return weigh_rows(loss)

    @torch.inference_mode()
    def log_likelihood(self, tokens: Tensor, labels: Tensor) -> Tensor:
        """Return the exact log-likelihood of token grids, in one pass.

        Parameters
        ----------
        tokens : Tensor of shape (n, n_tokens)
        labels : Tensor of shape (n,)

        Returns
        -------
        Tensor of shape (n,)
            In nats.
        """
        by_turn = self.logits_by_turn(tokens, labels)
        return torch.stack([pick_log_probability(*turn).sum(1) for turn in by_turn]).sum(0)
