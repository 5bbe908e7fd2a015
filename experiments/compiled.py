"""What a TPU's or GPU's own compiler makes of a step, without a TPU or GPU.

    python -m experiments.compiled --target v5e:2x4 --steps dm sre2l [--markdown] [--json FILE]

compiles, and does not run, the step of each preset (CIFAR-10, 10 images per class, 50 steps per
dispatch) for each target: bytes of each device, collectives (each channel once) with the bytes that
they hold, and of TPUs the compiler's estimate of cycles, of a step and of what runs once per
dispatch, with the fusions that cost most. Estimates are the compiler's model of a chip, not a
measurement. A step compiles for one or two minutes on one core.

    python -m experiments.compiled --target v5e:1x1 --runs 'sre2l --dataset imagenet --ipc 50'

compiles the steps of runs by their command lines, whatever the data set: what does not fit into a
chip's memory is told so, with what it would need.
"""

import argparse
import functools
import json
import re
import shlex
import sys
import time
from collections.abc import Callable, Sequence
from typing import Any

import jax
import jax.numpy as jnp

from experiments import methods
from experiments.speed import collectives, scaling, targets
from experiments.speed.estimates import Estimate, estimate
from experiments.speed.targets import Target
from jaxdd import models, parallel
from jaxdd.engine import loop
from jaxdd.models.precision import PRECISIONS
from jaxdd.reporting import tables

STEPS = tuple(scaling.DIVIDED)
SHOWN = 5  # of the dearest, in words


def main(argv: Sequence[str] | None = None) -> int:
    """Compiles every step for every target; exit code 0 done, 2 wrong input."""
    options = _parser().parse_args(argv)
    try:
        machines = [targets.find(name) for name in options.target]
        runs = {name: methods.parse(shlex.split(name)) for name in options.runs}
    except ValueError as error:
        print(f'error: {error}', file=sys.stderr)
        return 2
    named = options.steps or ([] if runs else STEPS)
    found = []
    for machine in machines:
        for name in (*named, *runs):
            make = (
                functools.partial(scaling.distilling, runs[name])
                if name in runs
                else functools.partial(scaling.by_name, name)
            )
            found.append(measure(machine, name, options.precision, make))
            if not options.markdown:
                print('\n'.join(words(found[-1])), flush=True)
    print('\n'.join(table(found)))
    if options.json:
        with open(options.json, 'w') as file:
            json.dump({'versions': targets.versions(), 'programs': found}, file, indent=1)
    return 0


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog='python -m experiments.compiled', description=__doc__.partition('\n')[0]
    )
    parser.add_argument(
        '--target', nargs='+', default=['v5e:2x4'], metavar='NAME', help=', '.join(targets.NAMES)
    )
    parser.add_argument('--steps', nargs='+', choices=STEPS, help='presets; default: all')
    parser.add_argument(
        '--runs', nargs='+', default=[], metavar='WORDS', help='command lines of experiments.run'
    )
    parser.add_argument('--precision', default='bf16', choices=list(PRECISIONS))
    parser.add_argument('--markdown', action='store_true', help='the table alone')
    parser.add_argument('--json', metavar='FILE', help='everything that was found')
    return parser


def program(
    machine: Target, precision: str, make: Callable[[], scaling.Step]
) -> tuple[Any, collectives.Work]:
    """A dispatch of steps, compiled for a machine; and what a whole step computes.

    Args:
        make: gives a step with its state and feed; called as on that machine.
    """
    with parallel.lowering_for(machine.chip.platform), models.precision(precision):
        made = make()
        step, given = made[0], (*made[1:], jnp.int32(collectives.PER_CALL))
        whole = collectives.work(
            loop.run_steps.trace(step, collectives.PER_CALL, *given).jaxpr.jaxpr
        )
        with parallel.use(machine.mesh):
            shapes = collectives.shapes(given)
            traced = loop.run_steps.trace(step, collectives.PER_CALL, *shapes)
            lowered = traced.lower(lowering_platforms=(machine.chip.platform,))
            return lowered.compile(), whole


def measure(
    machine: Target, name: str, precision: str, make: Callable[[], scaling.Step]
) -> dict[str, Any]:
    """Everything that is known of one step on one machine, as a record; see `program`."""
    record = {
        'step': name,
        'target': machine.name,
        'precision': precision,
        'chips': machine.mesh.size,
        'hosts': parallel.hosts(machine.mesh),
    }
    start = time.perf_counter()
    try:
        compiled, whole = program(machine, precision, make)
    except jax.errors.JaxRuntimeError as error:
        if 'RESOURCE_EXHAUSTED' not in str(error):
            raise
        return {**record, 'does not fit': _needed(str(error))}
    seconds, text = time.perf_counter() - start, compiled.as_text()
    memory = compiled.memory_analysis()
    share, sent = collectives.counted(text, unknown=collectives.PER_CALL)
    record = {
        **record,
        'compile seconds': round(seconds, 1),
        'bytes per device': {
            'arguments': memory.argument_size_in_bytes,
            'temporaries': memory.temp_size_in_bytes,
            'code': memory.generated_code_size_in_bytes,
        },
        'FLOPs of a step': whole.flops,
        'FLOPs of one chip': share / collectives.PER_CALL,
    }
    if machine.chip.platform != 'tpu':
        rows = [{'kind': c.kind, 'bytes': c.size, 'times': c.times} for c in sent]
        return {**record, 'collectives of a dispatch': rows}
    return {**record, **_estimated(machine, estimate(text), whole.flops)}


def _needed(message: str) -> str:
    """What a compiler says that a program needs, and what there is."""
    said = re.search(r'Used (\S+) of (\S+)', message)
    return f'{said[1]} of {said[2]}' if said else message.splitlines()[0]


def _estimated(machine: Target, found: Estimate, flops: float) -> dict[str, Any]:
    chip = machine.chip
    peak = machine.mesh.size * found.step * (chip.per_cycle or 0)
    return {
        'cycles of a step (estimate)': found.step,
        'cycles of a dispatch beside its steps (estimate)': found.once,
        'share of the matrix peak (estimate)': flops / peak if peak else None,
        'collectives of a step': [one._asdict() for one in found.sent],
        'dearest': [one._asdict() for one in found.dearest],
        'dearest beside the steps': [one._asdict() for one in found.copied],
    }


def words(record: dict[str, Any]) -> list[str]:
    """A record for people."""
    if 'does not fit' in record:
        return [f'{record["step"]} on {record["target"]} does not fit: {record["does not fit"]}']
    size = record['bytes per device']
    lines = [
        f'{record["step"]} on {record["target"]} ({record["chips"]} chips, {record["hosts"]} '
        f'hosts), compiled in {record["compile seconds"]} s: '
        f'{size["temporaries"] / 2**20:,.0f} MiB of temporaries, '
        f'{size["arguments"] / 2**20:,.0f} of arguments per device'
    ]
    for title in ('dearest', 'dearest beside the steps'):
        for one in record.get(title, ())[:SHOWN]:
            lines.append(f'    {title}: {one["cycles"]:>10,} {one["shape"][:40]:40} {_short(one)}')
    for one in record.get('collectives of a step', ()):
        lines.append(
            f'    sends: {one["times"]} x {one["kind"]} of {one["size"]:,} bytes {_short(one)}'
        )
    return lines


def _short(one: dict[str, Any]) -> str:
    """The end of an operation's path."""
    return '/'.join(one['path'].split('/')[-4:])


def table(found: Sequence[dict[str, Any]]) -> list[str]:
    """One markdown row per step and target."""
    head = [
        'step',
        'target',
        'Mcycles of a step',
        'beside, per dispatch',
        'peak, %',
        'MiB of temporaries',
        'collectives',
        'MB in them',
    ]
    rows = []
    for one in found:
        if 'does not fit' in one:
            rows.append([one['step'], one['target'], *[''] * 3, one['does not fit'], '', ''])
            continue
        sent = one.get('collectives of a step')
        cycles = one.get('cycles of a step (estimate)')
        beside = one.get('cycles of a dispatch beside its steps (estimate)', 0)
        share = one.get('share of the matrix peak (estimate)')
        rows.append(
            [
                one['step'],
                one['target'],
                f'{cycles / 1e6:.2f}' if cycles else '',
                f'{beside / 1e6:.2f}' if cycles else '',
                f'{100 * share:.1f}' if share else '',
                f'{one["bytes per device"]["temporaries"] / 2**20:,.0f}',
                '' if sent is None else str(sum(c['times'] for c in sent)),
                '' if sent is None else f'{sum(c["times"] * c["size"] for c in sent) / 1e6:.2f}',
            ]
        )
    return [
        f"Compiler's estimates, {', '.join(f'{k} {v}' for k, v in targets.versions().items())}:",
        '',
        *tables.markdown(head, rows).splitlines(),
    ]


if __name__ == '__main__':
    jax.config.update('jax_platforms', 'cpu')
    sys.exit(main())
