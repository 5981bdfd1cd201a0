"""Class labels as the integers that a prior reads."""

from dataclasses import dataclass
from numbers import Integral
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray
from sklearn.utils import column_or_1d
from sklearn.utils.multiclass import check_classification_targets
from sklearn.utils.validation import check_scalar

from ._containers import plain_array


@dataclass(frozen=True)
class Classes:
    """The classes of a training set and their proportions; none after a fit without labels.

    Parameters
    ----------
    names : ndarray of shape (n_classes,) or None
        Sorted labels.
    proportions : ndarray of shape (n_classes,) or None
    """

    names: NDArray | None = None
    proportions: NDArray[np.float64] | None = None

    def __len__(self) -> int:
        return 0 if self.names is None else len(self.names)

    def same_as(self, names: NDArray | None) -> bool:
        """Return whether `names` are the same classes."""
        if self.names is None or names is None:
            return self.names is None and names is None
        return np.array_equal(self.names, names)

    def encode(self, y: ArrayLike) -> NDArray[np.int64]:
        """Return labels as indices into `names`.

        Raises
        ------
        ValueError
            On a label that is not among them, or without classes.
        """
        if self.names is None:
            raise ValueError("y was given, but the fit had no labels.")
        y = read_labels(y)
        unseen = sorted(set(np.unique(y).tolist()) - set(self.names.tolist()), key=str)
        if unseen:
            raise ValueError(
                f"y holds {unseen}, not seen in fit. The classes are {self.names.tolist()}."
            )
        return np.searchsorted(self.names, y).astype(np.int64)

    def decode(self, labels: NDArray[np.integer]) -> NDArray | None:
        """Return the names of indices; None without classes."""
        return None if self.names is None else self.names[labels]

    def draw(self, n: int, rng: np.random.RandomState) -> NDArray[np.int64]:
        """Draw indices of classes in their proportions; 'no class' without classes."""
        if self.names is None:
            return np.zeros(n, dtype=np.int64)
        return rng.choice(len(self.names), size=n, p=self.proportions)


def read_labels(y: Any, n_samples: int | None = None, name: str = "y") -> NDArray[Any]:
    """Return class labels as a vector that can be sorted.

    Parameters
    ----------
    y : array-like of shape (n_samples,)
    n_samples : int, optional
        How many there must be.
    name : str, default="y"
        Used in messages.

    Raises
    ------
    ValueError
        On what is no vector of class labels, missing labels, or another number of them.
    """
    if np.ma.is_masked(y):
        raise ValueError(
            f"{name} has a masked label at index {np.flatnonzero(np.ma.getmaskarray(y))[0]}. "
            "Remove the series without a label."
        )
    _check_one_type(y, name)
    try:
        labels = np.asarray(column_or_1d(_plain_labels(y), warn=True))
    except (TypeError, ValueError) as error:
        raise ValueError(f"{name} holds no class labels: {error}") from error
    if n_samples is not None and len(labels) != n_samples:
        raise ValueError(f"{name} holds {len(labels)} labels, but there are {n_samples} series.")
    if labels.dtype.kind in "OfM":
        missing = [i for i, label in enumerate(labels) if is_missing(label)]
        if missing:
            raise ValueError(
                f"{name} holds {labels.tolist()[missing[0]]!r} at index {missing[0]}, which is no "
                "label. Remove the series without a label."
            )
    try:
        check_classification_targets(labels)
        np.unique(labels)
    except (TypeError, ValueError) as error:
        types = sorted({type(label).__name__ for label in labels.tolist()})
        why = f"they are of the types {', '.join(types)}" if len(types) > 1 else error
        raise ValueError(
            f"{name} holds no class labels ({why}). Pass integers or strings, one for each series."
        ) from error
    return labels


def _check_one_type(y: Any, name: str) -> None:
    """Refuse strings beside others in a list: numpy would make strings of the others."""
    if isinstance(y, (list, tuple)) and len({isinstance(label, str) for label in y}) > 1:
        raise ValueError(f"{name} holds strings and other labels. Pass labels of one type.")


def _plain_labels(y: Any) -> Any:
    """Return pandas' nullable numbers, of which none is missing, in the dtype of numpy's.

    As floats, which they become otherwise, large integers would be one class.
    """
    column = y[y.columns[0]] if len(getattr(y, "columns", ())) == 1 else y
    dtype = getattr(getattr(column, "dtype", None), "numpy_dtype", None)
    if not isinstance(dtype, np.dtype) or dtype.kind not in "biu" or column.isna().any():
        return y
    return y.to_numpy(dtype=dtype)


def first_of_each(labels: NDArray, n: int = 5) -> NDArray[np.int64]:
    """Return the indices of the first `n` series of each class, in order.

    Enough to try what a classifier refuses before something else is trained for it.
    """
    few = [np.flatnonzero(labels == label)[:n] for label in np.unique(labels)]
    return np.sort(np.concatenate(few))


def is_missing(label: Any) -> bool:
    """Return whether a value stands for none: None, NaN, NaT or pandas' NA."""
    return label is None or str(label) in ("<NA>", "NaT") or label != label


def fit_classes(y: ArrayLike | None, n_samples: int) -> tuple[Classes, NDArray[np.int64]]:
    """Return the classes of `y` and its labels as integers.

    Without `y` all labels are 0, which a prior with no classes reads as 'no class'.

    Raises
    ------
    ValueError
        On what is no vector of class labels, or of another length.
    """
    if y is None:
        return Classes(), np.zeros(n_samples, dtype=np.int64)
    given = read_labels(y, n_samples)
    names, labels = np.unique(given, return_inverse=True)
    return Classes(names, np.bincount(labels) / len(labels)), labels.astype(np.int64)


def read_weights(sample_weight: Any, n_series: int) -> NDArray[np.float64]:
    """Return a weight for each series, as numbers; what is masked or missing is NaN.

    Parameters
    ----------
    sample_weight : array-like of shape (n_series,), or float
    n_series : int

    Raises
    ------
    ValueError
        On what are no numbers, or not one for each series.
    """
    weight = plain_array(sample_weight, "sample_weight")
    if weight.dtype == object and weight.ndim == 0:
        raise ValueError(
            f"sample_weight is a {type(sample_weight).__name__}. Pass an array with a weight for "
            "each series."
        )
    try:
        if weight.dtype == object:
            weight = np.array([np.nan if is_missing(one) else one for one in weight])
        weight = weight.astype(np.float64)
    except (TypeError, ValueError) as error:
        raise ValueError(f"sample_weight holds no numbers: {error}") from error
    if weight.ndim == 0:
        return np.full(n_series, float(weight))
    if weight.shape != (n_series,):
        raise ValueError(
            f"sample_weight has shape {weight.shape}, but there are {n_series} series. Pass a "
            "weight for each of them, also for those without a label."
        )
    return weight


def split_labelled(y: ArrayLike) -> tuple[NDArray[np.bool_], NDArray]:
    """Return which series have a label, and the labels of those.

    Raises
    ------
    ValueError
        On what is no vector of class labels, missing ones, fewer than two classes that have a
        label, or the text "-1".
    """
    if np.ma.is_masked(y):
        raise _missing_label("a masked label", np.flatnonzero(np.ma.getmaskarray(y))[0])
    try:
        given = np.asarray(column_or_1d(_plain_labels(y), warn=True))
    except (TypeError, ValueError) as error:
        raise ValueError(f"y holds no class labels: {error}") from error
    for i, label in enumerate(given.tolist() if given.dtype.kind in "OfM" else ()):
        if is_missing(label):
            raise _missing_label(repr(label), i)
    if isinstance(y, (list, tuple)) and "-1" not in map(str, y):
        # numpy has made strings of numbers beside strings.
        _check_one_type(y, "y")
    if given.dtype.kind in "UO" and (given == "-1").any():
        raise ValueError(
            "y holds the text '-1'. For labels that are text, mark series without a label by the "
            "number -1 in an array of dtype object: np.array(labels, dtype=object)."
        )
    is_labelled = np.asarray(given != -1)
    labels = given[is_labelled]
    if labels.dtype == object and len({type(label) for label in labels}) == 1:
        # Beside -1 they were objects, of which no classifier makes classes.
        labels = np.array(labels.tolist())
    labels = read_labels(labels)
    classes = np.unique(labels).tolist()
    if len(classes) < 2:
        raise ValueError(
            f"y holds labels of {len(classes)} classes; a classifier needs two. -1 marks a series "
            "without a label, so no class can be called -1."
        )
    return is_labelled, labels


def _missing_label(what: str, index: Any) -> ValueError:
    return ValueError(
        f"y holds {what} at index {index}. Mark a series without a label by the number -1."
    )


def labels_to_draw(
    classes: Classes, n_samples: int, y: Any, rng: np.random.RandomState
) -> NDArray[np.int64]:
    """Return the indices of the classes to draw from, as `sample` of prior and generator say.

    Raises
    ------
    ValueError
        On an empty `y`, one that contradicts `n_samples`, or a class that is not known.
    """
    if y is None or np.ndim(y) == 0:
        if isinstance(n_samples, (bool, np.bool_)):
            raise TypeError(f"n_samples={n_samples} must be an integer.")
        check_scalar(n_samples, "n_samples", Integral, min_val=1)
    if y is None:
        return classes.draw(n_samples, rng)
    wanted = np.repeat([y], n_samples) if np.ndim(y) == 0 else y
    if len(wanted) == 0:
        raise ValueError("y is empty. Pass at least one label to sample, or None.")
    if n_samples not in (1, len(wanted)):
        raise ValueError(
            f"n_samples={n_samples} contradicts the {len(wanted)} labels of y. Pass one of them."
        )
    return classes.encode(wanted)
