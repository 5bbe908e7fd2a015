"""Pieces of a page: every text escaped, nothing where there is nothing."""

import pytest

from jaxdd.reporting import markup

ODD = '<b> & "c"'
ESCAPED = '&lt;b&gt; &amp; &quot;c&quot;'


@pytest.mark.parametrize(
    'made',
    [
        markup.document(ODD, ''),
        markup.header(ODD, ''),
        markup.header('', ODD),
        markup.header('', '', [(ODD, ODD, ODD)]),
        markup.section(ODD, 'x'),
        markup.table([ODD], [['x']]),
        markup.table(['x'], [[ODD]]),
        markup.picture(b'x', ODD),
        markup.folded(ODD, 'x'),
        markup.paragraph(ODD),
    ],
)
def test_texts_are_escaped(made):
    assert ESCAPED in made and '<b>' not in made


@pytest.mark.parametrize(
    'made',
    [
        markup.section('title', '', ''),
        markup.table(['a'], []),
        markup.folded('title', ''),
        markup.paragraph(''),
    ],
)
def test_nothing_says_nothing(made):
    assert made == ''


def test_a_table_sets_numbers_right_and_marks_its_own_row():
    made = markup.table(['a', 'b'], [['x', '1'], ['y', '2']], numbers=[1], own=[1], kind='narrow')
    assert '<table class="narrow"><thead><tr><th>a</th><th class=num>b</th></tr></thead>' in made
    assert '<tr><td>x</td><td class=num>1</td></tr>' in made
    assert '<tr class=own><td>y</td><td class=num>2</td></tr>' in made


@pytest.mark.parametrize('content, form', [(b'\x89PNG', 'png'), (b'\xff\xd8\xff', 'jpeg')])
def test_a_picture_lies_within_the_page_and_has_words_for_who_cannot_see_it(content, form):
    made = markup.picture(content, 'caption', shown=False)
    assert f'src="data:image/{form};base64,' in made and 'alt="caption"' in made
    assert '<figcaption>' not in made and '<figcaption>' in markup.picture(content, 'caption')


def test_facts_are_left_out_where_there_are_none():
    assert '<dl' not in markup.header('title', 'lead')
    assert '<dt>steps</dt><dd>5 <small>k</small></dd>' in markup.header(
        '', '', [('steps', '5', 'k')]
    )
