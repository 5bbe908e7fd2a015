"""Labels of a whole training, recorded once and replayed to any student:
a key, and one vector per image shown.

Fast knowledge distillation stores for every image shown its crop, flip and mix beside the teacher's
verdict (Shen & Xing, A Fast Knowledge Distillation Framework for Visual Recognition, ECCV 2022,
https://arxiv.org/abs/2112.01528; SRe2L labels ImageNet so). Here all of these follow from one key,
so that the verdicts are all there is to store; `check` makes sure that the key still draws the same
images.
"""

import functools
import zlib

import jax
import jax.numpy as jnp
import numpy as np

from jaxdd import checks, parallel
from jaxdd.labels import relabel
from jaxdd.labels._recorded import MadeWith as MadeWith
from jaxdd.labels._recorded import Replay as Replay
from jaxdd.labels._recorded import load as load
from jaxdd.labels._recorded import num_bytes as num_bytes
from jaxdd.labels._recorded import save as save
from jaxdd.types import Array, Batch, PRNGKey, Supervision, SyntheticSet


def record(
    key: PRNGKey,
    supervision: Supervision,
    synthetic: SyntheticSet,
    batch_size: int,
    num_steps: int,
    *,
    dtype: str = 'float16',
    top_k: int | None = None,
    steps_per_call: int = 1,
) -> Replay:
    """Labels every mini-batch of a training.

    Args:
        key: of the training whose mini-batches these are; every later student sees the same ones.
        supervision: what labels, e.g. `relabel.dynamic(view, ...)`.
        synthetic: images `[K, n, H, W, C]`.
        batch_size: of the training.
        num_steps: S, its mini-batches.
        dtype: of the stored logits, 'float16' or 'float32'.
        top_k: largest logits kept per image, with one number for the mean of the others; None =
            all.
        steps_per_call: mini-batches per dispatch.

    Returns:
        The labels, `num_bytes` of them.

    Raises:
        ValueError: a count below 1, another dtype, a top_k that keeps nothing or everything, or
            labels that `dtype` cannot hold; or a key of another random generator than JAX's current
            default.
    """
    assert jnp.issubdtype(key.dtype, jax.dtypes.prng_key), (
        'a key of jax.random.key, which knows its generator'
    )
    if str(jax.random.key_impl(key)) != jax.config.jax_default_prng_impl:
        raise ValueError(
            f'the key is of the random generator {jax.random.key_impl(key)}, the default is '
            f'{jax.config.jax_default_prng_impl}: use a key of the default, which `check` can '
            'vouch for'
        )
    checks.one_of('dtype of recorded logits', dtype, ('float16', 'float32'))
    _require_counts(
        synthetic.labels.shape[-1],
        top_k,
        batch_size=batch_size,
        num_steps=num_steps,
        steps_per_call=steps_per_call,
    )
    supervision, rows = relabel.with_arrays(supervision), []
    for start in range(0, num_steps, steps_per_call):
        steps = jnp.arange(start, start + steps_per_call)
        kept = _labels(batch_size, top_k, dtype, supervision, synthetic, key, steps)
        rows.append([None if x is None else parallel.fetched(x)[: num_steps - start] for x in kept])
        if not np.isfinite(rows[-1][0]).all():
            raise ValueError(
                f'labels of mini-batches {start} to {start + len(rows[-1][0]) - 1} are not all '
                f"finite as {dtype}: look at the teachers, or use dtype='float32'"
            )
    logits, classes, rest = (None if x[0] is None else np.concatenate(x) for x in zip(*rows))
    return Replay(
        np.asarray(jax.random.key_data(key)),
        batch_size,
        logits,
        classes,
        rest,
        _made_with(key, supervision, synthetic, batch_size, num_steps),
    )


def supervision(replay: Replay, view: Supervision) -> jax.tree_util.Partial:
    """Shows the recorded mini-batches:
    the images that the recorded key draws, with the labels kept.

    A student's own key is ignored. Mini-batches beyond the recorded ones have NaN labels, at which
    a training stops; `check` refuses such a training before it starts.

    Args:
        replay: see `record`.
        view: what was labelled, without the teachers: the supervision that `relabel.dynamic` was
            given.

    Returns:
        A supervision over the labels `[b, Y]` float32. When traced, it raises a ValueError for
        mini-batches of another size than those recorded, or another number of classes.
    """
    key = jax.random.wrap_key_data(jnp.asarray(replay.key), impl=replay.made_with.prng)
    stored = jax.tree.map(jnp.asarray, (replay.logits, replay.classes, replay.rest))
    return jax.tree_util.Partial(_replayed, relabel.with_arrays(view), key, stored)


def check(replay: Replay, view: Supervision, synthetic: SyntheticSet, *, num_steps: int) -> None:
    """Refuses labels that do not belong to the images that would be shown with them.

    Args:
        view: as in `supervision`.
        synthetic: the set that is to be shown.
        num_steps: of the training.

    Raises:
        ValueError: another version of JAX, another random generator, another set, other images in
            one of four mini-batches between the first and the last, or more steps than were
            recorded. Says what was recorded and what was found.
    """
    if num_steps > len(replay.logits):
        raise ValueError(
            f'labels of {len(replay.logits)} mini-batches were recorded, the training has '
            f'{num_steps}: train for fewer steps, or label again'
        )
    num_classes = synthetic.labels.shape[-1]
    if replay.classes is not None and replay.classes.max() >= num_classes:
        raise ValueError(
            f'labels of class {replay.classes.max()} were recorded, the set has {num_classes} '
            'classes: label again'
        )
    old = replay.made_with
    key = jax.random.wrap_key_data(jnp.asarray(replay.key), impl=old.prng)
    new = _made_with(key, view, synthetic, replay.batch_size, len(replay.logits))
    new = new._replace(prng=jax.config.jax_default_prng_impl)
    words = {
        'jax': 'version of JAX',
        'prng': 'random generator',
        'images': "checksum of the set's images",
        'shown': 'checksum of mini-batches',
    }
    if wrong := [
        f'{text}: recorded {getattr(old, field)}, found {getattr(new, field)}'
        for field, text in words.items()
        if getattr(old, field) != getattr(new, field)
    ]:
        raise ValueError(
            'the recorded labels do not belong to the images that would be shown: '
            + '; '.join(wrong)
            + f' (recorded on {old.platform}, now on {new.platform}). Label again'
        )


def _replayed(
    view: Supervision,
    own_key: PRNGKey,
    stored: tuple,
    key: PRNGKey,
    step: Array,
    synthetic: SyntheticSet,
    batch_size: int,
) -> Batch:
    del key
    batch, num_classes = view(own_key, step, synthetic, batch_size), synthetic.labels.shape[-1]
    logits, classes, rest = (
        None if x is None else x.at[step].get(mode='fill', fill_value=_fill(x)) for x in stored
    )
    if len(logits) != len(batch.images):
        raise ValueError(
            f'labels were recorded for mini-batches of {len(logits)} images, these have '
            f'{len(batch.images)}: use the batch size of the recording, or label again'
        )
    logits = logits.astype(jnp.float32)
    if classes is not None:
        dropped = jnp.broadcast_to(rest.astype(jnp.float32)[:, None], (len(logits), num_classes))
        logits = dropped.at[jnp.arange(len(logits))[:, None], classes].set(logits)
    if logits.shape[-1] != num_classes:
        raise ValueError(
            f'labels of {logits.shape[-1]} classes were recorded, the synthetic set has '
            f'{num_classes}: label again'
        )
    return batch._replace(labels=logits)


def _fill(stored: Array) -> float:
    return jnp.nan if jnp.issubdtype(stored.dtype, jnp.floating) else 0


@functools.partial(jax.jit, static_argnums=(0, 1, 2))
def _labels(
    batch_size: int,
    top_k: int | None,
    dtype: str,
    supervision: Supervision,
    synthetic: SyntheticSet,
    key: PRNGKey,
    steps: Array,
):
    """(logits [steps, b, k], classes, mean of the others [steps, b]) of a few mini-batches."""

    def one(step: Array):
        logits = supervision(key, step, synthetic, batch_size).labels
        if top_k is None:
            return logits.astype(dtype), None, None
        kept, classes = jax.lax.top_k(logits, top_k)
        dropped = jnp.ones_like(logits).at[jnp.arange(len(logits))[:, None], classes].set(0)
        rest = jnp.sum(logits * dropped, axis=-1) / (logits.shape[-1] - top_k)
        return kept.astype(dtype), classes.astype(jnp.uint16), rest.astype(dtype)

    if len(steps) == 1:  # nothing to loop over
        return jax.tree.map(lambda x: x[None], one(steps[0]))
    return jax.lax.map(one, steps)


def _made_with(
    key: PRNGKey, supervision: Supervision, synthetic: SyntheticSet, batch_size: int, num_steps: int
) -> MadeWith:
    supervision, shown = relabel.with_arrays(supervision), 0
    # Not the first alone: there, an augmentation that acts on some mini-batches may not show.
    for step in sorted({0, num_steps // 3, 2 * num_steps // 3, num_steps - 1}):
        images = _images(batch_size, supervision, synthetic, key, jnp.int32(step))
        shown = zlib.crc32(np.asarray(images).tobytes(), shown)
    return MadeWith(
        jax.__version__,
        str(jax.random.key_impl(key)),
        jax.default_backend(),
        zlib.crc32(np.asarray(synthetic.images).tobytes()),
        shown,
    )


@functools.partial(jax.jit, static_argnums=0)
def _images(
    batch_size: int, supervision: Supervision, synthetic: SyntheticSet, key: PRNGKey, step: Array
) -> Array:
    # Only images leave, so that a program with teachers and one without round them alike.
    return supervision(key, step, synthetic, batch_size).images


def _require_counts(num_classes: int, top_k: int | None, **counts: int) -> None:
    for name, value in counts.items():
        if value < 1:
            raise ValueError(f'{name} must be at least 1, got {value}')
    if top_k is not None and not 1 <= top_k < num_classes:
        raise ValueError(
            f'top_k must be between 1 and {num_classes - 1}, one less than the classes, got '
            f'{top_k}; leave it out to keep every logit'
        )
