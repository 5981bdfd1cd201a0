"""The bidirectional masked prior of stage 2."""

import math

import torch
import torch.nn.functional as F
from torch import Tensor

from .token_transformer import MASKED, TokenTransformer, pick_log_probability

# In training, logits are computed for a multiple of so many tokens. Arrays of another size in each
# step leave holes in the heap, and the process grows with the number of steps.
_ROW_MULTIPLE = 128


class MaskedPrior(TokenTransformer):
    """Bidirectional transformer that predicts masked tokens from the others and the class.

    Source: Chang et al. (MaskGIT), arXiv:2202.04200; Lee et al. (TimeVQVAE),
    arXiv:2303.04743. Parameters and attributes are those of `TokenTransformer`.
    """

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
        x = self._enter(labels, self._embed(tokens))
        n, length, _ = x.shape
        for block in self.blocks[:-1]:
            x = block(x).view(n, length, -1)
        index = wanted.flatten().nonzero()[:, 0]
        n_wanted = len(index)
        if self.training:
            index = F.pad(index, (0, -n_wanted % _ROW_MULTIPLE))
        series, position = index // self.n_tokens, index % self.n_tokens
        # A class token stands before the others.
        x = self.blocks[-1](x, rows=series * length + position + 1)
        return self._logits(x, position)[:n_wanted]

    def loss(
        self, tokens: Tensor, labels: Tensor, generator: torch.Generator | None = None
    ) -> Tensor:
        """Mean cross-entropy of the masked tokens, in nats.

        Each series draws its own mask ratio from the cosine schedule (MaskGIT, section 3.1), and
        in training loses its class with probability `p_unconditional`. Only masked positions
        count.
        """
        n, device = len(tokens), tokens.device
        ratio = torch.cos(0.5 * math.pi * torch.rand((n, 1), generator=generator, device=device))
        n_masked = (ratio * self.n_tokens).ceil().clamp(min=1)
        rank = torch.rand(tokens.shape, generator=generator, device=device).argsort(1).argsort(1)
        masked = rank < n_masked
        labels = self._drop_class(labels, generator)
        logits = self(tokens.masked_fill(masked, MASKED), labels, masked)
        return F.cross_entropy(logits, tokens[masked])

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
