"""Simple models that every result is printed beside: what a network must beat to earn its keep.

Classification has the majority class and a linear model; regression the mean and ridge; language modified Kneser-Ney;
tagging each word's usual tag and a structured perceptron; translation the source itself and a table of words. All are
deterministic, take seconds, and know datasets and token ids alone.
"""

from __future__ import annotations

from recurra.baselines.classification import classification_baselines
from recurra.baselines.forecasting import forecast_baselines
from recurra.baselines.language import language_baselines
from recurra.baselines.ngram_cache import NGramCache
from recurra.baselines.regression import regression_baselines
from recurra.baselines.results import BaselineResult
from recurra.baselines.tagging import tagging_baselines
from recurra.baselines.translation import translation_baselines

__all__ = [
    "BaselineResult",
    "NGramCache",
    "classification_baselines",
    "forecast_baselines",
    "language_baselines",
    "regression_baselines",
    "tagging_baselines",
    "translation_baselines",
]
