"""The laws of state, over every network of the table and both backends.

On the CPU's native backend they hold bit for bit in inference. The reference multiplies with BLAS, whose order of
additions changes with the shape, so there the same laws hold within the table of tolerances.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from torch import Tensor

from networks import NETWORKS, Network
from recurra import kernels
from recurra.kernels import backend
from recurra.state import batch_size, leaves, map_state, merge, select, structure
from tolerances import assert_close

STEPS, BATCH = 6, 4


@pytest.fixture(params=["native", "dispatched", "reference"], autouse=True)
def chosen(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> Iterator[str]:
    """native: short sequences on their short way, as they come; dispatched: all of them through the operations of torch."""
    if request.param == "dispatched":
        monkeypatch.setattr(kernels, "MOST_ROWS", 0)
    with backend("reference" if request.param == "reference" else "native"), torch.no_grad():
        yield request.param


@pytest.fixture(params=NETWORKS, ids=lambda network: network.name)
def network(request: pytest.FixtureRequest) -> Network:
    return request.param


def same(got: Any, wanted: Any, chosen: str) -> None:
    """Equal bits on the native backend, equal within the table under the reference. Tensors or states."""
    pairs = (
        [(got, wanted)] if isinstance(got, Tensor) else zip(leaves(got).values(), leaves(wanted).values(), strict=True)
    )
    for one, other in pairs:
        assert one.shape == other.shape and one.dtype == other.dtype
        if chosen != "reference" or not one.is_floating_point():
            assert torch.equal(one, other)
        else:
            assert_close(one, other)


def some_state(network: Network, model: Any, batch: int = BATCH) -> Any:
    """A state that is not the initial one: what some steps leave behind."""
    return network.run(model, network.inputs(3, batch, seed=9), network.begin(model, batch))[1]


def test_1_batch_first_in_state(network: Network, chosen: str) -> None:
    model = network.build()
    state = some_state(network, model)
    assert batch_size(state) in (BATCH, None)
    x = network.inputs(STEPS, BATCH)
    rows = [2, 0, 2]
    outputs, after = network.run(model, x, state)
    picked, picked_after = network.run(model, x[:, rows], select(state, rows))
    same(picked, outputs[:, rows] if network.per_step else outputs[rows], chosen)
    same(picked_after, select(after, rows), chosen)
    same(merge([select(state, [0, 1]), select(state, [2, 3])]), state, chosen)


def test_2_same_shape_out_as_in(network: Network) -> None:
    for dtype in (torch.float32, torch.float64):
        model = network.build(dtype)
        state = network.begin(model, BATCH)
        _, after = network.run(model, network.inputs(STEPS, BATCH, dtype), state)
        assert structure(after) == structure(state)
        for before, now in zip(leaves(state).values(), leaves(after).values(), strict=True):
            assert (before.shape, before.dtype, before.device) == (now.shape, now.dtype, now.device)


def test_3_split(network: Network, chosen: str) -> None:
    model = network.build()
    x, state = network.inputs(STEPS, BATCH), some_state(network, model)
    whole, end = network.run(model, x, state)
    if not model.causal:
        cut, _ = network.run(model, x[:3], state)
        assert not network.per_step or not torch.equal(cut, whole[:3])
        return
    for cut in range(STEPS + 1):
        first, between = network.run(model, x[:cut], state)
        second, after = network.run(model, x[cut:], between)
        same(torch.cat([first, second]) if network.per_step else second, whole, chosen)
        same(after, end, chosen)


def test_3_split_into_single_steps(network: Network, chosen: str) -> None:
    model = network.build()
    if not model.causal:
        return
    x, state = network.inputs(STEPS, BATCH), network.begin(model, BATCH)
    whole, end = network.run(model, x, state)
    pieces = []
    for t in range(STEPS):
        outputs, state = network.run(model, x[t : t + 1], state)
        pieces.append(outputs)
    same(torch.cat(pieces) if network.per_step else pieces[-1], whole, chosen)
    same(state, end, chosen)


def test_4_rows(network: Network, chosen: str) -> None:
    model = network.build()
    x, state = network.inputs(STEPS, BATCH), some_state(network, model)
    lengths = torch.tensor([STEPS, 2, 0, 5])
    whole, end = network.run(model, x, state, lengths)
    for row in range(BATCH):
        alone, after = network.run(model, x[:, row : row + 1], select(state, [row]), lengths[row : row + 1])
        same(alone, whole[:, row : row + 1] if network.per_step else whole[row : row + 1], chosen)
        same(after, select(end, [row]), chosen)


def test_5_padding(network: Network, chosen: str) -> None:
    model = network.build()
    x, state = network.inputs(STEPS, BATCH), some_state(network, model)
    lengths = torch.tensor([3, STEPS, 0, 5])
    if not network.tokens:
        for row, length in enumerate(lengths.tolist()):
            x[length:, row] = float("nan")
    whole, end = network.run(model, x, state, lengths)
    is_stack_output = network.per_step and not network.name.startswith(("language", "translate"))
    for row, length in enumerate(lengths.tolist()):
        alone, after = network.run(model, x[:length, row : row + 1], select(state, [row]))
        same(select(end, [row]), after, chosen)
        if network.per_step:
            same(whole[:length, row : row + 1], alone, chosen)
            assert not is_stack_output or whole[length:, row].count_nonzero() == 0
        else:
            same(whole[row : row + 1], alone, chosen)


def test_6_resets(network: Network, chosen: str) -> None:
    model = network.build()
    x, state = network.inputs(STEPS, BATCH), some_state(network, model)
    resets = torch.zeros(STEPS, BATCH, dtype=torch.bool)
    resets[2, 0] = resets[0, 1] = resets[2, 2] = resets[4, 2] = True
    whole, end = network.run(model, x, state, resets=resets)
    if not model.causal:
        return
    for row in range(BATCH):
        part, now = network.build(), select(state, [row])
        pieces, start = [], 0
        for t in [*resets[:, row].nonzero().flatten().tolist(), STEPS]:
            outputs, now = network.run(part, x[start:t, row : row + 1], now)
            pieces.append(outputs)
            if t < STEPS:
                # the initial state is zeros; here of the same shape, for one whose shape is that of its source
                now, start = map_state(torch.zeros_like, now), t
        same(
            torch.cat(pieces) if network.per_step else pieces[-1],
            whole[:, row : row + 1] if network.per_step else whole[row : row + 1],
            chosen,
        )
        same(now, select(end, [row]), chosen)


def test_6_resets_of_a_direction(network: Network, chosen: str) -> None:
    """Whatever the direction, a reset cuts: what lies on its far side changes nothing on this one."""
    model = network.build()
    x = network.inputs(STEPS, 1)
    resets = torch.zeros(STEPS, 1, dtype=torch.bool)
    resets[3] = True
    reverse = getattr(model, "reverse", False)
    if not model.causal and not reverse:
        return
    changed = x.clone()
    far = slice(4, None) if reverse else slice(0, 3)
    changed[far] = network.inputs(STEPS, 1, seed=5)[far]
    before, _ = network.run(model, x, model.initial_state(1), resets=resets)
    after, _ = network.run(model, changed, model.initial_state(1), resets=resets)
    near = slice(0, 4) if reverse else slice(3, None)
    same(before[near] if network.per_step else before, after[near] if network.per_step else after, chosen)


def test_6_no_gradient_crosses_a_reset(network: Network) -> None:
    if network.tokens:
        return
    model = network.build(torch.float64)
    reverse = getattr(model, "reverse", False)
    if not model.causal and not reverse:
        return
    with torch.enable_grad():
        x = network.inputs(STEPS, 1, torch.float64).requires_grad_()
        resets = torch.zeros(STEPS, 1, dtype=torch.bool)
        resets[3] = True
        outputs, _ = network.run(model, x, model.initial_state(1), resets=resets)
        answer = outputs[1 if reverse else -1].sum() if network.per_step else outputs.sum()
        (gradient,) = torch.autograd.grad(answer, x)
    far, near = (gradient[4:], gradient[1:4]) if reverse else (gradient[:3], gradient[3:])
    assert far.count_nonzero() == 0
    assert near.abs().sum() > 0


def test_7_empty(network: Network, chosen: str) -> None:
    model = network.build()
    state = some_state(network, model)
    outputs, after = network.run(model, network.inputs(0, BATCH), state)
    assert outputs.shape[0] == (0 if network.per_step else BATCH)
    same(after, state, chosen)
    nothing = torch.zeros(BATCH, dtype=torch.int64)
    _, after = network.run(model, network.inputs(STEPS, BATCH), state, nothing)
    same(after, state, chosen)
    outputs, after = network.run(model, network.inputs(STEPS, 0), model.initial_state(0))
    assert outputs.shape[1 if network.per_step else 0] == 0
    assert batch_size(after) in (0, None)


def test_8_pure(network: Network) -> None:
    model = network.build()
    state, x = some_state(network, model), network.inputs(STEPS, BATCH)
    kept, kept_x = map_state(torch.clone, state), x.clone()
    first, after = network.run(model, x, state)
    for leaf, copy in zip(leaves(state).values(), leaves(kept).values(), strict=True):
        assert torch.equal(leaf, copy)
    assert torch.equal(x.nan_to_num(), kept_x.nan_to_num())
    pointers = {leaf.data_ptr() for leaf in leaves(state).values() if leaf.numel()}
    assert pointers.isdisjoint(leaf.data_ptr() for leaf in leaves(after).values())
    again, _ = network.run(model, x, kept)
    assert torch.equal(first, again)


def test_a_trace_is_the_run(network: Network, chosen: str) -> None:
    model = network.build()
    x, state = network.inputs(STEPS, BATCH), some_state(network, model)
    lengths = torch.tensor([3, STEPS, 0, 5])
    outputs, after = network.run(model, x, state, lengths)
    traced, traced_after, inner = network.trace(model, x, state, lengths)
    same(traced, outputs, chosen)
    same(traced_after, after, chosen)
    assert inner
    for value in inner.values():
        assert value.shape[:2] == (STEPS, BATCH)
        assert value[:, 2].count_nonzero() == 0


@settings(max_examples=40, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(data=st.data())
def test_any_cut_of_any_batch(data: st.DataObject, chosen: str) -> None:
    """Random sizes, cuts, lengths and resets at once: in pieces and alone as in one piece and together."""
    network = data.draw(st.sampled_from([each for each in NETWORKS if "both" not in each.name]))
    model = network.build()
    if not model.causal:
        return
    steps, batch = data.draw(st.integers(1, 12)), data.draw(st.integers(1, 7))
    cut, row = data.draw(st.integers(0, steps)), data.draw(st.integers(0, batch - 1))
    lengths = torch.tensor(data.draw(st.lists(st.integers(0, steps), min_size=batch, max_size=batch)))
    x = network.inputs(steps, batch, seed=data.draw(st.integers(0, 99)))
    resets = torch.rand(steps, batch, generator=torch.Generator().manual_seed(1)) < 0.2
    state = some_state(network, model, batch)
    whole, end = network.run(model, x, state, lengths, resets)
    now = select(state, [row])
    pieces = []
    for span, length in (
        (slice(0, cut), min(int(lengths[row]), cut)),
        (slice(cut, None), max(int(lengths[row]) - cut, 0)),
    ):
        outputs, now = network.run(
            model, x[span, row : row + 1], now, torch.tensor([length]), resets[span, row : row + 1]
        )
        pieces.append(outputs)
    same(now, select(end, [row]), chosen)
    if network.per_step:
        same(torch.cat(pieces), whole[:, row : row + 1], chosen)
    else:
        same(pieces[-1], whole[row : row + 1], chosen)
