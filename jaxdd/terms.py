"""Terms: summands of the loss, and the algebra that adds them.

L = L_DD + sum_i lambda_i R_i: the base objective and every regularizer are values of one type,
`Term`.
"""

from collections.abc import Mapping

import jax
import jax.numpy as jnp

from jaxdd.types import Method, Metrics, Model, Observation, PRNGKey, Term, Weight


def named(name: str, term: Term) -> Term:
    """The same term, which also reports its value as the metric `loss/<name>`."""

    def loss(observation: Observation, key: PRNGKey):
        value, metrics = term.loss(observation, key)
        return value, {**metrics, f'loss/{name}': value}

    return Term(term.reads, loss)


def read_as(term: Term, role: str, other: str) -> Term:
    """The same term, which looks at another role's network instead of one.

    Args:
        role: whose forward passes the term reads, such as 'proxy'.
        other: whose passes it is given instead, such as 'encoder'.
    """
    renamed = {read: read._replace(role=other) for read in term.reads if read.role == role}

    def loss(observation: Observation, key: PRNGKey):
        outputs = {read: observation.outputs[given] for read, given in renamed.items()}
        return term.loss(observation._replace(outputs={**observation.outputs, **outputs}), key)

    return (
        Term(frozenset(renamed.get(read, read) for read in term.reads), loss) if renamed else term
    )


def at_every(term: Term, every: int) -> Term:
    """The same term at every so many steps, as many times as strong: on average the same pull.

    Between them neither its value nor the passes that it alone reads are computed, and it reports
    0. Zhong et al., CMI (ICLR 2025), https://arxiv.org/abs/2412.09945, discuss the cost of theirs.

    Args:
        every: n; the term is n L at steps that n divides, 0 at all others.

    Raises:
        ValueError: `every` below 1.
    """
    if every < 1:
        raise ValueError(f'a term must be there at every step, or at every n-th: got every={every}')
    if every == 1:
        return term
    rare = {read: read._replace(every=read.every * every) for read in term.reads}

    def loss(observation: Observation, key: PRNGKey):
        outputs = {read: observation.outputs[given] for read, given in rare.items() if read.role}
        seen = observation._replace(outputs={**observation.outputs, **outputs})

        def there() -> tuple[jax.Array, Metrics]:
            return jax.tree.map(lambda x: every * x, term.loss(seen, key))

        nothing = jax.tree.map(lambda x: jnp.zeros(x.shape, x.dtype), jax.eval_shape(there))
        return jax.lax.cond(observation.step % every == 0, there, lambda: nothing)

    return Term(frozenset(rare.values()), loss)


def weighted_sum(terms: Mapping[str, tuple[Weight, Term]]) -> Term:
    """Sum of weighted terms, itself a term: sum_i w_i(step) * term_i.

    Args:
        terms: name -> (weight, term). A weight is a number or an optax schedule of the step. A
            weight of exactly 0 removes its term, so that 0 * NaN cannot leak.

    Returns:
        A term that reads what its summands read and reports each value unweighted as `loss/<name>`.

    Raises:
        ValueError: no term is left.
    """
    active = {
        name: (w, named(name, term)) for name, (w, term) in terms.items() if callable(w) or w != 0
    }
    if not active:
        raise ValueError(
            f'weighted_sum needs at least one term with a non-zero weight, got {sorted(terms)}'
        )

    def loss(observation: Observation, key: PRNGKey):
        total, metrics = jnp.zeros(()), {}
        for i, (weight, term) in enumerate(active.values()):
            value, extra = term.loss(observation, jax.random.fold_in(key, i))
            total = total + (weight(observation.step) if callable(weight) else weight) * value
            metrics |= extra
        return total, metrics

    return Term(frozenset().union(*(term.reads for _, term in active.values())), loss)


def regularize(
    method: Method,
    regularizers: Mapping[str, tuple[Weight, Term]],
    *,
    models: Mapping[str, Model] | None = None,
) -> Method:
    """A method with regularizers added to its objective: L_DD + sum_i lambda_i R_i.

    Nothing inside the method knows that this happened. The objective's own draws do not depend on
    the regularizers, so runs with and without them see the same networks, batches and
    augmentations; with every weight 0 the method comes back unchanged.

    Args:
        method: any method.
        regularizers: name -> (lambda, term); lambda multiplies the term as it is reduced by its own
            file.
        models: architectures of the roles that the regularizers add, e.g. {'proxy': resnet18}.

    Returns:
        The method with the new objective; metrics gain `loss/<name>`, unweighted.

    Raises:
        ValueError: a weight is negative.
    """
    for name, (weight, _) in regularizers.items():
        if not callable(weight) and not weight >= 0:
            raise ValueError(f'the weight of regularizer {name!r} must be 0 or more, got {weight}')
    active = {name: (w, term) for name, (w, term) in regularizers.items() if callable(w) or w != 0}
    if not active:
        return method
    base, extra = method.objective, weighted_sum(active)

    def loss(observation: Observation, key: PRNGKey) -> tuple[jax.Array, Metrics]:
        value, metrics = base.loss(observation, key)
        penalty, extras = extra.loss(observation, jax.random.fold_in(key, 1))
        return value + penalty, {**metrics, **extras}

    return method._replace(
        objective=Term(base.reads | extra.reads, loss), models={**method.models, **(models or {})}
    )
