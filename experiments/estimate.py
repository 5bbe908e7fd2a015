"""What a run will need, before anything of it is done: memory, seconds and hours, stage by stage.

    python -m experiments.run dm --dataset cifar10 --ipc 10 --estimate here
    python -m experiments.run dm --dataset cifar10 --ipc 10 --estimate v5e:2x4

'here' compiles one dispatch of every stage for the devices of this machine, on images and networks
that are nothing but zeros, and times a few. A target of `experiments.compiled` is compiled for, and
its compiler's cycles are shown; they are its model of the chip and no measurement. Nothing is
written, nothing is trained.
"""

import dataclasses
import functools
import math
import time
from collections.abc import Callable, Iterator
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from experiments import compiled
from experiments.configs import Config
from experiments.speed import scaling, targets
from experiments.stages import build, jobs, recovering, students, workplace
from jaxdd import data, parallel
from jaxdd.engine import loop
from jaxdd.storage.atomic import expanded

TIMED = 3  # dispatches
MIB = 2**20


class Part(NamedTuple):
    """Steps of one kind."""

    stage: str
    name: str
    steps: int  # that are left
    make: Callable[[], scaling.Step]


def main(config: Config) -> int:
    """Prints the estimate of a run; exit code 0.

    Raises:
        ValueError: an unknown target, or one whose compiler is not installed.
    """
    target = None if config.estimate == 'here' else targets.find(str(config.estimate))
    spec, size = _data(config)
    if target:
        for part in parts(config, spec, size):
            record = compiled.measure(target, part.name, jobs.precision(config), part.make)
            print('\n'.join(_of_target(config, part, record)), flush=True)
        return 0
    parallel.start()
    with workplace.computing(config):
        print(f'on {parallel.hardware()}, {jobs.precision(config)}; nothing is trained or written')
        spent = 0.0
        for part in parts(config, spec, size):
            lines, seconds = _measured(config, part)
            print('\n'.join(lines), flush=True)
            spent += seconds
        print(_in_all(spent))
    return 0


def _in_all(seconds: float) -> str:
    if math.isinf(seconds):
        return 'in all: no time, since a part does not fit'
    return (
        f'in all: {_span(seconds)}, beside reading the data and drawing the report; networks that '
        'the cache has cost none'
    )


def _span(seconds: float) -> str:
    """A time that people can picture: hours, or seconds of what takes a few minutes."""
    return f'{seconds / 3600:.2f} hours' if seconds >= 360 else f'{seconds:.0f} s'


def parts(config: Config, spec: data.Spec, size: int) -> Iterator[Part]:
    """The steps of every stage that are not done yet, in the order of a run.

    Args:
        size: training images.
    """
    yield from _networks(config, spec, size)
    left = config.num_steps * _groups(config, spec) - _done(config)
    if left > 0:
        yield Part(
            'distil', config.method, left, functools.partial(scaling.distilling, config, spec)
        )
    e, sets = config.evaluation, 1 + len(jobs.real_rows(config))
    alone = 1 if parallel.on_cpu() else e.num_seeds  # students that are one program
    for name in e.networks:
        one = dataclasses.replace(e, networks=(name,), pool=None, num_seeds=alone)
        judged = dataclasses.replace(config, evaluation=one)
        steps = students.recipe(e, spec.num_classes * config.ipc, name).num_steps
        yield Part(
            'evaluate',
            f'students, {name}',
            steps * sets * math.ceil(e.num_seeds / alone),
            functools.partial(scaling.evaluating, judged, spec),
        )


def _networks(config: Config, spec: data.Spec, size: int) -> Iterator[Part]:
    """Networks that are trained on the real set, as if the cache had none of them."""
    if jobs.needs_proxy(config):
        how, p = build.proxy_recipe(config, size), config.proxies
        model = build.model(p.network, spec, batch_statistics=True)
        make = functools.partial(scaling.training, model, how, spec)
        yield Part('prepare', f'{p.count} proxies', how.num_steps * p.count, make)
    for name in () if config.teachers.weights else config.teachers.networks:
        how = build.teacher_recipe(config, size)
        model = build.teacher(config, name, spec, batch_statistics=True)
        make = functools.partial(scaling.training, model, how, spec)
        yield Part('prepare', f'teacher {name}', how.num_steps, make)
    if trained := config.entry.stage.trained(config, size):
        how, count = trained
        make = functools.partial(
            scaling.training, build.model(config.encoder, spec, batch_statistics=True), how, spec
        )
        yield Part('prepare', f'{count} experts', how.num_steps * count, make)


def _data(config: Config) -> tuple[data.Spec, int]:
    """A run's data set and how many images it trains on."""
    plain = dataclasses.replace(config.data, zca=False)  # whose matrix would be kept in the cache
    dataset = jobs.read(dataclasses.replace(config, data=plain))
    return dataset.spec, len(dataset.train.labels)


def _groups(config: Config, spec: data.Spec) -> int:
    """How often the steps of a run are taken: once, or for every group of chunks."""
    if not config.recovers:
        return 1
    classes = min(config.classes_per_chunk or spec.num_classes, spec.num_classes)
    images = jobs.real_start(config, spec) // config.recover.images_per_chunk
    chunks = math.ceil(spec.num_classes / classes) * max(1, images)
    groups = math.ceil(chunks / recovering.together(config, spec))
    return groups * len(config.teachers.networks)


def _done(config: Config) -> int:
    """Steps that the workdir holds already; of chunks none is counted."""
    folder = expanded(config.workdir) / 'checkpoints'
    return max((int(p.name) for p in folder.glob('*') if p.name.isdigit()), default=0)


def _measured(config: Config, part: Part) -> tuple[list[str], float]:
    """What a dispatch of a part needs here, in words; and the seconds of all that are left."""
    step, state, feed = part.make()
    size = min(jobs.steps_per_call(config), part.steps)
    state = parallel.replicate(jax.tree.map(loop._owned, state))
    count, began = jnp.int32(size), time.perf_counter()
    program = loop.run_steps.lower(step, size, state, feed, count).compile()
    compiling, spans = time.perf_counter() - began, []
    sizes = _sizes(program)
    if short := _shortage(sizes):
        return [f'{part.stage}: {part.name} does not fit: {short}; {_smaller(config)}'], math.inf
    for _ in range(1 + TIMED):
        began = time.perf_counter()
        state, metrics = program(state, feed, count)
        jax.block_until_ready(metrics)
        spans.append(time.perf_counter() - began)
    seconds = float(np.median(spans[1:])) / size
    whole = compiling + seconds * part.steps
    return [
        f'{part.stage}: {part.name}, {part.steps} steps of {seconds:.3g} s, compiled in '
        f'{compiling:.0f} s: {_span(whole)}',
        f'    {_bytes(sizes)} per device',
    ], whole


def _sizes(program: jax.stages.Compiled) -> dict[str, int]:
    """Bytes of one device by kind."""
    memory = program.memory_analysis()
    return {
        'arguments': memory.argument_size_in_bytes,
        'temporaries': memory.temp_size_in_bytes,
        'code': memory.generated_code_size_in_bytes,
    }


def _shortage(sizes: dict[str, int]) -> str:
    """By how much a program exceeds the memory of the devices, in words; '' where it fits."""
    needed, there = sum(sizes.values()) * parallel.num_devices(), parallel.memory()
    if needed <= there:
        return ''
    return f'{needed / MIB:,.0f} MiB on {parallel.hardware()}, which have {there / MIB:,.0f}'


def _smaller(config: Config) -> str:
    """Which options of a method take less memory."""
    return f'smaller with {", ".join(config.entry.smaller) or "none of the options"}'


def _of_target(config: Config, part: Part, record: dict) -> list[str]:
    """What another machine's compiler says of a part, in words."""
    head = f'{part.stage}: {part.name} on {record["target"]}'
    if 'does not fit' in record:
        return [f'{head} does not fit: {record["does not fit"]}; {_smaller(config)}']
    lines = [f'{head}, {part.steps} steps: {_bytes(record["bytes per device"])} per device']
    cycles = record.get('cycles of a step (estimate)')
    if cycles:
        chip = targets.find(record['target']).chip
        time_of_all = _span(cycles * part.steps / (chip.clock or 1e9))
        lines.append(
            f"    {cycles / 1e6:.2f} Mcycles per step, by the compiler's model: {time_of_all}"
        )
    return lines


def _bytes(sizes: dict[str, int]) -> str:
    return ', '.join(f'{size / MIB:,.1f} MiB of {name}' for name, size in sizes.items())
