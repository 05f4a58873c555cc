r"""Patterns for lines of text: a regular expression for the whole line, its groups the fields.

Those shipped leave a field out (null) where the log writes "-". They are the formats as Apache
(https://httpd.apache.org/docs/2.4/mod/mod_log_config.html) and nginx
(https://nginx.org/en/docs/http/ngx_http_log_module.html) define them: `LogFormat` common
`%h %l %u %t \"%r\" %>s %b` and combined, which adds referer and agent; nginx' is the one that is
predefined as `combined`, by its variables' names.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from typing import Final

# Both escape a quote within quotes, by a backslash or as \x22.
_QUOTED: Final = r'(?:[^"\\]|\\.)*'
_REQUEST: Final = (
    r'"(?:-|(?P<request>(?P<method>[A-Za-z]+) (?P<path>(?:[^" \\]|\\.)+)'
    r"(?: (?P<protocol>HTTP/[0-9.]+))?)"
    rf'|(?P<bad_request>{_QUOTED}))"'
)


def _quoted(field: str) -> str:
    return rf'"(?:-|(?P<{field}>{_QUOTED}))"'


def _line(host: str, user: str, time: str, size: str, ident: str) -> str:
    return (
        rf"(?P<{host}>\S+) {ident} (?:-|(?P<{user}>[^\[]*?)) \[(?P<{time}>[^\]]+)\] {_REQUEST}"
        rf" (?P<status>[0-9]{{3}}) (?:-|(?P<{size}>[0-9]+))"
    )


_COMMON: Final = _line("host", "user", "time", "bytes", r"(?:-|(?P<ident>\S+))")
_NGINX: Final = _line("remote_addr", "remote_user", "time_local", "body_bytes_sent", "-")

SHIPPED: Final[Mapping[str, str]] = {
    "apache_common": _COMMON,
    # Servers cut a long agent off, and its closing quote with it: such a line is read all the same.
    "apache_combined": f"{_COMMON} {_quoted('referer')} {_quoted('agent')}?",
    "nginx_combined": f"{_NGINX} {_quoted('http_referer')} {_quoted('http_user_agent')}?",
}


def compile_pattern(pattern: str) -> re.Pattern[str]:
    """A shipped pattern by its name, or a regular expression with named groups.

    Raises ValueError where it is neither.
    """
    try:
        compiled = re.compile(SHIPPED.get(pattern, pattern))
    except re.error as error:
        raise ValueError(
            f"expected {', '.join(SHIPPED)} or a regular expression, found {pattern!r}: {error}"
        ) from error
    if not compiled.groupindex:
        raise ValueError(
            f"expected {', '.join(SHIPPED)} or a regular expression with named groups such as"
            f" (?P<level>[A-Z]+), found {pattern!r}"
        )
    return compiled


def shipped_for(lines: Sequence[str]) -> str | None:
    """The shipped pattern that most of the lines are written by; None without one."""
    for name in ("apache_combined", "apache_common"):
        pattern = compile_pattern(name)
        if 2 * sum(pattern.fullmatch(line) is not None for line in lines) > len(lines):
            return name
    return None
