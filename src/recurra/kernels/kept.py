"""Weights kept packed between calls, for sequences so short that packing them again would cost more than running them.

A step of one session, or of many at once, goes straight to the native build, around the dispatcher of torch: that is only
right where nothing else wants to see the call, which `direct` asks. Kept weights are used only while they are still what
they were made from: the same memory, no operation of torch has written to it since, and (for writers that torch does not
count, such as `parameter.data.copy_`) a sample of their numbers is unchanged.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from operator import attrgetter
from typing import Any
from zlib import crc32

import torch
from torch import Tensor, nn

from recurra.kernels import native
from recurra.kernels.native import ACTIVATIONS, capsule
from recurra.kernels.sweeps import SWEEPS, Parameters
from recurra.kernels.transforms import unwatched

MOST_ROWS = 8192
"""Steps times rows of a call up to which kept weights are worth their memory."""

_version = attrgetter("_version")
_NETWORKS: dict[torch.dtype, str] = {torch.float32: "32", torch.float64: "64"}


@dataclass(frozen=True)
class LayerWeights:
    """One layer as the kernels take it: `kernel` is a name from the table of kernels, the rest are its arguments."""

    kernel: str
    weight_in: Tensor
    weight: Tensor
    bias_in: Tensor | None = None
    bias: Tensor | None = None
    peepholes: Tensor | None = None
    projection: Tensor | None = None
    activation: str = "tanh"
    reset_after: bool = True
    reverse: bool = False
    residual: bool = False
    bias_state: Tensor | None = None
    """torch's second bias [G*H], in place of `bias`: added to `bias_in`, but for a GRU's candidate, whose `bias` it is."""

    @property
    def tensors(self) -> list[Tensor]:
        every = (
            self.weight_in, self.weight, self.bias_in, self.bias, self.peepholes, self.projection, self.bias_state,
        )  # fmt: skip
        return [tensor for tensor in every if tensor is not None]


@dataclass(frozen=True)
class SweepLayer:
    """One layer that is a sweep: `kernel` is a name from the table of sweeps.

    By choice what it gives is read by `readout`[H, .], the inputs are added times `skip`[H], and an activation follows.
    """

    kernel: str
    inputs: int
    units: int
    parameters: Parameters
    heads: int = 0
    """Of an mLSTM."""
    readout: Tensor | None = None
    skip: Tensor | None = None
    activation: str = "identity"
    """"identity" or "relu"."""
    reverse: bool = False
    residual: bool = False

    @property
    def tensors(self) -> list[Tensor]:
        return self.parameters.tensors + [value for value in (self.readout, self.skip) if value is not None]


def direct() -> bool:
    """Whether a call may go around the dispatcher: nobody watches it, no gradient is recorded, and there are kernels."""
    return not torch.is_grad_enabled() and unwatched() and native.usable()


_SETTINGS = ("activation", "reset_after", "reverse", "residual", "mode", "nonlinearity", "options")
"""Attributes of cells, blocks and the modules in torch's form that are packed along with their weights."""


def _edges_of(part: nn.Module) -> list[tuple[dict[str, Any], str]]:
    """Where a module holds what its kept weights depend on: parameters (also absent ones), parts, settings."""
    edges: list[tuple[dict[str, Any], str]] = [(part._parameters, name) for name in part._parameters]
    edges += [(part._modules, name) for name in part._modules]
    return edges + [(part.__dict__, name) for name in _SETTINGS if name in part.__dict__]


class Kept:
    """Some layers in a row, an embedding before them and products after them by choice, with their weights packed.

    Arguments: the module whose parameters they are; layers; table[V, I], from which tokens choose the inputs; heads,
    (weight[V, H], bias[V] or None) each; paired: two layers at a time read the same inputs, their outputs side by side.
    """

    def __init__(
        self,
        owner: nn.Module,
        layers: Sequence[LayerWeights | SweepLayer],
        table: Tensor | None = None,
        heads: Sequence[tuple[Tensor, Tensor | None]] = (),
        paired: bool = False,
    ) -> None:
        self.dtype = layers[0].tensors[0].dtype
        self.network: Any = getattr(native.module(), f"Network{_NETWORKS[self.dtype]}")()
        if paired:
            self.network.pair_layers()
        self.columns = heads[-1][0].shape[0] if heads else 0
        for layer in layers:
            if isinstance(layer, SweepLayer):
                self._add_sweep(layer)
                continue
            cell = {"elman": 0, "gru": 1 if layer.reset_after else 2, "lstm": 3}[layer.kernel]
            self.network.add_layer(
                cell, ACTIVATIONS[layer.activation], layer.reverse, layer.residual, self._take(layer.weight_in),
                self._take(layer.bias_in), self._take(layer.weight), self._take(layer.bias),
                self._take(layer.peepholes), self._take(layer.projection), self._take(layer.bias_state),
            )  # fmt: skip
        if table is not None:
            self.network.set_symbols(self._take(table))
        for weight, bias in heads:
            self.network.add_head(self._take(weight), self._take(bias))
        edges = [edge for part in owner.modules() for edge in _edges_of(part)]
        ends = [inside[name] for inside, name in edges]
        insides = [inside for part in owner.modules() for inside in (part._parameters, part._modules)]
        self._parameters = [end for end in ends if isinstance(end, Tensor)]
        versions, pointers = ([look(one) for one in self._parameters] for look in (_version, Tensor.data_ptr))
        self._held = edges, ends, insides, list(map(len, insides)), self._parameters, versions, pointers
        self._digest = self.digest()
        self._unmoved = native.module().unmoved

    def _add_sweep(self, layer: SweepLayer) -> None:
        *parameters, own = layer.parameters.all
        own = None if own is None else own.view(-1, layer.units)  # its memory, whatever its shape
        block = layer.units // layer.heads if layer.heads else 0
        self.network.add_sweep(
            SWEEPS[layer.kernel].number, ACTIVATIONS[layer.activation], layer.reverse, layer.residual, layer.inputs,
            layer.units, block, [self._take(value) for value in (*parameters, own)], self._take(layer.readout),
            self._take(layer.skip),
        )  # fmt: skip

    @staticmethod
    def _take(tensor: Tensor | None) -> Any:
        return None if tensor is None else capsule(tensor.detach())

    def current(self) -> bool:
        """Whether the weights are still what was packed."""
        return self._unmoved(*self._held) and self.network.unchanged()

    def digest(self) -> int:
        """A checksum of all weights: for where there is time to look at every number."""
        found = 0
        for parameter in self._parameters:
            numbers: Any = parameter.detach().contiguous().view(torch.uint8).numpy()
            found = crc32(numbers, found)
        return found

    def exactly_current(self) -> bool:
        """`current`, and every number is what it was."""
        return self.current() and self.digest() == self._digest

    def stepper(self) -> Any:
        """A new native stepper over this network, its state all zeros."""
        return getattr(native.module(), f"Stepper{_NETWORKS[self.dtype]}")(self.network)

    def run(
        self, x: Tensor, lengths: Tensor | None, resets: Tensor | None, states: Sequence[Tensor], width: int
    ) -> tuple[Tensor, list[Tensor]] | None:
        """x[T, B, I], lengths[B], resets[T, B] and the leaves of a state -> outputs[T, B, width], the last state's leaves.

        All contiguous. None where a length is out of range.
        """
        outputs, last = self._results(x, states, width)
        return (outputs, last) if self.run_into(x, states, outputs, last, lengths, resets) else None

    def run_into(
        self, x: Tensor, states: Sequence[Tensor], outputs: Tensor, last: Sequence[Tensor],
        lengths: Tensor | None = None, resets: Tensor | None = None,
    ) -> bool:  # fmt: skip
        """`run` into given tensors, which are none of those that are read. False, and nothing is done, as there."""
        return self.network.run(
            capsule(x), None if lengths is None else capsule(lengths), None if resets is None else capsule(resets),
            [capsule(state) for state in states], capsule(outputs), [capsule(state) for state in last],
            torch.get_num_threads(),
        )  # fmt: skip

    def run_stacked(
        self, steps: int, batch: int, x: Tensor, states: Sequence[Tensor] | None, last: Sequence[Tensor],
        outputs: Tensor | None = None, lengths: Tensor | None = None, resets: Tensor | None = None,
    ) -> bool:  # fmt: skip
        """`run` into given tensors (contiguous), with states as torch has them: h[L, B, H] and for an LSTM c, zeros for None.

        What x and the states lack of three axes is one. False, and nothing is done, where x or a state are of another
        size or dtype or not contiguous, or a length is out of range. `outputs` may be left out.
        """
        h, c = (None, None) if states is None else (capsule(states[0]), capsule(states[1]) if states[1:] else None)
        return self.network.run_stacked(
            steps, batch, capsule(x), h, c, None if outputs is None else capsule(outputs), capsule(last[0]),
            capsule(last[1]) if last[1:] else None, None if lengths is None else capsule(lengths),
            None if resets is None else capsule(resets), torch.get_num_threads(),
        )  # fmt: skip

    def run_beside(
        self, other: Kept, x: Tensor, lengths: Tensor | None, resets: Tensor | None, states: Sequence[Tensor],
        other_states: Sequence[Tensor], widths: tuple[int, int],
    ) -> tuple[tuple[Tensor, list[Tensor]], tuple[Tensor, list[Tensor]]] | None:  # fmt: skip
        """What `run` of this and of `other` (one layer each) give on the same inputs, side by side on the threads."""
        outputs, last = self._results(x, states, widths[0])
        other_outputs, other_last = other._results(x, other_states, widths[1])
        done = self.network.run_beside(
            other.network, capsule(x), None if lengths is None else capsule(lengths),
            None if resets is None else capsule(resets), [capsule(state) for state in states], capsule(outputs),
            [capsule(state) for state in last], [capsule(state) for state in other_states], capsule(other_outputs),
            [capsule(state) for state in other_last], torch.get_num_threads(),
        )  # fmt: skip
        return ((outputs, last), (other_outputs, other_last)) if done else None

    def _results(self, x: Tensor, states: Sequence[Tensor], width: int) -> tuple[Tensor, list[Tensor]]:
        outputs = torch.empty((x.shape[0], x.shape[1], width), dtype=self.dtype)
        return outputs, [torch.empty_like(state) for state in states]

    def run_tokens(self, tokens: Tensor, states: Sequence[Tensor]) -> tuple[Tensor, list[Tensor]]:
        """tokens[T, B] and the leaves of a state (contiguous) -> the heads' outputs[B, V] after the last, its leaves."""
        outputs = torch.empty((tokens.shape[1], self.columns), dtype=self.dtype)
        last = [torch.empty_like(state) for state in states]
        self.network.run_tokens(
            capsule(tokens), [capsule(state) for state in states], capsule(outputs),
            [capsule(state) for state in last], torch.get_num_threads(),
        )  # fmt: skip
        return outputs, last


def keepable(owner: nn.Module, layers: Sequence[LayerWeights | SweepLayer], *others: Tensor | None) -> bool:
    """Whether the native build can keep these weights: parameters of `owner` itself, on the CPU, of one dtype, contiguous.

    What is computed from parameters, as a parametrised weight is, has another value at every look and is not kept.
    """
    own = set(map(id, owner.parameters()))
    tensors = [tensor for layer in layers for tensor in layer.tensors] + [t for t in others if t is not None]
    dtype = tensors[0].dtype
    return dtype in _NETWORKS and all(
        id(tensor) in own
        and tensor.device.type == "cpu"
        and tensor.dtype == dtype
        and tensor.is_contiguous()
        and not tensor.is_inference()
        and not tensor.is_shared()  # another process may write there, and nobody here would notice
        for tensor in tensors
    ) and all(layer.activation in ACTIVATIONS for layer in layers)  # fmt: skip
