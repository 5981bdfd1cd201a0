"""How far a long piece of work has come: a bar on screens, plain lines elsewhere."""

import multiprocessing
import re
import shutil
import sys
import time
from collections.abc import Iterator
from typing import Any

import numpy as np
from sklearn.utils import gen_batches
from skorch.callbacks import Callback

from .nn.distributed import rank

# At these shares of the work a line is written; the first tells soon how long it will take.
_SHARES = (0.01, *np.arange(1, 21) / 20)
# Seconds after which what usually is short is worth a bar.
_PATIENCE = 5.0
# Colours and the like on terminals.
_ESCAPES = re.compile(r"\x1b\[[0-9;]*[A-Za-z]")


class Progress:
    """Shows how much is done, with per cent and the time that is left.

    On a terminal and in a notebook it is a bar of tqdm. Where the output goes to a file or a pipe,
    and in the processes of a parallel search, which would draw over each other, it is about twenty
    lines of plain text.

    Parameters
    ----------
    name : str
        What is being done.
    total : int
        Units of work.
    delay : float, default=0
        Seconds before anything is shown: of what is over sooner, nothing is.
    """

    def __init__(self, name: str, total: int, *, delay: float = 0.0) -> None:
        self.name, self.total, self.delay = name, total, delay
        self.done = self.initial = 0
        self.begun = time.monotonic()
        self._line_at = 0
        self._bar: Any = None
        self._draws, self._writes = _outlets()
        if not delay:
            self._draw()

    def resume(self, done: int) -> None:
        """Begin at so many units, which were done before and took no time here."""
        self.done = self.initial = done
        if self._bar is not None:
            self._bar.n = self._bar.initial = done
        # Shares that were passed before.
        self._line_at = sum(share * self.total <= done for share in _SHARES)

    def update(self, done: int) -> bool:
        """Take note that so many units are done; return whether a line is due."""
        self.done = done
        if time.monotonic() - self.begun < self.delay:
            return False
        self._draw()
        if self._bar is not None:
            self._bar.update(done - self._bar.n)
        if not self._writes or self._line_at == len(_SHARES):
            return False
        return done >= _SHARES[self._line_at] * self.total

    def show(self, text: str) -> None:
        """Say something, such as the loss, beside the bar."""
        if self._bar is not None:
            self._bar.set_postfix_str(text, refresh=False)

    def write(self, *details: str) -> None:
        """Write a line about what is done."""
        while self._line_at < len(_SHARES) and self.done >= _SHARES[self._line_at] * self.total:
            self._line_at += 1
        elapsed = time.monotonic() - self.begun
        fresh = self.done - self.initial
        left = elapsed / fresh * (self.total - self.done) if fresh else 0.0
        times = f"{_clock(elapsed)} so far, {_clock(left)} left"
        say(", ".join([f"{self.name}: {self.done / self.total:4.0%}", *details, times]))

    def close(self) -> None:
        """Leave the bar as it is."""
        if self._bar is not None:
            self._bar.close()

    def _draw(self) -> None:
        if not self._draws or self._bar is not None:
            return
        from tqdm.auto import tqdm  # looks for a notebook, and warns where one lacks its widgets

        # Its default file is the standard error of when tqdm was imported.
        self._bar = tqdm(
            total=self.total,
            initial=self.initial,
            desc=self.name,
            file=sys.stderr,
            # Some terminals do not tell their width; `shutil` then takes one for granted.
            ncols=None if _is_notebook() else shutil.get_terminal_size().columns,
            bar_format="{desc}: {percentage:3.0f}%|{bar}| {elapsed}<{remaining}{postfix}",
        )


class ShowProgress(Callback):
    """Shows the steps of a training, the loss of the epoch so far, and that of validation.

    Parameters
    ----------
    n_epochs, n_batches : int
        Epochs, and training steps in each.
    """

    def __init__(self, n_epochs: int, n_batches: int) -> None:
        self.n_epochs, self.n_batches = n_epochs, n_batches

    def on_train_begin(self, net: Any, **kwargs: Any) -> None:
        self.progress_ = Progress(net.stage, self.n_epochs * self.n_batches)
        self.is_first_ = True

    def on_batch_end(self, net: Any, training: bool, **kwargs: Any) -> None:
        if not training:
            return
        # Told by the history, which knows what was done before a training was resumed.
        row = net.history[-1]
        done = (len(net.history) - 1) * self.n_batches + len(row["batches"])
        if self.is_first_:
            self.progress_.resume(done - 1)
            self.is_first_ = False
        if self.progress_.update(done):
            self.progress_.write(*self._details(net))

    def on_epoch_end(self, net: Any, **kwargs: Any) -> None:
        self.progress_.show(", ".join(self._details(net)))

    def _details(self, net: Any) -> list[str]:
        history = net.history
        losses = [batch["train_loss"] for batch in history[-1]["batches"] if "train_loss" in batch]
        details = [f"epoch {len(history)}", f"loss {np.mean(losses):.4g}"]
        validated = [row["valid_loss"] for row in history[-2:] if "valid_loss" in row]
        return details + [f"validation {loss:.4g}" for loss in validated[-1:]]

    def close(self) -> None:
        """Leave the bar as it is; also after an error, of which callbacks are not told."""
        if hasattr(self, "progress_"):
            self.progress_.close()


def watch_batches(n: int, batch_size: int, name: str | None) -> Iterator[slice]:
    """Yield slices of `n` series; after a few seconds, show under a name how many are done."""
    progress = None if name is None else Progress(name, n, delay=_PATIENCE)
    try:
        for part in gen_batches(n, batch_size):
            yield part
            if progress is not None and progress.update(part.stop):
                progress.write(f"{part.stop:,} of {n:,} series")
    finally:
        if progress is not None:
            progress.close()


def say(text: str) -> None:
    """Print, beside bars and without colours where the output is no screen.

    Of several processes that train together, the first one does.
    """
    if rank() > 0:
        return
    from tqdm import tqdm

    stream = sys.stdout
    tqdm.write(text if is_on_screen(stream) else _ESCAPES.sub("", text), file=stream)
    stream.flush()  # a file is looked at while training goes on


def is_on_screen(stream: Any) -> bool:
    """Return whether somebody sees what is written: a terminal, or the page of a notebook."""
    return _is_notebook() or (hasattr(stream, "isatty") and stream.isatty())


def _is_notebook() -> bool:
    shell = getattr(sys.modules.get("IPython"), "get_ipython", lambda: None)()
    return shell is not None and "IPKernelApp" in shell.config


def _outlets() -> tuple[bool, bool]:
    """Return whether to draw a bar, and whether to write lines."""
    if rank() > 0:
        return False, False
    if multiprocessing.current_process().name != "MainProcess":
        return False, True
    draws = is_on_screen(sys.stderr)
    # Where a bar is on the screen and the output goes to a file, each gets what it can show.
    return draws, not (draws and is_on_screen(sys.stdout))


def _clock(seconds: float) -> str:
    minutes, seconds = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02d}:{seconds:02d}" if hours else f"{minutes}:{seconds:02d}"
