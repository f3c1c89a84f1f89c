"""From whatever a person has to a clean dataset, with the guess that was made and the problems that were met.

The only door to the files of this folder: opens (`sources`), guesses (`guess`), cleans and checks (`checking`).
"""

from __future__ import annotations

from dataclasses import replace
from typing import Any

from recurra.data import frames, layouts, pairs, regression, tagged
from recurra.data.checking import (
    Problem,
    check_documents,
    check_rows,
    lines_of,
    raise_fatal,
    too_few_left,
)
from recurra.data.columns import Columns, Guess, without_label
from recurra.data.datasets import Dataset, LabelledDataset, LongColumns, TextDataset
from recurra.data.guess import NO_CHOICES, check_task, choose, shaped
from recurra.data.inputs import inputs_of, kept_of, named_of, texts_of
from recurra.data.layouts import FrameChoices
from recurra.data.pieces import is_blank
from recurra.data.sources import Documents, open_source
from recurra.data.tables import Table
from recurra.data.values import label_text
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
    long: LongColumns | None = None,
) -> tuple[Dataset, Guess, list[Problem]]:
    """Read a source into a dataset.

    `source`: a path (.txt, .tsv, .csv, .jsonl, .ts, IDX, also with .gz, .parquet, .npz, .npy), a pandas, polars or pyarrow
    frame, a dict of columns, an iterable of texts (documents) or of (input, label) pairs, or a tuple (inputs, labels) where
    inputs are texts, arrays [T, F] or [T], or one array [N, T, F] or [N, T].

    `frame` is what a person said of a table of series to forecast, or with a row a step; `long` are the columns of such a
    table that a model was made with.

    `task` (language, classify, regress, tag, translate, forecast) and the columns, by name (`text`, `label`, `tags`,
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
    raw, told = shaped(raw, task, columns, frame, long, need_labels, judged)
    found = choose(raw, task, columns, need_labels and judged, frame)
    found.reasons[:0] = told
    if found.task == layouts.TASK:
        if not isinstance(raw, Table):
            raise DataError(
                f"{raw.name} is plain text", expected="a table with a column of dates and columns of numbers"
            )
        assert found.layout is not None
        dataset, problems = frames.read(raw, found.layout, frame)
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
    texts, problems = texts_of(raw.columns[found.text], raw)
    kept, more = check_documents([text or "" for text in texts], raw.lines, raw.unit)
    rows = [line for line, text in zip(raw.lines, texts, strict=True) if not is_blank(text or "")]
    return TextDataset(kept, raw.name, rows), [*raw.problems, *problems, *more]


def _classify(
    raw: Documents | Table, found: Guess, need_labels: bool, judged: bool
) -> tuple[LabelledDataset, list[Problem]]:
    table, column = (raw, found.text) if isinstance(raw, Table) else (_lines_as_rows(raw), "text")
    assert column is not None
    inputs, problems = inputs_of(table, column)
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
    kept, inputs, lines, more = kept_of(inputs, table)
    problems += more
    clean_labels = [value for i in kept if (value := labels[i]) is not None] if labels is not None else None
    dataset = LabelledDataset(
        inputs, clean_labels, lines, table.name, table.pictures, named_of(kept, table), table.long
    )
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


_READERS = {
    "language": _language,
    "classify": _classify,
    regression.TASK: regression.read,
    tagged.TASK: tagged.read,
    pairs.TASK: pairs.read,
}
