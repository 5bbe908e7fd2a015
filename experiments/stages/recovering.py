"""The distillation stage of methods that recover images from teachers, chunk by chunk."""

import functools
import io
import pathlib
from collections.abc import Callable
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from PIL import Image

from experiments.configs.entry import Stage
from experiments.stages import build, identity, jobs, watching
from experiments.stages.jobs import Distilled, Prepared
from experiments.stages.progress import Clock, History, bar
from experiments.stages.scores import Stop
from experiments.stages.weighing import regularized, weigh
from jaxdd import data, feeds, hosts, methods, parallel
from jaxdd.coresets import rded
from jaxdd.engine import chunks, distill, loop
from jaxdd.networks import pools
from jaxdd.networks.teachers import Teacher
from jaxdd.storage import claims, records
from jaxdd.storage.fingerprint import Store
from jaxdd.types import Feed, Inputs, Method, PRNGKey, PyTree, SyntheticSet

TIMING = records.fields(clock=records.listing(records.AMOUNT, least=2))
WEIGHTS = records.mapping(records.AMOUNT)  # plug-in -> lambda
VERIFIED = 'accuracy/verifier'  # in the history, a fraction
MARKED = 20  # chunks per teacher that the curves can show apart
JPEG_QUALITY = 75  # the library's default, which the authors' scripts use


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
    natural = _real_start(job, teachers[0]) if job.config.entry.natural else None
    folders = [workdir / 'chunks' / f'{m}-{teacher.name}' for m, teacher in enumerate(teachers)]
    done = sum(chunks.finished(folder) for folder in folders) * job.config.num_steps
    # of an earlier process, where this one has too little left to time
    timing = workdir / 'chunks' / 'timing.json'
    clock = Clock(tuple((records.recall(timing, TIMING) or {'clock': (0.0, 0.0)})['clock']))
    board = watching.Board(watching.folder(job.config, workdir), after=done)
    history = History(workdir / 'history.jsonl', up_to=done, board=board)
    weights, parts, marks = None, [], {}
    for m, (teacher, method, folder) in enumerate(zip(teachers, job.methods, folders, strict=True)):
        made = _chunks(job, teacher, natural)
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
    synthetic, stored = _assembled(job, parts, natural)
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


def _chunks(job: jobs.Job, teacher: Teacher, natural) -> list[chunks.Chunk]:
    """The parts of the set that this teacher recovers."""
    config, spec = job.config, job.spec
    bare, real = pools.attach(jax.tree_util.Partial(_nothing), 'encoder', [teacher.variables]), None
    if jobs.reads_real(config):
        real = pools.attach(config.entry.feed(config, job.dataset), 'encoder', [teacher.variables])
    images = natural.images.shape[1] if natural is not None else config.ipc
    start = _source(job, teacher, natural)
    made = []
    for classes, numbers in chunks.cut(
        spec.num_classes,
        images,
        classes=config.classes_per_chunk or spec.num_classes,
        images=config.recover.images_per_chunk,
    ):
        feed = bare if real is None else _of(real, classes, spec.num_classes)
        shape = (classes.stop - classes.start, numbers.stop - numbers.start, *spec.image_shape)
        made.append(
            chunks.Chunk(functools.partial(start, classes, numbers, len(made)), feed, shape)
        )
    return made


def _source(job: jobs.Job, teacher: Teacher, natural):
    """What a part starts from: (classes, images, number) -> set."""
    config, spec = job.config, job.spec
    real = natural if natural is not None else _real_start(job, teacher)

    def start(classes: slice, numbers: slice, number: int) -> SyntheticSet:
        labels = jnp.repeat(
            jnp.eye(spec.num_classes)[classes, None], numbers.stop - numbers.start, axis=1
        )
        if real is not None:
            return SyntheticSet(jnp.asarray(real.images[classes, numbers]), labels)
        shape = (*labels.shape[:2], *spec.image_shape)
        own = jax.random.fold_in(jobs.key(config, jobs.INITIAL), number)
        return SyntheticSet(jax.random.normal(own, shape), labels)

    return start


def _real_start(job: jobs.Job, teacher: Teacher) -> SyntheticSet | None:
    """The real images that are kept, or that recovery starts from; None where that is noise."""
    config, source = job.config, job.dataset.train
    key, count = jobs.key(config, jobs.INITIAL), jobs.real_start(config, job.spec)
    if config.init == 'real':
        return data.real_subset(key, source, job.spec, ipc=count)
    if config.init == 'rded':
        return rded.realistic_subset(
            key, source, job.spec, teacher.model, teacher.variables, ipc=count
        )
    return job.initial  # a core-set, or None


def _nothing(key, step) -> Inputs:
    del key, step
    return Inputs()


def _of(feed: Feed[Inputs], classes: slice, num_classes: int) -> Feed[Inputs]:
    """A feed whose real images are those of a part's classes."""
    if classes.stop - classes.start == num_classes:
        return feed
    return feeds.transform(feed, _real_of, jnp.arange(classes.start, classes.stop))


def _real_of(classes: jax.Array, inputs: Inputs, key: PRNGKey, step: jax.Array) -> Inputs:
    del key, step
    weights = inputs.real_weights
    return inputs._replace(
        real=inputs.real[classes], real_weights=None if weights is None else weights[classes]
    )


def _assembled(job: jobs.Job, parts, natural) -> tuple[SyntheticSet, dict[str, np.ndarray]]:
    """The whole set as students see it, and what of it is stored."""
    config, spec = job.config, job.spec
    box = (spec.mean, spec.std)
    if natural is None:
        rows = chunks.cut(
            spec.num_classes,
            config.ipc,
            classes=config.classes_per_chunk or spec.num_classes,
            images=config.recover.images_per_chunk,
        )
        images = np.zeros(
            (spec.num_classes, config.ipc, *spec.image_shape),
            np.float32 if config.recover.storage == 'exact' else np.uint8,
        )
        for where, params in zip(rows, parts[0]):
            images[where] = as_stored(params['images'], spec, config.recover.storage)
        return _labelled(job, as_seen(images, spec)), {'images': images}
    compensators = np.stack(
        [np.concatenate([np.asarray(p['compensators']) for p in part]) for part in parts]
    )
    if config.recover.storage == 'exact':
        kept = {
            'natural': np.asarray((data.denormalise(spec, natural.images) * 255).round(), np.uint8),
            'compensators': compensators.astype(np.float16),
        }
        made = methods.instances(
            as_seen(kept['natural'], spec), jnp.asarray(kept['compensators'], jnp.float32), box
        )
        return _labelled(job, made), kept
    images = as_stored(
        methods.instances(natural.images, jnp.asarray(compensators), box),
        spec,
        config.recover.storage,
    )
    return _labelled(job, as_seen(images, spec)), {'images': images}


def _labelled(job: jobs.Job, images) -> SyntheticSet:
    labels = jnp.repeat(jnp.eye(job.spec.num_classes)[:, None], images.shape[1], axis=1)
    return SyntheticSet(images, labels)


def as_seen(images: np.ndarray, spec: data.Spec) -> jax.Array:
    """Stored images as a student receives them: normalised float32."""
    return (
        jnp.asarray(images)
        if images.dtype == np.float32
        else data.normalise(spec, jnp.asarray(images))
    )


def as_stored(images, spec: data.Spec, storage: str) -> np.ndarray:
    """Normalised images as they are kept: float32, uint8 rounded down, or uint8 after a JPEG file.

    Args:
        images: `[K, n, H, W, C]`.
        storage: 'exact', 'uint8' or 'jpeg'.
    """
    if storage == 'exact':
        return np.asarray(images, np.float32)
    levels = np.floor(np.clip(np.asarray(data.denormalise(spec, images)), 0, 1) * 255).astype(
        np.uint8
    )
    if storage == 'uint8':
        return levels
    flat = levels.reshape(-1, *levels.shape[2:])
    return np.stack([_through_jpeg(image) for image in flat]).reshape(levels.shape)


def _through_jpeg(image: np.ndarray) -> np.ndarray:
    file = io.BytesIO()
    Image.fromarray(image.squeeze()).save(file, 'jpeg', quality=JPEG_QUALITY)
    return np.asarray(Image.open(file)).reshape(image.shape)


def _before(job: jobs.Job, teacher: Teacher, natural):
    """What the picture shows at the left: natural images, or what recovery starts from."""
    if natural is not None:
        return natural.images
    return _source(job, teacher, None)(
        slice(0, job.spec.num_classes), slice(0, min(job.config.ipc, 10)), 0
    ).images


STAGE = Stage(distil, require_continuable, build.optimizer)
