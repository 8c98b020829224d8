"""The user's folders: for what may be deleted at any time, and for what was made to stay."""

from __future__ import annotations

import os
from pathlib import Path


def find_cache_folder() -> Path | None:
    """Return SALIENCE_CACHE, else `salience` in the system's folder for caches; None where SALIENCE_CACHE is empty.

    >>> from unittest import mock
    >>> with mock.patch.dict(os.environ, SALIENCE_CACHE="cache"):
    ...     print(find_cache_folder())
    cache
    """
    given = os.environ.get("SALIENCE_CACHE")
    if given is not None:
        return Path(given) if given else None
    from platformdirs import user_cache_path

    return user_cache_path("salience", appauthor=False)


def find_data_folders() -> tuple[Path, ...]:
    """Return SALIENCE_HOME, else `salience` in the system's folder for data, then the one of earlier versions.

    What is made goes into the first one.

    >>> from unittest import mock
    >>> with mock.patch.dict(os.environ, SALIENCE_HOME="made"):
    ...     print(*find_data_folders())
    made
    """
    given = os.environ.get("SALIENCE_HOME")
    if given:
        return (Path(given),)
    from platformdirs import user_data_path

    earlier = Path(os.environ.get("XDG_DATA_HOME") or Path.home() / ".local" / "share") / "salience"
    return tuple(dict.fromkeys((user_data_path("salience", appauthor=False), earlier)))
