"""Problems of blocks of rows, and the sources of a step's problem."""

from sabotage._sabotage import Sabotage

PROBLEM = (
    Sabotage(
        "problem/_problem.py",
        "return row_dot(rows, rows) / (2.0 * self.n_samples)",
        "return row_dot(rows, rows) / self.n_samples",
        "theorems/test_critical_sets.py::test_1_5_the_cost_falls_by_the_projected_residual",
    ),
    Sabotage(
        "problem/_problem.py",
        "ratio = block.weight * self.n_samples / block.total_weight",
        "ratio = block.weight",
        "theorems/test_steps.py::test_1_8_the_full_step_of_weighted_blocks_is_weighted_gauss_newton",
    ),
    Sabotage(
        "problem/_problem.py",
        "return self.residual_of(outputs, dtype=dtype), jacobian.scaled(rows=self._scale_in(dtype))",
        "return self.residual_of(outputs, dtype=dtype), jacobian",
        "theorems/test_law.py::test_1_1_the_law_holds_for_weighted_blocks_of_rows_together",
    ),
    Sabotage(
        "problem/_problem.py",
        "return self.weighted(rows if dtype is None else rows.to(dtype))",
        "return rows if dtype is None else rows.to(dtype)",
        "problem/test_blocks.py::test_the_second_derivative_is_scaled_in_the_same_way",
    ),
    Sabotage(
        "problem/_problem.py",
        "ratio = block.weight * self.n_samples",
        "ratio = self.n_samples",
        "problem/test_blocks.py::test_the_weight_of_a_block_does_not_cancel",
    ),
    # sources
    Sabotage(
        "problem/_sources.py",
        "n = max(LEAST_PART, math.ceil(PART_ROWS * problem.n_params / block.n_outputs))",
        "n = max(LEAST_PART, math.ceil(PART_ROWS * problem.n_params))",
        "problem/test_part.py::test_a_part_has_eight_rows_a_parameter",
    ),
    Sabotage(
        "problem/_sources.py",
        "return block.weights.cpu().nonzero()[:, 0]",
        "return torch.arange(block.n_samples)",
        "problem/test_part.py::test_samples_of_weight_zero_are_no_part",
    ),
    Sabotage(
        "problem/loaders/_batch_source.py",
        "total += problem.n_samples * problem.cost(theta)",
        "total += problem.cost(theta)",
        "problem/test_loader.py::test_the_cost_at_the_start_is_that_of_all_data",
    ),
    Sabotage(
        "problem/loaders/_batch_source.py",
        "if self._per_pass and step % self._per_pass == 0 else None",
        "if self._per_pass else None",
        "problem/test_loader.py::test_a_cost_of_everything_once_a_pass",
    ),
    Sabotage(
        "problem/loaders/_streamed.py",
        "out += part.rmv(u[start : start + part.n_residuals])\n            start += part.n_residuals",
        "out += part.rmv(u[start : start + part.n_residuals])",
        "problem/test_loader.py::test_the_streamed_jacobian_is_the_jacobian",
    ),
    Sabotage(
        "problem/_rounding.py",
        "return (moved / drawn + stored) / (2.0 * problem.n_samples)",
        "return 100.0 * (moved / drawn + stored) / (2.0 * problem.n_samples)",
        "certificate/test_points.py::test_rounding_floor_is_where_descent_ends",
    ),
)
