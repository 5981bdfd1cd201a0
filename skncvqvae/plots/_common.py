"""What the displays share: input checks, axes, colours."""

import math

import numpy as np
from sklearn.frozen import FrozenEstimator
from sklearn.utils import check_array
from sklearn.utils.validation import check_is_fitted

from .._generator import NCVQVAEGenerator
from .._transformer import NCVQVAETransformer
from .._validation import validate_series

# Okabe and Ito's palette, which colour-blind readers can tell apart; yellow, too pale on white,
# is left out, and there is a grey instead.
PALETTE = ["#0072B2", "#D55E00", "#009E73", "#CC79A7", "#56B4E9", "#E69F00", "#000000", "#8A8A8A"]
REAL, SYNTHETIC = PALETTE[:2]


def require_matplotlib(display):
    """Return pyplot, or say which extra to install."""
    try:
        import matplotlib.pyplot as plt
    except ImportError as error:
        raise ImportError(
            f"{type(display).__name__} needs matplotlib: pip install 'skncvqvae[plots]'"
        ) from error
    return plt


def fitted_transformer(estimator):
    """Return the fitted `NCVQVAETransformer` that an estimator is or contains."""
    if isinstance(estimator, NCVQVAEGenerator):
        check_is_fitted(estimator, "prior_")
        estimator = estimator.transformer_
    if isinstance(estimator, FrozenEstimator):
        estimator = estimator.estimator
    if not isinstance(estimator, NCVQVAETransformer):
        raise TypeError(
            "estimator must be an NCVQVAETransformer or NCVQVAEGenerator, not "
            f"{type(estimator).__name__}."
        )
    check_is_fitted(estimator, "module_")
    return estimator


def fitted_generator(estimator):
    if not isinstance(estimator, NCVQVAEGenerator):
        raise TypeError(f"generator must be an NCVQVAEGenerator, not {type(estimator).__name__}.")
    check_is_fitted(estimator, "prior_")
    return estimator


def input_series(transformer, X):
    """Return data of any layout the transformer takes as ``(n, n_channels, length)``."""
    return validate_series(transformer, X, reset=False)


def output_series(transformer, X):
    """Return series the transformer decoded as ``(n, n_channels, length)``."""
    return channels_first(X, transformer.data_format)


def channels_first(X, data_format):
    if data_format not in ("channels_first", "channels_last"):
        raise ValueError(
            f"data_format={data_format!r} must be 'channels_first' or 'channels_last'."
        )
    if X.ndim == 2:
        return X[:, None]
    return X.swapaxes(1, 2) if data_format == "channels_last" else X


def check_series(X, name, data_format):
    X = check_array(X, dtype="numeric", allow_nd=True, input_name=name)
    if X.ndim > 3:
        raise ValueError(f"{name} has {X.ndim} dimensions; series have 2 or 3.")
    return channels_first(X, data_format)


def check_same_shape(X, other, name, other_name):
    if X.shape[1:] != other.shape[1:]:
        raise ValueError(
            f"{name} holds series of (channels, length) {X.shape[1:]}, but {other_name} of "
            f"{other.shape[1:]}. Pass series of one shape."
        )


def pick(chosen, available, name, *, default):
    """Return `chosen` as a list, or `default`; refuse what is not available."""
    if chosen is None:
        return list(default)
    chosen, known = np.atleast_1d(chosen).tolist(), np.asarray(available).tolist()
    unknown = [item for item in chosen if item not in known]
    if unknown or not chosen:
        problem = f"holds {unknown}, which the data lack" if unknown else "is empty"
        choice = f"0 to {len(known) - 1}" if isinstance(available, range) else known
        raise ValueError(f"{name} {problem}. Choose from {choice}.")
    return chosen


def pick_channels(channels, series, most):
    available = range(series.shape[1])
    return pick(channels, available, "channels", default=available[:most])


def use_axes(axes, n):
    """Return given axes as an array of length `n`."""
    axes = np.atleast_1d(np.asarray(axes, dtype=object)).ravel()
    if len(axes) != n:
        raise ValueError(f"axes holds {len(axes)} Axes, but this picture needs {n}.")
    return axes


def shorten(label, width=20):
    """Return a label with its middle left out, since names differ at either end."""
    label, half = str(label), width // 2
    return label if len(label) <= width else f"{label[: half - 1]}…{label[-half:]}"


def share_limits(axes):
    """Give axes the same vertical limits; those without a line do not count."""
    drawn = np.array([ax.get_ylim() for ax in axes if ax.lines])
    if len(drawn):
        for ax in axes:
            ax.set_ylim(drawn[:, 0].min(), drawn[:, 1].max())


def legend_above(ax, handles, **options):
    """Put a legend above the axes, in as many columns as their width holds.

    A figure without a layout engine would cut it off, so there it goes inside the axes.
    """
    if ax.figure.get_layout_engine() is None:
        return ax.legend(handles=handles, loc="best", fontsize="x-small", **options)
    inches = [0.55 + 0.07 * len(handle.get_label()) for handle in handles]
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


def legend_below(figure, handles):
    figure.legend(
        handles=handles,
        loc="outside lower center",
        ncols=len(handles) if len(handles) <= 4 else math.ceil(len(handles) / 2),
        frameon=False,
        fontsize="small",
    )


def axes_inches(ax):
    """Return the width of axes in inches, before a layout engine moves them."""
    return ax.bbox.width / ax.figure.dpi


def few_ticks(ax, n_x=4, n_y=3):
    from matplotlib.ticker import MaxNLocator

    ax.xaxis.set_major_locator(MaxNLocator(n_x, integer=True, steps=[1, 2, 5, 10]))
    ax.yaxis.set_major_locator(MaxNLocator(n_y, steps=[1, 2, 5, 10]))
    ax.tick_params(labelsize="small")
