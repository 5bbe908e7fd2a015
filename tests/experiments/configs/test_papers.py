"""A report names the papers of exactly what ran."""

import pytest

from experiments.configs import papers
from experiments.configs.plugins import PLUGINS
from experiments.methods import METHODS, parse


@pytest.mark.parametrize(
    'words, keys',
    [
        ('dm', ['zhao2023dm']),
        ('dm --plugins cc cm', ['zhao2023dm', 'deng2024iid']),
        (
            'idm --plugins cmi cc --data.sampling representative',
            ['zhao2023idm', 'zhong2025cmi', 'deng2024iid', 'liu2023dream'],
        ),
        (
            'sre2l --recover.crop curriculum --init rded',
            ['yin2023sre2l', 'yin2024cda', 'sun2024rded'],
        ),
        ('infer --evaluation.labels replayed', ['zhang2025infer', 'shen2022fkd']),
        ('mtt --matching.gradient tesla', ['cazenavette2022mtt', 'cui2023tesla']),
        (
            'datm --experts.rho 0.01 --plugins cmi',
            ['guo2024datm', 'cazenavette2022mtt', 'zhong2025cmi', 'du2023ftd'],
        ),
    ],
)
def test_the_papers_of_a_run(words, keys):
    found = papers.used(parse(words.split()), PLUGINS)
    assert [paper.key for paper in found] == keys


def test_every_method_and_plugin_has_its_paper():
    for one in (*METHODS.values(), *PLUGINS.values()):
        assert one.papers
        for paper in one.papers:
            assert (
                paper.bibtex.count('{') == paper.bibtex.count('}')
                and f'abs/{paper.arxiv}' in paper.bibtex
            )
