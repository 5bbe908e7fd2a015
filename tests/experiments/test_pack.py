"""Packing the folder of the cells: what is taken, in which order, in pieces of which size, and that it comes back."""
import numpy as np
import pytest

from experiments import pack
from jaxdd import records

MIB = pack.MIB


def put(path, size=10, seed=0):
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(np.random.default_rng(seed).bytes(size))


@pytest.fixture
def folder(tmp_path):
    """A finished cell, an unfinished one with two checkpoints, a teacher at work, a finished one, three proxies."""
    made = tmp_path / 'cells'
    made.joinpath('results').mkdir(parents=True)
    records.save(made / 'results' / 'cifar10-dm-10.json', {'cell': 'cifar10/dm/10', 'budget': 'published',
                                                           'workdir': 'cifar10-dm-10', 'calls': []})
    put(made / 'cifar10-dm-10' / 'distilled.npz', 2 * MIB)
    put(made / 'cifar10-dm-10' / 'checkpoints' / '9' / 'arrays' / 'd' / 'a')
    for step in (5, 10):
        put(made / 'cifar10-idm-10' / 'checkpoints' / str(step) / 'arrays' / 'd' / 'a', MIB, seed=step)
    put(made / 'cifar10-idm-10' / 'checkpoints' / 'config.json')
    put(made / 'cifar10-idm-10' / 'checkpoints' / '15.orbax-checkpoint-tmp' / 'a')
    put(made / 'cifar10-idm-10' / '.history.jsonl.77')
    put(made / 'cifar10-idm-10' / 'students' / 'abc.json')
    put(made / 'cache' / 'random' / 'abc.json')
    put(made / 'cache' / 'teachers' / 'one' / 'training' / '3' / 'a', MIB)
    put(made / 'cache' / 'teachers' / 'two' / 'training' / '4' / 'a', MIB)
    put(made / 'cache' / 'teachers' / 'two' / 'network' / 'a', MIB)
    put(made / 'cache' / 'teachers' / 'two' / 'card.json')
    for i in (2, 10, 11):
        put(made / 'cache' / 'proxies' / 'pool' / str(i) / 'a', MIB, seed=i)
    return made


def files(folder):
    return {str(path.relative_to(folder)): path.read_bytes() for path in folder.rglob('*') if path.is_file()}


SUPERFLUOUS = ('cifar10-dm-10/checkpoints/9', 'cifar10-idm-10/checkpoints/5', 'cifar10-idm-10/checkpoints/15',
               'cifar10-idm-10/.history', 'cache/teachers/two/training')


def test_everything_that_a_run_needs_comes_back(folder, tmp_path):
    packed = pack.pack(folder, tmp_path / 'packed')
    assert packed.left == []
    unpacked = pack.unpack(tmp_path / 'packed', tmp_path / 'other')
    assert files(tmp_path / 'other') == {name: content for name, content in files(folder).items()
                                         if not name.startswith(SUPERFLUOUS)}
    assert sorted(unpacked) == sorted(name for name, _ in packed.taken)
    assert list((tmp_path / 'other').glob('.*')) == []


def test_pieces_and_their_sum_are_limited(folder, tmp_path):
    packed = pack.pack(folder, tmp_path / 'packed', limit=4.5, part=MIB)
    sizes = [path.stat().st_size for path in sorted((tmp_path / 'packed').iterdir())]
    assert max(sizes) == MIB and sum(sizes) <= 4.5 * MIB and len(sizes) == 5
    assert [name for name, _ in packed.taken] == [
        'results/cifar10-dm-10.json', 'cache/random/abc.json', 'cifar10-idm-10', 'cache/teachers/one',
        'cache/teachers/two', 'cache/proxies/pool/2']
    assert [name for name, _ in packed.left] == ['cache/proxies/pool/10', 'cache/proxies/pool/11', 'cifar10-dm-10']
    assert packed.left[-1][1] == pytest.approx(2, rel=0.01)


def test_what_does_not_fit_makes_room_for_what_does(folder, tmp_path):
    put(folder / 'cifar10-dsa-10' / 'checkpoints' / '1' / 'a', 4 * MIB)
    packed = pack.pack(folder, tmp_path / 'packed', limit=3)
    assert ('cifar10-dsa-10', pytest.approx(4, rel=0.01)) in packed.left
    assert {'cifar10-idm-10', 'cache/teachers/one'} <= {name for name, _ in packed.taken}


def test_unpacking_replaces_what_it_brings_and_nothing_else(folder, tmp_path):
    pack.pack(folder, tmp_path / 'packed')
    other = tmp_path / 'other'
    for name in ('cifar10-idm-10/checkpoints/3/old', 'cifar10-dc-10/kept', 'results/kept.json', 'cache/random/kept',
                 'cache/proxies/pool/7/kept'):
        put(other / name)
    pack.unpack(tmp_path / 'packed', other)
    found = files(other)
    assert 'cifar10-idm-10/checkpoints/3/old' not in found and 'cifar10-idm-10/students/abc.json' in found
    assert {'cifar10-dc-10/kept', 'results/kept.json', 'cache/random/kept', 'cache/proxies/pool/7/kept',
            'results/cifar10-dm-10.json', 'cache/proxies/pool/10/a'} <= set(found)


def test_packing_again_leaves_no_older_piece(folder, tmp_path):
    pack.pack(folder, tmp_path / 'packed', part=MIB)
    pack.pack(folder, tmp_path / 'packed')
    assert [path.name for path in (tmp_path / 'packed').iterdir()] == ['packed-1-of-1']


def test_the_command_line(folder, tmp_path, capsys):
    assert pack.main(['pack', str(folder), str(tmp_path / 'packed'), '--limit', '4.5']) == 0
    printed = capsys.readouterr().out
    assert 'packed     1.0' in printed and 'LEFT OUT     2.0' in printed
    assert pack.main(['unpack', str(tmp_path / 'packed'), str(tmp_path / 'other')]) == 0
    assert 'cifar10-idm-10\n' in capsys.readouterr().out


@pytest.mark.parametrize('lost, message', [('packed-2-of-9', 'must hold packed-1-of-9, packed-2-of-9'),
                                           ('*', 'holds no packed-<i>-of-<n>')])
def test_a_missing_piece_is_refused(lost, message, folder, tmp_path, capsys):
    target = tmp_path / 'packed'
    pack.pack(folder, target, part=MIB)
    assert len(list(target.iterdir())) == 9
    for path in target.glob(lost):
        path.unlink()
    put(tmp_path / 'other' / 'kept')
    assert pack.main(['unpack', str(target), str(tmp_path / 'other')]) == 2
    assert message in capsys.readouterr().err and list(files(tmp_path / 'other')) == ['kept']


def test_torn_pieces_are_refused(folder, tmp_path, capsys):
    pack.pack(folder, tmp_path / 'packed')
    piece = tmp_path / 'packed' / 'packed-1-of-1'
    piece.write_bytes(piece.read_bytes()[:3 * MIB])
    assert pack.main(['unpack', str(tmp_path / 'packed'), str(tmp_path / 'other')]) == 2
    assert 'pack again' in capsys.readouterr().err and files(tmp_path / 'other') == {}


def test_there_must_be_something_to_pack(tmp_path, capsys):
    assert pack.main(['pack', str(tmp_path / 'none'), str(tmp_path / 'packed')]) == 2
    assert 'none: no such folder' in capsys.readouterr().err
