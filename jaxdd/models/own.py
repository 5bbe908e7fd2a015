"""What a user's own network must be; everything else is refused when the model is built."""

import contextlib
import inspect
from collections.abc import Callable, Iterator
from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp
from flax import errors
from flax.traverse_util import flatten_dict

from jaxdd.models import norms
from jaxdd.types import Array, PRNGKey, PyTree, Variables

RANKS = {'logits': 2, 'features': 2, 'maps': 3}
RETURNS = (
    'a network returns (logits [N, Y], features [N, D], maps [N, P, C]): the scores of Y classes, '
    'what the last layer reads, and the last spatial map with its P positions in one axis (without '
    'a map: features[:, None])'
)
PURE = (
    'a network here is a pure function of its parameters and of the running moments of batch norm'
)
BATCH_NORM = (
    'give the module the attribute `batch_statistics: bool = False` and use '
    "jaxdd.models.norms.norm('batch', batch_statistics=self.batch_statistics, name=...), "
    'or a norm without running moments (nn.GroupNorm, nn.LayerNorm)'
)


def in_mode(module: nn.Module, batch_statistics: bool) -> nn.Module:
    """Sets the batch-norm mode of a module that has one.

    A module without the attribute stays as it is.
    """
    has_mode = 'batch_statistics' in type(module).__dataclass_fields__
    return module.clone(batch_statistics=batch_statistics) if has_mode else module


def check_call(module: nn.Module) -> None:
    """Refuses a module that cannot be called with images alone.

    Raises:
        ValueError: names the arguments without a default.
    """
    try:
        inspect.signature(module.__call__).bind(None)
    except TypeError as error:
        raise ValueError(
            f'{type(module).__name__} must be callable with images [N, H, W, C] alone ({error}); '
            'give other arguments defaults, or make them attributes of the module'
        ) from None


def examine(
    name: str,
    init: Callable[[PRNGKey], Variables],
    run: Callable[[Variables, Array], tuple[Any, PyTree]],
    image_shape: tuple[int, int, int],
    *,
    batch_statistics: bool,
) -> None:
    """Traces a network once, computing nothing, and refuses what would fail or mislead later.

    Args:
        name: of the network, for messages.
        init: draws its variables.
        run: `(variables, images [N, H, W, C])` -> what the module returns, and {'moments': what its
            norms sowed}.
        image_shape: height, width, channels.
        batch_statistics: the mode that every batch norm must have.

    Raises:
        ValueError: names the fault and what to do instead.
    """
    images = jax.ShapeDtypeStruct((3, *image_shape), jnp.float32)
    with _watched(name, batch_statistics), _explained(name):
        variables = jax.eval_shape(lambda: init(jax.random.key(0)))
        _check_params(name, variables.params)
        outputs, sown = jax.eval_shape(run, variables, images)
    _check_outputs(name, outputs, num_images=3)
    _check_moments(name, variables.batch_stats, sown.get('moments', {}))


@contextlib.contextmanager
def _watched(name: str, batch_statistics: bool) -> Iterator[None]:
    """Refuses batch norms that the engine cannot move, or whose mode is not the one asked for."""

    def look(call, args, kwargs, context):
        layer, where = context.module, '/'.join(context.module.path) or 'itself'
        if isinstance(layer, nn.BatchNorm):
            raise ValueError(
                f'{name} has an nn.BatchNorm ({where}), whose running averages change inside the '
                f'forward pass; {PURE}: {BATCH_NORM}'
            )
        if isinstance(layer, norms.BatchNorm) and layer.batch_statistics != batch_statistics:
            raise ValueError(
                f'the batch norm {where} of {name} has batch_statistics={layer.batch_statistics}, '
                f'but models.model was asked for {batch_statistics}: {BATCH_NORM}'
            )
        return call(*args, **kwargs)

    with nn.intercept_methods(look):
        yield


@contextlib.contextmanager
def _explained(name: str) -> Iterator[None]:
    """Turns Flax's errors about randomness, shapes and state into what to do about them."""
    try:
        yield
    except errors.InvalidRngError as error:
        raise ValueError(
            f'{name} draws random numbers when it is applied (nn.Dropout?), but a network here '
            'gives the same outputs for the same images: make the layer deterministic '
            '(nn.Dropout(rate, deterministic=True)) or leave it out; augmentation is the place for '
            f'noise. Flax: {error}'
        ) from error
    except errors.ScopeParamShapeError as error:
        raise ValueError(
            f'the parameters of {name} have other shapes for other numbers of images; they may '
            f'depend on the shape of one image alone. Flax: {error}'
        ) from error
    except (
        errors.ModifyScopeVariableError,
        errors.ScopeCollectionNotFound,
        errors.ScopeVariableNotFoundError,
    ) as error:
        raise ValueError(
            f'{name} keeps state besides its parameters; {PURE}: leave that state out. Flax: '
            f'{error}'
        ) from error


def _check_params(name: str, params: PyTree) -> None:
    if not params:
        raise ValueError(
            f'{name} has no parameters, so there is nothing to train; make them with self.param or '
            'layers'
        )
    for path, leaf in flatten_dict(params).items():
        if not jnp.issubdtype(leaf.dtype, jnp.floating):
            raise ValueError(
                f'the parameter {"/".join(path)} of {name} is {leaf.dtype}; parameters are '
                'trained, so they must be floats: make constants inside __call__, or attributes of '
                'the module'
            )


def _check_outputs(name: str, outputs: Any, num_images: int) -> None:
    shapes = str(jax.tree.map(lambda leaf: list(leaf.shape), outputs))
    if (
        not isinstance(outputs, (tuple, list))
        or len(outputs) != 3
        or not all(hasattr(o, 'ndim') for o in outputs)
    ):
        raise ValueError(f'{name} returned {shapes} for {num_images} images; {RETURNS}')
    for (kind, rank), output in zip(RANKS.items(), outputs):
        if output.ndim != rank or len(output.shape) and output.shape[0] != num_images:
            raise ValueError(
                f'the {kind} of {name} have shape {list(output.shape)} for {num_images} images; '
                f'{RETURNS}'
            )
        if not jnp.issubdtype(output.dtype, jnp.floating):
            raise ValueError(f'the {kind} of {name} are {output.dtype}; they must be floats')


def _check_moments(name: str, batch_stats: PyTree, sown: PyTree) -> None:
    layers = {'/'.join(path[:-1]) for path in flatten_dict(sown)}
    if layers != set(batch_stats) or any(
        set(layer) != {'mean', 'var'} for layer in batch_stats.values()
    ):
        raise ValueError(
            f'{name} keeps running moments in {sorted(batch_stats)}, but reports the moments of a '
            f'batch in {sorted(layers)}; both must be the same layers: {BATCH_NORM}'
        )
