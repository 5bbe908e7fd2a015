"""Covariance matching as a term: what it reads, how it reduces, where no gradient flows."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxdd.losses import local_covariance_distance
from jaxdd.regularizers import cm
from jaxdd.types import Inputs, Observation, Outputs, Read

REAL, SYNTHETIC = Read('encoder', 'real', 'augmented'), Read('encoder', 'synthetic', 'augmented')


def value(term, real, synthetic, reads=(REAL, SYNTHETIC)):
    """The term on given maps [K, m, P, D]."""
    outputs = {
        read: Outputs(None, None, maps, {})
        for read, maps in zip(reads, (real, synthetic), strict=True)
    }
    loss, metrics = term.loss(
        Observation(outputs, {}, None, {}, Inputs(), jnp.int32(0)), jax.random.key(0)
    )
    assert metrics == {}
    return loss


@pytest.fixture
def maps():
    return tuple(jax.random.normal(jax.random.key(m), (3, m, 4, 5)) for m in (6, 2))


def test_reads_the_passes_of_the_objective():
    assert cm().reads == {REAL, SYNTHETIC}


def test_reads_what_it_is_told_to(maps):
    reads = Read('proxy', 'real', 'raw'), Read('proxy', 'synthetic', 'raw')
    assert cm(*reads).reads == set(reads)
    np.testing.assert_allclose(value(cm(*reads), *maps, reads), value(cm(), *maps))


def test_sums_over_classes(maps):
    per_class = local_covariance_distance(*maps)
    assert per_class.shape == (3,)
    np.testing.assert_allclose(value(cm(), *maps), np.sum(per_class), rtol=1e-6)


def test_hand_worked():
    real = jnp.array([[[1.0, 0.0]], [[-1.0, 0.0]]])  # covariance diag(1, 0)
    synthetic = jnp.array([[[5.0, 2.0]], [[5.0, -2.0]]])  # diag(0, 4), the mean does not count
    np.testing.assert_allclose(value(cm(), real[None], synthetic[None]), 17.0)
    np.testing.assert_allclose(
        value(cm(), jnp.stack([real] * 2), jnp.stack([synthetic, real])), 17.0
    )


def test_no_gradient_flows_to_the_real_side(maps):
    to_real, to_synthetic = jax.grad(lambda *args: value(cm(), *args), (0, 1))(*maps)
    np.testing.assert_array_equal(to_real, 0.0)
    assert np.abs(to_synthetic).max() > 0.1


def test_is_the_authors(reference, x64):
    golden = reference('iid_cc_cm')
    for case in ('a', 'b', 'n1'):
        real, synthetic = (
            jnp.asarray(maps.reshape(*maps.shape[:2], -1).transpose(0, 2, 1)[None])
            for maps in (golden[f'{case}_F_real'], golden[f'{case}_F_syn'])
        )
        loss = 0.01 * value(cm(), real, synthetic)
        np.testing.assert_allclose(loss, golden[f'{case}_loss_cm_weighted'], rtol=1e-9)


def test_one_image_per_class_is_a_constant(maps):
    real, one = maps[0], maps[1][:, :1]
    loss, gradient = jax.jit(jax.value_and_grad(lambda s: value(cm(), real, s)))(one)
    np.testing.assert_allclose(loss, value(cm(), real, 0 * one), rtol=1e-6)
    assert loss > 0
    np.testing.assert_array_equal(gradient, 0.0)
