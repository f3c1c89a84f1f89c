"""What was measured of a stream, in words: a sentence for each number, and a warning with its mend where they disagree.

It knows the numbers that `streamed` gives, and nothing of models.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

NOISE = 2.0
"""Standard errors beyond which a difference is no accident."""
LOSS = 0.005
"""A difference of less than this part of a loss is none to speak of."""
GROWN, GROWING, FAR = 1.5, 1.1, 4.0
"""A state drifts that is so many times larger at the end than after a chunk and than in between, or far larger."""
SATURATED = 0.1
"""So large a share of units that went to their bounds on the way is worth a warning."""

Measured = Mapping[str, Any]


def sentences_of(found: Measured) -> list[str]:
    """What the numbers say, one sentence for each."""
    return [_quality(found), _norm(found), _context(found), _gradient(found)]


def warnings_of(found: Measured) -> list[str]:
    """Where the stream is not what the model was trained for, and what to do."""
    said = [_worse(found), _drift(found), _saturation(found)]
    return [text for text in said if text]


def _quality(found: Measured) -> str:
    fresh, carried = (value_of(found, found[way][_judged(found)]) for way in ("fresh", "carried"))
    name = _judged(found)
    if found["unit"] == "rows":
        return (
            f"Each row from the initial state: {name} {fresh}; the same {found['count']:,} rows one after another with the "
            f"state carried on: {carried}."
        )
    return (
        f"Windows of {found['steps']:,} steps from the initial state: {name} {fresh}; the same steps in a stream of "
        f"{found['stream_steps']:,} with the state carried on: {carried}."
    )


def _norm(found: Measured) -> str:
    name, sizes = _most_changed(found)
    told = "state" if len(found["state"]) == 1 else f"state ({short(name)}, which changes most)"
    after = "a row" if found["unit"] == "rows" else f"a chunk of {found['steps']:,} steps"
    first, end = _saturated(found)
    units = "" if end is None or first is None else f"; saturated units {_percent(first)} and {_percent(end)}"
    return (
        f"The norm of the {told} is {sizes['first']:.3g} a unit after {after}, and {sizes['end']:.3g} at the end of "
        f"{found['stream_steps']:,} steps{units}."
    )


def _context(found: Measured) -> str:
    context = found["memory"]["context"]
    judged = "loss" if found["unit"] == "windows" else _judged(found)
    first, last = value_of(found, context["first"]), value_of(found, context["last"])
    if context["first"] == context["last"]:
        return f"Memory by behaviour: more than one step of context gives nothing ({judged} {first})."
    steps = f"{context['steps']:,} step{'' if context['steps'] == 1 else 's'}"
    reach = (
        f"it still improves after {steps}"
        if context["more"]
        else f"after {steps} less than 1 % of that is left to gain"
    )
    return f"Memory by behaviour: context takes the {judged} from {first} to {last}; {reach}."


def _gradient(found: Measured) -> str:
    gradient = found["memory"]["gradient"]
    if not gradient["curve"]:
        return "Memory by gradient: none comes back to the state before the last step."
    lag, left = gradient["curve"][-1]
    if gradient["more"]:
        return f"Memory by gradient: from {lag:,} steps back {left:.2g} of the signal is left; that is as far as was looked."
    steps = f"{gradient['steps']:,} step{'' if gradient['steps'] == 1 else 's'}"
    return (
        f"Memory by gradient: further back than {steps} less than 1 % of the signal is left, from {lag:,} steps back "
        f"{left:.1g}."
    )


def _worse(found: Measured) -> str | None:
    gap, noise = found["difference"]["value"], found["difference"]["noise"]
    name = _judged(found)
    if not all(math.isfinite(value) for value in found["carried"].values()) and math.isfinite(found["fresh"][name]):
        return "In a long stream the loss is no longer a number. Reset the session at document borders."
    fresh, carried = (value_of(found, found[way][name]) for way in ("fresh", "carried"))
    if found["unit"] == "rows":
        if gap <= NOISE * noise:
            return None
        return (
            f"A state carried from one row to the next spoils the answers: {name} {carried} instead of {fresh}. Start a new "
            "session for each input."
        )
    if not does_harm(found["difference"], found["fresh"]):
        return None
    return (
        f"The carried state does harm: where a window of {found['steps']:,} steps has caught up, the loss of the stream is "
        f"{gap:.3f} higher on the same steps. Train with longer --steps or more --minutes, or reset the session at document "
        "borders."
    )


def does_harm(difference: Mapping[str, float], fresh: Mapping[str, float]) -> bool:
    """Whether the loss of a stream is higher than that of windows begun anew, by more than accident makes it."""
    return not difference["value"] <= max(NOISE * difference["noise"], LOSS * abs(fresh["loss"]))


def _drift(found: Measured) -> str | None:
    for name, sizes in found["state"].items():
        first, end = sizes["first"], sizes["end"]
        grows = end > GROWING * sizes["middle"] or not math.isfinite(end)
        if not end <= (GROWN if grows else FAR) * first:
            return (
                f"The state {short(name)} drifts: its norm goes from {first:.3g} a unit to {end:.3g} in "
                f"{found['stream_steps']:,} steps{', and grows on' if grows else ''}. {_mend(found)}"
            )
    return None


def _saturation(found: Measured) -> str | None:
    first, end = _saturated(found)
    if first is None or end is None or end - first <= SATURATED:
        return None
    return (
        f"The state saturates: {_percent(end)} of its units are beyond 0.99, {_percent(first)} at first. {_mend(found)}"
    )


def _mend(found: Measured) -> str:
    if found["unit"] == "rows":
        return "Start a new session for each input."
    return "Reset the session from time to time, or train with longer --steps."


def _judged(found: Measured) -> str:
    return found["measure"]


def value_of(found: Measured, value: float) -> str:
    """A value of the metric that is judged by: one of which more is better is a share."""
    return f"{value * 100:.1f} %" if found["more_is_better"] else f"{value:.3f}"


def _most_changed(found: Measured) -> tuple[str, Mapping[str, float]]:
    def change(entry: tuple[str, Mapping[str, float]]) -> float:
        first, end = entry[1]["first"], entry[1]["end"]
        return abs(math.log(end / first)) if first > 0 and end > 0 and math.isfinite(end) else math.inf

    return max(found["state"].items(), key=change)


def _saturated(found: Measured) -> tuple[float | None, float | None]:
    """The mean share of saturated units over the tensors whose numbers are bounded."""
    pairs = [
        (sizes["saturated_first"], sizes["saturated_end"])
        for sizes in found["state"].values()
        if sizes["saturated_end"] is not None
    ]
    if not pairs:
        return None, None
    return sum(first for first, _ in pairs) / len(pairs), sum(end for _, end in pairs) / len(pairs)


def short(name: str) -> str:
    """The name of a tensor of the state, without the name of what holds all of them."""
    return name.removeprefix("stack.")


def _percent(share: float) -> str:
    return f"{share * 100:.0f} %" if share == 0 or share >= 0.01 else "under 1 %"
