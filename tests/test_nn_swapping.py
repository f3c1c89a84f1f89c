"""`convert` and `revert` change the class of what is there, and nothing else."""

from __future__ import annotations

import copy
from typing import Any

import pytest
import torch
from torch.nn.utils import parametrizations

from nn_cases import assert_same
from recurra import nn
from recurra.errors import UsageError

NAMES = ["RNN", "GRU", "LSTM", "RNNCell", "GRUCell", "LSTMCell"]


class Model(torch.nn.Module):
    """Every kind of module somewhere inside."""

    def __init__(self) -> None:
        super().__init__()
        self.parts = torch.nn.ModuleList(getattr(torch.nn, name)(3, 3) for name in NAMES[:3])
        self.cells = torch.nn.ModuleDict({name: getattr(torch.nn, name)(3, 3) for name in NAMES[3:]})
        self.head = torch.nn.Linear(3, 2)

    def forward(self, x: torch.Tensor) -> Any:
        for part in self.parts:
            x = part(x)[0]
        return self.head(x), [cell(x[0]) for cell in self.cells.values()]


def test_a_model_there_and_back() -> None:
    model = Model()
    before = {name: type(module) for name, module in model.named_modules()}
    parameters = list(model.parameters())
    keys = list(model.state_dict())
    x = torch.randn(4, 2, 3)
    expected = model(x)
    assert nn.convert(model) is model
    for name in NAMES:
        assert [type(m) for m in model.modules()].count(getattr(nn, name)) == 1
        assert not any(type(m) is getattr(torch.nn, name) for m in model.modules())
    assert all(one is other for one, other in zip(model.parameters(), parameters, strict=True))
    assert list(model.state_dict()) == keys
    assert_same(expected, model(x))
    with torch.no_grad():
        assert_same(expected, model(x))
        assert_same(expected, copy.deepcopy(model)(x))
    assert nn.convert(model) is nn.revert(model) is model
    assert {name: type(module) for name, module in model.named_modules()} == before
    assert_same(expected, model(x))


@pytest.mark.parametrize("name", NAMES)
def test_the_root_itself(name: str) -> None:
    theirs = getattr(torch.nn, name)(3, 4)
    ours = nn.convert(theirs)
    assert ours is theirs and type(ours) is getattr(nn, name)
    assert repr(ours) == repr(getattr(torch.nn, name)(3, 4))
    assert type(nn.revert(ours)) is getattr(torch.nn, name)


def test_the_module_is_an_attribute_of_the_package() -> None:
    import recurra

    assert recurra.nn is nn


def test_an_optimizer_and_hooks_stay() -> None:
    gru: Any = torch.nn.GRU(3, 4)
    model = torch.nn.Sequential(gru)
    seen: list[str] = []
    gru.register_forward_hook(lambda module, *_: seen.append(type(module).__module__))
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
    nn.convert(model)
    before = gru.weight_hh_l0.detach().clone()
    model(torch.randn(2, 1, 3))[0].sum().backward()
    optimizer.step()
    assert not torch.equal(gru.weight_hh_l0, before)
    assert seen == ["recurra.nn.modules"]


@pytest.mark.parametrize("name", ["GRU", "LSTMCell"])
def test_parametrised_modules(name: str) -> None:
    weight = "weight_hh_l0" if name == "GRU" else "weight_hh"
    theirs = parametrizations.weight_norm(getattr(torch.nn, name)(3, 4), weight)
    x = torch.randn(5, 2, 3) if name == "GRU" else torch.randn(2, 3)
    expected = theirs(x)
    ours = nn.convert(theirs)
    assert isinstance(ours, getattr(nn, name)) and type(ours).__name__ == f"Parametrized{name}"
    assert_same(expected, ours(x))
    with torch.no_grad():
        assert_same(expected, ours(x))
    nn.revert(ours)
    assert not isinstance(ours, getattr(nn, name))
    torch.nn.utils.parametrize.remove_parametrizations(nn.convert(ours), weight)
    assert type(ours) is getattr(nn, name)
    assert_same(expected, ours(x))


def test_others_are_left_as_they_are() -> None:
    class Mine(torch.nn.LSTM):
        pass

    class Lookalike(torch.nn.Module):
        options = "mine"

    model = torch.nn.ModuleList([Mine(3, 4), Lookalike(), torch.nn.Linear(2, 2)])
    kinds = [type(module) for module in model]
    assert [type(module) for module in nn.convert(model)] == kinds
    assert [type(module) for module in nn.revert(model)] == kinds


def test_what_torch_cannot_do_is_not_reverted() -> None:
    model = torch.nn.ModuleDict({"plain": nn.GRU(3, 4), "deep": torch.nn.Sequential(nn.LSTM(3, 4, layer_norm=True))})
    with pytest.raises(UsageError, match=r"'deep\.0'.*") as caught:
        nn.revert(model)
    assert "layer_norm=True" in str(caught.value)
    assert type(model["plain"]) is nn.GRU  # nothing was changed
