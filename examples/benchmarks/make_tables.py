"""Fill the tables of the benchmark pages from the result files.

A table stands between ``<!-- table: NAME -->`` and ``<!-- end -->``. With --check nothing is
written: it fails where a page differs from what the files give, or where the prose of the results
page has a number that no result file has.

    python examples/benchmarks/make_tables.py
    python examples/benchmarks/make_tables.py --check
"""

import argparse
import re
import sys
from dataclasses import dataclass, field
from pathlib import Path

import balance
import numpy as np
import pandas as pd
from common import table_lines

ROOT = Path(__file__).resolve().parents[2]
RESULTS = Path(__file__).resolve().parent / "results"
# Pages whose prose has no other numbers than the result files.
RESULTS_PAGES = ("docs/benchmarks.md", "docs/which_representation.md", "docs/samples.md")
PAGES = (*RESULTS_PAGES, "docs/experiments.md")
# The part of the results that the page on representations shows.
SPLIT = "test"

MARKED = re.compile(r"(<!-- table: ([^\n]+) -->\n).*?(<!-- end -->)", re.DOTALL)
NOT_PROSE = re.compile(r"```.*?```|`[^`]*`|^\|.*?$|\]\([^)]*\)", re.DOTALL | re.MULTILINE)

# How a figure is written; others have three decimals.
FORMATS = {
    "minutes": ".1f",
    "FID": ".2f",
    "IS": ".2f",
    "perplexity": ".1f",
    "times the authors": ".1f",
    "MiB": ".0f",
    "largest difference": ".1e",
    "slope of seconds": ".2f",
    "slope of MiB": ".2f",
    "gain": "+.4f",
    "p (Wilcoxon)": ".2f",
    "seconds": ".0f",
    "of matmul": ".0%",
    "GFLOP": ".1f",
    "ms": ".0f",
    "ridge": ".2f",
    "logistic regression": ".2f",
    "authenticity": ".2f",
    "coverage": ".2f",
    "recall": ".2f",
    "TRTS": ".2f",
}


@dataclass(frozen=True)
class Table:
    """What of a result file a table shows.

    Parameters
    ----------
    file : str
        Name in `RESULTS`.
    rows : dict of str to str
        Keys that name a row, each with the heading of its column.
    columns : str
        The key whose values are the other columns.
    show : dict of str to str
        Those values in order, each with its heading.
    where : dict of str to str or list of str
        Only rows of the file that have these values.
    formats : dict of str to str
        Instead of `FORMATS`.
    sets : list of str
        The data sets that means are over; of an empty list, all.
    """

    file: str
    rows: dict[str, str]
    columns: str
    show: dict[str, str]
    where: dict = field(default_factory=dict)
    formats: dict[str, str] = field(default_factory=dict)
    sets: list[str] = field(default_factory=list)

    def lines(self):
        """Return the table's lines; a remark where nothing has been measured yet."""
        data = read(self.file, self.where.get("dataset") == "mean", self.sets)
        for key, wanted in self.where.items():
            wanted = [wanted] if isinstance(wanted, str) else wanted
            data = data[data[key].isin(wanted)]
        data = data[data[self.columns].isin(list(self.show))]
        if data.empty:
            return ["*Not measured yet.*"]
        body = []
        for names, group in data.groupby(list(self.rows), sort=False):
            cells = [self._cell(group[group[self.columns] == column]) for column in self.show]
            body.append([*names, *cells])
        return table_lines([*self.rows.values(), *self.show.values()], body)

    def _cell(self, rows):
        """Write the figure of some rows: mean and spread, unless one row is a summary."""
        if len(rows) == 0:
            return ""
        (metric,) = rows["metric"].unique()
        style = (FORMATS | self.formats).get(metric, ".3f")
        values = rows["value"].astype(float)
        spread = rows["spread"].iloc[0] if len(rows) == 1 else np.std(values, ddof=1)
        after = "" if spread == "" else f" ± {float(spread):{style.lstrip('+')}}"
        return f"{values.mean():{style}}{after}"


# Columns that tell where a row comes from.
ORIGIN = ("commit", "date", "machine", "source")


def read(file, means=False, sets=()):
    """Return a result file as text, with means over data sets, which files of seeds do not have.

    Only files of summaries have a `spread`. Files without splits get means where these are asked
    for.
    """
    if not (RESULTS / file).exists():
        return pd.DataFrame(columns=["dataset", "method", "split", "seed", "metric", "value"])
    data = pd.read_csv(RESULTS / file, dtype=str, keep_default_na=False)
    if sets:
        data = data[data["dataset"].isin(sets)]
    if (means or "split" in data) and "mean" not in set(data["dataset"]):
        data = pd.concat([data, means_over_sets(data)], ignore_index=True)
    # Metrics such as "ridge, 5 labels".
    parts = data["metric"].str.partition(", ")
    data["classifier"], data["labels"] = parts[0], parts[2].where(parts[2] != "", "all labels")
    data["pipeline"] = data["method"] + ", " + data["classifier"]
    return data if "spread" in data else data.assign(spread="")


def means_over_sets(data):
    """Return rows of the data set ``"mean"``: over the sets that all methods of a metric have."""
    rows = []
    values = data.astype({"value": float})
    by = [key for key in ("split", "metric") if key in data]
    # What tells the rows of a set apart: the method, and further columns.
    own = [key for key in data if key not in {"dataset", "seed", "value", *by, *ORIGIN}]
    for common, group in values.groupby(by, sort=False):
        by_set = group.pivot_table("value", "dataset", own, sort=False).dropna()
        for names, value in by_set.mean().items():
            names = names if isinstance(names, tuple) else (names,)
            row = dict(zip([*by, *own], [*common, *names], strict=True))
            rows.append(row | {"dataset": "mean", "value": str(value)})
    return pd.DataFrame(rows)


SETS = {"dataset": "data set"}
VARIANTS = SETS | {"method": ""}
CHANGES = {"method": "change"}
TASKS = ["stage 1, Barlow Twins", "stage 1, no SSL", "stage 2", "sampling"]
STAGES = {"task": "", "dataset": "data set"}
CLASSIFIERS = {
    "logistic": "logistic regression",
    "ridge": "ridge",
    "forest": "random forest",
}
COMPARED = ["ppv", "code_ppv", "codes", "MiniROCKET", "catch22", "raw values"]
ABLATION = ("probe, embedding", "probe, histogram", "reconstruction error", "perplexity")
HELD_BACK = ("200 outlines, 6 classes", "381 medical series, 10 classes")
ALL_HELD_BACK = (
    *HELD_BACK,
    "180 power profiles, 2 classes",
    "20 robot walks, 2 classes",
    "20 sensor series, 2 classes",
    "24 outlines, 4 classes",
)


def as_they_are(*names):
    """Return columns whose headings are their values."""
    return {name: name for name in names}


TABLES = {
    "quality": Table(
        "quality.csv",
        VARIANTS,
        "metric",
        as_they_are("minutes", "probe", "FID", "CAS", "CAS, batches"),
        {
            "method": [
                "default",
                "default, guidance 1",
                "former default",
                "no SSL",
                "no SSL, as decoded",
                "real training split",
                "published, best",
            ]
        },
    ),
    "cas": Table(
        "cas_longer.csv",
        VARIANTS,
        "metric",
        as_they_are("CAS", "CAS, batches"),
        {"method": ["default", "default, as decoded", "published, best"]},
    ),
    "probe": Table(
        "probe.csv",
        VARIANTS,
        "metric",
        as_they_are("probe accuracy", "reconstruction error", "perplexity", "minutes"),
        {"method": ["default", "no SSL"]},
    ),
    "representation": Table(
        "representation.csv",
        {"method": "features"},
        "metric",
        CLASSIFIERS,
        {"dataset": "mean", "split": SPLIT},
        dict.fromkeys(CLASSIFIERS, ".3f"),
    ),
    "few labels": Table(
        "representation.csv",
        {"method": "features", "classifier": "classifier"},
        "labels",
        as_they_are("3 labels", "5 labels", "10 labels", "all labels"),
        {
            "dataset": "mean",
            "method": COMPARED,
            "classifier": list(CLASSIFIERS),
            "split": SPLIT,
        },
        dict.fromkeys(CLASSIFIERS, ".3f"),
    ),
    "representation by set": Table(
        "representation.csv",
        SETS,
        "pipeline",
        {
            "ppv, logistic": "ppv",
            "code_ppv, logistic": "code_ppv",
            "codes, logistic": "codes",
            "MiniROCKET, ridge": "MiniROCKET",
            "catch22, forest": "catch22",
            "raw values, logistic": "raw values",
        },
        {"split": SPLIT, "labels": "all labels"},
        dict.fromkeys(CLASSIFIERS, ".3f"),
    ),
    "ssl weight": Table(
        "ssl_weight.csv",
        {"method": "weight, or what chose it"},
        "metric",
        {"ppv, test": "ppv", "code_ppv, test": "code_ppv", "embedding, test": "embedding"},
        {"dataset": "mean"},
    ),
    "ssl weight by set": Table(
        "ssl_weight.csv",
        SETS,
        "method",
        as_they_are("auto", "0", "1", "30", "search", "RankMe", "LiDAR")
        | {"alignment and uniformity": "alignment, uniformity", "best": "best"},
        {"metric": "embedding, test"},
    ),
    "published representations": Table(
        "published_representations.csv",
        {"method": "features", "dataset": "mean of", "source": "source"},
        "metric",
        as_they_are("accuracy"),
        formats={"accuracy": ".2f"},
    ),
    "priors": Table(
        "class_fidelity.csv",
        {"method": ""},
        "metric",
        as_they_are(
            "nats a token",
            "fit (CPU s)",
            "sampling (CPU s)",
            "TRTS",
            "TSTR",
            "FID",
            "coverage",
            "recall",
            "authenticity",
            "membership",
        ),
        {"dataset": "mean", "split": "test"},
        {
            "nats a token": ".2f",
            "fit (CPU s)": ".0f",
            "sampling (CPU s)": ".1f",
            "TRTS": ".3f",
            "membership": ".2f",
        },
    ),
    "samplers": Table(
        "samplers.csv",
        {"prior": "prior", "method": "sampler"},
        "metric",
        as_they_are(
            "TRTS", "TSTR", "FID", "precision", "coverage", "recall", "authenticity", "passes"
        ),
        {"dataset": "mean"},
        {
            "TRTS": ".2f",
            "TSTR": ".2f",
            "FID": ".1f",
            "precision": "+.2f",
            "coverage": "+.2f",
            "recall": "+.2f",
            "authenticity": "+.2f",
            "passes": ".0f",
        },
    ),
    "neural mapper": Table(
        "neural_mapper.csv",
        {"method": ""},
        "metric",
        {
            "held-out error": "held-out error",
            **as_they_are("FID", "coverage", "recall", "precision", "TRTS", "TSTR"),
            **as_they_are("authenticity", "membership"),
            "CPU seconds": "tokenizer (CPU s)",
        },
        {"dataset": "mean"},
        {
            "held-out error": ".3f",
            "FID": ".2f",
            "coverage": ".2f",
            "recall": ".2f",
            "precision": ".2f",
            "TRTS": ".3f",
            "TSTR": ".3f",
            "authenticity": ".2f",
            "membership": ".2f",
            "CPU seconds": ".0f",
        },
    ),
    "neural mapper, coverage": Table(
        "neural_mapper.csv",
        SETS,
        "method",
        {
            "held-out series": "held-out series",
            "decoded training series, without": "decoded, without",
            "decoded training series, with": "decoded, with",
            "samples, without": "samples, without",
            "samples, with": "samples, with",
        },
        {"metric": "coverage"},
    ),
    "ssl methods": Table(
        "ssl_methods.csv",
        {"method": "ssl_method"},
        "metric",
        as_they_are(
            "probe",
            "reconstruction error",
            "TRTS",
            "TSTR",
            "FID",
            "precision",
            "coverage",
            "recall",
            "authenticity",
            "membership",
        ),
        {"dataset": "mean"},
        {
            "TRTS": ".3f",
            "FID": ".2f",
            "precision": ".2f",
            "coverage": ".2f",
            "recall": ".2f",
            "authenticity": ".2f",
            "membership": ".2f",
        },
    ),
    "latents": Table(
        "latents.csv",
        {"method": "change"},
        "metric",
        as_they_are("ppv", "code_ppv", "pooled", "embedding", "reconstruction error"),
        {"dataset": "mean"},
    ),
    "priors by set": Table(
        "class_fidelity.csv",
        SETS | {"method": "prior"},
        "metric",
        {
            "TSTR ratio": "TSTR",
            "TRTS ratio": "TRTS",
            "coverage ratio": "coverage",
            "recall ratio": "recall",
            "authenticity difference": "authenticity, less that of held-out series",
            "membership": "membership AUC",
        },
        {"split": "test", "method": ["autoregressive", "masked"]},
        {
            "TSTR ratio": ".2f",
            "TRTS ratio": ".2f",
            "coverage ratio": ".2f",
            "recall ratio": ".2f",
            "authenticity difference": "+.2f",
            "membership": ".2f",
        },
    ),
    "speed": Table(
        "speed.csv",
        STAGES,
        "method",
        as_they_are("TimeVQVAE", "reference", "reference bf16", "default", "default bf16"),
        {"threads": "2", "metric": "times the authors", "task": TASKS},
    ),
    "memory": Table(
        "speed.csv",
        STAGES,
        "method",
        as_they_are("authors", "TimeVQVAE", "reference", "default"),
        {"threads": "2", "metric": "MiB", "task": TASKS},
    ),
    "transform": Table(
        "transform.csv",
        {"method": "representation", "dataset": "series"},
        "metric",
        {"CPU seconds": "CPU seconds, one thread"},
        {"threads": "1"},
        {"CPU seconds": ".1f"},
    ),
    "growth": Table(
        "growth.csv",
        {"axis": "growing", "metric": ""},
        "method",
        as_they_are("stage 1", "transform", "stage 2", "sampling"),
        {"size": ""},
    ),
    "memory map": Table(
        "memory_map.csv",
        {"size": "series", "method": ""},
        "metric",
        {
            "MiB of series": "MiB of the series",
            "MiB returned": "MiB returned",
            "MiB": "most MiB",
            "MiB of the file": "MiB of the file",
            "seconds": "seconds",
        },
        formats={"MiB of series": ".0f", "MiB returned": ".0f", "MiB of the file": ".0f"},
    ),
    "generation": Table(
        "generation.csv",
        SETS | {"length": "", "method": ""},
        "metric",
        as_they_are(
            "minutes", "tokens", "MSE", "discriminative", "predictive", "correlational", "FD"
        ),
        {"protocol": "published"},
        {"tokens": ".0f", "FD": ".1f"},
    ),
    "multivariate": Table(
        "multivariate.csv",
        SETS,
        "pipeline",
        {
            "ppv, logistic": "ppv, logistic",
            "ppv, ridge": "ppv, ridge",
            "code_ppv, ridge": "code_ppv, ridge",
            "codes, logistic": "codes, logistic",
            "MultiROCKET, ridge": "MultiROCKET, ridge",
            "MiniROCKET, ridge": "MiniROCKET, ridge",
            "raw values, logistic": "raw values, logistic",
        },
        {"split": "test", "labels": "all labels"},
        {"ridge": ".3f", "logistic": ".3f"},
    ),
    "multivariate samples": Table(
        "multivariate.csv",
        VARIANTS,
        "metric",
        as_they_are(
            "TRTS",
            "TSTR",
            "FID",
            "coverage",
            "recall",
            "authenticity",
            "membership",
            "fit (CPU s)",
        ),
        {"split": "test", "dataset": ["BasicMotions", "JapaneseVowels", "pairs", "one of 16"]},
        {"TRTS": ".2f", "TSTR": ".2f", "FID": ".1f", "membership": ".2f", "fit (CPU s)": ".0f"},
    ),
    "growth channels": Table(
        "growth_channels.csv",
        {"channels": "channels", "method": ""},
        "metric",
        as_they_are("tokens")
        | {
            f"{task} ({unit})": f"{task} ({unit})"
            for unit in ("CPU s", "MiB")
            for task in ("stage 1", "stage 2", "transform", "sampling")
        },
        {},
        {"tokens": ".0f"}
        | {
            f"{task} (CPU s)": style
            for task, style in [
                ("stage 1", ".0f"),
                ("stage 2", ".0f"),
                ("transform", ".2f"),
                ("sampling", ".1f"),
            ]
        }
        | {f"{task} (MiB)": ".0f" for task in ("stage 1", "stage 2", "transform", "sampling")},
    ),
    "agreement": Table(
        "agreement.csv",
        SETS,
        "ssl",
        {"barlowtwins": "Barlow Twins", "vicreg": "VICReg", "vibcreg": "VIbCReg"},
        {"metric": "largest difference"},
    ),
    "augmentation": Table(
        "augmentation.csv",
        {"classifier": "", "metric": ""},
        "method",
        as_they_are("real only", "jitter", "SMOTE", "samples", "variations"),
        {"split": "test", "dataset": "mean"},
        {"accuracy": ".4f"},
    ),
    "held back, samples": Table(
        "held_back_samples.csv",
        {"method": "", "metric": ""},
        "dataset",
        as_they_are(*HELD_BACK),
        {
            "method": [
                "trained on real series",
                "trained on decoded real series",
                "trained on samples",
                "decoded training series",
                "samples",
            ]
        },
        {"accuracy": ".2f"},
    ),
    "held back, representations": Table(
        "held_back_representations.csv",
        {"method": "features"},
        "dataset",
        as_they_are(*ALL_HELD_BACK),
        {
            "metric": ["logistic regression", "accuracy"],
            "method": [
                "codes",
                "embedding",
                "histogram",
                "latent, mean, max, min and std over time",
                "MiniROCKET",
            ],
        },
        {"accuracy": ".2f"},
    ),
    "ablation": Table(
        "ablation.csv", CHANGES, "metric", as_they_are(*ABLATION), {"base": "default"}
    ),
    "ablation, old default": Table(
        "ablation.csv", CHANGES, "metric", as_they_are(*ABLATION), {"base": "old default"}
    ),
    "prior": Table(
        "prior.csv",
        {"method": "", "steps": "steps"},
        "metric",
        as_they_are("held-out loss (nats)", "FID", "TSTR", "seconds"),
    ),
    "larger priors": Table(
        "held_back_samples.csv",
        {"method": ""},
        "metric",
        {
            "TRTS": "TRTS",
            "accuracy": "trained on samples",
            "coverage": "coverage",
            "FID": "FID",
            "authenticity": "authenticity",
        },
        {
            "dataset": HELD_BACK[0],
            "method": [
                "default prior (64 wide, 1 head)",
                "prior 128 wide, 2 heads",
                "prior 128 wide, 2 heads, guidance 2, temperature 0.8, 32 steps",
                "prior 256 wide, 4 layers, 4 heads",
                "prior 256 wide, 4 layers, 4 heads, guidance 2, temperature 0.8, 32 steps",
            ],
        },
        {"accuracy": ".2f", "FID": ".1f"},
    ),
    "compare": Table(
        "compare.csv",
        VARIANTS,
        "metric",
        as_they_are(
            "probe", "reconstruction error", "FID", "TSTR", "stage 1 (MiB)", "stage 2 (MiB)"
        ),
        formats={"reconstruction error": ".4f", "stage 1 (MiB)": ".0f", "stage 2 (MiB)": ".0f"},
    ),
    "defaults": Table(
        "defaults.csv",
        VARIANTS,
        "metric",
        as_they_are(
            "stage 1 (CPU s)",
            "stage 2 (CPU s)",
            "reconstruction error",
            "probe",
            "default and logistic regression",
            "FID",
            "TRTS",
            "TSTR",
            "coverage",
        ),
        {"split": "validation"},
        {"stage 1 (CPU s)": ".0f", "stage 2 (CPU s)": ".0f"},
    ),
    "budget": Table(
        "budget.csv",
        VARIANTS | {"budget": "budget"},
        "metric",
        as_they_are("CPU seconds", "TSTR", "FID", "coverage", "probe"),
        formats={"CPU seconds": ".0f", "FID": ".1f"},
    ),
    "plateaus": Table(
        "plateaus.csv",
        SETS,
        "metric",
        as_they_are("equal neighbours", "real", "decoded", "restored"),
        formats={
            "equal neighbours": ".2f",
            "real": ".2f",
            "decoded": ".2f",
            "restored": ".2f",
        },
    ),
    "bands": Table(
        "bands.csv",
        {"method": ""},
        "metric",
        as_they_are(
            "ppv",
            "probe",
            "reconstruction error",
            "error, low",
            "error, high",
            "FID, real",
            "FID, decoded",
            "FID, samples",
            "TSTR",
            "precision",
            "coverage",
            "CPU seconds, stage 1",
            "CPU seconds, stage 2",
        ),
        {"dataset": "mean"},
        {
            "FID, real": ".2f",
            "FID, decoded": ".2f",
            "FID, samples": ".2f",
            "precision": ".2f",
            "CPU seconds, stage 1": ".1f",
            "CPU seconds, stage 2": ".1f",
        },
    ),
    **{
        f"bands, {metric}": Table(
            "bands.csv",
            SETS,
            "method",
            as_they_are("no bands", "STFT", "haar", "db4", "STFT, own augmentations"),
            {"metric": metric},
            {"FID, decoded": ".2f"},
        )
        for metric in ("reconstruction error", "FID, decoded", "TSTR")
    },
    **{
        f"balance, {name}": Table(
            "balance.csv",
            {"method": "", "augmentation": "augmentation", "aug_recon_weight": "weight"},
            "metric",
            as_they_are("probe", "reconstruction error", "FID, real", "FID, decoded"),
            {"dataset": "mean"},
            {"FID, real": ".2f", "FID, decoded": ".2f"},
            sets,
        )
        for name, sets in (("six sets", balance.DATASETS), ("four others", balance.OTHERS))
    },
    "search": Table(
        "search.csv",
        {"dataset": "data set", "method": ""},
        "metric",
        {"seconds": "seconds", "accuracy": "accuracy"},
    ),
    "threads": Table(
        "threads.csv",
        {"dataset": "data set", "method": "", "threads": "threads"},
        "metric",
        {"seconds": "seconds", "CPU seconds": "CPU seconds"},
        formats={"CPU seconds": ".0f"},
    ),
    "limits": Table(
        "limits.csv",
        {"dataset": "data set", "method": "", "task": ""},
        "precision",
        as_they_are("float32", "bfloat16"),
        {"metric": "of matmul"},
    ),
    "augmentation, validation": Table(
        "augmentation.csv",
        {"metric": ""},
        "method",
        as_they_are(
            "real only", "jitter", "SMOTE", "samples, likelihood", "samples", "variations"
        ),
        {"split": "validation", "dataset": "mean"},
        {"accuracy": ".4f"},
    ),
}


def fill(text):
    """Return a page with its tables made anew."""
    return MARKED.sub(lambda m: "\n".join([m[1], *TABLES[m[2]].lines(), "", m[3]]), text)


def unknown_numbers(text):
    """Return the numbers with decimals in the prose that are in no result file or table."""
    known = {
        number for table in TABLES.values() for line in table.lines() for number in decimals(line)
    }
    for path in RESULTS.glob("*.csv"):
        known |= set(read(path.name)["value"])
    return [number for number in decimals(NOT_PROSE.sub("", text)) if number not in known]


def decimals(text):
    """Return the numbers with a decimal point in a text."""
    return re.findall(r"(?<![\d.:])\d+\.\d+(?![\d.]*\d)", text)


def main():
    """Write the pages, or say where they differ."""
    p = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    p.add_argument("--check", action="store_true", help="write nothing, fail on a difference")
    options = p.parse_args()
    complaints, shown = [], set()
    for page in PAGES:
        text = (ROOT / page).read_text(encoding="utf-8")
        filled = fill(text)
        shown |= {match[2] for match in MARKED.finditer(text)}
        if not options.check:
            (ROOT / page).write_text(filled, encoding="utf-8")
        elif filled != text:
            complaints.append(f"{page} differs from the result files. Run make_tables.py.")
        if page in RESULTS_PAGES:
            complaints += [f"{page}: {n} is in no result file." for n in unknown_numbers(filled)]
    complaints += [f"No page shows the table {name!r}." for name in TABLES.keys() - shown]
    if complaints:
        sys.exit("\n".join(complaints))


if __name__ == "__main__":
    main()
