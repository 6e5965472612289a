"""Texts that end an answer: what of the words so far is shown, and whether one of them is there."""

from __future__ import annotations

from collections.abc import Sequence


class StopStrings:
    """Lets words pass that are before any of some texts, and holds back what may be the beginning of one.

    Example:
        >>> stops = StopStrings(["END"])
        >>> stops.put("a E"), stops.put("N"), stops.put("D b"), stops.found
        ('a ', '', '', True)
    """

    def __init__(self, texts: Sequence[str]) -> None:
        self.texts = [text for text in texts if text]
        self.found = False
        self._held = ""

    def put(self, words: str) -> str:
        """More words; those that may be shown now."""
        if self.found:
            return ""
        self._held += words
        places = [place for text in self.texts if (place := self._held.find(text)) >= 0]
        if places:
            self.found = True
            shown, self._held = self._held[: min(places)], ""
            return shown
        kept = max((self._overlap(text) for text in self.texts), default=0)
        shown, self._held = self._held[: len(self._held) - kept], self._held[len(self._held) - kept :]
        return shown

    def end(self) -> str:
        """There are no more words; what was held back."""
        shown, self._held = self._held, ""
        return shown

    def _overlap(self, text: str) -> int:
        """The length of the end of the held text that begins a stop string."""
        longest = min(len(text) - 1, len(self._held))
        return next((n for n in range(longest, 0, -1) if self._held.endswith(text[:n])), 0)
