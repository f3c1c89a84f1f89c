"""Steps written as Triton kernels against the same programs by torch in float64, in the interpreter where there is no GPU."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

from gpu_calls import shares as weighed
from interpreted import round_as_a_device
from recurra.kernels import BackendWarning, gpu, native
from recurra.kernels.ops_scan import scan
from recurra.kernels.programs import Given, Sizes, Traced, backward_by_torch, by_torch, running, trace
from recurra.kernels.programs.gradient import gradient
from recurra.kernels.programs.program import OPERATIONS, Instruction, Program, parse
from recurra.kernels.programs.running import backward_with, recorded
from recurra.kernels.steps import ElmanStep, GRUStep, LSTMStep
from recurra.kernels.sweep_programs import SweepStep
from tolerances import assert_close

pytest.importorskip("triton", reason="Triton is made for Linux alone")

from recurra.kernels.gpu import generated, launch
from recurra.kernels.gpu.shares import Shares
from recurra.kernels.gpu.writing import write

H = 5
round_as_a_device()
ALONE, SHARED_OUT = Shares(1, 16, 16), Shares(2, 16, 16)


def layer_normed_attention(x: Tensor, state: Any, given: Any) -> Any:
    """An own step: two states of two widths, a number a row, slices, sums and maxima of rows, two products in a row."""
    s, n = state
    inner = torch.tanh(torch.cat([s @ given["w"].T, x[:, :1], x[:, 2:3]], dim=1) + x[:, :7])
    energy = inner @ given["v"].T
    share = torch.softmax(energy, dim=1)
    new = torch.where(share > 0.2, share * s, torch.expm1(s * 0.1))
    count = n * 0.5 + (new * new).sum(dim=1, keepdim=True)
    return (new + torch.log1p(count) * 0.1, count), (new - inner[:, 1:6], count)


STEPS: dict[str, tuple[Callable[..., Any], Sizes, Shares]] = {
    "gru, reset before": (
        GRUStep(reset_after=False),
        Sizes((3 * H,), (H,), (), (("weight_rz", (2 * H, H)), ("weight_n", (H, H)), ("bias", (H,))), False),
        ALONE,
    ),
    "lstm, peepholes and projection": (
        LSTMStep(),
        Sizes(
            (4 * H,), (3, H), (),
            (("weight", (4 * H, 3)), ("projection", (3, H)), *((f"peephole_{gate}", (H,)) for gate in "ifo")), False,
        ),
        SHARED_OUT,
    ),
    "lstm, normalised, mask and zoneout": (
        LSTMStep(zoned=True),
        Sizes(
            (4 * 17, 17), (17, 17), (("mask", 17),),
            (("weight", (4 * 17, 17)), ("norm", (4 * 17,)), ("norm_gain", (17,)), ("norm_bias", (17,))), False,
        ),
        SHARED_OUT,
    ),
    "elman, gelu": (ElmanStep("gelu"), Sizes((H,), (H,), (), (("weight", (H, H)),), False), ALONE),
    # two heads of two units
    "slstm": (SweepStep("slstm", keep=True), Sizes((16,), (4,) * 4, (), (("weight", (4, 4, 2)),), False), SHARED_OUT),
    "an own step": (
        layer_normed_attention, Sizes((8,), (H, 1), (), (("w", (H, H)), ("v", (H, 7))), True), SHARED_OUT,
    ),
}  # fmt: skip


def drawn(sizes: Sizes, traced: Traced, steps: int, batch: int) -> Given:
    random = torch.Generator().manual_seed(3)

    def draw(*shape: int) -> Tensor:
        return torch.randn(*shape, generator=random, dtype=torch.float64) / 2

    values = [draw(*shape) for _, shape in sizes.parameters]
    weights, shared = traced.arguments(values, torch.float64)
    inputs, fixed = (
        [draw(*extent, width) for width in widths]
        for extent, widths in (((steps, batch), sizes.inputs), ((batch,), [width for _, width in sizes.fixed]))
    )
    return Given(inputs, fixed, [draw(batch, width) for width in sizes.states], shared, weights)


def equal_torch(
    text: str, given: Given, to: torch.dtype, shares: Shares, reverse: bool = False, ragged: bool = True
) -> None:
    """What it emits, last states, what is kept, and all gradients."""
    steps, batch = given.extent
    lengths = torch.tensor([steps, 1, 0] * batch)[:batch] if ragged else None
    resets = torch.arange(steps * batch).view(steps, batch) % 4 == 3 if ragged else None

    def run(*args: Any, **more: Any) -> Any:
        with np.errstate(divide="ignore", invalid="ignore"):  # (in rows and columns that are not there)
            return generated.run(*args, **more, shares=shares)

    truth = by_torch(text, given, lengths, resets, reverse, True)
    here, more = given.map(lambda value: value.to(to)), recorded(text)
    emitted, last = run(parse(more), more, here, lengths, resets, reverse)
    for value, true in zip([*emitted, *last], truth, strict=True):
        assert value.dtype == to
        assert_close(value, true)
    count = len(parse(text).emitted)
    grads, after = [weighed(value) for value in truth[:count]], [weighed(value) for value in truth[len(emitted) :]]
    true_gradients = backward_by_torch(text, [*grads, *after], given, lengths, resets, reverse)
    arrived, arrived_after = ([grad.to(to) for grad in each] for each in (grads, after))
    found = backward_with(run, text, arrived, arrived_after, here, emitted[count:], lengths, resets, reverse)
    for group, true_group in zip(found.groups, true_gradients.groups, strict=True):
        for value, true in zip(group, true_group, strict=True):
            assert_close(value, true, "gradients")


@pytest.mark.parametrize("name", STEPS)
def test_a_written_kernel_is_its_program(name: str) -> None:
    step, sizes, shares = STEPS[name]
    traced = trace(step, sizes)
    assert isinstance(traced, Traced) and traced.hoisted.before is None
    to = torch.float32 if name == "an own step" else torch.float64
    equal_torch(traced.hoisted.text, drawn(sizes, traced, 2, 3), to, shares, reverse=shares is ALONE)


@pytest.mark.parametrize("name", ["gru, reset before", "lstm, peepholes and projection", "elman, gelu"])
def test_a_gradients_kernel_has_a_gradient(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Gradients of gradients: the kernels of a gradient's program and of its gradient's, under autograd as everywhere."""
    step, sizes, shares = STEPS[name]
    traced = trace(step, sizes)
    assert isinstance(traced, Traced)
    given, lengths = drawn(sizes, traced, 2, 3), torch.tensor([2, 1, 0])
    resets = torch.tensor([[False, True, False], [True, False, True]])
    ran: list[str] = []

    def by_kernel(program: Program, text: str, *rest: Any) -> Any:
        ran.append(text)
        run: Any = generated.run
        with np.errstate(divide="ignore", invalid="ignore"):
            return run(program, text, *rest, shares=shares)

    monkeypatch.setattr(running, "_run", by_kernel)

    def second(run: Callable[..., Any]) -> list[Tensor]:
        every = [value.clone().requires_grad_() for group in given.groups for value in group]
        left = iter(every)
        emitted, last = run(traced.hoisted.text, given.map(lambda _: next(left)), lengths, resets, True)
        results = [*emitted, *last]
        first = torch.autograd.grad(results, every, [weighed(value) for value in results], create_graph=True)
        loss = sum((value.sin() * weighed(value)).sum() for value in first)
        assert isinstance(loss, Tensor)
        return list(torch.autograd.grad(loss, every))

    def by_torch_alone(*args: Any) -> tuple[list[Tensor], list[Tensor]]:
        results = by_torch(*args, keep=False)
        return results[: -len(given.states)], results[-len(given.states) :]

    for value, true in zip(second(scan), second(by_torch_alone), strict=True):
        assert_close(value, true, "gradients")
    assert len(set(ran)) == 4  # the step, its gradient, and the gradients of both


def test_blocks_of_rows_end_with_their_longest() -> None:
    step, sizes, shares = STEPS["elman, gelu"]
    traced = trace(step, sizes)
    assert isinstance(traced, Traced)
    equal_torch(traced.hoisted.text, drawn(sizes, traced, 2, 18), torch.float64, shares)


def test_every_operation_has_a_text() -> None:
    """One program of all of them: on numbers of both signs, on those near zero, and where both operands are equal."""
    instructions, width = list[Instruction](), 6
    for name in OPERATIONS:
        if name in ("log", "sqrt", "rsqrt", "log1p", "reciprocal"):
            instructions.append(Instruction(name, (1,), width))
        else:
            count = {"where": 3}.get(name, 2 if len(instructions) and name in _OF_TWO else 1)
            instructions.append(Instruction(name, (0, 1, 0.3)[:count], width))
    made = tuple(range(3, 3 + len(instructions)))
    program = Program((width, width), (), (1,), (), (), tuple(instructions), made, (2,))
    x = torch.tensor([-1.5, -1e-4, 0.0, 1e-9, 0.25, 3.0], dtype=torch.float64)
    y = torch.tensor([0.5, 1e-4, 2.0, 1e-9, 0.25, 40.0], dtype=torch.float64)
    given = Given([x.view(1, 1, -1), y.view(1, 1, -1)], [], [torch.ones(1, 1).double()], [], [])
    truth = by_torch(program.text(), given, None, None, False, False)
    with np.errstate(
        divide="ignore", invalid="ignore"
    ):  # (columns that are not there are zeros, and nobody reads them)
        emitted, _ = generated.run(program, program.text(), given, None, None, False)
    for name, value, true in zip(OPERATIONS, emitted, truth[:-1], strict=True):
        torch.testing.assert_close(value, true, rtol=1e-10, atol=1e-12, msg=lambda text, name=name: f"{name}: {text}")


_OF_TWO = {"add", "sub", "mul", "div", "maximum", "minimum", "gt", "ge", "lt", "le", "eq", "ne"}


def test_the_stages_of_a_step() -> None:
    """How often the parts of a block meet is what a step costs on a GPU."""
    stages = {}
    for name, (step, sizes, _) in STEPS.items():
        traced = trace(step, sizes)
        assert isinstance(traced, Traced)
        stages[name] = write(parse(traced.hoisted.text), False).stages
    assert stages == {
        "gru, reset before": 2, "lstm, peepholes and projection": 2, "lstm, normalised, mask and zoneout": 2,
        "elman, gelu": 1, "slstm": 1, "an own step": 3,
    }  # fmt: skip


def rolled(x: Tensor, state: Any, given: Any) -> Any:
    """Every column is read by its neighbour."""
    (s,) = state
    new = torch.cat([s[:, 1:], s[:, :1]], dim=1) * 0.5 + x
    return (new,), (new,)


def led(x: Tensor, state: Any, given: Any) -> Any:
    """The first column is read by all."""
    new = torch.tanh(state[0][:, :1] + x)
    return (new,), (new,)


def shifted(x: Tensor, state: Any, given: Any) -> Any:
    """The second half is what the first half was."""
    new = torch.cat([x[:, :10], state[0][:, :10]], dim=1)
    return (new,), (new,)


def leaky(x: Tensor, state: Any, given: Any) -> Any:
    """No column meets another; the output is twice as wide as the state."""
    (s,) = state
    keep = torch.sigmoid(x[:, :20] * given["w"])
    new = keep * s + (1 - keep) * x[:, 20:]
    return (new,), (torch.cat([new, keep], dim=1),)


@pytest.mark.parametrize(
    ("step", "width", "alone"), [(leaky, 40, True), (rolled, 20, False), (led, 20, False), (shifted, 20, False)]
)
def test_parts_meet_where_a_column_meets_another(
    step: Callable[..., Any], width: int, alone: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Here one launch of all steps would give wrong numbers if parts had to meet, since one runs after another."""
    sizes = Sizes((width,), (20,), (), (("w", (20,)),), True)
    traced = trace(step, sizes)
    assert isinstance(traced, Traced)
    assert write(parse(traced.hoisted.text), False).alone == alone
    launches: list[bool] = []
    monkeypatch.setattr(
        generated, "through_steps", lambda *a, **k: (launches.append(k["alone"]), launch.through_steps(*a, **k))
    )
    equal_torch(traced.hoisted.text, drawn(sizes, traced, 4, 3), torch.float64, SHARED_OUT)
    assert launches == [alone, alone]


def test_sums_of_rows_share_their_loops() -> None:
    """What has to be compiled, and computed again in every part, grows with the loops."""
    step, sizes, _ = STEPS["lstm, normalised, mask and zoneout"]
    traced = trace(step, sizes)
    assert isinstance(traced, Traced)
    text = traced.hoisted.text
    back = gradient(text, (True,) * len(parse(text).emitted)).text
    loops = [write(parse(each), True).text.count("for begin") for each in (recorded(text), back)]
    # two sums a normalisation, one after the other; then those of their gradients, the four gates in one loop
    assert loops == [4, 8]


def test_without_steps_or_rows_nothing_is_launched() -> None:
    step, sizes, _ = STEPS["elman, gelu"]
    traced = trace(step, sizes)
    assert isinstance(traced, Traced)
    for steps, batch in ((0, 2), (2, 0)):
        given = drawn(sizes, traced, steps, batch)
        results = generated.by_triton(traced.hoisted.text, given, None, None, False, True)
        for value, true in zip(results, by_torch(traced.hoisted.text, given, None, None, False, True), strict=True):
            assert torch.equal(value, true)


def test_programs_on_a_gpu_run_by_their_kernels(monkeypatch: pytest.MonkeyPatch) -> None:
    step, sizes, _ = STEPS["elman, gelu"]
    traced = trace(step, sizes)
    assert isinstance(traced, Traced)
    given, text = drawn(sizes, traced, 2, 2), traced.hoisted.text
    monkeypatch.setattr(gpu, "ENABLED", True)
    asked: list[str] = []
    for name in ("by_triton", "backward_by_triton"):
        monkeypatch.setattr(generated, name, lambda *_, name=name: asked.append(name))
    gpu.run_program(text, given, None, None, False, True)
    gpu.run_gradient(text, [], [], given, [], None, None, False)
    assert asked == ["by_triton", "backward_by_triton"]
    monkeypatch.setattr(gpu, "ENABLED", False)
    asked.clear()
    truth = by_torch(text, given, None, None, False, False)
    with pytest.warns(BackendWarning, match="our kernels for GPUs have not run on one yet"):
        monkeypatch.setattr(native, "_warned", set())
        assert all(map(torch.equal, gpu.run_program(text, given, None, None, False, False), truth))
    grads = [torch.ones_like(value) for value in truth]
    found = gpu.run_gradient(text, grads[:2], grads[2:], given, [], None, None, False)
    true_gradients = backward_by_torch(text, grads, given, None, None, False)
    assert torch.equal(found.weights[0], true_gradients.weights[0]) and not asked


@pytest.mark.parametrize("name", ["gru, reset before", "elman, gelu", "an own step"])
def test_bfloat16_is_at_least_as_exact_as_a_loop_of_torch(name: str) -> None:
    """What is emitted and the last states of six steps, by the root of the mean square against float64; and the gradients.

    One step is float32 rounded once where a state is multiplied, which has 16 bits then.
    """
    step, sizes, shares = STEPS[name]
    traced = trace(step, sizes)
    assert isinstance(traced, Traced)
    text, narrow = traced.hoisted.text, drawn(sizes, traced, 6, 2).map(Tensor.bfloat16)
    exact, count = narrow.map(Tensor.double), len(parse(traced.hoisted.text).emitted)

    def by_kernel(*args: Any) -> Any:
        with np.errstate(divide="ignore", invalid="ignore"):  # (in rows and columns that are not there)
            return generated.run(*args, shares=shares)

    emitted, last = by_kernel(parse(recorded(text)), recorded(text), narrow, None, None, False)
    ours = [*emitted[:count], *last]
    theirs, truth = (by_torch(text, each, None, None, False, False) for each in (narrow, exact))
    assert all(value.dtype == torch.bfloat16 for value in ours)
    assert off(ours, truth) <= off(theirs, truth)
    if name == "elman, gelu":
        first = Given([narrow.inputs[0][:1]], *narrow.groups[1:])
        for value, true in zip(
            by_kernel(parse(text), text, first, None, None, False)[0],
            by_torch(text, first.map(Tensor.double), None, None, False, False),
            strict=False,
        ):
            assert_close(value, true)
    grads = [weighed(value) for value in truth]
    arrived = [grad.bfloat16() for grad in grads]
    found = backward_with(by_kernel, text, arrived[:count], arrived[count:], narrow, emitted[count:], None, None, False)
    true_gradients = backward_by_torch(text, [grad.double() for grad in arrived], exact, None, None, False)
    for group, true_group in zip(found.groups, true_gradients.groups, strict=True):
        for value, true in zip(group, true_group, strict=True):
            assert_close(value, true, "gradients")


def off(values: Sequence[Tensor], truth: Sequence[Tensor]) -> float:
    """The root of the mean square of what values are off by."""
    errors = [(value.double() - true.double()).flatten() for value, true in zip(values, truth, strict=True)]
    return float(torch.cat(errors).square().mean().sqrt())
