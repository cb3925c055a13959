"""The command `geodescent`, its run folders, and the tables and networks that it knows.

`load` opens a run; the command itself lies in `cli`. What it needs beside torch is imported when it is asked for.
"""

from geodescent.app.runs import Run, load

__all__ = ["Run", "load"]
