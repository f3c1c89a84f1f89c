"""Reading: every kind of source, and every way in which one can be broken, told by its message."""

from __future__ import annotations

import gzip
import io
import json
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pandas
import polars
import pyarrow
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from recurra.data.checking import Problem
from recurra.data.datasets import LabelledDataset, TextDataset
from recurra.data.encodings import likely_encoding
from recurra.data.guess import Guess
from recurra.data.reading import read
from recurra.errors import DataError

Write = Callable[[str, str | bytes], Path]
CHINESE = "床前明月光，疑是地上霜。举头望明月，低头思故乡。我们的人都在这里，他说不是。\n"


@pytest.fixture
def write(tmp_path: Path) -> Write:
    def write_file(name: str, content: str | bytes) -> Path:
        path = tmp_path / name
        path.write_bytes(content.encode() if isinstance(content, str) else content)
        return path

    return write_file


def rows(source: object, **options: object) -> tuple[LabelledDataset, Guess, list[Problem]]:
    dataset, found, problems = read(source, **options)  # pyright: ignore[reportArgumentType]
    assert isinstance(dataset, LabelledDataset)
    return dataset, found, problems


def documents(source: object, **options: object) -> TextDataset:
    dataset, _, _ = read(source, **options)  # pyright: ignore[reportArgumentType]
    assert isinstance(dataset, TextDataset)
    return dataset


# --- what is read -----------------------------------------------------------------------------------------------


def test_a_text_file_is_one_document(write: Write) -> None:
    path = write("poem.txt", b"\xef\xbb\xbfone\r\n\r\ntwo\rthree\n")
    assert documents(path) == TextDataset(["one\n\ntwo\nthree\n"], "poem.txt")
    assert documents(str(path), name="mine").name == "mine"


def test_compressed_text_is_read(write: Write) -> None:
    assert documents(write("poem.txt.gz", gzip.compress(b"one\n", mtime=0))).documents == ["one\n"]
    dataset, _, _ = rows(write("a.tsv.gz", gzip.compress(b"label\ttext\n1\tgood\n0\tbad\n", mtime=0)))
    assert dataset.inputs == ["good", "bad"]


def test_tab_separated_rows_with_bare_quotes(write: Write) -> None:
    dataset, _, problems = rows(write("a.tsv", 'label\ttext\n1\t"hello there\n0\tbye" foo\n1\t5" wide\n0\tplain\n'))
    assert dataset.inputs == ['"hello there', 'bye" foo', '5" wide', "plain"]
    assert dataset.labels == ["1", "0", "1", "0"] and dataset.lines == [2, 3, 4, 5] and problems == []


def test_tab_separated_rows_written_with_quoting(write: Write) -> None:
    frame = pandas.DataFrame({"text": ['say "yes"', "two\nlines", "tab\there", "d"], "label": ["a", "b", "a", "b"]})
    dataset, _, _ = rows(write("a.tsv", frame.to_csv(sep="\t", index=False)))
    assert dataset.inputs == ['say "yes"', "two\nlines", "tab\there", "d"]
    assert dataset.lines == [2, 3, 5, 6]


@pytest.mark.parametrize("name", ["a.tsv", "a.txt"])
def test_two_columns_without_a_header(write: Write, name: str) -> None:
    dataset, found, _ = rows(write(name, "1\tgreat film\n0\tdull film\n1\tfine film\n0\tpoor film\n"))
    assert len(dataset) == 4 and dataset.inputs[0] == "great film" and dataset.lines[0] == 1
    assert (found.text, found.label) == ("column_2", "column_1")
    assert "first row looks like data" in found.reasons[0]


def test_a_class_named_like_a_column_is_no_header(write: Write) -> None:
    dataset, _, _ = rows(write("a.tsv", "question\twhat now\nanswer\tnothing\nquestion\twho\nanswer\tnobody\n"))
    assert dataset.labels == ["question", "answer", "question", "answer"]


def test_comma_separated_rows(write: Write) -> None:
    text = 'text,label\n"one, two",a\n"three\nfour",b\nfive,a\nsix,b\n'
    dataset, _, _ = rows(write("a.csv", text))
    assert dataset.inputs == ["one, two", "three\nfour", "five", "six"] and dataset.lines == [2, 3, 5, 6]
    assert rows(write("b.csv", "text;label\none, two;a\nthree;b\n"))[0].inputs == ["one, two", "three"]
    long = "x" * 200_000
    assert rows(write("c.csv", f"text,label\n{long},a\nb,b\n"))[0].inputs[0] == long


def test_json_lines_with_text_words_or_numbers(write: Write) -> None:
    lines = [{"tokens": ["add", "this"], "label": 1.0}, {"tokens": ["play"], "label": 2}]
    dataset, _, _ = rows(write("a.jsonl", "\n\n".join(map(json.dumps, lines))))
    assert dataset.inputs == ["add this", "play"] and dataset.labels == ["1", "2"] and dataset.lines == [1, 3]
    lines = [{"sequence": [1, 2, 3], "label": "a"}, {"sequence": [[4], [5]], "label": "b"}]
    dataset, _, _ = rows(write("b.jsonl", "\n".join(map(json.dumps, lines))))
    assert [array.shape for array in arrays(dataset)] == [(3, 1), (2, 1)]
    assert arrays(dataset)[1].dtype == np.float32 and arrays(dataset)[1].tolist() == [[4.0], [5.0]]


def arrays(dataset: LabelledDataset) -> list[np.ndarray]:
    return [value for value in dataset.inputs if isinstance(value, np.ndarray)]


def test_fasttext_lines(write: Write) -> None:
    text = "__label__good a fine film\n__label__bad a dull one\n__label__good __label__bad both\n\n__label__bad no\n"
    dataset, found, problems = rows(write("train.txt", text))
    assert found.task == "classify" and dataset.labels == ["good", "bad", "bad"] and dataset.lines == [1, 2, 5]
    assert [problem.message for problem in problems if problem.line == 3] == [
        "1 row has more than one label and was left out (line 3)"
    ]
    assert documents(write("train.txt", text), task="language").documents == [text]


def test_parquet_with_lists_of_numbers(tmp_path: Path) -> None:
    path = tmp_path / "a.parquet"
    polars.DataFrame({"x": [[[1.0, 2.0]], [[3.0, 4.0], [5.0, 6.0]]], "y": [0, 1]}).write_parquet(path)
    dataset, _, _ = rows(path)
    assert [array.shape for array in arrays(dataset)] == [(1, 2), (2, 2)] and dataset.labels == ["0", "1"]


def test_npz_with_lengths(tmp_path: Path) -> None:
    x = np.arange(24.0).reshape(3, 4, 2)
    np.savez(tmp_path / "a.npz", x=x, y=np.array([0.0, 1.0, 0.0]), lengths=[4, 2, 3])
    dataset, _, _ = rows(tmp_path / "a.npz")
    assert [array.shape for array in arrays(dataset)] == [(4, 2), (2, 2), (3, 2)]
    assert dataset.labels == ["0", "1", "0"] and dataset.features == 2 and dataset.numeric
    np.savez(tmp_path / "b.npz", x=x[:, :, 0], y=np.array(["a", "b", "a"]))
    assert arrays(rows(tmp_path / "b.npz")[0])[0].tolist() == [[0.0], [2.0], [4.0], [6.0]]
    np.savez(tmp_path / "c.npz", x=x)
    assert rows(tmp_path / "c.npz", need_labels=False)[0].labels is None


COLUMNS = {"text": ["good film", "bad film", "fine"], "label": [1.0, 0.0, 1.0]}


@pytest.mark.parametrize("make", [dict, pandas.DataFrame, polars.DataFrame, polars.LazyFrame, pyarrow.table])
def test_frames_of_every_library(make: Callable[[dict], object]) -> None:
    dataset, found, _ = rows(make(COLUMNS))
    assert dataset.inputs == COLUMNS["text"] and dataset.labels == ["1", "0", "1"] and dataset.lines == [1, 2, 3]
    assert (found.text, found.label) == ("text", "label")


def test_missing_values_of_pandas_are_missing() -> None:
    frame = pandas.DataFrame(
        {"text": ["a", None, "c", "d", "e"], "label": pandas.array([1, 0, None, 0, 1], dtype="Int64")}
    )
    dataset, _, problems = rows(frame)
    assert dataset.lines == [1, 4, 5] and dataset.labels == ["1", "0", "1"]
    assert {problem.line for problem in problems if "left out" in problem.message} == {2, 3}


def test_lists_pairs_and_generators() -> None:
    assert documents(["a", "b"]).documents == ["a", "b"]
    assert documents(text for text in ("a", "b")).documents == ["a", "b"]
    assert rows([("good", 1), ("bad", 0)])[0].labels == ["1", "0"]
    assert rows((["good", "bad", "so"], np.array([1, 0, 0])))[0].labels == ["1", "0", "0"]
    assert rows([{"text": "good", "label": "x"}, {"text": "bad", "label": "y"}])[0].labels == ["x", "y"]
    assert rows((pandas.Series(["a", "b", "c"]), pandas.Series(["x", "y", "x"])))[0].inputs == ["a", "b", "c"]


def test_arrays_with_labels() -> None:
    x = np.arange(12.0).reshape(2, 3, 2)
    for source in ((x, ["a", "b"]), (list(x), ["a", "b"]), [(x[0], "a"), (x[1], "b")], {"x": x, "y": ["a", "b"]}):
        dataset, _, _ = rows(source)
        assert [array.tolist() for array in arrays(dataset)] == x.tolist() and dataset.labels == ["a", "b"]
    assert rows(x, need_labels=False)[0].labels is None
    assert arrays(rows([[0.5, 1.5], [2.5]], need_labels=False)[0])[0].tolist() == [[0.5], [1.5]]


def test_inputs_for_prediction_need_no_labels(write: Write) -> None:
    dataset, found, _ = rows(write("new.txt", "one\n\ntwo\n"), task="classify", need_labels=False)
    assert dataset.inputs == ["one", "two"] and dataset.labels is None and dataset.lines == [1, 3]
    assert rows({"text": ["a"]}, need_labels=False, label="label")[0].labels is None
    assert rows({"text": ["a"], "label": ["x"]}, need_labels=False)[0].labels == ["x"]
    assert found.task == "classify"
    dataset, _, problems = rows({"text": ["a", "b", "c"], "label": ["x", None, "y"]}, need_labels=False)
    assert len(dataset) == 3 and dataset.labels is None
    assert problems == [Problem(2, "1 row has no label, so no labels are used", False)]


@settings(max_examples=50, deadline=None)
@given(st.lists(st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\r\0")), min_size=4, max_size=8))
def test_csv_keeps_any_text(tmp_path_factory: pytest.TempPathFactory, texts: list[str]) -> None:
    path = tmp_path_factory.mktemp("csv") / "a.csv"
    inputs = [f"t{i}{text}" for i, text in enumerate(texts)]
    pandas.DataFrame({"text": inputs, "label": [str(i % 2) for i in range(len(inputs))]}).to_csv(path, index=False)
    assert rows(path)[0].inputs == inputs


# --- rows that are left out ----------------------------------------------------------------------------------------


def test_rows_with_wrong_fields_are_named_not_shifted(write: Write) -> None:
    text = "label\ttext\n1\tgood\n0\tbad\textra\n0\tpoor\nfoo\n1\tfine\n0\tdull\n"
    dataset, _, problems = rows(write("a.tsv", text))
    assert dataset.inputs == ["good", "poor", "fine", "dull"] and dataset.lines == [2, 4, 6, 7]
    assert [problem.message for problem in problems] == [
        "1 row has 3 fields, not 2 as in the header, and was left out (line 3)",
        "1 row has 1 field, not 2 as in the header, and was left out (line 5)",
    ]


def test_empty_texts_and_missing_labels_are_named(write: Write) -> None:
    dataset, _, problems = rows(write("a.tsv", "label\ttext\n1\tgood\n0\t  \n\tpoor\n1\tfine\n0\tdull\n0\tweak\n"))
    assert dataset.lines == [2, 5, 6, 7]
    assert [problem.message for problem in problems] == [
        "1 row has an empty text and was left out (line 3)",
        "1 row has no label and was left out (line 4)",
    ]


def test_headers_in_the_middle_are_left_out(write: Write) -> None:
    dataset, _, problems = rows(write("a.tsv", "label\ttext\n1\tgood\n0\tbad\nlabel\ttext\n1\tfine\n0\tpoor\n"))
    assert dataset.lines == [2, 3, 5, 6] and "1 row repeats the header" in problems[0].message and problems[0].line == 4


def test_more_than_half_lost_is_fatal(write: Write) -> None:
    with pytest.raises(
        DataError, match=r"3 of 5 rows cannot be used; 3 rows have an empty text .*\(lines 3, 4 and 5\)"
    ):
        read(write("a.tsv", "label\ttext\n1\tgood\n0\t\n0\t\n1\t\n0\tbad\n"))


# --- what is refused --------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "name, content, message",
    [
        ("a.txt", "", "a.txt is empty"),
        ("a.txt", " \n\n", "a.txt is empty"),
        ("a.tsv", "", "a.tsv is empty"),
        ("a.jsonl", "\n", "a.jsonl is empty"),
        ("a.csv", "text,label\n", "a.csv has a header and no rows. Got: text, label"),
        ("a.txt", ("abc\n" + CHINESE).encode("gb18030"), r"probably GB18030.*line 2.*iconv -f GB18030 -t UTF-8"),
        ("a.txt", CHINESE.encode("utf-16"), r"probably UTF-16LE.*byte 0, line 1.*iconv -f UTF-16LE"),
        ("a.txt", "plain text\n".encode("utf-16-be"), "probably UTF-16BE"),
        ("a.txt", b"\xff\xfe\0\0" + "ab".encode("utf-32-le"), "probably UTF-32LE"),
        ("a.txt", "une tasse de café\nà côté\n".encode("latin-1"), r"probably WINDOWS-1252.*0xE9 at byte 16, line 1"),
        ("a.txt", (CHINESE * 9).encode() + b"\xe5\x00"[:1] + b"\n", "UTF-8 with 1 broken character.*line 10.*iconv -c"),
        ("a.txt", b"abc\ndef\0ghi", r"binary file.*byte 7, line 2"),
        ("a.txt", b"PK\x03\x04....", "Excel"),
        ("a.csv", b"%PDF-1.7", "a PDF document"),
        ("a.txt", gzip.compress(b"abc", mtime=0), "gzip-compressed"),
        ("a.txt.gz", b"\x1f\x8b\x08abc", "not a whole gzip file"),
        ("a.txt.gz", gzip.compress(b"abc" * 99, mtime=0)[:-9], "not a whole gzip file"),
        ("a.jsonl", '{"text": "a"}\n{"text": \n', "line 2 is not JSON"),
        ("a.jsonl", '[{"text": "a"},\n{"text": "b"}]\n', r"line 1 is not JSON.*jq -c"),
        ("a.jsonl", '"just a text"\n', "line 1 is no JSON object"),
        ("a.csv", 'text,label\nok,1\n"never closed,0\nmore,1\n', "line 3: a quoted field is never closed"),
        ("a.csv", 'text,label\n"he" said,0\n', "line 2: a quoted field goes on after its quote"),
        ("a.csv", "text,text,label\na,b,c\n", "line 1: two columns are named 'text'"),
        ("a.parquet", b"PAR1....", "not a whole Parquet file"),
        ("a.parquet", b"PAR1\0\0\0\0\x09\0\0\0PAR1", "damaged Parquet file"),
        ("a.npz", b"not an archive", "is not an .npz file"),
        ("a.npz", b"PK\x03\x04 not an archive", "is a damaged .npz file"),
        ("a.pkl", b"x", "Pickles can run code"),
        ("a.xlsx", b"x", "Export the sheet as UTF-8 CSV"),
        ("a", "x", "not read. Expected: .txt, .tsv, .csv"),
        ("a.tsv", "label\ttext\n1\ta\n1\tb\n", "all 2 rows have the label '1'"),
        ("a.tsv", "label\ttext\n1\ta\n0\ta\n", "all inputs are identical"),
    ],
)  # fmt: skip
def test_broken_files_are_refused_with_the_place_and_the_way_out(
    write: Write, name: str, content: str | bytes, message: str
) -> None:
    with pytest.raises(DataError, match=message):
        read(write(name, content))


def test_wrong_paths_are_refused(write: Write, tmp_path: Path) -> None:
    write("train.tsv", "x")
    with pytest.raises(DataError, match=r"No such data file: .*trian\.tsv.*Did you mean .*train\.tsv\?"):
        read(tmp_path / "trian.tsv")
    with pytest.raises(DataError, match=r"is a folder. Got: a folder that holds train\.tsv"):
        read(tmp_path)
    with pytest.raises(DataError, match="Put texts in a list"):
        read("a text\nof two lines")
    with pytest.raises(DataError, match="Put texts in a list"):
        read("a long text " * 1_000)
    with pytest.raises(DataError, match="not fetched from the network"):
        read("https://example.org/a.txt")
    with pytest.raises(DataError, match="The path is empty"):
        read("")


@pytest.mark.parametrize(
    "save, message",
    [
        ({"y": [0, 1]}, "no array named x. Got: y"),
        ({"x": [1.0, 2.0], "y": [0, 1]}, r"x has the wrong shape. Got: \[2\]"),
        ({"x": np.zeros((2, 3)), "y": [0]}, r"y has the wrong shape. Got: \[1\]"),
        ({"x": np.zeros((2, 3)), "y": [0, 1], "lengths": [3, 4]}, "row 2: the length does not fit x. Got: 4"),
        ({"x": np.zeros((2, 3)), "y": [0, 1], "lengths": [3.0, 1.0]}, "lengths do not fit x"),
        ({"x": np.array([[1, "a"], [None, 2]], dtype=object), "y": [0, 1]}, "never read"),
        ({"x": [[np.nan, np.nan], [np.nan, np.nan]], "y": [0, 1]}, "feature 1 has no value in any row"),
        ({"x": [[1.0, 2.0], [1.0, np.inf]], "y": [0, 1]}, "row 2 has an infinity at step 2, feature 1"),
        ({"x": [[1.0, 1e300], [1.0, 2.0]], "y": [0, 1]}, "row 1 has an infinity"),
    ],
)
def test_broken_arrays_are_refused(tmp_path: Path, save: dict, message: str) -> None:
    np.savez(tmp_path / "a.npz", **save)
    with pytest.raises(DataError, match=message):
        read(tmp_path / "a.npz")


@pytest.mark.parametrize(
    "source, message",
    [
        ([], "is empty"),
        ({}, "is empty. Got: no columns"),
        ({"text": [], "label": []}, "without rows"),
        ({"text": ["a"], "label": [1, 2]}, "different lengths. Got: text 1, label 2"),
        ((["a", "b", "c"], [1, 2]), "3 inputs but 2 labels"),
        ((("a", "b"), ("c", "d")), "Two tuples of two"),
        (["a", 3], "item 2 is not a text"),
        ([("a", 1), "b"], r"item 2 is no \(input, label\) pair"),
        (b"bytes", "Decode them first"),
        (3, "Cannot read data from int"),
        ([3], "items of type int are not read"),
        ({"x": [[[1.0, 2.0], [3.0]]] * 3, "y": [0, 1, 0]}, "different numbers of features"),
        ({"x": [[[[1.0]]]] * 3, "y": [0, 1, 0]}, "3 dimensions where steps and features are two"),
    ],
)
def test_broken_objects_are_refused(source: object, message: str) -> None:
    with pytest.raises(DataError, match=message):
        read(source)


def test_rows_that_are_no_numbers_are_left_out() -> None:
    dataset, _, problems = rows(
        {"x": [[1.0, 2.0], ["a", "b"], [3.0], [None, [1]], None, [4.0]], "y": [0, 1, 1, 0, 1, 0]}
    )
    assert dataset.lines == [1, 3, 6]
    found = {problem.line: problem.message for problem in problems if "left out" in problem.message}
    assert found[2] == "1 row holds something that is not a number and was left out (row 2)"
    assert found[4] == "1 row has steps with different numbers of features and was left out (row 4)"
    assert found[5] == "1 row has no sequence and was left out (row 5)"


_INTACT = {
    "a.tsv": b'label\ttext\n1\tgo "od\n0\t"bad"\n1\tfine\n',
    "a.csv": b'label,text\n1,"go, od"\n0,bad\n1,fine\n',
    "a.jsonl": b'{"text": "a", "label": 1}\n{"text": ["b"], "label": null}\n{"x": [1, [2]], "label": "a"}\n',
    "a.txt": "__label__a 好 y\n__label__b  z\n__label__a q\n".encode(),
    "a.txt.gz": gzip.compress(b"some text\nin lines\n", mtime=0),
}


def _npz_bytes() -> bytes:
    buffer = io.BytesIO()
    np.savez_compressed(buffer, x=np.arange(24.0).reshape(3, 4, 2), y=[0, 1, 0], lengths=[4, 2, 3])
    return buffer.getvalue()


@settings(max_examples=150, deadline=None)
@given(st.data())
def test_damage_is_read_around_or_named_never_a_crash(
    tmp_path_factory: pytest.TempPathFactory, data: st.DataObject
) -> None:
    files = {**_INTACT, "a.npz": _npz_bytes()}
    name = data.draw(st.sampled_from(sorted(files)))
    content = bytearray(files[name])
    for _ in range(data.draw(st.integers(1, 4))):
        place = data.draw(st.integers(0, len(content) - 1))
        content[place] = data.draw(st.integers(0, 255) | st.sampled_from(b'"\n\t,{}[]'))
    path = tmp_path_factory.mktemp("damage") / name
    path.write_bytes(content[: data.draw(st.integers(0, len(content)) | st.just(len(content)))])
    try:
        dataset, found, _ = read(path, need_labels=data.draw(st.booleans()))
    except DataError as error:
        assert len(str(error)) > 20
    else:
        assert found.reasons and len(dataset) > 0


def test_the_likely_encoding_tells_scripts_apart() -> None:
    traditional = "床前明月光，疑是地上霜。我們的人都在這裡，他說不是。"
    assert likely_encoding(CHINESE.encode("gb18030")) == "GB18030"
    assert likely_encoding(traditional.encode("big5")) == "BIG5"
    assert likely_encoding("これはペンです。わたしの名前は田中といいます。".encode("shift_jis")) == "SHIFT_JIS"
    assert likely_encoding("이것은 책입니다. 나는 학교에 가고 있다.".encode("euc-kr")) == "EUC-KR"
    assert likely_encoding("Über süße Äpfel für Jürgen: él está aquí, señor".encode("latin-1")) == "WINDOWS-1252"


SHORT = [
    ("好吃" * 50, "gbk", "GB18030"),
    ("好\tB\n吃\tE\n\n", "gbk", "GB18030"),
    ("北\tB\n京\tE\n\n" * 3, "big5", "BIG5"),
    ("東\tB\n京\tE\n\n" * 5, "shift_jis", "SHIFT_JIS"),
    ("寿司\tB\nは\tO\n", "shift_jis", "SHIFT_JIS"),
    ("Äpfel", "latin-1", "WINDOWS-1252"),
    ("“hi” it’s — fine", "cp1252", "WINDOWS-1252"),
]


@pytest.mark.parametrize(("text", "encoding", "named"), SHORT)
def test_short_texts_are_told_by_their_ordinary_characters(
    tmp_path: Path, text: str, encoding: str, named: str
) -> None:
    path = tmp_path / "a.conll"
    path.write_bytes(text.encode(encoding))
    with pytest.raises(DataError, match=f"is probably {named}"):
        read(path)


def test_what_cannot_be_told_is_not_told(tmp_path: Path) -> None:
    path = tmp_path / "a.txt"
    path.write_bytes("안녕".encode("euc-kr"))
    with pytest.raises(
        DataError, match=r"may be EUC-KR or GB18030 or BIG5, and is too short.*reads right: iconv -f EUC-KR"
    ):
        read(path)
    path.write_bytes("привет, мир\n".encode("cp1251"))
    with pytest.raises(DataError, match=r"what it is in cannot be told.*byte 0xEF at byte 0.*Save it as UTF-8"):
        read(path)


@pytest.mark.parametrize("text", ["Привет, «мир» — это. ", "l’été à côté, garçon ", "καλημέρα κόσμε ", "好吃的 "])
def test_damaged_text_is_utf8_in_any_script(tmp_path: Path, text: str) -> None:
    path = tmp_path / "a.txt"
    path.write_bytes((text * 20).encode() + b"\xff\n")
    with pytest.raises(DataError, match="is UTF-8 with 1 broken character"):
        read(path)


def test_importing_loads_no_table_or_tokenizer_library() -> None:
    code = (
        "import sys, recurra.data.reading, recurra.data.codecs, recurra.data.guess; "
        "print({'polars', 'narwhals', 'pandas', 'tokenizers', 'pyarrow', 'torch'} & set(sys.modules))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "set()"


def test_a_label_that_is_a_list_is_left_out() -> None:
    texts = ["good", "bad", "fine", "odd"]
    dataset, _, problems = read({"text": texts, "label": ["x", "y", "x", ["z"]]})
    assert isinstance(dataset, LabelledDataset) and dataset.labels == ["x", "y", "x"]
    assert "1 row has a label that is no single value and was left out (row 4)" in [each.message for each in problems]
