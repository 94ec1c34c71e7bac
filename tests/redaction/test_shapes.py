import time
from itertools import pairwise
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fsstore.redaction.redact import find
from fsstore.redaction.rules import Redaction
from fsstore.redaction.shapes import PLACEHOLDER, SHAPES, hint, shapes_in

LETTERS = "aB3dE5gH7jK9mN1pQ2rS4tU6vW8xY0zA"
"""Put behind a prefix at run time, so that no scanner of this repository takes it for a real one."""

SECRETS = {
    "sk-" + LETTERS: "secret key (sk-)",
    "sk-ant-api03-" + LETTERS: "secret key (sk-)",
    "ghp_" + LETTERS: "GitHub token",
    "ghs_" + LETTERS: "GitHub token",
    "github_pat_" + LETTERS: "GitHub token",
    "glpat-" + LETTERS[:20]: "GitLab token",
    "AKIA" + "IOSFODNN7EXAMPLE": "AWS access key",
    "AIza" + LETTERS + "abc": "Google API key",
    "ya29." + LETTERS: "Google OAuth token",
    "xoxb-" + "123456789012-" + LETTERS: "Slack token",
    "sk_live_" + LETTERS: "Stripe key",
    "npm_" + LETTERS: "npm token",
    "pypi-" + LETTERS * 2: "PyPI token",
    "hf_" + LETTERS: "Hugging Face token",
    "SG." + LETTERS[:22] + "." + LETTERS: "SendGrid key",
    "eyJ" + LETTERS + ".eyJ" + LETTERS + "." + LETTERS: "JSON web token",
}


def named(key: str, value: Any) -> bool:
    """Whether a value is taken for a secret because of its name."""
    found = find(Redaction(secrets=True), {"data": {key: value}})
    return [match.rule for match in found] == ["name of the key"]


@pytest.mark.parametrize(("secret", "shape"), SECRETS.items())
def test_what_services_hand_out_is_found_in_any_text(secret: str, shape: str) -> None:
    for before, after in (("", ""), ("take ", ", please"), ("(", ")"), ('{\\"x\\": \\"', '\\"}'), ("é", "\n")):
        text = before + secret + after
        assert shapes_in(text) == [(shape, len(before), len(before) + len(secret))]
    assert shapes_in(f"{secret} and {secret}")[1][1:] == (len(secret) + 5, 2 * len(secret) + 5)


@pytest.mark.parametrize(
    ("text", "secret"),
    [
        ("Authorization: Bearer abc123def456ghi7", "abc123def456ghi7"),
        ("authorization: basic dXNlcjpwYXNzd29yZA==", "dXNlcjpwYXNzd29yZA=="),
        ("postgres://me:hunter2@host:5432/db", "hunter2"),
        ("see https://a.b/c?d and redis://:p%40ss@cache", "p%40ss"),
        ("export OPENAI_API_KEY=abc123", "abc123"),
        ("password: hunter2", "hunter2"),
        ('{"password": "hunter2", "n": 1}', "hunter2"),
        ('{\\"client_secret\\": \\"s3cr3t-value\\"}', "s3cr3t-value"),
        ("https://host/path?access_token=a1b2c3d4&next=1", "a1b2c3d4"),
        ("https://hooks.slack.com/services/T00000000/B00000000/abc", "T00000000/B00000000/abc"),
    ],
)
def test_only_the_secret_part_of_a_text_is_meant(text: str, secret: str) -> None:
    assert [text[start:stop] for _, start, stop in shapes_in(text)] == [secret]


def test_what_several_shapes_find_is_one_secret_and_all_of_it() -> None:
    text = f"token=ghp_{LETTERS}-and-more1; x"
    assert shapes_in(text) == [("GitHub token", 6, text.index(";"))]


@pytest.mark.parametrize("kind", ["RSA ", "EC ", "OPENSSH ", "", "ENCRYPTED "])
def test_a_private_key_is_found_whole_also_when_it_is_cut_off(kind: str) -> None:
    begin, end = f"-----BEGIN {kind}PRIVATE KEY-----", f"-----END {kind}PRIVATE KEY-----"
    body = "\nProc-Type: 4,ENCRYPTED\nDEK-Info: AES-128-CBC,0A\n\n" + "\n".join([LETTERS * 2] * 20) + "\n"
    text = f"before {begin}{body}{end} after"
    assert [text[start:stop] for _, start, stop in shapes_in(text)] == [f"{begin}{body}{end}"]
    assert [text[start:stop] for _, start, stop in shapes_in(text[:300])] == [text[7:300]]
    assert shapes_in(begin.replace("PRIVATE", "PUBLIC") + body) == []


@pytest.mark.parametrize(
    "text",
    [
        "a plain sentence about tokens, keys and secrets",
        "risk-based-assessment-of-2024-with-many-words",
        "disk-0123456789abcdef0123",
        "sk-learn-is-a-library-for-python",
        "the password: please enter it twice",
        "max_tokens: 4096, token_count=15, total_tokens=1234567",
        "password = get_password()",
        "password=${DB_PASSWORD} token: <your token> secret=[redacted] api_key=********",
        "a basic understanding, a bearer authentication",
        "https://example.org:8080/path@2?x=1 and https://user@example.org",
        "https://user:${PASSWORD}@host/ https://user:[redacted]@host/",
        "-----BEGIN PUBLIC KEY-----\nabc\n-----END PUBLIC KEY-----",
        "eyJ is how such a thing begins",
        "d9428888-122b-11e1-b85c-61cd3cbb3210",
        "Bearer [redacted]",
        "",
    ],
)
def test_harmless_texts_are_left_alone(text: str) -> None:
    assert shapes_in(text) == []


@pytest.mark.parametrize(
    "key",
    [
        *(
            "password",
            "Passwd",
            "db_password",
            "userPassword",
            "pwd",
            "secret",
            "clientSecret",
            "AWS_SECRET_ACCESS_KEY",
        ),
        *("api_key", "apiKey", "x-api-key", "OPENAI_API_KEY", "apikey", "api_keys", "private_key", "privateKey"),
        *("authorization", "Authorization", "Proxy-Authorization", "access_token", "refreshToken", "connection string"),
    ],
)
def test_under_a_name_that_says_so_any_value_is_a_secret(key: str) -> None:
    assert named(key, "correct horse")
    assert named(key, 12345678)
    for value in ("", "  ", None, True, "${API_KEY}", "$HOME", "<your key>", "{{ key }}", "****", "null", PLACEHOLDER):
        assert not named(key, value), value
    assert not named(key, "The words that the user has to give before anything can be seen here at all")


@pytest.mark.parametrize("key", ["token", "jwt", "credentials", "Set-Cookie", "githubToken"])
def test_under_a_name_that_models_use_too_a_value_must_look_like_one(key: str) -> None:
    assert named(key, "tok-12345")
    for value in (" Hello", "Hello", "a1", "two words 12", 4096, "internation"):
        assert not named(key, value), value


@pytest.mark.parametrize("key", ["key", "auth", "signingAuth", "cache_key"])
def test_under_a_vague_name_a_value_must_look_random(key: str) -> None:
    assert named(key, "9f86d081884c7d659a2feaa0c55ad015")
    assert named(key, LETTERS)
    assert named(key, "s3cr3t-value")
    for value in (
        *("user-settings", "messages/2024-01-01/report.json", "d9428888-122b-11e1-b85c-61cd3cbb3210", "claude-sonnet4"),
        *("aaaaaaaaaaaa1a1a", "a sentence with 12 words", "someLongNameOfAFunction", "x" * 5000 + "1a1", ""),
    ):
        assert not named(key, value), value


@pytest.mark.parametrize(
    "key",
    [
        *("max_tokens", "prompt_tokens", "monkey", "secretary", "password_policy", "author", "keyboard", "public_key"),
        *("next_page_token", "secret_count", "metadata", "session_id", "thread_id", "signature", "k" * 500, "", "_"),
    ],
)
def test_other_names_let_nothing_be_expected(key: str) -> None:
    assert not named(key, 4096)
    assert not named(key, "hunter2 and more")


def test_what_is_in_a_list_under_a_name_is_like_what_is_under_it() -> None:
    found = find(Redaction(secrets=True), {"data": {"api_keys": ["hunter2", ["hunter3"], 5]}})
    assert [match.path for match in found] == [f"$.data.api_keys{at}" for at in ("[0]", "[1][0]", "[2]")]


def test_an_object_under_a_name_may_be_its_description() -> None:
    schema = {"type": "string", "description": "the password of the user", "minLength": 8}
    value = {"password": schema, "credentials": {"value": "9f86d081884c7d659a2feaa0c55ad015"}}
    found = find(Redaction(secrets=True), {"data": value})
    assert [match.path for match in found] == ["$.data.credentials.value"]


@given(st.text(), st.sampled_from(sorted(SECRETS)), st.text())
def test_what_was_replaced_does_not_look_like_a_secret_again(before: str, secret: str, after: str) -> None:
    text = before + " " + secret + " " + after
    spans = shapes_in(text)
    assert any(text[start:stop] == secret or secret in text[start:stop] for _, start, stop in spans)
    assert all(first[2] <= second[1] for first, second in pairwise(spans))
    for _, start, stop in reversed(spans):
        text = text[:start] + PLACEHOLDER + text[stop:]
    assert shapes_in(text) == []


def test_looking_takes_time_in_proportion_to_the_text() -> None:
    needles = sorted({needle for shape in SHAPES for needle in shape.needles})
    units = [
        *(
            "sk-",
            "eyJ",
            "eyJa.",
            "éeyJ",
            "-----BEGIN PRIVATE KEY-----",
            "-----BEGIN ",
            "a:",
            "://",
            "x://y:",
            "bearer ",
        ),
        *("token=", "key:\\\\", "hooks.slack.com/services/", " ", "${", "SG.", "ya29.", "-", "a", "password:  "),
    ]
    texts = [unit * (100_000 // len(unit)) for unit in (*units, *needles)]
    for text in texts:
        started = time.process_time()
        shapes_in(text)
        find(Redaction(secrets=True), {"data": {"password": text, "token": text, "key": text}})
        # in proportion it is a small part of a second, with a square in it ten
        assert time.process_time() - started < 3, text[:20]


def test_a_hint_shows_the_length_and_little_of_a_long_secret() -> None:
    assert hint("hunter2") == "7 characters"
    assert hint("x" * 19) == "19 characters"
    assert hint("ghp_" + LETTERS) == "ghp_…, 36 characters"
    assert hint(12345678) == "a number"
    assert hint(["hunter2"]) == "a value"
