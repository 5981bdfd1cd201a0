"""A causal transformer over tokens: exact likelihood, sampling token by token."""

import torch
import torch.nn.functional as F
from torch import Tensor

from .attention import KeyValueCache
from .token_transformer import TokenTransformer, pick_log_probability


class AutoregressivePrior(TokenTransformer):
    """Causal transformer that predicts each token from those before it and the class.

    Source: Radford et al., "Improving language understanding by generative pre-training", 2018;
    over the tokens of a VQ-VAE, van den Oord et al., arXiv:1711.00937, section 3.3. Parameters
    and attributes are those of `TokenTransformer`.
    """

    causal = True

    def forward(self, tokens: Tensor, labels: Tensor) -> Tensor:
        """Return the logits of all tokens, each given those before it.

        Parameters
        ----------
        tokens : Tensor of shape (n, n_tokens)
        labels : Tensor of shape (n,)

        Returns
        -------
        Tensor of shape (n, n_tokens, n_codes)
        """
        before = self._embed(tokens[:, :-1], slice(None, -1))
        x = self._enter(labels, before)
        n, length, _ = x.shape
        for block in self.blocks:
            x = block(x).view(n, length, -1)
        return self._logits(x, torch.arange(length, device=x.device))

    def start(self, n: int) -> list[KeyValueCache]:
        """Return the empty caches, one for each block, of a batch to draw with `step`."""
        weight = self.project_in.weight
        n_heads = self.config.n_heads
        return [KeyValueCache(n, n_heads, self.n_tokens, like=weight) for _ in self.blocks]

    def step(self, caches: list[KeyValueCache], previous: Tensor | None, labels: Tensor) -> Tensor:
        """Return the logits of the next token.

        Parameters
        ----------
        caches : list of KeyValueCache
            As `start` made them; they take up what is handed in.
        previous : Tensor of shape (n,) or None
            The token before; None for the first, which is drawn given the class alone.
        labels : Tensor of shape (n,)

        Returns
        -------
        Tensor of shape (n, n_codes)
        """
        position = caches[0].filled
        if previous is None:
            x = self.class_embedding(labels)[:, None]
        else:
            x = self._embed(previous[:, None], slice(position - 1, position))
        x = self.project_in(x)
        for block, cache in zip(self.blocks, caches, strict=True):
            x = block(x, cache=cache)[:, None]
        return self._logits(x[:, 0], torch.tensor(position, device=x.device))

    def loss(
        self, tokens: Tensor, labels: Tensor, generator: torch.Generator | None = None
    ) -> Tensor:
        """Mean negative log-likelihood of a token, in nats.

        In training a series loses its class with probability `p_unconditional`.
        """
        logits = self(tokens, self._drop_class(labels, generator))
        return F.cross_entropy(logits.flatten(0, 1), tokens.flatten())

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
        return pick_log_probability(self(tokens, labels), tokens).sum(1)
