"""Files and known data sets as frames of numbers, booleans, dates and text: `read_table`.

What a file says of itself is not believed: sizes are asked for before memory is, and nothing in it is ever run.
"""

from geodescent.app.tables.reading._form import TextForm
from geodescent.app.tables.reading._headers import MOST_COLUMNS
from geodescent.app.tables.reading._known import DATA_SETS, Task
from geodescent.app.tables.reading._numbers import MISSING_NUMBERS, mostly
from geodescent.app.tables.reading._read import RawTable, read_table

__all__ = ["DATA_SETS", "MISSING_NUMBERS", "MOST_COLUMNS", "RawTable", "Task", "TextForm", "mostly", "read_table"]
