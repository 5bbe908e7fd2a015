"""The code of the pages runs as it stands, and their commands name what exists."""

import pathlib
import pkgutil
import re
import shlex

import jax
import numpy as np
import optax
import pytest
import torch

from experiments import together
from experiments.methods import parse
from experiments.stages import jobs
from jaxdd import augment, data, models
from jaxdd.engine import distill
from jaxdd.storage import distilled_set

ROOT = pathlib.Path(__file__).parents[1]
PAGES = [
    ROOT / 'README.md',
    *sorted((ROOT / 'docs').glob('*.md')),
    ROOT / 'experiments' / 'README.md',
    ROOT / 'experiments' / 'speed' / 'README.md',
]
PROSE = [*PAGES, *(path for of in ('jaxdd', 'experiments') for path in (ROOT / of).rglob('*.py'))]
API, PMAP, TORCH, METHOD, OWN_DATA, OWN_NETWORK, SHARING, TRAJECTORIES = [
    block
    for page in PAGES
    for block in re.findall(r'```python\n(.*?)```', page.read_text(), re.DOTALL)
]


@pytest.fixture(autouse=True)
def rank_promotion():
    """A user's own session has JAX's defaults."""
    with jax.numpy_rank_promotion('allow'):
        yield


def run(block):
    names = {}
    exec(compile(block, 'README.md', 'exec'), names)
    return names


def test_the_functional_api_distils_digits():
    names = run(API.replace('num_steps=50', 'num_steps=3'))
    assert names['synthetic'].images.shape == (10, 10, 8, 8, 1)
    assert not np.array_equal(names['synthetic'].images, names['initial'].images)


def test_trajectory_matching_by_hand(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    names = run(TRAJECTORIES)
    assert names['synthetic'].images.shape == (10, 1, 8, 8, 1)
    assert 0 < names['synthetic'].learning_rate != np.float32(0.05)
    assert not np.array_equal(names['synthetic'].images, names['initial'].images)


def test_a_loss_by_hand_under_pmap():
    names = run(PMAP)
    np.testing.assert_allclose(names['per_class'], np.full(10, 128.0))


def test_own_images_are_a_data_set(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    run(OWN_DATA)
    words = 'dm --dataset mine.npz --ipc 10 --workdir runs/mine --smoke'
    job = jobs.load(parse(words.split()))
    assert job.spec.num_classes == 10 and job.spec.class_names == tuple(
        f'digit {i}' for i in range(10)
    )
    assert job.initial is not None and job.initial.images.shape == (10, 10, 8, 8, 1)


def test_a_distilled_set_says_what_it_is(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    digits = data.load('digits')
    chosen = data.real_subset(jax.random.key(0), digits.train, digits.spec, ipc=2)
    info = distilled_set.described(
        chosen,
        dataset={'name': 'digits', 'classes': 10, 'checksums': None, 'licence': ''},
    )
    spec = digits.spec
    how = {'mean': spec.mean, 'std': spec.std, 'class_names': spec.class_names, 'info': info}
    distilled_set.save_npz('distilled.npz', chosen, **how)
    run(SHARING)
    assert "(10, 2, 8, 8, 1) digits ('0', '1'" in capsys.readouterr().out


def test_an_own_network_is_an_encoder_and_a_student():
    names = run(OWN_NETWORK)
    assert names['accuracy'].mean > 0.5
    method, digits, optimizer = names['method'], names['digits'], optax.sgd(1.0)
    step = distill.make_step(method, optimizer)
    feed = data.stratified(digits.train, digits.spec, per_class=4)
    state = distill.init_state(jax.random.key(1), method, optimizer, names['images'])
    assert (
        np.abs(
            distill.run(step, state, feed, num_steps=1).params['images'] - names['images'].images
        ).max()
        > 0
    )


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
    spec, chosen = (
        digits.spec,
        data.real_subset(jax.random.key(0), digits.train, digits.spec, ipc=20),
    )
    monkeypatch.chdir(tmp_path)
    distilled_set.save_npz(
        'distilled.npz', chosen, mean=spec.mean, std=spec.std, class_names=spec.class_names, info={}
    )
    predicted = run(TORCH)['predict'](digits.test.images).numpy()
    assert (predicted == digits.test.labels).mean() > 0.8


def test_the_method_in_one_file_moves_the_images():
    spec_set = data.fake()
    method = run(METHOD)['logit_matching'](
        models.by_name('convnet', (8, 8, 3), 3, width=4), augment=augment.identity()
    )
    initial = data.real_subset(jax.random.key(0), spec_set.train, spec_set.spec, ipc=2)
    optimizer = optax.sgd(1.0)
    state = distill.init_state(jax.random.key(1), method, optimizer, initial)
    feed = data.stratified(spec_set.train, spec_set.spec, per_class=4)
    state = distill.run(distill.make_step(method, optimizer), state, feed, num_steps=2)
    assert np.abs(state.params['images'] - initial.images).max() > 0


def commands():
    """Every command with the shared words (`C="..."`) that stand above it."""
    for text in (page.read_text() for page in PAGES):
        for match in re.finditer(r'-m experiments\.run (\w+ [^`\n]*)', text):
            shared = re.findall(r'C="(.*)"', text[: match.start()])
            yield match[1].replace('$C', shared[-1] if shared else '')


@pytest.mark.parametrize('line', list(commands()))
def test_every_command_parses(line):
    line, optional = re.fullmatch(r'(.*?)(?: \[(.*)\])?', line).groups()
    for words in (line, f'{line} {optional or ""}'):
        assert parse(words.split()).method == line.split()[0]


def commands_together():
    """The command lines that `experiments.together` is shown with."""
    for text in (page.read_text().replace('\\\n', '') for page in PAGES):
        for match in re.finditer(r'-m experiments\.together ([^`\n]*)', text):
            shared = re.findall(r'C="(.*)"', text[: match.start()])
            yield shlex.split(match[1].replace('$C', shared[-1] if shared else ''))


@pytest.mark.parametrize('lines', list(commands_together()), ids=len)
def test_every_command_together_parses(lines):
    assert len(together.parse(lines)) == len(lines) > 1


def links():
    """(page, target) of every link to a file of the tree."""
    for page in PAGES:
        for target in re.findall(r'\]\(([^)#]+)[^)]*\)', page.read_text()):
            if not target.startswith('http'):
                yield page, target


@pytest.mark.parametrize(
    'page, target', list(links()), ids=lambda value: str(getattr(value, 'name', value))
)
def test_every_link_leads_somewhere(page, target):
    assert (page.parent / target).exists()


def modules():
    """Every dotted name of ours that a page, a docstring, a message or an import says."""
    found = (re.findall(r'\b(?:jaxdd|experiments)(?:\.\w+)+', path.read_text()) for path in PROSE)
    return sorted({name for names in found for name in names})


@pytest.mark.parametrize('name', modules())
def test_every_module_that_is_named_exists(name):
    pkgutil.resolve_name(name)
