"""What a student sees of a synthetic set."""
import jax
import jax.numpy as jnp
import numpy as np

from jaxdd import augment
from jaxdd.relabel import hard
from jaxdd.types import SyntheticSet

SET = SyntheticSet(jax.random.normal(jax.random.key(0), (3, 2, 8, 8, 3)),
                   jax.random.dirichlet(jax.random.key(1), jnp.ones(3), (3, 2)))
INDICES = jnp.array([5, 0, 3, 3])


def test_hard_takes_images_and_labels_in_class_major_order():
    images, labels = hard(augment.identity())(jax.random.key(0), SET, INDICES)
    for i, index in enumerate(INDICES):
        np.testing.assert_array_equal(images[i], SET.images[index // 2, index % 2])
        np.testing.assert_array_equal(labels[i], SET.labels[index // 2, index % 2])


def test_hard_augments_with_its_key():
    def shifted(key, images):
        return images + jax.random.normal(key)
    images, labels = jax.jit(hard(shifted))(jax.random.key(4), SET, INDICES)
    chosen = SET.images.reshape(6, 8, 8, 3)[INDICES]
    np.testing.assert_allclose(images, chosen + jax.random.normal(jax.random.key(4)), rtol=1e-6)
    np.testing.assert_array_equal(labels, SET.labels.reshape(6, 3)[INDICES])


def test_hard_augments_every_image_by_itself_when_told_to():
    view = hard(augment.independent('flip'))
    images, _ = view(jax.random.key(0), SET, jnp.full((16,), 2))
    flipped = [np.array_equal(image, SET.images[1, 0, :, ::-1]) for image in images]
    kept = [np.array_equal(image, SET.images[1, 0]) for image in images]
    assert any(flipped) and any(kept) and all(a or b for a, b in zip(flipped, kept))
