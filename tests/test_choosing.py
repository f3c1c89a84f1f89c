"""The recipe chosen by validation in the first part of the minutes: which is tried, what is kept, how a run goes on."""

from __future__ import annotations

import json
import os
import signal
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

import recurra
from bad_input_cases import run
from recurra.data.layouts import FrameChoices
from recurra.data.reading import read
from recurra.data.series import SeriesDataset
from recurra.errors import DataError, Interrupted
from recurra.fitting import choosing
from recurra.fitting.choosing import Choice, choice_of
from recurra.fitting.halving import Halving, Tried
from recurra.fitting.kinds.forecast import Forecast
from recurra.fitting.live import Told
from recurra.fitting.options import FitOptions
from recurra.models import Forecaster, load_model
from recurra.training import Recipe, evaluate, load_checkpoint, train

QUICK: dict[str, Any] = {"horizon": 6, "hidden": 6, "minutes": 1.0, "epochs": 3, "quiet": True, "baselines": False}
"""Three steps, of each candidate too."""


@pytest.fixture(autouse=True)
def place(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(choosing, "SHARE", 0.01)
    monkeypatch.setattr(choosing, "LEAST", 1e-4)
    at = np.arange(240)
    values = 20 + 5 * np.sin(2 * np.pi * at / 12) + np.random.default_rng(1).standard_normal(240)
    Path("w.csv").write_text("y\n" + "".join(f"{value:.3f}\n" for value in values))


def series() -> SeriesDataset:
    found, _, _ = read("w.csv", task="forecast", frame=FrameChoices(horizon=6))
    assert isinstance(found, SeriesDataset)
    return found


# ---- halving


@pytest.mark.parametrize(
    ("candidates", "seconds", "sizes"),
    [
        (1, 1e9, []),
        (6, 7.9, []),
        (6, 8.0, [2]),
        (3, 23.9, [2]),
        (3, 24.0, [3, 2]),
        (6, 48.0, [6, 2]),
        (9, 1e9, [9, 3, 2]),
    ],
)
def test_few_seconds_leave_room_for_few(candidates: int, seconds: float, sizes: list[int]) -> None:
    assert Halving(candidates, seconds, 4.0).sizes == sizes


def searched(halving: Halving, values: dict[int, list[float | None]]) -> list[Tried]:
    trials: list[Tried] = []
    while (following := halving.following(trials)) is not None:
        candidate, number, seconds = following
        trials.append(Tried(candidate, number, values[candidate][number], seconds, whole=candidate == 3))
    return trials


def test_the_best_go_on_and_the_usual_one_stays() -> None:
    halving = Halving(5, 100.0, 4.0)
    trials = searched(halving, {0: [9.0, 5.0], 1: [3.0, 4.9], 2: [4.0, 0.0], 3: [8.0, 0.0], 4: [None, 0.0]})
    assert [(one.candidate, one.round) for one in trials] == [(0, 0), (1, 0), (2, 0), (3, 0), (4, 0), (0, 1), (1, 1)]
    assert [one.seconds for one in trials] == [10.0] * 5 + [25.0] * 2
    assert halving.winner(trials, 0.01) == 1 and halving.winner(trials, 0.03) == 0


def test_what_came_to_its_end_is_not_tried_again() -> None:
    halving = Halving(4, 100.0, 4.0)
    trials = searched(halving, {0: [9.0, 9.0], 1: [8.0, 0.0], 2: [7.0, 0.0], 3: [1.0, 99.0]})
    assert [one.candidate for one in trials] == [0, 1, 2, 3, 0]
    assert halving.winner(trials, 0.1) == 3


def test_where_all_others_fail_the_usual_one_stays() -> None:
    halving = Halving(3, 100.0, 4.0)
    assert halving.winner(searched(halving, {0: [1.0, 1.0], 1: [None, None], 2: [None, None]}), 0.0) == 0


def test_what_learns_at_another_speed_wins_by_whole_trainings_alone() -> None:
    halving = Halving(3, 100.0, 4.0)

    def winner(*ended: int, slow: frozenset[int] = frozenset({1})) -> int:
        values = {0: 3.0, 1: 1.0, 2: 2.0}
        trials = [Tried(one, 0, values[one], 1.0, one in ended) for one in range(3)]
        trials += [Tried(one, 1, values[one], 1.0) for one in (0, 1) if one not in ended]
        return halving.winner(trials, 0.0, slow)

    assert winner(0, 1, 2) == 1
    assert winner(slow=frozenset()) == 1
    assert winner() == winner(0) == winner(1) == 0


def test_a_recipe_that_was_trained_too_briefly_is_told_so() -> None:
    choice = Choice([{}, {"parts": "residual"}], "mae", 0.0, Halving(2, 100.0, 4.0), frozenset({1}))
    brief, whole = ([Tried(0, 0, 3.0, 1.0, ended), Tried(1, 0, 2.0, 1.0, ended)] for ended in (False, True))
    assert choice.chosen(brief) == {} and choice.chosen(whole) == {"parts": "residual"}
    told = "the usual recipe, 3.0000; next: --parts residual, 2.0000, too briefly trained to be compared."
    assert choice.sentence(brief).endswith(told)


# ---- what a forecaster chooses among


def test_what_a_person_fixed_is_not_chosen() -> None:
    def names(**options: Any) -> set[str]:
        return {name for one in Forecast().candidates(series(), FitOptions(**options)) for name in one}

    assert names() == {"parts", "lookback"}
    assert names(parts="plain") == {"lookback"} and names(lookback=24) == {"parts"}
    assert names(parts="plain", lookback=24) == set()


def test_without_minutes_there_is_nothing_to_choose_with() -> None:
    found, kind = series(), Forecast()
    assert choice_of(kind, found, found, FitOptions(epochs=3)) is None
    assert choice_of(kind, found, found, FitOptions(minutes=1e-7)) is None
    choice = choice_of(kind, found, found, FitOptions(minutes=10.0))
    assert choice is not None and choice.candidates[0] == {}


def test_no_look_back_is_tried_that_takes_minutes() -> None:
    values = np.arange(9_000.0)
    np.savetxt("long.csv", values, header="y", comments="")
    dataset = read("long.csv", frame=FrameChoices(horizon=720))[0]
    assert isinstance(dataset, SeriesDataset)
    assert [one["lookback"] for one in Forecast().candidates(dataset, FitOptions()) if "lookback" in one] == [1440]


def test_forecasts_of_zero_are_not_chosen_for_their_mae_alone() -> None:
    """Counts that are mostly zero: their median has the lesser absolute, their mean the lesser squared error."""
    middle, mean = {"mae": 0.68, "mse": 1.38}, {"mae": 0.79, "mse": 1.0}
    assert Forecast().compared(middle) > 0.97 * Forecast().compared(mean)
    assert Forecast().compared({"mae": 0.054, "mse": 0.0053}) < 0.97 * Forecast().compared(
        {"mae": 0.056, "mse": 0.0057}
    )


# ---- weights are chosen by what they will give


def test_a_validation_measures_the_forecast_that_is_used() -> None:
    dataset = series()
    torch.manual_seed(1)
    training, valid = Forecast().split(dataset, 0)
    task, _ = Forecast().build(training, FitOptions(hidden=6))
    feed = task.feed(valid, rows=4, steps=64, training=False)
    alone = evaluate(task, feed)[0]
    with task.as_used(feed):
        share, used = task.share.clone(), evaluate(task, feed)[0]
    # one share for all of six steps: the least square error there is
    assert 0 <= float(share[0]) < 1 and used["mse"] < alone["mse"]
    assert torch.equal(task.share, torch.ones_like(task.share))

    kept: dict[str, Any] = {}
    learning = task.feed(training, rows=16, steps=64, training=True)
    outcome = train(
        task, learning, feed, Recipe(epochs=2, average=0.9), on_best=lambda: kept.update(deepcopied(task.state_dict()))
    )
    again = Forecaster(task.config, task.codec)
    again.load_state_dict(kept)
    assert evaluate(again, feed)[0] == outcome.position.best
    assert torch.equal(task.share, torch.ones_like(task.share))


def deepcopied(state: dict[str, torch.Tensor]) -> dict[str, torch.Tensor]:
    return {name: value.clone() for name, value in state.items()}


# ---- a run


def test_a_run_that_chose_says_so() -> None:
    words = [word for name in ("horizon", "hidden", "minutes", "epochs") for word in (f"--{name}", QUICK[name])]
    ending = run("fit", "w.csv", *words, "--no-baselines", "--json", "--out", "m")
    assert ending.code == 0
    record = json.loads(Path("m/record.json").read_text())
    choice = record["choice"]
    assert len({one["candidate"] for one in choice["trials"]}) >= 4 and "mae" in choice["metric"]
    assert all(one["value"] > 0 for one in choice["trials"])
    assert choice["seconds"] <= record["seconds"]
    assert load_model("m").config.lookback == choice["chosen"].get("lookback")
    assert all(str(value) in choice["sentence"] for value in choice["chosen"].values())
    assert choice["sentence"] in ending.err and json.loads(ending.out)["choice"] == choice
    page = Path("m/report.html").read_text()
    assert "How the recipe was chosen" in page and "--parts plain" in page


def test_a_run_that_goes_on_does_not_choose_again(monkeypatch: pytest.MonkeyPatch) -> None:
    made: list[tuple[int, int]] = []
    tried, on_step = choosing.Chooser._tried, Told.on_step

    def counted(self: choosing.Chooser, choice: Choice, candidate: int, number: int, *rest: Any) -> Tried | None:
        made.append((candidate, number))
        if len(made) == 3:
            os.kill(os.getpid(), signal.SIGINT)
        return tried(self, choice, candidate, number, *rest)

    def stopped(self: Told, event: dict[str, Any], done: float) -> None:
        on_step(self, event, done)
        if event["step"] == 2:
            os.kill(os.getpid(), signal.SIGINT)

    monkeypatch.setattr(choosing.Chooser, "_tried", counted)
    monkeypatch.setattr(Told, "on_step", stopped)
    with pytest.raises(Interrupted, match=r"while choosing a recipe; [23] trials kept in m"):
        recurra.fit("w.csv", out="m", **QUICK)
    kept = load_checkpoint(Path("m"))
    assert kept is not None and kept.position.step == 0
    with pytest.raises(Interrupted, match="Stopped after"):
        recurra.fit("w.csv", out="m", **QUICK)
    found = load_checkpoint(Path("m"))
    assert found is not None and found.position.step == 2
    # a trial that was broken off is made again, those before it are not
    count = len(kept.position.choice)
    assert found.position.choice[:count] == kept.position.choice
    assert made[3:] == [(one["candidate"], one["round"]) for one in found.position.choice[count:]]
    assert found.position.seconds >= sum(one["seconds"] for one in found.position.choice)

    monkeypatch.setattr(choosing.Chooser, "_tried", None)
    monkeypatch.setattr(Told, "on_step", on_step)
    trials = recurra.fit("w.csv", out="m", **QUICK).record["choice"]["trials"]
    assert [one["value"] for one in trials] == [one["value"] for one in found.position.choice]


@pytest.mark.parametrize(
    ("error", "words", "told"),
    [
        (DataError, "The loss exploded", "The loss exploded."),
        (MemoryError, "", "out of memory"),
        (RuntimeError, "DefaultCPUAllocator: can't allocate memory: you tried to allocate 9 bytes", "out of memory"),
    ],
)
def test_a_candidate_that_fails_is_told(
    monkeypatch: pytest.MonkeyPatch, error: type[Exception], words: str, told: str
) -> None:
    real = choosing.Chooser._train

    def failing(self: choosing.Chooser, chosen: dict[str, Any], *rest: Any) -> Any:
        if chosen.get("parts") == "plain":
            raise error(words)
        return real(self, chosen, *rest)

    monkeypatch.setattr(choosing.Chooser, "_train", failing)
    trials = recurra.fit("w.csv", out="m", lookback=24, **QUICK).record["choice"]["trials"]
    assert [one["trouble"] for one in trials if one["options"].get("parts") == "plain"] == [told]
