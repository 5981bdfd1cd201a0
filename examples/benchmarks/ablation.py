"""One change at a time to the default transformer, on a split of the training set.

Each variant is fitted on 70 % of the training split and judged on the other 30 %: linear-SVM
probe accuracy of two representations, and the reconstruction error relative to the variance.
Test splits are not touched.

    python examples/benchmarks/ablation.py --datasets FordA ECG5000 --seeds 1
    python examples/benchmarks/ablation.py --datasets FordA --only random_shift n_codes
"""

from common import (
    Results,
    describe_change,
    load_ucr,
    mean_and_spread,
    parser,
    print_table,
    probe_accuracy,
    split_training,
    start,
)

from skncvqvae import NCVQVAETransformer

COLUMNS = ["probe, embedding", "probe, histogram", "reconstruction error", "perplexity"]
VARIANTS = [
    {},
    {"random_shift": 0.0},
    {"random_shift": 0.0, "n_codes": 32},
    {"n_codes": 32},
    {"n_codes": 64},
    {"n_codes": 256},
    {"ssl_method": None},
    {"ssl_weight": "reference"},
    {"ssl_weight": 5.0},
    {"ssl_method": "vibcreg"},
    {"ssl_method": "vicreg"},
    {"ssl_method": "byol"},
    {"ssl_pooling": "avg_max"},
    {"augmentations": "warp"},
    {"augmentations": "warp", "ssl_pooling": "avg_max"},
    {"augmentations": "gauss"},
    {"n_res_blocks": 2},
    {"n_res_blocks": 4},
    {"decoder_dilation_growth": 1},
    {"downsampled_width": 8},
    {"aug_recon_weight": 0.0},
    {"aug_recon_fraction": 1.0},
    {"batch_size": 64},
    {"codebook_init": "random", "dead_code_threshold": 0.0},
]


def measure(split, **params):
    """Fit once; return the figures of `COLUMNS`."""
    X, y, X_val, y_val = split
    model = NCVQVAETransformer(device="cpu", **params).fit(X)
    found = {}
    for representation in ("embedding", "histogram"):
        model.set_params(representation=representation)
        found[f"probe, {representation}"] = probe_accuracy(model, X, y, X_val, y_val)
    found["reconstruction error"] = -model.score(X_val)
    found["perplexity"] = model.perplexity_
    return found


def main():
    """Run all variants and print a table for each data set."""
    p = parser(__doc__, ["FordA", "ECG5000"])
    p.add_argument("--only", nargs="+", help="variants of no other parameters than these")
    options = p.parse_args()
    params = start(options)
    output = Results(options.output)
    variants = [v for v in VARIANTS if options.only is None or v.keys() <= set(options.only)]
    for name in options.datasets:
        X, y, _, _ = load_ucr(options.data, name)
        split = split_training(X, y, random_state=0, test_size=0.3)
        rows = []
        for change in variants:
            runs = []
            for seed in range(options.seeds):
                runs.append(measure(split, random_state=seed, **params, **change))
                label = describe_change(change).replace("`", "")
                output.add(name, label, runs[-1], seed, base="default")
            cells = [
                mean_and_spread([run[c] for run in runs], 1 if c == "perplexity" else 3)
                for c in COLUMNS
            ]
            rows.append([describe_change(change), *cells])
            print(f"# {name}: {rows[-1]}", flush=True)
        print(f"\n{name}\n")
        print_table(["change", *COLUMNS], rows)


if __name__ == "__main__":
    main()
