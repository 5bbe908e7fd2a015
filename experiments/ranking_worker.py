"""Trains the students of the `ddranking` package. Another Python runs this file, by its path.

    /path/to/python -I experiments/ranking_worker.py TASK.json

That package and JAX need different versions of NumPy, so that nothing of this library is imported
here and `experiments.ranking` imports nothing of that package: arrays and a task come as files, a
JSON file goes back. Version 0.2.0 dies where it saves its scores, which are wrong in any case
(percents enter an exponential), so that its saver only hands over what it was given.
"""

import importlib
import json
import os
import sys
from importlib import metadata
from typing import Any

import numpy as np

PACKAGES = ('ddranking', 'torch', 'torchvision')
# DSA's published strengths under the keys that the package reads (its pages name others), and its
# own default of CutMix.
STRENGTHS = {
    'dsa': {
        **{'flip': 0.5, 'rotate': 15.0, 'saturation': 2.0, 'brightness': 1.0, 'contrast': 0.5},
        **{'scale': 1.2, 'crop': 0.125, 'cutout': 0.5},
    },
    'cutmix': {'beta': 1.0},
    'none': {},
}


def main(path: str) -> None:
    """Scores one set with every augmentation that the task names.

    Args:
        path: a JSON file of 'dataset', 'data', 'model', 'ipc', 'epochs', 'evaluations',
            'learning_rate', 'augmentations', 'full' (percent), 'device', 'unverified', and the
            files 'images' ([N, 3, H, W] float32, normalised), 'labels' ([N]), 'output'.
    """
    import torch

    with open(path) as file:
        task = json.load(file)
    if task['unverified']:
        _without_integrity()
    images, labels = (torch.from_numpy(np.load(task[name])) for name in ('images', 'labels'))
    scored = {name: _score(task, name, images, labels) for name in task['augmentations']}
    found = {'versions': {name: metadata.version(name) for name in PACKAGES}, 'scored': scored}
    with open(task['output'], 'w') as file:
        json.dump(found, file)


def _score(task: dict, augmentation: str, images, labels) -> dict[str, list[float]]:
    """HLR and IOR of every evaluation, in percent."""
    hard_label: Any = importlib.import_module('ddranking.metrics.hard_label')
    taken: list[dict] = []
    hard_label.save_results = lambda results, path: taken.append(results)
    hard_label.REAL_DATA_ACC_CACHE[f'{task["dataset"]}-{task["model"]}'] = task['full']
    evaluator = hard_label.LabelRobustScoreHard(
        dataset=task['dataset'],
        real_data_path=task['data'],
        ipc=task['ipc'],
        model_name=task['model'],
        data_aug_func=augmentation,
        aug_params=dict(STRENGTHS[augmentation]),
        step_size=max(1, task['epochs'] // 2),
        num_eval=task['evaluations'],
        num_epochs=task['epochs'],
        num_workers=0,
        save_path=os.path.join(os.getcwd(), 'scores', 'scores.csv'),
        device=task['device'],
    )
    # Between tests it never looks, and what was never tested has accuracy 0.
    evaluator.test_interval = min(evaluator.test_interval, task['epochs'])
    evaluator.compute_metrics(image_tensor=images, hard_labels=labels, syn_lr=task['learning_rate'])
    return {
        'hlr': list(map(float, taken[0]['hard_label_recovery'])),
        'ior': list(map(float, taken[0]['improvement_over_random'])),
    }


def _without_integrity() -> None:
    """Lets torchvision read files that look like CIFAR's and are not, for a smoke run."""
    cifar: Any = importlib.import_module('torchvision.datasets.cifar')
    cifar.check_integrity = lambda path, md5=None: os.path.exists(path)


if __name__ == '__main__':
    main(sys.argv[1])
