"""What stands around a call on a GPU: autocast, threads, checkpoints, a compiler, a measurement; shown on the processor."""

from __future__ import annotations

import re
import threading
import weakref
from collections.abc import Callable
from contextlib import nullcontext
from typing import Any

import pytest
import torch
from torch import Tensor
from torch._subclasses.fake_tensor import FakeTensorMode
from torch.utils.checkpoint import checkpoint

from gpu_calls import cast, complete
from recurra import kernels
from recurra.kernels import KERNELS, BackendWarning, Parameters, backend, gpu, native, reference
from recurra.kernels.gpu import cudnn, measured, rounding
from test_kernels import arguments
from test_sweeps import arguments as of_a_sweep

CPU = torch.device("cpu")


@pytest.fixture(autouse=True)
def _as_on_a_gpu(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(gpu, "ENABLED", True)
    monkeypatch.setattr(gpu, "cudnn_there", lambda: True)
    monkeypatch.setattr(gpu, "no_triton", lambda: None)
    monkeypatch.setattr(measured, "_findings", {})


def asked(name: str, **more: Any) -> dict[str, Any]:
    given = arguments(name, 3, 2, 4, **{"inputs": 3, "bias_in": True, "keep": False, **more})
    return cast(complete(name, given), torch.float32)


def leaves_of(inputs: dict[str, Any]) -> dict[str, Any]:
    return {
        key: value.clone().requires_grad_() if isinstance(value, Tensor) and value.is_floating_point() else value
        for key, value in inputs.items()
    }


def recorded(name: str, inputs: dict[str, Any]) -> tuple[Tensor, ...]:
    results = gpu.recorded(name, KERNELS[name].names, list(inputs.values()), lambda *_: None)
    assert results is not None
    return results


def test_what_the_processor_needs_to_give_out_a_call_is_not_timed(monkeypatch: pytest.MonkeyPatch) -> None:
    """The device is held up before the clock begins, so that the call waits for it and not the other way round."""
    order: list[str] = []

    class Event:
        def __init__(self, *, enable_timing: bool) -> None:
            assert enable_timing

        def record(self) -> None:
            order.append("record")

        def synchronize(self) -> None:
            order.append("wait")

        def elapsed_time(self, _: Event) -> float:
            return 1.5

    monkeypatch.setattr(torch.cuda, "Event", Event)
    monkeypatch.setattr(torch.cuda, "_sleep", lambda cycles: order.append("held up" if cycles >= 1e6 else "too short"))
    assert measured.by_events(lambda: order.append("call")) == 1.5
    assert order == ["held up", "record", "call", "record", "wait"]


@pytest.mark.parametrize("lengths", [False, True])
@pytest.mark.parametrize("name", KERNELS)
def test_autocast_changes_nothing_of_a_call(name: str, lengths: bool) -> None:
    if lengths:
        pytest.importorskip("triton", reason="Triton is made for Linux alone")
    inputs, run = asked(name, lengths=lengths), gpu.forward(name, KERNELS[name].names)
    truth = run(*inputs.values())
    with torch.autocast("cpu", torch.bfloat16):
        found = run(*inputs.values())
        if not lengths:
            found = (*found, recorded(name, leaves_of(inputs))[0])
            truth = (*truth, truth[0])
    assert all(one.dtype == torch.float32 and torch.equal(one, true) for one, true in zip(found, truth, strict=True))


@pytest.mark.parametrize("chosen", ["native", "reference"])
@pytest.mark.parametrize(("name", "more"), [("gru", {}), ("elman", {"activation": "gelu"}), ("lstm", {"clip": 0.5})])
def test_autocast_changes_nothing_on_the_processor(name: str, more: dict[str, Any], chosen: str) -> None:
    given = cast(arguments(name, 3, 2, 4, inputs=3, bias_in=True), torch.float32)
    given = {**leaves_of(given), **more}
    with backend(chosen):
        truth = getattr(kernels, name)(**given)
        with torch.autocast("cpu", torch.bfloat16):
            found = getattr(kernels, name)(**given)
    assert all(one.dtype == torch.float32 and torch.equal(one, true) for one, true in zip(found, truth, strict=True))


@pytest.mark.parametrize("chosen", ["native", "reference"])
@pytest.mark.parametrize("name", ["rglru", "slstm"])
def test_autocast_changes_nothing_of_a_sweep(name: str, chosen: str) -> None:
    given = of_a_sweep(name, 3, 2, 4)
    states = [value.float() for value in given["states"]]
    x, parameters = given["x"].float(), Parameters.of([value.float() for value in given["weights"]], given["present"])
    with backend(chosen):
        truth, _, _ = kernels.sweep(name, x, states, parameters)
        with torch.autocast("cpu", torch.bfloat16):
            found, _, _ = kernels.sweep(name, x, states, parameters)
    assert found.dtype == torch.float32 and torch.equal(found, truth)


def watch(name: str, monkeypatch: pytest.MonkeyPatch) -> list[tuple[bool, Any]]:
    """(whether it was called for training, its outputs) of each call of torch's operator."""
    seen: list[tuple[bool, Any]] = []
    run: Any = cudnn.FUNCTIONS[name]

    def watched(*given: Any) -> Any:
        results = run(*given)
        seen.append((given[6], weakref.ref(results[0])))
        return results

    monkeypatch.setitem(cudnn.FUNCTIONS, name, watched)
    return seen


def test_only_training_keeps_what_a_gradient_needs(monkeypatch: pytest.MonkeyPatch) -> None:
    seen, inputs = watch("gru", monkeypatch), asked("gru")
    assert torch.is_grad_enabled()
    gpu.forward("gru", KERNELS["gru"].names)(*inputs.values())
    results = recorded("gru", leaves_of(inputs))
    assert [training for training, _ in seen] == [False, True]
    kept, loss = seen[1][1], results[0].sum()
    loss.backward(retain_graph=True)
    assert kept() is not None
    loss.backward()
    assert kept() is None and loss.grad_fn is not None


def test_rounding_is_off_until_the_last_thread_is_done(monkeypatch: pytest.MonkeyPatch) -> None:
    inner: Any = torch.backends.cudnn.rnn
    if not hasattr(inner, "fp32_precision"):
        pytest.skip("this torch has one switch for all of cuDNN")
    monkeypatch.setattr(inner, "fp32_precision", "tf32")  # (as it stands by default)
    first, second = rounding.in_full(), rounding.in_full()
    first.__enter__()
    second.__enter__()
    first.__exit__(None, None, None)
    assert inner.fp32_precision == "ieee"
    second.__exit__(None, None, None)
    assert inner.fp32_precision == "tf32"


@pytest.mark.skipif(not hasattr(torch.backends.cuda.matmul, "fp32_precision"), reason="this torch has one switch")
def test_either_switch_of_torch_may_be_used() -> None:
    assert not rounding.as_tf32()
    newer: Any = torch.backends.cuda.matmul
    try:
        newer.fp32_precision = "tf32"
        with pytest.raises(RuntimeError, match="mix of the legacy and new APIs"):
            torch.get_float32_matmul_precision()
        assert rounding.as_tf32() and gpu.choose("gru", asked("gru"))[0] == "cudnn"
        newer.fp32_precision = "ieee"
        assert not rounding.as_tf32()
        torch.set_float32_matmul_precision("high")
        assert rounding.as_tf32()
    finally:
        torch.set_float32_matmul_precision("highest")
    assert not rounding.as_tf32()


@pytest.mark.parametrize(("release", "version"), [("2.9.1+cu130", 91500), ("2.10.0", 91002), ("2.13.0+cu130", 91300)])
def test_bfloat16_goes_to_cudnn_where_torch_gives_it_there(
    release: str, version: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(torch, "__version__", release)
    monkeypatch.setattr(torch.backends.cudnn, "version", lambda: version)
    inputs = cast(asked("lstm"), torch.bfloat16)
    reason = gpu.not_by_cudnn("lstm", inputs)
    assert reason == (None if release.startswith("2.13") else gpu.NO_BFLOAT16)


def test_cudnn_may_be_switched_off_or_be_another_library(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.undo()
    monkeypatch.setattr(torch.backends.cudnn, "is_available", lambda: True)
    assert gpu.cudnn_there()
    # (parts of torch forbid to set the switch itself, once they are imported)
    with torch.backends.cudnn.flags(enabled=False):
        assert not gpu.cudnn_there()
    assert gpu.cudnn_there()
    monkeypatch.setattr(torch.version, "hip", "7")
    assert not gpu.cudnn_there()


def test_a_measurement_is_of_the_device_of_the_call(monkeypatch: pytest.MonkeyPatch) -> None:
    there: list[Any] = []
    monkeypatch.setattr(torch.cuda, "device", lambda device: there.append(device) or nullcontext())
    ways: dict[str, Callable[[], object]] = {"cudnn": lambda: None, "triton": lambda: None}
    found = measured.fastest("a", ways, torch.device("cuda", 1), lambda _: 1.0)
    assert there == [torch.device("cuda", 1)] and found.milliseconds == {"cudnn": 1.0, "triton": 1.0}
    measured.fastest("b", ways, CPU, lambda _: 1.0)
    assert len(there) == 1


def test_without_memory_for_a_measurement_the_first_way_is_taken() -> None:
    def full() -> None:
        raise torch.OutOfMemoryError("no memory")

    inputs = asked("gru")
    key = gpu._key("gru", inputs, False)
    found = measured.fastest(key, {"cudnn": lambda: None, "triton": full}, CPU, lambda _: 1.0)
    assert found.way == "cudnn"
    assert gpu.explain("gru", inputs).endswith("without gates; nothing is measured where runs are to be alike")
    torch.use_deterministic_algorithms(False)
    assert gpu.explain("gru", inputs) == "cuDNN runs 'gru': not measured, since there was no memory for it"


def test_a_way_that_fails_takes_no_call_down(monkeypatch: pytest.MonkeyPatch) -> None:
    pytest.importorskip("triton", reason="Triton is made for Linux alone")
    from recurra.kernels.gpu import layers

    def refused(*_: Any, **__: Any) -> Any:
        raise RuntimeError("out of resource: shared memory\nand more of it")

    def to_measure(name: str, inputs: dict[str, Any], training: bool) -> bool:
        return measured.known(gpu._key(name, inputs, training)) is None

    monkeypatch.setattr(gpu, "_to_measure", to_measure)
    monkeypatch.setattr(layers, "forward", refused)
    measure = measured._measured
    monkeypatch.setattr(measured, "_measured", lambda ways, _: measure(ways, lambda _: 1.0))
    monkeypatch.setattr(native, "_warned", set())
    torch.use_deterministic_algorithms(False)
    inputs, names = asked("gru"), KERNELS["gru"].names
    said = "'triton' failed: RuntimeError: out of resource: shared memory"
    with pytest.warns(BackendWarning, match=re.escape(f"our kernel of 'gru' cannot run here ({said}). cuDNN runs it")):
        results = gpu.forward("gru", names)(*inputs.values())
    assert torch.equal(results[0], cudnn.forward("gru", inputs)[0])
    gpu.forward("gru", names)(*inputs.values())  # (said once, and not tried again)
    assert gpu.explain("gru", inputs) == f"cuDNN runs 'gru': not measured, since {said}"
    given = leaves_of(inputs)
    assert gpu.recorded("gru", names, list(given.values()), refused) is not None
    assert gpu.explain("gru", inputs, training=True).endswith(said)
    # (what cuDNN itself refuses is an error)
    with pytest.raises(RuntimeError, match="shared memory"):
        measured.fastest("of the first", {"cudnn": refused, "triton": lambda: None}, CPU, lambda _: 1.0)


def test_nothing_is_measured_inside_of_a_backward_pass() -> None:
    torch.use_deterministic_algorithms(False)
    x, asked_inside = torch.ones(2, requires_grad=True), list[bool]()
    y = x * 2
    y.register_hook(lambda _: asked_inside.append(measured.may_measure()))
    y.sum().backward()
    assert asked_inside == [False] and measured.may_measure()


def test_a_measurement_is_not_seen_by_a_checkpoint(monkeypatch: pytest.MonkeyPatch) -> None:
    def to_measure(name: str, inputs: dict[str, Any], training: bool) -> bool:
        return measured.known(gpu._key(name, inputs, training)) is None

    measurements: list[str] = []

    def without_a_clock(ways: Any, _: Any) -> measured.Finding:
        for call in ways.values():
            call()
        measurements.append("")
        return measured.Finding("cudnn", {})

    monkeypatch.setattr(gpu, "_to_measure", to_measure)
    monkeypatch.setattr(measured, "_measured", without_a_clock)
    inputs, operation = leaves_of(asked("lstm")), torch.ops.recurra.lstm.default

    def run(x: Tensor) -> Tensor:
        results = gpu.recorded("lstm", KERNELS["lstm"].names, [x, *list(inputs.values())[1:]], operation)
        assert results is not None
        return results[0]

    torch.use_deterministic_algorithms(False)
    got = checkpoint(run, inputs["x"], use_reentrant=False, determinism_check="none")
    assert isinstance(got, Tensor)
    truth = torch.autograd.grad(run(inputs["x"]).sum(), [inputs["x"], inputs["weight"]])
    found = torch.autograd.grad(got.sum(), [inputs["x"], inputs["weight"]])
    assert len(measurements) == 1
    assert all(torch.equal(one, true) for one, true in zip(found, truth, strict=True))


@pytest.mark.parametrize(("name", "more"), [("gru", {}), ("elman", {"activation": "gelu"})])
def test_a_choice_reaches_the_thread_of_a_backward_pass(
    name: str, more: dict[str, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(native, "handed_on", lambda _: native.chosen())  # (as on a GPU)
    walks: list[str] = []
    walk = reference.run
    monkeypatch.setattr(reference, "run", lambda *args: walks.append(native.chosen()) or walk(*args))
    x = torch.randn(3, 2, 3, requires_grad=True)
    given = {**cast(arguments(name, 3, 2, 4, inputs=3), torch.float32), **more, "x": x}
    for chosen, expected in (("reference", {"reference"}), ("native", set[str]())):
        with backend(chosen):
            loss = getattr(kernels, name)(**given)[0].sum()
        walks.clear()
        thread = threading.Thread(target=loss.backward)
        thread.start()
        thread.join()
        assert set(walks) == expected and x.grad is not None


class Layer(torch.nn.Module):
    """A call that a GPU runs as a program."""

    def forward(self, x: Tensor, h: Tensor, weight: Tensor, bias: Tensor) -> Tensor:
        return kernels.gru(x, h, weight, bias, reset_after=False)[0]


@pytest.mark.parametrize("strict", [False, True])
def test_a_compiler_follows_the_choice_of_a_program(strict: bool) -> None:
    with FakeTensorMode(allow_non_fake_inputs=True):
        shapes = (3, 2, 12), (2, 4), (12, 4), (4,)
        given = tuple(torch.empty(shape, device="cuda") for shape in shapes)
    exported = torch.export.export(Layer(), given, strict=strict)
    called = [str(node.target) for node in exported.graph.nodes]
    assert called.count("recurra.scan.default") == 1 and "recurra.gru.default" not in called
