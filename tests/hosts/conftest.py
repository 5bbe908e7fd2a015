"""Processes that are played one after the other in this one."""

import itertools
import types

import jax
import pytest

from jaxdd.hosts import agreement


class Store:
    """JAX's store of texts by name, of all processes."""

    def __init__(self):
        self.kept = {}

    def key_value_set(self, name, value, allow_overwrite=False):
        assert allow_overwrite or name not in self.kept
        self.kept[name] = value

    key_value_set_bytes = key_value_set

    def blocking_key_value_get_bytes(self, name, milliseconds):
        if name not in self.kept:
            raise jax.errors.JaxRuntimeError(f'NOT_FOUND: {name}')
        return self.kept[name]

    def key_value_dir_get(self, folder):
        return [(name, text) for name, text in self.kept.items() if name.startswith(folder)]


@pytest.fixture
def play(monkeypatch):
    """`play(i, count)`: from here on this is process i of `count`, which has asked nothing yet."""
    store = Store()

    def become(i, count=2):
        state = types.SimpleNamespace(process_id=i, num_processes=count, client=store)
        monkeypatch.setattr(agreement.distributed, 'global_state', state)
        monkeypatch.setattr(agreement, '_number', itertools.count())
        return store

    return become
