"""Triton's interpreter made to treat bfloat16 as a device does: it cuts bits off where a device rounds to the nearest number,
and its products take the bits of such numbers as integers (Triton 3.7). Products of tf32 cut off what such a number has no
bits for, as tensor cores do, where the interpreter multiplies all bits."""

from __future__ import annotations

from functools import cache
from typing import Any

import numpy as np
import torch


def round_as_a_device() -> None:
    """From here on, in this process."""
    import triton.language as tl
    from triton.runtime import interpreter

    builder: Any = interpreter.InterpreterBuilder
    if getattr(builder, "rounds_as_a_device", False):
        return
    cast, dot, bfloat16 = builder.cast_impl, builder.create_dot, tl.bfloat16

    def widened(handle: Any) -> Any:
        if handle.dtype.scalar != bfloat16:
            return handle
        bits = handle.data.astype(np.uint32) << 16
        return interpreter.TensorHandle(bits.view(np.float32), tl.float32)

    def casting(self: Any, src: Any, to: Any) -> Any:
        kind, source = to.scalar, src.dtype.scalar
        if source == bfloat16:
            return widened(src) if kind == tl.float32 else cast(self, widened(src), to)
        if source == tl.float32 and kind == bfloat16:
            values = torch.from_numpy(np.ascontiguousarray(src.data)).bfloat16()
            return interpreter.TensorHandle(values.view(torch.int16).numpy().view(np.uint16), bfloat16)
        return cast(self, src, to)

    def cut(handle: Any) -> Any:
        if handle.dtype.scalar != tl.float32:
            return handle
        bits = np.ascontiguousarray(handle.data).view(np.int32) & -8192
        return interpreter.TensorHandle(bits.view(np.float32), tl.float32)

    def multiplying(self: Any, a: Any, b: Any, total: Any, precision: Any, *rest: Any) -> Any:
        if "TF32" in str(precision):
            a, b = cut(a), cut(b)
        return dot(self, widened(a), widened(b), total, precision, *rest)

    builder.cast_impl, builder.create_dot, builder.rounds_as_a_device = casting, multiplying, True
    _prepare_the_language_once()


def _prepare_the_language_once() -> None:
    """In each launch. The interpreter walks through all names of the language at every call of a function within one too,
    which finds nothing more and is a third of its time."""
    import triton.language as tl
    from triton.runtime import interpreter

    there: Any = interpreter
    prepare, launch = there._patch_lang, there.GridExecutor.__call__
    prepared: set[frozenset[str]] = set()

    @cache
    def modules(function: Any) -> frozenset[str]:
        """Those of the language that a function sees: functions of Triton's own see others than ours."""
        seen = [value for value in function.__globals__.values() if value is tl or value is tl.core]
        return frozenset(module.__name__ for module in seen)

    def preparing(function: Any) -> Any:
        if modules(function) in prepared:
            return there._LangPatchScope()
        prepared.add(modules(function))
        return prepare(function)

    def launching(self: Any, *args: Any, **options: Any) -> Any:
        prepared.clear()
        return launch(self, *args, **options)

    there._patch_lang, there.GridExecutor.__call__ = preparing, launching
