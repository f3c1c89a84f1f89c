"""Beam search: greedy at width one, exact where the beam is wide enough, batched as alone, what has ended is kept."""

from __future__ import annotations

import itertools
from typing import Any

import pytest
import torch
from torch import Tensor

from recurra.errors import UsageError
from recurra.models.beam import Beam, search

WORDS, END = 3, 3


def table(seed: int, rows: int) -> Tensor:
    """The logarithms of the chances of the next token after each two, for each row: [B, V, V, V]."""
    random = torch.Generator().manual_seed(seed)
    return torch.randn(rows, WORDS + 1, WORDS + 1, WORDS + 1, generator=random).mul(2).log_softmax(dim=-1)


def step(tokens: Tensor, state: Any) -> tuple[Tensor, Any]:
    """A model whose state is (its table, the token before): what comes next hangs on the last two."""
    chances, before = state
    return chances[torch.arange(len(tokens)), before, tokens], (chances, tokens)


def run(chances: Tensor, beam: Beam, most: int) -> list[Any]:
    rows = len(chances)
    last = torch.full((rows,), END)
    return search(step, (chances, last), last, torch.full((rows,), most), END, beam)


def every(chances: Tensor, most: int, beam: Beam) -> list[tuple[float, list[int]]]:
    """All that a row can say in so many words, by score: brute force."""
    found = []
    for length in range(most + 1):
        for words in itertools.product(range(WORDS), repeat=length):
            path, value = [END, END, *words, END], 0.0
            for place in range(2, len(path)):
                value += float(chances[path[place - 2], path[place - 1], path[place]])
            found.append((beam.score(value, length + 1), list(words)))
    return sorted(found, reverse=True)


@pytest.mark.parametrize("penalty", [0.0, 1.0])
def test_a_wide_beam_is_brute_force(penalty: float) -> None:
    chances, beam = table(0, 5), Beam(200, penalty)
    for row, found in enumerate(run(chances, beam, 4)):
        expected = every(chances[row], 4, beam)[: len(found)]
        assert len(found) > 20
        assert [each.tokens for each in found] == [words for _, words in expected]
        assert [each.score for each in found] == pytest.approx([score for score, _ in expected], abs=1e-5)


def test_width_one_is_greedy() -> None:
    chances = table(1, 20)
    lengths = set()
    for row, found in enumerate(run(chances, Beam(1), 6)):
        before, last, said = END, END, list[int]()
        while len(said) < 6:
            token = int(chances[row, before, last].argmax())
            if token == END:
                break
            said.append(token)
            before, last = last, token
        assert [each.tokens for each in found] == [said]
        lengths.add(len(said))
    assert len(lengths) > 2


@pytest.mark.parametrize("width", [1, 2, 5])
def test_a_row_does_not_depend_on_the_others(width: int) -> None:
    chances, beam = table(2, 9), Beam(width)
    together = run(chances, beam, 5)
    assert together == [run(chances[row : row + 1], beam, 5)[0] for row in range(9)]


def test_a_wider_beam_finds_no_worse_and_best_comes_first() -> None:
    chances = table(3, 12)
    one, five = run(chances, Beam(1, 0.0), 5), run(chances, Beam(5, 0.0), 5)
    assert all(wide[0].score >= narrow[0].score - 1e-6 for narrow, wide in zip(one, five, strict=True))
    assert any(wide[0].score > narrow[0].score + 0.1 for narrow, wide in zip(one, five, strict=True))
    for found in five:
        assert len(found) == 5
        assert [each.score for each in found] == sorted((each.score for each in found), reverse=True)


def test_a_length_that_is_reached_ends_it() -> None:
    chances = table(4, 3)
    chances[..., END] = -50.0
    for found in run(chances, Beam(2), 4):
        assert {len(each.tokens) for each in found} == {4}
    assert run(chances, Beam(2), 0) == [[found[0]] for found in run(chances, Beam(2), 0)]
    assert all(found[0].tokens == [] for found in run(chances, Beam(2), 0))


def test_the_length_penalty_favours_long_ones() -> None:
    chances = table(5, 30)
    short, long = (run(chances, Beam(4, penalty), 6) for penalty in (0.0, 3.0))
    assert sum(len(found[0].tokens) for found in long) > sum(len(found[0].tokens) for found in short)
    assert Beam(1, 1.0).score(-6.0, 7) == pytest.approx(-3.0)


def test_poor_ones_that_end_early_do_not_stop_a_good_one() -> None:
    """0, 1, 2, 0, 1, 2, ... at 0.9 each, the end at 0.04: there are enough ends long before the good one has its own."""
    chances = torch.full((1, WORDS + 1, WORDS + 1, WORDS + 1), 0.03)
    chances[..., END] = 0.04
    for token in range(WORDS + 1):
        chances[:, :, token, (token + 1) % WORDS if token != END else 0] = 0.9
    found = run(chances.log(), Beam(3), 12)[0]
    assert found[0].tokens == [0, 1, 2] * 4


@pytest.mark.parametrize(("width", "penalty"), [(0, 1.0), (1001, 1.0), (5, -1.0), (5, 11.0), ("5", 1.0)])
def test_what_is_out_of_range_is_refused(width: Any, penalty: float) -> None:
    with pytest.raises(UsageError, match="out of range"):
        Beam(width, penalty)
