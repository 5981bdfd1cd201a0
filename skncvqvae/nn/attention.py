"""Transformer blocks that the priors are made of, fast on a CPU."""

import math
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from .precision import full_precision


class _Normalise(torch.autograd.Function):
    """``y = x / rms(x) * weight`` with a gradient in half the passes of autograd's."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, weight: Tensor) -> Tensor:
        mean_square = torch.linalg.vector_norm(x, dim=-1, keepdim=True).square() / x.shape[-1]
        inverse = torch.rsqrt(mean_square + torch.finfo(x.dtype).eps)
        normed = x * inverse
        ctx.save_for_backward(normed, inverse, weight)
        return normed * weight

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor, Tensor]:
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
    def forward(self, x: Tensor) -> Tensor:
        """Map ``(..., dim)`` to the same shape."""
        return _Normalise.apply(x, self.weight)


class Dropout(nn.Dropout):
    """Dropout that draws 16 random bits for each value, which on the CPU is much faster.

    The probability is therefore rounded to a multiple of ``2 ** -16``.
    """

    def forward(self, x: Tensor) -> Tensor:
        """Map a tensor to one of the same shape."""
        if not self.training or self.p == 0 or x.device.type != "cpu":
            return super().forward(x)
        words = torch.empty(-(-x.numel() // 4), dtype=torch.int64).random_(-(2**63), None)
        bits = words.view(torch.int16)[: x.numel()].view(x.shape)
        n_dropped = min(round(self.p * 2**16), 2**16 - 1)
        kept = (bits >= n_dropped - 2**15).to(x.dtype)
        return x * kept.mul_(2**16 / (2**16 - n_dropped))


class KeyValueCache:
    """Keys and values of the positions that a causal block has seen.

    Parameters
    ----------
    n, n_heads, length, head_dim : int
        Batch size, attention heads, number of positions to hold, and dimension of a head.
    like : Tensor
        A tensor of the wanted dtype and device.
    """

    store: Tensor
    filled: int

    def __init__(self, n: int, n_heads: int, length: int, head_dim: int, like: Tensor) -> None:
        shape = (2, n, n_heads, length, head_dim)
        self.store = torch.empty(shape, dtype=like.dtype, device=like.device)
        self.filled = 0

    def append(self, k: Tensor, v: Tensor) -> tuple[Tensor, Tensor]:
        """Store keys and values ``(n, n_heads, m, head_dim)``, and return all seen so far."""
        start, self.filled = self.filled, self.filled + k.shape[2]
        self.store[0, :, :, start : self.filled] = k
        self.store[1, :, :, start : self.filled] = v
        seen = self.store[:, :, :, : self.filled]
        return seen[0], seen[1]


def _attention(q: Tensor, k: Tensor, v: Tensor, causal: bool) -> Tensor:
    if q.device.type == "cpu" and q.dtype == torch.bfloat16:
        # With its gradient, the CPU's fused kernel takes several times as long as plain products.
        scores = q @ k.transpose(-1, -2) / math.sqrt(q.shape[-1])
        if causal:
            later = torch.ones(scores.shape[-2:], dtype=torch.bool, device=q.device).triu(1)
            scores = scores.masked_fill(later, -math.inf)
        return scores.softmax(dim=-1) @ v
    return F.scaled_dot_product_attention(q, k, v, is_causal=causal)


class Block(nn.Module):
    """Pre-norm self-attention and feed-forward, both residual.

    With a condition, each is scaled, moved and gated by a linear function of it (adaptive layer
    norm; Peebles and Xie, arXiv:2212.09748, section 3.2). The function starts at 0 with gates of
    1, as a block without condition.

    Parameters
    ----------
    dim : int
        Width.
    n_heads, head_dim : int
        Number of attention heads, and dimensions of each.
    ff_mult : int
        Width of the feed-forward layer relative to `dim`.
    dropout : float
    causal : bool, default=False
        Whether a position sees only itself and those before it.
    conditioned : bool, default=False
    """

    n_heads: int
    causal: bool
    norm_attention: RMSNorm
    qkv: nn.Linear
    out: nn.Linear
    norm_ff: RMSNorm
    ff: nn.Sequential
    dropout: Dropout

    def __init__(
        self,
        dim: int,
        n_heads: int,
        head_dim: int,
        ff_mult: int,
        dropout: float,
        causal: bool = False,
        conditioned: bool = False,
    ) -> None:
        super().__init__()
        self.n_heads, self.causal = n_heads, causal
        inner = n_heads * head_dim
        self.norm_attention = RMSNorm(dim)
        self.qkv = nn.Linear(dim, 3 * inner, bias=False)
        self.out = nn.Linear(inner, dim, bias=False)
        self.norm_ff = RMSNorm(dim)
        self.ff = nn.Sequential(
            nn.Linear(dim, ff_mult * dim), nn.GELU(), nn.Linear(ff_mult * dim, dim)
        )
        self.dropout = Dropout(dropout)
        self.modulation: nn.Linear | None = None
        if conditioned:
            self.modulation = nn.Linear(dim, 6 * dim)
            nn.init.zeros_(self.modulation.weight)
            nn.init.zeros_(self.modulation.bias)
            with torch.no_grad():
                self.modulation.bias[2 * dim : 3 * dim] = 1
                self.modulation.bias[5 * dim :] = 1

    def modulate(self, condition: Tensor) -> tuple[Tensor, ...]:
        """Return what a condition ``(n, dim)`` does to this block, for `forward`.

        Apart from it, since a condition is the same for all tokens that are drawn one by one.
        """
        if self.modulation is None:
            raise ValueError("This block was made with conditioned=False.")
        scale, move, gate, scale_ff, move_ff, gate_ff = self.modulation(condition)[:, None].chunk(
            6, dim=-1
        )
        return 1 + scale, move, gate, 1 + scale_ff, move_ff, gate_ff

    def forward(
        self,
        x: Tensor,
        modulation: tuple[Tensor, ...] | None = None,
        rows: Tensor | None = None,
        cache: KeyValueCache | None = None,
    ) -> Tensor:
        """Map ``(n, length, dim)`` to the same shape.

        Parameters
        ----------
        x : Tensor of shape (n, length, dim)
        modulation : tuple of Tensor, optional
            What `modulate` returns of the condition.
        rows : Tensor of int, optional
            Which of the ``n * length`` positions to return, ``(len(rows), dim)``; for blocks
            without condition.
        cache : KeyValueCache, optional
            With it, `x` holds the one position that follows those in the cache.
        """
        if modulation is None:
            x = self._attend(x, rows, cache)
            return x + self.dropout(self.ff(self.norm_ff(x)))
        scale, move, gate, scale_ff, move_ff, gate_ff = modulation
        attended = self._attention(self.norm_attention(x) * scale + move, cache)
        x = x + gate * self.dropout(self.out(attended))
        inner = self.norm_ff(x) * scale_ff + move_ff
        return x + gate_ff * self.dropout(self.ff(inner))

    def _attention(self, normed: Tensor, cache: KeyValueCache | None) -> Tensor:
        """Return what the heads see, ``(n, length, n_heads * head_dim)``."""
        n, length, _ = normed.shape
        q, k, v = (
            part.view(n, length, self.n_heads, -1).transpose(1, 2)
            for part in self.qkv(normed).chunk(3, dim=-1)
        )
        if cache is not None:
            k, v = cache.append(k, v)
        causal = self.causal and cache is None
        return _attention(q, k, v, causal).transpose(1, 2).flatten(2)

    def _attend(self, x: Tensor, rows: Tensor | None, cache: KeyValueCache | None) -> Tensor:
        # A method of its own: what it holds is freed before the feed-forward layers.
        attended = self._attention(self.norm_attention(x), cache)
        if rows is not None:
            x = x.flatten(0, 1).index_select(0, rows)
            attended = attended.flatten(0, 1).index_select(0, rows)
        return x + self.dropout(self.out(attended))
