"""The classifier: one answer for a whole sequence, read off the last state."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, ClassVar, Literal, Self

import numpy as np
import torch
import torch.nn.functional as F
from pydantic import Field
from torch import Tensor, nn

from recurra import kernels
from recurra.cells import Symbols
from recurra.config import Config
from recurra.data.batches import Batch, BucketFeed, Feed, collate
from recurra.data.codecs import CODEC_FILE, LabelCodec, SeriesCodec, codecs_text, load_codecs
from recurra.data.datasets import LabelledDataset
from recurra.data.letters import Letters
from recurra.data.text_codec import TOKENIZER_FILE, TextCodec
from recurra.errors import DataError, UsageError
from recurra.layers import Spelling, Stack, StackConfig, embedded_dropout, fixed_dropout, pooling
from recurra.models.task import Answer, Task, batch_first, embedding, time_first
from recurra.state import State, check_like, state_class

LETTER = 32
"""Numbers that a character of a word is embedded in."""


@state_class
class ClassifierState:
    """The stack's state, and summary[B, S]: what the outputs so far come to. The answer is read off the summary."""

    stack: State
    summary: Tensor


class ClassifierConfig(Config):
    """`classes` to choose from; inputs are tokens (`vocabulary`, `embedding`) or numbers (`features` a step).

    With `letters` characters, words come with what they are spelled like beside them, in `spelling` numbers.

    `summary`: "last" answers from the last step alone, "max" from the greatest value that each unit had so far, "attention"
    from a weighted mean over all steps. `class_weights`: how much a row of each class counts in training, or None for one.

    `consistency`: each training row goes through twice, with other dropout, and so much of the distance between its two
    answers is added to its loss (Liang et al. 2021, R-Drop).
    """

    later = frozenset({"class_weights", "consistency", "letters", "spelling"})

    stack: StackConfig = StackConfig()
    classes: int = Field(gt=0)
    vocabulary: int | None = None
    features: int | None = None
    embedding: int = Field(default=128, gt=0, le=1 << 20)
    letters: int | None = Field(default=None, gt=0)
    spelling: int = Field(default=64, gt=0, le=1 << 20)
    summary: Literal["last", "max", "attention"] = "last"
    class_weights: tuple[float, ...] | None = None
    consistency: float = Field(default=0.0, ge=0)
    dropout_tokens: float = Field(default=0.0, ge=0, lt=1)
    dropout_inputs: float = Field(default=0.0, ge=0, lt=1)
    dropout_outputs: float = Field(default=0.0, ge=0, lt=1)


class Classifier(Task[ClassifierConfig]):
    """Tokens[B, T] (or [B, T, 1 + W] with letters) or numbers[B, T, F] -> logits[B, classes] after the last valid step."""

    kind: ClassVar[str] = "classify"
    best: ClassVar[tuple[str, bool]] = ("accuracy", True)

    def __init__(
        self,
        config: ClassifierConfig,
        labels: LabelCodec,
        codec: TextCodec | SeriesCodec,
        letters: Letters | None = None,
    ) -> None:
        super().__init__()
        if len(labels.labels) != config.classes:
            raise UsageError("The labels do not fit", got=f"{len(labels.labels)} labels", expected=config.classes)
        self.config = config
        self.labels = labels
        self.codec = codec
        if (None if letters is None else len(letters.parts)) != config.letters:
            got = "none" if letters is None else len(letters.parts)
            raise UsageError("The letters do not fit", got=got, expected=config.letters or "none")
        self.letters = letters
        self.spelling: Spelling | None = None
        if isinstance(codec, TextCodec):
            if config.vocabulary != codec.size:
                raise UsageError("The vocabulary does not fit", got=f"{codec.size} tokens", expected=config.vocabulary)
            self.embedding = embedding(codec.size, config.embedding)
            width = config.embedding
            if letters is not None:
                if codec.level != "words":
                    raise UsageError("Letters are beside words", got=f"a vocabulary of {codec.level}")
                self.spelling = Spelling(len(letters.parts), LETTER, config.spelling)
                width += config.spelling
        else:
            if config.features != codec.features:
                raise UsageError("The features do not fit", got=f"{codec.features} a step", expected=config.features)
            self.embedding = None
            width = codec.features
        self.stack = Stack.build(width, config.stack)
        self.causal = self.stack.causal
        self.pooling = pooling(config.summary, self.stack.hidden, causal=self.causal)
        self.head = nn.Parameter(torch.empty(config.classes, self.stack.hidden))
        nn.init.xavier_uniform_(self.head)
        self.bias = nn.Parameter(torch.zeros(config.classes))

    def initial_state(self, batch: int) -> ClassifierState:
        return ClassifierState(self.stack.initial_state(batch), self.bias.new_zeros(batch, self.pooling.size))

    def _run(
        self, inputs: Tensor, state: Any, lengths: Tensor | None, resets: Tensor | None, keep: bool
    ) -> tuple[Tensor, ClassifierState, dict[str, Tensor]]:
        config, resets = self.config, time_first(resets)
        if self.embedding is None:
            x = inputs.transpose(0, 1)
        else:
            table = embedded_dropout(self.embedding, config.dropout_tokens, self.training)
            x = self._spelled(inputs.transpose(0, 1), table) if self.spelling is not None else Symbols(table, inputs.T)
        x = fixed_dropout(x, config.dropout_inputs, self.training)
        if not isinstance(state, ClassifierState):
            check_like(state, self.initial_state(inputs.shape[0]))
        if keep:
            hidden, after, inner = self.stack.trace(x, state.stack, lengths, resets)
        else:
            hidden, after = self.stack(x, state.stack, lengths, resets)
            inner = {}
        summary = self._summarise(hidden, state.summary, lengths, resets)
        dropped = fixed_dropout(self.pooling.read(summary)[None], config.dropout_outputs, self.training)[0]
        return kernels.linear(dropped, self.head, self.bias), ClassifierState(after, summary), batch_first(inner)

    def _spelled(self, tokens: Tensor, table: Tensor) -> Tensor:
        """tokens[T, B, 1 + W], a word and its characters -> [T, B, E + S]."""
        assert self.spelling is not None
        return torch.cat([F.embedding(tokens[..., 0], table), self.spelling(tokens[..., 1:])], dim=2)

    def _summarise(self, hidden: Tensor, before: Tensor, lengths: Tensor | None, resets: Tensor | None) -> Tensor:
        """hidden[T, B, H] and the summary before it -> the summary after it; a row without steps keeps its own."""
        steps, batch = hidden.shape[:2]
        if steps == 0:
            return before.clone()
        ends = torch.full((batch,), steps, device=hidden.device) if lengths is None else lengths
        return self.pooling(hidden, before, ends, resets)

    # ---- between raw things and tensors

    def feed(
        self,
        dataset: LabelledDataset,
        *,
        rows: int,
        steps: int,
        training: bool,
        seed: int = 0,
        store: Path | None = None,
    ) -> Feed:
        targets = None
        if dataset.labels is not None:
            targets = torch.tensor([self.labels.encode(label) for label in dataset.labels], dtype=torch.int64)
        return BucketFeed(self._rows(dataset.inputs), targets, rows, seed=seed, shuffle=training)

    def encode(self, raw: Sequence[Any]) -> Batch:
        return collate(self._rows(raw))

    def _rows(self, raw: Sequence[Any]) -> list[Tensor]:
        if isinstance(self.codec, TextCodec):
            for item in raw:
                if not isinstance(item, str):
                    raise DataError("This classifier reads text", got=type(item).__name__, expected="strings")
            encoded = [torch.tensor(ids, dtype=torch.int64) for ids in self.codec.encode_many(list(raw))]
            if self.letters is None:
                return encoded
            spelled = (torch.from_numpy(self.letters.encode(self.codec.words_of(text))) for text in raw)
            return [torch.cat([ids[:, None], parts], dim=1) for ids, parts in zip(encoded, spelled, strict=True)]
        return [torch.from_numpy(self.codec.encode(row)).to(self.bias.dtype) for row in raw]

    def is_one(self, raw: Any) -> bool:
        if isinstance(self.codec, TextCodec):
            return isinstance(raw, str)
        # [T, F]; with one feature a table is many sequences [N, T], as `fit` reads it
        return isinstance(raw, np.ndarray) and raw.ndim == 2 and raw.shape[1] == self.codec.features > 1

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
        return F.cross_entropy(outputs, targets, weight, reduction="sum")

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
        stack = self.config.stack
        words = (
            {"vocabulary": self.config.vocabulary, "level": self.codec.level}
            if isinstance(self.codec, TextCodec)
            else {}
        )
        return {
            "cell": stack.cell,
            "hidden": stack.hidden,
            "layers": stack.layers,
            "bidirectional": stack.bidirectional,
            "parameters": self.parameter_count,
            **words,
            "labels": list(self.labels.labels),
        }


def _targets(batch: Batch) -> Tensor:
    return batch.answers("These rows have no labels", expected="a label for each row")


def _distance(one: Tensor, other: Tensor) -> Tensor:
    """How far two answers for the same rows lie apart: the mean of both Kullback-Leibler divergences, in nats, summed."""
    one, other = one.log_softmax(dim=-1), other.log_softmax(dim=-1)
    ahead = F.kl_div(one, other, reduction="sum", log_target=True)
    return (ahead + F.kl_div(other, one, reduction="sum", log_target=True)) / 2
