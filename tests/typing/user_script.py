"""A user's program, for type checkers: they must flag the lines marked `# error`, and no others.

It is read by `.ci/check_types.py` and never run.
"""

from typing import Literal

import numpy as np
import torch
from numpy.typing import NDArray
from sklearn.frozen import FrozenEstimator
from sklearn.linear_model import LogisticRegression
from torch import Tensor
from torch.optim import Optimizer
from torch.optim.lr_scheduler import LRScheduler, StepLR

from skncvqvae import (
    AugmentedClassifier,
    AutoregressiveTokenPrior,
    MaskedTokenPrior,
    NCVQVAEGenerator,
    NCVQVAETransformer,
    load,
    save,
)
from skncvqvae.augmentations import Flip, GaussianNoise, augment
from skncvqvae.bands import STFTBands, WaveletBands, split_bands
from skncvqvae.metrics import evaluate, frechet_distance, tstr_score
from skncvqvae.nn.ssl import SSLMethod
from skncvqvae.nn.vqvae import NCVQVAE, NCVQVAEConfig
from skncvqvae.plots import SamplesDisplay
from skncvqvae.samplers import Autoregressive, MaskGIT, Sampler

rng = np.random.default_rng(0)
X: NDArray[np.float64] = rng.normal(size=(40, 64))
y = np.arange(40) % 2


# Right: stage 1.
transformer = NCVQVAETransformer("histogram", max_epochs=5, random_state=0).fit(X)
codebook: NDArray[np.floating] = transformer.codebook_
n_tokens: int = transformer.n_tokens_
tokens: NDArray[np.int64] = transformer.tokenize(X)
features = transformer.fit_transform(X)
decoded = transformer.inverse_transform(tokens)
error: float = -transformer.score(X)
quiet: NCVQVAETransformer = transformer.set_params(verbose=0)
lists = NCVQVAETransformer(irregular="interpolate").fit([[1.0, 2.0, 3.0], [1.0, 2.0]])
method: Literal["vicreg", "byol"] = "byol"
NCVQVAETransformer(ssl_method=method, ssl_weight="reference", n_levels="auto")
NCVQVAETransformer(bands=STFTBands(cutoffs=(1, 2)), n_codes={"low": 16, "high": 64})
NCVQVAETransformer(bands=lambda x: [x, 0 * x], augmentations={"high": "jitter"})
low: NDArray[np.floating] = split_bands(X, WaveletBands("db4"))["low"]
NCVQVAETransformer(augmentations=["flip", ("jitter", {"std": 0.1}), Flip(), GaussianNoise()])


# Wrong: stage 1.
NCVQVAETransformer(epochs=5)  # error: it is max_epochs
NCVQVAETransformer("code")  # error: it is "codes"
NCVQVAETransformer(ssl_method="barlow_twins")  # error: it is "barlowtwins"
NCVQVAETransformer(irregular="ignore")  # error: it is "raise" or "interpolate"
NCVQVAETransformer(n_codes="32")  # error: a number in a string
NCVQVAETransformer(bands="fourier")  # error: it is "stft"
NCVQVAETransformer(n_codes={"low": "16"})  # error: a number in a string
WaveletBands(level=2)  # error: it is levels
NCVQVAETransformer(n_levels="many")  # error: no number of levels
NCVQVAETransformer(lr=None)  # error: no "automatic" learning rate
transformer.tokenise(X)  # error: it is tokenize
transformer.codebooks_  # error: it is codebook_
NCVQVAETransformer.reference().fit()  # error: no series


# Right: parts of one's own.
def my_loss(p: Tensor, p_view: Tensor) -> Tensor:
    return (p - p_view).square().mean()


def my_schedule(optimizer: Optimizer, n_steps: int) -> LRScheduler:
    return StepLR(optimizer, max(n_steps // 3, 1))


def my_augmentation(X: Tensor) -> Tensor:
    return X + 0.1 * torch.randn_like(X)


class Greedy(Sampler):
    def draw(
        self, prior: object, tokens: Tensor, labels: Tensor, generator: torch.Generator | None
    ) -> Tensor:
        return tokens.clamp(min=0)


NCVQVAETransformer(ssl_method=my_loss, lr_schedule=my_schedule, augmentations=my_augmentation)
NCVQVAETransformer(ssl_method=SSLMethod(my_loss, whiten=True, auto_weight=2.0))


# Wrong: parts of one's own.
def of_one_view(p: Tensor) -> Tensor:
    return p.mean()


NCVQVAETransformer(ssl_method=of_one_view)  # error: a loss takes two projections
NCVQVAETransformer(lr_schedule="linear")  # error: no such schedule


# Right: stage 2.
prior = AutoregressiveTokenPrior(max_epochs=5, hidden_dim=32, n_heads=1)
generator = NCVQVAEGenerator(FrozenEstimator(transformer), prior, Autoregressive(top_p=0.9))
generator.set_params(prior__lr=1e-3, sampler__temperature=0.8).fit(X, y)
NCVQVAEGenerator(sampler=Greedy(), prior=MaskedTokenPrior(hidden_dim="auto"))
X_new, y_new = generator.sample(5, y=1, temperature=0.8)
more, _ = generator.sample(y=[0, 0, 1])
detail: NDArray[np.floating] = generator.vary(X, y, bands="high")
first: NDArray[np.floating] = X_new[0]
likelihood: float = generator.score(X, y)
drawn, classes = MaskedTokenPrior().fit(tokens, y).sample(3)


# Wrong: stage 2.
NCVQVAEGenerator(prior_max_epochs=10)  # error: it is set_params(prior__max_epochs=10)
NCVQVAEGenerator(sampler="maskgit")  # error: a sampler is an object
NCVQVAEGenerator(transformer=prior)  # error: the parts are in the wrong order
MaskedTokenPrior(hidden_dim=64.5)  # error: a width is an int
MaskGIT(steps=5)  # error: it is n_steps
Autoregressive(top_p="0.9")  # error: a number in a string
generator.sample("five")  # error: how many is an int
generator.samples(5)  # error: it is sample
MaskedTokenPrior().fit()  # error: no tokens


# Right: what is around them.
augmented = AugmentedClassifier(LogisticRegression(), generator).fit(X, y)
labels = augmented.predict(X)
distance: float = frechet_distance(X, X_new, features="rocket")
accuracy = tstr_score(X, y, X, y, classifier=LogisticRegression())
noisy = augment(X, "warp", random_state=0)
SamplesDisplay.from_data(X, X_new, y, y_new).plot(n_series=3)
save(generator, "generator.safetensors")
again = load("generator.safetensors", trusted=["sklearn.tree._tree.Tree"])
module = NCVQVAE(NCVQVAEConfig(n_channels=1, n_timesteps=64))
loss: Tensor = module.spectrogram(torch.zeros(2, 1, 64))


# Wrong: what is around them.
frechet_distance(X, X_new, feature="rocket")  # error: it is features
evaluate(generator, X, y, X)  # error: no labels of the test series
AugmentedClassifier(LogisticRegression(), n_synthetics=5)  # error: no such parameter
NCVQVAE(n_channels=1, n_timesteps=64)  # error: it takes an NCVQVAEConfig
GaussianNoise(sigma=0.1)  # error: it is std
save(generator)  # error: no path
load(b"generator.safetensors", trust=[])  # error: it is trusted
