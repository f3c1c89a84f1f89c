"""What each operation that torch records is as instructions."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any, Protocol

from torch import fx

from recurra.kernels.programs.builder import Builder
from recurra.kernels.programs.program import OPERATIONS, Operand


class Refused(Exception):
    """A step does something that no program can; says what."""


class Translator(Protocol):
    builder: Builder

    def value(self, argument: Any) -> Operand: ...


def kind(node: fx.Node) -> str:
    """`add` for aten::add.Tensor, and so on; empty for what is no operation."""
    if node.op != "call_function":
        return ""
    parts = str(node.target).split(".")
    return parts[1] if parts[0] == "aten" else ""


CREATED: dict[str, Callable[[fx.Node], float]] = {
    "zeros_like": lambda node: 0.0,
    "ones_like": lambda node: 1.0,
    "full_like": lambda node: _number(node.args[1]),
    "new_zeros": lambda node: 0.0,
    "new_ones": lambda node: 1.0,
    "new_full": lambda node: _number(node.args[2]),
    "zeros": lambda node: 0.0,
    "ones": lambda node: 1.0,
    "full": lambda node: _number(node.args[1]),
    "scalar_tensor": lambda node: _number(node.args[0]),
}
"""Tensors that are one number everywhere."""


def _number(argument: Any) -> float:
    if not isinstance(argument, bool | int | float):
        raise Refused("a number is computed")
    return float(argument)


def _width(argument: Any) -> int:
    return argument.meta["val"].shape[-1]


def _pointwise(name: str) -> Callable[[Translator, fx.Node], Operand]:
    def translate(to: Translator, node: fx.Node) -> Operand:
        if node.kwargs:
            raise Refused(f"{node.target} has options")
        return to.builder.emit(name, *(to.value(argument) for argument in node.args))

    return translate


def _sum(sign: float) -> Callable[[Translator, fx.Node], Operand]:
    def translate(to: Translator, node: fx.Node) -> Operand:
        alpha = _number(node.kwargs.get("alpha", 1))
        first, second = to.value(node.args[0]), to.value(node.args[1])
        second = to.builder.mul(second, alpha)
        return to.builder.add(first, second) if sign > 0 else to.builder.sub(first, second)

    return translate


def _reversed_sub(to: Translator, node: fx.Node) -> Operand:
    first, second, *options = node.args
    if options or node.kwargs:
        raise Refused("rsub has options")
    return to.builder.sub(to.value(second), to.value(first))


def _division(to: Translator, node: fx.Node) -> Operand:
    if node.kwargs.get("rounding_mode") is not None:
        raise Refused("a division is rounded")
    return to.builder.emit("div", to.value(node.args[0]), to.value(node.args[1]))


def _power(to: Translator, node: fx.Node) -> Operand:
    x, power = to.value(node.args[0]), node.args[1]
    b = to.builder
    simple: dict[Any, Callable[[], Operand]] = {
        1: lambda: x,
        2: lambda: b.mul(x, x),
        3: lambda: b.mul(b.mul(x, x), x),
        0.5: lambda: b.emit("sqrt", x),
        -0.5: lambda: b.emit("rsqrt", x),
        -1: lambda: b.emit("reciprocal", x),
    }
    if not isinstance(power, int | float) or power not in simple:
        raise Refused(f"there is no power {power}")
    return simple[power]()


def _same(to: Translator, node: fx.Node) -> Operand:
    source: Any = node.args[0]
    value, shape = to.value(source), node.meta["val"].shape
    if shape == source.meta["val"].shape:
        return value
    if len(shape) == 2 and source.meta["val"].shape == (shape[0], 1) and kind(node) == "expand":
        return to.builder.spread(value, shape[1])
    raise Refused(f"{node.target} changes the shape of rows")


def _slice(to: Translator, node: fx.Node) -> Operand:
    source, dim, first, last, step = (*node.args, *(0, None, None, 1)[len(node.args) - 1 :])
    width, rows = _width(source), source.meta["val"].shape[0]  # pyright: ignore
    first, last = (0 if first is None else first), (2**62 if last is None else last)
    if step != 1 or not isinstance(first, int) or not isinstance(last, int):
        raise Refused("a slice takes steps")
    if dim in (0, -2):
        if first != 0 or last < rows:
            raise Refused("rows are taken apart")
        return to.value(source)
    first, last = (min(max(at + width if at < 0 else at, 0), width) for at in (first, last))
    if last <= first:
        raise Refused("a slice is empty")
    value = to.value(source)
    assert isinstance(value, int)
    return to.builder.slice(value, first, last - first)


def _split(to: Translator, node: fx.Node) -> list[int]:
    source, sizes, dim = (*node.args, *(0,)[len(node.args) - 2 :])
    if dim not in (1, -1):
        raise Refused("rows are taken apart")
    width = _width(source)
    if isinstance(sizes, int):
        sizes = [min(sizes, width - first) for first in range(0, width, sizes)]
    value = to.value(source)
    parts, first = [], 0
    for size in sizes:  # pyright: ignore
        parts.append(to.builder.slice(value, first, size))  # pyright: ignore
        first += size  # pyright: ignore
    return parts


def _cat(to: Translator, node: fx.Node) -> Operand:
    parts, dim = (*node.args, *(0,)[len(node.args) - 1 :])
    if dim not in (1, -1):
        raise Refused("rows are joined")
    return to.builder.cat([to.builder.spread(to.value(part), _width(part)) for part in parts])  # pyright: ignore


def _pad(to: Translator, node: fx.Node) -> Operand:
    source, sizes, value = (*node.args, *(0.0,)[len(node.args) - 2 :])
    if not isinstance(sizes, list | tuple) or len(sizes) != 2 or min(sizes) < 0:  # pyright: ignore
        raise Refused("rows are padded")
    number = _number(value)
    before, after = ([to.builder.spread(number, size)] if size else [] for size in sizes)  # pyright: ignore
    return to.builder.cat([*before, to.value(source), *after])


def _over_row(to: Translator, node: fx.Node) -> tuple[Operand, int]:
    """The operand of a reduction over the width that keeps its axis."""
    source, dims, keep = (*node.args, *(None, False)[len(node.args) - 1 :])[:3]
    if dims not in ([1], [-1], 1, -1) or not keep:
        raise Refused(f"{node.target} is not over the width, or does not keep the axis")
    return to.value(source), _width(source)


def _row_sum(to: Translator, node: fx.Node) -> Operand:
    value, _ = _over_row(to, node)
    return to.builder.emit("rowsum", value, width=1)


def _row_mean(to: Translator, node: fx.Node) -> Operand:
    value, width = _over_row(to, node)
    return mean(to.builder, value, width)


def mean(b: Builder, x: Operand, width: int) -> Operand:
    return b.mul(b.emit("rowsum", x, width=1), 1.0 / width)


def _layer_norm(to: Translator, node: fx.Node) -> list[Operand | None]:
    source, shape, weight, bias, eps = node.args
    width, b = _width(source), to.builder
    if shape != [width]:
        raise Refused("a layer norm is not over the width")
    x = to.value(source)
    centred = b.sub(x, mean(b, x, width))
    variance = mean(b, b.mul(centred, centred), width)
    result = b.mul(centred, b.emit("rsqrt", b.add(variance, _number(eps))))
    result = result if weight is None else b.mul(result, to.value(weight))
    # (its mean and scale are for its own gradient; nothing that torch records reads them)
    return [result if bias is None else b.add(result, to.value(bias)), None, None]


def _softmax(to: Translator, node: fx.Node) -> Operand:
    source, dim = node.args[:2]
    if dim not in (1, -1):
        raise Refused("a softmax is not over the width")
    b, x = to.builder, to.value(source)
    # the row's maximum changes nothing but the size of the numbers, so it needs no gradient
    e = b.emit("exp", b.sub(x, b.emit("rowmax", x, width=1)))
    return b.emit("div", e, b.emit("rowsum", e, width=1))


def _where(b: Builder, condition: Operand, one: Operand, other: Operand) -> Operand:
    return b.emit("where", condition, one, other)


def _clamp(to: Translator, node: fx.Node) -> Operand:
    x, low, high = (*node.args, *(None, None)[len(node.args) - 1 :])
    return clamp(to.builder, to.value(x), *(None if one is None else to.value(one) for one in (low, high)))


def _clamp_min(to: Translator, node: fx.Node) -> Operand:
    return clamp(to.builder, to.value(node.args[0]), to.value(node.args[1]), None)


def _clamp_max(to: Translator, node: fx.Node) -> Operand:
    return clamp(to.builder, to.value(node.args[0]), None, to.value(node.args[1]))


def clamp(b: Builder, x: Operand, low: Operand | None, high: Operand | None) -> Operand:
    # (a NaN passes both comparisons and stays, as in torch; so does the gradient on the very edge)
    result = x if high is None else _where(b, b.emit("gt", x, high), high, x)
    return result if low is None else _where(b, b.emit("lt", x, low), low, result)


def _edges(b: Builder, x: Operand, low: float, high: float, below: Operand, above: Operand, within: Operand) -> Operand:
    """`within` strictly between the edges, whose gradient is zero on them."""
    return _where(b, b.emit("le", x, low), below, _where(b, b.emit("ge", x, high), above, within))


def _relu(to: Translator, node: fx.Node) -> Operand:
    x = to.value(node.args[0])
    return _where(to.builder, to.builder.emit("le", x, 0.0), 0.0, x)


def _leaky_relu(to: Translator, node: fx.Node) -> Operand:
    b, x, slope = to.builder, to.value(node.args[0]), _option(node, 1, 0.01)
    return _where(b, b.emit("gt", x, 0.0), x, b.mul(x, slope))


def _option(node: fx.Node, place: int, default: float) -> float:
    return _number(node.args[place]) if len(node.args) > place else default


def _hardtanh(to: Translator, node: fx.Node) -> Operand:
    x, low, high = to.value(node.args[0]), _option(node, 1, -1.0), _option(node, 2, 1.0)
    return _edges(to.builder, x, low, high, low, high, x)


def hard_sigmoid(b: Builder, x: Operand) -> Operand:
    return _edges(b, x, -3.0, 3.0, 0.0, 1.0, b.emit("div", b.add(x, 3.0), 6.0))


def _hardsigmoid(to: Translator, node: fx.Node) -> Operand:
    return hard_sigmoid(to.builder, to.value(node.args[0]))


def _hardswish(to: Translator, node: fx.Node) -> Operand:
    x = to.value(node.args[0])
    return to.builder.mul(x, hard_sigmoid(to.builder, x))


def soft_plus(b: Builder, x: Operand, beta: float, threshold: float) -> Operand:
    scaled = b.mul(x, beta)
    large = b.emit("gt", scaled, threshold)
    # the branch that is not taken must not overflow: infinity times the zero of its gradient is no number
    small = b.emit("log1p", b.emit("exp", _where(b, large, 0.0, scaled)))
    return _where(b, large, x, b.mul(small, 1.0 / beta))


def _stop(to: Translator, node: fx.Node) -> Operand:
    return to.builder.emit("stop", to.value(node.args[0]))


def _log_sigmoid(to: Translator, node: fx.Node) -> list[Operand | None]:
    """min(x, 0) - log(1 + exp(-|x|)); the second result is what torch keeps for a gradient."""
    b, x = to.builder, to.value(node.args[0])
    return [b.sub(b.emit("minimum", x, 0.0), b.emit("log1p", b.emit("exp", b.neg(b.emit("abs", x))))), None]


def _softplus(to: Translator, node: fx.Node) -> Operand:
    return soft_plus(to.builder, to.value(node.args[0]), _option(node, 1, 1.0), _option(node, 2, 20.0))


def _elu(to: Translator, node: fx.Node) -> Operand:
    b, x = to.builder, to.value(node.args[0])
    alpha, scale, input_scale = (_option(node, at, 1.0) for at in (1, 2, 3))
    positive = b.emit("gt", x, 0.0)
    small = b.emit("expm1", b.mul(_where(b, positive, 0.0, x), input_scale))
    return _where(b, positive, b.mul(x, scale), b.mul(small, alpha * scale))


def _gelu(to: Translator, node: fx.Node) -> Operand:
    b, x = to.builder, to.value(node.args[0])
    if node.kwargs.get("approximate", "none") == "none":
        inner = b.emit("erf", b.mul(x, math.sqrt(0.5)))
    else:
        cube = b.mul(b.mul(x, b.mul(x, x)), 0.044715)
        inner = b.emit("tanh", b.mul(b.add(x, cube), math.sqrt(2 / math.pi)))
    return b.mul(b.mul(x, 0.5), b.add(inner, 1.0))


def _silu(to: Translator, node: fx.Node) -> Operand:
    x = to.value(node.args[0])
    return to.builder.mul(x, to.builder.emit("sigmoid", x))


def _mish(to: Translator, node: fx.Node) -> Operand:
    b, x = to.builder, to.value(node.args[0])
    return b.mul(x, b.emit("tanh", soft_plus(b, x, 1.0, 20.0)))


def _not(to: Translator, node: fx.Node) -> Operand:
    return to.builder.emit("eq", to.value(node.args[0]), 0.0)


def _of_truths(translate: Callable[[Any, fx.Node], Operand]) -> Callable[[Any, fx.Node], Operand]:
    """For operations that are what they seem for truths alone."""

    def checked(to: Any, node: fx.Node) -> Operand:
        if any(isinstance(one, fx.Node) and str(one.meta["val"].dtype) != "torch.bool" for one in node.args):
            raise Refused(f"{node.target} is not of truths")
        return translate(to, node)

    return checked


def _converted(to: Translator, node: fx.Node) -> Operand:
    source: Any = node.args[0]
    if not node.meta["val"].dtype.is_floating_point:
        raise Refused("numbers become whole")
    return to.value(source)


TRANSLATE: dict[str, Callable[[Any, fx.Node], Any]] = {
    **{name: _pointwise(name) for name in OPERATIONS if name not in ("add", "sub", "div")},
    **{name: _same for name in ("clone", "alias", "contiguous", "view", "reshape", "_unsafe_view", "expand")},
    "detach": _stop,
    "log_sigmoid_forward": _log_sigmoid,
    "add": _sum(1.0),
    "sub": _sum(-1.0),
    "rsub": _reversed_sub,
    "div": _division,
    "pow": _power,
    "square": lambda to, node: to.builder.mul(to.value(node.args[0]), to.value(node.args[0])),
    "slice": _slice,
    "split": _split,
    "split_with_sizes": _split,
    "cat": _cat,
    "constant_pad_nd": _pad,
    "sum": _row_sum,
    "mean": _row_mean,
    "native_layer_norm": _layer_norm,
    "_softmax": _softmax,
    "clamp": _clamp,
    "clamp_min": _clamp_min,
    "clamp_max": _clamp_max,
    "relu": _relu,
    "leaky_relu": _leaky_relu,
    "hardtanh": _hardtanh,
    "hardsigmoid": _hardsigmoid,
    "hardswish": _hardswish,
    "softplus": _softplus,
    "elu": _elu,
    "gelu": _gelu,
    "silu": _silu,
    "mish": _mish,
    "logical_not": _not,
    "bitwise_not": _of_truths(_not),
    **{name: _of_truths(_pointwise("mul")) for name in ("logical_and", "bitwise_and")},
    **{name: _of_truths(_pointwise("maximum")) for name in ("logical_or", "bitwise_or")},
    "_to_copy": _converted,
}
"""aten operations by name -> what translates them: an operand, or a list of operands where the operation gives several."""
