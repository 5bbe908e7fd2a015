"""Teachers for a run: squeezed and cached, or loaded; each tried on real images before it is used."""
import dataclasses
import math
import pathlib
import zlib

import jax

from experiments import build, jobs
from experiments.configs import Config
from experiments.progress import bar
from jaxdd import checkpoint, data, fit, losses, optimizers, teachers
from jaxdd.models import torch_weights
from jaxdd.teachers import Teacher
from jaxdd.types import Recipe

# torchvision's IMAGENET1K_V1 weights, top-1 on the validation set
TORCHVISION = {'resnet18_stem7': 0.69758, 'mobilenetv2_imagenet': 0.71878, 'efficientnet_b0_imagenet': 0.77692}


def recipe(config: Config, train_size: int) -> Recipe:
    """How a teacher is squeezed: SGD, the learning rate falling to 0 along a cosine, stepped per epoch."""
    t = config.teachers
    per_epoch = data.steps_per_epoch(train_size, t.batch_size)
    rate = optimizers.cosine(t.learning_rate, max(1, math.ceil(t.epochs)), per_epoch, warmup_epochs=t.warmup_epochs)
    return Recipe(fit.sgd(rate, momentum=t.momentum, weight_decay=t.weight_decay),
                  max(1, math.ceil(t.epochs * per_epoch)), t.batch_size, losses.soft_cross_entropy)


def prepare(job: jobs.Job, stop) -> list[Teacher]:
    """Every teacher of a run, from the cache, from files, or squeezed; fewer when stopped.

    Raises:
        ValueError: a teacher that does not fit the data, or that classifies real images far worse than it should.
    """
    made: list[Teacher] = []
    for i, name in enumerate(job.config.teachers.networks):
        files = job.config.teachers.weights
        teacher = _loaded(job, name, files[i]) if files else _squeezed(job, name, stop)
        if teacher is None:
            break
        accuracy = teachers.tried(teacher, job.dataset.train, job.spec)
        print(f'teacher {name}: {accuracy:.1%} of {teachers.TRIED} training images')
        made.append(teacher._replace(accuracy=accuracy))
    return made


def identity(job: jobs.Job, name: str) -> dict:
    """What determines a squeezed teacher: architecture, recipe, seed and data."""
    fields = dataclasses.asdict(job.config.teachers)
    for other in ('networks', 'weights', 'checkpoint_every'):
        del fields[other]
    return {'network': name, 'number': number(name), 'recipe': fields, 'feed': job.config.data.feed,
            **jobs.data_identity(job)}


def _squeezed(job: jobs.Job, name: str, stop) -> Teacher | None:
    config, spec = job.config, job.spec
    who = identity(job, name)
    folder = jobs.cache(config) / 'teachers' / checkpoint.fingerprint(who)
    how = recipe(config, len(job.dataset.train.labels))
    known = folder / 'card.json'
    if known.exists():
        return _own(job, folder, name)
    shown, move = bar(f'squeeze {name}', how.num_steps)
    with shown:
        variables = teachers.squeeze(
            jax.random.fold_in(jax.random.key(config.teachers.seed), number(name)),
            build.teacher(config, name, spec, batch_statistics=True), build.teacher_feed(config, job.dataset), how,
            folder=folder, identity=who, checkpoint_every=config.teachers.checkpoint_every,
            steps_per_call=job.steps_per_call, callbacks=[move], should_stop=stop)
    if variables is None:
        return None
    teacher = _card(job, name, variables)
    teacher = teacher._replace(accuracy=teachers.tried(teacher, job.dataset.train, spec))
    teachers.save(folder, teacher)
    return teacher


def number(name: str) -> int:
    """A number of an architecture's name alone, so that its teacher depends on no other architecture."""
    return zlib.crc32(name.encode())


def _card(job: jobs.Job, name: str, variables, accuracy: float | None = None) -> Teacher:
    spec = job.spec
    return Teacher(name, build.teacher(job.config, name, spec), variables, tuple(spec.class_names or ()),
                   tuple(spec.mean), tuple(spec.std), accuracy)


def _own(job: jobs.Job, folder: pathlib.Path, name: str) -> Teacher:
    """A teacher folder; the architecture must be the one asked for."""
    def make(found: str, num_classes: int):
        if found != name:
            raise ValueError(f'{folder} holds a {found}, but --teachers.networks asks for {name} there')
        return build.teacher(job.config, name, job.spec._replace(num_classes=num_classes))
    return teachers.load(folder, make)


def _loaded(job: jobs.Job, name: str, path: str) -> Teacher:
    """Weights that someone else trained; torchvision's ImageNet networks know their normalisation."""
    where, spec = pathlib.Path(path).expanduser(), job.spec
    if where.is_dir():
        return _own(job, where, name)
    variables = torch_weights.load(where, name, spec.image_shape, spec.num_classes)
    teacher = _card(job, name, variables)._replace(class_names=())    # such files do not say
    if name in TORCHVISION and spec.num_classes == 1000:
        mean, std = data.specs.IMAGENET
        teacher = teacher._replace(mean=mean, std=std, accuracy=TORCHVISION[name])
    return teacher
