"""Core-sets of a data set: every class by its own images, whatever their number."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxdd import data, models
from jaxdd.coresets import selection
from jaxdd.types import Source

SIZES = (7, 300, 5)  # one class takes more than one forward pass


@pytest.fixture
def given():
    rng = np.random.default_rng(0)
    labels = rng.permutation(np.repeat(np.arange(3), SIZES))
    images = rng.integers(0, 256, (len(labels), 8, 8, 3), np.uint8)
    spec = data.for_arrays(images, 3, 'mine')
    model = models.by_name('convnet', (8, 8, 3), 3, width=4, depth=1)
    return Source(images, labels), spec, model, model.init(jax.random.key(1))


@pytest.mark.parametrize('rule', selection.RULES)
def test_every_class_is_chosen_from_its_own_features(given, rule):
    source, spec, model, variables = given
    key = jax.random.key(2)
    found = selection.coreset(key, rule, *given, ipc=4)
    np.testing.assert_array_equal(found.labels.argmax(-1), [[c] * 4 for c in range(3)])
    for c in range(3):
        own = data.normalise(spec, jnp.asarray(source.images[source.labels == c]))
        features = model.apply(variables, own).features
        everything = jnp.ones(len(own), bool)
        at = selection.RULES[rule](jax.random.fold_in(key, c), features, everything, num=4)
        if rule != 'k-means':  # whose first centres depend on the padding
            np.testing.assert_allclose(found.images[c], own[at], rtol=1e-5, atol=1e-6)
        assert {image.tobytes() for image in np.asarray(found.images[c])} <= {
            image.tobytes() for image in np.asarray(own)
        }
        assert len({image.tobytes() for image in np.asarray(found.images[c])}) == 4


def test_what_cannot_be_chosen_is_refused(given):
    with pytest.raises(ValueError, match="unknown rule 'hurding'.*Did you mean 'herding'"):
        selection.coreset(jax.random.key(0), 'hurding', *given, ipc=1)
    with pytest.raises(ValueError, match=r'class 2 has 5 images\), got 6'):
        selection.coreset(jax.random.key(0), 'herding', *given, ipc=6)
