"""What samples keep of their class, before and now: a picture of two checkouts.

Reads the result file of ``compare.py``: accuracy on samples of what was trained on real series,
and on held-out series of what was trained on samples, set by set.

    python examples/benchmarks/before_after.py --plot docs/images/before_after.png
"""

from pathlib import Path

import matplotlib.pyplot as plt
import pandas as pd
from common import draw_to_file

RESULTS = Path(__file__).parent / "results" / "defaults.csv"
TITLES = {
    "TRTS": "trained on real series, tested on samples",
    "TSTR": "trained on samples, tested on held-out series",
}


def draw():
    """Draw a line from before to now for each data set."""
    data = pd.read_csv(RESULTS)
    table = data.pivot_table("value", ["dataset", "method"], "metric").unstack("method")
    table = table.sort_values([("TRTS", "base"), ("TSTR", "base")])
    fig, axes = plt.subplots(1, 2, figsize=(11, 4.2), layout="constrained", sharey=True)
    for ax, (metric, title) in zip(axes, TITLES.items(), strict=True):
        before, now = table[metric, "base"], table[metric, "new"]
        ax.hlines(table.index, before, now, color="0.7")
        ax.plot(before, table.index, "o", color="0.5", label="commit ae87d5c")
        ax.plot(now, table.index, "o", color="tab:blue", label="now")
        ax.set(title=title, xlabel="accuracy")
        ax.grid(axis="x", color="0.93")
    axes[0].legend(loc="upper left")
    return fig


if __name__ == "__main__":
    draw_to_file(__doc__, draw)
