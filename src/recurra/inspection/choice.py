"""Which recipes a run tried before it began, as a table."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from recurra.inspection.markup import Html, clean, shorten, tag
from recurra.inspection.measures import items, known, number, part
from recurra.progress import duration

_MOST = 40


def draw(record: Mapping[str, Any]) -> tuple[str, Html] | None:
    """(what was chosen, every trial with its figure); None where there was no choice."""
    found = part(record, "choice")
    trials = [one for one in items(found, "trials") if isinstance(one, Mapping)][:_MOST]
    if not trials:
        return None
    body = []
    for one in trials:
        options = part(one, "options")
        told = " ".join(f"--{clean(name).replace('_', '-')} {clean(value)}" for name, value in options.items())
        value = number(one.get("value"))
        figure = shorten(one.get("trouble") or "–", 60) if value is None else f"{value:.4f}"
        cells = (
            str((number(one.get("round")) or 0) + 1).removesuffix(".0"),
            duration(number(one.get("seconds")) or 0.0),
        )
        name = tag("th", shorten(told or "the usual recipe", 60), scope="row")
        body.append(tag("tr", name, tag("td", figure), *(tag("td", cell) for cell in cells)))
    metric = known(clean(found.get("metric"))).title
    head = tag("tr", *(tag("th", name, scope="col") for name in ("options", metric, "round", "time")))
    table = tag("div", tag("table", tag("thead", head), tag("tbody", *body)), class_="scroll")
    return clean(found.get("sentence")), table
