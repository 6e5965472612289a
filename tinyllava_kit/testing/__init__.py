"""What a plugin author's tests call: contracts of towers and decoders as classes of tests for pytest, and a toy LLM.

Subclass one in a test module, under a name that begins with ``Test``; say which tower, and give a fixture `checkpoint`
with a toy-size checkpoint of it in the hub's directory layout. Every method of the contract is then a test.

Example:
    >>> class TestMyTower(AudioTowerContract):
    ...     tower_class = MyTower
    ...     min_samples, hop_samples, window_samples = 400, 320, 480_000
    ...     window_tolerance = 0.05
    ...
    ...     @pytest.fixture
    ...     def checkpoint(self, tmp_path):
    ...         return save_a_toy(tmp_path)
    ...
    ...     def count(self, num_samples):
    ...         return (num_samples - 400) // 320 + 1

Nothing here needs pytest, and a contract's method can be called by itself: it raises AssertionError and says what is
wrong.
"""

from .audio_towers import AudioTowerContract as AudioTowerContract
from .hidden_decoders import HiddenDecoderContract as HiddenDecoderContract
from .packed_samples import check_packing as check_packing
from .token_decoders import TokenDecoderContract as TokenDecoderContract
from .towers import TowerContract as TowerContract
from .toys import save_toy_llm as save_toy_llm
from .toys import toy_tokenizer as toy_tokenizer
