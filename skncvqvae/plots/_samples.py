"""Real beside synthetic series, as curves and as points."""

import math
import warnings

import numpy as np
from sklearn.decomposition import PCA
from sklearn.manifold import TSNE
from sklearn.utils import _safe_indexing, check_array, check_consistent_length, check_random_state
from sklearn.utils.validation import _num_samples, column_or_1d

from .._validation import in_training_layout
from ._common import (
    PALETTE,
    REAL,
    SYNTHETIC,
    check_same_shape,
    check_series,
    few_ticks,
    fitted_generator,
    fitted_transformer,
    input_series,
    legend_above,
    legend_below,
    output_series,
    pick,
    pick_channels,
    require_matplotlib,
    share_limits,
    shorten,
    use_axes,
)

# More classes than this stand side by side.
_MOST_ROWS = 7


class SamplesDisplay:
    """Real beside synthetic series, for each class and channel.

    Two panels share their limits: on the left the real series, on the right the synthetic ones;
    each shows the median at every time step, bands that hold the central shares of the series
    there, and a few single series. Use `from_estimator` or `from_data`.

    Parameters
    ----------
    X_real, X_synthetic : ndarray of shape (n, n_channels, length)
        The series.
    y_real, y_synthetic : ndarray of shape (n,) or None
        Their classes. Without `y_real` there is one pair of panels for all.

    Attributes
    ----------
    axes_ : ndarray of Axes of shape (n_classes, n_channels, 2)
        The panels, real and synthetic.
    figure_ : Figure
        The figure of them.
    """

    def __init__(self, X_real, X_synthetic, y_real=None, y_synthetic=None):
        self.X_real = X_real
        self.X_synthetic = X_synthetic
        self.y_real = y_real
        self.y_synthetic = y_synthetic

    @classmethod
    def from_estimator(
        cls, generator, X, y=None, *, n_samples=100, classes=None, random_state=None, **options
    ):
        """Draw series from a generator and plot them beside real ones.

        Parameters
        ----------
        generator : NCVQVAEGenerator
            A fitted generator.
        X : array-like
            Real series, as in its `fit`.
        y : array-like of shape (n,), optional
            Their classes, for a generator that was fitted with classes.
        n_samples : int, default=100
            Synthetic series to draw, of each class if there are classes.
        classes : list, optional
            Classes to show, in this order; None shows all of `y`.
        random_state : int, RandomState instance or None, default=None
            Seed of the synthetic series and of the choice of single ones; None draws with the
            generator's own.
        **options
            Options of `plot`.

        Returns
        -------
        SamplesDisplay

        Raises
        ------
        sklearn.exceptions.NotFittedError
            Before `fit`.
        ValueError
            On data or classes that the generator does not know.
        """
        transformer = fitted_transformer(fitted_generator(generator))
        series = input_series(transformer, X)
        labels = None
        if y is not None:
            y = column_or_1d(y)
            check_consistent_length(series, y)
            known = np.unique(y)
            labels = np.repeat(pick(classes, known, "classes", default=known), n_samples)
        X_new, y_new = generator.sample(
            n_samples if labels is None else len(labels), labels, random_state=random_state
        )
        display = cls(series, output_series(transformer, X_new), y, None if y is None else y_new)
        return display.plot(classes=classes, random_state=random_state, **options)

    @classmethod
    def from_data(
        cls,
        X_real,
        X_synthetic,
        y_real=None,
        y_synthetic=None,
        *,
        data_format="channels_first",
        **options,
    ):
        """Plot real beside synthetic series, wherever they come from.

        Parameters
        ----------
        X_real, X_synthetic : array-like of shape (n, length) or (n, n_channels, length)
            The series.
        y_real, y_synthetic : array-like of shape (n,), optional
            Their classes; both or none.
        data_format : {"channels_first", "channels_last"}, default="channels_first"
            Layout of 3-D data, as in `NCVQVAETransformer`.
        **options
            Options of `plot`.

        Returns
        -------
        SamplesDisplay

        Raises
        ------
        ValueError
            On series of two shapes, NaN or infinities, or classes of one side only.
        """
        X_real = check_series(X_real, "X_real", data_format)
        X_synthetic = check_series(X_synthetic, "X_synthetic", data_format)
        check_same_shape(X_real, X_synthetic, "X_real", "X_synthetic")
        y_real, y_synthetic = _check_labels(X_real, X_synthetic, y_real, y_synthetic)
        return cls(X_real, X_synthetic, y_real, y_synthetic).plot(**options)

    def plot(
        self,
        *,
        axes=None,
        classes=None,
        channels=None,
        bands=(0.5, 0.9),
        n_series=3,
        random_state=None,
    ):
        """Draw the panels.

        Parameters
        ----------
        axes : array-like of Axes, optional
            Two for each class and channel, classes first. None makes a figure.
        classes : list, optional
            Classes to show, in this order; None shows all.
        channels : list of int, optional
            Channels to show; None shows the first three.
        bands : sequence of float, default=(0.5, 0.9)
            Shares of the series that each band holds, between 0 and 1.
        n_series : int, default=3
            Single series to show in each panel, drawn at random.
        random_state : int, RandomState instance or None, default=None
            Seed of that choice.

        Returns
        -------
        self

        Raises
        ------
        ValueError
            On another number of axes, or classes, channels or bands that do not exist.
        """
        plt = require_matplotlib(self)
        if not all(0 < share <= 1 for share in bands):
            raise ValueError(f"bands={bands} must hold shares above 0 and at most 1.")
        if self.y_real is None:
            if classes is not None:
                raise ValueError("classes was given, but the series have no labels.")
            classes = [None]
        else:
            known = np.union1d(self.y_real, self.y_synthetic)
            classes = pick(classes, known, "classes", default=known)
        channels = pick_channels(channels, self.X_real, most=3)
        n_cells, per_row = len(classes) * len(channels), len(channels)
        own_figure = axes is None
        if own_figure:
            if len(channels) == 1:  # leaves room for several classes in a row
                per_row = math.ceil(len(classes) / _MOST_ROWS)
            axes = _paired_axes(plt, n_cells, per_row)
        wrapped = per_row > len(channels)
        axes = use_axes(axes, 2 * n_cells).reshape(-1, 2)
        rng = check_random_state(random_state)
        cells = [(label, channel) for label in classes for channel in channels]
        for i, ((label, channel), pair) in enumerate(zip(cells, axes, strict=True)):
            for ax, name, color, X, y in (
                (pair[0], "real", REAL, self.X_real, self.y_real),
                (pair[1], "synthetic", SYNTHETIC, self.X_synthetic, self.y_synthetic),
            ):
                series = (X if y is None else X[y == label])[:, channel]
                _draw_distribution(ax, series, bands, n_series, color, rng)
                few_ticks(ax)
                if i < per_row and not wrapped:
                    title = f"{name}\nchannel {channel}" if self.X_real.shape[1] > 1 else name
                    ax.set_title(title, fontsize="medium")
                last = i + per_row >= n_cells
                ax.tick_params(labelbottom=last)
                if wrapped and per_row > 3:  # too small for numbers
                    ax.tick_params(left=False, bottom=False, labelleft=False, labelbottom=False)
                elif last:
                    ax.set_xlabel("time step")
            if wrapped:
                pair[0].set_title(shorten(label), loc="left", fontsize="small", pad=2)
            elif label is not None and channel == channels[0]:
                pair[0].set_ylabel(f"class {shorten(label, 14)}")
            share_limits(pair)
            pair[1].tick_params(labelleft=False)
        self.axes_ = axes.reshape(len(classes), len(channels), 2)
        self.figure_ = axes[0, 0].figure
        if own_figure:
            _explain_distribution(self.figure_, bands, n_series, wrapped)
        return self


def _paired_axes(plt, n_cells, per_row):
    """Make axes in pairs, `per_row` pairs in a row, the last row perhaps shorter."""
    n_rows = math.ceil(n_cells / per_row)
    width, height = (3.5, 1.7) if per_row == 1 else (2.2, 1.6) if per_row < 4 else (1.4, 1.3)
    _, axes = plt.subplots(
        n_rows,
        2 * per_row,
        figsize=(1 + 2 * per_row * width, 1 + n_rows * height),
        squeeze=False,
        sharex=True,
        layout="constrained",
    )
    for ax in axes.flat[2 * n_cells :]:
        ax.remove()
    return axes.flat[: 2 * n_cells]


def _draw_distribution(ax, series, bands, n_series, color, rng):
    if len(series) == 0:
        ax.text(0.5, 0.5, "no series", transform=ax.transAxes, ha="center", va="center")
        return
    time = np.arange(series.shape[1])
    for share in sorted(bands, reverse=True):
        low, high = np.quantile(series, [0.5 - share / 2, 0.5 + share / 2], axis=0)
        ax.fill_between(time, low, high, color=color, alpha=0.22, linewidth=0)
    for one in series[rng.permutation(len(series))[:n_series]]:
        ax.plot(time, one, color="0.25", linewidth=0.5, label="_single")
    ax.plot(time, np.median(series, axis=0), color=color, linewidth=1.8, label="_median")
    ax.margins(x=0)


def _explain_distribution(figure, bands, n_series, wrapped):
    from matplotlib.lines import Line2D
    from matplotlib.patches import Patch

    handles = [Line2D([], [], color="0.4", linewidth=1.8, label="median")]
    handles += [
        Patch(color="0.4", alpha=0.5 / (i + 1), linewidth=0, label=f"{share:.0%} of series")
        for i, share in enumerate(sorted(bands))
    ]
    if n_series:
        handles.append(Line2D([], [], color="0.25", linewidth=0.5, label="single series"))
    if wrapped:  # the titles of the panels are classes
        sides = [("real", REAL), ("synthetic", SYNTHETIC)]
        handles = [*(Patch(color=color, label=name) for name, color in sides), *handles]
    legend_below(figure, handles)


def _check_labels(X_real, X_synthetic, y_real, y_synthetic):
    if (y_real is None) != (y_synthetic is None):
        raise ValueError("Pass both y_real and y_synthetic, or none of them.")
    if y_real is None:
        return None, None
    y_real, y_synthetic = column_or_1d(y_real), column_or_1d(y_synthetic)
    check_consistent_length(X_real, y_real)
    check_consistent_length(X_synthetic, y_synthetic)
    return y_real, y_synthetic


class ProjectionDisplay:
    """Real and synthetic series as points in a plane.

    Where the two clouds differ, the synthetic data miss something or add something. The plane
    is fitted to both together, so that directions in which only one of them varies show. Use
    `from_estimator` or `from_data`.

    Parameters
    ----------
    points_real, points_synthetic : ndarray of shape (n, 2)
        The points.
    y_real, y_synthetic : ndarray of shape (n,) or None
        Their classes.
    axis_names : (str, str)
        Labels of the two axes.

    Attributes
    ----------
    ax_ : Axes
        The panel.
    figure_ : Figure
        Its figure.
    """

    def __init__(
        self,
        points_real,
        points_synthetic,
        y_real=None,
        y_synthetic=None,
        *,
        axis_names=("component 1", "component 2"),
    ):
        self.points_real = points_real
        self.points_synthetic = points_synthetic
        self.y_real = y_real
        self.y_synthetic = y_synthetic
        self.axis_names = axis_names

    @classmethod
    def from_estimator(
        cls,
        generator,
        X,
        y=None,
        *,
        n_samples=500,
        features=None,
        method="pca",
        random_state=None,
        **options,
    ):
        """Draw series from a generator and project them together with real ones.

        Parameters
        ----------
        generator : NCVQVAEGenerator
            A fitted generator.
        X : array-like
            Real series, as in its `fit`.
        y : array-like of shape (n,), optional
            Their classes; synthetic series are drawn in the same numbers.
        n_samples : int, default=500
            Real series to show at most, at random, and as many synthetic ones.
        features : callable or transformer, optional
            What to project, as in `from_data`; it receives series in the layout of the
            generator's training data. ``generator.transformer_`` shows them as the model does.
        method : {"pca", "tsne"} or transformer, default="pca"
            As in `from_data`.
        random_state : int, RandomState instance or None, default=None
            Seed of the choice of series, of the synthetic ones and of `method`; None draws
            with the generator's own.
        **options
            Options of `plot`.

        Returns
        -------
        ProjectionDisplay

        Raises
        ------
        sklearn.exceptions.NotFittedError
            Before `fit`.
        ValueError
            On data or classes that the generator does not know.
        """
        transformer = fitted_transformer(fitted_generator(generator))
        if y is not None:
            y = column_or_1d(y)
            check_consistent_length(X, y)
        chosen = check_random_state(random_state).permutation(_num_samples(X))[:n_samples]
        X_real = in_training_layout(transformer, _safe_indexing(X, chosen))
        y = None if y is None else y[chosen]
        X_new, y_new = generator.sample(len(chosen), y, random_state=random_state)
        with warnings.catch_warnings():
            # The series are in order, but arrays; a data frame's names are gone.
            warnings.filterwarnings("ignore", "X does not have valid feature names", UserWarning)
            return cls.from_data(
                X_real,
                X_new,
                y,
                None if y is None else y_new,
                features=features,
                method=method,
                random_state=random_state,
                **options,
            )

    @classmethod
    def from_data(
        cls,
        X_real,
        X_synthetic,
        y_real=None,
        y_synthetic=None,
        *,
        features=None,
        method="pca",
        random_state=None,
        **options,
    ):
        """Project real and synthetic series, or features of them.

        Parameters
        ----------
        X_real, X_synthetic : array-like of shape (n, ...)
            Series in any layout, or features.
        y_real, y_synthetic : array-like of shape (n,), optional
            Their classes; both or none.
        features : callable or transformer, optional
            Maps series to features: a function, or a fitted object with `transform`. None
            takes every value of a series as a feature.
        method : {"pca", "tsne"} or transformer, default="pca"
            Maps features to two dimensions: scikit-learn's PCA or t-SNE, or an object with
            `fit_transform`, which is fitted to real and synthetic features together. Features
            are not scaled; pass a pipeline with a scaler where their units differ.
        random_state : int, RandomState instance or None, default=None
            Seed of ``"pca"`` and ``"tsne"``.
        **options
            Options of `plot`.

        Returns
        -------
        ProjectionDisplay

        Raises
        ------
        ValueError
            On an unknown `method`, features of two widths, or classes of one side only.
        """
        y_real, y_synthetic = _check_labels(X_real, X_synthetic, y_real, y_synthetic)
        real = _extract(features, X_real, "X_real")
        synthetic = _extract(features, X_synthetic, "X_synthetic")
        if real.shape[1] != synthetic.shape[1]:
            raise ValueError(
                f"X_real gives {real.shape[1]} features, but X_synthetic {synthetic.shape[1]}."
            )
        both = np.concatenate([real, synthetic])
        names = ("component 1", "component 2")
        if isinstance(method, str):
            if method == "pca":
                method = PCA(2, random_state=random_state)
            elif method == "tsne":
                # scikit-learn refuses a perplexity that reaches the number of points.
                perplexity = min(30, (len(both) - 1) / 3)
                method = TSNE(2, perplexity=perplexity, random_state=random_state)
                names = ("t-SNE 1", "t-SNE 2")
            else:
                raise ValueError(
                    f"method={method!r} must be 'pca', 'tsne' or an object with fit_transform."
                )
        points = np.asarray(method.fit_transform(both))
        if points.ndim != 2 or points.shape[1] != 2:
            raise ValueError(f"method returned points of shape {points.shape}, not (n, 2).")
        if isinstance(method, PCA):
            shares = method.explained_variance_ratio_
            names = [f"PC {i + 1} ({share:.0%} of variance)" for i, share in enumerate(shares)]
        n = len(real)
        display = cls(points[:n], points[n:], y_real, y_synthetic, axis_names=tuple(names))
        return display.plot(**options)

    def plot(self, *, ax=None, classes=None):
        """Draw the points: circles for real, crosses for synthetic series.

        Parameters
        ----------
        ax : Axes, optional
            Where to draw. None makes a figure.
        classes : list, optional
            Classes to show in colours of their own, at most eight. None shows all, in colours
            of their own where there are eight or fewer, else without regard to class.

        Returns
        -------
        self

        Raises
        ------
        ValueError
            On classes that do not exist, or more than eight.
        """
        plt = require_matplotlib(self)
        from matplotlib.lines import Line2D

        classes = self._classes(classes)
        if ax is None:
            _, ax = plt.subplots(layout="constrained")
        n = max(len(self.points_real), len(self.points_synthetic))
        size = float(np.clip(5000 / n, 12, 36))
        styles = (
            ("real", self.points_real, self.y_real, {"marker": "o", "facecolor": "none"}),
            ("synthetic", self.points_synthetic, self.y_synthetic, {"marker": "x"}),
        )
        handles = []
        for (name, points, y, style), color in zip(styles, (REAL, SYNTHETIC), strict=True):
            for i, label in enumerate(classes):
                shown = points if label is None else points[y == label]
                edge = color if label is None else PALETTE[i]
                colors = {"edgecolor": edge} if name == "real" else {"color": edge}
                ax.scatter(
                    *shown.T,
                    s=size,
                    linewidth=0.9,
                    alpha=0.75,
                    label=name if label is None else f"{name}, {label}",
                    **style,
                    **colors,
                )
            handles.append(
                Line2D(
                    [],
                    [],
                    linestyle="none",
                    marker=style["marker"],
                    markerfacecolor="none",
                    color=color if classes == [None] else "0.3",
                    label=name,
                )
            )
        if classes != [None]:
            handles += [
                Line2D([], [], linestyle="none", marker="s", color=color, label=shorten(label))
                for label, color in zip(classes, PALETTE, strict=False)
            ]
        ax.set_xlabel(self.axis_names[0])
        ax.set_ylabel(self.axis_names[1])
        legend_above(ax, handles, handletextpad=0.2)
        self.ax_, self.figure_ = ax, ax.figure
        return self

    def _classes(self, classes):
        if self.y_real is None:
            if classes is not None:
                raise ValueError("classes was given, but the points have no labels.")
            return [None]
        known = np.union1d(self.y_real, self.y_synthetic)
        if classes is None and len(known) > len(PALETTE):
            return [None]
        classes = pick(classes, known, "classes", default=known)
        if len(classes) > len(PALETTE):
            raise ValueError(
                f"classes holds {len(classes)} classes; at most {len(PALETTE)} have a colour."
            )
        return classes


def _extract(features, X, name):
    if features is not None:
        X = features.transform(X) if hasattr(features, "transform") else features(X)
    X = check_array(X, allow_nd=True, input_name=name)
    return X.reshape(len(X), -1)
