"""Whether the data determine the parameters of a classical fit: few parameters, many rows."""

import itertools
from dataclasses import asdict, dataclass

import torch
from torch import Tensor

from geodescent._budget import budget, fits
from geodescent._deadline import in_time
from geodescent._types import Outputs, Theta
from geodescent.certificate._spectrum import Spectrum
from geodescent.jacobian import Jacobian
from geodescent.linalg import row_dot, svd
from geodescent.outputs import Parametrised
from geodescent.problem import Problem

MOST_TOLD_OF = 100  # Parameters: a fit of more is told of by its rank alone, because nobody reads so many names.
TAKES_PART = 0.01  # Share of a direction that changes no output: an entry below it is rounding or leakage of the cut.
NAMED_PARAMETERS = 8  # Parameters whose values a sentence names before it breaks off.


@dataclass(frozen=True)
class Identifiability:
    """What the data say of each parameter, to first order.

    Attributes:
        names: of the parameters, in the order of θ.
        values: θ.
        standard_errors: `√(s² [(DᵀWD)⁻¹]_kk)`, `s² = ‖√W(x − y)‖²/(m − rank)`, where a fit ends here; None of a
            parameter that the data do not determine.
        confounded: groups of parameters of which only combinations act; one alone has no effect on the outputs.
    """

    names: tuple[str, ...]
    values: tuple[float, ...]
    standard_errors: tuple[float | None, ...]
    confounded: tuple[tuple[str, ...], ...]

    def as_dict(self) -> dict[str, object]:
        """For JSON."""
        return asdict(self)

    @property
    def sentence(self) -> str:
        """Identifiable or not, by name."""
        if not self.confounded:
            count = f"all {len(self.names)} parameters" if len(self.names) > 1 else "the parameter"
            return f"identifiable: the data determine {count}"
        return "not identifiable: " + "; ".join(_apart(group) for group in self.confounded)

    @property
    def estimates(self) -> str | None:
        """The parameters with their standard errors; None where there are none."""
        known = [
            entry for entry in zip(self.names, self.values, self.standard_errors, strict=True) if entry[2] is not None
        ]
        shown = [f"{name} {value:.6g} ± {error:.2g}" for name, value, error in known[:NAMED_PARAMETERS]]
        return (", ".join(shown) + (" …" if len(known) > NAMED_PARAMETERS else "")) or None


def identifiability(
    problem: Problem, theta: Theta, jacobian: Jacobian, columns: Theta | None, spectrum: Spectrum, residual: Outputs
) -> Identifiability | None:
    """What the data say of each parameter at θ; None where this is no classical fit, or the rank is not known.

    Args:
        jacobian: `B M^{−½}`, float64; its rank is that of the spectrum.
        columns: `M^{−½}`, (K,); None for ones.
        residual: r, weighted, (m,), float64.

    Cost: 2·m·K², and a decomposition of order K.
    """
    m, k = problem.n_rows_wanted, problem.n_params
    if not (k <= MOST_TOLD_OF and k < m) or spectrum.rank is None or spectrum.level != "spectrum":
        return None
    if not in_time(2.0 * m * k**2, "which parameters the data determine", products=min(k, m)):
        return None
    sigma, right = _right_vectors(jacobian)
    rank, names = spectrum.rank, _names(problem)
    lost = right[:, rank:] @ right[:, rank:].T
    groups = groups_of(lost, names)
    variance = row_dot(residual, residual) / (m - rank)
    squares = (right[:, :rank] / sigma[:rank]).square().sum(1) * variance
    errors = squares.sqrt() * (1.0 if columns is None else columns.to(squares))
    undetermined = {name for group in groups for name in group}
    return Identifiability(
        names,
        tuple(theta.double().tolist()),
        tuple(None if name in undetermined else error for name, error in zip(names, errors.tolist(), strict=True)),
        tuple(groups),
    )


def _right_vectors(jacobian: Jacobian) -> tuple[Tensor, Tensor]:
    """σ, falling, and the right singular vectors of D: from D where it is small, else through DᵀD."""
    m, k = jacobian.shape
    if m * k <= budget().spectrum_numbers and fits(16.0 * m * k, jacobian.device):
        triangle = torch.linalg.qr(jacobian.dense(), mode="r").R
        _, sigma, right = svd(triangle, full_matrices=True)
        return sigma, right.T
    values, vectors = torch.linalg.eigh(jacobian.normal())
    return values.clamp(min=0.0).sqrt().flip(0), vectors.flip(1)


def groups_of(lost: Tensor, names: tuple[str, ...]) -> list[tuple[str, ...]]:
    """The parameters that share directions which change no output: connected by entries of their projector."""
    linked = lost.abs() > TAKES_PART
    left, groups = [i for i in range(len(names)) if linked[i, i]], list[tuple[str, ...]]()
    while left:
        group, reached = set[int](), {left[0]}
        while reached:
            group |= reached
            reached = {j for i in reached for j in torch.nonzero(linked[i])[:, 0].tolist()} - group
        groups.append(tuple(names[i] for i in sorted(group)))
        left = [i for i in left if i not in group]
    return groups


def _names(problem: Problem) -> tuple[str, ...]:
    """The name of each entry of θ."""
    first = problem.blocks[0].map
    named = first.parameters() if isinstance(first, Parametrised) else {}
    names = [_entry(name, place) for name, tensor in named.items() for place in _places(tuple(tensor.shape))]
    return tuple(names) if len(names) == problem.n_params else tuple(f"θ[{i}]" for i in range(problem.n_params))


def _places(shape: tuple[int, ...]) -> list[tuple[int, ...]]:
    return list(itertools.product(*map(range, shape)))


def _entry(name: str, place: tuple[int, ...]) -> str:
    return f"{name}[{', '.join(map(str, place))}]" if place else name


def _apart(group: tuple[str, ...]) -> str:
    if len(group) == 1:
        return f"{group[0]} has no effect on the outputs"
    shown = group[:NAMED_PARAMETERS]
    more = f" and {len(group) - len(shown)} more" if len(group) > len(shown) else ""
    joined = f"{', '.join(shown)}{more}" if more else f"{', '.join(shown[:-1])} and {shown[-1]}"
    return f"{joined} cannot be told apart"
