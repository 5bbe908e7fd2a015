"""Teachers for a run: squeezed and cached, or loaded;
each tried on real images before it is used."""

import pathlib

import jax

from experiments.stages import build, identity, jobs
from experiments.stages.progress import bar
from jaxdd import data, hosts
from jaxdd.engine import loop
from jaxdd.models import torch_weights
from jaxdd.networks import teachers
from jaxdd.networks.teachers import Teacher
from jaxdd.storage import locks, records
from jaxdd.storage.atomic import expanded
from jaxdd.storage.fingerprint import Store, fingerprint
from jaxdd.types import Recipe

# torchvision's IMAGENET1K_V1 weights, top-1 on the validation set
TORCHVISION = {
    'resnet18_stem7': 0.69758,
    'mobilenetv2_imagenet': 0.71878,
    'efficientnet_b0_imagenet': 0.77692,
}


def prepare(job: jobs.Job, stop) -> list[Teacher]:
    """Every teacher of a run, from the cache, from files, or squeezed; fewer when stopped.

    Raises:
        ValueError: a teacher that does not fit the data, or that classifies real images far worse
            than it should.
    """
    ready: list[Teacher] = []
    for i, name in enumerate(job.config.teachers.networks):
        files = job.config.teachers.weights
        teacher = (
            _validated(job, _loaded(job, name, files[i]), own=False)
            if files
            else _squeezed(job, name, stop)
        )
        if teacher is None:
            break
        ready.append(teacher)
    return ready


def verifier(job: jobs.Job, stop) -> Teacher | None:
    """The network that classifies recovered images on the way; None where none is asked for, or
    where it was stopped."""
    name = job.config.recover.verifier if job.config.recovers else None
    return _squeezed(job, name, stop) if name else None


def _validated(job: jobs.Job, teacher: Teacher, *, own: bool) -> Teacher:
    """A teacher with its accuracy on real images, which is also told;
    one that lost its skill is refused."""
    accuracy = teachers.validate(teacher, job.dataset.train, job.spec, own=own)
    print(
        f'teacher {teacher.name}: {accuracy:.1%} of '
        f'{teachers.num_validated(job.dataset.train, job.spec)} training images'
    )
    return teacher._replace(accuracy=accuracy)


def _squeezed(job: jobs.Job, name: str, stop) -> Teacher | None:
    who = identity.of_teacher(job, name)
    folder = jobs.cache(job.config) / 'teachers' / fingerprint(who)
    how = build.teacher_recipe(job.config, len(job.dataset.train.labels))
    with jobs.turn(folder, stop) as mine:
        if not mine:
            return None
        locks.sweep(folder)
        cached = _known(job, folder, name)
        return (
            _new(job, folder, name, who, how, stop)
            if cached is None
            else _validated(job, cached, own=True)
        )


def _known(job: jobs.Job, folder: pathlib.Path, name: str) -> Teacher | None:
    """A teacher of the cache; one that is damaged is set aside."""
    if not hosts.told((folder / 'card.json').exists):
        return None
    try:
        return _own(job, folder, name)
    except records.Damaged as error:
        print(f'{error}; {records.set_aside(folder / "card.json")}, and it is made again')
    except ValueError as error:
        print(
            f'{error}; {records.set_aside(folder / "network")}, and the teacher is squeezed again'
        )
    return None


def _new(
    job: jobs.Job, folder: pathlib.Path, name: str, who: dict, how: Recipe, stop
) -> Teacher | None:
    """Squeezes a teacher into its folder of the cache; None when stopped."""
    config, spec = job.config, job.spec
    shown, move = bar(f'squeeze {name}', how.num_steps)
    with shown:
        variables = teachers.squeeze(
            jax.random.fold_in(jax.random.key(config.teachers.seed), identity.number(name)),
            build.teacher(config, name, spec, batch_statistics=True),
            build.teacher_feed(config, job.dataset),
            how,
            store=Store(folder, who),
            control=loop.Control(
                job.steps_per_call, [move], stop, checkpoint_every=config.teachers.checkpoint_every
            ),
        )
    if variables is None:
        return None
    teacher = _validated(job, _card(job, name, variables), own=True)
    teachers.save(folder, teacher)
    return teacher


def _card(job: jobs.Job, name: str, variables, accuracy: float | None = None) -> Teacher:
    spec = job.spec
    return Teacher(
        name,
        build.teacher(job.config, name, spec),
        variables,
        tuple(spec.class_names or ()),
        tuple(spec.mean),
        tuple(spec.std),
        spec.num_classes,
        accuracy,
        spec.zca,
    )


def _own(job: jobs.Job, folder: pathlib.Path, name: str) -> Teacher:
    """A teacher folder; the architecture must be the one asked for."""

    def make(found: str, num_classes: int):
        if found != name:
            raise ValueError(
                f'{folder} holds a {found}, but --teachers.networks asks for {name} there'
            )
        return build.teacher(job.config, name, job.spec._replace(num_classes=num_classes))

    return teachers.load(folder, make)


def _loaded(job: jobs.Job, name: str, path: str) -> Teacher:
    """Weights that someone else trained;
    torchvision's ImageNet networks know their normalisation."""
    where, spec = expanded(path), job.spec
    if where.is_dir():
        return _own(job, where, name)
    variables = torch_weights.load(where, name, spec.image_shape, spec.num_classes)
    teacher = _card(job, name, variables)._replace(class_names=())  # such files do not say
    if name in TORCHVISION and spec.num_classes == 1000:
        mean, std = data.specs.IMAGENET
        teacher = teacher._replace(mean=mean, std=std, accuracy=TORCHVISION[name])
    return teacher
