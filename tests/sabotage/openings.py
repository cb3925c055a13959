"""Short steps: conjugate gradients that stop early, sketched factors, restricted layers, batches that double."""

from sabotage._sabotage import Sabotage

CGLS = "linalg/_cgls.py"
SPANNED = "jacobian/_spanned.py"
FACTORS = "lift/_sketched_factors.py"
SKETCHED = "lift/_sketched_lift.py"
BATCHES = "descent/_batch_steps.py"
OPENING = "descent/_opening.py"
DRAWN = "problem/_drawn.py"
GROWING = "problem/loaders/_growing.py"


def of(file: str, test: str, *pairs: tuple[str, str]) -> tuple[Sabotage, ...]:
    """Several wrong formulas of a file, which one test notices."""
    return tuple(Sabotage(file, right, wrong, test) for right, wrong in pairs)


SOAP = "descent/first_order/_soap.py"
EIGENBASES = "descent/first_order/_eigenbases.py"
GRADIENTS = "descent/first_order/_gradient_steps.py"
FIRST_ORDER = "descent/test_first_order.py::"

OPENINGS = (
    *of(
        EIGENBASES,
        FIRST_ORDER + "test_rotated_moments_are_diagonal_and_rotations_have_their_inverse",
        ("basis if side.is_left == back else basis.mT", "basis if side.is_left != back else basis.mT"),
        ("[1].flip(1))", "[1])"),
    ),
    *of(
        EIGENBASES,
        FIRST_ORDER + "test_the_moments_are_those_of_each_layers_gradient",
        ("torch.mm(layer.mT, layer, out=square)", "torch.mm(layer.mT, 2.0 * layer, out=square)"),
    ),
    *of(
        EIGENBASES,
        FIRST_ORDER + "test_the_following_basis_comes_nearer_to_the_eigenvectors_and_keeps_what_belongs_to_them",
        ("layer.copy_(layer[order] if side.is_left else layer[:, order])", "pass"),
        ("image = moment @ basis", "image = basis.clone()"),
    ),
    *of(
        SOAP,
        FIRST_ORDER + "test_the_first_step_has_one_length_in_each_rotated_entry",
        ("/ math.sqrt(unbiased)", ""),
        ("(1.0 + state.share**2) * here.cost", "(1.0 + state.share) * here.cost"),
        ("direction.mul_(-walk.step_size)", "direction.mul_(walk.step_size)"),
        ("/ here.problem.n_samples", ""),
    ),
    *of(
        SOAP,
        FIRST_ORDER + "test_means_are_those_of_adam_in_the_basis",
        ("gradient = torch.lerp(rotated, gradient, keep)", "gradient = rotated"),
    ),
    *of(
        SOAP,
        FIRST_ORDER + "test_the_length_follows_the_change_of_the_outputs",
        ("changed <= TOO_FAR * self.share", "True"),
        ("math.sqrt(wanted / changed)", "math.sqrt(changed / wanted)"),
    ),
    *of(
        SOAP,
        FIRST_ORDER + "test_units_of_the_parameters_are_those_of_the_metric",
        ("slope if scale is None else slope * scale.to(slope.dtype)", "slope"),
    ),
    *of(
        SOAP,
        FIRST_ORDER + "test_between_measurements_the_cost_is_not_known",
        ("is_measured = not is_near or", "is_measured ="),
    ),
    *of(
        GRADIENTS,
        FIRST_ORDER + "test_they_end_in_the_valley_and_where_they_hardly_lower_the_cost",
        ("state.best.cost <= self.below * state.reference", "state.best.cost <= self.below"),
        ("if state.step < LEAST_ROUNDS:", "if state.step <= LEAST_ROUNDS:"),
        ("math.exp(-SLOW) * before", "before"),
    ),
    *of(
        "problem/_epochs.py",
        FIRST_ORDER + "test_a_source_gives_each_sample_once_a_pass",
        ("if index % of_pass == 0:", "if True:"),
        ("manual_seed(step)", "manual_seed(0)"),
    ),
    *of(
        "problem/_by_products.py",
        FIRST_ORDER + "test_outputs_that_do_not_depend_on_the_parameters_have_the_gradient_zero",
        ("if not values.requires_grad:", "if False:"),
    ),
    *of(
        "descent/_planned.py",
        "descent/test_opening.py::test_nets_by_recorded_calls_open_so_where_an_exact_step_takes_longer",
        ("first_batch(problem) is None or plain or", "first_batch(problem) is None or"),
    ),
    # conjugate gradients
    *of(
        CGLS,
        "linalg/test_cgls.py::test_it_is_the_damped_least_squares_solution",
        ("rmv(left).neg_().sub_(x, alpha=damping)", "rmv(left).neg_()"),
        ("row_dot(q, q) + damping * dot(p, p)", "row_dot(q, q)"),
        ("left.add_(q, alpha=step)", "left.sub_(q, alpha=step)"),
    ),
    *of(
        CGLS,
        "linalg/test_cgls.py::test_each_iterate_is_the_least_of_phi_in_the_span_of_the_gradients",
        ("p = s.add(p, alpha=(rho - dot(previous, s)) / before)", "p = s"),
    ),
    *of(
        CGLS,
        "linalg/test_cgls.py::test_a_preconditioner_that_changes_does_no_harm",
        ("alpha=(rho - dot(previous, s)) / before)", "alpha=2.0 * rho / before)"),
    ),
    *of(
        CGLS,
        "linalg/test_cgls.py::test_iterations_beyond_the_precision_do_no_harm",
        ("step = dot(p, g) / curvature", "step = rho / curvature"),
    ),
    *of(
        CGLS,
        "linalg/test_cgls.py::test_phi_falls_with_each_iteration_by_what_the_rule_is_told",
        ("remaining = row_dot(left, left) + damping * dot(x, x)", "remaining = row_dot(left, left)"),
        ("falls.append(math.log(energy / remaining)", "falls.append(0.5 * math.log(energy / remaining)"),
    ),
    *of(
        CGLS,
        "linalg/test_cgls.py::test_the_window_is_a_quarter_of_all_and_one_more",
        ("window = 1 + count // 4", "window = 1 + count // 2"),
        ("window = 1 + count // 4", "window = 1"),
    ),
    *of(
        CGLS,
        "linalg/test_cgls.py::test_a_dear_step_is_solved_longer",
        ("fall / (count + price)", "fall / (count + 1.0)"),
    ),
    *of(
        CGLS,
        "linalg/test_cgls.py::test_a_fall_that_cannot_be_told_from_none_stops_nothing",
        ("return fall >= SEEN and (", "return ("),
    ),
    # layers in the span of their inputs
    *of(
        SPANNED,
        "jacobian/test_spanned.py::test_equal_inputs_and_inputs_of_zero_are_no_obstacle",
        ("(a @ basis.T).view(n, p, n * p)", "lower.view(n, p, n * p)"),
    ),
    *of(
        SPANNED,
        "jacobian/test_spanned.py::test_the_basis_is_orthonormal_and_holds_every_gradient",
        ("torch.linalg.solve_triangular(lower, a, upper=False)", "a"),
    ),
    *of(
        SPANNED,
        "jacobian/test_spanned.py::test_its_products_are_those_with_steps_in_the_span",
        ("step = (step.view(len(index), -1) @ basis)", "step = (step.view(-1, len(index)).T @ basis)"),
    ),
    *of(
        SPANNED,
        "jacobian/test_spanned.py::test_layers_with_more_inputs_than_rows_are_restricted_and_others_are_as_they_are",
        ("if d <= NARROWER * n * p:", "if d <= NARROWER * n:"),
    ),
    *of(
        SPANNED,
        "jacobian/test_spanned.py::test_there_is_none_where_pieces_have_parameters_in_common",
        ("int(taken.sum()) < sum(", "len(taken) < sum("),
    ),
    *of(
        SPANNED,
        "jacobian/test_spanned.py::test_weighted_rows_and_units_of_inputs_are_taken_along",
        ("or piece.scale is not None or", "or"),
    ),
    # sketched factors
    *of(
        FACTORS,
        "lift/test_sketched.py::test_of_one_layer_and_one_output_the_factor_is_the_normal_matrix",
        ("left = Moment.of(cotangents, n)", "left = Moment.of(cotangents, 2 * n)"),
        ("return self.n_samples * sum(part.trace", "return sum(part.trace"),
    ),
    *of(
        FACTORS,
        "lift/test_sketched.py::test_the_trace_is_that_of_d_in_the_mean_over_cotangents",
        ("self.left.trace * self.right.trace", "self.left.mean * self.right.trace"),
    ),
    *of(
        FACTORS,
        "lift/test_sketched.py::test_the_trace_estimates_that_of_a_model",
        ("n * cotangents.shape[1]\n", "n\n"),
    ),
    *of(
        FACTORS,
        "lift/test_sketched.py::test_the_damped_inverse_of_a_layer_is_that_of_its_damped_moments",
        (
            "self.left.inverse(math.sqrt(damping) / ratio, left=True)",
            "self.left.inverse(math.sqrt(damping), left=True)",
        ),
        (
            "self.right.inverse(math.sqrt(damping) * ratio, left=False)",
            "self.right.inverse(damping * ratio, left=False)",
        ),
        ("part.inverse(damping / n)", "part.inverse(damping)"),
        ("inverse(v[index]).reshape(-1) / n", "inverse(v[index]).reshape(-1)"),
        ("math.sqrt(self.right.mean / self.left.mean)", "self.right.mean / self.left.mean"),
    ),
    *of(
        FACTORS,
        "lift/test_sketched.py::test_woodbury_and_cholesky_are_the_same_inverse",
        ("(x - rows.T @ (solved @ x)) / damping", "(x + rows.T @ (solved @ x)) / damping"),
        ("(x - (x @ rows.T) @ solved) / damping", "x - (x @ rows.T) @ solved"),
    ),
    *of(
        FACTORS,
        "lift/test_sketched.py::test_below_the_rounding_of_float32_both_are_damped_alike",
        (
            "lower, damping = _factor(self.rows @ self.rows.T, damping)",
            "lower, _ = _factor(self.rows @ self.rows.T, damping)",
        ),
    ),
    *of(
        FACTORS,
        "lift/test_sketched.py::test_of_many_vectors_some_are_taken_and_the_trace_is_of_all",
        ("math.sqrt(count / len(vectors[::every]) / n)", "math.sqrt(1.0 / n)"),
    ),
    *of(
        FACTORS,
        "lift/test_sketched.py::test_a_moment_that_rounding_leaves_indefinite_has_a_factor_all_the_same",
        ("if not (bool(failed) and damping < largest):", "if True:"),
    ),
    *of(
        FACTORS,
        "lift/test_sketched.py::test_columns_that_are_no_layer_keep_their_diagonal",
        ("diagonal = squares[index] / n\n", "diagonal = squares[index]\n"),
    ),
    *of(
        FACTORS,
        "lift/test_sketched.py::test_columns_in_units_of_their_own_keep_their_diagonal",
        (
            "            index = piece.index.reshape(-1)\n            diagonal",
            "            index = piece.index\n            diagonal",
        ),
    ),
    *of(
        FACTORS,
        "lift/test_sketched.py::test_the_inputs_of_an_embedding_are_the_frequencies_of_its_words",
        ("counts / positions, 1.0,", "counts / n, 1.0,"),
    ),
    *of(
        FACTORS,
        "lift/test_sketched.py::test_columns_that_have_products_alone_have_one_square",
        ("/ (size * len(drawn)))", "/ size)"),
    ),
    *of(
        FACTORS,
        "lift/test_sketched.py::test_parameters_that_nothing_reads_keep_the_damping_alone",
        ("out = v / damping", "out = v / (2.0 * damping)"),
    ),
    *of(
        FACTORS,
        "lift/test_sketched.py::test_a_recorded_call_is_looked_at_by_one_pass_and_stays_recorded",
        ("if (sums := random_sums(jacobian)) is not None:", "if False:"),
    ),
    *of(
        "jacobian/_cheaper_columns.py",
        "outputs/test_recorded.py::test_random_sums_are_those_of_a_recorded_call_alone",
        ("isinstance(block, RecordedBlock) and not block.is_made", "isinstance(block, RecordedBlock)"),
    ),
    *of(
        "jacobian/_recorded_block.py",
        "outputs/test_recorded.py::test_its_routes_are_those_of_its_columns_and_do_not_make_them",
        ("return self.n_samples / self.outline.n_samples", "return 1.0"),
    ),
    *of(
        "lift/_krylov_lift.py",
        "lift/test_krylov.py::test_of_a_recorded_call_the_factors_and_the_scale_are_those_of_random_sums_of_its_outputs",
        ("self.method.slack > 0.0 and random_sums(self.inner)", "None"),
        ("self.layers.trace / self.inner", "self.layers.trace / self.moments"),
    ),
    *of(
        "lift/_krylov_lift.py",
        "lift/test_krylov.py::test_the_price_of_blocks_and_the_scale_do_not_make_the_columns_of_a_recorded_call",
        ("row_total(self.moments.row_squares()) / self.inner", "row_total(self.moments.row_squares()) / self.moments"),
    ),
    *of(
        "outputs/recorded/_recorded_call.py",
        "outputs/test_recorded.py::test_the_first_product_with_the_transpose_leaves_its_graph_for_the_products_that_follow",
        ("if at is None else at.detach().clone()", "if True else at.detach().clone()"),
    ),
    # the lift
    *of(
        SKETCHED,
        "lift/test_sketched.py::test_the_lift_is_the_damped_one_where_it_goes_on",
        ("metric.rows(velocity).neg()", "metric.rows(velocity)"),
        ("            damping=self.damping,\n", "            damping=2.0 * self.damping,\n"),
        ("solved.left.to(velocity.dtype)", "-solved.left.to(velocity.dtype)"),
        ("converged=False)", "converged=True)"),
    ),
    *of(
        SKETCHED,
        "lift/test_sketched.py::test_units_of_parameters_are_taken_along",
        ("Lifted(metric.leave(z),", "Lifted(z,"),
    ),
    *of(
        SKETCHED,
        "lift/test_sketched.py::test_a_solve_ends_at_the_fall_that_suffices_and_at_the_bound",
        ("enough=goal.fall)", 'enough=float("inf"))'),
        ("max_iterations=prepared.method.max_iterations", "max_iterations=300"),
    ),
    *of(
        SKETCHED,
        "lift/test_sketched.py::test_it_says_that_it_is_not_exact_and_how_large_its_rows_are",
        ("self.factors.trace / self.inner.n_residuals", "self.factors.trace / self.inner.n_params"),
    ),
    *of(
        SKETCHED,
        "lift/test_sketched.py::test_products_in_float32_leave_vectors_in_float64",
        ("inner = own.to(precision)", "inner = own"),
        (" or goes_by_passes(own)", ""),
    ),
    *of(
        SKETCHED,
        "lift/test_sketched.py::test_products_in_float32_do_in_any_units",
        ("if within else (own, SketchedFactors.of(own))", ""),
    ),
    *of(
        FACTORS,
        "lift/test_sketched.py::test_where_some_vectors_are_taken_all_positions_have_their_turn",
        ("while math.gcd(every, positions) > 1:", "while False:"),
    ),
    *of(
        FACTORS,
        "lift/test_sketched.py::test_positions_that_act_together_count_as_one",
        ("cotangents * math.sqrt(_together(", "cotangents * (_together("),
        ("/ (a.shape[0] * a.shape[1])", "/ a.shape[0]"),
    ),
    *of(
        "descent/_planned.py",
        "descent/test_opening.py::test_nets_by_recorded_calls_open_so_where_an_exact_step_takes_longer",
        ("if is_large or (recorded is not None and", "if is_large or (False and"),
        (", *opening(source)[1:]", ", *opening(source)"),
        ("> STEP_ITERATIONS * product_flops", "> 0.0"),
    ),
    *of(
        "descent/_planned.py",
        "descent/test_opening.py::test_networks_of_many_parameters_open_on_batches_however_few_their_rows",
        ("problem.n_params < MANY_PARAMETERS or", "problem.n_params < 9_998 or"),
        (" or first_batch(problem) is None", ""),
        ("opening(source)[:1]", "opening(source)"),
    ),
    *of(
        OPENING,
        "descent/test_opening.py::test_the_first_damping_is_a_share_of_the_trace_of_the_first_batch",
        ("FIRST_BATCH * source.first.blocks[0].n_outputs", "FIRST_BATCH"),
    ),
    # steps on batches
    *of(
        BATCHES,
        "descent/test_opening.py::test_the_size_doubles_where_the_fall_on_own_samples_is_so_much_larger_than_on_new_ones",
        ("4.0 * _price_of_double(here.jacobian) - 3.0", "4.0 * _price_of_double(here.jacobian) - 2.0"),
        ("* 2.0 / len(costs) if", "* 1.0 / len(costs) if"),
    ),
    *of(
        BATCHES,
        "descent/test_opening.py::test_one_step_tells_nothing_and_the_last_sixteen_tell_all",
        ("if len(costs) > 1 and sum", "if len(costs) > 0 and sum"),
        ("COMPARED_STEPS = 16 ", "COMPARED_STEPS = 99 "),
    ),
    *of(
        BATCHES,
        "descent/test_opening.py::test_a_difference_that_the_scatter_of_samples_explains_doubles_nothing",
        ("1.0 / half + 1.0 / (len(costs) - half)", "2.0 / half"),
        ("(math.sqrt(len(of_samples)) * float(of_samples.mean()))", "float(of_samples.mean())"),
        ("SURE * error", "2.0 * error"),
    ),
    *of(
        BATCHES,
        "descent/test_opening.py::test_twice_a_large_batch_costs_twice_as_much",
        ("return (2.0 * rows + calls) / (rows + calls)", "return 2.0"),
    ),
    *of(
        BATCHES,
        "descent/test_opening.py::test_a_step_is_taken_on_a_batch_and_remembers_it",
        ("math.log(here.cost / own)", "math.log(own / here.cost)"),
        ('tally["iterations"] - before + OWN_PRODUCTS', 'tally["iterations"] - before'),
    ),
    *of(
        BATCHES,
        "descent/test_opening.py::test_a_round_takes_its_share_of_passes",
        ("of_pass = rows / 2.0 *", "of_pass = rows *"),
        ("min(step, len(PASSES_OF_ROUND) - 1)", "0"),
    ),
    *of(
        BATCHES,
        "descent/test_opening.py::test_what_a_step_takes_however_few_its_samples_counts_too",
        ("return products * (rows + _calls(here.jacobian)) / of_pass", "return products * rows / of_pass"),
    ),
    *of(
        BATCHES,
        "descent/test_opening.py::test_the_seconds_of_a_round_end_it",
        (" or seconds_left() <= 0.0:", ":"),
    ),
    *of(
        BATCHES,
        "descent/test_opening.py::test_a_round_that_is_cut_keeps_the_steps_that_it_took",
        ("        if last is None:\n            raise", "        raise"),
    ),
    *of(
        "descent/_state.py",
        "descent/test_opening.py::test_the_state_on_batches_is_saved_and_put_together_again",
        ("stage.batch is None else asdict(stage.batch)", "stage.batch is None else None"),
    ),
    *of(
        "descent/_state.py",
        "descent/test_opening.py::test_a_run_resumed_in_the_opening_is_the_uninterrupted_one_bit_by_bit",
        ('numbers["iterations"], batch)', 'numbers["iterations"], batch and BatchState(batch.size * 2))'),
    ),
    # when they end
    *of(
        OPENING,
        "descent/test_opening.py::test_batches_end_where_the_next_one_has_more_than_half_of_all_samples",
        ("OF_ALL * state.stage.batch.size <= self.n_samples", "OF_ALL * state.stage.batch.size < self.n_samples"),
        ("OF_ALL * state.stage.batch.size <= self.n_samples", "state.stage.batch.size <= self.n_samples"),
    ),
    *of(
        OPENING,
        "descent/test_opening.py::test_batches_end_in_the_valley_where_exact_steps_follow",
        ("if state.best.cost <= self.below * state.reference:", "if state.cost < 0.0:"),
    ),
    *of(
        OPENING,
        "descent/test_opening.py::test_batches_go_on_where_a_step_on_all_takes_too_much_of_the_time",
        ("linearisations=STEP_LINEARISATIONS * times", "linearisations=STEP_LINEARISATIONS"),
    ),
    *of(
        OPENING,
        "descent/test_opening.py::test_by_passes_eigenvectors_pay_where_they_cost_little_or_no_more_than_a_step_took",
        ("return price <= STEP_ITERATIONS or", "return"),
        ("or state.stage.iterations >= price", ""),
    ),
    *of(
        OPENING,
        "descent/test_opening.py::test_eigenvectors_do_not_pay_where_columns_are_known",
        ("if not is_recorded(here.jacobian):", "if False:"),
    ),
    *of(
        OPENING,
        "descent/test_opening.py::test_a_large_problem_goes_on_with_sketched_factors_on_all_samples",
        ("_short_steps(source, EigenvectorsPay(), price=PRICE_OF_ALL)", "_short_steps(source, price=PRICE_OF_ALL)"),
        ("SketchedLift(price, products=torch.float32)", "SketchedLift(price)"),
    ),
    *of(
        OPENING,
        "descent/test_opening.py::test_samples_of_weight_zero_make_no_batch",
        ("samples[:FIRST_BATCH]", 'torch.arange(FIRST_BATCH, device="cpu")'),
        ("    n_samples = len(weighted_samples(sampled[0]))", "    n_samples = sampled[0].n_samples"),
    ),
    *of(
        OPENING,
        "descent/test_opening.py::test_the_steps_are_in_the_precision_of_the_problem",
        ("torch.float32: 1e-7,", "torch.float32: 1e-14,"),
    ),
    # batches
    *of(
        DRAWN,
        "problem/test_batches.py::test_samples_of_weight_zero_are_not_drawn_and_the_weights_of_others_are_kept",
        (
            "self._order = samples[torch.randperm(",
            "self._order = (samples * 0 + torch.arange(len(samples)))[torch.randperm(",
        ),
    ),
    *of(
        DRAWN,
        "problem/test_batches.py::test_a_batch_has_at_most_all_samples",
        ("        size = min(size, len(self._order))\n", ""),
    ),
    *of(
        DRAWN,
        "problem/test_batches.py::test_a_round_has_each_sample_once_and_drops_what_is_left_over",
        ("        self._next += size\n", "        self._next += size - 1\n"),
        ("if len(chosen) == size else None", "if len(chosen) else None"),
    ),
    *of(
        DRAWN,
        "problem/test_batches.py::test_rounds_are_drawn_by_the_number_of_their_step",
        ("return Drawing(self.first, seed=step)", "return Drawing(self.first, seed=0)"),
    ),
    # batches out of a loader
    *of(
        GROWING,
        "problem/test_growing.py::test_a_batch_has_as_many_samples_as_asked_whatever_the_loader_gives_at_once",
        ("[chosen_samples(whole, rows[size:])] if len(rows) > size else []", "[]"),
        ("return chosen_samples(whole, rows[:size]) if self._held else whole", "return whole"),
    ),
    *of(
        GROWING,
        "problem/test_growing.py::test_a_round_has_at_most_as_many_samples_as_a_pass",
        ("        self._given += size\n", ""),
    ),
    *of(
        GROWING,
        "problem/test_growing.py::test_a_batch_of_more_than_half_is_a_whole_pass_and_its_cost_is_that_of_all",
        ("            self.batches.begin_pass()\n", ""),
        ("self._n_samples if OF_ALL * size > self._n_samples else size", "min(size, self._n_samples)"),
        ("return own_cost if self._is_whole else self.cost(theta)", "return own_cost"),
        ("return own_cost if self._is_whole else self.cost(theta)", "return self.cost(theta)"),
    ),
    *of(
        GROWING,
        "problem/test_growing.py::test_sizes_double_up_to_a_whole_pass_or_to_what_memory_holds",
        ("following = self._at_most_all(2 * size)", "following = self._at_most_all(4 * size)"),
        ("COPIES_OF_D * bytes_a_sample(jacobian.blocks)", "bytes_a_sample(jacobian.blocks)"),
    ),
    *of(
        "jacobian/_recorded_block.py",
        "problem/test_growing.py::test_a_sample_takes_as_much_memory_before_columns_are_made_as_then",
        ("_bytes_of_rows(outline.columns) / outline.n_samples", "_bytes_of_rows(outline.columns)"),
    ),
    *of(
        BATCHES,
        "descent/test_over_loader.py::test_steps_are_halved_where_batches_cannot_grow",
        ("length=state.length if size > state.size else HALF * state.length", "length=state.length"),
        ("length=state.length if size > state.size else HALF * state.length", "length=HALF"),
    ),
    *of(
        BATCHES,
        "descent/test_over_loader.py::test_a_halved_step_is_half_of_the_whole_one",
        ("stage.walk.sized(last.length * stage.walk.step_size)", "stage.walk"),
    ),
    *of(
        "doors/_plan.py",
        "descent/test_over_loader.py::test_batches_grow_where_no_matrix_can_be_factorised",
        ("lift.choice(batches.most_rows, ", "lift.choice(first.n_residuals, "),
    ),
    *of(
        "problem/loaders/_batch_source.py",
        "problem/test_growing.py::test_rows_are_counted_before_they_are_read_where_the_loader_has_a_length",
        ("length_hint(self.loader, sys.maxsize) * self.first.n_residuals", "length_hint(self.loader, sys.maxsize)"),
    ),
    # what products take
    *of(
        "jacobian/_block.py",
        "jacobian/test_product_flops.py::test_a_layer_multiplies_at_each_of_its_positions",
        ("self.n_samples * c.positions * (c.width", "self.n_samples * (c.width"),
    ),
    *of(
        "jacobian/_recorded_block.py",
        "jacobian/test_product_flops.py::test_the_kinds_of_columns_are_known_before_these_are_made",
        ("return calls + (outline.product_flops() - calls) *", "return (outline.product_flops()) *"),
        ("return self.outline.columns", "return self.columns"),
    ),
)
