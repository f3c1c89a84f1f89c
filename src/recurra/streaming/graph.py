"""A step of many sessions as one CUDA graph: captured once for a model and a number of rows, then replayed.

A step of a small network is dozens of launches of a few microseconds each; a replay is one. The tokens, the state and the
outputs of a captured step lie in buffers of their own. The state stays in them from one step to the next, for one pool at
a time, and is handed out as a value by copy. Pools may take turns on several streams (`turns.py`). Off by default, as all
that has not run on a GPU yet (docs/gpu.md).
"""

from __future__ import annotations

import threading
from collections.abc import Callable
from typing import Any
from weakref import WeakKeyDictionary, ref

import torch
from torch import Tensor

from recurra import kernels
from recurra.kernels.native import warn_once
from recurra.models import Task
from recurra.state import leaves, map_state, ragged
from recurra.streaming import turns

DEVICE = "cuda"
"""The kind of device whose work is captured."""
WARM_UP = 3
"""Steps before a capture: kernels are compiled and chosen in them, which cannot be done within one."""
MOST_SIZES = 16
"""Captured steps of a model, one a number of rows; the oldest one goes when there would be more."""

Replay = Callable[[], object]


def captured(body: Callable[[], object], device: torch.device) -> Replay:
    """What gives the device once more the work that `body` gives it. All memory that `body` uses of its own must stay.

    `body` runs a few times before. Raises torch's RuntimeError where something in it cannot be captured.
    """
    with torch.cuda.device(device):
        graph, beside = torch.cuda.CUDAGraph(), torch.cuda.Stream()
        beside.wait_stream(torch.cuda.current_stream())
        with torch.cuda.stream(beside):
            for _ in range(WARM_UP):
                body()
        torch.cuda.current_stream().wait_stream(beside)
        # (what other threads do meanwhile, such as to ask for memory, is theirs)
        with torch.cuda.graph(graph, capture_error_mode="thread_local"):
            body()
    return graph.replay


class Standing:
    """Where a pool stands: a state as a value, or in the buffers of a captured step."""

    def __init__(self, state: Any) -> None:
        self.value = state
        self.graph: StepGraph | None = None
        self.left: tuple[torch.device, Any] | None = None
        """Where another pool took the place in the buffers, on its own stream: the end of what made the value of this one."""

    def state(self) -> Any:
        """The state as a value."""
        graph = self.graph
        found = None if graph is None else graph.read(self)
        return self.own() if found is None else found

    def settle(self) -> Any:
        """Leave the buffers; the state, which is a value from now on."""
        graph = self.graph
        if graph is not None:
            graph.release(self)
        return self.own()

    def own(self) -> Any:
        """The value, made ready for the current stream."""
        if self.left is not None:
            device, end = self.left
            stream = turns.stream_of(device)
            stream.wait_event(end)
            turns.lend(leaves(self.value).values(), stream)
            self.left = None
        return self.value


class StepGraph:
    """One step of `rows` rows of tokens; it depends on where the weights of `model` lie, not on their numbers."""

    def __init__(self, model: Task, rows: int) -> None:
        self._model, self._seen = ref(model), _seen(model)
        self._tokens = torch.zeros(rows, 1, dtype=torch.int64, device=_device(model))
        self._state = map_state(torch.clone, model.initial_state(rows))
        self._outputs = torch.empty_like(_last(model(self._tokens, self._state)[0]))
        self._holder: Callable[[], Standing | None] = lambda: None
        self._replay = captured(self._step, _device(model))
        self._turns = turns.Turns(_device(model), [self._tokens, self._outputs, *leaves(self._state).values()])

    @classmethod
    @torch.no_grad()
    def of(cls, model: Task, rows: int) -> StepGraph | None:
        """The captured step of a model as it is now, or None for the reason that `why_not` gives."""
        if why_not(model) is not None:
            return None
        with _making:
            known = _graphs.setdefault(model, {})
            found = known.get(rows)
            if found is None or found._seen != _seen(model):
                known.pop(rows, None)
                reason = "its state grows from step to step" if ragged(model.initial_state(1)) else None
                try:
                    if reason is None:
                        found = known[rows] = cls(model, rows)
                except RuntimeError as error:
                    # (a step of a person's own may wait for the device, which no capture can)
                    reason = f"it could not be captured: {str(error).splitlines()[0]}"
                if reason is not None:
                    _refused[model] = reason
                    warn_once(f"a pool's step is no CUDA graph, because {reason}")
                    return None
                while len(known) > MOST_SIZES:
                    known.pop(next(iter(known)))
            return found

    @torch.no_grad()
    def step(self, standing: Standing, tokens: Tensor) -> Tensor:
        """One token[B] into each row of a pool, which stands in these buffers afterwards: what the model gives, [B, V]."""
        if standing.graph is not self:
            standing.settle()
        with self._turns.turn() as stream:
            before = self._holder()
            if before is not standing:
                if before is not None:
                    before.value, before.left = self._read(), (self._tokens.device, stream.record_event())
                    before.graph = None
                self._write(standing.own())
                self._holder = ref(standing)
            self._tokens.copy_(tokens[:, None])
            self._replay()
            standing.value, standing.graph = None, self
            return self._outputs.clone()

    def read(self, standing: Standing) -> Any:
        """The state of a pool that stands here as a value; None where another one took its place meanwhile."""
        with self._turns.turn():
            return self._read() if self._holder() is standing else None

    def release(self, standing: Standing) -> None:
        """Hand a pool its state back, if it stands here."""
        with self._turns.turn():
            if self._holder() is standing:
                standing.value, standing.graph = self._read(), None
                self._holder = lambda: None

    def _read(self) -> Any:
        return map_state(torch.clone, self._state)

    def _write(self, state: Any) -> None:
        for place, value in zip(leaves(self._state).values(), leaves(state).values(), strict=True):
            place.copy_(value)

    @torch.no_grad()
    def _step(self) -> None:
        model = self._model()
        assert model is not None
        outputs, after = model(self._tokens, self._state)
        self._outputs.copy_(_last(outputs))
        # (what a step hands on as it was given, as delays do, is not to be written over before it is read)
        own = {_place(leaf) for leaf in leaves(self._state).values()}
        self._write(map_state(lambda leaf: leaf.clone() if _place(leaf) in own else leaf, after))


_graphs: WeakKeyDictionary[Task, dict[int, StepGraph]] = WeakKeyDictionary()
_refused: WeakKeyDictionary[Task, str] = WeakKeyDictionary()
"""Models whose step could not be captured, and why."""
_making = threading.Lock()


def summary() -> tuple[str, str]:
    """For `recurra doctor`: how the steps of pools run on a GPU, and what is to be known of that."""
    untried = kernels.gpu.untried()
    return ("plain calls", untried) if untried else ("replays", "one captured step a model and size; never run so far")


def why_not(model: Task) -> str | None:
    """Why the steps of a pool of this model are no replays of a captured one, or None."""
    device = _device(model).type
    if device != DEVICE:
        return "the model is not on a CUDA device"
    hooked = any(module._forward_hooks or module._forward_pre_hooks for module in model.modules())
    reasons = [
        (torch.is_autocast_enabled(device), "autocast is on"),
        (hooked or not kernels.unwatched(), "something watches the calls"),
        (model.training, "the model is in training"),
    ]
    return kernels.gpu.untried() or _refused.get(model) or next((reason for holds, reason in reasons if holds), None)


def _device(model: Task) -> torch.device:
    return next(model.parameters()).device


def _place(leaf: Tensor) -> int:
    return leaf.untyped_storage().data_ptr()


def _last(outputs: Tensor) -> Tensor:
    return outputs[:, -1] if outputs.dim() == 3 else outputs


def _seen(model: Task) -> tuple[Any, ...]:
    """What a captured step depends on besides the numbers in its memory: where the weights lie, and settings of torch."""
    weights = tuple((value.data_ptr(), value.dtype) for value in (*model.parameters(), *model.buffers()))
    return weights, kernels.gpu.as_tf32(), torch.are_deterministic_algorithms_enabled()
