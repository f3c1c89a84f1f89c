"""Rows of `gpu.py` for plain layers: dense ones against cuDNN; ragged ones and resets, which cuDNN has to be helped with."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import torch
from torch import Tensor, nn

from gpu_timing import Call, Contestant, Row, sets_for, within
from recurra import kernels
from recurra.kernels import KERNELS, reference
from recurra.kernels.gpu import layers
from recurra.kernels.gpu.shares import Device, share_out
from recurra.kernels.native import GATES

Shape = tuple[int, int, int]
"""Rows, steps, units; as many inputs as units."""
Given = dict[str, Any]
MODULES: Mapping[str, Callable[..., nn.RNNBase]] = {"elman": nn.RNN, "gru": nn.GRU, "lstm": nn.LSTM}
_PLAIN = {"activation": "tanh", "reset_after": True, "lengths": None, "resets": None, "reverse": False, "keep": False}


def drawn(
    cell: str, shape: Shape, device: torch.device, dtype: torch.dtype = torch.float32, **more: Any
) -> tuple[nn.RNNBase, list[Given]]:
    """(torch's layer, arguments of ours by name with its weights): as many of these as there are sets of inputs."""
    batch, steps, hidden = shape
    torch.manual_seed(0)
    theirs = MODULES[cell](hidden, hidden).to(device, dtype)
    with torch.no_grad():
        # torch has two biases that are added up, but for a GRU's n; what is added up is not to be rounded twice
        theirs.get_parameter("bias_hh_l0")[: 2 * hidden if cell == "gru" else None] = 0.0
    weight_in, weight, bias_in, bias = (value.detach() for value in theirs.parameters())
    state = torch.zeros(batch, hidden, device=device, dtype=dtype)
    known = {"weight": weight, "weight_in": weight_in, "bias_in": bias_in, "h": state, "c": state}
    known |= {"bias": bias[2 * hidden :] if cell == "gru" else None, **_PLAIN, **more}
    count = sets_for(device, steps * batch * hidden * dtype.itemsize)
    xs = [torch.randn(steps, batch, hidden, device=device).to(dtype) for _ in range(count)]
    return theirs, [{name: {**known, "x": x}.get(name) for name in KERNELS[cell].names} for x in xs]


def operations(cell: str, shape: Shape, training: bool = False) -> float:
    """Of both products at every step; backward does each of them twice more."""
    batch, steps, hidden = shape
    return 2.0 * batch * steps * 2 * GATES[cell] * hidden * hidden * (3 if training else 1)


def truth(cell: str, given: Given, training: bool = False) -> list[Tensor]:
    """The outputs in float64; in training also the gradients of inputs and recurrent weights."""
    exact = {k: v.double() if isinstance(v, Tensor) and v.is_floating_point() else v for k, v in given.items()}
    leaves = [exact[name].requires_grad_(training) for name in ("x", "weight")]
    outputs: Tensor = getattr(reference, cell)(**exact)[0]
    if not training:
        return [outputs]
    return [outputs.detach(), *torch.autograd.grad(outputs, leaves, torch.ones_like(outputs))]


def ours(cell: str, sets: list[Given], way: layers.Way | None = None) -> Call:
    """Our Triton kernel, forward, whatever would be chosen."""
    used = way or layers.Way()
    return lambda at: [layers.forward(cell, sets[at], used)[0]]


def there_and_back(cell: str, sets: list[Given]) -> Call:
    """Our Triton kernels, forward and backward."""

    @torch.no_grad()
    def run(at: int) -> list[Tensor]:
        given = {**sets[at], "keep": True}
        results = layers.forward(cell, given)
        grads: dict[str, Tensor | None] = {f"grad_{key}": None for key in ("h_last", "c_last", "cells")}
        grads["grad_outputs"] = torch.ones_like(results[0])
        kept = {"outputs": results[0], "gates": results[-2 if cell == "lstm" else -1], "cells": results[-1]}
        found = layers.backward(cell, grads, given, kept, True)
        return [results[0], found["x"], found["weight"]]

    return run


def by_torch(theirs: nn.RNNBase, sets: list[Given], training: bool = False) -> Call:
    """torch's layer, which runs on cuDNN; in training with its gradients."""

    def run(at: int) -> list[Tensor]:
        x = sets[at]["x"]
        if not training:
            with torch.no_grad():
                return [theirs(x)[0]]
        x = x.detach().requires_grad_()
        outputs = theirs(x)[0]
        found = torch.autograd.grad(outputs, [x, *theirs.parameters()], torch.ones_like(outputs))
        return [outputs.detach(), found[0], found[2]]

    return run


def dense(
    cell: str, shape: Shape, training: bool, device: torch.device, dtype: torch.dtype = torch.float32,
    published: Mapping[str, float] | None = None,
) -> Row:  # fmt: skip
    """One layer, all rows of one length."""
    theirs, sets = drawn(cell, shape, device, dtype)
    mine = there_and_back(cell, sets) if training else ours(cell, sets)
    peer = by_torch(theirs, sets, training)
    contestants = {"Triton, bfloat16": Contestant(mine, "bfloat16"), "torch.nn, bfloat16": Contestant(peer, "bfloat16")}
    if dtype == torch.float32:
        contestants = {
            "Triton": within("float32", mine), "torch.nn": within("float32", peer),
            "Triton, tf32": within("tf32", mine), "torch.nn, tf32": within("tf32", peer),
        }  # fmt: skip
    if not training:
        read = ours(cell, sets, layers.Way(share_out(shape[2], shape[0], Device.of(sets[0]["x"]), many=True)))
        if dtype == torch.float32:
            contestants["Triton, the weight read at every step"] = within("float32", read)
        else:
            contestants["Triton, the weight read at every step, bfloat16"] = Contestant(read, "bfloat16")
    work = operations(cell, shape, training)
    return Row(contestants, lambda: truth(cell, sets[0], training), len(sets), work, published or {})


def penalty(cell: str, shape: Shape, device: torch.device) -> Row:
    """Backward through backward: gradients of a penalty on the gradient by the inputs. Torch's layer cannot on cuDNN."""
    theirs, sets = drawn(cell, shape, device)
    weight_in, weight, bias_in, _ = theirs.parameters()

    def through(run: Callable[[Tensor], Tensor]) -> Call:
        def call(at: int) -> list[Tensor]:
            x = sets[at]["x"].detach().requires_grad_()
            outputs = run(x)
            (slope,) = torch.autograd.grad(outputs.sum(), x, create_graph=True)
            found = torch.autograd.grad((slope.norm(dim=(0, 2)) - 1).square().mean(), [weight_in, weight])
            return [slope.detach(), *found]

        return call

    def mine(x: Tensor) -> Tensor:
        given = {**sets[0], "x": x, "weight_in": weight_in, "weight": weight, "bias_in": bias_in}
        return getattr(kernels, cell)(**given)[0]

    def not_by_cudnn(x: Tensor) -> Tensor:
        with torch.backends.cudnn.flags(enabled=False):
            return theirs(x)[0]

    def true() -> list[Tensor]:
        exact = {k: v.double() if isinstance(v, Tensor) and v.is_floating_point() else v for k, v in sets[0].items()}
        leaves = [exact[name].requires_grad_() for name in ("x", "weight_in", "weight")]
        outputs: Tensor = getattr(reference, cell)(**exact)[0]
        (slope,) = torch.autograd.grad(outputs.sum(), leaves[0], create_graph=True)
        found = torch.autograd.grad((slope.norm(dim=(0, 2)) - 1).square().mean(), leaves[1:])
        return [slope.detach(), *found]

    contestants = {
        "ours": within("float32", through(mine)), "torch.nn without cuDNN": within("float32", through(not_by_cudnn)),
    }  # fmt: skip
    # forward twice, backward of inputs and weights, and the gradients of all of these
    return Row(contestants, true, len(sets), 4 * operations(cell, shape), {})


def ragged(cell: str, shape: Shape, device: torch.device) -> Row:
    """Lengths drawn evenly from 1 to T, against torch's packed sequences; packing, which is sorting, is part of the call."""
    batch, steps, _ = shape
    on_host = torch.randint(1, steps + 1, (batch,), generator=torch.Generator().manual_seed(1))
    theirs, sets = drawn(cell, shape, device, lengths=on_host.to(device))

    @torch.no_grad()
    def packed(at: int) -> list[Tensor]:
        joined = nn.utils.rnn.pack_padded_sequence(sets[at]["x"], on_host, enforce_sorted=False)
        return [nn.utils.rnn.pad_packed_sequence(theirs(joined)[0], total_length=steps)[0]]

    contestants = {"Triton": within("float32", ours(cell, sets)), "torch.nn, packed": within("float32", packed)}
    work = operations(cell, shape) * float(on_host.sum()) / (batch * steps)
    return Row(contestants, lambda: truth(cell, sets[0]), len(sets), work)


def resets(cell: str, shape: Shape, device: torch.device) -> Row:
    """Resets before 3 % of all steps: against none, and against torch's layer over the pieces between them.

    The second is what is done where a layer has no resets (TorchRL's "pad"): cut, pad, run, put together again.
    """
    batch, steps, _ = shape
    marks = torch.rand(steps, batch, generator=torch.Generator().manual_seed(2)) < 0.03
    marks = marks.to(device)
    theirs, sets = drawn(cell, shape, device, resets=marks)
    without = [{**given, "resets": None} for given in sets]

    @torch.no_grad()
    def pieces(at: int) -> list[Tensor]:
        begins = marks.T.clone()
        begins[:, 0] = True
        begins = begins.flatten()
        piece = begins.long().cumsum(0) - 1
        step = torch.arange(len(begins), device=device) - begins.nonzero().flatten()[piece]
        padded = sets[at]["x"].new_zeros(int(step.max()) + 1, int(piece[-1]) + 1, sets[at]["x"].shape[2])
        padded[step, piece] = sets[at]["x"].transpose(0, 1).flatten(0, 1)
        outputs = theirs(padded)[0][step, piece]
        return [outputs.view(batch, steps, -1).transpose(0, 1)]

    contestants = {
        "Triton": within("float32", ours(cell, sets)),
        "Triton, a launch a step": within("float32", ours(cell, sets, layers.Way(stepwise=True))),
        "Triton, without resets (another result)": within("float32", ours(cell, without)),
        "torch.nn, over the pieces": within("float32", pieces),
    }
    return Row(contestants, lambda: truth(cell, sets[0]), len(sets), operations(cell, shape))
