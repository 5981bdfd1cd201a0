"""Fingerprints of parameters, the user's functions and objects among them.

Equality does not do: a loss that is a torch module equals only itself, and not its copy.
"""

import hashlib
import random
import types
from collections.abc import Iterator, Mapping
from typing import Any

import numpy as np
import torch

#: Sources of random numbers.
STREAMS = (np.random.RandomState, np.random.Generator, torch.Generator, random.Random)


def fingerprint(value: Any) -> str:
    """Return a name that only values have which do the same.

    Functions are told by their code and what it holds on to, other objects by what pickle would
    keep of them, in another process as in this one. Where a random generator stands does not
    count.

    Parameters
    ----------
    value : object

    Returns
    -------
    str
        Of 64 hexadecimal digits.
    """
    found = hashlib.sha256()
    for part in _tell(value, ()):
        # The length before each part, so that no two lists of parts read alike.
        found.update(len(part).to_bytes(8, "big") + part)
    return found.hexdigest()


def is_plain_value(value: Any) -> bool:
    """Return whether the text of a value says all of it."""
    if isinstance(value, (list, tuple)):
        return all(is_plain_value(part) for part in value)
    return value is None or type(value) in (bool, int, float, complex, str, bytes)


def _tell(value: Any, outer: tuple[int, ...]) -> Iterator[bytes]:
    """Yield what tells a value from others; `outer` are the values that it is in."""
    if id(value) in outer:
        yield f"as {outer.index(id(value))}".encode()
        return
    outer = (*outer, id(value))
    if isinstance(value, (type, types.ModuleType, types.BuiltinFunctionType)):
        yield _name(value).encode()
        return
    yield _name(type(value)).encode()
    if isinstance(value, STREAMS):
        return
    if value is None or isinstance(value, (bool, int, float, complex, str, bytes, np.generic)):
        yield repr(value).encode()
    elif isinstance(value, torch.Tensor):
        tensor = value.detach().cpu().to_dense().contiguous()
        yield f"{tensor.dtype} {tuple(tensor.shape)}".encode()
        yield tensor.reshape(-1).view(torch.uint8).numpy().tobytes()
    elif isinstance(value, np.ndarray) and not value.dtype.hasobject:
        yield f"{value.dtype.str} {value.shape}".encode()
        yield value.tobytes()
    elif isinstance(value, (set, frozenset)):
        yield from (name.encode() for name in sorted(map(fingerprint, value)))
    else:
        for part in _parts(value):
            yield from _tell(part, outer)


def _parts(value: Any) -> list[Any]:
    """Return what an object consists of."""
    if isinstance(value, Mapping):
        return [part for key in sorted(value, key=repr) for part in (key, value[key])]
    if isinstance(value, (list, tuple)):
        return list(value)
    if isinstance(value, types.FunctionType):
        cells = []
        for cell in value.__closure__ or ():
            try:
                cells.append(cell.cell_contents)
            except ValueError:  # an empty one
                cells.append(None)
        return [value.__code__, value.__defaults__, value.__kwdefaults__, cells]
    if isinstance(value, types.CodeType):
        return [value.co_name, value.co_code, value.co_consts, value.co_names]
    if isinstance(value, types.MethodType):
        return [value.__func__, value.__self__]
    try:
        reduced = value.__reduce_ex__(4)
    except Exception:  # whatever it is, it cannot be pickled
        return [getattr(value, "__dict__", None)]
    if isinstance(reduced, str):
        return [reduced]
    # Items of lists and mappings come as iterators.
    return [list(part) if isinstance(part, Iterator) else part for part in reduced]


def _name(value: Any) -> str:
    """Return the name of a class, module or function, the same in a process that was spawned."""
    module = getattr(value, "__module__", None) or ""
    name = getattr(value, "__qualname__", None) or value.__name__
    return f"{'__main__' if module == '__mp_main__' else module}.{name}"
