"""Pairs of sentences: how they are found and read, and what is said of those that cannot be used."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pandas as pd
import pytest

from recurra.data.checking import leakage
from recurra.data.datasets import PairDataset
from recurra.data.reading import read
from recurra.errors import DataError, UsageError

ROWS = [(f"this is sentence number {number}", f"dies ist satz nummer {number} von zwölf") for number in range(12)]


def pairs(source: Any, **options: Any) -> tuple[PairDataset, list[str]]:
    """The dataset, and the messages of its problems."""
    dataset, _, problems = read(source, **options)
    assert isinstance(dataset, PairDataset)
    return dataset, [problem.message for problem in problems]


def written(folder: Path, name: str, text: str) -> Path:
    path = folder / name
    path.write_text(text, encoding="utf-8")
    return path


def tsv(folder: Path, rows: list[tuple[str, str]], header: str = "source\ttarget\n", name: str = "data.tsv") -> Path:
    return written(folder, name, header + "".join(f"{one}\t{other}\n" for one, other in rows))


@pytest.mark.parametrize("header", ["source\ttarget\n", "src\ttgt\n", "en\tde\n", "英文\t德文\n", "原文\t译文\n", ""])
def test_columns_by_name_or_without(tmp_path: Path, header: str) -> None:
    dataset, problems = pairs(tsv(tmp_path, ROWS, header))
    assert (dataset.sources, dataset.targets) == ([one for one, _ in ROWS], [other for _, other in ROWS])
    assert dataset.lines == [number + bool(header) for number in range(1, 13)]
    assert problems == []


def test_other_forms(tmp_path: Path) -> None:
    lines = "".join(f'{{"source": "{one}", "target": "{other}"}}\n' for one, other in ROWS)
    for source, options in (
        (written(tmp_path, "data.jsonl", lines), {}),
        (written(tmp_path, "data.csv", "target,source\n" + "".join(f'"{b}","{a}"\n' for a, b in ROWS)), {}),
        (pd.DataFrame(ROWS, columns=["source", "target"]), {}),
        (pd.DataFrame([(*row, 1) for row in ROWS], columns=["a", "b", "n"]), {"text": "a", "target": "b"}),
        (ROWS, {"task": "translate"}),
    ):
        dataset, _ = pairs(source, **options)
        assert (dataset.sources, dataset.targets) == ([one for one, _ in ROWS], [other for _, other in ROWS])


@pytest.mark.parametrize("rows", [
    [(text, label) for text, label in zip(["good", "bad", "fine", "dull"] * 6, ["yes", "no"] * 12, strict=True)],
    [(f"a film that is number {n}", ["very good", "very bad"][n % 2]) for n in range(30)],
])  # fmt: skip
def test_texts_with_labels_are_no_pairs(tmp_path: Path, rows: list[tuple[str, str]]) -> None:
    for header in ("", "source\ttarget\n"):
        assert not isinstance(read(tsv(tmp_path, rows, header))[0], PairDataset)


def test_a_missing_side_is_left_out_by_its_line(tmp_path: Path) -> None:
    rows = [*ROWS, ("only a source", ""), ("", "nur ein ziel"), ("  ", "noch eins")]
    dataset, problems = pairs(tsv(tmp_path, rows))
    assert len(dataset) == 12
    assert problems == [
        "1 row has an empty target and was left out (line 14)",
        "2 rows have an empty source and were left out (lines 15 and 16)",
    ]


@pytest.mark.parametrize(("row", "message"), [
    (("the same thing", "the same thing"), "1 row has a target that is its source (line 14)"),
    (ROWS[3], "1 row is a copy of an earlier pair (line 14)"),
    (("a man", "ein h\ufffdbscher mann"), "1 row has replacement characters (�): it was damaged earlier (line 14)"),
    (("a man", "ein hÃ¼bscher mann"), "1 row has letters such as Ã¤: it was decoded wrongly (line 14)"),
    (("ok", "das ist ein sehr langer satz"), "1 row has sides of very unequal length: do they belong together? (line 14)"),
    (("long " * 1001, "lang " * 1001), "1 row has a side of more than 5,000 characters: training will be slow (line 14)"),
])  # fmt: skip
def test_odd_pairs_are_named(tmp_path: Path, row: tuple[str, str], message: str) -> None:
    dataset, problems = pairs(tsv(tmp_path, [*ROWS, row]))
    assert len(dataset) == 13 and problems == [message]


@pytest.mark.parametrize("text", ["Ärger, größer, naïve café: “ja” – ½ £", "日本語と中文", "Îlle Âge Ça"])
def test_right_letters_are_not_taken_for_wrong_ones(tmp_path: Path, text: str) -> None:
    assert pairs(tsv(tmp_path, [*ROWS, ("some letters there", text)]))[1] == []


@pytest.mark.parametrize(("rows", "message"), [
    ([(one, one) for one, _ in ROWS], "all targets are the same as their sources"),
    ([(one, "immer dasselbe wort") for one, _ in ROWS], "all targets are the same: there is nothing"),
    ([*ROWS[:2], *((one, "") for one, _ in ROWS[2:])], "10 of 12 rows cannot be used.*10 rows have an empty target"),
])  # fmt: skip
def test_data_that_cannot_be_used(tmp_path: Path, rows: list[tuple[str, str]], message: str) -> None:
    with pytest.raises(DataError, match=message):
        read(tsv(tmp_path, rows), task="translate")


def test_what_is_missing_is_told_of_a_few_pairs_too(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"1 row has an empty target.*1 row has an empty source"):
        read(tsv(tmp_path, [("a b c", ""), ("", "zwei")]))


def test_columns_that_are_not_there(tmp_path: Path) -> None:
    path = tsv(tmp_path, ROWS)
    with pytest.raises(DataError, match="no column 'englisch'"):
        read(path, text="englisch", target="target")
    with pytest.raises(UsageError, match="both the source and the target"):
        read(path, text="source", target="source")
    with pytest.raises(DataError, match="no column of targets"):
        read({"source": ["a b", "c d"], "n": [1, 2]}, task="translate")
    with pytest.raises(DataError, match="plain text without answers"):
        read(written(tmp_path, "text.txt", "some text\n"), task="translate")


def test_for_prediction_every_line_stays(tmp_path: Path) -> None:
    dataset, _ = pairs(written(tmp_path, "new.txt", "one line\n\nthree\n"), task="translate", need_labels=False)
    assert dataset.sources == ["one line", "", "three"] and not dataset.answered
    dataset, problems = pairs(tsv(tmp_path, [*ROWS, ("only a source", "")]), task="translate", need_labels=False)
    assert len(dataset) == 13 and dataset.targets is None
    assert problems == ["1 row has no target (line 14), so no targets are used"]


def test_leakage_is_told(tmp_path: Path) -> None:
    train = PairDataset([one for one, _ in ROWS], [other for _, other in ROWS], list(range(12)), "train")
    other = PairDataset(["This is  sentence number 3", "new"], ["a", "b"], [1, 2], "test")
    found = leakage(train, other)
    assert found is not None and "1 of 2 inputs of test also stand in train" in found.message


def test_pairs_to_measure_on(tmp_path: Path) -> None:
    labels = tsv(tmp_path, [(f"a film of {i} acts", "good" if i % 2 else "bad") for i in range(30)])
    dataset, problems = pairs(labels, task="translate", judged=False)
    assert len(dataset) == 30 and ["the targets are 2 different texts in 30 rows" in each for each in problems] == [
        True
    ]
    dataset, problems = pairs(tsv(tmp_path, [*ROWS, ("only a source", "")]), task="translate", judged=False)
    assert len(dataset) == len(ROWS) and problems == [
        f"1 row has an empty target and was left out (line {len(ROWS) + 2})"
    ]
    assert not pairs(written(tmp_path, "new.txt", "one line\n"), task="translate", judged=False)[0].answered
