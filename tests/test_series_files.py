"""Series and pictures from files: what comes out is what stands there, and what is wrong is named with its place."""

from __future__ import annotations

import gzip
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from recurra.data.columns import Columns
from recurra.data.datasets import LabelledDataset, RegressionDataset
from recurra.data.reading import read
from recurra.data.tables import parse_delimited
from recurra.data.ts_files import parse_ts
from recurra.data.wide import gathered
from recurra.errors import DataError
from recurra.fitting.options import FitOptions
from recurra.fitting.sets import read_all

HEADER = "# a comment\n@problemName x\n@timeStamps false\n@missing true\n@univariate false\n@dimensions 2\n"
Write = Callable[[str, str | bytes], Path]


@pytest.fixture
def write(tmp_path: Path) -> Write:
    def written(name: str, content: str | bytes) -> Path:
        path = tmp_path / name
        path.write_bytes(content if isinstance(content, bytes) else content.encode())
        return path

    return written


def idx(kind: int, array: np.ndarray) -> bytes:
    sizes = b"".join(size.to_bytes(4, "big") for size in array.shape)
    return bytes([0, 0, kind, array.ndim]) + sizes + array.tobytes()


def test_dimensions_lengths_and_missing_values(write: Write) -> None:
    lines = ["1,2,3:4,?,6:a", "7:8:b", "1,1:2,2:a", "3,3:4,4:b"]
    path = write("x.ts", HEADER + "@equalLength false\n@classLabel true a b\n@data\n" + "\n".join(lines) + "\n")
    dataset, found, problems = read(path)
    assert isinstance(dataset, LabelledDataset) and found.task == "classify"
    np.testing.assert_array_equal(dataset.inputs[0], np.array([[1, 4], [2, np.nan], [3, 6]], np.float32))
    assert [len(row) for row in dataset.inputs] == [3, 1, 2, 2] and dataset.labels == ["a", "b", "a", "b"]
    assert dataset.lines == [10, 11, 12, 13]
    assert "line 10 has NaN at step 2, feature 2" in problems[0].message


def test_targets_make_it_a_regression(write: Write) -> None:
    dataset, found, _ = read(write("x.ts", "@targetLabel true\n@data\n1,2:0\n3,4:2\n5,6:1\n"))
    assert isinstance(dataset, RegressionDataset) and found.task == "regress"
    assert dataset.targets == [(0.0,), (2.0,), (1.0,)] and dataset.names == ("target",)


def test_a_file_without_answers_is_for_prediction(write: Write) -> None:
    path = write("x.ts", "@classLabel false\n@data\n1,2:3,4\n5,6:7,8\n")
    dataset, _, _ = read(path, task="classify", need_labels=False)
    assert isinstance(dataset, LabelledDataset) and dataset.labels is None
    np.testing.assert_array_equal(dataset.inputs[1], np.array([[5, 7], [6, 8]], np.float32))


@pytest.mark.parametrize(
    "text, message",
    [
        ("1,2:a", "line 1 belongs to no header"),
        ("@classLabel true a\n1,2:a", "line 2 belongs to no header"),
        ("@classLabel true a\n", "no line @data"),
        ("@classLabel maybe\n@data\n1:a", "line 1: @classlabel is neither on nor off. Got: maybe"),
        ("@dimensions two\n@data\n1", "line 1: @dimensions is no number. Got: two"),
        ("@classLabel true a\n@data\n", "a header and no series"),
        ("@classLabel true a\n@data\n1,2", "line 3 has no answer"),
        ("@classLabel true a\n@data\n1,2:3:a", "line 3: the dimensions differ in length. Got: 1, 2 steps"),
        ("@classLabel true a\n@data\n1:2:a\n1:a", "line 4 has another number of dimensions. Got: 1. Expected: 2"),
        ("@classLabel true a\n@data\n1,,3:a", "line 3: dimension 1, step 2 is no number. Got: ''"),
        ("@seriesLength 3\n@classLabel true a\n@data\n1,2:a", "line 4 has another length.*Got: 2. Expected: 3"),
        ("@targetLabel true\n@data\n1,2:x", "line 3 has a target that is no number"),
    ],
)
def test_what_is_wrong_is_named_with_its_line(text: str, message: str) -> None:
    with pytest.raises(DataError, match=message):
        parse_ts(text, "x.ts")


STAMPED = "@timeStamps true\n@classLabel true a b\n@data\n"


def test_time_stamps_put_steps_in_order_and_dimensions_side_by_side() -> None:
    dated = "(2004-01-01 00:00:00,1.5),(2004-01-02 00:00:00,?),(2004-01-03 00:00:00,3):(2004-01-02 00:00:00,7):a"
    table = parse_ts(f"{STAMPED}{dated}\n(2,20),(1,10),(2.5,25):(1,-1),(2.5,4),(2,0.5):b\n", "x.ts")
    first, second = table.columns["series"]
    np.testing.assert_array_equal(first, np.array([[1.5, np.nan], [np.nan, 7], [3, np.nan]], np.float32))
    np.testing.assert_array_equal(second, np.array([[10, -1], [20, 0.5], [25, 4]], np.float32))
    assert table.columns["label"] == ["a", "b"] and table.lines == [4, 5]
    (problem,) = table.problems
    assert problem.message.startswith("1 series is unevenly spaced in time") and problem.line == 5


@pytest.mark.parametrize(
    "line, message",
    [
        ("1,2:a", r"line 4: dimension 1 is no series with time stamps. Got: '1,2'. Expected: \(stamp,value\)"),
        ("(1,2),(2,3:a", "line 4: dimension 1 is no series with time stamps"),
        ("(1,2):(5):a", "line 4: dimension 2, step 1 is no stamp with a number. Got: '5'"),
        ("(1,2),(2,x):a", "line 4: dimension 1, step 2 is no stamp with a number"),
        ("(1,2),(soon,3):a", "line 4 has a time stamp that cannot be read. Got: 'soon'"),
        ("(1,2),(1,3):a", "line 4: dimension 1 has a time stamp twice. Got: 1"),
        ("(1,2),(2,3)", "line 4 has no answer"),
    ],
)
def test_what_is_wrong_with_stamps_is_named_with_its_line(line: str, message: str) -> None:
    with pytest.raises(DataError, match=message):
        parse_ts(f"{STAMPED}{line}", "x.ts")


def test_a_header_that_the_series_contradict_is_told() -> None:
    head = "@univariate true\n@equalLength true\n@classLabel true a b\n@data\n"
    table = parse_ts(f"{head}1,2:3,4:a\n1:2:b\n5,6:7,8:a\n9:9:b\n", "x.ts")
    assert [problem.message for problem in table.problems] == [
        "the header says @univariate true (line 1), but there are 2 dimensions (line 5)",
        "the header says @equalLength true (line 2), but series are of other lengths than the first, of 2 steps "
        "(lines 6 and 8)",
    ]
    assert not any(problem.fatal for problem in table.problems)


def test_pictures_are_sequences_of_rows_with_the_labels_beside(write: Write) -> None:
    pictures = np.arange(24, dtype=np.uint8).reshape(4, 3, 2)
    path = write("t-images-idx3-ubyte.gz", gzip.compress(idx(8, pictures)))
    write("t-labels-idx1-ubyte", idx(8, np.array([0, 1, 0, 1], np.uint8)))
    dataset, _, _ = read(path)
    assert isinstance(dataset, LabelledDataset) and dataset.pictures and dataset.labels == ["0", "1", "0", "1"]
    np.testing.assert_array_equal(dataset.inputs[1], pictures[1].astype(np.float32))
    assert dataset.subset([2, 0], "part").pictures


def test_numbers_of_every_type_and_packed_files_under_plain_names(write: Write) -> None:
    values = np.array([[[1.5, -2.0]], [[0.25, 9.0]]])
    for kind, form in ((0x0D, ">f4"), (0x0E, ">f8")):
        path = write("x-images-idx3-ubyte", gzip.compress(idx(kind, values.astype(form))))
        dataset, _, _ = read(path, task="classify", need_labels=False)
        np.testing.assert_array_equal(dataset.raw[1], values[1].astype(np.float32))


def test_labels_of_other_pictures_are_refused(write: Write) -> None:
    path = write("t-images-idx3-ubyte", idx(8, np.zeros((2, 3, 3), np.uint8)))
    write("t-labels-idx1-ubyte", idx(8, np.zeros(3, np.uint8)))
    with pytest.raises(DataError, match=r"does not belong to t-images.*Got: labels of shape \[3\]. Expected: \[2\]"):
        read(path)


def test_a_series_a_row_and_a_step_a_column(write: Write) -> None:
    rows = [[1, *range(8)], [2, *range(1, 9)], [1, *range(2, 10)], [2, *range(3, 9), "", ""]]
    path = write("x.tsv", "\n".join("\t".join(map(str, row)) for row in rows) + "\n")
    dataset, found, _ = read(path)
    assert isinstance(dataset, LabelledDataset) and dataset.labels == ["1", "2", "1", "2"]
    assert [row.shape for row in dataset.raw] == [(8, 1), (8, 1), (8, 1), (6, 1)]
    np.testing.assert_array_equal(dataset.raw[1][:, 0], np.arange(1, 9, dtype=np.float32))
    assert "the 8 columns of numbers" in found.reasons[0]


def test_a_table_with_names_keeps_its_label(write: Write) -> None:
    names = [f"t{step}" for step in range(9)]
    lines = [",".join([*names, "class"]), *(",".join([*map(str, range(i, i + 9)), "ab"[i % 2]]) for i in range(6))]
    dataset, _, _ = read(write("x.csv", "\n".join(lines) + "\n"))
    assert isinstance(dataset, LabelledDataset) and dataset.labels == list("ababab") and dataset.features == 1


def test_a_table_of_few_numbers_is_no_series() -> None:
    table = parse_delimited("a,b,class\n1,2,x\n3,4,y\n5,6,x\n", "x.csv", tabs=False)
    assert gathered(table, Columns()) == (table, None)


def test_amounts_are_learnt_as_such(tmp_path: Path) -> None:
    random = np.random.default_rng(0)
    x, y = random.normal(size=(30, 5, 2)), random.normal(size=30)
    np.savez(tmp_path / "one.npz", x=x, y=y)
    dataset, found, _ = read(tmp_path / "one.npz")
    assert isinstance(dataset, RegressionDataset) and dataset.names == ("y",) and "amounts" in found.reasons[-1]
    np.savez(tmp_path / "two.npz", x=x, y=np.stack([y, 2 * y], axis=1))
    dataset, _, _ = read(tmp_path / "two.npz")
    assert isinstance(dataset, RegressionDataset) and dataset.names == ("y_1", "y_2")
    assert dataset.targets is not None and dataset.targets[3] == (y[3], 2 * y[3])


def test_answers_without_a_number_leave_their_rows_out() -> None:
    inputs = [np.full((2, 1), place, np.float32) for place in range(6)]
    dataset, _, problems = read({"x": inputs, "y": [0.5, None, 1.5, 2.5, float("inf"), 3.0]}, task="regress")
    assert isinstance(dataset, RegressionDataset) and dataset.lines == [1, 3, 4, 6]
    assert problems[0].message == "2 rows have no finite number to learn and were left out (rows 2 and 5)"
    with pytest.raises(DataError, match="'y' holds no numbers"):
        read({"x": inputs, "y": list("abcdef")}, task="regress", label="y")


def test_arrays_alone_are_for_prediction(tmp_path: Path) -> None:
    np.save(tmp_path / "x.npy", np.arange(12.0).reshape(2, 3, 2))
    dataset, _, _ = read(tmp_path / "x.npy", task="classify", need_labels=False)
    np.testing.assert_array_equal(dataset.raw[1], np.arange(6.0, 12).reshape(3, 2))
    np.save(tmp_path / "o.npy", np.array([object()], dtype=object))
    with pytest.raises(DataError, match="can run code and are never read"):
        read(tmp_path / "o.npy")


def test_sequences_of_no_steps_are_said_to_be_that(tmp_path: Path) -> None:
    np.savez(tmp_path / "x.npz", x=np.zeros((6, 0, 2)), y=[0, 1] * 3)
    with pytest.raises(DataError, match="6 of 6 rows cannot be used; 6 rows have a sequence of no steps"):
        read(tmp_path / "x.npz")


def test_a_validation_file_is_gathered_as_the_training_file_was(tmp_path: Path) -> None:
    """By the columns that were found in the first, of which one has the name that gathered series have."""
    wide = "\n".join("\t".join(map(str, [1 + at % 2, *range(at, at + 8)])) for at in range(6))
    for name in ("a.tsv", "b.tsv"):
        (tmp_path / name).write_text(wide + "\n")
    sets, _, _ = read_all(tmp_path / "a.tsv", tmp_path / "b.tsv", None, FitOptions())
    assert [len(sets[name]) for name in ("train", "valid")] == [6, 6]
    np.testing.assert_array_equal(sets["valid"].raw[2], sets["train"].raw[2])
