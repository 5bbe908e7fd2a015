"""DATM's start: images that experts are right about, with their logits."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxdd import data
from jaxdd.coresets import predicted
from jaxdd.types import Model, Outputs, Source, Variables

SPEC = data.fake().spec  # three classes of 8x8 images


def made(values):
    """A set whose images are constant, of the given values in 0..255, by class."""
    images = np.concatenate([np.asarray(of_class) for of_class in values]).astype(np.uint8)
    labels = np.repeat(np.arange(len(values)), [len(of_class) for of_class in values])
    return Source(np.tile(images[:, None, None, None], (1, 8, 8, 3)), labels.astype(np.int32))


def apply(variables, images):
    """Logits 1 for the class that `guess` [256, 3] has for the image's value."""
    mean = jnp.asarray(SPEC.mean)[0], jnp.asarray(SPEC.std)[0]
    value = jnp.round((images[:, 0, 0, 0] * mean[1] + mean[0]) * 255).astype(int)
    return Outputs(variables.params['guess'][value], None, None, {})


MODEL = Model(lambda key: Variables({}, {}, 0, 0), apply)


def expert(right, scale=1.0):
    """An expert that takes a value for class value // 50 if `right(value)`, else for the next."""
    value = np.arange(256)
    guess = np.where(right(value), value // 50, value // 50 + 1) % 3
    return {'guess': jnp.asarray(scale * np.eye(3)[guess], 'float32')}


VALUES = [np.arange(0, 20), np.arange(50, 70), np.arange(100, 120)]
EVEN = expert(lambda value: value % 2 == 0)
ALL = expert(lambda value: value >= 0, 3.0)


def chosen(experts, ipc, key=0, values=VALUES):
    found = predicted.predicted(jax.random.key(key), made(values), SPEC, MODEL, experts, ipc=ipc)
    pixels = data.denormalise(SPEC, found.images)[..., 0, 0, 0]
    return np.asarray(np.round(255 * pixels)).astype(int), np.asarray(found.labels)


def test_only_images_that_the_first_expert_is_right_about():
    values, logits = chosen([EVEN, ALL], 10)
    for number, row in enumerate(values):
        assert sorted(row) == list(range(50 * number, 50 * number + 20, 2))
    np.testing.assert_allclose(logits, np.broadcast_to(2 * np.eye(3)[:, None], (3, 10, 3)))


def test_the_order_is_random_and_follows_from_the_key():
    assert (chosen([ALL], 5)[0] == chosen([ALL], 5)[0]).all()
    assert (chosen([ALL], 5)[0] != chosen([ALL], 5, key=1)[0]).any()


def test_where_the_first_runs_out_the_next_one_chooses_then_anyone():
    values, logits = chosen([EVEN, expert(lambda value: value % 4 == 1)], 18)
    assert all(sorted(row[:10] % 2) == [0] * 10 for row in values)
    assert all(sorted(row[10:15] % 4) == [1] * 5 for row in values)
    assert all(len(set(row)) == 18 for row in values)
    # nobody is right about the rest: the mean of both, who take them for the next class
    np.testing.assert_allclose(logits[0, 15], np.eye(3)[1])
    np.testing.assert_allclose(logits[0, 0], np.eye(3)[0])


def test_the_authors_labels(reference):
    golden = reference('cmi_datm_tesla')
    mean = predicted.mean_of_right(golden['init_expert_logits'], golden['init_labels'])
    np.testing.assert_allclose(mean, golden['init_soft_labels'], rtol=1e-6)


def test_by_hand_and_where_nobody_is_right():
    logits = np.array(
        [[[2.0, 1.0], [0.0, 3.0]], [[4.0, 0.0], [1.0, 5.0]], [[0.0, 9.0], [0.0, 1.0]]]
    )
    np.testing.assert_allclose(
        predicted.mean_of_right(logits, np.array([0, 0])), [[3.0, 0.5], [1 / 3, 3.0]]
    )


def test_no_expert_and_too_many_images_are_refused():
    with pytest.raises(ValueError, match='there is none; train at least one'):
        chosen([], 1)
    with pytest.raises(ValueError, match='21'):
        chosen([ALL], 21)
