"""Layers: cells composed. They know the protocol of a cell and nothing of a task."""

from recurra.layers.dilated import Dilated, DilatedState
from recurra.layers.dropout import embedded_dropout, fixed_dropout, hidden_tokens, rows_of
from recurra.layers.pooling import Pooling, pooling
from recurra.layers.spelling import Spelling
from recurra.layers.stack import Bidirectional, Block, DirectionsState, Stack, StackConfig

__all__ = [
    "Bidirectional",
    "Block",
    "Dilated",
    "DilatedState",
    "DirectionsState",
    "Pooling",
    "Spelling",
    "Stack",
    "StackConfig",
    "embedded_dropout",
    "fixed_dropout",
    "hidden_tokens",
    "pooling",
    "rows_of",
]
