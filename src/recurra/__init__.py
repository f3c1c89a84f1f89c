"""Recurra: recurrent networks. `fit` a model on sequences, run it a step at a time, keep its state, look inside.

Everything public is named here and loaded on first use, so that `recurra --help` does not wait for torch.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

__version__ = "0.1.0"

if TYPE_CHECKING:
    from recurra.cells import (
        CELLS,
        GRU,
        LRU,
        LSTM,
        MLSTM,
        RGLRU,
        SLSTM,
        Cell,
        Elman,
        FeedForward,
        MinGRU,
        MinLSTM,
        OwnCell,
        Recurrent,
    )
    from recurra.errors import (
        DataError,
        EnvironmentFailure,
        Interrupted,
        ModelError,
        RecurraError,
        StateError,
        UsageError,
    )
    from recurra.fitting import Check, Comparison, FitOptions, Model, Tuned, check, compare, fit, load, runs, tune
    from recurra.kernels import backend
    from recurra.layers import Bidirectional, Block, Stack, StackConfig
    from recurra.models import Classifier, ClassifierConfig, LanguageModel, LanguageModelConfig, Task
    from recurra.state import load_state, merge, save_state, select
    from recurra.streaming import Pool, Session, generate

_WHERE = {
    "cells": (
        "CELLS", "GRU", "LRU", "LSTM", "MLSTM", "RGLRU", "SLSTM", "Cell", "Elman", "FeedForward", "MinGRU", "MinLSTM",
        "OwnCell", "Recurrent",
    ),
    "errors": (
        "DataError", "EnvironmentFailure", "Interrupted", "ModelError", "RecurraError", "StateError", "UsageError",
    ),
    "fitting": (
        "Check", "Comparison", "FitOptions", "Model", "Tuned", "check", "compare", "fit", "load", "runs", "tune",
    ),
    "kernels": ("backend",),
    "layers": ("Bidirectional", "Block", "Stack", "StackConfig"),
    "models": ("Classifier", "ClassifierConfig", "LanguageModel", "LanguageModelConfig", "Task"),
    "state": ("load_state", "merge", "save_state", "select"),
    "streaming": ("Pool", "Session", "generate"),
}  # fmt: skip
_HOME = {name: module for module, names in _WHERE.items() for name in names}

__all__ = [
    "CELLS",
    "GRU",
    "LRU",
    "LSTM",
    "MLSTM",
    "RGLRU",
    "SLSTM",
    "Bidirectional",
    "Block",
    "Cell",
    "Check",
    "Classifier",
    "ClassifierConfig",
    "Comparison",
    "DataError",
    "Elman",
    "EnvironmentFailure",
    "FeedForward",
    "FitOptions",
    "Interrupted",
    "LanguageModel",
    "LanguageModelConfig",
    "MinGRU",
    "MinLSTM",
    "Model",
    "ModelError",
    "OwnCell",
    "Pool",
    "RecurraError",
    "Recurrent",
    "Session",
    "Stack",
    "StackConfig",
    "StateError",
    "Task",
    "Tuned",
    "UsageError",
    "__version__",
    "backend",
    "check",
    "compare",
    "fit",
    "generate",
    "load",
    "load_state",
    "merge",
    "runs",
    "save_state",
    "select",
    "tune",
]


def __getattr__(name: str) -> Any:
    if name in _HOME:
        value = getattr(import_module(f"recurra.{_HOME[name]}"), name)
        globals()[name] = value
        return value
    if name == "nn":  # a module, as torch.nn is
        return import_module("recurra.nn")
    raise AttributeError(f"module 'recurra' has no attribute '{name}'")
