"""What a run shows while it runs: nothing, one live line, or a line a step; the same through `logging`."""

import logging
import math
import sys
from importlib.util import find_spec
from types import TracebackType
from typing import TYPE_CHECKING, Protocol

from geodescent._errors import InputError
from geodescent._record import Callback, StepRecord

if TYPE_CHECKING:
    from rich.console import Console

logger = logging.getLogger("geodescent")

TITLES = f"{'step':>5} {'cost':>10} {'C_lin':>10} {'validation':>10} {'damping':>9} {'gain':>7} {'seconds':>9}"
LIVE_WIDTH = 79  # Columns that a live line takes: one more and a terminal of 80 would break it.


class Screen(Protocol):
    """Where lines are shown."""

    def live(self, text: str) -> None:
        """Shows a line in the place of the live line before."""
        ...

    def line(self, text: str) -> None:
        """Shows a line that stays."""
        ...

    def close(self) -> None:
        """Ends the live line, which then stays."""
        ...


class PlainScreen:
    """Lines on standard output; where that is no terminal, of live lines the last one alone."""

    def __init__(self) -> None:
        self._last = ""

    def live(self, text: str) -> None:
        self._last = text
        if sys.stdout.isatty():
            print(f"\r{text:<{LIVE_WIDTH}}", end="", flush=True)

    def line(self, text: str) -> None:
        print(text, flush=True)

    def close(self) -> None:
        if self._last:
            print("" if sys.stdout.isatty() else self._last, flush=True)


class RichScreen:
    """The same by rich, in terminals and notebooks."""

    def __init__(self, console: "Console") -> None:
        from rich.live import Live

        self._console, self._live = console, Live(console=console, auto_refresh=False)

    def live(self, text: str) -> None:
        self._live.start()
        self._live.update(text, refresh=True)

    def line(self, text: str) -> None:
        self._console.print(text, markup=False, soft_wrap=True)

    def close(self) -> None:
        self._live.stop()


def screen() -> Screen:
    """Rich where it is installed and has a terminal or a notebook to draw on."""
    if find_spec("rich") is None:
        return PlainScreen()
    from rich.console import Console

    console = Console(highlight=False)
    return RichScreen(console) if console.is_terminal or console.is_jupyter else PlainScreen()


class Progress:
    """A callback that logs and shows each record, and hands it on; to be used in a `with` statement.

    Args:
        verbose: 0 shows nothing, 1 one live line, 2 a line a step.
        callback: gets each record afterwards.
        first: the record of where the run begins.

    Raises: InputError for another `verbose`.
    """

    def __init__(self, verbose: int, callback: Callback, first: StepRecord) -> None:
        self._verbose, self._callback, self._first = checked_verbose(verbose), callback, first

    def __enter__(self) -> "Progress":
        self._screen: Screen | None = None
        if self._verbose:
            self._screen = screen()
            if self._verbose > 1:
                self._screen.line(TITLES)
        self._tell(self._first)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._screen is not None:
            self._screen.close()

    def __call__(self, record: StepRecord) -> None:
        """Logs, shows and hands on one accepted step."""
        self._tell(record)
        self._callback(record)

    def _tell(self, record: StepRecord) -> None:
        if logger.isEnabledFor(logging.INFO):
            logger.info(live_line(record), extra={"record": record})
        if self._screen is not None and self._verbose == 1:
            self._screen.live(live_line(record))
        elif self._screen is not None:
            self._screen.line(table_line(record))


def checked_verbose(verbose: int) -> int:
    """0, 1 or 2. Raises InputError for anything else."""
    if verbose in (0, 1, 2):
        return int(verbose)
    raise InputError(f"verbose = {verbose!r}: 0 shows nothing, 1 one live line, 2 a line a step.")


def live_line(record: StepRecord) -> str:
    """A record in words, at most 79 columns."""
    validation = "" if record.validation_cost is None else f"  validation {record.validation_cost:.2e}"
    return (
        f"step {record.step}  cost {record.cost:.3e}  C_lin {record.predicted:.1e}{validation}  {record.seconds:.1f} s"
    )


def table_line(record: StepRecord) -> str:
    """A record as a row below `TITLES`."""
    validation = math.nan if record.validation_cost is None else record.validation_cost
    return (
        f"{record.step:5d} {record.cost:10.3e} {record.predicted:10.2e} {_or_blank(validation, '10.3e', 10)} "
        f"{_or_blank(record.damping, '9.1e', 9)} {_or_blank(record.gain_ratio, '7.2g', 7)} {record.seconds:9.2f}"
    )


def _or_blank(value: float, form: str, width: int) -> str:
    return " " * width if math.isnan(value) else f"{value:{form}}"
