"""Every test sees 8 simulated devices; silent rank promotion is an error."""
import os
import pathlib
import tempfile

import jax
import numpy as np
import pytest

os.environ.setdefault('PJRT_NPROC', '128')  # see parallel.start: too few threads can deadlock simulated devices
jax.config.update('jax_platforms', 'cpu')
jax.config.update('jax_num_cpu_devices', 8)
jax.config.update('jax_numpy_rank_promotion', 'raise')
jax.config.update('jax_compilation_cache_dir',
                  os.path.join(tempfile.gettempdir(), f'jaxdd-test-cache-{os.getuid()}'))
# With a limit JAX locks its files: without one a worker can read what another is still writing, and crash.
jax.config.update('jax_compilation_cache_max_size', 2 ** 34)
jax.config.update('jax_persistent_cache_min_compile_time_secs', 0.5)

REFERENCES = pathlib.Path(__file__).parent / 'references'


@pytest.fixture
def reference():
    """Loads `tests/references/<name>.npz`: outputs of the papers' own code (README.md there)."""
    return lambda name: dict(np.load(REFERENCES / f'{name}.npz'))


@pytest.fixture
def x64():
    """Runs one test in float64."""
    with jax.enable_x64(True):
        yield
