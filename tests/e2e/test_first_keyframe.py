"""Jobs that begin with a picture, through the real pipeline and the real model: the video continues the picture."""

import hashlib
from collections.abc import Iterator
from pathlib import Path

import av
import numpy as np
import pytest
from numpy.typing import NDArray

from ops import topics_admin
from ops.local.kafka import LocalKafka
from ops.local.supervisor import Supervisor
from ops.settings import Settings
from ops.stages import STAGES
from producers.client import Client
from schemas.errors import JobRejected
from tests.hostile.file_server import Served, serving
from tests.hostile.good_media import still
from tests.hostile.tls import certificate

pytestmark = [pytest.mark.kafka, pytest.mark.timeout(900)]

END_S = 400.0
PROMPT = "a blue square staying still on a white background"


def square() -> NDArray[np.uint8]:
    """(256, 256, 3): a blue square in the lower left, where the model by itself rarely puts one."""
    picture = np.full((256, 256, 3), 255, np.uint8)
    picture[150:220, 30:100] = (0, 0, 255)
    return picture


@pytest.fixture(scope="module")
def served(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Served, Path]]:
    tls, authority = certificate(tmp_path_factory.mktemp("tls"), ["127.0.0.1"])
    files = {"/square.png": still("png", square(), "rgb24"), "/page": b"<html></html>"}
    with serving(files, tls) as server:
        yield server, authority


@pytest.fixture(scope="module")
def settings(
    broker: LocalKafka, served: tuple[Served, Path], tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Settings]:
    folder = tmp_path_factory.mktemp("pictures")
    made = Settings(
        bootstrap_servers=broker.bootstrap_servers,
        prefix="pictures",
        store=str(folder / "store"),
        data_dir=str(folder),
        input_allow_private=True,
    )
    topics_admin.apply(made, topics_admin.plan(made))
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("SSL_CERT_FILE", str(served[1]))
        with Supervisor([(name, 1) for name in STAGES if name != "notify"], made, report=print):
            yield made


def job(uri: str | None, **media: str) -> dict[str, object]:
    shot: dict[str, object] = {"prompt": PROMPT, "duration_s": 2, "seed": 5}
    if uri is not None:
        shot["first_keyframe"] = {"uri": uri, **media}
    return {"shots": [shot], "output": {"width_px": 256, "height_px": 256, "fps": 12}}


def frames(path: Path) -> NDArray[np.uint8]:
    with av.open(str(path)) as video:
        return np.stack([frame.to_ndarray(format="rgb24") for frame in video.decode(video=0)])


def middle_of_blue(picture: NDArray[np.uint8]) -> NDArray[np.float64]:
    """Row and column."""
    return np.argwhere((picture[:, :, 2] > 120) & (picture[:, :, 0] < 120)).mean(axis=0)


def test_the_video_goes_on_from_the_picture(settings: Settings, served: tuple[Served, Path], tmp_path: Path) -> None:
    right = hashlib.sha256(still("png", square(), "rgb24")).hexdigest()
    with Client(settings) as client:
        with_picture = client.submit(job(served[0].url("/square.png"), sha256=right))
        without = client.submit(job(None))
        shown = frames(with_picture.download(tmp_path / "with.mp4", timeout_s=END_S))
        other = frames(without.download(tmp_path / "without.mp4", timeout_s=END_S))
    assert len(shown) == len(other) == 24
    begins, by_itself = (middle_of_blue(video[0]) - middle_of_blue(square()) for video in (shown, other))
    assert np.abs(begins).max() < 12, "the first frame has the square where the picture has it"
    assert np.abs(by_itself).max() > 40, "where the model by itself does not put it"


def test_pictures_that_cannot_be_had_end_the_job_by_name(settings: Settings, served: tuple[Served, Path]) -> None:
    with Client(settings) as client:
        for uri, code in (
            ("https://169.254.169.254/latest/meta-data/", "input_refused"),
            ("s3://somebody/picture.png", "input_refused"),
            (served[0].url("/page"), "input_invalid"),
            (served[0].url("/missing"), "input_invalid"),
        ):
            with pytest.raises(JobRejected) as caught:
                client.submit(job(uri)).wait(END_S)
            assert (caught.value.code, caught.value.field) == (code, "shots[0].first_keyframe.uri")
