"""How far a run is: a straight line in steps, which the clock corrects now and then.

The learning rate follows from it, so between two corrections a run depends on nothing but its position, and goes on after a
stop as it would have gone on without. With epochs alone there is nothing to correct.
"""

from __future__ import annotations

from dataclasses import dataclass

OFTEN = 0.01
"""The part of the time after which the clock is looked at again."""


@dataclass
class Pace:
    """From `step` on, where the progress was `progress`, each step adds `each`; at step `until` the clock is asked.

    `seconds` is what the clock said at `step`, `cost` how many seconds a step took of late.
    """

    step: int = 0
    progress: float = 0.0
    each: float = 0.0
    until: int = 0
    seconds: float = 0.0
    cost: float = 0.0

    def at(self, step: int) -> float:
        """The progress, 0 to 1, after `step` steps."""
        return min(1.0, self.progress + (step - self.step) * self.each)

    def corrected(self, step: int, seconds: float, total_steps: int | None, total_seconds: float | None) -> Pace:
        """The line from `step` on, `seconds` after the start, toward the end that comes first."""
        made = step - self.step
        cost = self.cost if made == 0 else (seconds - self.seconds) / made
        if self.cost and made:
            # one slow stretch should not bend the whole line
            cost = (cost + self.cost) / 2
        progress = self.at(step)
        by_steps = None if total_steps is None else total_steps - step
        if total_seconds is None:
            assert by_steps is not None
            return Pace(step, progress, (1.0 - progress) / by_steps, step + by_steps, seconds, cost)
        if made == 0 or cost <= 0.0:
            return Pace(step, progress, 0.0, step + 1, seconds, cost)
        left = max(0.0, total_seconds - seconds) / cost
        left = left if by_steps is None else min(left, by_steps)
        if left < 1.0:
            return Pace(step, 1.0, 0.0, step, seconds, cost)
        # at first the cost of a step is hardly known: one step, two, four, ...
        until = step + max(1, min(step, int(OFTEN * total_seconds / cost)))
        return Pace(step, progress, (1.0 - progress) / left, until, seconds, cost)
