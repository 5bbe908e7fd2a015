"""Supervision: which images and labels a student sees.

`hard` shows the set and `with_mixing` mixes what is shown. Teachers label the clean images once
(`static`), or whatever is shown each time (`dynamic`). `replay` keeps what `dynamic` said.
"""

import functools
from collections.abc import Callable, Sequence

import jax
import jax.numpy as jnp
import numpy as np

from jaxdd import parallel, passes
from jaxdd.augment.mixing import Mix
from jaxdd.bound import Bound, bind
from jaxdd.data import epoch_indices
from jaxdd.types import Array, Augment, Batch, Model, PRNGKey, Supervision, SyntheticSet, Variables

# (key, images, labels) -> the same, as shown
View = Callable[[PRNGKey, Array, Array], tuple[Array, Array]]

# separates the mixing of what another supervision drew from that supervision's own draws
_MIX = 0x317C


def hard(augment: Augment) -> Supervision:
    """The labels that the synthetic set holds, with every image augmented (DC, DSA, DM, IDM, IDC).

    Mini-batches are those of shuffled epochs; the last of an epoch is padded, and its padding has
    weight 0.

    Args:
        augment: applied to the mini-batch, e.g. `augment.independent(...)`; `augment.identity()`
            for none.
    """
    return bind(_shown, bind(_augmented, augment))


def with_mixing(supervision: Supervision, mix: Mix) -> Supervision:
    """What another supervision shows, with images and labels mixed within the mini-batch (IDC:
    CutMix).

    Labels that are logits (`static`) are interpolated as logits, before any softmax, as INFER does.

    Args:
        supervision: e.g. `hard(...)`.
        mix: `(key, images [b, H, W, C], labels [b, Y]) -> the same`, e.g. `augment.cutmix`.
    """
    # mixed before its batch is made
    if isinstance(supervision, Bound) and supervision.function is _shown:
        return bind(_shown, bind(_mixed_view, *supervision.arguments, mix))
    return jax.tree_util.Partial(bind(_mixed, mix), with_arrays(supervision))


def static(
    models: Sequence[Model],
    variables: Sequence[Variables],
    synthetic: SyntheticSet,
    *,
    batch_size: int = 100,
) -> SyntheticSet:
    """A set whose labels are its teachers' verdict on the clean images.

    Each image has one vector for the whole training.

    l = (1 / M) sum_m f_m(x), a mean of logits, not of probabilities. Zhang et al., Breaking Class
    Barriers (INFER, ICLR 2025), https://arxiv.org/abs/2408.06927. Students see it through
    `mixed(hard(augment), mixup)`, with `losses.soft_label_kl` as their loss.

    Args:
        models: M teachers, in test mode.
        variables: their weights, in the same order.
        synthetic: images `[K, n, H, W, C]`; only the number Y of its labels is used.
        batch_size: images per forward pass.

    Returns:
        The set with logits `[K, n, Y]` as labels.

    Raises:
        ValueError: no teacher, fewer or more weights than teachers, or teachers of another number
            of classes.
    """
    models, variables = _teachers(models, variables)
    images = synthetic.images.reshape(-1, *synthetic.images.shape[2:])
    rows = []
    for start in range(0, len(images), batch_size):
        index = np.minimum(np.arange(start, start + batch_size), len(images) - 1)
        rows.append(mean_logits(models, variables, images[index]))
    logits = jnp.concatenate(rows)[: len(images)]
    _require_classes(logits, synthetic)
    return synthetic._replace(labels=logits.reshape(*synthetic.images.shape[:2], -1))


def dynamic(
    supervision: Supervision, models: Sequence[Model], variables: Sequence[Variables]
) -> jax.tree_util.Partial:
    """The images of another supervision.

    Teachers label them as they are shown, augmented and mixed.

    l = (1 / M) sum_m f_m(x), a mean of logits, without a gradient (SRe2L, RDED; INFER calls it
    Dyn).

    Args:
        supervision: e.g. `mixed(hard(...), mixup)`; its labels are not used.
        models: M teachers, in test mode.
        variables: their weights, in the same order.

    Returns:
        A supervision over the weights: other weights of the same `models` do not compile anew.

    Raises:
        ValueError: no teacher, or fewer or more weights than teachers; when traced, teachers of
            another number of classes.
    """
    models, variables = _teachers(models, variables)
    return jax.tree_util.Partial(bind(_labelled, models), with_arrays(supervision), variables)


def with_arrays(supervision: Supervision) -> jax.tree_util.Partial:
    """A supervision as a pytree, whose arrays can be the arguments of a compiled program."""
    if isinstance(supervision, jax.tree_util.Partial):
        return supervision
    return jax.tree_util.Partial(supervision)


def _shown(
    view: View, key: PRNGKey, step: Array, synthetic: SyntheticSet, batch_size: int
) -> Batch:
    k_order, k_view = jax.random.split(key)
    images = synthetic.images.reshape(-1, *synthetic.images.shape[2:])
    labels = synthetic.labels.reshape(-1, synthetic.labels.shape[-1])
    index, weights = epoch_indices(k_order, step, size=len(images), batch_size=batch_size)
    return Batch(*view(jax.random.fold_in(k_view, step), images[index], labels[index]), weights)


def _augmented(augment: Augment, key: PRNGKey, images: Array, labels: Array) -> tuple[Array, Array]:
    return augment(key, images), labels


def _mixed_view(
    view: View, mix: Mix, key: PRNGKey, images: Array, labels: Array
) -> tuple[Array, Array]:
    k_view, k_mix = jax.random.split(key)
    return mix(k_mix, *view(k_view, images, labels))


def _mixed(
    mix: Mix,
    supervision: Supervision,
    key: PRNGKey,
    step: Array,
    synthetic: SyntheticSet,
    batch_size: int,
) -> Batch:
    batch = supervision(key, step, synthetic, batch_size)
    k_mix = jax.random.fold_in(jax.random.fold_in(key, _MIX), step)
    return Batch(*mix(k_mix, batch.images, batch.labels), batch.weights)


def _labelled(
    models: tuple[Model, ...],
    supervision: Supervision,
    variables: tuple[Variables, ...],
    key: PRNGKey,
    step: Array,
    synthetic: SyntheticSet,
    batch_size: int,
) -> Batch:
    batch = supervision(key, step, synthetic, batch_size)
    logits = jax.lax.stop_gradient(mean_logits(models, variables, batch.images))
    _require_classes(logits, synthetic)
    return batch._replace(labels=logits)


@functools.partial(jax.jit, static_argnums=0)
def mean_logits(
    models: tuple[Model, ...], variables: tuple[Variables, ...], images: Array
) -> Array:
    """The mean over teachers of their logits `[N, Y]` on images `[N, H, W, C]`, compiled."""

    def each(images: Array) -> Array:
        return sum(m.apply(v, images).logits for m, v in zip(models, variables)) / len(models)

    return passes.chunked(each, parallel.shard(images))


def _teachers(models: Sequence[Model], variables: Sequence[Variables]) -> tuple[tuple, tuple]:
    if not models or len(models) != len(variables):
        raise ValueError(
            f'labels need at least one teacher and the weights of each, got {len(models)} '
            f'architectures and {len(variables)} sets of weights'
        )
    return tuple(models), tuple(variables)


def _require_classes(logits: Array, synthetic: SyntheticSet) -> None:
    if logits.shape[-1] != synthetic.labels.shape[-1]:
        raise ValueError(
            f'the teachers know {logits.shape[-1]} classes, the synthetic set has '
            f'{synthetic.labels.shape[-1]}; use teachers of the same data'
        )
