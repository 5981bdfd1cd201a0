"""How long a search over the weight of the self-supervised loss takes.

Five folds and four weights, 100 series of 150 steps (GunPoint, of both splits), ridge regression
on the default representation, all else at its defaults; by the clock, with one process and with
as many as there are processors, in turns. Nothing else may run meanwhile.

    python examples/benchmarks/search.py --output examples/benchmarks/results/search.csv
"""

import itertools
import json
import os
from pathlib import Path

import numpy as np
from common import Results, load_ucr, parser, print_table, run_script, timed, work_apart

N_SERIES = 100
WEIGHTS = [0.0, 0.1, 1.0, 10.0]
N_FOLDS = 5


def work(options):
    """Search once; print the seconds it took, and what it chose."""
    from sklearn.linear_model import RidgeClassifierCV
    from sklearn.model_selection import GridSearchCV
    from sklearn.pipeline import make_pipeline

    from skncvqvae import NCVQVAETransformer

    X, y, X_test, y_test = load_ucr(Path(options["data"]), options["dataset"])
    X, y = np.concatenate([X, X_test])[:N_SERIES], np.concatenate([y, y_test])[:N_SERIES]
    transformer = NCVQVAETransformer(device="cpu", random_state=0)
    if options["epochs"] is not None:
        transformer.set_params(max_epochs=options["epochs"])
    pipeline = make_pipeline(transformer, RidgeClassifierCV(np.logspace(-3, 3, 7)))
    grid = {"ncvqvaetransformer__ssl_weight": WEIGHTS}
    search = GridSearchCV(pipeline, grid, cv=N_FOLDS, n_jobs=options["jobs"], refit=False)
    seconds = timed(lambda: search.fit(X, y))
    print(json.dumps({"seconds": seconds, "accuracy": float(search.best_score_)}))


def main():
    """Print a table of the seconds of each search."""
    p = parser(__doc__, ["GunPoint"], seeds=False)
    p.add_argument("--jobs", type=int, nargs="+", default=[1, os.cpu_count()])
    p.add_argument("--rounds", type=int, default=2)
    options = p.parse_args()
    output, rows = Results(options.output), []
    shared = {"data": str(options.data), "epochs": options.epochs}
    for turn, dataset, jobs in itertools.product(
        range(options.rounds), options.datasets, options.jobs
    ):
        # One process uses all threads, several of them one each.
        threads = options.threads if jobs == 1 else 1
        found = work_apart({"dataset": dataset, "jobs": jobs, "threads": threads} | shared)
        output.add(dataset, f"processes: {jobs}, threads: {threads}", found, turn)
        rows.append([dataset, jobs, *(f"{value:.3g}" for value in found.values())])
        print("#", rows[-1], flush=True)
    print_table(["data set", "processes", "seconds", "accuracy"], rows)


if __name__ == "__main__":
    run_script(main, work)
