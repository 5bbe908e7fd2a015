"""What is written for TensorBoard is what stands in the history; a profile changes no bit."""

import json
import struct

import numpy as np
import pytest

from experiments import run
from experiments.stages import watching

proto = pytest.importorskip('tensorboardX.proto.event_pb2')
WORDS = 'dm --dataset digits --ipc 2 --smoke --num-steps 10'.split()


def ran(folder, *words):
    where = ('--workdir', str(folder), '--cache-dir', str(folder.with_name('cache')))
    assert run.run(run.methods.parse([*WORDS, *where, *words]), [*WORDS], lambda: False) == 0
    return folder


def events(folder):
    """(step, name, value) of every scalar, and the names of pictures."""
    scalars, pictures = [], []
    for path in sorted((folder / 'tensorboard').glob('events.*')):
        content = path.read_bytes()
        while content:
            (size,) = struct.unpack('<Q', content[:8])
            event = proto.Event.FromString(content[12 : 12 + size])
            content = content[16 + size :]
            for value in event.summary.value:
                if value.HasField('image'):
                    pictures.append(value.tag)
                else:
                    scalars.append((event.step, value.tag, value.simple_value))
    return scalars, pictures


def test_the_board_shows_the_history_and_a_profile_changes_nothing(tmp_path):
    plain = ran(tmp_path / 'plain')
    watched = ran(tmp_path / 'watched', '--tensorboard', '--profile', '5')
    with np.load(plain / 'distilled.npz') as one, np.load(watched / 'distilled.npz') as other:
        np.testing.assert_array_equal(one['images'], other['images'])
    assert list((watched / 'profile').rglob('*.xplane.pb'))
    assert not (plain / 'profile').exists() and not (plain / 'tensorboard').exists()
    scalars, pictures = events(watched)
    rows = [json.loads(line) for line in (watched / 'history.jsonl').read_text().splitlines()]
    expected = {
        (row['step'], name, np.float32(value))
        for row in rows
        for name, value in row.items()
        if name not in ('step', 'checksum')
    }
    shown = {(step, name, np.float32(value)) for step, name, value in scalars}
    assert {one for one in shown if not one[1].startswith('accuracy/')} == expected
    mean = json.loads((watched / 'results.json').read_text())['accuracy']['distilled']['convnet']
    assert (10, 'accuracy/convnet', np.float32(mean['mean'])) in shown
    assert pictures == ['grid']


def test_without_its_writer_the_board_is_refused_before_anything_trains(tmp_path, monkeypatch):
    monkeypatch.setattr(watching.importlib.util, 'find_spec', lambda name: None)
    with pytest.raises(ValueError, match='pip install tensorboardX'):
        ran(tmp_path / 'refused', '--tensorboard')
