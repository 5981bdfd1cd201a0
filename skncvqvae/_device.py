"""Which torch device `device` names, and the same results on it for the same seed."""

import os
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, Literal

import joblib
import torch

from .nn.distributed import world_size


def resolve_device(device: str | torch.device) -> torch.device:
    """Return the torch device that `device` names, ``"auto"`` being CUDA where there is one.

    In one of several processes that train together, CUDA is the GPU of that process: the one of
    the number that the launcher gave it on its machine.
    """
    if device == "auto":
        device = "cuda" if torch.cuda.is_available() else "cpu"
    try:
        resolved = torch.device(device)
        if resolved == torch.device("cuda") and world_size() > 1:
            resolved = torch.device("cuda", _own_gpu())
        torch.empty(0, device=resolved)
    except (RuntimeError, AssertionError, NotImplementedError) as error:
        # CUDA's goes on with lines for those who program it.
        reason = str(error).partition("\n")[0].rstrip(".")
        raise ValueError(
            f"device={str(device)!r} cannot be used on this machine ({reason}). "
            "Use device='auto' or 'cpu'."
        ) from error
    return resolved


def _own_gpu() -> int:
    """Return which of the GPUs of this machine the launcher meant for this process."""
    if "LOCAL_RANK" in os.environ:
        return int(os.environ["LOCAL_RANK"]) % max(torch.cuda.device_count(), 1)
    return torch.cuda.current_device()


def prediction_device(device: str | torch.device) -> torch.device:
    """As `resolve_device`, but fall back to the CPU where the GPU of the fit is missing."""
    try:
        return resolve_device(device)
    except ValueError as error:
        warnings.warn(f"{error} Predicting on the CPU.", stacklevel=2)
        return torch.device("cpu")


def resolve_precision(mixed_precision: bool | Literal["auto"], device: torch.device) -> bool:
    """Return whether to train in bfloat16, ``"auto"`` being where the processor computes in it.

    Others imitate it, which is slower than single precision. Older versions of torch do not tell
    what a CPU can do; with them, ``"auto"`` is single precision there.
    """
    if mixed_precision != "auto":
        return bool(mixed_precision)
    if device.type == "cuda":
        return torch.cuda.is_bf16_supported(including_emulation=False)
    if device.type != "cpu" or not hasattr(torch.cpu, "get_capabilities"):
        return False
    able = torch.cpu.get_capabilities()
    return any(able.get(name, False) for name in ("avx512_bf16", "amx_bf16"))


@contextmanager
def few_threads(most: int | None = None) -> Iterator[None]:
    """Let torch compute in no more threads than there are processors for this process.

    torch counts those of the machine. In a container with a share of them, its threads would wait
    for each other most of the time. The setting is one of the whole process, so callers must take
    turns.

    Parameters
    ----------
    most : int, optional
        Nor in more than so many.
    """
    before = torch.get_num_threads()
    allowed = min(before, joblib.cpu_count(), before if most is None else most)
    if allowed == before:
        yield
        return
    torch.set_num_threads(allowed)
    try:
        yield
    finally:
        torch.set_num_threads(before)


@contextmanager
def repeatable(device: torch.device) -> Iterator[None]:
    """Let a GPU add in the same order each time; a CPU does anyway.

    torch's setting is one of the whole process, so callers must take turns. An operation that
    has no such order warns.
    """
    if device.type != "cuda":
        yield
        return
    enabled = torch.are_deterministic_algorithms_enabled()
    warn_only = torch.is_deterministic_algorithms_warn_only_enabled()
    settings: Any = torch.utils.deterministic
    fill = settings.fill_uninitialized_memory
    with warnings.catch_warnings():
        # It matters to programs that compute in several CUDA streams at a time.
        warnings.filterwarnings("ignore", message=".*CUBLAS_WORKSPACE_CONFIG")
        torch.use_deterministic_algorithms(True, warn_only=not enabled or warn_only)
        # Nothing here reads memory before it is written.
        settings.fill_uninitialized_memory = fill and enabled
        try:
            yield
        finally:
            torch.use_deterministic_algorithms(enabled, warn_only=warn_only)
            settings.fill_uninitialized_memory = fill
