"""Trajectory matching as a command: experts, students, what is kept, and what is refused."""

import json

import numpy as np
import pytest

from experiments import evaluate
from experiments.methods import parse
from experiments.stages import following, students
from jaxdd.storage import distilled_set

MTT = 'mtt --dataset digits --ipc 1 --smoke --steps-per-call 1'
DATM = 'datm --dataset digits --ipc 2 --smoke --steps-per-call 1'


@pytest.fixture(scope='module')
def mtt(main, tmp_path_factory):
    """The workdir of a finished run with the plug-in that looks at real images."""
    workdir = tmp_path_factory.mktemp('mtt') / 'work'
    assert main(f'{MTT} --plugins cm cmi', workdir) == 0
    return workdir


@pytest.fixture(scope='module')
def datm(main, tmp_path_factory):
    workdir = tmp_path_factory.mktemp('datm') / 'work'
    assert main(DATM, workdir) == 0
    return workdir


def results(workdir):
    return json.loads((workdir / 'results.json').read_text())


def test_the_learned_step_size_is_kept_and_trained_with(mtt):
    synthetic, about = distilled_set.load_npz(mtt / 'distilled.npz')
    start = about['info']['config']['matching']['start_rate']
    assert 0 < synthetic.learning_rate != start
    evaluation = parse(MTT.split()).evaluation
    learned = students.with_learned_rate(evaluation, synthetic)
    assert students.rate(learned, 'convnet') == pytest.approx(float(synthetic.learning_rate))
    assert students.rate(learned, 'alexnet') == students.rate(learned, 'convnet')
    rows = [json.loads(line) for line in (mtt / 'history.jsonl').read_text().splitlines()]
    assert rows[-1]['learning_rate'] == pytest.approx(float(synthetic.learning_rate))


def test_a_rate_that_the_user_sets_is_not_the_learned_one(mtt):
    synthetic, _ = distilled_set.load_npz(mtt / 'distilled.npz')
    evaluation = parse(f'{MTT} --evaluation.learning-rate 0.5'.split()).evaluation
    assert students.with_learned_rate(evaluation, synthetic).learning_rate == 0.5


def test_the_report_says_what_was_used(mtt):
    found = results(mtt)
    rate = distilled_set.load_npz(mtt / 'distilled.npz')[0].learning_rate
    assert found['learned_rate'] == pytest.approx(float(rate))
    assert f'trained: {float(rate):.4g}.' in (mtt / 'report.md').read_text()
    assert set(found['weights']) == {'cm', 'cmi'} and 'cazenavette2022mtt' in ''.join(
        found['bibtex']
    )
    assert all(one['source'].startswith('not published') for one in found['weights'].values())
    assert found['real_per_class'] == {'asked': 4, 'least': 4, 'most': 4}


def test_without_such_a_plug_in_no_real_image_is_drawn(datm):
    assert results(datm)['real_per_class'] is None


def test_learned_labels_are_probabilities_and_count(datm):
    synthetic, _ = distilled_set.load_npz(datm / 'distilled.npz')
    np.testing.assert_allclose(synthetic.labels.sum(-1), 1, rtol=1e-5)
    assert 0 < synthetic.labels.min() and synthetic.labels.max() < 1
    assert results(datm)['bytes']['labels'] == synthetic.labels.size * 4


def test_a_set_is_evaluated_with_its_rate(mtt, monkeypatch, tmp_path):
    monkeypatch.setattr(evaluate.parallel, 'start', lambda: None)
    out = tmp_path / 'evaluation.json'
    words = f'{mtt}/distilled.npz --evaluation.networks convnet --output {out} --num-devices 1'
    assert evaluate.main(words.split()) == 0
    synthetic, _ = distilled_set.load_npz(mtt / 'distilled.npz')
    found = json.loads(out.read_text())
    assert found['learning_rates'] == {'convnet': pytest.approx(float(synthetic.learning_rate))}


def test_the_same_command_trains_no_expert_twice(main, mtt, monkeypatch, capsys):
    capsys.readouterr()
    assert main(f'{MTT} --plugins cm cmi', mtt) == 0
    assert '2 of 2 cached' in capsys.readouterr().out


def test_experts_of_another_run_can_be_named(main, mtt, tmp_path):
    (folder,) = (mtt.parent / 'cache' / 'experts').iterdir()
    assert main(f'{MTT} --experts.folder {folder}', tmp_path / 'work') == 0


@pytest.mark.parametrize(
    'words, said',
    [
        ('--experts.count 3', 'must hold 3 experts'),
        pytest.param('--matching.span 2', 'expert 0 has only 1', marks=pytest.mark.long),
        ('--encoder.width 16', 'network.width: stored 8, now 16'),
        pytest.param('--data.mean 0.4', 'mean: stored', marks=pytest.mark.long),
        pytest.param(
            '--experts.learning-rate 0.5',
            'recipe.learning_rate: stored',
            marks=pytest.mark.long,
        ),
    ],
)
def test_experts_that_do_not_fit_are_refused_with_the_difference(refused, mtt, words, said):
    (folder,) = (mtt.parent / 'cache' / 'experts').iterdir()
    assert said in refused(f'{MTT} --experts.folder {folder} {words}')


@pytest.mark.parametrize(
    'words, said',
    [
        (
            '--matching.last-start 5 --matching.span 3 --experts.epochs 6',
            'experts.epochs must be at least 7: students start up to epoch 4 and follow for 3 '
            'epochs (`python -m experiments.run mtt ... --experts.epochs 7` trains what is '
            'missing), got 6',
        ),
        (
            '--matching.first-start 5 --matching.last-start 3',
            'matching.first_start must be above matching.least_start (0) and at most '
            'matching.last_start (3), got 5',
        ),
        (
            '--matching.first-start 1 --matching.last-start 3',
            'matching.first_start must be left alone or matching.last_start (3) where '
            'matching.expansion is 0: the range does not grow, got 1',
        ),
        ('--data.sampling representative', 'data.sampling must be random'),
        ('--encoder.name convnet_bn', 'without batch norm'),
        ('--experts.strategy twist', "'twist'"),
        ('--matching.gradient almost', "'almost'"),
    ],
)
def test_what_cannot_be_is_refused_before_anything_trains(refused, words, said):
    assert said in refused(f'{MTT} {words}')


def test_a_diverging_student_names_the_step_and_keeps_what_was(main, mtt, tmp_path, capsys):
    workdir = tmp_path / 'work'
    words = f'{MTT} --num-steps 50 --optimizer.rate-learning-rate 10 --checkpoint-every 1'
    assert main(words, workdir) == 2
    said = capsys.readouterr().err
    assert 'learning_rate is -' in said and 'at step' in said
    assert not (workdir / 'distilled.npz').exists()


@pytest.mark.parametrize('method', ['mtt', 'datm'])
@pytest.mark.parametrize(
    'dataset, ipc',
    [
        ('cifar10', 1),
        *(
            pytest.param(*cell, marks=pytest.mark.long)
            for cell in (('cifar10', 50), ('cifar100', 10), ('tiny_imagenet', 50))
        ),
    ],
)
def test_the_presets_read_as_many_epochs_as_their_tables(method, dataset, ipc):
    config = parse(f'{method} --dataset {dataset} --ipc {ipc}'.split())
    expected = config.matching.last_start - 1 + config.matching.span
    assert following.needed_epochs(config) == expected
    assert (config.num_steps, config.evaluation.protocol) == (
        {'mtt': 5000, 'datm': 10_000}[method], method,
    )  # fmt: skip


def test_datms_experts_are_those_of_its_command():
    experts = parse('datm --dataset cifar10 --ipc 10'.split()).experts
    assert (experts.count, experts.epochs, experts.rho, experts.alpha) == (100, 100, 0.01, 0.3)


def test_mtts_row_is_the_one_that_does_not_diverge():
    config = parse('mtt --dataset cifar10 --ipc 10'.split())
    assert (config.optimizer.learning_rate, config.optimizer.rate_learning_rate) == (100, 1e-5)
    assert config.matching.start_rate == 0.001


def test_each_leaf_has_its_own_rate():
    config = parse('datm --dataset cifar10 --ipc 10'.split())
    params = {'images': np.ones(2), 'learning_rate': np.ones(()), 'labels': np.ones(3)}
    rule = following.optimizer(config)
    updates, state = rule.update(params, rule.init(params), params)
    o = config.optimizer
    expected = o.learning_rate, o.rate_learning_rate, o.label_learning_rate
    for name, rate in zip(params, expected):
        np.testing.assert_allclose(updates[name], -rate, rtol=1e-6)
    again, _ = rule.update(params, state, params)
    np.testing.assert_allclose(again['labels'] / updates['labels'], 1.9, rtol=1e-6)
    np.testing.assert_allclose(again['images'] / updates['images'], 1.5, rtol=1e-6)


def test_gsam_is_an_option():
    base, sharp = (
        following.recipe(parse(f'datm --dataset digits --ipc 1 {words}'.split()), 5).optimizer
        for words in ('--experts.rho 0', '--experts.rho 0.01')
    )
    with pytest.raises(ValueError, match='grad_fn'):
        sharp.update({'w': np.ones(2)}, sharp.init({'w': np.ones(2)}), {'w': np.ones(2)})
    base.update({'w': np.ones(2)}, base.init({'w': np.ones(2)}), {'w': np.ones(2)})
