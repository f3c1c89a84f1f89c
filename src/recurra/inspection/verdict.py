"""Did the recurrent model earn its keep? The comparison with the best baseline, and what the curves say.

It turns numbers into plain sentences. It does not know how they are shown.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

from recurra.inspection.kinds import KINDS, kind_of
from recurra.inspection.measures import SPLITS, items, known, noun_of_tokens, number, part, plural, show, whole
from recurra.progress import duration

_EVEN = 0.005  # a difference in bits or nats below half a per cent is none


@dataclass(frozen=True)
class Verdict:
    """The outcome on one split by one measure. `ours` and `theirs` are finite wherever both are compared."""

    outcome: Literal["better", "even", "worse", "unknown"]
    headline: str
    sentence: str
    split: str
    measure: str
    ours: float | None = None
    baseline: str | None = None
    theirs: float | None = None


def judge(record: Mapping[str, Any]) -> Verdict:
    """Compare the result with the best baseline: on test data where there is some, else on validation."""
    if record.get("under_way"):
        told = "The page is written anew at each validation, and shows itself anew every ten seconds."
        return Verdict("unknown", "The run is under way", told, "valid", "loss")
    kind = kind_of(record)
    baselines = [row for row in items(record, "baselines") if isinstance(row, Mapping)]
    splits = [split for split in ("test", "valid") if part(record, "metrics", split)]
    for split in splits:
        ours = part(record, "metrics", split)
        rivals = [row for row in baselines if row.get("split") == split]
        for name in KINDS[kind].compared:
            own = number(ours.get(name))
            scored = [
                (value, str(row.get("name", "baseline")), number(row.get("seconds")))
                for row in rivals
                if (value := number(part(row, "metrics").get(name))) is not None
            ]
            if own is not None and scored:
                choose = max if known(name).higher else min
                best = choose(scored, key=lambda entry: entry[0])
                return _compare(record, split, name, own, best)
    for split in splits:
        for name in KINDS[kind].compared:
            own = number(part(record, "metrics", split).get(name))
            if own is not None:
                return Verdict(
                    "unknown",
                    "Nothing to compare with",
                    f"The recurrent model reached {_value(name, own)} on {SPLITS[split]}, but no baseline "
                    "was measured, so this run does not show whether a simpler method would have done as well.",
                    split,
                    name,
                    own,
                )
    return Verdict(
        "unknown",
        "No usable result",
        "The run ended without a finite measure on test or validation data. Do not use this model; the "
        "learning curves below may show where it went wrong.",
        "valid",
        KINDS[kind].compared[0],
    )


def _compare(
    record: Mapping[str, Any], split: str, name: str, ours: float, best: tuple[float, str, float | None]
) -> Verdict:
    theirs, baseline, seconds = best
    gain = ours - theirs if known(name).higher else theirs - ours
    counts = part(record, "data", split)
    rows, counted = number(counts.get("rows")), number(counts.get("tokens"))
    luck = _luck(name, ours, theirs, rows)
    # A text is one row however long it is; its tokens, or values, say how much was measured.
    amount = (rows, "row") if known(name).share else (counted, noun_of_tokens(record))
    against = (
        f"{_value(name, ours)} on {_amount(split, *amount)}, against {show(name, theirs)} for the best "
        f"baseline ({baseline})"
    )
    if abs(gain) <= luck:
        reason = (
            f"With {plural(rows or 0, 'row')} a difference this small can be luck."
            if known(name).share and gain
            else "That is no difference to speak of."
        )
        return Verdict(
            "even",
            "About as good as the best baseline",
            f"The recurrent model reached {against}. {reason} It has not shown that it earns its keep.",
            split, name, ours, baseline, theirs,
        )  # fmt: skip
    size = f"{abs(gain) * 100:.1f} points" if known(name).share else f"{abs(gain / theirs) * 100:.1f} %"
    if gain > 0:
        return Verdict(
            "better",
            "The recurrent model earned its keep",
            f"It reached {against}: {size} {'more' if known(name).higher else 'less, and less is better'}.",
            split, name, ours, baseline, theirs,
        )  # fmt: skip
    cost = _cost(number(record.get("seconds")), seconds)
    return Verdict(
        "worse",
        "The recurrent model did not earn its keep",
        f"It reached {against}: {size} {'fewer' if known(name).higher else 'more, and less is better'}. "
        f"The baseline is simpler{cost}: use it, unless longer training or more data changes this.",
        split, name, ours, baseline, theirs,
    )  # fmt: skip


def _luck(name: str, ours: float, theirs: float, rows: float | None) -> float:
    """How large a difference chance alone can make: two standard errors of two shares, or half a per cent."""
    if not known(name).share:
        return _EVEN * abs(theirs)
    if name != "accuracy" or not rows or not (0 <= ours <= 1 and 0 <= theirs <= 1):
        return 0.0
    return 1.96 * math.sqrt((ours * (1 - ours) + theirs * (1 - theirs)) / rows)


def _cost(ours: float | None, theirs: float | None) -> str:
    if ours is None or theirs is None or theirs >= ours:
        return ""
    return f" and was ready in {duration(theirs)} instead of {duration(ours)}"


def _value(name: str, value: float) -> str:
    measure = known(name)
    return f"{show(name, value)} {measure.title}" if name != "loss" else f"a loss of {show(name, value)}"


def _amount(split: str, count: float | None, noun: str) -> str:
    return SPLITS[split] if count is None else f"{SPLITS[split]} ({plural(count, noun)})"


def cautions(record: Mapping[str, Any], verdict: Verdict) -> list[str]:
    """What a careful reader should be told beside the verdict."""
    said = []
    if verdict.ours is not None and verdict.split == "valid":
        said.append(
            "Measured on validation data, which also chose the best point of the training: expect slightly "
            "worse on data never seen."
        )
    if verdict.measure == "accuracy" and verdict.outcome != "unknown":
        ours = number(part(record, "metrics", verdict.split).get("macro_f1"))
        rivals = [
            (value, str(row.get("name", "baseline")))
            for row in items(record, "baselines")
            if isinstance(row, Mapping)
            and row.get("split") == verdict.split
            and (value := number(part(row, "metrics").get("macro_f1"))) is not None
        ]
        if ours is not None and rivals:
            theirs, name = max(rivals)
            if verdict.outcome == "better" and theirs > ours:
                said.append(
                    f"By macro F1, which counts every label alike, {name} is ahead "
                    f"({show('macro_f1', theirs)} against {show('macro_f1', ours)}): the rare labels suffer."
                )
            elif verdict.outcome == "worse" and ours > theirs:
                said.append(
                    f"By macro F1, which counts every label alike, the recurrent model is ahead "
                    f"({show('macro_f1', ours)} against {show('macro_f1', theirs)} for {name})."
                )
    return said


def best_point(record: Mapping[str, Any]) -> tuple[int, str] | None:
    """(index into the history, measure) of the best validation; "best_step" in the record settles it."""
    history = [row if isinstance(row, Mapping) else {} for row in items(record, "history")]
    for name in KINDS[kind_of(record)].judged:
        scored = [
            (value, index)
            for index, row in enumerate(history)
            if (value := number(part(row, "valid").get(name))) is not None
        ]
        if scored:
            told = [index for _, index in scored if history[index].get("step") == record.get("best_step")]
            sign = -1 if known(name).higher else 1
            return (told[0] if told else min(scored, key=lambda s: (sign * s[0], s[1]))[1]), name
    return None


def curve_notes(record: Mapping[str, Any]) -> list[str]:
    """What the learning curves say, in plain sentences."""
    history = [row if isinstance(row, Mapping) else {} for row in items(record, "history")]
    said = []
    broken = [row for row in history if "loss" in row and number(row["loss"]) is None]
    if broken:
        said.append(
            f"The training loss was not a finite number at {plural(len(broken), 'point')}, first at step "
            f"{whole(broken[0].get('step'))}: the learning rate may be too high."
        )
    best = best_point(record)
    if best is None:
        return said
    index, name = best
    scored = [(i, v) for i, row in enumerate(history) if (v := number(part(row, "valid").get(name))) is not None]
    after = sum(1 for i, _ in scored if i > index)
    if len(scored) > 2 and after == 0:
        said.append("Validation was still improving at the end: longer training would probably help.")
    elif after >= 2 and _fell_back(scored, index, name):
        said.append(
            f"Validation was best at step {whole(history[index].get('step'))} and got worse afterwards: the "
            "model had begun to learn its training data by heart."
        )
    return said


def _fell_back(scored: Sequence[tuple[int, float]], index: int, name: str) -> bool:
    peak = next(value for i, value in scored if i == index)
    last = scored[-1][1]
    return abs(last - peak) > 0.01 * abs(peak) and (last < peak) == known(name).higher
