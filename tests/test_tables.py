"""Series from long tables, of pandas and polars."""

import datetime
import pickle

import numpy as np
import pandas as pd
import polars as pl
import pytest
from helpers import tiny_transformer
from hypothesis import given
from hypothesis import strategies as st
from sklearn.base import clone
from sklearn.exceptions import NotFittedError
from sklearn.linear_model import LogisticRegression
from sklearn.pipeline import make_pipeline

from skncvqvae import load, save
from skncvqvae.tables import TableReader


def make_table(lengths=(9, 12, 10), gaps=True, seed=0):
    """Return a shuffled long table, and its series, labels and ids in order of appearance."""
    rng = np.random.default_rng(seed)
    series = [rng.normal(size=(2, length)) for length in lengths]
    parts = []
    for i, values in enumerate(series):
        time = (
            pd.Timestamp("2024-03-01", tz="Europe/Berlin")
            + pd.to_timedelta(10 * np.arange(values.shape[1]), unit="min")
            + pd.Timedelta(days=40 * i)
        )
        parts.append(
            pd.DataFrame(
                {"when": time, "b": values[1], "machine": f"m{i}", "a": values[0], "kind": i % 2}
            )
        )
    table = pd.concat(parts, ignore_index=True).sample(frac=1, random_state=seed)
    if gaps:
        # A moment without a row, and a value missing in one.
        row = table.index[(table["machine"] == "m1") & (table["a"] == series[1][0, 4])]
        table = table.drop(row)
        series[1][:, 4] = np.nan
        table.loc[table["b"] == series[2][1, 3], "b"] = np.nan
        series[2][1, 3] = np.nan
    ids = list(dict.fromkeys(table["machine"]))
    order = [int(name[1:]) for name in ids]
    return table, [series[i] for i in order], [i % 2 for i in order], ids


def reader(**params):
    return TableReader("machine", "when", ["a", "b"], "kind", **params)


CONTAINERS = {
    "pandas": lambda table: table,
    "polars": lambda table: pl.DataFrame({name: table[name].tolist() for name in table}),
    "naive": lambda table: table.assign(when=table["when"].dt.tz_convert(None)),
    "microseconds": lambda table: table.assign(
        when=table["when"].dt.tz_convert(None).astype("M8[us]")
    ),
    "python's dates": lambda table: table.assign(
        when=pd.Series(
            [one.to_pydatetime().replace(tzinfo=None) for one in table["when"]],
            index=table.index,
            dtype=object,
        )
    ),
    "categories": lambda table: table.assign(machine=table["machine"].astype("category")),
    "nullable": lambda table: table.assign(a=table["a"].astype("Float64")),
}


@pytest.mark.parametrize("container", CONTAINERS.values(), ids=CONTAINERS)
def test_series_ids_and_labels_come_in_order(container):
    table, series, labels, ids = make_table()
    before = table.copy()
    fitted = reader()
    X, found, y = fitted.fit_read(container(table))
    assert found.tolist() == ids and y.tolist() == labels
    for one, expected in zip(X, series, strict=True):
        np.testing.assert_allclose(one, expected)
    assert fitted.channels_ == ["a", "b"]
    pd.testing.assert_frame_equal(table, before)


def test_new_tables_are_read_with_the_learnt_channels_and_step():
    table, *_ = make_table()
    fitted = reader().set_params(channels=None).fit(table)
    assert fitted.channels_ == ["b", "a"] and fitted.step_ == 600
    new, series, _, _ = make_table(lengths=(30,), gaps=False, seed=1)
    # Every other row only: the step is not inferred anew.
    kept = new.sort_values("when").iloc[::2]
    X, ids, y = fitted.read(
        kept.drop(columns="kind")[["machine", "a", "b", "when"]].assign(more=1)
    )
    assert X.shape == (1, 2, 29) and y is None and ids.tolist() == ["m0"]
    np.testing.assert_allclose(X[0, :, ::2], series[0][::-1, ::2])
    assert np.isnan(X[0, :, 1::2]).all()
    assert fitted.transform(kept).shape == (1, 2, 29)


def test_equal_lengths_come_as_one_array_in_either_layout():
    table, series, *_ = make_table(lengths=(8, 8), gaps=False)
    X = reader().fit_transform(table)
    np.testing.assert_allclose(X, series)
    last = reader(data_format="channels_last").fit_transform(table)
    np.testing.assert_allclose(last, np.swapaxes(series, 1, 2))
    ragged = reader(data_format="channels_last").fit_transform(make_table()[0])
    assert [one.shape[1] for one in ragged] == [2, 2, 2]


def test_an_index_of_two_levels_names_series_and_times():
    table, series, _, ids = make_table(gaps=False)
    indexed = table.set_index(["machine", "when"])[["a", "b"]]
    X, found, y = TableReader().fit_read(indexed)
    assert found.tolist() == ids and y is None
    np.testing.assert_allclose(X[0], series[0])
    unnamed = indexed.rename_axis([None, None])
    np.testing.assert_allclose(TableReader().fit_read(unnamed).X[0], series[0])


def test_without_times_rows_follow_each_other():
    table = pd.DataFrame({"id": [1, 2, 1, 2, 1], "a": [1, 10, 2, 20, 3]})
    X, ids, _ = TableReader("id").fit_read(table)
    assert [one.tolist() for one in X] == [[[1, 2, 3]], [[10, 20]]] and ids.tolist() == [1, 2]
    X, ids, _ = TableReader().fit_read(table[["a"]])
    assert X.shape == (1, 1, 5) and len(ids) == 1


@pytest.mark.parametrize(
    ("duplicates", "expected"), [("mean", 3.0), ("first", 2.0), ("last", 4.0)]
)
def test_rows_at_one_step_are_refused_or_joined(duplicates, expected):
    table = pd.DataFrame({"t": [0, 1, 1, 1, 2], "a": [0.0, 2.0, np.nan, 4.0, 6.0]})
    with pytest.raises(ValueError, match=r"3 rows at one step.*duplicates='mean'"):
        TableReader(time="t").fit(table)
    X = TableReader(time="t", duplicates=duplicates).fit_transform(table)
    np.testing.assert_array_equal(X[0, 0], [0, expected, 6])


@pytest.mark.parametrize(
    "step", ["10min", 600, 600.0, datetime.timedelta(minutes=10), np.timedelta64(10, "m")]
)
def test_the_step_can_be_given(step):
    table, series, *_ = make_table(gaps=False)
    half = table.sort_values("when").groupby("machine").nth[::2]
    X = reader(step=step).fit(half).read(table).X
    assert sorted(one.shape[1] for one in X) == sorted(one.shape[1] for one in series)


def test_times_near_the_grid_are_moved_to_it():
    table = pd.DataFrame({"t": [0.0, 1.02, 1.97, 4.0], "a": [1.0, 2, 3, 4]})
    X = TableReader(time="t", step=1).fit_transform(table)
    np.testing.assert_array_equal(X[0, 0], [1, 2, 3, np.nan, 4])
    off = table.assign(t=[0, 1.3, 2, 4])
    with pytest.raises(ValueError, match=r"0\.30 steps of 1 off the grid.*tolerance"):
        TableReader(time="t", step=1).fit(off)
    assert TableReader(time="t", step=1, tolerance=0.5).fit_transform(off).shape == (1, 1, 5)


@given(
    lengths=st.lists(st.integers(2, 9), min_size=1, max_size=5),
    scale=st.sampled_from([1e-9, 0.1, 1.0, 1e6]),
    seed=st.integers(0, 99),
)
def test_what_a_table_was_made_of_is_read_back(lengths, scale, seed):
    rng = np.random.default_rng(seed)
    series = [rng.normal(size=(3, length)) for length in lengths]
    rows = [
        {"id": i, "t": (7 + i + k) * scale, "a": x[0, k], "b": x[1, k], "c": x[2, k]}
        for i, x in enumerate(series)
        for k in range(x.shape[1])
    ]
    order = rng.permutation(len(rows))
    for library in (pd, pl):
        table = library.DataFrame([rows[i] for i in order])
        X, ids, _ = TableReader("id", "t").fit_read(table)
        for one, i in zip(X, ids, strict=True):
            np.testing.assert_array_equal(one, series[i])


GOOD = pd.DataFrame(
    {"id": list("aabb"), "t": [0, 1, 0, 1], "v": [1.0, 2, 3, 4], "y": [0, 0, 1, 1]}
)


NAIVE = [datetime.datetime(2024, 1, 1, 9, i) for i in range(4)]
ZONED = [
    time.astimezone(datetime.timezone(datetime.timedelta(hours=hours)))
    for time, hours in zip(
        [one.replace(tzinfo=datetime.UTC) for one in NAIVE], [0, 5, 0, -3], strict=True
    )
]


def test_times_with_zones_are_moments_whatever_their_zone(recwarn):
    values = [1.0, 2.0, 3.0, 4.0]
    table = pd.DataFrame({"t": pd.Series(ZONED, dtype=object), "v": values}).iloc[[2, 0, 3, 1]]
    X, _, _ = TableReader(time="t").fit_read(table)
    np.testing.assert_array_equal(X[0, 0], values)
    assert not recwarn.list


@pytest.mark.parametrize(
    "index",
    [
        lambda t: t.set_index("t"),
        lambda t: t.set_index("t").rename_axis(None),
        lambda t: t.set_index(t["t"] - t["t"].min()).drop(columns="t"),
        lambda t: t.set_index(["id", "t"]),
        lambda t: t.assign(t=t["t"].dt.second).set_index(["id", "t"]),
    ],
    ids=["dates", "without a name", "durations", "second level", "second level of numbers"],
)
def test_times_in_the_index_order_the_rows_and_are_no_channel(index):
    time = pd.to_datetime([0, 1, 2] * 2, unit="s")
    table = pd.DataFrame({"id": list("aaabbb"), "t": time, "v": [1.0, 2, 3, 5, 6, 7]})
    X, ids, _ = TableReader(id="id").fit_read(index(table.iloc[::-1]))
    assert ids.tolist() == ["b", "a"]
    np.testing.assert_array_equal(X, [[[5, 6, 7]], [[1, 2, 3]]])


def test_a_level_of_the_index_can_be_named():
    table = pd.DataFrame({"id": list("aabb"), "t": [1, 0, 0, 1], "v": [2.0, 1, 3, 4]})
    for indexed in (table.set_index("t"), table.set_index("id")):
        X, _, _ = TableReader("id", "t").fit_read(indexed)
        np.testing.assert_array_equal(X, [[[1, 2]], [[3, 4]]])


@pytest.mark.parametrize("missing", [None, np.nan, pd.NA])
def test_a_series_may_lack_a_label(missing):
    table = pd.DataFrame({"id": list("aabb"), "t": [0, 1] * 2, "v": [1.0, 2, 3, 4]})
    table["y"] = pd.Series([missing, missing, "x", "x"], dtype=object)
    y = TableReader("id", "t", label="y").fit_read(table).y
    assert pd.isna(y).tolist() == [True, False]


def test_a_step_of_nanoseconds_keeps_its_digits():
    time = pd.to_datetime([0, 300, 600], unit="ns")
    table = pd.DataFrame({"t": time, "v": [1.0, 2, 3]})
    for step in ("300ns", pd.Timedelta("300ns"), "auto"):
        assert TableReader(time="t", step=step).fit(table).step_ == pytest.approx(3e-7)


@pytest.mark.parametrize(
    ("change", "params", "message"),
    [
        (lambda t: t.to_numpy(), {}, "must be a data frame"),
        (lambda t: t[:0], {}, "no rows"),
        (lambda t: t.drop(columns="id"), {}, "no column 'id'"),
        (lambda t: t.drop(columns="v"), {}, "no column of values"),
        (lambda t: t.drop(columns="y"), {}, "no column 'y'"),
        (lambda t: t, {"channels": ["w"]}, "no column 'w'"),
        (lambda t: t, {"channels": ["v", "v"]}, "once"),
        (lambda t: t, {"channels": [["v"]]}, r"must name columns, but \['v'\] is no name"),
        (lambda t: t, {"channels": ["v", "t"]}, "none of id"),
        (lambda t: t.assign(id=[[1]] * 4), {}, "column 'id' of X holds no ids|Column 'id'"),
        (lambda t: t.assign(y=[[1]] * 4), {}, "'y' of X holds no labels"),
        (lambda t: t.assign(id=["a", None, "b", "b"]), {}, "no id in row 1"),
        (lambda t: t.assign(t=[0, np.nan, 0, 1]), {}, "no time in row 1"),
        (lambda t: t.assign(t=pd.to_datetime(["2020", None, "2020", "2021"])), {}, "in row 1"),
        (lambda t: t.assign(t=["0", "1", "0", "1"]), {}, r"holds no times.*pandas\.to_datetime"),
        (lambda t: t.assign(t=[[1, 2]] * 4), {}, "'t' of X holds no times: a cell holds several"),
        (lambda t: t.assign(t=[True, False, True, False]), {}, "no times"),
        (lambda t: t.assign(v=list("wxyz")), {}, "Column 'v' of X holds text"),
        (lambda t: t.assign(v=pd.to_datetime(t["t"])), {}, "Set time='v', or leave it out"),
        (lambda t: t.assign(v=[1, np.inf, 1, 1]), {}, "Column 'v' of X contains infinity"),
        (lambda t: t.assign(y=[0, 1, 1, 1]), {}, "Series 'a' has several labels.* 0 and 1"),
        (lambda t: t.assign(t=[0, 1e-9, 0, 1]), {"step": 1e-9}, "Set step, or split"),
        (lambda t: t.assign(t=np.array([0, 2**60] * 2, "M8[us]")), {"step": 1}, "or split"),
        (lambda t: t.assign(id=list("abcd")), {}, "no step can be inferred"),
        (lambda t: t, {"step": "1s"}, "is a duration, but times are numbers"),
        (lambda t: t, {"step": "soon"}, "'soon' is no duration"),
        (lambda t: t, {"step": 0}, "'step' parameter"),
        (lambda t: t, {"step": datetime.timedelta(0)}, "no duration above 0"),
        (lambda t: t, {"time": None, "step": 2}, "needs a column of times"),
        (lambda t: t, {"tolerance": 0.6}, "'tolerance' parameter"),
        (lambda t: pd.concat([t, t[["v"]]], axis=1), {}, "several columns named 'v'"),
        (lambda t: pd.concat({"x": t}, axis=1), {}, "columns of several levels"),
        (lambda t: t.assign(id=pd.array(["a", None, "b", "b"], "string")), {}, "no id in row 1"),
        (lambda t: t.assign(t=[None, *[datetime.date(2024, 1, 1)] * 3]), {}, "no time in row 0"),
        (lambda t: t.assign(t=ZONED[:2] + NAIVE[:2]), {}, "with and without a time zone"),
        (lambda t: t.assign(v=[[1, 2]] * 4), {}, "'v' of X holds no numbers"),
        (lambda t: t.assign(v=pd.Series([1, 2, 3, "4"], dtype=object)), {}, "'v' of X holds text"),
        (lambda t: t.assign(y=[0, None, 1, 1]), {}, "Series 'a' has several labels"),
        (lambda t: t.assign(id=[0, 0, 1, 1], y=range(4)), {}, "Series 0 has several labels"),
        (lambda t: t, {"label": "id"}, "'id' is more than one of"),
        (lambda t: t, {"step": "NaT"}, "no duration above 0"),
        (
            lambda t: t.set_index(["id", "t"], drop=False),
            {"id": None, "time": None},
            "both a column and a level of its index named 'id'",
        ),
        (
            lambda t: t.set_index(["id", "t", "y"]),
            {"id": None, "time": None, "label": None},
            "3 levels",
        ),
    ],
)
def test_bad_tables_are_refused_with_a_remedy(change, params, message):
    model = TableReader("id", "t", label="y").set_params(**params)
    with pytest.raises((TypeError, ValueError), match=message):
        model.fit(change(GOOD))


def test_times_of_another_kind_are_refused():
    fitted = TableReader("id", "t", label="y").fit(GOOD)
    with pytest.raises(ValueError, match=r"'date'.*fitted on 'number'"):
        fitted.read(GOOD.assign(t=pd.to_datetime(GOOD["t"], unit="D")))
    with pytest.raises(NotFittedError):
        clone(fitted).read(GOOD)


def test_a_reader_is_a_step_of_a_pipeline_and_can_be_stored(tmp_path):
    table, _, labels, _ = make_table(lengths=(16, 17, 18, 16, 15, 20))
    pipeline = make_pipeline(
        reader(), tiny_transformer(irregular="interpolate"), LogisticRegression(max_iter=10)
    )
    predicted = pipeline.fit(table, labels).predict(table)
    np.testing.assert_array_equal(pickle.loads(pickle.dumps(pipeline)).predict(table), predicted)
    save(pipeline[0], tmp_path / "reader.safetensors")
    loaded = load(tmp_path / "reader.safetensors")
    for one, other in zip(loaded.read(table).X, pipeline[0].read(table).X, strict=True):
        np.testing.assert_array_equal(one, other)
