"""Training on one very long sequence: the time and the memory with `recompute`, without it, and of torch.nn.

Run as a script it is the process whose memory is measured: `recompute.py CONTESTANT CELL BATCH STEPS WIDTH THREADS`.
"""

from __future__ import annotations

import sys
from collections.abc import Callable
from typing import TYPE_CHECKING

import memory
from results import Result, Settings
from rows import Row
from timing import interleaved, paired

if TYPE_CHECKING:
    from torch import Tensor

PIECE = 1000
ROUNDS = 2  # a pass of torch's GRU takes a minute
CONTESTANTS = ("ours", "ours at once", "torch")


def recompute(row: Row, settings: Settings) -> Result:
    """Seconds of a training pass, with a word on what recomputing costs."""
    from whole import check

    calls = {contestant: _pass(contestant, row.cell, row.width, row.batch, row.steps) for contestant in CONTESTANTS}
    check(calls)
    samples = interleaved(calls, min(settings.rounds, ROUNDS), once=True)
    result = Result(row, samples, ratios={"torch": paired(samples["torch"], samples["ours"])})
    result.ratios["own"] = paired(samples["ours"], samples["ours at once"])
    plain = paired(samples["torch"], samples["ours at once"])
    result.note = f"in pieces of {PIECE} steps; without, ours is {plain} times faster than torch"
    return result


def recompute_memory(row: Row, settings: Settings) -> Result:
    """Mebibytes of the same pass, each contestant in processes of its own."""
    if not memory.RESET.exists():
        return Result(row, {}, unit="MiB", note=memory.UNTOLD)
    samples = {contestant: [memory.grown(__file__, contestant, row, settings.threads)] for contestant in CONTESTANTS}
    ratios = {
        "torch": paired(samples["ours"], samples["torch"]),
        "own": paired(samples["ours"], samples["ours at once"]),
    }
    result = Result(row, samples, unit="MiB", ratios=ratios)
    result.note = f"ours in pieces of {PIECE} steps as a part of torch's, and (own) of ours at once; lower is better"
    return result


def _pass(contestant: str, cell: str, width: int, batch: int, steps: int) -> Callable[[], tuple[Tensor, ...]]:
    """Outputs and the gradients of the inputs and of all parameters."""
    import torch

    from recurra import nn

    torch.manual_seed(0)
    name = {"gru": "GRU", "lstm": "LSTM"}[cell]
    options = {"recompute": PIECE} if contestant == "ours" else {}
    theirs = getattr(torch.nn, name)(width, width)
    module = theirs if contestant == "torch" else getattr(nn, name)(width, width, **options)
    module.load_state_dict(theirs.state_dict())
    inputs = torch.randn(steps, batch, width, generator=torch.Generator().manual_seed(2)).requires_grad_()
    gradient = torch.ones(()).expand(steps, batch, width)

    def once() -> tuple[Tensor, ...]:
        outputs = module(inputs)[0]
        return outputs, *torch.autograd.grad(outputs, [inputs, *module.parameters()], gradient)

    return once


def _main(contestant: str, cell: str, batch: int, steps: int, width: int, threads: int) -> None:
    import torch

    torch.set_num_threads(threads)
    memory.tell(lambda count: _pass(contestant, cell, width, batch, count)(), steps)


if __name__ == "__main__":
    _main(sys.argv[1], sys.argv[2], *map(int, sys.argv[3:]))
