"""Translation in its simplest form: a word out for each word in, by one stack that reads the source once.

It can say a word as soon as it has read one, and nothing in another order or number: for languages (or codes, spellings,
notations) that follow one another word by word. `translator.py` has no such limit.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any, ClassVar, Literal, Self

import torch
from torch import Tensor, nn

from recurra import kernels
from recurra.cells import Symbols
from recurra.data.batches import Batch, Feed, PairFeed
from recurra.data.datasets import PairDataset
from recurra.data.text_codec import TextCodec
from recurra.errors import DataError, UsageError
from recurra.layers import Stack, fixed_dropout
from recurra.models.task import Answer, batch_first, embedding, time_first
from recurra.models.translation import Translation, TranslationConfig, as_rows, codecs_in


class WordByWordConfig(TranslationConfig):
    """`form` tells its folder from those of translators."""

    form: Literal["word-by-word"] = "word-by-word"


class WordByWord(Translation[WordByWordConfig]):
    """Source tokens[B, T] -> logits[B, T, V] of the target token at the same step. Its state is the stack's.

    A word out for each word in: so what is read next goes on from the state, as one source in pieces.
    """

    streams: ClassVar[bool] = True

    def __init__(self, config: WordByWordConfig, source: TextCodec, target: TextCodec) -> None:
        super().__init__()
        self.config = config
        self._take(source, target)
        self.embedding = embedding(source.size, config.embedding)
        self.stack = Stack.build(config.embedding, config.stack)
        self.causal = self.stack.causal
        self.head = nn.Parameter(torch.empty(target.size, self.stack.hidden))
        nn.init.xavier_uniform_(self.head)
        self.bias = nn.Parameter(torch.zeros(target.size))

    def initial_state(self, batch: int) -> Any:
        return self.stack.initial_state(batch)

    def _run(
        self, inputs: Tensor, state: Any, lengths: Tensor | None, resets: Tensor | None, keep: bool
    ) -> tuple[Tensor, Any, dict[str, Tensor]]:
        x = fixed_dropout(Symbols(self.embedding, inputs.T), self.config.dropout_inputs, self.training)
        inner: dict[str, Tensor] = {}
        if keep:
            hidden, state, inner = self.stack.trace(x, state, lengths, time_first(resets))
        else:
            hidden, state = self.stack(x, state, lengths, time_first(resets))
        hidden = fixed_dropout(hidden, self.config.dropout_outputs, self.training)
        return kernels.linear(hidden, self.head, self.bias).transpose(0, 1), state, batch_first(inner)

    def feed(
        self, dataset: PairDataset, *, rows: int, steps: int, training: bool, seed: int = 0, store: Path | None = None
    ) -> Feed:
        sources = as_rows(self.codec, dataset.sources)
        targets = None if dataset.targets is None else as_rows(self.target_codec, dataset.targets)
        for line, source, target in zip(dataset.lines, sources, targets or [], strict=False):
            if len(source) != len(target):
                raise DataError(
                    f"{dataset.name}, line {line}: word by word, both sides must be equally long",
                    got=f"{len(source)} {self.codec.level} in the source, {len(target)} in the target",
                    fix="Correct it, or leave out --form: with attention the lengths may differ",
                )
        return PairFeed(sources, targets, rows, seed=seed, shuffle=training)

    @torch.no_grad()
    def answer(self, batch: Batch, state: Any = None, *, top: int = 5, **choices: Any) -> tuple[list[Answer], Any]:
        """A translation of each source, the likeliest word at each step (there is but one), and the state after it."""
        if choices:
            raise UsageError("Word by word nothing is searched for", got=", ".join(choices), fix="Leave it out")
        was_training = self.training
        self.eval()
        try:
            outputs, state = self(batch.inputs, state, batch.lengths)
        finally:
            self.train(was_training)
        return self.decode(outputs) if batch.lengths is None else self._answers(outputs, batch.lengths.tolist()), state

    def decode(self, outputs: Tensor, *, top: int = 5) -> list[Answer]:
        return self._answers(outputs, [outputs.shape[1]] * len(outputs))

    def _answers(self, outputs: Tensor, lengths: Sequence[int]) -> list[Answer]:
        values, tokens = (found.cpu() for found in self.sayable(outputs).log_softmax(dim=-1).max(dim=-1))
        answers = []
        for row, length in enumerate(lengths):
            text, score = self.said(tokens[row, :length].tolist()), float(values[row, :length].sum())
            answers.append({"translation": text, "score": score, "best": [{"text": text, "score": score}]})
        return answers

    def sayable(self, outputs: Tensor) -> Tensor:
        """Logits without the token that stands for what it does not know."""
        unknown = self.target_codec.unknown
        place = torch.tensor([] if unknown is None else [unknown], dtype=torch.int64, device=outputs.device)
        return outputs.index_fill(-1, place, -torch.inf)

    def measure(self, outputs: Tensor, batch: Batch) -> dict[str, Tensor]:
        answers: Sequence[Answer] = (
            self.decode(outputs) if batch.lengths is None else self._answers(outputs, batch.lengths.tolist())
        )
        return {**super().measure(outputs, batch), **self.compared([each["translation"] for each in answers], batch)}

    @classmethod
    def from_folder(cls, config: Any, folder: Path) -> Self:
        return cls(WordByWordConfig.from_file(config, str(folder)), *codecs_in(folder, shared=False))

    def summary(self) -> dict[str, Any]:
        stack, config = self.config.stack, self.config
        return {
            "form": config.form,
            "cell": stack.cell,
            "hidden": stack.hidden,
            "layers": stack.layers,
            "bidirectional": stack.bidirectional,
            "parameters": self.parameter_count,
            "vocabulary": config.source_vocabulary,
            "level": self.codec.level,
            "target vocabulary": config.target_vocabulary,
            "bleu counts words by": config.scored,
        }
