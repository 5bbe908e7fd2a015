"""From Flax modules to `Model` records."""

from collections.abc import Callable, Sequence
from typing import Any, Literal

import flax.linen as nn
import jax
import jax.numpy as jnp
from flax import nnx
from flax.traverse_util import flatten_dict, unflatten_dict

from jaxdd import checks
from jaxdd.models import own
from jaxdd.models.from_nnx import Pure, from_nnx
from jaxdd.models.initializers import torch_default
from jaxdd.types import Array, Model, Outputs, PRNGKey, PyTree, Variables

Draw = Callable[[PRNGKey], tuple[PyTree, PyTree]]  # key -> parameters, running moments by layer


def model(
    module: nn.Module | Callable[..., nnx.Module],
    image_shape: tuple[int, int, int],
    *,
    batch_statistics: bool = False,
    initial: Literal['torch', 'module'] = 'torch',
) -> Model:
    """Wraps a Flax module as a pair of pure functions, its batch-norm mode fixed.

    The module maps `[N, H, W, C]` to (logits `[N, Y]`, features `[N, D]`, maps `[N, P, C]`). It is
    deterministic, and its only state are the running moments of `jaxdd.models.norms`; with these it
    has the attribute `batch_statistics`. `Variables.batch_stats` and `Outputs.moments` have the
    same keys, the paths of the batch-norm layers ('stage0_block0/layer0_norm'), with `{'mean': [D],
    'var': [D]}` and `Moments` behind them. `params` are nested as Flax has them.

    Args:
        module: the architecture: an instance of a `flax.linen` module; or what makes a `flax.nnx`
            module from `rngs`, e.g. `lambda rngs: MyNet(10, rngs=rngs)`.
        image_shape: height, width, channels.
        batch_statistics: normalise by the batch (True, train mode) or by the running moments
            (False). `apply` never changes running moments; see `norms.update_batch_stats`. Without
            effect where there is no batch norm.
        initial: 'torch' draws each 'kernel' and the 'bias' beside it as torch does
            (`initial.torch_default`), as the papers' networks begin; every other parameter begins
            as the module says. 'module' leaves all to the module.

    Returns:
        The model; `init` and `apply` may be jitted, differentiated and mapped over keys or weights.

    Raises:
        ValueError: what the module refuses, at once; a module that is none of the above (see
            `own.examine`); or, when applied, images of another shape.
    """
    checks.one_of('initial', initial, ('torch', 'module'))
    name, ours = type(module).__name__, type(module).__module__.startswith('jaxdd.models.')
    if isinstance(module, nn.Module):
        own.check_call(module)
        module = own.in_mode(module, batch_statistics)
    else:
        name, module = from_nnx(module)
    draw = (
        _library_draw(module, image_shape)
        if ours and initial == 'torch'
        else _own_draw(module, image_shape, initial)
    )

    def init(key: PRNGKey) -> Variables:
        params, running = draw(key)
        return Variables(
            params, running, age=jnp.zeros((), jnp.int32), accuracy=jnp.zeros((), jnp.float32)
        )

    def run(variables: Variables, images: Array) -> tuple[Any, PyTree]:
        collections = {'params': variables.params, 'batch_stats': _nested(variables.batch_stats)}
        return module.apply(collections, images, mutable=['moments'])

    def apply(variables: Variables, images: Array) -> Outputs:
        if images.ndim != 4 or images.shape[1:] != tuple(image_shape):
            raise ValueError(
                f'this model takes images [N, {", ".join(map(str, image_shape))}] '
                f'(height, width, channels), got shape {images.shape}'
            )
        (logits, features, maps), sown = run(variables, images)
        moments = {
            path: layer['input'] for path, layer in _by_layer(sown.get('moments', {})).items()
        }
        return Outputs(logits, features, maps, moments)

    # Runs the module's own checks now rather than in the first step.
    if ours:
        jax.eval_shape(lambda: init(jax.random.key(0)))
    else:
        own.examine(name, init, run, image_shape, batch_statistics=batch_statistics)
    return Model(init, apply)


def from_params(params: PyTree) -> Variables:
    """Weights that have nothing but parameters: no running moments, no history."""
    return Variables(params, {}, jnp.int32(0), jnp.float32(0))


def of_pixels(model: Model, mean: Sequence[float], std: Sequence[float]) -> Model:
    """The same network, which is shown pixels in [0, 1] where it is given normalised images.

    Args:
        model: any network.
        mean, std: C numbers each, of pixels in [0, 1], that the images were normalised with.
    """

    def apply(variables: Variables, images: Array) -> Outputs:
        shift, scale = (jnp.asarray(v, images.dtype).reshape(1, 1, 1, -1) for v in (mean, std))
        return model.apply(variables, images * scale + shift)

    return model._replace(apply=apply)


def _by_layer(collection: PyTree) -> dict[str, PyTree]:
    """Turns a nested Flax collection into {'path/of/layer': its variables}."""
    layers: dict[str, PyTree] = {}
    for path, value in sorted(flatten_dict(collection).items()):
        layers.setdefault('/'.join(path[:-1]), {})[path[-1]] = value
    return layers


def _nested(layers: dict[str, PyTree]) -> PyTree:
    """Undoes `_by_layer`."""
    return unflatten_dict({tuple(path.split('/')): value for path, value in layers.items()})


def _library_draw(module: nn.Module, image_shape: tuple[int, int, int]) -> Draw:
    """Initial variables from the shapes alone, since DM draws a network inside every step."""

    def draw(key: PRNGKey) -> tuple[PyTree, PyTree]:
        shapes = jax.eval_shape(module.init, key, jnp.zeros((1, *image_shape), jnp.float32))
        running = {
            path: {'mean': jnp.zeros(layer['mean'].shape), 'var': jnp.ones(layer['var'].shape)}
            for path, layer in _by_layer(shapes.get('batch_stats', {})).items()
        }
        return torch_default(key, shapes['params']), running

    return draw


def _own_draw(module: nn.Module | Pure, image_shape: tuple[int, int, int], initial: str) -> Draw:
    """Initial variables by the module's own `init`, whose forward pass XLA drops from the compiled
    program."""

    @jax.jit
    def draw(key: PRNGKey) -> tuple[PyTree, PyTree]:
        drawn = nn.unbox(module.init(key, jnp.zeros((1, *image_shape), jnp.float32)))
        params = drawn.get('params', {})
        params = torch_default(key, params, others=params) if initial == 'torch' else params
        return params, _by_layer(drawn.get('batch_stats', {}))

    return draw
