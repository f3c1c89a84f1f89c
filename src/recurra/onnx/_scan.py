"""A stand-in for a scan over any step function: an eager loop over the steps, on the reference's own time loop."""

from __future__ import annotations

from torch import Tensor

from recurra.kernels import reference
from recurra.onnx.steps import States, Step


def scan(
    step: Step,
    x: Tensor,
    states: States,
    parameters: dict[str, Tensor],
    *,
    lengths: Tensor | None = None,
    resets: Tensor | None = None,
    reverse: bool = False,
) -> tuple[States, States]:
    """x[T, B, I], states [B, H] -> (what was emitted at each step, [T, B, ...]; the last states)."""

    def one(x_t: Tensor, state: States) -> tuple[States, States]:
        return step(x_t, state, parameters)

    widths: tuple[int, ...] = ()
    if x.shape[0] == 0:
        # what a step emits is known only from a step
        widths = tuple(part.shape[1] for part in one(x.new_zeros(x.shape[1:]), states)[1])
    return reference._run(one, x, states, lengths, resets, reverse, widths)
