"""kill -9 at any moment: what arrived of an upload stays, and the next process ends a check."""

from __future__ import annotations

import os
import random
import signal
import subprocess
import sys
import time
from functools import cache
from pathlib import Path

import grpc
import pytest

from pequod.finetune import v1
from services.common import tenants
from services.finetune.database.settings import open_database
from services.finetune.datasets.dataset import Options, State
from services.finetune.datasets.records import DatasetRecords
from services.finetune.datasets.storage.arrivals import ExpectedFile
from services.finetune.datasets.uploads import Start, Uploads
from tests.ports import lasting_ports
from tests.unit.finetune.parts import kept_files, picture, requests_of, start_of


@cache
def files() -> dict[str, bytes]:
    """Pictures by their names."""
    return {f"{n:02d}.png": picture(n, (200, 200)) for n in range(40)}


def joined() -> bytes:
    """All of them, as an upload sends them."""
    return b"".join(files().values())


# Claims data sets, each for a blink, and works on them until none is left.
WORK = """
import sys
from pathlib import Path
from services.finetune.database.settings import open_database
from services.finetune.datasets.checking.check import Tokens
from services.finetune.datasets.importing.source import Allowed
from services.finetune.datasets.records import DatasetRecords
from services.finetune.datasets.storage.content import DiskContent
from services.finetune.datasets.storage.keeping import Keeper
from services.finetune.datasets.uploads import Uploads
from services.finetune.datasets.working.leases import Leases
from services.finetune.datasets.working.task import Means, Task

database, root = open_database(sys.argv[1]), Path(sys.argv[2])
records = DatasetRecords(database, 0)
leases = Leases(records, "worker", 0.001)
keeper = Keeper(database, DiskContent(root / "datasets"))
uploads = Uploads(records, root / "uploads", 3600)
tokens = lambda: Tokens("none", len)
means = Means(leases, keeper, uploads, root / "imports", Allowed([root / "source"], []), tokens)
print("begin", flush=True)
for claim in iter(leases.claim, None):
    Task(claim, means).run()
"""


def killed_at_random(url: str, root: Path, dice: random.Random) -> bool:
    """Run the worker; kill it some time after its start. True: it came to its end first."""
    process = subprocess.Popen([sys.executable, "-c", WORK, url, str(root)], stdout=subprocess.PIPE)
    assert process.stdout.readline() == b"begin\n"
    try:
        return process.wait(timeout=dice.uniform(0, 0.6)) == 0
    except subprocess.TimeoutExpired:
        process.kill()
        return False
    finally:
        process.wait()
        process.stdout.close()


@pytest.mark.parametrize(
    ("database_url", "imported"),
    [
        pytest.param("sqlite", False, id="sqlite-upload", marks=pytest.mark.slow),
        pytest.param("postgresql", True, id="postgresql-import"),
        pytest.param("sqlite", True, id="sqlite-import", marks=pytest.mark.slow),
        pytest.param("postgresql", False, id="postgresql-upload", marks=pytest.mark.slow),
    ],
    indirect=["database_url"],
)
def test_a_check_that_is_killed_again_and_again_ends_well(database_url, tmp_path, imported):
    database = open_database(database_url)
    records = DatasetRecords(database, 0)
    if imported:
        for path, data in files().items():
            (tmp_path / "source").mkdir(exist_ok=True)
            (tmp_path / "source" / path).write_bytes(data)
        uri = (tmp_path / "source").as_uri()
        dataset = records.create_import(tenants.LOCAL, Options("killed"), uri, "")
    else:
        expected = [ExpectedFile(path, len(data)) for path, data in files().items()]
        start = Start("00000000-0000-0000-0000-000000000001", Options("killed"), expected)
        with Uploads(records, tmp_path / "uploads", 3600).stream(tenants.LOCAL, start) as stream:
            stream.write(joined())
            dataset = stream.finish()
    dice = random.Random(7)
    kills = 0
    while kills < 6 and not killed_at_random(database_url, tmp_path, dice):
        kills += 1
    subprocess.run([sys.executable, "-c", WORK, database_url, str(tmp_path)], check=True, timeout=100)
    done, kept = records.files(tenants.LOCAL, dataset.dataset_id)
    assert kills >= 1
    assert done.state is State.READY
    assert done.report.examples == len(kept) == len(files())
    assert len(kept_files(tmp_path)) == len(files())
    assert records.page(tenants.LOCAL, 10).used_bytes == len(joined())
    database.close()


class Service:
    """The service as a process of its own, which can be killed and started again."""

    def __init__(self, folder: Path, **variables: str) -> None:
        self._folder = folder
        self._port, side_port = lasting_ports(2)
        self._variables = {
            **os.environ,
            **variables,
            "PEQUOD_FINETUNE_PORT": str(self._port),
            "PEQUOD_FINETUNE_SIDE_PORT": str(side_port),
        }

    def start(self) -> None:
        with (self._folder / "log").open("ab") as log:
            self._process = subprocess.Popen(
                [sys.executable, "-m", "services.finetune"],
                env=self._variables,
                cwd=self._folder,
                stdout=log,
                stderr=log,
            )
        self._channel = grpc.insecure_channel(f"127.0.0.1:{self._port}")
        self.stub = v1.DatasetServiceStub(self._channel)
        self.jobs = v1.FineTuneServiceStub(self._channel)
        grpc.channel_ready_future(self._channel).result(60)

    @property
    def pid(self) -> int:
        """Of the process that runs now."""
        return self._process.pid

    def offset(self, upload_id: str) -> int:
        """Bytes that it has of an upload; 0 for one that it does not know yet."""
        try:
            return self.stub.GetUpload(v1.GetUploadRequest(upload_id=upload_id)).offset
        except grpc.RpcError:
            return 0

    def end(self, number: int = signal.SIGKILL) -> int:
        self._process.send_signal(number)
        self._channel.close()
        return self._process.wait(60)


@pytest.fixture
def process(tmp_path):
    service = Service(tmp_path)
    service.start()
    yield service
    service.end()


def test_an_upload_goes_on_after_each_kill(process):
    start = start_of(files())
    offsets = [0]
    for enough in (20_000, 1, 60_000):
        start.offset = offsets[-1]

        def dying(start=start, enough=enough):
            """Sends on and on, until the server is killed under it."""
            for message in requests_of(start, joined()[start.offset :], chunk=1000):
                yield message
                if process.offset(start.upload_id) >= start.offset + enough:
                    os.kill(process.pid, signal.SIGKILL)
                    return

        with pytest.raises(grpc.RpcError):
            process.stub.UploadDataset(dying(), timeout=60)
        process.end()
        process.start()
        offsets.append(process.offset(start.upload_id))
    assert offsets == sorted(offsets)
    assert 0 < offsets[-1] < len(joined())
    start.offset = offsets[-1]
    reply = process.stub.UploadDataset(requests_of(start, joined()[start.offset :]), timeout=60)
    process.end()  # the check has hardly begun
    process.start()
    deadline = time.monotonic() + 90
    dataset = reply.dataset
    while dataset.state not in (v1.DATASET_STATE_READY, v1.DATASET_STATE_FAILED):
        assert time.monotonic() < deadline, "nobody took the check up"
        time.sleep(0.2)
        dataset = process.stub.GetDataset(v1.GetDatasetRequest(dataset_id=dataset.dataset_id)).dataset
    assert dataset.state == v1.DATASET_STATE_READY, dataset.error
    assert dataset.report.examples == len(files())
    assert process.end(signal.SIGTERM) == 0
    process.start()
