"""Counts of a server in the text that Prometheus reads, against loops over what was counted."""

from __future__ import annotations

import pytest

from tinyllava_kit.serving.metrics import Histogram, Metrics


def read(lines):
    """The value of each line that is no comment, and the kind of each name."""
    values = dict(line.rsplit(" ", 1) for line in lines if not line.startswith("#"))
    kinds = dict(line.split()[2:] for line in lines if line.startswith("# TYPE"))
    return values, kinds


def test_each_bucket_counts_all_that_took_no_longer():
    seconds = [0.0, 0.05, 0.051, 0.3, 7.0, 60.0, 61.0, 1000.0]
    histogram = Histogram()
    for each in seconds:
        histogram.add(each)
    values, kinds = read(list(histogram.lines("h")))
    assert kinds == {"h": "histogram"}
    for bound in (0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0, 60.0):
        assert int(values[f'h_bucket{{le="{bound}"}}']) == sum(each <= bound for each in seconds)
    assert int(values['h_bucket{le="+Inf"}']) == int(values["h_count"]) == len(seconds)
    assert float(values["h_sum"]) == pytest.approx(sum(seconds))


def test_nothing_is_counted_of_a_server_that_nobody_asked():
    values, _ = read(Metrics().text({}).splitlines())
    assert {float(value) for value in values.values()} == {0.0}


def test_requests_tokens_and_gauges_are_told_by_name():
    metrics = Metrics()
    for route, status in (("/a", 200), ("/a", 200), ("/a", 400), ("", 404)):
        metrics.observe(route, status, 0.2)
    metrics.prompt_tokens.update({"text": 5, "image": 4})
    metrics.completion_tokens.update({"text": 3})
    text = metrics.text({"in_flight": 2, "restarts_total": 1})
    assert text.endswith("\n")
    values, kinds = read(text.splitlines())
    told = {name.removeprefix("tinyllava_"): float(value) for name, value in values.items()}
    assert told['requests_total{route="/a",status="200"}'] == 2
    assert told['requests_total{route="/a",status="400"}'] == told['requests_total{route="other",status="404"}'] == 1
    assert told['prompt_tokens_total{modality="image"}'] == 4
    assert told['completion_tokens_total{modality="text"}'] == 3
    assert (told["in_flight"], told["restarts_total"], told["request_seconds_count"]) == (2, 1, 4)
    assert (kinds["tinyllava_in_flight"], kinds["tinyllava_restarts_total"]) == ("gauge", "counter")
