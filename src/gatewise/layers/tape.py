"""What layers remember of a forward pass for the backward one."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from gatewise.layers.module import Module
from gatewise.layers.parameters import Snapshot
from gatewise.layers.passes import Passed
from gatewise.layers.sequences import Batch

Array = NDArray[Any]


class ModuleTape:
    """The base of all tapes: what one forward pass leaves for the backward pass."""

    def __init__(self, module: Module, snapshot: Snapshot) -> None:
        self._module = module
        self.snapshot = snapshot

    def check(self, module: Module) -> None:
        """Raise unless `module`, with its present parameters, made this tape.

        Raises
        ------
        ValueError
            If `module` did not make this tape.
        RuntimeError
            If the parameters have changed since.
        """
        if module is not self._module:
            raise ValueError(
                f"tape should come from this {type(module).__name__}'s forward, "
                f"got one from another {type(self._module).__name__}"
            )
        if module._snapshot() != self.snapshot:
            raise RuntimeError(
                "tape should be used before parameters change, got one from before a change"
            )


def check_tape(tape: object, kind: type[ModuleTape], module: Module) -> None:
    """Raise unless `module`, with its present parameters, returned this tape."""
    if not isinstance(tape, kind):
        raise TypeError(
            f"tape should be what {type(module).__name__}.forward returned, "
            f"got {type(tape).__name__}"
        )
    tape.check(module)


class RecurrentTape(ModuleTape):
    """What a recurrent layer's `forward` keeps for its `backward`.

    For every step that exists, and for each layer and direction, it holds the outputs and
    the values of the gates: for an LSTM 5 H + P numbers (P outputs of H units), for a GRU
    5 H, for an RNN H. Two directions, and dropout between layers, cost the D * P numbers of
    a layer's output once more; what dropout and zoneout draw, one byte for each number.
    Recurrent dropout adds a copy of each ``weight_hh``. The input `x` is referred to, not
    copied, unless it holds tokens or had to be converted or gathered; it may not change
    before `backward`. The parameters that the tape was made with are referred to as well.
    """

    def __init__(
        self,
        layer: Module,
        snapshot: Snapshot,
        batch: Batch,
        passed: Passed,
        defaulted: Sequence[bool],
    ) -> None:
        super().__init__(layer, snapshot)
        # Which parts of the state came from parameters that are learnt.
        self.defaulted = defaulted
        self.batch = batch
        self.passed = passed

    @property
    def nbytes(self) -> int:
        """The bytes of the arrays that the tape keeps alive, without the caller's `x`."""
        owners = {}
        for array in self._held():
            owner = array
            while isinstance(owner.base, np.ndarray):
                owner = owner.base
            owners[id(owner)] = owner.nbytes
        return sum(owners.values())

    def _held(self) -> Iterator[Array]:
        for tapes in self.passed.tapes:
            for tape in tapes:
                for array in tape.arrays():
                    if self.batch.owns_rows or not np.may_share_memory(
                        array, self.batch.rows
                    ):
                        yield array
        for mask in self.passed.masks:
            if mask is not None:
                yield mask.keep
