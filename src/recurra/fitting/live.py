"""A run that can be watched: the line on the terminal, metrics.jsonl, report.html and, by choice, TensorBoard."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from typing import Any

from recurra.data.batches import Feed
from recurra.errors import EnvironmentFailure
from recurra.fitting.destination import Destination
from recurra.models import Task
from recurra.progress import Progress
from recurra.training import Position, Recipe

EVERY = 50
"""Steps from one line of metrics.jsonl to the next."""


class Told:
    """Where the events of a run go."""

    def __init__(
        self,
        progress: Progress,
        destination: Destination | None,
        start: Position | None,
        board: Any,
        draft: dict[str, Any],
        begun: float = 0.0,
    ) -> None:
        """`begun` is the share of the work that was done before the first step."""
        self._progress, self._destination, self._board, self._draft = progress, destination, board, draft
        self._before = 0 if start is None else start.units
        self._history = [] if start is None else list(start.history)
        self._begun = begun
        self.note = progress.note

    def on_step(self, event: dict[str, Any], done: float) -> None:
        # units from before a stop would make the rate absurd
        units = event["units"] - self._before
        done = self._begun + (1 - self._begun) * done
        self._progress.update(event["step"], done, units, event.get("loss"), event.get("rate"))
        if "valid" in event:
            self._progress.validation(event["valid"], event["best"])
        if "valid" in event or event["step"] % EVERY == 0:
            if self._destination is not None:
                self._destination.log(event)
            if self._board is not None:
                _draw(self._board, event)
        if "valid" in event and self._destination is not None:
            self._history.append(event)
            self._destination.show({**self._draft, "seconds": event["seconds"], "history": self._history})


@contextmanager
def telling(
    task: Task, recipe: Recipe, feed: Feed, destination: Destination | None, start: Position | None, draft: dict[str, Any],
    tensorboard: bool, quiet: bool,
) -> Iterator[Told]:  # fmt: skip
    """Show a run while it trains; `destination` is None where another process tells. `draft`: what is known of its record."""
    about = task.summary()
    seconds = None if recipe.minutes is None else 60 * recipe.minutes
    steps = None if recipe.epochs is None else recipe.epochs * len(feed)
    with ExitStack() as stack:
        board = None
        if tensorboard and destination is not None:
            board = stack.enter_context(_board(destination))
        progress = stack.enter_context(Progress(seconds, steps, unit=feed.unit, quiet=quiet))
        if destination is not None:
            progress.note(
                f"{about['cell']} {about['layers']}×{about['hidden']}, {about['parameters']:,} parameters, "
                f"{recipe.rate:g} rate; the model goes to {destination.folder}"
            )
        if start is not None and start.step:
            progress.note(f"going on from step {start.step}")
        chosen = 0.0 if start is None else sum(one["seconds"] for one in start.choice)
        yield Told(progress, destination, start, board, draft, 0.0 if seconds is None else min(1.0, chosen / seconds))


@contextmanager
def _board(destination: Destination) -> Iterator[Any]:
    try:
        from torch.utils.tensorboard import SummaryWriter
    except ImportError as error:
        raise EnvironmentFailure(
            "TensorBoard is not installed", fix="Install it with: pip install 'recurra[tensorboard]'"
        ) from error
    writer = SummaryWriter(str(destination.folder / "tensorboard"))
    try:
        yield writer
    finally:
        writer.close()


def _draw(board: Any, event: dict[str, Any]) -> None:
    step = event["step"]
    draw: Callable[[str, float, int], None] = board.add_scalar
    for name in ("loss", "rate", "norm"):
        if event.get(name) is not None:
            draw(f"training/{name}", event[name], step)
    for name, value in event.get("valid", {}).items():
        draw(f"validation/{name}", value, step)
