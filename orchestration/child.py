"""One of Dagster's processes, as a child of the orchestrate role that cannot outlive it.

    python -P -m headrace.orchestration.child dagster-webserver --port 3000 ...

runs that console script of the installation. Its standard input is a pipe whose other end the role
holds: when that closes, the process ends at once.
"""

from __future__ import annotations

import logging
import sys
from importlib.metadata import entry_points

from headrace.logs import configure_logs
from headrace.orchestration.ending import listen
from headrace.orchestration.parent_watch import end_with_parent, end_with_pipe


def main() -> None:
    """Run the console script named by the first argument with the others."""
    end_with_pipe(0)
    listen()
    _configure_logs()
    name = sys.argv[1]
    sys.argv = [name, *sys.argv[2:]]
    (script,) = entry_points(group="console_scripts", name=name)
    sys.exit(script.load()())


def _configure_logs() -> None:
    """For what headrace says in these processes; Dagster's loggers write their own JSON."""
    configure_logs(role="orchestrate", verbose=True)
    for handler in logging.getLogger().handlers:
        handler.addFilter(lambda record: not record.name.startswith("dagster."))


if __name__ == "__main__":
    main()
elif __name__ == "__mp_main__":
    # A run's process, which `multiprocessing` started from the code server's.
    end_with_parent()
    _configure_logs()
