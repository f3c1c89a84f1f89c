"""The pointwise operations of programs as text of Triton."""

from __future__ import annotations

import math

import triton
import triton.language as tl

from recurra.kernels.gpu.common_kernels import tanh


@triton.jit
def sign(x):
    return tl.where(x > 0, x * 0 + 1, tl.where(x < 0, x * 0 - 1, x))


@triton.jit
def expm1(x):
    """e^x - 1 without the loss near zero (Kahan): what the rounding of e^x took away is divided out again."""
    u = tl.exp(x)
    near = (u - 1) * x / tl.where(u == 1, 1.0, tl.log(u))
    return tl.where(u == 1, x, tl.where(tl.abs(x) < 0.5, near, u - 1))


@triton.jit
def log1p(x):
    """log(1 + x) without the loss near zero (Kahan)."""
    u = 1 + x
    near = tl.log(u) * x / tl.where(u == 1, 1.0, u - 1)
    return tl.where(u == 1, x, tl.where(tl.abs(x) < 0.5, near, tl.log(u)))


@triton.jit
def largest(a, b):
    """The larger number; what is no number stays none, which a device's own maximum drops."""
    return tl.where((a > b) | (a != a), a, b)


HELPERS = {"largest": largest, "sign": sign, "expm1": expm1, "log1p": log1p, "tanh": tanh}
"""What the texts call beside Triton's own."""

TEXTS = {
    "stop": "{0}",
    "neg": "-{0}",
    "abs": "tl.abs({0})",
    "sign": "sign({0})",
    "exp": "tl.exp({0})",
    "expm1": "expm1({0})",
    "log": "tl.log({0})",
    "log1p": "log1p({0})",
    "sqrt": "tl.sqrt({0})",
    "rsqrt": "1 / tl.sqrt({0})",
    "reciprocal": "1 / {0}",
    "sigmoid": "tl.sigmoid({0})",
    "tanh": "tanh({0})",
    "sin": "tl.sin({0})",
    "cos": "tl.cos({0})",
    "erf": "tl.erf({0})",
    "add": "{0} + {1}",
    "sub": "{0} - {1}",
    "mul": "{0} * {1}",
    "div": "{0} / {1}",
    "maximum": "tl.where(({0} > {1}) | ({0} != {0}), {0}, {1})",
    "minimum": "tl.where(({0} < {1}) | ({0} != {0}), {0}, {1})",
    **{
        name: f"tl.where({{0}} {sign} {{1}}, 1.0, 0.0).to(ACC)"
        for name, sign in (("gt", ">"), ("ge", ">="), ("lt", "<"), ("le", "<="), ("eq", "=="), ("ne", "!="))
    },
    "where": "tl.where({0} != 0, {1}, {2})",
}
"""A text an operation, its operands in braces: names of values, or numbers. What is no number stays none, as in torch."""


def number(value: float) -> str:
    """A plain number, of the type that is computed in: a literal would be one of float32 before."""
    text = repr(float(value)) if math.isfinite(value) else f'float("{value}")'
    return f"tl.full((1, 1), {text}, ACC)"
