"""A request of the system to end, SIGTERM, is answered as Ctrl-C is: what there is by then is saved."""

import os
import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType


@contextmanager
def as_ctrl_c(*, wanted: bool = True) -> Iterator[None]:
    """Makes SIGTERM raise KeyboardInterrupt inside the block.

    Where the program has an answer of its own to SIGTERM that one holds, and in other threads than the main one, to
    which Python gives no signals, nothing changes. A process forked meanwhile ends by SIGTERM as it always did.
    """
    mine = threading.current_thread() is threading.main_thread() and signal.getsignal(signal.SIGTERM) is signal.SIG_DFL
    if not (wanted and mine):
        yield
        return
    process = os.getpid()

    def interrupt(number: int, frame: FrameType | None) -> None:
        if os.getpid() == process:
            raise KeyboardInterrupt
        signal.signal(signal.SIGTERM, signal.SIG_DFL)
        os.kill(os.getpid(), signal.SIGTERM)

    signal.signal(signal.SIGTERM, interrupt)
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, signal.SIG_DFL)
