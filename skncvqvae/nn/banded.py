"""Stage 1 of series that are split into bands: an `NCVQVAE` for each of them."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, cast

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from .bands import Band, BandSplit, SplitConfig, make_split
from .distributed import keep, weigh_rows
from .vqvae import NCVQVAE, LossWeights, NCVQVAEConfig


@dataclass(frozen=True)
class BandedConfig:
    """Sizes of a `BandedNCVQVAE`.

    Parameters
    ----------
    split : SplitConfig
        How series are split.
    tokenizers : tuple of NCVQVAEConfig
        One for each band. They agree in `n_channels`, `n_timesteps` and `code_dim`.
    series_weight : float, default=1.0
        Factor of the reconstruction error of whole series.
    """

    split: SplitConfig
    tokenizers: tuple[NCVQVAEConfig, ...]
    series_weight: float = 1.0

    @property
    def n_channels(self) -> int:
        """Channels of a series."""
        return self.tokenizers[0].n_channels

    @property
    def n_timesteps(self) -> int:
        """Length of a series."""
        return self.tokenizers[0].n_timesteps

    @property
    def code_dim(self) -> int:
        """Dimension of a code."""
        return self.tokenizers[0].code_dim


class BandedNCVQVAE(nn.Module):
    """A split of series into bands, and a tokenizer for each.

    Each tokenizer sees its band in units of the band's own mean and standard deviation, so that
    what varies little is learnt as well as what varies much. Their losses are added up, and the
    reconstruction error of the whole series, in which bands mend each other's errors. The idea
    of two bands is that of Lee et al. (TimeVQVAE), arXiv:2303.04743.

    Tokens of all bands stand in one row, in the order of the bands, and share one vocabulary. The
    methods are those of `NCVQVAE`.

    Parameters
    ----------
    config : BandedConfig

    Attributes
    ----------
    config : BandedConfig
    split : BandSplit
    tokenizers : ModuleList of NCVQVAE
    mean, scale : Tensor of shape (n_bands, n_channels, 1)
        Set by `fit_scale`.
    bands : tuple of Band
        The token grids that stand one after the other in a row of tokens.
    term_names : list of str
        Loss terms that `forward` returns beside their weighted sum: ``"recon_time"`` of whole
        series, and those of each tokenizer after the band's name.
    """

    config: BandedConfig
    split: BandSplit
    tokenizers: nn.ModuleList
    bands: tuple[Band, ...]
    term_names: list[str]

    def __init__(self, config: BandedConfig) -> None:
        super().__init__()
        self.config = config
        self.mean: Tensor
        self.scale: Tensor
        self.split = make_split(config.split, config.n_timesteps)
        self.tokenizers = nn.ModuleList([NCVQVAE(own) for own in config.tokenizers])
        shape = (len(self.tokenizers), config.n_channels, 1)
        self.register_buffer("mean", torch.zeros(shape))
        self.register_buffer("scale", torch.ones(shape))
        self.bands = tuple(
            Band(_grid_name(name, i, len(part.bands)), grid.rows, grid.columns, grid.n_codes)
            for name, part in self._named()
            for i, grid in enumerate(part.bands)
        )
        self.term_names = ["recon_time"]
        self.term_names += [
            f"{name}_{term}" for name, part in self._named() for term in part.term_names
        ]

    def _parts(self) -> list[NCVQVAE]:
        return [cast(NCVQVAE, part) for part in self.tokenizers]

    def _named(self) -> list[tuple[str, NCVQVAE]]:
        return list(zip(self.config.split.names, self._parts(), strict=True))

    @property
    def grids_of_bands(self) -> dict[str, list[str]]:
        """The names in `bands` of each frequency band's token grids."""
        grids = iter(self.bands)
        return {name: [next(grids).name for _ in part.bands] for name, part in self._named()}

    @property
    def latent_sizes(self) -> list[int]:
        """How many columns of `latent` each frequency band has."""
        return [size for part in self._parts() for size in part.latent_sizes]

    @property
    def codebook(self) -> Tensor:
        """The codes of all bands, ``(n_codes, code_dim)``: tokens are its indices."""
        return torch.cat([part.codebook for part in self._parts()])

    @property
    def n_frames(self) -> int:
        """Columns of the spectrogram."""
        return max(part.n_frames for part in self._parts())

    @property
    def lacks_training_parts(self) -> bool:
        """Whether the head of a self-supervised loss is left out."""
        return any(part.lacks_training_parts for part in self._parts())

    def drop_training_parts(self) -> None:
        """Leave out what serves training only."""
        for part in self._parts():
            part.drop_training_parts()

    def configure(self, config: BandedConfig, loss_weights: Sequence[LossWeights]) -> None:
        """Take over factors of the loss, by band, and a configuration that equals the own one."""
        self.config = config
        for part, own, weights in zip(self._parts(), config.tokenizers, loss_weights, strict=True):
            part.configure(own, weights)

    @torch.no_grad()
    def fit_scale(self, x: Any, batch_size: int = 256) -> None:
        """Set mean and standard deviation of each band and channel over all series and times.

        Parameters
        ----------
        x : Tensor or ndarray of shape (n, n_channels, n_timesteps)
            Or what gives an array for a slice of it.
        batch_size : int, default=256
            How many are split at a time.
        """
        first = torch.zeros(self.mean.shape, dtype=torch.float64)
        second = torch.zeros_like(first)
        for start in range(0, len(x), batch_size):
            batch = torch.as_tensor(x[start : start + batch_size])
            parts = torch.stack(self.split(batch)).double()
            first += parts.sum((1, 3))[..., None]
            second += parts.square().sum((1, 3))[..., None]
        n = x.shape[0] * x.shape[2]
        mean = first / n
        scale = (second / n - mean.square()).clamp(min=0).sqrt()
        # Of what does not vary, as scikit-learn has it. Below rounding, nothing varies.
        scale[scale < 1e-6] = 1
        self.mean.copy_(mean)
        self.scale.copy_(scale)

    def split_scaled(self, x: Tensor) -> dict[str, Tensor]:
        """Return the bands of series by name, as their tokenizers see them."""
        parts = zip(self.config.split.names, self.split(x), self.mean, self.scale, strict=True)
        return {name: (part - mean) / scale for name, part, mean, scale in parts}

    def _join(self, parts: Sequence[Tensor]) -> Tensor:
        """Return the series that bands, as their tokenizers see them, sum to."""
        return (torch.stack(list(parts), dim=1) * self.scale + self.mean).sum(1)

    def forward(
        self,
        x: Tensor,
        views: Mapping[str, Tensor | None] | None = None,
        generator: torch.Generator | None = None,
    ) -> dict[str, Tensor]:
        """Compute the loss and its terms.

        Parameters
        ----------
        x : Tensor of shape (n, n_channels, n_timesteps)
        views : mapping of str to Tensor of the same shape, optional
            Augmented views of the bands that `split_scaled` returns.
        generator : torch.Generator, optional

        Returns
        -------
        dict of str to scalar Tensor
            Terms, unweighted, and their weighted sum as ``"loss"``.
        """
        x = keep(x)
        views = {name: keep(view) for name, view in (views or {}).items()}
        terms: dict[str, Tensor] = {}
        loss, decoded = torch.zeros((), device=x.device), []
        for (name, part), band in zip(self._named(), self.split_scaled(x).values(), strict=True):
            own, x_hat = part.step(band, views.get(name), generator)
            loss = loss + own.pop("loss")
            terms |= {f"{name}_{term}": value for term, value in own.items()}
            decoded.append(x_hat)
        terms["recon_time"] = weigh_rows(F.mse_loss(self._join(decoded), x))
        terms["loss"] = loss + self.config.series_weight * terms["recon_time"]
        return terms

    def latent(self, x: Tensor) -> Tensor:
        """Map series to the latents of all bands in one row, ``(n, code_dim, 1, columns)``.

        Each band's grid is unrolled row by row, as its tokens are.
        """
        bands = self.split_scaled(x).values()
        latents = [part.latent(band) for part, band in zip(self._parts(), bands, strict=True)]
        return torch.cat([latent.flatten(2) for latent in latents], dim=2)[:, :, None]

    def activations(self, x: Tensor) -> list[Tensor]:
        """Return those of each band's tokenizer, band by band."""
        bands = self.split_scaled(x).values()
        return [
            activation
            for part, band in zip(self._parts(), bands, strict=True)
            for activation in part.activations(band)
        ]

    def _tokens_by_band(self, tokens: Tensor) -> list[tuple[NCVQVAE, Tensor]]:
        """Return the tokenizers, and what of rows of tokens is each one's own."""
        parts = self._parts()
        sizes = [sum(grid.n_tokens for grid in part.bands) for part in parts]
        n_codes = [len(part.codebook) for part in parts]
        first = [sum(n_codes[:i]) for i in range(len(parts))]
        own = tokens.split(sizes, dim=1)
        return [(part, some - start) for part, some, start in zip(parts, own, first, strict=True)]

    def look_up(self, tokens: Tensor) -> list[Tensor]:
        """Map tokens to the codes of each band, ``(n, code_dim * rows, columns)``."""
        return [codes for part, own in self._tokens_by_band(tokens) for codes in part.look_up(own)]

    def tokenize(
        self, x: Tensor, temperature: float = 0.0, generator: torch.Generator | None = None
    ) -> Tensor:
        """Map series ``(n, n_channels, n_timesteps)`` to tokens ``(n, n_tokens)``.

        `temperature` and `generator` are as in `NCVQVAE.tokenize`.
        """
        bands, tokens, first = self.split_scaled(x).values(), [], 0
        for part, band in zip(self._parts(), bands, strict=True):
            tokens.append(part.tokenize(band, temperature, generator) + first)
            first += len(part.codebook)
        return torch.cat(tokens, dim=1)

    def split_bands(self, x: Tensor) -> Tensor:
        """Return the bands of series, ``(n, n_bands, n_channels, n_timesteps)``."""
        return torch.stack(self.split(x), dim=1)

    def decode_bands(self, tokens: Tensor) -> Tensor:
        """Map tokens to the bands of series, ``(n, n_bands, n_channels, n_timesteps)``."""
        decoded = [part.decode_tokens(own) for part, own in self._tokens_by_band(tokens)]
        return torch.stack(decoded, dim=1) * self.scale + self.mean

    def decode_tokens(self, tokens: Tensor) -> Tensor:
        """Map tokens ``(n, n_tokens)`` to series ``(n, n_channels, n_timesteps)``."""
        return self.decode_bands(tokens).sum(1)


def _grid_name(name: str, index: int, n_grids: int) -> str:
    """Return what a token grid of a band is called, by a number where there are several."""
    return name if n_grids == 1 else f"{name}_{index + 1}"
