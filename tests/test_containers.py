"""Every container of series is read right or refused with a remedy, before any training."""

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
import polars as pl
import pytest
import torch
from helpers import make_series, tiny_generator, tiny_transformer
from sklearn.base import BaseEstimator
from sklearn.decomposition import PCA
from sklearn.naive_bayes import GaussianNB

from skncvqvae import AugmentedClassifier, SemiSupervisedClassifier, metrics
from skncvqvae._codec import SeriesCodec
from skncvqvae._containers import open_container, read_array
from skncvqvae.augmentations import augment
from skncvqvae.bands import split_bands
from skncvqvae.plots import ProjectionDisplay, SamplesDisplay

X, Y = make_series(n=12, length=16)
X2, _ = make_series(n=12, n_channels=2, length=16)


def read(data, **params):
    """Return series as an estimator's fit reads them."""
    return SeriesCodec(**params).fit_read(data, BaseEstimator())


def frame(series):
    return pd.DataFrame(series.T, columns=["a", "b"])


UNIVARIATE = {
    "list": list,
    "tuple": tuple,
    "nested lists": lambda X: X.tolist(),
    "array of arrays": lambda X: np.array([*X, None], dtype=object)[:-1],
    "series of arrays": lambda X: pd.Series(list(X), index=range(5, 17)),
    "series of lists": lambda X: pd.Series(X.tolist()),
    "nested frame": lambda X: pd.DataFrame({"a": [pd.Series(x, index=range(3, 19)) for x in X]}),
    "list of pandas": lambda X: [pd.Series(x) for x in X],
    "nullable frame": lambda X: pd.DataFrame(X).astype("Float64"),
    "polars": pl.DataFrame,
    "polars lists": lambda X: pl.Series(X.tolist()),
    "polars list column": lambda X: pl.DataFrame({"a": X.tolist()}),
    "polars array column": lambda X: pl.DataFrame(
        {"a": pl.Series(X, dtype=pl.Array(pl.Float64, X.shape[1]))}
    ),
    "masked": lambda X: np.ma.masked_array(X, np.zeros(X.shape, dtype=bool)),
    "tensor": lambda X: torch.tensor(X, requires_grad=True),
    "list of tensors": lambda X: list(torch.tensor(X)),
    "big-endian": lambda X: X.astype(">f8"),
    "big-endian frame": lambda X: pd.DataFrame(X.astype(">f8")),
}
MULTIVARIATE = {
    "list": list,
    "nested frame": lambda X: pd.DataFrame({"a": list(X[:, 0]), "b": [*map(pd.Series, X[:, 1])]}),
    "array of cells": lambda X: np.array(
        [*[[pd.Series(one) for one in x] for x in X], [None, None]], dtype=object
    )[:-1],
    "list of frames": lambda X: [frame(x) for x in X],
    "polars list columns": lambda X: pl.DataFrame({"a": X[:, 0].tolist(), "b": X[:, 1].tolist()}),
    "list of polars": lambda X: [pl.DataFrame({"a": x[0], "b": x[1]}) for x in X],
    "list of tensors": lambda X: list(torch.tensor(X)),
}


@pytest.mark.parametrize("container", UNIVARIATE.values(), ids=UNIVARIATE)
def test_containers_of_univariate_series_are_read_alike(container):
    before = container(X)
    np.testing.assert_array_equal(read(before)[:, 0], X)
    view = augment(before, [])
    np.testing.assert_array_equal(view.reshape(X.shape), X)
    parts = split_bands(before, lambda x: [x / 4, 3 * x / 4])
    np.testing.assert_array_equal(parts["low"].reshape(X.shape), X / 4)
    value = metrics.marginal_difference(before, container(X + 1))
    # A cell of a nested frame is a channel.
    assert value == pytest.approx(metrics.marginal_difference(X, X + 1))


@pytest.mark.parametrize("data_format", ["channels_first", "channels_last"])
@pytest.mark.parametrize("name", MULTIVARIATE)
def test_containers_of_multivariate_series_are_read_alike(name, data_format):
    series = X2
    if data_format == "channels_last" and name in ("list", "list of tensors"):
        series = X2.swapaxes(1, 2)
    np.testing.assert_array_equal(read(MULTIVARIATE[name](series), data_format=data_format), X2)


def test_float32_of_any_byte_order_stays_float32():
    for dtype in ("<f4", ">f4"):
        assert read(X.astype(dtype)).dtype == np.float32


def test_displays_and_estimators_read_nested_frames():
    nested = MULTIVARIATE["nested frame"]
    model = tiny_transformer().fit(nested(X2))
    assert list(model.feature_names_in_) == ["a", "b"]
    np.testing.assert_array_equal(model.tokenize(nested(X2)), model.tokenize(X2))
    display = SamplesDisplay.from_data(nested(X2), nested(X2 + 1))
    np.testing.assert_array_equal(display.X_real, X2)
    projection = ProjectionDisplay.from_data(nested(X2), nested(X2 + 1), method=PCA(2))
    assert projection.points_real.shape == (12, 2)


def test_channels_in_another_order_are_refused():
    frames = MULTIVARIATE["list of frames"](X2)
    model = tiny_transformer().fit(frames)
    swapped = [one[["b", "a"]] for one in frames]
    with pytest.raises(ValueError, match="feature names"):
        model.transform(swapped)
    with pytest.raises(ValueError, match="Series 1 of X has the columns"):
        model.transform([frames[0], *swapped[1:]])


def test_what_is_masked_is_a_gap():
    masked = np.ma.masked_array(X.copy(), np.zeros(X.shape, dtype=bool))
    masked[3, 4:6] = np.ma.masked
    masked.data[3, 4:6] = 1e6
    with pytest.raises(ValueError, match="X contains NaN"):
        read(masked)
    between = np.interp([4, 5], [3, 6], X[3, [3, 6]])
    np.testing.assert_allclose(read(masked, irregular="interpolate")[3, 0, 4:6], between)
    integers = np.ma.masked_equal(np.arange(32).reshape(2, 16), 5)
    np.testing.assert_array_equal(read(integers, irregular="interpolate")[0, 0], np.arange(16))
    with pytest.raises(ValueError, match="NaN"):
        metrics.marginal_difference(X, masked)


def test_none_in_a_list_is_a_gap():
    with_none = X.tolist()
    with_none[2][7] = None
    assert np.isfinite(read(with_none, irregular="interpolate")).all()


@pytest.mark.parametrize("make", [lambda X: X, np.asarray], ids=["frame", "array"])
def test_nullable_objects_are_gaps(make):
    values = pd.DataFrame(X).round().astype("Int64").astype(object)
    values.iloc[3, 4] = pd.NA
    expected = X.round()
    expected[3, 4] = np.nan
    np.testing.assert_array_equal(
        read(make(values), irregular="interpolate"), read(expected, irregular="interpolate")
    )
    assert values.iloc[3, 4] is pd.NA


@pytest.mark.parametrize(
    "lose",
    [
        lambda nested: nested.assign(b=None),
        lambda nested: nested.assign(b=np.nan),
        lambda nested: pl.DataFrame({"a": nested["a"].tolist(), "b": None}),
        lambda nested: nested.assign(b=[pd.Series(dtype=float)] * len(nested)),
    ],
    ids=["none", "nan", "polars", "empty cells"],
)
def test_a_sensor_that_is_dead_in_all_new_series_gets_its_mean(lose):
    nested = pd.DataFrame({"a": list(X2[:, 0]), "b": list(X2[:, 1])})
    codec = SeriesCodec(irregular="interpolate", missing_channels="mean")
    estimator = BaseEstimator()
    codec.fit_read(nested, estimator)
    series = codec.read(lose(nested), estimator)
    np.testing.assert_array_equal(series[:, 0], X2[:, 0])
    np.testing.assert_allclose(series[:, 1], X2[:, 1].mean())


def test_cells_may_be_missing_in_the_first_row_of_an_array():
    cells = np.array([[None, None], *[[*x] for x in map(list, X2)]], dtype=object)[[0, 1, 2]]
    series = read(cells, irregular="interpolate", missing_channels="mean")
    np.testing.assert_array_equal(series[1:], X2[:2])


@pytest.mark.parametrize("data_format", ["channels_first", "channels_last"])
def test_unequal_lengths_of_frames_are_stretched(data_format):
    frames = [frame(x[:, : 10 + i % 3]) for i, x in enumerate(X2)]
    series = read(frames, irregular="interpolate", data_format=data_format)
    assert series.shape == (12, 2, 12)
    np.testing.assert_allclose(series[:, :, -1], [x[:, 9 + i % 3] for i, x in enumerate(X2)])


LONG = pd.DataFrame({"id": np.repeat(range(12), 16), "t": np.tile(range(16), 12), "a": X.ravel()})


@pytest.mark.parametrize(
    ("data", "message"),
    [
        (LONG.set_index(["id", "t"]), "index of several levels.*TableReader"),
        (LONG.set_index(["id", "t"])["a"], "index of several levels.*TableReader"),
        (pd.concat({"a": pd.DataFrame(X)}, axis=1), "columns of several levels"),
        (pd.DataFrame(X, columns=["a"] * 16), "several columns named 'a'"),
        (LONG.assign(t=pd.to_datetime(LONG["t"])), "in column 't'.*TableReader"),
        (LONG.assign(t=pd.to_timedelta(LONG["t"])), "in column 't'"),
        (LONG.assign(t=pd.period_range("2020", periods=192)), "in column 't'"),
        (LONG.assign(t=pd.to_datetime(LONG["t"], utc=True)), "in column 't'"),
        (pl.DataFrame({"t": pd.date_range("2020", periods=4), "a": range(4)}), "in column 't'"),
        (LONG.assign(t="a"), "Column 't' of X holds text"),
        (np.zeros((4, 8), dtype="M8[s]"), "X holds dates"),
        ([[np.datetime64("2020", "s")] * 3] * 3, "Series 0 of X holds dates"),
        (np.array([[pd.Timestamp("2020")] * 3] * 3, dtype=object), "X holds dates"),
        (X + 1j, "complex"),
        (X.astype(str), "holds text"),
        (np.zeros((3, 4), dtype="f8, f8"), "records"),
        ({"a": X[0], "b": X[1]}, r"X is a dict.*list\(X.values\(\)\)"),
        ((x for x in X), "X is a generator"),
        ([X[0], 3.0], "holds 3.0 at index 1"),
        ([[1.0, 2.0], [[1.0], [2.0, 3.0]]], "Series 1 of X cannot be read"),
        ([frame(X2[0]), X2[1]], "at index 1 another thing"),
        (pd.DataFrame({"a": list(X), "id": range(12)}), "column 'id' does not"),
        (pd.DataFrame({"a": list(X), "b": [x[:9] for x in X]}), "series 0 of X differ in length"),
        (pd.DataFrame({"a": [*X[:-1], "lost"]}), "Series 11 of X has 'lost' in a cell"),
        (pd.DataFrame({"a": list(X2)}), "no single channel"),
        (X[:, :, None], "16 channels of a single time step.*data_format='channels_last'"),
        ([x.T[: 9 + i] for i, x in enumerate(X2)], "the other layout set data_format='channels_l"),
        ([X2[0], X2[1], X2[2][:1]], r"series 2 of shape \(1, 16\) has 1 channel\."),
        (np.array([[1.0, 2, 3], [1, 2, "3"]], dtype=object), "X holds text"),
        (np.array([[1, 2], [1, pd.Timestamp("2020")]], dtype=object), "X holds dates"),
        (pd.DataFrame({"a": [1, "2"], "b": [1, 2]}, dtype=object), "Column 'a' of X holds text"),
        (pd.DataFrame({"a": [1.0, 2], "b": pd.interval_range(0, 2)}), "Column 'b' of X cannot be"),
        (pd.DataFrame(X + 1j), "Complex data not supported: column 0"),
        (pl.DataFrame({"a": [{"x": 1}] * 4, "b": range(4)}), "Column 'a' of X holds Struct"),
        (pl.DataFrame({"a": list("wxyz"), "b": range(4)}), "Column 'a' of X holds String"),
        (pl.DataFrame(X).lazy(), r"Pass X\.collect\(\)"),
        (pd.Series([*X, None]), "holds None at index 12, which is no series. Remove it"),
        (X * 1e-200, "Channel 0 of X .* too small to standardise"),
        ((X * 1e-40).astype(np.float32), "too small to standardise"),
    ],
)
def test_what_would_be_misread_is_refused_with_a_remedy(data, message):
    with pytest.raises((TypeError, ValueError), match=message):
        tiny_transformer().fit(data)


def test_text_that_holds_numbers_is_refused_in_metrics_too():
    with pytest.raises(ValueError, match="X_synthetic holds text"):
        metrics.marginal_difference(X, X.astype(str))
    with pytest.raises(ValueError, match=r"X holds series of several shapes, such as \(2,\)"):
        read_array([[1, 2], [1, 2, 3]])


def test_arrays_are_opened_without_a_copy():
    assert open_container(X) is X
    wide = pd.DataFrame(X)
    assert open_container(wide) is wide


def test_a_constant_channel_is_no_small_scale():
    for constant in (3e8, 1e-300, 0.0):
        data = X2.copy()
        data[:, 1] = constant
        np.testing.assert_array_equal(read(data), data)


@pytest.fixture(scope="module")
def dead():
    data = X2.copy()
    data[[2, 7], 1] = np.nan
    return data


def test_a_channel_without_values_is_named(dead):
    message = (
        r"NaN only: series 2 \(channel 1\), series 7 \(channel 1\)\. .*missing_channels='mean'"
    )
    model = tiny_transformer(irregular="interpolate").fit(X2)
    for method in (model.transform, model.score, tiny_transformer(irregular="interpolate").fit):
        with pytest.raises(ValueError, match=message):
            method(dead)
    generator = tiny_generator(tiny_transformer(irregular="interpolate")).fit(X2, Y)
    for method in (generator.score_samples, generator.vary):
        with pytest.raises(ValueError, match=message):
            method(dead)
    many = X2.copy()
    many[:, 1] = np.nan
    with pytest.raises(ValueError, match="and 7 others"):
        model.transform(many)


def test_a_channel_without_values_gets_its_mean_if_told(dead):
    model = tiny_transformer(irregular="interpolate", missing_channels="mean").fit(X2)
    filled = dead.copy()
    filled[[2, 7], 1] = X2[:, 1].mean()
    np.testing.assert_allclose(model.read(dead), filled)
    np.testing.assert_array_equal(model.tokenize(dead), model.tokenize(filled))
    assert np.isnan(dead[2, 1]).all()
    # In fit it is the mean of the others, whose deviation counts alone.
    model = tiny_transformer(irregular="interpolate", missing_channels="mean").fit(dead)
    others = np.delete(X2[:, 1], [2, 7], axis=0)
    np.testing.assert_allclose(model.codec_.mean_[1], others.mean())
    np.testing.assert_allclose(model.codec_.scale_[1], others.std())
    cells = pd.DataFrame({"a": list(X2[:, 0]), "b": [*X2[:-1, 1], None]})
    np.testing.assert_allclose(model.read(cells)[-1, 1], others.mean())
    with pytest.raises(ValueError, match="Channel 1 of X is NaN only, in all series"):
        tiny_transformer(irregular="interpolate", missing_channels="mean").fit(
            np.stack([X2[:, 0], np.full_like(X2[:, 0], np.nan)], axis=1)
        )


def test_arrays_are_read_without_a_warning_of_names(recwarn):
    model = tiny_generator().fit(pd.DataFrame(X).add_prefix("t"), Y)
    assert model.read(model.sample(3)[0]).shape == (3, 1, 16)
    assert model.transformer_.read(X).shape == (12, 1, 16)
    assert not [w for w in recwarn if "feature names" in str(w.message)]
    with pytest.warns(UserWarning, match="feature names"):
        model.transformer_.transform(X)


@pytest.mark.parametrize(
    ("labels", "message"),
    [
        (np.ma.masked_equal(Y, 1), "masked label at index 1"),
        (["a", None] * 6, "strings and other|None at index 1"),
        (pd.Series([1, None] * 6, dtype="Int64"), "index 1"),
        (pd.Series(["a", None] * 6), "index 1"),
        (np.array([0.0, np.nan] * 6), "NaN|nan"),
        (["a", 1] * 6, "strings and other"),
        (np.array(["a", 1] * 6, dtype=object), "no class labels"),
        (np.array([{}] * 12, dtype=object), "no class labels"),
        (Y[:-1], "y holds 11 labels, but there are 12 series"),
    ],
)
def test_labels_that_are_none_are_refused(labels, message):
    with pytest.raises(ValueError, match=message):
        tiny_generator().fit(X, labels)


def test_labels_of_polars_and_without_masked_ones_are_read():
    for labels in (pl.Series(Y), np.ma.masked_array(Y), pd.Series(Y, dtype="Int8")):
        assert tiny_generator().fit(X, labels).classes_.tolist() == [0, 1]


@pytest.mark.parametrize("part", ["transformer", "prior"])
def test_what_is_no_callback_is_refused_before_training(part, monkeypatch):
    monkeypatch.setattr("skncvqvae._transformer.train", None)
    with pytest.raises(TypeError, match="callbacks holds 'x'"):
        tiny_generator().set_params(**{f"{part}__callbacks": ["x"]}).fit(X, Y)


def test_classes_of_one_series_leave_none_for_validation(monkeypatch):
    monkeypatch.setattr("skncvqvae._transformer.train", None)
    with pytest.raises(ValueError, match=r"no class has two\. Set early_stopping=False"):
        tiny_generator().set_params(prior__early_stopping=True).fit(X, np.arange(12))


def test_rows_of_tokens_of_several_lengths_are_refused(generator):
    for method in (generator.prior_.score_samples, generator.transformer_.inverse_transform):
        with pytest.raises(ValueError, match="rows of tokens differ in length"):
            method([[1, 2], [1]])


@pytest.mark.parametrize(
    ("y", "n_samples", "message"),
    [
        (None, True, "n_samples=True must be an integer"),
        (np.ma.masked_equal(["slow", "fast"], "fast"), 1, "masked label at index 1"),
        (["slow", None], 1, "strings and other"),
        ([{}], 1, "no class labels"),
    ],
)
def test_what_is_no_label_to_draw_is_refused(generator, y, n_samples, message):
    with pytest.raises((TypeError, ValueError), match=message):
        generator.sample(n_samples, y)


@pytest.mark.parametrize(
    ("loss", "error", "message"),
    [
        (lambda p, q: 3.0, TypeError, "returned a float"),
        (lambda p, q: (p - q).pow(2).mean(0), ValueError, r"shape is \(16,\)"),
    ],
)
def test_a_loss_that_is_no_scalar_tensor_is_named(loss, error, message):
    with pytest.raises(error, match=f"ssl_method must return a scalar tensor.*{message}"):
        tiny_transformer(ssl_method=loss).fit(X)


LONG = pd.DataFrame(
    {"id": np.repeat(range(12), 16), "t": np.tile(range(16), 12), "v": X.ravel()}
).set_index(["id", "t"])


@pytest.mark.parametrize(
    "fit",
    [
        lambda model: tiny_transformer().fit(LONG, Y),
        lambda model: model.fit(LONG, Y),
        lambda model: model.fit(LONG["v"], Y),
        lambda model: model.fit_resample(LONG, Y),
        lambda model: AugmentedClassifier(GaussianNB(), model).fit(LONG, Y),
        lambda model: AugmentedClassifier(GaussianNB(), model, ratio=0).fit(LONG, Y),
        lambda model: SemiSupervisedClassifier(model.transformer).fit(LONG, Y),
        lambda model: metrics.FCNClassifier(1).fit(LONG, Y),
        lambda model: split_bands(LONG),
    ],
)
def test_a_long_table_is_refused_before_its_rows_are_counted(fit):
    with pytest.raises(ValueError, match="TableReader makes series of such a table"):
        fit(tiny_generator())


def test_features_of_a_display_may_write_into_their_argument():
    def spoil(series):
        features = np.array(series)[:, :5]
        for one in series:
            one[...] = 0
        return features

    for container in (np.array, lambda X: [x.copy() for x in X]):
        real = container(X)
        ProjectionDisplay.from_data(real, container(X + 1), features=spoil)
        plt.close("all")
        np.testing.assert_array_equal(np.asarray(real), X)


TENSORS = {
    "sparse": lambda X: torch.tensor(X).to_sparse(),
    "nested": lambda X: torch.nested.nested_tensor(list(torch.tensor(X))),
    "without values": lambda X: torch.empty(X.shape, device="meta"),
    "quantised": lambda X: torch.quantize_per_tensor(torch.tensor(X).float(), 0.1, 0, torch.qint8),
}


@pytest.mark.filterwarnings("ignore::UserWarning")
@pytest.mark.parametrize("make", TENSORS.values(), ids=TENSORS)
def test_tensors_that_numpy_cannot_have_are_refused_everywhere(series, fitted, make):
    bad = make(series[0])
    for call in (
        lambda: tiny_transformer().fit(bad),
        lambda: fitted.transform(bad),
        lambda: metrics.frechet_distance(series[0], bad),
        lambda: augment(bad, "slice"),
        lambda: split_bands(bad, "stft"),
        lambda: SamplesDisplay.from_data(series[0], bad),
        lambda: tiny_transformer().fit([bad, bad]),
    ):
        with pytest.raises(TypeError, match=r"tensor of torch\..*Pass a dense one"):
            call()


def test_lazy_negation_of_a_tensor_is_read(series, fitted):
    lazy = torch.tensor(series[0])._neg_view()
    np.testing.assert_array_equal(fitted.transform(lazy), fitted.transform(-series[0]))


@pytest.mark.parametrize(
    ("bad", "message"),
    [
        (None, "X is None. Pass an array"),
        ("series", "X is 'series'. Pass an array"),
        (3.5, r"X is 3\.5\. Pass an array"),
        ([{"a": 1.0}] * 40, r"X holds \{'a': 1.0\} at index 0, which is no series"),
        ([[[1, 2], [1]]] * 40, "Series 0 of X .* its parts differ in length. Pass channels"),
        ([["1", "2"]] * 40, "^Series 0 of X holds text"),
        (np.zeros((40, 1, 1, 32)), "X has 4 dimensions"),
    ],
)
def test_what_is_no_series_is_named(fitted, bad, message):
    for call in (tiny_transformer().fit, fitted.transform):
        with pytest.raises(ValueError, match=message):
            call(bad)


@pytest.mark.parametrize("bad", [None, "series", 3.5])
def test_one_value_is_named_before_labels_are_counted(bad):
    labels = [0, 1] * 6
    generator = tiny_generator()
    calls = [
        generator.fit,
        generator.fit_resample,
        AugmentedClassifier(GaussianNB(), generator).fit,
        SemiSupervisedClassifier(tiny_transformer()).fit,
    ]
    for call in calls:
        with pytest.raises(ValueError, match=f"X is {bad!r}. Pass an array"):
            call(bad, labels)


def test_series_of_other_channels_are_refused_in_the_shape_that_they_have(series):
    X, _ = series
    model = tiny_transformer(irregular="interpolate").fit(X)
    for bad in (X[..., None], list(X[..., None]), [x[: 9 + i % 3, None] for i, x in enumerate(X)]):
        with pytest.raises(ValueError, match=r"shape \(\d+, 1\), \d+ channels|unequal|channels"):
            model.transform(bad)
    with pytest.raises(ValueError, match=r"shape \(32, 1\), 32 channels .* 1 channel\."):
        model.transform(list(X[..., None]))
