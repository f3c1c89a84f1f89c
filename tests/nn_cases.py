"""Random configurations of torch's recurrent modules and their inputs, and the comparison of ours with torch's on them."""

from __future__ import annotations

import random
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor
from torch.nn.utils.rnn import PackedSequence, pack_padded_sequence

from recurra import nn
from tolerances import assert_close


@dataclass
class Case:
    """One module of torch's, its arguments, and inputs for it."""

    name: str
    settings: dict[str, Any]
    dtype: torch.dtype
    form: str
    """padded, unbatched, packed (sorted) or shuffled (packed, not sorted)"""
    steps: int
    batch: int
    with_hx: bool
    training: bool
    seed: int
    sizes: list[int] = field(default_factory=list)
    """Lengths of the rows of a packed sequence."""

    def modules(self) -> tuple[torch.nn.Module, torch.nn.Module]:
        torch.manual_seed(self.seed)
        theirs = getattr(torch.nn, self.name)(**self.settings).to(self.dtype).train(self.training)
        ours = getattr(nn, self.name)(**self.settings).to(self.dtype).train(self.training)
        assert ours.load_state_dict(theirs.state_dict()) == theirs.load_state_dict(ours.state_dict())
        return theirs, ours

    def inputs(self) -> tuple[Any, Any, list[Tensor]]:
        """(input, hx, the leaves that gradients are asked of)."""
        generator = torch.Generator().manual_seed(self.seed)

        def leaf(*shape: int) -> Tensor:
            return torch.randn(shape, generator=generator, dtype=torch.float64).to(self.dtype).requires_grad_()

        settings = self.settings
        directions = 2 if settings["bidirectional"] else 1
        batch_first = settings["batch_first"] and self.form != "unbatched"
        shape = [self.batch, self.steps] if batch_first else [self.steps, self.batch]
        x = leaf(*(shape if self.form != "unbatched" else [self.steps]), settings["input_size"])
        rows = [] if self.form == "unbatched" else [self.batch]
        hidden = settings["hidden_size"]
        h = leaf(settings["num_layers"] * directions, *rows, settings.get("proj_size") or hidden)
        c = leaf(settings["num_layers"] * directions, *rows, hidden)
        hx = None if not self.with_hx else (h, c) if self.name == "LSTM" else h
        leaves = [x, *([h] if self.with_hx else []), *([c] if self.with_hx and self.name == "LSTM" else [])]
        if self.form in ("packed", "shuffled"):
            lengths = torch.tensor(self.sizes)
            x = pack_padded_sequence(x, lengths, batch_first=batch_first, enforce_sorted=self.form == "packed")
        return x, hx, leaves


def draw(seed: int) -> Case:
    """The configuration with this number."""
    choose = random.Random(seed)
    name = choose.choice(["RNN", "GRU", "LSTM"])
    hidden = choose.randint(1, 9)
    layers = choose.randint(1, 3)
    settings: dict[str, Any] = {
        "input_size": choose.randint(1, 8),
        "hidden_size": hidden,
        "num_layers": layers,
        "bias": choose.random() < 0.8,
        "batch_first": choose.random() < 0.5,
        "dropout": choose.choice([0.0, 0.3, 0.7, 1.0]) if layers > 1 else 0.0,
        "bidirectional": choose.random() < 0.5,
    }
    if name == "RNN":
        settings["nonlinearity"] = choose.choice(["tanh", "relu"])
    if name == "LSTM" and hidden > 1 and choose.random() < 0.4:
        settings["proj_size"] = choose.randint(1, hidden - 1)
    form = choose.choice(["padded", "padded", "unbatched", "packed", "shuffled"])
    steps = choose.randint(1, 6)
    batch = choose.randint(1, 5)
    if form == "padded" and choose.random() < 0.05:
        batch = 0
    sizes = [choose.randint(1, steps) for _ in range(batch)]
    if form == "packed":
        sizes.sort(reverse=True)
    return Case(
        name=name,
        settings=settings,
        dtype=torch.float64 if choose.random() < 0.8 else torch.float32,
        form=form,
        steps=steps,
        batch=batch,
        with_hx=choose.random() < 0.6,
        training=choose.random() < 0.7,
        seed=seed,
        sizes=sizes,
    )


def flat(result: Any) -> list[Tensor]:
    """The tensors of a result, in order, packed ones as their data."""
    if isinstance(result, PackedSequence):
        return [result.data]
    return [result] if isinstance(result, Tensor) else [leaf for one in result for leaf in flat(one)]


def total(result: Any) -> Tensor:
    """One number that every number of a result goes into, each with a weight of its own."""
    return torch.stack([(one * torch.arange(1, one.numel() + 1).view(one.shape)).sum() for one in flat(result)]).sum()


def assert_same(theirs: Any, ours: Any) -> None:
    """The same form, shapes, dtypes and, within the table of tolerances, numbers."""
    assert type(ours) is type(theirs)
    if isinstance(theirs, PackedSequence):
        for one, other in zip(theirs[1:], ours[1:], strict=True):
            assert torch.equal(one, other) if isinstance(one, Tensor) else other is one
        theirs, ours = theirs.data, ours.data
    if isinstance(theirs, Tensor):
        assert ours.shape == theirs.shape and ours.dtype == theirs.dtype and ours.layout == theirs.layout
        assert_close(ours, theirs)
        return
    assert len(ours) == len(theirs)
    for one, other in zip(theirs, ours, strict=True):
        assert_same(one, other)


def compare(case: Case) -> None:
    """Outputs, states, and the gradients of inputs, states and all weights; and the values without gradients."""
    theirs, ours = case.modules()
    x, hx, leaves = case.inputs()
    results, gradients = [], []
    for module in (theirs, ours):
        torch.manual_seed(case.seed)
        result = module(x, hx)
        generator = torch.Generator().manual_seed(case.seed + 1)
        weights = [torch.randn(v.shape, generator=generator, dtype=torch.float64).to(v.dtype) for v in flat(result)]
        parts = [(value * weight).sum() for value, weight in zip(flat(result), weights, strict=True)]
        wanted = [*leaves, *module.parameters()]
        gradients.append(
            torch.autograd.grad(torch.stack(parts).sum(), wanted, materialize_grads=True, retain_graph=True)
        )
        results.append(result)
    assert_same(*results)
    for one, other in zip(*gradients, strict=True):
        assert_close(other, one, "gradients")
    with torch.no_grad():
        torch.manual_seed(case.seed)
        assert_same(results[0], ours(x, hx))
