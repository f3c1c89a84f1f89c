"""Cells that a person writes, through `recurra.OwnCell`, against the same loops in torch."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

import loops
import recurra
from results import Result, Settings
from rows import Row
from timing import paired
from whole import CHECKED, Gives, call, check, inputs_of, timed


def minimal(x: Tensor, s: Any, p: Any) -> Any:
    """The minimal gated unit (Zhou et al. 2016): one gate, used twice."""
    f = torch.sigmoid(x @ p.W_f.T + s.h @ p.U_f.T + p.b_f)
    n = torch.tanh(x @ p.W_n.T + (f * s.h) @ p.U_n.T + p.b_n)
    h = (1 - f) * s.h + f * n
    return h, {"h": h}


def rivals(x: Tensor, s: Any, p: Any) -> Any:
    """In no library: the units of a group share out what is written to them, and the candidate sees a normed state."""
    shares = (x @ p.W_f.T + s.h @ p.U_f.T + p.b_f).chunk(loops.GROUPS, dim=1)
    a = torch.cat([F.softmax(group, dim=1) for group in shares], dim=1)
    normed = s.h * torch.rsqrt(s.h.square().mean(-1, keepdim=True) + loops.EPSILON)
    n = torch.tanh(x @ p.W_n.T + normed @ p.U_n.T + p.b_n)
    h = (1 - a) * s.h + a * n
    return h, {"h": h}


STEPS = {"minimal": minimal, "rivals": rivals}


def own(row: Row, settings: Settings) -> Result:
    """Training of an own cell: the native program against the loop as it stands in torch, the compiled ones in a note."""
    torch.manual_seed(0)
    width = row.width
    parameters = {f"{kind}_{gate}": (width, width) for gate in "fn" for kind in "WU"}
    parameters |= {f"b_{gate}": (width,) for gate in "fn"}
    ours = recurra.OwnCell(STEPS[row.cell], width, state={"h": width}, parameters=parameters)
    state, ways = ours.initial_state(row.batch), loops.ways(f"own {row.cell}")

    def calls(row: Row) -> dict[str, Gives]:
        inputs = inputs_of(row)

        def theirs(loop: loops.Loop) -> Gives:
            def run(x: Tensor) -> Tensor:
                p: Any = ours
                weight, bias = torch.cat([p.W_f, p.W_n]), torch.cat([p.b_f, p.b_n])
                return loop(x, state.h, weight, bias, p.U_f, p.U_n)

            return call(row, ours.parameters(), inputs, run)

        mine = call(row, ours.parameters(), inputs, lambda x: ours(x, state)[0])
        return {"ours": mine, **{way: theirs(loop) for way, loop in ways.items()}}

    check(calls(replace(row, steps=CHECKED)))
    contestants = calls(row)
    mine = contestants.pop("ours")
    best, words = loops.quickest(contestants)
    together = {"ours": mine, "torch": contestants["eager"], "torch, the quickest": contestants[best]}
    result = timed(row, settings, together)
    against = paired(result.samples["torch, the quickest"], result.samples["ours"])
    result.note = (
        f"torch: the loop as it stands; {against} times faster than the quickest, {best} ({words}); {ours.explain()}"
    )
    return result
