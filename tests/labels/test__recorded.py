"""Recorded labels: their bytes, and a file that is read as it was written, or refused."""

import json

import chex
import numpy as np
import pytest

from jaxdd.labels import _recorded

ABOUT = {
    'batch_size': 4,
    'jax': '1',
    'prng': 'threefry2x32',
    'platform': 'cpu',
    'images': 1,
    'shown': 2,
}
KEPT = {
    'key': np.zeros(2, np.uint32),
    'logits': np.arange(24, dtype=np.float16).reshape(3, 4, 2),
    'classes': np.zeros((3, 4, 2), np.uint16),
    'rest': np.zeros((3, 4), np.float16),
}
MADE_WITH = _recorded.MadeWith('1', 'threefry2x32', 'cpu', 1, 2)
LARGEST = _recorded.Replay(**KEPT, batch_size=4, made_with=MADE_WITH)
ALL = LARGEST._replace(classes=None, rest=None)


@pytest.mark.parametrize('made, expected', [
    (ALL, 2 * 4 + 24 * 2),
    (LARGEST, 2 * 4 + 24 * (2 + 2) + 12 * 2),
])  # fmt: skip
def test_the_key_and_the_labels_are_counted(made, expected):
    assert _recorded.num_bytes(made) == expected


@pytest.mark.parametrize('made', [ALL, LARGEST])
def test_a_file_is_read_as_it_was_written(tmp_path, made):
    _recorded.save(tmp_path / 'x.npz', made)
    found = _recorded.load(tmp_path / 'x.npz')
    assert found[5] == MADE_WITH and found.batch_size == 4
    chex.assert_trees_all_equal(found[:5], made[:5])
    chex.assert_trees_all_equal_dtypes(found[2:5], made[2:5])


def test_what_is_no_recording_is_refused(tmp_path):
    np.savez(tmp_path / 'other.npz', x=np.ones(3))
    (tmp_path / 'text.npz').write_text('labels')
    for name, message in {
        'other': r'holds no recorded labels \(it lacks about, key, logits\)',
        'text': 'cannot be read',
        'absent': 'does not exist',
    }.items():
        with pytest.raises(
            ValueError, match=f'{name}.npz {message}.*; delete the file and label again'
        ):
            _recorded.load(tmp_path / f'{name}.npz')


@pytest.mark.parametrize(
    'about, changes, message',
    [
        ([], {}, 'list'),
        ({'prng': 'dice'}, {}, 'unrecognized PRNG'),
        ({'batch_size': 0}, {}, 'batch_size must be at least'),
        ({'more': 1}, {}, 'unexpected keyword'),
        ({}, {'key': np.zeros(3, np.uint32)}, 'key data'),
        ({}, {'logits': np.zeros((3, 4))}, 'logits must be .* got float64 of shape .3, 4.'),
        ({}, {'rest': None}, 'classes and rest belong together'),
        ({}, {'classes': np.zeros((3, 4, 1), np.uint16)}, r'classes must be .3, 4, 2. uint16'),
        ({}, {'rest': np.full((3, 4), np.inf, np.float16)}, 'not all finite'),
    ],
)
def test_fields_that_do_not_belong_together_are_refused(tmp_path, about, changes, message):
    made = {k: v for k, v in (KEPT | changes).items() if v is not None}
    text = json.dumps(ABOUT | about if isinstance(about, dict) else about)
    np.savez(tmp_path / 'x.npz', about=np.array(text), **made)
    with pytest.raises(
        ValueError, match=f'x.npz holds no recorded labels .*{message}.*; delete the file and label'
    ):
        _recorded.load(tmp_path / 'x.npz')


def test_every_damage_is_refused_or_harmless(tmp_path, damage):
    _recorded.save(tmp_path / 'x.npz', LARGEST)
    assert damage(tmp_path / 'x.npz', lambda: _recorded.load(tmp_path / 'x.npz')[:5]) > 150
