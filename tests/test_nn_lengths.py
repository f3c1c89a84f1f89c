"""What torch's modules lack: lengths on padded inputs, resets, and the inner values of every step."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch.nn.utils.rnn import pack_padded_sequence

from nn_cases import flat
from recurra import nn
from recurra.errors import DataError, UsageError
from tolerances import assert_close

NAMES = ["RNN", "GRU", "LSTM"]
GRADS = pytest.mark.parametrize("grad", [True, False])


def rows_of(hx: Any, row: int) -> Any:
    return tuple(one[:, row : row + 1] for one in hx) if isinstance(hx, tuple) else hx[:, row : row + 1]


def some_hx(module: Any, batch: int) -> Any:
    count = module.num_layers * (2 if module.bidirectional else 1)
    h = torch.randn(count, batch, module.proj_size or module.hidden_size, dtype=torch.float64)
    return (h, torch.randn(count, batch, module.hidden_size, dtype=torch.float64)) if module.mode == "LSTM" else h


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("batch_first", [False, True])
@pytest.mark.parametrize("settings", [{}, {"num_layers": 2, "bidirectional": True}, {"num_layers": 3}])
@GRADS
def test_each_row_is_as_torch_runs_it_alone(name: str, batch_first: bool, settings: dict[str, Any], grad: bool) -> None:
    theirs = getattr(torch.nn, name)(3, 4, batch_first=batch_first, dtype=torch.float64, **settings)
    ours = getattr(nn, name)(3, 4, batch_first=batch_first, dtype=torch.float64, **settings)
    ours.load_state_dict(theirs.state_dict())
    lengths = [3, 0, 6, 1]
    x = torch.randn(4, 6, 3, dtype=torch.float64)
    for row, length in enumerate(lengths):
        x[row, length:] = torch.nan  # what pads is never read
    given = (x if batch_first else x.transpose(0, 1)).requires_grad_()
    hx = some_hx(ours, 4)
    forms: list[Any] = [lengths, torch.tensor(lengths), torch.tensor(lengths, dtype=torch.int32), tuple(lengths)]
    for form in forms:
        with torch.set_grad_enabled(grad):
            output, last = ours(given, hx, lengths=form)
        output = output if batch_first else output.transpose(0, 1)
        for row, length in enumerate(lengths):
            assert bool((output[row, length:] == 0).all())
            if length == 0:
                for one, other in zip(flat(rows_of(last, row)), flat(rows_of(hx, row)), strict=True):
                    assert torch.equal(one, other)
                continue
            piece = x[row, :length].detach()
            alone = piece[None] if batch_first else piece[:, None]
            expected, end = theirs(alone, rows_of(hx, row))
            assert_close(output[row, :length], expected.reshape(length, -1))
            for one, other in zip(flat(rows_of(last, row)), flat(end), strict=True):
                assert_close(one, other)
    if grad:
        gradients = torch.autograd.grad(output.sum(), [given, *ours.parameters()])  # pyright: ignore
        assert all(bool(one.isfinite().all()) for one in gradients)
        total = torch.zeros((), dtype=torch.float64)
        for row, length in enumerate(lengths):
            if length:
                piece = x[row, :length].detach()
                total = total + theirs(piece[None] if batch_first else piece[:, None], rows_of(hx, row))[0].sum()
        for one, other in zip(gradients[1:], torch.autograd.grad(total, list(theirs.parameters())), strict=True):
            assert_close(one, other, "gradients")


@pytest.mark.parametrize("name", NAMES)
@GRADS
def test_resets_start_a_row_anew(name: str, grad: bool) -> None:
    ours = getattr(nn, name)(3, 4, 2, dtype=torch.float64)
    x, hx = torch.randn(7, 2, 3, dtype=torch.float64), some_hx(ours, 2)
    resets = torch.zeros(7, 2, dtype=torch.bool)
    resets[3, 0] = resets[5, 1] = True
    with torch.set_grad_enabled(grad):
        output, _ = ours(x, hx, resets=resets)
        for row, at in ((0, 3), (1, 5)):
            alone = x[:, row : row + 1]
            assert_close(output[:at, row], ours(alone[:at], rows_of(hx, row))[0][:, 0])
            assert_close(output[at:, row], ours(alone[at:])[0][:, 0])
        ours.batch_first = True
        swapped = ours(x.transpose(0, 1), hx, resets=resets.T)[0]
    assert_close(swapped.transpose(0, 1), output)


@pytest.mark.parametrize("name", NAMES)
def test_wrong_lengths_and_resets(name: str) -> None:
    ours = getattr(nn, name)(3, 4)
    x = torch.randn(5, 2, 3)
    packed = pack_padded_sequence(x, torch.tensor([5, 3]))
    for grad in (True, False):
        with torch.set_grad_enabled(grad):
            for lengths in ([6, 1], [-1, 1], [1], [[1, 2]], [1.0, 2.0], torch.tensor([True, False])):
                with pytest.raises(DataError, match="lengths"):
                    ours(x, lengths=lengths)
            for resets in (torch.zeros(2, 5, dtype=torch.bool), torch.zeros(5, 2)):
                with pytest.raises(DataError, match="resets"):
                    ours(x, resets=resets)
            with pytest.raises(UsageError, match="PackedSequence"):
                ours(packed, lengths=[5, 3])


@pytest.mark.parametrize(("name", "inner"), [("RNN", "z"), ("GRU", "rznq"), ("LSTM", "ifgoc")])
@pytest.mark.parametrize("bidirectional", [False, True])
def test_trace_gives_what_forward_gives_and_more(name: str, inner: str, bidirectional: bool) -> None:
    ours = getattr(nn, name)(3, 4, 2, bidirectional=bidirectional, dtype=torch.float64)
    x = torch.randn(5, 2, 3, dtype=torch.float64)
    output, hx = ours(x)
    traced, end, values = ours.trace(x)
    assert_close(traced, output)
    for one, other in zip(flat(end), flat(hx), strict=True):
        assert_close(one, other)
    ends = ("", "_reverse") if bidirectional else ("",)
    assert set(values) == {f"l{k}{end}.{part}" for k in (0, 1) for end in ends for part in [*inner, "outputs"]}
    assert all(value.shape == (5, 2, 4) for value in values.values())
    assert_close(torch.cat([values[f"l1{end}.outputs"] for end in ends], dim=-1), output)
    if name == "LSTM":
        assert_close(values["l0.o"] * values["l0.c"].tanh(), values["l0.outputs"])
        assert_close(values["l0.c"][-1], hx[1][0])
    ours.batch_first = True
    assert ours.trace(x.transpose(0, 1), lengths=[3, 5])[2]["l0.outputs"].shape == (2, 5, 4)
    assert ours.trace(x[:, 0])[2]["l0.outputs"].shape == (5, 4)
    packed = ours.trace(pack_padded_sequence(x, torch.tensor([5, 2])))[2]["l0.outputs"]
    assert packed.data.shape == (7, 4)


@pytest.mark.parametrize("name", ["RNNCell", "GRUCell", "LSTMCell"])
def test_trace_of_a_cell(name: str) -> None:
    ours = getattr(nn, name)(3, 4)
    x = torch.randn(2, 3)
    hx, values = ours.trace(x)
    for one, other in zip(flat(hx), flat(ours(x)), strict=True):
        assert_close(one, other)
    assert all(value.shape == (2, 4) for value in values.values()) and values
    assert all(value.shape == (4,) for value in ours.trace(x[0])[1].values())
