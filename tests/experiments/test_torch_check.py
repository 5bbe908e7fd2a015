"""PyTorch's students train as the protocol says, and are compared with ours and with no others."""

import dataclasses

import jax
import numpy as np
import pytest

from experiments.configs import presets
from experiments.stages import existing
from jaxdd import data, models
from jaxdd.storage import distilled_set, records
from jaxdd.types import Source

torch = pytest.importorskip('torch')
torch_check = pytest.importorskip('experiments.torch_check')
networks = pytest.importorskip('experiments.speed.eager.networks')

TINY = {'epochs': 12, 'width': 8}


@pytest.fixture(autouse=True)
def one_torch_thread():
    """Threads of two libraries on few cores wait for each other."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


def info(**changed):
    evaluation = dataclasses.replace(presets.protocol('quick'), **{**TINY, **changed})
    return {
        'config': {
            'method': 'dm',
            'dataset': 'digits',
            'ipc': 5,
            'data': {'data_dir': None},
            'evaluation': dataclasses.asdict(evaluation),
        }
    }


@pytest.fixture
def distilled(tmp_path):
    digits = data.load('digits')
    spec = digits.spec
    chosen = data.real_subset(jax.random.key(0), digits.train, spec, ipc=5)
    path = tmp_path / 'distilled.npz'
    names = spec.class_names or [*'0123456789']
    distilled_set.save_npz(
        path, chosen, mean=spec.mean, std=spec.std, class_names=names, info=info()
    )
    return path


def ours(folder, per_seed=(0.5, 0.6), network='convnet', **changed):
    """A record as a run leaves it."""
    row = {'mean': 0.55, 'std': 0.05, 'per_seed': list(per_seed)}
    made = info()
    records.save(
        folder / 'results.json',
        {
            **made,
            'protocol': {**made['config']['evaluation'], **changed},
            'accuracy': {'distilled': {network: row}},
        },
    )


def task(path, *words):
    _, options, given = torch_check.parse([str(path), *words])
    return torch_check.assemble(options.evaluation, existing.read(options, given), given)


def test_the_spread_of_two_groups():
    # s_t^2 = 0.01, s_o^2 = 0.02: 2 sqrt(0.01 / 3 + 0.02 / 2) = 0.230940
    found = torch_check.agreement((0.4, 0.5, 0.6), (0.5, 0.7))
    assert found.difference == pytest.approx(-0.1) and found.allowed == pytest.approx(0.230940)
    assert found.holds and not torch_check.agreement((0.4, 0.5, 0.6), (0.7, 0.9)).holds
    assert torch_check.agreement((0.5, 0.5), (0.5, 0.5)).holds
    assert 'OUTSIDE' in torch_check.said((0.1, 0.1), (0.2, 0.2), torch_check.Agreement(-0.1, 0.0))


def test_the_exit_code_says_whether_they_agree(distilled, capsys):
    for per_seed, code, verdict in (((0.1, 1.0), 0, 'within'), ((0.01, 0.011), 1, 'OUTSIDE')):
        ours(distilled.parent, per_seed)
        assert torch_check.main([str(distilled), '--seeds', '2']) == code
        printed = capsys.readouterr().out
        assert verdict in printed and 'torch - ours' in printed and '(2 students)' in printed
        assert printed.startswith(
            'quick-100 v1, changed: epochs 12; convnet of width 8, depth 2; 50 images'
        )


def test_a_student_learns(distilled):
    made = task(distilled, '--epochs', '60', '--evaluation.batch-size', '10')
    assert torch_check.accuracy(made, torch_check.trained(made, 0)) > 0.6
    chance = torch_check.accuracy(made, torch_check.network(made))
    assert chance < 0.4


def test_students_differ_by_their_seed_alone(distilled):
    made = task(distilled, '--epochs', '2')
    weights = [torch_check.trained(made, seed).classifier.weight for seed in (0, 0, 1)]
    assert torch.equal(weights[0], weights[1]) and not torch.equal(weights[0], weights[2])


def test_the_rate_drops_once_with_a_new_optimiser(distilled, monkeypatch):
    steps, made = [], task(distilled, '--epochs', '4', '--evaluation.batch-size', '20')
    plain = torch_check._optimizer

    def counted(e, net, factor):
        optimizer = plain(e, net, factor)
        taken, step = [], optimizer.step
        steps.append((optimizer.param_groups[0]['lr'], taken))
        optimizer.step = lambda: (taken.append(1), step())
        return optimizer

    monkeypatch.setattr(torch_check, '_optimizer', counted)
    torch_check.trained(made, 0)
    # 50 images are 3 batches; epochs 0..3 before the drop, 4 after it
    assert [(pytest.approx(rate), len(taken)) for rate, taken in steps] == [(0.01, 12), (0.001, 3)]
    group = plain(made.evaluation, torch_check.network(made), 1.0).param_groups[0]
    assert (group['momentum'], group['weight_decay']) == (0.9, 5e-4)


@pytest.mark.parametrize('shape', [(8, 8, 1), (28, 28, 1), (16, 16, 3)])
def test_the_network_is_ours_with_the_same_weights(distilled, shape):
    made = task(distilled)
    spec = made.dataset.spec._replace(image_shape=shape)
    made = made._replace(dataset=made.dataset._replace(spec=spec))
    model = models.by_name('convnet', shape, 10, width=8)
    variables = model.init(jax.random.key(0))
    net = networks.load(torch_check.network(made), variables)
    images = np.random.default_rng(0).normal(size=(3, *shape)).astype(np.float32)
    with torch.no_grad():
        theirs = torch_check.logits(made, net, networks.tensor(images)).numpy()
    np.testing.assert_allclose(theirs, model.apply(variables, images).logits, atol=2e-5)


def test_test_images_of_every_batch_count(distilled, monkeypatch):
    made = task(distilled)
    net = torch_check.network(made)
    whole = torch_check.accuracy(made, net)
    monkeypatch.setattr(torch_check, 'TESTED', 7)
    assert torch_check.accuracy(made, net) == pytest.approx(whole)
    test = made.dataset.test
    shown = Source(test.images[:10], np.full(10, 3, test.labels.dtype))
    few = made._replace(dataset=made.dataset._replace(test=shown))
    with torch.no_grad():
        net.classifier.weight.zero_()
        net.classifier.bias.zero_()[3] = 1
    assert torch_check.accuracy(few, net) == 1


@pytest.mark.parametrize(
    'changed, message',
    [
        (presets.protocol('infer'), "labels must be 'hard' .*dsa, dc, .* alone.*, got static"),
        (presets.protocol('idc'), "schedule must be 'dsa'.*got idc"),
        ({'mode': 'M'}, "mode must be 'S'"),
        ({'mixup': 0.8}, 'mixup must be 0.0'),
        ({'norm': 'group'}, "norm must be 'instance'"),
        ({'strategy': 'padded-crop-flip'}, 'strategy must be of color, crop'),
    ],
)
def test_other_protocols_are_refused(changed, message):
    made = changed
    if isinstance(changed, dict):
        made = dataclasses.replace(presets.protocol('dsa'), **changed)
    with pytest.raises(ValueError, match=message):
        torch_check.require_known(made)


@pytest.mark.parametrize('name', ['dsa', 'dc', 'idm', 'mtt', 'datm', 'quick'])
def test_the_protocols_that_are_known(name):
    torch_check.require_known(presets.protocol(name))


@pytest.mark.parametrize(
    'record, words, message',
    [
        (None, '', 'results.json does not exist'),
        ({}, '--epochs 3', 'other students: epochs 12, here 3'),
        ({'batch_size': 64}, '', 'other students: batch_size 64, here 256'),
        ({'width': 16}, '', 'other students: width 16, here 8'),
        ({'network': 'mlp'}, '', 'at least 2 students of convnet'),
        ({'per_seed': (0.5,)}, '', 'at least 2 students of convnet'),
        ({}, '--seeds 1', 'seeds must be at least 2'),
    ],
)
def test_what_cannot_be_compared_is_refused_before_anything_trains(
    distilled, capsys, record, words, message
):
    if record is not None:
        ours(distilled.parent, **record)
    assert torch_check.main([str(distilled), *words.split()]) == 2
    printed = capsys.readouterr()
    assert message in printed.err and 'student 0' not in printed.out


def test_accuracies_of_another_set_are_refused(distilled, capsys):
    ours(distilled.parent)
    synthetic, about = distilled_set.load_npz(distilled)
    other = {'config': {**about['info']['config'], 'method': 'dc'}}
    about = {name: about[name] for name in ('mean', 'std', 'class_names')}
    distilled_set.save_npz(distilled, synthetic, **about, info=other)
    assert torch_check.main([str(distilled)]) == 2
    assert 'accuracies of another set' in capsys.readouterr().err
