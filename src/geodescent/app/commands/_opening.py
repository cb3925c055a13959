"""What a command says first: how the table was read, what becomes of its columns, what is predicted."""

from geodescent.app.commands._job import DataOptions
from geodescent.app.tables import DATA_SETS, PreparedTable, shown

MOST_LINES = 25  # Of which a line each is printed: of more, the first ones, and the report lists all.
WIDEST_NAME = 24  # Letters of a column's name in the terminal.


def opening(table: PreparedTable, asked: DataOptions) -> str:
    """How the table was read, its columns in a small table, and what is predicted from how many rows."""
    lines = list(table.account)
    if asked.data not in DATA_SETS:
        lines += ["", *_columns(table)]
    return "\n".join(lines)


def _columns(table: PreparedTable) -> list[str]:
    """A line for each column: its name, its kind, and what is done with it."""
    rows = table.encoding.table()
    names = [shown(name) for name, _, _ in rows]
    names = [name if len(name) <= WIDEST_NAME else f"{name[: WIDEST_NAME - 1]}…" for name in names]
    wide, wide_kind = max(map(len, [*names, "column"])), max(len(kind) for _, kind, _ in [*rows, ("", "kind", "")])
    lines = [f"{'column'.ljust(wide)}  {'kind'.ljust(wide_kind)}  what is done with it"]
    for name, (_, kind, what) in list(zip(names, rows, strict=True))[:MOST_LINES]:
        lines.append(f"{name.ljust(wide)}  {kind.ljust(wide_kind)}  {what}")
    if len(rows) > MOST_LINES:
        lines.append(f"… {len(rows)} columns in all: the report lists them")
    return lines
