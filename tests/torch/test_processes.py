"""Threads, forks, workers, and processes that train together."""

from __future__ import annotations

import subprocess
import sys
import threading
from typing import Any

import pytest

torch = pytest.importorskip("torch", reason="torch is not installed")

from torch import nn  # noqa: E402

import gatewise.torch  # noqa: E402
from gatewise.torch import function  # noqa: E402
from tests.new_process import run  # noqa: E402


def check(done: subprocess.CompletedProcess[str]) -> str:
    assert done.returncode == 0, done.stderr
    return done.stdout


def test_threads_are_pytorchs(monkeypatch: pytest.MonkeyPatch) -> None:
    seen = []
    run_call = function.run_call

    def watched(call: Any) -> Any:
        seen.append(call.plan.threads)
        return run_call(call)

    monkeypatch.setattr("gatewise.torch.modules.run_call", watched)
    for threads in (1, 2):
        torch.set_num_threads(threads)
        gatewise.torch.GRU(3, 4)(torch.ones(5, 2, 3))
    assert seen == [1, 2]


def test_many_threads_use_one_module() -> None:
    layer = gatewise.torch.LSTM(16, 32, num_layers=2)
    x = torch.randn(20, 3, 16)
    expected = layer(x)[0].detach()
    problems: list[Any] = []

    def use() -> None:
        try:
            for _ in range(10):
                y = layer(x)[0]
                torch.autograd.grad(y.sum(), layer.weight_ih_l0)
                torch.testing.assert_close(y, expected, rtol=0, atol=0)
        except BaseException as error:
            problems.append(error)

    threads = [threading.Thread(target=use) for _ in range(4)]
    for each in threads:
        each.start()
    for each in threads:
        each.join()
    assert not problems


FORK = """
import os, torch, gatewise.torch
torch.set_num_threads(2)
layer, x = gatewise.torch.GRU(64, 128), torch.randn(60, 16, 64)
with torch.no_grad():
    expected = layer(x)[0]
    child = os.fork()
    if not child:
        os._exit(0 if torch.equal(layer(x)[0], expected) else 1)
    assert torch.equal(layer(x)[0], expected)
print(os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]))
"""


@pytest.mark.skipif(sys.platform == "win32", reason="nothing forks there")
def test_a_fork_computes_the_same() -> None:
    assert check(run(FORK)) == "0\n"


WORKERS = """
import torch, gatewise.torch
from torch.utils.data import DataLoader, Dataset

layer = gatewise.torch.GRU(4, 8)

class Encoded(Dataset):
    def __len__(self):
        return 6
    def __getitem__(self, index):
        with torch.no_grad():
            return layer(torch.full((5, 4), index / 6.0))[0]

if __name__ == "__main__":
    layer(torch.ones(5, 2, 4))[0].sum().backward()
    data = Encoded()
    loader = DataLoader(data, batch_size=2, num_workers=2, multiprocessing_context="fork")
    for number, batch in enumerate(loader):
        y = layer(batch.transpose(0, 1)[..., :4])[0]
        assert torch.equal(batch[0], data[2 * number])
    print(number)
"""


@pytest.mark.skipif(sys.platform == "win32", reason="nothing forks there")
def test_workers_of_a_loader() -> None:
    assert check(run(WORKERS)) == "2\n"


TOGETHER = """
import copy, os, sys, torch, torch.distributed as dist, torch.multiprocessing as mp
import gatewise.torch
from torch.nn.parallel import DistributedDataParallel

def train(rank, path):
    torch.set_num_threads(1)
    dist.init_process_group("gloo", init_method="file://" + path, rank=rank, world_size=2)
    torch.manual_seed(0)
    theirs = torch.nn.LSTM(3, 4, num_layers=2)
    ours = copy.deepcopy(theirs)
    assert gatewise.torch.accelerate(ours) == 1
    found = []
    for layer in (theirs, ours):
        model = DistributedDataParallel(layer)
        optimizer = torch.optim.SGD(model.parameters(), 0.1)
        torch.manual_seed(rank)
        for _ in range(3):
            optimizer.zero_grad()
            model(torch.randn(5, 2, 3))[0].square().sum().backward()
            optimizer.step()
        found.append(torch.cat([each.detach().flatten() for each in layer.parameters()]))
    torch.testing.assert_close(*found)
    both = [torch.zeros_like(found[1]) for _ in range(2)]
    dist.all_gather(both, found[1])
    assert torch.equal(*both)
    dist.destroy_process_group()

path = os.path.join(sys.argv[1] if len(sys.argv) > 1 else os.environ["MEETING"], "file")
children = []
for rank in range(2):
    child = os.fork()
    if not child:
        try:
            train(rank, path)
        except BaseException:
            import traceback
            traceback.print_exc()
            os._exit(1)
        os._exit(0)
    children.append(child)
print([os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) for child in children])
"""


@pytest.mark.skipif(sys.platform == "win32", reason="nothing forks there")
@pytest.mark.skipif(not torch.distributed.is_available(), reason="built without")
def test_two_processes_train_together(tmp_path: Any) -> None:
    assert check(run(TOGETHER, MEETING=str(tmp_path))) == "[0, 0]\n"


def test_hogwild_sees_what_others_write() -> None:
    """Weights in shared memory change without any version being counted here."""
    layer = gatewise.torch.GRU(3, 4).share_memory()
    before = layer(torch.ones(5, 2, 3))[0]
    other = nn.GRU(3, 4)
    for name, parameter in layer.named_parameters():
        array = parameter.detach().numpy()
        array[...] = dict(other.named_parameters())[name].detach().numpy()
    after = layer(torch.ones(5, 2, 3))[0]
    torch.testing.assert_close(after, other(torch.ones(5, 2, 3))[0])
    assert not torch.equal(before, after)
