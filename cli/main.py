"""`headrace`: from the start of the process to its exit code.

Nothing is imported here before `main`: a Ctrl-C would end in a traceback.
"""

from __future__ import annotations

import signal
import sys


def main() -> None:
    """Run the command line; a user's mistake or an outage ends in one message, no traceback.

    Ctrl-C ends the process at once, as SIGTERM does, unless a command says otherwise: no module
    being loaded, nor Python on its way out, can be told by a KeyboardInterrupt.
    """
    if signal.getsignal(signal.SIGINT) is signal.default_int_handler:  # else: it is ignored
        signal.signal(signal.SIGINT, signal.SIG_DFL)
    try:
        code = _run()
    finally:
        if signal.getsignal(signal.SIGINT) is not signal.SIG_IGN:
            signal.signal(signal.SIGINT, signal.SIG_DFL)
            signal.signal(signal.SIGTERM, signal.SIG_DFL)
    sys.exit(code)


def _run() -> int | str | None:
    import click

    from headrace.cli.group import cli
    from headrace.errors import HeadraceError

    try:
        cli.main(prog_name="headrace", standalone_mode=False)
    except click.ClickException as error:
        error.show()
        return 2
    except HeadraceError as error:
        from headrace.cli.output import print_error

        print_error(error)
        return error.exit_code
    except (KeyboardInterrupt, click.Abort):
        click.echo("stopped", err=True)
        return 130
    except BrokenPipeError:
        # `headrace query ... | head`: the reader has enough
        sys.stderr.close()
        return 0
    except SystemExit as end:
        return end.code
    return 0


if __name__ == "__main__":
    main()
