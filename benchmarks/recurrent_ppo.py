"""Time how sb3-contrib's RecurrentPPO runs its LSTM over episodes, and one call instead.

Its policy goes through a batch step by step in Python, since an episode may end anywhere
and the state then starts from zeros. With `resets` that is one call. It prints how far
outputs and gradients of both are apart on random episode starts, then the times.

    pip install sb3-contrib
    python benchmarks/recurrent_ppo.py [--threads 1] [--rounds 15] [--learn 2048]
"""

from __future__ import annotations

import argparse
import copy
import statistics
import time
from collections.abc import Callable
from typing import Any

import torch
from sb3_contrib.common.recurrent.policies import RecurrentActorCriticPolicy
from torch import Tensor, nn

import gatewise.torch

State = tuple[Tensor, Tensor]
Process = Callable[[Tensor, State, Tensor, nn.LSTM], tuple[Tensor, State]]

BY_STEPS: Process = RecurrentActorCriticPolicy._process_sequence


def at_once(
    features: Tensor, state: State, episode_starts: Tensor, lstm: Any
) -> tuple[Tensor, State]:
    """What RecurrentActorCriticPolicy._process_sequence does, in one call."""
    sequences = state[0].shape[1]
    x = features.reshape(sequences, -1, lstm.input_size).swapaxes(0, 1)
    resets = episode_starts.reshape(sequences, -1).swapaxes(0, 1).bool()
    y, state = lstm(x, state, resets=resets)
    return y.transpose(0, 1).flatten(0, 1), state


def pair(features: int, hidden: int, layers: int = 1) -> tuple[nn.LSTM, nn.LSTM]:
    theirs = nn.LSTM(features, hidden, num_layers=layers)
    ours = copy.deepcopy(theirs)
    gatewise.torch.accelerate(ours)
    return theirs, ours


def difference(seed: int) -> float:
    """The largest one of outputs and gradients, relative to the largest number."""
    generator = torch.manual_seed(seed)

    def upto(most: int) -> int:
        return int(torch.randint(1, most, (), generator=generator))

    features, hidden, sequences, steps, layers = map(upto, (20, 64, 9, 60, 3))
    x, by = (torch.randn(sequences * steps, n) for n in (features, hidden))
    state = [torch.randn(layers, sequences, hidden) for _ in range(2)]
    starts = (torch.rand(sequences * steps) < 0.1).float()
    found = []
    both = zip(pair(features, hidden, layers), (BY_STEPS, at_once), strict=True)
    for lstm, process in both:
        own = [each.clone().requires_grad_() for each in (x, *state)]
        y, final = process(own[0], (own[1], own[2]), starts, lstm)
        ((y * by).sum() + final[0].sum() + final[1].sum()).backward()
        grads = [each.grad for each in (*own, *lstm.parameters())]
        found.append([each.detach() for each in (y, *final, *grads) if each is not None])
    return max(
        float((their - our).abs().max() / (1 + their.abs().max()))
        for their, our in zip(*found, strict=True)
    )


def milliseconds(sequences: int, steps: int, hidden: int, rounds: int) -> list[float]:
    """Medians of a way there and back, by steps and at once."""
    x = torch.randn(sequences * steps, 64)
    starts = (torch.rand(len(x)) < 0.02).float()
    starts[0] = 1
    state = (torch.zeros(1, sequences, hidden), torch.zeros(1, sequences, hidden))
    ways = list(zip(pair(64, hidden), (BY_STEPS, at_once), strict=True))
    times: list[list[float]] = [[], []]
    for _ in range(rounds + 1):
        for (lstm, process), found in zip(ways, times, strict=True):
            begin = time.perf_counter()
            process(x, state, starts, lstm)[0].square().sum().backward()
            found.append(time.perf_counter() - begin)
    return [statistics.median(found[1:]) * 1e3 for found in times]


def learn(process: Process, steps: int) -> tuple[float, Tensor]:
    """Seconds of a short training of a whole agent, and its parameters after it."""
    from sb3_contrib import RecurrentPPO

    RecurrentActorCriticPolicy._process_sequence = staticmethod(process)
    agent = RecurrentPPO(
        "MlpLstmPolicy", "CartPole-v1", n_steps=256, n_epochs=4, seed=0, device="cpu"
    )
    if process is at_once:
        gatewise.torch.accelerate(agent.policy)
    begin = time.perf_counter()
    agent.learn(steps)
    seconds = time.perf_counter() - begin
    return seconds, nn.utils.parameters_to_vector(agent.policy.parameters()).detach()


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--rounds", type=int, default=15)
    parser.add_argument("--learn", type=int, default=2048, help="steps of an agent")
    arguments = parser.parse_args()
    torch.set_num_threads(arguments.threads)
    worst = max(map(difference, range(50)))
    print(f"largest difference in 50 random batches: {worst:.1e}")
    for sequences, steps, hidden in [(1, 128, 64), (8, 128, 64), (8, 128, 256)]:
        loop, call = milliseconds(sequences, steps, hidden, arguments.rounds)
        print(
            f"{sequences} sequences of {steps} steps, {hidden} units: "
            f"by steps {loop:.2f} ms, at once {call:.2f} ms, {loop / call:.1f} times"
        )
    (slow, theirs), (fast, ours) = (learn(p, arguments.learn) for p in (BY_STEPS, at_once))
    print(
        f"an agent's {arguments.learn} steps: {slow:.1f} s and {fast:.1f} s, "
        f"parameters apart by {float((theirs - ours).abs().max()):.1e}"
    )


if __name__ == "__main__":
    main()
