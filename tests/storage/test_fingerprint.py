"""Fingerprints and differences of configurations."""

import math

import pytest

from jaxdd.storage.fingerprint import Store, differences, fingerprint, plain


def test_a_fingerprint_ignores_the_order_of_keys_and_tuples_against_lists():
    assert fingerprint({'a': 1, 'b': (1, 2)}) == fingerprint({'b': [1, 2], 'a': 1})
    assert len(fingerprint({})) == 12
    config = {'method': 'dm', 'ipc': 2, 'optimizer': {'name': 'sgd', 'learning_rate': 1.0}}
    assert fingerprint(config) == 'd0fc6b1cfa25'  # folders of caches and checkpoints are named so


@pytest.mark.parametrize(
    'other', [{'a': 2}, {'a': 1.0}, {'a': '1'}, {'b': 1}, {'a': 1, 'b': None}, {'a': [1]}]
)
def test_every_difference_changes_it_and_is_listed(other):
    assert fingerprint({'a': 1}) != fingerprint(other)
    assert differences({'a': 1}, other)


def test_differences_name_the_path():
    stored = {'optimizer': {'learning_rate': 1.0, 'momentum': 0.5}, 'seed': 0}
    now = {'optimizer': {'learning_rate': 0.5, 'momentum': 0.5}, 'seed': 0, 'ipc': 10}
    assert differences(stored, now) == [
        'ipc: stored nothing, now 10',
        'optimizer.learning_rate: stored 1.0, now 0.5',
    ]
    assert differences(stored, stored) == []


@pytest.mark.parametrize(
    'value, where',
    [({'a': math.nan}, 'config.a'), ({'a': [1, object()]}, r'config.a\[1\]'), ({1: 2}, 'config')],
)
def test_what_is_not_json_is_refused_with_its_place(value, where):
    with pytest.raises(ValueError, match=where):
        plain(value, 'config')


def test_a_store_of_several_identities_has_a_folder_for_each(tmp_path):
    first, second = (Store(tmp_path, {'seed': seed}).named() for seed in (1, 2))
    assert first == tmp_path / fingerprint({'seed': 1}) and first != second
