"""The picture of a run as SVG: a file that goes into a pull request."""

from __future__ import annotations

from html import escape
from typing import TYPE_CHECKING, Final

from resilient.testing._picture import on_one_line

if TYPE_CHECKING:
    from collections.abc import Iterator

    from resilient.testing._picture import Picture, Row

_WIDTH: Final = 960
_LEFT: Final = 190
_BARS: Final = 400
_HEIGHT: Final = 24
_AXIS: Final = 26
# Read on a light and on a dark page alike.
_COLOURS: Final = {"good": "#2e9e6b", "bad": "#d1495b", "neutral": "#8d99ae", "none": "#8d99ae"}
_STYLE: Final = (
    "text{font:13px ui-monospace,Menlo,Consolas,monospace;fill:#444}"
    ".axis{stroke:#8883}.dim{fill:#888}"
    "@media(prefers-color-scheme:dark){text{fill:#ccc}}"
)


def drawn(picture: Picture, title: str) -> str:
    """Return the picture as an SVG document; the same run gives the same text."""
    height = _AXIS + _HEIGHT * len(picture.rows) + 8
    size = f'width="{_WIDTH}" height="{height}" role="img"'
    parts = [
        f'<svg xmlns="http://www.w3.org/2000/svg" {size} viewBox="0 0 {_WIDTH} {height}">',
        f"<title>{escape(on_one_line(title))}</title>",
        f"<style>{_STYLE}</style>",
        *_axis(picture, height),
    ]
    for number, row in enumerate(picture.rows):
        parts += _row(picture, row, _AXIS + _HEIGHT * number)
    parts.append("</svg>")
    return "\n".join(parts) + "\n"


def _axis(picture: Picture, height: int) -> Iterator[str]:
    for part in range(5):
        x = _LEFT + _BARS * part / 4
        at = picture.begins + picture.lasts * part / 4
        yield f'<line class="axis" x1="{x:g}" y1="{_AXIS - 8}" x2="{x:g}" y2="{height}"/>'
        yield f'<text class="dim" x="{x:g}" y="14" text-anchor="middle">{at:.4g} s</text>'


def _row(picture: Picture, row: Row, top: int) -> Iterator[str]:
    base = top + 16
    yield f'<text x="{8 + 14 * row.depth}" y="{base}">{escape(row.label)}</text>'
    if row.tone != "none":
        start, length = picture.place(row, _BARS)
        yield (
            f'<rect x="{_LEFT + start}" y="{top + 5}" width="{length}" height="{_HEIGHT - 10}"'
            f' rx="2" fill="{_COLOURS[row.tone]}"/>'
        )
    took = "" if row.ended is None or row.tone == "none" else f"{row.ended - row.started:.2f} s  "
    yield (
        f'<text class="dim" x="{_LEFT + _BARS + 14}" y="{base}">{escape(took + row.verdict)}</text>'
    )
