"""Opening a card: where CuPy is imported, and what goes wrong is told in our words."""

from __future__ import annotations

from typing import TYPE_CHECKING

from flagstone.errors import UnavailableError
from flagstone_cupy.probe import CHOOSE, installed

if TYPE_CHECKING:
    from flagstone_cupy.backend import CupyBackend


def open_cupy(index: int | None) -> CupyBackend:
    """The backend for ``cuda`` (card 0) or ``cuda:index``.

    Raises:
        UnavailableError: CuPy cannot be imported, CUDA does not start, or there is no such card.
    """
    found = installed()
    if len(found) > 1:
        raise UnavailableError(
            f"{' and '.join(found)} are both installed and overwrite each other; uninstall all of "
            f"them, then {CHOOSE}"
        )
    try:
        from flagstone_cupy.backend import CupyBackend
    except ImportError as error:
        raise UnavailableError(
            f"CuPy cannot be imported: {str(error).strip().splitlines()[0]}; {CHOOSE}"
        ) from error
    return CupyBackend.of_card(index or 0)
