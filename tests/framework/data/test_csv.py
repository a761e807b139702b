"""CSV files: everything that is understood, and every mistake with its line and column."""

from __future__ import annotations

import csv
import io
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from flagstone.data import load
from flagstone.data.csv_table import CsvTable, typed_column
from flagstone.errors import ConfigurationError, FlagstoneError, InputError, UnknownNameError


@pytest.fixture
def write(tmp_path: Path):
    def write(text: str | bytes, name: str = "table.csv") -> Path:
        path = tmp_path / name
        path.write_bytes(text.encode() if isinstance(text, str) else text)
        return path

    return write


FLOWERS = "length,width,kind\n1,2,rose\n3,4.5,lily\n5,6,rose\n"


def test_a_table_with_a_header(write) -> None:
    dataset = load(write(FLOWERS))
    assert (dataset.name, dataset.task) == ("table", "classification")
    assert dataset.feature_names == ("length", "width")
    assert dataset.target_names == ("kind",)
    assert dataset.X.dtype == np.float64
    np.testing.assert_array_equal(dataset.X, [[1, 2], [3, 4.5], [5, 6]])
    assert dataset.y.tolist() == ["rose", "lily", "rose"]


def test_a_table_without_a_header(write) -> None:
    dataset = load(write("1,2,rose\n3,4,lily\n"))
    assert dataset.feature_names is None
    assert dataset.target_names is None
    np.testing.assert_array_equal(dataset.X, [[1, 2], [3, 4]])


SAME = {
    "CRLF": FLOWERS.replace("\n", "\r\n"),
    "CR": FLOWERS.replace("\n", "\r"),
    "byte-order mark": "\ufeff" + FLOWERS,
    "no newline at the end": FLOWERS.rstrip("\n"),
    "comments and blank lines": '# a "quote\n\n' + FLOWERS.replace("\n", "\n  \n# x,,,\n"),
    "comments with empty cells": "# from somewhere,,\r\n" + FLOWERS,
    "empty cells at the end of lines": FLOWERS.replace("\n", ",,\n"),
    "quoted": '"length","width","kind"\n"1","2","rose"\n"3","4.5","lily"\n5,6,"rose"\n',
    "spaces": 'length , width, kind\n 1, 2 ,rose \n3,\t4.5, lily\n5,6, "rose"\n',
    "semicolons": FLOWERS.replace(",", ";"),
    "tabs": FLOWERS.replace(",", "\t"),
    "exponents and signs": "length,width,kind\n+1e0,2.0,rose\n3,.45E1,lily\n5,6.,rose\n",
}


@pytest.mark.parametrize("case", SAME)
def test_ways_to_write_the_same_table(write, case: str) -> None:
    expected, dataset = load(write(FLOWERS, "plain.csv")), load(write(SAME[case]))
    np.testing.assert_array_equal(dataset.X, expected.X)
    np.testing.assert_array_equal(dataset.y, expected.y)
    assert dataset.feature_names == expected.feature_names
    assert dataset.target_names == expected.target_names


def test_a_quoted_field_may_run_over_lines_and_hold_anything(write) -> None:
    table = 'x,label\n1,"a, ""b""\n# not a comment"\n2,c\n'
    assert load(write(table)).y.tolist() == ['a, "b"\n# not a comment', "c"]
    with pytest.raises(InputError, match=r"table\.csv, line 5, column 'x': .* got 'oops'"):
        load(write(table + "oops,c\n"))


@pytest.mark.parametrize(
    ("target", "names", "y"),
    [
        (None, ("c",), [3, 6, 3, 6]),
        ("c", ("c",), [3, 6, 3, 6]),
        ("a", ("a",), [1, 4, 1, 4]),
        ("1", ("b",), [2, 5, 2, 5]),
        ("-3", ("a",), [1, 4, 1, 4]),
    ],
)
def test_the_target_by_name_or_place(write, target: str | None, names: tuple, y: list) -> None:
    dataset = load(write("a,b,c\n" + "1,2,3\n4,5,6\n" * 2), target=target)
    assert dataset.target_names == names
    assert dataset.y.tolist() == y
    assert dataset.feature_names == tuple(n for n in "abc" if n not in names)


def test_several_targets(write) -> None:
    dataset = load(write("a,b,c\n1,2,3\n4,5,6\n"), target="c, a")
    assert dataset.task == "regression"
    assert dataset.target_names == ("c", "a")
    np.testing.assert_array_equal(dataset.y, [[3.0, 1.0], [6.0, 4.0]])
    np.testing.assert_array_equal(dataset.X, [[2.0], [5.0]])


def test_a_target_whose_name_has_a_comma(write) -> None:
    assert load(write('a,"b, c",d\n1,2,3\n4,5,6\n'), target="b, c").target_names == ("b, c",)


def test_the_models_task_wins(write) -> None:
    path = write("x,y\n" + "1,0\n2,1\n" * 3)
    assert load(path).task == "classification"
    regression = load(path, task="regression")
    assert regression.y.dtype == np.float64
    assert load(path, task="classification").y.dtype == np.int64
    many = write("x,y\n1,7\n2,8\n3,9\n", "many.csv")
    assert load(many).task == "regression"
    assert load(many, task="classification").y.tolist() == [7, 8, 9]


# text, options, the error's type, and what its message must be after the file's name
BAD = {
    "empty": ("", {}, InputError, ": the file is empty; it holds no row"),
    "comments only": ("# a\n\n# b\n", {}, InputError, ": the file is empty; it holds no row"),
    "header only": (
        "a,b\n",
        {},
        InputError,
        ": the file has a header but no row below it",
    ),
    "few cells": (
        "a,b,c\n1,2,3\n4,5\n",
        {},
        InputError,
        ", line 3: expected 3 cells as on line 1, got 2; column 'c' is missing",
    ),
    "many cells": (
        "a,b\n# note\n1,2,3\n",
        {},
        InputError,
        ", line 3: expected 2 cells as on line 1, got 3; a cell that holds the separator must "
        "stand in double quotes",
    ),
    "text": (
        "a,b,c\n1,2,x\n3,four,y\n",
        {},
        InputError,
        ", line 3, column 'b': a feature must be a number; got 'four'",
    ),
    "text without header": (
        "1,2,x\n3,four,y\n",
        {},
        InputError,
        ", line 2, column 1 (counted from 0): a feature must be a number; got 'four'",
    ),
    "half a header": (
        "a,2020,c\n1,2,x\n",
        {},
        InputError,
        ", line 1, column 0 (counted from 0): a feature must be a number; got 'a'. If this line "
        "is a header, no cell of it may be a number",
    ),
    "underscore": (
        "a,b\n1_000,x\n2,y\n",
        {},
        InputError,
        ", line 2, column 'a': a feature must be a number; got '1_000'",
    ),
    "empty cell": ("a,b,c\n1,,x\n", {}, InputError, ", line 2, column 'b': the cell is empty"),
    "empty target": ("a,b,c\n1,2,\n", {}, InputError, None),
    "empty first target": (
        "a,b,c\n,2,3\n",
        {"target": "a"},
        InputError,
        ", line 2, column 'a': the cell is empty",
    ),
    "nan": (
        "a,b\n1,x\nNaN,y\n",
        {},
        InputError,
        ", line 3, column 'a': a feature must be finite; got nan",
    ),
    "inf": (
        "a,b\n1,x\n-inf,y\n",
        {},
        InputError,
        ", line 3, column 'a': a feature must be finite; got -inf",
    ),
    "overflow": (
        "a,b\n1,x\n1e999,y\n",
        {},
        InputError,
        ", line 3, column 'a': a feature must be finite; got inf",
    ),
    "nan target": (
        "a,b\n1,2\n3,nan\n",
        {},
        InputError,
        ", line 3, column 'b': a target must be finite; got nan",
    ),
    "duplicate header": (
        "a,b,a\n1,2,3\n",
        {},
        InputError,
        ", line 1: two columns are named 'a' in the header",
    ),
    "nameless column": (
        ",b,c\n1,2,3\n",
        {},
        InputError,
        ", line 1: column 0 (counted from 0) has no name in the header; name it, or remove the "
        "column (pandas writes one unless index=False)",
    ),
    "one column": (
        "a\n1\n",
        {},
        InputError,
        ": no feature column is left beside the target; the file has 1 column",
    ),
    "all targets": (
        "a,b\n1,2\n",
        {"target": "a,b"},
        InputError,
        ": no feature column is left beside the target; the file has 2 columns",
    ),
    "one target twice": (
        "a,b,c\n1,2,3\n",
        {"target": "a,0"},
        InputError,
        ": target 'a,0' names one column twice",
    ),
    "place out of range": (
        "a,b\n1,2\n",
        {"target": "2"},
        InputError,
        ": target column 2 does not exist; the file has 2 columns, 0 to 1",
    ),
    "a name without a header": (
        "1,2\n3,4\n",
        {"target": "kind"},
        InputError,
        ": target 'kind' is not the place of a column, and the file has no header to name one; "
        "give a number from 0 to 1",
    ),
    "one class": (
        "a,kind\n1,rose\n2,rose\n",
        {},
        InputError,
        None,
    ),
    "text for regression": (
        "a,b\n1,2\n3,rose\n",
        {"task": "regression"},
        InputError,
        ", line 3, column 'b': a regression target must be a number; got 'rose'. For text labels "
        "choose a classification model",
    ),
    "fractions for classification": (
        "a,b\n1,2\n3,2.5\n",
        {"task": "classification"},
        InputError,
        ", line 3, column 'b': 2.5 is not a whole number, so it is no class label. Choose a "
        "regression model, or name the column of labels with target",
    ),
    "several labels": (
        "a,b,c\n1,2,3\n",
        {"target": "b,c", "task": "classification"},
        ConfigurationError,
        ": classification takes one target column; got 2: column 'b', column 'c'",
    ),
    "open quote": (
        'a,b\n1,"x\n2,y\n',
        {},
        InputError,
        ", line 2: not valid CSV: unexpected end of data. A double quote inside a quoted field "
        "is written twice",
    ),
    "latin-1": (
        "a,b\n1,é\n".encode("latin-1"),
        {},
        InputError,
        ": not UTF-8 text (byte 0xe9: invalid continuation byte); save the file as UTF-8",
    ),
    "unknown task": ("a,b\n1,2\n", {"task": "ranking"}, ConfigurationError, None),
}


@pytest.mark.parametrize("case", BAD)
def test_a_mistake_is_named_with_its_place(write, case: str) -> None:
    text, options, error, message = BAD[case]
    path = write(text)
    with pytest.raises(error) as caught:
        load(path, **options)
    assert caught.value.exit_code == 2
    assert "\n" not in str(caught.value)
    if message is not None:
        assert str(caught.value) == f"{path}{message}"


def test_an_empty_target_at_the_end_of_a_line_names_the_column(write) -> None:
    with pytest.raises(InputError, match=r"line 2.*column 'c'"):
        load(write("a,b,c\n1,2,\n"))


def test_one_class_is_named(write) -> None:
    path = write("a,kind\n1,rose\n2,rose\n")
    with pytest.raises(InputError) as caught:
        load(path)
    assert str(caught.value) == (
        "dataset table: classification needs at least 2 classes; the target column 'kind' holds "
        "only one, 'rose'"
    )
    assert load(path, min_classes=1).y.tolist() == ["rose", "rose"]


def test_an_unknown_target_is_answered_with_a_suggestion(write) -> None:
    with pytest.raises(UnknownNameError, match=r"unknown target column .* Did you mean 'kind'\?"):
        load(write(FLOWERS), target="knd")


cells = st.one_of(st.floats(allow_nan=False, allow_infinity=False), st.integers(-(10**12), 10**12))


@given(
    rows=st.integers(1, 8),
    columns=st.integers(2, 6),
    header=st.booleans(),
    quoting=st.sampled_from([csv.QUOTE_MINIMAL, csv.QUOTE_ALL]),
    end=st.sampled_from(["\n", "\r\n"]),
    data=st.data(),
)
def test_numbers_come_back_exactly(rows, columns, header, quoting, end, data) -> None:
    table = data.draw(
        st.lists(st.lists(cells, min_size=columns, max_size=columns), min_size=rows, max_size=rows)
    )
    text = io.StringIO(newline="")
    writer = csv.writer(text, quoting=quoting, lineterminator=end)
    if header:
        writer.writerow([f"column {i}" for i in range(columns)])
    writer.writerows(table)
    text.seek(0)
    read = CsvTable(text, "text")
    assert (read.names is not None) == header
    got = read.read(range(columns), [])
    np.testing.assert_array_equal(got.numbers, np.array(table, dtype=np.float64))
    assert list(got.rows) == list(range(1 + header, 1 + header + rows))


@given(st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\x00"), max_size=60))
def test_any_text_is_a_table_or_a_clear_error(text: str) -> None:
    problem = None
    try:
        table = CsvTable(io.StringIO(text, newline=""), "text")
        columns = table.read(range(table.width - 1), [table.width - 1])
    except FlagstoneError as error:
        problem = str(error)
    if problem is None:
        assert columns.numbers.shape == (len(columns.rows), table.width - 1)
        assert np.isfinite(columns.numbers).all()
    else:
        assert problem.startswith("text")


@pytest.mark.parametrize(
    ("text", "dtype", "values"),
    [
        (["1", "-2"], "i", [1, -2]),
        (["1", "2.5"], "f", [1.0, 2.5]),
        (["1", "two"], "U", ["1", "two"]),
        (["007", "8"], "i", [7, 8]),
        (["99999999999999999999", "1"], "U", ["99999999999999999999", "1"]),
        (["1_0", "2"], "U", ["1_0", "2"]),
        (["nan", "rose"], "U", ["nan", "rose"]),
    ],
)
def test_how_a_column_of_targets_is_typed(text: list, dtype: str, values: list) -> None:
    column = typed_column(text)
    assert column.dtype.kind == dtype
    assert column.tolist() == values


def test_reading_a_table_imports_neither_polars_nor_pillow(write) -> None:
    import subprocess
    import sys

    script = (
        "import sys; from flagstone.data.csv_table import open_csv; from pathlib import Path\n"
        f"with open_csv(Path({str(write(FLOWERS))!r})) as table: table.read([0, 1], [2])\n"
        "import flagstone.data\n"
        "print([m for m in ('polars', 'PIL', 'sklearn', 'scipy', 'click') if m in sys.modules])"
    )
    done = subprocess.run(
        [sys.executable, "-c", script], capture_output=True, text=True, check=True
    )
    assert done.stdout.strip() == "[]"
