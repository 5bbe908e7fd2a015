"""Class names of every script are written, or what of them can be."""

import io

import matplotlib.font_manager
import numpy as np
import pytest
from PIL import Image, ImageDraw

from jaxdd.reporting import pictures

DEJAVU = 'DejaVu Sans'


@pytest.fixture
def no_system_fonts(monkeypatch):
    monkeypatch.setattr(matplotlib.font_manager.fontManager, 'ttflist', [])


@pytest.mark.parametrize(
    'texts, name',
    [
        (('cat', 'T-shirt/top', ''), 'Aileron'),
        (('new\nline\x07', 'a \t b'), 'Aileron'),
        (('zèbre', 'cafe\u0301', 'кошка'), DEJAVU),
    ],
)
def test_one_font_writes_all(texts, name, no_system_fonts):
    font, shown = pictures.written(texts, 16)
    assert font.getname()[0] == name and font.size == 16
    assert all(whole for _, whole in shown)
    expected = {'new\nline\x07': 'new line', 'a \t b': 'a b', 'cafe\u0301': 'café'}
    assert [text for text, _ in shown] == [expected.get(text, text) for text in texts]


def test_names_without_a_font_show_their_number_and_no_boxes(no_system_fonts):
    font, shown = pictures.written(('猫', '犬 dog', 'zèbre'), 16)
    assert font.getname()[0] == DEJAVU and shown == [('', False), ('dog', False), ('zèbre', True)]
    tiles = np.zeros((3, 1, 48, 48, 3))
    page = pictures.grid(tiles, class_names=('猫', '犬 dog', 'zèbre'))
    np.testing.assert_array_equal(page, pictures.grid(tiles, class_names=('0', '1 dog', 'zèbre')))


def test_a_font_of_the_system_writes_what_the_others_cannot(monkeypatch):
    """Fonts that are gone, or that claim letters which they do not draw, are passed over."""
    fonts = [
        matplotlib.font_manager.FontEntry(
            fname=f'/{file}.ttf', name=name, style=style, weight=weight
        )
        for file, name, style, weight in (
            ('thin', 'Thin', 'normal', 100),
            ('frames', 'Last Resort', 'normal', 400),
            ('gone', 'Gone', 'normal', 400),
            ('good', 'Good', 'normal', 400),
            ('slanted', 'Good', 'italic', 400),
        )
    ]
    monkeypatch.setattr(matplotlib.font_manager.fontManager, 'ttflist', fonts)
    assert pictures._font_files()[1:] == ['/gone.ttf', '/good.ttf', '/thin.ttf']
    assert pictures._letters('/gone.ttf') == set() and 'é' in pictures._letters(
        pictures._font_files()[0]
    )
    good = ('/good.ttf', '/thin.ttf')
    monkeypatch.setattr(pictures, '_letters', lambda file: {'猫', 'a'} if file in good else set())
    monkeypatch.setattr(pictures.ImageFont, 'truetype', lambda file, size: file)
    assert pictures.written(('猫', 'a'), 16) == ('/good.ttf', [('猫', True), ('a', True)])


def test_letters_are_drawn_beside_their_row():
    tiles, names = np.zeros((2, 1, 48, 48, 3)), ('zèbre', 'âne')
    page = pictures.grid(tiles, class_names=names)
    font, _ = pictures.written(names, 51 * 0.36)
    label = Image.new('RGB', (page.shape[1] - 16 - 48 - 12, 51), 'white')
    ImageDraw.Draw(label).text(
        (label.width, 24), 'zèbre', font=font, fill=(40, 40, 40), anchor='rm'
    )
    np.testing.assert_array_equal(page[16:64, : label.width], np.asarray(label)[:48])


@pytest.mark.parametrize('width, form, size', [(40, 'PNG', (40, 10)), (80, 'JPEG', (50, 12))])
def test_wide_pictures_are_made_narrower(width, form, size):
    content = io.BytesIO()
    Image.new('RGB', (width, width // 4)).save(content, 'png')
    small = pictures.small_enough(content.getvalue(), width=50)
    with Image.open(io.BytesIO(small)) as image:
        assert (image.format, image.size) == (form, size)
