"""The README's code runs as it stands, and its commands name what exists."""
import pathlib
import re

import jax
import numpy as np
import optax
import pytest
import torch

from experiments import command
from jaxdd import augment, data, distill, export, models

README = (pathlib.Path(__file__).parents[1] / 'README.md').read_text()
BLOCKS = re.findall(r'```python\n(.*?)```', README, re.DOTALL)


@pytest.fixture(autouse=True)
def rank_promotion():
    """A user's own session has JAX's defaults."""
    with jax.numpy_rank_promotion('allow'):
        yield


def run(block):
    names = {}
    exec(compile(block, 'README.md', 'exec'), names)
    return names


def test_every_block_has_its_test():
    assert len(BLOCKS) == 5


def test_the_functional_api_distils_digits():
    names = run(BLOCKS[0].replace('num_steps=50', 'num_steps=3'))
    assert names['synthetic'].images.shape == (10, 10, 8, 8, 1)
    assert not np.array_equal(names['synthetic'].images, names['initial'].images)


def test_a_loss_by_hand_under_pmap():
    names = run(BLOCKS[1])
    np.testing.assert_allclose(names['per_class'], np.full(10, 128.0))


def test_an_own_network_is_an_encoder_and_a_student():
    names = run(BLOCKS[2])
    assert names['accuracy']['mine'].mean > 0.5
    method, digits, optimizer = names['method'], names['digits'], optax.sgd(1.0)
    step = distill.make_step(method, optimizer)
    feed = data.stratified(digits.train, digits.spec, per_class=4)
    state = distill.init_state(jax.random.key(1), method, optimizer, names['images'])
    assert np.abs(distill.run(step, state, feed, num_steps=1).params['images'] - names['images'].images).max() > 0


@pytest.fixture
def one_torch_thread():
    """Threads of two libraries on few cores wait for each other: 36 s instead of 1."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


def test_a_distilled_set_trains_a_network_in_torch(tmp_path, monkeypatch, one_torch_thread):
    torch.manual_seed(0)
    digits = data.load('digits')
    spec, chosen = digits.spec, data.real_subset(jax.random.key(0), digits.train, digits.spec, ipc=20)
    monkeypatch.chdir(tmp_path)
    export.save_npz('distilled.npz', chosen, mean=spec.mean, std=spec.std, class_names=spec.class_names, info={})
    predicted = run(BLOCKS[3])['predict'](digits.test.images).numpy()
    assert (predicted == digits.test.labels).mean() > 0.8


def test_the_method_in_one_file_moves_the_images():
    spec_set = data.fake()
    method = run(BLOCKS[4])['logit_matching'](models.by_name('convnet', (8, 8, 3), 3, width=4),
                                              augment=augment.identity())
    initial = data.real_subset(jax.random.key(0), spec_set.train, spec_set.spec, ipc=2)
    optimizer = optax.sgd(1.0)
    state = distill.init_state(jax.random.key(1), method, optimizer, initial)
    feed = data.stratified(spec_set.train, spec_set.spec, per_class=4)
    state = distill.run(distill.make_step(method, optimizer), state, feed, num_steps=2)
    assert np.abs(state.params['images'] - initial.images).max() > 0


def commands():
    """Every command with the shared words (`C="..."`) that stand above it."""
    for match in re.finditer(r'-m experiments\.run (\w+ .*)', README):
        shared = re.findall(r'C="(.*)"', README[:match.start()])
        yield match[1].replace('$C', shared[-1] if shared else '')


@pytest.mark.parametrize('line', list(commands()))
def test_every_command_parses(line):
    line, optional = re.fullmatch(r'(.*?)(?: \[(.*)\])?', line).groups()
    for words in (line, f'{line} {optional or ""}'):
        assert command.parse(words.split()).method == line.split()[0]
