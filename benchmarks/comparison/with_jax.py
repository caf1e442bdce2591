"""JAX: the input's product for all steps at once, then a compiled scan.

A scan that is not unrolled measured fastest, and so did products with transposed weights.
At inference they are transposed beforehand, in training within what is compiled. In
bfloat16 a step took 2 to 18 times as long on a processor that has it, so that it does not
take part.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from jax import lax

from comparison.contestant import Job
from comparison.grid import Case
from comparison.work import Arrays, Work

_wait: Any = jax.block_until_ready


class Contestant:
    def __init__(self, threads: int) -> None:
        self.version = f"jax {jax.__version__}"

    def job(self, case: Case, work: Work, way: str) -> Job:
        jax.clear_caches()  # type: ignore[no-untyped-call]
        weights = {name: jnp.asarray(value) for name, value in work.weights.items()}
        x = jnp.asarray(work.time_first(work.x))
        if case.streaming:
            return _stream(case, weights, x)
        if work.dy is None:
            network = jax.device_put(_transpose(case, weights))
            forward = jax.jit(lambda network, x: _network(case, network, x))
            return Job(lambda: _wait(forward(network, x)), _outputs)
        dy = jnp.asarray(work.time_first(work.dy))

        @jax.jit
        def train(weights: Any, x: Any, dy: Any) -> Any:
            def forward(weights: Any, x: Any) -> Any:
                return _network(case, _transpose(case, weights), x)

            y, pull = jax.vjp(forward, weights, x)
            return y, *pull(dy)

        def arrays(result: Any) -> Arrays:
            y, gradients, dx = jax.device_get(result)
            return {"y": y.swapaxes(0, 1), "dx": dx.swapaxes(0, 1), **gradients}

        return Job(lambda: _wait(train(weights, x, dy)), arrays)


class _Weights(NamedTuple):
    w_ih: Any
    w_hh: Any
    bias: Any
    bias_hn: Any


def _transpose(case: Case, weights: Any) -> list[_Weights]:
    """The weights as the scan wants them, with the biases added up where they can be."""
    result = []
    for number in range(case.layers * case.directions):
        layer, direction = divmod(number, case.directions)
        suffix = f"_l{layer}" + "_reverse" * direction
        bias, recurrent_bias = weights["bias_ih" + suffix], weights["bias_hh" + suffix]
        merged = 2 * case.hidden_size if case.cell == "gru" else len(bias)
        bias = bias.at[:merged].add(recurrent_bias[:merged])
        result.append(
            _Weights(
                weights["weight_ih" + suffix].T,
                weights["weight_hh" + suffix].T,
                bias,
                recurrent_bias[merged:],
            )
        )
    return result


def _step(case: Case, weights: _Weights, state: Any, gates: Any) -> tuple[Any, Any]:
    h = state[0]
    sums = h @ weights.w_hh
    if case.cell == "rnn":
        h = jnp.tanh(gates + sums)
        return (h,), h
    if case.cell == "gru":
        split = 2 * case.hidden_size
        r, z = jnp.split(jax.nn.sigmoid(gates[:, :split] + sums[:, :split]), 2, axis=1)
        n = jnp.tanh(gates[:, split:] + r * (sums[:, split:] + weights.bias_hn))
        h = (1 - z) * n + z * h
        return (h,), h
    i, f, g, o = jnp.split(gates + sums, 4, axis=1)
    c = jax.nn.sigmoid(f) * state[1] + jax.nn.sigmoid(i) * jnp.tanh(g)
    h = jax.nn.sigmoid(o) * jnp.tanh(c)
    return (h, c), h


def _zeros(case: Case) -> tuple[Any, ...]:
    part = jnp.zeros((case.batch, case.hidden_size), case.dtype)
    return (part, part) if case.cell == "lstm" else (part,)


def _network(case: Case, network: list[_Weights], x: Any) -> Any:
    for layer in range(case.layers):
        outputs = []
        for direction in range(case.directions):
            weights = network[layer * case.directions + direction]

            def step(state: Any, gates: Any, weights: _Weights = weights) -> Any:
                return _step(case, weights, state, gates)

            rows = x.reshape(case.time * case.batch, -1)
            gates = (rows @ weights.w_ih + weights.bias).reshape(case.time, case.batch, -1)
            outputs.append(lax.scan(step, _zeros(case), gates, reverse=direction == 1)[1])
        x = outputs[0] if len(outputs) == 1 else jnp.concatenate(outputs, axis=2)
    return x


def _stream(case: Case, weights: Any, x: Any) -> Job:
    network = jax.device_put(_transpose(case, weights))
    states = [_zeros(case)] * case.layers

    @jax.jit
    def advance(network: list[_Weights], states: Any, x: Any) -> Any:
        after = []
        y = x[0]
        for weights, state in zip(network, states, strict=True):
            state, y = _step(case, weights, state, y @ weights.w_ih + weights.bias)
            after.append(state)
        return after, y[None]

    def step() -> Any:
        nonlocal states
        states, y = advance(network, states, x)
        return _wait(y)

    return Job(step, _outputs)


def _outputs(y: Any) -> Arrays:
    return {"y": jax.device_get(y).swapaxes(0, 1)}
