"""Exempting parts of a module from automatic mixed precision."""

import functools

import torch


def full_precision(function):
    """Run `function` in single precision, whatever `torch.autocast` surrounds it.

    For what rounding to bfloat16 (8 bits of precision) would spoil: transforms that must be
    exact, distances to codes, statistics over a batch. Tensors among the arguments that are of
    a lower precision are converted; gradients flow through the conversion.
    """

    @functools.wraps(function)
    def wrapper(*args, **kwargs):
        tensors = [a for a in args if isinstance(a, torch.Tensor)]
        device_type = tensors[0].device.type
        if not torch.is_autocast_enabled(device_type):
            return function(*args, **kwargs)
        args = [
            a.float() if isinstance(a, torch.Tensor) and a.is_floating_point() else a for a in args
        ]
        with torch.autocast(device_type, enabled=False):
            return function(*args, **kwargs)

    return wrapper
