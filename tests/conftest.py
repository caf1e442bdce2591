"""What all tests share: running a test on both backends, and hypothesis' settings."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from types import ModuleType

import pytest
from hypothesis import HealthCheck, settings

from gatewise.kernels import chooser, products

# The fixture `backend` holds nothing that one example could leave behind for the next.
# Each run has the same examples, so that none fails by chance, but for those who explore.
for profile, derandomize in (("gatewise", True), ("explore", False)):
    settings.register_profile(
        profile,
        deadline=None,
        derandomize=derandomize,
        suppress_health_check=[HealthCheck.function_scoped_fixture],
    )
settings.load_profile("gatewise")


@contextmanager
def _using(wanted: str) -> Iterator[ModuleType]:
    """Run on this backend.

    Without a compiled module a test that needs it is skipped, unless
    GATEWISE_REQUIRE_NATIVE=1 says that there must be one.
    """
    with ExitStack() as stack:
        try:
            kernels = stack.enter_context(chooser.use(wanted))
        except ImportError as error:
            if os.environ.get("GATEWISE_REQUIRE_NATIVE") == "1":
                pytest.fail(f"GATEWISE_REQUIRE_NATIVE=1, but {error}")
            pytest.skip(str(error))
        yield kernels


@pytest.fixture(params=["numpy", "native"])
def backend(request: pytest.FixtureRequest) -> Iterator[str]:
    """Run the test on this backend, whose name it is."""
    with _using(request.param):
        yield request.param


@pytest.fixture
def native() -> Iterator[ModuleType]:
    """The compiled kernels, on which the test runs."""
    with _using("native") as kernels:
        yield kernels


@pytest.fixture
def both_backends() -> None:
    """Nothing but a reason not to run where one of them is missing."""
    with _using("native"):
        pass


@pytest.fixture
def own_products() -> Iterator[None]:
    """Multiply with the kernels' own products.

    BLAS promises neither the same bits nor that a handler runs in the midst of a product.
    """
    with products.use("own"):
        yield
