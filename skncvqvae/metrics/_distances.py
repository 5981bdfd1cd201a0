"""What the metrics of distances between features share."""

import numpy as np
from numpy.typing import NDArray

# Of the typical distance from the mean. Fast distances, by products, are right to about the root
# of the precision, 1e-8; features of networks in single precision are right to about 1e-7.
_ROUNDING = 1e-6

# Squared distance of the mean from the origin, in units of the typical one from the mean, up to
# which products lose no more than the above.
_NEAR = 100


def centre(
    real: NDArray[np.float64], *others: NDArray[np.float64]
) -> tuple[list[NDArray[np.float64]], float]:
    """Bring features near the origin, where distances are computed best.

    Returns
    -------
    features : list of ndarray
        As they are where they lie near enough, otherwise less the mean of the real ones.
    rounding : float
        A distance that counts as none: far below the typical one of real features from their
        mean.
    """
    features = [real, *others]
    mean = real.mean(axis=0)
    squares = np.einsum("ij,ij->i", real, real)
    typical = np.median(squares - 2 * (real @ mean)) + mean @ mean
    if mean @ mean > _NEAR * typical:
        features = [vectors - mean for vectors in features]
        typical = np.median(np.einsum("ij,ij->i", features[0], features[0]))
    return features, float(_ROUNDING * np.sqrt(typical))
