"""The processes that train one model together: each takes some rows of every batch, and their sums are added up.

Whatever is random is drawn by all of them alike for the whole batch (`layers.rows_of`), so that any number of processes
takes the same steps, and a run may go on with another number.
"""

from __future__ import annotations

import hashlib
import os
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from itertools import pairwise
from typing import Any

import torch
import torch.distributed as dist
from torch import Tensor

from recurra.errors import EnvironmentFailure, ProcessLost, UsageError
from recurra.state import State, map_state
from recurra.wide import widest


class Workers:
    """This process, number `rank` of `count`. Alone it adds nothing up and says nothing to anybody."""

    def __init__(self, rank: int = 0, count: int = 1, device: torch.device | None = None) -> None:
        self.rank, self.count = rank, count
        self.device = device or torch.device("cpu")

    @property
    def first(self) -> bool:
        """Whether this is the process that writes and talks."""
        return self.rank == 0

    def rows(self, total: int, parts: int = 1) -> list[slice]:
        """The rows of a batch of `total` that are this process's, in `parts` parts one after another; none may be left."""
        every = self.count * parts
        borders = [-(-total * part // every) for part in range(self.rank * parts, (self.rank + 1) * parts + 1)]
        return [slice(a, b) for a, b in pairwise(borders) if b > a]

    def add(self, values: Tensor) -> Tensor:
        """The sum over all processes, in place."""
        if self.count > 1:
            _reduce(values)
        return values

    def add_all(self, gradients: Sequence[Tensor], numbers: Sequence[float]) -> list[float]:
        """The gradients, in place, and the numbers, summed over all processes in one message."""
        if self.count == 1:
            return list(numbers)
        flat = torch.cat([*(g.flatten() for g in gradients), gradients[0].new_tensor(numbers)])
        _reduce(flat)
        *parts, told = flat.split([*(g.numel() for g in gradients), len(numbers)])
        for gradient, part in zip(gradients, parts, strict=True):
            gradient.copy_(part.view_as(gradient))
        return told.tolist()

    def add_sums(self, sums: Mapping[str, Tensor]) -> dict[str, Tensor]:
        """What was counted and measured, summed over all processes; in float64, which holds every count."""
        return {name: self.add(value.double()).to(value.dtype) for name, value in sorted(sums.items())}

    def agreed(self, numbers: Sequence[float]) -> list[float]:
        """The numbers as the first process has them."""
        if self.count == 1:
            return list(numbers)
        told = torch.tensor(numbers, dtype=widest(self.device), device=self.device)
        _spread(told)
        return told.tolist()

    def whole(self, state: State, total: int) -> State:
        """The state of all `total` rows of a batch, from the rows that each process has."""
        if self.count == 1:
            return state
        mine = self.rows(total)

        def leaf(part: Tensor) -> Tensor:
            every = part.new_zeros(total, *part.shape[1:])
            for rows in mine:
                every[rows] = part
            return self.add(every)

        return map_state(leaf, state)

    def share(self, tensors: Mapping[str, Tensor]) -> None:
        """Give all processes the tensors of the first, in place."""
        if self.count > 1:
            for _, value in sorted(tensors.items()):
                _spread(value)

    def check_same(self, what: str, text: str) -> None:
        """Refuse to go on where the processes were given different things. Raises `UsageError` in all of them."""
        if self.count == 1:
            return
        mine = torch.tensor(list(hashlib.sha256(text.encode()).digest()), dtype=torch.int32, device=self.device)
        least, most = mine.clone(), mine.clone()
        _reduce(least, dist.ReduceOp.MIN)
        _reduce(most, dist.ReduceOp.MAX)
        if not torch.equal(least, most):
            raise UsageError(
                f"The processes were given different {what}",
                expected="the same command and the same files on every machine",
            )

    def told(self, data: bytes | None) -> bytes:
        """The bytes that the first process has; the others hand in None."""
        if self.count == 1:
            return data or b""
        size = torch.tensor([len(data or b"")], device=self.device)
        _spread(size)
        content = torch.zeros(int(size), dtype=torch.uint8)
        if data:
            content = torch.frombuffer(bytearray(data), dtype=torch.uint8)
        content = content.to(self.device)
        if len(content):
            _spread(content)
        return content.cpu().numpy().tobytes()


ALONE = Workers()


@contextmanager
def _all_there() -> Iterator[None]:
    try:
        yield
    except RuntimeError as error:
        raise ProcessLost(
            "Another process of this run has ended",
            got=str(error).split("\n")[0],
            fix="See what it said; the same command goes on from the last checkpoint",
        ) from error


def _reduce(values: Tensor, operation: Any = None) -> None:
    with _all_there():
        dist.all_reduce(values, dist.ReduceOp.SUM if operation is None else operation)


def _spread(values: Tensor) -> None:
    with _all_there():
        dist.broadcast(values, 0)


@contextmanager
def workers(device: torch.device) -> Iterator[Workers]:
    """This process among those that `torchrun` or `recurra fit --processes` started; alone where none did.

    Raises `EnvironmentFailure` where they do not find each other.
    """
    count = _from_environment("WORLD_SIZE", 1)
    if count == 1:
        yield Workers(device=device)
        return
    try:
        # what is measured lies on the CPU even where the training does not
        dist.init_process_group("cpu:gloo,cuda:nccl" if device.type == "cuda" else "gloo")
    except (RuntimeError, ValueError) as error:
        raise EnvironmentFailure(
            "The processes do not find each other",
            got=str(error).split("\n")[0],
            fix="Start them with `recurra fit --processes N`, or with torchrun and a free --rdzv-endpoint",
        ) from error
    try:
        yield Workers(dist.get_rank(), count, device)
    finally:
        dist.destroy_process_group()


def local_rank() -> int:
    """Which of the processes on this machine this one is."""
    return _from_environment("LOCAL_RANK", 0)


def this_start() -> tuple[str | None, bool]:
    """(the name that torchrun or `--processes` gave this start, whether processes have died since and are new)."""
    return os.environ.get("TORCHELASTIC_RUN_ID"), _from_environment("TORCHELASTIC_RESTART_COUNT", 0) > 0


def _from_environment(name: str, otherwise: int) -> int:
    value = os.environ.get(name, "")
    return int(value) if value.isdigit() else otherwise
