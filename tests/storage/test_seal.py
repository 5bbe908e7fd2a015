"""A sealed zip file: read as before, and refused with any byte changed, cut or added."""

import hashlib
import io
import zipfile

import pytest

from jaxdd.storage import seal


def plain():
    file = io.BytesIO()
    with zipfile.ZipFile(file, 'w') as archive:
        archive.writestr('a', b'content')
    return file.getvalue()


SEALED = seal.sealed(plain())


def check(content):
    file = io.BytesIO(content)
    with zipfile.ZipFile(file) as archive:
        seal.check(file, archive)
        return archive.read('a')


def test_a_sealed_file_is_a_zip_file_with_the_same_content():
    assert check(SEALED) == b'content' == check(plain())


def test_the_seal_is_the_sha256_of_all_bytes_before_it():
    covered, comment = SEALED[: -seal.SIZE], SEALED[-seal.SIZE :]
    assert comment == b'sha256:' + hashlib.sha256(covered).hexdigest().encode()
    assert len(covered) == len(plain())


@pytest.mark.parametrize('at', range(len(SEALED)))
def test_any_changed_byte_is_found(at):
    changed = bytearray(SEALED)
    changed[at] ^= 1
    with pytest.raises((ValueError, zipfile.BadZipFile, NotImplementedError)):
        check(bytes(changed))


def test_a_tail_is_found():
    with pytest.raises((ValueError, zipfile.BadZipFile)):
        check(SEALED + b'more')


def test_another_comment_is_no_seal():
    file = io.BytesIO(plain())
    with zipfile.ZipFile(file, 'a') as archive:
        archive.comment = b'hello'
    with pytest.raises(ValueError, match="its comment is no checksum, but b'hello'"):
        check(file.getvalue())


@pytest.mark.parametrize('content', [b'', b'no zip file, but long enough for its end', SEALED])
def test_only_a_zip_file_without_a_comment_can_be_sealed(content):
    with pytest.raises(ValueError, match='only a zip file without a comment'):
        seal.sealed(content)
