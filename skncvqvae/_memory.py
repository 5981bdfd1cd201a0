"""How much to hold at once where an operation on all series would copy them."""

import math
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
from numpy.typing import NDArray
from sklearn.utils import gen_batches

# Values held at once.
_MAX_VALUES = 2**19
# Values that are held at once where parts, which differ in rounding, should be the exception: more
# than most sets of series have.
_MAX_VALUES_OF_LARGE_PARTS = 2**22


def n_within_memory(n_values: int) -> int:
    """Return how many series of `n_values` values each to handle at once; at least one."""
    return max(1, _MAX_VALUES // n_values)


def gen_parts(series: Any) -> Iterator[slice]:
    """Yield slices of an array of series, each of no more than is handled at once."""
    return gen_batches(len(series), n_within_memory(math.prod(series.shape[1:])))


def n_of_large_part(series: Any, multiple_of: int = 1) -> int:
    """Return how many series a large part has, a multiple of the size of batches."""
    n = _MAX_VALUES_OF_LARGE_PARTS // math.prod(series.shape[1:])
    return max(n // multiple_of, 1) * multiple_of


def is_large(series: Any) -> bool:
    """Return whether series are to be handled in several large parts, and not copied whole."""
    return math.prod(series.shape) > _MAX_VALUES_OF_LARGE_PARTS


def all_finite(series: NDArray[np.floating]) -> bool:
    """Return whether all values are finite, having looked at a part at a time."""
    return all(np.isfinite(series[part]).all() for part in gen_parts(series))


class LazySeries:
    """Series that are made of others when they are asked for, so that no copy of all is held.

    It stands for an array where nothing but its shape, its dtype and some of its rows are asked
    for.

    Parameters
    ----------
    source : ndarray or LazySeries of shape (n, ...)
        May be mapped from a file that is larger than memory.
    function : callable
        From some rows of `source` to as many of this, of the same shape.
    dtype : dtype
        Of what `function` returns.
    chosen : ndarray of int, optional
        The rows of `source` that this consists of. None is all.
    """

    def __init__(
        self,
        source: Any,
        function: Callable[[NDArray[Any]], NDArray[Any]],
        dtype: Any,
        chosen: NDArray[np.integer] | None = None,
    ) -> None:
        self.source, self.function, self.chosen = source, function, chosen
        self.dtype = np.dtype(dtype)
        n = len(source) if chosen is None else len(chosen)
        self.shape: tuple[int, ...] = (n, *source.shape[1:])

    def __len__(self) -> int:
        return self.shape[0]

    def __getitem__(self, rows: Any) -> NDArray[Any]:
        if self.chosen is not None:
            rows = self.chosen[rows]
        return self.function(self.source[rows])

    def __array__(self, dtype: Any = None, copy: bool | None = None) -> NDArray[Any]:
        return self[:] if dtype is None else self[:].astype(dtype)

    def take(self, indices: NDArray[np.integer]) -> "LazySeries":
        """Return some of the series, which are not made yet."""
        chosen = indices if self.chosen is None else self.chosen[indices]
        return LazySeries(self.source, self.function, self.dtype, chosen)


def take(series: Any, indices: NDArray[np.integer]) -> Any:
    """Return some series of an array, or of what stands for one."""
    return series.take(indices) if isinstance(series, LazySeries) else series[indices]
