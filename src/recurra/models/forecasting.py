"""What a forecaster is made of: its settings, its state, and how rows of a series are brought to one scale.

A series is read as the differences of its last values from where it stands now, divided by its scale. Where it stands, and
of a new series the scale, are carried in the state. The network is in `forecaster`.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from numbers import Real
from typing import Any, Literal

import numpy as np
import torch
import torch.nn.functional as F
from pydantic import Field, model_validator
from torch import Tensor, nn

from recurra import kernels
from recurra.config import Config
from recurra.errors import UsageError
from recurra.layers import StackConfig
from recurra.state import State, state_class
from recurra.wide import widened

PROBABILITIES = (0.005, 0.025, 0.05, 0.1, 0.25, 0.5, 0.75, 0.9, 0.95, 0.975, 0.995)
"""The quantiles that every forecast has; those between are taken from the line between two of them."""
MIDDLE = PROBABILITIES.index(0.5)
SMALLEST = 1e-6
"""The least scale of a series, as a share of the size of its values."""


@state_class
class ForecasterState:
    """Where a forecaster stands in a series.

    - stack: the states of the recurrent part; of a model that looks back a fixed number of rows an empty tuple.
    - summary[B, H]: what the recurrent part last gave; no columns where nothing is carried.
    - values[B, R]: the last values, the newest last, without their season; before the beginning the first value.
    - series[B], read[B]: int64, the number of the series (-1: new) and of rows read.
    - sums[B, 3]: the first value and the sums of distances from it and of their squares: a new series' scale; float64 where
      the device has it.
    - level[B, 1 + m]: the smoothed level and the m seasonal parts to come, of all seasons; no columns where nothing is
      smoothed.
    - columns[B, R, C]: what stands beside `values`, before the beginning that of the first row; where all rows count, which
      the recurrent part carries, nothing.
    """

    stack: State
    summary: Tensor
    values: Tensor
    series: Tensor
    read: Tensor
    sums: Tensor
    level: Tensor
    columns: Tensor


class ForecasterConfig(Config):
    """A forecaster of `horizon` values.

    - block: values that one answer of the network holds; where fewer than the horizon it goes on from its own forecasts.
    - segment: rows that one step of the recurrence reads (1: a plain cell); chunk: values that one step of the decoder gives.
    - lags: last values that the linear part reads, 0 for none. beside: the network learns the whole by itself, and the linear
      part stands beside it, by shares that validation gives; otherwise the network learns what the linear part leaves.
    - season: known from the data, 1 for none.
    - smoothing: level and season are smoothed exponentially, each series at rates of its own (Smyl 2020, ES-RNN); longer: a
      second, longer season that is smoothed beside it (a week, where a season is a day), 0 for none.
    - lookback: a forecast depends on so many last rows and nothing before; None: on all that was read.
    - series: of the training data, each with numbers of its own; columns: beside the values; ahead: of these known ahead.
    - embedding: numbers that tell a future place, and a series.
    - output: a point, quantiles, or Laplace's distribution; loss: for a point mae, huber or mse.
    - logarithm: of the values, which are all positive.
    """

    later = frozenset({"longer"})
    stack: StackConfig = StackConfig()
    horizon: int = Field(gt=0, le=1 << 16)
    block: int = Field(gt=0, le=1 << 16)
    segment: int = Field(default=1, gt=0, le=1 << 12)
    chunk: int = Field(default=24, gt=0, le=1 << 12)
    lags: int = Field(default=0, ge=0, le=1 << 16)
    beside: bool = True
    season: int = Field(default=1, gt=0, le=1 << 16)
    smoothing: bool = False
    longer: int = Field(default=0, ge=0, le=1 << 16)
    lookback: int | None = Field(default=None, gt=1, le=1 << 16)
    series: int = Field(default=0, ge=0)
    columns: int = Field(default=0, ge=0)
    ahead: int = Field(default=0, ge=0)
    embedding: int = Field(default=32, gt=0)
    output: Literal["point", "quantiles", "laplace"] = "point"
    loss: Literal["mae", "huber", "mse"] = "mae"
    logarithm: bool = False
    dropout: float = Field(default=0.0, ge=0, lt=1)

    @model_validator(mode="after")
    def _fits(self) -> ForecasterConfig:
        if self.lookback is not None and self.smoothing:
            raise ValueError("what is smoothed depends on all rows: leave out lookback, or smoothing")
        if self.lookback is not None and max(self.segment + 1, self.lags) > self.lookback:
            raise ValueError("segment and lags must lie within lookback")
        if self.longer and not (self.smoothing and self.longer > self.season > 1):
            raise ValueError("a longer season stands beside a season that is smoothed, and is longer")
        if self.stack.bidirectional:
            raise ValueError("a forecaster reads forward only")
        if self.ahead > self.columns:
            raise ValueError("what is known ahead stands among the columns")
        return self

    @property
    def seasons(self) -> list[int]:
        """The seasons that are smoothed, the shorter one first."""
        return [size for size in (self.season, self.longer) if size > 1] if self.smoothing else []

    @property
    def kept(self) -> int:
        """Last values that the state holds (R)."""
        return self.lookback or max(self.segment + 1, self.lags, 2)

    @property
    def inputs(self) -> int:
        """Numbers that one step of the recurrence reads: values, and what stands beside the last of them; with a look-back,
        whose steps do not overlap, beside each of them.
        """
        return self.segment * (1 + self.columns) if self.lookback is not None else self.segment + self.columns

    @property
    def outputs(self) -> int:
        """Numbers that the network gives for each future value."""
        return {"point": 1, "quantiles": len(PROBABILITIES), "laplace": 2}[self.output]


@dataclass(frozen=True)
class Reading:
    """What reading T rows after a state brings to light, before the recurrent part.

    context[B, R + T]: the values kept and read, without season; centre[B, T], scale[B, T]: where the series stands and its
    scale after each row; series[B, T]; seasons[B, m + T] of each season: its ring before the first row, and then the part
    that each row wrote, so that m places from t + 1 on are the parts to come after row t; beside[B, R + T, C]: the columns
    beside `context`, with a look-back. What follows is of the state after them.
    """

    context: Tensor
    centre: Tensor
    scale: Tensor
    seasons: tuple[Tensor, ...]
    series: Tensor
    beside: Tensor
    values: Tensor
    read: Tensor
    sums: Tensor
    level: Tensor
    columns: Tensor
    last_series: Tensor


class Reader(nn.Module):
    """Rows of series at one scale. `scales` are those of the series of the training data."""

    scales: Tensor

    def __init__(self, config: ForecasterConfig) -> None:
        super().__init__()
        self.config = config
        self.register_buffer("scales", torch.ones(config.series))
        if config.smoothing:
            # about 0.1 for the level, 0.3 for each season: sigmoids, the last row for new series
            begin = torch.tensor([-2.2, *[-0.85] * len(config.seasons)])
            self.rates = nn.Parameter(begin.repeat(config.series + 1, 1))

    def forward(self, inputs: Tensor, state: ForecasterState, lengths: Tensor | None) -> Reading:
        """inputs[B, T, F] after `state`; T is 1 or more."""
        config = self.config
        batch, steps = inputs.shape[:2]
        ends = torch.full((batch,), steps, device=inputs.device) if lengths is None else lengths
        valid = torch.arange(steps, device=inputs.device) < ends[:, None]
        y = self.transformed(inputs[..., 0])
        y = torch.where(valid, y, y.new_zeros(()))
        series = self._numbers(inputs[..., 1], valid)
        begins = (state.read == 0) & (ends > 0)
        level, cleaned, centre, seasons = self._smoothed(y, series, state, lengths, begins)
        kept = torch.where(begins[:, None], cleaned[:, :1], state.values)
        context = torch.cat([kept, cleaned], dim=1)
        size = config.kept
        last_places = ends[:, None] + torch.arange(size, device=inputs.device)
        values = context.gather(1, last_places)
        beside, columns = self._beside(inputs, state, valid, begins, last_places)
        sums, scale = self._scaled(y, series, state, valid, begins, context)
        last = series.gather(1, (ends - 1).clamp(min=0)[:, None])[:, 0]
        last = torch.where(ends > 0, last, state.series)
        return Reading(
            context, cleaned if centre is None else centre, scale, seasons, series, beside, values, state.read + ends,
            sums, level, columns, last,
        )  # fmt: skip

    def _beside(
        self, inputs: Tensor, state: ForecasterState, valid: Tensor, begins: Tensor, places: Tensor
    ) -> tuple[Tensor, Tensor]:
        """The columns kept and read [B, R + T, C], and the last R of them; where all rows count, nothing."""
        if self.config.lookback is None:
            return state.columns, state.columns.clone()
        read = torch.where(valid[..., None], inputs[..., 2:], 0.0)
        kept = torch.where(begins[:, None, None], read[:, :1], state.columns)
        beside = torch.cat([kept, read], dim=1)
        return beside, beside.gather(1, places[..., None].expand(-1, -1, beside.shape[2]))

    def transformed(self, y: Tensor) -> Tensor:
        """Values as the network sees them."""
        return y.clamp(min=1e-30).log() if self.config.logarithm else y

    def restored(self, y: Tensor) -> Tensor:
        """What `transformed` took, again."""
        return y.clamp(max=80.0).exp() if self.config.logarithm else y

    def scale_of(self, state: ForecasterState) -> Tensor:
        """The scale[B] after all that was read."""
        if self.config.lookback is not None:
            running = _window_scale(state.values)
        else:
            running = running_scale(state.sums, state.read, state.values.dtype)
        return self._known(state.series, running)

    def _numbers(self, column: Tensor, valid: Tensor) -> Tensor:
        """The numbers of series, -1 for what is none of the training data's."""
        there = valid & (column > -0.5) & (column < self.config.series - 0.5)
        return torch.where(there, column, -1.0).round().long()

    def _known(self, series: Tensor, running: Tensor) -> Tensor:
        if not self.config.series:
            return running
        return torch.where(series >= 0, self.scales[series.clamp(min=0)], running)

    def _scaled(
        self, y: Tensor, series: Tensor, state: ForecasterState, valid: Tensor, begins: Tensor, context: Tensor
    ) -> tuple[Tensor, Tensor]:
        """The sums after the last row, and the scale[B, T] after each."""
        size = self.config.kept
        if self.config.lookback is not None:
            if bool((series >= 0).all()):
                running = y.new_ones(()).expand_as(y)
            else:
                running = _window_scale(context.unfold(1, size, 1)[:, 1:])
            return state.sums.clone(), self._known(series, running)
        first = torch.where(begins, widened(y[:, 0]), state.sums[:, 0])
        apart = torch.where(valid, widened(y) - first[:, None], 0.0)
        before = torch.where(begins[:, None], torch.zeros_like(state.sums[:, 1:]), state.sums[:, 1:])
        plain = torch.cat([before[:, :1], apart], dim=1).cumsum(dim=1)
        squares = torch.cat([before[:, 1:], apart * apart], dim=1).cumsum(dim=1)
        running = torch.stack([first[:, None].expand_as(apart), plain[:, 1:], squares[:, 1:]], dim=2)
        counts = state.read[:, None] + valid.cumsum(dim=1)
        scale = self._known(series, running_scale(running, counts, y.dtype))
        return torch.stack([first, plain[:, -1], squares[:, -1]], dim=1), scale

    def rings(self, level: Tensor) -> list[Tensor]:
        """The seasonal parts to come of `ForecasterState.level`: one ring [..., m] for each season."""
        return list(level[..., 1:].split(self.config.seasons, dim=-1)) if self.config.smoothing else []

    def to_come(self, rings: Sequence[Tensor], steps: int) -> Tensor | float:
        """What the seasons of these rings [..., m] add to each of the next values: [..., steps]."""
        return sum((ring[..., torch.arange(steps, device=ring.device) % ring.shape[-1]] for ring in rings), 0.0)

    def _smoothed(
        self, y: Tensor, series: Tensor, state: ForecasterState, lengths: Tensor | None, begins: Tensor
    ) -> tuple[Tensor, Tensor, Tensor | None, tuple[Tensor, ...]]:
        """(level and seasons after the last row, values without season, the level after each row, `Reading.seasons`)."""
        config = self.config
        if not config.smoothing:
            return state.level.clone(), y, None, ()
        rates = self.rates.sigmoid()[series]  # -1 is the last row
        before = torch.where(begins[:, None], torch.zeros_like(state.level), state.level)
        level = torch.where(begins, y[:, 0], before[:, 0])
        # at the beginning all are means of what was seen; a longer season is what the shorter ones before it leave
        count = state.read[:, None] + torch.arange(1, y.shape[1] + 1, device=y.device)
        share = torch.maximum(rates[..., 0], 1 / count.to(y.dtype))
        turns, shorter = [], 0
        for number, size in enumerate(config.seasons, start=1):
            since = count - 1 - shorter
            least = 1 / (1 + since.div(size, rounding_mode="floor")).to(y.dtype)
            turns.append(torch.where(since < 0, 0.0, torch.maximum(rates[..., number], least)))
            shorter = size
        levels, seasons, last, rings = kernels.smoothing(
            y.T, level, self.rings(before), share.T, [turn.T for turn in turns], lengths
        )
        parts = [season[len(season) - y.shape[1] :].T for season in seasons]
        cleaned = y - sum(parts, torch.zeros_like(y))
        return torch.cat([last[:, None], *rings], dim=1), cleaned, levels.T, tuple(season.T for season in seasons)


def running_scale(sums: Tensor, counts: Tensor, dtype: torch.dtype) -> Tensor:
    """sums[..., 3] and how many values they are of -> the standard deviation so far."""
    number = widened(counts.clamp(min=1))
    mean = sums[..., 1] / number
    variance = sums[..., 2] / number - mean * mean
    least = least_scale(sums[..., 0], mean).detach()
    # the root of what is not zero: of nothing it would have an infinite slope
    return torch.maximum(variance, least * least).sqrt().to(dtype)


def least_scale(first: Any, mean: Any) -> Any:
    """The least scale of series with these first values and means, tensors or arrays."""
    return SMALLEST * (abs(first) + abs(mean)) + 1e-12


def _window_scale(windows: Tensor) -> Tensor:
    """windows[..., R] -> their standard deviations."""
    apart = windows - windows[..., -1:]
    apart = apart - apart.mean(dim=-1, keepdim=True)
    least = SMALLEST * windows[..., -1].abs().detach() + 1e-12
    return torch.maximum((apart * apart).mean(dim=-1), least * least).sqrt()


def losses_of(config: ForecasterConfig, outputs: Tensor, aim: Tensor) -> Tensor:
    """The loss of each of outputs[N, H, Q] where aim[N, H] was to be told."""
    if config.output == "quantiles":
        at = torch.tensor(PROBABILITIES, dtype=outputs.dtype, device=outputs.device)
        apart = aim[..., None] - outputs
        return torch.maximum(at * apart, (at - 1) * apart).mean(dim=-1) * 2
    if config.output == "laplace":
        spread = F.softplus(outputs[..., 1] - 1.0) + 1e-4
        return (2 * spread).log() + (aim - outputs[..., 0]).abs() / spread
    point = outputs[..., 0]
    if config.loss == "mse":
        return (aim - point) ** 2
    return F.huber_loss(point, aim, reduction="none") if config.loss == "huber" else (aim - point).abs()


def quantiles_of(config: ForecasterConfig, outputs: Tensor) -> Tensor:
    """outputs[..., Q] -> the quantiles of the network itself, [..., P], not yet corrected."""
    if config.output == "quantiles":
        return outputs
    if config.output == "point":
        return outputs.expand(*outputs.shape[:-1], len(PROBABILITIES))
    at = torch.tensor(PROBABILITIES, dtype=outputs.dtype, device=outputs.device) - 0.5
    spread = F.softplus(outputs[..., 1:] - 1.0)
    return outputs[..., :1] - spread * at.sign() * torch.log1p(-2 * at.abs())


def answer_of(outputs: np.ndarray, levels: Sequence[float] = (80, 95)) -> dict[str, Any]:
    """outputs[H, 1 + P] as lists: the mean, and for each level the bounds `lo-80` and `hi-80`."""
    answer: dict[str, Any] = {"mean": outputs[:, 0].tolist()}
    for level in levels:
        low, high = bounds(outputs[:, 1:], level)
        answer[f"lo-{level:g}"], answer[f"hi-{level:g}"] = low.tolist(), high.tolist()
    return answer


def bounds(quantiles: np.ndarray, level: float) -> tuple[np.ndarray, np.ndarray]:
    """quantiles[..., P] -> the bounds that `level` of 100 values lie between. Raises `UsageError` for a level beyond 99."""
    if not isinstance(level, Real) or not 0 < level <= 99:
        raise UsageError("There is no interval of this level", got=level, expected="above 0, 99 at most")
    found = []
    for probability in (0.5 - level / 200, 0.5 + level / 200):
        place = int(np.searchsorted(PROBABILITIES, probability - 1e-9))
        low, high = PROBABILITIES[max(0, place - 1)], PROBABILITIES[place]
        share = 1.0 if high == low else (probability - low) / (high - low)
        found.append(quantiles[..., max(0, place - 1)] * (1 - share) + quantiles[..., place] * share)
    return found[0], found[1]
