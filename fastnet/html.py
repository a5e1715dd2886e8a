"""Tables for notebooks, which show what `_repr_html_` returns."""

from collections.abc import Iterable, Sequence


def table(head: Sequence[object], rows: Iterable[Sequence[object]]) -> str:
    """A table: text to the left, numbers and the like to the right."""
    from html import escape  # slow to import, and needed in notebooks only

    def row(kind: str, cells: Sequence[object]) -> str:
        made = []
        for place, cell in enumerate(cells):
            side = "right" if place else "left"
            made.append(f'<{kind} style="text-align: {side}">{escape(str(cell))}</{kind}>')
        return f"<tr>{''.join(made)}</tr>"

    body = "".join(row("td", cells) for cells in rows)
    return f"<table><thead>{row('th', head)}</thead><tbody>{body}</tbody></table>"


def paragraph(text: str) -> str:
    """A paragraph of text."""
    from html import escape

    return f"<p>{escape(text)}</p>"
