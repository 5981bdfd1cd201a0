"""Metrics of synthetic series: are they faithful, diverse, new, and useful to a classifier.

Functions on arrays ``(n, length)`` or ``(n, n_channels, length)``, so they judge series of any
origin. `evaluate` computes most of them for a fitted generator, each beside the value that real
held-out series get; `repeated_score` computes one several times, with an interval. `rank_me`,
`lidar` and `alignment_uniformity` judge representations, without labels. The extractor
``"rocket"`` and the default classifier need aeon: ``pip install 'skncvqvae[metrics]'``.
"""

from ._coverage import coverage, density, prdc, precision, recall
from ._distribution import (
    frechet_distance,
    inception_score,
    kernel_inception_distance,
    maximum_mean_discrepancy,
)
from ._evaluate import evaluate
from ._features import FCNClassifier, RocketFeatures
from ._memorisation import (
    authenticity,
    copying_test,
    membership_auc,
    membership_test,
    nearest_neighbor_distance_ratio,
)
from ._recurrent import (
    RepeatedScore,
    correlational_score,
    discriminative_score,
    predictive_score,
    repeated_score,
)
from ._representation import (
    alignment,
    alignment_uniformity,
    alignment_uniformity_scorer,
    lidar,
    make_representation_scorer,
    rank_me,
    uniformity,
)
from ._scorers import (
    coverage_scorer,
    make_generator_scorer,
    neg_frechet_distance_scorer,
    neg_kernel_inception_distance_scorer,
    tstr_scorer,
)
from ._series import autocorrelation_difference, marginal_difference, power_spectrum_difference
from ._usefulness import (
    augmentation_gain,
    classifier_two_sample_score,
    trts_score,
    tstr_score,
)

__all__ = [
    "FCNClassifier",
    "RepeatedScore",
    "RocketFeatures",
    "alignment",
    "alignment_uniformity",
    "alignment_uniformity_scorer",
    "augmentation_gain",
    "authenticity",
    "autocorrelation_difference",
    "classifier_two_sample_score",
    "copying_test",
    "correlational_score",
    "coverage",
    "coverage_scorer",
    "density",
    "discriminative_score",
    "evaluate",
    "frechet_distance",
    "inception_score",
    "kernel_inception_distance",
    "lidar",
    "make_generator_scorer",
    "make_representation_scorer",
    "marginal_difference",
    "maximum_mean_discrepancy",
    "membership_auc",
    "membership_test",
    "nearest_neighbor_distance_ratio",
    "neg_frechet_distance_scorer",
    "neg_kernel_inception_distance_scorer",
    "power_spectrum_difference",
    "prdc",
    "precision",
    "predictive_score",
    "rank_me",
    "recall",
    "repeated_score",
    "trts_score",
    "tstr_score",
    "tstr_scorer",
    "uniformity",
]
