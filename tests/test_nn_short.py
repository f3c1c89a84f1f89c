"""Short calls without gradients: the weights stay packed, and the numbers are those of the long way, bit for bit."""

from __future__ import annotations

from typing import Any

import pytest
import torch

from nn_cases import flat
from recurra import kernels, nn
from recurra.nn import short

NAMES = ["RNN", "GRU", "LSTM"]
SETTINGS: list[dict[str, Any]] = [
    {}, {"bias": False}, {"num_layers": 3}, {"bidirectional": True}, {"num_layers": 3, "bidirectional": True},
    {"num_layers": 2, "batch_first": True, "bidirectional": True},
]  # fmt: skip


def long_way(module: Any, *args: Any, **kwargs: Any) -> Any:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(kernels, "direct", lambda: False)
        return module(*args, **kwargs)


def assert_bits(short_result: Any, long_result: Any) -> None:
    for one, other in zip(flat(short_result), flat(long_result), strict=True):
        assert one.shape == other.shape and torch.equal(one, other)


def hx_of(module: Any, *rows: int) -> Any:
    count = module.num_layers * (2 if module.bidirectional else 1)
    h = torch.randn(count, *rows, module.proj_size or module.hidden_size, dtype=module.weight_ih_l0.dtype)
    c = torch.randn(count, *rows, module.hidden_size, dtype=h.dtype)
    return (h, c) if module.mode == "LSTM" else h


@pytest.fixture
def calls(monkeypatch: pytest.MonkeyPatch) -> list[bool]:
    """Whether each call of kept weights was answered."""
    seen: list[bool] = []
    native = kernels.Kept.run_stacked

    def counted(*args: Any, **kwargs: Any) -> bool:
        seen.append(native(*args, **kwargs))
        return seen[-1]

    monkeypatch.setattr(kernels.Kept, "run_stacked", counted)
    return seen


@torch.no_grad()
@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("settings", SETTINGS, ids=str)
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_bits_are_those_of_the_long_way(name: str, settings: dict[str, Any], dtype: torch.dtype, calls: Any) -> None:
    for extra in [{}, {"proj_size": 2}] if name == "LSTM" else [{}]:
        module = getattr(nn, name)(3, 4, dtype=dtype, **settings, **extra)
        for steps, batch in ((1, 1), (1, 3), (4, 1), (4, 3)):
            shape = (batch, steps) if module.batch_first else (steps, batch)
            x = torch.randn(*shape, 3, dtype=dtype)
            lengths, resets = torch.randint(0, steps + 1, (batch,)), torch.rand(shape) < 0.3
            for hx in (None, hx_of(module, batch)):
                for given in ({}, {"lengths": lengths}, {"resets": resets}, {"lengths": lengths, "resets": resets}):
                    assert_bits(module(x, hx, **given), long_way(module, x, hx, **given))
        x = torch.randn(5, 3, dtype=dtype)
        for hx in (None, hx_of(module)):
            assert_bits(module(x, hx), long_way(module, x, hx))
    assert calls and all(calls)


@torch.no_grad()
@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("rows", [(), (1,), (4,)], ids=str)
def test_cells(name: str, rows: tuple[int, ...], calls: Any) -> None:
    cell = getattr(nn, name + "Cell")(3, 4)
    x, h, c = torch.randn(*rows, 3), torch.randn(*rows, 4), torch.randn(*rows, 4)
    for hx in (None, (h, c) if name == "LSTM" else h):
        before = [one.clone() for one in flat(hx or ())] if name == "LSTM" or hx is None else [h.clone()]
        assert_bits(cell(x, hx), long_way(cell, x, hx))
        assert all(torch.equal(one, other) for one, other in zip(before, (h, c), strict=False))  # states are values
    assert calls == [True, True]


@torch.no_grad()
@pytest.mark.parametrize("name", NAMES)
def test_what_is_out_of_the_ordinary_goes_the_long_way(name: str, calls: Any) -> None:
    module = getattr(nn, name)(3, 4, 2, dropout=0.5)
    x, hx = torch.randn(5, 2, 3), hx_of(module, 2)
    module(x)  # dropout is on
    module.eval()
    assert calls == []
    strided = torch.randn(5, 2, 6)[..., ::2]
    assert_bits(module(strided), long_way(module, strided))
    turned = hx.transpose(0, 1).contiguous().transpose(0, 1) if name != "LSTM" else tuple(
        one.transpose(0, 1).contiguous().transpose(0, 1) for one in hx
    )  # fmt: skip
    assert_bits(module(x, turned), long_way(module, x, turned))
    assert True not in calls
    module(torch.randn(kernels.MOST_ROWS // 2 + 1, 2, 3))
    parameter = torch.nn.Parameter(x)
    assert_bits(module(parameter), module(x))
    assert calls[-1] and True not in calls[:-1]
    with torch.autocast("cpu", torch.bfloat16):
        module(x)
    with kernels.backend("reference"):
        module(x)
    assert calls.count(True) == 1
    wide = module.bfloat16()
    assert wide(x.bfloat16())[0].dtype == torch.bfloat16
    assert calls.count(True) == 1


@torch.no_grad()
def test_kept_weights_go_with_their_module() -> None:
    import gc
    import weakref

    module = nn.GRU(3, 4)
    module(torch.randn(1, 1, 3))
    kept = weakref.ref(short._kept[module])
    assert "Kept" not in str(module.__dict__)
    del module
    gc.collect()
    assert kept() is None


@torch.no_grad()
def test_changed_settings_are_noticed() -> None:
    x = torch.randn(2, 1, 3)
    rnn = nn.RNN(3, 4)
    before = rnn(x)[0]
    rnn.mode = "RNN_RELU"
    assert not torch.equal(rnn(x)[0], before) and bool((rnn(x)[0] >= 0).all())
    cell = nn.RNNCell(3, 4)
    cell(x[0])
    cell.nonlinearity = "relu"
    assert bool((cell(x[0]) >= 0).all())
    assert_bits(cell(x[0]), long_way(cell, x[0]))
    cell.nonlinearity = "sin"
    with pytest.raises(RuntimeError, match="Unknown nonlinearity: sin"):
        cell(x[0])
    cell.nonlinearity = "foo"
    with pytest.raises(RuntimeError, match="Unknown nonlinearity: foo"):
        cell(x[0])


@torch.no_grad()
def test_the_native_side_checks_sizes() -> None:
    module = nn.LSTM(3, 4)
    x, (h, c) = torch.randn(2, 1, 3), hx_of(module, 1)
    module(x)
    kept = short._kept[module]
    out, last = torch.empty(2, 1, 4), (torch.empty(1, 1, 4), torch.empty(1, 1, 4))
    assert kept.run_stacked(2, 1, x, (h, c), last, out)
    for wrong in (x[:1], x.double(), x[..., :2], torch.randn(2, 2, 3).transpose(0, 1)):
        assert not kept.run_stacked(2, 1, wrong, (h, c), last, out)
    for state in (h[..., :2], h.double(), h[0], torch.randn(1, 4, 1)):
        assert not kept.run_stacked(2, 1, x, (state, c), last, out)
        assert not kept.run_stacked(2, 1, x, (h, state), last, out)
    assert not kept.run_stacked(0, 1, x[:0], (h, c), last, out[:0])
    assert not kept.run_stacked(2, 1, x, (h, c), last, out, torch.tensor([3]))
    with pytest.raises(ValueError, match="outputs has 4 numbers; expected 8"):
        kept.run_stacked(2, 1, x, (h, c), last, out[:1].contiguous())
    with pytest.raises(ValueError, match="h_last"):
        kept.run_stacked(2, 1, x, (h, c), (torch.empty(3), last[1]), out)
    with pytest.raises(ValueError, match="c is for an LSTM"):
        kept.run_stacked(2, 1, x, (h,), last, out)
