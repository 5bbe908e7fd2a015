"""The table of methods: what a command line may name.

A new method is a file beside this one and a row here.
"""

from collections.abc import Sequence

from experiments.configs import Config, command_line
from experiments.configs.cells import Cell
from experiments.configs.entry import Entry
from experiments.methods import dc, dm, idc, idm, infer, mtt, sre2l

METHODS: dict[str, Entry] = {
    'dc': dc.DC_ENTRY,
    'dsa': dc.DSA_ENTRY,
    'dm': dm.ENTRY,
    'idm': idm.ENTRY,
    'idc': idc.ENTRY,
    'mtt': mtt.MTT_ENTRY,
    'datm': mtt.DATM_ENTRY,
    'sre2l': sre2l.ENTRY,
    'infer': infer.ENTRY,
}
CELLS: tuple[Cell, ...] = tuple(cell for entry in METHODS.values() for cell in entry.cells)


def parse(argv: Sequence[str]) -> Config:
    """Turns a command line into a configuration of the method that it names;
    see `command_line.parse`."""
    return command_line.parse(argv, METHODS)
