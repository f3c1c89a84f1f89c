"""The tasks that `fit` knows, by the name of their models, and by what their data look like."""

from __future__ import annotations

from typing import Any

from recurra.data.datasets import (
    Dataset,
    LabelledDataset,
    PairDataset,
    RegressionDataset,
    TaggedDataset,
    TextDataset,
)
from recurra.data.series import SeriesDataset
from recurra.errors import DataError
from recurra.fitting.kinds.classify import Classify
from recurra.fitting.kinds.forecast import Forecast
from recurra.fitting.kinds.kind import Kind, for_one_task
from recurra.fitting.kinds.language import LEARNT, Language
from recurra.fitting.kinds.regress import Regress
from recurra.fitting.kinds.tag import Tag
from recurra.fitting.kinds.translate import Translate

_BY_DATASET: dict[type, Kind[Any, Any]] = {
    TextDataset: Language(),
    LabelledDataset: Classify(),
    RegressionDataset: Regress(),
    TaggedDataset: Tag(),
    PairDataset: Translate(),
    SeriesDataset: Forecast(),
}
KINDS: dict[str, Kind[Any, Any]] = {kind.name: kind for kind in _BY_DATASET.values()}


def kind_of(dataset: Dataset) -> Kind[Any, Any]:
    """The task that such data are for."""
    if type(dataset) not in _BY_DATASET:
        raise DataError(f"There is no model for {dataset.name} yet", got=type(dataset).__name__)
    return _BY_DATASET[type(dataset)]


__all__ = ["KINDS", "LEARNT", "Kind", "for_one_task", "kind_of"]
