"""A package that is missing is named with the command that brings it."""

import json

import pytest

from jaxdd.exchange.packages import optional


def test_what_is_there_is_imported():
    assert optional('json', 'reading') is json


@pytest.mark.parametrize('extra', ['exchange', 'torch'])
def test_what_is_missing_is_named(extra):
    words = rf"a form needs the package nowhere: pip install 'jaxdd\[{extra}\]'"
    with pytest.raises(ValueError, match=words):
        optional('nowhere.at_all', 'a form', extra)
