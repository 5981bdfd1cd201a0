"""The codebook, the tokens of a series, and what stage 1 makes of it."""

import math
import warnings
from collections.abc import Mapping, Sequence
from types import ModuleType
from typing import TYPE_CHECKING, Any, Self

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy.special import entr

from .._containers import DataFormat
from .._tokens import Band, TokenLayout
from ._common import (
    PALETTE,
    SYNTHETIC,
    Display,
    Model,
    SomeAxes,
    axes_inches,
    check_count,
    check_same_shape,
    few_ticks,
    fitted_transformer,
    legend_above,
    legend_below,
    pick_channels,
    pick_index,
    pick_indices,
    read_series,
    read_with,
    require_matplotlib,
    share_limits,
    use_axes,
)

if TYPE_CHECKING:
    from matplotlib.axes import Axes

# More bars than this have no room for the numbers of their codes.
_MOST_LABELLED_BARS = 40
_SHAPES_PER_ROW = 6


class CodebookDisplay(Display):
    """How often each code is used, and what it decodes to.

    The shape of a code is what the decoder puts where the code stands. That depends on the
    codes around it, and a grid of one code alone is nothing the decoder has met in training, so
    shapes are taken in context: series are tokenised and decoded, and the stretches of the
    decoded series at all places of the code are laid over each other, with one token's width
    before and after; time counts from the token's middle. A line shows their median, a band
    the central 80 %. With ``frequency_axis="keep"`` the codes of all rows of a column shape a
    stretch together. Of a tokenizer with several bands, each has its own bars, and shapes of what
    its tokens alone decode to, in its own colour. Use `from_estimator`.

    Parameters
    ----------
    usage : ndarray of shape (n_codes,)
        Relative frequency of each code.
    tokens : ndarray of int of shape (n, n_tokens)
        Tokens of the series that shapes are taken from.
    decoded : ndarray of shape (n, n_channels, length)
        What these tokens decode to.
    layout : TokenLayout
        How the tokens are laid out, as `layout_` of `NCVQVAETransformer`.
    decoded_bands : dict of str to ndarray of shape (n, n_channels, length) or None, default=None
        By the name of a band of the layout, what its tokens alone decode to. Shapes are taken
        from that where it is known.

    Attributes
    ----------
    axes_ : ndarray of Axes
        Band by band: the bars, then one panel for each shape.
    figure_ : Figure
        The figure of them.
    """

    axes_: NDArray[np.object_]

    def __init__(
        self,
        usage: NDArray[np.floating],
        tokens: NDArray[np.integer],
        decoded: NDArray[np.floating],
        layout: TokenLayout,
        decoded_bands: Mapping[str, NDArray[np.floating]] | None = None,
    ) -> None:
        self.usage = usage
        self.tokens = tokens
        self.decoded = decoded
        self.layout = layout
        self.decoded_bands = decoded_bands or {}

    @classmethod
    def from_estimator(cls, estimator: Model, X: ArrayLike, **options: Any) -> Self:
        """Plot the codebook of a fitted model.

        Parameters
        ----------
        estimator : NCVQVAETransformer or NCVQVAEGenerator
            A fitted estimator; bars show its `codebook_usage_`.
        X : array-like
            Series as in `fit`, for instance the training data; shapes are taken from them.
        **options
            Options of `plot`.

        Returns
        -------
        CodebookDisplay

        Raises
        ------
        sklearn.exceptions.NotFittedError
            Before `fit`.
        """
        transformer = fitted_transformer(estimator)
        tokens = transformer.encode(read_with(estimator, X))
        usage, layout = transformer.codebook_usage_, transformer.layout_
        decoded, grids = transformer.decode(tokens), transformer.module_.grids_of_bands
        by_grid = None
        if len(grids) > 1:
            bands = transformer.decode_bands(tokens)
            by_grid = {grid: bands[name] for name, names in grids.items() for grid in names}
        return cls(usage, tokens, decoded, layout, by_grid).plot(**options)

    def plot(
        self,
        *,
        axes: SomeAxes = None,
        codes: int | Sequence[int] = 12,
        channel: int = 0,
    ) -> Self:
        """Draw the bars, most used code first, and the shapes.

        Parameters
        ----------
        axes : array-like of Axes, optional
            For each band one for the bars, and one for each of its shapes. None makes a figure,
            in place of one that the display made before.
        codes : int or list of int, default=12
            How many of the most used codes of each band to show the shape of, 0 for bars only;
            or which codes.
        channel : int, default=0
            The channel whose shapes to show.

        Returns
        -------
        self

        Raises
        ------
        ValueError
            On another number of axes, or codes or a channel that do not exist.
        """
        plt = require_matplotlib(self)
        channel = pick_index(channel, self.decoded.shape[1], "channel")
        shown = self._codes_by_band(codes)
        own_figure = axes is None
        if own_figure:
            axes = _codebook_axes(plt, [len(one) for one in shown])
        panels = use_axes(axes, sum(1 + len(one) for one in shown))
        starts = np.cumsum([0, *(1 + len(one) for one in shown)])
        for i, (band, codes_of_band) in enumerate(zip(self.layout.bands, shown, strict=True)):
            bars, *shapes = panels[starts[i] : starts[i + 1]]
            color = PALETTE[i % len(PALETTE)]
            self._draw_usage(bars, band, codes_of_band, color)
            for ax, code in zip(shapes, codes_of_band, strict=True):
                self._draw_shape(ax, band, code, channel, color)
            share_limits(shapes)
            _label_outer(shapes)
        self.axes_ = panels
        self._keep_picture(panels[0], made=own_figure)
        return self

    def _codes_by_band(self, codes: Any) -> list[list[int]]:
        """Return the codes of each band to show the shape of."""
        if np.iterable(codes):
            chosen = pick_indices(codes, self.layout.n_codes, "codes")
            own = [range(self.layout.n_codes)[part] for part in self.layout.codes.values()]
            return [[code for code in chosen if code in some] for some in own]
        check_count(codes, "codes", least=0)
        most_used = [self._by_usage(band)[:codes].tolist() for band in self.layout.bands]
        return [[code for code in some if self.usage[code] > 0] for some in most_used]

    def _by_usage(self, band: Band) -> NDArray[np.integer]:
        """Return the codes of a band, most used first."""
        own = self.layout.codes[band.name]
        return own.start + np.argsort(-self.usage[own], kind="stable")

    def _draw_usage(self, ax: "Axes", band: Band, codes: list[int], color: str) -> None:
        order = self._by_usage(band)
        usage = self.usage[order] / (self.usage[order].sum() or 1)
        shown = np.isin(order, codes) | (not codes)
        width = axes_inches(ax)
        labelled = len(order) <= min(_MOST_LABELLED_BARS, 10 * width)
        ax.bar(
            np.arange(len(order)),
            usage,
            color=np.where(shown, color, "0.65"),
            width=0.8 if labelled else 1,
        )
        if labelled:
            ax.set_xticks(np.arange(len(order)), order, fontsize=6 if len(order) > 20 else "small")
            ax.set_xlabel("code", fontsize="small")
        else:
            ax.set_xlabel("rank of the code", fontsize="small")
        ax.margins(x=0.01)
        ax.set_ylabel("share of tokens", fontsize="small")
        ax.tick_params(axis="y", labelsize="small")
        used = f"{np.count_nonzero(usage)} of {len(order)} codes used,"
        title = (
            used if len(self.layout.bands) == 1 else f"{band.name}: {used}",
            f"perplexity {np.exp(entr(usage).sum()):.1f}",
        )
        ax.set_title((" " if width > 3 else "\n").join(title), fontsize="medium")

    def _draw_shape(self, ax: "Axes", band: Band, code: int, channel: int, color: str) -> None:
        width = self.decoded.shape[-1] / band.columns
        offsets, stretches = self._stretches(band, code, channel)
        ax.axvspan(-width / 2, width / 2, color="0.9", linewidth=0)
        if len(stretches):
            with warnings.catch_warnings():
                # A code that stands only at an end of series has nothing on one side.
                warnings.filterwarnings("ignore", "All-NaN", RuntimeWarning)
                low, median, high = np.nanquantile(stretches, [0.1, 0.5, 0.9], axis=0)
            ax.fill_between(offsets, low, high, color=color, alpha=0.3, linewidth=0)
            ax.plot(offsets, median, color=color, linewidth=1.6)
        else:
            ax.text(0.5, 0.5, "not in X", transform=ax.transAxes, ha="center", va="center")
        ax.set_xlim(offsets[0], offsets[-1])
        ax.set_title(f"code {code}", fontsize="small")
        few_ticks(ax, n_x=3)

    def _stretches(
        self, band: Band, code: int, channel: int
    ) -> tuple[NDArray[np.integer], NDArray[np.floating]]:
        """Cut the decoded series around each place of a code; NaN beyond their ends."""
        length = self.decoded.shape[-1]
        width = length / band.columns
        reach = math.ceil(1.5 * width)
        offsets = np.arange(-reach, reach + 1)
        grids = self.layout.grids(self.tokens)[band.name]
        series, column = np.nonzero((grids == code).any(axis=1))
        middle = np.round((column + 0.5) * width - 0.5).astype(int)
        time = middle[:, None] + offsets
        decoded = self.decoded_bands.get(band.name, self.decoded)
        values = decoded[series[:, None], channel, time.clip(0, length - 1)]
        return offsets, np.where((time >= 0) & (time < length), values, np.nan)


def _codebook_axes(plt: ModuleType, n_shapes: list[int]) -> "list[Axes]":
    """Make axes for the bars of each band and, below them, for so many shapes."""
    n_rows = [math.ceil(n / _SHAPES_PER_ROW) for n in n_shapes]
    height = sum(2.4 + 1.4 * n for n in n_rows)
    figure = plt.figure(figsize=(9, height), layout="constrained")
    ratios = [ratio for n in n_rows for ratio in [1.6, *(n * [1])]]
    grid = figure.add_gridspec(len(ratios), _SHAPES_PER_ROW, height_ratios=ratios)
    axes, top = [], 0
    for n, rows in zip(n_shapes, n_rows, strict=True):
        axes.append(figure.add_subplot(grid[top, :]))
        places = [divmod(i, _SHAPES_PER_ROW) for i in range(n)]
        axes += [figure.add_subplot(grid[top + 1 + row, column]) for row, column in places]
        top += 1 + rows
    return axes


def _label_outer(shapes: "Sequence[Axes]") -> None:
    """Leave out the numbers that panels share with those on their left and below them."""
    for i, ax in enumerate(shapes):
        ax.tick_params(labelleft=i % _SHAPES_PER_ROW == 0)
        if i + _SHAPES_PER_ROW >= len(shapes):
            ax.set_xlabel("time steps", fontsize="small")
        else:
            ax.tick_params(labelbottom=False)


class TokensDisplay(Display):
    """A series, and below it the codes of its tokens.

    Each cell of the strips spans the time that its token stands for, one strip for each row of
    the token grid, low frequencies at the bottom. Of a tokenizer with several bands, each has a
    panel of strips under its name. Codes that are alike have similar colours: the codes of a band
    are coloured in the order of their first principal component. The number of a code stands
    once over equal neighbours, and is left out where it finds no room. Use `from_estimator`.

    Parameters
    ----------
    series : ndarray of shape (n_channels, length)
        The series.
    tokens : ndarray of int of shape (n_tokens,)
        Its tokens.
    codebook : ndarray of shape (n_codes, code_dim)
        The codes.
    layout : TokenLayout
        How the tokens are laid out, as `layout_` of `NCVQVAETransformer`.

    Attributes
    ----------
    axes_ : ndarray of Axes of shape (n_channels + n_bands,)
        A panel for each channel, then one for the strips of each band.
    figure_ : Figure
        The figure of them.
    """

    axes_: NDArray[np.object_]

    def __init__(
        self,
        series: NDArray[np.floating],
        tokens: NDArray[np.integer],
        codebook: NDArray[np.floating],
        layout: TokenLayout,
    ) -> None:
        self.series = series
        self.tokens = tokens
        self.codebook = codebook
        self.layout = layout

    @classmethod
    def from_estimator(
        cls, estimator: Model, X: ArrayLike, *, index: int = 0, **options: Any
    ) -> Self:
        """Tokenise one series and plot it.

        Parameters
        ----------
        estimator : NCVQVAETransformer or NCVQVAEGenerator
            A fitted estimator.
        X : array-like
            Series as in `fit`.
        index : int, default=0
            Which of them.
        **options
            Options of `plot`.

        Returns
        -------
        TokensDisplay

        Raises
        ------
        sklearn.exceptions.NotFittedError
            Before `fit`.
        ValueError
            On an `index` that `X` lacks.
        """
        transformer = fitted_transformer(estimator)
        series = read_with(estimator, X)
        one = series[[pick_index(index, len(series), "index")]]
        (tokens,) = transformer.encode(one)
        return cls(one[0], tokens, transformer.codebook_, transformer.layout_).plot(**options)

    def plot(self, *, axes: SomeAxes = None, channels: int | Sequence[int] | None = None) -> Self:
        """Draw the series and the strips.

        Parameters
        ----------
        axes : array-like of Axes, optional
            One for each channel, and one for the strips of each band. None makes a figure, in
            place of one that the display made before.
        channels : list of int, optional
            Channels to show; None shows the first three.

        Returns
        -------
        self

        Raises
        ------
        ValueError
            On another number of axes, or channels that do not exist.
        """
        plt = require_matplotlib(self)
        channels = pick_channels(channels, len(self.series))
        bands = self.layout.bands
        own_figure = axes is None
        if own_figure:
            strips = [0.45 + 0.22 * (band.rows - 1) for band in bands]
            _, axes = plt.subplots(
                len(channels) + len(bands),
                figsize=(9, 1 + 1.8 * len(channels) + sum(strips)),
                height_ratios=len(channels) * [1.8] + strips,
                sharex=True,
                layout="constrained",
            )
        panels = use_axes(axes, len(channels) + len(bands))
        for ax, channel in zip(panels, channels, strict=False):
            self._draw_series(ax, channel)
        grids = self.layout.grids(self.tokens[None])
        for ax, band in zip(panels[len(channels) :], bands, strict=True):
            self._draw_strips(ax, band, grids[band.name][0])
        for ax in panels[:-1]:
            ax.tick_params(labelbottom=False)
        panels[-1].set_xlabel("time step")
        self.axes_ = panels
        self._keep_picture(panels[0], made=own_figure)
        return self

    def _edges(self, band: Band) -> NDArray[np.floating]:
        """Return the times at which the columns of a band's grid begin and end."""
        return np.linspace(-0.5, self.series.shape[1] - 0.5, band.columns + 1)

    def _draw_series(self, ax: "Axes", channel: int) -> None:
        # Of several bands the one with the widest tokens, whose limits mostly are the others' too.
        edges = self._edges(min(self.layout.bands, key=lambda band: band.columns))
        if _cell_width(ax, edges) > 5:
            for edge in edges[1:-1]:
                ax.axvline(edge, color="0.88", linewidth=0.6, zorder=0)
        ax.plot(self.series[channel], color="black", linewidth=1.3)
        ax.set_xlim(edges[0], edges[-1])
        ax.set_ylabel("series" if len(self.series) == 1 else f"channel {channel}")

    def _draw_strips(self, ax: "Axes", band: Band, grid: NDArray[np.integer]) -> None:
        first = self.layout.codes[band.name].start
        rank = _similarity_rank(self.codebook[self.layout.codes[band.name]])[grid - first]
        edges = self._edges(band)
        cell = _cell_width(ax, edges)
        mesh = ax.pcolormesh(
            edges,
            np.arange(band.rows + 1) - 0.5,
            rank,
            cmap="viridis",
            vmin=0,
            vmax=1,
            edgecolor="white",
            linewidth=min(0.6, cell / 12),
        )
        cmap, digits = mesh.get_cmap(), len(str(grid.max()))
        for row, (codes, shades) in enumerate(zip(grid, rank, strict=True)):
            starts = np.flatnonzero(np.diff(codes, prepend=-1))
            ends = np.append(starts[1:], band.columns)
            for start, end in zip(starts, ends, strict=True):
                size = min(8, (end - start) * cell / (0.7 * digits))
                if size < 4.5:
                    continue
                ax.text(
                    float(edges[start] + edges[end]) / 2,
                    row,
                    str(codes[start]),
                    fontsize=size,
                    ha="center",
                    va="center",
                    color="black" if shades[start] > 0.55 else "white",
                    bbox={"color": cmap(shades[start]), "pad": 0.3, "linewidth": 0},
                )
        ax.set_xlim(edges[0], edges[-1])
        several = len(self.layout.bands) > 1
        if band.rows == 1:
            ax.set_yticks([])
            label = band.name if several else "token"
            ax.set_ylabel(label, rotation=0, ha="right", va="center")
        else:
            ax.set_yticks(range(band.rows))
            ax.set_ylabel(band.name if several else "frequency", fontsize="small")
            ax.tick_params(axis="y", labelsize="small")


def _cell_width(ax: "Axes", edges: NDArray[np.floating]) -> float:
    """Return the width of a token in points."""
    return 72 * axes_inches(ax) / (len(edges) - 1)


def _similarity_rank(codebook: NDArray[np.floating]) -> NDArray[np.floating]:
    """Return for each code a number in [0, 1], close for codes that are alike."""
    centred = codebook - codebook.mean(axis=0)
    component = np.linalg.svd(centred, full_matrices=False)[0][:, 0]
    return component.argsort().argsort() / max(len(codebook) - 1, 1)


class ReconstructionDisplay(Display):
    """Series, and over them what the model decodes from their tokens.

    Use `from_estimator` or `from_data`.

    Parameters
    ----------
    X, X_reconstructed : ndarray of shape (n, n_channels, length)
        The series, and their reconstructions.
    indices : sequence of int
        What to call them.
    channel_names : sequence of str or None, default=None
        What to call the channels. None numbers them where there are several.

    Attributes
    ----------
    axes_ : ndarray of Axes of shape (n, n_channels)
        The panels.
    figure_ : Figure
        The figure of them.
    """

    axes_: NDArray[np.object_]

    def __init__(
        self,
        X: NDArray[np.floating],
        X_reconstructed: NDArray[np.floating],
        indices: Sequence[int],
        channel_names: Sequence[str] | None = None,
    ) -> None:
        self.X = X
        self.X_reconstructed = X_reconstructed
        self.indices = indices
        self.channel_names = channel_names

    @classmethod
    def from_estimator(
        cls,
        estimator: Model,
        X: ArrayLike,
        *,
        indices: int | Sequence[int] | None = None,
        by_band: bool = False,
        **options: Any,
    ) -> Self:
        """Reconstruct a few series and plot them.

        Parameters
        ----------
        estimator : NCVQVAETransformer or NCVQVAEGenerator
            A fitted estimator.
        X : array-like
            Series as in `fit`.
        indices : list of int, optional
            Which of them; None takes the first four.
        by_band : bool, default=False
            Show each channel's bands beside it, as further channels.
        **options
            Options of `plot`.

        Returns
        -------
        ReconstructionDisplay

        Raises
        ------
        sklearn.exceptions.NotFittedError
            Before `fit`.
        ValueError
            On indices that `X` lacks.
        """
        transformer = fitted_transformer(estimator)
        series = read_with(estimator, X)
        indices = _pick_few(indices, len(series))
        chosen = series[indices]
        tokens = transformer.encode(chosen)
        decoded = transformer.decode(tokens)
        if not by_band:
            return cls(chosen, decoded, indices).plot(**options)
        n_channels, bands = chosen.shape[1], transformer.split_bands(chosen)
        names = [
            name if n_channels == 1 else f"channel {channel}, {name}"
            for channel in range(n_channels)
            for name in ["series", *bands]
        ]
        chosen = _beside(chosen, list(bands.values()))
        decoded = _beside(decoded, list(transformer.decode_bands(tokens).values()))
        return cls(chosen, decoded, indices, names).plot(**options)

    @classmethod
    def from_data(
        cls,
        X: ArrayLike,
        X_reconstructed: ArrayLike,
        *,
        indices: int | Sequence[int] | None = None,
        data_format: DataFormat = "channels_first",
        **options: Any,
    ) -> Self:
        """Plot series and given reconstructions of them.

        Parameters
        ----------
        X, X_reconstructed : array-like of shape (n, length) or (n, n_channels, length)
            The series and their reconstructions, in the same order.
        indices : list of int, optional
            Which of them; None takes the first four.
        data_format : {"channels_first", "channels_last"}, default="channels_first"
            Layout of 3-D data, as in `NCVQVAETransformer`.
        **options
            Options of `plot`.

        Returns
        -------
        ReconstructionDisplay

        Raises
        ------
        ValueError
            On data of two shapes, NaN or infinities, or indices that `X` lacks.
        """
        series = read_series(X, "X", data_format)
        decoded = read_series(X_reconstructed, "X_reconstructed", data_format)
        check_same_shape(series, decoded, "X", "X_reconstructed")
        if len(series) != len(decoded):
            raise ValueError(f"X holds {len(series)} series, but X_reconstructed {len(decoded)}.")
        indices = _pick_few(indices, len(series))
        return cls(series[indices], decoded[indices], indices).plot(**options)

    def plot(self, *, axes: SomeAxes = None, channels: int | Sequence[int] | None = None) -> Self:
        """Draw a panel for each series and channel.

        Parameters
        ----------
        axes : array-like of Axes, optional
            One for each series and channel, series first. None makes a figure, in place of one
            that the display made before.
        channels : list of int, optional
            Channels to show; None shows the first three.

        Returns
        -------
        self

        Raises
        ------
        ValueError
            On another number of axes, or channels that do not exist.
        """
        plt = require_matplotlib(self)
        channels = pick_channels(channels, self.X.shape[1])
        shape = (len(self.X), len(channels))
        own_figure = axes is None
        if own_figure:
            _, axes = plt.subplots(
                *shape,
                figsize=(3 + 3.5 * shape[1], 1 + 1.5 * shape[0]),
                sharex=True,
                squeeze=False,
                layout="constrained",
            )
        panels = use_axes(axes, math.prod(shape)).reshape(shape)
        for row, index, series, decoded in zip(
            panels, self.indices, self.X, self.X_reconstructed, strict=True
        ):
            row[0].set_ylabel(f"series {index}")
            for ax, channel in zip(row, channels, strict=True):
                error = np.sqrt(np.mean(np.square(series[channel] - decoded[channel])))
                (line,) = ax.plot(series[channel], color="0.6", linewidth=2.4, label="series")
                (overlay,) = ax.plot(
                    decoded[channel], color=SYNTHETIC, linewidth=1.1, label="reconstruction"
                )
                title = f"RMSE {error:.3g}"
                if self.channel_names is not None:
                    title = f"{self.channel_names[channel]}, {title}"
                elif self.X.shape[1] > 1:
                    title = f"channel {channel}, {title}"
                ax.set_title(title, loc="right", fontsize="small")
                ax.margins(x=0)
                few_ticks(ax)
        for ax in panels[-1]:
            ax.set_xlabel("time step")
        self.axes_ = panels
        self._keep_picture(panels[0, 0], made=own_figure)
        if own_figure:
            legend_below(self.figure_, [line, overlay])
        else:
            legend_above(panels[0, 0], [line, overlay])
        return self


def _beside(
    series: NDArray[np.floating], bands: list[NDArray[np.floating]]
) -> NDArray[np.floating]:
    """Return series in which each channel is followed by its bands."""
    stacked = np.stack([series, *bands], axis=2)
    return stacked.reshape(len(series), -1, series.shape[-1])


def _pick_few(indices: Any, n: int) -> list[int]:
    """Return indices of the series to show: those chosen, or the first four."""
    return pick_indices(indices, n, "indices", default=range(min(4, n)))
