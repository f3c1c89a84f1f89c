"""The forecaster: reads a series row by row, and after any row tells its next values with intervals.

What it is trained on, what is optimised and measured, and the folder; the network is in `forecast_network`.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, ClassVar, Self

import numpy as np
import torch
from torch import Tensor

from recurra.data.batches import Batch, Feed, collate
from recurra.data.forecast_measures import forecast_metrics, window_sums
from recurra.data.series import Series, SeriesDataset
from recurra.data.series_codec import SERIES_FILE, ForecastCodec
from recurra.data.windows import OriginFeed, Stretch, WindowBatch, WindowFeed
from recurra.models.anchors import states_at
from recurra.models.forecast_network import CHUNK, ForecastNetwork
from recurra.models.forecasting import (
    ForecasterConfig,
    ForecasterState,
    answer_of,
    losses_of,
    quantiles_of,
)
from recurra.models.task import Answer
from recurra.wide import widened

WARM = 64
"""Rows of a training stretch before its first forecast, where there are so many."""
ANCHORS, APART = 16, 12
"""Forecasts of a training stretch at most, where the state is carried, and the rows between two of them at the least."""


class Forecaster(ForecastNetwork):
    """Rows[B, T, F] -> forecast[B, H, 1 + P] after the last valid row: the mean, and the quantiles at `PROBABILITIES`.

    A row is the value, the number of its series (-1: one that training has not seen), and the standardised columns beside it.
    """

    kind: ClassVar[str] = "forecast"
    best: ClassVar[tuple[str, bool]] = ("loss", False)
    streams: ClassVar[bool] = False
    unstreamed: ClassVar[str] = (
        "All figures are measured as it will be streamed: the state goes on over all rows of a series."
    )
    finished_on: tuple[str, float] | None = None
    """The digest of the set that the intervals were corrected on, and as how many errors it counts, while that is known."""

    # ---- between raw things and tensors

    @torch.no_grad()
    def answer(
        self, batch: Batch, state: Any = None, *, top: int = 5, ahead: Tensor | None = None, **choices: Any
    ) -> tuple[list[Answer], Any]:
        """As of every task; ahead[B, H, K] is what is known ahead."""
        self._check_asked(top, choices)
        was_training = self.training
        self.eval()
        try:
            outputs, state = self.read(batch, state, ahead)
        finally:
            self.train(was_training)
        return self.decode(outputs, top=top), state

    def feed(
        self, dataset: SeriesDataset, *, rows: int, steps: int, training: bool, seed: int = 0, store: Path | None = None
    ) -> Feed:
        from recurra.data.stretches import stretches

        config, dtype = self.config, self.head_bias.dtype
        self.codec.check(dataset)
        if training:
            parts = stretches(dataset, self.codec, config.horizon, training=True)
            context = config.lookback or max(steps, config.kept)
            warm = min(max(WARM, config.segment), context // 2)
            apart = config.segment * -(-APART // config.segment)
            anchors = 1 if config.lookback is not None else max(1, min(ANCHORS, (context - warm) // apart))
            return WindowFeed(
                parts, config.block, rows=rows, context=context, anchors=anchors, apart=apart, seed=seed, warm=warm,
                dtype=dtype,
            )  # fmt: skip
        return self.feed_of(stretches(dataset, self.codec, config.horizon, training=False), rows)

    def feed_of(self, parts: Sequence[Stretch], rows: int) -> OriginFeed:
        """All forecasts of some stretches, for measuring."""
        config = self.config
        chunk = CHUNK if config.lookback is None else 256
        return OriginFeed(
            parts, config.horizon, lookback=config.lookback, rows=min(rows, 16), chunk=chunk, dtype=self.head_bias.dtype
        )

    def _encoded(self, raw: Sequence[Any]) -> Batch:
        return collate([self._rows_of(one) for one in raw])

    def _rows_of(self, raw: Any) -> Tensor:
        rows = self.codec.rows(raw) if isinstance(raw, Series) else self.codec.rows_of(raw)
        return torch.from_numpy(rows).to(self.head_bias.dtype)

    def is_one(self, raw: Any) -> bool:
        return isinstance(raw, Series) or (isinstance(raw, np.ndarray) and raw.ndim == 1)

    def decode(self, outputs: Tensor, *, top: int = 5) -> list[Answer]:
        """The mean, and the bounds that hold 80 and 95 of 100 values, for each future row."""
        return [answer_of(row) for row in outputs.cpu().double().numpy()]

    # ---- what is optimised and measured

    def loss(self, outputs: Tensor, batch: Batch) -> tuple[Tensor, int]:
        """Of forecasts[B, H, 1 + P] as `forward` gives them: the absolute errors of the mean."""
        targets = batch.answers("These rows have no later values", expected="the values that follow")
        known = torch.isfinite(targets)
        apart = torch.where(known, outputs[..., 0] - targets, 0.0)
        return apart.abs().sum(), int(known.sum())

    def step_loss(self, batch: Batch, state: Any = None) -> tuple[Tensor, int, Any]:
        assert isinstance(batch, WindowBatch)
        begin = self._begin(batch.inputs, state)
        centres, scale, outputs, after = self.outputs_at(
            batch, begin, aligned=state is None and self._aligned(batch.apart)
        )
        targets = batch.answers("These rows have no later values", expected="the values that follow").flatten(0, 1)
        total, count = self.loss_of(centres, scale, outputs, targets[:, : self.config.block])
        return total, max(1, count), after

    def _aligned(self, apart: int) -> bool:
        return apart > 0 and apart % self.config.segment == 0

    def aims(self, centres: Tensor, scale: Tensor, targets: Tensor) -> tuple[Tensor, Tensor]:
        """targets[N, H] as the outputs are, and which of them are known."""
        known = torch.isfinite(targets)
        return (self.reader.transformed(torch.where(known, targets, 1.0)) - centres) / scale[:, None], known

    def loss_of(self, centres: Tensor, scale: Tensor, outputs: Tensor, targets: Tensor) -> tuple[Tensor, int]:
        """The sum of the losses of outputs[N, H, Q] at the targets[N, H] that are known, and how many these are."""
        aim, known = self.aims(centres, scale, targets)
        each = losses_of(self.config, outputs, aim)
        return torch.where(known, each, 0.0).sum(), int(known.sum())

    def scaled_forecasts(self, batch: WindowBatch, state: ForecasterState) -> tuple[tuple[Tensor, Tensor], Tensor]:
        """((centres[N, H], quantiles[N, H, P] not yet corrected), scale[N]) of all forecasts of a batch."""
        if self.config.block >= self.config.horizon:
            centres, scale, outputs, _ = self.outputs_at(batch, state)
            horizon = self.config.horizon
            return (centres[:, :horizon], quantiles_of(self.config, outputs[:, :horizon])), scale
        states = states_at(self, batch, state)
        centres, outputs = self._blocks(states, batch.ahead.flatten(0, 1), self.config.horizon)
        return (centres, quantiles_of(self.config, outputs)), self.reader.scale_of(states)

    def measure(self, outputs: Tensor, batch: Batch) -> dict[str, Tensor]:
        """Of forecasts[B, A, H, 1 + P] in values, against the targets of the batch."""
        assert isinstance(batch, WindowBatch)
        inputs = batch.inputs
        numbers = inputs[:, 0, 1].round().long() if inputs.shape[1] else inputs.new_full((len(inputs),), -1).long()
        return window_sums(outputs, batch, self._deviations(numbers, batch), self.codec.season)

    def _deviations(self, numbers: Tensor, batch: WindowBatch) -> Tensor:
        """What each row's errors are divided by: the deviation of its series in training, or of its own history."""
        own = batch.errors[:, 1]
        if not self.codec.scales:
            return own
        learnt = torch.tensor(self.codec.scales, dtype=own.dtype, device=numbers.device)
        return torch.where(numbers >= 0, learnt[numbers.clamp(min=0)], own)

    def step_measure(self, batch: Batch, state: Any = None, quick: bool = False) -> tuple[dict[str, Tensor], Any]:
        assert isinstance(batch, WindowBatch)
        state = self._begin(batch.inputs, state)
        values, total, count, after = self.forecasts_of(batch, state)
        sums = self.measure(values, batch)
        return sums | {"nats": widened(total), "count": torch.tensor(count)}, after

    def forecasts_of(self, batch: WindowBatch, state: ForecasterState) -> tuple[Tensor, Tensor, int, ForecasterState]:
        """(forecasts[B, A, H, 1 + P], the sum of the losses of the first block, their count, the next state)."""
        rows, most = batch.anchors.shape
        assert batch.targets is not None
        config = self.config
        first = batch.targets.flatten(0, 1)[:, : config.block]
        if config.block >= config.horizon:
            centres, scale, outputs, after = self.outputs_at(batch, state)
            total, count = self.loss_of(centres, scale, outputs, first)
            found = centres[:, : config.horizon], outputs[:, : config.horizon]
            return self._answers(found, scale).unflatten(0, (rows, most)), total, count, after
        states = states_at(self, batch, state)
        scale = self.reader.scale_of(states)
        found = self._blocks(states, batch.ahead.flatten(0, 1), config.horizon)
        total, count = self.loss_of(found[0][:, : config.block], scale, found[1][:, : config.block], first)
        after = self.advance(batch.inputs, state, batch.lengths)[2]
        return self._answers(found, scale).unflatten(0, (rows, most)), total, count, after

    @contextmanager
    def as_used(self, feed: Feed) -> Iterator[None]:
        from recurra.models.finishing import set_shares

        if not self.config.lags:
            yield
            return
        before = self.share.clone()
        set_shares(self, feed)
        try:
            yield
        finally:
            self.share.copy_(before)

    def metrics(self, sums: Mapping[str, Tensor]) -> dict[str, float]:
        return {"loss": float(sums["nats"]) / max(1.0, float(sums["count"])), **forecast_metrics(sums)}

    # ---- on disk

    def codec_texts(self) -> dict[str, str]:
        return {SERIES_FILE: self.codec.to_text()}

    @classmethod
    def from_folder(cls, config: Any, folder: Path) -> Self:
        return cls(ForecasterConfig.from_file(config, str(folder)), ForecastCodec.load(folder))

    def summary(self) -> dict[str, Any]:
        config = self.config
        parts = [
            *(["linear"] if config.lags else []),
            *(["smoothing"] if config.smoothing else []),
            "rows" if config.segment == 1 else "segments",
        ]
        return {
            "cell": config.stack.cell,
            "hidden": config.stack.hidden,
            "layers": config.stack.layers,
            "bidirectional": False,
            "parameters": self.parameter_count,
            "parts": " + ".join(parts),
            "horizon": config.horizon,
            "sees": "all that was read" if config.lookback is None else f"the last {config.lookback} rows",
            "segment": config.segment,
            "season": self.codec.season,
            "step": self.codec.step.words,
            "series": len(self.codec.names),
            "output": config.output,
        }
