"""Attention: against the formula, its gradient in float64, padding and empty sources, and one order of additions."""

from __future__ import annotations

import pytest
import torch

from recurra.kernels import attention, backend
from tolerances import assert_close


def arrays(steps: int = 3, batch: int = 4, places: int = 5, width: int = 6) -> tuple[torch.Tensor, torch.Tensor]:
    random = torch.Generator().manual_seed(1)
    query = torch.randn(steps, batch, width, generator=random, dtype=torch.float64)
    return query, torch.randn(batch, places, width, generator=random, dtype=torch.float64)


@pytest.mark.parametrize("recorded", [True, False])
def test_it_is_the_mean_weighted_by_softmax(recorded: bool) -> None:
    query, source = arrays()
    context, weights = attention(query.requires_grad_(recorded), source, torch.tensor([5, 2, 1, 0]))
    for row, length in enumerate((5, 2, 1)):
        places = source[row, :length]
        expected = (query[:, row].detach() @ places.T).softmax(dim=-1)
        assert_close(weights[:, row, :length].detach(), expected)
        assert weights[:, row, length:].count_nonzero() == 0
        assert_close(context[:, row].detach(), expected @ places)
    assert context[:, 3].count_nonzero() == 0 and weights[:, 3].count_nonzero() == 0


def test_its_gradient() -> None:
    query, source = arrays(2, 3, 4, 3)
    lengths = torch.tensor([4, 2, 0])
    given = query.requires_grad_(), source.requires_grad_()
    assert torch.autograd.gradcheck(lambda q, s: attention(q, s, lengths), given)


def test_without_places_the_context_is_zero_and_so_is_the_gradient() -> None:
    query, source = arrays(places=0)
    context, weights = attention(query.requires_grad_(), source.requires_grad_(), torch.zeros(4, dtype=torch.int64))
    assert context.count_nonzero() == 0 and weights.shape == (3, 4, 0)
    context.sum().backward()
    assert query.grad is not None and query.grad.count_nonzero() == 0


def test_padding_gets_no_gradient() -> None:
    query, source = arrays()
    source.requires_grad_()
    attention(query, source, torch.tensor([5, 2, 1, 0]))[0].square().sum().backward()
    assert source.grad is not None
    assert source.grad[1, 2:].count_nonzero() == 0 and source.grad[3].count_nonzero() == 0
    assert source.grad[1, :2].count_nonzero() > 0


@pytest.mark.parametrize("width", [7, 64, 515])
def test_bits_depend_on_nothing_but_the_row_and_its_source(width: int) -> None:
    """More rows, more steps, longer padding: the same bits, in inference."""
    query, source = (value.float() for value in arrays(5, 3, 40, width))
    lengths = torch.tensor([40, 17, 1])
    context, weights = attention(query, source, lengths)
    for row, length in enumerate(lengths.tolist()):
        for step in range(5):
            part = query[step : step + 1, row : row + 1], source[row : row + 1, :length], lengths[row : row + 1]
            alone, looked = attention(*part)
            assert torch.equal(alone[0, 0], context[step, row])
            assert torch.equal(looked[0, 0], weights[step, row, :length])


def test_both_ways_agree() -> None:
    query, source = arrays()
    lengths = torch.tensor([5, 2, 1, 0])
    with backend("reference"):
        products = attention(query, source, lengths)
    for one, other in zip(attention(query, source, lengths), products, strict=True):
        assert_close(one, other)
