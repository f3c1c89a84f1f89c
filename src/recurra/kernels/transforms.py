"""What acts on a call from outside of it: a transform of `torch.func`, a level of forward-mode differentiation, autocast.

The operations of `ops.py` record their own gradient and nothing else, so whoever watches in another way is given the
reference, which torch differentiates and batches by itself. What is asked here has no public name in torch; where a
version lets it not be asked, the answer is the one that its ordinary calls need.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager, nullcontext
from typing import Any, TypeVar

import torch
from torch import Tensor
from torch.autograd import forward_ad

_Function = TypeVar("_Function", bound=Callable[..., Any])

_compiling = torch.compiler.is_compiling
try:
    # a compiler can follow this one: it is false in an ordinary graph
    _transforming: Callable[[], bool] = torch._C._are_functorch_transforms_active  # pyright: ignore
    _wrapped: Callable[[Tensor], bool] = torch._C._functorch.is_functorch_wrapped_tensor  # pyright: ignore
    _batched: Callable[[Tensor], bool] = torch._C._functorch.is_batchedtensor  # pyright: ignore
    _inside: Callable[[Tensor], Tensor] = torch._C._functorch.get_unwrapped  # pyright: ignore
except AttributeError:
    _transforming, _wrapped, _batched, _inside = (lambda: False), (lambda _: False), (lambda _: False), (lambda t: t)
try:
    # how `torch.autograd.grad(..., is_grads_batched=True)` batches
    _batched_by_autograd: Callable[[Tensor], bool] = torch._C._functorch.is_legacy_batchedtensor  # pyright: ignore
except AttributeError:
    _batched_by_autograd = lambda _: True  # noqa: E731


def constant(function: _Function) -> _Function:
    """Have a compiler take the results as they are, as `torch.compiler.assume_constant_result` does.

    That one imports the compiler, which takes longer than all of torch does without it. A test compiles what is marked.
    """
    function._dynamo_marked_constant = True  # pyright: ignore[reportFunctionMemberAccess]
    return function


def in_own_dtype(device: torch.device) -> AbstractContextManager[Any]:
    """Within it autocast changes nothing: a recurrence runs in the dtype of its tensors.

    Autocast would change the dtype of products alone, and what a step is given next would not be what it was.
    """
    name = device.type
    # (not of every device, meta for one, may be asked whether it is on)
    on = torch.amp.is_autocast_available(name) and torch.is_autocast_enabled(name)
    return torch.autocast(name, enabled=False) if on else nullcontext()


def watched() -> bool:
    """Whether a transform is active or a level of forward-mode differentiation is entered, for whichever tensors.

    Most calls are asked no more than this, which costs a fifth of a microsecond.
    """
    if _transforming():
        return True
    # in a torch without the name every tensor is looked at; a graph that is compiled knows no levels
    return not _compiling() and getattr(forward_ad, "_current_level", 0) >= 0


def _make_unwatched() -> Callable[[], bool]:
    """`unwatched`, from what this version of torch lets one ask. Where it lets nothing be asked, the answer is no."""
    try:
        modes, functions = torch._C._len_torch_dispatch_stack, torch._C._len_torch_function_stack
        transforms = torch._C._functorch.peek_interpreter_stack  # pyright: ignore[reportAttributeAccessIssue]
        tracing = torch._C._get_tracing_state
    except AttributeError:
        return lambda: False

    def unwatched() -> bool:
        return not (
            _compiling() or modes() or functions() or transforms() is not None or tracing() is not None
            or getattr(forward_ad, "_current_level", 0) >= 0
        )  # fmt: skip

    return unwatched


unwatched = _make_unwatched()
"""Whether nobody but autograd sees an ordinary call: nothing is traced, compiled or transformed, and no mode is active."""


def transformed(*tensors: Tensor | None) -> bool:
    """Whether a transform acts on one of these, or one has a tangent."""
    if not watched():
        return False
    if _compiling():
        # which ones cannot be asked here; the reference is right for all
        return True
    given = [tensor for tensor in tensors if tensor is not None]
    return any(map(_wrapped, given)) or any(map(_has_tangent, given))


def differentiated(*tensors: Tensor | None) -> bool:
    """As `transformed`, but a batch does not count: whether a derivative is taken through one of these."""
    if _compiling() or not watched():
        return False
    for tensor in tensors:
        if tensor is not None and _has_tangent(tensor):
            return True
        while tensor is not None and _wrapped(tensor):
            if not _batched(tensor):
                return True
            tensor = _inside(tensor)
    return False


def batched_by_autograd(*tensors: Tensor | None) -> bool:
    """Whether `is_grads_batched` batches one of these: it cannot batch operations over lists of tensors."""
    return any(_batched_by_autograd(tensor) for tensor in tensors if tensor is not None)


def open_to_view(tensor: Tensor) -> bool:
    """Whether the numbers of this tensor are its own and all there is to it, so that they may decide something."""
    return type(tensor) is Tensor and not _batched_by_autograd(tensor) and not transformed(tensor)


def _has_tangent(tensor: Tensor) -> bool:
    return forward_ad.unpack_dual(tensor).tangent is not None


def one_by_one(operation: Callable[..., Any]) -> Callable[..., Any]:
    """The batching rule of an operation, as the dispatcher takes it: a loop over the batch.

    Arguments may be tensors, lists of tensors, None and plain values; results a tensor, or a tuple of tensors and lists.
    """

    def rule(info: Any, in_dims: Sequence[Any], *args: Any) -> tuple[Any, Any]:
        each = [operation(*_sample(args, in_dims, index)) for index in range(info.batch_size)]
        if isinstance(each[0], Tensor):
            return torch.stack(each), 0
        results = tuple(_stack(parts) for parts in zip(*each, strict=True))
        return results, tuple([0] * len(part) if isinstance(part, list) else 0 for part in results)

    return rule


def _sample(values: Sequence[Any], dims: Sequence[Any], index: int) -> list[Any]:
    return [
        _sample(value, dim, index) if isinstance(value, (list, tuple)) else value if dim is None else
        value.select(dim, index)
        for value, dim in zip(values, dims, strict=True)
    ]  # fmt: skip


def _stack(parts: Sequence[Any]) -> Any:
    if isinstance(parts[0], Tensor):
        return torch.stack(list(parts))
    return [torch.stack(same) for same in zip(*parts, strict=True)]
