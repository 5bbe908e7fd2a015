"""The page of a run: whole, escaped, without anything from elsewhere, and without empty parts."""

import re
from html.parser import HTMLParser

import pytest

from jaxdd.reporting import html, markup

PNG = b'\x89PNG\r\n\x1a\nnot decoded here'
RESULTS = {
    'method': 'dm',
    'plugins': ['cc', 'cmi'],
    'dataset': 'digits',
    'ipc': 10,
    'seed': 3,
    'steps': 1500,
    'command': 'python -m experiments.run dm --dataset "a <b>"',
    'commit': 'abc1234',
    'hardware': '8 x cpu',
    'precision': 'f32',
    'config': {'optimizer': {'learning_rate': 0.5}, 'depth': None, 'classes': []},
    'versions': {'jax': '0.10.2', 'gone': None},
    'weights': {'cc': {'value': 0.05, 'source': 'table 7'}, 'cmi': {'value': None}},
    'protocol': {'name': 'dsa-1000', 'epochs': 1000, 'pool': None},
    'accuracy': {
        'distilled': {'convnet': {'mean': 0.8125, 'std': 0.0125, 'per_seed': [0.8, 0.825]}},
        'random': {'convnet': {'mean': 0.628, 'std': 0.053, 'per_seed': [0.575, 0.681]}},
        'herding': {'convnet': {'mean': 0.7, 'std': 0.01, 'per_seed': [0.69, 0.71]}},
    },
    'students': {'convnet': 'convnet, depth 3'},
    'seconds': {'distil': 7200.0, 'compile (within distil)': 12.25, 'evaluate': None},
    'seconds_per_step': 0.0123,
    'bytes': {'images': 2048, 'labels': 0, 'random images': 512},
    'published': {'value': 0.8, 'std': 0.01, 'source': 'A & B, table 1'},
    'budget': {'num_steps': {'published': '20000', 'here': '1500'}},
    'missing': {'k-means': 'too few <images>'},
    'warnings': ['the pixels reach 6e+29'],
    'left_out': {'the plane': 'it is <flat>'},
    'real_per_class': {'asked': 256, 'least': 256, 'most': 256},
    'bibtex': ['@article{a,\n  title={<A> & B}\n}', '@article{b}'],
    'pictures': {'The set': 'grid.png', 'Plane': 'set-0/embedding.png', 'Lost': 'lost.png'},
    'embedding': {'network': 'a <convnet>', 'real': 600, 'distilled': 100},
    'per_class': {
        'student': 'convnet',
        'seeds': 2,
        'classes': ['cat', '<dog>', 'fox'],
        'accuracy': [0.75, 0.5, None],
    },
    'confusion': {
        'student': 'convnet',
        'seeds': 2,
        'counts': [[3, 1, 0], [0, 1, 1], [0, 0, 0]],
    },
}
PICTURES = {'grid.png': PNG, 'set-0/embedding.png': PNG}
SERIES = {'cmi': [[(5, 0.5), (10, 0.25)]], 'cm': [[]], 'other': [[(1, 2.0)]]}
VOID = {'meta', 'img', 'link', 'br', 'hr', 'line', 'circle', 'polyline'}


class Reader(HTMLParser):
    """Refuses tags that are not closed in order; keeps the text and every attribute."""

    def __init__(self, page):
        super().__init__()
        self.open, self.text, self.attributes, self.tags = [], '', [], []
        self.feed(page)
        self.close()
        assert not self.open

    def handle_starttag(self, tag, attrs):
        self.tags.append(tag)
        self.attributes += attrs
        if tag not in VOID:
            self.open.append(tag)

    def handle_startendtag(self, tag, attrs):
        self.tags.append(tag)
        self.attributes += attrs

    def handle_endtag(self, tag):
        assert self.open.pop() == tag

    def handle_data(self, data):
        if 'style' not in self.open:
            self.text += f'{data} '


def read(results=RESULTS, pictures=PICTURES, series=SERIES):
    return Reader(html.page(results, pictures, series))


@pytest.fixture(scope='module')
def whole():
    return read()


def test_the_page_holds_every_value(whole):
    text = ' '.join(whole.text.split())
    for words in (
        'DM + CC + CMI on digits, 10 images per class',
        '81.25 ± 1.25 %',
        '+18.45 points',
        'random real images convnet, depth 3 62.80 ± 5.30 2 dsa-1000 1000 512',
        'herding core-set convnet, depth 3 70.00 ± 1.00',
        'published (A & B, table 1) 80.00 ± 1.00',
        'ours at another budget − published convnet, depth 3 +1.25 points',
        'The published number has another budget: here num_steps 1500 (published: 20000).',
        'WARNING: the pixels reach 6e+29.',
        'No row for k-means core-set: too few <images>.',
        'Left out: the plane, because it is <flat>.',
        'Stars: 100 distilled images; dots: 600 real ones. The network is a <convnet>.',
        'convnet, depth 3; mean of 2 students.',
        'cat 75.0 <dog> 50.0 fox –',
        'cat 75 25 <dog> 50 50',
        'Conditional mutual information',
        'From 0.5 to 0.25.',
        'cc 0.05 table 7',
        'distil 7,200.0',
        'one update of the set 0.0123',
        'images 2,048 random images 512',
        '2.0 KiB',
        'time in all 2.0 h',
        'python -m experiments.run dm --dataset "a <b>"',
        'hardware 8 x cpu precision f32 commit abc1234 jax 0.10.2',
        'title={<A> & B}',
        'optimizer.learning_rate 0.5',
        'Real images per class and step: 256.',
    ):
        assert words in text, words


def test_nothing_comes_from_elsewhere(whole):
    assert not {'script', 'link', 'iframe', 'object'} & set(whole.tags)
    sources = [value for name, value in whole.attributes if name in ('src', 'href', 'srcset')]
    assert len(sources) == 2
    assert all(source.startswith('data:image/png;base64,') for source in sources)
    page = html.page(RESULTS, PICTURES, SERIES)
    assert not re.search(r'https?:|url\(|@import|@font-face', page)


def test_settings_are_folded_away_and_empty_ones_are_not_there(whole):
    page = html.page(RESULTS, PICTURES, SERIES)
    folded = ''.join(re.findall(r'<details>.*?</details>', page, re.S))
    assert 'optimizer.learning_rate' in folded and 'dsa-1000' in folded
    assert 'None' not in whole.text and '>pool<' not in page and '>classes<' not in page
    assert '>gone<' not in page and '>evaluate<' not in page


def test_series_that_nobody_measures_and_pictures_that_are_lost_have_no_part(whole):
    assert 'Covariance distance' not in whole.text and whole.tags.count('svg') == 1
    assert 'Lost' not in whole.text and whole.tags.count('img') == 2


@pytest.mark.parametrize('missing', sorted(RESULTS))
def test_any_part_may_be_missing(missing):
    less = {key: value for key, value in RESULTS.items() if key != missing}
    for results in (less, {**RESULTS, missing: None}):
        assert 'None' not in read(results).text


@pytest.mark.parametrize(
    'missing, words',
    [
        ('accuracy', 'test accuracy'),
        ('pictures', 'Where the distilled images lie'),
        ('embedding', 'Stars:'),
        ('per_class', 'Class by class'),
        ('confusion', 'Taken for which class'),
        ('command', 'experiments.run'),
        ('bibtex', 'What to cite'),
        ('weights', 'weight λ'),
        ('seconds', 'time in all'),
        ('bytes', 'KiB'),
        ('published', 'published'),
    ],
)
def test_a_part_without_data_leaves_no_trace(missing, words, whole):
    less = {key: value for key, value in RESULTS.items() if key != missing}
    assert words in whole.text and words not in read(less).text


def test_without_pictures_or_series_the_rest_is_there():
    bare = read(pictures={}, series={})
    assert 'img' not in bare.tags and 'svg' not in bare.tags and '81.25' in bare.text
    empty = read({}, {}, {})
    assert 'METHOD' in empty.text and 'dd' not in empty.tags and 'td' not in empty.tags


def test_of_many_classes_those_at_either_end_are_listed():
    names = [f'class {i}' for i in range(100)]
    many = {**RESULTS['per_class'], 'classes': names, 'accuracy': [i / 100 for i in range(100)]}
    text = ' '.join(read({**RESULTS, 'per_class': many, 'confusion': None}).text.split())
    assert 'Median of 100 classes: 50.0 %.' in text
    assert 'Lowest class 0 0.0 class 1 1.0' in text and 'Highest class 99 99.0' in text
    assert 'class 50' not in text


def test_a_loss_against_random_images_has_a_minus():
    worse = {'convnet': {'mean': 0.9, 'std': 0.0, 'per_seed': [0.9]}}
    accuracy = {**RESULTS['accuracy'], 'random': worse}
    assert '−8.75' in read({**RESULTS, 'accuracy': accuracy}).text


@pytest.mark.parametrize(
    'seconds, shown', [(5, ('5', 's')), (300, ('5', 'min')), (9000, ('2.5', 'h'))]
)
def test_times_are_in_the_unit_that_suits_them(seconds, shown):
    assert html._duration(seconds) == shown


@pytest.mark.parametrize('content, form', [(PNG, 'png'), (b'\xff\xd8\xff', 'jpeg')])
def test_a_picture_says_its_form(content, form):
    assert f'src="data:image/{form};base64,' in markup.picture(content, 'a "b"')
    assert 'alt="a &quot;b&quot;"' in markup.picture(content, 'a "b"')


@pytest.mark.parametrize(
    'cell, shown', [('-', ''), ('-2.5 points', '−2.5 points'), ('a - b', 'a − b'), ('a-b', 'a-b')]
)
def test_cells_are_typeset(cell, shown):
    assert html._typeset(cell) == shown


def test_pieces_without_content_are_nothing():
    assert markup.section('a', '', '') == markup.folded('a', '') == ''
    assert markup.table(['a'], []) == markup.paragraph('') == ''
