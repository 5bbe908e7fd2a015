"""The README's code runs as it stands, and its commands name what exists."""
import pathlib
import re

import jax
import numpy as np
import optax
import pytest

from experiments import command
from jaxdd import augment, data, distill, models

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


def test_there_are_three_blocks():
    assert len(BLOCKS) == 3


def test_the_functional_api_distils_digits():
    names = run(BLOCKS[0].replace('num_steps=50', 'num_steps=3'))
    assert names['synthetic'].images.shape == (10, 10, 8, 8, 1)
    assert not np.array_equal(names['synthetic'].images, names['initial'].images)


def test_a_loss_by_hand_under_pmap():
    names = run(BLOCKS[1])
    np.testing.assert_allclose(names['per_class'], np.full(10, 128.0))


def test_the_method_in_one_file_moves_the_images():
    spec_set = data.fake()
    method = run(BLOCKS[2])['logit_matching'](models.by_name('convnet', (8, 8, 3), 3, width=4),
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
