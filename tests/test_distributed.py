"""What a process says and waits for, alone and among others."""

from __future__ import annotations

import pytest
import torch

from tinyllava_kit import distributed
from tinyllava_kit.distributed import any_rank, from_all, from_first, on_first, one_telling, rank, say, wait_for_all
from tinyllava_kit.errors import FusionError, KitError


@pytest.fixture
def joined():
    """A group of one process, with real collectives."""
    torch.distributed.init_process_group("gloo", store=torch.distributed.HashStore(), rank=0, world_size=1)
    yield
    torch.distributed.destroy_process_group()


def refuse():
    raise FusionError("it does not fit")


def check_alone():
    assert (rank(), distributed.world_size()) == (0, 1)
    wait_for_all()
    assert from_first({"a": 1}) == {"a": 1}
    assert from_all("a") == ["a"]
    assert any_rank(7, torch.device("cpu")) == 7
    assert on_first(lambda: 3) == 3
    with pytest.raises(FusionError, match="it does not fit"):
        on_first(refuse)


def test_a_process_alone_has_nobody_to_wait_for(monkeypatch):
    for name in ("RANK", "WORLD_SIZE"):
        monkeypatch.delenv(name, raising=False)
    distributed.join()  # starts nothing
    assert not torch.distributed.is_initialized()
    check_alone()


def test_a_group_of_one_is_the_same(joined):
    check_alone()


def test_a_launcher_says_who_this_is_before_the_group_is_there(monkeypatch, capsys):
    monkeypatch.setenv("RANK", "2")
    monkeypatch.setenv("WORLD_SIZE", "3")
    assert (rank(), distributed.world_size()) == (2, 3)
    assert on_first(lambda: pytest.fail("is of rank 0")) is None
    say("hello")
    assert capsys.readouterr().out == ""
    monkeypatch.setenv("RANK", "0")
    say("two\x1b[2Jlines")
    assert "\x1b" not in capsys.readouterr().out


def as_rank(monkeypatch, number, noted=None):
    """This process as one of two, and what it notes; `noted`: whether rank 0 has noted something."""
    notes: list[str] = []
    monkeypatch.setenv("RANK", str(number))
    monkeypatch.setenv("WORLD_SIZE", "2")
    monkeypatch.setattr(distributed, "_note", notes.append)
    monkeypatch.setattr(distributed, "_is_noted", lambda what, seconds: noted)
    return notes


def test_a_mistake_that_all_meet_is_told_by_the_first_alone(monkeypatch):
    notes = as_rank(monkeypatch, 0)
    with pytest.raises(FusionError, match=r"^it does not fit$"), one_telling():
        refuse()
    assert len(notes) == 1
    as_rank(monkeypatch, 1, noted=True)
    with pytest.raises(SystemExit) as ended, one_telling():
        refuse()
    assert ended.value.code == 2


def test_a_mistake_that_another_meets_alone_names_it(monkeypatch):
    as_rank(monkeypatch, 1, noted=False)
    with pytest.raises(FusionError, match=r"^rank 1: it does not fit$"), one_telling():
        refuse()


@pytest.mark.parametrize("text", ["Connection closed by peer [::1]", "NCCL error", "Timed out waiting 5000ms"])
def test_a_rank_that_has_stopped_is_no_traceback_of_the_others(monkeypatch, text):
    def cut_off():
        raise RuntimeError(text)

    with pytest.raises(RuntimeError, match=r"Connection|NCCL|Timed"), one_telling():  # alone, it is a bug
        cut_off()
    as_rank(monkeypatch, 1)
    with pytest.raises(KitError, match="rank 1: another rank has stopped; its own message says why"), one_telling():
        cut_off()
    with pytest.raises(RuntimeError, match="something else"), one_telling():
        raise RuntimeError("something else")


def test_a_mistake_of_a_process_alone_is_its_own(monkeypatch):
    for name in ("RANK", "WORLD_SIZE"):
        monkeypatch.delenv(name, raising=False)
    with pytest.raises(FusionError, match=r"^it does not fit$"), one_telling():
        refuse()


def test_a_note_is_seen_and_one_that_is_not_there_is_not(joined):
    assert not distributed._is_noted("nothing", 0.01)
    distributed._note("told")
    assert distributed._is_noted("told", 0.01)


def test_where_nobody_keeps_notes_the_first_is_gone():
    assert not torch.distributed.is_initialized()
    distributed._note("told")
    assert distributed._is_noted("told", 0.01)
