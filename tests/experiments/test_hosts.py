"""Several processes on the loopback interface compute one program, lose one of them, and go on."""

import os
import pathlib
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
DM = [*PLAIN, *'--plugins cc cm cmi --steps-per-call 1 --checkpoint-every 4'.split()]
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

    def ends(self, limit=240):
        """Exit codes."""
        return [process.wait(limit) for process in self.processes]

    def said(self, i):
        """What process i printed."""
        return self.logs[i].read_text()

    def until_saved(self, limit=180):
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


def images(folder):
    with np.load(folder / 'distilled.npz') as file:
        return file['images']


@pytest.mark.parametrize('words', [
    [*PLAIN, '--num-steps', '4'],
    pytest.param([*DM, '--num-steps', '8'], marks=pytest.mark.long),
    pytest.param(INFER, marks=pytest.mark.long),
])  # fmt: skip
def test_two_processes_make_the_images_of_one(tmp_path, words):
    two, one = Group(tmp_path / 'two', words, 2), Group(tmp_path / 'one', words)
    assert two.ends() == [0, 0], two.said(0) + two.said(1)
    assert one.ends() == [0], one.said(0)
    np.testing.assert_allclose(images(two.folder), images(one.folder), rtol=0, atol=1e-3)
    for i in range(2):
        assert f'process {i} of 2: 1 of 2 devices, workdir {two.folder}' in two.said(i)
    assert '[5/5] writing the results' in two.said(0)
    assert '[1/5]' not in two.said(1) and 'step/s' not in two.said(1)


@pytest.mark.long
def test_a_signal_to_one_of_them_stops_all_at_one_step(tmp_path):
    words = [*DM, '--num-steps', '3000']
    two = Group(tmp_path / 'run', words, 2)
    two.until_saved()
    two.processes[1].send_signal(signal.SIGTERM)
    assert two.ends(60) == [STOPPED, STOPPED], two.said(0) + two.said(1)
    stopped = max(two.saved())
    one = Group(two.folder, words)
    while f'continuing at step {stopped}' not in one.said(0):
        assert one.processes[0].poll() is None, one.said(0)
        time.sleep(0.1)
    one.processes[0].send_signal(signal.SIGTERM)
    assert one.ends(60) == [STOPPED]


@pytest.mark.long
@pytest.mark.parametrize('count, victim, later', [(2, 1, 1), (2, 0, 2), (4, 2, 2)])
def test_a_killed_one_ends_the_others_with_a_sentence_and_fewer_go_on(
    tmp_path, count, victim, later
):
    words = [*DM, '--num-steps', '200']
    first = Group(tmp_path / 'run', words, count)
    first.until_saved()
    first.processes[victim].kill()
    began = time.monotonic()
    codes = first.ends(60)
    assert time.monotonic() - began < 3 * PATIENCE
    for i, code in enumerate(codes):
        if i != victim:
            assert code == GONE, first.said(i)
            assert f'process {victim} is gone; the same command, also with fewer' in first.said(i)
    whole = Group(tmp_path / 'whole', words)
    rest = Group(first.folder, words, later)
    assert rest.ends() == [0] * later, rest.said(0)
    assert 'continuing at step' in rest.said(0)
    assert whole.ends() == [0]
    np.testing.assert_allclose(images(first.folder), images(whole.folder), rtol=0, atol=1e-3)


@pytest.mark.long
def test_commands_that_differ_end_both_with_a_message(tmp_path):
    two = Group(tmp_path / 'run', PLAIN, 2, own=lambda i: (['--seed', str(i)], {}))
    assert two.ends(120) == [2, 2]
    for i in range(2):
        assert 'the command must be the same in all 2 processes' in two.said(i)
        assert 'Traceback' not in two.said(i)


@pytest.mark.long
def test_folders_that_are_not_shared_end_both_with_a_message(tmp_path):
    homes = [tmp_path / f'home-{i}' for i in range(2)]
    words = ['--workdir', '~/run']
    two = Group(tmp_path / 'run', PLAIN, 2, own=lambda i: (words, {'HOME': str(homes[i])}))
    assert two.ends(120) == [2, 2]
    for i in range(2):
        assert 'must be a folder that all hosts share, but process 1 cannot' in two.said(i)
        assert 'Traceback' not in two.said(i)


@pytest.mark.long
def test_the_commands_of_the_page_run_on_a_laptop(tmp_path):
    page = (ROOT / 'docs' / 'hosts.md').read_text()
    block = page.partition('## Two processes on a laptop')[2].partition('##')[0]
    lines = [line.strip() for line in block.splitlines() if line.startswith('    python')]
    assert len(lines) == 2
    lines = [line.replace('python', shlex.quote(sys.executable), 1) for line in lines]
    there = {**os.environ, 'JAX_PLATFORMS': 'cpu', 'PYTHONPATH': str(ROOT), 'HOME': str(tmp_path)}
    script = '\n'.join([*lines, 'code=$?', 'wait $! && exit $code'])
    ended = subprocess.run(
        ['sh', '-c', script], cwd=tmp_path, env=there, capture_output=True, text=True, timeout=300
    )
    assert ended.returncode == 0, ended.stderr
    assert 'process 1 of 2: 1 of 2 devices' in ended.stdout
    assert (tmp_path / 'runs' / 'two' / 'distilled.npz').exists()


def test_the_script_for_pods_hands_every_word_to_every_worker(tmp_path):
    gcloud = tmp_path / 'gcloud'
    gcloud.write_text('#!/bin/sh\nprintf "%s\\n" "$@"\n')
    gcloud.chmod(0o755)
    words = ['python', '-m', 'experiments.run', 'dm', '--dataset', 'my images']
    there = {**os.environ, 'PATH': f'{tmp_path}:{os.environ["PATH"]}'}

    def call(*given):
        script = ROOT / 'experiments' / 'pod.sh'
        return subprocess.run([script, *given], env=there, capture_output=True, text=True)

    told = call('slice', 'us-east1-c', '--in', 'a folder', *words).stdout.splitlines()
    assert told[:4] == ['compute', 'tpus', 'tpu-vm', 'ssh'] and told[4] == 'slice'
    assert told[5:7] == ['--zone=us-east1-c', '--worker=all']
    command = told[7].removeprefix('--command=')
    assert shlex.split(command) == ['cd', 'a folder', '&&', 'exec', *words]
    refused = call('slice')
    assert refused.returncode == 2 and 'NAME ZONE' in refused.stderr
