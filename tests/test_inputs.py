"""Layouts, containers and defects of the data, for both estimators."""

import numpy as np
import pandas as pd
import pytest
from helpers import make_series, tiny_generator, tiny_transformer
from sklearn.frozen import FrozenEstimator
from sklearn.naive_bayes import GaussianNB
from tslearn.utils import to_time_series_dataset

from skncvqvae import AugmentedClassifier, SemiSupervisedClassifier
from skncvqvae.augmentations import augment
from skncvqvae.metrics import FCNClassifier, RocketFeatures, make_generator_scorer
from skncvqvae.plots import ProjectionDisplay


def test_univariate_layouts_agree():
    X, _ = make_series()
    expected = tiny_transformer().fit(X).tokenize(X)
    frame = pd.DataFrame(X, columns=[f"t{i}" for i in range(X.shape[1])])
    for same, params in [
        (X[:, None], {}),
        (X[:, :, None], {"data_format": "channels_last"}),
        (frame, {}),
        (X.tolist(), {}),
        (list(X), {}),
        (list(X[:, None]), {}),
        (np.asfortranarray(X), {}),
        (np.repeat(X, 2, axis=1)[:, ::2], {}),
    ]:
        model = tiny_transformer(**params).fit(same)
        np.testing.assert_array_equal(model.tokenize(same), expected)
        shape = np.shape(same)
        assert model.inverse_transform(expected).shape == shape


def test_channels_last_is_only_another_layout():
    X, y = make_series(n_channels=3)
    expected = tiny_transformer().fit(X).inverse_transform
    first = tiny_transformer().fit(X)
    last = tiny_transformer(data_format="channels_last").fit(X.swapaxes(1, 2))
    tokens = first.tokenize(X)
    np.testing.assert_array_equal(last.tokenize(X.swapaxes(1, 2)), tokens)
    np.testing.assert_array_equal(last.inverse_transform(tokens), expected(tokens).swapaxes(1, 2))
    generator = tiny_generator(tiny_transformer(data_format="channels_last"))
    assert generator.fit(X.swapaxes(1, 2), y).sample(4)[0].shape == (4, X.shape[2], 3)


def test_channels_are_standardised_separately():
    X, _ = make_series(n_channels=2)
    X[:, 1] *= 1e4
    model = tiny_transformer().fit(X)
    np.testing.assert_allclose(model.codec_.scale_, X.std((0, 2)))
    decoded = model.inverse_transform(model.tokenize(X))
    assert decoded[:, 1].mean() > 1e3 * decoded[:, 0].mean()


def test_read_only_memmap(tmp_path):
    X, y = make_series(dtype=np.float32)
    np.save(tmp_path / "X.npy", X)
    X = np.load(tmp_path / "X.npy", mmap_mode="r")
    assert tiny_transformer().fit(X).transform(X).dtype == np.float32
    assert tiny_generator().fit(X, y).sample(2)[0].dtype == np.float32


@pytest.mark.parametrize("n", [2, 3])
def test_fewer_series_than_a_batch(n):
    X, _ = make_series(n)
    model = tiny_generator().fit(X, ["a"] * (n - 1) + ["b"])
    assert model.sample(5, y="b")[0].shape == (5, X.shape[1])


def test_remainder_of_one_series_joins_a_batch():
    X, _ = make_series(33)
    row = tiny_transformer(batch_size=32).fit(X).history_[-1]
    assert np.isfinite(row["train_ssl"])


@pytest.mark.parametrize("length", [8, 9, 10_000])
def test_short_and_long_series(length):
    X, y = make_series(4, length=length)
    model = tiny_generator(tiny_transformer(max_epochs=1)).fit(X, y)
    assert model.sample(2)[0].shape == (2, length)


@pytest.mark.parametrize("length", [1, 2, 5])
def test_very_short_series_are_padded(length):
    X = np.random.default_rng(0).normal(size=(6, length))
    model = tiny_transformer(n_fft=16).fit(X)
    assert model.inverse_transform(model.tokenize(X)).shape == X.shape


@pytest.mark.parametrize("which", ["all", "some"])
def test_constant_series_do_not_produce_nan(which):
    X, y = make_series(12)
    X[0 if which == "some" else slice(None)] = 3.25
    for method in ("barlowtwins", "vicreg", "vibcreg", "byol"):
        model = tiny_generator(tiny_transformer(ssl_method=method)).fit(X, y)
        assert np.isfinite(model.transformer_.transform(X)).all()
        assert np.isfinite(model.sample(3)[0]).all()
        assert np.isfinite(model.transformer_.history_[-1]["train_loss"])


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda X: np.where(X.max() == X, np.inf, X), "infinity"),
        (lambda X: np.where(X.max() == X, np.nan, X), "irregular='interpolate'"),
        (lambda X: X[0], "2D|1D"),
        (lambda X: X[:, None, None], "4 dimensions"),
        (lambda X: X[:1], "minimum of 2"),
        (lambda X: X[:0], "0 sample"),
        (lambda X: X[:, None, :0], "holds no values|0 feature"),
        (lambda X: [x[: 10 + i] for i, x in enumerate(X[:9])], "unequal length, 10 to 18"),
        (lambda X: X * 1e308, "too large|infinity"),
        (lambda X: np.char.add(X.astype(str), "a"), "holds text"),
    ],
)
def test_bad_training_data_is_refused_before_training(change, message):
    X, _ = make_series()
    with pytest.raises(ValueError, match=message):
        tiny_transformer().fit(change(X))
    with pytest.raises(ValueError, match=message):
        tiny_generator().fit(change(X), None)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda X: X[:, :-1], "31 features"),
        (lambda X: X[:, None, :-1], r"fitted on \(n, 32\)"),
        (lambda X: np.stack([X, X], axis=1), r"fitted on \(n, 32\)"),
        (lambda X: X + np.inf, "infinity"),
        (lambda X: X * np.nan, "NaN"),
        (lambda X: X * 1e60, "too large"),
    ],
)
def test_bad_data_after_fit(fitted, generator, change, message):
    X, _ = make_series()
    for method in (fitted.transform, fitted.score, generator.score_samples):
        with pytest.raises(ValueError, match=message):
            method(change(X))


@pytest.mark.parametrize("factor", [1e10, 1e19, 1e36])
def test_the_score_of_series_far_away_is_finite(fitted, factor):
    X, _ = make_series()
    # What is decoded is near to the training data, and so nothing beside such series.
    expected = np.square((X * factor - fitted.codec_.mean_) / fitted.codec_.scale_).mean()
    assert fitted.score(X * factor) == pytest.approx(-expected, rel=1e-3)


def test_wrong_number_of_channels_after_fit():
    X, _ = make_series(n_channels=2)
    model = tiny_transformer().fit(X)
    for wrong in (X[:, :1], X[:, 0], X.swapaxes(1, 2)):
        with pytest.raises(ValueError, match=r"fitted on \(n, 2, 32\)"):
            model.transform(wrong)


def test_interpolate_fills_gaps_linearly():
    ramp = np.tile(np.linspace(0, 1, 32), (6, 1)) * np.arange(1, 7)[:, None]
    gappy = ramp.copy()
    gappy[1, 5:9] = np.nan
    gappy[3, 20] = np.nan
    model = tiny_transformer(irregular="interpolate").fit(gappy)
    np.testing.assert_array_equal(model.tokenize(gappy), model.tokenize(ramp))
    assert np.isfinite(model.transform(gappy)).all()
    np.testing.assert_allclose(model.codec_.mean_, ramp.mean())
    gappy[2] = np.nan
    with pytest.raises(ValueError, match="NaN only"):
        model.transform(gappy)


@pytest.mark.parametrize("n_channels", [None, 2])
@pytest.mark.parametrize("data_format", ["channels_first", "channels_last"])
def test_interpolate_stretches_unequal_lengths(n_channels, data_format):
    if data_format == "channels_last" and n_channels is None:
        pytest.skip("a univariate series has no channel axis")
    rng = np.random.default_rng(0)
    lengths = [*rng.integers(10, 32, 12), 32]
    # Ramps from 0 to 1 are the same series at any length.
    X = [
        np.linspace(0, 1, k) if n_channels is None else np.tile(np.linspace(0, 1, k), (2, 1))
        for k in lengths
    ]
    if data_format == "channels_last":
        X = [series.T for series in X]
    X[0] = X[0] * -1
    model = tiny_transformer(irregular="interpolate", data_format=data_format).fit(X)
    assert model.codec_.n_timesteps_ == 32
    tokens = model.tokenize(X)
    assert (tokens[1:] == tokens[-1]).all()
    longer = [
        np.repeat(series, 2, axis=0 if data_format == "channels_last" or n_channels is None else 1)
        for series in X
    ]
    assert model.tokenize(longer).shape == tokens.shape
    generator = tiny_generator(
        tiny_transformer(irregular="interpolate", data_format=data_format)
    ).fit(X, np.arange(13) % 2)
    assert len(generator.sample(3)[0]) == 3
    assert generator.score_samples(X).shape == (13,)


@pytest.mark.parametrize("length", [8, 9])
def test_unequal_channels_are_refused(length):
    with pytest.raises(ValueError, match="number of channels"):
        tiny_transformer(irregular="interpolate").fit([np.zeros((2, 9)), np.zeros((3, length))])


def test_interpolate_reads_tslearn_padding_as_the_end():
    X = [np.linspace(0, 1, k) * (1 if k % 2 else -1) for k in (10, 15, 20, 32, 21)]
    as_list = tiny_transformer(irregular="interpolate").fit(X)
    padded = tiny_transformer(irregular="interpolate", data_format="channels_last")
    padded.fit(to_time_series_dataset(X))
    np.testing.assert_array_equal(padded.tokenize(to_time_series_dataset(X)), as_list.tokenize(X))


def test_interpolate_keeps_dtype_and_takes_frames_of_another_length():
    X, _ = make_series(dtype=np.float32)
    model = tiny_transformer(irregular="interpolate").fit(
        [x[: 20 + i % 9] for i, x in enumerate(X)]
    )
    assert model.inverse_transform(model.tokenize(X)).dtype == np.float32
    np.testing.assert_array_equal(
        model.tokenize(pd.DataFrame(X[:, :20])), model.tokenize(X[:, :20])
    )


def test_feature_names_are_checked():
    X, y = make_series()
    frame = pd.DataFrame(X).add_prefix("t")
    model = tiny_generator().fit(frame, y)
    assert model.n_features_in_ == 32 and model.feature_names_in_[0] == "t0"
    with pytest.raises(ValueError, match="feature names"):
        model.score_samples(frame[frame.columns[::-1]])


def test_the_remedy_is_one_that_the_estimator_has(series):
    X, y = series
    gappy = np.where(X > 58, np.nan, X)
    ragged = [x[: 30 + i % 2] for i, x in enumerate(X)]
    for bad, by_hand in ((gappy, "NaN. Fill them"), (ragged, "time steps. Resample them")):
        for model in (FCNClassifier(max_epochs=1, device="cpu"), RocketFeatures(84)):
            with pytest.raises(ValueError, match=by_hand):
                model.fit(bad, y)
        for model in (tiny_transformer(), tiny_generator(), SemiSupervisedClassifier()):
            with pytest.raises(ValueError, match="Set irregular='interpolate' of the transformer"):
                model.fit(bad, y)


LABELS = {
    "nullable integers": (pd.array([2**53, 2**53 + 1] * 20, dtype="Int64"), np.int64),
    "nullable logicals": (pd.array([True, False] * 20, dtype="boolean"), np.bool_),
}


@pytest.mark.parametrize(("labels", "dtype"), LABELS.values(), ids=LABELS)
def test_nullable_labels_keep_their_dtype_and_their_number(series, labels, dtype):
    """As floats, as which numpy has them, two large integers are one class."""
    X, _ = series
    frozen = FrozenEstimator(tiny_transformer().fit(X))
    y = pd.Series(labels, index=range(100, 140))
    models = [
        tiny_generator(frozen).fit(X, y),
        AugmentedClassifier(GaussianNB(), tiny_generator(frozen), ratio=0).fit(X, y),
        SemiSupervisedClassifier(frozen, GaussianNB()).fit(X, y),
        FCNClassifier(max_epochs=1, device="cpu").fit(X, y),
    ]
    for model in models:
        assert model.classes_.dtype == dtype and len(model.classes_) == 2
    assert set(models[0].sample(9)[1].tolist()) <= set(labels.tolist())


@pytest.mark.parametrize(
    ("y", "message"),
    [
        ([0, "b"] * 20, "y holds strings and other labels"),
        (np.array([0, "b"] * 20, dtype=object), "of the types int, str"),
        (np.array([0, 1.0] * 20, dtype=object), "of the types float, int"),
        ((label for label in [0, 1] * 20), "y holds no class labels"),
        ({0, 1}, "y holds no class labels"),
        (None, "y holds no class labels|target y is None"),
    ],
)
def test_labels_of_several_types_are_refused_by_every_classifier(series, y, message):
    for model in (
        AugmentedClassifier(GaussianNB(), tiny_generator()),
        SemiSupervisedClassifier(tiny_transformer(), GaussianNB()),
        FCNClassifier(max_epochs=1, device="cpu"),
    ):
        with pytest.raises(ValueError, match=message):
            model.fit(series[0], y)


def test_weights_that_are_no_array_are_refused(series):
    X, y = series
    for model in (
        AugmentedClassifier(GaussianNB(), tiny_generator()),
        SemiSupervisedClassifier(tiny_transformer(), GaussianNB()),
    ):
        for weight in ({0: 1.0, 1: 2.0}, (1.0 for _ in y)):
            with pytest.raises(ValueError, match=r"sample_weight is a .* Pass an array"):
                model.fit(X, y, weight)


@pytest.mark.parametrize("random_state", [-1, 2**32, 1.0, "a", np.random.default_rng(0)])
def test_a_seed_that_is_none_is_refused_by_name(generator, series, random_state):
    X, y = series
    scorer = make_generator_scorer(lambda X_synthetic: 0.0, random_state=random_state)
    for call in (
        lambda: generator.sample(2, random_state=random_state),
        lambda: generator.vary(X, random_state=random_state),
        lambda: generator.prior_.sample(2, random_state=random_state),
        lambda: augment(X, "slice", random_state),
        lambda: scorer(generator, X, y),
        lambda: ProjectionDisplay.from_data(X, X + 1, random_state=random_state),
    ):
        with pytest.raises(ValueError, match=r"random_state=.* must be an int from 0 to"):
            call()
