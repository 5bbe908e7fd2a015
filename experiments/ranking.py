"""Scores a distilled set with the `ddranking` package of another Python: IOR, HLR, LRS and ARS.

    python3 -m venv other && other/bin/pip install torch torchvision ddranking
    python -m experiments.ranking runs/dm/distilled.npz --python other/bin/python --data FOLDER

FOLDER holds CIFAR-10 or CIFAR-100 as torchvision keeps them (cifar-10-batches-py). The package
trains and tests; its accuracies come back, and the scores are computed here, in fractions
(`jaxdd.scores`), since version 0.2.0 puts percents into an exponential. The package's accuracy is
the best of several on the test images, and is named so. What is written goes into ranking.json
beside the set, and says where the budget is below the package's own: such a score is no number of
its board.
"""

import argparse
import json
import math
import os
import pathlib
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np

from experiments.configs import scoring
from experiments.configs.rules import refuse
from experiments.stages import existing, outputs
from jaxdd import data, hosts, scores
from jaxdd.exchange.ranking import CIFAR, renormalised
from jaxdd.storage import distilled_set, records
from jaxdd.storage.atomic import expanded

PROGRAM = 'python -m experiments.ranking'
WORKER = pathlib.Path(__file__).with_name('ranking_worker.py')
EPOCHS, EVALUATIONS = 300, 5  # the package's own
# our name -> the package's, and the folder that torchvision looks into
DATASETS = {
    'cifar10': ('CIFAR10', 'cifar-10-batches-py'),
    'cifar100': ('CIFAR100', 'cifar-100-python'),
}
WITHOUT = 'none'
LINES = 12  # of the package's output that an error shows


class Set(NamedTuple):
    """A distilled set as the package takes it."""

    images: np.ndarray  # [N, 3, H, W] float32, class by class, normalised as the package does
    labels: np.ndarray  # [N] int64
    ipc: int  # images per class that it counts as: so many random ones are its baseline
    dataset: str  # the package's name
    folder: str  # of the data set's files
    learning_rate: float | None


def main(argv: Sequence[str]) -> int:
    """Runs one command line; exit code 0 done, 2 wrong input or a package that failed."""
    try:
        return run(parse(argv))
    except (ValueError, OSError) as error:
        return hosts.failed(error)


def parse(argv: Sequence[str]) -> argparse.Namespace:
    """The options.

    Raises:
        ValueError: a number that is out of range.
        SystemExit: an unknown or malformed option (code 2), or `--help` (0).
    """
    parser = argparse.ArgumentParser(
        prog=PROGRAM, description=str(__doc__).partition('\n')[0], allow_abbrev=False
    )
    add = parser.add_argument
    add('distilled', help='a distilled.npz of CIFAR-10 or CIFAR-100 with hard labels')
    add('--python', required=True, help='of an environment that has ddranking')
    add('--data', required=True, help="folder of torchvision's CIFAR files")
    add('--model', default='ConvNet-3', help='a name of the package')
    add('--augmentation', choices=('dsa', 'cutmix'), default='dsa')
    add('--no-ars', action='store_true', help='leave out students without augmentation')
    add('--epochs', type=int, default=EPOCHS)
    add('--evaluations', type=int, default=EVALUATIONS)
    add('--learning-rate', type=float, help="default: the set's own, else the best of five")
    add('--full-accuracy', type=float, help='of the whole real set, a fraction: for HLR and LRS')
    add('--device', default='cpu', help="torch's name of one")
    add('--unverified-data', action='store_true', help='for smoke runs: any files in that form')
    add('--output', help='default: ranking.json beside the set')
    own = parser.parse_args(list(argv))
    for name in ('epochs', 'evaluations'):
        refuse(name, getattr(own, name), 'at least 1', getattr(own, name) < 1)
    rate, full = own.learning_rate, own.full_accuracy
    refuse('learning_rate', rate, 'above 0', rate is not None and not 0 < rate < math.inf)
    told = full is None or 0 < full <= 1
    refuse('full_accuracy', full, 'a fraction above 0, at most 1 (percents / 100)', not told)
    return own


def run(own: argparse.Namespace) -> int:
    """Lets the other Python train, and writes and prints what its accuracies mean."""
    one = read(own.distilled)
    _require_there(own, one)
    path = expanded(own.output or pathlib.Path(own.distilled).parent / 'ranking.json')
    outputs.require_writable(path.parent, 'output')
    log = path.with_suffix('.log')
    print(f'{own.python} trains; what it says is in {log}')
    answer = _asked(own, one, log)
    found = results(own, one, answer)
    records.save(path, found)
    print(f'{said(found)}\n{path}')
    return 0


def read(path: str) -> Set:
    """The set of a file as the package takes it, its classes in the data set's order.

    Raises:
        ValueError: an unreadable file, another data set, a part of the classes, soft labels, or
            whitened images.
    """
    given = scoring.read(path)
    synthetic, about, made = given
    name = made.get('dataset')
    refuse(
        'dataset', name, f'{" or ".join(DATASETS)}, which the package reads', name not in DATASETS
    )
    classes = made.get('data', {}).get('classes')
    refuse('data.classes', classes, 'left alone: the package tests on all', bool(classes))
    soft = distilled_set.stored_bytes(synthetic)['labels'] > 0
    kind = 'soft' if soft else 'hard'
    refuse('labels', kind, 'hard: the package dies on stored soft ones (0.2.0)', soft)
    whitened = 'whitening' in about
    refuse('images', 'whitened ones', 'normalised: the package whitens otherwise', whitened)
    order = existing.class_order(about['class_names'], data.spec(name))
    return Set(
        _laid_out(renormalised(synthetic.images, (about['mean'], about['std']), CIFAR)[order]),
        np.repeat(np.arange(len(order)), synthetic.images.shape[1]),
        existing.images_per_class(given),
        *DATASETS[name],
        None if synthetic.learning_rate is None else float(synthetic.learning_rate),
    )


def _laid_out(images: np.ndarray) -> np.ndarray:
    """`[K, n, H, W, 3]` as `[K * n, 3, H, W]`."""
    flat = images.reshape(-1, *images.shape[2:])
    return np.ascontiguousarray(flat.transpose(0, 3, 1, 2), np.float32)


def results(own: argparse.Namespace, one: Set, answer: dict[str, Any]) -> dict[str, Any]:
    """The record of a scoring: what the package found, what it means, and under which budget."""
    return {
        'distilled': str(own.distilled),
        'dataset': one.dataset,
        'ipc': one.ipc,
        'images': len(one.images),
        'model': own.model,
        'augmentation': own.augmentation,
        'epochs': own.epochs,
        'evaluations': own.evaluations,
        'learning_rate': own.learning_rate or one.learning_rate,
        'full_accuracy': own.full_accuracy,
        'versions': answer['versions'],
        'reduced': reduced(own),
        **combined(answer['scored'], own.augmentation, own.full_accuracy),
    }


def combined(
    scored: dict[str, dict[str, list[float]]], augmentation: str, full: float | None
) -> dict[str, Any]:
    """What the package's percents mean, as fractions, one value per evaluation.

    Args:
        scored: augmentation -> 'hlr' and 'ior' of every evaluation, in percent; of HLR the whole
            set's accuracy is `full`, or 0 where nobody knows it.
        augmentation: the one that LRS is of; 'none' beside it gives ARS.
        full: accuracy of the whole real set, or None.

    Returns:
        'accuracy' {augmentation: {'best_of/distilled', 'best_of/random'}}, and of 'ior', 'hlr',
        'lrs' and 'ars' those that there are numbers for.
    """
    accuracy = {}
    for name, row in scored.items():
        own = [_fraction((full or 0) - hlr / 100) for hlr in row['hlr']]
        random = [_fraction(mean - ior / 100) for mean, ior in zip(own, row['ior'], strict=True)]
        accuracy[name] = {'best_of/distilled': own, 'best_of/random': random}
    pairs = {name: list(zip(*rows.values(), strict=True)) for name, rows in accuracy.items()}
    found: dict[str, Any] = {
        'ior': [scores.improvement_over_random(*pair) for pair in pairs[augmentation]]
    }
    if full is not None:
        found['hlr'] = [scores.hard_label_recovery(full, own) for own, _ in pairs[augmentation]]
        found['lrs'] = [
            scores.label_robust_score(ior, hlr) for ior, hlr in zip(found['ior'], found['hlr'])
        ]
    if WITHOUT in pairs:
        found['ars'] = [
            scores.augmentation_robust_score(*augmented, *plain)
            for augmented, plain in zip(pairs[augmentation], pairs[WITHOUT])
        ]
    return {'accuracy': accuracy, **found}


def reduced(own: argparse.Namespace) -> list[str]:
    """Why a score is no number of the board; [] where its budget is the package's own."""
    why = [
        f'{name} {getattr(own, name)} (the package: {usual})'
        for name, usual in (('epochs', EPOCHS), ('evaluations', EVALUATIONS))
        if getattr(own, name) < usual
    ]
    return why + (["files that nobody checked to be the data set's"] if own.unverified_data else [])


def said(found: dict[str, Any]) -> str:
    """A record in a few lines: mean ± population std over evaluations."""
    rows = [
        f'ddranking {found["versions"]["ddranking"]}: {found["model"]} on {found["dataset"]}, '
        f'{found["images"]} images ({found["ipc"]} per class count), {found["evaluations"]} '
        f'evaluations of {found["epochs"]} epochs'
    ]
    for name, accuracy in found['accuracy'].items():
        shown = ', '.join(f'{kind} {_spread(values)}' for kind, values in accuracy.items())
        rows.append(f'augmentation {name}: {shown}')
    rows += [
        f'{name.upper()} {_spread(found[name])}'
        for name in ('ior', 'hlr', 'lrs', 'ars')
        if name in found
    ]
    if found['reduced']:
        rows.append(f'NO NUMBER OF ITS BOARD: {"; ".join(found["reduced"])}')
    return '\n'.join(rows)


def _spread(values: Sequence[float]) -> str:
    return f'{np.mean(values):.4f} ± {np.std(values):.4f}'


def _fraction(value: float) -> float:
    """A difference of percents that rounding takes past the ends of an accuracy's range."""
    return min(max(value, 0.0), 1.0) if -1e-6 < value < 1 + 1e-6 else value


def _require_there(own: argparse.Namespace, one: Set) -> None:
    """Refuses a Python without the package, and a folder without the data."""
    look = 'import importlib.util, sys; sys.exit(importlib.util.find_spec("ddranking") is None)'
    try:
        code = subprocess.run((own.python, '-I', '-c', look), capture_output=True).returncode
    except OSError as error:
        raise ValueError(f'--python {own.python} cannot be run ({error.strerror})') from error
    if code:
        raise ValueError(
            f'{own.python} has no ddranking: make an environment of its own (python3 -m venv other '
            '&& other/bin/pip install torch torchvision ddranking) and give --python '
            'other/bin/python'
        )
    folder = expanded(own.data) / one.folder
    if not folder.is_dir():
        raise ValueError(f'{folder} does not exist; --data is the folder that holds {one.folder}')


def _asked(own: argparse.Namespace, one: Set, log: pathlib.Path) -> dict[str, Any]:
    """What the other Python answers, from a folder that is gone afterwards.

    Raises:
        ValueError: it failed, or its answer is none; shows the end of what it said.
    """
    with tempfile.TemporaryDirectory(prefix='jaxdd-ranking-') as name:
        folder = pathlib.Path(name)
        task = _task(own, one, folder)
        (folder / 'task.json').write_text(json.dumps(task))
        with log.open('w') as output:
            code = subprocess.run(
                (own.python, '-I', str(WORKER), str(folder / 'task.json')),
                cwd=folder,
                env={k: v for k, v in os.environ.items() if not k.startswith('PYTHON')},
                stdout=output,
                stderr=subprocess.STDOUT,
            ).returncode
        answer = pathlib.Path(task['output'])
        if code or not answer.exists():
            said = '\n'.join(log.read_text(errors='replace').splitlines()[-LINES:])
            raise ValueError(f'the package failed (exit code {code}); {log} ends with\n{said}')
        return checked(json.loads(answer.read_text()), own.evaluations)


def _task(own: argparse.Namespace, one: Set, folder: pathlib.Path) -> dict[str, Any]:
    """Writes the arrays; returns what `ranking_worker` reads."""
    files = {name: str(folder / f'{name}.npy') for name in ('images', 'labels')}
    np.save(files['images'], one.images)
    np.save(files['labels'], one.labels)
    without = () if own.no_ars else (WITHOUT,)
    return {
        **files,
        'output': str(folder / 'answer.json'),
        'dataset': one.dataset,
        'data': str(expanded(own.data).resolve()),
        'model': own.model,
        'ipc': one.ipc,
        'epochs': own.epochs,
        'evaluations': own.evaluations,
        'learning_rate': own.learning_rate or one.learning_rate,
        'augmentations': (own.augmentation, *without),
        'full': 100 * (own.full_accuracy or 0.0),
        'device': own.device,
        'unverified': own.unverified_data,
    }


def checked(answer: Any, evaluations: int) -> dict[str, Any]:
    """The answer of `ranking_worker`, where it is one.

    Raises:
        ValueError: scores that are missing, not finite, or not one per evaluation.
    """
    for name, row in answer['scored'].items():
        for kind in ('hlr', 'ior'):
            values = row.get(kind, [])
            if len(values) != evaluations or not np.isfinite(values).all():
                raise ValueError(
                    f'the package must give {evaluations} finite numbers for {kind} ({name}), got '
                    f'{values}'
                )
    return answer


if __name__ == '__main__':
    sys.exit(hosts.together(main, sys.argv[1:]))
