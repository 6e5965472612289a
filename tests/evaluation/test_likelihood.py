"""Log probabilities of answers, against the logits of the whole sequence."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch

from tests import toys
from tests.evaluation.seeing import row, seeing_model
from tinyllava_kit.core.spans import IGNORE_INDEX, TextSpan
from tinyllava_kit.errors import KitError
from tinyllava_kit.evaluation.likelihood import answer_log_probs
from tinyllava_kit.processing.encoded import Encoded


@pytest.fixture(scope="module")
def place(tmp_path_factory):
    folder = tmp_path_factory.mktemp("retrieval")
    toys.save_llama(folder / "llm")
    toys.save_pictures(folder / "images")
    return folder


def test_samples_that_are_tokenized_differently_before_their_answers_are_scored_as_they_are(place):
    model, processor = seeing_model(place, "auto")
    _ = IGNORE_INDEX
    spans = [  # an earlier answer (9), and the last one (10 and what follows)
        [TextSpan([1, 5, 7, 9, 8], [_, _, _, 9, _]), TextSpan([10, 11, 2, 4], [10, 11, 2, _])],
        [TextSpan([1, 5, 6, 9, 8], [_, _, _, 9, _]), TextSpan([10, 12], [10, 12])],
        [TextSpan([1, 5, 6, 9, 8, 10, 13, 2], [_, _, _, 9, _, 10, 13, 2])],
    ]
    found = answer_log_probs(model, processor, [Encoded(sample) for sample in spans], batch_size=2)
    for sample, log_prob in zip(spans, found.tolist(), strict=True):
        ids = torch.tensor([[token for span in sample for token in span.ids]])
        labels = [label for span in sample for label in span.labels]
        with torch.no_grad():
            probabilities = model(ids).logits[0].double().log_softmax(-1)
        places = [n for n, label in enumerate(labels) if label != IGNORE_INDEX and n >= 5]
        assert log_prob == pytest.approx(sum(probabilities[n - 1, labels[n]].item() for n in places), abs=1e-3)


def test_a_sample_of_which_nothing_is_learned_is_named(place):
    model, processor = seeing_model(place, "auto")
    asked = replace(row("yes"), turns=row("yes").turns[:1])
    with pytest.raises(KitError, match="row: the chat template learns nothing of the answer"):
        answer_log_probs(model, processor, [processor.encode(asked)])
