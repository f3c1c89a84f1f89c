"""Whole sequences: ours against torch.nn and ONNX Runtime, unequal lengths against packing, resets against none."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor
from torch.nn.utils.rnn import pack_padded_sequence, pad_packed_sequence

import machine
import onnx_peer
from peers import Pair, pair, same, torch_state
from results import Result, Settings
from rows import Row
from timing import Call, Samples, interleaved, paired

RESET_SHARE = 0.03


def sequence(row: Row, settings: Settings) -> Result:
    """Ours, torch.nn and (inference) ONNX Runtime over whole sequences of one length."""
    both, inputs = pair(row.cell, row.width), _inputs(row)
    state = both.ours.initial_state(row.batch)
    calls = {
        "ours": _call(row, both.ours, inputs, lambda x: both.ours(x, state)[0]),
        "torch": _call(row, both.theirs, inputs, lambda x: both.theirs(x, torch_state(state))[0]),
    }
    if row.mode == "inference" and onnx_peer.installed():
        calls["onnx"] = _onnx(row, both, inputs, state, settings.threads)
    result = _timed(row, settings, calls)
    result.share = _share(row, result.samples)
    return result


def ragged(row: Row, settings: Settings) -> Result:
    """Lengths drawn evenly from 1..T: ours against packing, and each against its own pass over the padding too."""
    both, inputs = pair(row.cell, row.width), _inputs(row)
    state = both.ours.initial_state(row.batch)
    lengths = torch.randint(1, row.steps + 1, (row.batch,), generator=torch.Generator().manual_seed(1))
    valid = int(lengths.sum())

    def packed(x: Tensor) -> Tensor:
        together = pack_padded_sequence(x, lengths, enforce_sorted=False)
        outputs, _ = both.theirs(together)
        return pad_packed_sequence(outputs, total_length=row.steps)[0]

    with torch.no_grad():
        same("ragged outputs", both.ours(inputs, state, lengths)[0], packed(inputs))
    calls = {
        "ours": _call(row, both.ours, inputs, lambda x: both.ours(x, state, lengths)[0]),
        "torch": _call(row, both.theirs, inputs, packed),
        "ours padded": _call(row, both.ours, inputs, lambda x: both.ours(x, state)[0]),
        "torch padded": _call(row, both.theirs, inputs, lambda x: both.theirs(x)[0]),
    }
    result = _timed(row, settings, calls)
    per_step = row.batch * row.steps / valid
    result.ratios["own"] = paired([per_step * took for took in result.samples["ours"]], result.samples["ours padded"])
    result.share = _share(row, result.samples, valid)
    against = paired(result.samples["torch padded"], result.samples["ours"])
    result.note = f"{valid / (row.batch * row.steps):.0%} of the steps are valid; {against} times torch's padded pass"
    return result


def resets(row: Row, settings: Settings) -> Result:
    """Resets on a few of the steps against none; torch.nn knows no resets, so it runs without."""
    both, inputs = pair(row.cell, row.width), _inputs(row)
    state = both.ours.initial_state(row.batch)
    where = torch.rand(row.steps, row.batch, generator=torch.Generator().manual_seed(1)) < RESET_SHARE
    calls = {
        "ours": _call(row, both.ours, inputs, lambda x: both.ours(x, state, None, where)[0]),
        "torch": _call(row, both.theirs, inputs, lambda x: both.theirs(x)[0]),
        "ours without": _call(row, both.ours, inputs, lambda x: both.ours(x, state)[0]),
    }
    result = _timed(row, settings, calls)
    result.ratios["own"] = paired(result.samples["ours"], result.samples["ours without"])
    result.share = _share(row, result.samples)
    result.note = "torch runs without resets"
    return result


def _inputs(row: Row) -> Tensor:
    random = torch.Generator().manual_seed(2)
    return torch.randn(row.steps, row.batch, row.width, generator=random)


def _call(row: Row, module: torch.nn.Module, inputs: Tensor, run: Any) -> Call:
    """What is timed: the forward pass, or also the gradients of the inputs and of all parameters."""
    if row.mode == "inference":

        def forward() -> None:
            with torch.no_grad():
                run(inputs)

        return forward
    wanted = [inputs.clone().requires_grad_(), *module.parameters()]
    gradient = torch.randn(row.steps, row.batch, row.width, generator=torch.Generator().manual_seed(3))

    def both_ways() -> None:
        torch.autograd.grad(run(wanted[0]), wanted, gradient)

    return both_ways


def _onnx(row: Row, both: Pair, inputs: Tensor, state: Any, threads: int) -> Call:
    run = onnx_peer.layer(row.cell, both.ours, threads)
    given = torch_state(state)
    values = {"x": inputs.numpy()}
    values |= {
        name: part.numpy() for name, part in zip("hc", given if isinstance(given, tuple) else (given,), strict=False)
    }
    with torch.no_grad():
        same("ONNX outputs", both.ours(inputs, state)[0], torch.from_numpy(run(values)[0][:, 0]))
    return lambda: run(values)


def _timed(row: Row, settings: Settings, calls: dict[str, Call]) -> Result:
    samples = interleaved({**calls, "product": machine.product()}, settings.rounds)
    ratios = {name: paired(samples[name], samples["ours"]) for name in ("torch", "onnx") if name in samples}
    return Result(row, samples, ratios=ratios)


def _share(row: Row, samples: Samples, valid: int | None = None) -> float:
    """Ours as a part of the peak that a large product reached in the same rounds."""
    quick = paired(samples["product"], samples["ours"]).median
    return row.flops(valid) / machine.PRODUCT_FLOPS * quick
