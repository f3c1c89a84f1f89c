"""What a wheel takes along besides Python: the built page of `recurra look`."""

from __future__ import annotations

import subprocess
import tomllib
from importlib.resources import files
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]


def test_the_page_is_in_the_wheel() -> None:
    """The build takes all of src/recurra that git does not ignore, and what it leaves out is not named there."""
    settings = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["tool"]["scikit-build"]
    assert settings["wheel"] == {"packages": ["src/recurra"]}
    assets = sorted(path.name for path in files("recurra.look.page").joinpath("assets").iterdir())
    assert assets == ["page.css", "page.js"]
    paths = [f"src/recurra/look/page/assets/{name}" for name in assets]
    if not (ROOT / ".git").exists():
        pytest.skip("what git ignores is known where there is a repository")
    ignored = subprocess.run(["git", "check-ignore", *paths], cwd=ROOT, capture_output=True, text=True)
    assert ignored.returncode == 1 and ignored.stdout == ""
