"""Steps with weights kept packed: the bits of the long way, never a stale weight, and whoever watches still sees the call."""

from __future__ import annotations

import copy
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
import torch.nn.utils.parametrize
from torch import Tensor

import recurra
from networks import CODEC, NETWORKS, Network
from recurra import kernels
from recurra.cells import CELLS, Cell, Symbols
from recurra.errors import DataError, StateError, UsageError
from recurra.kernels import backend
from recurra.layers import Bidirectional, StackConfig
from recurra.models import LanguageModel, LanguageModelConfig
from recurra.state import leaves, map_state

TEXT = "abcdefghhgfedcbaabab"


def same(one: Any, other: Any) -> bool:
    return all(torch.equal(a, b) for a, b in zip(leaves(one).values(), leaves(other).values(), strict=True))


def language(cell: str = "gru", dtype: torch.dtype = torch.float32, **options: Any) -> LanguageModel:
    torch.manual_seed(5)
    stack = StackConfig(cell=cell, hidden=11, layers=2, residual=True)
    model = LanguageModel(LanguageModelConfig(stack=stack, vocabulary=CODEC.size, embedding=5, **options), CODEC)
    for parameter in model.parameters():
        torch.nn.init.normal_(parameter, std=0.4)
    return model.to(dtype).eval()


def runs(cell: Any, steps: int = 3, batch: int = 2) -> tuple[Tensor, Any]:
    torch.manual_seed(7)
    with torch.no_grad():
        return cell(torch.randn(steps, batch, cell.inputs, dtype=cell.bias.dtype), cell.initial_state(batch))


@pytest.fixture(params=["elman", "gru", "lstm"])
def cell(request: pytest.FixtureRequest) -> Cell:
    torch.manual_seed(1)
    return CELLS[request.param](4, 9).eval()


# ---- one cell


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64], ids=str)
def test_the_short_way_gives_the_bits_of_the_long_one(
    cell: Cell, dtype: torch.dtype, monkeypatch: pytest.MonkeyPatch
) -> None:
    cell = cell.to(dtype)
    short, after = runs(cell)
    monkeypatch.setattr(kernels, "MOST_ROWS", 0)
    long, long_after = runs(cell)
    assert torch.equal(short, long) and same(after, long_after)


def changes() -> dict[str, Callable[[Any], None]]:
    def by_operation(cell: Any) -> None:
        with torch.no_grad():
            cell.weight_state[3, 2] += 1

    def by_optimiser(cell: Any) -> None:
        optimiser = torch.optim.AdamW(cell.parameters(), fused=True)
        for parameter in cell.parameters():
            parameter.grad = torch.ones_like(parameter)
        optimiser.step()

    def past_the_count(cell: Any) -> None:
        for parameter in cell.parameters():
            parameter.data.mul_(0.5)

    def other_memory(cell: Any) -> None:
        cell.weight_in.data = cell.weight_in.data + 1

    def other_parameter(cell: Any) -> None:
        cell.bias = torch.nn.Parameter(cell.bias.detach() + 1)

    def loaded(cell: Any) -> None:
        cell.load_state_dict({name: value * 2 for name, value in cell.state_dict().items()})

    return {
        change.__name__: change
        for change in (by_operation, by_optimiser, past_the_count, other_memory, other_parameter, loaded)
    }


@pytest.mark.parametrize("change", changes().values(), ids=changes())
def test_a_changed_weight_is_used_at_once(cell: Cell, change: Callable[[Any], None]) -> None:
    before, _ = runs(cell)
    change(cell)
    now, after = runs(cell)
    with backend("native"):
        fresh, fresh_after = runs(copy.deepcopy(cell))
    assert not torch.equal(now, before)
    assert torch.equal(now, fresh) and same(after, fresh_after)


def test_results_are_values_of_their_own(cell: Cell) -> None:
    outputs, after = runs(cell, steps=1)
    kept = map_state(torch.clone, after), outputs.clone()
    again, _ = runs(cell, steps=1)
    again.zero_()
    assert same(after, kept[0]) and torch.equal(outputs, kept[1])
    assert outputs.data_ptr() != after.h.data_ptr()


def test_a_gradient_is_recorded(cell: Any) -> None:
    runs(cell)
    outputs, _ = cell(torch.randn(1, 1, 4), cell.initial_state(1))
    outputs.sum().backward()
    assert cell.bias.grad is not None and cell.bias.grad.abs().sum() > 0


def test_a_parametrised_weight_follows_its_original(cell: Any) -> None:
    torch.nn.utils.parametrize.register_parametrization(cell, "weight_state", torch.nn.Softsign())
    before, _ = runs(cell)
    with torch.no_grad():
        cell.parametrizations.weight_state.original.add_(1.0)
    assert not torch.equal(runs(cell)[0], before)


def test_whoever_watches_sees_the_call(cell: Cell) -> None:
    from torch.utils._python_dispatch import TorchDispatchMode

    seen: list[str] = []

    class Watch(TorchDispatchMode):
        def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
            seen.append(str(func))
            return func(*args, **(kwargs or {}))

    runs(cell)
    with Watch():
        runs(cell)
    assert any("recurra" in name for name in seen)
    x, state = torch.randn(5, 1, 1, 4), cell.initial_state(1)
    with torch.no_grad():
        mapped = torch.vmap(lambda one: one * 2)(x)
        assert torch.equal(mapped, x * 2)
        compiled = torch.compile(cell, backend="aot_eager", fullgraph=True)
        assert torch.equal(compiled(x[0], state)[0], cell(x[0], state)[0])


def test_the_reference_is_obeyed(cell: Cell, monkeypatch: pytest.MonkeyPatch) -> None:
    runs(cell)
    monkeypatch.setattr(kernels.Kept, "run", lambda *_: pytest.fail("the kept weights were used"))
    with backend("reference"):
        runs(cell)


@pytest.mark.parametrize(
    ("given", "error"),
    [
        ({"inputs": torch.zeros(2, 3, 5)}, DataError),
        ({"inputs": torch.zeros(2, 2, 4).double()}, DataError),
        ({"lengths": torch.tensor([1, 3])}, DataError),
        ({"lengths": torch.tensor([1, -1])}, DataError),
        ({"resets": torch.zeros(2, 2)}, DataError),
        ({"batch": 3}, StateError),
    ],
    ids=["width", "dtype", "too long", "negative", "no booleans", "another batch"],
)
def test_mistakes_are_told_as_ever(cell: Cell, given: dict[str, Any], error: type[Exception]) -> None:
    runs(cell)
    given = {"inputs": torch.zeros(2, 2, 4), "batch": 2, **given}
    state = cell.initial_state(given.pop("batch"))
    with torch.no_grad(), pytest.raises(error):
        cell(given.pop("inputs"), state, **given)


def test_a_cell_can_still_be_copied_and_pickled(cell: Cell, tmp_path: Path) -> None:
    outputs, _ = runs(cell)
    torch.save(cell.state_dict(), tmp_path / "weights.pt")
    copied = copy.deepcopy(cell)
    copied.load_state_dict(torch.load(tmp_path / "weights.pt", weights_only=True))
    assert torch.equal(runs(copied)[0], outputs)


# ---- symbols


NUMBERS_ONLY = ("convolution", "filling", "front")


@pytest.mark.parametrize(
    "network",
    [n for n in NETWORKS if not n.batch_first and not n.name.startswith(NUMBERS_ONLY)],
    ids=lambda network: network.name,
)
def test_symbols_are_their_spelled_out_numbers(network: Network) -> None:
    """The same bits in inference, the same gradients within the table, wherever the symbols are fewer than the steps."""
    from tolerances import assert_close

    model = network.build()
    tokens = torch.randint(0, 4, (6, 3))
    table = torch.randn(4, model.inputs)
    with torch.no_grad():
        got, after = model(Symbols(table, tokens), model.initial_state(3))
        wanted, end = model(table[tokens], model.initial_state(3))
    assert torch.equal(got, wanted) and same(after, end)
    gradients = []
    for spell in (False, True):
        leaf = table.double().requires_grad_()
        double = network.build(torch.float64)
        x: Any = leaf[tokens] if spell else Symbols(leaf, tokens)
        outputs, _ = double(x, double.initial_state(3), torch.tensor([6, 0, 4]))
        gradients.append(torch.autograd.grad(outputs.square().sum(), [leaf, *double.parameters()]))
    for one, other in zip(*gradients, strict=True):
        assert_close(one, other, "gradients")


def test_tokens_of_a_wrong_kind_are_told(cell: Cell) -> None:
    with pytest.raises(DataError, match="tokens are wrong"):
        cell(Symbols(torch.randn(3, 4), torch.zeros(2, 2, dtype=torch.int32)), cell.initial_state(2))


# ---- sessions


@pytest.mark.parametrize("options", [{}, {"tied": False}], ids=["narrow", "untied"])
@pytest.mark.parametrize("name", CELLS)
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64], ids=str)
def test_a_session_gives_what_the_model_gives(name: str, options: dict[str, Any], dtype: torch.dtype) -> None:
    model = language(name, dtype, **options)
    session = recurra.Session(model)
    answers = [session.push(piece) for piece in ("a", "bcd", "efghhgfedcb", "a")]
    whole, end = model.answer(model.encode(["abcdefghhgfedcba"]))
    assert answers[-1] == whole[0] and same(session.state, end)
    assert session.steps == 16
    with torch.no_grad():
        logits, after = model.read(model.encode(["ab"]), end)
    assert torch.equal(session.outputs_after(CODEC.encode("ab")), logits[0]) and same(session.state, after)


def test_a_state_is_a_value(tmp_path: Path) -> None:
    model = language("lstm")
    session = recurra.Session(model)
    session.push("abc")
    kept, state = session.snapshot(), session.state
    values = map_state(torch.clone, state)
    other = session.fork()
    first = session.push("dd")
    assert same(state, values) and same(kept.state, values)
    assert other.push("dd") == first
    session.restore(kept)
    session.save(tmp_path / "kept.state")
    loaded = recurra.Session.load(model, tmp_path / "kept.state")
    assert loaded.push("dd") == session.push("dd") == first
    assert session.steps == 5 and loaded.steps == 5


def test_a_session_follows_its_model_when_a_weight_changes() -> None:
    model = language()
    session = recurra.Session(model)
    session.push("abc")
    state = session.state
    with torch.no_grad():
        model.bias[3] += 5
    answers, after = model.answer(model.encode(["d"]), state)
    assert session.push("d") == answers[0] and same(session.state, after)


def replacements() -> dict[str, Callable[[LanguageModel], None]]:
    def stack(model: LanguageModel) -> None:
        model.stack = language("gru").stack
        torch.nn.init.ones_(model.stack.blocks[0].cell.bias)  # pyright: ignore

    def cell(model: Any) -> None:
        model.stack.blocks[0].cell = CELLS["gru"](5, 11)

    def head(model: LanguageModel) -> None:
        model.head = torch.nn.Parameter(torch.randn(CODEC.size, 5))

    def setting(model: Any) -> None:
        model.stack.blocks[1].cell.reset_after = False

    def one_number(model: LanguageModel) -> None:
        model.embedding.data[3, 2] = 7.0

    return {change.__name__: change for change in (stack, cell, head, setting, one_number)}


@pytest.mark.parametrize("change", replacements().values(), ids=replacements())
def test_a_new_session_and_pool_see_every_change(change: Callable[[Any], None]) -> None:
    model = language()
    recurra.Session(model).push("a")
    change(model)
    with torch.no_grad():
        wanted, _ = model.read(model.encode(["d"]))
    token = CODEC.encode("d")
    assert torch.equal(recurra.Session(model).outputs_after(token), wanted[0])
    assert torch.equal(recurra.Pool(model, 1).advance(token), wanted)


def test_a_session_of_a_model_that_changed_its_dtype_keeps_its_state() -> None:
    model = language()
    session = recurra.Session(model)
    session.push("abc")
    model.double()
    with pytest.raises(StateError, match="does not fit"):
        session.push("d")
    assert all(leaf.dtype == torch.float32 for leaf in leaves(session.state).values())


def test_a_deep_model_streams_all_the_same() -> None:
    stack = StackConfig(cell="lstm", hidden=3, layers=33)
    model = LanguageModel(LanguageModelConfig(stack=stack, vocabulary=CODEC.size, embedding=3), CODEC).eval()
    session = recurra.Session(model)
    session.push("ab")
    assert session.push("c") == model.answer(model.encode(["abc"]))[0][0]


@pytest.mark.parametrize("wrong", [[1.5], "ab", 3, None, [[1, 2]], torch.tensor([1.0])], ids=repr)
def test_what_are_no_tokens_is_told(wrong: Any) -> None:
    with pytest.raises(DataError, match="no tokens"):
        recurra.Session(language()).advance(wrong)


def test_a_copied_session_is_a_fork() -> None:
    session = recurra.Session(language())
    session.push("abc")
    assert copy.deepcopy(session).push("d") == session.push("d")


def test_a_session_obeys_the_reference_and_comes_back() -> None:
    model = language()
    session = recurra.Session(model)
    session.push("ab")
    with backend("reference"):
        session.push("c")
    session.push("d")
    assert session.steps == 4
    whole = recurra.Session(model)
    whole.push("abcd")
    for one, other in zip(leaves(session.state).values(), leaves(whole.state).values(), strict=True):
        torch.testing.assert_close(one, other, rtol=2e-5, atol=2e-6)


def test_sessions_of_one_model_share_its_weights() -> None:
    from recurra.streaming.stepper import keep

    model = language()
    one, other = recurra.Session(model), recurra.Session(model)
    one.push("a")
    other.push("b")
    assert keep(model) is keep(model) is not None


def test_wrong_tokens_leave_a_session_as_it_was() -> None:
    session = recurra.Session(language())
    session.push("abc")
    before = map_state(torch.clone, session.state)
    with pytest.raises(DataError, match=r"no such token.*99.*0 to"):
        session.advance([1, 99])
    with pytest.raises(DataError, match="empty"):
        session.push("")
    with pytest.raises(DataError, match="at least one"):
        session.advance([])
    assert same(session.state, before) and session.steps == 3


def test_a_classifier_takes_no_tokens() -> None:
    model = next(network for network in NETWORKS if network.name == "classify-text-gru").build()
    with pytest.raises(UsageError, match="does not take tokens"):
        recurra.Session(model).advance([1])


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64], ids=str)
def test_the_likeliest_are_those_of_a_stable_sort(dtype: torch.dtype) -> None:
    for size, count in ((1, 1), (7, 7), (66, 5), (66, 0), (200, 9)):
        logits = (torch.randn(4, size, dtype=dtype) * 2).round()  # with many equal ones
        classes, probabilities = kernels.likeliest(logits, count)
        order = logits.sort(dim=-1, descending=True, stable=True).indices[:, :count]
        assert torch.equal(classes, order)
        expected = logits.double().softmax(dim=-1).gather(1, order)
        torch.testing.assert_close(probabilities, expected, rtol=1e-12, atol=0)
    classes, probabilities = kernels.likeliest(torch.tensor([[1.0, torch.nan, 2.0]], dtype=dtype), 2)
    assert probabilities.isnan().all()


# ---- pools


@pytest.mark.parametrize("name", CELLS)
def test_a_row_of_a_pool_is_a_session(name: str) -> None:
    model = language(name)
    sessions = [recurra.Session(model) for _ in range(7)]
    for place, one in enumerate(sessions):
        one.push(TEXT[: place + 1])
    pool = recurra.Pool.of(sessions)
    for step in range(4):
        tokens = [(place * 3 + step) % CODEC.size for place in range(7)]
        together = pool.advance(tokens if step % 2 else torch.tensor(tokens))
        alone = torch.stack([one.outputs_after([token]) for one, token in zip(sessions, tokens, strict=True)])
        assert torch.equal(together, alone)
    leaving = pool.session(4)
    assert leaving.push("ab") == sessions[4].push("ab")
    assert len(pool) == 7


def test_a_pool_refuses_what_does_not_fit() -> None:
    model = language()
    pool = recurra.Pool(model, 3)
    before = map_state(torch.clone, pool.state)
    for wrong, words in (([1, 2], "One token for each"), ([1, 2, 3, 4], "One token"), (torch.zeros(3), "no tokens")):
        with pytest.raises(DataError, match=words):
            pool.advance(wrong)
    with pytest.raises(DataError, match=r"no such token.*-1"):
        pool.advance([0, -1, 2])
    assert same(pool.state, before)
    with pytest.raises(UsageError, match="rows"):
        recurra.Pool(model, 0)
    with pytest.raises(StateError):
        recurra.Pool(model, 3, model.initial_state(2))
    with pytest.raises(UsageError, match="one model"):
        recurra.Pool.of([recurra.Session(model), recurra.Session(language("lstm"))])


# ---- two directions


@pytest.mark.parametrize("name", ["elman", "gru", "lstm"])
@pytest.mark.parametrize("threads", [2, 3, 4])
def test_two_directions_side_by_side_give_the_same_bits(
    name: str, threads: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A row alone: each direction has threads of its own, where that is worth a team."""
    torch.manual_seed(2)
    both = Bidirectional(CELLS[name](64, 64), CELLS[name](64, 64, reverse=True)).eval()
    x, state = torch.randn(40, 1, 64), both.initial_state(1)
    lengths, resets = torch.tensor([33]), torch.rand(40, 1) < 0.1
    before = torch.get_num_threads()
    try:
        torch.set_num_threads(threads)
        with torch.no_grad():
            short, after = both(x, state, lengths, resets)
            monkeypatch.setattr(kernels, "MOST_ROWS", 0)
            long, end = both(x, state, lengths, resets)
    finally:
        torch.set_num_threads(before)
    assert torch.equal(short, long) and same(after, end)
