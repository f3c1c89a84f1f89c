"""What translators have in common: two codecs, pairs as batches, and what is measured of what they say."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, ClassVar, Literal

import torch
import torch.nn.functional as F
from pydantic import Field
from torch import Tensor

from recurra.config import Config
from recurra.data.batches import Batch, collate
from recurra.data.text_codec import TOKENIZER_FILE, TextCodec
from recurra.data.translation_measures import scores, statistics
from recurra.errors import DataError, UsageError
from recurra.layers import StackConfig
from recurra.models.task import ConfigT, Task
from recurra.wide import widened

TARGET_FILE = "tokenizer.target.json"


class TranslationConfig(Config):
    """What both forms have: two vocabularies, and `scored`, how `bleu` cuts texts into words.

    `scored` is a tokenizer of sacrebleu: "13a" for texts with spaces, "zh" for Chinese, "char" for Japanese, "none" for
    what is cut by spaces already.
    """

    stack: StackConfig = StackConfig()
    source_vocabulary: int = Field(gt=0)
    target_vocabulary: int = Field(gt=0)
    embedding: int = Field(default=256, gt=0, le=1 << 20)
    dropout_inputs: float = Field(default=0.0, ge=0, lt=1)
    dropout_outputs: float = Field(default=0.0, ge=0, lt=1)
    scored: Literal["13a", "none", "zh", "char"] = "13a"


class Translation(Task[ConfigT]):
    """A model that reads texts and says others. In targets[B, T] of a batch what lies past the end of a row is -1."""

    kind: ClassVar[str] = "translate"
    best: ClassVar[tuple[str, bool]] = ("bleu", True)
    streams: ClassVar[bool] = False
    config: Any

    def _take(self, source: TextCodec, target: TextCodec) -> None:
        for name, codec, expected in (
            ("source", source, self.config.source_vocabulary),
            ("target", target, self.config.target_vocabulary),
        ):
            if codec.size != expected:
                raise UsageError(f"The vocabulary of the {name} does not fit", got=codec.size, expected=expected)
        self.codec, self.target_codec = source, target

    # ---- between raw things and tensors

    def _encoded(self, raw: Sequence[Any]) -> Batch:
        for item in raw:
            if not isinstance(item, str):
                raise DataError("A translator reads text", got=type(item).__name__, expected="strings")
        # as in a table, of blanks there is nothing to translate
        return collate(as_rows(self.codec, [text if text.strip() else "" for text in raw]))

    def is_one(self, raw: Any) -> bool:
        return isinstance(raw, str)

    def said(self, tokens: Sequence[int]) -> str:
        """Target tokens as a text."""
        return self.target_codec.decode(tokens).strip()

    # ---- what is measured

    def loss(self, outputs: Tensor, batch: Batch) -> tuple[Tensor, int]:
        """Over the tokens that there are, without smoothing."""
        wanted = targets_of(batch)
        total = F.cross_entropy(outputs.flatten(0, 1), wanted.flatten(), reduction="sum", ignore_index=-1)
        return total, int((wanted >= 0).sum())

    def measure(self, outputs: Tensor, batch: Batch) -> dict[str, Tensor]:
        total, count = self.loss(outputs, batch)
        right = (outputs.argmax(dim=-1) == targets_of(batch)).sum()
        return {"nats": widened(total), "count": torch.tensor(count), "right": right}

    def compared(self, said: Sequence[str], batch: Batch) -> dict[str, Tensor]:
        """The statistics of `bleu` and `chrf` of some translations beside the targets of a batch."""
        size = self.target_codec.size
        wanted = [self.said([token for token in row if 0 <= token < size]) for row in targets_of(batch).tolist()]
        found = statistics(said, wanted, self.config.scored)
        return {name: torch.from_numpy(value) for name, value in found.items()}

    def metrics(self, sums: Mapping[str, Tensor]) -> dict[str, float]:
        count = max(1.0, float(sums["count"]))
        measured = {"loss": float(sums["nats"]) / count, "accuracy": float(sums["right"]) / count}
        return {**measured, **scores({name: value.numpy() for name, value in sums.items()}, self.config.scored)}

    # ---- on disk

    def codec_texts(self) -> dict[str, str]:
        texts = {TOKENIZER_FILE: self.codec.to_text()}
        return texts if self.codec is self.target_codec else {**texts, TARGET_FILE: self.target_codec.to_text()}


def codecs_in(folder: Path, shared: bool) -> tuple[TextCodec, TextCodec]:
    """The codecs of the source and of the target in a model folder."""
    source = TextCodec.load(folder)
    return source, source if shared else TextCodec.load(folder, TARGET_FILE)


def as_rows(codec: TextCodec, texts: Sequence[str]) -> list[Tensor]:
    """Texts as tokens, a tensor each."""
    return [torch.tensor(ids, dtype=torch.int64) for ids in codec.encode_many(texts)]


def targets_of(batch: Batch) -> Tensor:
    if batch.targets is None:
        raise DataError("These rows have no translations", expected="a target for each source")
    return batch.targets
