"""The generators of memory tasks: values worked out by hand, and what must hold of every sequence they draw."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from recurra.data.memory import (
    BLANK,
    CHECKING,
    GO,
    KEPT,
    NOT_ASKED,
    SYMBOLS,
    TASKS,
    TRAINING,
    Adding,
    Copy,
    Drawn,
    Dyck,
    MemoryTask,
    Parity,
    SelectiveCopy,
    random_for,
)
from recurra.errors import UsageError

LENGTHS = st.integers(10, 60)
SEEDS = st.integers(0, 1000)


def brackets(text: str) -> list[int]:
    return ["([)]".index(character) for character in text]


def rows_of(drawn: Drawn) -> list[tuple[np.ndarray, np.ndarray]]:
    """Inputs and targets of each row without its padding."""
    each = zip(drawn.inputs, drawn.targets, drawn.lengths.tolist(), strict=True)
    return [(inputs[:length], targets[:length]) for inputs, targets, length in each]


@given(LENGTHS, SEEDS)
def test_adding_asks_for_the_sum_of_two_marked_numbers(length: int, seed: int) -> None:
    drawn = Adding(length).draw(random_for(CHECKING, seed), 8, length)
    assert drawn.inputs.shape == (8, length, 2)
    for (values, marks), target in zip(drawn.inputs.transpose(0, 2, 1), drawn.targets, strict=True):
        first, second = np.flatnonzero(marks)
        assert first < length // 2 <= second
        assert target == np.float32(values[first] + values[second])
        assert values.min() >= 0 and values.max() < 1


def test_the_measure_of_adding_is_the_squared_error() -> None:
    drawn = Drawn(np.zeros((2, 3, 2), np.float32), np.array([1.0, 0.5], np.float32), np.array([3, 3]))
    assert Adding(3).right(np.array([0.5, 0.75]), drawn).tolist() == [0.25, 0.0625]
    always_one = Adding(50).draw(random_for(CHECKING, 1), 20_000, 50)
    assert Adding(50).right(np.ones(20_000), always_one).mean() == pytest.approx(Adding(50).guessing, abs=0.005)


def test_copy_is_symbols_blanks_the_sign_and_as_many_answers() -> None:
    drawn = Copy(5).draw(random_for(CHECKING, 0), 3, 5)
    for inputs, targets in rows_of(drawn):
        kept = inputs[:KEPT].tolist()
        assert max(kept) < SYMBOLS
        assert inputs.tolist() == [*kept, *[BLANK] * 4, GO, *[BLANK] * KEPT]
        assert targets.tolist() == [*[NOT_ASKED] * (KEPT + 5), *kept]


@given(LENGTHS, SEEDS)
def test_selective_copy_asks_for_what_is_no_blank_in_order(length: int, seed: int) -> None:
    for inputs, targets in rows_of(SelectiveCopy(length).draw(random_for(CHECKING, seed), 4, length)):
        scattered = inputs[:length]
        assert inputs[length] == GO and set(inputs[length + 1 :].tolist()) == {BLANK}
        assert targets[length + 1 :].tolist() == [symbol for symbol in scattered.tolist() if symbol != BLANK]
        assert set(targets[: length + 1].tolist()) == {NOT_ASKED}


def test_half_of_the_symbols_right_measure_as_a_half() -> None:
    task = Copy(1)
    drawn = task.draw(random_for(CHECKING, 0), 1, 1)
    answers = drawn.targets.copy()
    answers[0, -5:] = (answers[0, -5:] + 1) % SYMBOLS
    assert task.right(answers, drawn).tolist() == [0.5]


@given(LENGTHS, SEEDS)
def test_parity_asks_whether_the_ones_so_far_are_odd_in_number(length: int, seed: int) -> None:
    for bits, targets in rows_of(Parity(5 * length).draw_for_training(random_for(TRAINING, seed), 6, length)):
        assert targets.tolist() == [sum(bits[: step + 1].tolist()) % 2 for step in range(len(bits))]


def test_a_sequence_with_one_wrong_answer_is_wrong() -> None:
    drawn = Drawn(np.array([[1, 0, 1], [1, 1, 0]]), np.array([[1, 1, 0], [1, 0, NOT_ASKED]]), np.array([3, 2]))
    assert Parity(5).right(np.array([[1, 1, 0], [1, 0, 1]]), drawn).tolist() == [1.0, 1.0]
    assert Parity(5).right(np.array([[0, 1, 0], [1, 1, 0]]), drawn).tolist() == [0.0, 0.0]


def test_dyck_asks_for_the_kind_of_the_innermost_open_bracket() -> None:
    task = Dyck(10, kinds=2, depth=2)
    found = {
        "".join("([)]"[symbol] for symbol in inputs): targets.tolist()
        for inputs, targets in rows_of(task.draw(random_for(CHECKING, 0), 500, 4))
    }
    nested = {f"{a}{b}{c}{d}" for a, d in ("()", "[]") for b, c in ("()", "[]")}
    beside = {f"{a}{b}{c}{d}" for a, b in ("()", "[]") for c, d in ("()", "[]")}
    assert set(found) == nested | beside
    assert found["([])"] == [0, 1, 0, 2] and found["[]()"] == [1, 2, 0, 2]


@settings(max_examples=30)
@given(st.integers(1, 3), st.integers(1, 4), LENGTHS, SEEDS)
def test_brackets_nest_well_and_no_deeper_than_they_may(kinds: int, depth: int, length: int, seed: int) -> None:
    task = Dyck(5 * length, kinds=kinds, depth=depth)
    for inputs, targets in rows_of(task.draw_for_training(random_for(TRAINING, seed), 5, length)):
        stack: list[int] = []
        for symbol, target in zip(inputs.tolist(), targets.tolist(), strict=True):
            if symbol < kinds:
                stack.append(symbol)
            else:
                assert stack.pop() == symbol - kinds
            assert len(stack) <= depth and target == (stack[-1] if stack else kinds)
        assert not stack


@pytest.mark.parametrize("name", TASKS)
def test_the_same_seed_draws_the_same_and_the_purposes_share_nothing(name: str) -> None:
    task = TASKS[name](100)
    one, again, other = (task.draw(random_for(*seed), 4, 40) for seed in ((CHECKING, 7), (CHECKING, 7), (TRAINING, 7)))
    for before, after in zip(vars(one).values(), vars(again).values(), strict=True):
        assert np.array_equal(before, after)
    assert not np.array_equal(one.inputs, other.inputs)


@pytest.mark.parametrize("name", TASKS)
def test_shapes_types_and_lengths_are_what_is_said(name: str) -> None:
    task: MemoryTask = TASKS[name](100)
    drawn = task.draw_for_training(random_for(TRAINING), 16, task.trained)
    rows, steps = drawn.inputs.shape[:2]
    assert rows == 16 and drawn.lengths.max() == steps and drawn.lengths.min() >= task.shortest
    if task.symbols is None:
        assert drawn.inputs.dtype == drawn.targets.dtype == np.float32
    else:
        assert drawn.inputs.dtype == drawn.targets.dtype == np.int64
        assert drawn.inputs.max() < task.symbols and drawn.targets.max() < (task.classes or 0)
        past = np.arange(steps) >= drawn.lengths[:, None]
        assert (drawn.targets[past] == NOT_ASKED).all() and (drawn.inputs[past] == 0).all()


def test_lengths_of_what_must_be_generalised_vary_and_are_a_fifth() -> None:
    drawn = Parity(200).draw_for_training(random_for(TRAINING), 500, Parity(200).trained)
    assert drawn.lengths.min() == 1 and drawn.lengths.max() == 40
    assert set(Dyck(200).draw_for_training(random_for(TRAINING), 500, 40).lengths.tolist()) == set(range(2, 41, 2))


@pytest.mark.parametrize(
    ("name", "length"), [("adding", 1), ("copy", 0), ("selective-copy", 9), ("parity", 4), ("dyck", 9)]
)
def test_a_length_that_there_is_not_is_refused(name: str, length: int) -> None:
    with pytest.raises(UsageError, match=rf"'{name}' is out of range.*Got: {length}.*or more"):
        TASKS[name](length)


def test_brackets_of_no_kind_are_refused() -> None:
    with pytest.raises(UsageError, match="'kinds' is out of range"):
        Dyck(10, kinds=0)
    with pytest.raises(UsageError, match="'depth' is out of range"):
        Dyck(10, depth=0)
