"""The metric of the parameters: what makes steps independent of the units of parameters, inputs and targets.

A step minimises `‖r + Bv‖² + μ‖v‖²_M` with `‖v‖²_M = Σ_j M_j v_j²`. In other units of θ_j both v_j and M_j^{−½} change
alike, if M follows the data and B; then neither the steps nor what they find depend on the units.
"""

from geodescent.metric._end_layers import EndLayers, entries_of, hooked, over_weight
from geodescent.metric._layer_units import LayerUnits
from geodescent.metric._metric import EUCLIDEAN, Metric
from geodescent.metric._units import sample_mean, target_mean, target_unit, unit_of

__all__ = [
    "EUCLIDEAN",
    "EndLayers",
    "LayerUnits",
    "Metric",
    "entries_of",
    "hooked",
    "over_weight",
    "sample_mean",
    "target_mean",
    "target_unit",
    "unit_of",
]
