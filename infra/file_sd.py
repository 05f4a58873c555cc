"""Where the roles serve their metrics, in the form that Prometheus' `file_sd_configs` reads.

https://prometheus.io/docs/prometheus/latest/configuration/configuration/#file_sd_config
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from headrace.infra.services import replace_json


def scrape_targets(http_ports: Mapping[str, int], *, project: str) -> list[dict[str, object]]:
    """One entry a role, labelled with the project and the role."""
    return [
        {"targets": [f"127.0.0.1:{port}"], "labels": {"project": project, "role": role}}
        for role, port in http_ports.items()
    ]


def record_targets(path: Path, http_ports: Mapping[str, int], *, project: str = "") -> None:
    """Replace the file; an empty list when nothing runs, so that nothing is scraped."""
    replace_json(path, scrape_targets(http_ports, project=project))
