"""Fitting: from raw data to a model in a folder, and back from the folder to a model in use."""

from recurra.fitting.check import Check, check
from recurra.fitting.comparing import Comparison, compare
from recurra.fitting.fit import fit
from recurra.fitting.fitted import Model, load
from recurra.fitting.options import FitOptions
from recurra.fitting.runs import runs
from recurra.fitting.tuning import Tuned, tune

__all__ = ["Check", "Comparison", "FitOptions", "Model", "Tuned", "check", "compare", "fit", "load", "runs", "tune"]
