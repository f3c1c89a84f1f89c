"""The command that hands a model to other programs: export."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from recurra.cli.talk import say_json, tell
from recurra.fitting import load
from recurra.progress import table


def export(folder: Path, onnx: Path, opset: int | None, lengths: bool, as_json: bool) -> None:
    # needs a package of its own; without it this says which, before the model is read
    from recurra.onnx import OPSET, signature
    from recurra.onnx import export as to_onnx

    written = to_onnx(load(folder), onnx, opset=OPSET if opset is None else opset, lengths=lengths)
    values = {"inputs": written.graph.input, "outputs": written.graph.output}
    about: dict[str, Any] = {
        "model": str(folder),
        "onnx": str(onnx),
        "opset": written.opset_import[0].version,
        "bytes": onnx.stat().st_size,
        **{kind: [signature(value) for value in each] for kind, each in values.items()},
    }
    if as_json:
        say_json(about)
        return
    rows = [
        [kind.removesuffix("s"), value["name"], value["dtype"], ", ".join(map(str, value["shape"]))]
        for kind in values
        for value in about[kind]
    ]
    print(table(rows, ["", "name", "dtype", "shape"]))
    tell(f"{onnx}: ONNX opset {about['opset']}, {about['bytes']:,} bytes")
