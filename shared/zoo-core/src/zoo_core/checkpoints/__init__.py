"""Checkpoints: where a file lies, how it gets there, and how its tensors get into a model.

Importing this package imports neither torch nor requests; only opening a file, or downloading one, does.

Files of the cache and of installed packages are mapped into memory, since they are only ever replaced; those of users
are read, since they are rewritten (:func:`read_state_dict`). Whatever a file, a server or another user does, what is
raised is a :class:`CheckpointError`, without secrets and control characters in its message.

Two environment variables change where files come from:

- ``ZOO_OFFLINE=1``: the network is never touched. A file that is missing is an error that says where to put it.
- ``ZOO_MIRROR``: an ``http(s):`` address or a directory that takes the place of the published host. A file comes from
  the mirror or not at all; the name that it has in the cache stays the same.
"""

from zoo_core.checkpoints.assigning import assign_state_dict
from zoo_core.checkpoints.cache import (
    CachedFile,
    cache_dir,
    cached_files,
    clear,
    is_cached,
    locate,
    matches_hash,
    verify,
)
from zoo_core.checkpoints.errors import (
    CacheWriteError,
    CheckpointError,
    CheckpointNotFoundError,
    DownloadError,
    HashMismatchError,
    NoSpaceError,
    OfflineError,
    StateDictError,
    UnreadableCheckpointError,
)
from zoo_core.checkpoints.fetching import fetch
from zoo_core.checkpoints.own_files import without_wrappers
from zoo_core.checkpoints.reading import (
    get_state_dict,
    load_state_dict,
    read_content,
    read_own_state_dict,
    read_state_dict,
)
from zoo_core.checkpoints.writing import save_safetensors

__all__ = [
    "CacheWriteError",
    "CachedFile",
    "CheckpointError",
    "CheckpointNotFoundError",
    "DownloadError",
    "HashMismatchError",
    "NoSpaceError",
    "OfflineError",
    "StateDictError",
    "UnreadableCheckpointError",
    "assign_state_dict",
    "cache_dir",
    "cached_files",
    "clear",
    "fetch",
    "get_state_dict",
    "is_cached",
    "load_state_dict",
    "locate",
    "matches_hash",
    "read_content",
    "read_own_state_dict",
    "read_state_dict",
    "save_safetensors",
    "verify",
    "without_wrappers",
]
