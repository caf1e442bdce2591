"""What all tests share: running a test on both backends, and hypothesis' settings."""

from __future__ import annotations

import os
from collections.abc import Iterator

import pytest
from hypothesis import HealthCheck, settings

from gatewise import _backend

# The fixture `backend` holds nothing that one example could leave behind for the next.
settings.register_profile(
    "gatewise", deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
settings.load_profile("gatewise")


@pytest.fixture(params=["numpy", "native"])
def backend(request: pytest.FixtureRequest) -> Iterator[str]:
    """Run the test on this backend, whose name it is.

    Without a compiled module the native half is skipped, unless GATEWISE_REQUIRE_NATIVE=1
    says that there must be one.
    """
    wanted: str = request.param
    try:
        with _backend.use(wanted):
            yield wanted
    except ImportError as error:
        if os.environ.get("GATEWISE_REQUIRE_NATIVE") == "1":
            pytest.fail(f"GATEWISE_REQUIRE_NATIVE=1, but {error}")
        pytest.skip(str(error))
