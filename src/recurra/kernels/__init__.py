"""Kernels: pure functions over a whole sequence, each an operation of torch with a reference and faster backends.

They know arrays and nothing of parameters, layers or tasks.
"""

from recurra.kernels import gpu
from recurra.kernels.attention import attention
from recurra.kernels.calls import elman, gru, lstm
from recurra.kernels.crf import crf_loss, filtered, viterbi
from recurra.kernels.kept import MOST_ROWS, Kept, LayerWeights, SweepLayer, direct, keepable
from recurra.kernels.native import (
    BACKENDS,
    BackendWarning,
    backend,
    capsule,
    instruction_set,
    instruction_sets,
    likeliest,
    missing,
    unsupported,
    usable,
)
from recurra.kernels.ops import KERNELS, cross_entropy, linear, recording
from recurra.kernels.ops_smoothing import smoothing
from recurra.kernels.ops_sweep import sweep
from recurra.kernels.readout import readout
from recurra.kernels.recompute import recomputed
from recurra.kernels.reference import without_padding
from recurra.kernels.scan import scan, scan_traced, sizes_of, traced_step
from recurra.kernels.steps import ACTIVATIONS
from recurra.kernels.sweeps import POWER, SWEEPS, Parameters
from recurra.kernels.transforms import transformed, unwatched
from recurra.kernels.variants import without_forget

__all__ = [
    "ACTIVATIONS",
    "BACKENDS",
    "KERNELS",
    "MOST_ROWS",
    "POWER",
    "SWEEPS",
    "BackendWarning",
    "Kept",
    "LayerWeights",
    "Parameters",
    "SweepLayer",
    "attention",
    "backend",
    "capsule",
    "crf_loss",
    "cross_entropy",
    "direct",
    "elman",
    "filtered",
    "gpu",
    "gru",
    "instruction_set",
    "instruction_sets",
    "keepable",
    "likeliest",
    "linear",
    "lstm",
    "missing",
    "readout",
    "recomputed",
    "recording",
    "scan",
    "scan_traced",
    "sizes_of",
    "smoothing",
    "sweep",
    "traced_step",
    "transformed",
    "unsupported",
    "unwatched",
    "usable",
    "viterbi",
    "without_forget",
    "without_padding",
]
