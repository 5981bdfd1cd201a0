"""How tokens are drawn: class fidelity, diversity, copying and passes of each sampler.

Part of the training split only: tokenizer and both priors are fitted once on two thirds of it, and
what each sampler draws is judged with the other third. The judge is MiniROCKET with ridge
regression. TRTS and TSTR are relative to those of decoded training series; precision, coverage,
recall and authenticity are less those of held-out series. Passes are those of the network over a
row of tokens, or, of the autoregressive prior, over one token.

    python examples/benchmarks/samplers.py --folds 1 --threads 1 \\
        --output examples/benchmarks/results/samplers.csv
"""

import argparse

import numpy as np
from class_fidelity import Judge, default_tokenizer
from common import Results, parser, print_table, split_options, splits_of, start
from sklearn.base import clone
from sklearn.frozen import FrozenEstimator
from torch.nn.modules.module import register_module_forward_pre_hook

from skncvqvae import AutoregressiveTokenPrior, MaskedTokenPrior, NCVQVAEGenerator
from skncvqvae.nn.attention import Block

DATASETS = ["GunPoint", "ECG200", "SyntheticControl", "Lightning7", "BME", "FacesUCR"]
COLUMNS = ["TRTS", "TSTR", "FID", "precision", "coverage", "recall", "authenticity", "passes"]
# Of a weaker prior, relative to the epochs of the other.
WEAKER = 0.25

MASKED = {
    "MaskGIT, confidence": {},
    "random order": {"order": "random"},
    "Halton order": {"order": "halton"},
    "32 steps": {"n_steps": 32},
    "ReMDM, cap": {"order": "random", "remasking": "cap", "n_steps": 32},
    "ReMDM, rescale": {"order": "random", "remasking": "rescale", "n_steps": 32},
    "ReMDM, confidence": {"order": "random", "remasking": "confidence", "n_steps": 32},
    "2 corrections": {"n_corrections": 2},
    "guidance 2": {"guidance_scale": 2},
    "guidance 2, linear": {"guidance_scale": 2, "guidance_schedule": "linear"},
    "guidance 2, cosine": {"guidance_scale": 2, "guidance_schedule": "cosine"},
    "guidance 2, last half": {"guidance_scale": 2, "guidance_interval": (0.5, 1)},
    "autoguidance 2": {"guidance_scale": 2, "weaker": True},
    "best of 4": {"best_of": 4},
    "diversity 0.2": {"diversity": 0.2},
    "diversity 0.8": {"diversity": 0.8},
}
AUTOREGRESSIVE = {
    "default": {},
    "autoguidance 1.25": {"guidance_scale": 1.25},
    "autoguidance 1.5": {"guidance_scale": 1.5},
    "autoguidance 2": {"guidance_scale": 2},
    "autoguidance 1.5, without copies": {"guidance_scale": 1.5, "weaker": True},
    "no guidance": {"guidance_scale": 1},
    "guidance 1.25": {"guidance_scale": 1.25, "weaker": None},
    "guidance 2": {"guidance_scale": 2, "weaker": None},
    "guidance 2, linear": {
        "guidance_scale": 2,
        "guidance_schedule": "linear",
        "weaker": None,
    },
    "guidance 2, last half": {
        "guidance_scale": 2,
        "guidance_interval": (0.5, 1),
        "weaker": None,
    },
    "top p 0.9": {"top_p": 0.9},
    "best of 4": {"best_of": 4},
    "4 class candidates": {"class_candidates": 4},
    "4 class candidates, diversity 0.4": {"class_candidates": 4, "diversity": 0.4},
    "4 class candidates, no guidance": {"class_candidates": 4, "guidance_scale": 1},
    "diversity 0.2": {"diversity": 0.2},
    "diversity 0.35": {"diversity": 0.35},
    "diversity 0.8": {"diversity": 0.8},
}


class Passes:
    """Counts rows that go through networks of some layers, those that samplers make included."""

    def __init__(self, n_layers):
        self.rows, self.n_layers = 0.0, n_layers
        self.hook = register_module_forward_pre_hook(self._count)

    def _count(self, module, inputs):
        if isinstance(module, Block):
            self.rows += len(inputs[0]) / self.n_layers

    def close(self):
        """Take the counter off."""
        self.hook.remove()


def relative(found, decoded, held_out):
    """Return figures of samples relative to those of decoded and of held-out series."""
    ratios = {name: found[name] / decoded[name] for name in ("TRTS", "TSTR")}
    return found | ratios | {name: found[name] - held_out[name] for name in COLUMNS[3:7]}


def fitted_generator(prior, tokenizer, X, y):
    """Return a generator of the prior, and the same prior trained for a shorter time."""
    generator = NCVQVAEGenerator(FrozenEstimator(tokenizer), prior, random_state=0)
    encoded = generator.fit_encode(X, y)
    epochs = max(1, round(WEAKER * generator.prior_.n_iter_))
    weaker = clone(generator.prior_).set_params(max_epochs=epochs)
    return generator, weaker.fit(encoded.tokens, y, layout=tokenizer.layout_)


def main():
    """Fit, judge, and print a table."""
    p = parser(__doc__, DATASETS, seeds=False)
    split_options(p, "folds", "max-series", "cache")
    p.add_argument("--draws", type=int, default=2, help="samples are drawn so many times")
    p.add_argument("--prior-epochs", type=int, help=argparse.SUPPRESS)
    options = p.parse_args()
    params = start(options)
    epochs = {} if options.prior_epochs is None else {"max_epochs": options.prior_epochs}
    priors = {
        "masked": (MaskedTokenPrior(**epochs), MASKED),
        "autoregressive": (AutoregressiveTokenPrior(**epochs), AUTOREGRESSIVE),
    }
    output, rows = Results(options.output), {}
    for dataset in options.datasets:
        for label, _, (X, y, X_held, y_held) in splits_of(dataset, options):
            tokenizer = default_tokenizer(X, params, 0, options.cache)
            decoded = tokenizer.inverse_transform(tokenizer.tokenize(X))
            judge = Judge(X, y, X_held, y_held)
            yardsticks = judge(decoded, y, seed=0), judge.of_held_out()
            for prior_name, (prior, samplers) in priors.items():
                generator, weaker = fitted_generator(prior, tokenizer, X, y)
                for name, given in samplers.items():
                    sampler = given | ({"weaker": weaker} if given.get("weaker") else {})
                    draws = []
                    for seed in range(options.draws):
                        passes = Passes(generator.prior_.n_layers)
                        samples, labels = generator.sample(y=y, random_state=seed, **sampler)
                        passes.close()
                        found = relative(judge(samples, labels, seed), *yardsticks)
                        draws.append(found | {"passes": passes.rows / len(samples)})
                    means = {c: float(np.mean([draw[c] for draw in draws])) for c in COLUMNS}
                    output.add(dataset, name, means, label, prior=prior_name)
                    rows.setdefault((prior_name, name), []).append([means[c] for c in COLUMNS])
                    figures = (f"{value:.2f}" for value in means.values())
                    print(f"# {dataset}, {prior_name}, {name}:", *figures, flush=True)
    table = [
        [*names, *(f"{value:.2f}" for value in np.mean(found, axis=0))]
        for names, found in rows.items()
    ]
    print_table(["prior", "sampler", *COLUMNS], table)


if __name__ == "__main__":
    main()
