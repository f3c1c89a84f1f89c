"""What stands before a stack that reads numbers: missing values filled, then convolutions, one after another."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor, nn

from recurra.layers.convolution import Convolution, ConvolutionConfig
from recurra.layers.filling import Filling

Part = Filling | Convolution


class Front(nn.Module):
    """Parts in a row, each of which looks back only: inputs[T, B, I] -> [T, B, H]. Its state is the tuple of theirs.

    Behind what the convolutions tell stand the filled numbers themselves: how great they are the normalisation hides.
    """

    causal = True

    def __init__(self, parts: Sequence[Part]) -> None:
        super().__init__()
        self.parts = nn.ModuleList(parts)
        self.inputs = parts[0].inputs
        self._convolves = isinstance(parts[-1], Convolution)
        filled = parts[0].hidden if isinstance(parts[0], Filling) else self.inputs
        self.hidden = parts[-1].hidden + (filled if self._convolves else 0)

    @classmethod
    def build(cls, features: int, filling: Filling | None, config: ConvolutionConfig | None) -> Front | None:
        """A front over `features` numbers a step; None where there is nothing in it."""
        parts: list[Part] = [] if filling is None else [filling]
        width = features if filling is None else filling.hidden
        for _ in range(0 if config is None else config.layers):
            assert config is not None
            parts.append(Convolution(width, config.channels, config.widths, config.dilations))
            width = config.channels
        return cls(parts) if parts else None

    def initial_state(self, batch: int) -> tuple[Any, ...]:
        return tuple(part.initial_state(batch) for part in self._parts())

    def forward(
        self, inputs: Tensor, state: Any, lengths: Tensor | None = None, resets: Tensor | None = None
    ) -> tuple[Tensor, tuple[Any, ...]]:
        outputs, after, _ = self.trace(inputs, state, lengths, resets)
        return outputs, after

    def trace(
        self, inputs: Tensor, state: Any, lengths: Tensor | None = None, resets: Tensor | None = None
    ) -> tuple[Tensor, tuple[Any, ...], dict[str, Tensor]]:
        outputs, after = inputs, []
        inner: dict[str, Tensor] = {}
        filled = _without_padding(inputs, lengths)
        for place, (part, before) in enumerate(zip(self._parts(), state, strict=True)):
            outputs, now, values = part.trace(outputs, before, lengths, resets)
            after.append(now)
            inner |= {f"{place}.{name}": value for name, value in values.items()}
            if isinstance(part, Filling):
                filled = outputs
        return torch.cat([outputs, filled], dim=-1) if self._convolves else outputs, tuple(after), inner

    def _parts(self) -> list[Part]:
        return list(self.parts)  # pyright: ignore[reportReturnType] (ModuleList forgets what it holds)


def _without_padding(inputs: Tensor, lengths: Tensor | None) -> Tensor:
    """inputs[T, B, I] with zeros past the end of a row."""
    if lengths is None:
        return inputs
    steps = torch.arange(inputs.shape[0], device=inputs.device)[:, None]
    return torch.where((steps < lengths)[..., None], inputs, torch.zeros_like(inputs))
