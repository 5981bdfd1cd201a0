"""How much to hold at once where an operation on all series would copy them."""

import math
from collections.abc import Iterator

from numpy.typing import NDArray
from sklearn.utils import gen_batches

# Values held at once.
_MAX_VALUES = 2**19


def n_within_memory(n_values: int) -> int:
    """Return how many series of `n_values` values each to handle at once; at least one."""
    return max(1, _MAX_VALUES // n_values)


def gen_parts(series: NDArray) -> Iterator[slice]:
    """Yield slices of an array of series, each of no more than is handled at once."""
    return gen_batches(len(series), n_within_memory(math.prod(series.shape[1:])))
