"""What options change outside the kernels: more parameters, sizes by layer, and the state that a call starts from."""

from __future__ import annotations

import math
from typing import Any

import torch
from torch import Tensor, nn

from recurra.errors import DataError, UsageError
from recurra.nn.layer import GATES


def layers(module: Any) -> list[tuple[str, int, int]]:
    """(the end of the parameters' names, inputs I, hidden H) of every layer and direction of a module, or of a cell."""
    if not hasattr(module, "num_layers"):
        return [("", module.input_size, module.hidden_size)]
    sizes = module.options.hidden_sizes or (module.hidden_size,) * module.num_layers
    ends = ("", "_reverse") if module.bidirectional else ("",)
    widths = [module.input_size, *((module.proj_size or size) * len(ends) for size in sizes)]
    return [(f"_l{k}{end}", widths[k], size) for k, size in enumerate(sizes) for end in ends]


def add(module: Any) -> None:
    """Give the module the parameters of its options, and its layers their sizes; their values come from `reset`."""
    options, gates = module.options, GATES[module.kernel]
    first = next(module.parameters())

    def new(*shape: int) -> nn.Parameter:
        return nn.Parameter(torch.empty(shape, device=first.device, dtype=first.dtype))

    if options.hidden_sizes is not None:
        _resize(module, new)
    for suffix, _, hidden in layers(module):
        if options.layer_norm:
            setattr(module, "norm_ih" + suffix, new(gates * hidden))
            setattr(module, "norm_hh" + suffix, new(gates * hidden))
            if module.kernel == "lstm":
                setattr(module, "norm_c" + suffix, new(2, hidden))
        if options.peepholes:
            setattr(module, "peephole" + suffix, new(3, hidden))
    if options.learn_initial_state:
        ends = ("",) if options.hidden_sizes is None else [f"_l{k}" for k in range(module.num_layers)]
        for end, shapes in zip(ends, _state_shapes(module), strict=True):
            for name, shape in zip(("h_0", "c_0"), shapes, strict=False):
                setattr(module, name + end, new(*shape))


def _resize(module: Any, new: Any) -> None:
    sizes = module.options.hidden_sizes
    if len(sizes) != module.num_layers:
        raise UsageError(
            f"{module.mode}: the option 'hidden_sizes' is wrong", got=sizes, expected=f"{module.num_layers} sizes"
        )
    if module.proj_size >= min(sizes):
        raise ValueError("proj_size has to be smaller than hidden_size")
    module.hidden_size = sizes[-1]
    gates = GATES[module.kernel]
    for suffix, inputs, hidden in layers(module):
        width = module.proj_size or hidden
        setattr(module, "weight_ih" + suffix, new(gates * hidden, inputs))
        setattr(module, "weight_hh" + suffix, new(gates * hidden, width))
        if module.bias:
            setattr(module, "bias_ih" + suffix, new(gates * hidden))
            setattr(module, "bias_hh" + suffix, new(gates * hidden))
        if module.proj_size:
            setattr(module, "weight_hr" + suffix, new(width, hidden))


def reset(module: Any) -> None:
    """First values: sizes by layer uniform within 1/sqrt(H) each, gains one, the rest where it does nothing."""
    options = module.options
    with torch.no_grad():
        for suffix, _, hidden in layers(module):
            found = {
                name: value
                for name in ("weight_ih", "weight_hh", "bias_ih", "bias_hh", "weight_hr", "peephole")
                if (value := getattr(module, name + suffix, None)) is not None
            }
            if options.hidden_sizes is not None:
                for value in found.values():
                    value.uniform_(-1 / math.sqrt(hidden), 1 / math.sqrt(hidden))
            for name in ("norm_ih", "norm_hh"):
                if (gain := getattr(module, name + suffix, None)) is not None:
                    gain.fill_(1.0)
            if (norm_c := getattr(module, "norm_c" + suffix, None)) is not None:
                norm_c.copy_(torch.tensor([[1.0], [0.0]]).expand(2, hidden))
            if options.forget_bias is not None and "bias_ih" in found:
                found["bias_ih"][hidden : 2 * hidden] = options.forget_bias
                found["bias_hh"][hidden : 2 * hidden] = 0.0
        for name, value in module.named_parameters(recurse=False):
            if name.startswith(("h_0", "c_0")):
                value.zero_()


def _state_shapes(module: Any) -> list[list[tuple[int, int]]]:
    """[L*D, H] of h and of c, for all layers together or, with sizes by layer, [D, H_l] for each."""
    directions = 2 if module.bidirectional else 1
    sizes = module.options.hidden_sizes
    groups = (
        [(module.num_layers * directions, module.hidden_size)] if sizes is None else [(directions, s) for s in sizes]
    )
    result = []
    for count, hidden in groups:
        shapes = [(count, module.proj_size or hidden)]
        result.append([*shapes, (count, hidden)] if module.kernel == "lstm" else shapes)
    return result


def initial(module: Any, batch: Any, like: Tensor) -> Any:
    """The hx that None stands for, in the dtype and on the device of the inputs."""
    learnt = module.options.learn_initial_state
    by_layer = module.options.hidden_sizes is not None
    kinds: list[list[Tensor]] = [[], []]
    for k, shapes in enumerate(_state_shapes(module)):
        for kind, name, (count, width) in zip(kinds, ("h_0", "c_0"), shapes, strict=False):
            if learnt:
                value = getattr(module, name + (f"_l{k}" if by_layer else ""))
                kind.append(value.to(like.dtype)[:, None].expand(count, batch, width))
            else:
                kind.append(torch.zeros(count, batch, width, dtype=like.dtype, device=like.device))
    states = [tuple(kind) if by_layer else kind[0] for kind in kinds if kind]
    return tuple(states) if module.kernel == "lstm" else states[0]


def check_args(module: Any, x: Tensor, hx: Any, batch_sizes: Tensor | None) -> None:
    """torch's checks of sizes, or with sizes by layer the same ones layer by layer."""
    if module.options.hidden_sizes is None:
        module.check_forward_args(x, hx, batch_sizes)
        if module.kernel == "lstm" and len(hx) != 2:
            raise RuntimeError("lstm expects two hidden states")
        return
    module.check_input(x, batch_sizes)
    batch = module.get_expected_hidden_size(x, batch_sizes)[1]
    expected = [[(count, batch, width) for count, width in shapes] for shapes in _state_shapes(module)]
    kinds = hx if module.kernel == "lstm" else (hx,)
    got = [[tuple(state.shape) for state in per_layer] for per_layer in zip(*kinds, strict=False)]
    if got != expected:
        raise DataError(f"{module.mode}: the state has the wrong sizes, layer by layer", got=got, expected=expected)


def leaves(hx: Any) -> list[Tensor]:
    return [hx] if isinstance(hx, Tensor) else [leaf for one in hx for leaf in leaves(one)]


def split(module: Any, hx: Any) -> list[tuple[Tensor, ...]]:
    """The states of every layer and direction, each [B, H], from hx."""
    kinds = hx if module.kernel == "lstm" else (hx,)
    rows = [
        list(kind.unbind(0)) if isinstance(kind, Tensor) else [s for one in kind for s in one.unbind(0)]
        for kind in kinds
    ]
    return list(zip(*rows, strict=True))


def joined(module: Any, states: list[tuple[Tensor, ...]]) -> Any:
    """hx from the states of every layer and direction."""
    directions = 2 if module.bidirectional else 1
    kinds: list[Any] = []
    for kind in zip(*states, strict=True):
        if module.options.hidden_sizes is None:
            kinds.append(torch.stack(kind))
        else:
            kinds.append(tuple(torch.stack(kind[k : k + directions]) for k in range(0, len(kind), directions)))
    return tuple(kinds) if module.kernel == "lstm" else kinds[0]
