"""The records of a run: a configuration with everything built from it,
and what its stages leave."""

import contextlib
import pathlib
from typing import NamedTuple

import jax
import numpy as np

from experiments.configs import Config
from experiments.stages import build, rehearsal, watching
from jaxdd import data, parallel
from jaxdd.coresets import selection
from jaxdd.networks.teachers import Teacher
from jaxdd.storage import locks
from jaxdd.storage.atomic import expanded
from jaxdd.types import Accuracy, Method, Model, PyTree, SyntheticSet, Variables

INITIAL, RUN, STUDENTS, RANDOM, LABELS = range(5)  # what the keys of a run are for


class Job(NamedTuple):
    """A configuration with everything that is built from it."""

    config: Config
    spec: data.Spec
    dataset: data.Dataset
    methods: tuple[Method, ...]  # without regularizers: one, or one per teacher
    models: dict[str, Model]  # of the roles that regularizers add
    initial: SyntheticSet | None  # None: every chunk makes its own
    steps_per_call: int

    @property
    def method(self) -> Method:
        """The only method, or the first teacher's."""
        return self.methods[0]


class Chooser(NamedTuple):
    """The network in whose features core-sets are chosen."""

    model: Model  # in test mode
    variables: Variables


class Prepared(NamedTuple):
    """Networks trained on the real set."""

    proxies: list[Variables]
    teachers: list[Teacher]
    experts: list[PyTree] = []  # their parameters, epoch by epoch
    chooser: Chooser | None = None  # of core-sets, where any is asked for
    verifier: Teacher | None = None  # of images that are recovered, where one is asked for


class Distilled(NamedTuple):
    """What distillation leaves."""

    synthetic: SyntheticSet  # decoded: what students see
    stored: dict[str, np.ndarray]  # what is kept, by name
    before: jax.Array  # [K, n, H, W, C] normalised: what it started from
    after: jax.Array  # [K, m, H, W, C] normalised: what the picture shows beside it
    titles: tuple[str, str]  # of the picture's halves
    counts: dict[str, float]  # images per class: as stored, as counted, as trained on
    weights: dict[str, float]  # lambda of each plug-in
    seconds_per_step: float  # median, compilation excluded; 0 when nothing was left to do
    compile_seconds: float
    accuracies: dict[int, dict[str, Accuracy]]  # step -> on the way
    history: list[dict]
    marks: dict[int, str] = {}  # step of the history -> what begins there


class Scores(NamedTuple):
    """Accuracy of students on the distilled set and on real images, by architecture."""

    distilled: dict[str, Accuracy]
    real: dict[str, dict[str, Accuracy]]  # 'random', or a core-set -> {} where there are none
    label_bytes: dict[str, int]  # of every set
    missing: dict[str, str] = {}  # 'random', or a core-set -> why it is not there
    # of the distilled set's students, by architecture; None of one whose counts nobody kept
    counts: dict[str, list[dict | None]] = {}
    student: Variables | None = None  # the first one, where it was asked for and is there


def load(config: Config) -> Job:
    """Reads the data and builds everything that can fail on wrong input, before any computation."""
    watching.require(config)
    dataset = read(config)
    d, spec = config.data, dataset.spec
    drawn = data.drawn_per_class(dataset.train, spec, d.per_class)
    rehearsal.require_memory(config, spec.image_shape, spec.num_classes, sum(drawn))
    made = config.entry.build(config, dataset)
    proxy = build.model(config.proxies.network, spec) if trains_proxies(config) else None
    if proxy and config.proxies.pixels == 'unit':
        proxy = build.of_pixels(config.proxies.network, spec)
    models = {'proxy': proxy} if needs_proxy(config) else {}
    rehearsal.rehearse(config, dataset)
    if config.recovers:
        build.require_affordable(config, dataset)
    initial = _given(config, spec) if config.init == 'given' else None
    if not config.recovers:
        initial = _initial(config, dataset, made[0], initial)
    return Job(config, spec, dataset, made, models, initial, steps_per_call(config))


def read(config: Config) -> data.Dataset:
    """The data set of a run, as its networks see it."""
    d = config.data
    if d.image_size is not None:  # before an image of that size is decoded
        rehearsal.require_memory(config, (d.image_size, d.image_size, 3), 1, 0)
    dataset = data.load(
        config.dataset, data_dir=d.data_dir, image_size=d.image_size, lazy=d.lazy, resize=d.resize
    )
    if d.classes:
        dataset = data.of_classes(dataset, d.classes)
    dataset = dataset._replace(spec=_normalised(config, dataset.spec))
    if d.zca:
        dataset = _whitened(config, dataset)
    return dataset


def _normalised(config: Config, spec: data.Spec) -> data.Spec:
    """The data set's row with the normalisation that was asked for."""
    chosen = {
        name: value for name in ('mean', 'std') if (value := getattr(config.data, name)) is not None
    }
    for name, value in chosen.items():
        if len(value) != spec.image_shape[-1]:
            raise ValueError(
                f'data.{name} must be {spec.image_shape[-1]} numbers, one per channel, got '
                f'{len(value)}'
            )
    return spec._replace(**chosen)


def _whitened(config: Config, dataset: data.Dataset) -> data.Dataset:
    """The data set after ZCA, whose matrix is fitted once and kept in the cache."""
    folder = cache(config) / 'whitening'
    with turn(folder, lambda: False):
        how = data.recalled_fit(dataset, folder)
    return data.whitened(dataset, how)


def _given(config: Config, spec: data.Spec) -> SyntheticSet:
    """The images that the user gave."""
    return data.given_subset(str(config.init_path), spec, ipc=real_start(config, spec))


def _initial(
    config: Config, dataset: data.Dataset, method: Method, given: SyntheticSet | None
) -> SyntheticSet:
    """The first synthetic images, before the parametrization stores them.

    Raises:
        ValueError: classes too small, or images that the parametrization cannot store.
    """
    needed, spec = config.entry.real_per_class(config), dataset.spec
    smallest = data.class_members(dataset.train, spec.num_classes, len(dataset.train.labels))[1]
    if needed > max(smallest, config.ipc):  # without mosaics the subset itself refuses
        raise ValueError(
            f'ipc must be at most {smallest * config.ipc // needed} here: each of the {config.ipc} '
            f'stored images per class starts from {needed // config.ipc} real ones, and the '
            f'smallest class has {smallest}'
        )
    initial = given or data.real_subset(key(config, INITIAL), dataset.train, spec, ipc=needed)
    if config.init == 'noise':
        initial = initial._replace(
            images=jax.random.normal(key(config, INITIAL), initial.images.shape)
        )
    if config.init == 'uniform':
        unit = jax.random.uniform(key(config, INITIAL), initial.images.shape)
        levels = np.asarray(unit * 256, np.uint8)
        initial = initial._replace(images=data.normalise(spec, levels))
    jax.eval_shape(lambda: method.parametrization.init(key(config, INITIAL), initial))
    return initial


def steps_per_call(options) -> int:
    """Steps per dispatch: as configured, else what suits the hardware."""
    return options.steps_per_call or (5 if parallel.on_cpu() else 50)


def precision(options) -> str:
    """What networks' bodies compute in: as configured, else what suits the hardware."""
    return options.precision or ('f32' if parallel.on_cpu() else 'bf16')


def needs_proxy(config: Config) -> bool:
    """Whether a plug-in reads a proxy."""
    return any(read.role == 'proxy' for term in build.terms(config).values() for read in term.reads)


def real_start(config: Config, spec: data.Spec) -> int:
    """Real images per class that the first set is made of, or that are kept (INFER)."""
    natural = config.entry.natural
    return natural(config, spec) if natural else config.entry.real_per_class(config)


def trains_proxies(config: Config) -> bool:
    """Whether a plug-in reads proxies, or a core-set is chosen in the features of one."""
    return needs_proxy(config) or (chooses(config) and not config.teachers.networks)


def real_rows(config: Config) -> tuple[str, ...]:
    """The sets of real images that are scored beside the distilled one."""
    return ('random', *config.evaluation.coresets)


def chooses(config: Config) -> bool:
    """Whether a core-set is scored or started from."""
    return bool(config.evaluation.coresets) or config.init in selection.RULES


def reads_real(config: Config) -> bool:
    """Whether a step looks at real images:
    matching does, recovery and students of experts only for a plug-in that does."""
    return config.matches_real or any(
        read.data == 'real' for term in build.terms(config).values() for read in term.reads
    )


def real_per_class(job: Job) -> dict[str, int] | None:
    """Real images per class and step:
    asked for, and drawn of the class that gives least and most; None: none."""
    if not reads_real(job.config):
        return None
    asked = job.config.data.per_class
    drawn = data.drawn_per_class(job.dataset.train, job.spec, asked)
    return {'asked': asked, 'least': min(drawn), 'most': max(drawn)}


def cache(config: Config) -> pathlib.Path:
    """The folder of what runs share."""
    return expanded(config.cache_dir)


def no_baseline(job: Job) -> str | None:
    """Why there are no sets of as many real images to compare with; None where there are."""
    sizes = data.class_sizes(job.dataset.train, job.spec.num_classes)
    if job.config.ipc <= sizes.min():
        return None
    return (
        f'{job.config.ipc} images per class are more than class {int(sizes.argmin())} has '
        f'({int(sizes.min())})'
    )


def turn(folder: pathlib.Path, stop) -> contextlib.AbstractContextManager[bool]:
    """Waits until no other run works in a folder that runs share."""
    return locks.in_turn(folder, should_stop=stop)


def key(config, purpose: int) -> jax.Array:
    """The key of one purpose of a run; everything random in it follows from `seed`."""
    return jax.random.fold_in(jax.random.key(config.seed), purpose)
