"""Every test sees 8 simulated devices; silent rank promotion is an error."""

import ctypes
import gc
import os
import pathlib
import tempfile

import jax
import numpy as np
import pytest

# see parallel.start: too few threads can deadlock simulated devices
os.environ.setdefault('PJRT_NPROC', '128')
# Compiling is most of what the tests wait for; `make test-long` compiles as a user's run does.
os.environ.setdefault('JAX_DISABLE_MOST_OPTIMIZATIONS', '1')
QUICK = os.environ['JAX_DISABLE_MOST_OPTIMIZATIONS'] == '1'
if jax.__version_info__[:2] == (0, 10):  # XLA ends the process over a flag that it does not know
    os.environ.setdefault('XLA_FLAGS', '--xla_cpu_use_fusion_emitters=false')
jax.config.update('jax_disable_most_optimizations', QUICK)
jax.config.update('jax_platforms', 'cpu')
jax.config.update('jax_num_cpu_devices', 8)
jax.config.update('jax_numpy_rank_promotion', 'raise')
# One cache per process: JAX does not write its files at once,
# and reading a half-written one aborts the process.
COMPILED = tempfile.TemporaryDirectory(prefix='jaxdd-tests-')
jax.config.update('jax_compilation_cache_dir', COMPILED.name)
jax.config.update('jax_persistent_cache_min_compile_time_secs', 0.5)

gc.set_threshold(100_000, 50, 100)  # traced programs are many objects, and few of them are garbage

PAGES = pathlib.Path('/proc/self/statm')
GROWTH = 1.2e9  # bytes
forget = jax.clear_caches  # whatever a test puts in its place
REFERENCES = pathlib.Path(__file__).parent / 'references'
# Tests that take seconds, and whose point quicker ones make as well: `make test-long` runs them.
LONG = pathlib.Path(__file__).parent / 'long.txt'
# Files that take long, the longest first:
# started last, one would keep a single process of `make test` busy at the end.
LONGEST = (
    'test_composition.py',
    'test_resume.py',
    'methods/test_infer.py',
    'test_reproduce.py',
    'test_dsa.py',
    'test_cells.py',
    'test_decoupled.py',
    'test_following.py',
    'methods/test_dm.py',
    'test_workloads.py',
    'test_options.py',
)


@pytest.hookimpl(tryfirst=True)  # before `-m` chooses
def pytest_collection_modifyitems(config, items):
    """Marks the tests of long.txt; puts those of `LONGEST` first, the others keep their order."""
    found = {item.nodeid: item for item in items}
    for name in LONG.read_text().splitlines():
        if name in found:
            found[name].add_marker(pytest.mark.long)
        elif config.args == config.getini('testpaths'):  # nobody asked for a part
            raise pytest.UsageError(f'{LONG}: there is no test {name}')

    def place(item):
        path = item.path.as_posix()
        return next(
            (i for i, name in enumerate(LONGEST) if path.endswith(f'/{name}')), len(LONGEST)
        )

    items.sort(key=place)


def resident():
    """Bytes of memory that this process occupies; 0 where the system does not say."""
    return int(PAGES.read_text().split()[1]) * os.sysconf('SC_PAGE_SIZE') if PAGES.exists() else 0


@pytest.fixture(scope='session')
def kept():
    """What the process occupied when it last forgot its programs."""
    return [resident()]


@pytest.fixture(autouse=True)
def few_programs(kept):
    """Forgets compiled programs once they occupy more than `GROWTH`.

    JAX keeps every program that it compiled, and the text that it compiled: 1.4 MB even for one
    addition of one shape, and the tests compile thousands. Each is also a few pieces of mapped
    memory, of which Linux allows a process 65,530. The C library keeps what is freed until it is
    told to return it.
    """
    yield
    if resident() < kept[0] + GROWTH:
        return
    forget()
    gc.collect()
    if hasattr(libc := ctypes.CDLL(None), 'malloc_trim'):
        libc.malloc_trim(0)
    kept[0] = resident()


@pytest.fixture(scope='module', autouse=True)
def as_configured():
    """Refuses a module that leaves the compiler set otherwise:
    all later ones would compile twice as long."""
    yield
    assert jax.config.values['jax_disable_most_optimizations'] == QUICK


@pytest.fixture
def quick_compilation():
    """Compiles in a hurry whatever the other tests do: what runs once need not run fast."""
    jax.config.update('jax_disable_most_optimizations', True)
    yield
    jax.config.update('jax_disable_most_optimizations', QUICK)


@pytest.fixture
def reference():
    """Loads `tests/references/<name>.npz`: outputs of the papers' own code (README.md there)."""
    return lambda name: dict(np.load(REFERENCES / f'{name}.npz'))


@pytest.fixture
def x64():
    """Runs one test in float64."""
    with jax.enable_x64(True):
        yield


@pytest.fixture
def damage():
    """damage(path, read): spoils a file in 200 ways;
    each reading gives what it gave, or a ValueError that names it.

    Returns how often it was refused.
    """

    def spoil(path, read):
        whole, refused, rng = path.read_bytes(), 0, np.random.default_rng(0)
        expected = read()
        for i in range(200):
            content = np.frombuffer(whole, np.uint8).copy()
            if i % 4:  # the directory at the end is small and deserves its share
                start = 0 if i % 2 else max(0, len(content) - 600)
                at = rng.integers(start, len(content), rng.integers(1, 5))
                content[at] = rng.integers(0, 256, len(at))
            path.write_bytes(content[: None if i % 4 else rng.integers(0, len(content))].tobytes())
            try:
                jax.tree.map(np.testing.assert_array_equal, read(), expected)
            except ValueError as error:
                assert str(path) in str(error) and 'pickle' not in str(error), error
                refused += 1
        path.write_bytes(whole)
        return refused

    return spoil
