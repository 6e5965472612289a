"""The contract of the scorer: what `pytest --tinyllava-conformance` runs. The tower needs none of its own."""

from __future__ import annotations

from collections.abc import Sequence

from tinyllava_kit.evaluation import Question
from tinyllava_kit.interfaces import Conversation, Turn
from tinyllava_kit.testing import ScorerContract

ROWS = (
    ("red", "It is red.", "It is blue."),
    ("a grey wall", "gray", "green"),
    ("black and white", "white, black", "white"),
)


class ColourNamesContract(ScorerContract):
    """Truths that name colours."""

    def rows(self) -> Sequence[tuple[Question, str, str]]:
        """Each with an answer that names them, and one that does not."""
        asked = Conversation((Turn("user", "What colour is it?"),), (), "toy")
        return [
            (Question(id=number, conversation=asked, truths=(truth,)), right, wrong)
            for number, (truth, right, wrong) in enumerate((*ROWS, ("pink", "Pink!", "none")))
        ]
