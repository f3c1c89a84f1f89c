"""A device that is none: its tensors lie in plain memory, and what would fail on a real device fails on it too.

`lazy` is a device of torch's without a backend here. Inside of `pretended()` a tensor can be made there or moved there; an
operation on it runs on the CPU, and so does backward. It raises where tensors of both devices meet in one operation, where a
generator of the CPU draws there, and where such a tensor is to be an array before it was brought back. What CUDA allows is
allowed: a CPU tensor of no axes in a pointwise operation, one of indices, and copies. Without `double` it knows no float64,
like Apple's graphics processors.

`counted()` counts what passes between it and the CPU, and the operations that would make the CPU wait for a real device.

It shows where something stands, not whether a kernel for another device is right.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from types import SimpleNamespace
from typing import Any
from unittest.mock import patch

import torch
from torch import Tensor
from torch.overrides import TorchFunctionMode
from torch.utils._python_dispatch import TorchDispatchMode

THERE = torch.device("lazy")
aten = torch.ops.aten
MOVES = (aten._to_copy, aten.copy_)
INDEXED = (aten.index, aten.index_put, aten.index_put_, aten._index_put_impl_)
PACKED = (aten._pack_padded_sequence, aten._pack_padded_sequence_backward)
"""Of packed sequences the sizes of their batches are kept on the CPU, given and taken."""
SIZED = (aten.nonzero, aten.masked_select, aten.unique_consecutive, aten._unique2, aten.unique_dim, aten.bincount)
"""Their results are as large as numbers on the device say, so the CPU waits for these."""
TOLD = (aten._local_scalar_dense, aten.equal, aten.is_nonzero)


@dataclass
class Traffic:
    """Copies to the device and back, and what else the CPU waits for, by the name of the operation."""

    up: int = 0
    down: int = 0
    waits: Counter[str] = field(default_factory=Counter)

    def told(self) -> dict[str, int]:
        return {"up": self.up, "down": self.down, **self.waits}


class _Device:
    """What is counted now, and whether it has float64."""

    traffic = Traffic()
    double = True


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
    tensors = [*_tensors(args), *_tensors(tuple(kwargs.values()))]
    there = [one for one in tensors if isinstance(one, There)]
    asked = kwargs.get("device")
    if not there and (asked is None or asked.type != THERE.type):
        return func(*args, **kwargs)
    made_there = bool(there) if asked is None else asked.type == THERE.type
    if func.overloadpacket is aten.copy_:
        made_there = isinstance(tensors[0], There)
    if func.overloadpacket in MOVES:
        _count_move(tensors[-1], made_there)
    elif there:
        _check(func, tensors, args)
        _count_waits(func, args)
    generator = kwargs.get("generator")
    if made_there and generator is not None and generator.device != THERE:
        raise RuntimeError(f"{func} draws on {THERE} with a generator of {generator.device}")
    if asked is not None and made_there:
        kwargs = {**kwargs, "device": torch.device("cpu")}
    # what an operation changes in place it gives back: the same tensor, not one more of the same memory
    known = {id(one.held): one for one in there}
    found = func(*_mapped(_held, args), **_mapped(_held, kwargs))
    if func.overloadpacket is aten._pack_padded_sequence:
        return _wrapped(found[0]), found[1]
    return _mapped(lambda one: known[id(one)] if id(one) in known else _wrapped(one), found) if made_there else found


def _wrapped(one: Tensor) -> There:
    if one.dtype == torch.float64 and not _Device.double:
        raise TypeError("the pretended device has no float64")
    return There(one)


def _held(one: Tensor) -> Tensor:
    return one.held if isinstance(one, There) else one


def _tensors(given: Any) -> Iterator[Tensor]:
    for one in given:
        if isinstance(one, Tensor):
            yield one
        elif isinstance(one, (list, tuple)):
            yield from _tensors(one)


def _mapped(function: Callable[[Tensor], Any], value: Any) -> Any:
    if isinstance(value, Tensor):
        return function(value)
    if isinstance(value, dict):
        return {name: _mapped(function, one) for name, one in value.items()}
    return type(value)(_mapped(function, one) for one in value) if isinstance(value, (list, tuple)) else value


def _check(func: Any, tensors: list[Tensor], args: Any) -> None:
    """Refuse what a real device refuses."""
    if func.overloadpacket in INDEXED and isinstance(args[0], There):
        tensors = [one for one in tensors if not any(one is index for index in args[1])]
    if func.overloadpacket in PACKED:
        tensors = tensors[:1]
    allowed = torch.Tag.pointwise in func.tags
    others = [one for one in tensors if not isinstance(one, There) and not (allowed and one.dim() == 0)]
    if others:
        raise RuntimeError(f"{func}: tensors of {THERE} and of the CPU {[tuple(one.shape) for one in others]} meet")


def _count_move(source: Tensor, made_there: bool) -> None:
    was_there = isinstance(source, There)
    _Device.traffic.up += made_there and not was_there
    _Device.traffic.down += was_there and not made_there


def _count_waits(func: Any, args: Any) -> None:
    masked = func.overloadpacket in INDEXED and any(one.dtype == torch.bool for one in _tensors(args[1]))
    if func.overloadpacket in (*SIZED, *TOLD) or masked:
        _Device.traffic.waits[f"{func.overloadpacket.__name__}{' by a mask' if masked else ''}"] += 1


@contextmanager
def pretended(*, double: bool = True) -> Iterator[torch.device]:
    """Inside of it `THERE` can be used as a device, which has float64 where `double`."""
    # torch has lists of the devices that there are
    fused = patch("torch.optim.optimizer._get_fused_kernels_supported_devices", lambda: ["cpu", THERE.type])
    # where its functions would be, torch.cuda's say
    place = patch.object(torch, THERE.type, SimpleNamespace(), create=True)
    known = patch.object(_Device, "double", double)
    narrow = patch("recurra.wide.WITHOUT_FLOAT64", set() if double else {THERE.type})
    with _Making(), _Dispatch(), patch.object(torch, "autocast", _autocast), fused, place, known, narrow:
        yield THERE


@contextmanager
def counted() -> Iterator[Traffic]:
    """What passes between the pretended device and the CPU inside of it."""
    with patch.object(_Device, "traffic", Traffic()):
        yield _Device.traffic


def _autocast(device: str, *args: Any, **kwargs: Any) -> Any:
    return _torch_autocast("cpu" if device == THERE.type else device, *args, **kwargs)


_torch_autocast = torch.autocast
