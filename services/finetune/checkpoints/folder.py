"""Where a job keeps its files, and what there is of a checkpoint."""

from __future__ import annotations

import hashlib
import shutil
from collections.abc import Iterator
from pathlib import Path

from services.common.store.manifest import describe_files
from services.finetune.recipes.watching import Preview


class JobFolder:
    """``<work>/jobs/<tenant>/<job>``: what its recipe works in, its data, its previews."""

    def __init__(self, work: Path, tenant: str, job_id: str) -> None:
        self.path = work / "jobs" / tenant / job_id

    def candidate(self, step: int) -> Path:
        """The version that a checkpoint is, with provisional names."""
        return self.path / "work" / "candidates" / f"{step:06d}"

    def keep_preview(self, step: int, number: int, preview: Preview) -> str:
        """Write its picture; returns the file's name, "" for a text."""
        if not preview.image:
            return ""
        folder = self.path / "previews"
        folder.mkdir(parents=True, exist_ok=True)
        file = folder / f"{step:08d}-{number:02d}.png"
        partial = file.with_suffix(".partial")
        partial.write_bytes(preview.image)
        partial.replace(file)
        return file.name

    def preview(self, name: str) -> bytes:
        """A picture that was kept. Empty when it is not there any more."""
        file = self.path / "previews" / Path(name).name
        return file.read_bytes() if name and file.is_file() else b""

    def forget(self, step: int) -> None:
        """Remove a checkpoint's files, the manifest first: what is left is no version."""
        folder = self.candidate(step)
        gone = folder.with_name(f".{folder.name}.gone")
        if folder.exists():
            shutil.rmtree(gone, ignore_errors=True)
            folder.rename(gone)
        shutil.rmtree(gone, ignore_errors=True)

    def end(self) -> None:
        """The job has ended: what only its recipe needs goes, candidates and previews stay."""
        for name in ("data", "validation"):
            shutil.rmtree(self.path / name, ignore_errors=True)
            (self.path / f"{name}.digest").unlink(missing_ok=True)
        work = self.path / "work"
        for each in work.iterdir() if work.exists() else ():
            if each.name == "candidates":
                continue
            if each.is_dir() and not each.is_symlink():
                shutil.rmtree(each, ignore_errors=True)
            else:
                each.unlink(missing_ok=True)

    def remove(self) -> int:
        """All of it; returns the bytes that are free now."""
        freed = size_of(self.path)
        shutil.rmtree(self.path, ignore_errors=True)
        return freed


def files_of_jobs(work: Path) -> Iterator[Path]:
    """What cannot be had again of all jobs: checkpoints, previews, logs; their data can."""
    for job in (work / "jobs").glob("*/*"):
        for path in job.rglob("*"):
            parts = path.relative_to(job).parts
            is_data = parts[0] in ("data", "validation") or path.suffix == ".digest"
            if path.is_file() and not is_data and not any(part.startswith(".") for part in parts):
                yield path


def size_of(folder: Path) -> int:
    """Bytes of all files below."""
    return sum(file.lstat().st_size for file in folder.rglob("*") if file.is_file())


def digest_of(folder: Path) -> str:
    """SHA-256 over paths and hashes of all files but the manifest."""
    digest = hashlib.sha256()
    for entry in describe_files(folder):
        digest.update(f"{entry.path}\0{entry.sha256}\n".encode())
    return digest.hexdigest()
