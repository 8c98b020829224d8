"""The type checker of the test run: beartype, for what Python cannot see: shapes, and kinds of arguments."""

from __future__ import annotations

from typing import Any, get_type_hints

from beartype import BeartypeConf, beartype

_strict = beartype(conf=BeartypeConf(is_pep484_tower=True))  # an int where a float is wanted, as Python's types have it


def checked(thing: Any) -> Any:
    """Check a function at each call.

    One that speaks of `Self` cannot be checked apart from its class. A choice of words (`Literal`) is left alone, for
    the library refuses wrong words itself, in a sentence that the tests read.
    """
    hints = getattr(thing, "__annotations__", {})
    if any("Self" in str(hint) for hint in hints.values()):
        return thing
    try:
        known = get_type_hints(thing)
    except (NameError, TypeError):  # names that only the type checker imports
        known = dict(hints)
    for name, hint in known.items():
        if "Literal[" in str(hint):
            thing.__annotations__[name] = Any
    return _strict(thing)
