"""Layers: cells composed. They know the protocol of a cell and nothing of a task."""

from recurra.layers.dropout import embedded_dropout, fixed_dropout, rows_of
from recurra.layers.stack import Bidirectional, Block, DirectionsState, Stack, StackConfig

__all__ = [
    "Bidirectional",
    "Block",
    "DirectionsState",
    "Stack",
    "StackConfig",
    "embedded_dropout",
    "fixed_dropout",
    "rows_of",
]
