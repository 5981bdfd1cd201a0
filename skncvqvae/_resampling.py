"""imbalanced-learn's contract, imported only where it is asked for."""

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from imblearn.utils._validation import ArraysTransformer


def import_imblearn() -> tuple[Callable[..., Any], type["ArraysTransformer"]]:
    """Return ``check_sampling_strategy`` and ``ArraysTransformer`` of imbalanced-learn."""
    try:
        from imblearn.utils import check_sampling_strategy
        from imblearn.utils._validation import ArraysTransformer
    except ImportError as error:
        raise ImportError(
            "sampling_strategy and fit_resample need imbalanced-learn: "
            "pip install 'skncvqvae[imbalanced]'"
        ) from error
    return check_sampling_strategy, ArraysTransformer
