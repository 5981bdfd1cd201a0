"""Training loops: skorch nets that optimise the torch modules' own losses."""

import math
import warnings
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from numbers import Integral, Real
from typing import Any, Literal

import numpy as np
import torch
from numpy.typing import NDArray
from sklearn.base import BaseEstimator
from sklearn.utils._param_validation import Interval, StrOptions
from skorch import NeuralNet
from skorch.callbacks import Callback, EarlyStopping, LRScheduler, PassthroughScoring, PrintLog
from skorch.helper import predefined_split
from skorch.history import History
from skorch.utils import to_tensor
from torch.optim import Optimizer
from torch.optim.lr_scheduler import CosineAnnealingLR, LambdaLR, OneCycleLR
from torch.optim.lr_scheduler import LRScheduler as TorchScheduler
from torch.optim.swa_utils import AveragedModel
from torch.utils.data import DataLoader, Sampler, TensorDataset

from ._base import make_config

# Makes a scheduler for an optimizer, which is stepped after each of so many batches.
ScheduleFactory = Callable[[Optimizer, int], TorchScheduler]
LRSchedule = Literal["onecycle", "cosine", "warmup", "constant"]
# Steps over which "warmup" rises.
_N_WARMUP_STEPS = 50


def _onecycle(optimizer: Optimizer, n_steps: int) -> TorchScheduler:
    peak = [group["lr"] for group in optimizer.param_groups]
    return OneCycleLR(optimizer, max_lr=peak, total_steps=n_steps)


def _cosine(optimizer: Optimizer, n_steps: int) -> TorchScheduler:
    return CosineAnnealingLR(optimizer, T_max=n_steps)


def _warmup(optimizer: Optimizer, n_steps: int) -> TorchScheduler:
    return LambdaLR(optimizer, lambda step: min(1.0, (step + 1) / _N_WARMUP_STEPS))


def _constant(optimizer: Optimizer, n_steps: int) -> TorchScheduler:
    return LambdaLR(optimizer, lambda step: 1.0)


# All that `lr_schedule` takes by name.
LR_SCHEDULES: dict[str, ScheduleFactory] = {
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
    "mixed_precision": ["boolean"],
    "verbose": ["verbose"],
}


@dataclass(frozen=True)
class TrainConfig:
    """How to train; the parameters of these names of every estimator.

    Parameters
    ----------
    max_epochs : int or "auto"
        ``"auto"`` makes the net's `auto_epochs` of as many batches as there are.
    batch_size : int
    lr : float
        Largest learning rate of AdamW.
    weight_decay : float
    lr_schedule : {"onecycle", "cosine", "constant"} or callable
        See `LR_SCHEDULES`.
    n_iter_no_change : int
        Patience in epochs of early stopping, used where there is validation data.
    callbacks : list of skorch callbacks or None
    mixed_precision : bool
    verbose : int
    betas : tuple of float
        AdamW's.
    average_decay : float
        Where it is above 0, the weights after training are an exponential moving average of
        those on the way, of this decay.
    """

    max_epochs: int | Literal["auto"] = "auto"
    batch_size: int = 128
    lr: float = 1e-3
    weight_decay: float = 0.0
    lr_schedule: LRSchedule | ScheduleFactory = "onecycle"
    n_iter_no_change: int = 20
    callbacks: Sequence[Callback] | None = None
    mixed_precision: bool = False
    verbose: int = 0
    betas: tuple[float, float] = (0.9, 0.999)
    average_decay: float = 0.0

    @classmethod
    def of(cls, estimator: BaseEstimator) -> "TrainConfig":
        """Return what an estimator's parameters say of training."""
        return make_config(cls, estimator)


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


class _ThinnedPrintLog(PrintLog):
    """Prints at most about a hundred of the epochs, the last included."""

    def __init__(self, max_epochs: int, keys_ignored: Sequence[str] | None = None) -> None:
        super().__init__(keys_ignored=keys_ignored)
        self.max_epochs = max_epochs

    def on_epoch_end(self, net: NeuralNet, **kwargs: Any) -> None:
        every = math.ceil(self.max_epochs / 100)
        epoch = len(net.history)
        if epoch % every == 0 or epoch in (1, self.max_epochs):
            super().on_epoch_end(net, **kwargs)


class _AverageWeights(Callback):
    """Ends training with a moving average of the weights (Polyak and Juditsky, 1992)."""

    def __init__(self, decay: float) -> None:
        self.decay = decay

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


class ModuleNet(NeuralNet):
    """A skorch net whose module computes its own loss terms.

    Subclasses say what they train (`stage`, for messages) and how many passes over the data
    ``max_epochs="auto"`` makes (`auto_epochs`). They count in optimiser steps, because a pass
    over a hundred series is one step and a pass over thousands is dozens.

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

    stage = "model"
    module_: Any

    @staticmethod
    def auto_epochs(n_batches: int) -> int:
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
            with torch.autocast(device_type, torch.bfloat16, enabled=self.mixed_precision):
                terms = self.loss_terms(batch)
            if training:
                terms["loss"].backward()
        prefix = "train_" if training else "valid_"
        # One transfer for all terms: each read of a single value would wait for the device.
        names = [name for name in terms if name != "loss"]
        if names:
            values = torch.stack([terms[name].detach() for name in names]).tolist()
            for name, value in zip(names, values, strict=True):
                self.history.record_batch(prefix + name, value)
        return {"loss": terms["loss"].detach(), "y_pred": None}

    def train_step_single(self, batch: Sequence[Any], **fit_params: Any) -> dict[str, Any]:
        return self._recorded_step(batch, training=True)

    def validation_step(self, batch: Sequence[Any], **fit_params: Any) -> dict[str, Any]:
        return self._recorded_step(batch, training=False)

    def get_iterator(self, dataset: TensorDataset, training: bool = False) -> DataLoader:
        generator = self.shuffle_generator if training else None
        sampler = _EvenBatches(len(dataset), self.batch_size, generator)
        # The sampler yields whole batches, which TensorDataset gathers in one indexing call.
        return DataLoader(
            dataset, sampler=sampler, batch_size=None, generator=self.shuffle_generator
        )

    def run_single_epoch(self, iterator: DataLoader, training: bool, **kwargs: Any) -> None:
        if not training:
            self.valid_generator.manual_seed(0)
        # skorch's own early stopping raises KeyboardInterrupt too, but between epochs.
        try:
            return super().run_single_epoch(iterator, training=training, **kwargs)
        except KeyboardInterrupt:
            warnings.warn(
                "Training interrupted by the user; what has been learnt so far is kept.",
                stacklevel=2,
            )
            raise


def train(
    net_class: type[ModuleNet],
    module: torch.nn.Module,
    arrays: tuple[NDArray, ...],
    config: TrainConfig,
    *,
    valid_arrays: tuple[NDArray, ...] | None = None,
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
    arrays, valid_arrays : tuple of ndarray
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
    FloatingPointError
        When the training loss is no longer finite.
    """
    valid = None if valid_arrays is None else _dataset(valid_arrays)
    n_batches = len(_EvenBatches(len(arrays[0]), config.batch_size))
    max_epochs = config.max_epochs
    if max_epochs == "auto":
        max_epochs = net_class.auto_epochs(n_batches)
    own: list[tuple[str, Callback]] = [
        (f"{split}_{name}", PassthroughScoring(f"{split}_{name}", on_train=split == "train"))
        for split in ("train", "valid")
        for name in term_names
    ]
    own.append(("divergence", _StopOnDivergence()))
    own.append(("lr", _make_schedule(config.lr_schedule, max_epochs * n_batches)))
    if config.average_decay:
        own.append(("average", _AverageWeights(config.average_decay)))
    if valid is not None:
        patience = config.n_iter_no_change
        own.append(("early_stopping", EarlyStopping(patience=patience, load_best=True)))

    if config.verbose == 1:
        # The single terms would make rows wider than a terminal.
        hidden = [name for name, _ in own]
        net_params["callbacks__print_log"] = _ThinnedPrintLog(max_epochs, keys_ignored=hidden)
        print(
            f"Training the {net_class.stage} on {len(arrays[0])} series, {max_epochs} epochs of "
            f"{n_batches} batches, on {device}"
        )

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
        callbacks=own + list(config.callbacks or []),
        device=device,
        verbose=config.verbose,
        mixed_precision=config.mixed_precision,
        generator=torch.Generator(device).manual_seed(seed),
        valid_generator=torch.Generator(device),
        shuffle_generator=torch.Generator().manual_seed(seed),
        **net_params,
    )
    net.fit(_dataset(arrays))
    module.eval()
    # An interrupted epoch has no mean loss; the weights it reached are kept all the same.
    return History(_plain_row(row) for row in net.history if "train_loss" in row)


def _make_schedule(schedule: LRSchedule | ScheduleFactory, n_steps: int) -> LRScheduler:
    factory = LR_SCHEDULES[schedule] if isinstance(schedule, str) else schedule

    def policy(optimizer: Optimizer, last_epoch: int) -> TorchScheduler:
        # skorch says where to resume; a net here always starts anew.
        return factory(optimizer, n_steps)

    made: Any = policy  # skorch takes any callable, though its default is a name
    return LRScheduler(made, step_every="batch")


def _plain_row(row: dict[str, Any]) -> dict[str, Any]:
    """Drop skorch's book-keeping from a row of its history, and numpy's scalar types."""
    return {
        key: value.item() if isinstance(value, np.generic) else value
        for key, value in row.items()
        if key != "batches" and not key.endswith(("_best", "_batch_count"))
    }


def _dataset(arrays: Iterable[NDArray]) -> TensorDataset:
    return TensorDataset(*[torch.from_numpy(np.ascontiguousarray(array)) for array in arrays])


def extend_history(history: History | None, new: History) -> History:
    """Return the rows of `history` (or None) followed by those of `new`, epochs counted on."""
    done = len(history or [])
    return History([*(history or []), *({**row, "epoch": row["epoch"] + done} for row in new)])
