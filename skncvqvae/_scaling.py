"""Channel-wise scaling: scikit-learn's scalers have columns where series have channels."""


def channel_columns(series):
    """Turn series ``(n, n_channels, length)`` into one column for each channel."""
    return series.swapaxes(1, 2).reshape(-1, series.shape[1])


def map_channels(method, series):
    """Apply a fitted scaler's `transform` or `inverse_transform` to series."""
    n, n_channels, length = series.shape
    return method(channel_columns(series)).reshape(n, length, n_channels).swapaxes(1, 2)
