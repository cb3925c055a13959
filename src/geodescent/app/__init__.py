"""The command `geodescent`, its run folders, and the tables and networks that it knows.

`load` opens a run; the command itself lies in `cli`. What it needs beside torch is imported when it is asked for.
"""

from geodescent.app._load import load
from geodescent.app._networks import ACTIVATIONS, NetworkChoice, mlp
from geodescent.app._runs import Config, Run, RunFolder, TableFacts
from geodescent.app._scaling import Scaling
from geodescent.app._tables import DATA_SETS, Split, SplitTable, Table, load_table, prepare

__all__ = [
    "ACTIVATIONS",
    "DATA_SETS",
    "Config",
    "NetworkChoice",
    "Run",
    "RunFolder",
    "Scaling",
    "Split",
    "SplitTable",
    "Table",
    "TableFacts",
    "load",
    "load_table",
    "mlp",
    "prepare",
]
