"""The course of training."""

from numbers import Real

from .._generator import NCVQVAEGenerator
from ._common import (
    PALETTE,
    fitted_transformer,
    legend_above,
    pick,
    require_matplotlib,
    use_axes,
)


class HistoryDisplay:
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

    def __init__(self, histories):
        self.histories = histories

    @classmethod
    def from_estimator(cls, estimator, **options):
        """Plot the training of a fitted model.

        Parameters
        ----------
        estimator : NCVQVAETransformer or NCVQVAEGenerator
            A fitted estimator; of a generator, both stages.
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
        histories = {"tokenizer": fitted_transformer(estimator).history_}
        if isinstance(estimator, NCVQVAEGenerator):
            histories["prior"] = estimator.history_
        return cls(histories).plot(**options)

    @classmethod
    def from_data(cls, history, **options):
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
        ValueError
            On a history without an entry to plot.
        """
        histories = history if isinstance(history, dict) else {"training": history}
        return cls(histories).plot(**options)

    def plot(self, *, axes=None, terms=None):
        """Draw the lines.

        Parameters
        ----------
        axes : array-like of Axes, optional
            One for each stage. None makes a figure.
        terms : list of str, optional
            Terms to show, without their prefix: ``"loss"``, ``"recon_time"``, ... None shows
            all. A stage without any of them has an empty panel.

        Returns
        -------
        self

        Raises
        ------
        ValueError
            On another number of axes, or terms that no stage has.
        """
        plt = require_matplotlib(self)
        curves = {stage: _curves(rows) for stage, rows in self.histories.items()}
        known = list(dict.fromkeys(name for stage in curves.values() for _, name in stage))
        if not known:
            raise ValueError("The history has no entries 'train_...' or 'valid_...' to plot.")
        terms = pick(terms, known, "terms", default=known)
        if axes is None:
            _, axes = plt.subplots(
                len(curves), figsize=(8, 1 + 3.3 * len(curves)), layout="constrained"
            )
        axes = use_axes(axes, len(curves))
        for ax, (stage, stage_curves) in zip(axes, curves.items(), strict=True):
            _draw_curves(ax, {k: v for k, v in stage_curves.items() if k[1] in terms})
            ax.set_ylabel(f"{stage} loss")
        axes[-1].set_xlabel("epoch")
        self.axes_, self.figure_ = axes, axes[0].figure
        return self


def _curves(rows):
    """Return ``{(split, term): (epochs, values)}`` of a history, the total loss first."""
    curves = {}
    for i, row in enumerate(rows):
        for key, value in row.items():
            split, _, term = key.partition("_")
            # skorch keeps books under keys of the same prefixes.
            if split not in ("train", "valid") or key.endswith(("_best", "_batch_count")):
                continue
            if isinstance(value, Real):
                epochs, values = curves.setdefault((split, term), ([], []))
                epochs.append(row.get("epoch", i + 1))
                values.append(value)
    return dict(sorted(curves.items(), key=lambda item: (item[0][1] != "loss", item[0][0])))


def _draw_curves(ax, curves):
    from matplotlib.lines import Line2D

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
