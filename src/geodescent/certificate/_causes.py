"""What takes rank from D that a person can act on: repeated samples, constant columns, idle units."""

from collections.abc import Mapping, Sequence

from geodescent._deadline import in_time
from geodescent._types import Theta
from geodescent.certificate._cause import Cause, counted, few
from geodescent.certificate._constant_columns import constant_columns
from geodescent.certificate._equation_causes import causes_of_equations
from geodescent.certificate._idle_units import IdleUnits, idle_units
from geodescent.certificate._layer_watch import WatchedMap
from geodescent.jacobian import Jacobian
from geodescent.outputs import Inputs, Layered, Sampled, leaves_of
from geodescent.problem import (
    NEARLY,
    Place,
    Problem,
    RowBlock,
    active,
    blocks_by_module,
    conflict_cost,
    identical_groups,
    nearly_identical_groups,
    shared_cost,
    shared_groups,
)

SAMPLE_FLOPS = 2e4  # Flops that take as long as comparing one sample with the others.
NEARLY_LIMIT = 5e7  # Numbers of inputs, 400 MB, up to which nearly identical samples are looked for.
NAMED_GROUPS = 5  # Groups of samples that a sentence names before it breaks off.


def causes_of(
    problem: Problem, theta: Theta, *, jacobian: Jacobian | None = None, floor: float | None = None
) -> tuple[Cause, ...]:
    """Every cause found at θ; none on a problem that has none.

    Args:
        problem: blocks of samples.
        theta: where the units are looked at, (K,).
        jacobian: D at θ; its cotangents tell units behind functional activations.
        floor: the instant floor at θ: what the loss of parameters can cost here at most.

    Cost: a forward pass, a hash of every sample and a sort of the inputs along one line.
    """
    n_samples = sum(block.n_samples for block in problem.blocks)
    compared = in_time(SAMPLE_FLOPS * n_samples, "samples with the same inputs")
    shared = shared_groups(problem) if compared else []
    causes = _shared(problem, shared) + (_nearly_shared(problem, shared) if compared else [])
    for block in problem.blocks:
        causes += _alike(problem, block, shared) if compared else []
        watched = _watched(block)
        if watched is not None:
            constant = constant_columns(watched, theta)
            causes += [_constant(layer, where, lost, floor) for layer, where, lost in constant]
    causes += causes_of_equations(problem, theta, jacobian)
    for maps in _by_model(problem):
        if in_time(0.0, "units that do not act", forward_passes=1.0, products=1.0):
            causes += [_unit_cause(units, floor) for units in idle_units(maps, theta, jacobian)]
    return (*causes, *_toofew(problem, floor))


def _alike(problem: Problem, block: RowBlock, shared: list[list[Place]]) -> list[Cause]:
    """Samples of a block with the same inputs, or nearly the same."""
    groups = identical_groups(block)
    elsewhere = {i for group in shared for other, i in group if other is block}
    identical = _identical(problem, block, [group for group in groups if group[0] not in elsewhere])
    return [*identical, *_nearly_identical(problem, block, groups)]


def not_looked_for(problem: Problem) -> list[str]:
    """What was left out, and why."""
    size = max(_n_numbers([block]) for block in problem.blocks)
    if size <= NEARLY_LIMIT:
        return []
    return [f"nearly identical inputs were not looked for: X holds {size:.2g} numbers, {NEARLY_LIMIT:.0e} at most."]


def _inputs(block: RowBlock) -> Inputs | None:
    return block.map.inputs if isinstance(block.map, Sampled) else None


def _watched(block: RowBlock) -> WatchedMap | None:
    """The block's map, if its layers can be looked at on its samples."""
    return block.map if isinstance(block.map, Sampled) and isinstance(block.map, Layered) else None


def _by_model(problem: Problem) -> list[list[WatchedMap]]:
    """The maps of each module whose layers can be looked at."""
    by_model = dict[int, list[WatchedMap]]()
    for block in problem.blocks:
        watched = _watched(block)
        if watched is not None:
            by_model.setdefault(id(watched.model), []).append(watched)
    return list(by_model.values())


# --- samples ---------------------------------------------------------------------------------------------------------


def _identical(problem: Problem, block: RowBlock, groups: list[list[int]]) -> list[Cause]:
    """Samples of one block with identical inputs."""
    if not groups:
        return []
    costs = [conflict_cost(problem, block, group) for group in groups]
    where = {"block": block.name, "groups": groups}
    return [_identical_cause(where, [few(group) for group in groups], groups, costs, "samples with identical inputs")]


def _shared(problem: Problem, groups: list[list[Place]]) -> list[Cause]:
    """Samples of several blocks of one module with identical inputs, by the name of the block and the row."""
    if not groups:
        return []
    where, texts = _places_of(groups)
    what, costs = (
        "samples of several blocks of rows with identical inputs in one module",
        _shared_costs(problem, groups),
    )
    return [_identical_cause(where, texts, groups, costs, what)]


def _places_of(groups: list[list[Place]]) -> tuple[dict[str, object], list[str]]:
    """Blocks and rows of groups, for machines and for people."""
    named = [[(block.name, i) for block, i in group] for group in groups]
    names = list(dict.fromkeys(name for group in named for name, _ in group))
    return {"blocks": names, "groups": named}, [few([f"{name!r} {i}" for name, i in group]) for group in named]


def _shared_costs(problem: Problem, groups: list[list[Place]]) -> list[float]:
    return [shared_cost(problem, group) for group in groups]


def _identical_cause(
    where: Mapping[str, object], texts: list[str], groups: Sequence[Sequence[object]], costs: list[float], what: str
) -> Cause:
    conflicts, extra = sum(cost > 0.0 for cost in costs), sum(len(group) - 1 for group in groups)
    named = _named([text for text, cost in zip(texts, costs, strict=True) if cost > 0.0] or texts)
    text = f"{counted(len(groups), 'group')} of {what}, {extra} too many"
    if conflicts:
        text += (
            f"; in {conflicts} of them ({named}) the targets differ, which costs {sum(costs):.3g} that nothing can "
            "remove. Merge these samples, or add what tells them apart."
        )
    else:
        text += f" ({named}) with the same targets: they cost nothing. Keep one of each, with its count as its weight."
    where = {**where, "conflict": [cost > 0.0 for cost in costs], "costs": costs}
    return Cause("identical_inputs", where, sum(costs), text, exact=True)


def _named(groups: list[str]) -> str:
    """Up to `NAMED_GROUPS` groups."""
    return "; ".join(groups[:NAMED_GROUPS]) + ("; …" if len(groups) > NAMED_GROUPS else "")


def _nearly_identical(problem: Problem, block: RowBlock, identical: list[list[int]]) -> list[Cause]:
    """Groups of samples, identical ones counted once, that differ by at most `NEARLY` in every feature."""
    if _n_numbers([block]) > NEARLY_LIMIT:
        return []
    near = nearly_identical_groups([block], {(block.name, i) for group in identical for i in group[1:]})
    if not near:
        return []
    groups = [[i for _, i in group] for group in near]
    costs = [conflict_cost(problem, block, group) for group in groups]
    return [_near_cause({"block": block.name, "groups": groups}, [few(group) for group in groups], costs, "samples")]


def _nearly_shared(problem: Problem, identical: list[list[Place]]) -> list[Cause]:
    """The same groups where they stand in several blocks of one module."""
    repeated = {(block.name, i) for group in identical for block, i in group[1:]}
    together = [blocks for blocks in blocks_by_module(problem) if _n_numbers(blocks) <= NEARLY_LIMIT]
    near = [group for blocks in together for group in nearly_identical_groups(blocks, repeated)]
    groups = [group for group in near if len({block.name for block, _ in group}) > 1]
    if not groups:
        return []
    where, texts = _places_of(groups)
    return [_near_cause(where, texts, _shared_costs(problem, groups), "samples of several blocks of rows")]


def _n_numbers(blocks: list[RowBlock]) -> int:
    """How many numbers the inputs of these blocks hold."""
    sampled = [inputs for block in blocks if (inputs := _inputs(block)) is not None]
    return sum(leaf.numel() for inputs in sampled for leaf in leaves_of(inputs))


def _near_cause(where: Mapping[str, object], texts: list[str], costs: list[float], what: str) -> Cause:
    differing = [text for text, cost in zip(texts, costs, strict=True) if cost > 0.0]
    text = (
        f"{counted(len(texts), 'group')} of {what} differ by less than {NEARLY:g} of the inputs' scale "
        f"({_named(differing or texts)}); "
    )
    if differing:
        text += f"their targets differ, which costs {sum(costs):.3g} unless outputs change that steeply. Merge them."
    else:
        text += "their targets agree. Keep one of each."
    where = {**where, "conflict": [cost > 0.0 for cost in costs], "costs": costs}
    return Cause("nearly_identical_inputs", where, sum(costs), text)


# --- columns, units, parameters --------------------------------------------------------------------------------------


def _constant(layer: str, columns: list[int], lost: int, floor: float | None) -> Cause:
    text = (
        f"{counted(len(columns), 'constant input column')} of {layer} ({few(columns)}): {lost} weights act as the bias "
        f"does, or not at all{_at_most(floor)}. Drop what never changes."
    )
    return Cause("constant_inputs", {"layer": layer, "columns": columns}, floor, text, parameters_lost=lost)


UNIT_SENTENCES = {
    "dead_units": ("dead: zero output and zero slope on every sample", "Start them again, or use a smooth activation."),
    "saturated_units": ("saturated: no slope on any sample", "Scale the inputs or the weights of this layer down."),
    "unheard_units": (
        "unheard: the weights behind them are zero, or what they lead into is dead",
        "Start the weights behind them anew.",
    ),
    "duplicate_units": ("the same as another, up to sign, on every sample", "Start them apart."),
}


def _unit_cause(idle: IdleUnits, floor: float | None) -> Cause:
    what, remedy = UNIT_SENTENCES[idle.kind]
    count = counted(len(idle.units), "unit")
    text = f"{count} of {idle.layer} ({few(idle.units)}): {what}; {idle.parameters} parameters are lost"
    where: dict[str, object] = {"layer": idle.layer, "units": idle.units}
    where |= {"groups": idle.groups} if idle.groups else {}
    return Cause(idle.kind, where, floor, f"{text}{_at_most(floor)}. {remedy}", parameters_lost=idle.parameters)


def _toofew(problem: Problem, floor: float | None) -> list[Cause]:
    m, k = problem.n_residuals, problem.n_params
    m -= sum((len(b.target) - len(active(b))) * b.n_outputs for b in problem.blocks)
    if k >= m or problem.has_equations:
        return []
    text = (
        f"{k} parameters for {m} residuals: zero cost is out of reach for almost every y{_at_most(floor)}. A fit ends "
        f"at a least cost above zero, which is what is wanted of noisy data; zero would take {m} parameters."
    )
    return [Cause("too_few_parameters", {"n_params": k, "n_residuals": m}, floor, text)]


def _at_most(floor: float | None) -> str:
    return "" if floor is None else f", which costs at most {floor:.3g} here"
