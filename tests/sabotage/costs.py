"""Costs of outputs, and what is known of the flow before it runs."""

from sabotage._sabotage import Sabotage

COSTS = (
    Sabotage(
        "theory.py",
        "return 0.5 * math.log(",
        "return math.log(",
        "theorems/test_law.py::test_1_2_the_stopping_time_inverts_the_predicted_cost",
    ),
    Sabotage(
        "theory.py",
        "/ (target - low))",
        "/ target)",
        "test_theory.py::test_stopping_time_inverts_predicted_cost",
    ),
    Sabotage(
        "theory.py",
        "(begin - low) * np.exp",
        "begin * np.exp",
        "theorems/test_critical_sets.py::test_1_5_the_curve_where_rank_is_lost",
    ),
    Sabotage(
        "costs.py",
        "(sums - logs.sum(1)) /",
        "(sums + logs.sum(1)) /",
        "test_costs.py::test_2_4_the_minimiser_is_the_one_on_its_fibre",
    ),
    Sabotage(
        "costs.py",
        "targets.sum(1, keepdim=True) * torch.softmax(outputs, 1) - targets",
        "targets.sum(1, keepdim=True) * torch.sigmoid(outputs) - targets",
        "test_costs.py::test_2_4_the_output_flow_conserves_each_samples_sum",
    ),
)
