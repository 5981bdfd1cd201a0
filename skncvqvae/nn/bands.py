"""Parts of series that have tokens of their own."""

from dataclasses import dataclass


@dataclass(frozen=True)
class Band:
    """The token grid of one part of the series, and the codes it is made of.

    Parameters
    ----------
    name : str
    rows, columns : int
        Rows (frequency) and columns (time) of the grid.
    n_codes : int
        Size of the band's codebook.
    """

    name: str
    rows: int
    columns: int
    n_codes: int

    @property
    def n_tokens(self) -> int:
        """Tokens of the grid."""
        return self.rows * self.columns
