"""Curves of cost against time: step functions, which hold the least cost so far; and how two of them compare.

A curve is a list of pairs of time and cost, times rising and costs falling. Times are in any unit. No packages.
"""

import math
from bisect import bisect_right
from collections.abc import Sequence
from itertools import pairwise
from statistics import median

Curve = list[tuple[float, float]]
LEAST = 1e-20  # Costs below it are equal: a run ends there.
RIGHT_TO = 1.05  # Factor to which the traces are right, as they are thinned: less than this is not behind.


def falling(points: Sequence[tuple[float, float]]) -> Curve:
    """The least cost so far at each time where it falls; what is not finite is left out."""
    curve = Curve()
    for time, cost in sorted(points):
        if math.isfinite(cost) and (not curve or cost < curve[-1][1]):
            curve.append((time, max(cost, LEAST)))
    return curve


def at(curve: Curve, time: float) -> float:
    """The cost at this time; infinite before the first point."""
    place = bisect_right(curve, time, key=lambda point: point[0])
    return curve[place - 1][1] if place else math.inf


def envelope(curves: Sequence[Curve]) -> Curve:
    """At each time the least cost of all."""
    return falling([point for curve in curves for point in curve])


def middle(curves: Sequence[Curve]) -> Curve:
    """At each time the median cost."""
    times = sorted({time for curve in curves for time, _ in curve})
    return falling([(time, median(at(curve, time) for curve in curves)) for time in times])


def area(ours: Curve, theirs: Curve, first: float, last: float) -> float:
    """The mean over ln t of log₁₀(theirs/ours): the decades by which ours lies below, less than zero where above."""
    whole = 0.0
    for a, b in pairwise(corners(ours, theirs, first, last)):
        whole += math.log10(at(theirs, a) / at(ours, a)) * math.log(b / a)
    return whole / math.log(last / first)


def behind(ours: Curve, theirs: Curve, first: float, last: float) -> list[tuple[float, float]]:
    """The stretches of time on which ours is the higher one, by more than the traces can be wrong."""
    stretches = list[tuple[float, float]]()
    for a, b in pairwise(corners(ours, theirs, first, last)):
        if at(ours, a) > RIGHT_TO * at(theirs, a):
            begin = stretches.pop()[0] if stretches and stretches[-1][1] == a else a
            stretches.append((begin, b))
    return stretches


def corners(ours: Curve, theirs: Curve, first: float, last: float) -> list[float]:
    """The times from first to last at which one of the two changes, with both ends."""
    inside = {time for time, _ in (*ours, *theirs) if first < time < last}
    return [first, *sorted(inside), last]
