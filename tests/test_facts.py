"""The seven facts that the whole of Recurra is built on (docs/architecture.md), each a test."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor

from networks import CODEC
from recurra.cells import CELLS, GRU, LSTM, Elman, FeedForward
from recurra.data.codecs import LabelCodec
from recurra.data.text_codec import TextCodec
from recurra.kernels import backend
from recurra.layers import StackConfig
from recurra.models import Classifier, ClassifierConfig, LanguageModel, LanguageModelConfig
from recurra.state import leaves

RECURRENT = [name for name in CELLS if name != "feedforward"]


def classifier(cell: str, codec: TextCodec = CODEC, classes: int = 2) -> Classifier:
    config = ClassifierConfig(
        stack=StackConfig(cell=cell, hidden=16), classes=classes, vocabulary=codec.size, embedding=12
    )
    return Classifier(config, LabelCodec([f"class {number}" for number in range(classes)]), codec)


def test_a_layer_without_a_state_is_an_ordinary_layer() -> None:
    """S = f(W_in X + b): exactly torch's linear layer and activation, at every step."""
    cell, x = FeedForward(3, 4).double(), torch.randn(5, 2, 3, dtype=torch.float64)
    outputs, _ = cell(x, cell.initial_state(2))
    ordinary = torch.tanh(torch.nn.functional.linear(x, cell.weight_in, cell.bias))
    assert torch.allclose(outputs, ordinary, rtol=1e-12, atol=1e-14)


def test_a_recurrent_step_is_the_formula() -> None:
    """S_t = f(W_in X_t + W_S S_{t-1} + b), worked out by hand at every step."""
    cell, x = Elman(3, 4).double(), torch.randn(5, 2, 3, dtype=torch.float64)
    outputs, after = cell(x, cell.initial_state(2))
    state = torch.zeros(2, 4, dtype=torch.float64)
    for t in range(5):
        state = torch.tanh(x[t] @ cell.weight_in.T + state @ cell.weight_state.T + cell.bias)
        assert torch.allclose(outputs[t], state, rtol=1e-10, atol=1e-12)
    assert torch.equal(after.h, outputs[-1])


@pytest.mark.parametrize("kind", [GRU, LSTM])
def test_the_gated_cells_are_torchs(kind: type[GRU] | type[LSTM]) -> None:
    """With the same weights, GRU and LSTM compute what torch.nn's do."""
    cell, x = kind(3, 4).double(), torch.randn(5, 2, 3, dtype=torch.float64)
    other = getattr(torch.nn, kind.__name__)(3, 4).double()
    with torch.no_grad():
        other.weight_ih_l0.copy_(cell.weight_in)
        other.weight_hh_l0.copy_(cell.weight_state)
        other.bias_ih_l0.copy_(cell.bias)
        other.bias_hh_l0.zero_()
        if isinstance(cell, GRU):
            torch.nn.init.normal_(cell.bias_state)
            other.bias_hh_l0[8:].copy_(cell.bias_state)
    outputs, _ = cell(x, cell.initial_state(2))
    assert torch.allclose(outputs, other(x)[0], rtol=1e-10, atol=1e-12)


@pytest.mark.parametrize("name", CELLS)
def test_1_one_set_of_parameters_runs_any_number_of_steps(name: str) -> None:
    cell = CELLS[name](3, 4)
    before = sum(parameter.numel() for parameter in cell.parameters())
    for steps in (1, 2, 50, 333):
        outputs, _ = cell(torch.randn(steps, 2, 3), cell.initial_state(2))
        assert outputs.shape == (steps, 2, 4)
    assert sum(parameter.numel() for parameter in cell.parameters()) == before


@pytest.mark.parametrize("name", RECURRENT)
def test_2_each_step_gives_an_output_and_a_state(name: str) -> None:
    cell = CELLS[name](3, 4)
    first = leaves(cell.initial_state(2))
    outputs, state = cell(torch.randn(1, 2, 3), cell.initial_state(2))
    assert outputs.shape == (1, 2, 4)
    # most cells have a number for each unit in a state; the width of some is their own
    assert {name: leaf.shape for name, leaf in leaves(state).items()} == {
        name: leaf.shape for name, leaf in first.items()
    }
    assert first and all(leaf.shape[0] == 2 for leaf in first.values())


@pytest.mark.parametrize("name", RECURRENT)
def test_3_the_state_is_the_callers_and_not_the_networks(name: str) -> None:
    """The network holds nothing: no buffer, no attribute changes, and two sequences interleave without meeting."""
    cell = CELLS[name](3, 4)
    assert not list(cell.buffers())
    kept = {key: value.clone() for key, value in cell.state_dict().items()}
    attributes = dict(vars(cell))
    x, y = torch.randn(6, 1, 3), torch.randn(6, 1, 3)
    alone: list[Tensor] = []
    state = cell.initial_state(1)
    for t in range(6):
        outputs, state = cell(x[t : t + 1], state)
        alone.append(outputs)
    first, second = cell.initial_state(1), cell.initial_state(1)
    for t in range(6):
        outputs, first = cell(x[t : t + 1], first)
        _, second = cell(y[t : t + 1], second)
        assert torch.equal(outputs, alone[t])
    assert all(torch.equal(kept[key], value) for key, value in cell.state_dict().items())
    assert {key: id(value) for key, value in vars(cell).items()} == {
        key: id(value) for key, value in attributes.items()
    }


def test_3_the_first_state_is_zero() -> None:
    for name in RECURRENT:
        for leaf in leaves(CELLS[name](3, 4).initial_state(2)).values():
            assert leaf.count_nonzero() == 0


@pytest.mark.parametrize("name", RECURRENT)
def test_4_the_last_state_stands_for_the_whole_sequence(name: str) -> None:
    """A classifier's answer after a sequence is a function of the state it left: the state alone gives it again."""
    model = classifier(name).eval()
    tokens = torch.randint(1, CODEC.size, (1, 9))
    with torch.no_grad():
        answer, state = model(tokens)
        again, _ = model(tokens[:, :0], state)
    assert torch.equal(again, answer)


def test_5_an_output_at_every_step() -> None:
    config = LanguageModelConfig(stack=StackConfig(cell="gru", hidden=8), vocabulary=CODEC.size, embedding=8)
    model = LanguageModel(config, CODEC)
    logits, _ = model(torch.randint(0, CODEC.size, (2, 7)))
    assert logits.shape == (2, 7, CODEC.size)


def accuracy(cell: str, texts: list[str], labels: list[int]) -> float:
    """Train a classifier on all rows for a while; the share it then gets right."""
    torch.manual_seed(1)
    codec = TextCodec.learn(texts)
    model = classifier(cell, codec)
    batch = model.encode(texts)
    targets = torch.tensor(labels)
    optimiser = torch.optim.Adam(model.parameters(), lr=0.02)
    for _ in range(120):
        optimiser.zero_grad()
        loss = torch.nn.functional.cross_entropy(model(batch.inputs, None, batch.lengths)[0], targets)
        loss.backward()
        optimiser.step()
    with torch.no_grad():
        return float((model(batch.inputs, None, batch.lengths)[0].argmax(1) == targets).float().mean())


@pytest.mark.parametrize("name", RECURRENT)
def test_6_what_came_before_changes_the_answer(name: str) -> None:
    """The two apples: the same ending, two meanings. A recurrent cell tells them apart, one without a state cannot."""
    texts = ["快过圣诞节了,好想要一个苹果", "手机坏了,好想要一个苹果"] * 2
    assert accuracy(name, texts, [0, 1, 0, 1]) == 1.0
    assert accuracy("feedforward", texts, [0, 1, 0, 1]) == 0.5


@pytest.mark.parametrize("name", RECURRENT)
def test_7_order_carries_meaning(name: str) -> None:
    """The same words in another order are another sequence; a bag of words, or a last word, cannot know."""
    texts, labels = ["狗咬人了", "人咬狗了"], [0, 1]
    assert accuracy(name, texts, labels) == 1.0
    assert accuracy("feedforward", texts, labels) == 0.5


def test_7_few_parameters_leave_room_for_large_batches() -> None:
    """A batch of a thousand rows shares the parameters: each row's answer is what it is alone."""
    cell = LSTM(3, 4)
    x = torch.randn(5, 1000, 3)
    with torch.no_grad(), backend("native"):
        outputs, _ = cell(x, cell.initial_state(1000))
        alone, _ = cell(x[:, 777:778], cell.initial_state(1))
    assert torch.equal(outputs[:, 777:778], alone)
