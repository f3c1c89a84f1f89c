"""A look as one HTML file: the page in `assets`, built from `web/`, and all its numbers. It asks nothing of any network.

The browser is told so as well: the page's policy lets run only the script that stands in it, by its hash, and nothing be
fetched. What people wrote is in the file only as JSON in which no `<` stands, and the page shows it as text.
"""

from __future__ import annotations

import base64
import hashlib
import json
from importlib.resources import files
from typing import Any, Protocol


class Looked(Protocol):
    """What `look` gives."""

    def to_page(self) -> dict[str, Any]:
        """All of it, arrays packed."""
        ...


def render(look: Looked) -> str:
    """The page of a look.

    Raises `DataError` where there are more numbers than a page can carry.
    """
    return page(look.to_page())


def page(content: Any) -> str:
    """The page of a packed look: a record that is ready for JSON."""
    script, style = (files(__name__).joinpath("assets", name).read_text("utf-8") for name in ("page.js", "page.css"))
    policy = "; ".join(
        (
            "default-src 'none'", f"script-src '{_hash(script)}'", f"style-src '{_hash(style)}'", "img-src data: blob:",
            "base-uri 'none'", "form-action 'none'",
        )
    )  # fmt: skip
    return (
        '<!DOCTYPE html>\n<html lang="en">\n<head>\n<meta charset="utf-8">\n'
        f'<meta http-equiv="Content-Security-Policy" content="{policy}">\n'
        '<meta name="viewport" content="width=device-width, initial-scale=1">\n'
        f"<title>Recurra</title>\n<style>{style}</style>\n</head>\n<body>\n"
        f'<script type="application/json" id="look">{_inert(content)}</script>\n'
        f"<script>{script}</script>\n</body>\n</html>\n"
    )


def _inert(content: Any) -> str:
    """JSON that cannot end its own element, whatever stands in it."""
    text = json.dumps(content, ensure_ascii=False, allow_nan=False, separators=(",", ":"))
    for sign in "<>&\u2028\u2029":
        text = text.replace(sign, f"\\u{ord(sign):04x}")
    # half a surrogate pair is no character, and no file can hold it
    return text.encode("utf-8", "replace").decode("utf-8")


def _hash(content: str) -> str:
    return f"sha256-{base64.b64encode(hashlib.sha256(content.encode()).digest()).decode()}"
