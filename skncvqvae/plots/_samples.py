"""Real beside synthetic series, as curves and as points."""

import copy
import math
import warnings
from collections.abc import Callable, Sequence
from types import ModuleType
from typing import TYPE_CHECKING, Any, Protocol, Self, TypeAlias

import numpy as np
from numpy.typing import ArrayLike, NDArray
from sklearn.decomposition import PCA
from sklearn.manifold import TSNE
from sklearn.utils.validation import _num_samples

from .._base import read_random_state
from .._containers import DataFormat, read_array
from .._generator import NCVQVAEGenerator
from .._labels import fit_classes
from ._common import (
    PALETTE,
    REAL,
    SYNTHETIC,
    Display,
    SomeAxes,
    check_count,
    check_same_shape,
    check_shares,
    few_ticks,
    fitted_generator,
    legend_above,
    legend_below,
    pick,
    pick_channels,
    read_series,
    require_matplotlib,
    share_limits,
    shorten,
    use_axes,
)

if TYPE_CHECKING:
    from matplotlib.artist import Artist
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

# More classes than this stand side by side.
_MOST_ROWS = 7


class HasTransform(Protocol):
    """A fitted object that makes features of series."""

    def transform(self, X: Any, /) -> Any: ...


Features: TypeAlias = Callable[[Any], Any] | HasTransform | None


class SamplesDisplay(Display):
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

    axes_: NDArray[np.object_]

    def __init__(
        self,
        X_real: NDArray[np.floating],
        X_synthetic: NDArray[np.floating],
        y_real: NDArray[Any] | None = None,
        y_synthetic: NDArray[Any] | None = None,
    ) -> None:
        self.X_real = X_real
        self.X_synthetic = X_synthetic
        self.y_real = y_real
        self.y_synthetic = y_synthetic

    @classmethod
    def from_estimator(
        cls,
        generator: NCVQVAEGenerator,
        X: ArrayLike,
        y: ArrayLike | None = None,
        *,
        n_samples: int = 100,
        classes: Any = None,
        random_state: int | np.random.RandomState | None = None,
        **options: Any,
    ) -> Self:
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
            On data or classes that the generator does not know, or a wrong `n_samples`.
        """
        check_count(n_samples, "n_samples", least=1)
        model = fitted_generator(generator)
        series = model.read(X)
        labels = _read_labels(y, len(series), "y")
        wanted = None
        if labels is not None:
            wanted = np.repeat(pick(classes, np.unique(labels), "classes"), n_samples)
        X_new, y_new = model.sample(
            n_samples if wanted is None else len(wanted), wanted, random_state=random_state
        )
        if labels is None:
            y_new = None
        display = cls(series, model.read(X_new), labels, y_new)
        return display.plot(classes=classes, random_state=random_state, **options)

    @classmethod
    def from_data(
        cls,
        X_real: ArrayLike,
        X_synthetic: ArrayLike,
        y_real: ArrayLike | None = None,
        y_synthetic: ArrayLike | None = None,
        *,
        data_format: DataFormat = "channels_first",
        **options: Any,
    ) -> Self:
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
        real = read_series(X_real, "X_real", data_format)
        synthetic = read_series(X_synthetic, "X_synthetic", data_format)
        check_same_shape(real, synthetic, "X_real", "X_synthetic")
        return cls(real, synthetic, *_read_both_labels(real, synthetic, y_real, y_synthetic)).plot(
            **options
        )

    def plot(
        self,
        *,
        axes: SomeAxes = None,
        classes: Any = None,
        channels: int | Sequence[int] | None = None,
        bands: float | Sequence[float] = (0.5, 0.9),
        n_series: int = 3,
        random_state: int | np.random.RandomState | None = None,
    ) -> Self:
        """Draw the panels.

        Parameters
        ----------
        axes : array-like of Axes, optional
            Two for each class and channel, classes first. None makes a figure, in place of one
            that the display made before.
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
        shares = check_shares(bands, "bands")
        check_count(n_series, "n_series", least=0)
        classes = _pick_classes(classes, self.y_real, self.y_synthetic)
        channels = pick_channels(channels, self.X_real.shape[1])
        n_cells, per_row = len(classes) * len(channels), len(channels)
        own_figure = axes is None
        if own_figure:
            if len(channels) == 1:  # leaves room for several classes in a row
                per_row = math.ceil(len(classes) / _MOST_ROWS)
            axes = _paired_axes(plt, n_cells, per_row)
        wrapped = per_row > len(channels)
        pairs = use_axes(axes, 2 * n_cells).reshape(-1, 2)
        rng = read_random_state(random_state)
        cells = [(label, channel) for label in classes for channel in channels]
        for i, ((label, channel), pair) in enumerate(zip(cells, pairs, strict=True)):
            for ax, name, color, X, y in (
                (pair[0], "real", REAL, self.X_real, self.y_real),
                (pair[1], "synthetic", SYNTHETIC, self.X_synthetic, self.y_synthetic),
            ):
                series = (X if y is None else X[y == label])[:, channel]
                _draw_distribution(ax, series, shares, n_series, color, rng)
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
        self.axes_ = pairs.reshape(len(classes), len(channels), 2)
        self._keep_picture(pairs[0, 0], made=own_figure)
        if own_figure:
            _explain_distribution(self.figure_, shares, n_series, wrapped)
        return self


def _paired_axes(plt: ModuleType, n_cells: int, per_row: int) -> "list[Axes]":
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
    return list(axes.flat[: 2 * n_cells])


def _draw_distribution(
    ax: "Axes",
    series: NDArray[np.floating],
    shares: list[float],
    n_series: int,
    color: str,
    rng: np.random.RandomState,
) -> None:
    if len(series) == 0:
        ax.text(0.5, 0.5, "no series", transform=ax.transAxes, ha="center", va="center")
        return
    time = np.arange(series.shape[1])
    for share in sorted(shares, reverse=True):
        low, high = np.quantile(series, [0.5 - share / 2, 0.5 + share / 2], axis=0)
        ax.fill_between(time, low, high, color=color, alpha=0.22, linewidth=0)
    for one in series[rng.permutation(len(series))[:n_series]]:
        ax.plot(time, one, color="0.25", linewidth=0.5, label="_single")
    ax.plot(time, np.median(series, axis=0), color=color, linewidth=1.8, label="_median")
    ax.margins(x=0)


def _explain_distribution(
    figure: "Figure", shares: list[float], n_series: int, wrapped: bool
) -> None:
    from matplotlib.lines import Line2D
    from matplotlib.patches import Patch

    handles: list[Artist] = [Line2D([], [], color="0.4", linewidth=1.8, label="median")]
    handles += [
        Patch(color="0.4", alpha=0.5 / (i + 1), linewidth=0, label=f"{share:.0%} of series")
        for i, share in enumerate(sorted(shares))
    ]
    if n_series:
        handles.append(Line2D([], [], color="0.25", linewidth=0.5, label="single series"))
    if wrapped:  # the titles of the panels are classes
        sides = [("real", REAL), ("synthetic", SYNTHETIC)]
        handles = [*(Patch(color=color, label=name) for name, color in sides), *handles]
    legend_below(figure, handles)


def _read_labels(y: ArrayLike | None, n: int, name: str) -> NDArray[Any] | None:
    try:
        classes, labels = fit_classes(y, n)
    except (TypeError, ValueError) as error:
        raise ValueError(f"{name} must hold a class label for each series: {error}") from error
    return classes.decode(labels)


def _read_both_labels(
    X_real: ArrayLike,
    X_synthetic: ArrayLike,
    y_real: ArrayLike | None,
    y_synthetic: ArrayLike | None,
) -> tuple[NDArray[Any] | None, NDArray[Any] | None]:
    if (y_real is None) != (y_synthetic is None):
        raise ValueError("Pass both y_real and y_synthetic, or none of them.")
    real = _read_labels(y_real, _num_samples(X_real), "y_real")
    synthetic = _read_labels(y_synthetic, _num_samples(X_synthetic), "y_synthetic")
    if real is None or synthetic is None:
        return None, None
    if not (len(real) and len(synthetic)):
        raise ValueError("y_real and y_synthetic must hold a label for each series, one at least.")
    one, other = real.tolist()[0], synthetic.tolist()[0]
    are_dates = [labels.dtype.kind == "M" for labels in (real, synthetic)]
    if isinstance(one, str) != isinstance(other, str) or are_dates[0] != are_dates[1]:
        # numpy would make strings of the numbers, and no series would be of these classes.
        raise ValueError(
            f"y_real holds labels such as {one!r}, but y_synthetic such as {other!r}. Pass labels "
            "of one type."
        )
    return real, synthetic


def _pick_classes(
    classes: Any, y_real: NDArray[Any] | None, y_synthetic: NDArray[Any] | None
) -> list[Any]:
    """Return the classes to show; without labels a single None."""
    if y_real is None or y_synthetic is None:
        if classes is not None:
            raise ValueError("classes was given, but there are no labels. Pass classes=None.")
        return [None]
    return pick(classes, np.union1d(y_real, y_synthetic), "classes")


class ProjectionDisplay(Display):
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

    ax_: "Axes"

    def __init__(
        self,
        points_real: NDArray[np.floating],
        points_synthetic: NDArray[np.floating],
        y_real: NDArray[Any] | None = None,
        y_synthetic: NDArray[Any] | None = None,
        *,
        axis_names: tuple[str, str] = ("component 1", "component 2"),
    ) -> None:
        self.points_real = points_real
        self.points_synthetic = points_synthetic
        self.y_real = y_real
        self.y_synthetic = y_synthetic
        self.axis_names = axis_names

    @classmethod
    def from_estimator(
        cls,
        generator: NCVQVAEGenerator,
        X: ArrayLike,
        y: ArrayLike | None = None,
        *,
        n_samples: int = 500,
        features: Features = None,
        method: Any = "pca",
        random_state: int | np.random.RandomState | None = None,
        **options: Any,
    ) -> Self:
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
            On data or classes that the generator does not know, or a wrong `n_samples`.
        """
        check_count(n_samples, "n_samples", least=1)
        model = fitted_generator(generator)
        series = model.read(X)
        labels = _read_labels(y, len(series), "y")
        chosen = read_random_state(random_state).permutation(len(series))[:n_samples]
        labels = None if labels is None else labels[chosen]
        X_new, y_new = model.sample(len(chosen), labels, random_state=random_state)
        with warnings.catch_warnings():
            # The series are in order, but arrays; a data frame's names are gone.
            warnings.filterwarnings("ignore", "X does not have valid feature names", UserWarning)
            return cls.from_data(
                model.write(series[chosen]),
                X_new,
                labels,
                None if labels is None else y_new,
                features=features,
                method=method,
                random_state=random_state,
                **options,
            )

    @classmethod
    def from_data(
        cls,
        X_real: ArrayLike,
        X_synthetic: ArrayLike,
        y_real: ArrayLike | None = None,
        y_synthetic: ArrayLike | None = None,
        *,
        features: Features = None,
        method: Any = "pca",
        random_state: int | np.random.RandomState | None = None,
        **options: Any,
    ) -> Self:
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
            On an unknown `method`, features of two widths or that are all equal, series of two
            shapes, NaN or infinities, or classes of one side only.
        """
        labels = _read_both_labels(X_real, X_synthetic, y_real, y_synthetic)
        real = _extract(features, X_real, "X_real")
        synthetic = _extract(features, X_synthetic, "X_synthetic")
        if features is None:
            check_same_shape(real, synthetic, "X_real", "X_synthetic")
        real, synthetic = real.reshape(len(real), -1), synthetic.reshape(len(synthetic), -1)
        if real.shape[1] != synthetic.shape[1]:
            raise ValueError(
                f"X_real gives {real.shape[1]} features, but X_synthetic {synthetic.shape[1]}."
            )
        read_random_state(random_state)  # scikit-learn would name its own estimator
        points, names = _project(np.concatenate([real, synthetic]), method, random_state)
        n = len(real)
        return cls(points[:n], points[n:], *labels, axis_names=names).plot(**options)

    def plot(self, *, ax: "Axes | None" = None, classes: Any = None) -> Self:
        """Draw the points: circles for real, crosses for synthetic series.

        Parameters
        ----------
        ax : Axes, optional
            Where to draw. None makes a figure, in place of one that the display made before.
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

        classes = self._coloured_classes(classes)
        own_figure = ax is None
        if own_figure:
            _, ax = plt.subplots(layout="constrained")
        (panel,) = use_axes(ax, 1, "ax")
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
                panel.scatter(
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
        panel.set_xlabel(self.axis_names[0])
        panel.set_ylabel(self.axis_names[1])
        legend_above(panel, handles, handletextpad=0.2)
        self.ax_ = panel
        self._keep_picture(panel, made=own_figure)
        return self

    def _coloured_classes(self, classes: Any) -> list[Any]:
        shown = _pick_classes(classes, self.y_real, self.y_synthetic)
        if len(shown) <= len(PALETTE):
            return shown
        if classes is None:
            return [None]
        raise ValueError(
            f"classes holds {len(shown)} classes; at most {len(PALETTE)} have a colour."
        )


def _extract(features: Features, X: ArrayLike, name: str) -> NDArray[np.floating]:
    """Return the series themselves, or what `features` makes of them."""
    if features is None:
        return read_array(X, name)
    function = getattr(features, "transform", features)
    if isinstance(features, type) or not callable(function):
        raise TypeError(
            f"features={features!r} must be None, a function of series, or a fitted object with "
            "transform."
        )
    # What it writes into its argument must not reach the caller's series.
    is_copied = isinstance(X, (np.ndarray, list, tuple)) or hasattr(X, "columns")
    made: Any = function(copy.deepcopy(X) if is_copied else X)
    extracted = read_array(made, f"features of {name}")
    if len(extracted) != _num_samples(X):
        raise ValueError(
            f"features returned {len(extracted)} rows for the {_num_samples(X)} series of {name}. "
            "It must return one for each."
        )
    return extracted


def _project(
    features: NDArray[np.floating],
    method: Any,
    random_state: int | np.random.RandomState | None,
) -> tuple[NDArray[np.floating], tuple[str, str]]:
    """Return a point ``(n, 2)`` for each row, and the names of the axes."""
    # scikit-learn refuses a perplexity that reaches the number of points.
    perplexity = min(30, (len(features) - 1) / 3)
    named = {
        "pca": PCA(2, random_state=random_state),
        "tsne": TSNE(2, perplexity=perplexity, random_state=random_state),
    }
    if isinstance(method, str):
        if method in named and features.shape[1] < 2:
            raise ValueError(f"method={method!r} needs 2 features or more, but there is 1.")
        method = named.get(method, method)
    if not hasattr(method, "fit_transform") or isinstance(method, type):
        raise ValueError(
            f"method={method!r} must be 'pca', 'tsne' or an object with fit_transform."
        )
    unit, scale = _centre(features)
    if method is named["pca"]:
        points = method.fit_transform(unit) * scale
    else:
        points = np.asarray(method.fit_transform(unit if isinstance(method, TSNE) else features))
    if points.shape != (len(features), 2):
        raise ValueError(
            f"method returned points of shape {points.shape}, not ({len(features)}, 2)."
        )
    if not np.isfinite(points).all():
        raise ValueError("method returned points that are not finite. Rescale the features.")
    if isinstance(method, PCA):
        first, second = method.explained_variance_ratio_
        return points, (f"PC 1 ({first:.0%} of variance)", f"PC 2 ({second:.0%} of variance)")
    if isinstance(method, TSNE):
        return points, ("t-SNE 1", "t-SNE 2")
    return points, ("component 1", "component 2")


def _centre(features: NDArray[np.floating]) -> tuple[NDArray[np.float64], float]:
    """Return features less their means, at most 1 in size, and the factor taken out of them.

    scikit-learn's t-SNE takes the interpreter down with it where squares of the features
    overflow or vanish, and where all features are equal.
    """
    largest = float(np.abs(features).max()) or 1.0
    unit = features.astype(np.float64) / largest
    unit -= unit.mean(axis=0)
    size = float(np.abs(unit).max())
    if size <= 4 * np.finfo(features.dtype).eps:
        raise ValueError(
            "All series of X_real and X_synthetic, or all their features, are equal. Pass series "
            "that differ."
        )
    return unit / size, size * largest
