"""What can be told of a set before anything is trained: lengths, classes, copies, odd characters, scales of numbers.

A kind of dataset brings a `View` of itself; all facts are made from views, one pass each, and a text need not be held.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from recurra.data.characters import Finding, Scripts, find_odd, find_scripts
from recurra.data.checking import Problem, places
from recurra.data.conll import ENDINGS
from recurra.data.datasets import (
    Dataset,
    LabelledDataset,
    PairDataset,
    RegressionDataset,
    RowsDataset,
    TaggedDataset,
    TextDataset,
)
from recurra.data.lengths import Lengths
from recurra.data.overlap import Overlap, Row, Twins, find_copies, find_leaks
from recurra.data.series import SeriesDataset
from recurra.progress import watch

LONG_LINE = 40  # characters from which a line that stands twice in running text is no accident
_UNEVEN = 20.0  # times as many rows in one class as in another from which it is said

Lines = Callable[[], Iterable[tuple[int, str]]]
"""(line, text) pairs, from the beginning each time."""


@dataclass(frozen=True)
class View:
    """A dataset as facts are made of it.

    `texts` are the columns of text by name; `lengths` what has a length, by name, with its unit; `rows` gives what may stand
    twice; `classes` counts the answers that come again, by name. `named` says whether reading it told of exact copies and
    of contradicting answers already, where these are worth telling. `arrays` are numeric sequences, and
    `columns` what their features are called, where they have names.
    """

    unit: str
    texts: Mapping[str, Lines]
    lengths: Mapping[str, tuple[str, Callable[[], Iterable[int]]]]
    rows: Callable[[], Iterable[Row]]
    classes: Mapping[str, Counter[str]] = field(default_factory=dict)
    named: bool = False
    arrays: list[np.ndarray] | None = None
    columns: tuple[str, ...] = ()


def view(dataset: Dataset) -> View:
    """The view that a dataset's kind gives of it."""
    return _VIEWS[type(dataset)](dataset)


def _of_text(data: TextDataset) -> View:
    def lines() -> Iterator[tuple[int, str]]:
        with watch("looking through", data.characters / 1e6, "million characters") as seen:
            passed = 0
            for number, line in enumerate(data.lines(), 1):
                yield number, line
                passed += len(line) + 1
                if passed > 1_000_000:
                    seen(passed / 1e6)
                    passed = 0

    def long_lines() -> Iterator[Row]:
        return ((number, line, None) for number, line in lines() if len(line) >= LONG_LINE)

    return View(
        "line", {"text": lines}, {"line": ("characters", lambda: (len(s) for _, s in lines() if s))}, long_lines
    )


def _of_labelled(data: LabelledDataset) -> View:
    classes = {} if data.labels is None else {"label": Counter(data.labels)}
    arrays = [row for row in data.inputs if isinstance(row, np.ndarray)]
    texts: dict[str, Lines] = {} if data.numeric else {"text": lambda: zip(data.lines, data.raw, strict=True)}
    name, unit = ("sequence", "steps") if data.numeric else ("text", "characters")
    lengths = {name: (unit, lambda: map(len, data.inputs))}
    columns = () if data.long is None else data.long.channels
    return View(
        unit_of(data.name), texts, lengths, _rows(data), classes, data.labels is not None, arrays or None, columns
    )


def _of_numbers(data: RegressionDataset) -> View:
    arrays = [row for row in data.inputs if isinstance(row, np.ndarray)]
    texts: dict[str, Lines] = {} if data.numeric else {"text": lambda: zip(data.lines, data.raw, strict=True)}
    name, unit = ("sequence", "steps") if data.numeric else ("text", "characters")
    return View(
        unit_of(data.name), texts, {name: (unit, lambda: map(len, data.inputs))}, _rows(data), arrays=arrays or None,
        columns=() if data.long is None else data.long.channels,
    )  # fmt: skip


def _of_tagged(data: TaggedDataset) -> View:
    classes = {} if data.tags is None else {"tags": Counter(tag for row in data.tags for tag in row)}
    if data.labels is not None:
        classes["label"] = Counter(data.labels)

    def joined() -> Iterator[tuple[int, str]]:
        return ((line, " ".join(tokens)) for line, tokens in zip(data.lines, data.tokens, strict=True))

    lengths = {"sentence": ("tokens", lambda: map(len, data.tokens))}
    return View(unit_of(data.name), {"tokens": joined}, lengths, _rows(data), classes, data.tags is not None)


def _of_pairs(data: PairDataset) -> View:
    texts: dict[str, Lines] = {"source": lambda: zip(data.lines, data.sources, strict=True)}
    lengths = {"source": ("characters", lambda: map(len, data.sources))}
    targets = data.targets
    if targets is not None:
        texts["target"] = lambda: zip(data.lines, targets, strict=True)
        lengths["target"] = ("characters", lambda: map(len, targets))
    # a source may well have two translations
    return View(unit_of(data.name), texts, lengths, _rows(data), named=targets is not None)


def _of_series(data: SeriesDataset) -> View:
    # series may well share values, and none is a copy of another by that
    return View(unit_of(data.name), {}, {"series": ("values", lambda: map(len, data.series))}, lambda: ())


def _rows(data: RowsDataset) -> Callable[[], Iterator[Row]]:
    answers = data.answers
    return lambda: zip(data.lines, data.raw, answers or [None] * len(data), strict=True)


_VIEWS: dict[type, Callable[[Any], View]] = {
    TextDataset: _of_text,
    LabelledDataset: _of_labelled,
    TaggedDataset: _of_tagged,
    PairDataset: _of_pairs,
    SeriesDataset: _of_series,
    RegressionDataset: _of_numbers,
}


_LINES = (".txt", ".tsv", ".tab", ".csv", ".jsonl", ".ndjson", ".ts", *ENDINGS)


def unit_of(name: str) -> str:
    """What rows of a source are numbered in: the lines of a file of text, else rows."""
    return "line" if name.removesuffix(".gz").endswith(_LINES) else "row"


@dataclass(frozen=True)
class Facts:
    """What there is to know of one set; `problems` are those that reading it did not name."""

    name: str
    size: dict[str, int]
    unit: str
    lengths: dict[str, Lengths]
    classes: dict[str, Counter[str]]
    copies: Overlap
    odd: dict[str, list[Finding]]
    scripts: dict[str, Scripts]
    features: list[dict[str, float]]
    problems: list[Problem]
    columns: tuple[str, ...] = ()
    """What the features are called, where they have names."""

    def as_dict(self) -> dict[str, Any]:
        """All of it but the problems, ready for JSON."""
        return {
            "name": self.name,
            **self.size,
            "numbered_in": f"{self.unit}s",
            "lengths": {name: lengths.as_dict() for name, lengths in self.lengths.items()},
            "classes": {name: dict(counts.most_common()) for name, counts in self.classes.items()},
            "copies": overlap_dict(self.copies),
            "characters": {name: [_finding_dict(finding) for finding in found] for name, found in self.odd.items()},
            "chinese": {
                name: {"simplified": s.simplified.rows, "traditional": s.traditional.rows, "both": s.both.rows}
                for name, s in self.scripts.items()
            },
            "features": self.features,
            **({"columns": list(self.columns)} if self.columns else {}),
        }


def facts_of(dataset: Dataset) -> Facts:
    """All facts of one set."""
    seen = view(dataset)
    lengths = {name: Lengths(Counter(measure()), unit) for name, (unit, measure) in seen.lengths.items()}
    odd = {name: find_odd(lines()) for name, lines in seen.texts.items()}
    scripts = {name: find_scripts(lines()) for name, lines in seen.texts.items()}
    copies = find_copies(seen.rows)
    features = _features(seen.arrays or [])
    problems = [
        *_odd_problems(odd, scripts, seen.unit),
        *_copy_problems(copies, seen),
        *(problem for name, counts in seen.classes.items() if name != "tags" for problem in _uneven(name, counts)),
        *_constant(features),
    ]
    return Facts(
        dataset.name, dataset.size, seen.unit, lengths, dict(seen.classes), copies, odd, scripts, features, problems,
        seen.columns,
    )  # fmt: skip


def overlap_of(train: Dataset, other: Dataset) -> tuple[Overlap, list[Problem]]:
    """Rows of `other` that stand in `train`, and what is to be said of that."""
    here = view(other)
    found = find_leaks(view(train).rows, here.rows)
    exactly = _together(found.exact, found.torn)
    what = "long lines" if isinstance(other, TextDataset) else "inputs"
    problems = []
    for twins, how in ((exactly, ""), (found.loose, " but for case, width and space")):
        if twins.count:
            line, there = twins.pairs[0]
            message = (
                f"{_about(twins.count, found.every)} of {_about(found.rows, found.every)} {what} of {other.name} also "
                f"stand in {train.name}{how} (first: {here.unit} {line}, there {there}): figures measured on {other.name} "
                "will look better than they are. Remove them from one of the two"
            )
            problems.append(Problem(line, message, False, tuple(line for line, _ in twins.pairs)))
    if found.torn.count and not isinstance(other, TextDataset):
        line, there = found.torn.pairs[0]
        message = (
            f"{_about(found.torn.count, found.every)} of these have another answer there (first: {here.unit} {line}, "
            f"there {there})"
        )
        problems.append(Problem(line, message, False, tuple(line for line, _ in found.torn.pairs)))
    return found, problems


def overlap_dict(found: Overlap) -> dict[str, Any]:
    """An overlap ready for JSON: counts, and [line, line where it stood first] of each."""
    kinds = {"exact": found.exact, "loose": found.loose, "other_answer": found.torn}
    return {
        "looked_at": found.rows,
        "one_in": found.every,
        **{
            name: {"count": twins.count, "lines": [list(pair) for pair in twins.pairs]} for name, twins in kinds.items()
        },
    }


def _finding_dict(finding: Finding) -> dict[str, Any]:
    return {"what": finding.name, "count": finding.count, "rows": finding.rows, "lines": finding.lines}


def _together(one: Twins, other: Twins) -> Twins:
    return Twins(one.count + other.count, sorted(one.pairs + other.pairs))


def _about(count: int, every: int) -> str:
    return f"{count:,}" if every == 1 else f"about {count * every:,}"


def _odd_problems(odd: Mapping[str, list[Finding]], scripts: Mapping[str, Scripts], unit: str) -> Iterator[Problem]:
    several = len(odd) > 1
    for name, findings in odd.items():
        for finding in findings:
            rows = "1 " + unit if finding.rows == 1 else f"{finding.rows:,} {unit}s"
            where = f" of the column {name!r}" if several else ""
            message = (
                f"{finding.name}: {finding.count:,} in {rows}{where} ({places(finding.lines, unit)}): {finding.advice}"
            )
            yield Problem(finding.lines[0], message, False, tuple(finding.lines))
    for found in scripts.values():
        if found.mixed:
            fewer = found.fewer
            message = (
                f"Chinese in both forms: simplified in {found.simplified.rows:,} {unit}s, traditional in "
                f"{found.traditional.rows:,}, both in {found.both.rows:,} (the fewer: {places(fewer.lines, unit)}): "
                f"{fewer.advice}"
            )
            yield Problem(fewer.lines[0], message, False, tuple(fewer.lines))


def _copy_problems(copies: Overlap, seen: View) -> Iterator[Problem]:
    what = "long line" if seen.classes == {} and seen.unit == "line" and len(seen.texts) == 1 else "row"
    told = [(copies.loose, "a copy of an earlier one but for case, width and space")]
    if not seen.named:
        told = [
            (copies.exact, "a copy of an earlier one"),
            (copies.torn, "the same as an earlier one, with another answer"),
            *told,
        ]
    for twins, how in told:
        if twins.count:
            lines = tuple(line for line, _ in twins.pairs)
            many = "is" if twins.count * copies.every == 1 else "are each"
            subject = f"{_about(twins.count, copies.every)} {what}{'s' * (many != 'is')}"
            yield Problem(lines[0], f"{subject} {many} {how} ({places(lines, seen.unit)})", False, lines)


def _uneven(name: str, counts: Counter[str]) -> Iterator[Problem]:
    if len(counts) < 2:
        return
    (most, many), (least, few) = counts.most_common(1)[0], counts.most_common()[-1]
    if many >= _UNEVEN * few:
        share = many / counts.total()
        message = (
            f"the classes of {name!r} are uneven: {most!r} has {many:,} rows, {least!r} {few:,}; to answer {most!r} always "
            f"is right in {share:.0%}"
        )
        yield Problem(None, message, fatal=False)


def _features(arrays: list[np.ndarray]) -> list[dict[str, float]]:
    """Least, mean, greatest and deviation of each feature over all steps of all sequences."""
    if not arrays:
        return []
    steps = np.concatenate(arrays).astype(np.float64)
    # what is missing tells nothing; a feature that is missing throughout is told of elsewhere
    there = np.where(np.isnan(steps).all(0), 0.0, steps)
    columns = {
        "least": np.nanmin(there, 0), "mean": np.nanmean(there, 0), "most": np.nanmax(there, 0),
        "deviation": np.nanstd(there, 0),
    }  # fmt: skip
    return [{name: float(values[place]) for name, values in columns.items()} for place in range(steps.shape[1])]


def _constant(features: list[dict[str, float]]) -> Iterator[Problem]:
    still = [place for place, feature in enumerate(features, 1) if feature["least"] == feature["most"]]
    if still:
        verb = "is" if len(still) == 1 else "are"
        yield Problem(None, f"{places(still, 'feature')} {verb} the same at every step, and tells nothing", fatal=False)
