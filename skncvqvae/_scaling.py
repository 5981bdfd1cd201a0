"""Channel-wise scaling: scikit-learn's scalers have columns where series have channels."""

from ._memory import gen_parts


def channel_columns(series):
    """Turn series ``(n, n_channels, length)`` into one column for each channel."""
    return series.swapaxes(1, 2).reshape(-1, series.shape[1])


def map_channels(method, series, out):
    """Apply a fitted scaler's `transform` or `inverse_transform` to series, a part at a time.

    Parameters
    ----------
    method : callable
    series : ndarray of shape (n, n_channels, length)
    out : ndarray of the same shape
        What it is written to, and what is returned; may be `series`.
    """
    _, n_channels, length = series.shape
    for part in gen_parts(series):
        columns = method(channel_columns(series[part]))
        out[part] = columns.reshape(-1, length, n_channels).swapaxes(1, 2)
    return out
