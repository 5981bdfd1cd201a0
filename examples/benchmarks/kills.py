"""What is lost when trainings are killed: kill -9 at random moments, and fit again.

A generator is fitted, with checkpoints, in a child process that is killed after a random time. The
next one goes on, until so many were killed; the last one may finish. Each training step is logged,
so that it is seen how much time each kill cost. The result is compared with that of a fit that
nobody killed.

    python examples/benchmarks/kills.py --kills 50
"""

import argparse
import os
import signal
import tempfile
import time
from pathlib import Path

import numpy as np
import torch
from safetensors import safe_open
from skorch.callbacks import Callback

from skncvqvae import AutoregressiveTokenPrior, NCVQVAEGenerator, NCVQVAETransformer, save

SIZES = {"max_epochs": 40, "batch_size": 16, "random_state": 0, "device": "cpu"}


class Log(Callback):
    """Appends a line for each training step: its stage and number, and when it was done."""

    def __init__(self, path):
        self.path = path

    def on_batch_end(self, net, training=None, **kwargs):
        if training:
            epoch, batch = len(net.history), len(net.history[-1]["batches"])
            with open(self.path, "a") as file:
                file.write(f"{net.stage} {epoch} {batch} {time.monotonic()}\n")


def make_generator(folder, interval, log):
    """Return an unfitted generator of small parts."""
    callbacks = None if log is None else [Log(log)]
    sizes = {"n_codes": 8, "code_dim": 8, "n_res_blocks": 1, "downsampled_width": 4}
    transformer = NCVQVAETransformer(**SIZES, **sizes, projector_dim=16, callbacks=callbacks)
    sizes = {"hidden_dim": 16, "n_layers": 1, "n_heads": 1}
    prior = AutoregressiveTokenPrior(**SIZES, **sizes, callbacks=callbacks)
    return NCVQVAEGenerator(
        transformer,
        prior,
        random_state=0,
        checkpoint_dir=folder,
        checkpoint_every=interval / 60,
    )


def make_series():
    """Return noisy sines of two classes."""
    rng = np.random.default_rng(0)
    y = np.arange(48) % 2
    phase = rng.uniform(0, 6, (48, 1))
    return np.sin((0.2 + 0.3 * y[:, None]) * np.arange(32) + phase) + rng.normal(
        0, 0.1, (48, 32)
    ), y


def fit_in_a_child(folder, interval, log, result, seconds):
    """Fit in a forked process; kill it after so long unless that is None. Return its status."""
    child = os.fork()
    if child == 0:
        status = 1
        try:
            X, y = make_series()
            generator = make_generator(folder, interval, log).fit(X, y)
            for part in (generator, generator.transformer_, generator.prior_):
                names = [name for name in part.get_params() if "callbacks" in name]
                part.set_params(**dict.fromkeys(names))
            save(generator, result)
            status = 0
        finally:
            os._exit(status)
    started = time.monotonic()
    while True:
        done, status = os.waitpid(child, os.WNOHANG)
        if done:
            return os.waitstatus_to_exitcode(status)
        if seconds is not None and time.monotonic() - started > seconds:
            os.kill(child, signal.SIGKILL)
            seconds = None
        time.sleep(0.001)


def read_log(path):
    """Return stage, epoch, batch and time of each step that was done."""
    rows = [line.split() for line in path.read_text().splitlines()] if path.exists() else []
    return [(row[0], int(row[1]), int(row[2]), float(row[3])) for row in rows if len(row) == 4]


def lost_time(last, again):
    """Return the seconds of training of one child that the next one did again."""
    steps = {step[:3] for step in again}
    repeated = [step for step in last if step[:3] in steps]
    if not repeated:
        return 0.0
    # What is computed between the stages is no training.
    kept = [step for step in last if step[:3] not in steps and step[0] == repeated[0][0]]
    return repeated[-1][3] - (kept[-1] if kept else repeated[0])[3]


def are_equal(one, other):
    """Whether two files hold the same weights, and all else that was fitted but the times."""
    with safe_open(one, "np") as a, safe_open(other, "np") as b:
        names, others = (
            [name for name in file.keys() if "history" not in name]  # noqa: SIM118
            for file in (a, b)
        )
        return names == others and all(
            a.get_tensor(name).tobytes() == b.get_tensor(name).tobytes() for name in names
        )


def main():
    """Print what was killed and what was lost."""
    options = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    options.add_argument("--kills", type=int, default=50)
    options.add_argument("--interval", type=float, default=0.1, help="seconds")
    options.add_argument("--longest", type=float, default=1.0, help="seconds a child may live")
    options.add_argument("--folder", type=Path)
    options.add_argument("--seed", type=int, default=0)
    options = options.parse_args()
    folder = Path(options.folder or tempfile.mkdtemp())
    # Before any fork: after one, a pool of threads is no more.
    torch.set_num_threads(1)
    rng = np.random.default_rng(options.seed)
    log = folder / "steps.log"
    runs, whole = 0, folder / "whole.safetensors"
    # In this process, so that children find all imported.
    X, y = make_series()
    save(make_generator(None, 60, None).fit(X, y), whole)
    n_killed = n_unreadable = n_stage_lost = n_equal = n_finished = 0
    losses = []
    while n_killed < options.kills:
        runs += 1
        run, result = folder / f"run{runs}", folder / f"run{runs}.safetensors"
        log.unlink(missing_ok=True)
        finished_stages: set[str] = set()
        last: list[tuple] = []
        while n_killed < options.kills and not result.exists():
            n_before = len(read_log(log))
            seconds = rng.uniform(0, options.longest)
            status = fit_in_a_child(run, options.interval, log, result, seconds)
            n_killed += status == -signal.SIGKILL
            n_unreadable += status > 0
            done = read_log(log)
            again = done[n_before:]
            if last and again:
                losses.append(lost_time(last, again))
            last = again or last
            n_stage_lost += any(step[0] in finished_stages for step in again)
            if any(step[0] == "prior" for step in done):
                finished_stages.add("tokenizer")
        if not result.exists():
            n_unreadable += fit_in_a_child(run, options.interval, log, result, None) > 0
        n_finished += 1
        n_equal += are_equal(result, whole)
    print(
        f"{n_killed} kills in {runs} trainings, {n_unreadable} unreadable checkpoints, "
        f"{n_stage_lost} finished stages trained again"
    )
    print(
        f"a checkpoint each {options.interval:g} s; work done again after a kill: at most "
        f"{max(losses, default=0):.2f} s, writing included, in {len(losses)} cases"
    )
    print(f"{n_equal} of {n_finished} results are bit-equal to that of a fit nobody killed")


if __name__ == "__main__":
    main()
