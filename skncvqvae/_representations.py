"""What `NCVQVAETransformer.transform` can make of series: one registry of representations."""

import math
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from itertools import chain
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from scipy.sparse import csr_array, hstack, issparse, vstack

from ._tokens import TokenLayout
from .nn.banded import BandedNCVQVAE
from .nn.ppv import BIASES_OF_A_DRAW, PPVConfig, StandardisedPPV
from .nn.vqvae import NCVQVAE

# Distances in columns of the tokens that a pair is made of.
_PAIR_DISTANCES = (1, 2, 4, 8)
# Channels of series for which kernels draw subsets of channels once more, and the most draws. A
# class may lie in one channel of many, which few kernels of one draw see by itself.
_CHANNELS_OF_A_DRAW, _MOST_DRAWS = 3, 6
# Series that biases and scales of features are taken from: more hardly change them.
_N_FIT_SERIES = 256

# Runs a function of the module over arrays, batch by batch.
BatchMap = Callable[[Callable[[torch.Tensor], torch.Tensor], NDArray[Any]], NDArray[Any]]


@dataclass(frozen=True)
class Encoder:
    """A fitted tokenizer, as representations see it.

    Parameters
    ----------
    module : NCVQVAE or BandedNCVQVAE
    layout : TokenLayout
    codebook : ndarray of shape (n_codes, code_dim)
    series_ppv, code_ppv : StandardisedPPV
        Fitted features of the encoder's activations, and of the codes.
    map_batches : callable
    """

    module: NCVQVAE | BandedNCVQVAE
    layout: TokenLayout
    codebook: NDArray[np.float32]
    series_ppv: StandardisedPPV
    code_ppv: StandardisedPPV
    map_batches: BatchMap


class Source:
    """Series on their way to a representation; what several need is computed once.

    Parameters
    ----------
    encoder : Encoder
    standardised : ndarray of shape (n, n_channels, n_timesteps)
    dtype : numpy.dtype
        What representations other than tokens shall have.
    tokens : ndarray of int of shape (n, n_tokens), optional
        Where they are known already.
    """

    def __init__(
        self,
        encoder: Encoder,
        standardised: NDArray[np.float32],
        dtype: np.dtype,
        tokens: NDArray[np.int64] | None = None,
    ) -> None:
        self.encoder = encoder
        self.standardised = standardised
        self.dtype = dtype
        # Converted first: a representation can be far larger, and would be held twice.
        self.codebook = encoder.codebook.astype(dtype, copy=False)
        self.torch_dtype = torch.float64 if dtype == np.float64 else torch.float32
        self.known_tokens = tokens

    @cached_property
    def tokens(self) -> NDArray[np.int64]:
        """Tokens ``(n, n_tokens)``."""
        if self.known_tokens is not None:
            return self.known_tokens
        return self.encoder.map_batches(self.encoder.module.tokenize, self.standardised)

    @cached_property
    def latent(self) -> NDArray[np.float32]:
        """The latent before quantisation, ``(n, code_dim, rows, columns)``."""
        return self.encoder.map_batches(self.encoder.module.latent, self.standardised)

    @cached_property
    def histogram(self) -> NDArray[np.float64]:
        """Relative frequency of each code, ``(n, n_codes)``."""
        return token_histogram(self.tokens, self.encoder.layout.n_codes)


def _ppv(source: Source) -> NDArray[np.float32]:
    encoder = source.encoder

    def features(x: torch.Tensor) -> torch.Tensor:
        ppv = encoder.series_ppv.to(x.device)
        return ppv(encoder.module.activations(x)).to(source.torch_dtype)

    return encoder.map_batches(features, source.standardised)


def _code_ppv(source: Source) -> NDArray[np.float32]:
    encoder = source.encoder

    def features(tokens: torch.Tensor) -> torch.Tensor:
        ppv = encoder.code_ppv.to(tokens.device)
        return ppv(encoder.module.look_up(tokens)).to(source.torch_dtype)

    return encoder.map_batches(features, source.tokens)


def _codes(source: Source) -> NDArray[np.floating]:
    return source.codebook[source.tokens].reshape(len(source.tokens), -1)


def _embedding(source: Source) -> NDArray[np.floating]:
    # The same sums as the averages over the grids, in another order.
    layout, means = source.encoder.layout, {}
    for band in layout.bands:
        own = layout.codes[band.name]
        share = band.n_tokens / layout.n_tokens
        means[band.name] = source.histogram[:, own] / share @ source.codebook[own]
    grids = source.encoder.module.grids_of_bands.values()
    return np.concatenate([sum(means[name] for name in names) for names in grids], axis=1)


def _latent(source: Source) -> NDArray[np.float32]:
    return source.latent.transpose(0, 2, 3, 1).reshape(len(source.latent), -1)


def _pooled(source: Source) -> NDArray[np.float32]:
    latent, axes, features = source.latent, (2, 3), []
    sizes = source.encoder.module.latent_sizes
    bands = [latent] if len(sizes) == 1 else np.split(latent, np.cumsum(sizes)[:-1], axis=3)
    for z in bands:
        features += [z.mean(axes), z.max(axes), z.min(axes), z.std(axes)]
    return np.concatenate(features, axis=1)


def _pairs(source: Source) -> csr_array:
    """Square roots of how often a pair of codes stands so far apart."""
    layout, blocks = source.encoder.layout, []
    for band in layout.bands:
        grid = layout.grids(source.tokens)[band.name] - layout.codes[band.name].start
        for distance in _band_distances(band.columns):
            pair = grid[..., :-distance] * band.n_codes + grid[..., distance:]
            pair = pair.reshape(len(grid), -1)
            row = np.repeat(np.arange(len(pair)), pair.shape[1])
            ones = np.ones(pair.size)
            shape = (len(pair), band.n_codes**2)
            counts = csr_array((ones, (row, pair.ravel())), shape=shape)
            counts.sum_duplicates()
            counts.data = np.sqrt(counts.data)
            blocks.append(counts)
    return (
        csr_array(hstack(blocks, format="csr")) if blocks else csr_array((len(source.tokens), 0))
    )


def _band_distances(n_columns: int) -> list[int]:
    return [distance for distance in _PAIR_DISTANCES if distance < n_columns]


def _code_names(encoder: Encoder) -> list[str]:
    dims = range(encoder.codebook.shape[1])
    return [f"{token}_{d}" for token in encoder.layout.names() for d in dims]


def _latent_names(encoder: Encoder) -> list[str]:
    # Levels quantise one latent, which stands where the first of them does.
    grids = {band.name: band for band in encoder.layout.bands}
    latents = [
        replace(grids[names[0]], name=band)
        for band, names in encoder.module.grids_of_bands.items()
    ]
    dims = range(encoder.codebook.shape[1])
    return [f"latent_{name}_{d}" for name in TokenLayout(tuple(latents)).names() for d in dims]


def _pair_names(encoder: Encoder) -> list[str]:
    names = []
    for band in encoder.layout.bands:
        first = encoder.layout.codes[band.name].start
        codes = range(first, first + band.n_codes)
        for distance in _band_distances(band.columns):
            names += [f"pair_{a}_{b}_at_{distance}" for a in codes for b in codes]
    return names


def _numbered(prefix: str, n: int) -> list[str]:
    return [f"{prefix}_{i}" for i in range(n)]


def _by_band(encoder: Encoder, names: list[str]) -> list[str]:
    """Return names once for each frequency band, after the band's name if there are several."""
    bands = list(encoder.module.grids_of_bands)
    return names if len(bands) == 1 else [f"{band}_{name}" for band in bands for name in names]


def _pooled_names(encoder: Encoder) -> list[str]:
    dims = range(encoder.codebook.shape[1])
    statistics = ("mean", "max", "min", "std")
    return _by_band(encoder, [f"latent_{statistic}_{d}" for statistic in statistics for d in dims])


@dataclass(frozen=True)
class Representation:
    """How a representation is computed, and what its features are called.

    Parameters
    ----------
    compute : callable
        From a `Source` to ``(n, n_features)``.
    names : callable
        From an `Encoder` to a name for each feature.
    """

    compute: Callable[[Source], Any]
    names: Callable[[Encoder], list[str]]


REPRESENTATIONS: dict[str, Representation] = {
    "ppv": Representation(_ppv, lambda encoder: _numbered("ppv", encoder.series_ppv.n_features)),
    "code_ppv": Representation(
        _code_ppv, lambda encoder: _numbered("code_ppv", encoder.code_ppv.n_features)
    ),
    "codes": Representation(_codes, _code_names),
    "embedding": Representation(
        _embedding,
        lambda encoder: _by_band(encoder, _numbered("embedding", encoder.codebook.shape[1])),
    ),
    "histogram": Representation(
        lambda source: source.histogram,
        lambda encoder: _numbered("code", encoder.layout.n_codes),
    ),
    "pairs": Representation(_pairs, _pair_names),
    "latent": Representation(_latent, _latent_names),
    "pooled": Representation(_pooled, _pooled_names),
    "tokens": Representation(lambda source: source.tokens, lambda encoder: encoder.layout.names()),
}


def represent(source: Source, names: Sequence[str]) -> Any:
    """Return the representations of these names side by side.

    Returns
    -------
    ndarray or scipy.sparse.csr_array of shape (n, n_features)
        Of the source's dtype, but tokens alone, which are integers; sparse where one of them is.
    """
    parts = [REPRESENTATIONS[name].compute(source) for name in names]
    if list(names) == ["tokens"]:
        return parts[0]
    parts = [part.astype(source.dtype, copy=False) for part in parts]
    if len(parts) == 1:
        return parts[0]
    if any(issparse(part) for part in parts):
        return csr_array(hstack([csr_array(part) for part in parts], format="csr"))
    return np.concatenate(parts, axis=1)


def join_parts(parts: Iterator[Any], n: int) -> Any:
    """Return what `represent` made of one part of `n` series after the other, as one array."""
    first = next(parts)
    if issparse(first):
        return csr_array(vstack([first, *parts], format="csr"))
    # Filled part by part: to concatenate at the end would hold all features twice.
    joined = np.empty((n, first.shape[1]), first.dtype)
    start = 0
    for part in chain([first], parts):
        joined[start : start + len(part)] = part
        start += len(part)
    return joined


def feature_names(encoder: Encoder, names: Sequence[str]) -> NDArray[np.object_]:
    """Return the names of the features that `represent` returns, in order."""
    return np.asarray(
        [feature for name in names for feature in REPRESENTATIONS[name].names(encoder)],
        dtype=object,
    )


def fit_ppv(
    module: NCVQVAE | BandedNCVQVAE,
    standardised: NDArray[np.float32],
    tokens: NDArray[np.int64],
    map_batches: BatchMap,
    seed: int,
) -> tuple[StandardisedPPV, StandardisedPPV]:
    """Return fitted features of a tokenizer's activations, and of its codes.

    Parameters
    ----------
    module : NCVQVAE or BandedNCVQVAE
    standardised : ndarray of shape (n, n_channels, n_timesteps)
        The training series, of which some are used.
    tokens : ndarray of int of shape (n, n_tokens)
        Theirs.
    map_batches : callable
    seed : int
        Of the choice of series and of channels.
    """
    rng = np.random.RandomState(seed)
    n = min(len(standardised), _N_FIT_SERIES)
    chosen = np.sort(rng.choice(len(standardised), n, replace=False))

    def n_biases(shape: torch.Size) -> int:
        # Activations of the encoder hold all channels in each of theirs.
        if shape != standardised.shape[1:]:
            return BIASES_OF_A_DRAW
        n_draws = min(math.ceil(shape[0] / _CHANNELS_OF_A_DRAW), _MOST_DRAWS)
        return BIASES_OF_A_DRAW * n_draws

    def fitted(
        function: Callable[[torch.Tensor], list[torch.Tensor]], array: NDArray[Any]
    ) -> StandardisedPPV:
        shapes: list[torch.Size] = []

        def flat(x: torch.Tensor) -> torch.Tensor:
            activations = function(x)
            shapes[:] = [activation.shape[1:] for activation in activations]
            return torch.cat([activation.flatten(1) for activation in activations], dim=1)

        # One pass of the network gives the activations of all layers.
        columns = torch.from_numpy(map_batches(flat, array))
        parts = columns.split([shape.numel() for shape in shapes], dim=1)
        activations = [x.reshape(-1, *shape) for x, shape in zip(parts, shapes, strict=True)]
        biases = [n_biases(shape) for shape in shapes]
        ppv = StandardisedPPV(
            [
                PPVConfig(*shape, n_biases=n, seed=seed)
                for shape, n in zip(shapes, biases, strict=True)
            ]
        ).float()
        ppv.fit(activations)
        return ppv.eval()

    return (
        fitted(module.activations, standardised[chosen]),
        fitted(module.look_up, tokens[chosen]),
    )


def token_histogram(tokens: NDArray[np.integer], n_codes: int) -> NDArray[np.float64]:
    """Relative frequency of each code in each series, ``(n, n_tokens)`` to ``(n, n_codes)``."""
    n, n_tokens = tokens.shape
    offset = n_codes * np.arange(n)[:, None]
    counts = np.bincount((tokens + offset).ravel(), minlength=n * n_codes)
    return counts.reshape(n, n_codes) / n_tokens
