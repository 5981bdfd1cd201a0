"""Rows of tokens: how they are laid out, and what can be made of them."""

import math
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray
from sklearn.utils import check_array

from ._containers import open_container
from .nn.bands import Band
from .nn.token_transformer import MASKED

__all__ = ["MASKED", "Band", "EncodedSeries", "TokenLayout"]


@dataclass(frozen=True)
class TokenLayout:
    """Where in a row of tokens each band's grid lies, and which codes are its own.

    The grids stand one after the other, each row by row. All bands share one vocabulary, in which
    the codes of a band follow those of the band before it.

    Parameters
    ----------
    bands : tuple of Band
    """

    bands: tuple[Band, ...]

    @property
    def n_tokens(self) -> int:
        """Tokens of a series."""
        return sum(band.n_tokens for band in self.bands)

    @property
    def n_codes(self) -> int:
        """Size of the vocabulary."""
        return sum(band.n_codes for band in self.bands)

    @cached_property
    def positions(self) -> dict[str, slice]:
        """Where each band stands in a row of tokens."""
        return self._one_after_the_other([band.n_tokens for band in self.bands])

    @cached_property
    def codes(self) -> dict[str, slice]:
        """Which part of the vocabulary each band has."""
        return self._one_after_the_other([band.n_codes for band in self.bands])

    def _one_after_the_other(self, sizes: list[int]) -> dict[str, slice]:
        """Return the place of each band where parts of these sizes follow each other."""
        ends = np.cumsum(sizes).tolist()
        return {
            band.name: slice(end - size, end)
            for band, size, end in zip(self.bands, sizes, ends, strict=True)
        }

    @property
    def allowed(self) -> NDArray[np.bool_] | None:
        """Which codes a position can hold, ``(n_tokens, n_codes)``; None where all can."""
        if len(self.bands) == 1:
            return None
        allowed = np.zeros((self.n_tokens, self.n_codes), dtype=bool)
        for name, position in self.positions.items():
            allowed[position, self.codes[name]] = True
        return allowed

    def grids(self, tokens: NDArray[np.integer]) -> dict[str, NDArray[np.integer]]:
        """Return the token grid of each band, ``(n, rows, columns)``, of rows of tokens."""
        return {
            band.name: tokens[:, self.positions[band.name]].reshape(-1, band.rows, band.columns)
            for band in self.bands
        }

    def max_shift(self, n_timesteps: int, n_widths: float) -> int:
        """Return the most time steps that are less than `n_widths` widths of a token.

        Of several bands, of the narrowest token: what is moved further has other tokens in that
        band altogether, and a prior would have to learn them as well.
        """
        n_columns = max(band.columns for band in self.bands)
        return max(min(math.ceil(n_widths * n_timesteps / n_columns), n_timesteps) - 1, 0)

    def names(self) -> list[str]:
        """Return the name of each token: ``token_{row}_{column}``, after the band's if several."""
        prefix = {band: "" if len(self.bands) == 1 else f"{band.name}_" for band in self.bands}
        return [
            f"{prefix[band]}token_{row}_{column}"
            for band in self.bands
            for row in range(band.rows)
            for column in range(band.columns)
        ]

    def check(self, tokens: ArrayLike, *, masked: bool = False) -> NDArray[np.int64]:
        """Return rows of tokens as integers, having checked that they are tokens.

        Parameters
        ----------
        tokens : array-like of shape (n, n_tokens)
        masked : bool, default=False
            Whether a token may be `MASKED`.

        Raises
        ------
        ValueError
            On another number of tokens, on what is no code, or on a code of another band.
        """
        array = check_array(open_rows(tokens), dtype="numeric", input_name="tokens")
        if array.shape[1] != self.n_tokens:
            raise ValueError(
                f"tokens have {array.shape[1]} columns, but a series has n_tokens_="
                f"{self.n_tokens} tokens. Pass what tokenize or transform with "
                "representation='tokens' returned."
            )
        lowest = MASKED if masked else 0
        wrong = (array < lowest) | (array >= self.n_codes)
        if array.dtype.kind == "f":
            wrong |= array != np.floor(array)
        if wrong.any():
            raise ValueError(
                f"tokens hold {array[wrong][0]}, which is no code: the codebook has the codes "
                f"0 to {self.n_codes - 1}."
            )
        array = array.astype(np.int64)
        self._check_bands(array)
        return array

    def _check_bands(self, tokens: NDArray[np.int64]) -> None:
        """Refuse codes that stand where another band's belong."""
        allowed = self.allowed
        if allowed is None:
            return
        at_home = allowed[np.arange(self.n_tokens), tokens] | (tokens == MASKED)
        if not at_home.all():
            row, position = np.argwhere(~at_home)[0]
            codes = np.flatnonzero(allowed[position])
            raise ValueError(
                f"tokens hold {tokens[row, position]} in column {position}, "
                f"{self.names()[position]}, which can have the codes {codes[0]} to {codes[-1]} "
                "only. Pass what tokenize returned, or rows with the same layout."
            )


def open_rows(tokens: Any) -> Any:
    """Return rows of tokens as what `check_array` reads right.

    Raises
    ------
    ValueError
        On rows of several lengths, and as `open_container`.
    """
    opened = open_container(tokens, "tokens")
    if isinstance(opened, list) and len({np.shape(row) for row in opened}) > 1:
        raise ValueError("The rows of tokens differ in length. Pass rows of one length.")
    return opened


@dataclass(frozen=True)
class EncodedSeries:
    """Series as arrays, and their tokens.

    Parameters
    ----------
    series : ndarray of shape (n, n_channels, n_timesteps)
        In the units of the user's data.
    tokens : ndarray of int of shape (n, n_tokens)
    """

    series: NDArray[np.floating]
    tokens: NDArray[np.int64]

    def __len__(self) -> int:
        return len(self.tokens)

    def take(self, indices: NDArray[np.integer]) -> "EncodedSeries":
        """Return some of the series."""
        return EncodedSeries(self.series[indices], self.tokens[indices])
