"""What tasks share that answer once for a whole sequence: reading it, the stack, and what all its steps come to.

Inputs are texts (tokens, by choice with their letters) or numbers (missing values filled, by choice through convolutions).
A task of this kind adds a head, a loss and answers: the classifier, the regressor.
"""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Literal, TypeVar

import numpy as np
import torch
import torch.nn.functional as F
from pydantic import Field
from torch import Tensor, nn

from recurra import kernels
from recurra.cells import Symbols
from recurra.config import Config
from recurra.data.batches import Batch, BucketFeed, Feed, collate
from recurra.data.letters import Letters
from recurra.data.sequence_codec import SeriesCodec
from recurra.data.text_codec import TextCodec
from recurra.errors import DataError, UsageError
from recurra.layers import (
    Augmentation,
    ConvolutionConfig,
    Filling,
    Front,
    Spelling,
    Stack,
    StackConfig,
    augmented,
    embedded_dropout,
    fixed_dropout,
    pooling,
)
from recurra.models.task import Task, batch_first, embedding, time_first
from recurra.state import State, check_like, state_class

LETTER = 32
"""Numbers that a character of a word is embedded in."""


@state_class
class ClassifierState:
    """The stack's state, and summary[B, S]: what the outputs so far come to. The answer is read off the summary."""

    stack: State
    summary: Tensor


@state_class
class FrontedState:
    """The same of a network whose numbers go through parts of their own first: the tuple of the states of these."""

    front: State
    stack: State
    summary: Tensor


class WholeConfig(Config):
    """Inputs are tokens (`vocabulary`, `embedding`) or numbers (`features` a step); one answer for a whole sequence.

    With `letters` characters, words come with what they are spelled like beside them, in `spelling` numbers.

    Numbers: `missing` says what stands for a missing value (None: there must be none), `marked` whether that is told beside
    it; `convolution` what they go through before the stack, which then is told of both; `flat` makes one step of each
    sequence of `flat` steps, and `single` a step of each number; `augmentation` changes them in training.

    `summary`: "last" answers from the last step alone, "max" from the greatest value that each unit had so far, "attention"
    from a weighted mean over all steps, "all" from the last, the mean and the greatest.
    """

    later = frozenset({"letters", "spelling", "missing", "marked", "convolution", "flat", "single", "augmentation"})

    stack: StackConfig = StackConfig()
    vocabulary: int | None = None
    features: int | None = None
    embedding: int = Field(default=128, gt=0, le=1 << 20)
    letters: int | None = Field(default=None, gt=0)
    spelling: int = Field(default=64, gt=0, le=1 << 20)
    missing: Literal["previous", "zero", "mean"] | None = None
    marked: bool = False
    convolution: ConvolutionConfig | None = None
    flat: int | None = Field(default=None, gt=0)
    single: bool = False
    augmentation: Augmentation | None = None
    summary: Literal["last", "max", "attention", "all"] = "last"
    dropout_tokens: float = Field(default=0.0, ge=0, lt=1)
    dropout_inputs: float = Field(default=0.0, ge=0, lt=1)
    dropout_outputs: float = Field(default=0.0, ge=0, lt=1)


WholeT = TypeVar("WholeT", bound=WholeConfig)
Codec = TextCodec | SeriesCodec


class Whole(Task[WholeT]):
    """Tokens[B, T] (or [B, T, 1 + W] with letters) or numbers[B, T, F] -> answers[B, K] after the last valid step."""

    def __init__(self, config: WholeT, answers: int, codec: Codec, letters: Letters | None = None) -> None:
        super().__init__()
        self.config = config
        self.codec = codec
        if (None if letters is None else len(letters.parts)) != config.letters:
            got = "none" if letters is None else len(letters.parts)
            raise UsageError("The letters do not fit", got=got, expected=config.letters or "none")
        self.letters = letters
        self.spelling: Spelling | None = None
        self.front: Front | None = None
        reads_text = isinstance(codec, TextCodec)
        width = self._read_text(config, codec, letters) if reads_text else self._read_numbers(config, codec)
        self.stack = Stack.build(width, config.stack)
        self.causal = self.stack.causal
        hidden = self.stack.hidden + (0 if self.front is None else self.front.hidden)
        self.pooling = pooling(config.summary, hidden, both_ways=0 if self.causal else self.stack.hidden)
        self.head = nn.Parameter(torch.empty(answers, self.pooling.width))
        nn.init.xavier_uniform_(self.head)
        self.bias = nn.Parameter(torch.zeros(answers))

    def _read_text(self, config: WholeT, codec: TextCodec, letters: Letters | None) -> int:
        """Make what reads tokens; how wide a step of it is."""
        if config.vocabulary != codec.size:
            raise UsageError("The vocabulary does not fit", got=f"{codec.size} tokens", expected=config.vocabulary)
        self.embedding = embedding(codec.size, config.embedding)
        if letters is None:
            return config.embedding
        if codec.level != "words":
            raise UsageError("Letters are beside words", got=f"a vocabulary of {codec.level}")
        self.spelling = Spelling(len(letters.parts), LETTER, config.spelling)
        return config.embedding + config.spelling

    def _read_numbers(self, config: WholeT, codec: SeriesCodec) -> int:
        """Make what numbers go through; how wide a step of it is."""
        if config.features != codec.features:
            raise UsageError("The features do not fit", got=f"{codec.features} a step", expected=config.features)
        self.embedding = None
        width = codec.features * (config.flat or 1) if not config.single else 1
        self.front = Front.build(width, self.filling(width), config.convolution)
        return width if self.front is None else self.front.hidden

    def filling(self, width: int) -> Filling | None:
        """What fills missing values of `width` numbers a step; None where there must be none."""
        config, codec = self.config, self.codec
        if config.missing is None or not isinstance(codec, SeriesCodec):
            return None
        nothing = None if width != codec.features else (-codec.mean / codec.scale).tolist()
        return Filling(width, config.missing, marked=config.marked, nothing=nothing)

    # ---- the network

    def initial_state(self, batch: int) -> State:
        stack, summary = self.stack.initial_state(batch), self.bias.new_zeros(batch, self.pooling.size)
        if self.front is None:
            return ClassifierState(stack, summary)
        return FrontedState(self.front.initial_state(batch), stack, summary)

    def _run(
        self, inputs: Tensor, state: Any, lengths: Tensor | None, resets: Tensor | None, keep: bool
    ) -> tuple[Tensor, ClassifierState | FrontedState, dict[str, Tensor]]:
        config, resets = self.config, time_first(resets)
        if not isinstance(state, ClassifierState if self.front is None else FrontedState):
            check_like(state, self.initial_state(inputs.shape[0]))
        inner: dict[str, Tensor] = {}
        seen: Tensor | None = None
        front: Any = None
        if self.embedding is not None:
            table = embedded_dropout(self.embedding, config.dropout_tokens, self.training)
            x = self._spelled(inputs.transpose(0, 1), table) if self.spelling is not None else Symbols(table, inputs.T)
        else:
            x = inputs.transpose(0, 1)
            if self.training and config.augmentation is not None:
                x = self._changed(x, lengths, config.augmentation)
            if self.front is not None:
                assert isinstance(state, FrontedState)
                x, front, inner = self.front.trace(x, state.front, lengths, resets)
                inner = {f"front.{name}": value for name, value in inner.items()}
                seen = x
        x = fixed_dropout(x, config.dropout_inputs, self.training)
        if keep:
            hidden, after, values = self.stack.trace(x, state.stack, lengths, resets)
            inner |= values
        else:
            hidden, after = self.stack(x, state.stack, lengths, resets)
        if seen is not None:
            hidden = torch.cat([hidden, seen], dim=-1)
        summary = self._summarise(hidden, state.summary, lengths, resets)
        dropped = fixed_dropout(self.pooling.read(summary)[None], config.dropout_outputs, self.training)[0]
        now = ClassifierState(after, summary) if self.front is None else FrontedState(front, after, summary)
        return kernels.linear(dropped, self.head, self.bias), now, batch_first(inner)

    def _changed(self, x: Tensor, lengths: Tensor | None, how: Augmentation) -> Tensor:
        """x[T, B, F] changed for training; a picture that is read as one step is changed as the rows it is made of."""
        steps = self.config.flat
        if steps is None or self.config.single:
            return augmented(x, lengths, how)
        rows = x.unflatten(2, (steps, -1)).permute(0, 2, 1, 3).flatten(0, 1)
        return augmented(rows, None, how).transpose(0, 1).flatten(1)[None]

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

    @abstractmethod
    def targets(self, dataset: Any) -> Tensor | None:
        """The answers of a dataset as a tensor whose axis 0 is its rows, or None where it has none."""

    def feed(
        self, dataset: Any, *, rows: int, steps: int, training: bool, seed: int = 0, store: Path | None = None
    ) -> Feed:
        return BucketFeed(self.rows_of(dataset.inputs), self.targets(dataset), rows, seed=seed, shuffle=training)

    def _encoded(self, raw: Sequence[Any]) -> Batch:
        return collate(self.rows_of(raw))

    def rows_of(self, raw: Sequence[Any]) -> list[Tensor]:
        """Raw inputs as tensors, one a row: tokens [T] (with letters [T, 1 + W]) or numbers [T, F]."""
        if isinstance(self.codec, TextCodec):
            for item in raw:
                if not isinstance(item, str):
                    raise DataError("This model reads text", got=type(item).__name__, expected="strings")
            encoded = [torch.tensor(ids, dtype=torch.int64) for ids in self.codec.encode_many(list(raw))]
            if self.letters is None:
                return encoded
            spelled = (torch.from_numpy(self.letters.encode(self.codec.words_of(text))) for text in raw)
            return [torch.cat([ids[:, None], parts], dim=1) for ids, parts in zip(encoded, spelled, strict=True)]
        return [self._numbers(row) for row in raw]

    def _numbers(self, row: Any) -> Tensor:
        assert isinstance(self.codec, SeriesCodec)
        config = self.config
        encoded = torch.from_numpy(self.codec.encode(row, holes=config.missing is not None)).to(self.bias.dtype)
        if config.flat is not None:
            if len(encoded) != config.flat:
                raise DataError("The sequence has another length", got=len(encoded), expected=f"{config.flat} steps")
            return encoded.reshape(1, -1)
        return encoded.reshape(-1, 1) if config.single else encoded

    def is_one(self, raw: Any) -> bool:
        if isinstance(self.codec, TextCodec):
            return isinstance(raw, str)
        # [T, F]; with one feature a table is many sequences [N, T], as `fit` reads it
        return isinstance(raw, np.ndarray) and raw.ndim == 2 and raw.shape[1] == self.codec.features > 1

    def summary(self) -> dict[str, Any]:
        """What it is; what tasks of this kind have beyond that they add."""
        config, stack = self.config, self.config.stack
        found: dict[str, Any] = {
            "cell": stack.cell,
            "hidden": stack.hidden,
            "layers": stack.layers,
            "bidirectional": stack.bidirectional,
            "parameters": self.parameter_count,
        }
        if isinstance(self.codec, TextCodec):
            return found | {"vocabulary": config.vocabulary, "level": self.codec.level}
        if config.convolution is not None:
            found["convolution"] = f"{config.convolution.layers} × {config.convolution.channels}"
        if config.missing is not None:
            found["missing values"] = config.missing + (", marked" if config.marked else "")
        return found
