"""Checkpoints: trainings that were stopped and go on exactly where they were.

A checkpoint is one safetensors file for each stage, whose metadata hold a description in JSON:
what is trained on what, and how far it has come. Nothing in it is run.
"""

import hashlib
import json
import math
import os
import re
import time
import warnings
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from glob import escape, glob
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from safetensors import safe_open
from sklearn.utils import gen_batches

from ._base import package_version, read_random_state
from ._files import (
    MAX_HEADER_BYTES,
    ModelFileError,
    blaming,
    check_is_safetensors,
    digest,
    read_description,
    read_path,
    whole_file,
    write_described,
)
from ._fingerprints import STREAMS, fingerprint, is_plain_value
from .nn.distributed import from_first, rank, world_size

# Where in the metadata of a file the description is.
CHECKPOINT_KEY = "skncvqvae_checkpoint"
_FORMAT = 1
# More than any training of a network that fits into one machine.
_MAX_FILE_BYTES = 2**36
# How much a training can keep: several times its weights, for the optimiser, averages and the best
# so far, and what callbacks of the user's may have.
_MAX_TIMES_WEIGHTS = 32
_MAX_BESIDE_WEIGHTS = 2**28
# Seconds for which a file can be without change while it is written.
_LONGEST_WRITING = 60
# In `checkpoint_dir`, what stands for a name that only the same data and parameters have.
_PLACEHOLDER = "{fingerprint}"
# How deep in a function's or an object's attributes random generators are looked for.
_MAX_DEPTH = 12
# Longer values are not shown in messages.
_MAX_SHOWN = 60

Folder = str | os.PathLike[str]


class NotPlainError(Exception):
    """A value that checkpoints do not hold."""


@dataclass(frozen=True)
class Identity:
    """What is trained on what; trainings of one identity take the same course.

    Parameters
    ----------
    data : str
        Hash of the training data.
    weights : str
        Hash of the weights that training starts from.
    parameters : dict of str to str
        All that determines its course beside them.
    """

    data: str
    weights: str
    parameters: dict[str, str]

    @classmethod
    def of(
        cls,
        arrays: Sequence[Any],
        weights: Mapping[str, torch.Tensor],
        parameters: Mapping[str, Any],
    ) -> "Identity":
        """Return the identity of a training."""
        data = hashlib.sha256()
        for array in arrays:
            data.update(json.dumps([array.dtype.str, array.shape]).encode())
            # A part at a time: the array may be a view, or larger than memory.
            for part in gen_batches(len(array), 4096):
                data.update(np.ascontiguousarray(array[part]).reshape(-1).view(np.uint8).data)
        start = digest({name: _as_array(tensor)[0] for name, tensor in weights.items()})
        described = {name: _describe(value) for name, value in parameters.items()}
        return cls(data.hexdigest(), start, described)

    @property
    def fingerprint(self) -> str:
        """A short name that no other identity has."""
        text = json.dumps([self.data, self.weights, sorted(self.parameters.items())])
        return hashlib.sha256(text.encode()).hexdigest()[:16]

    def differences(self, other: "Identity") -> list[str]:
        """Return what tells another identity from this one, in words."""
        found = [] if self.data == other.data else ["the training data"]
        for name in sorted(self.parameters.keys() | other.parameters.keys()):
            before, after = self.parameters.get(name), other.parameters.get(name)
            if before != after:
                short = len(f"{before}{after}") <= _MAX_SHOWN
                found.append(f"{name} ({before} to {after})" if short else name)
        if not found and self.weights != other.weights:
            found.append("the weights that training starts from")
        return found


class Checkpoint:
    """The file that a training keeps its progress in.

    Parameters
    ----------
    folder : str or path-like
        Made where it is missing. ``{fingerprint}`` in it becomes the identity's.
    every : float
        Minutes from one writing to the next.
    stage : str
        Name of the file.
    identity : Identity
    n_bytes : int
        Of the weights. A file that is many times as large is none of this training.

    Attributes
    ----------
    path : str
    """

    def __init__(
        self, folder: Folder, every: float, stage: str, identity: Identity, n_bytes: int
    ) -> None:
        self._given = _read_folder(folder)
        self.path = os.path.join(
            self._given.replace(_PLACEHOLDER, identity.fingerprint), f"{stage}.checkpoint"
        )
        self._every, self._stage, self._identity = 60 * every, stage, identity
        self._max_bytes = _MAX_BESIDE_WEIGHTS + _MAX_TIMES_WEIGHTS * n_bytes
        self._written_at = time.monotonic()
        self._usable = True

    def open(self) -> dict[str, Any] | None:
        """Return what the file holds of this training; None where it is to begin.

        Returns
        -------
        dict or None
            As handed to `write`, with ``"finished"`` beside.

        Raises
        ------
        ValueError
            Where the file holds an unfinished training of another identity.
        ModelFileError
            On a file that is damaged.
        OSError
            Where the folder cannot be written.
        """
        _make_folder(os.path.dirname(self.path))
        found = self._read() if os.path.exists(self.path) else None
        # What was being written when a process was killed, and is not being written by another one
        # that fits the same.
        pattern = f".{os.path.basename(self.path)}.*.tmp"
        for left_over in glob(os.path.join(escape(os.path.dirname(self.path)), pattern)):
            with suppress(OSError):
                if time.time() - os.path.getmtime(left_over) > _LONGEST_WRITING:
                    os.unlink(left_over)
        if found is not None:
            identity, finished, state = found
            if identity == self._identity and state is not None:
                return {**state, "finished": finished}
            if identity != self._identity and state is not None and not finished:
                raise ValueError(self._refusal(identity))
        # Shows that the folder can be written, before hours of training, and tells others whose
        # it is.
        self._write(None, finished=False)
        return None

    def _refusal(self, identity: Identity) -> str:
        remedy = (
            f"To begin anew, delete {self.path}. Where several fits share checkpoint_dir, as in a "
            f"search, give each a folder of its own: "
            f"checkpoint_dir={os.path.join(self._given, _PLACEHOLDER)!r}."
        )
        differences = ", ".join(identity.differences(self._identity))
        return (
            f"checkpoint_dir={self._given!r} holds an unfinished training of the {self._stage} "
            f"that differs from this one in {differences}. To go on with it, call fit with the "
            f"same data and parameters. {remedy}"
        )

    @contextmanager
    def blaming(self) -> Iterator[None]:
        """Say of what goes wrong in restoring a state that the file is to blame."""
        try:
            yield
        except Exception as error:
            what = str(error).splitlines()[0] if str(error) else type(error).__name__
            raise ModelFileError(
                f"{self.path} is damaged, or of other code than is run here: {what}. To begin "
                f"anew, delete {self.path}."
            ) from error

    def is_due(self) -> bool:
        """Return whether the time between two writings is over."""
        return self._usable and time.monotonic() - self._written_at >= self._every

    def write(self, state: dict[str, Any], *, finished: bool = False) -> None:
        """Write how far training has come; where that fails, warn and let it go on.

        Parameters
        ----------
        state : dict
            Of plain values, arrays and tensors.
        finished : bool, default=False
            Whether there is nothing left to do.
        """
        if not self._usable:
            return
        try:
            if not self._is_ours():
                self._usable = False
                warnings.warn(
                    f"Another training writes {self.path}; this one goes on without checkpoints. "
                    "Give each its own folder: checkpoint_dir="
                    f"{os.path.join(self._given, _PLACEHOLDER)!r}.",
                    stacklevel=2,
                )
                return
            self._write(state, finished)
        except (OSError, NotPlainError) as error:
            warnings.warn(
                f"No checkpoint could be written to {self.path}: {error}. Training goes on.",
                stacklevel=2,
            )
        # After the writing: where that is slow, training still comes forward.
        self._written_at = time.monotonic()

    def discard(self) -> None:
        """Remove the file, unless it is another training's."""
        if os.path.exists(self.path) and self._is_ours():
            os.unlink(self.path)

    def _is_ours(self) -> bool:
        """Whether the file is missing, or holds this training."""
        if not os.path.exists(self.path):
            return True
        try:
            with safe_open(self.path, framework="np") as file:
                description = read_description(file.metadata(), CHECKPOINT_KEY)
        except Exception:  # whatever it is, it was not written here
            return False
        return description["fingerprint"] == self._identity.fingerprint

    def _write(self, state: dict[str, Any] | None, finished: bool) -> None:
        tensors: dict[str, NDArray[Any]] = {}
        description = {
            "format": _FORMAT,
            "version": package_version(),
            "stage": self._stage,
            "fingerprint": self._identity.fingerprint,
            "identity": vars(self._identity),
            "finished": finished,
            "state": _pack(state, tensors, "state"),
        }
        text = json.dumps(description, allow_nan=False, separators=(",", ":"))
        # What `_read` would refuse.
        n_header = len(text) + 200 * len(tensors)
        n_bytes = sum(array.nbytes for array in tensors.values())
        if n_header > MAX_HEADER_BYTES // 2 or n_bytes > self._max_bytes:
            raise NotPlainError("the history, or the state of a callback, is too long for one")
        write_described(self.path, tensors, CHECKPOINT_KEY, text)

    def _read(self) -> tuple[Identity, bool, dict[str, Any] | None]:
        remedy = f"To begin anew, delete {self.path}"
        check_is_safetensors(self.path, f"It is no checkpoint. {remedy}.", _MAX_FILE_BYTES)
        try:
            with blaming(self.path), safe_open(self.path, framework="np") as file:
                description = read_description(file.metadata(), CHECKPOINT_KEY)
                found = description["format"], description["version"]
                if found != (_FORMAT, package_version()):
                    raise ModelFileError(
                        f"it is a checkpoint of format {found[0]}, of skncvqvae {found[1]}, and "
                        f"this is skncvqvae {package_version()}. Go on with that version"
                    )
                identity = Identity(**description["identity"])
                texts = [identity.data, identity.weights, *identity.parameters.values()]
                if not all(isinstance(text, str) for text in texts):
                    raise ModelFileError("it does not say what it is of")
                if description["stage"] != self._stage:
                    raise ModelFileError(f"it is of a {description['stage']}")
                state = description["state"]
                if identity == self._identity and state is not None:
                    state = _unpack(state, self._tensors(file))
        except ModelFileError as error:
            raise ModelFileError(f"{error} {remedy}.") from error
        return identity, bool(description["finished"]), state

    def _tensors(self, file: Any) -> dict[str, NDArray[Any]]:
        """Return what a file holds beside its description, if a training can have as much."""
        n_bytes = os.path.getsize(self.path)
        if n_bytes > self._max_bytes + MAX_HEADER_BYTES:
            raise ModelFileError(
                f"it has {n_bytes} bytes, more than a training of this {self._stage} can keep"
            )
        tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
        if (file.metadata() or {}).get("sha256_tensors") != digest(tensors):
            raise ModelFileError("its weights are not those that were saved")
        return tensors


def _read_folder(folder: Folder) -> str:
    """Return `checkpoint_dir` as a path; ``~`` is the user's own folder, as in a shell."""
    return os.path.expanduser(read_path(folder, "checkpoint_dir"))


def _make_folder(folder: str) -> None:
    """Make a folder for checkpoints, where it is missing.

    Raises
    ------
    OSError
        Where that cannot be, naming the parameter.
    """
    try:
        os.makedirs(folder, exist_ok=True)
    except OSError as error:
        # Of the class that goes with its number.
        what = f"checkpoint_dir={folder!r} cannot be made: {error.strerror}"
        raise OSError(error.errno, what) from error


def random_state_of(
    random_state: int | np.random.RandomState | None, folder: Folder | None
) -> np.random.RandomState:
    """Return a source of seeds that is the same in the next fit with this folder.

    Parameters
    ----------
    random_state : int, RandomState instance or None
        For None, the folder keeps a seed.
    folder : str, path-like or None
        `checkpoint_dir`; without, None draws another seed each time.

    Notes
    -----
    Processes that train together get that of the first one.
    """
    if world_size() == 1:
        return _random_state_of(random_state, folder)
    own: list[np.random.RandomState] = []

    def make() -> dict[str, Any]:
        own.append(_random_state_of(random_state, folder))
        return own[0].get_state(legacy=False)

    state = from_first(make)
    if rank() > 0:
        # The user's own, if any, so that his processes draw the same from it afterwards.
        given = isinstance(random_state, np.random.RandomState)
        own.append(random_state if given else np.random.RandomState())
        own[0].set_state(state)
    return own[0]


def _random_state_of(
    random_state: int | np.random.RandomState | None, folder: Folder | None
) -> np.random.RandomState:
    if random_state is not None or folder is None:
        return read_random_state(random_state)
    folder = _read_folder(folder)
    if _PLACEHOLDER in folder:
        raise ValueError(
            f"checkpoint_dir={folder!r} names a folder by the seed too, but random_state is None. "
            "Set random_state to an int."
        )
    path = os.path.join(folder, "random_state.json")
    if not os.path.exists(path):
        _make_folder(folder)
        seed = int(read_random_state(None).randint(np.iinfo(np.int32).max))
        with whole_file(path) as name, open(name, "w") as file:
            json.dump({"seed": seed}, file)
    with open(path) as file:
        text = file.read(1000)
    if not re.fullmatch(r'\{"seed": \d{1,10}\}', text) or json.loads(text)["seed"] >= 2**32:
        raise ModelFileError(f"{path} is damaged. Delete it, and the checkpoints beside it.")
    return np.random.RandomState(json.loads(text)["seed"])


def find_streams(root: Any) -> list[Any]:
    """Return the random generators that a function or an object holds, in a fixed order."""
    found: list[Any] = []
    seen: set[int] = set()

    def visit(value: Any, depth: int) -> None:
        if id(value) in seen or depth > _MAX_DEPTH or isinstance(value, (torch.Tensor, type)):
            return
        seen.add(id(value))
        if isinstance(value, STREAMS):
            found.append(value)
            return
        parts: list[Any] = []
        if isinstance(value, (list, tuple)):
            parts += value
        elif isinstance(value, dict):
            parts += value.values()
        else:
            parts += getattr(value, "__dict__", {}).values()
            parts += [getattr(value, name, None) for name in ("func", "args", "keywords")]
            parts.append(getattr(value, "__self__", None))
            for cell in getattr(value, "__closure__", None) or ():
                with suppress(ValueError):  # an empty cell
                    parts.append(cell.cell_contents)
        for part in parts:
            if not isinstance(part, (str, bytes, int, float, np.ndarray, type(os))):
                visit(part, depth + 1)

    visit(root, 0)
    return found


def stream_state(stream: Any) -> Any:
    """Return the state of a random generator, as plain values and arrays."""
    if isinstance(stream, np.random.RandomState):
        return stream.get_state(legacy=False)
    if isinstance(stream, np.random.Generator):
        return dict(stream.bit_generator.state)
    return stream.get_state() if isinstance(stream, torch.Generator) else stream.getstate()


def set_stream_state(stream: Any, state: Any) -> None:
    """Give a random generator the state that `stream_state` returned.

    Raises
    ------
    ValueError, TypeError, KeyError
        On what is no such state.
    """
    if isinstance(stream, (np.random.RandomState, np.random.Generator)):
        # numpy reads from there without looking.
        position = state["state"].get("pos", 0)
        if not 0 <= position <= 624:
            raise ValueError(f"a random state cannot be at {position}")
    if isinstance(stream, np.random.RandomState):
        stream.set_state(state)
    elif isinstance(stream, np.random.Generator):
        stream.bit_generator.state = state
    elif isinstance(stream, torch.Generator):
        stream.set_state(state)
    else:
        stream.setstate(state)


def is_plain(value: Any) -> bool:
    """Return whether a checkpoint can hold a value."""
    try:
        _pack(value, {}, "")
    except NotPlainError:
        return False
    return True


def _describe(value: Any) -> str:
    """Return a value in words that only it has, the same in another process."""
    value = value.item() if isinstance(value, np.generic) else value
    if is_plain_value(value):
        return repr(value)
    text = re.sub(r" at 0x[0-9a-fA-F]+", "", repr(value)).replace("__mp_main__", "__main__")
    # Two losses may read alike.
    return f"{text} {fingerprint(value)[:8]}"


def _as_array(tensor: torch.Tensor) -> tuple[NDArray[Any], str]:
    """Return a tensor as an array, bits of what numpy does not know as integers, and its dtype."""
    tensor = tensor.detach().cpu().contiguous()
    name = str(tensor.dtype).removeprefix("torch.")
    try:
        return tensor.numpy(), name
    except TypeError:
        return tensor.reshape(-1).view(torch.uint8).numpy().reshape(*tensor.shape, -1), name


def _as_tensor(array: NDArray[Any], dtype: str) -> torch.Tensor:
    wanted = getattr(torch, dtype, None)
    if not isinstance(wanted, torch.dtype):
        raise ModelFileError(f"there are no tensors of dtype {dtype}")
    tensor = torch.from_numpy(array)
    if tensor.dtype == wanted:
        return tensor
    return tensor.reshape(-1).view(wanted).reshape(tensor.shape[:-1])


def _pack(value: Any, tensors: dict[str, NDArray[Any]], name: str) -> Any:
    """Return a value as JSON can hold it; its arrays are put among `tensors`."""
    if isinstance(value, (np.bool_, np.integer, np.floating)):
        value = value.item()
    if value is None or isinstance(value, (bool, str)):
        return value
    if isinstance(value, int):
        return int(value)
    if isinstance(value, float):
        return float(value) if math.isfinite(value) else {"float": str(float(value))}
    if isinstance(value, (list, tuple)):
        kind = "list" if isinstance(value, list) else "tuple"
        return {kind: [_pack(v, tensors, f"{name}.{i}") for i, v in enumerate(value)]}
    if isinstance(value, Mapping):
        items = enumerate(value.items())
        return {
            "dict": [
                [_pack(k, tensors, ""), _pack(v, tensors, f"{name}.{k if _is_name(k) else i}")]
                for i, (k, v) in items
            ]
        }
    if isinstance(value, torch.Tensor):
        if value.layout != torch.strided or value.is_complex():
            raise NotPlainError(f"{name} is a tensor of another kind")
        array, dtype = _as_array(value)
        return {"tensor": _put(array, tensors, name), "dtype": dtype}
    if isinstance(value, np.ndarray) and value.dtype.kind in "biuf" and value.dtype.itemsize <= 8:
        native = np.asarray(value, value.dtype.newbyteorder("="), order="C")
        return {"array": _put(native, tensors, name)}
    raise NotPlainError(f"{name}, of type {type(value).__name__}, cannot be stored")


def _put(array: NDArray[Any], tensors: dict[str, NDArray[Any]], name: str) -> str:
    # Numbered, since two names may read alike.
    name = f"{len(tensors)}:{name}"
    tensors[name] = array
    return name


def _is_name(key: Any) -> bool:
    return isinstance(key, str) and key != "" and not key.isdigit()


def _unpack(stored: Any, tensors: Mapping[str, NDArray[Any]]) -> Any:
    """Return what `_pack` was given."""
    if not isinstance(stored, dict):
        return stored
    match stored:
        case {"list": items}:
            return [_unpack(item, tensors) for item in items]
        case {"tuple": items}:
            return tuple(_unpack(item, tensors) for item in items)
        case {"dict": items}:
            return {_unpack(k, tensors): _unpack(v, tensors) for k, v in items}
        case {"tensor": name, "dtype": dtype}:
            return _as_tensor(tensors[name], dtype)
        case {"array": name}:
            return tensors[name]
        case {"float": text}:
            return float(text)
    raise ModelFileError("a value is of no known kind")
