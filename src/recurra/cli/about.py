"""The commands that tell: info and doctor."""

from __future__ import annotations

import platform
from pathlib import Path
from typing import Any

import torch

import recurra
from recurra import kernels
from recurra.cli.talk import printable, say_json, tell
from recurra.fitting.fitted import record_in
from recurra.fitting.telling import streaming_lines
from recurra.inspection.measures import items, part
from recurra.progress import table
from recurra.streaming import graph


def info(folder: Path, as_json: bool) -> None:
    model = recurra.load(folder)
    if record_in(folder) is None:
        tell(f"note: {folder / 'record.json'} is damaged, so nothing is known of how the model was made")
    about: dict[str, Any] = {
        "kind": model.kind,
        "model": model.task.summary(),
        "streams": model.task.causal,
        "fingerprint": model.fingerprint,
        "bytes": sum(file.stat().st_size for file in folder.iterdir() if file.is_file()),
        "metrics": model.metrics,
        **{
            key: model.record[key]
            for key in ("date", "version", "command", "seconds", "streaming")
            if key in model.record
        },
    }
    if as_json:
        say_json(about)
        return
    rows = [["kind", about["kind"]], ["streams", "yes" if about["streams"] else "no, it reads both ways"]]
    rows += [[name, _short(value)] for name, value in about["model"].items()]
    for split, metrics in about["metrics"].items():
        rows += [[f"{split} {name}", f"{value:.4f}"] for name, value in metrics.items()]
    rows += [
        [key, _short(about[key])] for key in ("fingerprint", "bytes", "date", "seconds", "command") if key in about
    ]
    print(table(rows, ["", str(folder)]))
    streaming = part(model.record, "streaming")
    if items(streaming, "sentences"):
        print(f"\n{printable(streaming_lines(streaming))}")


def _short(value: Any) -> str:
    if isinstance(value, list):
        return ", ".join(map(str, value[:8])) + (f", ... ({len(value)})" if len(value) > 8 else "")
    return f"{value:,}" if isinstance(value, int) and not isinstance(value, bool) else str(value)


def doctor(as_json: bool) -> None:
    backends, versions = kernel_table(), versions_here()
    if as_json:
        say_json({"versions": versions, "kernels": backends})
        return
    print(table([[key, str(value)] for key, value in versions.items()], ["", ""]))
    print()
    columns = ["kernel", "device", "backend", "why"]
    print(table([[row[column] for column in columns] for row in backends], columns))


def versions_here() -> dict[str, Any]:
    """What is installed, and what it runs on."""
    found: dict[str, Any] = {
        "recurra": recurra.__version__,
        "python": platform.python_version(),
        "torch": torch.__version__,
        "machine": f"{platform.system()} {platform.machine()}",
        "threads": torch.get_num_threads(),
        "native": kernels.missing
        or f"built for {', '.join(kernels.instruction_sets())}; runs {kernels.instruction_set()}",
    }
    if torch.cuda.is_available():
        major, minor = torch.cuda.get_device_capability()
        found["gpu"] = f"{torch.cuda.get_device_name()}, capability {major}.{minor}"
        found["cudnn"] = torch.backends.cudnn.version() or "none"
        found["triton"] = kernels.gpu.no_triton() or kernels.gpu.triton_version()
    return found


def kernel_table() -> list[dict[str, str]]:
    """Each kernel on each device ("scan": steps of one's own): the backend in use, and the reason."""
    found = []
    for name in (*kernels.KERNELS, *kernels.SWEEPS, "scan", "linear"):
        reason = kernels.unsupported(torch.float32)
        native = (
            ("native", f"float32, float64, bfloat16; {kernels.instruction_set()}")
            if reason is None
            else ("reference", reason)
        )
        found.append({"kernel": name, "device": "cpu", "backend": native[0], "why": native[1]})
        on_gpu, what = kernels.gpu.summary(name)
        for device, there, backend, why in (
            ("cuda", torch.cuda.is_available(), on_gpu, what),
            ("mps", torch.backends.mps.is_available(), "reference", "no kernel of ours for this device yet"),
        ):
            backend, why = (backend, why) if there else ("reference", "no such device here")
            found.append({"kernel": name, "device": device, "backend": backend, "why": why})
    backend, why = graph.summary() if torch.cuda.is_available() else ("reference", "no such device here")
    found.append({"kernel": "a pool's step", "device": "cuda", "backend": backend, "why": why})
    return found
