"""Measures seconds per step against an eager PyTorch step in the style of the field's scripts.

Command:   python -m experiments.benchmark --workloads dm dsa --reduced --repeats 5 --steps-per-call 1 5 --json FILE

Both sides take their steps in turn in one process, from the same weights and images, without augmentation and without
drawing anything, and use every core (or the GPU, where both have one, in its own default precision). A ratio is
PyTorch's seconds over ours of the same round. FLOPs are those of the products and convolutions that the eager step
calls; the ceiling is the faster of the two sides' float32 matrix product, measured in the same run. Temporaries are
those of one device. The full sizes take about a quarter of an hour on two cores.
"""
import argparse
import dataclasses
import json
import math
import os
import pathlib
import statistics
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from importlib import metadata
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from experiments import build
from experiments.configs import PRESETS, Config
from experiments.configs.base import Network
from experiments.record import commit
from jaxdd import augment, data, distill, fit, loop, networks, parallel
from jaxdd.checks import one_of
from jaxdd.losses import soft_cross_entropy
from jaxdd.terms import regularize
from jaxdd.types import Batch, Inputs, Recipe, SyntheticSet, Variables

PACKAGES = ('jax', 'jaxlib', 'flax', 'optax', 'numpy', 'torch')
MATRIX = 2048         # side of the matrices whose product is the ceiling
SHORTEST = 0.2        # seconds that one timing lasts at least
BATCHES = 2           # real batches that steps alternate between, so that nothing is computed once for all steps


class Sizes(NamedTuple):
    """How large a workload is; the defaults are CIFAR-10's at 10 images per class."""
    per_class: int = 0         # real images per class and step
    ipc: int = 10
    num_classes: int = 10
    side: int = 32             # of the images, pixels
    width: int = 128           # of the ConvNet
    resnet_width: int = 64     # of ResNet-18's first stage


class Given(NamedTuple):
    """What both sides start from; numpy arrays."""
    images: np.ndarray                   # [K, n, H, W, C]
    labels: np.ndarray                   # [K, n, K]
    real: np.ndarray                     # [BATCHES, K, B, H, W, C]
    networks: Mapping[str, Variables]    # by role


class Ours(NamedTuple):
    """Our side: a step of the engine, its state and its feed."""
    step: loop.Step
    state: Any
    feed: loop.DeviceFeed


class Workload(NamedTuple):
    """What is compared."""
    ours: Callable[[Sizes, Given], Ours]
    theirs: Callable[[Sizes, Given, str], Any]               # (sizes, given, torch's device) -> torch_steps.Theirs
    networks: Callable[[Sizes], dict[str, Network]]          # by role
    sizes: Sizes


def main(arguments: Sequence[str] | None = None) -> int:
    """Measures, prints, and writes `--json`.

    Args:
        arguments: the command line; None is that of the process.

    Returns:
        The exit status: 0, or 2 with one line on stderr where the options make no sense or torch is missing.
    """
    options = _parser().parse_args(arguments)
    try:
        _torch_steps()
        _check(options)
        parallel.start()
        result = measure({name: _size(name, options.reduced) for name in options.workloads},
                         repeats=options.repeats, steps_per_call=options.steps_per_call)
    except ValueError as error:
        print(f'error: {error}', file=sys.stderr)
        return 2
    print('\n'.join(table(result)))
    if options.json:
        pathlib.Path(options.json).write_text(json.dumps(result, indent=2) + '\n')
    return 0


def measure(sizes: Mapping[str, Sizes], *, repeats: int, steps_per_call: Sequence[int]) -> dict:
    """Everything that the command measures, as plain JSON data.

    Args:
        sizes: of the workloads, by name.
        repeats: rounds; in each, either side is timed once.
        steps_per_call: steps in one dispatch of ours, each a program of its own.
    """
    torch_steps = _torch_steps()
    device = torch_steps.start()
    if (device == 'cuda') == parallel.on_cpu():
        raise ValueError(f'torch runs on {device} and JAX on {jax.default_backend()}, which compares machines: install '
                         'both for the same one, or set JAX_PLATFORMS=cpu or CUDA_VISIBLE_DEVICES= for both on the CPU')
    with parallel.use(parallel.mesh()):
        result = {'hardware': parallel.hardware(), 'cores': torch_steps.cores(), 'load': os.getloadavg(),
                  'theirs on': device, 'commit': commit(), 'repeats': repeats,
                  'versions': {name: metadata.version(name) for name in PACKAGES},
                  'ceiling GFLOP/s': _ceiling(torch_steps, device), 'workloads': {}}
        for name, size in sizes.items():
            print(f'{name} ...', file=sys.stderr, flush=True)
            ceiling = max(result['ceiling GFLOP/s'].values())
            result['workloads'][name] = _compared(WORKLOADS[name], size, device, ceiling, repeats, steps_per_call)
    return result


def table(result: dict) -> list[str]:
    """What `measure` found, in lines to print."""
    ceiling = result['ceiling GFLOP/s']
    lines = [f'{result["hardware"]}, {result["cores"]} cores, load {result["load"][0]:.1f}, commit {result["commit"]}, '
             f'jax {result["versions"]["jax"]}, torch {result["versions"]["torch"]} on {result["theirs on"]}',
             f'float32 matrix product, GFLOP/s: ours {ceiling["ours"]:.0f}, theirs {ceiling["theirs"]:.0f}', '',
             f'{"workload":12} {"steps/call":>10} {"theirs s":>9} {"ours s":>9} {"ratio min/median/max":>21} '
             f'{"compile s":>9} {"temp MB":>8} {"GFLOP":>7} {"theirs":>7} {"ours":>6}  of the ceiling']
    for name, found in result['workloads'].items():
        for size, ours in found['ours'].items():
            ratios = '/'.join(f'{ours["ratio"][key]:.2f}' for key in ('min', 'median', 'max'))
            lines.append(
                f'{name:12} {size:>10} {found["theirs"]["seconds per step"]:9.3f} {ours["seconds per step"]:9.3f} '
                f'{ratios:>21} {ours["compile seconds"]:9.1f} {ours["temporary bytes"] / 1e6:8.0f} '
                f'{found["FLOPs"] / 1e9:7.1f} {found["theirs"]["of the ceiling"]:7.0%} {ours["of the ceiling"]:6.0%}')
    return lines


def draw(workload: Workload, sizes: Sizes, seed: int = 0) -> Given:
    """Images, real batches and weights of a workload: noise and fresh networks."""
    generator, spec = np.random.default_rng(seed), _spec(sizes)
    shape = sizes.side, sizes.side, 3
    images = generator.normal(size=(sizes.num_classes, sizes.ipc, *shape)).astype(np.float32)
    real = generator.normal(size=(BATCHES, sizes.num_classes, sizes.per_class, *shape)).astype(np.float32)
    labels = np.repeat(np.eye(sizes.num_classes, dtype=np.float32)[:, None], sizes.ipc, axis=1)
    made = {role: jax.device_get(jax.jit(build.model(network, spec).init)(jax.random.key(seed)))
            for role, network in workload.networks(sizes).items()}
    return Given(images, labels, real, made)


def _config(name: str, plugins: tuple[str, ...], sizes: Sizes) -> Config:
    config = PRESETS[name]('cifar10', 10, plugins)
    replace = dataclasses.replace
    return replace(
        config, encoder=replace(config.encoder, width=sizes.width),
        teachers=replace(config.teachers, width=sizes.resnet_width),
        proxies=replace(config.proxies, network=replace(config.proxies.network, width=sizes.resnet_width)),
        optimizer=replace(config.optimizer, schedule='constant'))


def _networks(name: str, plugins: tuple[str, ...] = ()) -> Callable[[Sizes], dict[str, Network]]:
    def networks_of(sizes: Sizes) -> dict[str, Network]:
        config = _config(name, plugins, sizes)
        if config.teachers.networks:
            return {'encoder': Network(name=config.teachers.networks[0], width=sizes.resnet_width)}
        return {'encoder': config.encoder, **({'proxy': config.proxies.network} if plugins else {})}
    return networks_of


def _distilling(name: str, plugins: tuple[str, ...] = ()) -> Callable[[Sizes, Given], Ours]:
    """A step of a method's preset whose networks and real images are given, the same at every step."""
    def ours(sizes: Sizes, given: Given) -> Ours:
        config, spec = _config(name, plugins, sizes), _spec(sizes)
        [method] = build.made(config, data.Dataset(spec, None, None))
        method = regularize(method, {term: (getattr(config.regularizers, term).weight, made)
                                     for term, made in build.terms(config).items()},
                            models={'proxy': build.model(config.proxies.network, spec)} if plugins else None)
        method = method._replace(networks=networks.supplied(), augment=augment.identity())
        optimizer = build.optimizer(config)
        initial = SyntheticSet(jnp.array(given.images), jnp.array(given.labels))
        state = distill.init_state(jax.random.key(0), method, optimizer, initial)
        inputs = Inputs(real=given.real, pretrained=dict(given.networks))
        return Ours(distill.make_step(method, optimizer), state, jax.tree_util.Partial(_in_turn, inputs))
    return ours


def _in_turn(inputs: Inputs, key: jax.Array, step: jax.Array) -> Inputs:
    del key
    real = jnp.asarray(inputs.real)
    return inputs._replace(real=jax.lax.dynamic_index_in_dim(real, step % BATCHES, keepdims=False))


def _training(sizes: Sizes, given: Given) -> Ours:
    model = build.model(_networks('dm')(sizes)['encoder'], _spec(sizes), batch_statistics=True)
    recipe = Recipe(fit.sgd(**_torch_steps().STUDENT), 1, sizes.num_classes * sizes.ipc, soft_cross_entropy)
    variables = jax.tree.map(jnp.array, given.networks['encoder'])
    state = fit.FitState(jnp.zeros((), jnp.int32), jax.random.key(0), variables,
                         recipe.optimizer.init(variables.params))
    images, labels = (x.reshape(-1, *x.shape[2:]) for x in (given.images, given.labels))
    batch = Batch(images, labels, np.ones(len(images), images.dtype))
    return Ours(fit.make_fit_step(model, recipe), state, jax.tree_util.Partial(_always, batch))


def _always(batch: Batch, key: jax.Array, step: jax.Array) -> Batch:
    del key, step
    return jax.tree.map(jnp.asarray, batch)


def _theirs(name: str, method: str = 'dm', plugins: tuple[str, ...] = ()) -> Callable[[Sizes, Given, str], Any]:
    """The builder `name` of `torch_steps`, under a method's preset."""
    def theirs(sizes: Sizes, given: Given, device: str):
        return getattr(_torch_steps(), name)(sizes, given, _config(method, plugins, sizes), device)
    return theirs


IID = ('cc', 'cm')
WORKLOADS = {
    'dm': Workload(_distilling('dm'), _theirs('made_dm'), _networks('dm'), Sizes(per_class=256)),
    'dm-cc-cm': Workload(_distilling('dm', IID), _theirs('made_dm', 'dm', IID), _networks('dm', IID),
                         Sizes(per_class=256)),
    'dsa': Workload(_distilling('dsa'), _theirs('made_dsa', 'dsa'), _networks('dsa'), Sizes(per_class=64)),
    'sre2l': Workload(_distilling('sre2l'), _theirs('made_sre2l', 'sre2l'), _networks('sre2l'), Sizes()),
    'evaluation': Workload(_training, _theirs('made_student'), _networks('dm'), Sizes())}


def _spec(sizes: Sizes) -> data.Spec:
    return data.spec('cifar10')._replace(image_shape=(sizes.side, sizes.side, 3), num_classes=sizes.num_classes)


def _size(name: str, reduced: bool) -> Sizes:
    """The full size, or a quarter of the real images; of the synthetic ones where there are no real ones."""
    sizes = WORKLOADS[name].sizes
    if not reduced:
        return sizes
    return sizes._replace(per_class=sizes.per_class // 4) if sizes.per_class else sizes._replace(ipc=sizes.ipc // 4)


def _compared(workload: Workload, sizes: Sizes, device: str, ceiling: float, repeats: int,
              steps_per_call: Sequence[int]) -> dict:
    """Both sides of a workload, warmed up, then in turn."""
    given = draw(workload, sizes)
    theirs, programs = workload.theirs(sizes, given, device), {}
    first = []
    flops = _torch_steps().flops(lambda: first.append(theirs.step(0)))
    for size in steps_per_call:
        programs[size] = _program(workload.ours(sizes, given), size)
    loss = {'theirs': first[0], **{f'ours, {size}': program[0]() for size, program in programs.items()}}
    sides = {'theirs': theirs.step, **{size: lambda i, run=run: run() for size, (run, _) in programs.items()}}
    seconds = _in_rounds(sides, {size: size for size in programs}, repeats)
    eager = seconds.pop('theirs')

    def side(times: list[float]) -> dict:
        median = statistics.median(times)
        return {'seconds per step': median, 'all': times, 'of the ceiling': flops / median / 1e9 / ceiling}

    return {'sizes': sizes._asdict(), 'FLOPs': flops, 'loss of the first step': loss, 'theirs': side(eager),
            'ours': {str(size): {**side(times), **programs[size][1],
                                 'ratio': _spread([a / b for a, b in zip(eager, times)])}
                     for size, times in seconds.items()}}


def _in_rounds(sides: dict, steps: Mapping[Any, int], repeats: int) -> dict[Any, list[float]]:
    """Seconds per step of every side in every round; a timing is as many calls as last `SHORTEST`."""
    calls = {name: max(1, math.ceil(SHORTEST / _seconds(side, 1))) for name, side in sides.items()}
    found: dict[Any, list[float]] = {name: [] for name in sides}
    for _ in range(repeats):
        for name, side in sides.items():
            found[name].append(_seconds(side, calls[name]) / steps.get(name, 1))
    return found


def _seconds(side: Callable[[int], float], calls: int) -> float:
    began = time.perf_counter()
    for i in range(calls):
        side(i)
    return (time.perf_counter() - began) / calls


def _program(ours: Ours, size: int) -> tuple[Callable[[], float], dict]:
    """Compiles `size` steps of ours; a function that takes them and returns the first one's loss, and the program."""
    state = parallel.replicate(jax.tree.map(_owned, ours.state))
    feed, count = parallel.replicate(ours.feed), jnp.int32(size)
    began = time.perf_counter()
    compiled = loop.advance.lower(ours.step, size, state, feed, count).compile()
    facts = {'compile seconds': time.perf_counter() - began,
             'temporary bytes': compiled.memory_analysis().temp_size_in_bytes,
             'FLOPs by XLA, loop bodies once': (compiled.cost_analysis() or {}).get('flops')}

    def run() -> float:
        nonlocal state
        state, metrics = jax.block_until_ready(compiled(state, feed, count))
        return float(metrics['loss/total' if 'loss/total' in metrics else 'loss/train'][0])
    return run, facts


def _owned(leaf: jax.Array) -> jax.Array:
    return leaf if jnp.issubdtype(leaf.dtype, jax.dtypes.prng_key) else jnp.array(leaf, leaf.dtype)


def _ceiling(torch_steps, device: str) -> dict[str, float]:
    """GFLOP/s of a large float32 matrix product, on either side: the best of five."""
    a = parallel.replicate(jnp.ones((MATRIX, MATRIX)))
    product = jax.jit(lambda a: parallel.split(a) @ a)
    eager, best = torch_steps.product(MATRIX, device), {}
    for name, once in {'ours': lambda i: jax.block_until_ready(product(a)), 'theirs': lambda i: eager()}.items():
        best[name] = 2e-9 * MATRIX ** 3 / min(_seconds(once, 1) for _ in range(6))
    return best


def _spread(values: Sequence[float]) -> dict[str, float]:
    return {'min': min(values), 'median': statistics.median(values), 'max': max(values)}


def _torch_steps():
    try:
        from experiments import torch_steps
    except ModuleNotFoundError as error:
        if error.name != 'torch':
            raise
        raise ValueError("the benchmark compares with PyTorch, which is missing: pip install -e '.[torch]'") from error
    return torch_steps


def _check(options: argparse.Namespace) -> None:
    for name in options.workloads:
        one_of('workload', name, WORKLOADS)
    for option in ('repeats', 'steps_per_call'):
        if (least := np.min(getattr(options, option))) < 1:
            raise ValueError(f'--{option.replace("_", "-")} must be 1 or more, got {least}')


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog='python -m experiments.benchmark', description=__doc__.partition('\n')[0],
                                     formatter_class=argparse.ArgumentDefaultsHelpFormatter)
    parser.add_argument('--workloads', nargs='+', default=list(WORKLOADS), metavar='NAME', help=', '.join(WORKLOADS))
    parser.add_argument('--reduced', action='store_true', help='a quarter of the images')
    parser.add_argument('--repeats', type=int, default=5, help='rounds in which either side is timed once')
    parser.add_argument('--steps-per-call', type=int, nargs='+', default=[1, 5], help='steps in one dispatch of ours')
    parser.add_argument('--json', help='also write what was measured to this file')
    return parser


if __name__ == '__main__':
    sys.exit(main())
