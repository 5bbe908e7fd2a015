"""Arrays of a file come back as they were written, or one message says why not."""

import io
import struct
import zipfile

import numpy as np
import pytest

from jaxdd.storage import npz

ARRAYS = {
    'images': np.arange(600, dtype=np.uint8).reshape(2, 3, 10, 10),
    'empty': np.zeros((0, 3)),
    'about': np.array('{"é": 1}'),
    'names': np.array(['a', '猫']),
    'column': np.asfortranarray(np.ones((3, 2))),
}


def read(path, names=None):
    return npz.read(path, names, advice='write it again')


@pytest.fixture(params=[np.savez, np.savez_compressed])
def path(request, tmp_path):
    request.param(tmp_path / 'some.npz', **ARRAYS)
    return tmp_path / 'some.npz'


def write(path, members, method=zipfile.ZIP_DEFLATED):
    """A zip file of `{name: bytes}`."""
    with zipfile.ZipFile(path, 'w', method) as archive:
        for name, content in members.items():
            archive.writestr(name, content)
    return path


def header(shape, dtype='|u1'):
    """The first bytes of an array."""
    content = io.BytesIO()
    np.lib.format.write_array_header_1_0(
        content, {'descr': dtype, 'fortran_order': False, 'shape': shape}
    )
    return content.getvalue()


def test_arrays_come_back(path):
    found = read(path)
    assert list(found) == npz.names(path, advice='') == list(ARRAYS)
    for name, array in ARRAYS.items():
        np.testing.assert_array_equal(found[name], array)
        assert found[name].dtype == array.dtype
    assert list(read(path, ('names', 'nothing'))) == ['names']


def test_every_damage_is_refused_by_name_or_harmless(path, damage):
    assert damage(path, lambda: read(path)) > 150


@pytest.mark.parametrize('member, content, message', [
    ('x.npy', b'no array', 'x cannot be read .it is no array of numbers or text.; write it again'),
    ('notes.txt', b'text', 'notes.txt cannot be read .it is no array'),
    ('x.npy', b'', 'x cannot be read'),
    ('x.npy', b'\x93NUMPY\x02\x00' + struct.pack('<I', 10 ** 9) + b'(' * 20_000,
     'x cannot be read .it is no array'),
    ('x.npy', header((10 ** 12, 32, 32, 3)),
     r'x cannot be read .its header claims an array \(10{12}, 32, 32'),
    ('x.npy', header((2, -3)), 'x cannot be read .its header claims'),
    ('x.npy', header((2,)) + b'abc', 'x cannot be read .its header claims')])  # fmt: skip
def test_what_is_no_array_or_claims_too_much_is_refused(tmp_path, member, content, message):
    with pytest.raises(ValueError, match=f'some.npz: {message}'):
        read(write(tmp_path / 'some.npz', {'good.npy': header((0,)), member: content}))


@pytest.mark.parametrize('method', [zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED])
def test_a_directory_that_claims_as_much_as_the_header_is_not_believed(tmp_path, method):
    claim, path = 2**31, tmp_path / 'some.npz'
    content = header((claim,))
    write(path, {'x.npy': content}, method)
    with zipfile.ZipFile(path) as archive:
        stored = archive.infolist()[0].compress_size
    old, new = (
        struct.pack('<2I', stored, len(content)),
        struct.pack('<2I', claim, claim + len(content)),
    )
    assert path.read_bytes().count(old) == 2  # before the array and in the directory
    path.write_bytes(path.read_bytes().replace(old, new))
    with pytest.raises(
        ValueError,
        match='some.npz: x cannot be read .it claims 2,147,483,776 bytes, more than are st',
    ):
        read(path)


def test_objects_are_never_loaded_and_nobody_is_told_to(tmp_path):
    np.savez(tmp_path / 'some.npz', x=np.array([1, 'a', None], object))
    with pytest.raises(
        ValueError, match='x cannot be read .it holds Python objects, which are never loaded'
    ) as error:
        read(tmp_path / 'some.npz')
    assert 'pickle' not in str(error.value)


def test_what_is_no_npz_is_refused(tmp_path):
    (tmp_path / 'text.npz').write_text('no zip')
    np.save(tmp_path / 'one.npy', np.ones(3))
    (tmp_path / 'folder.npz').mkdir()
    for name, message in {
        'absent.npz': 'does not exist',
        'text.npz': 'cannot be read as npz .File is not a zip file',
        'one.npy': 'cannot be read as npz',
        'folder.npz': 'cannot be read as npz .Is a dir',
    }.items():
        with pytest.raises(ValueError, match=f'^{tmp_path}/{name} {message}.*; write it again$'):
            read(tmp_path / name)
