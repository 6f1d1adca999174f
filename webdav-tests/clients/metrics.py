#!/usr/bin/env python3
"""The metrics as Prometheus' own library reads them: strictly, by the rules of OpenMetrics.

Asks the server for a few things over CalDAV, then reads KALENDS_METRICS (http://host:port/metrics).
"""
import os
import re
import urllib.request

from prometheus_client.openmetrics.parser import text_string_to_metric_families

from common import ROOT, Dav, Steps, account, event

URL, USER, PASSWORD = account()
METRICS = os.environ["KALENDS_METRICS"]


def read():
    with urllib.request.urlopen(METRICS, timeout=30) as answer:
        assert answer.headers["Content-Type"].startswith("application/openmetrics-text; version=1.0.0"), answer.headers
        return {family.name: family for family in text_string_to_metric_families(answer.read().decode())}


def total(families, name, **labels):
    return sum(
        sample.value for sample in families[name].samples
        if sample.name == f"{name}_total" and all(sample.labels.get(key) == value for key, value in labels.items())
    )


class Story:
    def __init__(self):
        self.dav = Dav(URL, USER, PASSWORD)
        self.before = self.after = None

    def plain(self):
        self.before = read()

    def counted(self):
        home = f"/dav/calendars/{USER}/calendar/"
        for number in range(3):
            self.dav.expect(201, "PUT", f"{home}m{number}.ics", event(f"m{number}@x", "M"))
        self.dav.expect(404, "GET", f"{home}none.ics")
        self.after = read()
        for method, status, count in [("PUT", "2xx", 3), ("GET", "4xx", 1)]:
            labels = {"door": "dav", "method": method, "status": status}
            grown = total(self.after, "kalends_requests", **labels) - total(self.before, "kalends_requests", **labels)
            assert grown == count, (labels, grown)

    def histograms(self):
        family = self.after["kalends_request_duration_seconds"]
        assert family.type == "histogram", family
        counts = [sample for sample in family.samples if sample.name.endswith("_count")]
        assert counts, family
        for count in counts:
            top = [s.value for s in family.samples if s.labels == {**count.labels, "le": "+Inf"}]
            assert top == [count.value], (count, top)

    def names(self):
        for family in self.after.values():
            assert family.documentation and re.fullmatch(r"(kalends|process)_[a-z_]+", family.name), family

    def labels(self):
        known = {"door", "method", "status", "outcome", "provider", "side", "kind", "version", "le"}
        for family in self.after.values():
            for sample in family.samples:
                for key, value in sample.labels.items():
                    assert key in known and len(value) < 30 and USER not in value and "/" not in value, sample

    def page(self):
        section = (ROOT / "docs" / "operate.md").read_text().split("## Metrics and alerts")[1].split("```yaml")[0]
        told = {re.sub(r"_total$", "", name) for name in re.findall(r"`((?:kalends|process)_[a-z_]+)`", section)}
        assert set(self.after) <= told, set(self.after) - told


def main():
    story, steps = Story(), Steps("metrics")
    steps.step("the text is read without a complaint", story.plain, needed=True)
    steps.step("requests are counted at their door (S1-093)", story.counted, needed=True)
    steps.step("histograms add up", story.histograms)
    steps.step("every family has a help text and a name by the rules", story.names)
    steps.step("labels come from fixed lists", story.labels)
    steps.step("the page for operators names every family", story.page)
    steps.done()


if __name__ == "__main__":
    main()
