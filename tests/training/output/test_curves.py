"""What a Trainer's log holds, as charts."""

from __future__ import annotations

from tinyllava_kit.training import log_charts

LOG = [
    {"loss": 2.0, "loss_image": 1.5, "learning_rate": 1e-3, "tokens_per_second": 90.0, "step": 10},
    {"eval_loss": 1.9, "eval_score": 0.5, "eval_exact_match": 0.5, "step": 10},
    {"loss": 1.0, "loss_image": 0.5, "learning_rate": 0.0, "tokens_per_second": 110.0, "step": 20},
    {"train_loss": 1.5, "train_runtime": 3.0, "step": 20},
]


def test_each_kind_of_figure_has_a_chart_over_the_steps():
    charts = {chart.title: chart for chart in log_charts(LOG)}
    assert list(charts) == ["loss", "exact match of held-out rows", "learning rate", "speed"]
    assert charts["loss"].lines == {
        "loss of held-out rows": [(10, 1.9)],
        "loss": [(10, 2.0), (20, 1.0)],
        "loss_image": [(10, 1.5), (20, 0.5)],
    }
    assert charts["speed"].unit == "tokens/s"
    assert [tick.text for tick in charts["loss"].y_ticks] == ["0", "0.5", "1", "1.5", "2"]


def test_a_demo_shows_losses_and_figures_under_the_name_of_their_stage():
    charts = log_charts(LOG, of="words: ", rates=False)
    assert [chart.title for chart in charts] == ["words: loss", "words: exact match of held-out rows"]


def test_a_log_of_nothing_has_no_chart():
    assert log_charts([{"train_loss": 0.0, "step": 3}]) == []
