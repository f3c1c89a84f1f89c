"""Optimisers: which parameter is changed how, the average of the weights, and what both remember by name."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import torch
from torch import Tensor, nn

from recurra.errors import EnvironmentFailure
from recurra.training.recipe import Recipe

Groups = dict[str, list[str]]


class Optimisers:
    """One or two of torch's optimisers over the parameters of a model, as a recipe has them."""

    def __init__(self, model: nn.Module, recipe: Recipe) -> None:
        parameters = dict(model.named_parameters())
        embeddings = [name for name in parameters if name.rpartition(".")[2] == "embedding"]
        # shrinking a bias only shifts what the unit answers, and a rare symbol is not to fade between its occurrences
        spared = [name for name, value in parameters.items() if value.dim() <= 1 or name in embeddings]
        matrices = [name for name in parameters if name not in spared]
        self.parameters = [parameters[name] for name in (*matrices, *spared)]
        self._all: list[tuple[torch.optim.Optimizer, list[str]]] = []
        muon = [name for name in matrices if recipe.optimiser == "muon" and _is_hidden(name, parameters[name])]
        if recipe.optimiser == "muon":
            if not hasattr(torch.optim, "Muon"):
                raise EnvironmentFailure("This torch has no Muon", got=torch.__version__, expected="2.9 or newer")
            chosen = [parameters[name] for name in muon]
            decay = recipe.weight_decay
            # its steps then are as large as AdamW's, so one rate does for both
            made = torch.optim.Muon(chosen, lr=recipe.rate, weight_decay=decay, adjust_lr_fn="match_rms_adamw")
            self._all.append((made, muon))
        rest = [name for name in matrices if name not in muon]
        groups = [
            {"params": [parameters[name] for name in rest], "weight_decay": recipe.weight_decay},
            {"params": [parameters[name] for name in spared], "weight_decay": 0.0},
        ]
        if recipe.optimiser == "sgd":
            other: torch.optim.Optimizer = torch.optim.SGD(groups, lr=recipe.rate, momentum=0.9, nesterov=True)
        else:
            other = torch.optim.AdamW(groups, lr=recipe.rate, betas=(0.9, 0.99), eps=1e-8, fused=True)
        self._all.append((other, [*rest, *spared]))

    def step(self, rate: float) -> None:
        for optimiser, _ in self._all:
            for group in optimiser.param_groups:
                group["lr"] = rate
            optimiser.step()

    def tensors(self) -> dict[str, Tensor]:
        """What is remembered of each parameter, by "optimiser.PARAMETER.WHAT"."""
        return {
            f"optimiser.{names[place]}.{what}": torch.as_tensor(value)
            for optimiser, names in self._all
            for place, remembered in optimiser.state_dict()["state"].items()
            for what, value in remembered.items()
        }

    def restore(self, tensors: dict[str, Tensor]) -> None:
        """Put back what `tensors` gave."""
        for optimiser, names in self._all:
            whole = optimiser.state_dict()
            places = {name: place for place, name in enumerate(names)}
            state: dict[int, dict[str, Tensor]] = {}
            for key, value in tensors.items():
                if key.startswith("optimiser."):
                    name, what = key.removeprefix("optimiser.").rsplit(".", 1)
                    if name in places:
                        state.setdefault(places[name], {})[what] = value
            whole["state"] = state
            optimiser.load_state_dict(whole)


def _is_hidden(name: str, value: Tensor) -> bool:
    """Whether Muon is for this parameter: a matrix between units, neither an embedding nor the head."""
    return value.dim() == 2 and name.startswith("stack.")


class Average:
    """An exponential average of a model's weights (Polyak and Juditsky 1992), younger at the start of a run."""

    def __init__(self, model: nn.Module, decay: float) -> None:
        self._decay = decay
        self._parameters = dict(model.named_parameters())
        self._values = {name: value.detach().clone() for name, value in self._parameters.items()}

    @torch.no_grad()
    def follow(self, step: int) -> None:
        """Take in the weights after `step` steps."""
        decay = min(self._decay, (1 + step) / (10 + step))
        for name, parameter in self._parameters.items():
            self._values[name].lerp_(parameter, 1 - decay)

    @contextmanager
    def in_place(self) -> Iterator[None]:
        """Inside, the model has the averaged weights."""
        own = {name: value.detach().clone() for name, value in self._parameters.items()}
        self._write(self._values)
        try:
            yield
        finally:
            self._write(own)

    def tensors(self) -> dict[str, Tensor]:
        return {f"average.{name}": value for name, value in self._values.items()}

    def restore(self, tensors: dict[str, Tensor]) -> None:
        for name, value in self._values.items():
            value.copy_(tensors[f"average.{name}"])

    @torch.no_grad()
    def _write(self, values: dict[str, Tensor]) -> None:
        for name, parameter in self._parameters.items():
            parameter.copy_(values[name])
