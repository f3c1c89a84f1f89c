"""How far back a model remembers: by the gradient of its loss back through time, and by what more context gives it.

It knows tasks, batches and states, no data and no files.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor

from recurra.data.batches import Batch
from recurra.models import Task
from recurra.models.task import frozen_weights
from recurra.state import detach, leaves, map_state

SHARE = 0.01
"""What more context may still give, or what may be left of the signal, beyond what is called the memory."""


def state_gradients(task: Task, batch: Batch, state: Any = None) -> list[Any]:
    """The gradient of the loss at the last step of each row with respect to every state before it.

    Arguments:
    - batch: inputs[B, T(, F)] whose rows all end at the last step; `lengths`[B] count from there, so that shorter rows are
      padded in front. `targets` are those of the last step, as `task.loss` takes them for one step: [B, 1] where the model
      answers at each step, [B] where it answers once.
    - state: the state before the first step, or None for the beginning.

    Returns T states: number k - 1 holds dL/dS_{t-k}, of the state that k steps before the end were read from, by the names
    and shapes of the state. A row's own beginning is handed back unchanged where it is padded. Exact: the sequence is
    run a step at a time, and each step hands its gradient to the step before it.
    """
    rows, steps = batch.inputs.shape[:2]
    lengths = torch.full((rows,), steps, device=batch.inputs.device) if batch.lengths is None else batch.lengths
    current = task.initial_state(rows) if state is None else state
    chain: list[tuple[Any, Any]] = []
    found: list[Any] = []
    with frozen_weights(task), torch.enable_grad():
        outputs: Tensor | None = None
        for step in range(steps):
            before = map_state(lambda leaf: leaf.detach().requires_grad_(leaf.is_floating_point()), current)
            # whole steps where all rows take part: nothing to mask
            there = (lengths >= steps - step).to(torch.int64)
            outputs, after = task(batch.inputs[:, step : step + 1], before, None if there.all() else there)
            chain.append((before, after))
            current = detach(after)
        if outputs is None:
            return []
        loss, _ = task.loss(outputs, Batch(batch.inputs[:, -1:], batch.targets))
        ends, weights = [loss], [torch.ones_like(loss)]
        while chain:
            before, after = chain.pop()
            if found:
                ends, weights = list(leaves(after).values()), list(leaves(found[-1]).values())
            found.append(_handed_back(ends, weights, before))
    return found


def _handed_back(ends: Sequence[Tensor], weights: Sequence[Tensor], before: Any) -> Any:
    """The gradient with respect to the state `before` of one step, from the gradients of what came of it."""
    # a state that is handed on as it came, or made anew, has no history of its own
    told = [(end, weight) for end, weight in zip(ends, weights, strict=True) if end.requires_grad]
    wanted = [leaf for leaf in leaves(before).values() if leaf.requires_grad]
    if not told or not wanted:
        return map_state(torch.zeros_like, before)
    gradients = iter(
        torch.autograd.grad(
            [end for end, _ in told], wanted, [weight for _, weight in told], allow_unused=True, materialize_grads=True
        )
    )
    return map_state(lambda leaf: next(gradients) if leaf.requires_grad else torch.zeros_like(leaf), before)


def gradient_norms(task: Task, batch: Batch, state: Any = None) -> list[float]:
    """The norm of dL/dS_{t-k} for k = 1, 2, ..., each the mean over the rows that have so many steps.

    It ends where fewer than a tenth of the rows do.
    """
    rows, steps = batch.inputs.shape[:2]
    lengths = torch.full((rows,), steps) if batch.lengths is None else batch.lengths.cpu()
    norms: list[float] = []
    for lag, gradient in enumerate(state_gradients(task, batch, state), start=1):
        of_units = [leaf for name, leaf in leaves(gradient).items() if not name.startswith(task.tallies)]
        squares = [leaf.cpu().double().flatten(1).square().sum(dim=1) for leaf in of_units]
        reaching = lengths >= lag
        if not squares or 10 * int(reaching.sum()) < rows:
            break
        norms.append(float(sum(squares[1:], squares[0]).sqrt()[reaching].mean()))
    return norms


def gradient_reach(norms: Sequence[float]) -> int | None:
    """The last lag whose norm is at least `SHARE` of the greatest; None where no gradient comes back at all."""
    greatest = max(norms, default=0.0)
    if not greatest > 0.0:
        return None
    return max(lag for lag, norm in enumerate(norms, start=1) if norm >= SHARE * greatest)


def context_reach(losses: Sequence[float], noise: float) -> int:
    """The first place of a curve after which the loss falls by less than `SHARE` of its whole fall.

    `losses` are for more and more context, less being better; differences below `noise` are none.
    """
    least = max(SHARE * (losses[0] - min(losses)), noise)
    return next(place for place, loss in enumerate(losses) if loss - min(losses[place:]) <= least)
