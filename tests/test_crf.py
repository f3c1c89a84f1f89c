"""The conditional random field: against all paths counted one by one, its gradients, its filter, its laws."""

from __future__ import annotations

import itertools
from collections.abc import Callable

import pytest
import torch
from torch import Tensor

from recurra.errors import DataError
from recurra.kernels import crf
from tolerances import assert_close

LENGTHS = torch.tensor([4, 1, 0, 3])


def scores(steps: int = 4, batch: int = 4, count: int = 3, scale: float = 1.5) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """Random emissions, transitions, start and end in float64."""
    random = torch.Generator().manual_seed(steps * 100 + count)

    def draw(*shape: int) -> Tensor:
        return torch.randn(*shape, generator=random, dtype=torch.float64) * scale

    return draw(steps, batch, count), draw(count, count), draw(count), draw(count)


def every_path(row: int, length: int, given: tuple[Tensor, ...]) -> dict[tuple[int, ...], float]:
    """The score of each path of a row, added up by hand."""
    emissions, transitions, start, end = given
    found = {}
    for path in itertools.product(range(emissions.shape[2]), repeat=length):
        total = float(start[path[0]] + end[path[-1]]) if path else 0.0
        total += sum(float(emissions[t, row, tag]) for t, tag in enumerate(path))
        total += sum(float(transitions[a, b]) for a, b in itertools.pairwise(path))
        found[path] = total
    return found


def test_the_loss_is_one_path_among_all() -> None:
    given = scores()
    tags = torch.tensor([[0, 2, 9, 1], [1, -1, 9, 1], [2, -1, 9, 0], [0, -1, 9, 7]])
    wanted = 0.0
    for row, length in enumerate(LENGTHS.tolist()):
        paths = every_path(row, length, given)
        total = torch.logsumexp(torch.tensor(list(paths.values()), dtype=torch.float64), 0)
        wanted += float(total) - paths[tuple(tags[:length, row].tolist())]
    assert_close(crf.crf_loss(given[0], tags, *given[1:], LENGTHS), torch.tensor(wanted, dtype=torch.float64))


def test_viterbi_is_the_best_of_all_paths() -> None:
    given = scores()
    tags, best = crf.viterbi(*given, LENGTHS)
    for row, length in enumerate(LENGTHS.tolist()):
        paths = every_path(row, length, given)
        path = max(paths, key=lambda one: paths[one])
        assert tuple(tags[:length, row].tolist()) == path
        assert tags[length:, row].count_nonzero() == 0
        assert float(best[row]) == pytest.approx(paths[path])


def test_viterbi_keeps_to_what_is_allowed() -> None:
    emissions, transitions, start, end = scores(steps=9, scale=1.0)
    transitions = transitions.masked_fill(torch.eye(3, dtype=torch.bool), -torch.inf)
    tags, best = crf.viterbi(emissions, transitions, start, end)
    assert (tags[1:] != tags[:-1]).all() and torch.isfinite(best).all()


@pytest.mark.parametrize("lengths", [None, LENGTHS], ids=["whole", "lengths"])
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64], ids=str)
@pytest.mark.parametrize("count", [1, 3, 17])
@pytest.mark.parametrize("scale", [1.5, 25.0])
def test_the_quick_way_is_the_truth(lengths: Tensor | None, dtype: torch.dtype, count: int, scale: float) -> None:
    # in float32 such scores are exact, so that both ways are given the same
    given = [value.float().double().requires_grad_() for value in scores(count=count, scale=scale)]
    own = [value.detach().to(dtype).requires_grad_() for value in given]
    factor = torch.tensor([1.0, 0.5, 3.0, -2.0], dtype=torch.float64)
    wanted = crf.log_partition_by_logs(given[0], given[1], given[2], given[3], lengths)
    got = crf.log_partition(own[0], own[1], own[2], own[3], lengths)
    assert got.grad_fn is not None and "LogPartition" in type(got.grad_fn).__name__
    assert_close(got, wanted)
    gradients = torch.autograd.grad((wanted * factor).sum(), given)
    for one, other in zip(torch.autograd.grad((got * factor).sum(), own), gradients, strict=True):
        assert_close(one, other, "gradients")


@pytest.mark.parametrize("lengths", [None, torch.tensor([3, 0])], ids=["whole", "lengths"])
def test_gradients_of_both_orders(lengths: Tensor | None) -> None:
    given = [value.requires_grad_() for value in scores(steps=3, batch=2)]
    tags = torch.tensor([[0, 1], [2, 1], [2, 0]])

    def loss(emissions: Tensor, transitions: Tensor, start: Tensor, end: Tensor) -> Tensor:
        return crf.crf_loss(emissions, tags, transitions, start, end, lengths)

    assert torch.autograd.gradcheck(loss, given)
    assert torch.autograd.gradgradcheck(loss, given)


def test_scores_too_far_apart_for_probabilities() -> None:
    """The best tag of the first step is a thousand worse in the second: nothing may be lost to underflow."""
    emissions = torch.tensor([[[0.0, -1000.0]], [[-2000.0, 0.0]]], requires_grad=True)
    zeros = torch.zeros(2)
    transitions = torch.tensor([[0.0, -1500.0], [0.0, 0.0]])
    total = crf.log_partition(emissions, transitions, zeros, zeros)
    # by way of (1, 1): -1000; (0, 1): -1500; (0, 0): -2000
    assert float(total.detach()) == pytest.approx(-1000.0)
    (gradient,) = torch.autograd.grad(total.sum(), emissions)
    assert gradient.tolist() == [[[0.0, 1.0]], [[0.0, 1.0]]]


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64], ids=str)
def test_the_filter_is_the_forward_algorithm_up_to_here(dtype: torch.dtype) -> None:
    """What is believed at a step is the marginal of the last tag of all paths that end there."""
    given = tuple(value.to(dtype) for value in scores(batch=1))
    nothing = given[0].new_zeros(1, 3)
    beliefs, last = crf.filtered(given[0], given[1], given[2], nothing)
    free = torch.zeros(3)
    for t in range(4):
        weights = torch.zeros(3, dtype=torch.float64)
        for path, score in every_path(0, t + 1, (*given[:3], free)).items():
            weights[path[-1]] += torch.tensor(score, dtype=torch.float64).exp()
        believed = beliefs[t, 0].double() / beliefs[t, 0].double().sum()
        torch.testing.assert_close(believed, weights / weights.sum(), rtol=2e-5, atol=2e-6)
    assert torch.equal(last, beliefs[-1])


def test_the_filter_does_not_mind_cuts_rows_and_resets() -> None:
    emissions, transitions, start, _ = scores(steps=7, batch=5, count=11)
    emissions, transitions, start = emissions.float(), transitions.float(), start.float()
    nothing, lengths = emissions.new_zeros(5, 11), torch.tensor([7, 0, 3, 6, 5])
    resets = torch.zeros(7, 5, dtype=torch.bool)
    resets[2, 0] = resets[5, 3] = True
    whole, end = crf.filtered(emissions, transitions, start, nothing, lengths, resets)
    for cut in range(8):
        first, between = crf.filtered(
            emissions[:cut], transitions, start, nothing, lengths.clamp(max=cut), resets[:cut]
        )
        second, last = crf.filtered(
            emissions[cut:], transitions, start, between, (lengths - cut).clamp(min=0), resets[cut:]
        )
        assert torch.equal(torch.cat([first, second]), whole) and torch.equal(last, end)
    for row in range(5):
        part = slice(row, row + 1)
        alone, _ = crf.filtered(emissions[:, part], transitions, start, nothing[part], lengths[part], resets[:, part])
        assert torch.equal(alone, whole[:, part])
    afresh, _ = crf.filtered(emissions[2:, :1], transitions, start, nothing[:1])
    assert torch.equal(afresh, whole[2:, :1])
    assert end[1].count_nonzero() == 0


def test_rows_and_steps_of_nothing() -> None:
    (emissions, *_), rest = scores(), scores()[1:]
    for part in (emissions[:0], emissions[:, :0]):
        tags = torch.zeros(part.shape[:2], dtype=torch.int64)
        assert float(crf.crf_loss(part, tags, *rest)) == 0.0
        assert crf.viterbi(part, *rest)[0].shape == tags.shape
    given = emissions.clone().requires_grad_()
    nothing = torch.zeros(4, dtype=torch.int64)
    loss = crf.crf_loss(given, torch.zeros(4, 4, dtype=torch.int64), *rest, nothing)
    loss.backward()
    assert float(loss.detach()) == 0.0
    assert given.grad is not None and given.grad.count_nonzero() == 0


def test_what_pads_reaches_nothing() -> None:
    (emissions, *_), rest = scores(), scores()[1:]
    padded = emissions.clone()
    for row, length in enumerate(LENGTHS.tolist()):
        padded[length:, row] = float("nan")
    padded.requires_grad_()
    tags = torch.zeros(4, 4, dtype=torch.int64)
    loss = crf.crf_loss(padded, tags, *rest, LENGTHS)
    loss.backward()
    assert_close(loss.detach(), crf.crf_loss(emissions, tags, *rest, LENGTHS))
    assert padded.grad is not None and torch.isfinite(padded.grad).all()
    assert torch.equal(crf.viterbi(padded, *rest, LENGTHS)[0], crf.viterbi(emissions, *rest, LENGTHS)[0])


def test_torch_func_and_bfloat16() -> None:
    (emissions, *_), rest = scores(), scores()[1:]
    tags = torch.ones(4, 4, dtype=torch.int64)
    by_func = torch.func.grad(lambda value: crf.crf_loss(value, tags, *rest, LENGTHS))(emissions)
    own = emissions.clone().requires_grad_()
    crf.crf_loss(own, tags, *rest, LENGTHS).backward()
    assert own.grad is not None
    assert_close(by_func, own.grad, "gradients")
    narrow = crf.crf_loss(emissions.bfloat16(), tags, *rest, LENGTHS)
    assert narrow.dtype == torch.float32
    assert float(narrow) == pytest.approx(float(crf.crf_loss(emissions, tags, *rest, LENGTHS)), rel=2e-2)


WRONG: list[tuple[str, Callable[[], object], str]] = [
    ("tags", lambda: crf.crf_loss(scores()[0], torch.full((4, 4), 3), *scores()[1:]), "Got: 3 to 3. Expected: 0 to 2"),
    ("shape", lambda: crf.viterbi(scores()[0], scores()[2], *scores()[2:]), r"'transitions'.*Expected: \(3, 3\)"),
    ("lengths", lambda: crf.viterbi(*scores(), torch.tensor([1])), r"'lengths'.*Expected: \(4,\)"),
    ("no tags", lambda: crf.viterbi(torch.zeros(2, 2), *scores()[1:]), "K one or more"),
]


@pytest.mark.parametrize(("call", "message"), [case[1:] for case in WRONG], ids=[case[0] for case in WRONG])
def test_errors(call: Callable[[], object], message: str) -> None:
    with pytest.raises(DataError, match=message):
        call()
