"""Sentences with tags: from lists, texts, frames and columns of CoNLL; what is wrong with them, and where."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from recurra.data.conll import looks_like_conll, parse_conll
from recurra.data.datasets import TaggedDataset
from recurra.data.reading import read
from recurra.data.tagged import unknown
from recurra.errors import DataError

ROWS = [
    (["the", "cat", "sat"], ["O", "B-X", "O"]),
    (["a", "big", "dog", "ran"], ["O", "B-X", "I-X", "O"]),
    (["birds"], ["B-X"]),
    (["we", "saw", "a", "cat"], ["O", "O", "O", "B-X"]),
]
CONLL = "-DOCSTART- -X- O O\n\nthe DT O\ncat NN B-X\nsat VB O\n\na DT O\nbig JJ B-X\ndog NN I-X\nran VB O\n"


def tagged(source: Any, **options: Any) -> tuple[TaggedDataset, list[str], list[str]]:
    dataset, guess, problems = read(source, **options)
    assert isinstance(dataset, TaggedDataset)
    return dataset, guess.reasons, [problem.message for problem in problems]


def lines(rows: list[dict[str, Any]], path: Path) -> Path:
    path.write_text("".join(json.dumps(row, ensure_ascii=False) + "\n" for row in rows), encoding="utf-8")
    return path


def columns(tokens: str, tags: str, each: Callable[[list[str]], Any] = list) -> dict[str, list[Any]]:
    return {tokens: [each(row) for row, _ in ROWS], tags: [each(row) for _, row in ROWS]}


@pytest.mark.parametrize(
    ("tokens", "tags"),
    [("tokens", "tags"), ("words", "ner_tags"), ("Tokens", "slots"), ("text", "labels"), ("词", "标注"), ("a", "b")],
)
def test_names_of_columns(tokens: str, tags: str) -> None:
    dataset, reasons, problems = tagged(columns(tokens, tags))
    assert list(dataset.tokens) == [row for row, _ in ROWS] and dataset.tags == [row for _, row in ROWS]
    assert dataset.lines == [1, 2, 3, 4] and dataset.labels is None and not problems
    assert f"Tokens: the column {tokens!r}, tags: {tags!r}" in reasons[0] and "(BIO" in reasons[1]


@pytest.mark.parametrize("each", [json.dumps, str, " ".join, tuple], ids=["json", "python", "blanks", "tuple"])
def test_forms_of_lists(each: Callable[[list[str]], Any]) -> None:
    dataset, _, _ = tagged(columns("tokens", "tags", each))
    assert list(dataset.tokens) == [row for row, _ in ROWS] and dataset.tags == [row for _, row in ROWS]


def test_frames_and_parquet(tmp_path: Path) -> None:
    import pandas
    import polars

    path = tmp_path / "data.parquet"
    polars.DataFrame(columns("tokens", "tags")).write_parquet(path)
    for source in (pandas.DataFrame(columns("tokens", "tags")), polars.DataFrame(columns("tokens", "tags")), path):
        assert tagged(source)[0].tags == [row for _, row in ROWS]


def test_a_text_and_a_tag_for_each_of_its_characters() -> None:
    source = {"text": ["高勇：男", "在 北京"], "labels": [["B-N", "E-N", "O", "O"], ["O", "B-L", "E-L"]]}
    dataset, reasons, _ = tagged(source)
    assert list(dataset.tokens) == [[*"高勇：男"], [*"在北京"]] and "(BIOES)" in reasons[1]


def test_labels_of_sentences(tmp_path: Path) -> None:
    rows = [{"tokens": row, "tags": tags, "label": "xy"[i % 2]} for i, (row, tags) in enumerate(ROWS)]
    dataset, reasons, _ = tagged(lines(rows, tmp_path / "data.jsonl"))
    assert dataset.labels == ["x", "y", "x", "y"] and "A label for each sentence: the column 'label'" in reasons[2]
    rows[1]["label"] = None
    dataset, _, problems = tagged(lines(rows, tmp_path / "data.jsonl"))
    assert dataset.labels == ["x", "x", "y"] and problems == ["1 row has no label and was left out (line 2)"]
    assert tagged(tmp_path / "data.jsonl", need_labels=False)[0].labels is None


def test_other_data_stay_what_they_were() -> None:
    texts = {"text": ["good", "bad", "so so", "fine"], "label": ["1", "0", "0", "1"]}
    assert read(texts)[1].task == "classify"
    # several labels a text are no tags of its tokens
    assert read({"text": ["a b c", "d e"] * 3, "tags": [["news"], ["sport", "news"]] * 3})[1].task != "tag"
    assert read([(row, "x" if i else "y") for i, (row, _) in enumerate(ROWS)])[1].task == "classify"


# ---- columns of CoNLL


@pytest.mark.parametrize("name", ["data.conll", "data.bio", "data.txt", "data.tsv", "data.BMES"])
def test_columns_of_conll(tmp_path: Path, name: str) -> None:
    path = tmp_path / name
    path.write_text(CONLL.replace(" ", "\t") if name.endswith("tsv") else CONLL)
    dataset, _, problems = tagged(path)
    assert list(dataset.tokens) == [row for row, _ in ROWS[:2]] and dataset.tags == [row for _, row in ROWS[:2]]
    assert dataset.lines == [3, 7] and not problems
    assert tagged(path, tags="column_2")[0].tags == [["DT", "NN", "VB"], ["DT", "JJ", "NN", "VB"]]


def test_comments_and_signs() -> None:
    text = "# text = no. 1\nno NN\n# NN\n1 CD\n\n# sent_id 2\n# NN\n\n# a b\n\nok\tJJ\n \tSP\n"
    table = parse_conll(text, "x")
    assert table.columns == {
        "tokens": [["no", "#", "1"], ["#"], ["ok", " "]],
        "tags": [["NN", "NN", "CD"], ["NN"], ["JJ", "SP"]],
    }
    assert table.lines == [2, 7, 11]


def test_lines_with_another_number_of_columns() -> None:
    table = parse_conll("a O\nb O\n\nc\nd O\n\ne O\n\nf O\ng X O\n", "x")
    assert table.columns["tokens"] == [["a", "b"], ["e"]] and table.lost == 2
    assert [problem.message for problem in table.problems] == [
        "2 rows have a line without the 2 columns (a token and its tag) of most lines and were left out (lines 4 and 10)"
    ]


def test_where_no_sentence_is_whole_the_lines_are_named(tmp_path: Path) -> None:
    path = tmp_path / "x.conll"
    path.write_text("a B-X\nb\nc O\n\n")
    with pytest.raises(DataError, match=r"1 of 1 rows cannot .*without the 2 columns \(a token and its tag\).*line 2"):
        read(path)


def test_one_column_is_for_prediction(tmp_path: Path) -> None:
    path = tmp_path / "new.conll"
    path.write_text("a\nb\n\nc\n")
    assert list(tagged(path, task="tag", need_labels=False)[0].tokens) == [["a", "b"], ["c"]]
    with pytest.raises(DataError, match=r"no column of tags"):
        read(path, task="tag")


@pytest.mark.parametrize(
    "text",
    [
        "a poem of\nfour words\n\nand more of\nthose words",
        "good\ta fine film\nbad\tnot so fine\n",
        "One line.\n\nAnother.\n\nA third.\n",
        "1 2\n3 4\n\n5 6\n7 8\n",
        "she said\nhe said\n\nthey said\nwe said\n",
    ],
)
def test_what_is_no_conll(text: str) -> None:
    assert not looks_like_conll(text.split("\n"))


# ---- what is wrong, and where

PROBLEMS: list[tuple[str, list[tuple[Any, Any]], str]] = [
    ("lengths", [(["a", "b"], ["O"])], "1 row has 2 tokens but 1 tags and was left out (row 5)"),
    ("empty", [([], [])], "1 row has no tokens and was left out (row 5)"),
    ("no tags", [(["a"], None)], "1 row has no tags and was left out (row 5)"),
    ("empty tag", [(["a", "b"], ["O", " "])], "1 row has an empty tag and was left out (row 5)"),
    (
        "broken",
        [(["a", "b"], ["O", "I-X"])],
        "1 sentence has a broken span (row 5; first: 'I-X' after 'O', token 2): it counts as spans that begin and end there",
    ),
    ("broken at once", [(["a"], ["I-X"])], "first: 'I-X' after the beginning, token 1"),
    ("copies", [ROWS[0]], "1 sentence is a copy of an earlier one (row 5)"),
    ("torn", [(ROWS[0][0], ["O", "O", "O"])], "1 of them is tagged in another way than before (first: rows 1 and 5)"),
]


@pytest.mark.parametrize(("rows", "message"), [case[1:] for case in PROBLEMS], ids=[case[0] for case in PROBLEMS])
def test_problems(rows: list[tuple[Any, Any]], message: str) -> None:
    every = [*ROWS, *rows]
    dataset, _, problems = tagged({"tokens": [row for row, _ in every], "tags": [tags for _, tags in every]})
    assert any(message in problem for problem in problems), problems
    assert len(dataset) == (4 if "left out" in message else 5)


ODD: list[tuple[Any, str]] = [
    (
        "Bartist",
        "has a tag that is not of BIO, in which the other rows are written ('Bartist'), and was left out (line 41)",
    ),
    ("E-X", "has a tag that is not of BIO, in which the other rows are written ('E-X'), and was left out (line 41)"),
    (None, "has an empty tag and was left out (line 41)"),
    ({"x": 1}, "has a tag that is no text and was left out (line 41)"),
    (["O"], "has a tag that is no text and was left out (line 41)"),
]


@pytest.mark.parametrize(("tag", "message"), ODD)
def test_one_odd_tag_is_left_out(tmp_path: Path, tag: Any, message: str) -> None:
    rows = [{"tokens": [*row, str(i)], "tags": [*tags, "O"]} for i, (row, tags) in enumerate(ROWS * 10)]
    rows.append({"tokens": ["a", "b"], "tags": ["O", tag]})
    dataset, reasons, problems = tagged(lines(rows, tmp_path / "data.jsonl"))
    assert len(dataset) == 40 and "(BIO" in reasons[1] and problems == [f"1 row {message}"]


WRONG: list[tuple[dict[str, Any], str]] = [
    ({"tokens": ["a", None]}, "has a token that is empty or no text"),
    ({"tokens": ["a", ""]}, "has a token that is empty or no text"),
    ({"tokens": [["a"], ["b"]]}, "has a token that is empty or no text"),
    ({"label": ["z"]}, "has a label that is no single value"),
    ({"label": {"z": 1}}, "has a label that is no single value"),
]


@pytest.mark.parametrize("last", [False, True], ids=["first", "last"])
@pytest.mark.parametrize(("entry", "message"), WRONG)
def test_rows_of_the_wrong_kind_are_left_out(tmp_path: Path, entry: dict[str, Any], message: str, last: bool) -> None:
    rows: list[dict[str, Any]] = [
        {"tokens": row, "tags": tags, "label": "xy"[i % 2]} for i, (row, tags) in enumerate(ROWS)
    ]
    odd = {"tokens": ["a", "b"], "tags": ["O", "B-X"], "label": "x", **entry}
    dataset, reasons, problems = tagged(lines([*rows, odd] if last else [odd, *rows], tmp_path / "data.jsonl"))
    assert dataset.labels == ["x", "y", "x", "y"] and "the column 'label'" in reasons[2]
    assert problems == [f"1 row {message} and was left out (line {5 if last else 1})"]


def test_many_odd_tags_are_kept_and_told() -> None:
    rows = [*ROWS, (["a"], ["Bartist"])]
    dataset, _, problems = tagged({"tokens": [row for row, _ in rows], "tags": [tags for _, tags in rows]})
    assert len(dataset) == 5 and problems == [
        "1 row has a tag that is not of BIO, in which most rows are written ('Bartist'; row 5): too many to be left out, so "
        "the tags are read as a label for each token, no spans"
    ]


def test_one_odd_tag_in_columns() -> None:
    text = "\n\n".join(["the O\ncat B-X\nsat O"] * 30 + ["a O\nb Bartist"])
    assert looks_like_conll(text.split("\n"))


def test_rows_to_measure_on() -> None:
    rows = [ROWS[0], ROWS[0], ROWS[1], (["a"], ["Bartist"]), (["a", "b"], ["O"])]
    dataset, reasons, problems = tagged(
        {"tokens": [row for row, _ in rows], "tags": [tags for _, tags in rows]}, task="tag", judged=False
    )
    assert len(dataset) == 4 and reasons[0].startswith(
        "Tokens: the column 'tokens', tags: 'tags'; say otherwise with --text"
    )
    assert problems == ["1 row has 2 tokens but 1 tags and was left out (row 5)"]
    assert tagged({"tokens": [["a"]], "tags": [["O"]]}, task="tag", judged=False)[0].answered
    assert not tagged({"tokens": [["a"]]}, task="tag", judged=False)[0].answered


def test_an_open_span_at_the_end() -> None:
    every = [(["a", "b"], ["B-X", "E-X"])] * 3 + [(["c"], ["B-X"])]
    _, _, problems = tagged({"tokens": [row for row, _ in every], "tags": [tags for _, tags in every]})
    assert "first: the end after 'B-X', token 2" in problems[-1] + problems[0]


def test_numbers_for_tags() -> None:
    _, reasons, problems = tagged(
        {"tokens": [row for row, _ in ROWS], "tags": [[0] * (len(r) - 1) + [1] for r, _ in ROWS]}
    )
    assert "no spans" in reasons[1] and "the tags are numbers" in problems[0]


FATAL: list[tuple[str, Any, str]] = [
    ("one tag", {"tokens": [["a"], ["b"]], "tags": [["O"], ["O"]]}, "all tokens have the tag 'O'"),
    (
        "most rows lost",
        {"tokens": [["a"], ["b"], ["c"]], "tags": [["O"], ["O", "O"], []]},
        "2 of 3 rows cannot be used",
    ),
]


@pytest.mark.parametrize(("source", "message"), [case[1:] for case in FATAL], ids=[case[0] for case in FATAL])
def test_data_that_cannot_be_used(source: Any, message: str) -> None:
    with pytest.raises(DataError, match=message):
        read(source, task="tag")


def test_errors_of_columns(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"no column 'tagz'.*Did you mean 'tags'"):
        read(columns("tokens", "tags"), tags="tagz")
    with pytest.raises(DataError, match=r"no column of tags.*--tags COLUMN"):
        read({"tokens": [["a", "b"]]}, task="tag")
    path = tmp_path / "mixed.conll"
    path.write_bytes(CONLL.encode() + "é O\n".encode("latin-1"))
    with pytest.raises(DataError, match="byte"):
        read(path)


def test_prediction_needs_no_tags_and_loses_no_row(tmp_path: Path) -> None:
    rows = {"tokens": [["a", "b"], ["c"], ["d"]], "tags": [["O"], ["O"], ["X"]]}
    dataset, _, problems = tagged(rows, task="tag", need_labels=False)
    assert list(dataset.tokens) == rows["tokens"] and dataset.tags is None
    assert problems == ["row 1 has 2 tokens but 1 tags, so no tags are used"]
    path = tmp_path / "new.txt"
    path.write_text("the cat\n\na dog ran\n")
    dataset, _, _ = tagged(path, task="tag", need_labels=False)
    assert list(dataset.tokens) == ["the cat", "a dog ran"] and dataset.lines == [1, 3]


def test_tags_and_labels_unknown_to_training() -> None:
    train = TaggedDataset([["a", "b"]], [["O", "X"]], ["p"], [1], "train")
    other = TaggedDataset([["a"], ["b", "c"]], [["X"], ["Y", "Y"]], ["p", "q"], [1, 4], "test")
    tags, labels = (problem.message for problem in unknown(train, other))
    assert "test has tags that the training data have not ('Y'; 2 in all, first at line 4)" in tags
    assert "test has labels that the training data have not ('q'; 1 in all, first at line 4)" in labels
    assert unknown(train, train) == []
