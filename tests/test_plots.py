"""What the displays draw, read back from matplotlib's artists."""

import dataclasses
import subprocess
import sys

import matplotlib
import numpy as np
import pandas as pd
import pytest
from helpers import TINY, make_series, tiny_generator, tiny_transformer
from sklearn.base import BaseEstimator
from sklearn.decomposition import PCA
from sklearn.exceptions import NotFittedError
from sklearn.frozen import FrozenEstimator
from sklearn.manifold import TSNE
from sklearn.neighbors import KNeighborsClassifier
from sklearn.preprocessing import FunctionTransformer
from skorch import NeuralNet
from skorch.history import History

from skncvqvae import NCVQVAETransformer
from skncvqvae._tokens import Band, TokenLayout
from skncvqvae.metrics import prdc, trts_score
from skncvqvae.plots import (
    CodebookDisplay,
    DiversityDisplay,
    HistoryDisplay,
    ProjectionDisplay,
    ReconstructionDisplay,
    SamplesDisplay,
    TokensDisplay,
)

matplotlib.use("Agg")
import matplotlib.pyplot as plt


@pytest.fixture(autouse=True)
def close_figures():
    yield
    plt.close("all")


def make_axes(n):
    figure, axes = plt.subplots(1, n, squeeze=False, layout="constrained")
    return figure, axes[0]


def line(ax, label):
    """Return the vertical data of the one line with this label."""
    (found,) = [one for one in ax.lines if one.get_label() == label]
    return found.get_ydata()


def texts(ax):
    return [text.get_text() for text in ax.texts]


def legend_texts(legend):
    return [text.get_text() for text in legend.get_texts()]


def band_at(ax, index, time):
    """Return the lowest and highest value of one filled band at a time step."""
    vertices = ax.collections[index].get_paths()[0].vertices
    heights = vertices[vertices[:, 0] == time, 1]
    return heights.min(), heights.max()


@pytest.fixture(scope="module")
def labels(series):
    return np.array(["slow", "fast"])[series[1]]


@pytest.fixture(scope="module")
def multivariate():
    """Return channels-last series of two channels, their labels, and a generator of them."""
    X, y = make_series(n_channels=2)
    X[:, 1] *= 100
    X = np.ascontiguousarray(X.swapaxes(1, 2))
    transformer = tiny_transformer(data_format="channels_last", frequency_axis="keep", n_levels=1)
    return X, y, tiny_generator(transformer).fit(X, y)


class TwoBands(NCVQVAETransformer):
    """A tokenizer with two bands: each token once in the first, and four times in the second."""

    def fit(self, X, y=None):
        super().fit(X)
        (band,) = self.layout_.bands
        low = dataclasses.replace(band, name="low")
        high = dataclasses.replace(band, name="high", rows=2, columns=2 * band.columns)
        self.layout_ = TokenLayout((low, high))
        self.codebook_ = np.concatenate([self.codebook_, -self.codebook_])
        self.codebook_usage_ = np.concatenate(
            [0.2 * self.codebook_usage_, 0.8 * self.codebook_usage_]
        )
        return self

    def encode(self, series):
        low = super().encode(series)
        high = np.tile(low.repeat(2, axis=1), 2) + TINY["n_codes"]
        return np.concatenate([low, high], axis=1)

    def decode(self, tokens):
        return super().decode(tokens[:, self.layout_.positions["low"]])


@pytest.fixture(scope="module")
def two_bands(series):
    return TwoBands(**TINY).fit(series[0])


def one_band(rows, columns, n_codes):
    return TokenLayout((Band("all", rows, columns, n_codes),))


def irregular_series():
    """Return a list of series of unequal length, one with a gap."""
    X, _ = make_series(n=30)
    ragged = [row[: 20 + i % 13] for i, row in enumerate(X)]
    ragged[1] = ragged[1].copy()
    ragged[1][4:7] = np.nan
    return ragged


# SamplesDisplay


def test_samples_show_median_bands_and_single_series_of_each_class():
    X, y = make_series()
    X_new, y_new = make_series(n=50, seed=1)
    display = SamplesDisplay.from_data(X, X_new, y, y_new, bands=(0.8, 0.5), n_series=4)
    assert display.axes_.shape == (2, 1, 2)
    for label, panels in zip([0, 1], display.axes_[:, 0], strict=True):
        for ax, data in zip(panels, (X[y == label], X_new[y_new == label]), strict=True):
            np.testing.assert_allclose(line(ax, "_median"), np.median(data, axis=0))
            for index, tails in enumerate(([0.1, 0.9], [0.25, 0.75])):
                expected = np.quantile(data[:, 7], tails)
                np.testing.assert_allclose(band_at(ax, index, 7), expected)
            singles = [one.get_ydata() for one in ax.lines if one.get_label() == "_single"]
            assert len({tuple(one) for one in singles}) == 4
            assert all((data == one).all(axis=1).any() for one in singles)
        assert panels[0].get_ylabel() == f"class {label}"
        assert panels[0].get_ylim() == panels[1].get_ylim()
    titles = [ax.get_title() for ax in display.axes_[0, 0]]
    assert titles == ["real", "synthetic"]
    assert "80% of series" in legend_texts(display.figure_.legends[0])


def test_samples_without_labels_are_one_pair(series):
    X, _ = series
    display = SamplesDisplay.from_data(X, X + 1)
    real, synthetic = display.axes_.ravel()
    np.testing.assert_allclose(line(synthetic, "_median") - line(real, "_median"), 1)
    assert real.get_ylabel() == ""


def test_samples_from_generator_are_those_it_draws(series, generator, labels):
    X, _ = series
    display = SamplesDisplay.from_estimator(
        generator, X, labels, n_samples=7, classes=["slow"], random_state=3
    )
    drawn, _ = generator.sample(7, "slow", random_state=3)
    real, synthetic = display.axes_.ravel()
    np.testing.assert_allclose(line(synthetic, "_median"), np.median(drawn, axis=0))
    np.testing.assert_allclose(line(real, "_median"), np.median(X[labels == "slow"], axis=0))


def test_samples_of_a_frame_and_without_labels(series):
    X = pd.DataFrame(series[0]).rename(columns=str)
    generator = tiny_generator().fit(X)
    display = SamplesDisplay.from_estimator(generator, X, n_samples=5)
    drawn, _ = generator.sample(5)
    np.testing.assert_allclose(line(display.axes_[0, 0, 0], "_median"), X.median())
    np.testing.assert_allclose(line(display.axes_[0, 0, 1], "_median"), np.median(drawn, axis=0))


def test_samples_of_chosen_channels(multivariate):
    X, y, generator = multivariate
    display = SamplesDisplay.from_estimator(generator, X, y, n_samples=5, random_state=0)
    assert display.axes_.shape == (2, 2, 2)
    drawn, _ = generator.sample(5, 1, random_state=0)
    assert drawn.shape == (5, *X.shape[1:])
    given = SamplesDisplay.from_data(X, X, data_format="channels_last", channels=[1])
    assert given.axes_.shape == (1, 1, 2)
    expected = np.median(X[:, :, 1], axis=0)
    np.testing.assert_allclose(line(given.axes_[0, 0, 0], "_median"), expected)
    assert given.axes_[0, 0, 0].get_title() == "real\nchannel 1"


@pytest.mark.parametrize("name", ["gaps", "unequal", "frame", "channels_last"])
def test_series_are_drawn_as_the_generator_reads_them(name, multivariate):
    X, y = make_series(n=30)
    generator = tiny_generator(tiny_transformer(irregular="interpolate"))
    if name == "gaps":
        X[3, 5:9] = np.nan
    elif name == "unequal":
        X = irregular_series()
    elif name == "frame":
        X = pd.DataFrame(X).rename(columns=str)
    if name == "channels_last":
        X, y, generator = multivariate
    else:
        generator.fit(X, y)
    expected = generator.read(X)
    display = SamplesDisplay.from_estimator(generator, X, n_samples=5, random_state=0)
    for channel, pair in enumerate(display.axes_[0]):
        median = np.median(expected[:, channel], axis=0)
        np.testing.assert_allclose(line(pair[0], "_median"), median)
        drawn = generator.sample(5, random_state=0)[0]
        drawn = drawn[..., channel] if drawn.ndim == 3 else drawn
        np.testing.assert_allclose(line(pair[1], "_median"), np.median(drawn, axis=0))
    display = ProjectionDisplay.from_estimator(generator, X, y, random_state=0)
    assert len(display.points_real) == len(y)
    display = CodebookDisplay.from_estimator(generator, X, codes=1)
    np.testing.assert_array_equal(display.tokens, generator.transformer_.encode(expected))
    display = TokensDisplay.from_estimator(generator, X, index=3)
    np.testing.assert_allclose(display.axes_[0].lines[-1].get_ydata(), expected[3, 0])
    display = ReconstructionDisplay.from_estimator(generator, X, indices=3)
    np.testing.assert_allclose(line(display.axes_[0, 0], "series"), expected[3, 0])


def test_messages_name_the_estimator_that_was_passed(series, fitted):
    frozen = tiny_generator(FrozenEstimator(fitted)).fit(series[0])
    for draw in (CodebookDisplay, TokensDisplay, ReconstructionDisplay):
        with pytest.raises(ValueError, match="NCVQVAEGenerator"):
            draw.from_estimator(frozen, series[0][:, None])


def test_samples_leave_a_missing_class_empty():
    X, y = make_series()
    display = SamplesDisplay.from_data(X, X[y == 0], y, y[y == 0])
    assert texts(display.axes_[1, 0, 1]) == ["no series"]
    low, high = display.axes_[1, 0, 1].get_ylim()
    assert low > 20, "limits are those of the real series, which lie around 50"
    assert (low, high) == display.axes_[1, 0, 0].get_ylim()


def test_many_classes_stand_side_by_side():
    X, _ = make_series(n=90)
    y = np.array([f"a rather long name of class {k}" for k in np.arange(90) % 30])
    display = SamplesDisplay.from_data(X, X, y, y)
    places = [ax.get_subplotspec().get_geometry() for ax in display.axes_[:, 0, 0]]
    assert max(rows for rows, *_ in places) == 6, "five pairs in a row"
    titles = [ax.get_title(loc="left") for ax in display.axes_[:, 0, 0]]
    assert len(set(titles)) == 30 and max(map(len, titles)) <= 20
    assert legend_texts(display.figure_.legends[0])[:2] == ["real", "synthetic"]


# ProjectionDisplay


def offsets(ax):
    return [np.asarray(points.get_offsets()) for points in ax.collections]


def test_projection_is_pca_of_both_together(series):
    X, _ = series
    X_new = make_series(n=25, seed=2)[0]
    display = ProjectionDisplay.from_data(X, X_new, random_state=0)
    expected = PCA(2, random_state=0).fit_transform(np.concatenate([X, X_new]))
    real, synthetic = offsets(display.ax_)
    np.testing.assert_allclose(np.concatenate([real, synthetic]), expected)
    assert len(real) == len(X)
    assert "% of variance" in display.ax_.get_xlabel()
    assert legend_texts(display.ax_.get_legend()) == ["real", "synthetic"]


def test_projection_by_tsne_and_by_a_transformer_of_features(series):
    X, _ = series
    both = np.concatenate([X, X + 1])
    display = ProjectionDisplay.from_data(X, X + 1, method="tsne", random_state=0)
    unit = (both / np.abs(both).max()) - (both / np.abs(both).max()).mean(axis=0)
    unit /= np.abs(unit).max()
    expected = TSNE(2, perplexity=(len(both) - 1) / 3, random_state=0).fit_transform(unit)
    np.testing.assert_allclose(np.concatenate(offsets(display.ax_)), expected, rtol=1e-4)
    assert display.ax_.get_xlabel() == "t-SNE 1"

    display = ProjectionDisplay.from_data(
        X,
        X + 1,
        features=lambda X: np.stack([X.mean(axis=1), X.std(axis=1)], axis=1),
        method=FunctionTransformer(),
    )
    real, synthetic = offsets(display.ax_)
    np.testing.assert_allclose(real, np.stack([X.mean(axis=1), X.std(axis=1)], axis=1))
    np.testing.assert_allclose(synthetic - real, [[1, 0]] * len(X), atol=1e-9)


def test_projection_by_given_objects(series):
    X, _ = series
    both = np.concatenate([X, X + 1])
    for method in (PCA(2, whiten=True, random_state=0), FunctionTransformer(lambda X: X[:, :2])):
        display = ProjectionDisplay.from_data(X, X + 1, method=method)
        points = np.concatenate([display.points_real, display.points_synthetic])
        np.testing.assert_allclose(points, method.fit_transform(both))
    method = TSNE(2, perplexity=20, random_state=0)
    assert ProjectionDisplay.from_data(X, X + 1, method=method).ax_.get_xlabel() == "t-SNE 1"


@pytest.mark.parametrize("method", ["pca", "tsne", TSNE(2, perplexity=3), PCA(2)])
@pytest.mark.parametrize(
    "X",
    [
        np.zeros((10, 8)),
        np.full((10, 8), 1e300),
        np.float32(1e8) + np.zeros((10, 8), dtype=np.float32),
        0.1 * (1 + 1e-16 * np.random.default_rng(0).normal(size=(10, 8))),
    ],
    ids=["zero", "large", "float32", "rounding"],
)
def test_equal_series_have_no_projection(X, method):
    with pytest.raises(ValueError, match=r"are equal\. Pass series that differ"):
        ProjectionDisplay.from_data(X, X, method=method)


@pytest.mark.filterwarnings("error::RuntimeWarning")
@pytest.mark.parametrize("method", ["pca", "tsne", TSNE(2, perplexity=3)])
@pytest.mark.parametrize("scale", [1e-300, 1e-25, 1e25, 1e300])
def test_projection_does_not_depend_on_the_unit(scale, method):
    X = make_series(n=10)[0]
    X -= X.mean()
    names = {"random_state": 0, "method": method}
    display = ProjectionDisplay.from_data(scale * X[:5], scale * X[5:], **names)
    points = np.concatenate([display.points_real, display.points_synthetic])
    assert np.isfinite(points).all()
    if method == "pca":
        expected = PCA(2, random_state=0).fit_transform(X)
        np.testing.assert_allclose(points / scale, expected, atol=1e-9)


def test_two_points_have_a_projection():
    X = make_series(n=2)[0]
    for method in ("pca", "tsne"):
        display = ProjectionDisplay.from_data(X[:1], X[1:], method=method, random_state=0)
        assert np.isfinite(display.points_real).all()


def test_projection_colours_classes(series, labels):
    X, _ = series
    display = ProjectionDisplay.from_data(X, X, labels, labels)
    names = [points.get_label() for points in display.ax_.collections]
    assert names == ["real, fast", "real, slow", "synthetic, fast", "synthetic, slow"]
    colors = [tuple(points.get_edgecolor()[0]) for points in display.ax_.collections]
    assert colors[:2] == colors[2:] and colors[0] != colors[1]
    counts = [len(points) for points in offsets(display.ax_)]
    assert counts == [20, 20, 20, 20]
    display.plot(classes=["slow"])
    np.testing.assert_allclose(offsets(display.ax_)[0], display.points_real[labels == "slow"])


def test_projection_of_too_many_classes_shows_origin_only(series):
    X, _ = series
    y = np.arange(len(X)) % 10
    display = ProjectionDisplay.from_data(X, X, y, y)
    assert len(display.ax_.collections) == 2
    with pytest.raises(ValueError, match="9 classes; at most 8"):
        display.plot(classes=range(9))


def test_projection_of_a_generator(series, generator, labels, multivariate):
    X, _ = series
    display = ProjectionDisplay.from_estimator(
        generator, X, labels, n_samples=12, features=generator.transformer_, random_state=0
    )
    assert len(display.points_real) == len(display.points_synthetic) == 12
    assert sorted(display.y_real) == sorted(display.y_synthetic)
    chosen = np.random.RandomState(0).permutation(len(X))[:12]
    drawn, _ = generator.sample(12, labels[chosen], random_state=0)
    # One by one, as the display does: sums over another batch can differ in their last digit.
    features = [generator.transformer_.transform(data) for data in (X[chosen], drawn)]
    expected = PCA(2, random_state=0).fit_transform(np.concatenate(features))
    np.testing.assert_allclose(
        np.concatenate([display.points_real, display.points_synthetic]), expected, atol=1e-5
    )

    X, _, generator = multivariate
    display = ProjectionDisplay.from_estimator(generator, X, n_samples=9, features=flat_shape)
    assert len(display.points_real) == 9


@pytest.mark.filterwarnings("error")
def test_projection_of_a_frame(series, labels):
    X = pd.DataFrame(series[0]).rename(columns=str)
    generator = tiny_generator().fit(X, labels)
    display = ProjectionDisplay.from_estimator(generator, X, features=generator.transformer_)
    assert len(display.points_real) == len(X)


def flat_shape(X):
    """Flatten, asserting that series come in the layout of the training data."""
    assert X.shape[1:] == (32, 2)
    return X.reshape(len(X), -1)


# CodebookDisplay


def test_codebook_bars_are_the_sorted_usage(series, fitted):
    display = CodebookDisplay.from_estimator(fitted, series[0], codes=0)
    (ax,) = display.axes_
    heights = [bar.get_height() for bar in ax.patches]
    np.testing.assert_allclose(heights, np.sort(fitted.codebook_usage_)[::-1])
    ticks = [int(tick.get_text()) for tick in ax.get_xticklabels()]
    np.testing.assert_allclose(fitted.codebook_usage_[ticks], heights)
    used = np.count_nonzero(fitted.codebook_usage_)
    assert ax.get_title() == f"{used} of 6 codes used, perplexity {fitted.perplexity_:.1f}"


def test_code_shapes_are_cut_from_decoded_series():
    # Two columns of 10 steps: code 0 then 1, or 1 then 2.
    tokens = np.array([[0, 1], [1, 2]])
    decoded = np.stack([np.arange(20.0), 100 + np.arange(20.0)])[:, None]
    usage = np.array([0.25, 0.5, 0.25, 0])
    display = CodebookDisplay(usage, tokens, decoded, one_band(1, 2, 4)).plot()
    assert [ax.get_title() for ax in display.axes_[1:]] == ["code 1", "code 0", "code 2"]
    first = display.axes_[2].lines[0]
    time, values = first.get_data()
    inside = np.isfinite(values)
    # Code 0 stands at the start of the first series only: nothing lies before it.
    np.testing.assert_allclose(values[inside], time[inside] + values[time == 0])
    assert values[inside].min() == 0 and time[inside].min() >= -5
    both = display.axes_[1].lines[0].get_ydata()
    assert both[len(both) // 2] == pytest.approx(59), "the median of 14 and 104"
    limits = {ax.get_ylim() for ax in display.axes_[1:]}
    assert len(limits) == 1


def test_codebook_of_chosen_codes_and_channel(multivariate):
    X, _, generator = multivariate
    used = np.argsort(-generator.transformer_.codebook_usage_)[0]
    figure, axes = make_axes(2)
    display = CodebookDisplay.from_estimator(generator, X, axes=axes, codes=[used], channel=1)
    assert display.figure_ is figure and list(display.axes_) == list(axes)
    values = axes[1].lines[0].get_ydata()
    assert np.nanmedian(values) > 1000, "the second channel is a hundred times the first"
    first, second, *_ = axes[0].patches
    assert first.get_facecolor() != second.get_facecolor()


def test_codebook_says_where_a_code_has_no_shape(fitted, series):
    X, _ = series
    missing = np.setdiff1d(np.arange(TINY["n_codes"]), fitted.tokenize(X[:1]))[0]
    display = CodebookDisplay.from_estimator(fitted, X[:1], codes=[missing])
    assert texts(display.axes_[1]) == ["not in X"]


def test_large_codebook_has_ranks_for_ticks():
    usage = np.r_[np.arange(511.0), 0]
    tokens, decoded = np.array([[510, 509]]), np.zeros((1, 1, 20))
    layout = one_band(1, 2, 512)
    display = CodebookDisplay(usage / usage.sum(), tokens, decoded, layout).plot(codes=2)
    assert len(display.axes_[0].get_xticks()) < 15
    assert display.axes_[0].get_xlabel() == "rank of the code"


def test_codebook_shows_codes_by_band(series, two_bands):
    X, _ = series
    n = TINY["n_codes"]
    display = CodebookDisplay.from_estimator(two_bands, X, codes=2)
    low, *low_shapes = display.axes_[:3]
    high, *high_shapes = display.axes_[3:]
    usage = np.sort(two_bands.codebook_usage_[:n])[::-1] / 0.2
    for ax, name in ((low, "low"), (high, "high")):
        np.testing.assert_allclose([bar.get_height() for bar in ax.patches], usage)
        assert ax.get_title().startswith(f"{name}: {np.count_nonzero(usage)} of {n} codes used")
    ticks = [[int(tick.get_text()) for tick in ax.get_xticklabels()] for ax in (low, high)]
    np.testing.assert_array_equal(np.add(ticks[0], n), ticks[1])
    codes = [ax.get_title() for ax in (*low_shapes, *high_shapes)]
    assert codes == [f"code {ticks[band][rank]}" for band in (0, 1) for rank in (0, 1)]
    # A token of the second band is half as wide, and stands at two halves of one of the first.
    wide, narrow = (ax.get_xlim()[1] for ax in (low_shapes[0], high_shapes[0]))
    assert wide == 2 * narrow
    assert low.patches[0].get_facecolor() != high.patches[0].get_facecolor()

    display = CodebookDisplay.from_estimator(two_bands, X, codes=[n + 1, 2, n])
    titles = [ax.get_title().split(":")[0] for ax in display.axes_]
    assert titles == ["low", "code 2", "high", f"code {n + 1}", f"code {n}"]
    bars_only = CodebookDisplay.from_estimator(two_bands, X, codes=0)
    assert len(bars_only.axes_) == 2


# TokensDisplay


def test_tokens_stand_below_their_series(series, fitted):
    X, _ = series
    display = TokensDisplay.from_estimator(fitted, X, index=5)
    top, strip = display.axes_
    np.testing.assert_allclose(top.lines[-1].get_ydata(), X[5])
    tokens = fitted.tokenize(X[5:6])[0]
    runs = [tokens[i] for i in range(len(tokens)) if i == 0 or tokens[i] != tokens[i - 1]]
    assert texts(strip) == [str(code) for code in runs]
    colors = strip.collections[0].get_array().ravel()
    assert len(set(colors)) == len(set(tokens))
    edges = strip.collections[0].get_coordinates()[0, :, 0]
    np.testing.assert_allclose(edges, np.linspace(-0.5, 31.5, len(tokens) + 1))
    assert top.get_xlim() == strip.get_xlim()


def test_tokens_have_a_strip_for_each_frequency_row(multivariate):
    X, _, generator = multivariate
    figure, axes = make_axes(2)
    display = TokensDisplay.from_estimator(generator, X, index=2, channels=[1], axes=axes)
    assert display.figure_ is figure
    (band,) = generator.transformer_.layout_.bands
    rows, columns = band.rows, band.columns
    assert rows > 1
    assert axes[1].collections[0].get_array().shape == (rows, columns)
    assert len(axes[1].get_yticks()) == rows
    np.testing.assert_allclose(axes[0].lines[-1].get_ydata(), X[2, :, 1])
    assert axes[0].get_ylabel() == "channel 1"


def test_similar_codes_have_similar_colours():
    codebook = np.array([[0.0, 0], [10, 1], [1, 0], [9, 1]])
    layout = one_band(1, 4, 4)
    display = TokensDisplay(np.zeros((1, 40)), np.array([0, 1, 2, 3]), codebook, layout).plot()
    first, second, third, fourth = display.axes_[1].collections[0].get_array().ravel()
    np.testing.assert_allclose(np.abs([first - third, second - fourth]), 1 / 3)
    assert abs(first - second) == 1


def test_token_numbers_without_room_are_left_out():
    rng = np.random.default_rng(0)
    tokens, codebook = rng.integers(100, 512, 300), rng.normal(size=(512, 3))
    layout = one_band(1, 300, 512)
    display = TokensDisplay(np.zeros((1, 5000)), tokens, codebook, layout).plot()
    assert len(texts(display.axes_[1])) < 5


def test_each_band_has_its_strips(series, two_bands):
    X, _ = series
    display = TokensDisplay.from_estimator(two_bands, X, index=5)
    top, low, high = display.axes_
    columns = two_bands.layout_.bands[0].columns
    assert low.collections[0].get_array().shape == (1, columns)
    assert high.collections[0].get_array().shape == (2, 2 * columns)
    assert [low.get_ylabel(), high.get_ylabel()] == ["low", "high"]
    first = [int(text) for text in texts(low)]
    assert [int(text) for text in texts(high)] == 2 * [code + TINY["n_codes"] for code in first]
    assert top.get_xlim() == low.get_xlim() == high.get_xlim()
    # The lines over the series are the limits of the wider tokens.
    assert len(top.lines) == columns - 1 + 1
    # Colours are those of the band's own codes, which in both bands differ by their sign only.
    shades, finer = (ax.collections[0].get_array()[0] for ax in (low, high))
    assert any(np.allclose(finer[::2], one) for one in (shades, 1 - shades))


def test_reconstruction_of_two_bands(series, two_bands):
    X, _ = series
    display = ReconstructionDisplay.from_estimator(two_bands, X, indices=2)
    expected = two_bands.decode(two_bands.encode(two_bands.read(X[2:3])))[0, 0]
    np.testing.assert_allclose(line(display.axes_[0, 0], "reconstruction"), expected)


def test_codebook_of_one_code_has_a_colour():
    layout = one_band(1, 2, 1)
    display = TokensDisplay(np.zeros((1, 8)), np.array([0, 0]), np.ones((1, 3)), layout).plot()
    assert texts(display.axes_[1]) == ["0"]


# ReconstructionDisplay


@pytest.mark.parametrize("frozen", [False, True])
def test_reconstruction_lies_over_the_series(series, fitted, frozen):
    X, _ = series
    estimator = FrozenEstimator(fitted) if frozen else fitted
    display = ReconstructionDisplay.from_estimator(estimator, X, indices=[7, 3])
    decoded = fitted.inverse_transform(fitted.tokenize(X[[7, 3]]))
    for ax, index, expected in zip(display.axes_[:, 0], [7, 3], decoded, strict=True):
        np.testing.assert_allclose(line(ax, "series"), X[index])
        np.testing.assert_allclose(line(ax, "reconstruction"), expected)
        assert ax.get_ylabel() == f"series {index}"
        error = np.sqrt(np.mean((X[index] - expected) ** 2))
        assert ax.get_title(loc="right") == f"RMSE {error:.3g}"


def test_reconstruction_of_multivariate_series(multivariate):
    X, _, generator = multivariate
    decoded = generator.transformer_.inverse_transform(generator.transformer_.tokenize(X))
    display = ReconstructionDisplay.from_estimator(generator, X)
    assert display.axes_.shape == (4, 2)
    other = ReconstructionDisplay.from_data(X, decoded, data_format="channels_last")
    for axes in (display.axes_, other.axes_):
        np.testing.assert_allclose(line(axes[3, 1], "series"), X[3, :, 1])
        np.testing.assert_allclose(line(axes[3, 1], "reconstruction"), decoded[3, :, 1])


def test_irregular_series_are_drawn_as_the_estimator_reads_them():
    ragged = irregular_series()
    model = tiny_transformer(irregular="interpolate").fit(ragged)
    length = model.codec_.n_timesteps_
    display = ReconstructionDisplay.from_estimator(model, ragged, indices=[0, 1])
    stretched = np.interp(np.linspace(0, 1, length), np.linspace(0, 1, 20), ragged[0])
    np.testing.assert_allclose(line(display.axes_[0, 0], "series"), stretched)
    assert np.isfinite(line(display.axes_[1, 0], "series")).all()
    tokens = TokensDisplay.from_estimator(model, ragged, index=0)
    np.testing.assert_allclose(tokens.axes_[0].lines[-1].get_ydata(), stretched)
    assert len(CodebookDisplay.from_estimator(model, ragged, codes=1).axes_) == 2


def test_data_frames_are_read_by_row(series):
    frame = pd.DataFrame(series[0]).rename(columns=str)
    model = tiny_transformer().fit(frame)
    display = ReconstructionDisplay.from_estimator(model, frame, indices=[6])
    np.testing.assert_allclose(line(display.axes_[0, 0], "series"), frame.iloc[6])
    tokens = TokensDisplay.from_estimator(model, frame, index=6)
    np.testing.assert_allclose(tokens.axes_[0].lines[-1].get_ydata(), frame.iloc[6])


# HistoryDisplay


def test_history_draws_each_term_and_dashes_validation(series):
    model = tiny_transformer(early_stopping=True, max_epochs=4).fit(series[0])
    (ax,) = HistoryDisplay.from_estimator(model).axes_
    drawn = {one.get_label(): one for one in ax.lines}
    keys = [key for key in model.history_[0] if key.startswith(("train_", "valid_"))]
    assert sorted(drawn) == sorted(keys)
    for key, one in drawn.items():
        np.testing.assert_allclose(one.get_ydata(), model.history_[:, key])
        np.testing.assert_allclose(one.get_xdata(), model.history_[:, "epoch"])
        assert one.get_linestyle() == ("--" if key.startswith("valid_") else "-")
    assert drawn["train_recon_time"].get_color() == drawn["valid_recon_time"].get_color()
    assert len({drawn[key].get_color() for key in keys if key.startswith("train_")}) == 7
    assert {"total loss", "ssl", "validation"} <= set(legend_texts(ax.get_legend()))


def test_history_of_a_generator_has_both_stages(generator):
    figure, axes = make_axes(2)
    display = HistoryDisplay.from_estimator(generator, axes=axes)
    assert display.figure_ is figure
    np.testing.assert_allclose(
        line(axes[0], "train_loss"), generator.transformer_.history_[:, "train_loss"]
    )
    prior = generator.prior_.history_
    np.testing.assert_allclose(line(axes[1], "train_loss"), prior[:, "train_loss"])
    assert [ax.get_ylabel() for ax in axes] == ["tokenizer loss", "prior loss"]


class UniformPrior(BaseEstimator):
    """A prior from outside, without a history."""

    def fit(self, tokens, y=None):
        self.n_tokens_ = tokens.shape[1]
        return self

    def sample(self, n_samples=1, y=None, *, tokens=None, random_state=None):
        return random_state.randint(TINY["n_codes"], size=(n_samples, self.n_tokens_)), y

    def score_samples(self, tokens, y=None):
        return np.zeros(len(tokens))


def test_prior_without_history_has_no_panel(series):
    X, y = series
    generator = tiny_generator().set_params(prior=UniformPrior()).fit(X, y)
    display = HistoryDisplay.from_estimator(generator)
    assert [ax.get_ylabel() for ax in display.axes_] == ["tokenizer loss"]
    assert SamplesDisplay.from_estimator(generator, X, y, n_samples=3).axes_.shape == (2, 1, 2)


def test_bare_skorch_history():
    import torch

    class Net(NeuralNet):
        def __init__(self):
            super().__init__(
                torch.nn.Linear, criterion=torch.nn.MSELoss, module__in_features=2,
                module__out_features=1, max_epochs=3, verbose=0,
            )  # fmt: skip

    rng = np.random.default_rng(0)
    net = Net().fit(
        rng.normal(size=(30, 2)).astype(np.float32), np.ones((30, 1), dtype=np.float32)
    )
    (ax,) = HistoryDisplay.from_data(net.history).axes_
    assert [one.get_label() for one in ax.lines] == ["train_loss", "valid_loss"]
    np.testing.assert_allclose(line(ax, "valid_loss"), net.history[:, "valid_loss"])


@pytest.mark.parametrize(
    ("values", "scale"),
    [([100, 1, 0.1], "log"), ([3, 2, 1], "linear"), ([100, 1, -1], "linear"), ([9, 0], "linear")],
)
def test_history_is_logarithmic_where_that_helps(values, scale):
    history = History({"epoch": i + 1, "train_loss": v} for i, v in enumerate(values))
    (ax,) = HistoryDisplay.from_data(history).axes_
    assert ax.get_yscale() == scale


def test_history_of_chosen_terms_in_named_stages():
    rows = [{"train_loss": 3.0, "train_ssl": 1.0}, {"train_loss": 2.0, "train_ssl": 0.5}]
    display = HistoryDisplay.from_data({"a": rows, "b": rows[:1]}, terms=["ssl"])
    assert [len(ax.lines) for ax in display.axes_] == [1, 1]
    np.testing.assert_allclose(line(display.axes_[0], "train_ssl"), [1, 0.5])
    np.testing.assert_allclose(display.axes_[0].lines[0].get_xdata(), [1, 2])
    assert all(tick % 1 == 0 for tick in display.axes_[0].get_xticks())


# Common to all


def test_given_axes_are_used(series, fitted):
    X, _ = series
    for n, draw in {
        2: lambda axes: SamplesDisplay.from_data(X, X, axes=axes),
        3: lambda axes: CodebookDisplay.from_estimator(fitted, X, codes=2, axes=axes),
        4: lambda axes: ReconstructionDisplay.from_estimator(fitted, X, axes=axes),
        1: lambda axes: HistoryDisplay.from_estimator(fitted, axes=axes),
    }.items():
        figure, axes = make_axes(n)
        display = draw(axes)
        assert list(display.axes_.ravel()) == list(axes) and display.figure_ is figure
        assert all(ax.has_data() for ax in axes)
        _, wrong = make_axes(n + 1)
        with pytest.raises(ValueError, match=f"holds {n + 1} Axes, but this picture needs {n}"):
            draw(wrong)
    figure, ax = plt.subplots()
    display = ProjectionDisplay.from_data(X, X, ax=ax)
    assert display.ax_ is ax and display.figure_ is figure
    _, wrong = make_axes(5)
    with pytest.raises(ValueError, match="holds 5 Axes"):
        TokensDisplay.from_estimator(fitted, X, axes=wrong)


@pytest.fixture(scope="module")
def draws(series, labels, fitted, generator):
    """Return for each display what makes it, and the number of axes that its picture needs."""
    X, _ = series
    return {
        "samples": (lambda **o: SamplesDisplay.from_data(X, X, labels, labels, **o), 4),
        "projection": (lambda **o: ProjectionDisplay.from_data(X, X, labels, labels, **o), 1),
        "codebook": (lambda **o: CodebookDisplay.from_estimator(fitted, X, codes=12, **o), None),
        "tokens": (lambda **o: TokensDisplay.from_estimator(fitted, X, **o), 2),
        "reconstruction": (lambda **o: ReconstructionDisplay.from_estimator(fitted, X, **o), 4),
        "history": (lambda **o: HistoryDisplay.from_estimator(generator, **o), 2),
    }


NAMES = ["samples", "projection", "codebook", "tokens", "reconstruction", "history"]


def panels_of(display):
    return list(np.ravel(getattr(display, "axes_", None) or display.ax_))


@pytest.mark.parametrize("name", NAMES)
def test_a_display_keeps_one_picture(draws, name):
    display = draws[name][0]()
    first = display.figure_
    assert plt.get_fignums() == [first.number]
    assert display.plot() is display
    assert plt.get_fignums() == [display.figure_.number] != [first.number]
    assert display.figure_.axes and first.axes, "the first figure is closed, not emptied"


@pytest.mark.parametrize("name", NAMES)
def test_given_axes_take_the_place_of_the_own_figure(draws, name):
    draw, n = draws[name]
    display = draw()
    keyword = "ax" if name == "projection" else "axes"
    figure, axes = make_axes(n or len(display.axes_))
    display.plot(**{keyword: axes[0] if name == "projection" else axes})
    assert plt.get_fignums() == [figure.number]
    assert display.figure_ is figure
    display.plot()
    assert plt.get_fignums() == [figure.number, display.figure_.number], "given figures stay"


def test_own_axes_can_be_drawn_on_again(series):
    display = SamplesDisplay.from_data(series[0], series[0])
    figure = display.figure_
    assert display.plot(axes=display.axes_).figure_ is figure
    assert plt.get_fignums() == [figure.number]
    display.plot()
    assert plt.get_fignums() == [display.figure_.number] != [figure.number]


def test_figure_of_axes_in_a_subfigure_can_be_saved(series, tmp_path):
    figure = plt.figure(layout="constrained")
    axes = figure.subfigures(1, 2)[0].subplots(1, 2)
    display = SamplesDisplay.from_data(series[0], series[0], axes=axes)
    assert display.figure_ is figure
    display.figure_.savefig(tmp_path / "picture.png")


def test_refused_options_leave_the_picture_alone(series):
    display = SamplesDisplay.from_data(series[0], series[0])
    figure = display.figure_
    with pytest.raises(ValueError, match="bands"):
        display.plot(bands=2)
    assert display.figure_ is figure and plt.get_fignums() == [figure.number]


def test_plotting_again_draws_the_same(series, fitted):
    display = ReconstructionDisplay.from_estimator(fitted, series[0])
    first = display.axes_
    display.plot()
    assert display.axes_[0, 0] is not first[0, 0]
    again, before = (line(axes[2, 0], "reconstruction") for axes in (display.axes_, first))
    np.testing.assert_array_equal(again, before)


def test_legends_stay_inside_a_figure_without_layout_engine(fitted):
    figure, ax = plt.subplots(figsize=(6, 4))
    HistoryDisplay.from_estimator(fitted, axes=ax)
    figure.canvas.draw()
    box = ax.get_legend().get_window_extent()
    assert box.y1 <= figure.bbox.y1 and box.x1 <= figure.bbox.x1


@pytest.mark.parametrize("size", [(6, 4), (12, 8)])
def test_legends_stay_off_the_data(series, labels, size):
    figure, ax = plt.subplots(figsize=size, layout="constrained")
    ProjectionDisplay.from_data(series[0], series[0], labels, labels, ax=ax)
    figure.canvas.draw()
    box = ax.get_legend().get_window_extent()
    assert box.y0 >= ax.bbox.y1 - 1 and box.y1 <= figure.bbox.y1 + 1
    assert box.x1 <= figure.bbox.x1 + 1


def test_unfitted_estimators_are_refused(series):
    X, y = series
    for draw in (
        lambda: SamplesDisplay.from_estimator(tiny_generator(), X, y),
        lambda: ProjectionDisplay.from_estimator(tiny_generator(), X, y),
        lambda: CodebookDisplay.from_estimator(tiny_transformer(), X),
        lambda: TokensDisplay.from_estimator(tiny_transformer(), X),
        lambda: ReconstructionDisplay.from_estimator(FrozenEstimator(tiny_transformer()), X),
        lambda: HistoryDisplay.from_estimator(tiny_generator()),
        lambda: HistoryDisplay.from_estimator(FrozenEstimator(tiny_generator())),
    ):
        with pytest.raises(NotFittedError):
            draw()


@pytest.mark.parametrize(
    ("draw", "error", "match"),
    [
        (lambda X, y, m: SamplesDisplay.from_estimator(m, X, y), TypeError, "NCVQVAEGenerator"),
        (lambda X, y, m: HistoryDisplay.from_estimator(PCA()), TypeError, "not PCA"),
        (lambda X, y, m: SamplesDisplay.from_data(X, X, y), ValueError, "both y_real"),
        (lambda X, y, m: SamplesDisplay.from_data(X, X[:, :9]), ValueError, "one shape"),
        (lambda X, y, m: SamplesDisplay.from_data(X, X * np.nan), ValueError, "NaN"),
        (lambda X, y, m: SamplesDisplay.from_data(X, X, y, y[1:]), ValueError, "39 labels"),
        (lambda X, y, m: SamplesDisplay.from_data(X, X, classes=[1]), ValueError, "no labels"),
        (lambda X, y, m: SamplesDisplay.from_data(X, X, y, y, classes=[4]), ValueError, r"\[4\]"),
        (lambda X, y, m: SamplesDisplay.from_data(X, X, y, y, classes=[]), ValueError, "empty"),
        (lambda X, y, m: SamplesDisplay.from_data(X, X, channels=[1]), ValueError, "channels"),
        (lambda X, y, m: SamplesDisplay.from_data(X, X, bands=[90]), ValueError, "bands"),
        (lambda X, y, m: SamplesDisplay.from_data(X, X, data_format="x"), ValueError, "format"),
        (lambda X, y, m: ProjectionDisplay.from_data(X, X, method="umap"), ValueError, "umap"),
        (lambda X, y, m: ProjectionDisplay.from_data(X, X, method=PCA(3)), ValueError, "shape"),
        (lambda X, y, m: ProjectionDisplay.from_data(X, X[:, 1:]), ValueError, "one shape"),
        (lambda X, y, m: ProjectionDisplay.from_data(X, X, classes=[0]), ValueError, "no labels"),
        (lambda X, y, m: CodebookDisplay.from_estimator(m, X, codes=[6]), ValueError, "0 to 5"),
        (lambda X, y, m: CodebookDisplay.from_estimator(m, X, codes=-1), ValueError, "codes=-1"),
        (lambda X, y, m: CodebookDisplay.from_estimator(m, X, channel=1), ValueError, "channel=1"),
        (lambda X, y, m: TokensDisplay.from_estimator(m, X, index=40), ValueError, "0 to 39"),
        (lambda X, y, m: ReconstructionDisplay.from_data(X, X[1:]), ValueError, "39"),
        (
            lambda X, y, m: ReconstructionDisplay.from_estimator(m, X, indices=[-1]),
            ValueError,
            "indices",
        ),
        (lambda X, y, m: HistoryDisplay.from_estimator(m, terms=["x"]), ValueError, "recon_time"),
        (lambda X, y, m: HistoryDisplay.from_data([{"epoch": 1}]), ValueError, "no entries"),
    ],
)
def test_wrong_use_is_refused_with_what_to_do(series, fitted, draw, error, match):
    with pytest.raises(error, match=match):
        draw(*series, fitted)


@pytest.mark.parametrize("display", [SamplesDisplay, ProjectionDisplay])
@pytest.mark.parametrize("n_samples", [-1, 0, 2.5, "many", True, None])
def test_wrong_numbers_of_samples_are_refused(series, generator, labels, display, n_samples):
    message = f"n_samples={n_samples!r} must be an integer of at least 1"
    with pytest.raises(ValueError, match=message):
        display.from_estimator(generator, series[0], labels, n_samples=n_samples)


@pytest.mark.parametrize("index", [[0, 1], [0], -1, 40, 1.0, True, None, "0", slice(2)])
def test_tokens_are_those_of_one_series(series, fitted, index):
    with pytest.raises(ValueError, match=r"index=.* must be one integer from 0 to 39"):
        TokensDisplay.from_estimator(fitted, series[0], index=index)


@pytest.mark.parametrize("indices", [[0, 40], -1, [], 1.0, [True, False], "first", [[0, 1]]])
def test_indices_are_integers_that_exist(series, fitted, indices):
    with pytest.raises(ValueError, match=r"indices=.* must hold integers from 0 to 39"):
        ReconstructionDisplay.from_estimator(fitted, series[0], indices=indices)
    with pytest.raises(ValueError, match=r"indices=.* must hold integers from 0 to 39"):
        ReconstructionDisplay.from_data(series[0], series[0], indices=indices)


@pytest.mark.parametrize(
    ("options", "match"),
    [
        ({"n_series": -1}, "n_series=-1 must be an integer of at least 0"),
        ({"n_series": 2.0}, "n_series"),
        ({"bands": "half"}, "bands='half' must hold shares above 0"),
        ({"bands": [0.5, None]}, "bands"),
        ({"bands": np.nan}, "bands"),
        ({"channels": [True]}, "channels"),
        ({"channels": "all"}, "channels='all' must hold integers from 0 to 0"),
        ({"random_state": "x"}, "random_state='x' must be an int"),
    ],
)
def test_wrong_options_of_samples_are_named(series, options, match):
    with pytest.raises(ValueError, match=match):
        SamplesDisplay.from_data(series[0], series[0], **options)


@pytest.mark.parametrize(
    ("options", "match"),
    [
        ({"codes": 2.5}, "codes=2.5"),
        ({"codes": True}, "codes=True"),
        ({"codes": "all"}, "codes='all'"),
        ({"codes": [1.5]}, "codes=.* integers from 0 to 5"),
        ({"codes": []}, "codes"),
        ({"channel": [0, 1]}, "channel=.* one integer from 0 to 0"),
    ],
)
def test_wrong_options_of_codebook_are_named(series, fitted, options, match):
    with pytest.raises(ValueError, match=match):
        CodebookDisplay.from_estimator(fitted, series[0], **options)


@pytest.mark.parametrize("bands", [0.5, np.array([0.5]), (1,), ()])
def test_one_band_or_none(series, bands):
    (real, _) = SamplesDisplay.from_data(series[0], series[0], bands=bands).axes_.ravel()
    assert len(real.collections) == np.size(bands)


@pytest.mark.parametrize("axes", [5, "here", plt.figure, [None, None]])
def test_axes_must_be_axes(series, axes):
    with pytest.raises(TypeError, match="axes must hold matplotlib's Axes, not"):
        SamplesDisplay.from_data(series[0], series[0], axes=axes)
    with pytest.raises(TypeError, match="ax must hold matplotlib's Axes, not"):
        ProjectionDisplay.from_data(series[0], series[0], ax=axes)


@pytest.mark.parametrize(
    ("y_real", "y_synthetic", "match"),
    [
        (["a", None], ["a", "b"], "y_real must hold a class label for each series"),
        (["a", "b"], [1.5, 0.25], "y_synthetic must hold a class label"),
        (["a", "b"], [1, 2], "y_real holds labels such as 'a', but y_synthetic such as 1"),
        (["a", "b"], ["a"], "y_synthetic .* 1 labels"),
        ([[1, 2], [3, 4]], [1, 2], "y_real .* 1d"),
    ],
)
@pytest.mark.parametrize("display", [SamplesDisplay, ProjectionDisplay])
def test_labels_are_classes_of_one_type(series, display, y_real, y_synthetic, match):
    X = series[0][:2]
    with pytest.raises(ValueError, match=match):
        display.from_data(X, X, y_real, y_synthetic)


@pytest.mark.parametrize(
    ("features", "error", "match"),
    [
        ("rocket", TypeError, "features='rocket' must be None, a function"),
        (PCA, TypeError, "fitted object with transform"),
        (lambda X: X[:1], ValueError, "1 rows for the 40 series of X_real"),
        (lambda X: X * np.nan, ValueError, "features of X_real contains NaN"),
        (lambda X: X[:, :1], ValueError, "method='pca' needs 2 features or more"),
    ],
)
def test_wrong_features_are_named(series, features, error, match):
    with pytest.raises(error, match=match):
        ProjectionDisplay.from_data(series[0], series[0], features=features)


@pytest.mark.parametrize("method", [PCA, 3, None, "umap"])
def test_wrong_methods_are_named(series, method):
    with pytest.raises(ValueError, match=r"must be 'pca', 'tsne' or an object with fit_transform"):
        ProjectionDisplay.from_data(series[0], series[0], method=method)


def test_projected_points_must_be_finite(series):
    X, _ = series
    method = FunctionTransformer(lambda X: X[:, :2] * np.inf)
    with pytest.raises(ValueError, match=r"not finite\. Rescale"):
        ProjectionDisplay.from_data(X, X + 1, method=method)


@pytest.mark.parametrize("display", [SamplesDisplay, ProjectionDisplay, ReconstructionDisplay])
def test_series_that_no_estimator_reads_are_of_one_shape(series, display):
    X, _ = series
    unequal = [X[0], X[1][:20]]
    for given in (unequal, np.array(unequal, dtype=object)):
        with pytest.raises(ValueError, match=r"\(20,\) and \(32,\). Pass series of one shape"):
            display.from_data(given, X)
    with pytest.raises(ValueError, match="Pass series of one shape"):
        display.from_data(X.reshape(40, 2, 16), X.reshape(40, 16, 2))


def test_history_of_other_rows_is_refused():
    for history in (
        0.5,
        [3.0, 2.0],
        pd.DataFrame({"train_loss": [3.0, 2.0]}),
        {"a": {"loss": [1]}},
    ):
        with pytest.raises(TypeError, match="list with a dict for each epoch"):
            HistoryDisplay.from_data(history)


def test_frozen_generators_are_generators(series, generator, labels):
    frozen = FrozenEstimator(generator)
    assert len(HistoryDisplay.from_estimator(frozen).axes_) == 2
    display = SamplesDisplay.from_estimator(frozen, series[0], labels, n_samples=3)
    assert display.axes_.shape == (2, 1, 2)
    assert len(TokensDisplay.from_estimator(frozen, series[0]).axes_) == 2


def test_classes_unknown_to_the_generator(series, generator, labels):
    with pytest.raises(ValueError, match="not seen in fit"):
        SamplesDisplay.from_estimator(generator, series[0], np.char.add(labels, "er"))


def test_matplotlib_is_imported_late_and_named_when_missing():
    code = """
import sys
sys.modules["matplotlib.pyplot"] = None
import numpy as np
from skncvqvae.plots import SamplesDisplay
assert "matplotlib" not in sys.modules
try:
    SamplesDisplay.from_data(np.zeros((3, 4)), np.zeros((3, 4)))
except ImportError as error:
    assert "skncvqvae[plots]" in str(error), error
else:
    raise AssertionError("no ImportError")
"""
    subprocess.run([sys.executable, "-c", code], check=True)


@pytest.fixture(scope="module")
def banded(series):
    return tiny_transformer(bands="stft", downsampled_width={"low": 2, "high": 4}).fit(series[0])


def test_reconstruction_by_band_has_each_band_beside_the_series(series, banded):
    X = series[0]
    display = ReconstructionDisplay.from_estimator(banded, X, indices=[3, 1], by_band=True)
    assert display.axes_.shape == (2, 3)
    tokens = banded.encode(banded.read(X[[3, 1]]))
    expected = [banded.decode(tokens), *banded.decode_bands(tokens).values()]
    for i, row in enumerate(display.axes_):
        for ax, decoded in zip(row, expected, strict=True):
            np.testing.assert_allclose(ax.lines[1].get_ydata(), decoded[i, 0])
        titles = [ax.get_title(loc="right").split(",")[0] for ax in row]
        assert titles == ["series", "low", "high"]


def test_shapes_of_a_band_are_of_what_its_tokens_decode_to(series, banded):
    X = series[0]
    display = CodebookDisplay.from_estimator(banded, X, codes=1)
    tokens = banded.encode(banded.read(X))
    bars_low, low, bars_high, high = display.axes_
    assert len(bars_low.patches) >= 6 and len(bars_high.patches) >= 6
    for ax, (name, decoded) in zip((low, high), banded.decode_bands(tokens).items(), strict=True):
        (curve,) = ax.lines
        values = curve.get_ydata()
        assert np.nanmin(values) >= decoded.min() and np.nanmax(values) <= decoded.max(), name


def test_tokens_have_a_strip_for_each_band(series, banded):
    display = TokensDisplay.from_estimator(banded, series[0])
    assert [ax.get_ylabel() for ax in display.axes_] == ["series", "low", "high"]


DIVERSITY = {"features": None, "classifier": KNeighborsClassifier(3)}


def test_diversity_is_measured_at_each_setting(series, generator, labels):
    X, _ = series
    display = DiversityDisplay.from_estimator(
        generator, X, labels, diversities=(1, 0), random_state=4, **DIVERSITY
    )
    assert display.diversities.tolist() == [0, 1]
    assert list(display.scores) == ["precision", "recall", "coverage", "class fidelity"]
    seed = np.random.RandomState(4).randint(np.iinfo(np.int32).max)
    for i, diversity in enumerate((0, 1)):
        X_new, y_new = generator.sample(y=labels, random_state=seed, diversity=diversity)
        expected = prdc(X, X_new, features=None)
        for name in ("precision", "recall", "coverage"):
            assert display.scores[name][i] == pytest.approx(expected[name])
        fidelity = trts_score(X, labels, X_new, y_new, classifier=KNeighborsClassifier(3))
        assert display.scores["class fidelity"][i] == fidelity
    curve, dial = display.axes_
    np.testing.assert_array_equal(
        curve.collections[0].get_offsets()[:, 0], line(dial, "precision")
    )
    np.testing.assert_array_equal(curve.collections[0].get_offsets()[:, 1], line(dial, "recall"))
    assert texts(curve) == ["0", "1"]
    assert set(legend_texts(dial.get_legend())) == set(display.scores)


def test_diversity_without_classes_and_with_more_samples(series):
    X, _ = series
    model = tiny_generator().fit(X)
    display = DiversityDisplay.from_estimator(
        model, X, diversities=[0.5], n_samples=100, features=None
    )
    assert "class fidelity" not in display.scores
    few = DiversityDisplay.from_estimator(model, X, diversities=[0.5], n_samples=8, features=None)
    assert display.scores["coverage"] > few.scores["coverage"]
    _, axes = make_axes(2)
    assert display.plot(axes=axes).axes_[1] is axes[1]
    with pytest.raises(ValueError, match="axes holds 3"):
        display.plot(axes=make_axes(3)[1])


def test_diversity_of_no_generator_or_beyond_the_dial_is_refused(series, generator, labels):
    with pytest.raises(TypeError, match="must be an NCVQVAEGenerator"):
        DiversityDisplay.from_estimator(generator.transformer_, series[0])
    with pytest.raises(ValueError, match="diversity"):
        DiversityDisplay.from_estimator(generator, series[0], labels, diversities=[2], **DIVERSITY)


@pytest.mark.parametrize(
    ("params", "message"),
    [
        ({"diversities": []}, r"diversities=\[\] is no list of settings"),
        ({"diversities": 0.5}, "diversities=0.5 is no list of settings"),
        ({"diversities": ["a"]}, "holds no numbers"),
        ({"n_samples": 0}, "n_samples == 0"),
        ({"n_samples": 1.5}, "n_samples must be an instance of"),
        ({"n_samples": True}, "n_samples=True must be an integer"),
        ({"y": [None] * 40}, "y holds None at index 0"),
        ({"y": [0, 1]}, "y holds 2 labels, but there are"),
    ],
)
def test_bad_settings_of_diversity_are_refused_by_name(series, generator, labels, params, message):
    X, _ = series
    params = {"y": labels, **DIVERSITY, **params}
    with pytest.raises((TypeError, ValueError), match=message):
        DiversityDisplay.from_estimator(generator, X[:40], **params)
