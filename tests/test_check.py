"""`check`: what is known of data before training, with all lines, and whether one can train on it."""

from __future__ import annotations

import json
import shlex
from collections import Counter
from pathlib import Path

import numpy as np
import pytest

import recurra
from bad_input_cases import run
from recurra.data import text_files
from recurra.data.lengths import Lengths, histogram
from recurra.errors import UsageError

GOOD = ["很好吃，送餐也快", "味道不错", "包装很好，还会再来", "分量足，很满意", "骑士态度好"]
BAD = ["太慢了，等了两个小时", "难吃", "送错了，没有人管", "饭都凉了", "再也不来了"]


def rows(count: int = 10) -> list[str]:
    return [
        f"{text}{i}\t{label}"
        for i in range(count // 10)
        for label, texts in (("好", GOOD), ("差", BAD))
        for text in texts
    ]


def table(path: Path, lines: list[str]) -> Path:
    path.write_text("\n".join(["text\tlabel", *lines]) + "\n", encoding="utf-8")
    return path


@pytest.fixture
def reviews(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Forty rows with a copy (line 42), one that is nearly one (43) and one with another answer (44)."""
    monkeypatch.chdir(tmp_path)
    more = ["味道不错0\t好", "味　道不错 0\t好", "难吃0\t好", "ＯＫ，很好\t好", "这\u200b个\t差"]
    return table(tmp_path / "评价.tsv", rows(40) + more)


def problems(found: recurra.Check) -> str:
    return "\n".join(f"{name}: {problem.message}" for name, problem in found.problems)


def test_everything_that_is_known_of_rows(reviews: Path) -> None:
    test = table(reviews.with_name("测试.tsv"), ["难吃0\t差", "味 道不错1\t好", "全新的句子\t好", "骑士态度好2\t差"])
    found = recurra.check(reviews, test=test)
    assert found.ok and found.error is None
    facts = found.sets["train"]
    assert facts.size["rows"] == 45
    assert facts.classes["label"] == {"好": 24, "差": 21}
    assert facts.copies.exact.pairs == [(42, 3)]
    assert facts.copies.loose.pairs == [(43, 3)]
    assert facts.copies.torn.pairs == [(44, 8)]
    shared = found.overlaps["train", "test"]
    assert (shared.exact.pairs, shared.loose.pairs, shared.torn.pairs) == ([(2, 8)], [(3, 13)], [(5, 26)])
    assert found.unknown["test"]["text"].level == "characters"
    assert ("全", 1) in found.unknown["test"]["text"].commonest
    told = problems(found)
    assert "train: 1 row is a copy of an earlier row (line 42)" in told
    assert "invisible characters: 1 in 1 line (line 46)" in told
    assert "full-width letters and digits (Ａ, １): 2 in 1 line (line 45)" in told
    assert "2 of 4 inputs of 测试.tsv also stand in 评价.tsv (first: line 2, there 8)" in told
    assert "1 of these have another answer there (first: line 5, there 26)" in told
    assert found.plan["model"]["labels"] == ["好", "差"]


def test_the_command_that_is_suggested_trains(reviews: Path) -> None:
    command = shlex.split(recurra.check(reviews).command)
    assert command[:3] == ["recurra", "fit", str(reviews)]
    assert "--normalise" in command  # one row in fifty has full-width letters
    small = ["--epochs", "1", "--hidden", "8", "--no-baselines", "--out", "model"]
    assert run(*command[1:], *small).code == 0
    assert recurra.load("model").task.codec.normalise  # pyright: ignore[reportAttributeAccessIssue]


def test_all_lines_are_there_however_many() -> None:
    texts = [f"text {i}" for i in range(60)]
    labels: list[str | None] = ["a" if i % 2 else "b" for i in range(60)]
    for place in range(0, 60, 4):
        labels[place] = None
    [(_, problem)] = recurra.check({"text": texts, "label": labels}).problems
    assert problem.message.endswith("(rows 1, 5, 9, 13, 17 and 10 more)")
    assert list(problem.lines) == list(range(1, 61, 4))


@pytest.mark.parametrize(
    ("lines", "message"),
    [
        (["a\tx", "b\tx", "c\tx"], "all 3 rows have the label 'x'"),
        (["a\tx", "\tx", "\ty", "\tx", "b\ty"], "3 of 5 rows cannot be used"),
        (["same\tx", "same\ty"], "all inputs are identical while their labels differ"),
    ],
)
def test_where_one_cannot_train_the_facts_are_still_told(tmp_path: Path, lines: list[str], message: str) -> None:
    path = table(tmp_path / "a.tsv", lines)
    ending = run("check", path, "--json")
    found = json.loads(ending.out)
    assert ending.code == 3
    assert not found["ok"] and found["command"] == ""
    assert message in found["error"]["message"] and message in ending.err
    assert found["sets"]["train"]["rows"] >= 2
    assert any(problem["fatal"] and message in problem["message"] for problem in found["problems"])


def test_labels_never_seen_in_training(tmp_path: Path) -> None:
    train = table(tmp_path / "a.tsv", rows(20))
    valid = table(tmp_path / "b.tsv", ["好\t好", "什么\t中", "哪里\t中", "差\t劣"])
    found = recurra.check(train, valid=valid)
    assert not found.ok and "('中', '劣'; lines 3, 4 and 5)" in str(found.error)
    assert next(problem.lines for _, problem in found.problems if problem.fatal) == (3, 4, 5)


def test_a_validation_file_that_is_not_there_costs_no_facts_of_the_rest(reviews: Path) -> None:
    found = recurra.check(reviews, valid="nowhere.tsv")
    assert "No such data file: nowhere.tsv" in str(found.error)
    assert list(found.sets) == ["train"] and found.sets["train"].size["rows"] == 45 and found.command == ""


def test_a_file_that_cannot_be_read(tmp_path: Path) -> None:
    path = tmp_path / "a.csv"
    path.write_bytes("文本,标签\n今天的师傅很好,好\n我们都说不好,差\n".encode("gb18030"))
    ending = run("check", path)
    assert (ending.code, ending.out) == (3, "")
    assert "it is probably GB18030" in ending.err and "iconv -f GB18030" in ending.err
    with pytest.raises(UsageError, match="level"):
        recurra.check(["a text", "and another"], level="letters")


def test_a_text_and_one_that_is_not_held(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    line = "这一行足够长，四十个字以上才会被当作重复的行来看待，短的行在诗和对话里常常重复，不算什么问题的啊。"
    lines = [f"第{i}行，{line}" for i in range(300)]
    text = "\n".join([*lines, lines[5], lines[7].replace("，", " ，"), "短", "短"])
    path = tmp_path / "a.txt"
    path.write_text(text, encoding="utf-8")
    held = recurra.check(path)
    monkeypatch.setattr(text_files, "LARGE", 1)
    other = recurra.check(path)
    for found in (held, other):
        facts = found.sets["train"]
        assert facts.copies.exact.pairs == [(301, 6)]
        assert facts.copies.loose.pairs == [(302, 8)]
        assert facts.lengths["line"].total == 304
    assert held.sets["train"].as_dict() == other.sets["train"].as_dict()
    assert held.plan["model"] == other.plan["model"]


def test_numeric_series() -> None:
    random = np.random.default_rng(0)
    x = [np.stack([random.normal(size=8), np.ones(8)], axis=1) for _ in range(30)]
    x[9] = x[4].copy()
    found = recurra.check((x, ["a", "b"] * 15))
    facts = found.sets["train"]
    assert facts.features[1] == {"least": 1.0, "mean": 1.0, "most": 1.0, "deviation": 0.0}
    assert facts.lengths["sequence"].as_dict()["quantiles"] == {
        f"{q:g}": 8 for q in (0.05, 0.25, 0.5, 0.75, 0.95, 0.99)
    }
    assert "feature 2 is the same at every step" in problems(found)
    assert "1 input stands in the data with different labels (first: rows 5 and 10" in problems(found)
    x[3][2, 0] = np.nan
    assert "row 4 has NaN at step 3, feature 1" in problems(recurra.check((x, ["a", "b"] * 15)))


def test_channels_of_a_table_are_called_by_their_columns(tmp_path: Path) -> None:
    path = tmp_path / "long.csv"
    rows = (f"s{at // 3},{at % 3},{at % 5},{at % 7},{'ab'[at // 3 % 2]}" for at in range(60))
    path.write_text("unique_id,step,load,wind,label\n" + "\n".join(rows) + "\n")
    said = run("check", path).out
    assert "A row a step: 20 series" in said and "unknown" not in said
    assert [line.split()[0] for line in said.split("feature ")[1].splitlines()[2:4]] == ["load", "wind"]


def test_tagged_and_pairs_bring_their_facts() -> None:
    from recurra.data.datasets import PairDataset, TaggedDataset
    from recurra.data.facts import facts_of, overlap_of

    tagged = TaggedDataset(
        [["在", "北京"], ["在", "上海"], ["在", "北京"]], [["O", "B-L"]] * 3, ["a", "b", "a"], [1, 2, 3], "t.jsonl"
    )
    facts = facts_of(tagged)
    assert facts.classes == {"tags": {"O": 3, "B-L": 3}, "label": {"a": 2, "b": 1}}
    assert facts.copies.exact.pairs == [(3, 1)] and facts.lengths["sentence"].unit == "tokens"
    assert facts.problems == []  # reading names copies of sentences
    pairs = PairDataset(["hello\u200b", "bye"], ["你好", "再见"], [1, 2], "p.tsv")
    facts = facts_of(pairs)
    assert set(facts.lengths) == {"source", "target"}
    assert facts.odd["source"][0].lines == [1] and facts.odd["target"] == []
    found, told = overlap_of(pairs, PairDataset(["bye", "BYE"], ["拜拜", "再见"], [1, 2], "v.tsv"))
    assert found.torn.pairs == [(1, 2)] and found.loose.pairs == [(2, 2)]
    assert len(told) == 3


def test_uneven_classes() -> None:
    texts = [f"text {i}" for i in range(105)]
    found = recurra.check((texts, ["a"] * 100 + ["b"] * 5))
    assert "to answer 'a' always is right in 95%" in problems(found)


def test_the_command_line_says_it_for_a_person(reviews: Path) -> None:
    ending = run("check", reviews)
    assert ending.code == 0
    for part in ("label in train", "Characters a text in train", "████", "unknown", "notes:", "Next:\n  recurra fit"):
        assert part in ending.out
    assert json.loads(run("check", reviews, "--json").out)["sets"]["train"]["name"] == "评价.tsv"


def test_lengths() -> None:
    lengths = Lengths(Counter([3, 3, 5, 9, 200]), "words")
    assert (lengths.quantile(0.5), lengths.quantile(0.95), lengths.mean) == (5, 200, 44.0)
    assert sum(count for *_, count in lengths.bins()) == 5
    assert Lengths(Counter([1, 2, 3, 4]), "words").quantile(0.5) == 2
    even = Lengths(Counter(range(1, 1001)), "words")
    assert even.bins()[0] == (0, 99, 99) and even.bins()[-1] == (1000, None, 1)
    assert histogram(even)[0] == ("0-99", 99, "█" * 40)


def test_tokens_that_a_tagger_never_saw() -> None:
    from recurra.data.datasets import TaggedDataset
    from recurra.fitting.check import _new_tokens

    train = TaggedDataset([["在", "北京"]], [["O", "B-L"]], None, [1], "t.jsonl")
    other = TaggedDataset([["在", "上海"], ["去", "上海"]], [["O", "B-L"]] * 2, None, [1, 2], "v.jsonl")
    found = _new_tokens(train, other)
    assert (found.tokens, found.unknown, found.commonest, found.vocabulary) == (4, 3, [("上海", 2), ("去", 1)], 2)
