"""Vector quantisation with codebooks learnt by exponential moving averages."""

from typing import cast

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from .distributed import all_sum, gather, n_whole, take, weigh_rows
from .gumbel import gumbel_noise
from .precision import full_precision


class VectorQuantizer(nn.Module):
    """Nearest-code quantiser, EMA codebook, straight-through gradient.

    Source: van den Oord et al., arXiv:1711.00937, appendix A.1. No gradient reaches the
    codebook; code ``k`` follows the running mean of the latents assigned to it. Where a batch is
    shared out to several processes, those of all are counted.

    Parameters
    ----------
    n_codes : int
        Size of the codebook.
    dim : int
        Dimension of a code.
    decay : float, default=0.9
        Decay of the moving averages.
    init : {"random", "kmeans"}, default="random"
        Standard normal codes, or Lloyd's algorithm on the first training batch.
    dead_code_threshold : float, default=0.0
        A code whose moving average of assigned latents per batch falls below this is moved to
        a random latent of the batch. 0 switches revival off.
    eps : float, default=1e-5
        Laplace smoothing of the counts.
    """

    n_codes: int
    decay: float
    eps: float
    init: str
    dead_code_threshold: float

    def __init__(
        self,
        n_codes: int,
        dim: int,
        decay: float = 0.9,
        init: str = "random",
        dead_code_threshold: float = 0.0,
        eps: float = 1e-5,
    ) -> None:
        super().__init__()
        self.codebook: Tensor
        self.ema_sum: Tensor
        self.ema_count: Tensor
        self.initialized: Tensor
        self.n_codes, self.decay, self.eps = n_codes, decay, eps
        self.init, self.dead_code_threshold = init, dead_code_threshold
        codebook = torch.randn(n_codes, dim)
        self.register_buffer("codebook", codebook)
        self.register_buffer("ema_sum", codebook.clone())
        self.register_buffer("ema_count", torch.zeros(n_codes))
        self.register_buffer("initialized", torch.tensor(init == "random"))

    def nearest(
        self, z: Tensor, temperature: float = 0.0, generator: torch.Generator | None = None
    ) -> Tensor:
        """Return the index of the nearest code of each row of ``z``, ``(m, dim)`` to ``(m,)``.

        With a `temperature`, any code is drawn with a probability that falls with its squared
        distance ``d``, as ``exp(-d / (temperature * d_min))``, where ``d_min`` is the mean over
        rows of the distance to the nearest code. Source: Lee et al. (RQ-VAE), arXiv:2203.01941,
        on stochastic sampling of codes.
        """
        # |z|^2 is the same for every code, so it cannot change the minimum.
        distance = self.codebook.square().sum(1) - 2 * z @ self.codebook.T
        if temperature:
            unit = (distance.amin(1) + z.square().sum(1)).mean().clamp(min=0)
            noise = gumbel_noise(distance.shape, generator, z.device)
            distance = distance - temperature * unit * noise
        return distance.argmin(1)

    def tokenize(
        self, z: Tensor, temperature: float = 0.0, generator: torch.Generator | None = None
    ) -> Tensor:
        """Map a latent grid ``(n, dim, rows, columns)`` to tokens ``(n, rows * columns)``.

        `temperature` and `generator` are as in `nearest`.
        """
        nearest = self.nearest(z.permute(0, 2, 3, 1).flatten(0, 2), temperature, generator)
        # Its shape and not `len`, which would fix the number of series in an exported program.
        return nearest.view(z.shape[0], -1)

    def look_up(self, tokens: Tensor, rows: int, columns: int) -> Tensor:
        """Map tokens ``(n, rows * columns)`` to codes ``(n, dim, rows, columns)``."""
        codes = self.codebook[tokens].view(len(tokens), rows, columns, -1)
        return codes.permute(0, 3, 1, 2)

    @full_precision
    def forward(
        self, z: Tensor, generator: torch.Generator | None = None
    ) -> tuple[Tensor, Tensor, Tensor]:
        """Quantise a latent grid.

        Parameters
        ----------
        z : Tensor of shape (n, dim, rows, columns)
        generator : torch.Generator, optional
            Source of randomness for initialisation and revival.

        Returns
        -------
        z_q : Tensor of shape (n, dim, rows, columns)
            Quantised latent with the straight-through gradient of `z`.
        tokens : Tensor of shape (n, rows, columns)
        commitment : Tensor, scalar
            Mean squared distance of `z` to its (constant) code.
        """
        n, dim, rows, columns = z.shape
        flat = z.permute(0, 2, 3, 1).reshape(-1, dim)
        with torch.no_grad():
            detached = flat.detach()
            if self.training and not self.initialized:
                whole = gather(detached.view(n, -1, dim))
                self._init_kmeans(whole.flatten(0, 1), generator)
            tokens = self.nearest(detached)
            quantised = self.codebook[tokens]
            if self.training:
                self._update(detached.view(n, -1, dim), tokens, generator)
        commitment = weigh_rows(F.mse_loss(flat, quantised))
        quantised = flat + (quantised - flat).detach()
        z_q = quantised.view(n, rows, columns, dim).permute(0, 3, 1, 2)
        return z_q, tokens.view(n, rows, columns), commitment

    def _cluster_statistics(self, z: Tensor, tokens: Tensor) -> tuple[Tensor, Tensor]:
        onehot = F.one_hot(tokens, self.n_codes).to(z.dtype)
        return onehot.sum(0), onehot.T @ z

    def _update(self, z: Tensor, tokens: Tensor, generator: torch.Generator | None) -> None:
        count, total = map(all_sum, self._cluster_statistics(z.flatten(0, 1), tokens))
        self.ema_count.lerp_(count, 1 - self.decay)
        self.ema_sum.lerp_(total, 1 - self.decay)
        mass = self.ema_count.sum()
        smoothed = (self.ema_count + self.eps) / (mass + self.n_codes * self.eps) * mass
        self.codebook.copy_(self.ema_sum / smoothed[:, None])
        if self.dead_code_threshold > 0:
            self._revive(z, generator)

    def _revive(self, z: Tensor, generator: torch.Generator | None) -> None:
        # Written without a branch on the data, so that a GPU need not wait for the host.
        dead = (self.ema_count < self.dead_code_threshold)[:, None]
        n = n_whole(len(z)) * z.shape[1]
        fresh = take(z, torch.randint(n, (self.n_codes,), generator=generator, device=z.device))
        self.codebook.copy_(torch.where(dead, fresh, self.codebook))
        # A revived code starts with just enough mass to survive until it is next used.
        grace = torch.full_like(self.ema_count, self.dead_code_threshold / self.decay)
        self.ema_count.copy_(torch.where(dead[:, 0], grace, self.ema_count))
        self.ema_sum.copy_(torch.where(dead, fresh * grace[:, None], self.ema_sum))

    def _init_kmeans(self, z: Tensor, generator: torch.Generator | None, n_iter: int = 10) -> None:
        pick = torch.rand(len(z), generator=generator, device=z.device).argsort()
        # Fewer latents than codes: repeat them, and let a little noise tell the copies apart.
        pick = pick[torch.arange(self.n_codes, device=z.device) % len(z)]
        noise = torch.randn(
            self.codebook.shape, generator=generator, device=z.device, dtype=z.dtype
        )
        self.codebook.copy_(z[pick] + 1e-3 * z.std().nan_to_num() * noise)
        for _ in range(n_iter):
            count, total = self._cluster_statistics(z, self.nearest(z))
            used = (count > 0)[:, None]
            mean = total / count.clamp(min=1)[:, None]
            self.codebook.copy_(torch.where(used, mean, self.codebook))
        # A positive floor keeps unused codes finite and open to revival.
        self.ema_count.copy_(count.clamp(min=1.0))
        self.ema_sum.copy_(self.codebook * self.ema_count[:, None])
        self.initialized.fill_(True)


class ResidualQuantizer(nn.Module):
    """Several quantisers in turn, each of what those before it leave over.

    The quantised latent is the sum of the levels' codes, so that ``n_levels`` codebooks of ``k``
    codes tell ``k ** n_levels`` latents apart. All levels share one vocabulary, in which the codes
    of a level follow those of the level before it, and tokens stand level by level. Source:
    Zeghidour et al. (SoundStream), arXiv:2107.03312, section III-C; Lee et al. (RQ-VAE),
    arXiv:2203.01941, section 3.1.

    Parameters
    ----------
    n_levels : int
    n_codes : int
        Size of each level's codebook.
    dim, decay, init, dead_code_threshold
        As those of `VectorQuantizer`.
    """

    levels: nn.ModuleList

    def __init__(
        self,
        n_levels: int,
        n_codes: int,
        dim: int,
        decay: float = 0.9,
        init: str = "random",
        dead_code_threshold: float = 0.0,
    ) -> None:
        super().__init__()
        self.n_codes = n_codes
        self.levels = nn.ModuleList(
            [
                VectorQuantizer(n_codes, dim, decay, init, dead_code_threshold)
                for _ in range(n_levels)
            ]
        )

    def _parts(self) -> list[VectorQuantizer]:
        return [cast(VectorQuantizer, level) for level in self.levels]

    @property
    def codebook(self) -> Tensor:
        """The codes of all levels, one after the other, ``(n_levels * n_codes, dim)``."""
        return torch.cat([level.codebook for level in self._parts()])

    def tokenize(
        self, z: Tensor, temperature: float = 0.0, generator: torch.Generator | None = None
    ) -> Tensor:
        """Map a latent grid to the tokens of all levels, ``(n, n_levels * rows * columns)``.

        `temperature` and `generator` are as in `VectorQuantizer.nearest`.
        """
        residual = z.permute(0, 2, 3, 1).flatten(0, 2)
        tokens = []
        for i, level in enumerate(self._parts()):
            nearest = level.nearest(residual, temperature, generator)
            residual = residual - level.codebook[nearest]
            tokens.append(nearest.view(z.shape[0], -1) + i * self.n_codes)
        return torch.cat(tokens, dim=1)

    def look_up(self, tokens: Tensor, rows: int, columns: int) -> Tensor:
        """Map tokens of all levels to the sums of their codes, ``(n, dim, rows, columns)``."""
        codes = self.codebook[tokens].view(len(tokens), len(self.levels), rows, columns, -1)
        return codes.sum(1).permute(0, 3, 1, 2)

    @full_precision
    def forward(
        self, z: Tensor, generator: torch.Generator | None = None
    ) -> tuple[Tensor, Tensor, Tensor]:
        """Quantise a latent grid.

        Parameters
        ----------
        z : Tensor of shape (n, dim, rows, columns)
        generator : torch.Generator, optional
            As that of `VectorQuantizer`.

        Returns
        -------
        z_q : Tensor of shape (n, dim, rows, columns)
            Sum of all levels' codes, with the straight-through gradient of `z`.
        tokens : Tensor of shape (n, n_levels, rows, columns)
        commitment : Tensor, scalar
            Mean over levels of the squared distance of `z` to the sum of the codes so far.
        """
        tokens = []
        commitment = z.new_zeros(())
        z_q = torch.zeros_like(z)
        for i, level in enumerate(self._parts()):
            # Codes so far are constants: each distance has a gradient for `z` alone.
            step, nearest, distance = level(z - z_q, generator)
            z_q = z_q + step.detach()
            tokens.append(nearest + i * self.n_codes)
            commitment = commitment + distance / len(self.levels)
        return z + (z_q - z).detach(), torch.stack(tokens, dim=1), commitment
