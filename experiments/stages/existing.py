"""A distilled set that is there already: the images and labels that its students see."""

import pathlib
from collections.abc import Sequence

import jax
import numpy as np

from experiments.configs.scoring import Given, Options
from experiments.stages import jobs, labelling, students
from jaxdd import data
from jaxdd.storage import manifest
from jaxdd.types import SyntheticSet


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


def images_per_class(given: Given) -> int:
    """How many of a class the set counts as: what its run was asked for, else what is stored."""
    stored = given.about.get('stored', given.synthetic.images)
    if isinstance(stored, dict):  # INFER's natural images, SRe2L's pixels
        stored = next(array for name, array in stored.items() if name in ('natural', 'images'))
    return given.made.get('ipc') or stored.shape[1]
