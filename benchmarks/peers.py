"""Our cell and torch's layer with the same weights, checked against each other before anything is timed."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

import recurra
from recurra.cells import Cell

_THEIRS = {"elman": nn.RNN, "gru": nn.GRU, "lstm": nn.LSTM}


@dataclass(frozen=True)
class Pair:
    ours: Cell
    theirs: nn.RNNBase


def pair(cell: str, width: int) -> Pair:
    """A cell of ours and the layer of torch.nn that computes the same."""
    torch.manual_seed(0)
    ours = recurra.CELLS[cell](width, width)
    theirs = _THEIRS[cell](width, width)
    copy_weights(ours, theirs)
    found = Pair(ours, theirs)
    _check(found, width)
    return found


def copy_weights(ours: Any, theirs: nn.RNNBase, layer: int = 0) -> None:
    """The weights of our cell into a layer of torch's, which has a second bias that ours only has where it matters."""
    with torch.no_grad():
        getattr(theirs, f"weight_ih_l{layer}").copy_(ours.weight_in)
        getattr(theirs, f"weight_hh_l{layer}").copy_(ours.weight_state)
        getattr(theirs, f"bias_ih_l{layer}").copy_(ours.bias)
        second = getattr(theirs, f"bias_hh_l{layer}").zero_()
        if isinstance(ours, recurra.GRU):
            second[2 * ours.hidden :] = ours.bias_state


def torch_state(state: Any) -> Any:
    """Our state as torch.nn takes it."""
    if hasattr(state, "c"):
        return state.h[None].clone(), state.c[None].clone()
    return state.h[None].clone()


def _check(found: Pair, width: int) -> None:
    """Both must give the same outputs and the same gradient of the inputs."""
    inputs = torch.randn(5, 3, width, requires_grad=True)
    state = found.ours.initial_state(3)
    ours, _ = found.ours(inputs, state)
    theirs, _ = found.theirs(inputs, torch_state(state))
    same("outputs", ours, theirs)
    same("gradients", *(torch.autograd.grad(outputs.square().sum(), inputs)[0] for outputs in (ours, theirs)))


def same(what: str, ours: Tensor, theirs: Tensor) -> None:
    """Raise `AssertionError` where the contestants do not do the same work."""
    torch.testing.assert_close(ours, theirs, rtol=1e-3, atol=1e-4, msg=lambda text: f"{what} differ: {text}")
