"""How much the augmented view should count, by the augmentation that makes it.

The authors leave the balance open. For each augmentation and each weight of the reconstruction of
the augmented view (``aug_recon_weight``), and with two bands for each of both that the high band
can have: figures of the tokenizer as in ``bands.py``, on the half of a training split that was set
aside. A rule is made on the first six sets and looked at on the others. What ``--output`` holds
already is not run again.

    python examples/benchmarks/balance.py --seeds 1 --threads 1 \\
        --output examples/benchmarks/results/balance.csv
"""

import itertools

import pandas as pd
from bands import load, measure
from common import Results, parser, print_table, start

DATASETS = ["CBF", "GunPoint", "ECG200", "SyntheticControl", "FacesUCR", "Plane"]
OTHERS = ["ArrowHead", "ToeSegmentation1", "MiddlePhalanxTW", "BME"]
AUGMENTATIONS = {
    "slice": "slice",
    "warp": "warp",
    "gauss": "gauss",
    "jitter, phase": ["jitter", "phase_shift"],
}
WEIGHTS = [0.0, 0.1, 1.0]
FIGURES = ["probe", "reconstruction error", "FID, decoded", "FID, real"]


def variants():
    """Return parameters of the transformer by bands, augmentation and weight."""
    found = {}
    for (label, made), weight in itertools.product(AUGMENTATIONS.items(), WEIGHTS):
        found["one band", label, weight] = {"augmentations": made, "aug_recon_weight": weight}
    # The low band as it is by itself.
    for (label, made), weight in itertools.product(AUGMENTATIONS.items(), WEIGHTS[:2]):
        found["high band", label, weight] = {
            "bands": "stft",
            "augmentations": {"high": made},
            "aug_recon_weight": {"high": weight},
        }
    found["high band", "none", 0.0] = {"bands": "stft"}
    return found


def main():
    """Print a table of the means over the sets."""
    p = parser(__doc__, DATASETS + OTHERS)
    options = p.parse_args()
    start(options)
    options.tokenizer_only = True
    output = Results(options.output, resume=True)
    for seed, name in itertools.product(range(options.seeds), options.datasets):
        split = load(name, seed, options)
        for (bands, augmentation, weight), params in variants().items():
            keys = {"augmentation": augmentation, "aug_recon_weight": weight}
            if output.holds(name, bands, seed, **keys):
                continue
            figures = measure(split, params, seed, options)
            figures = {key: figures[key] for key in [*FIGURES, "CPU seconds, stage 1"]}
            print("#", name, bands, *keys.values(), figures, flush=True)
            output.add(name, bands, figures, seed, **keys)
    data = pd.DataFrame(output.rows).astype({"value": float})
    for chosen in (DATASETS, OTHERS):
        some = data[data["dataset"].isin(chosen)]
        if some.empty:
            continue
        index = ["method", "augmentation", "aug_recon_weight"]
        table = some.pivot_table("value", index, "metric", sort=False)
        rows = [[*key, *(f"{row[f]:.3f}" for f in FIGURES)] for key, row in table.iterrows()]
        print(f"\nMeans over {some['dataset'].nunique()} sets:\n")
        print_table(["", "augmentation", "weight", *FIGURES], rows)


if __name__ == "__main__":
    main()
