"""How weights are laid out for cuDNN: where they lie, in how many steps, and that they are those of now."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode

from gpu_calls import cast, complete
from recurra.kernels import KERNELS, gpu, reference
from recurra.kernels.gpu import cudnn
from test_kernels import arguments
from tolerances import assert_close

ASKED = [("elman", {"activation": "relu"}), ("gru", {}), ("gru", {"bias_in": False}), ("lstm", {})]


@pytest.fixture(autouse=True)
def _as_on_a_gpu(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(gpu, "ENABLED", True)
    monkeypatch.setattr(gpu, "cudnn_there", lambda: True)


def asked(name: str, **more: Any) -> dict[str, Any]:
    return complete(name, arguments(name, 3, 2, 4, **{"inputs": 3, "bias_in": True, "keep": False, **more}))


class Copies(TorchDispatchMode):
    """Notes the operations that make memory or write it."""

    def __init__(self) -> None:
        super().__init__()
        self.seen: list[str] = []

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        if not func.is_view:
            self.seen.append(func.overloadpacket.__name__)
        return func(*args, **(kwargs or {}))


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize(("name", "more"), ASKED)
def test_weights_are_copied_at_once(name: str, more: dict[str, Any], dtype: torch.dtype) -> None:
    inputs = cast(asked(name, **more), dtype)
    with Copies() as copies:
        weights = cudnn._weights(name, inputs)
    assert copies.seen == ["new_zeros", "cat"]
    assert len({one.untyped_storage().data_ptr() for one in weights}) == 1
    own = {value.untyped_storage().data_ptr() for value in inputs.values() if isinstance(value, Tensor)}
    assert weights[0].untyped_storage().data_ptr() not in own
    assert all(one.is_contiguous() and one.dtype == dtype for one in weights)


@pytest.mark.parametrize(("name", "more"), ASKED)
def test_they_lie_where_they_are_wanted(name: str, more: dict[str, Any], monkeypatch: pytest.MonkeyPatch) -> None:
    inputs = asked(name, **more)
    rows = inputs["weight"].shape[0]
    # in another order than ours, with room between them
    first = (rows * 6 + 5, 2, rows * 4 + 3, rows * 5 + 4)
    monkeypatch.setattr(cudnn, "places", lambda *_: cudnn.Places(first, rows * 9 + 8))
    weights = cudnn._weights(name, inputs)
    assert tuple(one.storage_offset() for one in weights) == first
    assert weights[0].untyped_storage().nbytes() == 8 * (rows * 9 + 8)
    for value, true in zip(cudnn.forward(name, inputs), getattr(reference, name)(**inputs), strict=True):
        assert_close(value, true)


CHANGES: dict[str, Callable[[torch.nn.Parameter], Any]] = {
    "as an optimiser does": lambda weight: weight.detach().mul_(0.5),
    "past torch's count": lambda weight: weight.data.mul_(0.5),
    "other memory": lambda weight: setattr(weight, "data", weight.detach() * 0.5),
}


@pytest.mark.parametrize("training", [False, True])
@pytest.mark.parametrize("how", CHANGES)
def test_a_weight_that_changed_is_seen(how: str, training: bool) -> None:
    kernel = KERNELS["gru"]
    inputs = {**asked("gru"), "keep": training}
    parameters = {name: torch.nn.Parameter(inputs[name].clone()) for name in ("weight", "weight_in", "bias_in", "bias")}
    inputs |= parameters

    def now() -> Tensor:
        if not training:
            with torch.no_grad():
                return gpu.forward("gru", kernel.names)(*inputs.values())[0]
        results = gpu.recorded("gru", kernel.names, list(inputs.values()), lambda *_: None)
        assert results is not None
        return torch.cat(
            [value.flatten() for value in torch.autograd.grad(results[0].sum(), list(parameters.values()))]
        )

    def true() -> Tensor:
        outputs = reference.gru(**inputs)[0]
        if not training:
            return outputs.detach()
        return torch.cat([value.flatten() for value in torch.autograd.grad(outputs.sum(), list(parameters.values()))])

    before = now()
    for parameter in parameters.values():
        CHANGES[how](parameter)
    assert not torch.allclose(now(), before)
    assert_close(now(), true(), "gradients")
