"""Exponential smoothing: the native loop against the reference in float64, and the laws of a state."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any

import pytest
import torch
from torch import Tensor

from recurra import kernels
from recurra.kernels import backend
from tolerances import assert_close

DTYPES = (torch.float32, torch.float64)
SEASONS = ([], [3], [2, 5], [1, 4, 40])
"""No season, one, a second one, and one that is longer than all that is read."""


@dataclass(frozen=True)
class Given:
    """The arguments of a call; what pads a row is NaN."""

    y: Tensor
    level: Tensor
    rings: list[Tensor]
    share: Tensor
    turns: list[Tensor]
    lengths: Tensor | None = None

    @property
    def tensors(self) -> list[Tensor]:
        return [self.y, self.level, *self.rings, self.share, *self.turns]

    def of(self, tensors: list[Tensor]) -> Given:
        count = len(self.rings)
        y, level, *rest = tensors
        return replace(self, y=y, level=level, rings=rest[:count], share=rest[count], turns=rest[count + 1 :])

    def part(self, steps: slice, rows: Any = slice(None), **state: Any) -> Given:
        cut = {"y": self.y[steps, rows], "share": self.share[steps, rows]}
        rings = [ring[rows] for ring in self.rings]
        some = replace(
            self, level=self.level[rows], rings=rings, turns=[turn[steps, rows] for turn in self.turns], **cut
        )
        return replace(some, lengths=None if self.lengths is None else self.lengths[rows], **state)

    def run(self) -> tuple[Tensor, list[Tensor], Tensor, list[Tensor]]:
        return kernels.smoothing(self.y, self.level, self.rings, self.share, self.turns, self.lengths)


def arguments(
    steps: int, batch: int, seasons: list[int], dtype: torch.dtype = torch.float64, ragged: bool = False
) -> Given:
    random = torch.Generator().manual_seed(steps)

    def draw(*shape: int) -> Tensor:
        return torch.randn(*shape, generator=random, dtype=torch.float64).to(dtype)

    y, share, *turns = draw(steps, batch), *(draw(steps, batch).sigmoid() for _ in range(1 + len(seasons)))
    lengths = torch.randint(0, steps + 1, (batch,), generator=random) if ragged else None
    if lengths is not None:
        for value in (y, share, *turns):
            value[torch.arange(steps)[:, None] >= lengths] = torch.nan
    return Given(y, draw(batch), [draw(batch, size) for size in seasons], share, list(turns), lengths)


def outcome(given: Given, chosen: str, results: str = "all") -> tuple[list[Tensor], list[Tensor]]:
    """(results, gradients of all that was given); the loss weighs the results that are wanted."""
    leaves = [value.detach().requires_grad_() for value in given.tensors]
    with backend(chosen):
        levels, seasons, last, rings = given.of(leaves).run()
        found = [levels, *seasons, last, *rings]
        wanted = found if results == "all" else {"levels": [levels], "rings": rings}[results]
        loss = torch.zeros((), dtype=given.y.dtype)
        for result in wanted:
            # the same numbers in every dtype
            weight = torch.cos(torch.arange(result.numel(), dtype=torch.float64)).bfloat16().to(result.dtype)
            loss = loss + (result * weight.view(result.shape)).sum()
        gradients = torch.autograd.grad(loss, leaves, materialize_grads=True)
    return found, list(gradients)


@pytest.mark.parametrize("dtype", DTYPES, ids=str)
@pytest.mark.parametrize("ragged", [False, True])
@pytest.mark.parametrize("seasons", SEASONS, ids=str)
@pytest.mark.parametrize(("steps", "batch"), [(0, 3), (1, 1), (12, 5), (23, 37)])
def test_native_equals_reference(steps: int, batch: int, seasons: list[int], ragged: bool, dtype: torch.dtype) -> None:
    """37 rows are two blocks and a part of a third."""
    given = arguments(steps, batch, seasons, ragged=ragged)
    narrow = given.of([value.to(dtype) for value in given.tensors])
    results, gradients = outcome(narrow, "native")
    truth, true_gradients = outcome(given, "reference")
    for result, true in zip(results, truth, strict=True):
        assert result.dtype == dtype
        assert_close(result, true)
    for gradient, true in zip(gradients, true_gradients, strict=True):
        assert_close(gradient, true, "gradients")


@pytest.mark.parametrize("results", ["levels", "rings"])
def test_gradients_of_some_results_alone(results: str) -> None:
    given = arguments(9, 3, [2, 5])
    if results == "rings":
        assert not outcome(given, "native", "levels")[1][-1].equal(outcome(given, "native", "rings")[1][-1])
    for gradient, true in zip(
        outcome(given, "native", results)[1], outcome(given, "reference", results)[1], strict=True
    ):
        assert_close(gradient, true, "gradients")


@pytest.mark.parametrize("order", ["first", "second"])
def test_gradients_are_right(order: str) -> None:
    given = arguments(5, 2, [1, 3], ragged=True)
    given = given.of([value.nan_to_num().requires_grad_() for value in given.tensors])

    def function(*tensors: Tensor) -> tuple[Tensor, ...]:
        levels, seasons, last, rings = given.of(list(tensors)).run()
        return (levels, *seasons, last, *rings)

    check = torch.autograd.gradcheck if order == "first" else torch.autograd.gradgradcheck
    with backend("native"):
        assert check(function, given.tensors)


def test_by_hand() -> None:
    """Level 1, seasons 2 and -1: e = 5 - 1 - 2, half of which moves the level; of the rest a quarter the season."""
    y, half, quarter = torch.tensor([[5.0], [2.0]]), torch.full((2, 1), 0.5), torch.full((2, 1), 0.25)
    given = Given(y, torch.tensor([1.0]), [torch.tensor([[2.0, -1.0]])], half, [quarter])
    levels, (season,), last, (ring,) = given.run()
    assert levels.flatten().tolist() == [2.0, 2.5] and last.item() == 2.5
    assert season.flatten().tolist() == [2.0, -1.0, 2.25, -0.875] and ring.tolist() == [[2.25, -0.875]]


@pytest.mark.parametrize("chosen", ["native", "reference"])
@pytest.mark.parametrize("cut", [0, 1, 8, 17, 20])
def test_in_two_parts_bit_for_bit(cut: int, chosen: str) -> None:
    whole = arguments(20, 5, [2, 7], torch.float32)
    with backend(chosen):
        levels, seasons, last, rings = whole.run()
        first, early, level, between = whole.part(slice(0, cut)).run()
        second, late, end, after = whole.part(slice(cut, None), level=level, rings=between).run()
    assert torch.equal(torch.cat([first, second]), levels) and torch.equal(end, last)
    for one, other, ring, true, size in zip(early, late, after, rings, (2, 7), strict=True):
        assert torch.equal(torch.cat([one, other[size:]]), seasons[(2, 7).index(size)])
        assert torch.equal(ring, true)


@pytest.mark.parametrize("chosen", ["native", "reference"])
def test_rows_and_padding(chosen: str) -> None:
    """A row alone, as long as it is, has the bits that it has among others that pad it with NaN."""
    whole = arguments(20, 19, [2, 7], torch.float32, ragged=True)
    assert whole.lengths is not None
    found, gradients = outcome(whole, chosen)
    for row in (0, 3, 18):
        size = int(whole.lengths[row])
        alone = replace(whole.part(slice(0, size), slice(row, row + 1)), lengths=None)
        with backend(chosen):
            levels, seasons, last, rings = alone.run()
        assert torch.equal(levels, found[0][:size, row : row + 1]) and not found[0][size:, row].any()
        for season, true in zip(seasons, found[1:3], strict=True):
            assert torch.equal(season, true[: len(season), row : row + 1]) and not true[len(season) :, row].any()
        assert torch.equal(last, found[3][row : row + 1])
        assert all(torch.equal(ring, true[row : row + 1]) for ring, true in zip(rings, found[4:], strict=True))
        for gradient in (gradients[0], *gradients[-3:]):  # of what is given step by step
            assert not gradient[size:, row].any() and gradient[:size, row].isfinite().all()


def test_nothing_given_is_written_or_handed_back() -> None:
    given = arguments(0, 2, [3])
    before = [value.clone() for value in given.tensors]
    _, _, last, (ring,) = given.run()
    last += 1
    ring += 1
    assert all(torch.equal(one, other) for one, other in zip(given.tensors, before, strict=True))


def test_bfloat16_is_float32_rounded() -> None:
    given = arguments(12, 3, [4])
    narrow = given.of([value.bfloat16() for value in given.tensors])
    wide = given.of([value.float() for value in narrow.tensors])
    found, gradients = outcome(narrow, "native")
    for result, unrounded in zip(found, outcome(wide, "native")[0], strict=True):
        assert torch.equal(result, unrounded.bfloat16())
    for gradient, true in zip(gradients, outcome(wide, "reference")[1], strict=True):
        assert_close(gradient, true, "gradients")


def test_the_operation_is_well_made() -> None:
    """torch's own check: schema, shapes without data, gradient registration, tracing."""
    given = arguments(5, 2, [3], torch.float32)
    y, level, ring, share, turn = (value.requires_grad_() for value in given.tensors)
    torch.library.opcheck(torch.ops.recurra.smoothing.default, (y, level, [ring], share, [turn], torch.tensor([5, 2])))


def test_under_a_transform() -> None:
    given = arguments(6, 2, [3])

    def total(y: Tensor) -> Tensor:
        return replace(given, y=y).run()[0].square().sum()

    leaf = given.y.clone().requires_grad_()
    assert_close(torch.func.grad(total)(given.y), torch.autograd.grad(total(leaf), leaf)[0], "gradients")
    both = torch.stack([given.y, given.y + 1])
    each = torch.stack([replace(given, y=y).run()[0] for y in both])
    assert_close(torch.func.vmap(lambda y: replace(given, y=y).run()[0])(both), each)
