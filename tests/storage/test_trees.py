"""One tree as a folder comes back bit for bit, and damage is noticed."""

import json

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from stored_trees import assert_identical, change_record, data_file, state_at

from jaxdd.storage import trees


def test_tree_comes_back_bitwise(tmp_path):
    tree = state_at(3)
    trees.save_tree(tmp_path / 'deep' / 'network', tree, {'epochs': 3, 'lr': 0.01})
    assert_identical(trees.load_tree(tmp_path / 'deep' / 'network', state_at(0)), tree)
    abstract = jax.eval_shape(lambda: {'x': jnp.zeros(3), 'k': jax.random.key(0)})
    trees.save_tree(tmp_path / 'small', {'x': jnp.arange(3.0), 'k': jax.random.key(4)}, {})
    found = trees.load_tree(tmp_path / 'small', abstract)
    assert_identical(found, {'x': jnp.arange(3.0), 'k': jax.random.key(4)})
    record = json.loads((tmp_path / 'deep' / 'network' / 'record' / 'metadata').read_text())
    assert record['extra'] == {'epochs': 3, 'lr': 0.01}
    assert [p.name for p in (tmp_path / 'deep').iterdir()] == ['network']


def test_tree_of_one_leaf_and_of_none(tmp_path):
    trees.save_tree(tmp_path / 'one', jnp.arange(4), {})
    assert_identical(trees.load_tree(tmp_path / 'one', jnp.zeros(4, jnp.int32)), jnp.arange(4))
    trees.save_tree(tmp_path / 'none', {'a': (), 'b': None}, {})
    assert trees.load_tree(tmp_path / 'none', {'a': (), 'b': None}) == {'a': (), 'b': None}


def test_saving_a_tree_again_replaces_it(tmp_path):
    for value in (1.0, 2.0):
        trees.save_tree(tmp_path / 'x', {'a': jnp.full(3, value)}, {'value': value})
    assert float(trees.load_tree(tmp_path / 'x', {'a': jnp.zeros(3)})['a'][0]) == 2.0
    assert [p.name for p in tmp_path.iterdir()] == ['x']


def test_missing_tree_is_none(tmp_path):
    assert trees.load_tree(tmp_path / 'no', {'a': jnp.ones(2)}) is None


@pytest.mark.parametrize(
    'like, message',
    [
        (
            {'a': jnp.zeros((2, 3), jnp.bfloat16)},
            r'a: stored float32\[2, 3\], expected bfloat16\[2, 3\]',
        ),
        ({'a': jnp.zeros((3, 2))}, r'a: stored float32\[2, 3\], expected float32\[3, 2\]'),
        (
            {'b': jnp.zeros((2, 3))},
            r'a: stored float32\[2, 3\], expected nothing; b: stored nothing',
        ),
    ],
)
def test_other_tree_is_refused_by_name(tmp_path, like, message):
    trees.save_tree(tmp_path / 'x', {'a': jnp.ones((2, 3))}, {})
    with pytest.raises(ValueError, match=message):
        trees.load_tree(tmp_path / 'x', like)


def test_corrupt_tree_is_refused(tmp_path):
    trees.save_tree(tmp_path / '1', {'a': jax.random.normal(jax.random.key(0), (50, 50))}, {})
    file = data_file(tmp_path, 1)
    content = bytearray(file.read_bytes())
    content[len(content) // 2] ^= 1
    file.write_bytes(content)
    with pytest.raises(ValueError, match='1 is unreadable .*the bytes of a have changed'):
        trees.load_tree(tmp_path / '1', {'a': jnp.zeros((50, 50))})
    (tmp_path / 'file').write_text('no folder')
    with pytest.raises(ValueError, match='unreadable'):
        trees.load_tree(tmp_path / 'file', {'a': jnp.zeros(1)})


def test_a_tree_that_cannot_be_believed_is_set_aside(tmp_path):
    like, told = {'a': jnp.zeros(2)}, []
    trees.save_tree(tmp_path / '0', {'a': jnp.ones(2)}, {'epochs': 3})
    assert (
        trees.recall_tree(tmp_path / '0', like, {'epochs': 3}, warn=told.append) is not None
        and not told
    )
    with pytest.raises(ValueError, match='0 holds another tree: epochs: stored 3, now 4'):
        trees.load_tree(tmp_path / '0', like, {'epochs': 4})
    change_record(tmp_path / '0', '"epochs": 3', '"epochs": 8')
    assert trees.recall_tree(tmp_path / '0', like, warn=told.append) is None
    assert (
        'the record beside the arrays has changed' in told[0] and 'renamed to 0.damaged' in told[0]
    )
    assert [path.name for path in tmp_path.iterdir()] == ['0.damaged']
    assert trees.recall_tree(tmp_path / '0', like, warn=told.append) is None and len(told) == 1


@pytest.mark.parametrize(
    'leaf, message', [('text', "a: .*str 'text'"), (np.arange(2.0), 'a: float64.* would be')]
)
def test_tree_leaves_must_be_arrays_jax_keeps(tmp_path, leaf, message):
    with pytest.raises(ValueError, match=message):
        trees.save_tree(tmp_path / 'x', {'a': leaf}, {})


def test_tree_below_a_file_is_an_os_error(tmp_path):
    (tmp_path / 'file').write_text('')
    with pytest.raises(OSError):
        trees.save_tree(tmp_path / 'file' / 'x', {'a': jnp.ones(1)}, {})
