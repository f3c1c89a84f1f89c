"""Layers: cells composed. They know the protocol of a cell and nothing of a task."""

from recurra.layers.stack import Bidirectional, Block, DirectionsState, Stack, StackConfig, fixed_dropout

__all__ = ["Bidirectional", "Block", "DirectionsState", "Stack", "StackConfig", "fixed_dropout"]
