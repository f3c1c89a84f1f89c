"""A real browser for tests of pages: headless, without a network, and nothing that the page complains of goes unheard."""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

NAMES = ("chromium", "chromium-browser", "google-chrome", "google-chrome-stable")


def executable() -> str | None:
    """The Chromium of this machine, or the one that playwright keeps."""
    found = next(filter(None, map(shutil.which, NAMES)), None)
    if found is not None:
        return found
    kept = Path.home() / ".cache" / "ms-playwright"
    return next((str(path) for path in sorted(kept.glob("chromium-*/chrome-linux*/chrome"))), None)


@contextmanager
def browser() -> Iterator[Any]:
    """One browser for many pages; without one the tests are skipped, but in CI they fail."""
    from playwright.sync_api import sync_playwright

    path = executable()
    if path is None and os.environ.get("CI") != "true":
        pytest.skip("no Chromium on this machine: apt-get install chromium, or playwright install chromium")
    with sync_playwright() as driver:
        # the sandbox of the browser cannot be had as root, which CI is
        one = driver.chromium.launch(executable_path=path, args=["--no-sandbox"])
        try:
            yield one
        finally:
            one.close()


class Opened:
    """A page of a look in the browser, ready; `said` is what the console heard, `asked` every address it asked for."""

    def __init__(self, browser: Any, path: Path, *, width: int = 1200, **options: Any) -> None:
        self.said: list[str] = []
        self.asked: list[str] = []
        context = browser.new_context(
            viewport={"width": width, "height": 800}, offline=True, accept_downloads=True, reduced_motion="reduce", **options
        )  # fmt: skip
        self.page = context.new_page()
        self.page.set_default_timeout(20_000)
        self.page.on("console", lambda message: self.said.append(f"{message.type}: {message.text}"))
        self.page.on("pageerror", lambda error: self.said.append(str(error)))
        self.page.on("dialog", lambda dialog: (self.said.append(f"dialog: {dialog.message}"), dialog.dismiss()))
        self.page.on("request", lambda request: self.asked.append(request.url))
        self.page.goto(path.as_uri())
        self.page.wait_for_selector("html[data-ready]")

    def __enter__(self) -> Opened:
        return self

    def __exit__(self, kind: object, *_: object) -> None:
        self.page.context.close()
        if kind is None:
            assert not self.said, self.said
            outside = [address for address in self.asked if not address.startswith(("file:", "data:", "blob:"))]
            assert not outside, outside

    def text(self, selector: str) -> str:
        return self.page.locator(selector).inner_text()

    def reads(self, selector: str, text: str) -> None:
        """The element comes to have this text in it."""
        from playwright.sync_api import expect

        expect(self.page.locator(selector)).to_contain_text(text)

    def number(self, selector: str, name: str) -> float:
        return float(self.page.locator(selector).get_attribute(f"data-{name}"))

    def frames(self) -> None:
        """Let the page draw what it was told to."""
        self.page.evaluate("() => new Promise(done => requestAnimationFrame(() => requestAnimationFrame(done)))")
