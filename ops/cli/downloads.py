"""Fetches what a job made."""

from dataclasses import dataclass
from pathlib import Path, PurePosixPath

from ops.storage.store import Store, fetch_promised
from schemas.events import JobState, PublishedFile


@dataclass(frozen=True, slots=True)
class Files:
    """Where the files of one job lie now."""

    video: Path
    thumbnail: Path
    contact_sheet: Path | None

    @property
    def paths(self) -> list[Path]:
        return [path for path in (self.video, self.thumbnail, self.contact_sheet) if path is not None]


def download(store: Store, state: JobState, folder: Path, *, sheet: bool = True) -> Files:
    """Fetch a completed job's files as <job id>.mp4, <job id>.jpg and, with `sheet`, <job id>.sheet.png.

    Every file is verified against the hash in the job's state. Raises ObjectMissing, ObjectCorrupt.
    """
    if state.video is None:
        raise ValueError(f"job {state.job} has no video")
    folder.mkdir(parents=True, exist_ok=True)
    stem = state.job.partition("/")[2].replace(":", "_")
    return Files(
        video=_fetch(store, state.video.file, folder, stem),
        thumbnail=_fetch(store, state.video.thumbnail, folder, stem),
        contact_sheet=_fetch(store, state.video.contact_sheet, folder, f"{stem}.sheet") if sheet else None,
    )


def _fetch(store: Store, ref: PublishedFile, folder: Path, stem: str) -> Path:
    target = folder / f"{stem}{PurePosixPath(ref.key).suffix}"
    fetch_promised(store, ref.key, ref.sha256, target, "the job's state")
    return target
