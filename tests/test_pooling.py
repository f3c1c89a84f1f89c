"""What a classifier's answer is read off: attention against its formula, and a share of the recurrent weights dropped."""

from __future__ import annotations

from typing import Any

import pytest
import torch

import recurra
from recurra.cells import CELLS, GRU
from recurra.errors import UsageError
from recurra.layers import Stack, StackConfig
from recurra.layers.pooling import BOUND, Attention, pooling
from tolerances import assert_close

T, B, H = 7, 3, 8


@pytest.fixture
def attention() -> Attention:
    torch.manual_seed(0)
    made = Attention(H)
    torch.nn.init.normal_(made.score)
    return made


def test_attention_is_a_weighted_mean(attention: Attention) -> None:
    hidden, lengths = torch.randn(T, B, H), torch.tensor([7, 1, 4])
    read = attention.read(attention(hidden, torch.zeros(B, attention.size), lengths, None))
    for row in range(B):
        steps = hidden[: lengths[row], row]
        score = torch.tanh(steps @ attention.weight.T) @ attention.score.T
        shares = (BOUND * torch.tanh(score / BOUND)).softmax(dim=0)
        mean = (shares.repeat_interleave(H // attention.heads, dim=1) * steps).sum(dim=0)
        assert_close(read[row], mean)


def test_attention_in_pieces_has_the_same_bits(attention: Attention) -> None:
    hidden = torch.randn(T, B, H)
    with torch.no_grad():
        whole = attention(hidden, torch.zeros(B, attention.size), torch.full((B,), T), None)
        for cut in range(T + 1):
            first = attention(hidden[:cut], torch.zeros(B, attention.size), torch.full((B,), cut), None)
            assert torch.equal(attention(hidden[cut:], first, torch.full((B,), T - cut), None), whole)


def test_attention_after_a_reset_knows_nothing_of_before(attention: Attention) -> None:
    hidden, resets = torch.randn(T, B, H), torch.zeros(T, B, dtype=torch.bool)
    resets[3, 1] = True
    lengths, before = torch.full((B,), T), torch.rand(B, attention.size)
    found = attention(hidden, before, lengths, resets)
    assert_close(found[1], attention(hidden[3:], torch.zeros(B, attention.size), torch.full((B,), T - 3), None)[1])
    assert_close(found[0], attention(hidden, before, lengths, None)[0])


def test_nothing_read_is_answered_from_zeros(attention: Attention) -> None:
    assert torch.equal(attention.read(torch.zeros(B, attention.size)), torch.zeros(B, H))


def test_there_is_no_other_pooling() -> None:
    with pytest.raises(UsageError, match=r"no summary 'mean'. Expected: last, max, attention"):
        pooling("mean", H)


# ---- weight drop


@pytest.mark.parametrize("name", [name for name, kind in CELLS.items() if kind.can_recompute])
def test_a_share_of_the_recurrent_weights_is_dropped_in_training_alone(name: str) -> None:
    torch.manual_seed(1)
    stack = Stack.build(4, StackConfig(cell=name, hidden=64, weight_drop=0.5))
    (weight,) = [value for key, value in stack.named_parameters() if key.endswith("weight_state")]
    x, state = torch.randn(5, 2, 4), stack.initial_state(2)
    first, second = (stack(x, state)[0] for _ in range(2))
    assert not torch.equal(first, second)
    first.sum().backward()
    assert weight.grad is not None
    assert 0.4 < float((weight.grad == 0).double().mean()) < 0.6
    plain = Stack.build(4, StackConfig(cell=name, hidden=64))
    plain.load_state_dict(stack.state_dict())
    stack.eval()
    with torch.no_grad():
        assert torch.equal(stack(x, state)[0], plain(x, state)[0])
        # weights that were kept for short sequences are none of the training's
        stack.train()
        assert not torch.equal(stack(x, state)[0], plain(x, state)[0])


def test_a_share_that_is_none() -> None:
    with pytest.raises(UsageError, match="weight_drop"):
        GRU(2, 3, weight_drop=1.0)


# ---- class weights


def test_rare_classes_count_as_much_as_common_ones(tmp_path: Any) -> None:
    rows = [(f"good {i}", "often") for i in range(30)] + [(f"bad {i}", "seldom") for i in range(10)]
    choices: dict[str, Any] = {"epochs": 1, "hidden": 4, "baselines": False, "quiet": True}
    model = recurra.fit(rows, valid=rows, out=tmp_path / "balanced", class_weights="balanced", **choices)
    assert model.task.config.class_weights == (40 / (2 * 30), 40 / (2 * 10))
    task = model.task
    batch = next(iter(task.feed(recurra_read(rows), rows=40, steps=1, training=False).batches(0)))
    total, count, _ = task.step_loss(batch)
    outputs, _ = task(batch.inputs, None, batch.lengths)
    each = torch.nn.functional.cross_entropy(outputs, batch.targets, reduction="none")  # pyright: ignore
    weights = torch.tensor(task.config.class_weights)[batch.targets]
    assert_close(total, (each * weights).sum())
    assert count == 40
    assert float(weights.mean()) == pytest.approx(1.0)
    # what is reported counts every row once
    assert_close(task.loss(outputs, batch)[0], each.sum())
    plain = recurra.fit(rows, valid=rows, out=tmp_path / "plain", **choices)
    assert plain.task.config.class_weights is None
    assert "class_weights" not in (tmp_path / "plain" / "config.json").read_text()


def test_two_readings_of_a_row_are_to_agree(tmp_path: Any) -> None:
    rows = [(f"good {i}", "yes") for i in range(20)] + [(f"bad {i}", "no") for i in range(20)]
    choices: dict[str, Any] = {"epochs": 1, "hidden": 4, "baselines": False, "quiet": True}
    task = recurra.fit(rows, valid=rows, out=tmp_path / "both", consistency=1.0, **choices).task
    batch = next(iter(task.feed(recurra_read(rows), rows=40, steps=1, training=False).batches(0)))
    targets = batch.targets
    assert targets is not None
    task.train()
    torch.manual_seed(3)
    total, count, _ = task.step_loss(batch)
    torch.manual_seed(3)
    one, other = (task(batch.inputs, None, batch.lengths)[0].log_softmax(dim=-1) for _ in range(2))
    assert not torch.equal(one, other)
    losses = -(one + other).gather(1, targets[:, None]).sum() / 2
    apart = ((one.exp() - other.exp()) * (one - other)).sum() / 2
    assert_close(total, losses + apart)
    assert count == 40
    # where nothing is dropped one reading is enough, and what is reported is the loss alone
    task.eval()
    assert_close(task.step_loss(batch)[0], task.loss(task(batch.inputs, None, batch.lengths)[0], batch)[0])
    # of few rows the default leaves it out
    alone = recurra.fit(rows, valid=rows, out=tmp_path / "alone", **choices).task
    assert alone.config.consistency == 0.0 and "consistency" not in (tmp_path / "alone" / "config.json").read_text()


def recurra_read(rows: list[tuple[str, str]]) -> Any:
    from recurra.data.reading import read

    return read(rows)[0]
