"""A card says what a set is, from what the set says of itself."""

from jaxdd.exchange import cards, recipes
from jaxdd.storage import distilled_set
from tests.small_sets import plain


def told_of(**info):
    one = plain()
    return recipes.of(one._replace(about={**one.about, 'info': info}))


def test_a_set_of_a_run_is_named_with_the_terms_of_its_images():
    data = {'name': 'pets', 'classes': 3, 'checksums': [1, 2], 'licence': 'ask them'}
    info = distilled_set.described(plain().synthetic, dataset=data)
    card = cards.card(
        told_of(method='dm', bibtex=['@a{b}', '@c{d}'], **info), (3, 2, 4, 4, 3), 2, ()
    )
    assert '# pets, distilled with dm\n' in card and '- Terms of the real images: ask them.' in card
    assert '2 synthetic images of 4 x 4 pixels and 3 channels for each of 3 classes.' in card
    assert card.endswith('```bibtex\n@a{b}\n\n@c{d}\n```\n')


def test_what_nobody_says_is_not_claimed():
    card = cards.card(told_of(), (3, 2, 4, 4, 3), 2, ())
    assert '# A data set, distilled\n' in card and 'Terms' not in card and 'cite' not in card
