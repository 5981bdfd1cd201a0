"""What series come in: arrays, lists, frames, nested frames, masked arrays, tensors."""

import datetime
import sys
from collections.abc import Iterator, Sequence, Set
from numbers import Number
from typing import Any, Literal

import numpy as np
from numpy.typing import ArrayLike, NDArray
from sklearn.utils import check_array

DataFormat = Literal["channels_first", "channels_last"]


def open_container(X: Any, name: str = "X", data_format: DataFormat = "channels_first") -> Any:
    """Return what holds series as something that `check_array` reads right.

    Parameters
    ----------
    X : array-like, data frame or sequence of series
        A frame whose cells are series has a series of several channels in each row. In a list,
        a frame is a series with a row for each time and a column for each channel.
    name : str, default="X"
        Used in messages.
    data_format : {"channels_first", "channels_last"}, default="channels_first"
        Layout that series made of frames get.

    Returns
    -------
    array, data frame, or list of ndarray
        A list where the series came one by one.

    Raises
    ------
    ValueError
        On tables in which a row is no series, on dates, and on cells that are no series.
    """
    if _is_a("pandas", "DataFrame", X):
        return _open_pandas(X, name, data_format)
    if _is_a("polars", "DataFrame", X):
        return _open_polars(X, name, data_format)
    if _is_a("pandas", "Series", X) or _is_a("polars", "Series", X):
        if getattr(getattr(X, "index", None), "nlevels", 1) > 1:
            raise _long_table(name)
        values = np.asarray(X)
        if values.dtype == object and any(map(_is_sequence, values)):
            return _open_items(values.tolist(), name, data_format)
        return plain_array(values, name)
    if isinstance(X, (list, tuple)):
        return _open_items(X, name, data_format)
    if hasattr(X, "tocsr"):
        return X  # `check_array` has a message for sparse matrices, of which some are dictionaries
    if _is_a("polars", "LazyFrame", X):
        raise TypeError(f"{name} is a LazyFrame. Pass {name}.collect().")
    if isinstance(X, (dict, Set, Iterator)):
        raise TypeError(
            f"{name} is a {type(X).__name__}. Pass an array or a list of series, such as "
            f"{f'list({name}.values())' if isinstance(X, dict) else f'list({name})'}."
        )
    _refuse_single_value(X, name)
    if not hasattr(X, "__array__"):
        return X  # `check_array` has a message for all else
    array = plain_array(X, name)
    if array.dtype == object and array.size:
        if array.ndim == 1:
            return _open_items(array.tolist(), name, data_format)
        if array.ndim == 2 and any(map(_is_sequence, array.flat)):
            return [_join(cells, i, name, data_format) for i, cells in enumerate(array)]
        return _as_numbers(array, name)
    return array


def refuse_no_series(X: Any, name: str = "X") -> None:
    """Refuse what holds no series, or in whose rows are none, before its rows are counted.

    Raises
    ------
    ValueError
        On None, text, a number, and a long table.
    """
    _refuse_single_value(X, name)
    is_pandas = _is_a("pandas", "DataFrame", X) or _is_a("pandas", "Series", X)
    if is_pandas and X.index.nlevels > 1:
        raise _long_table(name)


def _refuse_single_value(X: Any, name: str) -> None:
    if X is None or isinstance(X, (str, bytes, Number)):
        what = repr(X) if len(repr(X)) <= 30 else f"a {type(X).__name__}"
        raise ValueError(f"{name} is {what}. Pass an array or a list of series.")


def read_array(
    X: ArrayLike,
    name: str = "X",
    *,
    data_format: DataFormat = "channels_first",
    min_series: int = 1,
) -> NDArray[np.floating]:
    """Return series of one shape, or features, as a finite array ``(n, ...)``.

    For those that know no estimator which would read them.

    Parameters
    ----------
    X : array-like
        As `open_container` takes.
    name : str, default="X"
        Used in messages.
    data_format : {"channels_first", "channels_last"}, default="channels_first"
        Layout that series made of frames get.
    min_series : int, default=1

    Returns
    -------
    ndarray of shape (n, ...), float32 or float64

    Raises
    ------
    ValueError
        On series of several shapes, NaN, infinity, too few of them, and as `open_container`.
    """
    opened = open_container(X, name, data_format)
    if isinstance(opened, list):
        shapes = {np.shape(one) for one in opened}
        if len(shapes) > 1:
            raise ValueError(
                f"{name} holds series of several shapes, such as "
                f"{' and '.join(map(str, sorted(shapes)[:2]))}. Pass series of one shape, for "
                "instance what a fitted estimator's read method returns."
            )
    # scikit-learn sums the values to find out whether any is NaN.
    with np.errstate(over="ignore", invalid="ignore"):
        floats: Any = [np.float64, np.float32]
        array = check_array(
            opened,
            dtype=floats,
            allow_nd=True,
            ensure_min_samples=min_series,
            input_name=name,
        )
    # Columns of a frame may be of another byte order.
    return array if array.dtype.isnative else array.astype(array.dtype.newbyteorder("="))


def named_frame(X: Any) -> Any:
    """Return the frame whose columns name time steps or channels of `X`; None without one.

    It is `X` itself, or the first frame of a list of them.
    """
    first = X[0] if isinstance(X, (list, tuple)) and X else X
    return first if _is_frame(first) else None


def plain_array(X: Any, name: str = "X") -> NDArray[Any]:
    """Return an array without mask and gradient; what was masked is NaN.

    Raises
    ------
    ValueError
        On dates, text, records and complex numbers.
    TypeError
        On tensors that numpy cannot have: sparse, nested, quantised or without values.
    """
    # Names of parameters are spelt as they are.
    subject = name[0].upper() + name[1:] if " " in name else name
    if hasattr(X, "detach"):
        X = _plain_tensor(X, subject)
    if isinstance(X, np.ma.MaskedArray):
        if X.dtype.kind in "biu":
            X = X.astype(np.float64)
        X = X.filled(np.nan) if X.dtype.kind in "fcO" else X.data
    array = np.asarray(X)
    kind = array.dtype.kind
    objects = array.ravel() if kind == "O" else ()
    if kind in "mM" or any(map(_is_date, objects)):
        raise ValueError(
            f"{subject} holds dates or times, which are no values of a series. Leave them out; "
            "skncvqvae.tables.TableReader makes series of a table that has them."
        )
    if kind in "US" or any(isinstance(value, (str, bytes)) for value in objects):
        raise ValueError(f"{subject} holds text. Pass numbers, for instance by astype(float).")
    if kind == "c" or any(isinstance(value, complex) for value in objects):
        raise ValueError(f"Complex data not supported: {name} holds complex numbers.")
    if kind == "V":
        raise ValueError(f"{subject} is an array of records. Pass an array of numbers.")
    if array.dtype.kind == "f" and not array.dtype.isnative:
        return array.astype(array.dtype.newbyteorder("="))
    return array


def _plain_tensor(X: Any, subject: str) -> Any:
    """Return a tensor as numpy can have it, without gradient and on the CPU."""
    try:
        X = X.detach().cpu().resolve_conj().resolve_neg()
        # Of bfloat16 numpy knows nothing.
        X = X.float() if str(X.dtype) == "torch.bfloat16" else X
        X.numpy()
    except (TypeError, RuntimeError) as error:
        layout, dtype = getattr(X, "layout", "no layout"), getattr(X, "dtype", "no dtype")
        raise TypeError(
            f"{subject} is a tensor of {dtype}, {layout} on {X.device}, of which no array can be "
            "made. Pass a dense one with values, for instance by to_dense() or dequantize(), or a "
            "list of tensors."
        ) from error
    return X


def _is_a(library: str, kind: str, value: Any) -> bool:
    """Return whether a value is of a class of a library, which nobody may have imported."""
    return isinstance(value, getattr(sys.modules.get(library), kind, ()))


def _is_frame(value: Any) -> bool:
    return _is_a("pandas", "DataFrame", value) or _is_a("polars", "DataFrame", value)


def _is_date(value: Any) -> bool:
    dates = (datetime.date, datetime.time, datetime.timedelta, np.datetime64, np.timedelta64)
    return isinstance(value, dates) or _is_a("pandas", "Period", value)


def _is_sequence(value: Any) -> bool:
    if isinstance(value, (list, tuple)):
        return True
    is_text = isinstance(value, (str, bytes, dict))
    return hasattr(value, "__len__") and not is_text and np.ndim(value) > 0


def _long_table(name: str) -> ValueError:
    return ValueError(
        f"{name} has an index of several levels, so a row of it looks like one moment of a "
        "series. skncvqvae.tables.TableReader makes series of such a table. If each row is a "
        f"series, pass {name}.to_numpy()."
    )


def _open_pandas(X: Any, name: str, data_format: DataFormat) -> Any:
    if X.index.nlevels > 1:
        raise _long_table(name)
    if X.columns.nlevels > 1:
        raise ValueError(
            f"{name} has columns of several levels. Pass (n_series, n_channels, length) series, "
            f"or {name}.to_numpy() if each row is a series of one channel."
        )
    if X.columns.has_duplicates:
        duplicate = X.columns[X.columns.duplicated()][0]
        raise ValueError(
            f"{name} has several columns named {duplicate!r}. Give them names of their own, or "
            f"pass {name}.to_numpy()."
        )
    _check_columns_are_no_dates(X.columns, X.dtypes, name)
    if not (X.shape[0] and X.shape[1]):
        return X
    objects = [i for i, dtype in enumerate(X.dtypes) if getattr(dtype, "kind", "O") in "Oc"]
    nested = [i for i in objects if any(map(_is_sequence, X.iloc[:, i]))]
    if not nested:
        X = X.copy(deep=False) if objects else X
        for i in objects:
            label = f"column {X.columns[i]!r} of {name}"
            X.isetitem(i, _as_numbers(plain_array(X.iloc[:, i].to_numpy(), label), label))
        return X
    columns = [X.iloc[:, i] for i in range(X.shape[1])]
    _check_all_are_nested(X.columns, columns, nested, name)
    rows = X.itertuples(index=False, name=None)
    return [_join(cells, i, name, data_format) for i, cells in enumerate(rows)]


def _open_polars(X: Any, name: str, data_format: DataFormat) -> Any:
    polars = sys.modules["polars"]
    kinds = (polars.List, polars.Array)
    _check_columns_are_no_dates(X.columns, X.dtypes, name)
    for column, dtype in zip(X.columns, X.dtypes, strict=True):
        if not (dtype.is_numeric() or dtype in (polars.Boolean, polars.Null, *kinds)):
            raise ValueError(
                f"Column {column!r} of {name} holds {dtype}, which is no number. Leave the column "
                "out, or cast it."
            )
    nested = [i for i, dtype in enumerate(X.dtypes) if isinstance(dtype, kinds)]
    if not nested:
        # scikit-learn would make double precision of single.
        return plain_array(X, name)
    _check_all_are_nested(X.columns, X.get_columns(), nested, name)
    return [_join(cells, i, name, data_format) for i, cells in enumerate(X.iter_rows())]


def _check_columns_are_no_dates(columns: Any, dtypes: Any, name: str) -> None:
    for column, dtype in zip(columns, dtypes, strict=True):
        # pandas' dtypes have a kind, its periods a name; polars' dtypes say it themselves.
        is_date = getattr(dtype, "kind", "") in ("m", "M") or str(dtype).startswith("period[")
        if is_date or (hasattr(dtype, "is_temporal") and dtype.is_temporal()):
            raise ValueError(
                f"{name} holds dates or times, in column {column!r}. Leave that column out; "
                "skncvqvae.tables.TableReader makes series of a table with a column of times."
            )


def _check_all_are_nested(
    names: Any, columns: Sequence[Any], nested: list[int], name: str
) -> None:
    """Refuse columns without series beside those with some; one without any value is a channel."""
    others = [
        names[i]
        for i, column in enumerate(columns)
        if i not in nested and not all(map(_is_missing, column))
    ]
    if others:
        raise ValueError(
            f"Some columns of {name} hold series, a series a cell, but column {others[0]!r} does "
            f"not. Leave it out, as by {name}.drop(columns={[others[0]]!r})."
        )


def _join(
    cells: Sequence[Any], index: int, name: str, data_format: DataFormat
) -> NDArray[np.floating]:
    """Return the series whose channels are cells; a cell without a series is NaN."""
    channels = [_cell(cell, index, name) for cell in cells]
    if any(channel is not None and channel.ndim != 1 for channel in channels):
        raise ValueError(
            f"A cell of series {index} of {name} is no single channel. Pass one-dimensional cells."
        )
    if any(channel is not None and len(channel) for channel in channels):
        # Beside others, a cell without values is a channel without values.
        channels = [c if c is not None and len(c) else None for c in channels]
    lengths = {len(channel) for channel in channels if channel is not None}
    if len(lengths) > 1:
        raise ValueError(
            f"The channels of series {index} of {name} differ in length, {min(lengths)} to "
            f"{max(lengths)} time steps. Pass channels of one length, with NaN for gaps."
        )
    length = max(lengths, default=1)
    series = np.stack([np.full(length, np.nan) if c is None else c for c in channels])
    return series.T if data_format == "channels_last" else series


def _is_missing(cell: Any) -> bool:
    if cell is None or (isinstance(cell, float) and np.isnan(cell)):
        return True
    return not _is_sequence(cell) and str(cell) in ("<NA>", "nan", "NaT")


def _cell(cell: Any, index: int, name: str) -> NDArray[Any] | None:
    """Return the channel that a cell holds; None where it holds none."""
    if _is_sequence(cell):
        return _item(cell, index, name)
    if not _is_missing(cell):
        raise ValueError(
            f"Series {index} of {name} has {cell!r} in a cell, where others have a series. Pass a "
            "series, or None for a channel without values."
        )
    return None


def _open_items(items: Sequence[Any], name: str, data_format: DataFormat) -> Any:
    """Return a sequence of series as a list of arrays; one of numbers as it is."""
    frames = [_is_frame(item) for item in items]
    if any(frames):
        _check_same_columns(items, frames, name)
    opened = []
    for i, item in enumerate(items):
        array = _item(item, i, name)
        if frames and frames[i] and data_format == "channels_first":
            array = array.T
        opened.append(array)
    scalars = [array.ndim == 0 for array in opened]
    strange = [i for i, array in enumerate(opened) if array.dtype == object and not array.ndim]
    if all(scalars) and not strange:
        return items  # `check_array` says that they have one dimension
    if any(scalars):
        i = strange[0] if strange else scalars.index(True)
        raise ValueError(f"{name} holds {items[i]!r} at index {i}, which is no series. Remove it.")
    return opened


def _check_same_columns(items: Sequence[Any], frames: list[bool], name: str) -> None:
    if not all(frames):
        raise ValueError(
            f"{name} holds data frames, but at index {frames.index(False)} another thing. Pass "
            "frames only, or arrays only."
        )
    first = list(items[0].columns)
    for i, item in enumerate(items):
        if list(item.columns) != first:
            raise ValueError(
                f"Series {i} of {name} has the columns {list(item.columns)}, but series 0 has "
                f"{first}. Select the same columns in the same order."
            )
        _check_columns_are_no_dates(item.columns, item.dtypes, f"series {i} of {name}")


def _item(item: Any, index: int, name: str) -> NDArray[Any]:
    """Return one series, or a number, as an array."""
    label = f"series {index} of {name}"
    try:
        array = plain_array(item, label)
    except ValueError as error:
        if label[1:] in str(error):  # the first letter may be a capital
            raise
        raise _no_series(label, error) from error
    except (TypeError, RuntimeError) as error:
        raise _no_series(label, error) from error
    return _as_numbers(array, label) if array.ndim else array


def _as_numbers(array: NDArray[Any], label: str) -> NDArray[Any]:
    """Return an array of objects, such as nullable numbers, as floats; None is a gap."""
    if array.dtype != object:
        return array
    try:
        return np.array([_number(value) for value in array.flat]).reshape(array.shape)
    except (TypeError, ValueError) as error:
        raise _no_series(label, error) from error


def _number(value: Any) -> float:
    return float("nan") if value is None or str(value) == "<NA>" else float(value)


def _no_series(label: str, error: Exception) -> TypeError | ValueError:
    """Return an error of the same kind, as scikit-learn's conventions have it."""
    kind = TypeError if isinstance(error, TypeError) else ValueError
    why = str(error)
    if "setting an array element" in why:
        why = "its parts differ in length. Pass channels of one length, with NaN for gaps."
    return kind(f"{label[0].upper()}{label[1:]} cannot be read as an array of numbers: {why}")
