"""The classifier: one answer for a whole sequence, one of the labels it was trained with."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any, ClassVar, Self

import torch
import torch.nn.functional as F
from pydantic import Field
from torch import Tensor

from recurra.data.batches import Batch
from recurra.data.codecs import CODEC_FILE, LabelCodec, codecs_text, load_codecs
from recurra.data.datasets import LabelledDataset
from recurra.data.letters import Letters
from recurra.data.sequence_codec import SeriesCodec
from recurra.data.text_codec import TOKENIZER_FILE, TextCodec
from recurra.errors import UsageError
from recurra.models.task import Answer
from recurra.models.whole import ClassifierState, Codec, Whole, WholeConfig

__all__ = ["Classifier", "ClassifierConfig", "ClassifierState"]


class ClassifierConfig(WholeConfig):
    """`classes` to choose from; how sequences are read is told in `WholeConfig`.

    `class_weights`: how much a row of each class counts in training, or None for one.

    `consistency`: each training row goes through twice, with other dropout, and so much of the distance between its two
    answers is added to its loss (Liang et al. 2021, R-Drop).

    `smoothing`: so much of each training answer is shared out over all classes (Szegedy et al. 2016).
    """

    later = WholeConfig.later | {"class_weights", "consistency", "smoothing"}

    classes: int = Field(gt=0)
    class_weights: tuple[float, ...] | None = None
    consistency: float = Field(default=0.0, ge=0)
    smoothing: float = Field(default=0.0, ge=0, lt=1)


class Classifier(Whole[ClassifierConfig]):
    """Tokens[B, T] (or [B, T, 1 + W] with letters) or numbers[B, T, F] -> logits[B, classes] after the last valid step."""

    kind: ClassVar[str] = "classify"
    best: ClassVar[tuple[str, bool]] = ("accuracy", True)

    def __init__(
        self, config: ClassifierConfig, labels: LabelCodec, codec: Codec, letters: Letters | None = None
    ) -> None:
        if len(labels.labels) != config.classes:
            raise UsageError("The labels do not fit", got=f"{len(labels.labels)} labels", expected=config.classes)
        super().__init__(config, config.classes, codec, letters)
        self.labels = labels

    def targets(self, dataset: LabelledDataset) -> Tensor | None:
        if dataset.labels is None:
            return None
        return torch.tensor([self.labels.encode(label) for label in dataset.labels], dtype=torch.int64)

    def decode(self, outputs: Tensor, *, top: int = 5) -> list[Answer]:
        """The label, and the `top` likeliest labels with their probabilities, for each row of logits[B, classes]."""
        probabilities = outputs.double().softmax(dim=-1)
        values, places = probabilities.topk(min(top, probabilities.shape[1]), dim=-1)
        answers = []
        for row_places, row_values in zip(places.tolist(), values.tolist(), strict=True):
            named = [self.labels.decode(place) for place in row_places]
            answers.append({"label": named[0], "probabilities": dict(zip(named, row_values, strict=True))})
        return answers

    # ---- what is optimised and measured

    def loss(self, outputs: Tensor, batch: Batch) -> tuple[Tensor, int]:
        targets = _targets(batch)
        return F.cross_entropy(outputs, targets, reduction="sum"), len(targets)

    def step_loss(self, batch: Batch, state: Any = None) -> tuple[Tensor, int, Any]:
        targets = _targets(batch)
        outputs, after = self(batch.inputs, state, batch.lengths, batch.resets)
        loss = self._weighted(outputs, targets)
        if self.training and self.config.consistency:
            again, _ = self(batch.inputs, state, batch.lengths, batch.resets)
            loss = (loss + self._weighted(again, targets)) / 2 + self.config.consistency * _distance(outputs, again)
        return loss, len(targets), after

    def _weighted(self, outputs: Tensor, targets: Tensor) -> Tensor:
        weights = self.config.class_weights
        weight = None if weights is None else outputs.new_tensor(weights)
        smoothing = self.config.smoothing if self.training else 0.0
        return F.cross_entropy(outputs, targets, weight, reduction="sum", label_smoothing=smoothing)

    def measure(self, outputs: Tensor, batch: Batch) -> dict[str, Tensor]:
        total, count = self.loss(outputs, batch)
        classes = self.config.classes
        cells = _targets(batch) * classes + outputs.argmax(dim=-1)
        confusion = torch.bincount(cells, minlength=classes * classes).view(classes, classes)
        return {"nats": total.double(), "count": torch.tensor(count), "confusion": confusion}

    def metrics(self, sums: Mapping[str, Tensor]) -> dict[str, float]:
        from recurra.data.measures import accuracy_and_f1

        measured = accuracy_and_f1(sums["confusion"].numpy())
        return {"loss": float(sums["nats"]) / float(sums["count"]), **measured}

    # ---- on disk

    def codec_texts(self) -> dict[str, str]:
        if isinstance(self.codec, SeriesCodec):
            return {CODEC_FILE: codecs_text(self.labels, self.codec)}
        return {CODEC_FILE: codecs_text(self.labels, letters=self.letters), TOKENIZER_FILE: self.codec.to_text()}

    @classmethod
    def from_folder(cls, config: Any, folder: Path) -> Self:
        codecs = load_codecs(folder)
        codec = TextCodec.load(folder) if codecs.series is None else codecs.series
        return cls(ClassifierConfig.from_file(config, str(folder)), codecs.labels, codec, codecs.letters)

    def summary(self) -> dict[str, Any]:
        return super().summary() | {"labels": list(self.labels.labels)}


def _targets(batch: Batch) -> Tensor:
    return batch.answers("These rows have no labels", expected="a label for each row")


def _distance(one: Tensor, other: Tensor) -> Tensor:
    """How far two answers for the same rows lie apart: the mean of both Kullback-Leibler divergences, in nats, summed."""
    one, other = one.log_softmax(dim=-1), other.log_softmax(dim=-1)
    ahead = F.kl_div(one, other, reduction="sum", log_target=True)
    return (ahead + F.kl_div(other, one, reduction="sum", log_target=True)) / 2
