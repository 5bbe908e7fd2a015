"""Everything that trains a classifier: proxies, students, later teachers and experts."""

from collections.abc import Callable, Sequence
from typing import NamedTuple

import jax
import jax.numpy as jnp
import optax

from jaxdd import parallel, passes
from jaxdd.bound import bind
from jaxdd.engine import loop
from jaxdd.models import update_batch_stats
from jaxdd.types import Array, Batch, DeviceFeed, Metrics, Model, PRNGKey, PyTree, Recipe, Variables

Sample = DeviceFeed[Batch]


class FitState(NamedTuple):
    """One network in training."""

    step: Array
    key: PRNGKey
    variables: Variables
    opt_state: PyTree


def init_fit(key: PRNGKey, model: Model, recipe: Recipe) -> FitState:
    """A freshly initialised network and its optimiser."""
    k_init, k_run = jax.random.split(key)
    variables = model.init(k_init)
    return FitState(
        jnp.zeros((), jnp.int32), k_run, variables, recipe.optimizer.init(variables.params)
    )


def make_fit_step(
    model: Model, recipe: Recipe
) -> Callable[[FitState, Batch], tuple[FitState, Metrics]]:
    """Builds the pure step `(state, batch) -> (state, metrics)` that trains a classifier.

    The loss is the mean of `recipe.loss` over the batch's images, padding excluded. Metrics:
    `loss/train` and `accuracy/train` (fraction) of the batch before the update.
    `Variables.accuracy` is the mean of the latter over the network's life.
    """
    return bind(_fit_step, model, recipe)


def _fit_step(
    model: Model, recipe: Recipe, state: FitState, batch: Batch
) -> tuple[FitState, Metrics]:
    old = state.variables

    def gradient(images, labels, weights, old):
        def loss(params):
            out = model.apply(old._replace(params=params), images)
            value = jnp.sum(recipe.loss(out.logits, labels) * weights)
            hits = jnp.sum((out.logits.argmax(-1) == labels.argmax(-1)) * weights)
            return value, (hits, jnp.sum(weights), out.moments)

        return jax.value_and_grad(loss, has_aux=True)(old.params)

    # Batch norm sees the whole batch; without it images are independent and their gradients add up.
    def summed(at):
        return (
            gradient(parallel.shard(batch.images), *batch[1:], at)
            if (old.batch_stats)
            else passes.chunked_sum(gradient, *map(parallel.shard_uneven, batch), whole=[at])
        )

    def mean(grads, total):
        return jax.tree.map(lambda g: (g / total).astype(g.dtype), grads)

    def again(params, i):  # for optimisers that look at the same images from elsewhere (SAM, GSAM)
        del i
        (_, (_, total, _)), grads = summed(old._replace(params=params))
        return mean(grads, total)

    (value, (hits, total, moments)), grads = summed(old)
    # Last, so that devices meet once: they add up their images' weights together with the
    # gradients.
    accuracy, grads = hits / total, mean(grads, total)
    rule = optax.with_extra_args_support(recipe.optimizer)
    updates, opt_state = rule.update(grads, state.opt_state, old.params, grad_fn=again)
    variables = Variables(
        optax.apply_updates(old.params, updates),
        update_batch_stats(old.batch_stats, moments),
        old.age + 1,
        old.accuracy + (accuracy - old.accuracy) / (old.age + 1),
    )
    metrics = {'loss/train': value / total, 'accuracy/train': accuracy}
    return FitState(state.step + 1, state.key, variables, opt_state), metrics


def fit(key: PRNGKey, model: Model, sample: Sample, recipe: Recipe) -> Variables:
    """Trains one network, as a pure function:
    a scan over steps, which jit, vmap and shard_map take as it is.

    Args:
        key: initialisation and every draw follow from it.
        model: in batch-statistics mode if it has batch norm.
        sample: pure `(key, step) -> Batch`.
        recipe: optimiser, number of steps, loss.

    Returns:
        The last weights.
    """
    step, state = make_fit_step(model, recipe), init_fit(key, model, recipe)
    feed = loop.feed_key(state)

    def body(state, _):
        return step(state, sample(feed, state.step))[0], None

    return jax.lax.scan(body, state, length=recipe.num_steps)[0].variables


def fit_seeds(
    keys: Sequence[PRNGKey],
    model: Model,
    sample: Sample,
    recipe: Recipe,
    *,
    control: loop.Control = loop.Control(),
) -> list[Variables]:
    """Trains one network per key, with progress; the same weights as `fit`, up to rounding.

    Args:
        keys: one per network.
        control: its `together` networks are trained as one program (`vmap`), then the next ones; by
            default all on accelerators, and one on CPUs, where a batch of networks turns
            convolutions into slow grouped ones. Its callbacks see each group's steps.

    Returns:
        The networks, in the order of the keys; fewer when stopped early.
    """
    step = loop.vmap_step(make_fit_step(model, recipe))
    size = loop.num_together(control, 1 if parallel.on_cpu() else len(keys))
    done: list[Variables] = []
    for group in (keys[first : first + size] for first in range(0, len(keys), size)):
        state = loop.stack_states(
            jax.jit(jax.vmap(lambda k: init_fit(k, model, recipe)))(jnp.stack(list(group)))
        )
        state = loop.run(
            step, state, loop.broadcast_feed(sample), num_steps=recipe.num_steps, **control.of_run()
        )
        if int(state.step) < recipe.num_steps:
            break
        done += [
            jax.tree.map(lambda x, i=i: x[i], state.states.variables) for i in range(len(group))
        ]
    return done
