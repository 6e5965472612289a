"""The spec of a talker beside that of its codec."""

from __future__ import annotations

from dataclasses import fields

from tinyllava_kit.components.decoders.talker_spec import TALKER_OPTIONS, talker_of
from tinyllava_kit.plugin.specs import DecoderSpec, Option

CODEC = DecoderSpec(
    name="codec",
    target="a.b:Codec",
    modality="audio",
    summary="sound of a codec: small, and fast",
    contract="a.b:Contract",
    reads="tokens",
    options=(Option(name="rate", type=int, default=3),),
)


def test_a_talker_reads_what_the_llm_holds_and_has_the_codecs_options_too():
    spec = talker_of(CODEC, "a.b:Talker", "a.b:TalkerContract")
    assert (spec.name, spec.target, spec.contract, spec.reads) == (
        "codec_talker",
        "a.b:Talker",
        "a.b:TalkerContract",
        "hidden",
    )
    assert spec.summary.startswith("sound of a codec, whose ids a small transformer writes")
    assert spec.options == (*CODEC.options, *TALKER_OPTIONS)
    changed = {"name", "target", "contract", "summary", "reads", "options"}
    assert all(
        getattr(spec, each.name) == getattr(CODEC, each.name) for each in fields(CODEC) if each.name not in changed
    )


def test_without_a_contract_it_has_that_of_its_kind():
    assert talker_of(CODEC, "a.b:Talker").contract == ""
    assert CODEC.name == "codec"
