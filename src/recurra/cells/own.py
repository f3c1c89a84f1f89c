"""A cell that a person writes: one step as a plain function, run by the native loop where it can be a program."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Mapping, Sequence
from functools import cache
from keyword import iskeyword
from typing import Any

import torch
from torch import Tensor, nn

from recurra import kernels
from recurra.cells.cell import Cell
from recurra.cells.symbols import Inputs, spelled_out
from recurra.errors import UsageError
from recurra.state import state_class

StepFunction = Callable[[Tensor, Any, Any], tuple[Any, ...]]


@cache
def own_state(names: tuple[str, ...]) -> type:
    """The class of states with these fields; there is one for each set of names."""
    return state_class(type(f"OwnState_{'_'.join(names)}", (), {"__annotations__": dict.fromkeys(names, Tensor)}))


class _Named:
    """Values as attributes."""

    def __init__(self, values: Mapping[str, Tensor]) -> None:
        self._values = values

    def __getattr__(self, name: str) -> Tensor:
        if name == "_values":  # of one that is being copied, which has none yet
            raise AttributeError(name)
        if name not in self._values:
            raise AttributeError(f"there is no '{name}' among {', '.join(self._values) or 'nothing'}")
        return self._values[name]


@dataclasses.dataclass(frozen=True)
class _Step:
    """The function as the kernels call it: tuples instead of names."""

    function: StepFunction
    state: tuple[str, ...]
    inner: tuple[str, ...]

    def __call__(
        self, x: Tensor, state: tuple[Tensor, ...], given: Mapping[str, Tensor]
    ) -> tuple[tuple[Tensor, ...], tuple[Tensor, ...]]:
        before = _Named(dict(zip(self.state, state, strict=True)))
        output, after, *more = self.function(x, before, _Named(given))
        inner = tuple(more[0][name] for name in self.inner)
        return tuple(after[name] for name in self.state), (output, *inner)


class OwnCell(Cell):
    """A cell from one step, `step(x, s, p) -> (output, next state)` or `(output, next state, inner values)`.

    x[B, I] are the inputs of the step, `s` has the state's fields ([B, width] each) and `p` the parameters as attributes; the
    next state and the inner values, which `trace` shows, are dictionaries of rows. The function is a plain one: it may use
    any operation of torch on these, and nothing else, because it is called with shapes only to learn what it does. From
    that comes a program which the native loop runs forward and backward; `explain()` says so, or why not. A step that can
    be no program runs as it stands, right but slowly.

        def minimal_gated_unit(x, s, p):  # Zhou et al. 2016
            f = torch.sigmoid(x @ p.W_f.T + s.h @ p.U_f.T + p.b_f)
            n = torch.tanh(x @ p.W_n.T + (f * s.h) @ p.U_n.T + p.b_n)
            h = (1 - f) * s.h + f * n
            return h, {"h": h}, {"f": f, "n": n}

    Arguments:
    - step: the function.
    - inputs: the width I of an input step.
    - state: the width of each field of the state, by name.
    - parameters, by name: a shape (matrices start by Glorot and Bengio 2010, vectors at zero) or a tensor to start from.
    - reverse: take the steps from the last to the first.
    """

    def __init__(
        self,
        step: StepFunction,
        inputs: int,
        *,
        state: Mapping[str, int],
        parameters: Mapping[str, Sequence[int] | Tensor],
        reverse: bool = False,
    ) -> None:
        # the width of the output is known when the step has run once
        super().__init__(inputs, 1, reverse=reverse)
        self.step = step
        self.widths = _checked_widths(state)
        self.state_type = own_state(tuple(self.widths))  # pyright: ignore[reportAttributeAccessIssue]
        self.names = tuple(parameters)
        for name, value in parameters.items():
            if not name.isidentifier() or hasattr(self, name):
                raise UsageError(f"OwnCell: a parameter cannot be called '{name}'", fix="Choose another name")
            self.register_parameter(name, nn.Parameter(_start(name, value)))
        self.hidden, inner = self._try_once()
        self._step = _Step(step, tuple(self.widths), inner)
        sizes = self._sizes()
        # inner values are handed out for `trace` alone
        self.programs = {
            keep: kernels.traced_step(self._step, dataclasses.replace(sizes, emits=None if keep else 1))
            for keep in (False, True)
        }

    def __getstate__(self) -> dict[str, Any]:
        # the class of its states is made here, so it cannot be named in a file
        return {key: value for key, value in vars(self).items() if key != "state_type"}

    def __setstate__(self, state: dict[str, Any]) -> None:
        super().__setstate__(state)
        self.state_type = own_state(tuple(self.widths))  # pyright: ignore[reportAttributeAccessIssue]

    def explain(self) -> str:
        """How the step runs: as a program, or the reason why not."""
        traced = self.programs[False]
        if isinstance(traced, str):
            return f"as it stands, one step after another in Python, because {traced}"
        return "as a program in the native loop" if kernels.usable() else "as a program, by torch"

    def initial_state(self, batch: int) -> Any:
        like = next(self.parameters(), torch.zeros(()))
        return self.state_type(**{name: like.new_zeros(batch, width) for name, width in self.widths.items()})

    def extra_repr(self) -> str:
        return f"{getattr(self.step, '__name__', 'step')}, {super().extra_repr()}"

    def _run(
        self, inputs: Inputs, state: Any, lengths: Tensor | None, resets: Tensor | None, keep: bool
    ) -> tuple[Tensor, Any, dict[str, Tensor]]:
        x, before, given = spelled_out(inputs), tuple(getattr(state, name) for name in self.widths), self._given()
        traced = self.programs[keep]
        if isinstance(traced, str) or kernels.transformed(x, *before, *given.values()):
            emitted, after = kernels.scan(
                self._step, x, before, given, lengths=lengths, resets=resets, reverse=self.reverse
            )  # fmt: skip
        else:
            emitted, after = kernels.scan_traced(
                traced, (x,), before, given, {}, lengths=lengths, resets=resets, reverse=self.reverse
            )
        inner = dict(zip(self._step.inner, emitted[1:], strict=True)) if keep else {}
        return emitted[0], self.state_type(**dict(zip(self.widths, after, strict=True))), inner

    def _given(self) -> dict[str, Tensor]:
        return {name: getattr(self, name) for name in self.names}

    def _sizes(self) -> Any:
        rows = {name: torch.empty(1, width) for name, width in self.widths.items()}
        return kernels.sizes_of((torch.empty(1, self.inputs),), tuple(rows.values()), {}, self._given(), True)

    def _try_once(self) -> tuple[int, tuple[str, ...]]:
        """(width of the output, names of the inner values), after the step has run over two rows of zeros."""
        like, name = next(self.parameters(), torch.zeros(())), getattr(self.step, "__name__", "step")
        with torch.no_grad():
            given = {key: value.detach() for key, value in self._given().items()}
            result = self.step(like.new_zeros(2, self.inputs), _Named(vars(self.initial_state(2))), _Named(given))
        if not isinstance(result, tuple) or len(result) not in (2, 3) or not isinstance(result[1], Mapping):
            raise UsageError(
                f"OwnCell: '{name}' returns the wrong things",
                got=type(result).__name__,
                expected="(output, {state}) or (output, {state}, {inner values})",
            )
        output, after = result[:2]
        inner = result[2] if len(result) == 3 else {}
        rows = {"the output": (output, None), **{f"inner '{key}'": (value, None) for key, value in inner.items()}}
        if set(after) != set(self.widths):
            raise UsageError(
                f"OwnCell: '{name}' returns another state", got=", ".join(after), expected=", ".join(self.widths)
            )
        rows |= {f"state '{key}'": (after[key], width) for key, width in self.widths.items()}
        for what, (value, width) in rows.items():
            good = isinstance(value, Tensor) and value.dim() == 2 and value.shape[0] == 2
            if not good or (width is not None and value.shape[1] != width):
                got = tuple(value.shape) if isinstance(value, Tensor) else type(value).__name__
                raise UsageError(
                    f"OwnCell: {what} of '{name}' is wrong",
                    got=f"{got} for two rows",
                    expected=f"rows of shape (2, {'width' if width is None else width})",
                )
        return output.shape[1], tuple(inner)


def _checked_widths(state: Mapping[str, int]) -> dict[str, int]:
    for name, width in state.items():
        named = isinstance(name, str) and name.isidentifier() and not iskeyword(name)
        if not named or not isinstance(width, int) or isinstance(width, bool) or width < 1:
            raise UsageError(
                f"OwnCell: the state's field '{name}' is wrong",
                got=repr(width),
                expected="a name and a whole number > 0",
            )
    if not state:
        raise UsageError("OwnCell: there is no state", got="none", expected="the width of each field, {'h': 128}")
    return dict(state)


def _start(name: str, value: Sequence[int] | Tensor) -> Tensor:
    if isinstance(value, Tensor):
        if not value.is_floating_point():
            raise UsageError(f"OwnCell: the tensor '{name}' is wrong", got=value.dtype, expected="floating point")
        return value.detach().clone()
    shape = tuple(value) if isinstance(value, Sequence) else (0,)
    if not all(isinstance(size, int) and size > 0 for size in shape):
        raise UsageError(f"OwnCell: the shape of '{name}' is wrong", got=repr(value), expected="whole numbers > 0")
    start = torch.zeros(shape)
    return nn.init.xavier_uniform_(start) if len(shape) >= 2 else start
