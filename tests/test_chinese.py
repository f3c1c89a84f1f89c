"""Chinese, and what is written among it, passes whole: files, columns, codecs, models, states, reports, answers."""

from __future__ import annotations

import codecs
import html
import json
from pathlib import Path

import pytest

import recurra
from bad_input_cases import run
from recurra.data.datasets import LabelledDataset, TextDataset
from recurra.data.encodings import likely_encoding
from recurra.data.reading import read
from recurra.data.text_codec import TextCodec
from recurra.errors import DataError
from recurra.progress import _cut, display_width, table

# full width, ideographic space, quotes and dashes, beyond the basic plane, emoji of several parts, both scripts, Latin
ODD = [
    "ＡＢＣ１２３，：！？",
    "「好」『吃』——……《苹果》",
    "　首行空两格",
    "𠮷野家的𡨴字",
    "全家👨‍👩‍👧👍🏽🇨🇳❤️",
    "用iPhone打99折",
    "這個蘋果很好吃",
    "这个苹果很好吃",
]
ROWS = [(text, "好评👍" if place % 2 else "差評「✗」") for place, text in enumerate(ODD * 3)]
TEXT = "\n".join(ODD * 40) + "\n"

SIMPLIFIED = "今天师傅是不是手抖了，微辣格外辣！\n送餐很快，态度也特别好，我们都说好。\n"
TRADITIONAL = "今天師傅是不是手抖了，微辣格外辣！\n送餐很快，態度也特別好，我們都說好。\n"


def write_table(path: Path, mark: bytes = b"") -> Path:
    if path.suffix == ".jsonl":
        lines = [json.dumps({"评论内容": text, "情感": label}, ensure_ascii=False) for text, label in ROWS]
    else:
        tab = "\t" if path.suffix == ".tsv" else ","
        lines = [tab.join(("评论内容", "情感")), *(tab.join((_quoted(text, tab), label)) for text, label in ROWS)]
    path.write_bytes(mark + ("\n".join(lines) + "\n").encode())
    return path


def _quoted(text: str, tab: str) -> str:
    return f'"{text}"' if tab in text else text


# ---- files


@pytest.mark.parametrize("mark", [b"", codecs.BOM_UTF8], ids=["plain", "bom"])
@pytest.mark.parametrize("ending", [".csv", ".tsv", ".jsonl"])
def test_tables_come_in_whole(tmp_path: Path, ending: str, mark: bytes) -> None:
    dataset, found, problems = read(write_table(tmp_path / f"外卖评价{ending}", mark))
    assert isinstance(dataset, LabelledDataset)
    assert (found.text, found.label) == ("评论内容", "情感")
    assert list(zip(dataset.inputs, dataset.labels or [], strict=True)) == ROWS
    assert dataset.name == f"外卖评价{ending}"
    assert all("copies" in problem.message for problem in problems)


@pytest.mark.parametrize("mark", [b"", codecs.BOM_UTF8], ids=["plain", "bom"])
def test_a_text_comes_in_whole(tmp_path: Path, mark: bytes) -> None:
    path = tmp_path / "小说　一.txt"
    path.write_bytes(mark + TEXT.encode())
    dataset, _, _ = read(path)
    assert isinstance(dataset, TextDataset) and dataset.documents == [TEXT]


@pytest.mark.parametrize(
    ("encoding", "text", "named"),
    [
        ("gb18030", SIMPLIFIED + "𠮷", "GB18030"),
        ("gbk", SIMPLIFIED, "GB18030"),
        ("gb2312", "好\n坏\n我们\n的\n", "GB18030"),
        ("big5", TRADITIONAL, "BIG5"),
        ("big5hkscs", TRADITIONAL + "佢哋嘅嘢食唔係好食㗎\n", "BIG5-HKSCS"),
        ("cp950", TRADITIONAL + "€5\n", "CP950"),
        ("utf-16", SIMPLIFIED, "UTF-16LE"),
        ("utf-16-le", SIMPLIFIED, "UTF-16LE"),
        ("utf-16-be", TRADITIONAL, "UTF-16BE"),
        ("utf-16-le", SIMPLIFIED.replace("\n", ""), "UTF-16LE"),
        ("utf-32", SIMPLIFIED, "UTF-32LE"),
    ],
)
def test_other_encodings_are_named_with_the_way_out(tmp_path: Path, encoding: str, text: str, named: str) -> None:
    path = tmp_path / "评价.txt"
    path.write_bytes((text * 3).encode(encoding))
    with pytest.raises(DataError, match=f"is not UTF-8 text; it is probably {named}") as error:
        read(path)
    assert f"iconv -f {named} -t UTF-8 {path} > {tmp_path / '评价.utf8.txt'}" in str(error.value)
    # what iconv is told to read reads it
    assert path.read_bytes().decode(named).removeprefix("\ufeff") == text * 3


@pytest.mark.parametrize("order", [1, -1])
def test_two_encodings_in_one_file_are_told(tmp_path: Path, order: int) -> None:
    path = tmp_path / "a.txt"
    parts = [(SIMPLIFIED * 3).encode(), (SIMPLIFIED * 2).encode("gb18030")][::order]
    path.write_bytes(b"".join(parts))
    line = 7 if order == 1 else 1
    with pytest.raises(DataError, match="6 are UTF-8, 4 probably GB18030") as error:
        read(path)
    assert f"line {line}." in str(error.value)


def test_damage_is_not_taken_for_another_encoding(tmp_path: Path) -> None:
    path = tmp_path / "a.txt"
    path.write_bytes((SIMPLIFIED * 9).encode()[:-5] + (SIMPLIFIED * 9).encode())
    with pytest.raises(DataError, match="is UTF-8 with 1 broken character"):
        read(path)
    assert likely_encoding("naïve café à Genève, déjà vu".encode("latin-1")) == "WINDOWS-1252"


# ---- codecs


@pytest.mark.parametrize("level", ["characters", "bpe"])
def test_what_is_encoded_is_decoded_whole(tmp_path: Path, level: str) -> None:
    codec = TextCodec.learn([TEXT], level)
    codec.save(tmp_path)
    for text in (TEXT, *ODD):
        assert TextCodec.load(tmp_path).decode(codec.encode(text)) == text
    assert codec.unknown_in(TEXT) == []


def test_words_are_characters_where_there_are_no_spaces() -> None:
    codec = TextCodec.learn([TEXT], "words")
    assert [codec.token(index) for index in codec.encode("这个iPhone很好吃，𠮷野家")] == [
        "这", "个", "iPhone", "很", "好", "吃", "，", "𠮷", "野", "家",
    ]  # fmt: skip
    assert codec.decode(codec.encode("这个苹果很好吃")) == "这个苹果很好吃"


@pytest.mark.parametrize("level", ["characters", "words", "bpe"])
@pytest.mark.parametrize("lowercase", [False, True])
def test_normalised_full_and_half_width_are_one(tmp_path: Path, level: str, lowercase: bool) -> None:
    from tokenizers import Tokenizer

    codec = TextCodec.learn([TEXT, "ABC123,:!? abc"], level, lowercase=lowercase, normalise=True)
    assert codec.encode("ＡＢＣ１２３，：！？") == codec.encode("ABC123,:!?")
    assert codec.encode("Ａ　Ｂ") == codec.encode("A B")
    assert codec.encode("……") != codec.encode("......")  # width alone: nothing else of NFKC
    assert codec.decode(codec.encode("ＡＢＣ１２３！")) == ("abc123!" if lowercase else "ABC123!")
    assert codec.unknown_in("Ｘ") == ([] if level == "bpe" else ["Ｘ" if level == "characters" else "X"])
    codec.save(tmp_path)
    loaded, library = TextCodec.load(tmp_path), Tokenizer.from_file(str(tmp_path / "tokenizer.json"))
    assert loaded.normalise and loaded.lowercase == lowercase
    for text in (TEXT, *ODD):
        ids = codec.encode(text)
        assert ids == loaded.encode(text) == codec.encode_array(text).tolist() == library.encode(text).ids
    exact = TextCodec.learn([TEXT, "ABC123"], level, lowercase=lowercase)
    assert exact.encode("ＡＢＣ１２３") != exact.encode("ABC123")


# ---- models


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("模型 目录")
    write_table(folder / "评价.csv")
    (folder / "小说.txt").write_text(TEXT, encoding="utf-8")
    small = {"hidden": 8, "baselines": False, "quiet": True}
    recurra.fit(folder / "评价.csv", out=folder / "评价模型", epochs=2, **small)
    recurra.fit(folder / "小说.txt", out=folder / "小说模型", epochs=1, rows=2, steps=16, **small)
    return folder


@pytest.fixture
def inside(place: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(place)
    return place


def test_labels_and_inputs_come_back_whole(inside: Path) -> None:
    Path("新.txt").write_text("\n".join(ODD), encoding="utf-8")
    answers = [json.loads(line) for line in run("predict", "评价模型", "新.txt", "--json").out.splitlines()]
    assert [answer["input"] for answer in answers] == ODD
    assert all(set(answer["probabilities"]) == {"好评👍", "差評「✗」"} for answer in answers)
    assert json.loads(run("info", "评价模型", "--json").out)["model"]["labels"] == sorted({"好评👍", "差評「✗」"})
    assert "好评👍" in run("predict", "评价模型", ODD[3]).out


def test_a_stream_kept_in_a_file_of_any_name_goes_on(inside: Path) -> None:
    whole = run("stream", "小说模型", "--json", stdin="\n".join(ODD).encode()).out.splitlines()[-1]
    run("stream", "小说模型", "--state", "状态　一.state", stdin="\n".join(ODD[:5]).encode())
    rest = run("stream", "小说模型", "--state", "状态　一.state", "--json", stdin="\n".join(ODD[5:]).encode())
    assert json.loads(rest.out.splitlines()[-1]) == json.loads(whole)
    assert json.loads(whole)["input"] == ODD[-1]


def test_generation_goes_on_from_a_prompt(inside: Path) -> None:
    told = json.loads(run("generate", "小说模型", "--prompt", "𠮷野家👨‍👩‍👧", "--length", 5, "--json").out)
    assert told["prompt"] == "𠮷野家👨‍👩‍👧" and len(told["text"]) == 5
    assert (
        run("generate", "小说模型", "--prompt", "𠮷野家👨‍👩‍👧", "--length", 5).out
        == told["prompt"] + told["text"] + "\n"
    )


def test_reports_and_cards_hold_the_characters(inside: Path) -> None:
    for name in ("report.html", "README.md"):
        page = html.unescape((inside / "评价模型" / name).read_text(encoding="utf-8"))
        assert "评价" in page
    page = html.unescape((inside / "评价模型" / "report.html").read_text(encoding="utf-8"))
    assert "好评👍" in page and "差評「✗」" in page and '<meta charset="utf-8"' in page.lower()
    assert "评价模型" in run("runs", ".").out


def test_normalise_is_kept_with_the_model(inside: Path) -> None:
    choices = ["--normalise", "--epochs", 1, "--hidden", 8, "--no-baselines", "--out", "同宽"]
    assert run("fit", "评价.csv", *choices).code == 0
    model = recurra.load("同宽")
    wide, narrow = model.predict(["ＡＢＣ１２３，：！？", "ABC123,:!?"])
    assert wide == narrow
    session = model.session()
    assert session.push("ＡＢＣ") == model.session().push("ABC")


# ---- on a terminal


@pytest.mark.parametrize(
    ("text", "columns"),
    [
        ("苹果", 4),
        ("ＡＢ，", 6),
        ("「好」", 6),
        ("　", 2),
        ("𠮷𡨴", 4),
        ("👨‍👩‍👧", 2),
        ("👍🏽", 2),
        ("🇨🇳", 2),
        ("❤️", 2),
        ("❤", 1),
        ("👩🏽‍🚀好", 4),
        ("e\u0301", 1),
        ("a\u200db", 2),
    ],
)
def test_columns_on_a_terminal(text: str, columns: int) -> None:
    assert display_width(text) == columns


def test_tables_align_whatever_is_in_them() -> None:
    lines = table([[text, place] for place, text in enumerate(ODD)], ["文本", "n"]).split("\n")
    assert {display_width(line) for line in lines} == {display_width(lines[1])}
    assert display_width(_cut("全家👨‍👩‍👧👨‍👩‍👧苹果苹果", 11)) == 11
    assert _cut("全家👨‍👩‍👧👨‍👩‍👧苹果苹果", 10) == "全家👨‍👩‍👧..."


def test_check_answers_in_the_words_of_the_file(inside: Path) -> None:
    ending = run("check", "评价.csv")
    assert ending.code == 0
    assert "Text: the column '评论内容'" in ending.out and "好评👍" in ending.out
    table_lines = [line for line in ending.out.split("\n") if line.startswith(("好评", "差評"))]
    assert len({display_width(line) for line in table_lines}) == 1
