"""Cells from a person's own step: as a program, as it stands, and what is said where neither works."""

from __future__ import annotations

import copy
import io
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from torch import Tensor

from own_steps import make_cumulative, make_minimal, make_mixture, minimal_gated, mixture
from recurra import kernels
from recurra.cells import OwnCell
from recurra.errors import DataError, StateError, UsageError
from recurra.kernels import BackendWarning, backend, native
from recurra.layers import Block, Stack
from recurra.state import leaves
from tolerances import assert_close

MAKERS = {"minimal": make_minimal, "mixture": make_mixture}
STEPS = {"minimal": minimal_gated, "mixture": mixture}
INPUTS, HIDDEN = 5, 11


def made(name: str, **options: Any) -> OwnCell:
    torch.manual_seed(2)
    cell = MAKERS[name](INPUTS, HIDDEN, **options).double()
    for parameter in cell.parameters():
        torch.nn.init.normal_(parameter, std=0.4)
    return cell


def by_hand(cell: OwnCell, step: Any, x: Tensor, state: Any, lengths: Tensor | None) -> list[Tensor]:
    """Outputs, inner values and last state by the function itself in a loop."""
    given = SimpleNamespace(**dict(cell.named_parameters()))
    names, now = list(vars(state)), dict(vars(state))
    rows: list[list[Tensor]] = []
    for t in range(len(x)):
        output, after, inner = step(x[t], SimpleNamespace(**now), given)
        emitted = [output, *inner.values()]
        if lengths is not None:
            alive = (t < lengths)[:, None]
            emitted = [torch.where(alive, value, 0.0) for value in emitted]
            after = {name: torch.where(alive, after[name], now[name]) for name in names}
        rows.append(emitted)
        now = after
    return [*(torch.stack(each) for each in zip(*rows, strict=True)), *(now[name] for name in names)]


@pytest.mark.parametrize("with_lengths", [False, True])
@pytest.mark.parametrize("name", MAKERS)
def test_it_is_the_loop_over_the_step(name: str, with_lengths: bool) -> None:
    cell = made(name)
    lengths = torch.tensor([7, 0, 3, 5]) if with_lengths else None
    results = []
    for run in ("loop", "cell"):
        x = torch.randn(7, 4, INPUTS, generator=torch.Generator().manual_seed(1), dtype=torch.float64)
        if with_lengths and run == "cell":
            x[3:, 1:3] = torch.nan  # padding may be anything
        x.requires_grad_()
        state = cell.initial_state(4)
        for leaf in vars(state).values():
            leaf.normal_(generator=torch.Generator().manual_seed(3)).requires_grad_()
        if run == "loop":
            values = by_hand(cell, STEPS[name], x, state, lengths)
        else:
            with backend("native"):
                outputs, after, inner = cell.trace(x, state, lengths)
                plain, _ = cell(x, state, lengths)
            assert_close(plain, outputs)
            values = [outputs, *inner.values(), *vars(after).values()]
        loss = sum((value * torch.cos(torch.arange(value.numel()))[:].view(value.shape)).sum() for value in values)
        gradients = torch.autograd.grad(loss, [x, *vars(state).values(), *cell.parameters()])  # pyright: ignore
        results.append((values, gradients))
    for got, true in zip(results[1][0], results[0][0], strict=True):
        assert_close(got, true)
    for got, true in zip(results[1][1], results[0][1], strict=True):
        assert_close(got, true, "gradients")


@pytest.mark.parametrize("name", MAKERS)
def test_it_is_a_program(name: str) -> None:
    assert made(name).explain() == "as a program in the native loop"


@pytest.mark.parametrize("name", MAKERS)
@pytest.mark.parametrize("check", [torch.autograd.gradcheck, torch.autograd.gradgradcheck])
def test_gradients_are_right(name: str, check: Any) -> None:
    cell = made(name)
    names = [key for key, _ in cell.named_parameters()]

    def run(x: Tensor, *values: Tensor) -> Any:
        state = cell.initial_state(2)
        parts = leaves(state)
        state = type(state)(**dict(zip(parts, values[: len(parts)], strict=True)))
        given = dict(zip(names, values[len(parts) :], strict=True))
        outputs, after = torch.func.functional_call(cell, given, (x, state))
        return (outputs, *leaves(after).values())

    state = [torch.randn_like(leaf) for leaf in leaves(cell.initial_state(2)).values()]
    values = [torch.randn(3, 2, INPUTS, dtype=torch.float64), *state, *(value.detach() for value in cell.parameters())]
    assert check(run, [value.clone().requires_grad_() for value in values], fast_mode=True)


@pytest.mark.parametrize("name", MAKERS)
@pytest.mark.filterwarnings(r"ignore:.torch\.jit\.script. is deprecated:DeprecationWarning")
def test_transforms(name: str) -> None:
    cell = made(name)
    x, state = torch.randn(3, 2, INPUTS, dtype=torch.float64), cell.initial_state(2)

    def total(x: Tensor) -> Tensor:
        return cell(x, state)[0].square().sum()

    assert_close(torch.func.jvp(total, (x,), (torch.ones_like(x),))[1], torch.func.grad(total)(x).sum())
    batched = torch.func.vmap(lambda x: cell(x, state)[0])(torch.stack([x, 2 * x]))
    assert_close(batched[1], cell(2 * x, state)[0])


@pytest.mark.parametrize("name", [*MAKERS, "as it stands"])
@pytest.mark.filterwarnings("ignore::recurra.kernels.BackendWarning")
def test_compiled_whole(name: str) -> None:
    cell = make_cumulative(INPUTS, HIDDEN) if name == "as it stands" else made(name).float()
    compiled = torch.compile(cell, fullgraph=True, backend="aot_eager", dynamic=name != "as it stands")
    for steps, batch in ((4, 2),) if name == "as it stands" else ((4, 2), (6, 3)):
        x = torch.randn(steps, batch, INPUTS, requires_grad=True)
        plain, got = (run(x, cell.initial_state(batch))[0] for run in (cell, compiled))
        assert_close(got, plain)
        gradients = [torch.autograd.grad(value.square().sum(), x)[0] for value in (plain, got)]
        assert_close(gradients[1], gradients[0], "gradients")


def test_exported_with_free_sizes() -> None:
    cell = made("minimal").float()
    steps, batch = torch.export.Dim("steps", min=1, max=4096), torch.export.Dim("batch", min=1, max=4096)
    with torch.no_grad():
        program = torch.export.export(
            cell,
            (torch.randn(6, 3, INPUTS), cell.initial_state(3)),
            dynamic_shapes=({0: steps, 1: batch}, [{0: batch}]),
        ).module()
        for count, rows in ((2, 2), (9, 5)):
            x, state = torch.randn(count, rows, INPUTS), cell.initial_state(rows)
            assert torch.equal(program(x, state)[0], cell(x, state)[0])


def test_copied_and_saved() -> None:
    cell = made("mixture")
    x, state = torch.randn(3, 2, INPUTS, dtype=torch.float64), cell.initial_state(2)
    expected = cell(x, state)[0]
    file = io.BytesIO()
    torch.save(cell, file)
    file.seek(0)
    for other in (copy.deepcopy(cell), torch.load(file, weights_only=False)):
        assert torch.equal(other(x, state)[0], expected)
    fresh = made("mixture")
    fresh.load_state_dict(cell.state_dict())
    assert torch.equal(fresh(x, state)[0], expected)


def test_in_a_stack() -> None:
    stack = Stack([Block(make_minimal(INPUTS, HIDDEN)), Block(make_minimal(HIDDEN, HIDDEN), residual=True)])
    outputs, state = stack(torch.randn(4, 3, INPUTS), stack.initial_state(3), torch.tensor([4, 0, 2]))
    assert outputs.shape == (4, 3, HIDDEN)
    assert list(leaves(state)) == ["0.h", "1.h"]


def test_a_step_that_is_no_program_says_so_once(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(native, "_warned", set())
    cell = make_cumulative(INPUTS, HIDDEN)
    assert "no instruction for aten.cumsum" in cell.explain()
    with pytest.warns(BackendWarning, match=r"your step runs as it stands, because .*cumsum") as caught:
        for _ in range(2):
            cell(torch.randn(3, 2, INPUTS), cell.initial_state(2))
    assert len(caught) == 1


REFUSED: dict[str, Any] = {
    "over the batch": lambda x, s, p: s.h + x.mean(0, keepdim=True),
    "rows taken apart": lambda x, s, p: s.h + x.flip(0),
    "random": lambda x, s, p: s.h + torch.rand_like(s.h),
    "two rows multiplied": lambda x, s, p: s.h + (s.h @ x.T) @ x,
    "a power of numbers": lambda x, s, p: s.h.abs() ** x.abs(),
    "three axes": lambda x, s, p: s.h.view(-1, 5, 1).transpose(1, 2).reshape(-1, 5) + x,
    "a whole number": lambda x, s, p: s.h + x.long(),
}


@pytest.mark.parametrize("name", REFUSED)
@pytest.mark.filterwarnings("ignore::recurra.kernels.BackendWarning")
def test_what_no_program_can_do_runs_as_it_stands(name: str) -> None:
    function = REFUSED[name]

    def step(x: Tensor, s: Any, p: Any) -> Any:
        h = torch.tanh(function(x, s, p))
        return h, {"h": h}

    cell = OwnCell(step, 5, state={"h": 5}, parameters={})
    assert cell.explain().startswith("as it stands")
    x, state = torch.randn(3, 4, 5), cell.initial_state(4)
    torch.manual_seed(0)
    got = cell(x, state)[0]
    torch.manual_seed(0)
    h = state.h
    for t in range(3):
        h = step(x[t], SimpleNamespace(h=h), None)[0]
    assert torch.equal(got[-1], h)


def _returns(first: Any, *more: Any) -> Any:
    return lambda x, s, p: (first, *more) if more else first


@pytest.mark.parametrize(
    ("step", "options", "problem"),
    [
        (_returns(torch.zeros(2, 3)), {}, "returns the wrong things.*Expected.*output"),
        (_returns(torch.zeros(2, 3), torch.zeros(2, 3)), {}, "returns the wrong things"),
        (_returns(torch.zeros(2, 3), {"c": torch.zeros(2, 3)}), {}, "another state.*c.*h"),
        (_returns(torch.zeros(2, 3), {"h": torch.zeros(2, 4)}), {}, r"state 'h'.*\(2, 4\).*\(2, 3\)"),
        (_returns(torch.zeros(3), {"h": torch.zeros(2, 3)}), {}, r"the output.*\(3,\)"),
        (_returns(torch.zeros(2, 3), {"h": torch.zeros(2, 3)}, {"z": 1.0}), {}, "inner 'z'.*float"),
        (minimal_gated, {"state": {}}, "no state"),
        (minimal_gated, {"state": {"h": 0}}, "field 'h' is wrong"),
        (minimal_gated, {"state": {"h!": 3}}, "field 'h!' is wrong"),
        (minimal_gated, {"parameters": {"hidden": (3,)}}, "cannot be called 'hidden'"),
        (minimal_gated, {"parameters": {"w": (3, -1)}}, "shape of 'w' is wrong"),
        (minimal_gated, {"parameters": {"w": 3}}, "shape of 'w' is wrong"),
        (minimal_gated, {"parameters": {"w": torch.ones(3, dtype=torch.int64)}}, "tensor 'w' is wrong"),
        (minimal_gated, {"state": {"lambda": 3}}, "field 'lambda' is wrong"),
    ],
)
def test_a_wrong_step_is_refused(step: Any, options: dict[str, Any], problem: str) -> None:
    with pytest.raises(UsageError, match=f"(?s){problem}"):
        OwnCell(step, 5, **{"state": {"h": 3}, "parameters": {}, **options})


def test_a_mistake_in_the_step_shows_as_it_is() -> None:
    with pytest.raises(AttributeError, match="W_f"):
        OwnCell(minimal_gated, 5, state={"h": 3}, parameters={})


def test_foreign_states_and_inputs_are_refused() -> None:
    cell, other = made("minimal"), made("mixture")
    with pytest.raises(StateError):
        cell(torch.randn(3, 2, INPUTS, dtype=torch.float64), other.initial_state(2))
    with pytest.raises(DataError):
        cell(torch.randn(3, 2, INPUTS + 1, dtype=torch.float64), cell.initial_state(2))
    x = torch.randn(3, 2, INPUTS, dtype=torch.float64)
    for name, wrong in (("lengths", [3, 1]), ("resets", [[True]])):
        with pytest.raises(DataError, match=f"the {name} are no tensor. Got: list"):
            cell(x, cell.initial_state(2), **{name: wrong})
    with pytest.raises(DataError, match=r"the inputs are no tensor. Got: list"):
        cell([[1.0]], cell.initial_state(2))


def test_products_of_the_inputs_leave_the_loop() -> None:
    traced = made("minimal").programs[False]
    assert not isinstance(traced, str)
    before = traced.hoisted.before
    assert before is not None
    assert [one.operation for one in before.instructions] == ["product", "product"]
    assert traced.hoisted.kept == ()


def test_a_scan_with_several_inputs_and_fixed_rows() -> None:
    """Attention over nothing but rows: two inputs a step, one value of each row that stays."""

    def step(inputs: tuple[Tensor, ...], state: tuple[Tensor, ...], given: Any) -> Any:
        x, gate = inputs
        h = state[0] * torch.sigmoid(gate) + torch.tanh(x @ given["w"].T + given["context"])
        return (h,), (h,)

    x, gate, context = torch.randn(5, 3, 4), torch.randn(5, 3, 1), torch.randn(3, 6, requires_grad=True)
    given = {"w": torch.randn(6, 4)}
    results = []
    for chosen in ("native", "reference"):
        with backend(chosen):
            (outputs,), (h,) = kernels.scan(step, (x, gate), (torch.zeros(3, 6),), given, fixed={"context": context})
        results.append((outputs, h, torch.autograd.grad(outputs.square().sum(), context)[0]))
    for got, true in zip(*results, strict=True):
        torch.testing.assert_close(got, true)


@pytest.mark.parametrize(
    ("change", "who"),
    [
        ({"inputs": torch.zeros(4, 3)}, "the inputs"),
        ({"inputs": torch.zeros(4, 3, 2, dtype=torch.int64)}, "the inputs"),
        ({"inputs": (torch.zeros(4, 3, 2), torch.zeros(5, 3, 2))}, "input 1"),
        ({"states": (torch.zeros(2, 2),)}, "state 0"),
        ({"states": (torch.zeros(3, 2, dtype=torch.float64),)}, "state 0"),
        ({"states": (0.0,)}, "state 0"),
        ({"fixed": {"mask": torch.zeros(2, 2)}}, "'mask'"),
        ({"parameters": {"w": 0.5}}, "parameter 'w'"),
        ({"lengths": [4, 0, 1]}, "the lengths"),
        ({"lengths": torch.tensor([4, 0, 1], dtype=torch.int32)}, "the lengths"),
        ({"lengths": torch.tensor([4, 0])}, "the lengths"),
        ({"resets": torch.ones(4, 3)}, "the resets"),
        ({"resets": torch.ones(3, 4, dtype=torch.bool)}, "the resets"),
    ],
)
def test_a_scan_of_what_does_not_go_together_is_refused(change: dict[str, Any], who: str) -> None:
    given: dict[str, Any] = {"inputs": torch.zeros(4, 3, 2), "states": (torch.zeros(3, 2),), "parameters": {}}
    with pytest.raises(DataError, match=f"scan: {who}"):
        kernels.scan(lambda x, state, given: (state, state), **{**given, **change})


def both_ways(x: Tensor, s: Any, p: Any) -> tuple[Tensor, dict[str, Tensor]]:
    """Reads its inputs in a product, which leaves the loop, and beside it."""
    h = torch.tanh(x @ p._W.T + s._h @ p.U.T + x[:, :1])
    return h, {"_h": h}


def summed(x: Tensor, s: Any, p: Any) -> tuple[Tensor, dict[str, Tensor]]:
    """Is no program."""
    h = torch.tanh(torch.cumsum(x @ p._W.T, 1) + s._h @ p.U.T)
    return h, {"_h": h}


@pytest.mark.parametrize("step", [both_ways, summed])
@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
@pytest.mark.parametrize("autocast", [False, True])
@pytest.mark.filterwarnings("ignore::recurra.kernels.BackendWarning")
def test_half_precision_trains(step: Any, autocast: bool, dtype: torch.dtype) -> None:
    """In a dtype of its own, or in the parameters' under autocast, where the state can be handed in again."""
    torch.manual_seed(0)
    wide = OwnCell(step, 3, state={"_h": 4}, parameters={"_W": (4, 3), "U": (4, 4)})
    cell = copy.deepcopy(wide) if autocast else copy.deepcopy(wide).to(dtype)
    x, found = torch.randn(5, 2, 3), []
    for each in (wide, cell):
        with torch.autocast("cpu", dtype, enabled=autocast and each is cell):
            state = each.initial_state(2)
            _, state = each(x.to(state._h.dtype), state)
            outputs, state = each(x.to(state._h.dtype), state)
            assert outputs.dtype == state._h.dtype == each.U.dtype
            outputs.float().square().sum().backward()
        found.append([outputs, state._h, *(parameter.grad for parameter in each.parameters())])
    for got, true in zip(found[1], found[0], strict=True):
        torch.testing.assert_close(got.float(), true, rtol=0.05, atol=0.05)


def test_a_tensor_from_elsewhere_is_named_as_the_reason() -> None:
    mask = torch.tensor([1.0, 0.0, 1.0, 1.0])

    def masked(x: Tensor, s: Any, p: Any) -> tuple[Tensor, dict[str, Tensor]]:
        h = torch.tanh(x @ p.W.T + s.h) * mask
        return h, {"h": h}

    cell = OwnCell(masked, 3, state={"h": 4}, parameters={"W": (4, 3)})
    assert "reads a tensor that is not among its arguments" in cell.explain()
