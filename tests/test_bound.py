"""Bound functions: equal where their arguments are, so that they compile once."""

import jax
import jax.numpy as jnp

from jaxdd.bound import bind


def scaled(factor, x):
    return factor * x


def test_a_bound_function_is_the_function_of_the_other_arguments():
    assert bind(scaled, 3)(5) == 15 and bind(scaled, 3, 5)() == 15


def test_equal_arguments_are_the_same_function_and_others_are_not():
    assert bind(scaled, 3) == bind(scaled, 3) and hash(bind(scaled, 3)) == hash(bind(scaled, 3))
    assert bind(scaled, 3) != bind(scaled, 4) and bind(scaled, 3) != bind(max, 3)


def test_equal_functions_compile_once():
    traces = []

    @jax.jit
    def apply(function):
        traces.append(1)
        return function(jnp.float32(2))

    values = [float(apply(jax.tree_util.Partial(bind(scaled, factor)))) for factor in (3, 3, 4)]
    assert values == [6, 6, 8] and len(traces) == 2
