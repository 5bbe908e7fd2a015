"""A configuration with everything built from it; what identifies its parts; what its stages say."""
import dataclasses
import pathlib
import zlib
from typing import NamedTuple

import jax
import numpy as np

from experiments import build
from experiments.configs import Config
from jaxdd import data, parallel
from jaxdd.types import Method, Model, SyntheticSet


INITIAL, RUN, STUDENTS, RANDOM = range(4)  # what the keys of a run are for


class Job(NamedTuple):
    """A configuration with everything that is built from it."""
    config: Config
    spec: data.Spec
    dataset: data.Dataset
    method: Method                   # without regularizers
    models: dict[str, Model]         # of the roles that regularizers add
    initial: SyntheticSet
    steps_per_call: int


def load(config: Config) -> Job:
    """Reads the data and builds everything that can fail on wrong input, before any computation."""
    dataset = data.load(config.dataset, data_dir=config.data.data_dir, image_size=config.data.image_size)
    spec = dataset.spec
    method = build.method(config, dataset)
    models = {'proxy': build.model(config.proxies.network, spec)} if needs_proxy(config) else {}
    build.students(config.evaluation, spec)
    initial = _initial(config, dataset, method)
    return Job(config, spec, dataset, method, models, initial, steps_per_call(config))


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
    return options.steps_per_call or (1 if parallel.on_cpu() else 50)


def needs_proxy(config: Config) -> bool:
    """Whether a plug-in reads a proxy."""
    return any(read.role == 'proxy' for term in build.terms(config).values() for read in term.reads)


def identity(job: Job) -> dict:
    """What determines the distilled images: data and configuration, less paths, evaluation and how far to go."""
    config = job.config
    fields = {**dataclasses.asdict(config), 'data_set': _data_identity(job), 'plugins': sorted(config.plugins)}
    for name in ('workdir', 'cache_dir', 'num_steps', 'evaluation', 'checkpoint_every', 'keep', 'steps_per_call',
                 'num_devices', 'smoke'):
        del fields[name]
    del fields['data']['data_dir']
    if not needs_proxy(config):
        del fields['proxies']
    fields['regularizers'] = {name: fields['regularizers'][name] for name in sorted(fields['regularizers'])
                              if name in config.plugins or name == 'cc_form' and 'cc' in config.plugins}
    return fields


def pool_identity(job: Job) -> dict:
    """What determines the proxies' weights: recipe, seed and data."""
    fields = dataclasses.asdict(job.config.proxies)
    del fields['count']
    return {'recipe': fields, **_data_identity(job)}


def baseline_identity(job: Job) -> dict:
    """What determines the accuracy of random real images: protocol, learning rates, size, seed and data."""
    c = job.config
    rates = {name: build.student_rate(c.evaluation, name) for name in c.evaluation.networks}
    return {'evaluation': dataclasses.asdict(c.evaluation), 'learning_rates': rates, 'ipc': c.ipc, 'seed': c.seed,
            'hardware': parallel.hardware(), **_data_identity(job)}


def _data_identity(job: Job) -> dict:
    train = job.dataset.train
    return {'mean': job.spec.mean, 'std': job.spec.std, 'images': list(np.shape(train.images)),
            'checksum': zlib.crc32(np.ascontiguousarray(train.labels), zlib.crc32(np.ascontiguousarray(train.images)))}


def cache(config: Config) -> pathlib.Path:
    """The folder of what runs share."""
    return pathlib.Path(config.cache_dir).expanduser()


def prepare_message(job: Job) -> str:
    """What the second stage will do."""
    p = job.config.proxies
    if not job.models:
        return 'no plug-in reads a proxy: nothing to prepare'
    return (f'{p.count} proxies ({p.network.name}), {p.epochs:g} epochs of {len(job.dataset.train.labels)} images '
            f'each; cached in {job.config.cache_dir}')


def distil_message(job: Job) -> str:
    """What the third stage will do."""
    c = job.config
    return (f'distilling {job.spec.num_classes * c.ipc} images with {" + ".join((c.method, *c.plugins))}: '
            f'{c.num_steps} steps, {c.data.per_class} real images per class and step, on {parallel.hardware()}')


def evaluate_message(job: Job) -> str:
    """What the fourth stage will do."""
    e = job.config.evaluation
    return (f'training {e.num_seeds} students x {", ".join(e.networks)} for {build.num_epochs(e)} epochs on the '
            'distilled set, and as many on random real images')


def key(config, purpose: int) -> jax.Array:
    """The key of one purpose of a run; everything random in it follows from `seed`."""
    return jax.random.fold_in(jax.random.key(config.seed), purpose)
