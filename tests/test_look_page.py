"""The page of a look without a browser: one file, nothing fetched, and whatever people wrote is inert in it."""

from __future__ import annotations

import base64
import hashlib
import json
import re
import shutil
import subprocess
from pathlib import Path

import pytest

from recurra.look.page import page

ROOT = Path(__file__).parents[1]
ASSETS = ROOT / "src" / "recurra" / "look" / "page" / "assets"
HOSTILE = [
    "</script><script>alert(1)</script>", "<!--", "<img src=x onerror=alert(1)>", "&amp;&lt;", "\u2028\u2029",
    "\x00\x07\x1b[31m", "👩‍👩‍👧", "\u202egnp.exe", "שלום", "\ud800", "${7*7}", "]]>", "'\"`",
]  # fmt: skip


def told(text: str) -> str:
    """What stands in the element that holds the look."""
    found = re.search(r'<script type="application/json" id="look">(.*?)</script>', text, re.DOTALL)
    assert found is not None
    return found[1]


def test_whatever_people_write_stays_json() -> None:
    text = page({"scenes": HOSTILE})
    content = told(text)
    assert not re.search("[<>&\u2028\u2029]", content)
    found = json.loads(content)["scenes"]
    # half a surrogate pair is no character and becomes a question mark
    assert found == [each if each != "\ud800" else "?" for each in HOSTILE]
    # two elements are ours: the numbers and the page itself
    assert text.count("<script") == 2 and text.count("</script>") == 2


def test_a_number_that_json_has_not_is_refused() -> None:
    with pytest.raises(ValueError, match="not JSON compliant"):
        page({"value": float("nan")})


def test_only_its_own_script_and_style_may_run_and_nothing_is_fetched() -> None:
    text = page({})
    policy = re.search(r'Content-Security-Policy" content="([^"]*)"', text)
    assert policy is not None and "default-src 'none'" in policy[1] and "http" not in policy[1]
    for tag, name in (("script", "script-src"), ("style", "style-src")):
        inside = re.findall(rf"<{tag}>(.*?)</{tag}>", text, re.DOTALL)
        assert len(inside) == 1
        told_hash = base64.b64encode(hashlib.sha256(inside[0].encode()).digest()).decode()
        assert f"{name} 'sha256-{told_hash}'" in policy[1]
    assert not re.search(r'(?:src|href)="?http', text)


def test_texts_are_put_in_as_text() -> None:
    for path in (ROOT / "web" / "src").glob("*.ts"):
        content = path.read_text("utf-8")
        for way in (
            "innerHTML",
            "outerHTML",
            "insertAdjacentHTML",
            "document.write",
            "eval(",
            "new Function",
            "fetch(",
        ):
            assert way not in content, f"{path.name}: {way}"


def test_both_languages_say_everything() -> None:
    content = (ROOT / "web" / "src" / "words.ts").read_text("utf-8")
    table = content[content.index("export const WORDS") : content.index("export type Word")]
    pairs = re.findall(r'en:\s*("(?:[^"\\]|\\.)*"),\s*zh:\s*("(?:[^"\\]|\\.)*")', table)
    assert len(pairs) == len(re.findall(r"\ben:", table)) > 60
    for en, zh in pairs:
        names = re.compile(r"\{\w+\}")
        assert sorted(names.findall(en)) == sorted(names.findall(zh)), en


def _light(colour: str) -> float:
    """The relative luminance of a colour such as #1d629f or #fff (WCAG 2.2)."""
    digits = colour.lstrip("#")
    digits = "".join(2 * digit for digit in digits) if len(digits) == 3 else digits
    parts = [int(digits[at : at + 2], 16) / 255 for at in (0, 2, 4)]
    red, green, blue = (part / 12.92 if part <= 0.04045 else ((part + 0.055) / 1.055) ** 2.4 for part in parts)
    return 0.2126 * red + 0.7152 * green + 0.0722 * blue


@pytest.mark.parametrize("scheme", [0, 1], ids=["light", "dark"])
def test_texts_stand_out_from_what_is_behind_them(scheme: int) -> None:
    content = (ROOT / "web" / "src" / "page.css").read_text("utf-8")
    block = re.findall(r":root \{(.*?)\}", content, re.DOTALL)[scheme]
    named = dict(re.findall(r"--(\w+): (#\w+)", block))
    for front, back in [
        ("on", "model"),
        *((f, b) for f in ("ink", "soft", "second") for b in ("paper", "card", "even")),
    ]:
        lights = sorted((_light(named[front]), _light(named[back])))
        assert (lights[1] + 0.05) / (lights[0] + 0.05) >= 4.5, (front, back)


@pytest.mark.skipif(
    shutil.which("node") is None or not (ROOT / "web" / "node_modules" / "esbuild").exists(),
    reason="the page is built by node and esbuild: npm ci in web/",
)
def test_the_page_is_what_its_sources_make(tmp_path: Path) -> None:
    subprocess.run(["node", "build.mjs", str(tmp_path)], cwd=ROOT / "web", check=True)
    for name in ("page.js", "page.css"):
        assert (tmp_path / name).read_bytes() == (ASSETS / name).read_bytes(), f"{name} is old: npm run build in web/"
