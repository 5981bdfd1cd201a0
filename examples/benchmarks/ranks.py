"""Mean ranks of representations and yardsticks over data sets, as a critical-difference diagram.

Reads the result file of ``representation.py``. Accuracies of seeds are averaged first. Pipelines
that a bar joins do not differ: Wilcoxon's signed-rank test with Holm's correction, at 0.05
(Benavoli, Corani, Mangili, "Should we really use post-hoc tests based on mean-ranks?",
arXiv:1505.02288). Only data sets that all of them were judged on count.

    python examples/benchmarks/ranks.py --split test --plot docs/images/ranks.png
"""

from pathlib import Path

import matplotlib as mpl
import pandas as pd
from aeon.visualisation import plot_critical_difference
from common import Results, bare_parser, print_table

PIPELINES = {
    "ppv": "logistic",
    "code_ppv": "logistic",
    "codes": "logistic",
    "latent": "logistic",
    "pooled": "logistic",
    "embedding": "logistic",
    "histogram": "logistic",
    "pairs": "logistic",
    "MiniROCKET": "ridge",
    "catch22": "forest",
    "raw values": "logistic",
}


def accuracies(file, split, labels):
    """Return the mean accuracy over seeds of each pipeline on each data set."""
    data = pd.read_csv(file)
    suffix = f", {labels} labels" if labels else ""
    wanted = data["method"].map(PIPELINES) + suffix
    data = data[(data["split"] == split) & (data["metric"] == wanted)]
    # Means over data sets would count as one more.
    data = data[data["dataset"] != "mean"]
    return data.pivot_table("value", "dataset", "method", sort=False).dropna()


def main():
    """Print the ranks, and draw the diagram."""
    p = bare_parser(__doc__)
    p.add_argument(
        "--results",
        type=Path,
        default=Path(__file__).parent / "results" / "representation.csv",
    )
    p.add_argument("--split", default="test", choices=["test", "validation"])
    p.add_argument("--labels", type=int, help="labels of each class; all by default")
    p.add_argument("--plot", type=Path, required=True, help="PNG file")
    options = p.parse_args()
    table = accuracies(options.results, options.split, options.labels)
    ranks = table.rank(axis=1, ascending=False).mean().sort_values()
    print(f"{len(table)} data sets: {', '.join(table.index)}\n")
    rows = [[name, f"{rank:.2f}", f"{table[name].mean():.3f}"] for name, rank in ranks.items()]
    print_table(["features", "mean rank", "mean accuracy"], rows)
    output = Results(options.output)
    for name, rank in ranks.items():
        figures = {"mean rank": rank, "mean accuracy": table[name].mean()}
        output.add("mean", name, figures, split=options.split, n_datasets=len(table))
    mpl.rcParams["font.size"] = 11
    labels = [f"{name} + {PIPELINES[name]}" for name in table]
    figure, _ = plot_critical_difference(table.to_numpy(), labels, alpha=0.05, textspace=2)
    options.plot.parent.mkdir(parents=True, exist_ok=True)
    figure.savefig(options.plot, dpi=100, bbox_inches="tight")


if __name__ == "__main__":
    main()
