"""Trials in a child process: outcomes in order, whatever the child does, and a new child behind one that ended."""

from __future__ import annotations

import os

from tests.plugin.trials import tried
from tinyllava_kit.plugin.child_process import Outcome, run_trials


def test_outcomes_come_in_order_and_one_child_serves_all() -> None:
    outcomes = list(run_trials(tried, [("good",), ("is wrong",), ("good",)], limit_s=120))
    assert [each.error for each in outcomes] == ["", "is wrong", ""]
    assert [each.fix for each in outcomes] == ["mend good", "mend is wrong", "mend good"]
    assert not any(each.died for each in outcomes)
    children = {each.facts["pid"] for each in outcomes}
    assert len(children) == 1
    assert str(os.getpid()) not in children


def test_a_child_that_ends_is_an_outcome_and_another_takes_over() -> None:
    outcomes = list(run_trials(tried, [("exit",), ("abort",), ("heavy",), ("good",)], limit_s=120))
    assert [each.error for each in outcomes[:2]] == [
        "ends the Python process (exit code 7)",
        "ends the Python process (signal SIGABRT)",
    ]
    assert [each.died for each in outcomes] == [True, True, False, False]
    assert outcomes[2].heavy == ("numpy",)
    assert outcomes[2].facts["pid"] != outcomes[3].facts["pid"]  # what is imported would hide the next import


def test_one_that_does_not_return_in_time_is_ended() -> None:
    (outcome,) = run_trials(tried, [("hang",)], limit_s=0.5)
    assert outcome == Outcome(error="did not return within 0.5 s", died=True)


def test_nothing_to_try_starts_nothing() -> None:
    assert list(run_trials(tried, [], limit_s=1)) == []
