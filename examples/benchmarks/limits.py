"""How far a step is from what the machine can do, and where its time goes.

Counts the floating-point operations of matrix products and convolutions in a training step,
forward and backward, or in sampling a batch of series of one class, and sets their rate beside
that of one large matrix product of the same precision in the same process. The few operations of
fused attention are not counted, though its time is; the prior's attention in bfloat16 is of plain
products, which count as linear. The last columns are shares of the step's time, from torch's
profiler.

    python examples/benchmarks/limits.py
"""

import numpy as np
import torch
from common import Results, describe_machine, load_ucr, parser, print_table, timed
from sklearn.preprocessing import LabelEncoder
from torch.profiler import profile
from torch.utils.flop_counter import FlopCounterMode

from skncvqvae import MaskedTokenPrior, NCVQVAEGenerator, NCVQVAETransformer
from skncvqvae.augmentations import Shift, make_augmentation

GROUPS = {
    "linear": ("aten::mm", "aten::addmm", "aten::bmm", "aten::baddbmm"),
    "convolution": (
        "aten::mkldnn_convolution",
        "aten::_convolution",
        "aten::convolution_backward",
    ),
    "attention": (
        "aten::_scaled_dot_product_flash_attention_for_cpu",
        "aten::_scaled_dot_product_flash_attention_for_cpu_backward",
    ),
    "optimiser": ("aten::_fused_adamw_",),
}
PRECISIONS = {"float32": torch.float32, "bfloat16": torch.bfloat16}
N_SAMPLES = 256
DIGITS = {"GFLOP": ".1f", "ms": ".0f", "GFLOP/s": ".0f", "matmul GFLOP/s": ".0f"}


def median_time(function, n=7):
    """Return the median seconds of `n` calls after two for warming up."""
    return float(np.median([timed(function) for _ in range(n + 2)][2:]))


def matmul_rate(dtype, size=2048):
    """Return the operations a second of a square matrix product."""
    a, b = (torch.randn(size, size, dtype=dtype) for _ in "ab")
    return 2 * size**3 / median_time(lambda: a @ b)


def make_training_step(module, loss, dtype):
    """Return a function that makes a training step as the estimators do."""
    optimiser = torch.optim.AdamW(module.parameters(), lr=1e-3, fused=True)
    module.train()

    def step():
        with torch.autocast("cpu", torch.bfloat16, enabled=dtype == torch.bfloat16):
            value = loss()
        optimiser.zero_grad()
        value.backward()
        optimiser.step()

    return step


def fit(preset, X, y):
    """Return a generator with both stages after one pass over the data."""
    reference = preset == "reference"
    params = {"device": "cpu", "random_state": 0}
    generator = NCVQVAEGenerator.reference(**params) if reference else NCVQVAEGenerator(**params)
    for part, estimator in (("transformer", NCVQVAETransformer), ("prior", MaskedTokenPrior)):
        make = estimator.reference if reference else estimator
        generator.set_params(**{part: make(max_epochs=1, device="cpu")})
    return generator.fit(X, y)


def make_steps(generator, X, y, dtype):
    """Return functions that make a step of each task on one batch, by name."""
    transformer, prior = generator.transformer_, generator.prior_
    module = transformer.module_
    series = transformer.read(X[: transformer.batch_size])
    x = torch.from_numpy(transformer.codec_.standardise(series))
    tokens = torch.from_numpy(transformer.tokenize(X[: prior.batch_size]))
    labels = torch.from_numpy(LabelEncoder().fit_transform(y))[: len(tokens)]
    noise = torch.Generator().manual_seed(0)
    max_shift = transformer.layout_.max_shift(X.shape[1], transformer.random_shift)
    augmentation = make_augmentation(transformer.augmentations)

    def stage1_loss():
        with torch.no_grad():
            moved = Shift(max_shift)(x, noise) if max_shift else x
            view = augmentation(moved, noise)
        return module(moved, view, generator=noise)["loss"]

    prior.set_params(mixed_precision=dtype == torch.bfloat16)
    return {
        "stage 1": make_training_step(module, stage1_loss, dtype),
        "stage 2": make_training_step(
            prior.module_, lambda: prior.module_.loss(tokens, labels, generator=noise), dtype
        ),
        "sampling": lambda: generator.sample(N_SAMPLES, y=generator.classes_[0]),
    }


def shares(step):
    """Return the share of a step's time in each group of operations."""
    with profile() as recorded:
        for _ in range(5):
            step()
    events = recorded.key_averages()
    total = sum(event.self_cpu_time_total for event in events)
    return [
        sum(event.self_cpu_time_total for event in events if event.key in names) / total
        for names in GROUPS.values()
    ]


def main():
    """Print a table of steps and rates."""
    options = parser(__doc__, ["ECG5000", "FordA"], seeds=False, epochs=False).parse_args()
    torch.set_num_threads(options.threads)
    print(describe_machine(), f"{options.threads} threads\n", sep=", ")
    output = Results(options.output)
    rows = []
    for name in options.datasets:
        X, y, *_ = load_ucr(options.data, name)
        for preset in ("reference", "default"):
            generator = fit(preset, X, y)
            for precision, dtype in PRECISIONS.items():
                for task, step in make_steps(generator, X, y, dtype).items():
                    with FlopCounterMode(display=False) as counter:
                        step()
                    count, seconds = counter.get_total_flops(), median_time(step)
                    limit = matmul_rate(dtype)
                    found = {
                        "GFLOP": count / 1e9,
                        "ms": 1e3 * seconds,
                        "GFLOP/s": count / seconds / 1e9,
                        "matmul GFLOP/s": limit / 1e9,
                        "of matmul": count / seconds / limit,
                        **dict(zip(GROUPS, shares(step), strict=True)),
                    }
                    output.add(name, preset, found, task=task, precision=precision)
                    cells = [f"{value:{DIGITS.get(key, '.0%')}}" for key, value in found.items()]
                    rows.append([name, f"{task}, {preset}", precision, *cells])
    print_table(["data set", "step", "precision", *found], rows)


if __name__ == "__main__":
    main()
