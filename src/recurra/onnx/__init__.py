"""ONNX in and out: a backend that runs the recurrent nodes of any model, and `export` of networks and whole models.

It needs the packages of the extra "onnx". This page of the documentation has examples: docs/onnx.md.
"""

from recurra.errors import EnvironmentFailure

try:
    import onnx as _onnx  # noqa: F401
except ImportError as error:
    raise EnvironmentFailure(
        "recurra.onnx needs a package that is not installed",
        got=error,
        fix='Install it with: pip install "recurra[onnx]"',
    ) from error

from recurra.onnx import backend
from recurra.onnx.exporting import OPSET, export, signature

__all__ = ["OPSET", "backend", "export", "signature"]
