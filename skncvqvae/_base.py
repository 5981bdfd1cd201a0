"""What the estimators share: seeds, pickling, atomic fits, and parameters of parts."""

import copy
import dataclasses
import os
import threading
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, Self, TypeVar, cast

import numpy as np
import torch
from sklearn.base import BaseEstimator, clone
from sklearn.frozen import FrozenEstimator
from sklearn.utils import check_random_state
from sklearn.utils._param_validation import Interval
from skorch.callbacks import Callback
from skorch.history import History

from ._device import few_threads, repeatable
from ._files import ModelFileError
from ._fingerprints import fingerprint
from .nn import state
from .nn.ssl import SSLMethod

Config = TypeVar("Config")
Estimator = TypeVar("Estimator")


def clone_estimator(estimator: Estimator) -> Estimator:
    """Return scikit-learn's clone of an estimator, whose type it leaves open."""
    return cast(Estimator, clone(estimator))


def read_random_state(random_state: Any) -> np.random.RandomState:
    """Return scikit-learn's random numbers for what it takes as `random_state`.

    Raises
    ------
    ValueError
        On anything else, naming the parameter.
    """
    try:
        return check_random_state(random_state)
    except (TypeError, ValueError) as error:
        raise ValueError(
            f"random_state={random_state!r} must be an int from 0 to {2**32 - 1}, a "
            "numpy.random.RandomState or None."
        ) from error


def draw_seed(random_state: int | np.integer[Any] | np.random.RandomState | None) -> int:
    """Return a seed for torch, drawn from what scikit-learn takes as `random_state`."""
    return int(read_random_state(random_state).randint(np.iinfo(np.int32).max))


def make_config(config_class: type[Config], estimator: BaseEstimator, **resolved: Any) -> Config:
    """Return the configuration of a module that an estimator's parameters describe.

    Parameters
    ----------
    config_class : dataclass
        Its fields are taken from the parameters of the same names.
    estimator : estimator
    **resolved
        Fields that are no parameters, or whose parameters may be ``"auto"``.
    """
    params = estimator.get_params(deep=False)
    names = {field.name for field in dataclasses.fields(config_class)}  # type: ignore[arg-type]
    return config_class(**({k: params[k] for k in names & params.keys()} | resolved))


def check_same_config(fitted: Any, wanted: Any) -> None:
    """Refuse to continue a model, by warm start, that is not the one the parameters describe.

    A copy of a user's loss is the same loss.

    Raises
    ------
    ValueError
        Where two configurations of one class differ.
    """
    before, after = vars(fitted), vars(wanted)
    changes = [
        f"{k} ({before[k]!r} to {after[k]!r})"
        for k in after
        if before[k] != after[k] and fingerprint(before[k]) != fingerprint(after[k])
    ]
    if changes:
        raise ValueError(
            "warm_start=True continues the fitted model, but these parameters differ from it: "
            f"{', '.join(changes)}. Restore them or set warm_start=False."
        )


@contextmanager
def keep_fitted_state(estimator: BaseEstimator) -> Iterator[None]:
    """Give an estimator its attributes back when the fit inside the block fails."""
    state = vars(estimator).copy()
    try:
        yield
    except BaseException:
        vars(estimator).clear()
        vars(estimator).update(state)
        raise


@contextmanager
def named_as(estimator: BaseEstimator, part: Any) -> Iterator[None]:
    """Let what a part refuses be refused in the name of the estimator that the user called.

    Messages of scikit-learn and the codec name the estimator that reads series, and the user may
    not know that it has a part that does so.
    """
    try:
        yield
    except ValueError as error:
        inner = part.estimator if isinstance(part, FrozenEstimator) else part
        text, its_name = str(error), type(inner).__name__
        # What is wrong with its parameters, or that it is not fitted, is said of the part.
        if type(error) is not ValueError or its_name not in text:
            raise
        raise ValueError(text.replace(its_name, type(estimator).__name__)) from error


class _Turn:
    """Whose turn it is to use torch's global generators, which fits in threads share."""

    def __init__(self) -> None:
        self.is_child = False
        self.begin_anew()

    def begin_anew(self) -> None:
        self.lock = threading.RLock()
        self.holder: int | None = None
        self.before: torch.Tensor | None = None

    @contextmanager
    def taken(self) -> Iterator[None]:
        with self.lock:
            outer = self.holder, self.before
            if self.holder is None:
                self.holder, self.before = threading.get_ident(), torch.get_rng_state()
            try:
                yield
            finally:
                self.holder, self.before = outer

    def after_fork(self) -> None:
        """In a child process, take the turn from a thread that is only in the parent."""
        self.is_child = True
        if self.holder in (None, threading.get_ident()):
            return
        if self.before is not None:
            torch.default_generator.set_state(self.before)
        self.begin_anew()


_turn = _Turn()
# Windows cannot fork.
if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_turn.after_fork)


@contextmanager
def isolated_seed(seed: int, device: torch.device) -> Iterator[None]:
    """Seed torch inside the block and leave the caller's global generators as they were.

    The same seed then gives the same result, also on a GPU.

    Weight initialisation and dropout know only the global generators, so fits in several threads
    of a process take turns. A process that is forked meanwhile does not wait for them.
    """
    mind_fork()
    on_cuda = device.type == "cuda"
    forked = torch.random.fork_rng(devices=[device] if on_cuda else [])
    with _turn.taken(), forked, few_threads(), repeatable(device):
        seed_torch(seed, device)
        yield


def seed_torch(seed: int, device: torch.device) -> None:
    """Seed torch's global generators of the CPU and of a device."""
    torch.default_generator.manual_seed(seed)
    if device.type == "cuda":
        with torch.cuda.device(device):
            torch.cuda.manual_seed(seed)


def mind_fork() -> None:
    """Let torch compute in one thread where this process was forked.

    Its pools of threads are not there after a fork, and it would wait for them for ever.
    """
    if _turn.is_child and torch.get_num_threads() > 1:
        torch.set_num_threads(1)


class ModelVersionWarning(UserWarning):
    """A model was pickled by another version of this package."""


class CopyingWarning(UserWarning):
    """What a generator draws is nearer to its training series than new series are."""


# The fitted attributes of each class of estimators; `_tree` and `metrics` enter them.
FITTED_ATTRIBUTES: dict[type, tuple[str, ...]] = {}


class ModelMixin:
    """Checks of parameters on their own, and pickles that load without a GPU.

    The state of an estimator is plain: a torch module is its configuration and numpy arrays, so
    that nothing of torch's inside is pickled, and skops can store it too.
    """

    def check_params(self) -> None:
        """Check the parameters, as `fit` does first.

        Raises
        ------
        ValueError
            On a wrong value, naming the parameter.
        """
        self._validate_params()  # type: ignore[attr-defined]
        # To Python, True is an integer.
        constraints: dict[str, list[Any]] = self._parameter_constraints  # type: ignore[attr-defined]
        for name, accepted in constraints.items():
            value = getattr(self, name, None)
            is_number = any(isinstance(each, Interval) for each in accepted)
            if isinstance(value, (bool, np.bool_)) and is_number and "boolean" not in accepted:
                raise ValueError(f"{name} is {value}, where a number is meant.")
        for callback in getattr(self, "callbacks", None) or []:
            # skorch takes an instance, a class, or either with a name.
            part = callback[1] if isinstance(callback, tuple) and len(callback) == 2 else callback
            if not (isinstance(part, Callback) or is_callback_class(part)):
                raise TypeError(
                    f"callbacks holds {callback!r}, which is no skorch.callbacks.Callback."
                )

    def __getstate__(self) -> dict[str, Any]:
        """Return the attributes, those that are not plain under ``"_packed"``."""
        attributes: dict[str, Any] = super().__getstate__()  # type: ignore[misc]
        packed = {name: _pack(value) for name, value in attributes.items()}
        packed = {name: value for name, value in packed.items() if value is not None}
        plain = {name: value for name, value in attributes.items() if name not in packed}
        return {**plain, "_packed": packed, "_skncvqvae_version": package_version()}

    def __setstate__(self, state: dict[str, Any]) -> None:
        """Take the attributes over, having checked that none is missing.

        Raises
        ------
        ModelFileError
            Where one is.
        """
        name = type(self).__name__
        attributes = dict(state)
        version = attributes.pop("_skncvqvae_version", "an unknown version")
        if version != package_version():
            warnings.warn(
                f"This {name} was pickled by skncvqvae {version}, and this is skncvqvae "
                f"{package_version()}. It may not work as before. Files of skncvqvae.save can "
                "be read by later versions.",
                ModelVersionWarning,
                stacklevel=2,
            )
        try:
            for key, value in attributes.pop("_packed", {}).items():
                attributes[key] = _unpack(value)
        except (KeyError, TypeError, ValueError, RuntimeError) as error:
            raise ModelFileError(f"The state of a pickled {name} is damaged: {error}.") from error
        missing = self._missing_attributes(attributes)
        if missing:
            raise ModelFileError(
                f"The pickled {name} lacks {', '.join(missing)}. It was made by skncvqvae "
                f"{version}. Load it with that version, or fit a new one."
            )
        super().__setstate__(attributes)  # type: ignore[misc]

    def _missing_attributes(self, attributes: dict[str, Any]) -> list[str]:
        """Return the parameters, and of a fitted estimator the attributes, that are not there."""
        expected = list(self._get_param_names())  # type: ignore[attr-defined]
        for cls in type(self).__mro__:
            fitted = FITTED_ATTRIBUTES.get(cls, ())
            if any(name in attributes for name in fitted):
                expected += fitted
        return sorted(name for name in expected if name not in attributes)

    # Copies stay in memory, and on their device: they need not go through the state.

    def __copy__(self) -> Self:
        twin = type(self).__new__(type(self))
        vars(twin).update(vars(self))
        return twin

    def __deepcopy__(self, memo: dict[int, Any]) -> Self:
        twin = type(self).__new__(type(self))
        memo[id(self)] = twin
        vars(twin).update(copy.deepcopy(vars(self), memo))
        return twin


def is_callback_class(value: Any) -> bool:
    """Return whether a value is a class of skorch callbacks."""
    return isinstance(value, type) and issubclass(value, Callback)


def package_version() -> str:
    """Return the version of this package."""
    from . import __version__  # not known yet while this file is read

    return __version__


def _pack(value: Any) -> dict[str, Any] | None:
    """Return what is not plain as a plain dictionary, and None for all else."""
    if isinstance(value, History):
        return {"kind": "History", **pack_history(value)}
    if isinstance(value, torch.device):
        return {"kind": "device", "name": str(value)}
    if isinstance(value, torch.nn.Module):
        description = state.describe(value)
        if description is not None:
            for part in state.tokenizers_in(description):
                config = part["config"]
                part["config"] = config | {"ssl_method": _off_gpu(config["ssl_method"])}
            tensors = state.tensors_of(value)
            return {**description, "tensors": {k: t.numpy() for k, t in tensors.items()}}
    # A network of the user's own is pickled as torch does it, without the GPU.
    moved = _off_gpu(value)
    return None if moved is value else {"kind": "foreign", "module": moved}


def _off_gpu(value: Any) -> Any:
    """Return a copy in main memory of a network, or of a loss or mapping that holds one.

    What holds none, or none elsewhere, is returned as it is.
    """
    if isinstance(value, torch.nn.Module):
        tensors = [*value.state_dict().values(), *vars(value).values()]
        if all(not isinstance(t, torch.Tensor) or t.device.type == "cpu" for t in tensors):
            return value
        twin = copy.deepcopy(value).cpu()
        state.settle(twin, torch.device("cpu"))
        return twin
    if isinstance(value, SSLMethod):
        loss = _off_gpu(value.loss)
        return value if loss is value.loss else dataclasses.replace(value, loss=loss)
    if isinstance(value, dict):
        moved = {key: _off_gpu(part) for key, part in value.items()}
        return value if all(moved[key] is value[key] for key in value) else moved
    return value


def _unpack(packed: dict[str, Any]) -> Any:
    if packed["kind"] == "History":
        return unpack_history(packed)
    if packed["kind"] == "device":
        return torch.device(packed["name"])
    if packed["kind"] == "foreign":
        return packed["module"]
    tensors = {
        # Of an array that is mapped from a file and cannot be written, torch would complain.
        name: torch.from_numpy(array if array.flags.writeable else array.copy())
        for name, array in packed["tensors"].items()
    }
    return state.rebuild({k: v for k, v in packed.items() if k != "tensors"}, tensors)


def pack_history(history: History) -> dict[str, Any]:
    """Return a history by columns, which are arrays where they can be.

    A long history of single numbers would be most of a file.
    """
    columns: dict[str, dict[str, Any]] = {}
    for i, row in enumerate(history):
        for name, value in row.items():
            column = columns.setdefault(name, {"rows": [], "values": []})
            column["rows"].append(i)
            column["values"].append(value)
    for column in columns.values():
        # Only where the array gives the same numbers back.
        types = {type(value) for value in column["values"]}
        if types == {float} or (types == {int} and max(map(abs, column["values"])) < 2**63):
            column["values"] = np.array(column["values"])
        everywhere = len(column["rows"]) == len(history)
        column["rows"] = None if everywhere else np.array(column["rows"])
    return {"n_rows": len(history), "columns": columns}


def unpack_history(packed: dict[str, Any]) -> History:
    """Return the history that `pack_history` was given."""
    n_rows = packed["n_rows"]
    if n_rows > sum(len(column["values"]) for column in packed["columns"].values()):
        raise ValueError(f"a history of {n_rows} rows has fewer values")
    rows: list[dict[str, Any]] = [{} for _ in range(n_rows)]
    for name, column in packed["columns"].items():
        values, where = column["values"], column["rows"]
        values = values.tolist() if isinstance(values, np.ndarray) else values
        where = range(len(rows)) if where is None else where.tolist()
        for i, value in zip(where, values, strict=True):
            rows[i][name] = value
    return History(rows)


def set_nested_params(
    estimator: BaseEstimator, params: dict[str, Any], defaults: dict[str, Any]
) -> None:
    """Set parameters of an estimator whose parts may be None while they are default.

    Parameters
    ----------
    estimator : estimator
    params : dict of str to Any
    defaults : dict of str to callable
        For each part, what makes the default; called where a parameter of a part that is None
        is set.
    """
    nested = {name: value for name, value in params.items() if "__" in name}
    BaseEstimator.set_params(
        estimator, **{name: value for name, value in params.items() if name not in nested}
    )
    for part, make in defaults.items():
        wanted = any(name.startswith(f"{part}__") for name in nested)
        if wanted and getattr(estimator, part) is None:
            setattr(estimator, part, make())
    BaseEstimator.set_params(estimator, **nested)
