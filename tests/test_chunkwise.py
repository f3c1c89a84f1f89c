"""The mLSTM in chunks of steps against its steps in float64: options, laws, numbers at the ends of their range, memory."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import Tensor

from gpu_calls import shares
from recurra.kernels import Parameters, backend, gpu, native, ops_sweep, reference
from recurra.kernels.chunkwise import by_chunks, running_maximum
from recurra.kernels.sweeps import by_reference
from test_sweeps import DTYPES, OPTIONS, arguments, away_from_zero
from tolerances import assert_close

RAGGED = {"lengths": True, "resets": True}


def leaves_of(given: dict[str, Any], dtype: torch.dtype) -> list[Tensor]:
    every = given["x"], *given["states"], *given["weights"]
    return [value.detach().clone().to(dtype).requires_grad_() for value in every]


def called(way: Callable[..., list[Tensor]], given: dict[str, Any], leaves: list[Tensor], **more: Any) -> list[Tensor]:
    """(outputs, n, c, m, sums)"""
    parameters, marks = (
        Parameters.of(leaves[4:], given["present"]),
        [given.get(k) for k in ("tokens", "lengths", "resets")],
    )
    return way("mlstm", leaves[0], leaves[1:4], parameters, *marks, given["reverse"], True, **more)[:5]


def outcome(way: Callable[..., list[Tensor]], given: dict[str, Any], dtype: torch.dtype, **more: Any) -> list[Tensor]:
    """Results, and the gradients of inputs, states and weights."""
    leaves = leaves_of(given, dtype)
    results = called(way, given, leaves, **more)
    loss = sum((result * shares(result).bfloat16().to(dtype)).sum() for result in results)
    return [*results, *torch.autograd.grad(loss, leaves, allow_unused=True, materialize_grads=True)]  # pyright: ignore


def equal_reference(given: dict[str, Any], dtype: torch.dtype = torch.float64, chunk: int = 4) -> None:
    truth, found = outcome(by_reference, given, torch.float64), outcome(by_chunks, given, dtype, chunk=chunk)
    for at, (value, true) in enumerate(zip(found, truth, strict=True)):
        assert value.dtype == dtype
        assert_close(value, true, "values" if at < 5 else "gradients")


@pytest.mark.parametrize("dtype", DTYPES, ids=str)
@pytest.mark.parametrize("symbols", [None, 5])
@pytest.mark.parametrize("options", OPTIONS, ids=lambda on: "+".join(key for key in on if on[key]) or "plain")
def test_chunks_are_the_steps(options: dict[str, bool], symbols: int | None, dtype: torch.dtype) -> None:
    equal_reference(arguments("mlstm", 9, 5, 16, symbols=symbols, **options), dtype)


@pytest.mark.parametrize("reverse", [False, True])
@pytest.mark.parametrize(
    ("steps", "batch", "hidden"), [(0, 3, 16), (1, 3, 16), (4, 3, 16), (12, 3, 16), (6, 0, 16), (5, 2, 1), (7, 2, 11)]
)
def test_of_any_shape(steps: int, batch: int, hidden: int, reverse: bool) -> None:
    equal_reference(arguments("mlstm", steps, batch, hidden, reverse=reverse, **RAGGED))


@pytest.mark.parametrize("seed", range(3))
def test_many_steps_in_single_precision(seed: int) -> None:
    given = away_from_zero(arguments("mlstm", 150, 3, 16, seed=seed, **RAGGED))
    equal_reference(given, torch.float32, chunk=64)


def test_the_scale_is_a_maximum_step_by_step() -> None:
    add, value, first = torch.randn(13, 3), torch.randn(13, 3), torch.randn(3)
    walked = [first]
    for more, other in zip(add, value, strict=True):
        walked.append(torch.maximum(walked[-1] + more, other))
    assert_close(running_maximum(add, value, first), torch.stack(walked[1:]))


@pytest.mark.parametrize("reverse", [False, True])
def test_pieces_of_any_length_are_the_whole(reverse: bool) -> None:
    given = arguments("mlstm", 11, 3, 16, resets=True, reverse=reverse)
    leaves = [value.detach() for value in leaves_of(given, torch.float64)]
    before = [value.clone() for value in leaves]
    outputs, *last, _ = called(by_chunks, given, leaves, chunk=4)
    pieces, states = [slice(0, 2), slice(2, 2), slice(2, 3), slice(3, 11)], leaves[1:4]
    found = {}
    for piece in reversed(pieces) if reverse else pieces:
        part = {**given, "resets": given["resets"][piece]}
        found[piece.start, piece.stop], *states, _ = called(
            by_chunks, part, [leaves[0][piece], *states, *leaves[4:]], chunk=4
        )
    assert_close(torch.cat([found[piece.start, piece.stop] for piece in pieces]), outputs)
    for state, true in zip(states, last, strict=True):
        assert_close(state, true)
    # nothing that was given was changed
    assert all(map(torch.equal, leaves, before))


@pytest.mark.parametrize("reverse", [False, True])
def test_nothing_goes_through_a_reset_nor_back_in_time(reverse: bool) -> None:
    """A row's NaN is in what it makes from there to the next reset, whatever stands in the same chunk; gradients as well."""
    given = arguments("mlstm", 9, 2, 16, reverse=reverse)
    given["resets"] = torch.zeros(9, 2, dtype=torch.bool)
    bad, reset = (5, 2) if reverse else (3, 6)
    given["resets"][reset, 0] = True
    clean = outcome(by_chunks, given, torch.float64, chunk=4)
    given["x"][bad, 0] = torch.nan
    outputs, *last, _ = called(by_chunks, given, leaves_of(given, torch.float64), chunk=4)
    spoilt = torch.zeros(9, 2, dtype=torch.bool)
    spoilt[slice(reset + 1, bad + 1) if reverse else slice(bad, reset), 0] = True
    assert outputs[spoilt].isnan().all() and torch.equal(outputs[~spoilt], clean[0][~spoilt])
    assert all(map(torch.equal, last, clean[1:4]))
    leaves = leaves_of(given, torch.float64)
    outputs, *_ = called(by_chunks, given, leaves, chunk=4)
    (found,) = torch.autograd.grad(outputs[~spoilt].sum(), leaves[0])
    assert found[:, 1].any() and found[[at for at in range(9) if at != bad]].isfinite().all()


def test_a_state_that_is_not_finite_stays_until_a_reset() -> None:
    for leaf in range(3):
        given = arguments("mlstm", 5, 3, 16)
        given["states"][leaf][0] = torch.inf
        given["resets"] = torch.tensor([[False] * 3] * 2 + [[True] * 3] + [[False] * 3] * 2)
        outputs, *last, _ = called(by_chunks, given, leaves_of(given, torch.float64))
        assert outputs[:2, 0].isnan().all() and outputs[2:].isfinite().all() and outputs[:, 1:].isfinite().all()
        assert all(state.isfinite().all() for state in last)
        given["resets"] = None
        outputs, *last, _ = called(by_chunks, given, leaves_of(given, torch.float64))
        assert outputs[:, 0].isnan().all() and all(state[0].isnan().all() for state in last)


def test_gates_that_are_shut_cost_no_digits_of_the_steps_after_them() -> None:
    given = away_from_zero(arguments("mlstm", 40, 2, 16))
    weight, bias = given["weights"]
    weight[-2:, 0], bias[-2:] = -3000.0, 3.0
    given["x"][:, :, 0] = 0.0
    given["x"][2::9, :, 0] = 1.0
    equal_reference(given, torch.float32, chunk=40)


def test_sums_at_the_ends_of_the_range() -> None:
    given = arguments("mlstm", 4, 3, 8, 2)
    ends = torch.tensor([300.0, -300.0, 100.0, -90.0, 0.0, 1e4, -1e4, 30.0]).double()
    given["weights"][1] = ends.repeat(5)[: len(given["weights"][1])]
    equal_reference(given, chunk=3)
    assert all(value.isfinite().all() for value in outcome(by_chunks, given, torch.float32))


@pytest.mark.parametrize("order", ["first", "second"])
def test_gradients_are_right(order: str) -> None:
    given = arguments("mlstm", 4, 2, 4, 2, resets=True)
    scale = given["states"][2]

    def outputs(x: Tensor, n: Tensor, c: Tensor, *weights: Tensor) -> Tensor:
        return called(by_chunks, given, [x, n, c, scale, *weights], chunk=3)[0]

    leaves = leaves_of(given, torch.float64)
    check = torch.autograd.gradcheck if order == "first" else torch.autograd.gradgradcheck
    assert check(outputs, [*leaves[:3], *leaves[4:]])


def test_bfloat16_is_float32_rounded() -> None:
    given = arguments("mlstm", 6, 2, 16)
    narrow = {**given, "x": given["x"].bfloat16()}
    narrow |= {key: [value.bfloat16() for value in given[key]] for key in ("states", "weights")}
    found, truth = outcome(by_chunks, narrow, torch.bfloat16), outcome(by_chunks, narrow, torch.float32)
    for at, (value, true) in enumerate(zip(found, truth, strict=True)):
        assert torch.equal(value, true.bfloat16()) if at < 5 else assert_close(value, true, "gradients") is None


def test_memory_grows_as_the_number_of_steps() -> None:
    def kept(steps: int) -> int:
        given, sizes = arguments("mlstm", steps, 1, 16), dict[int, int]()

        def pack(value: Tensor) -> Tensor:
            sizes[value.untyped_storage().data_ptr()] = value.untyped_storage().nbytes()
            return value

        with torch.autograd.graph.saved_tensors_hooks(pack, lambda value: value):
            results = called(by_chunks, given, leaves_of(given, torch.float32), chunk=16)
        return sum(sizes.values()) if results else 0

    assert kept(512) < 2.1 * kept(256)


def test_the_operation_of_a_gpu_goes_through_no_step(monkeypatch: pytest.MonkeyPatch) -> None:
    """Forward and backward as the dispatcher calls them there, without a kernel of ours; the reference if chosen."""
    monkeypatch.setattr(gpu, "ENABLED", False)
    monkeypatch.setattr(native, "_warned", set())
    given = arguments("mlstm", 6, 3, 16, **RAGGED)
    leaves = leaves_of(given, torch.float64)
    truth = called(by_reference, given, leaves)
    weights = [shares(value) for value in truth[:4]]
    true = torch.autograd.grad(truth[:4], leaves, weights, allow_unused=True, materialize_grads=True)
    x, states, parameters = leaves[0], leaves[1:4], leaves[4:]
    marks = given["present"], None, given["lengths"], given["resets"], False
    with backend("reference"):
        assert gpu.sweep("mlstm", x.dtype) is by_reference

    def never(*_: Any) -> Any:
        raise AssertionError("went step by step")

    monkeypatch.setattr(reference, "run", never)
    with torch.no_grad():
        outputs, *last, kept, made = ops_sweep._by_gpu("mlstm", x, states, parameters, *marks, True)
        arrived = outputs, kept, made, weights[0], [True] * 3, weights[1:]
        found = ops_sweep._backward_by_gpu("mlstm", x, states, parameters, *marks, *arrived, True)
    for value, other in zip((outputs, *last, kept), truth, strict=True):
        assert_close(value, other)
    for value, other in zip(found, true, strict=True):
        assert_close(value, other, "gradients")
    assert gpu.explain("mlstm", {"x": x}) == f"torch runs 'mlstm': {gpu.IN_CHUNKS}"


def test_a_query_of_zero_reads_zero_at_any_scale() -> None:
    given = arguments("mlstm", 4, 3, 8, 2)
    for value in given["weights"]:
        value[:8] = 0.0
    given["weights"][1][-2:-1] = 1e4
    assert not outcome(by_chunks, given, torch.float64)[0].any()
