"""A recipe says how a set is understood; what contradicts it is refused."""

import pytest

from jaxdd.exchange import recipes
from jaxdd.exchange.forms import Decode
from jaxdd.storage import distilled_set
from tests.small_sets import MEAN, NAMES, STD, learned, mosaics, plain, soft, told


def test_it_says_what_images_and_labels_are():
    found = recipes.of(plain())
    assert found['space'] == 'normalised' and found['decode'] is None
    assert found['labels'] == 'hard' and found['class_names'] == list(NAMES)
    assert tuple(found['mean']) == MEAN and tuple(found['std']) == STD  # the shortest decimals
    assert recipes.of(learned())['learning_rate'] == 0.0123
    assert recipes.of(mosaics())['space'] == 'unit'
    kinds = [recipes.of(soft(logits=logits))['labels'] for logits in (False, True)]
    assert kinds == ['probabilities', 'logits']


def test_the_temperature_is_that_of_the_labels():
    one = soft(logits=True)
    labels = {**distilled_set.HARD, 'temperature': 4.0}
    data = {'name': 'pets', 'classes': 3, 'checksums': None, 'licence': ''}
    info = distilled_set.described(one.synthetic, dataset=data, labels=labels)
    assert recipes.of(one._replace(about={**one.about, 'info': info}))['temperature'] == 4
    loose = one._replace(about={**one.about, 'info': {'temperature': 2.0}})
    assert recipes.of(loose)['temperature'] == 2


@pytest.mark.parametrize(
    'decode, words',
    [
        (None, 'does not say how they are cut'),
        (Decode(2, 'column', 'unit')._asdict(), 'makes other images'),
    ],
)
def test_mosaics_that_are_not_cut_as_is_said_are_refused(decode, words):
    one = mosaics(order='row')
    info = {**one.about['info'], 'decode': decode}
    with pytest.raises(ValueError, match=words):
        recipes.of(one._replace(about={**one.about, 'info': info}))


@pytest.mark.parametrize(
    'changes, words',
    [
        ({}, None),
        ({'space': 'unit'}, "space was told to be 'unit', and the file says 'normalised'"),
        ({'mean': (0.4, 0.5, 0.4)}, 'mean was told'),
        ({'class_names': NAMES[::-1]}, 'class'),
        ({'info': {'method': 'dc'}}, "info.'method'. was told to be 'dc'"),
        ({'decode': Decode(2, 'row', 'normalised')}, 'decode was told'),
    ],
)
def test_what_is_told_agrees_or_is_refused(changes, words):
    recipe = recipes.of(plain())
    own = told('normalised')._replace(**changes)
    if words is None:
        recipes.agree(recipe, own, 'x')
    else:
        with pytest.raises(ValueError, match=f'x: .*{words}' if 'class' not in words else words):
            recipes.agree(recipe, own, 'x')


@pytest.mark.parametrize('name', recipes.KINDS)
def test_a_recipe_lacks_nothing(name):
    recipe = {key: value for key, value in recipes.of(plain()).items() if key != name}
    with pytest.raises(ValueError, match=f'x: {name} of the recipe is missing'):
        recipes.checked(recipe, 'x')
