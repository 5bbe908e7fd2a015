"""What every page of results ends with."""

from jaxdd.reporting import sections

RESULTS = {
    'command': "run 'a' > b",
    'hardware': '2 x cpu',
    'commit': 'abc1234',
    'versions': {'jax': '0.10', 'gone': None},
    'bibtex': ['@article{one}', '@article{two}'],
    'protocol': {'name': 'dsa-1000', 'pool': None},
    'config': {'ipc': 10, 'data': {'zca': False, 'classes': []}},
}


def test_the_origin_is_the_command_and_what_it_ran_with():
    made = sections.origin(RESULTS)
    assert '<pre>run &#x27;a&#x27; &gt; b</pre>' in made
    assert all(f'<td>{what}</td>' in made for what in ('2 x cpu', 'abc1234', '0.10'))
    assert 'gone' not in made and 'precision' not in made


def test_citations_are_the_entries():
    made = sections.citations(RESULTS)
    assert '@article{one}' in made and '@article{two}' in made


def test_settings_are_folded_and_say_something():
    made = sections.configuration(RESULTS)
    assert made.count('<details>') == 2
    assert '<td>data.zca</td><td>False</td>' in made and '<td>name</td><td>dsa-1000</td>' in made
    assert 'pool' not in made and 'classes' not in made


def test_nothing_known_is_no_section():
    assert (sections.origin({}), sections.citations({}), sections.configuration({})) == ('', '', '')


def test_the_footer_says_what_a_deviation_is_over():
    assert 'standard deviation over orders and students.' in sections.footer('orders and students')
