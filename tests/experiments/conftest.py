"""Runs in this process, with its devices and signals as they were;
and runs in a process of their own."""

import os
import pathlib
import resource
import signal
import subprocess
import sys
import threading
import time

import jax
import numpy as np
import pytest

from experiments import run
from jaxdd import parallel

ROOT = pathlib.Path(__file__).parents[2]
TINY = (
    'dm --dataset digits --ipc 1 --num-steps 60 --steps-per-call 1 --checkpoint-every 5 '
    '--encoder.width 8 --data.per-class 4 --evaluation.epochs 0 --evaluation.num-seeds 1 '
    '--evaluation.width 8'
).split()


@pytest.fixture(scope='session')
def main():
    """Runs a command line here, on one device: `main(words, workdir) -> exit code`."""

    def call(words, workdir):
        before = {number: signal.getsignal(number) for number in (signal.SIGTERM, signal.SIGINT)}
        with pytest.MonkeyPatch.context() as patch:
            # the devices of this process exist already
            patch.setattr(parallel, 'start', lambda: None)
            try:
                return run.main(
                    [
                        *str(words).split(),
                        '--workdir',
                        str(workdir),
                        '--num-devices',
                        '1',
                        '--cache-dir',
                        str(pathlib.Path(workdir).parent / 'cache'),
                    ]
                )
            finally:
                for number, handler in before.items():
                    signal.signal(number, handler)

    return call


@pytest.fixture
def refused(main, tmp_path, capsys):
    """`refused(words) -> message` of a command line that must end with code 2 and one `error:
    ...`."""

    def call(words, workdir=None):
        capsys.readouterr()
        assert main(words, workdir or tmp_path / 'work') == 2
        printed = capsys.readouterr()
        assert printed.err.startswith('error: ') and 'Traceback' not in printed.err
        assert '[3/5]' not in printed.out, 'refused only after computing'
        return printed.err.removeprefix('error: ').strip()

    return call


class Process:
    """A run in a process of its own."""

    def __init__(self, workdir, words=(), *, largest_file=None, keep_compiled=False):
        # A process that is killed, or whose disk is full, would leave half of a compiled program to
        # the others.
        environment = {
            **os.environ,
            'JAX_PLATFORMS': 'cpu',
            'PYTHONUNBUFFERED': '1',
            'JAX_COMPILATION_CACHE_DIR': jax.config.jax_compilation_cache_dir,
            'JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS': '0' if keep_compiled else 'inf',
        }
        command = [
            sys.executable,
            '-m',
            'experiments.run',
            *TINY,
            '--workdir',
            str(workdir),
            '--cache-dir',
            str(pathlib.Path(workdir).parent / 'cache'),
            *words,
        ]
        # A pipe, not a file: limits on the size of files must not touch what the run prints.
        self.child = subprocess.Popen(
            command,
            cwd=ROOT,
            env=environment,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
        )
        if largest_file is not None:  # bytes; a disk that takes no more
            resource.prlimit(self.child.pid, resource.RLIMIT_FSIZE, (largest_file, largest_file))
        self.printed = []
        self.reader = threading.Thread(
            target=lambda: self.printed.extend(self.child.stdout), daemon=True
        )
        self.reader.start()

    def until(self, condition):
        """Waits for a condition while the process lives."""
        end = time.monotonic() + 300
        while not condition():
            assert self.child.poll() is None and time.monotonic() < end, ''.join(self.printed)
            time.sleep(0.005)

    def end(self, number=None):
        """Sends a signal, waits; returns (exit code, everything printed)."""
        if number is not None:
            self.child.send_signal(number)
        try:
            code = self.child.wait(timeout=300)
        finally:
            self.child.kill()
        self.reader.join()
        return code, ''.join(self.printed)


@pytest.fixture(scope='session')
def launch():
    return Process


@pytest.fixture(scope='session')
def steps():
    """Steps of the checkpoints in a workdir."""

    def list_steps(workdir):
        folder = pathlib.Path(workdir) / 'checkpoints'
        return sorted(int(f.name) for f in folder.glob('*') if f.name.isdigit())

    return list_steps


@pytest.fixture(scope='session')
def images():
    """The images that a run left."""
    return lambda workdir: np.load(pathlib.Path(workdir) / 'distilled.npz')['images']
