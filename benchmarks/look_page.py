"""The page of `recurra look` in a headless Chromium: how large its file is, when its strip is seen, how it is panned.

A page is opened several times, each time as new, and the middle of the times is told, with the least and the greatest. All
are of the browser's own clock: "seen" is when the strip has been handed to the screen, "ready" when every panel has been
drawn, both since the address was asked for; "its thread" is how long the page's own thread worked for that.
"""

from __future__ import annotations

import argparse
import shutil
import statistics
import tempfile
from collections.abc import Sequence
from itertools import pairwise
from pathlib import Path
from random import Random
from typing import Any

import torch
from playwright.sync_api import sync_playwright

from recurra.data.text_codec import TextCodec
from recurra.layers import StackConfig
from recurra.look.looking import look
from recurra.look.page import render
from recurra.models import LanguageModel, LanguageModelConfig

SIGNS = "abcdefghijklmnopqrstuvwxyz   ,."
LOOKS: dict[str, tuple[str, int, int, int]] = {
    "gru": ("gru", 256, 3, 200),
    "lstm": ("lstm", 256, 3, 200),
    "10,000": ("gru", 16, 2, 10_000),
    "100,000": ("gru", 16, 2, 100_000),
}
"""Cell, units, layers and steps of each."""
PANNED = 60
"""Frames of a drag."""
FRAMES = """() => new Promise(done => {
    const times = [];
    const tick = time => { times.push(time); times.length > MOST ? done(times) : requestAnimationFrame(tick) };
    requestAnimationFrame(tick);
    const strip = document.querySelector('.strip');
    const at = (type, x) => strip.dispatchEvent(new PointerEvent(type,
        {pointerId: 1, clientX: x, clientY: strip.getBoundingClientRect().top + 90, button: 0, bubbles: true}));
    // a synthetic pointer cannot be captured, which only real ones need
    strip.setPointerCapture = () => {};
    at('pointerdown', 900);
    let moved = 0;
    const drag = () => { moved += 7; at('pointermove', 900 - moved % 800); moved < 7 * MOST && requestAnimationFrame(drag) };
    requestAnimationFrame(drag);
})""".replace("MOST", str(PANNED))


def written(name: str, folder: Path) -> Path:
    """The page of one of `LOOKS`, of fresh weights: their states pack worse than those of trained ones."""
    cell, hidden, layers, steps = LOOKS[name]
    drawn = Random(0)
    text = "".join(drawn.choice(SIGNS) for _ in range(steps))
    torch.manual_seed(0)
    codec = TextCodec.learn([SIGNS])
    stack = StackConfig(cell=cell, hidden=hidden, layers=layers)
    model = LanguageModel(LanguageModelConfig(stack=stack, vocabulary=codec.size, embedding=64), codec).eval()
    path = folder / f"{name.replace(',', '')}.html"
    path.write_text(render(look(model, text, why=None if steps < 1000 else 0)), "utf-8")
    return path


def opened(browser: Any, path: Path, pan: bool) -> dict[str, float]:
    """One visit: milliseconds by name."""
    page = browser.new_page(viewport={"width": 1440, "height": 900})
    try:
        client = page.context.new_cdp_session(page)
        client.send("Performance.enable")
        page.goto(path.as_uri())
        page.wait_for_selector("html[data-ready]", timeout=60_000)
        found = {name: float(page.get_attribute("html", f"data-{name}")) for name in ("painted", "ready")}
        found["thread"] = 1000 * _metric(client, "TaskDuration")
        if pan:
            # near enough that steps have cells of their own, as people look at them
            for _ in range(20):
                page.click("#zoom-in")
            page.evaluate("() => new Promise(done => requestAnimationFrame(() => requestAnimationFrame(done)))")
            before = _metric(client, "TaskDuration")
            times = page.evaluate(FRAMES)
            found["frame's thread"] = 1000 * (_metric(client, "TaskDuration") - before) / PANNED
            found["frame"] = statistics.median(b - a for a, b in pairwise(times))
        return found
    finally:
        page.close()


def _metric(client: Any, name: str) -> float:
    told = client.send("Performance.getMetrics")["metrics"]
    return next(each["value"] for each in told if each["name"] == name)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("looks", nargs="*", default=["gru", "lstm", "10,000"], help=", ".join(LOOKS))
    parser.add_argument("--visits", type=int, default=5)
    parser.add_argument("--folder", type=Path, help="where pages are kept; those that are there are taken")
    chosen = parser.parse_args()
    with tempfile.TemporaryDirectory() as kept, sync_playwright() as driver:
        folder = chosen.folder or Path(kept)
        found = {name: folder / f"{name.replace(',', '')}.html" for name in chosen.looks}
        for name, path in found.items():
            if not path.exists():
                written(name, folder)
        browser = driver.chromium.launch(executable_path=shutil.which("chromium"), args=["--no-sandbox"])
        print("| look | file, MB | seen, ms | ready, ms | its thread, ms | panning: thread, ms a frame | frame, ms |")
        print("|---|---|---|---|---|---|---|")
        for name, path in found.items():
            pan = LOOKS[name][3] >= 1000
            visits = [opened(browser, path, pan) for _ in range(chosen.visits)]
            print(f"| {name} | {path.stat().st_size / 1e6:.2f} |{_row(visits)}", flush=True)
        browser.close()


def _row(visits: Sequence[dict[str, float]]) -> str:
    cells = []
    for name in ("painted", "ready", "thread", "frame's thread", "frame"):
        values = [visit[name] for visit in visits if name in visit]
        told = f"{statistics.median(values):.0f} ({min(values):.0f} to {max(values):.0f})" if values else ""
        cells.append(f" {told} |")
    return "".join(cells)


if __name__ == "__main__":
    main()
