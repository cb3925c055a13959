"""Which derivatives of a function are carried along, and how those of a product follow from those of its factors."""

from collections.abc import Iterable
from dataclasses import dataclass
from functools import cached_property
from itertools import combinations_with_replacement, product
from math import comb, prod

Derivative = tuple[int, ...]
"""Coordinates in ascending order, each as often as it is derived by: () is the value, (0, 1, 1) is ∂³/∂x₀∂x₁²."""

Products = dict[tuple[int, int], float]
"""(stream of the left factor, stream of the right one) → coefficient, for one stream of a product."""

MOST_ORDERS = 4  # Of a derivative by coordinates.
LINE_ORDERS = 2  # Of a derivative along a line of parameters.


@dataclass(frozen=True)
class Streams:
    """The derivatives of functions of some coordinates that one forward pass carries: a truncated Taylor algebra.

        Streams.of({(0,), (1, 1)})                      # value, u_x0, u_x1, u_x1x1
        Streams.of({(0,)}, laplacian=(0, 1))            # value, u_x0, u_x1, u_x0x0 + u_x1x1

    A derivative of a product needs all lower ones of its factors, `∂^α(ab) = Σ_β C(α, β) ∂^β a ∂^(α−β) b`, so the set
    is closed under taking lower ones. The Laplacian is one stream, `Δ(ab) = aΔb + bΔa + 2∇a·∇b`, in any dimension.

    Attributes:
        derivatives: the value first, then by order.
        laplacian: the coordinates of the Laplacian, which is the stream after these; empty for none.
        line: whether each stream is followed, after all others, by its first and its second derivative along a line.
    """

    derivatives: tuple[Derivative, ...]
    laplacian: tuple[int, ...] = ()
    line: bool = False

    @classmethod
    def of(cls, wanted: Iterable[Derivative], laplacian: tuple[int, ...] = ()) -> "Streams":
        """The smallest set with these derivatives; the Laplacian is summed where all its terms are wanted anyway."""
        wanted = {tuple(sorted(derivative)) for derivative in wanted}
        if all((k, k) in _closed(wanted) for k in laplacian):
            laplacian = ()
        needed = _closed(wanted | {(k,) for k in laplacian})
        return cls(tuple(sorted(needed, key=lambda d: (len(d), d))), laplacian)

    @cached_property
    def along_line(self) -> "Streams":
        """The same with first and second derivatives along a line."""
        return Streams(self.derivatives, self.laplacian, line=True)

    @property
    def n_points(self) -> int:
        """Streams by coordinates alone."""
        return len(self.derivatives) + bool(self.laplacian)

    @property
    def n_streams(self) -> int:
        """All streams."""
        return self.n_points * (1 + LINE_ORDERS * self.line)

    @cached_property
    def order(self) -> int:
        """The highest order of a derivative, those along a line included."""
        return max(self.orders)

    @cached_property
    def orders(self) -> tuple[int, ...]:
        """The order of each stream."""
        by_coordinates = [len(d) for d in self.derivatives] + [2] * bool(self.laplacian)
        return tuple(k + order for k in range(1 + LINE_ORDERS * self.line) for order in by_coordinates)

    def place(self, derivative: Derivative) -> int:
        """Where a derivative stands among the streams."""
        return self.derivatives.index(tuple(sorted(derivative)))

    @cached_property
    def products(self) -> tuple[Products, ...]:
        """For each stream of ab, the streams of a and of b that it is summed from."""
        by_coordinates = [self._product_of(d) for d in self.derivatives]
        if self.laplacian:
            last = len(self.derivatives)
            squares = {(self.place((k,)), self.place((k,))): 2.0 for k in self.laplacian}
            by_coordinates.append({(0, last): 1.0, (last, 0): 1.0, **squares})
        n = self.n_points
        return tuple(
            {
                (i * n + left, (k - i) * n + right): comb(k, i) * factor
                for (left, right), factor in table.items()
                for i in range(k + 1)
            }
            for k in range(1 + LINE_ORDERS * self.line)
            for table in by_coordinates
        )

    @cached_property
    def cross(self) -> tuple[tuple[int, int, int, float], ...]:
        """(stream, left, right, coefficient) of the products without a value among the factors."""
        return tuple(
            (out, left, right, factor)
            for out, table in enumerate(self.products)
            for (left, right), factor in table.items()
            if left and right
        )

    @cached_property
    def powers(self) -> tuple[tuple[tuple[int, int, int, float], ...], ...]:
        """How n², n³, … follow from n^(k−1) and n, for n without a value: as `cross`, equal products as one."""
        found = list[tuple[tuple[int, int, int, float], ...]]()
        for k in range(2, self.order + 1):
            terms = dict[tuple[int, int, int], float]()
            for out, left, right, factor in self.cross:
                if self.orders[left] >= k - 1:
                    pair = (min(left, right), max(left, right)) if k == 2 else (left, right)
                    terms[(out, *pair)] = terms.get((out, *pair), 0.0) + factor
            found.append(tuple((*key, factor) for key, factor in terms.items()))
        return tuple(found)

    def _product_of(self, derivative: Derivative) -> Products:
        counts = {k: derivative.count(k) for k in derivative}
        table = Products()
        for taken in product(*(range(n + 1) for n in counts.values())):
            left = tuple(k for k, n in zip(counts, taken, strict=True) for _ in range(n))
            right = tuple(k for k, n in zip(counts, taken, strict=True) for _ in range(counts[k] - n))
            factor = prod(comb(counts[k], n) for k, n in zip(counts, taken, strict=True))
            table[self.place(left), self.place(right)] = float(factor)
        return table


def _closed(wanted: Iterable[Derivative]) -> set[Derivative]:
    """These derivatives with the value and all that are lower in every coordinate."""
    closed: set[Derivative] = {()}
    for derivative in wanted:
        for n in range(1, len(derivative) + 1):
            positions = combinations_with_replacement(range(len(derivative)), n)
            closed |= {tuple(derivative[p] for p in chosen) for chosen in positions if len(set(chosen)) == n}
    return closed
