"""Makes the makers of small datasets importable."""

import importlib.util
from pathlib import Path

import pytest


@pytest.fixture
def people():
    spec = importlib.util.spec_from_file_location("people", Path(__file__).parent / "people.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module
