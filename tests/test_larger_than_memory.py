"""Sets of series are handled part by part, and it makes no difference."""

import tracemalloc

import numpy as np
import pytest
import torch
from helpers import make_series, tiny_generator, tiny_transformer
from sklearn.base import clone

from skncvqvae import _memory
from skncvqvae._codec import SeriesCodec
from skncvqvae._memory import LazySeries, gen_parts
from skncvqvae._representations import REPRESENTATIONS

X, Y = make_series(n=96, length=32, dtype=np.float32)


@pytest.fixture
def small_parts(monkeypatch):
    """Let parts be of a size that a test can have several of: one batch."""

    def divide():
        monkeypatch.setattr(_memory, "_MAX_VALUES_OF_LARGE_PARTS", 32 * 32)

    return divide


@pytest.fixture
def mapped(tmp_path):
    """Return a function that maps an array from a file, for reading."""

    def save(array):
        np.save(tmp_path / "series.npy", array)
        return np.load(tmp_path / "series.npy", mmap_mode="r")

    return save


@pytest.mark.parametrize(
    "params",
    [{}, {"early_stopping": True}, {"bands": "stft"}],
    ids=["", "early_stopping", "bands"],
)
def test_a_memory_map_in_parts_trains_the_same_tokenizer(small_parts, mapped, params):
    model = tiny_transformer(**params)
    expected = clone(model).fit(X)
    # Mean and scale are sums, which parts round in another way.
    scaler = expected.codec_
    small_parts()
    model.fit(mapped(X))
    np.testing.assert_allclose(model.codec_.mean_, scaler.mean_, rtol=1e-6)
    np.testing.assert_allclose(model.codec_.scale_, scaler.scale_, rtol=1e-6)
    for name in ("train_loss", "train_recon_time"):
        one, other = model.history_[:, name], expected.history_[:, name]
        np.testing.assert_allclose(one, other, rtol=1e-3)
    assert (model.tokenize(mapped(X)) == model.tokenize(X)).all()


def test_a_memory_map_is_as_an_array(small_parts, mapped):
    small_parts()
    with_array, with_map = tiny_transformer().fit(X), tiny_transformer().fit(mapped(X))
    for name, tensor in with_array.module_.state_dict().items():
        assert torch.equal(tensor, with_map.module_.state_dict()[name])


@pytest.mark.parametrize("name", [*REPRESENTATIONS, ["ppv", "histogram"]], ids=str)
def test_representations_are_made_part_by_part(small_parts, mapped, name):
    model = tiny_transformer(representation=name).fit(X)
    expected, score = model.transform(X), model.score(X)
    small_parts()
    made = model.transform(mapped(X))
    assert made.dtype == expected.dtype and type(made) is type(expected)
    dense = [x.toarray() if hasattr(x, "toarray") else x for x in (made, expected)]
    np.testing.assert_allclose(*dense, rtol=1e-5, atol=1e-6)
    assert model.score(mapped(X)) == pytest.approx(score)


def test_a_generator_learns_from_a_memory_map(small_parts, mapped):
    expected = tiny_generator().fit(X, Y)
    small_parts()
    model = tiny_generator().fit(mapped(X), Y)
    series, labels = model.sample(10)
    assert series.dtype == np.float32 and len(labels) == 10
    np.testing.assert_allclose(
        model.prior_.history_[:, "train_loss"],
        expected.prior_.history_[:, "train_loss"],
        rtol=1e-2,
    )


def test_a_checkpoint_knows_a_memory_map_again(small_parts, mapped, tmp_path):
    small_parts()
    model = tiny_transformer(checkpoint_dir=tmp_path / "checkpoints", verbose=1)
    first = clone(model).fit(mapped(X))
    again = clone(model).fit(X)
    assert torch.equal(first.module_.codebook, again.module_.codebook)
    assert len(list((tmp_path / "checkpoints").iterdir())) == 1


@pytest.mark.parametrize("value", [np.nan, np.inf])
def test_what_is_wrong_in_the_last_part_is_found_before_training(small_parts, mapped, value):
    small_parts()
    wrong = X.copy()
    wrong[-1, 3] = value
    with pytest.raises(ValueError, match="NaN" if np.isnan(value) else "infinity"):
        tiny_transformer().fit(mapped(wrong))


def test_what_single_precision_cannot_hold_is_found_before_training(small_parts):
    small_parts()
    model = tiny_transformer(warm_start=True).fit(X)
    with pytest.raises(ValueError, match="too far from the training data"):
        model.fit(np.concatenate([X, np.full((1, 32), 3e38)]).astype(np.float64) * 1e3)
    assert len(model.history_) == 2


def test_lazy_series_are_those_that_the_function_makes():
    series = np.arange(24.0).reshape(6, 1, 4)
    lazy = LazySeries(series, lambda rows: rows + 1, np.float64)
    chosen = lazy.take(np.array([4, 0, 2])).take(np.array([2, 0]))
    assert lazy.shape == (6, 1, 4) and chosen.shape == (2, 1, 4) and len(chosen) == 2
    np.testing.assert_array_equal(chosen[:], series[[2, 4]] + 1)
    np.testing.assert_array_equal(np.asarray(lazy), series + 1)
    np.testing.assert_array_equal(np.concatenate([lazy[p] for p in gen_parts(lazy)]), series + 1)


def test_reading_and_standardising_hold_no_copy(mapped, monkeypatch):
    monkeypatch.setattr(_memory, "_MAX_VALUES", 2**14)
    monkeypatch.setattr(_memory, "_MAX_VALUES_OF_LARGE_PARTS", 2**15)
    large = mapped(np.random.default_rng(0).normal(size=(20_000, 100)).astype(np.float32))
    model = tiny_transformer()
    codec = SeriesCodec()
    tracemalloc.start()
    series = codec.fit_read(large, model)
    standardised = codec.standardise_lazily(series)
    for part in gen_parts(series):
        standardised[part]
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert peak < large.nbytes / 4
