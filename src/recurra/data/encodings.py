"""Which encoding bytes are in that are no UTF-8, told by how ordinary the text is that each would make of them.

Knows bytes and characters; no files.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass

SAMPLE = 200_000  # bytes looked at
# The most frequent characters of running text in each script: they tell encodings apart that make ordinary text alike.
_SIMPLIFIED = (
    "的一是不了人我在有他这中大来上个国说们到时和地为子你出会也得着下里要就对那生以能可她去过家学么还多小没天起好看成只心发"
    "年事想都把道开文样很自己现作方后前面老头手经回定情走力点全种最新第两行意因动本长进给声问何日她它见又但知如从外主儿所无"
    "太吃高买东西真快味店服务态度差错喜欢电影书质量差物送餐饭菜房间酒店值这便宜京北上海市明月分号水车话机同当部女儿今再用"
)
_TRADITIONAL = (
    "的一是不了人我在有他這中大來上個國說們到時和地為子你出會也得著下裡要就對那生以能可她去過家學麼還多小沒天起好看成只心發"
    "年事想都把道開文樣很自己現作方後前面老頭手經回定情走力點全種最新第兩行意因動本長進給聲問何日它見又但知如從外主兒所無"
    "太吃高買東西真快味店服務態度差錯喜歡電影書質量物送餐飯菜房間酒值便宜京北海市明月分號水車話機同當部女今再用"
)
_KANA = "のにはをたがでてとしれさいるなもっすまんらくこりあうかきけせそだどねみめやよろわイスントルアラリクシ"
_HANGUL = (
    "이다는을의가에고를하지은기로한그사리도서나어있아들대자정시게수해안인만라보일부전것오구과원면요주여스장으니제마성"
)
_FREQUENT = {
    "GB18030": _SIMPLIFIED,
    "BIG5": _TRADITIONAL,
    "CP950": _TRADITIONAL,
    "BIG5-HKSCS": _TRADITIONAL + "嘅咗唔係佢哋",
    "UTF-16LE": _SIMPLIFIED + _TRADITIONAL,
    "UTF-16BE": _SIMPLIFIED + _TRADITIONAL,
    "SHIFT_JIS": _KANA,
    "EUC-KR": _HANGUL,
}
_SCRIPTS = "\u024f\u036f\u03ff\u052f\u058f\u05ff\u07ff"
"""The last characters of Latin, phonetic signs, Greek, Cyrillic, Armenian, Hebrew, Arabic and its like."""
ASIAN = frozenset(_FREQUENT)
_BIG5 = ("BIG5", "CP950", "BIG5-HKSCS")  # each has all that the one before has
# Where the standards have signs, letters and the characters that are in use: the rare ones come after them.
_IN_USE = {
    "gb2312": b"\xa1\xa3" + bytes(range(0xB0, 0xD8)),
    "big5": bytes(range(0xA1, 0xC7)),
    "shift_jis": b"\x81\x82\x83" + bytes(range(0x88, 0x99)),
    "euc_kr": b"\xa1\xa3" + bytes(range(0xB0, 0xC9)),
}
_STANDARDS = {
    "GB18030": ("gb2312",),
    "SHIFT_JIS": ("shift_jis",),
    "EUC-KR": ("euc_kr",),
    "UTF-16LE": ("gb2312", "big5"),
    "UTF-16BE": ("gb2312", "big5"),
}
WESTERN = "WINDOWS-1252"
_CAPITALS, _SMALL = "ÀÁÂÃÄÅÆÇÈÉÊËÌÍÎÏÑÒÓÔÕÖØÙÚÛÜÝŒŠŽ", "àáâãäåæçèéêëìíîïñòóôõöøùúûüýÿßœšž"
_SIGNS = "–—‘’“”„™•…€£§©®°«»¡¿·½\xa0"
_WORDS = "àáâéèêíìóòôúùåäöæøÀÁÉÈÍÓÔÅÄÖ"  # letters that are words by themselves
_ENOUGH = 2.0  # characters that speak for an encoding more than for another, from which it is taken
_LIKELY = 0.5  # of the characters ordinary at least


@dataclass(frozen=True)
class _Reading:
    encoding: str
    text: str
    score: float
    characters: int


def likely_encodings(data: bytes) -> list[str]:
    """iconv names of what `data`, which is no UTF-8, may be in: one, or those that cannot be told apart, the likeliest first;
    none where no encoding makes ordinary text of it."""
    sample, whole = data[:SAMPLE], len(data) <= SAMPLE
    readings: list[_Reading] = []
    for encoding in (WESTERN, *_FREQUENT):
        if encoding in _BIG5 and any(reading.encoding in _BIG5 for reading in readings):
            continue
        try:
            text = sample.decode(encoding, "strict" if whole else "ignore")
        except UnicodeDecodeError:
            continue
        other = [character for character in text if character > "\x7f"]
        score = _western(text, len(other)) if encoding == WESTERN else _asian(other, encoding)
        if score >= _LIKELY:
            readings.append(_Reading(encoding, text, score, len(other)))
    if not readings:
        return []
    readings.sort(key=lambda reading: -reading.score)
    best = readings[0]
    if best.encoding == WESTERN:  # few bytes of words of Latin letters make characters of Asian ones, and rare ones
        return [WESTERN]
    return [reading.encoding for reading in readings if (best.score - reading.score) * best.characters < _ENOUGH]


def likely_encoding(data: bytes) -> str:
    """The first of `likely_encodings`, or ""."""
    return next(iter(likely_encodings(data)), "")


def _asian(other: list[str], encoding: str) -> float:
    """The share of characters in use, and that of the most frequent ones; 0 for what is no Asian text."""
    asian = sum("\u2e80" <= character <= "\uffef" for character in other)
    if not other or asian < 0.8 * len(other):
        return 0.0
    counts = Counter(other)
    standards = _STANDARDS.get(encoding, ("big5",))
    ordinary = sum(n for character, n in counts.items() if any(_in_use(character, each) for each in standards))
    frequent = sum(n for character, n in counts.items() if character in _FREQUENT[encoding])
    if encoding.startswith("UTF-16") and frequent < 2:  # any two bytes are a character of it
        return 0.0
    return (ordinary + frequent) / len(other)


def _in_use(character: str, standard: str) -> bool:
    code = character.encode(standard, "ignore")
    return len(code) == 2 and code[0] in _IN_USE[standard]


def _western(text: str, other: int) -> float:
    """The share of characters beyond ASCII that stand as they do in words of Latin letters."""
    runs = re.finditer(r"[^\x00-\x7f]+", text)
    return sum(len(run[0]) for run in runs if _is_western(text, *run.span())) / other if other else 0.0


def _is_western(text: str, start: int, end: int) -> bool:
    """Whether what is beyond ASCII there is a sign, or a letter within a word, or two small ones side by side."""
    letters = text[start:end].strip(_SIGNS)
    if not letters or (len(letters) == 1 and letters in _WORDS):
        return True
    within = text[max(0, start - 1) : start].isalpha() or text[end : end + 1].isalpha()
    known = _CAPITALS + _SMALL if len(letters) == 1 else _SMALL
    return within and len(letters) <= 2 and all(letter in known for letter in letters)


def is_damaged_utf8(counts: Mapping[str, int]) -> bool:
    """Whether a text that was decoded as UTF-8 is one but for the few characters that are broken (�), by its counts.

    Bytes of another encoding may look like characters of two bytes, but then of several scripts at once.
    """
    wide = sum(count for character, count in counts.items() if character > "\u07ff" and character != "\ufffd")
    scripts: Counter[str] = Counter()
    for character, count in counts.items():
        if "\xbf" < character <= "\u07ff":  # signs belong to no script
            scripts[next(last for last in _SCRIPTS if character <= last)] += count
    one = max(scripts.values(), default=0)
    return counts.get("\ufffd", 0) * 20 <= wide + one and (scripts.total() - one) * 5 <= wide + one
