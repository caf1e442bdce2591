"""The gated recurrent unit."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import DTypeLike, NDArray

from gatewise.direction import Weights
from gatewise.kernels.activations import Spelling
from gatewise.layers.keras_arrays import KerasWeights
from gatewise.layers.module import Gradients
from gatewise.layers.recurrent import Recurrent

Array = NDArray[Any]


class GRU(Recurrent):
    """Layers of gated recurrent units over sequences.

    With the gates r and z, a unit's state becomes ``(1 - z) * n + z * h``, where n is
    ``tanh(W_in x + b_in + r * (W_hn h + b_hn))``. The rows of each parameter stand in the
    order r z n.

    Parameters
    ----------
    input_size
        Features of a step of the input, or, with `tokens`, the number of tokens.
    hidden_size
        Units of each layer.
    num_layers
        Layers, each reading the outputs of the one before.
    reset_after
        False for the original form, ``n = tanh(W_in x + b_in + W_hn (r * h) + b_hn)``.
    recurrent_activation
        What the gates go through: a name, or a tuple of it and its numbers, of those that
        `LSTM` lists. ``("hard_sigmoid", 0.2, 0.5)`` is what Keras had up to 2, the name
        alone what Keras 3 and PyTorch have.
    activation
        What n goes through; one of the same.
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
        If an option is out of range, or none of those that there are.

    Notes
    -----
    The layer is that of [1]_: as it was published where `reset_after` is False, and else in
    the form of its first version on arXiv, which is that of cuDNN and PyTorch.
    `bidirectional` is as in [2]_, `dropout` in [3]_, `variational` and `recurrent_dropout`
    in [4]_, `zoneout` in [5]_.

    Parameters start as PyTorch's do, uniform within ``1 / sqrt(hidden_size)``.

    `from_keras` takes the arrays of a layer of Keras, whose blocks are z r n and whose
    biases are one row with ``reset_after=False``, which becomes ``bias_ih_l0``.

    References
    ----------
    .. [1] Cho, K., et al. (2014). "Learning Phrase Representations using RNN
       Encoder-Decoder for Statistical Machine Translation". EMNLP 2014. arXiv:1406.1078.
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
    >>> layer = gatewise.GRU(3, 4, num_layers=2, bidirectional=True, seed=0)
    >>> y, h = layer(np.ones((2, 5, 3), np.float32))
    >>> y.shape, h.shape
    ((2, 5, 8), (4, 2, 4))
    >>> gatewise.GRU(3, 4, recurrent_activation="hard_sigmoid", activation="relu")
    GRU(3, 4, recurrent_activation='hard_sigmoid', activation='relu') with 108 parameters
    """

    def __init__(
        self,
        input_size: int,
        hidden_size: int,
        num_layers: int = 1,
        *,
        reset_after: bool = True,
        recurrent_activation: Spelling = "sigmoid",
        activation: Spelling = "tanh",
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
        self.reset_after = bool(reset_after)
        self._choose_activations(recurrent_activation, activation)
        self._initialise()

    @property
    def _cell(self) -> str:
        return "gru" if self.reset_after else "gru_reset_before"

    def _weights(self, arrays: Mapping[str, Array], suffix: str) -> Weights:
        weights = super()._weights(arrays, suffix)
        if not self.reset_after:
            return weights
        # The reset gate acts on the hidden bias of n, which so stays apart.
        bias_hn = np.zeros(self.hidden_size, self._dtype)
        if self.bias:
            n = slice(2 * self.hidden_size, None)
            bias_hn[...] = arrays["bias_hh" + suffix][n]
            weights.bias[n] = arrays["bias_ih" + suffix][n]
        return weights._replace(bias_hn=bias_hn)

    def _named(self, gradients: Weights) -> Gradients:
        named = super()._named(gradients)
        if self.bias and gradients.bias_hn is not None:
            named["bias_hh"][2 * self.hidden_size :] = gradients.bias_hn
        return named

    @classmethod
    def _keras_options(
        cls, weights: KerasWeights, options: Mapping[str, Any]
    ) -> dict[str, Any]:
        given = options.get("reset_after")
        if weights.bias is None:
            if given is None:
                raise ValueError(
                    "reset_after should be given where there is no bias whose shape says "
                    "it, got None"
                )
            return {}
        said = weights.bias.ndim == 2 or weights.is_cudnn
        if given is not None and bool(given) != said:
            raise ValueError(
                f"reset_after should be {said}, as bias has shape {weights.bias.shape}, "
                f"got {given!r}"
            )
        return {"reset_after": said}

    def _own_options(self) -> dict[str, tuple[Any, Any]]:
        return {
            "reset_after": (self.reset_after, True),
            "recurrent_activation": (self.recurrent_activation, "sigmoid"),
            "activation": (self.activation, "tanh"),
        }
