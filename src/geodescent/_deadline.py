"""Until when work may go on: one deadline, which a run or a certificate installs and all work inside of it looks at.

Long work looks at it in one of four ways. `require_time` ends it, by an exception that the run catches: factors, tiles,
passes. `in_time` says beforehand whether it would be over: parts that can be left out. An `Allowance` bounds iterations
whose result is of use at any time. `measuring` keeps what a piece of work took, for `in_time`.
"""

import math
import time
from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass, field

import torch

FLOPS_A_SECOND = 5e9  # Rate of the slowest decompositions on two CPU cores; where it is higher, work is over earlier.
FASTER_PRODUCTS = 6.0  # Rate of products of matrices and of Cholesky factors over that, at the least.

SOLVE_SHARE = 0.5  # Share of the time that is left which one iterative solve of a step may take.
PIECE_SHARE = 0.2  # Share of the time that is left: D of a formula, blocks of G, and what else a step can do without.
SMALL_SHARE = 0.1  # Share of the time that is left: what is known before the first step, and short solves.

LINEARISATION, FORWARD_PASS, PRODUCT, PASS = "linearisation", "forward pass", "product", "cost of all data"
"""Pieces of work whose seconds are measured, because a model may be slower than its flops say."""


class OutOfTime(Exception):
    """The deadline came while work was under way; raised by `require_time`, and caught by what installed it."""


@dataclass
class Deadline:
    """When work is to be over.

    Attributes:
        at: by `time.perf_counter`.
        remedy: a sentence that says how people get what was left out.
        left_out: what was not begun because it would have ended later, or was cut.
        cut: what of it was cut.
        seconds: name of a piece of work → how long it took when it was last done, by `measuring`.
    """

    at: float = math.inf
    remedy: str = ""
    left_out: list[str] = field(default_factory=list)
    cut: set[str] = field(default_factory=set)
    seconds: dict[str, float] = field(default_factory=dict)

    def leave_out(self, what: str) -> None:
        """Notes it once."""
        if what not in self.left_out:
            self.left_out.append(what)


_deadline: ContextVar[Deadline | None] = ContextVar("deadline", default=None)


@contextmanager
def within(seconds: float | None, *, remedy: str = "gd.certify takes the time it needs.") -> Iterator[Deadline]:
    """Makes a deadline hold inside the block, in this thread or task alone; never later than one that holds already.

    Args:
        seconds: from now; None for as long as it takes.
        remedy: a sentence that says how people get what is left out for want of time.
    """
    outer = _deadline.get()
    at = math.inf if seconds is None else time.perf_counter() + seconds
    deadline = Deadline(at if outer is None else min(at, outer.at), remedy)
    token = _deadline.set(deadline)
    try:
        yield deadline
    finally:
        _deadline.reset(token)


@contextmanager
def reserving(seconds: float) -> Iterator[None]:
    """Makes the deadline come this much earlier inside the block, so that there is time for what follows it."""
    deadline = _deadline.get()
    if deadline is None:
        yield
        return
    deadline.at -= seconds
    try:
        yield
    finally:
        deadline.at += seconds


@contextmanager
def unhurried() -> Iterator[None]:
    """Takes the deadline away inside the block: for checks without which no work may begin."""
    token = _deadline.set(None)
    try:
        yield
    finally:
        _deadline.reset(token)


@contextmanager
def measuring(piece: str, device: torch.device) -> Iterator[None]:
    """Measures what is done inside the block: `in_time` takes each more of its kind to last as long.

    Args:
        piece: `LINEARISATION`, `FORWARD_PASS`, `PASS`, or `PRODUCT`, which is one with D or one with Dᵀ.
        device: where it is done.
    """
    deadline = _deadline.get()
    if deadline is None:
        yield
        return
    begin = clock(device)
    yield
    deadline.seconds[piece] = clock(device) - begin


def clock(device: torch.device) -> float:
    """`time.perf_counter`, once the device has done all work: calls on CUDA return before theirs is done."""
    if device.type == "cuda":
        torch.cuda.synchronize(device)
    return time.perf_counter()


def in_time(
    flops: float,
    what: str,
    *,
    linearisations: float = 0.0,
    forward_passes: float = 0.0,
    products: float = 0.0,
    share: float = 1.0,
) -> bool:
    """Whether work would be over by the deadline; if not, it is noted as left out.

    Args:
        flops: of the work.
        what: a name for people, such as "the margin".
        linearisations, forward_passes, products: how many of these the work takes; a kind that was not measured yet
            counts as nothing.
        share: of the time that is left, which the work may take.
    """
    fits = is_affordable(
        flops, linearisations=linearisations, forward_passes=forward_passes, products=products, share=share
    )
    deadline = _deadline.get()
    if deadline is not None and not fits:
        deadline.leave_out(what)
    return fits


def is_affordable(
    flops: float = 0.0,
    *,
    linearisations: float = 0.0,
    forward_passes: float = 0.0,
    products: float = 0.0,
    share: float = 1.0,
) -> bool:
    """The same, where another way is taken in place of what would be too late, and nothing is left out."""
    counts = {LINEARISATION: linearisations, FORWARD_PASS: forward_passes, PRODUCT: products}
    measured = sum(count * seconds_of(piece) for piece, count in counts.items())
    return max(flops / FLOPS_A_SECOND, measured) <= share * seconds_left()


def require_time(what: str, *, flops: float = 0.0) -> None:
    """Raises OutOfTime where the deadline has come, or would come during these flops; `what` is noted as cut.

    Args:
        what: a name for people, such as "a step".
        flops: of work that cannot be interrupted.
    """
    deadline = _deadline.get()
    if deadline is not None and flops / FLOPS_A_SECOND > seconds_left():
        deadline.leave_out(what)
        deadline.cut.add(what)
        raise OutOfTime(f"the time ran out in {what}.")


class Allowance:
    """A share of the time that is left, for iterations whose result is of use at any time.

    Args:
        share: of the time until the deadline that holds where this is made.
    """

    def __init__(self, share: float) -> None:
        left = seconds_left()
        self._ends = time.perf_counter() + share * left if math.isfinite(left) else math.inf

    @property
    def is_spent(self) -> bool:
        """Whether it has passed; never without a deadline."""
        return self._ends < math.inf and time.perf_counter() >= self._ends


def seconds_left() -> float:
    """Until the deadline, negative after it; infinite where there is none."""
    deadline = _deadline.get()
    return math.inf if deadline is None else deadline.at - time.perf_counter()


def has_deadline() -> bool:
    """Whether work is to be over at some time, so that it is worth measuring."""
    return math.isfinite(seconds_left())


def seconds_of(piece: str) -> float:
    """How long a piece of work took when it was last measured; 0 where it was not."""
    deadline = _deadline.get()
    return 0.0 if deadline is None else deadline.seconds.get(piece, 0.0)


def leave_out(what: str) -> None:
    """Notes what is left out for want of time."""
    deadline = _deadline.get()
    if deadline is not None:
        deadline.leave_out(what)


def left_out(*, time_is_said: bool = False) -> str | None:
    """A sentence that says what there was no time for so far, and how to get it.

    Args:
        time_is_said: whether people are told by other words that the time ran out, and what to do: then it tells of
            what was not begun for want of time, and not of the work that was cut when it came.
    """
    deadline = _deadline.get()
    if deadline is None:
        return None
    told = [what for what in deadline.left_out if not (time_is_said and what in deadline.cut)]
    if not told:
        return None
    *first, last = told
    parts = f"{', '.join(first)} and {last}" if first else last
    return (
        f"There was no time left for {parts}."
        if time_is_said
        else (f"There was no time left for {parts}; {deadline.remedy}")
    )
