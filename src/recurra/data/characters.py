"""What stands in texts that a person would not see: characters that are none, lost, invisible, or in two forms.

Looks at lines of text; knows no files, no columns and no tasks.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass, field
from functools import cache

KEPT = 10_000  # lines of one finding that are kept by number; all are counted


@dataclass(frozen=True)
class Odd:
    """A kind of odd characters: how it is called, what it matches, and what to do about it."""

    name: str
    pattern: re.Pattern[str]
    advice: str


_HAN = "\u3400-\u4dbf\u4e00-\u9fff\U00020000-\U0003ffff"
_LETTER = f"A-Za-z0-9{_HAN}\u3040-\u30ff"  # of scripts whose letters are never joined
ODD = (
    Odd(
        "replacement characters (�)",
        re.compile("\ufffd"),
        "an earlier conversion lost what stood there; convert the original again",
    ),
    Odd(
        "words of a wrong decoding (锟斤拷, Ã©)",
        # "��" in UTF-8 read as GBK; letters, quotes and Chinese in UTF-8 read as Latin-1 or Windows-1252
        re.compile("锟斤拷|[ÃÂ][\x80-\xbf]|â€[\u2018-\u2122œ\x80-\xbf]|(?:[äåæçèé][\x80-\xbf\u2018-\u203a]{2}){2}"),
        "the text was read in another encoding than it was written in; convert the original again",
    ),
    Odd(
        "control characters",
        re.compile("[\x00-\x08\x0b-\x1f\x7f-\x9f]"),
        "they cannot be seen; remove them with: tr -d '\\000-\\010\\013-\\037\\177'",
    ),
    Odd(
        "invisible characters",
        # a joiner between the parts of an emoji, or in a script that joins its letters, is as it should be
        re.compile(
            f"[\u00ad\u180e\u200b\u2060\ufeff\u202a-\u202e\u2066-\u2069]"
            f"|(?<=[{_LETTER}])[\u200c\u200d]|[\u200c\u200d](?=[{_LETTER}])"
        ),
        "two texts that look the same are then two for the model; remove them",
    ),
    Odd(
        "halves of surrogate pairs",
        re.compile("[\ud800-\udfff]"),
        "they are no characters and are read as unknown; write the file again from its source",
    ),
    Odd(
        "characters of private use",
        re.compile("[\ue000-\uf8ff\U000f0000-\U0010ffff]"),
        "they mean something in one font only, mostly what an old encoding had no place for",
    ),
    Odd(
        "full-width letters and digits (Ａ, １)",
        re.compile("[０-９Ａ-Ｚａ-ｚ]"),
        "to the model Ａ and A are two; --normalise takes them as one",
    ),
    Odd(
        "half-width marks between Chinese characters (好,吃)",
        re.compile(f"(?<=[{_HAN}])[,.!?:;](?=[{_HAN}])"),
        "to the model ',' and '，' are two; --normalise takes them as one",
    ),
)  # fmt: skip
_ANY = re.compile("|".join(f"(?:{odd.pattern.pattern})" for odd in ODD))


@dataclass
class Finding:
    """Where something stands: how often, on how many lines, and the numbers of the first `KEPT` of those."""

    name: str
    advice: str
    count: int = 0
    rows: int = 0
    lines: list[int] = field(default_factory=list)

    def add(self, line: int, count: int = 1) -> None:
        self.count += count
        self.rows += 1
        if len(self.lines) < KEPT:
            self.lines.append(line)


def find_odd(lines: Iterable[tuple[int, str]]) -> list[Finding]:
    """What is odd in (number, line) pairs, one pass over them; only what is found, as `ODD` has it in order."""
    found: dict[str, Finding] = {}
    for number, line in lines:
        if (line.isascii() and line.isprintable()) or _ANY.search(line) is None:
            continue
        for odd in ODD:
            count = sum(1 for _ in odd.pattern.finditer(line))
            if count:
                found.setdefault(odd.name, Finding(odd.name, odd.advice)).add(number, count)
    return [found[odd.name] for odd in ODD if odd.name in found]


@dataclass(frozen=True)
class Scripts:
    """How many lines are written in simplified Chinese, in traditional, and in both: a fifth of the forms or more."""

    simplified: Finding
    traditional: Finding
    both: Finding

    @property
    def mixed(self) -> bool:
        """Whether the lines are not all of one kind."""
        return bool(self.both.rows or (self.simplified.rows and self.traditional.rows))

    @property
    def fewer(self) -> Finding:
        """The lines that stand against the rest: of the rarer form, or with both where there are none."""
        rarer = min(self.simplified, self.traditional, key=lambda finding: finding.rows)
        return rarer if rarer.rows else self.both


def find_scripts(lines: Iterable[tuple[int, str]]) -> Scripts:
    """Simplified and traditional Chinese in (number, line) pairs. Most characters are the same in both and tell nothing."""
    simplified, traditional = _forms()
    scripts = Scripts(*(Finding(name, _ADVICE) for name in ("simplified", "traditional", "simplified and traditional")))
    for number, line in lines:
        if line.isascii() or _KANA.search(line):  # Japanese has forms of both, and some of its own
            continue
        one, other = (len(pattern.findall(line)) for pattern in (simplified, traditional))
        if not one and not other:
            continue
        # a single 迹 among traditional forms is a habit of the writer, no mixture
        if min(one, other) * 4 >= max(one, other):
            scripts.both.add(number, min(one, other))
        else:
            (scripts.simplified if one > other else scripts.traditional).add(number, max(one, other))
    return scripts


_KANA = re.compile("[\u3041-\u309f\u30a1-\u30fa]")
_ADVICE = "to the model 国 and 國 are two; convert one to the other, for example with OpenCC"


@cache
def _forms() -> tuple[re.Pattern[str], re.Pattern[str]]:
    """The frequent characters that only simplified Chinese has, and those that only traditional has.

    The national standards tell: GB 2312 is written in simplified forms, Big5 in traditional ones, and the first part of
    each holds the frequent characters. What stands in one and nowhere in the other is a form of one of the two.
    """
    simplified = _level("gb2312", range(0xB0, 0xD8), range(0xA1, 0xFF), "big5")
    trails = (*range(0x40, 0x7F), *range(0xA1, 0xFF))
    traditional = _level("big5", range(0xA4, 0xC7), trails, "gb2312")
    return re.compile(f"[{simplified}]"), re.compile(f"[{traditional}]")


def _level(encoding: str, leads: Iterable[int], trails: Iterable[int], other: str) -> str:
    """The characters of these rows of an encoding that another one does not have."""
    trails = list(trails)
    found = (bytes([lead, trail]).decode(encoding, "ignore") for lead in leads for trail in trails)
    return "".join(c for c in found if len(c) == 1 and c > "\u2fff" and not c.encode(other, "ignore"))
