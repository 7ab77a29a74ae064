"""The rules of the alerts page ask for metrics, labels and values that there are."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from resilient.telemetry import names

PAGE = (Path(__file__).parents[2] / "docs" / "alerts.md").read_text(encoding="utf-8")
RULES = re.search(r"```yaml\n(.*?)```", PAGE, re.DOTALL)[1]
TABLE = [line for line in PAGE.splitlines() if line.startswith("| ") and "`" in line]
SELECTOR = re.compile(r"(?P<metric>[a-z]\w*_[a-z_]+)(?:\{(?P<labels>[^}]*)\})?")
MATCHER = re.compile(r'(?P<label>\w+)(?P<how>=~|!=|=)"(?P<value>[^"]*)"')
LABELS = {one.name.replace(".", "_"): one for one in names.LABELS}


def series(metric: names.Metric) -> list[str]:
    """Return the names that Prometheus has for a metric."""
    name = metric.name.replace(".", "_") + ("_seconds" if metric.unit == "s" else "")
    match metric.instrument:
        case "histogram":
            return [name, *(f"{name}_{part}" for part in ("count", "sum", "bucket"))]
        case "counter":
            return [f"{name}_total"]
        case _:
            return [name]


SERIES = {name: metric for metric in names.METRICS for name in series(metric)}


def check(metric: str, labels: str, prefix: str = "") -> None:
    """Hold that a selector selects something: its metric, its labels and their values exist."""
    declared = SERIES[prefix + metric]
    for matcher in MATCHER.finditer(labels or ""):
        label = LABELS.get(matcher["label"]) or LABELS[prefix + matcher["label"]]
        assert label.name in (*declared.attributes, *declared.sometimes), metric
        if label.values:
            assert set(matcher["value"].split("|")) <= set(label.values)


def test_every_rule_is_about_a_metric():
    """Each of the four signals has a rule, and each rule names metrics and labels that exist."""
    assert re.findall(r"# (\d)\. ", RULES) == ["1", "2", "3", "4"]
    found = re.findall(r"(resilient_\w+_(?:count|sum|bucket|total))(?:\{([^}]*)\})?", RULES)
    assert len(found) == 8
    for metric, labels in found:
        check(metric, labels)
    for grouped in re.findall(r"by \(([^)]*)\)", RULES):
        for label in re.split(r", *", grouped):
            assert label == "le" or label in LABELS


def test_every_expression_of_the_table_is_about_a_metric():
    """Each row of the table names a metric, without the prefix, and labels that it has."""
    rows = [row.split("|")[2] for row in TABLE]
    assert len(rows) == 11
    for row in rows:
        codes = re.findall(r"`([^`]*)`", row)
        selectors = [SELECTOR.fullmatch(code) for code in codes]
        known = [one for one in selectors if one and f"resilient_{one['metric']}" in SERIES]
        assert known, row
        for one in known:
            check(one["metric"], one["labels"], "resilient_")


@pytest.mark.parametrize("wrong", ["resilient_nothing_total", "resilient_call_duration_total"])
def test_a_metric_that_is_none_is_found(wrong):
    """The check refuses a name that no metric has."""
    with pytest.raises(KeyError):
        check(wrong, "")


@pytest.mark.parametrize("labels", ['resilient_call_outcome="broken"', 'resilient_skip_reason="x"'])
def test_a_label_that_is_none_is_found(labels):
    """The check refuses a label that the metric lacks, and a value that it never has."""
    with pytest.raises(AssertionError):
        check("resilient_call_duration_seconds_count", labels)
