"""What the terms of a step look at: images, and networks on them, each pass computed once."""

import functools
from collections.abc import Callable, Mapping

import jax
import jax.numpy as jnp

from jaxdd import parallel, passes
from jaxdd.types import (
    Array,
    Curriculum,
    Inputs,
    Method,
    Model,
    Observation,
    Outputs,
    PRNGKey,
    Read,
    SyntheticSet,
    Variables,
)


def observe(
    method: Method,
    networks: Mapping[str, Variables],
    synthetic: SyntheticSet,
    inputs: Inputs,
    key: PRNGKey,
    *,
    classes: Array,
    step: Array,
) -> Observation:
    """Computes every pass that the objective reads, each once.

    Args:
        networks: role -> weights.
        key: the step's augmentation key; class c uses `fold_in(key, c)` for real and synthetic
            alike, which is what makes a shared transform Siamese. With `Method.draws` 'step' every
            class uses `key` itself.
        classes: `[K]` int32, which classes the batch holds.

    Raises:
        ValueError: a read whose network, architecture or images are missing.
    """
    # a frozenset's order differs between processes, and so would the program
    reads = sorted(method.objective.reads)
    augment = _augmentation(method, key, classes, step)
    sources = {'synthetic': synthetic.images, 'real': inputs.real}
    images = {}
    for data, view in sorted({(read.data, read.view) for read in reads}):
        _require_images(data, view, sources)
        raw = parallel.shard(sources[data], 1)
        images[data, view] = raw if view == 'raw' else parallel.shard(augment(raw), 1)
    outputs: dict[Read, Outputs] = {}
    for read in (read for read in reads if read.role):  # those of every step come first
        usual = outputs.get(read._replace(every=1))
        outputs[read] = usual or _at(
            read.every,
            step,
            functools.partial(
                _forward, method.models, networks, read, images[read.data, read.view]
            ),
        )
    return Observation(outputs, images, synthetic, networks, inputs, step, classes)


def _augmentation(
    method: Method, key: PRNGKey, classes: Array, step: Array
) -> Callable[[Array], Array]:
    """What happens to the images `[K, m, ...]` of all classes, by one draw or by one for each."""
    augment = method.augment.at(step) if isinstance(method.augment, Curriculum) else method.augment
    if method.draws == 'step':
        return lambda raw: passes.each(lambda images: augment(key, images), raw)
    keys = jax.vmap(lambda c: jax.random.fold_in(key, c))(classes)
    return lambda raw: passes.each(augment, keys, raw)


def _at(every: int, step: Array, forward: Callable[[], Outputs]) -> Outputs:
    """A pass where its turn has come, zeros (and no computation) where it has not."""
    if every == 1:
        return forward()
    nothing = jax.tree.map(lambda x: jnp.zeros(x.shape, x.dtype), jax.eval_shape(forward))
    return jax.lax.cond(step % every == 0, forward, lambda: nothing)


def _forward(
    models: Mapping[str, Model], networks: Mapping[str, Variables], read: Read, images: Array
) -> Outputs:
    """One pass `[K, m, ...]`.

    Folded image-major, so that a split of the m axis stays a split of the batch.
    """
    if read.role not in networks or read.role not in models:
        raise ValueError(
            f'a term reads {_words(read)}, but there is no '
            f'{"network" if read.role in models else "architecture"} for the role {read.role!r} '
            f'(there are: {", ".join(sorted(set(models) & set(networks))) or "none"}). Give '
            f'regularize(..., models={{{read.role!r}: model}}) and pools.attach(feed, '
            f'{read.role!r}, pool)'
        )
    num_classes, m = images.shape[:2]
    batch = images.swapaxes(0, 1).reshape(m * num_classes, *images.shape[2:])
    apply = functools.partial(models[read.role].apply, networks[read.role])
    # batch norm sees the whole batch
    independent = not jax.tree.leaves(jax.eval_shape(apply, batch).moments)
    out = (
        parallel.shard_map_uneven(functools.partial(passes.chunked, apply), batch)
        if independent
        else apply(parallel.shard(batch))
    )

    def unfold(x):
        return x.reshape(m, num_classes, *x.shape[1:]).swapaxes(0, 1)

    return Outputs(unfold(out.logits), unfold(out.features), unfold(out.maps), out.moments)


def _words(read: Read) -> str:
    return '/'.join(part for part in (read.role, read.data, read.view) if part)


def _require_images(data: str, view: str, sources: Mapping[str, Array | None]) -> None:
    if data not in sources:
        raise ValueError(f'a term reads {data!r} images; valid: {", ".join(sorted(sources))}')
    if view not in ('raw', 'augmented'):
        raise ValueError(f'a term reads the view {view!r}; valid: augmented, raw')
    if sources[data] is None:
        raise ValueError(
            f'a term reads {data}/{view}, but the feed has no real images; '
            'use a feed that supplies Inputs.real, e.g. data.stratified(...)'
        )
