"""Class centralization as a term: what it reads, how it reduces, its forms."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxdd.losses import class_centralization
from jaxdd.regularizers import cc
from jaxdd.types import Inputs, Observation, Outputs, Read

DEFAULT = Read('proxy', 'synthetic', 'augmented')
FEATURES = jax.random.normal(jax.random.key(0), (3, 4, 5))


def value(term, features, read=DEFAULT):
    """The term on given features [K, n, D]."""
    seen = Observation(
        {read: Outputs(None, features, None, {})}, {}, None, {}, Inputs(), jnp.int32(0)
    )
    loss, metrics = term.loss(seen, jax.random.key(0))
    assert metrics == {}
    return loss


def test_reads_a_proxy_under_the_objectives_augmentation():
    assert cc().reads == {DEFAULT}


def test_reads_what_it_is_told_to():
    read = Read('encoder', 'synthetic', 'raw')
    assert cc(read).reads == {read}
    np.testing.assert_allclose(value(cc(read), FEATURES, read), value(cc(), FEATURES))


def test_sums_over_images_and_classes():
    first = [[0.0, 0.0], [2.0, 4.0]]  # mean (1, 2): 5 each
    second = [[1.0, 1.0], [1.0, 3.0]]  # mean (1, 2): 1 each
    np.testing.assert_allclose(value(cc(), jnp.array([first])), 10.0)
    np.testing.assert_allclose(value(cc(), jnp.array([first, second])), 12.0)
    np.testing.assert_allclose(value(cc(), jnp.array([first * 2, second * 2])), 24.0)


def test_the_squared_form_is_the_authors(reference, x64):
    golden = reference('iid_cc_cm')
    for case in ('a', 'b', 'n1'):
        loss, gradient = jax.value_and_grad(lambda f: 0.05 * value(cc(), f))(
            jnp.asarray(golden[f'{case}_G_syn'])[None]
        )
        np.testing.assert_allclose(loss, golden[f'{case}_loss_cc_weighted'], rtol=1e-9, atol=1e-15)
        np.testing.assert_allclose(
            gradient[0], golden[f'{case}_grad_G_syn_cc'], rtol=1e-9, atol=1e-15
        )


def test_the_exponential_form_takes_its_two_numbers():
    for options in ({'form': 'exp_hinge'}, {'form': 'exp_hinge', 'alpha': 0.3, 'beta': 2.0}):
        expected = class_centralization(FEATURES, **{'alpha': 0.02, 'beta': 1.0, **options}).sum()
        np.testing.assert_allclose(value(cc(**options), FEATURES), expected)
    distance = np.sum((FEATURES - FEATURES.mean(1, keepdims=True)) ** 2, -1)
    np.testing.assert_allclose(expected, np.maximum(np.exp(0.3 * distance) - 2, 0).sum(), rtol=1e-5)


def test_an_unknown_form_is_refused():
    with pytest.raises(
        ValueError, match="unknown class centralization form 'cubed'; valid: exp_hinge, squared"
    ):
        value(cc(form='cubed'), FEATURES)


@pytest.mark.parametrize('form', ['squared', 'exp_hinge'])
def test_one_image_per_class_costs_nothing_and_pulls_nowhere(form):
    loss, gradient = jax.jit(jax.value_and_grad(lambda f: value(cc(form=form), f)))(FEATURES[:, :1])
    assert loss == 0
    np.testing.assert_array_equal(gradient, 0.0)
