"""The regressor: one or more numbers for a whole sequence."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any, ClassVar, Self

import torch
from pydantic import Field
from torch import Tensor

from recurra.data.batches import Batch
from recurra.data.codecs import CODEC_FILE, load_target_codecs, target_codecs_text
from recurra.data.datasets import RegressionDataset
from recurra.data.letters import Letters
from recurra.data.sequence_codec import SeriesCodec
from recurra.data.target_codec import TargetCodec
from recurra.data.text_codec import TOKENIZER_FILE, TextCodec
from recurra.errors import UsageError
from recurra.models.task import Answer
from recurra.models.whole import Codec, Whole, WholeConfig
from recurra.wide import moved, widened


class RegressorConfig(WholeConfig):
    """`targets` numbers to tell of each sequence; how sequences are read is told in `WholeConfig`."""

    targets: int = Field(gt=0)


class Regressor(Whole[RegressorConfig]):
    """Tokens[B, T] or numbers[B, T, F] -> numbers[B, K] after the last valid step, standardised as the training data's.

    The loss is half the squared error of standardised numbers, averaged over the K. The metrics are in the numbers' own
    units: `mse` and `mae`, averaged over the K, and `r2`, the mean over the K of the share of the variance explained.
    """

    kind: ClassVar[str] = "regress"
    best: ClassVar[tuple[str, bool]] = ("mse", False)

    def __init__(
        self, config: RegressorConfig, numbers: TargetCodec, codec: Codec, letters: Letters | None = None
    ) -> None:
        if len(numbers.names) != config.targets:
            raise UsageError("The numbers do not fit", got=f"{len(numbers.names)} numbers", expected=config.targets)
        super().__init__(config, config.targets, codec, letters)
        self.numbers = numbers

    def targets(self, dataset: RegressionDataset) -> Tensor | None:
        if dataset.targets is None:
            return None
        return torch.from_numpy(self.numbers.encode(dataset.targets)).to(self.bias.dtype)

    def decode(self, outputs: Tensor, *, top: int = 5) -> list[Answer]:
        """The numbers by name, for each row of outputs[B, K]; of a single one without a name of its own, `value`."""
        found = self.numbers.decode(outputs.cpu().double().numpy())
        return [
            {"value": row[0]} if len(row) == 1 else {"values": dict(zip(self.numbers.names, row, strict=True))}
            for row in found
        ]

    # ---- what is optimised and measured

    def loss(self, outputs: Tensor, batch: Batch) -> tuple[Tensor, int]:
        targets = _targets(batch)
        return 0.5 * (outputs - targets).square().mean(dim=-1).sum(), len(targets)

    def measure(self, outputs: Tensor, batch: Batch) -> dict[str, Tensor]:
        total, count = self.loss(outputs, batch)
        scale = moved(torch.from_numpy(self.numbers.scale), outputs.device)
        wrong = (widened(outputs) - widened(_targets(batch))) * scale
        truth = widened(_targets(batch)) * scale
        return {
            "half_squares": widened(total),
            "count": torch.tensor(count),
            "squares": wrong.square().sum(dim=0),
            "distances": wrong.abs().sum(dim=0),
            "truths": truth.sum(dim=0),
            "truth_squares": truth.square().sum(dim=0),
        }

    def metrics(self, sums: Mapping[str, Tensor]) -> dict[str, float]:
        count = float(sums["count"])
        spread = sums["truth_squares"] - sums["truths"].square() / count
        # where all truths are one number there is no variance to explain
        explained = torch.where(spread > 1e-12 * sums["truth_squares"], 1 - sums["squares"] / spread, 0.0)
        return {
            "mse": float(sums["squares"].mean()) / count,
            "mae": float(sums["distances"].mean()) / count,
            "r2": float(explained.mean()),
            "loss": float(sums["half_squares"]) / count,
        }

    # ---- on disk

    def codec_texts(self) -> dict[str, str]:
        if isinstance(self.codec, SeriesCodec):
            return {CODEC_FILE: target_codecs_text(self.numbers, self.codec)}
        return {
            CODEC_FILE: target_codecs_text(self.numbers, letters=self.letters),
            TOKENIZER_FILE: self.codec.to_text(),
        }

    @classmethod
    def from_folder(cls, config: Any, folder: Path) -> Self:
        numbers, series, letters = load_target_codecs(folder)
        codec = TextCodec.load(folder) if series is None else series
        return cls(RegressorConfig.from_file(config, str(folder)), numbers, codec, letters)

    def summary(self) -> dict[str, Any]:
        return super().summary() | {"numbers": list(self.numbers.names)}


def _targets(batch: Batch) -> Tensor:
    return batch.answers("These rows have no numbers", expected="the numbers of each row")
