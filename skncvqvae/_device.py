"""Which torch device the parameter `device` names."""

import warnings

import torch


def resolve_device(device: str | torch.device) -> torch.device:
    """Return the torch device that `device` names, ``"auto"`` being CUDA where there is one."""
    if device == "auto":
        device = "cuda" if torch.cuda.is_available() else "cpu"
    try:
        resolved = torch.device(device)
        torch.empty(0, device=resolved)
    except (RuntimeError, AssertionError, NotImplementedError) as error:
        # CUDA's goes on with lines for those who program it.
        reason = str(error).partition("\n")[0].rstrip(".")
        raise ValueError(
            f"device={str(device)!r} cannot be used on this machine ({reason}). "
            "Use device='auto' or 'cpu'."
        ) from error
    return resolved


def prediction_device(device: str | torch.device) -> torch.device:
    """As `resolve_device`, but fall back to the CPU where the GPU of the fit is missing."""
    try:
        return resolve_device(device)
    except ValueError as error:
        warnings.warn(f"{error} Predicting on the CPU.", stacklevel=2)
        return torch.device("cpu")
