"""Several sets against the same real images, networks and augmentations, at the cost of little more
than one: what sets differ in is then never a difference of draws."""

from collections.abc import Mapping, Sequence
from itertools import accumulate

import jax
import jax.numpy as jnp
import optax

from jaxdd.types import (
    DistillState,
    Method,
    Metrics,
    Observation,
    Outputs,
    Parametrization,
    PRNGKey,
    PyTree,
    SyntheticSet,
    Term,
)

ALIKE = 'classes', 'draws', 'project_every'  # of a method: how it steps


def together(methods: Mapping[str, Method], counts: Mapping[str, int]) -> Method:
    """Runs of one method that differ in their sets and their objectives, as one method.

    A step draws one network and one batch, and looks at the real images once; every objective is
    given them, and its own synthetic images. Its loss is the sum of theirs, whose gradients do not
    meet: each set moves exactly as it would alone from the same key, up to rounding.

    Args:
        methods: name -> a run's method, with its regularizers. All share the first one's networks,
            augmentation and, role by role, architectures.
        counts: name -> images per class that its decoded set holds.

    Returns:
        A `Method` whose state `joined` makes, and whose metrics are each run's under
        '<name>/<metric>'.

    Note:
        An augmentation that draws for each image, unlike `augment.shared`, draws for those of all
        sets at once: other numbers than alone.

    Raises:
        ValueError: fewer than two runs, names or counts that are not theirs, a run that steps in
            another way, looks at a part of its set or may refuse a step, or an encoder that
            normalises by the batch, in which the sets would see each other.
    """
    _require(methods, counts)
    names, first = list(methods), next(iter(methods.values()))
    stops = list(accumulate(counts[name] for name in names))
    rows = {name: slice(stop - counts[name], stop) for name, stop in zip(names, stops)}
    return first._replace(
        parametrization=_side_by_side({name: one.parametrization for name, one in methods.items()}),
        objective=_sum({name: one.objective for name, one in methods.items()}, rows),
        models={role: model for one in methods.values() for role, model in one.models.items()},
    )


def optimizer(
    transforms: Mapping[str, optax.GradientTransformation],
) -> optax.GradientTransformation:
    """Moves each set by its own optimiser.

    Args:
        transforms: name -> what moves the set of that name.
    """

    def init(params: PyTree) -> PyTree:
        return {name: one.init(params[name]) for name, one in transforms.items()}

    def update(updates: PyTree, state: PyTree, params: PyTree = None) -> tuple[PyTree, PyTree]:
        moved = {
            name: one.update(updates[name], state[name], params and params[name])
            for name, one in transforms.items()
        }
        changes = {name: change for name, (change, _) in moved.items()}
        return changes, {name: kept for name, (_, kept) in moved.items()}

    return optax.GradientTransformation(init, update)


def joined(states: Mapping[str, DistillState]) -> DistillState:
    """The state of all runs, from that of each; step, key and networks are the first one's.

    Raises:
        ValueError: runs that stand at different steps or follow from different keys: they would not
            see the same images.
    """
    first, *others = states.values()
    for one in others:
        at = int(first.step), int(one.step)
        if at[0] != at[1]:
            raise ValueError(f'runs must stand at the same step, got {at[0]} and {at[1]}')
        if not (jax.random.key_data(first.key) == jax.random.key_data(one.key)).all():
            raise ValueError('runs must follow from the same key: give them one seed')
    return first._replace(
        **{
            field: {name: getattr(one, field) for name, one in states.items()}
            for field in ('params', 'fixed', 'opt_state')
        }
    )


def part(state: DistillState, name: str) -> DistillState:
    """The state of one run, as it would stand alone."""
    return state._replace(
        params=state.params[name], fixed=state.fixed[name], opt_state=state.opt_state[name]
    )


def _side_by_side(ways: Mapping[str, Parametrization]) -> Parametrization:
    """The images of all sets along the axis of images per class."""

    def init(key: PRNGKey, initial: SyntheticSet) -> tuple[PyTree, PyTree]:
        raise ValueError('each run makes its own initial state: join them with `joined`')

    def decode(params: PyTree, fixed: PyTree) -> SyntheticSet:
        sets = [way.decode(params[name], fixed[name]) for name, way in ways.items()]
        images, labels = (
            jnp.concatenate([getattr(one, field) for one in sets], axis=1)
            for field in ('images', 'labels')
        )
        return SyntheticSet(images, labels)

    def project(params: PyTree, fixed: PyTree) -> PyTree:
        return {name: way.project(params[name], fixed[name]) for name, way in ways.items()}

    return Parametrization(
        init, decode, project, by_class=all(way.by_class for way in ways.values())
    )


def _sum(terms: Mapping[str, Term], rows: Mapping[str, slice]) -> Term:
    """The sum of terms, each of which is shown its own rows of the synthetic images."""

    def loss(observation: Observation, key: PRNGKey) -> tuple[jax.Array, Metrics]:
        values, metrics = [], {}
        for name, term in terms.items():
            value, own = term.loss(_own(observation, rows[name]), key)
            values.append(value)
            metrics |= {f'{name}/{metric}': told for metric, told in own.items()}
            metrics[f'{name}/loss/total'] = value
        return jnp.stack(values).sum(), metrics

    return Term(frozenset().union(*(term.reads for term in terms.values())), loss)


def _own(seen: Observation, rows: slice) -> Observation:
    """What a run would have seen alone."""

    def cut(out: Outputs) -> Outputs:
        whole = out.logits, out.features, out.maps
        return Outputs(*(leaf[:, rows] for leaf in whole), moments=out.moments)

    synthetic = seen.synthetic
    return seen._replace(
        outputs={r: cut(out) if r.data == 'synthetic' else out for r, out in seen.outputs.items()},
        images={
            (data, view): images[:, rows] if data == 'synthetic' else images
            for (data, view), images in seen.images.items()
        },
        synthetic=synthetic._replace(
            images=synthetic.images[:, rows], labels=synthetic.labels[:, rows]
        ),
    )


def _require(methods: Mapping[str, Method], counts: Mapping[str, int]) -> None:
    if len(methods) < 2 or list(methods) != list(counts):
        raise ValueError(
            f'together takes two runs or more and a count for each, in the same order; got '
            f'{_listed(methods)} and counts of {_listed(counts)}'
        )
    first = next(iter(methods.values()))
    for name, one in methods.items():
        odd = [field for field in ('accepts', 'looks_at') if getattr(one, field) is not None]
        odd += [field for field in ALIKE if getattr(one, field) != getattr(first, field)]
        if odd:
            raise ValueError(
                f'{name} cannot run together with others: it has its own {", ".join(odd)}'
            )
        if jax.eval_shape(one.models['encoder'].init, jax.random.key(0)).batch_stats:
            raise ValueError(
                f'{name} cannot run together with others: its encoder normalises by the batch, in '
                "which the sets would see each other; use one with instance norm, e.g. 'convnet'"
            )


def _listed(names: Sequence[str] | Mapping[str, object]) -> str:
    return ', '.join(names) or 'none'
