"""Tables of data become numbers for a fit: files and known data sets are read, split and encoded.

`prepare` does all of it with an account for people; `read_table`, `choose_target`, `split_rows` and `Encoding` are its
steps. What the training rows do not show decides nothing.
"""

from geodescent.app.tables._encoding import Encoded, Encoding
from geodescent.app.tables._prepare import PreparedTable, prepare, prepare_table, prepare_with
from geodescent.app.tables._rules import ColumnRule
from geodescent.app.tables._series import as_texts
from geodescent.app.tables._shown import counted, shown
from geodescent.app.tables._split import Split, split_rows
from geodescent.app.tables._target import TargetColumn, choose_target
from geodescent.app.tables.reading import DATA_SETS, RawTable, Task, TextForm, read_table

__all__ = [
    "DATA_SETS",
    "ColumnRule",
    "Encoded",
    "Encoding",
    "PreparedTable",
    "RawTable",
    "Split",
    "TargetColumn",
    "Task",
    "TextForm",
    "as_texts",
    "choose_target",
    "counted",
    "prepare",
    "prepare_table",
    "prepare_with",
    "read_table",
    "shown",
    "split_rows",
]
