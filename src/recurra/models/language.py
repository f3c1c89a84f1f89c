"""The language model: at each step, a distribution over the next token."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from functools import cached_property
from pathlib import Path
from typing import Any, ClassVar, Self

import torch
import torch.nn.functional as F
from pydantic import Field
from torch import Tensor, nn

from recurra import kernels
from recurra.cells import Inputs, Symbols
from recurra.config import Config
from recurra.data.batches import Batch, Feed, StreamFeed, collate
from recurra.data.datasets import TextDataset
from recurra.data.text_codec import TOKENIZER_FILE, TextCodec
from recurra.data.tokens import encode_dataset
from recurra.errors import DataError, UsageError
from recurra.layers import Stack, StackConfig, embedded_dropout, fixed_dropout
from recurra.models.task import Answer, Task, batch_first, embedding, time_first
from recurra.wide import widened

LOGITS = 1 << 25
"""Numbers that the logits of a batch are at most where they are measured; they are there some five times over."""


class LanguageModelConfig(Config):
    """`vocabulary` tokens, embedded in `embedding` numbers; `tied`: the head reuses the embedding (Press and Wolf 2017)."""

    stack: StackConfig = StackConfig()
    vocabulary: int = Field(gt=0)
    embedding: int = Field(default=128, gt=0, le=1 << 20)
    tied: bool = True
    dropout_tokens: float = Field(default=0.0, ge=0, lt=1)
    dropout_inputs: float = Field(default=0.0, ge=0, lt=1)
    dropout_outputs: float = Field(default=0.0, ge=0, lt=1)


class LanguageModel(Task[LanguageModelConfig]):
    """Tokens[B, T] -> logits[B, T, V] of the next token at each step. Its state is the stack's."""

    kind: ClassVar[str] = "language"
    best: ClassVar[tuple[str, bool]] = ("loss", False)
    separator: ClassVar[str] = "\n"

    def __init__(self, config: LanguageModelConfig, codec: TextCodec) -> None:
        super().__init__()
        if codec.size != config.vocabulary:
            raise UsageError("The vocabulary does not fit", got=f"{codec.size} tokens", expected=config.vocabulary)
        if config.stack.bidirectional:
            raise UsageError(
                "A language model cannot be bidirectional", fix="It would read the answer before giving it"
            )
        self.config = config
        self.codec = codec
        self.embedding = embedding(config.vocabulary, config.embedding)
        self.stack = Stack.build(config.embedding, config.stack)
        self.causal = self.stack.causal
        narrow = config.tied and self.stack.hidden != config.embedding
        self.narrow = nn.Parameter(torch.empty(config.embedding, self.stack.hidden)) if narrow else None
        self.head = None if config.tied else nn.Parameter(torch.empty(config.vocabulary, self.stack.hidden))
        for weight in (self.narrow, self.head):
            if weight is not None:
                nn.init.xavier_uniform_(weight)
        self.bias = nn.Parameter(torch.zeros(config.vocabulary))

    def initial_state(self, batch: int) -> Any:
        return self.stack.initial_state(batch)

    def _run(
        self, inputs: Tensor, state: Any, lengths: Tensor | None, resets: Tensor | None, keep: bool
    ) -> tuple[Tensor, Any, dict[str, Tensor]]:
        x = self._embedded(inputs)
        if keep:
            hidden, state, inner = self.stack.trace(x, state, lengths, time_first(resets))
        else:
            hidden, state = self.stack(x, state, lengths, time_first(resets))
            inner = {}
        hidden = fixed_dropout(hidden, self.config.dropout_outputs, self.training)
        if self.narrow is not None:
            hidden = kernels.linear(hidden, self.narrow)
        logits = kernels.linear(hidden, self.embedding if self.head is None else self.head, self.bias)
        return logits.transpose(0, 1), state, batch_first(inner)

    def _embedded(self, inputs: Tensor) -> Inputs:
        table = embedded_dropout(self.embedding, self.config.dropout_tokens, self.training)
        return fixed_dropout(Symbols(table, inputs.T), self.config.dropout_inputs, self.training)

    @property
    def symbols(self) -> int:
        return self.codec.size

    def kept(self) -> kernels.Kept | None:
        layers = self.stack.weights()
        head = self.embedding if self.head is None else self.head
        if layers is None or not kernels.keepable(self, layers, self.embedding, self.narrow, head, self.bias):
            return None
        heads = [(head, self.bias)] if self.narrow is None else [(self.narrow, None), (head, self.bias)]
        return kernels.Kept(self, layers, self.embedding, heads)

    # ---- between raw things and tensors

    def feed(
        self, dataset: TextDataset, *, rows: int, steps: int, training: bool, seed: int = 0, store: Path | None = None
    ) -> Feed:
        tokens = encode_dataset(dataset, self.codec, store)
        if len(tokens) < 2:
            raise DataError(
                f"{dataset.name} is too short to predict anything", got=f"{len(tokens)} tokens", expected="2 or more"
            )
        # whoever measures has the logits of a whole batch; training has not
        most = None if training else LOGITS // self.codec.size
        # training asks only for the loss, which takes an unknown token as one
        length = 1.0 if training else self.codec.unknown_length(dataset.stream("\n"))
        return StreamFeed(tokens, rows, steps, seed=seed, shift=training, most=most, unknown_length=length)

    def ids(self, dataset: TextDataset) -> Tensor:
        """All tokens of a dataset as one stream, for one that fits into memory."""
        return encode_dataset(dataset, self.codec)[:]

    def _encoded(self, raw: Sequence[Any]) -> Batch:
        rows = [torch.tensor(self.codec.encode(text), dtype=torch.int64) for text in map(_as_text, raw)]
        for place, row in enumerate(rows):
            if len(row) == 0:
                raise DataError(f"Text {place + 1} is empty", expected="at least one token to continue from")
        return collate(rows)

    def is_one(self, raw: Any) -> bool:
        return isinstance(raw, str)

    def decode(self, outputs: Tensor, *, top: int = 5) -> list[Answer]:
        """The likeliest next tokens after the last step of each row of logits[B, T, V] (or [B, V])."""
        last = outputs[:, -1] if outputs.dim() == 3 else outputs
        tokens, values = kernels.likeliest(last.detach(), min(top, last.shape[1]))
        return [
            self.answer_of(zip(row_tokens, row_values, strict=True))
            for row_tokens, row_values in zip(tokens.tolist(), values.tolist(), strict=True)
        ]

    def answer_of(self, likeliest: Iterable[tuple[int, float]]) -> Answer:
        """Tokens and their probabilities as an answer."""
        names = self._names
        return {"next": [{"token": names[token], "probability": value} for token, value in likeliest]}

    @cached_property
    def _names(self) -> list[str]:
        return [self.codec.token(token) for token in range(self.codec.size)]

    # ---- what is optimised and measured

    def loss(self, outputs: Tensor, batch: Batch) -> tuple[Tensor, int]:
        targets = _targets(batch)
        total = F.cross_entropy(outputs.flatten(0, 1), targets.flatten(), reduction="sum")
        return total, targets.numel()

    def step_loss(self, batch: Batch, state: Any = None) -> tuple[Tensor, int, Any]:
        """`loss` of `forward` without the logits: head, dropout before it and loss in one kernel."""
        inputs, targets, probability = batch.inputs, _targets(batch), self.config.dropout_outputs
        x, state = self._embedded(inputs), self._begin(inputs, state)
        hidden: Tensor
        hidden, state = self.stack(x, state, batch.lengths, time_first(batch.resets))
        mask = None
        if self.narrow is not None:
            hidden = kernels.linear(fixed_dropout(hidden, probability, self.training), self.narrow)
        elif self.training and probability > 0.0:
            # the kernel drops: the same mask that `forward` would draw, but no second copy of all outputs
            mask = fixed_dropout(torch.ones_like(hidden[:1]), probability, self.training)[0]
        head = self.embedding if self.head is None else self.head
        return kernels.cross_entropy(hidden, head, self.bias, targets.T, mask), targets.numel(), state

    def measure(self, outputs: Tensor, batch: Batch) -> dict[str, Tensor]:
        total, count = self.loss(outputs, batch)
        targets = _targets(batch)
        unknown = torch.zeros((), dtype=torch.int64) if self.codec.unknown is None else (targets == 0).sum()
        characters = self.codec.characters(targets.flatten().tolist(), batch.unknown_length)
        return {
            "nats": widened(total),
            "count": torch.tensor(count),
            "right": (outputs.argmax(dim=-1) == targets).sum(),
            "characters": torch.tensor(characters, dtype=torch.float64),
            "unknown": unknown,
            "hidden": widened(unknown) * batch.unknown_length,
        }

    def metrics(self, sums: Mapping[str, Tensor]) -> dict[str, float]:
        from recurra.data.measures import language_measures

        count = float(sums["count"])
        measured = language_measures(float(sums["nats"]), count, float(sums["characters"]), float(sums["hidden"]))
        return {**measured, "accuracy": float(sums["right"]) / count}

    # ---- on disk

    def codec_texts(self) -> dict[str, str]:
        return {TOKENIZER_FILE: self.codec.to_text()}

    @classmethod
    def from_folder(cls, config: Any, folder: Path) -> Self:
        return cls(LanguageModelConfig.from_file(config, str(folder)), TextCodec.load(folder))

    def summary(self) -> dict[str, Any]:
        stack = self.config.stack
        return {
            "cell": stack.cell,
            "hidden": stack.hidden,
            "layers": stack.layers,
            "parameters": self.parameter_count,
            "vocabulary": self.config.vocabulary,
            "level": self.codec.level,
        }


def _as_text(raw: Any) -> str:
    if not isinstance(raw, str):
        raise DataError("A language model reads text", got=type(raw).__name__, expected="a string")
    return raw


def _targets(batch: Batch) -> Tensor:
    return batch.answers("This batch has no targets", expected="the next token at each step")
