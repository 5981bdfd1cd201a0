"""Training loops: skorch nets that optimise the torch modules' own losses."""

import logging
import math
import os
import random
import warnings
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass, is_dataclass
from itertools import islice
from numbers import Integral, Real
from typing import Any, Literal

import numpy as np
import torch
from numpy.typing import NDArray
from sklearn.base import BaseEstimator
from sklearn.utils._param_validation import Interval, StrOptions
from skorch import NeuralNet
from skorch.callbacks import Callback, EarlyStopping, LRScheduler, PassthroughScoring, PrintLog
from skorch.callbacks.scoring import ScoringBase
from skorch.helper import predefined_split
from skorch.history import History
from skorch.utils import noop, to_tensor
from torch.optim import Optimizer
from torch.optim.lr_scheduler import CosineAnnealingLR, LambdaLR, OneCycleLR
from torch.optim.lr_scheduler import LRScheduler as TorchScheduler
from torch.optim.swa_utils import AveragedModel
from torch.utils.data import DataLoader, Dataset, Sampler, TensorDataset

from ._base import make_config, pack_history, seed_torch, unpack_history
from ._checkpoints import (
    Checkpoint,
    Folder,
    Identity,
    find_streams,
    is_plain,
    set_stream_state,
    stream_state,
)
from ._device import few_threads, resolve_precision
from ._memory import LazySeries, take
from ._progress import ShowProgress, say
from .nn.distributed import (
    average_gradients,
    average_terms,
    collect,
    from_first,
    launched,
    rank,
    sharded,
    world_size,
)
from .nn.state import settle, tensors_of

# No network that works has weights of this size.
_LARGEST_WEIGHT = 1e12

# Makes a scheduler for an optimizer, which is stepped after each of so many batches.
ScheduleFactory = Callable[[Optimizer, int], TorchScheduler]
LRSchedule = Literal["wsd", "onecycle", "cosine", "warmup", "constant"]
# Steps over which "warmup" and "wsd" rise.
_N_WARMUP_STEPS = 50
# Share of the steps from which "wsd" falls, and over which it rises at most.
_STABLE_UNTIL = 0.4
_MOST_WARMUP = 1 / 6

_logger = logging.getLogger("skncvqvae")


def _onecycle(optimizer: Optimizer, n_steps: int) -> TorchScheduler:
    peak = [group["lr"] for group in optimizer.param_groups]
    return OneCycleLR(optimizer, max_lr=peak, total_steps=n_steps)


def _cosine(optimizer: Optimizer, n_steps: int) -> TorchScheduler:
    return CosineAnnealingLR(optimizer, T_max=n_steps)


def _warmup(optimizer: Optimizer, n_steps: int) -> TorchScheduler:
    return LambdaLR(optimizer, lambda step: min(1.0, (step + 1) / _N_WARMUP_STEPS))


def _wsd(optimizer: Optimizer, n_steps: int) -> TorchScheduler:
    """Warm-up, a long stable rate, and decay by a cosine.

    Source: Hu et al., arXiv:2404.06395, section 4.
    """
    n_warmup = max(1, min(_N_WARMUP_STEPS, round(_MOST_WARMUP * n_steps)))
    n_stable = max(n_warmup, round(_STABLE_UNTIL * n_steps))

    def factor(step: int) -> float:
        if step < n_warmup:
            return (step + 1) / n_warmup
        done = max(step - n_stable, 0) / max(n_steps - n_stable, 1)
        return (1 + math.cos(math.pi * done)) / 2

    return LambdaLR(optimizer, factor)


def _constant(optimizer: Optimizer, n_steps: int) -> TorchScheduler:
    return LambdaLR(optimizer, lambda step: 1.0)


# All that `lr_schedule` takes by name.
LR_SCHEDULES: dict[str, ScheduleFactory] = {
    "wsd": _wsd,
    "onecycle": _onecycle,
    "cosine": _cosine,
    "warmup": _warmup,
    "constant": _constant,
}

TRAINING_CONSTRAINTS: dict[str, list[Any]] = {
    "max_epochs": [StrOptions({"auto"}), Interval(Integral, 1, None, closed="left")],
    "batch_size": [Interval(Integral, 2, None, closed="left")],
    "lr": [Interval(Real, 0, None, closed="neither")],
    "weight_decay": [Interval(Real, 0, None, closed="left")],
    "lr_schedule": [StrOptions(set(LR_SCHEDULES)), callable],
    "early_stopping": ["boolean"],
    "validation_fraction": [Interval(Real, 0, 1, closed="neither")],
    "n_iter_no_change": [Interval(Integral, 1, None, closed="left")],
    "callbacks": [list, None],
    "mixed_precision": ["boolean", StrOptions({"auto"})],
    "checkpoint_dir": [str, os.PathLike, None],
    "checkpoint_every": [Interval(Real, 0, None, closed="left")],
    "verbose": ["verbose"],
}


@dataclass(frozen=True)
class TrainConfig:
    """How to train; the parameters of these names of every estimator.

    Parameters
    ----------
    max_epochs : int or "auto"
        ``"auto"`` makes the net's `auto_epochs` of as many series and batches as there are.
    batch_size : int
    lr : float
        Largest learning rate of AdamW.
    weight_decay : float
    lr_schedule : {"wsd", "onecycle", "cosine", "warmup", "constant"} or callable
        See `LR_SCHEDULES`.
    n_iter_no_change : int
        Patience in epochs of early stopping, used where there is validation data.
    callbacks : list of skorch callbacks or None
    mixed_precision : bool or "auto"
    checkpoint_dir : str, path-like or None
        Folder in which the training keeps its progress, to go on from after it was stopped.
    checkpoint_every : float
        Minutes between two checkpoints.
    verbose : int
    betas : tuple of float
        AdamW's.
    average_decay : float
        Where it is above 0, the weights after training are an exponential moving average of
        those on the way, of this decay.
    earlier : float
        Share of the training after which the module is told to keep its weights, or their average.
        0 tells it nothing.
    """

    max_epochs: int | Literal["auto"] = "auto"
    batch_size: int = 128
    lr: float = 1e-3
    weight_decay: float = 0.0
    lr_schedule: LRSchedule | ScheduleFactory = "onecycle"
    n_iter_no_change: int = 20
    callbacks: Sequence[Callback] | None = None
    mixed_precision: bool | Literal["auto"] = "auto"
    checkpoint_dir: Folder | None = None
    checkpoint_every: float = 5.0
    verbose: int = 0
    betas: tuple[float, float] = (0.9, 0.999)
    average_decay: float = 0.0
    earlier: float = 0.0

    @classmethod
    def of(cls, estimator: BaseEstimator, **resolved: Any) -> "TrainConfig":
        """Return what an estimator's parameters say of training, as `make_config` reads them."""
        return make_config(cls, estimator, **resolved)


class _EvenBatches(Sampler):
    """Batches of indices that differ in size by at most one.

    A short last batch would give batch normalisation and the SSL losses statistics of a
    handful of series; spreading the remainder costs nothing.
    """

    def __init__(self, n: int, batch_size: int, generator: torch.Generator | None = None) -> None:
        self.n, self.generator = n, generator
        # At least two series in each, where there are two: one has no batch statistics.
        self.n_batches = max(1, min(math.ceil(n / batch_size), n // 2))

    def __len__(self) -> int:
        return self.n_batches

    def __iter__(self) -> Iterator[torch.Tensor]:
        if self.generator is None:
            order = torch.arange(self.n)
        else:
            order = torch.randperm(self.n, generator=self.generator)
        yield from order.tensor_split(self.n_batches)


class _StopOnDivergence(Callback):
    def on_epoch_end(self, net: Any, **kwargs: Any) -> None:
        if not math.isfinite(net.history[-1, "train_loss"]):
            raise FloatingPointError(
                f"The training loss became {net.history[-1, 'train_loss']} in epoch "
                f"{len(net.history)} of the {net.stage}. Lower its lr={net.lr:g}."
            )


def _check_weights(net: Any) -> None:
    """Refuse weights that are no numbers, or so large that what they compute is none.

    The loss does not tell where the last step is the one that diverges.
    """
    if not all(bool((p.abs() < _LARGEST_WEIGHT).all()) for p in net.module_.parameters()):
        raise FloatingPointError(
            f"The weights of the {net.stage} became too large in epoch {len(net.history)}. Lower "
            f"its lr={net.lr:g}."
        )


class _AverageWeights(Callback):
    """Ends training with a moving average of the weights (Polyak and Juditsky, 1992)."""

    def __init__(self, decay: float) -> None:
        self.decay = decay

    def state_dict(self) -> dict[str, torch.Tensor]:
        return tensors_of(self.averaged_)

    def load_state_dict(self, state: dict[str, torch.Tensor]) -> None:
        _fill(self.averaged_, state)

    def on_train_begin(self, net: Any, **kwargs: Any) -> None:
        average: Any = self._average  # annotated by torch with types that no list has
        self.averaged_ = AveragedModel(net.module_, multi_avg_fn=average)

    @torch.no_grad()
    def _average(
        self,
        averaged: Sequence[torch.Tensor],
        current: Sequence[torch.Tensor],
        n_averaged: torch.Tensor,
    ) -> None:
        # Shorter at the beginning, so that the average forgets where it started.
        decay = min(self.decay, float(n_averaged / (n_averaged + 10)))
        for mean, weight in zip(averaged, current, strict=True):
            mean.lerp_(weight, 1 - decay)

    def on_batch_end(self, net: Any, training: bool, **kwargs: Any) -> None:
        if training:
            self.averaged_.update_parameters(net.module_)

    def on_train_end(self, net: Any, **kwargs: Any) -> None:
        average = self.averaged_.module.parameters()
        with torch.no_grad():
            for weight, mean in zip(net.module_.parameters(), average, strict=True):
                weight.copy_(mean)


class _KeepEarlier(Callback):
    """Lets the module keep the weights that it would end with if training ended at some step."""

    def __init__(self, step: int, average: _AverageWeights | None) -> None:
        self.step, self.average = step, average

    def state_dict(self) -> dict[str, int]:
        return {"n_steps": self.n_steps_}

    def load_state_dict(self, state: dict[str, int]) -> None:
        self.n_steps_ = state["n_steps"]

    def on_train_begin(self, net: Any, **kwargs: Any) -> None:
        self.n_steps_ = 0

    def on_batch_end(self, net: Any, training: bool, **kwargs: Any) -> None:
        if not training:
            return
        self.n_steps_ += 1
        if self.n_steps_ == self.step:
            ends_with = net.module_ if self.average is None else self.average.averaged_.module
            net.module_.keep_earlier(ends_with.parameters())


class _KeepProgress(Callback):
    """Writes checkpoints, and restores one when training begins.

    The last of all callbacks, so that what the others did after a batch is in it. Of several
    processes that train together the first has the checkpoint, and the others None.
    """

    def __init__(self, checkpoint: Checkpoint | None, progress: dict[str, Any] | None) -> None:
        self.checkpoint, self.progress = checkpoint, progress

    def on_train_begin(self, net: Any, **kwargs: Any) -> None:
        net.keep_streams()
        if self.progress is not None:
            with _blaming(self.checkpoint):
                net.set_progress(self.progress)
        self.progress = None

    def on_batch_end(self, net: Any, training: bool, **kwargs: Any) -> None:
        if training and self.checkpoint is not None and self.checkpoint.is_due():
            self.checkpoint.write(net.progress(within_epoch=True))

    def on_epoch_end(self, net: Any, **kwargs: Any) -> None:
        if self.checkpoint is not None and self.checkpoint.is_due():
            self.checkpoint.write(net.progress(within_epoch=False))


class ModuleNet(NeuralNet):
    """A skorch net whose module computes its own loss terms.

    Subclasses say what they train (`stage`, for messages) and how many passes over the data
    ``max_epochs="auto"`` makes (`auto_epochs`). They count in optimiser steps, because a pass
    over a hundred series is one step and a pass over thousands is dozens.

    Where `torch.distributed` is initialised, each batch is shared out to its processes, which take
    together the step of a single one; see `nn.distributed`. All of them call `fit` on all data.

    Parameters
    ----------
    generator : torch.Generator
        Source of all randomness inside a training step, on the training device.
    valid_generator : torch.Generator
        The same for validation, which draws the same numbers in every epoch so that losses of
        epochs can be compared.
    shuffle_generator : torch.Generator
        Source of the batches' order, on the CPU.
    mixed_precision : bool
        Compute losses under bfloat16 autocast. That has the exponents of single precision, so
        gradients need no scaling.

    Attributes
    ----------
    hyperparameters : dict
        All that determines the training beside the data, by the names that users know; for
        callbacks that keep track of experiments.
    """

    def __init__(
        self,
        *args: Any,
        generator: torch.Generator,
        valid_generator: torch.Generator,
        shuffle_generator: torch.Generator,
        mixed_precision: bool = False,
        **kwargs: Any,
    ) -> None:
        super().__init__(*args, criterion=torch.nn.Identity, **kwargs)
        self.generator = generator
        self.valid_generator = valid_generator
        self.shuffle_generator = shuffle_generator
        self.mixed_precision = mixed_precision
        # Whether the user has stopped it, and not early stopping.
        self.interrupted = False
        # What is left of the epoch that a checkpoint was written in.
        self.begun: dict[str, Any] | None = None
        self.hyperparameters: dict[str, Any] = {}

    stage = "model"
    # With fewer values of a batch for each, threads wait longer than they compute.
    values_a_thread = 2048
    module_: Any

    def stateful_parts(self) -> list[Any]:
        """Return the user's functions and objects that may hold random generators."""
        return []

    @staticmethod
    def auto_epochs(n_series: int, n_batches: int) -> int:
        """Passes over the data that ``max_epochs="auto"`` makes."""
        raise NotImplementedError

    def loss_terms(self, batch: Sequence[torch.Tensor]) -> dict[str, torch.Tensor]:
        """Return the terms to record, and their weighted sum as ``"loss"``."""
        raise NotImplementedError

    def _recorded_step(self, batch: Sequence[Any], training: bool) -> dict[str, Any]:
        self._set_training(training)
        batch = [to_tensor(part, device=self.device) for part in batch]
        device_type = torch.device(self.device).type
        with torch.set_grad_enabled(training):
            # Its cache is one of the whole process: emptied by another thread, gradients would be
            # added in another precision.
            autocast = torch.autocast(
                device_type, torch.bfloat16, enabled=self.mixed_precision, cache_enabled=False
            )
            with sharded(len(batch[0])), autocast:
                terms = self.loss_terms(batch)
            if training:
                terms["loss"].backward()
                average_gradients(self.module_.parameters())
        terms = average_terms(terms)
        prefix = "train_" if training else "valid_"
        # One transfer for all terms: each read of a single value would wait for the device.
        names = [name for name in terms if name != "loss"]
        if names:
            values = torch.stack([terms[name].detach() for name in names]).tolist()
            for name, value in zip(names, values, strict=True):
                self.history.record_batch(prefix + name, value)
        return {"loss": terms["loss"].detach(), "y_pred": None}

    def part_streams(self) -> None:
        """Let dropout draw other numbers in each of several processes, whose rows are others.

        The first goes on as if it were alone; seeds of the others follow from the step, so that a
        checkpoint need not hold them.
        """
        if rank() == 0 or not self.module_.training:
            return
        row: Any = self.history[-1]
        step = (self.generator.initial_seed(), len(self.history), len(row["batches"]))
        (seed,) = np.random.SeedSequence([*step, rank()]).generate_state(1)
        seed_torch(int(seed), torch.device(self.device))

    def train_step_single(self, batch: Sequence[Any], **fit_params: Any) -> dict[str, Any]:
        return self._recorded_step(batch, training=True)

    def validation_step(self, batch: Sequence[Any], **fit_params: Any) -> dict[str, Any]:
        return self._recorded_step(batch, training=False)

    def get_iterator(self, dataset: Any, training: bool = False) -> DataLoader:
        generator = self.shuffle_generator if training else None
        sampler = _EvenBatches(len(dataset), self.batch_size, generator)
        # The sampler yields whole batches, which TensorDataset gathers in one indexing call.
        return DataLoader(
            dataset, sampler=sampler, batch_size=None, generator=self.shuffle_generator
        )

    def fit_loop(self, X: Any, y: Any = None, epochs: int | None = None, **kwargs: Any) -> Any:
        """Make the epochs that a checkpoint has left to do, or all."""
        epochs = self.max_epochs if epochs is None else epochs
        return super().fit_loop(X, y, epochs=epochs - len(self.history), **kwargs)

    def run_single_epoch(self, iterator: Any, training: bool, **kwargs: Any) -> None:
        batches = iterator
        if training:
            self.order_state = self.shuffle_generator.get_state()
            if self.begun is not None:
                batches = self._remaining(iterator, self.begun)
        else:
            self.valid_generator.manual_seed(0)
        # skorch's own early stopping raises KeyboardInterrupt too, but between epochs.
        try:
            super().run_single_epoch(batches, training=training, **kwargs)
            if training:
                self.history.record("train_batch_count", len(iterator))
        except KeyboardInterrupt:
            if world_size() > 1:
                # The others may be in another step, and would wait for this process.
                raise RuntimeError(
                    f"Training of the {self.stage} in several processes was interrupted."
                ) from None
            self.interrupted = True
            warnings.warn(
                "Training interrupted by the user; what has been learnt so far is kept.",
                stacklevel=2,
            )
            raise

    def _remaining(self, iterator: Iterable[Any], begun: dict[str, Any]) -> Iterator[Any]:
        """Yield the batches that come after those a checkpoint has done."""
        self.begun = None
        row: Any = self.history[-1]
        row.update(begun["row"])
        row["batches"] += begun["batches"]
        remaining = islice(iter(iterator), len(begun["batches"]), None)
        # The first is fetched before: what a user's callbacks drew until here was drawn already.
        first = list(islice(remaining, 1))
        self._set_streams(begun["streams"])
        yield from first
        yield from remaining

    def keep_streams(self) -> None:
        """Remember the global random generators, to see whether training draws from them."""
        self.global_states = _global_states()

    def progress(self, *, within_epoch: bool) -> dict[str, Any]:
        """Return all that training needs to go on from here, as plain values and tensors.

        Parameters
        ----------
        within_epoch : bool
            Whether there may be batches left in this epoch.
        """
        rows = [_plain_columns(row) for row in self.history]
        begun = {"row": rows.pop(), "batches": []} if within_epoch else None
        if begun is not None:
            row: Any = self.history[-1]
            batches = [_plain_columns(batch) for batch in row["batches"]]
            begun["batches"] = pack_history(History(batches))
        return {
            "module": tensors_of(self.module_),
            "optimizer": self.optimizer_.state_dict(),
            "callbacks": {
                name: state
                for name, callback in self.callbacks_
                if (state := _callback_state(callback)) is not None
            },
            "history": pack_history(History(rows)),
            "begun": begun,
            "streams": self._streams(within_epoch),
        }

    def set_progress(self, progress: dict[str, Any]) -> None:
        """Go back to where `progress` was called, in a net that has just begun to train."""
        _fill(self.module_, progress["module"])
        _load_optimizer(self.optimizer_, progress["optimizer"])
        for name, callback in self.callbacks_:
            if name in progress["callbacks"]:
                _set_callback_state(callback, progress["callbacks"][name])
        rows = unpack_history(progress["history"])
        self.history.extend({**row, "batches": []} for row in rows)
        begun = progress["begun"]
        if begun is not None:
            batches = list(unpack_history(begun["batches"]))
            self.begun = {**begun, "batches": batches, "streams": progress["streams"]}
        self.shuffle_generator.set_state(progress["streams"]["order"])
        self._set_streams(progress["streams"])

    def _streams(self, within_epoch: bool) -> dict[str, Any]:
        device = torch.device(self.device)
        order = self.order_state if within_epoch else self.shuffle_generator.get_state()
        drawn = {
            name: state
            for name, state in _global_states().items()
            if not _same(state, self.global_states[name])
        }
        return {
            "step": self.generator.get_state(),
            "order": order,
            "torch": torch.get_rng_state(),
            "cuda": torch.cuda.get_rng_state(device) if device.type == "cuda" else None,
            "global": drawn,
            "own": [stream_state(stream) for stream in find_streams(self.stateful_parts())],
        }

    def _set_streams(self, states: dict[str, Any]) -> None:
        self.generator.set_state(states["step"])
        torch.set_rng_state(states["torch"])
        if states["cuda"] is not None:
            torch.cuda.set_rng_state(states["cuda"], torch.device(self.device))
        if "python" in states["global"]:
            random.setstate(states["global"]["python"])
        if "numpy" in states["global"]:
            np.random.set_state(states["global"]["numpy"])  # noqa: NPY002
        own = find_streams(self.stateful_parts())
        if len(own) != len(states["own"]):
            raise ValueError("the augmentation or the loss had other random generators")
        for stream, state in zip(own, states["own"], strict=True):
            set_stream_state(stream, state)


def train(
    net_class: type[ModuleNet],
    module: torch.nn.Module,
    arrays: tuple[Any, ...],
    config: TrainConfig,
    *,
    valid_arrays: tuple[Any, ...] | None = None,
    term_names: Sequence[str] = (),
    device: torch.device,
    seed: int,
    **net_params: Any,
) -> History:
    """Train `module` in place and return its history, one row for each complete epoch.

    Parameters
    ----------
    net_class : type of ModuleNet
    module : torch.nn.Module
    arrays, valid_arrays : tuple of ndarray or LazySeries
        Training data and, for early stopping, validation data; first axes agree. With
        validation data the best weights are restored.
    config : TrainConfig
    term_names : sequence of str
        Loss terms to average over each epoch beside their sum.
    device : torch.device
    seed : int
    **net_params
        Further parameters of `net_class`.

    Returns
    -------
    skorch.history.History

    Raises
    ------
    ValueError
        Where `checkpoint_dir` holds an unfinished training of something else, or where processes
        that train together were given different data or parameters.
    FloatingPointError
        When the training loss is no longer finite.
    """
    valid = None if valid_arrays is None else _dataset(valid_arrays)
    n_batches = len(_EvenBatches(len(arrays[0]), config.batch_size))
    max_epochs = config.max_epochs
    if max_epochs == "auto":
        max_epochs = net_class.auto_epochs(len(arrays[0]), n_batches)
    course = _course(module, config, max_epochs, device, seed, net_params)
    everything = (*arrays, *(valid_arrays or ()))
    _agree(everything, module, course)
    checkpoint, progress = None, None
    folder = config.checkpoint_dir
    if folder is not None:
        checkpoint, progress = _open_checkpoint(
            folder, net_class.stage, everything, module, course, config
        )
        if progress is not None and progress["finished"]:
            with _blaming(checkpoint):
                _fill(module, progress["module"])
                history = unpack_history(progress["history"])
            module.to(device).eval()
            return history
    own: list[tuple[str, Callback]] = [
        (f"{split}_{name}", PassthroughScoring(f"{split}_{name}", on_train=split == "train"))
        for split in ("train", "valid")
        for name in term_names
    ]
    own.append(("divergence", _StopOnDivergence()))
    own.append(("lr", _make_schedule(config.lr_schedule, max_epochs * n_batches)))
    average = _AverageWeights(config.average_decay) if config.average_decay else None
    if average is not None:
        own.append(("average", average))
    if config.earlier and not module.has_earlier:
        step = max(1, round(config.earlier * max_epochs * n_batches))
        own.append(("earlier", _KeepEarlier(step, average)))
    if valid is not None:
        patience = config.n_iter_no_change
        # A sink that is not `print` is used whatever `verbose` is.
        sink = say if config.verbose else noop
        stopping = EarlyStopping(patience=patience, load_best=True, sink=sink)
        own.append(("early_stopping", stopping))

    _tell(
        f"Training the {net_class.stage} on {len(arrays[0])} series, {max_epochs} epochs of "
        f"{n_batches} batches, on {device}{_in_how_many_processes()}",
        config,
    )
    shown = ShowProgress(max_epochs, n_batches) if config.verbose == 1 else None
    if shown is not None:
        own.append(("progress", shown))
    settle(module, device)
    callbacks = own + list(config.callbacks or [])
    if folder is not None:
        callbacks.append(("keep_progress", _KeepProgress(checkpoint, progress)))
    net = net_class(
        module,
        optimizer=torch.optim.AdamW,
        optimizer__weight_decay=config.weight_decay,
        optimizer__betas=config.betas,
        optimizer__fused=True,
        lr=config.lr,
        max_epochs=max_epochs,
        batch_size=config.batch_size,
        train_split=None if valid is None else predefined_split(valid),
        callbacks=callbacks,
        device=device,
        verbose=config.verbose,
        mixed_precision=resolve_precision(config.mixed_precision, device),
        generator=torch.Generator(device).manual_seed(seed),
        valid_generator=torch.Generator(device),
        shuffle_generator=torch.Generator().manual_seed(seed),
        callbacks__print_log=PrintLog(sink=say) if config.verbose > 1 else None,
        **net_params,
    )
    net.hyperparameters = course
    n_values = min(len(arrays[0]), config.batch_size) * math.prod(arrays[0].shape[1:])
    try:
        with few_threads(math.ceil(n_values / net.values_a_thread)):
            net.fit(_dataset(arrays))
        _check_weights(net)
    except FloatingPointError:
        # To go on would lead to the same end.
        if checkpoint is not None:
            checkpoint.discard()
        raise
    finally:
        if shown is not None:
            shown.close()
    module.eval()
    settle(module, device)
    _equalise(module)
    # An interrupted epoch has no mean loss; the weights it reached are kept all the same.
    history = History(_plain_row(row) for row in net.history if "train_loss" in row)
    # Where the user has stopped it, the next fit can go on from the last checkpoint.
    if checkpoint is not None and not net.interrupted:
        rows = History(_plain_columns(row) for row in history)
        checkpoint.write(
            {"module": tensors_of(module), "history": pack_history(rows)}, finished=True
        )
    return history


def _agree(arrays: Sequence[Any], module: torch.nn.Module, course: dict[str, Any]) -> None:
    """See to it that processes that train together begin with the same model and data."""
    if world_size() == 1:
        n_launched = launched()
        if n_launched > 1:
            warnings.warn(
                f"This process is one of {n_launched} of a launcher, but each of them trains "
                "alone. Call torch.distributed.init_process_group() before fit to train together.",
                stacklevel=2,
            )
        return
    given: dict[str, Any] = {"the shapes of the data": [array.shape for array in arrays]}
    given |= Identity.of((), {}, course).parameters
    everywhere = collect((given, [_summary(array) for array in arrays]))
    first, first_data = everywhere[0]
    for number, (theirs, their_data) in enumerate(everywhere):
        names = [name for name in {**first, **theirs} if first.get(name) != theirs.get(name)]
        if not names and not all(map(_mostly_close, first_data, their_data)):
            names = ["the training data"]
        if names:
            raise ValueError(
                f"Processes that train together must call fit with the same data and parameters, "
                f"but process {number} differs from process 0 in {', '.join(names)}. Pass all "
                "series in each of them: batches are shared out while training."
            )
    _equalise(module)


def _summary(array: Any) -> NDArray[np.float64]:
    """Return a number for each of some series, not to read all."""
    some = np.unique(np.linspace(0, len(array) - 1, 16).astype(int))
    values = np.asarray(take(array, some)[:], dtype=np.float64).reshape(len(some), -1)
    # No plain mean, which is 0 in every series that is standardised by itself.
    return values @ np.linspace(1, 2, values.shape[1]) / values.shape[1]


def _mostly_close(one: NDArray[np.float64], other: NDArray[np.float64]) -> bool:
    """Whether summaries are of the same data, on machines that may differ in the last digits.

    These can move a latent to another code, and then one token differs.
    """
    return bool(np.isclose(one, other, rtol=1e-3, atol=1e-3).mean() > 0.5)


def _equalise(module: torch.nn.Module) -> None:
    """Give a module the tensors that it has in the first of the processes that train together."""
    if world_size() > 1:
        _fill(module, from_first(lambda: tensors_of(module)))


def _in_how_many_processes() -> str:
    n_processes = world_size()
    return f", in {n_processes} processes" if n_processes > 1 else ""


def _open_checkpoint(
    folder: Folder,
    stage: str,
    arrays: Sequence[Any],
    module: torch.nn.Module,
    course: dict[str, Any],
    config: TrainConfig,
) -> tuple[Checkpoint | None, dict[str, Any] | None]:
    """Return the checkpoint, in the first process, and what it holds, in all of them."""
    opened: list[Checkpoint] = []

    def read() -> dict[str, Any] | None:
        weights = tensors_of(module)
        identity = Identity.of(arrays, weights, course)
        n_bytes = sum(tensor.nbytes for tensor in weights.values())
        checkpoint = Checkpoint(folder, config.checkpoint_every, stage, identity, n_bytes)
        progress = checkpoint.open()
        if progress is not None:
            how = "is taken" if progress["finished"] else "goes on"
            _tell(f"The {stage} {how} from {checkpoint.path}", config)
        opened.append(checkpoint)
        return progress

    progress = from_first(read)
    return (opened[0] if opened else None), progress


def _blaming(checkpoint: Checkpoint | None) -> AbstractContextManager[None]:
    return nullcontext() if checkpoint is None else checkpoint.blaming()


def _tell(text: str, config: TrainConfig) -> None:
    if rank() > 0:
        return
    _logger.info(text)
    if config.verbose:
        say(text)


def _course(
    module: Any,
    config: TrainConfig,
    max_epochs: int,
    device: torch.device,
    seed: int,
    net_params: dict[str, Any],
) -> dict[str, Any]:
    """Return all that determines how training goes on, by the names that users know."""
    course: dict[str, Any] = {}
    for part in (getattr(module, "config", None), config):
        if is_dataclass(part) and not isinstance(part, type):
            course |= vars(part)
    # Those of each band, where there are several.
    for path, part in module.named_modules():
        weights = getattr(part, "loss_weights", None)
        if is_dataclass(weights) and not isinstance(weights, type):
            prefix = f"{path}." if path else ""
            course |= {f"{prefix}{name}": value for name, value in vars(weights).items()}
    aside = ("callbacks", "checkpoint_dir", "checkpoint_every", "verbose")
    course = {name: value for name, value in course.items() if name not in aside}
    course |= {"max_epochs": max_epochs, "device": device.type, "random_state": seed}
    return course | net_params


def _fill(module: torch.nn.Module, state: dict[str, torch.Tensor]) -> None:
    """Give a module's tensors the values of `tensors_of`, each in its own place and layout."""
    own = {**dict(module.named_parameters()), **dict(module.named_buffers())}
    with torch.no_grad():
        for name, tensor in own.items():
            tensor.copy_(state[name])


def _load_optimizer(optimizer: Optimizer, state: dict[str, Any]) -> None:
    """Restore an optimizer, its moments in the memory layout of the parameters.

    Fused kernels go through both in the order of memory.
    """
    parameters = [p for group in optimizer.param_groups for p in group["params"]]
    moments = {}
    for index, values in state["state"].items():
        parameter = parameters[index]
        moments[index] = {
            name: torch.empty_like(parameter, dtype=value.dtype, device="cpu").copy_(value)
            if isinstance(value, torch.Tensor) and value.shape == parameter.shape and value.ndim
            else value
            for name, value in values.items()
        }
    optimizer.load_state_dict({**state, "state": moments})


def _callback_state(callback: Any) -> dict[str, Any] | None:
    """Return what a callback has to remember; None where there is nothing, or nothing is known."""
    if isinstance(callback, _KeepProgress):
        return None
    if hasattr(callback, "state_dict") and hasattr(callback, "load_state_dict"):
        return callback.state_dict()
    if isinstance(callback, LRScheduler):
        scheduler: Any = callback.lr_scheduler_
        return {"scheduler": scheduler.state_dict(), "batch_idx_": callback.batch_idx_}
    return {name: getattr(callback, name) for name in _remembered(callback)} or None


def _set_callback_state(callback: Any, state: dict[str, Any]) -> None:
    if hasattr(callback, "state_dict") and hasattr(callback, "load_state_dict"):
        callback.load_state_dict(state)
    elif isinstance(callback, LRScheduler):
        scheduler: Any = callback.lr_scheduler_
        scheduler.load_state_dict(state["scheduler"])
        callback.batch_idx_ = state["batch_idx_"]
    else:
        for name in _remembered(callback):
            setattr(callback, name, state[name])


def _remembered(callback: Callback) -> tuple[str, ...]:
    """Return the attributes of skorch's callbacks that change from epoch to epoch."""
    if isinstance(callback, EarlyStopping):
        return ("misses_", "dynamic_threshold_", "best_model_weights_", "best_epoch_")
    if isinstance(callback, (PassthroughScoring, ScoringBase)):
        return ("best_score_",)
    return ()


def _global_states() -> dict[str, Any]:
    return {
        "python": random.getstate(),
        "numpy": np.random.get_state(legacy=False),  # noqa: NPY002
    }


def _same(one: Any, other: Any) -> bool:
    """Whether two states of random generators are equal."""
    if isinstance(one, dict):
        return all(_same(one[name], other[name]) for name in one)
    return bool(np.array_equal(one, other)) if isinstance(one, np.ndarray) else one == other


def _plain_columns(row: dict[str, Any]) -> dict[str, Any]:
    """Return the columns of a row that checkpoints can hold, in Python's own types."""
    return {
        name: value.item() if isinstance(value, np.generic) else value
        for name, value in row.items()
        if name != "batches" and is_plain(value)
    }


def _make_schedule(schedule: LRSchedule | ScheduleFactory, n_steps: int) -> LRScheduler:
    factory = LR_SCHEDULES[schedule] if isinstance(schedule, str) else schedule

    def policy(optimizer: Optimizer, last_epoch: int) -> TorchScheduler:
        # skorch says where to resume; a net here always starts anew.
        made = factory(optimizer, n_steps)
        if not hasattr(made, "step"):
            raise TypeError(
                f"lr_schedule={schedule!r} must return a scheduler of torch, but it returned "
                f"{made!r}."
            )
        return made

    made: Any = policy  # skorch takes any callable, though its default is a name
    return LRScheduler(made, step_every="batch")


def _plain_row(row: dict[str, Any]) -> dict[str, Any]:
    """Drop skorch's book-keeping from a row of its history, and numpy's scalar types."""
    return {
        key: value.item() if isinstance(value, np.generic) else value
        for key, value in row.items()
        if key != "batches" and not key.endswith(("_best", "_batch_count"))
    }


class _LazyDataset(Dataset):
    """Rows of arrays of which one is made batch by batch."""

    def __init__(self, arrays: Sequence[Any]) -> None:
        self.arrays = arrays

    def __len__(self) -> int:
        return len(self.arrays[0])

    def __getitem__(self, indices: torch.Tensor) -> tuple[torch.Tensor, ...]:
        rows = indices.numpy()
        return tuple(torch.from_numpy(np.ascontiguousarray(array[rows])) for array in self.arrays)


def _dataset(arrays: Sequence[Any]) -> Dataset:
    if any(isinstance(array, LazySeries) for array in arrays):
        return _LazyDataset(arrays)
    return TensorDataset(*[torch.from_numpy(np.ascontiguousarray(array)) for array in arrays])


def extend_history(history: History | None, new: History) -> History:
    """Return the rows of `history` (or None) followed by those of `new`, epochs counted on."""
    done = len(history or [])
    return History([*(history or []), *({**row, "epoch": row["epoch"] + done} for row in new)])
