"""What is read back is what was written, or it is not believed."""

import hashlib
import json
import random

import jax.numpy as jnp
import numpy as np
import pytest

from jaxdd.storage import records
from jaxdd.types import Accuracy

SCORES = records.mapping(records.listing(records.FRACTION))
CONTENT = {'convnet': [0.8125, 0.625], 'vgg11': [0.5]}


@pytest.fixture
def path(tmp_path):
    return tmp_path / 'deep' / 'scores.json'


def test_it_comes_back_and_people_can_read_it(path):
    records.save(path, CONTENT)
    assert records.load(path, SCORES) == CONTENT
    words = '{"convnet": [0.8125, 0.625], "vgg11": [0.5]}'
    assert json.loads(path.read_text()) == {
        **CONTENT,
        'checksum': hashlib.sha256(words.encode()).hexdigest()[:12],
    }
    assert [p.name for p in path.parent.iterdir()] == ['scores.json']


def test_arrays_records_and_paths_become_plain_json(path, tmp_path):
    records.save(
        path,
        {
            'a': np.float32(0.5),
            'b': jnp.arange(2),
            'workdir': tmp_path,
            'c': Accuracy(0.7, 0.0, (0.7,)),
        },
    )
    found = records.load(path, records.ANYTHING)
    assert found == {
        'a': 0.5,
        'b': [0, 1],
        'workdir': str(tmp_path),
        'c': {'mean': 0.7, 'std': 0.0, 'per_seed': [0.7]},
    }
    records.require_fits(found['c'], records.ACCURACY)


@pytest.mark.parametrize(
    'bad', [float('nan'), np.float32(np.inf), {'x': [1, -float('inf')]}, object()]
)
def test_what_is_not_finite_json_is_refused_and_the_old_file_stays(path, bad):
    records.save(path, {'a': 1})
    with pytest.raises(ValueError, match=r'results\.loss'):
        records.save(path, {'loss': bad})
    assert records.load(path, records.ANYTHING) == {'a': 1}


def test_no_file_is_none(path):
    assert records.load(path, SCORES) is None and records.recall(path, SCORES) is None


def damaged(text, rng):
    """The text cut, or with one character changed, doubled or left out."""
    at = rng.randrange(len(text))
    return rng.choice(
        [
            text[:at],
            text[:at] + rng.choice('0123456789"{}[],:aNé\n') + text[at + 1 :],
            text[:at] + text[at] + text[at:],
            text[:at] + text[at + 1 :],
        ]
    )


def test_whatever_is_damaged_is_never_believed(path):
    records.save(path, CONTENT)
    whole, rng = path.read_text(), random.Random(0)
    for _ in range(500):
        path.write_text(damaged(whole, rng))
        try:
            assert records.load(path, SCORES) == CONTENT  # white space, or the same character again
        except records.Damaged as error:
            assert str(path) in str(error)


@pytest.mark.parametrize(
    'content, message',
    [
        (b'', 'no JSON'),
        (b'\xff\xfe', 'decode'),
        (b'[1]', 'no checksum'),
        (b'{"convnet": [0.5]}', 'no checksum'),
        (b'{"convnet": [NaN], "checksum": "1"}', 'finite'),
        (b'null', 'no checksum'),
        (b'[' * 5000, 'JSON'),
    ],
)
def test_what_is_no_record(path, content, message):
    path.parent.mkdir()
    path.write_bytes(content)
    with pytest.raises(records.Damaged, match=message):
        records.load(path, SCORES)


@pytest.mark.parametrize(
    'content, message',
    [
        ({'convnet': [305.97]}, r'convnet.0: 305.97 is greater than the maximum of 1'),
        ({'convnet': 0.5}, 'convnet: 0.5 is not of type .array.'),
        ({'convnet': [True]}, 'convnet.0: True'),
    ],
)
def test_what_has_a_checksum_must_still_fit_the_schema(path, content, message):
    records.save(path, content)
    with pytest.raises(records.Damaged, match=message):
        records.load(path, SCORES)


def test_a_field_too_many_and_a_field_too_few(path):
    schema = records.fields({'note': records.TEXT}, count=records.COUNT)
    for content, right in (
        ({'count': 1}, True),
        ({'count': 1, 'note': 'x'}, True),
        ({'note': 'x'}, False),
        ({'count': 1, 'other': 2}, False),
        ({'count': -1}, False),
    ):
        records.save(path, content)
        assert (records.recall(path, schema, warn=lambda _: None) is not None) == right


def test_what_cannot_be_believed_is_set_aside_and_named(path):
    records.save(path, CONTENT)
    path.write_text(path.read_text().replace('0.625', '9.625'))
    told = []
    assert records.recall(path, SCORES, warn=told.append) is None
    assert (
        str(path) in told[0]
        and 'checksum' in told[0]
        and 'renamed to scores.json.damaged' in told[0]
    )
    assert [p.name for p in path.parent.iterdir()] == ['scores.json.damaged']
    path.write_text('again')
    assert records.recall(path, SCORES, warn=told.append) is None and len(told) == 2
