"""The transforms of torch.func over the modules: what torch's own modules can do, and vmap, which they cannot."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch.autograd import forward_ad

from nn_cases import assert_same, flat
from recurra import nn
from tolerances import assert_close

NAMES = ["RNN", "GRU", "LSTM"]


def pair(name: str) -> tuple[Any, Any]:
    theirs = getattr(torch.nn, name)(3, 4, dtype=torch.float64)
    ours = getattr(nn, name)(3, 4, dtype=torch.float64)
    ours.load_state_dict(theirs.state_dict())
    return theirs, ours


@pytest.mark.parametrize("name", NAMES)
def test_grad_and_jacrev(name: str) -> None:
    theirs, ours = pair(name)
    x = torch.randn(5, 2, 3, dtype=torch.float64)

    def gradient(module: Any) -> Any:
        def loss(weights: Any) -> torch.Tensor:
            return torch.func.functional_call(module, weights, (x,))[0].square().sum()

        return torch.func.grad(loss)({key: value.detach() for key, value in module.named_parameters()})

    wanted, got = gradient(theirs), gradient(ours)
    for key in wanted:
        assert_close(got[key], wanted[key], "gradients")
    one, other = (torch.func.jacrev(lambda x, m=m: m(x)[0].sum(0))(x) for m in (theirs, ours))
    assert_close(other, one, "gradients")


@pytest.mark.filterwarnings("ignore:.*torch.jit.script:DeprecationWarning")
@pytest.mark.parametrize("name", NAMES)
def test_jvp(name: str) -> None:
    theirs, ours = pair(name)
    x, v = torch.randn(2, 5, 2, 3, dtype=torch.float64)
    one, other = (torch.func.jvp(lambda x, m=m: m(x)[0], (x,), (v,)) for m in (theirs, ours))
    assert_same(one, other)


@pytest.mark.filterwarnings("ignore:.*torch.jit.script:DeprecationWarning")
@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("grad", [True, False])
def test_dual_numbers(name: str, grad: bool) -> None:
    theirs, ours = pair(name)
    x, v = torch.randn(2, 5, 2, 3, dtype=torch.float64)
    found = []
    for module in (theirs, ours):
        with torch.set_grad_enabled(grad), forward_ad.dual_level():
            found.append(forward_ad.unpack_dual(module(forward_ad.make_dual(x, v))[0]))
    assert_close(found[1].primal, found[0].primal)
    assert_close(found[1].tangent, found[0].tangent)


@pytest.mark.parametrize("name", [*NAMES, "RNNCell", "GRUCell", "LSTMCell"])
def test_an_ensemble_by_vmap(name: str) -> None:
    """Many models at once, which torch's layers refuse (pytorch #105982, #134606)."""
    models = [getattr(nn, name)(3, 4, dtype=torch.float64) for _ in range(3)]
    weights, _ = torch.func.stack_module_state(models)
    x = torch.randn(*(() if name.endswith("Cell") else (5,)), 2, 3, dtype=torch.float64)
    expected = [model(x) for model in models]

    def run(weights: Any) -> Any:
        return torch.func.functional_call(models[0], weights, (x,))

    together = torch.vmap(run)(weights)
    for index, one in enumerate(expected):
        for part, value in zip(flat(one), flat(together), strict=True):
            assert_close(value[index], part)


def test_gradients_for_each_sample() -> None:
    ours = nn.GRU(3, 4, dtype=torch.float64)
    x = torch.randn(5, 6, 3, dtype=torch.float64)
    weights = {key: value.detach() for key, value in ours.named_parameters()}

    def loss(weights: Any, row: torch.Tensor) -> torch.Tensor:
        return torch.func.functional_call(ours, weights, (row,))[0].square().sum()

    found = torch.vmap(torch.func.grad(loss), in_dims=(None, 1))(weights, x)
    for row in range(6):
        one = torch.autograd.grad(ours(x[:, row])[0].square().sum(), list(ours.parameters()))
        for key, value in zip(weights, one, strict=True):
            assert_close(found[key][row], value, "gradients")
