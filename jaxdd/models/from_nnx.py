"""Networks written with `flax.nnx`, as the pure functions that a `flax.linen` module has."""

import functools
import inspect
from collections.abc import Callable
from typing import Any, NamedTuple

from flax import nnx
from flax.traverse_util import flatten_dict, unflatten_dict

from jaxdd.types import Array, PRNGKey, PyTree


class Pure(NamedTuple):
    """What `models.model` asks of a module."""

    init: Callable[[PRNGKey, Array], PyTree]  # (key, images) -> {'params': ...}
    # ({'params': ...}, images, mutable=...) -> what it returns, {}
    apply: Callable[..., tuple[Any, PyTree]]


def from_nnx(construct: Callable[..., nnx.Module]) -> tuple[str, Pure]:
    """Makes pure functions of an nnx network; every weight is drawn from the key.

    Args:
        construct: called as `construct(rngs=nnx.Rngs(key))`; a class, a partial or a lambda.

    Returns:
        The network's name, and its `init` and `apply`. The parameters are nested dicts under the
        names of the attributes; places in lists are text ('0').

    Raises:
        ValueError: an instance, whose weights would be the same for every key; something that does
            not take `rngs`; or a network with state other than `nnx.Param`.
    """
    _check(construct)
    network = nnx.eval_shape(functools.partial(_made, construct, 0))
    graph, params, rest = nnx.split(network, nnx.Param, ...)
    if state := nnx.to_flat_state(rest):
        kinds = ', '.join(
            f'{"/".join(map(str, path))} ({type(leaf).__name__})' for path, leaf in state
        )
        raise ValueError(
            f'{type(network).__name__} holds state that is no nnx.Param: {kinds}. A network here '
            'is a pure function of its parameters: leave out dropout and stored rngs, and use '
            'nnx.GroupNorm or nnx.LayerNorm instead of batch norm (flax.linen has one: '
            'jaxdd.models.norms)'
        )
    paths = [path for path, _ in nnx.to_flat_state(params)]

    def init(key: PRNGKey, images: Array) -> PyTree:
        del images
        drawn = flatten_dict(nnx.to_pure_dict(nnx.split(_made(construct, key), nnx.Param, ...)[1]))
        return {
            'params': unflatten_dict({tuple(map(str, path)): leaf for path, leaf in drawn.items()})
        }

    def apply(collections: PyTree, images: Array, *, mutable: Any) -> tuple[Any, PyTree]:
        del mutable
        leaves = flatten_dict(collections['params'])
        network = nnx.merge(
            graph, unflatten_dict({path: leaves[tuple(map(str, path))] for path in paths})
        )
        return network(images), {}

    return type(network).__name__, Pure(init, apply)


def _check(construct: Any) -> None:
    kind = construct.__name__ if isinstance(construct, type) else type(construct).__name__
    valid = (
        'models.model takes an instance of a flax.linen module, or, for flax.nnx, a function that '
        'makes the network: lambda rngs: MyNet(..., rngs=rngs)'
    )
    if isinstance(construct, nnx.Module):
        raise ValueError(
            f'{kind} is a made nnx network, which has the same weights for every key; {valid}'
        )
    function, args, options = (
        (construct.func, construct.args, construct.keywords)
        if isinstance(construct, functools.partial)
        else (construct, (), {})
    )
    if not inspect.isroutine(function) and not (
        isinstance(function, type) and issubclass(function, nnx.Module)
    ):
        raise ValueError(f'{valid}; got {"the class " if isinstance(function, type) else ""}{kind}')
    if isinstance(function, type):
        function, args = function.__init__, (None, *args)  # the class itself has flax's signature
    try:
        inspect.signature(function).bind(*args, **{**options, 'rngs': None})
    except TypeError as error:
        raise ValueError(f'{valid}; this one cannot be called with rngs alone ({error})') from None


def _made(construct: Callable[..., nnx.Module], key: PRNGKey | int) -> nnx.Module:
    network = construct(rngs=nnx.Rngs(key))
    if not isinstance(network, nnx.Module):
        raise ValueError(
            f'the function given to models.model must make a flax.nnx module, it made '
            f'{type(network).__name__}'
        )
    return network
