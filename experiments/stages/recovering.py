"""The distillation stage of methods that recover images from teachers, chunk by chunk."""

import pathlib
from collections.abc import Callable
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from experiments.configs.entry import Stage
from experiments.stages import build, identity, jobs, starts, storing, watching
from experiments.stages.jobs import Distilled, Prepared
from experiments.stages.progress import Clock, History, bar
from experiments.stages.scores import Stop
from experiments.stages.weighing import regularized, weigh
from jaxdd import data, hosts, methods, parallel
from jaxdd.engine import chunks, distill, loop
from jaxdd.networks.teachers import Teacher
from jaxdd.storage import claims, records
from jaxdd.storage.fingerprint import Store
from jaxdd.types import Method, PyTree, SyntheticSet

TIMING = records.fields(clock=records.listing(records.AMOUNT, least=2))
WEIGHTS = records.mapping(records.AMOUNT)  # plug-in -> lambda
VERIFIED = 'accuracy/verifier'  # in the history, a fraction
MARKED = 20  # chunks per teacher that the curves can show apart


class Watched(NamedTuple):
    """Where one teacher's chunks go, and who looks on."""

    folder: pathlib.Path
    clock: Clock
    history: History
    stop: Stop
    verifier: Teacher | None = None


def distil(
    job: jobs.Job, prepared: Prepared, workdir: pathlib.Path, stop: Stop
) -> Distilled | None:
    """Recovers every chunk from its teacher, from wherever the workdir stands;
    None when stopped."""
    teachers = prepared.teachers
    natural = starts.real_start(job, teachers[0]) if job.config.entry.natural else None
    folders = [workdir / 'chunks' / f'{m}-{teacher.name}' for m, teacher in enumerate(teachers)]
    done = sum(chunks.finished(folder) for folder in folders) * job.config.num_steps
    # of an earlier process, where this one has too little left to time
    timing = workdir / 'chunks' / 'timing.json'
    clock = Clock(tuple((records.recall(timing, TIMING) or {'clock': (0.0, 0.0)})['clock']))
    board = watching.Board(watching.folder(job.config, workdir), after=done)
    history = History(workdir / 'history.jsonl', up_to=done, board=board)
    weights, parts, marks = None, [], {}
    for m, (teacher, method, folder) in enumerate(zip(teachers, job.methods, folders, strict=True)):
        made = starts.chunks_of(job, teacher, natural)
        weights = weights or _weights(job, method, made[0], workdir / 'chunks' / 'weights.json')
        found = _run(
            job,
            regularized(job, method, weights),
            made,
            m,
            Watched(folder, clock, history, stop, prepared.verifier),
        )
        records.save(timing, {'clock': clock.summary(job.steps_per_call)})
        marks |= _marks(
            m * len(made) * job.config.num_steps, len(made), job.config.num_steps, teacher.name
        )
        if len(found) < len(made):
            return None
        parts.append(found)
    board.close()
    synthetic, stored = storing.assembled(job, parts, natural)
    before, kept = (
        _before(job, teachers[0], natural),
        0 if natural is None else natural.images.shape[1],
    )
    return Distilled(
        synthetic,
        stored,
        before,
        synthetic.images[:, kept:],
        _titles(job),
        _counts(job, synthetic, stored),
        weights,
        *clock.summary(job.steps_per_call),
        {},
        history.rows(),
        marks,
    )


def require_continuable(job: jobs.Job, workdir: pathlib.Path) -> None:
    """Refuses a workdir with another run's chunks, before any computation.

    Raises:
        ValueError: says what differs.
    """
    for folder in hosts.told(lambda: sorted((workdir / 'chunks').glob('*-*'))):
        claims.claim(folder, identity.of_run(job))


def _titles(job: jobs.Job) -> tuple[str, str]:
    kept = job.config.entry.natural is not None
    return (
        ('natural', 'compensated') if kept else (f'{job.config.init} initialisation', 'distilled')
    )


def _counts(
    job: jobs.Job, synthetic: SyntheticSet, stored: dict[str, np.ndarray]
) -> dict[str, float]:
    """Images per class, as stored, as the paper counts them, and as trained on."""
    config, trained = job.config, synthetic.images.shape[1]
    if config.entry.natural is None:
        return {'stored per class': stored['images'].shape[1], 'trained on per class': trained}
    spent = methods.budget(job.spec.num_classes, len(config.teachers.networks), config.ipc)
    return {
        'nominal per class': config.ipc,
        'natural per class': spent.natural,
        'compensators': spent.compensators,
        'effective per class': round(spent.effective_ipc, 4),
        'trained on per class': trained,
    }


def _run(
    job: jobs.Job, method: Method, made: list[chunks.Chunk], m: int, watched: Watched
) -> list[PyTree]:
    """One teacher's chunks, recovered or read."""
    config, total = job.config, job.config.num_steps * len(made)
    shown, move = bar(f'recover {watched.folder.name}', total)
    more = _verified(method, watched.verifier)

    def callbacks(chunk: int) -> list[loop.Callback]:
        done = chunk * config.num_steps
        every = job.steps_per_call * max(1, total // (200 * job.steps_per_call))
        return [
            loop.Callback(job.steps_per_call, watched.clock.tick),
            move._replace(call=lambda state, step, metrics: move.call(state, done + step, metrics)),
            watched.history.callback(every, offset=m * total + done, more=more),
            *watching.profiled(config, watched.folder.parents[1], job.steps_per_call),
        ]

    made = [chunk._replace(callbacks=callbacks(i)) for i, chunk in enumerate(made)]
    control = loop.Control(
        job.steps_per_call,
        should_stop=watched.stop,
        together=together(config, job.spec),
        checkpoint_every=config.checkpoint_every,
    )
    with shown:
        return chunks.run(
            jax.random.fold_in(jobs.key(config, jobs.RUN), m),
            method,
            build.optimizer(config),
            made,
            num_steps=config.num_steps,
            store=Store(watched.folder, identity.of_run(job)),
            control=control,
        )


def _verified(method: Method, verifier: Teacher | None) -> Callable[[loop.State], dict]:
    """What a network that recovers nothing says of the images as they stand."""
    if verifier is None:
        return lambda state: {}

    @jax.jit
    def accuracy(params: PyTree, fixed: PyTree) -> jax.Array:
        shown = method.parametrization.decode(params, fixed)
        images = shown.images.reshape(-1, *shown.images.shape[2:])
        logits = verifier.model.apply(verifier.variables, images).logits
        return jnp.mean(logits.argmax(-1) == shown.labels.reshape(len(images), -1).argmax(-1))

    def more(state: loop.State) -> dict:
        if isinstance(state, loop.Stacked):
            params, fixed = state.states.params, state.states.fixed
            return {VERIFIED: float(jnp.mean(jax.vmap(accuracy)(params, fixed)))}
        return {VERIFIED: float(accuracy(state.params, state.fixed))}

    return more


def _marks(first: int, count: int, num_steps: int, teacher: str) -> dict[int, str]:
    """Where a teacher's chunks begin among all steps;
    chunks by themselves only where they are few."""
    inner = range(1, count) if count <= MARKED else ()
    return {first: teacher, **{first + i * num_steps: '' for i in inner}}


def together(config, spec: data.Spec) -> int:
    """Chunks that run as one program."""
    small = max(spec.image_shape[:2]) <= 64
    return config.recover.together or (1 if parallel.on_cpu() or not small else 8)


def _weights(job: jobs.Job, method, chunk: chunks.Chunk, path: pathlib.Path) -> dict[str, float]:
    """lambda of every plug-in, measured on the first chunk where nobody published one;
    then kept for all."""
    if not job.config.plugins:
        return {}
    known = records.recall(path, WEIGHTS)
    if known is not None and set(known) == set(job.config.plugins):
        return known
    state = distill.init_state(
        jobs.key(job.config, jobs.RUN), method, build.optimizer(job.config), chunk.start()
    )
    weights = weigh(job, method, state, chunk.feed)
    records.save(path, weights)
    return weights


def _before(job: jobs.Job, teacher: Teacher, natural):
    """What the picture shows at the left: natural images, or what recovery starts from."""
    if natural is not None:
        return natural.images
    return starts.source_of(job, teacher, None)(
        slice(0, job.spec.num_classes), slice(0, min(job.config.ipc, 10)), 0
    ).images


STAGE = Stage(distil, require_continuable, build.optimizer)
