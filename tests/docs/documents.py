"""The documents as a reader sees them: tables, code, links, headings. For the tests of this folder."""

import re
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
FENCE = re.compile(r"^(`{3,})(\w*)\n(.*?)^\1$", re.MULTILINE | re.DOTALL)
LINK = re.compile(r"(?<!!)\[[^\]]+\]\(([^)\s]+)\)")


@dataclass(frozen=True)
class Table:
    """A table: its headers, and its rows as texts, without the marks of code."""

    headers: tuple[str, ...]
    rows: tuple[tuple[str, ...], ...]

    def column(self, header: str) -> list[str]:
        """The cells below a header."""
        return [row[self.headers.index(header)] for row in self.rows]


def read(name: str) -> str:
    """The text of a document, by its path in the repository."""
    return (ROOT / name).read_text(encoding="utf-8")


def documents() -> list[str]:
    """Every document that people read, by its path in the repository."""
    paths = [*ROOT.glob("*.md"), *(ROOT / "docs").rglob("*.md")]
    return sorted(str(path.relative_to(ROOT)) for path in paths)


def code_blocks(text: str, language: str) -> list[str]:
    """The fenced blocks of a language, in order."""
    return [match[3] for match in FENCE.finditer(text) if match[2] == language]


def prose(text: str) -> str:
    """The text without its fenced blocks."""
    return FENCE.sub("", text)


def tables(text: str) -> list[Table]:
    """Every table outside of fenced blocks."""
    found, lines = [], []
    for line in [*prose(text).splitlines(), ""]:
        if line.startswith("|"):
            lines.append(cells(line))
        elif lines:
            headers, _ruler, *rows = lines
            assert all(len(row) == len(headers) for row in rows), f"a row of another length below {headers}"
            found.append(Table(headers, tuple(rows)))
            lines = []
    return found


def cells(line: str) -> tuple[str, ...]:
    """The cells of a table's line; a bar inside of code is written as `\\|`."""
    parts = re.split(r"(?<!\\)\|", line.strip().strip("|"))
    return tuple(part.replace("\\|", "|").strip() for part in parts)


def plain(cell: str) -> str:
    """A cell without the marks of code around it."""
    return cell.strip("`")


def tables_with(text: str, header: str) -> list[Table]:
    """The tables whose first header this is."""
    found = [table for table in tables(text) if table.headers[0] == header]
    assert found, f"no table begins with {header!r}"
    return found


def links(text: str) -> list[str]:
    """The targets of all links outside of fenced blocks."""
    return LINK.findall(prose(text))


def anchors(text: str) -> set[str]:
    """What links may point to after #: the headings, as GitHub spells them."""
    headings = re.findall(r"^#+ (.*)$", prose(text), re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-") for heading in headings}
