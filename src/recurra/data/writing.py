"""Habits of writing: scripts without spaces between words, where a person puts spaces, and full and half width.

Knows characters only: no vocabulary, no ids.
"""

from __future__ import annotations

import unicodedata
from collections.abc import Iterable, Sequence

_SAMPLE = 200_000  # characters that `default_level` looks at
_CLOSING = set(".,!?;:)]}%…”’»、。，！？；：）】》」』")
_OPENING = set("([{$£€#@“‘«（【《「『")
_TIGHT = set("-/'")
WIDTHS = {
    code: chr(int(form.split()[1], 16))
    for code in (0x3000, *range(0xFF01, 0xFFEF))
    if (form := unicodedata.decomposition(chr(code))).startswith(("<wide>", "<narrow>"))
}
"""The form of ordinary width of each character that is written full or half width: Ａ is A, ， is ",", ｶ is カ.

It is what Unicode's NFKC does to a single character of that kind, and nothing else of NFKC: ① and … stay.
"""


def default_level(texts: Iterable[str]) -> str:
    """ "characters" where more than 30 % of the letters are Chinese or Japanese, else "words"."""
    letters = east_asian = seen = 0
    for text in texts:
        part = text[: _SAMPLE - seen]
        seen += len(part)
        letters += sum(character.isalpha() for character in part)
        east_asian += sum(_is_east_asian(character) for character in part)
        if seen >= _SAMPLE:
            break
    return "characters" if east_asian > 0.3 * letters else "words"


def _is_east_asian(character: str) -> bool:
    return (
        "\u3040" <= character <= "\u30ff"
        or "\u3400" <= character <= "\u9fff"
        or "\uf900" <= character <= "\ufaff"
        or "\U00020000" <= character <= "\U0003ffff"
    )


def join_words(tokens: Sequence[str]) -> str:
    """Words with the spaces a person would put: none before what closes, none after what opens, none in Chinese."""
    parts: list[str] = []
    glued = True
    quoted = False
    for token in tokens:
        closes = token in _CLOSING or (token == '"' and quoted)
        east_asian = _is_east_asian(token[-1:] or " ")
        before = parts[-1] if parts else "\n"
        both_east_asian = east_asian and _is_east_asian(before[-1])
        after_wide_mark = before in _CLOSING and before > "\u2fff"
        if not (glued or closes or token == "\n" or token in _TIGHT or both_east_asian or after_wide_mark):
            parts.append(" ")
        parts.append(token)
        glued = token in _OPENING or token in _TIGHT or token == "\n" or (token == '"' and not quoted)
        if token == '"':
            quoted = not quoted
        elif token == "\n":
            quoted = False
    return "".join(parts)
