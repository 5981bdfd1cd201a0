"""Exempting parts of a module from automatic mixed precision."""

import functools

import torch


def full_precision(function):
    """Run `function` in single precision, whatever `torch.autocast` surrounds it.

    For what rounding to bfloat16 (8 bits of precision) would spoil: transforms that must be
    exact, distances to codes, statistics over a batch. Tensors among the arguments that are of
    half the precision are converted; gradients flow through the conversion.
    """

    def convert(value):
        half = isinstance(value, torch.Tensor) and value.dtype in (torch.bfloat16, torch.float16)
        return value.float() if half else value

    @functools.wraps(function)
    def wrapper(*args, **kwargs):
        values = [*args, *kwargs.values()]
        device_type = next(v.device.type for v in values if isinstance(v, torch.Tensor))
        if not torch.is_autocast_enabled(device_type):
            return function(*args, **kwargs)
        args = [convert(value) for value in args]
        kwargs = {name: convert(value) for name, value in kwargs.items()}
        with torch.autocast(device_type, enabled=False):
            return function(*args, **kwargs)

    return wrapper
