"""Secrets are found in every notation; ordinary text, and the shape of JSON, stay as they are."""

import base64
import html
import importlib.resources
import json
import random
import string
import traceback
import uuid
from urllib.parse import quote, quote_plus

import orjson
import pytest

from pytest_smoltrace.causes import one_line
from pytest_smoltrace.codec import Plan
from pytest_smoltrace.facts import Declared
from pytest_smoltrace.journal import JournalWriter
from pytest_smoltrace.redaction import Redactor, redacted, redacted_url
from pytest_smoltrace.secret_values import secrets_of
from pytest_smoltrace.session_facts import Footer, Header

LETTERS = string.ascii_letters + string.digits
VALUE = "Zt8kQ1wPz0LmN4vB7xYc"


def letters(seed, count, alphabet=LETTERS):
    return "".join(random.Random(seed).choices(alphabet, k=count))


@pytest.mark.parametrize(
    "name",
    ["api_key", "OPENAI_API_KEY", "key", "hf_token", "client_secret", "password", "Authorization"],
)
def test_named_secrets(name):
    assert redacted({name: "value"}) == {name: "***"}


@pytest.mark.parametrize(
    "name", ["max_tokens", "author", "authors", "keywords", "tokenizer", "timeout"]
)
def test_names_that_only_look_similar(name):
    assert redacted({name: 5}) == {name: 5}


@pytest.mark.parametrize(
    "secret",
    [
        "sk-proj-abcdefghijklmnopqrst",
        "hf_abcdefghijklmnopqrst",
        "ghp_abcdefghijklmnopqrst",
        "AKIAABCDEFGHIJKLMNOP",
        "eyJhbGciOiJI.eyJzdWIiOiIx.abc-def",
    ],
)
def test_values_that_look_like_secrets(secret):
    assert redacted({"notes": f"a {secret} b"}) == {"notes": "a *** b"}


def test_structures_keep_their_shape():
    value = {"a": [{"token": "x"}, "plain", 3, None, True], "b": None}
    assert redacted(value) == {"a": [{"token": "***"}, "plain", 3, None, True], "b": None}


@pytest.mark.parametrize(
    ("url", "shown"),
    [
        ("https://host/v1", "https://host/v1"),
        ("https://me:pw@host:8/v1#x", "https://***@host:8/v1#x"),
        ("https://token@host/a.git", "https://***@host/a.git"),
        ("http://h/?a=1&sig=zz", "http://h/?a=1&sig=***"),
        ("http://h/?b=%20", "http://h/?b=%20"),
        ("http://[bad/", "***"),
    ],
)
def test_urls(url, shown):
    assert redacted_url(url) == shown


TOKENS = {
    "openai": f"sk-{letters(1, 48)}",
    "openai project": f"sk-proj-{letters(2, 20)}-{letters(3, 20)}_{letters(4, 20)}",
    "anthropic": f"sk-ant-api03-{letters(5, 40)}-{letters(6, 40)}-AA",
    "openrouter": f"sk-or-v1-{letters(7, 64, '0123456789abcdef')}",
    "hugging face": f"hf_{letters(8, 34, string.ascii_letters)}",
    "github": f"github_pat_{letters(9, 22)}_{letters(10, 59)}",
    "github app": f"ghs_{letters(11, 36)}",
    "gitlab": f"glpat-{letters(12, 20)}",
    "slack": "xoxb-123456789012-1234567890123-" + letters(13, 24),
    "groq": f"gsk_{letters(14, 52)}",
    "xai": f"xai-{letters(15, 80)}",
    "replicate": f"r8_{letters(16, 37)}",
    "perplexity": f"pplx-{letters(17, 48)}",
    "tavily": f"tvly-{letters(18, 32)}",
    "nvidia": f"nvapi-{letters(19, 64)}",
    "aws": "ASIA" + letters(20, 16, string.ascii_uppercase + string.digits),
    "google": f"AIza{letters(21, 35)}",
    "sendgrid": f"SG.{letters(22, 22)}.{letters(23, 43)}",
    "stripe": f"sk_live_{letters(24, 24)}",
    "npm": f"npm_{letters(25, 36)}",
    "pypi": f"pypi-AgEIcHlwaS5vcmc{letters(26, 60)}",
    "langsmith": f"lsv2_pt_{letters(27, 32)}_{letters(28, 10)}",
    "jwt": f"eyJ{letters(29, 20)}.eyJ{letters(30, 40)}.{letters(31, 43)}",
}


@pytest.mark.parametrize("token", TOKENS.values(), ids=TOKENS)
@pytest.mark.parametrize(
    "text",
    ["{}", "key {} here", "'{}'", "x\n{}\ny", "a=%20{}", "\x1b[31m{}\x1b[0m", "https://h/{}/x"],
)
def test_a_token_of_a_vendor(token, text):
    redactor = Redactor()
    shown = redactor.text(text.format(token))
    assert shown == text.format("***")
    encoded = redactor.json(json.dumps({"a": [text.format(token)]}))
    assert json.loads(encoded) == {"a": [text.format("***")]}


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("Authorization: Bearer abc123", "Authorization: Bearer ***"),
        ("authorization: bearer abcdefgh", "authorization: bearer ***"),
        ("Authorization: Basic dXNlcjpwYXNz", "Authorization: Basic ***"),
        ("{'Authorization': 'Token abcdef'}", "{'Authorization': 'Token ***'}"),
        ('{"authorization": "abcdefgh1"}', '{"authorization": "***"}'),
        ("[(b'authorization', b'Bearer abc123')]", "[(b'authorization', b'Bearer ***')]"),
        ("Proxy-Authorization: Basic QWxhZGRpbjpvcGVu", "Proxy-Authorization: Basic ***"),
        ("sent Bearer abcdefgh1 to it", "sent Bearer *** to it"),
        ("x-api-key: abcdefg1", "x-api-key: ***"),
        ("X-API-Key: abcdefg1, next", "X-API-Key: ***, next"),
        ("api-key=abcdefg1", "api-key=***"),
        ("{'x-goog-api-key': 'abcdefgh!'}", "{'x-goog-api-key': '***'}"),
        ("'Ocp-Apim-Subscription-Key': 'abcdefg1'", "'Ocp-Apim-Subscription-Key': '***'"),
        ("headers['x-api-key'] = 'abcdefg1'", "headers['x-api-key'] = '***'"),
        ("('x-api-key', 'abcdefg1')", "('x-api-key', '***')"),
        (
            '{"name": "X-Auth-Token", "value": "abcdefg1"}',
            '{"name": "X-Auth-Token", "value": "***"}',
        ),
        ('curl -H "api_key: abcdefg1" x', 'curl -H "api_key: ***" x'),
        ("client_secret=abcdefg1&a=b", "client_secret=***&a=b"),
        ("Server=x;Password=abcdefg1;Port=3", "Server=x;Password=***;Port=3"),
        ('token = "abcdefghijklmn12"', 'token = "***"'),
        ("Cookie: sid=abcdefgh; theme=dark", "Cookie: ***"),
        ("Set-Cookie: sid=abcdefgh; Path=/", "Set-Cookie: ***"),
        ("https://me:pw@host/x", "https://***@host/x"),
        ("https://me:p@ss@host/x", "https://***@host/x"),
        ("redis://:pw@host", "redis://***@host"),
        ("https:\\/\\/me:pw@host", "https:\\/\\/***@host"),
        ("GET /v1?a=1&api_key=x&b=2", "GET /v1?a=1&api_key=***&b=2"),
        ("/v1?key=abc&amp;token=x", "/v1?key=***&amp;token=***"),
        ("https://hooks.slack.com/services/T012/B034/abcdefghij",
         "https://hooks.slack.com/services/***"),
    ],
)  # fmt: skip
def test_a_place_that_gives_a_secret_away(text, shown):
    redactor = Redactor()
    assert redactor.text(text) == shown
    assert redactor.text(shown) is shown
    layer, clean = text, shown
    for _ in range(5):
        layer, clean = json.dumps({"said": layer}), json.dumps({"said": clean})
        assert redactor.json(layer) == clean


@pytest.mark.parametrize("kind", ["", "RSA ", "EC ", "OPENSSH ", "ENCRYPTED "])
def test_a_private_key(kind):
    lines = [letters(f"{kind}{n}", 64, LETTERS + "+/") for n in range(5)]
    marks = f"-----BEGIN {kind}PRIVATE KEY-----", f"-----END {kind}PRIVATE KEY-----"
    key = "\n".join([marks[0], *lines, marks[1]])
    redactor = Redactor()
    for text in (key, repr(key), key.replace("\n", "\nE       "), key.rpartition("\n")[0]):
        shown = redactor.text(f"a {text} b")
        assert shown.startswith(("a -----BEGIN", "a '-----BEGIN"))
        assert not any(line[:20] in shown for line in lines)
    encoded = json.dumps({"a": json.dumps({"b": key})})
    inner = json.loads(json.loads(redactor.json(encoded))["a"])
    assert inner == {"b": f"{marks[0]}***{marks[1]}"}


def template_texts():
    folder = importlib.resources.files("smolagents.prompts")
    return [file.read_text(encoding="utf-8") for file in folder.iterdir() if "yaml" in file.name]


def data_url(seed):
    content = random.Random(seed).randbytes(30_000)
    return f"data:image/png;base64,{base64.b64encode(content).decode()}"


def test_ordinary_text_stays_as_it_is():
    redactor = Redactor.from_environment({"ACME_API_KEY": VALUE})
    numbers = random.Random(1)
    texts = [
        *template_texts(),
        *(str(uuid.UUID(int=numbers.getrandbits(128))) for _ in range(200)),
        *(f"{numbers.getrandbits(160):040x}" for _ in range(200)),
        *(f"trace {numbers.getrandbits(128):032x} span {numbers.getrandbits(64):016x}"
          for _ in range(200)),
        *map(data_url, range(20)),
        "The secret: be kind. The key: practice. A token of thanks; the password is required.",
        "Bearer authentication is not Basic authentication. authorization: required here.",
        "The cookie: a sweet biscuit. Cookies and keys. Turkey: a country. donkey = animal",
        "Write to me@example.com or ask @someone; a @ b. R&D cost? yes=1",
        "meta-llama/Llama-3.1-8B-Instruct gpt-4o-mini-2024-07-18 claude-sonnet-4-20250514",
        "Qwen/Qwen2.5-Coder-32B-Instruct-AWQ text-embedding-3-large risk-assessment-framework",
        "scikit-learn, sk-learn-contrib-extension, task-scheduling-of-many-processes",
        "hf_hub_download_with_retries(repo_id) HF_HUB_ENABLE_HF_TRANSFER=1",
        "max_tokens=1000, token_count: 12345678, input_tokens=123456789, eos_token='<|im_end|>'",
        "def f(api_key: str | None = None, password: Optional[str] = None) -> SecretStr: ...",
        "client = OpenAI(api_key=os.environ['OPENAI_API_KEY'], base_url=self.base_url)",
        "api_key=self.api_key, password=settings.db.password, secret=get_secret()",
        "api_key=self.client2.api_key, password=settings.db_1.password",
        'OpenAI(api_key="EMPTY"), api_key="not-needed", api_key="None", password="string"',
        '{"api_key": {"type": "string", "description": "The API key to use."}}',
        '{"primary_key": "customer_id_12345", "sort_key": "created_at", "key": "value"}',
        '{"prompt_tokens": 12345678, "key": 1763865724123456789}',
        "https://example.com/a?page=2&author=ann&keyword=bank#key git clone ssh://git@host/x",
        "12:30:45 - 2026-01-02T03:04:05Z - 192.168.0.1:8080 - 1,234,567.89 - +49 30 1234567",
        "assert answer == 'Bern' ... and so on … the end",
    ]  # fmt: skip
    for text in texts:
        assert redactor.text(text) is text
        encoded = json.dumps([text])
        assert redactor.json(encoded) is encoded


def test_a_traceback_stays_as_it_is():
    def f(api_key=None, *, password=None):
        raise ValueError(f"no {api_key} and {password}")

    try:
        f(api_key="abc")
    except ValueError:
        text = traceback.format_exc()
    assert Redactor().text(text) is text


VARIABLES = {
    "OPENAI_API_KEY": VALUE,
    "HF_TOKEN": VALUE,
    "AWS_SECRET_ACCESS_KEY": VALUE,
    "DB_PASSWORD": VALUE,
    "MYSQL_PWD": VALUE,
    "GITHUB_PAT": VALUE,
    "API_KEY_2": VALUE,
    "SSH_KEY_B64": VALUE,
    "X_AUTH": f"Bearer {VALUE}",
    "OTEL_EXPORTER_OTLP_HEADERS": f"x-team=a,x-honeycomb-team={VALUE}",
    "SESSION_COOKIE": f"sid={VALUE}; path=/",
    "ANY_URL": f"postgresql://app:{VALUE}@host/db",
    "ANY_OTHER_URL": f"https://host/?a=1&access_token={VALUE}",
    "ANY_SETTING": f"Endpoint=https://x;SharedAccessKey={VALUE}",
    "GOOGLE_CREDENTIALS": json.dumps({"type": "service_account", "private_key": VALUE}),
    "quoted_token": f'"{VALUE}"',
}


@pytest.mark.parametrize("name", VARIABLES)
def test_a_credential_in_the_environment(name):
    redactor = Redactor.from_environment({"HOME": "/root", name: VARIABLES[name]})
    assert redactor.text(f"it is{VALUE}indeed") == "it is***indeed"


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("HOME", "/home/somebody12"),
        ("LANG", "en_US.UTF-8-and-more"),
        ("SSH_AUTH_SOCK", "/tmp/ssh-Xq8kzL1p/agent.4711"),
        ("XAUTHORITY", "/run/user/1000/.mutter-Xwaylandauth.4XY1"),
        ("GOOGLE_APPLICATION_CREDENTIALS", "/etc/keys/account-1.json"),
        ("TLS_KEY", "./certs/server-key.pem"),
        ("API_KEY_FILE", "/run/secrets/api_key_1"),
        ("PWD", "/home/ann/Project-1234"),
        ("OLDPWD", "/home/ann/Project-1234"),
        ("GIT_AUTHOR_NAME", "Jane van Doe 3rd"),
        ("TOKENIZERS_PARALLELISM", "false"),
        ("REQUIRE_AUTH", "true"),
        ("API_KEY", "none"),
        ("OPENAI_API_KEY", "EMPTY"),
        ("OPENAI_API_KEY", "not-needed"),
        ("OPENAI_API_KEY", "lm-studio"),
        ("OPENAI_API_KEY", "your-api-key-here"),
        ("AUTH_TYPE", "client_credentials_2"),
        ("AUTH_HOST", "login.example.com:8443"),
        ("AUTH_TOKEN_URL", "https://login.example.com/v2/token"),
        ("OAUTH", "https://login.example.com/v2/token"),
        ("SECRET_LENGTH", "1234567890123"),
        ("AUTH_DATE", "2026-01-02"),
        ("SESSION_TOKEN", "assistant"),
        ("SORT_KEY", "created_at"),
        ("AWS_ACCESS_KEY_ID", "not one of theirs 123"),
    ],
)
def test_what_is_no_credential(name, value):
    assert list(secrets_of({name: value})) == []


def test_variables_that_are_set_later_are_learnt():
    redactor = Redactor.from_environment({"A_KEY": "first-value-1"})
    redactor.learn({"A_KEY": "other-value-2", "PYTEST_CURRENT_TEST": "x"})
    assert redactor.text("first-value-1 other-value-2") == "*** ***"


def test_what_is_given_as_an_argument_is_known():
    given = {"client_kwargs": {"default_headers": [{"x-key": VALUE}]}, "base_url": None, "n": 3}
    assert Redactor.from_environment({}, given).text(f"({VALUE})") == "(***)"


def test_values_of_a_redactor_are_taken_out_of_structures():
    redactor = Redactor([VALUE])
    assert redactor.value({"a": (f"x{VALUE}", 1), "api_key": "x"}) == {
        "a": ["x***", 1], "api_key": "***"
    }  # fmt: skip


ODD = ["abc\"de'f\\g1", "line1 of it\nline2 of it", "pässwörd-ß1", "tab\there9",
       "日本語パスワード1",
       "a&b=c d<e>f1", "x\\\\y\\\\z12", "nabcdefgh1", "u0041bcd12", "\U0001f511key-9x"]  # fmt: skip


@pytest.mark.parametrize("value", ODD)
def test_every_notation_of_a_value(value):
    redactor = Redactor([value])
    notations = [
        value, repr(value)[1:-1], ascii(value)[1:-1], repr(value.encode())[2:-1],
        quote(value), quote(value, safe=""), quote_plus(value), html.escape(value),
        json.dumps(value)[1:-1], json.dumps(value, ensure_ascii=False)[1:-1],
        orjson.dumps(value).decode()[1:-1], json.dumps(json.dumps(value))[1:-1],
        json.dumps(repr(value))[1:-1],
    ]  # fmt: skip
    for notation in notations:
        shown = redactor.text(f"<{notation}>")
        assert "***" in shown
        assert shown.strip("<>\"\\'") == "***"


def random_secret(dice):
    alphabet = dice.choice(
        [LETTERS, LETTERS + "\"\\'\n", LETTERS + "äß日\U0001f511\u2028", '"\\ab1']
    )
    return dice.choice("KQZ7") + "".join(dice.choices(alphabet, k=dice.randint(11, 60)))


def random_document(dice, secrets, depth=0):
    kind = dice.random()
    if depth < 4 and kind < 0.5:
        pairs = range(dice.randint(0, 4))
        return {f"k{n}": random_document(dice, secrets, depth + 1) for n in pairs}
    if depth < 4 and kind < 0.6:
        return [random_document(dice, secrets, depth + 1) for _ in range(dice.randint(0, 3))]
    if kind < 0.7:
        return dice.choice([None, True, 1.5, -7, 10**15 + dice.randint(0, 99), 1e-9])
    text = "".join(dice.choices(string.printable + 'äß日"\\\n', k=dice.randint(0, 30)))
    if kind < 0.85:
        text += dice.choice(secrets)
    if kind > 0.95:
        text = json.dumps({"api_key": dice.choice(secrets), "inner": text})
    return text + dice.choice(["", "\\", "\n", '"', "…"])


def same_shape(one, other):
    if isinstance(one, dict):
        return one.keys() == other.keys() and all(same_shape(one[k], other[k]) for k in one)
    if isinstance(one, list):
        return len(one) == len(other) and all(map(same_shape, one, other))
    return one == other if not isinstance(one, str) else isinstance(other, str)


def leaves(value):
    if isinstance(value, dict | list):
        for item in value.values() if isinstance(value, dict) else value:
            yield from leaves(item)
    elif isinstance(value, str):
        yield value


@pytest.mark.parametrize("seed", range(300))
def test_json_stays_json(seed):
    dice = random.Random(seed)
    secrets = [random_secret(dice) for _ in range(5)]
    document = [random_document(dice, secrets) for _ in range(12)]
    line = dice.choice([json.dumps, lambda v: orjson.dumps(v).decode()])(document)
    shown = json.loads(Redactor(secrets).json(line))
    assert same_shape(document, shown)
    for before, after in zip(leaves(document), leaves(shown), strict=True):
        assert not any(secret in after for secret in secrets)
        if before.startswith('{"api_key":') and before.endswith("}"):
            assert "***" in json.loads(after)["api_key"]
        if not any(secret in before for secret in secrets) and '{"api_key"' not in before:
            assert after == before


def test_fields_and_numbers_of_json_are_no_secrets():
    redactor = Redactor(["start_unix_ns_of", "123456789012"])
    line = json.dumps(
        {"start_unix_ns_of": 123456789012, "b": [123456789012], "c": "123456789012 x"},
        separators=(",", ":"),
    )
    shown = json.loads(redactor.json(line))
    assert shown == {"start_unix_ns_of": 123456789012, "b": [123456789012], "c": "*** x"}


@pytest.mark.parametrize(
    ("value", "text"),
    [("nabcdefgh1", "\nabcdefgh1"), ("u0007bcd12", "\x07bcd12"), ("tQwertyuiop", "\\\tQwertyuiop")],
)
def test_an_escape_of_json_is_not_the_beginning_of_a_value(value, text):
    redactor = Redactor([value])
    for layer in (json.dumps([text]), json.dumps([json.dumps(text)])):
        assert json.loads(redactor.json(layer))[0][0] == json.loads(layer)[0][0]
    assert json.loads(redactor.json(json.dumps([f"\\{value}\\"]))) == ["\\***\\"]


def test_digits_within_a_number_are_another_number():
    text = "1123456789012 and 1234567890129"
    assert Redactor(["123456789012"]).text(text) is text


def test_overlapping_values_leave_nothing():
    redactor = Redactor(["Zabcdef-1234-Q", "1234-Q9999-Zrest"])
    assert redactor.text("<Zabcdef-1234-Q9999-Zrest>") == "<***>"


def test_a_value_within_another_leaves_nothing():
    redactor = Redactor(["Q1w2e3r4t5", "prefix-Q1w2e3r4t5-suffix"])
    assert redactor.text("<prefix-Q1w2e3r4t5-suffix> <Q1w2e3r4t5>") == "<***> <***>"


def test_a_long_part_of_a_value_is_taken_for_it():
    value = letters("long", 60)
    redactor = Redactor([value])
    for part in (value[:40], value[20:], value[:30] + "\n" + value[30:]):
        shown = redactor.text(f"<{part}>")
        assert not any(value[n : n + 12] in shown for n in range(48))


@pytest.mark.parametrize("mark", ["...", "…"])
def test_the_ends_of_a_value_beside_what_was_left_out(mark):
    redactor = Redactor([VALUE])
    text = f"assert 'it is {VALUE[:6]}{mark}{VALUE[-7:]}' and {VALUE[:4]}{mark}"
    shown = f"assert 'it is ***{mark}***' and ***{mark}"
    assert redactor.text(text) == shown
    assert json.loads(redactor.json(json.dumps([text], ensure_ascii=False))) == [shown]


def test_the_beginning_of_a_value_at_the_end_of_a_message_that_was_cut():
    for kept in range(5, len(VALUE) - 1):
        message = one_line("x" * (4095 - kept) + VALUE)
        assert Redactor([VALUE]).text(message) == "x" * (4095 - kept) + "***…"
        line = json.dumps([message], ensure_ascii=False)
        assert VALUE[:5] not in Redactor([VALUE]).json(line)


def test_a_token_that_was_seen_is_known_when_it_is_cut():
    redactor = Redactor()
    token = letters("seen", 40)
    redactor.text(f"Authorization: Bearer {token}")
    assert redactor.text(f"'Autho...{token[-12:]}'") == "'Autho...***'"
    assert redactor.text(f"{token[:9]}...") == "***..."


def test_text_without_secrets_is_the_same_object():
    redactor = Redactor.from_environment(VARIABLES)
    text = "nothing to see " * 100
    assert redactor.text(text) is text
    assert redactor.json(text) is text


def test_every_line_of_a_journal(tmp_path):
    value = f"{VALUE}\"'\\\n"
    writer = JournalWriter(tmp_path / "r" / "journal.jsonl", Redactor([value]))
    writer.create(
        Header(session_id="s", started_unix_ns=1, plugin_version="1", config={"notes": value},
               environment={"url": f"https://me:{VALUE[:9]}@host"})
    )  # fmt: skip
    writer.plan(Plan((Declared(case_id="c", nodeid=f"t.py::c[{value}]", prompt=value),)))
    writer.open_case(f"t.py::c[{value}]", "main", 5)
    writer.close(Footer(ended_unix_ns=9, stop_reason=f"error: {value}", exit_status=1))
    lines = writer.path.read_text(encoding="utf-8").splitlines()
    header, plan, opened, end = map(json.loads, lines)
    assert (header["config"], header["environment"]) == (
        {"notes": "***"}, {"url": "https://***@host"}
    )  # fmt: skip
    assert (plan["cases"][0]["prompt"], plan["cases"][0]["nodeid"]) == ("***", "t.py::c[***]")
    assert (opened["nodeid"], opened["unix_ns"]) == ("t.py::c[***]", 5)
    assert end["stop_reason"] == "error: ***"
