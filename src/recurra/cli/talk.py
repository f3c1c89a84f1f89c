"""How the commands speak: JSON a line, or plain text, on stdout."""

from __future__ import annotations

import json
import math
from typing import Any


def say_json(value: Any) -> None:
    """One JSON object on one line; NaN and infinity, which JSON does not have, as null."""
    print(json.dumps(_plain(value), ensure_ascii=False, allow_nan=False), flush=True)


def _plain(value: Any) -> Any:
    if isinstance(value, float):
        return value if math.isfinite(value) else None
    if isinstance(value, dict):
        return {str(key): _plain(inner) for key, inner in value.items()}
    if isinstance(value, (list, tuple)):
        return [_plain(inner) for inner in value]
    return value


def show_answer(answer: dict[str, Any], raw: str = "") -> str:
    """An answer as a line for a person."""
    if "next" in answer:
        return "  ".join(f"{visible(item['token'])} {item['probability']:.3f}" for item in answer["next"])
    shares = "  ".join(f"{name} {share:.3f}" for name, share in answer["probabilities"].items())
    line = f"{answer['label']}\t{shares}"
    return f"{line}\t{raw}" if raw else line


def visible(token: str) -> str:
    """A token with white space that can be seen."""
    return token.replace("\n", "⏎").replace("\t", "⇥").replace(" ", "␣") or "∅"
