"""What the dial from faithful to diverse does to samples."""

from collections.abc import Sequence
from numbers import Integral
from typing import TYPE_CHECKING, Any, Self, cast

import numpy as np
from numpy.typing import ArrayLike, NDArray
from sklearn.base import BaseEstimator
from sklearn.frozen import FrozenEstimator
from sklearn.utils.validation import check_scalar

from .._base import draw_seed
from .._generator import NCVQVAEGenerator
from .._labels import read_labels
from ..metrics import prdc
from ..metrics._features import Features, extract_features
from ..metrics._usefulness import fit_clone
from ._common import (
    PALETTE,
    Display,
    SomeAxes,
    fitted_generator,
    legend_above,
    require_matplotlib,
    use_axes,
)

if TYPE_CHECKING:
    from matplotlib.axes import Axes

_REMEDY = "Pass numbers from 0 to 1, such as [0, 0.5, 1]."
_COLORS = dict(zip(["precision", "recall", "coverage", "class fidelity"], PALETTE, strict=False))


class DiversityDisplay(Display):
    """Fidelity and diversity of samples as `diversity` is turned.

    On the left recall over precision, a point for each setting of the dial; on the right each
    measure over the dial. Use `from_estimator`.

    Parameters
    ----------
    diversities : ndarray of shape (n_settings,)
        Settings of the dial.
    scores : dict of str to ndarray of shape (n_settings,)
        ``"precision"``, ``"recall"``, ``"coverage"`` and, with classes, ``"class fidelity"``:
        the share of samples that a classifier trained on real series puts into their class.

    Attributes
    ----------
    axes_ : ndarray of Axes of shape (2,)
        The panels.
    figure_ : Figure
        The figure of them.
    """

    axes_: NDArray[np.object_]

    def __init__(
        self, diversities: NDArray[np.float64], scores: dict[str, NDArray[np.float64]]
    ) -> None:
        self.diversities = diversities
        self.scores = scores

    @classmethod
    def from_estimator(
        cls,
        generator: NCVQVAEGenerator,
        X: ArrayLike,
        y: ArrayLike | None = None,
        *,
        diversities: Sequence[float] = (0.0, 0.25, 0.5, 0.75, 1.0),
        n_samples: int | None = None,
        features: Features = "rocket",
        classifier: BaseEstimator | None = None,
        n_neighbors: int = 5,
        random_state: int | np.random.RandomState | None = 0,
        **options: Any,
    ) -> Self:
        """Draw from a generator at several settings of the dial, and measure.

        Parameters
        ----------
        generator : NCVQVAEGenerator
            A fitted generator whose sampler has a parameter `diversity`.
        X : array-like
            Real series, as in its `fit`; best those that it was not fitted on.
        y : array-like of shape (n,), optional
            Their classes, for a generator that was fitted with classes. With them samples have
            these classes, and class fidelity is measured.
        diversities : sequence of float, default=(0, 0.25, 0.5, 0.75, 1)
            Settings of the dial.
        n_samples : int or None, default=None
            Samples of each setting, with `y` in its proportions; None is as many as there are
            real series. Recall and coverage grow with it.
        features, n_neighbors
            As in `skncvqvae.metrics.prdc`.
        classifier : classifier or None, default=None
            As in `skncvqvae.metrics.trts_score`.
        random_state : int, RandomState instance or None, default=0
            Seeds samples, features and classifier.
        **options
            Options of `plot`.

        Returns
        -------
        DiversityDisplay

        Raises
        ------
        sklearn.exceptions.NotFittedError
            Before `fit`.
        ValueError
            On data or classes that the generator does not know, settings that are no numbers from
            0 to 1, or a sampler without the dial.
        ImportError
            When features or a classifier by aeon are asked for without it.

        Examples
        --------
        >>> from skncvqvae.plots import DiversityDisplay
        >>> DiversityDisplay.from_estimator(generator, X_test, y_test)  # doctest: +SKIP
        """
        model = fitted_generator(generator)
        seed = draw_seed(random_state)
        real = _flat(model.read(X))
        settings = _read_settings(diversities)
        n = len(real) if n_samples is None else n_samples
        if isinstance(n, (bool, np.bool_)):
            raise TypeError(f"n_samples={n} must be an integer.")
        check_scalar(n, "n_samples", Integral, min_val=1)
        wanted: Any = None if y is None else read_labels(y, len(real))
        of_real = wanted
        if wanted is not None and n != len(real):
            wanted = np.random.RandomState(seed).permutation(np.resize(wanted, n))
        judge: Any = None
        if of_real is not None:
            judge = FrozenEstimator(fit_clone(classifier, real, of_real, seed))
        drawn = []
        for setting in settings:
            series, labels = model.sample(n, wanted, random_state=seed, diversity=setting)
            drawn.append((_flat(model.read(series)), labels))
        arrays = [series for series, _ in drawn]
        extracted = extract_features(features, real, *arrays, y_real=of_real, random_state=seed)
        scores: dict[str, list[float]] = {}
        for (series, labels), of_series in zip(drawn, extracted[1:], strict=True):
            found = prdc(extracted[0], of_series, features=None, n_neighbors=n_neighbors)
            found.pop("density")
            if judge is not None:
                found["class fidelity"] = float(judge.score(series.copy(), labels))
            for name, value in found.items():
                scores.setdefault(name, []).append(value)
        columns = {name: np.array(values) for name, values in scores.items()}
        return cls(settings, columns).plot(**options)

    def plot(self, *, axes: SomeAxes = None) -> Self:
        """Draw the panels.

        Parameters
        ----------
        axes : array-like of Axes, optional
            Two. None makes a figure, in place of one that the display made before.

        Returns
        -------
        self

        Raises
        ------
        ValueError
            On another number of axes.
        """
        plt = require_matplotlib(self)
        own_figure = axes is None
        if own_figure:
            _, axes = plt.subplots(1, 2, figsize=(9, 4), layout="constrained")
        curve, dial = cast("list[Axes]", list(use_axes(axes, 2)))
        x, y = self.scores["precision"], self.scores["recall"]
        curve.plot(x, y, color="0.7", linewidth=1, zorder=1)
        points = curve.scatter(x, y, c=self.diversities, cmap="viridis", vmin=0, vmax=1, zorder=2)
        curve.figure.colorbar(points, ax=curve, label="diversity")
        for setting, place in zip(self.diversities, zip(x, y, strict=True), strict=True):
            curve.annotate(
                f"{setting:g}", place, xytext=(5, 5), textcoords="offset points", fontsize="small"
            )
        curve.set(xlabel="precision", ylabel="recall")
        curve.margins(0.15)
        for name, values in self.scores.items():
            color = _COLORS[name]
            dial.plot(self.diversities, values, marker="o", markersize=4, color=color, label=name)
        dial.set(xlabel="diversity", ylim=(-0.03, 1.03))
        legend_above(dial, dial.get_lines())
        self.axes_ = np.array([curve, dial], dtype=object)
        self._keep_picture(curve, made=own_figure)
        return self


def _read_settings(diversities: Any) -> NDArray[np.float64]:
    """Return settings of the dial in their order, each once."""
    try:
        settings = np.unique(np.asarray(diversities, dtype=np.float64))
    except (TypeError, ValueError) as error:
        raise ValueError(f"diversities={diversities!r} holds no numbers. {_REMEDY}") from error
    if np.ndim(diversities) != 1 or not settings.size:
        raise ValueError(f"diversities={diversities!r} is no list of settings. {_REMEDY}")
    return settings


def _flat(series: NDArray[np.floating]) -> NDArray[np.floating]:
    """Return series of one channel as rows, which all classifiers and extractors take."""
    return series[:, 0] if series.shape[1] == 1 else series
