"""What a program computes and what it sends, read from the program itself.

Counted in the compiled program of one device (`counted`): collectives by the bytes of their whole
array, and FLOPs of convolutions and matrix products (padding and holes left out), both times the
`known_trip_count` that XLA notes on a while loop. Counted in the jaxpr (`work`): the FLOPs of the
whole step, and the bytes that its convolutions and products read and write, scans by their length;
XLA's own cost analysis counts a loop's body once. Of a `cond` the dearer branch counts.
"""

import math
import re
from collections.abc import Iterator, Mapping
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from jaxdd import parallel
from jaxdd.engine import loop

PER_CALL = 50  # steps per dispatch
KINDS = ('all-reduce', 'all-gather', 'reduce-scatter', 'all-to-all', 'collective-permute')
BYTES = {'pred': 1, 's8': 1, 'u8': 1, 'bf16': 2, 'f16': 2, 's64': 8, 'u64': 8, 'f64': 8}  # else 4


class Work(NamedTuple):
    """FLOPs of convolutions and matrix products, and the bytes that they read and write."""

    flops: float = 0.0
    traffic: float = 0.0


class Collective(NamedTuple):
    """One instruction: the bytes of its whole array, and how often it is passed."""

    kind: str
    size: int
    times: float


class Found(NamedTuple):
    """What one step costs on so many devices."""

    count: int
    whole: Work  # of the step, from the jaxpr
    share: float  # FLOPs of one device, from the compiled program
    collectives: tuple[Collective, ...]


def compiled(step: loop.Step, state: loop.State, feed: loop.DeviceFeed, count: int) -> Found:
    """Compiles a dispatch of `PER_CALL` steps over so many devices,
    and counts what falls to one step."""
    given = state, feed, jnp.int32(PER_CALL)
    whole = work(loop.run_steps.trace(step, PER_CALL, *given).jaxpr.jaxpr)
    with parallel.use(parallel.mesh(count)):
        program = loop.run_steps.trace(step, PER_CALL, *shapes(given)).lower().compile().as_text()
    share, collectives = counted(program, unknown=PER_CALL)
    return Found(
        count,
        whole,
        share / PER_CALL,
        tuple(c._replace(times=c.times / PER_CALL) for c in collectives),
    )


def shapes(tree):
    """Shapes of arrays of which every device holds a copy."""
    whole = jax.sharding.NamedSharding(jax.sharding.get_mesh(), jax.sharding.PartitionSpec())
    return jax.tree.map(lambda x: jax.ShapeDtypeStruct(x.shape, x.dtype, sharding=whole), tree)


def work(jaxpr) -> Work:
    """Convolutions and matrix products of a jaxpr, scans by their length,
    of a cond the dearer branch."""
    total = Work()
    for eqn in jaxpr.eqns:
        inner = [work(one) for one in _inner(eqn.params)]
        if eqn.primitive.name == 'cond':
            inner = [max(inner)]
        times = eqn.params['length'] if eqn.primitive.name == 'scan' else 1
        flops = FLOPS.get(eqn.primitive.name, lambda eqn: 0)(eqn)
        moved = (
            sum(v.aval.size * v.aval.dtype.itemsize for v in (*eqn.invars, *eqn.outvars))
            if flops
            else 0
        )
        total = Work(
            total.flops + flops + times * sum(one.flops for one in inner),
            total.traffic + moved + times * sum(one.traffic for one in inner),
        )
    return total


def _inner(params: Mapping) -> Iterator:
    for leaf in jax.tree.leaves(
        tuple(params.values()), is_leaf=lambda x: hasattr(x, 'eqns') or hasattr(x, 'jaxpr')
    ):
        found = getattr(leaf, 'jaxpr', leaf)
        if hasattr(found, 'eqns'):
            yield found


def _product(eqn) -> float:
    (contracted, _), _ = eqn.params['dimension_numbers']
    return 2 * eqn.outvars[0].aval.size * math.prod(eqn.invars[0].aval.shape[i] for i in contracted)


def _convolution(eqn) -> float:
    p, (left, right, out) = eqn.params, [v.aval.shape for v in (*eqn.invars, *eqn.outvars)]
    d = p['dimension_numbers']
    taps = math.prod(
        _taps(left[i], right[j], out[k], *window)
        for i, j, k, *window in zip(
            d.lhs_spec[2:],
            d.rhs_spec[2:],
            d.out_spec[2:],
            p['window_strides'],
            (low for low, _ in p['padding']),
            p['lhs_dilation'],
            p['rhs_dilation'],
        )
    )
    return 2 * taps * out[d.out_spec[0]] * out[d.out_spec[1]] * right[d.rhs_spec[1]]


def _taps(
    size: int, kernel: int, out: int, stride: int, low: int, spread: int, dilation: int
) -> int:
    """Pairs (output, tap) along one axis that meet a number of the input:
    neither padding nor a hole."""
    at = stride * np.arange(out)[:, None] + dilation * np.arange(kernel)[None] - low
    return int(((at >= 0) & (at <= (size - 1) * spread) & (at % spread == 0)).sum())


FLOPS = {'dot_general': _product, 'conv_general_dilated': _convolution}


def counted(program: str, *, unknown: int = 1) -> tuple[float, list[Collective]]:
    """FLOPs and collectives of one device in a compiled program's text.

    Args:
        program: what XLA prints of it.
        unknown: turns of an outermost loop of which XLA notes none; such loops within loops count
            once.
    """
    bodies, entry = {}, ''
    for line in program.splitlines():
        if head := re.match(r'(ENTRY )?%?([\w.\-]+) \(.*\{$', line):
            body = bodies.setdefault(head[2], [])
            entry = head[2] if head[1] else entry
        elif found := re.match(r'\s+(?:ROOT )?%?([\w.\-]+) = (.*?) ([a-z][\w\-]*)\((.*)$', line):
            body.append(found.groups())
    return _walked(bodies, entry, unknown)


def _walked(bodies: Mapping[str, list], name: str, unknown: int) -> tuple[float, list[Collective]]:
    kinds, flops, collectives = {own: kind for own, kind, *_ in bodies[name]}, 0.0, []
    for _, kind, op, rest in bodies[name]:
        operands = [
            kinds.get(own, '') for own in re.findall(r'%([\w.\-]+)', rest.partition(')')[0])
        ]
        if op in KINDS:
            collectives.append(Collective(op, max(_size(kind), sum(map(_size, operands))), 1))
        elif op in ('dot', 'convolution'):
            flops += _flops(op, _dims(kind), [_dims(one) for one in operands], rest)
        inner = [
            _walked(bodies, one, 1 if op == 'while' else unknown)
            for one in _called(op, rest)
            if one in bodies
        ]
        if op == 'conditional':
            inner = [max(inner, key=lambda one: one[0])]
        trips = re.search(r'known_trip_count\D*(\d+)', rest)
        times = 1 if op != 'while' else int(trips[1]) if trips else unknown
        flops += times * sum(one[0] for one in inner)
        collectives += [c._replace(times=c.times * times) for one in inner for c in one[1]]
    return flops, collectives


def _called(op: str, rest: str) -> list[str]:
    """The computations that an instruction runs; not the scalar ones of reductions."""
    names = {
        'while': 'body',
        'fusion': 'calls',
        'call': 'to_apply',
        'conditional': r'(?:branch_computations|\w+_computation)',
    }.get(op)
    found = re.findall(names + r'=(\{[^}]*\}|%?[\w.\-]+)', rest) if names else []
    return [name for text in found for name in re.findall(r'[\w.\-]+', text)]


def _flops(op: str, out: list[int], operands: list[list[int]], rest: str) -> float:
    if op == 'dot':
        axes = re.search(r'lhs_contracting_dims=\{([\d,]*)\}', rest)
        return 2 * math.prod(out) * math.prod(operands[0][int(i)] for i in axes[1].split(',') if i)
    left, right, outs = re.search(r'dim_labels=(\w+)_(\w+)->(\w+)', rest).groups()
    taps = 1
    for axis in (str(i) for i in range(len(outs) - 2)):
        sizes = (
            operands[0][left.index(axis)],
            operands[1][right.index(axis)],
            out[outs.index(axis)],
        )
        window = (
            _window(name, int(axis), rest) for name in ('stride', 'pad', 'lhs_dilate', 'rhs_dilate')
        )
        taps *= _taps(*sizes, *window)
    return 2 * taps * out[outs.index('b')] * out[outs.index('f')] * operands[1][right.index('i')]


def _window(name: str, axis: int, rest: str) -> int:
    found = re.search(rf'[ {{]{name}=([\dx_\-]+)', rest)
    return int(found[1].split('x')[axis].split('_')[0]) if found else int(name != 'pad')


def _dims(kind: str) -> list[int]:
    found = re.search(r'\[([\d,]*)\]', kind)
    return [int(d) for d in found[1].split(',') if d] if found else []


def _size(kind: str) -> int:
    return sum(
        BYTES.get(dtype, 4) * math.prod(int(d) for d in dims.split(',') if d)
        for dtype, dims in re.findall(r'(\w+)\[([\d,]*)\]', kind)
    )
