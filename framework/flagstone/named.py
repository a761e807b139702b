"""Making a registered thing from text: ``"adam"``, ``"sgd(momentum=0.9, nesterov=True)"``."""

from __future__ import annotations

import ast
import difflib
import inspect
import numbers
from collections.abc import Iterable, Sequence
from typing import Any

from flagstone.errors import ConfigurationError
from flagstone.plugins import registry


def make(kind: str, text: Any, *arguments: Any) -> Any:
    """The registered ``kind`` that ``text`` writes, called with ``arguments`` and its options.

    Args:
        kind: a registry's kind, such as ``"optimizer"``.
        text: a name, or a call with keyword arguments that are Python literals. What is not a
            string is returned as it is.
        arguments: what the framework itself passes, before the options.

    Raises:
        UnknownNameError: nothing of that kind has the name.
        ConfigurationError: the text is not of that form, or an option is unknown or missing.
    """
    if not isinstance(text, str):
        return text
    name, options = parse(kind, text)
    target = registry.load(kind, name)
    takes = [
        p
        for p in list(inspect.signature(target).parameters.values())[len(arguments) :]
        if p.kind in (p.POSITIONAL_OR_KEYWORD, p.KEYWORD_ONLY)
    ]
    known = [p.name for p in takes]
    require_known(f"{kind} {name!r}", "option", options, known)
    if missing := [p.name for p in takes if p.default is p.empty and p.name not in options]:
        call = ", ".join(f"{option}=..." for option in missing)
        raise ConfigurationError(
            f"{kind} {name!r} cannot be made without {' and '.join(missing)}; write {name}({call})"
        )
    return target(*arguments, **options)


def require_known(owner: str, what: str, given: Iterable[str], known: Sequence[str]) -> None:
    """Raise a ConfigurationError unless every name that is ``given`` to ``owner`` is ``known``."""
    for name in given:
        if name not in known:
            near = difflib.get_close_matches(name, known, n=1)
            raise ConfigurationError(
                f"{owner} has no {what} {name!r}; known: {', '.join(known) or 'none'}."
                + (f" Did you mean {near[0]!r}?" if near else "")
            )


def parse(kind: str, text: str) -> tuple[str, dict[str, Any]]:
    """The name and the options in ``"name(option=value, ...)"``; ``kind`` is for the error.

    Raises:
        ConfigurationError: the text is not of that form.
    """
    name, bracket, rest = text.strip().partition("(")
    if name and not bracket:
        return name, {}
    try:
        if not name.strip():
            raise ValueError
        call = ast.parse(f"f({rest}", mode="eval").body
        if (
            not isinstance(call, ast.Call)
            or not isinstance(call.func, ast.Name)  # not f(a=1)(b=2), which would lose a
            or call.args
            or any(k.arg is None for k in call.keywords)
            or len({k.arg for k in call.keywords}) < len(call.keywords)
        ):
            raise ValueError
        return name.strip(), {str(k.arg): ast.literal_eval(k.value) for k in call.keywords}
    except (ValueError, SyntaxError):
        raise ConfigurationError(
            f"{kind}: expected a name or name(option=value, ...); got {text!r}. "
            "Values are written as in Python: text in quotes, several numbers in brackets"
        ) from None


def is_number(value: object) -> bool:
    """Whether an option is a real number: an integer or a float, also NumPy's, and no boolean."""
    return isinstance(value, numbers.Real) and not isinstance(value, bool)
