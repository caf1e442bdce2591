"""Write models that PyTorch exports, and what they compute, to ``torch_onnx.npz``.

Run it as ``python tests/data/make_torch_onnx.py`` where torch, onnx and onnxscript are
installed. Each model is there as the bytes of its file, with an input, the names of its
recurrent nodes, and what the recurrent layers give for the input.
"""

from __future__ import annotations

import io
import sys
import tempfile
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import torch

HERE = Path(__file__).parent
OPERATORS = ("RNN", "LSTM", "GRU")


class Net(torch.nn.Module):
    """Two recurrent layers, with a state to start from if `learnt`, and a head."""

    def __init__(self, kind: Any, bidirectional: bool, learnt: bool) -> None:
        super().__init__()
        self.layers = kind(3, 4, 2, batch_first=True, bidirectional=bidirectional)
        ways = 2 if bidirectional else 1
        self.head = torch.nn.Linear(4 * ways, 2)
        self.start = torch.nn.Parameter(torch.randn(2 * ways, 1, 4)) if learnt else None

    def recurrent(self, x: Any) -> Any:
        state = None
        if self.start is not None:
            state = self.start.expand(-1, x.shape[0], -1).contiguous()
            if isinstance(self.layers, torch.nn.LSTM):
                state = (state, state * 0.5)
        return self.layers(x, state)[0]

    def forward(self, x: Any) -> Any:
        return self.head(self.recurrent(x))


MODELS = {
    "lstm": (torch.nn.LSTM, True, False, False),
    "lstm_learnt": (torch.nn.LSTM, False, True, False),
    "gru": (torch.nn.GRU, True, True, False),
    "rnn": (torch.nn.RNN, False, False, False),
    "lstm_dynamo": (torch.nn.LSTM, True, True, True),
    "gru_dynamo": (torch.nn.GRU, False, False, True),
}


def export(model: Any, x: Any, *, dynamo: bool) -> bytes:
    batch, time = torch.export.Dim("batch"), torch.export.Dim("time")
    with tempfile.TemporaryDirectory() as directory:
        path = Path(directory, "model.onnx")
        if dynamo:
            axes = ({0: batch, 1: time},)
            program = torch.onnx.export(
                model, (x,), dynamo=True, dynamic_shapes=axes, verbose=False
            )
            # In one file.
            program.save(path, external_data=False)
        else:
            file = io.BytesIO()
            torch.onnx.export(
                model,
                (x,),
                file,
                dynamo=False,
                input_names=["x"],
                dynamic_axes={"x": {0: "batch", 1: "time"}},
            )
            path.write_bytes(file.getvalue())
        found = onnx.load(path)
    # Where the exporter stands on this machine is nobody's business.
    for node in found.graph.node:
        node.doc_string = ""
        del node.metadata_props[:]
    del found.metadata_props[:]
    del found.functions[:]
    return found.SerializeToString()


def main() -> None:
    torch.manual_seed(0)
    figures: dict[str, Any] = {}
    for name, (kind, bidirectional, learnt, dynamo) in MODELS.items():
        model = Net(kind, bidirectional, learnt).eval()
        x = torch.randn(2, 5, 3)
        content = export(model, x, dynamo=dynamo)
        nodes = onnx.load_from_string(content).graph.node
        figures[f"{name}.file"] = np.frombuffer(content, np.uint8)
        figures[f"{name}.x"] = x.numpy()
        figures[f"{name}.y"] = model.recurrent(x).detach().numpy()
        figures[f"{name}.nodes"] = np.array(
            [node.name for node in nodes if node.op_type in OPERATORS]
        )
        print(name, len(content), "bytes", figures[f"{name}.nodes"], file=sys.stderr)
    path = HERE / "torch_onnx.npz"
    np.savez_compressed(path, **figures)
    print(f"{path.name}: {path.stat().st_size} bytes")


if __name__ == "__main__":
    main()
