"""The tokenizer as a program that runs without Python."""

import copy
import os
import warnings
from typing import Any

import numpy as np
import torch
from sklearn.utils.validation import check_is_fitted
from torch import Tensor, nn

from ._files import read_path, whole_file
from ._transformer import NCVQVAETransformer

# What it was tried with: with torch 2.6 the number of series came out fixed.
_MIN_TORCH = (2, 13)


class _Tokenizer(nn.Module):
    """Series, in the layout and units of the training data, to tokens.

    Parameters
    ----------
    transformer : NCVQVAETransformer
        A fitted one.
    """

    def __init__(self, transformer: NCVQVAETransformer) -> None:
        super().__init__()
        codec = transformer.codec_
        self.mean: Tensor
        self.scale: Tensor
        for name, moment in (("mean", codec.mean_), ("scale", codec.scale_)):
            # In the dtype of the series, as `SeriesCodec.standardise` has them.
            self.register_buffer(name, torch.from_numpy(moment.astype(codec.dtype_))[:, None])
        self.ndim, self.channels_last = codec.ndim_, codec.data_format == "channels_last"
        self.module = copy.deepcopy(transformer.module_).cpu().eval()
        # Serves training only.
        self.module.drop_training_parts()

    def forward(self, series: Tensor) -> Tensor:
        """Map ``(n, ...)`` to ``(n, n_tokens)``."""
        if self.ndim == 2:
            series = series[:, None]
        elif self.channels_last:
            series = series.transpose(1, 2)
        return self.module.tokenize(((series - self.mean) / self.scale).float())


def export_tokenizer(transformer: NCVQVAETransformer, path: str | os.PathLike[str]) -> None:
    """Write a fitted tokenizer as an ONNX file, for programs without Python or torch.

    The file takes one input ``"series"``, of the layout, length and dtype of the training data
    and of any number of series, and returns ``"tokens"``, as `NCVQVAETransformer.tokenize`. The
    scaling of the series is part of it. What the transformer mends when it reads series, such as
    gaps and unequal lengths, is not.

    Parameters
    ----------
    transformer : NCVQVAETransformer
    path : str or path-like

    Raises
    ------
    sklearn.exceptions.NotFittedError
        Before `fit`.
    ImportError
        Without onnx and onnxscript, or with torch before 2.13.
    """
    check_is_fitted(transformer, "module_")
    _check_can_export()
    path = read_path(path)
    codec = transformer.codec_
    shape: tuple[int, ...] = (codec.n_channels_, codec.n_timesteps_)
    if codec.ndim_ == 2:
        shape = shape[1:]
    elif codec.data_format == "channels_last":
        shape = shape[::-1]
    # Any series will do: what they hold does not change which operations are run.
    example = torch.from_numpy(np.zeros((2, *shape), dtype=codec.dtype_))
    with warnings.catch_warnings(), torch.no_grad():
        # Torch's own business with itself.
        warnings.simplefilter("ignore", FutureWarning)
        warnings.simplefilter("ignore", DeprecationWarning)
        program: Any = torch.onnx.export(
            _Tokenizer(transformer).eval(),
            (example,),
            input_names=["series"],
            output_names=["tokens"],
            dynamic_shapes=({0: torch.export.Dim("n_series")},),
            dynamo=True,
            verbose=False,
        )
    with whole_file(path) as name:
        program.save(name)


def _check_can_export() -> None:
    try:
        import onnx  # noqa: F401
        import onnxscript  # noqa: F401
    except ImportError as error:
        raise ImportError(
            "export_tokenizer needs onnx and onnxscript: pip install 'skncvqvae[onnx]'"
        ) from error
    version = tuple(int(part) for part in torch.__version__.split(".")[:2])
    if version < _MIN_TORCH:
        raise ImportError(f"export_tokenizer needs torch 2.13 or later, not {torch.__version__}")
