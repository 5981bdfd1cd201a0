"""Files that are there as a whole or not at all, and safetensors files that describe themselves.

Such a file's metadata hold a description in JSON, and hashes of it and of the tensors. They tell
damage before anything of it is used.
"""

import hashlib
import json
import os
import stat
import uuid
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from typing import Any

import numpy as np
from numpy.typing import NDArray
from safetensors import SafetensorError
from safetensors.numpy import save_file

# More than any description needs.
MAX_HEADER_BYTES = 2**24


class ModelFileError(ValueError):
    """What was to be loaded is no model of this package, or is damaged."""


def read_path(path: Any, name: str = "path") -> str:
    """Return a path as text.

    Raises
    ------
    TypeError, ValueError
        On what is none, naming the parameter.
    """
    if not isinstance(path, (str, os.PathLike)):
        raise TypeError(f"{name} must be a str or path-like, not {type(path).__name__}.")
    text = os.fspath(path)
    if not isinstance(text, str) or not text or "\0" in text:
        raise ValueError(f"{name}={path!r} is no path.")
    return text


@contextmanager
def whole_file(path: str | os.PathLike[str]) -> Iterator[str]:
    """Give a new name to write a file under, which becomes `path` when all of it is on the disk.

    Where the block fails, or the process or the machine stops, an older file stays as it was.

    Parameters
    ----------
    path : str or path-like
        A link stays one, to a new file.

    Yields
    ------
    str
        A name in the same folder.
    """
    target = os.path.realpath(path)
    if os.path.isdir(target):
        raise IsADirectoryError(f"{os.fspath(path)} is a folder.")
    folder = os.path.dirname(target)
    if not os.path.isdir(folder):
        raise FileNotFoundError(f"{folder}, where {os.fspath(path)} is to be, is no folder.")
    temporary = os.path.join(folder, f".{os.path.basename(target)}.{uuid.uuid4().hex}.tmp")
    try:
        with open(temporary, "xb") as file:
            mode = stat.S_IMODE(os.fstat(file.fileno()).st_mode)
        yield temporary
        # As readable as any new file, also where the block made one for the user alone.
        os.chmod(temporary, mode)
        with open(temporary, "r+b") as file:
            os.fsync(file.fileno())
        os.replace(temporary, target)
    except BaseException:
        with suppress(FileNotFoundError):
            os.unlink(temporary)
        raise
    # Only then is the new name safe too. Not every system can do that with a folder.
    with suppress(OSError):
        descriptor = os.open(folder, os.O_RDONLY)
        try:
            os.fsync(descriptor)
        finally:
            os.close(descriptor)


def digest(tensors: Mapping[str, NDArray[Any]]) -> str:
    """Return a hash of names, dtypes, shapes and bytes."""
    found = hashlib.sha256()
    for name in sorted(tensors):
        array = np.asarray(tensors[name], order="C")
        found.update(json.dumps([name, array.dtype.str, array.shape]).encode())
        found.update(array.reshape(-1).view(np.uint8).data)
    return found.hexdigest()


def write_described(
    path: str, tensors: Mapping[str, NDArray[Any]], key: str, description: str
) -> None:
    """Write tensors and a description, as a whole or not at all.

    Parameters
    ----------
    path : str
    tensors : mapping of str to ndarray
    key : str
        Under which the metadata hold the description.
    description : str
        JSON.

    Raises
    ------
    OSError
        Where it cannot be written.
    """
    metadata = {
        key: description,
        "sha256": hashlib.sha256(description.encode()).hexdigest(),
        "sha256_tensors": digest(tensors),
    }
    with whole_file(path) as name:
        try:
            save_file(dict(tensors), name, metadata=metadata)
        except SafetensorError as error:
            raise OSError(f"{path} cannot be written: {error}") from error


def read_description(metadata: Mapping[str, str] | None, key: str) -> Any:
    """Return what a file's metadata hold as its description.

    Raises
    ------
    ModelFileError
        Where there is none, or it is another than was written.
    """
    text = (metadata or {}).get(key)
    if text is None:
        raise ModelFileError("it was written by something else")
    if (metadata or {}).get("sha256") != hashlib.sha256(text.encode()).hexdigest():
        raise ModelFileError("its description is not the one that was saved")
    return json.loads(text)


def check_is_safetensors(path: str, hint: str, max_bytes: int) -> None:
    """Refuse what is plainly no safetensors file, before a reader gets it.

    Parameters
    ----------
    path : str
    hint : str
        Ends the messages.
    max_bytes : int
        More than a good file has.

    Raises
    ------
    ModelFileError
    """
    status = os.stat(path)
    if not stat.S_ISREG(status.st_mode):
        # Opening what is no file may wait for ever.
        raise ModelFileError(f"{path} is no regular file.")
    with open(path, "rb") as file:
        start = file.read(9)
    if start[8:] != b"{":
        kinds = {b"\x80": "a pickle", b"P": "a zip archive, as skops and torch write them"}
        kind = kinds.get(start[:1], "no safetensors file")
        raise ModelFileError(f"{path} is {kind}. {hint}")
    n_header = int.from_bytes(start[:8], "little")
    if n_header + 8 > status.st_size:
        raise ModelFileError(f"{path} is cut short, or no safetensors file. {hint}")
    if n_header > MAX_HEADER_BYTES or status.st_size > max_bytes:
        raise ModelFileError(f"{path} is larger than any file of a model. {hint}")


@contextmanager
def blaming(path: str) -> Iterator[None]:
    """Turn whatever goes wrong in reading a file into a `ModelFileError` that names it."""
    try:
        yield
    except (ImportError, OSError):
        raise
    except SafetensorError as error:
        raise ModelFileError(
            f"{path} is cut short, damaged, or no safetensors file: {error}"
        ) from error
    except ModelFileError as error:
        raise ModelFileError(f"{path} cannot be loaded: {error}.") from error
    except Exception as error:
        what = str(error).splitlines()[0] if str(error) else type(error).__name__
        raise ModelFileError(f"{path} is damaged: {what}") from error
