"""The third stage of a run: students are trained on the distilled set and on real images,
and tested."""

import contextlib
import pathlib
from collections.abc import Callable, Sequence
from typing import NamedTuple

import jax

from experiments.stages import build, choosing, identity, jobs, labelling, students
from experiments.stages.jobs import Scores
from experiments.stages.progress import bar
from jaxdd import data
from jaxdd.engine import evaluate as evaluation
from jaxdd.engine import loop
from jaxdd.engine.distill import NonFiniteError
from jaxdd.networks.teachers import Teacher
from jaxdd.reporting import confusion, report
from jaxdd.storage import records, trees
from jaxdd.storage.fingerprint import fingerprint
from jaxdd.types import Accuracy, SyntheticSet, Variables

Stop = Callable[[], bool]

COUNTS = records.listing(records.COUNT)
# of a finished student: its accuracy with its confusion counts, or, as before these, alone
STUDENT = {
    'anyOf': [
        records.FRACTION,
        records.fields(
            accuracy=records.FRACTION,
            counts=records.fields({'counts': records.listing(COUNTS)}, right=COUNTS, total=COUNTS),
        ),
    ]
}
PER_SEED = records.mapping(records.listing(STUDENT))  # architecture -> finished students
SCORES = records.mapping(records.ACCURACY)  # architecture -> accuracy
REAL = records.fields(accuracy=SCORES, label_bytes=records.COUNT)


class Kept(NamedTuple):
    """Where what is known of a set's students lies."""

    path: pathlib.Path  # the record of the finished ones
    network: pathlib.Path | None = None  # the folder of the first one's weights; None: not kept


class Measured(NamedTuple):
    """What finished students have shown, by architecture."""

    accuracy: dict[str, Accuracy]
    counts: dict[str, list[dict | None]]  # of every student, as `confusion.kept`; None: unknown


def evaluate(
    job: jobs.Job,
    prepared: jobs.Prepared,
    synthetic: SyntheticSet,
    workdir: pathlib.Path,
    stop: Stop,
) -> Scores:
    """Students on the distilled set, and on as many real images, random or a core-set, under the
    same protocol and labels.

    Whatever goes wrong with the real images, the distilled set's accuracies are returned.
    """
    teachers = prepared.teachers
    labelled = label(job, teachers, synthetic, workdir / 'labels.npz')
    record = _kept(job, workdir, labelled, teachers)
    shown = not (job.config.smoke or prepared.proxies or teachers or prepared.chooser)
    kept = Kept(record, record.with_suffix('') if shown else None)
    scored = measured(
        job.config, job.dataset, labelled, stop, title='students (distilled)', kept=kept
    )
    found = Scores(
        scored.accuracy,
        {},
        {'distilled': labelled.label_bytes},
        {},
        scored.counts,
        None if kept.network is None or stop() else _first_student(job, kept.network),
    )
    for kind in jobs.real_rows(job.config):
        try:
            if why := jobs.no_baseline(job):
                raise ValueError(why)
            if not stop():
                found.real[kind], found.label_bytes[kind] = _real(
                    job, prepared, kind, workdir, stop
                )
        except (ValueError, NonFiniteError) as error:
            print(f'{report.of_real(kind)}: no accuracy, because {error}')
            found.missing[kind] = str(error)
    return found


def _first_student(job: jobs.Job, folder: pathlib.Path) -> Variables | None:
    """The weights of the set's first student; None where they were not kept."""
    e = job.config.evaluation
    model = students.architectures(e, job.spec)[0][e.networks[0]]
    return trees.recall_tree(folder, jax.eval_shape(model.init, jax.random.key(0)))


def _real(
    job: jobs.Job, prepared: jobs.Prepared, kind: str, workdir: pathlib.Path, stop: Stop
) -> tuple[dict[str, Accuracy], int]:
    """Accuracies of real images, and the bytes of their labels:
    from the cache, measured where missing."""
    teachers, who = prepared.teachers, identity.of_real(job, prepared, kind)
    cached = jobs.cache(job.config) / kind / f'{fingerprint(who)}.json'
    found = records.recall(cached, REAL)
    if found is not None and set(found['accuracy']) == set(job.config.evaluation.networks):
        print(
            f'{report.of_real(kind)}: the accuracies of an earlier run under the same protocol '
            f'({cached})'
        )
        return restored(found['accuracy']), found['label_bytes']
    subset = label(job, teachers, choosing.real(job, prepared, kind))
    scored = score(
        job.config,
        job.dataset,
        subset,
        stop,
        title=f'students ({kind})',
        path=_kept(job, workdir, subset, teachers),
    )
    if not stop():
        with _unless_full(cached):
            records.save(cached, {'accuracy': scored, 'label_bytes': subset.label_bytes})
    return scored, subset.label_bytes


@contextlib.contextmanager
def _unless_full(path: pathlib.Path):
    """A disk that takes no more costs the next run time, not this one its report."""
    try:
        yield
    except OSError as error:
        print(
            f'{path} could not be written ({error.strerror or error}): the next run measures this '
            'again'
        )


def label(
    job: jobs.Job,
    teachers: list[Teacher],
    synthetic: SyntheticSet,
    path: pathlib.Path | None = None,
) -> labelling.Labelled:
    """A set with what the run's students are shown of it."""
    return labelling.label(
        jobs.key(job.config, jobs.LABELS),
        job.config.evaluation,
        job.spec,
        synthetic,
        teachers,
        path=path,
    )


def score(
    options,
    dataset: data.Dataset,
    labelled: labelling.Labelled,
    stop: Stop,
    *,
    title: str = 'students',
    quiet: bool = False,
    path: pathlib.Path | None = None,
) -> dict[str, Accuracy]:
    """Accuracy of the students of `options.evaluation` on one labelled set, from `options.seed`.

    Args:
        path: keeps the accuracies of the finished students, and those that it holds are not trained
            again.
    """
    kept = None if path is None else Kept(path)
    return measured(options, dataset, labelled, stop, title=title, quiet=quiet, kept=kept).accuracy


def measured(
    options,
    dataset: data.Dataset,
    labelled: labelling.Labelled,
    stop: Stop,
    *,
    title: str = 'students',
    quiet: bool = False,
    kept: Kept | None = None,
) -> Measured:
    """What `score` finds, with the confusion counts of each student.

    Args:
        kept: where finished students are kept; those that are there are not trained again.
    """
    images = labelled.synthetic.images
    config = students.with_learned_rate(options.evaluation, labelled.synthetic)
    group = students.students(
        config, dataset.spec, labelled.supervision, images.shape[0] * images.shape[1]
    )
    known = (records.recall(kept.path, PER_SEED) if kept else None) or {}
    per_seed = {name: list(known.get(name, ()))[: config.num_seeds] for name in group}
    shown, move = bar(
        title,
        config.num_seeds * sum(one.recipe.num_steps for one in group.values()),
        initial=sum(len(per_seed[name]) * one.recipe.num_steps for name, one in group.items()),
    )
    shown.disable |= quiet
    control = loop.Control(jobs.steps_per_call(options), [move], stop)
    with shown:
        for name, student in group.items():
            for some in evaluation.finished(
                jobs.key(options, jobs.STUDENTS),
                labelled.synthetic,
                dataset.test,
                student,
                seeds=range(len(per_seed[name]), config.num_seeds),
                preprocess=build.preprocess(dataset.spec),
                control=control,
            ):
                if kept and kept.network and name == next(iter(group)) and not per_seed[name]:
                    with _unless_full(kept.network):
                        trees.save_tree(kept.network, some[0].variables, {'student': name})
                per_seed[name] += map(_record, some)
                if kept:
                    records.save(kept.path, per_seed)
    return Measured(
        {
            name: evaluation.summary([_accuracy(one) for one in some])
            for name, some in per_seed.items()
            if some
        },
        {
            name: [one['counts'] if isinstance(one, dict) else None for one in some]
            for name, some in per_seed.items()
        },
    )


def _record(one: evaluation.Finished) -> dict:
    return {'accuracy': evaluation.share(one.counts), 'counts': confusion.kept(one.counts)}


def _accuracy(one: float | dict) -> float:
    """Of a student's record, also of one from before there were counts."""
    return one['accuracy'] if isinstance(one, dict) else one


def restored(rows: dict[str, dict]) -> dict[str, Accuracy]:
    """Accuracies, back from a record."""
    return {
        name: Accuracy(row['mean'], row['std'], tuple(row['per_seed']))
        for name, row in rows.items()
    }


def _kept(
    job: jobs.Job, workdir: pathlib.Path, labelled: labelling.Labelled, teachers: Sequence[Teacher]
) -> pathlib.Path:
    """Where the accuracies of one set's finished students lie,
    under a name for all that determines them."""
    who = identity.of_set(job.config, job.dataset, labelled, teachers)
    return workdir / 'students' / f'{fingerprint(who)}.json'
