"""Scores a distilled set on several architectures, with a recipe for each,
and names the largest drop.

    python -m experiments.evaluate runs/dm-iid/distilled.npz \\
        --evaluation.networks convnet alexnet vgg11 resnet18

Prints the table and writes evaluation.json beside the set. Finished architectures are kept there:
the same command trains only those that are missing.
"""

import dataclasses
import functools
import pathlib
import sys
from collections.abc import Sequence

import jax

from experiments.configs import base, presets, scoring
from experiments.configs.scoring import Given, Options
from experiments.stages import comparing, existing, identity, labelling, scores, students, workplace
from jaxdd import data, hosts, parallel
from jaxdd.engine.distill import NonFiniteError
from jaxdd.reporting import report
from jaxdd.storage import distilled_set, locks, records
from jaxdd.storage.atomic import expanded
from jaxdd.storage.fingerprint import differences
from jaxdd.types import Accuracy

STOPPED = 3
RECORD = {
    'type': 'object',
    'required': ['identity', 'accuracy'],
    'properties': {'identity': {'type': 'object'}, 'accuracy': records.mapping(scores.SCORES)},
}


def main(argv: Sequence[str]) -> int:
    """Runs one command line; exit code 0 done, 2 wrong input or a student that diverged,
    3 stopped."""
    try:
        return run(*scoring.parse(argv))
    except (ValueError, NonFiniteError, OSError, jax.errors.JaxRuntimeError) as error:
        return hosts.failed(error)


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
        dataset = existing.read(options, given)
        options, missing = _fitting(options, dataset.spec)
        sets = existing.labelled_sets(options, dataset, given)
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
            if e.networks != scoring.CROSS and e.pool is None:
                raise
            missing[name] = str(error)
    kept = tuple(name for name in e.networks if name not in missing)
    return dataclasses.replace(options, evaluation=dataclasses.replace(e, networks=kept)), missing


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
