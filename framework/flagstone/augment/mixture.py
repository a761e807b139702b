"""What the pictures of a mixed batch are made of."""

from __future__ import annotations

from flagstone import ops
from flagstone.tensors import Tensor

Part = tuple[Tensor | None, Tensor]


class Mixture:
    """Which examples each picture of a batch shows, and in what shares.

    Attributes:
        parts: (rows, share), both (n,): picture ``i`` is ``share[i]`` of example ``rows[i]`` of the
            batch, and so on; ``None`` for rows is the example itself. Shares of a picture add up to
            1. Each mixing doubles the number of parts.
    """

    def __init__(self, partner: Tensor, share: Tensor) -> None:
        self.parts: list[Part] = [(None, share), (partner, 1.0 - share)]

    def then(self, partner: Tensor, share: Tensor) -> Mixture:
        """This mixture once its pictures were mixed again."""
        after = Mixture(partner, share)
        rest = 1.0 - share
        after.parts = [(rows, part * share) for rows, part in self.parts]
        for rows, part in self.parts:
            its_rows = partner if rows is None else ops.take(rows, partner)
            after.parts.append((its_rows, ops.take(part, partner) * rest))
        return after
