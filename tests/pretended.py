"""A device that is none: its tensors lie in plain memory, and what would fail on a real device fails on it too.

`lazy` is a device of torch's without a backend here. Inside of `pretended()` a tensor can be made there or moved there; an
operation on it runs on the CPU. It raises where tensors of both devices meet in one operation, where a generator of the CPU
draws there, and where such a tensor is to be an array before it was brought back. What CUDA allows is allowed: a CPU tensor
of no axes in a pointwise operation, one of indices, and copies.

It shows where something stands, not whether a kernel for another device is right.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any
from unittest.mock import patch

import torch
from torch import Tensor
from torch.overrides import TorchFunctionMode
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves, tree_map_only

THERE = torch.device("lazy")
aten = torch.ops.aten
MOVES = (aten._to_copy, aten.copy_)
INDEXED = (aten.index, aten.index_put, aten.index_put_, aten._index_put_impl_)


class There(Tensor):
    """A tensor of the pretended device; `held` is where its numbers are."""

    held: Tensor

    @staticmethod
    def __new__(cls, held: Tensor) -> There:
        return Tensor._make_wrapper_subclass(
            cls, held.shape, held.stride(), held.storage_offset(), dtype=held.dtype, device=THERE,
            requires_grad=held.requires_grad,
        )  # fmt: skip

    def __init__(self, held: Tensor) -> None:
        self.held = held

    @classmethod
    def __torch_dispatch__(cls, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        return _run(func, args, kwargs or {})

    def numpy(self, *, force: bool = False) -> Any:
        if not force:
            raise TypeError("can't convert a tensor of the pretended device to numpy: it was not brought back")
        return self.detach().cpu().numpy()

    def __array__(self, dtype: Any = None) -> Any:
        return self.numpy()

    def tolist(self) -> Any:
        return self.detach().cpu().tolist()


class _Dispatch(TorchDispatchMode):
    """Sees what is made there, and what moves."""

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        return _run(func, args, kwargs or {})


class _Making(TorchFunctionMode):
    """`torch.tensor` and its like fill memory themselves: they do it here, and what they made is moved."""

    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        kwargs = dict(kwargs or {})
        if func in (torch.tensor, torch.as_tensor, torch.asarray):
            device = kwargs.pop("device", None)
            made = func(*args, **kwargs)
            return made if device is None else made.to(device)
        if func is Tensor.new_tensor and isinstance(args[0], There):
            return torch.tensor(*args[1:], **kwargs).to(args[0])
        if func in (Tensor.__getitem__, Tensor.__setitem__) and isinstance(args[1], list):
            args = (args[0], torch.tensor(args[1]), *args[2:])
        return func(*args, **kwargs)


def _run(func: Any, args: Any, kwargs: dict[str, Any]) -> Any:
    tensors = [one for one in tree_leaves((args, kwargs)) if isinstance(one, Tensor)]
    there = [one for one in tensors if isinstance(one, There)]
    if func.overloadpacket not in MOVES and there:
        _check(func, tensors, args)
    asked = kwargs.get("device")
    made_there = bool(there) if asked is None else asked.type == THERE.type
    generator = kwargs.get("generator")
    if made_there and generator is not None and generator.device != THERE:
        raise RuntimeError(f"{func} draws on {THERE} with a generator of {generator.device}")
    if asked is not None:
        kwargs = {**kwargs, "device": torch.device("cpu")}
    if func.overloadpacket is aten.copy_:
        made_there = isinstance(tensors[0], There)
    args, kwargs = tree_map_only(There, lambda one: one.held, (args, kwargs))
    found = func(*args, **kwargs)
    return tree_map_only(Tensor, There, found) if made_there else found


def _check(func: Any, tensors: list[Tensor], args: Any) -> None:
    """Refuse what a real device refuses."""
    if func.overloadpacket in INDEXED and isinstance(args[0], There):
        tensors = [one for one in tensors if not any(one is index for index in args[1])]
    allowed = torch.Tag.pointwise in func.tags
    others = [one for one in tensors if not isinstance(one, There) and not (allowed and one.dim() == 0)]
    if others:
        raise RuntimeError(f"{func}: tensors of {THERE} and of the CPU {[tuple(one.shape) for one in others]} meet")


@contextmanager
def pretended() -> Iterator[torch.device]:
    """Inside of it `THERE` can be used as a device."""
    with _Making(), _Dispatch(), patch.object(torch, "autocast", _autocast):
        yield THERE


def _autocast(device: str, *args: Any, **kwargs: Any) -> Any:
    """torch's own, which has a list of the devices that there are."""
    return _torch_autocast("cpu" if device == THERE.type else device, *args, **kwargs)


_torch_autocast = torch.autocast
