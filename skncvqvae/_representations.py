"""What can be made of a token grid for a classifier."""

import numpy as np


def token_histogram(tokens, n_codes):
    """Relative frequency of each code in each series, ``(n, n_tokens)`` to ``(n, n_codes)``."""
    n, n_tokens = tokens.shape
    offset = n_codes * np.arange(n)[:, None]
    counts = np.bincount((tokens + offset).ravel(), minlength=n * n_codes)
    return counts.reshape(n, n_codes) / n_tokens


def represent(tokens, codebook, representation):
    """Turn tokens into one of the representations of `NCVQVAETransformer`.

    Parameters
    ----------
    tokens : ndarray of int of shape (n, n_tokens)
    codebook : ndarray of shape (n_codes, code_dim)
    representation : {"tokens", "histogram", "embedding", "codes"}

    Returns
    -------
    ndarray of shape (n, n_features)
        The average-pooled quantised latent ("embedding") is computed as histogram times
        codebook, which is the same sum in another order.
    """
    if representation == "tokens":
        return tokens
    if representation == "codes":
        return codebook[tokens].reshape(len(tokens), -1)
    histogram = token_histogram(tokens, len(codebook))
    return histogram if representation == "histogram" else histogram @ codebook


def feature_names(representation, token_grid_shape, codebook_shape):
    """Names of the features that `represent` returns, in order."""
    rows, columns = token_grid_shape
    n_codes, dim = codebook_shape
    tokens = [f"token_{r}_{c}" for r in range(rows) for c in range(columns)]
    names = {
        "tokens": tokens,
        "histogram": [f"code_{k}" for k in range(n_codes)],
        "embedding": [f"embedding_{d}" for d in range(dim)],
        "codes": [f"{token}_{d}" for token in tokens for d in range(dim)],
    }[representation]
    return np.asarray(names, dtype=object)
