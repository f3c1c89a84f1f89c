"""The loss over a vocabulary without the logits of all rows: chunk by chunk, the gradients in the same pass.

The logits of a language model are its largest array, and are written and read several times where head, softmax, loss
and their gradients each go over all rows. Here each chunk of rows goes through all of it while it is in the cache, and
what is kept for the backward pass are the gradients themselves, no larger than what they are gradients of. It runs on
any device and knows nothing of layers or models.
"""

from __future__ import annotations

from collections.abc import Iterator

import torch
from torch import Tensor

from recurra.errors import DataError

ROWS, NUMBERS = 512, 1 << 19
"""A chunk has ROWS rows, as fewer make slow products, and more where its logits are still fewer than NUMBERS.

Each chunk costs some ten calls in which all threads meet: with a small vocabulary one chunk is most often enough.
"""


def cross_entropy(
    hidden: Tensor,
    weight: Tensor,
    bias: Tensor | None,
    targets: Tensor,
    mask: Tensor | None,
    need_hidden: bool,
    need_weight: bool,
    need_bias: bool,
) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """`reference.cross_entropy`[], and its gradients by hidden, weight and bias; empty where one is not needed.

    hidden[T, B, H], weight[V, H], bias[V], targets[T, B] int64, mask[B, H]. Numbers narrower than float32 are computed
    and added up in float32. Raises `DataError` for shapes that do not fit and, on the CPU, for targets outside 0..V-1;
    to look at them elsewhere would wait for the device, which stops at a wrong one by itself.
    """
    check(hidden, weight, bias, targets, mask)
    device = hidden.device.type
    if torch.is_autocast_enabled(device):
        # sums of many small numbers are not for bfloat16
        with torch.autocast(device, enabled=False):
            return cross_entropy(hidden, weight, bias, targets, mask, need_hidden, need_weight, need_bias)
    if hidden.dtype not in (torch.float32, torch.float64):
        wide = [value if value is None else value.float() for value in (hidden, weight, bias, mask)]
        results = cross_entropy(wide[0], wide[1], wide[2], targets, wide[3], need_hidden, need_weight, need_bias)  # pyright: ignore
        return tuple(result.to(hidden.dtype) for result in results)  # pyright: ignore[reportReturnType]
    (steps, batch, width), vocabulary = hidden.shape, weight.shape[0]
    d_hidden = hidden.new_empty(hidden.shape if need_hidden else 0)
    d_weight = hidden.new_zeros(weight.shape if need_weight else 0)
    d_bias = hidden.new_zeros(vocabulary if need_bias else 0)
    offset = weight.new_zeros(()) if bias is None else bias
    minus_one = weight.new_full((1, 1), -1.0)
    sums = [hidden.new_zeros(())]
    for span in _chunks(steps, batch, max(ROWS, NUMBERS // max(1, vocabulary))):
        part = hidden[span]
        part = (part if mask is None else part * mask[span[1]]).reshape(-1, width)
        chosen = targets[span].reshape(-1, 1)
        logs = torch.addmm(offset, part, weight.T).log_softmax(dim=1)
        sums.append(logs.gather(1, chosen).sum())
        if not (need_hidden or need_weight or need_bias):
            continue
        # by the logits the gradient is what was foretold, less what came
        errors = logs.exp_().scatter_add_(1, chosen, minus_one.expand(len(chosen), 1))
        if need_hidden:
            d_part = d_hidden[span]
            torch.mm(errors, weight, out=d_part.view(-1, width))
            if mask is not None:
                d_part *= mask[span[1]]
        if need_weight:
            d_weight.addmm_(errors.T, part)
        if need_bias:
            d_bias += errors.sum(dim=0)
    return -torch.stack(sums).sum(), d_hidden, d_weight, d_bias


def without_values(
    hidden: Tensor,
    weight: Tensor,
    bias: Tensor | None,
    targets: Tensor,
    mask: Tensor | None,
    need_hidden: bool,
    need_weight: bool,
    need_bias: bool,
) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """The results of `cross_entropy` without their values."""
    d_hidden = hidden.new_empty(hidden.shape if need_hidden else 0)
    d_weight = hidden.new_empty(weight.shape if need_weight else 0)
    return hidden.new_empty(()), d_hidden, d_weight, hidden.new_empty(weight.shape[0] if need_bias else 0)


def _chunks(steps: int, batch: int, rows: int) -> Iterator[tuple[slice, slice]]:
    """(steps, batch) in spans of at most `rows` rows: some steps of the whole batch, or some of the batch at one step."""
    together = max(1, rows // max(1, batch))
    for step in range(0, steps, together):
        for row in range(0, batch, rows):
            yield slice(step, step + together), slice(row, row + rows)


def check(
    hidden: Tensor,
    weight: Tensor,
    bias: Tensor | None,
    targets: Tensor,
    mask: Tensor | None,
    values: bool = True,
) -> None:
    """Raise the `DataError` of `cross_entropy`; with `values` false the targets are not looked at."""
    if hidden.dim() != 3 or weight.dim() != 2:
        got = f"{tuple(hidden.shape)} and {tuple(weight.shape)}"
        raise DataError("cross_entropy: 'hidden' or 'weight' is wrong", got=got, expected="(T, B, H) and (V, H)")
    (steps, batch, _), (vocabulary, width) = hidden.shape, weight.shape
    given = {
        "hidden": (hidden, (steps, batch, width)),
        "bias": (bias, (vocabulary,)),
        "targets": (targets, (steps, batch)),
        "mask": (mask, (batch, width)),
    }
    for name, (value, expected) in given.items():
        if value is not None and value.shape != expected:
            raise DataError(f"cross_entropy: '{name}' has the wrong shape", got=tuple(value.shape), expected=expected)
    if targets.dtype != torch.int64:
        raise DataError("cross_entropy: the targets are wrong", got=targets.dtype, expected=torch.int64)
    if values and targets.device.type == "cpu" and targets.numel():
        low, high = (int(value) for value in targets.aminmax())
        if low < 0 or high >= vocabulary:
            got, expected = f"{low} to {high}", f"0 to {vocabulary - 1}"
            raise DataError("cross_entropy: the targets are out of range", got=got, expected=expected)
