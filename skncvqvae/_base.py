"""What the estimators share: seeds, pickling, atomic fits, and parameters of parts."""

import copy
import dataclasses
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, TypeVar, cast

import numpy as np
import torch
from sklearn.base import BaseEstimator, clone
from sklearn.utils import check_random_state

Config = TypeVar("Config")
Estimator = TypeVar("Estimator")


def clone_estimator(estimator: Estimator) -> Estimator:
    """Return scikit-learn's clone of an estimator, whose type it leaves open."""
    return cast(Estimator, clone(estimator))


def draw_seed(random_state: int | np.random.RandomState | None) -> int:
    """Return a seed for torch, drawn from what scikit-learn takes as `random_state`."""
    return int(check_random_state(random_state).randint(np.iinfo(np.int32).max))


def make_config(config_class: type[Config], estimator: BaseEstimator, **resolved: Any) -> Config:
    """Return the configuration of a module that an estimator's parameters describe.

    Parameters
    ----------
    config_class : dataclass
        Its fields are taken from the parameters of the same names.
    estimator : estimator
    **resolved
        Fields that are no parameters, or whose parameters may be ``"auto"``.
    """
    params = estimator.get_params(deep=False)
    names = {field.name for field in dataclasses.fields(config_class)}  # type: ignore[arg-type]
    return config_class(**({k: params[k] for k in names & params.keys()} | resolved))


def check_same_config(fitted: Any, wanted: Any) -> None:
    """Refuse to continue a model, by warm start, that is not the one the parameters describe.

    Raises
    ------
    ValueError
        Where two configurations of one class differ.
    """
    before, after = vars(fitted), vars(wanted)
    changes = [f"{k} ({before[k]!r} to {after[k]!r})" for k in after if before[k] != after[k]]
    if changes:
        raise ValueError(
            "warm_start=True continues the fitted model, but these parameters differ from it: "
            f"{', '.join(changes)}. Restore them or set warm_start=False."
        )


@contextmanager
def keep_fitted_state(estimator: BaseEstimator) -> Iterator[None]:
    """Give an estimator its attributes back when the fit inside the block fails."""
    state = vars(estimator).copy()
    try:
        yield
    except BaseException:
        vars(estimator).clear()
        vars(estimator).update(state)
        raise


_global_generators = threading.RLock()


@contextmanager
def isolated_seed(seed: int, device: torch.device) -> Iterator[None]:
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


class ModelMixin:
    """Checks of parameters on their own, and pickles that load without a GPU."""

    def check_params(self) -> None:
        """Check the parameters, as `fit` does first.

        Raises
        ------
        ValueError
            On a wrong value, naming the parameter.
        """
        self._validate_params()  # type: ignore[attr-defined]

    def __getstate__(self) -> dict[str, Any]:
        """Move torch modules to the CPU, so that a model fitted on a GPU loads anywhere."""
        state = super().__getstate__().copy()  # type: ignore[misc]
        for name, value in state.items():
            tensors = value.state_dict().values() if isinstance(value, torch.nn.Module) else ()
            if any(tensor.is_cuda for tensor in tensors):
                state[name] = copy.deepcopy(value).cpu()
        return state


def set_nested_params(
    estimator: BaseEstimator, params: dict[str, Any], defaults: dict[str, Any]
) -> None:
    """Set parameters of an estimator whose parts may be None while they are default.

    Parameters
    ----------
    estimator : estimator
    params : dict of str to Any
    defaults : dict of str to callable
        For each part, what makes the default; called where a parameter of a part that is None
        is set.
    """
    nested = {name: value for name, value in params.items() if "__" in name}
    BaseEstimator.set_params(
        estimator, **{name: value for name, value in params.items() if name not in nested}
    )
    for part, make in defaults.items():
        wanted = any(name.startswith(f"{part}__") for name in nested)
        if wanted and getattr(estimator, part) is None:
            setattr(estimator, part, make())
    BaseEstimator.set_params(estimator, **nested)
