"""Long short-term memory."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, ClassVar, Literal, overload

import numpy as np
from numpy.typing import ArrayLike, DTypeLike, NDArray

from gatewise.direction import Weights
from gatewise.kernels import thread_limits
from gatewise.kernels.activations import Spelling
from gatewise.layers import inputs
from gatewise.layers.module import Gradients
from gatewise.layers.recurrent import Recurrent

Array = NDArray[Any]
Pair = tuple[Array, Array]


class LSTM(Recurrent):
    """Layers of long short-term memory over sequences.

    With the gates i, f and o, and g for the candidate, the cell state becomes
    ``c' = f * c + i * g`` and the output ``h' = o * tanh(c')``. The rows of each parameter
    stand in the order i f g o.

    Parameters
    ----------
    input_size
        Features of a step of the input, or, with `tokens`, the number of tokens.
    hidden_size
        Units of each layer.
    num_layers
        Layers, each reading the outputs of the one before.
    proj_size
        If not 0, a matrix ``weight_hr`` projects each output to this many features.
    peepholes
        Whether i and f also see c, and o sees c', each unit its own, weighted by
        ``weight_peephole`` (3, hidden_size), whose rows are those of i, f and o.
    forget_bias
        Where to start the sum of the forget gate's two biases; drawn like the others if
        None.
    recurrent_activation
        What the gates go through: a name, or a tuple of it and its numbers, of the notes'
        list. ``("hard_sigmoid", 0.2, 0.5)`` is what Keras had up to 2, the name alone what
        Keras 3 and PyTorch have.
    activation
        What g goes through, and c' on its way to h'; one of the same.
    bias
        Whether there are biases.
    dropout
        In training, the probability that an output of a layer is hidden from the next one.
    bidirectional
        Whether a second direction reads each sequence from its own end.
    recurrent_dropout
        In training, the probability that a unit of h is left out of all recurrent products
        (variational dropout). The units are drawn once a call, for its whole batch.
    zoneout, cell_zoneout
        In training, the probability that a unit of h, or of c, keeps its value for a step;
        at inference each keeps that share of it. With zoneout a layer runs step by step
        from Python, whose share of the time is the larger the fewer rows and units it has.
    variational
        Whether `dropout` hides the same outputs at all steps of a sequence.
    tokens
        Whether integers without the last axis are tokens, which stand for one-hot rows.
    learn_initial_state
        Whether `initial_state`, where sequences start that are given no state, is there
        from the beginning, as zeros, and has gradients.
    dtype
        ``"float32"`` or ``"float64"``; inputs are converted to it.
    seed
        Of the first parameters, and then of what dropout and zoneout draw.

    Raises
    ------
    TypeError
        If a size is no integer, a probability no number, `tokens`, `variational` or
        `learn_initial_state` no bool, `dtype` no dtype, or an activation neither a name nor
        a tuple of it and numbers.
    ValueError
        If an option is out of range, or none of those that there are.

    Notes
    -----
    The layer is that of [1]_, with the forget gate of [2]_, `peepholes` of [3]_ and the
    projection (`proj_size`) of [4]_. `bidirectional` is as in [5]_, `dropout` in [6]_,
    `variational` and `recurrent_dropout` in [7]_, zoneout in [8]_.

    Parameters start as PyTorch's do, uniform within ``1 / sqrt(hidden_size)``.

    Activations, with what their numbers are unless given:

    - ``"sigmoid"``, ``"tanh"``, ``"relu"``, ``"linear"``, ``"exponential"``;
      ``"softsign"``: ``z / (1 + |z|)``; ``"softplus"``: ``log(1 + exp(z))``
    - ``"hard_sigmoid"`` (slope 1/6, offset 0.5): ``slope * z + offset`` within 0 and 1
    - ``"elu"`` (alpha 1): z, below 0 ``alpha * (exp(z) - 1)``; ``"selu"``: ``1.0507...``
      times that, with an alpha of ``1.6733...``
    - ``"leaky_relu"`` (slope 0.01): z, below 0 ``slope * z``
    - ``"thresholded_relu"`` (threshold 1): z, up to the threshold 0
    - ``"scaled_tanh"`` (alpha 1, beta 1): ``alpha * tanh(beta * z)``
    - ``"affine"`` (slope 1, offset 0): ``slope * z + offset``

    `from_keras` takes the arrays of a layer of Keras, whose i f c o are i f g o here.

    References
    ----------
    .. [1] Hochreiter, S., and Schmidhuber, J. (1997). "Long Short-Term Memory". Neural
       Computation 9(8), 1735-1780.
    .. [2] Gers, F. A., Schmidhuber, J., and Cummins, F. (2000). "Learning to Forget:
       Continual Prediction with LSTM". Neural Computation 12(10), 2451-2471.
    .. [3] Gers, F. A., Schraudolph, N. N., and Schmidhuber, J. (2002). "Learning Precise
       Timing with LSTM Recurrent Networks". Journal of Machine Learning Research 3,
       115-143.
    .. [4] Sak, H., Senior, A., and Beaufays, F. (2014). "Long Short-Term Memory Based
       Recurrent Neural Network Architectures for Large Vocabulary Speech Recognition".
       arXiv:1402.1128.
    .. [5] Schuster, M., and Paliwal, K. K. (1997). "Bidirectional Recurrent Neural
       Networks". IEEE Transactions on Signal Processing 45(11), 2673-2681.
    .. [6] Srivastava, N., et al. (2014). "Dropout: A Simple Way to Prevent Neural Networks
       from Overfitting". Journal of Machine Learning Research 15, 1929-1958.
    .. [7] Gal, Y., and Ghahramani, Z. (2016). "A Theoretically Grounded Application of
       Dropout in Recurrent Neural Networks". NIPS 2016. arXiv:1512.05287.
    .. [8] Krueger, D., et al. (2017). "Zoneout: Regularizing RNNs by Randomly Preserving
       Hidden Activations". ICLR 2017. arXiv:1606.01305.

    Examples
    --------
    >>> import numpy as np, gatewise
    >>> layer = gatewise.LSTM(3, 4, seed=0)
    >>> x = np.ones((2, 5, 3), np.float32)
    >>> y, (h, c) = layer(x)
    >>> y.shape, h.shape, c.shape
    ((2, 5, 4), (1, 2, 4), (1, 2, 4))
    >>> y, state, cells = layer(x, return_cells=True)
    >>> bool((cells[0][:, -1] == c[0]).all())
    True
    >>> gatewise.LSTM(3, 4, recurrent_activation=("hard_sigmoid", 0.2, 0.5))
    LSTM(3, 4, recurrent_activation=('hard_sigmoid', 0.2)) with 144 parameters
    """

    _changeable: ClassVar[Mapping[str, Callable[[str, Any], Any]]] = {
        **Recurrent._changeable,
        "cell_zoneout": inputs.probability,
    }
    cell_zoneout: float

    def __init__(
        self,
        input_size: int,
        hidden_size: int,
        num_layers: int = 1,
        *,
        proj_size: int = 0,
        peepholes: bool = False,
        forget_bias: float | None = None,
        recurrent_activation: Spelling = "sigmoid",
        activation: Spelling = "tanh",
        bias: bool = True,
        dropout: float = 0.0,
        bidirectional: bool = False,
        recurrent_dropout: float = 0.0,
        zoneout: float = 0.0,
        cell_zoneout: float = 0.0,
        variational: bool = False,
        tokens: bool = False,
        learn_initial_state: bool = False,
        dtype: DTypeLike = "float32",
        seed: int | np.random.Generator | None = None,
    ) -> None:
        super().__init__(
            input_size,
            hidden_size,
            num_layers,
            bias=bias,
            dropout=dropout,
            bidirectional=bidirectional,
            recurrent_dropout=recurrent_dropout,
            zoneout=zoneout,
            variational=variational,
            tokens=tokens,
            learn_initial_state=learn_initial_state,
            dtype=dtype,
            seed=seed,
        )
        self.proj_size = inputs.size("proj_size", proj_size, minimum=0)
        if self.proj_size >= self.hidden_size:
            raise ValueError(
                f"proj_size should be below hidden_size {self.hidden_size}, got {proj_size}"
            )
        self.peepholes = self._has_peepholes = bool(peepholes)
        self.cell_zoneout = cell_zoneout
        self._choose_activations(recurrent_activation, activation)
        self._initialise()
        if forget_bias is not None:
            self._start_forget_gates(inputs.number("forget_bias", forget_bias))

    @property
    def output_size(self) -> int:
        """How many features one direction gives."""
        return self.proj_size or self.hidden_size

    def _start_forget_gates(self, forget_bias: float) -> None:
        if not self.bias:
            raise ValueError(
                f"forget_bias should be None without biases, got {forget_bias!r}"
            )
        values = self.state_dict()
        forget = slice(self.hidden_size, 2 * self.hidden_size)
        for name, value in values.items():
            if name.startswith("bias"):
                value[forget] = forget_bias if name.startswith("bias_ih") else 0
        self.set_parameters(values)

    @property
    def _cell(self) -> str:
        return "lstm"

    @property
    def _zoneout_rates(self) -> tuple[float, ...]:
        options = self._holder.options
        return options["zoneout"], options["cell_zoneout"]

    def _weights(self, arrays: Mapping[str, Array], suffix: str) -> Weights:
        weights = super()._weights(arrays, suffix)
        return weights._replace(
            w_hr=arrays.get("weight_hr" + suffix),
            peepholes=arrays.get("weight_peephole" + suffix),
        )

    def _named(self, gradients: Weights) -> Gradients:
        named = super()._named(gradients)
        if gradients.w_hr is not None:
            named["weight_hr"] = gradients.w_hr
        if gradients.peepholes is not None:
            named["weight_peephole"] = gradients.peepholes
        return named

    @overload
    def __call__(
        self,
        x: ArrayLike,
        state: Any = ...,
        *,
        lengths: ArrayLike | None = ...,
        resets: ArrayLike | None = ...,
        num_threads: int | None = ...,
        return_cells: Literal[False] = ...,
    ) -> tuple[Array, Pair]: ...

    @overload
    def __call__(
        self,
        x: ArrayLike,
        state: Any = ...,
        *,
        lengths: ArrayLike | None = ...,
        resets: ArrayLike | None = ...,
        num_threads: int | None = ...,
        return_cells: Literal[True],
    ) -> tuple[Array, Pair, Array]: ...

    def __call__(
        self,
        x: ArrayLike,
        state: Any = None,
        *,
        lengths: ArrayLike | None = None,
        resets: ArrayLike | None = None,
        num_threads: int | None = None,
        return_cells: bool = False,
    ) -> Any:
        """Return the outputs for the sequences `x`, the final state and, on request, all c.

        Parameters
        ----------
        x
            ``(batch, time, input_size)``, or one sequence ``(time, input_size)``. For a
            layer made with ``tokens=True``, integers ``(batch, time)`` or ``(time,)`` are
            tokens from 0 to ``input_size - 1``. A transposed view of time-first data is not
            copied.
        state
            The initial state ``(h, c)``, of the shapes of the final one. If it is None, or
            one of the pair, every sequence starts from `initial_state` or, where there is
            none, from zeros.
        lengths
            How many steps of each sequence exist; integers from 0 to time, in any order.
            What stands in `x` past a length is never read. All steps exist if None.
        resets
            Which steps begin something new, an episode say: booleans ``(batch, time)``, or
            ``(time,)`` without a batch axis. Where it is true, the step starts from
            `initial_state`, or from zeros, in place of what the steps before it left, or of
            `state`. For a second direction, which comes from the other end, the steps
            before that one start so, where they would go on from it. What stands past a
            length is never read. None is for no such step.
        num_threads
            How many threads this call may use; as `gatewise.set_num_threads` says if None.
        return_cells
            Whether to return the cell state of every step as well.

        Returns
        -------
        y
            ``(batch, time, D * P)``, the last layer's outputs, with zeros past each length.
            D is 2 for two directions, else 1; P is the size of one direction's output.
        state
            The state ``(h, c)`` at each sequence's length: ``(num_layers * D, batch, P)``
            and ``(num_layers * D, batch, hidden_size)``. Without a batch axis in `x` there
            is none here either.
        cells
            If asked for, c after every step: ``(num_layers * D, batch, time,
            hidden_size)``, in the order of the state, with zeros past each length.

        Raises
        ------
        TypeError
            If `x` or `state` holds no real numbers, `lengths` no integers, `resets` no
            booleans, or `num_threads` is no integer.
        ValueError
            If a shape does not fit, a token or a length is out of range, or `num_threads`
            is less than 1.
        """
        threads = thread_limits.resolve(num_threads)
        batch = self._batch(x, lengths, resets)
        y, state, cells = self._infer(
            self._snapshot(), batch, state, threads, wants_cells=return_cells
        )
        return (y, state, batch.restore_cells(cells)) if return_cells else (y, state)

    def _own_options(self) -> dict[str, tuple[Any, Any]]:
        return {
            "proj_size": (self.proj_size, 0),
            "peepholes": (self.peepholes, False),
            "recurrent_activation": (self.recurrent_activation, "sigmoid"),
            "activation": (self.activation, "tanh"),
            "cell_zoneout": (self.cell_zoneout, 0.0),
        }
