"""The linear sweeps on a GPU: sums in large products of torch's, the steps and their gradients in scans (`scans.py`)."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from recurra.kernels.gpu.scans import CHOSEN, Given, Way, backward, scan
from recurra.kernels.narrow import wide
from recurra.kernels.reference import project, without_padding
from recurra.kernels.sweeps import SWEEPS, Parameters, Tensors, prepared, sums_of


def by_scan(
    cell: str,
    x: Tensor,
    states: Tensors,
    parameters: Parameters,
    tokens: Tensor | None,
    lengths: Tensor | None,
    resets: Tensor | None,
    reverse: bool,
    keep: bool,
    way: Way = CHOSEN,
) -> list[Tensor]:
    """`sweeps.by_reference` of one of the linear cells, as a scan. First derivatives.

    Numbers of 16 bits are computed in float32, and results rounded once.
    """
    parameters, narrow = Parameters(*map(wide, parameters.all)), x.dtype
    sums, rows = prepared(cell, wide(x), parameters, tokens, lengths)
    numbers = torch.stack(rows) if rows else None
    given = Given(cell, sums, None, numbers, torch.cat(list(states), dim=-1), lengths, resets, reverse)
    outputs, last = scan(given, way)
    kept = without_padding(sums, lengths).to(narrow) if keep and tokens is None else x.new_empty(0)
    # (memory of their own, as every result of an operation has)
    return [outputs, *(part.clone() for part in last.chunk(len(states), dim=-1)), kept, x.new_zeros(0)]


def backward_by_scan(
    cell: str,
    x: Tensor,
    states: Tensors,
    parameters: Parameters,
    tokens: Tensor | None,
    lengths: Tensor | None,
    resets: Tensor | None,
    reverse: bool,
    outputs: Tensor,
    kept: Tensor,
    grad_outputs: Tensor | None,
    grads_last: Sequence[Tensor | None],
    need_x: bool,
    way: Way = CHOSEN,
) -> list[Tensor]:
    """The gradients of x, states and parameters of `by_scan`, whose outputs and sums these are (no sums: made again).

    Those of outputs and of last states may be None, which is zero. That of x is empty where nobody needs it.
    """
    narrow, x, parameters = x.dtype, wide(x), Parameters(*map(wide, parameters.all))
    sums = kept if kept.dim() > 1 else sums_of(x, parameters, tokens, lengths)
    numbers, own = None, parameters.own
    if own is not None:
        with torch.enable_grad():
            own = own.detach().requires_grad_()
            numbers = torch.stack(SWEEPS[cell].numbers(own))
    first = torch.cat(list(states), dim=-1)
    grads = [torch.zeros_like(s) if grad is None else grad for grad, s in zip(grads_last, states, strict=True)]
    grad_outputs = torch.zeros_like(outputs) if grad_outputs is None else grad_outputs.contiguous()
    known = None if numbers is None else numbers.detach()
    given = Given(cell, sums.contiguous(), None, known, first, lengths, resets, reverse)
    d_sums, _, d_numbers, d_first = backward(given, outputs.contiguous(), grad_outputs, torch.cat(grads, dim=-1), way)
    d_x, found = _through_sums(x, parameters, tokens, lengths, None if kept.dim() < 2 else kept, d_sums, need_x)
    if own is not None and numbers is not None and d_numbers is not None:
        (d_own,) = torch.autograd.grad(numbers, own, d_numbers)
        found.append(d_own)
    return [value.to(narrow) for value in (d_x, *(d.contiguous() for d in d_first.chunk(len(states), dim=-1)), *found)]


def _through_sums(
    x: Tensor,
    parameters: Parameters,
    tokens: Tensor | None,
    lengths: Tensor | None,
    kept: Tensor | None,
    d_sums: Tensor,
    need_x: bool,
) -> tuple[Tensor, list[Tensor]]:
    """The gradients of x and of the weights and biases that are there, from those of `sums_of`, which are zero in padding."""
    if tokens is not None:
        d_sums = torch.ops.aten.embedding_dense_backward(d_sums, tokens, x.shape[0], -1, False)
    x = without_padding(x, None if tokens is not None else lengths)
    weight, bias, gates = parameters.weight_in, parameters.bias_in, parameters.weight_gates
    of_gates = list[Tensor]()
    if gates is not None:
        _, hidden, width = gates.shape
        first = project(x, weight, bias, None, None) if kept is None else wide(kept[..., :hidden])
        d_gates = d_sums[..., hidden:]
        d_blocks = d_gates.unflatten(-1, (len(gates), hidden // width, width))
        d_weight = torch.einsum("...gbi,...bj->gbij", d_blocks, first.unflatten(-1, (hidden // width, width)))
        through = torch.einsum("...gbi,gbij->...bj", d_blocks, gates.unflatten(1, (hidden // width, width)))
        of_gates = [d_weight.flatten(1, 2), d_gates.flatten(0, -2).sum(0)]
        d_sums = d_sums[..., :hidden] + through.flatten(-2)
    flat = d_sums.flatten(0, -2)
    found = list[Tensor]()
    if weight is not None:
        found.append(flat.T @ x.flatten(0, -2))
    if bias is not None:
        found.append(flat.sum(0))
    if not need_x:
        return x.new_empty(0), [*found, *of_gates]
    return d_sums if weight is None else d_sums @ weight, [*found, *of_gates]
