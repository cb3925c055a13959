"""The derivative D as something that multiplies."""

from sabotage._sabotage import Sabotage

JACOBIAN = (
    Sabotage(
        "jacobian/_cotangents.py",
        "collected = u * flat[:, 0] if",
        "collected = 2.0 * u * flat[:, 0] if",
        "jacobian/test_jacobian.py::test_jacobian_is_that_of_autograd_in_float64",
    ),
    Sabotage(
        "jacobian/_gram.py",
        "return 2 * (2 * n * q * p + n * q * other_rows) * columns.width",
        "return 20 * (2 * n * q * p + n * q * other_rows) * columns.width",
        "jacobian/test_gram.py::test_the_cheaper_route_by_counted_flops_is_taken",
    ),
    Sabotage(
        "jacobian/_block_jacobian.py",
        "return 0.5 * sum(min(rows_flops(c, m), c.flops(m)) for c in self.columns)",
        "return 5.0 * sum(min(rows_flops(c, m), c.flops(m)) for c in self.columns)",
        "jacobian/test_gram.py::test_the_flops_of_a_gram_matrix_are_half_of_those_of_the_cheaper_route",
    ),
    Sabotage(
        "jacobian/_block_jacobian.py",
        "CALL_FLOPS + 4.0 * block.n_samples",
        "CALL_FLOPS + 40.0 * block.n_samples",
        "jacobian/test_gram.py::test_flops_are_those_that_torch_counts",
    ),
    Sabotage(
        "jacobian/_block_jacobian.py",
        "part.mixed(unit[:, None]).gram() / n_outputs",
        "part.mixed(unit[:, None]).gram()",
        "jacobian/test_every_jacobian.py::test_its_matrices_are_those_of_the_matrix",
    ),
    Sabotage(
        "jacobian/_outer_columns.py",
        "scale = columns[self.index] if self.scale is None else self.scale * columns[self.index]",
        "scale = columns[self.index]",
        "jacobian/test_jacobian.py::test_scaling_rows_and_columns",
    ),
)
