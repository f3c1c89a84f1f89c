"""A file imports only from floors below its own. This test reads the imports; docs/architecture.md draws the house."""

from __future__ import annotations

import ast
from graphlib import TopologicalSorter
from pathlib import Path

import pytest

PACKAGE = Path(__file__).parents[1] / "src" / "recurra"

FLOORS: dict[str, int] = {
    "errors": -2, "progress": -2, "_native": -2, "files": -1, "config": -1, "wide": -1, "state": 0,
    "kernels": 1, "data": 1, "cells": 2, "baselines": 2, "layers": 3, "models": 4, "nn": 4,
    "training": 5, "streaming": 5, "inspection": 5, "look": 5, "fitting": 6, "memory": 6, "onnx": 6, "cli": 7, "__main__": 8,
}  # fmt: skip
"""Floor 0 has steps of its own: errors below files and config, and these below state."""
ROOMS_OF_DATA = {"errors", "files", "config", "wide", "state", "progress", "data"}


def imports(path: Path) -> set[str]:
    """The rooms of recurra that a file imports, wherever in the file; the package itself counts as `fitting`."""
    found: set[str] = set()
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.ImportFrom) and node.module and node.module.split(".")[0] == "recurra":
            parts = node.module.split(".")[1:]
            names = [parts[0]] if parts else [alias.name for alias in node.names]
            found.update(name for name in names if not name.startswith("__"))
        elif isinstance(node, ast.Import):
            for alias in node.names:
                if alias.name.split(".")[0] == "recurra":
                    found.add([*alias.name.split("."), "fitting"][1])
    return found


FILES = sorted(path for path in PACKAGE.rglob("*.py") if path != PACKAGE / "__init__.py")


def room(path: Path) -> str:
    return path.relative_to(PACKAGE).parts[0].removesuffix(".py")


@pytest.mark.parametrize("path", FILES, ids=lambda path: str(path.relative_to(PACKAGE)))
def test_a_file_imports_only_from_below(path: Path) -> None:
    here = room(path)
    for other in imports(path) - {here}:
        assert other in FLOORS, f"{other} stands on no floor"
        assert FLOORS[other] < FLOORS[here], f"{here} (floor {FLOORS[here]}) imports {other} (floor {FLOORS[other]})"


@pytest.mark.parametrize(
    "path", [path for path in FILES if room(path) in ("data", "baselines")], ids=lambda path: path.stem
)
def test_data_and_baselines_know_no_networks(path: Path) -> None:
    assert imports(path) <= ROOMS_OF_DATA | {"baselines"}


def test_files_of_data_import_in_no_circle() -> None:
    files = {path.stem: path for path in FILES if room(path) == "data" and path.stem != "__init__"}
    wanted: dict[str, set[str]] = {}
    for name, path in files.items():
        tree = ast.walk(ast.parse(path.read_text(encoding="utf-8")))
        given = [(node.module or "", node.names) for node in tree if isinstance(node, ast.ImportFrom)]
        whole = {alias.name for module, names in given if module == "recurra.data" for alias in names}
        wanted[name] = whole | {module.split(".")[2] for module, _ in given if module.startswith("recurra.data.")}
    # raises `CycleError`, which names the circle
    assert set(TopologicalSorter(wanted).static_order()) == set(files)


def test_only_one_file_talks_to_the_dispatcher() -> None:
    users = {
        str(path.relative_to(PACKAGE))
        for path in FILES
        if "torch.library" in path.read_text(encoding="utf-8").split('"""', 2)[2]
    }
    assert users == {f"kernels/ops{name}.py" for name in ("", "_scan", "_sweep", "_smoothing")}


def test_nothing_unpickles() -> None:
    for path in FILES:
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if isinstance(node, ast.Import):
                assert not {alias.name for alias in node.names} & {"pickle", "joblib", "cloudpickle", "dill", "marshal"}
            if isinstance(node, ast.Attribute) and isinstance(node.value, ast.Name):
                assert (node.value.id, node.attr) not in {("torch", "load"), ("torch", "save")}


def test_no_file_grows_past_600_lines() -> None:
    root = PACKAGE.parents[1]
    everything = [*FILES, *(root / "native").iterdir(), *(root / "tests").glob("*.py")]
    assert {path.name: count for path in everything if (count := len(path.read_text().splitlines())) > 600} == {}
