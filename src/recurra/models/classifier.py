"""The classifier: one answer for a whole sequence, one of the labels it was trained with."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any, ClassVar, Self

import torch
import torch.nn.functional as F
from pydantic import Field
from torch import Tensor

from recurra.config import Config
from recurra.data.batches import Batch
from recurra.data.codecs import CODEC_FILE, LabelCodec, codecs_text, load_codecs
from recurra.data.datasets import LabelledDataset
from recurra.data.letters import Letters
from recurra.data.sequence_codec import SeriesCodec
from recurra.data.text_codec import TOKENIZER_FILE, TextCodec
from recurra.errors import UsageError
from recurra.layers import NGrams, NGramsState
from recurra.layers.ngrams import MOST_LINES
from recurra.models.task import Answer, time_first
from recurra.models.whole import ClassifierState, Codec, Whole, WholeConfig
from recurra.state import State, check_like, state_class
from recurra.wide import widened

__all__ = ["Classifier", "ClassifierConfig", "ClassifierState", "NGramsConfig"]


@state_class
class BesideState:
    """As `ClassifierState`, and what the n-grams beside the network come to."""

    stack: State
    summary: Tensor
    ngrams: NGramsState


class NGramsConfig(Config):
    """N-grams of up to `longest` tokens, in a table of so many `lines`: `layers.NGrams`."""

    longest: int = Field(default=2, gt=0, le=8)
    lines: int = Field(gt=0, le=MOST_LINES)


class ClassifierConfig(WholeConfig):
    """`classes` to choose from; how sequences are read is told in `WholeConfig`.

    `class_weights`: how much a row of each class counts in training, or None for one.

    `consistency`: each training row goes through twice, with other dropout, and so much of the distance between its two
    answers is added to its loss (Liang et al. 2021, R-Drop).

    `smoothing`: so much of each training answer is shared out over all classes (Szegedy et al. 2016).

    `ngrams`: a linear model of n-grams stands beside the network, fitted apart from it (`fitting.ngrams`). The logits are
    those of both, each times its share; in training the network stands alone.
    """

    later = WholeConfig.later | {"class_weights", "consistency", "smoothing", "ngrams"}

    classes: int = Field(gt=0)
    class_weights: tuple[float, ...] | None = None
    consistency: float = Field(default=0.0, ge=0)
    smoothing: float = Field(default=0.0, ge=0, lt=1)
    ngrams: NGramsConfig | None = None


class Classifier(Whole[ClassifierConfig]):
    """Tokens[B, T] (or [B, T, 1 + W] with letters) or numbers[B, T, F] -> logits[B, classes] after the last valid step."""

    kind: ClassVar[str] = "classify"
    best: ClassVar[tuple[str, bool]] = ("accuracy", True)
    tallies: ClassVar[tuple[str, ...]] = ("ngrams.",)
    shares: Tensor

    def __init__(
        self, config: ClassifierConfig, labels: LabelCodec, codec: Codec, letters: Letters | None = None
    ) -> None:
        if len(labels.labels) != config.classes:
            raise UsageError("The labels do not fit", got=f"{len(labels.labels)} labels", expected=config.classes)
        super().__init__(config, config.classes, codec, letters)
        self.labels = labels
        self.ngrams: NGrams | None = None
        if config.ngrams is not None:
            if self.embedding is None:
                raise UsageError("N-grams are of tokens", got="numbers", fix="Leave 'ngrams' out")
            self.ngrams = NGrams(config.classes, config.ngrams.longest, config.ngrams.lines)
            # of the network and of the n-grams
            self.register_buffer("shares", torch.tensor([1.0, 0.0]))

    def initial_state(self, batch: int) -> State:
        state = super().initial_state(batch)
        if self.ngrams is None:
            return state
        assert isinstance(state, ClassifierState)
        return BesideState(state.stack, state.summary, self.ngrams.initial_state(batch))

    def _run(
        self, inputs: Tensor, state: Any, lengths: Tensor | None, resets: Tensor | None, keep: bool
    ) -> tuple[Tensor, Any, dict[str, Tensor]]:
        if self.ngrams is None:
            return super()._run(inputs, state, lengths, resets, keep)
        if not isinstance(state, BesideState):
            check_like(state, self.initial_state(inputs.shape[0]))
        of_network = ClassifierState(state.stack, state.summary)
        logits, after, inner = super()._run(inputs, of_network, lengths, resets, keep)
        tokens = inputs if self.letters is None else inputs[..., 0]
        said, ngrams = self.ngrams(tokens.T, state.ngrams, lengths, time_first(resets))
        if not self.training:
            logits = self.shares[0] * logits + self.shares[1] * said
        return logits, BesideState(after.stack, after.summary, ngrams), inner

    @contextmanager
    def sharing(self, network: float, ngrams: float) -> Iterator[None]:
        """Within it, the network and the n-grams beside it count so much."""
        before = self.shares.clone()
        self.shares.copy_(torch.tensor([network, ngrams]))
        try:
            yield
        finally:
            self.shares.copy_(before)

    def targets(self, dataset: LabelledDataset) -> Tensor | None:
        if dataset.labels is None:
            return None
        return torch.tensor([self.labels.encode(label) for label in dataset.labels], dtype=torch.int64)

    def decode(self, outputs: Tensor, *, top: int = 5) -> list[Answer]:
        """The label, and the `top` likeliest labels with their probabilities, for each row of logits[B, classes]."""
        probabilities = outputs.cpu().double().softmax(dim=-1)
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
        return {"nats": widened(total), "count": torch.tensor(count), "confusion": confusion}

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
        found = super().summary() | {"labels": list(self.labels.labels)}
        if self.ngrams is not None:
            found["ngrams"] = f"up to {self.ngrams.longest} tokens, share {float(self.shares[1]):.2g}"
        return found


def _targets(batch: Batch) -> Tensor:
    return batch.answers("These rows have no labels", expected="a label for each row")


def _distance(one: Tensor, other: Tensor) -> Tensor:
    """How far two answers for the same rows lie apart: the mean of both Kullback-Leibler divergences, in nats, summed."""
    one, other = one.log_softmax(dim=-1), other.log_softmax(dim=-1)
    ahead = F.kl_div(one, other, reduction="sum", log_target=True)
    return (ahead + F.kl_div(other, one, reduction="sum", log_target=True)) / 2
