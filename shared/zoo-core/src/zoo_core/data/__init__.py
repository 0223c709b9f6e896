"""Data sets as they lie on disk: samples with their truth, faults that name file and line, exact shares.

A data set is a sequence of :class:`LabelledSample`. Opening one reads lists and annotations, never an image: what a
sample's truth takes to read (a mask, a flow field) is read when the sample is asked for, by the process that needs it.
"""

from zoo_core.data.classes import ClassFolders, match_labels, synset_ids
from zoo_core.data.faults import DataError, Fault, MissingSplitError
from zoo_core.data.layout import doubled, files_in, find_split, read_lines, subfolders
from zoo_core.data.samples import Dataset, LabelledSample, share

__all__ = [
    "ClassFolders",
    "DataError",
    "Dataset",
    "Fault",
    "LabelledSample",
    "MissingSplitError",
    "doubled",
    "files_in",
    "find_split",
    "match_labels",
    "read_lines",
    "share",
    "subfolders",
    "synset_ids",
]
