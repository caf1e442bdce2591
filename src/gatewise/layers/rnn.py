"""The vanilla recurrent layer."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import DTypeLike

from gatewise.kernels import activations
from gatewise.kernels.activations import STANDARD, TANH, Spelling
from gatewise.layers.recurrent import Recurrent


class RNN(Recurrent):
    """Layers of ``h' = tanh(W_ih x + b_ih + W_hh h + b_hh)`` over sequences.

    Parameters
    ----------
    input_size
        Features of a step of the input, or, with `tokens`, the number of tokens.
    hidden_size
        Units of each layer.
    num_layers
        Layers, each reading the outputs of the one before.
    nonlinearity, activation
        Two words for what stands in place of tanh, which is there if both are None: a
        name, or a tuple of it and its numbers, such as ``("leaky_relu", 0.2)``, of those
        that `LSTM` lists.
    bias
        Whether there are biases.
    dropout
        In training, the probability that an output of a layer is hidden from the next one.
    bidirectional
        Whether a second direction reads each sequence from its own end.
    merge
        What the outputs of two directions become: ``"concat"``, side by side, ``"sum"`` or
        ``"mean"``. That is of the last layer; between layers they stand side by side.
    recurrent_dropout
        In training, the probability that a unit of h is left out of all recurrent products
        (variational dropout). The units are drawn once a call, for its whole batch.
    zoneout
        In training, the probability that a unit keeps its state for a step; at inference
        each unit keeps that share of it. With zoneout a layer runs step by step
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
        If an option is out of range, or none of those that there are, or the two words for
        the activation say different things.

    Notes
    -----
    The recurrence is that of [1]_. `bidirectional` is as in [2]_, `dropout` in [3]_,
    `variational` and `recurrent_dropout` in [4]_, `zoneout` in [5]_.

    Parameters start as PyTorch's do, uniform within ``1 / sqrt(hidden_size)``.

    References
    ----------
    .. [1] Elman, J. L. (1990). "Finding Structure in Time". Cognitive Science 14(2),
       179-211.
    .. [2] Schuster, M., and Paliwal, K. K. (1997). "Bidirectional Recurrent Neural
       Networks". IEEE Transactions on Signal Processing 45(11), 2673-2681.
    .. [3] Srivastava, N., et al. (2014). "Dropout: A Simple Way to Prevent Neural Networks
       from Overfitting". Journal of Machine Learning Research 15, 1929-1958.
    .. [4] Gal, Y., and Ghahramani, Z. (2016). "A Theoretically Grounded Application of
       Dropout in Recurrent Neural Networks". NIPS 2016. arXiv:1512.05287.
    .. [5] Krueger, D., et al. (2017). "Zoneout: Regularizing RNNs by Randomly Preserving
       Hidden Activations". ICLR 2017. arXiv:1606.01305.

    Examples
    --------
    >>> import numpy as np, gatewise
    >>> layer = gatewise.RNN(3, 4, seed=0)
    >>> y, h = layer(np.ones((2, 5, 3), np.float32), lengths=[5, 2])
    >>> y.shape, h.shape
    ((2, 5, 4), (1, 2, 4))
    >>> layer
    RNN(3, 4) with 36 parameters
    >>> gatewise.RNN(3, 4, activation="softsign")
    RNN(3, 4, nonlinearity='softsign') with 36 parameters
    """

    def __init__(
        self,
        input_size: int,
        hidden_size: int,
        num_layers: int = 1,
        *,
        nonlinearity: Spelling | None = None,
        activation: Spelling | None = None,
        bias: bool = True,
        dropout: float = 0.0,
        bidirectional: bool = False,
        merge: str = "concat",
        recurrent_dropout: float = 0.0,
        zoneout: float = 0.0,
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
            merge=merge,
            recurrent_dropout=recurrent_dropout,
            zoneout=zoneout,
            variational=variational,
            tokens=tokens,
            learn_initial_state=learn_initial_state,
            dtype=dtype,
            seed=seed,
        )
        words = {"nonlinearity": nonlinearity, "activation": activation}
        given = [
            activations.activation(word, value)
            for word, value in words.items()
            if value is not None
        ]
        if len(set(given)) == 2:
            raise ValueError(
                "nonlinearity and activation should be the same where both are given, got "
                f"{nonlinearity!r} and {activation!r}"
            )
        candidate = given[0] if given else TANH
        self.nonlinearity = self.activation = activations.spelling(candidate)
        self._activations = STANDARD._replace(candidate=candidate)
        self._initialise()

    @property
    def _cell(self) -> str:
        return "rnn"

    def _own_options(self) -> dict[str, tuple[Any, Any]]:
        return {"nonlinearity": (self.nonlinearity, "tanh")}
