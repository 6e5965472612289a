"""TRL's trainer on a model and a processor of this kit, as on any other. Skipped without trl, which is no dependency.

The calls of its collator are tested with the prompts in ``tests/core``, those of its loss with the backbone.
"""

from __future__ import annotations

import pytest
from transformers import AutoModelForImageTextToText, AutoProcessor

from tests import toys

trl = pytest.importorskip("trl", reason="trl is not installed; pip install trl")
datasets = pytest.importorskip("datasets")


@pytest.mark.filterwarnings("ignore:`gradient_checkpointing` is deprecated:FutureWarning")  # trl's own default
@pytest.mark.filterwarnings("ignore::DeprecationWarning")
def test_supervised_training_with_pictures_learns(tmp_path):
    toys.save_picture_model(tmp_path)
    pictures = [[str(tmp_path / name)] for name in toys.save_pictures(tmp_path, 4)]
    model = AutoModelForImageTextToText.from_pretrained(tmp_path / "model")
    processor = AutoProcessor.from_pretrained(tmp_path / "model")
    said = [{"role": "user", "content": "what?"}, {"role": "assistant", "content": "it is a toy"}]
    rows = datasets.Dataset.from_dict({"messages": [said] * 4, "images": [*pictures[:3], []]})
    rows = rows.cast_column("images", datasets.List(datasets.Image()))
    arguments = trl.SFTConfig(
        output_dir=str(tmp_path / "out"),
        max_steps=20,
        per_device_train_batch_size=2,
        learning_rate=1e-2,
        logging_steps=1,
        save_strategy="no",
        report_to=[],
        use_cpu=True,
        bf16=False,
        seed=0,
    )
    trainer = trl.SFTTrainer(model=model, args=arguments, train_dataset=rows, processing_class=processor)
    trainer.train()
    losses = [entry["loss"] for entry in trainer.state.log_history if "loss" in entry]
    assert losses[-1] < losses[0] / 3
    trainer.save_model(str(tmp_path / "saved"))
    AutoProcessor.from_pretrained(tmp_path / "saved")
    again = AutoModelForImageTextToText.from_pretrained(tmp_path / "saved")
    assert all(mine.equal(theirs) for mine, theirs in zip(model.parameters(), again.parameters(), strict=True))
