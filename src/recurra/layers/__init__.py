"""Layers: cells composed. They know the protocol of a cell and nothing of a task."""

from recurra.layers.augmentation import Augmentation, augmented
from recurra.layers.convolution import Convolution, ConvolutionConfig
from recurra.layers.dilated import Dilated, DilatedState
from recurra.layers.dropout import drawn_for, embedded_dropout, fixed_dropout, hidden_tokens, rows_of
from recurra.layers.filling import Filling
from recurra.layers.front import Front
from recurra.layers.ngrams import NGrams, NGramsState
from recurra.layers.pooling import Pooling, pooling
from recurra.layers.probes import Probes, ProbesConfig
from recurra.layers.spelling import Spelling
from recurra.layers.stack import Bidirectional, Block, DirectionsState, Stack, StackConfig

__all__ = [
    "Augmentation",
    "Bidirectional",
    "Block",
    "Convolution",
    "ConvolutionConfig",
    "Dilated",
    "DilatedState",
    "DirectionsState",
    "Filling",
    "Front",
    "NGrams",
    "NGramsState",
    "Pooling",
    "Probes",
    "ProbesConfig",
    "Spelling",
    "Stack",
    "StackConfig",
    "augmented",
    "drawn_for",
    "embedded_dropout",
    "fixed_dropout",
    "hidden_tokens",
    "pooling",
    "rows_of",
]
