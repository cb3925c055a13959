"""The parts of the page that tell what the run rests on: certificate, choices, columns, account and notes."""

import re

from geodescent.app.report._facts import ReportFacts
from geodescent.app.report._markup import escaped, isolated, listed, table

MOST_LISTED_COLUMNS = 400  # Of a table that are listed; of wider tables the rest is counted.
LONGEST_CELL = 300  # Characters of a text in a table: no name of a column is cut before.
NAME_AND_TEXT = re.compile(r"(\S(?:.{0,22}\S)?)\s{2,}(\S.*)")
"""A line of a certificate that begins with a name in a column of its own."""


def certificate(text: str) -> str:
    """What is known at the end, and what stands in the way, as names with their sentences."""
    opening = "<section>\n<h2>What stands in the way</h2>\n"
    if not text.strip():
        return f"{opening}<p>No certificate was computed in this run.</p>\n</section>"
    words = "<p>What is known about the fit where it ended, and what would keep it from becoming better.</p>\n"
    entries = _entries(text)
    if not any(name for name, _ in entries):
        return opening + words + listed(content for _, content in entries) + "\n</section>"
    rows = "\n".join(f"<dt>{escaped(name)}</dt><dd>{escaped(content)}</dd>" for name, content in entries)
    return f'{opening}{words}<dl class="told">\n{rows}\n</dl>\n</section>'


def _entries(text: str) -> list[tuple[str, str]]:
    """Names and texts; a line that is indented goes on with the text before it."""
    entries = list[tuple[str, str]]()
    for line in text.splitlines():
        if not line.strip():
            continue
        if line[0].isspace() and entries:
            name, before = entries.pop()
            entries.append((name, f"{before} {line.strip()}"))
        elif match := NAME_AND_TEXT.fullmatch(line.strip()):
            entries.append((match[1], match[2]))
        else:
            entries.append(("", line.strip()))
    return entries


def choices(facts: ReportFacts) -> str:
    """Every choice that was made, and the option that changes it."""
    opening = "<section>\n<h2>Every choice that was made</h2>\n"
    if not facts.choices:
        return f"{opening}<p>No choices were recorded for this run.</p>\n</section>"
    rows = [
        (_cell(name), _cell(value), f"<code>{_cell(option)}</code>" if option else "–")
        for name, value, option in facts.choices
    ]
    words = "<p>None of this had to be chosen by hand; the option beside a choice changes it.</p>\n"
    return f"{opening}{words}{table(('choice', 'here', 'option that changes it'), rows)}\n</section>"


def columns(facts: ReportFacts) -> str:
    """What each column of the table is, and what was done with it."""
    if not facts.columns:
        return ""
    shown = facts.columns[:MOST_LISTED_COLUMNS]
    rows = [tuple(_cell(part) for part in column) for column in shown]
    content = table(("column", "kind", "what was done with it"), rows)
    if left := len(facts.columns) - len(shown):
        content += f"\n<p>{left:,} more columns are not listed.</p>"
    return f"<section>\n<h2>The columns of the table</h2>\n{content}\n</section>"


def account(sentences: tuple[str, ...]) -> str:
    """How the table was read."""
    return f"<section>\n<h2>How the table was read</h2>\n{listed(sentences)}\n</section>" if sentences else ""


def notes(sentences: tuple[str, ...]) -> str:
    """What else the user should know."""
    return f"<section>\n<h2>Notes</h2>\n{listed(sentences)}\n</section>" if sentences else ""


def _cell(text: str) -> str:
    return isolated(text, LONGEST_CELL)
