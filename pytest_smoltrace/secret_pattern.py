"""Find what looks like a secret: tokens of known vendors, and values that their place gives away.

One pattern begins at letters that are rare in text, and what comes before them is read backwards:
beginning it at the names of headers and vendors takes four times as long.
"""

from __future__ import annotations

import base64
import binascii
import re
from typing import TYPE_CHECKING

from pytest_smoltrace.secret_values import SECRET_NAME, is_plain

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping

Span = tuple[int, int]
Match = re.Match[str]

_PREFIXES = (
    *("sk-", "pk-", "rk-", "csk-", "xai-", "fc-", "pplx-", "tvly-", "nvapi-", "glpat-", "gldt-"),
    *("GOCSPX-", "xapp-", "xoxa-", "xoxb-", "xoxe-", "xoxo-", "xoxp-", "xoxr-", "xoxs-", "pypi-"),
    *("PMAK-", "NRAK-", "AGE-SECRET-KEY-"),
    *("hf_", "api_org_", "gsk_", "r8_", "npm_", "ghp_", "gho_", "ghu_", "ghs_", "ghr_"),
    *("github_pat_", "whsec_", "sk_live_", "rk_live_", "pk_live_", "sk_test_", "rk_test_"),
    *("pk_test_", "dop_v1_", "doo_v1_", "shpat_", "shpss_", "lsv2_pt_", "lsv2_sk_", "sntrys_"),
    *("sntryu_", "pcsk_", "jina_", "e2b_", "glsa_", "glc_", "ntn_", "lin_api_", "tgp_v1_", "sbp_"),
    *("dckr_pat_", "figd_", "sk_"),
)
_LONGEST_PREFIX = max(map(len, _PREFIXES))


def _after(last: str) -> str:
    """Return lookbehinds for the prefixes that end with a character."""
    return "|".join(f"(?<={prefix})" for prefix in _PREFIXES if prefix.endswith(last))


_QUOTE = r"""\\{0,63}["']"""
_OPEN = rf"[bBuUrR]?{_QUOTE}"
_IS = (
    rf"(?:{_QUOTE}\]?)?\s{{0,3}}"
    rf"""(?:[:=]>?|(?<=["']),(?:\s?{_QUOTE}[vV]alue{_QUOTE}\s?:)?)\s{{0,3}}"""
)
_QUOTED = rf"""(?:[^\s"'\\]|\\+(?!["'\\]))+(?={_QUOTE})"""
_BARE = r"""[^\s"'\\,;&<>(){}\[\]|]{8,}+(?![(\[])"""
_CREDENTIALS = (
    r"""(?P<scheme>[A-Za-z][\w-]{2,24}\s{1,2})?(?P<credentials>[^\s"'\\,;<>{}\[\]]{6,})"""
)
_COOKIE = r"""(?P<cookie>[\w.-]+=[^"'\\\r\n]{8,})"""
_PEM = r"""(?P<pem>[^"]{0,20000}?(?=-----END)|(?:[A-Za-z0-9+/=\s]|\\+[nrt])+)"""
_AFTERWARDS = (
    r"(?P<user>(?<=@))",
    r"""(?<=[?&])(?:amp;)?(?P<name>[\w.-]+)=(?P<parameter>[^\s&"'\\<>#;]+)""",
    r"(?<=eyJ)(?P<jwt>[\w-]{8,}\.[\w-]{8,}\.[\w-]+)",
    rf"(?<=_)(?=[A-Za-z0-9]{{16}})(?:{_after('_')})(?P<under>\w{{16,}})",
    rf"(?<=-)(?:{_after('-')})(?P<dash>[\w-]{{10,}})",
)
_ENDINGS = (
    r"[eE](?<=[kK][eE])[yYnN]",  # key, token
    r"[oO](?<=[wW][oO])[rR][dD]",  # password
    r"[dD](?<=[wW][dD])",  # passwd
    r"[rR](?<=[cC][rR])[eE][tT]",  # secret
)
_SHAPES = (
    rf"(?:{'|'.join(_ENDINGS)}){_IS}(?:{_OPEN}(?P<quoted>{_QUOTED})|(?P<bare>{_BARE}))",
    rf"[aA](?<=[zZ][aA])[tT][iI][oO][nN]{_IS}(?:{_OPEN})?{_CREDENTIALS}",  # authorization
    rf"[iI](?<=[kK][iI])[eE]{_IS}(?:{_OPEN})?{_COOKIE}",  # cookie
    r"[eE](?<=[bB][eE])[aA][rR][eE][rR]\s{1,2}(?P<bearer>[\w.~+/=-]{8,})",
    r"[aA](?<=[bB][aA])[sS][iI][cC] (?P<basic>[A-Za-z0-9+/]{6,}={0,2})",
    rf"----BEGIN [A-Z0-9 ]{{0,40}}PRIVATE KEY(?: BLOCK)?-----{_PEM}",
    r"[KS](?<=A.)(?P<aws>IA[0-9A-Z]{12,}(?![A-Za-z0-9]))",
    r"I(?<=AI)(?P<google>za[\w-]{20,45}(?![\w-]))",
    r"G(?<=SG)\.(?P<sendgrid>[\w-]{10,}\.[\w-]{10,})",
    r"s(?<=ks)(?:\.slack\.com/services/|/\d{6,}/)(?P<hook>[\w/-]{16,})",  # hooks, webhooks
    # One look back for all whose first character says nothing about the next.
    rf"(?<=[@?&_J-])(?:{'|'.join(_AFTERWARDS)})",
)
_FOUND = re.compile(f"[kKwWzZcC@?&bBAJS_-](?:{'|'.join(_SHAPES)})")
_ENDING = re.compile("key|ken|word|wd|cret", re.IGNORECASE)
_NAME = re.compile(r"[\w.-]{1,48}\Z")
_STRONG = re.compile(
    r"(?:api|access|secret|private|auth|subscription|account|master|signing|encryption|shared"
    r"|service|license|ssh|admin|root|functions)key$"
    r"|(?:access|auth|refresh|id|session|security|bearer|api|private|vault|jwt|hf|hub|github"
    r"|gitlab|slack|csrf|xsrf|personal|device|bot|oauth)token$"
    r"|secret$|password$|passwd$|[a-z]pwd$",
    re.IGNORECASE,
)
_HEADER = re.compile(r"(?:^|[^A-Za-z0-9])x-[\w-]+(?:key|token)$", re.IGNORECASE)
_USER = re.compile(r""":(?:\\*/){2}([^\s/"'\\<>?#]+)@\Z""")
_PREFIX = re.compile(rf"(?:{'|'.join(_PREFIXES)})\Z")
# Not within a word; but an escape, which ends with a letter, may come before.
_EDGE = re.compile(
    r"(?:\A|[^A-Za-z0-9]|\\[nrtbf]|\\u[0-9a-fA-F]{4}|%[0-9a-fA-F]{2}|\[[\d;]{0,12}m)\Z"
)
_ATTRIBUTE = re.compile(r"[A-Za-z_]\w*(?:\.[A-Za-z_]\w*)+")
_NUMBER = re.compile(r"[-+\d.eE]+")
_RUN = re.compile(r"[A-Za-z0-9]+")
_LONG_RUN, _SHORT_RUN, _LONG_VALUE = 16, 10, 16
_LOOK_BACK = 300
_SCHEMES = ("bearer", "basic", "token", "apikey", "digest", "negotiate", "key", "bot")


def spans(text: str) -> Iterator[Span]:
    """Yield where a text holds what looks like a secret, from left to right."""
    hit = _FOUND.search(text)
    while hit is not None:
        assert hit.lastgroup is not None
        span = _JUDGES[hit.lastgroup](text, hit)
        if span is not None:
            yield span
        hit = _FOUND.search(text, hit.start() + 1 if span is None else max(hit.end(), span[1]))


def _found(hit: Match) -> Span:
    return hit.span(hit.lastindex or 0)


def _always(text: str, hit: Match) -> Span | None:  # noqa: ARG001
    return _found(hit)


def _quoted(text: str, hit: Match) -> Span | None:
    return _found(hit) if _gives_away(_name(text, hit), hit["quoted"]) else None


def _bare(text: str, hit: Match) -> Span | None:
    """Take a value without quotes, unless it is a number, or prose or code by its looks."""
    value = hit["bare"].rstrip(".:!?")
    if not _is_mixed(value) or _NUMBER.fullmatch(value) or _ATTRIBUTE.fullmatch(value):
        return None
    start = hit.start("bare")
    return (start, start + len(value)) if _gives_away(_name(text, hit), value) else None


def _name(text: str, hit: Match) -> str:
    """Return the name whose last letters are the first ones of the match."""
    ending = _ENDING.match(text, hit.start())
    assert ending is not None
    found = _NAME.search(text, max(0, ending.end() - 48), ending.end())
    return found[0] if found else ""


def _gives_away(name: str, value: str) -> bool:
    """Return whether a value is a secret because of its name."""
    if _STRONG.search(re.sub("[-_.]", "", name)) or _HEADER.search(name):
        return not is_plain(value)
    # The next page and the end of a sequence have tokens too.
    return name.lower().endswith("token") and len(value) >= _LONG_VALUE and _is_mixed(value)


def _is_mixed(value: str) -> bool:
    """Return whether a value has digits, or letters of both cases as no word has."""
    if any(map(str.isdigit, value)):
        return True
    return len(value) >= _LONG_VALUE and not value.islower() and not value.isupper()


def _credentials(text: str, hit: Match) -> Span | None:
    value, scheme = hit["credentials"], (hit["scheme"] or "").strip().lower()
    if scheme in _SCHEMES:
        return hit.span("credentials")
    if is_plain(value) or _NUMBER.fullmatch(value):
        return None
    quoted = text[hit.start("scheme" if scheme else "credentials") - 1] in "\"'"
    return hit.span("credentials") if quoted or _is_mixed(value) else None


def _bearer(text: str, hit: Match) -> Span | None:  # noqa: ARG001
    return hit.span("bearer") if _is_mixed(hit["bearer"]) else None


def _basic(text: str, hit: Match) -> Span | None:  # noqa: ARG001
    """Take what is `user:password` in Base64."""
    value = hit["basic"].rstrip("=")
    try:
        plain = base64.b64decode(value + "=" * (-len(value) % 4))
    except binascii.Error:
        return None
    return hit.span("basic") if b":" in plain and plain.isascii() else None


def _user(text: str, hit: Match) -> Span | None:
    found = _USER.search(text, max(0, hit.end() - _LOOK_BACK), hit.end())
    return found.span(1) if found and found[1] != "git" else None


def _parameter(text: str, hit: Match) -> Span | None:  # noqa: ARG001
    return hit.span("parameter") if SECRET_NAME.search(hit["name"]) else None


def _token(text: str, hit: Match) -> Span | None:
    """Take a token that begins with a prefix of a vendor, the prefix too."""
    start, end = _found(hit)
    prefix = _PREFIX.search(text, max(0, start - _LONGEST_PREFIX), start)
    if prefix is None or not _begins(text, prefix.start()):
        return None
    runs = [len(run) for run in _RUN.findall(text, start, end)]
    longest = max(runs, default=0)
    mixed = any(map(str.isdigit, text[start:end]))
    is_token = longest >= _LONG_RUN or (mixed and longest >= _SHORT_RUN)
    return (prefix.start(), end) if is_token else None


def _begins(text: str, start: int) -> bool:
    return _EDGE.search(text, max(0, start - 14), start) is not None


def _with(before: int) -> Callable[[str, Match], Span | None]:
    """Return a judge of tokens whose first letters come before the group."""

    def judge(text: str, hit: Match) -> Span | None:
        start, end = _found(hit)
        return (start - before, end) if _begins(text, start - before) else None

    return judge


_JUDGES: Mapping[str, Callable[[str, Match], Span | None]] = {
    "quoted": _quoted,
    "bare": _bare,
    "credentials": _credentials,
    "cookie": _always,
    "bearer": _bearer,
    "basic": _basic,
    "user": _user,
    "parameter": _parameter,
    "pem": _always,
    "jwt": _with(3),
    "aws": _with(2),
    "google": _with(2),
    "sendgrid": _with(3),
    "hook": _always,
    "under": _token,
    "dash": _token,
}
