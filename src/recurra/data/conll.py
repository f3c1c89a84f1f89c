"""Columns of CoNLL: a token a line with its tag in the last column, a blank line after each sentence → a table.

Also known as .bio, .bmes, .iob. Knows lines and columns; which tags there are and what they mean is for others.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from itertools import groupby

from recurra.data.checking import left_out
from recurra.data.spans import scheme_of_most
from recurra.data.tables import Table
from recurra.errors import DataError

ENDINGS = (".conll", ".conll2003", ".bio", ".iob", ".iob2", ".bioes", ".bmes", ".bmeso", ".bieos")
_BREAK = "-DOCSTART-"
_FEW = 60  # different tags
Line = tuple[int, list[str]]


def parse_conll(text: str, name: str) -> Table:
    """A row a sentence: `tokens` and `tags` are lists; columns between them are called column_2, column_3, ...

    With one column there are no tags. Sentences in which a line has another number of columns are left out and named.
    Lines that begin with # are comments where a sentence begins and their last column is no tag that others have.
    """
    sentences = _sentences(text)
    widths = Counter(len(fields) for sentence in sentences for _, fields in sentence if not _is_marked(fields))
    if not widths:
        raise DataError(f"{name} is empty", expected="a token and its tag a line, a blank line after each sentence")
    width = max(widths, key=lambda count: (widths[count], count))
    tags = (
        {fields[-1] for sentence in sentences for _, fields in sentence if len(fields) == width} if width > 1 else set()
    )
    marked = {fields[-1] for sentence in sentences for _, fields in sentence[:1] if _is_marked(fields)}
    plain = Counter(
        fields[-1] for sentence in sentences for place, (_, fields) in enumerate(sentence)
        if len(fields) == width and (place or not _is_marked(fields))
    )  # fmt: skip
    tags -= {tag for tag in marked if not plain[tag]}
    rows: list[list[Line]] = []
    wrong: list[int] = []
    for sentence in sentences:
        lines = _without_comments(sentence, width, tags)
        odd = next((number for number, fields in lines if len(fields) != width), None)
        if odd is not None:
            wrong.append(odd)
        elif lines:
            rows.append(lines)
    columns = {_name(place, width): [[f[place] for _, f in row] for row in rows] for place in range(width)}
    what = {1: "1 column", 2: "2 columns (a token and its tag)"}.get(width, f"{width} columns")
    one, many = f"has a line without the {what} of most lines", f"have a line without the {what} of most lines"
    problems = left_out(wrong, "line", one, many)
    return Table(columns, [row[0][0] for row in rows], name, "line", problems=problems, lost=len(wrong))


def looks_like_conll(lines: Sequence[str]) -> bool:
    """Whether the first lines of a text are columns of tokens and tags, and not running text or a table of rows."""
    sentences = _sentences("\n".join(lines))
    if sentences and sum(len(sentence) for sentence in sentences) < 2 * len(sentences):
        return False
    fields = [fields for sentence in sentences for _, fields in sentence if not _is_marked(fields)]
    if len(sentences) < 2 and not (sentences and len(fields) >= 4):
        return False
    widths = Counter(map(len, fields))
    width, most = widths.most_common(1)[0] if widths else (0, 0)
    if width < 2 or most < 0.95 * len(fields):
        return False
    by_sentence = [
        [fields[-1] for _, fields in sentence if len(fields) == width and not _is_marked(fields)]
        for sentence in sentences
    ]
    if scheme_of_most(by_sentence).scheme != "plain":
        return True
    tags = [tag for row in by_sentence for tag in row]
    # names of tags and not words of a language: few, in capitals or in signs
    few = len(set(tags)) <= min(_FEW, max(2, len(tags) // 4))
    return few and len(sentences) > 1 and all(tag.isupper() or not any(map(str.isalnum, tag)) for tag in set(tags))


def _sentences(text: str) -> list[list[Line]]:
    """The lines of each sentence with their numbers; marks of documents part sentences too."""
    numbered = [(number, _fields(line)) for number, line in enumerate(text.split("\n"), 1)]
    groups = groupby(numbered, key=lambda line: bool(line[1]) and line[1][0] != _BREAK)
    return [list(group) for is_sentence, group in groups if is_sentence]


def _fields(line: str) -> list[str]:
    """The columns of a line: between tabs where there are some, else between blanks."""
    line = line.strip("\r\n")
    if "\t" in line:
        # a token may be a blank itself
        return [field.strip(" ") or field for field in line.rstrip("\t ").split("\t")]
    return line.split()


def _is_marked(fields: list[str]) -> bool:
    return fields[0].startswith("#")


def _without_comments(sentence: list[Line], width: int, tags: set[str]) -> list[Line]:
    """A sentence without the comments it begins with. A token # has a tag as other tokens have."""
    for place, (_, fields) in enumerate(sentence):
        if not _is_marked(fields) or (len(fields) == width and (width == 1 or fields[-1] in tags)):
            return sentence[place:]
    return []


def _name(place: int, width: int) -> str:
    if place == 0:
        return "tokens"
    return "tags" if place == width - 1 else f"column_{place + 1}"
