"""Scaling on paper: what one step of every method sends between devices, and how many devices that pays for.

    python -m experiments.scaling [--devices 8 16] [--steps dm idc] [--markdown]

compiles, and does not run, one step of each preset (CIFAR-10, 10 images per class) over simulated CPU devices. The
step is traced as on accelerators: `parallel.on_cpu` says no, so nothing is chunked for a CPU's cache, augmentations
are vmapped and convolutions are XLA's own. XLA:CPU partitions it as it would elsewhere; other back ends may merge or
overlap the collectives, which makes this count the dearer one.

Counted in the compiled program of one device: collectives by the bytes of their whole array, and FLOPs of
convolutions and matrix products (padding and holes left out), both times the `known_trip_count` that XLA notes on a
while loop (once where it notes none). Counted in the jaxpr: the FLOPs of the whole step, and the bytes that its
convolutions and products read and write (float32), scans by their length; XLA's own cost analysis counts a loop's
body once. Of a `cond` the dearer branch counts.

The model: compute = FLOPs / (N x peak x 0.4); a collective = start + hops x latency + bytes sent / bandwidth on one
ring, which sends 2 (N - 1) / N of the array in 2 (N - 1) hops for an all-reduce and half of both for the others.

Vendors' figures. TPU v4: 275 TFLOP/s bf16 and 1.2 TB/s per chip (https://cloud.google.com/tpu/docs/v4); a v4-32 is 16
chips in a 2x2x4 mesh (tori begin at multiples of 4), 6 links of 50 GB/s per chip, of which one ring uses two. H100 SXM:
989 TFLOP/s dense bf16, 3.35 TB/s, NVLink 450 GB/s per direction. Latency: 1 us per hop of a TPU v3 ring
(https://astra-sim.github.io/astra-sim-docs/validation/hardware/tpu-validation.html); 6.6 us and 0.6 us per hop on
NVLink in NCCL's own model (https://github.com/NVIDIA/nccl/issues/1334). Nothing was measured on either machine.
"""
import argparse
import math
import re
import sys
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, NamedTuple
from unittest import mock

import jax
import jax.numpy as jnp
import numpy as np

from experiments import build, jobs, students
from experiments.configs import PRESETS, Config
from jaxdd import data, distill, evaluate, fit, loop, parallel, pools
from jaxdd.terms import regularize
from jaxdd.types import Inputs, Method, Model, Source, SyntheticSet

EFFICIENCY, TOGETHER, IPC, SIZE = 0.4, 8, 10, 50_000
KINDS = ('all-reduce', 'all-gather', 'reduce-scatter', 'all-to-all', 'collective-permute')
PASSES = {'all-reduce': 2}    # around the ring, else 1
BYTES = {'pred': 1, 's8': 1, 'u8': 1, 'bf16': 2, 'f16': 2, 's64': 8, 'u64': 8, 'f64': 8}    # else 4
Step = tuple[loop.Step, Any, loop.DeviceFeed]    # of the engine, with its state and its feed


class Machine(NamedTuple):
    """Devices of one kind: FLOP/s, bytes/s and seconds, of one device."""
    name: str
    count: int
    peak: float
    memory: float
    bandwidth: float
    start: float
    hop: float


class Work(NamedTuple):
    """FLOPs of convolutions and matrix products, and the bytes that they read and write."""
    flops: float = 0.0
    traffic: float = 0.0


class Collective(NamedTuple):
    """One instruction: the bytes of its whole array, and how often a step passes it."""
    kind: str
    size: int
    times: int


class Found(NamedTuple):
    """What one step costs on so many devices."""
    count: int
    whole: Work                        # of the step, from the jaxpr
    share: float                       # FLOPs of one device, from the compiled program
    collectives: tuple[Collective, ...]


MACHINES = (Machine('TPU v4-32', 16, 275e12, 1.2e12, 100e9, 0.0, 1e-6),
            Machine('8 x H100', 8, 989e12, 3.35e12, 450e9, 6.6e-6, 0.6e-6))
FIRST = {'dm': 'real images', 'dm-cc-cm': 'real and synthetic images', 'dm-cmi': 'real and synthetic images',
         'dsa': "the network's mini-batches", 'idm': "the networks' mini-batches", 'idc': "the network's mini-batches",
         'sre2l': 'chunks', 'infer': 'chunks', 'evaluation': 'students'}


def distilling(config: Config) -> Step:
    """One step of a method's preset; INFER with its first teacher."""
    spec = data.spec(config.dataset)
    labels = np.arange(SIZE, dtype=np.int32) % spec.num_classes
    dataset = data.Dataset(spec, Source(np.zeros((SIZE, *spec.image_shape), np.uint8), labels), None)
    method, roles = build.made(config, dataset)[0], {}
    if jobs.needs_proxy(config):
        roles = {'proxy': build.model(config.proxies.network, spec)}
    weighed = {name: (getattr(config.regularizers, name).weight or 1.0, term)
               for name, term in build.terms(config).items()}
    method = regularize(method, weighed, models=roles)
    if config.method in build.DECOUPLED:
        return _recovering(config, spec, method)
    feed = build.feed(config, dataset)
    for role, model in roles.items():
        feed = pools.attach(feed, role, [_weights(model)])
    initial, optimizer = _set(spec, build.images_per_class(config)), build.optimizer(config)
    state = distill.init_state(jax.random.key(0), method, optimizer, initial)
    return distill.make_step(method, optimizer), state, feed


def _recovering(config: Config, spec: data.Spec, method: Method) -> Step:
    """The chunks that an accelerator recovers as one program."""
    images = build.budget(config, spec).natural if config.method == 'infer' else config.ipc
    count, optimizer = min(TOGETHER, images // config.recover.images_per_chunk), build.optimizer(config)
    initial = _set(spec, config.recover.images_per_chunk)
    states = [distill.init_state(jax.random.key(i), method, optimizer, initial) for i in range(count)]
    feed = pools.attach(jax.tree_util.Partial(lambda key, step: Inputs()), 'encoder',
                        [_weights(method.models['encoder'])])
    state = loop.stacked(jax.tree.map(lambda *leaves: jnp.stack(leaves), *states))
    return loop.together(distill.make_step(method, optimizer)), state, loop.whole(feed)


def evaluating(config: Config) -> Step:
    """One step of all students of an architecture, as one program."""
    e, spec = config.evaluation, data.spec(config.dataset)
    model, recipe = students.architectures(e, spec)[0][e.networks[0]], students.recipe(e, spec.num_classes * config.ipc)
    feed = evaluate.student_batches(_set(spec, config.ipc), students.seen(e, spec), batch_size=recipe.batch_size)
    states = jax.vmap(lambda key: fit.init_fit(key, model, recipe))(jax.random.split(jax.random.key(0), e.num_seeds))
    return loop.together(fit.make_fit_step(model, recipe)), loop.stacked(states), loop.whole(feed)


def preset(name: str) -> Config:
    """A step's configuration by its name in the table: method-plugin-plugin."""
    method, *plugins = ('dm' if name == 'evaluation' else name).split('-')
    return PRESETS[method]('cifar10', IPC, tuple(plugins))


def measure(name: str, config: Config, count: int) -> Found:
    """Compiles one step over simulated devices, as an accelerator would be given it, and counts."""
    with mock.patch.object(parallel, 'on_cpu', lambda: False):
        step, state, feed = (evaluating if name == 'evaluation' else distilling)(config)
        with parallel.use(parallel.mesh(count)):
            traced = loop.advance.trace(step, 1, *_shapes((state, feed, jnp.int32(1))))
            share, collectives = counted(traced.lower().compile().as_text())
    return Found(count, work(traced.jaxpr.jaxpr), share, tuple(collectives))


def work(jaxpr) -> Work:
    """Convolutions and matrix products of a jaxpr, scans by their length, of a cond the dearer branch."""
    total = Work()
    for eqn in jaxpr.eqns:
        inner = [work(one) for one in _inner(eqn.params)]
        if eqn.primitive.name == 'cond':
            inner = [max(inner)]
        times = eqn.params['length'] if eqn.primitive.name == 'scan' else 1
        flops = FLOPS.get(eqn.primitive.name, lambda eqn: 0)(eqn)
        moved = sum(v.aval.size * v.aval.dtype.itemsize for v in (*eqn.invars, *eqn.outvars)) if flops else 0
        total = Work(total.flops + flops + times * sum(one.flops for one in inner),
                     total.traffic + moved + times * sum(one.traffic for one in inner))
    return total


def _inner(params: Mapping) -> Iterator:
    for leaf in jax.tree.leaves(tuple(params.values()), is_leaf=lambda x: hasattr(x, 'eqns') or hasattr(x, 'jaxpr')):
        found = getattr(leaf, 'jaxpr', leaf)
        if hasattr(found, 'eqns'):
            yield found


def _product(eqn) -> float:
    (contracted, _), _ = eqn.params['dimension_numbers']
    return 2 * eqn.outvars[0].aval.size * math.prod(eqn.invars[0].aval.shape[i] for i in contracted)


def _convolution(eqn) -> float:
    p, (left, right, out) = eqn.params, [v.aval.shape for v in (*eqn.invars, *eqn.outvars)]
    d = p['dimension_numbers']
    taps = math.prod(_taps(left[i], right[j], out[k], *window) for i, j, k, *window in zip(
        d.lhs_spec[2:], d.rhs_spec[2:], d.out_spec[2:], p['window_strides'], (low for low, _ in p['padding']),
        p['lhs_dilation'], p['rhs_dilation']))
    return 2 * taps * out[d.out_spec[0]] * out[d.out_spec[1]] * right[d.rhs_spec[1]]


def _taps(size: int, kernel: int, out: int, stride: int, low: int, spread: int, dilation: int) -> int:
    """Pairs (output, tap) along one axis that meet a number of the input: neither padding nor a hole."""
    at = stride * np.arange(out)[:, None] + dilation * np.arange(kernel)[None] - low
    return int(((at >= 0) & (at <= (size - 1) * spread) & (at % spread == 0)).sum())


FLOPS = {'dot_general': _product, 'conv_general_dilated': _convolution}


def counted(program: str) -> tuple[float, list[Collective]]:
    """FLOPs and collectives of one device in a compiled program's text."""
    bodies, entry = {}, ''
    for line in program.splitlines():
        if head := re.match(r'(ENTRY )?%?([\w.\-]+) \(.*\{$', line):
            body = bodies.setdefault(head[2], [])
            entry = head[2] if head[1] else entry
        elif found := re.match(r'\s+(?:ROOT )?%?([\w.\-]+) = (.*?) ([a-z][\w\-]*)\((.*)$', line):
            body.append(found.groups())
    return _walked(bodies, entry)


def _walked(bodies: Mapping[str, list], name: str) -> tuple[float, list[Collective]]:
    kinds, flops, collectives = {own: kind for own, kind, *_ in bodies[name]}, 0.0, []
    for _, kind, op, rest in bodies[name]:
        operands = [kinds.get(own, '') for own in re.findall(r'%([\w.\-]+)', rest.partition(')')[0])]
        if op in KINDS:
            collectives.append(Collective(op, max(_size(kind), sum(map(_size, operands))), 1))
        elif op in ('dot', 'convolution'):
            flops += _flops(op, _dims(kind), [_dims(one) for one in operands], rest)
        inner = [_walked(bodies, one) for one in _called(op, rest) if one in bodies]
        if op == 'conditional':
            inner = [max(inner, key=lambda one: one[0])]
        trips = re.search(r'known_trip_count\D*(\d+)', rest)
        times = int(trips[1]) if op == 'while' and trips else 1
        flops += times * sum(one[0] for one in inner)
        collectives += [c._replace(times=c.times * times) for one in inner for c in one[1]]
    return flops, collectives


def _called(op: str, rest: str) -> list[str]:
    """The computations that an instruction runs; not the scalar ones of reductions."""
    names = {'while': 'body', 'fusion': 'calls', 'call': 'to_apply',
             'conditional': r'(?:branch_computations|\w+_computation)'}.get(op)
    found = re.findall(names + r'=(\{[^}]*\}|%?[\w.\-]+)', rest) if names else []
    return [name for text in found for name in re.findall(r'[\w.\-]+', text)]


def _flops(op: str, out: list[int], operands: list[list[int]], rest: str) -> float:
    if op == 'dot':
        axes = re.search(r'lhs_contracting_dims=\{([\d,]*)\}', rest)
        return 2 * math.prod(out) * math.prod(operands[0][int(i)] for i in axes[1].split(',') if i)
    left, right, outs = re.search(r'dim_labels=(\w+)_(\w+)->(\w+)', rest).groups()
    taps = 1
    for axis in (str(i) for i in range(len(outs) - 2)):
        sizes = (operands[0][left.index(axis)], operands[1][right.index(axis)], out[outs.index(axis)])
        window = (_window(name, int(axis), rest) for name in ('stride', 'pad', 'lhs_dilate', 'rhs_dilate'))
        taps *= _taps(*sizes, *window)
    return 2 * taps * out[outs.index('b')] * out[outs.index('f')] * operands[1][right.index('i')]


def _window(name: str, axis: int, rest: str) -> int:
    found = re.search(rf'[ {{]{name}=([\dx_\-]+)', rest)
    return int(found[1].split('x')[axis].split('_')[0]) if found else int(name != 'pad')


def _dims(kind: str) -> list[int]:
    found = re.search(r'\[([\d,]*)\]', kind)
    return [int(d) for d in found[1].split(',') if d] if found else []


def _size(kind: str) -> int:
    return sum(BYTES.get(dtype, 4) * math.prod(int(d) for d in dims.split(',') if d)
               for dtype, dims in re.findall(r'(\w+)\[([\d,]*)\]', kind))


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
    """N at which the collectives take as long as the compute, were all of it divided; infinite without collectives."""
    if not found.collectives:
        return math.inf
    # compute / N = a + (N - 1) b + (N - 1) / N c, a quadratic in N
    a = machine.start * sum(c.times for c in found.collectives)
    b = machine.hop * sum(PASSES.get(c.kind, 1) * c.times for c in found.collectives)
    c = sum(PASSES.get(c.kind, 1) * c.size * c.times for c in found.collectives) / machine.bandwidth
    left, linear = c + found.whole.flops / (machine.peak * EFFICIENCY), a - b + c
    return 2 * left / (linear + math.sqrt(linear ** 2 + 4 * b * left))


def speed_up(machine: Machine, found: Found) -> float:
    """Of the machine's devices over one, with what every device repeats and with the collectives."""
    seconds = communication(machine, found, found.count)
    return found.whole.flops / (found.share + seconds * machine.peak * EFFICIENCY)


def memory(machine: Machine, found: Found) -> float:
    """Least time in memory over the time of the FLOPs: above 1 the step waits for memory."""
    return found.whole.traffic / machine.memory / (found.whole.flops / (machine.peak * EFFICIENCY))


def table(results: Mapping[str, Mapping[int, Found]]) -> list[str]:
    """One markdown row per step, a figure per machine in each cell; `results[name][count]`."""
    machines = [m for m in MACHINES if all(m.count in found for found in results.values())]
    head = ['step', 'GFLOP', 'divided, %', 'collectives', 'MB sent', 'N*', 'speed-up', 'memory', 'to divide first']
    rows = [head, ['---'] * len(head)]
    for name, found in results.items():
        cells = zip(*(_cells(m, found[m.count]) for m in machines))
        flops = next(iter(found.values())).whole.flops
        rows.append([name, f'{flops / 1e9:,.0f}', *map(' / '.join, cells), FIRST[name]])
    return [f'{", ".join(m.name for m in machines)}:', '', *('| ' + ' | '.join(row) + ' |' for row in rows)]


def _cells(machine: Machine, found: Found) -> list[str]:
    n, whole = break_even(machine, found), found.whole.flops
    divided = (whole - found.share) / whole * found.count / (found.count - 1)
    return [f'{100 * divided:.0f}', str(sum(c.times for c in found.collectives)), f'{sent(found) / 1e6:.2f}',
            '-' if math.isinf(n) else f'{n:.0f}', f'{speed_up(machine, found):.1f}', f'{memory(machine, found):.1f}']


def _set(spec: data.Spec, per_class: int) -> SyntheticSet:
    labels = jnp.repeat(jnp.eye(spec.num_classes)[:, None], per_class, axis=1)
    return SyntheticSet(jnp.zeros((*labels.shape[:2], *spec.image_shape)), labels)


def _weights(model: Model):
    return jax.tree.map(lambda x: jnp.zeros(x.shape, x.dtype), jax.eval_shape(model.init, jax.random.key(0)))


def _shapes(tree):
    """Shapes of arrays of which every device holds a copy."""
    whole = jax.sharding.NamedSharding(jax.sharding.get_mesh(), jax.sharding.PartitionSpec())
    return jax.tree.map(lambda x: jax.ShapeDtypeStruct(x.shape, x.dtype, sharding=whole), tree)


def main(arguments: Sequence[str] | None = None) -> int:
    """Compiles, counts, prints the table and each step's collectives."""
    parser = argparse.ArgumentParser(prog='python -m experiments.scaling', description=__doc__.partition('\n')[0])
    parser.add_argument('--devices', dest='counts', metavar='N', nargs='+', type=int, default=[8, 16])
    parser.add_argument('--steps', nargs='+', default=list(FIRST), choices=list(FIRST))
    parser.add_argument('--markdown', action='store_true', help='the table alone')
    options = parser.parse_args(arguments)
    parallel.start(cpu_devices=max(options.counts))
    results = {name: {n: measure(name, preset(name), n) for n in options.counts} for name in options.steps}
    for name, found in results.items() if not options.markdown else ():
        for n, one in found.items():
            print(f'{name} on {n}: {one.whole.flops / 1e9:.1f} GFLOP, {one.share / 1e9:.1f} of them on each device; '
                  f'{one.whole.traffic / 1e9:.1f} GB read and written')
            print(''.join(f'    {c.times} x {c.kind} of {c.size:,} bytes\n' for c in one.collectives), end='')
    if any(m.count in options.counts for m in MACHINES):
        print('\n'.join(table(results)))
    return 0


if __name__ == '__main__':
    sys.exit(main())
