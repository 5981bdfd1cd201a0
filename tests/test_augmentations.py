import pickle

import numpy as np
import pandas as pd
import pytest
import torch
from helpers import make_series, tiny_transformer
from hypothesis import given, settings
from hypothesis import strategies as st

from skncvqvae.augmentations import (
    AUGMENTATION_SETS,
    AUGMENTATIONS,
    AmplitudeResize,
    BandRemoval,
    Compose,
    Flip,
    GaussianNoise,
    Jitter,
    MagnitudeWarp,
    NoiseWindow,
    PhaseShift,
    RandomCrop,
    Shift,
    SliceShuffle,
    Slope,
    SpectralMask,
    WindowWarp,
    augment,
    make_augmentation,
)

ALL = [*AUGMENTATION_SETS, *AUGMENTATIONS]


def seeded(seed=0):
    return torch.Generator().manual_seed(seed)


@pytest.mark.parametrize("name", ALL)
@settings(deadline=None, max_examples=15)
@given(
    n=st.integers(1, 6),
    n_channels=st.integers(1, 3),
    length=st.integers(1, 70),
    dtype=st.sampled_from([torch.float32, torch.float64]),
)
def test_keeps_shape_dtype_and_input(name, n, n_channels, length, dtype):
    X = torch.randn(n, n_channels, length, generator=seeded(), dtype=dtype)
    before = X.clone()
    view = make_augmentation(name)(X, seeded(1))
    assert view.shape == X.shape and view.dtype == dtype
    assert view.isfinite().all()
    assert torch.equal(X, before)


@pytest.mark.parametrize("name", ALL)
def test_generator_decides_the_result_and_series_differ(name):
    X = torch.randn(1, 1, 64, generator=seeded()).expand(16, 1, 64)
    augmentation = make_augmentation(name)
    view = augmentation(X, seeded(3))
    state = torch.random.get_rng_state()
    assert torch.equal(view, augmentation(X, seeded(3)))
    assert torch.equal(state, torch.random.get_rng_state())
    assert not torch.equal(view, augmentation(X, seeded(4)))
    assert len(torch.unique(view, dim=0)) > 1


@pytest.mark.parametrize("name", ["shift", "slice_shuffle", "window_warp", "random_crop", "flip"])
def test_channels_stay_aligned(name):
    X = torch.randn(8, 1, 50, generator=seeded())
    view = make_augmentation(name)(torch.cat([X, -X], dim=1), seeded(1))
    torch.testing.assert_close(view[:, 0], -view[:, 1])


def test_shift_moves_and_reflects():
    X = torch.arange(10.0).expand(200, 1, 10)
    view = Shift(3)(X, seeded())[:, 0]
    moves = set()
    for row in view.tolist():
        # The fifth step is further from both ends than any move.
        move = int(row[5]) - 5
        moves.add(move)
        expected = [abs(t + move) for t in range(10)]
        assert row == [t if t < 10 else 18 - t for t in expected]
    assert moves == set(range(-3, 4))
    assert torch.equal(Shift(0)(X, seeded()), X)


def test_slice_shuffle_permutes_contiguous_pieces():
    X = torch.arange(40.0).expand(30, 1, 40)
    view = SliceShuffle(4)(X, seeded())[:, 0]
    assert torch.equal(view.sort(1).values, X[:, 0])
    breaks = (view.diff(dim=1) != 1).sum(1)
    assert breaks.max() <= 3 and breaks.max() > 0
    assert torch.equal(SliceShuffle(1)(X, seeded()), X)


def test_window_warp_follows_the_definition_on_a_ramp():
    # On a ramp the output is the source position itself.
    X = torch.arange(101.0).expand(64, 1, 101)
    view = WindowWarp(0.4, 2.0, 2.0)(X, seeded())[:, 0]
    assert torch.all(view.diff(dim=1) > 0)
    torch.testing.assert_close(view[:, 0], torch.zeros(64))
    torch.testing.assert_close(view[:, -1], torch.full((64,), 100.0))
    # 40 steps become 80, so the output's clock runs 1.4 times faster, and 0.7 in the window.
    steps = view.diff(dim=1)
    assert steps.max() == pytest.approx(1.4, abs=1e-3)
    assert steps.min() == pytest.approx(0.7, abs=1e-3)
    torch.testing.assert_close(WindowWarp(0.4, 1.0, 1.0)(X, seeded()), X)


def test_random_crop_stretches_a_window():
    X = torch.arange(101.0).expand(64, 1, 101)
    view = RandomCrop(0.5)(X, seeded())[:, 0]
    torch.testing.assert_close(view[:, -1] - view[:, 0], torch.full((64,), 50.0))
    assert view.min() >= 0 and view.max() <= 100


def test_noise_has_the_stated_strength():
    X = torch.zeros(200, 1, 500)
    assert GaussianNoise(0.3)(X, seeded()).std().item() == pytest.approx(0.3, rel=0.02)
    view = NoiseWindow(0.4, 0.2)(X, seeded())
    changed = (view != 0)[:, 0]
    assert torch.all(changed.sum(1) == 200)
    assert view[view != 0].std().item() == pytest.approx(0.2, rel=0.02)


def test_amplitude_slope_flip_and_magnitude():
    X = torch.randn(500, 2, 30, generator=seeded())
    factor = AmplitudeResize(0.2)(X, seeded()) / X
    torch.testing.assert_close(factor, factor[:, :1, :1].expand_as(factor))
    assert factor[:, 0, 0].std().item() == pytest.approx(0.2, rel=0.15)

    trend = Slope(0.1)(X, seeded()) - X
    assert trend[..., -1].abs().max() <= 0.1 * 29
    torch.testing.assert_close(trend.diff(dim=2)[..., :1].expand(-1, -1, 29), trend.diff(dim=2))

    assert torch.equal(Flip(1.0)(X), X.flip(-1)) and torch.equal(Flip(0.0)(X), X)

    curve = MagnitudeWarp(4, 0.2)(torch.ones(2000, 1, 60), seeded())
    # At the ends the curve passes through its knots, which are N(1, 0.2).
    assert curve[..., 0].std().item() == pytest.approx(0.2, rel=0.1)
    assert curve.mean().item() == pytest.approx(1, abs=0.02)


def test_spectral_augmentations_without_strength_do_nothing():
    X = torch.randn(4, 2, 100, generator=seeded())
    for augmentation in (SpectralMask(0.0), BandRemoval(0), PhaseShift(0.0)):
        torch.testing.assert_close(augmentation(X, seeded()), X, atol=1e-5, rtol=1e-5)
    torch.testing.assert_close(SpectralMask(1.0)(X, seeded()), torch.zeros_like(X))
    torch.testing.assert_close(BandRemoval(99, scale=0.5)(X, seeded()), 0.5 * X)


def test_lists_apply_in_order():
    X = torch.randn(4, 1, 30, generator=seeded())
    made = make_augmentation([("slope", {"max_slope": 0.0}), lambda X: X + 1, lambda X: X * 2])
    torch.testing.assert_close(made(X, seeded()), (X + 1) * 2)


def test_user_callable_may_take_the_generator():
    def shift(X, scale=2.0, *, generator=None):
        return X + scale * torch.randn(len(X), 1, 1, generator=generator)

    X = torch.zeros(3, 1, 9)
    made = make_augmentation(shift)
    assert torch.equal(made(X, seeded()), made(X, seeded()))
    assert torch.equal(make_augmentation(lambda X, scale=2.0: X + scale)(X, seeded()), X + 2)


@pytest.mark.parametrize(
    ("spec", "error", "message"),
    [
        ("wrap", ValueError, "Did you mean 'warp'"),
        ("nothing like it", ValueError, "Known are"),
        (("window_warp", {"ratio": 1}), ValueError, "no parameter 'ratio'"),
        (("window_warp", {"window_ratio": 1.5}), ValueError, "window_ratio=1.5"),
        (("window_warp", {"min_scale": 3.0}), ValueError, "max_scale"),
        (("window_warp", {"max_scale": 1e39}), ValueError, "max_scale"),
        (("window_warp", {"max_scale": float("inf")}), ValueError, "max_scale"),
        (("slice_shuffle", {"n_segments": 2.5}), ValueError, "n_segments=2.5"),
        (("warp", {"std": 1}), ValueError, "takes no parameters"),
        (WindowWarp, TypeError, "Pass an instance"),
        ([3], TypeError, "3 is no augmentation"),
    ],
)
def test_bad_specifications_name_the_value(spec, error, message):
    with pytest.raises(error, match=message):
        make_augmentation(spec)


@pytest.mark.parametrize(
    ("function", "message"),
    [
        (lambda X: X[..., 1:], r"tensor of shape \(2, 1, 9\), got \(2, 1, 8\)"),
        (lambda X: X.numpy(), r"numpy array of shape \(2, 1, 9\). Return torch.from_numpy of it"),
        (lambda X: None, "returned None"),
        (lambda X: [X], "an object of type list"),
        (lambda X: X * 1j, "complex"),
        (lambda X: X / 0, "NaN or infinity"),
        (lambda X: X + torch.tensor(1e300, dtype=torch.float64)[None], "NaN or infinity"),
    ],
)
def test_user_callable_that_returns_no_series_is_refused(function, message):
    made = make_augmentation(function)
    with pytest.raises(ValueError, match=message):
        made(torch.zeros(2, 1, 9), None)


def test_a_built_in_function_without_signature_is_taken():
    X = torch.randn(3, 1, 9, generator=seeded())
    assert torch.equal(make_augmentation(torch.neg)(X), -X)


def test_user_callable_may_write_into_its_argument():
    def mask(X):
        X[..., 16:] = 0
        return X

    def mask_copy(X):
        return mask(X.clone())

    X = torch.randn(4, 1, 32, generator=seeded())
    before = X.clone()
    for spec, other in [(mask, mask_copy), ([mask, "flip"], [mask_copy, "flip"])]:
        view = make_augmentation(spec)(X, seeded(1))
        assert torch.equal(view, make_augmentation(other)(X, seeded(1)))
        assert torch.equal(X, before) and not torch.equal(view, before)
    array = X.numpy()
    assert not np.array_equal(augment(array, mask), array)
    assert torch.equal(X, before)


def test_training_on_a_view_written_in_place_is_the_same():
    def mask(X):
        X[..., 16:] = 0
        return X

    X, _ = make_series()
    scores = [
        tiny_transformer(augmentations=function).fit(X).score(X)
        for function in (mask, lambda X: mask(X.clone()))
    ]
    assert scores[0] == scores[1]


@pytest.mark.parametrize("name", ALL)
def test_pickles(name):
    augmentation = make_augmentation(name)
    assert pickle.loads(pickle.dumps(augmentation)) == augmentation


def test_augment_takes_arrays():
    X = np.random.default_rng(0).normal(size=(5, 40))
    view = augment(X, "warp", random_state=0)
    assert isinstance(view, np.ndarray) and view.shape == X.shape and view.dtype == X.dtype
    np.testing.assert_array_equal(view, augment(X, "warp", random_state=0))
    assert not np.array_equal(augment(X, "warp"), augment(X, "warp"))
    assert augment(np.arange(12).reshape(2, 6), "gauss").shape == (2, 6)


@pytest.mark.parametrize(
    ("change", "dtype"),
    [
        (lambda X: X[:, None].astype(np.float32), np.float32),
        (lambda X: X.astype(np.float16), np.float64),
        (lambda X: X.astype(np.longdouble), np.float64),
        (lambda X: (10 * X).astype(np.int8), np.float64),
        (lambda X: X[::-1, ::-1], np.float64),
        (lambda X: X.astype(">f8"), np.float64),
        (lambda X: X.astype(">f4"), np.float32),
        (lambda X: X.astype(object), np.float64),
        (np.asfortranarray, np.float64),
        (pd.DataFrame, np.float64),
        (torch.from_numpy, np.float64),
        (lambda X: X.tolist(), np.float64),
        (np.ma.masked_array, np.float64),
    ],
)
def test_augment_reads_every_kind_of_numbers(change, dtype):
    X = change(np.random.default_rng(0).normal(size=(5, 40)))
    plain = np.array(np.asarray(X), dtype=dtype)
    view = augment(X, "slope", random_state=0)
    assert view.dtype == dtype and view.dtype.isnative
    np.testing.assert_array_equal(view, augment(plain, "slope", random_state=0))
    np.testing.assert_array_equal(np.array(np.asarray(X), dtype=dtype), plain)


def test_augment_returns_a_new_array_of_read_only_memory():
    X = np.ones((2, 8))
    X.flags.writeable = False
    view = augment(X, [])
    view[:] = 0
    assert (X == 1).all()


@pytest.mark.parametrize(
    ("X", "message"),
    [
        ([[1.0, np.nan]], "X contains NaN"),
        ([[1.0, -np.inf]], "X contains infinity"),
        (np.ones((0, 8)), r"0 sample.* minimum of 1"),
        (np.ones((2, 3, 0)), r"X of shape \(2, 3, 0\) holds no values"),
        (np.ones(8), "Expected 2D array, got 1D"),
        (np.ones((1, 1, 1, 8)), "X has 4 dimensions"),
        ([[1, 2], [1]], "X holds series of several shapes"),
        ([["a", "b"]], "Series 0 of X holds text"),
        (np.ones((2, 8), dtype=complex), "X holds complex numbers"),
        (np.ones((2, 8), dtype="M8[s]"), "X holds dates"),
        (np.ma.masked_equal([[1.0, 2.0]], 2), "X contains NaN"),
        (np.full((2, 8), 3e38, dtype=np.float32), "X holds values too large"),
    ],
)
def test_augment_refuses_what_is_no_series(X, message):
    with pytest.raises(ValueError, match=message):
        augment(X, ("amplitude_resize", {"std": 100.0}), random_state=0)


@pytest.mark.parametrize("seed", [np.int64(3), np.uint8(3), np.random.RandomState(3)])
def test_augment_takes_every_kind_of_seed(seed):
    X = np.ones((2, 8))
    np.testing.assert_array_equal(augment(X, "gauss", seed), augment(X, "gauss", 3))


@pytest.mark.parametrize("seed", [-1, 1.5, "seed"])
def test_augment_refuses_what_is_no_seed(seed):
    with pytest.raises(ValueError, match="random_state="):
        augment(np.ones((2, 8)), "gauss", seed)


@pytest.mark.parametrize("step", ["jitter", 3, None])
def test_steps_that_are_no_augmentations_are_refused(step):
    with pytest.raises(TypeError, match="make_augmentation takes names"):
        Compose((Jitter(), step))


@pytest.mark.parametrize("change", [lambda X: X.to_sparse(), lambda X: X.to("meta")])
def test_what_is_no_dense_tensor_is_refused(change):
    X, _ = make_series(4)
    for call in (
        lambda: augment(X, change),
        lambda: tiny_transformer(augmentations=change).fit(X),
    ):
        with pytest.raises(ValueError, match="sparse or has no values"):
            call()
