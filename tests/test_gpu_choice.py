"""What runs a call on a GPU: the choice and its words, what is called then, and whole calls on a GPU where one is.

cuDNN is reached through operators of torch, which give the same numbers on the processor.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from torch import Tensor

from gpu_calls import cast, complete, outcome, shares
from recurra import kernels
from recurra.cli.about import kernel_table, versions_here
from recurra.errors import UsageError
from recurra.kernels import KERNELS, SWEEPS, BackendWarning, Parameters, backend, gpu, native, ops_sweep, reference
from recurra.kernels.chunkwise import by_chunks
from recurra.kernels.derived import derived_gradient
from recurra.kernels.gpu import cudnn, measured
from recurra.kernels.sweep_programs import by_program
from recurra.kernels.sweeps import by_reference
from test_kernels import arguments
from test_sweeps import arguments as of_a_sweep
from test_sweeps import away_from_zero
from tolerances import assert_close

NO_TRITON = gpu.no_triton
CPU = torch.device("cpu")
PLAIN: dict[str, Any] = {"inputs": 3, "bias_in": True, "keep": False}
needs_gpu = pytest.mark.skipif(not torch.cuda.is_available(), reason="no CUDA device here")


@pytest.fixture(autouse=True)
def _turned_on(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(gpu, "ENABLED", True)


def test_nothing_that_has_not_run_on_a_gpu_runs_there_unasked(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(gpu, "ENABLED", False)
    monkeypatch.setattr(gpu, "cudnn_there", lambda: True)
    monkeypatch.setattr(native, "_warned", set())
    # torch's own operators have
    assert (
        gpu.choose("gru", asked("gru"))[0] == gpu.choose("lstm", asked("lstm", keep=True), training=True)[0] == "cudnn"
    )
    road, why = gpu.choose("gru", asked("gru", lengths=True))
    assert road == "reference" and why.endswith(f"rows end at different steps; not Triton, because {gpu.NOT_ASKED}")
    assert gpu.choose("lstm", asked("lstm", peepholes=True))[0] == "reference"
    with pytest.warns(BackendWarning, match="runs 'mingru' on the GPU, because our kernels .* RECURRA_GPU=1"):
        assert gpu.sweep("mingru", torch.float32) is by_reference


@pytest.fixture
def everything(monkeypatch: pytest.MonkeyPatch) -> None:
    """As on a machine that has cuDNN and Triton."""
    monkeypatch.setattr(gpu, "cudnn_there", lambda: True)
    monkeypatch.setattr(gpu, "no_triton", lambda: None)


def asked(name: str, **more: Any) -> dict[str, Any]:
    return complete(name, arguments(name, 3, 2, 4, **{**PLAIN, **more}))


@pytest.mark.usefixtures("everything")
@pytest.mark.parametrize(
    ("name", "more", "road", "why"),
    [
        ("gru", {}, "cudnn", "dense call"),
        ("lstm", {"reverse": True}, "cudnn", "dense call"),
        ("elman", {"activation": "relu"}, "cudnn", "dense call"),
        ("elman", {"activation": "sigmoid"}, "triton", "no activation 'sigmoid'"),
        ("gru", {"keep": True}, "triton", "no gates"),
        ("gru", {"lengths": True}, "triton", "different steps"),
        ("lstm", {"resets": True}, "triton", "reset inside"),
        ("lstm", {"mask": True}, "triton", "dropout mask"),
        ("gru", {"symbols": 4}, "triton", "tokens"),
        ("gru", {"inputs": None, "bias_in": False}, "triton", "come projected"),
        ("gru", {"reset_after": False}, "program", "a kernel of its own, because the reset gate acts before"),
        ("lstm", {"peepholes": True}, "program", "there are peepholes"),
        ("lstm", {"width": 2}, "program", "the output is projected"),
        ("elman", {"activation": "gelu"}, "program", "they have no activation 'gelu'"),
    ],
)  # fmt: skip
def test_the_choice_and_its_reason(name: str, more: dict[str, Any], road: str, why: str) -> None:
    inputs = asked(name, **more)
    assert gpu.choose(name, inputs)[0] == road
    words = gpu.explain(name, inputs)
    who = {"program": "triton"}.get(road, road)
    assert re.match(f"{who} runs '{name}': ", words, re.IGNORECASE) and re.search(why, words)
    with backend("reference"):
        assert gpu.explain(name, inputs) == f"reference runs '{name}': the backend 'reference' was chosen"


@pytest.mark.usefixtures("everything")
def test_what_triton_does_not_compile_is_not_chosen(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TRITON_INTERPRET", "0")
    ragged, own = asked("gru", lengths=True), asked("gru", reset_after=False)
    for inputs in (ragged, own):
        road, why = gpu.choose("gru", inputs)
        assert road == "reference" and gpu.NO_FLOAT64 in why
    assert gpu.choose("gru", asked("gru"))[0] == "cudnn"
    assert gpu.choose("gru", cast(ragged, torch.float32))[0] == "triton"
    assert gpu.choose("gru", cast(own, torch.float32))[0] == "program"


def test_what_is_missing_is_said(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(gpu, "cudnn_there", lambda: False)
    monkeypatch.setattr(gpu, "no_triton", lambda: "Triton is not installed")
    monkeypatch.setattr(native, "_warned", set())
    inputs = asked("gru")
    why = "not cuDNN, because this torch has no cuDNN, or it is switched off; "
    why += "not Triton, because Triton is not installed"
    assert gpu.explain("gru", inputs) == f"reference runs 'gru': {why}"
    assert gpu.summary("gru")[0] == "cudnn, reference"
    with pytest.warns(BackendWarning, match=re.escape(f"the reference runs 'gru' on the GPU, because {why}")):
        results = gpu.forward("gru", KERNELS["gru"].names)(*inputs.values())
    assert all(torch.equal(a, b) for a, b in zip(results, reference.gru(**inputs), strict=True))
    with pytest.warns(BackendWarning, match="'mingru' on the GPU, because Triton is not installed"):
        assert gpu.sweep("mingru", torch.float32) is by_reference


@pytest.mark.usefixtures("everything")
def test_what_is_no_layer_is_explained_too(monkeypatch: pytest.MonkeyPatch) -> None:
    x, few = torch.zeros(3, 2, 4), {"x": torch.zeros(3, 2, 4), "h": torch.zeros(2, 4), "weight_in": torch.zeros(12, 4)}
    assert gpu.explain("mingru", {"x": x}) == "Triton runs 'mingru': its steps are a scan"
    assert gpu.explain("scan", {"x": x}) == "Triton runs 'scan': a kernel that is written for the step"
    assert gpu.explain("linear", {}) == "torch runs 'linear': one product of torch"
    assert gpu.explain("gru", few).startswith("cuDNN runs 'gru': ")
    torch.use_deterministic_algorithms(False)
    assert gpu.explain("gru", few) == "cuDNN runs 'gru': a dense call of the plain cell, without gates"
    with pytest.raises(UsageError, match="there is no kernel 'foo'; there are elman, gru, lstm, "):
        gpu.explain("foo", few)
    with pytest.raises(
        UsageError, match=re.escape("'gru' depends on h, a tensor, which is not among the inputs: ['x']")
    ):
        gpu.explain("gru", {"x": x})
    monkeypatch.setattr(gpu, "ENABLED", False)
    for kernel in ("scan", "mingru"):
        assert gpu.explain(kernel, {"x": x}) == f"reference runs '{kernel}': {gpu.NOT_ASKED}"


def test_a_triton_that_does_not_compile_our_kernels_is_not_used(monkeypatch: pytest.MonkeyPatch) -> None:
    def with_triton(version: str) -> str | None:
        monkeypatch.setattr(gpu, "find_spec", lambda _: version or None)
        monkeypatch.setattr(gpu, "import_module", lambda _: SimpleNamespace(__version__=version))
        return gpu.no_triton.__wrapped__()

    assert with_triton("") == "Triton is not installed"
    for version in ("2.3.1", "3.4.0", "3.4.0+git1a2b"):
        why = with_triton(version)
        assert why == f"our kernels need Triton 3.5 or later, not {version}"
        monkeypatch.setattr(gpu, "no_triton", lambda why=why: why)
        words = gpu.not_by_triton("gru", asked("gru")), gpu.not_by_program(torch.float32)
        assert {*words, gpu.choose_sweep("lru", torch.float32)[1]} == {why} and str(why) in gpu.summary("gru")[1]
        monkeypatch.setattr(gpu, "no_triton", NO_TRITON)
    assert with_triton("3.5.0") is with_triton("3.10.1") is with_triton("4.0") is None

    def broken(_: str) -> None:
        raise ImportError("libtriton.so: cannot open shared object file")

    monkeypatch.setattr(gpu, "import_module", broken)
    assert str(gpu.no_triton.__wrapped__()).startswith("Triton cannot be imported: ImportError: libtriton.so")


@pytest.mark.usefixtures("everything")
def test_the_doctor_tells(monkeypatch: pytest.MonkeyPatch) -> None:
    def rows() -> dict[str, tuple[str, str]]:
        return {row["kernel"]: (row["backend"], row["why"]) for row in kernel_table() if row["device"] == "cuda"}

    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    assert not versions_here().keys() & {"gpu", "cudnn", "triton"}
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "get_device_capability", lambda: (9, 0))
    monkeypatch.setattr(torch.cuda, "get_device_name", lambda: "A device")
    monkeypatch.setattr(torch.backends.cudnn, "version", lambda: 91300)
    monkeypatch.setattr(gpu, "triton_version", lambda: "3.7.1")
    found = versions_here()
    assert [found[name] for name in ("gpu", "cudnn", "triton")] == ["A device, capability 9.0", 91300, "3.7.1"]
    assert rows()["gru"] == (
        "cudnn, triton",
        "plain calls without gates by what was measured to be faster, else Triton; never run on a GPU so far",
    )
    assert rows()["linear"] == ("reference", "one product of torch")
    assert rows()["mlstm"] == ("torch", f"{gpu.IN_CHUNKS}; never run on a GPU so far")
    assert rows()["scan"] == ("triton", "a kernel that is written for the step; never run on a GPU so far")
    assert rows()["slstm"][0] == rows()["mingru"][0] == "triton"
    monkeypatch.setattr(gpu, "ENABLED", False)
    assert rows()["gru"][0] == "cudnn, reference" and rows()["gru"][1].endswith(gpu.NOT_ASKED)
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    assert set(rows().values()) == {("reference", "no such device here")}


@pytest.mark.usefixtures("everything")
@pytest.mark.parametrize("reverse", [False, True])
@pytest.mark.parametrize(
    ("name", "more"), [("elman", {}), ("elman", {"activation": "relu"}), ("gru", {}), ("lstm", {})]
)
def test_the_operators_of_torch_are_given_our_weights(name: str, more: dict[str, Any], reverse: bool) -> None:
    for bias in (True, False):
        inputs = asked(name, reverse=reverse, **{**more, "bias_in": bias})
        results = gpu.forward(name, KERNELS[name].names)(*inputs.values())
        assert [value.shape for value in results] == [value.shape for value in cudnn.forward(name, inputs)]
        for value, true in zip(results, getattr(reference, name)(**inputs), strict=True):
            assert_close(value, true)


@pytest.mark.usefixtures("everything")
@pytest.mark.parametrize(
    ("name", "more"),
    [("elman", {"activation": "relu", "reverse": True}), ("gru", {"reverse": True}), ("gru", {}), ("lstm", {})],
)
def test_the_gradient_of_an_operator_of_torch(name: str, more: dict[str, Any]) -> None:
    kernel = KERNELS[name]
    inputs = asked(name, keep=True, **more)  # (as it is in training, where nobody reads the gates)
    wanted = [key for key in kernel.differentiable if inputs[key] is not None]

    def call(*values: Tensor) -> Any:
        given = {**inputs, **dict(zip(wanted, values, strict=True))}
        results = gpu.recorded(name, kernel.names, list(given.values()), _never)
        assert results is not None and all(value.numel() == 0 for value in results[len(results) - kernel.saved :])
        return results[: len(results) - kernel.saved]

    def true(*values: Tensor) -> Any:
        results = getattr(reference, name)(**{**inputs, **dict(zip(wanted, values, strict=True))})
        return results[: len(results) - kernel.saved]

    leaves = [inputs[key] for key in wanted]
    for value, truth in zip(outcome(call, leaves, torch.float64), outcome(true, leaves, torch.float64), strict=True):
        assert_close(value, truth, "gradients")
    # a second time, through one result alone, and a gradient of the gradient
    leaves = [value.clone().requires_grad_() for value in leaves]
    found: list[tuple[Tensor, ...]] = []
    for run in (call, true):
        last = run(*leaves)[-1].square().sum()
        first = torch.autograd.grad(last, leaves, retain_graph=True, allow_unused=True)
        again = torch.autograd.grad(last, leaves, create_graph=True, allow_unused=True)
        assert all(a is None if b is None else torch.allclose(a, b) for a, b in zip(first, again, strict=True))
        assert again[0] is not None
        found.append(torch.autograd.grad(again[0].square().sum(), leaves))
    for value, truth in zip(*found, strict=True):
        assert_close(value, truth, "gradients")
    unrecorded = [value.detach() if isinstance(value, Tensor) else value for value in inputs.values()]
    assert gpu.recorded(name, kernel.names, unrecorded, _never) is None
    ragged = {**inputs, "lengths": torch.tensor([1, 2]), "h": leaves[1]}
    assert gpu.recorded(name, kernel.names, list(ragged.values()), _never) is None


@pytest.mark.usefixtures("everything")
@pytest.mark.parametrize(("precision", "wanted"), [("highest", "ieee"), ("high", "tf32")])
def test_cudnn_gets_states_in_one_piece_and_rounds_to_tf32_only_where_products_do(
    precision: str, wanted: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    inner: Any = torch.backends.cudnn.rnn
    if not hasattr(inner, "fp32_precision"):
        pytest.skip("this torch has one switch for all of cuDNN")
    seen: list[str] = []

    def watched(*given: Any) -> Any:
        outputs, last = torch.gru(*given)
        assert given[1].is_contiguous()  # (cuDNN refuses others)
        seen.append(inner.fp32_precision)
        if outputs.requires_grad:
            outputs.register_hook(lambda _: seen.append(inner.fp32_precision))
        return outputs, last

    monkeypatch.setitem(cudnn.FUNCTIONS, "gru", watched)
    inputs, before = asked("gru"), torch.get_float32_matmul_precision()
    inputs["h"] = inputs["h"].T.contiguous().T
    monkeypatch.setattr(inner, "fp32_precision", "tf32")  # (as it stands by default)
    torch.set_float32_matmul_precision(precision)
    try:
        gpu.forward("gru", KERNELS["gru"].names)(*inputs.values())
        leaf = {**inputs, "x": inputs["x"].requires_grad_()}
        results = gpu.recorded("gru", KERNELS["gru"].names, list(leaf.values()), _never)
        assert results is not None
        results[0].sum().backward()
    finally:
        torch.set_float32_matmul_precision(before)
    assert seen == [wanted] * 3 and inner.fp32_precision == "tf32"


@pytest.mark.usefixtures("everything")
def test_what_was_measured_to_be_faster_runs(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(measured, "_findings", {})
    inputs = asked("gru")
    key = gpu._key("gru", inputs, False)
    ran: list[str] = []
    took = {"cudnn": iter([9.0, 2.0, 2.0, 2.0, 0.1]), "triton": iter([1.0, 1.5, 1.5, 1.5, 8.0])}

    def clock(call: Callable[[], object]) -> float:
        call()
        return next(took[ran[-1]])

    ways = {name: lambda name=name: ran.append(name) for name in took}
    torch.use_deterministic_algorithms(False)
    finding = measured.fastest(key, ways, CPU, clock)
    assert finding.way == "triton" and ran == ["cudnn", "triton"] * 6
    assert measured.fastest(key, {"cudnn": _never}, CPU, clock) is finding
    assert gpu.choose("gru", inputs) == ("triton", "measured: triton 1.500 ms, cudnn 2.000 ms")
    # (as many steps, but for a factor below two; not other rows, units, dtypes, precisions, or training)
    assert gpu.choose("gru", {**inputs, "x": inputs["x"][:2]})[0] == "triton"
    assert gpu.choose("gru", {**inputs, "x": inputs["x"].repeat(2, 1, 1)})[0] == "cudnn"
    assert gpu.choose("gru", inputs, training=True)[0] == "cudnn"
    monkeypatch.setattr(gpu, "as_tf32", lambda: True)
    assert gpu.choose("gru", inputs)[0] == "cudnn"
    monkeypatch.undo()
    assert measured.may_measure()
    torch.use_deterministic_algorithms(True)
    assert not measured.may_measure()


@pytest.mark.usefixtures("everything")
def test_what_was_measured_counts_not_where_runs_must_be_alike(monkeypatch: pytest.MonkeyPatch) -> None:
    inputs = asked("gru")
    found = {gpu._key("gru", inputs, False): measured.Finding("triton", {"triton": 1.0, "cudnn": 2.0})}
    monkeypatch.setattr(measured, "_findings", found)
    assert gpu.choose("gru", inputs)[0] == "cudnn"  # (tests want the same numbers from run to run)
    torch.use_deterministic_algorithms(False)
    assert gpu.choose("gru", inputs)[0] == "triton"


@pytest.mark.usefixtures("everything")
@pytest.mark.parametrize("name", KERNELS)
def test_operations_as_the_dispatcher_calls_them(name: str) -> None:
    pytest.importorskip("triton", reason="Triton is made for Linux alone")
    kernel, inputs = KERNELS[name], asked(name, lengths=True, keep=True)
    truth = getattr(reference, name)(**inputs)
    results = gpu.forward(name, kernel.names)(*inputs.values())
    for value, true in zip(results, truth, strict=True):
        assert_close(value, true)
    grads: list[Tensor | None] = [shares(result) for result in truth]
    through_gates = len(grads) - kernel.saved
    grads[through_gates] = None
    grad_names = [f"grad_{part.split()[-1]}" for part in kernel.results.split(", ")]
    run = gpu.backward(name, kernel.names, grad_names, through_gates, _never)
    found = run(*grads, *inputs.values(), results[0], *results[through_gates:], True)
    true_gradients = derived_gradient(getattr(reference, name), kernel.differentiable, inputs, grads)
    for key, gradient in zip(kernel.differentiable, found, strict=True):
        assert_close(gradient, true_gradients[key], "gradients") if key in true_gradients else _empty(gradient)
    without = run(*grads, *inputs.values(), results[0], *results[through_gates:], False)
    _empty(without[0])
    assert all(torch.equal(a, b) for a, b in zip(found[1:], without[1:], strict=True))


def _never(*_: Any) -> Any:
    raise AssertionError("the reference was asked")


def _empty(gradient: Tensor) -> None:
    assert gradient.numel() == 0


def test_each_sweep_has_its_way(everything: None) -> None:
    pytest.importorskip("triton", reason="Triton is made for Linux alone")
    from recurra.kernels.gpu.scan_cells import CELLS
    from recurra.kernels.gpu.sweeps import backward_by_scan, by_scan

    assert CELLS.keys() - {"real", "complex"} == gpu.LINEAR
    for cell in SWEEPS:
        expected = {"mlstm": by_chunks, "slstm": by_program}.get(cell, by_scan)
        assert gpu.sweep(cell, torch.float32) is expected
        assert gpu.sweep_backward(cell, torch.float32) is (backward_by_scan if cell in gpu.LINEAR else None)


@pytest.mark.usefixtures("everything")
def test_the_operation_of_a_gpu_runs_an_slstm_as_a_program(monkeypatch: pytest.MonkeyPatch) -> None:
    """Forward with its sums, and backward, as the dispatcher calls them there; in float64, so on the processor's kernels."""
    monkeypatch.setattr(gpu, "not_by_program", lambda dtype: None)
    given = of_a_sweep("slstm", 5, 3, 8, lengths=True, resets=True)
    x, states, weights = given["x"], given["states"], given["weights"]
    marks: list[Any] = [given["present"], None, given["lengths"], given["resets"], False]
    truth = ops_sweep._by_torch("slstm", x, states, weights, *marks, True)
    rest = [shares(value) for value in truth[:5]]
    arrived: list[Any] = [truth[0], *truth[-2:], rest[0], [True] * 4, rest[1:], True]
    true = ops_sweep._backward_derived("slstm", x, states, weights, *marks, *arrived)
    monkeypatch.setattr(reference, "run", _never)
    found = ops_sweep._by_gpu("slstm", x, states, weights, *marks, True)
    back = ops_sweep._backward_by_gpu("slstm", x, states, weights, *marks, *arrived)
    for values, trues, what in ((found, truth, "values"), (back, true, "gradients")):
        for value, other in zip(values, trues, strict=True):
            assert_close(value, other, what)


def on_both(call: Callable[..., Any], leaves: list[Tensor]) -> None:
    with backend("reference"):  # (where kernels for the processor may not have been built)
        truth = outcome(call, leaves, "cpu")
    got = outcome(call, leaves, "cuda")
    for value, true in zip(got, truth, strict=True):
        assert value.is_cuda
        assert_close(value.cpu(), true, "gradients")


@needs_gpu
@pytest.mark.gpu
@pytest.mark.parametrize("hidden", [5, 80])
@pytest.mark.parametrize(
    "more", [{"inputs": 3}, {"symbols": 4, "lengths": True, "resets": True, "mask": True}], ids=str
)
@pytest.mark.parametrize("name", KERNELS)
def test_a_layer_on_a_gpu(name: str, more: dict[str, Any], hidden: int) -> None:
    given = cast(arguments(name, 9, 20, hidden, **more), torch.float32)
    wanted = [key for key in KERNELS[name].differentiable if key in given]

    def call(*values: Tensor) -> Any:
        here = values[0].device
        rest = {key: value.to(here) if isinstance(value, Tensor) else value for key, value in given.items()}
        results = getattr(kernels, name)(**{**rest, **dict(zip(wanted, values, strict=True))})
        return results[: len(results) - KERNELS[name].saved]

    on_both(call, [given[key] for key in wanted])
    with torch.no_grad():
        with backend("reference"):
            truth = call(*(given[key] for key in wanted))
        for value, true in zip(call(*(given[key].cuda() for key in wanted)), truth, strict=True):
            assert_close(value.cpu(), true)


@needs_gpu
@pytest.mark.gpu
@pytest.mark.parametrize("name", KERNELS)
def test_a_gradient_of_a_gradient_on_a_gpu(name: str) -> None:
    more = {"lengths": True, "resets": True, "mask": True}
    given = cast(arguments(name, 5, 4, 20, inputs=3, bias_in=True, **more), torch.float32)
    wanted = [key for key in KERNELS[name].differentiable if key in given]

    def call(*values: Tensor) -> Any:
        here = values[0].device
        rest = {key: value.to(here) if isinstance(value, Tensor) else value for key, value in given.items()}
        outputs = getattr(kernels, name)(**{**rest, **dict(zip(wanted, values, strict=True))})[0]
        return torch.autograd.grad(outputs, values, shares(outputs), create_graph=True)

    on_both(call, [given[key] for key in wanted])


@needs_gpu
@pytest.mark.gpu
@pytest.mark.parametrize("name", SWEEPS)
def test_a_sweep_on_a_gpu(name: str) -> None:
    given = of_a_sweep(name, 200, 5, 40, lengths=True, resets=True)
    given = away_from_zero(given) if name == "mlstm" else given
    on_both(sweeping(name, given), [v.float() for v in (given["x"], *given["states"], *given["weights"])])


def sweeping(name: str, given: dict[str, Any]) -> Callable[..., list[Tensor]]:
    """Outputs and last states of a sweep as a function of its inputs, states and weights."""
    count = len(given["states"])

    def call(*values: Tensor) -> list[Tensor]:
        parameters = Parameters.of(values[1 + count :], given["present"])
        marks = {key: given[key].to(values[0].device) for key in ("lengths", "resets")}
        outputs, states, _ = kernels.sweep(name, values[0], values[1 : 1 + count], parameters, **marks)
        return [outputs, *states]

    return call


@needs_gpu
@pytest.mark.gpu
def test_a_gradient_of_an_mlstm_s_gradient_on_a_gpu() -> None:
    given = away_from_zero(of_a_sweep("mlstm", 70, 3, 16, lengths=True, resets=True))
    call = sweeping("mlstm", given)

    def gradients(*values: Tensor) -> Any:
        outputs = call(*values)[0]
        return torch.autograd.grad(outputs, values, shares(outputs), create_graph=True)

    on_both(gradients, [v.float() for v in (given["x"], *given["states"], *given["weights"])])
