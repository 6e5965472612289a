"""Contracts of components as classes of tests, for the authors of plugins and for the kit's own."""

from .contracts import AudioTowerContract as AudioTowerContract
from .contracts import HiddenDecoderContract as HiddenDecoderContract
from .contracts import TokenDecoderContract as TokenDecoderContract
from .contracts import TowerContract as TowerContract
from .contracts import check_packing as check_packing
