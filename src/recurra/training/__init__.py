"""Training: any `Task` on any `Feed`, with the best weights kept and a position one can go on from."""

from recurra.training.evaluation import evaluate
from recurra.training.loop import Outcome, train
from recurra.training.position import Position, load_position, save_position
from recurra.training.recipe import Recipe
from recurra.training.streamed import streamed

__all__ = ["Outcome", "Position", "Recipe", "evaluate", "load_position", "save_position", "streamed", "train"]
