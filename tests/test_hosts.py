"""Who may speak to the server: raw requests under allowed and hostile names, and a Chromium for which such a name leads here."""

import os
import socket
import subprocess
import sys
import threading
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, HTTPServer
from urllib.parse import urlsplit

import pytest

from benchmarks.browser import chromium, chromium_path
from pfd_engine.cli import quickstart
from pfd_engine.errors import InputError
from pfd_engine.jobs.hosts import Authority, Hosts
from pfd_engine.workspace import REPOSITORY
from tests.app_session import Session, texts
from tests.raw_requests import request, web_socket
from tests.servers import free_port, running

REBOUND = "rebound.evil.example"
PATHS = [
    "",
    "evaluate",
    "_stcore/host-config",
    "_stcore/metrics",
    "media/x.png",
    "component/x/y.js",
    "static/x.js",
    "oauth2callback",
    "x/y",
]
AUTH = """[auth]
redirect_uri = "https://sign-in.example.org/oauth2callback"
cookie_secret = "a secret of this test alone, long enough"
"""


def environment(root, **more):
    kept = {name: value for name, value in os.environ.items() if not name.startswith(("PFD_", "STREAMLIT_"))}
    (root / "home" / ".streamlit").mkdir(parents=True, exist_ok=True)
    return kept | {"HOME": str(root / "home"), "PFD_HOME": str(root / "workspace")} | more


def command(way, port, address):
    if way == "streamlit run":
        return [sys.executable, "-m", "streamlit", "run", "app.py", f"--server.port={port}", f"--server.address={address}"]
    return [sys.executable, "-m", "pfd_engine.cli.serve", way, "--port", str(port), "--address", address]


def started(way, root, address="127.0.0.1", host="127.0.0.1", **variables):
    port = free_port()
    return running(command(way, port, address), port, "_stcore/health", REPOSITORY, environment(root, **variables), host)


@pytest.fixture(scope="module", params=["streamlit run", "hosted"])
def address(request, tmp_path_factory):
    """A server of each kind that has something to take, at which two more hosts are named."""
    root = tmp_path_factory.mktemp("served")
    variables = {"PFD_HOSTS": "pfd.example.org, lab.example.org:8443", "PFD_ALLOWED_USERS": "ann@example.org"}
    environment(root)
    if request.param == "hosted":
        (root / "home" / ".streamlit" / "secrets.toml").write_text(AUTH)
    with started(request.param, root, **variables) as found:
        yield found


@pytest.fixture
def port(address):
    return urlsplit(address).port


def hostile_hosts(port):
    return [
        f"{REBOUND}:{port}",
        REBOUND,
        f"127.0.0.1.{REBOUND}:{port}",
        f"localhost.{REBOUND}",
        f"127.0.0.1:{port}@{REBOUND}",
        f"{REBOUND}#127.0.0.1",
        f"127.0.0.1:{port}, {REBOUND}",
        f"127.0.0.1:{port}/{REBOUND}",
        f"0.0.0.0:{port}",
        f"[::]:{port}",
        f"10.0.0.1:{port}",
        "pfd.example.org.evil.example",
        "",
    ]


def test_a_page_or_socket_under_a_strangers_name_is_refused_with_one_sentence(address, port):
    for host in hostile_hosts(port):
        page = request(address, f"Host: {host}")
        assert page.status == 403, host
        assert page.body.count("\n") == 1
        assert page.body.startswith("This server does not answer to the host ")
        assert "PFD_HOSTS" in page.body
        assert page.headers["content-type"] == "text/plain; charset=utf-8"
        for origin in (f"http://{host}", address):
            socket_answer = web_socket(address, f"Host: {host}", f"Origin: {origin}")
            assert (socket_answer.status, socket_answer.body) == (403, page.body), (host, origin)
        assert web_socket(address, f"Host: {host}").status == 403


@pytest.mark.parametrize("method", ["GET", "HEAD", "POST", "PUT", "DELETE", "OPTIONS"])
def test_every_path_refuses_a_strangers_name_and_page(address, port, method):
    for path in PATHS:
        answer = request(address, f"Host: {REBOUND}:{port}", path=f"/{path}", method=method)
        assert answer.status == 403, path
        assert (answer.body == "") == (method == "HEAD")
        answer = request(address, f"Host: 127.0.0.1:{port}", f"Origin: http://{REBOUND}:{port}", path=f"/{path}", method=method)
        assert answer.status == 403, path
    upload = "/_stcore/upload_file/0123/4567"
    answer = request(address, f"Host: {REBOUND}:{port}", f"Origin: http://{REBOUND}:{port}", "Content-Length: 0", path=upload, method="PUT")
    assert answer.body.startswith("This server does not answer")


def test_a_request_with_no_host_or_two_is_refused(address, port):
    assert request(address, version="HTTP/1.0").status in (400, 403)
    assert request(address, f"Host: 127.0.0.1:{port}", f"Host: {REBOUND}").status in (400, 403)
    assert request(address, f"Host: {REBOUND}", f"Host: 127.0.0.1:{port}").status in (400, 403)
    assert request(address, f"Host: {REBOUND}", path=f"http://127.0.0.1:{port}/").status in (400, 403)
    assert web_socket(address, f"Host: 127.0.0.1:{port}", f"Host: {REBOUND}").status in (400, 403)


def test_an_allowed_name_gets_page_and_socket(address, port):
    names = ["127.0.0.1", "localhost", "LocalHost", "localhost.", "[::1]", "[0:0:0:0:0:0:0:1]", "pfd.example.org", "lab.example.org"]
    for name in names:
        page = request(address, f"Host: {name}:{port}")
        assert page.status == 200, name
        assert page.headers["content-security-policy"] == "frame-ancestors 'self'"
        assert web_socket(address, f"Host: {name}:{port}", f"Origin: http://{name}:{port}").status == 101, name
    # Behind a proxy the default port is left out, and the scheme is the proxy's.
    assert web_socket(address, "Host: pfd.example.org", "Origin: https://pfd.example.org").status == 101
    assert web_socket(address, f"Host: 127.0.0.1:{port}").status == 101  # not from a browser, which names an origin


@pytest.mark.parametrize(
    "origin",
    [
        "http://127.0.0.1:{other}",
        "http://127.0.0.1",
        "https://127.0.0.1",
        "http://localhost:{port}",
        "http://localhost:{other}",
        "http://0.0.0.0:{port}",
        f"http://{REBOUND}:{{port}}",
        "http://pfd.example.org:{port}",
        "https://lab.example.org",
        "null",
        "file://",
        "chrome-extension://abcdefgh",
        "127.0.0.1:{port}",
        "",
    ],
)
def test_the_page_of_another_origin_gets_no_socket(address, port, origin):
    given = origin.format(port=port, other=port - 1)
    refused = web_socket(address, f"Host: 127.0.0.1:{port}", f"Origin: {given}")
    assert refused.status == 403
    assert refused.body.startswith("This server answers no page of ")
    assert refused.body.count("\n") == 1


def test_a_named_page_gets_a_socket_although_its_proxy_names_this_machine(address, port):
    assert web_socket(address, f"Host: 127.0.0.1:{port}", "Origin: https://pfd.example.org").status == 101
    assert web_socket(address, f"Host: 127.0.0.1:{port}", "Origin: https://lab.example.org:8443").status == 101


def test_health_checks_are_answered_under_any_name(address, port):
    for host in (f"127.0.0.1:{port}", "balancer.internal", "10.1.2.3:80"):
        for method in ("GET", "HEAD"):
            assert request(address, f"Host: {host}", path="/_stcore/health", method=method).status == 200
    assert request(address, f"Host: {REBOUND}", path="/_stcore/health", method="POST").status == 403
    assert request(address, f"Host: {REBOUND}", path="/_stcore/health/../host-config").status == 403


def test_a_session_works_behind_the_check(address):
    with Session(address) as session:
        assert "Does the student generalize or memorize?" in texts(session.open(""))


def test_the_host_of_redirect_uri_is_allowed_on_a_host_that_signs_users_in(address, request):
    granted = web_socket(address, "Host: sign-in.example.org", "Origin: https://sign-in.example.org").status
    assert granted == (101 if "hosted" in request.node.name else 403)


def test_the_address_to_which_a_request_was_sent_is_allowed_where_all_are_served(tmp_path):
    if not sys.platform.startswith("linux"):
        pytest.skip("only Linux answers at every address of the loopback network")
    with started("streamlit run", tmp_path, address="0.0.0.0") as address:
        port = urlsplit(address).port
        assert request(address, f"Host: 127.0.0.2:{port}", to="127.0.0.2").status == 200
        assert web_socket(address, f"Host: 127.0.0.2:{port}", f"Origin: http://127.0.0.2:{port}", to="127.0.0.2").status == 101
        for host in (f"127.0.0.3:{port}", f"0.0.0.0:{port}", f"{REBOUND}:{port}"):
            assert request(address, f"Host: {host}", to="127.0.0.2").status == 403
            assert web_socket(address, f"Host: {host}", f"Origin: http://{host}", to="127.0.0.2").status == 403


def has_ipv6():
    try:
        with socket.socket(socket.AF_INET6) as listener:
            listener.bind(("::1", 0))
            return True
    except OSError:
        return False


@pytest.mark.skipif(not has_ipv6(), reason="this machine has no IPv6 loopback")
@pytest.mark.parametrize("way", ["streamlit run", "hosted"])
def test_the_ipv6_loopback_is_served(way, tmp_path):
    with started(way, tmp_path, address="::1", host="[::1]") as address:
        port = urlsplit(address).port
        assert request(address, f"Host: [::1]:{port}").status == 200
        assert web_socket(address, f"Host: [::1]:{port}", f"Origin: http://[::1]:{port}").status == 101
        assert web_socket(address, f"Host: [::1]:{port}", f"Origin: http://[::1]:{port - 1}").status == 403
        assert request(address, f"Host: {REBOUND}:{port}").status == 403


@pytest.fixture(scope="module")
def demo(tmp_path_factory):
    with started("demo", tmp_path_factory.mktemp("demo")) as found:
        yield found


def test_the_demo_answers_under_any_name_and_may_be_framed(demo):
    page = request(demo, "Host: owner-pfd.hf.space")
    assert page.status == 200
    assert "frame-ancestors" not in page.headers.get("content-security-policy", "")
    assert web_socket(demo, "Host: owner-pfd.hf.space", "Origin: https://owner-pfd.hf.space").status == 101


SENTENCE = "PFD_HOSTS names 'https://pfd.example.org': give host names such as pfd.example.org or pfd.example.org:8443, with commas"


@pytest.mark.parametrize("way", ["streamlit run", "hosted"])
def test_a_server_does_not_start_with_a_setting_that_names_no_host(way, tmp_path):
    surroundings = environment(tmp_path, PFD_HOSTS="https://pfd.example.org")
    answer = subprocess.run(
        command(way, free_port(), "127.0.0.1"), cwd=REPOSITORY, env=surroundings, capture_output=True, text=True, timeout=60, check=False
    )
    assert answer.returncode == 2
    assert answer.stderr.splitlines() == [SENTENCE]


def test_nothing_is_measured_with_a_setting_that_names_no_host(monkeypatch, capsys):
    monkeypatch.setenv("PFD_HOSTS", "https://pfd.example.org")
    assert quickstart.main(["--port", str(free_port())]) == 2
    assert capsys.readouterr().err.splitlines() == [SENTENCE]


@pytest.mark.parametrize("entry", ["*", "*.example.org", "a/b", "a@b", "a:b", "[::1", "é.example", "x:123456", "[fe80::1%eth0]"])
def test_a_setting_that_names_no_host_is_an_error(entry, monkeypatch):
    monkeypatch.setenv("PFD_HOSTS", entry)
    with pytest.raises(InputError, match="PFD_HOSTS names"):
        Hosts.from_environment()


def test_the_address_served_is_allowed(monkeypatch):
    monkeypatch.delenv("PFD_HOSTS", raising=False)
    hosts = Hosts.from_environment(["Desk.lan", None, "0.0.0.0", "::", "[fd00::0:1]"])
    assert hosts.names == {"127.0.0.1", "localhost", "::1", "desk.lan", "fd00::1"}
    assert hosts.answers(Authority("::1", 1), None)
    assert not hosts.answers(Authority("fd00::2", 1), None)
    assert hosts.answers(Authority.parse("[::ffff:192.0.2.1]:80"), "192.0.2.1")


@contextmanager
def other_site(html):
    """A web site of somebody else, on another port of loopback."""

    class Site(BaseHTTPRequestHandler):
        def do_GET(self):
            self.send_response(200)
            self.send_header("Content-Type", "text/html")
            self.end_headers()
            self.wfile.write(html.encode())

        def log_message(self, *arguments):
            pass

    server = HTTPServer(("127.0.0.1", 0), Site)
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.05})
    thread.start()
    try:
        yield f"http://127.0.0.1:{server.server_port}"
    finally:
        server.shutdown()
        thread.join()
        server.server_close()


@pytest.fixture(scope="module")
def rebound():
    """A Chromium for which a stranger's name leads to this machine."""
    if chromium_path() is None:
        (pytest.fail if os.environ.get("CI") == "true" else pytest.skip)("no Chromium is installed here: apt-get install chromium")
    with chromium(f"--host-resolver-rules=MAP {REBOUND} 127.0.0.1") as browser:
        yield browser


OPENS = """url => new Promise(resolve => {
    const socket = new WebSocket(url, ["streamlit", "none"]);
    socket.onopen = () => { socket.close(); resolve("opened"); };
    socket.onerror = () => resolve("refused");
})"""


@pytest.mark.browser
def test_a_browser_at_a_rebound_name_gets_neither_page_nor_socket(rebound, address, port):
    page = rebound.new_page()
    answer = page.goto(f"http://{REBOUND}:{port}/evaluate")
    assert answer.status == 403
    assert page.inner_text("body").startswith(f"This server does not answer to the host {REBOUND}:{port}: ")
    assert page.locator("[data-testid=stApp]").count() == 0
    assert page.evaluate(OPENS, f"ws://{REBOUND}:{port}/_stcore/stream") == "refused"
    assert page.evaluate(OPENS, f"ws://127.0.0.1:{port}/_stcore/stream") == "refused"
    page.close()


@pytest.mark.browser
def test_a_browser_at_the_served_name_gets_page_and_socket(rebound, address, port):
    for name in ("127.0.0.1", "localhost"):
        page = rebound.new_page()
        page.goto(f"http://{name}:{port}/methods")
        page.wait_for_selector("h1")
        assert page.evaluate(OPENS, f"ws://{name}:{port}/_stcore/stream") == "opened"
        page.close()


@pytest.mark.browser
def test_another_site_neither_opens_a_socket_nor_frames_the_app(rebound, address, port):
    with other_site(f"<iframe src='{address}/methods'></iframe>") as site:
        page = rebound.new_page()
        page.goto(site)
        assert page.evaluate(OPENS, f"ws://127.0.0.1:{port}/_stcore/stream") == "refused"
        [frame] = page.frames[1:]
        assert frame.url.startswith("chrome-error:")
        page.close()


@pytest.mark.browser
def test_another_site_may_frame_the_demo(rebound, demo):
    with other_site(f"<iframe src='{demo}/methods' width=1000 height=800></iframe>") as site:
        page = rebound.new_page()
        page.goto(site)
        page.frame_locator("iframe").locator("h1").wait_for()
        page.close()
