"""Writes programs: one instruction after another, the same one only once, and nothing that no result needs."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from recurra.kernels.programs.program import Instruction, Operand, Program


class Builder:
    """A program while it is written. `start` says what a step is given; its instructions are not taken over."""

    def __init__(self, start: Program) -> None:
        self._start = replace(start, instructions=(), emitted=(), after=())
        self._widths = list(start.given)
        self._instructions: list[Instruction] = []
        self._known: dict[tuple[object, ...], int] = {}

    def width(self, value: Operand) -> int:
        return 1 if isinstance(value, float) else self._widths[value]

    def emit(self, operation: str, *operands: Operand, width: int | None = None, attribute: int = 0) -> int:
        """A new value, or the number of the one that is the same. A pointwise one is as wide as its widest operand."""
        if width is None:
            width = max(map(self.width, operands))
        # a plain 1.0 and the value 1 are equal, but not the same
        key = (operation, width, attribute, *((type(value), value) for value in operands))
        if key not in self._known:
            self._instructions.append(Instruction(operation, operands, width, attribute))
            self._widths.append(width)
            self._known[key] = len(self._widths) - 1
        return self._known[key]

    # ---- the few that simplify themselves

    def add(self, a: Operand, b: Operand) -> Operand:
        if a == 0.0 and isinstance(a, float):
            return b
        return a if b == 0.0 and isinstance(b, float) else self.emit("add", a, b)

    def mul(self, a: Operand, b: Operand) -> Operand:
        for one, other in ((a, b), (b, a)):
            if isinstance(one, float) and one in (0.0, 1.0):
                return other if one else 0.0
        return self.emit("mul", a, b)

    def neg(self, a: Operand) -> Operand:
        return -a if isinstance(a, float) else self.emit("neg", a)

    def sub(self, a: Operand, b: Operand) -> Operand:
        return a if b == 0.0 and isinstance(b, float) else self.emit("sub", a, b)

    def slice(self, value: int, first: int, width: int) -> int:
        """Some columns of a value."""
        if first == 0 and width == self.width(value):
            return value
        return self.emit("slice", value, width=width, attribute=first)

    def cat(self, parts: Sequence[Operand]) -> Operand:
        """Values side by side, each with its own width (a plain number has width 1)."""
        return parts[0] if len(parts) == 1 else self.emit("cat", *parts, width=sum(map(self.width, parts)))

    def spread(self, value: Operand, width: int) -> int:
        """The value in this width."""
        if not isinstance(value, float) and self.width(value) == width:
            return value
        return self.emit("spread", value, width=width)

    def finish(self, emitted: Sequence[int], after: Sequence[int], resettable: int = -1) -> Program:
        """The program with what its results need, and no more."""
        base = len(self._start.given)
        needed = set(emitted) | set(after)
        for number in range(len(self._widths) - 1, base - 1, -1):
            if number in needed:
                needed.update(v for v in self._instructions[number - base].operands if not isinstance(v, float))
        places = {number: number for number in range(base)}
        kept: list[Instruction] = []
        for number, one in enumerate(self._instructions, base):
            if number in needed:
                operands = tuple(v if isinstance(v, float) else places[v] for v in one.operands)
                kept.append(replace(one, operands=operands))
                places[number] = base + len(kept) - 1
        return replace(
            self._start,
            instructions=tuple(kept),
            emitted=tuple(places[number] for number in emitted),
            after=tuple(places[number] for number in after),
            resettable=resettable,
        )
