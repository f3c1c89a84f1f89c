"""The command that looks at data before training: check."""

from __future__ import annotations

from collections import Counter
from typing import Any

import recurra
from recurra.cli.talk import printable, say_json, tell, visible
from recurra.data.facts import Facts
from recurra.data.lengths import histogram
from recurra.inspection.measures import plural
from recurra.progress import table

_CLASSES, _LINES = 12, 20  # how many are shown; --json has all


def check(data: str, valid: str | None, test: str | None, choices: dict[str, Any], as_json: bool) -> None:
    """Say what was found on stdout. Raises `SystemExit` with the error's code where one cannot train."""
    found = recurra.check(data, valid=valid, test=test, **choices)
    if as_json:
        say_json(found.as_dict())
    elif parts := _parts(found):
        print(printable("\n\n".join(parts)))
    if found.error is not None:
        tell(f"error: {found.error}")
        raise SystemExit(found.error.exit_code)


def _parts(found: recurra.Check) -> list[str]:
    parts = ["\n".join(found.guess)] if found.guess else []
    if found.sets:
        parts.append(_sets(found))
    for name, facts in found.sets.items():
        parts += _classes(name, facts)
    parts += [_lengths(name, facts) for name, facts in found.sets.items() if name == "train"]
    if found.unknown:
        parts.append(_unknown(found))
    parts += [_features(facts) for facts in list(found.sets.values())[:1] if facts.features]
    parts.append(_problems(found))
    if found.ok:
        parts.append(f"{_plan(found.plan)}\nNext:\n  {found.command}")
    return [part for part in parts if part]


def _features(facts: Facts) -> str:
    names = ["least", "mean", "most", "deviation"]
    called = facts.columns or range(1, len(facts.features) + 1)
    rows = [[name, *(feature[of] for of in names)] for name, feature in zip(called, facts.features, strict=True)]
    return table(rows, ["feature", *names])


def _sets(found: recurra.Check) -> str:
    rows = []
    for name, facts in found.sets.items():
        shared = found.overlaps.get(("train", name))
        odd = sum(finding.rows for findings in facts.odd.values() for finding in findings)
        rows.append(
            [
                name, facts.size["rows"], facts.size["tokens"], facts.copies.exact.count, facts.copies.loose.count,
                facts.copies.torn.count, None if shared is None else shared.exact.count + shared.torn.count,
                None if shared is None else shared.loose.count, odd,
            ]
        )  # fmt: skip
    columns = ["set", "rows", "tokens", "copies", "nearly", "torn", "in train", "nearly in train", "odd lines"]
    every = max(facts.copies.every for facts in found.sets.values())
    told = "copies: the same row again; nearly: but for case, width and space; torn: the same input, another answer"
    return f"{table(rows, columns)}\n{told}" + (f"\ncounted in one of {every} rows" if every > 1 else "")


def _classes(name: str, facts: Facts) -> list[str]:
    parts = []
    for column, counts in facts.classes.items():
        total = counts.total()
        rows = [[label, count, f"{count / total:.1%}"] for label, count in counts.most_common(_CLASSES)]
        rest = len(counts) - len(rows)
        shown = table(rows, [f"{column} in {name}", "count", "share"])
        parts.append(shown + (f"\nand {rest} more" if rest else ""))
    return parts


def _lengths(name: str, facts: Facts) -> str:
    parts = []
    for column, lengths in facts.lengths.items():
        if not lengths.counts:
            continue
        half, most = lengths.quantile(0.5), max(lengths.counts)
        title = (
            f"{lengths.unit.capitalize()} a {column} in {name}: half have {half:,} at most, 95 % {lengths.quantile(0.95):,}, "
            f"the longest {most:,}, on average {lengths.mean:,.1f}"
        )
        parts.append(f"{title}\n{table(histogram(lengths), [lengths.unit, 'count', ''])}")
    return "\n\n".join(parts)


def _unknown(found: recurra.Check) -> str:
    rows = [
        [
            name, column, unknown.level, unknown.vocabulary, unknown.tokens, f"{unknown.share:.2%}",
            " ".join(visible(token) for token, _ in unknown.commonest[:8]),
        ]
        for name, columns in found.unknown.items()
        for column, unknown in columns.items()
    ]  # fmt: skip
    return (
        ""
        if not rows
        else table(rows, ["set", "column", "level", "vocabulary", "tokens", "unknown", "commonest unknown"])
    )


def _problems(found: recurra.Check) -> str:
    if not found.problems:
        return "No problems." if found.ok else ""
    counts = Counter("error" if problem.fatal else "note" for _, problem in found.problems)
    lines = [" and ".join(plural(count, name) for name, count in sorted(counts.items())) + ":"]
    for name, problem in found.problems:
        lines.append(f"{'error' if problem.fatal else 'note'}: {name}: {problem.message}")
        if len(problem.lines) > 5:
            shown = ", ".join(map(str, problem.lines[:_LINES]))
            rest = len(problem.lines) - _LINES
            lines.append(f"  lines {shown}" + (f" and {rest:,} more (--json has all)" if rest > 0 else ""))
    return "\n".join(lines)


def _plan(plan: dict[str, Any]) -> str:
    model = plan["model"]
    length = [f"{plan['minutes']:g} minutes"] if "minutes" in plan else []
    length += [f"{plan['epochs']} passes over the data"] if "epochs" in plan else []
    return (
        f"`fit` would train {model['cell']} {model['layers']}×{model['hidden']}, {model['parameters']:,} parameters, for "
        f"{' or '.join(length)} at most."
    )
