"""torch's own sample inputs and wrong inputs for its recurrent modules, on ours; and what torch's module tests check.

The samples are in a private file of torch's test suite that its wheels carry. Where it is missing these tests are left out.
"""

from __future__ import annotations

import copy
import io
from typing import Any

import pytest
import torch
from torch.nn.utils.rnn import PackedSequence

from nn_cases import assert_same, flat, total
from recurra import nn
from tolerances import assert_close

samples: Any = pytest.importorskip("torch.testing._internal.common_modules", exc_type=ImportError)
NAMES = ["RNN", "GRU", "LSTM", "RNNCell", "GRUCell", "LSTMCell"]
INFOS = {
    info.module_cls.__name__: info for info in samples.module_db if info.module_cls.__name__ in NAMES
}  # fmt: skip
pytestmark = pytest.mark.filterwarnings("ignore:LSTM with projections is not supported with oneDNN")


def inputs(name: str, dtype: torch.dtype, *, training: bool = True, grad: bool = False) -> list[Any]:
    info = INFOS[name]
    extra = {"with_packed_sequence": True} if name in ("RNN", "GRU") else {}
    return info.module_inputs_func(
        info, device="cpu", dtype=dtype, requires_grad=grad, training=training, **extra
    )  # fmt: skip


def build(name: str, sample: Any, dtype: torch.dtype) -> tuple[Any, Any]:
    given = sample.constructor_input
    theirs = getattr(torch.nn, name)(*given.args, **given.kwargs).to(dtype)
    ours = getattr(nn, name)(*given.args, **given.kwargs).to(dtype)
    ours.load_state_dict(theirs.state_dict())
    return theirs, ours


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("dtype", [torch.float64, torch.float32, torch.bfloat16])
def test_forward_and_reference(name: str, dtype: torch.dtype) -> None:
    assert inputs(name, dtype)
    for sample in inputs(name, dtype):
        theirs, ours = build(name, sample, dtype)
        args, kwargs = sample.forward_input.args, sample.forward_input.kwargs
        result = ours(*args, **kwargs)
        if dtype != torch.bfloat16:  # there torch rounds at every step, and ours once
            assert_same(theirs(*args, **kwargs), result)
        assert [one.dtype for one in flat(result)] == [dtype] * len(flat(result))
        assert all(one.device.type == "cpu" for one in flat(result))
        if sample.reference_fn is not None and not isinstance(args[0], PackedSequence):
            assert_same(sample.reference_fn(ours, *args, **kwargs), result)


@pytest.mark.parametrize("name", NAMES)
def test_first_and_second_gradients(name: str) -> None:
    seen = 0
    for sample in inputs(name, torch.float64, grad=True)[::9]:
        _, ours = build(name, sample, torch.float64)
        args = sample.forward_input.args
        leaves = [arg.data if isinstance(arg, PackedSequence) else arg for arg in flatten(args)]
        leaves = [leaf for leaf in leaves if leaf.requires_grad] + list(ours.parameters())

        def run(*_: Any, ours: Any = ours, args: Any = args) -> tuple[torch.Tensor, ...]:
            return tuple(flat(ours(*args)))

        assert torch.autograd.gradcheck(run, leaves, fast_mode=True)
        assert torch.autograd.gradgradcheck(run, leaves, fast_mode=True)
        seen += 1
    assert seen


def flatten(values: Any) -> list[Any]:
    if isinstance(values, torch.Tensor | PackedSequence):
        return [values]
    return [leaf for one in values for leaf in flatten(one)]


@pytest.mark.parametrize("name", NAMES)
def test_non_contiguous_inputs(name: str) -> None:
    for sample in inputs(name, torch.float64, grad=True):
        _, ours = build(name, sample, torch.float64)
        args = sample.forward_input.args
        if isinstance(args[0], PackedSequence):
            continue
        expected = ours(*args)
        leaves = [leaf for leaf in flatten(args) if leaf.requires_grad]
        wanted = torch.autograd.grad(total(expected), leaves)

        def strided(value: Any) -> Any:
            if isinstance(value, torch.Tensor):
                return torch.repeat_interleave(value.detach(), 2, dim=-1)[..., ::2].requires_grad_()
            return tuple(strided(one) for one in value)

        other = [strided(arg) for arg in args]
        result = ours(*other)
        assert_same(expected, result)
        got = torch.autograd.grad(total(result), flatten(other))
        for one, two in zip(wanted, got, strict=True):
            assert_close(two, one, "gradients")
        with torch.no_grad():
            assert_same(expected, ours(*other))


@pytest.mark.parametrize("name", NAMES)
def test_deepcopy_and_saving(name: str) -> None:
    for sample in inputs(name, torch.float32)[::4]:
        _, ours = build(name, sample, torch.float32)
        args = sample.forward_input.args
        with torch.no_grad():
            expected = ours(*args)
            buffer = io.BytesIO()
            torch.save(ours, buffer)
            buffer.seek(0)
            for other in (copy.deepcopy(ours), torch.load(buffer, weights_only=False)):
                assert type(other) is type(ours)
                assert_same(expected, other(*args))
                for parameter in other.parameters():
                    parameter.zero_()
                assert not any(
                    torch.equal(one, two) for one, two in zip(flat(expected), flat(other(*args)), strict=True)
                )
            assert_same(expected, ours(*args))


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.filterwarnings("ignore:dropout option adds dropout")
def test_wrong_inputs_raise_what_torch_raises(name: str) -> None:
    info = INFOS[name]
    wrong = info.module_error_inputs_func(
        info, device="cpu", dtype=torch.float32, requires_grad=False, training=True
    )  # fmt: skip
    assert wrong
    for sample in wrong:
        given = sample.module_error_input.constructor_input

        def attempt(kind: Any, sample: Any = sample, given: Any = given) -> None:
            module = kind(*given.args, **given.kwargs)
            if sample.error_on != samples.ModuleErrorEnum.CONSTRUCTION_ERROR:
                module(*sample.module_error_input.forward_input.args)

        with pytest.raises(sample.error_type, match=sample.error_regex) as ours:
            attempt(getattr(nn, name))
        with pytest.raises(sample.error_type) as theirs:
            attempt(getattr(torch.nn, name))
        assert str(ours.value) == str(theirs.value)
        with torch.no_grad(), pytest.raises(sample.error_type, match=sample.error_regex):
            attempt(getattr(nn, name))
