"""The course of training."""

from collections.abc import Iterable, Mapping, Sequence
from numbers import Real
from typing import TYPE_CHECKING, Any, Self, TypeAlias

import numpy as np
from numpy.typing import NDArray

from .._generator import NCVQVAEGenerator
from ._common import (
    PALETTE,
    Display,
    Model,
    SomeAxes,
    fitted_transformer,
    legend_above,
    pick,
    require_matplotlib,
    thaw,
    use_axes,
)

if TYPE_CHECKING:
    from matplotlib.axes import Axes

# A row for each epoch.
History: TypeAlias = Sequence[Mapping[str, Any]]
# Epochs and values of each split and term.
Curves: TypeAlias = dict[tuple[str, str], tuple[list[float], list[float]]]


class HistoryDisplay(Display):
    """Training history by loss term: a panel for each stage, a line for each term.

    Terms are those of the history, unweighted, beside the total loss in black; terms of the
    validation data, whose total leaves out the self-supervised loss, are dashed. The vertical
    axis is logarithmic where all values are positive and span a factor of ten. Use
    `from_estimator` or `from_data`.

    Parameters
    ----------
    histories : dict of str to list of dict
        For each stage, a row for each epoch, as skorch's ``History`` has them.

    Attributes
    ----------
    axes_ : ndarray of Axes of shape (n_stages,)
        The panels.
    figure_ : Figure
        The figure of them.
    """

    axes_: NDArray[np.object_]

    def __init__(self, histories: Mapping[str, History]) -> None:
        self.histories = histories

    @classmethod
    def from_estimator(cls, estimator: Model, **options: Any) -> Self:
        """Plot the training of a fitted model.

        Parameters
        ----------
        estimator : NCVQVAETransformer or NCVQVAEGenerator
            A fitted estimator; of a generator, both stages. A prior without `history_` has no
            panel.
        **options
            Options of `plot`.

        Returns
        -------
        HistoryDisplay

        Raises
        ------
        sklearn.exceptions.NotFittedError
            Before `fit`.
        """
        stages: dict[str, Any] = {"tokenizer": fitted_transformer(estimator)}
        if isinstance(thaw(estimator), NCVQVAEGenerator):
            stages["prior"] = thaw(estimator).prior_
        histories = {
            name: stage.history_ for name, stage in stages.items() if hasattr(stage, "history_")
        }
        return cls(histories).plot(**options)

    @classmethod
    def from_data(cls, history: History | Mapping[str, History], **options: Any) -> Self:
        """Plot a history.

        Parameters
        ----------
        history : skorch.history.History, list of dict, or dict of str to such
            A row for each epoch, with entries ``train_...`` and ``valid_...``; in a dict, one
            history for each stage.
        **options
            Options of `plot`.

        Returns
        -------
        HistoryDisplay

        Raises
        ------
        TypeError
            On a history whose rows are no dicts.
        ValueError
            On a history without an entry to plot.
        """
        histories = history if isinstance(history, Mapping) else {"training": history}
        return cls(histories).plot(**options)

    def plot(self, *, axes: SomeAxes = None, terms: Any = None) -> Self:
        """Draw the lines.

        Parameters
        ----------
        axes : array-like of Axes, optional
            One for each stage. None makes a figure, in place of one that the display made
            before.
        terms : list of str, optional
            Terms to show, without their prefix: ``"loss"``, ``"recon_time"``, ... None shows
            all. A stage without any of them has an empty panel.

        Returns
        -------
        self

        Raises
        ------
        TypeError
            On a history whose rows are no dicts.
        ValueError
            On another number of axes, or terms that no stage has.
        """
        plt = require_matplotlib(self)
        curves = {stage: _curves(rows, stage) for stage, rows in self.histories.items()}
        known = list(dict.fromkeys(name for stage in curves.values() for _, name in stage))
        if not known:
            raise ValueError("The history has no entries 'train_...' or 'valid_...' to plot.")
        terms = pick(terms, known, "terms")
        own_figure = axes is None
        if own_figure:
            _, axes = plt.subplots(
                len(curves), figsize=(8, 1 + 3.3 * len(curves)), layout="constrained"
            )
        panels = use_axes(axes, len(curves))
        for ax, (stage, stage_curves) in zip(panels, curves.items(), strict=True):
            _draw_curves(ax, {k: v for k, v in stage_curves.items() if k[1] in terms})
            ax.set_ylabel(f"{stage} loss")
        panels[-1].set_xlabel("epoch")
        self.axes_ = panels
        self._keep_picture(panels[0], made=own_figure)
        return self


def _curves(rows: History, stage: str) -> Curves:
    """Return ``{(split, term): (epochs, values)}`` of a history, the total loss first."""
    curves: Curves = {}
    if not isinstance(rows, Iterable):
        raise TypeError(
            f"The history of {stage!r} must be a list with a dict for each epoch, not {rows!r}."
        )
    for i, row in enumerate(rows):
        if not isinstance(row, Mapping):
            raise TypeError(
                f"The history of {stage!r} must be a list with a dict for each epoch, but holds "
                f"{row!r}. Of a data frame, pass its to_dict('records')."
            )
        for key, value in row.items():
            split, _, term = key.partition("_")
            # skorch keeps books under keys of the same prefixes.
            if split not in ("train", "valid") or key.endswith(("_best", "_batch_count")):
                continue
            if isinstance(value, Real):
                epochs, values = curves.setdefault((split, term), ([], []))
                epochs.append(row.get("epoch", i + 1))
                values.append(float(value))
    return dict(sorted(curves.items(), key=lambda item: (item[0][1] != "loss", item[0][0])))


def _draw_curves(ax: "Axes", curves: Curves) -> None:
    from matplotlib.lines import Line2D
    from matplotlib.ticker import MaxNLocator

    others = [name for name in dict.fromkeys(name for _, name in curves) if name != "loss"]
    palette = [color for color in PALETTE if color != "#000000"]
    colors = {name: palette[i % len(palette)] for i, name in enumerate(others)} | {"loss": "black"}
    for (split, name), (epochs, values) in curves.items():
        ax.plot(
            epochs,
            values,
            color=colors[name],
            linestyle="-" if split == "train" else "--",
            linewidth=1.8 if name == "loss" else 1.1,
            label=f"{split}_{name}",
        )
    ax.xaxis.set_major_locator(MaxNLocator("auto", integer=True, steps=[1, 2, 5, 10]))
    values = [value for _, line in curves.values() for value in line]
    if values and min(values) > 0 and max(values) > 10 * min(values):
        ax.set_yscale("log")
    names = list(dict.fromkeys(name for _, name in curves))
    labels = {"loss": "total loss"}
    handles = [Line2D([], [], color=colors[n], label=labels.get(n, n)) for n in names]
    if any(split == "valid" for split, _ in curves):
        handles += [
            Line2D([], [], color="0.4", label="training"),
            Line2D([], [], color="0.4", linestyle="--", label="validation"),
        ]
    if handles:
        legend_above(ax, handles)
