"""Exempting parts of a module from automatic mixed precision."""

import functools
from collections.abc import Callable
from typing import Any, ParamSpec, TypeVar

import torch

P = ParamSpec("P")
R = TypeVar("R")


def full_precision(function: Callable[P, R]) -> Callable[P, R]:
    """Run `function` in single precision, whatever `torch.autocast` surrounds it.

    For what rounding to bfloat16 (8 bits of precision) would spoil: transforms that must be
    exact, distances to codes, statistics over a batch. Tensors among the arguments that are of
    half the precision are converted; gradients flow through the conversion.
    """

    def convert(value: Any) -> Any:
        half = isinstance(value, torch.Tensor) and value.dtype in (torch.bfloat16, torch.float16)
        return value.float() if half else value

    @functools.wraps(function)
    def wrapper(*args: P.args, **kwargs: P.kwargs) -> R:
        values = [*args, *kwargs.values()]
        device_type = next(v.device.type for v in values if isinstance(v, torch.Tensor))
        if not torch.is_autocast_enabled(device_type):
            return function(*args, **kwargs)
        full = [convert(value) for value in args]
        full_kwargs = {name: convert(value) for name, value in kwargs.items()}
        with torch.autocast(device_type, enabled=False):
            return function(*full, **full_kwargs)  # type: ignore[arg-type]

    return wrapper
