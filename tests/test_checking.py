"""Checking: each thing that can be wrong with clean rows, with its lines, and what is fatal."""

from __future__ import annotations

import numpy as np
import pytest

from recurra.data.checking import Problem, check_documents, check_rows, check_series, leakage, places, raise_fatal
from recurra.data.datasets import LabelledDataset, TextDataset
from recurra.errors import DataError


def rows(inputs: list, labels: list[str] | None, name: str = "train.tsv") -> LabelledDataset:
    return LabelledDataset(inputs, labels, list(range(2, len(inputs) + 2)), name)


def messages(problems: list[Problem]) -> str:
    return " | ".join(problem.message for problem in problems)


def test_places_shows_five_lines_and_counts_the_rest() -> None:
    assert places([3], "line") == "line 3"
    assert places([3, 7, 9], "row") == "rows 3, 7 and 9"
    assert places(list(range(1, 18)), "line") == "lines 1, 2, 3, 4, 5 and 12 more"


def test_clean_rows_have_no_problems() -> None:
    assert check_rows(rows(["a", "b", "c", "d"], ["x", "y", "x", "y"]), "line") == []


def test_one_class_only_is_fatal() -> None:
    [problem] = check_rows(rows(["a", "b"], ["x", "x"]), "line")
    assert problem.fatal and problem.line == 2
    assert problem.message == "all 2 rows have the label 'x': a classifier needs at least two classes"


def test_identical_inputs_with_different_labels_are_fatal() -> None:
    problem = check_rows(rows(["a"] * 4, ["x", "y", "x", "y"]), "line")[-1]
    assert problem.fatal and "all inputs are identical while their labels differ" in problem.message


def test_classes_with_a_single_row_are_named() -> None:
    [problem] = check_rows(rows(["a", "b", "c", "d", "e"], ["x", "x", "rare", "y", "y"]), "line")
    assert problem == Problem(4, "1 class has a single row, too few to learn from ('rare'; first at line 4)", False)


def test_copies_are_counted_with_their_lines() -> None:
    [problem] = check_rows(rows(["a", "b", "a", "c", "a"], ["x", "y", "x", "y", "x"]), "line")
    assert problem == Problem(4, "2 rows are copies of an earlier row (lines 4 and 6)", False)


def test_contradicting_labels_are_named() -> None:
    [problem] = check_rows(rows(["a", "b", "a", "c"], ["x", "y", "y", "x"]), "line")
    assert not problem.fatal
    assert (
        "1 input stands in the data with different labels (first: lines 2 and 4, labelled 'x', 'y')" in problem.message
    )


def test_copies_of_numeric_sequences_are_found() -> None:
    one, other = np.zeros((3, 2), np.float32), np.ones((3, 2), np.float32)
    [problem] = check_rows(rows([one, other, one.copy(), other + 1], ["x", "y", "x", "y"]), "row")
    assert problem.message == "1 row is a copy of an earlier row (row 4)"


def test_long_rows_are_named() -> None:
    [problem] = check_rows(rows(["a", "b" * 5_001, "c", "d"], ["x", "y", "x", "y"]), "line")
    assert (
        problem.line == 3 and "1 row is longer than 5,000 characters (the longest has 5,001; line 3)" in problem.message
    )
    series = [np.full((steps, 1), steps, np.float32) for steps in (2, 6_000, 3, 4)]
    assert "longer than 5,000 steps" in messages(check_rows(rows(series, ["x", "y", "x", "y"]), "row"))


def test_a_label_that_is_no_class_is_suspected() -> None:
    data = rows([f"text {i}" for i in range(30)], [f"label {i}" for i in range(30)])
    [problem] = check_rows(data, "line")
    assert "30 different values in 30 rows" in problem.message and "(--label)" in problem.message


def test_labels_are_not_judged_for_prediction() -> None:
    assert check_rows(rows(["a", "a"], ["x", "x"]), "line", judge_labels=False) == []
    assert check_rows(rows(["a", "a"], None), "line") == []


def test_infinity_is_fatal_and_what_is_missing_is_told_with_step_and_feature() -> None:
    broken = np.zeros((4, 2), np.float32)
    broken[2, 1] = np.nan
    infinite = np.zeros((4, 2), np.float32)
    infinite[0, 0] = -np.inf
    kept, problems = check_series([np.zeros((4, 2), np.float32), broken, infinite], [1, 2, 3], "row")
    assert kept == [0, 1, 2]
    assert problems == [
        Problem(3, "row 3 has an infinity at step 1, feature 1 (or a number too large for float32)", True),
        Problem(
            2, "1 row has missing values, 0.042 of all values (row 2; row 2 has NaN at step 3, feature 2): they are filled",
            False,
        ),
    ]  # fmt: skip


def test_missing_values_that_look_like_padding_get_a_hint() -> None:
    padded = np.array([[1.0], [np.nan], [np.nan]], np.float32)
    _, problems = check_series([padded], [1], "row")
    assert "row 1 has NaN at step 2, feature 1" in problems[0].message and not problems[0].fatal
    assert "`lengths`" in problems[1].message and not problems[1].fatal


def test_a_feature_without_any_value_is_fatal() -> None:
    silent = np.array([[1.0, np.nan], [2.0, np.nan]], np.float32)
    _, [problem] = check_series([silent, silent], [1, 2], "row")
    assert problem.fatal and "feature 2 has no value in any row (row 1 has NaN at step 1, feature 2)" in problem.message


def test_ragged_features_and_empty_sequences_are_left_out() -> None:
    arrays = [np.zeros(shape, np.float32) for shape in ((3, 2), (3, 2), (3, 3), (0, 2), (5, 2))]
    kept, problems = check_series(arrays, [1, 2, 3, 4, 5], "row")
    assert kept == [0, 1, 4]
    assert [problem.line for problem in problems] == [4, 3]
    assert problems[0].message == "1 row has a sequence of no steps and was left out (row 4)"
    assert "another number of features (3), not 2" in problems[1].message and "(row 3)" in problems[1].message


def test_fatal_problems_come_together_five_of_them() -> None:
    problems = [Problem(i, f"row {i} is bad", True) for i in range(1, 9)] + [Problem(9, "harmless", False)]
    with pytest.raises(DataError) as caught:
        raise_fatal(problems, "x.npz")
    assert str(caught.value) == (
        "x.npz cannot be used as it is: row 1 is bad; row 2 is bad; row 3 is bad; row 4 is bad; row 5 is bad; "
        "and 3 more problems like these."
    )
    raise_fatal(problems[8:], "x.npz")


def test_documents_that_are_empty_copied_or_damaged() -> None:
    kept, problems = check_documents(["a", " \n", "b", "a", "c\ufffd"], [1, 2, 3, 4, 5], "document")
    assert kept == ["a", "b", "a", "c\ufffd"]
    assert "1 row has an empty text and was left out (document 2)" in messages(problems)
    assert "1 document is a copy of an earlier one" in messages(problems)
    assert "1 replacement characters" in messages(problems)
    assert check_documents(["", " "], [1, 2], "document") == ([], [Problem(None, "there is no text in it", True)])


def test_leakage_is_counted_with_lines_of_both() -> None:
    train = rows(["A good film.", "bad", "fine"], ["1", "0", "1"])
    other = rows(["new", "a  good FILM.", "bad"], ["1", "1", "0"], "test.tsv")
    problem = leakage(train, other)
    assert problem is not None and problem.line == 3 and not problem.fatal
    assert problem.message.startswith("2 of 3 inputs of test.tsv also stand in train.tsv (first: line 3, there line 2)")
    assert leakage(train, rows(["new"], ["1"])) is None


def test_leakage_of_numeric_sequences_and_of_documents() -> None:
    one, other = np.zeros((3, 2), np.float32), np.ones((3, 2), np.float32)
    assert leakage(rows([one], ["x"]), rows([other, one], ["x", "y"])) is not None
    assert leakage(rows([one], ["x"]), rows([other], ["x"])) is None
    long = "a line of text that is certainly long enough to be no accident"
    train, valid = TextDataset([f"x\n{long}\ny\n"], "train.txt"), TextDataset([f"{long}\nx\n"], "valid.txt")
    problem = leakage(train, valid)
    assert problem is not None and "1 of 1 long lines of valid.txt also stand in train.txt" in problem.message
    assert leakage(train, TextDataset(["x\ny\n"], "short.txt")) is None
    with pytest.raises(DataError, match="cannot be compared"):
        leakage(train, rows(["a"], ["x"]))


def test_a_value_beside_which_all_others_are_one_is_told() -> None:
    rows = [np.array([[1.0, place], [2.0, 5.0]], np.float32) for place in range(1, 6)]
    rows[2][1, 1] = -3e7
    kept, [problem] = check_series(rows, [2, 3, 4, 5, 6], "line", ["a", "load"])
    assert kept == [0, 1, 2, 3, 4] and not problem.fatal and problem.line == 4
    assert problem.message.startswith("feature 2 ('load') is -3e+07 at step 2 of line 4, where rows usually reach 5:")
    rows[2][1, 1] = -300
    assert check_series(rows, [2, 3, 4, 5, 6], "line") == ([0, 1, 2, 3, 4], [])


def test_a_feature_without_values_is_called_by_its_name() -> None:
    silent = np.array([[np.nan, 1.0]], np.float32)
    _, [problem] = check_series([silent, silent], [2, 5], "series at line", ["load", "b"])
    assert problem.message.startswith("feature 1 ('load') has no value in any series (series at line 2 has NaN")
