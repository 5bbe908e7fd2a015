"""What the compiler of a TPU makes of two steps, in a process of its own."""

import json
import os
import pathlib
import subprocess
import sys

import pytest

MIB = 2**20
FOLDER = pathlib.Path(sys.prefix) / 'libtpu'  # where `make test` puts it
needs_libtpu = pytest.mark.skipif(
    not FOLDER.exists(), reason=f'no compiler: pip install --no-deps --target {FOLDER} libtpu'
)


def compiled(folder, *words):
    """The records of `python -m experiments.compiled`, by step."""
    file = folder / 'found.json'
    done = subprocess.run(
        (sys.executable, '-m', 'experiments.compiled', *words, '--json', str(file)),
        # libtpu ends the process over a flag of XLA:CPU
        env={
            **os.environ,
            'JAX_DISABLE_MOST_OPTIMIZATIONS': '0',
            'JAX_PLATFORMS': 'cpu',
            'XLA_FLAGS': '',
            'PYTHONPATH': str(FOLDER),
            'TPU_LIBRARY_PATH': str(FOLDER / 'libtpu' / 'libtpu.so'),
        },
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stderr
    return {one['step']: one for one in json.loads(file.read_text())['programs']}


def sampled(one):
    """Collectives of a step that come from sampling, drawing or augmenting."""
    words = ('top_k', 'take', 'random', 'threefry', 'uniform', 'sort', 'pad', 'ijc', 'iqc')
    return [c for c in one['collectives of a step'] if any(word in c['path'] for word in words)]


# collectives of a step, and its cycles before one pass and half precision: 4.2e6 and 1.9e6
@needs_libtpu
@pytest.mark.parametrize(
    'step, collectives, cycles',
    [('dm', 3, 2.4e6), pytest.param('sre2l', 0, 1.2e6, marks=pytest.mark.long)],
)
def test_eight_chips_share_a_step_and_send_features_and_gradients_alone(
    step, collectives, cycles, tmp_path
):
    one = compiled(tmp_path, '--target', 'v5e:2x4', '--steps', step)[step]
    # the synthetic images divide, too: each chip has little more than its eighth
    assert one['FLOPs of one chip'] <= 1.05 * one['FLOPs of a step'] / 8
    assert not sampled(one)
    assert sum(c['times'] for c in one['collectives of a step']) <= collectives
    # a real batch are 7.9 MB of uint8, the training set 154 MB
    assert sum(c['size'] * c['times'] for c in one['collectives of a step']) < 2.5e6
    assert not [d for d in one['dearest beside the steps'] if 'u8[50000' in d['shape']]
    assert one['bytes per device']['temporaries'] < 32 * MIB
    assert one['cycles of a step (estimate)'] < cycles
    if step == 'dm':
        assert one['cycles of a dispatch beside its steps (estimate)'] < 1e5


@needs_libtpu
@pytest.mark.long
def test_sixty_four_chips_of_eight_hosts_draw_without_a_word(tmp_path):
    one = compiled(tmp_path, '--target', 'v5e:8x8', '--steps', 'dm')['dm']
    assert (one['chips'], one['hosts']) == (64, 16)  # 4 chips each
    assert not sampled(one)
    assert sum(c['times'] for c in one['collectives of a step']) <= 3


@needs_libtpu
@pytest.mark.long
def test_what_does_not_fit_says_what_it_needs(tmp_path):
    words = 'dm --dataset imagenette --ipc 10 --data.per-class 256 --precision f32'
    one = compiled(tmp_path, '--target', 'v5e:1x1', '--precision', 'f32', '--runs', words)[words]
    assert '15.75G' in one['does not fit']  # what the chip has
