"""Whatever stands behind a weight's name is what runs: other tensors, none, tied ones, parametrisations, functional calls."""

from __future__ import annotations

import copy
from typing import Any

import pytest
import torch
from torch.nn.utils import parametrizations, parametrize
from torch.nn.utils.rnn import pack_padded_sequence

from nn_cases import assert_same, flat
from recurra import nn
from recurra.nn import fallback

LAYERS = ["RNN", "GRU", "LSTM"]
CELLS = ["RNNCell", "GRUCell", "LSTMCell"]


def pair(name: str, **settings: Any) -> tuple[Any, Any]:
    theirs = getattr(torch.nn, name)(3, 4, **settings)
    ours = getattr(nn, name)(3, 4, **settings)
    ours.load_state_dict(theirs.state_dict())
    return theirs, ours


def assert_both_ways(theirs: Any, ours: Any, x: torch.Tensor) -> None:
    """The same while a gradient is recorded and, on the short way, without."""
    assert_same(theirs(x), ours(x))
    with torch.no_grad():
        assert_same(theirs(x), ours(x))
        assert_same(theirs(x), ours(x))


@pytest.mark.parametrize("name", LAYERS)
def test_the_class_tells_what_it_is(name: str) -> None:
    ours = getattr(nn, name)(3, 4)
    assert isinstance(ours, torch.nn.RNNBase)
    assert not isinstance(ours, getattr(torch.nn, name))
    assert isinstance(getattr(nn, name + "Cell")(3, 4), getattr(torch.nn, name + "Cell"))


@pytest.mark.parametrize("name", LAYERS)
def test_attributes_and_state_dict(name: str) -> None:
    theirs, ours = pair(name, num_layers=2, bidirectional=True, batch_first=True)
    for attribute in ("mode", "input_size", "hidden_size", "num_layers", "bias", "batch_first", "dropout", "proj_size"):
        assert getattr(ours, attribute) == getattr(theirs, attribute)
    missing = {one for one in dir(theirs) if not hasattr(ours, one)}
    assert missing == set()
    assert [[tuple(w.shape) for w in layer] for layer in ours.all_weights] == [
        [tuple(w.shape) for w in layer] for layer in theirs.all_weights
    ]
    theirs.load_state_dict(ours.state_dict())
    ours.flatten_parameters()
    assert repr(ours) == repr(theirs)


@pytest.mark.parametrize("name", LAYERS)
def test_weights_deleted_and_put_back(name: str) -> None:
    theirs, ours = pair(name)
    x = torch.randn(3, 2, 3)
    assert_both_ways(theirs, ours, x)
    for module in (theirs, ours):
        kept = module.weight_hh_l0
        del module.weight_hh_l0
        assert not hasattr(module, "weight_hh_l0")
        module.float()
        module.weight_hh_l0 = kept.detach() * 2
    assert_both_ways(theirs, ours, x)
    for module in (theirs, ours):
        value = module.weight_hh_l0
        del module.weight_hh_l0
        module.weight_hh_l0 = torch.nn.Parameter(value * 3)
    assert_both_ways(theirs, ours, x)


@pytest.mark.parametrize("name", [*LAYERS, *CELLS])
def test_a_missing_weight_is_an_error(name: str) -> None:
    ours = getattr(nn, name)(3, 4)
    x = torch.randn(2, 3) if name in CELLS else torch.randn(2, 1, 3)
    with torch.no_grad():
        ours(x)
        del ours._parameters["weight_hh" + ("" if name in CELLS else "_l0")]
        with pytest.raises(AttributeError, match="weight_hh"):
            ours(x)


@pytest.mark.parametrize("name", LAYERS)
def test_tied_weights(name: str) -> None:
    theirs, ours = pair(name, bidirectional=True)
    for module in (theirs, ours):
        module.bias_ih_l0_reverse = module.bias_ih_l0
        module.weight_hh_l0_reverse = module.weight_hh_l0
    x = torch.randn(3, 2, 3)
    assert_both_ways(theirs, ours, x)
    for module in (theirs, ours):
        module(x)[0].sum().backward()
    assert_same(theirs.weight_hh_l0.grad, ours.weight_hh_l0.grad)


@pytest.mark.parametrize("name", [*LAYERS, *CELLS])
def test_writes_to_weights_are_seen(name: str) -> None:
    theirs, ours = pair(name)
    x = torch.randn(3, 3) if name in CELLS else torch.randn(3, 2, 3)
    for weight in dict(theirs.named_parameters()):
        with torch.no_grad():
            assert_both_ways(theirs, ours, x)
            for module in (theirs, ours):
                getattr(module, weight).add_(0.1)
        assert_both_ways(theirs, ours, x)
        for module in (theirs, ours):
            getattr(module, weight).data = getattr(module, weight).data * 1.5
        assert_both_ways(theirs, ours, x)
    # past torch: only the sampled numbers are watched, and a bias has few enough that all are
    for module in (theirs, ours):
        getattr(module, "bias_hh" if name in CELLS else "bias_hh_l0").detach().numpy()[0] += 1
    with torch.no_grad():
        assert_same(theirs(x), ours(x))


@pytest.mark.parametrize("name", [*LAYERS, *CELLS])
def test_parametrizations(name: str) -> None:
    class Double(torch.nn.Module):
        def forward(self, weight: torch.Tensor) -> torch.Tensor:
            return 2 * weight

    theirs, ours = pair(name)
    weight = "weight_hh" if name in CELLS else "weight_hh_l0"
    x = torch.randn(3, 3) if name in CELLS else torch.randn(3, 2, 3)
    assert_both_ways(theirs, ours, x)
    for module in (theirs, ours):
        parametrize.register_parametrization(module, weight, Double())
    assert_both_ways(theirs, ours, x)
    with torch.no_grad():
        for module in (theirs, ours):
            module.parametrizations[weight].original.add_(0.1)
    assert_both_ways(theirs, ours, x)
    for module in (theirs, ours):
        parametrize.remove_parametrizations(module, weight)
    assert type(ours) is getattr(nn, name)
    assert_both_ways(theirs, ours, x)


@pytest.mark.parametrize("name", LAYERS)
def test_weight_norm_and_spectral_norm(name: str) -> None:
    theirs, ours = pair(name)
    x = torch.randn(3, 2, 3)
    for module in (theirs, ours):
        torch.manual_seed(1)
        parametrizations.weight_norm(module, "weight_hh_l0")
        parametrizations.spectral_norm(module, "weight_ih_l0")
        module.eval()
    assert_both_ways(theirs, ours, x)
    for module in (theirs, ours):
        module(x)[0].sum().backward()
    wanted = {key: value.grad for key, value in theirs.named_parameters()}
    for key, value in ours.named_parameters():
        torch.testing.assert_close(value.grad, wanted[key], rtol=1e-4, atol=2e-5)


@pytest.mark.filterwarnings("ignore:.*torch.nn.utils.weight_norm.*:FutureWarning")
def test_the_old_weight_norm() -> None:
    theirs, ours = pair("GRU")
    for module in (theirs, ours):
        torch.nn.utils.weight_norm(module, "weight_hh_l0")
    assert_both_ways(theirs, ours, torch.randn(3, 2, 3))


@pytest.mark.parametrize("name", [*LAYERS, *CELLS])
def test_functional_call(name: str) -> None:
    theirs, ours = pair(name)
    x = torch.randn(3, 3) if name in CELLS else torch.randn(3, 2, 3)
    other = {key: torch.randn_like(value) for key, value in ours.named_parameters()}
    assert_both_ways(theirs, ours, x)
    for grad in (True, False):
        with torch.set_grad_enabled(grad):
            assert_same(torch.func.functional_call(theirs, other, (x,)), torch.func.functional_call(ours, other, (x,)))
    assert_both_ways(theirs, ours, x)


@pytest.mark.parametrize("name", LAYERS)
def test_absent_biases(name: str) -> None:
    ours = getattr(nn, name)(3, 4)
    x = torch.randn(3, 2, 3)
    with torch.no_grad():
        for bias in ("bias_ih_l0", "bias_hh_l0"):
            zeroed = copy.deepcopy(ours)
            getattr(zeroed, bias).zero_()
            expected = zeroed(x)
            without = copy.deepcopy(ours)
            delattr(without, bias)
            assert_same(expected, without(x))
            with torch.enable_grad():
                assert_same(expected, without(x))


@pytest.mark.parametrize("name", LAYERS)
def test_gradients_in_evaluation_mode(name: str) -> None:
    theirs, ours = pair(name)
    x = torch.randn(3, 2, 3, requires_grad=True)
    found = [torch.autograd.grad(m.eval()(x)[0].sum(), x)[0] for m in (theirs, ours)]
    torch.testing.assert_close(found[1], found[0], rtol=1e-4, atol=2e-5)


@pytest.mark.parametrize("name", LAYERS)
def test_dropout_may_be_changed_afterwards(name: str) -> None:
    theirs, ours = pair(name, num_layers=2)
    x = torch.randn(3, 2, 3)
    for module in (theirs, ours):
        module.dropout = 0.5
    results = []
    for module in (theirs, ours):
        torch.manual_seed(1)
        results.append(module(x))
    assert_same(*results)
    with torch.no_grad():
        for module in (theirs, ours):
            torch.manual_seed(1)
            results.append(module(x))
    assert_same(results[0], results[3])


@pytest.mark.parametrize("name", LAYERS)
def test_a_device_without_kernels_of_ours_runs_what_torch_runs(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """The device `meta` stands for it: torch's own function is called for all that cuDNN could do."""
    theirs, ours = pair(name, num_layers=2, batch_first=True)
    for module in (theirs, ours):
        module.to("meta")
    seen: list[str] = []
    for function in ("run", "step"):
        real = getattr(fallback, function)
        monkeypatch.setattr(
            fallback, function, lambda *args, function=function, real=real: seen.append(function) or real(*args)
        )
    x = torch.randn(2, 5, 3, device="meta")
    packed = pack_padded_sequence(x, torch.tensor([5, 2]), batch_first=True)
    for given in (x, x[0], packed):
        for one, other in zip(flat(theirs(given)), flat(ours(given)), strict=True):
            assert other.shape == one.shape and other.device.type == "meta"
    cell = getattr(nn, name + "Cell")(3, 4, device="meta")
    assert flat(cell(x[0]))[0].shape == (5, 4)
    assert seen == ["run", "run", "run", "step"]
    ours.eval()
    with torch.no_grad():
        ours(x)
    assert len(seen) == 5
    # the reference: a gradient in evaluation mode, lengths, inner values
    assert ours(x)[0].shape == ours(x, lengths=[1, 5])[0].shape == ours.trace(x)[0].shape == (2, 5, 4)
    assert len(seen) == 5


@pytest.mark.parametrize("name", LAYERS)
def test_a_wrong_device_or_state_raises_what_torch_raises(name: str) -> None:
    theirs, ours = pair(name)
    lstm = name == "LSTM"
    x, h, wide = torch.randn(3, 2, 3), torch.zeros(1, 2, 4), torch.zeros(1, 2, 4, dtype=torch.float64)
    far = h.to("meta")
    flat, rows = torch.zeros(2, 4), torch.zeros(1, 3, 4)
    cases: list[tuple[Any, ...]] = [
        (x.to("meta"),), (x, (far, far) if lstm else far), (x, (wide, wide) if lstm else wide), (x[:0],), (x.double(),),
        (x, (flat, flat) if lstm else flat), (x, (rows, rows) if lstm else rows), (x[:, 0], (h, h) if lstm else h),
        (x[..., :2],), (x[None],), (x[0, 0],),
        (pack_padded_sequence(x[..., :2], torch.tensor([3, 1])),),
        (pack_padded_sequence(x, torch.tensor([3, 1])), (rows, rows) if lstm else rows),
    ]  # fmt: skip
    for case in cases:
        for grad in (True, False):
            with torch.set_grad_enabled(grad):
                with pytest.raises((RuntimeError, ValueError, NotImplementedError)) as expected:
                    theirs(*case)
                with pytest.raises(type(expected.value)) as got:
                    ours(*case)
                assert str(got.value) == str(expected.value)


@pytest.mark.parametrize("recorded", [False, True])
def test_an_lstm_wants_two_states(recorded: bool) -> None:
    module, state = nn.LSTM(3, 4), torch.zeros(1, 2, 4, requires_grad=recorded)
    with torch.set_grad_enabled(recorded), pytest.raises(RuntimeError, match="lstm expects two hidden states"):
        module(torch.zeros(5, 2, 3), (state, state, state))


@pytest.mark.parametrize("recorded", [False, True])
@pytest.mark.parametrize("options", [{}, {"zoneout": 0.1}])
@pytest.mark.parametrize(
    "hx", [torch.zeros(2, 4), torch.zeros(2, 2, 4), (torch.zeros(2, 4),), (torch.zeros(2, 4),) * 3]
)
def test_an_lstm_cell_wants_two_states(recorded: bool, options: dict[str, Any], hx: Any) -> None:
    x = torch.randn(2, 3)
    with torch.set_grad_enabled(recorded):
        with pytest.raises((TypeError, RuntimeError)) as expected:
            torch.nn.LSTMCell(3, 4)(x, hx)
        for run in (nn.LSTMCell(3, 4, **options), nn.LSTMCell(3, 4, **options).trace):
            with pytest.raises(type(expected.value)) as got:
                run(x, hx)
            assert str(got.value) == str(expected.value)
