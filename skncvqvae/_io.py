"""Models as files: `save` and `load`, without pickle.

A file is a safetensors file whose metadata hold a description in JSON, of objects as `_tree` has
them. Nothing in it is looked up by import, and nothing is run. What it describes is compared with
the shapes of its tensors before any of them is read into memory.
"""

import importlib.metadata
import json
import os
import platform
import warnings
from collections.abc import Sequence
from contextlib import suppress
from typing import Any

import numpy as np
from numpy.typing import NDArray
from safetensors import safe_open
from sklearn.base import BaseEstimator

from ._base import package_version
from ._checkpoints import CHECKPOINT_KEY
from ._files import (
    MAX_HEADER_BYTES,
    ModelFileError,
    blaming,
    check_is_safetensors,
    digest,
    read_description,
    read_path,
    write_described,
)
from ._tree import ESTIMATORS, Reader, Writer, is_size, require

# Where in the metadata of a file the description is.
_KEY = "skncvqvae"
_HINT = "Only files that skncvqvae.save wrote can be loaded."
_FORMAT = 1
# Files from this format on are read.
_OLDEST_FORMAT = 1

# More than any model needs.
_MAX_FILE_BYTES = 4 * 2**30
_MAX_TENSORS = 10_000


def save(
    estimator: BaseEstimator, path: str | os.PathLike[str], *, training: bool = False
) -> None:
    """Write a model to a file, without pickle.

    The file is written under another name first and then renamed: where writing fails, an older
    file of this name stays as it was.

    Parameters
    ----------
    estimator : estimator
        A `NCVQVAETransformer`, `NCVQVAEGenerator`, `MaskedTokenPrior`,
        `AutoregressiveTokenPrior`, `AugmentedClassifier` or `SemiSupervisedClassifier`, fitted or
        not. Parts that are not of this package, as the classifier of an `AugmentedClassifier`,
        need skops.
    path : str or path-like
    training : bool, default=False
        Whether to store also what only training needs: the head of the self-supervised loss with
        its projector, most of a file. Without it a loaded tokenizer cannot be continued by
        ``warm_start=True``.

    Raises
    ------
    TypeError
        On an estimator that is none of those.
    ValueError
        On something in it that cannot be stored, naming it.
    ImportError
        Where a part needs skops, and it is not installed.

    Warns
    -----
    UserWarning
        Naming the parameters that cannot be stored, such as functions and callbacks. They come
        back as their defaults.

    See Also
    --------
    load : Reads such a file.

    Examples
    --------
    >>> import os, tempfile
    >>> import numpy as np
    >>> from skncvqvae import NCVQVAETransformer, load, save
    >>> X = np.sin(np.linspace(0, 9, 64) + np.linspace(0, 6, 40)[:, None])
    >>> transformer = NCVQVAETransformer(max_epochs=2, random_state=0).fit(X)
    >>> path = os.path.join(tempfile.mkdtemp(), "model.safetensors")
    >>> save(transformer, path)
    >>> bool((load(path).tokenize(X) == transformer.tokenize(X)).all())
    True
    """
    if ESTIMATORS.get(type(estimator).__name__) is not type(estimator):
        raise TypeError(
            f"save stores estimators of skncvqvae, not {type(estimator).__name__}. For pipelines "
            "and searches that hold one, use skops.io.dump, joblib or pickle."
        )
    path = read_path(path)
    writer = Writer(training)
    writer.add_object(estimator, ())
    description = json.dumps(
        {"format": _FORMAT, "versions": _versions(), "objects": writer.objects},
        allow_nan=False,
        separators=(",", ":"),
    )
    _check_before_writing(writer, description, estimator)
    if writer.dropped:
        warnings.warn(
            "These cannot be stored. Parameters come back as their defaults, set them again "
            f"after loading; attributes are left out: {', '.join(writer.dropped)}.",
            stacklevel=2,
        )
    write_described(path, writer.tensors, _KEY, description)


def load(path: str | os.PathLike[str], *, trusted: Sequence[str] = ()) -> Any:
    """Read a model that `save` wrote.

    Nothing in the file is run. A file that was changed, damaged, or made by something else is
    refused.

    Parameters
    ----------
    path : str or path-like
    trusted : sequence of str, default=()
        Names of types beyond those of scikit-learn and this package that skops may make, where
        the model holds parts that are of neither. The error that is raised without lists them.

    Returns
    -------
    estimator
        As it was saved; networks are on the CPU until they are used.

    Raises
    ------
    ModelFileError
        On a file that `save` did not write, or that is damaged, or of a format that this version
        does not read. It is a `ValueError`.
    FileNotFoundError
        Where there is no such file.
    ImportError
        Where the model has parts that need skops, and it is not installed.

    See Also
    --------
    save : Writes such a file.
    """
    path = read_path(path)
    check_is_safetensors(path, _HINT, _MAX_FILE_BYTES)
    with blaming(path), safe_open(path, framework="np") as file:
        description = _read_description(file.metadata())
        objects = description["objects"]
        slices = {name: file.get_slice(name) for name in file.keys()}  # noqa: SIM118
        require(len(slices) <= _MAX_TENSORS, f"it has more than {_MAX_TENSORS} tensors")
        empty = {
            name: _without_memory(tuple(part.get_shape()), part.get_dtype())
            for name, part in slices.items()
        }
        Reader(objects, empty, trusted, dry=True).read()
        tensors = {name: file.get_tensor(name) for name in slices}
        require(
            file.metadata().get("sha256_tensors") == digest(tensors),
            "its weights are not those that were saved",
        )
        return Reader(objects, tensors, trusted).read()


def _versions() -> dict[str, str]:
    """Return the versions that a model was made with, for those who look for a difference."""
    names = ("numpy", "scipy", "scikit-learn", "torch", "skorch", "safetensors", "skops")
    found = {"skncvqvae": package_version(), "python": platform.python_version()}
    for name in names:
        with suppress(importlib.metadata.PackageNotFoundError):
            found[name] = importlib.metadata.version(name)
    return found


def _check_before_writing(writer: Writer, description: str, estimator: Any) -> None:
    """Refuse to write what `load` would refuse to read."""
    tensors = writer.tensors
    empty = {name: np.broadcast_to(np.zeros((), a.dtype), a.shape) for name, a in tensors.items()}
    n_bytes = sum(array.nbytes for array in tensors.values())
    n_header = len(description) + 200 * len(tensors)
    try:
        require(len(tensors) <= _MAX_TENSORS, "it has too many tensors")
        require(n_header <= MAX_HEADER_BYTES // 2, "its description is too long")
        require(n_bytes <= _MAX_FILE_BYTES // 2, "it is too large")
        Reader(json.loads(description)["objects"], empty, (), dry=True).read()
    except ValueError as error:
        raise ValueError(f"This {type(estimator).__name__} cannot be saved: {error}.") from error


def _without_memory(shape: tuple[int, ...], dtype: str) -> NDArray[Any]:
    """Return an array of a shape that holds one value, for all its places."""
    names = {"BOOL": "bool", "F16": "f2", "F32": "f4", "F64": "f8"}
    names |= {f"{k}{8 * n}": f"{k.lower()}{n}" for k in "IU" for n in (1, 2, 4, 8)}
    require(dtype in names, f"there are no tensors of dtype {dtype}")
    return np.broadcast_to(np.zeros((), names[dtype]), shape)


def _read_description(metadata: dict[str, str] | None) -> dict[str, Any]:
    if CHECKPOINT_KEY in (metadata or {}):
        raise ModelFileError(
            "it is a checkpoint of a training. Go on with it by fit, with its folder as "
            "checkpoint_dir"
        )
    if _KEY not in (metadata or {}):
        raise ModelFileError("it was not written by skncvqvae.save, but by something else")
    # Later formats keep the names in the metadata, and `format` and `versions`.
    description = read_description(metadata, _KEY)
    number, versions = description["format"], description["versions"]
    require(is_size(number, 0) and isinstance(versions, dict), "it has no format")
    made_by = f"skncvqvae {versions.get('skncvqvae')}"
    require(
        number <= _FORMAT,
        f"it is of format {number}, of {made_by}, and skncvqvae {package_version()} reads formats "
        f"up to {_FORMAT}. Install a newer skncvqvae",
    )
    require(
        number >= _OLDEST_FORMAT,
        f"it is of format {number}, of {made_by}, and skncvqvae {package_version()} reads formats "
        f"from {_OLDEST_FORMAT} on. Load it with an older skncvqvae, and pickle or fit anew",
    )
    return description
