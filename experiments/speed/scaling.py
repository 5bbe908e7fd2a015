"""Scaling on paper: what a step of every method sends, and how many devices that pays for.

    python -m experiments.speed.scaling [--devices 8 16] [--steps dm idc] [--markdown]

compiles, and does not run, the step of each preset (CIFAR-10, 10 images per class) over simulated
CPU devices, traced as on accelerators (`parallel.lowering_for`), so nothing is chunked for a CPU's
cache, augmentations are vmapped and convolutions are XLA's own. XLA:CPU partitions it as it would
elsewhere; other back ends may merge or overlap the collectives, which makes this count the dearer
one. `collectives` counts, per step, in a dispatch of 50.

The model: compute = FLOPs / (N x peak x 0.4); a collective = start + hops x latency + bytes sent /
bandwidth on one ring, which sends 2 (N - 1) / N of the array in 2 (N - 1) hops for an all-reduce
and half of both for the others.

Vendors' figures. TPU v4: 275 TFLOP/s bf16 and 1.2 TB/s per chip
(https://cloud.google.com/tpu/docs/v4); a v4-32 is 16 chips in a 2x2x4 mesh (tori begin at multiples
of 4), 6 links of 50 GB/s per chip, of which one ring uses two. H100 SXM: 989 TFLOP/s dense bf16,
3.35 TB/s, NVLink 450 GB/s per direction. Latency: 1 us per hop of a TPU v3 ring
(https://astra-sim.github.io/astra-sim-docs/validation/hardware/tpu-validation.html); 6.6 us and 0.6
us per hop on NVLink in NCCL's own model (https://github.com/NVIDIA/nccl/issues/1334). Nothing was
measured on either machine.
"""

import argparse
import math
import sys
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from experiments.configs import Config
from experiments.methods import METHODS
from experiments.speed.collectives import Found, compiled
from experiments.stages import build, jobs, recovering, students
from jaxdd import data, parallel
from jaxdd.engine import distill, evaluate, fit, loop
from jaxdd.networks import pools, segments
from jaxdd.reporting import tables
from jaxdd.terms import regularize
from jaxdd.types import Inputs, Method, Model, Recipe, Source, SyntheticSet

EFFICIENCY, IPC = 0.4, 10
SIZE, SIZES = 50_000, {'tiny_imagenet': 100_000}  # training images, by name where they differ
PASSES = {'all-reduce': 2}  # around the ring, else 1
Step = tuple[loop.Step, Any, loop.DeviceFeed]  # of the engine, with its state and its feed


class Machine(NamedTuple):
    """Devices of one kind: FLOP/s, bytes/s and seconds, of one device."""

    name: str
    count: int
    peak: float
    memory: float
    bandwidth: float
    start: float
    hop: float


MACHINES = (
    Machine('TPU v4-32', 16, 275e12, 1.2e12, 100e9, 0.0, 1e-6),
    Machine('8 x H100', 8, 989e12, 3.35e12, 450e9, 6.6e-6, 0.6e-6),
)
IMAGES = 'real and synthetic images'
DIVIDED = {
    'dm': IMAGES,
    'dm-cc-cm': IMAGES,
    'dm-cmi': IMAGES,
    'dsa': 'real images, mini-batches',
    'idm': IMAGES + ', mini-batches',
    'idc': IMAGES + ', mini-batches',
    'mtt': 'synthetic images',
    'sre2l': 'chunks',
    'infer': 'chunks',
    'evaluation': 'students',
}


def distilling(config: Config, spec: data.Spec | None = None) -> Step:
    """One step of a method's preset; INFER with its first teacher."""
    spec = spec or data.spec(config.dataset)
    size = SIZES.get(spec.name, SIZE)
    labels = np.arange(size, dtype=np.int32) % spec.num_classes
    dataset = data.Dataset(
        spec, Source(np.zeros((size, *spec.image_shape), np.uint8), labels), None
    )
    method, roles = config.entry.build(config, dataset)[0], {}
    if jobs.needs_proxy(config):
        roles = {'proxy': build.model(config.proxies.network, spec)}
    weighed = {
        name: (getattr(config.regularizers, name).weight or 1.0, term)
        for name, term in build.terms(config).items()
    }
    method = regularize(method, weighed, models=roles)
    if config.recovers:
        return _recovering(config, spec, method)
    feed = _feed(config, dataset, method)
    for role, model in roles.items():
        feed = pools.attach(feed, role, [_weights(model)])
    initial = _set(spec, config.entry.real_per_class(config))
    optimizer = config.entry.stage.optimizer(config)
    state = distill.init_state(jax.random.key(0), method, optimizer, initial)
    return distill.make_step(method, optimizer), state, feed


def _feed(config: Config, dataset: data.Dataset, method: Method) -> loop.DeviceFeed:
    """Real images where the method looks at them, else two epochs of an expert."""
    if jobs.reads_real(config):
        return config.entry.feed(config, dataset)
    params = _weights(method.models['encoder']).params
    expert = jax.tree.map(lambda leaf: np.zeros((2, *leaf.shape), leaf.dtype), params)
    nothing = jax.tree_util.Partial(lambda key, step: Inputs())
    return segments.attach(nothing, [expert], segments.Starts(0, 1, 1), 1)


def _recovering(config: Config, spec: data.Spec, method: Method) -> Step:
    """The chunks that an accelerator recovers as one program."""
    images, optimizer = jobs.real_start(config, spec), build.optimizer(config)
    classes = min(config.classes_per_chunk or spec.num_classes, spec.num_classes)
    chunks = -(-spec.num_classes // classes) * (images // config.recover.images_per_chunk)
    count = min(recovering.together(config, spec), max(1, chunks))
    initial = _set(spec, config.recover.images_per_chunk, classes)
    states = [
        distill.init_state(jax.random.key(i), method, optimizer, initial) for i in range(count)
    ]
    feed = pools.attach(
        jax.tree_util.Partial(lambda key, step: Inputs()),
        'encoder',
        [_weights(method.models['encoder'])],
    )
    state = loop.stack_states(jax.tree.map(lambda *leaves: jnp.stack(leaves), *states))
    return loop.vmap_step(distill.make_step(method, optimizer)), state, loop.broadcast_feed(feed)


def evaluating(config: Config, spec: data.Spec | None = None) -> Step:
    """One step of all students of an architecture, as one program."""
    e, spec = config.evaluation, spec or data.spec(config.dataset)
    model, recipe = (
        students.architectures(e, spec)[0][e.networks[0]],
        students.recipe(e, spec.num_classes * config.ipc),
    )
    feed = evaluate.student_batches(
        _set(spec, config.ipc), students.student_supervision(e, spec), batch_size=recipe.batch_size
    )
    states = jax.vmap(lambda key: fit.init_fit(key, model, recipe))(
        jax.random.split(jax.random.key(0), e.num_seeds)
    )
    return (
        loop.vmap_step(fit.make_fit_step(model, recipe)),
        loop.stack_states(states),
        loop.broadcast_feed(feed),
    )


def training(model: Model, recipe: Recipe, spec: data.Spec) -> Step:
    """One step of networks that are trained on real images, of which two batches are enough."""
    size = 2 * recipe.batch_size
    labels = np.arange(size, dtype=np.int32) % spec.num_classes
    source = Source(np.zeros((size, *spec.image_shape), np.uint8), labels)
    feed = data.epochs(source, spec, batch_size=recipe.batch_size)
    state = fit.init_fit(jax.random.key(0), model, recipe)
    return fit.make_fit_step(model, recipe), state, feed


def by_name(name: str) -> Step:
    """One step of a preset, or of the students."""
    return (evaluating if name == 'evaluation' else distilling)(preset(name))


def preset(name: str) -> Config:
    """A step's configuration by its name in the table: method-plugin-plugin."""
    method, *plugins = ('dm' if name == 'evaluation' else name).split('-')
    return METHODS[method].published('cifar10', IPC, tuple(plugins))


def measure(name: str, config: Config, count: int) -> Found:
    """Compiles one step over simulated devices, as an accelerator would be given it, and counts."""
    with parallel.lowering_for('accelerator'):
        return compiled(*(evaluating if name == 'evaluation' else distilling)(config), count)


def sent(found: Found, count: int | None = None) -> float:
    """Bytes that one device sends per step on a ring."""
    n = count or found.count
    return sum(PASSES.get(c.kind, 1) * (n - 1) / n * c.size * c.times for c in found.collectives)


def communication(machine: Machine, found: Found, count: int) -> float:
    """Seconds per step in the collectives, one after the other and none hidden behind compute."""
    starts = sum(c.times for c in found.collectives)
    hops = sum(PASSES.get(c.kind, 1) * (count - 1) * c.times for c in found.collectives)
    return starts * machine.start + hops * machine.hop + sent(found, count) / machine.bandwidth


def break_even(machine: Machine, found: Found) -> float:
    """N at which the collectives take as long as the compute, were all of it divided;
    infinite without collectives."""
    if not found.collectives:
        return math.inf
    # compute / N = a + (N - 1) b + (N - 1) / N c, a quadratic in N
    a = machine.start * sum(c.times for c in found.collectives)
    b = machine.hop * sum(PASSES.get(c.kind, 1) * c.times for c in found.collectives)
    c = sum(PASSES.get(c.kind, 1) * c.size * c.times for c in found.collectives) / machine.bandwidth
    left, linear = c + found.whole.flops / (machine.peak * EFFICIENCY), a - b + c
    return 2 * left / (linear + math.sqrt(linear**2 + 4 * b * left))


def speed_up(machine: Machine, found: Found) -> float:
    """Of the machine's devices over one, with what every device repeats and with the
    collectives."""
    seconds = communication(machine, found, found.count)
    return found.whole.flops / (found.share + seconds * machine.peak * EFFICIENCY)


def memory(machine: Machine, found: Found) -> float:
    """Least time in memory over the time of the FLOPs: above 1 the step waits for memory."""
    return found.whole.traffic / machine.memory / (found.whole.flops / (machine.peak * EFFICIENCY))


def table(results: Mapping[str, Mapping[int, Found]]) -> list[str]:
    """One markdown row per step, a figure per machine in each cell; `results[name][count]`."""
    machines = [m for m in MACHINES if all(m.count in found for found in results.values())]
    head = [
        'step',
        'GFLOP',
        'divided, %',
        'collectives',
        'MB sent',
        'N*',
        'speed-up',
        'memory',
        'divided are',
    ]
    rows = []
    for name, found in results.items():
        cells = zip(*(_cells(m, found[m.count]) for m in machines))
        flops = next(iter(found.values())).whole.flops
        rows.append([name, f'{flops / 1e9:,.0f}', *map(' / '.join, cells), DIVIDED[name]])
    return [
        f'{", ".join(m.name for m in machines)}:',
        '',
        *tables.markdown(head, rows).splitlines(),
    ]


def _cells(machine: Machine, found: Found) -> list[str]:
    n, whole = break_even(machine, found), found.whole.flops
    divided = (whole - found.share) / whole * found.count / (found.count - 1)
    return [
        f'{100 * divided:.0f}',
        f'{sum(c.times for c in found.collectives):.3g}',
        f'{sent(found) / 1e6:.2f}',
        '-' if math.isinf(n) else f'{n:.0f}',
        f'{speed_up(machine, found):.1f}',
        f'{memory(machine, found):.1f}',
    ]


def _set(spec: data.Spec, per_class: int, classes: int | None = None) -> SyntheticSet:
    labels = jnp.repeat(jnp.eye(spec.num_classes)[:classes, None], per_class, axis=1)
    return SyntheticSet(jnp.zeros((*labels.shape[:2], *spec.image_shape)), labels)


def _weights(model: Model):
    return jax.tree.map(
        lambda x: jnp.zeros(x.shape, x.dtype), jax.eval_shape(model.init, jax.random.key(0))
    )


def main(arguments: Sequence[str] | None = None) -> int:
    """Compiles, counts, prints the table and each step's collectives."""
    parser = argparse.ArgumentParser(
        prog='python -m experiments.speed.scaling', description=__doc__.partition('\n')[0]
    )
    parser.add_argument(
        '--devices', dest='counts', metavar='N', nargs='+', type=int, default=[8, 16]
    )
    parser.add_argument('--steps', nargs='+', default=list(DIVIDED), choices=list(DIVIDED))
    parser.add_argument('--markdown', action='store_true', help='the table alone')
    options = parser.parse_args(arguments)
    parallel.start(cpu_devices=max(options.counts))
    results = {
        name: {n: measure(name, preset(name), n) for n in options.counts} for name in options.steps
    }
    for name, found in results.items() if not options.markdown else ():
        for n, one in found.items():
            print(
                f'{name} on {n}: {one.whole.flops / 1e9:.1f} GFLOP, {one.share / 1e9:.1f} of them '
                f'on each device; {one.whole.traffic / 1e9:.1f} GB read and written'
            )
            print(
                ''.join(
                    f'    {c.times:g} x {c.kind} of {c.size:,} bytes\n' for c in one.collectives
                ),
                end='',
            )
    if any(m.count in options.counts for m in MACHINES):
        print('\n'.join(table(results)))
    return 0


if __name__ == '__main__':
    sys.exit(main())
