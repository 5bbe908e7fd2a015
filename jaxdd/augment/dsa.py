"""Differentiable Siamese augmentation (DSA): one random transform for real and synthetic images.

Zhao and Bilen, ICML 2021, https://arxiv.org/abs/2102.08259. A strategy names operations, joined by
'_'. How many of them a call applies is the mode:
    'S'    one, drawn uniformly.
    'M'    all, in the order given.
    'IDC'  flip, then color, then one drawn uniformly among crop, scale and rotate, cutout last;
           each only if named. Kim et al., ICML 2022, https://arxiv.org/abs/2205.14959.
The operations and their constants are those of DSA in every mode.
"""

import collections
import functools
from collections.abc import Callable
from typing import Literal, NamedTuple

import chex
import jax
import jax.numpy as jnp

from jaxdd import checks, parallel
from jaxdd.augment import color, geometry, natural
from jaxdd.types import Array, Augment, PRNGKey, PyTree

# Digits change their meaning when mirrored (MNIST, SVHN, handwritten digits): use 'no_flip' there.
STRATEGY = {
    'default': 'color_crop_cutout_flip_scale_rotate',
    'no_flip': 'color_crop_cutout_scale_rotate',
}

Mode = Literal['S', 'M', 'IDC']


class Operation(NamedTuple):
    """One of DSA's operations."""

    draw: Callable[[PRNGKey, int, tuple[int, ...]], PyTree]  # (key, number, (H, W)) -> parameters
    apply: Callable[[Array, PyTree], Array]  # (images [m, H, W, C], parameters) -> images
    # (parameters, (H, W), dtype) -> weights, where it treats rows and columns apart
    axes: Callable[[PyTree, tuple[int, ...], jnp.dtype], geometry.Axes] | None = None

    def drawn(self, key: PRNGKey, images: Array, num_draws: int) -> PyTree:
        """Its parameters.

        Every device draws for all images: left to itself, XLA would divide the generator along with
        the images, and send its pieces about.
        """
        return parallel.replicate(self.draw(key, num_draws, images.shape[1:3]))


class Strengths(NamedTuple):
    """How far each operation may go; the published values."""

    brightness: float = 1.0  # width of the offset's range, normalised pixels
    saturation: float = 2.0  # factors in [0, saturation)
    contrast: float = 0.5  # factors in [contrast, contrast + 1)
    crop: float = 0.125  # largest shift, fraction of the image's side
    cutout: float = 0.5  # erased side, fraction of the image's side
    scale: float = 1.2  # factors in [1/scale, scale), per axis
    rotate: float = 15.0  # largest angle, degrees


def shared(
    strategy: str = STRATEGY['default'], *, mode: Mode = 'S', strengths: Strengths = Strengths()
) -> Augment:
    """Siamese augmentation: all images of a call undergo the same transform.

    The draw depends on the key alone, so two calls with one key (the real and the synthetic images
    of a class) agree whatever their batch sizes. Differentiable in the images. For a key and a
    batch per class use `jax.lax.map`, which computes one of the operations to choose from per class
    in modes 'S' and 'IDC', or `jax.vmap`, which computes all of them and selects.

    Args:
        strategy: operations joined by '_', of color, crop, cutout, flip, scale, rotate, and IDC's
            translate, a crop's shift sideways alone; '' or 'none' for no augmentation.
        mode: 'S' for one operation per call; 'M' for all; 'IDC' for flip, color and cutout always
            and one of the others (see the module).
        strengths: ranges of the draws.

    Returns:
        (key, images `[m, H, W, C]` normalised pixels) -> images, same shape and dtype.

    Raises:
        ValueError: an unknown or repeated operation, an unknown mode, or a strength out of range.

    Note:
        In mode 'S' there is no outcome without augmentation (DiffAugment in utils.py of the
        authors' repository). There, a batch of one image fails in current PyTorch; here it is a
        batch like any.
    """
    return _transform(strategy, mode, strengths, lambda images: 1)


def independent(
    strategy: str = STRATEGY['default'], *, mode: Mode = 'S', strengths: Strengths = Strengths()
) -> Augment:
    """Augmentation for training networks: each image undergoes its own transform.

    Which operation is drawn in modes 'S' and 'IDC' is still one choice per call; only the
    parameters of operations are drawn per image.

    Args:
        strategy: as for `shared`.
        mode: as for `shared`.
        strengths: as for `shared`.

    Returns:
        (key, images `[m, H, W, C]` normalised pixels) -> images, same shape and dtype.

    Raises:
        ValueError: as `shared`.
    """
    return _transform(strategy, mode, strengths, len)


def identity() -> Augment:
    """No augmentation.

    Returns:
        (key, images `[m, H, W, C]`) -> the same images.
    """
    return lambda key, images: images


def _transform(
    strategy: str, mode: Mode, strengths: Strengths, num_draws: Callable[[Array], int]
) -> Augment:
    checks.one_of('augmentation mode', mode, ('S', 'M', 'IDC'))
    _check_strengths(strengths)
    named = _select(strategy, _operations(strengths))
    if not named:
        return identity()
    if mode == 'S':
        return _one(list(named.values()), num_draws)
    always = {name: _applied(operation, num_draws) for name, operation in named.items()}
    if mode == 'M':
        return natural.then(*always.values())
    others = [
        operation for name, operation in named.items() if name not in ('flip', 'color', 'cutout')
    ]
    stages = (
        always.get('flip'),
        always.get('color'),
        _one(others, num_draws) if others else None,
        always.get('cutout'),
    )
    return natural.then(*(stage for stage in stages if stage))


def _applied(operation: Operation, num_draws: Callable[[Array], int]) -> Augment:
    def transform(key: PRNGKey, images: Array) -> Array:
        drawn = operation.drawn(key, images, num_draws(images))
        if num_draws(images) == 1:
            return operation.apply(images, drawn)
        # left to itself, XLA would send pixels about where the images do not divide
        return parallel.shard_map_rows(lambda rows: operation.apply(*rows), (images, drawn))

    return transform


def _one(operations: list[Operation], num_draws: Callable[[Array], int]) -> Augment:
    """One operation, drawn uniformly per call."""

    def transform(key: PRNGKey, images: Array) -> Array:
        chex.assert_rank(images, 4)
        k_operation, k_draw = jax.random.split(key)
        index = jax.random.randint(k_operation, (), 0, len(operations))
        choice = _chosen if parallel.on_cpu() else _chosen_of_kinds
        return choice(operations, index, num_draws)(k_draw, images)

    return transform


def _chosen(
    operations: list[Operation], index: Array, num_draws: Callable[[Array], int]
) -> Augment:
    """The operation of this number."""
    branches = [_applied(operation, num_draws) for operation in operations]
    return lambda key, images: jax.lax.switch(index, branches, key, images)


def _chosen_of_kinds(
    operations: list[Operation], index: Array, num_draws: Callable[[Array], int]
) -> Augment:
    """The operation of this number, where all of them are computed and one is selected, as under
    `jax.vmap`.

    Those that treat rows and columns apart are computed as one: they differ in two small matrices,
    and these are what is selected.
    """
    apart = [operation for operation in operations if operation.axes]
    others = [operation for operation in operations if not operation.axes]

    def moved(key: PRNGKey, images: Array) -> Array:
        branches = [
            lambda operation=operation, axes=operation.axes: axes(
                operation.drawn(key, images, num_draws(images)), images.shape[1:3], images.dtype
            )
            for operation in apart
            if operation.axes
        ]
        return geometry.resample(images, jax.lax.switch(_place(operations, apart)[index], branches))

    branches = [_applied(operation, num_draws) for operation in others]
    branches += [moved] if apart else []
    place = _place(operations, others)[index]
    return lambda key, images: jax.lax.switch(place, branches, key, images)


def _place(operations: list[Operation], some: list[Operation]) -> Array:
    """Where each operation stands among some of them; behind the last, where it does not."""
    return jnp.array([some.index(one) if one in some else len(some) for one in operations])


def _operations(strengths: Strengths) -> dict[str, Operation]:
    def shift(key: PRNGKey, num_draws: int, size: tuple[int, ...]) -> Array:
        return geometry.draw_crop(key, num_draws, size, ratio=strengths.crop)

    shifted = functools.partial(geometry.crop, ratio=strengths.crop)
    return {
        'color': Operation(
            lambda key, num_draws, size: color.draw_color(
                key,
                num_draws,
                brightness=strengths.brightness,
                saturation=strengths.saturation,
                contrast=strengths.contrast,
            ),
            color.color,
        ),
        'crop': Operation(shift, shifted, geometry.crop_axes),
        'cutout': Operation(
            functools.partial(geometry.draw_cutout, ratio=strengths.cutout),
            functools.partial(geometry.cutout, ratio=strengths.cutout),
        ),
        'flip': Operation(
            lambda key, num_draws, size: geometry.draw_flip(key, num_draws),
            geometry.flip,
            geometry.flip_axes,
        ),
        'scale': Operation(
            lambda key, num_draws, size: geometry.draw_scale(
                key, num_draws, strength=strengths.scale
            ),
            geometry.scale,
            geometry.scale_axes,
        ),
        'rotate': Operation(
            lambda key, num_draws, size: geometry.draw_rotate(
                key, num_draws, degrees=strengths.rotate
            ),
            geometry.rotate,
        ),
        'translate': Operation(
            lambda key, num_draws, size: shift(key, num_draws, size).at[:, 0].set(0),
            shifted,
            geometry.crop_axes,
        ),
    }


def _select(strategy: str, operations: dict[str, Operation]) -> dict[str, Operation]:
    """The operations that a strategy names, in its order."""
    if strategy in ('', 'none'):
        return {}
    names = strategy.split('_')
    for name, count in collections.Counter(names).items():
        checks.one_of('augmentation operation', name, operations)
        if count > 1:
            raise ValueError(
                f'augmentation strategy {strategy!r} names {name!r} {count} times; '
                'name each operation once'
            )
    return {name: operations[name] for name in names}


def _check_strengths(strengths: Strengths) -> None:
    for name in ('crop', 'cutout'):
        value = getattr(strengths, name)
        if not 0 <= value <= 1:
            raise ValueError(
                f'strength {name} is a fraction of the image side; '
                f'it must lie in [0, 1], got {value}'
            )
    if not strengths.scale >= 1:
        raise ValueError(
            f'strength scale is the largest scale factor; '
            f'it must be at least 1, got {strengths.scale}'
        )
