"""Questions with known answers: asked, compared, counted, kept. The names here are public."""

from __future__ import annotations

from typing import TYPE_CHECKING

from .._lazy import lazy

if TYPE_CHECKING:
    from .asking import answers as answers
    from .benchmarks.benchmark import Benchmark as Benchmark
    from .evaluation import Results as Results
    from .evaluation import read_results as read_results
    from .exact_match import accuracy as accuracy
    from .exact_match import is_right as is_right
    from .figures import Figure as Figure
    from .judged import Judged as Judged
    from .likelihood import answer_log_probs as answer_log_probs
    from .question import Question as Question
    from .question_rows import read_questions as read_questions
    from .record import read_record as read_record
    from .scorer import Scorer as Scorer
    from .tables import table as table
    from .word_error import normalise as normalise
    from .word_error import word_errors as word_errors

__getattr__, __dir__ = lazy(
    __name__,
    {
        "answers": ".asking",
        "Benchmark": ".benchmarks.benchmark",
        "accuracy": ".exact_match",
        "is_right": ".exact_match",
        "Figure": ".figures",
        "Judged": ".judged",
        "answer_log_probs": ".likelihood",
        "Question": ".question",
        "read_record": ".record",
        "read_questions": ".question_rows",
        "Results": ".evaluation",
        "read_results": ".evaluation",
        "Scorer": ".scorer",
        "table": ".tables",
        "normalise": ".word_error",
        "word_errors": ".word_error",
    },
)
