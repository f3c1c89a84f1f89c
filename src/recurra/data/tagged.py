"""Sentences with a tag for each token: which columns hold them, how they are read, and what is wrong with them."""

from __future__ import annotations

import ast
import json
from collections import Counter
from collections.abc import Collection, Sequence
from dataclasses import replace
from typing import Any

import numpy as np

from recurra.data.checking import Problem, left_out, lines_of, places, too_few_left
from recurra.data.columns import (
    SAMPLE,
    Columns,
    Guess,
    by_name,
    first_values,
    require,
    without_label,
)
from recurra.data.datasets import TaggedDataset
from recurra.data.pieces import whole
from recurra.data.sources import Documents
from recurra.data.spans import Majority, broken, scheme_of_most
from recurra.data.tables import LABEL_NAMES, TEXT_NAMES, Table
from recurra.data.values import has_parts, is_listed, is_missing, label_text
from recurra.errors import DataError

TASK = "tag"
TOKEN_NAMES = ("tokens", "words", "token", "word", "chars", "characters", "词", "字", "词语", "分词", *TEXT_NAMES)
TAG_NAMES = (
    "tags", "ner_tags", "slots", "chunk_tags", "pos_tags", "tag", "ner", "bio", "iob", "slot", "entities", "pos", "upos",
    "labels", "label", "targets", "target", "标注", "标签", "标记", "词性", "实体", "槽位",
)  # fmt: skip
SCHEMES_TOLD = {
    "BIO": "spans begin with B and go on with I (BIO, also called IOB2)",
    "IOB1": "spans begin with I, and with B right after another of their type (IOB1)",
    "BIOES": "spans begin with B and end with E, S is a span of one (BIOES)",
    "BMES": "spans begin with B and end with E, S is a span of one (BMES)",
    "plain": "a label for each token, no spans",
}
_LOOKED_AT = 200  # rows


def looks_like(raw: Table, columns: Columns) -> bool:
    """Whether there are tokens with as many tags beside them."""
    if columns.tags is not None:
        return True
    if columns.target is not None:
        return False
    if columns.text is not None and columns.text not in raw.columns:
        return False
    tokens, tags = _columns(raw, columns)
    if tokens is None or tags is None:
        return False
    # lists side by side are meant so, and what does not fit is then told; a text has words in any case
    return _share_that_fits(raw, tokens, tags) >= (0.5 if _holds_lists(raw.columns[tokens]) else 0.9)


def choose(raw: Table, columns: Columns, need_labels: bool, asked: bool, reasons: list[str]) -> Guess:
    for name, option in ((columns.text, "--text"), (columns.tags, "--tags" if need_labels else None)):
        if name is not None and option is not None:
            require(name, raw, option)
    tokens, tags = _columns(raw, columns)
    if tokens is None or (tags is None and need_labels):
        raise DataError(
            f"{raw.name} has no column of {'tokens' if tokens is None else 'tags'}",
            got=f"columns {', '.join(raw.columns)}",
            expected="lists of tokens and of as many tags, or columns of CoNLL (a token and its tag a line)",
            fix="Name them with --text COLUMN and --tags COLUMN",
        )
    if columns.label is not None and (need_labels or columns.label in raw.columns):
        require(columns.label, raw, "--label")
    label = columns.label if columns.label in raw.columns else None
    if label is None:
        others = [name for name in raw.columns if name not in (tokens, tags) and _is_single(raw.columns[name])]
        label = by_name(others, LABEL_NAMES)
    told = "" if tags is None else f", tags: {tags!r}"
    task, otherwise = ("", "") if asked else ("Task: tag. ", "--task, ")
    reasons.append(f"{task}Tokens: the column {tokens!r}{told}; say otherwise with {otherwise}--text and --tags.")
    if tags is not None:
        rows = [row for value in raw.columns[tags][:SAMPLE] if (row := _listed(value)) is not None]
        reasons.append(f"Tags: {SCHEMES_TOLD[scheme_of_most(rows).scheme]}.")
    if label is not None:
        reasons.append(f"A label for each sentence: the column {label!r}; say otherwise with --label COLUMN.")
    return Guess(TASK, tokens, label, reasons, tags=tags)


def _columns(raw: Table, columns: Columns) -> tuple[str | None, str | None]:
    """The columns of tokens and of tags, by name and content; None where there is none."""
    free = [name for name in raw.columns if name != columns.label]
    lists = [name for name in free if _holds_lists(raw.columns[name])]
    strings = [name for name in lists if not _holds_numbers(raw.columns[name])]
    tags = columns.tags if columns.tags in raw.columns else by_name([n for n in lists if n != columns.text], TAG_NAMES)
    tokens = columns.text or by_name([name for name in strings if name != tags], TOKEN_NAMES)
    if tokens is None:
        # words between blanks; only beside tags, as any text is that
        named = by_name([name for name in free if name != tags and _holds_texts(raw.columns[name])], TOKEN_NAMES)
        beside = tags or _tags_beside(raw, named, [name for name in free if _holds_texts(raw.columns[name])])
        if named is not None and beside is not None:
            return named, beside
        tokens = next((name for name in strings if name != tags), named)
    if tags is None and tokens is not None:
        tags = _tags_beside(raw, tokens, [name for name in free if name in lists or _holds_texts(raw.columns[name])])
    return tokens, tags


def _tags_beside(raw: Table, tokens: str | None, names: list[str]) -> str | None:
    """The column with as many tags as there are tokens in nearly every row; of several, one named so."""
    if tokens is None:
        return None
    fitting = [name for name in names if name != tokens and _share_that_fits(raw, tokens, name) >= 0.9]
    fitting = [name for name in fitting if _are_tags(raw.columns[name])]
    return by_name(fitting, TAG_NAMES) or next(iter(fitting), None)


def _share_that_fits(raw: Table, tokens: str, tags: str) -> float:
    """In how many of the first rows there are as many tags as tokens; a text of one word tells nothing."""
    fits = total = 0
    for one, other in zip(raw.columns[tokens][:_LOOKED_AT], raw.columns[tags][:_LOOKED_AT], strict=True):
        row = _listed(other)
        words = None if not row else _tokens_of(one, len(row))
        if not row or not words or (isinstance(one, str) and len(row) == len(words) == 1):
            continue
        total += 1
        fits += len(words) == len(row)
    return fits / total if total else 0.0


def _are_tags(values: list) -> bool:
    """Whether these are tags and not words: each many times; where they stand in a text, in capitals or as spans are."""
    rows = [row for value in values[:_LOOKED_AT] if (row := _listed(value))]
    tags = Counter(tag for row in rows for tag in row)
    if _holds_lists(values):
        return 2 * len(tags) <= sum(tags.values())
    return scheme_of_most(rows).scheme != "plain" or all(tag.isupper() for tag in tags)


def _holds_lists(values: list) -> bool:
    """Lists of texts or of whole numbers, most of them."""
    rows = _lists(values)
    return 2 * sum(all(isinstance(item, (str, int, np.integer)) for item in row) for row in rows) > len(rows)


def _holds_numbers(values: list) -> bool:
    rows = _lists(values)
    return 2 * sum(not isinstance(row[0], str) for row in rows) > len(rows)


def _lists(values: list) -> list[list[Any]]:
    return [row for value in values[:_LOOKED_AT] if (row := _as_list(value))]


def _holds_texts(values: list) -> bool:
    return any(isinstance(value, str) and value.strip() for value in values[:_LOOKED_AT])


def _is_single(values: list) -> bool:
    """Not lists, but for a few that are then told."""
    present = first_values(values[:_LOOKED_AT])
    return 2 * sum(map(has_parts, present)) <= len(present)


def _as_list(value: Any) -> list[Any] | None:
    """A list that is one, or is written as one ("['a', 'b']", as tables hold them); None for anything else."""
    if is_listed(value):
        return list(value)
    if not isinstance(value, str) or not (value.startswith("[") and value.endswith("]")):
        return None
    for parse in (json.loads, ast.literal_eval):
        try:
            found = parse(value)
        except (ValueError, SyntaxError, RecursionError, MemoryError):
            continue
        return found if isinstance(found, list) else None
    return None


def _listed(value: Any) -> list[str] | None:
    """Tags: a list, or words between blanks."""
    found = _as_list(value)
    if found is not None:
        return [_text_of(item) for item in found]
    return value.split() if isinstance(value, str) else None


def _text_of(item: Any) -> str:
    """An entry of a list as text; "" for one that is none, be it missing or something with parts."""
    return "" if is_missing(item) or has_parts(item) else str(item)


def _tokens_of(value: Any, count: int | None) -> list[str] | None:
    """Tokens: a list, or a text cut at its blanks or into its characters, as gives `count` of them."""
    found = _as_list(value)
    if found is not None:
        return [_text_of(item) for item in found]
    if not isinstance(value, str):
        return None
    words, characters = value.split(), [character for character in value if not character.isspace()]
    if count is not None and len(words) != count:
        return next((cut for cut in (characters, list(value)) if len(cut) == count), words)
    return words


def read(raw: Documents | Table, found: Guess, need_labels: bool, judged: bool) -> tuple[TaggedDataset, list[Problem]]:
    """Rows that can be used. Lists that do not match, empty sentences and missing tags are left out and named; broken
    chains of spans are kept and named. Without `need_labels` a row needs tokens alone, and where some rows lack their tags
    or labels none are used. Where rows are `judged`, those go that are written in another scheme than nearly all."""
    if isinstance(raw, Documents):
        return _texts(raw)
    assert found.text is not None
    values = raw.columns[found.text]
    given = raw.columns[found.tags] if found.tags is not None else [None] * len(values)
    labels = raw.columns[found.label] if found.label is not None else None
    # a text without tags stays whole, for the model to cut it as its training data were cut
    rows = [
        (
            value
            if isinstance(value, str) and tags is None and _as_list(value) is None
            else _tokens_of(value, None if tags is None else len(tags)),
            tags,
        )
        for value, tags in zip(values, map(_listed, given), strict=True)
    ]
    empty = [
        place for place, (words, _) in enumerate(rows) if not words or (isinstance(words, str) and not words.strip())
    ]
    problems = list(raw.problems)
    problems += left_out([raw.lines[i] for i in empty], raw.unit, "has no tokens", "have no tokens")
    torn = [place for place, (words, _) in enumerate(rows) if isinstance(words, list) and "" in words]
    odd = "that is empty or no text", "that are empty or no text"
    problems += left_out([raw.lines[i] for i in torn], raw.unit, f"has a token {odd[0]}", f"have tokens {odd[1]}")
    without = {*empty, *torn}
    left = [place for place in range(len(rows)) if place not in without]
    wrong: dict[tuple[str, str], list[int]] = {}
    for place in left if found.tags is not None else []:
        reason = _reason(*rows[place], given[place])
        if reason is not None:
            wrong.setdefault(reason, []).append(place)
    unnamed = [place for place in left if labels is not None and label_text(labels[place]) is None]
    if need_labels:
        for (one, many), some in wrong.items():
            problems += left_out([raw.lines[i] for i in some], raw.unit, one, many)
        bad = {place for some in wrong.values() for place in some}
        unnamed = [place for place in unnamed if place not in bad]
        if labels is not None:
            problems += without_label([labels[i] for i in unnamed], [raw.lines[i] for i in unnamed], raw.unit)
        left = [place for place in left if place not in bad.union(unnamed)]
        most = scheme_of_most([tags for place in left if judged and (tags := rows[place][1]) is not None])
        problems += _odd_tags(most, [raw.lines[place] for place in left], raw.unit)
        odd = {left[place] for place, _ in most.odd}
        left = [place for place in left if place not in odd]
    else:
        for (one, _), some in wrong.items():
            message = f"{raw.unit} {raw.lines[some[0]]} {one}, so no tags are used"
            problems.append(Problem(raw.lines[some[0]], message, False, tuple(raw.lines[place] for place in some)))
        labels = None if unnamed else labels
    tags = [row for place in left if (row := rows[place][1]) is not None]
    dataset = TaggedDataset(
        [words for place in left if (words := rows[place][0]) is not None],
        None if found.tags is None or (wrong and not need_labels) else tags,
        None if labels is None else [name for place in left if (name := label_text(labels[place])) is not None],
        [raw.lines[place] for place in left],
        raw.name,
    )
    few = too_few_left(len(left), len(values) + raw.lost)
    if few:
        return dataset, [*few, *(replace(problem, fatal=True) for problem in problems)]
    return dataset, problems if dataset.tags is None else problems + _judged(dataset, raw.unit, need_labels and judged)


def _reason(words: Sequence[str] | None, tags: Sequence[str] | None, given: Any) -> tuple[str, str] | None:
    """Why the tags of a row cannot be used, said of one and of several; None where they can. `given` is how they came."""
    if tags is None or words is None:
        return "has no tags", "have no tags"
    if len(words) != len(tags):
        counts = f"{len(words)} tokens but {len(tags)} tags"
        return f"has {counts}", "have another number of tags than of tokens"
    if any(not tag.strip() for tag in tags):
        some = "a tag that is no text" if any(map(has_parts, _as_list(given) or ())) else "an empty tag"
        return f"has {some}", f"have {some}"
    return None


def _odd_tags(most: Majority, lines: Sequence[int], unit: str) -> list[Problem]:
    """Rows with a tag that does not fit what nearly all rows are written in; they are left out, unless they are many."""
    if not most.odd and not most.against:
        return []
    some = most.odd or most.against
    names = list(dict.fromkeys(tag for _, tag in some))
    shown = ", ".join(map(repr, names[:5])) + (" …" if len(names) > 5 else "")
    where = tuple(lines[place] for place, _ in some)
    if most.odd:
        one, many = "has a tag that is not", "have tags that are not"
        said = f"of {most.scheme}, in which the other rows are written ({shown}),"
        return left_out(where, unit, f"{one} {said}", f"{many} {said}")
    rows = "1 row has a tag that is" if len(where) == 1 else f"{len(where):,} rows have tags that are"
    message = (
        f"{rows} not of {most.other}, in which most rows are written ({shown}; {places(where, unit)}): too many to be left "
        f"out, so the tags are read as {SCHEMES_TOLD[most.scheme]}"
    )
    return [Problem(where[0], message, False, where)]


def _judged(dataset: TaggedDataset, unit: str, need_labels: bool) -> list[Problem]:
    """What is odd about rows that can be used."""
    assert dataset.tags is not None
    problems: list[Problem] = []
    counts = Counter(tag for row in dataset.tags for tag in row)
    if need_labels and len(counts) == 1:
        message = f"all tokens have the tag {next(iter(counts))!r}: a tagger needs at least two"
        return [Problem(dataset.lines[0], message, fatal=True)]
    if all(tag.lstrip("-").isdigit() for tag in counts):
        message = "the tags are numbers, so it is not known which of them make spans: give their names for that"
        problems.append(Problem(dataset.lines[0], message, fatal=False))
    scheme = scheme_of_most(dataset.tags).scheme
    torn = [(i, place) for i, row in enumerate(dataset.tags) if (place := broken(row, scheme)) is not None]
    if torn:
        row, place = torn[0]
        tags = dataset.tags[row]
        before = repr(tags[place - 1]) if place else "the beginning"
        what = f"{tags[place]!r} after {before}" if place < len(tags) else f"the end after {before}"
        everywhere = [dataset.lines[i] for i, _ in torn]
        where = places(everywhere, unit)
        sentences = "1 sentence has a broken span" if len(torn) == 1 else f"{len(torn)} sentences have a broken span"
        message = (
            f"{sentences} ({where}; first: {what}, token {place + 1}): it counts as spans that begin and end there"
        )
        problems.append(Problem(dataset.lines[row], message, False, tuple(everywhere)))
    if need_labels:
        problems += _copies(dataset, unit)
    return problems


def _copies(dataset: TaggedDataset, unit: str) -> list[Problem]:
    assert dataset.tags is not None
    first: dict[tuple[str, ...], int] = {}
    extra: list[int] = []
    torn: list[tuple[int, int]] = []
    for i, (tokens, tags) in enumerate(zip(dataset.tokens, dataset.tags, strict=True)):
        before = first.setdefault(tuple(tokens), i)
        if before != i:
            extra.append(i)
            if dataset.tags[before] != tags:
                torn.append((before, i))
    problems: list[Problem] = []
    if extra:
        copies = "1 sentence is a copy" if len(extra) == 1 else f"{len(extra)} sentences are copies"
        everywhere = tuple(dataset.lines[i] for i in extra)
        message = f"{copies} of an earlier one ({places(everywhere, unit)})"
        problems.append(Problem(everywhere[0], message, False, everywhere))
    if torn:
        one, other = torn[0]
        times = "1 of them is" if len(torn) == 1 else f"{len(torn)} of them are"
        where = places([dataset.lines[one], dataset.lines[other]], unit)
        message = f"{times} tagged in another way than before (first: {where})"
        problems.append(Problem(dataset.lines[other], message, False, tuple(dataset.lines[i] for _, i in torn)))
    return problems


def unknown(train: TaggedDataset, other: TaggedDataset, unit: str = "line") -> list[Problem]:
    """Tags and labels of `other` that training does not have: a model can only miss them."""
    return unknown_to({tag for row in train.tags or () for tag in row}, set(train.labels or ()), other, unit)


def unknown_to(
    tags: Collection[str], labels: Collection[str], other: TaggedDataset, unit: str = "line"
) -> list[Problem]:
    """Those of `other` that are not among the `tags` and `labels` of the training data; where these are none, all may be."""
    problems = []
    pairs: list[tuple[str, Collection[str], list[list[str]] | None]] = [
        ("tag", tags, other.tags),
        ("label", labels, _each(other.labels)),
    ]
    for what, names, rows in pairs:
        if not names:
            continue
        new = Counter(name for row in rows or () for name in row if name not in names)
        if new:
            lines = tuple(line for line, row in zip(other.lines, rows or (), strict=True) if set(row) & set(new))
            shown = ", ".join(map(repr, list(new)[:5])) + (" …" if len(new) > 5 else "")
            message = (
                f"{other.name} has {what}s that the training data have not ({shown}; {sum(new.values())} in all, first at "
                f"{unit} {lines[0]}): the model can only miss them, and no loss is told"
            )
            problems.append(Problem(lines[0], message, False, lines))
    return problems


def _each(labels: list[str] | None) -> list[list[str]] | None:
    return None if labels is None else [[label] for label in labels]


def _texts(raw: Documents) -> tuple[TaggedDataset, list[Problem]]:
    """Texts that the model is to cut: the lines of a text file, or the given ones."""
    problems: list[Problem] = []
    if raw.from_file:
        rows, problems = lines_of(raw.documents[0])
    else:
        rows = [(i, whole(text)) for i, text in enumerate(raw.documents, 1)]
    return TaggedDataset([line for _, line in rows], None, None, [i for i, _ in rows], raw.name), problems
