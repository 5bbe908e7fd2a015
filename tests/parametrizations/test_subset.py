"""A random part of a set: whole rows, none twice, the same whichever classes are present."""

import chex
import jax
import jax.numpy as jnp
import numpy as np

from jaxdd.parametrizations import subset
from jaxdd.types import SyntheticSet

COUNT = 7
# Image i of class c holds 10 c + i everywhere, and so does the first entry of its label.
NUMBERS = jnp.float32([[10 * c + i for i in range(COUNT)] for c in range(3)])
WHOLE = SyntheticSet(
    jnp.broadcast_to(NUMBERS[..., None, None, None], (3, COUNT, 2, 2, 1)),
    jnp.stack([NUMBERS, NUMBERS * 0, NUMBERS * 0], axis=-1),
)


def chosen(key=0, classes=(0, 1, 2), size=4):
    index = jnp.array(classes)
    part = SyntheticSet(WHOLE.images[index], WHOLE.labels[index])
    return subset.of_each_class(jax.random.key(key), index, part, size)


def test_each_class_keeps_some_of_its_own_none_twice_and_their_labels():
    part = chosen()
    assert part.images.shape == (3, 4, 2, 2, 1) and part.labels.shape == (3, 4, 3)
    numbers = np.asarray(part.images[..., 0, 0, 0])
    np.testing.assert_array_equal(numbers, part.labels[..., 0])
    np.testing.assert_array_equal(numbers // 10, np.arange(3)[:, None].repeat(4, 1))
    assert all(len(set(row)) == 4 for row in numbers)


def test_a_class_draws_the_same_alone_and_beside_others_but_not_as_its_neighbours():
    alone, beside = chosen(classes=(1,)), chosen()
    chex.assert_trees_all_equal(alone.images[0], beside.images[1])
    places = np.asarray(beside.images[..., 0, 0, 0]) % 10
    assert not (places == places[:1]).all()


def test_every_image_has_its_turn():
    draws = jax.vmap(lambda key: subset.of_each_class(key, jnp.arange(3), WHOLE, 4).labels[..., 0])(
        jax.random.split(jax.random.key(0), 700)
    )
    shares = [(draws == number).sum() / 700 for number in np.ravel(NUMBERS)]
    np.testing.assert_allclose(shares, 4 / COUNT, atol=0.1)  # five standard deviations


def test_as_many_as_there_are_come_back_in_their_order():
    for size in (COUNT, COUNT + 1):
        chex.assert_trees_all_equal(chosen(size=size), WHOLE)
