"""Checkpoints of transformers, read so that every failure is one line. The names here are public."""

from __future__ import annotations

from ..files.paths import offline as offline
from .checkpoint import check_loaded as check_loaded
from .checkpoint import check_model_type as check_model_type
from .checkpoint import load_state as load_state
from .checkpoint import looks_local as looks_local
from .checkpoint import read_pretrained as read_pretrained
from .checkpoint import without_reports as without_reports
from .saved_config import kind_of as kind_of
from .saved_config import network as network
