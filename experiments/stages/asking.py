"""One distilled set before the `ddranking` package of another Python: arrays go, percents come.

The two meet in files alone, so that nothing of that package is imported here.
"""

import argparse
import json
import os
import pathlib
import shutil
import subprocess
import tempfile
from typing import Any, NamedTuple

import numpy as np

from experiments.configs import scoring
from experiments.configs.rules import refuse
from experiments.stages import existing
from jaxdd import data
from jaxdd.exchange.ranking import CIFAR, renormalised
from jaxdd.storage import distilled_set
from jaxdd.storage.atomic import expanded

WORKER = pathlib.Path(__file__).parents[1] / 'ranking_worker.py'
# our name -> the package's, and the folder that torchvision looks into
DATASETS = {
    'cifar10': ('CIFAR10', 'cifar-10-batches-py'),
    'cifar100': ('CIFAR100', 'cifar-100-python'),
}
WITHOUT = 'none'  # the students that see no augmentation
LINES = 12  # of the package's output that an error shows


class Set(NamedTuple):
    """A distilled set as the package takes it."""

    images: np.ndarray  # [N, 3, H, W] float32, class by class, normalised as the package does
    labels: np.ndarray  # [N] int64
    ipc: int  # images per class that it counts as: so many random ones are its baseline
    dataset: str  # the package's name
    folder: str  # of the data set's files
    learning_rate: float | None


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


def interpreter(name: str) -> str:
    """The absolute path of a Python that has the package, as it is started in a folder of its own.

    Links stay: through its link alone a Python finds the packages of its environment.

    Args:
        name: a path, or a command that is searched for.

    Raises:
        ValueError: there is none, or it has no `ddranking`.
    """
    found = shutil.which(os.path.expanduser(name))
    if found is None:
        raise ValueError(f'--python {name} cannot be run: nothing that may be executed is there')
    found = os.path.abspath(found)
    look = 'import importlib.util, sys; sys.exit(importlib.util.find_spec("ddranking") is None)'
    try:
        code = subprocess.run((found, '-I', '-c', look), capture_output=True).returncode
    except OSError as error:
        raise ValueError(f'--python {name} cannot be run ({error.strerror})') from error
    if code:
        raise ValueError(
            f'{name} has no ddranking: make an environment of its own (python3 -m venv other '
            '&& other/bin/pip install torch torchvision ddranking) and give --python '
            'other/bin/python'
        )
    return found


def require_data(folder: str, one: Set) -> None:
    """Refuses a folder without the files of the set's data set."""
    path = expanded(folder) / one.folder
    if not path.is_dir():
        raise ValueError(f'{path} does not exist; --data is the folder that holds {one.folder}')


def answer(python: str, own: argparse.Namespace, one: Set, log: pathlib.Path) -> dict[str, Any]:
    """What the other Python answers, from a folder that is gone afterwards.

    Args:
        python: see `interpreter`.
        own: the options of `experiments.ranking`.
        log: where what it says goes.

    Raises:
        ValueError: it failed, or its answer is none; shows the end of what it said.
    """
    with tempfile.TemporaryDirectory(prefix='jaxdd-ranking-') as name:
        folder = pathlib.Path(name)
        task = _task(own, one, folder)
        (folder / 'task.json').write_text(json.dumps(task))
        with log.open('w') as output:
            code = subprocess.run(
                (python, '-I', str(WORKER), str(folder / 'task.json')),
                cwd=folder,
                env={k: v for k, v in os.environ.items() if not k.startswith('PYTHON')},
                stdout=output,
                stderr=subprocess.STDOUT,
            ).returncode
        found = pathlib.Path(task['output'])
        if code or not found.exists():
            said = '\n'.join(log.read_text(errors='replace').splitlines()[-LINES:])
            raise ValueError(f'the package failed (exit code {code}); {log} ends with\n{said}')
        return checked(json.loads(found.read_text()), own.evaluations)


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


def checked(answered: Any, evaluations: int) -> dict[str, Any]:
    """The answer of `ranking_worker`, where it is one.

    Raises:
        ValueError: scores that are missing, not finite, or not one per evaluation.
    """
    for name, row in answered['scored'].items():
        for kind in ('hlr', 'ior'):
            values = row.get(kind, [])
            if len(values) != evaluations or not np.isfinite(values).all():
                raise ValueError(
                    f'the package must give {evaluations} finite numbers for {kind} ({name}), got '
                    f'{values}'
                )
    return answered
