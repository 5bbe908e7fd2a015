"""Several processes on the loopback interface compute one program, lose one of them, and go on."""

import os
import pathlib
import re
import shlex
import signal
import socket
import subprocess
import sys
import time

import numpy as np
import pytest

SMALL = '--smoke --evaluation.epochs 1 --evaluation.num-seeds 1 --evaluation.width 8'.split()
PLAIN = ['dm', '--dataset', 'digits', '--ipc', '2', '--encoder.width', '8', *SMALL]
OFTEN = '--steps-per-call 1 --checkpoint-every 4'.split()
DM = [*PLAIN, *OFTEN, '--plugins', 'cc', 'cm', 'cmi']
INFER = 'infer --dataset digits --ipc 10 --plugins cc cm cmi --smoke'.split()
PATIENCE = 10.0
ROOT = pathlib.Path(__file__).parents[2]
STOPPED, GONE = 3, 4


class Group:
    """The processes of one command, with what each of them says.

    `own(i)` gives words and environment of process i alone.
    """

    def __init__(self, folder, words, count=1, own=lambda i: ([], {})):
        with socket.socket() as free:
            free.bind(('127.0.0.1', 0))
            port = free.getsockname()[1]
        self.folder, self.logs, self.processes = folder, [], []
        for i in range(count):
            place = f'--hosts.coordinator 127.0.0.1:{port} --hosts.num-processes {count} '
            place += f'--hosts.process-id {i} --hosts.patience {PATIENCE}'
            self.logs.append(folder.with_name(f'{folder.name}-{count}-{i}.log'))
            with self.logs[-1].open('w') as log:
                self.processes.append(
                    subprocess.Popen(
                        [
                            *(sys.executable, '-m', 'experiments.run', *words),
                            *('--workdir', str(folder), '--cache-dir', f'{folder}-cache'),
                            *(place.split() if count > 1 else ()),
                            *own(i)[0],
                        ],
                        stdout=log,
                        stderr=subprocess.STDOUT,
                        env={**os.environ, 'JAX_PLATFORMS': 'cpu', **own(i)[1]},
                    )
                )

    def ends(self, limit=400):
        """Exit codes."""
        return [process.wait(limit) for process in self.processes]

    def said(self, i):
        """What process i printed."""
        return self.logs[i].read_text()

    def until_saved(self, limit=400):
        """Waits for a whole checkpoint."""
        end = time.monotonic() + limit
        while not self.saved():
            assert time.monotonic() < end and all(p.poll() is None for p in self.processes), (
                self.said(0)
            )
            time.sleep(0.1)

    def saved(self):
        """Steps of whole checkpoints."""
        return [int(p.name) for p in self.folder.glob('checkpoints/*') if p.name.isdigit()]


@pytest.fixture
def group():
    """Makes groups, none of which outlives the test."""
    made = []

    def make(*given, **options):
        made.append(Group(*given, **options))
        return made[-1]

    yield make
    for process in [process for one in made for process in one.processes]:
        process.kill()


def images(folder):
    with np.load(folder / 'distilled.npz') as file:
        return file['images']


@pytest.mark.parametrize('words', [
    [*PLAIN, '--num-steps', '4'],
    pytest.param([*DM, '--num-steps', '8'], marks=pytest.mark.long),
    pytest.param(INFER, marks=pytest.mark.long),
])  # fmt: skip
def test_two_processes_make_the_images_of_one(group, tmp_path, words):
    two, one = group(tmp_path / 'two', words, 2), group(tmp_path / 'one', words)
    assert two.ends() == [0, 0], two.said(0) + two.said(1)
    assert one.ends() == [0], one.said(0)
    np.testing.assert_allclose(images(two.folder), images(one.folder), rtol=0, atol=1e-3)
    for i in range(2):
        assert f'process {i} of 2: 1 of 2 devices, workdir {two.folder}' in two.said(i)
    assert '[5/5] writing the results' in two.said(0)
    assert '[1/5]' not in two.said(1) and 'step/s' not in two.said(1)


@pytest.mark.long
def test_a_signal_to_one_of_them_stops_all_at_one_step(group, tmp_path):
    words = [*PLAIN, *OFTEN, '--num-steps', '3000']
    two = group(tmp_path / 'run', words, 2)
    two.until_saved()
    two.processes[1].send_signal(signal.SIGTERM)
    assert two.ends(120) == [STOPPED, STOPPED], two.said(0) + two.said(1)
    stopped = max(two.saved())
    one = group(two.folder, words)
    while f'continuing at step {stopped}' not in one.said(0):
        assert one.processes[0].poll() is None, one.said(0)
        time.sleep(0.1)
    one.processes[0].send_signal(signal.SIGTERM)
    assert one.ends(120) == [STOPPED]


@pytest.mark.long
@pytest.mark.parametrize('count, victim, later', [(2, 1, 1), (2, 0, 2), (4, 2, 2)])
def test_a_killed_one_ends_the_others_with_a_sentence_and_fewer_go_on(
    group, tmp_path, count, victim, later
):
    words = [*DM, '--num-steps', '200']
    first = group(tmp_path / 'run', words, count)
    first.until_saved()
    first.processes[victim].kill()
    began = time.monotonic()
    codes = first.ends(120)
    assert time.monotonic() - began < 60
    for i, code in enumerate(codes):
        if i != victim:
            assert code == GONE, first.said(i)
            assert f'process {victim} is gone; the same command, also with fewer' in first.said(i)
    whole = group(tmp_path / 'whole', words)
    rest = group(first.folder, words, later)
    assert rest.ends() == [0] * later, rest.said(0)
    assert 'continuing at step' in rest.said(0)
    assert whole.ends() == [0]
    np.testing.assert_allclose(images(first.folder), images(whole.folder), rtol=0, atol=1e-3)


@pytest.mark.long
def test_commands_that_differ_end_both_with_a_message(group, tmp_path):
    two = group(tmp_path / 'run', PLAIN, 2, own=lambda i: (['--seed', str(i)], {}))
    assert two.ends(120) == [2, 2]
    for i in range(2):
        assert 'the command must be the same in all 2 processes' in two.said(i)
        assert 'Traceback' not in two.said(i)


@pytest.mark.long
def test_folders_that_are_not_shared_end_both_with_a_message(group, tmp_path):
    homes = [tmp_path / f'home-{i}' for i in range(2)]
    words = ['--workdir', '~/run']
    two = group(tmp_path / 'run', PLAIN, 2, own=lambda i: (words, {'HOME': str(homes[i])}))
    assert two.ends(120) == [2, 2]
    for i in range(2):
        assert 'must be a folder that all hosts share, but process 1 cannot' in two.said(i)
        assert 'Traceback' not in two.said(i)


@pytest.mark.long
def test_the_command_of_the_page_runs_on_a_laptop(tmp_path):
    page = (ROOT / 'docs' / 'hosts.md').read_text()
    command = re.search(r'a laptop \| `(.*?)`', page)[1]
    there = {**os.environ, 'JAX_PLATFORMS': 'cpu', 'PYTHON': sys.executable, 'HOME': str(tmp_path)}
    words = [*shlex.split(command.replace('runs/two', str(tmp_path / 'two')))]
    ended = subprocess.run(words, cwd=ROOT, env=there, capture_output=True, text=True, timeout=400)
    assert ended.returncode == 0, ended.stderr
    assert 'process 1 of 2: 1 of 2 devices' in ended.stdout
    assert (tmp_path / 'two' / 'distilled.npz').exists()


def test_the_script_for_pods_hands_every_word_to_every_worker(tmp_path):
    gcloud = tmp_path / 'gcloud'
    gcloud.write_text('#!/bin/sh\nprintf "%s\\n" "$@"\n')
    gcloud.chmod(0o755)
    words = ['dm', '--dataset', 'my images']
    there = {**os.environ, 'PATH': f'{tmp_path}:{os.environ["PATH"]}'}

    def call(*given):
        script = ROOT / 'experiments' / 'pod.sh'
        return subprocess.run([script, *given], env=there, capture_output=True, text=True)

    told = call('tpu', 'slice', 'us-east1-c', *words).stdout.splitlines()
    assert told[:5] == ['compute', 'tpus', 'tpu-vm', 'ssh', 'slice']
    assert told[5:9] == ['--zone', 'us-east1-c', '--worker=all', '--command']
    run = ['.venv/bin/python', '-m', 'experiments.run']
    assert shlex.split(told[9]) == ['cd', '~/jaxdd', '&&', *run, *words]
    refused = call()
    assert refused.returncode == 2 and 'NAME ZONE' in refused.stderr
