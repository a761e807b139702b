"""Saying that loops are being compiled, which takes seconds in which nothing else is seen."""

from __future__ import annotations

import logging
from typing import Any

from numba.core import event


class Announcement(event.Listener):
    """Logs, once, that a loop of ours is compiled, where it is not read from disk."""

    said = False

    def on_start(self, event: Any) -> None:
        ours = event.data["dispatcher"].py_func.__module__.startswith("flagstone_numba.")
        if ours and not self.said:
            self.said = True
            logging.getLogger("flagstone").info(
                "compiling loops for this processor, which takes some seconds; they are kept"
            )

    def on_end(self, event: Any) -> None:
        pass
