"""What a record says of stored arrays, and when it is believed."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxdd.storage import leaves
from jaxdd.storage.fingerprint import fingerprint

TREE = {'a': jnp.arange(3.0), 'b': [jnp.int32(7), ()], 'key': jax.random.key(0), 'count': 5}


def test_leaves_are_named_by_their_paths_and_described():
    assert [name for name, _ in leaves.named(TREE)] == ['a', 'b.0', 'count', 'key']
    assert (
        leaves.described('a', TREE['a']) == 'float32[3]'
        and leaves.described('count', 5) == 'int32[]'
    )
    with pytest.raises(ValueError, match='two leaves share a name'):
        leaves.named({'a.b': 1, 'a': {'b': 2}})


def test_a_checksum_is_of_the_bytes():
    assert leaves.checksum(jnp.zeros(2)) != leaves.checksum(-jnp.zeros(2))
    assert leaves.checksum(jax.random.key(1)) == leaves.checksum(
        jax.random.key_data(jax.random.key(1))
    )


def test_copies_come_back_as_the_tree_and_changed_bytes_do_not():
    arrays, about = leaves.copied(TREE)
    found = leaves.rebuilt(about, arrays, TREE)
    assert jax.tree.structure(found) == jax.tree.structure(TREE) and found['count'] == 5
    np.testing.assert_array_equal(found['a'], TREE['a'])
    with pytest.raises(ValueError, match='the bytes of a have changed'):
        leaves.rebuilt(about, {**arrays, 'a': arrays['a'] + 1}, TREE)


def test_a_record_is_believed_if_its_checksum_and_its_run_are_right():
    whole = {'leaves': {}, 'extra': {'x': 1}, 'config': 'ab'}
    stored = {**whole, 'checksum': fingerprint(whole)}
    assert leaves.believed(stored, 'ab') == leaves.believed(stored, None) == whole
    with pytest.raises(leaves.Different, match='of the configuration ab, this run is cd'):
        leaves.believed(stored, 'cd')
    for changed in (
        {**stored, 'extra': {'x': 2}},
        {**stored, 'more': 1},
        whole,
        {**stored, 'checksum': 'x'},
    ):
        with pytest.raises(ValueError, match='has changed since it was saved'):
            leaves.believed(changed, 'ab')
