"""What torch's modules cannot do: each option against its equations, written here a step at a time in plain torch."""

from __future__ import annotations

import copy
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor

from nn_cases import assert_same, flat, total
from recurra import kernels, nn
from recurra.errors import DataError, UsageError
from tolerances import assert_close

GATES = {"RNN": 1, "GRU": 3, "LSTM": 4}
ALL: list[tuple[str, dict[str, Any]]] = [
    *((name, {"layer_norm": True}) for name in GATES),
    *((name, {"recurrent_dropout": 0.5}) for name in GATES),
    *((name, {"zoneout": 0.3}) for name in GATES),
    *((name, {"weight_drop": 0.5}) for name in GATES),
    ("LSTM", {"zoneout": (0.2, 0.4)}),
    ("LSTM", {"peepholes": True}),
    ("LSTM", {"coupled": True}),
    ("LSTM", {"cell_clip": 0.1}),
    ("LSTM", {"proj_size": 2, "layer_norm": True, "peepholes": True, "coupled": True, "cell_clip": 0.3}),
    ("GRU", {"reset_after": False}),
    ("GRU", {"reset_after": False, "layer_norm": True}),
    ("RNN", {"activation": "sin"}),
    ("GRU", {"activation": "relu", "gate_activation": "hardsigmoid"}),
    ("LSTM", {"activation": "softsign", "gate_activation": "hardsigmoid"}),
]
NEEDS_NOTHING_NEW = {"layer_norm", "recurrent_dropout", "weight_drop", "peepholes", "reset_after", "proj_size"}


def norm(z: Tensor, gain: Tensor | None) -> Tensor:
    return z if gain is None else F.layer_norm(z, z.shape[-1:]) * gain


def by_hand(
    module: Any, x: Tensor, *, training: bool = False, suffix: str = "_l0"
) -> tuple[Tensor, tuple[Tensor, ...]]:
    """One layer from zeros, in evaluation mode: x[T, B, I] -> outputs, (h,) or (h, c)."""
    o, name = module.options, {"elman": "RNN", "gru": "GRU", "lstm": "LSTM"}[module.kernel]
    part = {key.removesuffix(suffix): value for key, value in module.named_parameters() if key.endswith(suffix)}
    get = part.get
    w_in, w, hidden = part["weight_ih"], part["weight_hh"], part["weight_ih"].shape[0] // GATES[name]
    width = module.proj_size or hidden
    h, c = x.new_zeros(x.shape[1], width), x.new_zeros(x.shape[1], hidden)
    f, gate = kernels.ACTIVATIONS[o.activation], kernels.ACTIVATIONS[o.gate_activation]
    of_cell, of_hidden = o.zoneout_cell_hidden
    outputs = []
    for x_t in x:
        old_h, old_c = h, c
        if name == "RNN":
            z = norm(x_t @ w_in.T, get("norm_ih")) + norm(h @ w.T, get("norm_hh")) + part["bias_ih"] + part["bias_hh"]
            h = f(z)
        elif name == "GRU":
            n_ih, n_hh = (get(key, torch.ones(3 * hidden, dtype=x.dtype)) for key in ("norm_ih", "norm_hh"))
            on = o.layer_norm
            two = 2 * hidden

            def ln(z: Tensor, gain: Tensor, on: bool = on) -> Tensor:
                return norm(z, gain) if on else z

            a = ln(x_t @ w_in[:two].T, n_ih[:two]) + part["bias_ih"][:two]
            b = ln(h @ w[:two].T, n_hh[:two]) + part["bias_hh"][:two]
            r, z = gate(a + b).chunk(2, dim=-1)
            candidate = ln(x_t @ w_in[two:].T, n_ih[two:]) + part["bias_ih"][two:]
            if o.reset_after:
                q = ln(h @ w[two:].T, n_hh[two:]) + part["bias_hh"][two:]
                n = f(candidate + r * q)
            else:
                n = f(candidate + ln((r * h) @ w[two:].T, n_hh[two:]) + part["bias_hh"][two:])
            h = (1 - z) * n + z * h
        else:
            # coupled gates have no sums of their own to forget by, so these take no part in the norm either
            used = [0, 2, 3] if o.coupled else [0, 1, 2, 3]
            rows = torch.cat([torch.arange(hidden) + place * hidden for place in used])
            gains = [None if get(key) is None else part[key][rows] for key in ("norm_ih", "norm_hh")]
            z = norm(x_t @ w_in[rows].T, gains[0]) + norm(h @ w[rows].T, gains[1])
            z = z + part["bias_ih"][rows] + part["bias_hh"][rows]
            i, *forgets, g, out = z.chunk(len(used), dim=-1)
            p = get("peephole", torch.zeros(3, hidden, dtype=x.dtype))
            i = gate(i + p[0] * c)
            forget = 1 - i if o.coupled else gate(forgets[0] + p[1] * c)
            c = forget * c + i * f(g)
            c = c if o.cell_clip is None else c.clamp(-o.cell_clip, o.cell_clip)
            out = gate(out + p[2] * c)
            read = c
            if o.layer_norm:
                read = norm(c, part["norm_c"][0]) + part["norm_c"][1]
            h = out * f(read)
            if module.proj_size:
                h = h @ part["weight_hr"].T
            c = of_cell * old_c + (1 - of_cell) * c
        h = of_hidden * old_h + (1 - of_hidden) * h
        outputs.append(h)
    return torch.stack(outputs), (h, c) if name == "LSTM" else (h,)


def randomised(module: Any) -> Any:
    with torch.no_grad():
        for parameter in module.parameters():
            parameter.uniform_(-1, 1)
    return module


def build(name: str, settings: dict[str, Any], **more: Any) -> Any:
    return randomised(getattr(nn, name)(3, 5, dtype=torch.float64, **settings, **more)).eval()


@pytest.mark.parametrize(("name", "settings"), ALL, ids=str)
def test_the_equations(name: str, settings: dict[str, Any]) -> None:
    module = build(name, settings)
    x = torch.randn(6, 2, 3, dtype=torch.float64, requires_grad=True)
    output, hx = module(x)
    expected, last = by_hand(module, x)
    assert_close(output, expected)
    for one, other in zip(flat(hx), last, strict=True):
        assert_close(one[0], other)
    wanted = [x, *module.parameters()]
    gradients = [
        torch.autograd.grad(total((result, *states)), wanted, materialize_grads=True, allow_unused=True)
        for result, states in ((output, [one[0] for one in flat(hx)]), (expected, last))
    ]
    for one, other in zip(*gradients, strict=True):
        assert_close(one, other, "gradients")
    with torch.no_grad():
        assert_same((output, hx), module(x))


@pytest.mark.parametrize(("name", "settings"), ALL, ids=str)
def test_lengths_layers_and_directions(name: str, settings: dict[str, Any]) -> None:
    module = build(name, settings, num_layers=2, bidirectional=True)
    x = torch.randn(6, 3, 3, dtype=torch.float64)
    lengths = [4, 0, 6]
    output, hx = module(x, lengths=lengths)
    for row in (0, 2):
        alone, end = module(x[: lengths[row], row : row + 1])
        assert_close(output[: lengths[row], row], alone[:, 0])
        for one, other in zip(flat(hx), flat(end), strict=True):
            assert_close(one[:, row], other[:, 0])
    x[4:, 0] = torch.nan
    x[:, 1] = torch.nan
    gradients = torch.autograd.grad(total(module(x, lengths=lengths)), list(module.parameters()), allow_unused=True)
    assert all(one is None or bool(one.isfinite().all()) for one in gradients)


@pytest.mark.parametrize("name", GATES)
@pytest.mark.parametrize(
    "option", [{"recurrent_dropout": 0.5}, {"zoneout": 0.5}, {"weight_drop": 0.5}], ids=lambda one: next(iter(one))
)
def test_noise_is_there_in_training_only(name: str, option: dict[str, Any]) -> None:
    module = build(name, option)
    plain = getattr(nn, name)(3, 5, dtype=torch.float64)
    plain.load_state_dict(module.state_dict())
    x = torch.randn(6, 2, 3, dtype=torch.float64)
    if "zoneout" not in option:
        assert_same(plain(x), module(x))
    module.train()
    for grad in (True, False):
        with torch.set_grad_enabled(grad):
            torch.manual_seed(1)
            first = module(x)
            assert not torch.equal(first[0], module(x)[0])
            torch.manual_seed(1)
            assert_same(first, module(x))
    assert not torch.equal(first[0], plain(x)[0])


def test_recurrent_dropout_is_the_same_at_every_step() -> None:
    module = build("RNN", {"recurrent_dropout": 0.5, "activation": "identity"})
    with torch.no_grad():
        module.weight_hh_l0.copy_(torch.eye(5))
        module.weight_ih_l0.zero_()
        module.bias_ih_l0.fill_(1.0)
        module.bias_hh_l0.zero_()
    module.train()
    output = module(torch.zeros(4, 3, 3, dtype=torch.float64))[0]
    dropped = output[1] == 1
    assert bool(dropped.any()) and not bool(dropped.all())
    assert_close(output[3], torch.where(dropped, torch.ones_like(output[0]), torch.full_like(output[0], 15.0)))


@pytest.mark.parametrize("name", GATES)
def test_zoneout_keeps_units_in_training(name: str) -> None:
    module = build(name, {"zoneout": 0.5}).train()
    output = module(torch.randn(6, 3, 3, dtype=torch.float64))[0]
    kept = (output[1:] == output[:-1]).double().mean()
    assert 0.2 < float(kept) < 0.8


@pytest.mark.parametrize("name", GATES)
@pytest.mark.parametrize("projects", [False, True])
def test_sizes_by_layer(name: str, projects: bool) -> None:
    extra = {"proj_size": 2} if projects and name == "LSTM" else {}
    module = build(name, {"hidden_sizes": [5, 3, 4]}, num_layers=3, bidirectional=True, **extra)
    x = torch.randn(6, 2, 3, dtype=torch.float64)
    output, hx = module(x)
    sizes = [2, 2, 2] if extra else [5, 3, 4]
    assert output.shape == (6, 2, 2 * sizes[-1])
    h = hx[0] if name == "LSTM" else hx
    assert [tuple(one.shape) for one in h] == [(2, 2, size) for size in sizes]
    if name == "LSTM":
        assert [tuple(one.shape) for one in hx[1]] == [(2, 2, size) for size in (5, 3, 4)]
    assert module.weight_ih_l1.shape[1] == 2 * sizes[0]
    halves = module(x[:3])
    assert_same(module(x[3:].flip(0), halves[1]), module(x[3:].flip(0), halves[1]))
    packed = torch.nn.utils.rnn.pack_padded_sequence(x, torch.tensor([4, 6]), enforce_sorted=False)
    assert_same(module(packed)[1], module(x, lengths=[4, 6])[1])
    with torch.no_grad():
        assert_same((output, hx), module(x))
    for given in (x, packed):
        with pytest.raises(DataError, match="layer by layer"):
            module(given, build(name, {"hidden_sizes": [6, 3, 4]}, num_layers=3, bidirectional=True)(x)[1])
    forward = build(name, {"hidden_sizes": [5, 3]}, num_layers=2)
    middle, _ = by_hand(forward, x)
    expected, _ = by_hand(forward, middle, suffix="_l1")
    output, hx = forward(x)
    assert_close(output, expected)
    assert_close(forward(x[3:], forward(x[:3])[1])[0], expected[3:])


@pytest.mark.parametrize("name", GATES)
@pytest.mark.parametrize("sizes", [None, (5, 3)])
def test_a_learnt_first_state(name: str, sizes: Any) -> None:
    module = build(name, {"learn_initial_state": True, "hidden_sizes": sizes}, num_layers=2)
    x = torch.randn(6, 2, 3, dtype=torch.float64)
    names = {key for key, _ in module.named_parameters() if key[1:].startswith("_0")}
    kinds = ["h_0", "c_0"] if name == "LSTM" else ["h_0"]
    assert names == ({f"{k}_l{i}" for k in kinds for i in (0, 1)} if sizes else set(kinds))
    value = [
        tuple(getattr(module, f"{k}_l{i}")[:, None].expand(-1, 2, -1) for i in (0, 1))
        if sizes
        else getattr(module, k)[:, None].expand(-1, 2, -1)
        for k in kinds
    ]
    hx = tuple(value) if name == "LSTM" else value[0]
    assert_same(module(x, hx), module(x))
    with torch.no_grad():
        assert_same(module(x, hx), module(x))
    total(module(x)).backward()
    assert all(bool(getattr(module, key).grad.abs().sum() > 0) for key in names)
    with pytest.raises(UsageError, match="resets"):
        module(x, resets=torch.zeros(6, 2, dtype=torch.bool))
    fresh = getattr(nn, name)(3, 5, 2, learn_initial_state=True)
    assert all(bool((value == 0).all()) for key, value in fresh.named_parameters() if key in kinds)


@pytest.mark.parametrize("name", ["LSTM", "LSTMCell"])
def test_forget_bias(name: str) -> None:
    module = getattr(nn, name)(3, 5, forget_bias=1.5)
    end = "_l0" if name == "LSTM" else ""
    both = getattr(module, "bias_ih" + end) + getattr(module, "bias_hh" + end)
    assert torch.equal(both[5:10], torch.full((5,), 1.5))
    assert not bool((both[:5] == 1.5).any())
    module.reset_parameters()
    assert bool((getattr(module, "bias_ih" + end)[5:10] == 1.5).all())


@pytest.mark.parametrize("name", GATES)
@pytest.mark.parametrize("more", [{}, {"zoneout": 0.5}, {"recurrent_dropout": 0.5, "weight_drop": 0.3}], ids=str)
def test_recompute(name: str, more: dict[str, Any]) -> None:
    module = build(name, {"recompute": 3, **more}, num_layers=2, bidirectional=True).train()
    plain = getattr(nn, name)(3, 5, 2, dtype=torch.float64, bidirectional=True, **more)
    plain.load_state_dict(module.state_dict())
    x = torch.randn(8, 2, 3, dtype=torch.float64, requires_grad=True)
    found = []
    for one in (plain, module):
        torch.manual_seed(1)
        result = one(x, lengths=[8, 5])
        found.append((flat(result), torch.autograd.grad(total(result), [x, *one.parameters()])))
    for one, other in zip(found[0][0], found[1][0], strict=True):
        assert_close(other, one)
    for one, other in zip(found[0][1], found[1][1], strict=True):
        assert_close(other, one, "gradients")


@pytest.mark.parametrize(("name", "settings"), [one for one in ALL if "proj_size" not in one[1]], ids=str)
def test_a_cell_is_one_step_of_its_layer(name: str, settings: dict[str, Any]) -> None:
    layer = build(name, settings)
    cell = getattr(nn, name + "Cell")(3, 5, dtype=torch.float64, **settings).eval()
    cell.load_state_dict({key.removesuffix("_l0"): value for key, value in layer.state_dict().items()})
    x = torch.randn(4, 2, 3, dtype=torch.float64)
    for grad in (True, False):
        with torch.set_grad_enabled(grad):
            hx = None
            for x_t in x:
                hx = cell(x_t, hx)
            for one, other in zip(flat(hx), flat(layer(x)[1]), strict=True):
                assert_close(one, other[0])


def test_state_dict_and_representation() -> None:
    module = nn.LSTM(3, 5, layer_norm=True, peepholes=True, zoneout=(0.1, 0.2))
    assert set(module.state_dict()) - set(torch.nn.LSTM(3, 5).state_dict()) == {
        "norm_ih_l0", "norm_hh_l0", "norm_c_l0", "peephole_l0",
    }  # fmt: skip
    assert repr(module) == "LSTM(3, 5, layer_norm=True, zoneout=(0.1, 0.2), peepholes=True)"
    assert repr(nn.GRUCell(3, 5, reset_after=False)) == "GRUCell(3, 5, reset_after=False)"
    first = module.state_dict()
    assert torch.equal(first["norm_ih_l0"], torch.ones(20)) and torch.equal(first["norm_hh_l0"], torch.ones(20))
    assert torch.equal(first["norm_c_l0"], torch.tensor([[1.0], [0.0]]).expand(2, 5))
    off = nn.LSTM(3, 5, layer_norm=False, zoneout=0.0, cell_clip=None)
    assert off.options is nn.LSTM.options and set(off.state_dict()) == set(torch.nn.LSTM(3, 5).state_dict())
    torch.manual_seed(0)
    first = nn.GRU(3, 5, weight_drop=0.5).state_dict()
    torch.manual_seed(0)
    assert all(torch.equal(first[key], value) for key, value in nn.GRU(3, 5, weight_drop=0.5).state_dict().items())


@pytest.mark.parametrize(
    ("name", "option"),
    [
        ("RNN", {"layer_norm": 1}), ("GRU", {"zoneout": 1.0}), ("GRU", {"zoneout": (0.1, 0.2)}),
        ("LSTM", {"zoneout": (0.1, -0.2)}), ("LSTM", {"weight_drop": "0.5"}), ("LSTM", {"cell_clip": 0}),
        ("LSTM", {"gate_activation": "foo"}), ("RNN", {"activation": 3}), ("LSTM", {"forget_bias": "one"}),
        ("GRU", {"recompute": 0}), ("GRU", {"hidden_sizes": (3, 0)}), ("GRU", {"hidden_sizes": (3, 4)}),
        ("LSTMCell", {"peepholes": None}),
    ],
    ids=str,
)  # fmt: skip
def test_wrong_options(name: str, option: dict[str, Any]) -> None:
    with pytest.raises(UsageError, match=next(iter(option))):
        getattr(nn, name)(3, 5, **option)


@pytest.mark.parametrize(
    ("name", "option"), [("RNN", "peepholes"), ("GRU", "cell_clip"), ("LSTM", "reset_after"), ("LSTMCell", "recompute")]
)
def test_options_of_other_modules_are_no_arguments(name: str, option: str) -> None:
    with pytest.raises(TypeError, match=option):
        getattr(nn, name)(3, 5, **{option: True})


@pytest.mark.parametrize("what", ["weight_hh_l0", "weight_ih_l0", "hx"])
@pytest.mark.parametrize("layer_norm", [False, True])
def test_recompute_refuses_what_was_written_to_meanwhile(what: str, layer_norm: bool) -> None:
    module = nn.LSTM(3, 5, recompute=2, layer_norm=layer_norm)
    hx = (torch.randn(1, 2, 5), torch.randn(1, 2, 5))
    output, _ = module(torch.randn(6, 2, 3, requires_grad=True), hx)
    with torch.no_grad():
        (hx[0] if what == "hx" else getattr(module, what)).mul_(3)
    # what torch holds itself it refuses itself
    with pytest.raises((UsageError, RuntimeError), match=r"written to|modified by an inplace operation"):
        output.square().sum().backward()


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
@pytest.mark.parametrize("autocast", [False, True])
@pytest.mark.parametrize("name", ["RNN", "GRU", "LSTM"])
@pytest.mark.filterwarnings("ignore::recurra.kernels.BackendWarning")
def test_options_train_in_half_precision(name: str, autocast: bool, dtype: torch.dtype) -> None:
    torch.manual_seed(0)
    wide = getattr(nn, name)(3, 4, zoneout=0.3, activation="softsign").eval()
    module = copy.deepcopy(wide) if autocast else copy.deepcopy(wide).to(dtype)
    x = torch.randn(6, 2, 3)
    found = []
    for each in (wide, module):
        with torch.autocast("cpu", dtype, enabled=autocast and each is module):
            outputs, hx = each(x if autocast else x.to(each.weight_ih_l0.dtype), lengths=[6, 3])
            # what torch's module carries in half precision comes out in it, and the rest in its own
            half = each is module and (name == "RNN" or not autocast)
            assert outputs.dtype == (dtype if half else torch.float32)
            outputs.float().square().sum().backward()
        found.append([outputs, *flat(hx), *(parameter.grad for parameter in each.parameters())])
    for got, true in zip(found[1], found[0], strict=True):
        torch.testing.assert_close(got.float(), true, rtol=0.05, atol=0.05)


def test_options_train_on_the_reference() -> None:
    module, x = nn.GRU(3, 4, zoneout=0.3).double().eval(), torch.randn(6, 2, 3, dtype=torch.float64)
    found = []
    for chosen in ("native", "reference"):
        with kernels.backend(chosen):
            loss = module(x, lengths=[6, 3])[0].square().sum()
            found.append(torch.autograd.grad(loss, list(module.parameters())))
    for got, true in zip(*found, strict=True):
        assert_close(got, true, "gradients")
