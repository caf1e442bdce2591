"""What every layer has: named parameters, and one way of changing them.

The parameters that a layer hands out are read-only, and change through the layer alone,
all in one step. So nothing that a layer prepares from its weights can be out of date, and
a call computes with the parameters of one moment.
"""

from __future__ import annotations

import copy
from collections.abc import Callable, Iterator, Mapping
from typing import TYPE_CHECKING, Any, ClassVar, NamedTuple, Self

import numpy as np
from numpy.typing import ArrayLike, DTypeLike, NDArray

from gatewise import _checks
from gatewise.kernels import thread_limits
from gatewise.layers import inputs, parameters
from gatewise.layers.parameters import Draw, Holder, Snapshot

Array = NDArray[Any]
Gradients = dict[str, Array]

# In place of an argument's default: see `Module._arguments_and_defaults`.
SHOWN = object()


class IncompatibleKeys(NamedTuple):
    """What `Module.load_state_dict` did not use, by names, as PyTorch has it."""

    missing_keys: list[str]
    unexpected_keys: list[str]


class Module:
    """The base of all layers.

    ``copy.copy`` and ``copy.deepcopy`` both make an independent layer. What decides about
    the shape or the formula of a layer is fixed once it is made.

    Raises
    ------
    TypeError
        If `dtype` is no dtype.
    ValueError
        If `dtype` is another than float32 and float64.
    """

    # The attributes that may change, each with the check of its values.
    _changeable: ClassVar[Mapping[str, Callable[[str, Any], Any]]] = {}

    # Whether the output has the dtype of the input, whatever that is.
    _keeps_dtype = False

    def __init__(self, dtype: DTypeLike = "float32") -> None:
        thread_limits.register()
        self._dtype = inputs.floating_dtype(dtype)
        self._holder = Holder({}, {})

    @property
    def dtype(self) -> np.dtype[Any]:
        """The dtype of the parameters and the outputs."""
        return self._dtype

    def parameters(self) -> dict[str, Array]:
        """Return the parameters of this moment by name, as read-only arrays.

        To change parameters, give new values to `set_parameters`. Arrays from before a
        change keep the old values.
        """
        arrays = self._named_arrays(self._snapshot()).items()
        return {name: array.view() for name, array in arrays}

    @property
    def parameter_count(self) -> int:
        """How many numbers the parameters are."""
        return sum(array.size for array in self._named_arrays(self._snapshot()).values())

    def set_parameters(self, values: Mapping[str, ArrayLike]) -> None:
        """Overwrite the named parameters; those not named stay as they are.

        All values are written in one step or, where one does not fit, none. Calls that run
        meanwhile in other threads have the old parameters.

        Parameters
        ----------
        values
            Arrays by parameter name, converted to the layer's dtype.

        Raises
        ------
        ValueError
            If a name is unknown, or an array has another shape than the parameter.
        TypeError
            If a value holds no real numbers.

        Examples
        --------
        >>> import gatewise
        >>> layer = gatewise.Linear(2, 1, seed=0)
        >>> layer.set_parameters({"weight": [[1, 2]], "bias": [3]})
        >>> layer([[10, 20]])
        array([[53.]], dtype=float32)
        """
        snapshot = self._snapshot()
        fitting = self._fitting("values", values, snapshot, missing=True, unexpected=False)
        self._write(fitting, snapshot)

    def state_dict(self) -> dict[str, Array]:
        """Return copies of the parameters by name, all of one moment."""
        arrays = self._named_arrays(self._snapshot()).items()
        return {name: array.copy() for name, array in arrays}

    def load_state_dict(
        self, state_dict: Mapping[str, ArrayLike], strict: bool = True, *, prefix: str = ""
    ) -> IncompatibleKeys:
        """Take over the parameters of `state_dict`, which has PyTorch's names and shapes.

        Nothing is changed when something does not fit.

        Parameters
        ----------
        state_dict
            Arrays by parameter name. PyTorch's tensors and parameters will do, bfloat16
            too.
        strict
            Whether a missing or an unexpected name is an error. A wrong shape always is
            one, and so is a `state_dict` of which no name fits.
        prefix
            Only names that begin so are looked at, and known by what follows, as in
            ``prefix="encoder.lstm."``.

        Returns
        -------
        IncompatibleKeys
            A pair of lists, ``missing_keys`` and ``unexpected_keys``; both are empty if
            `strict`.

        Raises
        ------
        ValueError
            If a name or a shape does not fit; the message lists all that do not.
        TypeError
            If a value holds no real numbers.

        Examples
        --------
        >>> import gatewise
        >>> layer = gatewise.Linear(2, 1)
        >>> layer.load_state_dict({"head.weight": [[1, 2]]}, strict=False, prefix="head.")
        IncompatibleKeys(missing_keys=['bias'], unexpected_keys=[])
        """
        if not isinstance(prefix, str):
            raise TypeError(f"prefix should be a string, got {type(prefix).__name__}")
        if prefix and isinstance(state_dict, Mapping):
            state_dict = {
                name.removeprefix(prefix): value
                for name, value in state_dict.items()
                if isinstance(name, str) and name.startswith(prefix)
            }
        snapshot = self._snapshot()
        values = self._fitting(
            "state_dict", state_dict, snapshot, missing=not strict, unexpected=not strict
        )
        own = self._named_arrays(snapshot)
        known = own.keys() | self._aliases(snapshot).keys()
        if own and not values:
            hint = _prefix_hint(own, state_dict)
            raise ValueError(
                f"state_dict should have parameters of this {type(self).__name__}, such as "
                f"{next(iter(own))}, got {_some(state_dict)}{hint}"
            )
        self._write(values, snapshot)
        return IncompatibleKeys(
            [name for name in own if name not in values],
            [str(name) for name in state_dict if name not in known],
        )

    def _fitting(
        self,
        argument: str,
        values: Mapping[str, ArrayLike],
        snapshot: Snapshot,
        *,
        missing: bool,
        unexpected: bool,
    ) -> dict[str, Array]:
        """The values that fit, as arrays; an error that lists all those that do not.

        `missing` and `unexpected` say whether such names are passed over.
        """
        if not isinstance(values, Mapping):
            raise TypeError(
                f"{argument} should map names to arrays, got {type(values).__name__}"
            )
        own = self._named_arrays(snapshot)
        problems = []
        lacking = [name for name in own if name not in values]
        if lacking and not missing:
            problems.append(f"missing {', '.join(lacking)}")
        places, aliases = self._places(snapshot), self._aliases(snapshot)
        unknown = [str(n) for n in values if n not in own and n not in aliases]
        if unknown and not unexpected:
            problems.append(f"unexpected {', '.join(unknown)}")
        fitting: dict[str, Array] = {}
        for name in values:
            parameter = own.get(aliases.get(name, name))
            if parameter is None:
                continue
            given = f"{argument}[{name!r}]"
            array = inputs.weight(given, values[name])
            problem = places[name][0]._problem(name, parameter, array)
            if f"{name}_scale" in values and f"{name}_scale" not in own:
                problem = f"{name} should have no scales; quantize the layer before"
            if problem:
                problems.append(problem)
                continue
            array = inputs.real(given, array, parameter.dtype)
            first = fitting.setdefault(aliases.get(name, name), array)
            if not np.array_equal(first, array, equal_nan=True):
                problems.append(f"{name} should be equal to {aliases.get(name, name)}")
        if problems:
            kind = type(self).__name__
            hint = _prefix_hint(own, values) if lacking else ""
            raise ValueError(
                f"{argument} should fit this {kind}: {'; '.join(problems)}{hint}"
            )
        return {name: fitting[name] for name in own if name in fitting}

    def _problem(self, name: str, parameter: Array, given: Array) -> str | None:
        """Why an array cannot take the place of a parameter, if it cannot."""
        if given.shape != parameter.shape:
            return f"{name} should have shape {parameter.shape}, got {given.shape}"
        return None

    def _leaves(self) -> Iterator[tuple[str, Module]]:
        """The layers that have no others inside, each with its name in this one."""
        yield "", self

    def _no_resets(self) -> str | None:
        """Why no step of this layer can start anew, if none can."""
        return None

    def _no_stream(self) -> str | None:
        """Why this layer cannot take one step after the other, if it cannot."""
        return None

    def _stream_input(self, array: Array) -> Array:
        """What a stream is given, as its first layer takes it."""
        return _checks.as_floating("x", array)

    def _stages(
        self, snapshot: Snapshot, state: Any, *, is_first: bool
    ) -> list[tuple[Any, ...]] | None:
        """What the kernels' ``stepper`` does for this layer; None if it cannot.

        `state` has the form of a call's; its arrays are to be written to. `is_first` says
        whether the layer gets the input itself.
        """
        return None

    def _steps_for_one(self) -> int:
        """How many steps of the input make one of the output."""
        return 1

    def _lengths_after(self, lengths: ArrayLike | None) -> ArrayLike | None:
        """How long the outputs are for sequences of these lengths, which were checked."""
        return lengths

    def _features(self) -> tuple[int | None, int | None]:
        """How many features the input and the output have: 0 for tokens, None for any."""
        return None, None

    def _places(self, snapshot: Snapshot) -> dict[str, tuple[Module, str]]:
        """Which layer holds each parameter, under which name, by all names that it has."""
        return {name: (self, name) for name in snapshot.arrays}

    def _aliases(self, snapshot: Snapshot) -> dict[str, str]:
        """The names of a parameter after its first, each with that first one."""
        firsts: dict[tuple[Module, str], str] = {}
        places = self._places(snapshot)
        all_names = {name: firsts.setdefault(place, name) for name, place in places.items()}
        return {name: first for name, first in all_names.items() if name != first}

    def _snapshot(self) -> Snapshot:
        """The parameters of this moment."""
        return self._holder.values.now()

    def _named_arrays(self, snapshot: Snapshot) -> dict[str, Array]:
        """The arrays of a snapshot by the names of `parameters`."""
        return snapshot.arrays

    def _write(self, values: Mapping[str, Array], snapshot: Snapshot) -> None:
        """Make these the values of parameters of a snapshot, whose dtypes they have."""
        places = self._places(snapshot)
        new: dict[Holder, dict[str, Array]] = {}
        for name, value in values.items():
            layer, own = places[name]
            new.setdefault(layer._holder, {})[own] = parameters.frozen(value, value.dtype)
        parameters.change(new.items())

    def _add_parameter(self, name: str, shape: tuple[int, ...], draw: Draw) -> None:
        """Have a parameter that starts from what `draw` returns for its shape."""
        value = parameters.first_values(shape, self._dtype, draw)
        self._holder.values.after.arrays[name] = value

    def _take_over(self, values: Mapping[str, Array]) -> None:
        """Make these very arrays the parameters, of a layer that nobody else has yet.

        Raises
        ------
        ValueError
            If one cannot take its place, after which the layer is of no use.
        """
        places = self._places(self._snapshot())
        for name, value in values.items():
            layer, own = places[name]
            problem = layer._problem(own, layer._holder.values.after.arrays[own], value)
            if problem:
                raise ValueError(f"{name}: {problem}")
            value.flags.writeable = False
            layer._holder.values.after.arrays[own] = value

    def _arguments(self) -> dict[str, Any]:
        """The constructor's arguments that make this layer again, as JSON has them.

        Those that only say what parameters start from are none of them, and neither is the
        format of narrow weights, which `quantize` takes.
        """
        return {
            name: list(value) if isinstance(value, tuple) else value
            for name, (value, _) in self._arguments_and_defaults().items()
        }

    def _arguments_and_defaults(self) -> dict[str, tuple[Any, Any]]:
        """The arguments, each with its default, or SHOWN.

        What is SHOWN stands in the repr whatever it is, and without its name.
        """
        raise NotImplementedError(f"a {type(self).__name__} does not say its arguments")

    def _dtype_and_default(self) -> dict[str, tuple[Any, Any]]:
        """What `_arguments_and_defaults` has last, of a layer that takes a dtype."""
        return {"dtype": (self._dtype.name, "float32")}

    def _sizes(self) -> str:
        """The arguments that tell this layer from others, for its repr."""
        return ", ".join(
            f"{value!r}" if default is SHOWN else f"{name}={value!r}"
            for name, (value, default) in self._arguments_and_defaults().items()
            if value != default
        )

    def _description(self) -> str:
        return f"{type(self).__name__}({self._sizes()})"

    def __repr__(self) -> str:
        return f"{self._description()} with {self.parameter_count} parameters"

    def __setattr__(self, name: str, value: object) -> None:
        if name in self._changeable:
            # Another dictionary, so that who keeps one can see that something has changed.
            checked = self._changeable[name](name, value)
            self._holder.options = {**self._holder.options, name: checked}
            return
        if name in self.__dict__ and not name.startswith("_"):
            kind = _checks.with_article(type(self))
            raise AttributeError(f"{name} is fixed once {kind} is made; make another one")
        super().__setattr__(name, value)

    if not TYPE_CHECKING:

        def __getattr__(self, name: str) -> Any:
            holder = self.__dict__.get("_holder")
            if holder is None or name not in holder.options:
                kind = type(self).__name__
                raise AttributeError(f"{kind!r} object has no attribute {name!r}")
            return holder.options[name]

    def __dir__(self) -> list[str]:
        return sorted({*super().__dir__(), *self._holder.options})

    def __copy__(self) -> Self:
        # A copy that shared its random generator would draw what the other one draws.
        return copy.deepcopy(self)

    def __getstate__(self) -> dict[str, Any]:
        state = dict(self.__dict__)
        holder = state.pop("_holder")
        return state | {"_arrays": holder.values.now().arrays, "_options": holder.options}

    def __setstate__(self, state: dict[str, Any]) -> None:
        own = dict(state)
        # Neither pickle nor deepcopy keeps arrays read-only, and loaders may lend memory.
        arrays = {n: parameters.frozen(a, a.dtype) for n, a in own.pop("_arrays").items()}
        options = own.pop("_options")
        self.__dict__.update(own)
        # The one that is there already, since streams look at it.
        holder = self.__dict__.setdefault("_holder", Holder({}, {}))
        holder.values, holder.options = parameters.settled(Snapshot(arrays)), options


def _some(names: Mapping[Any, Any]) -> str:
    """A few of a mapping's names."""
    shown = ", ".join(str(name) for name in list(names)[:3])
    return f"{shown}{', ...' if len(names) > 3 else ''}" if shown else "none"


def _prefix_hint(own: Mapping[str, Array], given: Mapping[Any, Any]) -> str:
    """What to say where all parameters are there, under names with a common beginning."""
    first = next(iter(own), None)
    for name in given:
        if first is None or not isinstance(name, str) or not name.endswith(f".{first}"):
            continue
        prefix = name.removesuffix(first)
        if all(prefix + each in given for each in own):
            return f"; prefix={prefix!r} would find all of them"
    return ""
