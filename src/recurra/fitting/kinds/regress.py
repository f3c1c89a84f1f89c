"""Regression: one or more numbers for a whole sequence, of text or of numbers."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from torch import Tensor

from recurra.baselines import BaselineResult, regression_baselines
from recurra.data.checking import Problem
from recurra.data.datasets import RegressionDataset
from recurra.data.facts import unit_of
from recurra.data.letters import Letters
from recurra.data.sequence_codec import SeriesCodec
from recurra.data.target_codec import TargetCodec
from recurra.data.text_codec import TextCodec
from recurra.data.writing import default_level
from recurra.errors import DataError
from recurra.fitting.kinds.drawn import amounts
from recurra.fitting.kinds.kind import Kind, recipe_of, stack_config, that_fits, usual_space
from recurra.fitting.kinds.series import (
    SMALL,
    readable,
    reading_of,
    recipe_for,
    refuse_numbers,
    space_of_numbers,
    unreadable,
)
from recurra.fitting.kinds.space import Between, OneOf, Span
from recurra.fitting.options import FitOptions
from recurra.fitting.splits import every_nth, split_rows
from recurra.models import Regressor, RegressorConfig, RegressorEnsemble, RegressorEnsembleConfig
from recurra.training import Recipe

AnyRegressor = Regressor | RegressorEnsemble


class Regress(Kind[RegressionDataset, AnyRegressor]):
    name = "regress"
    shown = ("mse", "mae", "r2")

    def split(self, dataset: RegressionDataset, seed: int) -> tuple[RegressionDataset, RegressionDataset]:
        return split_rows(dataset, seed)

    def problems(self, train: RegressionDataset, other: RegressionDataset) -> list[Problem]:
        return _other_numbers(len(train.names), other)

    def unanswerable(self, task: AnyRegressor, dataset: RegressionDataset) -> list[Problem]:
        return [*_other_numbers(len(task.numbers.names), dataset), *unreadable(task, dataset)]

    def part(self, dataset: RegressionDataset) -> RegressionDataset:
        return every_nth(dataset)

    def build(
        self, dataset: RegressionDataset, options: FitOptions, twin_of: AnyRegressor | None = None
    ) -> tuple[AnyRegressor, Recipe]:
        if dataset.targets is None:
            raise DataError(f"{dataset.name} has no numbers to learn", expected="a number for each row")
        numbers = TargetCodec.learn(dataset.names, dataset.targets)
        return (_of_numbers if dataset.numeric else _of_texts)(dataset, numbers, options)

    def baselines(
        self, task: AnyRegressor, training: RegressionDataset, splits: Mapping[str, RegressionDataset]
    ) -> Mapping[str, list[BaselineResult]]:
        return regression_baselines(training, splits["valid"], splits.get("test"))

    def space(self, dataset: RegressionDataset, task: AnyRegressor, recipe: Recipe) -> tuple[Span, ...]:
        if dataset.numeric:
            return (*usual_space(task, recipe), *space_of_numbers(task, pictures=False))
        return (
            *usual_space(task, recipe),
            OneOf("summary", ("last", "max", "attention", "all")),
            Between("weight_drop", 0.0, 0.5),
            OneOf("level", ("characters", "words", "bpe")),
        )

    def codecs(self, task: AnyRegressor) -> dict[str, TextCodec]:
        return {"text": task.codec} if isinstance(task.codec, TextCodec) else {}

    def next_commands(self, task: AnyRegressor, where: str) -> list[str]:
        example = "FILE" if isinstance(task.codec, SeriesCodec) else '"..."'
        return [f"recurra predict {where} {example}", f"recurra evaluate {where} FILE"]

    def details(self, task: AnyRegressor, valid: RegressionDataset, sums: Mapping[str, Tensor]) -> dict[str, Any]:
        return amounts(task, valid)


def _of_numbers(dataset: RegressionDataset, numbers: TargetCodec, options: FitOptions) -> tuple[AnyRegressor, Recipe]:
    reading = reading_of(
        [row for row in dataset.inputs if not isinstance(row, str)],
        options,
        pictures=False,
        amounts=True,
        long=dataset.long,
    )
    config = RegressorConfig.from_user(targets=len(numbers.names), **reading.settings)
    recipe = recipe_for(reading, len(dataset), options)
    if reading.several is None:
        return readable(that_fits(lambda: Regressor(config, numbers, reading.codec)), dataset), recipe
    several = RegressorEnsembleConfig.from_user(member=config, **reading.several)
    task = that_fits(lambda: RegressorEnsemble(several, lambda: Regressor(config, numbers, reading.codec)))
    readable(task, dataset).learn(dataset)
    return task, recipe


def _of_texts(dataset: RegressionDataset, numbers: TargetCodec, options: FitOptions) -> tuple[AnyRegressor, Recipe]:
    refuse_numbers(options)
    texts = [row for row in dataset.inputs if isinstance(row, str)]
    level = options.level or default_level(texts)
    codec = TextCodec.learn(
        texts, level, size=options.vocabulary, minimum=2, lowercase=level == "words", normalise=options.normalise
    )
    words = {word for text in texts for word in codec.words_of(text)} if level == "words" else set()
    letters = Letters.learn(words) if words else None
    dropout = 0.5 if options.dropout is None else options.dropout
    config = RegressorConfig.from_user(
        targets=len(numbers.names),
        stack=stack_config(options, hidden=128, dropout=dropout),
        vocabulary=codec.size,
        embedding=128,
        letters=None if letters is None else len(letters.parts),
        summary=options.summary or "all",
        dropout_tokens=0.1,
        dropout_inputs=dropout,
        dropout_outputs=dropout,
    )
    small = len(dataset) < SMALL
    rows = options.rows or (16 if small else 32)
    epochs = options.epochs
    if epochs is None and options.minutes is None:
        epochs = max(8, min(40, round(2000 * rows / len(dataset))))
    rate = 4e-3 if small else 2e-3
    recipe = recipe_of(options, minutes=options.minutes, epochs=epochs, rate=rate, rows=rows, weight_decay=0.05)
    if options.members is None or options.members == 1:
        return that_fits(lambda: Regressor(config, numbers, codec, letters)), recipe
    several = RegressorEnsembleConfig.from_user(member=config, members=options.members)
    return that_fits(lambda: RegressorEnsemble(several, lambda: Regressor(config, numbers, codec, letters))), recipe


def _other_numbers(count: int, dataset: RegressionDataset) -> list[Problem]:
    if not dataset.names or len(dataset.names) == count:
        return []
    unit = unit_of(dataset.name)
    message = f"{dataset.name} has {len(dataset.names)} numbers a {unit}, and {count} are learnt"
    return [Problem(None, message, fatal=True)]
