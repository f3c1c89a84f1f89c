"""How sequences of numbers and pictures are read: what is filled, convolved and changed in training, for how long.

The classifier and the regressor share it. All numbers were chosen on training data, parted anew for each choice.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from recurra.data.checking import Problem, places, raise_fatal
from recurra.data.datasets import LabelledDataset, LongColumns, RegressionDataset
from recurra.data.facts import unit_of
from recurra.data.sequence_codec import SeriesCodec
from recurra.errors import DataError, UsageError
from recurra.fitting.kinds.kind import OF_NUMBERS, TaskT, recipe_of, sized, stack_config
from recurra.fitting.kinds.space import OneOf, Span
from recurra.fitting.options import FitOptions, typed
from recurra.layers import Augmentation, ConvolutionConfig, ProbesConfig
from recurra.models.ensemble import Ensemble
from recurra.models.whole import Whole
from recurra.training import Recipe

SMALL = 2000
"""Rows up to which a set of series is small: many passes, the last weights kept, several members."""
STEPS = 600
"""Steps of training of a small set, where nothing is said."""
MOST_PASSES = 400
MEMBERS = 3
"""Networks that answer together for a small set."""
MOST_PROBED = 5000
"""Rows that ridge regression on fixed convolutions is fitted to: a matrix of so many rows and columns."""
WIDTH = 9
"""Inputs in a window of a convolution."""
MOST_DILATION = 16


@dataclass(frozen=True)
class Reading:
    """How sequences are read: their codec, the settings of `WholeConfig` that follow, how many networks answer together."""

    codec: SeriesCodec
    settings: dict[str, Any]
    pictures: bool
    small: bool
    members: int
    probes: ProbesConfig | None

    @property
    def several(self) -> dict[str, Any] | None:
        """The settings of an ensemble; None where one network is all there is."""
        if self.members == 1 and self.probes is None:
            return None
        return {"members": self.members, "probes": self.probes}


def refuse_words(options: FitOptions) -> None:
    """Raise `UsageError` for what makes sense for text alone."""
    if options.level or options.vocabulary or options.normalise:
        raise UsageError("--level, --vocabulary and --normalise are for text", got="numeric sequences")
    if options.ngrams is not None:
        raise UsageError("--ngrams is for text", got="numeric sequences", fix="Leave it out")


def refuse_numbers(options: FitOptions) -> None:
    """Raise `UsageError` for what makes sense for numbers alone."""
    chosen = [typed(name, value) for name in OF_NUMBERS if (value := getattr(options, name)) is not None]
    if chosen:
        raise UsageError(f"{chosen[0]} is for numbers and pictures", got="texts", fix=f"Leave out {chosen[0]}")


def reading_of(
    arrays: Sequence[np.ndarray],
    options: FitOptions,
    *,
    pictures: bool,
    amounts: bool = False,
    long: LongColumns | None = None,
) -> Reading:
    """How these sequences [T, F] are read, by choice to tell `amounts`, which may lie in their scale; `long` are the columns
    of a table that they were gathered from.

    Raises `UsageError` for choices that make no sense for them.
    """
    refuse_words(options)
    codec = SeriesCodec.learn(arrays, alike=pictures)
    codec.long = long
    small = len(arrays) < SMALL and not pictures
    lengths = {len(array) for array in arrays}
    memory = options.cell != "feedforward"
    read = options.read or ("whole" if pictures and not memory else "rows")
    if read == "whole" and len(lengths) > 1:
        raise UsageError(
            "--read whole needs sequences of one length", got=f"lengths from {min(lengths)} to {max(lengths)}"
        )
    holes = any(np.isnan(array).any() for array in arrays)
    convolution = memory and not pictures and read == "rows" if options.convolution is None else options.convolution
    augment = read != "pixels" if options.augment is None else options.augment
    dropout = 0.2 if options.dropout is None else options.dropout
    whole = read == "whole"
    settings = {
        "stack": stack_config(
            options,
            hidden=512 if whole else 48 if small else 160 if pictures else 128,
            layers=2 if pictures else 1,
            dropout=dropout,
        ),
        "features": codec.features,
        "missing": options.missing or ("previous" if holes else None),
        "marked": holes,
        "convolution": _convolution(max(lengths), options, small) if convolution else None,
        "flat": max(lengths) if whole else None,
        "single": read == "pixels",
        "augmentation": _augmentation(codec, pictures, whole, amounts) if augment else None,
        "summary": options.summary or ("last" if whole else "all"),
        "dropout_outputs": dropout,
    }
    usual = small and memory and read == "rows"
    if options.probes and (read != "rows" or len(arrays) > MOST_PROBED):
        raise UsageError(
            "--probes is for series that are read step by step, and not too many of them",
            got=f"{len(arrays):,} rows, --read {read}", expected=f"at most {MOST_PROBED:,} rows, --read rows",
        )  # fmt: skip
    steps = round(float(np.mean([len(array) for array in arrays])))
    probes = ProbesConfig.of(steps, codec.features) if (usual if options.probes is None else options.probes) else None
    return Reading(codec, settings, pictures, small, options.members or (MEMBERS if usual else 1), probes)


def recipe_for(reading: Reading, rows: int, options: FitOptions) -> Recipe:
    """How long a model of `rows` sequences is trained, and how fast."""
    batch = options.rows or (16 if reading.small else 128 if reading.pictures else 32)
    epochs = options.epochs
    if epochs is None and options.minutes is None:
        wanted = STEPS if reading.small else 2000
        epochs = max(8, min(MOST_PASSES if reading.small else 40, round(wanted * batch / rows)))
    return recipe_of(
        options,
        minutes=options.minutes,
        epochs=epochs,
        rate=3e-3 if reading.small else 2e-3,
        rows=batch,
        weight_decay=0.05,
        average=0.98 if reading.small else 0.999 if reading.pictures else None,
        keep="last" if reading.small else "best",
    )


def unreadable(task: Any, dataset: LabelledDataset | RegressionDataset) -> list[Problem]:
    """The sequences of numbers that a model of whole sequences cannot read, and why the first of them."""
    codec = task.codec
    if not isinstance(codec, SeriesCodec) or not dataset.numeric:
        return []
    member: Whole[Any] = task.first if isinstance(task, Ensemble) else task
    config = member.config
    lines: list[int] = []
    why = ""
    for line, row in zip(dataset.lines, dataset.inputs, strict=True):
        assert isinstance(row, np.ndarray)
        usual = row.shape[1] == codec.features and (config.flat is None or len(row) == config.flat)
        if usual and codec.plain(row):
            continue
        try:
            member.rows_of([row])
        except DataError as error:
            why = why or str(error)
            lines.append(line)
    if not lines:
        return []
    unit = unit_of(dataset.name)
    many = f"1 {unit}" if len(lines) == 1 else f"{len(lines)} {unit}s"
    message = f"{many} of {dataset.name} cannot be read ({places(lines, unit)}): {why.removesuffix('.')}"
    return [Problem(lines[0], message, True, tuple(lines))]


def readable(task: TaskT, dataset: LabelledDataset | RegressionDataset) -> TaskT:
    """The task, where it can read all sequences it is to learn from. Raises `DataError` naming those it cannot."""
    raise_fatal(unreadable(task, dataset), dataset.name)
    return task


def space_of_numbers(task: Any, *, pictures: bool) -> tuple[Span, ...]:
    """What `tune` searches of how numbers are read; where networks answer together, how many of them and what beside them."""
    spans = [OneOf("summary", ("last", "max", "attention", "all")), OneOf("augment", (True, False))]
    if not pictures:
        spans.append(OneOf("convolution", (True, False)))
    if isinstance(task, Ensemble):
        spans += [OneOf("members", (1, MEMBERS)), OneOf("probes", (True, False))]
    return tuple(spans)


def _convolution(longest: int, options: FitOptions, small: bool) -> ConvolutionConfig:
    width = min(WIDTH, max(2, longest // 2))
    dilations = [1]
    while dilations[-1] < MOST_DILATION and (width - 1) * dilations[-1] * 2 < longest:
        dilations.append(dilations[-1] * 2)
    return ConvolutionConfig(
        channels=sized(options, 48 if small else 64), layers=2, widths=(width,), dilations=tuple(dilations)
    )


def _augmentation(codec: SeriesCodec, pictures: bool, whole: bool, amounts: bool) -> Augmentation | None:
    if not pictures:
        return None if whole else Augmentation(jitter=0.03, scale=0.0 if amounts else 0.1, warp=0.02)
    # what comes in at the edge is what zero was before it was standardised
    return Augmentation(shift=2, edge=float(-codec.mean[0] / codec.scale[0]))
