"""How much to hold at once where an operation on all series would copy them."""

from sklearn.utils import gen_batches

# Values held at once. It bounds memory, and the time that an estimate of the noise takes.
_MAX_VALUES = 2**19


def n_within_memory(n_values):
    """Return how many series of `n_values` values each to handle at once."""
    return max(8, _MAX_VALUES // n_values)


def gen_parts(series):
    """Yield slices of an array of series, each of no more than is handled at once."""
    return gen_batches(len(series), n_within_memory(series[0].size))
