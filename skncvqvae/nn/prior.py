"""The bidirectional masked prior of stage 2, and MaskGIT sampling from it."""

import math

import torch
import torch.nn.functional as F
from torch import nn

from .precision import full_precision

# In training, logits are computed for a multiple of so many tokens. Arrays of another size in each
# step leave holes in the heap, and the process grows with the number of steps.
_ROW_MULTIPLE = 128


class _Normalise(torch.autograd.Function):
    """``y = x / rms(x) * weight`` with a gradient in half the passes of autograd's."""

    @staticmethod
    def forward(ctx, x, weight):
        mean_square = torch.linalg.vector_norm(x, dim=-1, keepdim=True).square() / x.shape[-1]
        inverse = torch.rsqrt(mean_square + torch.finfo(x.dtype).eps)
        normed = x * inverse
        ctx.save_for_backward(normed, inverse, weight)
        return normed * weight

    @staticmethod
    def backward(ctx, grad):
        normed, inverse, weight = ctx.saved_tensors
        product = grad * normed
        # d rms(x) takes from the gradient what lies along x.
        along = (product @ weight)[..., None] / len(weight)
        grad_x = (grad * weight).addcmul_(normed, along, value=-1).mul_(inverse)
        return grad_x, product.flatten(0, -2).sum(0)


class RMSNorm(nn.RMSNorm):
    """Root-mean-square normalisation over the last axis, in fewer passes over the data.

    Source: Zhang and Sennrich, arXiv:1910.07467, eq. 4. `torch.nn.RMSNorm` has no kernel for the
    CPU, where its squares, their mean and two products are passes of their own.
    """

    @full_precision
    def forward(self, x):
        """Map ``(..., dim)`` to the same shape."""
        return _Normalise.apply(x, self.weight)


class Dropout(nn.Dropout):
    """Dropout that draws 16 random bits for each value, which on the CPU is much faster.

    The probability is therefore rounded to a multiple of ``2 ** -16``.
    """

    def forward(self, x):
        """Map a tensor to one of the same shape."""
        if not self.training or self.p == 0 or x.device.type != "cpu":
            return super().forward(x)
        words = torch.empty(-(-x.numel() // 4), dtype=torch.int64).random_(-(2**63), None)
        bits = words.view(torch.int16)[: x.numel()].view(x.shape)
        n_dropped = min(round(self.p * 2**16), 2**16 - 1)
        kept = (bits >= n_dropped - 2**15).to(x.dtype)
        return x * kept.mul_(2**16 / (2**16 - n_dropped))


def _attention(q, k, v):
    if q.device.type == "cpu" and q.dtype == torch.bfloat16:
        # With its gradient, the CPU's fused kernel takes several times as long as plain products.
        return (q @ k.transpose(-1, -2) / math.sqrt(q.shape[-1])).softmax(dim=-1) @ v
    return F.scaled_dot_product_attention(q, k, v)


class _Block(nn.Module):
    """Pre-norm self-attention and feed-forward, both residual."""

    def __init__(self, dim, n_heads, head_dim, ff_mult, dropout):
        super().__init__()
        self.n_heads = n_heads
        inner = n_heads * head_dim
        self.norm_attention = RMSNorm(dim)
        self.qkv = nn.Linear(dim, 3 * inner, bias=False)
        self.out = nn.Linear(inner, dim, bias=False)
        self.norm_ff = RMSNorm(dim)
        self.ff = nn.Sequential(
            nn.Linear(dim, ff_mult * dim), nn.GELU(), nn.Linear(ff_mult * dim, dim)
        )
        self.dropout = Dropout(dropout)

    def forward(self, x, rows=None):
        """Map ``(n, length, dim)`` to ``(n * length, dim)``, or to those `rows` of it."""
        x = self._attend(x, rows)
        return x + self.dropout(self.ff(self.norm_ff(x)))

    def _attend(self, x, rows):
        # A method of its own: what it holds is freed before the feed-forward layers.
        n, length, _ = x.shape
        q, k, v = (
            part.view(n, length, self.n_heads, -1).transpose(1, 2)
            for part in self.qkv(self.norm_attention(x)).chunk(3, dim=-1)
        )
        attended = _attention(q, k, v).transpose(1, 2).flatten(2).flatten(0, 1)
        x = x.flatten(0, 1)
        if rows is not None:
            x, attended = x.index_select(0, rows), attended.index_select(0, rows)
        return x + self.dropout(self.out(attended))


class MaskedPrior(nn.Module):
    """Bidirectional transformer that predicts masked tokens from the others and the class.

    Source: Chang et al. (MaskGIT), arXiv:2202.04200; Lee et al. (TimeVQVAE),
    arXiv:2303.04743. The logits of a token are the products of its output with the token
    embeddings, plus a bias for each position and code.

    Parameters
    ----------
    codebook : Tensor of shape (n_codes, dim)
        Initial token embeddings.
    n_tokens : int
        Tokens of a series.
    n_classes : int
        Class labels are ``0 .. n_classes - 1``; ``n_classes`` means 'no class'.
    hidden_dim, n_layers, n_heads, ff_mult : int
        Width, depth, attention heads of 64 dimensions, feed-forward expansion.
    dropout : float
    p_unconditional : float
        Probability of dropping the class in training, for classifier-free guidance
        (arXiv:2207.12598).
    """

    def __init__(
        self,
        codebook,
        n_tokens,
        n_classes,
        hidden_dim=256,
        n_layers=4,
        n_heads=2,
        ff_mult=1,
        dropout=0.0,
        p_unconditional=0.2,
    ):
        super().__init__()
        self.n_codes, dim = codebook.shape
        self.n_tokens, self.n_classes = n_tokens, n_classes
        self.p_unconditional = p_unconditional
        self.mask_token = self.n_codes

        self.token_embedding = nn.Embedding(self.n_codes + 1, dim)
        with torch.no_grad():
            # Standardised: latents of any scale must not decide how sharp the first logits are.
            scale = codebook.std().clamp(min=1e-6)
            self.token_embedding.weight[: self.n_codes] = (codebook - codebook.mean()) / scale
        self.position_embedding = nn.Parameter(torch.randn(n_tokens, dim))
        self.class_embedding = nn.Embedding(n_classes + 1, dim)
        self.norm_in = nn.LayerNorm(dim)
        self.project_in = nn.Linear(dim, hidden_dim)
        self.blocks = nn.ModuleList(
            [_Block(hidden_dim, n_heads, 64, ff_mult, dropout) for _ in range(n_layers)]
        )
        self.norm_out = RMSNorm(hidden_dim)
        self.project_out = nn.Linear(hidden_dim, dim)
        self.head = nn.Sequential(nn.Linear(dim, dim), nn.GELU(), nn.LayerNorm(dim))
        self.bias = nn.Parameter(torch.zeros(n_tokens, self.n_codes))

    def forward(self, tokens, labels, wanted):
        """Return the logits of some tokens.

        Parameters
        ----------
        tokens : Tensor of shape (n, n_tokens)
        labels : Tensor of shape (n,)
        wanted : bool Tensor of shape (n, n_tokens)
            Which tokens to compute logits of. What comes after the last attention is not
            computed for the others.

        Returns
        -------
        Tensor of shape (n_wanted, n_codes)
            In the order of ``tokens[wanted]``.
        """
        x = self.norm_in(self.token_embedding(tokens) + self.position_embedding)
        x = self.project_in(torch.cat([self.class_embedding(labels)[:, None], x], dim=1))
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
        x = self.head(self.project_out(self.norm_out(x)))
        # Scaled as attention logits are: at the start they have about unit variance.
        weight = self.token_embedding.weight[: self.n_codes]
        x = x @ weight.T / math.sqrt(weight.shape[1]) + self.bias.index_select(0, position)
        return x[:n_wanted]

    def loss(self, tokens, labels, generator=None):
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
        if self.training:
            drop = torch.rand(n, generator=generator, device=device) < self.p_unconditional
            labels = labels.masked_fill(drop, self.n_classes)
        logits = self(tokens.masked_fill(masked, self.mask_token), labels, masked)
        return F.cross_entropy(logits, tokens[masked])

    @torch.inference_mode()
    def sample(
        self,
        labels,
        n_steps=10,
        temperature=1.0,
        choice_temperature=4.0,
        guidance_scale=1.0,
        generator=None,
        tokens=None,
    ):
        """Draw token grids by iterative decoding.

        Starts fully masked, or from `tokens`. In step ``t`` of ``T`` every masked token is
        sampled and the most confident are kept, so that ``floor(n_masked * cos(pi / 2 * t /
        T))`` stay masked; confidence is the log-probability plus Gumbel noise of scale
        ``choice_temperature * (1 - t / T)`` (MaskGIT, algorithm of section 3.2).

        Parameters
        ----------
        labels : Tensor of shape (n,)
            Class of each series, or ``n_classes`` for none.
        n_steps : int
        temperature : float
            Divides the logits that tokens are drawn from.
        choice_temperature : float
        guidance_scale : float
            ``s`` in ``null + s * (conditional - null)``; 1 is the plain conditional prior.
        generator : torch.Generator, optional
        tokens : Tensor of shape (n, n_tokens), optional
            Grids to complete: `mask_token` where a token is to be drawn, in as many places in
            each row. The other tokens stay.

        Returns
        -------
        Tensor of shape (n, n_tokens)
        """
        n, device = len(labels), labels.device

        def guided_logits(tokens, labels, unknown):
            """Return logits of shape ``(n, n_unknown, n_codes)``."""
            if guidance_scale == 1:
                logits = self(tokens, labels, unknown)
            else:
                both = torch.cat([labels, torch.full_like(labels, self.n_classes)])
                logits = self(tokens.repeat(2, 1), both, unknown.repeat(2, 1))
                conditional, null = logits.chunk(2)
                logits = null + guidance_scale * (conditional - null)
            return logits.view(len(tokens), -1, self.n_codes)

        if tokens is None:
            tokens = torch.full((n, self.n_tokens), self.mask_token, device=device)
        else:
            tokens = tokens.clone()
        n_to_draw = int((tokens[0] == self.mask_token).sum())
        n_steps = min(n_steps, n_to_draw)
        for step in range(1, n_steps + 1):
            unknown = tokens == self.mask_token
            if step == 1 and n_to_draw == self.n_tokens:
                # Fully masked grids of one class are all alike.
                alike, inverse = labels.unique(return_inverse=True)
                k = len(alike)
                logits = guided_logits(tokens[:k], alike, unknown[:k])[inverse]
            else:
                logits = guided_logits(tokens, labels, unknown)
            log_p = F.log_softmax(logits / temperature, dim=-1)
            drawn = (log_p + _gumbel(log_p.shape, generator, device)).argmax(-1)
            tokens[unknown] = drawn.flatten()
            n_masked = int(n_to_draw * math.cos(0.5 * math.pi * step / n_steps))
            if step == n_steps or n_masked == 0:
                # cos(pi / 2) is not exactly 0, and an early 0 leaves nothing to do.
                break
            confidence = log_p.gather(-1, drawn[..., None])[..., 0]
            noise = _gumbel(confidence.shape, generator, device)
            confidence = confidence + choice_temperature * (1 - step / n_steps) * noise
            least = confidence.topk(n_masked, dim=1, largest=False).indices
            position = unknown.nonzero()[:, 1].view(n, -1)
            tokens.scatter_(1, position.gather(1, least), self.mask_token)
        return tokens

    @torch.inference_mode()
    def pseudo_log_likelihood(self, tokens, labels):
        """Sum over positions of the log-probability of a token given all others.

        Source: Besag (1975); Salazar et al., arXiv:1910.14659, eq. 1.

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
            logits = self(tokens.masked_fill(masked, self.mask_token), labels, masked)
            log_p = F.log_softmax(logits.double(), dim=-1)
            total += log_p.gather(1, tokens[:, position, None])[:, 0]
        return total


def _gumbel(shape, generator, device):
    uniform = torch.rand(shape, generator=generator, device=device)
    # Bounded away from 0 and 1, where the double logarithm is infinite.
    return -torch.log(-torch.log(uniform.clamp(1e-20, 1 - 1e-7)))
