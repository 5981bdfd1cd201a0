"""Augmentations that make the second view of stage 1, on whole batches in torch.

Every augmentation is a callable ``augmentation(X, generator=None)`` that maps a tensor of
shape ``(n, n_channels, length)`` to one of the same shape and leaves `X` as it is: the protocol
`Augmentation`. Each series draws its own random numbers; its channels share them where they move
along time, so that they stay aligned.
Amplitudes are in units of the training set's standard deviation, since the estimators
standardise first. The methods and default strengths are those of the reference configuration
(Mathisen et al., arXiv:2408.16613), except where a docstring says otherwise.
"""

import difflib
import functools
import inspect
import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from numbers import Integral, Real
from typing import Protocol, TypeAlias

import numpy as np
import torch
from numpy.typing import ArrayLike, NDArray
from scipy.interpolate import CubicSpline
from torch import Tensor

from ._base import draw_seed
from ._containers import read_array

__all__ = [
    "AUGMENTATIONS",
    "AUGMENTATION_SETS",
    "AmplitudeResize",
    "Augmentation",
    "AugmentationSpec",
    "BandRemoval",
    "Compose",
    "Flip",
    "GaussianNoise",
    "Jitter",
    "MagnitudeWarp",
    "NoiseWindow",
    "PhaseShift",
    "RandomCrop",
    "Shift",
    "SliceShuffle",
    "Slope",
    "SpectralMask",
    "WindowWarp",
    "augment",
    "make_augmentation",
]


class Augmentation(Protocol):
    """What changes a batch of series at random, and returns it as a new tensor."""

    def __call__(self, X: Tensor, generator: torch.Generator | None = None) -> Tensor:
        """Return a changed copy of series.

        Parameters
        ----------
        X : torch.Tensor of shape (n, n_channels, length)
        generator : torch.Generator or None, default=None
            Source of all random numbers, on the device of `X`; None is torch's own.

        Returns
        -------
        torch.Tensor of the shape of `X`
        """
        ...


# A user's function need not take a generator, and may take further arguments.
_Step: TypeAlias = str | Callable[..., Tensor] | tuple[str, Mapping[str, object]]
#: What `make_augmentation` takes: a name, a callable, a (name, parameters) pair, or several.
AugmentationSpec: TypeAlias = _Step | Sequence[_Step]


# Of a window's duration; single precision knows no further times.
_LARGEST_STRETCH = 1e6


def _check(
    owner: object, name: str, low: float, high: float = math.inf, integer: bool = False
) -> None:
    """Refuse a parameter outside ``[low, high]``."""
    value: float = getattr(owner, name)
    kind = Integral if integer else Real
    is_number = isinstance(value, kind) and not isinstance(value, bool)
    if not (is_number and low <= value <= high):
        raise ValueError(
            f"{type(owner).__name__}: {name}={value!r} must be "
            f"{'an integer' if integer else 'a number'} in [{low}, {high}]."
        )


def _uniform(
    X: Tensor,
    shape: Sequence[int],
    generator: torch.Generator | None,
    low: float = 0.0,
    high: float = 1.0,
) -> Tensor:
    u = torch.rand(shape, generator=generator, device=X.device, dtype=X.dtype)
    return low + (high - low) * u


def _normal(X: Tensor, shape: Sequence[int], generator: torch.Generator | None) -> Tensor:
    return torch.randn(shape, generator=generator, device=X.device, dtype=X.dtype)


def _time(X: Tensor) -> Tensor:
    return torch.arange(X.shape[-1], device=X.device, dtype=X.dtype)


def _resample(X: Tensor, position: Tensor) -> Tensor:
    """Interpolate series linearly at fractional time steps ``(n, length)``."""
    last = X.shape[-1] - 1
    left = position.floor().clamp(0, max(last - 1, 0))
    weight = (position - left).clamp(0, 1)[:, None]
    left = left.long()[:, None].expand_as(X)
    return torch.lerp(X.gather(2, left), X.gather(2, (left + 1).clamp(max=last)), weight)


def _window(
    X: Tensor, extent: int, ratio: float, generator: torch.Generator | None
) -> tuple[Tensor, int]:
    """Draw a window of ``[0, extent]`` for each series; return starts ``(n, 1)`` and the size."""
    size = round(ratio * extent)
    start = torch.randint(extent - size + 1, (len(X), 1), generator=generator, device=X.device)
    return start, size


@dataclass(frozen=True)
class GaussianNoise:
    """Add white noise.

    Parameters
    ----------
    std : float, default=0.05
    """

    std: float = 0.05

    def __post_init__(self) -> None:
        _check(self, "std", 0)

    def __call__(self, X: Tensor, generator: torch.Generator | None = None) -> Tensor:
        return X + self.std * _normal(X, X.shape, generator)


@dataclass(frozen=True)
class Jitter(GaussianNoise):
    """Add stronger white noise.

    Parameters
    ----------
    std : float, default=0.1
    """

    std: float = 0.1


@dataclass(frozen=True)
class AmplitudeResize:
    """Multiply each series by ``1 + N(0, std)``.

    Parameters
    ----------
    std : float, default=0.2
    """

    std: float = 0.2

    def __post_init__(self) -> None:
        _check(self, "std", 0)

    def __call__(self, X: Tensor, generator: torch.Generator | None = None) -> Tensor:
        return X * (1 + self.std * _normal(X, (len(X), 1, 1), generator))


@dataclass(frozen=True)
class WindowWarp:
    """Stretch or shrink a random window, then resample the whole to its old length.

    Parameters
    ----------
    window_ratio : float, default=0.4
        Size of the window relative to the length.
    min_scale, max_scale : float, default=0.9 and 2.0
        Range of the uniform factor on the window's duration.
    """

    window_ratio: float = 0.4
    min_scale: float = 0.9
    max_scale: float = 2.0

    def __post_init__(self) -> None:
        _check(self, "window_ratio", 0, 1)
        _check(self, "min_scale", 0, _LARGEST_STRETCH)
        _check(self, "max_scale", self.min_scale, _LARGEST_STRETCH)

    def __call__(self, X: Tensor, generator: torch.Generator | None = None) -> Tensor:
        last = X.shape[-1] - 1
        start, size = _window(X, last, self.window_ratio, generator)
        scale = _uniform(X, (len(X), 1), generator, self.min_scale, self.max_scale)
        # Time steps of the output, counted on the warped series' longer or shorter clock.
        clock = _time(X) * (1 + size * (scale - 1) / max(last, 1))
        past_start = clock - start
        in_window = start + past_start / scale.clamp(min=1e-6)
        past_window = clock - size * (scale - 1)
        position = torch.where(past_start < size * scale, in_window, past_window)
        position = torch.where(past_start < 0, clock, position)
        return _resample(X, position)


@dataclass(frozen=True)
class Shift:
    """Move each series along time by a random number of steps; its ends are reflected.

    Not among the reference's.

    Parameters
    ----------
    max_steps : int, default=4
        The largest number of steps, to either side.
    """

    max_steps: int = 4

    def __post_init__(self) -> None:
        _check(self, "max_steps", 0, integer=True)

    def __call__(self, X: Tensor, generator: torch.Generator | None = None) -> Tensor:
        last, device = X.shape[-1] - 1, X.device
        steps = torch.randint(
            -self.max_steps, self.max_steps + 1, (len(X), 1), generator=generator, device=device
        )
        time = (torch.arange(last + 1, device=device) + steps).abs()
        time = (last - (last - time).abs()).clamp(min=0)
        return X.gather(2, time[:, None].expand_as(X))


@dataclass(frozen=True)
class SliceShuffle:
    """Cut each series at random points and shuffle the pieces.

    Parameters
    ----------
    n_segments : int, default=4
    """

    n_segments: int = 4

    def __post_init__(self) -> None:
        _check(self, "n_segments", 1, integer=True)

    def __call__(self, X: Tensor, generator: torch.Generator | None = None) -> Tensor:
        n, length, device = len(X), X.shape[-1], X.device
        shape = (n, self.n_segments - 1)
        cuts = torch.randint(length, shape, generator=generator, device=device).sort(1).values
        edges = torch.nn.functional.pad(cuts, (1, 0))
        sizes = torch.nn.functional.pad(cuts, (0, 1), value=length) - edges
        order = torch.rand(edges.shape, generator=generator, device=device).argsort(1)
        shuffled = sizes.gather(1, order)
        new_edges = torch.empty_like(edges).scatter(1, order, shuffled.cumsum(1) - shuffled)
        time = torch.arange(length, device=device).expand(n, -1).contiguous()
        segment = torch.searchsorted(cuts, time, right=True)
        target = time + (new_edges - edges).gather(1, segment)
        return torch.empty_like(X).scatter(2, target[:, None].expand_as(X), X)


@dataclass(frozen=True)
class Slope:
    """Add a linear trend of random slope.

    Parameters
    ----------
    max_slope : float, default=0.005
        Largest absolute slope, per time step.
    """

    max_slope: float = 0.005

    def __post_init__(self) -> None:
        _check(self, "max_slope", 0)

    def __call__(self, X: Tensor, generator: torch.Generator | None = None) -> Tensor:
        slope = _uniform(X, (len(X), 1, 1), generator, -self.max_slope, self.max_slope)
        return X + slope * _time(X)


@dataclass(frozen=True)
class Flip:
    """Reverse time.

    Parameters
    ----------
    p : float, default=0.5
        Probability for each series; the reference flips all of them.
    """

    p: float = 0.5

    def __post_init__(self) -> None:
        _check(self, "p", 0, 1)

    def __call__(self, X: Tensor, generator: torch.Generator | None = None) -> Tensor:
        return torch.where(_uniform(X, (len(X), 1, 1), generator) < self.p, X.flip(-1), X)


@functools.lru_cache(maxsize=8)
def _spline_basis(n_knots: int, length: int) -> Tensor:
    """Return the cubic spline through each unit vector of knot values, ``(n_knots, length)``."""
    knots = np.linspace(0, max(length - 1, 1), n_knots)
    return torch.from_numpy(CubicSpline(knots, np.eye(n_knots))(np.arange(length)).T)


@dataclass(frozen=True)
class MagnitudeWarp:
    """Multiply by a smooth random curve, a cubic spline through values ``N(1, std)``.

    Parameters
    ----------
    n_knots : int, default=4
        Knots between the two ends.
    std : float, default=0.2
    """

    n_knots: int = 4
    std: float = 0.2

    def __post_init__(self) -> None:
        _check(self, "n_knots", 0, integer=True)
        _check(self, "std", 0)

    def __call__(self, X: Tensor, generator: torch.Generator | None = None) -> Tensor:
        values = 1 + self.std * _normal(X, (len(X), 1, self.n_knots + 2), generator)
        return X * (values @ _spline_basis(self.n_knots + 2, X.shape[-1]).to(X))


@dataclass(frozen=True)
class NoiseWindow:
    """Add white noise in a random window.

    Parameters
    ----------
    window_ratio : float, default=0.4
        Size of the window relative to the length.
    std : float, default=0.1
    """

    window_ratio: float = 0.4
    std: float = 0.1

    def __post_init__(self) -> None:
        _check(self, "window_ratio", 0, 1)
        _check(self, "std", 0)

    def __call__(self, X: Tensor, generator: torch.Generator | None = None) -> Tensor:
        start, size = _window(X, X.shape[-1], self.window_ratio, generator)
        since = _time(X) - start
        inside = ((since >= 0) & (since < size))[:, None]
        return X + self.std * inside * _normal(X, X.shape, generator)


@dataclass(frozen=True)
class RandomCrop:
    """Cut out a random window and stretch it to the whole length.

    The reference returns the short window, which its encoder cannot take; stretching keeps
    the length.

    Parameters
    ----------
    ratio : float, default=0.4
        Size of the window relative to the length.
    """

    ratio: float = 0.4

    def __post_init__(self) -> None:
        _check(self, "ratio", 0, 1)

    def __call__(self, X: Tensor, generator: torch.Generator | None = None) -> Tensor:
        last = X.shape[-1] - 1
        start, size = _window(X, last, self.ratio, generator)
        return _resample(X, start + _time(X) * size / max(last, 1))


def _through_stft(X: Tensor, n_fft: int, change: Callable[[Tensor], Tensor]) -> Tensor:
    """Apply `change` to the complex spectrogram ``(n, n_channels, rows, frames)`` of `X`."""
    n, channels, length = X.shape
    # A window must not be longer than the series, which the transform pads by reflection, nor
    # shorter than 4, of which the hop is a quarter.
    n_fft = min(n_fft, length) // 4 * 4
    if n_fft == 0:
        return X
    window = torch.hann_window(n_fft, device=X.device, dtype=X.dtype)
    U = torch.stft(X.flatten(0, 1), n_fft, window=window, return_complex=True)
    U = change(U.unflatten(0, (n, channels))).flatten(0, 1)
    return torch.istft(U, n_fft, window=window, length=length).view_as(X)


@dataclass(frozen=True)
class SpectralMask:
    """Set random entries of the spectrogram to zero.

    Parameters
    ----------
    density : float, default=0.2
        Probability of an entry to be masked.
    n_fft : int, default=32
        Window of the spectrogram in time steps.
    """

    density: float = 0.2
    n_fft: int = 32

    def __post_init__(self) -> None:
        _check(self, "density", 0, 1)
        _check(self, "n_fft", 4, integer=True)

    def __call__(self, X: Tensor, generator: torch.Generator | None = None) -> Tensor:
        def mask(U: Tensor) -> Tensor:
            return U * (_uniform(X, U.shape, generator) >= self.density)

        return _through_stft(X, self.n_fft, mask)


@dataclass(frozen=True)
class BandRemoval:
    """Damp random frequency bands.

    Parameters
    ----------
    n_bands : int, default=3
        Frequency rows to damp, of ``n_fft // 2 + 1``.
    scale : float, default=0.1
        Factor on these bands.
    n_fft : int, default=32
        Window of the spectrogram in time steps.
    """

    n_bands: int = 3
    scale: float = 0.1
    n_fft: int = 32

    def __post_init__(self) -> None:
        _check(self, "n_bands", 0, integer=True)
        _check(self, "scale", 0)
        _check(self, "n_fft", 4, integer=True)

    def __call__(self, X: Tensor, generator: torch.Generator | None = None) -> Tensor:
        def damp(U: Tensor) -> Tensor:
            rank = _uniform(X, (len(U), 1, U.shape[2], 1), generator).argsort(2).argsort(2)
            return torch.where(rank < self.n_bands, self.scale * U, U)

        return _through_stft(X, self.n_fft, damp)


@dataclass(frozen=True)
class PhaseShift:
    """Turn the phase of each frequency band by a random angle.

    Parameters
    ----------
    max_angle : float, default=pi / 4
        Largest absolute angle in radians.
    n_fft : int, default=32
        Window of the spectrogram in time steps.
    """

    max_angle: float = math.pi / 4
    n_fft: int = 32

    def __post_init__(self) -> None:
        _check(self, "max_angle", 0)
        _check(self, "n_fft", 4, integer=True)

    def __call__(self, X: Tensor, generator: torch.Generator | None = None) -> Tensor:
        def turn(U: Tensor) -> Tensor:
            shape = (len(U), 1, U.shape[2], 1)
            angle = _uniform(X, shape, generator, -self.max_angle, self.max_angle)
            return U * torch.polar(torch.ones_like(angle), angle)

        return _through_stft(X, self.n_fft, turn)


@dataclass(frozen=True)
class Compose:
    """Apply augmentations one after the other.

    Parameters
    ----------
    steps : tuple of augmentations
    """

    steps: tuple[Augmentation, ...]

    def __post_init__(self) -> None:
        for step in self.steps:
            if not callable(step):
                raise TypeError(
                    f"Compose: {step!r} is no augmentation. Pass objects of "
                    "skncvqvae.augmentations, or functions; make_augmentation takes names, too."
                )

    def __call__(self, X: Tensor, generator: torch.Generator | None = None) -> Tensor:
        for step in self.steps:
            X = step(X, generator)
        return X


@dataclass(frozen=True)
class _UserFunction:
    """Adapts a user's ``function(X)`` or ``function(X, generator=...)``, checks its result."""

    function: Callable[..., Tensor]
    takes_generator: bool

    def __call__(self, X: Tensor, generator: torch.Generator | None = None) -> Tensor:
        # A copy: what the function writes into its argument must not reach the caller's series.
        if self.takes_generator:
            result = self.function(X.clone(), generator=generator)
        else:
            result = self.function(X.clone())
        name = f"The augmentation {self.function!r}"
        if not isinstance(result, Tensor):
            remedy = " Return torch.from_numpy of it." if isinstance(result, np.ndarray) else ""
            raise ValueError(
                f"{name} must return a torch tensor, but returned {_described(result)}.{remedy}"
            )
        if result.shape != X.shape:
            raise ValueError(
                f"{name} must return a tensor of shape {tuple(X.shape)}, got "
                f"{tuple(result.shape)}."
            )
        if result.is_complex():
            raise ValueError(f"{name} returned complex numbers.")
        if result.layout != torch.strided or result.is_meta:
            raise ValueError(
                f"{name} returned a tensor that is sparse or has no values. Return a dense one."
            )
        result = result.detach().to(X)
        if not result.isfinite().all():
            raise ValueError(f"{name} returned NaN or infinity.")
        return result


def _described(value: object) -> str:
    if isinstance(value, np.ndarray):
        return f"a numpy array of shape {value.shape}"
    return "None" if value is None else f"an object of type {type(value).__name__}"


AUGMENTATIONS: dict[str, Callable[..., Augmentation]] = {
    "gaussian_noise": GaussianNoise,
    "jitter": Jitter,
    "amplitude_resize": AmplitudeResize,
    "window_warp": WindowWarp,
    "shift": Shift,
    "slice_shuffle": SliceShuffle,
    "slope": Slope,
    "flip": Flip,
    "magnitude_warp": MagnitudeWarp,
    "noise_window": NoiseWindow,
    "random_crop": RandomCrop,
    "spectral_mask": SpectralMask,
    "band_removal": BandRemoval,
    "phase_shift": PhaseShift,
}

AUGMENTATION_SETS: dict[str, Compose] = {
    "gauss": Compose((GaussianNoise(),)),
    "warp": Compose((AmplitudeResize(), WindowWarp())),
    "slice": Compose((SliceShuffle(),)),
}


def make_augmentation(spec: AugmentationSpec) -> Augmentation:
    """Turn the estimators' `augmentations` parameter into one augmentation.

    Parameters
    ----------
    spec : str, callable, or list or tuple of those and of (name, parameters) pairs
        A name in `AUGMENTATION_SETS` or `AUGMENTATIONS`; a pair such as ``("window_warp",
        {"window_ratio": 0.2})``; or a callable that takes a tensor ``(n, n_channels, length)``
        and, if it has a parameter of that name, a ``torch.Generator`` as `generator`, and
        returns a tensor of the same shape. It gets a copy, so it may write into its argument.
        The parts of a list are applied in order.

    Returns
    -------
    Augmentation

    Raises
    ------
    ValueError
        On an unknown name, an unknown parameter or one out of range.
    TypeError
        On anything else.
    """
    match spec:
        case str():
            return _by_name(spec)
        case [str(name), Mapping() as parameters]:
            return _by_name(name, parameters)
        case [*parts]:
            return Compose(tuple(make_augmentation(part) for part in parts))
    if callable(spec):
        return _from_callable(spec)
    raise TypeError(
        f"{spec!r} is no augmentation. Pass a name, a (name, parameters) pair, a callable, or "
        "a list of those."
    )


def _by_name(name: str, parameters: Mapping[str, object] | None = None) -> Augmentation:
    if name in AUGMENTATION_SETS:
        if parameters:
            raise ValueError(
                f"{name!r} is a set of augmentations and takes no parameters. Name its members "
                f"instead: {AUGMENTATION_SETS[name].steps}."
            )
        return AUGMENTATION_SETS[name]
    if name not in AUGMENTATIONS:
        known = [*AUGMENTATION_SETS, *AUGMENTATIONS]
        close = difflib.get_close_matches(name, known, n=1)
        hint = f" Did you mean {close[0]!r}?" if close else ""
        raise ValueError(f"{name!r} is unknown.{hint} Known are {', '.join(known)}.")
    augmentation = AUGMENTATIONS[name]
    known = inspect.signature(augmentation).parameters
    wrong = [key for key in parameters or {} if key not in known]
    if wrong:
        raise ValueError(f"{name!r} has no parameter {wrong[0]!r}. It has {', '.join(known)}.")
    return augmentation(**(parameters or {}))


def _from_callable(function: Callable[..., Tensor]) -> _UserFunction:
    if isinstance(function, type):
        raise TypeError(f"{function.__name__} is a class. Pass an instance, with parentheses.")
    try:
        parameters = inspect.signature(function).parameters
    except ValueError:  # a built-in without signature
        parameters = ()
    return _UserFunction(function, takes_generator="generator" in parameters)


def augment(
    X: ArrayLike,
    augmentations: AugmentationSpec,
    random_state: int | np.integer | np.random.RandomState | None = None,
) -> NDArray[np.float32] | NDArray[np.float64]:
    """Augment series in a numpy array, to look at what an augmentation does.

    Parameters
    ----------
    X : array-like of shape (n_series, length) or (n_series, n_channels, length)
    augmentations : str, callable or list
        As `make_augmentation` takes.
    random_state : int, RandomState instance or None, default=None
        Seeds the augmentation.

    Returns
    -------
    ndarray of the shape of `X`
        A new array, float32 if `X` is, else float64.

    Raises
    ------
    ValueError
        On data that are no series, NaN and infinity, and as `make_augmentation`.
    """
    augmentation = make_augmentation(augmentations)
    array = _check_series(X)
    generator = torch.Generator().manual_seed(draw_seed(random_state))
    # A copy, also where `X` is read-only memory, which torch does not take.
    series = torch.tensor(array if array.ndim == 3 else array[:, None])
    with torch.no_grad():
        augmented = augmentation(series, generator)
    if not augmented.isfinite().all():
        raise ValueError("The augmented series are not finite. X holds values too large: rescale.")
    return augmented.numpy().reshape(array.shape)


def _check_series(X: ArrayLike) -> NDArray[np.float32] | NDArray[np.float64]:
    """Return series as a contiguous array of native byte order, float32 or float64."""
    series = np.ascontiguousarray(read_array(X))
    if series.ndim not in (2, 3):
        raise ValueError(
            f"X has {series.ndim} dimensions; expected (n_series, length) or "
            "(n_series, n_channels, length)."
        )
    if series.size == 0:
        raise ValueError(f"X of shape {series.shape} holds no values.")
    return series
