"""Shapes of a picture, and the two ways to write them: SVG by hand, PNG by matplotlib. One list, one picture.

Lengths are in points; y runs downwards. Nothing here knows what is drawn.
"""

from __future__ import annotations

import base64
import io
import struct
import unicodedata
import zlib
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any
from xml.sax.saxutils import escape

import numpy as np

INK, SOFT, RULE, ACCENT, OUTPUT = "#1d2126", "#5b636d", "#8b949e", "#1d629f", "#9c4310"
_LOW = ((247, 247, 245), (201, 222, 241), (130, 178, 220), (50, 116, 176), (12, 64, 116))
_HIGH = ((247, 247, 245), (250, 215, 187), (240, 160, 102), (205, 94, 28), (122, 48, 5))
FONTS = (
    "Noto Sans CJK SC", "Source Han Sans SC", "PingFang SC", "Microsoft YaHei", "WenQuanYi Micro Hei", "WenQuanYi Zen Hei",
    "Hiragino Sans GB", "Noto Sans", "DejaVu Sans",
)  # fmt: skip
"""Those that are looked for; the ones that have Chinese first."""
DOTS = 200


@dataclass(frozen=True)
class Heat:
    """values[T, H] as colours, a column a step and the first unit on top; full colour at plus and minus `scale`."""

    x: float
    y: float
    width: float
    height: float
    values: np.ndarray
    scale: float


@dataclass(frozen=True)
class Rectangle:
    x: float
    y: float
    width: float
    height: float
    dashed: bool = False


@dataclass(frozen=True)
class Arrow:
    x1: float
    y1: float
    x2: float
    y2: float
    accent: bool = False


@dataclass(frozen=True)
class Line:
    """From point to point, [N, 2]."""

    points: np.ndarray
    colour: str


@dataclass(frozen=True)
class Words:
    """A text: its middle at x, or its left end, or its right end; y is its base line. `ink` is a colour of its own."""

    x: float
    y: float
    text: str
    size: float = 10.0
    bold: bool = False
    soft: bool = False
    accent: bool = False
    middle: bool = True
    right: bool = False
    ink: str = ""

    @property
    def colour(self) -> str:
        return self.ink or self._kind

    @property
    def _kind(self) -> str:
        return SOFT if self.soft else OUTPUT if self.accent else INK


Shape = Heat | Rectangle | Arrow | Line | Words


def colours(values: np.ndarray, scale: float) -> np.ndarray:
    """Numbers as colours, uint8 [..., 3]: blue below zero, orange above, paper at zero and where there is no number."""
    share = np.clip(np.nan_to_num(np.asarray(values, np.float64) / scale), -1, 1)
    stops = np.linspace(0, 1, len(_LOW))
    low, high = (
        np.stack([np.interp(np.abs(share), stops, [stop[k] for stop in ramp]) for k in range(3)], axis=-1)
        for ramp in (_LOW, _HIGH)
    )
    return np.where((share < 0)[..., None], low, high).round().astype(np.uint8)


def visible(text: str) -> str:
    """A text of which every sign can be drawn: controls, and signs that turn the direction of others, stand as their code."""
    return "".join(
        f"⟨{ord(sign):X}⟩" if unicodedata.category(sign)[0] == "C" and sign != "\u200d" else sign for sign in text
    )


def svg_of(shapes: Sequence[Shape], width: float, height: float) -> str:
    """The shapes as an SVG file."""
    family = ", ".join(["system-ui", *(f"'{name}'" for name in FONTS), "sans-serif"])
    parts = [
        f'<svg xmlns="http://www.w3.org/2000/svg" width="{width:g}pt" height="{height:g}pt" '
        f'viewBox="0 0 {width:g} {height:g}" font-family="{family}">\n'
        f'<rect width="{width:g}" height="{height:g}" fill="#fff"/>\n'
        '<defs><marker id="head" viewBox="0 0 6 6" refX="6" refY="3" markerWidth="5" markerHeight="5" orient="auto">'
        '<path d="M0 0L6 3L0 6z" fill="context-stroke"/></marker></defs>'
    ]
    return "\n".join([*parts, *map(_svg, shapes), "</svg>\n"])


def _svg(shape: Shape) -> str:
    if isinstance(shape, Heat):
        picture = base64.b64encode(_picture(colours(shape.values, shape.scale).transpose(1, 0, 2))).decode()
        return (
            f'<image {_box(shape)} preserveAspectRatio="none" style="image-rendering:pixelated" '
            f'href="data:image/png;base64,{picture}"/>'
        )
    if isinstance(shape, Rectangle):
        dash = ' stroke-dasharray="3 2"' if shape.dashed else ""
        return f'<rect {_box(shape)} fill="none" stroke="{RULE}" stroke-width="0.8"{dash}/>'
    if isinstance(shape, Arrow):
        return (
            f'<line x1="{shape.x1:.2f}" y1="{shape.y1:.2f}" x2="{shape.x2:.2f}" y2="{shape.y2:.2f}" '
            f'stroke="{ACCENT if shape.accent else SOFT}" stroke-width="0.9" marker-end="url(#head)"/>'
        )
    if isinstance(shape, Line):
        points = " ".join(f"{x:.1f},{y:.1f}" for x, y in shape.points)
        return f'<polyline points="{points}" fill="none" stroke="{shape.colour}" stroke-width="1.1"/>'
    anchor = "end" if shape.right else "middle" if shape.middle else "start"
    weight = ' font-weight="600"' if shape.bold else ""
    return (
        f'<text x="{shape.x:.2f}" y="{shape.y:.2f}" font-size="{shape.size:g}" fill="{shape.colour}" '
        f'text-anchor="{anchor}"{weight}>{escape(visible(shape.text))}</text>'
    )


def _box(shape: Heat | Rectangle) -> str:
    return f'x="{shape.x:.2f}" y="{shape.y:.2f}" width="{shape.width:.2f}" height="{shape.height:.2f}"'


def _picture(rows: np.ndarray) -> bytes:
    """colours[H, W, 3] as a PNG, a pixel each (PNG specification, eight bits a channel, no filter)."""

    def chunk(name: bytes, data: bytes) -> bytes:
        return struct.pack(">I", len(data)) + name + data + struct.pack(">I", zlib.crc32(name + data))

    height, width = rows.shape[:2]
    lines = b"".join(b"\0" + row.tobytes() for row in rows)
    head = struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", head) + chunk(b"IDAT", zlib.compress(lines, 9)) + chunk(b"IEND", b"")


# ---- PNG


def png_of(shapes: Sequence[Shape], width: float, height: float) -> bytes:
    """The shapes as a PNG of `DOTS` an inch."""
    # a figure of its own, without pyplot: nothing of a person's settings or windows is touched
    from matplotlib import rc_context
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    with rc_context():
        figure = Figure(figsize=(width / 72, height / 72), dpi=DOTS, facecolor="#fff")
        canvas = FigureCanvasAgg(figure)
        axes = figure.add_axes((0, 0, 1, 1))
        axes.set(xlim=(0, width), ylim=(height, 0))
        axes.axis("off")
        families, known = _fonts()
        for shape in shapes:
            _put(axes, shape, families, known)
        file = io.BytesIO()
        canvas.print_png(file)
    return file.getvalue()


def _put(axes: Any, shape: Shape, families: list[str], known: frozenset[int]) -> None:
    if isinstance(shape, Heat):
        extent = (shape.x, shape.x + shape.width, shape.y + shape.height, shape.y)
        picture = colours(shape.values, shape.scale).transpose(1, 0, 2)
        axes.imshow(picture, extent=extent, aspect="auto", interpolation="nearest", zorder=1)
    elif isinstance(shape, Rectangle):
        from matplotlib.patches import Rectangle as Box

        style = (0, (3, 2)) if shape.dashed else "solid"
        corner = (shape.x, shape.y)
        axes.add_patch(
            Box(corner, shape.width, shape.height, fill=False, edgecolor=RULE, linewidth=0.8, linestyle=style, zorder=2)
        )
    elif isinstance(shape, Arrow):
        colour = ACCENT if shape.accent else SOFT
        how = {
            "arrowstyle": "-|>,head_width=0.16,head_length=0.3",
            "color": colour,
            "lw": 0.9,
            "shrinkA": 0,
            "shrinkB": 0,
        }
        axes.annotate("", xy=(shape.x2, shape.y2), xytext=(shape.x1, shape.y1), arrowprops=how, zorder=3)
    elif isinstance(shape, Line):
        axes.plot(*shape.points.T, color=shape.colour, linewidth=1.1, zorder=3)
    else:
        axes.text(
            shape.x, shape.y, drawable(shape.text, known), fontsize=shape.size, color=shape.colour, family=families,
            ha="right" if shape.right else "center" if shape.middle else "left", va="baseline", parse_math=False,
            zorder=4,
        )  # fmt: skip


def _fonts() -> tuple[list[str], frozenset[int]]:
    """The fonts of `FONTS` that are here, and the signs that they have."""
    from matplotlib.font_manager import FontProperties, findfont, fontManager, get_font

    there = {entry.name for entry in fontManager.ttflist}
    families = [name for name in FONTS if name in there]
    signs: set[int] = set()
    for name in families:
        signs |= get_font(findfont(FontProperties(family=name))).get_charmap().keys()
    return families, frozenset(signs)


def drawable(text: str, known: frozenset[int]) -> str:
    """A text with the signs that no font has written as their code."""
    return "".join(sign if ord(sign) in known else f"U+{ord(sign):X}" for sign in visible(text) if sign != "\u200d")
