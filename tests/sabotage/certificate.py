"""The certificate: spectrum, floor, margin, causes."""

from sabotage._sabotage import Sabotage

BALL = "theorems/test_margin.py::test_1_9_a_margin_above_one_keeps_the_flow_in_its_ball"

CERTIFICATE = (
    Sabotage("certificate/_margin.py", "sigma**2 / (2.0 * lipschitz", "sigma**2 / (0.5 * lipschitz", BALL),
    Sabotage("certificate/_margin.py", "2.0 * distance / (sigma", "distance / (sigma", BALL),
    Sabotage(
        "certificate/_margin.py",
        "return math.sqrt(max(largest, 0.0)) / h",
        "return max(largest, 0.0) / h",
        "certificate/test_margin.py::test_the_estimate_of_the_lipschitz_constant_is_that_of_dense_differences",
    ),
    Sabotage(
        "certificate/_point.py",
        "smallest < -level",
        "smallest < level",
        "certificate/test_points.py::test_a_flat_direction_alone_makes_no_saddle",
    ),
    Sabotage(
        "certificate/_point.py",
        "CRITICAL = 1e-6",
        "CRITICAL = 1e-2",
        "certificate/test_points.py::test_a_point_is_critical_only_where_next_to_nothing_can_be_removed",
    ),
)
