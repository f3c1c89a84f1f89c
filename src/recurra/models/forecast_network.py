"""The network of a forecaster: rows in, a state that holds all a forecast needs, and the next values after any row.

A linear part reads the last values; a recurrent part, of segments or of single rows, adds what a line cannot tell. A new row
costs one step. It knows no targets, losses or files; those are in `forecaster`. Settings and state are in `forecasting`.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from itertools import pairwise
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from recurra import kernels
from recurra.cells import GRU, GRUState
from recurra.data.batches import Batch
from recurra.data.series_codec import ForecastCodec
from recurra.data.windows import WindowBatch
from recurra.errors import DataError, UsageError
from recurra.layers import Dilated, Stack
from recurra.models.anchors import one_phase
from recurra.models.forecasting import (
    MIDDLE,
    PROBABILITIES,
    ForecasterConfig,
    ForecasterState,
    Reader,
    Reading,
    quantiles_of,
)
from recurra.models.stepping import step_on
from recurra.models.task import Task
from recurra.state import check_like, map_state
from recurra.wide import widest

CHUNK = 2048
"""Rows that are read at once while measuring."""


class ForecastNetwork(Task[ForecasterConfig]):
    """What a forecaster computes. Abstract: `Forecaster` makes a task of it."""

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
