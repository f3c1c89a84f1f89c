"""Products of the inputs alone, taken out of the loop: one product for all steps instead of one a step."""

from __future__ import annotations

from dataclasses import dataclass, replace

from recurra.kernels.programs.builder import Builder
from recurra.kernels.programs.program import Operand, Program


@dataclass(frozen=True)
class Hoisted:
    """`before` makes values of all steps from the inputs (its emitted values); the loop is given them, and `kept` inputs."""

    before: Program | None
    kept: tuple[int, ...]
    text: str
    """The loop's program."""


def hoist(program: Program) -> Hoisted:
    """Take products that need neither a state nor a fixed value out of a program."""
    count, first = len(program.inputs), program.first_result
    stays = set(range(count, count + len(program.fixed) + len(program.states)))
    for value, one in enumerate(program.instructions, first):
        if any(operand in stays for operand in one.operands if not isinstance(operand, float)):
            stays.add(value)
    moved = [value for value in program.products if value not in stays and program.emitted.count(value) == 0]
    # one that only feeds another product need not reach the loop
    outer = _read_outside(program, set(moved))
    moved = [value for value in moved if value in outer]
    if not moved:
        return Hoisted(None, tuple(range(count)), program.text())
    before = _before(program, moved)
    used = _inputs_of_the_rest(program, set(moved))
    kept = tuple(at for at in range(count) if at in used)
    return Hoisted(before, kept, _loop(program, moved, kept).text())


def _needed(program: Program, stop: set[int]) -> set[int]:
    """The values that the results need, without looking behind those in `stop`."""
    needed = set(program.emitted) | set(program.after)
    for value in reversed(range(program.first_result, program.first_result + len(program.instructions))):
        if value in needed and value not in stop:
            one = program.instructions[value - program.first_result]
            needed.update(operand for operand in one.operands if not isinstance(operand, float))
    return needed


def _read_outside(program: Program, moved: set[int]) -> set[int]:
    return _needed(program, moved) & moved


def _inputs_of_the_rest(program: Program, moved: set[int]) -> set[int]:
    return {value for value in _needed(program, moved) if value < len(program.inputs)}


def _before(program: Program, moved: list[int]) -> Program:
    builder = Builder(replace(program, fixed=(), states=()))
    gone = len(program.fixed) + len(program.states)
    shared = program.first_state + len(program.states)
    places: dict[int, int] = {at: at for at in range(len(program.inputs))}
    places |= {shared + at: shared + at - gone for at in range(len(program.shared))}
    for value, one in enumerate(program.instructions, program.first_result):
        known = all(operand in places for operand in one.operands if not isinstance(operand, float))
        if known:
            operands: list[Operand] = [v if isinstance(v, float) else places[v] for v in one.operands]
            places[value] = builder.emit(one.operation, *operands, width=one.width, attribute=one.attribute)
    return builder.finish([places[value] for value in moved], [])


def _loop(program: Program, moved: list[int], kept: tuple[int, ...]) -> Program:
    inputs = (*(program.inputs[at] for at in kept), *(program.width(value) for value in moved))
    builder = Builder(replace(program, inputs=inputs))
    shift = len(inputs) - len(program.inputs)
    places: dict[int, int] = {at: place for place, at in enumerate(kept)}
    places |= {value: len(kept) + at for at, value in enumerate(moved)}
    places |= {at: at + shift for at in range(len(program.inputs), program.first_result)}
    for value, one in enumerate(program.instructions, program.first_result):
        if value in places or any(v not in places for v in one.operands if not isinstance(v, float)):
            continue
        operands: list[Operand] = [v if isinstance(v, float) else places[v] for v in one.operands]
        places[value] = builder.emit(one.operation, *operands, width=one.width, attribute=one.attribute)
    return builder.finish(
        [places[value] for value in program.emitted], [places[value] for value in program.after], program.resettable
    )
