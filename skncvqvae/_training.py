"""Training loops: skorch nets that optimise the torch modules' own losses."""

import math
import warnings

import numpy as np
import torch
from skorch import NeuralNet
from skorch.callbacks import Callback, EarlyStopping, LRScheduler, PassthroughScoring, PrintLog
from skorch.helper import predefined_split
from skorch.history import History
from skorch.utils import to_tensor
from torch.optim.lr_scheduler import CosineAnnealingLR, OneCycleLR
from torch.utils.data import DataLoader, Sampler, TensorDataset


class _EvenBatches(Sampler):
    """Batches of indices that differ in size by at most one.

    A short last batch would give batch normalisation and the SSL losses statistics of a
    handful of series; spreading the remainder costs nothing.
    """

    def __init__(self, n, batch_size, generator=None):
        self.n, self.generator = n, generator
        # At least two series in each, where there are two: one has no batch statistics.
        self.n_batches = max(1, min(math.ceil(n / batch_size), n // 2))

    def __len__(self):
        return self.n_batches

    def __iter__(self):
        if self.generator is None:
            order = torch.arange(self.n)
        else:
            order = torch.randperm(self.n, generator=self.generator)
        yield from order.tensor_split(self.n_batches)


class _StopOnDivergence(Callback):
    def on_epoch_end(self, net, **kwargs):
        if not math.isfinite(net.history[-1, "train_loss"]):
            raise FloatingPointError(
                f"The training loss became {net.history[-1, 'train_loss']} in epoch "
                f"{len(net.history)}. Lower {net.lr_name}={net.lr:g}."
            )


class _ThinnedPrintLog(PrintLog):
    """Prints at most about a hundred of the epochs, the last included."""

    def __init__(self, max_epochs, keys_ignored=None):
        super().__init__(keys_ignored=keys_ignored)
        self.max_epochs = max_epochs

    def on_epoch_end(self, net, **kwargs):
        every = math.ceil(self.max_epochs / 100)
        epoch = len(net.history)
        if epoch % every == 0 or epoch in (1, self.max_epochs):
            super().on_epoch_end(net, **kwargs)


class _Net(NeuralNet):
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
    lr_name : str
        What the user calls the learning rate, for messages.
    mixed_precision : bool
        Compute losses under bfloat16 autocast. That has the exponents of single precision, so
        gradients need no scaling.
    """

    def __init__(
        self,
        *args,
        generator=None,
        valid_generator=None,
        shuffle_generator=None,
        lr_name="lr",
        mixed_precision=False,
        **kwargs,
    ):
        super().__init__(*args, criterion=torch.nn.Identity, **kwargs)
        self.generator = generator
        self.valid_generator = valid_generator
        self.shuffle_generator = shuffle_generator
        self.lr_name = lr_name
        self.mixed_precision = mixed_precision

    @staticmethod
    def auto_epochs(n_batches):
        raise NotImplementedError

    def loss_terms(self, batch):
        raise NotImplementedError

    def _recorded_step(self, batch, training):
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

    def train_step_single(self, batch, **fit_params):
        return self._recorded_step(batch, training=True)

    def validation_step(self, batch, **fit_params):
        return self._recorded_step(batch, training=False)

    def get_iterator(self, dataset, training=False):
        generator = self.shuffle_generator if training else None
        sampler = _EvenBatches(len(dataset), self.batch_size, generator)
        # The sampler yields whole batches, which TensorDataset gathers in one indexing call.
        return DataLoader(
            dataset, sampler=sampler, batch_size=None, generator=self.shuffle_generator
        )

    def run_single_epoch(self, iterator, training, **kwargs):
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


class TokenizerNet(_Net):
    """Stage 1: batches are ``(series,)``; shifts and the augmented view are drawn here."""

    stage = "tokenizer"

    def __init__(self, *args, shift=None, augmentation=None, **kwargs):
        super().__init__(*args, **kwargs)
        self.shift = shift
        self.augmentation = augmentation

    @staticmethod
    def auto_epochs(n_batches):
        """1,500 steps; sets of one batch would be seen more often than does them good."""
        return min(math.ceil(1500 / n_batches), 1000)

    def loss_terms(self, batch):
        (x,) = batch
        view = None
        if self.module_.training:
            with torch.no_grad():
                if self.shift is not None:
                    x = self.shift(x, self.generator)
                if self.augmentation is not None:
                    view = self.augmentation(x, self.generator)
        return self.module_(x, view, generator=self.generator)


class PriorNet(_Net):
    """Stage 2: batches are ``(tokens, labels)``."""

    stage = "prior"

    @staticmethod
    def auto_epochs(n_batches):
        """160 passes, in 3,000 to 9,000 steps; with fewer, priors of large sets underfit."""
        return math.ceil(min(max(3000, 160 * n_batches), 9000) / n_batches)

    def loss_terms(self, batch):
        tokens, labels = batch
        generator = self.generator if self.module_.training else self.valid_generator
        return {"loss": self.module_.loss(tokens, labels, generator=generator)}


def train(
    net_class,
    module,
    arrays,
    *,
    valid_arrays=None,
    term_names=(),
    max_epochs,
    lr,
    weight_decay,
    batch_size,
    lr_schedule,
    n_iter_no_change,
    callbacks,
    device,
    verbose,
    seed,
    **net_params,
):
    """Train `module` in place and return its history, one row for each complete epoch.

    Parameters
    ----------
    net_class : TokenizerNet or PriorNet
    module : torch.nn.Module
    arrays, valid_arrays : tuple of ndarray
        Training data and, for early stopping, validation data; first axes agree.
    term_names : sequence of str
        Loss terms to average over each epoch beside their sum.
    max_epochs : int or "auto"
        ``"auto"`` makes ``net_class.auto_epochs`` of as many batches as there are.
    lr_schedule : {"cosine", "onecycle", "constant"}
    n_iter_no_change : int
        Patience in epochs of early stopping, used when `valid_arrays` is given; the best
        weights are restored.
    callbacks : list of skorch callbacks or None
    seed : int

    Returns
    -------
    skorch.history.History
    """
    valid = None if valid_arrays is None else _dataset(valid_arrays)
    n_batches = len(_EvenBatches(len(arrays[0]), batch_size))
    if max_epochs == "auto":
        max_epochs = net_class.auto_epochs(n_batches)
    n_steps = max_epochs * n_batches
    own = [
        (f"{split}_{name}", PassthroughScoring(f"{split}_{name}", on_train=split == "train"))
        for split in ("train", "valid")
        for name in term_names
    ]
    own.append(("divergence", _StopOnDivergence()))
    if lr_schedule == "cosine":
        own.append(("lr", LRScheduler(CosineAnnealingLR, step_every="batch", T_max=n_steps)))
    elif lr_schedule == "onecycle":
        own.append(
            ("lr", LRScheduler(OneCycleLR, step_every="batch", max_lr=lr, total_steps=n_steps))
        )
    if valid is not None:
        own.append(("early_stopping", EarlyStopping(patience=n_iter_no_change, load_best=True)))

    if verbose == 1:
        # The single terms would make rows wider than a terminal.
        hidden = [name for name, _ in own]
        net_params["callbacks__print_log"] = _ThinnedPrintLog(max_epochs, keys_ignored=hidden)
        print(
            f"Training the {net_class.stage} on {len(arrays[0])} series, {max_epochs} epochs of "
            f"{n_batches} batches, on {device}"
        )

    generator = torch.Generator(device).manual_seed(seed)
    net = net_class(
        module,
        optimizer=torch.optim.AdamW,
        optimizer__weight_decay=weight_decay,
        optimizer__fused=True,
        lr=lr,
        max_epochs=max_epochs,
        batch_size=batch_size,
        train_split=None if valid is None else predefined_split(valid),
        callbacks=own + list(callbacks or []),
        device=device,
        verbose=verbose,
        generator=generator,
        valid_generator=torch.Generator(device),
        shuffle_generator=torch.Generator().manual_seed(seed),
        **net_params,
    )
    net.fit(_dataset(arrays))
    module.eval()
    # An interrupted epoch has no mean loss; the weights it reached are kept all the same.
    return History(_plain_row(row) for row in net.history if "train_loss" in row)


def _plain_row(row):
    """Drop skorch's book-keeping from a row of its history, and numpy's scalar types."""
    return {
        key: value.item() if isinstance(value, np.generic) else value
        for key, value in row.items()
        if key != "batches" and not key.endswith(("_best", "_batch_count"))
    }


def _dataset(arrays):
    return TensorDataset(*[torch.from_numpy(np.ascontiguousarray(array)) for array in arrays])


def extend_history(history, new):
    """Return the rows of `history` (or None) followed by those of `new`, epochs counted on."""
    done = len(history or [])
    return History([*(history or []), *({**row, "epoch": row["epoch"] + done} for row in new)])
