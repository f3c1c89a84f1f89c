"""A pool whose step is captured once and replayed, with a graph that runs its work again on the processor."""

from __future__ import annotations

import gc
import re
from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import Tensor, nn

import recurra
from networks import CODEC
from recurra.kernels import BackendWarning, backend, gpu, native
from recurra.models import LanguageModel
from recurra.state import leaves, map_state
from recurra.streaming import graph, turns
from test_streaming import language, same

ROWS = 5


class Stream:
    """What a stream of a GPU is to turns: `after` holds the work that is done before what comes next here begins."""

    def __init__(self) -> None:
        self.after: set[object] = set()

    def record_event(self) -> frozenset[object]:
        return frozenset(self.after)

    def wait_event(self, event: frozenset[object]) -> None:
        self.after |= event


class Captures:
    """What a CUDA graph is to a pool: work that ran while it was warmed up, and runs again at each replay."""

    def __init__(self) -> None:
        self.count = self.replays = 0
        self.error: str | None = None
        self.stream = Stream()
        self.lent: list[tuple[int, Stream]] = []

    def __call__(self, body: Callable[[], object], device: torch.device) -> graph.Replay:
        for _ in range(graph.WARM_UP):
            body()
        if self.error is not None:
            raise RuntimeError(f"{self.error}\nand more of it")
        self.count += 1

        def replay() -> None:
            self.replays += 1
            body()

        return replay


@pytest.fixture
def captures(monkeypatch: pytest.MonkeyPatch) -> Captures:
    monkeypatch.setattr(gpu, "ENABLED", True)
    monkeypatch.setattr(graph, "DEVICE", "cpu")
    monkeypatch.setattr(native, "_warned", set())
    made = Captures()
    monkeypatch.setattr(graph, "captured", made)
    monkeypatch.setattr(turns, "stream_of", lambda _: made.stream)
    monkeypatch.setattr(
        turns, "lend", lambda values, stream: made.lent.extend((value.data_ptr(), stream) for value in values)
    )
    return made


def tokens(step: int, rows: int = ROWS) -> list[int]:
    return [(row * 3 + step * 5) % CODEC.size for row in range(rows)]


def eager(model: LanguageModel, state: Any, given: list[int]) -> tuple[Tensor, Any]:
    with torch.no_grad():
        outputs, state = model(torch.tensor(given)[:, None], state)
    return outputs[:, -1], state


@pytest.mark.parametrize("name", ["elman", "gru", "lstm", "mingru", "mlstm"])
def test_replays_are_steps(name: str, captures: Captures) -> None:
    model = language(name)
    pools, states = [recurra.Pool(model, ROWS) for _ in range(2)], [model.initial_state(ROWS)] * 2
    seen: list[tuple[Any, Any]] = []
    for step in range(6):
        at = (0, 0, 1, 0, 1, 1)[step]  # (they take turns in the same buffers)
        true, states[at] = eager(model, states[at], tokens(step))
        given = pools[at].advance(tokens(step))
        assert torch.equal(given, true)
        seen += [(given, true.clone()), (pools[at].state, map_state(torch.clone, states[at]))]
    for pool, state in zip(pools, states, strict=True):
        assert same(pool.state, state)
    assert captures.count == 1 and captures.replays == 6
    assert all(
        torch.equal(a, b) if isinstance(a, Tensor) else same(a, b) for a, b in seen
    )  # values, never written again
    one = pools[1].session(3)
    assert torch.equal(one.outputs_after([2]), eager(model, states[1], [2] * ROWS)[0][3])
    recurra.Pool(model, 2).advance(tokens(0, 2))
    assert captures.count == 2
    assert pools[0].explain() == "as replays of one captured step"


def test_a_state_that_is_handed_on_is_not_written_over(captures: Captures) -> None:
    """A delay line hands what it was given from leaf to leaf."""

    class Delay(LanguageModel):
        def initial_state(self, batch: int) -> Any:
            return tuple(torch.zeros(batch, 1) for _ in range(3))

        def forward(
            self, inputs: Tensor, state: Any = None, lengths: Tensor | None = None, resets: Tensor | None = None
        ) -> tuple[Tensor, Any]:
            return state[2], (inputs.float(), state[0], state[1])

    plain = language()
    pool = recurra.Pool(Delay(plain.config, plain.codec), 2)
    assert [pool.advance([step + 1, 0])[0].item() for step in range(6)] == [0, 0, 0, 1, 2, 3]
    assert captures.replays == 6


def test_pools_on_several_streams_take_turns(captures: Captures, monkeypatch: pytest.MonkeyPatch) -> None:
    """What is done with the buffers, and with a state that was taken out of them, comes after all that was done before."""
    done: set[object] = set()
    reads: list[object] = []

    def watched(name: str) -> None:
        plain = getattr(graph.StepGraph, name)

        def work(self: Any, *given: Any) -> Any:
            assert done <= captures.stream.after
            done.add(mark := object())
            captures.stream.after.add(mark)
            reads.extend([mark] if name == "_read" else [])
            return plain(self, *given)

        monkeypatch.setattr(graph.StepGraph, name, work)

    for name in ("_read", "_write", "_step"):
        watched(name)
    model = language()
    pools, streams = [recurra.Pool(model, ROWS) for _ in range(2)], [captures.stream, Stream()]
    states = [model.initial_state(ROWS)] * 2
    for step, at in enumerate((0, 1, 0, 0, 1)):
        captures.stream = streams[at]
        true, states[at] = eager(model, states[at], tokens(step))
        assert torch.equal(pools[at].advance(tokens(step)), true)
    assert len(done) > 10 and captures.count == 1
    buffers = {value.data_ptr() for value in leaves(graph._graphs[model][ROWS]._state).values()}
    assert buffers <= {place for place, stream in captures.lent if stream is streams[1]}
    captures.stream = streams[0]
    taken_out = reads[-1]  # (in the last turn of the other pool)
    assert taken_out not in streams[0].after
    captures.lent.clear()
    assert same(pools[0].state, states[0])
    assert taken_out in streams[0].after and not done <= streams[0].after
    assert captures.lent == [(value.data_ptr(), streams[0]) for value in leaves(pools[0].state).values()]
    captures.stream = streams[1]
    assert same(pools[1].state, states[1])


def test_weights_are_used_as_they_are(captures: Captures) -> None:
    model = language()
    pool, state = recurra.Pool(model, ROWS), model.initial_state(ROWS)

    def step(count: int) -> None:
        nonlocal state
        true, state = eager(model, state, tokens(count))
        assert torch.equal(pool.advance(tokens(count)), true)
        assert captures.count == count

    step(1)
    with torch.no_grad():
        model.bias.add_(1.0)
    true, state = eager(model, state, tokens(0))
    assert torch.equal(pool.advance(tokens(0)), true) and captures.count == 1  # the same memory
    model.register_parameter("bias", nn.Parameter(model.bias.detach() * 2))
    step(2)
    torch.use_deterministic_algorithms(not torch.are_deterministic_algorithms_enabled())
    step(3)


def test_where_nothing_is_captured_steps_are_plain_and_the_reason_is_said(captures: Captures) -> None:
    model = language()
    pool, state = recurra.Pool(model, ROWS), model.initial_state(ROWS)

    def plain(words: str) -> None:
        nonlocal state
        assert pool.explain() == f"as calls of the model, because {words}"
        true, state = eager(model, state, tokens(1))
        torch.testing.assert_close(pool.advance(tokens(1)), true)
        assert captures.replays == 1

    _, state = eager(model, state, tokens(0))
    pool.advance(tokens(0))
    with backend("reference"):
        plain("the backend 'reference' was chosen")
    hook = model.stack.register_forward_hook(lambda *_: None)
    plain("something watches the calls")
    hook.remove()
    with torch.autocast("cpu"):
        assert pool.explain().endswith("autocast is on")
    model.train()
    assert pool.explain().endswith("the model is in training")
    model.eval()
    pool.advance(tokens(2))
    assert captures.replays == 2 and captures.count == 1


def test_what_cannot_be_captured_is_tried_once(captures: Captures) -> None:
    captures.error = "operation not permitted when stream is capturing"
    model = language()
    pool = recurra.Pool(model, ROWS)
    why = f"it could not be captured: {captures.error}"
    true, state = eager(model, model.initial_state(ROWS), tokens(0))
    with pytest.warns(BackendWarning, match=re.escape(f"a pool's step is no CUDA graph, because {why}")):
        given = pool.advance(tokens(0))
    torch.testing.assert_close(given, true)
    torch.testing.assert_close(pool.advance(tokens(1)), eager(model, state, tokens(1))[0])
    assert pool.explain() == f"as calls of the model, because {why}"


def test_a_captured_step_goes_with_its_model_and_old_sizes_go(captures: Captures) -> None:
    model = language()
    for rows in range(1, graph.MOST_SIZES + 3):
        recurra.Pool(model, rows).advance(tokens(0, rows))
    assert list(graph._graphs[model]) == list(range(3, graph.MOST_SIZES + 3))
    before = len(graph._graphs)
    del model
    gc.collect()
    assert len(graph._graphs) == before - 1


def test_by_default_and_on_the_cpu_nothing_is_captured(captures: Captures, monkeypatch: pytest.MonkeyPatch) -> None:
    pool = recurra.Pool(language(), ROWS)
    monkeypatch.setattr(gpu, "ENABLED", False)
    assert pool.explain().endswith(gpu.NOT_ASKED) and graph.summary() == ("plain calls", gpu.NOT_ASKED)
    monkeypatch.setattr(gpu, "ENABLED", True)
    assert graph.summary()[0] == "replays"
    monkeypatch.setattr(graph, "DEVICE", "cuda")
    assert pool.explain().endswith("the model is not on a CUDA device")
    pool.advance(tokens(0))
    assert captures.count == 0
