"""Parts of data held back or looked at: nothing on both sides, nothing lost, the same part for the same seed."""

from __future__ import annotations

from collections import Counter

import pytest

from recurra.data.datasets import LabelledDataset, TextDataset
from recurra.errors import DataError
from recurra.fitting.splits import CHARACTERS, ROWS, beginning, every_nth, split_rows, split_text


def labelled(count: int) -> LabelledDataset:
    texts = [f"text {number}" for number in range(count)]
    return LabelledDataset(texts, ["a" if number % 4 else "b" for number in range(count)], list(range(count)), "rows")


def test_a_text_is_cut_once() -> None:
    train, valid = split_text(TextDataset(["0123456789" * 10], "text"))
    assert train.documents[0] + valid.documents[0] == "0123456789" * 10
    assert len(valid.documents[0]) == 10


def test_rows_are_on_one_side_and_each_class_on_both() -> None:
    data = labelled(200)
    train, valid = split_rows(data, seed=3)
    assert sorted(train.lines + valid.lines) == data.lines
    assert Counter(valid.labels) == {"a": 15, "b": 5}
    assert split_rows(data, seed=3)[1].lines == valid.lines
    assert split_rows(data, seed=4)[1].lines != valid.lines


def test_too_little_to_split() -> None:
    with pytest.raises(DataError, match="too short to hold a part back"):
        split_text(TextDataset(["ab"], "tiny"))
    with pytest.raises(DataError, match="too few rows to hold some back"):
        split_rows(LabelledDataset(["x", "y"], ["a", "b"], [1, 2], "tiny"), seed=0)


def test_a_part_of_much_and_all_of_little() -> None:
    little, much = TextDataset(["abc"], "text"), TextDataset(["abc" * CHARACTERS], "text")
    assert beginning(little) is little
    part = beginning(much)
    assert isinstance(part, TextDataset) and part.characters == CHARACTERS
    rows = every_nth(labelled(5 * ROWS))
    assert isinstance(rows, LabelledDataset) and len(rows) == ROWS == len(set(rows.lines))
    assert set(rows.labels or []) == {"a", "b"}
