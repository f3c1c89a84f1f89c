"""What the floors above call: the layers of the table with all their options.

A plain layer is one operation with a kernel of its own. With an option that no kernel has (a norm, zoneout, another
activation, ...) its step becomes a program, once for each set of options and sizes, and the same native loop runs it.
"""

from __future__ import annotations

from torch import Tensor

from recurra.kernels import gpu, layer_programs, native, ops, variants
from recurra.kernels.ops import needed
from recurra.kernels.variants import Zoneout, without_forget


def elman(
    x: Tensor,
    h: Tensor,
    weight: Tensor,
    *,
    weight_in: Tensor | None = None,
    bias_in: Tensor | None = None,
    tokens: Tensor | None = None,
    lengths: Tensor | None = None,
    resets: Tensor | None = None,
    mask: Tensor | None = None,
    activation: str = "tanh",
    norm: Tensor | None = None,
    zoneout: Zoneout = None,
    reverse: bool = False,
    keep: bool = False,
) -> tuple[Tensor, Tensor, Tensor]:
    """An Elman layer over a whole sequence, `reference.elman` in meaning. The gates are empty unless kept.

    norm[H] are gains of the layer normalisation of the recurrent product; zoneout[T, B, H] or a number.
    """
    if norm is None and zoneout is None and activation in native.ACTIVATIONS:
        return ops.layer(
            "elman", x, h, weight, weight_in, bias_in, tokens, lengths, resets, mask, activation, reverse, keep,
            gates=keep,
        )  # fmt: skip
    x = layer_programs.project(x, weight_in, bias_in, tokens, lengths)
    variant = variants.elman(weight, mask, activation, norm, zoneout)
    outputs, h, gates = layer_programs.run(variant, x, (h,), lengths, resets, reverse, keep)
    return outputs, h, gates


def gru(
    x: Tensor,
    h: Tensor,
    weight: Tensor,
    bias: Tensor | None = None,
    *,
    weight_in: Tensor | None = None,
    bias_in: Tensor | None = None,
    tokens: Tensor | None = None,
    lengths: Tensor | None = None,
    resets: Tensor | None = None,
    mask: Tensor | None = None,
    reset_after: bool = True,
    norm: Tensor | None = None,
    gate_activation: str = "sigmoid",
    activation: str = "tanh",
    zoneout: Zoneout = None,
    reverse: bool = False,
    keep: bool = False,
) -> tuple[Tensor, Tensor, Tensor]:
    """A GRU layer over a whole sequence, `reference.gru` in meaning. The gates are empty unless kept or recorded.

    norm[3H] are gains of the layer normalisation of the recurrent products; zoneout[T, B, H] or a number.
    """
    plain = norm is None and zoneout is None and (gate_activation, activation) == ("sigmoid", "tanh")
    if plain and not (h.is_cuda and gpu.by_program(h.dtype, not reset_after)):
        kept = keep or needed(x, h, weight, bias, weight_in, bias_in)
        return ops.layer(
            "gru", x, h, weight, bias, weight_in, bias_in, tokens, lengths, resets, mask, reset_after, reverse, kept,
            gates=keep,
        )  # fmt: skip
    x = layer_programs.project(x, weight_in, bias_in, tokens, lengths)
    variant = variants.gru(weight, bias, mask, reset_after, norm, gate_activation, activation, zoneout)
    outputs, h, gates = layer_programs.run(variant, x, (h,), lengths, resets, reverse, keep)
    return outputs, h, gates


def lstm(
    x: Tensor,
    h: Tensor,
    c: Tensor,
    weight: Tensor,
    *,
    weight_in: Tensor | None = None,
    bias_in: Tensor | None = None,
    tokens: Tensor | None = None,
    lengths: Tensor | None = None,
    resets: Tensor | None = None,
    mask: Tensor | None = None,
    peepholes: Tensor | None = None,
    projection: Tensor | None = None,
    norm: Tensor | None = None,
    norm_cell: Tensor | None = None,
    coupled: bool = False,
    clip: float | None = None,
    gate_activation: str = "sigmoid",
    activation: str = "tanh",
    zoneout: Zoneout = None,
    zoneout_cell: Zoneout = None,
    reverse: bool = False,
    keep: bool = False,
) -> tuple[Tensor, Tensor, Tensor, Tensor, Tensor]:
    """An LSTM layer over a whole sequence, `reference.lstm` in meaning. Gates and cells are empty unless kept or recorded.

    norm[4H] are gains of the layer normalisation of the recurrent product, norm_cell[2, H] gain and bias of that of c';
    coupled: f = 1 - i, the forget gate's own sums are not used; clip: the bound of |c'|; zoneouts [T, B, .] or numbers.
    """
    options = (norm, norm_cell, coupled, clip, gate_activation, activation, zoneout, zoneout_cell)
    plain = options == (None, None, False, None, "sigmoid", "tanh", None, None)
    if plain and not (h.is_cuda and gpu.by_program(h.dtype, peepholes is not None or projection is not None)):
        kept = keep or needed(x, h, c, weight, weight_in, bias_in, peepholes, projection)
        return ops.layer(
            "lstm", x, h, c, weight, weight_in, bias_in, tokens, lengths, resets, mask, peepholes, projection, reverse,
            kept, gates=keep,
        )  # fmt: skip
    if coupled:
        weight_in, bias_in = (value if value is None else without_forget(value) for value in (weight_in, bias_in))
        # sums that came without those of the forget gate stay
        x = without_forget(x, dim=-1) if weight_in is None and x.shape[-1] == weight.shape[0] else x
    x = layer_programs.project(x, weight_in, bias_in, tokens, lengths)
    variant = variants.lstm(weight, mask, peepholes, projection, *options)
    outputs, h, c, gates, cells = layer_programs.run(variant, x, (h, c), lengths, resets, reverse, keep)
    return outputs, h, c, gates, cells
