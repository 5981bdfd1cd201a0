"""A module as a plain description and its tensors, and back.

What is read back may come from anywhere. So a module is first made without memory, on torch's
"meta" device, and its tensors are compared with the given ones before anything is allocated.
"""

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass, fields
from typing import Any, TypeVar, cast

import torch
from torch import Tensor, nn
from torch.overrides import TorchFunctionMode

from .autoregressive_prior import AutoregressivePrior
from .banded import BandedConfig, BandedNCVQVAE
from .bands import SplitConfig, STFTSplitConfig, UserSplitConfig, WaveletSplitConfig
from .fcn import FCN
from .masked_prior import MaskedPrior
from .neural_mapper import NeuralMapper, NeuralMapperConfig
from .ppv import N_KERNELS, PPVConfig, StandardisedPPV
from .ssl import SSL_METHODS
from .token_transformer import PriorConfig, TokenTransformer
from .vqvae import NCVQVAE, LossWeights, NCVQVAEConfig

Record = TypeVar("Record")
Description = dict[str, Any]
Shapes = Mapping[str, tuple[int, ...]]

# Each block, and each depth of a network, takes time to make. Nobody needs more.
_MAX_DEPTH = 1000
# Of wavelets, which halve the length each time.
_MAX_LEVEL = 60


@dataclass(frozen=True)
class _Kind:
    """How a class of modules is described.

    Parameters
    ----------
    module : type of nn.Module
    describe : callable
        From a module to plain values, by name.
    make : callable
        From these values to a module.
    check : callable
        Compares with the shapes of its tensors those sizes that making a module takes time or
        memory for. Raises where they differ.
    """

    module: type[nn.Module]
    describe: Callable[[Any], Description]
    make: Callable[[Description], nn.Module]
    check: Callable[[Description, Shapes], None]


def describe(module: nn.Module) -> Description | None:
    """Return plain values that say what a module is; None where its class is not known."""
    for name, kind in _KINDS.items():
        if type(module) is kind.module:
            return {"kind": name, **kind.describe(module)}
    return None


def tensors_of(module: nn.Module) -> dict[str, Tensor]:
    """Return all parameters and buffers, in main memory and one piece each.

    Also what a state dict leaves out because it follows from the sizes. It shows that sizes that
    are read back are true.
    """
    named = {**dict(module.named_parameters()), **dict(module.named_buffers())}
    return {name: tensor.detach().cpu().contiguous() for name, tensor in named.items()}


def settle(module: nn.Module, device: torch.device) -> None:
    """Move what modules hold beside parameters and buffers to a device, without its graph.

    A loss of the user's may keep a moving average as a plain attribute, of which torch knows
    nothing: it would stay on another device, and a graph behind it could not be copied.
    """
    for part in module.modules():
        for name, value in list(vars(part).items()):
            if isinstance(value, Tensor):
                setattr(part, name, value.detach().to(device))


def skeleton(
    description: Description, shapes: Shapes, dtypes: Mapping[str, torch.dtype]
) -> nn.Module:
    """Return the described module without memory, having compared it with its tensors.

    Parameters
    ----------
    description : dict
        As `describe` returns.
    shapes, dtypes : mapping of str
        Those of the tensors that it is to get, by name.

    Raises
    ------
    ValueError
        Where the tensors are not those of such a module.
    """
    kind = _KINDS.get(description["kind"])
    if kind is None:
        raise ValueError(f"there is no network {description['kind']!r}")
    kind.check(description, shapes)
    with torch.device("meta"), _NoDraws():
        module = kind.make(description).float()
    _compare(module, shapes, dtypes)
    return module.eval()


def rebuild(description: Description, tensors: Mapping[str, Tensor]) -> nn.Module:
    """Return the module that `describe` and `tensors_of` were asked about, in evaluation mode.

    Parameters
    ----------
    description : dict
        As `describe` returns.
    tensors : mapping of str to Tensor
        Are copied.

    Raises
    ------
    ValueError
        Where the tensors are not those of such a module.
    """
    shapes = {name: tuple(tensor.shape) for name, tensor in tensors.items()}
    dtypes = {name: tensor.dtype for name, tensor in tensors.items()}
    methods = [part["config"]["ssl_method"] for part in tokenizers_in(description)]
    if any(map(_is_users, methods)):
        # A loss of the user's own may do anything while it is made, also what needs memory.
        kind = _KINDS[description["kind"]]
        kind.check(description, shapes)
        with torch.random.fork_rng(devices=[]):
            module = kind.make(description).float().eval()
        _compare(module, shapes, dtypes)
    else:
        module = skeleton(description, shapes, dtypes)
    named = {**dict(module.named_parameters()), **dict(module.named_buffers())}
    for name, old in named.items():
        # With the strides of a new module, which may be those of channels last.
        new = torch.empty_strided(old.shape, old.stride(), dtype=tensors[name].dtype)
        new.copy_(tensors[name])
        owner, _, leaf = name.rpartition(".")
        if isinstance(old, nn.Parameter):
            new = nn.Parameter(new, requires_grad=old.requires_grad)
        setattr(module.get_submodule(owner), leaf, new)
    return module


class _NoDraws(TorchFunctionMode):
    """Leaves out the drawing of initial values, for which torch would import a great deal."""

    def __torch_function__(
        self, func: Any, types: Any, args: tuple[Any, ...] = (), kwargs: Any = None
    ) -> Any:
        kwargs = kwargs or {}
        if func in (Tensor.normal_, Tensor.uniform_):
            return args[0]
        if func in (torch.randn, torch.rand):
            return torch.empty(*args, **kwargs)
        return func(*args, **kwargs)


def _compare(module: nn.Module, shapes: Shapes, dtypes: Mapping[str, torch.dtype]) -> None:
    """Refuse tensors that are not those of a module."""
    own = {**dict(module.named_parameters()), **dict(module.named_buffers())}
    different = sorted(own.keys() ^ shapes.keys())
    if different:
        what = "is missing" if different[0] in own else "does not belong there"
        raise ValueError(f"{type(module).__name__}: {different[0]!r} {what}")
    for name, tensor in own.items():
        if tuple(tensor.shape) != tuple(shapes[name]):
            raise ValueError(
                f"{type(module).__name__}: {name!r} has shape {tuple(shapes[name])}, not "
                f"{tuple(tensor.shape)}"
            )
        if dtypes[name] != tensor.dtype:
            raise ValueError(
                f"{type(module).__name__}: {name!r} is {dtypes[name]}, not {tensor.dtype}"
            )


def tokenizers_in(description: Description) -> list[Description]:
    """Return the descriptions of the tokenizers that a described module is or holds."""
    if description["kind"] == "NCVQVAE":
        return [description]
    return description["tokenizers"] if description["kind"] == "BandedNCVQVAE" else []


def make_record(record_class: type[Record], values: Mapping[str, Any]) -> Record:
    """Return a dataclass of these values, having checked that numbers are numbers.

    Raises
    ------
    TypeError, ValueError
        On a field that it does not have, or a value of another type.
    """
    record = record_class(**values)
    for field in fields(record):  # type: ignore[arg-type]
        value = getattr(record, field.name)
        good = True
        if field.type is int:
            good = isinstance(value, int) and not isinstance(value, bool) and 0 <= value < 2**53
        elif field.type is float:
            good = isinstance(value, (int, float)) and math.isfinite(value)
        elif field.type in (str, bool):
            good = isinstance(value, field.type)  # type: ignore[arg-type]
        if not good:
            raise ValueError(f"{field.name} cannot be {value!r}")
    return record


def values_of(record: Any) -> dict[str, Any]:
    """Return the fields of a dataclass as they are; `dataclasses.asdict` would copy them."""
    return {field.name: getattr(record, field.name) for field in fields(record)}


def _is_users(ssl_method: Any) -> bool:
    return ssl_method is not None and not isinstance(ssl_method, str)


def _describe_vqvae(module: NCVQVAE) -> Description:
    return {
        "config": values_of(module.config),
        "loss_weights": values_of(module.loss_weights),
        "has_ssl": module.ssl is not None,
    }


def _make_vqvae(description: Description) -> NCVQVAE:
    module = NCVQVAE(make_record(NCVQVAEConfig, description["config"]))
    module.loss_weights = make_record(LossWeights, description["loss_weights"])
    if not description["has_ssl"]:
        module.ssl = None
    return module


def _check_vqvae(description: Description, shapes: Shapes) -> None:
    config = make_record(NCVQVAEConfig, description["config"])
    _check_depth("n_res_blocks", config.n_res_blocks, "encoder.blocks.", shapes)
    padded = max(config.n_timesteps, config.n_fft)
    _check_size("n_timesteps", padded, shapes["spectrogram.envelope"][0])
    _check_size("n_fft", config.n_fft, shapes["spectrogram.analysis"][-1])
    codebook = "quantizer.codebook"
    if config.n_levels > 1:
        _check_depth("n_levels", config.n_levels, "quantizer.levels.", shapes)
        codebook = "quantizer.levels.0.codebook"
    _check_size("n_codes", config.n_codes, shapes[codebook][0])
    known = {
        "frequency_axis": {"keep", "fold"},
        "codebook_init": {"kmeans", "random"},
        "ssl_pooling": {"avg", "avg_max"},
    }
    for name, values in known.items():
        if getattr(config, name) not in values:
            raise ValueError(f"{name} cannot be {getattr(config, name)!r}")
    if isinstance(config.ssl_method, str) and config.ssl_method not in SSL_METHODS:
        raise ValueError(f"ssl_method cannot be {config.ssl_method!r}")


_SPLITS: dict[str, Any] = {
    "stft": STFTSplitConfig,
    "wavelet": WaveletSplitConfig,
    "function": UserSplitConfig,
}


def _describe_banded(module: BandedNCVQVAE) -> Description:
    split = module.config.split
    (kind,) = (name for name, cls in _SPLITS.items() if type(split) is cls)
    # Lists, as text formats have them.
    values = {k: list(v) if isinstance(v, tuple) else v for k, v in values_of(split).items()}
    return {
        "split": {"kind": kind, **values},
        "tokenizers": [_describe_vqvae(cast(NCVQVAE, part)) for part in module.tokenizers],
        "series_weight": module.config.series_weight,
    }


def _banded_config(description: Description) -> BandedConfig:
    values = dict(description["split"])
    cls = _SPLITS.get(values.pop("kind"))
    if cls is None:
        raise ValueError("a split into bands is of no known kind")
    split: SplitConfig = make_record(
        cls, {k: tuple(v) if isinstance(v, list) else v for k, v in values.items()}
    )
    configs = [make_record(NCVQVAEConfig, part["config"]) for part in description["tokenizers"]]
    return make_record(
        BandedConfig,
        {
            "split": split,
            "tokenizers": tuple(configs),
            "series_weight": description["series_weight"],
        },
    )


def _make_banded(description: Description) -> BandedNCVQVAE:
    module = BandedNCVQVAE(_banded_config(description))
    weights = [
        make_record(LossWeights, part["loss_weights"]) for part in description["tokenizers"]
    ]
    module.configure(module.config, weights)
    for part, described in zip(module.tokenizers, description["tokenizers"], strict=True):
        if not described["has_ssl"]:
            cast(NCVQVAE, part).drop_training_parts()
    return module


def _check_banded(description: Description, shapes: Shapes) -> None:
    config = _banded_config(description)
    split = config.split
    _check_size("number of bands", len(split.names), shapes["mean"][0])
    _check_size("number of tokenizers", len(config.tokenizers), shapes["mean"][0])
    for i, (own, part) in enumerate(
        zip(config.tokenizers, description["tokenizers"], strict=True)
    ):
        prefix = f"tokenizers.{i}."
        _check_vqvae(
            part, {k.removeprefix(prefix): v for k, v in shapes.items() if k.startswith(prefix)}
        )
        for name in ("n_channels", "n_timesteps", "code_dim"):
            if getattr(own, name) != getattr(config, name):
                raise ValueError(f"{name} differs between bands")
    if isinstance(split, STFTSplitConfig):
        _check_ascending("cutoffs", split.cutoffs, split.n_fft // 2)
        padded = max(config.n_timesteps, split.n_fft)
        _check_size("n_timesteps", padded, shapes["split.spectrogram.envelope"][0])
        _check_size("n_fft", split.n_fft, shapes["split.spectrogram.analysis"][-1])
    if isinstance(split, WaveletSplitConfig):
        _check_ascending("levels", split.levels[::-1], _MAX_LEVEL)


def _check_ascending(name: str, values: tuple[Any, ...], most: int) -> None:
    """Refuse what are no whole numbers from 1 on in ascending order."""
    whole = all(isinstance(v, int) and not isinstance(v, bool) for v in values)
    if (
        not whole
        or not values
        or sorted({*values}) != list(values)
        or not (values[0] > 0 and values[-1] <= most)
    ):
        raise ValueError(f"{name} of bands cannot be {values!r}")


def _describe_prior(module: TokenTransformer) -> Description:
    return {"config": values_of(module.config), "barred": module.barred is not None}


def _prior_kind(module_class: type[TokenTransformer]) -> _Kind:
    def make(description: Description) -> TokenTransformer:
        config = make_record(PriorConfig, description["config"])
        shape = (config.n_tokens, config.n_codes)
        allowed = torch.ones(shape, dtype=torch.bool) if description["barred"] else None
        return module_class(config, allowed=allowed)

    return _Kind(module_class, _describe_prior, make, _check_prior)


def _check_prior(description: Description, shapes: Shapes) -> None:
    config = make_record(PriorConfig, description["config"])
    _check_depth("n_layers", config.n_layers, "blocks.", shapes)
    _check_size("n_tokens", config.n_tokens, shapes["bias"][0])
    _check_size("n_codes", config.n_codes, shapes["bias"][1])


def _describe_fcn(module: FCN) -> Description:
    first: Any = module.convolutions[1]
    return {"n_channels": first.in_channels, "n_classes": module.head.out_features}


def _make_fcn(description: Description) -> FCN:
    return FCN(description["n_channels"], description["n_classes"])


def _check_fcn(description: Description, shapes: Shapes) -> None:
    _check_size("n_classes", description["n_classes"], shapes["head.bias"][0])


def _describe_ppv(module: StandardisedPPV) -> Description:
    return {"configs": [values_of(config) for config in module.config]}


def _make_ppv(description: Description) -> StandardisedPPV:
    return StandardisedPPV([make_record(PPVConfig, values) for values in description["configs"]])


def _check_ppv(description: Description, shapes: Shapes) -> None:
    for i, values in enumerate(description["configs"]):
        config = make_record(PPVConfig, values)
        _check_size("n_channels", config.n_channels, shapes[f"parts.{i}.mix_0"][1])
    n_biases = sum(values["n_biases"] for values in description["configs"])
    _check_size("n_biases", n_biases * N_KERNELS, shapes["mean"][0])


def _describe_mapper(module: NeuralMapper) -> Description:
    return {"config": values_of(module.config)}


def _make_mapper(description: Description) -> NeuralMapper:
    return NeuralMapper(make_record(NeuralMapperConfig, description["config"]))


def _check_mapper(description: Description, shapes: Shapes) -> None:
    config = make_record(NeuralMapperConfig, description["config"])
    _check_depth("n_layers", config.n_layers, "convolutions.", shapes)
    if config.n_layers < 1:
        raise ValueError("n_layers cannot be 0")


def _check_size(name: str, size: int, found: int) -> None:
    if size != found:
        raise ValueError(f"{name} is {size}, but the weights are for {found}")


def _check_depth(name: str, depth: int, prefix: str, shapes: Shapes) -> None:
    found = {key.removeprefix(prefix).split(".")[0] for key in shapes if key.startswith(prefix)}
    _check_size(name, depth, len(found))
    if depth > _MAX_DEPTH:
        raise ValueError(f"{name} is {depth}, more than {_MAX_DEPTH}")


_KINDS: dict[str, _Kind] = {
    "NCVQVAE": _Kind(NCVQVAE, _describe_vqvae, _make_vqvae, _check_vqvae),
    "BandedNCVQVAE": _Kind(BandedNCVQVAE, _describe_banded, _make_banded, _check_banded),
    "MaskedPrior": _prior_kind(MaskedPrior),
    "AutoregressivePrior": _prior_kind(AutoregressivePrior),
    "NeuralMapper": _Kind(NeuralMapper, _describe_mapper, _make_mapper, _check_mapper),
    "StandardisedPPV": _Kind(StandardisedPPV, _describe_ppv, _make_ppv, _check_ppv),
    "FCN": _Kind(FCN, _describe_fcn, _make_fcn, _check_fcn),
}
