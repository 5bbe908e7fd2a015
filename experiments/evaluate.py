"""Scores a distilled set on several architectures, with a recipe for each,
and names the largest drop.

    python -m experiments.evaluate runs/dm-iid/distilled.npz \\
        --evaluation.networks convnet alexnet vgg11 resnet18

Prints the table and writes evaluation.json beside the set. Finished architectures are kept there:
the same command trains only those that are missing.
"""

import argparse
import dataclasses
import functools
import pathlib
import sys
from collections.abc import Sequence
from typing import NamedTuple

import jax
import numpy as np
import tyro

from experiments.configs import base, presets, validation
from experiments.configs.rules import Count, Seed, choice
from experiments.stages import comparing, identity, jobs, labelling, scores, students, workplace
from jaxdd import data, hosts, parallel
from jaxdd.engine.distill import NonFiniteError
from jaxdd.reporting import report
from jaxdd.storage import distilled_set, locks, manifest, records
from jaxdd.storage.atomic import expanded
from jaxdd.storage.fingerprint import differences
from jaxdd.types import Accuracy, SyntheticSet

CROSS = ('convnet', 'alexnet', 'vgg11', 'resnet18')  # IID's cross-architecture test
STOPPED = 3
PROGRAM = 'python -m experiments.evaluate'
RECORD = {
    'type': 'object',
    'required': ['identity', 'accuracy'],
    'properties': {'identity': {'type': 'object'}, 'accuracy': records.mapping(scores.SCORES)},
}


@base.frozen
class Options:
    """One evaluation of one distilled set."""

    distilled: tyro.conf.Positional[str]
    """A distilled.npz."""
    dataset: str
    """Where the test images come from; default: what the set was distilled from."""
    data_dir: str | None = None
    """Folder of the prepared data sets; default: TensorFlow Datasets' own."""
    image_size: Count | None = None
    """Pixels; resizes an image folder's images. Default: as the set's own were."""
    resize: choice('square', 'stretched', 'margin') = 'square'
    """Of an image folder: 'square', 'stretched' or 'margin'.
    Default: as the set's own images were."""
    evaluation: base.Evaluation = base.Evaluation()
    """Default: the protocol that the set was scored under, on those of IID's four architectures
    (or of `evaluation.pool`) that fit its images."""
    random: bool = False
    """Also score as many random real images, stored ones counted, under the same protocol."""
    seed: Seed = 0
    output: str | None = None
    """Default: evaluation.json beside the set."""
    steps_per_call: Count | None = None
    """Steps per dispatch; default: 5 on CPUs, 50 on accelerators."""
    num_devices: Count | None = None
    """Devices to use; default: all, one per core on a CPU host."""
    precision: base.PRECISION | None = None
    """Of what networks compute before their last layer; default: 'bf16' on accelerators, 'f32' on
    CPUs."""
    hosts: base.Hosts = base.Hosts()


class Given(NamedTuple):
    """A distilled set as its file holds it."""

    synthetic: SyntheticSet
    about: dict  # the file's other fields
    made: dict  # the configuration that made it; {} where nobody says


def main(argv: Sequence[str]) -> int:
    """Runs one command line; exit code 0 done, 2 wrong input or a student that diverged,
    3 stopped."""
    try:
        return run(*parse(argv))
    except (ValueError, NonFiniteError, OSError, jax.errors.JaxRuntimeError) as error:
        return hosts.failed(error)


def parse(argv: Sequence[str]) -> tuple[Options, Given]:
    """The options, with the set's own data set and protocol as defaults; and the set.

    Raises:
        ValueError: no set, an unreadable one, or a value out of range.
        SystemExit: an unknown or malformed option (code 2), or `--help` (0).
    """
    if not argv or argv[0].startswith('-'):
        if set(argv) & {'-h', '--help'}:
            tyro.cli(
                Options,
                args=['--help'],
                prog=PROGRAM,
                default=Options(distilled='PATH', dataset="the set's own"),
            )
        raise ValueError(f'the first argument is a distilled set: {PROGRAM} PATH/distilled.npz')
    synthetic, about = distilled_set.load_npz(argv[0])
    made = about['info'].get('config', {})
    try:
        default = _defaults(argv, made)
        validation.require_evaluation(default)
    except (AttributeError, TypeError) as error:
        raise ValueError(
            f'{argv[0]}: info.config is not the configuration of a run ({error})'
        ) from error
    options = tyro.cli(Options, args=list(argv), prog=PROGRAM, default=default)
    validation.require_evaluation(options)
    options = dataclasses.replace(options, evaluation=presets.resolved(options.evaluation))
    return options, Given(synthetic, about, made)


def _defaults(argv: Sequence[str], made: dict) -> Options:
    """What holds unless the command line says something else."""
    words = argparse.ArgumentParser(add_help=False, allow_abbrev=False)
    words.add_argument('--evaluation.protocol', dest='protocol')
    words.add_argument('--evaluation.pool', dest='pool')
    chosen = words.parse_known_args(argv[1:])[0]
    known, prepared = made.get('evaluation', {}), made.get('data', {})
    default = base.Evaluation(
        **{
            field.name: known[field.name]
            for field in dataclasses.fields(base.Evaluation)
            if field.name in known
        }
    )
    default = dataclasses.replace(default, networks=CROSS, pool=None, coresets=())
    default = presets.protocol(chosen.protocol, default) if chosen.protocol else default
    default = presets.pool(chosen.pool, default) if chosen.pool else default
    return Options(
        distilled=argv[0],
        dataset=made.get('dataset', 'cifar10'),
        data_dir=prepared.get('data_dir'),
        image_size=prepared.get('image_size'),
        resize=prepared.get('resize', 'square'),
        evaluation=default,
    )


def run(options: Options, given: Given) -> int:
    """Scores the missing architectures, one after the other."""
    path = expanded(options.output or pathlib.Path(options.distilled).parent / 'evaluation.json')
    stop = workplace.begun(None, options.hosts, path.parent)
    hosts.require_alike('the command', str(dataclasses.replace(options, hosts=base.Hosts())))
    hosts.require_shared(path.parent, 'output')
    with (
        workplace.computing(options),
        locks.alone(path.parent, name=f'.{path.name}.lock'),
    ):
        dataset = read(options, given)
        options, missing = _fitting(options, dataset.spec)
        sets = labelled_sets(options, dataset, given)
        who = _identity(options, dataset, given)
        accuracy = _known(path, who)
        results = functools.partial(_results, options, given, who, missing, accuracy)
        for name in options.evaluation.networks:
            alone = dataclasses.replace(
                options, evaluation=dataclasses.replace(options.evaluation, networks=(name,))
            )
            for kind in [kind for kind in sets if name not in accuracy.get(kind, {})]:
                scored = scores.score(alone, dataset, sets[kind], stop, title=f'{name} ({kind})')
                if stop():
                    print('stopped; the same command continues')
                    return STOPPED
                accuracy.setdefault(kind, {}).update(scored)
                records.save(path, results())
        records.save(path, results())
    said = '\n'.join(
        (*report.scores(results()), drop(accuracy['distilled'], options.evaluation.networks))
    )
    print(f'\n{report.table(results())}\n\n{said}\n{path}')
    return 0


def read(options: Options, given: Given) -> data.Dataset:
    """The data set, its images prepared as those were that the set was distilled from.

    Raises:
        ValueError: other classes or other images than the set's.
    """
    dataset = data.load(
        options.dataset,
        data_dir=options.data_dir,
        image_size=options.image_size,
        resize=options.resize,
        lazy=given.made.get('data', {}).get('lazy'),
    )
    if classes := given.made.get('data', {}).get('classes'):
        dataset = data.of_classes(dataset, classes)
    spec, (images, labels, _) = dataset.spec, given.synthetic
    if images.shape[2:] != spec.image_shape or labels.shape[-1] != spec.num_classes:
        raise ValueError(
            f'the set holds {labels.shape[-1]} classes of images {images.shape[2:]}, {spec.name} '
            f'{spec.num_classes} of {spec.image_shape}; give its own data set with --dataset'
        )
    if how := given.about.get('whitening'):
        return data.whitened(dataset, how)
    mean, std = (tuple(map(float, given.about[name])) for name in ('mean', 'std'))
    return dataset._replace(spec=spec._replace(mean=mean, std=std))


def class_order(names: Sequence[str], spec: data.Spec) -> list[int]:
    """Where the set has each class of the data set, by name.

    Args:
        names: of the set's classes; their numbers where nobody named them, which fit any.

    Raises:
        ValueError: classes of other names; says which.
    """
    own = spec.class_names or tuple(names)
    if set(own) == set(names):
        return [tuple(names).index(name) for name in own]
    if tuple(map(str, range(len(names)))) in (tuple(names), tuple(own)):
        return list(range(len(names)))
    missing, extra = sorted(set(own) - set(names)), sorted(set(names) - set(own))
    raise ValueError(
        f'the set was distilled from other classes than those of {spec.name}: only in the set: '
        f'{", ".join(extra) or "none"}; only in {spec.name}: {", ".join(missing) or "none"}. Give '
        'its own data set with --dataset, or rename the classes'
    )


def labelled_sets(
    options: Options, dataset: data.Dataset, given: Given
) -> dict[str, labelling.Labelled]:
    """What is scored: the distilled set, its classes in the data set's order,
    and the random images if asked for.

    Raises:
        ValueError: classes of other names, or labels that are not there.
    """
    order = class_order(given.about['class_names'], dataset.spec)
    if order != sorted(order):
        print(
            f"{dataset.spec.name} has the set's classes in another order: they are matched by name"
        )
        if options.evaluation.labels == 'stored':
            raise ValueError(
                "stored labels count the set's classes in its own order, and "
                f'{dataset.spec.name} has another: give its own data set with --dataset'
            )
    labelled = _labelled(options, dataset.spec, given.synthetic, own=True)
    images, labels = labelled.synthetic.images[order], labelled.synthetic.labels[order][..., order]
    sets = {
        'distilled': labelled._replace(
            synthetic=labelled.synthetic._replace(images=images, labels=labels)
        )
    }
    if options.random:
        subset = data.real_subset(
            jobs.key(options, jobs.RANDOM),
            dataset.train,
            dataset.spec,
            ipc=images_per_class(given),
        )
        sets['random'] = _labelled(options, dataset.spec, subset, own=False)
    return sets


def _labelled(
    options: Options, spec: data.Spec, synthetic: SyntheticSet, *, own: bool
) -> labelling.Labelled:
    """The set with hard labels, with the logits that its run left beside it, or with those of a
    store.

    Args:
        own: whether it is the distilled set, not random images.
    """
    synthetic, evaluation = jax.tree.map(np.asarray, synthetic), options.evaluation
    if evaluation.labels == 'hard' and own and manifest.kind(synthetic.labels) == 'logits':
        raise ValueError(
            "the set's labels are logits, and students of this protocol take labels as "
            'probabilities: store their softmax at the temperature that they were made for'
        )
    if evaluation.labels == 'hard':
        return labelling.Labelled(synthetic, students.student_supervision(evaluation, spec), 0)
    path = pathlib.Path(options.distilled).parent / 'labels.npz'
    if evaluation.labels == 'stored':
        key, beside = jobs.key(options, jobs.LABELS), path if own else None
        return labelling.label(key, evaluation, spec, synthetic, (), path=beside)
    logits = (
        labelling.load_static(path, synthetic)
        if evaluation.labels == 'static' and not options.random
        else None
    )
    if logits is None:
        raise ValueError(
            f'{evaluation.labels} labels need the teachers'
            f'{", for the random images too" if options.random else ""}; let experiments.run '
            "evaluate in the set's workdir (--evaluation.networks), or use "
            '--evaluation.protocol dsa for hard labels'
        )
    return labelling.Labelled(
        synthetic._replace(labels=logits), students.student_supervision(evaluation, spec), 0
    )


def _fitting(options: Options, spec: data.Spec) -> tuple[Options, dict[str, str]]:
    """The options with the architectures that fit the images, and why others do not.

    Raises:
        ValueError: one that the user asked for does not fit.
    """
    e, missing = options.evaluation, {}
    for name in e.networks:
        try:
            students.architectures(dataclasses.replace(e, networks=(name,)), spec)
        except ValueError as error:
            if e.networks != CROSS and e.pool is None:
                raise
            missing[name] = str(error)
    kept = tuple(name for name in e.networks if name not in missing)
    return dataclasses.replace(options, evaluation=dataclasses.replace(e, networks=kept)), missing


def images_per_class(given: Given) -> int:
    """How many of a class the set counts as: what its run was asked for, else what is stored."""
    stored = given.about.get('stored', given.synthetic.images)
    if isinstance(stored, dict):  # INFER's natural images, SRe2L's pixels
        stored = next(array for name, array in stored.items() if name in ('natural', 'images'))
    return given.made.get('ipc') or stored.shape[1]


def drop(accuracy: dict[str, Accuracy], networks: Sequence[str]) -> str:
    """A sentence: how much the worst other architecture loses against the first."""
    first, *others = networks
    if not others:
        return 'one architecture: no drop to speak of'
    worst = min(others, key=lambda name: accuracy[name].mean)
    gap = 100 * (accuracy[first].mean - accuracy[worst].mean)
    return (
        f'largest drop from {first}: {gap:.2f} points ({worst}, {100 * accuracy[worst].mean:.2f} %)'
    )


def _identity(options: Options, dataset: data.Dataset, given: Given) -> dict:
    """What the accuracies depend on, the architectures aside;
    the training half is what random images come from."""
    of_all = dataclasses.replace(
        options, evaluation=dataclasses.replace(options.evaluation, networks=())
    )
    shown, how = labelling.Labelled(given.synthetic, None, 0), given.about.get('whitening')
    return {
        **identity.of_set(of_all, dataset, shown),
        'class names': dataset.spec.class_names,
        'training half': data.checksums(dataset)[0],
        **({'whitening': identity.content(tuple(how))} if how else {}),
    }


def _known(path: pathlib.Path, who: dict) -> dict[str, dict[str, Accuracy]]:
    """What an earlier run of the same evaluation found."""
    stored = records.recall(path, RECORD)
    if stored is None:
        return {}
    if other := differences(stored['identity'], who):
        raise ValueError(
            '\n  '.join(
                (
                    f'{path} holds another evaluation; give another file with --output, or move it '
                    'away:',
                    *other,
                )
            )
        )
    return {kind: scores.restored(rows) for kind, rows in stored['accuracy'].items()}


def _results(
    options: Options,
    given: Given,
    who: dict,
    missing: dict[str, str],
    accuracy: dict[str, dict[str, Accuracy]],
) -> dict:
    made, e = given.made, options.evaluation
    return {
        'method': made.get('method', 'distilled'),
        'plugins': made.get('plugins', []),
        'dataset': options.dataset,
        'ipc': made.get('ipc'),
        'identity': who,
        'hardware': parallel.hardware(),
        'protocol': {**presets.identified(e), **dataclasses.asdict(e)},
        'students': students.labels(e, given.synthetic.images.shape[2:]),
        'scores': comparing.compared(
            accuracy,
            comparing.full_accuracy(
                e, hard=distilled_set.stored_bytes(given.synthetic)['labels'] == 0
            ),
            report.protocol(presets.identified(e)),
        ),
        'missing': missing,
        'learning_rates': {
            name: students.rate(students.with_learned_rate(e, given.synthetic), name)
            for name in accuracy['distilled']
        },
        'set': given.about['info'],
        'accuracy': accuracy,
    }


if __name__ == '__main__':
    sys.exit(hosts.together(main, sys.argv[1:]))
