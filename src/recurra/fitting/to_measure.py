"""Data to measure a model on, read as it reads them, and what is to be told of them."""

from __future__ import annotations

from typing import Any

from recurra.data.checking import raise_fatal
from recurra.data.datasets import Dataset, LongColumns, TextDataset
from recurra.data.reading import read
from recurra.data.sequence_codec import SeriesCodec
from recurra.fitting.forecasting import rolling, series_in
from recurra.fitting.kinds import kind_of
from recurra.inspection.measures import plural
from recurra.models import Forecaster, Task


def long_of(task: Task) -> LongColumns | None:
    """The columns of a table with a row a step that a model was made with; None where it was made otherwise."""
    codec = getattr(task, "codec", None)
    return codec.long if isinstance(codec, SeriesCodec) else None


def to_measure(task: Task, data: Any, **columns: Any) -> tuple[Dataset, list[str]]:
    """(rows with their answers, sentences): the columns that are read, the rows left out, and how many there are.

    Whether one could learn from the rows is no question here. Where all lack their answers, `Dataset.answered` is false.
    Raises `DataError` for what the model can have no answer for.
    """
    if isinstance(task, Forecaster):
        series = rolling(task, series_in(task, data), None)
        return series, [f"Measured on {len(series)} series of {series.name}."]
    dataset, guess, problems = read(data, task=task.kind, judged=False, long=long_of(task), **columns)
    raise_fatal(kind_of(dataset).unanswerable(task, dataset), dataset.name)
    told = [f"note: {problem.message}" for problem in problems]
    if not isinstance(dataset, TextDataset):
        told = [*guess.reasons, *told, f"Measured on {plural(len(dataset), 'row')} of {dataset.name}."]
    return dataset, told
