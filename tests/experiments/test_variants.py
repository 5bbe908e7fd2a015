"""Options that follow the authors' code: each is part of what a run is, none of them where it is
left alone, and all of them take steps."""

import functools

import jax
import numpy as np
import pytest

from experiments.methods import parse
from experiments.stages import identity, jobs, preparing, starting, weighing
from jaxdd.engine import distill, loop
from jaxdd.networks import pools

SMOKE = '--dataset digits --ipc 2 --smoke --steps-per-call 1'
TINY = '--proxies.network.name mlp --proxies.network.width 4'
VARIANTS = [
    f'dm --plugins cmi --regularizers.cmi.every 2 {TINY}',
    f'dm --plugins cmi --proxies.pixels unit {TINY}',
    f'dm --plugins cmi --proxies.every 2 {TINY}',
    'dm --encoder.features-after 1',
    'dm --init uniform',
    'dm --plugins cm --regularizers.cm-descriptor channel-row',
    'idm --matching.easiest 2 --matching.only-misclassified',
    'idm --training.train-every 2',
    'idm --training.push-count 2',
    'idm --training.reset-every 2',
    'idc --matching.clip-every 2',
    'idc --matching.subset step --matching.max-synthetic 1',
    'idc --matching.distance features',
    'idc --matching.form multi --matching.factor 2',
    'idc --augmentation.strategy color_translate',
    'idc --early.count 2 --early.epochs 0.01',
    'sre2l --recover.crop curriculum --recover.curriculum linear',
    'sre2l --recover.crop curriculum --recover.milestone 0.5',
]
LATER = {record: set() for record, _, _ in identity.LATER}
for record, option, _ in identity.LATER:
    LATER[record].add(option)


@functools.cache
def job(words, cache='unused'):
    return jobs.load(parse(f'{words} {SMOKE} --cache-dir {cache}'.split()))


def base(words):
    """The same method with the same plug-ins and the same proxies."""
    method, *others = words.split()
    kept, take = [method], False
    for word in others:
        if word.startswith('--'):
            take = word in ('--plugins', '--proxies.network.name', '--proxies.network.width')
            take = take or word == '--recover.crop'
        if take:
            kept.append(word)
    return ' '.join(kept)


@pytest.mark.parametrize('words', VARIANTS)
def test_an_option_is_part_of_what_a_run_is(words):
    assert identity.of_run(job(words)) != identity.of_run(job(base(words)))


@pytest.mark.parametrize('method', ['dm', 'idm', 'idc', 'sre2l', 'infer', 'mtt', 'datm'])
def test_options_that_are_left_alone_are_none_so_that_older_checkpoints_fit(method):
    fields = identity.of_run(job(f'{method} --plugins cc cm cmi {TINY}'))
    for record, options in LATER.items():
        assert not options & set(fields.get(record, ())), record
    assert not {'early', 'given', 'init_path'} & set(fields)
    for name in ('cc', 'cm', 'cmi'):
        assert set(fields['regularizers'][name]) == {'weight', 'ratio', 'source'}
    network = fields.get('encoder', fields['proxies']['network'] if 'proxies' in fields else {})
    assert set(network) <= {'name', 'width', 'depth'}


def prepared(words, cache):
    """A run's method with its plug-ins, its first state, and its feed."""
    made = job(words, cache)
    config = made.config
    found = preparing.prepare(made, lambda: False)
    feed = config.entry.feed(config, made.dataset)
    if found.experts:
        feed = pools.attach(feed, starting.ROLE, found.experts)
    if found.proxies:
        feed = pools.attach(feed, 'proxy', found.proxies, every=config.proxies.every)
    optimizer = config.entry.stage.optimizer(config)
    method = weighing.regularized(made, made.method, dict.fromkeys(config.plugins, 1.0))
    state = distill.init_state(jax.random.key(0), made.method, optimizer, made.initial)
    return distill.make_step(method, optimizer), state, feed


OF_MATCHING = [words for words in VARIANTS if not words.startswith('sre2l')]


QUICK = ('dm --encoder.features-after 1', 'idm --matching.easiest 2 --matching.only-misclassified')


@pytest.mark.parametrize(
    'words',
    [
        pytest.param(words, marks=() if words in QUICK else pytest.mark.long)
        for words in OF_MATCHING
        if 'proxies' not in words
    ],
)
def test_every_option_keeps_the_shapes_of_a_state(words, tmp_path):
    step, state, feed = prepared(words, str(tmp_path))
    after, _ = jax.eval_shape(lambda state: step(state, feed(loop.feed_key(state), 0)), state)
    assert jax.tree.map(lambda x: x.shape, after) == jax.tree.map(lambda x: x.shape, state)


@pytest.mark.long
@pytest.mark.parametrize('words', OF_MATCHING)
def test_every_option_takes_steps(words, tmp_path):
    step, state, feed = prepared(words, str(tmp_path))
    before, seen = np.asarray(state.params['images']), []
    state = loop.run(
        step,
        state,
        feed,
        num_steps=3,
        callbacks=[loop.Callback(1, lambda state, at, metrics: seen.append(metrics))],
    )
    assert np.isfinite(state.params['images']).all()
    assert np.abs(np.asarray(state.params['images']) - before).max() > 0
    if '--regularizers.cmi.every' in words:
        assert [bool(metrics['loss/cmi'] > 0) for metrics in seen] == [True, False, True]


def test_networks_begin_from_the_early_pool_which_is_shared(tmp_path, capsys):
    made = job('idc --early.count 2 --early.epochs 0.01', str(tmp_path))
    first = preparing.prepare(made, lambda: False).experts
    assert len(first) == 2 and int(first[0].age) >= 1
    feed = pools.attach(made.config.entry.feed(made.config, made.dataset), starting.ROLE, first)
    optimizer = made.config.entry.stage.optimizer(made.config)
    state = distill.init_state(jax.random.key(0), made.method, optimizer, made.initial)
    inputs = next(loop.iterate_feed(state, feed))
    encoder, _ = made.method.networks.sample(state.networks, jax.random.key(1), inputs)
    kernels = [np.asarray(jax.tree.leaves(one.params)[1]) for one in (encoder, *first)]
    assert any(np.array_equal(kernels[0], other) for other in kernels[1:])
    capsys.readouterr()
    again = preparing.prepare(made, lambda: False).experts
    np.testing.assert_array_equal(*(jax.tree.leaves(pool[1].params)[0] for pool in (first, again)))
    assert '2 of 2 networks cached' in ''.join(capsys.readouterr())


def test_a_start_that_is_given_is_counted_by_its_images(tmp_path):
    images = np.random.default_rng(0).integers(0, 256, (40, 8, 8, 1), np.uint8)
    np.savez(tmp_path / 'a.npz', images=images, labels=np.arange(40) % 10)
    np.savez(tmp_path / 'b.npz', images=images[::-1], labels=np.arange(40) % 10)
    found = [job(f'dm --init given --init-path {tmp_path / name}.npz') for name in 'ab']
    np.testing.assert_allclose(
        found[0].initial.images[3, 0] * 0.3760 + 0.3056, images[3] / 255, atol=1e-5
    )
    one, other = map(identity.of_run, found)
    assert one['init'] == other['init'] == 'given' and one != other
    recovered = job(f'sre2l --init given --init-path {tmp_path / "a.npz"}')
    assert recovered.initial.images.shape == (10, 2, 8, 8, 1)
    natural = job(f'infer --init given --init-path {tmp_path / "a.npz"}')
    assert natural.initial.images.shape == (10, 1, 8, 8, 1)


@pytest.mark.parametrize(
    'words, message',
    [
        ('dm --init given', "init_path must be given where init is 'given'"),
        ('dm --init-path a.npz', "init_path must be given where init is 'given', and nowhere"),
        ('dm --init given --init-path nowhere.npz', 'nowhere.npz'),
        ('infer --init uniform', "unknown init 'uniform'; valid: given, herding"),
        ('dm --data.zca --init uniform', 'init must be another: whitened images are no pixels'),
        ('dm --data.zca --proxies.pixels unit', "proxies.pixels must be 'normalised'"),
        ('dm --evaluation.label-store x', "given where evaluation.labels is 'stored'"),
        (
            'sre2l --evaluation.labels stored --evaluation.label-store x',
            "evaluation.strategy must be 'resized-crop-flip'",
        ),
        ('dm --evaluation.accumulate 9', 'evaluation.accumulate must be at most 1, the mini-b'),
        ('dm --evaluation.strategy coarse-flip', "operation of the coarse augmentation 'flip'"),
        ('dm --evaluation.strategy resized-crop-flip-color', 'need red, green and blue; got 1 m'),
        ('dm --encoder.features-after 7', 'features_after must be a block of the ConvNet'),
        ('dm --regularizers.cmi.every 0', 'regularizers.cmi.every must be at least 1, got 0'),
        ('idc --matching.clip-every 0', 'matching.clip_every must be at least 1'),
    ],
)
def test_what_cannot_work_is_refused_before_anything_trains(words, message, tmp_path):
    with pytest.raises(ValueError, match=message):
        job(words, str(tmp_path))
