"""The tests of transformers that the model fails, each with the reason; one of them that passes fails the run."""

from __future__ import annotations

_STRICT = "a weight that is missing in the file is an error: such a model would answer nonsense without a word"
_ONE_BATCH = "a plan belongs to one batch of the processor; tensors that are cut or padded beside it are refused"
_EMBEDDED = "embeddings of text beside items would leave the items out; this is refused"
_CACHED = "transformers generates from embeddings with a cache, whatever use_cache says, and items come as embeddings"
_NO_GUESSES = "an assistant reads the prompt as ids, and an item has none; this is refused"

TEXT = {"test_model_weights_reload_no_missing_tied_weights": _STRICT}

ITEMS = {
    **TEXT,
    "test_batching_equivalence": _ONE_BATCH,
    "test_causal_lm_loss_honors_shift_labels": "a plan holds the target of each position; shift_labels are refused",
    "test_inputs_embeds": _EMBEDDED,
}

# Of text and of items alike, and of tests that transformers has since 5.24.
SINCE_5_24 = {
    "test_bc_cache_name_forward": "past_key_values, the cache's name before 5.24, is taken in all versions, unwarned",
}

# Of the tests of generation, which a checkout has and the source distribution lacks.
GENERATION = {
    "test_assisted_decoding_matches_greedy_search_0_random": _NO_GUESSES,
    "test_assisted_decoding_matches_greedy_search_1_same": _NO_GUESSES,
    "test_assisted_decoding_sample": _NO_GUESSES,
    "test_beam_sample_generate_dict_output": _CACHED,
    "test_beam_search_generate_dict_output": _CACHED,
    "test_generate_continue_from_past_key_values": _ONE_BATCH,
    "test_generate_from_inputs_embeds_0_greedy": _EMBEDDED,
    "test_generate_from_inputs_embeds_1_beam_search": _EMBEDDED,
    "test_greedy_generate_dict_outputs": _CACHED,
    "test_left_padding_compatibility": _ONE_BATCH,
    "test_sample_generate_dict_output": _CACHED,
}
