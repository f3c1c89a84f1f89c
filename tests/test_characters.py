"""Characters that a person would not see are found, with their lines; characters that are as they should be are not."""

from __future__ import annotations

import pytest

from recurra.data.characters import find_odd, find_scripts


@pytest.mark.parametrize(
    ("line", "name"),
    [
        ("损坏了\ufffd的", "replacement characters"),
        ("锟斤拷锟斤拷", "wrong decoding"),
        ("cafÃ© au lait", "wrong decoding"),
        ("ä½\xa0å¥½", "wrong decoding"),
        ("donâ€™t", "wrong decoding"),
        ("a\x07b", "control characters"),
        ("行\x85", "control characters"),
        ("零\u200b宽", "invisible characters"),
        ("\ufeff开头", "invisible characters"),
        ("abc\u202edef", "invisible characters"),
        ("a\u200db", "invisible characters"),
        ("半个\ud83d", "surrogate"),
        ("私用\ue000", "private use"),
        ("ＡＢＣ", "full-width letters"),
        ("好吃,不贵", "half-width marks"),
    ],
)
def test_what_is_odd(line: str, name: str) -> None:
    found = find_odd([(7, "好的"), (9, line)])
    assert [finding.lines for finding in found if name in finding.name] == [[9]]


@pytest.mark.parametrize(
    "line",
    [
        "很好吃，送餐也快！《苹果》——……",
        "« la qualité\u00a0» à 3\u00a0€, l’été\u00a0!",
        "naïve café, déjà vu; Ångström, façade, œuvre",
        "👨‍👩‍👧 👍🏽 🇨🇳 ❤️",
        "𠮷野家 𡨴",
        "می‌خواهم",  # a joiner that Persian needs
        "Chapter 3, p. 5: yes.",
        "\ttab and 　ideographic space",
    ],
)
def test_what_is_as_it_should_be(line: str) -> None:
    assert find_odd([(1, line)]) == []


def test_all_lines_are_counted_and_the_first_are_kept() -> None:
    [finding] = find_odd((number, "a\x00b\x00") for number in range(1, 12_001))
    assert (finding.count, finding.rows, len(finding.lines), finding.lines[-1]) == (24_000, 12_000, 10_000, 10_000)


def test_simplified_and_traditional() -> None:
    lines = ["今天师傅手抖了", "今天師傅手抖了", "这个國家", "一二三人", "plain", "他們說這裡還好迹"]
    scripts = find_scripts(enumerate(lines, 1))
    assert scripts.simplified.lines == [1]
    assert scripts.traditional.lines == [2, 6]  # one 迹 among traditional forms is no mixture
    assert scripts.both.lines == [3]
    assert scripts.mixed and scripts.fewer.lines == [1]
    assert not find_scripts([(1, "今天师傅"), (2, "我们都好")]).mixed
    assert not find_scripts([(1, "国の訪問者を迎える広場で会う"), (2, "這裡是國家")]).mixed  # Japanese
