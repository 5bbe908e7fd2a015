"""Students that go on from task to task and do not forget: a memory, and what they said before.

Castro et al., "End-to-End Incremental Learning" (ECCV 2018), https://arxiv.org/abs/1807.09623: the
network keeps its weights, and its cross-entropy on the memory stands beside the divergence from
what it said, before this task, of the classes seen until then.
"""

import pathlib
from typing import NamedTuple

import jax
import jax.numpy as jnp

from experiments.configs import Config
from experiments.stages import build, identity, jobs, labelling, students
from experiments.stages.incremental import Task
from experiments.stages.progress import bar
from experiments.stages.scores import Stop
from jaxdd import data, losses
from jaxdd.bound import bind
from jaxdd.engine import evaluate, fit, loop
from jaxdd.labels import relabel
from jaxdd.storage import trees
from jaxdd.types import Array, Batch, Model, PRNGKey, SyntheticSet, Variables


class Distillation(NamedTuple):
    """How much a student holds on to what it said before."""

    beta: float  # weight of the divergence
    temperature: float


def score(
    own: Config,
    dataset: data.Dataset,
    memory: SyntheticSet,
    task: Task,
    stop: Stop,
    kind: str,
    how: Distillation,
) -> tuple[float, ...]:
    """Accuracies of students that go on from the task before, over all classes seen.

    Args:
        own: configuration of the task; its students lie in its workdir, and are not trained again.
        dataset: all classes.
        kind: of memory.
        how: the distillation.
    """
    e, found = students.with_learned_rate(own.evaluation, memory), []
    seen = dataset._replace(test=data.only(dataset.test, task.seen))
    shown = labelling.Labelled(memory, students.student_supervision(e, dataset.spec), 0)
    student = students.students(
        e, dataset.spec, shown.supervision, memory.images.shape[0] * memory.images.shape[1]
    )[e.networks[0]]
    who = {**identity.of_set(own, seen, shown), **how._asdict(), 'seen': list(task.seen)}
    for i in range(e.num_seeds):
        place = pathlib.Path('remembering') / f'{kind}-{i}'
        before = _before(own, task, place, student.model)
        mine = {**who, 'number': i, 'before': identity.content(before)}
        path = pathlib.Path(own.workdir) / place
        like = jax.eval_shape(student.model.init, jax.random.key(0))
        network = trees.recall_tree(path, like, mine)
        if network is None:
            key = jax.random.fold_in(jobs.key(own, jobs.STUDENTS), i)
            title = f'order {task.order}, {len(task.seen)} classes ({kind}), student {i}'
            taught = student if before is None else _taught(student, before, task, memory, how)
            network = _trained(own, taught, memory, before, key, stop, title)
            if network is None:
                return ()
            trees.save_tree(path, network, mine)
        prepare, tested = build.preprocess(dataset.spec), student.tested or student.model
        found.append(evaluate.accuracy(tested, network, seen.test, preprocess=prepare))
    return tuple(found)


def _before(own: Config, task: Task, place: pathlib.Path, model: Model) -> Variables | None:
    """The same student after the task before."""
    if task.number == 0:
        return None
    path = pathlib.Path(own.workdir).parent / f'task-{task.number - 1}' / place
    return trees.load_tree(path, jax.eval_shape(model.init, jax.random.key(0)))


def _taught(
    student: evaluate.Student,
    before: Variables,
    task: Task,
    memory: SyntheticSet,
    how: Distillation,
) -> evaluate.Student:
    """A student that is also shown what it said before of the classes seen until then."""
    classes = jnp.array(task.seen[: len(task.seen) - len(task.classes)])
    old = jnp.zeros(memory.labels.shape[-1], bool).at[classes].set(True)
    inner = relabel.with_arrays(student.supervision)
    said = bind(_recalled, student.tested or student.model)
    return student._replace(
        recipe=student.recipe._replace(loss=bind(_loss, how)),
        supervision=jax.tree_util.Partial(said, inner, (before, old)),
    )


def _trained(
    own: Config,
    student: evaluate.Student,
    memory: SyntheticSet,
    before: Variables | None,
    key: PRNGKey,
    stop: Stop,
    title: str,
) -> Variables | None:
    """A student's weights; None where it was stopped."""
    recipe = student.recipe
    sample = evaluate.student_batches(memory, student.supervision, batch_size=recipe.batch_size)
    state = fit.init_fit(key, student.model, recipe)
    if before is not None:
        kept = before._replace(age=state.variables.age, accuracy=state.variables.accuracy)
        state = state._replace(variables=kept, opt_state=recipe.optimizer.init(before.params))
    shown, move = bar(title, recipe.num_steps)
    control = loop.Control(jobs.steps_per_call(own), [move], stop)
    with shown:
        state = loop.run(
            fit.make_fit_step(student.model, recipe),
            state,
            sample,
            num_steps=recipe.num_steps,
            **control.of_run(),
        )
    return state.variables if int(state.step) == recipe.num_steps else None


def _recalled(
    model: Model,
    supervision: jax.tree_util.Partial,
    past: tuple[Variables, Array],
    key: PRNGKey,
    step: Array,
    synthetic: SyntheticSet,
    batch_size: int,
) -> Batch:
    """A mini-batch whose labels are followed by what the student said of it before."""
    (before, old), batch = past, supervision(key, step, synthetic, batch_size)
    said = jnp.where(old[None], model.apply(before, batch.images).logits, losses.UNSEEN)
    # at most 0: the largest of a row is still its label
    said = jax.lax.stop_gradient(said - said.max(-1, keepdims=True))
    return batch._replace(labels=jnp.concatenate([batch.labels, said], axis=-1))


def _loss(how: Distillation, logits: Array, labels: Array) -> Array:
    truth, said = jnp.split(labels, 2, axis=-1)
    return losses.remembering_cross_entropy(
        logits, truth, said, beta=how.beta, temperature=how.temperature
    )
