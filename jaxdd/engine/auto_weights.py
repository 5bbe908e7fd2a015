"""Automatic weights for regularizers that nobody published a weight for."""

from collections.abc import Mapping

import jax
import jax.numpy as jnp
import numpy as np
import optax

from jaxdd.engine import loop
from jaxdd.engine.distill import make_gradient, num_classes
from jaxdd.types import Array, DistillState, Method, Model, PyTree, Term


def automatic_weights(
    method: Method,
    regularizers: Mapping[str, Term],
    state: DistillState,
    feed: loop.Feed,
    *,
    ratio: float,
    models: Mapping[str, Model],
    draws: int = 20,
) -> dict[str, float]:
    """Weights that give every regularizer a set share of the objective's pull on the images.

    lambda = ratio / mean_draws(||grad R|| / ||grad L_DD||), gradients with respect to those stored
    parameters that R moves (the images, not a learned rate) at the run's start; meant to be frozen
    afterwards. Our own rule, not a paper's.

    Args:
        method: the base method, not regularized.
        regularizers: name -> term.
        state: the run's first state.
        feed: the run's feed, with the networks that the regularizers read.
        ratio: wanted ||lambda grad R|| / ||grad L_DD||, e.g. 0.1, 0.3 or 1.
        models: architectures of the roles that the regularizers add.
        draws: steps' worth of networks and batches to average over.

    Returns:
        name -> lambda; 0 where a regularizer has no gradient (e.g. class centralization of one
        image per class).

    Raises:
        ValueError: a gradient is not a number; names the regularizer.
    """
    method = method._replace(models={**method.models, **models})
    measure = jax.jit(_pulls(method, regularizers))
    classes = num_classes(method, state)
    pulls = [
        measure(
            state,
            inputs,
            jnp.int32(i),
            None if method.classes == 'joint' else jnp.int32(i % classes),
        )
        for i, inputs in zip(range(draws), loop.iterate_feed(state, feed))
    ]
    mean = {name: float(np.mean([pull[name] for pull in pulls])) for name in regularizers}
    if broken := [name for name, pull in mean.items() if np.isnan(pull)]:
        raise ValueError(
            f"no automatic weight for {', '.join(broken)}: its gradient, or the objective's, is "
            'NaN at the initial images'
        )
    return {name: ratio / pull if pull > 1e-12 else 0.0 for name, pull in mean.items()}


def _pull(gradient: PyTree, base: PyTree) -> Array:
    """||gradient|| / ||base||, of what the first one moves at all:
    a learned rate that no regularizer touches says nothing about their images."""
    moved = jax.tree.map(lambda g, b: jnp.where(jnp.any(g != 0), b, 0), gradient, base)
    return optax.tree.norm(gradient) / jnp.maximum(optax.tree.norm(moved), 1e-30)


def _pulls(method: Method, regularizers: Mapping[str, Term]):
    """name -> ||grad R|| / ||grad L_DD||, as one program:
    the passes that terms share are computed once."""

    def pulls(state, inputs, step, only):
        state = state._replace(step=step)

        def gradient(term):
            return make_gradient(method._replace(objective=term))(state, inputs, only)[0]

        base = gradient(method.objective)
        return {name: _pull(gradient(regularizers[name]), base) for name in sorted(regularizers)}

    return pulls
