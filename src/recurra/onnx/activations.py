"""The activations of ONNX's recurrent nodes, and how a node's lists of names and numbers become functions.

Formulas: the description of the operators RNN, GRU and LSTM (https://onnx.ai/onnx/operators/onnx__LSTM.html). Nothing here
knows what a node computes.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor

from recurra.errors import UsageError


@dataclass(frozen=True)
class Formula:
    """f(z, alpha, beta), whether it reads alpha and beta, and what they are where a node does not say (None: it must)."""

    function: Callable[[Tensor, float, float], Tensor]
    takes_alpha: bool = False
    takes_beta: bool = False
    alpha: float | None = None
    beta: float | None = None


# the defaults are those of the operators of these names; Affine and ScaledTanh are operators no longer and have none
FORMULAS: dict[str, Formula] = {
    "Relu": Formula(lambda z, alpha, beta: torch.relu(z)),
    "Tanh": Formula(lambda z, alpha, beta: torch.tanh(z)),
    "Sigmoid": Formula(lambda z, alpha, beta: torch.sigmoid(z)),
    "Affine": Formula(lambda z, alpha, beta: alpha * z + beta, True, True),
    "LeakyRelu": Formula(lambda z, alpha, beta: torch.where(z >= 0, z, alpha * z), True, alpha=0.01),
    # at alpha itself the nodes' description says x where the operator ThresholdedRelu says 0; runtimes differ too
    "ThresholdedRelu": Formula(lambda z, alpha, beta: torch.where(z >= alpha, z, torch.zeros_like(z)), True, alpha=1.0),
    "ScaledTanh": Formula(lambda z, alpha, beta: alpha * torch.tanh(beta * z), True, True),
    "HardSigmoid": Formula(lambda z, alpha, beta: (alpha * z + beta).clamp(0, 1), True, True, 0.2, 0.5),
    "Elu": Formula(lambda z, alpha, beta: torch.where(z >= 0, z, alpha * torch.expm1(z)), True, alpha=1.0),
    "Softsign": Formula(lambda z, alpha, beta: z / (1 + z.abs())),
    "Softplus": Formula(lambda z, alpha, beta: F.softplus(z)),
}
_SPELLINGS = {name.lower(): name for name in FORMULAS}


@dataclass(frozen=True)
class Activation:
    """One activation with its numbers; calling it applies it."""

    name: str
    alpha: float = 0.0
    beta: float = 0.0

    def __call__(self, z: Tensor) -> Tensor:
        return FORMULAS[self.name].function(z, self.alpha, self.beta)


def activations(who: str, names: Sequence[str], alphas: Sequence[float], betas: Sequence[float]) -> list[Activation]:
    """A node's activations in order. Each takes the next alpha and the next beta if it reads one at all.

    That is how ONNX Runtime reads "the values are consumed in the order of activation functions". Raises `UsageError` for
    an unknown name, and where there are more numbers than are read but fewer meanings: then nobody can say whose they are.
    """
    for name in names:
        if name.lower() not in _SPELLINGS:
            raise UsageError(f"{who}: there is no activation '{name}'", expected=", ".join(FORMULAS))
    proper = [_SPELLINGS[name.lower()] for name in names]
    left = {
        "alpha": _numbers(who, "alpha", alphas, sum(FORMULAS[name].takes_alpha for name in proper)),
        "beta": _numbers(who, "beta", betas, sum(FORMULAS[name].takes_beta for name in proper)),
    }

    def take(kind: str, name: str, takes: bool, default: float | None) -> float:
        if not takes:
            return 0.0
        if left[kind]:
            return left[kind].pop(0)
        if default is None:
            raise UsageError(
                f"{who}: the activation '{name}' needs its {kind}", got="none", expected=f"activation_{kind}"
            )
        return default

    found = []
    for name in proper:
        formula = FORMULAS[name]
        alpha = take("alpha", name, formula.takes_alpha, formula.alpha)
        found.append(Activation(name, alpha, take("beta", name, formula.takes_beta, formula.beta)))
    return found


def _numbers(who: str, kind: str, given: Sequence[float], readers: int) -> list[float]:
    if readers and len(given) > readers:
        raise UsageError(
            f"{who}: activation_{kind} has more numbers than activations that read one",
            got=f"{len(given)} for {readers}",
            expected=f"{readers}, in the order of those activations",
        )
    return [float(number) for number in given]
