"""Measures seconds per step against an eager PyTorch step in the style of the field's scripts.

Command:   python -m experiments.speed.benchmark --workloads dm dsa --reduced --repeats 5 \\
               --steps-per-call 1 5 --json FILE

Both sides take their steps in turn in one process, from the same weights and images, and use every
core (or the GPU, where both have one, in its own default precision). Each gathers its real images
from a resident set, draws its own augmentation and, in DM, its own new network, as the preset says;
`--plain` times the same steps without any draw. The networks of the other methods are given:
neither side trains them. A ratio is PyTorch's seconds over ours of the same round. FLOPs are those
of the products and convolutions that the eager step calls; the ceiling is the faster of the two
sides' float32 matrix product, measured in the same run. Compiling takes what it says: no cache is
read.
"""

import argparse
import contextlib
import math
import os
import resource
import statistics
import sys
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from importlib import metadata
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax.experimental.compilation_cache import compilation_cache

from experiments.speed import report, workloads
from experiments.speed.workloads import WORKLOADS, Ours, Sizes, Workload, eager
from experiments.stages.outputs import COMMIT
from jaxdd import parallel
from jaxdd.checks import one_of
from jaxdd.engine import loop
from jaxdd.storage import records

PACKAGES = ('jax', 'jaxlib', 'flax', 'optax', 'numpy', 'torch')
MATRIX = 2048  # side of the matrices whose product is the ceiling
SHORTEST = 0.2  # seconds that one timing lasts at least


def main(arguments: Sequence[str] | None = None) -> int:
    """Measures, prints, and writes what is asked for.

    Args:
        arguments: the command line; None is that of the process.

    Returns:
        The exit status: 0, or 2 with one line on stderr where the options make no sense or torch is
        missing.
    """
    options = _parser().parse_args(arguments)
    try:
        eager('meter')
        _check(options)
        parallel.start()
        result = measure(
            {name: workloads.size(name, options.reduced) for name in options.workloads},
            repeats=options.repeats,
            steps_per_call=options.steps_per_call,
            plain=options.plain,
        )
    except ValueError as error:
        print(f'error: {error}', file=sys.stderr)
        return 2
    if options.json:
        records.save(options.json, result)
    report.show(result, options)
    return 0


def measure(
    sizes: Mapping[str, Sizes], *, repeats: int, steps_per_call: Sequence[int], plain: bool = False
) -> dict:
    """Everything that the command measures, as plain JSON data.

    Args:
        sizes: of the workloads, by name.
        repeats: rounds; in each, either side is timed once.
        steps_per_call: steps in one dispatch of ours, each a program of its own.
        plain: nothing is drawn within a step.
    """
    meter = eager('meter')
    device = meter.start()
    if (device == 'cuda') == parallel.on_cpu():
        raise ValueError(
            f'torch runs on {device} and JAX on {jax.default_backend()}, which compares machines: '
            'install both for the same one, or set JAX_PLATFORMS=cpu or CUDA_VISIBLE_DEVICES= for '
            'both on the CPU'
        )
    with parallel.use(parallel.mesh()), _without_cache():
        result = {
            'hardware': parallel.hardware(),
            'cores': meter.cores(),
            'load': os.getloadavg(),
            'theirs on': device,
            'commit': COMMIT,
            'repeats': repeats,
            'plain': plain,
            'versions': {name: metadata.version(name) for name in PACKAGES},
            'ceiling GFLOP/s': _ceiling(device),
            'workloads': {},
        }
        for name, size in sizes.items():
            print(f'{name} ...', file=sys.stderr, flush=True)
            ceiling = max(result['ceiling GFLOP/s'].values())
            found = _compared(
                WORKLOADS[name], size, device, ceiling, repeats, steps_per_call, plain
            )
            result['workloads'][name] = found
    # Of both sides and of all workloads: the most that the process ever held.
    result['peak bytes of the process'] = 1024 * resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return result


@contextlib.contextmanager
def _without_cache() -> Iterator[None]:
    """No program is read from the disk, so that compiling takes what it takes."""
    before = jax.config.jax_enable_compilation_cache
    jax.config.update('jax_enable_compilation_cache', False)
    compilation_cache.reset_cache()  # whether there is one is otherwise asked only once per process
    try:
        yield
    finally:
        jax.config.update('jax_enable_compilation_cache', before)
        compilation_cache.reset_cache()


def _compared(
    workload: Workload,
    sizes: Sizes,
    device: str,
    ceiling: float,
    repeats: int,
    steps_per_call: Sequence[int],
    plain: bool,
) -> dict:
    """Both sides of a workload, warmed up, then in turn."""
    meter, given = eager('meter'), workloads.draw(workload, sizes, plain=plain)
    theirs, programs = workloads.theirs(workload, sizes, given, device, plain=plain), {}
    first: list[float] = []
    flops = meter.flops(lambda: first.append(theirs.step(0)))
    meter.peak(device)
    for size in steps_per_call:
        programs[size] = _program(workloads.ours(workload, sizes, given, plain=plain), size)
    loss = {
        'theirs': first[0],
        **{f'ours, {size}': program[0]() for size, program in programs.items()},
    }
    sides = {
        'theirs': theirs.step,
        **{size: lambda i, run=run: run() for size, (run, _) in programs.items()},
    }
    seconds = _in_rounds(sides, {size: size for size in programs}, repeats)
    eager_seconds = seconds.pop('theirs')

    def side(times: list[float]) -> dict:
        median = statistics.median(times)
        return {
            'seconds per step': median,
            'all': times,
            'of the ceiling': flops / median / 1e9 / ceiling,
        }

    return {
        'sizes': sizes._asdict(),
        'FLOPs': flops,
        'loss of the first step': loss,
        'theirs': {**side(eager_seconds), 'peak bytes': meter.peak(device)},
        'ours': {
            str(size): {
                **side(times),
                **programs[size][1],
                'ratio': _spread([a / b for a, b in zip(eager_seconds, times)]),
            }
            for size, times in seconds.items()
        },
    }


def _in_rounds(sides: dict, steps: Mapping[Any, int], repeats: int) -> dict[Any, list[float]]:
    """Seconds per step of every side in every round;
    a timing is as many calls as last `SHORTEST`."""
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
    """Compiles `size` steps of ours; a function that takes them and returns the first one's loss,
    and the program."""
    states = [parallel.replicate(jax.tree.map(_owned, state)) for state in ours.states]
    feed, count = parallel.replicate(ours.feed), jnp.int32(size)
    began = time.perf_counter()
    lowered = loop.run_steps.lower(ours.step, size, states[0], feed, count)
    traced = time.perf_counter()
    compiled = lowered.compile()
    memory = compiled.memory_analysis()
    facts = {
        'compile seconds': time.perf_counter() - began,
        'of these tracing': traced - began,
        'temporary bytes': memory.temp_size_in_bytes,
        'argument bytes': memory.argument_size_in_bytes,
        # all three of one device, by the compiler's account
        'peak bytes': memory.peak_memory_in_bytes,
        'FLOPs by XLA, one device, loop bodies once': (compiled.cost_analysis() or {}).get('flops'),
    }

    def run() -> float:
        losses = []
        for i, state in enumerate(states):
            states[i], metrics = jax.block_until_ready(compiled(state, feed, count))
            losses.append(
                float(metrics['loss/total' if 'loss/total' in metrics else 'loss/train'][0])
            )
        return sum(losses) / len(losses)

    return run, facts


def _owned(leaf: jax.Array) -> jax.Array:
    return leaf if jnp.issubdtype(leaf.dtype, jax.dtypes.prng_key) else jnp.array(leaf, leaf.dtype)


def _ceiling(device: str) -> dict[str, float]:
    """GFLOP/s of a large float32 matrix product, on either side: the best of five."""
    a = parallel.replicate(jnp.ones((MATRIX, MATRIX)))
    product = jax.jit(lambda a: parallel.shard(a) @ a)
    theirs, best = eager('meter').product(MATRIX, device), {}
    for name, once in {
        'ours': lambda i: jax.block_until_ready(product(a)),
        'theirs': lambda i: theirs(),
    }.items():
        best[name] = 2e-9 * MATRIX**3 / min(_seconds(once, 1) for _ in range(6))
    return best


def _spread(values: Sequence[float]) -> dict[str, float]:
    return {'min': min(values), 'median': statistics.median(values), 'max': max(values)}


def _check(options: argparse.Namespace) -> None:
    for name in options.workloads:
        one_of('workload', name, WORKLOADS)
    for option in ('repeats', 'steps_per_call'):
        if (least := np.min(getattr(options, option))) < 1:
            raise ValueError(f'--{option.replace("_", "-")} must be 1 or more, got {least}')


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog='python -m experiments.speed.benchmark',
        description=__doc__.partition('\n')[0],
        formatter_class=argparse.ArgumentDefaultsHelpFormatter,
    )
    parser.add_argument(
        '--workloads', nargs='+', default=list(WORKLOADS), metavar='NAME', help=', '.join(WORKLOADS)
    )
    parser.add_argument('--reduced', action='store_true', help='a quarter of the images')
    parser.add_argument(
        '--plain', action='store_true', help='without augmentation, given networks and real images'
    )
    parser.add_argument(
        '--repeats', type=int, default=5, help='rounds in which either side is timed once'
    )
    parser.add_argument(
        '--steps-per-call',
        type=int,
        nargs='+',
        default=[1, 5],
        help='steps in one dispatch of ours',
    )
    parser.add_argument('--json', metavar='FILE', help='also write what was measured to this file')
    report.add_outputs(parser)
    return parser


if __name__ == '__main__':
    sys.exit(main())
