"""The papers of what can run, as BibTeX:
a report names exactly those of the techniques that it used."""

from typing import Any, NamedTuple


class Paper(NamedTuple):
    """A paper."""

    key: str
    title: str
    authors: str  # in BibTeX's form
    venue: str
    year: int
    arxiv: str

    @property
    def bibtex(self) -> str:
        """The entry of a bibliography."""
        return (
            f'@inproceedings{{{self.key},\n  title={{{self.title}}},\n'
            f'  author={{{self.authors}}},\n'
            f'  booktitle={{{self.venue}}},\n  year={{{self.year}}},\n'
            f'  url={{https://arxiv.org/abs/{self.arxiv}}}\n}}'
        )


DC = Paper(
    'zhao2021dc',
    'Dataset Condensation with Gradient Matching',
    'Bo Zhao and Konda Reddy Mopuri and Hakan Bilen',
    'ICLR',
    2021,
    '2006.05929',
)
DSA = Paper(
    'zhao2021dsa',
    'Dataset Condensation with Differentiable Siamese Augmentation',
    'Bo Zhao and Hakan Bilen',
    'ICML',
    2021,
    '2102.08259',
)
DM = Paper(
    'zhao2023dm',
    'Dataset Condensation with Distribution Matching',
    'Bo Zhao and Hakan Bilen',
    'WACV',
    2023,
    '2110.04181',
)
IDM = Paper(
    'zhao2023idm',
    'Improved Distribution Matching for Dataset Condensation',
    'Ganlong Zhao and Guanbin Li and Yipeng Qin and Yizhou Yu',
    'CVPR',
    2023,
    '2307.09742',
)
IDC = Paper(
    'kim2022idc',
    'Dataset Condensation via Efficient Synthetic-Data Parameterization',
    'Jang-Hyun Kim and Jinuk Kim and Seong Joon Oh and Sangdoo Yun and Hwanjun Song and Joonhyun '
    'Jeong and Jung-Woo Ha and Hyun Oh Song',
    'ICML',
    2022,
    '2205.14959',
)
MTT = Paper(
    'cazenavette2022mtt',
    'Dataset Distillation by Matching Training Trajectories',
    'George Cazenavette and Tongzhou Wang and Antonio Torralba and Alexei A. Efros and Jun-Yan Zhu',
    'CVPR',
    2022,
    '2203.11932',
)
DATM = Paper(
    'guo2024datm',
    'Towards Lossless Dataset Distillation via Difficulty-Aligned Trajectory Matching',
    'Ziyao Guo and Kai Wang and George Cazenavette and Hui Li and Kaipeng Zhang and Yang You',
    'ICLR',
    2024,
    '2310.05773',
)
TESLA = Paper(
    'cui2023tesla',
    'Scaling Up Dataset Distillation to ImageNet-1K with Constant Memory',
    'Justin Cui and Ruochen Wang and Si Si and Cho-Jui Hsieh',
    'ICML',
    2023,
    '2211.10586',
)
FTD = Paper(
    'du2023ftd',
    'Minimizing the Accumulated Trajectory Error to Improve Dataset Distillation',
    'Jiawei Du and Yidi Jiang and Vincent Y. F. Tan and Joey Tianyi Zhou and Haizhou Li',
    'CVPR',
    2023,
    '2211.11004',
)
SRE2L = Paper(
    'yin2023sre2l',
    'Squeeze, Recover and Relabel: Dataset Condensation at ImageNet Scale From A New Perspective',
    'Zeyuan Yin and Eric Xing and Zhiqiang Shen',
    'NeurIPS',
    2023,
    '2306.13092',
)
INFER = Paper(
    'zhang2025infer',
    'Breaking Class Barriers: Efficient Dataset Distillation via Inter-Class Feature Compensator',
    'Xin Zhang and Jiawei Du and Ping Liu and Joey Tianyi Zhou',
    'ICLR',
    2025,
    '2408.06927',
)
IID = Paper(
    'deng2024iid',
    'Exploiting Inter-sample and Inter-feature Relations in Dataset Distillation',
    'Wenxiao Deng and Wenbin Li and Tianyu Ding and Lei Wang and Hongguang Zhang and Kuihua Huang '
    'and Jing Huo and Yang Gao',
    'CVPR',
    2024,
    '2404.00563',
)
CMI = Paper(
    'zhong2025cmi',
    'Going Beyond Feature Similarity: Effective Dataset Distillation based on Class-aware '
    'Conditional Mutual Information',
    'Xinhao Zhong and Bin Chen and Hao Fang and Xulin Gu and Shu-Tao Xia and En-Hui Yang',
    'ICLR',
    2025,
    '2412.09945',
)
DREAM = Paper(
    'liu2023dream',
    'DREAM: Efficient Dataset Distillation by Representative Matching',
    'Yanqing Liu and Jianyang Gu and Kai Wang and Zheng Zhu and Wei Jiang and Yang You',
    'ICCV',
    2023,
    '2302.14416',
)
CDA = Paper(
    'yin2024cda',
    'Dataset Distillation via Curriculum Data Synthesis in Large Data Era',
    'Zeyuan Yin and Zhiqiang Shen',
    'TMLR',
    2024,
    '2311.18838',
)
RDED = Paper(
    'sun2024rded',
    'On the Diversity and Realism of Distilled Dataset: An Efficient Dataset Distillation Paradigm',
    'Peng Sun and Bei Shi and Daiwei Yu and Tao Lin',
    'CVPR',
    2024,
    '2312.03526',
)
FKD = Paper(
    'shen2022fkd',
    'A Fast Knowledge Distillation Framework for Visual Recognition',
    'Zhiqiang Shen and Eric Xing',
    'ECCV',
    2022,
    '2112.01528',
)
# (record, field, value) of an option -> the paper that it is from
OPTIONS = {
    ('data', 'sampling', 'representative'): DREAM,
    ('recover', 'crop', 'curriculum'): CDA,
    ('matching', 'gradient', 'tesla'): TESLA,
    ('evaluation', 'labels', 'replayed'): FKD,
    ('evaluation', 'labels', 'stored'): FKD,
}


def used(config: Any, plugins: Any) -> list[Paper]:
    """The papers of a run's method, plug-ins and options, each once.

    Args:
        plugins: the table of plug-ins.
    """
    found = [
        *config.entry.papers,
        *(paper for name in config.plugins for paper in plugins[name].papers),
    ]
    found += [
        paper
        for (record, field, value), paper in OPTIONS.items()
        if getattr(getattr(config, record, None), field, None) == value
    ]
    found += [RDED] if config.init == 'rded' else []
    sharp = getattr(getattr(config, 'experts', None), 'rho', 0)
    found += [FTD] if sharp else []
    return list(dict.fromkeys(found))
