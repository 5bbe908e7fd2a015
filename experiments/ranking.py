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
import math
import pathlib
import sys
from collections.abc import Sequence
from typing import Any

import numpy as np

from experiments.configs import finished
from experiments.configs.rules import refuse
from experiments.stages import asking, outputs
from jaxdd import hosts, scores
from jaxdd.storage import records
from jaxdd.storage.atomic import expanded

PROGRAM = 'python -m experiments.ranking'
EPOCHS, EVALUATIONS = 300, 5  # the package's own


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
    add(
        'distilled',
        help='a distilled.npz, or its workdir, of CIFAR-10 or CIFAR-100 with hard labels',
    )
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
    source = finished.distilled(own.distilled)
    one = asking.read(source)
    python = asking.interpreter(own.python)
    asking.require_data(own.data, one)
    path = expanded(own.output or pathlib.Path(source).parent / 'ranking.json')
    outputs.require_writable(path.parent, 'output')
    log = path.with_suffix('.log')
    print(f'{own.python} trains; what it says is in {log}')
    found = results(own, one, asking.answer(python, own, one, log))
    records.save(path, found)
    print(f'{said(found)}\n{path}')
    return 0


def results(own: argparse.Namespace, one: asking.Set, answer: dict[str, Any]) -> dict[str, Any]:
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
    if asking.WITHOUT in pairs:
        found['ars'] = [
            scores.augmentation_robust_score(*augmented, *plain)
            for augmented, plain in zip(pairs[augmentation], pairs[asking.WITHOUT])
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


if __name__ == '__main__':
    sys.exit(hosts.together(main, sys.argv[1:]))
