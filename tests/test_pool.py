"""Work on all cores: in order, and by this process alone where another would not be worth its start."""

import os

import pytest

from dermaline.pool import mapped


def process_of(task: int) -> tuple[int, int]:
    return task, os.getpid()


@pytest.mark.parametrize(("tasks", "chunk", "workers", "alone"), [(5, 1, 2, False), (5, 4, 2, False), (4, 4, 2, True)])
def test_all_is_done_in_order_and_what_one_process_would_do_alone_by_this_one(tasks, chunk, workers, alone):
    found = list(mapped(process_of, range(tasks), chunk, workers))
    assert [task for task, _ in found] == list(range(tasks))
    assert (os.getpid() in {process for _, process in found}) == alone


def test_one_worker_is_this_process():
    assert {process for _, process in mapped(process_of, range(5), workers=1)} == {os.getpid()}


@pytest.mark.parametrize("tasks", [1, 3])
def test_what_a_task_raises_is_raised_here(tasks):
    with pytest.raises(ValueError, match="chr"):
        list(mapped(chr, [-1] * tasks))
