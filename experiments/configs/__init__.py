"""Configurations as data: records, rules, presets, the table of plug-ins, the papers' cells."""

from experiments.configs.base import Config as Config
