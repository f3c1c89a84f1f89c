"""The forecaster: reads a series row by row, and after any row tells its next values with intervals.

A linear part reads the last values; a recurrent part, of segments or of single rows, adds what a line cannot tell. The state
holds all that a forecast needs, so a new row costs one step. Settings, state and scales are in `forecasting`.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import replace
from itertools import pairwise
from pathlib import Path
from typing import Any, ClassVar, Self

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from recurra import kernels
from recurra.cells import GRU, GRUState
from recurra.data.batches import Batch, Feed, collate
from recurra.data.forecast_measures import forecast_metrics, window_sums
from recurra.data.series import Series, SeriesDataset
from recurra.data.series_codec import SERIES_FILE, ForecastCodec
from recurra.data.windows import OriginFeed, Stretch, WindowBatch, WindowFeed
from recurra.errors import DataError, UsageError
from recurra.layers import Dilated, Stack
from recurra.models.anchors import one_phase, states_at
from recurra.models.forecasting import (
    MIDDLE,
    PROBABILITIES,
    ForecasterConfig,
    ForecasterState,
    Reader,
    Reading,
    answer_of,
    losses_of,
    quantiles_of,
)
from recurra.models.stepping import step_on
from recurra.models.task import Answer, Task
from recurra.state import check_like, map_state
from recurra.wide import widened, widest

WARM = 64
"""Rows of a training stretch before its first forecast, where there are so many."""
CHUNK = 2048
"""Rows that are read at once while measuring."""
AT_ONCE = 1 << 11
"""Forecasts that are decoded at once while measuring."""


class Forecaster(Task[ForecasterConfig]):
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
    share: Tensor
    offsets: Tensor

    def __init__(self, config: ForecasterConfig, codec: ForecastCodec) -> None:
        super().__init__()
        if (config.series, config.columns, config.ahead) != (len(codec.names), len(codec.centres), codec.ahead):
            raise UsageError(
                "The series do not fit",
                got=f"{len(codec.names)} series, {len(codec.centres)} columns, {codec.ahead} known ahead",
                expected=f"{config.series}, {config.columns}, {config.ahead}",
            )
        self.config = config
        self.codec = codec
        self.causal = True
        self.reader = Reader(config)
        hidden = config.stack.hidden
        self.embed = nn.Parameter(torch.empty(hidden, config.inputs))
        self.embed_bias = nn.Parameter(torch.zeros(hidden))
        nn.init.xavier_uniform_(self.embed)
        self.dilated = Dilated(Stack.build(hidden, config.stack), config.segment)
        self.turns = -(-config.block // config.chunk)
        width = config.embedding
        self.places = nn.Parameter(torch.randn(self.turns, width))
        self.named = nn.Parameter(torch.zeros(config.series + 1, width))
        self.decoder = GRU(2 * width, hidden)
        self.known = nn.Parameter(torch.zeros(2 * width, config.chunk * config.ahead)) if config.ahead else None
        self.head = nn.Parameter(torch.empty(config.chunk * config.outputs, hidden))
        nn.init.normal_(self.head, std=0.3 / hidden**0.5)
        self.head_bias = nn.Parameter(torch.zeros(config.chunk * config.outputs))
        if config.lags:
            self.line = nn.Parameter(torch.zeros(config.block, config.lags))
            self.line_bias = nn.Parameter(torch.zeros(config.block))
        self.register_buffer("share", torch.ones(config.block))
        self.register_buffer("offsets", torch.zeros(config.horizon, len(PROBABILITIES)))

    # ---- the network

    @property
    def stack(self) -> Stack:  # pyright: ignore[reportIncompatibleVariableOverride] (it is the dilated one's, and kept there)
        return self.dilated.stack

    def initial_state(self, batch: int) -> ForecasterState:
        config, like = self.config, self.head_bias
        level = 1 + sum(config.seasons) if config.smoothing else 0
        carried = config.lookback is None
        return ForecasterState(
            self.dilated.initial_state(batch) if carried else (),
            like.new_zeros(batch, self.stack.hidden if carried else 0),
            like.new_zeros(batch, config.kept),
            torch.full((batch,), -1, dtype=torch.int64, device=like.device),
            torch.zeros(batch, dtype=torch.int64, device=like.device),
            torch.zeros(batch, 3, dtype=widest(like.device), device=like.device),
            like.new_zeros(batch, level),
            like.new_zeros(batch, 0 if carried else config.kept, 0 if carried else config.columns),
        )

    def _run(
        self, inputs: Tensor, state: Any, lengths: Tensor | None, resets: Tensor | None, keep: bool
    ) -> tuple[Tensor, ForecasterState, dict[str, Tensor]]:
        if not isinstance(state, ForecasterState):
            check_like(state, self.initial_state(inputs.shape[0]))
        self._check_inputs(inputs)
        inner: dict[str, Tensor] = {}
        if resets is None and not keep:
            state = self.go_on(inputs, state, lengths)
        elif resets is None:
            _, _, state, inner = self.advance(inputs, state, lengths, keep=keep)
        else:
            state, inner = self._with_resets(inputs, state, lengths, resets, keep)
        return self.forecast(state), state, inner

    def _check_inputs(self, inputs: Tensor) -> None:
        if inputs.dim() != 3 or inputs.shape[2] != 2 + self.config.columns:
            raise DataError(
                "The rows have the wrong shape",
                got=tuple(inputs.shape),
                expected=f"(B, T, {2 + self.config.columns}): value, number of the series, columns beside",
            )

    def _with_resets(
        self, inputs: Tensor, state: ForecasterState, lengths: Tensor | None, resets: Tensor, keep: bool
    ) -> tuple[ForecasterState, dict[str, Tensor]]:
        """From one row at which any series begins anew to the next."""
        rows, steps = inputs.shape[:2]
        ends = torch.full((rows,), steps, device=inputs.device) if lengths is None else lengths
        valid = resets & (torch.arange(steps, device=inputs.device) < ends[:, None])
        cuts = [0, *valid.any(dim=0).nonzero().flatten().tolist(), steps]
        pieces: list[dict[str, Tensor]] = []
        for first, last in pairwise(cuts):
            if first < steps:
                begun = valid[:, first]
                state = map_state(
                    lambda leaf, new, begun=begun: torch.where(begun.reshape(-1, *(1,) * (leaf.dim() - 1)), new, leaf),
                    state, self.initial_state(rows),
                )  # fmt: skip
            left = (ends - first).clamp(0, last - first)
            _, _, state, inner = self.advance(inputs[:, first:last], state, left, keep=keep)
            pieces.append(inner)
        names = dict.fromkeys(name for piece in pieces for name in piece)
        return state, {name: torch.cat([piece[name] for piece in pieces if name in piece], dim=1) for name in names}

    def advance(
        self, inputs: Tensor, state: ForecasterState, lengths: Tensor | None = None, *, keep: bool = False
    ) -> tuple[Reading | None, Tensor | None, ForecasterState, dict[str, Tensor]]:
        """Read rows: what came to light, what the recurrent part gave after each [B, T, H] where it is carried, the state."""
        if inputs.shape[1] == 0:
            return None, None, map_state(torch.clone, state), {}
        found = self.reader(inputs, state, lengths)
        after = replace(
            state,
            values=found.values,
            series=found.last_series,
            read=found.read,
            sums=found.sums,
            level=found.level,
            columns=found.columns,
        )
        inner: dict[str, Tensor] = {}
        if keep:
            steps = torch.arange(inputs.shape[1], device=inputs.device)
            valid = steps < (len(steps) if lengths is None else lengths[:, None])
            named = {"centre": found.centre, "scale": found.scale}
            inner = {name: torch.where(valid, value, 0.0)[..., None] for name, value in named.items()}
        if self.config.lookback is not None:
            return found, None, after, inner
        segment, steps = self.config.segment, inputs.shape[1]
        windows = found.context[:, -steps - segment :].unfold(1, segment + 1, 1)
        apart = (windows[..., :-1] - found.centre[..., None]) / found.scale[..., None]
        x = self.embedded(torch.cat([apart, inputs[..., 2:]], dim=2)).transpose(0, 1).contiguous()
        if keep:
            hidden, ring, traced = self.dilated.trace(x, state.stack, lengths)
            inner |= {name: value.transpose(0, 1) for name, value in traced.items()}
        else:
            hidden, ring = self.dilated(x, state.stack, lengths)
        hidden = hidden.transpose(0, 1)
        if lengths is None:
            summary = hidden[:, -1].clone()
        else:
            ends = hidden[torch.arange(len(hidden), device=hidden.device), (lengths - 1).clamp(min=0)]
            summary = torch.where((lengths > 0)[:, None], ends, state.summary)
        return found, hidden, replace(after, stack=ring, summary=summary), inner

    def read(self, batch: Batch, state: Any = None, ahead: Tensor | None = None) -> tuple[Tensor, ForecasterState]:
        """The forecast[B, H, 1 + P] after the last valid row of each series, and the state there.

        ahead[B, H, K]: what is known ahead. The rows go through in pieces, so that what it takes does not grow with them.
        """
        state = self.read_on(batch, self._begin(batch.inputs, state))
        return self.forecast(state, ahead), state

    def go_on(self, inputs: Tensor, state: ForecasterState, lengths: Tensor | None = None) -> ForecasterState:
        """The state after inputs[B, T, F]; a single row goes the short way."""
        after = step_on(self, inputs, state) if inputs.shape[1] == 1 and lengths is None else None
        return self.advance(inputs, state, lengths)[2] if after is None else after

    def read_on(self, batch: Batch, state: ForecasterState) -> ForecasterState:
        """The state after the last valid row of each series, without a forecast."""
        for first in range(0, batch.inputs.shape[1], CHUNK):
            part = batch.inputs[:, first : first + CHUNK]
            left = None if batch.lengths is None else (batch.lengths - first).clamp(0, part.shape[1])
            state = self.go_on(part, state, left)
        return state

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

    def embedded(self, rows: Tensor) -> Tensor:
        """What each step of the recurrence reads, rows[..., inputs], as its inputs[..., H]."""
        return kernels.linear(rows, self.embed, self.embed_bias).relu()

    def forecast(self, state: ForecasterState, ahead: Tensor | None = None, horizon: int | None = None) -> Tensor:
        """The forecast[B, H, 1 + P] from a state; ahead[B, H, K] is what is known ahead, its mean where None.

        Beyond the horizon that it was trained for it goes on from its own forecasts.
        """
        config = self.config
        rows, horizon = len(state.values), horizon or config.horizon
        if ahead is None:
            ahead = state.values.new_zeros(rows, horizon, config.ahead)
        found = self._blocks(state, ahead, horizon)
        scale = self.reader.scale_of(state)
        return self._answers(found, scale)

    def _blocks(self, state: ForecasterState, ahead: Tensor, horizon: int) -> tuple[Tensor, Tensor]:
        """(centres[B, H], outputs[B, H, Q]): block after block, each read as if it had come, but for the last."""
        block, centres, outputs = self.config.block, [], []
        for first in range(0, horizon, block):
            part = ahead[:, first : first + block]
            part = F.pad(part, (0, 0, 0, max(0, block - part.shape[1])))
            centre, scale, found = self._block_after(state, part)
            centres.append(centre)
            outputs.append(found)
            if first + block < horizon:
                point = self.reader.restored(centre + scale[:, None] * self.point(found))
                state = self.advance(self._as_rows(point, state, part), state)[2]
        return torch.cat(centres, dim=1)[:, :horizon], torch.cat(outputs, dim=1)[:, :horizon]

    def _as_rows(self, values: Tensor, state: ForecasterState, ahead: Tensor) -> Tensor:
        """Forecasts as rows that can be read; of what is not known ahead the mean stands beside them."""
        columns = values.new_zeros(*values.shape, self.config.columns)
        first = len(self.codec.columns[0])
        columns[..., first : first + self.config.ahead] = ahead
        number = state.series.to(values.dtype)[:, None].expand_as(values)
        return torch.cat([values[..., None], number[..., None], columns], dim=2)

    def _block_after(self, state: ForecasterState, ahead: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """(centres[B, block], scale[B], outputs[B, block, Q]) from a state."""
        config = self.config
        scale = self.reader.scale_of(state)
        centre = state.level[:, 0] if config.smoothing else state.values[:, -1]
        summary = state.summary
        if config.lookback is not None:
            summary = self._looked_back(state.values, state.columns, centre, scale)
        centres = self._with_season(centre, self.reader.rings(state.level))
        out = self._decoded(summary, state.series, ahead)
        return centres, scale, self._together(out, state.values, centre, scale)

    def _with_season(self, centre: Tensor, rings: Sequence[Tensor]) -> Tensor:
        """centre[...] and the seasonal parts to come [..., m] -> what the next values stand around, [..., block]."""
        block = self.config.block
        return centre[..., None].expand(*centre.shape, block) + self.reader.to_come(rings, block)

    def _looked_back(self, values: Tensor, columns: Tensor, centre: Tensor, scale: Tensor) -> Tensor:
        """values[N, L], columns[N, L, C] -> what the recurrent part gives after them alone, [N, H]."""
        segment, rows = self.config.segment, len(values)
        turns = values.shape[1] // segment
        apart = (values - centre[:, None]) / scale[:, None]
        both = torch.cat([apart[..., None], columns], dim=2)[:, -turns * segment :]
        width = both.shape[2]
        parts = both.reshape(rows, turns, segment, width).permute(1, 0, 3, 2).reshape(turns, rows, width * segment)
        x = self.embedded(parts)
        return self.stack(x, self.stack.initial_state(rows))[0][-1]

    def _decoded(self, summary: Tensor, series: Tensor, ahead: Tensor) -> Tensor:
        """summary[N, H], series[N], ahead[N, block, K] -> outputs[N, block, Q] of the network, in scales from the centres."""
        config, rows, turns = self.config, len(summary), self.turns
        named = self.named[series]  # -1 is the last row: a new series
        if self.training and config.series:
            new = torch.rand(rows, device=series.device) < 0.05
            named = torch.where(new[:, None], self.named[-1], named)
        told = torch.cat([self.places[:, None].expand(turns, rows, -1), named[None].expand(turns, rows, -1)], dim=2)
        if self.known is not None:
            padded = F.pad(ahead, (0, 0, 0, turns * config.chunk - ahead.shape[1]))
            parts = padded.reshape(rows, turns, config.chunk * config.ahead).transpose(0, 1).contiguous()
            told = told + kernels.linear(parts, self.known, None)
        told = told.reshape(1, turns * rows, 2 * config.embedding)
        begun = summary[None].expand(turns, rows, -1).reshape(turns * rows, summary.shape[1])
        decoded, _ = self.decoder(told, GRUState(begun))
        dropped = F.dropout(decoded[0], config.dropout, self.training)
        out = kernels.linear(dropped, self.head, self.head_bias)
        out = out.reshape(turns, rows, config.chunk, config.outputs).transpose(0, 1)
        return out.reshape(rows, turns * config.chunk, config.outputs)[:, : config.block]

    def _line(self, values: Tensor, centre: Tensor, scale: Tensor) -> Tensor:
        """What the linear part gives after the last values[N, R]: [N, block]."""
        apart = (values[:, -self.config.lags :] - centre[:, None]) / scale[:, None]
        return kernels.linear(apart, self.line, self.line_bias)

    def _together(self, out: Tensor, values: Tensor, centre: Tensor, scale: Tensor) -> Tensor:
        """out[N, block, Q] of the network, with the linear part by the shares; without it where it trains beside it."""
        config = self.config
        if not config.lags or (config.beside and self.training):
            return out
        line = self._line(values, centre, scale)[..., None]
        share, rest = self.share[:, None], 1 - self.share[:, None]
        point = out if config.output != "laplace" else out[..., :1]
        point = share * point + (rest * line if config.beside else line)
        return point if config.output != "laplace" else torch.cat([point, out[..., 1:]], dim=2)

    def point(self, outputs: Tensor) -> Tensor:
        """outputs[..., Q] -> the middle of each."""
        return outputs[..., MIDDLE if self.config.output == "quantiles" else 0]

    def _answers(self, found: tuple[Tensor, Tensor], scale: Tensor) -> Tensor:
        """Centres and outputs as values: [..., H, 1 + P], the quantiles in their order and corrected."""
        centres, outputs = found
        horizon = centres.shape[-1]
        far = torch.arange(horizon, device=centres.device).clamp(max=len(self.offsets) - 1)
        quantiles = quantiles_of(self.config, outputs) + self.offsets[far]
        quantiles = quantiles.sort(dim=-1).values
        whole = torch.cat([self.point(outputs)[..., None], quantiles], dim=-1)
        scale = scale.reshape(*scale.shape, *(1,) * (whole.dim() - scale.dim()))
        return self.reader.restored(centres[..., None] + scale * whole)

    # ---- many forecasts of one reading

    def outputs_at(
        self, batch: WindowBatch, state: ForecasterState, aligned: bool = False
    ) -> tuple[Tensor, Tensor, Tensor, ForecasterState]:
        """(centres[N, block], scale[N], outputs[N, block, Q]) of the N = B A forecasts of a batch, and the next state.

        `aligned`: the batch begins at the initial state, and all anchors of a row lie whole segments apart. Then they are of
        one phase, and only this is run; the recurrent part of the state that comes out is not to be used.
        """
        centres, (values, centre, scale), out, after = self._apart_at(batch, state, aligned)
        return centres, scale, self._together(out, values, centre, scale), after

    def parts_at(
        self, batch: WindowBatch, state: ForecasterState
    ) -> tuple[Tensor, Tensor, tuple[Tensor, Tensor], ForecasterState]:
        """As `outputs_at`, with the points [N, block] of the linear part alone, and of all where the network has its whole
        share.
        """
        centres, (values, centre, scale), out, after = self._apart_at(batch, state, aligned=False)
        line, net = self._line(values, centre, scale), self.point(out)
        return centres, scale, (line, net if self.config.beside else line + net), after

    def _apart_at(
        self, batch: WindowBatch, state: ForecasterState, aligned: bool
    ) -> tuple[Tensor, tuple[Tensor, Tensor, Tensor], Tensor, ForecasterState]:
        """The centres, (the last values[N, R], where they stand, their scale), what the network gives, and the next state."""
        config = self.config
        rows = len(batch.anchors)
        if not batch.inputs.shape[1]:
            raise DataError("There is nothing to read", expected="at least one row before each forecast")
        at = batch.anchors.clamp(min=0)
        if aligned and config.lookback is None:
            found = self.reader(batch.inputs, state, batch.lengths)
            hidden, after = one_phase(self, found, batch), state
        else:
            found, hidden, after, _ = self.advance(batch.inputs, state, batch.lengths)
            assert found is not None
        ahead = batch.ahead[:, :, : config.block].flatten(0, 1)
        centre, scale = found.centre.gather(1, at), found.scale.gather(1, at)
        series = found.series.gather(1, at).flatten()
        # the values after an anchor begin one behind it in the context
        each = torch.arange(rows, device=at.device)[:, None]
        values = found.context.unfold(1, config.kept, 1)[each, at + 1].flatten(0, 1)
        rings = [
            season.unfold(1, size, 1)[each, at + 1].flatten(0, 1)
            for season, size in zip(found.seasons, config.seasons, strict=True)
        ]
        centre, scale = centre.flatten(), scale.flatten()
        if hidden is None:
            columns = found.beside.unfold(1, config.kept, 1)[each, at + 1].flatten(0, 1).transpose(1, 2)
            summary = self._looked_back(values, columns, centre, scale)
        else:
            summary = hidden[each, at].flatten(0, 1)
        out = self._decoded(summary, series, ahead)
        return self._with_season(centre, rings), (values, centre, scale), out, after

    # ---- between raw things and tensors

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


ANCHORS, APART = 16, 12
"""Forecasts of a training stretch at most, where the state is carried, and the rows between two of them at the least."""
