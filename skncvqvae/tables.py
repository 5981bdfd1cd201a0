"""Series from long tables: a row for each moment, columns for series, time and channels."""

import datetime
import math
import sys
from collections.abc import Hashable, Sequence
from numbers import Real
from typing import Any, ClassVar, Literal, NamedTuple, Self

import numpy as np
from numpy.typing import NDArray
from sklearn.base import BaseEstimator, TransformerMixin, _fit_context
from sklearn.utils import Tags
from sklearn.utils._param_validation import Interval, StrOptions
from sklearn.utils.validation import check_is_fitted

from ._base import ModelMixin
from ._containers import DataFormat, plain_array
from ._labels import is_missing

__all__ = ["TableReader", "TableSeries"]

# Times of a grid for each row of the table, beyond which the step is taken to be wrong.
_MAX_STEPS_A_ROW = 1000


class TableSeries(NamedTuple):
    """Series read from a table.

    Parameters
    ----------
    X : ndarray of shape (n_series, n_channels, length), or list of ndarray
        The series, NaN where the table has no value. A list of ``(n_channels, length_i)`` where
        lengths differ. With ``data_format="channels_last"`` the last two axes are swapped.
    ids : ndarray of shape (n_series,)
        What the column `id` holds, in the order of `X`.
    y : ndarray of shape (n_series,) or None
        What the column `label` holds; None without one.
    """

    X: Any
    ids: NDArray[Any]
    y: NDArray[Any] | None


class TableReader(ModelMixin, TransformerMixin, BaseEstimator):
    """Reads series from a long table of pandas or polars, a row for each moment of a series.

    Each series is laid on a regular grid that starts at its first time. Grid times without a row
    are NaN, and so are gaps in a channel. Give the series to an estimator with
    ``irregular="interpolate"``, which fills gaps and mends lengths. New tables are read with the
    channels and the step that `fit` has learnt.

    Series stand in the order in which their ids first appear in the table. The rows of a series
    need not be neighbours, nor in order where there is a column of times.

    Parameters
    ----------
    id : str or None, default=None
        Column, or level of a pandas index, that tells the series apart. None is the first level
        of an index of two; in other tables, all rows are one series.
    time : str or None, default=None
        Column, or level of a pandas index, of numbers, dates or durations. None is the second
        level of an index of two, and an index of dates or durations; in other tables, the rows of
        a series follow each other at equal steps.
    channels : list of str or None, default=None
        Columns of values. None is all columns of `fit`'s table that are not named otherwise.
    label : str or None, default=None
        Column of class labels, the same in all rows of a series. A new table may lack it.
    step : float, str, timedelta or "auto", default="auto"
        Time between two steps of the grid: seconds or a duration where times are dates, the unit
        of the column otherwise; strings such as ``"10min"`` need pandas. ``"auto"`` is the median
        time between neighbouring rows of `fit`'s table.
    tolerance : float, default=0.1
        How far, in steps, a time may be from the grid; it is moved to the nearest step. 0.5 takes
        every time.
    duplicates : {"raise", "mean", "first", "last"}, default="raise"
        What to do with several rows of a series at one step: refuse them, average their values,
        or keep the first or last value there.
    data_format : {"channels_first", "channels_last"}, default="channels_first"
        Layout of the series.

    Attributes
    ----------
    channels_ : list of str
        Columns of values, in the order of the channels.
    step_ : float
        Time between two steps, in seconds where times are dates.
    time_kind_ : {"number", "date", "duration", "row"}
        What times are.

    Examples
    --------
    >>> import pandas as pd
    >>> from skncvqvae.tables import TableReader
    >>> table = pd.DataFrame(
    ...     {
    ...         "machine": ["a", "a", "a", "b", "b"],
    ...         "time": [0.0, 0.5, 1.5, 7.0, 7.5],
    ...         "load": [1.0, 2.0, 4.0, 5.0, 6.0],
    ...     }
    ... )
    >>> reader = TableReader(id="machine", time="time")
    >>> X, ids, y = reader.fit_read(table)
    >>> X[0]
    array([[ 1.,  2., nan,  4.]])
    >>> ids
    array(['a', 'b'], dtype=object)
    """

    _parameter_constraints: ClassVar[dict[str, list[Any]]] = {
        "id": [str, None],
        "time": [str, None],
        "channels": [list, tuple, None],
        "label": [str, None],
        "step": [
            StrOptions({"auto"}),
            str,
            datetime.timedelta,
            np.timedelta64,
            Interval(Real, 0, None, closed="neither"),
        ],
        "tolerance": [Interval(Real, 0, 0.5, closed="both")],
        "duplicates": [StrOptions({"raise", "mean", "first", "last"})],
        "data_format": [StrOptions({"channels_first", "channels_last"})],
    }

    def __init__(
        self,
        id: str | None = None,
        time: str | None = None,
        channels: Sequence[str] | None = None,
        label: str | None = None,
        *,
        step: float | str | datetime.timedelta | np.timedelta64 = "auto",
        tolerance: float = 0.1,
        duplicates: Literal["raise", "mean", "first", "last"] = "raise",
        data_format: DataFormat = "channels_first",
    ) -> None:
        self.id = id
        self.time = time
        self.channels = channels
        self.label = label
        self.step = step
        self.tolerance = tolerance
        self.duplicates = duplicates
        self.data_format: DataFormat = data_format

    def fit(self, X: Any, y: Any = None) -> Self:
        """Learn the channels and the step of the grid.

        Parameters
        ----------
        X : data frame of pandas or polars
            A row for each moment of a series.
        y : ignored

        Returns
        -------
        self

        Raises
        ------
        TypeError
            On what is no data frame.
        ValueError
            On columns that are not there or hold no numbers, and a step that cannot be inferred.
        """
        self.fit_read(X)
        return self

    def transform(self, X: Any) -> Any:
        """Return the series of a table, as `read` does, without ids and labels.

        Parameters
        ----------
        X : data frame of pandas or polars

        Returns
        -------
        ndarray or list of ndarray
            `TableSeries.X`.

        Raises
        ------
        TypeError, ValueError
            As `read`.
        """
        return self.read(X).X

    @_fit_context(prefer_skip_nested_validation=True)
    def fit_read(self, X: Any) -> TableSeries:
        """Fit, and return the series of the table with their ids and labels.

        Parameters
        ----------
        X : data frame of pandas or polars

        Returns
        -------
        TableSeries

        Raises
        ------
        TypeError, ValueError
            As `fit` and `read`.
        """
        table = _Table(X)
        roles = self._roles(table)
        channels = self._choose_channels(table, roles)
        times, kind = _read_times(table, roles[1])
        rows = _Rows(_read_ids(table, roles[0]), times)
        step = self._choose_step(rows, kind)
        series = self._make_series(table, roles, channels, rows, step)
        self.channels_: list[str] = channels
        self.step_: float = step
        self.time_kind_: str = kind
        return series

    def read(self, X: Any) -> TableSeries:
        """Return the series of a table with their ids and labels, read as `fit`'s was.

        Parameters
        ----------
        X : data frame of pandas or polars
            With the columns of `fit`'s table; the label may be missing, others are ignored.

        Returns
        -------
        TableSeries

        Raises
        ------
        sklearn.exceptions.NotFittedError
            Before `fit`.
        TypeError
            On what is no data frame.
        ValueError
            On missing columns, ids or times, values that are no numbers, times off the grid,
            several rows at one step, or several labels of one series.
        """
        check_is_fitted(self, "channels_")
        table = _Table(X)
        roles = self._roles(table)
        times, kind = _read_times(table, roles[1])
        if kind != self.time_kind_:
            raise ValueError(
                f"Times are of the kind {kind!r}, but TableReader was fitted on "
                f"{self.time_kind_!r}."
            )
        rows = _Rows(_read_ids(table, roles[0]), times)
        return self._make_series(table, roles, self.channels_, rows, self.step_)

    def _roles(self, table: "_Table") -> tuple[str | None, str | None]:
        """Return the columns of ids and times, by the levels of an index where none is named."""
        levels, name_id, name_time = table.levels, self.id, self.time
        if len(levels) > 2 and (name_id is None or name_time is None):
            raise ValueError(
                f"X has an index of {len(levels)} levels, {levels}. Set id and time, each to one "
                "of them or to a column."
            )
        if len(levels) == 2:
            name_id = levels[0] if name_id is None else name_id
            name_time = levels[1] if name_time is None else name_time
        elif len(levels) == 1 and name_time is None and table.is_of_times(levels[0]):
            name_time = levels[0]
        roles = (name_id, name_time)
        named = [name for name in (*roles, self.label) if name is not None]
        twice = [name for i, name in enumerate(named) if name in named[:i]]
        if twice:
            raise ValueError(
                f"{twice[0]!r} is more than one of id={name_id!r}, time={name_time!r} and "
                f"label={self.label!r}. Set each to a column of its own."
            )
        for name in roles:
            if name is not None:
                table.require(name)
        return roles

    def _choose_channels(self, table: "_Table", roles: tuple[str | None, str | None]) -> list[str]:
        others = {*roles, self.label}
        if self.channels is None:  # an index holds no values
            others.update(table.levels)
        if self.channels is None:
            channels = [name for name in table.columns if name not in others]
        else:
            channels = list(self.channels)
            strange = [name for name in channels if not isinstance(name, Hashable)]
            if strange:
                raise ValueError(
                    f"channels={channels} must name columns, but {strange[0]!r} is no name."
                )
            if len(set(channels)) < len(channels) or others & set(channels):
                raise ValueError(
                    f"channels={channels} must name columns once, and none of id, time and label."
                )
        if not channels:
            raise ValueError("X has no column of values beside id, time and label.")
        if self.label is not None:
            table.require(self.label)
        return channels

    def _choose_step(self, rows: "_Rows", kind: str) -> float:
        if kind == "row":
            if self.step != "auto":
                raise ValueError(f"step={self.step!r} needs a column of times. Set time.")
            return 1.0
        if self.step == "auto":
            gaps = np.concatenate([np.diff(rows.times[part]) for part in rows.parts])
            gaps = gaps[gaps > 0]
            if not len(gaps):
                raise ValueError("No series has two times, so no step can be inferred. Set step.")
            # Dates are whole nanoseconds apart, of which subtraction in seconds loses some.
            median = float(np.median(gaps))
            return median if kind == "number" else round(median, 9)
        duration = _seconds(self.step)
        if duration is None:
            return float(self.step)  # type: ignore[arg-type]
        if not duration > 0:
            raise ValueError(f"step={self.step!r} is no duration above 0.")
        if kind == "number":
            raise ValueError(
                f"step={self.step!r} is a duration, but times are numbers. Pass a number."
            )
        return duration

    def _make_series(
        self,
        table: "_Table",
        roles: tuple[str | None, str | None],
        channels: list[str],
        rows: "_Rows",
        step: float,
    ) -> TableSeries:
        values = np.stack([_read_values(table, name) for name in channels])[:, rows.order]
        series = []
        for name, part in zip(rows.names, rows.parts, strict=True):
            places = self._places(rows.times[part], step, name)
            series.append(self._on_grid(values[:, part], places, name))
        if self.data_format == "channels_last":
            series = [one.T for one in series]
        equal = len({one.shape for one in series}) == 1
        return TableSeries(
            np.stack(series) if equal else series, rows.ids, self._labels(table, rows)
        )

    def _places(self, times: NDArray[np.float64], step: float, name: Any) -> NDArray[np.int64]:
        """Return the step of the grid at which each time stands."""
        exact = (times - times[0]) / step
        if not exact[-1] <= _MAX_STEPS_A_ROW * len(times):
            raise ValueError(
                f"Series {name!r} has {len(times)} rows for {exact[-1]:.3g} steps of {step:.6g}. "
                "Set step, or split the series."
            )
        places = np.round(exact)
        off = np.abs(exact - places)
        if off.max() > self.tolerance + 1e-6:
            worst = int(off.argmax())
            raise ValueError(
                f"Series {name!r} has a time {times[worst] - times[0]:.6g} after its first one, "
                f"which is {off[worst]:.2f} steps of {step:.6g} off the grid. Set step, or "
                "raise tolerance to at most 0.5 to move times to the nearest step."
            )
        return places.astype(np.int64)

    def _on_grid(
        self, values: NDArray[np.float64], places: NDArray[np.int64], name: Any
    ) -> NDArray[np.float64]:
        """Return ``(n_channels, length)`` values at the steps of the grid, NaN between them."""
        grid = np.full((len(values), places[-1] + 1), np.nan)
        _, first, count = np.unique(places, return_index=True, return_counts=True)
        if count.max() > 1 and self.duplicates == "raise":
            raise ValueError(
                f"Series {name!r} has {count.max()} rows at one step, its row "
                f"{first[count.argmax()]} by time and the next. Set duplicates='mean', 'first' or "
                "'last', or a smaller step."
            )
        if count.max() == 1:
            grid[:, places] = values
            return grid
        for one, (known, row) in enumerate(zip(~np.isnan(values), values, strict=True)):
            where, value = places[known], row[known]
            if self.duplicates == "mean":
                number = np.bincount(where, minlength=grid.shape[1])
                total = np.bincount(where, value, minlength=grid.shape[1])
                np.divide(total, number, out=grid[one], where=number > 0)
            else:  # the last that is written stays
                order = slice(None, None, -1 if self.duplicates == "first" else 1)
                grid[one, where[order]] = value[order]
        return grid

    def _labels(self, table: "_Table", rows: "_Rows") -> NDArray[Any] | None:
        if self.label is None or self.label not in table.columns:
            return None
        labels = table.array(self.label)[rows.order]
        if any(isinstance(one, (list, dict, set, np.ndarray)) for one in labels.tolist()):
            raise ValueError(f"Column {self.label!r} of X holds no labels of classes.")
        for name, part in zip(rows.names, rows.parts, strict=True):
            # NaN differs from itself.
            several = list(
                dict.fromkeys(None if is_missing(v) else v for v in labels[part].tolist())
            )
            if len(several) > 1:
                raise ValueError(
                    f"Series {name!r} has several labels in column {self.label!r}, such as "
                    f"{several[0]!r} and {several[1]!r}. Give it one."
                )
        return labels[[part.start for part in rows.parts]]

    def __sklearn_tags__(self) -> Tags:
        tags = super().__sklearn_tags__()
        tags.input_tags.allow_nan = True
        tags.input_tags.string = True
        tags.no_validation = True  # of scikit-learn's, which knows arrays only
        return tags


class _Table:
    """A data frame of pandas or polars, the levels of its index as further columns."""

    def __init__(self, X: Any) -> None:
        pandas, polars = sys.modules.get("pandas"), sys.modules.get("polars")
        is_pandas = pandas is not None and isinstance(X, pandas.DataFrame)
        if not (is_pandas or (polars is not None and isinstance(X, polars.DataFrame))):
            raise TypeError(f"X must be a data frame of pandas or polars, not {type(X).__name__}.")
        self.levels: list[Any] = []
        if is_pandas and X.columns.nlevels > 1:
            raise ValueError("X has columns of several levels. Name each column by one string.")
        if is_pandas and (X.index.nlevels > 1 or X.index.name is not None or _is_dated(X.index)):
            default = "level_{}" if X.index.nlevels > 1 else "index"
            named = [default.format(i) if n is None else n for i, n in enumerate(X.index.names)]
            clash = [name for name in named if name in X.columns]
            if clash and X.index.nlevels > 1:
                raise ValueError(
                    f"X has both a column and a level of its index named {clash[0]!r}. Rename "
                    f"one, or leave the column out by X.drop(columns=[{clash[0]!r}])."
                )
            if not clash:
                self.levels = named
                X = X.reset_index(names=named)
        self.frame = X
        self.columns = list(X.columns)
        if not len(X):
            raise ValueError("X has no rows.")
        twice = [name for i, name in enumerate(self.columns) if name in self.columns[:i]]
        if twice:
            raise ValueError(f"X has several columns named {twice[0]!r}.")

    def require(self, name: str) -> None:
        if name not in self.columns:
            raise ValueError(f"X has no column {name!r}. Its columns are {self.columns}.")

    def is_of_times(self, name: Any) -> bool:
        """Return whether a column holds dates or durations."""
        return self.array(name).dtype.kind in "mM"

    def array(self, name: str) -> NDArray[Any]:
        """Return a column; dates with a time zone in UTC."""
        self.require(name)
        column = self.frame[name]
        if hasattr(column, "dt") and getattr(column.dtype, "tz", None) is not None:
            column = column.dt.tz_convert("UTC").dt.tz_localize(None)
        if str(column.dtype).startswith("period["):
            column = column.dt.to_timestamp()
        return np.asarray(column)


class _Rows:
    """The rows of a table by series and time.

    Parameters
    ----------
    ids : ndarray of shape (n_rows,)
    times : ndarray of shape (n_rows,) or None
        None where rows follow each other.

    Attributes
    ----------
    order : ndarray of int of shape (n_rows,)
        Rows of the table, series by series, and by time in each.
    times : ndarray of float of shape (n_rows,)
        In that order, since the first one of the series.
    parts : list of slice
        Where in that order each series is.
    ids : ndarray of shape (n_series,)
    names : list
        The same as messages show them.
    """

    def __init__(self, ids: NDArray[Any], times: NDArray[Any] | None) -> None:
        first: dict[Any, int] = {}
        number = np.array([first.setdefault(one, len(first)) for one in ids.tolist()])
        by_row = np.arange(len(ids))
        self.order = np.lexsort((by_row, by_row if times is None else times, number))
        counts = np.bincount(number)
        ends = np.cumsum(counts)
        self.parts = [slice(e - c, e) for c, e in zip(counts.tolist(), ends.tolist(), strict=True)]
        self.ids = ids[self.order[ends - counts]]
        self.names = list(self.ids if self.ids.dtype.kind in "mM" else self.ids.tolist())
        ordered = self.order if times is None else times[self.order]
        starts = np.repeat(ordered[ends - counts], counts)
        if times is None:
            self.times = np.concatenate([np.arange(count, dtype=float) for count in counts])
        elif ordered.dtype.kind == "m":
            # In whole units of the column, before anything is rounded or can overflow.
            unit = np.timedelta64(1, np.datetime_data(ordered.dtype)[0])
            per_second = np.timedelta64(1, "s") / unit
            self.times = (ordered - starts).astype(np.int64) / per_second
        else:
            self.times = (ordered - starts).astype(np.float64)


def _read_ids(table: _Table, name: str | None) -> NDArray[Any]:
    if name is None:
        return np.zeros(len(table.frame), dtype=np.int64)
    ids = table.array(name)
    if ids.dtype.kind in "US":
        ids = ids.astype(object)
    if any(isinstance(one, (list, dict, set, np.ndarray)) for one in ids.tolist()):
        raise ValueError(f"Column {name!r} of X holds no ids. Pass numbers or strings.")
    missing = [i for i, one in enumerate(ids.tolist()) if is_missing(one)]
    if missing:
        raise ValueError(
            f"Column {name!r} of X has no id in row {missing[0]}. Remove rows without one."
        )
    return ids


def _read_times(table: _Table, name: str | None) -> tuple[NDArray[Any] | None, str]:
    """Return times, dates as durations since the first of all, and what they are."""
    if name is None:
        return None, "row"
    times = table.array(name)
    if times.dtype == object:
        times = _convert_times(times, name)
    kind = {"M": "date", "m": "duration"}.get(times.dtype.kind, "number")
    if kind == "number":
        if times.dtype.kind not in "iuf":
            raise ValueError(
                f"Column {name!r} of X holds {times.dtype} and no times. Pass numbers, dates or "
                "durations, for instance by pandas.to_datetime."
            )
        missing = ~np.isfinite(times.astype(np.float64))
    else:
        missing = np.isnat(times)
    if missing.any():
        raise ValueError(
            f"Column {name!r} of X has no time in row {int(missing.argmax())}. Remove rows "
            "without one."
        )
    return (times - times.min() if kind == "date" else times), kind


def _convert_times(times: NDArray[Any], name: str) -> NDArray[Any]:
    """Return times that came as objects, dates of Python for instance, in a dtype of numpy."""
    known = [one for one in times.tolist() if not is_missing(one)]
    dtype: Any = np.float64
    empty: Any = np.nan
    if any(isinstance(one, datetime.date) for one in known):
        dtype, empty = "M8[us]", np.datetime64("NaT")
        zones = {getattr(one, "tzinfo", None) is not None for one in known}
        if len(zones) > 1:
            raise ValueError(
                f"Column {name!r} of X holds times with and without a time zone. Give all of them "
                "one, for instance by pandas.to_datetime(utc=True)."
            )
    elif any(isinstance(one, datetime.timedelta) for one in known):
        dtype, empty = "m8[us]", np.timedelta64("NaT")
    try:
        if any(isinstance(one, (str, bytes)) for one in known):
            raise TypeError("they are text")
        if any(isinstance(one, (list, tuple, np.ndarray)) for one in known):
            raise TypeError("a cell holds several")
        return np.array([empty if is_missing(one) else _in_utc(one) for one in times], dtype=dtype)
    except (TypeError, ValueError) as error:
        raise ValueError(
            f"Column {name!r} of X holds no times: {error}. Pass numbers, dates or durations, for "
            "instance by pandas.to_datetime."
        ) from error


def _in_utc(time: Any) -> Any:
    """Return a time without its zone, of which numpy knows nothing."""
    if getattr(time, "tzinfo", None) is None:
        return time
    return time.astimezone(datetime.UTC).replace(tzinfo=None)


def _is_dated(index: Any) -> bool:
    """Return whether a pandas index holds dates, durations or periods."""
    return index.dtype.kind in "mM" or str(index.dtype).startswith("period[")


def _read_values(table: _Table, name: str) -> NDArray[np.float64]:
    label = f"column {name!r} of X"
    column = table.array(name)
    if column.dtype.kind in "mM":
        raise ValueError(
            f"Column {name!r} of X holds dates or times. Set time={name!r}, or leave it out of "
            "channels."
        )
    column = plain_array(column, label)
    try:
        if any(isinstance(one, (list, tuple, np.ndarray)) for one in column):
            raise TypeError("a cell holds several")
        values = np.array(
            [np.nan if is_missing(one) else one for one in column]
            if column.dtype == object
            else column,
            dtype=np.float64,
        )
    except (TypeError, ValueError) as error:
        raise ValueError(
            f"Column {name!r} of X holds no numbers: {error}. Leave it out of channels."
        ) from error
    if np.isinf(values).any():
        raise ValueError(f"Column {name!r} of X contains infinity. Remove or clip these values.")
    return values


def _seconds(step: Any) -> float | None:
    """Return a duration in seconds; None of what is none."""
    if isinstance(step, np.timedelta64):
        return float(step / np.timedelta64(1, "ns")) / 1e9
    if hasattr(step, "to_timedelta64"):  # that of pandas, of which total_seconds drops digits
        return _seconds(step.to_timedelta64())
    if isinstance(step, datetime.timedelta):
        return step.total_seconds()
    if not isinstance(step, str):
        return None
    try:
        import pandas as pd
    except ImportError as error:
        raise ImportError(
            f"step={step!r} needs pandas. Pass a number of seconds or a datetime.timedelta."
        ) from error
    try:
        duration: Any = pd.Timedelta(step)
        return math.nan if duration is pd.NaT else _seconds(duration.to_timedelta64())
    except ValueError as error:
        raise ValueError(f"step={step!r} is no duration: {error}.") from error
