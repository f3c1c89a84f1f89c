"""Models: one file a task, all speaking `Task`. `MODELS` is the table of them by kind."""

from recurra.models.checkpoint import (
    MODELS,
    check_replaceable,
    fill_folder,
    fingerprint,
    load_model,
    save_model,
    save_weights,
    sweep,
)
from recurra.models.classifier import Classifier, ClassifierConfig, ClassifierState
from recurra.models.language import LanguageModel, LanguageModelConfig
from recurra.models.tagger import Tagger, TaggerCodecs, TaggerConfig, TaggerState
from recurra.models.task import Answer, Task

__all__ = [
    "MODELS",
    "Answer",
    "Classifier",
    "ClassifierConfig",
    "ClassifierState",
    "LanguageModel",
    "LanguageModelConfig",
    "Tagger",
    "TaggerCodecs",
    "TaggerConfig",
    "TaggerState",
    "Task",
    "check_replaceable",
    "fill_folder",
    "fingerprint",
    "load_model",
    "save_model",
    "save_weights",
    "sweep",
]
