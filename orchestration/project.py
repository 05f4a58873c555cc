"""What Dagster loads: `dagster dev -m headrace.orchestration.project` in a project's folder.

The project is the folder that HEADRACE_PROJECT names, else the current one.
"""

from __future__ import annotations

import os

import dagster as dg

from headrace.orchestration.definitions import build_definitions
from headrace.orchestration.parent_watch import end_with_parent
from headrace.orchestration.run_log import console_loggers

# A run is a process of its own: it must not go on when Dagster was killed.
end_with_parent()

defs = dg.Definitions.merge(
    build_definitions(os.environ.get("HEADRACE_PROJECT") or "."),
    dg.Definitions(executor=dg.in_process_executor, loggers=console_loggers()),
)
