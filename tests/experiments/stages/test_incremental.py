"""Tasks, labels over all classes, and memories that grow."""

import jax.numpy as jnp
import numpy as np
import pytest

from experiments.methods import parse
from experiments.stages import incremental
from experiments.stages.incremental import Task
from jaxdd.types import SyntheticSet


def test_the_orders_are_those_of_dms_script():
    # numpy.random.seed(0); numpy.random.permutation(10)
    first, second = incremental.tasks(10, 2, 0)
    assert first == Task(0, 0, (2, 8, 4, 9, 1), (2, 8, 4, 9, 1))
    assert second == Task(0, 1, (6, 7, 3, 0, 5), (2, 8, 4, 9, 1, 6, 7, 3, 0, 5))
    assert incremental.tasks(10, 2, 1) != [first, second]


@pytest.mark.parametrize('count', [5, 10, 20])
def test_every_class_comes_in_once(count):
    tasks = incremental.tasks(100, count, 3)
    assert [len(task.classes) for task in tasks] == [100 // count] * count
    assert sorted(tasks[-1].seen) == list(range(100))
    assert all(
        before.seen == after.seen[: len(before.seen)] for before, after in zip(tasks, tasks[1:])
    )


@pytest.mark.parametrize('count', [0, 3, 10])
def test_tasks_that_do_not_divide_the_classes_are_refused(count):
    with pytest.raises(ValueError, match=f'groups of two or more: 1, 2, 5; got {count}'):
        incremental.tasks(10, count, 0)


def test_a_task_is_a_run_of_its_own(tmp_path):
    config, task = (
        parse('dm --dataset digits --ipc 1 --seed 3'.split()),
        Task(2, 1, (4, 7), (0, 4, 7)),
    )
    own = incremental.of_task(config, task, tmp_path)
    assert own.data.classes == (4, 7) and own.seed == 5
    assert own.workdir == str(tmp_path / 'order-2' / 'task-1')


def test_labels_count_all_classes():
    labels = jnp.array([[[0.7, 0.3]], [[0.0, 1.0]]])
    found = incremental.widened(SyntheticSet(jnp.ones((2, 1, 4, 4, 1)), labels), (3, 1), 5)
    np.testing.assert_allclose(
        found.labels, np.array([[[0, 0.3, 0, 0.7, 0]], [[0, 1.0, 0, 0, 0]]]), atol=1e-7
    )


def test_memories_grow_and_learned_rates_are_averaged():
    one = SyntheticSet(jnp.zeros((2, 3, 4, 4, 1)), jnp.ones((2, 3, 5)), jnp.float32(0.1))
    two = SyntheticSet(jnp.ones((2, 3, 4, 4, 1)), jnp.ones((2, 3, 5)), jnp.float32(0.3))
    found = incremental.joined([one, two])
    assert found.images.shape == (4, 3, 4, 4, 1) and found.labels.shape == (4, 3, 5)
    assert float(found.learning_rate) == pytest.approx(0.2)
    assert incremental.joined([one._replace(learning_rate=None)]).learning_rate is None
