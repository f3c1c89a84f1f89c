"""What the rows of whole sequences share: the inputs, the call that is timed, and the ratios that count."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from typing import Any

import torch
from torch import Tensor

import machine
from peers import same
from results import Result, Settings
from rows import Row
from timing import Samples, interleaved, paired

CHECKED = 20
"""Steps over which loops are compared: what is rounded otherwise grows with the steps, by a norm above all."""

Gives = Callable[[], tuple[Tensor, ...]]
"""What is timed, with the values by which it is compared with the others."""


def inputs_of(row: Row) -> Tensor:
    random = torch.Generator().manual_seed(2)
    return torch.randn(row.steps, row.batch, row.width, generator=random)


def call(row: Row, parameters: Iterable[Tensor], inputs: Tensor, run: Callable[[Tensor], Tensor]) -> Gives:
    """The forward pass, or also the gradients of the inputs and of `parameters`; gives the outputs, then the gradients."""
    if row.mode == "inference":

        def forward() -> tuple[Tensor, ...]:
            with torch.no_grad():
                return (run(inputs),)

        return forward
    wanted = [inputs.clone().requires_grad_(), *parameters]
    random = torch.Generator().manual_seed(3)
    drawn = torch.randn(row.steps, row.batch, row.width, generator=random)

    def both_ways() -> tuple[Tensor, ...]:
        outputs = run(wanted[0])
        # packed outputs are fewer
        gradient = drawn if outputs.dim() == 3 else drawn.flatten(0, 1)[: len(outputs)]
        return outputs, *torch.autograd.grad(outputs, wanted, gradient)

    return both_ways


def check(calls: Mapping[str, Gives]) -> None:
    """All contestants give the same, gradients included; what is random is drawn alike."""
    found: dict[str, tuple[Tensor, ...]] = {}
    for name, gives in calls.items():
        torch.manual_seed(1)
        found[name] = tuple(value.detach() for value in gives())
    ours = found.pop("ours")
    for name, theirs in found.items():
        for place, (mine, other) in enumerate(zip(ours, theirs, strict=True)):
            # the sums that are gradients are as exact as the largest of them
            scale = max(1.0, float(other.abs().max()))
            same(f"{name}, {'gradient' if place else 'outputs'} {place}", mine / scale, other / scale)


def timed(row: Row, settings: Settings, calls: Mapping[str, Callable[[], Any]], valid: int | None = None) -> Result:
    """Samples in turns, with those of a large product, and how many times faster ours is than each of the others."""
    samples = interleaved({**calls, "product": machine.product()}, settings.rounds)
    ratios = {name: paired(samples[name], samples["ours"]) for name in ("torch", "onnx") if name in samples}
    return Result(row, samples, ratios=ratios, share=_share(row, samples, valid))


def _share(row: Row, samples: Samples, valid: int | None) -> float:
    """Ours as a part of the peak that the product reached in the same rounds."""
    quick = paired(samples["product"], samples["ours"]).median
    return row.flops(valid) / machine.PRODUCT_FLOPS * quick
