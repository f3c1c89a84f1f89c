"""Convolution over time that looks back only, so that it streams: its state is the last inputs it needs.

Windows of several widths and steps (dilations) side by side, then layer normalisation and a rectifier (after Szegedy et al.
2015 and Ismail Fawaz et al. 2020; normalised over channels, Ba et al. 2016, so that no step depends on other rows).
"""

from __future__ import annotations

import math
from typing import Any

import torch
import torch.nn.functional as F
from pydantic import Field
from torch import Tensor, nn

from recurra import kernels
from recurra.cells.cell import check_sequence
from recurra.config import Config
from recurra.errors import UsageError
from recurra.state import check_like, state_class


@state_class
class ConvolutionState:
    """past[B, P, I]: the last P inputs, zeros before the first."""

    past: Tensor


class ConvolutionConfig(Config):
    """`layers` convolutions of `channels` outputs; a window of each width (`widths`, in inputs) for each of `dilations`."""

    channels: int = Field(default=64, gt=0, le=1 << 16)
    layers: int = Field(default=2, gt=0, le=64)
    widths: tuple[int, ...] = Field(default=(9,), min_length=1)
    dilations: tuple[int, ...] = Field(default=(1, 2, 4), min_length=1)


class Convolution(nn.Module):
    """inputs[T, B, I] -> outputs[T, B, H] = relu(norm(W * window + b)), and the inputs added where they are as wide.

    The window of step t holds inputs t - d (K - 1), ..., t - d, t for width K and dilation d; before the beginning, and
    before a reset, zeros. The channels are shared out evenly over all pairs (K, d).
    """

    causal = True

    def __init__(self, inputs: int, hidden: int, widths: tuple[int, ...], dilations: tuple[int, ...]) -> None:
        super().__init__()
        pairs = [(width, dilation) for width in widths for dilation in dilations]
        if hidden < len(pairs):
            raise UsageError(
                "A convolution needs a channel for each width and dilation",
                got=hidden,
                expected=f"{len(pairs)} or more",
            )
        self.inputs = inputs
        self.hidden = hidden
        self.pairs = pairs
        self.past = max((width - 1) * dilation for width, dilation in pairs)
        sizes = [hidden // len(pairs) + (place < hidden % len(pairs)) for place in range(len(pairs))]
        self.weights = nn.ParameterList(
            nn.Parameter(torch.empty(size, width, inputs)) for size, (width, _) in zip(sizes, pairs, strict=True)
        )
        for weight in self.weights:
            nn.init.uniform_(weight, -1 / math.sqrt(weight[0].numel()), 1 / math.sqrt(weight[0].numel()))
        self.bias = nn.Parameter(torch.zeros(hidden))
        self.gain = nn.Parameter(torch.ones(hidden))
        self.shift = nn.Parameter(torch.zeros(hidden))

    def initial_state(self, batch: int) -> ConvolutionState:
        return ConvolutionState(self.bias.new_zeros(batch, self.past, self.inputs))

    def forward(
        self, inputs: Tensor, state: Any, lengths: Tensor | None = None, resets: Tensor | None = None
    ) -> tuple[Tensor, ConvolutionState]:
        """inputs[T, B, I] -> outputs[T, B, H], zero past the end of a row, and its last inputs."""
        check_sequence("Convolution", inputs, self.inputs, lengths, resets)
        check_like(state, self.initial_state(inputs.shape[1]))
        steps, batch = inputs.shape[:2]
        if not steps or not batch:
            return inputs.new_zeros(steps, batch, self.hidden), ConvolutionState(state.past.clone())
        valid = None
        if lengths is not None:
            valid = (torch.arange(steps, device=inputs.device)[:, None] < lengths)[..., None]
            inputs = torch.where(valid, inputs, torch.zeros_like(inputs))
        before = torch.cat([state.past.transpose(0, 1), inputs])
        since = None if resets is None else since_reset(resets, lengths)
        summed = self._at_once(before, steps) if since is None and kernels.recording(before, self.bias) else None
        if summed is None:
            summed = torch.cat([self._product(before, steps, place, since) for place in range(len(self.pairs))], dim=-1)
        outputs = F.relu(F.layer_norm(summed + self.bias, (self.hidden,), self.gain, self.shift))
        if self.inputs == self.hidden:
            outputs = outputs + inputs
        if valid is not None:
            outputs = torch.where(valid, outputs, torch.zeros_like(outputs))
        return outputs, ConvolutionState(self._last(before, steps, lengths, since))

    def _at_once(self, before: Tensor, steps: int) -> Tensor:
        """before[P + T, B, I] -> [T, B, H] by torch's convolution, whose sums have no fixed order: for training."""
        x = before.permute(1, 2, 0)
        parts = []
        for weight, (width, dilation) in zip(self.weights, self.pairs, strict=True):
            seen = x[..., self.past - (width - 1) * dilation :]
            parts.append(F.conv1d(seen, weight.transpose(1, 2), dilation=dilation))
        return torch.cat(parts, dim=1).permute(2, 0, 1)[:steps]

    def _product(self, before: Tensor, steps: int, place: int, since: Tensor | None) -> Tensor:
        """The same for one width and dilation as one product, each output one chain of additions: for any cut."""
        width, dilation = self.pairs[place]
        taps = []
        for back in range((width - 1) * dilation, -1, -dilation):
            tap = before[self.past - back : self.past - back + steps]
            taps.append(tap if since is None or not back else torch.where((since >= back)[..., None], tap, 0.0))
        return kernels.linear(torch.cat(taps, dim=-1), self.weights[place].flatten(1))

    def _last(self, before: Tensor, steps: int, lengths: Tensor | None, since: Tensor | None) -> Tensor:
        """The last inputs of each row [B, P, I]; zeros for those before its last reset."""
        batch = before.shape[1]
        ends = torch.full((batch,), steps, device=before.device) if lengths is None else lengths
        places = ends[:, None] + torch.arange(self.past, device=before.device)
        rows = torch.arange(batch, device=before.device)[:, None]
        past = before[places, rows]
        if since is None:
            return past
        # of P inputs the newest was read 0 steps before the end, the oldest P - 1
        ages = torch.arange(self.past - 1, -1, -1, device=before.device)
        reach = since[(ends - 1).clamp(min=0), rows[:, 0]]
        kept = (ages <= reach[:, None]) | (ends == 0)[:, None]
        return torch.where(kept[..., None], past, torch.zeros_like(past))

    def trace(
        self, inputs: Tensor, state: Any, lengths: Tensor | None = None, resets: Tensor | None = None
    ) -> tuple[Tensor, ConvolutionState, dict[str, Tensor]]:
        outputs, state = self(inputs, state, lengths, resets)
        return outputs, state, {"convolved": outputs}


def since_reset(resets: Tensor, lengths: Tensor | None) -> Tensor:
    """[T, B]: how many steps ago a row was reset, 0 at the step itself; more than any window where it never was."""
    steps = torch.arange(len(resets), device=resets.device)[:, None]
    counted = resets if lengths is None else resets & (steps < lengths)
    last = torch.where(counted, steps, -(1 << 40)).cummax(dim=0).values
    return steps - last
