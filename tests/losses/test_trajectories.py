"""The trajectory loss against hand-worked values, a transcription and the authors' code."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxdd.losses import normalized_parameter_distance


def tree(seed, dtype='float64'):
    draw = np.random.default_rng(seed).normal
    return {
        'a': jnp.asarray(draw(size=(3, 4)), dtype),
        'b': {'c': jnp.asarray(draw(size=5), dtype)},
    }


def flat(tree):
    return np.concatenate([np.ravel(leaf) for leaf in jax.tree.leaves(tree)])


def test_by_hand():
    # away from the target: (1, 0), 2; the way from start to target: (3, 4), 0
    params = {'w': jnp.array([1.0, 0.0]), 'b': jnp.array(2.0)}
    start = {'w': jnp.array([3.0, 4.0]), 'b': jnp.array(0.0)}
    target = {'w': jnp.zeros(2), 'b': jnp.array(0.0)}
    np.testing.assert_allclose(normalized_parameter_distance(params, start, target), 5 / 25)


def test_it_is_the_formula_in_value_and_gradient():
    with jax.enable_x64(True):
        params, start, target = (tree(seed) for seed in range(3))
        value, gradient = jax.value_and_grad(normalized_parameter_distance)(params, start, target)
        p, s, t = map(flat, (params, start, target))
        np.testing.assert_allclose(value, ((p - t) ** 2).sum() / ((s - t) ** 2).sum(), rtol=1e-12)
        np.testing.assert_allclose(
            flat(gradient), 2 * (p - t) / ((s - t) ** 2).sum(), rtol=1e-12, atol=1e-15
        )


def test_the_authors_value(reference):
    golden = reference('cmi_mtt')
    with jax.enable_x64(True):
        params, start, target = (
            {'theta': jnp.asarray(theta, 'float64')}
            for theta in (
                golden['full_theta_traj'][-1],
                golden['theta_start'],
                golden['theta_target'],
            )
        )
        value = normalized_parameter_distance(params, start, target)
        np.testing.assert_allclose(value, golden['full_loss'], rtol=1e-9)


def test_a_student_that_stays_has_one_and_one_that_arrives_zero():
    start, target = tree(0, 'float32'), tree(1, 'float32')
    assert normalized_parameter_distance(start, start, target) == 1
    assert normalized_parameter_distance(target, start, target) == 0


@pytest.mark.parametrize('moved, expected', [(True, np.inf), (False, np.nan)])
def test_an_expert_that_did_not_move_is_no_number(moved, expected):
    expert = tree(0, 'float32')
    student = tree(1, 'float32') if moved else expert
    np.testing.assert_equal(
        np.asarray(normalized_parameter_distance(student, expert, expert)), np.float32(expected)
    )


def test_trees_must_agree():
    with pytest.raises(ValueError):
        normalized_parameter_distance({'a': jnp.ones(2)}, {'b': jnp.ones(2)}, {'a': jnp.ones(2)})
