"""Running fitted torch modules over numpy arrays, one batch at a time."""

import numpy as np
import torch

from ._device import prediction_device

# More series at a time are no faster on a CPU, and take more memory.
_MAX_CPU_BATCH = 128


def map_batches(function, arrays, *, module, device, batch_size, mixed_precision=False):
    """Apply `function` to batches of arrays and concatenate what it returns.

    Parameters
    ----------
    function : callable
        Takes one tensor on `device` for each array and returns a tensor; usually a method of
        `module`.
    arrays : tuple of ndarray
        First axes agree and are not empty.
    module : torch.nn.Module
        Moved to `device` and set to evaluation mode first.
    device : str or torch.device
        As the estimators' parameter; without the GPU it names, the CPU.
    batch_size : int
        On the CPU at most 128.
    mixed_precision : bool, default=False
        Run under bfloat16 autocast.

    Returns
    -------
    ndarray
    """
    device = prediction_device(device)
    if device.type == "cpu":
        batch_size = min(batch_size, _MAX_CPU_BATCH)
    module.to(device).eval()
    # Filled batch by batch: to concatenate at the end would hold all outputs twice.
    outputs = None
    autocast = torch.autocast(device.type, torch.bfloat16, enabled=mixed_precision)
    with torch.inference_mode(), autocast:
        for start in range(0, len(arrays[0]), batch_size):
            batch = [
                torch.from_numpy(array[start : start + batch_size]).to(device) for array in arrays
            ]
            output = function(*batch).cpu().numpy()
            if outputs is None:
                outputs = np.empty((len(arrays[0]), *output.shape[1:]), output.dtype)
            outputs[start : start + batch_size] = output
    return outputs
