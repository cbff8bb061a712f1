"""For the whole suite."""

import os

import hypothesis
import pytest

import stages  # noqa: F401  before NumPy, which is to compute here as it does in the stages

os.environ.setdefault("OMP_NUM_THREADS", "1")  # tiny batches: a second thread only waits for the first
os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")  # and does so asleep, where a test wants two

hypothesis.settings.register_profile("any machine", deadline=None)  # a busy one takes its time
hypothesis.settings.load_profile("any machine")

LONG = ("test_pipeline.py",)  # minutes of real DVC: begun first, so that no core waits for it at the end


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    items.sort(key=lambda item: item.path.name not in LONG)
