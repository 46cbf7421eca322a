"""What a page looks up for a visitor: a hostile checkpoint costs it a moment, and nobody else anything."""

import json
import shutil
import struct
import threading
import time
import urllib.request
from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file
from streamlit.testing.v1 import AppTest

from benchmarks.browser import serve
from pfd_engine import time_limit
from pfd_engine.errors import InputError
from pfd_engine.hub import download as hub_download
from pfd_engine.hub.layout import MAX_JSON_BYTES
from pfd_engine.hub.safetensors_header import BITS, MAX_HEADER_BYTES, HeaderError, end_of_header, parse
from pfd_engine.models import inspect as checkpoint_info
from pfd_engine.models.bundled import bundled_references
from pfd_engine.models.inspect import inspect
from pfd_engine.workspace import REPOSITORY
from tests.app_session import Session, texts
from tests.hub_stub import HubStub

HOSTILE_BYTES = 2_600_000
NINES = "9" * 4299  # the longest number that Python's JSON reader takes


def entry(dtype="F32", shape="[2]", offsets="[0,8]"):
    return f'{{"a":{{"dtype":"{dtype}","shape":{shape},"data_offsets":{offsets}}}}}'.encode()


def repeated(text, size=HOSTILE_BYTES):
    return "[" + ",".join([text] * (size // (len(text) + 1))) + "]"


HOSTILE = {
    "a shape of many sides": entry(shape=repeated("9" * 9)),
    "sides of thousands of digits": entry(shape=repeated(NINES)),
    "many offsets": entry(offsets=repeated(NINES)),
    "lists within lists": b'{"a":' + b"[" * HOSTILE_BYTES,
    "tensors that share their bytes": json.dumps(
        {f"t{i:06d}": {"dtype": "F32", "shape": [2], "data_offsets": [0, 8]} for i in range(HOSTILE_BYTES // 64)}
    ).encode(),
}


def safetensors(header, body=bytes(8)):
    return struct.pack("<Q", len(header)) + header + body


def checkpoint(folder, content):
    """A folder with the configuration of a bundled student and the weights given."""
    folder.mkdir()
    shutil.copy(Path(bundled_references().student_memorizes) / "config.json", folder)
    (folder / "model.safetensors").write_bytes(content)
    return folder


@pytest.mark.parametrize("header", HOSTILE.values(), ids=HOSTILE)
def test_a_hostile_header_is_refused_in_a_moment(header, tmp_path):
    folder = checkpoint(tmp_path / "model", safetensors(header))
    start = time.thread_time()
    found = inspect(str(folder))
    assert time.thread_time() - start < 3
    assert not found.loadable
    assert found.reason.endswith("truncated or corrupted: save or upload them again")


def test_the_server_answers_others_while_a_page_looks_at_a_hostile_header(tmp_path):
    folder = checkpoint(tmp_path / "model", safetensors(HOSTILE["a shape of many sides"]))
    waits, ended = [], threading.Event()

    def ask(address):
        while not ended.is_set():
            start = time.monotonic()
            urllib.request.urlopen(f"{address}/_stcore/health", timeout=120).close()
            waits.append(time.monotonic() - start)
            time.sleep(0.05)

    with serve(environment={"PFD_HOME": str(tmp_path / "home")}) as address, Session(address, timeout=120) as session:
        asking = threading.Thread(target=ask, args=(address,))
        asking.start()
        try:
            shown = texts(session.open("checkpoints", f"reference={folder}"))
        finally:
            ended.set()
            asking.join()
    assert "truncated or corrupted" in shown
    assert max(waits) < 5


@pytest.mark.parametrize(
    "header",
    [
        b"",
        b"[]",
        b"{}",
        b'{"a":[]}',
        b'{"__metadata__":{}}',
        entry(dtype="F33"),
        entry().replace(b'"F32"', b"[]"),
        entry(shape="2"),
        entry(shape="[2.0]"),
        entry(shape="[-2,-1]"),
        entry(shape="[true,2]"),
        entry(shape="[1,1,1,1,1,1,1,1,2]"),
        entry(shape="[0,2147483648]", offsets="[0,0]"),
        entry(offsets="[8]"),
        entry(offsets="[0,8,8]"),
        entry(offsets="[0,4]"),
        entry(offsets="[8,0]"),
        entry(offsets="[4,12]"),
        entry(offsets='["0","8"]'),
        entry(offsets="[0,9223372036854775808]"),
        entry()[:-1] + b',"b":{"dtype":"F32","shape":[2],"data_offsets":[0,8]}}',
        entry()[:-1] + b',"b":{"dtype":"F32","shape":[2],"data_offsets":[12,20]}}',
    ],
    ids=lambda header: header.decode()[:80],
)
def test_a_header_that_no_sound_file_has_is_an_error(header):
    with pytest.raises(HeaderError):
        parse(safetensors(header))


def test_a_file_of_every_type_is_read_as_it_was_written(tmp_path):
    types = [torch.float32, torch.float16, torch.bfloat16, torch.float64, torch.int64, torch.uint8, torch.bool, torch.float8_e4m3fn]
    state = {f"t{i}": torch.zeros(3, i + 1).to(dtype) for i, dtype in enumerate(types)}
    state |= {"scalar": torch.tensor(1.0), "none": torch.zeros(0, 4)}
    save_file(state, tmp_path / "file", metadata={"format": "pt"})
    content = (tmp_path / "file").read_bytes()
    tensors = parse(content[: end_of_header(content)])
    assert sum(tensor.parameters for tensor in tensors) == sum(value.numel() for value in state.values())
    assert end_of_header(content) + tensors[-1].stop == len(content)
    assert {BITS[tensor.dtype] for tensor in tensors} == {8, 16, 32, 64}


def too_long_a_header():
    return safetensors(b" " * (MAX_HEADER_BYTES - len(entry()) + 1) + entry())


def test_a_header_of_more_than_8_mib_is_refused_and_one_of_8_mib_is_read(tmp_path):
    longest = checkpoint(tmp_path / "longest", safetensors(b" " * (MAX_HEADER_BYTES - len(entry())) + entry()))
    assert (inspect(str(longest)).loadable, inspect(str(longest)).parameters) == (True, 2)
    longer = inspect(str(checkpoint(tmp_path / "longer", too_long_a_header())))
    assert not longer.loadable
    assert "at most 8 MiB are read" in longer.reason


def remote(monkeypatch, folder, **options):
    files = {path.name: path.read_bytes() for path in folder.iterdir()}
    stub = HubStub(files, **options)
    stub.__enter__()
    monkeypatch.setenv("HF_ENDPOINT", stub.endpoint)
    return stub


def test_nothing_but_its_length_is_fetched_of_a_header_that_is_too_long(tmp_path, monkeypatch):
    folder = checkpoint(tmp_path / "model", too_long_a_header())
    stub = remote(monkeypatch, folder, chunk_seconds=0.02)
    try:
        assert "at most 8 MiB are read" in inspect("acme/model").reason
        assert stub.wait_for("model.safetensors") < 2**21
    finally:
        stub.__exit__()


def test_a_hub_that_sends_a_header_too_slowly_is_given_up(tmp_path, monkeypatch):
    folder = checkpoint(tmp_path / "model", safetensors(b" " * 4_000_000 + entry()))
    stub = remote(monkeypatch, folder, chunk_seconds=0.25)
    monkeypatch.setattr(hub_download, "LOOK_UP_SECONDS", 1.0)
    try:
        with pytest.raises(InputError, match="sends acme/model@0123456789abcdef0123456789abcdef01234567 too slowly"):
            inspect("acme/model")
    finally:
        stub.__exit__()


def test_a_configuration_of_more_than_1_mib_is_refused_before_it_is_fetched(tmp_path, monkeypatch):
    folder = checkpoint(tmp_path / "model", safetensors(entry()))
    (folder / "config.json").write_bytes(b" " * MAX_JSON_BYTES + b"{}")
    stub = remote(monkeypatch, folder)
    try:
        assert "config.json is larger than 1 MiB" in inspect("acme/model").reason
        assert stub.served == []
    finally:
        stub.__exit__()


WRONG = {"block_out_channels": "99999", "down_block_types": "1", "up_block_types": "[]", "sample_size": "1", "trained_betas": "{}"}


@pytest.mark.parametrize("field", WRONG)
def test_a_configuration_of_hundreds_of_thousands_of_errors_is_refused_in_a_moment(field, tmp_path):
    folder = tmp_path / "model"
    wrong = f'"{field}":{repeated(WRONG[field], MAX_JSON_BYTES - 100)}'
    network, scheduler = ("", wrong) if field == "trained_betas" else (wrong, '"num_train_timesteps":1000')
    network = ",".join(filter(None, ['"_class_name":"UNet2DModel"', '"sample_size":32' if field != "sample_size" else "", network]))
    for name, content in {
        "unet/config.json": f"{{{network}}}",
        "unet/diffusion_pytorch_model.safetensors": "",
        "scheduler/scheduler_config.json": f'{{"_class_name":"DDPMScheduler",{scheduler}}}',
    }.items():
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(content)
    start = time.thread_time()
    found = inspect(str(folder))
    assert time.thread_time() - start < 1
    assert field in found.reason


@pytest.fixture
def stalled(monkeypatch):
    """A Hub that never answers a look-up, which pages give a second; ends with the test."""
    release = threading.Event()
    monkeypatch.setattr(time_limit, "LOOK_UP_SECONDS", 1.0)
    monkeypatch.setattr(checkpoint_info, "inspect", lambda reference: release.wait(60))
    yield
    release.set()
    while any(thread.name == "look-up" for thread in threading.enumerate()):
        time.sleep(0.01)


def test_a_page_whose_look_up_takes_too_long_says_so(stalled, bare_home):
    app = AppTest.from_file(str(REPOSITORY / "app.py"), default_timeout=30).switch_page("pages/checkpoints.py")
    app.query_params["reference"] = "slow/model"
    app.run()
    assert not app.exception
    told = [element.proto.body for element in app.get("html") if "took longer than 1 seconds" in element.proto.body]
    assert len(told) == 1
    assert "looking slow/model up" in told[0]


def test_look_ups_that_hang_do_not_pile_up(stalled):
    for number in range(time_limit.AT_ONCE + 2):
        with pytest.raises(InputError, match="took longer"):
            time_limit.look_up(f"model {number}", lambda: checkpoint_info.inspect("x"), seconds=0.05)
    assert sum(thread.name == "look-up" for thread in threading.enumerate()) == time_limit.AT_ONCE


def test_a_look_up_returns_or_raises_what_its_work_does():
    assert time_limit.look_up("this", lambda: 3) == 3
    with pytest.raises(TimeoutError, match="its own"):
        time_limit.look_up("this", lambda: (_ for _ in ()).throw(TimeoutError("its own")))
