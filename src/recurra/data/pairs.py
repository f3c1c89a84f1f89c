"""Sentences in two languages: which columns hold them, how they are read, and what is wrong with them."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Callable
from dataclasses import replace

from recurra.data.checking import LONG_TEXT, Problem, left_out, places, too_few_left
from recurra.data.columns import Columns, Guess, by_name, first_values, require
from recurra.data.datasets import PairDataset
from recurra.data.pieces import whole
from recurra.data.sources import Documents
from recurra.data.tables import Table
from recurra.data.values import is_listed, is_missing
from recurra.errors import DataError, UsageError

TASK = "translate"
SOURCE_NAMES = ("source", "src", "source_text", "原文", "源文")
TARGET_NAMES = ("target", "translation", "tgt", "trg", "target_text", "译文", "翻译")
LANGUAGES = {
    "ar", "arabic", "chinese", "cs", "czech", "de", "deutsch", "dutch", "en", "english", "es", "fi", "finnish", "fr",
    "français", "french", "german", "hi", "hindi", "it", "italian", "ja", "japanese", "ko", "korean", "nl", "pl", "polish",
    "portuguese", "pt", "ru", "russian", "spanish", "tr", "turkish", "zh", "zh-cn", "zh-tw", "zh_cn", "zh_tw", "中文", "德文",
    "德语", "日文", "日语", "法语", "英文", "英语",
}  # fmt: skip
_MANY, _LABELS = 20, 0.1  # rows from which on so few different targets are told
_FEW = 0.5  # of the values different at least, or the column holds labels
_UNEQUAL, _LETTERS = 9, 20  # a side so many times as long as the other, from so many characters on
_WIDE = re.compile(r"[\u3040-\u30ff\u3400-\u9fff\uf900-\ufaff\U00020000-\U0003ffff]")
# UTF-8 read as Latin-1 or Windows-1252: a lead byte and a continuation, each as a letter of its own
_TWICE = re.compile(r"[\u00c2-\u00f4][\u0080-\u00bf\u0152\u0153\u0160\u0161\u0178\u017d\u017e\u0192\u02c6\u02dc\u2013-\u203a\u20ac\u2122]")  # fmt: skip # noqa: E501


def looks_like(raw: Table, columns: Columns) -> bool:
    """Whether there are texts with their translations beside them: by the names, or two columns of sentences alone."""
    if columns.target is not None:
        return True
    source, target = _columns(raw, columns, asked=False)
    return source is not None and target is not None and _are_different(raw.columns[target])


def are_named(raw: Table, columns: Columns) -> bool:
    """Whether two columns are called source and target, or something of that kind, and none was asked for as tags."""
    names = list(raw.columns)
    return columns.tags is None and None not in (by_name(names, SOURCE_NAMES), by_name(names, TARGET_NAMES))


def choose(raw: Table, columns: Columns, need_labels: bool, asked: bool, reasons: list[str]) -> Guess:
    for name, option in ((columns.text, "--text"), (columns.target, "--target")):
        if name is not None and (option == "--text" or need_labels or name in raw.columns):
            require(name, raw, option)
    if columns.text is not None and columns.text == columns.target:
        raise UsageError(f"The column {columns.text!r} cannot be both the source and the target")
    source, target = _columns(raw, columns, asked or columns.target is not None)
    if target not in raw.columns:
        target = None
    if source is None or (target is None and need_labels):
        raise DataError(
            f"{raw.name} has no column of {'sources' if source is None else 'targets'}",
            got=f"columns {', '.join(raw.columns)}",
            fix="Name them with --text COLUMN and --target COLUMN",
        )
    told = f"Source: the column {source!r}; target: {target!r}; say otherwise with --text and --target."
    reasons.append(told if target else f"Source: the column {source!r}; say otherwise with --text.")
    if not asked:
        reasons.append(
            "Task: translate, since these are texts with other texts beside them; say otherwise with --task."
        )
    return Guess(TASK, source, None, reasons, target=target)


def _columns(raw: Table, columns: Columns, asked: bool) -> tuple[str | None, str | None]:
    names = list(raw.columns)
    target = columns.target or by_name([name for name in names if name != columns.text], TARGET_NAMES)
    source = columns.text or by_name([name for name in names if name != target], SOURCE_NAMES)
    if source is not None and target is not None:
        return source, target
    texts = [name for name in names if _is_text(raw.columns[name])]
    languages = [name for name in texts if name.lower().strip() in LANGUAGES]
    if len(languages) >= 2:
        texts = languages
    elif not (asked or (len(names) == 2 and not raw.has_header and all(_is_written(raw.columns[n]) for n in names))):
        return source, target
    # one beside the other, in their order
    source = source or next((name for name in texts if name != target), None)
    target = target or next((name for name in texts if name != source), None)
    return source, target


def _is_text(values: list) -> bool:
    return all(
        isinstance(value, str) or (is_listed(value) and all(isinstance(word, str) for word in value))
        for value in first_values(values)[:20]
    )


def _are_different(values: list) -> bool:
    """Texts of which few come twice, as labels do."""
    present = [str(value) for value in first_values(values) if str(value).strip()]
    return bool(present) and _is_text(values) and len(set(present)) > _FEW * len(present)


def _is_written(values: list) -> bool:
    """Sentences: different ones, of several words (or Chinese characters) most of them."""
    present = [str(value) for value in first_values(values)]
    several = sum(len(value.split()) > 1 or len(_WIDE.findall(value)) > 1 for value in present)
    return 2 * several > len(present) and _are_different(values)


def read(raw: Documents | Table, found: Guess, need_labels: bool, judged: bool) -> tuple[PairDataset, list[Problem]]:
    """Pairs that have both sides; for prediction every source, an empty one too, so that answers stand line by line."""
    if isinstance(raw, Documents):
        if raw.from_file:
            lines = whole(raw.documents[0]).split("\n")
            sources = lines[:-1] if lines and not lines[-1] else lines
        else:
            sources = [whole(text) for text in raw.documents]
        return PairDataset(sources, None, list(range(1, len(sources) + 1)), raw.name), []
    assert found.text is not None
    sources = [_text(value) for value in raw.columns[found.text]]
    targets = None if found.target is None else [_text(value) for value in raw.columns[found.target]]
    problems = list(raw.problems)
    if not need_labels or targets is None:
        missing = [line for line, text in zip(raw.lines, targets or [], strict=False) if not text]
        if missing:
            rows = "1 row has" if len(missing) == 1 else f"{len(missing)} rows have"
            message = f"{rows} no target ({places(missing, raw.unit)}), so no targets are used"
            problems.append(Problem(missing[0], message, False, tuple(missing)))
            targets = None
        return PairDataset([text or "" for text in sources], targets, list(raw.lines), raw.name), problems  # pyright: ignore
    kept: list[tuple[str, str, int]] = []
    empty: dict[str, list[int]] = {"source": [], "target": []}
    for source, target, line in zip(sources, targets, raw.lines, strict=True):
        if source and target:
            kept.append((source, target, line))
        else:
            empty["target" if source else "source"].append(line)
    for side, lines in empty.items():
        problems += left_out(lines, raw.unit, f"has an empty {side}", f"have an empty {side}")
    dataset = PairDataset([s for s, _, _ in kept], [t for _, t, _ in kept], [line for _, _, line in kept], raw.name)
    too_few = too_few_left(len(kept), len(raw.lines) + raw.lost)
    if too_few:
        return dataset, too_few + [replace(each, fatal=True) for each in problems]
    problems += _few_targets(dataset)
    return dataset, problems + _check(dataset, raw.unit) if judged else problems


def _text(value: object) -> str:
    """A cell as one line of text; "" where there is nothing in it."""
    if is_missing(value):
        return ""
    if is_listed(value):
        value = " ".join(map(str, value))  # pyright: ignore[reportArgumentType]
    return " ".join(str(value).split())


def _few_targets(data: PairDataset) -> list[Problem]:
    """Targets that come again and again are more like labels."""
    assert data.targets is not None
    different = len(set(data.targets))
    if len(data) < _MANY or different > _LABELS * len(data):
        return []
    message = (
        f"the targets are {different} different texts in {len(data)} rows, which is more like a label than a translation: "
        "see that the right column is taken (--target)"
    )
    return [Problem(data.lines[0], message, fatal=False)]


def _check(data: PairDataset, unit: str) -> list[Problem]:
    """Problems of whole pairs: what they show is most often that the sides do not belong together."""
    assert data.targets is not None
    pairs = list(zip(data.sources, data.targets, strict=True))
    same = [source == target for source, target in pairs]
    if all(same):
        return [
            Problem(data.lines[0], "all targets are the same as their sources: there is nothing to learn", fatal=True)
        ]
    counts = Counter(pairs)
    first: set[tuple[str, str]] = set()
    copies = [(counts[pair] > 1 and pair in first) or first.add(pair) is not None for pair in pairs]
    if len(counts) > 1 and len(set(data.targets)) == 1:
        message = "all targets are the same: there is nothing to learn"
        return [Problem(data.lines[0], message, fatal=True)]
    found: list[tuple[list[bool], str, str]] = [
        (same, "has a target that is its source", "have a target that is their source"),
        (copies, "is a copy of an earlier pair", "are copies of earlier pairs"),
        (_either(pairs, lambda text: "\ufffd" in text), *_both("replacement characters (�): it was damaged earlier")),
        (_either(pairs, lambda text: bool(_TWICE.search(text))), *_both("letters such as Ã¤: it was decoded wrongly")),
        (
            [_unequal(*map(len, pair)) for pair in pairs],
            *_both("sides of very unequal length: do they belong together?"),
        ),
        (
            _either(pairs, lambda text: len(text) > LONG_TEXT),
            *_both(f"a side of more than {LONG_TEXT:,} characters: training will be slow"),
        ),
    ]
    problems = []
    for marks, one, many in found:
        lines = [line for line, mark in zip(data.lines, marks, strict=True) if mark]
        if lines:
            said = f"1 row {one}" if len(lines) == 1 else f"{len(lines)} rows {many}"
            problems.append(Problem(lines[0], f"{said} ({places(lines, unit)})", False, tuple(lines)))
    return problems


def _both(what: str) -> tuple[str, str]:
    return f"has {what}", f"have {what}"


def _either(pairs: list[tuple[str, str]], wrong: Callable[[str], bool]) -> list[bool]:
    return [wrong(source) or wrong(target) for source, target in pairs]


def _unequal(one: int, other: int) -> bool:
    return max(one, other) >= _LETTERS and max(one, other) > _UNEQUAL * min(one, other)
