"""What threads share: the short form of ``tests/stress_threads.py``."""

from __future__ import annotations

import pytest

from tests.stress_threads import gil, kinds, share_a_layer, share_a_stream


@pytest.mark.parametrize("name", kinds())
def test_a_layer_is_for_all_threads(name: str, backend: str) -> None:
    assert share_a_layer(*kinds()[name], threads=4, calls=20) == 0


def test_a_stream_outlives_threads_that_share_it(backend: str) -> None:
    assert share_a_stream(threads=4, calls=60) == 0


def test_nothing_has_switched_the_gil_on(backend: str) -> None:
    assert gil() != "switched on"
