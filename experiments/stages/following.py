"""The stages of methods whose students follow experts: the experts are trained, then the set is
distilled."""

import pathlib
from typing import Any

import jax
import optax

from experiments.configs.entry import Stage
from experiments.stages import build, identity, jobs, matching
from experiments.stages.jobs import Distilled, Prepared
from experiments.stages.progress import bar
from experiments.stages.scores import Stop
from jaxdd import data, losses, optimizers
from jaxdd.coresets import predicted
from jaxdd.engine import loop
from jaxdd.networks import experts, segments, teachers
from jaxdd.storage import locks
from jaxdd.storage.atomic import expanded
from jaxdd.storage.fingerprint import Store, fingerprint
from jaxdd.types import Feed, Inputs, PRNGKey, PyTree, Recipe, SyntheticSet


def distil(job: jobs.Job, prepared: Prepared, workdir: pathlib.Path, stop: Stop) -> Distilled:
    """Moves images, step size and, of DATM, labels along segments of the experts' trajectories."""
    config = job.config
    feed = segments.attach(
        _real(job),
        prepared.experts,
        starts(config),
        config.matching.span,
        on_host=config.data.feed == 'stream',
    )
    job = job._replace(initial=_initial(job, prepared.experts))
    return matching.move(job, prepared, feed, workdir, stop)


def train(job: jobs.Job, stop: Stop) -> list[PyTree]:
    """The experts, from the cache, trained where missing, or from the folder that was named."""
    e, who = job.config.experts, identity.of_experts(job)
    per_epoch = data.steps_per_epoch(len(job.dataset.train.labels), e.batch_size)
    plan = experts.Plan(e.count, num_epochs(job.config), per_epoch)
    model = build.model(job.config.encoder, job.spec)
    how = recipe(job.config, plan.num_epochs * per_epoch)
    if e.folder is not None:
        return experts.load(model, how, plan, Store(expanded(e.folder), who))
    cache = jobs.cache(job.config) / 'experts'
    folder = cache / fingerprint(who)
    with jobs.turn(folder, stop) as mine:
        if not mine:
            return []
        locks.sweep(folder)
        shown, move = bar('experts', plan.count * plan.num_epochs * per_epoch)
        with shown:
            return experts.train(
                jax.random.key(e.seed),
                model,
                _batches(job),
                how,
                plan,
                store=Store(cache, who),
                control=loop.Control(
                    job.steps_per_call,
                    [move],
                    stop,
                    together=e.together,
                    checkpoint_every=e.checkpoint_every,
                    log=shown.write,
                ),
            )


def about(config: Any) -> list[str]:
    """What a run says before the experts are trained."""
    e = config.experts
    where = 'trained' if e.folder is None else f'read from {e.folder}'
    return [f'{e.count} experts ({config.encoder.name}), {where} for {num_epochs(config)} epochs']


def needs(config: Any) -> tuple[str, ...]:
    """What cells of a data set call the experts that they need:
    by whitening, optimiser and epochs."""
    kind = ('-zca' if config.data.zca else '') + ('-gsam' if config.experts.rho else '')
    return (f'{config.dataset}/experts{kind}/{num_epochs(config)}',)


def starts(config: Any) -> segments.Starts:
    """The epochs at which students may start."""
    m = config.matching
    first = m.last_start if m.first_start is None else m.first_start
    return segments.Starts(m.least_start, first, m.last_start, m.expansion)


def num_epochs(config: Any) -> int:
    """Epochs that an expert is trained for: as configured, else those that are read."""
    return config.experts.epochs or needed_epochs(config)


def needed_epochs(config: Any) -> int:
    """Epochs of an expert that are read."""
    return segments.num_epochs(starts(config), config.matching.span)


def trained(config: Any, size: int) -> tuple[Recipe, int] | None:
    """How an expert is trained on so many images, and how many are; None where they are given."""
    if config.experts.folder is not None:
        return None
    per_epoch = data.steps_per_epoch(size, config.experts.batch_size)
    return recipe(config, num_epochs(config) * per_epoch), config.experts.count


def recipe(config: Any, num_steps: int) -> Recipe:
    """How an expert is trained: SGD or GSAM, constant learning rate, augmentation per image."""
    e = config.experts
    rule = optimizers.sgd(e.learning_rate, momentum=e.momentum, weight_decay=e.weight_decay)
    return Recipe(
        optimizers.gsam(rule, rho=e.rho, alpha=e.alpha) if e.rho else rule,
        num_steps,
        e.batch_size,
        losses.soft_cross_entropy,
    )


def optimizer(config: Any) -> optax.GradientTransformation:
    """SGD with a rate of its own for images, step size and labels."""
    o = config.optimizer
    rules = {
        'images': optax.sgd(o.learning_rate, momentum=o.momentum),
        'learning_rate': optax.sgd(o.rate_learning_rate, momentum=o.momentum),
        'labels': optax.sgd(o.label_learning_rate, momentum=o.label_momentum),
    }
    return optax.partition(rules, lambda params: {name: name for name in params})


def _batches(job: jobs.Job):
    e = job.config.experts
    sample = data.epochs(job.dataset.train, job.spec, batch_size=e.batch_size)
    return teachers.with_augmentation(sample, build.view(e.strategy, 'S', job.spec))


def _real(job: jobs.Job) -> Feed[Inputs]:
    """Real images where a plug-in looks at them; nothing else does."""
    if jobs.reads_real(job.config):
        return build.feed(job.config, job.dataset)
    return jax.tree_util.Partial(_nothing)


def _nothing(key: PRNGKey, step: jax.Array) -> Inputs:
    del key, step
    return Inputs()


def _initial(job: jobs.Job, trajectories: list[PyTree]) -> SyntheticSet:
    """The first set; where labels are learned, with the experts' logits as labels."""
    config, last = job.config, [jax.tree.map(lambda x: x[-1], one) for one in trajectories]
    model = build.model(config.encoder, job.spec)
    if config.init == 'predicted':
        return predicted.predicted(
            jobs.key(config, jobs.INITIAL), job.dataset.train, job.spec, model, last, ipc=config.ipc
        )
    if not config.learns_labels:
        return job.initial
    images, classes = job.initial.images, job.initial.labels.argmax(-1)
    flat = images.reshape(-1, *images.shape[2:])
    logits = predicted.soft_labels(model, last, flat, classes.ravel())
    return job.initial._replace(labels=logits.reshape(job.initial.labels.shape))


STAGE = Stage(distil, matching.require_continuable, optimizer, train, about, needs, trained)
