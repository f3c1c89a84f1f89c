"""Search for options: what is searched, what is kept, what is said of it, and what is refused."""

from __future__ import annotations

import json
import os
import shlex
import signal
import sys
from pathlib import Path
from typing import Any

import pytest

import recurra
from bad_input_cases import run
from recurra.cells import CELLS
from recurra.data.layouts import FrameChoices
from recurra.data.reading import read
from recurra.errors import EnvironmentFailure, Interrupted, ModelError, UsageError
from recurra.fitting.asking import Asker
from recurra.fitting.kinds import kind_of
from recurra.fitting.kinds.space import Between, OneOf, around
from recurra.fitting.options import FitOptions
from recurra.fitting.trials import STUDY, Study, Trial

ROWS = "text\tlabel\n" + "".join(f"a film of {i} acts\t{'good' if i % 2 else 'bad'}\n" for i in range(80))
SPACE = (OneOf("hidden", (4, 8)), Between("rate", 1e-3, 1e-2, log=True))
QUICK: dict[str, Any] = {"minutes": 0.004, "trials": 2, "cell": "gru", "hidden": 4, "layers": 1, "quiet": True}


def trial(number: int, value: float | None = 0.5, **changes: Any) -> Trial:
    chosen = {"hidden": 4, "rate": 2e-3 + 1e-4 * number} if number else {}
    values: dict[str, Any] = {
        "number": number, "chosen": chosen, "state": "complete", "value": value, "seconds": 1.0,
        "history": [] if value is None else [value],
    }  # fmt: skip
    return Trial(**{**values, **changes})


@pytest.fixture(autouse=True)
def place(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    Path("rows.tsv").write_text(ROWS)


# ---- what is searched


@pytest.mark.parametrize(
    ("name", "content", "searched"),
    [
        ("a.txt", "the cat sat on the mat.\n" * 50, {"level", "weight_drop", "steps"}),
        ("a.tsv", ROWS, {"level", "weight_drop", "summary", "consistency"}),
        (
            "a.jsonl",
            '{"series": [1, 2, 3], "label": "x"}\n{"series": [3, 2, 1], "label": "y"}\n' * 20,
            {"summary", "augment", "convolution", "members", "probes"},
        ),
        ("a.csv", "date,load\n" + "".join(f"2024-01-{d:02d},{d % 7}\n" for d in range(1, 32)), {"parts", "lookback"}),
        ("a.jsonl", '{"tokens": ["a", "b"], "tags": ["O", "B-x"]}\n' * 30, set()),
        ("b.tsv", "source\ttarget\n" + "".join(f"eins {i}\tone {i}\n" for i in range(30)), set()),
    ],
)
def test_each_task_searches_around_what_it_takes_by_default(name: str, content: str, searched: set[str]) -> None:
    Path(name).write_text(content)
    dataset, _, _ = read(name)
    kind = kind_of(dataset)
    task, recipe = kind.build(dataset, FitOptions(minutes=1.0))
    spans = {span.name: span for span in kind.space(dataset, task, recipe)}
    # the rows of a batch are not searched where they depend on the lookback
    rows = set() if "lookback" in searched else {"rows"}
    assert set(spans) == {"cell", "hidden", "layers", "dropout", "rate"} | rows | searched
    assert spans["hidden"].holds(task.summary()["hidden"]) and spans["rate"].holds(recipe.rate)
    assert not rows or spans["rows"].holds(recipe.rows)
    assert spans["cell"] == OneOf("cell", tuple(name for name in CELLS if name != "feedforward"))
    assert set(spans) <= set(FitOptions.model_fields)
    assert kind.aim(task)[0] in ("bits_per_character", "accuracy", "f1", "loss", "bleu")


@pytest.mark.parametrize(
    ("count", "horizon", "lookbacks"), [(31, 7, (None, 24)), (120, 7, (None, 24, 48, 96)), (20, 7, (None,))]
)
def test_a_lookback_is_some_seasons_or_horizons_that_the_series_have(
    count: int, horizon: int, lookbacks: tuple[int | None, ...]
) -> None:
    Path("a.csv").write_text("ds,load\n" + "".join(f"{at},{at % 5}.5\n" for at in range(count)))
    dataset, _, _ = read("a.csv", task="forecast", frame=FrameChoices(horizon=horizon, season=1))
    kind = kind_of(dataset)
    options = FitOptions(task="forecast", minutes=1.0, horizon=horizon)
    task, recipe = kind.build(dataset, options)
    (span,) = (span for span in kind.space(dataset, task, recipe) if span.name == "lookback")
    assert span == OneOf("lookback", lookbacks)
    for lookback in lookbacks:
        assert span.holds(lookback)
        kind.build(dataset, options.model_copy(update={"lookback": lookback}))
    assert not span.holds(23)


def test_an_option_that_is_left_out_is_asked_kept_and_read_again() -> None:
    space = (OneOf("lookback", (None, 24)),)
    asked = {Asker(space, seed, True).ask([]).chosen["lookback"] for seed in range(8)}
    assert asked == {None, 24}
    study = Study(Path("s"), {"seed": 1}, space, False)
    for each in (trial(0), trial(1, chosen={"lookback": None}), trial(2, chosen={"lookback": 24})):
        study.add(each)
    again = Study(Path("s"), {"seed": 1}, space, False)
    assert [each.chosen for each in again.trials] == [{}, {"lookback": None}, {"lookback": 24}]


def test_whole_numbers_around_the_usual_one_are_one_at_least() -> None:
    assert around("rows", 16).values == (8, 16, 32)
    assert around("rows", 1).values == (1, 2)


def test_what_is_asked_depends_on_the_seed_and_the_trials_alone() -> None:
    before = [trial(number, 0.1 * number) for number in range(7)]
    asked = [Asker(SPACE, seed, True).ask(before).chosen for seed in (0, 0, 1)]
    assert asked[0] == asked[1] != asked[2]
    for chosen in asked:
        assert all(span.holds(chosen[span.name]) for span in SPACE)
    assert Asker(SPACE, 0, True).ask(before[:3]).chosen != asked[0]


def test_a_trial_that_is_behind_at_the_same_validation_is_told_so() -> None:
    before = [trial(number, 0.9, history=[0.5, 0.6, 0.7, 0.8, 0.9, 0.9]) for number in range(4)]
    asked = Asker(SPACE, 0, True).ask(before)
    assert not any(asked.is_behind(0.1, validation) for validation in (1, 2, 3))
    assert asked.is_behind(0.1, 5)
    ahead = Asker(SPACE, 0, True).ask(before)
    assert not any(ahead.is_behind(0.95, validation) for validation in range(1, 7))
    less = Asker(SPACE, 0, False).ask(before)
    assert not less.is_behind(0.1, 5)


# ---- what is kept


def test_a_study_is_read_again_as_it_was_kept() -> None:
    study = Study(Path("s"), {"seed": 1}, SPACE, False)
    for each in (trial(0), trial(1, state="pruned"), trial(2, state="failed", value=None, trouble="broke")):
        study.add(each)
    again = Study(Path("s"), {"seed": 1}, SPACE, False)
    assert again.trials == study.trials and again.seconds == 3.0
    assert Study(Path("s"), {"seed": 2}, SPACE, True).trials == []


def test_other_arguments_and_foreign_folders_are_refused() -> None:
    Study(Path("s"), {"seed": 1}, SPACE, False)
    with pytest.raises(UsageError, match=r"other arguments.*seed was 1 and is 2"):
        Study(Path("s"), {"seed": 2}, SPACE, False)
    Path("mine").mkdir()
    Path("mine/letter.txt").write_text("dear")
    for fresh in (False, True):
        with pytest.raises(UsageError, match="not empty"):
            Study(Path("mine"), {}, SPACE, fresh)
    with pytest.raises(UsageError, match="is a file"):
        Study(Path("rows.tsv"), {}, SPACE, False)
    assert Path("mine/letter.txt").read_text() == "dear"


def _with(**changes: Any) -> dict[str, Any]:
    whole = {
        "recurra": "tuning",
        "format": 1,
        "arguments": {},
        "trials": [trial(0).model_dump(), trial(1).model_dump()],
    }
    return {**whole, **changes}


def _second(**changes: Any) -> dict[str, Any]:
    return _with(trials=[trial(0).model_dump(), {**trial(1).model_dump(), **changes}])


@pytest.mark.parametrize(
    "content",
    [
        "{",
        "[" * 100_000,
        "[]",
        json.dumps(_with(format=9)),
        json.dumps(_with(trials={})),
        json.dumps(_with(trials=[5])),
        json.dumps(_second(chosen={"hidden": 5, "rate": 2e-3})),
        json.dumps(_second(chosen={"hidden": 4})),
        json.dumps(_second(chosen={"hidden": 4, "rate": 2e-3, "device": "/etc/passwd"})),
        json.dumps(_second(chosen={"hidden": 4, "rate": 1e9})),
        json.dumps(_second(value=None)),
        json.dumps(_second(number=7)),
        json.dumps(_second(seconds=-1.0)),
        json.dumps(_second(state="../../x")),
        json.dumps(_with()).replace("0.5", "NaN"),
    ],
)
def test_a_study_that_this_search_did_not_write_is_refused_and_stays(content: str) -> None:
    Path("s").mkdir()
    Path("s", STUDY).write_text(content)
    with pytest.raises(ModelError, match="--fresh"):
        Study(Path("s"), {}, SPACE, False)
    assert Path("s", STUDY).read_text() == content


# ---- a search


def test_a_search_ends_with_a_model_a_verdict_and_a_command() -> None:
    found = recurra.tune("rows.tsv", out="s", **QUICK)
    assert len(found.trials) >= 2 and found.trials[0].chosen == {}
    assert found.metric == "accuracy" and found.best.value == max(
        each.value for each in found.trials if each.value is not None and each.state == "complete"
    )
    assert {"cell", "hidden", "layers"}.isdisjoint(found.trials[1].chosen)
    assert found.model.folder == Path("s", f"trial-{found.best.number}")
    assert found.model.predict("a film of 5 acts")[0]["label"] in ("good", "bad")
    kept = {entry.name for entry in Path("s").iterdir()}
    assert kept == {STUDY, "trial-0", f"trial-{found.best.number}"}
    assert found.command.startswith("recurra fit rows.tsv --") and "--hidden 4" in found.command
    assert found.verdict.startswith(("It beats the default", "It does not beat the default", "It is ahead"))
    assert (found.comparison is None) == (found.best.number == 0)
    # the time is over, so the same call tells the same again
    again = recurra.tune("rows.tsv", out="s", **QUICK)
    assert again.trials == found.trials and again.verdict == found.verdict


def test_what_is_looked_at_last_was_in_no_trial(monkeypatch: pytest.MonkeyPatch) -> None:
    from recurra.fitting import tuning

    seen: dict[str, set[str]] = {}
    search, result = tuning._Search.__init__, tuning._result

    def watched(self: Any, kind: Any, parts: Any, *rest: Any) -> None:
        seen.update({name: set(part.inputs) for name, part in parts.items()})
        search(self, kind, parts, *rest)

    def told(study: Any, best: Any, metric: str, look: Any, *rest: Any) -> Any:
        seen["look"] = set(look.inputs)
        return result(study, best, metric, look, *rest)

    monkeypatch.setattr(tuning._Search, "__init__", watched)
    monkeypatch.setattr(tuning, "_result", told)
    recurra.tune("rows.tsv", out="s", **QUICK)
    assert seen["look"] and seen["look"].isdisjoint(seen["train"] | seen["valid"])
    assert seen["train"].isdisjoint(seen["valid"])
    assert len(seen["train"] | seen["valid"] | seen["look"]) == 80


@pytest.mark.parametrize(
    ("values", "verdict", "beats"),
    [
        ((0.5, 0.9, "worse than trial 1, by 10.0 points at least: hardly luck"), "It beats the default.", True),
        ((0.8, 0.9, "the difference from trial 1 can be luck"), "It is ahead of the default, but", False),
        ((0.9, 0.8, "the difference from the default can be luck"), "It does not beat the default.", False),
    ],
)
def test_the_verdict_is_what_the_look_says(values: tuple[float, float, str], verdict: str, beats: bool) -> None:
    from recurra.fitting.comparing import Compared, Comparison, Estimate
    from recurra.fitting.tuning import _verdict

    default, best, said = values
    made = [
        Compared(name, {}, {"accuracy": Estimate(value, value, value)}, {}, said, 1.0)
        for name, value in sorted({"the default": default, "trial 1": best}.items(), key=lambda item: -item[1])
    ]
    told, better = _verdict(
        Comparison("classify", "d", 9, "accuracy", "rows", made, [], []), ["the default", "trial 1"]
    )
    assert told.startswith(verdict) and better == beats and "9 rows" in told
    told, better = _verdict(
        Comparison("classify", "d", 1, "accuracy", "rows", made, [], []), ["the default", "trial 1"]
    )
    assert told.startswith("Whether it beats the default cannot be told of so little. On 1 row that") and not better


def test_a_search_that_was_stopped_keeps_its_trials_and_goes_on(monkeypatch: pytest.MonkeyPatch) -> None:
    from recurra.fitting import tuning
    from recurra.training import Outcome, Position

    whole, made = tuning.train, []

    def stopping(*arguments: Any, **named: Any) -> Any:
        made.append(1)
        if len(made) == 2:
            os.kill(os.getpid(), signal.SIGINT)
            return Outcome(Position(), finished=False)
        return whole(*arguments, **named)

    monkeypatch.setattr(tuning, "train", stopping)
    with pytest.raises(Interrupted, match=r"1 trial kept in s, the best so far is trial 0.*trial-0"):
        recurra.tune("rows.tsv", out="s", **QUICK)
    assert recurra.load("s/trial-0").kind == "classify"
    found = recurra.tune("rows.tsv", out="s", **QUICK)
    assert len(found.trials) >= 2 and len(made) == 1 + len(found.trials)


def test_a_trial_that_goes_wrong_is_told_and_the_search_goes_on(monkeypatch: pytest.MonkeyPatch) -> None:
    from recurra.fitting import tuning

    whole = tuning.train

    def failing(*arguments: Any, **named: Any) -> Any:
        calls.append(1)
        if len(calls) == 2:
            raise recurra.DataError("The loss explodes")
        return whole(*arguments, **named)

    calls: list[int] = []
    monkeypatch.setattr(tuning, "train", failing)
    # three trials, however long they take
    monkeypatch.setattr(Study, "seconds", property(lambda self: 0.3 * len(self.trials)))
    found = recurra.tune("rows.tsv", out="s", **{**QUICK, "minutes": 0.02, "trials": 3})
    assert found.trials[1].state == "failed" and found.trials[1].trouble == "The loss explodes."
    assert found.best.number != 1 and len(found.trials) >= 2


def test_without_optuna_it_says_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "optuna", None)
    with pytest.raises(EnvironmentFailure, match=r"pip install 'recurra\[tune\]'"):
        recurra.tune("rows.tsv", out="s", **QUICK)
    assert not Path("s").exists()


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"minutes": 0}, "'minutes' is wrong"),
        ({"minutes": float("nan")}, "'minutes' is wrong"),
        ({"trials": 1}, "'trials' is wrong"),
        ({"test": "rows.tsv"}, "no 'test'"),
        ({"epochs": 3}, "no 'epochs'"),
        ({"hidden": -4}, "'hidden' is wrong"),
    ],
)
def test_choices_that_make_no_sense_are_refused(changes: dict[str, Any], message: str) -> None:
    with pytest.raises(UsageError, match=message):
        recurra.tune("rows.tsv", out="s", **{**QUICK, **changes})
    assert not Path("s").exists()


# ---- the command


def test_the_command_searches_what_is_not_typed_and_prints_the_command_to_fit_with() -> None:
    words = shlex.split("tune rows.tsv --minutes 0.004 --trials 2 --cell gru --hidden 4 --layers 1 --level words")
    done = run(*words)
    assert done.code == 0, done.err
    assert done.out.startswith("trial") and "the default" in done.err
    assert "\n  recurra fit rows.tsv --" in done.out and "Model: rows-tuned/trial-" in done.out
    told = json.loads(run(*words, "--json").out)
    assert {"cell", "hidden", "layers", "level"}.isdisjoint(told["trials"][1]["chosen"])
    assert {"dropout", "rate", "rows", "summary"} <= set(told["trials"][1]["chosen"])
    assert isinstance(told["beats_default"], bool) and told["metric"] == "accuracy"


def test_options_that_a_search_has_no_use_for_are_not_there() -> None:
    for option in ("--epochs", "--test", "--processes"):
        done = run("tune", "rows.tsv", "--minutes", "1", option, "2")
        assert done.code == 2 and option in done.err
    assert run("tune", "rows.tsv").code == 2
