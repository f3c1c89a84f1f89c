"""What a network is made of, told in one way: what `layers.py` writes, whatever class it came from.

Cells, blocks and stacks of ours become it here; `modules.py` does the same for modules in torch's form. It knows nothing of
ONNX's graphs; only which activations a recurrent node has.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, Literal

import torch
from torch import Tensor, nn
from torch.nn.utils import parametrize

from recurra import kernels
from recurra.cells import CELLS, GRU, LSTM, MLSTM, SLSTM, Cell, Elman, FeedForward
from recurra.cells.linear import SweepCell
from recurra.cells.own import OwnCell
from recurra.errors import UsageError
from recurra.kernels import variants
from recurra.kernels.programs import Traced
from recurra.kernels.programs.program import Program, parse
from recurra.kernels.variants import Variant
from recurra.layers import Bidirectional, Block, Stack
from recurra.onnx.activations import Activation
from recurra.state import leaves

TANH = Activation("Tanh")


@dataclass(frozen=True)
class Recurrence:
    """One direction that a recurrent node of ONNX can be: gates in torch's order, biases[G*H] of the inputs and of the state.

    `operator` is ONNX's; `activation` and `clip` are for RNN, `reset_after` for GRU, `peepholes`[3, H] for LSTM.
    """

    operator: str
    weight_in: Tensor
    weight: Tensor
    bias_in: Tensor | None
    bias: Tensor | None
    activation: Activation = TANH
    clip: float | None = None
    reset_after: bool = True
    peepholes: Tensor | None = None
    reverse: bool = False

    @property
    def hidden(self) -> int:
        return self.weight.shape[1]

    @property
    def leaves(self) -> int:
        """How many tensors its state has."""
        return 2 if self.operator == "LSTM" else 1

    @property
    def node(self) -> tuple[Any, ...]:
        """What two directions must share to be one node."""
        return self.operator, self.hidden, self.clip, self.reset_after, self.peepholes is None


@dataclass(frozen=True)
class Scanned:
    """One direction of any other recurrence, as a program: `before` over all steps at once, then `loop` step by step.

    The loop reads the inputs if `keeps_inputs`, then what `before` emits; the first value that it emits are the outputs.
    Both read the same weights[M, K] and shared[.].
    """

    before: Program | None
    keeps_inputs: bool
    loop: Program
    weights: tuple[Tensor, ...]
    shared: tuple[Tensor, ...]
    reverse: bool = False

    @property
    def hidden(self) -> int:
        return self.loop.width(self.loop.emitted[0])

    @property
    def leaves(self) -> int:
        return len(self.loop.states)


@dataclass(frozen=True)
class Pointwise:
    """f(W x + b) at every step; `activation` is a name from `kernels.ACTIVATIONS`."""

    weight: Tensor
    bias: Tensor
    activation: str

    @property
    def hidden(self) -> int:
        return self.weight.shape[0]

    @property
    def leaves(self) -> int:
        return 0


Part = Recurrence | Scanned | Pointwise


@dataclass(frozen=True)
class Layer:
    """Parts over the same inputs, side by side; with `residual` the inputs are added to what they give."""

    parts: tuple[Part, ...]
    residual: bool = False


@dataclass(frozen=True)
class StateInput:
    """A tensor of the state as callers know it.

    `holds`: the (part, leaf) that it is, parts counted through all layers. Its shape is [B, width] or, `stacked`,
    [lines, B, width] with a line for each of them. `initial`[lines, width]: what a sequence starts from, if not from zeros.
    """

    name: str
    width: int
    holds: tuple[tuple[int, int], ...]
    stacked: bool = False
    initial: Tensor | None = None


@dataclass(frozen=True)
class Description:
    """Layers in a row, and the form of inputs and outputs: time first, batch first, or a single step without that axis."""

    layers: tuple[Layer, ...]
    inputs: int
    dtype: torch.dtype
    states: tuple[StateInput, ...]
    form: Literal["time", "batch", "step"] = "time"

    @property
    def parts(self) -> list[Part]:
        return [part for layer in self.layers for part in layer.parts]

    @property
    def hidden(self) -> int:
        """The width of its outputs."""
        return sum(part.hidden for part in self.layers[-1].parts)


NODE_ACTIVATIONS: dict[str, tuple[Activation, float | None]] = {
    "tanh": (Activation("Tanh"), None),
    "relu": (Activation("Relu"), None),
    "sigmoid": (Activation("Sigmoid"), None),
    "identity": (Activation("Affine", 1.0, 0.0), None),
    # what goes into an activation can be clipped: into none at all, that is this one
    "hardtanh": (Activation("Affine", 1.0, 0.0), 1.0),
    "hardsigmoid": (Activation("HardSigmoid", 1 / 6, 0.5), None),
    "leaky_relu": (Activation("LeakyRelu", 0.01), None),
    "softsign": (Activation("Softsign"), None),
    "softplus": (Activation("Softplus"), None),
    "elu": (Activation("Elu", 1.0), None),
}
"""Our activations as a recurrent node has them, and the clipping that belongs to them."""


def kind_of(network: Any) -> type:
    """The class of a network, or the one that torch's parametrize made its class from."""
    made = isinstance(network, nn.Module) and parametrize.is_parametrized(network)
    return type(network).__bases__[0] if made else type(network)


def describe(network: Any) -> Description:
    """A cell, `Bidirectional`, `Block` or `Stack`; raises `UsageError` for anything else."""
    # a class derived from one of ours may compute anything
    kind = kind_of(network)
    if kind is Stack:
        blocks: list[Any] = list(network.blocks)
    elif issubclass(kind, Cell) or kind in (Bidirectional, Block):
        blocks = [network]
    else:
        raise UsageError(
            "This has no ONNX form",
            got=type(network).__name__,
            expected="a cell, Bidirectional, Block, Stack, LanguageModel, Classifier, Regressor or an ensemble of them, or "
            "an RNN, GRU, LSTM or cell of torch.nn or recurra.nn",
        )
    layers = tuple(map(_layer, blocks))
    first = next(network.parameters(), torch.zeros(()))
    parts = [part for layer in layers for part in layer.parts]
    places = [(number, leaf) for number, part in enumerate(parts) for leaf in range(part.leaves)]
    state = leaves(network.initial_state(1)).items()
    states = tuple(StateInput(name, leaf.shape[1], (place,)) for (name, leaf), place in zip(state, places, strict=True))
    return Description(layers, network.inputs, checked_dtype(first.dtype), states)


def _layer(block: Any) -> Layer:
    kind = kind_of(block)
    if kind is Block:
        return replace(_layer(block.cell), residual=block.residual)
    if kind is Bidirectional:
        return Layer((_part(block.ahead), _part(block.back)))
    return Layer((_part(block),))


def _part(cell: Any) -> Part:
    kind = kind_of(cell)
    if kind is FeedForward:
        return Pointwise(plain(cell.weight_in), plain(cell.bias), cell.activation)
    if kind is Elman:
        weight_in, weight, bias = map(plain, (cell.weight_in, cell.weight_state, cell.bias))
        if cell.activation not in NODE_ACTIVATIONS:
            return stepped(variants.elman(weight, None, cell.activation), weight_in, bias, reverse=cell.reverse)
        activation, clip = NODE_ACTIVATIONS[cell.activation]
        return Recurrence("RNN", weight_in, weight, bias, None, activation, clip, reverse=cell.reverse)
    if kind is GRU:
        bias = torch.cat([cell.bias_state.new_zeros(2 * cell.hidden), cell.bias_state])
        return Recurrence(
            "GRU", plain(cell.weight_in), plain(cell.weight_state), plain(cell.bias), plain(bias),
            reset_after=cell.reset_after, reverse=cell.reverse,
        )  # fmt: skip
    if kind is LSTM:
        return Recurrence(
            "LSTM", plain(cell.weight_in), plain(cell.weight_state), plain(cell.bias), None, reverse=cell.reverse
        )
    if kind is OwnCell:
        traced = cell.programs[False]
        if isinstance(traced, str):
            raise UsageError(
                "This OwnCell has no ONNX form: its step is no program",
                got=f"it runs {cell.explain()}",
                fix="Write the step with operations that can be one",
            )
        return scanned(traced, {name: plain(getattr(cell, name)) for name in cell.names}, cell.reverse)
    if kind in WITHOUT_FORM:
        raise UsageError(
            f"A cell has no ONNX form: {WITHOUT_FORM[kind]}", got=kind.__name__, expected="a cell of another kind"
        )
    if issubclass(kind, SweepCell) and kind in CELLS.values():
        return _swept(cell)
    raise UsageError(
        "This cell has no ONNX form", got=type(cell).__name__, expected="OwnCell, or a cell of `CELLS` itself"
    )


WITHOUT_FORM: dict[type, str] = {
    MLSTM: "its state is a matrix for each head, and nodes have rows",
    SLSTM: "the products of its heads are not written as nodes yet",
}


@dataclass(frozen=True)
class _SweepStep:
    """A step of a sweep that makes its sums from the inputs themselves, and what reads it; emits the output."""

    sweep: str
    activation: str

    def __call__(
        self, x: Tensor, state: tuple[Tensor, ...], given: Mapping[str, Tensor]
    ) -> tuple[tuple[Tensor, ...], tuple[Tensor, ...]]:
        sums = x @ given["weight_in"].T + given["bias_in"] if "weight_in" in given else x
        if "bias_gates" in given:
            sums = torch.cat([sums, sums @ given["gates"].T + given["bias_gates"]], dim=1)
        elif "gates" in given:
            sums = sums + state[0] @ given["gates"].T
        numbers = tuple(value for name, value in given.items() if name.startswith("number"))
        after = kernels.SWEEPS[self.sweep].step(sums, state, numbers)
        output = torch.cat(after[: kernels.SWEEPS[self.sweep].emits], dim=1)
        if "readout" in given:
            output = output @ given["readout"].T
        if "skip" in given:
            output = output + given["skip"] * x
        return after, (kernels.ACTIVATIONS[self.activation](output),)


def _swept(cell: SweepCell) -> Scanned:
    found = cell.sweep_parameters()
    given = {"weight_in": found.weight_in, "bias_in": found.bias_in, "bias_gates": found.bias_gates}
    if found.weight_gates is not None:
        width = found.weight_gates.shape[2]
        given["gates"] = torch.cat([torch.block_diag(*gate.split(width)) for gate in found.weight_gates])
    if found.own is not None:
        given |= {f"number_{at}": value for at, value in enumerate(kernels.SWEEPS[cell.sweep].numbers(found.own))}
    given |= {name: getattr(cell, name, None) for name in ("readout", "skip")}
    parameters = {name: plain(value) for name, value in given.items() if value is not None}
    rows = tuple(leaf.detach() for leaf in vars(cell.initial_state(1)).values())
    sizes = kernels.sizes_of((rows[0].new_empty(1, cell.inputs),), rows, {}, parameters, True)
    traced = kernels.traced_step(_SweepStep(cell.sweep, getattr(cell, "activation", "identity")), sizes)
    if isinstance(traced, str):
        raise AssertionError(f"the step of '{cell.sweep}' is no program: {traced}")
    return scanned(traced, parameters, cell.reverse)


# ---- recurrences as programs


def scanned(traced: Traced, parameters: Mapping[str, Tensor], reverse: bool) -> Scanned:
    """A step's program with the parameters it runs with; what depends on them alone is computed now."""
    values = list(parameters.values())
    if traced.once is not None:
        values = [value.detach() for value in traced.once(*values)]
    elif traced.order is not None:
        values = [values[at] for at in traced.order]
    weights, shared = tuple(values[: traced.weights]), tuple(values[traced.weights :])
    hoisted = traced.hoisted
    return Scanned(hoisted.before, 0 in hoisted.kept, parse(hoisted.text), weights, shared, reverse)


Normalise = Callable[[Tensor, Tensor], Tensor]
"""(the product of the inputs[B, .], gains) -> the product, normalised."""


@dataclass(frozen=True)
class _WithInputs:
    """A step of `kernels.steps` that makes its sums from the inputs themselves; emits the outputs alone."""

    step: Any
    normalise: Normalise | None

    def __call__(
        self, x: Any, state: tuple[Tensor, ...], given: Mapping[str, Tensor]
    ) -> tuple[tuple[Tensor, ...], tuple[Tensor, ...]]:
        sums = x @ given["weight_in"].T
        sums = sums if self.normalise is None else self.normalise(sums, given["norm_in"])
        after, emitted = self.step((sums + given["bias_in"] if "bias_in" in given else sums,), state, given)
        return after, emitted[:1]


def stepped(
    variant: Variant,
    weight_in: Tensor,
    bias_in: Tensor | None,
    *,
    reverse: bool,
    widths: Sequence[int] | None = None,
    norm_in: Tensor | None = None,
    normalise: Normalise | None = None,
) -> Scanned:
    """A variant of a kernel with the product of its inputs, as a program. `widths`: of the state, H if not said."""
    parameters = {"weight_in": weight_in, "bias_in": bias_in, "norm_in": norm_in, **variant.parameters}
    present = {name: value for name, value in parameters.items() if value is not None}
    rows = tuple(weight_in.new_empty(1, width) for width in (widths or (weight_in.shape[0],)))
    sizes = kernels.sizes_of((weight_in.new_empty(1, weight_in.shape[1]),), rows, {}, present, True)
    traced = kernels.traced_step(_WithInputs(variant.step, normalise), sizes)
    if isinstance(traced, str):
        raise AssertionError(f"the step of '{variant.kernel}' is no program: {traced}")
    return scanned(traced, present, reverse)


# ---- parameters


def plain(parameter: Any) -> Tensor:
    return parameter.detach().cpu()


def checked_dtype(dtype: torch.dtype) -> torch.dtype:
    """The dtype, if numbers of it are written; raises `UsageError`."""
    if dtype not in (torch.float32, torch.float64):
        raise UsageError(
            "Only float32 and float64 are written to ONNX", got=dtype, fix="Convert a copy first: network.float()"
        )
    return dtype
