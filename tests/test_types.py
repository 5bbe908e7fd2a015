"""The records: which are pytrees of arrays, what may be left out, what may serve as a key."""

import jax
import jax.numpy as jnp

from jaxdd.types import Batch, DistillState, Inputs, Method, Outputs, Read, SyntheticSet, Variables

ONE = jnp.ones(())


def test_records_of_arrays_pass_through_compiled_functions():
    records = (
        Batch(ONE, ONE, ONE),
        Outputs(ONE, ONE, ONE, {}),
        Variables({'w': ONE}, {}, ONE, ONE),
        SyntheticSet(ONE, ONE),
        Inputs(real=ONE, pretrained={'proxy': Variables({'w': ONE}, {}, ONE, ONE)}),
        DistillState(ONE, jax.random.key(0), {'images': ONE}, {}, (), ()),
    )
    back = jax.jit(lambda *trees: trees)(*records)
    assert [type(tree) for tree in back] == [type(tree) for tree in records]
    assert jax.tree.structure(back) == jax.tree.structure(records)


def test_what_a_feed_does_not_supply_has_no_leaves():
    assert jax.tree.leaves(Inputs()) == []
    assert jax.tree.leaves(SyntheticSet(ONE, ONE)) == [ONE, ONE]


def test_reads_are_keys_and_augmented_by_default():
    assert {Read('encoder', 'real'): 1}[Read('encoder', 'real', 'augmented')] == 1
    assert Read('proxy', 'synthetic', 'raw') != Read('proxy', 'synthetic')


def test_a_method_takes_joint_steps_unless_told_otherwise():
    assert Method(None, None, None, {}, None).classes == 'joint'
