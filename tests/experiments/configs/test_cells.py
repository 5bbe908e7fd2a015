"""The papers' cells: each command parses, builds for its data set and distils."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from experiments.configs import cells
from experiments.methods import CELLS, parse
from experiments.stages import build, jobs, preparing, weighing
from jaxdd import data
from jaxdd.engine import distill
from jaxdd.types import Expert, Inputs, SyntheticSet

# Two steps of these are run by default: a few methods and plug-ins;
# of the others in the long tests.
RUN = {
    ('dm', 'cifar10', 10, ('cc', 'cm')),
    ('idm', 'cifar10', 1, ()),
    ('datm', 'cifar10', 10, ()),
    ('sre2l', 'cifar10', 10, ('cc', 'cm'), 'dynamic'),
    ('sre2l', 'tiny_imagenet', 50, (), 'dynamic'),
}


MATCHING = [cell for cell in CELLS if cell.labels == 'hard']
SOFT = [cell for cell in CELLS if cell.labels != 'hard']


def name(cell):
    soft = () if cell.labels == 'hard' else (cell.labels, cell.student)
    return '-'.join((cell.method, cell.dataset, str(cell.ipc), *cell.plugins, *soft))


# Parsing 229 commands takes half a minute;
# those of one data set go through every method and plug-in.
every_cell = pytest.mark.parametrize(
    'cell',
    [
        pytest.param(
            cell, id=name(cell), marks=() if cell.dataset == 'cifar10' else pytest.mark.long
        )
        for cell in CELLS
    ],
)


def marked(cell, *, runs=False):
    """A cell of the default tests, or a long one; of those that run, DM's is long as well."""
    soft = () if cell.labels == 'hard' else (cell.labels,)
    quick = (cell.method, cell.dataset, cell.ipc, cell.plugins, *soft) in RUN
    quick = quick and not (runs and cell.method in ('dm', 'datm'))
    return pytest.param(cell, id=name(cell), marks=() if quick else pytest.mark.long)


@functools.cache
def parsed(words):
    """A command's configuration; parsing takes most of a second."""
    return parse(words.removeprefix('python -m experiments.run ').split())


@pytest.fixture
def job_of(monkeypatch, tmp_path):
    """A cell's job at smoke size: its own spec with at most four classes, and images made up."""

    def load(dataset, **options):
        spec = data.spec(dataset)
        spec = spec._replace(num_classes=4, class_names=None)
        made = data.fake(num_classes=4, per_class=220, image_shape=spec.image_shape)
        return data.Dataset(spec, made.train, made.test)

    def build(cell):
        monkeypatch.setattr(data, 'load', load)
        words = cell.command.removeprefix('python -m experiments.run ').split()
        words += [
            '--smoke',
            '--steps-per-call',
            '1',
            '--proxies.network.name',
            'convnet',
            '--cache-dir',
            str(tmp_path),
            '--data.no-zca',
        ]
        config = parse(words)
        return jobs.load(config)

    return build


@every_cell
def test_the_command_is_the_cell(cell):
    config = parsed(cell.command)
    assert (config.method, config.dataset, config.ipc, config.plugins) == (
        cell.method,
        cell.dataset,
        cell.ipc,
        cell.plugins,
    )
    assert not config.smoke and config.num_steps >= 1_000
    assert (config.evaluation.labels, config.evaluation.networks[0]) == (cell.labels, cell.student)
    if cell.labels == 'hard':
        assert config.evaluation.epochs == (300 if cell.method == 'dc' else 1000)


@pytest.mark.parametrize('cell', [marked(cell) for cell in MATCHING])
def test_it_builds_and_its_step_keeps_every_shape(cell, job_of):
    job = job_of(cell)
    per_class = job.config.entry.real_per_class(job.config)
    assert per_class == cell.ipc * (4 if cell.method in ('idm', 'idc') else 1)
    assert job.initial.images.shape == (4, per_class, *data.spec(cell.dataset).image_shape)
    optimizer = job.config.entry.stage.optimizer(job.config)
    state = distill.init_state(jax.random.key(0), job.method, optimizer, job.initial)
    method = weighing.regularized(job, job.method, dict.fromkeys(cell.plugins, 1.0))
    real = jax.ShapeDtypeStruct((4, 4, *job.spec.image_shape), np.float32)
    networks = {
        role: jax.eval_shape(model.init, jax.random.key(0)) for role, model in job.models.items()
    }
    mixed = jax.eval_shape(
        lambda: job.config.entry.feed(job.config, job.dataset)(jax.random.key(0), 0)
    ).mixed
    encoder = job.method.models['encoder']
    params = jax.eval_shape(encoder.init, jax.random.key(0)).params
    inputs = Inputs(real, mixed, Expert(params, params), pretrained=networks)
    after, metrics = jax.eval_shape(distill.make_step(method, optimizer), state, inputs)
    assert jax.tree.map(lambda x: x.shape, after) == jax.tree.map(lambda x: x.shape, state)
    assert {f'loss/{plugin}' for plugin in cell.plugins} <= set(metrics)


@pytest.mark.parametrize('cell', [marked(cell, runs=True) for cell in MATCHING])
def test_it_distils_two_steps(cell, job_of, tmp_path):
    job = job_of(cell)
    pool = preparing.prepare(job, lambda: False)
    distilled = job.config.entry.stage.distil(job, pool, tmp_path, lambda: False)
    moved = np.abs(np.asarray(distilled.synthetic.images - job.initial.images))
    assert moved.max() > 0 and np.isfinite(moved).all()
    assert [row['step'] for row in distilled.history] == [1, 2]
    assert list(distilled.weights) == list(cell.plugins)


@pytest.mark.parametrize('cell', [marked(cell) for cell in SOFT])
def test_a_cell_of_recovery_builds_and_its_step_keeps_every_shape(cell, job_of):
    job = job_of(cell)
    classes, images = job.spec.num_classes, job.config.recover.images_per_chunk
    shape = (classes, images, *job.spec.image_shape)
    optimizer = build.optimizer(job.config)
    method = weighing.regularized(job, job.method, dict.fromkeys(cell.plugins, 1.0))
    initial = SyntheticSet(jnp.zeros(shape), jnp.zeros((classes, images, classes)))
    state = distill.init_state(jax.random.key(0), method, optimizer, initial)
    inputs = Inputs(
        jax.ShapeDtypeStruct((classes, 4, *job.spec.image_shape), np.float32),
        pretrained={
            'encoder': jax.eval_shape(job.method.models['encoder'].init, jax.random.key(0))
        },
    )
    after, metrics = jax.eval_shape(distill.make_step(method, optimizer), state, inputs)
    assert jax.tree.map(lambda x: x.shape, after) == jax.tree.map(lambda x: x.shape, state)
    assert {f'loss/{plugin}' for plugin in cell.plugins} <= set(metrics)
    assert (
        len(job.methods)
        == len(job.config.teachers.networks)
        == {'sre2l': 1}.get(cell.method, 3 if cell.dataset == 'imagenet' else 4)
    )


def test_the_cells_are_all_different():
    keys = [cell[:4] + cell[7:] for cell in CELLS]
    assert len(set(keys)) == len(keys) >= 100


@every_cell
def test_published_values_are_fractions_with_a_source(cell):
    config = parsed(cell.command)
    published = cells.published(config.entry.cells, config)
    assert cell.source
    if cell.value is None:
        assert published is None and cell.std is None
    else:
        assert published == {'value': cell.value, 'std': cell.std, 'source': cell.source}
        assert 0 < (cell.std or 0.001) < cell.value < 1


def test_a_configuration_without_a_cell_has_nothing_published():
    assert cells.published(CELLS, parse('dm --dataset digits'.split())) is None


def test_the_order_of_plugins_does_not_change_the_cell():
    cell = cells.Cell('dm', ('cc', 'cm'), 'digits', 10, 0.5, 0.01, 'somewhere')
    assert (
        cells.published([cell], parse('dm --dataset digits --plugins cm cc'.split()))['value']
        == 0.5
    )
