"""NC-VQVAE, discrete representations and synthetic time series, for scikit-learn."""

from ._augmented_classifier import AugmentedClassifier
from ._base import CopyingWarning, ModelVersionWarning
from ._export import export_tokenizer
from ._files import ModelFileError
from ._generator import NCVQVAEGenerator
from ._io import load, save
from ._prior import AutoregressiveTokenPrior, MaskedTokenPrior
from ._semi_supervised import SemiSupervisedClassifier
from ._transformer import NCVQVAETransformer

__version__ = "0.1.0"
__all__ = [
    "AugmentedClassifier",
    "AutoregressiveTokenPrior",
    "CopyingWarning",
    "MaskedTokenPrior",
    "ModelFileError",
    "ModelVersionWarning",
    "NCVQVAEGenerator",
    "NCVQVAETransformer",
    "SemiSupervisedClassifier",
    "export_tokenizer",
    "load",
    "save",
]
