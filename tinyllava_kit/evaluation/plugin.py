"""The scorers and benchmarks that the kit ships."""

from __future__ import annotations

from tinyllava_kit import hookimpl
from tinyllava_kit.plugin.specs import BenchmarkSpec, ScorerSpec

_SCORERS = {
    "exact_match": ("ExactMatch", "the share of answers that are the truth, word for word"),
    "vqa": ("VqaAccuracy", "VQA accuracy: an answer counts as much as ten people agree on it"),
    "yes_no": ("YesNo", "POPE's figures: F1 of yes, accuracy, precision, recall, yes ratio"),
    "choice": ("ChosenLetter", "the share of answers that name the letter of the right choice"),
    "anls": ("Anls", "how near answers come to the truth, in edits (TextVQA, DocVQA)"),
    "wer": ("WordErrorRate", "word error rate of a transcript"),
    "cer": ("CharacterErrorRate", "character error rate of a transcript"),
    "retrieval": ("RetrievalRank", "which of all rows' answers the model finds likeliest, without writing one"),
}
_CONTRACTS = "tinyllava_kit.testing.own_scorers"
_BENCHMARKS = {
    "gqa": ("GqaContract", "GQA, test-dev balanced"),
    "pope": ("PopeContract", "POPE, object hallucination"),
    "scienceqa": ("ScienceQaContract", "ScienceQA, test"),
    "textvqa": ("TextVqaContract", "TextVQA 0.5.1, validation"),
    "mmmu": ("MmmuContract", "MMMU, validation"),
    "mmvet": ("MmVetContract", "MM-Vet; scored by its judge"),
    "mme": ("MmeTaskContract", "MME"),
    "vqav2": ("VqaV2Contract", "VQAv2, test-dev; scored by its server"),
}


@hookimpl
def tinyllava_scorers() -> list[ScorerSpec]:
    """Of answers to any rows; MME's and MMMU's own."""
    scorers = [
        ScorerSpec(
            name=name,
            target=f"tinyllava_kit.evaluation.scorers:{target}",
            summary=summary,
            packages=("jiwer",) if name in ("wer", "cer") else (),
        )
        for name, (target, summary) in _SCORERS.items()
    ]
    here = "tinyllava_kit.evaluation.benchmarks"
    said = "MME's scores: perception of 2000, cognition of 800, each subtask of 200"
    mme = ScorerSpec(name="mme", target=f"{here}.mme:MmeScores", summary=said, contract=f"{_CONTRACTS}:MmeContract")
    mmmu = ScorerSpec(name="mmmu", target=f"{here}.mmmu:MmmuAccuracy", summary="MMMU's accuracy")
    return [*scorers, mme, mmmu]


@hookimpl
def tinyllava_benchmarks() -> list[BenchmarkSpec]:
    """Tasks whose files lie as TinyLLaVA_Factory's ``scripts/eval`` lay them out."""
    here, checked = "tinyllava_kit.evaluation.benchmarks", "tinyllava_kit.testing.own_benchmarks"
    return [
        BenchmarkSpec(
            name=name,
            target=f"{here}.{name}:{name.upper()}",
            summary=summary,
            contract=f"{checked}:{contract}",
        )
        for name, (contract, summary) in _BENCHMARKS.items()
    ]
