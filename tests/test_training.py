"""A step of training: the loss that it takes, the gradient that it clips, and what stops it."""

from __future__ import annotations

import math
from typing import Any

import pytest
import torch
from torch import Tensor

from networks import CODEC, HIDDEN, INPUTS, NETWORKS, Network
from recurra.data.batches import Batch, BucketFeed, StreamFeed
from recurra.errors import DataError
from recurra.layers import StackConfig
from recurra.models import Classifier, LanguageModel, LanguageModelConfig, Task
from recurra.state import detach, leaves
from recurra.training import Position, Recipe, train
from recurra.training.loop import _Run
from tolerances import assert_close

# taggers and translators have sentences of their own, and tests of their own
TASKS = [network for network in NETWORKS if network.name.startswith(("language", "classify"))]
RECIPE = Recipe(epochs=1, rows=3, steps=4, rate=1e-2)


def language(dtype: torch.dtype = torch.float64, **options: Any) -> LanguageModel:
    stack = StackConfig(cell="gru", hidden=HIDDEN, layers=2, dropout=0.3)
    config = LanguageModelConfig(stack=stack, vocabulary=CODEC.size, embedding=INPUTS, **options)
    return LanguageModel(config, CODEC).to(dtype)


def batch_for(task: Any, inputs: Tensor) -> Batch:
    """A batch whose inputs are time first, with targets that do for the task."""
    steps, rows = inputs.shape[:2]
    if isinstance(task, LanguageModel):
        targets = torch.randint(0, CODEC.size, (rows, steps))
    else:
        targets = torch.arange(rows) % task.config.classes
    return Batch(inputs.transpose(0, 1), targets, torch.tensor([steps, 1, steps - 1]))


def gradients(task: Task, total: Tensor) -> list[Tensor]:
    task.zero_grad()
    total.backward()
    return [parameter.grad.clone() for parameter in task.parameters() if parameter.grad is not None]


def step_against_forward(task: Any, batch: Batch, state: Any) -> None:
    torch.manual_seed(1)
    total, count, after = task.step_loss(batch, state)
    torch.manual_seed(1)
    outputs, wanted_after = task(batch.inputs, state, batch.lengths, batch.resets)
    wanted, wanted_count = task.loss(outputs, batch)
    assert count == wanted_count
    assert_close(total, wanted)
    for one, two in zip(leaves(after).values(), leaves(wanted_after).values(), strict=True):
        assert torch.equal(one, two)
    found, true = gradients(task, total), gradients(task, wanted)
    assert len(found) == len(true) == len(list(task.parameters()))
    for one, two in zip(found, true, strict=True):
        assert_close(one, two, "gradients")


# members of an ensemble each learn to answer by themselves
@pytest.mark.parametrize("network", [e for e in TASKS if "ensemble" not in e.name], ids=lambda network: network.name)
def test_the_loss_of_a_step_is_the_loss_of_the_outputs(network: Network) -> None:
    task = network.build(torch.float64)
    batch = batch_for(task, network.inputs(5, 3, torch.float64))
    step_against_forward(task, batch, None)
    step_against_forward(task, batch, detach(task.step_loss(batch)[2]))


@pytest.mark.parametrize(
    "options", [{"tied": False}, {"tied": True}, {"tied": False, "dropout_tokens": 0.2, "dropout_inputs": 0.2}], ids=str
)
def test_a_step_drops_what_the_forward_pass_drops(options: dict[str, Any]) -> None:
    task = language(dropout_outputs=0.4, **options).train()
    assert (task.narrow is not None) == options["tied"]
    batch = batch_for(task, torch.randint(0, CODEC.size, (5, 3)))
    step_against_forward(task, batch, None)
    torch.manual_seed(1)
    dropped = task.step_loss(batch)[0]
    assert dropped != task.eval().step_loss(batch)[0]


def test_a_step_needs_targets() -> None:
    with pytest.raises(DataError, match="no targets"):
        language().step_loss(Batch(torch.zeros(3, 5, dtype=torch.int64)))


def feed_for(task: Task) -> Any:
    if isinstance(task, LanguageModel):
        return StreamFeed(torch.randint(0, CODEC.size, (200,)), 3, 4)
    rows = [torch.randn(4, INPUTS) for _ in range(9)]
    return BucketFeed(rows, torch.arange(9) % 3, 3)


@pytest.mark.parametrize("name", ["language-gru", "classify-series-gru"])
def test_every_task_is_trained_by_its_step(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    task = next(network for network in TASKS if network.name == name).build()
    feed, made, events = feed_for(task), [], []
    kind = LanguageModel if isinstance(task, LanguageModel) else Classifier
    step_loss = kind.step_loss

    def counted(self: Any, *arguments: Any) -> Any:
        made.append(step_loss(self, *arguments))
        return made[-1]

    monkeypatch.setattr(kind, "step_loss", counted)
    train(task, feed, feed, RECIPE, on_step=lambda event, progress: events.append(event))
    assert len(made) == len(events) == len(feed)
    total, count, _ = made[0]
    assert events[0]["loss"] == pytest.approx(float(total.detach()) / count)


@pytest.mark.parametrize("clip", [0.01, 1.0, 1000.0])
def test_the_gradient_of_a_mean_is_clipped(clip: float) -> None:
    task, feed = language(torch.float32, tied=False).eval(), StreamFeed(torch.randint(0, CODEC.size, (200,)), 3, 4)
    run = _Run(task, feed, feed, RECIPE.model_copy(update={"clip": clip}), Position())
    batch = next(feed.batches(0))
    total, count, _ = task.step_loss(batch)
    gradients(task, total / count)
    norm = torch.nn.utils.clip_grad_norm_(task.parameters(), clip)
    wanted = [parameter.grad.clone() for parameter in task.parameters() if parameter.grad is not None]
    gradients(task, total := task.step_loss(batch)[0])
    found = [parameter.grad for parameter in task.parameters() if parameter.grad is not None]
    _, _, whole, _ = run._told([total], count, found, [])
    assert whole / count == pytest.approx(float(norm), rel=1e-4)
    run._clip(found, whole / count, count)
    got = [parameter.grad for parameter in task.parameters() if parameter.grad is not None]
    assert (norm > clip) == (clip < 1)
    for one, two in zip(got, wanted, strict=True):
        assert_close(one, two.double(), "gradients")


@pytest.mark.parametrize("bad", [math.nan, math.inf])
def test_a_loss_that_is_no_number_stops_before_the_weights_change(bad: float) -> None:
    task = language(torch.float32, tied=False)
    with torch.no_grad():
        # the token 1 comes in the text: it then has no chance at all, or an unknown one
        task.bias[1] = -bad
    before = {name: value.clone() for name, value in task.state_dict().items()}
    feed = StreamFeed(torch.randint(0, CODEC.size, (200,)), 3, 4)
    with pytest.raises(
        DataError,
        match=r"no longer a number.*(nan|inf), at step 0, batch 1 of \d+ in pass 1.*lower rate: --rate 0.003 --fresh",
    ):
        train(task, feed, feed, RECIPE)
    assert all(torch.equal(value, before[name]) for name, value in task.state_dict().items() if name != "bias")


@pytest.mark.parametrize("places", [(9,), (50,), (9, 50)])
def test_validations_go_on_where_they_were(places: tuple[int, ...]) -> None:
    """A run that goes on after a stop knows how many validations there were, and makes no other ones."""

    def validated(*places: int) -> list[int]:
        torch.manual_seed(0)
        task, feed = language(torch.float32, tied=False), StreamFeed(torch.arange(200) % CODEC.size, 3, 4)
        events: list[dict[str, Any]] = []
        position = Position()
        for place in (*places, None):
            outcome = train(
                task, feed, feed, RECIPE.model_copy(update={"epochs": 5, "evaluations": 2}), start=position,
                stop=lambda place=place: bool(events) and events[-1]["step"] == place,
                on_step=lambda event, progress: events.append(event),
            )  # fmt: skip
            position = outcome.position
        return [event["step"] for event in events if "valid" in event]

    assert validated(*places) == validated() == [43, 85]
