"""What both estimators share: seeds, pickling, and the training parameters' constraints."""

import copy
from contextlib import contextmanager
from numbers import Integral, Real

import torch
from sklearn.utils._param_validation import Interval, StrOptions

TRAINING_CONSTRAINTS = {
    "max_epochs": [StrOptions({"auto"}), Interval(Integral, 1, None, closed="left")],
    "batch_size": [Interval(Integral, 2, None, closed="left")],
    "lr": [Interval(Real, 0, None, closed="neither")],
    "weight_decay": [Interval(Real, 0, None, closed="left")],
    "lr_schedule": [StrOptions({"cosine", "onecycle", "constant"})],
    "early_stopping": ["boolean"],
    "validation_fraction": [Interval(Real, 0, 1, closed="neither")],
    "n_iter_no_change": [Interval(Integral, 1, None, closed="left")],
    "callbacks": [list, None],
}


@contextmanager
def isolated_seed(seed, device):
    """Seed torch inside the block and leave the caller's global generators as they were."""
    on_cuda = device.type == "cuda"
    with torch.random.fork_rng(devices=[device] if on_cuda else []):
        torch.default_generator.manual_seed(seed)
        if on_cuda:
            with torch.cuda.device(device):
                torch.cuda.manual_seed(seed)
        yield


class PortablePickleMixin:
    """Pickles torch modules from the CPU, so that a model fitted on a GPU loads anywhere."""

    def __getstate__(self):
        state = super().__getstate__().copy()
        for name, value in state.items():
            if isinstance(value, torch.nn.Module) and next(value.parameters()).is_cuda:
                state[name] = copy.deepcopy(value).cpu()
        return state
