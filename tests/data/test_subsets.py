"""The subsets of ImageNet against their papers and the table of data sets."""

import pytest

from jaxdd import data
from jaxdd.data.subsets import SUBSETS


@pytest.mark.parametrize('name', SUBSETS)
def test_a_subset_holds_different_folders_as_many_as_its_row_has_classes(name):
    folders = SUBSETS[name]
    assert len(set(folders)) == len(folders) == data.spec(name).num_classes
    assert all(len(folder) == 9 and folder[0] == 'n' for folder in folders)


def test_the_ten_classes_of_idc():
    # bonnet, green mamba, langur, Doberman, gyromitra, Saluki, vacuum cleaner, window screen,
    # cocktail shaker, garden spider
    assert SUBSETS['imagenet10'] == (
        'n02869837', 'n01749939', 'n02488291', 'n02107142', 'n13037406',
        'n02091831', 'n04517823', 'n04589890', 'n03062245', 'n01773797',
    )  # fmt: skip


def test_a_banana_and_a_lemon_are_fruit_and_yellow_and_a_tabby_and_a_lion_are_cats():
    assert set(SUBSETS['imagefruit']) & set(SUBSETS['imageyellow']) == {'n07753592', 'n07749582'}
    assert {'n02123045', 'n02129165'} <= set(SUBSETS['imagemeow'])
