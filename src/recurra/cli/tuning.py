"""The command that searches for options: tune."""

from __future__ import annotations

from typing import Any

import recurra
from recurra.cli.talk import printable, say_json
from recurra.fitting.trials import Trial
from recurra.progress import duration, table


def tune(
    data: str, minutes: float, trials: int, valid: str | None, out: str | None, fresh: bool, choices: dict[str, Any],
    as_json: bool,
) -> None:  # fmt: skip
    found = recurra.tune(data, minutes=minutes, trials=trials, valid=valid, out=out, fresh=fresh, **choices)
    if as_json:
        say_json(found.as_dict())
        return
    names = list(next((trial.chosen for trial in found.trials if trial.chosen), {}))
    rows = [
        [
            trial.number, "-" if trial.value is None else f"{trial.value:.4f}", duration(trial.seconds),
            *(_value(trial.chosen.get(name)) for name in names), _state(trial, found.best),
        ]
        for trial in found.trials
    ]  # fmt: skip
    print(printable(table(rows, ["trial", found.metric, "time", *names, ""])))
    print(f"\n{printable(found.verdict)}\n\nModel: {printable(str(found.model.folder))}")
    print(f"Fit with what was found, for longer if you like:\n  {printable(found.command)}")


def _value(value: Any) -> Any:
    if value is None:
        return "default"
    return f"{value:.3g}" if isinstance(value, float) else value


def _state(trial: Trial, best: Trial) -> str:
    if trial.number == best.number:
        return "best"
    return {"complete": "", "pruned": "stopped, behind the others", "failed": f"failed: {trial.trouble}"}[trial.state]
