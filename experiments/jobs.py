"""A configuration with everything built from it; what identifies its parts; what its stages say."""
import contextlib
import dataclasses
import pathlib
from typing import NamedTuple

import jax

from experiments import build, rehearsal, students
from experiments.configs import Config
from jaxdd import data, locks, parallel, report
from jaxdd.files import expanded
from jaxdd.types import Method, Model, SyntheticSet


INITIAL, RUN, STUDENTS, RANDOM, LABELS = range(5)  # what the keys of a run are for


class Job(NamedTuple):
    """A configuration with everything that is built from it."""
    config: Config
    spec: data.Spec
    dataset: data.Dataset
    methods: tuple[Method, ...]      # without regularizers: one, or one per teacher
    models: dict[str, Model]         # of the roles that regularizers add
    initial: SyntheticSet | None     # None: every chunk makes its own
    steps_per_call: int

    @property
    def method(self) -> Method:
        """The only method, or the first teacher's."""
        return self.methods[0]


def load(config: Config) -> Job:
    """Reads the data and builds everything that can fail on wrong input, before any computation."""
    d = config.data
    if d.image_size is not None:    # before an image of that size is decoded
        rehearsal.require_memory(config, (d.image_size, d.image_size, 3), 1, 0)
    dataset = data.load(config.dataset, data_dir=d.data_dir, image_size=d.image_size, lazy=d.lazy, resize=d.resize)
    dataset = dataset._replace(spec=_normalised(config, dataset.spec))
    spec = dataset.spec
    drawn = data.drawn_per_class(dataset.train, spec, d.per_class)
    rehearsal.require_memory(config, spec.image_shape, spec.num_classes, sum(drawn))
    made = build.made(config, dataset)
    models = {'proxy': build.model(config.proxies.network, spec)} if needs_proxy(config) else {}
    rehearsal.rehearse(config, dataset)
    decoupled = config.method in build.DECOUPLED
    if decoupled:
        build.require_affordable(config, dataset)
    initial = None if decoupled else _initial(config, dataset, made[0])
    return Job(config, spec, dataset, made, models, initial, steps_per_call(config))


def _normalised(config: Config, spec: data.Spec) -> data.Spec:
    """The data set's row with the normalisation that was asked for."""
    chosen = {name: value for name in ('mean', 'std') if (value := getattr(config.data, name)) is not None}
    for name, value in chosen.items():
        if len(value) != spec.image_shape[-1]:
            raise ValueError(f'data.{name} must be {spec.image_shape[-1]} numbers, one per channel, got {len(value)}')
    return spec._replace(**chosen)


def _initial(config: Config, dataset: data.Dataset, method: Method) -> SyntheticSet:
    """The first synthetic images, before the parametrization stores them.

    Raises:
        ValueError: classes too small, or images that the parametrization cannot store.
    """
    needed, spec = build.images_per_class(config), dataset.spec
    smallest = data.class_members(dataset.train, spec.num_classes, len(dataset.train.labels))[1]
    if needed > max(smallest, config.ipc):  # without mosaics the subset itself refuses
        raise ValueError(f'ipc must be at most {smallest * config.ipc // needed} here: each of the {config.ipc} stored '
                         f'images per class starts from {needed // config.ipc} real ones, and the smallest class has '
                         f'{smallest}')
    initial = data.real_subset(key(config, INITIAL), dataset.train, spec, ipc=needed)
    if config.init == 'noise':
        initial = initial._replace(images=jax.random.normal(key(config, INITIAL), initial.images.shape))
    jax.eval_shape(lambda: method.parametrization.init(key(config, INITIAL), initial))
    return initial


def steps_per_call(options) -> int:
    """Steps per dispatch: as configured, else what suits the hardware."""
    return options.steps_per_call or (5 if parallel.on_cpu() else 50)


def needs_proxy(config: Config) -> bool:
    """Whether a plug-in reads a proxy."""
    return any(read.role == 'proxy' for term in build.terms(config).values() for read in term.reads)


def reads_real(config: Config) -> bool:
    """Whether a step looks at real images: matching does, recovery only for a plug-in that does."""
    return config.method not in build.DECOUPLED or any(
        read.data == 'real' for term in build.terms(config).values() for read in term.reads)


def real_per_class(job: Job) -> dict[str, int] | None:
    """Real images per class and step: asked for, and drawn of the class that gives least and most; None: none."""
    if not reads_real(job.config):
        return None
    asked = job.config.data.per_class
    drawn = data.drawn_per_class(job.dataset.train, job.spec, asked)
    return {'asked': asked, 'least': min(drawn), 'most': max(drawn)}


def identity(job: Job) -> dict:
    """What determines the distilled images: data and configuration, less paths, evaluation and how far to go."""
    config = job.config
    fields = {**dataclasses.asdict(config), 'data_set': data_identity(job), 'plugins': sorted(config.plugins)}
    decoupled = config.method in build.DECOUPLED
    for name in ('workdir', 'cache_dir', 'evaluation', 'checkpoint_every', 'keep', 'steps_per_call', 'num_devices',
                 'smoke', *(() if decoupled or config.optimizer.schedule == 'cosine' else ('num_steps',)),
                 *(() if decoupled else ('teachers',))):
        del fields[name]
    del fields['data']['data_dir']
    if decoupled:
        del fields['teachers']['checkpoint_every']
        if config.teachers.depth is None:    # as before there was a choice
            del fields['teachers']['depth']
        for name in ('together', 'part', 'storage'):
            del fields['recover'][name]
    if not needs_proxy(config):
        del fields['proxies']
    drawn = real_per_class(job)
    if drawn and drawn['least'] < drawn['most']:    # where classes differ, it matters how many of each are drawn
        fields['real_per_class'] = drawn
    fields['regularizers'] = {name: fields['regularizers'][name] for name in sorted(fields['regularizers'])
                              if name in config.plugins or name == 'cc_form' and 'cc' in config.plugins}
    return fields


def pool_identity(job: Job) -> dict:
    """What determines the proxies' weights: recipe, seed and data."""
    fields = dataclasses.asdict(job.config.proxies)
    del fields['count']
    return {'recipe': fields, **data_identity(job)}


def data_identity(job: Job) -> dict:
    """What determines the data: normalisation, images and labels."""
    train = job.dataset.train
    return {'mean': job.spec.mean, 'std': job.spec.std, 'images': list(train.images.shape),
            'checksum': data.checksum(train)}


def cache(config: Config) -> pathlib.Path:
    """The folder of what runs share."""
    return expanded(config.cache_dir)


def prepare_message(job: Job) -> str:
    """What the second stage will do."""
    p, t = job.config.proxies, job.config.teachers
    parts, images = [], len(job.dataset.train.labels)
    if job.models:
        parts.append(f'{p.count} proxies ({p.network.name}), {p.epochs:g} epochs of {images} images each')
    if t.networks:
        how = 'loaded' if t.weights else f'squeezed for {t.epochs:g} epochs of {images} images'
        parts.append(f'{len(t.networks)} teacher{"s" if len(t.networks) > 1 else ""} ({", ".join(t.networks)}), {how}')
    if not parts:
        return 'no plug-in reads a proxy: nothing to prepare'
    return f'{"; ".join(parts)}; cached in {job.config.cache_dir}'


def distil_message(job: Job) -> str:
    """What the third stage will do."""
    c, real = job.config, real_per_class(job)
    seen = [] if real is None else [f'{report.real_per_class(real)} real images per class and step']
    seen += ['in independent chunks'] if c.method in build.DECOUPLED else []
    return (f'distilling {job.spec.num_classes * c.ipc} images with {" + ".join((c.method, *c.plugins))}: '
            f'{c.num_steps} steps, {", ".join(seen)}, on {parallel.hardware()}')


def evaluate_message(job: Job) -> str:
    """What the fourth stage will do."""
    e = job.config.evaluation
    labels = '' if e.labels == 'hard' else f' with {e.labels} labels'
    return (f'training {e.num_seeds} students x {", ".join(e.networks)} for {students.num_epochs(e)} epochs on the '
            f'distilled set{labels}, and {"none" if no_baseline(job) else "as many"} on random real images')


def no_baseline(job: Job) -> str | None:
    """Why there are no random real images to compare with; None where there are."""
    sizes = data.class_sizes(job.dataset.train, job.spec.num_classes)
    if job.config.ipc <= sizes.min():
        return None
    return f'{job.config.ipc} images per class are more than class {int(sizes.argmin())} has ({int(sizes.min())})'


def turn(folder: pathlib.Path, stop) -> contextlib.AbstractContextManager[bool]:
    """Waits until no other run works in a folder that runs share; of several hosts only the first one asks."""
    if not parallel.first_process():
        return contextlib.nullcontext(True)
    return locks.in_turn(folder, should_stop=stop)


def key(config, purpose: int) -> jax.Array:
    """The key of one purpose of a run; everything random in it follows from `seed`."""
    return jax.random.fold_in(jax.random.key(config.seed), purpose)
