"""The codebook, the tokens of a series, and what stage 1 makes of it."""

import math
import warnings

import numpy as np
from scipy.special import entr
from sklearn.utils import _safe_indexing
from sklearn.utils.validation import _num_samples

from ._common import (
    REAL,
    SYNTHETIC,
    axes_inches,
    check_same_shape,
    check_series,
    few_ticks,
    fitted_transformer,
    input_series,
    legend_above,
    legend_below,
    output_series,
    pick,
    pick_channels,
    require_matplotlib,
    share_limits,
    use_axes,
)

# More bars than this have no room for the numbers of their codes.
_MOST_LABELLED_BARS = 40
_SHAPES_PER_ROW = 6


class CodebookDisplay:
    """How often each code is used, and what it decodes to.

    The shape of a code is what the decoder puts where the code stands. That depends on the
    codes around it, and a grid of one code alone is nothing the decoder has met in training, so
    shapes are taken in context: series are tokenised and decoded, and the stretches of the
    decoded series at all places of the code are laid over each other, with one token's width
    before and after; time counts from the token's middle. A line shows their median, a band
    the central 80 %. With ``frequency_axis="keep"`` the codes of all rows of a column shape a
    stretch together. Use `from_estimator`.

    Parameters
    ----------
    usage : ndarray of shape (n_codes,)
        Relative frequency of each code.
    tokens : ndarray of int of shape (n, n_rows, n_columns)
        Token grids of the series that shapes are taken from.
    decoded : ndarray of shape (n, n_channels, length)
        What these grids decode to.

    Attributes
    ----------
    axes_ : ndarray of Axes
        The bars, then one panel for each shape.
    figure_ : Figure
        The figure of them.
    """

    def __init__(self, usage, tokens, decoded):
        self.usage = usage
        self.tokens = tokens
        self.decoded = decoded

    @classmethod
    def from_estimator(cls, estimator, X, **options):
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
        tokens = transformer.tokenize(X)
        decoded = output_series(transformer, transformer.inverse_transform(tokens))
        grids = tokens.reshape(-1, *transformer.token_grid_shape_)
        return cls(transformer.codebook_usage_, grids, decoded).plot(**options)

    def plot(self, *, axes=None, codes=12, channel=0):
        """Draw the bars, most used code first, and the shapes.

        Parameters
        ----------
        axes : array-like of Axes, optional
            One for the bars, and one for each shape. None makes a figure.
        codes : int or list of int, default=12
            How many of the most used codes to show the shape of, 0 for bars only; or which.
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
        pick_channels([channel], self.decoded, most=1)
        order = np.argsort(-self.usage, kind="stable")
        if np.ndim(codes) == 0:
            if codes < 0:
                raise ValueError(f"codes={codes} must be a list of codes, or 0 or more of them.")
            codes = [code for code in order[:codes].tolist() if self.usage[code] > 0]
        else:
            codes = pick(codes, range(len(self.usage)), "codes", default=())
        axes = _codebook_axes(plt, len(codes)) if axes is None else use_axes(axes, 1 + len(codes))
        self._draw_usage(axes[0], order, codes)
        for ax, code in zip(axes[1:], codes, strict=True):
            self._draw_shape(ax, code, channel)
        share_limits(axes[1:])
        for i, ax in enumerate(axes[1:]):
            ax.tick_params(labelleft=i % _SHAPES_PER_ROW == 0)
            if i + _SHAPES_PER_ROW >= len(codes):
                ax.set_xlabel("time steps", fontsize="small")
            else:
                ax.tick_params(labelbottom=False)
        self.axes_, self.figure_ = axes, axes[0].figure
        return self

    def _draw_usage(self, ax, order, codes):
        shown = np.isin(order, codes) | (not codes)
        width = axes_inches(ax)
        labelled = len(order) <= min(_MOST_LABELLED_BARS, 10 * width)
        ax.bar(
            np.arange(len(order)),
            self.usage[order],
            color=np.where(shown, REAL, "0.65"),
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
        title = (
            f"{np.count_nonzero(self.usage)} of {len(order)} codes used,",
            f"perplexity {np.exp(entr(self.usage).sum()):.1f}",
        )
        ax.set_title((" " if width > 3 else "\n").join(title), fontsize="medium")

    def _draw_shape(self, ax, code, channel):
        width = self.decoded.shape[-1] / self.tokens.shape[-1]
        offsets, stretches = self._stretches(code, channel, width)
        ax.axvspan(-width / 2, width / 2, color="0.9", linewidth=0)
        if len(stretches):
            with warnings.catch_warnings():
                # A code that stands only at an end of series has nothing on one side.
                warnings.filterwarnings("ignore", "All-NaN", RuntimeWarning)
                low, median, high = np.nanquantile(stretches, [0.1, 0.5, 0.9], axis=0)
            ax.fill_between(offsets, low, high, color=REAL, alpha=0.3, linewidth=0)
            ax.plot(offsets, median, color=REAL, linewidth=1.6)
        else:
            ax.text(0.5, 0.5, "not in X", transform=ax.transAxes, ha="center", va="center")
        ax.set_xlim(offsets[0], offsets[-1])
        ax.set_title(f"code {code}", fontsize="small")
        few_ticks(ax, n_x=3)

    def _stretches(self, code, channel, width):
        """Cut the decoded series around each place of a code; NaN beyond their ends."""
        reach = math.ceil(1.5 * width)
        offsets = np.arange(-reach, reach + 1)
        series, column = np.nonzero((self.tokens == code).any(axis=1))
        middle = np.round((column + 0.5) * width - 0.5).astype(int)
        time = middle[:, None] + offsets
        length = self.decoded.shape[-1]
        values = self.decoded[series[:, None], channel, time.clip(0, length - 1)]
        return offsets, np.where((time >= 0) & (time < length), values, np.nan)


def _codebook_axes(plt, n_shapes):
    n_rows = math.ceil(n_shapes / _SHAPES_PER_ROW)
    figure = plt.figure(figsize=(9, 2.4 + 1.4 * n_rows), layout="constrained")
    ratios = [1.6] + n_rows * [1]
    grid = figure.add_gridspec(1 + n_rows, _SHAPES_PER_ROW, height_ratios=ratios)
    places = [divmod(i, _SHAPES_PER_ROW) for i in range(n_shapes)]
    axes = [figure.add_subplot(grid[0, :])]
    axes += [figure.add_subplot(grid[1 + row, column]) for row, column in places]
    return np.array(axes)


class TokensDisplay:
    """A series, and below it the codes of its tokens.

    Each cell of the strips spans the time that its token stands for, one strip for each row of
    the token grid, low frequencies at the bottom. Codes that are alike have similar colours:
    codes are coloured in the order of their first principal component. The number of a code
    stands once over equal neighbours, and is left out where it finds no room. Use
    `from_estimator`.

    Parameters
    ----------
    series : ndarray of shape (n_channels, length)
        The series.
    tokens : ndarray of int of shape (n_rows, n_columns)
        Its token grid.
    codebook : ndarray of shape (n_codes, code_dim)
        The codes.

    Attributes
    ----------
    axes_ : ndarray of Axes of shape (n_channels + 1,)
        A panel for each channel, then the strips.
    figure_ : Figure
        The figure of them.
    """

    def __init__(self, series, tokens, codebook):
        self.series = series
        self.tokens = tokens
        self.codebook = codebook

    @classmethod
    def from_estimator(cls, estimator, X, *, index=0, **options):
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
        X = _safe_indexing(X, pick(index, range(_num_samples(X)), "index", default=()))
        tokens = transformer.tokenize(X).reshape(transformer.token_grid_shape_)
        return cls(input_series(transformer, X)[0], tokens, transformer.codebook_).plot(**options)

    def plot(self, *, axes=None, channels=None):
        """Draw the series and the strips.

        Parameters
        ----------
        axes : array-like of Axes, optional
            One for each channel, and one for the strips. None makes a figure.
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
        channels = pick_channels(channels, self.series[None], most=3)
        n_rows, n_columns = self.tokens.shape
        if axes is None:
            strips = 0.45 + 0.22 * (n_rows - 1)
            _, axes = plt.subplots(
                len(channels) + 1,
                figsize=(9, 1 + 1.8 * len(channels) + strips),
                height_ratios=len(channels) * [1.8] + [strips],
                sharex=True,
                layout="constrained",
            )
        axes = use_axes(axes, len(channels) + 1)
        length = self.series.shape[1]
        edges = np.linspace(-0.5, length - 0.5, n_columns + 1)
        cell = 72 * axes_inches(axes[-1]) / n_columns  # width in points
        for ax, channel in zip(axes, channels, strict=False):
            for edge in edges[1:-1] if cell > 5 else ():
                ax.axvline(edge, color="0.88", linewidth=0.6, zorder=0)
            ax.plot(np.arange(length), self.series[channel], color="black", linewidth=1.3)
            ax.set_xlim(edges[0], edges[-1])
            ax.tick_params(labelbottom=False)
            ax.set_ylabel("series" if len(self.series) == 1 else f"channel {channel}")
        self._draw_strips(axes[-1], edges, cell)
        self.axes_, self.figure_ = axes, axes[0].figure
        return self

    def _draw_strips(self, ax, edges, cell):
        rank = _similarity_rank(self.codebook)
        n_rows, n_columns = self.tokens.shape
        mesh = ax.pcolormesh(
            edges,
            np.arange(n_rows + 1) - 0.5,
            rank[self.tokens],
            cmap="viridis",
            vmin=0,
            vmax=1,
            edgecolor="white",
            linewidth=min(0.6, cell / 12),
        )
        cmap, digits = mesh.get_cmap(), len(str(self.tokens.max()))
        for row, codes in enumerate(self.tokens):
            starts = np.flatnonzero(np.diff(codes, prepend=-1))
            ends = np.append(starts[1:], n_columns)
            for start, end in zip(starts, ends, strict=True):
                size = min(8, (end - start) * cell / (0.7 * digits))
                if size < 4.5:
                    continue
                ax.text(
                    (edges[start] + edges[end]) / 2,
                    row,
                    str(codes[start]),
                    fontsize=size,
                    ha="center",
                    va="center",
                    color="black" if rank[codes[start]] > 0.55 else "white",
                    bbox={"color": cmap(rank[codes[start]]), "pad": 0.3, "linewidth": 0},
                )
        ax.set_xlim(edges[0], edges[-1])
        if n_rows == 1:
            ax.set_yticks([])
            ax.set_ylabel("token", rotation=0, ha="right", va="center")
        else:
            ax.set_yticks(range(n_rows))
            ax.set_ylabel("frequency", fontsize="small")
            ax.tick_params(axis="y", labelsize="small")
        ax.set_xlabel("time step")


def _similarity_rank(codebook):
    """Return for each code a number in [0, 1], close for codes that are alike."""
    centred = codebook - codebook.mean(axis=0)
    component = np.linalg.svd(centred, full_matrices=False)[0][:, 0]
    return component.argsort().argsort() / (len(codebook) - 1)


class ReconstructionDisplay:
    """Series, and over them what the model decodes from their tokens.

    Use `from_estimator` or `from_data`.

    Parameters
    ----------
    X, X_reconstructed : ndarray of shape (n, n_channels, length)
        The series, and their reconstructions.
    indices : sequence of int
        What to call them.

    Attributes
    ----------
    axes_ : ndarray of Axes of shape (n, n_channels)
        The panels.
    figure_ : Figure
        The figure of them.
    """

    def __init__(self, X, X_reconstructed, indices):
        self.X = X
        self.X_reconstructed = X_reconstructed
        self.indices = indices

    @classmethod
    def from_estimator(cls, estimator, X, *, indices=None, **options):
        """Reconstruct a few series and plot them.

        Parameters
        ----------
        estimator : NCVQVAETransformer or NCVQVAEGenerator
            A fitted estimator.
        X : array-like
            Series as in `fit`.
        indices : list of int, optional
            Which of them; None takes the first four.
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
        indices = _pick_indices(indices, _num_samples(X))
        X = _safe_indexing(X, indices)
        decoded = transformer.inverse_transform(transformer.tokenize(X))
        series, decoded = input_series(transformer, X), output_series(transformer, decoded)
        return cls(series, decoded, indices).plot(**options)

    @classmethod
    def from_data(
        cls, X, X_reconstructed, *, indices=None, data_format="channels_first", **options
    ):
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
        X = check_series(X, "X", data_format)
        X_reconstructed = check_series(X_reconstructed, "X_reconstructed", data_format)
        check_same_shape(X, X_reconstructed, "X", "X_reconstructed")
        if len(X) != len(X_reconstructed):
            raise ValueError(
                f"X holds {len(X)} series, but X_reconstructed {len(X_reconstructed)}."
            )
        indices = _pick_indices(indices, len(X))
        return cls(X[indices], X_reconstructed[indices], indices).plot(**options)

    def plot(self, *, axes=None, channels=None):
        """Draw a panel for each series and channel.

        Parameters
        ----------
        axes : array-like of Axes, optional
            One for each series and channel, series first. None makes a figure.
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
        channels = pick_channels(channels, self.X, most=3)
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
        axes = use_axes(axes, math.prod(shape)).reshape(shape)
        for row, index, series, decoded in zip(
            axes, self.indices, self.X, self.X_reconstructed, strict=True
        ):
            row[0].set_ylabel(f"series {index}")
            for ax, channel in zip(row, channels, strict=True):
                error = np.sqrt(np.mean(np.square(series[channel] - decoded[channel])))
                (line,) = ax.plot(series[channel], color="0.6", linewidth=2.4, label="series")
                (overlay,) = ax.plot(
                    decoded[channel], color=SYNTHETIC, linewidth=1.1, label="reconstruction"
                )
                title = f"RMSE {error:.3g}"
                if self.X.shape[1] > 1:
                    title = f"channel {channel}, {title}"
                ax.set_title(title, loc="right", fontsize="small")
                ax.margins(x=0)
                few_ticks(ax)
        for ax in axes[-1]:
            ax.set_xlabel("time step")
        self.axes_, self.figure_ = axes, axes[0, 0].figure
        if own_figure:
            legend_below(self.figure_, [line, overlay])
        else:
            legend_above(axes[0, 0], [line, overlay])
        return self


def _pick_indices(indices, n):
    return pick(indices, range(n), "indices", default=range(min(4, n)))
