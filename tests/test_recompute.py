"""Gates computed again in backward: the same numbers as in one run, in memory that the length hardly adds to."""

from __future__ import annotations

import subprocess
import sys
from typing import Any

import pytest
import torch
from torch import Tensor, func

from networks import CODEC, HIDDEN, INPUTS
from recurra import kernels
from recurra.cells import CELLS, Elman, Symbols
from recurra.errors import UsageError
from recurra.kernels import reference
from recurra.layers import Stack, StackConfig
from recurra.models import LanguageModel, LanguageModelConfig
from recurra.state import leaves, map_state
from tolerances import assert_close

RECURRENT = {name: kind for name, kind in CELLS.items() if kind.can_recompute}


def pair(kind: Any, **options: Any) -> tuple[Any, Any]:
    """A cell, and one with the same parameters that computes again."""
    whole = kind(INPUTS, HIDDEN, **options).to(torch.float64)
    pieces = kind(INPUTS, HIDDEN, **options, recompute=3).to(torch.float64)
    pieces.load_state_dict(whole.state_dict())
    return whole, pieces


def outcome(
    cell: Any, inputs: Tensor, state: Any, lengths: Tensor | None, resets: Tensor | None, create_graph: bool = False
) -> tuple[list[Tensor], list[Tensor]]:
    """(outputs and state, gradients of inputs, state and parameters) of a loss that weighs all of them."""
    inputs = inputs.clone().requires_grad_()
    state = map_state(lambda leaf: leaf.clone().requires_grad_(), state)
    outputs, after = cell(inputs, state, lengths, resets)
    results = [outputs, *leaves(after).values()]
    loss = torch.zeros((), dtype=inputs.dtype)
    for result in results:
        loss = loss + (result * torch.arange(1.0, 1 + result.numel()).cos().view(result.shape)).square().sum()
    wanted = [inputs, *leaves(state).values(), *cell.parameters()]
    gradients = torch.autograd.grad(loss, wanted, create_graph=create_graph)
    return [result.detach() for result in results], list(gradients)


def state_of(cell: Any, batch: int) -> Any:
    return map_state(lambda leaf: torch.randn_like(leaf), cell.initial_state(batch))


@pytest.mark.parametrize("steps", [0, 1, 2, 3, 7, 9])
@pytest.mark.parametrize("reverse", [False, True])
@pytest.mark.parametrize("name", RECURRENT)
def test_the_same_values_and_gradients(name: str, reverse: bool, steps: int) -> None:
    whole, pieces = pair(RECURRENT[name], reverse=reverse)
    inputs, state = torch.randn(steps, 4, INPUTS, dtype=torch.float64), state_of(whole, 4)
    lengths = torch.tensor([steps, 0, min(steps, 4), min(steps, 1)])
    resets = torch.rand(steps, 4) < 0.2
    for given in ((None, None), (lengths, None), (None, resets), (lengths, resets)):
        results, gradients = outcome(pieces, inputs, state, *given)
        expected, expected_gradients = outcome(whole, inputs, state, *given)
        for one, other in zip(results, expected, strict=True):
            assert_close(one, other)
        for one, other in zip(gradients, expected_gradients, strict=True):
            assert_close(one, other, "gradients")


@pytest.mark.parametrize("name", RECURRENT)
def test_it_does_compute_again(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Ten steps in pieces of three are four calls, and four more in backward; without a gradient it is one."""
    _, pieces = pair(RECURRENT[name])
    calls: list[int] = []
    kernel = getattr(kernels, name)

    def counted(x: Tensor, *rest: Any, **options: Any) -> Any:
        calls.append(len(x))
        return kernel(x, *rest, **options)

    monkeypatch.setattr(kernels, name, counted)
    inputs, state = torch.randn(10, 2, INPUTS, dtype=torch.float64), state_of(pieces, 2)
    outcome(pieces, inputs, state, None, None)
    # the last piece comes first in backward
    assert calls == [3, 3, 3, 1, 1, 3, 3, 3]
    calls.clear()
    pieces.trace(inputs, state)
    with torch.no_grad():
        pieces(inputs.requires_grad_(), state, torch.tensor([7, 2]))
    pieces.requires_grad_(False)
    monkeypatch.setattr(kernels, "direct", lambda: False)
    pieces(inputs.detach(), state)
    assert set(calls) == {10}


@pytest.mark.parametrize("name", RECURRENT)
def test_the_second_run_is_native_and_so_is_its_gradient(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    _, pieces = pair(RECURRENT[name])
    monkeypatch.setattr(reference, name, None)
    with kernels.backend("native"):
        _, gradients = outcome(pieces, torch.randn(7, 2, INPUTS, dtype=torch.float64), state_of(pieces, 2), None, None)
    assert all(gradient.abs().sum() > 0 for gradient in gradients)


@pytest.mark.parametrize("name", RECURRENT)
def test_inference_has_the_bits_of_one_call(name: str) -> None:
    whole, pieces = pair(RECURRENT[name])
    inputs, state = torch.randn(10, 2, INPUTS, dtype=torch.float64), state_of(whole, 2)
    with torch.no_grad():
        (a, after_a), (b, after_b) = whole(inputs, state), pieces(inputs, state)
    assert torch.equal(a, b)
    assert all(torch.equal(x, y) for x, y in zip(leaves(after_a).values(), leaves(after_b).values(), strict=True))


@pytest.mark.parametrize("name", RECURRENT)
def test_tokens_choose_from_one_table(name: str) -> None:
    whole, pieces = pair(RECURRENT[name])
    tokens, table = torch.randint(0, 6, (8, 2)), torch.randn(6, INPUTS, dtype=torch.float64, requires_grad=True)
    found = []
    for cell in (whole, pieces):
        outputs, _ = cell(Symbols(table, tokens), cell.initial_state(2))
        found.append([outputs, *torch.autograd.grad(outputs.square().sum(), [table, *cell.parameters()])])
    for one, other in zip(*found, strict=True):
        assert_close(one.detach(), other.detach(), "gradients")


@pytest.mark.parametrize("reverse", [False, True])
@pytest.mark.parametrize("name", RECURRENT)
def test_gradients_of_gradients(name: str, reverse: bool) -> None:
    whole, pieces = pair(RECURRENT[name], reverse=reverse)
    inputs, state = torch.randn(5, 2, INPUTS, dtype=torch.float64), state_of(whole, 2)
    found = []
    for cell in (whole, pieces):
        _, gradients = outcome(cell, inputs, state, torch.tensor([5, 4]), None, create_graph=True)
        penalty = torch.stack([gradient.square().sum() for gradient in gradients]).sum()
        found.append(torch.autograd.grad(penalty, list(cell.parameters())))
    for one, other in zip(*found, strict=True):
        assert_close(one, other, "gradients")


@pytest.mark.parametrize("name", RECURRENT)
def test_batched_gradients_and_transforms(name: str) -> None:
    """A transform takes the sequence in one run; a batched gradient computes the pieces of a recorded one again."""
    whole, pieces = pair(RECURRENT[name])
    inputs, state = torch.randn(5, 2, INPUTS, dtype=torch.float64), whole.initial_state(2)
    outputs, expected = (cell(inputs, state)[0] for cell in (pieces, whole))
    directions = torch.randn(3, *outputs.shape, dtype=torch.float64)
    for one, other in zip(
        torch.autograd.grad(outputs, list(pieces.parameters()), directions, is_grads_batched=True),
        torch.autograd.grad(expected, list(whole.parameters()), directions, is_grads_batched=True),
        strict=True,
    ):
        assert_close(one, other, "gradients")
    found, true = (func.grad(lambda x, cell=cell: cell(x, state)[0].square().sum())(inputs) for cell in (pieces, whole))
    assert_close(found, true, "gradients")


@pytest.mark.filterwarnings(r"ignore:.torch\.jit\.script.*is deprecated:DeprecationWarning")
def test_a_compiled_graph_is_one_run() -> None:
    whole, pieces = pair(CELLS["gru"])
    inputs = torch.randn(7, 2, INPUTS, dtype=torch.float64)
    found = []
    for cell, run in ((whole, whole), (pieces, torch.compile(pieces, fullgraph=True, backend="aot_eager"))):
        outputs = run(inputs, whole.initial_state(2))[0]
        found.append(torch.autograd.grad(outputs.square().sum(), list(cell.parameters())))
    for one, other in zip(*found, strict=True):
        assert_close(one, other, "gradients")


def test_the_parameters_of_a_functional_call_are_held() -> None:
    """By the time of backward the module has its own parameters again."""
    whole, pieces = pair(CELLS["gru"])
    inputs, state = torch.randn(7, 2, INPUTS, dtype=torch.float64), whole.initial_state(2)
    others = {name: (0.5 * value.detach()).requires_grad_() for name, value in whole.named_parameters()}
    found = []
    for cell in (whole, pieces):
        outputs = func.functional_call(cell, others, (inputs, state))[0]
        found.append(torch.autograd.grad(outputs.square().sum(), list(others.values())))
    for one, other in zip(*found, strict=True):
        assert_close(one, other, "gradients")


def test_parameters_that_changed_before_backward_are_noticed() -> None:
    _, pieces = pair(CELLS["lstm"])
    outputs, _ = pieces(torch.randn(7, 2, INPUTS, dtype=torch.float64), pieces.initial_state(2))
    with torch.no_grad():
        pieces.weight_state.mul_(2)
    with pytest.raises(UsageError, match="recompute: parameters, inputs or a state were written to before backward"):
        outputs.sum().backward()


@pytest.mark.parametrize("wrong", [0, -1, 2.0, True, "3"])
def test_a_wrong_number_of_steps_is_refused(wrong: Any) -> None:
    with pytest.raises(UsageError, match=r"Elman: 'recompute' is wrong.*whole number of steps > 0"):
        Elman(INPUTS, HIDDEN, recompute=wrong)


@pytest.mark.parametrize("bidirectional", [False, True])
@pytest.mark.parametrize("name", CELLS)
def test_a_stack_hands_it_on(name: str, bidirectional: bool) -> None:
    config = StackConfig(cell=name, hidden=HIDDEN, layers=2, bidirectional=bidirectional, recompute=3)
    stack = Stack.build(INPUTS, config)
    cells = [part for part in stack.modules() if isinstance(part, tuple(CELLS.values()))]
    assert len(cells) == (4 if bidirectional else 2)
    assert [getattr(cell, "recompute", None) for cell in cells] == [3 if name in RECURRENT else None] * len(cells)
    with pytest.raises(UsageError, match="'recompute' is wrong"):
        StackConfig.from_user(recompute=0)


def test_a_setting_that_is_not_set_is_not_written() -> None:
    """So that the content hash of a model from before there was such a setting is what it was."""
    assert "recompute" not in StackConfig().model_dump(mode="json")
    config = StackConfig(recompute=7)
    assert config.model_dump(mode="json")["recompute"] == 7
    assert StackConfig.from_file(config.model_dump(mode="json"), "here") == config
    assert "recompute" not in LanguageModelConfig(vocabulary=9).model_dump_json()


def test_a_language_model_trains_with_it() -> None:
    models = []
    for recompute in (None, 4):
        torch.manual_seed(0)
        stack = StackConfig(cell="lstm", hidden=HIDDEN, layers=2, recompute=recompute)
        models.append(LanguageModel(LanguageModelConfig(stack=stack, vocabulary=CODEC.size, embedding=INPUTS), CODEC))
    tokens = torch.randint(0, CODEC.size, (3, 11))
    found = []
    for model in models:
        logits, _ = model(tokens, None)
        found.append(torch.autograd.grad(logits.log_softmax(-1)[..., 0].sum(), list(model.parameters())))
    for one, other in zip(*found, strict=True):
        assert_close(one, other, "gradients")


# ---- long sequences

MEMORY = """
import resource, sys, time
import torch
from recurra.cells import CELLS
name, recompute, steps = sys.argv[1], int(sys.argv[2]) or None, int(sys.argv[3])
torch.set_num_threads(1)
cell = CELLS[name](8, 64, recompute=recompute)
inputs = torch.randn(steps, 1, 8)
# once in small, so that what torch itself needs is there before
cell(inputs[:2000], cell.initial_state(1))[0].sum().backward()
def peak():
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * (1 if sys.platform == "darwin" else 1024)
# importing leaves a peak behind: fill up to it, so that all that comes is seen
ballast, before = [], peak()
while peak() == before:
    ballast.append(torch.ones(1 << 18))
before, begun = peak(), time.perf_counter()
cell(inputs, cell.initial_state(1))[0].sum().backward()
print(peak() - before, time.perf_counter() - begun)
"""


def peak(name: str, recompute: int | None, steps: int) -> float:
    """Bytes that one backward pass over `steps` steps adds to what a process has had, in a process of its own."""
    run = subprocess.run(
        [sys.executable, "-c", MEMORY, name, str(recompute or 0), str(steps)],
        capture_output=True, text=True, check=True,
    )  # fmt: skip
    return float(run.stdout.split()[0])


@pytest.mark.skipif(sys.platform == "win32", reason="Windows has no module resource")
@pytest.mark.parametrize("name", ["gru", "lstm"])
def test_a_long_sequence_trains_in_bounded_memory(name: str) -> None:
    """T = 100,000, B = 1, H = 64. What is left are the outputs, in pieces and as a whole: no gates."""
    steps, outputs = 100_000, 100_000 * 64 * 4
    gates = outputs * (4 if name == "gru" else 5)
    with_gates, without = peak(name, None, steps), peak(name, 1000, steps)
    assert with_gates > gates
    assert without < 3 * outputs
    assert without < with_gates - 0.8 * gates


@pytest.mark.parametrize("name", ["elman", "gru", "lstm"])
def test_more_steps_than_a_short_integer_counts(name: str) -> None:
    """T = 70,000, forward and backward, against the same in two halves (torch issue 133751 is about 65,535 steps)."""
    cell = CELLS[name](2, 3)
    inputs = torch.randn(70_000, 1, 2)
    found = []
    for cuts in ([70_000], [40_000, 30_000]):
        x = inputs.clone().requires_grad_()
        state, outputs = cell.initial_state(1), []
        for part in x.split(cuts):
            out, state = cell(part, state)
            outputs.append(out)
        whole = torch.cat(outputs)
        gradients = torch.autograd.grad((whole * inputs.mean(2, keepdim=True)).sum(), [x, *cell.parameters()])
        found.append([whole.detach(), *leaves(map_state(torch.detach, state)).values(), *gradients])
        with torch.no_grad():
            alone, _ = cell(inputs[66_000:], map_state(torch.clone, cell(inputs[:66_000], cell.initial_state(1))[1]))
            assert_close(alone, whole.detach()[66_000:])
    assert found[0][0][65_530:65_540].std() > 0
    values = len(found[0]) - 1 - len(list(cell.parameters()))
    for index, (one, other) in enumerate(zip(*found, strict=True)):
        assert_close(one, other, "values" if index < values else "gradients")
