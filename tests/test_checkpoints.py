"""Trainings that were stopped go on exactly where they were, and nothing is lost."""

import copy
import json
import os
import re
import resource
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
import torch
from helpers import make_series, tiny_generator, tiny_prior, tiny_transformer
from sklearn.base import clone
from sklearn.frozen import FrozenEstimator
from sklearn.model_selection import GridSearchCV
from skorch.callbacks import Callback, EpochScoring
from torch.optim.lr_scheduler import LambdaLR, SequentialLR

from skncvqvae import (
    AugmentedClassifier,
    AutoregressiveTokenPrior,
    MaskedTokenPrior,
    ModelFileError,
    load,
    save,
)
from skncvqvae._checkpoints import set_stream_state, stream_state
from skncvqvae.nn.ssl import SSLMethod

PRIORS = [MaskedTokenPrior, AutoregressiveTokenPrior]
X, Y = make_series()
TOKENS = np.random.default_rng(0).integers(4, size=(40, 6))


class Stopped(RuntimeError):
    """Stands for a process that is killed: nothing of ours catches it."""


class Stop(Callback):
    """Stops training after so many batches, before the last of them can be kept."""

    def __init__(self, after):
        self.after = after

    def on_train_begin(self, net, **kwargs):
        self.seen = 0

    def on_batch_end(self, net, training=None, **kwargs):
        self.seen += bool(training)
        if self.seen == self.after:
            raise Stopped


def make_counter():
    """Return a callback that counts the training steps of all fits, those of clones too."""

    class Count(Callback):
        steps = 0

        def on_batch_end(self, net, training=None, **kwargs):
            type(self).steps += bool(training)

    return Count()


class Smoother(torch.nn.Module):
    """A loss with a parameter of its own, and a random generator."""

    def __init__(self):
        super().__init__()
        self.scale = torch.nn.Parameter(torch.ones(()))
        self.rng = np.random.default_rng(3)

    def forward(self, p, p_view):
        return (self.rng.random() + self.scale.square()) * (p - p_view).square().mean()


class Jitter:
    """An augmentation with a random generator of its own."""

    def __init__(self, kind):
        self.rng = {
            "generator": np.random.default_rng(1),
            "state": np.random.RandomState(1),
            "torch": torch.Generator().manual_seed(1),
        }[kind]

    def __call__(self, x):
        if isinstance(self.rng, torch.Generator):
            return x + torch.randn(x.shape, generator=self.rng)
        return x + torch.from_numpy(self.rng.normal(size=x.shape)).float()


def jitter_globally(x):
    return x + float(np.random.normal())


def two_schedules(optimizer, n_steps):
    half = n_steps // 2
    parts = [LambdaLR(optimizer, lambda step: 1 / (1 + step)) for _ in range(2)]
    return SequentialLR(optimizer, parts, milestones=[half])


def history(rows):
    """Return rows without the times they took."""
    return [{name: value for name, value in row.items() if name != "dur"} for row in rows]


def assert_same_module(one, other):
    assert one.keys() == other.keys()
    for name, tensor in one.items():
        assert torch.equal(tensor, other[name]), name


def assert_same(one, other):
    """Check that two models were trained alike, to the last bit."""
    assert_same_module(one.module_.state_dict(), other.module_.state_dict())
    assert history(one.history_) == history(other.history_)


def stopped(model, after, *data, name="callbacks"):
    """Fit a clone until it is stopped."""
    callbacks = [*(model.get_params()[name] or []), Stop(after)]
    with pytest.raises(Stopped):
        clone(model).set_params(**{name: callbacks}).fit(*data)


STAGE_1 = {
    "default": {},
    "early_stopping": {"early_stopping": True, "n_iter_no_change": 2, "max_epochs": 12},
    "cosine": {"lr_schedule": "cosine"},
    "warmup": {"lr_schedule": "warmup"},
    "own_schedule": {"lr_schedule": two_schedules},
    "byol": {"ssl_method": "byol"},
    "mixed_precision": {"mixed_precision": True},
    "bands": {"bands": "stft"},
    "levels": {"n_levels": 2},
    "no_shift": {"random_shift": 0.0, "augmentations": "gauss"},
}


@pytest.mark.parametrize("params", STAGE_1.values(), ids=STAGE_1)
def test_a_tokenizer_goes_on_exactly(tmp_path, params):
    model = tiny_transformer(**{"max_epochs": 4, "batch_size": 16, **params})
    expected = clone(model).fit(X)
    model.set_params(checkpoint_dir=tmp_path, checkpoint_every=0)
    # In the second of three batches of the second epoch, and again at the end of the third.
    stopped(model, 5, X)
    stopped(model, 5, X)
    model.fit(X)
    assert_same(model, expected)
    np.testing.assert_array_equal(model.transform(X), expected.transform(X))


@pytest.mark.parametrize("kind", ["generator", "state", "torch", "global", "loss", "list"])
def test_random_generators_of_the_users_own_go_on(tmp_path, kind):
    def make():
        np.random.seed(0)
        params = {
            "global": {"augmentations": jitter_globally},
            "loss": {"ssl_method": Smoother()},
            "list": {"augmentations": ["jitter", [Jitter("state"), Jitter("torch")]]},
        }.get(kind) or {"augmentations": Jitter(kind)}
        return tiny_transformer(max_epochs=4, batch_size=16, **params)

    expected = make().fit(X)
    stopped(make().set_params(checkpoint_dir=tmp_path, checkpoint_every=0), 5, X)
    model = make().set_params(checkpoint_dir=tmp_path).fit(X)
    assert_same(model, expected)


@pytest.mark.parametrize("cls", PRIORS)
@pytest.mark.parametrize("early_stopping", [False, True])
@pytest.mark.parametrize("after", [3, 8])
def test_a_prior_goes_on_exactly(tmp_path, cls, early_stopping, after):
    model = tiny_prior(cls, max_epochs=5, batch_size=10, random_state=0)
    model.set_params(early_stopping=early_stopping, n_iter_no_change=1)
    model.set_params(early_stopping=early_stopping)
    expected = clone(model).fit(TOKENS, Y)
    model.set_params(checkpoint_dir=str(tmp_path), checkpoint_every=0)
    stopped(model, after, TOKENS, Y)
    model.fit(TOKENS, Y)
    assert_same(model, expected)
    np.testing.assert_array_equal(model.sample(5)[0], expected.sample(5)[0])


def test_a_warm_start_goes_on_exactly(tmp_path):
    model = tiny_transformer(warm_start=True, batch_size=16).fit(X)
    expected = load_again(model, tmp_path).fit(X)
    again = load_again(model, tmp_path)
    again.set_params(checkpoint_dir=tmp_path, checkpoint_every=0, callbacks=[Stop(5)])
    with pytest.raises(Stopped):
        again.fit(X)
    # What was fitted is as it was, and the next fit goes on.
    assert again.n_iter_ == 2
    again.set_params(callbacks=None).fit(X)
    assert again.n_iter_ == 4
    assert_same(again, expected)


def load_again(model, folder):
    save(model, folder / "model.safetensors", training=True)
    return load(folder / "model.safetensors")


@pytest.mark.parametrize("random_state", [0, None])
@pytest.mark.parametrize("cls", PRIORS)
def test_a_generator_keeps_its_finished_stage(tmp_path, cls, random_state):
    # Without a seed, the folder keeps one.
    seeded = {"random_state": random_state, "transformer__random_state": random_state}
    count = make_counter()
    model = tiny_generator(
        prior=tiny_prior(cls, max_epochs=4, batch_size=10),
        transformer__batch_size=16,
        transformer__callbacks=[count],
        checkpoint_dir=tmp_path / "run",
        checkpoint_every=0,
        **seeded,
    )
    stopped(model, 4, X, Y, name="transformer__callbacks")
    assert count.steps == 4
    stopped(model, 7, X, Y, name="prior__callbacks")
    # Of the fourth step no checkpoint had been written, so it was done again.
    assert count.steps == 7
    model.fit(X, Y)
    assert count.steps == 7
    whole = clone(model).set_params(checkpoint_dir=tmp_path / "other")
    if random_state is None:
        os.makedirs(tmp_path / "other")
        (tmp_path / "run/random_state.json").rename(tmp_path / "other/random_state.json")
    whole.fit(X, Y)
    assert_same(model.transformer_, whole.transformer_)
    assert_same(model.prior_, whole.prior_)
    np.testing.assert_array_equal(
        model.sample(5, random_state=0)[0], whole.sample(5, random_state=0)[0]
    )
    assert model.finish_ == whole.finish_


def test_a_finished_training_is_reused_until_another_takes_its_place(tmp_path):
    count = make_counter()
    model = tiny_transformer(checkpoint_dir=tmp_path, callbacks=[count]).fit(X)
    assert count.steps == 4
    again = clone(model).fit(X)
    assert count.steps == 4
    assert_same(again, model)
    assert again.history_ == model.history_
    clone(model).fit(X[:30])
    assert count.steps == 6
    clone(model).fit(X)
    assert count.steps == 10
    assert os.listdir(tmp_path) == ["tokenizer.checkpoint"]


@pytest.mark.parametrize(
    ("params", "data", "what"),
    [
        ({}, X[:39], "the training data"),
        ({}, X + np.eye(40, 32), "the training data"),
        ({"lr": 0.5}, X, r"lr \(0.01 to 0.5\)"),
        ({"n_codes": 7}, X, r"n_codes \(6 to 7\)"),
        ({"max_epochs": 9}, X, r"max_epochs \(4 to 9\)"),
        ({"augmentations": "warp"}, X, "augmentation"),
        ({"random_state": 1}, X, "random_state"),
        ({"ssl_weight": 3.0}, X, r"ssl \(10.0 to 3.0\)"),
    ],
)
def test_an_unfinished_training_of_other_data_or_parameters_is_refused(
    tmp_path, params, data, what
):
    model = tiny_transformer(max_epochs=4, batch_size=16)
    model.set_params(checkpoint_dir=tmp_path, checkpoint_every=0)
    stopped(model, 5, X)
    before = (tmp_path / "tokenizer.checkpoint").read_bytes()
    with pytest.raises(ValueError, match=rf"unfinished.*differs from this one in {what}.*delete"):
        clone(model).set_params(**params).fit(data)
    assert (tmp_path / "tokenizer.checkpoint").read_bytes() == before
    # What plays no part in the result may differ.
    clone(model).set_params(verbose=0, representation="codes", checkpoint_every=1).fit(X)


def test_loss_weights_of_bands_count_too(tmp_path):
    model = tiny_transformer(max_epochs=4, bands="stft", checkpoint_dir=tmp_path)
    stopped(model.set_params(checkpoint_every=0), 3, X)
    with pytest.raises(ValueError, match=r"differs from this one in .*ssl \(10.0 to 3.0\)"):
        clone(model).set_params(ssl_weight=3.0).fit(X)


class Distance:
    """A loss with a parameter that its `repr` does not show."""

    def __init__(self, power):
        self.power = power

    def __call__(self, p, p_view):
        return (p - p_view).abs().pow(self.power).mean()


class Weighted(torch.nn.Module):
    """A loss with a factor that is no tensor."""

    def __init__(self, factor):
        super().__init__()
        self.factor = factor

    def forward(self, p, p_view):
        return self.factor * (p - p_view).square().mean()


@pytest.mark.parametrize(
    "losses",
    [
        (Distance(1), Distance(2)),
        (Weighted(1.0), Weighted(9.0)),
        (SSLMethod(Distance(1)), SSLMethod(Distance(2))),
        (lambda p, q: (p - q).square().mean(), lambda p, q: (p - q).abs().mean()),
    ],
    ids=["objects", "modules", "methods", "functions"],
)
def test_losses_that_read_alike_are_told_apart(tmp_path, losses):
    model = tiny_transformer(max_epochs=1, ssl_weight=5.0)
    model.set_params(checkpoint_dir=tmp_path / "{fingerprint}", checkpoint_every=0)
    # A copy is the same loss.
    for loss in (losses[0], copy.deepcopy(losses[0]), losses[1]):
        kept = clone(model).set_params(ssl_method=loss).fit(X[:20])
    assert len(os.listdir(tmp_path)) == 2
    assert_same(kept, clone(kept).set_params(checkpoint_dir=None).fit(X[:20]))


def test_other_folders_by_fingerprint_keep_fits_apart(tmp_path):
    model = tiny_transformer(checkpoint_dir=str(tmp_path / "{fingerprint}"), checkpoint_every=0)
    search = GridSearchCV(model, {"lr": [1e-3, 1e-2]}, cv=2).fit(X)
    assert len(os.listdir(tmp_path)) == 5
    assert all(os.listdir(folder) == ["tokenizer.checkpoint"] for folder in tmp_path.iterdir())
    plain = GridSearchCV(tiny_transformer(), {"lr": [1e-3, 1e-2]}, cv=2).fit(X)
    np.testing.assert_array_equal(
        search.cv_results_["mean_test_score"], plain.cv_results_["mean_test_score"]
    )
    with pytest.raises(ValueError, match="Set random_state"):
        clone(model).set_params(random_state=None).fit(X)


class TakeOver(Callback):
    """Another training begins in the same folder."""

    def __init__(self, folder):
        self.folder = folder

    def on_epoch_begin(self, net, **kwargs):
        if len(net.history) == 2:
            stopped(tiny_prior(max_epochs=4, checkpoint_dir=self.folder), 1, TOKENS)
            (self.folder / "prior.checkpoint").rename(self.folder / "tokenizer.checkpoint")


def test_a_training_does_not_write_over_anothers_file(tmp_path):
    model = tiny_transformer(max_epochs=4, checkpoint_dir=tmp_path, checkpoint_every=0)
    with pytest.warns(UserWarning, match="Another training writes.*goes on without checkpoints"):
        model.set_params(callbacks=[TakeOver(tmp_path)]).fit(X)
    assert model.n_iter_ == 4
    content = (tmp_path / "tokenizer.checkpoint").read_bytes()
    assert b'\\"stage\\":\\"prior\\"' in content


class Fill(Callback):
    """Makes a folder that cannot be written any more, and then can."""

    def __init__(self, monkeypatch, epoch):
        self.monkeypatch, self.epoch = monkeypatch, epoch

    def __deepcopy__(self, memo):
        return self

    def on_epoch_begin(self, net, **kwargs):
        if len(net.history) == self.epoch:
            self.monkeypatch.setattr("os.replace", self.fail)
        else:
            self.monkeypatch.undo()

    @staticmethod
    def fail(*args):
        raise OSError("No space left on device")


def test_a_checkpoint_that_cannot_be_written_does_not_end_training(tmp_path, monkeypatch):
    model = tiny_transformer(max_epochs=4, checkpoint_dir=tmp_path, checkpoint_every=0)
    expected = tiny_transformer(max_epochs=4).fit(X)
    with pytest.warns(UserWarning, match="No checkpoint could be written.*No space left"):
        model.set_params(callbacks=[Fill(monkeypatch, 2)]).fit(X)
    assert_same(model, expected)
    assert os.listdir(tmp_path) == ["tokenizer.checkpoint"]


def test_a_folder_that_cannot_be_made_is_refused_before_training(tmp_path):
    (tmp_path / "file").write_text("")
    count = make_counter()
    with pytest.raises(OSError, match="file"):
        tiny_transformer(checkpoint_dir=tmp_path / "file", callbacks=[count]).fit(X)
    with pytest.raises(ValueError, match="'checkpoint_every' parameter"):
        tiny_transformer(checkpoint_dir=tmp_path, checkpoint_every=-1).fit(X)
    assert count.steps == 0


@pytest.fixture(scope="module")
def unfinished(tmp_path_factory):
    """Return the bytes of a checkpoint."""
    folder = tmp_path_factory.mktemp("unfinished")
    model = tiny_transformer(max_epochs=4, batch_size=16, checkpoint_dir=folder)
    stopped(model.set_params(checkpoint_every=0), 5, X)
    return (folder / "tokenizer.checkpoint").read_bytes()


def rewrite(content, change):
    """Return a checkpoint with another description, whose hash is right."""
    import hashlib

    n = int.from_bytes(content[:8], "little")
    header = json.loads(content[8 : 8 + n])
    description = json.loads(header["__metadata__"]["skncvqvae_checkpoint"])
    change(description)
    text = json.dumps(description)
    header["__metadata__"]["skncvqvae_checkpoint"] = text
    header["__metadata__"]["sha256"] = hashlib.sha256(text.encode()).hexdigest()
    new = json.dumps(header).encode()
    new += b" " * (-len(new) % 8)
    return len(new).to_bytes(8, "little") + new + content[8 + n :]


DAMAGE = {
    "empty": lambda good: b"",
    "cut": lambda good: good[: len(good) // 2],
    "cut_header": lambda good: good[:100],
    "longer": lambda good: good + b"x",
    "flipped_weight": lambda good: good[:-9] + bytes([good[-9] ^ 1]) + good[-8:],
    "flipped_text": lambda good: good.replace(b"tokenizer", b"tokenixer", 1),
    "pickle": lambda good: b"\x80\x04N.",
    "zip": lambda good: b"PK\x03\x04" + good,
    "text": lambda good: b"no checkpoint",
    "huge_header": lambda good: (2**40).to_bytes(8, "little") + good[8:],
    "format": lambda good: rewrite(good, lambda d: d.update(format=2)),
    "version": lambda good: rewrite(good, lambda d: d.update(version="9.9")),
    "stage": lambda good: rewrite(good, lambda d: d.update(stage="prior")),
    "state": lambda good: rewrite(good, lambda d: d.update(state={"pickle": "x"})),
    "identity": lambda good: rewrite(good, lambda d: d["identity"].update(code="x")),
    "identity_type": lambda good: rewrite(good, lambda d: d["identity"].update(parameters=[1])),
    "nothing": lambda good: rewrite(good, lambda d: d.clear()),
}


@pytest.mark.parametrize("damage", DAMAGE.values(), ids=DAMAGE)
def test_a_damaged_file_is_refused_with_the_remedy(tmp_path, unfinished, damage):
    path = tmp_path / "tokenizer.checkpoint"
    path.write_bytes(damage(unfinished))
    count = make_counter()
    model = tiny_transformer(max_epochs=4, batch_size=16, callbacks=[count])
    with pytest.raises(ModelFileError, match=r"tokenizer.checkpoint.* To begin anew, delete"):
        model.set_params(checkpoint_dir=tmp_path).fit(X)
    assert count.steps == 0
    path.unlink()
    model.fit(X)


def with_a_hole(content, name):
    """Return the start of a checkpoint of 8 GiB, most of them of one array, and its length."""
    n = int.from_bytes(content[:8], "little")
    header = json.loads(content[8 : 8 + n])
    tensors = {key: value for key, value in header.items() if key != "__metadata__"}
    end = max(value["data_offsets"][1] for value in tensors.values())
    if name == "last":
        name = next(key for key, value in tensors.items() if value["data_offsets"][1] == end)
        assert header[name]["dtype"] == "BOOL"
        header[name]["data_offsets"][1] = 2**33
        header[name]["shape"] = [2**33 - header[name]["data_offsets"][0]]
    else:
        header[name] = {"dtype": "U8", "shape": [2**33 - end], "data_offsets": [end, 2**33]}
    new = json.dumps(header).encode()
    new += b" " * (-len(new) % 8)
    return len(new).to_bytes(8, "little") + new + content[8 + n :], 8 + len(new) + 2**33


@pytest.mark.parametrize("name", ["last", "another"])
def test_gigabytes_of_nothing_are_not_read(tmp_path, unfinished, name):
    """A file with a hole takes no place on the disk, and would in memory."""
    path = tmp_path / "tokenizer.checkpoint"
    content, size = with_a_hole(unfinished, name)
    path.write_bytes(content)
    os.truncate(path, size)
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    model = tiny_transformer(max_epochs=4, batch_size=16, checkpoint_dir=tmp_path)
    with pytest.raises(ModelFileError, match=r"bytes, more than a training.*delete"):
        model.fit(X)
    # Of another training nothing is read but whose it is.
    with pytest.raises(ValueError, match="differs from this one in the training data"):
        model.fit(X[::-1])
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before < 300_000  # KiB


class Hoarder(Callback):
    """Keeps more than a checkpoint of a tiny tokenizer may hold."""

    def state_dict(self):
        return {"all": np.zeros(2**29, dtype=np.uint8)}

    def load_state_dict(self, state):
        pass


def test_what_could_not_be_read_again_is_not_written(tmp_path):
    model = tiny_transformer(max_epochs=1, checkpoint_dir=tmp_path, checkpoint_every=0)
    with pytest.warns(UserWarning, match="No checkpoint could be written.*too long"):
        model.set_params(callbacks=[Hoarder()]).fit(X)


def test_a_checkpoint_of_other_shapes_is_refused(tmp_path, unfinished):
    def change(description):
        pairs = dict(description["state"]["dict"])
        first, second = pairs["module"]["dict"][:2]
        first[1], second[1] = second[1], first[1]

    path = tmp_path / "tokenizer.checkpoint"
    path.write_bytes(rewrite(unfinished, change))
    model = tiny_transformer(max_epochs=4, batch_size=16, checkpoint_dir=tmp_path)
    with pytest.raises(ModelFileError, match=r"damaged.*delete"):
        model.fit(X)


def test_a_checkpoint_is_no_model_and_says_so(tmp_path, unfinished):
    path = tmp_path / "tokenizer.checkpoint"
    path.write_bytes(unfinished)
    with pytest.raises(ModelFileError, match=r"checkpoint of a training. Go on with it by fit"):
        load(path)


def test_a_model_is_no_checkpoint_and_stays(tmp_path):
    model = tiny_transformer().fit(X)
    save(model, tmp_path / "tokenizer.checkpoint")
    with pytest.raises(ModelFileError, match=r"written by something else.*delete"):
        clone(model).set_params(checkpoint_dir=tmp_path).fit(X)
    load(tmp_path / "tokenizer.checkpoint")


def test_what_a_killed_process_was_writing_is_cleared_away(tmp_path):
    # Another process that fits the same may be about to rename the second one.
    killed, in_use = (tmp_path / f".tokenizer.checkpoint.{i}.tmp" for i in range(2))
    for path in (killed, in_use, tmp_path / "mine.tmp"):
        path.write_bytes(b"half")
    hour_ago = time.time() - 3600
    os.utime(killed, (hour_ago, hour_ago))
    tiny_transformer(checkpoint_dir=tmp_path).fit(X)
    assert sorted(os.listdir(tmp_path)) == [in_use.name, "mine.tmp", "tokenizer.checkpoint"]


@pytest.mark.filterwarnings("ignore::RuntimeWarning")
def test_a_training_that_diverged_can_begin_anew_with_another_rate(tmp_path):
    count = make_counter()
    model = tiny_generator(
        transformer__callbacks=[count],
        prior__lr=1e30,
        prior__max_epochs=50,
        checkpoint_dir=tmp_path,
        checkpoint_every=0,
    )
    with pytest.raises(FloatingPointError, match=r"prior. Lower its lr"):
        model.fit(X, Y)
    assert count.steps == 4
    model.set_params(prior__lr=1e-3, prior__max_epochs=2).fit(X, Y)
    assert count.steps == 4


@pytest.mark.filterwarnings("ignore::RuntimeWarning")
@pytest.mark.parametrize("fitted_before", [False, True])
def test_a_prior_that_fails_leaves_the_tokenizer_at_hand(fitted_before):
    model = tiny_generator()
    if fitted_before:
        model.fit(X, Y)
        expected = model.sample(3, random_state=0)[0]
    model.set_params(prior__lr=1e30, prior__max_epochs=50)
    with pytest.raises(FloatingPointError, match=r"prior. Lower its lr") as caught:
        model.fit(X, Y)
    assert any("error.transformer" in note for note in caught.value.__notes__)
    tokenizer = caught.value.transformer
    mended = tiny_generator(FrozenEstimator(tokenizer)).fit(X, Y)
    assert mended.sample(3)[0].shape == (3, X.shape[1])
    assert hasattr(model, "prior_") == hasattr(model, "transformer_") == fitted_before
    if fitted_before:
        np.testing.assert_array_equal(model.sample(3, random_state=0)[0], expected)


class Interrupt(Callback):
    def on_batch_begin(self, net, training=None, **kwargs):
        if training and len(net.history) == 3:
            raise KeyboardInterrupt


def test_after_ctrl_c_the_next_fit_goes_on(tmp_path):
    model = tiny_transformer(max_epochs=5, checkpoint_dir=tmp_path, checkpoint_every=0)
    expected = tiny_transformer(max_epochs=5).fit(X)
    with pytest.warns(UserWarning, match="interrupted"):
        first = clone(model).set_params(callbacks=[Interrupt()]).fit(X)
    assert first.n_iter_ == 2
    assert_same(model.fit(X), expected)


class Remember(Callback):
    """A callback with a state that is kept."""

    def on_train_begin(self, net, **kwargs):
        self.seen = 0

    def on_batch_end(self, net, training=None, **kwargs):
        self.seen += bool(training)

    def state_dict(self):
        return {"seen": self.seen, "array": np.arange(3)}

    def load_state_dict(self, state):
        self.seen = state["seen"]


def codes_in_use(net, X, y):
    return len(X)


def test_callbacks_that_have_a_state_get_it_back(tmp_path):
    remember = Remember()
    scoring = EpochScoring(codes_in_use, name="n", use_caching=False, on_train=True)
    model = tiny_transformer(max_epochs=4, batch_size=16, callbacks=[remember, scoring])
    expected = clone(model).fit(X)
    model.set_params(checkpoint_dir=tmp_path, checkpoint_every=0)
    stopped(model, 8, X)
    model.fit(X)
    assert remember.seen == 12
    assert history(model.history_) == history(expected.history_)
    assert model.history_[-1]["n"] == 40


def test_files_of_models_do_not_name_the_folder(tmp_path):
    model = tiny_generator(checkpoint_dir=str(tmp_path / "run")).fit(X, Y)
    save(model, tmp_path / "model.safetensors")
    loaded = load(tmp_path / "model.safetensors")
    assert loaded.checkpoint_dir is None and loaded.transformer_.checkpoint_dir is None
    assert str(tmp_path / "run").encode() not in (tmp_path / "model.safetensors").read_bytes()


def test_an_augmented_classifier_reuses_its_generator(tmp_path):
    from sklearn.linear_model import LogisticRegression

    count = make_counter()
    generator = tiny_generator(checkpoint_dir=tmp_path, transformer__callbacks=[count])
    model = AugmentedClassifier(LogisticRegression(), generator, random_state=0)
    first = clone(model).fit(X, Y).predict_proba(X)
    again = clone(model).fit(X, Y).predict_proba(X)
    assert count.steps == 4
    np.testing.assert_array_equal(first, again)


@pytest.mark.slow
@pytest.mark.skipif(not hasattr(os, "fork"), reason="needs os.fork")
def test_fifty_kills_lose_nothing(tmp_path):
    script = Path(__file__).parents[1] / "examples/benchmarks/kills.py"
    command = [sys.executable, script, "--kills", "50", "--longest", "2", "--folder", tmp_path]
    output = subprocess.run(command, capture_output=True, text=True, check=True).stdout
    assert re.match(
        r"50 kills in \d+ trainings, 0 unreadable checkpoints, 0 finished stages", output
    )
    assert re.search(r"(\d+) of \1 results are bit-equal", output)


@pytest.mark.parametrize("position", [625, 10**12, -1])
@pytest.mark.parametrize(
    "generator", [np.random.RandomState(0), np.random.Generator(np.random.MT19937(0))]
)
def test_a_random_state_beyond_its_end_is_refused(generator, position):
    """From there numpy would read memory that is not its own."""
    state = stream_state(generator)
    set_stream_state(generator, state)
    state["state"]["pos"] = position
    with pytest.raises(ValueError, match=f"cannot be at {position}"):
        set_stream_state(generator, state)


def test_a_folder_that_is_none_is_refused_by_name(tmp_path, monkeypatch):
    (tmp_path / "file").write_text("")
    for folder, error in [(tmp_path / "file", OSError), ("", ValueError), ("a\0b", ValueError)]:
        with pytest.raises(error, match="checkpoint_dir="):
            tiny_transformer(checkpoint_dir=folder).fit(X)
        with pytest.raises(error, match="checkpoint_dir="):
            tiny_transformer(checkpoint_dir=folder, random_state=None).fit(X)
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.setenv("USERPROFILE", str(tmp_path))
    tiny_transformer(checkpoint_dir="~/mine").fit(X)
    assert (tmp_path / "mine" / "tokenizer.checkpoint").exists()
