"""Weight decay as an option of an optimizer that is written as text."""

from __future__ import annotations

import inspect

from flagstone.errors import ConfigurationError
from flagstone.named import parse
from flagstone.plugins import registry


def with_weight_decay(text: str, weight_decay: float) -> str:
    """The optimizer that ``text`` writes, with this weight decay too: its own option, or, of one
    that goes around another (``lookahead(base='adamw')``), the inner one's.

    Args:
        text: a registered optimizer's name, with options as in ``"sgd(momentum=0.9)"``.
        weight_decay: 0 leaves the text as it is.

    Raises:
        ConfigurationError: the text has a weight decay already, or the optimizer has none.
        UnknownNameError: there is no such optimizer.
    """
    if not weight_decay:
        return text
    name, options = parse("optimizer", text)
    known = inspect.signature(registry.load("optimizer", name)).parameters
    if "weight_decay" in options:
        raise ConfigurationError(
            f"weight_decay expected once; got {weight_decay!r} and, in optimizer, "
            f"{options['weight_decay']!r}"
        )
    if "weight_decay" in known:
        options["weight_decay"] = float(weight_decay)
    elif "base" in known:
        base = options.get("base", known["base"].default)
        if isinstance(base, str):  # else making the optimizer tells what is wrong
            options["base"] = with_weight_decay(base, weight_decay)
    else:
        raise ConfigurationError(
            f"weight_decay expected 0, for the optimizer {name!r} has no weight decay; "
            f"got {weight_decay!r}"
        )
    return f"{name}({', '.join(f'{key}={value!r}' for key, value in options.items())})"
