"""The distilled set of a run as a file that says of itself what it is, and how it was made."""

import dataclasses
import pathlib
from collections.abc import Sequence

import numpy as np

from experiments.configs import papers, plugins, presets
from experiments.stages import drawing, identity, outputs
from experiments.stages.jobs import Distilled, Job
from jaxdd import data
from jaxdd.networks.teachers import Teacher
from jaxdd.storage import distilled_set


def write(
    job: Job, teachers: Sequence[Teacher], distilled: Distilled, workdir: pathlib.Path
) -> None:
    """Writes distilled.npz: images, labels, normalisation, class names, and how they were made."""
    distilled_set.save_npz(
        workdir / 'distilled.npz',
        distilled.synthetic,
        mean=job.spec.mean,
        std=job.spec.std,
        class_names=drawing.class_names(job),
        stored=_kept(distilled),
        whitening=job.dataset.whitening,
        info=_info(job, teachers, distilled),
    )


def _info(job: Job, teachers: Sequence[Teacher], distilled: Distilled) -> dict:
    """What a distilled set says of itself."""
    config, e = job.config, job.config.evaluation
    return {
        **distilled_set.described(
            distilled.synthetic,
            stored=_kept(distilled),
            whitened=job.dataset.whitening is not None,
            dataset={
                'name': job.spec.name,
                'classes': job.spec.num_classes,
                'checksums': list(data.checksums(job.dataset)),
                'licence': data.licence(job.spec.name),
            },
            decode=config.entry.decode(config),
            labels={
                'shown': e.labels,
                'temperature': e.temperature,
                'teachers': [_teacher(teacher) for teacher in teachers],
            },
        ),
        'method': config.method,
        'plugins': list(config.plugins),
        'ipc': config.ipc,
        'seed': config.seed,
        'steps': config.num_steps,
        'config': dataclasses.asdict(config),
        'weights': distilled.weights,
        'protocol': presets.identified(e),
        'commit': outputs.COMMIT,
        'versions': outputs.VERSIONS,
        'bibtex': [paper.bibtex for paper in papers.used(config, plugins.PLUGINS)],
    }


def _kept(distilled: Distilled):
    """What a set's file holds beside the images:
    mosaics (IDM, IDC), or natural images and compensators (INFER)."""
    if len(distilled.stored) > 1:
        return distilled.stored
    images = distilled.stored['images']
    return images if images.dtype == np.float32 else None


def _teacher(teacher: Teacher) -> dict:
    weights = identity.content(teacher.variables)
    return {'name': teacher.name, 'checksum': weights, 'accuracy': teacher.accuracy}
