"""How far a training has come: bars on screens, plain lines elsewhere, and what trackers see."""

import io
import logging
import multiprocessing
import re
import sys
import types

import numpy as np
import pytest
from helpers import make_series, tiny_generator, tiny_transformer
from sklearn.base import clone
from skorch.callbacks import Callback

from skncvqvae import _progress
from skncvqvae._progress import Progress

X, Y = make_series()


class Screen(io.StringIO):
    def isatty(self):
        return True


class Stopped(RuntimeError):
    pass


class Stop(Callback):
    def __init__(self, epoch, error=Stopped):
        self.epoch, self.error = epoch, error

    def on_epoch_end(self, net, **kwargs):
        if len(net.history) == self.epoch:
            raise self.error


@pytest.fixture
def screen(monkeypatch):
    """Return what makes the standard error a terminal; pytest sets it anew before each test."""

    def show():
        screen = Screen()
        monkeypatch.setattr(sys, "stderr", screen)
        return screen

    return show


def test_silent_unless_asked(capfd):
    tiny_generator(tiny_transformer(early_stopping=True)).fit(X, Y).sample(3)
    assert capfd.readouterr() == ("", "")


def test_plain_lines_where_there_is_no_screen(capsys):
    tiny_transformer(max_epochs=60, verbose=1).fit(X)
    out, err = capsys.readouterr()
    first, *lines = out.strip().splitlines()
    assert err == ""
    assert "\x1b" not in out and "\r" not in out
    assert "tokenizer on 40 series, 60 epochs of 2 batches" in first
    assert len(lines) == 21
    pattern = r"tokenizer: +\d+%, epoch \d+, loss [\d.]+, \d+:\d\d so far, \d+:\d\d left"
    assert all(re.fullmatch(pattern, line) for line in lines)
    shares = [int(line.split("%")[0].split()[-1]) for line in lines]
    assert shares == sorted(shares) and shares[-1] == 100


def test_the_last_line_tells_the_loss_of_the_last_epoch(capsys):
    model = tiny_transformer(max_epochs=5, batch_size=40, verbose=1).fit(X)
    line = capsys.readouterr().out.strip().splitlines()[-1]
    assert float(re.search(r"loss ([\d.]+)", line)[1]) == pytest.approx(
        model.history_[-1, "train_loss"], rel=1e-3
    )


def test_a_bar_for_each_stage_on_a_terminal(screen, monkeypatch):
    screen, output = screen(), Screen()
    monkeypatch.setattr(sys, "stdout", output)
    tiny_generator(tiny_transformer(verbose=1), prior__verbose=1).fit(X, Y)
    drawn = screen.getvalue()
    assert "tokenizer: 100%|" in drawn and "prior: 100%|" in drawn
    assert re.search(r"\d\d:\d\d<\d\d:\d\d, epoch \d, loss", drawn)
    assert "so far" not in output.getvalue()


def test_a_screen_and_a_file_both_get_what_they_can_show(screen, capsys):
    screen = screen()
    tiny_transformer(verbose=1).fit(X)
    assert "100%|" in screen.getvalue()
    assert "100%, epoch 2" in capsys.readouterr().out


def test_processes_of_a_search_do_not_draw_over_each_other(screen, capsys, monkeypatch):
    screen = screen()
    monkeypatch.setattr(
        multiprocessing, "current_process", lambda: types.SimpleNamespace(name="Loky-1")
    )
    tiny_transformer(verbose=1).fit(X)
    assert screen.getvalue() == ""
    assert "100%" in capsys.readouterr().out


def test_a_bar_in_a_notebook(monkeypatch, capsys):
    shell = types.SimpleNamespace(config={"IPKernelApp": {}})
    notebook = types.SimpleNamespace(get_ipython=lambda: shell)
    monkeypatch.setitem(sys.modules, "IPython", notebook)
    tiny_transformer(verbose=1).fit(X)
    out, err = capsys.readouterr()
    assert "100%|" in err and "so far" not in out


@pytest.mark.parametrize("error", [Stopped, KeyboardInterrupt])
def test_a_bar_stays_where_training_stopped(screen, error):
    screen = screen()
    model = tiny_transformer(max_epochs=4, verbose=1, callbacks=[Stop(2, error)])
    if error is Stopped:
        with pytest.raises(Stopped):
            model.fit(X)
    else:
        model.fit(X)
    # A line is left with a newline, so that what comes next does not overwrite it.
    assert re.search(r"tokenizer:  50%.*\n$", screen.getvalue().split("\r")[-1])


def test_a_fit_that_goes_on_begins_where_it_stopped(tmp_path, capsys, caplog):
    model = tiny_transformer(max_epochs=10, verbose=1, checkpoint_dir=tmp_path, checkpoint_every=0)
    with pytest.raises(Stopped):
        clone(model).set_params(callbacks=[Stop(5)]).fit(X)
    capsys.readouterr()
    with caplog.at_level(logging.INFO, "skncvqvae"):
        model.set_params(verbose=0).fit(X)
    assert "goes on from" in caplog.text and capsys.readouterr().out == ""
    caplog.clear()
    with caplog.at_level(logging.INFO, "skncvqvae"):
        model.set_params(verbose=1).fit(X)
    assert "is taken from" in caplog.text and "is taken from" in capsys.readouterr().out


def test_lines_of_a_fit_that_goes_on_begin_where_it_stopped(tmp_path, capsys):
    model = tiny_transformer(max_epochs=10, verbose=1, checkpoint_dir=tmp_path, checkpoint_every=0)
    with pytest.raises(Stopped):
        clone(model).set_params(callbacks=[Stop(6)]).fit(X)
    capsys.readouterr()
    model.fit(X)
    lines = [line for line in capsys.readouterr().out.splitlines() if "so far" in line]
    assert int(lines[0].split("%")[0].split()[-1]) in range(50, 70)
    assert "100%" in lines[-1]


def test_early_stopping_says_so_beside_validation_losses(capsys):
    model = tiny_transformer(max_epochs=40, early_stopping=True, n_iter_no_change=1, lr=0.3)
    model.set_params(verbose=1).fit(X)
    out = capsys.readouterr().out
    assert "Stopping since valid_loss" in out
    assert re.search(r"loss [\d.e+]+, validation [\d.e+]+", out)


def test_verbose_2_prints_each_term_without_colours_in_files(capsys, monkeypatch):
    tiny_transformer(verbose=2).fit(X)
    out = capsys.readouterr().out
    assert "train_ssl" in out and "\x1b" not in out
    output = Screen()
    monkeypatch.setattr(sys, "stdout", output)
    tiny_transformer(verbose=2).fit(X)
    assert "train_ssl" in output.getvalue() and "\x1b[" in output.getvalue()


def test_long_predictions_and_draws_show_how_many_series_are_done(capsys, monkeypatch):
    generator = tiny_generator().fit(X, Y)
    generator.transformer_.verbose = generator.prior_.verbose = 1
    generator.sample(3)
    assert capsys.readouterr().out == ""  # nobody waits for this
    monkeypatch.setattr(_progress, "_PATIENCE", 1e-9)
    generator.sample(64)
    out = capsys.readouterr().out
    assert "prior at work: 100%, 64 of 64 series" in out
    assert "tokenizer at work: 100%, 64 of 64 series" in out


def test_the_time_left_counts_only_what_was_done_here(capsys, monkeypatch):
    now = iter([0.0, 3600.0, 3600.0, 3600.0])
    monkeypatch.setattr(_progress, "time", types.SimpleNamespace(monotonic=lambda: next(now)))
    progress = Progress("work", 100)
    progress.resume(50)
    assert progress.update(60)
    progress.write()
    assert capsys.readouterr().out == "work:  60%, 1:00:00 so far, 4:00:00 left\n"


def test_a_tracker_gets_hyperparameters_and_losses_of_both_stages():
    runs = []

    class Track(Callback):
        def on_train_begin(self, net, **kwargs):
            runs.append({"name": net.stage, "params": net.hyperparameters, "losses": []})

        def on_epoch_end(self, net, **kwargs):
            runs[-1]["losses"].append(net.history[-1]["train_loss"])

    generator = tiny_generator(tiny_transformer(lr=1e-4))
    generator.set_params(transformer__callbacks=[Track()], prior__callbacks=[Track()])
    clone(generator).fit(X, Y)
    assert [run["name"] for run in runs] == ["tokenizer", "prior"]
    assert runs[0]["params"]["lr"] == 1e-4 and runs[0]["params"]["ssl_method"] == "barlowtwins"
    assert runs[1]["params"]["hidden_dim"] == 16 and runs[1]["params"]["max_epochs"] == 2
    assert all(len(run["losses"]) == 2 and np.isfinite(run["losses"]).all() for run in runs)
