"""Training: the loop, the recipe, evaluation, checkpoints, and the processes that share the work. It names no task."""

from recurra.training.checkpoint import (
    Found,
    Position,
    load_checkpoint,
    packed,
    remove_checkpoints,
    save_checkpoint,
    unpacked,
)
from recurra.training.dynamic import SEGMENT, evaluate_adapting
from recurra.training.evaluation import evaluate
from recurra.training.loop import Event, Keeping, Outcome, train
from recurra.training.recipe import RATES, Recipe
from recurra.training.streamed import streamed
from recurra.training.workers import ALONE, Workers, local_rank, this_start, workers

__all__ = [
    "ALONE",
    "RATES",
    "SEGMENT",
    "Event",
    "Found",
    "Keeping",
    "Outcome",
    "Position",
    "Recipe",
    "Workers",
    "evaluate",
    "evaluate_adapting",
    "load_checkpoint",
    "local_rank",
    "packed",
    "remove_checkpoints",
    "save_checkpoint",
    "streamed",
    "this_start",
    "train",
    "unpacked",
    "workers",
]  # fmt: skip
