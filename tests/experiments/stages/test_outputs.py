"""What a run leaves behind, where it may, and by which commit."""

import pathlib
import subprocess

import pytest

from experiments.methods import parse
from experiments.stages import identity, jobs, outputs


def test_a_folder_is_made_and_left_empty(tmp_path):
    outputs.require_writable(tmp_path / 'a' / 'b', 'workdir')
    assert list((tmp_path / 'a' / 'b').iterdir()) == []


def test_a_folder_under_a_file(tmp_path):
    (tmp_path / 'file').write_text('')
    with pytest.raises(
        ValueError, match=r'the workdir .*file/work cannot be written \(Not a directory\)'
    ):
        outputs.require_writable(tmp_path / 'file' / 'work', 'workdir')


def test_a_folder_that_refuses_files(tmp_path, monkeypatch):
    def refuse(dir):
        raise PermissionError(13, 'Permission denied', str(dir))

    monkeypatch.setattr(outputs.tempfile, 'TemporaryFile', refuse)
    with pytest.raises(
        ValueError, match=r'cannot be written \(Permission denied\); give another with --cache-dir'
    ):
        outputs.require_writable(tmp_path, 'cache_dir')


@pytest.mark.parametrize(
    'words, fields',
    [
        ('', []),
        ('--num-steps 10 --workdir x --seed 3 --keep 5 --num-devices 1', ['num_steps']),
        ('--evaluation.epochs 5 --data.per-class 4', ['data.per_class', 'evaluation.epochs']),
        # the proxy only chooses what stands beside the set
        ('--evaluation.coresets herding --proxies.count 1 --proxies.network.name convnet', []),
        ('--teachers.width 16', []),  # of none
        ('--plugins cc --proxies.count 1', ['proxies.count']),
        ('--init herding --proxies.count 1', ['init', 'proxies.count']),
    ],
)
def test_where_a_budget_is_not_the_published_one(words, fields):
    found = outputs.budget(parse(f'dm --dataset cifar10 {words}'.split()))
    assert list(found) == fields
    if 'num_steps' in fields:
        assert found['num_steps'] == {'published': '20000', 'here': '10'}


@pytest.mark.parametrize('value, warned', [(1.0, False), (200.0, False), (6e29, True)])
def test_absurd_pixels_are_a_warning(value, warned):
    job = jobs.load(parse('dm --dataset digits --ipc 1 --smoke'.split()))
    images = job.initial.images.at[0, 0, 0, 0, 0].set(value)
    distilled = jobs.Distilled(
        job.initial._replace(images=images), {}, None, None, ('', ''), {}, {}, 0.0, 0.0, {}, []
    )
    warnings = outputs._warnings(job, distilled)
    assert bool(warnings) == warned and (not warned or 'pixels reach 2.3e+29' in warnings[0])


def test_the_commit_names_changes(tmp_path):
    def git(*words):
        subprocess.run(
            ('git', '-c', 'user.name=a', '-c', 'user.email=a@b', *words),
            cwd=tmp_path,
            check=True,
            capture_output=True,
        )

    tracked = pathlib.Path(tmp_path / 'tracked')
    tracked.write_text('one')
    git('init')
    git('add', 'tracked')
    git('commit', '-m', 'first')
    clean = outputs.checked_out(tmp_path)
    assert len(clean) >= 7 and int(clean, 16) >= 0
    pathlib.Path(tmp_path / 'a-log-beside-it').write_text('')
    assert outputs.checked_out(tmp_path) == clean
    tracked.write_text('two')
    assert outputs.checked_out(tmp_path) == f'{clean}+changes'


def test_outside_a_checkout_the_commit_is_unknown(monkeypatch, tmp_path):
    monkeypatch.setenv('GIT_CEILING_DIRECTORIES', str(tmp_path.parent))
    assert outputs.checked_out(tmp_path) == 'unknown'


def test_what_a_run_is_made_with_is_what_it_began_with(monkeypatch):
    """A checkout or an environment that goes on beside a run changes nothing of its records."""

    config = parse('dm --dataset digits --ipc 1'.split())
    job = jobs.load(config)

    def asked(*arguments, **options):
        raise AssertionError('asked again')

    monkeypatch.setattr(subprocess, 'run', asked)
    monkeypatch.setattr(outputs.metadata, 'version', asked)
    monkeypatch.setattr(pathlib.Path, 'read_bytes', asked)
    made = outputs.provenance()
    assert (made['commit'], made['versions']) == (outputs.COMMIT, outputs.VERSIONS)
    assert identity.of_students(config, job.dataset)['program'] == identity.CODE
