"""Whole sequences: ours against torch.nn and ONNX Runtime, unequal lengths against packing, resets against none."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor
from torch.nn.utils.rnn import pack_padded_sequence, pad_packed_sequence

import onnx_peer
from peers import Pair, pair, same, torch_state
from results import Result, Settings
from rows import Row
from timing import Call, paired
from whole import call, inputs_of, timed

RESET_SHARE = 0.03


def sequence(row: Row, settings: Settings) -> Result:
    """Ours, torch.nn and (inference) ONNX Runtime over whole sequences of one length."""
    both, inputs = pair(row.cell, row.width), inputs_of(row)
    state = both.ours.initial_state(row.batch)
    calls: dict[str, Call] = {
        "ours": call(row, both.ours.parameters(), inputs, lambda x: both.ours(x, state)[0]),
        "torch": call(row, both.theirs.parameters(), inputs, lambda x: both.theirs(x, torch_state(state))[0]),
    }
    if row.mode == "inference" and onnx_peer.installed():
        calls["onnx"] = _onnx(row, both, inputs, state, settings.threads)
    return timed(row, settings, calls)


def ragged(row: Row, settings: Settings) -> Result:
    """Lengths drawn evenly from 1..T: ours against packing, and each against its own pass over the padding too."""
    both, inputs = pair(row.cell, row.width), inputs_of(row)
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
        "ours": call(row, both.ours.parameters(), inputs, lambda x: both.ours(x, state, lengths)[0]),
        "torch": call(row, both.theirs.parameters(), inputs, packed),
        "ours padded": call(row, both.ours.parameters(), inputs, lambda x: both.ours(x, state)[0]),
        "torch padded": call(row, both.theirs.parameters(), inputs, lambda x: both.theirs(x)[0]),
    }
    result = timed(row, settings, calls, valid)
    per_step = row.batch * row.steps / valid
    result.ratios["own"] = paired([per_step * took for took in result.samples["ours"]], result.samples["ours padded"])
    against = paired(result.samples["torch padded"], result.samples["ours"])
    result.note = f"{valid / (row.batch * row.steps):.0%} of the steps are valid; {against} times torch's padded pass"
    return result


def resets(row: Row, settings: Settings) -> Result:
    """Resets on a few of the steps against none; torch.nn knows no resets, so it runs without."""
    both, inputs = pair(row.cell, row.width), inputs_of(row)
    state = both.ours.initial_state(row.batch)
    where = torch.rand(row.steps, row.batch, generator=torch.Generator().manual_seed(1)) < RESET_SHARE
    calls = {
        "ours": call(row, both.ours.parameters(), inputs, lambda x: both.ours(x, state, None, where)[0]),
        "torch": call(row, both.theirs.parameters(), inputs, lambda x: both.theirs(x)[0]),
        "ours without": call(row, both.ours.parameters(), inputs, lambda x: both.ours(x, state)[0]),
    }
    result = timed(row, settings, calls)
    result.ratios["own"] = paired(result.samples["ours"], result.samples["ours without"])
    result.note = "torch runs without resets"
    return result


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
