"""What the displays share: input checks, axes, colours."""

import math
from collections.abc import Iterable, Sequence
from numbers import Integral
from types import ModuleType
from typing import TYPE_CHECKING, Any, TypeAlias, cast

import numpy as np
from numpy.typing import ArrayLike, NDArray
from sklearn.frozen import FrozenEstimator
from sklearn.utils.validation import check_is_fitted

from .._containers import DataFormat, read_array
from .._generator import NCVQVAEGenerator
from .._transformer import NCVQVAETransformer

if TYPE_CHECKING:
    from matplotlib.artist import Artist
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure
    from matplotlib.legend import Legend

# Either may be inside a FrozenEstimator, of which type checkers know nothing.
Model: TypeAlias = NCVQVAETransformer | NCVQVAEGenerator
SomeAxes: TypeAlias = "Axes | Sequence[Axes] | NDArray[np.object_] | None"

# Okabe and Ito's palette, which colour-blind readers can tell apart; yellow, too pale on white,
# is left out, and there is a grey instead.
PALETTE = ["#0072B2", "#D55E00", "#009E73", "#CC79A7", "#56B4E9", "#E69F00", "#000000", "#8A8A8A"]
REAL, SYNTHETIC = PALETTE[:2]


class Display:
    """Keeps one picture: `figure_` is where the display was drawn last.

    Displays are drawn when they are made, so ``from_data(...).plot(...)`` draws twice. Without
    this the first picture would stay open beside the second.
    """

    figure_: "Figure"
    _made: "Figure | None" = None

    def _keep_picture(self, ax: "Axes", *, made: bool) -> None:
        """Take the figure of `ax` for the display's, and close one that it made before."""
        figure = cast("Figure", ax.figure.figure)  # of a subfigure, the whole
        if figure is not self._made:
            if self._made is not None:
                require_matplotlib(self).close(self._made)
            self._made = figure if made else None
        self.figure_ = figure


def require_matplotlib(display: Display) -> ModuleType:
    """Return pyplot, or say which extra to install."""
    try:
        import matplotlib.pyplot as plt
    except ImportError as error:
        raise ImportError(
            f"{type(display).__name__} needs matplotlib: pip install 'skncvqvae[plots]'"
        ) from error
    return plt


def thaw(estimator: Any) -> Any:
    """Return what is inside a `FrozenEstimator`, or the estimator itself."""
    return estimator.estimator if isinstance(estimator, FrozenEstimator) else estimator


def fitted_transformer(estimator: Model) -> NCVQVAETransformer:
    """Return the fitted `NCVQVAETransformer` that an estimator is or contains."""
    part: Any = thaw(estimator)
    if isinstance(part, NCVQVAEGenerator):
        check_is_fitted(part, "prior_")
        part = thaw(part.transformer_)
    if not isinstance(part, NCVQVAETransformer):
        raise TypeError(
            "estimator must be an NCVQVAETransformer or NCVQVAEGenerator, not "
            f"{type(part).__name__}."
        )
    check_is_fitted(part, "module_")
    return part


def fitted_generator(estimator: NCVQVAEGenerator) -> NCVQVAEGenerator:
    """Return the fitted `NCVQVAEGenerator` that an estimator is or contains."""
    part: Any = thaw(estimator)
    if not isinstance(part, NCVQVAEGenerator):
        raise TypeError(f"generator must be an NCVQVAEGenerator, not {type(part).__name__}.")
    check_is_fitted(part, "prior_")
    return part


def read_with(estimator: Model, X: ArrayLike) -> NDArray[np.floating]:
    """Return series as the estimator itself reads them, ``(n, n_channels, length)``."""
    return thaw(estimator).read(X)


def read_series(X: ArrayLike, name: str, data_format: DataFormat) -> NDArray[np.floating]:
    """Return series that no estimator reads as ``(n, n_channels, length)``."""
    if data_format not in ("channels_first", "channels_last"):
        raise ValueError(
            f"data_format={data_format!r} must be 'channels_first' or 'channels_last'."
        )
    series = read_array(X, name, data_format=data_format)
    if series.ndim > 3 or min(series.shape) == 0:
        raise ValueError(
            f"{name} has shape {series.shape}. Pass (n, length) for univariate series, "
            "(n, n_channels, length) for others."
        )
    if series.ndim == 2:
        return series[:, None]
    return series.swapaxes(1, 2) if data_format == "channels_last" else series


def check_same_shape(X: NDArray[Any], other: NDArray[Any], name: str, other_name: str) -> None:
    if X.shape[1:] != other.shape[1:]:
        raise ValueError(
            f"{name} holds series of shape {X.shape[1:]}, but {other_name} of {other.shape[1:]}. "
            "Pass series of one shape."
        )


def is_integer(value: object) -> bool:
    return isinstance(value, Integral) and not isinstance(value, bool)


def check_count(value: object, name: str, *, least: int) -> None:
    """Refuse what is no number of things."""
    if not is_integer(value) or cast(int, value) < least:
        raise ValueError(f"{name}={value!r} must be an integer of at least {least}.")


def check_shares(shares: Any, name: str) -> list[float]:
    """Return shares, one or several, as a list."""
    values: list[Any] = list(shares) if np.iterable(shares) else [shares]
    numbers = (int, float, np.integer, np.floating)
    if not all(isinstance(share, numbers) and 0 < share <= 1 for share in values):
        raise ValueError(f"{name}={shares!r} must hold shares above 0 and at most 1.")
    return [float(share) for share in values]


def pick(chosen: Any, available: ArrayLike, name: str) -> list[Any]:
    """Return names or labels, one or several, as a list; None is all that are available."""
    known = np.asarray(available).tolist()
    if chosen is None:
        return known
    wanted = np.atleast_1d(chosen).tolist()
    unknown = [item for item in wanted if item not in known]
    if unknown or not wanted:
        problem = f"holds {unknown}, which the data lack" if unknown else "is empty"
        raise ValueError(f"{name} {problem}. Choose from {known}.")
    return wanted


def pick_indices(chosen: Any, n: int, name: str, *, default: Sequence[int] = ()) -> list[int]:
    """Return indices below `n`, one or several, as a list."""
    if chosen is None:
        return list(default)
    wanted = list(chosen) if np.iterable(chosen) else [chosen]
    if not wanted or not all(is_integer(one) and 0 <= one < n for one in wanted):
        raise ValueError(f"{name}={chosen!r} must hold integers from 0 to {n - 1}.")
    return [int(one) for one in wanted]


def pick_index(chosen: object, n: int, name: str) -> int:
    """Return one index below `n`."""
    if not is_integer(chosen) or not 0 <= cast(int, chosen) < n:
        raise ValueError(f"{name}={chosen!r} must be one integer from 0 to {n - 1}.")
    return int(cast(int, chosen))


def pick_channels(channels: Any, n_channels: int) -> list[int]:
    """Return channels to show: those chosen, or the first three."""
    return pick_indices(channels, n_channels, "channels", default=range(min(3, n_channels)))


def use_axes(axes: Any, n: int, name: str = "axes") -> NDArray[np.object_]:
    """Return given axes as an array of length `n`."""
    from matplotlib.axes import Axes

    given = np.atleast_1d(np.asarray(axes, dtype=object)).ravel()
    strange = [type(ax).__name__ for ax in given if not isinstance(ax, Axes)]
    if strange:
        raise TypeError(f"{name} must hold matplotlib's Axes, not {strange[0]}.")
    if len(given) != n:
        raise ValueError(f"{name} holds {len(given)} Axes, but this picture needs {n}.")
    return given


def shorten(label: object, width: int = 20) -> str:
    """Return a label with its middle left out, since names differ at either end."""
    text, half = str(label), width // 2
    return text if len(text) <= width else f"{text[: half - 1]}…{text[-half:]}"


def share_limits(axes: "Iterable[Axes]") -> None:
    """Give axes the same vertical limits; those without a line do not count."""
    axes = list(axes)
    drawn = np.array([ax.get_ylim() for ax in axes if ax.lines])
    if len(drawn):
        for ax in axes:
            ax.set_ylim(drawn[:, 0].min(), drawn[:, 1].max())


def legend_above(ax: "Axes", handles: "Sequence[Artist]", **options: Any) -> "Legend":
    """Put a legend above the axes, in as many columns as their width holds.

    A figure without a layout engine would cut it off, so there it goes inside the axes.
    """
    if ax.figure.get_layout_engine() is None:
        return ax.legend(handles=handles, loc="best", fontsize="x-small", **options)
    inches = [0.55 + 0.07 * len(str(handle.get_label())) for handle in handles]
    n_columns = len(handles)
    while n_columns > 1 and sum(map(max, np.array_split(inches, n_columns))) > axes_inches(ax):
        n_columns -= 1
    return ax.legend(
        handles=handles,
        loc="lower left",
        bbox_to_anchor=(0, 1),
        ncols=n_columns,
        frameon=False,
        fontsize="small",
        borderpad=0.1,
        **options,
    )


def legend_below(figure: "Figure", handles: "Sequence[Artist]") -> None:
    figure.legend(
        handles=handles,
        loc="outside lower center",
        ncols=len(handles) if len(handles) <= 4 else math.ceil(len(handles) / 2),
        frameon=False,
        fontsize="small",
    )


def axes_inches(ax: "Axes") -> float:
    """Return the width of axes in inches, before a layout engine moves them."""
    return ax.bbox.width / ax.figure.dpi


def few_ticks(ax: "Axes", n_x: int = 4, n_y: int = 3) -> None:
    from matplotlib.ticker import MaxNLocator

    ax.xaxis.set_major_locator(MaxNLocator(n_x, integer=True, steps=[1, 2, 5, 10]))
    ax.yaxis.set_major_locator(MaxNLocator(n_y, steps=[1, 2, 5, 10]))
    ax.tick_params(labelsize="small")
