"""How long `transform` takes, for each representation: 10,000 series of 500 values.

Random walks; the tokenizer is trained for one pass over a few of them, since what it has learnt
does not matter. Wall-clock and CPU seconds; on a machine that others use too, the latter tell
more.

    python examples/benchmarks/transform.py --threads 1 \\
        --output examples/benchmarks/results/transform.csv
"""

import time

import numpy as np
import torch
from common import Results, bare_parser, describe_machine, print_table

from skncvqvae import NCVQVAETransformer

REPRESENTATIONS = ["ppv", "code_ppv", "codes", "latent", "pooled", "embedding", "histogram"]
REPRESENTATIONS += ["pairs", "tokens"]
N_FITTED = 200


def main():
    """Time each representation and print a table."""
    p = bare_parser(__doc__)
    p.add_argument("--n", type=int, default=10_000)
    p.add_argument("--length", type=int, default=500)
    p.add_argument("--threads", type=int, default=2)
    p.add_argument("--representations", nargs="+", default=REPRESENTATIONS)
    options = p.parse_args()
    torch.set_num_threads(options.threads)
    print(describe_machine(), f"{options.threads} threads", sep=", ")
    X = np.random.default_rng(0).normal(size=(options.n, options.length)).cumsum(1)
    X = X.astype(np.float32)
    model = NCVQVAETransformer(max_epochs=1, device="cpu", random_state=0).fit(X[:N_FITTED])
    output, rows = Results(options.output), []
    for name in options.representations:
        model.set_params(representation=name).transform(X[:N_FITTED])
        begin, cpu = time.perf_counter(), time.process_time()
        shape = model.transform(X).shape
        found = {"seconds": time.perf_counter() - begin, "CPU seconds": time.process_time() - cpu}
        dataset = f"{options.n} x {options.length}"
        output.add(dataset, name, found, threads=options.threads)
        rows.append([name, shape[1], *(f"{value:.1f}" for value in found.values())])
        print("#", *rows[-1], flush=True)
    print_table(["representation", "features", "seconds", "CPU seconds"], rows)


if __name__ == "__main__":
    main()
