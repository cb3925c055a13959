"""Names of columns: each once, none empty."""

import re
from collections import Counter
from collections.abc import Sequence

from geodescent._errors import InputError
from geodescent.app.tables._shown import counted, listed, quoted

MOST_COLUMNS = 20_000  # A table with more columns is most likely one on its side: rows and columns exchanged.


NUMBER_NAME = re.compile(r"[+-]?[0-9]+(?:[.,][0-9]*)?$")
"""A name that may be an entry."""


def column_names(header: Sequence[str], file: str) -> tuple[list[str], tuple[str, ...]]:
    """The names, `column_3` where the third is empty, and a sentence on that, or on names that look like a row.

    Args:
        header: as read.
        file: name of the file, for messages.

    Raises:
        InputError: a name given twice, or more than 20,000 names.
    """
    if len(header) > MOST_COLUMNS:
        raise InputError(
            f"{file} has {len(header):,} columns, and at most {MOST_COLUMNS:,} are read: exchange its rows and "
            "columns, or keep fewer columns."
        )
    given = [name or f"column_{j}" for j, name in enumerate(header, 1)]
    twice = [name for name, n in Counter(given).items() if n > 1]
    if twice:
        names = listed([quoted(name) for name in twice])
        raise InputError(
            f"{file} gives {counted(len(twice), 'name')} to several columns: {names}. Columns are matched by name: "
            "give each its own, in the first line."
        )
    numbers = bool(given) and all(NUMBER_NAME.match(name) for name in given)
    said = (f"The first line of {file} holds numbers alone: put names above them if it is a row.",) if numbers else ()
    unnamed = [name for name, old in zip(given, header, strict=True) if not old]
    if not unnamed:
        return given, said
    return given, (f"{counted(len(unnamed), 'column')} without a name: called {listed(unnamed)}.",)
