"""What each way to draw samples gives up: a picture of precision and recall.

Reads the result file of ``samplers.py``: both figures less those of held-out series, in the mean
over sets; a line joins what ``diversity`` makes of each prior.

    python examples/benchmarks/tradeoffs.py --plot docs/images/samplers.png
"""

from pathlib import Path

import matplotlib.pyplot as plt
import pandas as pd
from common import draw_to_file

RESULTS = Path(__file__).parent / "results" / "samplers.csv"
# From faithful to diverse; the defaults have 0.5.
DIAL = ["diversity 0.2", "diversity 0.35", "default", "MaskGIT, confidence", "diversity 0.8"]


def draw_samplers():
    """Draw precision and recall of samplers, and the line of the dial of each prior."""
    data = pd.read_csv(RESULTS)
    table = data.pivot_table("value", ["prior", "method"], "metric", sort=False)
    fig, axes = plt.subplots(1, 2, figsize=(13, 5), layout="constrained")
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
        ax.margins(0.15)
        ax.set_title(f"{prior} prior")
        ax.set_xlabel("recall, less that of held-out series (more is more diverse)")
    axes[0].set_ylabel("precision, less that of held-out series\n(more is more faithful)")
    axes[0].legend(loc="lower left")
    return fig


if __name__ == "__main__":
    draw_to_file(__doc__, draw_samplers)
