"""One call of a whole module: from torch's forms of input and state to layers over time-first tensors, and back."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor
from torch.nn.utils.rnn import PackedSequence, pack_padded_sequence, pad_packed_sequence

from recurra.cells.cell import check_sequence
from recurra.errors import DataError, UsageError
from recurra.nn import extras, fallback, layer, precision
from recurra.nn.options import PLAIN

States = tuple[Tensor, ...]
"""h, and for an LSTM c."""
Result = tuple[Any, Any, dict[str, Any]]


def run(module: Any, input: Any, hx: Any, lengths: Any, resets: Tensor | None, *, keep: bool) -> Result:
    """Outputs, the last hx and, if `keep`, the inner values, all in the form of the input."""
    if isinstance(input, PackedSequence):
        if lengths is not None or resets is not None:
            raise UsageError(
                f"{module.mode}: a PackedSequence takes neither lengths nor resets", fix="Hand in the padded tensor"
            )
        return _packed(module, input, hx, keep)
    return _padded(module, input, hx, lengths, resets, keep)


def _padded(module: Any, input: Tensor, hx: Any, lengths: Any, resets: Tensor | None, keep: bool) -> Result:
    batched = input.dim() == 3
    _check_dims(module, input, hx, batched)
    x = input if batched else input.unsqueeze(0 if module.batch_first else 1)
    if hx is not None and not batched:
        hx = _mapped(hx, lambda state: state.unsqueeze(1))
    states = extras.initial(module, x.size(0 if module.batch_first else 1), x) if hx is None else hx
    extras.check_args(module, x, states, None)
    x = x.transpose(0, 1) if module.batch_first else x
    if resets is not None:
        resets = torch.as_tensor(resets, device=x.device)
        resets = resets.unsqueeze(1) if not batched else resets.transpose(0, 1) if module.batch_first else resets
        if module.options.learn_initial_state:
            raise UsageError(f"{module.mode}: resets start from zeros, not from a learnt state", fix="Leave one out")
    lengths = _lengths(lengths, x)

    def restore(values: Tensor) -> Tensor:
        return values.squeeze(1) if not batched else values.transpose(0, 1) if module.batch_first else values

    plain = lengths is None and resets is None and module.options is PLAIN and not keep
    dtype = _dtype(module, x, states, hx is not None, packed=False)
    if dtype is None or (plain and fallback.theirs(module, x, states)):
        outputs, last = _by_torch(module, x, None, states, plain)
        inner: dict[str, Any] = {}
    else:
        if lengths is not None or resets is not None:
            check_sequence(module.mode, x, module.input_size, lengths, resets)
        with precision.decided(x.device):
            outputs, last, inner = _layers(module, x, states, dtype, lengths, resets, keep, F.dropout)
        outputs, last = _projected(module, outputs, last)
        inner = {name: restore(values) for name, values in inner.items()}
    last = last if batched else _mapped(last, lambda state: state.squeeze(1))
    return restore(outputs), last, inner


def _packed(module: Any, input: PackedSequence, hx: Any, keep: bool) -> Result:
    data, batch_sizes, sorted_indices, unsorted_indices = input
    states = extras.initial(module, int(batch_sizes[0]), data) if hx is None else hx
    if hx is not None and sorted_indices is not None:
        states = _mapped(states, lambda state: state.index_select(1, sorted_indices))
    # torch leaves an LSTM's sizes to its own function here, and so do we
    if module.mode != "LSTM" or module.options.hidden_sizes is not None:
        extras.check_args(module, data, states, batch_sizes)
    plain = module.options is PLAIN and not keep
    dtype = _dtype(module, data, states, hx is not None, packed=True)

    def packed(values: Tensor) -> PackedSequence:
        return PackedSequence(values, batch_sizes, sorted_indices, unsorted_indices)

    inner: dict[str, Any] = {}
    if dtype is None or (plain and fallback.theirs(module, data, states)) or not _sizes_fit(module, input, states):
        outputs, last = _by_torch(module, data, batch_sizes, states, plain)
    else:
        x, ends = pad_packed_sequence(PackedSequence(data, batch_sizes))

        def pack(values: Tensor) -> Tensor:
            return pack_padded_sequence(values, ends).data

        def drop(values: Tensor, share: float) -> Tensor:
            # what torch draws for packed data is as long as they are
            return pad_packed_sequence(PackedSequence(F.dropout(pack(values), share), batch_sizes))[0]

        with precision.decided(x.device):
            outputs, last, inner = _layers(module, x, states, dtype, ends.to(x.device), None, keep, drop)
        outputs, last = _projected(module, outputs, last)
        outputs, inner = pack(outputs), {name: packed(pack(values)) for name, values in inner.items()}
    if unsorted_indices is not None:
        last = _mapped(last, lambda state: state.index_select(1, unsorted_indices))
    return packed(outputs), last, inner


def _layers(
    module: Any, x: Tensor, states: Any, dtype: torch.dtype, lengths: Tensor | None, resets: Tensor | None, keep: bool,
    drop: Callable[[Tensor, float], Tensor],
) -> tuple[Tensor, Any, dict[str, Tensor]]:  # fmt: skip
    """x[T, B, I] through all layers -> outputs[T, B, D*H], the last hx, the inner values."""
    x = x.to(dtype)
    per_layer = [tuple(state.to(dtype) for state in one) for one in extras.split(module, states)]
    directions = 2 if module.bidirectional else 1
    last: list[States] = []
    inner: dict[str, Tensor] = {}
    for k in range(module.num_layers):
        outputs: list[Tensor] = []
        for reverse in (False, True)[:directions]:
            suffix = f"_l{k}_reverse" if reverse else f"_l{k}"
            one, state, values = layer.run(
                module, suffix, x, per_layer[len(last)], lengths, resets, reverse=reverse, keep=keep
            )
            outputs.append(one)
            last.append(state)
            if keep:
                inner |= {f"{suffix[1:]}.{name}": value for name, value in {**values, "outputs": one}.items()}
        x = outputs[0] if directions == 1 else torch.cat(outputs, dim=-1)
        if module.dropout and module.training and k + 1 < module.num_layers:
            x = drop(x, module.dropout)
    return x, extras.joined(module, last), inner


def _projected(module: Any, outputs: Tensor, hx: Any) -> tuple[Tensor, Any]:
    """Under autocast what a projection gives is in autocast's dtype, as torch's product has it, and the cell is not."""
    cast = precision.autocast_dtype(outputs.device)
    if not module.proj_size or cast is None:
        return outputs, hx
    return outputs.to(cast), (_mapped(hx[0], lambda state: state.to(cast)), hx[1])


def _by_torch(module: Any, x: Tensor, batch_sizes: Tensor | None, states: Any, plain: bool) -> tuple[Tensor, Any]:
    """torch's own function: its results, or its error where things do not go together."""
    if module.options.hidden_sizes is None:
        outputs, last = fallback.run(module, x, batch_sizes, extras.leaves(states))
        if plain:
            return outputs, last if module.kernel == "lstm" else last[0]
    raise DataError(f"{module.mode}: inputs, states and weights do not go together in dtype or device", got=x.dtype)


def _dtype(module: Any, x: Tensor, states: Any, given: bool, *, packed: bool) -> torch.dtype | None:
    """The dtype to run in, or None where torch's own function is to say what is wrong."""
    leaves = extras.leaves(states)
    weight = module.weight_ih_l0
    if (not packed and x.size(0) == 0) or any(one.device != x.device for one in (weight, *leaves)):
        return None
    fused = not packed and module.proj_size == 0 and module.options is PLAIN
    dtype = precision.result_dtype(module.kernel, x, leaves if given else None, fused=fused)
    if precision.autocast_dtype(x.device) is None and any(one.dtype != dtype for one in (weight, *leaves)):
        return None
    return dtype


def _sizes_fit(module: Any, input: PackedSequence, states: Any) -> bool:
    if module.mode != "LSTM" or module.options.hidden_sizes is not None:
        return True
    data, batch_sizes = input[:2]
    expected = [
        module.get_expected_hidden_size(data, batch_sizes), module.get_expected_cell_size(data, batch_sizes)
    ]  # fmt: skip
    return data.dim() == 2 and data.size(1) == module.input_size and [tuple(s.shape) for s in states] == expected


def _lengths(lengths: Any, x: Tensor) -> Tensor | None:
    if lengths is None:
        return None
    try:
        lengths = torch.as_tensor(lengths, device=x.device)
    except (TypeError, ValueError) as error:
        raise DataError("The lengths are wrong", got=repr(lengths), expected="whole numbers") from error
    if lengths.is_floating_point() or lengths.is_complex() or lengths.dtype == torch.bool:
        raise DataError("The lengths are wrong", got=lengths.dtype, expected="whole numbers")
    return lengths.to(torch.int64)


def _mapped(hx: Any, function: Callable[[Tensor], Tensor]) -> Any:
    return function(hx) if isinstance(hx, Tensor) else tuple(_mapped(one, function) for one in hx)


def _check_dims(module: Any, input: Tensor, hx: Any, batched: bool) -> None:
    """torch's checks of the number of axes, in its words."""
    name = "RNN" if module.kernel == "elman" else module.mode
    if input.dim() not in (2, 3):
        what = "D tensor instead" if name == "RNN" else "D instead"
        raise ValueError(f"{name}: Expected input to be 2D or 3D, got {input.dim()}{what}")
    if hx is None or module.options.hidden_sizes is not None:
        return
    axes = 3 if batched else 2
    case = "batched 3-D" if batched else "unbatched 2-D"
    if module.kernel != "lstm":
        if hx.dim() != axes:
            raise RuntimeError(f"For {case} input, hx should also be {axes}-D but got {hx.dim()}-D tensor")
    elif hx[0].dim() != axes or hx[1].dim() != axes:
        raise RuntimeError(
            f"For {case} input, hx and cx should also be {axes}-D but got ({hx[0].dim()}-D, {hx[1].dim()}-D) tensors"
        )
