"""Models: one file a task, all speaking `Task`. `MODELS` is the table of them by kind."""

from recurra.models.beam import Beam, Hypothesis
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
from recurra.models.classifier import Classifier, ClassifierConfig, ClassifierState, NGramsConfig
from recurra.models.ensemble import (
    ClassifierEnsemble,
    ClassifierEnsembleConfig,
    Ensemble,
    RegressorEnsemble,
    RegressorEnsembleConfig,
)
from recurra.models.forecaster import Forecaster
from recurra.models.forecasting import PROBABILITIES, ForecasterConfig, ForecasterState, answer_of, bounds
from recurra.models.language import LanguageModel, LanguageModelConfig
from recurra.models.regressor import Regressor, RegressorConfig
from recurra.models.tagger import Tagger, TaggerCodecs, TaggerConfig, TaggerState
from recurra.models.task import Answer, Task
from recurra.models.translation import Translation
from recurra.models.translator import Translator, TranslatorConfig, TranslatorState
from recurra.models.word_by_word import WordByWord, WordByWordConfig

__all__ = [
    "MODELS",
    "PROBABILITIES",
    "Answer",
    "Beam",
    "Classifier",
    "ClassifierConfig",
    "ClassifierEnsemble",
    "ClassifierEnsembleConfig",
    "ClassifierState",
    "Ensemble",
    "Forecaster",
    "ForecasterConfig",
    "ForecasterState",
    "Hypothesis",
    "LanguageModel",
    "LanguageModelConfig",
    "NGramsConfig",
    "Regressor",
    "RegressorConfig",
    "RegressorEnsemble",
    "RegressorEnsembleConfig",
    "Tagger",
    "TaggerCodecs",
    "TaggerConfig",
    "TaggerState",
    "Task",
    "Translation",
    "Translator",
    "TranslatorConfig",
    "TranslatorState",
    "WordByWord",
    "WordByWordConfig",
    "answer_of",
    "bounds",
    "check_replaceable",
    "fill_folder",
    "fingerprint",
    "load_model",
    "save_model",
    "save_weights",
    "sweep",
]
