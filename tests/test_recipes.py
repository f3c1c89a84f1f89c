"""Recipes: the rate over a run, pace, optimisers, averages, patience, and what is said when a run goes wrong."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

import recurra
from networks import CODEC, HIDDEN, INPUTS
from recurra.data.batches import BucketFeed, StreamFeed
from recurra.errors import DataError, UsageError
from recurra.fitting.options import FitOptions
from recurra.layers import StackConfig
from recurra.models import LanguageModel, LanguageModelConfig
from recurra.training import Recipe, train, trouble
from recurra.training.optimisers import Average, Optimisers
from recurra.training.pace import Pace

TEXT = "the cat sat on the mat and the dog ran.\n" * 60


def language() -> LanguageModel:
    torch.manual_seed(0)
    config = LanguageModelConfig(stack=StackConfig(hidden=HIDDEN), vocabulary=CODEC.size, embedding=INPUTS, tied=False)
    return LanguageModel(config, CODEC)


def feed() -> StreamFeed:
    random = torch.Generator().manual_seed(3)
    return StreamFeed(torch.randint(0, CODEC.size, (400,), generator=random), 3, 4)


# ---- the rate


@pytest.mark.parametrize(
    ("schedule", "at_half", "at_end"),
    [("cosine", 0.505, 0.01), ("linear", 0.505, 0.01), ("constant", 1.0, 1.0), ("plateau", 1.0, 1.0)],
)
def test_schedules(schedule: Any, at_half: float, at_end: float) -> None:
    recipe = Recipe(epochs=1, rate=2.0, warmup=0.1, schedule=schedule)
    assert recipe.rate_at(0.0) < 0.03
    assert recipe.rate_at(0.1) == pytest.approx(2.0)
    assert recipe.rate_at(0.55) == pytest.approx(2 * at_half)
    assert recipe.rate_at(1.0) == pytest.approx(2 * at_end)


def test_one_cycle_rises_and_falls() -> None:
    recipe = Recipe(epochs=1, rate=2.0, schedule="one-cycle")
    rates = [recipe.rate_at(place / 10) for place in range(11)]
    assert rates[0] == pytest.approx(2 / 25) and rates[3] == 2.0 and rates[10] == pytest.approx(2e-4)
    assert rates[:4] == sorted(rates[:4]) and rates[3:] == sorted(rates[3:], reverse=True)


def test_a_plateau_halves_the_rate() -> None:
    recipe = Recipe(epochs=1, rate=1.0, warmup=0.0, schedule="plateau")
    history = [{"best": best} for best in (True, False, False, False, True, False, False)]
    rates = [recipe.rate_at(0.5, history[:count]) for count in range(len(history) + 1)]
    assert rates == [1.0, 1.0, 1.0, 0.5, 0.5, 0.5, 0.5, 0.25]


def test_patience() -> None:
    recipe = Recipe(epochs=1, patience=2)
    assert not recipe.is_out_of_patience([{"best": True}, {"best": False}])
    assert recipe.is_out_of_patience([{"best": True}, {"best": False}, {"best": False}])
    assert not Recipe(epochs=1).is_out_of_patience([{"best": False}] * 9)


# ---- batches


@pytest.mark.parametrize("spread", [1, 20, 400])
def test_little_of_a_batch_is_padding(spread: int) -> None:
    draw = torch.Generator().manual_seed(1)
    # a few rows are many times as long as most: the group must be large for them
    lengths = (5 + spread * torch.rand(9_000, generator=draw) ** 6).long().tolist()
    rows = [torch.zeros(length, dtype=torch.int64) for length in lengths]
    feed = BucketFeed(rows, torch.arange(9_000), 32, shuffle=True)
    for epoch in (0, 1):
        order = feed.order(epoch)
        assert sorted(torch.cat(order).tolist()) == list(range(9_000))
        steps = sum(max(lengths[row] for row in batch.tolist()) * len(batch) for batch in order)
        assert 1 - sum(lengths) / steps < 0.05
    assert [batch.tolist() for batch in feed.order(0)] != [batch.tolist() for batch in feed.order(1)]


# ---- the pace


@given(total=st.integers(1, 500))
def test_epochs_need_no_clock(total: int) -> None:
    pace = Pace().corrected(0, 0.0, total, None)
    assert pace.until == total
    assert [pace.at(step) for step in range(total + 1)] == sorted(pace.at(step) for step in range(total + 1))
    assert pace.at(total) == pytest.approx(1.0)


@given(seed=st.integers(0, 10_000), cost=st.floats(0.001, 0.5), spread=st.floats(0, 2), minutes=st.floats(0.05, 0.3))
def test_minutes_end_on_time(seed: int, cost: float, spread: float, minutes: float) -> None:
    draw = torch.Generator().manual_seed(seed)
    costs = (cost * torch.exp(spread * (torch.rand(20_000, generator=draw) - 0.5))).tolist()
    pace, step, clock = Pace(), 0, 0.0
    pace = pace.corrected(0, 0.0, None, 60 * minutes)
    seen = [0.0]
    while pace.at(step) < 1.0 and step < len(costs):
        clock += costs[step]
        step += 1
        if step >= pace.until and pace.at(step) < 1.0:
            pace = pace.corrected(step, clock, None, 60 * minutes)
        seen.append(pace.at(step))
    assert seen == sorted(seen)
    # nothing is known of the steps up to the next look at the clock
    assert abs(clock - 60 * minutes) < 0.05 * 60 * minutes + 4 * max(costs)


def test_whichever_end_comes_first() -> None:
    slow = Pace(step=10, progress=0.1, each=0.01, until=20, seconds=10.0, cost=1.0).corrected(20, 20.0, 1000, 60.0)
    quick = Pace(step=10, progress=0.1, each=0.01, until=20, seconds=0.1, cost=0.01).corrected(20, 0.2, 100, 60.0)
    assert slow.each == pytest.approx(0.8 / 40) and quick.each == pytest.approx(0.8 / 80)


# ---- optimisers and averages


@pytest.mark.parametrize("optimiser", ["adamw", "sgd", "muon"])
def test_each_optimiser_learns_and_changes_every_parameter(optimiser: Any) -> None:
    task = language()
    before = {name: value.detach().clone() for name, value in task.named_parameters()}
    rate = 0.5 if optimiser == "sgd" else 1e-2
    outcome = train(task, feed(), feed(), Recipe(epochs=8, optimiser=optimiser, rate=rate, rows=3, steps=4))
    losses = [entry["valid"]["loss"] for entry in outcome.position.history]
    assert losses[-1] < losses[0]
    assert all(not torch.equal(value, before[name]) for name, value in task.named_parameters())


@pytest.mark.parametrize("optimiser", ["adamw", "sgd", "muon"])
def test_decay_spares_vectors_and_embeddings(optimiser: Any) -> None:
    task = language()
    optimisers = Optimisers(task, Recipe(epochs=1, optimiser=optimiser, weight_decay=0.5))
    decayed = {
        id(parameter)
        for one, _ in optimisers._all
        for group in one.param_groups
        if group["weight_decay"]
        for parameter in group["params"]
    }
    names = {name for name, parameter in task.named_parameters() if id(parameter) in decayed}
    assert names == {"head", "stack.blocks.0.cell.weight_in", "stack.blocks.0.cell.weight_state"}
    assert len(optimisers.parameters) == len(list(task.parameters()))


def test_the_average_follows_and_steps_aside() -> None:
    task = language()
    average = Average(task, 0.9)
    own = {name: value.detach().clone() for name, value in task.named_parameters()}
    with torch.no_grad():
        for value in task.parameters():
            value.add_(1.0)
    average.follow(10_000)
    with average.in_place():
        for name, value in task.named_parameters():
            torch.testing.assert_close(value.detach(), own[name] + 0.1)
    for name, value in task.named_parameters():
        torch.testing.assert_close(value.detach(), own[name] + 1.0)


# ---- a run as a person has it


@pytest.fixture
def text(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> str:
    monkeypatch.chdir(tmp_path)
    Path("text.txt").write_text(TEXT)
    return "text.txt"


@pytest.mark.parametrize(
    "choices",
    [
        {"optimiser": "sgd", "schedule": "one-cycle"},
        {"optimiser": "muon", "schedule": "plateau", "average": 0.99},
        {"recompute": 16, "accumulate": 2, "schedule": "linear"},
        {"precision": "bfloat16", "warmup": 0.2, "clip": 0.1, "weight_decay": 0.0},
    ],
    ids=str,
)
def test_choices_of_a_run(text: str, choices: dict[str, Any]) -> None:
    model = recurra.fit(text, hidden=8, epochs=4, rows=4, steps=32, baselines=False, quiet=True, out="new", **choices)
    valid = [entry["valid"]["loss"] for entry in model.record["history"]]
    assert valid[-1] < valid[0]
    assert model.metrics["valid"]["loss"] == pytest.approx(min(valid), rel=0.01)
    assert 0.0 <= model.record["clipped"] <= 1.0
    if choices.get("clip"):
        assert model.record["clipped"] > 0.5


@pytest.mark.filterwarnings("ignore::DeprecationWarning", "ignore::FutureWarning")
def test_a_step_that_torch_compiles_learns_the_same(text: str) -> None:
    torch.compiler.reset()
    shared: dict[str, Any] = {"hidden": 8, "epochs": 1, "rows": 4, "steps": 32, "baselines": False, "quiet": True}
    plain = recurra.fit(text, out="plain", **shared)
    compiled = recurra.fit(text, out="compiled", compile=True, **shared)
    assert compiled.metrics["valid"]["loss"] == pytest.approx(plain.metrics["valid"]["loss"], rel=1e-4)


def test_patience_ends_a_run(text: str) -> None:
    model = recurra.fit(
        text, hidden=8, epochs=40, rows=4, steps=32, rate=1e-9, patience=3, baselines=False, quiet=True, out="new"
    )
    assert len(model.record["history"]) < 40
    assert not any(entry["best"] for entry in model.record["history"][-3:])


def test_tensorboard(text: str) -> None:
    pytest.importorskip("tensorboard")
    recurra.fit(text, hidden=8, epochs=1, baselines=False, quiet=True, out="new", tensorboard=True)
    assert list(Path("new/tensorboard").glob("events.out.tfevents.*"))
    # what is written beside the model does not keep it from being replaced
    recurra.fit(text, hidden=8, epochs=1, baselines=False, quiet=True, out="new", fresh=True)
    assert not Path("new/tensorboard").exists()


@pytest.mark.parametrize(
    ("given", "wanted"), [("30s", (30.0, None)), ("1.5m", (90.0, None)), ("2h", (7200.0, None)), ("7", (math.inf, 7))]
)
def test_when_checkpoints_are_written(given: str, wanted: tuple[float, int | None]) -> None:
    assert FitOptions.from_user(checkpoint_every=given).every() == wanted


@pytest.mark.parametrize("given", ["", "0", "0s", "1.5", "s", "5 minutes", "-3", "nan"])
def test_a_wrong_interval_is_refused(given: str) -> None:
    with pytest.raises(UsageError, match=r"checkpoint_every.*30s, 5m, 1h, or a number of steps"):
        FitOptions.from_user(checkpoint_every=given).every()


def test_a_loss_that_explodes_stops_the_run() -> None:
    task = language()
    with pytest.raises(
        DataError,
        match=r"The loss explodes.*at step \d+, batch \d+ of \d+ in pass \d+.*at most 3 times what it began.*--rate 1 --fr",
    ):
        train(
            task,
            feed(),
            feed(),
            Recipe(epochs=20, optimiser="sgd", rate=1e4, warmup=0.5, schedule="constant", clip=1e9),
        )


def test_a_gradient_that_is_no_number_is_named() -> None:
    task = language()
    task.head.register_hook(lambda gradient: gradient * math.nan)  # pyright: ignore[reportOptionalMemberAccess]
    before = {name: value.detach().clone() for name, value in task.named_parameters()}
    with pytest.raises(
        DataError, match=r"The gradient is no longer a number.*step 0, batch 1 of.*the gradient of 'head'"
    ):
        train(task, feed(), feed(), Recipe(epochs=1))
    assert all(torch.equal(value, before[name]) for name, value in task.named_parameters())


def test_a_device_that_is_not_there(text: str) -> None:
    with pytest.raises(UsageError, match=r"There is no device 'tpu' to train on.*auto, cpu, cuda or mps"):
        recurra.fit(text, device="tpu", quiet=True)


def test_a_loss_that_explodes_at_once_is_measured_by_the_untrained_model() -> None:
    """Not by the first steps, which have already gone astray."""
    with pytest.raises(DataError, match=r"The loss explodes.*at step 10, .*at most 3 times what it began with, 2\.\d+"):
        train(language(), feed(), feed(), Recipe(epochs=20, rate=30.0, warmup=0.0, schedule="constant", clip=1e9))


def test_the_mend_is_a_rate_of_the_optimiser_or_the_decay() -> None:
    for recipe, mend in (
        (Recipe(epochs=1, optimiser="sgd", rate=30.0), "--rate 1 --fresh"),
        (Recipe(epochs=1, optimiser="sgd", rate=3.0), "--rate 1 --fresh"),
        (Recipe(epochs=1, rate=30.0), "--rate 0.01 --fresh"),
        (Recipe(epochs=1, rate=0.03), "--rate 0.01 --fresh"),
        (Recipe(epochs=1, weight_decay=1e10), "--weight-decay"),
    ):
        assert mend in str(trouble.exploded(9.0, 1.0, "at step 10", recipe))


SENTENCES = "the cat sat on the mat and the dog ran.\n" * 80


def test_without_a_validation_the_weights_of_the_last_checkpoint_are_kept(tmp_path: Path) -> None:
    data, out = tmp_path / "data.txt", tmp_path / "kept"
    data.write_text(SENTENCES)
    with pytest.raises(DataError, match=r"The weights of the last checkpoint, never validated, are kept in .*kept"):
        recurra.fit(
            data, out=out, rate=1e4, clip=1e9, epochs=50, hidden=8, rows=4, steps=16, checkpoint_every=3, quiet=True,
            baselines=False, optimiser="sgd",
        )  # fmt: skip
    assert all(torch.isfinite(value).all() for value in recurra.load(out).task.state_dict().values())


def test_a_fresh_start_takes_the_name_that_is_there(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    Path("data.txt").write_text(SENTENCES)
    choices: dict[str, Any] = {"epochs": 1, "hidden": 4, "baselines": False, "quiet": True}
    first = recurra.fit("data.txt", **choices)
    again = recurra.fit("data.txt", fresh=True, seed=1, **choices)
    assert first.folder == again.folder == Path("data-model")
    assert recurra.load("data-model").fingerprint == again.fingerprint != first.fingerprint
    assert recurra.fit("data.txt", seed=2, **choices).folder == Path("data-model-2")


def test_what_the_command_alone_can_do_is_said(text: str) -> None:
    with pytest.raises(UsageError, match=r"From Python one process trains\. Got: processes=2\. .*torchrun"):
        recurra.fit(text, processes=2)


def test_a_number_of_steps_may_be_a_number() -> None:
    assert FitOptions.from_user(checkpoint_every=5).every() == (math.inf, 5)
    with pytest.raises(UsageError, match="checkpoint_every"):
        FitOptions.from_user(checkpoint_every=True)


@pytest.mark.parametrize(
    ("choice", "task"),
    [
        ({"class_weights": "balanced"}, "classify"),
        ({"consistency": 0.0}, "classify"),
        ({"form": "word-by-word"}, "translate"),
        ({"shared": True}, "translate"),
        ({"beam": 3}, "translate"),
        ({"length_penalty": 0.0}, "translate"),
    ],
)
def test_what_a_task_would_leave_unread_is_refused(choice: dict[str, Any], task: str) -> None:
    option = "--" + next(iter(choice)).replace("_", "-")
    with pytest.raises(UsageError, match=rf"{option} is for --task {task}\. Got: --task language\."):
        recurra.fit([SENTENCES], task="language", epochs=1, quiet=True, **choice)
