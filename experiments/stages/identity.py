"""What determines the parts of a run: a file is only used again where all of it is alike."""

import dataclasses
import hashlib
import pathlib
import zlib
from collections.abc import Sequence
from importlib import metadata
from typing import Any

import jax
import numpy as np

import jaxdd
from experiments.configs import Config, plugins
from experiments.configs.base import CORESETS
from experiments.stages import build, jobs, labelling, students
from experiments.stages.jobs import Job
from jaxdd import data, parallel
from jaxdd.labels import replay
from jaxdd.networks.teachers import Teacher

# Paths, and what changes how a run is done or judged but not what it distils.
BESIDE = (
    'workdir',
    'cache_dir',
    'evaluation',
    'checkpoint_every',
    'keep',
    'steps_per_call',
    'num_devices',
    'precision',
    'transfer_guard',
    'hosts',
    'estimate',
    'tensorboard',
    'profile',
    'smoke',
    'num_sets',
    'init_path',
    'num_steps',
    'teachers',
    'proxies',
    'regularizers',
)
BESIDE_WITHIN = {
    'data': ('data_dir',),
    'recover': ('together', 'part', 'storage', 'verifier'),
    'teachers': ('checkpoint_every',),
    'experts': ('checkpoint_every', 'folder', 'together'),
}
# Records that every configuration held before each method had options of its own:
# checkpoints of then still fit.
_NONE = {
    'training': (
        'every',
        'epochs',
        'num_batches',
        'batch_size',
        'learning_rate',
        'momentum',
        'weight_decay',
        'strategy',
        'cutmix',
        'queue_size',
        'train_count',
    ),
    'matching': ('distance', 'ce_weight', 'factor', 'max_synthetic', 'classes'),
    'recover': (
        'bn_weight',
        'first_bn_weight',
        'tv_weight',
        'norm_weight',
        'jitter',
        'both_signs',
        'crop',
        'classes_per_chunk',
        'images_per_chunk',
        'part',
        'together',
        'storage',
    ),
}
BEFORE: dict[str, dict[str, Any]] = {
    **{name: dict.fromkeys(fields) for name, fields in _NONE.items()},
    'data': {'sampling': 'random', 'cluster_every': 10},
    'encoder': {'name': 'convnet', 'width': None, 'depth': None},
    'augmentation': {'strategy': 'default', 'mode': 'S'},
}
# Options that came later, with the value that leaves everything as it was before.
LATER = (
    ('recover', 'curriculum', 'cosine'),
    ('recover', 'milestone', 1.0),
    ('data', 'zca', False),
    ('data', 'classes', ()),
    ('matching', 'form', 'single'),
    ('training', 'reset_every', None),
    ('training', 'cutmix_alpha', 1.0),
    ('proxies', 'every', 1),
    ('proxies', 'pixels', 'normalised'),
    ('matching', 'clip_every', 1),
    ('matching', 'easiest', None),
    ('matching', 'only_misclassified', False),
    ('training', 'train_every', 1),
    ('training', 'push_count', 1),
    ('matching', 'subset', 'match'),
)


def of_run(job: Job) -> dict:
    """What determines the distilled images:
    data and configuration, less paths, evaluation and how far to go."""
    config, every = job.config, dataclasses.asdict(job.config)
    fields = {name: value for name, value in every.items() if name not in BESIDE}
    fields |= {name: {**before, **every.get(name, {})} for name, before in BEFORE.items()}
    chosen = config.init in CORESETS  # by the first teacher, or else by a proxy
    if config.recovers or (chosen and config.teachers.networks):
        fields['teachers'] = every['teachers']
        if config.teachers.depth is None:  # as before there was a choice
            del fields['teachers']['depth']
    if config.recovers or config.optimizer.schedule == 'cosine':  # else a run can be made longer
        fields['num_steps'] = config.num_steps
    if 'encoder' in every:
        fields['encoder'] = _as_before(fields['encoder'])
    if jobs.needs_proxy(config) or (chosen and not config.teachers.networks):
        proxies = every['proxies']
        fields['proxies'] = {
            **proxies,
            'network': _as_before(proxies['network']),
            'weight_decay': build.proxy_decay(config),
        }
    if not fields.get('early', {'count': 0})['count']:  # networks begin untrained, as they did
        fields.pop('early', None)
    for record, names in BESIDE_WITHIN.items():
        for name in names if record != 'recover' or config.recovers else ():
            fields.get(record, {}).pop(name, None)
    for record, option, before in LATER:
        if fields.get(record, {}).get(option, before) == before:
            fields.get(record, {}).pop(option, None)
    if config.init == 'given' and job.initial is not None:
        fields['given'] = content(job.initial.images)
    drawn = jobs.real_per_class(job)
    # where classes differ, it matters how many of each are drawn
    if drawn and drawn['least'] < drawn['most']:
        fields['real_per_class'] = drawn
    return {
        **fields,
        **_precision(config),
        'regularizers': _regularizers(config, every['regularizers']),
        'plugins': sorted(config.plugins),
        'data_set': of_data(job),
    }


def _precision(options) -> dict:
    """What networks compute in, where that is not float32, as it was before there was a choice."""
    found = jobs.precision(options)
    return {} if found == 'f32' else {'precision': found}


def _as_before(network: dict) -> dict:
    """An architecture without the variants that are left alone,
    as before there was a choice of them."""
    variants = ('norm', 'activation', 'pooling', 'features_after')
    return {k: value for k, value in network.items() if k not in variants or value is not None}


FIRST = (*plugins.PLUGINS, 'cc_form')  # fields that every configuration always held


def _regularizers(config: Config, settings: dict) -> dict:
    """The weights of the plug-ins that are named, and those of their options that are not as they
    were before there was a choice."""
    default = dataclasses.asdict(plugins.Regularizers())
    found = {
        name: value
        for name, value in sorted(settings.items())
        if plugins.owner(name) in config.plugins and (name in FIRST or value != default[name])
    }
    for weight in (found[name] for name in config.plugins):
        if weight['every'] == 1:  # as before there was a choice
            del weight['every']
    return found


def of_pool(job: Job) -> dict:
    """What determines the proxies' weights: recipe, seed and data."""
    fields = dataclasses.asdict(job.config.proxies)
    del fields['count'], fields['every'], fields['pixels']
    fields['network'] = _as_before(fields['network'])
    fields['weight_decay'] = build.proxy_decay(job.config)
    return {'recipe': fields, **_precision(job.config), **of_data(job)}


def of_experts(job: Job) -> dict:
    """What determines the experts' parameters: architecture, recipe, seed and data."""
    fields = dataclasses.asdict(job.config.experts)
    for other in ('count', 'epochs', 'folder', 'together', 'checkpoint_every'):
        del fields[other]
    return {
        'network': _as_before(dataclasses.asdict(job.config.encoder)),
        'recipe': fields,
        **_precision(job.config),
        **of_data(job),
    }


def of_data(job: Job) -> dict:
    """What determines the data: normalisation, images and labels."""
    return {
        'mean': job.spec.mean,
        'std': job.spec.std,
        'images': list(job.dataset.train.images.shape),
        'checksum': data.checksums(job.dataset)[0],
        **({'zca': job.spec.zca} if job.spec.zca else {}),
    }


def of_teacher(job: jobs.Job, name: str) -> dict:
    """What determines a squeezed teacher: architecture, recipe, seed and data."""
    fields = dataclasses.asdict(job.config.teachers)
    for other in (
        'networks',
        'weights',
        'checkpoint_every',
        *(('depth',) if fields['depth'] is None else ()),
    ):
        del fields[other]
    return {
        'network': name,
        'number': number(name),
        'recipe': fields,
        'feed': job.config.data.feed,
        **_precision(job.config),
        **of_data(job),
    }


def number(name: str) -> int:
    """A number of an architecture's name alone, so that its teacher depends on no other
    architecture."""
    return zlib.crc32(name.encode())


def of_students(options, dataset: data.Dataset, teachers: Sequence[Teacher] = ()) -> dict:
    """What the accuracy of students depends on, beside the set that they are trained on.

    Protocol, architectures, seed, the test half and how it is normalised, teachers, hardware, and
    the program itself.

    Args:
        options: a record with `evaluation`, `seed` and `steps_per_call`.
        teachers: that label what students see.
    """
    e, spec = options.evaluation, dataset.spec
    fields = {
        name: value
        for name, value in dataclasses.asdict(e).items()
        if name not in ('networks', 'pool', 'every', 'coresets', 'label_store', 'full_accuracy')
    }
    return {
        'evaluation': fields,
        'learning_rates': {name: students.rate(e, name) for name in e.networks},
        'seed': options.seed,
        'test': data.checksums(dataset)[1],
        'mean': spec.mean,
        'std': spec.std,
        **({'zca': spec.zca} if spec.zca else {}),
        'image_shape': spec.image_shape,
        'classes': spec.num_classes,
        'flip': spec.flip,
        'teachers': [content(teacher.variables) for teacher in teachers]
        if e.labels != 'hard'
        else [],
        'hardware': parallel.hardware(),
        **_precision(options),
        'several steps per dispatch': jobs.steps_per_call(options) > 1,
        'program': CODE,
    }


def of_real(
    job: jobs.Job, prepared: jobs.Prepared = jobs.Prepared([], []), kind: str = 'random'
) -> dict:
    """What the accuracy of real images depends on: the training half, how many are taken from it,
    and of a core-set the network that chooses, too."""
    who = {
        **of_students(job.config, job.dataset, prepared.teachers),
        'ipc': job.config.ipc,
        **of_data(job),
    }
    if kind == 'random':
        return who
    network = None if prepared.teachers else dataclasses.asdict(job.config.proxies.network)
    return {**who, 'rule': kind, 'chosen by': [network, content(prepared.chooser.variables)]}


def of_set(
    options, dataset: data.Dataset, labelled: labelling.Labelled, teachers: Sequence[Teacher] = ()
) -> dict:
    """What the accuracy on one labelled set depends on."""
    found = labelled.recorded
    recorded = found and ((found.key, found.logits) if isinstance(found, replay.Replay) else found)
    return {
        **of_students(options, dataset, teachers),
        'set': content((labelled.synthetic, recorded)),
    }


def _code() -> str:
    """A fingerprint of this library's code and of the packages that compute."""
    digest = hashlib.sha256()
    for root in (pathlib.Path(jaxdd.__file__).parent, pathlib.Path(__file__).parents[1]):
        for path in sorted(root.rglob('*.py')):
            digest.update(path.read_bytes())
    for name in ('jax', 'jaxlib', 'flax', 'optax', 'numpy'):
        digest.update(metadata.version(name).encode())
    return digest.hexdigest()[:12]


# As the process began, like the code it runs: files may change before the first number is kept.
CODE = _code()


def content(tree) -> int:
    """CRC-32 of every array of a tree."""
    found = 0
    for leaf in jax.tree.leaves(tree):
        found = zlib.crc32(np.ascontiguousarray(leaf), found)
    return found
