"""Scores a distilled set on several architectures, with a recipe for each, and names the largest drop.

    python -m experiments.evaluate runs/dm-iid/distilled.npz --evaluation.networks convnet alexnet vgg11 resnet18

Prints the table and writes evaluation.json beside the set. Finished architectures are kept there: the same command
trains only those that are missing.
"""
import argparse
import dataclasses
import json
import pathlib
import sys
from collections.abc import Sequence

import jax
import numpy as np
import tyro

from experiments import jobs, labelling, ranges, stages, students
from experiments.configs import base, presets
from experiments.progress import Terminated
from jaxdd import checkpoint, data, export, parallel, report
from jaxdd.distill import NonFiniteError
from jaxdd.types import Accuracy, SyntheticSet

CROSS = ('convnet', 'alexnet', 'vgg11', 'resnet18')    # IID's cross-architecture test
STOPPED = 3


@base.frozen
class Options:
    """One evaluation of one distilled set."""
    distilled: tyro.conf.Positional[str]
    """A distilled.npz."""
    dataset: str
    """Where the test images come from; default: what the set was distilled from."""
    data_dir: str | None = None
    """Folder of the prepared data sets; default: TensorFlow Datasets' own."""
    image_size: int | None = None
    """Pixels; resizes an image folder's images."""
    evaluation: base.Evaluation = base.Evaluation()
    """Default: the protocol that the set was scored under, on IID's four architectures."""
    random: bool = False
    """Also score as many random real images, stored ones counted, under the same protocol."""
    seed: int = 0
    output: str | None = None
    """Default: evaluation.json beside the set."""
    steps_per_call: int | None = None
    """Steps per dispatch; default: 5 on CPUs, 50 on accelerators."""
    num_devices: int | None = None
    """Devices to use; default: all, one per core on a CPU host."""


def main(argv: Sequence[str]) -> int:
    """Runs one command line; exit code 0 done, 2 wrong input or a student that diverged, 3 stopped."""
    try:
        return run(*parse(argv))
    except (ValueError, NonFiniteError, OSError, jax.errors.JaxRuntimeError) as error:
        print(f'error: {error}', file=sys.stderr)
        return 2


def parse(argv: Sequence[str]) -> tuple[Options, SyntheticSet, dict]:
    """The options, with the set's own data set and protocol as defaults; the set; what its file tells about it.

    Raises:
        ValueError: no set, an unreadable one, or a value out of range.
    """
    if not argv or argv[0].startswith('-'):
        raise ValueError('the first argument is a distilled set: python -m experiments.evaluate PATH/distilled.npz')
    synthetic, about = export.load_npz(argv[0])
    made = about['info'].get('config', {})
    words = argparse.ArgumentParser(add_help=False, allow_abbrev=False)
    words.add_argument('--evaluation.protocol', dest='protocol')
    protocol = words.parse_known_args(argv[1:])[0].protocol
    known = made.get('evaluation', {})
    default = base.Evaluation(**{field.name: known[field.name] for field in dataclasses.fields(base.Evaluation)
                                 if field.name in known})
    default = presets.protocol(protocol, default) if protocol else default
    default = dataclasses.replace(default, networks=CROSS)
    options = tyro.cli(Options, args=list(argv), prog='python -m experiments.evaluate', default=Options(
        distilled=argv[0], dataset=made.get('dataset', 'cifar10'), data_dir=made.get('data', {}).get('data_dir'),
        evaluation=default))
    ranges.require_evaluation(options)
    return options, synthetic, about


def run(options: Options, synthetic: SyntheticSet, about: dict) -> int:
    """Scores the missing architectures, one after the other."""
    stop = Terminated()
    parallel.start()
    path = pathlib.Path(options.output or pathlib.Path(options.distilled).parent / 'evaluation.json')
    with parallel.use(parallel.mesh(options.num_devices)):
        dataset = data.load(options.dataset, data_dir=options.data_dir, image_size=options.image_size)
        _require_same(dataset.spec, synthetic, about)
        students.architectures(options.evaluation, dataset.spec)
        sets = {'distilled': _labelled(options, dataset.spec, synthetic)}
        if options.random:
            subset = data.real_subset(jobs.key(options, jobs.RANDOM), dataset.train, dataset.spec,
                                      ipc=_images_per_class(synthetic, about))
            sets['random'] = _labelled(options, dataset.spec, subset)
        accuracy = _known(path, options, synthetic)
        for name in options.evaluation.networks:
            alone = dataclasses.replace(options, evaluation=dataclasses.replace(options.evaluation, networks=(name,)))
            for kind in [kind for kind in sets if name not in accuracy.get(kind, {})]:
                scored = stages.score(alone, dataset, sets[kind], stop, title=f'{name} ({kind})')
                if stop():
                    print('stopped; the same command continues')
                    return STOPPED
                accuracy.setdefault(kind, {}).update(scored)
                report.write_results(path, _results(options, synthetic, about, accuracy))
    print(f'\n{report.table(_results(options, synthetic, about, accuracy))}\n\n'
          f'{drop(accuracy["distilled"], options.evaluation.networks)}\n{path}')
    return 0


def _labelled(options: Options, spec: data.Spec, synthetic: SyntheticSet) -> labelling.Labelled:
    """The set with hard labels, or with the logits that its run left beside it."""
    synthetic, evaluation = jax.tree.map(np.asarray, synthetic), options.evaluation
    if evaluation.labels == 'hard':
        return labelling.Labelled(synthetic, students.seen(evaluation, spec), 0)
    path = pathlib.Path(options.distilled).parent / 'labels.npz'
    logits = labelling.load_static(path, synthetic) if evaluation.labels == 'static' and not options.random else None
    if logits is None:
        raise ValueError(f'{evaluation.labels} labels need the teachers'
                         f'{", for the random images too" if options.random else ""}; let experiments.run evaluate in '
                         'the set\'s workdir (--evaluation.networks), or use --evaluation.protocol dsa for hard labels')
    return labelling.Labelled(synthetic._replace(labels=logits), students.seen(evaluation, spec), 0)


def _images_per_class(synthetic: SyntheticSet, about: dict) -> int:
    """How many the set counts as: what its run was asked for, else what is stored."""
    stored = about.get('stored', synthetic.images)
    return about['info'].get('config', {}).get('ipc') or stored.shape[1]


def drop(accuracy: dict[str, Accuracy], networks: Sequence[str]) -> str:
    """A sentence: how much the worst other architecture loses against the first."""
    first, *others = networks
    if not others:
        return 'one architecture: no drop to speak of'
    worst = min(others, key=lambda name: accuracy[name].mean)
    gap = 100 * (accuracy[first].mean - accuracy[worst].mean)
    return f'largest drop from {first}: {gap:.2f} points ({worst}, {100 * accuracy[worst].mean:.2f} %)'


def _require_same(spec: data.Spec, synthetic: SyntheticSet, about: dict) -> None:
    """Refuses a test set that the images do not belong to: wrong normalisation gives chance accuracy silently."""
    if not (np.allclose(about['mean'], spec.mean, atol=1e-5) and np.allclose(about['std'], spec.std, atol=1e-5)):
        raise ValueError(f'the set is normalised by mean {about["mean"].tolist()} and std {about["std"].tolist()}, '
                         f'{spec.name} by {list(spec.mean)} and {list(spec.std)}; give its own data set with --dataset')
    if synthetic.images.shape[2:] != spec.image_shape or synthetic.labels.shape[-1] != spec.num_classes:
        raise ValueError(f'the set holds {synthetic.labels.shape[-1]} classes of images {synthetic.images.shape[2:]}, '
                         f'{spec.name} {spec.num_classes} of {spec.image_shape}; give its own data set with --dataset')


def _identity(options: Options, synthetic: SyntheticSet) -> str:
    fields = dataclasses.asdict(options.evaluation)
    del fields['networks']
    return checkpoint.fingerprint({'evaluation': fields, 'seed': options.seed, 'dataset': options.dataset,
                                   'images': float(np.abs(synthetic.images).sum(dtype=np.float64))})


def _known(path: pathlib.Path, options: Options, synthetic: SyntheticSet) -> dict[str, dict[str, Accuracy]]:
    """What an earlier run of the same evaluation found."""
    if not path.exists():
        return {}
    stored = json.loads(path.read_text())
    if stored.get('identity') != _identity(options, synthetic):
        raise ValueError(f'{path} holds another evaluation (protocol, seed or set); give another with --output')
    return {kind: {name: Accuracy(row['mean'], row['std'], tuple(row['per_seed'])) for name, row in scores.items()}
            for kind, scores in stored['accuracy'].items()}


def _results(options: Options, synthetic: SyntheticSet, about: dict, accuracy: dict) -> dict:
    made, e = about['info'].get('config', {}), options.evaluation
    return {'method': made.get('method', 'distilled'), 'plugins': made.get('plugins', []), 'dataset': options.dataset,
            'ipc': made.get('ipc'), 'identity': _identity(options, synthetic), 'hardware': parallel.hardware(),
            'protocol': {'name': f'{e.protocol}-{e.epochs}', **dataclasses.asdict(e)},
            'learning_rates': {name: students.rate(e, name) for name in accuracy['distilled']},
            'set': about['info'], 'accuracy': accuracy}


if __name__ == '__main__':
    sys.exit(main(sys.argv[1:]))
