"""Convolutions whose results are compared with PyTorch's, stored or computed anew."""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np

import gatewise

Array = np.ndarray[Any, Any]
FIGURES = "convolution_figures.npz"


class Case(NamedTuple):
    """The arguments of a layer, and the batch and the steps of its input."""

    channels: tuple[int, int]
    kernel_size: int
    options: dict[str, Any]
    batch: int | None
    time: int

    @property
    def name(self) -> str:
        """What the figures are stored under."""
        words = [f"{name}={value}" for name, value in self.options.items()]
        sizes = (*self.channels, self.kernel_size, self.batch, self.time)
        return " ".join([*map(str, sizes), *words])

    def draw(self) -> dict[str, Array]:
        """Return the input, the parameters, and the gradient of the output as a factor."""
        random = np.random.default_rng(self.time)
        features, outputs = self.channels
        shape = (self.time, features)
        arrays = {
            "x": random.standard_normal(
                shape if self.batch is None else (self.batch, *shape)
            ),
            "weight": random.standard_normal((outputs, features, self.kernel_size)),
        }
        if self.options.get("bias", True):
            arrays["bias"] = random.standard_normal(outputs)
        return arrays

    def layer(self, dtype: str) -> gatewise.Conv1d:
        """Return a layer with these parameters."""
        layer = gatewise.Conv1d(
            *self.channels, self.kernel_size, **self.options, dtype=dtype
        )
        arrays = self.draw()
        layer.load_state_dict({name: arrays[name] for name in layer.parameters()})
        return layer


CASES = [
    Case((3, 4), 1, {}, 2, 5),
    Case((3, 4), 3, {}, 2, 7),
    Case((1, 6), 8, {"stride": 4}, 3, 21),
    Case((5, 3), 3, {"padding": 1}, 2, 4),
    Case((5, 3), 3, {"padding": 1, "stride": 2}, 2, 4),
    Case((5, 3), 3, {"padding": 1, "stride": 2, "bias": False}, 4, 1),
    Case((2, 3), 4, {"padding": "same"}, 2, 9),
    Case((2, 3), 4, {"padding": "same", "dilation": 3}, 2, 5),
    Case((2, 19), 5, {"padding": 7, "dilation": 2, "stride": 3}, 2, 11),
    Case((4, 70), 2, {"dilation": 4}, None, 12),
]


def torch_results(case: Case) -> dict[str, Array]:
    """Return PyTorch's output, and the gradients of half the sum of its squares."""
    import torch

    arrays = {name: torch.tensor(array) for name, array in case.draw().items()}
    x = arrays.pop("x").requires_grad_()
    layer = torch.nn.Conv1d(
        *case.channels, case.kernel_size, **case.options, dtype=torch.float64
    )
    layer.load_state_dict(arrays)
    y = layer(x.transpose(-1, -2)).transpose(-1, -2)
    (y.square().sum() / 2).backward()
    results = {"y": y, "dx": x.grad}
    results |= {name: value.grad for name, value in layer.named_parameters()}
    return {name: value.detach().numpy() for name, value in results.items()}
