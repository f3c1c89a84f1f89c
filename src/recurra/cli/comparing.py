"""The command that sets models side by side: compare."""

from __future__ import annotations

from typing import Any

import recurra
from recurra.cli.talk import printable, say_json
from recurra.fitting.comparing import Compared, Estimate
from recurra.inspection.measures import known, show
from recurra.progress import table


def compare(models: list[str], data: str, columns: dict[str, Any], seed: int, resamples: int, as_json: bool) -> None:
    found = recurra.compare(models, data, seed=seed, resamples=resamples, **columns)
    if as_json:
        say_json(found.as_dict())
        return
    names = list(found.models[0].metrics)
    names.sort(key=lambda name: name != found.metric)
    rows = [
        [
            model.name, _network(model), *(_between(name, model.metrics[name]) for name in names),
            f"{model.speed:,.0f}",
        ]
        for model in found.models
    ]  # fmt: skip
    parts = [table(rows, ["model", "network", *map(_title, names), f"{found.unit}/s"])]
    rows = [
        [model.name, _between(found.metric, model.differences[found.metric], signed=True), model.verdict]
        for model in found.models[1:]
    ]
    parts.append(table(rows, [_title(found.metric), f"difference from {found.models[0].name}", ""]))
    if found.agreements:
        rows = [
            [
                f"{pair.one} and {pair.other}", f"{pair.same:.1%}", pair.both_right, pair.only_one, pair.only_other,
                pair.both_wrong, f"{pair.chance:.3g}",
            ]
            for pair in found.agreements
        ]  # fmt: skip
        heads = ["answers", "same", "both right", "only the first", "only the second", "both wrong", "by chance"]
        parts.append(table(rows, heads))
        parts.append(
            "by chance: how likely a split of the rows that one alone has right is between equals (McNemar's test)"
        )
    print(printable("\n\n".join(parts)))
    print("\n" + printable("\n".join(found.notes)))


def _title(name: str) -> str:
    return known(name).title + (", %" if known(name).share else "")


def _network(model: Compared) -> str:
    about: dict[str, Any] = model.model
    return f"{about['cell']} {about['layers']}×{about['hidden']}, {about['parameters']:,}"


def _between(name: str, estimate: Estimate, signed: bool = False) -> str:
    """`91.2 (90.1 to 92.3)`: a figure with its interval, shares in per cent."""
    if known(name).share:
        return _told([f"{100 * value:{'+' if signed else ''}.1f}" for value in _three(estimate)])
    plus = [("+" if signed and value > 0 else "") + show(name, value) for value in _three(estimate)]
    return _told(plus)


def _three(estimate: Estimate) -> tuple[float, float, float]:
    return estimate.value, estimate.low, estimate.high


def _told(values: list[str]) -> str:
    return f"{values[0]} ({values[1]} to {values[2]})"
