"""The node tests that the onnx package ships, for every recurrent operator, through our backend."""

from __future__ import annotations

import re
import unittest
import warnings

from onnx.backend.test import BackendTest

from recurra.onnx import backend

RECURRENT = re.compile(r"test_(simple_rnn|rnn|gru|lstm)_.*_cpu$")


def _recurrent_cases() -> type[unittest.TestCase]:
    """The class that onnx makes of its node tests, without the others (which it would show as skipped)."""
    with warnings.catch_warnings():
        # the package computes the data of all its tests here, and some of those overflow on purpose
        warnings.simplefilter("ignore")
        tests = BackendTest(backend.RecurraBackend, __name__)
    cases = tests.include(RECURRENT.pattern).test_cases["OnnxBackendNodeModelTest"]
    for name in [name for name in vars(cases) if name.startswith("test_") and not RECURRENT.match(name)]:
        delattr(cases, name)
    return cases


OnnxBackendNodeModelTest = _recurrent_cases()


def test_all_of_them_are_here() -> None:
    names = {name for name in vars(OnnxBackendNodeModelTest) if name.startswith("test_")}
    assert len(names) >= 18
    for kind in ("simple_rnn", "gru", "lstm"):
        assert {f"test_{kind}_{case}_cpu" for case in ("defaults", "batchwise", "reverse", "bidirectional")} <= names
