"""HTML and SVG from nested calls, in which text is escaped unless it is markup already.

It knows characters and tags. It does not know what a report is.
"""

from __future__ import annotations

import html
import re
import unicodedata
from collections.abc import Iterable

# What neither HTML nor UTF-8 can hold: control characters and halves of surrogate pairs.
_UNFIT = re.compile("[\x00-\x08\x0b\x0c\x0e-\x1f\x7f-\x9f\ud800-\udfff\ufffe\uffff]")
_VOID = frozenset({"meta", "br", "circle", "line", "path", "polygon", "polyline", "rect"})


class Html(str):
    """Text that is markup already and must not be escaped again."""

    __slots__ = ()


def clean(value: object) -> str:
    """The value as text that any file can hold; what cannot be held becomes U+FFFD."""
    return _UNFIT.sub("\ufffd", str(value))


def escape(value: object) -> Html:
    """The value as HTML text: markup as it is, everything else escaped."""
    return value if isinstance(value, Html) else Html(html.escape(clean(value)))


def join(children: Iterable[object], between: str = "") -> Html:
    return Html(between.join(escape(child) for child in children))


def tag(name: str, /, *children: object, **attributes: object) -> Html:
    """One element. `class_` stands for class, `font_size` for font-size; an attribute `None` is left out."""
    opening = "".join(
        f' {key.rstrip("_").replace("_", "-")}="{html.escape(clean(value))}"'
        for key, value in attributes.items()
        if value is not None
    )
    if name in _VOID and not children:
        return Html(f"<{name}{opening}/>")
    return Html(f"<{name}{opening}>{join(children)}</{name}>")


def wide(character: str) -> bool:
    """Whether a character is as wide as it is high, as Chinese ones are."""
    return unicodedata.east_asian_width(character) in "WF"


def text_width(text: str, size: float) -> float:
    """About how wide a text is in a proportional face of that size."""
    return size * sum(1.0 if wide(character) else 0.56 for character in text)


def shorten(value: object, limit: int) -> str:
    """On one line, cut to `limit` characters with an ellipsis."""
    text = " ".join(clean(value).split())
    return text if len(text) <= limit else text[: limit - 1].rstrip() + "…"
