"""What a run leaves in its workdir: the distilled set, pictures, results.json and its pages."""

import dataclasses
import math
import os
import pathlib
import subprocess
import tempfile
from collections.abc import Sequence
from importlib import metadata

import numpy as np

from experiments.configs import Config, cells, papers, plugins, presets
from experiments.configs.base import CORESETS
from experiments.stages import comparing, drawing, jobs, labelling, students, watching
from experiments.stages.jobs import Distilled, Job, Prepared, Scores
from jaxdd import hosts, parallel, whitening
from jaxdd.networks.teachers import Teacher
from jaxdd.reporting import confusion, report
from jaxdd.storage import records
from jaxdd.storage.fingerprint import changes

PACKAGES = ('jax', 'flax', 'optax', 'orbax-checkpoint', 'numpy')
FLAGS = ('XLA_FLAGS', 'LIBTPU_INIT_ARGS')
# times the range of a pixel: free pixels leave the range of images by a factor of a few
ABSURD = 100
NOT_OF_THE_NUMBER = (
    'workdir',
    'cache_dir',
    'seed',
    'smoke',
    'checkpoint_every',
    'keep',
    'steps_per_call',
    'num_devices',
    'transfer_guard',
    'hosts',
    'estimate',
    'tensorboard',
    'profile',
    'num_sets',
    'regularizers',
)
NOT_OF_THE_NUMBER_WITHIN = {
    'data': ('data_dir', 'lazy', 'feed'),
    'evaluation': (
        *('every', 'networks', 'pool', 'protocol', 'coresets', 'full_accuracy'),
        *('depth', 'norm', 'activation', 'pooling'),
    ),
    'teachers': ('checkpoint_every', 'weights', 'seed'),
    'recover': ('together', 'part'),
    'proxies': ('seed',),
    'experts': ('checkpoint_every', 'folder', 'together', 'seed'),
    'matching': ('recompute',),
}


def require_writable(folder: pathlib.Path, option: str) -> None:
    """Refuses a folder that cannot be written, before any computation.

    Args:
        folder: made if missing.
        option: the configuration's field that names it.

    Raises:
        ValueError: names the folder and the reason.
    """
    try:
        folder.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryFile(dir=folder):
            pass
    except OSError as error:
        raise ValueError(
            f'the {option} {folder} cannot be written ({error.strerror}); '
            f'give another with --{option.replace("_", "-")}'
        ) from error


def results(
    job: Job,
    teachers: list[Teacher],
    distilled: Distilled,
    scores: Scores,
    seconds: dict[str, float],
    words: Sequence[str],
) -> dict:
    """Everything that a reader needs to believe and repeat a run, as JSON-able records.

    Args:
        seconds: of each stage.
        words: of the command line.
    """
    config = job.config
    e = config.evaluation
    return {
        'method': config.method,
        'plugins': list(config.plugins),
        'dataset': job.spec.name,
        'ipc': config.ipc,
        'command': 'python -m experiments.run ' + ' '.join(words),
        'config': dataclasses.asdict(config),
        **provenance(),
        'precision': jobs.precision(config),
        'seed': config.seed,
        'steps': config.num_steps,
        **_learned(job, distilled),
        'real_per_class': jobs.real_per_class(job),
        'weights': {
            name: {'value': value, 'source': getattr(config.regularizers, name).source}
            for name, value in distilled.weights.items()
        },
        'protocol': {**presets.identified(e), **dataclasses.asdict(e)},
        'accuracy': {'distilled': scores.distilled, 'random': {}, **scores.real},
        'scores': comparing.compared(
            {'distilled': scores.distilled, **scores.real},
            comparing.full_accuracy(e, hard=scores.label_bytes['distilled'] == 0),
            report.protocol(presets.identified(e)),
        ),
        'missing': scores.missing,
        **confusion.of_students(
            e.networks[0], scores.counts.get(e.networks[0], ()), drawing.class_names(job)
        ),
        'students': students.labels(e, job.spec.image_shape),
        'warnings': _warnings(job, distilled),
        'on_the_way': {str(step): accuracy for step, accuracy in distilled.accuracies.items()},
        'seconds': {**seconds, 'compile (within distil)': round(distilled.compile_seconds, 2)},
        'seconds_per_step': distilled.seconds_per_step,
        'bytes': {
            'images': sum(array.nbytes for array in distilled.stored.values()),
            'labels': scores.label_bytes['distilled'],
            **_more_bytes(job, distilled, scores),
        },
        'student_updates': _updates(job, distilled),
        'images': distilled.counts,
        'teachers': {t.name: t.accuracy for t in teachers},
        'published': None if config.data.classes else cells.published(config.entry.cells, config),
        'budget': budget(config),
        'bibtex': [paper.bibtex for paper in papers.used(config, plugins.PLUGINS)],
    }


def write_outputs(
    results: dict,
    job: Job,
    prepared: Prepared,
    distilled: Distilled,
    scores: Scores,
    workdir: pathlib.Path,
) -> str:
    """Writes the pictures, results.json and the reports; returns what the terminal shows."""
    results = {**results, **drawing.draw(job, prepared, distilled, scores, workdir)}
    files = [workdir / name for name in results['pictures'].values()]
    board = watching.Board(watching.folder(job.config, workdir))
    board.scalars(job.config.num_steps, watching.accuracies(scores.distilled))
    if hosts.first() and workdir / drawing.GRID in files:
        board.picture(job.config.num_steps, workdir / drawing.GRID)
    board.close()
    records.save(workdir / 'results.json', results)
    reports = drawing.write_reports(
        results, workdir, drawing.series(job.config, [distilled.history], distilled.marks)
    )
    return (
        f'\n{report.table(results)}\n\n{reports}\npictures: {", ".join(map(str, files))}\n'
        f'distilled set: {workdir / "distilled.npz"}'
    )


def budget(config: Config) -> dict[str, dict[str, str]]:
    """Where a run differs from what was published for its cell:
    field -> {'published', 'here'}; {} where nowhere."""
    published = config.entry.published(config.dataset, config.ipc, config.plugins)
    published = dataclasses.replace(published, precision='f32')
    config = dataclasses.replace(config, precision=jobs.precision(config))
    idle = _unread(published) & _unread(config)
    found = changes(*(_of_the_number(dataclasses.asdict(one), idle) for one in (published, config)))
    return {field: {'published': old, 'here': new} for field, (old, new) in found.items()}


def _unread(config: Config) -> set[str]:
    """Networks that neither the distilled set nor its students see: those that choose the core-sets
    beside it may be any."""
    reads = jobs.needs_proxy(config) or config.init in CORESETS
    return {
        *(() if reads else ('proxies',)),
        *(() if config.teachers.networks else ('teachers',)),
    }


def _of_the_number(fields: dict, idle: set[str]) -> dict:
    """The fields of a configuration that a published number depends on."""
    left_out = {*NOT_OF_THE_NUMBER, *idle}
    kept = {name: value for name, value in fields.items() if name not in left_out}
    for record, names in NOT_OF_THE_NUMBER_WITHIN.items():
        if record not in kept:
            continue
        kept[record] = {name: value for name, value in kept[record].items() if name not in names}
    return kept


def _warnings(job: Job, distilled: Distilled) -> list[str]:
    """What a reader must know before believing the numbers."""
    largest = float(np.abs(_unbounded(job, np.asarray(distilled.synthetic.images))).max())
    if largest <= ABSURD:
        return []
    return [
        (
            f'the distilled pixels reach {largest:.2g} where those of images lie in 0..1: the run '
            "has most likely diverged; lower the learning rate or the regularizers' weights"
        )
    ]


def _learned(job: Job, distilled: Distilled) -> dict:
    """The learning rate that the set brings, and whether its images are whitened."""
    rate = distilled.synthetic.learning_rate
    return {
        **({} if rate is None else {'learned_rate': float(rate)}),
        **({'whitened': True} if job.dataset.whitening is not None else {}),
    }


def _unbounded(job: Job, images: np.ndarray) -> np.ndarray:
    """What networks see as pixels, not clipped to [0, 1]."""
    if job.dataset.whitening is not None:
        return whitening.unwhiten(job.dataset.whitening, images)
    return images * np.float32(job.spec.std) + np.float32(job.spec.mean)


def _updates(job: Job, distilled: Distilled) -> dict[str, int]:
    """Optimiser updates of one student of either set:
    sets of another size train longer under the same epochs."""
    sizes = {'distilled': distilled.synthetic.images.shape[1], 'random': job.config.ipc}
    e = job.config.evaluation
    return {
        name: students.recipe(e, size * job.spec.num_classes, e.networks[0]).num_steps
        for name, size in sizes.items()
    }


def _more_bytes(job: Job, distilled: Distilled, scores: Scores) -> dict:
    """What sets of real images take; and what every soft label of a training would take,
    were it kept."""
    e, spec = job.config.evaluation, job.spec
    images = distilled.synthetic.images
    real = job.config.ipc * spec.num_classes * math.prod(spec.image_shape)
    more = {f'{kind} images': real for kind in scores.real}
    more |= {f'{kind} labels': scores.label_bytes[kind] for kind in scores.real}
    if e.labels in ('dynamic', 'replayed'):
        more['labels, were all kept'] = labelling.storable_bytes(
            e, images.shape[0] * images.shape[1], spec.num_classes
        )
    return more


def provenance() -> dict:
    """What a number was made with: versions of the packages, commit, hardware and the compiler's
    flags."""
    return {
        'versions': VERSIONS,
        'commit': COMMIT,
        'hardware': parallel.hardware(),
        'processes': hosts.count(),
        'flags': {name: os.environ[name] for name in FLAGS if name in os.environ},
    }


def checked_out(folder: pathlib.Path) -> str:
    """The commit that a folder's checkout stands at, with '+changes' where a tracked file differs
    from it; 'unknown' outside a checkout."""

    def git(*words: str) -> str:
        return subprocess.run(
            ('git', *words), cwd=folder, capture_output=True, text=True, check=True
        ).stdout.strip()

    try:
        changed = git('status', '--porcelain', '--untracked-files=no')
        return git('rev-parse', '--short', 'HEAD') + ('+changes' if changed else '')
    except (OSError, subprocess.CalledProcessError):
        return 'unknown'


# As the process began: while it runs for hours, the checkout and the environment may go on, and its
# own code does not.
COMMIT = checked_out(pathlib.Path(__file__).parent)
VERSIONS = {name: metadata.version(name) for name in PACKAGES}  # of the packages that compute
