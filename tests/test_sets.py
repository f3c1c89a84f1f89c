"""What a run reads, and of which of its files a note is."""

from __future__ import annotations

from pathlib import Path

import pytest

from recurra.errors import DataError
from recurra.fitting.options import FitOptions
from recurra.fitting.sets import gather


def table(path: Path, rows: list[str]) -> Path:
    path.parent.mkdir(exist_ok=True)
    path.write_text("text\tlabel\n" + "".join(row + "\n" for row in rows), encoding="utf-8")
    return path


def good(path: Path, *more: str) -> Path:
    return table(path, [*(f"{path.name} {i}\t{'xy'[i % 2]}" for i in range(20)), *more])


def test_notes_say_of_which_file_they_are(tmp_path: Path) -> None:
    train, test = good(tmp_path / "train.tsv", "no label\t"), good(tmp_path / "test.tsv", "\tx", "nor here\t")
    notes = [problem.message for problem in gather(train, None, test, FitOptions()).problems]
    assert notes == [
        "train.tsv: 1 row has no label and was left out (line 22)",
        "test.tsv: 1 row has an empty text and was left out (line 22)",
        "test.tsv: 1 row has no label and was left out (line 23)",
    ]
    alone = [problem.message for problem in gather(train, None, None, FitOptions()).problems]
    assert alone == ["1 row has no label and was left out (line 22)"]
    twin = good(tmp_path / "other" / "train.tsv", "no label\t")
    notes = [problem.message for problem in gather(train, twin, None, FitOptions()).problems]
    assert notes[0].startswith("train.tsv (train): ") and notes[1].startswith("train.tsv (valid): ")


def test_a_label_never_seen_is_named_with_its_file_and_line(tmp_path: Path) -> None:
    train, test = good(tmp_path / "train.tsv"), good(tmp_path / "test.tsv", "odd\t9")
    with pytest.raises(DataError, match=r"test\.tsv has 1 label that train\.tsv does not have \('9'; line 22\)"):
        gather(train, None, test, FitOptions())
