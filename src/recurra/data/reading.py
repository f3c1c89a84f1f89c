"""From whatever a person has to a clean dataset, with the guess that was made and the problems that were met.

The only door to the files of this folder: opens (`sources`), guesses (`guess`), cleans and checks (`checking`).
"""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np

from recurra.data import frames, layouts, pairs, tagged
from recurra.data.checking import (
    Problem,
    as_sequence,
    check_documents,
    check_rows,
    check_series,
    left_out,
    lines_of,
    raise_fatal,
    too_few_left,
)
from recurra.data.columns import Columns, Guess, is_missing, label_text, without_label
from recurra.data.datasets import Dataset, LabelledDataset, TextDataset
from recurra.data.guess import NO_CHOICES, check_task, choose
from recurra.data.layouts import FrameChoices
from recurra.data.pieces import is_blank
from recurra.data.sources import Documents, open_source
from recurra.data.tables import Table
from recurra.errors import DataError


def read(
    source: Any,
    *,
    task: str | None = None,
    text: str | None = None,
    label: str | None = None,
    tags: str | None = None,
    target: str | None = None,
    need_labels: bool = True,
    judged: bool = True,
    name: str | None = None,
    lenient: bool = False,
    frame: FrameChoices = NO_CHOICES,
) -> tuple[Dataset, Guess, list[Problem]]:
    """Read a source into a dataset.

    `source`: a path (.txt, .tsv, .csv, .jsonl, also with .gz, .parquet, .npz), a pandas, polars or pyarrow frame, a
    dict of columns, an iterable of texts (documents) or of (input, label) pairs, or a tuple (inputs, labels) where
    inputs are texts, arrays [T, F] or [T], or one array [N, T, F] or [N, T].

    `frame` is what a person said of a table of series to forecast.

    `task` (language, classify, tag, translate, forecast) and the columns, by name (`text` with the inputs, `label`, `tags`,
    `target` with the answers), are guessed where they are not given. Without `need_labels`, for prediction, inputs need no
    answers. Without `judged`, for measuring, rows that lack theirs are left out, but it is no question whether one can learn
    from the others, and data without any answers are read too.

    The problems returned are warnings: rows that cannot be used are left out and named. Raises `DataError` listing
    what makes the data unusable (NaN, one class, more than half of the rows lost), unless `lenient`: then these problems
    are returned too, the fatal ones first. `UsageError` for an unknown task, `EnvironmentFailure` where the machine refuses
    to read the file.
    """
    check_task(task)
    columns = Columns(text, label, tags, target)
    raw = open_source(source, name=name, task=task, wanted=[*columns.named, *frame.named])
    if isinstance(raw, Table) and not raw.lines:  # nothing is left to guess from
        raise_fatal([*too_few_left(0, raw.lost), *(replace(problem, fatal=True) for problem in raw.problems)], raw.name)
    found = choose(raw, task, columns, need_labels and judged, frame)
    if found.task == layouts.TASK:
        if not isinstance(raw, Table):
            raise DataError(
                f"{raw.name} is plain text", expected="a table with a column of dates and columns of numbers"
            )
        dataset, problems = frames.read(raw, layouts.layout_of(raw, frame), frame)
    else:
        dataset, problems = _READERS[found.task](raw, found, need_labels, judged)
    problems.sort(key=lambda problem: (not problem.fatal, problem.line or 0))
    if not lenient:
        raise_fatal(problems, dataset.name)
    return dataset, found, problems


def _language(
    raw: Documents | Table, found: Guess, need_labels: bool, judged: bool
) -> tuple[TextDataset, list[Problem]]:
    if isinstance(raw, Documents):
        kept, problems = check_documents(raw.documents, range(1, len(raw.documents) + 1), "document")
        return TextDataset(kept, raw.name), problems
    assert found.text is not None
    texts, problems = _texts(raw.columns[found.text], raw)
    kept, more = check_documents([text or "" for text in texts], raw.lines, raw.unit)
    rows = [line for line, text in zip(raw.lines, texts, strict=True) if not is_blank(text or "")]
    return TextDataset(kept, raw.name, rows), [*raw.problems, *problems, *more]


def _classify(
    raw: Documents | Table, found: Guess, need_labels: bool, judged: bool
) -> tuple[LabelledDataset, list[Problem]]:
    table, column = (raw, found.text) if isinstance(raw, Table) else (_lines_as_rows(raw), "text")
    assert column is not None
    values = table.columns[column]
    inputs: list[Any]
    if _holds_series(values):
        inputs, problems = _series(values, table)
    else:
        inputs, problems = _texts(values, table)
        empty = [i for i, value in enumerate(inputs) if value is not None and not value.strip()]
        problems += left_out([table.lines[i] for i in empty], table.unit, "has an empty text", "have an empty text")
        for i in empty:
            inputs[i] = None
    answers = None if found.label is None else table.columns[found.label]
    labels = None if answers is None else list(map(label_text, answers))
    if labels is not None and answers is not None:
        missing = [i for i, value in enumerate(labels) if value is None and inputs[i] is not None]
        where = [table.lines[i] for i in missing]
        if need_labels:
            problems += without_label([answers[i] for i in missing], where, table.unit)
            for i in missing:
                inputs[i] = None
        elif missing:
            rows = "1 row has" if len(missing) == 1 else f"{len(missing)} rows have"
            problems.append(Problem(where[0], f"{rows} no label, so no labels are used", fatal=False))
            labels = None
    kept = [i for i, value in enumerate(inputs) if value is not None]
    lines = [table.lines[i] for i in kept]
    inputs = [inputs[i] for i in kept]
    if inputs and isinstance(inputs[0], np.ndarray):
        usable, more = check_series(inputs, lines, table.unit)
        problems += more
        kept, lines, inputs = ([part[i] for i in usable] for part in (kept, lines, inputs))
    clean_labels = [value for i in kept if (value := labels[i]) is not None] if labels is not None else None
    dataset = LabelledDataset(inputs, clean_labels, lines, table.name)
    problems = [*table.problems, *problems]
    too_few = too_few_left(len(kept), len(table.lines) + table.lost)
    if too_few:  # why rows were left out is then what the person needs to see
        return dataset, too_few + [replace(problem, fatal=True) for problem in problems]
    if any(problem.fatal for problem in problems):
        return dataset, problems
    return dataset, problems + check_rows(dataset, table.unit, judge_labels=need_labels and judged)


def _lines_as_rows(raw: Documents) -> Table:
    """Unlabelled inputs for prediction: the lines of a text file that hold something, or the given texts."""
    if not raw.from_file:
        return Table({"text": list(raw.documents)}, list(range(1, len(raw.documents) + 1)), raw.name)
    rows, problems = lines_of(raw.documents[0])
    return Table({"text": [line for _, line in rows]}, [i for i, _ in rows], raw.name, "line", problems=problems)


def _holds_series(values: list) -> bool:
    first = next((value for value in values if isinstance(value, (list, tuple, np.ndarray)) and len(value)), None)
    return first is not None and not isinstance(first[0], str)


def _texts(values: list, table: Table) -> tuple[list[str | None], list[Problem]]:
    """A column as texts, None where a row has nothing that can be read as text. Lists of words are joined."""
    texts: list[str | None] = []
    wrong: list[int] = []
    for line, value in zip(table.lines, values, strict=True):
        if is_missing(value):
            texts.append("")
        elif isinstance(value, str):
            texts.append(value)
        elif isinstance(value, (list, tuple, np.ndarray)) and all(isinstance(word, str) for word in value):
            texts.append(" ".join(value))
        elif isinstance(value, (int, float)):
            texts.append(label_text(value))
        else:
            texts.append(None)
            wrong.append(line)
    problems = left_out(wrong, table.unit, "has no text in its text column", "have no text in their text column")
    return texts, problems


def _series(values: list, table: Table) -> tuple[list[np.ndarray | None], list[Problem]]:
    """A column as float32 arrays [T, F], None where a row is no sequence of numbers."""
    arrays: list[np.ndarray | None] = []
    wrong: dict[str, list[int]] = {}
    for line, value in zip(table.lines, values, strict=True):
        if isinstance(value, (list, tuple, np.ndarray)):
            array = as_sequence(value)
        else:
            array = "has no sequence" if is_missing(value) else "has something else than a sequence"
        arrays.append(None if isinstance(array, str) else array)
        if isinstance(array, str):
            wrong.setdefault(array, []).append(line)
    problems = []
    for reason, lines in wrong.items():
        problems += left_out(lines, table.unit, reason, "each " + reason)
    return arrays, problems


_READERS = {"language": _language, "classify": _classify, tagged.TASK: tagged.read, pairs.TASK: pairs.read}
