"""Weights of torch networks, read and turned into `Variables`."""

import os
import pathlib
import pickle
from collections.abc import Mapping, Sequence

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
from flax.traverse_util import flatten_dict, unflatten_dict

from jaxdd import checks
from jaxdd.models.build import NAMES
from jaxdd.types import PyTree, Variables

LEAVES = {
    'kernel': 'weight',
    'scale': 'weight',
    'bias': 'bias',
    'mean': 'running_mean',
    'var': 'running_var',
}
WRAPPERS = ('state_dict', 'model')  # entries under which training scripts keep the weights
PREFIX = 'module.'  # of torch's DataParallel
IGNORED = 'num_batches_tracked'  # a counter that a fixed momentum never reads
LISTED = 10  # tensors of one kind that an error names


def read(path: str | os.PathLike) -> dict[str, np.ndarray]:
    """Reads the tensors of a torch checkpoint.

    An entry 'state_dict' or 'model' is unwrapped, a prefix 'module.' of names is dropped. No code
    of the file runs: a pickle that needs any is refused.

    Args:
        path: `.safetensors` (needs the package safetensors), or `.pth`, `.pt`, `.pth.tar` (need
            torch).

    Returns:
        Torch's name -> array in torch's layout; floats are float32 or wider.

    Raises:
        ValueError: another ending; a missing package; a file that is absent, damaged, needs code to
            be read, or holds something else than named tensors.
    """
    path = pathlib.Path(path)
    if not path.name.endswith(('.safetensors', '.pth', '.pt', '.pth.tar')):
        raise ValueError(
            f'cannot read weights from {path}: valid endings are .safetensors, .pth, .pt and '
            '.pth.tar'
        )
    if not path.is_file():
        raise ValueError(f'no file of weights at {path}: check the path')
    state = (
        _safetensors(path)
        if path.name.endswith('.safetensors')
        else _unwrapped(_pickled(path), path)
    )
    return {name.removeprefix(PREFIX): _widened(value) for name, value in state.items()}


def convert(
    state: Mapping[str, np.ndarray], module: nn.Module, image_shape: tuple[int, int, int]
) -> Variables:
    """Turns a torch state dict into the variables of a network of ours.

    Convolutions from [O, I, h, w] to [h, w, I, O], linear layers from [O, I] to [I, O]; everything
    else keeps its shape. 'num_batches_tracked' is ignored, and so are the layers that
    `module.unused_torch_keys()` names, where it has this method: torch's class holds them without
    reading them. Every other tensor must fit.

    Args:
        state: torch's name -> array, see `read`.
        module: a network with the method `torch_key(layer) -> str`, which maps a layer path of ours
            ('stage0_block1/layer0_conv') to torch's ('layer1.1.conv1'); a method
            `unused_torch_keys()`, where it has one, gives those of torch's layers that are ignored.
        image_shape: height, width, channels of the images it will see.

    Returns:
        The variables, float32, age and accuracy 0.

    Raises:
        ValueError: a network without torch names; or, all at once, the tensors that are missing,
            left over, of another shape or not finite, and another number of classes.
    """
    if not hasattr(module, 'torch_key'):
        raise ValueError(
            f'{type(module).__name__} has no torch names, so torch weights cannot be converted to '
            'it'
        )
    shapes = jax.eval_shape(
        module.init, jax.random.key(0), jnp.zeros((1, *image_shape), jnp.float32)
    )
    leaves = {
        path: leaf.shape for path, leaf in flatten_dict(shapes).items() if path[0] != 'moments'
    }
    names = {
        path: f'{module.torch_key("/".join(path[1:-1]))}.{LEAVES[path[-1]]}' for path in leaves
    }
    assert len(set(names.values())) == len(names), 'torch_key maps two layers to one name'
    expected = {name: _torch_shape(leaves[path]) for path, name in names.items()}
    unused = module.unused_torch_keys() if hasattr(module, 'unused_torch_keys') else ()
    state = {
        name: np.asarray(value)
        for name, value in state.items()
        if name.split('.')[-1] != IGNORED and name.rpartition('.')[0] not in unused
    }
    _check(state, expected, f'{module.torch_key("classifier")}.weight', type(module).__name__)
    converted = {path: jnp.asarray(_ours(state[name]), jnp.float32) for path, name in names.items()}
    return Variables(
        *_collections(converted), age=jnp.zeros((), jnp.int32), accuracy=jnp.zeros((), jnp.float32)
    )


def load(
    path: str | os.PathLike, name: str, image_shape: tuple[int, int, int], num_classes: int
) -> Variables:
    """Reads a torch checkpoint for a network that `by_name` builds with its defaults.

    Args:
        path: see `read`.
        name: of the network, e.g. 'resnet18_stem7'.
        image_shape: height, width, channels.
        num_classes: Y.

    Returns:
        The variables, see `convert`.

    Raises:
        ValueError: an unknown name, or what `read` and `convert` refuse.
    """
    checks.one_of('network', name, NAMES)
    network, norm = NAMES[name]
    module = network(num_classes) if norm is None else network(num_classes, norm=norm)
    return convert(read(path), module, image_shape)


def _safetensors(path: pathlib.Path) -> dict[str, np.ndarray]:
    try:
        import safetensors.numpy
    except ImportError as error:
        raise ValueError(
            f'reading {path} needs the package safetensors: pip install safetensors'
        ) from error
    try:
        return safetensors.numpy.load_file(path)
    except Exception as error:  # the parser has several kinds, which are its own
        raise ValueError(
            f'{path} is not a whole safetensors file ({error}); copy or save it again'
        ) from error


def _pickled(path: pathlib.Path) -> PyTree:
    try:
        import torch
    except ImportError as error:
        raise ValueError(
            f'reading {path} needs the package torch: pip install torch, or save the weights with '
            'safetensors where torch is installed'
        ) from error
    try:
        return torch.load(path, map_location='cpu', weights_only=True)
    except Exception as error:  # a damaged file may raise anything
        # Torch's own message advises to load without the guard,
        # so only its first sentence is passed on.
        said = (
            ' '.join(str(error).split()).split('WeightsUnpickler error: ')[-1].split('. ')[0][:160]
        )
        if isinstance(error, pickle.UnpicklingError) or 'TorchScript' in said:
            raise ValueError(
                f'{path} holds more than tensors, and reading the rest would run code of the file, '
                'which is refused; where it was made, save only the weights, '
                f'torch.save(network.state_dict(), path), or use safetensors. Torch said: {said}'
            ) from error
        raise ValueError(
            f'{path} is damaged or no torch checkpoint; copy or save it again. Torch said: '
            f'{said or type(error).__name__}'
        ) from error


def _unwrapped(content: PyTree, path: pathlib.Path) -> dict[str, np.ndarray]:
    """Finds the state dict in what a training script saved; its tensors as arrays."""
    if isinstance(content, Mapping):
        content = next(
            (content[entry] for entry in WRAPPERS if isinstance(content.get(entry), Mapping)),
            content,
        )
    if not isinstance(content, Mapping):
        raise ValueError(
            f'{path} holds a {type(content).__name__}, not named tensors; save network.state_dict()'
        )
    others = sorted(
        str(name)
        for name, value in content.items()
        if not (isinstance(name, str) and hasattr(value, 'detach'))
    )
    if others or not content:
        raise ValueError(
            f'{path} holds no state dict, neither at the top nor under {" or ".join(WRAPPERS)}: '
            f'{_listed(others) or "nothing"} among its entries; save network.state_dict()'
        )
    # Torch has no numpy counterpart of bfloat16.
    return {
        name: (value.float() if value.is_floating_point() and value.itemsize < 4 else value)
        .detach()
        .numpy()
        for name, value in content.items()
    }


def _widened(value: np.ndarray) -> np.ndarray:
    return (
        value.astype(np.float32)
        if value.dtype.itemsize < 4 and value.dtype.kind not in 'biu'
        else value
    )


def _torch_shape(shape: Sequence[int]) -> tuple[int, ...]:
    return (*shape[:-3:-1], *shape[:-2]) if len(shape) > 1 else tuple(shape)


def _ours(value: np.ndarray) -> np.ndarray:
    return value.transpose(*range(2, value.ndim), 1, 0) if value.ndim > 1 else value


def _collections(leaves: Mapping[tuple[str, ...], jax.Array]) -> tuple[PyTree, dict[str, PyTree]]:
    """Splits leaves by collection: nested parameters, and running moments keyed by layer path."""
    params = unflatten_dict(
        {path[1:]: leaf for path, leaf in leaves.items() if path[0] == 'params'}
    )
    running: dict[str, PyTree] = {}
    for path, leaf in sorted(leaves.items()):
        if path[0] == 'batch_stats':
            running.setdefault('/'.join(path[1:-1]), {})[path[-1]] = leaf
    return params, running


def _listed(names: Sequence[str]) -> str:
    more = f' and {len(names) - LISTED} more' if len(names) > LISTED else ''
    return ', '.join(names[:LISTED]) + more


def _check(
    state: Mapping[str, np.ndarray],
    expected: Mapping[str, tuple[int, ...]],
    head: str,
    network: str,
) -> None:
    """Refuses a state dict that does not fit, in one report."""
    shared = [name for name in expected if name in state]
    shaped = [name for name in shared if state[name].shape != expected[name]]
    problems = {
        'missing': [f'{name} {list(expected[name])}' for name in expected if name not in state],
        'left over': [
            f'{name} {list(state[name].shape)}' for name in state if name not in expected
        ],
        'of another shape': [
            f'{name} (got {list(state[name].shape)}, expected {list(expected[name])})'
            for name in shaped
        ],
        'not finite': [name for name in shared if not np.isfinite(state[name]).all()],
    }
    if not any(problems.values()):
        return
    classes = ''
    if head in shaped and len(state[head]) != expected[head][0]:
        classes = (
            f' The weights are for {len(state[head])} classes, the network has '
            f'{expected[head][0]}: build it with num_classes={len(state[head])}, or take weights '
            'trained on your classes.'
        )
    report = '; '.join(
        f'{len(names)} {kind}: {_listed(names)}' for kind, names in problems.items() if names
    )
    raise ValueError(
        f"the torch weights do not fit {network} (shapes in torch's layout): {report}.{classes}"
    )
