"""A small network, what it trains on, and the states that a policy goes through."""

import functools

import jax
import jax.numpy as jnp
import numpy as np

from jaxdd import losses, models, optimizers
from jaxdd.engine import fit
from jaxdd.networks.policies import BATCH_NORM_IMAGES
from jaxdd.types import Batch, Inputs, Networks, Recipe, SyntheticSet

MLP = models.by_name('mlp', (8, 8, 3), 3, width=4)
RECIPE = Recipe(
    optimizers.sgd(0.05, momentum=0.9, weight_decay=5e-4), 2, 4, losses.soft_cross_entropy
)
KEY = jax.random.key(0)
RNG = np.random.default_rng(0)
IMAGES, REAL, MIXED = (
    jnp.asarray(RNG.normal(size=(*sizes, 8, 8, 3)), jnp.float32)
    for sizes in ((3, 2), (3, BATCH_NORM_IMAGES + 2), (4, 5))
)
LABELS = jnp.asarray(RNG.dirichlet(np.ones(3), (4, 5)), jnp.float32)
SYNTHETIC = SyntheticSet(IMAGES, jnp.repeat(jnp.eye(3)[:, None], 2, axis=1))
INPUTS = Inputs(real=REAL, mixed=Batch(MIXED, LABELS, jnp.ones((4, 5))))
# programs this small cost more to compile well than to run
quick = functools.partial(jax.jit, compiler_options={'xla_backend_optimization_level': 0})
fit_step = quick(fit.make_fit_step(MLP, RECIPE))
new_network = quick(lambda key: fit.init_fit(key, MLP, RECIPE))


@quick
def at(tree, i):
    return jax.tree.map(lambda leaf: leaf[i], tree)


def equal(one, other):
    return all(jax.tree.leaves(jax.tree.map(np.array_equal, one, other)))


def compiled(policy):
    """The policy with compiled functions, and the number of times that its update was traced."""
    traces = []

    def update(*args):
        traces.append(1)
        return policy.update(*args)

    return Networks(quick(policy.init), quick(policy.sample), quick(update)), traces


def states(policy, num):
    """The state before and after each of `num` updates; update t has the key fold_in(KEY, t)."""
    rows = [policy.init(KEY)]
    for t in range(num):
        rows.append(policy.update(rows[-1], jax.random.fold_in(KEY, t), INPUTS, SYNTHETIC))
    return rows
