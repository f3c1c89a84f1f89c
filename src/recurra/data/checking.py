"""What is wrong with data, said with its lines: rows that cannot be used, numbers that are none, odd classes, leaks.

Looks at inputs and labels that are in memory, and goes over texts in pieces; knows no files and no columns.
"""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Collection, Hashable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from recurra.data.datasets import Dataset, LabelledDataset, RowsDataset, TextDataset
from recurra.data.pieces import Text, is_blank, replaced, whole
from recurra.errors import DataError
from recurra.progress import watch

LONG_TEXT = 5_000  # characters
LONG_SERIES = 5_000  # steps
FAR = 1e4  # times what rows usually reach
_LEAK_LINE = 40  # characters from which a line shared by two documents is no accident
_SHOWN = 5


Row = str | np.ndarray | list[str]
"""An input of a row: a text, a numeric sequence, or tokens."""


@dataclass(frozen=True)
class Problem:
    """Something wrong with the data. `line` is where it shows first, or None where it concerns the whole; `lines` are all
    places, of which the message names the first few. `left_out` says whether these rows were left out."""

    line: int | None
    message: str
    fatal: bool
    lines: tuple[int, ...] = field(default=(), compare=False)
    left_out: bool = field(default=False, compare=False)

    def __post_init__(self) -> None:
        if self.line is not None and not self.lines:
            object.__setattr__(self, "lines", (self.line,))


def places(lines: Sequence[int], unit: str) -> str:
    """`line 3`, `lines 3, 7 and 9`, `lines 1, 2, 3, 4, 5 and 12 more`."""
    shown = [str(line) for line in lines[:_SHOWN]]
    rest = len(lines) - len(shown)
    if rest:
        return f"{unit}s {', '.join(shown)} and {rest} more"
    return f"{unit} {shown[0]}" if len(shown) == 1 else f"{unit}s {', '.join(shown[:-1])} and {shown[-1]}"


def raise_fatal(problems: Sequence[Problem], name: str) -> None:
    """Raise the `fatal_error` of the fatal problems, and of what else was found in their lines; return if there is none."""
    fatal = [problem for problem in problems if problem.fatal]
    if fatal:
        lines = {line for problem in fatal for line in problem.lines}
        beside = [problem for problem in problems if not problem.fatal and lines.intersection(problem.lines)]
        raise fatal_error([*fatal, *beside], name)


def fatal_error(fatal: Sequence[Problem], name: str) -> DataError:
    """One `DataError` that lists the first five problems and counts the rest."""
    shown = "; ".join(problem.message for problem in fatal[:_SHOWN])
    more = f"; and {len(fatal) - _SHOWN} more problems like these" if len(fatal) > _SHOWN else ""
    return DataError(f"{name} cannot be used as it is: {shown}{more}")


def left_out(lines: Sequence[int], unit: str, one: str, many: str) -> list[Problem]:
    """A warning that rows were left out: `one` says why for a single row, `many` for several."""
    if not lines:
        return []
    subject, were = (f"1 row {one}", "was") if len(lines) == 1 else (f"{len(lines)} rows {many}", "were")
    return [Problem(lines[0], f"{subject} and {were} left out ({places(lines, unit)})", False, tuple(lines), True)]


def lines_of(text: Text) -> tuple[list[tuple[int, str]], list[Problem]]:
    """The lines of a text file that hold something, with their numbers, and a warning that names the others."""
    lines = list(enumerate(whole(text).removesuffix("\n").split("\n"), 1))
    empty = [number for number, line in lines if not line.strip()]
    return [each for each in lines if each[1].strip()], left_out(empty, "line", "is empty", "are empty")


def too_few_left(kept: int, all_rows: int) -> list[Problem]:
    """Fatal where more than half of the rows cannot be used."""
    if not kept or 2 * kept < all_rows:
        return [Problem(None, f"{all_rows - kept} of {all_rows} rows cannot be used", fatal=True)]
    return []


def as_sequence(value: Any) -> np.ndarray | str:
    """One numeric sequence as float32 [T, F], or what keeps it from being one. Shape [T] becomes [T, 1].

    Numbers too large for float32 become infinite, which `not_finite` then names.
    """
    try:
        if isinstance(value, np.ndarray) and np.iscomplexobj(value):
            return "holds complex numbers"
        array = np.asarray(value, dtype=np.float64)
    except OverflowError:
        return "holds a number too large for any float"
    except (ValueError, TypeError):
        widths = {len(step) if isinstance(step, (list, tuple, np.ndarray)) else 0 for step in value}
        if len(widths) > 1:
            return "has steps with different numbers of features"
        return "holds something that is not a number"
    if array.ndim == 1:
        array = array[:, None]
    if array.ndim != 2:
        return f"has {array.ndim} dimensions where steps and features are two"
    with np.errstate(over="ignore"):
        return array.astype(np.float32)


def not_finite(array: np.ndarray) -> tuple[int, int, float] | None:
    """(step, feature, value), counted from 1, of the first NaN or infinity in [T, F]; None where all is finite."""
    if np.isfinite(array).all():
        return None
    step, feature = np.argwhere(~np.isfinite(array))[0]
    return int(step) + 1, int(feature) + 1, float(array[step, feature])


def check_series(
    arrays: Sequence[np.ndarray], lines: Sequence[int], unit: str, names: Sequence[str] = ()
) -> tuple[list[int], list[Problem]]:
    """Indices of sequences [T, F] that can be used, and the problems of the others. An infinity is fatal: what it stands
    for is not for a reader of files to decide. NaN is a missing value, which models fill; a feature of which there is no
    value at all is fatal. `names` are those of the features, where they have some.
    """
    problems: list[Problem] = []
    empty = [i for i, array in enumerate(arrays) if array.shape[0] == 0]
    problems += left_out([lines[i] for i in empty], unit, "has a sequence of no steps", "have a sequence of no steps")
    counts = Counter(array.shape[1] for array in arrays if array.shape[0])
    features = counts.most_common(1)[0][0] if counts else 0
    ragged = [i for i, array in enumerate(arrays) if array.shape[0] and array.shape[1] != features]
    if ragged:
        got = ", ".join(str(count) for count in sorted({arrays[i].shape[1] for i in ragged}))
        reason = f"features ({got}), not {features} as most rows have,"
        where = [lines[i] for i in ragged]
        problems += left_out(where, unit, f"has another number of {reason}", f"have another number of {reason}")
    if counts and features == 0:
        problems.append(Problem(None, "the sequences have no features", fatal=True))
    dropped = {*empty, *ragged}
    kept = [i for i in range(len(arrays)) if i not in dropped]
    for i in kept:
        if np.isinf(arrays[i]).any():
            step, feature = (int(place) + 1 for place in np.argwhere(np.isinf(arrays[i]))[0])
            where = f"step {step}, feature {feature}"
            message = f"{unit} {lines[i]} has an infinity at {where} (or a number too large for float32)"
            problems.append(Problem(lines[i], message, fatal=True))
    used, where = [arrays[i] for i in kept], [lines[i] for i in kept]
    return kept, [*problems, *_missing(used, where, unit, names), *_far_out(used, where, unit, names)]


def _called(feature: int, names: Sequence[str]) -> str:
    """A feature, counted from 1, and its name where it has one."""
    return f"feature {feature} ({names[feature - 1]!r})" if names else f"feature {feature}"


def _far_out(arrays: Sequence[np.ndarray], lines: Sequence[int], unit: str, names: Sequence[str]) -> list[Problem]:
    """A warning for each feature that has a value so great that beside it all others are one."""
    if not arrays or not arrays[0].shape[1] or not all(len(array) for array in arrays):
        return []
    greatest = np.stack([np.fmax.reduce(np.abs(array), axis=0) for array in arrays])
    greatest = np.where(np.isfinite(greatest), greatest, 0.0)
    usual = np.median(greatest, axis=0)
    problems = []
    for feature in np.flatnonzero((usual > 0) & (greatest.max(axis=0) > FAR * usual)):
        row = int(greatest[:, feature].argmax())
        step = int(np.nanargmax(np.abs(arrays[row][:, feature])))
        value = f"{arrays[row][step, feature]:.3g} at step {step + 1} of {unit} {lines[row]}"
        beside = (
            f"rows usually reach {usual[feature]:.3g}: beside that all others are the same; see whether it is a value"
        )
        message = f"{_called(int(feature) + 1, names)} is {value}, where {beside}"
        problems.append(Problem(lines[row], message, fatal=False))
    return problems


def _missing(arrays: Sequence[np.ndarray], lines: Sequence[int], unit: str, names: Sequence[str]) -> list[Problem]:
    """What is to be told of missing values."""
    holes = [np.isnan(array) for array in arrays]
    rows = [i for i, hole in enumerate(holes) if hole.any()]
    if not rows:
        return []
    first, noun = lines[rows[0]], unit.partition(" at ")[0]
    step, feature = (int(place) + 1 for place in np.argwhere(holes[rows[0]])[0])
    nowhere = np.flatnonzero(np.all([hole.all(0) for hole in holes], axis=0)) + 1
    if nowhere.size:
        one = _called(int(nowhere[0]), names)
        which = one if nowhere.size == 1 else places(nowhere.tolist(), "feature")
        verb = "has" if nowhere.size == 1 else "have"
        message = f"{which} {verb} no value in any {noun} ({unit} {first} has NaN at step {step}, feature {feature})"
        return [Problem(first, message, fatal=True)]
    where = [lines[i] for i in rows]
    share = sum(int(hole.sum()) for hole in holes) / sum(hole.size for hole in holes)
    count = f"1 {noun} has" if len(rows) == 1 else f"{len(rows)} {noun if noun == 'series' else f'{noun}s'} have"
    message = (
        f"{count} missing values, {share:.2g} of all values ({places(where, unit)}; {unit} {first} has NaN at step {step}, "
        f"feature {feature}): they are filled"
    )
    problems = [Problem(first, message, fatal=False, lines=tuple(where))]
    # rows padded to one length: from some step on nothing is there
    padded = [lines[i] for i in rows if holes[i][-1].all()]
    if 2 * len(padded) > len(rows):
        hint = (
            f"the values that are NaN stand at the end in {len(padded)} of them, as padding does: give the true lengths (in "
            ".npz an array `lengths`), or cut the sequences"
        )
        problems.append(Problem(padded[0], hint, fatal=False, lines=tuple(padded)))
    return problems


def check_rows(data: LabelledDataset, unit: str, judge_labels: bool = True) -> list[Problem]:
    """Problems of clean rows: duplicates, contradictions, odd classes, very long inputs. `fatal` where no classifier
    can come of them."""
    problems = _long(data, unit)
    if data.labels is None or not judge_labels:
        return problems
    classes = Counter(data.labels)
    problems += _classes(classes, data, unit)
    groups: dict[Hashable, list[int]] = defaultdict(list)
    for i, value in enumerate(data.inputs):
        groups[_key(value)].append(i)
    if len(groups) == 1 and len(classes) > 1:
        message = "all inputs are identical while their labels differ: there is nothing to learn from"
        return [*problems, Problem(data.lines[0], message, fatal=True)]
    extra = [i for rows in groups.values() if len({data.labels[i] for i in rows}) == 1 for i in rows[1:]]
    if extra:
        where = sorted(data.lines[i] for i in extra)
        copies = "1 row is a copy" if len(extra) == 1 else f"{len(extra)} rows are copies"
        message = f"{copies} of an earlier row ({places(where, unit)})"
        problems.append(Problem(where[0], message, False, tuple(where)))
    torn = [rows for rows in groups.values() if len({data.labels[i] for i in rows}) > 1]
    if torn:
        rows = torn[0]
        seen = sorted({data.labels[i] for i in rows})
        labels = ", ".join(repr(label) for label in seen[:3])
        times = "1 input stands" if len(torn) == 1 else f"{len(torn)} inputs stand"
        where = places([data.lines[i] for i in rows], unit)
        message = f"{times} in the data with different labels (first: {where}, labelled {labels})"
        everywhere = tuple(sorted(data.lines[i] for rows in torn for i in rows))
        problems.append(Problem(data.lines[rows[0]], message, False, everywhere))
    return problems


def _classes(classes: Counter[str], data: LabelledDataset, unit: str) -> list[Problem]:
    assert data.labels is not None
    if len(classes) == 1:
        rows = "the only row has" if len(data) == 1 else f"all {len(data)} rows have"
        message = f"{rows} the label {data.labels[0]!r}: a classifier needs at least two classes"
        return [Problem(data.lines[0], message, fatal=True)]
    single = {label for label, count in classes.items() if count == 1}
    if len(data) >= 20 and 2 * len(classes) > len(data):
        message = (
            f"the label has {len(classes)} different values in {len(data)} rows, which is more like a number or a name "
            "than a class: see that the right column is taken (--label)"
        )
        return [Problem(None, message, fatal=False)]
    if not single:
        return []
    first = [label for label in classes if label in single]
    line = data.lines[data.labels.index(first[0])]
    names = ", ".join(repr(label) for label in first[:_SHOWN]) + (" …" if len(first) > _SHOWN else "")
    subject = "1 class has" if len(single) == 1 else f"{len(single)} classes have"
    message = f"{subject} a single row, too few to learn from ({names}; first at {unit} {line})"
    lines = tuple(line for line, label in zip(data.lines, data.labels, strict=True) if label in single)
    return [Problem(line, message, False, lines)]


def unseen_labels(data: LabelledDataset, known: Collection[str], whose: str, unit: str) -> list[Problem]:
    """Labels that are not `known`: a classifier refuses them, and cannot be measured on them."""
    strange = [(line, label) for line, label in zip(data.lines, data.labels or [], strict=False) if label not in known]
    if not strange:
        return []
    labels = list(dict.fromkeys(label for _, label in strange))
    lines = tuple(line for line, _ in strange)
    shown = ", ".join(map(repr, labels[:_SHOWN])) + (" …" if len(labels) > _SHOWN else "")
    count = "1 label" if len(labels) == 1 else f"{len(labels):,} labels"
    there = ", ".join(map(repr, sorted(known)[:_SHOWN])) + (" …" if len(known) > _SHOWN else "")
    message = (
        f"{data.name} has {count} that {whose} does not have ({shown}; {places(lines, unit)}), which has {there}: no "
        "model can answer with what it has never seen"
    )
    return [Problem(lines[0], message, True, lines)]


def _long(data: LabelledDataset, unit: str) -> list[Problem]:
    limit, what = (LONG_SERIES, "steps") if data.numeric else (LONG_TEXT, "characters")
    long = [line for line, value in zip(data.lines, data.inputs, strict=True) if len(value) > limit]
    if not long:
        return []
    longest = max(map(len, data.inputs))
    rows = "1 row is" if len(long) == 1 else f"{len(long)} rows are"
    message = f"{rows} longer than {limit:,} {what} (the longest has {longest:,}; {places(long, unit)})"
    return [Problem(long[0], f"{message}: training will be slow", False, tuple(long))]


def check_documents(documents: Sequence[Text], lines: Sequence[int], unit: str) -> tuple[list[Text], list[Problem]]:
    """Documents that hold something, and the problems."""
    empty = [i for i, document in enumerate(documents) if is_blank(document)]
    if len(empty) == len(documents):
        return [], [Problem(None, "there is no text in it", fatal=True)]
    problems = left_out([lines[i] for i in empty], unit, "has an empty text", "have an empty text")
    dropped = set(empty)
    kept = [document for i, document in enumerate(documents) if i not in dropped]
    problems += too_few_left(len(kept), len(documents))
    copies = len(kept) - len(set(kept))
    if copies:
        subject = "1 document is a copy" if copies == 1 else f"{copies} documents are copies"
        problems.append(Problem(None, f"{subject} of an earlier one", fatal=False))
    damaged = sum(map(replaced, kept))
    if damaged:
        message = f"the text holds {damaged} replacement characters (�): it was damaged by an earlier conversion"
        problems.append(Problem(None, message, fatal=False))
    return kept, problems


def leakage(train: Dataset, other: Dataset) -> Problem | None:
    """Inputs of `other` that also stand in `train`, or None. Figures measured on such data flatter the model.

    Texts are compared without regard to case and spacing; documents by their lines of 40 characters and more.
    """
    if isinstance(train, TextDataset) != isinstance(other, TextDataset):
        raise DataError("Documents cannot be compared with labelled inputs", got=f"{train.name} and {other.name}")
    if isinstance(train, RowsDataset) and isinstance(other, RowsDataset):
        known = {_loose_key(value): line for value, line in reversed(list(zip(train.raw, train.lines, strict=True)))}
        shared = [
            (line, known[key])
            for value, line in zip(other.raw, other.lines, strict=True)
            if (key := _loose_key(value)) in known
        ]
        unit, total = "inputs", len(other)
    else:
        assert isinstance(train, TextDataset) and isinstance(other, TextDataset)
        candidates = list(_long_lines(other))
        known = _first_places({key for key, _ in candidates}, train)
        shared = [(line, known[key]) for key, line in candidates if key in known]
        unit, total = "long lines", len(candidates)
    if not shared:
        return None
    here, there = shared[0]
    return Problem(
        here,
        f"{len(shared)} of {total} {unit} of {other.name} also stand in {train.name} (first: line {here}, there line "
        f"{there}): figures measured on {other.name} will look better than they are. Remove them from one of the two",
        fatal=False,
    )


def _long_lines(data: TextDataset) -> Iterator[tuple[Hashable, int]]:
    return ((_loose_key(line), number) for number, line in enumerate(data.lines(), 1) if len(line) >= _LEAK_LINE)


def _first_places(keys: set[Hashable], data: TextDataset) -> dict[Hashable, int]:
    """Where lines with these keys stand first. Only they are held, however many others there are."""
    found: dict[Hashable, int] = {}
    with watch("comparing", data.characters / 1e6, "million characters") as seen:
        passed = 0
        for number, line in enumerate(data.lines(), 1):
            if len(line) >= _LEAK_LINE and (key := _loose_key(line)) in keys:
                found.setdefault(key, number)
            passed += len(line) + 1
            if passed > 1_000_000:
                seen(passed / 1e6)
                passed = 0
        seen(passed / 1e6)
    return found


def _key(value: Row) -> Hashable:
    if isinstance(value, np.ndarray):
        return value.shape, value.tobytes()
    return tuple(value) if isinstance(value, list) else value


def _loose_key(value: Row) -> Hashable:
    if isinstance(value, list):
        value = " ".join(value)
    return " ".join(value.casefold().split()) if isinstance(value, str) else _key(value)
