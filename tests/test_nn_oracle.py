"""torch.nn is the oracle: two thousand random configurations, values and all gradients within the table of tolerances."""

from __future__ import annotations

import pytest
import torch

from nn_cases import assert_same, compare, draw, total
from recurra import nn
from tolerances import assert_close


@pytest.mark.filterwarnings("ignore:LSTM with projections is not supported with oneDNN")
@pytest.mark.parametrize("first", range(0, 2000, 50))
def test_values_and_gradients_are_those_of_torch(first: int) -> None:
    for seed in range(first, first + 50):
        compare(draw(seed))


@pytest.mark.parametrize("name", ["RNNCell", "GRUCell", "LSTMCell"])
@pytest.mark.parametrize("dtype", [torch.float64, torch.float32])
@pytest.mark.parametrize("bias", [True, False])
@pytest.mark.parametrize("rows", [(), (0,), (1,), (5,)], ids=str)
@pytest.mark.parametrize("with_hx", [True, False])
def test_cells(name: str, dtype: torch.dtype, bias: bool, rows: tuple[int, ...], with_hx: bool) -> None:
    theirs = getattr(torch.nn, name)(3, 4, bias=bias, dtype=dtype)
    ours = getattr(nn, name)(3, 4, bias=bias, dtype=dtype)
    ours.load_state_dict(theirs.state_dict())
    x, h, c = (torch.randn(*rows, size, dtype=dtype, requires_grad=True) for size in (3, 4, 4))
    hx = None if not with_hx else (h, c) if name == "LSTMCell" else h
    gradients = []
    for cell in (theirs, ours):
        leaves = [x, *([h] if with_hx else []), *([c] if with_hx and name == "LSTMCell" else []), *cell.parameters()]
        gradients.append(torch.autograd.grad(total(cell(x, hx)), leaves))
    assert_same(theirs(x, hx), ours(x, hx))
    for one, other in zip(*gradients, strict=True):
        assert_close(other, one, "gradients")
    with torch.no_grad():
        assert_same(theirs(x, hx), ours(x, hx))


def test_relu_cell() -> None:
    theirs = torch.nn.RNNCell(3, 4, nonlinearity="relu")
    ours = nn.convert(torch.nn.RNNCell(3, 4, nonlinearity="relu"))
    ours.load_state_dict(theirs.state_dict())
    x = torch.randn(2, 3)
    assert_same(theirs(x), ours(x))
    with torch.no_grad():
        assert_same(theirs(x), ours(x))


@pytest.mark.parametrize("name", ["RNN", "GRU", "LSTM", "RNNCell", "GRUCell", "LSTMCell"])
def test_the_same_seed_gives_the_same_first_weights(name: str) -> None:
    torch.manual_seed(3)
    theirs = getattr(torch.nn, name)(3, 4)
    torch.manual_seed(3)
    ours = getattr(nn, name)(3, 4)
    assert list(ours.state_dict()) == list(theirs.state_dict())
    for key, value in theirs.state_dict().items():
        assert torch.equal(ours.state_dict()[key], value)
    assert repr(ours) == repr(theirs)


@pytest.mark.parametrize("name", ["RNN", "GRU", "LSTM", "RNNCell", "GRUCell", "LSTMCell"])
@pytest.mark.parametrize("weights", [torch.float32, torch.bfloat16])
@pytest.mark.parametrize("inputs", [torch.float32, torch.bfloat16, torch.float64])
@pytest.mark.parametrize("state", [None, torch.float32, torch.bfloat16])
@pytest.mark.parametrize("packed", [False, True])
def test_autocast_gives_the_dtypes_that_torch_gives(
    name: str, weights: torch.dtype, inputs: torch.dtype, state: torch.dtype | None, packed: bool
) -> None:
    cell = name.endswith("Cell")
    if cell and packed:
        return
    theirs = getattr(torch.nn, name)(3, 4).to(weights)
    ours = getattr(nn, name)(3, 4).to(weights)
    x = torch.randn(2, 3).to(inputs) if cell else torch.randn(5, 2, 3).to(inputs)
    h = None if state is None else torch.zeros((2, 4) if cell else (1, 2, 4), dtype=state)
    hx = (h, h) if h is not None and name.startswith("LSTM") else h
    given = torch.nn.utils.rnn.pack_padded_sequence(x, torch.tensor([5, 3])) if packed else x
    for grad in (True, False):
        with torch.autocast("cpu", torch.bfloat16), torch.set_grad_enabled(grad):
            if inputs == torch.float64:
                for module in (theirs, ours):
                    with pytest.raises(RuntimeError, match="must have the same dtype"):
                        module(given, hx)
                continue
            one, other = dtypes(theirs(given, hx)), dtypes(ours(given, hx))
        if name != "LSTM" or packed or torch.backends.mkldnn.is_available():
            assert other == one


def dtypes(result: object) -> list[torch.dtype]:
    if isinstance(result, torch.nn.utils.rnn.PackedSequence):
        return [result.data.dtype]
    return [result.dtype] if isinstance(result, torch.Tensor) else [d for one in result for d in dtypes(one)]  # pyright: ignore


def test_autocast_is_about_as_right_as_bfloat16_is() -> None:
    ours = nn.GRU(8, 16)
    x = torch.randn(5, 2, 8)
    expected = ours(x)[0]
    with torch.autocast("cpu", torch.bfloat16):
        assert (ours(x.bfloat16())[0].float() - expected).abs().max() < 0.03


@pytest.mark.parametrize("cast", [torch.bfloat16, torch.float16])
@pytest.mark.parametrize("weights", [torch.float32, torch.bfloat16])
@pytest.mark.parametrize("packed", [False, True])
@pytest.mark.filterwarnings("ignore:LSTM with projections is not supported with oneDNN", "ignore:recurra")
def test_autocast_gives_a_projection_the_dtypes_that_torch_gives(
    cast: torch.dtype, weights: torch.dtype, packed: bool
) -> None:
    theirs = torch.nn.LSTM(3, 4, 2, proj_size=2, bidirectional=True).to(weights)
    ours = nn.LSTM(3, 4, 2, proj_size=2, bidirectional=True).to(weights)
    x = torch.randn(5, 2, 3)
    given = torch.nn.utils.rnn.pack_padded_sequence(x, torch.tensor([5, 3])) if packed else x
    for grad in (True, False):
        with torch.autocast("cpu", cast), torch.set_grad_enabled(grad):
            assert dtypes(ours(given)) == dtypes(theirs(given))
