"""What a TPU's compiler notes in its programs: cycles of every fusion, and collectives.

They are the compiler's model of the chip, no measurement: good for what a change does to them, not
for how long anything takes. A collective that runs beside other work stands in the text several
times (its start, clones within fusions, its end); its channel counts once.
"""

import math
import re
from collections.abc import Mapping, Sequence
from typing import NamedTuple

from experiments.speed.collectives import BYTES, KINDS

COMPUTATION = re.compile(r'(ENTRY )?%([\w.\-]+) \(.*\{$')
INSTRUCTION = re.compile(r'\s+(?:ROOT )?%([\w.\-]+) = (.*?) ([a-z][\w\-]*)\((.*)$')
CYCLES = re.compile(r'"estimated_cycles":"(\d+)"')
PATH = re.compile(r'op_name="([^"]*)"')
CHANNEL = re.compile(r'channel_id=(\d+)')


class Instruction(NamedTuple):
    """A line of a program."""

    name: str
    shape: str
    op: str
    rest: str

    @property
    def cycles(self) -> int:
        """The compiler's estimate; 0 where it notes none."""
        found = CYCLES.search(self.rest)
        return int(found[1]) if found else 0

    @property
    def path(self) -> str:
        """The operation that it comes from, its modules in front."""
        found = PATH.search(self.rest)
        return found[1] if found else ''


class Dear(NamedTuple):
    """What costs most: cycles of one step, of which operation."""

    cycles: int
    path: str
    shape: str


class Sent(NamedTuple):
    """A collective: what it sends of one device's point of view, and how often in a step."""

    kind: str
    size: int  # bytes of its largest array
    times: int
    path: str


class Estimate(NamedTuple):
    """One dispatch of many steps."""

    step: int  # cycles of one step's body
    once: int  # cycles of what runs once per dispatch
    dearest: tuple[Dear, ...]
    sent: tuple[Sent, ...]  # per step
    copied: tuple[Dear, ...]  # once per dispatch, the dearest first


Program = Mapping[str, Sequence[Instruction]]


def parsed(text: str) -> tuple[Program, str]:
    """Computations by name, and the name of the one that is run."""
    found: dict[str, list[Instruction]] = {}
    entry, body = '', []
    for line in text.splitlines():
        if head := COMPUTATION.match(line):
            body = found.setdefault(head[2], [])
            entry = head[2] if head[1] else entry
        elif match := INSTRUCTION.match(line):
            body.append(Instruction(*match.groups()))
    return found, entry


def estimate(text: str, *, shown: int = 10) -> Estimate:
    """Reads a program that takes many steps in a loop.

    Args:
        text: as the compiler prints it.
        shown: how many of the dearest are listed.

    Raises:
        ValueError: a program without a loop.
    """
    program, entry = parsed(text)
    loops = [one for one in program[entry] if one.op == 'while']
    if not loops:
        raise ValueError('the program has no loop of steps: compile two or more per dispatch')
    main = max(loops, key=lambda one: _cost(program, _inner(one)[0]))
    body = _inner(main)[0]
    once = _cost(program, entry, without=main.name)
    dear = sorted(_dear(program, body), key=lambda one: -one.cycles)[:shown]
    outside = [
        Dear(one.cycles, one.path, one.shape)
        for one in program[entry]
        if one.cycles and one.name != main.name
    ]
    copied = sorted(outside, key=lambda one: -one.cycles)[:shown]
    sent: dict[int, Sent] = {}
    for channel, one in _sent(program, body, 1):
        known = sent.get(channel)
        sent[channel] = one if known is None else known._replace(times=max(known.times, one.times))
    return Estimate(
        _cost(program, body), once, tuple(dear), tuple(sent[c] for c in sorted(sent)), tuple(copied)
    )


def _inner(one: Instruction) -> list[str]:
    """The computations that an instruction runs, a loop's body first; not those of fusions."""
    key = {
        'while': 'body',
        'call': 'to_apply',
        'conditional': r'(?:branch_computations|\w+_computation)',
    }.get(one.op)
    found = re.findall(key + r'=(\{[^}]*\}|%?[\w.\-]+)', one.rest) if key else []
    return [name for text in found for name in re.findall(r'[\w.\-]+', text)]


def _turns(program: Program, one: Instruction) -> int:
    """How often a loop within a step turns: what its counter is compared with; 1 where that is not
    written."""
    condition = re.search(r'condition=%?([\w.\-]+)', one.rest)
    known = re.search(r'known_trip_count\D*(\d+)', one.rest)
    if known or not condition:
        return int(known[1]) if known else 1
    numbers = [
        int(match[1])
        for line in program.get(condition[1], ())
        if line.op == 'constant' and (match := re.match(r'(\d+)\)', line.rest))
    ]
    return max(numbers, default=1)


def _cost(program: Program, name: str, without: str | None = None) -> int:
    return sum(_own(program, one) for one in program.get(name, ()) if one.name != without)


def _own(program: Program, one: Instruction) -> int:
    inner = [_cost(program, name) for name in _inner(one)]
    if one.op == 'while':
        return one.cycles + _turns(program, one) * sum(inner)
    return one.cycles + (max(inner, default=0) if one.op == 'conditional' else sum(inner))


def _dear(program: Program, name: str, times: int = 1) -> list[Dear]:
    found = []
    for one in program.get(name, ()):
        if one.cycles:
            found.append(Dear(times * one.cycles, one.path, one.shape))
        turns = _turns(program, one) if one.op == 'while' else 1
        for inner in _inner(one):
            found += _dear(program, inner, times * turns)
    return found


def _sent(program: Program, name: str, times: int) -> list[tuple[int, Sent]]:
    """Collectives by channel, those within fusions too."""
    found = []
    for one in program.get(name, ()):
        kind = one.op.removesuffix('-start')
        channel = CHANNEL.search(one.rest)
        if kind in KINDS and channel and not one.op.endswith('-done'):
            found.append((int(channel[1]), Sent(kind, largest(one.shape), times, one.path)))
        turns = _turns(program, one) if one.op == 'while' else 1
        calls = re.findall(r'calls=%?([\w.\-]+)', one.rest)
        for inner in (*_inner(one), *calls):
            found += _sent(program, inner, times * turns)
    return found


def largest(shape: str) -> int:
    """Bytes of the largest array in a shape's text."""
    return max(
        (
            BYTES.get(dtype, 4) * math.prod(int(d) for d in dims.split(',') if d)
            for dtype, dims in re.findall(r'([a-z]+\d*)\[([\d,]*)\]', shape)
        ),
        default=0,
    )
