"""What a command says first: how the table was read, what becomes of its columns, what is predicted."""

import textwrap

from geodescent.app.commands._job import DataOptions
from geodescent.app.report import COLUMNS, Answer
from geodescent.app.tables import DATA_SETS, PreparedTable, prepare_table, read_table, shown

MOST_LINES = 25  # Of which a line each is printed: of more, the first ones, and the report lists all.
WIDEST_NAME = 24  # Letters of a column's name in the terminal.


def opened_table(asked: DataOptions, answer: Answer) -> PreparedTable:
    """The table made ready; how it was read is said at once, then what is predicted, and its columns in a small table.

    Raises: InputError, where it cannot be read or fitted.
    """
    raw = read_table(asked.data)
    for sentence in raw.how_read:
        answer.say(sentence)
    table = prepare_table(raw, target=asked.target, task=asked.task, test_size=asked.test_size, seed=asked.seed)
    lines = list(table.account[len(raw.how_read) :])
    if asked.data not in DATA_SETS:
        lines += ["", *_columns(table)]
    answer.say("\n".join(lines))
    return table


def _columns(table: PreparedTable) -> list[str]:
    """A line for each column: its name, its kind, and what is done with it."""
    rows = table.encoding.table()
    names = [shown(name) for name, _, _ in rows]
    names = [name if len(name) <= WIDEST_NAME else f"{name[: WIDEST_NAME - 1]}…" for name in names]
    wide, wide_kind = max(map(len, [*names, "column"])), max(len(kind) for _, kind, _ in [*rows, ("", "kind", "")])
    lines = [f"{'column'.ljust(wide)}  {'kind'.ljust(wide_kind)}  what is done with it"]
    for name, (_, kind, what) in list(zip(names, rows, strict=True))[:MOST_LINES]:
        lines += _hanging(f"{name.ljust(wide)}  {kind.ljust(wide_kind)}  ", what)
    if len(rows) > MOST_LINES:
        lines.append(f"… {len(rows)} columns in all: the report lists them")
    return lines


def _hanging(head: str, text: str) -> list[str]:
    """The text behind its head, in lines of which the later ones stand below its beginning."""
    lines = textwrap.wrap(text, COLUMNS - len(head), break_long_words=False, break_on_hyphens=False) or [""]
    return [f"{head if place == 0 else ' ' * len(head)}{line}" for place, line in enumerate(lines)]
