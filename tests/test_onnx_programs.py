"""Programs as ONNX nodes, own cells as Scans, and Scan in our own backend."""

from __future__ import annotations

from typing import Any

import numpy as np
import onnx
import onnxruntime
import pytest
import torch
from onnx import TensorProto, helper
from torch import Tensor
from torch.nn.utils import parametrizations

import recurra.onnx
from own_steps import make_cumulative, make_minimal, make_mixture
from recurra.cells import GRU, LSTM, Elman, FeedForward
from recurra.errors import UsageError
from recurra.kernels.programs.program import OPERATIONS, ROW_OPERATIONS, Instruction, Program, evaluate
from recurra.layers import Bidirectional, Block, Stack
from recurra.onnx import backend
from recurra.onnx.graph import Graph
from recurra.onnx.programs import Written
from recurra.state import leaves, map_state
from tolerances import assert_close

onnxruntime.set_default_logger_severity(4)
POSITIVE = ("log", "log1p", "sqrt", "rsqrt", "reciprocal")
ARITY = {name: 1 for name in list(OPERATIONS)[:16]} | {name: 2 for name in list(OPERATIONS)[16:]} | {"where": 3}


def by_runtime(model: onnx.ModelProto, feeds: dict[str, Any]) -> list[Tensor]:
    session = onnxruntime.InferenceSession(model.SerializeToString(), providers=["CPUExecutionProvider"])
    given = {name: value.numpy() if isinstance(value, Tensor) else value for name, value in feeds.items()}
    return [torch.from_numpy(np.array(value)) for value in session.run(None, given)]


def compare(
    program: Program, inputs: list[Tensor], shared: list[Tensor] | None = None, weights: list[Tensor] | None = None
) -> list[Tensor]:
    """What a program emits in ONNX Runtime is what it emits; gives that."""
    graph = Graph(torch.float32, 17)
    names = [graph.input(f"x{at}", ["batch", width]) for at, width in enumerate(program.inputs)]
    written = Written(graph, "p", program, [*names, *(shared or [])], weights or [])
    for at, value in enumerate(program.emitted):
        graph.output(f"y{at}", written.row(value), ["batch", program.width(value)])
    values = evaluate(program, inputs, (), (), shared or [], weights or [])
    found = by_runtime(graph.model("program", {}), dict(zip(names, inputs, strict=True)))
    for ours, value in zip(found, program.emitted, strict=True):
        assert_close(ours, values[value].expand(len(inputs[0]), -1))
    return found


@pytest.mark.parametrize("name", OPERATIONS)
def test_each_operation(name: str) -> None:
    """On rows that are wide and narrow, equal and not, on values the same for all rows, and on plain numbers."""
    wide, other, narrow = torch.randn(3, 6).round(decimals=1), torch.randn(3, 6).round(decimals=1), torch.randn(3, 1)
    other[0] = wide[0]
    wide[1, 0] = 0.0
    shared = [torch.randn(6), torch.randn(1)]
    if name in POSITIVE:
        wide, other, narrow, *shared = (value.abs() + 0.1 for value in (wide, other, narrow, *shared))
    kinds: dict[int, list[tuple[Any, ...]]] = {
        1: [(0,), (2,), (3,)],
        2: [(0, 1), (0, 2), (2, 2), (0, 3), (4, 0), (0, 0.5), (0.5, 2), (3, 4), (3, 0.5)],
        3: [(0, 1, 2), (2, 0, 0.0), (3, 0, 1), (0.0, 0, 1), (1.0, 0, 2)],
    }
    widths = (6, 6, 1, 6, 1)
    lines = tuple(
        Instruction(name, each, max(1 if isinstance(v, float) else widths[v] for v in each))
        for each in kinds[ARITY[name]]
    )
    program = Program((6, 6, 1), (), (), (6, 1), (), lines, tuple(range(5, 5 + len(lines))))
    compare(program, [wide, other, narrow], shared)


def test_structure_rows_and_products() -> None:
    lines = (
        Instruction("slice", (0,), 2, 3),
        Instruction("spread", (1,), 4),
        Instruction("spread", (0.5,), 3),
        Instruction("cat", (0, 2, 0.25, 1, 5), 15),
        Instruction("product", (0,), 4, 0),
        Instruction("product", (6,), 6, 1),
        Instruction("product", (2,), 3, 2),
        *(Instruction(name, (value,), 1) for name in ROW_OPERATIONS for value in (0, 2)),
        Instruction("gt", (0, 0.0), 6),
        Instruction("where", (14, 0, 0.5), 6),
        Instruction("add", (14, 14), 6),
    )
    # values: 0, 1 rows; 2 shared; 3 slice; 4 spread; 5 constant; 6 cat; 7 to 9 products; 10 to 13; 14 a truth
    lines = (*lines[:5], Instruction("product", (7,), 6, 1), *lines[6:])
    program = Program((6, 1), (), (), (4,), ((4, 6), (3, 4)), lines, tuple(range(3, 3 + len(lines))))
    weights = [torch.randn(4, 6), torch.randn(3, 4)]
    compare(program, [torch.randn(3, 6), torch.randn(3, 1)], [torch.randn(4)], weights)


@pytest.mark.parametrize("opset", [14, 18, onnx.defs.onnx_opset_version()])
def test_every_kind_of_instruction_in_old_and_new_opsets(opset: int) -> None:
    torch.manual_seed(1)
    cell, x, lengths = make_mixture(5, 7, reverse=True).eval(), torch.randn(4, 2, 5), torch.tensor([4, 2])
    state = map_state(torch.randn_like, cell.initial_state(2))
    model = recurra.onnx.export(cell, opset=opset, lengths=True)
    assert [each.version for each in model.opset_import] == [opset]
    feeds = {"inputs": x, "lengths": lengths} | {f"state.{name}": leaf for name, leaf in leaves(state).items()}
    with torch.no_grad():
        outputs, after = cell(x, state, lengths)
    for found, expected in zip(by_runtime(model, feeds), [outputs, *leaves(after).values()], strict=True):
        assert_close(found, expected)


def test_a_comparison_is_chosen_by_as_it_is() -> None:
    lines = (Instruction("gt", (0, 0.0), 6), Instruction("where", (1, 0, 0.5), 6))
    graph = Graph(torch.float32, 17)
    Written(graph, "p", Program((6,), (), (), (), (), lines, (2,)), [graph.input("x", ["batch", 6])], [])
    assert [node.op_type for node in graph.nodes if node.op_type != "Cast"] == ["Greater", "Where"]


def test_small_numbers_keep_their_digits() -> None:
    """e^x - 1 and log(1 + x) where the sum alone would lose them, and what is no number or has no end."""
    small = torch.tensor([[1e-8, -1e-6, 3e-4, -0.49, 0.51]])
    program = Program((5,), (), (), (), (), (Instruction("expm1", (0,), 5), Instruction("log1p", (0,), 5)), (1, 2))
    for found, exact in zip(compare(program, [small]), (torch.expm1(small), torch.log1p(small)), strict=True):
        torch.testing.assert_close(found, exact, rtol=1e-5, atol=0)
    ends = torch.tensor([[torch.inf, -1.0, torch.nan, 80.0, 1e30]])
    program = Program((5,), (), (), (), (), (Instruction("log1p", (0,), 5),), (1,))
    graph = Graph(torch.float32, 17)
    x = graph.input("x", ["batch", 5])
    graph.output("y", Written(graph, "p", program, [x], []).row(1), ["batch", 5])
    (found,) = by_runtime(graph.model("program", {}), {"x": ends})
    torch.testing.assert_close(found, torch.log1p(ends), equal_nan=True)


def test_own_cells_among_the_classic_ones() -> None:
    torch.manual_seed(1)
    gelu = Elman(9, 4, activation="gelu")
    stack = Stack(
        [
            Block(Bidirectional(make_minimal(5, 4), GRU(5, 5, reverse=True))),
            Block(Bidirectional(gelu, make_mixture(9, 5, reverse=True)), residual=True),
            Block(Bidirectional(FeedForward(9, 2), Elman(9, 5, activation="sin", reverse=True))),
            Block(LSTM(7, 6)),
        ]
    ).eval()
    x, lengths = torch.randn(6, 3, 5), torch.tensor([6, 0, 2])
    state = map_state(torch.randn_like, stack.initial_state(3))
    for dtype in (torch.float32, torch.float64):
        stack, x = stack.to(dtype), x.to(dtype)
        state = map_state(lambda leaf, dtype=dtype: leaf.to(dtype), state)
        if dtype == torch.float64:  # onnx.reference has its Erf in float32
            gelu.activation = "silu"
        model = recurra.onnx.export(stack, lengths=True)
        feeds = {"inputs": x, "lengths": lengths} | {f"state.{name}": leaf for name, leaf in leaves(state).items()}
        with torch.no_grad():
            outputs, after = stack(x, state, lengths)
        arrays = {name: value.numpy() for name, value in feeds.items()}
        ways = [[torch.from_numpy(np.array(value)) for value in backend.run_model(model, arrays)]]
        if dtype == torch.float32:
            ways.append(by_runtime(model, feeds))
        for found in ways:
            for ours, expected in zip(found, [outputs, *leaves(after).values()], strict=True):
                assert_close(ours, expected)


def test_an_own_cell_in_pieces_and_without_steps() -> None:
    torch.manual_seed(1)
    cell = make_mixture(5, 7).eval()
    model = recurra.onnx.export(cell)
    x, state = torch.randn(5, 2, 5), {"state.c": torch.randn(2, 7), "state.h": torch.randn(2, 7)}
    outputs, *last = by_runtime(model, {"inputs": x, **state})
    found, part = [], state
    for piece in x.split(2):
        y, *rest = by_runtime(model, {"inputs": piece, **part})
        part = dict(zip(state, rest, strict=True))
        found.append(y)
    assert_close(torch.cat(found), outputs)
    for ours, expected in zip(part.values(), last, strict=True):
        assert_close(ours, expected)
    # ONNX Runtime has no Scan over no steps
    empty = backend.run_model(
        model, {"inputs": np.zeros((0, 2, 5), np.float32)} | {k: v.numpy() for k, v in state.items()}
    )
    assert empty[0].shape == (0, 2, 7)
    assert np.array_equal(empty[1], state["state.c"]) and np.array_equal(empty[2], state["state.h"])


def test_parametrised_cells_by_their_weights_of_now() -> None:
    torch.manual_seed(1)
    for cell, name in ((make_minimal(5, 4), "U_f"), (GRU(5, 4), "weight_state"), (Elman(5, 4), "weight_state")):
        parametrizations.spectral_norm(cell, name)
        stack = Stack([Block(cell.eval())])
        x, state = torch.randn(4, 2, 5), stack.initial_state(2)
        with torch.no_grad():
            outputs, _ = stack(x, state)
        feeds = {"inputs": x} | {f"state.{key}": leaf for key, leaf in leaves(state).items()}
        assert_close(by_runtime(recurra.onnx.export(stack), feeds)[0], outputs)


def test_weights_are_kept_once() -> None:
    cell = make_minimal(5, 4)
    kept = recurra.onnx.export(cell).graph.initializer
    assert sorted(tuple(each.dims) for each in kept if len(each.dims) == 2) == [(4, 4), (4, 4), (5, 4), (5, 4)]


def test_what_has_no_form() -> None:
    with pytest.raises(UsageError, match=r"step is no program. Got: it runs as it stands.*cumsum"):
        recurra.onnx.export(Stack([Block(make_cumulative(5, 5))]))
    cell = make_minimal(5, 4)
    cell.register_forward_hook(lambda module, given, result: (result[0] * 2, result[1]))
    with pytest.raises(UsageError, match=r"hooks has no ONNX form. Got: forward_hooks at 'blocks.0.cell'"):
        recurra.onnx.export(Stack([Block(cell)]))


def scan_model(random: np.random.Generator) -> onnx.ModelProto:
    """s' = s + mean(a) b over two inputs and two outputs along random axes, in random directions."""
    body = helper.make_graph(
        [
            helper.make_node("ReduceMean", ["a"], ["m"], keepdims=0),
            helper.make_node("Mul", ["m", "b"], ["p"]),
            helper.make_node("Add", ["s", "p"], ["q"]),
            helper.make_node("Mul", ["q", "scale"], ["t"]),
            helper.make_node("Identity", ["t"], ["y"]),
            helper.make_node("Neg", ["b"], ["z"]),
        ],
        "step",
        [
            helper.make_tensor_value_info(name, TensorProto.FLOAT, shape)
            for name, shape in (("s", [3]), ("a", [2]), ("b", [3]))
        ],
        [helper.make_tensor_value_info(name, TensorProto.FLOAT, [3]) for name in ("t", "y", "z")],
    )

    def drawn(low: int) -> list[int]:
        return [int(value) for value in random.integers(low, 2, 2)]

    node = helper.make_node(
        "Scan", ["s0", "A", "B"], ["last", "Y", "Z"], body=body, num_scan_inputs=2, scan_input_axes=drawn(-1),
        scan_input_directions=drawn(0), scan_output_axes=drawn(-1), scan_output_directions=drawn(0),
    )  # fmt: skip
    free = [helper.make_tensor_value_info(name, TensorProto.FLOAT, [None, None]) for name in ("A", "B", "Y", "Z")]
    rows = [helper.make_tensor_value_info(name, TensorProto.FLOAT, [3]) for name in ("s0", "last")]
    scale = onnx.numpy_helper.from_array(np.array(0.9, np.float32), "scale")
    graph = helper.make_graph([node], "scan", [rows[0], *free[:2]], [rows[1], *free[2:]], [scale])
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)


def test_scan_in_our_backend_is_that_of_onnx_runtime() -> None:
    random = np.random.default_rng(0)
    for _ in range(25):
        model = scan_model(random)
        axes = next(each.ints for each in model.graph.node[0].attribute if each.name == "scan_input_axes")
        given = {"s0": random.normal(size=3)}
        for name, width, axis in zip("AB", (2, 3), axes, strict=True):
            given[name] = random.normal(size=(5, width) if axis == 0 else (width, 5))
        feeds = {name: value.astype(np.float32) for name, value in given.items()}
        for ours, expected in zip(backend.run_model(model, feeds), by_runtime(model, feeds), strict=True):
            assert_close(torch.from_numpy(np.array(ours)), expected)
