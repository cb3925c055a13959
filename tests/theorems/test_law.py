"""The law of exponential decay, and the time it takes (1.1, 1.2).

docs/theory/law.md says what it means.
"""

@pytest.mark.parametrize("specimen", FULL_RANK, ids=lambda s: s.name)
@pytest.mark.filterwarnings("ignore:Using padding=.same. with even kernel")
def test_1_1_the_outputs_decay_for_every_architecture(specimen: Specimen) -> None:
    """`D θ̇ = −(x − y)`, D by autograd and not by layers."""
    model, inputs = made(specimen, F64)
    outputs = gd.SampleMap(model, inputs)
    x = outputs(outputs.theta)
    problem = gd.Problem.of(model, inputs, (x + torch.randn_like(x)).reshape(len(x), *outputs.output_shape))
    residual = residual_at(problem, problem.theta)
    assert_close(naive_jacobian(model, inputs) @ adapted(problem, problem.theta), -residual, 1e-10)


@pytest.mark.parametrize(
    ("data", "sizes", "act"),
    [(wine, (13, 16, 3), nn.Tanh), (diabetes, (10, 12, 12, 1), nn.GELU), (diabetes, (10, 16, 1), nn.SiLU)],
    ids=["wine tanh", "diabetes gelu", "diabetes silu"],
)
def test_1_1_the_measured_cost_follows_the_curve(data, sizes, act) -> None:
    x, y = data()
    model = network(*sizes, act=act)
    cost0 = 0.5 * float((model(x).detach() - y).square().sum()) / len(x)
    flow = gd.flow(model, x, y, target_cost=1e-8 * cost0)
    law = cost0 * np.exp(-2.0 * flow.time)
    assert np.all(flow.rank == y.numel())
    assert len(flow.time) > 20
    assert float(np.max(np.abs(flow.cost / law - 1.0))) < 1e-8
    cost = 0.5 * float((model(x).detach() - y).square().sum()) / len(x)
    assert cost == pytest.approx(1e-8 * cost0, rel=1e-8)


def test_1_1_the_outputs_walk_a_straight_line() -> None:
    """`x(τ) − y = e^{−τ}(x₀ − y)`, every component of it."""
    model, x, y = full_rank()
    problem = gd.Problem.of(model, x, y)
    start = residual_at(problem, problem.theta)
    velocity = _flow.Velocity(problem, AdaptedField(), gd.GramLift())
    for tau, theta in _flow.integrate(velocity, 3.0, tol=1e-10):
        assert_close(residual_at(problem, torch.from_numpy(theta.copy())), math.exp(-tau) * start, 1e-9)


def test_1_1_a_fourth_order_walk_leaves_the_law_at_fourth_order() -> None:
    model, x, y = full_rank()
    problem = gd.Problem.of(model, x, y)
    law = math.exp(-1.0) * residual_at(problem, problem.theta)
    deviations = []
    for steps in (8, 16):
        end = runge_kutta(lambda theta: adapted(problem, theta), problem.theta, 1.0, steps)
        deviations.append(float(torch.linalg.vector_norm(residual_at(problem, end) - law)))
    assert_rate(*deviations, expected=16.0)


def test_1_2_the_stopping_time_inverts_the_predicted_cost() -> None:
    for cost0, target in [(3.0, 1e-8), (1e10, 1e-10), (2e-10, 1e-10)]:
        tau = gd.stopping_time(cost0, target)
        assert tau == pytest.approx(0.5 * math.log(cost0 / target), rel=1e-15)
        assert gd.predicted_cost(cost0, tau) == pytest.approx(target, rel=1e-12)


def test_1_2_the_flow_is_at_its_target_at_that_time() -> None:
    """`C ≤ ε` at ½ ln(C₀/ε), and so `‖x − y‖ ≤ δ` at ln(‖x₀ − y‖/δ)."""
    model, x, y = full_rank()
    start = float(torch.linalg.vector_norm(model(x).detach() - y))
    flow = gd.flow(model, x, y, target_cost=1e-5)
    end = float(torch.linalg.vector_norm(model(x).detach() - y))
    assert flow.result is gd.Result.target_reached
    assert flow.time[-1] == pytest.approx(gd.stopping_time(flow.cost0, 1e-5), rel=1e-12)
    assert flow.cost[-1] == pytest.approx(1e-5, rel=1e-8)
    assert flow.time[-1] == pytest.approx(math.log(start / end), rel=1e-8)
