"""Cells on memory tasks: what is learnt, what is told, and that a table that was stopped goes on."""

from __future__ import annotations

import json
import os
import signal
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from bad_input_cases import run
from recurra.data.memory import CHECKING, Adding, Copy, Drawn, Parity, random_for
from recurra.errors import DataError, UsageError
from recurra.layers import StackConfig
from recurra.memory import MemoryNetwork, MemoryOptions, MemoryRow, Results, remember, rows_wanted, training

QUICK = MemoryOptions(minutes=0.005, hidden=4, rows=2)


def row(**changes: Any) -> MemoryRow:
    values: dict[str, Any] = {
        "task": "parity", "length": 100, "cell": "gru", "options": QUICK, "parameters": 7, "solved": False, "steps": 3,
        "seconds": 0.1, "trained": 10, "measures": {"10": 1.0, "20": 0.99, "100": 0.5, "200": 1.0},
    }  # fmt: skip
    return MemoryRow(**{**values, **changes})


def network_of(task: Any) -> MemoryNetwork:
    return MemoryNetwork(task, StackConfig(cell="gru", hidden=2))


@pytest.fixture(autouse=True)
def place(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)


def bench(*words: str) -> Any:
    return run("bench", "memory", "--minutes", "0.005", "--hidden", "4", "--rows", "2", *words)


def test_a_network_answers_as_its_stack_does_step_by_step() -> None:
    task = Copy(3)
    network = MemoryNetwork(task, StackConfig(cell="gru", hidden=6))
    drawn = task.draw(random_for(CHECKING), 2, 3)
    state, outputs = network.stack.initial_state(2), []
    assert network.embedding is not None
    for step in torch.from_numpy(drawn.inputs).T:
        output, state = network.stack(network.embedding[step][None], state)
        outputs.append(network.head(output[0]))
    assert torch.allclose(network(drawn), torch.stack(outputs, dim=1), atol=1e-6)


def test_a_number_is_read_after_the_last_step_of_each_row() -> None:
    network = MemoryNetwork(Adding(10), StackConfig(cell="gru", hidden=6))
    inputs = np.random.default_rng(0).random((2, 5, 2), dtype=np.float32)
    whole = Drawn(inputs, np.zeros(2, np.float32), np.array([5, 3]))
    cut = Drawn(inputs[1:, :3], np.zeros(1, np.float32), np.array([3]))
    assert torch.allclose(network(whole)[1], network(cut)[0], atol=1e-6)


def test_the_loss_counts_wanted_answers_alone() -> None:
    network = MemoryNetwork(Parity(10), StackConfig(cell="gru", hidden=4))
    drawn = Drawn(np.zeros((1, 3), np.int64), np.array([[1, -1, -1]]), np.array([3]))
    outputs = torch.tensor([[[0.0, 0.0], [9.0, 0.0], [0.0, 9.0]]])
    assert float(network.loss(outputs, drawn)) == pytest.approx(np.log(2))


def test_parity_is_learnt_on_short_sequences_and_solved_on_long_ones() -> None:
    found = remember(Parity(50), "gru", MemoryOptions(minutes=2, hidden=16, rate=0.02))
    assert found is not None and found.solved and found.trained == 10
    assert found.measures["50"] is not None and found.measures["50"] >= 0.99
    assert found.longest == 50


def test_the_rate_is_a_third_when_few_mistakes_are_left_on_the_last_length(monkeypatch: pytest.MonkeyPatch) -> None:
    rates: list[float] = []
    monkeypatch.setattr(training.Optimisers, "step", lambda self, rate: rates.append(rate))
    share = iter([0.0] * 20 + [1.0] * 200)
    monkeypatch.setattr(training.MemoryNetwork, "right", lambda *given: next(share))
    for task, wanted in ((Parity(50), [0.3, 0.1]), (Adding(10), [0.3])):
        rates.clear()
        run_of_it = training._Run(task, "gru", MemoryOptions(hidden=2, rows=1, rate=0.3), network_of(task))
        for _ in range(100):
            run_of_it._step()
        assert [round(rate, 9) for rate in dict.fromkeys(rates)] == wanted
    early = training._Run(Copy(50), "gru", MemoryOptions(hidden=2, rows=1), network_of(Copy(50)))
    early._running, early._since = 1.0, 99
    early._step()
    assert not early._fine and early._length < 50


def test_steps_can_be_counted() -> None:
    found = remember(Copy(5), "gru", MemoryOptions(minutes=5, steps=7, hidden=4))
    assert found is not None and found.steps == 7 and not found.solved


def test_a_cell_without_a_state_solves_nothing() -> None:
    found = remember(Parity(50), "feedforward", MemoryOptions(minutes=0.02, hidden=8))
    assert found is not None and not found.solved and found.longest is None
    assert set(found.measures) == {"10", "50", "100"}


def test_what_passes_when_the_steps_are_over_is_solved(monkeypatch: pytest.MonkeyPatch) -> None:
    from recurra.memory import training

    monkeypatch.setattr(training._Run, "_time_to_look", lambda self: False)
    monkeypatch.setattr(training._Run, "_measure", lambda self, length, count: 1.0)
    found = remember(Copy(5), "gru", MemoryOptions(minutes=5, steps=2, hidden=4))
    assert found is not None and found.solved and found.longest == 5


def test_the_same_seed_learns_the_same_and_leaves_torchs_numbers_alone() -> None:
    losses: list[list[float]] = []
    before = torch.get_rng_state()
    for _ in range(2):
        seen: list[float] = []
        remember(
            Copy(5), "lstm", QUICK, stop=lambda seen=seen: len(seen) == 5,
            on_step=lambda step, seconds, loss, length, seen=seen: seen.append(loss),
        )  # fmt: skip
        losses.append(seen)
    assert losses[0] == losses[1] and len(losses[0]) == 5
    assert torch.equal(before, torch.get_rng_state())


def test_a_loss_that_is_no_number_ends_a_row_and_is_told() -> None:
    found = remember(Adding(10), "gru", MemoryOptions(minutes=1, hidden=4, rate=1e38))
    assert found is not None and not found.solved
    assert found.trouble is not None and "no longer a number" in found.trouble
    assert found.measures == {} and found.longest is None


def test_the_longest_length_is_the_greatest_solved_up_to_the_task_s() -> None:
    assert row().longest == 20
    assert row(measures={"10": 0.9}).longest is None
    assert row(task="adding", measures={"10": 0.02, "100": 0.009}).longest == 100


def test_rows_are_each_cell_on_each_task() -> None:
    wanted = rows_wanted(["copy", "parity"], ["gru", "lstm", "gru"], None)
    assert [(task.name, task.length, cell) for task, cell in wanted] == [
        ("copy", 200, "gru"), ("copy", 200, "lstm"), ("parity", 200, "gru"), ("parity", 200, "lstm"),
    ]  # fmt: skip
    from recurra.cells import CELLS

    assert {cell for _, cell in rows_wanted(None, None, 50)} == set(CELLS)
    with pytest.raises(UsageError, match=r"no task 'memorise'.*adding, copy"):
        rows_wanted(["memorise"], None, None)
    with pytest.raises(UsageError, match=r"no cell 'gruu'"):
        rows_wanted(None, ["gruu"], None)


def test_rows_are_found_again_where_all_options_are_the_same() -> None:
    Results(Path("rows.json")).add(row())
    again = Results(Path("rows.json"))
    assert again.found(Parity(100), "gru", QUICK) == row()
    assert again.found(Parity(100), "gru", QUICK.model_copy(update={"seed": 1})) is None
    assert again.found(Parity(105), "gru", QUICK) is None
    assert Results(Path("rows.json"), fresh=True).found(Parity(100), "gru", QUICK) is None


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("{", "holds no results"),
        ("[" * 100_000, "holds no results"),
        ("[]", "something else"),
        ('{"recurra": "memory", "format": 2, "rows": []}', "another format"),
        ('{"recurra": "memory", "format": 1, "rows": [{}]}', "row 1: setting 'task' is wrong"),
    ],
)
def test_a_file_that_is_none_of_ours_is_refused_and_stays(content: str, message: str) -> None:
    Path("rows.json").write_text(content)
    with pytest.raises((DataError, UsageError), match=message):
        Results(Path("rows.json"))
    assert Path("rows.json").read_text() == content


@pytest.mark.parametrize("changes", [{"task": "magic"}, {"length": -3}, {"measures": {"ten": 1.0}}])
def test_rows_that_tell_of_what_there_is_not_are_refused(changes: dict[str, Any]) -> None:
    content = {"recurra": "memory", "format": 1, "rows": [{**row().model_dump(mode="json"), **changes}]}
    Path("rows.json").write_text(json.dumps(content))
    with pytest.raises(DataError, match=r"--fresh"):
        Results(Path("rows.json"))


# ---- the command


def test_the_command_prints_a_table_and_says_where_the_rows_are() -> None:
    done = bench("--task", "parity", "--task", "adding", "--cell", "gru", "--length", "50")
    assert done.code == 0, done.err
    assert "parity: sequences right ≥ 99% at length 50 (bits); guessing gives 0.0%. Trained on up to 10." in done.out
    assert "adding: squared error < 0.01 at length 50" in done.out
    assert "at 50" in done.out and "at 100" in done.out
    assert "recurra-memory.json" in done.err and "gru on parity 50: not solved" in done.err


def test_each_row_is_a_line_of_json() -> None:
    done = bench("--task", "parity", "--cell", "gru", "--cell", "lstm", "--length", "50", "--json")
    lines = [json.loads(line) for line in done.out.splitlines()]
    assert [line["cell"] for line in lines] == ["gru", "lstm"]
    assert {"solved", "steps", "seconds", "measures", "longest", "criterion", "guessing"} <= set(lines[0])


def test_a_table_that_was_stopped_goes_on_with_the_other_rows(monkeypatch: pytest.MonkeyPatch) -> None:
    words = ("--task", "parity", "--length", "50", "--cell", "gru", "--cell", "lstm", "--out", "rows.json")
    from recurra.cli import remembering

    whole, made = remembering.remember, []

    def stopped(task: Any, cell: str, options: Any, **given: Any) -> Any:
        made.append(cell)
        if cell == "lstm" and len(made) == 2:
            os.kill(os.getpid(), signal.SIGINT)
        return whole(task, cell, options, **given)

    monkeypatch.setattr(remembering, "remember", stopped)
    done = bench(*words)
    assert done.code == 130 and "1 rows of the table are done and kept in rows.json" in done.err
    again = bench(*words)
    assert again.code == 0 and made == ["gru", "lstm", "lstm"]
    assert "gru" in again.out and "lstm" in again.out


def test_wrong_options_are_named() -> None:
    for words, message in (
        (("--task", "magic"), "There is no task 'magic'"),
        (("--cell", "magic"), "There is no cell 'magic'"),
        (("--task", "parity", "--length", "3"), "The length of 'parity' is out of range"),
        (("--rate", "-1"), "Setting 'rate' is wrong"),
    ):
        done = bench(*words)
        assert done.code == 2 and message in done.err
        assert not Path("recurra-memory.json").exists()
