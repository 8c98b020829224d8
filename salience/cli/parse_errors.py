"""What the parser complains about, as one sentence of this house."""

from __future__ import annotations

from collections.abc import Sequence

from cyclopts import (
    CoercionError,
    CycloptsError,
    MissingArgumentError,
    UnknownCommandError,
    UnknownOptionError,
    UnusedCliTokensError,
)

from salience import registry
from salience.errors import SalienceError, SettingError, UnknownName

COMMANDS = ("explain", "check", "measure", "bench", "report", "compare", "list", "fit", "train", "export")
TRAINERS = ("adversarial", "gradient-penalty", "plain", "saliency-guided", "scaat", "trades")
INNER = {"list": ("methods", "measures", "boxes", "classes"), "fit": ("p-tame",), "train": TRAINERS}


def translate(problem: CycloptsError, words: Sequence[str]) -> SalienceError:
    """Translate."""
    if isinstance(problem, UnknownOptionError):
        return _translate_option(problem, words)
    if isinstance(problem, UnknownCommandError) or (words and words[0] not in COMMANDS):
        unused = list(getattr(problem, "unused_tokens", None) or [words[0]])
        return UnknownName.of("command", unused[0], INNER.get(words[0], COMMANDS), "see `salience --help`")
    if isinstance(problem, CoercionError) and problem.token is not None and problem.argument is not None:
        given, name = problem.token.value, problem.argument.name
        wanted = registry.name_type(problem.argument.hint)
        return SettingError(f"expected {wanted} for {name}, got {given!r}: see `salience {' '.join(words[:1])} --help`")
    if isinstance(problem, MissingArgumentError) and problem.argument is not None:
        return SettingError(f"expected a value for {problem.argument.name}, got none")
    if isinstance(problem, UnusedCliTokensError) and problem.unused_tokens:
        where = " ".join(words[: 1 + (words[0] in INNER)])
        return SettingError(
            f"expected options alone after `{where}`, got {problem.unused_tokens[0]!r}: see `salience {where} --help`"
        )
    return SettingError(f"expected a command line that can be read, got one where {_lower_first(str(problem))}")


def _translate_option(problem: UnknownOptionError, words: Sequence[str]) -> SalienceError:
    from salience.cli.options import Options
    from salience.cli.program import find_method
    from salience.tasks.choose_method import DEFAULT

    given = (problem.token.keyword or problem.token.value).lstrip("-").removeprefix("no-")
    if words[0] != "explain":
        return UnknownName.of("option", given, _list_options(words), f"see `salience {words[0]} --help`")
    method = find_method(words) or str(DEFAULT["method"])
    settings = [each.name for each in registry.list_settings(registry.find_method(method))]
    known = sorted({name.replace("_", "-") for name in (*Options.__dataclass_fields__, *settings)})
    return UnknownName.of(f"setting of {method}", given, known, f"see `salience explain --method {method} --help`")


def _list_options(words: Sequence[str]) -> list[str]:
    """List the options of a command whose function says them all."""
    import inspect

    from salience.cli.program import make_app

    made = make_app(words)[words[0]]
    if words[0] in INNER:
        made = made[words[1]]
    function = made.default_command
    names = inspect.signature(function).parameters if function is not None else ()
    return [*(name.replace("_", "-") for name in names), "help"]


def _lower_first(text: str) -> str:
    text = " ".join(text.split()).rstrip(".")
    return text[:1].lower() + text[1:]
