"""Running fitted torch modules over numpy arrays, one batch at a time."""

from collections.abc import Callable
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from ._base import mind_fork
from ._device import prediction_device
from ._progress import watch_batches

# More series at a time are no faster through convolutions on a CPU, and take more memory.
_MAX_CPU_BATCH = 128


def map_batches(
    function: Callable[..., torch.Tensor],
    arrays: tuple[Any, ...],
    *,
    module: torch.nn.Module,
    device: str | torch.device,
    batch_size: int,
    max_cpu_batch: int = _MAX_CPU_BATCH,
    mixed_precision: bool = False,
    show_as: str | None = None,
) -> NDArray[Any]:
    """Apply `function` to batches of arrays and concatenate what it returns.

    Parameters
    ----------
    function : callable
        Takes one tensor on `device` for each array and returns a tensor; usually a method of
        `module`.
    arrays : tuple of ndarray or LazySeries
        First axes agree and are not empty.
    module : torch.nn.Module
        Moved to `device` and set to evaluation mode first.
    device : str or torch.device
        As the estimators' parameter; without the GPU it names, the CPU.
    batch_size : int
    max_cpu_batch : int, default=128
        Largest batch on the CPU.
    mixed_precision : bool, default=False
        Run under bfloat16 autocast.
    show_as : str, optional
        What to call it where progress is shown, which is after a few seconds.

    Returns
    -------
    ndarray
    """
    mind_fork()
    device = prediction_device(device)
    if device.type == "cpu":
        batch_size = min(batch_size, max_cpu_batch)
    module.to(device).eval()
    n = len(arrays[0])
    # Filled batch by batch: to concatenate at the end would hold all outputs twice.
    outputs = np.empty(0)
    autocast = torch.autocast(device.type, torch.bfloat16, enabled=mixed_precision)
    with torch.inference_mode(), autocast:
        for part in watch_batches(n, batch_size, show_as):
            batch = [torch.from_numpy(array[part]).to(device) for array in arrays]
            output = function(*batch).cpu().numpy()
            if part.start == 0:
                outputs = np.empty((n, *output.shape[1:]), output.dtype)
            outputs[part] = output
    return outputs
