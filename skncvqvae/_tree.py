"""An estimator as a list of plain objects and arrays, and back.

Objects are of a known kind each, and may refer to those before them; the last is the estimator.
Nothing among them is looked up by import, and nothing is run. They can be decoded with arrays that
have a shape and no memory, to see that all of it fits together before any of it is read.
"""

import inspect
import io
import math
import re
import zipfile
from collections.abc import Callable, Mapping, Sequence
from dataclasses import fields, is_dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from sklearn.base import BaseEstimator
from sklearn.frozen import FrozenEstimator
from sklearn.utils.validation import check_is_fitted
from skorch.history import History

from . import samplers
from ._augmented_classifier import AugmentedClassifier
from ._base import FITTED_ATTRIBUTES, ModelMixin, pack_history, unpack_history
from ._codec import SeriesCodec
from ._decoding import Finish
from ._files import ModelFileError
from ._generator import NCVQVAEGenerator
from ._labels import Classes
from ._marginals import NOISE_SCALES, Marginals
from ._observation_noise import ObservationNoise
from ._prior import AutoregressiveTokenPrior, MaskedTokenPrior
from ._semi_supervised import SemiSupervisedClassifier
from ._shared_moments import SharedMoments
from ._tokens import Band, TokenLayout
from ._transformer import NCVQVAETransformer
from .augmentations import AUGMENTATIONS, Compose
from .bands import STFTBands, WaveletBands
from .nn import state
from .nn.autoregressive_prior import AutoregressivePrior
from .nn.banded import BandedNCVQVAE
from .nn.masked_prior import MaskedPrior
from .nn.neural_mapper import NeuralMapper
from .nn.ppv import StandardisedPPV
from .nn.vqvae import NCVQVAE
from .tables import TableReader

# More than any model needs, and little enough to be handled in any memory.
_MAX_OBJECTS = 1000
_MAX_ARRAY_BYTES = 2**30
_MAX_HISTORY = 2**24
_MAX_TEXT = 2**24

ESTIMATORS: dict[str, Any] = {
    cls.__name__: cls
    for cls in (
        NCVQVAETransformer,
        NCVQVAEGenerator,
        MaskedTokenPrior,
        AutoregressiveTokenPrior,
        AugmentedClassifier,
        SemiSupervisedClassifier,
        TableReader,
    )
}
# Objects that are nothing but their parameters.
_SETTINGS: dict[str, Any] = {
    **{
        name: getattr(samplers, name)
        for name in samplers.__all__
        if isinstance(getattr(samplers, name), type) and name != "Sampler"
    },
    **{cls.__name__: cls for cls in (STFTBands, WaveletBands)},
}
_RECORDS: dict[str, Any] = {
    cls.__name__: cls for cls in (Band, TokenLayout, Finish, Compose, *AUGMENTATIONS.values())
}
# Objects of which nothing but the attributes is known.
_PLAIN: dict[str, tuple[Any, tuple[str, ...]]] = {
    "SeriesCodec": (
        SeriesCodec,
        (
            "data_format",
            "irregular",
            "missing_channels",
            "n_channels_",
            "n_timesteps_",
            "ndim_",
            "dtype_",
            "mean_",
            "scale_",
        ),
    ),
    "ObservationNoise": (
        ObservationNoise,
        ("n_timesteps_", "filters_", "gain_", "mixing_", "log_level_std_"),
    ),
    "Marginals": (Marginals, ("decoded_", "real_", "differs_")),
    "SharedMoments": (SharedMoments, ("mean_", "std_")),
}
_MODULES: dict[type, tuple[type[torch.nn.Module], ...]] = {
    NCVQVAETransformer: (NCVQVAE, BandedNCVQVAE),
    MaskedTokenPrior: (MaskedPrior,),
    AutoregressiveTokenPrior: (AutoregressivePrior,),
}

_PRIOR_ATTRIBUTES = ("module_", "layout_", "classes_", "class_prior_", "history_", "n_iter_")
FITTED_ATTRIBUTES.update(
    {
        NCVQVAETransformer: (
            "codec_",
            "layout_",
            "module_",
            "n_tokens_",
            "history_",
            "n_iter_",
            "codebook_",
            "codebook_usage_",
            "perplexity_",
            "series_ppv_",
            "code_ppv_",
            "neural_mapper_",
            "plateau_tolerance_",
        ),
        MaskedTokenPrior: _PRIOR_ATTRIBUTES,
        AutoregressiveTokenPrior: _PRIOR_ATTRIBUTES,
        NCVQVAEGenerator: (
            "transformer_",
            "prior_",
            "classes_",
            "class_prior_",
            "observation_noise_",
            "shared_moments_",
            "marginals_",
            "finish_",
            "copying_",
        ),
        AugmentedClassifier: ("estimator_", "generator_", "classes_", "n_synthetic_", "codec_"),
        SemiSupervisedClassifier: ("transformer_", "estimator_", "classes_", "n_labelled_"),
        TableReader: ("channels_", "step_", "time_kind_"),
    }
)
# Attributes that a fitted estimator need not have.
_OPTIONAL_ATTRIBUTES = ("n_features_in_", "feature_names_in_", "sampling_strategy_")

# Parameters and attributes that hold estimators, which may be anybody's.
_PARTS = {
    "estimator",
    "estimator_",
    "generator",
    "generator_",
    "prior",
    "prior_",
    "sampler",
    "transformer",
    "transformer_",
}

# Parameters that name places on one machine. A file does not say where another is to write.
_LOCAL = {"checkpoint_dir"}

# What a file of skops may hold beside what skops itself trusts.
_OWN_TYPES = [
    *(
        f"{cls.__module__}.{cls.__qualname__}"
        for cls in (
            *ESTIMATORS.values(),
            *_SETTINGS.values(),
            *_RECORDS.values(),
            *(cls for cls, _ in _PLAIN.values()),
        )
    ),
    # By name only: who does not judge series need not import what judges them.
    "skncvqvae.metrics._features.FCNClassifier",
]


class _NotStorableError(Exception):
    """A value that files do not hold."""


class Writer:
    """Turns an estimator into a list of objects, for JSON, and arrays.

    Parameters
    ----------
    training : bool
        As of `save`.

    Attributes
    ----------
    objects : list of dict
    tensors : dict of str to ndarray
    dropped : list of str
        What could not be stored, and is not needed.
    """

    def __init__(self, training: bool) -> None:
        self.training = training
        self.objects: list[dict[str, Any]] = []
        self.tensors: dict[str, NDArray[Any]] = {}
        self.dropped: list[str] = []
        # Beside the number the object: a number is its own only as long as it lives.
        self._known: dict[int, tuple[int, Any]] = {}

    def value(self, value: Any, path: tuple[str, ...]) -> Any:
        """Return a value as JSON can hold it; its arrays are put aside."""
        if isinstance(value, (np.bool_, np.integer, np.floating)):
            value = value.item()
        if value is None or isinstance(value, bool):
            return value
        if isinstance(value, str):
            return str(value)
        if isinstance(value, int):
            if abs(value) >= 2**63:
                raise _NotStorableError
            return int(value)
        if isinstance(value, float):
            return float(value) if math.isfinite(value) else {"float": str(float(value))}
        if isinstance(value, History):
            return self._reference(value, path)
        if isinstance(value, (list, tuple)):
            kind = "list" if isinstance(value, list) else "tuple"
            return {kind: [self.value(v, (*path, str(i))) for i, v in enumerate(value)]}
        if isinstance(value, Mapping):
            names = [k if isinstance(k, str) else f"[{i}]" for i, k in enumerate(value)]
            return {
                "dict": [
                    [self.value(k, path), self.value(v, (*path, name))]
                    for name, (k, v) in zip(names, value.items(), strict=True)
                ]
            }
        if isinstance(value, np.ndarray):
            return self._array(value, path)
        if isinstance(value, np.dtype):
            return {"dtype": value.name}
        if isinstance(value, torch.device):
            return {"device": str(value)}
        return self._reference(value, path)

    def _reference(self, value: Any, path: tuple[str, ...]) -> dict[str, int]:
        if id(value) not in self._known:
            self.add_object(value, path)
            self._known[id(value)] = len(self.objects) - 1, value
        return {"object": self._known[id(value)][0]}

    def _array(self, array: NDArray[Any], path: tuple[str, ...]) -> dict[str, Any]:
        kind, size = array.dtype.kind, array.dtype.itemsize
        if kind == "U" and array.ndim == 1:
            return {"text": array.tolist(), "width": size // 4}
        if kind == "O" and array.ndim == 1:
            return {"objects": [self.value(item, path) for item in array]}
        if kind not in "biuf" or size > 8:
            raise _NotStorableError
        native = np.asarray(array, dtype=array.dtype.newbyteorder("="), order="C")
        return {"array": self._put(".".join(path), native)}

    def _put(self, name: str, array: NDArray[Any]) -> str:
        if name in self.tensors:
            raise ValueError(f"there are two arrays {name}")
        self.tensors[name] = array
        return name

    def add_object(self, value: Any, path: tuple[str, ...]) -> None:
        """Append an object to the list, after those that it refers to."""
        name, cls = type(value).__name__, type(value)
        if ESTIMATORS.get(name) is cls:
            entry = self._estimator(value, path)
        elif _SETTINGS.get(name) is cls:
            entry = {"params": self._params(value, path)}
        elif _RECORDS.get(name) is cls:
            values = state.values_of(value)
            entry = {"fields": {k: self.value(v, (*path, k)) for k, v in values.items()}}
        elif name in _PLAIN and _PLAIN[name][0] is cls:
            entry = {"attributes": self._attributes(value, path, _PLAIN[name][1])}
        elif isinstance(value, History):
            entry = {"packed": self.value(pack_history(value), path)}
        elif isinstance(value, np.random.RandomState):
            generator: Any = value.get_state(legacy=False)
            if generator["bit_generator"] != "MT19937":
                raise _NotStorableError
            entry = {"state": self.value(generator, path)}
        elif isinstance(value, FrozenEstimator):
            entry = {"estimator": self.value(value.estimator, (*path, "estimator"))}
        elif isinstance(value, torch.nn.Module):
            name, entry = self._module(value, path)
        elif path and path[-1] in _PARTS and hasattr(value, "get_params"):
            name, entry = "skops", self._foreign(value, path)
        else:
            raise _NotStorableError
        self.objects.append({"kind": name, **entry})

    def _estimator(self, estimator: Any, path: tuple[str, ...]) -> dict[str, Any]:
        fitted = FITTED_ATTRIBUTES[type(estimator)]
        names: tuple[str, ...] = ()
        if any(name in vars(estimator) for name in fitted):
            names = (*fitted, *(n for n in _OPTIONAL_ATTRIBUTES if n in vars(estimator)))
        params = estimator.get_params(deep=False)
        for name in sorted(vars(estimator).keys() - params.keys() - set(names)):
            if name.endswith("_") and names:
                # By its name a part of the fitted state, without which the rest may not work.
                raise self._cannot((*path, name), vars(estimator)[name])
            self.dropped.append(".".join((*path, name)))
        attributes = self._attributes(estimator, path, names)
        return {"params": self._params(estimator, path), "attributes": attributes}

    def _params(self, estimator: Any, path: tuple[str, ...]) -> dict[str, Any]:
        stored = {}
        for name, value in estimator.get_params(deep=False).items():
            if name in _LOCAL:
                continue
            n_objects, before = len(self.objects), set(self.tensors)
            try:
                stored[name] = self.value(value, (*path, name))
            except _NotStorableError:
                default = inspect.signature(type(estimator)).parameters[name].default
                if default is inspect.Parameter.empty:
                    raise self._cannot((*path, name), value) from None
                # What of it was already put aside would be left over.
                del self.objects[n_objects:]
                self.tensors = {k: v for k, v in self.tensors.items() if k in before}
                self._known = {k: v for k, v in self._known.items() if v[0] < n_objects}
                stored[name] = self.value(default, (*path, name))
                self.dropped.append(".".join((*path, name)))
        return stored

    def _attributes(
        self, owner: Any, path: tuple[str, ...], names: Sequence[str]
    ) -> dict[str, Any]:
        stored = {}
        for name in names:
            value = getattr(owner, name)
            try:
                stored[name] = self.value(value, (*path, name))
            except _NotStorableError:
                raise self._cannot((*path, name), value) from None
        return stored

    @staticmethod
    def _cannot(path: tuple[str, ...], value: Any) -> ValueError:
        return ValueError(
            f"{'.'.join(path)}, of type {type(value).__name__}, cannot be stored by save. Use "
            "pickle, joblib or skops.io for this model."
        )

    def _module(
        self, module: torch.nn.Module, path: tuple[str, ...]
    ) -> tuple[str, dict[str, Any]]:
        description = state.describe(module)
        if description is None:
            raise _NotStorableError
        tensors = state.tensors_of(module)
        for part in state.tokenizers_in(description):
            config = part["config"]
            method, has_ssl = config["ssl_method"], part["has_ssl"]
            by_name = method is None or isinstance(method, str)
            if self.training and method is not None:
                if not by_name:
                    raise ValueError(
                        "training=True cannot store the head of an ssl_method that is no name. "
                        "Pass training=False, or use pickle."
                    )
                if not has_ssl:
                    raise ValueError(
                        "training=True, but this model was itself loaded without the parts that "
                        "only training needs. Pass training=False."
                    )
            if not by_name:
                # Named among the parameters that come back as their defaults.
                config["ssl_method"] = (
                    inspect.signature(NCVQVAETransformer).parameters["ssl_method"].default
                )
            if not self.training:
                part["has_ssl"] = False
        if isinstance(module, (NCVQVAE, BandedNCVQVAE)) and not self.training:
            head = re.compile(r"(tokenizers\.\d+\.)?ssl\.")
            tensors = {k: v for k, v in tensors.items() if not head.match(k)}
        prefix = ".".join(path) + "."
        for name, tensor in tensors.items():
            self._put(prefix + name, tensor.numpy())
        kind = description.pop("kind")
        values = {k: self.value(v, (*path, k)) for k, v in description.items()}
        return "module", {"class": kind, "description": values, "prefix": prefix}

    def _foreign(self, value: Any, path: tuple[str, ...]) -> dict[str, Any]:
        """Store what is not of this package by skops."""
        name = ".".join(path)
        try:
            data = _import_skops(f"{name}, a {type(value).__name__},").dumps(value)
        except ImportError:
            raise
        except Exception as error:
            raise ValueError(
                f"{name}, a {type(value).__name__}, cannot be stored by skops: {error}. Use "
                "pickle or joblib for this model."
            ) from error
        array = np.frombuffer(data, dtype=np.uint8)
        return {"type": type(value).__name__, "data": {"array": self._put(name, array)}}


class Reader:
    """Turns a list of objects and arrays back into an estimator.

    Parameters
    ----------
    objects : list of dict
    tensors : dict of str to ndarray
    trusted : sequence of str
        As of `load`.
    dry : bool, default=False
        Whether the arrays hold no values, and only their shapes are to be checked.
    """

    def __init__(
        self,
        objects: list[Any],
        tensors: Mapping[str, NDArray[Any]],
        trusted: Sequence[str],
        dry: bool = False,
    ) -> None:
        self.objects = objects
        self.tensors = tensors
        self.trusted = trusted
        self.dry = dry
        self.made: list[Any] = []
        self.unused = set(tensors)

    def read(self) -> Any:
        """Return the last of the objects."""
        require(isinstance(self.objects, list) and self.objects, "it holds no objects")
        require(len(self.objects) <= _MAX_OBJECTS, "it holds too many objects")
        for entry in self.objects:
            self.made.append(self._object(entry))
        require(not self.unused, f"tensor {min(self.unused, default='')!r} belongs to nothing")
        require(type(self.made[-1]).__name__ in ESTIMATORS, "it holds no estimator")
        return self.made[-1]

    def value(self, stored: Any) -> Any:
        """Return what `Writer.value` was given."""
        if stored is None or isinstance(stored, (bool, str, float)):
            return stored
        if isinstance(stored, int):
            require(abs(stored) < 2**63, "a number is too large")
            return stored
        match stored:
            case {"text": content, "width": width, **others} if not others:
                return _read_text(content, width)
            case {"list": content, **others} if not others:
                return self._list(content)
            case {"tuple": content, **others} if not others:
                return tuple(self._list(content))
            case {"dict": content, **others} if not others:
                return {self.value(key): self.value(value) for key, value in content}
            case {"objects": content, **others} if not others:
                return _read_items(self._list(content))
            case {"array": name, **others} if not others:
                return self._array(name)
            case {"object": index, **others} if not others:
                return self._made(index)
            case {"float": content, **others} if not others:
                return _read_float(content)
            case {"dtype": content, **others} if not others:
                return _read_dtype(content)
            case {"device": content, **others} if not others:
                return torch.device(content)
        raise ModelFileError("a value is of no known kind")

    def _list(self, content: Any) -> list[Any]:
        require(isinstance(content, list), "a list is none")
        return [self.value(item) for item in content]

    def _array(self, name: Any) -> NDArray[Any]:
        require(isinstance(name, str) and name in self.unused, f"there is no array {name!r}")
        require(self.tensors[name].nbytes <= _MAX_ARRAY_BYTES, f"array {name!r} is too large")
        self.unused.remove(name)
        return self.tensors[name]

    def _made(self, index: Any) -> Any:
        known = is_size(index, 0) and index < len(self.made)
        require(known, f"there is no object {index} before the one that refers to it")
        return self.made[index]

    def _named(self, stored: Any) -> dict[str, Any]:
        require(isinstance(stored, dict), "names have no values")
        return {name: self.value(value) for name, value in stored.items()}

    def _object(self, entry: Any) -> Any:
        require(isinstance(entry, dict), "an object is none")
        kind = entry["kind"]
        require(isinstance(kind, str), "an object has no kind")
        if kind in ESTIMATORS:
            return self._estimator(ESTIMATORS[kind], entry)
        if kind in _SETTINGS:
            settings = _SETTINGS[kind](**self._named(entry["params"]))
            settings.check_params()
            return settings
        if kind in _RECORDS:
            return self._record(_RECORDS[kind], self._named(entry["fields"]))
        if kind in _PLAIN:
            cls, names = _PLAIN[kind]
            attributes = self._named(entry["attributes"])
            require(attributes.keys() == set(names), f"the attributes of {kind} are not its own")
            made = cls.__new__(cls)
            vars(made).update(attributes)
            _CHECKS[cls](made)
            return made
        others = {
            "History": self._history,
            "RandomState": self._random_state,
            "FrozenEstimator": self._frozen,
            "module": self._module,
            "skops": self._foreign,
        }
        require(kind in others, f"there are no objects of kind {kind!r}")
        return others[kind](entry)

    def _record(self, cls: Any, values: dict[str, Any]) -> Any:
        """Make a dataclass, whose own checks of its fields are few."""
        known = {field.name for field in fields(cls)}
        require(values.keys() == known, f"the fields of {cls.__name__} are not its own")
        if cls is Compose:
            steps = values["steps"]
            good = isinstance(steps, tuple) and all(_is_augmentation(step) for step in steps)
            require(good, "steps are no augmentations")
        made = state.make_record(cls, values)
        if cls in _CHECKS:
            _CHECKS[cls](made)
        return made

    def _history(self, entry: dict[str, Any]) -> History:
        packed = self.value(entry["packed"])
        n_rows, columns = packed["n_rows"], packed["columns"]
        require(is_size(n_rows, 0), "a history has no length")
        require(n_rows * max(len(columns), 1) <= _MAX_HISTORY, "a history is too long")
        for name, column in columns.items():
            values, rows = column["values"], column["rows"]
            require(isinstance(name, str), "a column of a history has no name")
            array = isinstance(values, np.ndarray) and values.ndim == 1
            require(array or isinstance(values, list), f"column {name} of a history has no values")
            require(len(values) <= n_rows, f"column {name} of a history is too long")
            if rows is not None:
                whole = isinstance(rows, np.ndarray) and rows.dtype == np.int64
                require(
                    whole and rows.shape == (len(values),),
                    f"column {name} of a history has no rows",
                )
        return History() if self.dry else unpack_history(packed)

    def _random_state(self, entry: dict[str, Any]) -> np.random.RandomState:
        values = self.value(entry["state"])
        key = values["state"]["key"]
        require(
            values["bit_generator"] == "MT19937"
            and isinstance(key, np.ndarray)
            and key.shape == (624,)
            and key.dtype == np.uint32
            # numpy reads from there without looking.
            and is_size(values["state"]["pos"], 0)
            and values["state"]["pos"] <= 624,
            "a random state is none",
        )
        made = np.random.RandomState(0)
        made.set_state(values)
        return made

    def _frozen(self, entry: dict[str, Any]) -> FrozenEstimator:
        estimator = self.value(entry["estimator"])
        require(hasattr(estimator, "get_params"), "what is frozen is no estimator")
        return FrozenEstimator(estimator)

    def _module(self, entry: dict[str, Any]) -> torch.nn.Module:
        values = self._named(entry["description"])
        description: dict[str, Any] = {**values, "kind": entry["class"]}
        require(_is_plain(values), "a network has sizes that are no numbers")
        for part in state.tokenizers_in(description):
            method = part["config"]["ssl_method"]
            require(method is None or isinstance(method, str), "ssl_method is no name")
        prefix = entry["prefix"]
        names = [name for name in self.tensors if name.startswith(prefix)]
        require(self.unused.issuperset(names), f"tensors {prefix} belong to two networks")
        self.unused.difference_update(names)
        arrays = {name.removeprefix(prefix): self.tensors[name] for name in names}
        if not self.dry:
            tensors = {name: torch.from_numpy(array) for name, array in arrays.items()}
            return state.rebuild(description, tensors)
        shapes = {name: array.shape for name, array in arrays.items()}
        dtypes = {
            name: torch.from_numpy(np.empty(0, array.dtype)).dtype
            for name, array in arrays.items()
        }
        return state.skeleton(description, shapes, dtypes)

    def _foreign(self, entry: dict[str, Any]) -> Any:
        data = self.value(entry["data"])
        require(
            isinstance(data, np.ndarray) and data.dtype == np.uint8 and data.ndim == 1,
            "a part that skops is to read is no row of bytes",
        )
        name = str(entry["type"])
        skops_io = _import_skops(f"Part of this model, a {name},")
        # Nothing is there yet to be read in the first round.
        return _Unread() if self.dry else _load_skops(skops_io, data, self.trusted, name)

    def _estimator(self, cls: Any, entry: dict[str, Any]) -> Any:
        params = self._named(entry["params"])
        known = inspect.signature(cls).parameters
        unknown = sorted((params.keys() - known.keys()) | (params.keys() & _LOCAL))
        require(not unknown, f"{cls.__name__} has no parameters {', '.join(unknown)}")
        estimator = cls(**params)
        if isinstance(estimator, NCVQVAETransformer):
            estimator.check_params()
        else:
            # Only its own: parts are checked already, and devices may be those of another machine.
            ModelMixin.check_params(estimator)
        attributes = self._named(entry["attributes"])
        if attributes:
            fitted = FITTED_ATTRIBUTES[cls]
            odd = sorted(
                set(fitted) - attributes.keys()
                | (attributes.keys() - set(fitted) - set(_OPTIONAL_ATTRIBUTES))
            )
            require(not odd, f"{odd[0] if odd else ''} of {cls.__name__} is missing or not known")
            vars(estimator).update(attributes)
            _check_features(estimator)
            _CHECKS[cls](estimator)
        return estimator


class _Unread(BaseEstimator):
    """Stands for a part that skops will read."""

    def fit(self, X: Any, y: Any = None) -> "_Unread":
        raise NotImplementedError

    predict = sample = score_samples = fit


def require(condition: object, otherwise: str) -> None:
    """Raise a `ModelFileError` of this text unless a condition holds."""
    if not condition:
        raise ModelFileError(otherwise)


def is_size(value: Any, lowest: int = 1) -> bool:
    """Return whether a value is a whole number, and no smaller than `lowest`."""
    return isinstance(value, int) and not isinstance(value, bool) and lowest <= value < 2**53


def _is_plain(value: Any) -> bool:
    """Whether a value is made of numbers, names, lists and dictionaries."""
    if isinstance(value, (list, dict)):
        return all(map(_is_plain, value.values() if isinstance(value, dict) else value))
    return value is None or isinstance(value, (bool, int, float, str))


def _is_augmentation(value: Any) -> bool:
    return is_dataclass(value) and _RECORDS.get(type(value).__name__) is type(value)


def _is_float_array(value: Any, *shape: int) -> bool:
    return isinstance(value, np.ndarray) and value.dtype.kind == "f" and value.shape == shape


def _check_codec(codec: SeriesCodec) -> None:
    require(codec.data_format in ("channels_first", "channels_last"), "no data_format")
    require(codec.irregular in ("raise", "interpolate"), "no irregular")
    require(codec.missing_channels in ("raise", "mean"), "no missing_channels")
    n_channels = codec.n_channels_
    require(is_size(n_channels) and is_size(codec.n_timesteps_), "series have no shape")
    require(codec.ndim_ == 3 or (codec.ndim_, n_channels) == (2, 1), "series have no layout")
    require(codec.dtype_ in (np.float32, np.float64), "series have no dtype")
    for moment in (codec.mean_, codec.scale_):
        require(_is_float_array(moment, n_channels), "series have no scale")


def _check_layout(layout: TokenLayout) -> None:
    bands = layout.bands
    good = isinstance(bands, tuple) and bands and all(type(band) is Band for band in bands)
    require(good, "a layout has no bands")
    names = [band.name for band in bands]
    sizes = [size for band in bands for size in (band.rows, band.columns, band.n_codes)]
    require(min(sizes) > 0, "a band has no tokens")
    require(len(set(names)) == len(names), "two bands have one name")


def _check_noise(noise: ObservationNoise) -> None:
    n_channels = len(noise.mixing_)
    require(is_size(noise.n_timesteps_), "noise has no length")
    require(_is_float_array(noise.mixing_, n_channels, n_channels), "noise mixes no channels")
    n_gains = max(noise.n_timesteps_, 2) // 2 + 1
    require(_is_float_array(noise.gain_, n_channels, n_gains), "noise has no gain")
    filters = noise.filters_
    require(
        isinstance(filters, np.ndarray) and filters.dtype.kind == "f" and filters.ndim == 3,
        "noise has no filters",
    )
    require(filters.shape[1] == n_channels, "noise has no filters for its channels")
    require(isinstance(noise.log_level_std_, float), "noise has no level")


def _check_moments(moments: SharedMoments) -> None:
    require(_is_float_array(moments.mean_, len(moments.mean_)), "moments have no mean")
    require(_is_float_array(moments.std_, len(moments.mean_)), "moments have no deviation")


def _check_marginals(marginals: Marginals) -> None:
    decoded, real, differs = marginals.decoded_, marginals.real_, marginals.differs_
    is_array = isinstance(decoded, np.ndarray) and decoded.ndim == 3
    require(is_array and len(decoded) == len(NOISE_SCALES), "marginals have no decoded values")
    require(_is_float_array(decoded, *decoded.shape), "marginals have no decoded values")
    require(_is_float_array(real, *decoded.shape[1:]), "marginals have no real values")
    is_flags = isinstance(differs, np.ndarray) and differs.dtype == bool
    require(is_flags and differs.shape == decoded.shape[:2], "marginals differ nowhere")


def _check_finish(finish: Finish) -> None:
    require(finish.noise_scale >= 0, "a finish has no noise scale")
    choice = finish.match_marginals
    require(choice == "auto" or isinstance(choice, bool), "a finish matches no marginals")


def _check_features(estimator: Any) -> None:
    n_features = vars(estimator).get("n_features_in_", 1)
    require(is_size(n_features), "n_features_in_ is no number of features")
    names = vars(estimator).get("feature_names_in_")
    if names is not None:
        shape = getattr(names, "shape", None)
        require(shape == (n_features,), "feature_names_in_ are not as many as the features")


def _check_transformer(transformer: Any) -> None:
    codec, layout, module = transformer.codec_, transformer.layout_, transformer.module_
    require(isinstance(codec, SeriesCodec), "codec_ is none")
    require(isinstance(layout, TokenLayout), "layout_ is none")
    _check_trained(transformer)
    config = module.config
    require(
        (codec.n_channels_, codec.n_timesteps_) == (config.n_channels, config.n_timesteps),
        "codec_ and module_ are for other series",
    )
    require(
        layout.bands == module.bands and transformer.n_tokens_ == layout.n_tokens,
        "layout_ and module_ are for other tokens",
    )
    shape = layout.n_codes, config.code_dim
    require(_is_float_array(transformer.codebook_, *shape), "codebook_ is of another shape")
    require(_is_float_array(transformer.codebook_usage_, shape[0]), "codebook_usage_ is none")
    require(isinstance(transformer.perplexity_, float), "perplexity_ is none")
    tolerance = transformer.plateau_tolerance_
    require(_is_float_array(tolerance, codec.n_channels_), "plateau_tolerance_ is none")
    require(bool((tolerance >= 0).all()), "plateau_tolerance_ is negative")
    mapper = transformer.neural_mapper_
    require(mapper is None or isinstance(mapper, NeuralMapper), "neural_mapper_ is none")
    same = mapper is None or mapper.config.n_channels == codec.n_channels_
    require(same, "neural_mapper_ is for other series")
    for ppv in (transformer.series_ppv_, transformer.code_ppv_):
        require(isinstance(ppv, StandardisedPPV), "features of kernels are none")
        n_columns = max(part.n_columns for part in ppv.config)
        longest = max(config.n_timesteps, module.n_frames)
        require(n_columns <= longest, "features are of longer series")


def _check_trained(estimator: Any) -> None:
    require(type(estimator.module_) in _MODULES[type(estimator)], "module_ is of another class")
    require(isinstance(estimator.history_, History), "history_ is none")
    require(is_size(estimator.n_iter_, 0), "n_iter_ is no number of epochs")


def _check_prior(prior: Any) -> None:
    layout = prior.layout_
    require(isinstance(layout, TokenLayout), "layout_ is none")
    _check_trained(prior)
    config = prior.module_.config
    require(
        (layout.n_tokens, layout.n_codes) == (config.n_tokens, config.n_codes),
        "layout_ and module_ are for other tokens",
    )
    n_classes = _check_classes(prior)
    require(n_classes == config.n_classes, "classes_ and module_ differ in the number of classes")


def _check_classes(estimator: Any) -> int:
    """Check `classes_` and `class_prior_`, and return the number of classes."""
    names, proportions = estimator.classes_, estimator.class_prior_
    if names is None:
        require(proportions is None, "class_prior_ is there without classes_")
        return 0
    require(isinstance(names, np.ndarray) and names.ndim == 1, "classes_ are none")
    require(_is_float_array(proportions, len(names)), "class_prior_ is none")
    return len(names)


def _check_generator(generator: Any) -> None:
    transformer, prior = generator.transformer_, generator.prior_
    if isinstance(transformer, FrozenEstimator):
        transformer = transformer.estimator
    if not isinstance(transformer, _Unread):
        require(isinstance(transformer, NCVQVAETransformer), "transformer_ is none")
        check_is_fitted(transformer, "module_")
        layout, codec = transformer.layout_, transformer.codec_
        noise, moments = generator.observation_noise_, generator.shared_moments_
        require(isinstance(noise, ObservationNoise), "observation_noise_ is none")
        require(isinstance(moments, SharedMoments), "shared_moments_ are none")
        marginals, finish = generator.marginals_, generator.finish_
        require(isinstance(marginals, Marginals), "marginals_ are none")
        n_channels = marginals.decoded_.shape[1]
        require(n_channels == codec.n_channels_, "marginals_ are for other series")
        require(isinstance(finish, Finish), "finish_ is none")
        require(
            (*noise.filters_.shape[:2], noise.n_timesteps_)
            == (layout.n_codes, codec.n_channels_, codec.n_timesteps_),
            "observation_noise_ is for other series",
        )
        require(len(moments.mean_) == codec.n_channels_, "shared_moments_ are for other series")
        if isinstance(prior, (MaskedTokenPrior, AutoregressiveTokenPrior)):
            check_is_fitted(prior, "module_")
            require(prior.layout_ == layout, "prior_ is for other tokens")
            same = Classes(prior.classes_).same_as(generator.classes_)
            require(same, "prior_ is for other classes")
    require(hasattr(prior, "sample"), "prior_ is none")
    _check_classes(generator)


def _check_classifier(classifier: Any) -> None:
    generator = classifier.generator_
    if generator is not None and not isinstance(generator, _Unread):
        require(isinstance(generator, NCVQVAEGenerator), "generator_ is none")
        check_is_fitted(generator, "prior_")
        own = getattr(generator.transformer_, "codec_", classifier.codec_)
        require(classifier.codec_ is own, "codec_ is not that of generator_")
    require(isinstance(classifier.codec_, SeriesCodec), "codec_ is none")
    require(hasattr(classifier.estimator_, "predict"), "estimator_ is none")
    require(isinstance(classifier.classes_, np.ndarray), "classes_ are none")
    require(isinstance(classifier.n_synthetic_, dict), "n_synthetic_ is none")


def _check_semi_supervised(classifier: Any) -> None:
    transformer = classifier.transformer_
    known = isinstance(transformer, _Unread) or hasattr(transformer, "transform")
    require(known, "transformer_ is none")
    require(hasattr(classifier.estimator_, "predict"), "estimator_ is none")
    require(isinstance(classifier.classes_, np.ndarray), "classes_ are none")
    require(is_size(classifier.n_labelled_), "n_labelled_ is no number of series")


def _check_reader(reader: TableReader) -> None:
    channels, step = reader.channels_, reader.step_
    require(isinstance(channels, list) and channels, "channels_ are none")
    require(all(isinstance(name, (str, int)) for name in channels), "channels_ are none")
    require(isinstance(step, float) and 0 < step < np.inf, "step_ is none")
    require(reader.time_kind_ in ("number", "date", "duration", "row"), "time_kind_ is none")


_CHECKS: dict[Any, Callable[[Any], None]] = {
    SeriesCodec: _check_codec,
    TokenLayout: _check_layout,
    ObservationNoise: _check_noise,
    Marginals: _check_marginals,
    Finish: _check_finish,
    SharedMoments: _check_moments,
    NCVQVAETransformer: _check_transformer,
    MaskedTokenPrior: _check_prior,
    AutoregressiveTokenPrior: _check_prior,
    NCVQVAEGenerator: _check_generator,
    AugmentedClassifier: _check_classifier,
    SemiSupervisedClassifier: _check_semi_supervised,
    TableReader: _check_reader,
}


def _read_text(content: Any, width: Any) -> NDArray[np.str_]:
    require(all(isinstance(item, str) for item in content), "text holds what is no text")
    require(
        is_size(width) and max(map(len, content), default=0) <= width,
        "text is longer than it is said to be",
    )
    require(len(content) * width <= _MAX_TEXT, "text is too long")
    return np.array(content, dtype=f"<U{width}")


def _read_items(items: list[Any]) -> NDArray[np.object_]:
    simple = (type(None), bool, int, float, str)
    require(all(isinstance(item, simple) for item in items), "items are not simple")
    array = np.empty(len(items), dtype=object)
    array[:] = items
    return array


def _read_float(content: Any) -> float:
    require(content in ("nan", "inf", "-inf"), f"{content!r} is no number")
    return float(content)


def _read_dtype(content: Any) -> np.dtype:
    require(isinstance(content, str) and re.fullmatch(r"(u?int|float)\d+", content), "no dtype")
    return np.dtype(content)


def _import_skops(what: str) -> Any:
    try:
        import skops.io
    except ImportError as error:
        raise ImportError(
            f"{what} is not of this package and needs skops: pip install 'skncvqvae[skops]'"
        ) from error
    return skops.io


def _load_skops(skops_io: Any, data: NDArray[np.uint8], trusted: Sequence[str], name: str) -> Any:
    content = data.tobytes()
    with zipfile.ZipFile(io.BytesIO(content)) as archive:
        entries = archive.infolist()
        # As skops wrote it: stored, so that nothing can be larger than the file.
        plain = all(entry.compress_type == zipfile.ZIP_STORED for entry in entries)
        size = sum(entry.file_size for entry in entries)
        require(plain and size <= len(content), f"the {name} in it is packed in an odd way")
    allowed = [*_OWN_TYPES, *trusted]
    untrusted = sorted(set(skops_io.get_untrusted_types(data=content)) - set(allowed))
    if untrusted:
        raise ModelFileError(
            f"it holds types that are neither of scikit-learn nor of this package: "
            f"{', '.join(untrusted)}. If you trust its source, pass load(..., trusted={untrusted})"
        )
    return skops_io.loads(content, trusted=allowed)
