"""A long sequence in pieces whose inner values are computed again in backward instead of being kept.

Training keeps the gates of every step, four numbers a unit and more. In pieces it keeps the state before each piece, and
the gates of the one piece whose gradient is being computed: time is traded for memory (Chen et al. 2016, "Training deep
nets with sublinear memory cost", section 4; Gruslys et al. 2016 for recurrent networks). Knows nothing of cells.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager, nullcontext
from contextvars import ContextVar
from itertools import accumulate

import torch
from torch import Tensor
from torch.utils.checkpoint import checkpoint

from recurra.errors import UsageError
from recurra.kernels.transforms import watched

States = tuple[Tensor, ...]
Run = Callable[[Tensor, States, Tensor | None, Tensor | None], tuple[Tensor, States]]

_passing: ContextVar[bool] = ContextVar("recurra_passing", default=False)


def passing() -> bool:
    """Whether what a kernel now keeps for backward is thrown away, so that it need not be built."""
    # a compiler cannot follow the variable, and in its graphs there are no pieces
    return not torch.compiler.is_compiling() and _passing.get()


@contextmanager
def _pass() -> Iterator[None]:
    token = _passing.set(True)
    try:
        yield
    finally:
        _passing.reset(token)


def _contexts() -> tuple[AbstractContextManager[None], AbstractContextManager[None]]:
    """What surrounds the first run of a piece, and the one in backward."""
    return _pass(), nullcontext()


def recomputed(
    run: Run,
    x: Tensor,
    states: States,
    lengths: Tensor | None,
    resets: Tensor | None,
    *,
    reverse: bool,
    steps: int,
    reads: Sequence[Tensor] = (),
) -> tuple[Tensor, States]:
    """`run(x, states, lengths, resets)` in pieces of `steps` steps, which backward runs again. Returns what it returns.

    x[T, B, ...] and the outputs have time first; each of the states is [B, H]; lengths[B], resets[T, B]. With `reverse`
    the pieces are taken from the last to the first, as `run` takes the steps of each. The law of the split makes it one
    run. Gradients of every order go to x, to the states, and to whatever else `run` computes from; what it reads must be
    the same in backward, so it should hold tensors rather than ask a module for them. `reads`
    names those tensors: a write to one of them (or to x or a state) before backward raises `UsageError`.

    Where no gradient is recorded it is one run, and where torch could not run pieces again: inside of a transform, and in
    a compiled graph. Elsewhere it costs the forward pass once more. Less is kept at once the nearer `steps` is to the
    square root of T; hundreds or more keep the calls few.
    """
    if not torch.is_grad_enabled() or watched() or torch.compiler.is_compiling():
        return run(x, states, lengths, resets)
    held = [x, *states, *reads]
    versions = [tensor._version for tensor in held]

    def checked(part: Tensor, states: States, lengths: Tensor | None, resets: Tensor | None) -> tuple[Tensor, States]:
        if versions != [tensor._version for tensor in held]:
            raise UsageError(
                "recompute: parameters, inputs or a state were written to before backward could compute with them again",
                fix="Call backward before the optimiser's step, or leave 'recompute' out",
            )
        return run(part, states, lengths, resets)

    # split, and not a slice for each piece, whose gradients would each be as long as x
    parts = x.split(steps)
    starts = [0, *accumulate(len(part) for part in parts)]
    reset_parts = [None] * len(parts) if resets is None else resets.split(steps)
    outputs: list[Tensor | None] = [None] * len(parts)
    for index in reversed(range(len(parts))) if reverse else range(len(parts)):
        part = parts[index]
        left = None if lengths is None else (lengths - starts[index]).clamp(0, len(part))
        # the check would compare shapes, and the first run builds no gates
        outputs[index], states = checkpoint(  # pyright: ignore[reportGeneralTypeIssues]
            checked, part, states, left, reset_parts[index], use_reentrant=False, preserve_rng_state=False,
            context_fn=_contexts, determinism_check="none",
        )  # fmt: skip
    return torch.cat([part for part in outputs if part is not None]), states
