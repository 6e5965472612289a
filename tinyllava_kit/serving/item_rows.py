"""Rows of items behind an LLM's vocabulary: each has an id, which continuous batching takes for a token's.

Legend: V ids of the vocabulary, C rows that are held at most, D width of the LLM, n rows of an item.
"""

from __future__ import annotations

import threading
from collections import OrderedDict, deque
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from ..errors import KitError

_LAST_ID = 2**31 - 1  # the manager's ids are int32


class RowsInUseError(KitError):
    """All rows are of items of requests that are being answered."""


@dataclass
class HeldRows:
    """An item's rows. ids: of each. users: how many requests need them now."""

    ids: list[int]
    users: int = 0


class ItemRows(nn.Module):
    """An LLM's input embedding whose ids from V on are rows of items.

    A row's id is V + lap * C + slot: its slot says where it lies, and its lap grows each time the slot is taken, so no
    id ever means two things, and what a cache of keys and values holds under an id stays right. The rows of an item
    stay, under its key, until their slots are needed for others and no request uses them.

    Args:
        base: the LLM's own embedding.
        capacity: C.
    """

    def __init__(self, base: nn.Module, capacity: int) -> None:
        super().__init__()
        self.base: Any = base
        weight: Tensor = self.weight
        self.first, width = weight.shape  # V, D
        self.table = torch.zeros(capacity, width, dtype=weight.dtype, device=weight.device)  # (C, D)
        self._lock = threading.Lock()
        self.clear()

    @property
    def weight(self) -> Tensor:
        """The LLM's own rows, (V, D)."""
        weight: Tensor = self.base.weight
        return weight

    def clear(self) -> None:
        """Forget all items; ids begin anew, so no cache may hold any."""
        with self._lock:
            capacity = len(self.table)
            self._items: OrderedDict[str, HeldRows] = OrderedDict()  # the one that was used longest ago first
            self._free = deque(range(capacity))
            self._laps = [0] * capacity
            self._num_laps = (_LAST_ID - self.first) // capacity
            self.is_worn = False  # a slot's ids have run out; `clear` begins anew

    @property
    def used(self) -> int:
        """How many rows are held."""
        return sum(len(held.ids) for held in self._items.values())

    @property
    def pinned(self) -> int:
        """How many rows requests need now."""
        return sum(len(held.ids) for held in self._items.values() if held.users)

    def take(self, key: str) -> HeldRows | None:
        """An item's rows, which stay until `release`; None where they are not held."""
        with self._lock:
            held = self._items.get(key)
            if held is None:
                return None
            held.users += 1
            self._items.move_to_end(key)
            return held

    def put(self, key: str, rows: Tensor) -> HeldRows:
        """Hold the rows (n, D) of an item that is not held, which stay until `release`; one thread calls it.

        Raises:
            RowsInUseError: requests need so many others now that there is no place.
        """
        with self._lock:
            self._make_room(len(rows))
            slots = [self._free.popleft() for _ in range(len(rows))]
            ids = [self.first + self._laps[slot] * len(self.table) + slot for slot in slots]
            self.table[torch.tensor(slots, device=self.table.device)] = rows.to(self.table)  # (n, D)
            if self.table.is_cuda:
                torch.cuda.current_stream(self.table.device).synchronize()  # another thread reads it
            self._items[key] = HeldRows(ids, users=1)
            return self._items[key]

    def release(self, held: HeldRows) -> None:
        """A request needs an item's rows no longer."""
        with self._lock:
            held.users -= 1

    def _make_room(self, wanted: int) -> None:
        idle = [key for key, held in self._items.items() if not held.users]
        for key in idle:
            if len(self._free) >= wanted:
                break
            for each in self._items.pop(key).ids:
                slot = (each - self.first) % len(self.table)
                self._laps[slot] += 1
                if self._laps[slot] < self._num_laps:
                    self._free.append(slot)
                else:
                    self.is_worn = True
        if len(self._free) < wanted:
            raise RowsInUseError(
                f"an item takes {wanted} rows, and {self.pinned} of the {len(self.table)} that are held at most are of "
                "items that are being answered about"
            )

    def forward(self, ids: Tensor) -> Tensor:
        """(...) -> (..., D)."""
        text: Tensor = self.base(ids.clamp(max=self.first - 1))  # (..., D)
        rows = self.table[(ids - self.first) % len(self.table)]  # (..., D)
        return torch.where((ids >= self.first)[..., None], rows.to(text.dtype), text)  # (..., D)
