"""Protocols have names that others use, versions that settings are bound to, and show what a run
changed of them."""

import dataclasses
import hashlib
import json

import pytest

from experiments.configs import base, presets, rules
from experiments.configs.protocols import ALIASES, PROTOCOLS, VERSIONS, printed
from experiments.methods import parse
from experiments.stages import students
from jaxdd.reporting import report

# What a digest counts beside what the names set: options of how students train, and their rates.
OTHERS = ('accumulate', 'crop_scale', 'cutmix_alpha', 'label_dtype', 'label_top_k')
FIELDS = (*sorted(PROTOCOLS['dsa']), *OTHERS)
# (name, version) -> digest of its settings. A row is never changed: whoever changes settings raises
# the version in `experiments.configs.protocols` and adds a row.
DIGESTS = {
    ('dsa', 1): '24526536b769',
    ('dc', 1): '4aff81d32232',
    ('idc', 1): '90cb11f78eb8',
    ('idm', 1): '24526536b769',
    ('dc-mnist', 1): 'c56d92ce750a',
    ('dc-batchnorm', 1): '702ef7678527',
    ('idc-imagenet', 1): '5eb9bf40a417',
    ('mtt', 1): '24526536b769',
    ('datm', 1): 'c74696422400',
    ('quick', 1): 'ae9b89b8d5d6',
    ('sre2l', 1): '92a161ebffa1',
    ('sre2l-tiny', 1): '0dc2472ae0c5',
    ('sre2l-imagenet', 1): '6e4a333e6964',
    ('srel-fkd', 1): 'c7746407dd5f',
    ('infer', 1): '586332ef5aed',
    ('infer-tiny', 1): '8f7b9f306893',
    ('infer-imagenet', 1): 'afb7d58c5cf9',
    ('infer-dynamic', 1): '025fa87dc1c9',
    ('infer-tiny-dynamic', 1): '2849b22c02e9',
    ('infer-imagenet-dynamic', 1): 'c748ab445ac7',
}


def digest(name):
    settings = presets.standing(name)
    told = {field: settings[field] for field in FIELDS}
    rates = [students.DEFAULT, students.LEARNING_RATES]
    return hashlib.sha256(json.dumps([told, rates], sort_keys=True).encode()).hexdigest()[:12]


@pytest.mark.parametrize('name', PROTOCOLS)
def test_settings_are_those_of_the_version(name):
    assert set(PROTOCOLS[name]) <= {*FIELDS} and set(VERSIONS) == set(PROTOCOLS)
    assert DIGESTS[name, VERSIONS[name]] == digest(name), (
        f'the settings of {name} are other ones: raise its version and add its digest'
    )


def test_a_changed_setting_changes_the_digest(monkeypatch):
    before = digest('dsa')
    monkeypatch.setitem(PROTOCOLS, 'dsa', {**PROTOCOLS['dsa'], 'momentum': 0.8})
    assert digest('dsa') != before


def test_a_new_option_of_an_evaluation_is_a_part_of_a_protocol_or_is_not():
    known = {*FIELDS, *presets.NOT_OF_A_PROTOCOL}
    new = {field.name for field in dataclasses.fields(base.Evaluation)} - known
    assert not new, f'{new}: into OTHERS here with new digests, or into presets.NOT_OF_A_PROTOCOL'


@pytest.mark.parametrize('other, own', ALIASES.items())
def test_names_that_others_use_are_the_same_protocol(other, own):
    method = 'infer' if own == 'infer' else 'dm'
    made = [
        parse(f'{method} --evaluation.protocol {name}'.split()).evaluation for name in (other, own)
    ]
    assert made[0] == made[1] and made[0].protocol == own
    assert presets.protocol(other) == presets.protocol(own)


def test_every_name_is_printed_once_and_those_of_others_can_be_typed():
    names = [printed(name) for name in PROTOCOLS]
    assert len(set(names)) == len(names) and not set(ALIASES) & set(PROTOCOLS)
    for name in ('dc-hard', 'dsa-1000', 'idm', 'idc', 'infer-static', 'infer-dynamic', 'srel-fkd'):
        assert name in names and presets.protocol(name).protocol in PROTOCOLS
    assert printed('quick') == 'quick-100' and printed('sre2l-tiny') == 'sre2l-tiny-100'


@pytest.mark.parametrize(
    'name, told',
    [
        ('dc-hard', {'epochs': 300, 'strategy': 'none', 'labels': 'hard'}),
        ('dsa-1000', {'epochs': 1000, 'strategy': 'default', 'batch_size': 256}),
        ('idm', {'epochs': 1000, 'strategy': 'default', 'labels': 'hard', 'schedule': 'dsa'}),
        ('infer-static', {'epochs': 400, 'labels': 'static', 'temperature': 30.0}),
        ('infer-dynamic', {'epochs': 80, 'labels': 'dynamic', 'batch_size': 64}),
        ('srel-fkd', {'epochs': 300, 'labels': 'stored', 'batch_size': 1024, 'cutmix': 1.0}),
    ],
)
def test_what_a_name_sets(name, told):
    made = dataclasses.asdict(presets.protocol(name))
    assert {field: made[field] for field in told} == told


def test_stored_labels_ask_for_their_store():
    with pytest.raises(ValueError, match='label_store must be given'):
        parse('sre2l --evaluation.protocol srel-fkd'.split())
    words = 'sre2l --evaluation.protocol srel-fkd --evaluation.label-store folder'
    assert parse(words.split()).evaluation.labels == 'stored'


@pytest.mark.parametrize(
    'words, changed, shown',
    [
        ('', {}, 'dsa-1000 v1'),
        ('--evaluation.width 16 --evaluation.networks mlp --evaluation.depth 2', {}, 'dsa-1000 v1'),
        (
            '--evaluation.epochs 100',
            {'epochs': {'protocol': 1000, 'here': 100}},
            'dsa-1000 v1, changed: epochs 100',
        ),
        (
            '--evaluation.protocol dc --evaluation.learning-rate 0.05 --evaluation.crop-scale 0.5',
            {
                'learning_rate': {'protocol': None, 'here': 0.05},
                'crop_scale': {'protocol': 0.08, 'here': 0.5},
            },
            'dc-hard v1, changed: learning_rate 0.05, crop_scale 0.5',
        ),
    ],
)
def test_what_a_run_changes_is_seen(words, changed, shown):
    found = presets.identified(parse(f'dm {words}'.split()).evaluation)
    assert found['changed'] == changed and found['version'] == 1
    assert report.protocol(found) == shown


def test_a_protocol_that_is_typed_by_another_name_is_the_same_before_parsing():
    known = base.Evaluation(protocol='dsa-1000', epochs=7)
    rules.require(known)
    assert presets.identified(known)['name'] == 'dsa-1000'
    assert presets.resolved(known).protocol == 'dsa'
