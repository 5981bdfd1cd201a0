"""What both estimators share: seeds, pickling, and the training parameters' constraints."""

import copy
import threading
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
    "mixed_precision": ["boolean"],
}


def resolve_architecture(estimator, names, automatic, fitted=None):
    """Return the parameters that a model is built from, with values in place of ``"auto"``.

    Parameters
    ----------
    estimator : estimator
    names : sequence of str
        Its parameters that count.
    automatic : dict of str to callable
        For each parameter that may be ``"auto"``, what makes a value of those before it.
    fitted : dict, optional
        What an earlier fit resolved, of a model that is continued: it keeps its size, however
        many series it now gets.
    """
    architecture = {}
    for name in names:
        value = getattr(estimator, name)
        if name in automatic and value == "auto":
            value = automatic[name](architecture) if fitted is None else fitted[name]
        architecture[name] = value
    return architecture


def check_same_architecture(fitted, wanted):
    """Refuse to continue a model, by warm start, that is not the one the parameters describe."""
    changes = [f"{k} ({fitted[k]!r} to {wanted[k]!r})" for k in wanted if fitted[k] != wanted[k]]
    if changes:
        raise ValueError(
            "warm_start=True continues the fitted model, but these parameters differ from it: "
            f"{', '.join(changes)}. Restore them or set warm_start=False."
        )


_global_generators = threading.RLock()


@contextmanager
def isolated_seed(seed, device):
    """Seed torch inside the block and leave the caller's global generators as they were.

    Weight initialisation and dropout know only the global generators, so fits in several threads
    of a process take turns.
    """
    on_cuda = device.type == "cuda"
    with _global_generators, torch.random.fork_rng(devices=[device] if on_cuda else []):
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
