"""Layers one after another, as one layer."""

from __future__ import annotations

import copy
import math
from collections.abc import Callable, Iterator
from typing import Any, Self, TypeVar, overload

import numpy as np
from numpy.typing import ArrayLike, NDArray

from gatewise.kernels import chooser, computing, products, thread_limits
from gatewise.kernels.resets import Flags
from gatewise.layers import parameters
from gatewise.layers.kinds import Feedforward, Stateful, Streaming
from gatewise.layers.module import Gradients, Module
from gatewise.layers.parameters import Snapshot
from gatewise.layers.recurrent import Recurrent
from gatewise.layers.tape import ModuleTape, check_tape

Made = TypeVar("Made")
Array = NDArray[Any]
States = tuple[Any, ...]


class SequentialTape(ModuleTape):
    """Holds the tapes of the layers in it."""

    def __init__(self, module: Module, snapshot: Snapshot, tapes: list[Any]) -> None:
        super().__init__(module, snapshot)
        self.tapes = tapes


class Sequential(Stateful):
    """Layers one after another, each reading the output of the one before.

    Parameters have the name of their parameter in the layer after the layer's position, as
    in ``"1.weight_ih_l0"``. A layer that stands in several places has its parameters once,
    under the first of their names; its gradients are the sums over all places.

    A call returns the output and the state, whichever layers there are. The state is a
    tuple with one entry for each layer, None for those that have no state. ``model[0]`` is
    the first layer, ``model[:-1]`` a Sequential of all but the last with their parameters,
    and ``len(model)`` how many there are.

    Parameters
    ----------
    layers
        Layers of this package; a Sequential too is one.

    Raises
    ------
    TypeError
        If one of them is no layer.
    ValueError
        If there is none, or one takes other features than the one before it gives.

    Examples
    --------
    >>> import numpy as np, gatewise
    >>> model = gatewise.Sequential(
    ...     gatewise.Embedding(10, 4), gatewise.GRU(4, 8), gatewise.Linear(8, 10)
    ... )
    >>> y, state = model(np.array([[1, 2, 3], [4, 5, 0]]), lengths=[3, 2])
    >>> y.shape, [None if part is None else part.shape for part in state]
    ((2, 3, 10), [None, (1, 2, 8), None])
    >>> model[1].initial_state = np.ones((1, 8))
    >>> model[:2](np.array([[1, 2, 3]]))[0].shape
    (1, 3, 8)
    """

    def __init__(self, *layers: Module) -> None:
        for position, layer in enumerate(layers):
            if not isinstance(layer, Feedforward | Stateful):
                got = type(layer).__name__
                if isinstance(layer, type):
                    got = f"the class {layer.__name__}"
                raise TypeError(f"layers[{position}] should be a layer, got {got}")
        if not layers:
            raise ValueError("layers should be at least one layer, got none")
        _check_fit(layers)
        # Each layer answers in its own dtype, or in that of what it is given.
        deciding = [layer for layer in layers if not layer._keeps_dtype]
        super().__init__(deciding[-1].dtype if deciding else layers[-1].dtype)
        self._keeps_dtype = not deciding
        self.layers: tuple[Feedforward | Stateful, ...] = layers  # type: ignore[assignment]
        self._is_nested = any(isinstance(layer, Sequential) for layer in layers)

    @overload
    def __getitem__(self, position: int) -> Any: ...
    @overload
    def __getitem__(self, position: slice) -> Sequential: ...
    def __getitem__(self, position: int | slice) -> Any:
        found = self.layers[position]
        return Sequential(*found) if isinstance(found, tuple) else found

    def __len__(self) -> int:
        return len(self.layers)

    def __iter__(self) -> Iterator[Any]:
        return iter(self.layers)

    def _features(self) -> tuple[int | None, int | None]:
        ends = [layer._features() for layer in self.layers]
        taken = next((taken for taken, _ in ends if taken is not None), None)
        given = next((given for _, given in reversed(ends) if given is not None), None)
        return taken, given

    def _time_axis(self) -> tuple[bool, bool]:
        ends = [layer._time_axis() for layer in self.layers]
        return any(needs for needs, _ in ends), any(ended for _, ended in ends)

    def quantize(self, weight_format: str, *, activations: int | None = None) -> Sequential:
        """Return a copy for inference whose recurrent layers' weights take fewer bytes.

        The other layers are copied as they are. The copy is called and streams like this
        model, but cannot be trained.

        Parameters
        ----------
        weight_format : {"float16", "bfloat16", "int8"}
            As for a recurrent layer's `quantize`.
        activations : {15, 8}, optional
            As for a recurrent layer's `quantize`.

        Returns
        -------
        Sequential
            A model with quantized recurrent layers.

        Raises
        ------
        ValueError
            If there is no recurrent layer, or one that cannot be quantized.
        TypeError
            If a layer is quantized already.

        Examples
        --------
        >>> import gatewise
        >>> model = gatewise.Sequential(gatewise.GRU(3, 8), gatewise.Linear(8, 2))
        >>> model.quantize("int8").layers[0]
        GRU(3, 8, weight_format='int8') with 648 bytes of weights
        """
        if not any(isinstance(leaf, Recurrent) for _, leaf in self._leaves()):
            raise ValueError(
                "quantize should find a recurrent layer, as only RNN, LSTM and GRU can be "
                f"quantized, got {self._description()}"
            )
        return self._at_one_moment(lambda: self._quantized(weight_format, activations, {}))

    def __deepcopy__(self, memo: dict[int, Any]) -> Self:
        def copied() -> tuple[Any, dict[int, Any]]:
            known = dict(memo)
            other = known[id(self)] = type(self).__new__(type(self))
            other.__setstate__(copy.deepcopy(self.__getstate__(), known))
            return other, known

        made: tuple[Self, dict[int, Any]] = self._at_one_moment(copied)
        other, known = made
        # What keeps copied objects alive stands by the dict's id, which another object may
        # have soon.
        memo.setdefault(id(memo), []).extend(known.pop(id(known), []))
        memo.update(known)
        return other

    def _at_one_moment(self, make: Callable[[], Made]) -> Made:
        """What `make` makes of all layers, none of which may change meanwhile."""
        while True:
            parts, made = self._look(), make()
            # Otherwise parameters changed meanwhile, and some layers may have old ones.
            if self._look() == parts:
                return made

    def _quantized(
        self, weight_format: str, activations: int | None, made: dict[Module, Module]
    ) -> Sequential:
        """`quantize`; a layer that stands in several places does so in the copy."""
        for layer in self.layers:
            if layer in made:
                continue
            if isinstance(layer, Sequential):
                made[layer] = layer._quantized(weight_format, activations, made)
            elif isinstance(layer, Recurrent):
                made[layer] = layer.quantize(weight_format, activations=activations)
            else:
                made[layer] = copy.copy(layer)
        return Sequential(*(made[layer] for layer in self.layers))

    def _leaves(self) -> Iterator[tuple[str, Module]]:
        for position, layer in enumerate(self.layers):
            for name, leaf in layer._leaves():
                yield f"layers[{position}]{name and f'.{name}'}", leaf

    def _stream_input(self, array: Array) -> Array:
        return self.layers[0]._stream_input(array)

    def _stream_state(self, name: str, state: Any, batch: int) -> States:
        pairs = list(zip(self.layers, self._initial(name, state), strict=True))
        return self._at_one_moment(
            lambda: tuple(
                layer._stream_state(f"{name}[{position}]", part, batch)
                if isinstance(layer, Streaming)
                else None
                for position, (layer, part) in enumerate(pairs)
            )
        )

    def _stages(
        self, snapshot: Snapshot, state: Any, *, is_first: bool
    ) -> list[tuple[Any, ...]] | None:
        stages: list[tuple[Any, ...]] = []
        for layer, part, own in zip(self.layers, snapshot.parts, state, strict=True):
            found = layer._stages(part, own, is_first=is_first)
            if found is None:
                return None
            stages += found
            is_first = False
        return stages

    def _advance(
        self,
        snapshot: Snapshot,
        x: Array,
        state: Any,
        num_threads: int | None,
        resets: Flags | None = None,
    ) -> tuple[Array, States]:
        after = []
        for layer, part, own in zip(self.layers, snapshot.parts, state, strict=True):
            x, final = layer._advance(part, x, own, num_threads, resets)
            after.append(final)
        return x, tuple(after)

    def _steps_for_one(self) -> int:
        return math.prod(layer._steps_for_one() for layer in self.layers)

    def _lengths_after(self, lengths: ArrayLike | None) -> ArrayLike | None:
        for layer in self.layers:
            lengths = layer._lengths_after(lengths)
        return lengths

    def _places(self, snapshot: Snapshot) -> dict[str, tuple[Module, str]]:
        return {
            f"{position}.{name}": place
            for position, layer in enumerate(self.layers)
            for name, place in layer._places(snapshot.parts[position]).items()
        }

    def _named_arrays(self, snapshot: Snapshot) -> dict[str, Array]:
        aliases = self._aliases(snapshot)
        return {
            f"{position}.{name}": array
            for position, layer in enumerate(self.layers)
            for name, array in layer._named_arrays(snapshot.parts[position]).items()
            if f"{position}.{name}" not in aliases
        }

    def _snapshot(self) -> Snapshot:
        """The parameters that all layers had at one moment; the same object until a change.

        No snapshot of a layer ever comes back. So two looks at all layers that find the
        same ones prove that all of them were valid between the looks.
        """
        last = self._holder.values.after
        if last.is_unchanged():
            return last
        versions = tuple([leaf._holder.version() for _, leaf in self._leaves()])
        seen = self._look()
        while (again := self._look()) != seen:
            seen = again
        last = self._of(seen)
        # From before the look: if all of it is still there, so are the parts.
        last.versions = versions
        return last

    def _look(self) -> tuple[Any, ...]:
        """The snapshots of the layers, with tuples of them for those that hold others.

        Twice at the outermost only: each in turn twice would be a thousand times, ten deep.
        """
        if not self._is_nested:
            return tuple([layer._snapshot() for layer in self.layers])
        return tuple(
            [
                layer._look() if isinstance(layer, Sequential) else layer._snapshot()
                for layer in self.layers
            ]
        )

    def _of(self, seen: tuple[Any, ...]) -> Snapshot:
        """The snapshot of what was seen, the one from before where that has not changed."""
        parts = seen
        if self._is_nested:
            parts = tuple(
                [
                    layer._of(part) if isinstance(layer, Sequential) else part
                    for layer, part in zip(self.layers, seen, strict=True)
                ]
            )
        last = self._holder.values.after
        if last.parts != parts:
            last = Snapshot({}, parts)
            self._holder.values = parameters.settled(last)
        return last

    def __call__(
        self,
        x: ArrayLike,
        state: Any = None,
        *,
        lengths: ArrayLike | None = None,
        resets: ArrayLike | None = None,
        num_threads: int | None = None,
    ) -> tuple[Array, States]:
        """Return the last layer's output for `x`, and every layer's final state.

        Parameters
        ----------
        x
            What the first layer takes.
        state
            Every layer's initial state. Where it is None, or one of its entries, a layer
            starts from its own `initial_state`, or from zeros. For a `Conv1d`, whose calls
            take whole sequences, it is None.
        lengths
            How many steps of each sequence exist, for the layers that go over steps. After
            a `Conv1d` they are the lengths of its output.
        resets
            Which steps begin something new, as a recurrent layer takes them: booleans
            ``(batch, time)`` or ``(time,)``. They are for all recurrent layers.
        num_threads
            How many threads the layers may use; as `gatewise.set_num_threads` says if None.

        Raises
        ------
        TypeError
            If `x` or `state` holds no real numbers, `lengths` no integers, `resets` no
            booleans, or `num_threads` is no integer.
        ValueError
            If a shape does not fit, a token or a length is out of range, `resets` come with
            a `Conv1d` whose windows are of more than one step, or `num_threads` is less
            than 1.
        """
        return self._call(self._snapshot(), x, state, lengths, resets, num_threads)

    def _call(
        self,
        snapshot: Snapshot,
        x: ArrayLike,
        state: Any,
        lengths: ArrayLike | None,
        resets: ArrayLike | None,
        num_threads: int | None,
    ) -> tuple[Array, States]:
        threads = thread_limits.resolve(num_threads)
        self._check_resets(resets)
        states: list[Any] = []
        value: Any = x
        initials = self._initial("state", state, is_call=True)
        runs = {}
        if lengths is None and products.blas_from == math.inf:
            runs = snapshot.prepared(self._runs)
        while (position := len(states)) < len(self.layers):
            if position in runs:
                count, chain = runs[position]
                y = chain(value, num_threads=threads)
                if y is not None:
                    value = y
                    states += [None] * count
                    continue
            layer, part = self.layers[position], snapshot.parts[position]
            final = None
            if isinstance(layer, Stateful):
                initial = initials[position]
                value, final = layer._call(part, value, initial, lengths, resets, threads)
            else:
                value = layer._call_ragged(part, value, lengths, threads)
            lengths = layer._lengths_after(lengths)
            states.append(final)
        return value, tuple(states)

    def _runs(self, snapshot: Snapshot) -> dict[int, tuple[int, Callable[..., Any]]]:
        """Layers without a state that the kernels take in one call, by the first's place.

        Each with how many there are.
        """
        runs: dict[int, tuple[int, Callable[..., Any]]] = {}
        first = 0
        while first < len(self.layers):
            count, stages = self._run_from(first, snapshot)
            if count > 1 and stages:
                head = self.layers[first]
                features, dtype = head._features()[0], head.dtype
                runs[first] = count, chooser.kernels.chain(stages, features, dtype)
            first += max(count, 1)
        return runs

    def _run_from(self, first: int, snapshot: Snapshot) -> tuple[int, list[Any]]:
        """How many layers from this one on can be taken in one call, and their stages."""
        stages: list[Any] = []
        head = self.layers[first]
        if head._keeps_dtype or head._features()[0] is None:
            return 0, stages
        count = 0
        parts = snapshot.parts[first:]
        for layer, part in zip(self.layers[first:], parts, strict=True):
            fits = layer._keeps_dtype or layer.dtype == head.dtype
            if isinstance(layer, Stateful) or not fits:
                break
            found = layer._stages(part, None, is_first=False)
            if found is None:
                break
            stages += found
            count += 1
        return count, stages

    def forward(
        self,
        x: ArrayLike,
        state: Any = None,
        *,
        lengths: ArrayLike | None = None,
        resets: ArrayLike | None = None,
        num_threads: int | None = None,
        compute: str | None = None,
    ) -> tuple[Array, States, SequentialTape]:
        """Return outputs and final states, as in training, and a tape for `backward`.

        `compute` is that of the recurrent layers' own `forward`.

        Raises
        ------
        TypeError
            If `x` or `state` holds no real numbers, `lengths` no integers, `resets` no
            booleans, or `num_threads` is no integer.
        ValueError
            If a shape does not fit, a token or a length is out of range, `resets` come with
            a `Conv1d` whose windows are of more than one step, `num_threads` is less than
            1, or `compute` is unknown.
        """
        with computing.using(compute):
            return self._forward(self._snapshot(), x, state, lengths, resets, num_threads)

    def _forward(
        self,
        snapshot: Snapshot,
        x: ArrayLike,
        state: Any,
        lengths: ArrayLike | None,
        resets: ArrayLike | None,
        num_threads: int | None,
    ) -> tuple[Array, States, SequentialTape]:
        threads = thread_limits.resolve(num_threads)
        self._check_resets(resets)
        states, tapes = [], []
        value: Any = x
        initials = self._initial("state", state, is_call=True)
        for layer, part, initial in zip(self.layers, snapshot.parts, initials, strict=True):
            final = None
            if isinstance(layer, Stateful):
                value, final, tape = layer._forward(
                    part, value, initial, lengths, resets, threads
                )
            else:
                value, tape = layer._forward_ragged(part, value, lengths, threads)
            lengths = layer._lengths_after(lengths)
            states.append(final)
            tapes.append(tape)
        return value, tuple(states), SequentialTape(self, snapshot, tapes)

    def backward(
        self,
        tape: SequentialTape,
        dy: ArrayLike | None,
        dstate: Any = None,
        *,
        num_threads: int | None = None,
    ) -> tuple[Array | None, States, Gradients]:
        """Return the gradients of `x`, of the initial states and of the parameters.

        Raises
        ------
        TypeError
            If `tape` is not what `forward` returned, `dy` or `dstate` holds no real
            numbers, or `num_threads` is no integer.
        ValueError
            If `tape` is another layer's, a shape does not fit, or `num_threads` is less
            than 1.
        RuntimeError
            If the parameters have changed since `forward`.
        """
        check_tape(tape, SequentialTape, self)
        threads = thread_limits.resolve(num_threads)
        dfinals = self._initial("dstate", dstate)
        dinitials: list[Any] = []
        sums: Gradients = {}
        aliases = self._aliases(tape.snapshot)
        dvalue: Any = dy
        for position in reversed(range(len(self.layers))):
            layer, own = self.layers[position], tape.tapes[position]
            dinitial = None
            if isinstance(layer, Stateful):
                dvalue, dinitial, found = layer.backward(
                    own, dvalue, dfinals[position], num_threads=threads
                )
            else:
                if dvalue is None:
                    raise ValueError(
                        f"dy should be an array: layers[{position}] has no state, got None"
                    )
                dvalue, found = layer.backward(own, dvalue, num_threads=threads)
            dinitials.insert(0, dinitial)
            for name, gradient in found.items():
                first = aliases.get(f"{position}.{name}", f"{position}.{name}")
                sums[first] = sums[first] + gradient if first in sums else gradient
        names = self._named_arrays(tape.snapshot)
        ordered = {name: sums[name] for name in names if name in sums}
        return dvalue, tuple(dinitials), ordered

    def _check_resets(self, resets: ArrayLike | None) -> None:
        reason = None if resets is None else self._reason_against_resets()
        if reason is not None:
            raise ValueError(reason)

    def _initial(self, name: str, state: Any, *, is_call: bool = False) -> States:
        if state is None:
            return (None,) * len(self.layers)
        if isinstance(state, np.ndarray) or not isinstance(state, tuple | list):
            kind = type(state).__name__
            raise TypeError(
                f"{name} should be a tuple with one entry for each layer, got {kind}"
            )
        if len(state) != len(self.layers):
            raise ValueError(
                f"{name} should have {len(self.layers)} entries, one for each layer, "
                f"got {len(state)}"
            )
        for position, (layer, part) in enumerate(zip(self.layers, state, strict=True)):
            keeps = isinstance(layer, Streaming) and not isinstance(layer, Stateful)
            if is_call and keeps and part is not None:
                raise ValueError(
                    f"{name}[{position}] should be None, since a call of "
                    f"{layer._description()} takes whole sequences, "
                    f"got {type(part).__name__}"
                )
        return tuple(state)

    def _description(self) -> str:
        layers = ", ".join(layer._description() for layer in self.layers)
        return f"Sequential({layers})"


def _check_fit(layers: tuple[Module, ...]) -> None:
    """Refuse a layer that takes something else than the one before it gives."""
    features: int | None = None
    giver = ender = ""
    for position, layer in enumerate(layers):
        taken, given = layer._features()
        name = f"layers[{position}], {layer._description()},"
        needs, ends = layer._time_axis()
        if ender and needs:
            raise ValueError(
                f"{name} should stand before {ender} which gives one vector for each "
                "sequence, got it after"
            )
        if ends:
            ender = name
        if features is not None and taken is not None and taken != features:
            raise ValueError(
                f"{name} should take the {features} features that {giver} gives, "
                f"got one that takes {taken or 'tokens'}"
            )
        if given is not None:
            features, giver = given, name
