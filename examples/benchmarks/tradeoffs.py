"""Two pictures of samples: what each way to draw gives up, and what they keep of their class.

The first reads the result file of ``samplers.py``: precision and recall of each way, less those of
held-out series, in the mean over sets; a line joins what ``diversity`` makes of each prior. The
second reads that of ``compare.py``: accuracy of a classifier trained on samples of two versions of
the defaults.

    python examples/benchmarks/tradeoffs.py --plots docs/images
"""

from pathlib import Path

import matplotlib.pyplot as plt
import pandas as pd
from common import bare_parser

RESULTS = Path(__file__).parent / "results"
# From faithful to diverse; the defaults have 0.5.
DIAL = ["diversity 0.2", "diversity 0.35", "default", "MaskGIT, confidence", "diversity 0.8"]


def draw_samplers(plot):
    """Draw precision and recall of samplers, and the line of the dial of each prior."""
    data = pd.read_csv(RESULTS / "samplers.csv")
    table = data.pivot_table("value", ["prior", "method"], "metric", sort=False)
    fig, axes = plt.subplots(1, 2, figsize=(12, 5), layout="constrained", sharey=True)
    for ax, prior in zip(axes, ["autoregressive", "masked"], strict=True):
        some = table.loc[prior]
        dial = some.loc[[name for name in DIAL if name in some.index]]
        rest = some.drop(dial.index)
        ax.plot(dial["recall"], dial["precision"], "o-", label="the dial of diversity")
        ax.plot(rest["recall"], rest["precision"], "o", markersize=4, label="other parameters")
        for row in some.itertuples():
            place = {"xytext": (4, 3), "textcoords": "offset points"}
            ax.annotate(row.Index, (row.recall, row.precision), fontsize=7, **place)
        ax.axhline(0, color="0.8", linewidth=0.8, zorder=0)
        ax.axvline(0, color="0.8", linewidth=0.8, zorder=0)
        ax.set_title(f"{prior} prior")
        ax.set_xlabel("recall, less that of held-out series (more is more diverse)")
    axes[0].set_ylabel("precision, less that of held-out series\n(more is more faithful)")
    axes[0].legend(loc="lower left")
    fig.savefig(plot, dpi=100)


def draw_before_and_after(plot):
    """Draw the accuracy of classifiers trained on samples of either version, set by set."""
    data = pd.read_csv(RESULTS / "defaults.csv")
    table = data[data["metric"] == "TSTR"].pivot_table("value", "dataset", "method", sort=False)
    fig, ax = plt.subplots(figsize=(6, 0.4 * len(table) + 1), layout="constrained")
    places = range(len(table))
    ax.hlines(places, table["base"], table["new"], color="0.7")
    ax.plot(table["base"], places, "o", color="0.5", label="before")
    ax.plot(table["new"], places, "o", color="C0", label="now")
    ax.set_yticks(places, table.index)
    ax.invert_yaxis()
    ax.set_xlabel("accuracy of what was trained on samples, tested on held-out series")
    ax.legend()
    fig.savefig(plot, dpi=100)


def main():
    """Draw the pictures."""
    p = bare_parser(__doc__)
    p.add_argument("--plots", type=Path, required=True, help="folder for PNG files")
    options = p.parse_args()
    options.plots.mkdir(parents=True, exist_ok=True)
    draw_samplers(options.plots / "samplers.png")
    draw_before_and_after(options.plots / "class_fidelity.png")


if __name__ == "__main__":
    main()
