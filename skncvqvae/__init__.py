"""NC-VQVAE, discrete representations and synthetic time series, for scikit-learn."""

from ._augmented_classifier import AugmentedClassifier
from ._generator import NCVQVAEGenerator
from ._prior import AutoregressiveTokenPrior, MaskedTokenPrior
from ._transformer import NCVQVAETransformer

__version__ = "0.1.0"
__all__ = [
    "AugmentedClassifier",
    "AutoregressiveTokenPrior",
    "MaskedTokenPrior",
    "NCVQVAEGenerator",
    "NCVQVAETransformer",
]
