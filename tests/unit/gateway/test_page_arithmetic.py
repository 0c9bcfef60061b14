"""What the page works out by itself, run by Node: principal components, zip files, probabilities as text."""

import base64
import io
import json
import re
import shutil
import subprocess
import zipfile
from pathlib import Path

import numpy as np
import pytest

PAGE = Path(__file__).parents[3] / "gateway/page"
_BEFORE = (
    "globalThis.File ??= (await import('node:buffer')).File;",  # Node.js has it from version 20 on
    "const give = each => process.stdout.write(JSON.stringify(each));",
)


@pytest.fixture
def module():
    """Runs lines of JavaScript that end with a call of ``give``; returns what was given."""
    if shutil.which("node") is None:
        pytest.skip("there is no Node.js here")

    def run(*lines: str):
        code = "\n".join((*_BEFORE, *lines))
        command = ["node", "--input-type=module", "--eval", code]
        done = subprocess.run(command, cwd=PAGE, capture_output=True, text=True, timeout=60, check=False)
        assert done.returncode == 0, done.stderr
        return json.loads(done.stdout)

    return run


def test_principal_components(module):
    vectors = np.random.default_rng(5).normal(size=(12, 40)) * np.geomspace(3, 0.1, 40)
    found = module(
        f"import {{ flat }} from '{PAGE}/parts/pca.js';", f"give(flat({json.dumps(vectors.tolist())}));"
    )
    left, lengths, _ = np.linalg.svd(vectors - vectors.mean(axis=0), full_matrices=False)
    np.testing.assert_allclose(found["shares"], (lengths**2 / (lengths**2).sum())[:2], rtol=1e-3)
    points = np.array(found["points"])
    expected = left[:, :2] * lengths[:2]
    for axis in range(2):  # either direction of an axis will do
        sign = np.sign(points[:, axis] @ expected[:, axis])
        np.testing.assert_allclose(points[:, axis] * sign, expected[:, axis], rtol=0.02, atol=0.02)


def test_vectors_that_are_all_the_same_are_a_point(module):
    found = module(f"import {{ flat }} from '{PAGE}/parts/pca.js';", "give(flat([[1, 2], [1, 2], [1, 2]]));")
    assert found == {"points": [[0, 0], [0, 0], [0, 0]], "shares": [0, 0]}


def test_zip_files(module):
    found = module(
        f"import {{ zipped }} from '{PAGE}/parts/zip.js';",
        "const files = [new File(['a whale'], 'wal.txt'), new File([], 'Müll 鯨.txt'),"
        " new File([new Uint8Array(70000).fill(7)], 'b.bin')];",
        "const made = await zipped(files, 'all.zip');",
        "give([made.name, made.type, Buffer.from(await made.arrayBuffer()).toString('base64')]);",
    )
    assert found[:2] == ["all.zip", "application/zip"]
    with zipfile.ZipFile(io.BytesIO(base64.b64decode(found[2]))) as archive:
        assert archive.testzip() is None
        held = {each: archive.read(each) for each in archive.namelist()}
    assert held == {"wal.txt": b"a whale", "Müll 鯨.txt": b"", "b.bin": bytes([7]) * 70000}


def test_figures(module):
    found = module(
        f"import {{ bytes, figure, percent, time }} from '{PAGE}/app/dom.js';",
        "give([[1, 0.5, 0.0421, 0.0042, 1e-7, 0].map(percent), [0.5, 12.3, 456, 1500].map(time),"
        " ['999', 1000, 12345678].map(bytes), [0.123456, 'NaN', 12345].map(each => figure(each))]);",
    )
    assert found == [
        ["100 %", "50 %", "4.2 %", "0.42 %", "< 0.01 %", "0 %"],
        ["0.5 ms", "12 ms", "456 ms", "1.5 s"],
        ["999 B", "1.0 kB", "12.3 MB"],
        ["0.123", "\u2013", "12300"],
    ]


@pytest.mark.parametrize("name", sorted(each.relative_to(PAGE).as_posix() for each in PAGE.rglob("*.js")))
def test_every_import_is_there(name):
    """A browser finds a missing module only when it comes to it."""
    for names, source in re.findall(r'import \{([^}]*)\} from "([^"]+)"', (PAGE / name).read_text()):
        other = ((PAGE / name).parent / source).read_text()
        exported = set(re.findall(r"export (?:async )?(?:function\*?|const|class) (\w+)", other))
        assert {each.strip() for each in names.split(",") if each.strip()} <= exported, source
