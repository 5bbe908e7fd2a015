"""A state with everything that is awkward to store, and damage to what was stored."""

import jax
import jax.numpy as jnp
import numpy as np
import optax

from jaxdd.types import DistillState, Variables


def state_at(step, classes=8):
    """A state with everything that is awkward to store."""
    images = jax.random.normal(jax.random.key(step), (classes, 2, 16, 16, 3))
    params = {'images': images, 'empty': jnp.zeros((0, 3))}
    optimizer = optax.chain(
        optax.clip(1.0), optax.masked(optax.adam(0.1), {'images': True, 'empty': False})
    )
    kernel = jnp.full((3, 4), jnp.nan, jnp.bfloat16)
    network = Variables({'kernel': kernel}, {}, jnp.int32(step), jnp.float32(-0.0))
    return DistillState(
        step=jnp.int32(step),
        key=jax.random.key(7 + step),
        params=params,
        fixed={
            'labels': None,
            'none': (),
            'keys': jax.random.split(jax.random.key(1), 8),
            'flag': jnp.array([True, False]),
            'a/b': np.arange(3, dtype=np.uint8),
            'count': 5,
        },
        opt_state=optimizer.init(params),
        networks=[network, ()],
    )


def words(leaf):
    if isinstance(leaf, jax.Array) and jnp.issubdtype(leaf.dtype, jax.dtypes.prng_key):
        return str(leaf.dtype), np.asarray(jax.random.key_data(leaf)).tobytes()
    return str(np.asarray(leaf).dtype), np.shape(leaf), np.asarray(leaf).tobytes()


def assert_identical(found, expected):
    assert jax.tree.structure(found) == jax.tree.structure(expected)
    for a, b in zip(jax.tree.leaves(found), jax.tree.leaves(expected)):
        assert words(a) == words(b)


def data_file(directory, step):
    files = [path for path in (directory / str(step) / 'arrays').rglob('*') if path.is_file()]
    return max(files, key=lambda path: path.stat().st_size)


def change_record(folder, old, new):
    """Changes a few characters of what lies beside the arrays."""
    file = folder / 'record' / 'metadata'
    assert old in file.read_text()
    file.write_text(file.read_text().replace(old, new))
