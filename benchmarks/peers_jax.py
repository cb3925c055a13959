"""The peers in JAX, one run a process: `python peers_jax.py '{"method": …}'`, in their own environment.

Data, network and starting parameters come from the caller; the parameters at the end go back to it. Everything is
in the dtype of the data and compiled before the clock starts; the first call's surplus over a later one is given as
compile time.
"""

import json
import resource
import sys
import time
from collections.abc import Callable, Sequence
from functools import partial
from importlib.metadata import version
from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
import kfac_jax
import numpy as np
import optimistix
from jax import Array
from jax.flatten_util import ravel_pytree
from recorder import Recorder

jax.config.update("jax_enable_x64", True)
jax.config.update("jax_persistent_cache_min_compile_time_secs", 0.2)

PATIENCE = 30  # equal costs in a row after which a method that rejects its own steps is taken to have stopped
KFAC_CALLS = 12  # kfac-jax compiles one more form of its step at each of its periods of five steps
WARM_SECONDS = 45.0  # beside the budget: convolutions take half a minute to compile
PACKAGES = ("jax", "optimistix", "lineax", "equinox", "kfac-jax")
Parameters = list[dict[str, Array]]
Network = Callable[[Parameters, Array], Array]


def main(job: dict[str, Any]) -> None:
    """Runs one job and prints its figures as the last line."""
    given = np.load(job["given"])
    arrays = [jnp.asarray(given[f"arr_{i}"]) for i in range(sum(name.startswith("arr_") for name in given.files))]
    start = [{"w": w.T, "b": b} for w, b in zip(arrays[::2], arrays[1::2], strict=True)]
    data = jnp.asarray(given["inputs"]), jnp.asarray(given["targets"])
    recorder = Recorder(
        budget=job["budget"], targets=tuple(job["targets"]), patience=PATIENCE, thinning=job["thinning"]
    )
    run = kfac if job["method"] == "kfac" else least_squares
    end = run(network(job["layers"]), start, data, recorder, method=job["method"], **job["setting"])
    np.savez(job["found"], *(part for layer in end for part in (np.asarray(layer["w"]).T, np.asarray(layer["b"]))))
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024.0
    versions = {name: version(name) for name in PACKAGES}
    figures = recorder.figures() | {"seconds": recorder.stopped, "jax_peak_mb": peak, "jax_versions": versions}
    print(json.dumps(figures))


def network(layers: Sequence[tuple[str, float]]) -> Network:
    """(parameters, inputs) → outputs. The order of all axes of a kernel and of an image is that of torch reversed."""
    activations = {"tanh": jnp.tanh, "relu": jax.nn.relu, "sine": jnp.sin}
    activations["gelu"] = partial(jax.nn.gelu, approximate=False)

    def outputs(parameters: Parameters, z: Array) -> Array:
        weights = iter(parameters)
        for name, frequency in layers:
            if name == "linear":
                layer = next(weights)
                z = z @ layer["w"] + layer["b"]
            elif name == "conv2d":
                layer, axes = next(weights), ("NHWC", "HWIO", "NHWC")
                z = jax.lax.conv_general_dilated(z, layer["w"], (1, 1), "SAME", dimension_numbers=axes) + layer["b"]
            elif name == "unflatten":
                z = z.reshape(len(z), int(frequency), int(frequency), 1).swapaxes(1, 2)
            elif name == "avgpool2d":
                n, width, height, channels = z.shape
                z = z.reshape(n, width // 2, 2, height // 2, 2, channels).mean((2, 4))
            elif name == "flatten":
                z = z.transpose(0, 3, 2, 1).reshape(len(z), -1)
            else:
                z = activations[name](frequency * z if frequency != 1.0 else z)
        return z

    return outputs


def least_squares(
    net: Network, start: Parameters, data: tuple[Array, Array], recorder: Recorder, *, method: str
) -> Parameters:
    """An optimistix solver at rounding tolerance, stepped by hand as its manual shows."""
    theta, restore = ravel_pytree(start)
    residuals = stacked(net, restore)
    chosen, tags = getattr(optimistix, method)(rtol=1e-15, atol=1e-15), frozenset[object]()
    structs = (jax.ShapeDtypeStruct((data[1].size,), theta.dtype), None)
    state = chosen.init(residuals, theta, data, {}, *structs, tags)

    @eqx.filter_jit
    def step(y: Array, state: Any, data: tuple[Array, Array]) -> tuple[Array, Any, Array, Array]:
        y, state, _ = chosen.step(residuals, y, data, {}, state, tags)
        return y, state, 0.5 * jnp.sum(state.f_info.residual**2) / len(data[0]), state.terminate

    compiled(lambda: step(theta, state, data), recorder)
    over, y = False, theta
    recorder.start(start_cost(net, start, data))
    while not over:
        y, state, cost, terminate = step(y, state, data)
        over = recorder.note(float(cost)) or (bool(terminate) and recorder.over("tolerance met"))
    return restore(y)


def stacked(net: Network, restore: Callable[[Array], Parameters]) -> Callable[..., tuple[Array, None]]:
    """(θ, data) → x − y, with the rule that D is stacked sample by sample.

    Without it optimistix pushes K tangents through the whole batch, ten times slower at N = 1000, K = 301.
    """

    def one(flat: Array, sample: Array) -> Array:
        return net(restore(flat), sample[None])[0]

    @jax.custom_jvp
    def residuals(theta: Array, inputs: Array, targets: Array) -> Array:
        return (net(restore(theta), inputs) - targets).ravel()

    @residuals.defjvp
    def _(primals: tuple[Array, ...], tangents: tuple[Array, ...]) -> tuple[Array, Array]:
        rows = jax.vmap(jax.jacrev(one), (None, 0))(primals[0], primals[1])
        return residuals(*primals), rows.reshape(-1, primals[0].size) @ tangents[0]

    return lambda theta, data: (residuals(theta, *data), None)


def kfac(
    net: Network,
    start: Parameters,
    data: tuple[Array, Array],
    recorder: Recorder,
    *,
    method: str,
    damping: float,
    adaptive: bool,
) -> Parameters:
    """kfac-jax, full batch: rate and momentum from its quadratic model; damping adapted, or fixed."""

    def loss(parameters: Parameters, batch: tuple[Array, Array]) -> Array:
        out = net(parameters, batch[0])
        kfac_jax.register_squared_error_loss(out, batch[1], weight=0.5)
        return 0.5 * jnp.sum((out - batch[1]) ** 2) / len(out)

    optimizer = kfac_jax.Optimizer(
        jax.value_and_grad(loss),
        l2_reg=0.0,
        use_adaptive_learning_rate=True,
        use_adaptive_momentum=True,
        use_adaptive_damping=adaptive,
        damping_schedule=None if adaptive else (lambda *_, **__: damping),
        initial_damping=damping if adaptive else None,
        min_damping=1e-16,
        num_burnin_steps=0,
        inverse_update_period=5,
    )
    key = jax.random.PRNGKey(0)

    def step(parameters: Parameters, state: Any) -> tuple[Parameters, Any, Any]:
        return optimizer.step(parameters, state, key, batch=data)

    def fresh() -> tuple[Parameters, Any]:
        copy = jax.tree_util.tree_map(jnp.array, start)  # the optimizer donates its arguments
        return copy, optimizer.init(copy, key, data)

    walk = [fresh()]

    def warm() -> Any:
        walk[0] = step(*walk[0])[:2]
        return walk[0][0]

    compiled(warm, recorder, calls=KFAC_CALLS)
    over, (parameters, state) = False, fresh()
    recorder.start(start_cost(net, start, data))
    while not over:
        begin = recorder.elapsed()
        parameters, state, stats = step(parameters, state)
        over = recorder.note_at(begin, float(stats["loss"]))  # the loss where the step began
    return parameters


def compiled(call: Callable[[], Any], recorder: Recorder, *, calls: int = 2) -> None:
    """Calls it off the clock, fewer times where that takes too long; the surplus over the fastest is compile time."""
    seconds = list[float]()
    while len(seconds) < calls and sum(seconds) < WARM_SECONDS + recorder.budget:
        begin = time.perf_counter()
        jax.block_until_ready(eqx.filter(call(), eqx.is_array))
        seconds.append(time.perf_counter() - begin)
    recorder.extra["compile_seconds"] = sum(seconds) - len(seconds) * min(seconds)


def start_cost(net: Network, start: Parameters, data: tuple[Array, Array]) -> float:
    """C at the start."""
    return float(0.5 * jnp.sum((net(start, data[0]) - data[1]) ** 2) / len(data[0]))


if __name__ == "__main__":
    main(json.loads(sys.argv[1]))
