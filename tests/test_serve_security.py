"""Who may ask a server what, and what it does with what is sent to harm it."""

import re
import socket
import struct
import time
import zlib
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

import owdfa
from owdfa.case import Case
from owdfa.serve import guard
from owdfa.serve.app import make_app
from owdfa.serve.guard import MAX_WHOLE, SECURITY_HEADERS
from owdfa.serve.place import Place
from owdfa.serve.settings import ServeSettings
from owdfa.serve.uploads import MAX_NAME, clean_name
from small_server import BOUNDARY, Process, form, make_run, picture, served

TOKEN = "a-token-of-24-characters"
JSON = {"Content-Type": "application/json"}


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    return make_run(tmp_path_factory.mktemp("run"))


@pytest.fixture
def case(tmp_path):
    return tmp_path / "case"


@pytest.fixture
def client(case):
    """A server of a case without a run, which nothing needs here."""
    Case.create(case)
    with served(case, idle_seconds=1.0) as client:
        yield client


@pytest.fixture
def guarded(case):
    """One that other machines can ask."""
    Case.create(case)
    with served(case, host="0.0.0.0", token=TOKEN) as client:
        yield client


def raw(client, text, *, seconds=20.0):
    """What comes back for some bytes, until the server closes."""
    with socket.create_connection(("127.0.0.1", client.port), timeout=seconds) as link:
        link.sendall(text)
        return rest_of(link)


def rest_of(link):
    found = b""
    try:
        while part := link.recv(65536):
            found += part
    except ConnectionResetError:
        pass
    return found


def test_every_answer_has_the_headers_that_seal_it(client):
    for path in ("/", "/v1/jobs", "/healthz", "/none", "/static/app.css", "/openapi.json"):
        answer = client.get(path)
        for name, value in SECURITY_HEADERS.items():
            assert answer.headers[name.lower()] == value
    policy = SECURITY_HEADERS["Content-Security-Policy"]
    assert "unsafe" not in policy
    assert "default-src 'none'" in policy
    assert "server" not in client.get("/").headers


# --- another name, another page ------------------------------------------------------------------


@pytest.mark.parametrize(
    "host",
    [
        "evil.example",
        "127.0.0.1.evil.example",
        "",
        "localhost.evil.example:80",
        "evil.example:8765",
    ],
)
def test_a_request_to_another_name_is_refused(client, host):
    client.host = host
    assert client.get("/").status in (400, 421)


@pytest.mark.parametrize("host", ["127.0.0.1", "localhost", "LOCALHOST:99", "[::1]:8765"])
def test_names_of_this_machine_are_served(client, host):
    client.host = host
    assert client.get("/").status == 200


def test_a_request_without_a_host_or_with_two_is_refused(client):
    assert b" 421 " in raw(client, b"GET / HTTP/1.0\r\n\r\n")
    assert b" 400 " in raw(client, b"GET / HTTP/1.1\r\n\r\n")
    two = b"GET / HTTP/1.1\r\nHost: 127.0.0.1\r\nHost: evil.example\r\n\r\n"
    assert b" 400 " in raw(client, two)


def test_numbers_alone_are_names_where_all_addresses_are_served(guarded):
    bearer = {"Authorization": f"Bearer {TOKEN}"}
    for host, status in (("192.0.2.7:80", 200), ("rebound.example", 421)):
        guarded.host = host
        assert guarded.ask("GET", "/", headers=bearer).status == status


@pytest.mark.parametrize(
    "headers",
    [
        {"Origin": "http://evil.example"},
        {"Origin": "null"},
        {"Origin": "https://127.0.0.1"},
        {"Sec-Fetch-Site": "cross-site"},
        {"Sec-Fetch-Site": "same-site"},
        {"Origin": "http://127.0.0.1:1"},
    ],
)
@pytest.mark.parametrize("path", ["/v1/review", "/v1/discover", "/v1/attribute"])
def test_what_the_page_of_another_site_sends_is_refused(client, headers, path):
    assert client.ask("POST", path, b"{}", {**JSON, **headers}).status == 403


def test_what_our_own_page_or_no_page_sends_is_taken(client):
    own = {"Origin": f"http://127.0.0.1:{client.port}", "Sec-Fetch-Site": "same-origin"}
    for headers in (own, {}, {"Sec-Fetch-Site": "none"}):
        assert client.ask("POST", "/v1/review", b"{}", {**JSON, **headers}).status == 422


def test_no_address_is_shared_with_other_sites(client):
    answer = client.ask("OPTIONS", "/v1/jobs", headers={"Origin": "http://evil.example"})
    assert not [name for name in answer.headers if name.startswith("access-control")]
    assert answer.status == 403


# --- the token -----------------------------------------------------------------------------------


def test_nothing_but_the_health_check_is_answered_without_the_token(guarded):
    app = make_app(Place(Path("none"), None), ServeSettings())
    paths = {route.path for route in app.routes if getattr(route, "path", None)}
    for path in {*paths, "/static/app.css", "/openapi.json", "/none"} - {"/healthz"}:
        assert guarded.get(re.sub(r"\{.*?\}", "x", path)).status == 401, path
    assert guarded.get("/healthz").body == b"ok\n"


@pytest.mark.parametrize(
    "given",
    [
        "Bearer ",
        "Bearer wrong",
        f"Basic {TOKEN}",
        f"Bearer {TOKEN}x",
        f"Bearer {TOKEN[:-1]}",
        "Bearer ä",
    ],
)
def test_a_wrong_token_is_refused(guarded, given):
    answer = guarded.ask("GET", "/", headers={"Authorization": given.encode("latin-1")})
    assert answer.status == 401
    assert answer.headers["www-authenticate"] == "Bearer"
    assert TOKEN not in answer.body.decode()


def test_the_token_opens_by_header_and_by_cookie(guarded):
    assert guarded.get("/", Authorization=f"Bearer {TOKEN}").status == 200
    answer = guarded.get(f"/?token={TOKEN}")
    assert (answer.status, answer.headers["location"]) == (303, "/")
    cookie = answer.headers["set-cookie"]
    assert {part.strip().lower() for part in cookie.split(";")[1:]} == {
        "httponly", "path=/", "samesite=strict",
    }  # fmt: skip
    pair = cookie.partition(";")[0]
    for told in (pair, f'other={{"a b"}}; {pair}', f"a=b;{pair}; c"):
        assert guarded.get("/", Cookie=told).status == 200
    assert guarded.get("/", Cookie=pair.replace("a-token", "b-token")).status == 401


def test_the_cookie_is_secure_behind_https(case):
    Case.create(case)
    with served(case, host="0.0.0.0", token=TOKEN, scheme="https") as client:
        assert "; secure" in client.get(f"/?token={TOKEN}").headers["set-cookie"].lower()


def test_an_address_with_the_token_leads_to_no_other_site(guarded):
    for path in ("//evil.example", "////evil.example", "/%5Cevil.example", "/%2F%2Fevil.example"):
        location = guarded.get(f"{path}?token={TOKEN}").headers["location"]
        assert not re.match(r"[/\\]{2}|[a-z]+:", location), location


def test_the_token_is_compared_in_constant_time(guarded, monkeypatch):
    compared = []
    real = guard.secrets.compare_digest
    monkeypatch.setattr(
        guard.secrets, "compare_digest", lambda a, b: compared.append(b) or real(a, b)
    )
    assert guarded.get("/", Authorization=f"Bearer {TOKEN}").status == 200
    assert compared == [TOKEN.encode()]


@pytest.mark.parametrize(
    "token", ["short", "a-token; Path=/evil-----", "a-token\r\nSet-Cookie: b=c"]
)
def test_a_token_that_could_be_guessed_or_break_a_header_is_refused(token):
    with pytest.raises(ValueError, match="token"):
        ServeSettings(token=token)


def test_where_other_machines_can_ask_a_token_is_made_and_told_once(run, case, capfd):
    server = Process(case, run, host="127.0.0.1", names=["a.example"], token=TOKEN)
    try:
        assert server.client.get("/").status == 401
        server.client.get(f"/?token={TOKEN}")
        assert server.client.get("/", Referer=f"http://x/?token={TOKEN}").status == 401
    finally:
        server.stop()
    assert TOKEN not in capfd.readouterr().err


# --- what is sent --------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("name", "clean"),
    [
        ("a.jpg", "a.jpg"),
        ("../../etc/passwd", "passwd"),
        ("..\\..\\boot.ini", "boot.ini"),
        ("/", "unnamed"),
        ("..", "unnamed"),
        ("", "unnamed"),
        (".bashrc", "bashrc"),
        ("-rf.jpg", "rf.jpg"),
        ("a\r\nSet-Cookie: b=c.jpg", "a Set-Cookie: b=c.jpg"),
        ("a\0b.jpg", "a b.jpg"),
        ("photo\u202egpj.exe", "photo gpj.exe"),
        ("a\u200b\u2066b.png", "a b.png"),
        ("Zoe\u0308.png", "Zo\u00eb.png"),
        (f"a.{'x' * 40}", f"a_{'x' * 40}"),
    ],
)
def test_names_are_cleaned(name, clean):
    assert clean_name(name) == clean


@given(st.text(max_size=400))
def test_whatever_a_name_is_it_stays_one_that_can_be_shown(name):
    made = clean_name(name)
    assert 0 < len(made.encode()) <= MAX_NAME
    assert not re.search(r"[/\\\0-\x1f\x7f-\x9f\u202a-\u202e\u2066-\u2069]", made)
    assert made[0] not in ".-"
    assert clean_name(made) == made


def test_a_hostile_name_reaches_no_path_and_no_header(run, case):
    names = [
        "../../evil.png",
        "a\u202egpj.png",
        "x" * 500 + ".png",
        "<script>alert(1)</script>.png",
    ]
    with served(case, run) as client:
        for number, name in enumerate(names):
            files = {name.replace('"', ""): picture(number)}
            answer = client.send(files)
            assert answer.status == 200
            assert answer.json["verdicts"][0]["path"] == clean_name(name)
    for path in case.rglob("*"):
        assert re.fullmatch(r"[\x20-\x7e]{1,100}", path.name)
        assert "evil" not in path.name
    assert not (case.parent / "evil.png").exists()


LIMITS = {"max_file": 3000, "max_request": 5000, "max_files": 3}


@pytest.mark.parametrize(
    "files",
    [
        {"a.png": b"x" * 3001},
        {f"{n}.png": b"x" * 2900 for n in range(8)},
        {f"{n}.png": b"x" for n in range(4)},
    ],
)
def test_files_beyond_a_limit_are_refused_and_nothing_is_left(run, case, files):
    with served(case, run, **LIMITS) as client:
        answer = client.send(files)
        assert answer.status == 413
        assert "may have" in answer.json["detail"]
        assert list((case / "uploads").iterdir()) == []
        assert client.send({"a.png": picture(1)}).status == 200


def chunked(parts):
    """A request in chunks, which says nothing of its length."""
    head = (
        b"POST /v1/attribute HTTP/1.1\r\nHost: 127.0.0.1\r\nConnection: close\r\n"
        b"Content-Type: image/png\r\nTransfer-Encoding: chunked\r\n\r\n"
    )
    return head + b"".join(b"%x\r\n%s\r\n" % (len(part), part) for part in parts) + b"0\r\n\r\n"


def test_a_body_that_does_not_say_how_long_it_is_is_counted(run, case):
    with served(case, run, **LIMITS) as client:
        assert b" 413 " in raw(client, chunked([b"x" * 1000] * 40))
        assert list((case / "uploads").iterdir()) == []


def test_a_body_that_is_shorter_than_it_says_is_forgotten(run, case):
    with served(case, run) as client:
        client.send({"a.png": picture(5)})
        head = (
            b"POST /v1/attribute?name=a.png HTTP/1.1\r\nHost: 127.0.0.1\r\n"
            b"Content-Type: image/png\r\nContent-Length: 1000\r\n\r\n"
        )
        with socket.create_connection(("127.0.0.1", client.port)) as link:
            link.sendall(head + picture(1)[:500])
            link.shutdown(socket.SHUT_WR)
            assert b" 200 " not in rest_of(link)
        deadline = time.monotonic() + 20
        while list((case / "uploads").iterdir()):
            assert time.monotonic() < deadline
            time.sleep(0.05)
        assert len(client.get("/v1/jobs").json) == 1


def test_what_follows_a_body_is_no_part_of_it(run, case):
    body = picture(1)
    text = (
        f"POST /v1/attribute?wait=0 HTTP/1.1\r\nHost: 127.0.0.1\r\nContent-Type: image/png\r\n"
        f"Content-Length: {len(body)}\r\n\r\n"
    ).encode() + body
    with served(case, run) as client:
        found = raw(client, text + b"garbage that is no request\r\n\r\n")
        assert b" 202 " in found
        assert b" 400 " in found
        (job,) = client.get("/v1/jobs").json
        assert client.wait(job["id"])["files"][0]["state"] == "done"


@pytest.mark.parametrize(
    "lies",
    [
        b"Content-Length: 5\r\nContent-Length: 6\r\n",
        b"Content-Length: -5\r\n",
        b"Content-Length: 0x10\r\n",
        b"Content-Length: 99999999999999999999999999\r\n",
        b"Content-Length: 5\r\nTransfer-Encoding: chunked, identity\r\n",
        b"Transfer-Encoding: gzip\r\n",
    ],
)
def test_a_length_that_cannot_be_is_refused(client, lies):
    head = b"POST /v1/review HTTP/1.1\r\nHost: 127.0.0.1\r\nContent-Type: application/json\r\n"
    found = raw(client, head + lies + b"\r\nhello")
    assert re.match(rb"HTTP/1.1 (400|413|501) ", found), found


@pytest.mark.parametrize(
    ("kind", "body", "status"),
    [
        (f"multipart/form-data; boundary={BOUNDARY}", b"", 400),
        (f"multipart/form-data; boundary={BOUNDARY}", form({"a.png": b"x"})[:-10], 400),
        (f"multipart/form-data; boundary={BOUNDARY}", b"no form at all", 400),
        (f"multipart/form-data; boundary={BOUNDARY}", form({}), 400),
        (f"multipart/form-data; boundary={'x' * 300}", b"", 400),
        ("multipart/form-data", b"x", 415),
        ("text/html", b"x", 415),
        ("", b"x", 415),
        ("application/x-www-form-urlencoded", b"a=b", 415),
    ],
)
def test_what_is_no_form_of_files_is_refused(run, case, kind, body, status):
    with served(case, run) as client:
        answer = client.ask("POST", "/v1/attribute", body, {"Content-Type": kind})
        assert answer.status == status
        assert answer.json["detail"]
        assert list((case / "uploads").iterdir()) == []


def test_a_form_of_endless_headers_or_parts_is_refused(run, case):
    part = b"--" + BOUNDARY.encode() + b'\r\nContent-Disposition: form-data; name="a"'
    kind = {"Content-Type": f"multipart/form-data; boundary={BOUNDARY}"}
    with served(case, run, **LIMITS) as client:
        for body in (
            part + b"\r\nX: " + b"x" * 9000 + b"\r\n\r\n",
            part + b"".join(b"\r\nX%d: y" % n for n in range(500)) + b"\r\n\r\n",
            (part + b"\r\n\r\nb\r\n") * 50,
        ):
            assert client.ask("POST", "/v1/attribute", body, kind).status in (400, 413)


def test_json_is_bounded_whatever_it_says_of_itself(client):
    deep = b"[" * 100_000
    assert client.ask("POST", "/v1/review", deep, JSON).status in (400, 422)
    head = (
        b"POST /v1/review HTTP/1.1\r\nHost: 127.0.0.1\r\nConnection: close\r\n"
        b"Content-Type: application/json\r\n"
    )
    assert b" 413 " in raw(client, head + f"Content-Length: {MAX_WHOLE + 1}\r\n\r\n".encode())
    body = b"Transfer-Encoding: chunked\r\n\r\n" + b"".join(
        b"%x\r\n%s\r\n" % (65536, b" " * 65536) for _ in range(40)
    )
    found = raw(client, head + body + b"0\r\n\r\n")
    assert b" 200 " not in found
    assert b" 500 " not in found


def test_heads_are_bounded(client):
    for head in (
        b"GET /" + b"x" * 70_000 + b" HTTP/1.1\r\nHost: 127.0.0.1\r\n\r\n",
        b"GET / HTTP/1.1\r\nHost: 127.0.0.1\r\nX: " + b"x" * 70_000 + b"\r\n\r\n",
        b"GET / HTTP/1.1\r\nHost: 127.0.0.1\r\n" + b"X: y\r\n" * 20_000 + b"\r\n",
    ):
        assert b" 200 " not in raw(client, head)


@pytest.mark.parametrize("name", ["X: y\rEvil: 1", "X: y\nEvil: 1", "X\0: y", "X : y", " X: y"])
def test_a_header_that_holds_another_is_refused(client, name):
    text = f"GET /healthz HTTP/1.1\r\nHost: 127.0.0.1\r\n{name}\r\n\r\n".encode()
    found = raw(client, text)
    assert not re.search(rb"\r\nevil:", found.lower())


def test_no_part_of_an_address_becomes_a_header(client):
    for path in ("/%0d%0aEvil:%201", "/v1/jobs/%0d%0aEvil:1", "/downloads/%0d%0aEvil:1"):
        answer = client.get(path)
        assert answer.status in (404, 422)
        assert "evil" not in answer.headers


# --- paths ---------------------------------------------------------------------------------------

OUT = [
    "..", "../case.json", "..%2fcase.json", "%2e%2e/case.json", "%2e%2e%2fcase.json",
    "..%5ccase.json", "....//case.json", "%00", "/etc/passwd", "%2fetc%2fpasswd", "..;/case.json",
    "a/../../case.json", ".", "%c0%ae%c0%ae/case.json", "..%252fcase.json",
]  # fmt: skip


@pytest.mark.parametrize(
    "place",
    ["/static/{}", "/downloads/{}", "/pictures/{}/thumb", "/pictures/{}/face/0", "/v1/jobs/{}",
     "/v1/jobs/{}/events", "/v1/verdicts/{}", "/v1/groups/{}",
     "/pictures/" + "0" * 64 + "/face/{}"],
)  # fmt: skip
def test_no_address_leads_out_of_its_folder(client, case, place):
    (case / "downloads").mkdir()
    (case / "downloads" / "a.html").write_text("made")
    for out in OUT:
        head = f"GET {place.format(out)} HTTP/1.1\r\nHost: 127.0.0.1\r\nConnection: close\r\n\r\n"
        found = raw(client, head.encode())
        assert re.match(rb"HTTP/1.1 (30\d|40\d|422) ", found), (out, found[:200])
        assert b"owdfa/case/1" not in found
        assert b"root:" not in found


def test_a_download_is_kept_and_nothing_of_it_runs(client, case):
    folder = case / "downloads"
    folder.mkdir()
    (folder / "a.html").write_text("<script>alert(1)</script>")
    (folder / "b.html").symlink_to(case / "case.json")
    answer = client.get("/downloads/a.html")
    assert answer.headers["content-type"] == "application/octet-stream"
    assert answer.headers["content-disposition"] == 'attachment; filename="a.html"'
    assert answer.headers["content-security-policy"].startswith("sandbox;")
    assert client.get("/downloads/b.html").status == 404
    assert client.get("/downloads/none.html").status == 404


# --- bombs ---------------------------------------------------------------------------------------


def png(width, height):
    """A PNG of one colour: some kilobytes, whatever its size."""

    def chunk(kind, data):
        return (
            struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))
        )

    squeezer = zlib.compressobj(9)
    row = b"\0" + bytes(-(-width // 8))
    rows = b"".join(squeezer.compress(row) for _ in range(height)) + squeezer.flush()
    head = struct.pack(">IIBBBBB", width, height, 1, 0, 0, 0, 0)
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", head) + chunk(b"IDAT", rows) + chunk(b"IEND", b"")


def test_bombs_are_refused_by_what_they_say_of_themselves(run, case):
    files = {
        "a.png": png(40_000, 40_000),
        "b.png": png(2**31 - 1, 1)[:60] + png(8, 8)[60:],
        "c.png": b"\x89PNG\r\n\x1a\n" + struct.pack(">I", 2**31 - 1) + b"IHDR" + bytes(20),
        "d.zip": b"PK\x03\x04" + bytes(10_000),
    }
    with served(case, run) as client:
        answer = client.send(files)
        reasons = {each["verdicts"][0]["outcome"]["reason"] for each in answer.json["verdicts"]}
        assert reasons == {"undecodable"}
        assert "more than" in answer.json["verdicts"][0]["verdicts"][0]["outcome"]["detail"]


def test_what_needs_more_memory_than_a_worker_may_take_is_no_end_of_it(run, case):
    files = {"a.png": png(8000, 8000), "b.png": picture(1)}  # 192 MB of pixels, and copies
    with served(case, run, worker_memory=2**28) as client:
        found = client.send(files, "wait=120").json["verdicts"]
        outcomes = [each["verdicts"][0]["outcome"] for each in found]
        assert outcomes[0]["reason"] == "undecodable"
        assert "bytes of memory" in outcomes[0]["detail"] or "worker" in outcomes[0]["detail"]
        assert outcomes[1]["reason"] != "undecodable"


# --- slow clients --------------------------------------------------------------------------------


def drip(link, part, seconds):
    """Send a byte at a time; return whether the server closed the connection."""
    deadline = time.monotonic() + seconds
    for byte in part * 10_000:
        try:
            link.sendall(bytes([byte]))
            link.settimeout(0.05)
            if link.recv(1) == b"":
                return True
        except TimeoutError:
            pass
        except OSError:
            return True
        if time.monotonic() > deadline:
            return False
    return False


def test_a_head_that_comes_a_byte_at_a_time_is_not_waited_for(client):
    with socket.create_connection(("127.0.0.1", client.port)) as link:
        assert drip(link, b"X", 20)


def test_a_head_after_another_request_is_not_waited_for_either(client):
    with socket.create_connection(("127.0.0.1", client.port)) as link:
        link.sendall(b"GET /healthz HTTP/1.1\r\nHost: 127.0.0.1\r\n\r\n")
        assert b" 200 " in link.recv(65536)
        assert drip(link, b"X", 20)


def test_a_body_that_comes_a_byte_at_a_time_is_not_waited_for(run, case):
    with served(case, run, idle_seconds=1.0) as client:
        client.send({"a.png": picture(1)})
        with socket.create_connection(("127.0.0.1", client.port)) as link:
            link.sendall(
                b"POST /v1/attribute HTTP/1.1\r\nHost: 127.0.0.1\r\nContent-Type: image/png\r\n"
                b"Content-Length: 100000\r\n\r\n"
            )
            assert drip(link, b"x", 20)
        deadline = time.monotonic() + 20
        while list((case / "uploads").iterdir()):
            assert time.monotonic() < deadline
            time.sleep(0.05)


def test_a_client_that_does_not_take_its_answer_is_let_go(client, case):
    (case / "downloads").mkdir()
    (case / "downloads" / "a.bin").write_bytes(bytes(2**26))
    with socket.create_connection(("127.0.0.1", client.port)) as link:
        link.sendall(b"GET /downloads/a.bin HTTP/1.1\r\nHost: 127.0.0.1\r\n\r\n")
        deadline = time.monotonic() + 20
        while any(c.transport.get_write_buffer_size() for c in connections(client)):
            assert time.monotonic() < deadline
            time.sleep(0.1)


def connections(client):
    return list(client.server.server_state.connections)


def test_one_connection_too_many_is_closed_at_once(case):
    Case.create(case)
    with served(case, max_connections=4) as client:
        links = [socket.create_connection(("127.0.0.1", client.port)) for _ in range(4)]
        try:
            wait_for(lambda: len(connections(client)) == 4)
            assert raw(client, b"GET /healthz HTTP/1.1\r\nHost: 127.0.0.1\r\n\r\n") == b""
        finally:
            for link in links:
                link.close()
        wait_for(lambda: not connections(client))
        assert client.get("/healthz").status == 200


def wait_for(holds):
    deadline = time.monotonic() + 20
    while not holds():
        assert time.monotonic() < deadline
        time.sleep(0.02)


def test_a_client_that_is_refused_is_not_listened_to(guarded):
    head = b"POST /v1/attribute HTTP/1.1\r\nHost: 127.0.0.1\r\nContent-Length: 100000\r\n\r\n"
    assert b" 401 " in raw(guarded, head, seconds=10)  # and the connection is closed


def test_nobody_is_told_of_a_request(monkeypatch):
    monkeypatch.setenv("FASTAPI_OTEL_AUTO_CONFIGURE", "true")
    app = make_app(Place(Path("none"), None), ServeSettings())
    telling = getattr(app, "_native_telemetry", None)  # of newer versions of FastAPI
    assert telling is None or not telling.enabled()


# --- the source ----------------------------------------------------------------------------------


def test_nothing_that_runs_what_it_reads_is_used():
    folder = Path(owdfa.__file__).parent / "serve"
    runs = r"import pickle|pickle\.|marshal|multiprocessing|shell=True|\beval\(|\bexec\(|os\.system"
    for path in folder.rglob("*.py"):
        text = path.read_text().replace("allow_pickle=False", "")
        assert not (found := re.search(f"{runs}|allow_pickle", text)), f"{path}: {found}"


def test_pages_ask_no_other_machine():
    folder = Path(owdfa.__file__).parent / "serve"
    for path in [
        *folder.rglob("*.html"),
        *folder.glob("static/*.css"),
        *folder.glob("static/*.js"),
    ]:
        assert not re.search(
            r"(src|href|url\(|import|fetch)\W{0,4}(https?:)?//", path.read_text()
        ), path
