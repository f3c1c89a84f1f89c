"""One new row of each series, the short way: what `ForecastNetwork.advance` gives for it, without what many rows need.

The same sums in the same order, so the state that comes out has the same bits.
"""

from __future__ import annotations

from typing import TYPE_CHECKING
from weakref import WeakKeyDictionary

import numpy as np
import torch
from torch import Tensor

from recurra import kernels
from recurra.kernels import capsule, native
from recurra.layers import DilatedState
from recurra.models.forecasting import ForecasterState, least_scale
from recurra.state import detach, leaves, map_state

if TYPE_CHECKING:
    from recurra.models.forecast_network import ForecastNetwork

_kept: WeakKeyDictionary[ForecastNetwork, kernels.Kept] = WeakKeyDictionary()
"""The packed weights of each forecaster that is read row by row."""


def step_on(model: ForecastNetwork, inputs: Tensor, state: ForecasterState) -> ForecasterState | None:
    """The state after inputs[B, 1, F]; None where more has to be looked at than one ordinary row.

    That is whatever `RowStepper.of` refuses, a row of another series than the one before it, and a step whose gradient is
    recorded.
    """
    if not kernels.direct() or inputs.shape[1:] != (1, 2 + model.config.columns) or not _ours(model, inputs):
        return None
    row = inputs.detach()[:, 0].numpy()
    if len(row) != len(state.series) or not (row[:, 1] == state.series.numpy()).all():
        return None
    stepper = RowStepper.of(model, state)
    if stepper is None:
        return None
    stepper.step(row)
    return stepper.state()


class RowStepper:
    """Some series that are read on by one row each, in memory of its own that each row is written into.

    `of` makes one from a state, `state` gives one back. Of so few numbers a call of torch costs more than its arithmetic, so
    what is no product is numpy's, on the same memory.
    """

    def __init__(self, model: ForecastNetwork, kept: kernels.Kept, state: ForecasterState) -> None:
        config, batch = model.config, len(state.read)
        self.kept = kept
        self._reader, self._logarithm = model.reader, config.logarithm
        self._series, self._level, self._columns = state.series.clone(), state.level.clone(), state.columns.clone()
        self._places = self._series.numpy() if config.series else np.full(batch, -1)
        self._known = self._places >= 0
        self._all_known = bool(self._known.all())
        self._sums, self._read = state.sums.numpy().copy(), state.read.numpy().copy()
        # room for as many values again, so that the last ones lie side by side without being moved at each row
        self._size, self._at = config.kept, 0
        self._values = np.empty((batch, 2 * self._size), dtype=state.values.numpy().dtype)
        self._values[:, : self._size] = state.values.numpy()
        # the states of the last w steps lie in a ring, with a place more for the next one
        self._segment, self._oldest = config.segment, 0
        self._form = model.dilated.initial_state(0).ring
        self._rings = [_ringed(leaf) for leaf in leaves(state.stack.ring).values()]
        self._slots = list(zip(*(ring.unbind() for ring in self._rings), strict=True))
        self._weights = model.embed.detach(), model.embed_bias.detach()
        self._apart = state.values.new_empty(batch, config.segment + config.columns)
        self._embedded = state.values.new_empty(batch, model.dilated.inputs)
        self._inputs = self._embedded[None]
        self._summary, self._shape = state.summary[None].clone(), (1, *state.summary.shape)

    @classmethod
    def of(cls, model: ForecastNetwork, state: ForecasterState) -> RowStepper | None:
        """A stepper from this state on.

        None for a model that smooths, looks back, trains, or whose layers are not kept packed; for a series that only begins;
        and for numbers that are not in the processor's memory, in the precision of the model.
        """
        config = model.config
        if config.smoothing or config.lookback is not None or model.training or not kernels.usable():
            return None
        if not len(state.read) or not _ours(model, state.values) or not bool(state.read.all()):
            return None
        kept = _kept.get(model)
        if kept is None or not kept.current():
            stack = model.dilated.stack
            layers = stack.weights()
            if layers is None or not kernels.keepable(model, layers):
                return None
            kept = _kept[model] = kernels.Kept(model, layers)
        return cls(model, kept, detach(state))

    @property
    def dtype(self) -> np.dtype:
        """The precision of the model."""
        return self._values.dtype

    def current(self) -> bool:
        """Whether the model is still the one that was kept, and its kernels are wanted."""
        return kernels.usable() and self.kept.current()

    def step(self, rows: np.ndarray) -> None:
        """Read rows[B, 2 + C] in the model's precision, each of the series that its place has held so far."""
        y = rows[:, 0]
        if self._logarithm:
            y = self._reader.transformed(torch.from_numpy(y.copy())).numpy()
        here = y[:, None]
        apart = y - self._sums[:, 0]
        sums = self._sums.copy()
        sums[:, 1] += apart
        sums[:, 2] += apart * apart
        read, end, segment = self._read + 1, self._at + self._size, self._segment
        scale, x = self._scale(sums, read), self._apart.numpy()
        np.subtract(self._values[:, end - segment : end], here, out=x[:, :segment])
        x[:, :segment] /= scale[:, None]
        x[:, segment:] = rows[:, 2:]
        threads, embedded = torch.get_num_threads(), self._embedded.numpy()
        weight, bias = self._weights
        native.module().linear(capsule(self._apart), capsule(weight), capsule(bias), capsule(self._embedded), threads)
        np.maximum(embedded, 0, out=embedded)
        outputs = torch.empty(self._shape, dtype=self._embedded.dtype)
        before, after = self._slots[self._oldest], self._slots[self._oldest - 1]
        self.kept.run_into(self._inputs, before, outputs, after)
        # from here on the row counts: nothing above was written where the state is read from
        self._values[:, end] = y
        self._sums, self._read, self._summary = sums, read, outputs
        self._oldest = (self._oldest + 1) % len(self._slots)
        self._at += 1
        if self._at == self._size:
            self._values[:, : self._size] = self._values[:, self._size :]
            self._at = 0

    def _scale(self, sums: np.ndarray, read: np.ndarray) -> np.ndarray:
        """The scale[B] after these sums, as `Reader.scale_of` has it."""
        known = self._reader.scales.numpy()
        if self._all_known:
            return known[self._places]
        mean = sums[:, 1] / read
        variance = sums[:, 2] / read - mean * mean
        least = least_scale(sums[:, 0], mean)
        running = np.sqrt(np.maximum(variance, least * least)).astype(self._values.dtype)
        return np.where(self._known, known[self._places], running) if len(known) else running

    def state(self) -> ForecasterState:
        """The state after all that was read: a value, never written again."""
        order = [(self._oldest + place) % len(self._slots) for place in range(self._segment)]
        found = iter([ring[order].transpose(0, 1).contiguous() for ring in self._rings])
        return ForecasterState(
            DilatedState(map_state(lambda _: next(found), self._form)), self._summary[0].clone(),
            torch.from_numpy(self._values[:, self._at : self._at + self._size].copy()), self._series.clone(),
            torch.from_numpy(self._read.copy()), torch.from_numpy(self._sums.copy()), self._level.clone(),
            self._columns.clone(),
        )  # fmt: skip


def _ringed(leaf: Tensor) -> Tensor:
    """leaf[B, w, ...] as [w + 1, B, ...]."""
    ring = leaf.new_empty(leaf.shape[1] + 1, len(leaf), *leaf.shape[2:])
    ring[:-1] = leaf.transpose(0, 1)
    return ring


def _ours(model: ForecastNetwork, numbers: Tensor) -> bool:
    """Whether these are plain numbers in the processor's memory, in the precision of the model."""
    like = model.head_bias
    return (
        like.dtype in (torch.float32, torch.float64) and type(numbers) is Tensor and numbers.dtype == like.dtype
        and numbers.device.type == like.device.type == "cpu"
    )  # fmt: skip
