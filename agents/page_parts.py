"""Parts of a written page that a command keeps up to date, between two comments that only they may change.

A part named ``x`` lies between the lines ``<!-- x: begin -->`` and ``<!-- x: end -->``.
"""

from pathlib import Path

from telemetry.provenance import write_text


def check_part(path: Path, part: str) -> None:
    """Raise ValueError, in one line, if a page has no such part, or OSError if there is no such page."""
    _cut(path, part)


def rewrite_part(path: Path, part: str, text: str) -> None:
    """Replace a part of a page, the comments left where they are.

    Raises:
        OSError: There is no such page.
        ValueError: It has no such part, or two.
    """
    before, after = _cut(path, part)
    write_text(path, f"{before}\n\n{text.strip()}\n\n{after}")


def _cut(path: Path, part: str) -> tuple[str, str]:
    """Return what stands before and after a part, its comments included."""
    text, begin, end = path.read_text(encoding="utf-8"), f"<!-- {part}: begin -->", f"<!-- {part}: end -->"
    start, stop = text.find(begin), text.find(end)
    if not 0 <= start < stop or text.count(begin) != 1 or text.count(end) != 1:
        raise ValueError(f"{path}: expected one line '{begin}' and, after it, one line '{end}'")
    return text[:start] + begin, text[stop:]
