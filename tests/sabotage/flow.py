"""The flow and what is measured along it."""

from sabotage._sabotage import Sabotage

FLOW = (
    *(
        Sabotage("flow/_field.py", "return -residual\n", "return -1.001 * residual\n", f"theorems/{test}")
        for test in (
            "test_law.py::test_1_1_the_measured_cost_follows_the_curve",
            "test_law.py::test_1_2_the_flow_is_at_its_target_at_that_time",
            "test_straight_line.py::test_2_3_the_deviation_from_the_line_follows_its_equation",
        )
    ),
    Sabotage(
        "flow/_field.py",
        "return -residual0\n",
        "return -residual\n",
        "theorems/test_straight_line.py::test_2_2_the_same_path_as_a_straight_line_in_finite_time",
    ),
    Sabotage(
        "flow/_path.py",
        "residual0 * _path_integral",
        "0.5 * residual0 * _path_integral",
        "theorems/test_straight_line.py::test_2_2_the_way_from_the_start_is_bounded_on_the_way",
    ),
    Sabotage(
        "flow/_path.py",
        "math.exp(-time) * residual0",
        "math.exp(-2.0 * time) * residual0",
        "theorems/test_straight_line.py::test_2_3_while_the_projector_stands_still_the_deviation_is_known_beforehand",
    ),
    Sabotage(
        "flow/_path.py",
        "(from_line, damping=0.0).misfit",
        "(2.0 * from_line, damping=0.0).misfit",
        "theorems/test_straight_line.py::test_2_3_what_lies_outside_the_range_is_told_apart",
    ),
    Sabotage(
        "flow/_path.py",
        "norm(p.theta - origin)",
        "norm(p.theta)",
        "theorems/test_straight_line.py::test_2_2_the_way_from_the_start_is_bounded_on_the_way",
    ),
    Sabotage(
        "flow/_stepper.py",
        "STEP_SHARE = 0.1",
        "STEP_SHARE = 100.0",
        "flow/test_integrate.py::test_the_lengths_of_steps_are_those_of_the_tolerance",
    ),
)
