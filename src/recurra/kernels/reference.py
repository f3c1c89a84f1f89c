"""The truth: every kernel as plain torch, a step at a time. Runs anywhere, in any dtype, and differentiates itself.

A fast version is right when it gives what stands here, in outputs, states and all gradients. Shapes: x[T, B, I] are the
inputs; states are [B, H]; weight[G*H, H] acts on the state. All functions share

- weight_in[G*H, I]: acts on the inputs; without it they are what it would have given, [T, B, G*H];
- bias_in[G*H]: added to that;
- tokens[T, B]: with them x[V, I] is a table, and step t of row b reads its line tokens[t, b];
- lengths[B]: row b takes part in the first lengths[b] steps; after them its outputs are zero and its state stays;
- resets[T, B]: true starts row b from zeros before step t, and no gradient crosses;
- mask[B, H]: multiplies the state inside its matrix product (dropout fixed over time, Gal and Ghahramani 2016);
- norm[G*H]: gains of the layer normalisation of that product (Ba, Kiros and Hinton 2016, equations 20 to 22);
- reverse: the steps are taken from the last to the first;
- keep: whether the second kind of result, the gates, is built; without it that tensor is empty.
"""

from __future__ import annotations

from collections.abc import Callable

import torch
import torch.nn.functional as F
from torch import Tensor

ACTIVATIONS: dict[str, Callable[[Tensor], Tensor]] = {
    "tanh": torch.tanh,
    "relu": torch.relu,
    "sigmoid": torch.sigmoid,
    "identity": lambda z: z,
    "hardtanh": F.hardtanh,
    "hardsigmoid": F.hardsigmoid,
    "leaky_relu": F.leaky_relu,
    "softsign": F.softsign,
    "softplus": F.softplus,
    "elu": F.elu,
    "gelu": F.gelu,
    "silu": F.silu,
    "sin": torch.sin,
}

Step = Callable[[Tensor, tuple[Tensor, ...]], tuple[tuple[Tensor, ...], tuple[Tensor, ...]]]


def elman(
    x: Tensor,
    h: Tensor,
    weight: Tensor,
    weight_in: Tensor | None,
    bias_in: Tensor | None,
    tokens: Tensor | None,
    lengths: Tensor | None,
    resets: Tensor | None,
    mask: Tensor | None,
    norm: Tensor | None,
    activation: str,
    reverse: bool,
    keep: bool,
) -> tuple[Tensor, Tensor, Tensor]:
    """S_t = f(z_t), z_t = x_t + W S_{t-1} (Elman 1990). Returns (outputs[T,B,H], h_last[B,H], gates[T,B,H] = z)."""
    x = _project(x, weight_in, bias_in, tokens, lengths)
    function = ACTIVATIONS[activation]

    def step(x_t: Tensor, state: tuple[Tensor, ...]) -> tuple[tuple[Tensor, ...], tuple[Tensor, ...]]:
        z = x_t + _product(state[0], weight, mask, norm)
        s = function(z)
        return (s,), (s, z)

    (outputs, gates), (h_last,) = _run(step, x, (h,), lengths, resets, reverse, widths=(h.shape[1], h.shape[1]))
    return outputs, h_last, gates if keep else x.new_empty(0)


def gru(
    x: Tensor,
    h: Tensor,
    weight: Tensor,
    bias: Tensor | None,
    weight_in: Tensor | None,
    bias_in: Tensor | None,
    tokens: Tensor | None,
    lengths: Tensor | None,
    resets: Tensor | None,
    mask: Tensor | None,
    norm: Tensor | None,
    reset_after: bool,
    reverse: bool,
    keep: bool,
) -> tuple[Tensor, Tensor, Tensor]:
    """The gated recurrent unit (Cho et al. 2014). Returns (outputs[T,B,H], h_last[B,H], gates[T,B,4H] = r, z, n, q).

    r = σ(x_r + W_r S), z = σ(x_z + W_z S), n = tanh(x_n + r q), S' = (1 - z) n + z S, where q = W_n S + bias as cuDNN and
    torch have it; with reset_after false q = W_n (r S) + bias and n = tanh(x_n + q), as the paper has it.
    """
    x = _project(x, weight_in, bias_in, tokens, lengths)
    hidden = h.shape[1]
    weight_rz, weight_n = weight.split([2 * hidden, hidden])
    norm_rz, norm_n = (None, None) if norm is None else norm.split([2 * hidden, hidden])

    def step(x_t: Tensor, state: tuple[Tensor, ...]) -> tuple[tuple[Tensor, ...], tuple[Tensor, ...]]:
        s = state[0]
        x_rz, x_n = x_t.split([2 * hidden, hidden], dim=1)
        r, z = torch.sigmoid(x_rz + _product(s, weight_rz, mask, norm_rz)).chunk(2, dim=1)
        q = _product(s if reset_after else r * s, weight_n, mask, norm_n)
        q = q if bias is None else q + bias
        n = torch.tanh(x_n + (r * q if reset_after else q))
        new = (1 - z) * n + z * s
        return (new,), (new, torch.cat([r, z, n, q], dim=1))

    (outputs, gates), (h_last,) = _run(step, x, (h,), lengths, resets, reverse, widths=(hidden, 4 * hidden))
    return outputs, h_last, gates if keep else x.new_empty(0)


def lstm(
    x: Tensor,
    h: Tensor,
    c: Tensor,
    weight: Tensor,
    weight_in: Tensor | None,
    bias_in: Tensor | None,
    tokens: Tensor | None,
    lengths: Tensor | None,
    resets: Tensor | None,
    mask: Tensor | None,
    norm: Tensor | None,
    norm_cell: Tensor | None,
    peepholes: Tensor | None,
    projection: Tensor | None,
    reverse: bool,
    keep: bool,
) -> tuple[Tensor, Tensor, Tensor, Tensor, Tensor]:
    """Long short-term memory (Hochreiter and Schmidhuber 1997; forget gate Gers et al. 2000).

    i, f, o = σ(x + W S), g = tanh(x + W S), c' = f c + i g, S' = o tanh(c'). peepholes[3,H] add c to the gates i and f and
    c' to o (Gers and Schmidhuber 2000); projection[P,H] maps S' (Sak et al. 2014); norm_cell[2,H] holds the gain and bias
    of the normalisation of c' inside the last tanh.
    Returns (outputs[T,B,P or H], h_last, c_last[B,H], gates[T,B,4H] = i, f, g, o, cells[T,B,H] = c').
    """
    x = _project(x, weight_in, bias_in, tokens, lengths)
    hidden = c.shape[1]

    def step(x_t: Tensor, state: tuple[Tensor, ...]) -> tuple[tuple[Tensor, ...], tuple[Tensor, ...]]:
        s, c = state
        i, f, g, o = (x_t + _product(s, weight, mask, norm)).chunk(4, dim=1)
        if peepholes is not None:
            i, f = i + peepholes[0] * c, f + peepholes[1] * c
        i, f, g = torch.sigmoid(i), torch.sigmoid(f), torch.tanh(g)
        c = f * c + i * g
        o = torch.sigmoid(o if peepholes is None else o + peepholes[2] * c)
        read = c if norm_cell is None else F.layer_norm(c, [hidden]) * norm_cell[0] + norm_cell[1]
        s = o * torch.tanh(read)
        s = s if projection is None else s @ projection.T
        return (s, c), (s, torch.cat([i, f, g, o], dim=1), c)

    widths = (h.shape[1], 4 * hidden, hidden)
    (outputs, gates, cells), (h_last, c_last) = _run(step, x, (h, c), lengths, resets, reverse, widths)
    if not keep:
        gates, cells = x.new_empty(0), x.new_empty(0)
    return outputs, h_last, c_last, gates, cells


def linear(x: Tensor, weight: Tensor, bias: Tensor | None) -> Tensor:
    """x[..., K] weight[M, K]^T + bias[M]."""
    return F.linear(x, weight, bias)


def cross_entropy(hidden: Tensor, weight: Tensor, bias: Tensor | None, targets: Tensor, mask: Tensor | None) -> Tensor:
    """-Σ log p(target), p = softmax(W (mask hidden) + b), in nats: the sum over all steps and rows.

    hidden[T, B, H], weight[V, H], bias[V], targets[T, B] whole numbers from 0 to V-1, mask[B, H].
    """
    logits = F.linear(hidden if mask is None else hidden * mask, weight, bias)
    return -logits.log_softmax(dim=-1).gather(-1, targets[..., None]).sum()


def _project(
    x: Tensor, weight_in: Tensor | None, bias_in: Tensor | None, tokens: Tensor | None, lengths: Tensor | None
) -> Tensor:
    """What the inputs add to the sums of every step, [T, B, G*H]."""
    if tokens is None and lengths is not None:
        # what pads a row must not reach the gradient of the weight either
        valid = torch.arange(x.shape[0], device=x.device)[:, None] < lengths
        x = torch.where(valid[..., None], x, torch.zeros_like(x))
    if weight_in is not None:
        x = F.linear(x, weight_in, bias_in)
    elif bias_in is not None:
        x = x + bias_in
    return x if tokens is None else F.embedding(tokens, x)


def _product(s: Tensor, weight: Tensor, mask: Tensor | None, norm: Tensor | None) -> Tensor:
    """W S, with the mask on the state and the normalisation on the product."""
    product = (s if mask is None else s * mask) @ weight.T
    return product if norm is None else F.layer_norm(product, product.shape[1:]) * norm


def _run(
    step: Step,
    x: Tensor,
    state: tuple[Tensor, ...],
    lengths: Tensor | None,
    resets: Tensor | None,
    reverse: bool,
    widths: tuple[int, ...],
) -> tuple[tuple[Tensor, ...], tuple[Tensor, ...]]:
    """The time loop. `step` gives (next state, what to emit); returns (what was emitted at each step, last state)."""
    steps, batch = x.shape[:2]
    emitted: list[tuple[Tensor, ...]] = []
    for t in reversed(range(steps)) if reverse else range(steps):
        given = state
        if resets is not None:
            # where, not a product: a NaN in the state must not survive its reset
            given = tuple(torch.where(resets[t, :, None], torch.zeros_like(s), s) for s in given)
        x_t = x[t]
        if lengths is None:
            state, values = step(x_t, given)
        else:
            alive = (t < lengths)[:, None]
            # what pads a row must reach neither a value nor a gradient, NaN included
            new, values = step(torch.where(alive, x_t, torch.zeros_like(x_t)), given)
            state = tuple(torch.where(alive, after, before) for after, before in zip(new, state, strict=True))
            values = tuple(torch.where(alive, value, torch.zeros_like(value)) for value in values)
        emitted.append(values)
    if reverse:
        emitted.reverse()
    if steps == 0:
        return tuple(x.new_empty(0, batch, width) for width in widths), tuple(s.clone() for s in state)
    return tuple(torch.stack(parts) for parts in zip(*emitted, strict=True)), state
