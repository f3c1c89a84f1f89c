"""A table with named columns, and how delimited text and JSON lines become one.

Knows quoting, headers and ragged rows, and names every line it cannot use. Does not know which column is the text.
"""

from __future__ import annotations

import csv
import io
import json
import re
from collections import Counter
from collections.abc import Collection
from dataclasses import dataclass, field

from recurra.data.checking import Problem, left_out
from recurra.data.datasets import LongColumns
from recurra.data.decimals import is_decimal, with_points
from recurra.errors import DataError

# What people call their columns, likeliest first; compared in lower case.
TEXT_NAMES = (
    "text",
    "sentence",
    "review",
    "content",
    "comment",
    "utterance",
    "question",
    "query",
    "message",
    "tweet",
    "document",
    "body",
    "headline",
    "title",
    "description",
    "input",
    "inputs",
    "tokens",
    "words",
    "source",
    "prompt",
    "文本",
    "内容",
    "评论",
    "评价",
    "句子",
    "正文",
    "文章",
    "问题",
    "标题",
    "文本内容",
    "评论内容",
)
LABEL_NAMES = (
    "label",
    "labels",
    "class",
    "category",
    "target",
    "intent",
    "sentiment",
    "topic",
    "tag",
    "y",
    "output",
    "polarity",
    "rating",
    "stars",
    "score",
    "gold",
    "标签",
    "类别",
    "分类",
    "情感",
    "意图",
    "类型",
    "标记",
    "评分",
)
SERIES_NAMES = (
    "sequence",
    "sequences",
    "series",
    "signal",
    "inputs",
    "input",
    "x",
    "values",
    "features",
    "data",
    "序列",
    "信号",
)
_KNOWN = {*TEXT_NAMES, *LABEL_NAMES, *SERIES_NAMES, "id", "index", "编号"}


@dataclass(frozen=True)
class Table:
    """Columns of equal length. `lines[i]` is where row i stands in the source, counted from 1 in `unit`s.

    `problems` tell of rows that were left out while reading, and `lost` counts them. `task` is what the source itself says
    that it is for, and `pictures` that its arrays are such: each row of one is a step. `long` are the columns that its series
    were gathered from, and `ids` how these are called.
    """

    columns: dict[str, list]
    lines: list[int]
    name: str
    unit: str = "row"
    has_header: bool = True
    problems: list[Problem] = field(default_factory=list)
    lost: int = 0
    task: str | None = None
    pictures: bool = False
    long: LongColumns | None = None
    ids: list[str] | None = None


def parse_delimited(text: str, name: str, *, tabs: bool, wanted: Collection[str] = ()) -> Table:
    """Comma- or tab-separated text as a table; `wanted` are column names somebody asked for.

    Where it is no comma that parts the columns, decimal commas become full stops, and it is told.
    """
    mark = "\t" if tabs else _delimiter(text)
    rows = _tab_rows(text, name) if tabs else _quoted_rows(text, name, mark)
    if not rows:
        raise DataError(f"{name} is empty", expected="a text and a label a row")
    has_header = _first_is_header([row for _, row in rows], wanted)
    if has_header:
        names, body = _header(rows[0][1], name), rows[1:]
        width = len(names)
        if not body:
            raise DataError(f"{name} has a header and no rows", got=", ".join(names), expected="rows below it")
    else:
        body = rows
        width = Counter(len(row) for _, row in rows).most_common(1)[0][0]
        names = [f"column_{number}" for number in range(1, width + 1)]
    whole = [(line, row) for line, row in body if len(row) == width]
    problems = _ragged_problems(body, width, has_header)
    if has_header:  # files put end to end keep their headers
        repeats = [line for line, row in whole if row == rows[0][1]]
        problems += left_out(repeats, "line", "repeats the header", "repeat the header")
        whole = [(line, row) for line, row in whole if row != rows[0][1]]
    columns: dict[str, list] = {column: [row[i] for _, row in whole] for i, column in enumerate(names)}
    lines = [line for line, _ in whole]
    if mark != ",":
        problems += _commas_to_points(columns, lines)
    return Table(columns, lines, name, "line", has_header, problems, lost=len(body) - len(whole))


def _commas_to_points(columns: dict[str, list], lines: list[int]) -> list[Problem]:
    """Write the numbers of each column that plainly has decimal commas with full stops, in place."""
    read = {name: found for name, values in columns.items() if (found := with_points(values)) is not None}
    if not read:
        return []
    name = next(iter(read))
    place = next(place for place, value in enumerate(columns[name]) if is_decimal(value))
    beside = {1: " has", 2: " and 1 more column have"}.get(len(read), f" and {len(read) - 1} more columns have")
    message = f"{name!r}{beside} decimal commas: {columns[name][place].strip()!r} is read as {read[name][place]}"
    columns.update(read)
    return [Problem(lines[place], message, fatal=False)]


def parse_json_lines(text: str, name: str) -> Table:
    """One JSON object a line as a table; a key that a line lacks is None there."""
    records: list[dict] = []
    lines: list[int] = []
    for number, line in enumerate(text.split("\n"), 1):
        if not line.strip():
            continue
        try:
            record = json.loads(line)
        except json.JSONDecodeError as error:
            whole = line.lstrip()[:1] == "[" or line.strip() == "{"
            fix = f"Turn a JSON array into lines with: jq -c '.[]' {name}" if whole else "Mend or remove that line"
            got = f"{error.msg} at character {error.colno}"
            raise DataError(
                f"{name}, line {number} is not JSON", got=got, expected="one object a line", fix=fix
            ) from None
        except (ValueError, RecursionError) as error:  # a number of thousands of digits, lists within lists without end
            raise DataError(
                f"{name}, line {number} cannot be read", got=error, fix="Mend or remove that line"
            ) from None
        if not isinstance(record, dict):
            raise DataError(
                f"{name}, line {number} is no JSON object",
                got=line.strip()[:60],
                expected='a line like {"text": "...", "label": "..."}',
            )
        records.append(record)
        lines.append(number)
    if not records:
        raise DataError(f"{name} is empty", expected='lines like {"text": "...", "label": "..."}')
    keys = dict.fromkeys(key for record in records for key in record)
    return Table({key: [record.get(key) for record in records] for key in keys}, lines, name, "line")


def parse_fasttext(text: str, name: str) -> Table:
    """Lines of `__label__x some text` as a table with the columns text and label."""
    texts: list[str] = []
    labels: list[str | None] = []
    lines: list[int] = []
    several: list[int] = []
    for number, line in enumerate(text.split("\n"), 1):
        if not line.strip():
            continue
        found: list[str] = []
        rest = line.strip()
        while rest.startswith("__label__"):
            head, _, rest = rest.partition(" ")
            found.append(head.removeprefix("__label__"))
            rest = rest.lstrip()
        if len(found) > 1:
            several.append(number)
            continue
        texts.append(rest)
        labels.append(found[0] if found else None)
        lines.append(number)
    problems = left_out(several, "line", "has more than one label", "have more than one label")
    columns: dict[str, list] = {"text": texts, "label": labels}
    return Table(columns, lines, name, "line", problems=problems, lost=len(several))


def _ragged_problems(body: list[tuple[int, list[str]]], width: int, has_header: bool) -> list[Problem]:
    expected = f"{width} as in the header" if has_header else f"{width} as in most rows"
    groups: dict[int, list[int]] = {}
    for line, row in body:
        if len(row) != width:
            groups.setdefault(len(row), []).append(line)
    problems = []
    for count, lines in sorted(groups.items()):
        reason = f"{count} field{'s' * (count != 1)}, not {expected},"
        problems += left_out(lines, "line", f"has {reason}", f"have {reason}")
    return problems


def _tab_rows(text: str, name: str) -> list[tuple[int, list[str]]]:
    """Rows of tab-separated text. Quotes are ordinary characters unless the file was plainly written with quoting."""
    rows = [(number, line.split("\t")) for number, line in enumerate(text.split("\n"), 1) if line.strip()]
    if '"' not in text:
        return rows
    width = len(rows[0][1])
    if all(len(row) == width for _, row in rows):
        quoted = [cell for _, row in rows for cell in row if '"' in cell]
        if all(_well_quoted(cell) for cell in quoted):
            return [(line, [_unquote(cell) for cell in row]) for line, row in rows]
        return rows
    try:
        by_quotes = _quoted_rows(text, name, "\t")
    except DataError:
        return rows
    return by_quotes if all(len(row) == width for _, row in by_quotes) else rows


def _well_quoted(cell: str) -> bool:
    return len(cell) >= 2 and cell[0] == cell[-1] == '"' and '"' not in cell[1:-1].replace('""', "")


def _unquote(cell: str) -> str:
    return cell[1:-1].replace('""', '"') if '"' in cell else cell


def _quoted_rows(text: str, name: str, delimiter: str) -> list[tuple[int, list[str]]]:
    """Rows by the rules of CSV, each with the line it starts on."""
    rows: list[tuple[int, list[str]]] = []
    limit = csv.field_size_limit(len(text) + 1)
    reader = csv.reader(io.StringIO(text, newline=""), delimiter=delimiter, strict=True)
    start = 1
    try:
        for row in reader:
            if any(cell.strip() for cell in row):
                rows.append((start, row))
            start = reader.line_num + 1
    except csv.Error as error:
        unclosed = "unexpected end" in str(error)
        raise DataError(
            f"{name}, line {start}: a quoted field {'is never closed' if unclosed else 'goes on after its quote'}",
            got=text.split("\n")[start - 1][:80],
            expected='quotes inside a quoted field doubled, as in "say ""yes"""',
            fix="Mend that line, or save the file as .tsv, where quotes are ordinary characters",
        ) from None
    finally:
        csv.field_size_limit(limit)
    return rows


def _delimiter(text: str) -> str:
    """Comma, unless the first line has semicolons or tabs and no comma but between digits."""
    first = text.lstrip("\n").partition("\n")[0]
    if ";" in first or "\t" in first:
        first = re.sub(r"(?<=\d),(?=\d)", "", first)
    if "," in first:
        return ","
    return next((mark for mark in (";", "\t") if mark in first), ",")


def _header(cells: list[str], name: str) -> list[str]:
    names = [cell.strip() or f"column_{number}" for number, cell in enumerate(cells, 1)]
    twice = [column for column, count in Counter(names).items() if count > 1]
    if twice:
        raise DataError(f"{name}, line 1: two columns are named {twice[0]!r}", got=", ".join(names), fix="Rename one")
    return names


def _first_is_header(rows: list[list[str]], wanted: Collection[str]) -> bool:
    first = [cell.strip() for cell in rows[0]]
    if set(wanted) & set(first):
        return True
    known = any(cell.lower() in _KNOWN for cell in first)
    if known and rows[0] in rows[1:]:
        return True
    for column, cell in enumerate(first):
        if cell and any(len(row) > column and row[column].strip() == cell for row in rows[1:]):
            return False  # a value that comes again below, as labels do
    if known:
        return True
    if len(first) == 1 or any(_reads_as_data(cell) for cell in first):
        return False
    return len(rows) > 1


def _reads_as_data(cell: str) -> bool:
    try:
        float(cell)
    except ValueError:
        return is_decimal(cell) or len(cell) > 40 or len(cell.split()) > 4 or cell[-1:] in tuple(".!?。！？…")
    return True
