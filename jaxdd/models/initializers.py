"""Torch's default initialisation, drawn at once."""

import math

import jax
import jax.numpy as jnp
from flax.traverse_util import flatten_dict, unflatten_dict

from jaxdd.types import PRNGKey, PyTree


def torch_default(key: PRNGKey, shapes: PyTree, *, others: PyTree | None = None) -> PyTree:
    """Draws the parameters of a network as torch does; no paper of the field overrides it.

    Kernels and the biases beside them come from U(-b, b) with b = 1/sqrt(fan_in) (Flax: zero
    biases). The last axes of a kernel, as many as its bias has, are its outputs; the others
    multiply to fan_in. A kernel whose bias does not fit its last axes follows another rule: it
    counts, with its bias, among the other parameters.

    Args:
        key: one stream of numbers, cut into the parameters in the order of their sorted paths. (A
            draw per parameter is an own random program each: a ResNet-18 took 7.5 s to compile that
            way, 1.0 s this way.)
        shapes: nested dict of arrays or `jax.ShapeDtypeStruct`.
        others: the same nested dict; the parameters that are not drawn are taken from it. None =
            scales are 1 and the rest 0, as norms begin.

    Returns:
        The same nested dict of arrays, dtypes of `shapes`.
    """
    leaves = dict(sorted(flatten_dict(shapes).items()))
    shapes = {path: tuple(leaf.shape) for path, leaf in leaves.items()}
    drawn = [
        path
        for path in shapes
        if path[-1] in ('kernel', 'bias') and _follows_torch(shapes, path[:-1])
    ]
    sizes = [math.prod(shapes[path]) for path in drawn]
    numbers = jax.random.uniform(key, (sum(sizes),), jnp.float32, -1.0, 1.0)
    params, start = {}, 0
    for path, size in zip(drawn, sizes):
        values = numbers[start : start + size] * _fan_in(shapes, path[:-1]) ** -0.5
        params[path] = values.reshape(shapes[path]).astype(leaves[path].dtype)
        start += size
    others = None if others is None else flatten_dict(others)
    for path in [path for path in shapes if path not in params]:
        params[path] = (
            others[path]
            if others is not None
            else (jnp.full(shapes[path], 1.0 if path[-1] == 'scale' else 0.0, jnp.float32))
        )
    return unflatten_dict(dict(sorted(params.items())))


def _follows_torch(shapes: dict[tuple[str, ...], tuple[int, ...]], layer: tuple[str, ...]) -> bool:
    kernel, bias = shapes.get((*layer, 'kernel')), shapes.get((*layer, 'bias'), ())
    return kernel is not None and kernel[len(kernel) - len(bias) :] == bias


def _fan_in(shapes: dict[tuple[str, ...], tuple[int, ...]], layer: tuple[str, ...]) -> int:
    kernel, bias = shapes[*layer, 'kernel'], shapes.get((*layer, 'bias'), ())
    return math.prod(kernel[: len(kernel) - max(1, len(bias))])
